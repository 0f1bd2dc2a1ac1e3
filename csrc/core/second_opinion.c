/* SPDX-License-Identifier: Apache-2.0
 *
 * Shows libzip the whole file through a source of its own kind and walks its
 * entries beside ours.
 */
#include "second_opinion.h"

#include <zip.h>

typedef struct {
    const ptio_source *source;
    uint64_t position;
    ptio_error failure; /* of our source, which libzip only knows as "read error" */
    zip_error_t zip_failure;
} viewer;

static zip_int64_t read_at_position(viewer *v, void *out, uint64_t n) {
    n = ptio_min_u64(n, v->source->size - v->position);
    if (n > 0 && ptio_source_read(v->source, v->position, out, (size_t)n, &v->failure) != PTIO_OK) {
        zip_error_set(&v->zip_failure, ZIP_ER_READ, 0);
        return -1;
    }
    v->position += n;
    return (zip_int64_t)n;
}

static zip_int64_t answer_libzip(void *context, void *data, zip_uint64_t n, zip_source_cmd_t command) {
    viewer *v = context;
    switch (command) {
    case ZIP_SOURCE_OPEN: v->position = 0; return 0;
    case ZIP_SOURCE_READ: return read_at_position(v, data, n);
    case ZIP_SOURCE_SEEK: {
        zip_int64_t to =
            zip_source_seek_compute_offset(v->position, v->source->size, data, n, &v->zip_failure);
        if (to < 0) return -1;
        v->position = (uint64_t)to;
        return 0;
    }
    case ZIP_SOURCE_TELL: return (zip_int64_t)v->position;
    case ZIP_SOURCE_STAT: {
        zip_stat_t *stat = ZIP_SOURCE_GET_ARGS(zip_stat_t, data, n, &v->zip_failure);
        if (stat == NULL) return -1;
        zip_stat_init(stat);
        stat->size = v->source->size;
        stat->valid = ZIP_STAT_SIZE;
        return sizeof *stat;
    }
    case ZIP_SOURCE_ERROR: return zip_error_to_data(&v->zip_failure, data, n);
    case ZIP_SOURCE_CLOSE:
    case ZIP_SOURCE_FREE: return 0;
    case ZIP_SOURCE_SUPPORTS:
        return zip_source_make_command_bitmap(ZIP_SOURCE_OPEN, ZIP_SOURCE_READ, ZIP_SOURCE_CLOSE,
                                              ZIP_SOURCE_STAT, ZIP_SOURCE_ERROR, ZIP_SOURCE_FREE,
                                              ZIP_SOURCE_SEEK, ZIP_SOURCE_TELL, ZIP_SOURCE_SUPPORTS, -1);
    default: return -1; /* GCOV_EXCL_LINE: libzip asks for nothing else */
    }
}

static ptio_status zip_trouble(const viewer *v, zip_error_t *error, ptio_error *err) {
    if (v->failure.status != PTIO_OK) {
        *err = v->failure;
        return err->status;
    }
    if (zip_error_code_zip(error) == ZIP_ER_MEMORY) return ptio_no_memory(err);
    if (!ptio_check_is_on("Z13.accepted")) return PTIO_OK;
    return ptio_fail(err, PTIO_E_ZIP_AMBIGUOUS, "Z13.accepted", PTIO_NO_OFFSET,
                     "libzip does not accept this archive: %s", zip_error_strerror(error));
}

static bool is_folder(const zip_stat_t *entry) {
    size_t length = strlen(entry->name);
    return length > 0 && entry->name[length - 1] == '/' && entry->size == 0;
}

static ptio_status compare(const ptio_zip_index *index, uint32_t record, const zip_stat_t *theirs,
                           ptio_error *err) {
    const ptio_record *ours = &index->records[record];
    size_t length;
    const uint8_t *name = ptio_zip_name(index, record, &length);
    PTIO_CHECK(strlen(theirs->name) == length && memcmp(theirs->name, name, length) == 0, "Z13.name", err,
               ZIP_AMBIGUOUS, ours->header, "libzip sees a member of another name here");
    PTIO_CHECK(theirs->size == ours->usize && theirs->comp_size == ours->csize, "Z13.size", err,
               ZIP_AMBIGUOUS, ours->header, "libzip sees %llu bytes here, stored as %llu",
               (unsigned long long)theirs->size, (unsigned long long)theirs->comp_size);
    PTIO_CHECK(theirs->crc == ours->crc && theirs->comp_method == ours->method, "Z13.crc", err, ZIP_AMBIGUOUS,
               ours->header, "libzip sees CRC-32 0x%08lx and method %u here", (unsigned long)theirs->crc,
               (unsigned)theirs->comp_method);
    return PTIO_OK;
}

static ptio_status compare_all(zip_t *archive, const ptio_zip_index *index, const viewer *v,
                               ptio_error *err) {
    zip_int64_t entries = zip_get_num_entries(archive, ZIP_FL_UNCHANGED);
    uint32_t record = 0;
    for (zip_int64_t i = 0; i < entries; i++) {
        zip_stat_t theirs;
        zip_stat_init(&theirs);
        zip_flags_t flags = ZIP_FL_UNCHANGED | ZIP_FL_ENC_RAW;
        if (zip_stat_index(archive, (zip_uint64_t)i, flags, &theirs) < 0)
            return zip_trouble(v, zip_get_error(archive), err);
        if (is_folder(&theirs)) continue;
        PTIO_CHECK(record < index->count, "Z13.more", err, ZIP_AMBIGUOUS, index->directory_offset,
                   "libzip sees more than %u members", (unsigned)index->count);
        ptio_status status = compare(index, record, &theirs, err);
        if (status != PTIO_OK) ptio_zip_name_error(index, record, err);
        PTIO_TRY(status);
        record++;
    }
    PTIO_CHECK(record == index->count, "Z13.fewer", err, ZIP_AMBIGUOUS, index->directory_offset,
               "libzip sees only %u of %u members", (unsigned)record, (unsigned)index->count);
    return PTIO_OK;
}

ptio_status ptio_second_opinion(const ptio_source *source, const ptio_zip_index *index, ptio_error *err) {
    viewer v = {.source = source};
    zip_error_t error;
    zip_t *archive = NULL;
    ptio_status status;
    zip_error_init(&v.zip_failure);
    zip_error_init(&error);
    zip_source_t *whole = zip_source_function_create(answer_libzip, &v, &error);
    if (whole != NULL) archive = zip_open_from_source(whole, ZIP_RDONLY | ZIP_CHECKCONS, &error);
    if (archive == NULL) {
        status = zip_trouble(&v, &error, err);
        if (whole != NULL) zip_source_free(whole);
    } else {
        status = compare_all(archive, index, &v, err);
        zip_discard(archive);
    }
    zip_error_fini(&error);
    zip_error_fini(&v.zip_failure);
    return status;
}
