/* SPDX-License-Identifier: Apache-2.0 */
#include "memo.h"

#include "memory.h"

/* A pickler may skip a few indices (protocol 2 of torch's own), so the array is
 * extended over gaps, but never to more than twice the entries there are, and FAR. */
enum { FAR = 64, FIRST_SPARSE = 64 };

static size_t slot_of(const ptio_memo *memo, uint32_t index) {
    size_t mask = memo->sparse_capacity - 1;
    size_t at = (size_t)ptio_hash(&memo->key, &index, sizeof index) & mask;
    while (memo->sparse[at].node != PTIO_NO_NODE && memo->sparse[at].index != index) at = (at + 1) & mask;
    return at;
}

static ptio_status sparse_resize(ptio_memo *memo, ptio_error *err) {
    size_t capacity = memo->sparse_capacity ? 2 * memo->sparse_capacity : FIRST_SPARSE;
    ptio_memo old = *memo;
    if (old.sparse_capacity == 0) PTIO_TRY(ptio_hash_key_new(&memo->key, err));
    PTIO_TRY(ptio_arena_charge(memo->arena, capacity * sizeof(ptio_memo_slot), err));
    ptio_memo_slot *slots = ptio_alloc(capacity, sizeof *slots);
    if (slots == NULL) return ptio_no_memory(err);
    memset(slots, 0xff, capacity * sizeof *slots); /* node = PTIO_NO_NODE */
    memo->sparse = slots;
    memo->sparse_capacity = capacity;
    for (size_t i = 0; i < old.sparse_capacity; i++)
        if (old.sparse[i].node != PTIO_NO_NODE)
            memo->sparse[slot_of(memo, old.sparse[i].index)] = old.sparse[i];
    ptio_free(old.sparse);
    return PTIO_OK;
}

static ptio_status sparse_put(ptio_memo *memo, uint32_t index, ptio_ref node, ptio_error *err) {
    if (memo->sparse_count >= memo->sparse_capacity / 2) PTIO_TRY(sparse_resize(memo, err));
    ptio_memo_slot *slot = &memo->sparse[slot_of(memo, index)];
    if (slot->node == PTIO_NO_NODE) {
        memo->sparse_count++;
        memo->entries++;
    }
    *slot = (ptio_memo_slot){index, node};
    return PTIO_OK;
}

ptio_status ptio_memo_reserve(ptio_memo *memo, size_t entries, ptio_error *err) {
    void *dense = memo->dense;
    PTIO_TRY(ptio_arena_grow(memo->arena, &dense, &memo->dense_capacity, entries, sizeof(ptio_ref), err));
    memo->dense = dense;
    return PTIO_OK;
}

ptio_status ptio_memo_put_far(ptio_memo *memo, uint32_t index, ptio_ref node, ptio_error *err) {
    if (index >= memo->dense_count) {
        bool known_sparse = memo->sparse_count > 0 && memo->sparse[slot_of(memo, index)].node != PTIO_NO_NODE;
        if (known_sparse || index > 2 * (uint64_t)memo->entries + FAR)
            return sparse_put(memo, index, node, err);
        PTIO_TRY(ptio_memo_reserve(memo, (size_t)index + 1, err));
        while (memo->dense_count <= index) {
            /* An index that was far when it was put must stay found. */
            uint32_t gap = (uint32_t)memo->dense_count;
            memo->dense[memo->dense_count] = ptio_memo_get_far(memo, gap);
            memo->dense_count++;
        }
    }
    if (memo->dense[index] == PTIO_NO_NODE) memo->entries++;
    memo->dense[index] = node;
    return PTIO_OK;
}

ptio_ref ptio_memo_get_far(const ptio_memo *memo, uint32_t index) {
    if (memo->sparse_count == 0) return PTIO_NO_NODE;
    return memo->sparse[slot_of(memo, index)].node;
}

void ptio_memo_free(ptio_memo *memo) {
    ptio_free(memo->sparse);
    memset(memo, 0, sizeof *memo);
}
