/* SPDX-License-Identifier: Apache-2.0
 *
 * The moves that several opcodes share: growing, text, globals, fills, calls.
 */
#include "pickle_machine.h"

const char *ptio_opcode_name(uint8_t opcode) {
    switch (opcode) {
#define OPCODE(byte, name, protocol, argument, handler) \
    case byte: return #name;
#include "opcodes.def"
#undef OPCODE
    default: return NULL;
    }
}

const char *ptio_machine_opcode(const ptio_machine *m) {
    const char *name = ptio_opcode_name(*m->opcode);
    return name == NULL ? "an unknown opcode" : name;
}

ptio_status ptio_machine_short(ptio_machine *m, uint64_t needed) {
    uint64_t left = (uint64_t)(m->limit - m->at);
    MACHINE_CHECK(m, m->limit == m->end, "P4.crosses", "%s needs %llu bytes, its frame has %llu left",
                  ptio_machine_opcode(m), (unsigned long long)needed, (unsigned long long)left);
    if (!ptio_check_is_on("P1.short")) return PTIO_OK;
    return ptio_fail(m->err, PTIO_E_PICKLE_MALFORMED, "P1.short", MACHINE_OFFSET(m),
                     "%s needs %llu bytes, the pickle has %llu left", ptio_machine_opcode(m),
                     (unsigned long long)needed, (unsigned long long)left);
}

ptio_status ptio_machine_more_stack(ptio_machine *m) {
    void *stack = m->stack;
    PTIO_TRY(ptio_arena_grow(&m->graph->arena, &stack, &m->stack_capacity, m->height + 256, sizeof(ptio_ref),
                             m->err));
    m->stack = stack;
    return PTIO_OK;
}

ptio_status ptio_machine_more_nodes(ptio_machine *m) {
    ptio_graph *graph = m->graph;
    void *nodes = graph->nodes;
    PTIO_CHECK(graph->count < ptio_machine_most_nodes(m->options), "R.objects", m->err, LIMIT,
               MACHINE_OFFSET(m), "the pickle makes more than %llu objects (limit objects)",
               (unsigned long long)(ptio_machine_most_nodes(m->options) - PTIO_FIRST_FREE_NODE));
    PTIO_CHECK(ptio_graph_bytes(graph) <= m->options->max_bytes, "R.graph", m->err, LIMIT, MACHINE_OFFSET(m),
               "the pickle's objects need more than %llu bytes (limit object_bytes)",
               (unsigned long long)m->options->max_bytes);
    PTIO_TRY(ptio_arena_grow(&graph->arena, &nodes, &graph->capacity, graph->count + 1, sizeof(ptio_node),
                             m->err));
    graph->nodes = nodes;
    graph->capacity = (size_t)ptio_min_u64(graph->capacity, ptio_machine_most_nodes(m->options));
    return PTIO_OK;
}

ptio_status ptio_machine_push_text(ptio_machine *m, uint8_t kind, uint64_t text, uint64_t size) {
    ptio_node *node;
    PTIO_CHECK(size < UINT32_MAX, "R.text", m->err, LIMIT, MACHINE_OFFSET(m),
               "a text of %llu bytes, at most 4 GiB are read", (unsigned long long)size);
    PTIO_TRY(machine_push_node(m, kind, &node));
    node->a = (uint32_t)size;
    node->text = text;
    return PTIO_OK;
}

ptio_status ptio_machine_push_str(ptio_machine *m, uint64_t text, uint64_t size) {
    ptio_utf8_facts facts;
    PTIO_TRY(ptio_machine_push_text(m, PTIO_N_STR, text, size));
    ptio_node *node = &m->graph->nodes[m->graph->count - 1];
    if (PTIO_LIKELY(ptio_is_ascii(ptio_text(m->graph, node), size))) {
        node->flags = PTIO_F_ASCII;
        return PTIO_OK;
    }
    MACHINE_CHECK(m, ptio_utf8_check(ptio_text(m->graph, node), size, &facts), "P15.utf8",
                  "%s holds text that is not UTF-8", ptio_machine_opcode(m));
    return PTIO_OK;
}

ptio_status ptio_machine_push_global(ptio_machine *m, uint64_t text, uint64_t module_size,
                                     uint64_t name_size) {
    ptio_graph *graph = m->graph;
    ptio_node *node;
    void *uses = graph->globals;
    PTIO_TRY(ptio_arena_grow(&graph->arena, &uses, &graph->global_capacity, graph->global_count + 1,
                             sizeof(ptio_global_use), m->err));
    graph->globals = uses;
    PTIO_TRY(machine_push_node(m, PTIO_N_GLOBAL, &node));
    node->a = (uint32_t)(module_size | name_size << 16);
    node->text = text;
    graph->globals[graph->global_count++] =
        (ptio_global_use){(ptio_ref)(graph->count - 1), MACHINE_OFFSET(m)};
    return PTIO_OK;
}

ptio_status ptio_machine_memo_put(ptio_machine *m, uint64_t index) {
    ptio_ref top;
    MACHINE_CHECK(m, index <= UINT32_MAX, "P5.range", "%s %llu: no memo is that large",
                  ptio_machine_opcode(m), (unsigned long long)index);
    PTIO_TRY(machine_top(m, &top));
    return ptio_memo_put(&m->memo, (uint32_t)index, top, m->err);
}

ptio_status ptio_machine_memo_get(ptio_machine *m, uint64_t index) {
    ptio_ref ref = index <= UINT32_MAX ? ptio_memo_get(&m->memo, (uint32_t)index) : PTIO_NO_NODE;
    MACHINE_CHECK(m, ref != PTIO_NO_NODE, "P5.missing", "%s %llu: nothing was put there",
                  ptio_machine_opcode(m), (unsigned long long)index);
    return machine_push(m, ref);
}

ptio_status ptio_machine_fill(ptio_machine *m, uint8_t kind, ptio_ref target, size_t n) {
    ptio_graph *graph = m->graph;
    ptio_ref fill;
    uint8_t target_kind = graph->nodes[target].kind;
    MACHINE_CHECK(m,
                  (target_kind >= PTIO_N_LIST && target_kind <= PTIO_N_SET) ||
                      (target_kind >= PTIO_N_CALL && target_kind <= PTIO_N_NEWOBJ_EX),
                  "P6.target", "%s on %s, which cannot be filled", ptio_machine_opcode(m),
                  ptio_kind_name(target_kind));
    PTIO_TRY(machine_refs(m, n + 1));
    graph->ref_count++; /* the link */
    PTIO_TRY(machine_gather(m, kind, n, &fill));
    ptio_node *node = &graph->nodes[fill];
    ptio_ref last = graph->nodes[target].fills;
    node->a = target;
    if (last == 0) {
        graph->refs[node->first - 1] = fill;
    } else {
        ptio_ref *link = &graph->refs[graph->nodes[last].first - 1];
        graph->refs[node->first - 1] = *link;
        *link = fill;
    }
    graph->nodes[target].fills = fill;
    return PTIO_OK;
}

ptio_status ptio_machine_fill_from_mark(ptio_machine *m, uint8_t kind) {
    size_t n = 0;
    ptio_ref target;
    PTIO_TRY(machine_mark(m, &n));
    MACHINE_CHECK(m, m->fence > m->marks[m->mark_count - 1], "P3.fill", "%s finds no object below its MARK",
                  ptio_machine_opcode(m));
    target = m->stack[m->fence - 1];
    PTIO_TRY(ptio_machine_fill(m, kind, target, n)); /* even of nothing: its target is proven */
    machine_drop_to_mark(m);
    return PTIO_OK;
}

ptio_status ptio_machine_tuple_of_mark(ptio_machine *m, ptio_ref *tuple) {
    size_t n = 0;
    PTIO_TRY(machine_mark(m, &n));
    PTIO_TRY(machine_gather(m, PTIO_N_TUPLE, n, tuple));
    machine_drop_to_mark(m);
    return PTIO_OK;
}

ptio_status ptio_machine_push_call(ptio_machine *m, uint8_t kind, ptio_ref callee, ptio_ref arguments) {
    ptio_node *node;
    if (m->options->bare_arguments && m->graph->nodes[arguments].kind != PTIO_N_TUPLE) {
        PTIO_TRY(machine_push(m, arguments));
        PTIO_TRY(machine_gather(m, PTIO_N_TUPLE, 1, &arguments));
        m->height--;
    }
    MACHINE_CHECK(m, m->graph->nodes[arguments].kind == PTIO_N_TUPLE, "P8.tuple",
                  "%s with arguments that are not a tuple", ptio_machine_opcode(m));
    PTIO_TRY(machine_push_node(m, kind, &node));
    node->a = callee;
    node->b = arguments;
    return PTIO_OK;
}
