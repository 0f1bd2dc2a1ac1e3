/* SPDX-License-Identifier: Apache-2.0
 *
 * Damaged checkpoints: what is lost, and the pickle without it.
 */
#include "archives.h"
#include "checkpoint_salvage.h"
#include "memory.h"
#include "pickle_builder.h"
#include "pickle_cut.h"

void suite_checkpoint_salvage(void);

static const ptio_checkpoint_options options = {.limits = PTIO_LIMITS_DEFAULT};
static const ptio_read_options reading = {.threads = 1};

static void add(zip_archive *zip, const char *name, const void *content, size_t size) {
    zip_member member = {.name = name, .content = content, .size = size, .descriptor = size > 0};
    zip_add(zip, &member);
}

/* data/0 and data/1 hold 16 bytes each; there is no data/lost, and data/short has 4. */
static void build(zip_archive *zip, const void *pickle, size_t size) {
    zip_begin(zip);
    add(zip, "m/data.pkl", pickle, size);
    add(zip, "m/data/0", "0123456789abcdef", 16);
    add(zip, "m/data/1", "fedcba9876543210", 16);
    add(zip, "m/data/short", "four", 4);
    add(zip, "m/version", "3\n", 2);
    zip_finish(zip, true, NULL, 0);
}

static ptio_status open_salvage(const zip_archive *zip, bool any_crc, ptio_salvage *out, ptio_error *err) {
    ptio_source source;
    ptio_source_borrow(zip->bytes, zip->size, &source);
    return ptio_salvage_open(&source, &options, &reading, any_crc, out, err);
}

#define SALVAGE_FAILS(zip, status, check, fragment, offset)                                           \
    do {                                                                                              \
        ptio_salvage s_;                                                                              \
        ptio_error err = {0};                                                                         \
        ASSERT_FAILS(open_salvage(&(zip), false, &s_, &err), status, check, fragment, offset);        \
        ptio_salvage_free(&s_);                                                                       \
        zip_free_archive(&(zip));                                                                     \
    } while (0)

/* --- opening --------------------------------------------------------------------------------- */

#define ONE_TENSOR "\x80\2" TENSOR "."

static void a_sound_file_has_no_damage(void) {
    zip_archive zip;
    ptio_salvage s;
    ptio_error err = {0};
    build(&zip, LITERAL(ONE_TENSOR));
    ASSERT_OK(open_salvage(&zip, false, &s, &err));
    ASSERT_EQUAL(s.directory.status, PTIO_OK);
    ASSERT_EQUAL(s.damaged_count, 0);
    ASSERT_TRUE(!s.lost);
    ASSERT_EQUAL(s.checkpoint.tensor_count, 1);
    ptio_salvage_free(&s);
    zip_free_archive(&zip);
}

static void damaged_records_are_named_and_left_out(void) {
    for (unsigned any_crc = 0; any_crc < 2; any_crc++) {
        zip_archive zip;
        ptio_salvage s;
        ptio_error err = {0};
        build(&zip, LITERAL(ONE_TENSOR));
        zip.bytes[zip.places[1].data] ^= 1;
        ASSERT_OK(open_salvage(&zip, any_crc == 1, &s, &err));
        ASSERT_EQUAL(s.damaged_count, 1);
        ASSERT_EQUAL(s.damaged[0].error->status, PTIO_E_CHECKSUM);
        ASSERT_EQUAL(s.damaged[0].name_length, 8);
        ASSERT_BYTES(s.damaged[0].name, "m/data/0", 8);
        ASSERT_EQUAL(s.damaged[0].kept, any_crc);
        ASSERT_EQUAL(s.lost, !any_crc);
        ASSERT_EQUAL(s.checkpoint.index.count, any_crc ? 5 : 4);
        ptio_salvage_free(&s);
        zip_free_archive(&zip);
    }
}

static void the_better_of_directory_and_headers_is_used(void) {
    static const size_t fields[] = {16, 20, 46 + 7}; /* CRC, size, last character of m/data/0 */
    for (size_t i = 0; i < COUNT_OF(fields); i++) {
        zip_archive zip;
        ptio_salvage s;
        ptio_error err = {0};
        build(&zip, LITERAL(ONE_TENSOR));
        size_t at = zip.places[1].central + fields[i];
        zip_put8(&zip, at, zip.bytes[at] + 2u);
        if (i == 1) zip_put8(&zip, at + 4, zip.bytes[at]);
        ASSERT_OK(open_salvage(&zip, false, &s, &err));
        ASSERT_TRUE(s.directory.status != PTIO_OK && s.directory.message[0] != '\0');
        ASSERT_EQUAL(s.damaged_count, 0);
        ASSERT_TRUE(!s.lost);
        ptio_salvage_free(&s);
        /* the headers know less here */
        zip_put32(&zip, zip.places[2].local, 0);
        zip_put32(&zip, zip.places[3].local, 0);
        ASSERT_OK(open_salvage(&zip, false, &s, &err));
        ASSERT_EQUAL(s.directory.status, PTIO_OK);
        ASSERT_EQUAL(s.damaged_count, 1);
        ASSERT_TRUE(s.lost);
        ptio_salvage_free(&s);
        zip_free_archive(&zip);
    }
}

static void compressed_records_are_not_kept_with_a_wrong_checksum(void) {
    zip_archive zip;
    ptio_salvage s;
    ptio_error err = {0};
    zip_member member = {.name = "m/data/0", .content = "0000000000000000", .size = 16, .deflated = true};
    zip_begin(&zip);
    add(&zip, "m/data.pkl", LITERAL(ONE_TENSOR));
    zip_add(&zip, &member);
    zip.crcs[1] ^= 1;
    zip_finish(&zip, false, NULL, 0);
    zip_put32(&zip, zip.places[1].local + 14, zip.crcs[1]);
    ASSERT_OK(open_salvage(&zip, true, &s, &err));
    ASSERT_EQUAL(s.damaged_count, 1);
    ASSERT_TRUE(s.lost && !s.damaged[0].kept);
    ptio_salvage_free(&s);
    zip_free_archive(&zip);
}

/* What was not read is not lost. */
static void more_compressed_bytes_than_are_allowed_end_the_work(void) {
    zip_archive zip;
    ptio_salvage s;
    ptio_source source;
    ptio_error err = {0};
    ptio_checkpoint_options strict = options;
    zip_member member = {.name = "m/data/0", .content = "0000000000000000", .size = 16, .deflated = true};
    zip_begin(&zip);
    add(&zip, "m/data.pkl", LITERAL(ONE_TENSOR));
    zip_add(&zip, &member);
    zip_finish(&zip, false, NULL, 0);
    ptio_source_borrow(zip.bytes, zip.size, &source);
    strict.limits.inflated_bytes = 15;
    ASSERT_FAILS(ptio_salvage_open(&source, &strict, &reading, false, &s, &err), LIMIT, "Z11.sum", "inflated_bytes is 15",
                 zip.places[1].local);
    ASSERT_TEXT(err.record, "m/data/0");
    ptio_salvage_free(&s);
    zip_free_archive(&zip);
}

static void without_its_pickle_nothing_is_saved(void) {
    zip_archive zip;
    build(&zip, LITERAL(ONE_TENSOR));
    zip.bytes[zip.places[0].data + 5] ^= 1;
    SALVAGE_FAILS(zip, CHECKSUM, "Z10.crc", "CRC-32 is 0x", zip.places[0].data);
    build(&zip, LITERAL(ONE_TENSOR));
    zip_put8(&zip, zip.places[0].local + 8, 1);
    zip.bytes[zip.places[0].data + 5] ^= 1;
    SALVAGE_FAILS(zip, ZIP_MALFORMED, "S1.damaged", "is damaged: the local header has method 1", 8);
    /* cut in two, with whole members around it */
    zip_begin(&zip);
    add(&zip, "m/data/0", "0123456789abcdef", 16);
    add(&zip, "m/data.pkl", LITERAL(ONE_TENSOR));
    zip.size -= 17;
    SALVAGE_FAILS(zip, TRUNCATED, "S1.whole", "data.pkl is not whole in this file", zip.size);
    /* an archive of something else */
    zip_begin(&zip);
    add(&zip, "m/data/0", "0123456789abcdef", 16);
    zip_finish(&zip, false, NULL, 0);
    SALVAGE_FAILS(zip, RECORD_MISSING, "Z7.pickle", "the archive has no data.pkl", PTIO_NO_OFFSET);
}

static void files_of_another_kind(void) {
    zip_archive zip;
    zip_begin(&zip);
    zip_raw(&zip, "<!DOCTYPE html><html></html>", 28);
    SALVAGE_FAILS(zip, NOT_A_CHECKPOINT, "S1.other", "an HTML page, and holds no checkpoint", 0);
    zip_begin(&zip);
    zip_raw(&zip, "\x80\2\x8a\nl\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\2M\xe9\3.", 21);
    SALVAGE_FAILS(zip, FORMAT_UNSUPPORTED, "S1.kind", "only zip archives are repaired", 0);
}

static void a_storage_of_another_size_is_lost(void) {
    zip_archive zip;
    ptio_salvage s;
    ptio_error err = {0};
    build(&zip, LITERAL("\x80\2" STORAGE("FloatStorage", "short", "4") "."));
    ASSERT_OK(open_salvage(&zip, false, &s, &err));
    ASSERT_TRUE(s.lost);
    ASSERT_EQUAL(s.checkpoint.storages[0].record, PTIO_NO_RECORD);
    ptio_salvage_free(&s);
    zip_free_archive(&zip);
}

/* --- the new pickle ----------------------------------------------------------------------------- */

#define GONE(numel) TENSOR_OF(STORAGE("FloatStorage", "lost", numel), "0", INT("4"), INT("1"))

/* What a pickle looks like where all is written as the pickler does: to compare values whatever
 * opcodes they came in. */
static ptio_status rewrite(const void *pickle, size_t size, uint8_t *out, size_t *out_size, ptio_error *err) {
    zip_archive zip;
    ptio_salvage s;
    ptio_block *block = NULL;
    uint64_t n = 0;
    build(&zip, pickle, size);
    ptio_status status = open_salvage(&zip, false, &s, err);
    if (status == PTIO_OK) status = ptio_pickle_cut(&s.checkpoint, &options.limits, &block, &n, err);
    if (status == PTIO_OK) memcpy(out, ptio_block_bytes(block), (size_t)n);
    *out_size = (size_t)n;
    ptio_block_unref(block);
    bool lost = s.lost;
    if (status == PTIO_OK && lost) status = ptio_salvage_cut(&s, &options.limits, err);
    if (status == PTIO_OK && lost) {
        ASSERT_EQUAL(s.checkpoint.pickle_size, n);
        ASSERT_BYTES(s.checkpoint.pickle, out, (size_t)n);
        ASSERT_TRUE(!s.lost);
    }
    ptio_salvage_free(&s);
    zip_free_archive(&zip);
    return status;
}

typedef struct {
    int line;
    const char *damaged;
    size_t damaged_size;
    const char *expected;
    size_t expected_size;
} cut_case;
#define CUT(damaged, expected) {__LINE__, LITERAL("\x80\2" damaged "."), LITERAL("\x80\2" expected ".")}

static void what_is_lost_goes(void) {
    static const cut_case cases[] = {
        /* from dicts */
        CUT("}(" TEXT("a") GONE("4") TEXT("b") TENSOR TEXT("c") INT("3") "u", "}(" TEXT("b") TENSOR TEXT("c") INT("3") "u"),
        CUT("}(" TEXT("b") TENSOR TEXT("a") GONE("4") "u", "}" TEXT("b") TENSOR "s"),
        CUT("}" TEXT("a") GONE("4") "s" TEXT("b") INT("1") "s", "}" TEXT("b") INT("1") "s"),
        CUT("(" TEXT("a") GONE("4") TEXT("b") INT("1") "d", "}" TEXT("b") INT("1") "s"),
        CUT("}(" TEXT("a") GONE("4") "u", "}"),
        CUT(CALL(GLOBAL_OF("collections", "OrderedDict"), "") "(" TEXT("a") GONE("4") TEXT("b") TENSOR "u",
            CALL(GLOBAL_OF("collections", "OrderedDict"), "") TEXT("b") TENSOR "s"),
        CUT("}" TEXT("a") "}" TEXT("b") GONE("4") "ss", "}" TEXT("a") "}s"),
        /* in lists and tuples it is None */
        CUT("](" GONE("4") TENSOR "e", "](N" TENSOR "e"),
        CUT("]" GONE("4") "a", "]Na"),
        CUT("(" GONE("4") TENSOR "t", "N" TENSOR "\x86"),
        CUT("}" TEXT("a") "(" GONE("4") TENSOR "ts", "}" TEXT("a") "N" TENSOR "\x86s"),
        CUT("](" STORAGE("FloatStorage", "short", "4") TENSOR "e", "](N" TENSOR "e"),
        /* all references to it */
        CUT("](" GONE("4") "q\7h\7" TENSOR "e", "](NN" TENSOR "e"),
        /* what is made of it, and what it is then filled with */
        CUT("](" CALL(UTILS("_rebuild_parameter"), GONE("4") TRUE_ HOOKS) TENSOR "e", "](N" TENSOR "e"),
        CUT("](" GLOBAL_OF("torch.nn.parameter", "Parameter") GONE("4") "\x85\x81" TENSOR "e", "](N" TENSOR "e"),
        CUT("](" GLOBAL_OF("torch.nn.parameter", "Parameter") GONE("4") "\x85R" TENSOR "e", "](N" TENSOR "e"),
        CUT("](" CALL(GLOBAL_OF("some", "function"), INT("1") "(" GONE("4") "\x85t") "}" "b" TENSOR "e", "](N" TENSOR "e"),
        CUT("](" CALL(UNKNOWN, GONE("4")) INT("1") "a" TENSOR "e", "](N" TENSOR "e"),
        /* an object stays, and so does a tuple with names */
        CUT(OPAQUE "}(" TEXT("a") GONE("4") TEXT("b") TENSOR "ub", OPAQUE "}" TEXT("b") TENSOR "sb"),
        CUT(GLOBAL_OF("some.other", "Parameter") GONE("4") "\x85\x81", GLOBAL_OF("some.other", "Parameter") "N\x85\x81"),
        CUT(UNKNOWN "(" GONE("4") TENSOR "t\x81", UNKNOWN "N" TENSOR "\x86\x81"),
        /* what the lost one named first is still there for the others */
        CUT("](" "ctorch._utils\n_rebuild_tensor_v2\nq\1(" STORAGE("FloatStorage", "lost", "4") "I0\n(I4\nt(I1\nt\x89" HOOKS "tR"
            "h\1(" FLOATS "I0\n(I4\nt(I1\nt\x89" HOOKS "tR" "e", "](N" TENSOR "e"),
    };
    for (const cut_case *c = cases; c < cases + COUNT_OF(cases); c++) {
        uint8_t cut[4096], expected[4096];
        size_t cut_size = 0, expected_size = 0;
        ptio_error err = {0};
        if (rewrite(c->damaged, c->damaged_size, cut, &cut_size, &err) != PTIO_OK)
            test_fail(__FILE__, c->line, "%s: %s", err.check, err.message);
        if (rewrite(c->expected, c->expected_size, expected, &expected_size, &err) != PTIO_OK)
            test_fail(__FILE__, c->line, "expected: %s: %s", err.check, err.message);
        if (cut_size != expected_size || memcmp(cut, expected, cut_size) != 0)
            test_fail(__FILE__, c->line, "the new pickle has %zu bytes, expected %zu", cut_size, expected_size);
    }
}

/* As a pickler writes them: said again, they are the same bytes. */
static void every_kind_of_value_is_said_again(void) {
    static const struct {
        int line;
        const char *pickle;
        size_t size;
    } cases[] = {
        {__LINE__, LITERAL("\x80\2N.")},
        {__LINE__, LITERAL("\x80\2\x88\x89\x86q\0.")},
        {__LINE__, LITERAL("\x80\2]q\0(K\7M\xe8\3J\0\0\1\0\x8a\6\xff\xff\xff\xff\xff\x7fG?\xf0\0\0\0\0\0\0e.")},
        {__LINE__, LITERAL("\x80\2\x8a\x0a\1\2\3\4\5\6\7\10\11\12.")},
        {__LINE__, LITERAL("\x80\2X\3\0\0\0abcq\0.")},
        {__LINE__, LITERAL("\x80\2X\2\0\0\0\xc3\xa9q\0h\0\x86q\1.")},
        {__LINE__, LITERAL("\x80\2U\3abcq\0.")},
        {__LINE__, LITERAL("\x80\3]q\0(C\3abcq\1h\1e.")},
        {__LINE__, LITERAL("\x80\5\x96\3\0\0\0\0\0\0\0abcq\0.")},
        {__LINE__, LITERAL("\x80\2}q\0(K\1)K\2K\3\x85q\1K\4K\3K\4K\5\x87q\2K\6(K\1K\2K\3K\4tq\3u.")},
        {__LINE__, LITERAL("\x80\4\x8fq\0(K\1K\2\x90.")},
        {__LINE__, LITERAL("\x80\4(K\1K\2\x91q\0.")},
        {__LINE__, LITERAL("\x80\2]q\0h\0a.")},
        {__LINE__, LITERAL("\x80\2]q\0h\0\x85q\1a.")},
        {__LINE__, LITERAL("\x80\2csome.module\nThing\nq\0)\x81q\1}q\2X\1\0\0\0aq\3h\1sb.")},
        {__LINE__, LITERAL("\x80\2csome.module\nfunction\nq\0K\1\x85q\1Rq\2K\7aK\1K\2s.")},
        {__LINE__, LITERAL("\x80\4X\4\0\0\0someq\0X\5\0\0\0Thingq\1\x93q\2)}q\3X\1\0\0\0aq\4K\1s\x92q\5.")},
        {__LINE__, LITERAL("\x80\2(X\7\0\0\0storageq\0ctorch\nFloatStorage\nq\1X\1\0\0\0" "0q\2X\3\0\0\0cpuq\3K\4tq\4Q.")},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        uint8_t again[4096];
        size_t size = 0;
        ptio_error err = {0};
        if (rewrite(cases[i].pickle, cases[i].size, again, &size, &err) != PTIO_OK)
            test_fail(__FILE__, cases[i].line, "%s: %s", err.check, err.message);
        else if (size != cases[i].size || memcmp(again, cases[i].pickle, size) != 0)
            test_fail(__FILE__, cases[i].line, "said again in %zu bytes, expected %zu", size, cases[i].size);
    }
}

static void old_opcodes_are_said_in_new_ones(void) {
    static const cut_case cases[] = {
        CUT("L18446744073709551616L\n", "\x8a\x09\0\0\0\0\0\0\0\0\1"),
        CUT("L-18446744073709551617L\n", "\x8a\x09\xff\xff\xff\xff\xff\xff\xff\xff\xfe"),
        CUT("V" "abc\n", "X\3\0\0\0abcq\0"),
        CUT("(I1\nI2\nl", "]q\0(K\1K\2e"),
        CUT("(isome.module\nThing\n", "csome.module\nThing\nq\0)Rq\1"),
        CUT("(csome.module\nThing\nI1\no", "csome.module\nThing\nq\0K\1\x85q\1Rq\2"),
        CUT("]I1\naI2\na", "]q\0K\1aK\2a"),
    };
    for (const cut_case *c = cases; c < cases + COUNT_OF(cases); c++) {
        uint8_t out[4096];
        size_t size = 0;
        ptio_error err = {0};
        if (rewrite(c->damaged, c->damaged_size, out, &size, &err) != PTIO_OK)
            test_fail(__FILE__, c->line, "%s: %s", err.check, err.message);
        else if (size != c->expected_size || memcmp(out, c->expected, size) != 0)
            test_fail(__FILE__, c->line, "%zu bytes, expected %zu", size, c->expected_size);
    }
}

/* --- failures --------------------------------------------------------------------------------------- */

static void memory_may_run_out_anywhere(void) {
    zip_archive zip;
    ptio_error err = {0};
    ptio_status status = PTIO_E_NO_MEMORY;
    uint64_t k = 1;
    build(&zip, LITERAL("\x80\2}(" TEXT("a") GONE("4") TEXT("b") TENSOR TEXT("c") OPAQUE "u."));
    zip.bytes[zip.places[2].data] ^= 1;
    for (; status != PTIO_OK && k < 200; k++) {
        ptio_salvage s;
        ptio_memory_fail_at(k);
        status = open_salvage(&zip, false, &s, &err);
        if (status == PTIO_OK) status = ptio_salvage_cut(&s, &options.limits, &err);
        ptio_memory_fail_at(0);
        if (status != PTIO_OK) ASSERT_EQUAL(status, PTIO_E_NO_MEMORY);
        ptio_salvage_free(&s);
    }
    ASSERT_TRUE(k > 20 && status == PTIO_OK);
    zip_free_archive(&zip);
}

void suite_checkpoint_salvage(void) {
    RUN(a_sound_file_has_no_damage);
    RUN(damaged_records_are_named_and_left_out);
    RUN(the_better_of_directory_and_headers_is_used);
    RUN(compressed_records_are_not_kept_with_a_wrong_checksum);
    RUN(more_compressed_bytes_than_are_allowed_end_the_work);
    RUN(without_its_pickle_nothing_is_saved);
    RUN(files_of_another_kind);
    RUN(a_storage_of_another_size_is_lost);
    RUN(what_is_lost_goes);
    RUN(every_kind_of_value_is_said_again);
    RUN(old_opcodes_are_said_in_new_ones);
    RUN(memory_may_run_out_anywhere);
}
