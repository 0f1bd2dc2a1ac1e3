/* SPDX-License-Identifier: Apache-2.0 */
#include "graph_walk.h"

#include <stdlib.h>

#include "memory.h"

ptio_children ptio_children_of(const ptio_graph *graph, ptio_ref ref) {
    const ptio_node *node = &graph->nodes[ref];
    ptio_children c = {.node = ref};
    if (node->kind == PTIO_N_TUPLE || node->kind == PTIO_N_FROZENSET) {
        c.at = node->first;
        c.end = node->first + node->count;
    }
    bool call = node->kind == PTIO_N_OPAQUE_CALL || node->kind == PTIO_N_FOREIGN_CALL;
    if (node->kind == PTIO_N_SAME || node->kind == PTIO_N_PARAMETER || call) c.direct[0] = node->a;
    if (node->kind == PTIO_N_MADE || node->kind == PTIO_N_TENSOR || node->kind == PTIO_N_PARAMETER || call)
        c.direct[1] = node->b;
    if (ptio_has_fills(node)) c.fill = ptio_first_fill(graph, ref);
    return c;
}

ptio_ref ptio_next_run(const ptio_graph *graph, ptio_children *c, ptio_ref *entered) {
    for (int i = 0; i < 2; i++)
        if (c->direct[i] != PTIO_NODE_NONE) {
            ptio_ref child = c->direct[i];
            c->direct[i] = PTIO_NODE_NONE;
            return child;
        }
    while (c->at == c->end) {
        if (c->fill == 0) return PTIO_NO_NODE;
        const ptio_node *fill = &graph->nodes[c->fill];
        if (fill->kind != PTIO_N_DROPPED) {
            *entered = c->fill;
            c->at = fill->first;
            c->end = fill->first + fill->count;
        }
        c->fill = ptio_next_fill(graph, c->node, c->fill);
    }
    return graph->refs[c->at++];
}

/* --- parts -------------------------------------------------------------------------------- */

static ptio_status append(ptio_part *part, ptio_ref ref, ptio_error *err) {
    void *refs = part->refs;
    PTIO_TRY(ptio_grow(&refs, &part->capacity, part->count + 1, sizeof *part->refs, err));
    part->refs = refs;
    part->refs[part->count++] = ref;
    return PTIO_OK;
}

/* Nodes that are children of others are found through refs that may be PTIO_N_SAME, which are
 * nodes of their own: nothing is followed here. */
static ptio_status add(ptio_part *part, uint8_t *taken, ptio_ref ref, ptio_error *err) {
    if (taken[ref]) return PTIO_OK;
    taken[ref] = 1;
    return append(part, ref, err);
}

/* The list is its own queue: what stands behind `next` still has to be looked into. */
static ptio_status collect(const ptio_graph *graph, ptio_part *part, uint8_t *taken, ptio_error *err) {
    for (size_t next = 0; next < part->count; next++) {
        ptio_ref ref = part->refs[next], child, entered;
        if (ptio_is_fill(&graph->nodes[ref])) continue; /* its target has listed its items */
        ptio_children children = ptio_children_of(graph, ref);
        while ((child = ptio_next_child(graph, &children, &entered)) != PTIO_NO_NODE) {
            if (entered != 0) PTIO_TRY(add(part, taken, entered, err));
            PTIO_TRY(add(part, taken, child, err));
        }
    }
    return PTIO_OK;
}

static int compare(const void *a, const void *b) {
    const ptio_ref *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

static bool is_childless(const ptio_graph *graph, ptio_ref ref) {
    ptio_children c = ptio_children_of(graph, ref);
    return c.direct[0] == PTIO_NODE_NONE && c.direct[1] == PTIO_NODE_NONE && c.at == c.end && c.fill == 0;
}

static ptio_status add_descendants(const ptio_graph *graph, ptio_part *part, ptio_error *err) {
    uint8_t *taken = ptio_alloc_zeroed(graph->count, 1);
    if (taken == NULL) return ptio_no_memory(err);
    taken[part->refs[0]] = 1;
    ptio_status status = collect(graph, part, taken, err);
    ptio_free(taken);
    if (status == PTIO_OK) qsort(part->refs, part->count, sizeof *part->refs, compare);
    return status;
}

ptio_status ptio_graph_part(const ptio_graph *graph, ptio_ref root, ptio_part *out, ptio_error *err) {
    ptio_part part = {0};
    ptio_status status = append(&part, root, err);
    /* For most tensors the size of the graph does not matter. */
    if (status == PTIO_OK && !is_childless(graph, root)) status = add_descendants(graph, &part, err);
    if (status != PTIO_OK) {
        ptio_free(part.refs);
        return status;
    }
    *out = part;
    return PTIO_OK;
}
