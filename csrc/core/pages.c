/* SPDX-License-Identifier: Apache-2.0 */
#include "pages.h"

#include <stdlib.h>
#include <sys/mman.h>

#include "memory.h"

/* Blocks of at least a huge page are mapped by themselves and begin at one: a
 * block that begins in the middle would get none for its ends. */
#define SMALL_PAGE ((size_t)64 << 10) /* a multiple of every page size in use */

static bool is_mapped(size_t size) { return size >= PTIO_HUGE_PAGE; }

bool ptio_pages_size(size_t bytes, size_t *size) {
    if (bytes > PTRDIFF_MAX - 2 * PTIO_HUGE_PAGE) return false;
    *size = (bytes + SMALL_PAGE - 1) / SMALL_PAGE * SMALL_PAGE;
    return true;
}

/* Room is often foreseen and then not touched: it need not be backed by swap. */
#ifndef MAP_NORESERVE
#define MAP_NORESERVE 0
#endif

static void *map_aligned(size_t size) {
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    uint8_t *all = mmap(NULL, size + PTIO_HUGE_PAGE, PROT_READ | PROT_WRITE, flags, -1, 0);
    if (all == MAP_FAILED) return NULL;
    size_t before = (PTIO_HUGE_PAGE - (uintptr_t)all % PTIO_HUGE_PAGE) % PTIO_HUGE_PAGE;
    if (before > 0) munmap(all, before);
    if (PTIO_HUGE_PAGE - before > 0) munmap(all + before + size, PTIO_HUGE_PAGE - before);
#ifdef MADV_HUGEPAGE
    (void)madvise(all + before, size, MADV_HUGEPAGE); /* advice: where it fails, small pages do */
#endif
    return all + before;
}

void *ptio_pages_alloc(size_t size) {
    if (!is_mapped(size)) return ptio_alloc(size, 1);
    return ptio_allocation_fails() ? NULL : map_aligned(size);
}

void *ptio_pages_alloc_zeroed(size_t size) {
    return is_mapped(size) ? ptio_pages_alloc(size) : ptio_alloc_zeroed(size, 1);
}

static void *move(void *block, size_t old_size, size_t new_size) {
    void *moved = ptio_pages_alloc(new_size);
    if (moved == NULL) return NULL;
    memcpy(moved, block, old_size < new_size ? old_size : new_size);
    ptio_pages_free(block, old_size);
    return moved;
}

void *ptio_pages_resize(void *block, size_t old_size, size_t new_size) {
    if (!is_mapped(old_size) && !is_mapped(new_size)) return ptio_realloc(block, new_size, 1);
    if (!is_mapped(old_size) || !is_mapped(new_size)) return move(block, old_size, new_size);
    if (ptio_allocation_fails()) return NULL;
#ifdef MREMAP_MAYMOVE
    void *moved = mremap(block, old_size, new_size, MREMAP_MAYMOVE);
    return moved == MAP_FAILED ? NULL : moved;
#else
    return move(block, old_size, new_size);
#endif
}

void ptio_pages_free(void *block, size_t size) {
    if (is_mapped(size))
        munmap(block, size);
    else
        ptio_free(block);
}

/* Of an array: its capacity is as many items as its block has room for, which tells the size of it. */
static bool array_size(size_t capacity, size_t item_size, size_t *size) {
    size_t bytes;
    return !__builtin_mul_overflow(capacity, item_size, &bytes) &&
           ptio_pages_size(ptio_huge_room(bytes), size);
}

ptio_status ptio_pages_grow(void **items, size_t *capacity, size_t needed, size_t item_size,
                            ptio_error *err) {
    size_t old_size = 0, size = 0;
    if (needed <= *capacity) return PTIO_OK;
    size_t wider = *capacity > SIZE_MAX / 2 ? SIZE_MAX : *capacity * 2;
    if (!array_size(wider < needed ? needed : wider, item_size, &size)) return ptio_no_memory(err);
    if (!array_size(*capacity, item_size, &old_size)) return ptio_no_memory(err);
    void *grown = *items == NULL ? ptio_pages_alloc(size) : ptio_pages_resize(*items, old_size, size);
    if (grown == NULL) return ptio_no_memory(err);
    *items = grown;
    *capacity = size / item_size;
    return PTIO_OK;
}

void ptio_pages_free_array(void *items, size_t capacity, size_t item_size) {
    size_t size;
    if (items != NULL && array_size(capacity, item_size, &size)) ptio_pages_free(items, size);
}
