/* SPDX-License-Identifier: Apache-2.0
 *
 * Parses the pickle once more, marks what is lost, and writes the graph from its root: each
 * value when it is first needed, then what it is filled with. Taking opcodes out of the old
 * pickle would not do: what they memoized is used elsewhere, and torch's unpickler knows no POP.
 */
#include "pickle_cut.h"

#include "memory.h"
#include "pickle_parse.h"
#include "pickle_write.h"

enum { LOST = 1, HOLDS_LOST = 2 }; /* the value is None now; a tuple with such a value in it */

typedef enum {
    VALUE,  /* the value itself, or where the memo has it */
    ITEMS,  /* of a tuple or frozenset, from `at` on, and its end */
    CLOSE,  /* what is on the stack becomes the value */
    FILLS,  /* of a container: the fill, and those behind it */
    FILLING /* items of a fill from `at` on, and its end */
} step_kind;

typedef struct {
    ptio_ref node;
    ptio_ref fill; /* FILLS, FILLING */
    uint32_t at;
    uint8_t kind;
    bool marked; /* FILLING: several items above a MARK */
} step;

typedef struct {
    const ptio_checkpoint *c;
    ptio_graph graph; /* as parsed: vetting has not changed it */
    uint8_t *flags;   /* by node */
    ptio_pickler pickler;
    step *steps; /* still to do, the next one last */
    size_t count, capacity;
    ptio_error *err;
} cutter;

/* --- what is lost -------------------------------------------------------------------------- */

static bool any_lost(const cutter *k, const ptio_node *tuple) {
    for (uint32_t i = 0; i < tuple->count; i++)
        if (k->flags[k->graph.refs[tuple->first + i]] != 0) return true;
    return false;
}

/* Tuples with names are made by NEWOBJ, too: they hold None like other tuples. */
static bool is_parameter(const ptio_graph *graph, ptio_ref callee) {
    const uint8_t *module, *name;
    size_t module_size, name_size;
    uint8_t kind = graph->nodes[callee].kind;
    if (kind != PTIO_N_GLOBAL && kind != PTIO_N_STACK_GLOBAL) return false;
    ptio_global_name(graph, callee, &module, &module_size, &name, &name_size);
    return name_size == 9 && memcmp(name, "Parameter", 9) == 0 && module_size >= 8 &&
           memcmp(module, "torch.nn", 8) == 0;
}

static uint8_t flags_of(const cutter *k, ptio_ref ref) {
    const ptio_node *node = &k->graph.nodes[ref], *vetted = &k->c->graph.nodes[ref];
    switch (node->kind) {
    case PTIO_N_PERSID: return vetted->kind == PTIO_N_STORAGE && k->c->storages[vetted->a].lost ? LOST : 0;
    case PTIO_N_TUPLE: return any_lost(k, node) ? HOLDS_LOST : 0;
    case PTIO_N_CALL: return k->flags[node->b] != 0 ? LOST : 0;
    case PTIO_N_NEWOBJ: return k->flags[node->b] != 0 && is_parameter(&k->graph, node->a) ? LOST : 0;
    default: return 0;
    }
}

static ptio_status mark_lost(cutter *k) {
    k->flags = ptio_alloc_zeroed(k->graph.count, 1);
    if (k->flags == NULL) return ptio_no_memory(k->err);
    for (size_t i = PTIO_FIRST_FREE_NODE; i < k->graph.count; i++) k->flags[i] = flags_of(k, (ptio_ref)i);
    return PTIO_OK;
}

/* --- steps ------------------------------------------------------------------------------------ */

static ptio_status later(cutter *k, step next) {
    void *steps = k->steps;
    if (k->count == k->capacity)
        PTIO_TRY(ptio_grow(&steps, &k->capacity, k->count + 1, sizeof *k->steps, k->err));
    k->steps = steps;
    k->steps[k->count++] = next;
    return PTIO_OK;
}

static ptio_status value_later(cutter *k, ptio_ref ref) {
    return later(k, (step){.kind = VALUE, .node = ref});
}

static ptio_status fills_later(cutter *k, ptio_ref ref) {
    return later(k, (step){.kind = FILLS, .node = ref, .fill = ptio_first_fill(&k->graph, ref)});
}

static ptio_status op(cutter *k, ptio_opcode opcode) { return ptio_pickler_op(&k->pickler, opcode, k->err); }

static ptio_status memoize(cutter *k, ptio_ref ref) {
    return ptio_pickler_memoize(&k->pickler, (uint64_t)ref + 1, k->err);
}

/* --- values that hold no others ----------------------------------------------------------------- */

static ptio_status write_sized(cutter *k, ptio_ref ref, ptio_opcode near, ptio_opcode far,
                               unsigned far_width) {
    const ptio_node *node = &k->graph.nodes[ref];
    bool is_near = near != far && node->a <= UINT8_MAX;
    PTIO_TRY(ptio_pickler_sized(&k->pickler, is_near ? near : far, is_near ? 1 : far_width,
                                ptio_text(&k->graph, node), node->a, k->err));
    return memoize(k, ref);
}

/* "module\nname\n", which is how it stands in the old pickle. */
static ptio_status write_global(cutter *k, ptio_ref ref) {
    const ptio_node *node = &k->graph.nodes[ref];
    size_t size = (size_t)(node->a & UINT16_MAX) + 1 + (node->a >> 16) + 1;
    PTIO_TRY(ptio_pickler_sized(&k->pickler, PTIO_OP_GLOBAL, 0, ptio_text(&k->graph, node), size, k->err));
    return memoize(k, ref);
}

/* An integer in decimal, at most 640 digits (P2), as two's complement. */
static ptio_status write_decimal(cutter *k, const ptio_node *node) {
    uint8_t bytes[288] = {0};
    const uint8_t *text = ptio_text(&k->graph, node);
    bool negative = node->a > 0 && text[0] == '-';
    for (uint32_t i = negative; i < node->a; i++) {
        unsigned carry = (unsigned)text[i] - '0';
        for (size_t b = 0; b < sizeof bytes; b++, carry >>= 8) {
            carry += bytes[b] * 10u;
            bytes[b] = (uint8_t)carry;
        }
    }
    for (size_t b = 0, carry = 1; negative && b < sizeof bytes; b++, carry >>= 8) {
        carry += (uint8_t)~bytes[b];
        bytes[b] = (uint8_t)carry;
    }
    return ptio_pickler_long(&k->pickler, bytes, sizeof bytes, k->err);
}

static ptio_status write_leaf(cutter *k, ptio_ref ref) {
    const ptio_node *node = &k->graph.nodes[ref];
    switch (node->kind) {
    case PTIO_N_FALSE: return op(k, PTIO_OP_NEWFALSE);
    case PTIO_N_TRUE: return op(k, PTIO_OP_NEWTRUE);
    case PTIO_N_INT: return ptio_pickler_int(&k->pickler, node->integer, k->err);
    case PTIO_N_BIG_INT: return ptio_pickler_long(&k->pickler, ptio_text(&k->graph, node), node->a, k->err);
    case PTIO_N_BIG_DECIMAL: return write_decimal(k, node);
    case PTIO_N_FLOAT: return ptio_pickler_float(&k->pickler, node->real, k->err);
    case PTIO_N_STR: return write_sized(k, ref, PTIO_OP_BINUNICODE, PTIO_OP_BINUNICODE, 4);
    case PTIO_N_BYTES: return write_sized(k, ref, PTIO_OP_SHORT_BINBYTES, PTIO_OP_BINBYTES, 4);
    case PTIO_N_BYTEARRAY: return write_sized(k, ref, PTIO_OP_BYTEARRAY8, PTIO_OP_BYTEARRAY8, 8);
    case PTIO_N_PY2_STR: return write_sized(k, ref, PTIO_OP_SHORT_BINSTRING, PTIO_OP_BINSTRING, 4);
    case PTIO_N_GLOBAL: return write_global(k, ref);
    default: return op(k, PTIO_OP_NONE);
    }
}

/* --- values that do ------------------------------------------------------------------------------ */

static ptio_status begin_container(cutter *k, ptio_ref ref, ptio_opcode empty) {
    PTIO_TRY(op(k, empty));
    PTIO_TRY(memoize(k, ref));
    return fills_later(k, ref);
}

static ptio_status begin_call(cutter *k, ptio_ref ref) {
    const ptio_node *node = &k->graph.nodes[ref];
    PTIO_TRY(later(k, (step){.kind = CLOSE, .node = ref}));
    if (node->kind == PTIO_N_NEWOBJ_EX) {
        const ptio_ref *pair = k->graph.refs + k->graph.nodes[node->b].first;
        PTIO_TRY(value_later(k, pair[1]));
        PTIO_TRY(value_later(k, pair[0]));
    } else {
        PTIO_TRY(value_later(k, node->b));
    }
    return value_later(k, node->a);
}

static ptio_status begin_value(cutter *k, ptio_ref ref) {
    const ptio_node *node = &k->graph.nodes[ref];
    switch (node->kind) {
    case PTIO_N_TUPLE:
        PTIO_TRY(ptio_pickler_tuple_begin(&k->pickler, node->count, k->err));
        return later(k, (step){.kind = ITEMS, .node = ref});
    case PTIO_N_FROZENSET: PTIO_TRY(op(k, PTIO_OP_MARK)); return later(k, (step){.kind = ITEMS, .node = ref});
    case PTIO_N_LIST: return begin_container(k, ref, PTIO_OP_EMPTY_LIST);
    case PTIO_N_DICT: return begin_container(k, ref, PTIO_OP_EMPTY_DICT);
    case PTIO_N_SET: return begin_container(k, ref, PTIO_OP_EMPTY_SET);
    case PTIO_N_CALL:
    case PTIO_N_NEWOBJ:
    case PTIO_N_NEWOBJ_EX: return begin_call(k, ref);
    case PTIO_N_PERSID:
        PTIO_TRY(later(k, (step){.kind = CLOSE, .node = ref}));
        return value_later(k, node->a);
    case PTIO_N_STACK_GLOBAL:
        PTIO_TRY(later(k, (step){.kind = CLOSE, .node = ref}));
        PTIO_TRY(value_later(k, node->b));
        return value_later(k, node->a);
    default: return write_leaf(k, ref);
    }
}

static ptio_status do_value(cutter *k, ptio_ref ref) {
    bool known;
    if (k->flags[ref] & LOST) return op(k, PTIO_OP_NONE);
    PTIO_TRY(ptio_pickler_recall(&k->pickler, (uint64_t)ref + 1, &known, k->err));
    return known ? PTIO_OK : begin_value(k, ref);
}

static ptio_status do_items(cutter *k, step s) {
    const ptio_node *node = &k->graph.nodes[s.node];
    if (s.at < node->count) {
        ptio_ref item = k->graph.refs[node->first + s.at++];
        PTIO_TRY(later(k, s));
        return value_later(k, item);
    }
    if (node->kind == PTIO_N_TUPLE)
        return ptio_pickler_tuple_end(&k->pickler, node->count, (uint64_t)s.node + 1, k->err);
    PTIO_TRY(op(k, PTIO_OP_FROZENSET));
    return memoize(k, s.node);
}

static ptio_status do_close(cutter *k, ptio_ref ref) {
    switch (k->graph.nodes[ref].kind) {
    case PTIO_N_PERSID: return op(k, PTIO_OP_BINPERSID);
    case PTIO_N_STACK_GLOBAL: PTIO_TRY(op(k, PTIO_OP_STACK_GLOBAL)); return memoize(k, ref);
    case PTIO_N_NEWOBJ: PTIO_TRY(op(k, PTIO_OP_NEWOBJ)); break;
    case PTIO_N_NEWOBJ_EX: PTIO_TRY(op(k, PTIO_OP_NEWOBJ_EX)); break;
    default: PTIO_TRY(op(k, PTIO_OP_REDUCE)); break;
    }
    PTIO_TRY(memoize(k, ref));
    return fills_later(k, ref);
}

/* --- fills ------------------------------------------------------------------------------------------ */

static bool is_dropped(const cutter *k, const ptio_node *fill, uint32_t at) {
    const ptio_ref *items = k->graph.refs + fill->first;
    return fill->kind == PTIO_N_SETITEM && ((k->flags[items[at]] | k->flags[items[at + 1]]) & LOST) != 0;
}

static ptio_status do_fills(cutter *k, step s) {
    if (s.fill == 0) return PTIO_OK;
    const ptio_node *fill = &k->graph.nodes[s.fill];
    uint32_t width = fill->kind == PTIO_N_SETITEM ? 2 : 1, left = 0;
    for (uint32_t i = 0; i < fill->count; i += width) left += !is_dropped(k, fill, i);
    step next = {.kind = FILLS, .node = s.node, .fill = ptio_next_fill(&k->graph, s.node, s.fill)};
    PTIO_TRY(later(k, next));
    if (left == 0) return PTIO_OK;
    bool marked = left > 1 || fill->kind == PTIO_N_ADD;
    if (marked) PTIO_TRY(op(k, PTIO_OP_MARK));
    return later(k, (step){.kind = FILLING, .node = s.node, .fill = s.fill, .marked = marked});
}

static ptio_status do_filling(cutter *k, step s) {
    const ptio_node *fill = &k->graph.nodes[s.fill];
    const ptio_ref *items = k->graph.refs + fill->first;
    bool pairs = fill->kind == PTIO_N_SETITEM;
    while (s.at < fill->count && is_dropped(k, fill, s.at)) s.at += 2;
    if (s.at < fill->count) {
        uint32_t at = s.at;
        s.at += pairs ? 2 : 1;
        PTIO_TRY(later(k, s));
        if (pairs) PTIO_TRY(value_later(k, items[at + 1]));
        return value_later(k, items[at]);
    }
    switch (fill->kind) {
    case PTIO_N_APPEND: return op(k, s.marked ? PTIO_OP_APPENDS : PTIO_OP_APPEND);
    case PTIO_N_SETITEM: return op(k, s.marked ? PTIO_OP_SETITEMS : PTIO_OP_SETITEM);
    case PTIO_N_ADD: return op(k, PTIO_OP_ADDITEMS);
    default: return op(k, PTIO_OP_BUILD);
    }
}

/* --- the whole ------------------------------------------------------------------------------------- */

static ptio_status write_root(cutter *k) {
    enum { PROTOCOL_AT = 1, LOWEST = 2 };
    uint8_t protocol = k->c->pickle[0] == PTIO_OP_PROTO ? k->c->pickle[1] : 0;
    PTIO_TRY(ptio_pickler_begin(&k->pickler, k->err));
    if (protocol > LOWEST) k->pickler.bytes[PROTOCOL_AT] = protocol;
    PTIO_TRY(value_later(k, k->graph.root));
    while (k->count > 0) {
        step s = k->steps[--k->count];
        switch (s.kind) {
        case VALUE: PTIO_TRY(do_value(k, s.node)); break;
        case ITEMS: PTIO_TRY(do_items(k, s)); break;
        case CLOSE: PTIO_TRY(do_close(k, s.node)); break;
        case FILLS: PTIO_TRY(do_fills(k, s)); break;
        default: PTIO_TRY(do_filling(k, s)); break;
        }
    }
    return ptio_pickler_end(&k->pickler, k->err);
}

static ptio_status cut(cutter *k, const ptio_limits *limits, ptio_block **out, uint64_t *size) {
    const ptio_checkpoint *c = k->c;
    const ptio_parse_options options = {.max_nodes = limits->objects,
                                        .max_bytes = ptio_limit_for_file(limits->object_bytes, c->file_size),
                                        .old_calls = true,
                                        .new_calls = true};
    ptio_block *block = NULL;
    PTIO_TRY(ptio_pickle_parse(c->pickle, c->pickle_size, &options, &k->graph, k->err));
    PTIO_TRY(mark_lost(k));
    PTIO_TRY(write_root(k));
    PTIO_TRY(ptio_block_new(k->pickler.size, &block, k->err));
    memcpy(ptio_block_bytes(block), k->pickler.bytes, k->pickler.size);
    *out = block;
    *size = k->pickler.size;
    return PTIO_OK;
}

ptio_status ptio_pickle_cut(const ptio_checkpoint *c, const ptio_limits *limits, ptio_block **out,
                            uint64_t *size, ptio_error *err) {
    cutter k = {.c = c, .err = err};
    ptio_status status = cut(&k, limits, out, size);
    ptio_graph_free(&k.graph);
    ptio_pickler_free(&k.pickler);
    ptio_free(k.flags);
    ptio_free(k.steps);
    return status;
}
