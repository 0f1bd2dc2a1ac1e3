/* SPDX-License-Identifier: Apache-2.0
 *
 * The working memory of a checkpoint: where arrays grow, and that they keep what they hold.
 */
#include "arena.h"

#include <errno.h>

#include "faults.h"
#include "memory.h"
#include "pages.h"
#include "test.h"

void suite_arena(void);

enum { MANY = 3 << 20 }; /* uint32_t: more than an array that moves out of its chunk has */

typedef struct {
    uint32_t *items;
    size_t capacity, count;
} numbers;

static ptio_status add(ptio_arena *arena, numbers *n, uint32_t number, ptio_error *err) {
    void *items = n->items;
    PTIO_TRY(ptio_arena_grow(arena, &items, &n->capacity, n->count + 1, sizeof *n->items, err));
    n->items = items;
    n->items[n->count++] = number;
    return PTIO_OK;
}

static bool holds(const numbers *n, uint32_t step) {
    for (uint32_t i = 0; i < n->count; i++)
        if (n->items[i] != i * step) return false;
    return true;
}

static void arrays_grow_and_keep_their_items(void) {
    ptio_arena arena = {0};
    ptio_error err;
    numbers alone = {.items = NULL}, first = {.items = NULL}, second = {.items = NULL};
    for (uint32_t i = 0; i < MANY; i++) ASSERT_OK(add(&arena, &alone, i, &err));
    for (uint32_t i = 0; i < MANY; i++) { /* in turn, so that neither is the last piece for long */
        ASSERT_OK(add(&arena, &first, 3 * i, &err));
        ASSERT_OK(add(&arena, &second, 5 * i, &err));
    }
    ASSERT_TRUE(holds(&alone, 1) && holds(&first, 3) && holds(&second, 5));
    ptio_arena_free(&arena);
    ASSERT_TRUE(arena.chunk == NULL && arena.large == NULL);
}

static void the_last_piece_grows_where_it_is(void) {
    ptio_arena arena = {0};
    ptio_error err;
    numbers n = {.items = NULL};
    ASSERT_OK(add(&arena, &n, 7, &err));
    const uint32_t *before = n.items;
    for (uint32_t i = 0; i < 1000; i++) ASSERT_OK(add(&arena, &n, i, &err));
    ASSERT_TRUE(n.items == before);
    ptio_arena_free(&arena);
}

/* Room that was foreseen holds large arrays, too: growing, they leave it. */
static void large_arrays_in_foreseen_room(void) {
    ptio_arena arena = {0};
    ptio_error err;
    numbers n = {.items = NULL};
    void *piece;
    ASSERT_OK(ptio_arena_reserve(&arena, (uint64_t)12 << 20, &err));
    for (uint32_t i = 0; i < 2 << 20; i++) ASSERT_OK(add(&arena, &n, i, &err)); /* 8 MiB */
    ASSERT_TRUE(arena.large == NULL);
    ASSERT_OK(ptio_arena_alloc(&arena, 1, 16, &piece, &err));
    const uint32_t *before = n.items;
    for (uint32_t i = 2 << 20; i < MANY; i++) ASSERT_OK(add(&arena, &n, i, &err));
    ASSERT_TRUE(n.items != before && arena.large != NULL && holds(&n, 1));
    ptio_arena_free(&arena);
}

static void sizes_that_cannot_be(void) {
    ptio_arena arena = {0};
    ptio_error err;
    numbers n = {.items = NULL};
    void *out = NULL, *items;
    ASSERT_OK(add(&arena, &n, 0, &err));
    items = n.items;
#define TOO_MUCH(call) ASSERT_FAILS(call, NO_MEMORY, "memory", "out of memory", PTIO_NO_OFFSET)
    TOO_MUCH(ptio_arena_reserve(&arena, UINT64_MAX, &err));
    TOO_MUCH(ptio_arena_alloc(&arena, SIZE_MAX / 2, 3, &out, &err));
    TOO_MUCH(ptio_arena_alloc(&arena, PTRDIFF_MAX, 1, &out, &err));
    TOO_MUCH(ptio_arena_grow(&arena, &items, &n.capacity, SIZE_MAX / 2, sizeof *n.items, &err));
    TOO_MUCH(ptio_arena_grow(&arena, &items, &n.capacity, PTRDIFF_MAX, 1, &err));
    ASSERT_TRUE(out == NULL && items == n.items && n.capacity == 16);
    ASSERT_OK(ptio_arena_alloc(&arena, 0, 8, &out, &err)); /* nothing is still a pointer */
    ASSERT_TRUE(out != NULL);
    ptio_arena_free(&arena);
    size_t size = 5;
    ASSERT_TRUE(!ptio_pages_size(SIZE_MAX - 100, &size) && size == 5);
    n = (numbers){.items = NULL};
    items = NULL;
    TOO_MUCH(ptio_pages_grow(&items, &n.capacity, SIZE_MAX / 2, sizeof *n.items, &err));
    TOO_MUCH(ptio_pages_grow(&items, &n.capacity, PTRDIFF_MAX, 1, &err));
    ASSERT_TRUE(items == NULL && n.capacity == 0);
}

/* Arrays that are small, that get pages of their own, and that have them. */
static ptio_status fill(ptio_arena *arena, numbers *n, numbers *between, ptio_error *err) {
    for (uint32_t i = 0; i < MANY; i++) {
        PTIO_TRY(add(arena, n, i, err));
        if ((i & (i - 1)) == 0) PTIO_TRY(add(arena, between, 0, err)); /* takes the last place */
    }
    return PTIO_OK;
}

static void memory_may_run_out_anywhere(void) {
    ptio_status status = PTIO_E_NO_MEMORY;
    uint64_t k = 1;
    for (; status != PTIO_OK && k < 100; k++) {
        ptio_arena arena = {0};
        ptio_error err;
        numbers n = {.items = NULL}, between = {.items = NULL};
        ptio_memory_fail_at(k);
        status = fill(&arena, &n, &between, &err);
        ptio_memory_fail_at(0);
        if (status != PTIO_OK) ASSERT_EQUAL(status, PTIO_E_NO_MEMORY);
        ASSERT_TRUE(holds(&n, 1) && n.count <= n.capacity);
        ptio_arena_free(&arena);
    }
    ASSERT_TRUE(status == PTIO_OK && k > 5);
}

static ptio_status grow_pages(void **items, size_t *capacity, ptio_error *err) {
    for (size_t n = 1; n <= MANY; n = 1 + *capacity) {
        size_t before = *capacity;
        PTIO_TRY(ptio_pages_grow(items, capacity, n, sizeof(uint32_t), err));
        for (size_t i = before; i < *capacity; i++) ((uint32_t *)*items)[i] = (uint32_t)i;
    }
    return PTIO_OK;
}

static void arrays_of_pages_keep_their_items(void) {
    ptio_status status = PTIO_E_NO_MEMORY;
    uint64_t k = 1;
    for (; status != PTIO_OK && k < 100; k++) {
        ptio_error err;
        void *items = NULL;
        size_t capacity = 0;
        ptio_memory_fail_at(k);
        status = grow_pages(&items, &capacity, &err);
        ptio_memory_fail_at(0);
        if (status != PTIO_OK) ASSERT_EQUAL(status, PTIO_E_NO_MEMORY);
        numbers n = {.items = items, .count = capacity};
        ASSERT_TRUE(holds(&n, 1));
        ptio_pages_free_array(items, capacity, sizeof(uint32_t));
    }
    ASSERT_TRUE(status == PTIO_OK && k > 5);
    ptio_pages_free_array(NULL, 0, sizeof(uint32_t));
}

static void the_system_may_have_no_pages(void) {
    ptio_error err;
    void *items = NULL;
    size_t capacity = 0;
    if (!faults_work()) return;
    faults.mmap_errno = ENOMEM;
    ASSERT_FAILS(ptio_pages_grow(&items, &capacity, MANY, sizeof(uint32_t), &err), NO_MEMORY, "memory", "out of memory",
                 PTIO_NO_OFFSET);
    faults_clear();
}

static void pages_may_shrink(void) {
    const size_t sizes[] = {(size_t)6 << 20, (size_t)3 << 20, (size_t)64 << 10};
    uint8_t *block = ptio_pages_alloc_zeroed(sizes[0]);
    ASSERT_TRUE(block != NULL && block[sizes[0] - 1] == 0);
    if (block == NULL) return;
    memset(block, 0x5A, sizes[2]);
    for (size_t i = 1; i < 3; i++) {
        block = ptio_pages_resize(block, sizes[i - 1], sizes[i]);
        ASSERT_TRUE(block != NULL && block[0] == 0x5A && block[sizes[2] - 1] == 0x5A);
        if (block == NULL) return;
    }
    ptio_pages_free(block, sizes[2]);
}

void suite_arena(void) {
    RUN(arrays_grow_and_keep_their_items);
    RUN(the_last_piece_grows_where_it_is);
    RUN(large_arrays_in_foreseen_room);
    RUN(sizes_that_cannot_be);
    RUN(memory_may_run_out_anywhere);
    RUN(arrays_of_pages_keep_their_items);
    RUN(the_system_may_have_no_pages);
    RUN(pages_may_shrink);
}
