/* SPDX-License-Identifier: Apache-2.0
 *
 * The state of the pickle machine and the moves that opcodes are made of.
 * Private to pickle_parse.c and pickle_text.c.
 */
#ifndef PTIO_PICKLE_MACHINE_H
#define PTIO_PICKLE_MACHINE_H

#include "memo.h"
#include "pickle_parse.h"
#include "utf8.h"

typedef struct {
    const uint8_t *start, *at, *end;
    const uint8_t *limit;  /* end of the frame that is open, else end */
    bool framed;           /* a frame is open: it may reach up to the end */
    const uint8_t *opcode; /* the one being done, for error offsets */
    const ptio_parse_options *options;

    ptio_graph *graph;
    ptio_ref *stack;
    size_t height, stack_capacity;
    size_t fence;  /* stack height at the innermost mark: nothing below may be popped */
    size_t *marks; /* fences of the outer marks */
    size_t mark_count, mark_capacity;
    ptio_memo memo;
    bool stopped;
    ptio_error *err;
} ptio_machine;

#define MACHINE_OFFSET(m) ((uint64_t)((m)->opcode - (m)->start))
#define MACHINE_CHECK(m, condition, id, ...) \
    PTIO_CHECK(condition, id, (m)->err, PICKLE_MALFORMED, MACHINE_OFFSET(m), __VA_ARGS__)

/* Name of the opcode being done. */
const char *ptio_machine_opcode(const ptio_machine *m);

/* Nodes that a graph may hold, those included that are always there: as many as the
 * caller allows, and never so many that a ref would wrap around. */
static inline uint64_t ptio_machine_most_nodes(const ptio_parse_options *options) {
    return ptio_min_u64(options->max_nodes, PTIO_NO_NODE - PTIO_FIRST_FREE_NODE) + PTIO_FIRST_FREE_NODE;
}

ptio_status ptio_machine_more_stack(ptio_machine *m);
ptio_status ptio_machine_more_nodes(ptio_machine *m);
ptio_status ptio_machine_short(ptio_machine *m, uint64_t needed) __attribute__((cold));

/* n bytes of argument are there (invariant P1). */
static inline ptio_status PTIO_MUST_CHECK machine_need(ptio_machine *m, uint64_t n) {
    if (PTIO_LIKELY(n <= (uint64_t)(m->limit - m->at))) return PTIO_OK;
    return ptio_machine_short(m, n);
}

static inline ptio_status PTIO_MUST_CHECK machine_push(ptio_machine *m, ptio_ref ref) {
    if (PTIO_UNLIKELY(m->height == m->stack_capacity)) PTIO_TRY(ptio_machine_more_stack(m));
    m->stack[m->height++] = ref;
    return PTIO_OK;
}

static inline ptio_status PTIO_MUST_CHECK machine_pop(ptio_machine *m, ptio_ref *out) {
    MACHINE_CHECK(m, m->height > m->fence, "P3.underflow", "%s finds nothing on the stack%s",
                  ptio_machine_opcode(m), m->mark_count ? " above the mark" : "");
    *out = m->stack[--m->height];
    return PTIO_OK;
}

static inline ptio_status PTIO_MUST_CHECK machine_top(ptio_machine *m, ptio_ref *out) {
    MACHINE_CHECK(m, m->height > m->fence, "P3.top", "%s finds nothing on the stack%s",
                  ptio_machine_opcode(m), m->mark_count ? " above the mark" : "");
    *out = m->stack[m->height - 1];
    return PTIO_OK;
}

/* A fresh node, not pushed; *node stays valid until the next one is made. */
static inline ptio_status PTIO_MUST_CHECK machine_node(ptio_machine *m, uint8_t kind, ptio_node **node,
                                                       ptio_ref *ref) {
    ptio_graph *graph = m->graph;
    if (PTIO_UNLIKELY(graph->count == graph->capacity)) PTIO_TRY(ptio_machine_more_nodes(m));
    *ref = (ptio_ref)graph->count++;
    *node = &graph->nodes[*ref];
    **node = (ptio_node){.kind = kind};
    return PTIO_OK;
}

/* A fresh node on top of the stack. */
static inline ptio_status PTIO_MUST_CHECK machine_push_node(ptio_machine *m, uint8_t kind, ptio_node **node) {
    ptio_ref ref;
    PTIO_TRY(machine_node(m, kind, node, &ref));
    return machine_push(m, ref);
}

/* Room for n references in graph->refs, which then lie at refs[ref_count]. */
static inline ptio_status PTIO_MUST_CHECK machine_refs(ptio_machine *m, size_t n) {
    ptio_graph *graph = m->graph;
    void *refs = graph->refs;
    if (PTIO_LIKELY(n <= graph->ref_capacity - graph->ref_count)) return PTIO_OK;
    PTIO_CHECK(graph->ref_count + n < UINT32_MAX, "R.refs", m->err, LIMIT, MACHINE_OFFSET(m),
               "containers hold more than %u items", UINT32_MAX);
    PTIO_TRY(ptio_arena_grow(&graph->arena, &refs, &graph->ref_capacity, graph->ref_count + n,
                             sizeof(ptio_ref), m->err));
    graph->refs = refs;
    graph->ref_capacity =
        (size_t)ptio_min_u64(graph->ref_capacity, UINT32_MAX); /* no index may wrap around */
    return PTIO_OK;
}

/* Items above the innermost mark; the mark goes when they are popped. */
static inline ptio_status PTIO_MUST_CHECK machine_mark(ptio_machine *m, size_t *items) {
    MACHINE_CHECK(m, m->mark_count > 0, "P3.mark", "%s without a MARK", ptio_machine_opcode(m));
    *items = m->height - m->fence;
    return PTIO_OK;
}

static inline void machine_drop_to_mark(ptio_machine *m) {
    m->height = m->fence;
    m->fence = m->marks[--m->mark_count];
}

/* A node whose children are the n topmost objects, which stay on the stack. */
static inline ptio_status PTIO_MUST_CHECK machine_gather(ptio_machine *m, uint8_t kind, size_t n,
                                                         ptio_ref *ref) {
    ptio_graph *graph = m->graph;
    ptio_node *node;
    PTIO_TRY(machine_refs(m, n));
    PTIO_TRY(machine_node(m, kind, &node, ref));
    node->first = (uint32_t)graph->ref_count;
    node->count = (uint32_t)n;
    for (size_t i = 0; i < n; i++) graph->refs[graph->ref_count + i] = m->stack[m->height - n + i];
    graph->ref_count += n;
    return PTIO_OK;
}

/* Pushes text that lies at `text` inside the pickle or among the unescaped. */
ptio_status ptio_machine_push_text(ptio_machine *m, uint8_t kind, uint64_t text,
                                   uint64_t size) PTIO_MUST_CHECK;

/* STR nodes hold proven UTF-8: checks it (P15) and notes whether it is ASCII. */
ptio_status ptio_machine_push_str(ptio_machine *m, uint64_t text, uint64_t size) PTIO_MUST_CHECK;

ptio_status ptio_machine_push_global(ptio_machine *m, uint64_t text, uint64_t module_size,
                                     uint64_t name_size) PTIO_MUST_CHECK;
ptio_status ptio_machine_memo_put(ptio_machine *m, uint64_t index) PTIO_MUST_CHECK;
ptio_status ptio_machine_memo_get(ptio_machine *m, uint64_t index) PTIO_MUST_CHECK;

/* A fill of `target` with the n topmost objects as items, behind its other
 * fills. What may fill what, vetting decides; only containers and the results
 * of calls can be filled at all. */
ptio_status ptio_machine_fill(ptio_machine *m, uint8_t kind, ptio_ref target, size_t n) PTIO_MUST_CHECK;
/* The items above the mark go into the object below it. */
ptio_status ptio_machine_fill_from_mark(ptio_machine *m, uint8_t kind) PTIO_MUST_CHECK;

/* A tuple of everything above the mark, which goes. */
ptio_status ptio_machine_tuple_of_mark(ptio_machine *m, ptio_ref *tuple) PTIO_MUST_CHECK;
/* CALL, NEWOBJ ...: a node with callee and arguments on the stack. */
ptio_status ptio_machine_push_call(ptio_machine *m, uint8_t kind, ptio_ref callee,
                                   ptio_ref arguments) PTIO_MUST_CHECK;

/* The opcodes with text arguments (protocol 0), in pickle_text.c. */
ptio_status ptio_op_int(ptio_machine *m);
ptio_status ptio_op_long(ptio_machine *m);
ptio_status ptio_op_float(ptio_machine *m);
ptio_status ptio_op_string(ptio_machine *m);
ptio_status ptio_op_unicode(ptio_machine *m);
ptio_status ptio_op_global(ptio_machine *m);
ptio_status ptio_op_inst(ptio_machine *m);
ptio_status ptio_op_persid(ptio_machine *m);
ptio_status ptio_op_get(ptio_machine *m);
ptio_status ptio_op_put(ptio_machine *m);

#endif
