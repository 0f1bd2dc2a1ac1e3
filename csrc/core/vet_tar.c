/* SPDX-License-Identifier: Apache-2.0
 *
 * Persistent ids of torch 0.1: numbers of the storages and tensors that other
 * members of the archive list (invariant L2).
 */
#include <stdio.h>

#include "tar_tables.h"
#include "vet.h"

/* A node that the pickle does not have: text that tables refer to. */
static ptio_status add_text(ptio_vetting *v, const char *text, size_t size, ptio_ref *ref) {
    ptio_graph *graph = v->graph;
    void *nodes = graph->nodes, *bytes = graph->unescaped;
    PTIO_TRY(ptio_arena_grow(&graph->arena, &bytes, &graph->unescaped_capacity, graph->unescaped_size + size,
                             1, v->err));
    graph->unescaped = bytes;
    PTIO_TRY(ptio_arena_grow(&graph->arena, &nodes, &graph->capacity, graph->count + 1, sizeof *graph->nodes,
                             v->err));
    graph->nodes = nodes;
    memcpy(graph->unescaped + graph->unescaped_size, text, size);
    *ref = (ptio_ref)graph->count;
    graph->nodes[graph->count++] = (ptio_node){.kind = PTIO_N_STR,
                                               .flags = PTIO_F_ASCII,
                                               .a = (uint32_t)size,
                                               .text = graph->pickle_size + graph->unescaped_size};
    graph->unescaped_size += size;
    return PTIO_OK;
}

static ptio_status declare(ptio_vetting *v, uint32_t number) {
    const ptio_tar *tar = v->c->tar;
    const ptio_tar_storage *from = &tar->storages[number];
    const ptio_dtype_info *dtype = ptio_dtype_get(from->dtype);
    ptio_storage storage = {.bytes = from->bytes,
                            .offset = from->offset,
                            .root = from->root,
                            .dtype = from->dtype,
                            .swap_bytes = dtype->swap_bytes,
                            .alignment = dtype->swap_bytes};
    char key[24];
    uint32_t same;
    int size = snprintf(key, sizeof key, "%lld", (long long)from->id);
    PTIO_TRY(add_text(v, key, (size_t)size, &storage.key));
    PTIO_TRY(add_text(v, from->location, from->location_size, &storage.location));
    storage.record = from->root == number ? v->c->declared.roots++ : v->c->storages[from->root].record;
    return ptio_vet_add_view(v, storage, &same); /* numbers are the same in both tables */
}

ptio_status ptio_vet_tar_tables(ptio_vetting *v) {
    const ptio_tar *tar = v->c->tar;
    uint64_t most = ptio_min_u64(v->options->limits.objects, PTIO_NO_NODE - PTIO_FIRST_FREE_NODE);
    uint64_t nodes = v->graph->count - PTIO_FIRST_FREE_NODE; /* of the pickle; two come for each storage */
    PTIO_CHECK(nodes <= most && tar->storage_count <= (most - nodes) / 2, "R.tar", v->err, LIMIT,
               PTIO_NO_OFFSET, "the file has %zu storages, more objects than are allowed (limit objects)",
               tar->storage_count);
    for (uint32_t i = 0; i < tar->storage_count; i++) PTIO_TRY(declare(v, i));
    return PTIO_OK;
}

/* A number, or its digits as text. */
static bool read_id(const ptio_vetting *v, ptio_ref ref, int64_t *id) {
    const ptio_node *node = vet_node(v, ref);
    *id = node->kind == PTIO_N_INT ? node->integer : 0;
    if (node->kind == PTIO_N_INT) return true;
    if (!ptio_vet_is_text(v, ref) || node->a == 0 || node->a > 18) return false;
    const uint8_t *text = ptio_text(v->graph, node);
    for (uint32_t i = 0; i < node->a; i++) {
        if (text[i] < '0' || text[i] > '9') return false;
        *id = *id * 10 + (text[i] - '0');
    }
    return true;
}

/* The same tensor wherever it is named: the first node is it, the others repeat it. */
static ptio_status make_tensor(ptio_vetting *v, ptio_ref ref, uint32_t number) {
    ptio_tar *tar = v->c->tar;
    ptio_tar_tensor *tensor = &tar->tensors[number];
    if (tensor->node != 0) {
        ptio_vet_same(v, ref, tensor->node);
        return PTIO_OK;
    }
    tensor->node = ref;
    return ptio_vet_listed_tensor(v, ref, tensor->storage, tensor->offset, tar->dims + tensor->dims,
                                  tensor->ndim);
}

ptio_status ptio_vet_tar_id(ptio_vetting *v, ptio_ref ref, ptio_ref id_ref) {
    const ptio_node *id_node = vet_node(v, id_ref);
    int64_t id;
    if (id_node->kind == PTIO_N_TUPLE && id_node->count == 3)
        return ptio_vet_module_id(v, ref, vet_item(v, id_node, 0));
    VET_CHECK(v, read_id(v, id_ref, &id), "L2.id", PICKLE_MALFORMED,
              "a persistent id is %s, only numbers are known", ptio_vet_kind_name(v, id_ref));
    const ptio_tar_id *found = ptio_tar_lookup(v->c->tar, id);
    VET_CHECK(v, found != NULL, "L2.unknown", PICKLE_MALFORMED, "nothing in the file has the number %lld",
              (long long)id);
    if (found->is_tensor) return make_tensor(v, ref, found->number);
    vet_node(v, ref)->kind = PTIO_N_STORAGE;
    vet_node(v, ref)->a = found->number;
    return PTIO_OK;
}
