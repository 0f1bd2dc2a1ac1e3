/* SPDX-License-Identifier: Apache-2.0
 *
 * The table of records of an archive, read from its central directory and
 * proven against invariants Z1-Z9 and Z12. It never inflates and never looks
 * at a payload.
 */
#ifndef PTIO_ZIP_INDEX_H
#define PTIO_ZIP_INDEX_H

#include "hash.h"
#include "load_limits.h"
#include "source.h"

#define PTIO_NO_RECORD UINT32_MAX

enum { PTIO_ZIP_STORED = 0, PTIO_ZIP_DEFLATED = 8 };

typedef struct {
    uint64_t header; /* offset of the local header */
    uint64_t limit;  /* offset of the next header or of the directory: the record ends before it */
    uint64_t data;   /* offset of the payload; 0 until the local header is proven */
    uint64_t csize;  /* bytes of the payload in the file */
    uint64_t usize;  /* bytes of the record */
    uint32_t crc;    /* of the record; 0 with usize > 0 means "not computed" */
    uint32_t name;   /* where the whole name begins in `directory` */
    uint16_t name_length;
    uint16_t method;
    uint16_t flags;
    uint16_t descriptor; /* bytes of the data descriptor; known once the local header is proven */
} ptio_record;

typedef struct {
    ptio_block *memory; /* holds the three arrays below */
    uint8_t *directory; /* private copy of the central directory */
    uint64_t directory_offset;
    uint64_t directory_size;
    ptio_record *records; /* in directory order, without directory entries */
    uint32_t count;
    const uint8_t *stem; /* the common top directory, without '/' */
    uint16_t stem_length;
    ptio_hash_key hash_key;
    uint64_t inflated_bytes; /* sum of usize over all compressed records, or UINT64_MAX */
    uint64_t *table;         /* open addressing by the folded name below the stem: hash bits, record + 1 */
    uint32_t table_mask;
} ptio_zip_index;

/* Z1-Z7, Z9. Nothing is allocated for an entry before the directory's size
 * shows that it can exist. */
ptio_status ptio_zip_index_read(const ptio_source *source, const ptio_limits *limits, ptio_zip_index *out,
                                ptio_error *err) PTIO_MUST_CHECK;

/* The same for `count` entries of a directory that somebody else has put together (Z5-Z7, Z9):
 * all members lie inside the first file_size bytes. */
ptio_status ptio_zip_index_of(const void *entries, uint64_t size, uint64_t count, uint64_t file_size,
                              ptio_zip_index *out, ptio_error *err) PTIO_MUST_CHECK;

/* Leaves only the records i with keep[i]; the others get their numbers. */
ptio_status ptio_zip_index_keep(ptio_zip_index *index, const bool *keep, ptio_error *err) PTIO_MUST_CHECK;

/* The record "<stem>/<directory><name>", exactly, or PTIO_NO_RECORD. directory
 * is "" or ends in '/'. */
uint32_t ptio_zip_find(const ptio_zip_index *index, const char *directory, const void *name,
                       size_t name_length);

/* Whether a record (number < count) is "<stem>/<directory><name>", exactly. */
bool ptio_zip_is(const ptio_zip_index *index, uint32_t record, const char *directory, const void *name,
                 size_t name_length);

/* Z8: proves the local header (and the data descriptor) of one record against
 * the directory and sets record->data. Different records may be proven by
 * different threads. */
ptio_status ptio_zip_prove(const ptio_source *source, ptio_zip_index *index, uint32_t record,
                           ptio_error *err) PTIO_MUST_CHECK;

/* The same for one record after another in file order: what was read for one is looked
 * at again for the next. */
typedef struct {
    uint64_t offset;
    size_t size; /* 0 to begin */
    uint8_t bytes[1024];
} ptio_zip_window;
ptio_status ptio_zip_prove_next(const ptio_source *source, ptio_zip_index *index, uint32_t record,
                                ptio_zip_window *window, ptio_error *err) PTIO_MUST_CHECK;

/* The same from bytes of the file that were read before, n of them from offset
 * `from` on. Where the record reaches out of them, *covered is false and nothing
 * is proven. */
ptio_status ptio_zip_prove_in(ptio_zip_index *index, uint32_t record, const uint8_t *bytes, uint64_t from,
                              uint64_t n, bool *covered, ptio_error *err) PTIO_MUST_CHECK;

/* The whole name of a record, as it stands in the archive. */
const uint8_t *ptio_zip_name(const ptio_zip_index *index, uint32_t record, size_t *length);

/* Says in an error that it happened in this record, if it is one. */
void ptio_zip_name_error(const ptio_zip_index *index, uint32_t record, ptio_error *err);

/* Offset of the first byte behind a record's payload and data descriptor; the
 * record is proven. */
uint64_t ptio_zip_record_end(const ptio_zip_index *index, uint32_t record);

void ptio_zip_index_free(ptio_zip_index *index);

#endif
