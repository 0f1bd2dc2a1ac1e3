/* SPDX-License-Identifier: Apache-2.0
 *
 * Reference-counted memory: one malloc for small blocks, pages of their own for
 * large ones and for mapped files. Knows nothing of what the bytes mean.
 */
#include "block.h"

#include <stdatomic.h>
#include <sys/mman.h>

#include "memory.h"
#include "pages.h"

/* Large blocks are mapped by themselves: they go back to the system at once when
 * they are dropped, and huge pages make filling them 2-3 times faster. */
#define LARGE ((size_t)2 << 20) /* a huge page: smaller ones would waste most of it */
#define ALIGNMENT ((size_t)64)

struct ptio_block {
    _Atomic size_t references;
    uint8_t *bytes;
    size_t size;
    size_t pages;  /* size of the block from pages.c; 0 for none */
    size_t mapped; /* size of the file mapping; 0 for none */
};

static ptio_status new_small(size_t size, ptio_block **out, ptio_error *err) {
    ptio_block *block = ptio_alloc(1, sizeof *block + ALIGNMENT - 1 + size);
    if (block == NULL) return ptio_no_memory(err);
    uintptr_t behind = (uintptr_t)(block + 1);
    block->bytes = (uint8_t *)(block + 1) + ((ALIGNMENT - behind % ALIGNMENT) % ALIGNMENT);
    block->size = size;
    block->pages = block->mapped = 0;
    atomic_init(&block->references, 1);
    *out = block;
    return PTIO_OK;
}

static ptio_status new_large(size_t size, ptio_block **out, ptio_error *err) {
    size_t length = 0;
    ptio_block *block = ptio_alloc(1, sizeof *block);
    uint8_t *bytes = block != NULL && ptio_pages_size(size, &length) ? ptio_pages_alloc(length) : NULL;
    if (bytes == NULL) {
        ptio_free(block);
        return ptio_no_memory(err);
    }
    block->bytes = bytes;
    block->size = size;
    block->pages = length;
    block->mapped = 0;
    atomic_init(&block->references, 1);
    *out = block;
    return PTIO_OK;
}

ptio_status ptio_block_new(size_t size, ptio_block **out, ptio_error *err) {
    if (size > PTRDIFF_MAX - 2 * LARGE) return ptio_no_memory(err);
    return size < LARGE ? new_small(size, out, err) : new_large(size, out, err);
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
    block->pages = 0;
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
    if (block->pages > 0) ptio_pages_free(block->bytes, block->pages);
    ptio_free(block);
}
