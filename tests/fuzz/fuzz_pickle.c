/* SPDX-License-Identifier: Apache-2.0
 *
 * The pickle machine alone: opcodes to a graph. The first byte says which calls are read.
 */
#include "graph_walk.h"
#include "harness.h"
#include "memory.h"
#include "pickle_parse.h"
#include "pickle_series.h"

/* A node's opcode is found again, inside the pickle. */
static void locate(const ptio_graph *g) {
    size_t step = g->count / 4 + 1;
    for (size_t ref = PTIO_FIRST_FREE_NODE; ref < g->count; ref += step)
        REQUIRE(ptio_pickle_locate(g->pickle, g->pickle_size, (ptio_ref)ref) < g->pickle_size);
    for (size_t i = 1; i < g->global_count; i++) REQUIRE(g->globals[i - 1].node < g->globals[i].node);
}

static void walk(const ptio_graph *g) {
    ptio_part part = {0};
    ptio_error err = {0};
    ptio_status status = ptio_graph_part(g, g->root, &part, &err);
    if (status != PTIO_OK)
        fuzz_check_error(status, &err);
    else
        for (size_t i = 0; i < part.count; i++) REQUIRE(part.refs[i] < g->count);
    ptio_free(part.refs);
}

/* One after another, as legacy files have them: what is stepped over is a pickle's length. */
static void series(const uint8_t *data, size_t size) {
    ptio_source source;
    ptio_error err = {0};
    ptio_pickle_series s;
    ptio_source_borrow(data, size, &source);
    ptio_status status = ptio_series_begin(&source, 0, size, &s, &err);
    for (unsigned i = 0; i < 8 && status == PTIO_OK && s.at < size; i++) {
        ptio_series_pickle pickle = {0};
        uint64_t before = s.at;
        status = ptio_series_next(&s, 1 << 20, &pickle, &err);
        if (status == PTIO_OK) {
            REQUIRE(pickle.begin == before && pickle.size <= size - before && s.at > before);
            REQUIRE(memcmp(pickle.bytes, data + before, (size_t)pickle.size) == 0);
        }
        ptio_block_unref(pickle.block);
    }
    if (status != PTIO_OK) fuzz_check_error(status, &err);
    ptio_series_free(&s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    ptio_graph graph = {0};
    ptio_error err = {0};
    if (size == 0) return 0;
    uint8_t choice = data[0];
    ptio_parse_options options = {.max_nodes = choice & 64 ? 100 : 1000000,
                                  .max_bytes = 64 << 20,
                                  .old_calls = (choice & 1) != 0,
                                  .new_calls = (choice & 2) != 0,
                                  .text_ids = (choice & 4) != 0,
                                  .bare_arguments = (choice & 8) != 0};
    if (choice & 16) {
        series(data + 1, size - 1);
        return 0;
    }
    ptio_status status = ptio_pickle_parse(data + 1, size - 1, &options, &graph, &err);
    if (status != PTIO_OK) {
        fuzz_check_error(status, &err);
        REQUIRE(err.offset == PTIO_NO_OFFSET || err.offset <= size - 1);
    } else {
        locate(&graph);
        walk(&graph);
    }
    ptio_graph_free(&graph);
    return 0;
}
