/* SPDX-License-Identifier: Apache-2.0
 *
 * The working memory of one checkpoint: taken in pieces, given back at once. It
 * comes in huge pages where there are any, because a fault for every 4 KiB would
 * cost more than all the parsing. Arrays that grow large move out into mappings
 * of their own, which grow without copying and leave no hole behind.
 */
#ifndef PTIO_ARENA_H
#define PTIO_ARENA_H

#include "error.h"

typedef struct ptio_arena_chunk ptio_arena_chunk;

typedef struct {
    ptio_arena_chunk *chunk; /* the one that pieces are taken from, then older ones */
    ptio_arena_chunk *large; /* arrays with a mapping of their own */
    uint64_t taken;          /* bytes of all pieces */
    uint64_t limit;          /* of taken; 0 for none */
} ptio_arena;                /* {0} is an empty arena */

/* Room for `bytes` without another chunk: where a size can be foreseen. */
ptio_status ptio_arena_reserve(ptio_arena *arena, uint64_t bytes, ptio_error *err) PTIO_MUST_CHECK;

/* Counts memory that somebody else takes for the same work. */
ptio_status ptio_arena_charge(ptio_arena *arena, uint64_t bytes, ptio_error *err) PTIO_MUST_CHECK;

/* count items of size bytes, aligned to 16, contents undefined. */
ptio_status ptio_arena_alloc(ptio_arena *arena, size_t count, size_t size, void **out,
                             ptio_error *err) PTIO_MUST_CHECK;

/* Makes room for at least `needed` items in an array of this arena (or a new
 * one, where *items is NULL) and updates *items and *capacity. Capacity doubles,
 * so appending is amortised O(1). */
ptio_status ptio_arena_grow(ptio_arena *arena, void **items, size_t *capacity, size_t needed,
                            size_t item_size, ptio_error *err) PTIO_MUST_CHECK;

void ptio_arena_free(ptio_arena *arena); /* leaves {0} */

#endif
