/* SPDX-License-Identifier: Apache-2.0
 *
 * Pickled NumPy values: NumPy believes what a pickle says, so all of it is proven.
 */
#include "pickle_builder.h"

void suite_vet_numpy(void);

#define DTYPE(type) CALL(GLOBAL_OF("numpy", "dtype"), TEXT(type) FALSE_ TRUE_)
/* (version, order, sub-array, names, fields, size, alignment, flags) */
#define STATE(version, order, subarray, names, fields, size, alignment, flags) \
    TUPLE(INT(version) order subarray names fields INT(size) INT(alignment) INT(flags))
#define PLAIN_STATE(order) STATE("3", TEXT(order), "N", "N", "N", "-1", "-1", "0")
#define FLEXIBLE_STATE(order, size, alignment, flags) STATE("3", TEXT(order), "N", "N", "N", size, alignment, flags)
#define F4 DTYPE("f4") PLAIN_STATE("<") "b"
#define F8 DTYPE("f8") PLAIN_STATE("<") "b"
#define OBJECT DTYPE("O8") STATE("3", TEXT("|"), "N", "N", "N", "-1", "-1", "63") "b"
#define FIELD(type, offset) TUPLE(type INT(offset))
#define RECORD(size, names, fields, alignment, flags) \
    DTYPE("V" size) STATE("3", TEXT("|"), "N", names, fields, size, alignment, flags)
#define EMPTY_ARRAY CALL(GLOBAL_OF("numpy.core.multiarray", "_reconstruct"), GLOBAL_OF("numpy", "ndarray") TUPLE(INT("0")) "C\1b")
#define ARRAY(dtype, shape, data) EMPTY_ARRAY TUPLE(INT("1") TUPLE(shape) dtype FALSE_ data)
#define SCALAR(dtype, data) GLOBAL_OF("numpy.core.multiarray", "scalar") "(" dtype data "t"
#define UNIT(name, count) TUPLE("N" TUPLE(name INT(count) INT("1") INT("1")))
#define DATED(type, version, unit) \
    DTYPE(type) TUPLE(INT(version) TEXT("<") "NNN" INT("-1") INT("-1") INT("0") unit)

static void dtypes_that_numpy_writes(void) {
    static const fine_pickle fine[] = {
        FINE_PICKLE(F4 "."), FINE_PICKLE(F8 "."), FINE_PICKLE(OBJECT "."),
        FINE_PICKLE(DTYPE("b1") PLAIN_STATE("|") "b."), FINE_PICKLE(DTYPE("i1") PLAIN_STATE("|") "b."),
        FINE_PICKLE(DTYPE("u8") PLAIN_STATE(">") "b."), FINE_PICKLE(DTYPE("f2") PLAIN_STATE("=") "b."),
        FINE_PICKLE(DTYPE("f16") PLAIN_STATE("<") "b."), FINE_PICKLE(DTYPE("c16") PLAIN_STATE("<") "b."),
        FINE_PICKLE(DTYPE("c32") "."),
        FINE_PICKLE(DTYPE("S10") FLEXIBLE_STATE("|", "10", "1", "0") "b."),
        FINE_PICKLE(DTYPE("U3") FLEXIBLE_STATE("<", "12", "4", "8") "b."),
        FINE_PICKLE(DTYPE("V16") FLEXIBLE_STATE("|", "16", "1", "0") "b."),
        FINE_PICKLE(DATED("M8", "4", UNIT("C\2ns", "1")) "b."),
        FINE_PICKLE(DATED("m8", "4", UNIT("C\2us", "25")) "b."),
        FINE_PICKLE(DATED("M8", "4", UNIT("C\7generic", "1")) "b."),
        FINE_PICKLE(DATED("M8", "4", TUPLE("}" TUPLE("C\1D" INT("1") INT("1") INT("1")))) "b."),
        FINE_PICKLE(CALL(GLOBAL_OF("numpy", "dtype"), PY2("f8") INT("0") INT("1")) TUPLE(INT("3") PY2("<") "NNN"
                    INT("-1") INT("-1") INT("0")) "b."), /* Python 2 */
        /* structured */
        FINE_PICKLE(RECORD("12", TUPLE(TEXT("a") TEXT("b")), DICT(TEXT("a") FIELD(F4, "0") TEXT("b") FIELD(F8, "4")), "1", "16") "b."),
        FINE_PICKLE(RECORD("16", TUPLE(TEXT("a") TEXT("b")), DICT(TEXT("b") FIELD(F8, "8") TEXT("a") FIELD(F4, "0")), "8", "144") "b."),
        FINE_PICKLE(RECORD("16", TUPLE(TEXT("a") TEXT("b")), DICT(TEXT("b") FIELD(F8, "8") TEXT("a") FIELD(F4, "0")), "8", "-112") "b."),
        FINE_PICKLE(RECORD("8", TUPLE(TEXT("x")), DICT(TEXT("x") FIELD(RECORD("8", TUPLE(TEXT("a")),
                    DICT(TEXT("a") FIELD(F4, "4")), "1", "16") "b", "0")), "1", "16") "b."),
        FINE_PICKLE(RECORD("12", TUPLE(TEXT("x")), DICT(TEXT("x") FIELD(DTYPE("V12") TUPLE(INT("3") TEXT("|")
                    TUPLE(F4 TUPLE(INT("3"))) "NN" INT("12") INT("4") INT("0")) "b", "0")), "1", "16") "b."),
    };
    OPEN_FINE(fine);
}

static void dtypes_of_other_names(void) {
#define SPEC(arguments) GLOBAL_OF("numpy", "dtype") "(" arguments "t"
    static const broken_pickle cases[] = {
        BROKEN(SPEC("N" FALSE_ TRUE_), "R.", VALUE_UNSUPPORTED, "P8.numpy-spec", "a NumPy dtype made from None"),
        BROKEN(SPEC(TEXT("f3") FALSE_ TRUE_), "R.", VALUE_UNSUPPORTED, "P8.numpy-type", "NumPy dtype 'f3' is not known"),
        BROKEN(SPEC(TEXT("") FALSE_ TRUE_), "R.", VALUE_UNSUPPORTED, "P8.numpy-type", "''"),
        BROKEN(SPEC(TEXT("<f4") FALSE_ TRUE_), "R.", VALUE_UNSUPPORTED, "P8.numpy-type", "<f4"),
        BROKEN(SPEC(TEXT("f4,f4") FALSE_ TRUE_), "R.", VALUE_UNSUPPORTED, "P8.numpy-type", "f4,f4"),
        BROKEN(SPEC(TEXT("S1234567890") FALSE_ TRUE_), "R.", VALUE_UNSUPPORTED, "P8.numpy-type", "S1234567890"),
        BROKEN(SPEC(TEXT("S") FALSE_ TRUE_), "R.", VALUE_UNSUPPORTED, "P8.numpy-type", "'S'"),
        BROKEN(SPEC(TEXT("O2") FALSE_ TRUE_), "R.", VALUE_UNSUPPORTED, "P8.numpy-type", "O2"),
        BROKEN(SPEC(TEXT("f4") TRUE_ TRUE_), "R.", PICKLE_MALFORMED, "P8.numpy-copy", "arguments that NumPy never writes"),
        BROKEN(SPEC(TEXT("f4") FALSE_ "N"), "R.", PICKLE_MALFORMED, "P8.numpy-copy", "never writes"),
    };
    OPEN_BROKEN(cases);
}

static void states_of_dtypes(void) {
    static const broken_pickle cases[] = {
        BROKEN(F4 PLAIN_STATE("<"), "b.", PICKLE_MALFORMED, "P8.numpy-late", "changes after it was used"),
        BROKEN("(" DTYPE("f4") "p1\n" ARRAY("g1\n", INT("1"), "C\4abcd") "bg1\n" PLAIN_STATE(">"), "bt.", PICKLE_MALFORMED,
               "P8.numpy-late", "changes after it was used"),
        BROKEN(DTYPE("f4") "N", "b.", PICKLE_MALFORMED, "P8.numpy-state", "a NumPy dtype's state is None"),
        BROKEN(DTYPE("f4") "(Nt", "b.", PICKLE_MALFORMED, "P8.numpy-state", "a tuple"),
        BROKEN(PLAIN_STATE("<") "0" DTYPE("f4") FORGED_TUPLE(8, "\0"), "b.", PICKLE_MALFORMED, "P8.numpy-state", "an int"),
        BROKEN(DTYPE("M8") PLAIN_STATE("<"), "b.", PICKLE_MALFORMED, "P8.numpy-state", "a tuple"),
        BROKEN(DTYPE("f4") STATE("4", TEXT("<"), "N", "N", "N", "-1", "-1", "0"), "b.", VALUE_UNSUPPORTED, "P8.numpy-version",
               "version that ptio does not know"),
        BROKEN(DTYPE("f4") STATE("3", TEXT("!"), "N", "N", "N", "-1", "-1", "0"), "b.", PICKLE_MALFORMED, "P8.numpy-order",
               "unknown byte order"),
        BROKEN(DTYPE("f4") STATE("3", "N", "N", "N", "N", "-1", "-1", "0"), "b.", PICKLE_MALFORMED, "P8.numpy-order", "order"),
        BROKEN(DTYPE("f4") STATE("3", TEXT("<"), "N", "N", "N", "4", "-1", "0"), "b.", PICKLE_MALFORMED, "P8.numpy-size",
               "item size is not the -1 its type says"),
        BROKEN(DTYPE("V8") FLEXIBLE_STATE("|", "9", "1", "0"), "b.", PICKLE_MALFORMED, "P8.numpy-size", "is not the 8"),
        BROKEN(DTYPE("U3") FLEXIBLE_STATE("<", "3", "4", "8"), "b.", PICKLE_MALFORMED, "P8.numpy-size", "is not the 12"),
        BROKEN(DTYPE("f4") STATE("3", TEXT("<"), "N", "N", "N", "-1", "4", "0"), "b.", PICKLE_MALFORMED, "P8.numpy-alignment",
               "alignment is not one NumPy writes"),
        BROKEN(DTYPE("V8") FLEXIBLE_STATE("|", "8", "3", "0"), "b.", PICKLE_MALFORMED, "P8.numpy-alignment", "alignment"),
        BROKEN(DTYPE("f4") STATE("3", TEXT("<"), "N", "N", "N", "-1", "-1", "1"), "b.", PICKLE_MALFORMED, "P8.numpy-flags",
               "flags that NumPy never writes"),
        BROKEN(DTYPE("O8") STATE("3", TEXT("|"), "N", "N", "N", "-1", "-1", "0"), "b.", PICKLE_MALFORMED, "P8.numpy-flags", "flags"),
        BROKEN(DTYPE("V8") FLEXIBLE_STATE("|", "8", "1", "63"), "b.", PICKLE_MALFORMED, "P8.numpy-flags", "flags"),
        BROKEN(DTYPE("V8") FLEXIBLE_STATE("|", "8", "1", "-129"), "b.", PICKLE_MALFORMED, "P8.numpy-flags", "flags"),
        BROKEN(DTYPE("V8") FLEXIBLE_STATE("|", "8", "1", "-193"), "b.", PICKLE_MALFORMED, "P8.numpy-flags", "flags"),
        BROKEN(DTYPE("U3") FLEXIBLE_STATE("<", "12", "4", "16"), "b.", PICKLE_MALFORMED, "P8.numpy-flags", "flags"),
        BROKEN(DTYPE("f4") TUPLE(INT("3") TEXT("<") "NNN" INT("-1") INT("-1") "N"), "b.", PICKLE_MALFORMED, "P8.numpy-flags", ""),
    };
    OPEN_BROKEN(cases);
}

static void units_of_datetimes(void) {
    static const broken_pickle cases[] = {
        BROKEN(DATED("M8", "3", UNIT("C\2ns", "1")), "b.", VALUE_UNSUPPORTED, "P8.numpy-version", "version"),
        BROKEN(DATED("M8", "4", "N"), "b.", PICKLE_MALFORMED, "P8.numpy-metadata", "a datetime dtype's metadata is None"),
        BROKEN(DATED("M8", "4", "(N(NNttN\x86"), "b.", PICKLE_MALFORMED, "P8.numpy-metadata", "a tuple"),
        BROKEN(DATED("M8", "4", TUPLE(DICT("NN") TUPLE("C\1D" INT("1") INT("1") INT("1")))), "b.", VALUE_UNSUPPORTED,
               "P8.numpy-extra", "metadata of its own"),
        BROKEN(DATED("M8", "4", UNIT("C\1x", "1")), "b.", PICKLE_MALFORMED, "P8.numpy-unit", "a unit that NumPy does not have"),
        BROKEN(DATED("M8", "4", UNIT(TEXT("ns"), "1")), "b.", PICKLE_MALFORMED, "P8.numpy-unit", "unit"),
        BROKEN(DATED("M8", "4", UNIT("C\2ns", "0")), "b.", PICKLE_MALFORMED, "P8.numpy-unit", "unit"),
        BROKEN(DATED("M8", "4", UNIT("C\2ns", "2147483648")), "b.", PICKLE_MALFORMED, "P8.numpy-unit", "unit"),
        BROKEN(DATED("M8", "4", TUPLE("N" TUPLE("C\2ns" INT("1") INT("2") INT("1")))), "b.", PICKLE_MALFORMED, "P8.numpy-unit", ""),
        BROKEN(DATED("M8", "4", TUPLE("N" TUPLE("C\2ns" INT("1") INT("1") INT("2")))), "b.", PICKLE_MALFORMED, "P8.numpy-unit", ""),
        /* a float with the bits of 1 */
        BROKEN(DATED("M8", "4", TUPLE("N" TUPLE("C\2ns" "G\0\0\0\0\0\0\0\1" INT("1") INT("1")))), "b.", PICKLE_MALFORMED,
               "P8.numpy-unit", ""),
    };
    OPEN_BROKEN(cases);
}

static void fields_of_structured_dtypes(void) {
#define ONE_FIELD(name, key, field) RECORD("8", TUPLE(name), DICT(key field), "1", "16")
#define A TEXT("a")
    static const broken_pickle cases[] = {
        BROKEN(DTYPE("f4") STATE("3", TEXT("<"), "N", TUPLE(A), DICT(A FIELD(F4, "0")), "-1", "-1", "0"), "b.",
               PICKLE_MALFORMED, "P8.numpy-fields", "a NumPy dtype of kind 'f' with fields"),
        BROKEN(DTYPE("V8") STATE("3", TEXT("|"), "N", TUPLE(A), "N", "8", "1", "16"), "b.", PICKLE_MALFORMED, "P8.numpy-fields", ""),
        BROKEN(TUPLE(A) "0" RECORD("8", FORGED_TUPLE(1, "\0"), DICT(A FIELD(F4, "0")), "1", "16"), "b.", PICKLE_MALFORMED,
               "P8.numpy-fields", "with fields"),
        BROKEN(RECORD("8", ")", "}", "1", "16"), "b.", VALUE_UNSUPPORTED, "P8.numpy-names", "a structured dtype of 0 fields"),
        BROKEN(RECORD("8", TUPLE(A), "}", "1", "16"), "b.", VALUE_UNSUPPORTED, "P8.numpy-field-count", "1 names and another"),
        BROKEN(RECORD("8", TUPLE(A), DICT(A FIELD(F4, "0") TEXT("b") FIELD(F4, "4")), "1", "16"), "b.", VALUE_UNSUPPORTED,
               "P8.numpy-field-count", "1 names and another number of fields"),
        BROKEN(ONE_FIELD("N", A, FIELD(F4, "0")), "b.", PICKLE_MALFORMED, "P8.numpy-name", "a field's name is None"),
        BROKEN(ONE_FIELD("C\1" "a", "C\1" "a", FIELD(F4, "0")), "b.", PICKLE_MALFORMED, "P8.numpy-name", "bytes"),
        BROKEN(ONE_FIELD(TEXT(""), TEXT(""), FIELD(F4, "0")), "b.", PICKLE_MALFORMED, "P8.numpy-name", "a str"),
        BROKEN(ONE_FIELD(A, TEXT("b"), FIELD(F4, "0")), "b.", PICKLE_MALFORMED, "P8.numpy-key", "lacks a field that it names"),
        BROKEN(ONE_FIELD(A, "C\1" "a", FIELD(F4, "0")), "b.", PICKLE_MALFORMED, "P8.numpy-key", "lacks a field"),
        BROKEN(ONE_FIELD(A, A, "N"), "b.", VALUE_UNSUPPORTED, "P8.numpy-field", "a field that is not (dtype, offset)"),
        BROKEN(ONE_FIELD(A, A, TUPLE("N" INT("0"))), "b.", VALUE_UNSUPPORTED, "P8.numpy-field", "not (dtype, offset)"),
        BROKEN(FIELD(DTYPE("f4"), "0") "0" ONE_FIELD(A, A, FORGED_TUPLE(2, "\3")), "b.", VALUE_UNSUPPORTED, "P8.numpy-field",
               "not (dtype, offset)"),
        BROKEN(ONE_FIELD(A, A, TUPLE(F4 "N")), "b.", VALUE_UNSUPPORTED, "P8.numpy-field", "not (dtype, offset)"),
        BROKEN(ONE_FIELD(A, A, TUPLE(F4 INT("0") A)), "b.", VALUE_UNSUPPORTED, "P8.numpy-field", "not (dtype, offset)"),
        BROKEN(ONE_FIELD(A, A, FIELD(OBJECT, "0")), "b.", VALUE_UNSUPPORTED, "P8.numpy-object-field", "holds objects"),
        BROKEN(ONE_FIELD(A, A, FIELD(F4, "5")), "b.", BOUNDS, "P8.numpy-offset", "a field of 4 bytes at 5, the item has 8"),
        BROKEN(ONE_FIELD(A, A, FIELD(F4, "-1")), "b.", BOUNDS, "P8.numpy-offset", "at -1"),
        BROKEN(ONE_FIELD(A, A, FIELD(DTYPE("V9"), "0")), "b.", BOUNDS, "P8.numpy-offset", "9 bytes at 0"),
        /* NumPy would find field b in the dict, wherever it lies */
        BROKEN(RECORD("8", TUPLE(A A), DICT(A FIELD(F4, "0") TEXT("b") FIELD(F4, "4000")), "1", "16"), "b.", BOUNDS,
               "P8.numpy-offset", "4 bytes at 4000"),
        BROKEN(RECORD("8", TUPLE(A A), DICT(A FIELD(F4, "0") TEXT("b") FIELD(F4, "4")), "1", "16"), "b.", PICKLE_MALFORMED,
               "P8.numpy-same-name", "two fields of a structured dtype have one name"),
        BROKEN(RECORD("8", TUPLE(A A), DICT(A FIELD(F4, "0") A FIELD(F4, "4")), "1", "16"), "b.", PICKLE_MALFORMED,
               "P8.numpy-same-name", "one name"),
        BROKEN(RECORD("8", TUPLE(A), DICT(A FIELD(F4, "0")) "p9\n", "1", "16") "b0g9\n" TEXT("b") FIELD(F4, "4000"), "s.",
               PICKLE_MALFORMED, "P6.copied", "SETITEM on a dict"),
    };
    OPEN_BROKEN(cases);
}

static void fields_have_a_longest_list(void) {
    static const char before[] = DTYPE("V8") "(" INT("3") TEXT("|") "N(";
    pickle_buffer p = {0};
    ptio_error err = {0};
    opened o;
    ADD(&p, before);
    ADD_TIMES(&p, A, 1025);
    ADD(&p, "t}" INT("8") INT("1") INT("16") "t");
    ADD(&p, "b.");
    ASSERT_FAILS(open_pickle(&o, p.bytes, p.size, NULL, &err), VALUE_UNSUPPORTED, "P8.numpy-names", "of 1025 fields", p.size - 2);
    opened_free(&o);
    pickle_free(&p);
}

static void subarrays(void) {
#define SUBARRAY(size, pair) DTYPE("V" size) TUPLE(INT("3") TEXT("|") pair "NN" INT(size) INT("4") INT("0"))
    static const broken_pickle cases[] = {
        BROKEN(SUBARRAY("12", "]"), "b.", PICKLE_MALFORMED, "P8.numpy-subarray", "sub-array is a list"),
        BROKEN(TUPLE(DTYPE("f4") TUPLE(INT("3"))) "0" SUBARRAY("12", FORGED_TUPLE(2, "\4")), "b.", PICKLE_MALFORMED,
               "P8.numpy-subarray", "an int"),
        BROKEN(SUBARRAY("12", TUPLE(F4 TUPLE(INT("3")) "N")), "b.", PICKLE_MALFORMED, "P8.numpy-subarray", "a tuple"),
        BROKEN(DTYPE("V8") STATE("3", TEXT("|"), TUPLE(F4 TUPLE(INT("2"))), TUPLE(A), DICT(A FIELD(F4, "0")), "8", "1", "16"), "b.",
               PICKLE_MALFORMED, "P8.numpy-subarray", "a tuple"),
        BROKEN(SUBARRAY("12", TUPLE("N" TUPLE(INT("3")))), "b.", PICKLE_MALFORMED, "P8.numpy-subarray", "a tuple"),
        BROKEN(DTYPE("f4") TUPLE(INT("3") TEXT("<") TUPLE(F4 TUPLE(INT("1"))) "NN" INT("-1") INT("-1") INT("0")), "b.",
               PICKLE_MALFORMED, "P8.numpy-subarray", "a tuple"),
        BROKEN(SUBARRAY("12", TUPLE(SUBARRAY("12", TUPLE(F4 TUPLE(INT("3")))) "b" TUPLE(INT("1")))), "b.", PICKLE_MALFORMED,
               "P8.numpy-subarray", "a tuple"),
        BROKEN(SUBARRAY("12", TUPLE(F4 TUPLE(INT("4")))), "b.", BOUNDS, "P8.numpy-subarray-size",
               "a sub-array of 4 items of 4 bytes in 12 bytes"),
        BROKEN(SUBARRAY("8", TUPLE(OBJECT TUPLE(INT("1")))), "b.", BOUNDS, "P8.numpy-subarray-size", "8 bytes"),
        BROKEN(SUBARRAY("12", TUPLE(F4 INT("3"))), "b.", PICKLE_MALFORMED, "P8.numpy-shape", "shape is an int"),
        BROKEN(ARRAY(SUBARRAY("12", TUPLE(F4 TUPLE(INT("3")))) "b", INT("1"), "C\14abcdefghijkl"), "b.", PICKLE_MALFORMED,
               "P8.numpy-subarray-value", "whose dtype is a sub-array"),
    };
    OPEN_BROKEN(cases);
}

static void arrays_that_numpy_writes(void) {
    static const fine_pickle fine[] = {
        FINE_PICKLE(EMPTY_ARRAY "."),
        FINE_PICKLE(ARRAY(F4, INT("1"), "C\4abcd") "b."),
        FINE_PICKLE(ARRAY(F4, INT("2") INT("1"), "C\10abcdefgh") "b."),
        FINE_PICKLE(ARRAY(F4, "", "C\4abcd") "b."),                      /* 0-d */
        FINE_PICKLE(ARRAY(F4, INT("0") INT("5"), "C\0") "b."),
        FINE_PICKLE(ARRAY(F4, INT("1"), "U\4abcd") "b."),                /* Python 2 */
        FINE_PICKLE(ARRAY(F4, INT("1"), BYTES("abc\xff")) "b."),         /* protocol 2 */
        FINE_PICKLE(ARRAY(F4, INT("1"), "\x96\4\0\0\0\0\0\0\0abcd") "b."),
        FINE_PICKLE(ARRAY(OBJECT, INT("2"), LIST("N" TENSOR)) "b."),
        FINE_PICKLE(CALL(GLOBAL_OF("numpy._core.multiarray", "_reconstruct"), GLOBAL_OF("numpy", "ndarray") TUPLE(INT("0")) "U\1b") "."),
        FINE_PICKLE(EMPTY_ARRAY TUPLE(INT("1") TUPLE(INT("1")) F4 INT("1") "C\4abcd") "b."),
        FINE_PICKLE(SCALAR(F4, "C\4abcd") "R."),
        FINE_PICKLE(SCALAR(F4, "U\4abcd") "R."),                         /* Python 2 */
        FINE_PICKLE(CALL(GLOBAL_OF("numpy._core.numeric", "_frombuffer"), "C\4abcd" F4 TUPLE(INT("1")) TEXT("C")) "."),
        FINE_PICKLE(CALL(GLOBAL_OF("numpy.core.numeric", "_frombuffer"), "\x96\4\0\0\0\0\0\0\0abcd" F4 TUPLE(INT("1")) TEXT("F")) "."),
        FINE_PICKLE(CALL(GLOBAL_OF("numpy._core.numeric", "_frombuffer"),
                         "C\10abcdefgh" F4 TUPLE(INT("2") INT("1")) TEXT("K") TUPLE(INT("1") INT("0"))) "."),
        /* an array of itself */
        FINE_PICKLE(EMPTY_ARRAY "p1\n" TUPLE(INT("1") TUPLE(INT("1")) OBJECT FALSE_ LIST("g1\n")) "b."),
    };
    OPEN_FINE(fine);
}

static void arrays_that_are_refused(void) {
#define RECONSTRUCT(arguments) GLOBAL_OF("numpy.core.multiarray", "_reconstruct") "(" arguments "t"
    static const broken_pickle cases[] = {
        BROKEN(RECONSTRUCT(GLOBAL_OF("numpy", "ndarray") TUPLE(INT("9")) "C\1b"), "R.", PICKLE_MALFORMED,
               "P8.numpy-reconstruct", "_reconstruct with arguments that NumPy never writes"),
        BROKEN(RECONSTRUCT(GLOBAL_OF("numpy", "dtype") TUPLE(INT("0")) "C\1b"), "R.", PICKLE_MALFORMED, "P8.numpy-reconstruct", ""),
        BROKEN(RECONSTRUCT(GLOBAL_OF("numpy", "ndarray") TUPLE(INT("0")) "C\1O"), "R.", PICKLE_MALFORMED, "P8.numpy-reconstruct", ""),
        BROKEN(ARRAY(F4, INT("1"), "C\4abcd") "b" TUPLE(INT("1") TUPLE(INT("1")) F4 FALSE_ "C\4abcd"), "b.", PICKLE_MALFORMED,
               "P8.numpy-again", "a NumPy array is built twice"),
        BROKEN(EMPTY_ARRAY "N", "b.", PICKLE_MALFORMED, "P8.numpy-array-state", "a NumPy array's state is None"),
        BROKEN(EMPTY_ARRAY TUPLE(INT("0") TUPLE(INT("1")) F4 FALSE_ "C\4abcd"), "b.", PICKLE_MALFORMED, "P8.numpy-array-state", ""),
        BROKEN(EMPTY_ARRAY TUPLE(INT("1") TUPLE(INT("1")) F4 FALSE_ "C\4abcdN"), "b.", PICKLE_MALFORMED, "P8.numpy-array-state", ""),
        BROKEN(TUPLE(INT("1") TUPLE(INT("1")) DTYPE("f4") FALSE_ "C\4abcd") "0" EMPTY_ARRAY FORGED_TUPLE(5, "\4"), "b.",
               PICKLE_MALFORMED, "P8.numpy-array-state", "an int"),
        BROKEN(EMPTY_ARRAY TUPLE(INT("1") INT("1") F4 FALSE_ "C\4abcd"), "b.", PICKLE_MALFORMED, "P8.numpy-shape",
               "a NumPy array's shape is an int"),
        BROKEN(ARRAY(F4, TRUE_, "C\4abcd"), "b.", PICKLE_MALFORMED, "P8.numpy-shape-int", "shape holds a bool"),
        BROKEN(ARRAY(F4, INT("-1"), "C\4abcd"), "b.", BOUNDS, "T2.size", "size -1"),
        BROKEN(ARRAY(F4, INT("4294967296") INT("4294967296"), "C\4abcd"), "b.", BOUNDS, "T3.elements", "2**63"),
        BROKEN(ARRAY(F4, "K\1K\1K\1K\1K\1K\1K\1K\1K\1K\1K\1K\1K\1K\1K\1K\1K\1K\1K\1K\1K\1K\1K\1K\1K\1K\1K\1K\1K\1K\1K\1K\1K\1",
                     "C\4abcd"), "b.", VALUE_UNSUPPORTED, "P8.numpy-dims", "a NumPy array of 33 dimensions"),
        BROKEN(ARRAY("N", INT("1"), "C\4abcd"), "b.", PICKLE_MALFORMED, "P8.numpy-dtype", "a NumPy value's dtype is None"),
        BROKEN(ARRAY(TORCH("float32"), INT("1"), "C\4abcd"), "b.", PICKLE_MALFORMED, "P8.numpy-dtype", "a dtype"),
        BROKEN(EMPTY_ARRAY TUPLE(INT("1") TUPLE(INT("1")) F4 "NC\4abcd"), "b.", PICKLE_MALFORMED, "P8.numpy-fortran",
               "a NumPy array's order is None"),
        BROKEN(ARRAY(F4, INT("1"), "N"), "b.", PICKLE_MALFORMED, "P8.numpy-data", "a NumPy array's data is None"),
        BROKEN(ARRAY(F4, INT("1"), TEXT("abcd")), "b.", PICKLE_MALFORMED, "P8.numpy-data", "a str"),
        BROKEN(ARRAY(F4, INT("2"), "C\4abcd"), "b.", BOUNDS, "T1.numpy", "2 items of 4 bytes over 4 bytes"),
        BROKEN(ARRAY(F4, INT("4611686018427387905"), "C\4abcd"), "b.", BOUNDS, "T1.numpy", "over 4 bytes of data"),
        BROKEN(ARRAY(DTYPE("S0"), INT("1048577"), "C\0"), "b.", LIMIT, "T4.numpy", "1048577 items without bytes"),
        BROKEN(ARRAY(OBJECT, INT("1"), "C\10abcdefgh"), "b.", PICKLE_MALFORMED, "P8.numpy-objects", "an object array's data is bytes"),
        BROKEN(ARRAY(OBJECT, INT("2"), LIST("N")), "b.", BOUNDS, "T1.numpy-objects", "2 items over 1 objects"),
        BROKEN(SCALAR(F4, "N"), "R.", PICKLE_MALFORMED, "P8.numpy-scalar", "a NumPy scalar's data is None"),
        BROKEN(SCALAR(F4, "C\3abc"), "R.", BOUNDS, "T1.numpy", "1 items of 4 bytes over 3"),
        BROKEN(SCALAR(DTYPE("U1") FLEXIBLE_STATE("<", "4", "4", "8") "b", "C\4\0\0\x11\0"), "R.", PICKLE_MALFORMED, "P8.numpy-text",
               "the character 0x110000"),
        BROKEN(SCALAR(DTYPE("U1"), "C\4\xff\xff\xff\xff"), "R.", PICKLE_MALFORMED, "P8.numpy-text", "the character 0xffffffff"),
        BROKEN(SCALAR(DTYPE("U2") FLEXIBLE_STATE(">", "8", "4", "8") "b", "C\10\0\0\0a\0\x11\0\0"), "R.", PICKLE_MALFORMED,
               "P8.numpy-text", "the character 0x110000"),
        BROKEN(SCALAR(OBJECT, "C\10abcdefgh"), "R.", PICKLE_MALFORMED, "P8.numpy-data", "bytes"),
    };
    OPEN_BROKEN(cases);
#define FROMBUFFER(arguments) GLOBAL_OF("numpy._core.numeric", "_frombuffer") "(" arguments "t"
    static const broken_pickle buffers[] = {
        BROKEN(FROMBUFFER("C\4abcd" F4 TUPLE(INT("1")) TEXT("A")), "R.", PICKLE_MALFORMED, "P8.numpy-buffer-order",
               "order is one NumPy never writes"),
        BROKEN(FROMBUFFER("C\4abcd" F4 TUPLE(INT("1")) "N"), "R.", PICKLE_MALFORMED, "P8.numpy-buffer-order", "order"),
        BROKEN(FROMBUFFER("C\4abcd" F4 TUPLE(INT("1")) TEXT("C") TUPLE(INT("0"))), "R.", PICKLE_MALFORMED, "P8.numpy-buffer-order", ""),
        BROKEN(FROMBUFFER("C\4abcd" F4 TUPLE(INT("1") INT("1")) TEXT("K") TUPLE(INT("1") INT("1"))), "R.", PICKLE_MALFORMED,
               "P8.numpy-buffer-order", "order"),
        BROKEN(FROMBUFFER("C\4abcd" F4 TUPLE(INT("1")) TEXT("K") TUPLE(INT("1"))), "R.", PICKLE_MALFORMED, "P8.numpy-buffer-order", ""),
        BROKEN(FROMBUFFER("C\0" DTYPE("S0") TUPLE(INT("1")) TEXT("C")), "R.", VALUE_UNSUPPORTED, "P8.numpy-empty-item",
               "items without bytes"),
        BROKEN(FROMBUFFER("C\4abcd" F4 TUPLE(INT("2")) TEXT("C")), "R.", BOUNDS, "T1.numpy", "over 4 bytes"),
        BROKEN(FROMBUFFER("C\10abcdefgh" OBJECT TUPLE(INT("1")) TEXT("C")), "R.", PICKLE_MALFORMED, "P8.numpy-data", "bytes"),
    };
    OPEN_BROKEN(buffers);
}

/* numpy.void cannot be hashed: its scalars are writeable. */
static void scalars_as_keys(void) {
    static const fine_pickle fine[] = {
        FINE_PICKLE("}" SCALAR(F4, "C\4abcd") "RNs."),
        FINE_PICKLE("}" SCALAR(DTYPE("U1"), "C\4\0\0\0\0") "RNs."), /* this machine's order */
        FINE_PICKLE(SCALAR(DTYPE("U1") FLEXIBLE_STATE("<", "4", "4", "8") "b", "C\4\xff\xff\x10\0") "R."),
        FINE_PICKLE(SCALAR(DTYPE("U1") FLEXIBLE_STATE(">", "4", "4", "8") "b", "C\4\0\x10\xff\xff") "R."),
        FINE_PICKLE("}" F4 "Ns."),
    };
    OPEN_FINE(fine);
    static const broken_pickle cases[] = {
        BROKEN("}" SCALAR(DTYPE("V4"), "C\4abcd") "RN", "s.", PICKLE_MALFORMED, "P12.hashable", "numpy_scalar is used as a dict key"),
        BROKEN("}" SCALAR(RECORD("8", TUPLE(TEXT("a")), DICT(TEXT("a") FIELD(F4, "0")), "1", "16") "b", "C\10abcdefgh") "RN",
               "s.", PICKLE_MALFORMED, "P12.hashable", "numpy_scalar"),
        BROKEN("}" ARRAY(F4, INT("1"), "C\4abcd") "bN", "s.", PICKLE_MALFORMED, "P12.hashable", "numpy_array"),
    };
    OPEN_BROKEN(cases);
}

void suite_vet_numpy(void) {
    RUN(dtypes_that_numpy_writes);
    RUN(dtypes_of_other_names);
    RUN(states_of_dtypes);
    RUN(units_of_datetimes);
    RUN(fields_of_structured_dtypes);
    RUN(fields_have_a_longest_list);
    RUN(subarrays);
    RUN(arrays_that_numpy_writes);
    RUN(arrays_that_are_refused);
    RUN(scalars_as_keys);
}
