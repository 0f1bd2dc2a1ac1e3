/* SPDX-License-Identifier: Apache-2.0
 *
 * Regions of a record, from every kind of source, against a loop over their elements.
 */
#include "record_gather.h"

#include <errno.h>
#include <stdlib.h>

#include "archives.h"
#include "faults.h"
#include "memory.h"

void suite_record_gather(void);

enum { SIZE = 1 << 20, LARGE = 21 << 20 };

static uint8_t *content;
static const ptio_limits limits = PTIO_LIMITS_DEFAULT;
static const ptio_read_options defaults = {.threads = 2};

static uint32_t state;
static uint32_t draw(uint32_t below) {
    state = state * 1664525 + 1013904223;
    return (uint32_t)(((uint64_t)(state >> 8) * below) >> 24);
}

/* --- a file whose record 1 has known content ------------------------------------------------- */

typedef struct {
    zip_archive zip;
    ptio_source source;
    ptio_zip_index index;
    uint64_t reads, bytes_read; /* by the callback */
} file;

typedef enum { BORROWED, CALLBACK, MAPPED, READ, SOURCES } kind;

static ptio_status count_and_read(void *context, uint64_t offset, void *out, size_t n, ptio_error *err) {
    file *f = context;
    if (offset > f->zip.size || n > f->zip.size - offset) return ptio_fail(err, PTIO_E_IO, "T0.range", offset, "bad range");
    f->reads++;
    f->bytes_read += n;
    memcpy(out, f->zip.bytes + offset, n);
    return PTIO_OK;
}

static void open_file(file *f, kind how, size_t size) {
    ptio_error err;
    if (content == NULL) {
        content = malloc(LARGE);
        state = 1;
        for (size_t i = 0; i < LARGE; i++) content[i] = (uint8_t)draw(256);
    }
    *f = (file){.reads = 0};
    zip_begin(&f->zip);
    zip_add(&f->zip, &(zip_member){.name = "m/data.pkl", .content = ".", .size = 1});
    zip_add(&f->zip, &(zip_member){.name = "m/data/0", .content = content, .size = size, .descriptor = true, .alignment = 64});
    zip_finish(&f->zip, true, NULL, 0);
    if (how == BORROWED) ptio_source_borrow(f->zip.bytes, f->zip.size, &f->source);
    if (how == CALLBACK) ptio_source_callback(count_and_read, f, f->zip.size, &f->source);
    if (how >= MAPPED) archive_file(&f->zip, how == MAPPED ? PTIO_MMAP_ALWAYS : PTIO_MMAP_NEVER, &f->source);
    ASSERT_OK(ptio_zip_index_read(&f->source, &limits, &f->index, &err));
    ASSERT_OK(ptio_zip_prove(&f->source, &f->index, 1, &err));
    f->reads = f->bytes_read = 0;
}

static void close_file(file *f) {
    ptio_zip_index_free(&f->index);
    ptio_source_close(&f->source);
    zip_free_archive(&f->zip);
}

/* --- regions ------------------------------------------------------------------------------------ */

static uint64_t elements(const ptio_region *r) {
    uint64_t count = 1;
    for (size_t i = 0; i < r->ndim; i++) count *= r->sizes[i];
    return count;
}

/* Element number `n` in C order: where it is in the record and in memory. */
static void locate(const ptio_region *r, uint64_t n, int64_t *at, int64_t *to) {
    *at = (int64_t)r->begin;
    *to = 0;
    for (size_t i = r->ndim; i > 0; i--) {
        int64_t step = (int64_t)(n % r->sizes[i - 1]);
        n /= r->sizes[i - 1];
        *at += step * r->strides[i - 1];
        *to += step * r->steps[i - 1];
    }
}

/* A region inside of `size` bytes whose elements do not overlap in memory. Returns how far out has
 * to begin inside of the memory, and how much of that there is. */
static size_t random_region(ptio_region *r, uint64_t size, size_t *room) {
    static const uint64_t items[] = {1, 2, 4, 8, 16};
    int64_t low = 0, high = 0, memory_low = 0, step;
    memset(r, 0, sizeof *r);
    r->item = items[draw(5)];
    r->ndim = draw(5);
    for (size_t i = 0; i < r->ndim; i++) {
        r->sizes[i] = 1 + draw(i == 0 ? 12 : 6);
        r->strides[i] = (int64_t)draw(draw(2) ? 40 : 9000) - (draw(2) ? 4000 : 0);
        if (draw(3) == 0) r->strides[i] = (int64_t)r->item; /* neighbours */
        int64_t reach = (int64_t)(r->sizes[i] - 1) * r->strides[i];
        low += reach < 0 ? reach : 0;
        high += reach > 0 ? reach : 0;
    }
    step = (int64_t)r->item;
    for (size_t i = r->ndim; i > 0; i--) {
        bool backwards = draw(4) == 0;
        r->steps[i - 1] = backwards ? -step : step;
        if (backwards) memory_low -= (int64_t)(r->sizes[i - 1] - 1) * step;
        step *= (int64_t)r->sizes[i - 1] + (draw(3) == 0);
    }
    *room = (size_t)step;
    uint64_t span = (uint64_t)(high - low) + r->item;
    r->begin = (uint64_t)-low + draw((uint32_t)(size - span));
    return (size_t)-memory_low;
}

static void random_regions_from_every_source(void) {
    for (kind how = BORROWED; how < SOURCES; how++) {
        file f;
        open_file(&f, how, SIZE);
        state = 77;
        for (unsigned round = 0; round < 400; round++) {
            ptio_error err;
            ptio_region r;
            size_t room, first = random_region(&r, SIZE, &room), wrong = 0;
            uint8_t *memory = malloc(room);
            ASSERT_OK(ptio_record_gather(&f.source, &f.index, 1, &r, &defaults, memory + first, &err));
            for (uint64_t n = 0; n < elements(&r); n++) {
                int64_t at, to;
                locate(&r, n, &at, &to);
                wrong += memcmp(memory + (int64_t)first + to, content + at, (size_t)r.item) != 0;
            }
            ASSERT_EQUAL(wrong, 0);
            free(memory);
        }
        close_file(&f);
    }
}

static void regions_without_elements_read_nothing(void) {
    ptio_error err;
    file f;
    uint8_t out = 7;
    open_file(&f, CALLBACK, SIZE);
    ptio_region r = {.begin = UINT64_MAX, .item = 4, .ndim = 2, .sizes = {5, 0}, .strides = {INT64_MAX, 1}};
    ASSERT_OK(ptio_record_gather(&f.source, &f.index, 1, &r, &defaults, &out, &err));
    ASSERT_EQUAL(f.reads, 0);
    ASSERT_EQUAL(out, 7);
    close_file(&f);
}

static void regions_outside_are_refused(void) {
    static const ptio_region cases[] = {
        {.begin = SIZE - 3, .item = 4},
        {.begin = SIZE, .item = 1},
        {.begin = UINT64_MAX, .item = 8},
        {.begin = 0, .item = 4, .ndim = 1, .sizes = {2}, .strides = {-4}, .steps = {4}},
        {.begin = 4, .item = 4, .ndim = 1, .sizes = {3}, .strides = {-4}, .steps = {4}},
        {.begin = 8, .item = 4, .ndim = 1, .sizes = {SIZE / 4 - 1}, .strides = {4}, .steps = {4}},
        {.begin = 0, .item = 4, .ndim = 1, .sizes = {2}, .strides = {INT64_MAX}, .steps = {4}},
        {.begin = 0, .item = 4, .ndim = 1, .sizes = {2}, .strides = {INT64_MIN}, .steps = {4}},
        {.begin = 0, .item = 4, .ndim = 1, .sizes = {UINT64_MAX}, .strides = {16}, .steps = {4}},
        {.begin = 0, .item = 4, .ndim = 3, .sizes = {2, 2, 2}, .strides = {INT64_MAX, INT64_MAX, INT64_MAX}, .steps = {4, 4, 4}},
    };
    file f;
    uint8_t out[64];
    open_file(&f, BORROWED, SIZE);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ptio_error err;
        ASSERT_FAILS(ptio_record_gather(&f.source, &f.index, 1, &cases[i], &defaults, out, &err), BOUNDS, "T3.region",
                     "a slice reaches beyond the 1048576 bytes of its storage", PTIO_NO_OFFSET);
    }
    close_file(&f);
}

/* Rows of 1,000 bytes, of which some are wanted. */
static ptio_region rows(uint64_t first, uint64_t count, int64_t every) {
    return (ptio_region){.begin = first * 1000,
                         .item = 8,
                         .ndim = 2,
                         .sizes = {count, 125},
                         .strides = {1000 * every, 8},
                         .steps = {1000, 8}};
}

static void little_more_is_read_than_asked_for(void) {
    static const struct {
        uint64_t first, count;
        int64_t every;
        uint64_t most_reads, most_bytes;
    } cases[] = {
        {17, 1, 1, 1, 1000},       {17, 3, 1, 1, 3000},           {0, 1000, 1, 4, 1000000}, /* pieces of 256 KiB */
        {5, 10, 2, 1, 19000},      /* short gaps are read over */
        {5, 10, 100, 10, 10000},   /* long ones are not */
        {900, 10, -50, 10, 10000}, {999, 300, -1, 5, 302144}, /* backwards in memory: row by row out of windows of 64 KiB */
    };
    static uint8_t out[1000000];
    file f;
    open_file(&f, CALLBACK, SIZE);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ptio_error err;
        ptio_region r = rows(cases[i].first, cases[i].count, cases[i].every);
        f.reads = f.bytes_read = 0;
        ASSERT_OK(ptio_record_gather(&f.source, &f.index, 1, &r, &defaults, out, &err));
        ASSERT_TRUE(f.reads <= cases[i].most_reads);
        ASSERT_TRUE(f.bytes_read <= cases[i].most_bytes);
        for (uint64_t n = 0; n < cases[i].count; n++)
            ASSERT_BYTES(out + 1000 * n, content + r.begin + (int64_t)n * r.strides[0], 1000);
    }
    close_file(&f);
}

/* --- large ones ----------------------------------------------------------------------------------- */

typedef struct {
    uint64_t calls, last, total, cancel_at;
} ticks;

static ptio_status tick(void *context, uint64_t done, uint64_t total, ptio_error *err) {
    ticks *t = context;
    ASSERT_TRUE(done >= t->last && done <= total);
    t->last = done;
    t->total = total;
    return ++t->calls == t->cancel_at ? ptio_fail(err, PTIO_E_CANCELLED, "T0.tick", 0, "no more") : PTIO_OK;
}

static const ptio_region whole = {
    .item = 4, .ndim = 2, .sizes = {21, 1 << 18}, .strides = {1 << 20, 4}, .steps = {1 << 20, 4}};

static void large_regions_are_cut_up(void) {
    uint8_t *out = malloc(LARGE);
    for (kind how = BORROWED; how < SOURCES; how++) {
        ptio_error err;
        file f;
        ticks t = {0};
        ptio_read_options options = {.threads = 3, .tick = tick, .tick_context = &t};
        open_file(&f, how, LARGE);
        memset(out, 0, LARGE);
        ASSERT_OK(ptio_record_gather(&f.source, &f.index, 1, &whole, &options, out, &err));
        ASSERT_BYTES(out, content, LARGE);
        ASSERT_EQUAL(t.last, LARGE);
        ASSERT_EQUAL(t.total, LARGE);
        /* every row but its last KiB: 21 runs */
        ptio_region most = whole;
        most.sizes[1] -= 256;
        memset(out, 0, LARGE);
        t = (ticks){0};
        ASSERT_OK(ptio_record_gather(&f.source, &f.index, 1, &most, &options, out, &err));
        for (size_t i = 0; i < 21; i++) ASSERT_BYTES(out + (i << 20), content + (i << 20), (1 << 20) - 1024);
        ASSERT_EQUAL(out[(1 << 20) - 1], 0);
        ASSERT_EQUAL(t.last, 21 * ((1 << 20) - 1024));
        close_file(&f);
    }
    free(out);
}

static void a_whole_record_is_checked(void) {
    ptio_error err;
    file f;
    uint8_t *out = malloc(LARGE);
    ptio_region part = whole;
    ptio_read_options unchecked = {.never_verify = true};
    open_file(&f, BORROWED, LARGE);
    f.zip.bytes[f.index.records[1].data + 15000000] ^= 1;
    ASSERT_FAILS(ptio_record_gather(&f.source, &f.index, 1, &whole, &defaults, out, &err), CHECKSUM, "Z10.crc", "CRC-32 is",
                 f.index.records[1].data);
    ASSERT_TEXT(err.record, "m/data/0");
    ASSERT_OK(ptio_record_gather(&f.source, &f.index, 1, &whole, &unchecked, out, &err));
    part.sizes[0] = 20; /* there is no CRC of a part */
    ASSERT_OK(ptio_record_gather(&f.source, &f.index, 1, &part, &defaults, out, &err));
    part = whole;
    part.strides[0] = 1 << 19; /* nor of other elements, though there are as many */
    ASSERT_OK(ptio_record_gather(&f.source, &f.index, 1, &part, &defaults, out, &err));
    close_file(&f);
    free(out);
}

static void a_tick_may_cancel(void) {
    ptio_error err;
    file f;
    ticks t = {.cancel_at = 2};
    ptio_read_options options = {.threads = 1, .tick = tick, .tick_context = &t};
    uint8_t *out = malloc(LARGE);
    open_file(&f, BORROWED, LARGE);
    ASSERT_FAILS(ptio_record_gather(&f.source, &f.index, 1, &whole, &options, out, &err), CANCELLED, "T0.tick", "no more", 0);
    close_file(&f);
    free(out);
}

/* --- what may fail ----------------------------------------------------------------------------------- */

static void records_are_proven_first(void) {
    ptio_error err;
    zip_archive zip;
    ptio_source source;
    ptio_zip_index index;
    ptio_region r = {.item = 1};
    uint8_t out[1];
    archive_small(&zip);
    zip_finish(&zip, true, NULL, 0);
    zip_put8(&zip, zip.places[1].local, 'X');
    ptio_source_borrow(zip.bytes, zip.size, &source);
    ASSERT_OK(ptio_zip_index_read(&source, &limits, &index, &err));
    ASSERT_FAILS(ptio_record_gather(&source, &index, 1, &r, &defaults, out, &err), ZIP_MALFORMED, "Z8.signature",
                 "there is no local header", zip.places[1].local);
    ptio_zip_index_free(&index);
    zip_free_archive(&zip);
}

static void reads_and_memory_may_fail(void) {
    ptio_error err;
    file f;
    uint8_t *out = malloc(LARGE);
    open_file(&f, READ, LARGE);
    ptio_memory_fail_at(1); /* for the CRCs of the pieces */
    ASSERT_FAILS(ptio_record_gather(&f.source, &f.index, 1, &whole, &defaults, out, &err), NO_MEMORY, "memory", "out of memory",
                 PTIO_NO_OFFSET);
    ptio_memory_fail_at(0);
    for (unsigned k = 0; faults_work() && k < 100; k += 7) {
        ptio_region r = k % 2 ? whole : rows(0, 2000, 5);
        faults.pread_errno = EIO;
        faults.pread_after = k;
        faults.preads = 0;
        ptio_status status = ptio_record_gather(&f.source, &f.index, 1, &r, &defaults, out, &err);
        if (faults.preads > k) ASSERT_EQUAL(status, PTIO_E_IO);
        else ASSERT_EQUAL(status, PTIO_OK);
        faults_clear();
    }
    close_file(&f);
    free(out);
}

void suite_record_gather(void) {
    RUN(random_regions_from_every_source);
    RUN(regions_without_elements_read_nothing);
    RUN(regions_outside_are_refused);
    RUN(little_more_is_read_than_asked_for);
    RUN(large_regions_are_cut_up);
    RUN(a_whole_record_is_checked);
    RUN(a_tick_may_cancel);
    RUN(records_are_proven_first);
    RUN(reads_and_memory_may_fail);
    free(content);
    content = NULL;
}
