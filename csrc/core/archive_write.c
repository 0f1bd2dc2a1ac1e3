/* SPDX-License-Identifier: Apache-2.0
 *
 * One archive from its first header to its end record. Places records by
 * zip_layout.h, has them written by record_write.h, writes the directory itself.
 */
#include "archive_write.h"

#include <inttypes.h>
#include <stdio.h>

#include "memory.h"
#include "zip_write.h"

/* Less than this is not worth a call to reserve it. */
#define WORTH_RESERVING (UINT64_C(1) << 20)

struct ptio_archive {
    ptio_zip_layout layout;
    ptio_record_writer writer;
    const void **payloads; /* of the records that are not written yet */
    size_t payload_capacity;
    uint32_t written;
    uint64_t reserved; /* bytes of the file */
    bool closed;       /* finished, or failed in the middle */
};

ptio_status ptio_archive_begin(ptio_sink *sink, const void *stem, size_t stem_length, uint64_t alignment,
                               const ptio_write_options *options, ptio_archive **out, ptio_error *err) {
    ptio_archive *archive = ptio_alloc_zeroed(1, sizeof *archive);
    uint8_t *gathered = ptio_alloc(PTIO_GATHER, 1);
    ptio_status status = archive == NULL || gathered == NULL ? ptio_no_memory(err) : PTIO_OK;
    if (status == PTIO_OK)
        status = ptio_zip_layout_begin(stem, stem_length, alignment, &archive->layout, err);
    if (status != PTIO_OK) {
        ptio_free(gathered);
        ptio_free(archive);
        return status;
    }
    archive->writer = (ptio_record_writer){.sink = sink,
                                           .layout = &archive->layout,
                                           .options = *options,
                                           .gather = {.sink = sink, .bytes = gathered}};
    *out = archive;
    return PTIO_OK;
}

static ptio_status check_open(const ptio_archive *archive, ptio_error *err) {
    PTIO_CHECK(!archive->closed, "W4.closed", err, UNWRITABLE, PTIO_NO_OFFSET,
               "the archive is complete, or writing it has failed: nothing can be added to it");
    return PTIO_OK;
}

ptio_status ptio_archive_add(ptio_archive *archive, const void *name, size_t name_length, const void *bytes,
                             uint64_t size, ptio_error *err) {
    void *payloads = archive->payloads;
    size_t waiting = archive->layout.count - archive->written;
    PTIO_TRY(check_open(archive, err));
    PTIO_TRY(ptio_grow(&payloads, &archive->payload_capacity, waiting + 1, sizeof bytes, err));
    archive->payloads = payloads;
    PTIO_TRY(ptio_zip_layout_add(&archive->layout, name, name_length, size, err));
    archive->payloads[waiting] = bytes;
    archive->writer.total += size;
    return PTIO_OK;
}

static ptio_status reserve(ptio_archive *archive, ptio_error *err) {
    uint64_t size = ptio_zip_file_size(&archive->layout), from = archive->reserved;
    if (size - from < WORTH_RESERVING) return PTIO_OK;
    PTIO_TRY(ptio_sink_reserve(archive->writer.sink, from, size - from, err));
    archive->reserved = size;
    return PTIO_OK;
}

static ptio_status write_records(ptio_archive *archive, ptio_error *err) {
    uint32_t first = archive->written;
    PTIO_TRY(reserve(archive, err));
    PTIO_TRY(
        ptio_records_write(&archive->writer, first, archive->layout.count - first, archive->payloads, err));
    archive->written = archive->layout.count;
    return PTIO_OK;
}

static ptio_status write_directory(ptio_archive *archive, ptio_error *err) {
    const ptio_zip_layout *layout = &archive->layout;
    ptio_gather *gather = &archive->writer.gather;
    uint8_t *room = NULL;
    for (uint32_t i = 0; i < layout->count; i++) {
        PTIO_TRY(ptio_gather_room(gather, ptio_zip_central_size(layout, &layout->entries[i]), &room, err));
        ptio_zip_put_central(layout, &layout->entries[i], room);
    }
    PTIO_TRY(ptio_gather_room(gather, PTIO_ZIP_END_SIZE, &room, err));
    ptio_zip_put_end(layout, room);
    return ptio_gather_flush(gather, err);
}

ptio_status ptio_archive_write(ptio_archive *archive, ptio_error *err) {
    PTIO_TRY(check_open(archive, err));
    archive->closed = true;
    PTIO_TRY(write_records(archive, err));
    archive->closed = false;
    return PTIO_OK;
}

ptio_status ptio_archive_finish(ptio_archive *archive, ptio_error *err) {
    PTIO_TRY(check_open(archive, err));
    archive->closed = true;
    PTIO_TRY(write_records(archive, err));
    return write_directory(archive, err);
}

void ptio_archive_free(ptio_archive *archive) {
    if (archive == NULL) return;
    ptio_zip_layout_free(&archive->layout);
    ptio_free(archive->writer.gather.bytes);
    ptio_free(archive->payloads);
    ptio_free(archive);
}

const ptio_zip_layout *ptio_archive_layout(const ptio_archive *archive) { return &archive->layout; }

/* In the manner of FNV-1a, eight bytes at a time: the same on every machine, unlike hash.h. */
static uint64_t mix_number(uint64_t hash, uint64_t value) {
    hash = (hash ^ value) * UINT64_C(0x9E3779B97F4A7C15);
    return hash ^ hash >> 32;
}

static uint64_t mix(uint64_t hash, const uint8_t *bytes, size_t n) {
    uint8_t rest[8] = {0};
    for (; n >= sizeof rest; bytes += sizeof rest, n -= sizeof rest)
        hash = mix_number(hash, ptio_le64(bytes));
    if (n > 0) memcpy(rest, bytes, n);
    return mix_number(hash, ptio_le64(rest));
}

void ptio_archive_id(const ptio_archive *archive, char out[PTIO_ARCHIVE_ID + 1]) {
    const ptio_zip_layout *layout = &archive->layout;
    uint64_t names = UINT64_C(0xcbf29ce484222325), contents = names;
    for (uint32_t i = 0; i < archive->written; i++) {
        const ptio_zip_entry *entry = &layout->entries[i];
        names = mix_number(mix(names, layout->names + entry->name, entry->name_length), entry->name_length);
        contents = mix_number(mix_number(contents, entry->size), entry->crc);
    }
    (void)snprintf(out, PTIO_ARCHIVE_ID + 1, "%020" PRIu64 "%020" PRIu64, names, contents);
}
