/* SPDX-License-Identifier: Apache-2.0
 *
 * Payloads of many records: views, slabs, chunks and inflated copies, from every source.
 */
#include <stdlib.h>

#include "archives.h"
#include "faults.h"
#include "memory.h"
#include "record_read.h"

void suite_record_read(void);

enum { RECORDS = 60, LARGE = 9 << 20 };

static uint8_t *payload; /* what the members of mixed() begin with, each at its own number */
static char names[RECORDS][16];

static size_t size_of(unsigned i) {
    static const size_t sizes[] = {0, 1, 7, 64, 1000, 4096, 65536, 300000};
    return i == 20 ? LARGE : i == 21 ? ((size_t)1 << 20) + 5 : i == 40 ? ((size_t)1 << 20) - 200 : sizes[i % 8];
}

/* Small and large, stored and deflated, aligned and not. */
static void mixed(zip_archive *zip) {
    if (payload == NULL) {
        payload = malloc(LARGE + RECORDS);
        fill_with_noise(payload, LARGE + RECORDS);
    }
    zip_begin(zip);
    for (unsigned i = 0; i < RECORDS; i++) {
        snprintf(names[i], sizeof names[i], "m/data/%u", i);
        zip_add(zip, &(zip_member){.name = names[i], .content = payload + i, .size = size_of(i), .deflated = i % 10 == 9,
                                   .descriptor = i % 3 != 0, .alignment = i % 7 == 6 ? 0 : 64});
    }
    zip_finish(zip, true, NULL, 0);
}

typedef enum { BORROWED, CALLBACK, MAPPED, READ, SOURCES } kind;

static void open_as(const zip_archive *zip, kind how, ptio_source *out) {
    if (how == BORROWED) ptio_source_borrow(zip->bytes, zip->size, out);
    if (how == CALLBACK) archive_callback(zip, out);
    if (how >= MAPPED) archive_file(zip, how == MAPPED ? PTIO_MMAP_ALWAYS : PTIO_MMAP_NEVER, out);
}

static const ptio_limits limits = PTIO_LIMITS_DEFAULT;

static void release(ptio_wanted *wanted, size_t count) {
    for (size_t i = 0; i < count; i++) ptio_block_unref(wanted[i].block);
}

typedef struct {
    unsigned calls;
    uint64_t last, total;
    unsigned cancel_at;
} ticks;

static ptio_status tick(void *context, uint64_t done, uint64_t total, ptio_error *err) {
    ticks *t = context;
    ASSERT_TRUE(done >= t->last && done <= total);
    t->calls++;
    t->last = done;
    t->total = total;
    if (t->calls == t->cancel_at) return ptio_fail(err, PTIO_E_CANCELLED, "T0.cancel", 0, "stopped");
    return PTIO_OK;
}

static bool inside(const ptio_source *source, const uint8_t *p) {
    return source->mapping != NULL && p >= ptio_block_bytes(source->mapping) &&
           p < ptio_block_bytes(source->mapping) + ptio_block_size(source->mapping);
}

static void read_all(const zip_archive *zip, kind how, ptio_read_options options, uint32_t alignment, bool backwards) {
    ptio_error err;
    ptio_source source;
    ptio_zip_index index;
    ptio_wanted wanted[RECORDS];
    ticks t = {0};
    uint64_t total = 0;
    open_as(zip, how, &source);
    options.tick = tick;
    options.tick_context = &t;
    ASSERT_OK(ptio_zip_index_read(&source, &limits, &index, &err));
    for (uint32_t i = 0; i < RECORDS; i++) {
        uint32_t record = backwards ? RECORDS - 1 - i : i;
        wanted[i] = (ptio_wanted){.record = record, .alignment = alignment, .needs_private = i % 4 == 1};
        total += size_of(record);
    }
    ASSERT_OK(ptio_records_read(&source, &index, wanted, RECORDS, &limits, &options, &err));
    for (uint32_t i = 0; i < RECORDS; i++) {
        size_t size = size_of(wanted[i].record);
        ASSERT_TRUE(index.records[wanted[i].record].data != 0);
        ASSERT_EQUAL(wanted[i].block != NULL, size != 0);
        ASSERT_EQUAL(wanted[i].bytes != NULL, size != 0);
        if (size == 0) continue;
        ASSERT_EQUAL((uintptr_t)wanted[i].bytes % alignment, 0);
        ASSERT_BYTES(wanted[i].bytes, payload + wanted[i].record, size);
        bool view = inside(&source, wanted[i].bytes), aligned = index.records[wanted[i].record].data % alignment == 0;
        bool expected = how == MAPPED && !options.private_copy && !wanted[i].needs_private && aligned &&
                        index.records[wanted[i].record].method == 0;
        ASSERT_EQUAL(view, expected);
        uint8_t *begin = ptio_block_bytes(wanted[i].block);
        ASSERT_TRUE(wanted[i].bytes >= begin && wanted[i].bytes + size <= begin + ptio_block_size(wanted[i].block));
        if (!view) ASSERT_TRUE(ptio_block_size(wanted[i].block) <= size || ptio_block_size(wanted[i].block) <= PTIO_SLAB + 64);
        memset(wanted[i].bytes, 0xAA, size); /* writable, and nobody else's */
    }
    ASSERT_EQUAL(t.last, total);
    ASSERT_EQUAL(t.total, total);
    ptio_source_close(&source);
    ptio_zip_index_free(&index);
    release(wanted, RECORDS);
}

static void every_source_gives_the_same_bytes(void) {
    zip_archive zip;
    mixed(&zip);
    for (kind how = BORROWED; how < SOURCES; how++) {
        read_all(&zip, how, (ptio_read_options){.threads = 1}, 1, false);
        read_all(&zip, how, (ptio_read_options){.threads = 4}, 8, true);
        read_all(&zip, how, (ptio_read_options){.threads = 3, .verify_mapped = true}, 64, false);
        read_all(&zip, how, (ptio_read_options){.private_copy = true, .never_verify = true}, 16, true);
    }
    zip_free_archive(&zip);
}

static void small_neighbours_share_a_block(void) {
    ptio_error err;
    zip_archive zip;
    ptio_source source;
    ptio_zip_index index;
    enum { N = 10000 };
    static ptio_wanted wanted[N];
    ptio_read_options options = {.threads = 0};
    zip_torch(&zip, N, 128);
    open_as(&zip, READ, &source);
    ASSERT_OK(ptio_zip_index_read(&source, &limits, &index, &err));
    for (uint32_t i = 0; i < N; i++) wanted[i] = (ptio_wanted){.record = i + 1, .alignment = 64};
    faults_clear();
    ASSERT_OK(ptio_records_read(&source, &index, wanted, N, &limits, &options, &err));
    if (faults_work()) ASSERT_TRUE(faults.preads <= 4 && faults.threads == 0);
    unsigned blocks = 1;
    for (uint32_t i = 1; i < N; i++) blocks += wanted[i].block != wanted[i - 1].block;
    ASSERT_TRUE(blocks <= 3);
    release(wanted, N);
    /* records far apart do not drag along what lies between them */
    for (uint32_t i = 0; i < 10; i++) wanted[i] = (ptio_wanted){.record = i * 1000 + 1, .alignment = 64};
    ASSERT_OK(ptio_records_read(&source, &index, wanted, 10, &limits, &options, &err));
    for (uint32_t i = 0; i < 10; i++) ASSERT_TRUE(ptio_block_size(wanted[i].block) < 1000);
    release(wanted, 10);
    /* every fourth one is worth reading together, until the gaps are most of it */
    for (uint32_t i = 0; i < N / 4; i++) wanted[i] = (ptio_wanted){.record = i * 4 + 1, .alignment = 64};
    ASSERT_OK(ptio_records_read(&source, &index, wanted, N / 4, &limits, &options, &err));
    ASSERT_TRUE(wanted[0].block == wanted[9].block && ptio_block_size(wanted[0].block) < 40000);
    release(wanted, N / 4);
    ptio_source_close(&source);
    ptio_zip_index_free(&index);
    zip_free_archive(&zip);
}

/* A header whose extra field is longer than a plan expects, with room behind it. */
static void records_that_reach_out_of_their_slab(void) {
    ptio_error err;
    zip_archive zip;
    ptio_zip_index index;
    static char extra[30004] = "XX\x30\x75", room[60000];
    for (kind how = BORROWED; how < SOURCES; how++) {
        ptio_source source;
        ptio_wanted wanted[2] = {{.record = 0, .alignment = 1}, {.record = 1, .alignment = 1}};
        ptio_read_options options = {.private_copy = true};
        zip_begin(&zip);
        zip_add(&zip, &(zip_member){.name = "m/data.pkl", .content = "abc", .size = 3, .extra = extra, .extra_length = sizeof extra});
        zip_raw(&zip, room, sizeof room);
        zip_add(&zip, &(zip_member){.name = "m/empty", .extra = extra, .extra_length = sizeof extra});
        zip_raw(&zip, room, sizeof room);
        zip_finish(&zip, true, NULL, 0);
        open_as(&zip, how, &source);
        ASSERT_OK(ptio_zip_index_read(&source, &limits, &index, &err));
        ASSERT_OK(ptio_records_read(&source, &index, wanted, 2, &limits, &options, &err));
        ASSERT_BYTES(wanted[0].bytes, "abc", 3);
        ASSERT_TRUE(wanted[1].block == NULL);
        release(wanted, 2);
        ptio_zip_index_free(&index);
        ptio_source_close(&source);
        zip_free_archive(&zip);
    }
}

static void set_crc(zip_archive *zip, size_t record, uint32_t crc) {
    zip_put32(zip, zip->places[record].central + 16, crc);
    if (zip->members[record].descriptor)
        zip_put32(zip, zip->places[record].descriptor + 4, crc);
    else
        zip_put32(zip, zip->places[record].local + 14, crc);
}

static ptio_status read_one(const zip_archive *zip, kind how, uint32_t record, ptio_read_options options,
                            ptio_limits given, ptio_error *err) {
    ptio_source source;
    ptio_zip_index index;
    ptio_wanted wanted[2] = {{.record = 3, .alignment = 1}, {.record = record, .alignment = 1}};
    open_as(zip, how, &source);
    ASSERT_EQUAL(ptio_zip_index_read(&source, &given, &index, err), PTIO_OK);
    ptio_status status = ptio_records_read(&source, &index, wanted, 2, &given, &options, err);
    if (status != PTIO_OK) ASSERT_TRUE(wanted[0].block == NULL && wanted[1].block == NULL && wanted[0].bytes == NULL);
    release(wanted, 2);
    ptio_source_close(&source);
    ptio_zip_index_free(&index);
    return status;
}

static void wrong_checksums(void) {
    static const uint32_t records[] = {0, 2, 4, 5, 20, 21}; /* empty, small, misaligned, large */
    ptio_error err;
    for (size_t i = 0; i < 6; i++) {
        uint32_t record = records[i];
        zip_archive zip;
        mixed(&zip);
        set_crc(&zip, record, 0x1234);
        for (kind how = BORROWED; how < SOURCES; how++) {
            ASSERT_FAILS(read_one(&zip, how, record, (ptio_read_options){.private_copy = true}, limits, &err), CHECKSUM, "Z10.crc",
                         "the archive says 0x00001234", zip.places[record].data);
            ASSERT_TEXT(err.record, names[record]);
            ASSERT_OK(read_one(&zip, how, record, (ptio_read_options){.private_copy = true, .never_verify = true}, limits, &err));
        }
        if (record != 0) {
            ASSERT_OK(read_one(&zip, MAPPED, record, (ptio_read_options){.threads = 1}, limits, &err));
            ASSERT_FAILS(read_one(&zip, MAPPED, record, (ptio_read_options){.verify_mapped = true}, limits, &err), CHECKSUM,
                         "Z10.crc", "CRC-32 is 0x", zip.places[record].data);
            set_crc(&zip, record, 0); /* "not computed" */
            ASSERT_OK(read_one(&zip, READ, record, (ptio_read_options){.threads = 1}, limits, &err));
        }
        zip_free_archive(&zip);
    }
}

static void unproven_records_are_never_handed_out(void) {
    ptio_error err;
    for (uint32_t record = 2; record <= 21; record += record == 2 ? 7 : record == 9 ? 11 : 1) {
        zip_archive zip;
        mixed(&zip);
        zip_put16(&zip, zip.places[record].local + 8, 99);
        for (kind how = BORROWED; how < SOURCES; how++)
            ASSERT_FAILS(read_one(&zip, how, record, (ptio_read_options){.threads = 2}, limits, &err), ZIP_AMBIGUOUS, "Z8.method",
                         "has method 99", zip.places[record].local + 8);
        zip_free_archive(&zip);
    }
}

static void compressed_records_are_limited(void) {
    ptio_error err;
    zip_archive zip;
    ptio_limits small = PTIO_LIMITS_DEFAULT;
    mixed(&zip);
    small.inflated_bytes = 1000;
    ASSERT_FAILS(read_one(&zip, BORROWED, 9, (ptio_read_options){.threads = 1}, small, &err), LIMIT, "Z11.sum",
                 "the limit inflated_bytes is 1000", zip.places[9].local);
    ASSERT_OK(read_one(&zip, BORROWED, 2, (ptio_read_options){.threads = 1}, small, &err));
    zip_free_archive(&zip);
}

static void a_tick_can_cancel(void) {
    ptio_error err;
    zip_archive zip;
    mixed(&zip);
    for (uint32_t record = 9; record <= 20; record += 11) {
        ticks t = {.cancel_at = 1};
        ptio_read_options options = {.threads = 2, .tick = tick, .tick_context = &t, .private_copy = true};
        ASSERT_FAILS(read_one(&zip, READ, record, options, limits, &err), CANCELLED, "T0.cancel", "stopped", 0);
    }
    zip_free_archive(&zip);
}

static void slurping_one_record(void) {
    ptio_error err;
    zip_archive zip;
    mixed(&zip);
    for (kind how = BORROWED; how < SOURCES; how++) {
        ptio_source source;
        ptio_zip_index index;
        open_as(&zip, how, &source);
        ASSERT_OK(ptio_zip_index_read(&source, &limits, &index, &err));
        for (uint32_t record = 0; record < 10; record++) {
            ptio_block *out = NULL;
            ASSERT_OK(ptio_record_slurp(&source, &index, record, size_of(record), &limits, &out, &err));
            ASSERT_TRUE(out != NULL);
            ASSERT_BYTES(ptio_block_bytes(out), payload + record, size_of(record));
            ptio_block_unref(out);
        }
        ptio_block *out = NULL;
        ASSERT_FAILS(ptio_record_slurp(&source, &index, 4, 999, &limits, &out, &err), LIMIT, "Z10.size",
                     "has 1000 bytes, at most 999 are read", zip.places[4].data);
        ASSERT_TEXT(err.record, "m/data/4");
        ptio_limits small = PTIO_LIMITS_DEFAULT;
        small.inflated_bytes = 1;
        ASSERT_FAILS(ptio_record_slurp(&source, &index, 9, 1 << 20, &small, &out, &err), LIMIT, "Z11.sum", "is 1",
                     zip.places[9].local);
        index.records[5].crc = 1;
        ASSERT_FAILS(ptio_record_slurp(&source, &index, 5, 1 << 20, &limits, &out, &err), CHECKSUM, "Z10.crc",
                     "says 0x00000001", zip.places[5].data);
        index.records[19].crc = 1;
        ASSERT_TRUE(ptio_record_slurp(&source, &index, 19, 1 << 20, &limits, &out, &err) != PTIO_OK);
        ASSERT_TRUE(out == NULL);
        ptio_zip_index_free(&index);
        ptio_source_close(&source);
    }
    zip_free_archive(&zip);
}

static void nothing_wanted_is_fine(void) {
    ptio_error err;
    zip_archive zip;
    ptio_source source;
    ptio_zip_index index;
    ptio_read_options options = {.threads = 0};
    mixed(&zip);
    open_as(&zip, BORROWED, &source);
    ASSERT_OK(ptio_zip_index_read(&source, &limits, &index, &err));
    ASSERT_OK(ptio_records_read(&source, &index, NULL, 0, &limits, &options, &err));
    ptio_zip_index_free(&index);
    zip_free_archive(&zip);
}

/* What one of the steps gives back when any single allocation fails. */
static void every_allocation_may_fail(void) {
    ptio_error err;
    zip_archive zip;
    mixed(&zip);
    for (kind how = BORROWED; how < SOURCES; how++) {
        for (uint64_t k = 1; k < 10000; k++) {
            ptio_source source;
            ptio_zip_index index;
            ptio_wanted wanted[RECORDS];
            ptio_read_options options = {.threads = 1, .private_copy = k % 2};
            open_as(&zip, how, &source);
            for (uint32_t i = 0; i < RECORDS; i++) wanted[i] = (ptio_wanted){.record = RECORDS - 1 - i, .alignment = 8};
            ptio_memory_fail_at(k);
            ptio_status status = ptio_zip_index_read(&source, &limits, &index, &err);
            bool indexed = status == PTIO_OK;
            if (indexed) status = ptio_records_read(&source, &index, wanted, RECORDS, &limits, &options, &err);
            ptio_memory_fail_at(0);
            if (indexed) release(wanted, RECORDS);
            if (indexed) ptio_zip_index_free(&index);
            ptio_source_close(&source);
            if (status == PTIO_OK) break;
            ASSERT_EQUAL(status, PTIO_E_NO_MEMORY);
            ASSERT_TRUE(k < 9999);
        }
    }
    zip_free_archive(&zip);
    free(payload);
    payload = NULL;
}

void suite_record_read(void) {
    RUN(every_source_gives_the_same_bytes);
    RUN(small_neighbours_share_a_block);
    RUN(records_that_reach_out_of_their_slab);
    RUN(wrong_checksums);
    RUN(unproven_records_are_never_handed_out);
    RUN(compressed_records_are_limited);
    RUN(a_tick_can_cancel);
    RUN(slurping_one_record);
    RUN(nothing_wanted_is_fine);
    RUN(every_allocation_may_fail);
}
