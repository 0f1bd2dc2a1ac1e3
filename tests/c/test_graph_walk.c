/* SPDX-License-Identifier: Apache-2.0
 *
 * What a node is made of: its children in order, and the part of a graph that it takes.
 */
#include "graph_walk.h"

#include "memory.h"
#include "pickle_builder.h"

void suite_graph_walk(void);

/* The children of a node by kind: "F" marks the first item of a fill. */
static void describe(const ptio_graph *g, ptio_ref ref, char *out) {
    ptio_children children = ptio_children_of(g, ref);
    ptio_ref child, entered;
    while ((child = ptio_next_child(g, &children, &entered)) != PTIO_NO_NODE) {
        const ptio_node *node = &g->nodes[child];
        if (entered != 0) *out++ = 'F';
        *out++ = node->kind == PTIO_N_INT      ? (char)('0' + node->integer)
                 : node->kind == PTIO_N_STR    ? (char)*ptio_text(g, node)
                 : node->kind == PTIO_N_NONE   ? 'N'
                 : node->kind == PTIO_N_TUPLE  ? '('
                 : node->kind == PTIO_N_LIST   ? '['
                 : node->kind == PTIO_N_DICT   ? '{'
                 : node->kind == PTIO_N_TENSOR ? 'T'
                                               : '?';
    }
    *out = '\0';
}

static void expect(int line, const char *pickle, size_t size, const char *expected) {
    ptio_error err = {0};
    opened o;
    char found[64];
    ptio_checkpoint_options options = default_options();
    options.inert = true;
    if (open_pickle(&o, pickle, size, &options, &err) != PTIO_OK) {
        test_fail(__FILE__, line, "%s: %s", err.check, err.message);
    } else {
        describe(&o.c.graph, ptio_follow(&o.c.graph, o.c.graph.root), found);
        if (strcmp(found, expected) != 0)
            test_fail(__FILE__, line, "children are \"%s\", expected \"%s\"", found, expected);
    }
    opened_free(&o);
}

#define EXPECT(pickle, expected) expect(__LINE__, LITERAL(pickle), expected)

static void children_come_in_stream_order(void) {
    EXPECT("K\7.", "");
    EXPECT(").", "");
    EXPECT("].", "");
    EXPECT(TUPLE("K\1NK\2") ".", "1N2");
    EXPECT("](K\1K\2e(K\3e.", "F12F3");
    EXPECT("}(Va\nK\1Vb\nK\2uVc\nK\3s.", "Fa1b2Fc3");
    EXPECT("\x8f(K\1K\2\x90.", "F12");
    EXPECT("(K\1K\2\x91.", "12");
    EXPECT(TENSOR ".", "");
    EXPECT(UNKNOWN "(K\1K\2tR" "Va\nK\3s.", "?(Fa3"); /* callee, arguments, items */
    EXPECT(OPAQUE "}" "b.", "?(F{");
    EXPECT(GLOBAL_OF("collections", "deque") "((K\1K\2ltR.", "(");
}

/* --- parts ---------------------------------------------------------------------------------- */

/* The part below the only item of the list that the pickle makes. */
static size_t part_of_item(opened *o, const char *pickle, size_t size, ptio_part *part) {
    ptio_error err = {0};
    *part = (ptio_part){.refs = NULL};
    ASSERT_OK(open_pickle(o, pickle, size, NULL, &err));
    const ptio_graph *g = &o->c.graph;
    ptio_ref fill = ptio_first_fill(g, ptio_follow(g, g->root));
    ASSERT_OK(ptio_graph_part(g, g->refs[g->nodes[fill].first], part, &err));
    for (size_t i = 1; i < part->count; i++) ASSERT_TRUE(part->refs[i - 1] < part->refs[i]);
    return part->count;
}

static void a_plain_tensor_is_a_part_of_one_node(void) {
    opened o;
    ptio_part part;
    ASSERT_EQUAL(part_of_item(&o, LITERAL("]" TENSOR "a."), &part), 1);
    ASSERT_EQUAL(o.c.graph.nodes[part.refs[0]].kind, PTIO_N_TENSOR);
    ptio_free(part.refs);
    opened_free(&o);
}

static void parts_hold_their_fills_and_nothing_else(void) {
    opened o;
    ptio_part part;
    /* a dict with one item, beside it a string that is not part of it; dict, fill, key, value */
    ASSERT_EQUAL(part_of_item(&o, LITERAL("](}Va\n" REAL("1.5") "sVother\ne."), &part), 4);
    const ptio_graph *g = &o.c.graph;
    ASSERT_EQUAL(g->nodes[part.refs[0]].kind, PTIO_N_DICT);
    ASSERT_TRUE(ptio_is_fill(&g->nodes[part.refs[3]]));
    ptio_free(part.refs);
    opened_free(&o);
}

static void what_is_shared_is_there_once(void) {
    opened o;
    ptio_part part;
    ASSERT_EQUAL(part_of_item(&o, LITERAL("]Vx\nq\0h\0h\0\x87" "a."), &part), 2); /* ("x", "x", "x") */
    ptio_free(part.refs);
    opened_free(&o);
    ASSERT_EQUAL(part_of_item(&o, LITERAL("]]q\0h\0aa."), &part), 2); /* a list that holds itself, and its fill */
    ptio_free(part.refs);
    opened_free(&o);
}

static void calls_bring_their_arguments(void) {
    opened o;
    ptio_part part;
    size_t count = part_of_item(&o, LITERAL("]" CALL(UTILS("_rebuild_nested_tensor"), TENSOR INDICES INDICES INDICES) "a."), &part);
    const ptio_graph *g = &o.c.graph;
    size_t tensors = 0;
    for (size_t i = 0; i < count; i++) tensors += g->nodes[part.refs[i]].kind == PTIO_N_TENSOR;
    ASSERT_EQUAL(tensors, 4);
    ptio_free(part.refs);
    opened_free(&o);
}

static void parts_may_run_out_of_memory(void) {
    ptio_error err = {0};
    opened o;
    ASSERT_OK(open_pickle(&o, LITERAL("(Va\nVb\nVc\n(Vd\nVe\nVf\nVg\nVh\nVi\nVj\nVk\nVl\nVm\nVn\nVo\nVp\nVq\ntt."), NULL, &err));
    unsigned failures = 0;
    for (uint64_t k = 1; k < 50; k++) {
        ptio_part part = {0};
        ptio_memory_fail_at(k);
        ptio_status status = ptio_graph_part(&o.c.graph, o.c.graph.root, &part, &err);
        ptio_memory_fail_at(0);
        if (status == PTIO_OK) {
            ptio_free(part.refs);
            break;
        }
        failures++;
        ASSERT_EQUAL(status, PTIO_E_NO_MEMORY);
        ASSERT_TRUE(part.refs == NULL && part.count == 0);
    }
    ASSERT_TRUE(failures >= 2 && failures < 49);
    opened_free(&o);
}

void suite_graph_walk(void) {
    RUN(children_come_in_stream_order);
    RUN(a_plain_tensor_is_a_part_of_one_node);
    RUN(parts_hold_their_fills_and_nothing_else);
    RUN(what_is_shared_is_there_once);
    RUN(calls_bring_their_arguments);
    RUN(parts_may_run_out_of_memory);
}
