/* SPDX-License-Identifier: Apache-2.0
 *
 * Shows one record to libzip as an archive of one entry and reads it. That archive is
 *   central header, name, zip64 extra   made here from our own index
 *   the record as it is in the file     local header, data, descriptor
 *   20 zero bytes, end record           made here; the zeros, so that no data can pass for
 *                                       a zip64 locator
 */
#include "zip_inflate.h"

#include <zip.h>

#include "crc.h"
#include "memory.h"

enum { CENTRAL_HEADER = 46, ZIP64_EXTRA = 20, END_GAP = 20, END_RECORD = 22, SCRATCH = 64 << 10 };

typedef unsigned long long ull;

struct ptio_inflater {
    const ptio_source *source;
    const ptio_zip_index *index;
    uint8_t *directory; /* of the archive shown now: PTIO_NO_RECORD before the first */
    uint64_t directory_size;
    uint64_t record_begin, record_size; /* in the file */
    uint8_t end[END_GAP + END_RECORD];
    uint64_t position;  /* in the archive shown */
    ptio_error failure; /* of our source, which libzip only knows as "read error" */
    zip_error_t zip_failure;
};

static void put16(uint8_t *p, uint64_t value) {
    p[0] = (uint8_t)value;
    p[1] = (uint8_t)(value >> 8);
}

static void put32(uint8_t *p, uint64_t value) {
    put16(p, value);
    put16(p + 2, value >> 16);
}

static void put64(uint8_t *p, uint64_t value) {
    put32(p, value);
    put32(p + 4, value >> 32);
}

static ptio_status show(ptio_inflater *inflater, uint32_t number, ptio_error *err) {
    const ptio_record *record = &inflater->index->records[number];
    bool zip64 = record->csize >= UINT32_MAX || record->usize >= UINT32_MAX;
    size_t size = (size_t)CENTRAL_HEADER + record->name_length + (zip64 ? ZIP64_EXTRA : 0);
    uint8_t *p = ptio_realloc(inflater->directory, size, 1);
    if (p == NULL) return ptio_no_memory(err);
    inflater->directory = p;
    inflater->directory_size = size;
    inflater->record_begin = record->header;
    inflater->record_size = ptio_zip_record_end(inflater->index, number) - record->header;
    inflater->position = 0;
    inflater->failure.status = PTIO_OK;

    memset(p, 0, size);
    put32(p, 0x02014b50);
    put16(p + 4, 45);
    put16(p + 6, 45);
    put16(p + 8, record->flags);
    put16(p + 10, record->method);
    put32(p + 16, record->crc);
    put32(p + 20, zip64 ? UINT32_MAX : record->csize);
    put32(p + 24, zip64 ? UINT32_MAX : record->usize);
    put16(p + 28, record->name_length);
    put16(p + 30, zip64 ? ZIP64_EXTRA : 0);
    put32(p + 42, size);
    memcpy(p + CENTRAL_HEADER, inflater->index->directory + record->name, record->name_length);
    if (zip64) {
        p += CENTRAL_HEADER + record->name_length;
        put16(p, 1);
        put16(p + 2, ZIP64_EXTRA - 4);
        put64(p + 4, record->usize);
        put64(p + 12, record->csize);
    }
    p = inflater->end + END_GAP;
    memset(inflater->end, 0, sizeof inflater->end);
    put32(p, 0x06054b50);
    put16(p + 8, 1);
    put16(p + 10, 1);
    put32(p + 12, size);
    return PTIO_OK;
}

static uint64_t shown_size(const ptio_inflater *inflater) {
    return inflater->directory_size + inflater->record_size + sizeof inflater->end;
}

/* Reads from whichever of the three parts the position lies in, so maybe less than n. */
static zip_int64_t read_shown(ptio_inflater *inflater, uint8_t *out, uint64_t n) {
    uint64_t at = inflater->position, directory = inflater->directory_size, record = inflater->record_size;
    if (at < directory) {
        n = ptio_min_u64(n, directory - at);
        memcpy(out, inflater->directory + at, (size_t)n);
    } else if (at - directory < record) {
        at -= directory;
        n = ptio_min_u64(n, record - at);
        if (ptio_source_read(inflater->source, inflater->record_begin + at, out, (size_t)n,
                             &inflater->failure) != PTIO_OK) {
            zip_error_set(&inflater->zip_failure, ZIP_ER_READ, 0);
            return -1;
        }
    } else {
        at -= directory + record;
        n = ptio_min_u64(n, sizeof inflater->end - at);
        memcpy(out, inflater->end + at, (size_t)n);
    }
    inflater->position += n;
    return (zip_int64_t)n;
}

/* libzip takes a short read for the end of the file, so reads are filled up. */
static zip_int64_t read_filled(ptio_inflater *inflater, uint8_t *out, uint64_t n) {
    uint64_t done = 0;
    n = ptio_min_u64(n, shown_size(inflater) - inflater->position);
    while (done < n) {
        zip_int64_t got = read_shown(inflater, out + done, n - done);
        if (got < 0) return -1;
        done += (uint64_t)got;
    }
    return (zip_int64_t)done;
}

static zip_int64_t answer_libzip(void *context, void *data, zip_uint64_t n, zip_source_cmd_t command) {
    ptio_inflater *inflater = context;
    switch (command) {
    case ZIP_SOURCE_OPEN: inflater->position = 0; return 0;
    case ZIP_SOURCE_READ: return read_filled(inflater, data, n);
    case ZIP_SOURCE_SEEK: {
        zip_int64_t to = zip_source_seek_compute_offset(inflater->position, shown_size(inflater), data, n,
                                                        &inflater->zip_failure);
        if (to < 0) return -1;
        inflater->position = (uint64_t)to;
        return 0;
    }
    case ZIP_SOURCE_TELL: return (zip_int64_t)inflater->position;
    case ZIP_SOURCE_STAT: {
        zip_stat_t *stat = ZIP_SOURCE_GET_ARGS(zip_stat_t, data, n, &inflater->zip_failure);
        if (stat == NULL) return -1;
        zip_stat_init(stat);
        stat->size = shown_size(inflater);
        stat->valid = ZIP_STAT_SIZE;
        return sizeof *stat;
    }
    case ZIP_SOURCE_ERROR: return zip_error_to_data(&inflater->zip_failure, data, n);
    case ZIP_SOURCE_CLOSE:
    case ZIP_SOURCE_FREE: /* the inflater outlives the archives that it shows */ return 0;
    case ZIP_SOURCE_SUPPORTS:
        return zip_source_make_command_bitmap(ZIP_SOURCE_OPEN, ZIP_SOURCE_READ, ZIP_SOURCE_CLOSE,
                                              ZIP_SOURCE_STAT, ZIP_SOURCE_ERROR, ZIP_SOURCE_FREE,
                                              ZIP_SOURCE_SEEK, ZIP_SOURCE_TELL, ZIP_SOURCE_SUPPORTS, -1);
    default: return -1; /* GCOV_EXCL_LINE: libzip asks for nothing else */
    }
}

static ptio_status zip_trouble(const ptio_inflater *inflater, zip_error_t *error, const ptio_record *record,
                               ptio_error *err) {
    if (inflater->failure.status != PTIO_OK) {
        *err = inflater->failure;
        return err->status;
    }
    if (zip_error_code_zip(error) == ZIP_ER_MEMORY) return ptio_no_memory(err);
    if (!ptio_check_is_on("Z11.inflate")) return PTIO_OK;
    return ptio_fail(err, PTIO_E_ZIP_MALFORMED, "Z11.inflate", record->data,
                     "the compressed data cannot be read: %s", zip_error_strerror(error));
}

/* The stream against what the directory says of it. */
static ptio_status read_stream(const ptio_inflater *inflater, zip_file_t *file, const ptio_record *record,
                               uint8_t *out, uint8_t *scratch, ptio_error *err) {
    uint64_t done = 0;
    uint32_t crc = 0;
    uint8_t one;
    while (done < record->usize) {
        uint8_t *to = out == NULL ? scratch : out + done;
        zip_int64_t got = zip_fread(file, to, ptio_min_u64(record->usize - done, SCRATCH));
        int code = got < 0 ? zip_error_code_zip(zip_file_get_error(file)) : 0;
        if (got < 0 && code != ZIP_ER_CRC && code != ZIP_ER_INCONS)
            return zip_trouble(inflater, zip_file_get_error(file), record, err);
        PTIO_CHECK(got > 0, "Z11.short", err, ZIP_MALFORMED, record->data,
                   "the compressed data ends after %llu bytes, the archive says %llu", (ull)done,
                   (ull)record->usize);
        crc = ptio_crc32(crc, to, (size_t)got);
        done += (uint64_t)got;
    }
    zip_int64_t more = zip_fread(file, &one, 1);
    if (more < 0 && zip_error_code_zip(zip_file_get_error(file)) != ZIP_ER_CRC)
        return zip_trouble(inflater, zip_file_get_error(file), record, err);
    PTIO_CHECK(more <= 0, "Z11.longer", err, ZIP_MALFORMED, record->data,
               "the compressed data goes on after the %llu bytes that the archive says", (ull)record->usize);
    PTIO_CHECK(crc == record->crc || record->crc == 0, "Z11.crc", err, CHECKSUM, record->data,
               "CRC-32 is 0x%08lx, the archive says 0x%08lx", (unsigned long)crc, (unsigned long)record->crc);
    return PTIO_OK;
}

static ptio_status inflate_shown(ptio_inflater *inflater, const ptio_record *record, uint8_t *out,
                                 ptio_error *err) {
    zip_error_t error;
    zip_t *archive = NULL;
    zip_file_t *file = NULL;
    uint8_t *scratch = NULL;
    ptio_status status;
    zip_error_init(&error);
    zip_source_t *source = zip_source_function_create(answer_libzip, inflater, &error);
    if (source != NULL) archive = zip_open_from_source(source, ZIP_RDONLY, &error);
    if (archive == NULL) {
        status = zip_trouble(inflater, &error, record, err);
        if (source != NULL) zip_source_free(source);
        goto done;
    }
    file = zip_fopen_index(archive, 0, 0);
    if (file == NULL) {
        status = zip_trouble(inflater, zip_get_error(archive), record, err);
        goto done;
    }
    if (out == NULL) scratch = ptio_alloc(SCRATCH, 1);
    if (out == NULL && scratch == NULL)
        status = ptio_no_memory(err);
    else
        status = read_stream(inflater, file, record, out, scratch, err);
done:
    ptio_free(scratch);
    if (file != NULL) (void)zip_fclose(file);
    if (archive != NULL) zip_discard(archive);
    zip_error_fini(&error);
    return status;
}

ptio_status ptio_inflate_allowed(const ptio_zip_index *index, uint64_t file_size, const ptio_limits *limits,
                                 uint32_t record, ptio_error *err) {
    const ptio_record *entry = &index->records[record];
    uint64_t most = ptio_limit_for_file(limits->inflated_bytes, file_size);
    bool possible =
        entry->usize <= 64 || (entry->usize - 65) / 1032 < entry->csize; /* usize <= 1032 csize + 64 */
    const char *check = !possible ? "Z11.ratio" : index->inflated_bytes > most ? "Z11.sum" : NULL;
    if (check == NULL || !ptio_check_is_on(check)) return PTIO_OK;
    ptio_status status =
        !possible
            ? ptio_fail(err, PTIO_E_ZIP_MALFORMED, check, entry->header,
                        "%llu compressed bytes cannot become %llu", (ull)entry->csize, (ull)entry->usize)
            : ptio_fail(err, PTIO_E_LIMIT, check, entry->header,
                        "the compressed members have %llu bytes in all, the limit inflated_bytes is %llu",
                        (ull)index->inflated_bytes, (ull)most);
    ptio_zip_name_error(index, record, err);
    return status;
}

ptio_status ptio_inflater_new(const ptio_source *source, const ptio_zip_index *index, ptio_inflater **out,
                              ptio_error *err) {
    ptio_inflater *inflater = ptio_alloc_zeroed(1, sizeof *inflater);
    if (inflater == NULL) return ptio_no_memory(err);
    inflater->source = source;
    inflater->index = index;
    zip_error_init(&inflater->zip_failure);
    *out = inflater;
    return PTIO_OK;
}

ptio_status ptio_inflate(ptio_inflater *inflater, uint32_t record, void *out, ptio_error *err) {
    ptio_status status = show(inflater, record, err);
    if (status == PTIO_OK) status = inflate_shown(inflater, &inflater->index->records[record], out, err);
    if (status != PTIO_OK) ptio_zip_name_error(inflater->index, record, err);
    return status;
}

void ptio_inflater_free(ptio_inflater *inflater) {
    if (inflater == NULL) return;
    zip_error_fini(&inflater->zip_failure);
    ptio_free(inflater->directory);
    ptio_free(inflater);
}
