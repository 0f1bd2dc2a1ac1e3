/* SPDX-License-Identifier: Apache-2.0
 *
 * Files of torch before 1.6: the pickles in their order, the storages behind them.
 */
#include "legacy.h"
#include "record_read.h"

#include <stdlib.h>

#include "pickle_builder.h"
#include "sweep.h"

void suite_legacy(void);

#define MAGIC "\x80\2\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19."
#define VERSION "\x80\2M\xe9\3."
#define SYSTEM "}V" "little_endian\n\x88s."
#define HEAD MAGIC VERSION SYSTEM
#define FLOAT TORCH("FloatStorage")

/* view: "N", or VIEW(...) */
#define LEGACY_ID(class_, key, count, view) "(" TEXT("storage") class_ TEXT(key) TEXT("cpu") INT(count) view "t"
#define LEGACY(key, count) LEGACY_ID(FLOAT, key, count, "N") "Q"
#define VIEW(key, offset, size) "(" TEXT(key) offset size "t"
#define VIEWED(key, count, view) LEGACY_ID(FLOAT, key, count, view) "Q"
#define KEYS(...) "(" __VA_ARGS__ "l."
#define COUNT(n) n "\0\0\0\0\0\0\0"
#define FOUR COUNT("\4") "0123456789abcdef"

typedef struct {
    uint8_t *bytes;
    ptio_source source;
    ptio_checkpoint c;
} opened_file;

/* A copy that ends where the file does, so that a sanitizer sees reads behind it. */
static ptio_status open_file(opened_file *o, const void *bytes, size_t size, const ptio_checkpoint_options *options,
                             ptio_error *err) {
    ptio_checkpoint_options defaults = default_options();
    o->bytes = malloc(size + 1);
    memcpy(o->bytes, bytes, size);
    ptio_source_borrow(o->bytes, size, &o->source);
    return ptio_checkpoint_open(&o->source, options == NULL ? &defaults : options, &o->c, err);
}

static void close_file(opened_file *o) {
    ptio_checkpoint_free(&o->c);
    free(o->bytes);
}

typedef struct {
    int line;
    const char *bytes;
    size_t size;
    ptio_status status;
    const char *check, *fragment, *record;
    uint64_t offset;
} broken_file;

#define OBJECT(object, rest, status, check, fragment) /* fails at the last opcode of `object` */ \
    {__LINE__, LITERAL(HEAD object rest ".]."), PTIO_E_##status, check, fragment, "object", sizeof(object) - 2}
#define FILE_(bytes, status, check, fragment, offset) \
    {__LINE__, LITERAL(bytes), PTIO_E_##status, check, fragment, "", offset}
#define PICKLE_IN(record, bytes, status, check, fragment, offset) \
    {__LINE__, LITERAL(bytes), PTIO_E_##status, check, fragment, record, offset}
#define ANYWHERE PTIO_NO_OFFSET

static void open_all(const broken_file *cases, size_t count, const ptio_checkpoint_options *options) {
    for (const broken_file *f = cases; f < cases + count; f++) {
        ptio_error err = {0};
        opened_file o;
        ptio_status status = open_file(&o, f->bytes, f->size, options, &err);
        test_error(__FILE__, f->line, status, &err, f->status, f->check, f->fragment, f->offset);
        if (status != PTIO_OK && strcmp(err.record, f->record) != 0)
            test_fail(__FILE__, f->line, "in record '%s', expected '%s'", err.record, f->record);
        close_file(&o);
    }
}

static void storages_become_records(void) {
    static const char file[] = HEAD "(" TENSOR_OF(LEGACY("71", "4"), "1", INT("3"), INT("1"))
        TENSOR_OF(LEGACY("8", "1"), "0", "", "") LEGACY("71", "4") "t." KEYS(TEXT("8") PY2("71")) COUNT("\1") "wxyz" FOUR;
    ptio_error err = {0};
    opened_file o;
    ASSERT_OK(open_file(&o, LITERAL(file), NULL, &err));
    ASSERT_EQUAL(o.c.format, PTIO_FORMAT_LEGACY);
    ASSERT_EQUAL(o.c.end, sizeof file - 1);
    ASSERT_EQUAL(o.c.storage_count, 2);
    ASSERT_EQUAL(o.c.index.count, 2);
    size_t n;
    ASSERT_BYTES(ptio_zip_name(&o.c.index, 0, &n), "data/71", 7);
    ASSERT_EQUAL(n, 7);
    ASSERT_BYTES(ptio_zip_name(&o.c.index, 1, &n), "data/8", 6);
    ASSERT_EQUAL(o.c.index.records[0].data, sizeof file - 1 - 16);
    ASSERT_EQUAL(o.c.index.records[1].data, sizeof file - 1 - 16 - 8 - 4);
    ASSERT_EQUAL(ptio_zip_record_end(&o.c.index, 0), sizeof file - 1);
    ASSERT_EQUAL(ptio_zip_find(&o.c.index, "data/", "8", 1), PTIO_NO_RECORD); /* nothing is looked up */
    ASSERT_OK(ptio_zip_prove(&o.source, &o.c.index, 0, &err));
    close_file(&o);
}

static void storages_can_be_read(void) {
    static const char file[] =
        HEAD "(" LEGACY("2", "4") LEGACY("1", "1") "t." KEYS(TEXT("1") TEXT("2")) COUNT("\1") "wxyz" FOUR;
    ptio_read_options options = {.threads = 1};
    ptio_limits limits = PTIO_LIMITS_DEFAULT;
    ptio_wanted wanted[] = {{.record = 0, .alignment = 4}, {.record = 1, .alignment = 4}};
    ptio_record_verdict *verdicts;
    ptio_error err = {0};
    opened_file o;
    ASSERT_OK(open_file(&o, LITERAL(file), NULL, &err));
    ASSERT_OK(ptio_records_read(&o.source, &o.c.index, wanted, 2, &limits, &options, &err));
    ASSERT_BYTES(wanted[0].bytes, "0123456789abcdef", 16);
    ASSERT_BYTES(wanted[1].bytes, "wxyz", 4);
    ASSERT_EQUAL((uintptr_t)wanted[0].bytes % 4, 0);
    ptio_block_unref(wanted[0].block);
    ptio_block_unref(wanted[1].block);
    ASSERT_OK(ptio_records_verify(&o.source, &o.c.index, &limits, &options, &verdicts, &err));
    ASSERT_TRUE(verdicts[0].not_computed && verdicts[0].error == NULL);
    ptio_verdicts_free(verdicts, o.c.index.count);
    close_file(&o);
}

static void views_share_the_memory_of_their_root(void) {
    static const char file[] = HEAD "(" VIEWED("7", "4", VIEW("9", INT("1"), INT("2"))) LEGACY("7", "4")
        VIEWED("7", "4", VIEW("9", INT("1"), INT("2"))) TENSOR_OF(VIEWED("7", "4", VIEW("5", INT("4"), INT("0"))), "0", INT("0"), INT("1"))
        "t." KEYS(TEXT("7")) FOUR;
    ptio_error err = {0};
    opened_file o;
    ASSERT_OK(open_file(&o, LITERAL(file), NULL, &err));
    ASSERT_EQUAL(o.c.storage_count, 3);
    ASSERT_EQUAL(o.c.index.count, 1);
    ASSERT_EQUAL(o.c.storages[0].root, 0);
    ASSERT_EQUAL(o.c.storages[1].root, 0);
    ASSERT_EQUAL(o.c.storages[1].offset, 4);
    ASSERT_EQUAL(o.c.storages[1].bytes, 8);
    ASSERT_EQUAL(o.c.storages[1].record, 0);
    ASSERT_EQUAL(o.c.storages[2].offset, 16);
    close_file(&o);
}

static void persistent_ids_of_another_shape(void) {
    static const broken_file cases[] = {
        OBJECT("(" TEXT("storage") FLOAT TEXT("0") TEXT("cpu") INT("4") "tQ", "", PICKLE_MALFORMED, "P10.items",
               "has 5 items instead of 6"),
        OBJECT(LEGACY_ID(FLOAT, "0", "4", "NN") "Q", "", PICKLE_MALFORMED, "P10.items", "has 7 items"),
        OBJECT(VIEWED("0", "4", "K\1"), "", PICKLE_MALFORMED, "L1.view-tuple", "a storage's view is an int"),
        OBJECT(VIEWED("0", "4", "(" TEXT("1") INT("0") "t"), "", PICKLE_MALFORMED, "L1.view-tuple", "is a tuple"),
        OBJECT(VIEW("1", INT("0"), INT("1")) "0" VIEWED("0", "4", FORGED_TUPLE(3, "\0")), "", PICKLE_MALFORMED, "L1.view-tuple",
               "a storage's view is an int"),
        OBJECT(VIEWED("0", "4", VIEW("../x", INT("0"), INT("1"))), "", PICKLE_MALFORMED, "Z12.characters", "'../x'"),
        OBJECT(VIEWED("0", "4", VIEW("1", "N", INT("1"))), "", BOUNDS, "L1.view-int", "a storage's view is None"),
        OBJECT(VIEWED("0", "4", VIEW("1", INT("-1"), INT("1"))), "", BOUNDS, "L1.view-int", "is an int"),
        OBJECT(LEGACY_ID(TORCH("ByteStorage"), "0", "4", VIEW("1", INT("-1"), INT("1"))) "Q", "", BOUNDS, "L1.view-int", "is an int"),
        OBJECT(VIEWED("0", "4", VIEW("1", INT("4611686018427387904"), INT("1"))), "", BOUNDS, "L1.view-int", "is an int"),
        OBJECT(VIEWED("0", "4", VIEW("1", INT("1"), INT("4"))), "", BOUNDS, "L1.view",
               "a view of 16 bytes from byte 4 on of a storage that has 16"),
        OBJECT(VIEWED("0", "4", VIEW("1", INT("5"), INT("0"))), "", BOUNDS, "L1.view", "from byte 20 on"),
        OBJECT("(" VIEWED("0", "4", VIEW("1", INT("0"), INT("4"))) VIEWED("0", "4", VIEW("1", INT("0"), INT("3"))), "t",
               PICKLE_MALFORMED, "L1.view-again", "two different views have the same key"),
        OBJECT("(" VIEWED("0", "4", VIEW("1", INT("0"), INT("2"))) VIEWED("0", "4", VIEW("1", INT("1"), INT("2"))), "t",
               PICKLE_MALFORMED, "L1.view-again", "the same key"),
        OBJECT("(" VIEWED("0", "4", VIEW("1", INT("0"), INT("4"))) VIEWED("2", "4", VIEW("1", INT("0"), INT("4"))), "t",
               PICKLE_MALFORMED, "L1.view-again", "the same key"),
        OBJECT(VIEWED("0", "4", VIEW("0", INT("0"), INT("4"))), "", PICKLE_MALFORMED, "L1.view-again", "the same key"),
        OBJECT("(" LEGACY("1", "4") VIEWED("0", "4", VIEW("1", INT("0"), INT("4"))), "t", PICKLE_MALFORMED, "L1.view-again",
               "the same key"),
        OBJECT("(" VIEWED("0", "4", VIEW("1", INT("0"), INT("4"))) LEGACY("1", "4"), "t", PICKLE_MALFORMED, "L1.kind",
               "storage '1' is a view in one place"),
        OBJECT("(" LEGACY("1", "4") LEGACY("1", "3"), "t", BOUNDS, "L1.size", "declares 12 bytes here, and 16 before"),
        OBJECT("(" TEXT("module") "NNNtQ", "", PICKLE_MALFORMED, "P10.module", "a module's class is None"),
    };
    open_all(cases, COUNT_OF(cases), NULL);
}

static void views_inside_an_item_are_refused(void) {
    static const char file[] = HEAD CALL(UTILS("_rebuild_tensor_v3"), LEGACY_ID(GLOBAL_OF("torch.storage", "UntypedStorage"), "0", "8", VIEW("1", INT("1"), INT("4"))) "Q"
        INT("0") TUPLE(INT("1")) TUPLE(INT("1")) FALSE_ HOOKS TORCH("float32")) "." KEYS(TEXT("0")) COUNT("\x8") "01234567";
    ptio_error err = {0};
    opened_file o;
    ASSERT_FAILS(open_file(&o, LITERAL(file), NULL, &err), VALUE_UNSUPPORTED, "T5.view", "begins inside an item", ANYWHERE);
    close_file(&o);
}

static void classes_of_modules_need_permission(void) {
    static const char file[] = HEAD "(" TEXT("module") UNKNOWN TEXT("file.py") TEXT("class Thing") "tQ)\x81." "].";
    ptio_checkpoint_options options = default_options();
    ptio_error err = {0};
    opened_file o;
    ASSERT_FAILS(open_file(&o, LITERAL(file), NULL, &err), GLOBAL_FORBIDDEN, "P7.allowed", "some.module.Thing", 9);
    close_file(&o);
    options.inert = true;
    ASSERT_OK(open_file(&o, LITERAL(file), &options, &err));
    ASSERT_EQUAL(o.c.graph.nodes[o.c.graph.root].kind, PTIO_N_OPAQUE_CALL);
    close_file(&o);
}

static void the_first_pickles(void) {
    static const broken_file cases[] = {
        FILE_(MAGIC "V1001\n.", PICKLE_MALFORMED, "L1.version-int", "Invalid protocol version", ANYWHERE),
        FILE_(MAGIC "M\xea\3.", FORMAT_UNSUPPORTED, "L1.version", "Invalid protocol version: 1002", ANYWHERE),
        FILE_(MAGIC VERSION "].", PICKLE_MALFORMED, "L1.system", "is no dict", ANYWHERE),
        PICKLE_IN("system information", MAGIC VERSION UNKNOWN ".", GLOBAL_FORBIDDEN, "L1.global", "only plain data", 0),
        PICKLE_IN("protocol version", MAGIC "N" UNKNOWN ")R0.", GLOBAL_FORBIDDEN, "L1.global", "only plain data", 1),
        PICKLE_IN("protocol version", MAGIC "\xff.", PICKLE_MALFORMED, "P1.opcode", "no pickle opcode", 0),
        FILE_(MAGIC "M", TRUNCATED, "L1.cut", "the file ends inside the pickle of the protocol version", 16),
        FILE_(MAGIC, TRUNCATED, "L1.cut", "protocol version", 15),
        FILE_(MAGIC VERSION, TRUNCATED, "L1.cut", "system information", 21),
        FILE_(HEAD, TRUNCATED, "L1.cut", "pickle of the object", 40),
        FILE_(HEAD "N.", TRUNCATED, "L1.cut", "list of storages", 42),
    };
    open_all(cases, COUNT_OF(cases), NULL);
}

/* The kind of a file is seen before; who calls this by itself is told the same. */
static void the_magic_number_is_literal(void) {
    static const char *const files[] = {"K\1.", "\x8a\x0a\x6d\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.",
                                        "L119547037146038801333357L\n.", "L11954703714603880133335L\n.",
                                        "V119547037146038801333356\n.", "N."};
    for (size_t i = 0; i < COUNT_OF(files); i++) {
        ptio_checkpoint_options options = default_options();
        ptio_source source;
        ptio_checkpoint c = {.file_size = 0};
        ptio_error err = {0};
        ptio_source_borrow(files[i], strlen(files[i]), &source);
        ASSERT_FAILS(ptio_legacy_open(&source, &options, &c, &err), PICKLE_MALFORMED, "L1.magic", "Invalid magic number", 0);
        ptio_checkpoint_free(&c);
    }
}

static void other_protocols(void) {
    static const char text[] = "L119547037146038801333356L\n.I1001\n.(d.N.(l.";
    static const char framed[] = "\x80\4\x95\x0d\0\0\0\0\0\0\0\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19."
                                 "\x80\4\x95\4\0\0\0\0\0\0\0M\xe9\3.\x80\4}.\x80\4N.\x80\4].";
    ptio_error err = {0};
    opened_file o;
    ASSERT_OK(open_file(&o, LITERAL(text), NULL, &err));
    close_file(&o);
    ASSERT_OK(open_file(&o, LITERAL(framed), NULL, &err));
    ASSERT_EQUAL(o.c.index.count, 0);
    close_file(&o);
}

static void a_pickle_that_breaks_off_may_name_something_worse(void) {
    static const broken_file cases[] = {
        PICKLE_IN("object", HEAD UNKNOWN ")R(", GLOBAL_FORBIDDEN, "P7.allowed", "some.module.Thing", 0),
        PICKLE_IN("object", HEAD "P1\n", OPCODE_FORBIDDEN, "P9.persid", "PERSID", 0),
    };
    open_all(cases, COUNT_OF(cases), NULL);
}

#define ONE HEAD LEGACY("0", "4") "."

static void the_list_of_storages(void) {
    static const broken_file cases[] = {
        FILE_(ONE "}.", PICKLE_MALFORMED, "L1.list", "are no list", ANYWHERE),
        FILE_(ONE KEYS("K\1") FOUR, PICKLE_MALFORMED, "L1.key", "what is no text", ANYWHERE),
        FILE_(ONE "](" TEXT("0") TEXT("0") "u." FOUR, PICKLE_MALFORMED, "L1.fill", "filled like something else", ANYWHERE),
        FILE_(ONE "].", PICKLE_MALFORMED, "L1.missing", "the object has 1 storages, the file lists the keys of 0", ANYWHERE),
        FILE_(ONE KEYS(TEXT("0") TEXT("1")) FOUR FOUR, PICKLE_MALFORMED, "L1.unknown", "storage key '1' not found", ANYWHERE),
        FILE_(ONE KEYS(TEXT("0") TEXT("0")) FOUR FOUR, PICKLE_MALFORMED, "L1.twice", "storage key '0' is listed twice", ANYWHERE),
        FILE_(HEAD "N." KEYS(TEXT("0")) FOUR, PICKLE_MALFORMED, "L1.unknown", "'0' not found", ANYWHERE),
        FILE_(HEAD VIEWED("0", "4", VIEW("1", INT("0"), INT("4"))) "." KEYS(TEXT("1")) FOUR, PICKLE_MALFORMED, "L1.unknown",
              "'1' not found", ANYWHERE),
        PICKLE_IN("list of storages", ONE "(" UNKNOWN "l.", GLOBAL_FORBIDDEN, "L1.global", "only plain data", 1),
    };
    open_all(cases, COUNT_OF(cases), NULL);
}

#define LISTED ONE KEYS(TEXT("0"))
enum { AT = sizeof LISTED - 1 };

static void the_bytes_of_storages(void) {
    static const broken_file cases[] = {
        FILE_(LISTED, TRUNCATED, "L1.room", "8 bytes are needed", AT),
        FILE_(LISTED "\4\0\0\0\0\0\0", TRUNCATED, "L1.room", "7 are left", AT),
        FILE_(LISTED COUNT("\4") "0123456789abcde", TRUNCATED, "L1.room", "16 bytes are needed", AT + 8),
        FILE_(LISTED COUNT("\3") "0123456789abcdef", BOUNDS, "L1.count",
              "storage has wrong byte size: expected 16 got 3 elements of 4 bytes", AT),
        FILE_(LISTED "\xff\xff\xff\xff\xff\xff\xff\xff" "0123456789abcdef", BOUNDS, "L1.count", "got -1 elements", AT),
        FILE_(LISTED "\4\0\0\0\0\0\0\x40" "0123456789abcdef", BOUNDS, "L1.count", "expected 16 got 461168", AT),
        FILE_(LISTED FOUR "x", LEGACY_MALFORMED, "L1.end", "1 bytes follow the last storage", AT + 24),
    };
    open_all(cases, COUNT_OF(cases), NULL);
}

static void other_bytes_may_follow_in_a_stream(void) {
    ptio_checkpoint_options options = default_options();
    ptio_error err = {0};
    opened_file o;
    options.may_continue = true;
    ASSERT_OK(open_file(&o, LITERAL(LISTED FOUR "anything"), &options, &err));
    ASSERT_EQUAL(o.c.end, AT + 24);
    close_file(&o);
}

static void empty_storages_have_one_record_for_all(void) {
    static const char file[] = HEAD "(" LEGACY("0", "0") LEGACY_ID(TORCH("DoubleStorage"), "0", "0", "N") "Q"
        VIEWED("0", "0", VIEW("1", INT("0"), INT("0"))) VIEWED("0", "0", VIEW("1", INT("0"), INT("0"))) "t." KEYS(TEXT("0")) COUNT("\0");
    ptio_error err = {0};
    opened_file o;
    ASSERT_OK(open_file(&o, LITERAL(file), NULL, &err));
    ASSERT_EQUAL(o.c.index.count, 1);
    ASSERT_EQUAL(o.c.storages[1].record, 0);
    ASSERT_TRUE(o.c.storages[1].dtype != o.c.storages[0].dtype);
    close_file(&o);
}

static void many_storages_are_found_by_their_keys(void) {
    enum { MANY = 3000 };
    pickle_buffer p = {0};
    char line[64];
    ptio_error err = {0};
    opened_file o;
    ADD(&p, HEAD "(");
    for (int round = 0; round < 2; round++)
        for (int i = 0; i < MANY; i++) {
            ADD(&p, "(" TEXT("storage") FLOAT);
            snprintf(line, sizeof line, "V%d\nVcpu\nI1\nNtQ", 1000 + i * 7);
            pickle_add(&p, line, strlen(line));
        }
    ADD(&p, "l.(");
    for (int i = MANY - 1; i >= 0; i--) {
        snprintf(line, sizeof line, "V%d\n", 1000 + i * 7);
        pickle_add(&p, line, strlen(line));
    }
    ADD(&p, "l.");
    for (int i = 0; i < MANY; i++) ADD(&p, COUNT("\1") "abcd");
    ASSERT_OK(open_file(&o, p.bytes, p.size, NULL, &err));
    ASSERT_EQUAL(o.c.storage_count, MANY);
    ASSERT_EQUAL(o.c.index.records[0].data, p.size - 4);
    ASSERT_EQUAL(o.c.index.records[MANY - 1].data, p.size - 12 * MANY + 8);
    close_file(&o);
    pickle_free(&p);
}

static const char whole[] = HEAD "(" TENSOR_OF(VIEWED("7", "4", VIEW("9", INT("1"), INT("2"))), "0", INT("2"), INT("1")) LEGACY("1", "1")
    "t." KEYS(TEXT("1") TEXT("7")) COUNT("\1") "wxyz" FOUR;

static void every_truncation_fails(void) {
    for (size_t size = 0; size < sizeof whole - 1; size++) {
        ptio_error err = {0};
        opened_file o;
        ptio_status status = open_file(&o, whole, size, NULL, &err);
        ASSERT_TRUE(status == PTIO_E_TRUNCATED || (size < 15 && status != PTIO_OK));
        close_file(&o);
    }
}

/* None of them reads outside of the file: a sanitizer looks on. */
static void every_changed_byte_ends_in_an_error_or_a_checkpoint(void) {
    static const uint8_t values[] = {0, 1, 4, 8, '.', '(', 'Q', 'R', 'N', 'l', 0x7f, 0x80, 0xfe, 0xff};
    uint8_t file[sizeof whole];
    unsigned fine = 0;
    for (size_t at = 0; at < sizeof whole - 1; at++)
        for (size_t i = 0; i < sizeof values; i++) {
            ptio_error err = {0};
            opened_file o;
            memcpy(file, whole, sizeof whole);
            file[at] = values[i];
            ptio_status status = open_file(&o, file, sizeof whole - 1, NULL, &err);
            if (status == PTIO_OK) {
                fine++;
                for (uint32_t r = 0; r < o.c.index.count; r++)
                    ASSERT_TRUE(ptio_zip_record_end(&o.c.index, r) <= sizeof whole - 1);
            }
            close_file(&o);
        }
    ASSERT_TRUE(fine > 20 * sizeof values); /* the bytes of the storages */
}

static void memory_and_reads_may_fail(void) {
    static const sweep_entry entries[] = {{"legacy", sweep_open, PTIO_OK, 8, 3, false}};
    SWEEP(entries, whole, sizeof whole - 1);
}

void suite_legacy(void) {
    RUN(storages_become_records);
    RUN(storages_can_be_read);
    RUN(views_share_the_memory_of_their_root);
    RUN(persistent_ids_of_another_shape);
    RUN(views_inside_an_item_are_refused);
    RUN(classes_of_modules_need_permission);
    RUN(the_first_pickles);
    RUN(the_magic_number_is_literal);
    RUN(other_protocols);
    RUN(a_pickle_that_breaks_off_may_name_something_worse);
    RUN(the_list_of_storages);
    RUN(the_bytes_of_storages);
    RUN(other_bytes_may_follow_in_a_stream);
    RUN(empty_storages_have_one_record_for_all);
    RUN(many_storages_are_found_by_their_keys);
    RUN(every_truncation_fails);
    RUN(every_changed_byte_ends_in_an_error_or_a_checkpoint);
    RUN(memory_and_reads_may_fail);
}
