/* SPDX-License-Identifier: Apache-2.0
 *
 * What the archives of TorchScript and torch.package say beyond torch.save, and pickles
 * that the caller made.
 */
#include "pickle_builder.h"

void suite_vet_script(void);

#define JIT(name) GLOBAL_OF("torch.jit._pickle", name)
#define SPARSE(arguments) CALL(UTILS("_rebuild_sparse_tensor"), arguments)
#define PAIR TUPLE(INT("4") INT("4"))
#define ROWS TENSOR_OF(STORAGE("LongStorage", "1", "2"), "0", INT("2") INT("1"), INT("1") INT("1"))
#define REDUCED(rest) TUPLE(TEXT("reduce_package") rest) "Q"

static ptio_checkpoint_options as_member(void) {
    ptio_checkpoint_options options = default_options();
    options.members = (ptio_members){"data.pkl", "data/", "", NULL, 0, NULL, 0};
    options.inert = true;
    return options;
}

static void typed_lists_and_tags_are_their_values(void) {
    static const broken_pickle broken[] = {
        BROKEN(JIT("build_intlist") "(Nt", "R.", PICKLE_MALFORMED, "P8.typed-list", "a typed list is made of None"),
        BROKEN(JIT("build_tensorlist") "(" TUPLE(INT("1")) "t", "R.", PICKLE_MALFORMED, "P8.typed-list", "a tuple"),
        BROKEN(JIT("restore_type_tag") "(]Nt", "R.", PICKLE_MALFORMED, "P8.type-tag", "a type is named by None"),
    };
    static const fine_pickle fine[] = {
        FINE_PICKLE(CALL(JIT("build_boollist"), LIST(TRUE_)) "."),
        FINE_PICKLE(CALL(JIT("build_doublelist"), "]") "."),
        FINE_PICKLE(CALL(JIT("restore_type_tag"), LIST(INT("1")) TEXT("List[int]")) "."),
    };
    opened o;
    ptio_error err = {0};
    OPEN_BROKEN(broken);
    OPEN_FINE(fine);
    ASSERT_OK(open_pickle(&o, LITERAL(CALL(JIT("build_intlist"), LIST(INT("1"))) "."), NULL, &err));
    ASSERT_TRUE(opened_root(&o)->kind == PTIO_N_LIST);
    opened_free(&o);
}

static void sparse_tensors_as_cplusplus_writes_them(void) {
    static const broken_pickle broken[] = {
        BROKEN(UTILS("_rebuild_sparse_tensor") "(" INT("1") PAIR FALSE_ INDICES TENSOR INDICES HOOKS "t", "R.",
               PICKLE_MALFORMED, "P8.script-sparse", "a sparse tensor of TorchScript with 7 arguments"),
        BROKEN(UTILS("_rebuild_sparse_tensor") "(" INT("2") PAIR FALSE_ INDICES TENSOR HOOKS "t", "R.",
               PICKLE_MALFORMED, "P8.script-sparse", "with 6 arguments"),
        BROKEN(UTILS("_rebuild_sparse_tensor") "(" INT("1") PAIR FALSE_ "t", "R.", PICKLE_MALFORMED,
               "P8.script-sparse", "with 3 arguments"),
        BROKEN(UTILS("_rebuild_sparse_tensor") "(" INT("3") PAIR FALSE_ INDICES TENSOR HOOKS "t", "R.",
               PICKLE_MALFORMED, "P8.script-sparse", "with 6 arguments"),
        BROKEN(UTILS("_rebuild_sparse_tensor") "(" INT("0") PAIR FALSE_ INDICES INDICES TENSOR HOOKS "t", "R.",
               PICKLE_MALFORMED, "P8.script-sparse", "with 7 arguments"),
        BROKEN(UTILS("_rebuild_sparse_tensor") "(" INT("3") PAIR FALSE_ INDICES INDICES TENSOR HOOKS "t", "R.",
               PICKLE_MALFORMED, "P8.script-sparse", "with 7 arguments"),
        BROKEN(UTILS("_rebuild_sparse_tensor") "(" INT("2") PAIR FALSE_ INDICES HOOKS "t", "R.", PICKLE_MALFORMED,
               "P8.script-sparse", "with 5 arguments"),
        /* a float with the bits of 1 */
        BROKEN(UTILS("_rebuild_sparse_tensor") "(G\0\0\0\0\0\0\0\1" PAIR FALSE_ INDICES TENSOR HOOKS "t", "R.",
               PICKLE_MALFORMED, "P8.script-sparse", "with 6 arguments"),
        BROKEN(UTILS("_rebuild_sparse_tensor") "(" INT("1") PAIR FALSE_ "N" TENSOR HOOKS "t", "R.", PICKLE_MALFORMED,
               "P8.parts", "part 0 of a sparse tensor is None"),
        BROKEN(UTILS("_rebuild_sparse_tensor") "(" INT("1") "]" FALSE_ INDICES TENSOR HOOKS "t", "R.",
               PICKLE_MALFORMED, "T2.tuple", "a tensor's size is a list"),
        BROKEN(UTILS("_rebuild_sparse_tensor") "(" INT("1") PAIR "N" INDICES TENSOR HOOKS "t", "R.",
               PICKLE_MALFORMED, "T7.bool", "requires_grad is None"),
        BROKEN(UTILS("_rebuild_sparse_tensor") "(" INT("1") PAIR FALSE_ INDICES TENSOR "]t", "R.", PICKLE_MALFORMED,
               "T7.hooks", "backward hooks"),
    };
    static const fine_pickle fine[] = {
        FINE_PICKLE(SPARSE(INT("1") PAIR FALSE_ ROWS TENSOR HOOKS) "."),
        FINE_PICKLE(SPARSE(INT("2") PAIR FALSE_ INDICES INDICES TENSOR HOOKS) "."),
    };
    OPEN_BROKEN(broken);
    OPEN_FINE(fine);
}

static void objects_of_packages_stay_data(void) {
    static const broken_pickle broken[] = {
        BROKEN(TUPLE(TEXT("reduce_package") ")"), "Q.", PICKLE_MALFORMED, "P10.package", "has 2 items"),
        BROKEN(TUPLE(TEXT("reduce_package") INT("1") INT("2") UNKNOWN ")"), "Q.", PICKLE_MALFORMED, "P10.package",
               "has 5 items"),
        BROKEN(TUPLE(TEXT("reduce_package") UNKNOWN "]"), "Q.", PICKLE_MALFORMED, "P10.package-call",
               "is made by an unknown class from a list"),
        BROKEN(TUPLE(TEXT("reduce_package") UTILS("_rebuild_tensor_v2") ")"), "Q.", PICKLE_MALFORMED,
               "P10.package-call", "is made by a class or function from a tuple"),
    };
    static const broken_pickle elsewhere[] = {
        BROKEN(TUPLE(TEXT("reduce_package") INT("1") INT("1") UNKNOWN ")"), "Q.", PICKLE_MALFORMED, "P10.storage",
               "a persistent id that is no storage"),
    };
    ptio_checkpoint_options options = as_member();
    opened o;
    ptio_error err = {0};
    open_broken(__FILE__, broken, COUNT_OF(broken), &options);
    OPEN_BROKEN_INERT(elsewhere);
    ASSERT_OK(open_pickle(&o, LITERAL(REDUCED(INT("7") UNKNOWN TUPLE(TEXT("0"))) "."), &options, &err));
    ASSERT_TRUE(opened_root(&o)->kind == PTIO_N_OPAQUE_CALL);
    opened_free(&o);
    options.inert = false;
    ASSERT_FAILS(open_pickle(&o, LITERAL(REDUCED(UNKNOWN ")") "."), &options, &err), GLOBAL_FORBIDDEN, "P7.allowed",
                 "some.module.Thing", 17);
    opened_free(&o);
}

static void storages_of_packages_may_be_numbered(void) {
#define NUMBERED(key) "(" TEXT("storage") TORCH("FloatStorage") INT(key) TEXT("cpu") INT("4") "t"
    static const broken_pickle broken[] = {
        BROKEN(NUMBERED("7"), "Q.", RECORD_MISSING, "T1.record", "storage '7' has no record data/7"),
        BROKEN(NUMBERED("-1"), "Q.", PICKLE_MALFORMED, "P10.key", "a storage's key is an int"),
        BROKEN(NUMBERED("32"), "Q.", BOUNDS, "T1.size", "storage '32' declares 16 bytes, the record has 32"),
    };
    ptio_checkpoint_options options = as_member();
    opened o;
    ptio_error err = {0};
    open_broken(__FILE__, broken, COUNT_OF(broken), &options);
    ASSERT_OK(open_pickle(&o, LITERAL(NUMBERED("0") "Q."), &options, &err));
    ASSERT_TRUE(opened_root(&o)->kind == PTIO_N_STORAGE);
    opened_free(&o);
}

static void enums_are_called_with_their_value(void) {
    ptio_checkpoint_options options = as_member();
    opened o;
    ptio_error err = {0};
    ASSERT_OK(open_pickle(&o, LITERAL(UNKNOWN INT("2") "R."), &options, &err));
    const ptio_node *root = opened_root(&o);
    ASSERT_TRUE(root->kind == PTIO_N_OPAQUE_CALL && o.c.graph.nodes[root->b].count == 1);
    opened_free(&o);
    options.members.pickle = NULL;
    ASSERT_FAILS(open_pickle(&o, LITERAL(UNKNOWN INT("2") "R."), &options, &err), PICKLE_MALFORMED, "P8.tuple",
                 "arguments that are not a tuple", 22);
    opened_free(&o);
}

static void a_given_pickle_takes_the_place_of_the_member(void) {
    static const char given[] = STORAGE("FloatStorage", "0", "4") ".";
    ptio_checkpoint_options options = as_member();
    opened o;
    ptio_error err = {0};
    options.members = (ptio_members){"", "data/", "", (const uint8_t *)given, sizeof given - 1, NULL, 0};
    ASSERT_OK(open_pickle(&o, LITERAL("not read"), &options, &err));
    ASSERT_TRUE(opened_root(&o)->kind == PTIO_N_STORAGE && o.c.pickle_record == PTIO_NO_RECORD);
    opened_free(&o);
    options.members.given_size = 5;
    ASSERT_TRUE(open_pickle(&o, LITERAL("not read"), &options, &err) == PTIO_E_PICKLE_MALFORMED);
    ASSERT_TRUE(err.record[0] == '\0');
    opened_free(&o);
}

static ptio_status open_parts(const ptio_file_part *parts, uint32_t count, const char *pickle, size_t size,
                              ptio_checkpoint *c, ptio_error *err) {
    static const uint8_t file[64];
    ptio_checkpoint_options options = default_options();
    ptio_source source;
    ptio_source_borrow(file, sizeof file, &source);
    options.members = (ptio_members){"", "", "", (const uint8_t *)pickle, size, parts, count};
    ptio_status status = ptio_checkpoint_open(&source, &options, c, err);
    ptio_source_close(&source);
    return status;
}

static void storages_may_be_parts_of_another_file(void) {
    ptio_file_part parts[] = {{"a", 1, 8, 16}, {"b", 1, 24, 40}};
    ptio_checkpoint c;
    ptio_error err = {0};
    ASSERT_OK(open_parts(parts, 2, LITERAL(NUMBERED("0") "Q."), &c, &err));
    ASSERT_EQUAL(c.index.records[c.storages[0].record].data, 8);
    ptio_checkpoint_free(&c);
    ASSERT_FAILS(open_parts(parts, 2, LITERAL(NUMBERED("1") "Q."), &c, &err), BOUNDS, "T1.size",
                 "declares 16 bytes, the record has 40", 42);
    ptio_checkpoint_free(&c);
    ASSERT_FAILS(open_parts(parts, 2, LITERAL(NUMBERED("2") "Q."), &c, &err), RECORD_MISSING, "T1.record",
                 "storage '2'", 42);
    ptio_checkpoint_free(&c);
    ASSERT_FAILS(open_parts(parts, 2, LITERAL(FLOATS "."), &c, &err), RECORD_MISSING, "T1.record", "storage '0'", 42);
    ptio_checkpoint_free(&c);
}

static void parts_lie_inside_the_file(void) {
    static const struct {
        uint64_t offset, size;
        bool inside;
    } cases[] = {{8, 56, true},  {64, 0, true},          {8, 57, false},
                 {65, 0, false}, {8, UINT64_MAX, false}, {UINT64_MAX, 8, false}, {0, 8, false}};
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        ptio_file_part part = {"w", 1, cases[i].offset, cases[i].size};
        ptio_checkpoint c;
        ptio_error err = {0};
        ptio_status status = open_parts(&part, 1, LITERAL("]."), &c, &err);
        if (cases[i].inside) ASSERT_OK(status);
        if (!cases[i].inside) {
            ASSERT_FAILS(status, BOUNDS, "X1.part", "do not lie inside the 64 bytes of the file", PTIO_NO_OFFSET);
            ASSERT_TEXT(err.record, "w");
        }
        ptio_checkpoint_free(&c);
    }
}

void suite_vet_script(void) {
    RUN(typed_lists_and_tags_are_their_values);
    RUN(sparse_tensors_as_cplusplus_writes_them);
    RUN(objects_of_packages_stay_data);
    RUN(storages_of_packages_may_be_numbered);
    RUN(enums_are_called_with_their_value);
    RUN(a_given_pickle_takes_the_place_of_the_member);
    RUN(storages_may_be_parts_of_another_file);
    RUN(parts_lie_inside_the_file);
}
