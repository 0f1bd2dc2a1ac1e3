/* SPDX-License-Identifier: Apache-2.0
 *
 * What the result needs, how deep it is, and what it costs.
 */
#include "pickle_builder.h"

void suite_vet_reachable(void);

/* before * times, middle, after * times */
static ptio_status open_nested(const char *before, const char *middle, const char *after, unsigned times,
                               const ptio_checkpoint_options *options, ptio_error *err) {
    pickle_buffer p = {0};
    opened o;
    pickle_add_times(&p, before, strlen(before), times);
    pickle_add(&p, middle, strlen(middle));
    pickle_add_times(&p, after, strlen(after), times);
    ADD(&p, ".");
    ptio_status status = open_pickle(&o, p.bytes, p.size, options, err);
    opened_free(&o);
    pickle_free(&p);
    return status;
}

/* `times` levels of this are as deep as it gets; one more is too deep. */
static void nest(int line, const char *before, const char *middle, const char *after, unsigned times, bool inert) {
    ptio_error err = {0};
    ptio_checkpoint_options options = default_options();
    options.inert = inert;
    if (open_nested(before, middle, after, times, &options, &err) != PTIO_OK)
        test_fail(__FILE__, line, "%s at %u: %s", err.check, times, err.message);
    ptio_status status = open_nested(before, middle, after, times + 1, &options, &err);
    if (status == PTIO_OK || (strcmp(err.check, "P13.depth") != 0 && strcmp(err.check, "P13.height") != 0))
        test_fail(__FILE__, line, "%u levels are %s", times + 1, status == PTIO_OK ? "read" : err.message);
    else if (err.offset == PTIO_NO_OFFSET)
        test_fail(__FILE__, line, "no offset");
}

#define NEST(before, middle, after, times) nest(__LINE__, before, middle, after, times, false)
#define NEST_INERT(before, middle, after, times) nest(__LINE__, before, middle, after, times, true)

static void containers_nest_1000_deep(void) {
    NEST("(", "N", "l", 1000);
    NEST("", "N", "\x85", 1000);
    NEST("(N", "N", "d", 1000);
    NEST("]", "N", "a", 1000);
    NEST("}N", "N", "s", 1000);
    NEST("(", "]", "l", 999); /* an empty container is one, too */
    NEST("(", ")", "l", 999);
    NEST("(", "N", "l\x85", 500);
}

static void results_of_calls_count(void) {
    NEST(HOOKS "N", "N", "s", 1000);
    NEST(GLOBAL_OF("collections", "deque") "((", "N", "ltR", 333); /* the arguments' tuple, the list, the deque */
    NEST(GLOBAL_OF("argparse", "Namespace") ")\x81}Va\n", "N", "sb", 500);
    NEST_INERT(UNKNOWN ")RN", "N", "s", 999); /* the empty arguments of the innermost */
    NEST_INERT(UNKNOWN "(", "N", "tR", 500);
    NEST_INERT(UNKNOWN ")R", "N", "b", 999);
    NEST_INERT("", UNKNOWN, ")R", 999);
}

static void the_limit_is_the_caller_s(void) {
    ptio_error err = {0};
    ptio_checkpoint_options options = default_options();
    options.limits.depth = 3;
    ASSERT_OK(open_nested("(", "N", "l", 3, &options, &err));
    ASSERT_FAILS(open_nested("(", "N", "l", 4, &options, &err), LIMIT, "P13.depth", "nested deeper than 3 (limit depth)", 5);
    options.limits.depth = 5000;
    ASSERT_OK(open_nested("(", "N", "l", 5000, &options, &err));
    options.limits.depth = UINT32_MAX; /* heights have 16 bits */
    ASSERT_OK(open_nested("(", "N", "l", PTIO_MOST_DEPTH, &options, &err));
    ASSERT_TRUE(open_nested("(", "N", "l", PTIO_MOST_DEPTH + 1, &options, &err) == PTIO_E_LIMIT);
    ASSERT_CONTAINS(err.message, "nested deeper than 65535");
}

/* A part that was measured where it was shallow hangs deep elsewhere, too. */
static void shared_parts_are_measured_where_they_are_deep(void) {
    pickle_buffer p = {0};
    ptio_error err = {0};
    opened o;
    ADD_TIMES(&p, "(", 601);
    ADD(&p, "N");
    ADD_TIMES(&p, "l", 600);
    ADD(&p, "q\1");
    ADD_TIMES(&p, "(", 600);
    ADD(&p, "h\1");
    ADD_TIMES(&p, "l", 600);
    ADD(&p, "t.");
    ASSERT_TRUE(open_pickle(&o, p.bytes, p.size, NULL, &err) == PTIO_E_LIMIT);
    ASSERT_TEXT(err.check, "P13.height");
    ASSERT_CONTAINS(err.message, "deeper than 1000");
    ASSERT_EQUAL(err.offset, 601 + 1 + 600 + 2 + 600 + 2 + 400); /* the list that would be the 1001st */
    opened_free(&o);
    pickle_free(&p);
}

static void cycles_have_no_depth(void) {
    static const fine_pickle cases[] = {
        FINE_PICKLE("]q\0h\0a."),
        FINE_PICKLE("}q\0Nh\0s."),
        FINE_PICKLE("(]q\0(h\0tq\1ah\0001h\1."),
        FINE_PICKLE("]q\0]q\1h\0aa."),
        FINE_PICKLE(GLOBAL_OF("argparse", "Namespace") ")\x81q\0}Va\nh\0sb."),
        FINE_PICKLE("}q\0" TEXT("p") CALL(UTILS("_rebuild_parameter_with_state"), TENSOR TRUE_ HOOKS DICT(TEXT("owner") "h\0")) "s."),
    };
    OPEN_FINE(cases);
}

/* Walked as a tree, these would be 2**900 nodes. */
static void shared_tuples_are_entered_once(void) {
    ptio_error err = {0};
    opened o;
    pickle_buffer p = {0};
    ADD(&p, "N");
    ADD_TIMES(&p, "2\x86", 900);
    ADD(&p, ".");
    ASSERT_OK(open_pickle(&o, p.bytes, p.size, NULL, &err));
    opened_free(&o);
    p.size = 0;
    ADD(&p, "}N");
    ADD_TIMES(&p, "2\x86", 40);
    ADD(&p, "Ns.");
    ASSERT_TRUE(open_pickle(&o, p.bytes, p.size, NULL, &err) == PTIO_E_LIMIT); /* a key of depth 40 */
    ASSERT_TEXT(err.check, "P12.depth");
    opened_free(&o);
    pickle_free(&p);
}

static void only_what_the_result_needs_is_marked(void) {
    ptio_error err = {0};
    opened o;
    ASSERT_OK(open_pickle(&o, LITERAL("]M\1\1a0(M\2\2Vx\nl."), NULL, &err));
    const ptio_graph *g = &o.c.graph;
    for (size_t i = PTIO_FIRST_FREE_NODE; i < g->count; i++) {
        const ptio_node *node = &g->nodes[i];
        if (ptio_is_fill(node)) continue;
        bool needed = node->kind == PTIO_N_STR || (node->kind == PTIO_N_INT && node->integer == 0x202) || i == g->root;
        ASSERT_EQUAL((node->flags & PTIO_F_NEEDED) != 0, needed);
        ASSERT_TRUE(!(node->flags & PTIO_F_OPEN));
    }
    opened_free(&o);
}

static void objects_are_charged(void) {
    pickle_buffer p = {0};
    ptio_error err = {0};
    opened o;
    ptio_checkpoint_options options = default_options();
    ADD(&p, "(");
    ADD_TIMES(&p, "\x8f", 300000);
    ADD(&p, "l.");
    ASSERT_TRUE(open_pickle(&o, p.bytes, p.size, NULL, &err) == PTIO_E_LIMIT);
    ASSERT_TEXT(err.check, "R.object-bytes");
    ASSERT_CONTAINS(err.message, "need more than 67108864 bytes, for a file of 30");
    opened_free(&o);
    options.limits.object_bytes = 200 << 20;
    ASSERT_OK(open_pickle(&o, p.bytes, p.size, &options, &err));
    ASSERT_TRUE(o.c.object_bytes > 300000 * 232);
    opened_free(&o);
    pickle_free(&p);
}

/* The names of classes that stand in every object of theirs are paid for. */
static void names_of_unknown_classes_are_charged(void) {
    pickle_buffer p = {0};
    ptio_error err = {0};
    opened o;
    uint64_t costs[2];
    ptio_checkpoint_options options = default_options();
    options.inert = true;
    for (unsigned i = 0; i < 2; i++) {
        p.size = 0;
        ADD(&p, "c");
        ADD_TIMES(&p, "m", i == 0 ? 1 : 501);
        ADD(&p, "\nn\nq\1(");
        ADD_TIMES(&p, "h\1)R", 100);
        ADD(&p, "l\x86.");
        ASSERT_OK(open_pickle(&o, p.bytes, p.size, &options, &err));
        costs[i] = o.c.object_bytes;
        opened_free(&o);
    }
    ASSERT_EQUAL(costs[1] - costs[0], 500 * 101);
    pickle_free(&p);
}

void suite_vet_reachable(void) {
    RUN(containers_nest_1000_deep);
    RUN(results_of_calls_count);
    RUN(the_limit_is_the_caller_s);
    RUN(shared_parts_are_measured_where_they_are_deep);
    RUN(cycles_have_no_depth);
    RUN(shared_tuples_are_entered_once);
    RUN(only_what_the_result_needs_is_marked);
    RUN(objects_are_charged);
    RUN(names_of_unknown_classes_are_charged);
}
