/* SPDX-License-Identifier: Apache-2.0
 *
 * torch's rebuild functions: every way to make a tensor, and what each refuses.
 */
#include "pickle_builder.h"

void suite_vet_tensors(void);

#define I4 INT("4")
#define I1 INT("1")
#define SIZE1(n) TUPLE(INT(n))
#define V1 UTILS("_rebuild_tensor")
#define V2 UTILS("_rebuild_tensor_v2")
#define V3 UTILS("_rebuild_tensor_v3")
#define PARAMETER GLOBAL_OF("torch.nn.parameter", "Parameter")
#define FLOAT32 TORCH("float32")
/* arguments up to the opcode that makes the tensor */
#define ARGS2(storage, offset, size, stride, grad, hooks) V2 "(" storage offset size stride grad hooks "t"

static void versions_one_to_three(void) {
    ptio_error err = {0};
    opened o;
    ASSERT_OK(open_pickle(&o, LITERAL(CALL(V1, FLOATS INT("0") SIZE1("4") SIZE1("1")) "."), NULL, &err));
    ASSERT_EQUAL(opened_tensor(&o)->dtype, PTIO_FLOAT32);
    ASSERT_EQUAL(opened_tensor(&o)->elements, 4);
    ASSERT_TRUE(opened_tensor(&o)->contiguous);
    opened_free(&o);
    ASSERT_OK(open_pickle(&o, LITERAL(CALL(V2, FLOATS INT("1") TUPLE(INT("2") INT("1")) TUPLE(INT("2") INT("2")) TRUE_
                                           HOOKS) "."), NULL, &err));
    ASSERT_EQUAL(opened_tensor(&o)->offset, 1);
    ASSERT_EQUAL(opened_tensor(&o)->ndim, 2);
    ASSERT_EQUAL(opened_tensor(&o)->flags, PTIO_T_REQUIRES_GRAD);
    ASSERT_TRUE(!opened_tensor(&o)->contiguous);
    ASSERT_EQUAL(ptio_tensor_sizes(&o.c, opened_tensor(&o))[0], 2);
    ASSERT_EQUAL(ptio_tensor_strides(&o.c, opened_tensor(&o))[1], 2);
    opened_free(&o);
    ASSERT_OK(open_pickle(&o, LITERAL(CALL(V3, UNTYPED("0", "16") INT("2") SIZE1("6") SIZE1("1") FALSE_ HOOKS
                                           TORCH("uint16")) "."), NULL, &err));
    ASSERT_EQUAL(opened_tensor(&o)->dtype, PTIO_UINT16);
    ASSERT_EQUAL(o.c.storages[0].swap_bytes, 2);
    ASSERT_EQUAL(o.c.storages[0].alignment, 2);
    opened_free(&o);
}

static void tensors_that_torch_writes(void) {
    static const fine_pickle cases[] = {
        FINE_PICKLE(TENSOR "."),
        FINE_PICKLE(CALL(V2, FLOATS INT("0") ")" ")" FALSE_ HOOKS) "."),                    /* 0-d */
        FINE_PICKLE(CALL(V2, FLOATS INT("4") SIZE1("0") SIZE1("1") FALSE_ HOOKS) "."),        /* empty */
        FINE_PICKLE(CALL(V2, STORAGE("FloatStorage", "empty", "0") INT("0") SIZE1("0") SIZE1("1") FALSE_ HOOKS) "."),
        FINE_PICKLE(CALL(V2, FLOATS INT("0") SIZE1("1000000") SIZE1("0") FALSE_ HOOKS) "."),  /* expanded */
        FINE_PICKLE(CALL(V2, FLOATS INT("0") SIZE1("4") SIZE1("1") FALSE_ "N") "."),          /* no hooks */
        FINE_PICKLE(CALL(V2, FLOATS INT("0") SIZE1("4") SIZE1("1") FALSE_ HOOKS "N") "."),    /* no metadata */
        FINE_PICKLE(CALL(V2, FLOATS INT("0") CALL(TORCH("Size"), TUPLE(I4)) SIZE1("1") FALSE_ HOOKS) "."),
        FINE_PICKLE(CALL(V3, UNTYPED("0", "16") INT("0") SIZE1("16") SIZE1("1") TRUE_ HOOKS TORCH("float8_e4m3fn")) "."),
        FINE_PICKLE(CALL(V3, UNTYPED("0", "16") INT("0") SIZE1("4") SIZE1("1") FALSE_ HOOKS FLOAT32 "}") "."),
    };
    OPEN_FINE(cases);
}

static void metadata_of_views(void) {
    static const struct {
        const char *pickle;
        size_t size;
        uint8_t flags;
    } cases[] = {
        {LITERAL(CALL(V2, FLOATS INT("0") SIZE1("4") SIZE1("1") FALSE_ HOOKS DICT(TEXT("conj") TRUE_)) "."), PTIO_T_CONJ},
        {LITERAL(CALL(V2, FLOATS INT("0") SIZE1("4") SIZE1("1") FALSE_ HOOKS DICT(TEXT("neg") TRUE_)) "."), PTIO_T_NEG},
        {LITERAL(CALL(V2, FLOATS INT("0") SIZE1("4") SIZE1("1") FALSE_ HOOKS
                      DICT(TEXT("conj") TRUE_ TEXT("neg") TRUE_ TEXT("conj") FALSE_ TEXT("new") TRUE_)) "."), PTIO_T_NEG},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        ptio_error err = {0};
        opened o;
        ASSERT_OK(open_pickle(&o, cases[i].pickle, cases[i].size, NULL, &err));
        ASSERT_EQUAL(opened_tensor(&o)->flags, cases[i].flags);
        opened_free(&o);
    }
}

static void arguments_of_the_wrong_kind(void) {
    static const broken_pickle cases[] = {
        BROKEN(ARGS2("N", INT("0"), SIZE1("4"), SIZE1("1"), FALSE_, HOOKS), "R.", PICKLE_MALFORMED, "P8.storage",
               "a tensor's storage is None"),
        BROKEN(ARGS2(TENSOR, INT("0"), SIZE1("4"), SIZE1("1"), FALSE_, HOOKS), "R.", PICKLE_MALFORMED, "P8.storage",
               "a tensor's storage is a tensor"),
        BROKEN(ARGS2(FLOATS, "N", SIZE1("4"), SIZE1("1"), FALSE_, HOOKS), "R.", PICKLE_MALFORMED, "T2.offset-int",
               "storage offset is None"),
        BROKEN(ARGS2(FLOATS, FALSE_, SIZE1("4"), SIZE1("1"), FALSE_, HOOKS), "R.", PICKLE_MALFORMED, "T2.offset-int",
               "a bool"),
        BROKEN(ARGS2(FLOATS, INT("0"), "]", SIZE1("1"), FALSE_, HOOKS), "R.", PICKLE_MALFORMED, "T2.tuple",
               "a tensor's size is a list"),
        BROKEN(ARGS2(FLOATS, INT("0"), SIZE1("4"), "N", FALSE_, HOOKS), "R.", PICKLE_MALFORMED, "T2.tuple",
               "a tensor's stride is None"),
        BROKEN(ARGS2(FLOATS, INT("0"), TUPLE(TRUE_), SIZE1("1"), FALSE_, HOOKS), "R.", PICKLE_MALFORMED, "T2.int",
               "a tensor's size holds a bool"),
        BROKEN(ARGS2(FLOATS, INT("0"), SIZE1("4"), TUPLE(REAL("1.0")), FALSE_, HOOKS), "R.", PICKLE_MALFORMED, "T2.int",
               "a tensor's stride holds a float"),
        BROKEN(ARGS2(FLOATS, INT("0"), TUPLE(INT("9223372036854775808")), SIZE1("1"), FALSE_, HOOKS), "R.",
               PICKLE_MALFORMED, "T2.int", "a large int"),
        BROKEN(ARGS2(FLOATS, INT("0"), SIZE1("4"), SIZE1("1"), INT("1"), HOOKS), "R.", PICKLE_MALFORMED, "T7.bool",
               "requires_grad is an int"),
        BROKEN(ARGS2(FLOATS, INT("0"), SIZE1("4"), SIZE1("1"), FALSE_, "}"), "R.", PICKLE_MALFORMED, "T7.hooks",
               "a tensor has backward hooks"),
        BROKEN(ARGS2(FLOATS, INT("0"), SIZE1("4"), SIZE1("1"), FALSE_, HOOKS "NNs"), "R.", PICKLE_MALFORMED, "T7.hooks",
               "backward hooks"),
        BROKEN(ARGS2(FLOATS, INT("0"), SIZE1("4"), SIZE1("1"), FALSE_, HOOKS "]"), "R.", PICKLE_MALFORMED, "T7.metadata",
               "metadata is a list"),
        BROKEN(ARGS2(FLOATS, INT("0"), SIZE1("4"), SIZE1("1"), FALSE_, HOOKS DICT(TEXT("conj") INT("1"))), "R.",
               PICKLE_MALFORMED, "T7.metadata-item", "maps a str to an int"),
        BROKEN(ARGS2(FLOATS, INT("0"), SIZE1("4"), SIZE1("1"), FALSE_, HOOKS DICT("N" TRUE_)), "R.", PICKLE_MALFORMED,
               "T7.metadata-item", "maps None to a bool"),
        BROKEN(V3 "(" FLOATS INT("0") SIZE1("4") SIZE1("1") FALSE_ HOOKS "Nt", "R.", PICKLE_MALFORMED, "P8.dtype",
               "a tensor's dtype is None"),
        BROKEN(V3 "(" FLOATS INT("0") SIZE1("4") SIZE1("1") FALSE_ HOOKS TEXT("float32") "t", "R.", PICKLE_MALFORMED,
               "P8.dtype", "a str"),
    };
    OPEN_BROKEN(cases);
}

static void tensors_outside_their_storage(void) {
    static const broken_pickle cases[] = {
        BROKEN(ARGS2(FLOATS, INT("1000"), SIZE1("4"), SIZE1("1"), FALSE_, HOOKS), "R.", BOUNDS, "T3.last",
               "reaches element 1003, its storage holds 4"),
        BROKEN(ARGS2(FLOATS, INT("-1"), SIZE1("4"), SIZE1("1"), FALSE_, HOOKS), "R.", BOUNDS, "T2.offset", "-1"),
        BROKEN(ARGS2(FLOATS, INT("9223372036854775807"), SIZE1("1"), SIZE1("1"), FALSE_, HOOKS), "R.", BOUNDS, "T3.last", ""),
        BROKEN(ARGS2(FLOATS, INT("0"), SIZE1("-4"), SIZE1("1"), FALSE_, HOOKS), "R.", BOUNDS, "T2.size", "size -4"),
        BROKEN(ARGS2(FLOATS, INT("0"), SIZE1("4"), SIZE1("-1"), FALSE_, HOOKS), "R.", BOUNDS, "T2.stride", "stride -1"),
        BROKEN(ARGS2(FLOATS, INT("0"), TUPLE(I4 I1), SIZE1("1"), FALSE_, HOOKS), "R.", BOUNDS, "T2.length",
               "2 sizes and 1 strides"),
        BROKEN(ARGS2(FLOATS, INT("0"), TUPLE(INT("4294967296") INT("4294967296")), TUPLE(INT("0") INT("0")), FALSE_, HOOKS),
               "R.", BOUNDS, "T3.elements", "more than 2**63"),
        BROKEN(ARGS2(FLOATS, INT("0"), SIZE1("9"), SIZE1("2305843009213693952"), FALSE_, HOOKS), "R.", BOUNDS,
               "T3.overflow", "beyond 2**64"),
        BROKEN(ARGS2(FLOATS, INT("0"), SIZE1("2305843009213693952"), SIZE1("0"), FALSE_, HOOKS), "R.", BOUNDS, "T3.bytes",
               "larger than any memory"),
        BROKEN(ARGS2(FLOATS, INT("5"), SIZE1("0"), SIZE1("1"), FALSE_, HOOKS), "R.", BOUNDS, "T3.empty", "element 5"),
        BROKEN(V1 "(" FLOATS INT("1") SIZE1("4") SIZE1("1") "t", "R.", BOUNDS, "T3.last", "element 4"),
        BROKEN(V3 "(" UNTYPED("0", "16") INT("0") SIZE1("3") SIZE1("1") FALSE_ HOOKS TORCH("float64") "t", "R.", BOUNDS,
               "T3.last", "reaches element 2, its storage holds 2"),
    };
    OPEN_BROKEN(cases);
}

static void too_many_dimensions(void) {
    for (unsigned dims = 64; dims <= 65; dims++) {
        pickle_buffer p = {0};
        ptio_error err = {0};
        opened o;
        ADD(&p, V2 "(" FLOATS INT("0"));
        for (int i = 0; i < 2; i++) {
            ADD(&p, "(");
            ADD_TIMES(&p, "K\1", dims);
            ADD(&p, "t");
        }
        ADD(&p, FALSE_ HOOKS "t");
        size_t at = p.size;
        ADD(&p, "R.");
        ptio_status status = open_pickle(&o, p.bytes, p.size, NULL, &err);
        if (dims == 64) ASSERT_TRUE(status == PTIO_OK && opened_tensor(&o)->ndim == 64);
        else ASSERT_FAILS(status, LIMIT, "T2.dims", "65 dimensions, at most 64", at);
        opened_free(&o);
        pickle_free(&p);
    }
}

static void gradients_need_a_dtype_that_has_them(void) {
    static const broken_pickle cases[] = {
        BROKEN(ARGS2(STORAGE("LongStorage", "0", "2"), INT("0"), SIZE1("2"), SIZE1("1"), TRUE_, HOOKS), "R.",
               PICKLE_MALFORMED, "T7.grad", "a tensor of dtype int64 requires a gradient"),
        BROKEN(ARGS2(STORAGE("BoolStorage", "0", "16"), INT("0"), SIZE1("2"), SIZE1("1"), TRUE_, HOOKS), "R.",
               PICKLE_MALFORMED, "T7.grad", "bool"),
    };
    OPEN_BROKEN(cases);
}

/* Packed types: the shape counts elements, the storage bytes. */
#define QTENSOR(storage, size, stride, quantizer) \
    UTILS("_rebuild_qtensor") "(" storage INT("0") size stride quantizer FALSE_ HOOKS "t"
#define META(size, stride) CALL(UTILS("_rebuild_meta_tensor_no_storage"), FLOAT32 size stride FALSE_)
#define PER_TENSOR TUPLE(TORCH("per_tensor_affine") REAL("0.5") INT("3"))
#define QINT8 STORAGE("QInt8Storage", "0", "16")
#define SCALES(n) TENSOR_OF(STORAGE("DoubleStorage", "1", "2"), "0", INT(n), INT("1"))
#define ZEROS(n) TENSOR_OF(STORAGE("LongStorage", "32", "4"), "0", INT(n), INT("1"))
#define PER_CHANNEL(scales, zeros, axis) TUPLE(TORCH("per_channel_affine") scales zeros INT(axis))
#define SIZE2(a, b) TUPLE(INT(a) INT(b))

static void quantized_tensors(void) {
    static const fine_pickle cases[] = {
        FINE_PICKLE(QTENSOR(QINT8, SIZE1("16"), SIZE1("1"), PER_TENSOR) "R."),
        FINE_PICKLE(QTENSOR(STORAGE("QInt32Storage", "0", "4"), SIZE1("4"), SIZE1("1"),
                            TUPLE(TORCH("per_tensor_affine") INT("1") INT("-3"))) "R."),
        FINE_PICKLE(QTENSOR(STORAGE("QUInt4x2Storage", "0", "16"), SIZE1("32"), SIZE1("1"), PER_TENSOR) "R."),
        FINE_PICKLE(QTENSOR(STORAGE("QUInt2x4Storage", "0", "16"), SIZE1("64"), SIZE1("1"), PER_TENSOR) "R."),
        FINE_PICKLE(QTENSOR(QINT8, SIZE2("2", "8"), SIZE2("8", "1"), PER_CHANNEL(SCALES("2"), ZEROS("2"), "0")) "R."),
        FINE_PICKLE(QTENSOR(QINT8, SIZE2("8", "2"), SIZE2("2", "1"),
                            TUPLE(TORCH("per_channel_affine_float_qparams") SCALES("2") SCALES("2") INT("1"))) "R."),
    };
    OPEN_FINE(cases);
}

static void quantizers_that_are_refused(void) {
#define ROWS(quantizer) QTENSOR(QINT8, SIZE2("2", "8"), SIZE2("8", "1"), quantizer)
    static const broken_pickle cases[] = {
        BROKEN(ROWS("N"), "R.", PICKLE_MALFORMED, "T8.quantizer", "a quantized tensor's quantizer is None"),
        BROKEN(PER_TENSOR "0" ROWS(FORGED_TUPLE(3, "\0")), "R.", PICKLE_MALFORMED, "T8.quantizer", "quantizer is an int"),
        BROKEN(ROWS(TUPLE(TORCH("per_tensor_affine") "N")), "R.", PICKLE_MALFORMED, "T8.quantizer", "a tuple"),
        BROKEN(ROWS(TUPLE(TORCH("per_tensor_affine") REAL("inf") INT("0"))), "R.", VALUE_UNSUPPORTED, "T8.scale",
               "scale is not a finite number"),
        BROKEN(ROWS(TUPLE(TORCH("per_tensor_affine") REAL("nan") INT("0"))), "R.", VALUE_UNSUPPORTED, "T8.scale", "finite"),
        BROKEN(ROWS(TUPLE(TORCH("per_tensor_affine") "N" INT("0"))), "R.", VALUE_UNSUPPORTED, "T8.scale", "finite"),
        BROKEN(ROWS(TUPLE(TORCH("per_tensor_affine") REAL("1.0") REAL("0.0"))), "R.", VALUE_UNSUPPORTED, "T8.zero-point",
               "zero point is not an int"),
        BROKEN(ROWS(TUPLE(TORCH("per_tensor_symmetric") REAL("1.0") INT("0"))), "R.", VALUE_UNSUPPORTED, "T8.scheme",
               "unknown scheme"),
        BROKEN(ROWS(TUPLE(TORCH("per_channel_symmetric") SCALES("2") ZEROS("2") INT("0"))), "R.", VALUE_UNSUPPORTED, "T8.scheme", ""),
        BROKEN(ROWS(TUPLE("N" REAL("1.0") INT("0"))), "R.", VALUE_UNSUPPORTED, "T8.scheme", "unknown scheme"),
        BROKEN(ROWS(TUPLE(TORCH("per_channel_affine") SCALES("2") ZEROS("2"))), "R.", VALUE_UNSUPPORTED, "T8.scheme", ""),
        BROKEN(ROWS(PER_CHANNEL(SCALES("2"), ZEROS("2"), "7")), "R.", BOUNDS, "T8.axis", "a quantized tensor of 2 dimensions"),
        BROKEN(ROWS(PER_CHANNEL(SCALES("2"), ZEROS("2"), "-1")), "R.", BOUNDS, "T8.axis", "2 dimensions"),
        BROKEN(ROWS(TUPLE(TORCH("per_channel_affine") SCALES("2") ZEROS("2") "N")), "R.", BOUNDS, "T8.axis", ""),
        BROKEN(ROWS(PER_CHANNEL("N", ZEROS("2"), "0")), "R.", PICKLE_MALFORMED, "T8.channels", "scales are None"),
        BROKEN(ROWS(PER_CHANNEL(SCALES("2"), "N", "0")), "R.", PICKLE_MALFORMED, "T8.channels", "zero points are None"),
        BROKEN(ROWS(PER_CHANNEL(SCALES("1"), ZEROS("2"), "0")), "R.", BOUNDS, "T8.length", "1 scales for 2 channels"),
        BROKEN(ROWS(PER_CHANNEL(TENSOR_OF(STORAGE("DoubleStorage", "1", "2"), "0", INT("2") INT("1"), INT("1") INT("1")), ZEROS("2"), "0")),
               "R.", BOUNDS, "T8.length", "2 scales for 2 channels"),
        BROKEN(ROWS(PER_CHANNEL(META(SIZE1("2"), SIZE1("1")), ZEROS("2"), "0")), "R.", BOUNDS, "T8.length", "2 scales for 2 channels"),
        BROKEN(ROWS(PER_CHANNEL(SCALES("2"), ZEROS("3"), "0")), "R.", BOUNDS, "T8.length", "3 zero points for 2 channels"),
        BROKEN(QTENSOR(FLOATS, SIZE1("4"), SIZE1("1"), PER_TENSOR), "R.", VALUE_UNSUPPORTED, "T8.dtype",
               "a quantized tensor of dtype float32"),
        BROKEN(QTENSOR(QINT8, SIZE1("17"), SIZE1("1"), PER_TENSOR), "R.", BOUNDS, "T3.last", "element 16"),
        BROKEN(QTENSOR(STORAGE("QUInt4x2Storage", "0", "16"), SIZE1("33"), SIZE1("1"), PER_TENSOR), "R.", BOUNDS, "T3.last",
               "reaches element 32, its storage holds 32"),
        BROKEN(QTENSOR(QINT8, SIZE1("4"), SIZE1("4611686018427387904"), PER_TENSOR), "R.", BOUNDS, "T3.last", ""),
        BROKEN(ARGS2(QINT8, INT("0"), SIZE1("4"), SIZE1("1"), FALSE_, HOOKS), "R.", VALUE_UNSUPPORTED, "T8.plain",
               "a tensor of dtype qint8 without a quantizer"),
    };
    OPEN_BROKEN(cases);
}

/* --- parameters and subclasses ------------------------------------------------------------- */

static void parameters_are_their_data(void) {
    static const fine_pickle cases[] = {
        FINE_PICKLE(CALL(UTILS("_rebuild_parameter"), TENSOR TRUE_ HOOKS) "."),
        FINE_PICKLE(CALL(UTILS("_rebuild_parameter_with_state"), TENSOR TRUE_ HOOKS DICT(TEXT("a") INT("1"))) "."),
        FINE_PICKLE(CALL(PARAMETER, TENSOR) "."),
        FINE_PICKLE(CALL(PARAMETER, TENSOR FALSE_) "."),
        FINE_PICKLE(PARAMETER "(" TENSOR TRUE_ "t\x81."),
        FINE_PICKLE(CALL(PARAMETER, TENSOR) TUPLE(TRUE_ FALSE_ "N") "b."),        /* torch 0.2 and 0.3 */
        FINE_PICKLE(CALL(PARAMETER, TENSOR) TUPLE(TRUE_ FALSE_ HOOKS) "b."),
        FINE_PICKLE(CALL(GLOBAL_OF("torch.nn", "Parameter"), TENSOR) "."),
        FINE_PICKLE(CALL(GLOBAL_OF("torch._tensor", "_rebuild_from_type_v2"),
                         V2 TORCH("Tensor") TUPLE(FLOATS INT("0") SIZE1("4") SIZE1("1") FALSE_ HOOKS) "}") "."),
        FINE_PICKLE(CALL(GLOBAL_OF("torch._tensor", "_rebuild_from_type"),
                         UTILS("_rebuild_parameter") PARAMETER TUPLE(TENSOR TRUE_ HOOKS) "}") "."),
    };
    OPEN_FINE(cases);
    ptio_error err = {0};
    opened o;
    ASSERT_OK(open_pickle(&o, cases[0].pickle, cases[0].size, NULL, &err));
    ASSERT_EQUAL(opened_tensor(&o)->flags, PTIO_T_REQUIRES_GRAD);
    opened_free(&o);
    ASSERT_OK(open_pickle(&o, cases[5].pickle, cases[5].size, NULL, &err));
    ASSERT_EQUAL(opened_tensor(&o)->flags, PTIO_T_REQUIRES_GRAD);
    opened_free(&o);
}

static void parameters_that_are_refused(void) {
#define FROM_TYPE(function, class_, arguments) \
    GLOBAL_OF("torch._tensor", "_rebuild_from_type_v2") "(" function class_ arguments "}t"
    static const broken_pickle cases[] = {
        BROKEN(UTILS("_rebuild_parameter") "(N" TRUE_ HOOKS "t", "R.", PICKLE_MALFORMED, "P8.tensor", "data is None"),
        BROKEN(PARAMETER "(" FLOATS "t", "R.", PICKLE_MALFORMED, "P8.tensor", "data is a storage"),
        BROKEN(UTILS("_rebuild_parameter") "(" TENSOR "N" HOOKS "t", "R.", PICKLE_MALFORMED, "T7.bool", "None"),
        BROKEN(UTILS("_rebuild_parameter") "(" TENSOR TRUE_ "]t", "R.", PICKLE_MALFORMED, "T7.hooks", "hooks"),
        BROKEN(CALL(PARAMETER, TENSOR) "N", "b.", PICKLE_MALFORMED, "T7.state", "a parameter's state is None"),
        BROKEN(TUPLE(FALSE_ FALSE_ HOOKS) "0" CALL(PARAMETER, TENSOR) FORGED_TUPLE(3, "\0"), "b.", PICKLE_MALFORMED, "T7.state",
               "a parameter's state is an int"),
        BROKEN(CALL(PARAMETER, TENSOR) "(NNt", "b.", PICKLE_MALFORMED, "T7.state", "a tuple"),
        BROKEN(CALL(PARAMETER, TENSOR) "(" TRUE_ "NNt", "b.", PICKLE_MALFORMED, "T7.volatile", "volatile flag is None"),
        BROKEN(CALL(PARAMETER, TENSOR) "(N" FALSE_ "Nt", "b.", PICKLE_MALFORMED, "T7.bool", "requires_grad is None"),
        BROKEN(CALL(UTILS("_rebuild_parameter"), TENSOR TRUE_ HOOKS) "}", "b.", PICKLE_MALFORMED, "P6.kind", "BUILD on"),
        BROKEN(FROM_TYPE(V2, "N", ")"), "R.", PICKLE_MALFORMED, "P8.subclass", "a tensor's class is None"),
        BROKEN(FROM_TYPE(V2, TORCH("Size"), ")"), "R.", PICKLE_MALFORMED, "P8.subclass", "a class or function"),
        BROKEN(FROM_TYPE(V2, TORCH("QUInt8Storage"), ")"), "R.", PICKLE_MALFORMED, "P8.subclass", "a class"),
        BROKEN(FROM_TYPE(V2, TORCH("Tensor"), "]"), "R.", PICKLE_MALFORMED, "P8.inner-tuple", "arguments are a list"),
        BROKEN(FROM_TYPE("N", TORCH("Tensor"), ")"), "R.", PICKLE_MALFORMED, "P8.rebuild", "rebuild function is None"),
        BROKEN(FROM_TYPE(TORCH("Size"), TORCH("Tensor"), ")"), "R.", PICKLE_MALFORMED, "P8.rebuild-kind",
               "torch.Size does not rebuild a tensor"),
        BROKEN(FROM_TYPE(TORCH("FloatStorage"), TORCH("Tensor"), ")"), "R.", PICKLE_MALFORMED, "P8.rebuild-kind", ""),
        BROKEN(FROM_TYPE(GLOBAL_OF("torch._tensor", "_rebuild_from_type_v2"), TORCH("Tensor"), ")"), "R.", PICKLE_MALFORMED,
               "P8.rebuild-kind", "_rebuild_from_type_v2 does not rebuild"),
        BROKEN(FROM_TYPE(V2, TORCH("Tensor"), ")"), "R.", PICKLE_MALFORMED, "P8.arity", "called with 0 arguments"),
        BROKEN(FROM_TYPE(V2, TORCH("Tensor"), TUPLE(FLOATS INT("1") SIZE1("4") SIZE1("1") FALSE_ HOOKS)), "R.", BOUNDS,
               "T3.last", "element 4"),
    };
    OPEN_BROKEN(cases);
}

static void unknown_subclasses_are_data(void) {
    static const fine_pickle cases[] = {
        FINE_PICKLE(FROM_TYPE(V2, UNKNOWN, TUPLE(FLOATS INT("0") SIZE1("4") SIZE1("1") FALSE_ HOOKS)) "R."),
        FINE_PICKLE(FROM_TYPE(UNKNOWN, TORCH("Tensor"), "(NNt") "R."),
        FINE_PICKLE(CALL(PARAMETER, OPAQUE) "."),
        FINE_PICKLE(CALL(UTILS("_rebuild_parameter"), FROM_TYPE(UNKNOWN, UNKNOWN, ")") "R" TRUE_ HOOKS) "."),
    };
    OPEN_FINE_INERT(cases);
}

/* --- tensors without data, of other devices, and of several parts ---------------------------- */

static void tensors_without_data(void) {
    static const fine_pickle cases[] = {
        FINE_PICKLE(META(SIZE1("1000000000000"), SIZE1("1")) "."),
        FINE_PICKLE(META(")", ")") "."),
        FINE_PICKLE(CALL(UTILS("_rebuild_wrapper_subclass"), TORCH("Tensor") FLOAT32 SIZE1("4") SIZE1("1") INT("0")
                         CALL(GLOBAL_OF("torch.serialization", "_get_layout"), TEXT("torch.strided"))
                         CALL(TORCH("device"), TEXT("cpu")) FALSE_) "."),
        FINE_PICKLE(CALL(V2, STORAGE_ID(TORCH("FloatStorage"), "9", "meta", "4") "Q" INT("0") SIZE1("4") SIZE1("1") FALSE_
                         HOOKS) "."),
    };
    OPEN_FINE(cases);
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        ptio_error err = {0};
        opened o;
        ASSERT_OK(open_pickle(&o, cases[i].pickle, cases[i].size, NULL, &err));
        ASSERT_EQUAL(opened_tensor(&o)->storage, PTIO_NO_STORAGE);
        ASSERT_EQUAL(opened_root(&o)->kind, PTIO_N_TENSOR);
        opened_free(&o);
    }
    static const broken_pickle broken[] = {
        BROKEN(UTILS("_rebuild_meta_tensor_no_storage") "(" FLOAT32 SIZE1("-1") SIZE1("1") FALSE_ "t", "R.", BOUNDS, "T2.size", ""),
        BROKEN(UTILS("_rebuild_meta_tensor_no_storage") "(" FLOAT32 SIZE1("4611686018427387904") SIZE1("1") FALSE_ "t", "R.",
               BOUNDS, "T3.bytes", "larger than any memory"),
        BROKEN(UTILS("_rebuild_meta_tensor_no_storage") "(N))" FALSE_ "t", "R.", PICKLE_MALFORMED, "P8.dtype", "None"),
        BROKEN(UTILS("_rebuild_meta_tensor_no_storage") "(" FLOAT32 "))Nt", "R.", PICKLE_MALFORMED, "T7.bool", "None"),
    };
    OPEN_BROKEN(broken);
}

#define NUMPY_FLOATS                                                                                              \
    CALL(GLOBAL_OF("numpy.core.multiarray", "_reconstruct"), GLOBAL_OF("numpy", "ndarray") TUPLE(INT("0")) "C\1b") \
    TUPLE(INT("1") TUPLE(INT("1")) CALL(GLOBAL_OF("numpy", "dtype"), TEXT("f4") FALSE_ TRUE_) FALSE_ "C\4abcd") "b"

static void tensors_of_other_devices(void) {
#define FROM_NUMPY UTILS("_rebuild_device_tensor_from_numpy")
#define FROM_CPU UTILS("_rebuild_device_tensor_from_cpu_tensor")
    static const fine_pickle cases[] = {
        FINE_PICKLE(CALL(FROM_NUMPY, NUMPY_FLOATS FLOAT32 TEXT("xla:0") FALSE_) "."),
        FINE_PICKLE(CALL(UTILS("_rebuild_xla_tensor"), NUMPY_FLOATS FLOAT32 TEXT("xla:0") FALSE_) "."),
        FINE_PICKLE(CALL(FROM_CPU, TENSOR FLOAT32 TEXT("maia") TRUE_) "."),
    };
    OPEN_FINE(cases);
    static const broken_pickle broken[] = {
        BROKEN(FROM_CPU "(" TENSOR FLOAT32 "N" TRUE_ "t", "R.", PICKLE_MALFORMED, "P8.device", "a tensor's device is None"),
        BROKEN(FROM_CPU "(" TENSOR FLOAT32 TEXT("x") "Nt", "R.", PICKLE_MALFORMED, "T7.device-grad", "requires_grad is None"),
        BROKEN(FROM_CPU "(" TENSOR "N" TEXT("x") TRUE_ "t", "R.", PICKLE_MALFORMED, "P8.dtype", "None"),
        BROKEN(FROM_CPU "(" NUMPY_FLOATS FLOAT32 TEXT("x") TRUE_ "t", "R.", PICKLE_MALFORMED, "P8.tensor", "numpy_array"),
        BROKEN(FROM_NUMPY "(N" FLOAT32 TEXT("x") TRUE_ "t", "R.", PICKLE_MALFORMED, "P8.tensor", "None"),
    };
    OPEN_BROKEN(broken);
}

#define LAYOUT(name) CALL(GLOBAL_OF("torch.serialization", "_get_layout"), TEXT(name))
#define SPARSE(layout, parts) UTILS("_rebuild_sparse_tensor") "(" layout parts "t"
#define NESTED UTILS("_rebuild_nested_tensor")
#define NJT GLOBAL_OF("torch.nested._internal.nested_tensor", "_rebuild_njt")

static void tensors_of_several_parts(void) {
    static const fine_pickle cases[] = {
        FINE_PICKLE(SPARSE(LAYOUT("torch.sparse_coo"), TUPLE(INDICES TENSOR SIZE1("4"))) "R."),
        FINE_PICKLE(SPARSE(LAYOUT("torch.sparse_coo"), TUPLE(INDICES TENSOR SIZE1("4") TRUE_)) "R."),
        FINE_PICKLE(SPARSE(LAYOUT("torch.sparse_coo"), TUPLE(INDICES TENSOR CALL(TORCH("Size"), SIZE1("4")) "N")) "R."),
        FINE_PICKLE(SPARSE(LAYOUT("torch.sparse_csr"), TUPLE(INDICES INDICES TENSOR SIZE2("2", "2"))) "R."),
        FINE_PICKLE(SPARSE(LAYOUT("torch.sparse_bsc"), TUPLE(INDICES INDICES TENSOR SIZE2("2", "2"))) "R."),
        FINE_PICKLE(CALL(NESTED, TENSOR INDICES INDICES INDICES) "."),
        FINE_PICKLE(CALL(NJT, "}") "."),
        FINE_PICKLE(CALL(UTILS("_rebuild_parameter"), CALL(NESTED, TENSOR INDICES INDICES INDICES) TRUE_ HOOKS) "."),
    };
    OPEN_FINE(cases);
    static const broken_pickle broken[] = {
        BROKEN(SPARSE("N", ")"), "R.", VALUE_UNSUPPORTED, "P8.layout", "a layout that is not sparse"),
        BROKEN(SPARSE(LAYOUT("torch.strided"), ")"), "R.", VALUE_UNSUPPORTED, "P8.layout", "not sparse"),
        BROKEN(SPARSE(LAYOUT("torch.sparse_coo"), "N"), "R.", PICKLE_MALFORMED, "P8.sparse", "parts are None"),
        BROKEN(TUPLE(INDICES TENSOR SIZE1("4")) "0" SPARSE(LAYOUT("torch.sparse_coo"), FORGED_TUPLE(3, "\33")), "R.", PICKLE_MALFORMED,
               "P8.sparse", "parts are an int"),
        BROKEN(SPARSE(LAYOUT("torch.sparse_coo"), TUPLE(INDICES TENSOR)), "R.", PICKLE_MALFORMED, "P8.sparse", "a tuple"),
        BROKEN(SPARSE(LAYOUT("torch.sparse_csr"), TUPLE(INDICES INDICES TENSOR SIZE1("4") TRUE_)), "R.", PICKLE_MALFORMED,
               "P8.sparse", "a tuple"),
        BROKEN(SPARSE(LAYOUT("torch.sparse_coo"), TUPLE(INDICES "N" SIZE1("4"))), "R.", PICKLE_MALFORMED, "P8.parts",
               "part 1 of a sparse tensor is None"),
        BROKEN(SPARSE(LAYOUT("torch.sparse_coo"), TUPLE(INDICES META(SIZE1("4"), SIZE1("1")) SIZE1("4"))), "R.",
               PICKLE_MALFORMED, "P8.parts", "part 1 of a sparse tensor is a tensor"),
        BROKEN(SPARSE(LAYOUT("torch.sparse_coo"), TUPLE(INDICES TENSOR SIZE1("4") INT("1"))), "R.", PICKLE_MALFORMED,
               "P8.coalesced", "is_coalesced is an int"),
        BROKEN(SPARSE(LAYOUT("torch.sparse_coo"), TUPLE(INDICES TENSOR "N")), "R.", PICKLE_MALFORMED, "T2.tuple", "size is None"),
        BROKEN(NESTED "(" TENSOR INDICES INDICES "Nt", "R.", PICKLE_MALFORMED, "P8.parts", "part 3 of a nested tensor is None"),
        BROKEN(NJT "(Nt", "R.", PICKLE_MALFORMED, "P8.jagged", "a jagged tensor's state is None"),
        BROKEN(GLOBAL_OF("torch.serialization", "_get_layout") "(" TEXT("torch.other") "t", "R.", VALUE_UNSUPPORTED,
               "P8.layout-name", "a tensor layout that ptio does not know"),
        BROKEN(GLOBAL_OF("torch.serialization", "_get_layout") "(C\20torch.sparse_coot", "R.", VALUE_UNSUPPORTED, "P8.layout-name",
               "layout"),
        BROKEN(GLOBAL_OF("torch.serialization", "_get_layout") "(Nt", "R.", VALUE_UNSUPPORTED, "P8.layout-name", "layout"),
    };
    OPEN_BROKEN(broken);
}

/* --- byte order ---------------------------------------------------------------------------------- */

/* The unit in which a storage is swapped, where that is to be done, is that of its readers. */
static void storages_of_another_machine(void) {
    const char *own = machine_is_big_endian() ? "big" : "little", *other = machine_is_big_endian() ? "little" : "big";
    static const char half[] = CALL(V3, UNTYPED("0", "16") INT("0") SIZE1("8") SIZE1("1") FALSE_ HOOKS TORCH("float16"));
    static const char whole[] = CALL(V3, UNTYPED("0", "16") INT("0") SIZE1("4") SIZE1("1") FALSE_ HOOKS TORCH("float32"));
    pickle_buffer p = {0};
    ptio_error err = {0};
    opened o;
    ASSERT_OK(open_pickle_of(&o, LITERAL(CALL(V2, STORAGE("ComplexFloatStorage", "0", "2") INT("0") SIZE1("2") SIZE1("1")
                                              FALSE_ HOOKS) "."), "big", NULL, &err));
    ASSERT_TRUE(o.c.big_endian);
    ASSERT_EQUAL(o.c.storages[0].swap_bytes, 4); /* halves */
    opened_free(&o);
    ADD(&p, "(");
    pickle_add(&p, half, sizeof half - 1);
    pickle_add(&p, half, sizeof half - 1);
    pickle_add(&p, whole, sizeof whole - 2);
    size_t at = p.size;
    ADD(&p, "Rt.");
    ASSERT_OK(open_pickle_of(&o, p.bytes, p.size, own, NULL, &err));
    ASSERT_EQUAL(o.c.storages[0].alignment, 4);
    opened_free(&o);
    ASSERT_OK(open_pickle_of(&o, LITERAL(CALL(V3, FLOATS INT("0") SIZE1("8") SIZE1("1") FALSE_ HOOKS TORCH("int16")) "."),
                             own, NULL, &err));
    opened_free(&o);
    ASSERT_FAILS(open_pickle_of(&o, p.bytes, p.size, other, NULL, &err), VALUE_UNSUPPORTED, "T6.unit",
                 "read as two dtypes of different sizes", at);
    opened_free(&o);
    pickle_free(&p);
}

/* A conjugate view of a few bytes becomes an array of many: they are counted. */
static void views_that_need_memory_are_charged(void) {
    static const char pickle[] = CALL(V2, FLOATS INT("0") SIZE1("100000000000") SIZE1("0") FALSE_ HOOKS
                                      DICT(TEXT("conj") TRUE_)) ".";
    ptio_error err = {0};
    opened o;
    ASSERT_FAILS(open_pickle(&o, LITERAL(pickle), NULL, &err), LIMIT, "R.object-bytes", "limit object_bytes",
                 sizeof pickle - 3);
    opened_free(&o);
}

void suite_vet_tensors(void) {
    RUN(versions_one_to_three);
    RUN(tensors_that_torch_writes);
    RUN(metadata_of_views);
    RUN(arguments_of_the_wrong_kind);
    RUN(tensors_outside_their_storage);
    RUN(too_many_dimensions);
    RUN(gradients_need_a_dtype_that_has_them);
    RUN(quantized_tensors);
    RUN(quantizers_that_are_refused);
    RUN(parameters_are_their_data);
    RUN(parameters_that_are_refused);
    RUN(unknown_subclasses_are_data);
    RUN(tensors_without_data);
    RUN(tensors_of_other_devices);
    RUN(tensors_of_several_parts);
    RUN(storages_of_another_machine);
    RUN(views_that_need_memory_are_charged);
}
