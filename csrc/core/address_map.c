/* SPDX-License-Identifier: Apache-2.0 */
#include "address_map.h"

#include "pages.h"

enum { FIRST_CAPACITY = 64 };

/* As many slots as a block of pages has room for: a power of two, as all sizes below are. */
static bool block_size(size_t capacity, size_t *size) {
    return capacity <= SIZE_MAX / 2 / sizeof(ptio_address_slot) &&
           ptio_pages_size(ptio_huge_room(capacity * sizeof(ptio_address_slot)), size);
}

static ptio_status widen(ptio_address_map *map, ptio_error *err) {
    ptio_address_map wider = {.count = map->count};
    size_t size = 0;
    if (block_size(map->capacity == 0 ? FIRST_CAPACITY : 2 * map->capacity, &size))
        wider.slots = ptio_pages_alloc_zeroed(size);
    if (wider.slots == NULL) return ptio_no_memory(err);
    wider.capacity = size / sizeof(ptio_address_slot);
    for (size_t i = 0; i < map->capacity; i++)
        if (map->slots[i].address != 0) *ptio_address_map_slot(&wider, map->slots[i].address) = map->slots[i];
    ptio_address_map_free(map);
    *map = wider;
    return PTIO_OK;
}

ptio_status ptio_address_map_put(ptio_address_map *map, uint64_t address, uint64_t number, ptio_error *err) {
    if (map->count >= map->capacity / 2) PTIO_TRY(widen(map, err));
    ptio_address_slot *slot = ptio_address_map_slot(map, address);
    map->count += slot->address == 0;
    *slot = (ptio_address_slot){address, number};
    return PTIO_OK;
}

void ptio_address_map_free(ptio_address_map *map) {
    if (map->slots != NULL) ptio_pages_free(map->slots, map->capacity * sizeof *map->slots);
    *map = (ptio_address_map){.slots = NULL};
}
