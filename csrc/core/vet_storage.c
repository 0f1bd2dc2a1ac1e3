/* SPDX-License-Identifier: Apache-2.0
 *
 * Storages: persistent ids, proven against the records (invariants P10, T1, Z12).
 */
#include "vet.h"

enum { MOST_KEY = 128, MOST_SUFFIX = 16 };

static bool is_key_character(uint8_t c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
           c == '.' || c == '-';
}

ptio_status ptio_vet_storage_key(ptio_vetting *v, ptio_ref ref) {
    const ptio_node *key = vet_node(v, ref);
    const uint8_t *text;
    char quoted[PTIO_QUOTED];
    VET_CHECK(v, ptio_vet_is_text(v, ref), "P10.key", PICKLE_MALFORMED, "a storage's key is %s",
              ptio_vet_kind_name(v, ref));
    text = ptio_text(v->graph, key);
    VET_CHECK(v, key->a >= 1 && key->a <= MOST_KEY, "Z12.length", PICKLE_MALFORMED,
              "a storage's key has %u characters, 1 to 128 are allowed", key->a);
    for (uint32_t i = 0; i < key->a; i++)
        VET_CHECK(v, is_key_character(text[i]), "Z12.characters", PICKLE_MALFORMED,
                  "storage key '%s' has a character outside 0-9A-Za-z_.-", ptio_quote(quoted, text, key->a));
    return PTIO_OK;
}

static ptio_status check_location(ptio_vetting *v, ptio_ref ref) {
    if (ref == v->location) return PTIO_OK;
    VET_CHECK(v, ptio_vet_is_text(v, ref), "P10.location", PICKLE_MALFORMED, "a storage's location is %s",
              ptio_vet_kind_name(v, ref));
    const ptio_node *location = vet_node(v, ref);
    const uint8_t *text = ptio_text(v->graph, location);
    VET_CHECK(v, location->a <= 128, "P10.length", PICKLE_MALFORMED,
              "a storage's location has %u characters, up to 128 are allowed", location->a);
    for (uint32_t i = 0; i < location->a; i++)
        VET_CHECK(v, text[i] < 0x80, "P10.ascii", PICKLE_MALFORMED, "a storage's location is not ASCII");
    v->location = ref;
    v->location_is_meta = ptio_vet_text_is(v, ref, "meta");
    return PTIO_OK;
}

static ptio_status check_word(ptio_vetting *v, ptio_ref ref) {
    if (ref == v->storage_word) return PTIO_OK;
    VET_CHECK(v, ptio_vet_text_is(v, ref, "storage"), "P10.storage", PICKLE_MALFORMED,
              "a persistent id that is no storage");
    v->storage_word = ref;
    return PTIO_OK;
}

/* The class of a persistent id: sets what a fresh storage of it looks like. */
static ptio_status read_storage_class(ptio_vetting *v, ptio_ref ref, ptio_storage *storage) {
    const ptio_node *node = vet_node(v, ref);
    const ptio_global *global = node->kind == PTIO_N_MARKER ? ptio_global_get(node->sub) : NULL;
    VET_CHECK(v, global != NULL && (global->role == PTIO_ROLE_STORAGE || global->role == PTIO_ROLE_UNTYPED),
              "P10.class", PICKLE_MALFORMED, "a storage's class is %s", ptio_vet_kind_name(v, ref));
    storage->dtype = global->value;
    storage->swap_bytes = global->role == PTIO_ROLE_UNTYPED ? 0 : ptio_dtype_get(global->value)->swap_bytes;
    storage->alignment = ptio_dtype_get(global->value)->swap_bytes;
    return PTIO_OK;
}

ptio_status ptio_vet_add_storage(ptio_vetting *v, ptio_storage storage, uint32_t *number) {
    storage.root = (uint32_t)v->c->storage_count;
    return ptio_vet_add_view(v, storage, number);
}

ptio_status ptio_vet_add_view(ptio_vetting *v, ptio_storage storage, uint32_t *number) {
    ptio_checkpoint *c = v->c;
    void *items = c->storages;
    PTIO_TRY(ptio_arena_grow(&v->graph->arena, &items, &c->storage_capacity, c->storage_count + 1,
                             sizeof storage, v->err));
    c->storages = items;
    *number = (uint32_t)c->storage_count;
    c->storages[c->storage_count++] = storage;
    return PTIO_OK;
}

/* torch writes records in the order in which the pickle names them. */
static uint32_t find_record(ptio_vetting *v, const uint8_t *key, size_t size) {
    const ptio_zip_index *index = &v->c->index;
    const ptio_members *members = &v->c->members;
    uint32_t record = v->next_record;
    uint8_t name[MOST_KEY + MOST_SUFFIX];
    size_t suffix = strlen(members->suffix);
    if (suffix > 0) { /* the caller's, and short */
        memcpy(name, key, size);
        memcpy(name + size, members->suffix, suffix);
        key = name;
        size += suffix;
    }
    if (record >= index->count || !ptio_zip_is(index, record, members->folder, key, size))
        record = ptio_zip_find(index, members->folder, key, size);
    v->next_record = record + 1; /* PTIO_NO_RECORD + 1 is 0 */
    return record;
}

/* The storage of a record: a second reference must agree on the size, and keeps
 * the dtype of the first one, as torch does. Empty ones are not shared, as in torch. */
static ptio_status storage_in_record(ptio_vetting *v, ptio_storage storage, uint32_t *number) {
    const ptio_node *key = vet_node(v, storage.key);
    const uint8_t *text = ptio_text(v->graph, key);
    storage.record = find_record(v, text, key->a);
    VET_CHECK(v, storage.record != PTIO_NO_RECORD, "T1.record", RECORD_MISSING,
              "storage '%.*s' has no record %s%.*s%s in the archive", (int)key->a, text, v->c->members.folder,
              (int)key->a, text, v->c->members.suffix);
    uint64_t size = v->c->index.records[storage.record].usize;
    VET_CHECK(v, storage.bytes == size, "T1.size", BOUNDS,
              "storage '%.*s' declares %llu bytes, the record has %llu", (int)key->a, text,
              (unsigned long long)storage.bytes, (unsigned long long)size);
    if (size == 0)
        return ptio_vet_add_storage(v, storage, number); /* nothing to share: each has its own dtype */
    uint32_t *known = &v->storage_of_record[storage.record];
    if (*known == PTIO_NO_STORAGE) PTIO_TRY(ptio_vet_add_storage(v, storage, known));
    *number = *known;
    return PTIO_OK;
}

ptio_status ptio_vet_persistent_id(ptio_vetting *v, ptio_ref ref) {
    ptio_ref id = ptio_follow(v->graph, vet_node(v, ref)->a);
    const ptio_node *tuple = vet_node(v, id);
    ptio_storage storage = {.record = PTIO_NO_RECORD};
    uint32_t number;
    if (v->c->format == PTIO_FORMAT_TAR) return ptio_vet_tar_id(v, ref, id);
    VET_CHECK(v, tuple->kind == PTIO_N_TUPLE, "P10.tuple", PICKLE_MALFORMED,
              "a persistent id is %s, only a storage's tuple is known", ptio_vet_kind_name(v, id));
    bool legacy = v->c->format == PTIO_FORMAT_LEGACY;
    if (legacy && tuple->count == 4 && ptio_vet_text_is(v, vet_item(v, tuple, 0), "module"))
        return ptio_vet_module_id(v, ref, vet_item(v, tuple, 1));
    VET_CHECK(v, tuple->count == (legacy ? 6 : 5), "P10.items", PICKLE_MALFORMED,
              "a storage's persistent id has %u items instead of %d", tuple->count, legacy ? 6 : 5);
    PTIO_TRY(check_word(v, vet_item(v, tuple, 0)));
    PTIO_TRY(read_storage_class(v, vet_item(v, tuple, 1), &storage));
    storage.key = vet_item(v, tuple, 2);
    storage.location = vet_item(v, tuple, 3);
    PTIO_TRY(ptio_vet_storage_key(v, storage.key));
    PTIO_TRY(check_location(v, storage.location));
    const ptio_node *numel = vet_node(v, vet_item(v, tuple, 4));
    VET_CHECK(v, numel->kind == PTIO_N_INT && numel->integer >= 0, "P10.numel", BOUNDS,
              "a storage's number of elements is %s", ptio_vet_kind_name(v, vet_item(v, tuple, 4)));
    VET_CHECK(
        v, ptio_mul_u64((uint64_t)numel->integer, ptio_dtype_get(storage.dtype)->item_bytes, &storage.bytes),
        "T1.overflow", BOUNDS, "a storage of %lld elements is larger than any memory",
        (long long)numel->integer);
    if (legacy)
        PTIO_TRY(ptio_vet_declare(v, storage, vet_item(v, tuple, 5), &number));
    else if (v->location_is_meta)
        PTIO_TRY(ptio_vet_add_storage(v, storage, &number));
    else
        PTIO_TRY(storage_in_record(v, storage, &number));
    vet_node(v, ref)->kind = PTIO_N_STORAGE;
    vet_node(v, ref)->a = number;
    return PTIO_OK;
}
