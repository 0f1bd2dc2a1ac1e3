/* SPDX-License-Identifier: Apache-2.0
 *
 * Every leaf once, with the path from the root.
 */
#include "leaf_walk.h"

#include "pickle_builder.h"

void suite_leaf_walk(void);

typedef struct {
    const ptio_checkpoint *c;
    char text[8192];
    size_t used, stop_after;
} listing;

static ptio_status list_leaf(void *context, const ptio_path *whole, ptio_ref leaf, ptio_error *err) {
    listing *l = context;
    const ptio_step *path = whole->steps;
    size_t length = whole->length;
    const ptio_graph *g = &l->c->graph;
    if (l->stop_after > 0 && --l->stop_after == 0) return ptio_fail(err, PTIO_E_CANCELLED, "T0.stop", 7, "enough");
    for (size_t i = 0; i < length; i++) {
        const ptio_node *key = path[i].key == PTIO_NO_NODE ? NULL : &g->nodes[path[i].key];
        if (key == NULL)
            l->used += (size_t)snprintf(l->text + l->used, sizeof l->text - l->used, "/%llu", (unsigned long long)path[i].position);
        else if (key->kind == PTIO_N_INT)
            l->used += (size_t)snprintf(l->text + l->used, sizeof l->text - l->used, "/#%lld", (long long)key->integer);
        else
            l->used += (size_t)snprintf(l->text + l->used, sizeof l->text - l->used, "/%.*s", (int)key->a,
                                        (const char *)ptio_text(g, key));
    }
    const ptio_node *node = &g->nodes[ptio_follow(g, leaf)];
    l->used += (size_t)snprintf(l->text + l->used, sizeof l->text - l->used, "=%s ",
                                ptio_is_tensor_leaf(node)    ? "tensor"
                                : node->kind == PTIO_N_INT   ? "int"
                                : node->kind == PTIO_N_STR   ? "str"
                                : node->kind == PTIO_N_NONE  ? "None"
                                                             : "other");
    return PTIO_OK;
}

static void expect(int line, const char *pickle, size_t size, const char *expected) {
    ptio_error err = {0};
    opened o;
    ptio_checkpoint_options options = default_options();
    options.inert = true;
    listing l = {.c = &o.c};
    if (open_pickle(&o, pickle, size, &options, &err) != PTIO_OK || ptio_walk_leaves(&o.c, false, list_leaf, &l, &err) != PTIO_OK)
        test_fail(__FILE__, line, "%s: %s", err.check, err.message);
    else if (strcmp(l.text, expected) != 0)
        test_fail(__FILE__, line, "leaves are \"%s\", expected \"%s\"", l.text, expected);
    opened_free(&o);
}

#define EXPECT(pickle, expected) expect(__LINE__, LITERAL(pickle), expected)
#define SCALES TENSOR_OF(STORAGE("DoubleStorage", "1", "2"), "0", INT("2"), INT("1"))
#define BY_CHANNEL                                                                                               \
    CALL(UTILS("_rebuild_qtensor"), STORAGE("QInt8Storage", "0", "16") INT("0") TUPLE(INT("2") INT("8"))         \
         TUPLE(INT("8") INT("1")) TUPLE(TORCH("per_channel_affine_float_qparams") SCALES SCALES INT("0")) FALSE_ \
         HOOKS)
#define NAMESPACE GLOBAL_OF("argparse", "Namespace") ")\x81"

static void roots_that_are_leaves(void) {
    EXPECT("N.", "=None ");
    EXPECT(TENSOR ".", "=tensor ");
    EXPECT(FLOATS ".", "=tensor ");
    EXPECT(CALL(UTILS("_rebuild_parameter"), TENSOR TRUE_ HOOKS) ".", "=tensor ");
    EXPECT("].", "");
    EXPECT(").", "");
}

static void keys_and_positions(void) {
    EXPECT(DICT(TEXT("a") TENSOR "K\7N") ".", "/a=tensor /#7=None ");
    EXPECT("}(Va\nNVb\nNuVc\nNs.", "/a=None /b=None /c=None ");
    EXPECT("](NNeK\1a.", "/0=None /1=None /2=int ");
    EXPECT(TUPLE("N" LIST("N" TEXT("x"))) ".", "/0=None /1/0=None /1/1=str ");
    EXPECT("\x8f(K\1\x90(K\2\x90.", "/0=int /1=int ");
    EXPECT("(K\1\x91.", "/0=int ");
    EXPECT(HOOKS "Va\n" TENSOR "s.", "/a=tensor ");
    EXPECT(CALL(GLOBAL_OF("collections", "defaultdict"), "N") "K\1Ns.", "/#1=None ");
    EXPECT(DICT(TEXT("a") DICT(TEXT("b") DICT(TEXT("c") TENSOR))) ".", "/a/b/c=tensor ");
    EXPECT(TUPLE(CALL(TORCH("Size"), TUPLE(INT("5")))) ".", "/0/0=int ");
}

static void attributes_take_the_object_s_place(void) {
    EXPECT(NAMESPACE DICT(TEXT("lr") "N") "b.", "/lr=None ");
    EXPECT(OPAQUE DICT(TEXT("weight") TENSOR TEXT("n") "K\1") "b.", "/weight=tensor /n=int ");
    EXPECT(DICT(TEXT("model") OPAQUE DICT(TEXT("w") TENSOR) "b") ".", "/model/w=tensor ");
    EXPECT(HOOKS "Va\nNs" DICT(TEXT("_metadata") "K\1") "b.", "/a=None /_metadata=int ");
    EXPECT(OPAQUE "Nb.", "/0=None "); /* a state that is no dict is an item */
    EXPECT(UNKNOWN "(K\1NtR" "Va\n" TENSOR "s.", "/0=int /1=None /a=tensor "); /* arguments, then items */
}

static void tensors_of_several_parts_show_them(void) {
    EXPECT(CALL(UTILS("_rebuild_nested_tensor"), TENSOR INDICES INDICES INDICES) ".",
           "/0=tensor /1=tensor /2=tensor /3=tensor ");
    EXPECT(CALL(GLOBAL_OF("torch.nested._internal.nested_tensor", "_rebuild_njt"), DICT(TEXT("_values") TENSOR)) ".",
           "/0/_values=tensor ");
    EXPECT(DICT(TEXT("q") BY_CHANNEL) ".", "/q=tensor /q/0=other /q/1=tensor /q/2=tensor /q/3=int ");
    EXPECT(BY_CHANNEL ".", "=tensor /0=other /1=tensor /2=tensor /3=int ");
}

static void whole_tensors_show_no_parts(void) {
    ptio_error err = {0};
    opened o;
    ASSERT_OK(open_pickle(&o, LITERAL(BY_CHANNEL "."), NULL, &err));
    listing l = {.c = &o.c};
    ASSERT_OK(ptio_walk_leaves(&o.c, true, list_leaf, &l, &err));
    ASSERT_TEXT(l.text, "=tensor ");
    opened_free(&o);
}

/* Each container is entered once, wherever it is reached from. */
static void shared_containers_and_cycles(void) {
    EXPECT("]q\0h\0a.", "");
    EXPECT("(]q\0Nah\0t.", "/0/0=None ");
    EXPECT("]N2\x86q\1h\1\x87.", "/1/0=None /1/1=None ");
}

static void a_visitor_may_stop(void) {
    ptio_error err = {0};
    opened o;
    ASSERT_OK(open_pickle(&o, LITERAL("(NNNt."), NULL, &err));
    listing l = {.c = &o.c, .stop_after = 2};
    ASSERT_FAILS(ptio_walk_leaves(&o.c, false, list_leaf, &l, &err), CANCELLED, "T0.stop", "enough", 7);
    ASSERT_TEXT(l.text, "/0=None ");
    opened_free(&o);
}

/* 900 tuples of the same two: as a tree, more leaves than there are atoms. */
static void trees_of_shared_tuples(void) {
    pickle_buffer p = {0};
    ptio_error err = {0};
    opened o;
    ADD(&p, "N");
    ADD_TIMES(&p, "2\x86", 900);
    ADD(&p, ".");
    ASSERT_OK(open_pickle(&o, p.bytes, p.size, NULL, &err));
    static listing l;
    l = (listing){.c = &o.c, .stop_after = 3};
    ASSERT_OK(ptio_walk_leaves(&o.c, false, list_leaf, &l, &err)); /* the innermost pair */
    ASSERT_EQUAL(l.stop_after, 1);
    opened_free(&o);
    pickle_free(&p);
}

static ptio_status sum_bytes(void *context, const ptio_path *path, ptio_ref leaf, ptio_error *err) {
    uint64_t *sum = context;
    (void)leaf, (void)err;
    *sum += path->bytes;
    return PTIO_OK;
}

static uint64_t bytes_of_listing(const void *pickle, size_t size) {
    uint64_t sum = 0;
    ptio_error err = {0};
    opened o;
    if (open_pickle(&o, pickle, size, NULL, &err) != PTIO_OK || ptio_walk_leaves(&o.c, false, sum_bytes, &sum, &err) != PTIO_OK)
        test_fail(__FILE__, __LINE__, "%s: %s", err.check, err.message);
    opened_free(&o);
    return sum;
}

#define BYTES_OF_LISTING(pickle) bytes_of_listing(LITERAL(pickle))

static void rows_are_as_large_as_their_paths(void) {
    uint64_t one = BYTES_OF_LISTING(DICT("K\1" "N") "."), text = BYTES_OF_LISTING(DICT(TEXT("twenty characters...") "N") ".");
    ASSERT_EQUAL(BYTES_OF_LISTING("N."), 512);
    ASSERT_EQUAL(BYTES_OF_LISTING(TEXT("ten bytes.") "."), 512 + 4 * 10);
    ASSERT_EQUAL(text - one, 20 * 4 * 2); /* the key, and the name made of it */
    ASSERT_EQUAL(BYTES_OF_LISTING(DICT("(" TEXT("ten bytes.") "t" "N") ".") - one, (10 + 16) * 4 * 2);
    /* Below one key, only the name is made again. */
    ASSERT_EQUAL(BYTES_OF_LISTING(DICT(TEXT("twenty characters...") "(NNt") ".") - BYTES_OF_LISTING(DICT("K\1(NNt") "."), 20 * 4 * 3);
}

static void a_long_name_counts_up_to_its_cut(void) {
    pickle_buffer p = {0};
    ADD(&p, "}X\0\0\1\0");
    ADD_TIMES(&p, "x", 65536);
    ADD(&p, "(NNts.");
    uint64_t paths = 2 * 2 * sizeof(void *), keys = 4 * (65536 + 16 + 2 * 16);
    ASSERT_EQUAL(bytes_of_listing(p.bytes, p.size), 2 * (512 + 4 * 4096) + paths + keys);
    pickle_free(&p);
}

static void a_listing_ends_with_its_room(void) {
    ptio_error err = {0};
    uint64_t room = 1000;
    const ptio_path path = {.bytes = 500};
    ASSERT_OK(ptio_take_room(&room, &path, &err));
    ASSERT_OK(ptio_take_room(&room, &path, &err));
    ASSERT_FAILS(ptio_take_room(&room, &path, &err), LIMIT, "P14.room", "object_bytes", PTIO_NO_OFFSET);
    ASSERT_EQUAL(room, 0);
}

void suite_leaf_walk(void) {
    RUN(rows_are_as_large_as_their_paths);
    RUN(a_long_name_counts_up_to_its_cut);
    RUN(a_listing_ends_with_its_room);
    RUN(roots_that_are_leaves);
    RUN(keys_and_positions);
    RUN(attributes_take_the_object_s_place);
    RUN(tensors_of_several_parts_show_them);
    RUN(whole_tensors_show_no_parts);
    RUN(shared_containers_and_cycles);
    RUN(a_visitor_may_stop);
    RUN(trees_of_shared_tuples);
}
