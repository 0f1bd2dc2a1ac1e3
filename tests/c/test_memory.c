/* SPDX-License-Identifier: Apache-2.0
 *
 * Allocation, growable arrays and reference-counted blocks.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "block.h"
#include "memory.h"
#include "test.h"

void suite_memory(void);

static void products_do_not_wrap(void) {
    ASSERT_TRUE(ptio_alloc(SIZE_MAX / 2, 3) == NULL);
    ASSERT_TRUE(ptio_alloc_zeroed(SIZE_MAX, 1) == NULL);
    ASSERT_TRUE(ptio_realloc(NULL, SIZE_MAX / 4, 8) == NULL);
}

static void nothing_is_still_a_pointer(void) {
    void *a = ptio_alloc(0, 8), *b = ptio_alloc_zeroed(3, 0);
    ASSERT_TRUE(a != NULL && b != NULL);
    a = ptio_realloc(a, 0, 0);
    ASSERT_TRUE(a != NULL);
    ptio_free(a);
    ptio_free(b);
    ptio_free(NULL);
}

static void the_kth_allocation_fails(void) {
    ptio_memory_fail_at(2);
    void *first = ptio_alloc(1, 1), *second = ptio_alloc(1, 1), *third = ptio_alloc(1, 1);
    ASSERT_TRUE(first != NULL && second == NULL && third != NULL);
    ptio_free(first);
    ptio_free(third);
}

static void arrays_grow_by_doubling(void) {
    ptio_error err;
    uint32_t *items = NULL;
    size_t capacity = 0, grown = 0;
    for (size_t n = 1; n <= 1000; n++) {
        size_t before = capacity;
        ASSERT_OK(ptio_grow((void **)&items, &capacity, n, sizeof *items, &err));
        ASSERT_TRUE(capacity >= n);
        grown += capacity != before;
        items[n - 1] = (uint32_t)n;
    }
    ASSERT_TRUE(grown < 10);
    ASSERT_EQUAL(items[999], 1000);
    ASSERT_FAILS(ptio_grow((void **)&items, &capacity, SIZE_MAX / 2, sizeof *items, &err), NO_MEMORY, "memory",
                 "out of memory", PTIO_NO_OFFSET);
    ASSERT_EQUAL(items[0], 1);
    ptio_free(items);
}

static void blocks_are_aligned_and_counted(void) {
    static const size_t sizes[] = {0, 1, 63, 64, 65, 100000, (2u << 20) - 1, 2u << 20, (2u << 20) + 1, 5000000};
    ptio_error err;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        ptio_block *block = NULL;
        ASSERT_OK(ptio_block_new(sizes[i], &block, &err));
        size_t alignment = sizes[i] >= 2u << 20 ? 2u << 20 : 64;
        ASSERT_EQUAL((uintptr_t)ptio_block_bytes(block) % alignment, 0);
        ASSERT_EQUAL(ptio_block_size(block), sizes[i]);
        memset(ptio_block_bytes(block), 0x5A, sizes[i]);
        ASSERT_TRUE(ptio_block_ref(block) == block);
        ptio_block_unref(block);
        if (sizes[i] > 0) ASSERT_EQUAL(ptio_block_bytes(block)[sizes[i] - 1], 0x5A);
        ptio_block_unref(block);
    }
    ptio_block_unref(NULL);
}

static void huge_blocks_are_refused(void) {
    ptio_error err;
    ptio_block *block = NULL;
    ASSERT_FAILS(ptio_block_new(SIZE_MAX - 5, &block, &err), NO_MEMORY, "memory", "out of memory", PTIO_NO_OFFSET);
    ASSERT_FAILS(ptio_block_new(SIZE_MAX / 2 + 1, &block, &err), NO_MEMORY, "memory", "out of memory",
                 PTIO_NO_OFFSET);
    ASSERT_TRUE(block == NULL);
}

static void mapped_blocks_are_private(void) {
    ptio_error err;
    char path[] = "/tmp/ptio-test-XXXXXX", byte;
    int fd = mkstemp(path);
    ptio_block *block = NULL;
    ASSERT_EQUAL(write(fd, "hello", 5), 5);
    ASSERT_OK(ptio_block_map(fd, 5, &block, &err));
    ptio_block_bytes(block)[0] = 'J';
    ASSERT_EQUAL(pread(fd, &byte, 1, 0), 1);
    ASSERT_EQUAL(byte, 'h');
    ptio_block_unref(block);
    block = NULL;
    ASSERT_FAILS(ptio_block_map(-1, 5, &block, &err), IO, "io", "mmap: ", PTIO_NO_OFFSET);
    ASSERT_TRUE(block == NULL);
    close(fd);
    unlink(path);
}

void suite_memory(void) {
    RUN(products_do_not_wrap);
    RUN(nothing_is_still_a_pointer);
    RUN(the_kth_allocation_fails);
    RUN(arrays_grow_by_doubling);
    RUN(blocks_are_aligned_and_counted);
    RUN(huge_blocks_are_refused);
    RUN(mapped_blocks_are_private);
}
