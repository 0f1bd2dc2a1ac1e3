/* SPDX-License-Identifier: Apache-2.0
 *
 * Address of an object -> a number. Addresses are the process's own: no file chooses
 * them, so that a plain hash does.
 */
#ifndef PTIO_ADDRESS_MAP_H
#define PTIO_ADDRESS_MAP_H

#include "error.h"

typedef struct {
    uint64_t address; /* 0 = free */
    uint64_t number;
} ptio_address_slot;

typedef struct {
    ptio_address_slot *slots; /* open addressing, at most half full */
    size_t capacity, count;
} ptio_address_map; /* {0} is an empty one */

/* The slot of an address that is not 0, or the free one where it would be; there is one.
 * The multiplication brings the bits in which addresses differ to where they are used. */
static inline ptio_address_slot *ptio_address_map_slot(const ptio_address_map *map, uint64_t address) {
    size_t mask = map->capacity - 1;
    size_t at = (size_t)(address * UINT64_C(0x9E3779B97F4A7C15) >> 32) & mask;
    while (map->slots[at].address != 0 && map->slots[at].address != address) at = (at + 1) & mask;
    return &map->slots[at];
}

/* Where the number of an address is, until the next put; NULL for 0 and for what was not put. */
static inline const uint64_t *ptio_address_map_find(const ptio_address_map *map, uint64_t address) {
    if (map->count == 0 || address == 0) return NULL;
    const ptio_address_slot *slot = ptio_address_map_slot(map, address);
    return slot->address == 0 ? NULL : &slot->number;
}

/* The address is not 0; an older number is replaced. */
ptio_status ptio_address_map_put(ptio_address_map *map, uint64_t address, uint64_t number,
                                 ptio_error *err) PTIO_MUST_CHECK;

void ptio_address_map_free(ptio_address_map *map); /* leaves {0} */

#endif
