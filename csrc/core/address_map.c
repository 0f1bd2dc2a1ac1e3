/* SPDX-License-Identifier: Apache-2.0 */
#include "address_map.h"

#include "memory.h"

enum { FIRST_CAPACITY = 64 };

static ptio_status widen(ptio_address_map *map, ptio_error *err) {
    ptio_address_map wider = {.capacity = map->capacity == 0 ? FIRST_CAPACITY : 2 * map->capacity,
                              .count = map->count};
    wider.slots = ptio_alloc_zeroed(wider.capacity, sizeof *wider.slots);
    if (wider.slots == NULL) return ptio_no_memory(err);
    for (size_t i = 0; i < map->capacity; i++)
        if (map->slots[i].address != 0) *ptio_address_map_slot(&wider, map->slots[i].address) = map->slots[i];
    ptio_free(map->slots);
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
    ptio_free(map->slots);
    *map = (ptio_address_map){.slots = NULL};
}
