/* SPDX-License-Identifier: Apache-2.0
 *
 * What a node of a graph is made of: its children one after another, and all
 * nodes that it needs. Iterative; a graph is never walked as a tree.
 */
#ifndef PTIO_GRAPH_WALK_H
#define PTIO_GRAPH_WALK_H

#include "graph.h"

typedef struct {
    ptio_ref node;
    ptio_ref direct[2]; /* callee and arguments; PTIO_NODE_NONE for none */
    ptio_ref fill;      /* the fill after the one being read; 0 for none */
    uint32_t at, end;   /* refs being read */
} ptio_children;

ptio_children ptio_children_of(const ptio_graph *graph, ptio_ref node);

/* Of ptio_next_child: what does not stand in the run of items being read. */
ptio_ref ptio_next_run(const ptio_graph *graph, ptio_children *children, ptio_ref *entered);

/* The next child, PTIO_NO_NODE after the last. *entered is the fill whose first item that
 * is, or 0. */
static inline ptio_ref ptio_next_child(const ptio_graph *graph, ptio_children *children, ptio_ref *entered) {
    *entered = 0;
    return children->at < children->end ? graph->refs[children->at++]
                                        : ptio_next_run(graph, children, entered);
}

static inline bool ptio_has_fills(const ptio_node *node) {
    return node->kind == PTIO_N_LIST || node->kind == PTIO_N_DICT || node->kind == PTIO_N_SET ||
           node->kind == PTIO_N_MADE || node->kind == PTIO_N_OPAQUE_CALL || node->kind == PTIO_N_FOREIGN_CALL;
}

/* Some of the nodes of a graph, in stream order. */
typedef struct {
    ptio_ref *refs;
    size_t count, capacity;
} ptio_part;

/* The node `root`, all that it is made of, and their fills: what building it takes. The
 * caller frees out->refs with ptio_free. */
ptio_status ptio_graph_part(const ptio_graph *graph, ptio_ref root, ptio_part *out,
                            ptio_error *err) PTIO_MUST_CHECK;

#endif
