/* SPDX-License-Identifier: Apache-2.0 */
#include "leaf_walk.h"

#include "memory.h"
#include "vet.h"

enum {
    ROW_BYTES = 512,       /* of the objects that tell of one tensor */
    NAME_BYTES = 4 * 4096, /* of the longest name, in four bytes a character */
    WORD_BYTES = 16,       /* of a key that is no text */
};

/* One container on the way from the root. */
typedef struct {
    ptio_ref node;
    uint64_t text;    /* of the keys that lead to it */
    ptio_ref fill;    /* the one after the items being read; 0 for none */
    uint32_t at, end; /* refs being read */
    bool pairs;       /* they are keys and values */
    uint64_t position;
} level;

typedef struct {
    const ptio_checkpoint *c;
    level *levels;
    ptio_step *path; /* path[i] leads from levels[i] to its child */
    size_t depth, level_capacity, path_capacity;
    uint8_t *entered; /* by node */
    uint64_t fresh;   /* text of the keys since the last leaf */
    bool whole_composites;
    ptio_leaf_visit visit;
    void *context;
    ptio_error *err;
} walk;

static bool is_sequence(const ptio_node *node) {
    return node->kind == PTIO_N_TUPLE || node->kind == PTIO_N_FROZENSET;
}

static bool has_items(const walk *w, const ptio_node *node) {
    switch (node->kind) {
    case PTIO_N_TUPLE:
    case PTIO_N_FROZENSET:
    case PTIO_N_LIST:
    case PTIO_N_DICT:
    case PTIO_N_SET:
    case PTIO_N_OPAQUE_CALL: return true;
    case PTIO_N_MADE:
        return node->sub == PTIO_MAKE_ORDERED_DICT || node->sub == PTIO_MAKE_DEFAULT_DICT ||
               node->sub == PTIO_MAKE_COUNTER || node->sub == PTIO_MAKE_DEQUE ||
               node->sub == PTIO_MAKE_NAMESPACE || node->sub == PTIO_MAKE_SIMPLE_NAMESPACE ||
               (!w->whole_composites &&
                (node->sub == PTIO_MAKE_REBUILD_SPARSE || node->sub == PTIO_MAKE_REBUILD_NESTED ||
                 node->sub == PTIO_MAKE_REBUILD_JAGGED));
    default: return false;
    }
}

static uint64_t text_length(const ptio_node *node) {
    bool is_text = node->kind == PTIO_N_STR || node->kind == PTIO_N_BYTES || node->kind == PTIO_N_PY2_STR;
    return is_text ? node->a : 0;
}

static uint64_t text_bytes(const ptio_node *key) { return WORD_BYTES + text_length(key); }

/* A tuple is as long as its items. */
static uint64_t key_bytes(const ptio_graph *graph, ptio_ref ref) {
    const ptio_node *key = &graph->nodes[ref];
    uint64_t bytes = text_bytes(key);
    if (key->kind != PTIO_N_TUPLE || key->count > PTIO_LONGEST_KEY_TUPLE) return bytes;
    for (uint32_t i = 0; i < key->count; i++)
        bytes += text_bytes(&graph->nodes[ptio_follow(graph, graph->refs[key->first + i])]);
    return bytes;
}

static ptio_status enter(walk *w, ptio_ref ref, uint64_t text) {
    const ptio_node *node = &w->c->graph.nodes[ref];
    void *levels = w->levels, *path = w->path;
    if (w->entered[ref]) return PTIO_OK;
    w->entered[ref] = 1;
    PTIO_TRY(ptio_grow(&levels, &w->level_capacity, w->depth + 1, sizeof(level), w->err));
    w->levels = levels;
    PTIO_TRY(ptio_grow(&path, &w->path_capacity, w->depth + 1, sizeof(ptio_step), w->err));
    w->path = path;
    level *l = &w->levels[w->depth++];
    *l = (level){.node = ref, .text = text};
    if (is_sequence(node)) {
        l->at = node->first;
        l->end = node->first + node->count;
    } else {
        l->fill = ptio_first_fill(&w->c->graph, ref);
        /* What it was made from comes first: the parts of a sparse tensor, the
         * items of a deque, the arguments of an unknown call. */
        if ((node->kind == PTIO_N_MADE || node->kind == PTIO_N_OPAQUE_CALL) && node->b != PTIO_NODE_NONE) {
            const ptio_node *arguments = &w->c->graph.nodes[node->b];
            l->at = arguments->first;
            l->end = arguments->first + arguments->count;
        }
    }
    return PTIO_OK;
}

/* The state of an object: its attributes take the object's place in the path. */
static ptio_ref attributes_of(const walk *w, const ptio_node *fill) {
    const ptio_graph *graph = &w->c->graph;
    ptio_ref state = ptio_follow(graph, graph->refs[fill->first]);
    return graph->nodes[state].kind == PTIO_N_DICT ? state : PTIO_NO_NODE;
}

/* Moves on to the next run of items; false when the level is done. */
static bool next_run(walk *w, level *l) {
    const ptio_graph *graph = &w->c->graph;
    if (l->fill == 0) return false;
    const ptio_node *fill = &graph->nodes[l->fill];
    l->fill = ptio_next_fill(graph, l->node, l->fill);
    if (fill->kind == PTIO_N_DROPPED) return true;
    ptio_ref state = fill->kind == PTIO_N_BUILD ? attributes_of(w, fill) : PTIO_NO_NODE;
    if (state != PTIO_NO_NODE && l->fill == 0) {
        if (w->entered[state]) return true; /* shared by several objects: once is enough */
        w->entered[state] = 1;
        l->node = state;
        l->fill = ptio_first_fill(graph, state);
        return true;
    }
    l->pairs = fill->kind == PTIO_N_SETITEM;
    l->at = fill->first;
    l->end = fill->first + fill->count;
    return true;
}

static ptio_status visit_leaf(walk *w, ptio_ref leaf, uint64_t text) {
    ptio_path path = {.steps = w->path, .length = w->depth};
    const ptio_node *node = &w->c->graph.nodes[ptio_follow(&w->c->graph, leaf)];
    path.bytes = ROW_BYTES + w->depth * sizeof(void *) + ptio_min_u64(4 * text, NAME_BYTES) +
                 4 * (w->fresh + text_length(node));
    w->fresh = 0;
    return w->visit(w->context, &path, leaf, w->err);
}

ptio_status ptio_take_room(uint64_t *room, const ptio_path *path, ptio_error *err) {
    PTIO_CHECK(path->bytes <= *room, "P14.room", err, LIMIT, PTIO_NO_OFFSET,
               "too many long names: a list of them takes more than object_bytes");
    *room -= path->bytes;
    return PTIO_OK;
}

/* What else a tensor consists of: (scheme, scales, zero points, axis) of one that is quantized by
 * channels; PTIO_NO_NODE for others. */
static ptio_ref channels_of(const walk *w, const ptio_node *leaf) {
    if (w->whole_composites || leaf->kind != PTIO_N_TENSOR) return PTIO_NO_NODE;
    const ptio_tensor *tensor = &w->c->tensors[leaf->a];
    bool by_channel = (tensor->flags & PTIO_T_QUANTIZED) && w->c->graph.nodes[tensor->quantizer].count == 4;
    return by_channel ? tensor->quantizer : PTIO_NO_NODE;
}

static ptio_status take_leaf(walk *w, ptio_ref leaf, uint64_t text) {
    PTIO_TRY(visit_leaf(w, leaf, text));
    ptio_ref channels = channels_of(w, &w->c->graph.nodes[ptio_follow(&w->c->graph, leaf)]);
    return channels == PTIO_NO_NODE ? PTIO_OK : enter(w, channels, text);
}

static ptio_status take_item(walk *w, level *l) {
    const ptio_graph *graph = &w->c->graph;
    ptio_step *step = &w->path[w->depth - 1];
    *step = (ptio_step){PTIO_NO_NODE, l->position};
    if (l->pairs)
        step->key = ptio_follow(graph, graph->refs[l->at++]);
    else
        l->position++;
    uint64_t text = step->key == PTIO_NO_NODE ? WORD_BYTES : key_bytes(graph, step->key);
    w->fresh += text;
    text += l->text;
    ptio_ref value = graph->refs[l->at++], item = ptio_follow(graph, value);
    return has_items(w, &graph->nodes[item]) ? enter(w, item, text) : take_leaf(w, value, text);
}

static ptio_status run(walk *w) {
    ptio_ref root = ptio_follow(&w->c->graph, w->c->graph.root);
    bool is_leaf = !has_items(w, &w->c->graph.nodes[root]);
    PTIO_TRY(is_leaf ? take_leaf(w, w->c->graph.root, 0) : enter(w, root, 0));
    while (w->depth > 0) {
        level *l = &w->levels[w->depth - 1];
        if (l->at < l->end)
            PTIO_TRY(take_item(w, l));
        else if (!next_run(w, l))
            w->depth--;
    }
    return PTIO_OK;
}

ptio_status ptio_walk_leaves(const ptio_checkpoint *c, bool whole_composites, ptio_leaf_visit visit,
                             void *context, ptio_error *err) {
    walk w = {.c = c, .whole_composites = whole_composites, .visit = visit, .context = context, .err = err};
    w.entered = ptio_alloc_zeroed(c->graph.count, 1);
    if (w.entered == NULL) return ptio_no_memory(err);
    ptio_status status = run(&w);
    ptio_free(w.entered);
    ptio_free(w.levels);
    ptio_free(w.path);
    return status;
}
