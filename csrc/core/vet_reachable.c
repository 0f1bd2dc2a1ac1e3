/* SPDX-License-Identifier: Apache-2.0
 *
 * The walk from the root: marks what the result needs, measures nesting
 * (invariant P13) and charges what the objects will cost. Iterative, and every
 * node is entered once, whatever the graph looks like (P14).
 */
#include "graph_walk.h"
#include "vet.h"

ptio_status ptio_vet_charge(ptio_vetting *v, uint64_t bytes) {
    VET_CHECK(v,
              ptio_add_u64(v->c->object_bytes, bytes, &v->c->object_bytes) &&
                  v->c->object_bytes <= v->object_limit,
              "R.object-bytes", LIMIT,
              "the objects need more than %llu bytes, for a file of %llu (limit object_bytes)",
              (unsigned long long)v->object_limit, (unsigned long long)v->c->file_size);
    return PTIO_OK;
}

/* An Opaque has the name of its class, and so has each result of a call. */
static uint64_t cost_of_name(const ptio_graph *graph, ptio_ref ref) {
    const uint8_t *module, *name;
    size_t module_size, name_size;
    uint8_t kind = graph->nodes[ref].kind;
    if (kind != PTIO_N_OPAQUE && kind != PTIO_N_OPAQUE_STACK) return 0;
    ptio_global_name(graph, ref, &module, &module_size, &name, &name_size);
    return module_size + name_size;
}

/* Heights are kept in 16 bits: nobody nests deeper on purpose. */
static uint32_t depth_limit(const ptio_vetting *v) {
    uint32_t depth = v->options->limits.depth;
    return depth < PTIO_MOST_DEPTH ? depth : PTIO_MOST_DEPTH;
}

/* Bytes of the Python object that a node becomes, a little more rather than
 * less; its slots in other containers are charged with those. */
static uint64_t cost_of(const ptio_graph *graph, ptio_ref ref) {
    const ptio_node *node = &graph->nodes[ref];
    switch (node->kind) {
    case PTIO_N_INT: return node->integer >= -5 && node->integer <= 256 ? 0 : 32;
    case PTIO_N_FLOAT: return 24;
    case PTIO_N_BIG_INT:
    case PTIO_N_BIG_DECIMAL: return 32 + 2 * (uint64_t)node->a;
    case PTIO_N_STR: return node->flags & PTIO_F_ASCII ? 56 + (uint64_t)node->a : 80 + 4 * (uint64_t)node->a;
    case PTIO_N_PY2_STR: return 80 + 4 * (uint64_t)node->a;
    case PTIO_N_BYTES:
    case PTIO_N_BYTEARRAY: return 64 + (uint64_t)node->a;
    case PTIO_N_TUPLE: return node->count == 0 ? 0 : 48 + 8 * (uint64_t)node->count;
    case PTIO_N_FROZENSET: return 232 + 64 * (uint64_t)node->count;
    case PTIO_N_LIST: return 72;
    case PTIO_N_DICT: return 80;
    case PTIO_N_SET: return 232;
    case PTIO_N_TENSOR:
    case PTIO_N_PARAMETER:
    case PTIO_N_STORAGE: return 256;
    case PTIO_N_FOREIGN_CALL:
    case PTIO_N_MADE: return 320;
    case PTIO_N_OPAQUE:
    case PTIO_N_OPAQUE_STACK: return 320 + cost_of_name(graph, ref);
    case PTIO_N_OPAQUE_CALL: return 320 + cost_of_name(graph, ptio_follow(graph, node->a));
    default: return 0;
    }
}

static uint64_t cost_of_fill(const ptio_node *fill) {
    switch (fill->kind) {
    case PTIO_N_APPEND: return 10 * (uint64_t)fill->count;
    case PTIO_N_SETITEM: return 56 * (uint64_t)fill->count + (fill->count > 2 ? 96 : 0);
    case PTIO_N_ADD: return 64 * (uint64_t)fill->count;
    default: return 0;
    }
}

typedef struct {
    ptio_children children;
    uint32_t height; /* of the highest child so far */
} frame;

/* The next child, PTIO_NO_NODE after the last. Charges fills as it enters them. */
static ptio_status next_child(ptio_vetting *v, frame *f, ptio_ref *child) {
    ptio_ref entered;
    *child = ptio_next_child(v->graph, &f->children, &entered);
    return entered == 0 ? PTIO_OK : ptio_vet_charge(v, cost_of_fill(vet_node(v, entered)));
}

/* --- the walk ---------------------------------------------------------------------------- */

typedef struct {
    frame *frames;
    size_t count, capacity;
    uint16_t *heights; /* containers nested in each finished node, itself included; unset for leaves */
} walk;

static bool is_leaf(const ptio_node *node) {
    switch (node->kind) {
    case PTIO_N_TUPLE:
    case PTIO_N_FROZENSET: return node->count == 0;
    case PTIO_N_LIST:
    case PTIO_N_DICT:
    case PTIO_N_SET: return node->fills == 0;
    case PTIO_N_MADE: return node->fills == 0 && node->b == PTIO_NODE_NONE;
    case PTIO_N_TENSOR: return node->b == PTIO_NODE_NONE;
    case PTIO_N_SAME:
    case PTIO_N_PARAMETER:
    case PTIO_N_FOREIGN_CALL:
    case PTIO_N_OPAQUE_CALL: return false;
    default: return true;
    }
}

static bool is_container(const ptio_node *node) {
    return node->kind == PTIO_N_TUPLE || node->kind == PTIO_N_FROZENSET || ptio_has_fills(node);
}

static ptio_status refuse_marker(ptio_vetting *v, ptio_ref ref) {
    const ptio_node *node = vet_node(v, ref);
    v->now = ref;
    if (node->kind != PTIO_N_MARKER) return PTIO_OK;
    const ptio_global *global = ptio_global_get(node->sub);
    VET_CHECK(v, v->options->inert || v->options->allow_count > 0 || v->options->judge != NULL, "P11.marker",
              GLOBAL_FORBIDDEN, "the class or function %s.%s itself is part of the data", global->module,
              global->name);
    return PTIO_OK;
}

/* Enters a node for the first time. Leaves are done at once. */
static ptio_status enter(ptio_vetting *v, walk *w, ptio_ref ref) {
    ptio_node *node = vet_node(v, ref);
    void *frames = w->frames;
    node->flags |= PTIO_F_NEEDED;
    PTIO_TRY(ptio_vet_charge(v, cost_of(v->graph, ref)));
    if (node->kind == PTIO_N_MARKER) PTIO_TRY(refuse_marker(v, ref));
    if (ref >= PTIO_FIRST_FREE_NODE) v->now = ref; /* the others have no place in the stream */
    VET_CHECK(v, !is_container(node) || w->count < depth_limit(v), "P13.depth", LIMIT,
              "objects are nested deeper than %u (limit depth)", depth_limit(v));
    if (is_leaf(node)) return PTIO_OK;
    PTIO_TRY(ptio_arena_grow(&v->graph->arena, &frames, &w->capacity, w->count + 1, sizeof(frame), v->err));
    w->frames = frames;
    node->flags |= PTIO_F_OPEN;
    w->frames[w->count++] = (frame){.children = ptio_children_of(v->graph, ref)};
    return PTIO_OK;
}

static uint16_t height_of(const ptio_vetting *v, const walk *w, ptio_ref ref) {
    const ptio_node *node = vet_node(v, ref);
    return is_leaf(node) ? (uint16_t)is_container(node) : w->heights[ref];
}

static ptio_status leave(ptio_vetting *v, walk *w) {
    frame *f = &w->frames[--w->count];
    ptio_ref node = f->children.node;
    v->now = node;
    VET_CHECK(v, f->height < depth_limit(v), "P13.height", LIMIT,
              "objects are nested deeper than %u (limit depth)", depth_limit(v));
    w->heights[node] = (uint16_t)(f->height + 1);
    vet_node(v, node)->flags &= (uint8_t)~PTIO_F_OPEN;
    if (w->count > 0 && w->frames[w->count - 1].height < f->height + 1)
        w->frames[w->count - 1].height = f->height + 1;
    return PTIO_OK;
}

static ptio_status run_walk(ptio_vetting *v, walk *w) {
    ptio_ref child;
    PTIO_TRY(enter(v, w, v->graph->root));
    while (w->count > 0) {
        frame *top = &w->frames[w->count - 1];
        PTIO_TRY(next_child(v, top, &child));
        if (child == PTIO_NO_NODE) {
            PTIO_TRY(leave(v, w));
        } else if (!(vet_node(v, child)->flags & PTIO_F_NEEDED)) {
            size_t depth = w->count;
            PTIO_TRY(enter(v, w, child));
            top = &w->frames[depth - 1]; /* the frames may have moved */
            if (w->count == depth && height_of(v, w, child) > top->height)
                top->height = height_of(v, w, child);
        } else if (!(vet_node(v, child)->flags & PTIO_F_OPEN) && height_of(v, w, child) > top->height) {
            top->height = height_of(v, w, child); /* a cycle's closing edge adds no depth */
        }
    }
    return PTIO_OK;
}

ptio_status ptio_vet_reachable(ptio_vetting *v) {
    ptio_graph *graph = v->graph;
    walk w = {0};
    void *heights;
    PTIO_TRY(ptio_arena_alloc(&graph->arena, graph->count, sizeof *w.heights, &heights, v->err));
    uint64_t held =
        ptio_checkpoint_inflates(v->c) ? v->c->pickle_size + graph->arena.taken : ptio_graph_bytes(graph);
    PTIO_TRY(ptio_vet_charge(v, held + graph->count * sizeof(void *)));
    w.heights = heights;
    for (int i = 0; i < PTIO_NODE_EMPTY_TUPLE; i++) graph->nodes[i].flags |= PTIO_F_NEEDED;
    return run_walk(v, &w);
}
