/* SPDX-License-Identifier: Apache-2.0
 *
 * Blocks of memory by size: small ones from the heap, large ones as pages of
 * their own, huge pages where the system has them. Whoever takes one knows its
 * size and gives it back with it.
 */
#ifndef PTIO_PAGES_H
#define PTIO_PAGES_H

#include "error.h"

#define PTIO_HUGE_PAGE ((size_t)2 << 20)

/* For working memory that is soon given back: a whole huge page where filling a
 * part of it with small pages would take longer. */
static inline size_t ptio_huge_room(size_t bytes) {
    return bytes >= PTIO_HUGE_PAGE / 8 && bytes < PTIO_HUGE_PAGE ? PTIO_HUGE_PAGE : bytes;
}

/* The size to ask for when `bytes` are needed; false when that is too much. */
bool PTIO_MUST_CHECK ptio_pages_size(size_t bytes, size_t *size);

/* size as ptio_pages_size says; aligned to 64 bytes, contents undefined. NULL
 * when memory is out. */
void *ptio_pages_alloc(size_t size) PTIO_MUST_CHECK;
void *ptio_pages_alloc_zeroed(size_t size) PTIO_MUST_CHECK;
/* Keeps the contents; may move. On NULL the old block is still there. */
void *ptio_pages_resize(void *block, size_t old_size, size_t new_size) PTIO_MUST_CHECK;
void ptio_pages_free(void *block, size_t size);

/* As ptio_grow, for an array that may get large and is soon given back; {NULL, 0} to begin. */
ptio_status ptio_pages_grow(void **items, size_t *capacity, size_t needed, size_t item_size,
                            ptio_error *err) PTIO_MUST_CHECK;
void ptio_pages_free_array(void *items, size_t capacity, size_t item_size); /* NULL is fine */

#endif
