/* SPDX-License-Identifier: Apache-2.0
 *
 * A verdict for every record, whatever is wrong with some of them.
 */
#include <stdlib.h>
#include <unistd.h>

#include "archives.h"
#include "faults.h"
#include "memory.h"
#include "record_read.h"

void suite_record_verify(void);

enum { RECORDS = 30, LARGE = 9 << 20, MEDIUM = 1200000 };

static uint8_t *payload;
static char names[RECORDS][16];
static const ptio_limits limits = PTIO_LIMITS_DEFAULT;

static size_t size_of(unsigned i) { return i == 10 ? LARGE : i % 7 == 3 ? MEDIUM : i % 5 == 0 ? 0 : i * 100; }

static void mixed(zip_archive *zip) {
    if (payload == NULL) payload = malloc(LARGE + RECORDS);
    for (size_t i = 0; i < LARGE + RECORDS; i++) payload[i] = (uint8_t)(i * 7 + i / 256 * 3);
    zip_begin(zip);
    for (unsigned i = 0; i < RECORDS; i++) {
        snprintf(names[i], sizeof names[i], "m/data/%u", i);
        zip_add(zip, &(zip_member){.name = names[i], .content = payload + i, .size = size_of(i), .deflated = i % 10 == 9,
                                   .descriptor = i % 2 == 0 && size_of(i) > 0, .alignment = 64});
    }
    zip_finish(zip, true, NULL, 0);
}

typedef enum { BORROWED, CALLBACK, MAPPED, READ, SOURCES } kind;

static void open_as(const zip_archive *zip, kind how, ptio_source *out) {
    if (how == BORROWED) ptio_source_borrow(zip->bytes, zip->size, out);
    if (how == CALLBACK) archive_callback(zip, out);
    if (how >= MAPPED) archive_file(zip, how == MAPPED ? PTIO_MMAP_ALWAYS : PTIO_MMAP_NEVER, out);
}

typedef struct {
    uint64_t last, total;
    unsigned calls, cancel_at;
} ticks;

static ptio_status tick(void *context, uint64_t done, uint64_t total, ptio_error *err) {
    ticks *t = context;
    ASSERT_TRUE(done >= t->last && done <= total);
    t->last = done;
    t->total = total;
    if (++t->calls == t->cancel_at) return ptio_fail(err, PTIO_E_CANCELLED, "T0.cancel", 0, "stopped");
    return PTIO_OK;
}

/* The verdicts of an archive in which just one record may be bad. */
static void verify(const zip_archive *zip, uint32_t bad, ptio_status status, const char *check, const char *fragment) {
    for (kind how = BORROWED; how < SOURCES; how++) {
        ptio_error err;
        ptio_source source;
        ptio_zip_index index;
        ptio_record_verdict *verdicts = NULL;
        ticks t = {0};
        ptio_read_options options = {.threads = 1 + (unsigned)how, .tick = tick, .tick_context = &t};
        open_as(zip, how, &source);
        ASSERT_OK(ptio_zip_index_read(&source, &limits, &index, &err));
        ASSERT_OK(ptio_records_verify(&source, &index, &limits, &options, &verdicts, &err));
        for (uint32_t i = 0; i < RECORDS; i++) {
            ASSERT_EQUAL(verdicts[i].record, i);
            ASSERT_EQUAL(verdict_status(&verdicts[i]), i == bad ? status : PTIO_OK);
            if (verdict_status(&verdicts[i]) != PTIO_OK && i != bad) printf("%s\n", verdict_error(&verdicts[i])->message);
            if (i != bad) continue;
            ASSERT_TEXT(verdict_error(&verdicts[i])->check, check);
            ASSERT_TEXT(verdict_error(&verdicts[i])->record, names[i]);
            ASSERT_CONTAINS(verdict_error(&verdicts[i])->message, fragment);
        }
        if (bad == RECORDS) ASSERT_EQUAL(t.last, t.total);
        ptio_verdicts_free(verdicts, index.count);
        ptio_zip_index_free(&index);
        ptio_source_close(&source);
    }
}

static void sound_archives(void) {
    zip_archive zip;
    mixed(&zip);
    verify(&zip, RECORDS, PTIO_OK, "", "");
    zip_free_archive(&zip);
}

static void changed_payloads(void) {
    static const uint32_t records[] = {1, 3, 10, 28};
    for (size_t i = 0; i < 4; i++) {
        zip_archive zip;
        mixed(&zip);
        zip.bytes[zip.places[records[i]].data + size_of(records[i]) - 1] ^= 1;
        verify(&zip, records[i], PTIO_E_CHECKSUM, "Z10.crc", "CRC-32 is 0x");
        zip_free_archive(&zip);
    }
    zip_archive zip;
    mixed(&zip);
    zip_put32(&zip, zip.places[9].central + 16, 77);
    zip_put32(&zip, zip.places[9].local + 14, 77);
    verify(&zip, 9, PTIO_E_CHECKSUM, "Z11.crc", "the archive says 0x0000004d");
    zip_free_archive(&zip);
}

static void headers_that_disagree(void) {
    static const uint32_t records[] = {0, 1, 3, 9, 10};
    for (size_t i = 0; i < 5; i++) {
        zip_archive zip;
        mixed(&zip);
        zip_put16(&zip, zip.places[records[i]].local + 8, 77);
        verify(&zip, records[i], PTIO_E_ZIP_AMBIGUOUS, "Z8.method", "has method 77");
        zip_free_archive(&zip);
    }
}

static void checksums_that_were_not_computed(void) {
    ptio_error err;
    zip_archive zip;
    ptio_source source;
    ptio_zip_index index;
    ptio_record_verdict *verdicts = NULL;
    ptio_read_options options = {.threads = 2};
    mixed(&zip);
    for (size_t i = 0; i < RECORDS; i++) {
        zip_put32(&zip, zip.places[i].central + 16, 0);
        if (zip.members[i].descriptor) zip_put32(&zip, zip.places[i].descriptor + 4, 0);
        else zip_put32(&zip, zip.places[i].local + 14, 0);
    }
    open_as(&zip, READ, &source);
    ASSERT_OK(ptio_zip_index_read(&source, &limits, &index, &err));
    ASSERT_OK(ptio_records_verify(&source, &index, &limits, &options, &verdicts, &err));
    for (uint32_t i = 0; i < RECORDS; i++) {
        ASSERT_EQUAL(verdict_status(&verdicts[i]), PTIO_OK);
        ASSERT_EQUAL(verdicts[i].not_computed, size_of(i) > 0);
    }
    ptio_verdicts_free(verdicts, index.count);
    ptio_zip_index_free(&index);
    ptio_source_close(&source);
    zip_free_archive(&zip);
}

static void compressed_records_over_the_limit(void) {
    ptio_error err;
    zip_archive zip;
    ptio_source source;
    ptio_zip_index index;
    ptio_record_verdict *verdicts = NULL;
    ptio_read_options options = {.threads = 1};
    ptio_limits small = PTIO_LIMITS_DEFAULT;
    mixed(&zip);
    small.inflated_bytes = 100;
    open_as(&zip, BORROWED, &source);
    ASSERT_OK(ptio_zip_index_read(&source, &small, &index, &err));
    ASSERT_OK(ptio_records_verify(&source, &index, &small, &options, &verdicts, &err));
    for (uint32_t i = 0; i < RECORDS; i++) ASSERT_EQUAL(verdict_status(&verdicts[i]), i % 10 == 9 ? PTIO_E_LIMIT : PTIO_OK);
    ptio_verdicts_free(verdicts, index.count);
    ptio_zip_index_free(&index);
    zip_free_archive(&zip);
}

/* A file that is cut off after it was opened: what is still there keeps its verdict. */
static void files_that_shrink(void) {
    ptio_error err;
    zip_archive zip;
    ptio_source source;
    ptio_zip_index index;
    ptio_record_verdict *verdicts = NULL;
    ptio_read_options options = {.threads = 2};
    mixed(&zip);
    char path[] = "/tmp/ptio-test-XXXXXX";
    int fd = mkstemp(path);
    for (size_t done = 0; done < zip.size;) done += (size_t)write(fd, zip.bytes + done, zip.size - done);
    ASSERT_OK(ptio_source_open(path, PTIO_MMAP_NEVER, &source, &err));
    ASSERT_OK(ptio_zip_index_read(&source, &limits, &index, &err));
    for (uint32_t i = 0; i < RECORDS; i++) /* as if they had been proven in time */
        if (i == 10) ASSERT_OK(ptio_zip_prove(&source, &index, i, &err));
    ASSERT_EQUAL(ftruncate(fd, (off_t)zip.places[10].data + LARGE / 2), 0);
    ASSERT_OK(ptio_records_verify(&source, &index, &limits, &options, &verdicts, &err));
    for (uint32_t i = 0; i < RECORDS; i++) {
        ASSERT_EQUAL(verdict_status(&verdicts[i]), i < 10 ? PTIO_OK : PTIO_E_FILE_CHANGED);
        if (i == 10) ASSERT_EQUAL(verdict_error(&verdicts[i])->offset, zip.places[10].data + LARGE / 2);
        if (i >= 10) ASSERT_TEXT(verdict_error(&verdicts[i])->record, names[i]);
    }
    ptio_verdicts_free(verdicts, index.count);
    ptio_zip_index_free(&index);
    ptio_source_close(&source);
    close(fd);
    unlink(path);
    zip_free_archive(&zip);
}

static void records_that_reach_out_of_their_run(void) {
    ptio_error err;
    zip_archive zip;
    ptio_source source;
    ptio_zip_index index;
    ptio_record_verdict *verdicts = NULL;
    ptio_read_options options = {.threads = 1};
    static char extra[30004] = "XX\x30\x75", room[60000];
    zip_begin(&zip);
    zip_add(&zip, &(zip_member){.name = "m/a", .content = "abc", .size = 3, .extra = extra, .extra_length = sizeof extra});
    zip_raw(&zip, room, sizeof room);
    zip_add(&zip, &(zip_member){.name = "m/b", .content = "abc", .size = 3, .extra = extra, .extra_length = sizeof extra});
    zip_raw(&zip, room, sizeof room);
    zip_finish(&zip, true, NULL, 0);
    zip.bytes[zip.places[1].data] ^= 1;
    open_as(&zip, CALLBACK, &source);
    ASSERT_OK(ptio_zip_index_read(&source, &limits, &index, &err));
    ASSERT_OK(ptio_records_verify(&source, &index, &limits, &options, &verdicts, &err));
    ASSERT_EQUAL(verdict_status(&verdicts[0]), PTIO_OK);
    ASSERT_EQUAL(verdict_status(&verdicts[1]), PTIO_E_CHECKSUM);
    ptio_verdicts_free(verdicts, index.count);
    ptio_zip_index_free(&index);
    zip_free_archive(&zip);
}

static void cancelled_and_out_of_memory(void) {
    ptio_error err;
    zip_archive zip;
    ptio_source source;
    ptio_zip_index index;
    mixed(&zip);
    open_as(&zip, MAPPED, &source);
    ASSERT_OK(ptio_zip_index_read(&source, &limits, &index, &err));
    for (unsigned at = 1; at < 6; at++) {
        ptio_record_verdict *verdicts = NULL;
        ticks t = {.cancel_at = at};
        ptio_read_options options = {.threads = 1, .tick = tick, .tick_context = &t};
        ASSERT_FAILS(ptio_records_verify(&source, &index, &limits, &options, &verdicts, &err), CANCELLED, "T0.cancel", "stopped", 0);
        ASSERT_TRUE(verdicts == NULL);
    }
    for (uint64_t k = 1; k < 1000; k++) {
        ptio_record_verdict *verdicts = NULL;
        ptio_read_options options = {.threads = 1};
        ptio_memory_fail_at(k);
        ptio_status status = ptio_records_verify(&source, &index, &limits, &options, &verdicts, &err);
        ptio_memory_fail_at(0);
        ptio_verdicts_free(verdicts, index.count);
        if (status == PTIO_OK) break;
        ASSERT_EQUAL(status, PTIO_E_NO_MEMORY);
        ASSERT_TRUE(k < 999);
    }
    ptio_zip_index_free(&index);
    ptio_source_close(&source);
    zip_free_archive(&zip);
    free(payload);
    payload = NULL;
}

void suite_record_verify(void) {
    RUN(sound_archives);
    RUN(changed_payloads);
    RUN(headers_that_disagree);
    RUN(checksums_that_were_not_computed);
    RUN(compressed_records_over_the_limit);
    RUN(files_that_shrink);
    RUN(records_that_reach_out_of_their_run);
    RUN(cancelled_and_out_of_memory);
}
