/* SPDX-License-Identifier: Apache-2.0
 *
 * The pickle machine's binary opcodes and its loop. Every handler does one
 * opcode; what cannot be right in any pickle fails here.
 */
#include "pickle_machine.h"

enum { MAX_NAME = 512 }; /* bytes of a module or name, as in GLOBAL */

/* --- constants and numbers ------------------------------------------------- */

static inline ptio_status push_integer(ptio_machine *m, int64_t value) {
    ptio_node *node;
    PTIO_TRY(machine_push_node(m, PTIO_N_INT, &node));
    node->integer = value;
    return PTIO_OK;
}

static inline ptio_status op_none(ptio_machine *m) { return machine_push(m, PTIO_NODE_NONE); }
static inline ptio_status op_newtrue(ptio_machine *m) { return machine_push(m, PTIO_NODE_TRUE); }
static inline ptio_status op_newfalse(ptio_machine *m) { return machine_push(m, PTIO_NODE_FALSE); }

static inline ptio_status op_binint(ptio_machine *m) {
    PTIO_TRY(machine_need(m, 4));
    int32_t value = (int32_t)ptio_le32(m->at);
    m->at += 4;
    return push_integer(m, value);
}

static inline ptio_status op_binint1(ptio_machine *m) {
    PTIO_TRY(machine_need(m, 1));
    return machine_push(m, (ptio_ref)(PTIO_NODE_SMALL_INT + *m->at++));
}

static inline ptio_status op_binint2(ptio_machine *m) {
    PTIO_TRY(machine_need(m, 2));
    uint16_t value = ptio_le16(m->at);
    m->at += 2;
    return push_integer(m, value);
}

static ptio_status push_long(ptio_machine *m, uint64_t size) {
    PTIO_TRY(machine_need(m, size));
    PTIO_CHECK(size <= 1024, "P16.size", m->err, LIMIT, MACHINE_OFFSET(m),
               "an integer of %llu bytes, at most 1024 are read", (unsigned long long)size);
    const uint8_t *bytes = m->at;
    m->at += size;
    /* One number, one kind of node: bytes beyond its sign are not part of it. */
    while (size > 8 && bytes[size - 1] == (bytes[size - 2] & 0x80 ? 0xFF : 0)) size--;
    if (size <= 8) {
        uint64_t value = size > 0 && bytes[size - 1] & 0x80 ? UINT64_MAX : 0;
        for (uint64_t i = size; i > 0; i--) value = value << 8 | bytes[i - 1];
        return push_integer(m, (int64_t)value);
    }
    return ptio_machine_push_text(m, PTIO_N_BIG_INT, (uint64_t)(bytes - m->start), size);
}

static inline ptio_status op_long1(ptio_machine *m) {
    PTIO_TRY(machine_need(m, 1));
    return push_long(m, *m->at++);
}

static inline ptio_status op_long4(ptio_machine *m) {
    PTIO_TRY(machine_need(m, 4));
    uint32_t size = ptio_le32(m->at);
    m->at += 4;
    MACHINE_CHECK(m, size <= INT32_MAX, "P1.long4", "LONG4 with a negative size");
    return push_long(m, size);
}

static inline ptio_status op_binfloat(ptio_machine *m) {
    ptio_node *node;
    uint64_t bits = 0;
    PTIO_TRY(machine_need(m, 8));
    for (int i = 0; i < 8; i++) bits = bits << 8 | *m->at++;
    PTIO_TRY(machine_push_node(m, PTIO_N_FLOAT, &node));
    memcpy(&node->real, &bits, sizeof bits);
    return PTIO_OK;
}

/* --- text and bytes --------------------------------------------------------- */

/* The size in the next width bytes, proven to be there, and its text's offset. */
static inline ptio_status take_sized(ptio_machine *m, unsigned width, uint64_t *text, uint64_t *size) {
    PTIO_TRY(machine_need(m, width));
    uint64_t n = width == 1 ? *m->at : width == 4 ? ptio_le32(m->at) : ptio_le64(m->at);
    m->at += width;
    PTIO_TRY(machine_need(m, n));
    *text = (uint64_t)(m->at - m->start);
    *size = n;
    m->at += n;
    return PTIO_OK;
}

static inline ptio_status push_sized(ptio_machine *m, uint8_t kind, unsigned width) {
    uint64_t text, size;
    PTIO_TRY(take_sized(m, width, &text, &size));
    if (kind == PTIO_N_STR) return ptio_machine_push_str(m, text, size);
    return ptio_machine_push_text(m, kind, text, size);
}

static inline ptio_status op_short_binunicode(ptio_machine *m) { return push_sized(m, PTIO_N_STR, 1); }
static inline ptio_status op_binunicode(ptio_machine *m) { return push_sized(m, PTIO_N_STR, 4); }
static inline ptio_status op_binunicode8(ptio_machine *m) { return push_sized(m, PTIO_N_STR, 8); }
static inline ptio_status op_short_binbytes(ptio_machine *m) { return push_sized(m, PTIO_N_BYTES, 1); }
static inline ptio_status op_binbytes(ptio_machine *m) { return push_sized(m, PTIO_N_BYTES, 4); }
static inline ptio_status op_binbytes8(ptio_machine *m) { return push_sized(m, PTIO_N_BYTES, 8); }
static inline ptio_status op_bytearray8(ptio_machine *m) { return push_sized(m, PTIO_N_BYTEARRAY, 8); }
static inline ptio_status op_short_binstring(ptio_machine *m) { return push_sized(m, PTIO_N_PY2_STR, 1); }

static inline ptio_status op_binstring(ptio_machine *m) {
    PTIO_TRY(machine_need(m, 4));
    MACHINE_CHECK(m, ptio_le32(m->at) <= INT32_MAX, "P1.binstring", "BINSTRING with a negative size");
    return push_sized(m, PTIO_N_PY2_STR, 4);
}

/* --- containers -------------------------------------------------------------- */

static inline ptio_status push_empty(ptio_machine *m, uint8_t kind) {
    ptio_node *node;
    return machine_push_node(m, kind, &node);
}

static inline ptio_status op_empty_list(ptio_machine *m) { return push_empty(m, PTIO_N_LIST); }
static inline ptio_status op_empty_dict(ptio_machine *m) { return push_empty(m, PTIO_N_DICT); }
static inline ptio_status op_empty_set(ptio_machine *m) { return push_empty(m, PTIO_N_SET); }
static inline ptio_status op_empty_tuple(ptio_machine *m) { return machine_push(m, PTIO_NODE_EMPTY_TUPLE); }

static inline ptio_status push_tuple(ptio_machine *m, size_t n) {
    ptio_ref tuple;
    MACHINE_CHECK(m, m->height - m->fence >= n, "P3.tuple", "%s finds fewer objects%s",
                  ptio_machine_opcode(m), m->mark_count ? " above the mark" : "");
    PTIO_TRY(machine_gather(m, PTIO_N_TUPLE, n, &tuple));
    m->height -= n;
    return machine_push(m, tuple);
}

static inline ptio_status op_tuple1(ptio_machine *m) { return push_tuple(m, 1); }
static inline ptio_status op_tuple2(ptio_machine *m) { return push_tuple(m, 2); }
static inline ptio_status op_tuple3(ptio_machine *m) { return push_tuple(m, 3); }

static inline ptio_status op_tuple(ptio_machine *m) {
    ptio_ref tuple;
    PTIO_TRY(ptio_machine_tuple_of_mark(m, &tuple));
    return machine_push(m, tuple);
}

static ptio_status op_frozenset(ptio_machine *m) {
    ptio_ref set;
    PTIO_TRY(ptio_machine_tuple_of_mark(m, &set));
    m->graph->nodes[set].kind = PTIO_N_FROZENSET;
    return machine_push(m, set);
}

/* LIST and DICT: an empty container and a fill with what is above the mark. */
static ptio_status push_filled(ptio_machine *m, uint8_t container, uint8_t fill) {
    ptio_node *node;
    ptio_ref ref;
    size_t n = 0;
    PTIO_TRY(machine_mark(m, &n));
    PTIO_TRY(machine_node(m, container, &node, &ref));
    if (n > 0) PTIO_TRY(ptio_machine_fill(m, fill, ref, n));
    machine_drop_to_mark(m);
    return machine_push(m, ref);
}

static ptio_status check_pairs(ptio_machine *m) {
    MACHINE_CHECK(m, (m->height - m->fence) % 2 == 0, "P3.pairs", "%s with a key that has no value",
                  ptio_machine_opcode(m));
    return PTIO_OK;
}

static ptio_status op_list(ptio_machine *m) { return push_filled(m, PTIO_N_LIST, PTIO_N_APPEND); }

static ptio_status op_dict(ptio_machine *m) {
    PTIO_TRY(check_pairs(m));
    return push_filled(m, PTIO_N_DICT, PTIO_N_SETITEM);
}

static ptio_status fill_top(ptio_machine *m, uint8_t kind, size_t n) {
    MACHINE_CHECK(m, m->height - m->fence > n, "P3.target", "%s finds no object to fill%s",
                  ptio_machine_opcode(m), m->mark_count ? " above the mark" : "");
    PTIO_TRY(ptio_machine_fill(m, kind, m->stack[m->height - n - 1], n));
    m->height -= n;
    return PTIO_OK;
}

static inline ptio_status op_append(ptio_machine *m) { return fill_top(m, PTIO_N_APPEND, 1); }
static inline ptio_status op_setitem(ptio_machine *m) { return fill_top(m, PTIO_N_SETITEM, 2); }
static inline ptio_status op_build(ptio_machine *m) { return fill_top(m, PTIO_N_BUILD, 1); }
static inline ptio_status op_appends(ptio_machine *m) {
    return ptio_machine_fill_from_mark(m, PTIO_N_APPEND);
}
static inline ptio_status op_additems(ptio_machine *m) { return ptio_machine_fill_from_mark(m, PTIO_N_ADD); }

static inline ptio_status op_setitems(ptio_machine *m) {
    PTIO_TRY(check_pairs(m));
    return ptio_machine_fill_from_mark(m, PTIO_N_SETITEM);
}

/* --- the stack and the memo --------------------------------------------------- */

static inline ptio_status op_mark(ptio_machine *m) {
    if (PTIO_UNLIKELY(m->mark_count == m->mark_capacity)) {
        void *marks = m->marks;
        PTIO_TRY(ptio_arena_grow(&m->graph->arena, &marks, &m->mark_capacity, m->mark_count + 16,
                                 sizeof *m->marks, m->err));
        m->marks = marks;
    }
    m->marks[m->mark_count++] = m->fence;
    m->fence = m->height;
    return PTIO_OK;
}

/* Protocol 0 pops a recursive tuple's items and its MARK one by one. */
static ptio_status op_pop(ptio_machine *m) {
    ptio_ref dropped;
    if (m->height == m->fence && m->mark_count > 0) {
        machine_drop_to_mark(m);
        return PTIO_OK;
    }
    return machine_pop(m, &dropped);
}

static ptio_status op_pop_mark(ptio_machine *m) {
    size_t n = 0;
    PTIO_TRY(machine_mark(m, &n));
    machine_drop_to_mark(m);
    return PTIO_OK;
}

static ptio_status op_dup(ptio_machine *m) {
    ptio_ref top;
    PTIO_TRY(machine_top(m, &top));
    return machine_push(m, top);
}

static inline ptio_status op_binput(ptio_machine *m) {
    PTIO_TRY(machine_need(m, 1));
    return ptio_machine_memo_put(m, *m->at++);
}

static inline ptio_status op_long_binput(ptio_machine *m) {
    PTIO_TRY(machine_need(m, 4));
    uint32_t index = ptio_le32(m->at);
    m->at += 4;
    return ptio_machine_memo_put(m, index);
}

static inline ptio_status op_memoize(ptio_machine *m) { return ptio_machine_memo_put(m, m->memo.entries); }

static inline ptio_status op_binget(ptio_machine *m) {
    PTIO_TRY(machine_need(m, 1));
    return ptio_machine_memo_get(m, *m->at++);
}

static inline ptio_status op_long_binget(ptio_machine *m) {
    PTIO_TRY(machine_need(m, 4));
    uint32_t index = ptio_le32(m->at);
    m->at += 4;
    return ptio_machine_memo_get(m, index);
}

/* --- calls ----------------------------------------------------------------------- */

static inline ptio_status push_call(ptio_machine *m, uint8_t kind) {
    ptio_ref arguments, callee;
    PTIO_TRY(machine_pop(m, &arguments));
    PTIO_TRY(machine_pop(m, &callee));
    return ptio_machine_push_call(m, kind, callee, arguments);
}

static inline ptio_status op_reduce(ptio_machine *m) { return push_call(m, PTIO_N_CALL); }
static inline ptio_status op_newobj(ptio_machine *m) { return push_call(m, PTIO_N_NEWOBJ); }

static ptio_status op_forbidden(ptio_machine *m) {
    if (!ptio_check_is_on("P9.opcode")) return PTIO_OK;
    return ptio_fail(m->err, PTIO_E_OPCODE_FORBIDDEN, "P9.opcode", MACHINE_OFFSET(m),
                     "the pickle uses %s, which runs or names things outside the file",
                     ptio_machine_opcode(m));
}

static ptio_status op_newobj_ex(ptio_machine *m) {
    ptio_ref pair;
    if (!m->options->new_calls) return op_forbidden(m);
    PTIO_TRY(push_tuple(m, 2));
    PTIO_TRY(machine_pop(m, &pair));
    PTIO_TRY(machine_push(m, pair));
    ptio_ref keywords = m->graph->refs[m->graph->nodes[pair].first + 1];
    ptio_ref arguments = m->graph->refs[m->graph->nodes[pair].first];
    MACHINE_CHECK(m, m->graph->nodes[keywords].kind == PTIO_N_DICT, "P8.keywords",
                  "NEWOBJ_EX with keywords that are not a dict");
    MACHINE_CHECK(m, m->graph->nodes[arguments].kind == PTIO_N_TUPLE, "P8.newobj-ex",
                  "NEWOBJ_EX with arguments that are not a tuple");
    return push_call(m, PTIO_N_NEWOBJ_EX);
}

static ptio_status op_obj(ptio_machine *m) {
    ptio_ref tuple;
    size_t n = 0;
    if (!m->options->old_calls) return op_forbidden(m);
    PTIO_TRY(machine_mark(m, &n));
    MACHINE_CHECK(m, n >= 1, "P3.obj", "OBJ without a class");
    ptio_ref callee = m->stack[m->fence];
    PTIO_TRY(machine_gather(m, PTIO_N_TUPLE, n - 1, &tuple));
    machine_drop_to_mark(m);
    return ptio_machine_push_call(m, PTIO_N_CALL, callee, tuple);
}

static ptio_status op_binpersid(ptio_machine *m) {
    ptio_ref id;
    ptio_node *node;
    PTIO_TRY(machine_pop(m, &id));
    PTIO_TRY(machine_push_node(m, PTIO_N_PERSID, &node));
    node->a = id;
    return PTIO_OK;
}

static bool is_str(const ptio_machine *m, ptio_ref ref) {
    uint8_t kind = m->graph->nodes[ref].kind;
    return kind == PTIO_N_STR || kind == PTIO_N_PY2_STR;
}

static ptio_status op_stack_global(ptio_machine *m) {
    ptio_ref module, name;
    PTIO_TRY(machine_pop(m, &name));
    PTIO_TRY(machine_pop(m, &module));
    MACHINE_CHECK(m, is_str(m, module) && is_str(m, name), "P7.stack-global",
                  "STACK_GLOBAL with a module or name that is not a str");
    MACHINE_CHECK(m, m->graph->nodes[module].a <= MAX_NAME && m->graph->nodes[name].a <= MAX_NAME,
                  "P7.length", "STACK_GLOBAL with a module or name over %d bytes", MAX_NAME);
    PTIO_TRY(ptio_machine_push_global(m, 0, 0, 0));
    ptio_node *node = &m->graph->nodes[m->graph->count - 1];
    node->kind = PTIO_N_STACK_GLOBAL;
    node->a = module;
    node->b = name;
    return PTIO_OK;
}

/* --- the frame of the stream --------------------------------------------------------- */

static ptio_status op_proto(ptio_machine *m) {
    MACHINE_CHECK(m, m->opcode == m->start, "P4.proto-first", "PROTO is not the first opcode");
    PTIO_TRY(machine_need(m, 1));
    MACHINE_CHECK(m, *m->at <= 5, "P4.proto", "pickle protocol %u, the highest there is is 5", *m->at);
    m->at++;
    return PTIO_OK;
}

static ptio_status op_frame(ptio_machine *m) {
    MACHINE_CHECK(m, !m->framed, "P4.nested", "FRAME inside a frame");
    PTIO_TRY(machine_need(m, 8));
    uint64_t size = ptio_le64(m->at);
    m->at += 8;
    PTIO_TRY(machine_need(m, size));
    m->limit = m->at + size;
    m->framed = true;
    return PTIO_OK;
}

static ptio_status op_stop(ptio_machine *m) {
    MACHINE_CHECK(m, m->mark_count == 0, "P3.stop-mark", "STOP with a MARK that was never closed");
    MACHINE_CHECK(m, m->height == 1, "P3.stop", "STOP with %zu objects on the stack instead of 1", m->height);
    MACHINE_CHECK(m, m->at == m->end, "P3.trailing", "%llu bytes follow STOP",
                  (unsigned long long)(m->end - m->at));
    m->graph->root = m->stack[0];
    m->stopped = true;
    return PTIO_OK;
}

/* --- the loop -------------------------------------------------------------------------- */

#define op_int ptio_op_int
#define op_long ptio_op_long
#define op_float ptio_op_float
#define op_string ptio_op_string
#define op_unicode ptio_op_unicode
#define op_global ptio_op_global
#define op_inst ptio_op_inst
#define op_get ptio_op_get
#define op_persid ptio_op_persid
#define op_put ptio_op_put

static ptio_status machine_step(ptio_machine *m) {
    switch (*m->opcode) {
#define OPCODE(byte, name, protocol, argument, handler) \
    case byte: return op_##handler(m);
#include "opcodes.def"
#undef OPCODE
    default:
        if (!ptio_check_is_on("P1.opcode")) return PTIO_OK;
        return ptio_fail(m->err, PTIO_E_PICKLE_MALFORMED, "P1.opcode", MACHINE_OFFSET(m),
                         "byte 0x%02x is no pickle opcode", *m->opcode);
    }
}

static ptio_status machine_run(ptio_machine *m) {
    while (!m->stopped) {
        if (PTIO_UNLIKELY(m->at == m->limit)) {
            MACHINE_CHECK(m, m->at != m->end, "P1.end", "the pickle ends without STOP");
            m->limit = m->end; /* the frame is done */
            m->framed = false;
        }
        m->opcode = m->at++;
        PTIO_TRY(machine_step(m));
    }
    return PTIO_OK;
}

static ptio_status run_from_start(ptio_machine *m, const uint8_t *pickle, uint64_t size, ptio_graph *graph) {
    m->start = m->at = m->opcode = pickle;
    m->end = m->limit = pickle + size;
    m->graph = graph;
    m->memo.arena = &graph->arena;
    ptio_status status = ptio_memo_reserve(&m->memo, ptio_graph_guess(size), m->err);
    if (status == PTIO_OK) status = machine_run(m);
    ptio_memo_free(&m->memo);
    return status;
}

ptio_status ptio_pickle_parse(const uint8_t *pickle, uint64_t size, const ptio_parse_options *options,
                              ptio_graph *graph, ptio_error *err) {
    ptio_machine machine = {.options = options, .err = err};
    PTIO_TRY(ptio_graph_init(graph, pickle, size, options->max_memory, err));
    graph->capacity = (size_t)ptio_min_u64(graph->capacity, ptio_machine_most_nodes(options));
    PTIO_CHECK(size > 0, "P1.empty", err, PICKLE_MALFORMED, 0, "the pickle is empty");
    return run_from_start(&machine, pickle, size, graph);
}

/* One object fewer is allowed than the node needs: the opcode that fails made it. */
uint64_t ptio_pickle_locate(const uint8_t *pickle, uint64_t size, ptio_ref node) {
    ptio_parse_options options = {.max_nodes = node - PTIO_FIRST_FREE_NODE,
                                  .max_bytes = UINT64_MAX,
                                  .old_calls = true,
                                  .new_calls = true,
                                  .text_ids = true,
                                  .bare_arguments = true};
    ptio_graph graph;
    ptio_error err = {0};
    uint64_t offset = PTIO_NO_OFFSET;
    if (node < PTIO_FIRST_FREE_NODE) return offset;
    if (ptio_pickle_parse(pickle, size, &options, &graph, &err) == PTIO_E_LIMIT && graph.count == node)
        offset = err.offset;
    ptio_graph_free(&graph);
    return offset;
}
