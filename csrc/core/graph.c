/* SPDX-License-Identifier: Apache-2.0 */
#include "graph.h"

/* A pickle of torch makes a node, a reference and a memo entry for every 7 bytes
 * or more. Pages that stay untouched cost nothing, copies while growing do. */
enum { BYTES_PER_NODE = 7, MOST_FORESEEN = 1 << 25 };

ptio_status ptio_graph_init(ptio_graph *graph, const uint8_t *pickle, uint64_t size, uint64_t max_memory,
                            ptio_error *err) {
    void *nodes = NULL;
    size_t capacity = 0;
    void *refs = NULL;
    size_t guess = ptio_graph_guess(size);
    memset(graph, 0, sizeof *graph);
    graph->arena.limit = max_memory;
    PTIO_TRY(ptio_arena_reserve(&graph->arena, guess * 48, err)); /* 24 here, as much for vetting */
    PTIO_TRY(ptio_arena_grow(&graph->arena, &nodes, &capacity, guess, sizeof(ptio_node), err));
    PTIO_TRY(ptio_arena_grow(&graph->arena, &refs, &graph->ref_capacity, guess, sizeof(ptio_ref), err));
    graph->refs = refs;
    graph->pickle = pickle;
    graph->pickle_size = size;
    graph->nodes = nodes;
    graph->capacity = capacity;
    memset(graph->nodes, 0, PTIO_FIRST_FREE_NODE * sizeof(ptio_node));
    graph->nodes[PTIO_NODE_NONE].kind = PTIO_N_NONE;
    graph->nodes[PTIO_NODE_FALSE].kind = PTIO_N_FALSE;
    graph->nodes[PTIO_NODE_TRUE].kind = PTIO_N_TRUE;
    graph->nodes[PTIO_NODE_EMPTY_TUPLE].kind = PTIO_N_TUPLE;
    for (int i = 0; i < 256; i++)
        graph->nodes[PTIO_NODE_SMALL_INT + i] = (ptio_node){.kind = PTIO_N_INT, .integer = i};
    graph->count = PTIO_FIRST_FREE_NODE;
    graph->root = PTIO_NO_NODE;
    return PTIO_OK;
}

size_t ptio_graph_guess(uint64_t pickle_size) {
    return (size_t)ptio_min_u64(pickle_size / BYTES_PER_NODE, MOST_FORESEEN) + PTIO_FIRST_FREE_NODE + 16;
}

void ptio_graph_free(ptio_graph *graph) {
    ptio_arena_free(&graph->arena);
    memset(graph, 0, sizeof *graph);
}

uint64_t ptio_graph_bytes(const ptio_graph *graph) {
    return (uint64_t)graph->count * sizeof(ptio_node) + (uint64_t)graph->ref_count * sizeof(ptio_ref) +
           graph->unescaped_size + (uint64_t)graph->global_count * sizeof(ptio_global_use);
}

const char *ptio_kind_name(uint8_t kind) {
    static const char *const names[] = {[PTIO_N_NONE] = "None",
                                        [PTIO_N_FALSE] = "a bool",
                                        [PTIO_N_TRUE] = "a bool",
                                        [PTIO_N_INT] = "an int",
                                        [PTIO_N_BIG_INT] = "a large int",
                                        [PTIO_N_BIG_DECIMAL] = "a large int",
                                        [PTIO_N_FLOAT] = "a float",
                                        [PTIO_N_STR] = "a str",
                                        [PTIO_N_BYTES] = "bytes",
                                        [PTIO_N_BYTEARRAY] = "a bytearray",
                                        [PTIO_N_PY2_STR] = "a Python 2 str",
                                        [PTIO_N_TUPLE] = "a tuple",
                                        [PTIO_N_FROZENSET] = "a frozenset",
                                        [PTIO_N_LIST] = "a list",
                                        [PTIO_N_DICT] = "a dict",
                                        [PTIO_N_SET] = "a set",
                                        [PTIO_N_GLOBAL] = "a class or function",
                                        [PTIO_N_STACK_GLOBAL] = "a class or function",
                                        [PTIO_N_PERSID] = "a storage",
                                        [PTIO_N_MARKER] = "a class or function",
                                        [PTIO_N_NAMED] = "a named constant",
                                        [PTIO_N_DTYPE] = "a dtype",
                                        [PTIO_N_STORAGE] = "a storage",
                                        [PTIO_N_TENSOR] = "a tensor",
                                        [PTIO_N_OPAQUE] = "an unknown class",
                                        [PTIO_N_OPAQUE_STACK] = "an unknown class",
                                        [PTIO_N_OPAQUE_CALL] = "an unknown object",
                                        [PTIO_N_FOREIGN] = "a class or function",
                                        [PTIO_N_FOREIGN_CALL] = "an object of a registered class",
                                        [PTIO_N_DROPPED] = "nothing"};
    return names[kind] == NULL ? "an object" : names[kind];
}
