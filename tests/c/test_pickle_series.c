/* SPDX-License-Identifier: Apache-2.0
 *
 * Pickles one after another: where each ends, however its bytes come.
 */
#include "pickle_series.h"

#include <stdlib.h>

#include "archives.h"
#include "memory.h"
#include "pickle_builder.h"

void suite_pickle_series(void);

enum { MOST = 1 << 20 };

static void check_series(const ptio_source *source, const size_t *sizes, size_t count, const uint8_t *all) {
    ptio_pickle_series series;
    ptio_series_pickle pickle;
    ptio_error err = {0};
    size_t at = 0;
    ASSERT_OK(ptio_series_begin(source, 0, source->size, &series, &err));
    for (size_t i = 0; i < count; i++) {
        ASSERT_OK(ptio_series_next(&series, MOST, &pickle, &err));
        ASSERT_EQUAL(pickle.begin, at);
        ASSERT_EQUAL(pickle.size, sizes[i]);
        ASSERT_TRUE(!pickle.cut);
        ASSERT_BYTES(pickle.bytes, all + at, sizes[i]);
        ptio_block_unref(pickle.block);
        at += sizes[i];
    }
    ASSERT_EQUAL(series.at, at);
    ASSERT_OK(ptio_series_next(&series, MOST, &pickle, &err));
    ASSERT_TRUE(pickle.cut && pickle.size == 0);
    ptio_block_unref(pickle.block);
    ptio_series_free(&series);
}

/* In memory, read from a file, and by a callback. */
static void check_everywhere(pickle_buffer *p, const size_t *sizes, size_t count) {
    zip_archive bytes = {.bytes = p->bytes, .size = p->size};
    ptio_source source;
    ptio_source_borrow(p->bytes, p->size, &source);
    check_series(&source, sizes, count, p->bytes);
    archive_callback(&bytes, &source);
    check_series(&source, sizes, count, p->bytes);
    archive_file(&bytes, PTIO_MMAP_NEVER, &source);
    check_series(&source, sizes, count, p->bytes);
    ptio_source_close(&source);
    pickle_free(p);
}

/* Their arguments are full of STOPs. */
static void every_opcode_is_stepped_over(void) {
    pickle_buffer p = {0};
    static const char pickle[] = "\x80\5\x95\1\0\0\0\0\0\0\0J....K.M..G........h.j....q.r....\x82.\x83..\x84....U\1.C\2..\x8c\1."
                                 "\x8a\1.T\1\0\0\0.X\2\0\0\0..B\1\0\0\0.\x8b\1\0\0\0.\x8d\1\0\0\0\0\0\0\0.\x8e\2\0\0\0\0\0\0\0.."
                                 "\x96\1\0\0\0\0\0\0\0.I.\nL.\nF.\nS.\nV.\nP.\ng.\np.\nc.\n.\ni.\n.\n(02d}e]ol)tusRQab"
                                 "\x81\x85\x86\x87\x88\x89\x8f\x90\x91\x92\x93\x94\x97\x98N1.";
    const size_t sizes[] = {sizeof pickle - 1, 2, sizeof pickle - 1};
    pickle_add(&p, pickle, sizes[0]);
    ADD(&p, "N.");
    pickle_add(&p, pickle, sizes[2]);
    check_everywhere(&p, sizes, 3);
}

/* Opcodes, sizes and lines that lie across the ends of windows. */
static void windows_may_end_anywhere(void) {
    static const char *const units[] = {"U\3...", "K.", "V.......\n", "\x8d\2\0\0\0\0\0\0\0..", "c..\n...\n", "G........"};
    static const size_t unit_sizes[] = {5, 2, 9, 11, 8, 9};
    for (size_t unit = 0; unit < COUNT_OF(units); unit++) {
        for (size_t shift = 0; shift < 12; shift++) {
            pickle_buffer p = {0};
            ADD_TIMES(&p, "N", shift);
            pickle_add_times(&p, units[unit], unit_sizes[unit], 150000 / unit_sizes[unit]);
            ADD(&p, ".");
            size_t sizes[] = {p.size, 2};
            ADD(&p, "N.");
            check_everywhere(&p, sizes, 2);
        }
    }
}

static void long_arguments_are_not_read_twice(void) {
    pickle_buffer p = {0};
    ADD(&p, "B");
    pickle_add_u32(&p, 300000);
    ADD_TIMES(&p, ".", 300000);
    ADD(&p, ".");
    size_t sizes[] = {p.size};
    check_everywhere(&p, sizes, 1);
}

static void what_is_cut_off_says_so(void) {
    static const char *const cut[] = {"", "N", "K", "J..", "U\5ab", "X\1", "X\xff\xff\xff\xff..", "Vabc", "ca\nb", "\x8e.......",
                                      "\x8d\xff\xff\xff\xff\xff\xff\xff\xff.", "\x80"};
    static const size_t sizes[] = {0, 1, 1, 3, 4, 2, 7, 4, 4, 8, 10, 1};
    for (size_t i = 0; i < COUNT_OF(cut); i++) {
        ptio_pickle_series series;
        ptio_series_pickle pickle;
        ptio_source source;
        ptio_error err = {0};
        ptio_source_borrow(cut[i], sizes[i], &source);
        ASSERT_OK(ptio_series_begin(&source, 0, sizes[i], &series, &err));
        ASSERT_OK(ptio_series_next(&series, MOST, &pickle, &err));
        ASSERT_TRUE(pickle.cut);
        ASSERT_EQUAL(pickle.size, sizes[i]);
        ptio_block_unref(pickle.block);
        ptio_series_free(&series);
    }
}

static void a_byte_that_is_no_opcode_ends_it(void) {
    ptio_pickle_series series;
    ptio_series_pickle pickle;
    ptio_source source;
    ptio_error err = {0};
    ptio_source_borrow("NN\xffN.", 5, &source);
    ASSERT_OK(ptio_series_begin(&source, 0, 5, &series, &err));
    ASSERT_OK(ptio_series_next(&series, MOST, &pickle, &err));
    ASSERT_TRUE(!pickle.cut);
    ASSERT_EQUAL(pickle.size, 3);
    ptio_block_unref(pickle.block);
    ptio_series_free(&series);
}

static void a_pickle_has_a_longest(void) {
    pickle_buffer p = {0};
    ptio_pickle_series series;
    ptio_series_pickle pickle;
    ptio_source source;
    ptio_error err = {0};
    ADD(&p, "N.");
    ADD_TIMES(&p, "N", 1000);
    ptio_source_borrow(p.bytes, p.size, &source);
    ASSERT_OK(ptio_series_begin(&source, 2, p.size, &series, &err));
    ASSERT_FAILS(ptio_series_next(&series, 999, &pickle, &err), LIMIT, "R.series", "more than 999 bytes", 2);
    ASSERT_OK(ptio_series_next(&series, 1000, &pickle, &err));
    ptio_block_unref(pickle.block);
    ptio_series_free(&series);
    pickle_free(&p);
}

/* Large ones are found by reading windows, and are then read at once. */
static ptio_status read_no_whole(void *context, uint64_t offset, void *out, size_t n, ptio_error *err) {
    const pickle_buffer *p = context;
    if (n == p->size) return ptio_fail(err, PTIO_E_IO, "T0.io", offset, "the disk is gone");
    memcpy(out, p->bytes + offset, n);
    return PTIO_OK;
}

static void a_pickle_that_cannot_be_read(void) {
    pickle_buffer p = {0};
    ptio_pickle_series series;
    ptio_series_pickle pickle = {.size = 7};
    ptio_source source;
    ptio_error err = {0};
    ADD_TIMES(&p, "NNNNNNNN", 1 << 17);
    ADD(&p, ".");
    ptio_source_callback(read_no_whole, &p, p.size, &source);
    ASSERT_OK(ptio_series_begin(&source, 0, p.size, &series, &err));
    ASSERT_FAILS(ptio_series_next(&series, p.size, &pickle, &err), IO, "T0.io", "the disk is gone", 0);
    ASSERT_EQUAL(pickle.size, 7);
    ASSERT_EQUAL(series.at, 0);
    ptio_series_free(&series);
    pickle_free(&p);
}

static void bytes_between_pickles(void) {
    static const uint8_t file[] = "N.12345678N.abc";
    ptio_pickle_series series;
    ptio_series_pickle pickle;
    ptio_source source;
    ptio_error err = {0};
    const uint8_t *bytes = NULL;
    ptio_source_borrow(file, sizeof file - 1, &source);
    ASSERT_OK(ptio_series_begin(&source, 0, sizeof file - 1, &series, &err));
    for (int i = 0; i < 2; i++) {
        ASSERT_OK(ptio_series_next(&series, MOST, &pickle, &err));
        ASSERT_BYTES(pickle.bytes, "N.", 2);
        ptio_block_unref(pickle.block);
        if (i == 1) break;
        ASSERT_OK(ptio_series_bytes(&series, 5, &bytes, &err));
        ASSERT_BYTES(bytes, "12345", 5);
        ASSERT_OK(ptio_series_skip(&series, 3, &err));
    }
    ASSERT_FAILS(ptio_series_bytes(&series, 4, &bytes, &err), TRUNCATED, "L1.room", "4 bytes are needed at byte 12, 3 are left",
                 12);
    ASSERT_FAILS(ptio_series_skip(&series, UINT64_MAX, &err), TRUNCATED, "L1.room", "are left", 12);
    ASSERT_OK(ptio_series_bytes(&series, 3, &bytes, &err));
    ASSERT_BYTES(bytes, "abc", 3);
    ptio_series_free(&series);
}

void suite_pickle_series(void) {
    RUN(every_opcode_is_stepped_over);
    RUN(windows_may_end_anywhere);
    RUN(long_arguments_are_not_read_twice);
    RUN(what_is_cut_off_says_so);
    RUN(a_byte_that_is_no_opcode_ends_it);
    RUN(a_pickle_has_a_longest);
    RUN(a_pickle_that_cannot_be_read);
    RUN(bytes_between_pickles);
}
