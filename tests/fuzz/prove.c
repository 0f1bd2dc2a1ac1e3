/* SPDX-License-Identifier: Apache-2.0
 *
 * The promises about an open checkpoint, each found out in the plainest way: with 128-bit
 * arithmetic instead of checked steps, by looking at every node instead of walking.
 */
#include "graph_walk.h"
#include "harness.h"
#include "vet.h"

typedef __int128 wide;

static void prove_refs(const ptio_graph *g, ptio_ref before, uint64_t first, uint64_t count) {
    REQUIRE(first + count <= g->ref_count);
    for (uint64_t i = first; i < first + count; i++) REQUIRE(g->refs[i] < before);
}

static void prove_text(const ptio_graph *g, const ptio_node *node, uint64_t size) {
    if (node->text < g->pickle_size)
        REQUIRE(size <= g->pickle_size - node->text);
    else
        REQUIRE(size <= g->unescaped_size && node->text - g->pickle_size <= g->unescaped_size - size);
}

/* A node refers only to nodes before it, and to text that is there. */
static void prove_node(const ptio_checkpoint *c, ptio_ref ref) {
    const ptio_graph *g = &c->graph;
    const ptio_node *node = &g->nodes[ref];
    switch (node->kind) {
    case PTIO_N_STR:
    case PTIO_N_BYTES:
    case PTIO_N_BYTEARRAY:
    case PTIO_N_PY2_STR:
    case PTIO_N_BIG_INT:
    case PTIO_N_BIG_DECIMAL: prove_text(g, node, node->a); break;
    case PTIO_N_TUPLE:
    case PTIO_N_FROZENSET: prove_refs(g, ref, node->first, node->count); break;
    case PTIO_N_APPEND:
    case PTIO_N_SETITEM:
    case PTIO_N_ADD:
    case PTIO_N_BUILD:
        REQUIRE(node->a < ref);
        prove_refs(g, ref, node->first, node->count);
        REQUIRE(node->kind != PTIO_N_SETITEM || node->count % 2 == 0);
        break;
    case PTIO_N_SAME:
    case PTIO_N_PARAMETER: REQUIRE(node->a < ref); break;
    case PTIO_N_MADE: REQUIRE(node->sub < PTIO_MAKER_COUNT && node->b < ref); break;
    case PTIO_N_STORAGE: REQUIRE(node->a < c->storage_count); break;
    case PTIO_N_TENSOR: REQUIRE(node->a < c->tensor_count); break;
    case PTIO_N_DTYPE: REQUIRE(node->sub < PTIO_DTYPE_COUNT); break;
    case PTIO_N_MARKER:
    case PTIO_N_NAMED: REQUIRE(ptio_global_get(node->sub) != NULL); break;
    case PTIO_N_FOREIGN_CALL:
    case PTIO_N_OPAQUE_CALL: REQUIRE(node->a < ref && node->b < ref); break;
    default: break;
    }
}

/* Nothing that still waits to be judged is part of the result. */
static void prove_needed(const ptio_node *node, const ptio_checkpoint_options *options) {
    bool asked = options->inert || options->judge != NULL;
    switch (node->kind) {
    case PTIO_N_GLOBAL:
    case PTIO_N_STACK_GLOBAL:
    case PTIO_N_PERSID:
    case PTIO_N_CALL:
    case PTIO_N_NEWOBJ:
    case PTIO_N_NEWOBJ_EX: fuzz_broken("the result holds what was not judged", __FILE__, __LINE__);
    case PTIO_N_FOREIGN:
    case PTIO_N_FOREIGN_CALL: REQUIRE(options->judge != NULL); break;
    case PTIO_N_MARKER: REQUIRE(asked); break;
    default: break;
    }
}

static void prove_storage(const ptio_checkpoint *c, uint32_t number) {
    const ptio_storage *s = &c->storages[number];
    REQUIRE(s->dtype < PTIO_DTYPE_COUNT && s->root < c->storage_count);
    if (s->root != number) {
        REQUIRE(c->storages[s->root].root == s->root);
        REQUIRE((wide)s->offset + s->bytes <= (wide)c->storages[s->root].bytes);
    } else if (!s->lost && s->record != PTIO_NO_RECORD) {
        REQUIRE(s->record < c->index.count && c->index.records[s->record].usize == s->bytes);
    }
}

/* T1-T3: the last element lies inside the storage, in bytes. */
static void prove_tensor(const ptio_checkpoint *c, const ptio_tensor *t) {
    const ptio_dtype_info *dtype = ptio_dtype_get(t->dtype);
    const int64_t *sizes = ptio_tensor_sizes(c, t), *strides = ptio_tensor_strides(c, t);
    REQUIRE(t->dims + 2 * (size_t)t->ndim <= c->dim_count && t->ndim <= 64);
    wide last = (wide)t->offset, elements = 1;
    bool empty = false;
    for (size_t i = 0; i < t->ndim; i++) {
        REQUIRE(sizes[i] >= 0 && strides[i] >= 0);
        empty = empty || sizes[i] == 0;
    }
    for (size_t i = 0; !empty && i < t->ndim; i++) {
        last += (wide)(sizes[i] - 1) * strides[i];
        elements *= sizes[i];
        REQUIRE(elements <= UINT64_MAX && last <= UINT64_MAX);
    }
    REQUIRE(t->elements == (empty ? 0 : (uint64_t)elements));
    if (t->storage == PTIO_NO_STORAGE) return;
    REQUIRE(t->storage < c->storage_count);
    wide available = (wide)c->storages[t->storage].bytes / dtype->item_bytes * dtype->per_item;
    if (empty)
        REQUIRE((wide)t->offset <= available);
    else
        REQUIRE(last < available);
}

void fuzz_prove(const ptio_checkpoint *c, const ptio_checkpoint_options *options) {
    const ptio_graph *g = &c->graph;
    REQUIRE(c->forbidden_count == 0 && g->root < g->count);
    for (ptio_ref ref = PTIO_FIRST_FREE_NODE; ref < g->count; ref++) prove_node(c, ref);
    for (uint32_t i = 0; i < c->storage_count; i++) prove_storage(c, i);
    for (size_t i = 0; i < c->tensor_count; i++) prove_tensor(c, &c->tensors[i]);
    for (ptio_ref ref = 0; ref < g->count; ref++)
        if (g->nodes[ref].flags & PTIO_F_NEEDED) prove_needed(&g->nodes[ref], options);
    REQUIRE(g->nodes[g->root].flags & PTIO_F_NEEDED);
}
