/* SPDX-License-Identifier: Apache-2.0 */
#include "address_map.h"
#include "memory.h"
#include "test.h"

void suite_address_map(void);

static ptio_error err;

static void put(ptio_address_map *map, uint64_t address, uint64_t number) {
    ASSERT_OK(ptio_address_map_put(map, address, number, &err));
}

static void addresses_are_found_again(void) {
    enum { OBJECTS = 100000 };
    ptio_address_map map = {.slots = NULL};
    ASSERT_TRUE(ptio_address_map_find(&map, 16) == NULL);
    for (uint64_t i = 1; i <= OBJECTS; i++) put(&map, i << 4, i);
    ASSERT_EQUAL(map.count, OBJECTS);
    ASSERT_TRUE(map.count <= map.capacity / 2 && (map.capacity & (map.capacity - 1)) == 0);
    for (uint64_t i = 1; i <= OBJECTS; i++) {
        const uint64_t *number = ptio_address_map_find(&map, i << 4);
        ASSERT_TRUE(number != NULL && *number == i);
        ASSERT_TRUE(ptio_address_map_find(&map, i << 4 | 8) == NULL);
    }
    ptio_address_map_free(&map);
    ASSERT_TRUE(map.slots == NULL && map.count == 0 && map.capacity == 0);
}

static void an_address_has_one_number(void) {
    ptio_address_map map = {.slots = NULL};
    put(&map, 48, 1);
    put(&map, 48, 2);
    ASSERT_EQUAL(map.count, 1);
    ASSERT_EQUAL(*ptio_address_map_find(&map, 48), 2);
    ASSERT_TRUE(ptio_address_map_find(&map, 0) == NULL);
    ptio_address_map_free(&map);
}

static void a_map_that_cannot_grow_is_as_it_was(void) {
    ptio_address_map map = {.slots = NULL};
    uint64_t i = 1;
    do put(&map, i << 4, i);
    while (++i <= map.capacity / 2);
    ptio_memory_fail_at(1);
    ASSERT_FAILS(ptio_address_map_put(&map, 1, 1, &err), NO_MEMORY, "memory", "out of memory", PTIO_NO_OFFSET);
    ptio_memory_fail_at(0);
    ASSERT_EQUAL(map.count, i - 1);
    ASSERT_EQUAL(*ptio_address_map_find(&map, 16), 1);
    ptio_address_map_free(&map);
}

void suite_address_map(void) {
    RUN(addresses_are_found_again);
    RUN(an_address_has_one_number);
    RUN(a_map_that_cannot_grow_is_as_it_was);
}
