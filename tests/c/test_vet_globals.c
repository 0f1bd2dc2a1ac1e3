/* SPDX-License-Identifier: Apache-2.0
 *
 * Which names a pickle may use, what it may call, and what BUILD and its like may fill.
 */
#include "pickle_builder.h"

void suite_vet_globals(void);

static uint32_t find(const char *module, const char *name) {
    return ptio_global_find((const uint8_t *)module, strlen(module), (const uint8_t *)name, strlen(name));
}

static void the_table_is_sorted_and_finds_itself(void) {
    for (uint32_t i = 0; i < ptio_global_count(); i++) {
        const ptio_global *global = ptio_global_get(i);
        ASSERT_EQUAL(find(global->module, global->name), i);
        if (i == 0) continue;
        const ptio_global *before = ptio_global_get(i - 1);
        int order = strcmp(before->module, global->module);
        if (order == 0) order = strcmp(before->name, global->name);
        if (order >= 0) test_fail(__FILE__, __LINE__, "%s.%s is not in order", global->module, global->name);
        if (global->role == PTIO_ROLE_MAKE) ASSERT_TRUE(global->value < PTIO_MAKER_COUNT);
    }
}

static void near_names_are_not_found(void) {
    static const char *const names[][2] = {
        {"os", "system"}, {"torch", ""}, {"", ""}, {"torch", "Siz"}, {"torch", "Size "}, {"torch", "Sizes"},
        {"torc", "Size"}, {"torch ", "Size"}, {"torch.", "Size"}, {"torch", "size"}, {"torch\r", "Size"},
        {"torch._utils", "_rebuild_tensor_v2.__globals__"}, {"collections", "OrderedDict.fromkeys"},
        {"builtins", "getattr"}, {"builtins", "eval"}, {"torch.storage", "_load_from_bytes"},
        {"t\xd0\xberch", "Size"}, {"zzz", "zzz"}, {"\xff\xff", "\xff"},
    };
    for (size_t i = 0; i < COUNT_OF(names); i++) ASSERT_EQUAL(find(names[i][0], names[i][1]), PTIO_NO_GLOBAL);
    ASSERT_EQUAL(ptio_global_find((const uint8_t *)"torch", 5, (const uint8_t *)"Size\0", 5), PTIO_NO_GLOBAL);
}

static void unknown_names_are_forbidden_where_they_stand(void) {
    static const broken_pickle cases[] = {
        BROKEN("", "cos\nsystem\n(S'ls'\ntR.", GLOBAL_FORBIDDEN, "P7.allowed",
               "the pickle names 1 global that is not allowed: os.system at byte 0"),
        BROKEN("\x80\2", "cos\nsystem\nq\0.", GLOBAL_FORBIDDEN, "P7.allowed", "os.system at byte 2"),
        BROKEN("\x80\4\x8c\2os\x8c\6system", "\x93)R.", GLOBAL_FORBIDDEN, "P7.allowed", "os.system at byte 14"),
        BROKEN("Vos\np0\n0Vsystem\np1\n0g0\ng1\n", "\x93.", GLOBAL_FORBIDDEN, "P7.allowed", "os.system at byte 26"),
        BROKEN("S'os'\nS'system'\n", "\x93.", GLOBAL_FORBIDDEN, "P7.allowed", "os.system at byte 16"),
        BROKEN("", "cos\n\n.", GLOBAL_FORBIDDEN, "P7.allowed", "os."),
        BROKEN("", "ca\x1b[2J\nb\n.", GLOBAL_FORBIDDEN, "P7.allowed", "a\\x1b[2J.b at byte 0"),
    };
    OPEN_BROKEN(cases);
}

static void all_forbidden_names_are_collected(void) {
    static const char pickle[] = "cos\nsystem\n0cos\nsystem\n0cnt\nstat\n0N.";
    ptio_error err = {0};
    opened o;
    ASSERT_FAILS(open_pickle(&o, LITERAL(pickle), NULL, &err), GLOBAL_FORBIDDEN, "P7.allowed",
                 "the pickle names 2 globals that are not allowed: os.system at byte 0, nt.stat at byte 24", 0);
    ASSERT_EQUAL(o.c.forbidden_count, 2);
    ASSERT_EQUAL(o.c.forbidden[1].offset, 24);
    opened_free(&o);
}

static void a_long_list_of_names_is_cut(void) {
    pickle_buffer p = {0};
    ptio_error err = {0};
    opened o;
    for (int i = 0; i < 1000; i++) {
        char text[64];
        pickle_add(&p, text, (size_t)snprintf(text, sizeof text, "cmodule%d\nname\n0", i));
    }
    ADD(&p, "N.");
    ASSERT_FAILS(open_pickle(&o, p.bytes, p.size, NULL, &err), GLOBAL_FORBIDDEN, "P7.allowed", ", ...", 0);
    ASSERT_CONTAINS(err.message, "1000 globals");
    ASSERT_TRUE(strlen(err.message) < 450);
    ASSERT_EQUAL(o.c.forbidden_count, 1000);
    opened_free(&o);
    pickle_free(&p);
}

/* A payload in front of a stream that breaks: the payload is the worse news. */
static void forbidden_names_win_over_broken_streams(void) {
    static const broken_pickle cases[] = {
        BROKEN("", "cos\nsystem\n(S'ls'\ntR", GLOBAL_FORBIDDEN, "P7.allowed", "and the pickle is broken: the pickle ends"),
        BROKEN("N", "cos\nsystem\n0\xff.", GLOBAL_FORBIDDEN, "P7.allowed", "byte 0xff is no pickle opcode"),
        BROKEN("N", "cos\nsystem\n0\x82\1.", GLOBAL_FORBIDDEN, "P7.allowed", "EXT1"),
    };
    OPEN_BROKEN(cases);
    static const broken_pickle harmless[] = {
        BROKEN(GLOBAL_OF("torch", "float32"), "\xff.", PICKLE_MALFORMED, "P1.opcode", "0xff"),
        BROKEN("", "\x82\1.", OPCODE_FORBIDDEN, "P9.opcode", "EXT1"),
    };
    OPEN_BROKEN(harmless);
}

static void what_the_caller_allows(void) {
    static const char pickle[] = "ca.b\nC\n)R.";
    static const struct {
        const char *entry;
        bool allowed;
    } entries[] = {{"a.b.C", true}, {"a", true},    {"a.b", false},  {"b", false}, {"a.b.D", false},
                   {"a.c.C", false}, {"ab", false}, {"", false},     {"a.b.C.d", false}, {"a.b.", false}};
    for (size_t i = 0; i < COUNT_OF(entries); i++) {
        ptio_error err = {0};
        opened o;
        ptio_checkpoint_options options = default_options();
        const char *allow[] = {"x.y", entries[i].entry};
        options.allow = allow;
        options.allow_count = 2;
        ptio_status status = open_pickle(&o, LITERAL(pickle), &options, &err);
        if ((status == PTIO_OK) != entries[i].allowed) test_fail(__FILE__, __LINE__, "allow '%s'", entries[i].entry);
        if (status == PTIO_OK) ASSERT_EQUAL(opened_root(&o)->kind, PTIO_N_OPAQUE_CALL);
        opened_free(&o);
    }
}

static void inert_names_are_data(void) {
    static const fine_pickle cases[] = {
        FINE_PICKLE("cos\nsystem\n."),
        FINE_PICKLE("\x8c\2os\x8c\6system\x93."),
        FINE_PICKLE("cos\nsystem\n(S'ls'\ntR."),
        FINE_PICKLE("ca\nb\n)R)R."), /* a call of a call's result */
        FINE_PICKLE("ca\nb\n)\x81}b."),
        FINE_PICKLE("ca\nb\n)}\x92Na(NNl0}b."),
        FINE_PICKLE("(ca\nb\no(NNe(K\1Nu(N\x90}b."),
        FINE_PICKLE("(ia\nb\nNb."),
        FINE_PICKLE(TORCH("Size") "."), /* a known function itself */
        FINE_PICKLE(CALL(GLOBAL_OF("copyreg", "_reconstructor"), UNKNOWN GLOBAL_OF("builtins", "object") "N") "}b."),
        FINE_PICKLE(CALL(GLOBAL_OF("collections", "defaultdict"), UNKNOWN) "NNs."),
    };
    OPEN_FINE_INERT(cases);
}

static void markers_are_no_values(void) {
    static const broken_pickle cases[] = {
        BROKEN("", TORCH("Size") ".", GLOBAL_FORBIDDEN, "P11.marker", "torch.Size itself is part of the data"),
        BROKEN("]", TORCH("FloatStorage") "a.", GLOBAL_FORBIDDEN, "P11.marker", "torch.FloatStorage"),
        BROKEN("}", GLOBAL_OF("builtins", "list") "Ns.", GLOBAL_FORBIDDEN, "P11.marker", "builtins.list"),
    };
    OPEN_BROKEN(cases);
}

static void calls_that_are_refused(void) {
    static const broken_pickle cases[] = {
        BROKEN("N)", "R.", PICKLE_MALFORMED, "P8.callee", "None is called like a function"),
        BROKEN("V" "f\n)", "R.", PICKLE_MALFORMED, "P8.callee", "a str is called"),
        BROKEN(TORCH("float32") ")", "R.", PICKLE_MALFORMED, "P8.callee", "a dtype is called"),
        BROKEN(TENSOR ")", "R.", PICKLE_MALFORMED, "P8.callee", "a tensor is called"),
        BROKEN(TORCH("per_tensor_affine") ")", "R.", PICKLE_MALFORMED, "P8.callee", "a named constant is called"),
        BROKEN(TORCH("FloatStorage") "(K\4t", "R.", GLOBAL_FORBIDDEN, "P8.constructor",
               "the pickle calls torch.FloatStorage, whose result would not come from the file"),
        BROKEN(TORCH("Tensor") "(K\4t", "R.", GLOBAL_FORBIDDEN, "P8.constructor", "torch.Tensor"),
        BROKEN(TORCH("Tensor") ")", "\x81.", GLOBAL_FORBIDDEN, "P8.constructor", "torch.Tensor"),
        BROKEN(GLOBAL_OF("builtins", "list") ")", "R.", GLOBAL_FORBIDDEN, "P8.constructor", "builtins.list"),
        BROKEN(GLOBAL_OF("numpy", "ndarray") ")", "R.", GLOBAL_FORBIDDEN, "P8.constructor", "numpy.ndarray"),
        BROKEN(TORCH("Size") ")", "\x81.", PICKLE_MALFORMED, "P8.newobj", "torch.Size is made by NEWOBJ"),
        BROKEN(GLOBAL_OF("collections", "OrderedDict") ")", "\x81.", PICKLE_MALFORMED, "P8.newobj", "OrderedDict"),
        BROKEN(UTILS("_rebuild_tensor_v2") ")", "R.", PICKLE_MALFORMED, "P8.arity",
               "rebuild_tensor_v2 is called with 0 arguments, it takes 6 to 7"),
        BROKEN(TORCH("Size") "(NNt", "R.", PICKLE_MALFORMED, "P8.arity", "size is called with 2 arguments"),
        BROKEN(GLOBAL_OF("builtins", "bytes") "(Nt", "R.", PICKLE_MALFORMED, "P8.arity", "bytes is called with 1"),
    };
    OPEN_BROKEN(cases);
    static const broken_pickle inert[] = {
        BROKEN(GLOBAL_OF("argparse", "Namespace") ")}", "\x92.", PICKLE_MALFORMED, "P8.newobj", "argparse.Namespace"),
        BROKEN(TORCH("FloatStorage") "(K\4t", "R.", GLOBAL_FORBIDDEN, "P8.constructor", "torch.FloatStorage"),
    };
    OPEN_BROKEN_INERT(inert);
}

/* The constructor's own place is in the list of forbidden names. */
static void constructors_are_listed(void) {
    ptio_error err = {0};
    opened o;
    ASSERT_FAILS(open_pickle(&o, LITERAL("N0" TORCH("FloatStorage") ")R."), NULL, &err), GLOBAL_FORBIDDEN,
                 "P8.constructor", "torch.FloatStorage", 23);
    ASSERT_EQUAL(o.c.forbidden_count, 1);
    if (o.c.forbidden_count == 1) ASSERT_EQUAL(o.c.forbidden[0].offset, 2);
    opened_free(&o);
}

/* By their name, whichever opcode gave it. */
static void constructors_are_listed_by_name(void) {
    static const char *const pickles[] = {"cbuiltins\ndict\n)R.", "\x8c\x08" "builtins\x8c\4dict\x93)R."};
    for (size_t i = 0; i < COUNT_OF(pickles); i++) {
        const uint8_t *module, *name;
        size_t module_size = 0, name_size = 0;
        ptio_error err = {0};
        opened o;
        ASSERT_EQUAL(open_pickle(&o, pickles[i], strlen(pickles[i]), NULL, &err), PTIO_E_GLOBAL_FORBIDDEN);
        ASSERT_EQUAL(o.c.forbidden_count, 1);
        if (o.c.forbidden_count == 1) {
            ptio_global_name(&o.c.graph, o.c.forbidden[0].node, &module, &module_size, &name, &name_size);
            ASSERT_TRUE(module_size == 8 && memcmp(module, "builtins", 8) == 0);
            ASSERT_TRUE(name_size == 4 && memcmp(name, "dict", 4) == 0);
        }
        opened_free(&o);
    }
}

static void fills_that_are_refused(void) {
    static const broken_pickle cases[] = {
        BROKEN("]NN", "s.", PICKLE_MALFORMED, "P6.kind", "SETITEM on a list"),
        BROKEN("](N", "\x90.", PICKLE_MALFORMED, "P6.kind", "ADDITEMS on a list"),
        BROKEN("]N", "b.", PICKLE_MALFORMED, "P6.kind", "BUILD on a list"),
        BROKEN("}N", "a.", PICKLE_MALFORMED, "P6.kind", "APPEND on a dict"),
        BROKEN("\x8fN", "a.", PICKLE_MALFORMED, "P6.kind", "APPEND on a set"),
        BROKEN(TENSOR "N", "a.", PICKLE_MALFORMED, "P6.kind", "APPEND on a tensor"),
        BROKEN(TENSOR "}", "b.", PICKLE_MALFORMED, "P6.kind", "BUILD on a tensor"),
        BROKEN(HOOKS "N", "a.", PICKLE_MALFORMED, "P6.kind", "APPEND on ordered_dict"),
        BROKEN(CALL(GLOBAL_OF("builtins", "bytes"), "") "N", "a.", PICKLE_MALFORMED, "P6.kind", "APPEND on bytes"),
        BROKEN(CALL(TORCH("Size"), "") "}", "b.", PICKLE_MALFORMED, "P6.kind", "BUILD on a tuple"),
        BROKEN(CALL(GLOBAL_OF("collections", "deque"), "") "NN", "s.", PICKLE_MALFORMED, "P6.kind", "SETITEM on deque"),
        BROKEN(CALL(GLOBAL_OF("collections", "Counter"), "") "}", "b.", PICKLE_MALFORMED, "P6.kind", "BUILD on counter"),
    };
    OPEN_BROKEN(cases);
}

/* What a call copies may not grow behind its back: proofs of its items are made then. */
static void copied_containers_are_frozen(void) {
    static const broken_pickle cases[] = {
        BROKEN("(" GLOBAL_OF("builtins", "set") "(]K\1ap1\ntRg1\nK\2", "at.", PICKLE_MALFORMED, "P6.copied",
               "APPEND on a list whose items were copied already"),
        BROKEN("(" GLOBAL_OF("builtins", "set") "(]p1\ntRg1\n(", "et.", PICKLE_MALFORMED, "P6.copied", "APPEND"),
        BROKEN("(" GLOBAL_OF("builtins", "frozenset") "(]p1\ntRg1\n(]", "et.", PICKLE_MALFORMED, "P6.copied", "APPEND"),
        BROKEN("(" GLOBAL_OF("collections", "OrderedDict") "(](K\1K\2lap1\ntRg1\n" INT("4886718345"), "at.",
               PICKLE_MALFORMED, "P6.copied", "APPEND on a list"),
        BROKEN("(" GLOBAL_OF("collections", "OrderedDict") "(}p1\ntRg1\nNN", "st.", PICKLE_MALFORMED, "P6.copied",
               "SETITEM on a dict"),
        BROKEN("(" GLOBAL_OF("collections", "Counter") "(}p1\ntRg1\n(NN", "ut.", PICKLE_MALFORMED, "P6.copied", "SETITEM"),
        BROKEN("(" GLOBAL_OF("collections", "deque") "(]p1\ntRg1\nN", "at.", PICKLE_MALFORMED, "P6.copied", "APPEND"),
    };
    OPEN_BROKEN(cases);
    static const fine_pickle fine[] = {
        /* merely referred to: CPython's pickler fills such containers later */
        FINE_PICKLE("(" GLOBAL_OF("argparse", "Namespace") ")\x81}p1\nbg1\nVx\nNst."),
        FINE_PICKLE("(](e}(u\x8f(\x90t."), /* nothing into what could take it */
        FINE_PICKLE("]p1\n" GLOBAL_OF("collections", "deque") "(]g1\natRa."),
    };
    OPEN_FINE(fine);
}

void suite_vet_globals(void) {
    RUN(the_table_is_sorted_and_finds_itself);
    RUN(near_names_are_not_found);
    RUN(unknown_names_are_forbidden_where_they_stand);
    RUN(all_forbidden_names_are_collected);
    RUN(a_long_list_of_names_is_cut);
    RUN(forbidden_names_win_over_broken_streams);
    RUN(what_the_caller_allows);
    RUN(inert_names_are_data);
    RUN(markers_are_no_values);
    RUN(calls_that_are_refused);
    RUN(constructors_are_listed);
    RUN(constructors_are_listed_by_name);
    RUN(fills_that_are_refused);
    RUN(copied_containers_are_frozen);
}
