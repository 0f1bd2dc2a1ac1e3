/* SPDX-License-Identifier: Apache-2.0
 *
 * The core's allocator: the three calls that everything else goes through, so
 * that a test build can make the k-th of them fail, and growable arrays.
 */
#ifndef PTIO_MEMORY_H
#define PTIO_MEMORY_H

#include "error.h"

/* As malloc and realloc for count items of size bytes; NULL when the product
 * overflows or memory is out. ptio_free(NULL) is fine. */
void *ptio_alloc(size_t count, size_t size) PTIO_MUST_CHECK;
void *ptio_alloc_zeroed(size_t count, size_t size) PTIO_MUST_CHECK;
void *ptio_realloc(void *block, size_t count, size_t size) PTIO_MUST_CHECK;
void ptio_free(void *block);

/* True when a test wants the allocation that is about to happen to fail. */
bool ptio_allocation_fails(void);

#ifdef PTIO_FAULT_INJECTION
/* The k-th allocation from now on fails (1 = the next one); 0 switches off. Returns how many
 * were left of the k before, so 0 once that allocation has failed. */
uint64_t ptio_memory_fail_at(uint64_t k);
#endif

/* Makes room for at least `needed` items in a growable array and updates
 * *items and *capacity; capacity doubles, so appending is amortised O(1). */
ptio_status ptio_grow(void **items, size_t *capacity, size_t needed, size_t item_size,
                      ptio_error *err) PTIO_MUST_CHECK;

#endif
