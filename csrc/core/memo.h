/* SPDX-License-Identifier: Apache-2.0
 *
 * The pickle machine's memo: index -> node. Indices that picklers really use
 * (0, 1, 2, ...) are an array; far ones go into a small hash table, so that no
 * index costs more memory than the bytes that name it (invariant P5).
 */
#ifndef PTIO_MEMO_H
#define PTIO_MEMO_H

#include "graph.h"
#include "hash.h"

typedef struct {
    uint32_t index;
    ptio_ref node;
} ptio_memo_slot;

typedef struct {
    ptio_arena *arena; /* of dense */
    ptio_ref *dense;   /* PTIO_NO_NODE where nothing was put */
    size_t dense_count, dense_capacity;
    ptio_memo_slot *sparse; /* open addressing; node PTIO_NO_NODE = free */
    size_t sparse_count, sparse_capacity;
    ptio_hash_key key; /* no file can choose indices that collide */
    size_t entries;    /* distinct indices: MEMOIZE's next index */
} ptio_memo;

/* Foresees that many entries. */
ptio_status ptio_memo_reserve(ptio_memo *memo, size_t entries, ptio_error *err) PTIO_MUST_CHECK;
ptio_status ptio_memo_put_far(ptio_memo *memo, uint32_t index, ptio_ref node,
                              ptio_error *err) PTIO_MUST_CHECK;
ptio_ref ptio_memo_get_far(const ptio_memo *memo, uint32_t index);
void ptio_memo_free(ptio_memo *memo);

static inline ptio_status PTIO_MUST_CHECK ptio_memo_put(ptio_memo *memo, uint32_t index, ptio_ref node,
                                                        ptio_error *err) {
    if (PTIO_LIKELY(index == memo->dense_count && index < memo->dense_capacity && memo->sparse_count == 0)) {
        memo->dense[memo->dense_count++] = node;
        memo->entries++;
        return PTIO_OK;
    }
    return ptio_memo_put_far(memo, index, node, err);
}

/* PTIO_NO_NODE where nothing was put. */
static inline ptio_ref ptio_memo_get(const ptio_memo *memo, uint32_t index) {
    return PTIO_LIKELY(index < memo->dense_count) ? memo->dense[index] : ptio_memo_get_far(memo, index);
}

#endif
