/* SPDX-License-Identifier: Apache-2.0 */
#include "graph.h"

ptio_status ptio_graph_init(ptio_graph *graph, const uint8_t *pickle, uint64_t size,
                            ptio_error *err) {
    void *nodes = NULL;
    size_t capacity = 0;
    size_t guess = (size_t)ptio_min_u64(size / 8, 1 << 20) + 64; /* torch: a node per 8-10 bytes */
    memset(graph, 0, sizeof *graph);
    PTIO_TRY(ptio_grow(&nodes, &capacity, guess, sizeof(ptio_node), err));
    graph->pickle = pickle;
    graph->pickle_size = size;
    graph->nodes = nodes;
    graph->capacity = capacity;
    memset(graph->nodes, 0, PTIO_FIRST_FREE_NODE * sizeof(ptio_node));
    graph->nodes[PTIO_NODE_NONE].kind = PTIO_N_NONE;
    graph->nodes[PTIO_NODE_FALSE].kind = PTIO_N_FALSE;
    graph->nodes[PTIO_NODE_TRUE].kind = PTIO_N_TRUE;
    graph->count = PTIO_FIRST_FREE_NODE;
    graph->root = PTIO_NO_NODE;
    return PTIO_OK;
}

void ptio_graph_free(ptio_graph *graph) {
    ptio_free(graph->nodes);
    ptio_free(graph->refs);
    ptio_free(graph->unescaped);
    ptio_free(graph->globals);
    memset(graph, 0, sizeof *graph);
}

uint64_t ptio_graph_bytes(const ptio_graph *graph) {
    return (uint64_t)graph->count * sizeof(ptio_node) +
           (uint64_t)graph->ref_count * sizeof(ptio_ref) + graph->unescaped_size +
           (uint64_t)graph->global_count * sizeof(ptio_global_use);
}
