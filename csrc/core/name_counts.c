/* SPDX-License-Identifier: Apache-2.0 */
#include "name_counts.h"

#include "checkpoint.h"
#include "hash.h"
#include "memory.h"

enum { FIRST_SLOTS = 64 };

typedef struct {
    uint32_t hash;
    uint32_t name; /* its number plus 1; 0 = free */
} slot;

typedef struct {
    const ptio_graph *graph;
    ptio_hash_key key;
    ptio_counted_name *names;
    size_t count, capacity;
    slot *slots; /* open addressing, at most half full */
    size_t slot_count;
} counting;

typedef struct {
    const uint8_t *module, *name;
    size_t module_size, name_size;
} name_text;

static name_text text_of(const counting *k, ptio_ref node) {
    name_text t;
    ptio_global_name(k->graph, node, &t.module, &t.module_size, &t.name, &t.name_size);
    return t;
}

static bool is_name(const counting *k, size_t number, const name_text *t) {
    name_text other = text_of(k, k->names[number].first.node);
    return other.module_size == t->module_size && other.name_size == t->name_size &&
           memcmp(other.name, t->name, t->name_size) == 0 &&
           memcmp(other.module, t->module, t->module_size) == 0;
}

/* Where a name is, or the free slot where it would be. */
static slot *find_slot(const counting *k, uint32_t hash, const name_text *t) {
    size_t mask = k->slot_count - 1, at = hash & mask;
    while (k->slots[at].name != 0 && (k->slots[at].hash != hash || !is_name(k, k->slots[at].name - 1, t)))
        at = (at + 1) & mask;
    return &k->slots[at];
}

static ptio_status grow_slots(counting *k, ptio_error *err) {
    size_t slot_count = k->slot_count == 0 ? FIRST_SLOTS : 2 * k->slot_count;
    slot *slots = ptio_alloc_zeroed(slot_count, sizeof *slots);
    if (slots == NULL) return ptio_no_memory(err);
    for (size_t i = 0; i < k->slot_count; i++) {
        if (k->slots[i].name == 0) continue;
        size_t at = k->slots[i].hash & (slot_count - 1);
        while (slots[at].name != 0) at = (at + 1) & (slot_count - 1);
        slots[at] = k->slots[i];
    }
    ptio_free(k->slots);
    k->slots = slots;
    k->slot_count = slot_count;
    return PTIO_OK;
}

static ptio_status add(counting *k, ptio_global_use use, ptio_error *err) {
    name_text t = text_of(k, use.node);
    /* Not the same for a.b and b.a. */
    uint32_t hash =
        (uint32_t)(3 * ptio_hash(&k->key, t.module, t.module_size) + ptio_hash(&k->key, t.name, t.name_size));
    if (k->count >= k->slot_count / 2) PTIO_TRY(grow_slots(k, err));
    slot *found = find_slot(k, hash, &t);
    if (found->name != 0) {
        k->names[found->name - 1].count++;
        return PTIO_OK;
    }
    void *names = k->names;
    PTIO_TRY(ptio_grow(&names, &k->capacity, k->count + 1, sizeof *k->names, err));
    k->names = names;
    k->names[k->count++] = (ptio_counted_name){use, 1};
    *found = (slot){hash, (uint32_t)k->count};
    return PTIO_OK;
}

ptio_status ptio_count_names(const ptio_graph *graph, const ptio_global_use *uses, size_t use_count,
                             ptio_counted_name **out, size_t *out_count, ptio_error *err) {
    counting k = {.graph = graph};
    ptio_status status = ptio_hash_key_new(&k.key, err);
    for (size_t i = 0; status == PTIO_OK && i < use_count; i++) status = add(&k, uses[i], err);
    ptio_free(k.slots);
    if (status != PTIO_OK) {
        ptio_free(k.names);
        return status;
    }
    *out = k.names;
    *out_count = k.count;
    return PTIO_OK;
}
