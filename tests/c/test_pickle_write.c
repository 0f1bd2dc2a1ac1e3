/* SPDX-License-Identifier: Apache-2.0
 *
 * Opcodes, memo and batches, against what pickle.dumps(..., 2) of CPython gives for the
 * object in the comment.
 */
#include <math.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "memory.h"
#include "pickle_write.h"
#include "test.h"

void suite_pickle_write(void);

static ptio_pickler p;
static ptio_error err;

static void begin(void) {
    ptio_pickler_free(&p);
    ASSERT_OK(ptio_pickler_begin(&p, &err));
}

static void op(ptio_opcode code) { ASSERT_OK(ptio_pickler_op(&p, code, &err)); }
static void number(int64_t value) { ASSERT_OK(ptio_pickler_int(&p, value, &err)); }
static void memoize(uint64_t key) { ASSERT_OK(ptio_pickler_memoize(&p, key, &err)); }

static void text(const char *utf8) {
    ASSERT_OK(ptio_pickler_text(&p, utf8, strlen(utf8), &err));
    memoize(0);
}

static bool recall(uint64_t key) {
    bool known = key % 2;
    ASSERT_OK(ptio_pickler_recall(&p, key, &known, &err));
    ASSERT_EQUAL(known, ptio_pickler_knows(&p, key));
    return known;
}

static void item_begin(ptio_pickler_batch *batch, bool last) { ASSERT_OK(ptio_pickler_item_begin(&p, batch, last, &err)); }
static void item_end(ptio_pickler_batch *batch, bool last) { ASSERT_OK(ptio_pickler_item_end(&p, batch, last, &err)); }

/* Ends the pickle and compares it with `expected`. */
#define ASSERT_PICKLE(expected)                         \
    do {                                                \
        ASSERT_OK(ptio_pickler_end(&p, &err));          \
        ASSERT_EQUAL(p.size, sizeof expected - 1);      \
        ASSERT_BYTES(p.bytes, expected, sizeof expected - 1); \
        ASSERT_TRUE(p.memo.slots == NULL);                    \
        ptio_pickler_free(&p);                          \
        ASSERT_TRUE(p.bytes == NULL && p.size == 0);    \
    } while (0)

static void integers(void) {
    static const int64_t values[] = {0, 255, 256, 65535, 65536, INT32_MAX, INT64_C(1) << 31, -1, INT32_MIN,
                                     INT64_C(-2147483649), INT64_MAX, INT64_MIN};
    ptio_pickler_batch batch = {.exact = true};
    begin();
    op(PTIO_OP_EMPTY_LIST);
    memoize(1);
    for (size_t i = 0; i < 12; i++) {
        item_begin(&batch, i == 11);
        number(values[i]);
        item_end(&batch, i == 11);
    }
    ASSERT_PICKLE("\200\2]q\0(K\0K\377M\0\1M\377\377J\0\0\1\0J\377\377\377\177\212\5\0\0\0\200\0J\377\377\377\377J\0\0\0\200"
                  "\212\5\377\377\377\177\377\212\10\377\377\377\377\377\377\377\177\212\10\0\0\0\0\0\0\0\200e.");
}

static void integers_have_no_byte_too_many(void) {
    static const struct {
        int64_t value;
        unsigned bytes;
    } cases[] = {{INT64_C(1) << 38, 5}, {INT64_C(1) << 39, 6}, {-(INT64_C(1) << 39), 5}, {-(INT64_C(1) << 39) - 1, 6},
                 {INT64_C(1) << 47, 7}, {(INT64_C(1) << 47) - 1, 6}, {-(INT64_C(1) << 55), 7}, {INT64_C(1) << 55, 8}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        begin();
        number(cases[i].value);
        ASSERT_EQUAL(p.size, 4 + cases[i].bytes);
        ASSERT_EQUAL(p.bytes[2], PTIO_OP_LONG1);
        ASSERT_EQUAL(p.bytes[3], cases[i].bytes);
    }
}

static void long_integers(void) {
    static uint8_t bytes[400];
    begin(); /* 2 ** 64 */
    bytes[8] = 1;
    ASSERT_OK(ptio_pickler_long(&p, bytes, 12, &err));
    ASSERT_PICKLE("\200\2\212\11\0\0\0\0\0\0\0\0\1.");
    begin(); /* -2 ** 64 */
    memset(bytes + 8, 0xFF, 8);
    ASSERT_OK(ptio_pickler_long(&p, bytes, 16, &err));
    ASSERT_PICKLE("\200\2\212\11\0\0\0\0\0\0\0\0\377.");
    for (size_t n = 255; n <= 256; n++) { /* 2 ** (8 * n - 2) */
        begin();
        memset(bytes, 0, sizeof bytes);
        bytes[n - 1] = 0x40;
        ASSERT_OK(ptio_pickler_long(&p, bytes, sizeof bytes, &err));
        ASSERT_EQUAL(p.size, 2 + n + (n == 255 ? 2 : 5));
        ASSERT_BYTES(p.bytes + 2, n == 255 ? "\212\377" : "\213\0\1\0\0", n == 255 ? 2 : 5);
    }
    bytes[0] = 5;
    ASSERT_FAILS(ptio_pickler_long(&p, bytes, 0, &err), UNWRITABLE, "W5.long", "of 0 bytes", PTIO_NO_OFFSET);
}

/* LONG4 has 31 bits for its length. Pages that nobody writes to take no memory. */
static void integers_of_2_gib(void) {
    size_t n = (size_t)1 << 31;
    if (n > PTRDIFF_MAX) return; /* nothing is that large there */
    uint8_t *bytes = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    begin();
    ASSERT_TRUE(bytes != MAP_FAILED);
    if (bytes == MAP_FAILED) return;
    bytes[n - 1] = 1;
    ASSERT_FAILS(ptio_pickler_long(&p, bytes, n, &err), UNWRITABLE, "W5.long", "of 2147483648 bytes", PTIO_NO_OFFSET);
    munmap(bytes, n);
}

static void floats(void) {
    begin();
    ASSERT_OK(ptio_pickler_float(&p, 1.5, &err));
    ASSERT_OK(ptio_pickler_float(&p, -0.0, &err));
    ASSERT_OK(ptio_pickler_float(&p, (double)INFINITY, &err));
    ASSERT_PICKLE("\200\2G\77\370\0\0\0\0\0\0G\200\0\0\0\0\0\0\0G\177\360\0\0\0\0\0\0.");
}

static void strings(void) { /* ["\u00e9", "", "\ud800"] */
    ptio_pickler_batch batch = {.exact = true};
    static const char *const texts[] = {"\303\251", "", "\355\240\200"};
    begin();
    op(PTIO_OP_EMPTY_LIST);
    memoize(1);
    for (unsigned i = 0; i < 3; i++) {
        item_begin(&batch, i == 2);
        text(texts[i]);
        item_end(&batch, i == 2);
    }
    ASSERT_PICKLE("\200\2]q\0(X\2\0\0\0\303\251q\1X\0\0\0\0q\2X\3\0\0\0\355\240\200q\3e.");
    begin();
    if (SIZE_MAX > UINT32_MAX)
        ASSERT_FAILS(ptio_pickler_text(&p, NULL, (size_t)UINT32_MAX + 1, &err), UNWRITABLE, "W5.text",
                     "a string of 4294967296 bytes", PTIO_NO_OFFSET);
    ASSERT_EQUAL(p.size, 2);
}

static void globals_and_calls(void) { /* collections.OrderedDict(a=1) */
    ptio_pickler_batch batch = {.pairs = true};
    begin();
    ASSERT_OK(ptio_pickler_global(&p, "collections", "OrderedDict", &err));
    memoize(77);
    ASSERT_OK(ptio_pickler_tuple_begin(&p, 0, &err));
    ASSERT_OK(ptio_pickler_tuple_end(&p, 0, 88, &err));
    op(PTIO_OP_REDUCE);
    memoize(99);
    item_begin(&batch, true);
    text("a");
    number(1);
    item_end(&batch, true);
    ASSERT_TRUE(recall(77) && recall(99) && !recall(88) && !recall(0));
    ASSERT_PICKLE("\200\2ccollections\12OrderedDict\12q\0)Rq\1X\1\0\0\0aq\2K\1sh\0h\1.");
    begin();
    ASSERT_FAILS(ptio_pickler_global(&p, "a\nb", "c", &err), UNWRITABLE, "W5.global", "a\\x0ab.c", PTIO_NO_OFFSET);
    ASSERT_FAILS(ptio_pickler_global(&p, "m", "\303\251", &err), UNWRITABLE, "W5.global", "protocol 2", PTIO_NO_OFFSET);
    ASSERT_EQUAL(p.size, 2);
}

static void tuples(void) { /* ((), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)) */
    begin();
    ASSERT_OK(ptio_pickler_tuple_begin(&p, 5, &err));
    for (size_t n = 0; n < 5; n++) {
        ASSERT_OK(ptio_pickler_tuple_begin(&p, n, &err));
        for (size_t i = 0; i < n; i++) number((int64_t)i + 1);
        ASSERT_OK(ptio_pickler_tuple_end(&p, n, n, &err));
    }
    ASSERT_OK(ptio_pickler_tuple_end(&p, 5, 5, &err));
    ASSERT_PICKLE("\200\2()K\1\205q\0K\1K\2\206q\1K\1K\2K\3\207q\2(K\1K\2K\3K\4tq\3tq\4.");
}

/* t = ([], ...); t[0].append(t): the list saves the tuple while the tuple saves the list. */
static void tuples_that_contain_themselves(void) {
    enum { TUPLE = 16, LIST = 32 };
    for (size_t n = 1; n <= 4; n += 3) {
        ptio_pickler_batch batch = {.exact = true};
        begin();
        ASSERT_OK(ptio_pickler_tuple_begin(&p, n, &err));
        op(PTIO_OP_EMPTY_LIST);
        memoize(LIST);
        item_begin(&batch, true);
        ASSERT_OK(ptio_pickler_tuple_begin(&p, n, &err));
        ASSERT_TRUE(recall(LIST));
        for (size_t i = 1; i < n; i++) number((int64_t)i);
        ASSERT_OK(ptio_pickler_tuple_end(&p, n, TUPLE, &err));
        item_end(&batch, true);
        for (size_t i = 1; i < n; i++) number((int64_t)i);
        ASSERT_OK(ptio_pickler_tuple_end(&p, n, TUPLE, &err));
        if (n == 1) ASSERT_PICKLE("\200\2]q\0h\0\205q\1a0h\1.");
        if (n == 4) ASSERT_PICKLE("\200\2(]q\0(h\0K\1K\2K\3tq\1aK\1K\2K\0031h\1.");
    }
}

static void the_memo(void) {
    enum { OBJECTS = 100000 };
    begin();
    for (uint64_t i = 0; i < OBJECTS; i++) memoize(i % 10 == 9 ? 0 : (i + 1) << 4);
    ASSERT_BYTES(p.bytes + 2 + 2 * 255, "q\377r\0\1\0\0r\1\1\0\0", 12);
    for (uint64_t i = 0; i < OBJECTS; i++) {
        size_t before = p.size;
        ASSERT_EQUAL(recall((i + 1) << 4), i % 10 != 9);
        ASSERT_EQUAL(p.size - before, i % 10 == 9 ? 0 : i < 256 ? 2 : 5);
        if (i % 10 == 9) continue;
        ASSERT_EQUAL(p.bytes[before], i < 256 ? PTIO_OP_BINGET : PTIO_OP_LONG_BINGET);
        ASSERT_EQUAL(i < 256 ? p.bytes[before + 1] : ptio_le32(p.bytes + before + 1), i);
        ASSERT_TRUE(!ptio_pickler_knows(&p, (i + 1) << 4 | 8));
        ASSERT_OK(ptio_pickler_get(&p, i, &err)); /* the same, by number */
        ASSERT_EQUAL(p.size - before, i < 256 ? 4 : 10);
        ASSERT_BYTES(p.bytes + before, p.bytes + before + (p.size - before) / 2, (p.size - before) / 2);
    }
    p.memo_count = UINT32_MAX;
    memoize(3);
    ASSERT_FAILS(ptio_pickler_memoize(&p, 5, &err), UNWRITABLE, "W5.memo", "no more than 2^32 objects", PTIO_NO_OFFSET);
    ASSERT_TRUE(!recall(5));
}

/* A container of `count` Nones or pairs of None, as a line of opcodes: digits for the
 * Nones between two of them. */
static const char *batches(uint64_t count, bool pairs, bool exact) {
    static char line[256];
    ptio_pickler_batch batch = {.pairs = pairs, .exact = exact};
    begin();
    for (uint64_t i = 0; i < count; i++) {
        item_begin(&batch, i + 1 == count);
        op(PTIO_OP_NONE);
        if (pairs) op(PTIO_OP_NONE);
        item_end(&batch, i + 1 == count);
    }
    size_t n = 0;
    for (size_t i = 2; i < p.size;) {
        unsigned nones = 0;
        for (; i < p.size && p.bytes[i] == PTIO_OP_NONE; i++) nones++;
        if (nones > 0) n += (size_t)snprintf(line + n, sizeof line - n, "%u", nones);
        if (i < p.size) line[n++] = (char)p.bytes[i++];
    }
    line[n] = '\0';
    return line;
}

static void items_come_in_batches_of_1000(void) {
    ASSERT_TEXT(batches(1, false, true), "1a");
    ASSERT_TEXT(batches(2, false, true), "(2e");
    ASSERT_TEXT(batches(1000, false, true), "(1000e");
    ASSERT_TEXT(batches(1001, false, true), "(1000e(1e");
    ASSERT_TEXT(batches(2000, false, true), "(1000e(1000e");
    ASSERT_TEXT(batches(2002, false, true), "(1000e(1000e(2e");
    ASSERT_TEXT(batches(1, true, true), "2s");
    ASSERT_TEXT(batches(2, true, true), "(4u");
    ASSERT_TEXT(batches(999, true, true), "(1998u");
    ASSERT_TEXT(batches(1000, true, true), "(2000u(u");
    ASSERT_TEXT(batches(1001, true, true), "(2000u(2u");
    ASSERT_TEXT(batches(2000, true, true), "(2000u(2000u(u");
}

static void items_of_other_containers_do_too(void) {
    ASSERT_TEXT(batches(1, false, false), "1a");
    ASSERT_TEXT(batches(1000, false, false), "(1000e");
    ASSERT_TEXT(batches(1001, false, false), "(1000e1a");
    ASSERT_TEXT(batches(1002, false, false), "(1000e(2e");
    ASSERT_TEXT(batches(1, true, false), "2s");
    ASSERT_TEXT(batches(1000, true, false), "(2000u");
    ASSERT_TEXT(batches(1001, true, false), "(2000u2s");
    ASSERT_TEXT(batches(2001, true, false), "(2000u(2000u2s");
}

/* As the pickler does when saving an item appends to the list or takes from it. */
static void containers_may_change_while_they_are_saved(void) {
    ptio_pickler_batch grown = {.exact = true}, shrunk = {.exact = true}, single = {.exact = true};
    begin();
    item_begin(&grown, false);
    item_end(&grown, false);
    item_begin(&grown, true);
    item_end(&grown, false); /* there is a third one by now */
    item_begin(&grown, true);
    item_end(&grown, true);
    item_begin(&shrunk, false);
    item_end(&shrunk, true); /* the second one is gone */
    item_begin(&single, true);
    item_end(&single, false); /* the pickler does not look again */
    ASSERT_TRUE(single.single && !grown.single && !shrunk.single);
    ASSERT_PICKLE("\200\2(e(ea.");
}

static ptio_status write_some(ptio_pickler *to) {
    static const char long_text[3000] = "x";
    uint8_t wide[300] = {1};
    bool known;
    wide[299] = 1;
    PTIO_TRY(ptio_pickler_begin(to, &err));
    for (uint64_t i = 1; i < 200; i++) {
        PTIO_TRY(ptio_pickler_text(to, long_text, (size_t)i * 15, &err));
        PTIO_TRY(ptio_pickler_memoize(to, i, &err));
        PTIO_TRY(ptio_pickler_long(to, wide, sizeof wide, &err));
        PTIO_TRY(ptio_pickler_global(to, "module", "name", &err));
        PTIO_TRY(ptio_pickler_tuple_end(to, 2, i << 32, &err));
        PTIO_TRY(ptio_pickler_recall(to, i / 2, &known, &err));
    }
    return ptio_pickler_end(to, &err);
}

static void every_allocation_may_fail(void) {
    for (uint64_t k = 1;; k++) {
        ptio_pickler some = {.bytes = NULL};
        ptio_memory_fail_at(k);
        ptio_status status = write_some(&some);
        ptio_memory_fail_at(0);
        ptio_pickler_free(&some);
        if (status == PTIO_OK) break;
        ASSERT_EQUAL(status, PTIO_E_NO_MEMORY);
        ASSERT_TRUE(k < 100);
    }
    ptio_pickler full = {.size = SIZE_MAX - 3, .capacity = SIZE_MAX - 3};
    ASSERT_FAILS(ptio_pickler_int(&full, 1 << 20, &err), NO_MEMORY, "memory", "out of memory", PTIO_NO_OFFSET);
}

void suite_pickle_write(void) {
    RUN(integers);
    RUN(integers_have_no_byte_too_many);
    RUN(long_integers);
    RUN(integers_of_2_gib);
    RUN(floats);
    RUN(strings);
    RUN(globals_and_calls);
    RUN(tuples);
    RUN(tuples_that_contain_themselves);
    RUN(the_memo);
    RUN(items_come_in_batches_of_1000);
    RUN(items_of_other_containers_do_too);
    RUN(containers_may_change_while_they_are_saved);
    RUN(every_allocation_may_fail);
    ptio_pickler_free(&p);
}
