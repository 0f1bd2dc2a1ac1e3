/* SPDX-License-Identifier: Apache-2.0
 *
 * Storages of files without records: the pickle declares them, and their bytes
 * come after it (invariants P10, L1).
 */
#include "vet.h"

enum { FEWEST_SLOTS = 64 };

typedef unsigned long long ull;

static const uint8_t *key_text(const ptio_checkpoint *c, ptio_ref key, size_t *size) {
    const ptio_node *node = &c->graph.nodes[key];
    *size = node->a;
    return ptio_text(&c->graph, node);
}

/* The slot of a key, or the free one where it belongs. There is one. */
static uint32_t *slot_of(const ptio_checkpoint *c, const uint8_t *key, size_t size) {
    const ptio_declared *d = &c->declared;
    uint32_t slot = (uint32_t)ptio_hash(&d->hash_key, key, size) & d->mask;
    for (; d->slots[slot] != 0; slot = (slot + 1) & d->mask) {
        size_t n;
        const uint8_t *text = key_text(c, c->storages[d->slots[slot] - 1].key, &n);
        if (n == size && memcmp(text, key, size) == 0) break;
    }
    return &d->slots[slot];
}

uint32_t ptio_declared_find(const ptio_checkpoint *c, const uint8_t *key, size_t size) {
    if (c->declared.count == 0) return PTIO_NO_STORAGE;
    uint32_t found = *slot_of(c, key, size);
    return found == 0 ? PTIO_NO_STORAGE : found - 1;
}

/* Keeps half of the slots free. */
static ptio_status make_room(ptio_vetting *v) {
    ptio_declared *d = &v->c->declared, old = *d;
    if (d->count < d->mask / 2) return PTIO_OK;
    size_t slots = old.slots == NULL ? FEWEST_SLOTS : 2 * ((size_t)old.mask + 1);
    void *memory;
    if (old.slots == NULL) PTIO_TRY(ptio_hash_key_new(&d->hash_key, v->err));
    PTIO_TRY(ptio_arena_alloc(&v->graph->arena, slots, sizeof *d->slots, &memory, v->err));
    d->slots = memset(memory, 0, slots * sizeof *d->slots);
    d->mask = (uint32_t)(slots - 1);
    for (size_t i = 0; old.slots != NULL && i <= old.mask; i++) {
        if (old.slots[i] == 0) continue;
        size_t size;
        const uint8_t *key = key_text(v->c, v->c->storages[old.slots[i] - 1].key, &size);
        *slot_of(v->c, key, size) = old.slots[i];
    }
    return PTIO_OK;
}

static ptio_status enter(ptio_vetting *v, uint32_t number) {
    size_t size;
    PTIO_TRY(make_room(v));
    const uint8_t *key = key_text(v->c, v->c->storages[number].key, &size);
    *slot_of(v->c, key, size) = number + 1;
    v->c->declared.count++;
    return PTIO_OK;
}

static uint32_t find(const ptio_vetting *v, ptio_ref key_ref) {
    size_t size;
    const uint8_t *key = key_text(v->c, key_ref, &size);
    return ptio_declared_find(v->c, key, size);
}

/* A second mention agrees on the size and keeps the dtype of the first. Empty storages
 * are not shared, as in torch. */
static ptio_status declare_root(ptio_vetting *v, ptio_storage storage, uint32_t *number) {
    uint32_t known = find(v, storage.key);
    char key[PTIO_QUOTED];
    if (known == PTIO_NO_STORAGE) {
        storage.record = v->c->declared.roots;
        PTIO_TRY(ptio_vet_add_storage(v, storage, number));
        v->c->declared.roots++;
        return enter(v, *number);
    }
    const ptio_storage *first = &v->c->storages[known];
    const ptio_node *text = vet_node(v, storage.key);
    VET_CHECK(v, first->root == known, "L1.kind", PICKLE_MALFORMED,
              "storage '%s' is a view in one place and a storage of its own in another",
              ptio_quote(key, ptio_text(v->graph, text), text->a));
    VET_CHECK(v, first->bytes == storage.bytes, "L1.size", BOUNDS,
              "storage '%s' declares %llu bytes here, and %llu before",
              ptio_quote(key, ptio_text(v->graph, text), text->a), (ull)storage.bytes, (ull)first->bytes);
    *number = known;
    if (storage.bytes > 0) return PTIO_OK;
    storage.record = first->record;
    return ptio_vet_add_storage(v, storage, number);
}

/* A number of elements as bytes. */
static ptio_status read_count(ptio_vetting *v, ptio_ref ref, uint64_t item_bytes, uint64_t *bytes) {
    const ptio_node *node = vet_node(v, ref);
    VET_CHECK(v,
              node->kind == PTIO_N_INT && node->integer >= 0 &&
                  ptio_mul_u64((uint64_t)node->integer, item_bytes, bytes),
              "L1.view-int", BOUNDS, "the place of a storage's view is %s", ptio_vet_kind_name(v, ref));
    return PTIO_OK;
}

/* (key, offset, size) in elements: part of the storage `root`. */
static ptio_status declare_view(ptio_vetting *v, uint32_t root, const ptio_storage *like, ptio_ref view_ref,
                                uint32_t *number) {
    const ptio_node *tuple = vet_node(v, view_ref);
    uint64_t item_bytes = ptio_dtype_get(like->dtype)->item_bytes;
    ptio_storage view = *like;
    VET_CHECK(v, tuple->kind == PTIO_N_TUPLE && tuple->count == 3, "L1.view-tuple", PICKLE_MALFORMED,
              "a storage's view is %s", ptio_vet_kind_name(v, view_ref));
    view.key = vet_item(v, tuple, 0);
    view.root = root;
    view.record = v->c->storages[root].record;
    PTIO_TRY(ptio_vet_storage_key(v, view.key));
    PTIO_TRY(read_count(v, vet_item(v, tuple, 1), item_bytes, &view.offset));
    PTIO_TRY(read_count(v, vet_item(v, tuple, 2), item_bytes, &view.bytes));
    VET_CHECK(v, view.offset <= like->bytes && view.bytes <= like->bytes - view.offset, "L1.view", BOUNDS,
              "a view of %llu bytes from byte %llu on of a storage that has %llu", (ull)view.bytes,
              (ull)view.offset, (ull)like->bytes);
    uint32_t known = find(v, view.key);
    if (known == PTIO_NO_STORAGE) {
        PTIO_TRY(ptio_vet_add_view(v, view, number));
        return enter(v, *number);
    }
    const ptio_storage *first = &v->c->storages[known];
    VET_CHECK(v,
              first->root != known && first->record == view.record && first->offset == view.offset &&
                  first->bytes == view.bytes,
              "L1.view-again", PICKLE_MALFORMED, "two different views have the same key");
    *number = known;
    return PTIO_OK;
}

ptio_status ptio_vet_declare(ptio_vetting *v, ptio_storage storage, ptio_ref view, uint32_t *number) {
    PTIO_TRY(declare_root(v, storage, number));
    return view == PTIO_NODE_NONE ? PTIO_OK : declare_view(v, *number, &storage, view, number);
}

/* A class, with the source that torch kept for comparison. */
ptio_status ptio_vet_module_id(ptio_vetting *v, ptio_ref ref, ptio_ref class) {
    VET_CHECK(v, vet_is(v, class, PTIO_N_MARKER) || vet_is_not_ours(v, class), "P10.module", PICKLE_MALFORMED,
              "a module's class is %s", ptio_vet_kind_name(v, class));
    ptio_vet_same(v, ref, class);
    return PTIO_OK;
}

/* T5: whoever reads a view finds its items aligned, as they are in its root. */
ptio_status ptio_vet_views(ptio_vetting *v) {
    ptio_checkpoint *c = v->c;
    for (uint32_t i = 0; c->format != PTIO_FORMAT_ZIP && i < c->storage_count; i++) {
        const ptio_storage *view = &c->storages[i];
        ptio_storage *root = &c->storages[view->root];
        VET_CHECK(v, view->offset % ptio_max_u64(view->alignment, 1) == 0, "T5.view", VALUE_UNSUPPORTED,
                  "a view begins inside an item of its storage, at byte %llu", (ull)view->offset);
        if (root->alignment < view->alignment) root->alignment = view->alignment;
    }
    return PTIO_OK;
}
