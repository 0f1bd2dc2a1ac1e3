/* SPDX-License-Identifier: Apache-2.0
 *
 * Cuts the stored records that somebody wants into units of about equal work, in
 * the order of the file: runs of small neighbours, and chunks of large records.
 */
#ifndef PTIO_RECORD_PLAN_H
#define PTIO_RECORD_PLAN_H

#include "record_read.h"

#define PTIO_CHUNK (UINT64_C(4) << 20) /* whole huge pages, so no two threads fault the same one */
#define PTIO_PIECE ((size_t)256 << 10) /* copied and checked at once: stays in the cache */

typedef struct {
    uint32_t record;
    uint32_t target; /* the caller's: which of its wanted records this is */
    bool in_place;   /* the caller's: checked where it lies rather than read; never mixed in a run */
} ptio_plan_item;

typedef struct {
    uint32_t first; /* items [first, first + count); a chunk has one */
    uint32_t count;
    bool chunk;
    bool failed;      /* the caller's */
    uint32_t crc;     /* of a chunk, once it is read */
    uint64_t begin;   /* run: the file from its first header ... chunk: the payload from here */
    uint64_t length;  /* ... as far as its last record is likely to reach; chunk: so many bytes */
    uint64_t payload; /* bytes of payload in it */
} ptio_plan_unit;

typedef struct {
    ptio_plan_item *items; /* in the order of the file */
    uint32_t item_count;
    ptio_plan_unit *units;
    size_t unit_count, unit_capacity;
    uint64_t payload; /* of all units */
} ptio_read_plan;

/* Sorts items by the offsets of their records. */
ptio_status ptio_plan_sort(const ptio_zip_index *index, ptio_plan_item *items, uint32_t count,
                           ptio_error *err) PTIO_MUST_CHECK;

/* Whether a record is read in chunks rather than in a run of at most `slab` bytes.
 * Chunks need the record proven beforehand. */
bool ptio_plan_is_large(const ptio_zip_index *index, uint32_t record, uint64_t slab);

/* Fills plan->units for plan->items, which are sorted. */
ptio_status ptio_plan_make(const ptio_zip_index *index, uint64_t slab, ptio_read_plan *plan,
                           ptio_error *err) PTIO_MUST_CHECK;

void ptio_plan_free(ptio_read_plan *plan);

/* Threads that are worth starting for so many bytes, of those asked for (0 = automatic). */
unsigned ptio_plan_threads(const ptio_source *source, unsigned asked, uint64_t bytes);

/* Joins the CRCs of the chunks of one large record; *next is its first unit and moves
 * behind its last one. */
uint32_t ptio_plan_join(const ptio_read_plan *plan, size_t *next);

/* Z10. A CRC of 0 over some bytes means that the writer did not compute it. */
ptio_status ptio_record_check_crc(const ptio_zip_index *index, uint32_t record, uint32_t crc,
                                  ptio_error *err) PTIO_MUST_CHECK;

#endif
