/* SPDX-License-Identifier: Apache-2.0
 *
 * The table of records for storages that no directory lists.
 */
#include "legacy.h"

static const char folder[] = "data/";

enum { FOLDER = sizeof folder - 1 };

static uint64_t bytes_of_names(const ptio_checkpoint *c) {
    uint64_t sum = 0;
    for (size_t i = 0; i < c->storage_count; i++)
        sum += FOLDER + (uint64_t)c->graph.nodes[c->storages[i].key].a;
    return sum;
}

static void add_record(ptio_checkpoint *c, const ptio_storage *storage) {
    ptio_zip_index *index = &c->index;
    const ptio_node *key = &c->graph.nodes[storage->key];
    uint8_t *name = index->directory + index->directory_size;
    memcpy(name, folder, FOLDER);
    memcpy(name + FOLDER, ptio_text(&c->graph, key), key->a);
    index->records[storage->record] = (ptio_record){.csize = storage->bytes,
                                                    .usize = storage->bytes,
                                                    .name = (uint32_t)index->directory_size,
                                                    .name_length = (uint16_t)(FOLDER + key->a),
                                                    .method = PTIO_ZIP_STORED};
    index->directory_size += FOLDER + key->a;
}

/* Several empty storages may share a record: the first one names it. */
ptio_status ptio_legacy_index(ptio_checkpoint *c, ptio_error *err) {
    ptio_zip_index *index = &c->index;
    uint64_t records = ((uint64_t)c->declared.roots + 1) * sizeof *index->records, names = bytes_of_names(c);
    uint64_t size = records + sizeof *index->table + names; /* a storage and its key lie in memory */
    if (size > PTRDIFF_MAX || names > UINT32_MAX) return ptio_no_memory(err);
    PTIO_TRY(ptio_block_new((size_t)size, &index->memory, err));
    uint8_t *bytes = ptio_block_bytes(index->memory);
    index->records = (ptio_record *)(void *)bytes;
    index->table = (uint64_t *)(void *)(bytes + records);
    index->directory = bytes + records + sizeof *index->table;
    *index->table = 0; /* nothing is looked up by name */
    for (uint32_t i = 0; i < c->storage_count; i++) {
        const ptio_storage *storage = &c->storages[i];
        if (storage->record != index->count || storage->root != i) continue;
        add_record(c, storage);
        index->count++;
    }
    return PTIO_OK;
}
