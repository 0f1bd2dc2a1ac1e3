/* SPDX-License-Identifier: Apache-2.0
 *
 * The memo: near and far indices, overwriting, and what indices may cost.
 */
#include "memo.h"
#include "test.h"

void suite_memo(void);

static void put(ptio_memo *memo, uint32_t index, ptio_ref node) {
    ptio_error err;
    ASSERT_OK(ptio_memo_put(memo, index, node, &err));
}

static void rising_indices(void) {
    ptio_arena arena = {0};
    ptio_memo memo = {.arena = &arena};
    ASSERT_EQUAL(ptio_memo_get(&memo, 0), PTIO_NO_NODE);
    for (uint32_t i = 0; i < 10000; i++) put(&memo, i, i + 7);
    for (uint32_t i = 0; i < 10000; i++) ASSERT_EQUAL(ptio_memo_get(&memo, i), i + 7);
    ASSERT_EQUAL(ptio_memo_get(&memo, 10000), PTIO_NO_NODE);
    ASSERT_EQUAL(memo.entries, 10000);
    ASSERT_EQUAL(memo.sparse_count, 0);
    ptio_memo_free(&memo);
    ptio_arena_free(&arena);
}

static void overwriting_adds_no_entry(void) {
    ptio_arena arena = {0};
    ptio_memo memo = {.arena = &arena};
    put(&memo, 0, 1);
    put(&memo, 0, 2);
    put(&memo, 4000000000u, 3);
    put(&memo, 4000000000u, 4);
    ASSERT_EQUAL(memo.entries, 2);
    ASSERT_EQUAL(ptio_memo_get(&memo, 0), 2);
    ASSERT_EQUAL(ptio_memo_get(&memo, 4000000000u), 4);
    ptio_memo_free(&memo);
    ptio_arena_free(&arena);
}

static void gaps_are_empty_until_they_are_put(void) {
    ptio_arena arena = {0};
    ptio_memo memo = {.arena = &arena};
    put(&memo, 10, 1);
    for (uint32_t i = 0; i < 10; i++) ASSERT_EQUAL(ptio_memo_get(&memo, i), PTIO_NO_NODE);
    ASSERT_EQUAL(memo.entries, 1);
    put(&memo, 3, 2);
    ASSERT_EQUAL(memo.entries, 2);
    ASSERT_EQUAL(ptio_memo_get(&memo, 3), 2);
    ASSERT_EQUAL(ptio_memo_get(&memo, 10), 1);
    ptio_memo_free(&memo);
    ptio_arena_free(&arena);
}

/* Indices that were far when they were put are found when the array has grown over them. */
static void far_indices_stay_found(void) {
    ptio_arena arena = {0};
    ptio_memo memo = {.arena = &arena};
    for (uint32_t i = 0; i < 300; i++) put(&memo, 5000 + 7 * i, 100 + i);
    ASSERT_TRUE(memo.sparse_count > 0);
    for (uint32_t i = 0; i < 9000; i++) {
        if (i < 5000) put(&memo, i, i);
        for (uint32_t k = 0; k < 300; k += 37) ASSERT_EQUAL(ptio_memo_get(&memo, 5000 + 7 * k), 100 + k);
    }
    for (uint32_t i = 5000; i < 9000; i++) {
        bool far = i < 5000 + 7 * 300 && (i - 5000) % 7 == 0;
        if (!far) put(&memo, i, i);
    }
    for (uint32_t i = 5000; i < 9000; i++) {
        bool far = i < 5000 + 7 * 300 && (i - 5000) % 7 == 0;
        ASSERT_EQUAL(ptio_memo_get(&memo, i), far ? 100 + (i - 5000) / 7 : i);
    }
    put(&memo, 5000, 1); /* and overwritten where they are now */
    ASSERT_EQUAL(ptio_memo_get(&memo, 5000), 1);
    ASSERT_EQUAL(memo.entries, 9000);
    ptio_memo_free(&memo);
    ptio_arena_free(&arena);
}

static void the_largest_indices(void) {
    ptio_arena arena = {0};
    ptio_memo memo = {.arena = &arena};
    for (uint32_t i = 0; i < 1000; i++) put(&memo, UINT32_MAX - i, i);
    for (uint32_t i = 0; i < 1000; i++) ASSERT_EQUAL(ptio_memo_get(&memo, UINT32_MAX - i), i);
    ASSERT_EQUAL(ptio_memo_get(&memo, UINT32_MAX - 1000), PTIO_NO_NODE);
    ASSERT_EQUAL(memo.dense_count, 0);
    ptio_memo_free(&memo);
    ptio_arena_free(&arena);
}

/* However indices are chosen, the array has no more than twice the entries. */
static void gaps_cost_no_more_than_entries(void) {
    ptio_arena arena = {0};
    for (uint32_t step = 1; step < 200; step += 11) {
        ptio_memo memo = {.arena = &arena};
        for (uint32_t i = 0; i < 2000; i++) put(&memo, i * step, i);
        ASSERT_TRUE(memo.dense_count <= 2 * memo.entries + 65);
        for (uint32_t i = 0; i < 2000; i++) ASSERT_EQUAL(ptio_memo_get(&memo, i * step), i);
        ASSERT_EQUAL(memo.entries, 2000);
        ptio_memo_free(&memo);
    }
    ptio_arena_free(&arena);
}

void suite_memo(void) {
    RUN(rising_indices);
    RUN(overwriting_adds_no_entry);
    RUN(gaps_are_empty_until_they_are_put);
    RUN(far_indices_stay_found);
    RUN(the_largest_indices);
    RUN(gaps_cost_no_more_than_entries);
}
