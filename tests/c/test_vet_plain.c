/* SPDX-License-Identifier: Apache-2.0
 *
 * Calls that make plain Python values.
 */
#include "pickle_builder.h"

void suite_vet_plain(void);

#define BUILTIN(name) GLOBAL_OF("builtins", name)
#define COLLECTIONS(name) GLOBAL_OF("collections", name)
#define DATETIME(name) GLOBAL_OF("datetime", name)
#define DELTA(days, seconds, micros) CALL(DATETIME("timedelta"), INT(days) INT(seconds) INT(micros))

static void expect_bytes(const char *file, int line, const char *pickle, size_t size, uint8_t kind,
                         const char *expected, size_t expected_size) {
    ptio_error err = {0};
    opened o;
    if (open_pickle(&o, pickle, size, NULL, &err) != PTIO_OK) {
        test_fail(file, line, "%s: %s", err.check, err.message);
    } else {
        const ptio_node *root = opened_root(&o);
        if (root->kind != kind || root->a != expected_size ||
            memcmp(ptio_text(&o.c.graph, root), expected, expected_size) != 0)
            test_fail(file, line, "kind %u of %u bytes", root->kind, root->a);
    }
    opened_free(&o);
}

#define EXPECT_BYTES(pickle, kind, expected) \
    expect_bytes(__FILE__, __LINE__, LITERAL(pickle), PTIO_N_##kind, LITERAL(expected))

static void bytes_of_every_protocol(void) {
    EXPECT_BYTES(BYTES("abc") ".", BYTES, "abc");
    EXPECT_BYTES(BYTES("") ".", BYTES, "");
    EXPECT_BYTES(BYTES("\\u0000\x80\xff z") ".", BYTES, "\0\x80\xff z");
    EXPECT_BYTES(CALL(GLOBAL_OF("_codecs", "encode"), TEXT("\xe9") TEXT("latin-1")) ".", BYTES, "\xe9");
    EXPECT_BYTES(CALL(BUILTIN("bytes"), "") ".", BYTES, "");
    EXPECT_BYTES(CALL(GLOBAL_OF("__builtin__", "bytes"), "") ".", BYTES, "");
    EXPECT_BYTES(CALL(BUILTIN("bytearray"), "") ".", BYTEARRAY, "");
    EXPECT_BYTES(CALL(BUILTIN("bytearray"), "C\2ab") ".", BYTEARRAY, "ab");
    EXPECT_BYTES(CALL(BUILTIN("bytearray"), BYTES("\xff")) ".", BYTEARRAY, "\xff");
    EXPECT_BYTES(CALL(BUILTIN("bytearray"), TEXT("\xff" "a") TEXT("latin-1")) ".", BYTEARRAY, "\xff" "a");
    static const broken_pickle cases[] = {
        BROKEN(GLOBAL_OF("_codecs", "encode") "(N" TEXT("latin1") "t", "R.", PICKLE_MALFORMED, "P8.encode",
               "_codecs.encode is called with None"),
        BROKEN(GLOBAL_OF("_codecs", "encode") "(" TEXT("x") TEXT("rot13") "t", "R.", PICKLE_MALFORMED, "P8.codec",
               "a codec other than latin1"),
        BROKEN(GLOBAL_OF("_codecs", "encode") "(" TEXT("x") "Nt", "R.", PICKLE_MALFORMED, "P8.codec", "codec"),
        BROKEN(GLOBAL_OF("_codecs", "encode") "(" TEXT("x") "C\6latin1t", "R.", PICKLE_MALFORMED, "P8.codec", "codec"),
        BROKEN(GLOBAL_OF("_codecs", "encode") "(" TEXT("\\u0100") TEXT("latin1") "t", "R.", PICKLE_MALFORMED, "P8.latin1",
               "a text that is not Latin-1"),
        BROKEN(BUILTIN("bytearray") "(K\5t", "R.", PICKLE_MALFORMED, "P8.bytearray", "bytearray is called with an int"),
        BROKEN(BUILTIN("bytearray") "(" TEXT("x") TEXT("utf-8") "t", "R.", PICKLE_MALFORMED, "P8.codec", "codec"),
    };
    OPEN_BROKEN(cases);
}

static void numbers_and_ranges(void) {
    static const fine_pickle fine[] = {
        FINE_PICKLE(CALL(BUILTIN("complex"), REAL("1.5") INT("2")) "."),
        FINE_PICKLE(CALL(BUILTIN("range"), INT("5")) "."),
        FINE_PICKLE(CALL(BUILTIN("range"), INT("0") INT("5") INT("-1")) "."),
        FINE_PICKLE(CALL(GLOBAL_OF("__builtin__", "xrange"), INT("0") INT("5") INT("1")) "."),
        FINE_PICKLE(CALL(BUILTIN("range"), INT("0") INT("99999999999999999999") INT("1")) "."),
        FINE_PICKLE(CALL(BUILTIN("slice"), "N" INT("5") "N") "."),
        FINE_PICKLE(CALL(BUILTIN("slice"), TEXT("a") TENSOR REAL("1.0")) "."),
    };
    OPEN_FINE(fine);
    static const broken_pickle cases[] = {
        BROKEN(BUILTIN("complex") "(" REAL("1.5") "Nt", "R.", PICKLE_MALFORMED, "P8.complex", "complex is called with None"),
        BROKEN(BUILTIN("complex") "(" TRUE_ INT("1") "t", "R.", PICKLE_MALFORMED, "P8.complex", "a bool"),
        BROKEN(BUILTIN("range") "(" REAL("1.5") "t", "R.", PICKLE_MALFORMED, "P8.range", "range is called with a float"),
        BROKEN(BUILTIN("range") "(" INT("1") INT("2") INT("0") "t", "R.", PICKLE_MALFORMED, "P8.range-step", "a step of 0"),
        BROKEN(BUILTIN("range") "(" INT("1") INT("2") "\x8a\x09\0\0\0\0\0\0\0\0\0t", "R.", PICKLE_MALFORMED, "P8.range-step", ""),
    };
    OPEN_BROKEN(cases);
}

static void sets_and_deques(void) {
    static const fine_pickle fine[] = {
        FINE_PICKLE(CALL(BUILTIN("set"), "") "."),
        FINE_PICKLE(CALL(BUILTIN("set"), LIST(INT("1") TEXT("a"))) "."),
        FINE_PICKLE(CALL(BUILTIN("frozenset"), TUPLE(INT("1"))) "."),
        FINE_PICKLE(CALL(GLOBAL_OF("__builtin__", "set"), "](K\1K\2eK\3a") "."),
        FINE_PICKLE(CALL(COLLECTIONS("deque"), "") "NaNa."),
        FINE_PICKLE(CALL(COLLECTIONS("deque"), LIST("N") INT("5")) "(NNe."),
        FINE_PICKLE(CALL(COLLECTIONS("deque"), ")N") "."),
    };
    OPEN_FINE(fine);
    static const broken_pickle cases[] = {
        BROKEN(BUILTIN("set") "(Nt", "R.", PICKLE_MALFORMED, "P8.set", "set is called with None"),
        BROKEN(BUILTIN("frozenset") "(}t", "R.", PICKLE_MALFORMED, "P8.set", "a dict"),
        BROKEN(BUILTIN("set") "(](]et", "R.", PICKLE_MALFORMED, "P12.hashable", "a list is used as a dict key or set member"),
        BROKEN(COLLECTIONS("deque") "(}t", "R.", PICKLE_MALFORMED, "P8.deque", "deque is called with a dict"),
        BROKEN(COLLECTIONS("deque") "(]" INT("-1") "t", "R.", PICKLE_MALFORMED, "P8.maxlen", "deque is called with an int"),
        BROKEN(COLLECTIONS("deque") "(]" REAL("1.0") "t", "R.", PICKLE_MALFORMED, "P8.maxlen", "a float"),
    };
    OPEN_BROKEN(cases);
}

static void dicts_of_collections(void) {
    static const fine_pickle fine[] = {
        FINE_PICKLE(HOOKS "(" TEXT("a") "NK\1Nu."),
        FINE_PICKLE(CALL(COLLECTIONS("OrderedDict"), LIST(LIST(TEXT("a") "N") TUPLE("K\1N"))) "."),
        FINE_PICKLE(CALL(COLLECTIONS("OrderedDict"), DICT("K\1N")) "NNs."),
        FINE_PICKLE(CALL(COLLECTIONS("Counter"), DICT("K\1K\1")) "."),
        FINE_PICKLE(CALL(COLLECTIONS("Counter"), "") "K\1K\1s."),
        FINE_PICKLE(CALL(COLLECTIONS("defaultdict"), "") "."),
        FINE_PICKLE(CALL(COLLECTIONS("defaultdict"), "N") "K\1Ns."),
        FINE_PICKLE(CALL(COLLECTIONS("defaultdict"), BUILTIN("list")) "."),
        FINE_PICKLE(CALL(COLLECTIONS("defaultdict"), GLOBAL_OF("__builtin__", "unicode")) "."),
        FINE_PICKLE(CALL(COLLECTIONS("defaultdict"), BUILTIN("set")) "."),
        FINE_PICKLE(CALL(COLLECTIONS("defaultdict"), COLLECTIONS("OrderedDict")) "."),
        FINE_PICKLE(CALL(COLLECTIONS("defaultdict"), COLLECTIONS("deque")) "."),
        FINE_PICKLE(HOOKS DICT(TEXT("_metadata") HOOKS) "b."),
    };
    OPEN_FINE(fine);
    static const broken_pickle cases[] = {
        BROKEN(COLLECTIONS("OrderedDict") "(Nt", "R.", PICKLE_MALFORMED, "P8.ordered-dict", "OrderedDict is called with None"),
        BROKEN(COLLECTIONS("OrderedDict") "(" LIST("N") "t", "R.", PICKLE_MALFORMED, "P8.pair", "OrderedDict is called with None"),
        BROKEN(COLLECTIONS("OrderedDict") "(" LIST(LIST("N")) "t", "R.", PICKLE_MALFORMED, "P8.pair", "a list"),
        BROKEN(COLLECTIONS("OrderedDict") "(" LIST(TUPLE("NNN")) "t", "R.", PICKLE_MALFORMED, "P8.pair", "a tuple"),
        BROKEN(COLLECTIONS("OrderedDict") "(" LIST(TUPLE("]N")) "t", "R.", PICKLE_MALFORMED, "P12.hashable", "a list"),
        BROKEN(COLLECTIONS("Counter") "(]t", "R.", PICKLE_MALFORMED, "P8.counter", "Counter is called with a list"),
        BROKEN(COLLECTIONS("defaultdict") "(" INT("1") "t", "R.", PICKLE_MALFORMED, "P8.factory", "defaultdict is called with"),
        BROKEN(COLLECTIONS("defaultdict") "(" TORCH("FloatStorage") "t", "R.", PICKLE_MALFORMED, "P8.factory", "a class"),
        BROKEN(COLLECTIONS("defaultdict") "(" TORCH("Size") "t", "R.", PICKLE_MALFORMED, "P8.factory-kind",
               "defaultdict cannot call torch.Size"),
        BROKEN(COLLECTIONS("defaultdict") "(" BUILTIN("range") "t", "R.", PICKLE_MALFORMED, "P8.factory-kind", "builtins.range"),
    };
    OPEN_BROKEN(cases);
}

static void attributes(void) {
#define NAMESPACE GLOBAL_OF("argparse", "Namespace") ")\x81"
    static const fine_pickle fine[] = {
        FINE_PICKLE(NAMESPACE DICT(TEXT("lr") REAL("0.1") TEXT("__x__") "N") "b."),
        FINE_PICKLE(CALL(GLOBAL_OF("types", "SimpleNamespace"), "") DICT(TEXT("a") "N") "b."),
        FINE_PICKLE(CALL(GLOBAL_OF("copyreg", "_reconstructor"), GLOBAL_OF("argparse", "Namespace") BUILTIN("object") "N")
                    DICT(TEXT("a") "N") "b."),
        FINE_PICKLE(CALL(GLOBAL_OF("copy_reg", "_reconstructor"),
                         GLOBAL_OF("argparse", "Namespace") GLOBAL_OF("__builtin__", "object") "N") "."),
    };
    OPEN_FINE(fine);
    static const broken_pickle cases[] = {
        BROKEN(NAMESPACE "N", "b.", PICKLE_MALFORMED, "P6.state", "BUILD of namespace with None instead of a dict"),
        BROKEN(NAMESPACE "(N}t", "b.", PICKLE_MALFORMED, "P6.state", "a tuple"),
        BROKEN(NAMESPACE DICT("K\1N"), "b.", PICKLE_MALFORMED, "P6.attribute", "an attribute's name is an int"),
        BROKEN(HOOKS DICT(TEXT("items") "N"), "b.", PICKLE_MALFORMED, "P6.shadow", "attribute 'items' would hide"),
        BROKEN(HOOKS DICT(TEXT("__class__") "N"), "b.", PICKLE_MALFORMED, "P6.shadow", "__class__"),
        BROKEN(HOOKS DICT(TEXT("_metadata") "N" TEXT("move_to_end") "N"), "b.", PICKLE_MALFORMED, "P6.shadow", "move_to_end"),
        BROKEN(GLOBAL_OF("copyreg", "_reconstructor") "(" TORCH("Size") BUILTIN("object") "Nt", "R.", PICKLE_MALFORMED,
               "P8.reconstructor", "copyreg._reconstructor is called with a class"),
        BROKEN(GLOBAL_OF("copyreg", "_reconstructor") "(" GLOBAL_OF("argparse", "Namespace") BUILTIN("object") "]t", "R.",
               PICKLE_MALFORMED, "P8.reconstructor", "_reconstructor"),
        BROKEN(GLOBAL_OF("copyreg", "_reconstructor") "(" GLOBAL_OF("argparse", "Namespace") BUILTIN("list") "Nt", "R.",
               PICKLE_MALFORMED, "P8.reconstructor", "_reconstructor"),
        BROKEN(GLOBAL_OF("copyreg", "_reconstructor") "(" GLOBAL_OF("types", "SimpleNamespace") BUILTIN("object") "Nt", "R.",
               PICKLE_MALFORMED, "P8.reconstructor", "_reconstructor"),
        BROKEN(GLOBAL_OF("copyreg", "_reconstructor") "(N" BUILTIN("object") "Nt", "R.", PICKLE_MALFORMED, "P8.reconstructor",
               "None"),
    };
    OPEN_BROKEN(cases);
}

static void torch_s_small_values(void) {
    ptio_error err = {0};
    opened o;
    ASSERT_OK(open_pickle(&o, LITERAL(CALL(TORCH("Size"), TUPLE(INT("2") INT("3"))) "."), NULL, &err));
    ASSERT_EQUAL(opened_root(&o)->kind, PTIO_N_TUPLE);
    ASSERT_EQUAL(opened_root(&o)->count, 2);
    opened_free(&o);
    static const fine_pickle fine[] = {
        FINE_PICKLE(CALL(TORCH("Size"), "") "."),
        FINE_PICKLE(CALL(TORCH("Size"), ")") "."),
        FINE_PICKLE(CALL(TORCH("device"), TEXT("cuda:0")) "."),
        FINE_PICKLE(CALL(TORCH("device"), TEXT("cuda") INT("127")) "."),
        FINE_PICKLE(CALL(GLOBAL_OF("torch.serialization", "_get_layout"), TEXT("torch.strided")) "."),
        FINE_PICKLE(TORCH("float32") "."),
        FINE_PICKLE(TORCH("per_tensor_affine") "."),
    };
    OPEN_FINE(fine);
    static const broken_pickle cases[] = {
        BROKEN(TORCH("Size") "(]t", "R.", PICKLE_MALFORMED, "P8.size", "torch.Size is called with a list"),
        BROKEN(TORCH("Size") "((" TRUE_ "tt", "R.", PICKLE_MALFORMED, "P8.size-int", "torch.Size is called with a bool"),
        BROKEN(TORCH("device") "(Nt", "R.", PICKLE_MALFORMED, "P8.device-name", "torch.device is called with None"),
        BROKEN(TORCH("device") "(" TEXT("cuda") INT("128") "t", "R.", PICKLE_MALFORMED, "P8.device-index", "an int"),
        BROKEN(TORCH("device") "(" TEXT("cuda") "Nt", "R.", PICKLE_MALFORMED, "P8.device-index", "None"),
    };
    OPEN_BROKEN(cases);
}

static void paths(void) {
    static const fine_pickle fine[] = {
        FINE_PICKLE(CALL(GLOBAL_OF("pathlib", "PosixPath"), TEXT("/") TEXT("a")) "."),
        FINE_PICKLE(CALL(GLOBAL_OF("pathlib._local", "PureWindowsPath"), "") "."),
    };
    OPEN_FINE(fine);
    static const broken_pickle cases[] = {
        BROKEN(GLOBAL_OF("pathlib", "PosixPath") "(" TEXT("a") "C\1bt", "R.", PICKLE_MALFORMED, "P8.path",
               "a path is called with bytes"),
    };
    OPEN_BROKEN(cases);
}

/* A time in a zone that somebody else makes is made by them, too. */
static void zones_of_unknown_classes(void) {
    ptio_checkpoint_options options = default_options();
    options.inert = true;
    static const fine_pickle cases[] = {
        FINE_PICKLE(CALL(DATETIME("datetime"), "C\12\x07\xe8\x02\x1d\0\0\0\0\0\0" CALL(UNKNOWN, "")) "."),
        FINE_PICKLE(CALL(DATETIME("time"), "C\6\0\0\0\0\0\0" OPAQUE) "."),
    };
    for (const fine_pickle *f = cases; f < cases + COUNT_OF(cases); f++) {
        ptio_error err = {0};
        opened o;
        ASSERT_OK(open_pickle(&o, f->pickle, f->size, &options, &err));
        ASSERT_EQUAL(opened_root(&o)->kind, PTIO_N_OPAQUE_CALL);
        opened_free(&o);
    }
}

/* --- dates and times -------------------------------------------------------------------------- */

#define DATE_OF(bytes) DATETIME("date") "(C\4" bytes "t"
#define TIME_OF(bytes) DATETIME("time") "(C\6" bytes "t"
#define MOMENT_OF(bytes) DATETIME("datetime") "(C\12" bytes "t"

static void dates_that_exist(void) {
    static const fine_pickle fine[] = {
        FINE_PICKLE(DATE_OF("\x00\x01\x01\x01") "R."), /* year 1 */
        FINE_PICKLE(DATE_OF("\x27\x0f\x0c\x1f") "R."), /* 9999-12-31 */
        FINE_PICKLE(DATE_OF("\x07\xe8\x02\x1d") "R."), /* 2024-02-29 */
        FINE_PICKLE(DATE_OF("\x07\xd0\x02\x1d") "R."), /* 2000-02-29 */
        FINE_PICKLE(TIME_OF("\x17\x3b\x3b\x0f\x42\x3f") "R."), /* 23:59:59.999999 */
        FINE_PICKLE(TIME_OF("\x97\x3b\x3b\x0f\x42\x3f") "R."), /* with fold */
        FINE_PICKLE(MOMENT_OF("\x07\xe8\x02\x1d\x17\x3b\x3b\x0f\x42\x3f") "R."),
        FINE_PICKLE(MOMENT_OF("\x07\xe8\x82\x1d\x00\x00\x00\x00\x00\x00") "R."), /* with fold */
        FINE_PICKLE(CALL(DATETIME("date"), "U\4\x07\xe8\x02\x1d") "."), /* Python 2 */
        FINE_PICKLE(CALL(DATETIME("time"), "C\6\0\0\0\0\0\0N") "."),
        FINE_PICKLE(CALL(DATETIME("datetime"), "C\12\x07\xe8\x02\x1d\0\0\0\0\0\0" CALL(DATETIME("timezone"), DELTA("0", "0", "0"))) "."),
        FINE_PICKLE(CALL(DATETIME("date"), BYTES("\x07\xe8\x02\x1d")) "."),
    };
    OPEN_FINE(fine);
}

static void dates_that_do_not_exist(void) {
    static const broken_pickle cases[] = {
        BROKEN(DATE_OF("\x00\x00\x01\x01"), "R.", PICKLE_MALFORMED, "P8.date", "date is called with bytes"), /* year 0 */
        BROKEN(DATE_OF("\x27\x10\x01\x01"), "R.", PICKLE_MALFORMED, "P8.date", "date"), /* 10000 */
        BROKEN(DATE_OF("\x07\xe7\x02\x1d"), "R.", PICKLE_MALFORMED, "P8.date", "date"), /* 2023-02-29 */
        BROKEN(DATE_OF("\x07\x6c\x02\x1d"), "R.", PICKLE_MALFORMED, "P8.date", "date"), /* 1900-02-29 */
        BROKEN(DATE_OF("\x07\xe8\x04\x1f"), "R.", PICKLE_MALFORMED, "P8.date", "date"), /* April 31 */
        BROKEN(DATE_OF("\x07\xe8\x00\x01"), "R.", PICKLE_MALFORMED, "P8.date", "date"),
        BROKEN(DATE_OF("\x07\xe8\x0d\x01"), "R.", PICKLE_MALFORMED, "P8.date", "date"),
        BROKEN(DATE_OF("\x07\xe8\x01\x00"), "R.", PICKLE_MALFORMED, "P8.date", "date"),
        BROKEN(DATE_OF("\x07\xe8\x82\x1d"), "R.", PICKLE_MALFORMED, "P8.date", "date"), /* a date has no fold */
        BROKEN(DATETIME("date") "(C\3\x07\xe8\x02t", "R.", PICKLE_MALFORMED, "P8.date", "date"),
        BROKEN(DATETIME("date") "(" INT("2024") "t", "R.", PICKLE_MALFORMED, "P8.date", "an int"),
        BROKEN(DATETIME("time") "(Nt", "R.", PICKLE_MALFORMED, "P8.time", "time is called with None"),
        BROKEN(DATETIME("datetime") "(Nt", "R.", PICKLE_MALFORMED, "P8.datetime", "datetime is called with None"),
        BROKEN(TIME_OF("\x18\x00\x00\x00\x00\x00"), "R.", PICKLE_MALFORMED, "P8.time", "time is called with bytes"),
        BROKEN(TIME_OF("\x00\x3c\x00\x00\x00\x00"), "R.", PICKLE_MALFORMED, "P8.time", "time"),
        BROKEN(TIME_OF("\x00\x00\x3c\x00\x00\x00"), "R.", PICKLE_MALFORMED, "P8.time", "time"),
        BROKEN(TIME_OF("\x00\x00\x00\x0f\x42\x40"), "R.", PICKLE_MALFORMED, "P8.time", "time"),
        BROKEN(MOMENT_OF("\x07\xe7\x02\x1d\0\0\0\0\0\0"), "R.", PICKLE_MALFORMED, "P8.datetime", "datetime is called with"),
        BROKEN(MOMENT_OF("\x07\xe8\x02\x1d\x18\0\0\0\0\0"), "R.", PICKLE_MALFORMED, "P8.datetime", "datetime"),
        BROKEN(MOMENT_OF("\x07\xe8\x02\x1d\x97\0\0\0\0\0"), "R.", PICKLE_MALFORMED, "P8.datetime", "datetime"),
        BROKEN(DATETIME("time") "(C\6\0\0\0\0\0\0K\1t", "R.", PICKLE_MALFORMED, "P8.zone", "its zone is called with an int"),
    };
    OPEN_BROKEN(cases);
}

static void offsets_from_utc(void) {
    static const fine_pickle fine[] = {
        FINE_PICKLE(DELTA("-999999999", "0", "0") "."),
        FINE_PICKLE(DELTA("999999999", "86399", "999999") "."),
        FINE_PICKLE(CALL(DATETIME("timezone"), DELTA("0", "86399", "999999")) "."),
        FINE_PICKLE(CALL(DATETIME("timezone"), DELTA("-1", "0", "1")) "."),
        FINE_PICKLE(CALL(DATETIME("timezone"), DELTA("-1", "86399", "0") TEXT("name")) "."),
    };
    OPEN_FINE(fine);
#define ZONE_OF(delta) DATETIME("timezone") "(" delta "t"
    static const broken_pickle cases[] = {
        BROKEN(DATETIME("timedelta") "(" INT("1000000000") INT("0") INT("0") "t", "R.", PICKLE_MALFORMED, "P8.timedelta", "an int"),
        BROKEN(DATETIME("timedelta") "(" INT("0") INT("86400") INT("0") "t", "R.", PICKLE_MALFORMED, "P8.timedelta", "timedelta"),
        BROKEN(DATETIME("timedelta") "(" INT("0") INT("-1") INT("0") "t", "R.", PICKLE_MALFORMED, "P8.timedelta", "timedelta"),
        BROKEN(DATETIME("timedelta") "(" INT("0") INT("0") INT("1000000") "t", "R.", PICKLE_MALFORMED, "P8.timedelta", ""),
        BROKEN(DATETIME("timedelta") "(" REAL("0.5") INT("0") INT("0") "t", "R.", PICKLE_MALFORMED, "P8.timedelta", "a float"),
        BROKEN(ZONE_OF("N"), "R.", PICKLE_MALFORMED, "P8.timezone", "timezone is called with None"),
        BROKEN(ZONE_OF(DELTA("1", "0", "0")), "R.", PICKLE_MALFORMED, "P8.timezone-range", "a day or more away"),
        BROKEN(ZONE_OF(DELTA("-1", "0", "0")), "R.", PICKLE_MALFORMED, "P8.timezone-range", "a day or more away"),
        BROKEN(ZONE_OF(DELTA("-2", "86399", "0")), "R.", PICKLE_MALFORMED, "P8.timezone-range", "a day or more away"),
        BROKEN(DATETIME("timezone") "(" DELTA("0", "0", "0") "Nt", "R.", PICKLE_MALFORMED, "P8.timezone-name", "None"),
    };
    OPEN_BROKEN(cases);
}

void suite_vet_plain(void) {
    RUN(bytes_of_every_protocol);
    RUN(numbers_and_ranges);
    RUN(sets_and_deques);
    RUN(dicts_of_collections);
    RUN(attributes);
    RUN(torch_s_small_values);
    RUN(paths);
    RUN(dates_that_exist);
    RUN(dates_that_do_not_exist);
    RUN(offsets_from_utc);
    RUN(zones_of_unknown_classes);
}
