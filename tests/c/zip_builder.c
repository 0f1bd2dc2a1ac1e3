/* SPDX-License-Identifier: Apache-2.0
 *
 * The writer's half of the zip format, independent of the reader under test: no header
 * of the core is included here, and CRCs come from zlib.
 */
#include "zip_builder.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

static void *must(void *memory) {
    if (memory == NULL) abort();
    return memory;
}

void zip_raw(zip_archive *zip, const void *bytes, size_t n) {
    if (zip->size + n > zip->capacity) {
        zip->capacity = 2 * (zip->size + n) + 256;
        zip->bytes = must(realloc(zip->bytes, zip->capacity));
    }
    if (n > 0) memcpy(zip->bytes + zip->size, bytes, n);
    zip->size += n;
}

static void put(uint8_t *p, uint64_t value, unsigned bytes) {
    for (unsigned i = 0; i < bytes; i++) p[i] = (uint8_t)(value >> (8 * i));
}

static void add(zip_archive *zip, uint64_t value, unsigned bytes) {
    uint8_t p[8];
    put(p, value, bytes);
    zip_raw(zip, p, bytes);
}

void zip_put8(zip_archive *zip, size_t at, uint64_t value) { put(zip->bytes + at, value, 1); }
void zip_put16(zip_archive *zip, size_t at, uint64_t value) { put(zip->bytes + at, value, 2); }
void zip_put32(zip_archive *zip, size_t at, uint64_t value) { put(zip->bytes + at, value, 4); }
void zip_put64(zip_archive *zip, size_t at, uint64_t value) { put(zip->bytes + at, value, 8); }

uint32_t zip_get32(const zip_archive *zip, size_t at) {
    const uint8_t *p = zip->bytes + at;
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

void zip_begin(zip_archive *zip) { memset(zip, 0, sizeof *zip); }

void zip_free_archive(zip_archive *zip) {
    free(zip->bytes);
    free(zip->members);
    free(zip->places);
    free(zip->crcs);
    zip_begin(zip);
}

static uint8_t *deflated(const void *content, size_t size, size_t *csize) {
    z_stream stream;
    memset(&stream, 0, sizeof stream);
    if (deflateInit2(&stream, 6, Z_DEFLATED, -15, 8, Z_DEFAULT_STRATEGY) != Z_OK) abort();
    size_t room = deflateBound(&stream, size) + 16;
    uint8_t *out = must(malloc(room));
    stream.next_in = (Bytef *)(uintptr_t)content;
    stream.avail_in = (uInt)size;
    stream.next_out = out;
    stream.avail_out = (uInt)room;
    if (deflate(&stream, Z_FINISH) != Z_STREAM_END) abort();
    *csize = stream.total_out;
    deflateEnd(&stream);
    return out;
}

static size_t name_length(const zip_member *member) {
    return member->name_length != 0 ? member->name_length : strlen(member->name);
}

static uint64_t flags_of(const zip_member *member) { return 0x0800u | (member->descriptor ? 8u : 0u); }

static void add_local(zip_archive *zip, const zip_member *member, zip_place *place, uint32_t crc) {
    bool early = !member->descriptor || member->sizes_early;
    size_t extra = member->extra_length + (member->local_zip64 ? 4 + 8 * (size_t)member->local_zip64 : 0);
    size_t padding = 0;
    place->local = zip->size;
    if (member->alignment != 0) {
        size_t data = zip->size + 30 + name_length(member) + extra + 4;
        padding = (member->alignment - data % member->alignment) % member->alignment;
        extra += 4 + padding;
    }
    add(zip, 0x04034b50, 4);
    add(zip, 20, 2);
    add(zip, flags_of(member), 2);
    add(zip, member->deflated ? 8 : 0, 2);
    add(zip, 0, 4);
    add(zip, early ? crc : 0, 4);
    add(zip, member->local_sentinel ? 0xFFFFFFFFu : early ? place->csize : 0, 4);
    add(zip, member->local_sentinel ? 0xFFFFFFFFu : early ? member->size : 0, 4);
    add(zip, name_length(member), 2);
    add(zip, extra, 2);
    zip_raw(zip, member->name, name_length(member));
    if (member->local_zip64) {
        const uint64_t values[3] = {member->size, place->csize, place->local};
        add(zip, 1, 2);
        add(zip, 8 * (unsigned)member->local_zip64, 2);
        for (int i = 0; i < member->local_zip64; i++)
            add(zip, member->local_zip64_zeros ? 0 : member->local_zip64 == 1 ? place->local : values[i], 8);
    }
    zip_raw(zip, member->extra, member->extra_length);
    if (member->alignment != 0) {
        add(zip, 0x4246, 2);
        add(zip, padding, 2);
        for (size_t i = 0; i < padding; i++) add(zip, 'Z', 1);
    }
}

void zip_add(zip_archive *zip, const zip_member *member) {
    zip_place place = {0};
    uint8_t *compressed = NULL;
    uint32_t crc = (uint32_t)crc32(0, member->content, (uInt)member->size);
    place.csize = member->size;
    if (member->deflated) compressed = deflated(member->content, member->size, &place.csize);
    add_local(zip, member, &place, crc);
    place.data = zip->size;
    zip_raw(zip, compressed != NULL ? compressed : member->content, place.csize);
    place.descriptor = zip->size;
    if (member->descriptor) {
        unsigned width = member->local_zip64 ? 8 : 4;
        add(zip, 0x08074b50, 4);
        add(zip, crc, 4);
        add(zip, place.csize, width);
        add(zip, member->size, width);
    }
    free(compressed);
    if (zip->count == zip->room) {
        zip->room = 2 * zip->room + 16;
        zip->members = must(realloc(zip->members, zip->room * sizeof *zip->members));
        zip->places = must(realloc(zip->places, zip->room * sizeof *zip->places));
        zip->crcs = must(realloc(zip->crcs, zip->room * sizeof *zip->crcs));
    }
    zip->members[zip->count] = *member;
    zip->places[zip->count] = place;
    zip->crcs[zip->count++] = crc;
}

static void add_central(zip_archive *zip, const zip_member *member, zip_place *place, uint32_t crc) {
    size_t comment = member->comment != NULL ? strlen(member->comment) : 0;
    place->central = zip->size;
    add(zip, 0x02014b50, 4);
    add(zip, 20, 2);
    add(zip, 20, 2);
    add(zip, flags_of(member), 2);
    add(zip, member->deflated ? 8 : 0, 2);
    add(zip, 0, 4);
    add(zip, crc, 4);
    add(zip, member->central_zip64 ? 0xFFFFFFFFu : place->csize, 4);
    add(zip, member->central_zip64 ? 0xFFFFFFFFu : member->size, 4);
    add(zip, name_length(member), 2);
    add(zip, member->extra_length + (member->central_zip64 ? 28 : 0), 2);
    add(zip, comment, 2);
    add(zip, 0, 2);
    add(zip, 0, 2);
    add(zip, 0, 4);
    add(zip, member->central_zip64 ? 0xFFFFFFFFu : place->local, 4);
    zip_raw(zip, member->name, name_length(member));
    place->central_extra = zip->size;
    if (member->central_zip64) {
        add(zip, 1, 2);
        add(zip, 24, 2);
        add(zip, member->size, 8);
        add(zip, place->csize, 8);
        add(zip, place->local, 8);
    }
    zip_raw(zip, member->extra, member->extra_length);
    zip_raw(zip, member->comment, comment);
}

void zip_finish(zip_archive *zip, bool zip64, const void *comment, size_t comment_length) {
    zip->directory = zip->size;
    for (size_t i = 0; i < zip->count; i++) add_central(zip, &zip->members[i], &zip->places[i], zip->crcs[i]);
    zip->directory_size = zip->size - zip->directory;
    if (zip64) {
        zip->record64 = zip->size;
        add(zip, 0x06064b50, 4);
        add(zip, 44, 8);
        add(zip, 0x031E, 2);
        add(zip, 0x002D, 2);
        add(zip, 0, 8);
        add(zip, zip->count, 8);
        add(zip, zip->count, 8);
        add(zip, zip->directory_size, 8);
        add(zip, zip->directory, 8);
        zip->locator = zip->size;
        add(zip, 0x07064b50, 4);
        add(zip, 0, 4);
        add(zip, zip->record64, 8);
        add(zip, 1, 4);
    }
    uint64_t count = zip64 && zip->count > 0xFFFF ? 0xFFFF : zip->count;
    zip->end = zip->size;
    add(zip, 0x06054b50, 4);
    add(zip, 0, 4);
    add(zip, count, 2);
    add(zip, count, 2);
    add(zip, zip->directory_size, 4);
    add(zip, zip->directory, 4);
    add(zip, comment_length, 2);
    zip_raw(zip, comment, comment_length);
}

void fill_with_noise(uint8_t *content, size_t size) {
    uint32_t state = 7;
    for (size_t i = 0; i < size; i++) content[i] = (uint8_t)((state = state * 1664525 + 1013904223) >> 24);
}

void zip_torch(zip_archive *zip, size_t storages, size_t size) {
    zip_begin(zip);
    zip_member member = {.name = "m/data.pkl", .content = "\x80\2}q\0.", .size = 6, .descriptor = true, .alignment = 64};
    zip_add(zip, &member);
    /* Members keep their names: they live as long as the program. */
    static char names[20000][20];
    uint8_t *content = must(malloc(size + 1));
    for (size_t i = 0; i < storages; i++) {
        snprintf(names[i], sizeof names[i], "m/data/%u", (unsigned)i);
        for (size_t k = 0; k < size; k++) content[k] = (uint8_t)(k * 31 + i * 7 + (k >> 8));
        member = (zip_member){.name = names[i], .content = content, .size = size, .descriptor = size > 0, .alignment = 64};
        zip_add(zip, &member);
    }
    free(content);
    member = (zip_member){.name = "m/version", .content = "3\n", .size = 2, .descriptor = true, .alignment = 64};
    zip_add(zip, &member);
    zip_finish(zip, true, NULL, 0);
}
