/* SPDX-License-Identifier: Apache-2.0
 *
 * Dict keys and set members: what may be one, and that no file makes hashing quadratic.
 */
#include "pickle_builder.h"

void suite_vet_keys(void);

#define BUILTIN(name) GLOBAL_OF("builtins", name)

static void values_that_may_be_keys(void) {
    static const fine_pickle fine[] = {
        FINE_PICKLE("}(NN" TRUE_ "N" INT("1") "N" REAL("1.5") "N" TEXT("a") "NC\1bN" PY2("c") "Nu."),
        FINE_PICKLE("}(" INT("99999999999999999999") "N\x8a\x09\0\0\0\0\0\0\0\0\1Nu."),
        FINE_PICKLE("}(" TORCH("float32") "N" TORCH("per_tensor_affine") "Nu."),
        FINE_PICKLE("}(" CALL(TORCH("device"), TEXT("cpu")) "N" CALL(TORCH("device"), TEXT("cuda") INT("1")) "Nu."),
        FINE_PICKLE("}(" CALL(TORCH("Size"), TUPLE(INT("1"))) "N" TUPLE(TEXT("a") TUPLE("N")) "N)Nu."),
        FINE_PICKLE("}((K\1\x91N" CALL(BUILTIN("frozenset"), TUPLE(INT("1"))) "Nu."),
        FINE_PICKLE("\x8f(" CALL(BUILTIN("complex"), INT("1") INT("2")) CALL(BUILTIN("range"), INT("3")) "\x90."),
        FINE_PICKLE("\x8f(" CALL(GLOBAL_OF("pathlib", "PosixPath"), TEXT("a")) CALL(GLOBAL_OF("datetime", "date"), "C\4\x07\xe8\1\1") "\x90."),
        FINE_PICKLE("\x8f(" CALL(GLOBAL_OF("datetime", "datetime"), "C\12\x07\xe8\1\1\0\0\0\0\0\0")
                    CALL(GLOBAL_OF("datetime", "time"), "C\6\0\0\0\0\0\0") "\x90."),
        FINE_PICKLE("(" TUPLE("K\1K\2") "\x91."),
    };
    OPEN_FINE(fine);
    static const fine_pickle inert[] = {
        FINE_PICKLE("}" UNKNOWN "Ns."),
        FINE_PICKLE("}" OPAQUE "Ns."),
        FINE_PICKLE("}" TUPLE(OPAQUE "K\1") "Ns."),
        FINE_PICKLE(OPAQUE "K\1]s(NK\2\x90(N]e."),
    };
    OPEN_FINE_INERT(inert);
}

static void values_that_may_not(void) {
    static const broken_pickle cases[] = {
        BROKEN("}]N", "s.", PICKLE_MALFORMED, "P12.hashable", "a list is used as a dict key or set member"),
        BROKEN("}(NN}N", "u.", PICKLE_MALFORMED, "P12.hashable", "a dict"),
        BROKEN("\x8f(\x8f", "\x90.", PICKLE_MALFORMED, "P12.hashable", "a set"),
        BROKEN("(]", "\x91.", PICKLE_MALFORMED, "P12.hashable", "a list"),
        BROKEN("}" TUPLE("N" TUPLE("]")) "N", "s.", PICKLE_MALFORMED, "P12.hashable", "a list"),
        BROKEN("}\x96\0\0\0\0\0\0\0\0N", "s.", PICKLE_MALFORMED, "P12.hashable", "a bytearray"),
        BROKEN("}" TENSOR "N", "s.", PICKLE_MALFORMED, "P12.hashable", "a tensor"),
        BROKEN("}" FLOATS "N", "s.", PICKLE_MALFORMED, "P12.hashable", "a storage"),
        BROKEN("}" HOOKS "N", "s.", PICKLE_MALFORMED, "P12.hashable", "ordered_dict"),
        BROKEN("}" CALL(BUILTIN("set"), "") "N", "s.", PICKLE_MALFORMED, "P12.hashable", "set"),
        BROKEN("}" CALL(BUILTIN("slice"), "N") "N", "s.", PICKLE_MALFORMED, "P12.hashable", "slice"),
        BROKEN(HOOKS "]N", "s.", PICKLE_MALFORMED, "P12.hashable", "a list"),
        BROKEN("}q\0h\0N", "s.", PICKLE_MALFORMED, "P12.hashable", "a dict"),
    };
    OPEN_BROKEN(cases);
    static const broken_pickle inert[] = {
        BROKEN(OPAQUE "]N", "s.", PICKLE_MALFORMED, "P12.hashable", "a list"),
    };
    OPEN_BROKEN_INERT(inert);
}

static void tuples_nest_to_depth_8(void) {
    for (unsigned depth = 8; depth <= 10; depth++) {
        pickle_buffer p = {0};
        ptio_error err = {0};
        opened o;
        ADD(&p, "}N");
        ADD_TIMES(&p, "\x85", depth);
        ADD(&p, "N");
        size_t at = p.size;
        ADD(&p, "s.");
        ptio_status status = open_pickle(&o, p.bytes, p.size, NULL, &err);
        if (depth <= 8) ASSERT_TRUE(status == PTIO_OK);
        else ASSERT_FAILS(status, LIMIT, "P12.depth", "a key nests tuples deeper than 8", at);
        opened_free(&o);
        pickle_free(&p);
    }
}

/* --- Python's hashes, seen through a budget of no collision at all ---------------------------- */

static bool collide(const char *file, int line, const char *a, size_t a_size, const char *b, size_t b_size) {
    pickle_buffer p = {0};
    ptio_error err = {0};
    opened o;
    ptio_checkpoint_options options = default_options();
    options.limits.hash_work = 0;
    ADD(&p, "}(");
    pickle_add(&p, a, a_size);
    ADD(&p, "N");
    pickle_add(&p, b, b_size);
    ADD(&p, "Nu.");
    ptio_status status = open_pickle(&o, p.bytes, p.size, &options, &err);
    if (status != PTIO_OK) test_error(file, line, status, &err, PTIO_E_LIMIT, "P12.work", "more than 0 comparisons", PTIO_NO_OFFSET);
    opened_free(&o);
    pickle_free(&p);
    return status != PTIO_OK;
}

#define COLLIDE(a, b) ASSERT_TRUE(collide(__FILE__, __LINE__, LITERAL(a), LITERAL(b)))
#define DIFFER(a, b) ASSERT_TRUE(!collide(__FILE__, __LINE__, LITERAL(a), LITERAL(b)))

/* The ints beside them have the same hash() in CPython. */
static void hashes_of_numbers(void) {
    COLLIDE(INT("5"), REAL("5.0"));
    COLLIDE(INT("0"), FALSE_);
    COLLIDE(INT("1"), TRUE_);
    COLLIDE(INT("-1"), INT("-2"));
    COLLIDE(REAL("-1.0"), INT("-2"));
    COLLIDE(INT("0"), INT("2305843009213693951"));
    COLLIDE(INT("1"), INT("2305843009213693952"));
    COLLIDE(INT("-3"), INT("-2305843009213693954"));
    COLLIDE(REAL("0.5"), INT("1152921504606846976"));
    COLLIDE(REAL("1.5"), INT("1152921504606846977"));
    COLLIDE(REAL("-0.5"), INT("-1152921504606846976"));
    COLLIDE(REAL("0.1"), INT("230584300921369408"));
    COLLIDE(REAL("3.141592653589793"), INT("326490430436040707"));
    COLLIDE(REAL("1e+300"), INT("1224995262755759164"));
    COLLIDE(REAL("5e-324"), INT("16777216"));
    COLLIDE(REAL("1.7976931348623157e+308"), INT("2234066890152476671"));
    COLLIDE(REAL("2305843009213693952.0"), INT("1"));
    COLLIDE(REAL("inf"), INT("314159"));
    COLLIDE(REAL("-inf"), INT("-314159"));
    COLLIDE(REAL("nan"), REAL("nan"));
    COLLIDE(REAL("-0.0"), INT("0"));
    DIFFER(INT("1"), INT("2"));
    DIFFER(INT("1"), INT("-1"));
    DIFFER(REAL("0.5"), REAL("0.25"));
    DIFFER(INT("2305843009213693950"), INT("2305843009213693951"));
}

static void hashes_of_large_ints(void) {
    COLLIDE("\x8a\x09\xff\xff\xff\xff\xff\xff\xff\xff\x00", INT("7"));             /* 2**64 - 1 */
    COLLIDE("\x8a\x09\0\0\0\0\0\0\0\x80\0", INT("4"));                             /* 2**63 */
    COLLIDE("\x8a\x09\0\0\0\0\0\0\0\x80\xff", INT("-4"));                          /* -2**63, in nine bytes */
    COLLIDE("\x8a\x0d\0\0\0\0\0\0\0\0\0\0\0\0\x10", INT("549755813888"));          /* 2**100 */
    COLLIDE("\x8a\x0d\0\0\0\0\0\0\0\0\0\0\0\0\xf0", INT("-549755813888"));         /* -2**100 */
    COLLIDE("\x8a\x0d\0\0\0\x40\xea\xed\x74\x46\xd0\x9c\x2c\x9f\x0c", INT("465258685558744706"));  /* 10**30 */
    COLLIDE("\x8a\x0d\0\0\0\xc0\x15\x12\x8b\xb9\x2f\x63\xd3\x60\xf3", INT("-465258685558744706"));
    COLLIDE(INT("1000000000000000000000000000000"), INT("465258685558744706"));
    COLLIDE(INT("-1000000000000000000000000000000"), INT("-465258685558744706"));
    COLLIDE(INT("18446744073709551615"), "\x8a\x09\xff\xff\xff\xff\xff\xff\xff\xff\x00");
    COLLIDE(INT("-9223372036854775808"), INT("-4"));
    DIFFER("\x8a\x09\0\0\0\0\0\0\0\0\1", "\x8a\x09\0\0\0\0\0\0\0\0\2");
}

static void hashes_of_tuples(void) {
    COLLIDE(TUPLE(INT("-1")), TUPLE(INT("-2")));
    COLLIDE(TUPLE(INT("-1") INT("-2")), TUPLE(INT("-2") INT("-1")));
    COLLIDE(TUPLE(TUPLE(INT("0"))), TUPLE(TUPLE(INT("2305843009213693951"))));
    COLLIDE(TUPLE(REAL("1.0")), TUPLE(TRUE_));
    COLLIDE(")", ")");
    DIFFER(TUPLE(INT("1") INT("2")), TUPLE(INT("2") INT("1")));
    DIFFER(TUPLE(INT("1")), INT("1"));
    DIFFER(")", "(Nt");
}

/* Python keys the hashes of text by itself. */
static void hashes_of_text_are_not_the_file_s(void) {
    DIFFER(TEXT("a"), TEXT("b"));
    DIFFER(TEXT("a"), "C\1" "a");
    DIFFER("K\1", TEXT("a"));
    COLLIDE("K\1", "K\1");
    DIFFER(TUPLE(TEXT("a")), TUPLE(TEXT("b")));
    /* what is not computed counts as if it collided */
    COLLIDE(CALL(BUILTIN("complex"), INT("1") INT("2")), CALL(BUILTIN("complex"), INT("3") INT("4")));
}

/* --- the budget over many keys ------------------------------------------------------------------ */

static ptio_status open_keys(const char *before, unsigned count, int64_t step, const char *between, const char *after,
                             ptio_error *err) {
    pickle_buffer p = {0};
    opened o;
    pickle_add(&p, before, strlen(before));
    for (unsigned i = 0; i < count; i++) {
        char text[64];
        pickle_add(&p, text, (size_t)snprintf(text, sizeof text, "I%lld\n", (long long)(i * step)));
        pickle_add(&p, between, strlen(between));
    }
    pickle_add(&p, after, strlen(after));
    ptio_status status = open_pickle(&o, p.bytes, p.size, NULL, err);
    opened_free(&o);
    pickle_free(&p);
    return status;
}

#define WRAP ((INT64_C(1) << 61) - 1)

static void collisions_have_a_budget(void) {
    ptio_error err = {0};
    ASSERT_OK(open_keys("}(", 20000, 1, "N", "u.", &err));
    ASSERT_OK(open_keys("}(", 20000, -1, "N", "u.", &err));
    ASSERT_OK(open_keys("}(", 4, WRAP, "N", "u.", &err));
    ASSERT_OK(open_keys("}(", 1414, 0, "N", "u.", &err)); /* 999,591 pairs */
    ASSERT_FAILS(open_keys("}(", 1415, 0, "N", "u.", &err), LIMIT, "P12.work",
                 "more than 1000000 comparisons (limit hash_work)", PTIO_NO_OFFSET);
    ASSERT_FAILS(open_keys("\x8f(", 1415, 0, "", "\x90.", &err), LIMIT, "P12.work", "comparisons", PTIO_NO_OFFSET);
    ASSERT_FAILS(open_keys("(", 1415, 0, "", "\x91.", &err), LIMIT, "P12.work", "comparisons", PTIO_NO_OFFSET);
    ASSERT_FAILS(open_keys("c__builtin__\nset\n((", 1415, 0, "", "ltR.", &err), LIMIT, "P12.work", "", PTIO_NO_OFFSET);
    ASSERT_FAILS(open_keys("c__builtin__\nfrozenset\n((", 1415, 0, "", "ttR.", &err), LIMIT, "P12.work", "", PTIO_NO_OFFSET);
    ASSERT_FAILS(open_keys("ccollections\nOrderedDict\n((", 1415, 0, "N\x86", "ltR.", &err), LIMIT, "P12.work", "", PTIO_NO_OFFSET);
    ASSERT_FAILS(open_keys("ccollections\nOrderedDict\n)R(", 1415, 0, "N", "u.", &err), LIMIT, "P12.work", "", PTIO_NO_OFFSET);
}

/* Their hashes are keyed like those of bytes; with a zone they are hashes of numbers. */
static void moments_collide_only_with_a_zone(void) {
    static const char moment[] = "cdatetime\ndatetime\n(C\12\x07\xe8\1\1\0\0\0\0\0";
    static const char zone[] = "cdatetime\ntimezone\n(cdatetime\ntimedelta\n(I0\nI0\nI0\ntRtR";
    for (int zoned = 0; zoned < 2; zoned++) {
        pickle_buffer p = {0};
        ptio_error err = {0};
        opened o;
        ADD(&p, "\x8f(");
        for (unsigned i = 0; i < 1500; i++) {
            const uint8_t micro = (uint8_t)i;
            pickle_add(&p, moment, sizeof moment - 1);
            pickle_add(&p, &micro, 1);
            if (zoned) pickle_add(&p, zone, sizeof zone - 1);
            ADD(&p, "tR");
        }
        ADD(&p, "\x90.");
        ASSERT_EQUAL(open_pickle(&o, p.bytes, p.size, NULL, &err), zoned ? PTIO_E_LIMIT : PTIO_OK);
        if (zoned) ASSERT_TEXT(err.check, "P12.work");
        opened_free(&o);
        pickle_free(&p);
    }
}

/* Products of -1 and -2 hash alike: 4096 keys are 8 million pairs. */
static void tuples_of_minus_one_and_two(void) {
    pickle_buffer p = {0};
    ptio_error err = {0};
    opened o;
    ADD(&p, "}(");
    for (unsigned i = 0; i < 4096; i++) {
        ADD(&p, "(");
        for (unsigned bit = 0; bit < 12; bit++) pickle_add(&p, i >> bit & 1 ? "I-1\n" : "I-2\n", 4);
        ADD(&p, "tN");
    }
    ADD(&p, "u.");
    ASSERT_FAILS(open_pickle(&o, p.bytes, p.size, NULL, &err), LIMIT, "P12.work", "comparisons", PTIO_NO_OFFSET);
    opened_free(&o);
    pickle_free(&p);
}

/* The sum over all containers: each alone would do. */
static void the_budget_is_for_the_whole_load(void) {
    pickle_buffer p = {0};
    ptio_error err = {0};
    opened o;
    ADD(&p, "(");
    for (int dict = 0; dict < 3; dict++) {
        ADD(&p, "}(");
        ADD_TIMES(&p, "Fnan\nN", 1000);
        ADD(&p, "u");
    }
    ADD(&p, "t.");
    ASSERT_FAILS(open_pickle(&o, p.bytes, p.size, NULL, &err), LIMIT, "P12.work", "comparisons", PTIO_NO_OFFSET);
    opened_free(&o);
    pickle_free(&p);
}

/* A large tuple as the key of many dicts would be hashed over and over. */
static void key_parts_have_a_budget(void) {
    pickle_buffer p = {0};
    ptio_error err = {0};
    opened o;
    ADD(&p, "((");
    ADD_TIMES(&p, "N", 100000);
    ADD(&p, "tq\1");
    ADD_TIMES(&p, "}h\1Ns", 40);
    ADD(&p, "t.");
    ASSERT_TRUE(open_pickle(&o, p.bytes, p.size, NULL, &err) == PTIO_E_LIMIT);
    ASSERT_TEXT(err.check, "P12.parts");
    ASSERT_CONTAINS(err.message, "too often to be hashed");
    ASSERT_TRUE(err.offset > 100000 && p.bytes[err.offset] == 's');
    opened_free(&o);
    pickle_free(&p);
}

/* Values are no keys: the budget never looks at what stands behind an unknown object's keys. */
static void values_of_unknown_objects_are_not_hashed(void) {
    pickle_buffer p = {0};
    ptio_error err = {0};
    opened o;
    ptio_checkpoint_options options = default_options();
    options.inert = true;
    ADD(&p, OPAQUE "(");
    for (int i = 0; i < 2000; i++) {
        char text[32];
        pickle_add(&p, text, (size_t)snprintf(text, sizeof text, "I%d\n]", i));
    }
    ADD(&p, "u.");
    ASSERT_OK(open_pickle(&o, p.bytes, p.size, &options, &err));
    opened_free(&o);
    p.size = 0;
    ADD(&p, OPAQUE "K\1)");
    ADD_TIMES(&p, "\x85", 1000000);
    ADD(&p, "s.");
    ASSERT_TRUE(open_pickle(&o, p.bytes, p.size, &options, &err) == PTIO_E_LIMIT);
    ASSERT_TEXT(err.check, "P13.depth");
    opened_free(&o);
    pickle_free(&p);
}

void suite_vet_keys(void) {
    RUN(values_that_may_be_keys);
    RUN(values_that_may_not);
    RUN(tuples_nest_to_depth_8);
    RUN(hashes_of_numbers);
    RUN(hashes_of_large_ints);
    RUN(hashes_of_tuples);
    RUN(hashes_of_text_are_not_the_file_s);
    RUN(collisions_have_a_budget);
    RUN(moments_collide_only_with_a_zone);
    RUN(tuples_of_minus_one_and_two);
    RUN(the_budget_is_for_the_whole_load);
    RUN(key_parts_have_a_budget);
    RUN(values_of_unknown_objects_are_not_hashed);
}
