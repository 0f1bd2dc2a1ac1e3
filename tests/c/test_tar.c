/* SPDX-License-Identifier: Apache-2.0
 *
 * Files of torch 0.1: headers of the archive, lists of storages and tensors, and the
 * numbers by which the object refers to them.
 */
#include <stdlib.h>

#include "legacy.h"
#include "pickle_builder.h"
#include "sweep.h"
#include "tar_members.h"

void suite_tar(void);

enum { BLOCK = 512, RECORD = 10240 };

/* --- building -------------------------------------------------------------------------------- */

static void fix_checksum(uint8_t *header) {
    unsigned sum = 0;
    memset(header + 148, ' ', 8);
    for (int i = 0; i < BLOCK; i++) sum += header[i];
    snprintf((char *)header + 148, 8, "%06o", sum);
    header[155] = ' ';
}

static void add_member(pickle_buffer *p, const char *name, char type, const void *data, size_t size) {
    uint8_t header[BLOCK] = {0};
    memcpy(header, name, strlen(name));
    snprintf((char *)header + 124, 12, "%011o", (unsigned)size);
    header[156] = (uint8_t)type;
    memcpy(header + 257, "ustar\0" "00", 8);
    fix_checksum(header);
    pickle_add(p, header, BLOCK);
    pickle_add(p, data, size);
    while (p->size % BLOCK != 0) ADD(p, "\0");
}

static void finish(pickle_buffer *p) {
    ADD_TIMES(p, "\0", 2 * BLOCK);
    while (p->size % RECORD != 0) ADD(p, "\0");
}

typedef struct {
    const char *storages;
    size_t storages_size;
    const char *tensors;
    size_t tensors_size;
    const char *pickle;
    size_t pickle_size;
} members;

#define MEMBERS(storages, tensors, pickle) {LITERAL(storages), LITERAL(tensors), LITERAL(pickle)}

static pickle_buffer archive_of(const members *m) {
    pickle_buffer p = {0};
    add_member(&p, "sys_info", '0', "}.", 2);
    add_member(&p, "pickle", '0', m->pickle, m->pickle_size);
    add_member(&p, "tensors", '0', m->tensors, m->tensors_size);
    add_member(&p, "storages", '0', m->storages, m->storages_size);
    finish(&p);
    return p;
}

typedef struct {
    pickle_buffer bytes;
    ptio_source source;
    ptio_checkpoint c;
} opened_tar;

static ptio_status open_tar(opened_tar *o, pickle_buffer bytes, const ptio_checkpoint_options *options, ptio_error *err) {
    ptio_checkpoint_options defaults = default_options();
    o->bytes = bytes;
    ptio_source_borrow(bytes.bytes, bytes.size, &o->source);
    return ptio_checkpoint_open(&o->source, options == NULL ? &defaults : options, &o->c, err);
}

static void close_tar(opened_tar *o) {
    ptio_checkpoint_free(&o->c);
    pickle_free(&o->bytes);
}

/* --- parts ------------------------------------------------------------------------------------ */

#define FLOAT TORCH("FloatStorage")
#define STORED(id, class_) "(" INT(id) TEXT("cpu") class_ "t."
#define FOUR "\4\0\0\0\0\0\0\0" "0123456789abcdef"
#define ONE_STORAGE "I1\n." STORED("7", FLOAT) FOUR
#define NO_VIEWS "]."
#define X16 "xxxxxxxxxxxxxxxx"
#define LONG_PLACE X16 X16 X16 X16 X16 X16 X16 X16 "x" /* a byte too long */
#define STORAGES ONE_STORAGE NO_VIEWS
#define LISTED(id, storage) "(" INT(id) storage TORCH("FloatTensor") "t."
#define Q(n) n "\0\0\0\0\0\0\0"
#define TWO_BY_TWO "\2\0\0\0\0\0\0\0" Q("\2") Q("\2") Q("\1") Q("\2") Q("\0")
#define TENSORS "I1\n." LISTED("9", INT("7")) TWO_BY_TWO
#define REFER(id) TEXT(id) "Q"

typedef struct {
    int line;
    members m;
    ptio_status status;
    const char *check, *fragment;
} broken_tar;

#define BROKEN_TAR(storages, tensors, pickle, status, check, fragment) \
    {__LINE__, MEMBERS(storages, tensors, pickle), PTIO_E_##status, check, fragment}

static void open_broken_tars(const broken_tar *cases, size_t count) {
    for (const broken_tar *b = cases; b < cases + count; b++) {
        ptio_error err = {0};
        opened_tar o;
        ptio_status status = open_tar(&o, archive_of(&b->m), NULL, &err);
        test_error(__FILE__, b->line, status, &err, b->status, b->check, b->fragment, err.offset);
        close_tar(&o);
    }
}

/* --- tests --------------------------------------------------------------------------------------- */

static void storages_tensors_and_views(void) {
    static const members m = MEMBERS(ONE_STORAGE "((I3\nI7\nI1\nI2\ntl.", "I2\n." LISTED("9", INT("7")) TWO_BY_TWO
        LISTED("4", INT("3")) "\1\0\0\0\0\0\0\0" Q("\2") Q("\1") Q("\0"),
        "(" REFER("9") REFER("4") "I9\nQ" REFER("7") REFER("3") "t.");
    ptio_error err = {0};
    opened_tar o;
    ASSERT_OK(open_tar(&o, archive_of(&m), NULL, &err));
    ASSERT_EQUAL(o.c.format, PTIO_FORMAT_TAR);
    ASSERT_EQUAL(o.c.end, RECORD);
    ASSERT_EQUAL(o.c.storage_count, 2);
    ASSERT_EQUAL(o.c.tensor_count, 2);
    ASSERT_EQUAL(o.c.storages[1].root, 0);
    ASSERT_EQUAL(o.c.storages[1].offset, 4);
    ASSERT_EQUAL(o.c.storages[1].bytes, 8);
    ASSERT_EQUAL(o.c.index.count, 1);
    ASSERT_BYTES(o.bytes.bytes + o.c.index.records[0].data, "0123456789abcdef", 16);
    size_t n;
    ASSERT_BYTES(ptio_zip_name(&o.c.index, 0, &n), "data/7", 6);
    ASSERT_EQUAL(ptio_tensor_strides(&o.c, &o.c.tensors[0])[1], 2);
    const ptio_graph *graph = &o.c.graph;
    const ptio_ref *items = graph->refs + graph->nodes[graph->root].first;
    ASSERT_EQUAL(graph->nodes[items[0]].kind, PTIO_N_TENSOR);
    ASSERT_EQUAL(ptio_follow(graph, items[2]), items[0]); /* one object */
    ASSERT_EQUAL(graph->nodes[items[3]].kind, PTIO_N_STORAGE);
    ASSERT_EQUAL(graph->nodes[items[4]].a, 1);
    close_tar(&o);
}

static void text_protocols(void) {
    static const members m = MEMBERS(STORAGES, TENSORS, "(P9\nP7\nP9\nt.");
    ptio_error err = {0};
    opened_tar o;
    ASSERT_OK(open_tar(&o, archive_of(&m), NULL, &err));
    ASSERT_EQUAL(o.c.tensor_count, 1);
    close_tar(&o);
}

static void a_class_of_containers(void) {
    static const members m = MEMBERS(STORAGES, TENSORS, "(" UNKNOWN "NNtQ)\x81.");
    ptio_checkpoint_options options = default_options();
    ptio_error err = {0};
    opened_tar o;
    ASSERT_FAILS(open_tar(&o, archive_of(&m), NULL, &err), GLOBAL_FORBIDDEN, "P7.allowed", "some.module.Thing", 1);
    close_tar(&o);
    options.inert = true;
    ASSERT_OK(open_tar(&o, archive_of(&m), &options, &err));
    close_tar(&o);
}

static void lists_of_storages(void) {
    static const broken_tar cases[] = {
        BROKEN_TAR("N." NO_VIEWS, TENSORS, "N.", LEGACY_MALFORMED, "L2.count", "number of storages is no count"),
        BROKEN_TAR("I-1\n." NO_VIEWS, TENSORS, "N.", LEGACY_MALFORMED, "L2.count", "no count"),
        BROKEN_TAR("I2147483648\n." NO_VIEWS, TENSORS, "N.", LEGACY_MALFORMED, "L2.count", "no count"),
        BROKEN_TAR("I2\n." STORED("7", FLOAT) FOUR, TENSORS, "N.", TRUNCATED, "L1.cut", "list of storages"),
        BROKEN_TAR("I1\n.N.", TENSORS, "N.", LEGACY_MALFORMED, "L2.entry", "not (number"),
        BROKEN_TAR("I1\n.(I7\nVcpu\nNt.", TENSORS, "N.", LEGACY_MALFORMED, "L2.entry", "class)"),
        BROKEN_TAR("I1\n.(I7\nVcpu\n" FLOAT "Nt.", TENSORS, "N.", LEGACY_MALFORMED, "L2.entry", "not (number"),
        BROKEN_TAR("I1\n.(I7\nVcpu\n" FLOAT "t0" FORGED_TUPLE(3, "\0") ".", TENSORS, "N.", LEGACY_MALFORMED, "L2.entry", "not (number"),
        BROKEN_TAR("I1\n.(Va\nVcpu\n" FLOAT "t.", TENSORS, "N.", LEGACY_MALFORMED, "L2.entry", "not (number"),
        BROKEN_TAR("I1\n.(I7\nN" FLOAT "t.", TENSORS, "N.", LEGACY_MALFORMED, "L2.location", "no short text"),
        BROKEN_TAR("I1\n.(I7\nV" LONG_PLACE "\n" FLOAT "t.", TENSORS, "N.", LEGACY_MALFORMED, "L2.location", "no short text"),
        BROKEN_TAR("I1\n.(I7\nV\\u00e9\n" FLOAT "t.", TENSORS, "N.", LEGACY_MALFORMED, "L2.location", "no short text"),
        BROKEN_TAR("I1\n." STORED("7", GLOBAL_OF("os", "system")), TENSORS, "N.", GLOBAL_FORBIDDEN, "L2.class",
                   "none of torch's"),
        BROKEN_TAR("I1\n." STORED("7", TORCH("float32")), TENSORS, "N.", GLOBAL_FORBIDDEN, "L2.class", "storage's class"),
        BROKEN_TAR("I1\n.(I7\nVcpu\n" UNKNOWN "0" FLOAT "t.", TENSORS, "N.", GLOBAL_FORBIDDEN, "L1.global", "only plain data"),
        BROKEN_TAR("I1\n." STORED("7", FLOAT) "\xff\xff\xff\xff\xff\xff\xff\xff", TENSORS, "N.", BOUNDS, "L2.elements",
                   "a storage of -1 elements"),
        BROKEN_TAR("I1\n." STORED("7", TORCH("ByteStorage")) "\xff\xff\xff\xff\xff\xff\xff\xff", TENSORS, "N.", BOUNDS, "L2.elements",
                   "a storage of -1 elements"),
        BROKEN_TAR("I1\n." STORED("7", FLOAT) "\0\0\0\0\0\0\0\x7f", TENSORS, "N.", BOUNDS, "L2.elements", "elements"),
        BROKEN_TAR("I1\n." STORED("7", FLOAT) "\5\0\0\0\0\0\0\0" "0123456789abcdef].", TENSORS, "N.", TRUNCATED, "L1.room",
                   "20 bytes are needed"),
        BROKEN_TAR("I2\n." STORED("7", FLOAT) FOUR STORED("7", FLOAT) FOUR NO_VIEWS, TENSORS, "N.", LEGACY_MALFORMED, "L2.unique",
                   "have the number 7"),
        BROKEN_TAR(STORAGES "x", TENSORS, "N.", LEGACY_MALFORMED, "L2.rest", "1 bytes follow the last of the storages"),
    };
    open_broken_tars(cases, COUNT_OF(cases));
}

static void lists_of_views(void) {
#define VIEWS(list) ONE_STORAGE list
    static const broken_tar cases[] = {
        BROKEN_TAR(VIEWS("}."), TENSORS, "N.", LEGACY_MALFORMED, "L2.views", "are no list"),
        BROKEN_TAR(VIEWS("](NNu."), TENSORS, "N.", LEGACY_MALFORMED, "L2.views-fill", "filled like something else"),
        BROKEN_TAR(VIEWS("(Nl."), TENSORS, "N.", LEGACY_MALFORMED, "L2.view-shape", "(number, root, offset, size)"),
        BROKEN_TAR(VIEWS("((I1\nI7\nI0\ntl."), TENSORS, "N.", LEGACY_MALFORMED, "L2.view-shape", "number"),
        BROKEN_TAR(VIEWS("((I1\nI7\nI0\nNtl."), TENSORS, "N.", LEGACY_MALFORMED, "L2.view-shape", "number"),
        BROKEN_TAR(VIEWS("((I1\nI6\nI0\nI1\ntl."), TENSORS, "N.", LEGACY_MALFORMED, "L2.root", "storage 6, which is not"),
        BROKEN_TAR(VIEWS("((I1\nI7\nI0\nI1\nt(I2\nI1\nI0\nI1\ntl."), TENSORS, "N.", LEGACY_MALFORMED, "L2.root", "storage 1"),
        BROKEN_TAR(VIEWS("((I1\nI7\nI1\nI4\ntl."), TENSORS, "N.", BOUNDS, "L2.view", "4 elements from element 1 on"),
        BROKEN_TAR(VIEWS("((I1\nI7\nI5\nI0\ntl."), TENSORS, "N.", BOUNDS, "L2.view", "storage of 16 bytes"),
        BROKEN_TAR(VIEWS("((I1\nI7\nI-1\nI1\ntl."), TENSORS, "N.", BOUNDS, "L2.view", "element -1"),
        BROKEN_TAR(VIEWS("((I1\nI7\nI4611686018427387904\nI1\ntl."), TENSORS, "N.", BOUNDS, "L2.view", "element 461168"),
        BROKEN_TAR(VIEWS("((I7\nI7\nI0\nI1\ntl."), TENSORS, "N.", LEGACY_MALFORMED, "L2.unique", "the number 7"),
    };
    open_broken_tars(cases, COUNT_OF(cases));
}

static void lists_of_tensors(void) {
    static const broken_tar cases[] = {
        BROKEN_TAR(STORAGES, "N.", "N.", LEGACY_MALFORMED, "L2.count", "number of tensors is no count"),
        BROKEN_TAR(STORAGES, "I1\n." LISTED("9", "N"), "N.", LEGACY_MALFORMED, "L2.storage", "without a storage"),
        BROKEN_TAR(STORAGES, "I1\n." LISTED("9", INT("8")), "N.", LEGACY_MALFORMED, "L2.storage", "without a storage"),
        BROKEN_TAR(STORAGES, "I1\n.(I9\nI7\n" GLOBAL_OF("os", "system") "t.", "N.", GLOBAL_FORBIDDEN, "L2.tensor-class",
                   "none of torch's"),
        BROKEN_TAR(STORAGES, "I1\n.(I9\nI7\n" GLOBAL_OF("os", "FloatTensor") "t.", "N.", GLOBAL_FORBIDDEN, "L2.tensor-class",
                   "torch's"),
        BROKEN_TAR(STORAGES, "I1\n.(I9\nI7\n" TORCH("FloatStorage") "t.", "N.", GLOBAL_FORBIDDEN, "L2.tensor-class", "torch's"),
        BROKEN_TAR(STORAGES, "I2\n." LISTED("9", INT("7")) TWO_BY_TWO LISTED("4", INT("9")) TWO_BY_TWO, "N.", LEGACY_MALFORMED,
                   "L2.storage", "without a storage"),
        BROKEN_TAR(STORAGES, "I1\n.(I9\nI7\n" TORCH("Tenso") "t.", "N.", GLOBAL_FORBIDDEN, "L2.tensor-class", "torch's"),
        BROKEN_TAR(STORAGES, "I1\n." LISTED("9", INT("7")) "\x41\0\0\0\0\0\0\0", "N.", LIMIT, "L2.dims", "65 dimensions"),
        BROKEN_TAR(STORAGES, "I1\n." LISTED("9", INT("7")) "\1\0\0\0\0\0\0\0" Q("\1"), "N.", TRUNCATED, "L1.room", "8 bytes"),
        BROKEN_TAR(STORAGES, "I2\n." LISTED("9", INT("7")) TWO_BY_TWO LISTED("9", INT("7")) TWO_BY_TWO, "N.", LEGACY_MALFORMED,
                   "L2.unique", "the number 9"),
        BROKEN_TAR(STORAGES, "I1\n." LISTED("7", INT("7")) TWO_BY_TWO, "N.", LEGACY_MALFORMED, "L2.unique", "the number 7"),
        BROKEN_TAR(STORAGES, TENSORS "x", "N.", LEGACY_MALFORMED, "L2.rest", "1 bytes follow the last of the tensors"),
        BROKEN_TAR(STORAGES, "I1\n." LISTED("9", INT("7")) "\1\0\0\0\0\0\0\0" Q("\5") Q("\1") Q("\0"), REFER("9") ".", BOUNDS,
                   "T3.last", "element"),
        BROKEN_TAR(STORAGES, "I1\n." LISTED("9", INT("7")) "\1\0\0\0\0\0\0\0" Q("\1") Q("\1") Q("\4"), REFER("9") ".", BOUNDS,
                   "T3.last", "element"),
    };
    open_broken_tars(cases, COUNT_OF(cases));
}

static void numbers_in_the_object(void) {
    static const broken_tar cases[] = {
        BROKEN_TAR(STORAGES, TENSORS, "NQ.", PICKLE_MALFORMED, "L2.id", "a persistent id is None, only numbers"),
        BROKEN_TAR(STORAGES, TENSORS, REFER("") ".", PICKLE_MALFORMED, "L2.id", "a str"),
        BROKEN_TAR(STORAGES, TENSORS, REFER("9x") ".", PICKLE_MALFORMED, "L2.id", "a str"),
        BROKEN_TAR(STORAGES, TENSORS, REFER("-9") ".", PICKLE_MALFORMED, "L2.id", "a str"),
        BROKEN_TAR(STORAGES, TENSORS, REFER("1000000000000000000") ".", PICKLE_MALFORMED, "L2.id", "a str"),
        BROKEN_TAR(STORAGES, TENSORS, REFER("8") ".", PICKLE_MALFORMED, "L2.unknown", "has the number 8"),
        BROKEN_TAR(STORAGES, TENSORS, "(NNNtQ.", PICKLE_MALFORMED, "P10.module", "class is None"),
        BROKEN_TAR(STORAGES, TENSORS, "N.N.", LEGACY_MALFORMED, "L2.object", "2 bytes follow the object"),
        BROKEN_TAR(STORAGES, TENSORS, "]", TRUNCATED, "L1.cut", "pickle of the object"),
        BROKEN_TAR(STORAGES, TENSORS, UNKNOWN ".", GLOBAL_FORBIDDEN, "P7.allowed", "some.module.Thing"),
    };
    open_broken_tars(cases, COUNT_OF(cases));
}

static void storages_count_as_objects(void) {
    static const members m = MEMBERS("I3\n." STORED("7", FLOAT) FOUR STORED("6", FLOAT) FOUR STORED("5", FLOAT) FOUR NO_VIEWS,
                                     TENSORS, "N.");
    ptio_checkpoint_options options = default_options();
    ptio_error err = {0};
    opened_tar o;
    options.limits.objects = 5;
    ASSERT_FAILS(open_tar(&o, archive_of(&m), &options, &err), LIMIT, "R.tar", "3 storages", PTIO_NO_OFFSET);
    close_tar(&o);
    options.limits.objects = 6;
    ASSERT_OK(open_tar(&o, archive_of(&m), &options, &err));
    close_tar(&o);
}

/* --- the archive --------------------------------------------------------------------------------- */

static const members sound = MEMBERS(STORAGES, TENSORS, REFER("9") ".");

/* Spoils one byte of the first header, or of all of the archive. */
static void spoil(size_t at, uint8_t value, bool fix, ptio_status status, const char *check, const char *fragment,
                  uint64_t offset) {
    pickle_buffer p = archive_of(&sound);
    ptio_error err = {0};
    opened_tar o;
    p.bytes[at] = value;
    if (fix) fix_checksum(p.bytes + at / BLOCK * BLOCK);
    test_error(__FILE__, __LINE__, open_tar(&o, p, NULL, &err), &err, status, check, fragment, offset);
    close_tar(&o);
}

static void headers_that_are_wrong(void) {
    spoil(100, 'x', false, PTIO_E_LEGACY_MALFORMED, "L2.checksum", "header at byte 0 is wrong", 0);
    spoil(1024 + 20, 'x', false, PTIO_E_LEGACY_MALFORMED, "L2.checksum", "header at byte 1024 is wrong", 1024);
    spoil(148, 'x', false, PTIO_E_LEGACY_MALFORMED, "L2.checksum", "is wrong", 0);
    spoil(124, '8', true, PTIO_E_LEGACY_MALFORMED, "L2.size", "no octal number", 124);
    spoil(124, 0x80, true, PTIO_E_LEGACY_MALFORMED, "L2.size", "no octal number", 124);
    spoil(124, '7', true, PTIO_E_TRUNCATED, "L2.room", "begins at byte 512", 512);
    spoil(156, '5', true, PTIO_E_LEGACY_MALFORMED, "L2.type", "type 0x35", 156);
    spoil(156, '2', true, PTIO_E_LEGACY_MALFORMED, "L2.type", "type 0x32", 156);
    spoil(1024, 'q', true, PTIO_E_LEGACY_MALFORMED, "L2.member", "without a member 'pickle'", PTIO_NO_OFFSET);
    spoil(1024 + 345, 'q', true, PTIO_E_LEGACY_MALFORMED, "L2.member", "without a member 'pickle'", PTIO_NO_OFFSET);
}

static void members_of_one_name(void) {
    pickle_buffer p = {0};
    ptio_error err = {0};
    opened_tar o;
    add_member(&p, "pickle", '0', "N.", 2);
    add_member(&p, "pickle", '0', "N.", 2);
    finish(&p);
    ASSERT_FAILS(open_tar(&o, p, NULL, &err), LEGACY_MALFORMED, "L2.twice", "two members 'pickle'", 1024);
    close_tar(&o);
}

static void extended_headers(void) {
    static const struct {
        const char *text, *check, *fragment;
    } cases[] = {
        {"22 mtime=1486512000.2\n", NULL, NULL},
        {"12 mtime=12\n10 uname=\n", NULL, NULL},
        {"11 path=ab\n", "L2.pax-key", "something else than times"},
        {"10 size=9\n", "L2.pax-key", "something else"},
        {"12 mtimes=1\n", "L2.pax-key", "something else"},
        {"99 mtime=12\n", "L2.pax", "broken record"},
        {"mtime=12\n", "L2.pax", "broken record"},
        {"12mtime=12\n", "L2.pax", "broken record"},
        {"12 mtime=123", "L2.pax", "broken record"},
        {"12 mtime:12\n", "L2.pax", "broken record"},
        {"3 \n", "L2.pax", "broken record"},
        {"99999999999999999999999 mtime=1\n", "L2.pax", "broken record"},
        {"12", "L2.pax", "broken record"},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        pickle_buffer p = {0};
        ptio_error err = {0};
        opened_tar o;
        add_member(&p, "././@PaxHeader", 'x', cases[i].text, strlen(cases[i].text));
        add_member(&p, "sys_info", '0', "}.", 2);
        add_member(&p, "storages", '0', sound.storages, sound.storages_size);
        add_member(&p, "tensors", '\0', sound.tensors, sound.tensors_size);
        add_member(&p, "pickle", '0', sound.pickle, sound.pickle_size);
        finish(&p);
        ptio_status status = open_tar(&o, p, NULL, &err);
        if (cases[i].check == NULL)
            ASSERT_OK(status);
        else
            test_error(__FILE__, __LINE__, status, &err, PTIO_E_LEGACY_MALFORMED, cases[i].check, cases[i].fragment, err.offset);
        close_tar(&o);
    }
    pickle_buffer p = {0};
    ptio_error err = {0};
    opened_tar o;
    uint8_t zeros[513] = {0};
    add_member(&p, "sys_info", '0', "}.", 2);
    add_member(&p, "././@PaxHeader", 'g', zeros, sizeof zeros);
    finish(&p);
    ASSERT_FAILS(open_tar(&o, p, NULL, &err), LEGACY_MALFORMED, "L2.pax-size", "513 bytes of extended header", 1536);
    close_tar(&o);
}

static void the_end_of_the_archive(void) {
    ptio_checkpoint_options options = default_options();
    ptio_error err = {0};
    opened_tar o;
    pickle_buffer p = archive_of(&sound);
    ADD(&p, "x");
    ASSERT_FAILS(open_tar(&o, p, NULL, &err), LEGACY_MALFORMED, "L2.trailing", "1 bytes follow the tar archive", RECORD);
    ptio_checkpoint_free(&o.c);
    options.may_continue = true;
    ASSERT_OK(open_tar(&o, p, &options, &err));
    ASSERT_EQUAL(o.c.end, RECORD);
    ptio_checkpoint_free(&o.c);
    p.size = 4096 + 512; /* one block of zeros is enough */
    ASSERT_OK(open_tar(&o, p, NULL, &err));
    ASSERT_EQUAL(o.c.end, p.size);
    ptio_checkpoint_free(&o.c);
    p.size = 4096;
    ASSERT_FAILS(open_tar(&o, p, NULL, &err), TRUNCATED, "L2.end", "ends at byte 4096 without its last block", 4096);
    close_tar(&o);
}

static void every_truncation_fails(void) {
    pickle_buffer p = archive_of(&sound);
    for (size_t size = 512; size < 4096 + 512; size += 3) {
        ptio_error err = {0};
        ptio_source source;
        ptio_checkpoint c;
        ptio_checkpoint_options options = default_options();
        uint8_t *copy = malloc(size);
        memcpy(copy, p.bytes, size);
        ptio_source_borrow(copy, size, &source);
        ASSERT_TRUE(ptio_checkpoint_open(&source, &options, &c, &err) == PTIO_E_TRUNCATED);
        ptio_checkpoint_free(&c);
        free(copy);
    }
    pickle_free(&p);
}

static void every_changed_byte_ends_in_an_error_or_a_checkpoint(void) {
    static const uint8_t values[] = {0, 1, '.', '(', 'Q', 0x80, 0xff};
    pickle_buffer p = archive_of(&sound);
    unsigned fine = 0;
    for (size_t at = 512; at < 4096 + 512; at++)
        for (size_t i = 0; i < sizeof values && (p.bytes[at] != 0 || at % 64 == 0); i++) { /* little of the padding */
            ptio_error err = {0};
            ptio_source source;
            ptio_checkpoint c;
            ptio_checkpoint_options options = default_options();
            uint8_t before = p.bytes[at];
            p.bytes[at] = values[i];
            ptio_source_borrow(p.bytes, p.size, &source);
            if (ptio_checkpoint_open(&source, &options, &c, &err) == PTIO_OK) {
                fine++;
                for (uint32_t r = 0; r < c.index.count; r++)
                    ASSERT_TRUE(ptio_zip_record_end(&c.index, r) <= p.size);
            }
            ptio_checkpoint_free(&c);
            p.bytes[at] = before;
        }
    ASSERT_TRUE(fine > 16 * sizeof values);
    pickle_free(&p);
}

static void memory_and_reads_may_fail(void) {
    static const sweep_entry entries[] = {{"tar", sweep_open, PTIO_OK, 15, 8, false}};
    pickle_buffer p = archive_of(&sound);
    SWEEP(entries, p.bytes, p.size);
    pickle_free(&p);
}

void suite_tar(void) {
    RUN(storages_tensors_and_views);
    RUN(text_protocols);
    RUN(a_class_of_containers);
    RUN(lists_of_storages);
    RUN(lists_of_views);
    RUN(lists_of_tensors);
    RUN(numbers_in_the_object);
    RUN(storages_count_as_objects);
    RUN(headers_that_are_wrong);
    RUN(members_of_one_name);
    RUN(extended_headers);
    RUN(the_end_of_the_archive);
    RUN(every_truncation_fails);
    RUN(every_changed_byte_ends_in_an_error_or_a_checkpoint);
    RUN(memory_and_reads_may_fail);
}
