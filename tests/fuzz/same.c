/* SPDX-License-Identifier: Apache-2.0 */
#include "same.h"

#include <stdlib.h>

#include "graph_walk.h"
#include "harness.h"

typedef struct {
    const ptio_checkpoint *one, *other;
    ptio_ref *partner; /* of each node of `one` that was met; 0: none yet */
    ptio_ref *stack;   /* pairs still to be compared */
    size_t count, capacity;
} comparison;

static bool same_text(const comparison *c, const ptio_node *a, const ptio_node *b) {
    return a->a == b->a &&
           (a->a == 0 || memcmp(ptio_text(&c->one->graph, a), ptio_text(&c->other->graph, b), a->a) == 0);
}

static bool same_name(const comparison *c, ptio_ref a, ptio_ref b) {
    const uint8_t *text[4];
    size_t size[4];
    ptio_global_name(&c->one->graph, a, &text[0], &size[0], &text[1], &size[1]);
    ptio_global_name(&c->other->graph, b, &text[2], &size[2], &text[3], &size[3]);
    return size[0] == size[2] && size[1] == size[3] && memcmp(text[0], text[2], size[0]) == 0 &&
           memcmp(text[1], text[3], size[1]) == 0;
}

static bool same_tensor(const comparison *c, const ptio_tensor *a, const ptio_tensor *b) {
    return a->offset == b->offset && a->elements == b->elements && a->dtype == b->dtype &&
           a->ndim == b->ndim && a->flags == b->flags &&
           (a->storage == PTIO_NO_STORAGE) == (b->storage == PTIO_NO_STORAGE) &&
           memcmp(ptio_tensor_sizes(c->one, a), ptio_tensor_sizes(c->other, b), 16 * (size_t)a->ndim) == 0 &&
           (a->storage == PTIO_NO_STORAGE ||
            c->one->storages[a->storage].record == c->other->storages[b->storage].record);
}

static void later(comparison *c, ptio_ref a, ptio_ref b) {
    if (c->count + 2 > c->capacity) {
        c->capacity = 2 * c->capacity + 64;
        c->stack = realloc(c->stack, c->capacity * sizeof *c->stack);
        if (c->stack == NULL) abort();
    }
    c->stack[c->count++] = a;
    c->stack[c->count++] = b;
}

/* The same children in the same order, whatever batches they came in. */
static bool same_children(comparison *c, ptio_ref a, ptio_ref b) {
    const ptio_graph *g = &c->one->graph, *h = &c->other->graph;
    ptio_children of_a = ptio_children_of(g, a), of_b = ptio_children_of(h, b);
    ptio_ref fill, child_a, child_b;
    do {
        child_a = ptio_next_child(g, &of_a, &fill);
        child_b = ptio_next_child(h, &of_b, &fill);
        if (child_a != PTIO_NO_NODE && child_b != PTIO_NO_NODE) later(c, child_a, child_b);
    } while (child_a != PTIO_NO_NODE && child_b != PTIO_NO_NODE);
    return child_a == child_b;
}

static bool same_number(const ptio_node *a, const ptio_node *b) {
    return a->kind == PTIO_N_FLOAT ? memcmp(&a->real, &b->real, sizeof a->real) == 0
                                   : a->integer == b->integer;
}

static bool same_node(comparison *c, ptio_ref ref_a, ptio_ref ref_b) {
    const ptio_node *a = &c->one->graph.nodes[ref_a], *b = &c->other->graph.nodes[ref_b];
    /* A long number may be said in digits or in bytes. */
    bool decimal = a->kind == PTIO_N_BIG_DECIMAL;
    if (decimal && (b->kind == PTIO_N_BIG_INT || b->kind == PTIO_N_INT)) return true;
    if (a->kind != b->kind) return false;
    switch (a->kind) {
    case PTIO_N_INT:
    case PTIO_N_FLOAT: return same_number(a, b);
    case PTIO_N_STR:
    case PTIO_N_BYTES:
    case PTIO_N_BYTEARRAY:
    case PTIO_N_PY2_STR:
    case PTIO_N_BIG_INT:
    case PTIO_N_BIG_DECIMAL: return same_text(c, a, b);
    case PTIO_N_DTYPE:
    case PTIO_N_NAMED:
    case PTIO_N_MARKER: return a->sub == b->sub;
    case PTIO_N_OPAQUE:
    case PTIO_N_OPAQUE_STACK: return same_name(c, ref_a, ref_b);
    case PTIO_N_TENSOR:
        if (!same_tensor(c, &c->one->tensors[a->a], &c->other->tensors[b->a])) return false;
        return same_children(c, ref_a, ref_b);
    case PTIO_N_MADE:
    case PTIO_N_PARAMETER:
    case PTIO_N_OPAQUE_CALL: return a->sub == b->sub && same_children(c, ref_a, ref_b);
    default: return same_children(c, ref_a, ref_b);
    }
}

static bool compare(comparison *c) {
    const ptio_graph *g = &c->one->graph, *h = &c->other->graph;
    later(c, g->root, h->root);
    while (c->count > 0) {
        ptio_ref b = ptio_follow(h, c->stack[--c->count]), a = ptio_follow(g, c->stack[--c->count]);
        ptio_ref known = c->partner[a];
        if (known == b) continue;
        if (known != 0 && ptio_has_fills(&g->nodes[a])) return false; /* shared there, but not here */
        c->partner[a] = b;
        if (!same_node(c, a, b)) return false;
    }
    return true;
}

bool fuzz_same_object(const ptio_checkpoint *one, const ptio_checkpoint *other) {
    comparison c = {.one = one, .other = other};
    c.partner = calloc(one->graph.count, sizeof *c.partner);
    if (c.partner == NULL) abort();
    bool same = compare(&c);
    free(c.partner);
    free(c.stack);
    return same;
}
