/* SPDX-License-Identifier: Apache-2.0
 *
 * Archives in memory, and mutations that leave them readable: random ones hardly ever get
 * past the CRC of the pickle.
 */
#include <stdlib.h>

#include "crc.h"
#include "harness.h"

void fuzz_append(fuzz_buffer *buffer, const void *bytes, size_t n) {
    if (buffer->size + n > buffer->capacity) {
        buffer->capacity = 2 * (buffer->size + n);
        buffer->bytes = realloc(buffer->bytes, buffer->capacity);
        if (buffer->bytes == NULL) abort();
    }
    if (n > 0) memcpy(buffer->bytes + buffer->size, bytes, n);
    buffer->size += n;
}

static ptio_status take(void *context, const void *bytes, size_t n, ptio_error *err) {
    (void)err;
    fuzz_append(context, bytes, n);
    return PTIO_OK;
}

void fuzz_sink(fuzz_buffer *buffer, ptio_sink *out) { ptio_sink_forward(take, buffer, out); }

static const ptio_write_options writing = {.threads = 1};

void fuzz_archive(const void *pickle, size_t size, fuzz_buffer *out) {
    static const struct {
        const char *name, *bytes;
        size_t size;
    } storages[] = {{"data/0", "0123456789abcdef", 16},
                    {"data/1", "\1\0\0\0\0\0\0\0\2\0\0\0\0\0\0\0", 16},
                    {"data/32", "0123456789abcdef0123456789abcdef", 32},
                    {"data/empty", "", 0}};
    ptio_sink sink;
    ptio_error err = {0};
    ptio_archive *archive = NULL;
    fuzz_sink(out, &sink);
    REQUIRE(ptio_archive_begin(&sink, "m", 1, 64, &writing, &archive, &err) == PTIO_OK);
    REQUIRE(ptio_archive_add(archive, "data.pkl", 8, pickle, size, &err) == PTIO_OK);
    for (size_t i = 0; i < sizeof storages / sizeof *storages; i++)
        REQUIRE(ptio_archive_add(archive, storages[i].name, strlen(storages[i].name), storages[i].bytes,
                                 storages[i].size, &err) == PTIO_OK);
    REQUIRE(ptio_archive_add(archive, "version", 7, "3\n", 2, &err) == PTIO_OK);
    REQUIRE(ptio_archive_finish(archive, &err) == PTIO_OK);
    ptio_archive_free(archive);
}

/* --- archives that are there ------------------------------------------------------------------ */

/* Everything that depends on how this archive looks is found by the reader itself. */
static bool read_index(const uint8_t *archive, size_t size, ptio_source *source, ptio_zip_index *index) {
    ptio_error err = {0};
    ptio_limits limits = PTIO_LIMITS_DEFAULT;
    ptio_source_borrow(archive, size, source);
    return ptio_zip_index_read(source, &limits, index, &err) == PTIO_OK;
}

static unsigned get16(const uint8_t *p) { return p[0] | (unsigned)p[1] << 8; }

static void put32(uint8_t *p, uint32_t value) {
    for (unsigned i = 0; i < 4; i++) p[i] = (uint8_t)(value >> 8 * i);
}

/* Where the payload of a stored record is, by its local header alone. */
static bool payload_of(const ptio_record *record, size_t size, const uint8_t *archive, size_t *at) {
    if (record->method != PTIO_ZIP_STORED || record->header + 30 > size) return false;
    const uint8_t *local = archive + record->header;
    *at = (size_t)record->header + 30 + get16(local + 26) + get16(local + 28);
    return *at <= size && record->csize <= size - *at;
}

static void mend_crc(const ptio_zip_index *index, const ptio_record *record, uint8_t *archive, size_t size) {
    size_t at, central = (size_t)(index->directory_offset + record->name - 46);
    if (record->crc == 0 || !payload_of(record, size, archive, &at)) return;
    uint32_t crc = ptio_crc32(0, archive + at, (size_t)record->csize);
    uint8_t *local = archive + record->header, *end = archive + at + record->csize;
    put32(archive + central + 16, crc);
    if (memcmp(local + 14, "\0\0\0", 4) != 0) put32(local + 14, crc);
    if (record->flags & 8 && (size_t)(end - archive) + 8 <= size) put32(end + 4, crc);
}

void fuzz_mend_crcs(uint8_t *archive, size_t size) {
    ptio_source source;
    ptio_zip_index index;
    if (!read_index(archive, size, &source, &index)) return;
    for (uint32_t i = 0; i < index.count; i++) mend_crc(&index, &index.records[i], archive, size);
    ptio_zip_index_free(&index);
}

static bool copy_records(const ptio_zip_index *index, const uint8_t *archive, size_t size, const void *pickle,
                         size_t pickle_size, ptio_archive *to) {
    ptio_error err = {0};
    uint32_t number = ptio_zip_find(index, "", "data.pkl", 8);
    for (uint32_t i = 0; i < index->count; i++) {
        size_t length, at, skip = (size_t)index->stem_length + 1;
        const uint8_t *name = ptio_zip_name(index, i, &length);
        const ptio_record *record = &index->records[i];
        if (length <= skip || !payload_of(record, size, archive, &at)) return false;
        const void *bytes = i == number ? pickle : archive + at;
        if (ptio_archive_add(to, name + skip, length - skip, bytes, i == number ? pickle_size : record->usize,
                             &err) != PTIO_OK)
            return false;
    }
    return ptio_archive_finish(to, &err) == PTIO_OK;
}

/* The same archive around another pickle; false where that does not work. */
static bool with_pickle(const uint8_t *archive, size_t size, const void *pickle, size_t pickle_size,
                        fuzz_buffer *out) {
    ptio_source source;
    ptio_zip_index index;
    ptio_sink sink;
    ptio_error err = {0};
    ptio_archive *to = NULL;
    if (!read_index(archive, size, &source, &index)) return false;
    fuzz_sink(out, &sink);
    bool done = ptio_archive_begin(&sink, index.stem, index.stem_length, 64, &writing, &to, &err) == PTIO_OK;
    done = done && copy_records(&index, archive, size, pickle, pickle_size, to);
    ptio_archive_free(to);
    ptio_zip_index_free(&index);
    return done;
}

/* --- mutations ---------------------------------------------------------------------------------- */

/* The payload of a record chosen by the seed: mostly the pickle. */
static bool choose(const uint8_t *data, size_t size, unsigned seed, size_t *at, size_t *length) {
    ptio_source source;
    ptio_zip_index index;
    if (!read_index(data, size, &source, &index)) return false;
    uint32_t number = ptio_zip_find(&index, "", "data.pkl", 8);
    if (index.count > 0 && (number == PTIO_NO_RECORD || seed % 4 == 0)) number = seed / 4 % index.count;
    bool found = number != PTIO_NO_RECORD && payload_of(&index.records[number], size, data, at);
    if (found) *length = (size_t)index.records[number].csize;
    ptio_zip_index_free(&index);
    return found && *length > 0;
}

/* Other bytes of the same length. */
static size_t mutate_in_place(uint8_t *data, size_t size, unsigned seed) {
    size_t at, length;
    if (!choose(data, size, seed, &at, &length)) return 0;
    uint8_t *copy = malloc(length);
    if (copy == NULL) abort();
    memcpy(copy, data + at, length);
    size_t now = fuzz_mutate(copy, length, length);
    memcpy(data + at, copy, now);
    free(copy);
    fuzz_mend_crcs(data, size);
    return size;
}

/* A pickle of another length. */
static size_t mutate_pickle(uint8_t *data, size_t size, size_t max_size) {
    size_t at, length, made = 0;
    if (!choose(data, size, 1, &at, &length) || length > max_size / 2) return 0;
    uint8_t *pickle = malloc(max_size / 2);
    if (pickle == NULL) abort();
    memcpy(pickle, data + at, length);
    length = fuzz_mutate(pickle, length, max_size / 2);
    fuzz_buffer archive = {0};
    if (with_pickle(data, size, pickle, length, &archive) && archive.size <= max_size) {
        memcpy(data, archive.bytes, archive.size);
        made = archive.size;
    }
    free(archive.bytes);
    free(pickle);
    return made;
}

size_t fuzz_mutate_archive(uint8_t *data, size_t size, size_t max_size, unsigned seed) {
    size_t made = 0;
    fuzz_known(data, size);
    if (seed % 8 < 3)
        made = mutate_in_place(data, size, seed / 8);
    else if (seed % 8 < 6)
        made = mutate_pickle(data, size, max_size);
    if (made > 0) return made;
    made = fuzz_mutate(data, size, max_size);
    if (seed % 8 == 7) fuzz_mend_crcs(data, made);
    return made;
}
