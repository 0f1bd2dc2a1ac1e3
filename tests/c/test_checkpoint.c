/* SPDX-License-Identifier: Apache-2.0
 *
 * Opening a whole checkpoint: what the archive is, its small members, its pickle; and
 * running out of memory at every place.
 */
#include "checkpoint.h"

#include "memory.h"
#include "pickle_builder.h"

void suite_checkpoint(void);

typedef struct {
    const char *name, *content;
    size_t size;
} part;

#define PART(name, content) {name, LITERAL(content)}
#define PICKLE PART("m/data.pkl", "\x80\2N.")

/* Opens an archive of these members; *o is freed by the caller. */
static ptio_status open_parts(opened *o, const part *parts, size_t count, const ptio_checkpoint_options *options,
                              ptio_error *err) {
    ptio_checkpoint_options defaults = default_options();
    zip_begin(&o->zip);
    for (size_t i = 0; i < count; i++) {
        zip_member member = {.name = parts[i].name, .content = parts[i].content, .size = parts[i].size};
        zip_add(&o->zip, &member);
    }
    zip_finish(&o->zip, true, NULL, 0);
    ptio_source_borrow(o->zip.bytes, o->zip.size, &o->source);
    return ptio_checkpoint_open(&o->source, options == NULL ? &defaults : options, &o->c, err);
}

static void files_of_another_kind(void) {
    static const struct {
        const char *bytes;
        size_t size;
        ptio_status status;
        const char *fragment;
    } cases[] = {
        {LITERAL(""), PTIO_E_NOT_A_CHECKPOINT, "this is an empty file, not a checkpoint"},
        {LITERAL("\x1f\x8b\x08......"), PTIO_E_NOT_A_CHECKPOINT, "this is a gzip file"},
        {LITERAL("version https://git-lfs.github.com/spec/v1\noid"), PTIO_E_NOT_A_CHECKPOINT, "git-lfs pointer"},
        {LITERAL("\x09\0\0\0\0\0\0\0{}       "), PTIO_E_FORMAT_UNSUPPORTED, "this is a safetensors file, not a checkpoint that torch.save wrote"},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        ptio_error err = {0};
        ptio_source source;
        ptio_checkpoint c;
        ptio_checkpoint_options options = default_options();
        ptio_source_borrow(cases[i].bytes, cases[i].size, &source);
        test_error(__FILE__, __LINE__, ptio_checkpoint_open(&source, &options, &c, &err), &err, cases[i].status, "Z1.kind",
                   cases[i].fragment, 0);
        ptio_checkpoint_free(&c);
        ptio_checkpoint_free(&c); /* twice is fine */
    }
}

static void archives_of_another_kind(void) {
    static const struct {
        part parts[2];
        ptio_status status;
        const char *check, *fragment;
    } cases[] = {
        {{PICKLE, PART("m/.data/extern_modules", "")}, PTIO_E_TORCH_PACKAGE, "Z7.package", "a torch.package archive"},
        {{PICKLE, PART("m/archive_format", "pt2")}, PTIO_E_TORCH_EXPORT, "Z7.export", "a torch.export archive"},
        {{PICKLE, PART("m/bytecode.pkl", ".")}, PTIO_E_TORCHSCRIPT, "Z7.torchscript", "a TorchScript archive"},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        ptio_error err = {0};
        opened o;
        ASSERT_EQUAL(open_parts(&o, cases[i].parts, 2, NULL, &err), cases[i].status);
        ASSERT_TEXT(err.check, cases[i].check);
        ASSERT_CONTAINS(err.message, cases[i].fragment);
        opened_free(&o);
    }
    static const part script[] = {PICKLE, PART("m/constants.pkl", ".")};
    static const part lacks[] = {PART("m/version", "3\n")};
    ptio_error err = {0};
    opened o;
    ASSERT_FAILS(open_parts(&o, script, 2, NULL, &err), TORCHSCRIPT, "Z7.torchscript", "a TorchScript archive", PTIO_NO_OFFSET);
    opened_free(&o);
    ASSERT_FAILS(open_parts(&o, lacks, 1, NULL, &err), RECORD_MISSING, "Z7.pickle", "the archive has no data.pkl", PTIO_NO_OFFSET);
    opened_free(&o);
}

static void versions_one_to_ten(void) {
    static const struct {
        part parts[2];
        bool good;
    } cases[] = {
        {{PICKLE, PART("m/version", "3\n")}, true},   {{PICKLE, PART("m/version", "1")}, true},
        {{PICKLE, PART("m/version", " 10\n")}, true}, {{PICKLE, PART("m/version", "0\n")}, false},
        {{PICKLE, PART("m/version", "11\n")}, false}, {{PICKLE, PART("m/version", "abc")}, false},
        {{PICKLE, PART("m/version", "")}, false},     {{PICKLE, PART("m/version", "99999999999999999999999999")}, false},
        {{PICKLE, PART("m/other", "")}, true},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        ptio_error err = {0};
        opened o;
        ptio_status status = open_parts(&o, cases[i].parts, 2, NULL, &err);
        if (cases[i].good) ASSERT_TRUE(status == PTIO_OK);
        else ASSERT_FAILS(status, FORMAT_UNSUPPORTED, "Z7.version", "format version is", PTIO_NO_OFFSET);
        if (!cases[i].good) ASSERT_TEXT(err.record, "m/version");
        opened_free(&o);
    }
}

static bool big_machine(void) {
    const uint16_t one = 1;
    return *(const uint8_t *)&one == 0;
}

/* Those of torch before 2.0 do not say it; the caller may. */
static void byte_orders_that_the_file_does_not_tell(void) {
    static const part silent[] = {PICKLE}, told[] = {PICKLE, PART("m/byteorder", "little")};
    for (ptio_byte_order order = PTIO_LITTLE_ENDIAN; order <= PTIO_NATIVE_ENDIAN; order++) {
        ptio_error err = {0};
        opened o;
        ptio_checkpoint_options options = default_options();
        options.order_if_missing = order;
        ASSERT_OK(open_parts(&o, silent, 1, &options, &err));
        ASSERT_EQUAL(o.c.big_endian, order == PTIO_BIG_ENDIAN || (order == PTIO_NATIVE_ENDIAN && big_machine()));
        ASSERT_EQUAL(o.c.swap, o.c.big_endian != big_machine());
        opened_free(&o);
        ASSERT_OK(open_parts(&o, told, 2, &options, &err));
        ASSERT_EQUAL(o.c.big_endian, false);
        ASSERT_EQUAL(o.c.swap, big_machine());
        opened_free(&o);
    }
}

static void byte_orders(void) {
    static const struct {
        part parts[2];
        int big; /* -1: refused */
    } cases[] = {
        {{PICKLE, PART("m/byteorder", "little")}, 0},   {{PICKLE, PART("m/byteorder", "big")}, 1},
        {{PICKLE, PART("m/byteorder", "foo")}, -1},     {{PICKLE, PART("m/byteorder", "")}, -1},
        {{PICKLE, PART("m/byteorder", "little\n")}, -1}, {{PICKLE, PART("m/other", "")}, 0},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        ptio_error err = {0};
        opened o;
        ptio_status status = open_parts(&o, cases[i].parts, 2, NULL, &err);
        if (cases[i].big < 0) ASSERT_FAILS(status, METADATA_MALFORMED, "T6.order", "neither 'little' nor 'big'", PTIO_NO_OFFSET);
        else ASSERT_TRUE(status == PTIO_OK && o.c.big_endian == (cases[i].big == 1) && o.c.swap == (o.c.big_endian != big_machine()));
        if (cases[i].big < 0) ASSERT_TEXT(err.record, "m/byteorder");
        opened_free(&o);
    }
}

static void small_members_are_small(void) {
    static const part parts[] = {PICKLE, PART("m/version", "00000000000000000000000000000000000000000000000000000000000000003")};
    ptio_error err = {0};
    opened o;
    ASSERT_FAILS(open_parts(&o, parts, 2, NULL, &err), METADATA_MALFORMED, "Z7.small", "member version has 65 bytes", PTIO_NO_OFFSET);
    ASSERT_TEXT(err.record, "m/version");
    opened_free(&o);
}

static void pickles_have_a_largest_size(void) {
    static const part parts[] = {PICKLE};
    ptio_error err = {0};
    opened o;
    ptio_checkpoint_options options = default_options();
    options.limits.pickle_bytes = 3;
    ASSERT_FAILS(open_parts(&o, parts, 1, &options, &err), LIMIT, "R.pickle", "the pickle has 4 bytes, at most 3", PTIO_NO_OFFSET);
    ASSERT_TEXT(err.record, "m/data.pkl");
    opened_free(&o);
    options.limits.pickle_bytes = 4;
    ASSERT_OK(open_parts(&o, parts, 1, &options, &err));
    opened_free(&o);
}

/* --- other members, other files ------------------------------------------------------------- */

static void a_caller_may_name_the_members(void) {
    static const char tensor[] = "\x80\2]" TENSOR_OF(STORAGE("FloatStorage", "7", "4"), "1", INT("2"), INT("1")) "a.";
    static const part parts[] = {PART("m/model.pkl", tensor), PART("m/weights/7.bin", "0123456789abcdef"),
                                 PART("m/weights/8.bin.x", "0123456789abcdef"), PART("m/constants.pkl", "."),
                                 PART("m/.data/extern_modules", "")};
    static const part none[] = {PART("m/model.pkl", tensor), PART("m/weights/7", "0123456789abcdef")};
    ptio_error err = {0};
    opened o;
    ptio_checkpoint_options options = default_options();
    options.members = (ptio_members){.pickle = "model.pkl", .folder = "weights/", .suffix = ".bin"};
    ASSERT_OK(open_parts(&o, parts, COUNT_OF(parts), &options, &err));
    ASSERT_EQUAL(o.c.storage_count, 1);
    ASSERT_EQUAL(o.c.storages[0].record, 1);
    ASSERT_EQUAL(o.c.pickle_record, 0);
    opened_free(&o);
    ASSERT_FAILS(open_parts(&o, none, COUNT_OF(none), &options, &err), RECORD_MISSING, "T1.record",
                 "storage '7' has no record weights/7.bin in the archive", 79);
    opened_free(&o);
    options.members = (ptio_members){.pickle = "other.pkl", .folder = "", .suffix = ""};
    ASSERT_FAILS(open_parts(&o, none, COUNT_OF(none), &options, &err), RECORD_MISSING, "Z7.pickle",
                 "the archive has no other.pkl", PTIO_NO_OFFSET);
    opened_free(&o);
}

static void an_archive_can_be_looked_at_without_its_pickle(void) {
    static const part parts[] = {PART("m/data.pkl", "\xff pickle"), PART("m/version", "3\n")};
    ptio_error err = {0};
    opened o;
    ptio_checkpoint_options options = default_options();
    ASSERT_FAILS(open_parts(&o, parts, 2, NULL, &err), PICKLE_MALFORMED, "P1.opcode", "byte 0xff", 0);
    ptio_checkpoint_free(&o.c);
    ASSERT_OK(ptio_checkpoint_open_archive(&o.source, &options, &o.c, &err));
    ASSERT_EQUAL(o.c.index.count, 2);
    ASSERT_EQUAL(o.c.pickle_size, 8);
    ASSERT_EQUAL(o.c.graph.count, 0);
    ptio_checkpoint_free(&o.c);
    ptio_source_borrow("}.", 2, &o.source);
    ASSERT_FAILS(ptio_checkpoint_open_archive(&o.source, &options, &o.c, &err), FORMAT_UNSUPPORTED, "Z1.kind", "", 0);
    opened_free(&o);
}

static ptio_status open_bare(const void *bytes, size_t size, uint64_t limit, ptio_checkpoint *c, ptio_error *err) {
    ptio_source source;
    ptio_checkpoint_options options = default_options();
    if (limit > 0) options.limits.pickle_bytes = limit;
    ptio_source_borrow(bytes, size, &source);
    return ptio_checkpoint_open(&source, &options, c, err);
}

static void a_file_may_be_one_pickle(void) {
    static const char two[] = "\x80\2}Va\nK\1s.";
    static const char tensor[] = "\x80\2" TENSOR ".";
    ptio_error err = {0};
    ptio_checkpoint c;
    ASSERT_OK(open_bare(LITERAL(two), 0, &c, &err));
    ASSERT_EQUAL(c.format, PTIO_FORMAT_PICKLE);
    ASSERT_EQUAL(c.pickle_record, PTIO_NO_RECORD);
    ASSERT_EQUAL(c.graph.nodes[c.graph.root].kind, PTIO_N_DICT);
    ptio_checkpoint_free(&c);
    ASSERT_FAILS(open_bare(LITERAL(two), sizeof two - 2, &c, &err), LIMIT, "R.bare-pickle",
                 "the pickle has 10 bytes, at most 9 are read (limit pickle_bytes)", PTIO_NO_OFFSET);
    ptio_checkpoint_free(&c);
    ASSERT_FAILS(open_bare(LITERAL(tensor), 0, &c, &err), RECORD_MISSING, "T1.record", "no record data/0", 78);
    ASSERT_TEXT(err.record, ""); /* the pickle is no member of anything */
    ptio_checkpoint_free(&c);
    ASSERT_EQUAL(open_bare(LITERAL("\x80\2}Va\nK\1s.more"), 0, &c, &err), PTIO_E_PICKLE_MALFORMED);
    ptio_checkpoint_free(&c);
}

static void a_graph_is_given_back_alone_and_may_be_made_again(void) {
    static const char fine[] = "\x80\2" TENSOR ".", broken[] = "\x80\2(" TENSOR UNKNOWN "t.";
    ptio_checkpoint_options options = default_options();
    ptio_error err = {0};
    opened o;
    ASSERT_OK(open_pickle(&o, LITERAL(fine), NULL, &err));
    uint64_t object_bytes = o.c.object_bytes;
    for (int again = 0; again < 2; again++) {
        ptio_checkpoint_free_graph(&o.c);
        ASSERT_EQUAL(o.c.graph.count + o.c.tensor_count + o.c.storage_count + o.c.dim_count + o.c.object_bytes, 0);
        ASSERT_EQUAL(o.c.index.count, 6);
        ASSERT_OK(ptio_checkpoint_parse(&o.c, &options, &err));
        ASSERT_EQUAL(opened_tensor(&o)->storage, 0);
        ASSERT_EQUAL(o.c.storage_count, 1);
        ASSERT_EQUAL(o.c.object_bytes, object_bytes);
    }
    opened_free(&o);
    ASSERT_EQUAL(open_pickle(&o, LITERAL(broken), NULL, &err), PTIO_E_GLOBAL_FORBIDDEN);
    for (int again = 0; again < 2; again++) {
        ASSERT_EQUAL(o.c.forbidden_count, 1);
        ptio_checkpoint_free_graph(&o.c);
        ASSERT_EQUAL(o.c.graph.count + o.c.tensor_count + o.c.forbidden_count, 0);
        ASSERT_EQUAL(o.c.pickle_size, sizeof broken - 1);
        ASSERT_EQUAL(ptio_checkpoint_parse(&o.c, &options, &err), PTIO_E_GLOBAL_FORBIDDEN);
    }
    opened_free(&o);
}

/* A pickle with some of everything: each allocation on its way fails in turn. */
static ptio_status open_numbers(bool deflated, uint64_t most, ptio_error *err) {
    zip_archive zip;
    ptio_source source;
    ptio_checkpoint c;
    pickle_buffer p = {0};
    ptio_checkpoint_options options = default_options();
    options.limits.object_bytes = most;
    ADD(&p, "(");
    ADD_TIMES(&p, "K\1", 30000);
    ADD(&p, "l.");
    zip_begin(&zip);
    zip_add(&zip, &(zip_member){.name = "m/data.pkl", .content = p.bytes, .size = p.size, .deflated = deflated});
    zip_finish(&zip, true, NULL, 0);
    ptio_source_borrow(zip.bytes, zip.size, &source);
    ptio_status status = ptio_checkpoint_open(&source, &options, &c, err);
    ptio_checkpoint_free(&c);
    zip_free_archive(&zip);
    pickle_free(&p);
    return status;
}

/* 60,000 bytes that are a few hundred in the file, and a list of 30,000 items. */
static void a_compressed_pickle_and_what_it_makes_share_a_limit(void) {
    ptio_error err = {0};
    ASSERT_OK(open_numbers(false, 600000, &err));
    ASSERT_OK(open_numbers(true, 2000000, &err));
    ASSERT_FAILS(open_numbers(true, 600000, &err), LIMIT, "R.object-bytes", "limit object_bytes", 60001);
    ASSERT_FAILS(open_numbers(true, 300000, &err), LIMIT, "R.arena", "limit object_bytes", PTIO_NO_OFFSET);
}

static void memory_may_run_out_anywhere(void) {
    static const char all[] =
        "(" TENSOR "]q\1r\xff\xff\xff\x7f(NNe}" INT("1") "Ns\x8f(NK\1\x90(K\1\x91" REAL("1.5") PY2("a\\x00") TEXT("\\u00e9")
        BYTES("\xff") CALL(GLOBAL_OF("numpy", "dtype"), TEXT("f4") FALSE_ TRUE_) HOOKS "K\1Ns" UNKNOWN OPAQUE "t.";
    ptio_checkpoint_options options = default_options();
    options.inert = true;
    unsigned failures = 0;
    for (uint64_t k = 1; k < 1000; k++) {
        ptio_error err = {0};
        opened o;
        ptio_memory_fail_at(k);
        ptio_status status = open_pickle(&o, LITERAL(all), &options, &err);
        ptio_memory_fail_at(0);
        opened_free(&o);
        if (status == PTIO_OK) break;
        failures++;
        ASSERT_EQUAL(status, PTIO_E_NO_MEMORY);
    }
    ASSERT_TRUE(failures >= 4 && failures < 999);
}

void suite_checkpoint(void) {
    RUN(files_of_another_kind);
    RUN(archives_of_another_kind);
    RUN(versions_one_to_ten);
    RUN(byte_orders);
    RUN(byte_orders_that_the_file_does_not_tell);
    RUN(small_members_are_small);
    RUN(pickles_have_a_largest_size);
    RUN(a_caller_may_name_the_members);
    RUN(an_archive_can_be_looked_at_without_its_pickle);
    RUN(a_file_may_be_one_pickle);
    RUN(a_graph_is_given_back_alone_and_may_be_made_again);
    RUN(a_compressed_pickle_and_what_it_makes_share_a_limit);
    RUN(memory_may_run_out_anywhere);
}
