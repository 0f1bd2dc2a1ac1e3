/* SPDX-License-Identifier: Apache-2.0
 *
 * Reference-counted memory: one malloc for small blocks, pages of their own for
 * large ones and for mapped files. Knows nothing of what the bytes mean.
 */
#include "block.h"

#include <stdatomic.h>
#include <sys/mman.h>
#include <unistd.h>

#include "memory.h"

/* Large blocks are mapped by themselves: they go back to the system at once when
 * they are dropped, and huge pages make filling them 2-3 times faster. */
#define HUGE_PAGE ((size_t)2 << 20)
#define ALIGNMENT ((size_t)64)

struct ptio_block {
    _Atomic size_t references;
    uint8_t *bytes;
    size_t size;
    size_t mapped; /* bytes to unmap; 0 where the bytes follow this struct */
};

static ptio_status new_small(size_t size, ptio_block **out, ptio_error *err) {
    ptio_block *block = ptio_alloc(1, sizeof *block + ALIGNMENT - 1 + size);
    if (block == NULL) return ptio_no_memory(err);
    uintptr_t behind = (uintptr_t)(block + 1);
    block->bytes = (uint8_t *)(block + 1) + ((ALIGNMENT - behind % ALIGNMENT) % ALIGNMENT);
    block->size = size;
    block->mapped = 0;
    atomic_init(&block->references, 1);
    *out = block;
    return PTIO_OK;
}

/* Whole pages that begin at a multiple of HUGE_PAGE, or NULL. */
static uint8_t *map_aligned(size_t length) {
    uint8_t *all = mmap(NULL, length + HUGE_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (all == MAP_FAILED) return NULL;
    size_t before = (HUGE_PAGE - (uintptr_t)all % HUGE_PAGE) % HUGE_PAGE;
    if (before > 0) munmap(all, before);
    munmap(all + before + length, HUGE_PAGE - before);
    return all + before;
}

static ptio_status new_large(size_t size, ptio_block **out, ptio_error *err) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t length = (size + page - 1) / page * page;
    ptio_block *block = ptio_alloc(1, sizeof *block);
    uint8_t *bytes = block == NULL ? NULL : map_aligned(length);
    if (bytes == NULL) {
        ptio_free(block);
        return ptio_no_memory(err);
    }
#ifdef MADV_HUGEPAGE
    (void)madvise(bytes, length, MADV_HUGEPAGE); /* only ever advice: where it fails, small pages do */
#endif
    block->bytes = bytes;
    block->size = size;
    block->mapped = length;
    atomic_init(&block->references, 1);
    *out = block;
    return PTIO_OK;
}

ptio_status ptio_block_new(size_t size, ptio_block **out, ptio_error *err) {
    if (size > PTRDIFF_MAX - 2 * HUGE_PAGE) return ptio_no_memory(err);
    return size < HUGE_PAGE ? new_small(size, out, err) : new_large(size, out, err);
}

ptio_status ptio_block_map(int fd, size_t size, ptio_block **out, ptio_error *err) {
    int flags = MAP_PRIVATE;
#ifdef MAP_NORESERVE
    flags |= MAP_NORESERVE; /* nobody rewrites every page of a checkpoint */
#endif
    ptio_block *block = ptio_alloc(1, sizeof *block);
    if (block == NULL) return ptio_no_memory(err);
    void *bytes = mmap(NULL, size, PROT_READ | PROT_WRITE, flags, fd, 0);
    if (bytes == MAP_FAILED) {
        ptio_status status = ptio_fail_errno(err, "mmap");
        ptio_free(block);
        return status;
    }
    block->bytes = bytes;
    block->size = size;
    block->mapped = size;
    atomic_init(&block->references, 1);
    *out = block;
    return PTIO_OK;
}

uint8_t *ptio_block_bytes(const ptio_block *block) { return block->bytes; }
size_t ptio_block_size(const ptio_block *block) { return block->size; }

ptio_block *ptio_block_ref(ptio_block *block) {
    atomic_fetch_add_explicit(&block->references, 1, memory_order_relaxed);
    return block;
}

void ptio_block_unref(ptio_block *block) {
    if (block == NULL) return;
    /* Release: our writes come before the free; acquire: so do everybody else's. */
    if (atomic_fetch_sub_explicit(&block->references, 1, memory_order_acq_rel) != 1) return;
    if (block->mapped > 0) munmap(block->bytes, block->mapped);
    ptio_free(block);
}
