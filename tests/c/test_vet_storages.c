/* SPDX-License-Identifier: Apache-2.0
 *
 * Persistent ids: a storage is exactly its record.
 */
#include "pickle_builder.h"

void suite_vet_storages(void);

#define ID(word, class_, key, location, count) "(" word class_ key location count "t"
#define WORD TEXT("storage")
#define FLOAT TORCH("FloatStorage")

static void ids_of_another_shape(void) {
    static const broken_pickle cases[] = {
        BROKEN("K\1", "Q.", PICKLE_MALFORMED, "P10.tuple", "a persistent id is an int, only a storage's tuple"),
        BROKEN("V" "storage\n", "Q.", PICKLE_MALFORMED, "P10.tuple", "a persistent id is a str"),
        BROKEN("]", "Q.", PICKLE_MALFORMED, "P10.tuple", "a list"),
        BROKEN(")", "Q.", PICKLE_MALFORMED, "P10.items", "has 0 items instead of 5"),
        BROKEN("(" WORD FLOAT TEXT("0") TEXT("cpu") "t", "Q.", PICKLE_MALFORMED, "P10.items", "4 items"),
        BROKEN("(" WORD FLOAT TEXT("0") TEXT("cpu") INT("4") "Nt", "Q.", PICKLE_MALFORMED, "P10.items", "6 items"),
        BROKEN("(" WORD FLOAT TEXT("0") TEXT("cpu") INT("4") "NNt", "Q.", PICKLE_MALFORMED, "P10.items", "7 items"),
        BROKEN(ID(TEXT("module"), FLOAT, TEXT("0"), TEXT("cpu"), INT("4")), "Q.", PICKLE_MALFORMED, "P10.storage",
               "a persistent id that is no storage"),
        BROKEN(ID("N", FLOAT, TEXT("0"), TEXT("cpu"), INT("4")), "Q.", PICKLE_MALFORMED, "P10.storage", "no storage"),
        BROKEN(ID(WORD, "N", TEXT("0"), TEXT("cpu"), INT("4")), "Q.", PICKLE_MALFORMED, "P10.class",
               "a storage's class is None"),
        BROKEN(ID(WORD, TORCH("Size"), TEXT("0"), TEXT("cpu"), INT("4")), "Q.", PICKLE_MALFORMED, "P10.class",
               "a class or function"),
        BROKEN(ID(WORD, TORCH("float32"), TEXT("0"), TEXT("cpu"), INT("4")), "Q.", PICKLE_MALFORMED, "P10.class",
               "a dtype"),
        BROKEN(ID(WORD, TEXT("FloatStorage"), TEXT("0"), TEXT("cpu"), INT("4")), "Q.", PICKLE_MALFORMED, "P10.class",
               "a str"),
    };
    OPEN_BROKEN(cases);
}

static void keys_and_locations(void) {
#define KEYED(key) ID(WORD, FLOAT, key, TEXT("cpu"), INT("4"))
#define LOCATED(location) ID(WORD, FLOAT, TEXT("0"), location, INT("4"))
    static const broken_pickle cases[] = {
        BROKEN(KEYED(INT("0")), "Q.", PICKLE_MALFORMED, "P10.key", "a storage's key is an int"),
        BROKEN(KEYED("N"), "Q.", PICKLE_MALFORMED, "P10.key", "None"),
        BROKEN(KEYED(TEXT("")), "Q.", PICKLE_MALFORMED, "Z12.length", "has 0 characters"),
        BROKEN(KEYED(TEXT("../../x")), "Q.", PICKLE_MALFORMED, "Z12.characters", "key '../../x' has a character outside"),
        BROKEN(KEYED(TEXT("0\\u0000")), "Q.", PICKLE_MALFORMED, "Z12.characters", "'0\\x00'"),
        BROKEN(KEYED(TEXT("\\u0660")), "Q.", PICKLE_MALFORMED, "Z12.characters", "character outside"),
        BROKEN(KEYED("C\2" "0\n"), "Q.", PICKLE_MALFORMED, "Z12.characters", "'0\\x0a'"),
        BROKEN(LOCATED("N"), "Q.", PICKLE_MALFORMED, "P10.location", "a storage's location is None"),
        BROKEN(LOCATED("K\1"), "Q.", PICKLE_MALFORMED, "P10.location", "an int"),
        BROKEN(LOCATED(TEXT("cp\\u00fc")), "Q.", PICKLE_MALFORMED, "P10.ascii", "location is not ASCII"),
        BROKEN(LOCATED("U\1\xff"), "Q.", PICKLE_MALFORMED, "P10.ascii", "location is not ASCII"),
    };
    OPEN_BROKEN(cases);
}

static void keys_and_locations_have_a_longest(void) {
    for (unsigned what = 0; what < 4; what++) {
        pickle_buffer p = {0};
        ptio_error err = {0};
        opened o;
        ADD(&p, "(" WORD FLOAT);
        if (what >= 2) ADD(&p, TEXT("0"));
        ADD(&p, "V");
        ADD_TIMES(&p, "0", what & 1 ? 129 : 128);
        ADD(&p, "\n");
        if (what < 2) ADD(&p, TEXT("cpu"));
        ADD(&p, INT("4") "t");
        size_t at = p.size;
        ADD(&p, "Q.");
        ptio_status status = open_pickle(&o, p.bytes, p.size, NULL, &err);
        if (what == 0) ASSERT_FAILS(status, RECORD_MISSING, "T1.record", "000' has no record", at);
        if (what == 1) ASSERT_FAILS(status, PICKLE_MALFORMED, "Z12.length", "has 129 characters, 1 to 128", at);
        if (what == 2) ASSERT_TRUE(status == PTIO_OK);
        if (what == 3) ASSERT_FAILS(status, PICKLE_MALFORMED, "P10.length", "has 129 characters, up to 128", at);
        opened_free(&o);
        pickle_free(&p);
    }
}

static void sizes_are_those_of_the_record(void) {
#define COUNTED(class_, count) ID(WORD, TORCH(class_), TEXT("0"), TEXT("cpu"), count)
    static const broken_pickle cases[] = {
        BROKEN(COUNTED("FloatStorage", INT("1000000")), "Q.", BOUNDS, "T1.size",
               "storage '0' declares 4000000 bytes, the record has 16"),
        BROKEN(COUNTED("FloatStorage", INT("40")), "Q.", BOUNDS, "T1.size", "160 bytes, the record has 16"),
        BROKEN(COUNTED("FloatStorage", INT("3")), "Q.", BOUNDS, "T1.size", "12 bytes, the record has 16"),
        BROKEN(COUNTED("FloatStorage", INT("0")), "Q.", BOUNDS, "T1.size", "0 bytes"),
        BROKEN(COUNTED("FloatStorage", INT("-1")), "Q.", BOUNDS, "P10.numel", "number of elements is an int"),
        BROKEN(COUNTED("FloatStorage", "\x88"), "Q.", BOUNDS, "P10.numel", "a bool"),
        BROKEN(COUNTED("FloatStorage", REAL("4.0")), "Q.", BOUNDS, "P10.numel", "a float"),
        BROKEN(COUNTED("FloatStorage", "N"), "Q.", BOUNDS, "P10.numel", "None"),
        BROKEN(COUNTED("FloatStorage", INT("18446744073709551620")), "Q.", BOUNDS, "P10.numel", "a large int"),
        BROKEN(COUNTED("FloatStorage", INT("4611686018427387904")), "Q.", BOUNDS, "T1.overflow", "larger than any memory"),
        BROKEN(COUNTED("DoubleStorage", INT("2305843009213693954")), "Q.", BOUNDS, "T1.overflow", "2305843009213693954"),
        BROKEN(FLOATS "0" COUNTED("DoubleStorage", INT("400")), "Q.", BOUNDS, "T1.size", "3200 bytes"),
        BROKEN(ID(WORD, FLOAT, TEXT("nowhere"), TEXT("cpu"), INT("4")), "Q.", RECORD_MISSING, "T1.record",
               "storage 'nowhere' has no record data/nowhere"),
        BROKEN(ID(WORD, FLOAT, TEXT("EMPTY"), TEXT("cpu"), INT("0")), "Q.", RECORD_MISSING, "T1.record", "EMPTY"),
    };
    OPEN_BROKEN(cases);
}

static void what_torch_writes_is_read(void) {
    static const fine_pickle cases[] = {
        FINE_PICKLE(FLOATS "."),
        FINE_PICKLE(STORAGE("DoubleStorage", "0", "2") "."),
        FINE_PICKLE(STORAGE("QUInt4x2Storage", "0", "16") "."),
        FINE_PICKLE(UNTYPED("0", "16") "."),
        FINE_PICKLE(STORAGE("FloatStorage", "empty", "0") "."),
        FINE_PICKLE("(" PY2("storage") FLOAT PY2("0") PY2("cuda:0") INT("4") "tQ."),
        FINE_PICKLE("(C\7storage" FLOAT "C\1" "0C\3cpu" INT("4") "tQ."),
        FINE_PICKLE(STORAGE_ID(GLOBAL_OF("torch.cuda", "HalfStorage"), "32", "cuda:1", "16") "Q."),
        FINE_PICKLE(FLOATS FLOATS UNTYPED("0", "16") "\x87."), /* three references to one */
        FINE_PICKLE(FLOATS STORAGE("FloatStorage", "32", "8") STORAGE("LongStorage", "1", "2") "\x87."), /* any order */
    };
    OPEN_FINE(cases);
}

static void references_share_one_storage(void) {
    ptio_error err = {0};
    opened o;
    ASSERT_OK(open_pickle(&o, LITERAL(FLOATS STORAGE("IntStorage", "0", "4") STORAGE("LongStorage", "1", "2") "\x87."),
                          NULL, &err));
    ASSERT_EQUAL(o.c.storage_count, 2);
    ASSERT_EQUAL(o.c.storages[0].dtype, PTIO_FLOAT32); /* of the first reference, as in torch */
    ASSERT_EQUAL(o.c.storages[0].bytes, 16);
    ASSERT_EQUAL(o.c.storages[0].swap_bytes, 4);
    ASSERT_EQUAL(o.c.storages[1].dtype, PTIO_INT64);
    opened_free(&o);
}

static void meta_storages_have_no_record(void) {
    ptio_error err = {0};
    opened o;
    ASSERT_OK(open_pickle(&o, LITERAL(STORAGE_ID(FLOAT, "77", "meta", "1000000000000") "Q"
                                      STORAGE_ID(FLOAT, "0", "cpu", "4") "Q"
                                      STORAGE_ID(FLOAT, "78", "meta", "1") "Q\x87."), NULL, &err));
    ASSERT_EQUAL(o.c.storage_count, 3);
    ASSERT_EQUAL(o.c.storages[0].record, PTIO_NO_RECORD);
    ASSERT_TRUE(o.c.storages[1].record != PTIO_NO_RECORD);
    ASSERT_EQUAL(o.c.storages[2].record, PTIO_NO_RECORD);
    opened_free(&o);
}

void suite_vet_storages(void) {
    RUN(ids_of_another_shape);
    RUN(keys_and_locations);
    RUN(keys_and_locations_have_a_longest);
    RUN(sizes_are_those_of_the_record);
    RUN(what_torch_writes_is_read);
    RUN(references_share_one_storage);
    RUN(meta_storages_have_no_record);
}
