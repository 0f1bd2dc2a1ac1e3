/* SPDX-License-Identifier: Apache-2.0
 *
 * Bytes of a pickle -> graph. Iterative, touches no Python, runs nothing: it
 * proves the stream's own grammar (invariants P1-P5, P9) and leaves meaning to
 * vetting.
 */
#ifndef PTIO_PICKLE_PARSE_H
#define PTIO_PICKLE_PARSE_H

#include "graph.h"
#include "load_limits.h"

typedef struct {
    uint64_t max_nodes;
    uint64_t max_bytes;  /* of the graph */
    uint64_t max_memory; /* of all that parsing and vetting take; 0 for any */
    bool old_calls;      /* INST and OBJ are calls, which vetting judges, instead of refused */
    bool new_calls;      /* the same for NEWOBJ_EX */
    bool text_ids;       /* PERSID is a persistent id, which vetting judges */
    bool bare_arguments; /* what is no tuple is the only argument of a call: enums of TorchScript */
} ptio_parse_options;

/* Parses one pickle that ends exactly at pickle + size. The graph keeps
 * pointing into pickle. On failure the graph holds what was read so far, for
 * reports; the caller frees it in either case. */
ptio_status ptio_pickle_parse(const uint8_t *pickle, uint64_t size, const ptio_parse_options *options,
                              ptio_graph *graph, ptio_error *err) PTIO_MUST_CHECK;

/* Offset of the opcode that made a node, found by parsing once more: nodes
 * need not carry what only error messages ask for. */
uint64_t ptio_pickle_locate(const uint8_t *pickle, uint64_t size, ptio_ref node);

const char *ptio_opcode_name(uint8_t opcode); /* NULL if it is none */

#endif
