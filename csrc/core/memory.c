/* SPDX-License-Identifier: Apache-2.0
 *
 * malloc, calloc, realloc and free with checked products. All of the core
 * allocates here, so that one counter can make any single allocation fail.
 */
#include "memory.h"

#include <stdlib.h>

#ifdef PTIO_FAULT_INJECTION
#include <stdatomic.h>

static _Atomic uint64_t allocations_until_failure;

uint64_t ptio_memory_fail_at(uint64_t k) { return atomic_exchange(&allocations_until_failure, k); }

bool ptio_allocation_fails(void) {
    uint64_t left = atomic_load(&allocations_until_failure);
    while (left != 0)
        if (atomic_compare_exchange_weak(&allocations_until_failure, &left, left - 1)) return left == 1;
    return false;
}
#else
bool ptio_allocation_fails(void) { return false; }
#endif

/* NULL means failure to every caller, so nothing is ever 0 bytes large. */
static bool product(size_t count, size_t size, size_t *out) {
    if (__builtin_mul_overflow(count, size, out) || *out > PTRDIFF_MAX) return false;
    if (*out == 0) *out = 1;
    return true;
}

void *ptio_alloc(size_t count, size_t size) {
    size_t bytes;
    if (!product(count, size, &bytes) || ptio_allocation_fails()) return NULL;
    return malloc(bytes);
}

void *ptio_alloc_zeroed(size_t count, size_t size) {
    size_t bytes;
    if (!product(count, size, &bytes) || ptio_allocation_fails()) return NULL;
    return calloc(1, bytes);
}

void *ptio_realloc(void *block, size_t count, size_t size) {
    size_t bytes;
    if (!product(count, size, &bytes) || ptio_allocation_fails()) return NULL;
    return realloc(block, bytes);
}

void ptio_free(void *block) { free(block); }

ptio_status ptio_grow(void **items, size_t *capacity, size_t needed, size_t item_size, ptio_error *err) {
    if (needed <= *capacity) return PTIO_OK;
    size_t wider = *capacity > SIZE_MAX / 2 ? SIZE_MAX : *capacity * 2;
    if (wider < 16) wider = 16;
    if (wider < needed) wider = needed;
    void *grown = ptio_realloc(*items, wider, item_size);
    if (grown == NULL) return ptio_no_memory(err);
    *items = grown;
    *capacity = wider;
    return PTIO_OK;
}
