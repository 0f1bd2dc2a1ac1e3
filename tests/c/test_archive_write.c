/* SPDX-License-Identifier: Apache-2.0
 *
 * Whole archives, into files and streams, at once and record by record: always the same
 * bytes, and what happens when something fails on the way.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "archive_write.h"
#include "archives.h"
#include "faults.h"
#include "memory.h"

void suite_archive_write(void);

enum { RECORDS = 40, LARGE = (5 << 20) + 3 };

static uint8_t *payload; /* record i is what begins at payload + i */
static char names[RECORDS][16];

static size_t size_of(unsigned i) {
    static const size_t sizes[] = {0, 1, 7, 64, 1000, 4096, 70000};
    return i == 10 ? LARGE : i == 11 ? (1 << 20) + 1 : i == 20 ? 1 << 20 : i == 30 ? (2 << 20) - 5 : sizes[i % 7];
}

static void prepare(void) {
    payload = malloc(LARGE + RECORDS);
    if (payload == NULL) abort();
    fill_with_noise(payload, LARGE + RECORDS);
    for (unsigned i = 0; i < RECORDS; i++) snprintf(names[i], sizeof names[i], "m/data/%u", i);
}

/* The archive as the tests' own builder makes it. */
static void build(zip_archive *zip) {
    zip_begin(zip);
    for (unsigned i = 0; i < RECORDS; i++)
        zip_add(zip, &(zip_member){.name = names[i], .content = payload + i, .size = size_of(i),
                                   .descriptor = size_of(i) > 0, .alignment = 64});
    zip_finish(zip, true, NULL, 0);
    for (size_t i = 0; i < RECORDS; i++) { /* where it gives a version, torch gives none */
        zip_put16(zip, zip->places[i].local + 4, 0);
        zip_put32(zip, zip->places[i].central + 4, 0);
    }
}

/* --- sinks, producers, ticks ---------------------------------------------- */

typedef struct {
    uint8_t *bytes;
    size_t size, capacity;
    unsigned calls, fail_at;
} stream;

static ptio_status take(void *context, const void *bytes, size_t n, ptio_error *err) {
    stream *s = context;
    if (++s->calls == s->fail_at) return ptio_fail(err, PTIO_E_CANCELLED, "T0.stream", 5, "the pipe is closed");
    if (n > s->capacity - s->size) {
        s->capacity = 2 * (s->size + n);
        s->bytes = realloc(s->bytes, s->capacity);
        if (s->bytes == NULL) abort();
    }
    memcpy(s->bytes + s->size, bytes, n);
    s->size += n;
    return PTIO_OK;
}

typedef struct {
    uint32_t record; /* the last one that was asked for */
    uint64_t most;   /* bytes a call; 0 = all */
    uint64_t wrong;  /* answer with that many bytes too many ... */
    bool nothing;    /* ... or with none */
    uint8_t *piece;  /* spoiled when the next one is asked for */
} producer;

static ptio_status produce(void *context, uint32_t record, uint64_t at, const void **bytes, uint64_t *n, ptio_error *err) {
    producer *p = context;
    (void)err;
    ASSERT_TRUE(record > p->record || p->record == UINT32_MAX || (record == p->record && at > 0));
    ASSERT_TRUE(at < size_of(record));
    p->record = record;
    uint64_t left = size_of(record) - at, most = p->most == 0 ? left : p->most;
    *n = p->nothing ? 0 : (left < most ? left : most) + p->wrong;
    if (p->wrong > 0) return PTIO_OK;
    free(p->piece);
    p->piece = malloc((size_t)*n + 1);
    if (p->piece == NULL) abort();
    memcpy(p->piece, payload + record + at, (size_t)*n);
    *bytes = p->piece;
    return PTIO_OK;
}

typedef struct {
    uint64_t last, total;
    unsigned calls, cancel_at;
} ticks;

static ptio_status tick(void *context, uint64_t done, uint64_t total, ptio_error *err) {
    ticks *t = context;
    ASSERT_TRUE(done >= t->last && done <= total && total >= t->total);
    t->last = done;
    t->total = total;
    if (++t->calls == t->cancel_at) return ptio_fail(err, PTIO_E_CANCELLED, "T0.cancel", 0, "stopped");
    return PTIO_OK;
}

/* --- writing -------------------------------------------------------------- */

typedef struct {
    bool to_file, each; /* each: a write after every record */
    unsigned produced;  /* every n-th record is; 0 = none */
    uint64_t piece;
    ptio_write_options options;
    unsigned fail_at, cancel_at; /* the stream's, the tick's */
} way;

static ptio_status add_one(ptio_archive *archive, unsigned i, const way *how, ptio_error *err) {
    bool produced = how->produced > 0 && i % how->produced == 0;
    return ptio_archive_add(archive, names[i] + 2, strlen(names[i]) - 2, produced ? NULL : payload + i, size_of(i), err);
}

static ptio_status write_all(ptio_sink *sink, const way *how, ptio_error *err) {
    ptio_archive *archive = NULL;
    producer p = {.record = UINT32_MAX, .most = how->piece};
    ticks t = {.cancel_at = how->cancel_at};
    uint64_t total = 0;
    ptio_write_options options = how->options;
    options.produce = produce;
    options.produce_context = &p;
    options.tick = tick;
    options.tick_context = &t;
    ptio_status status = ptio_archive_begin(sink, "m", 1, 64, &options, &archive, err);
    for (unsigned i = 0; i < RECORDS && status == PTIO_OK; i++) {
        status = add_one(archive, i, how, err);
        if (status == PTIO_OK && how->each) status = ptio_archive_write(archive, err);
        total += size_of(i);
    }
    if (status == PTIO_OK) status = ptio_archive_finish(archive, err);
    if (status == PTIO_OK) {
        ASSERT_EQUAL(t.last, total);
        ASSERT_EQUAL(t.total, total);
    } else if (archive != NULL && status != PTIO_E_NO_MEMORY) {
        ptio_error other;
        ASSERT_EQUAL(ptio_archive_finish(archive, &other), PTIO_E_UNWRITABLE);
        ASSERT_TEXT(other.check, "W4.closed");
    }
    ptio_archive_free(archive);
    free(p.piece);
    return status;
}

static int new_file(void) {
    char path[] = "/tmp/ptio-test-XXXXXX";
    int fd = mkstemp(path);
    if (fd < 0) abort();
    unlink(path);
    return fd;
}

static void slurp(int fd, stream *out) {
    struct stat info;
    if (fstat(fd, &info) != 0) abort();
    out->size = (size_t)info.st_size;
    out->bytes = malloc(out->size + 1);
    if (out->bytes == NULL || pread(fd, out->bytes, out->size, 0) != (ssize_t)out->size) abort();
}

/* Writes to a new file or stream; *out is what is in it then. */
static ptio_status write_new(const way *how, stream *out, ptio_error *err) {
    ptio_sink sink;
    *out = (stream){.fail_at = how->fail_at};
    int fd = how->to_file ? new_file() : -1;
    if (how->to_file)
        ptio_sink_file(fd, &sink);
    else
        ptio_sink_forward(take, out, &sink);
    ptio_status status = write_all(&sink, how, err);
    if (how->to_file) {
        slurp(fd, out);
        close(fd);
    }
    return status;
}

static void every_way_writes_the_same_bytes(void) {
    ptio_error err;
    zip_archive zip;
    build(&zip);
    for (unsigned i = 0; i < 64; i++) {
        static const unsigned produced[] = {0, 2, 1, 5};
        static const uint64_t pieces[] = {0, 100000, (1 << 20) + 1, 3 << 20};
        way how = {.to_file = i & 1, .each = i & 2, .options = {.threads = i & 4 ? 3 : 1}};
        how.produced = produced[i / 8 % 4];
        how.piece = pieces[(i / 8 + i) % 4];
        if (how.produced == 0 && i >= 32) continue;
        stream out;
        ASSERT_OK(write_new(&how, &out, &err));
        ASSERT_EQUAL(out.size, zip.size);
        ASSERT_BYTES(out.bytes, zip.bytes, zip.size);
        free(out.bytes);
    }
    zip_free_archive(&zip);
}

static void verify(const stream *written, bool computed) {
    ptio_error err;
    ptio_source source;
    ptio_zip_index index;
    ptio_record_verdict *verdicts = NULL;
    const ptio_limits limits = PTIO_LIMITS_DEFAULT;
    ptio_read_options options = {.threads = 1};
    ptio_source_borrow(written->bytes, written->size, &source);
    ASSERT_OK(ptio_zip_index_read(&source, &limits, &index, &err));
    ASSERT_EQUAL(index.count, RECORDS);
    ASSERT_OK(ptio_records_verify(&source, &index, &limits, &options, &verdicts, &err));
    for (uint32_t i = 0; i < RECORDS; i++) {
        ASSERT_TRUE(ptio_zip_is(&index, i, "", names[i] + 2, strlen(names[i]) - 2));
        ASSERT_OK(ptio_zip_prove(&source, &index, i, &err));
        ASSERT_EQUAL(verdict_status(&verdicts[i]), PTIO_OK);
        ASSERT_EQUAL(verdicts[i].not_computed, !computed && size_of(i) > 0);
        ASSERT_EQUAL(index.records[i].data % 64, 0);
        ASSERT_BYTES(written->bytes + index.records[i].data, payload + i, size_of(i));
    }
    ptio_verdicts_free(verdicts, index.count);
    ptio_zip_index_free(&index);
    ptio_source_close(&source);
}

static void the_reader_finds_every_record(void) {
    ptio_error err;
    for (unsigned i = 0; i < 16; i++) {
        way how = {.to_file = i & 1, .each = i & 8, .produced = i & 2 ? 3 : 0, .options = {.threads = 2, .no_crc = i & 4}};
        stream out;
        ASSERT_OK(write_new(&how, &out, &err));
        verify(&out, !how.options.no_crc);
        free(out.bytes);
    }
}

static void streams_get_large_runs(void) {
    ptio_error err;
    stream out;
    way how = {.options = {.threads = 1}};
    ASSERT_OK(write_new(&how, &out, &err));
    ASSERT_TRUE(out.calls < 45); /* 5 for what is larger than 32 KiB, and what lies between */
    free(out.bytes);
    how.options.threads = 3;
    ASSERT_OK(write_new(&how, &out, &err));
    ASSERT_TRUE(out.calls < 35);
    free(out.bytes);
}

static void small_records_added_one_by_one_are_gathered(void) {
    ptio_error err;
    ptio_sink sink;
    ptio_archive *archive = NULL;
    ptio_write_options options = {.threads = 0};
    if (!faults_work()) return;
    int fd = new_file();
    ptio_sink_file(fd, &sink);
    faults_clear();
    ASSERT_OK(ptio_archive_begin(&sink, "m", 1, 64, &options, &archive, &err));
    for (unsigned i = 0; i < 10000; i++) {
        char name[16];
        snprintf(name, sizeof name, "data/%u", i);
        ASSERT_OK(ptio_archive_add(archive, name, strlen(name), payload, 100, &err));
        ASSERT_OK(ptio_archive_write(archive, &err));
    }
    ASSERT_OK(ptio_archive_finish(archive, &err));
    ASSERT_TRUE(faults.pwrites < 20 && faults.threads == 0);
    ASSERT_EQUAL(lseek(fd, 0, SEEK_END), ptio_zip_file_size(ptio_archive_layout(archive)));
    faults_clear();
    ptio_archive_free(archive);
    close(fd);
}

/* --- what fails ----------------------------------------------------------- */

static void payloads_that_are_not_what_was_said(void) {
    ptio_error err;
    for (unsigned i = 0; i < 6; i++) {
        ptio_sink sink;
        ptio_archive *archive = NULL;
        stream out = {.size = 0};
        producer p = {.record = UINT32_MAX, .wrong = i / 2 == 1 ? 1 : 0, .nothing = i / 2 == 0};
        ptio_write_options options = {.produce = i / 2 == 2 ? NULL : produce, .produce_context = &p};
        int fd = i % 2 ? new_file() : -1;
        if (i % 2)
            ptio_sink_file(fd, &sink);
        else
            ptio_sink_forward(take, &out, &sink);
        ASSERT_OK(ptio_archive_begin(&sink, "m", 1, 64, &options, &archive, &err));
        ASSERT_OK(ptio_archive_add(archive, "empty", 5, NULL, 0, &err));
        ASSERT_OK(ptio_archive_write(archive, &err));
        ASSERT_OK(ptio_archive_add(archive, "data/2", 6, NULL, 1, &err));
        if (i / 2 == 2)
            ASSERT_FAILS(ptio_archive_write(archive, &err), UNWRITABLE, "W3.payload", "no bytes for record 1", PTIO_NO_OFFSET);
        else
            ASSERT_FAILS(ptio_archive_write(archive, &err), UNWRITABLE, "W3.produced",
                         i / 2 == 0 ? "record 1 was given 0 bytes at byte 0 of its 1" : "given 2 bytes at byte 0 of its 1", PTIO_NO_OFFSET);
        ptio_archive_free(archive);
        free(out.bytes);
        free(p.piece);
        if (fd >= 0) close(fd);
    }
}

static void nothing_follows_the_end(void) {
    ptio_error err;
    ptio_sink sink;
    ptio_archive *archive = NULL;
    stream out = {.size = 0};
    ptio_write_options options = {.threads = 1};
    ptio_sink_forward(take, &out, &sink);
    ASSERT_OK(ptio_archive_begin(&sink, "m", 1, 64, &options, &archive, &err));
    ASSERT_FAILS(ptio_archive_add(archive, "a/..", 4, payload, 10, &err), UNWRITABLE, "W1.name", "'a/..'", PTIO_NO_OFFSET);
    ASSERT_OK(ptio_archive_add(archive, "a", 1, payload, 10, &err)); /* a refused name has done no harm */
    ASSERT_OK(ptio_archive_finish(archive, &err));
    size_t size = out.size;
    ASSERT_EQUAL(size, ptio_zip_file_size(ptio_archive_layout(archive)));
    ASSERT_FAILS(ptio_archive_add(archive, "b", 1, payload, 10, &err), UNWRITABLE, "W4.closed", "complete", PTIO_NO_OFFSET);
    ASSERT_FAILS(ptio_archive_write(archive, &err), UNWRITABLE, "W4.closed", "nothing can be added", PTIO_NO_OFFSET);
    ASSERT_FAILS(ptio_archive_finish(archive, &err), UNWRITABLE, "W4.closed", "failed", PTIO_NO_OFFSET);
    ASSERT_EQUAL(out.size, size);
    ASSERT_EQUAL(ptio_archive_layout(archive)->count, 1);
    ptio_archive_free(archive);
    ptio_archive_free(NULL);
    free(out.bytes);
    archive = NULL;
    ASSERT_FAILS(ptio_archive_begin(&sink, "m", 1, 7, &options, &archive, &err), UNWRITABLE, "W1.alignment", "7 bytes", PTIO_NO_OFFSET);
    ASSERT_TRUE(archive == NULL);
}

/* The error of the stream comes out, whichever write it is. */
static void any_write_to_a_stream_may_fail(void) {
    ptio_error err;
    for (unsigned threads = 1; threads <= 2; threads++) {
        for (unsigned k = 1;; k++) {
            way how = {.fail_at = k, .produced = 4, .options = {.threads = threads}};
            stream out;
            ptio_status status = write_new(&how, &out, &err);
            free(out.bytes);
            if (status == PTIO_OK) break;
            ASSERT_FAILS(status, CANCELLED, "T0.stream", "the pipe is closed", 5);
            ASSERT_TRUE(k < 100);
        }
    }
}

static void any_write_to_a_file_may_fail(void) {
    ptio_error err;
    if (!faults_work()) return;
    for (unsigned k = 0;; k++) {
        way how = {.to_file = true, .each = k % 2, .produced = 4, .options = {.threads = 1 + k % 3}};
        stream out;
        faults.pwrites = 0;
        faults.pwrite_errno = ENOSPC;
        faults.pwrite_after = k;
        ptio_status status = write_new(&how, &out, &err);
        faults_clear();
        free(out.bytes);
        if (status == PTIO_OK) break;
        ASSERT_FAILS(status, IO, "io", "pwrite: ", PTIO_NO_OFFSET);
        ASSERT_EQUAL(err.sys_errno, ENOSPC);
        ASSERT_TRUE(k < 300);
    }
}

static void a_full_disk_is_noticed_before_the_first_byte(void) {
    ptio_error err;
    way how = {.to_file = true};
    stream out;
    if (!faults_work()) return;
    faults.fallocate_errno = ENOSPC;
    ASSERT_FAILS(write_new(&how, &out, &err), IO, "io", "fallocate: ", PTIO_NO_OFFSET);
    ASSERT_EQUAL(err.sys_errno, ENOSPC);
    ASSERT_EQUAL(faults.pwrites, 0);
    faults_clear();
    ASSERT_EQUAL(out.size, 0);
    free(out.bytes);
    ASSERT_OK(write_new(&how, &out, &err));
    ASSERT_EQUAL(faults.fallocates, 1);
    faults_clear();
    free(out.bytes);
}

static void a_tick_can_cancel(void) {
    ptio_error err;
    for (unsigned i = 0; i < 8; i++) {
        way how = {.to_file = i & 1, .each = i & 2, .cancel_at = 1 + (i & 4), .options = {.threads = i & 4 ? 1 : 2}};
        stream out;
        ASSERT_FAILS(write_new(&how, &out, &err), CANCELLED, "T0.cancel", "stopped", 0);
        free(out.bytes);
    }
}

static void work_gets_done_without_threads(void) {
    ptio_error err;
    zip_archive zip;
    if (!faults_work()) return;
    build(&zip);
    for (unsigned i = 0; i < 2; i++) {
        way how = {.to_file = i & 1, .options = {.threads = 2}};
        stream out;
        faults_clear();
        ASSERT_OK(write_new(&how, &out, &err));
        ASSERT_TRUE(faults.threads > 0);
        free(out.bytes);
        faults.pthread_create_error = EAGAIN;
        ASSERT_OK(write_new(&how, &out, &err));
        faults_clear();
        ASSERT_BYTES(out.bytes, zip.bytes, zip.size);
        free(out.bytes);
    }
    zip_free_archive(&zip);
}

static void every_allocation_may_fail(void) {
    ptio_error err;
    for (unsigned i = 0; i < 4; i++) {
        for (uint64_t k = 1;; k++) {
            way how = {.to_file = i & 1, .each = i & 2, .produced = 3, .options = {.threads = 2}};
            stream out;
            ptio_memory_fail_at(k);
            ptio_status status = write_new(&how, &out, &err);
            ptio_memory_fail_at(0);
            free(out.bytes);
            if (status == PTIO_OK) break;
            ASSERT_EQUAL(status, PTIO_E_NO_MEMORY);
            ASSERT_TRUE(k < 200);
        }
    }
}

/* --- serialization_id ----------------------------------------------------- */

static void id_of(const char *stem, const char *const *record, const char *const *content, size_t count, char *out) {
    ptio_error err;
    ptio_sink sink;
    ptio_archive *archive = NULL;
    stream sunk = {.size = 0};
    ptio_write_options options = {.threads = 1};
    ptio_sink_forward(take, &sunk, &sink);
    ASSERT_OK(ptio_archive_begin(&sink, stem, strlen(stem), 64, &options, &archive, &err));
    for (size_t i = 0; i < count; i++)
        ASSERT_OK(ptio_archive_add(archive, record[i], strlen(record[i]), content[i], strlen(content[i]), &err));
    ptio_archive_id(archive, out); /* only what is written counts */
    ASSERT_TEXT(out, "1469598103934665603714695981039346656037");
    ASSERT_OK(ptio_archive_write(archive, &err));
    ptio_archive_id(archive, out);
    ASSERT_OK(ptio_archive_add(archive, ".data/serialization_id", 22, out, PTIO_ARCHIVE_ID, &err));
    ASSERT_OK(ptio_archive_finish(archive, &err));
    ASSERT_EQUAL(strlen(out), PTIO_ARCHIVE_ID);
    ASSERT_EQUAL(strspn(out, "0123456789"), PTIO_ARCHIVE_ID);
    ptio_archive_free(archive);
    free(sunk.bytes);
}

static void equal_contents_have_equal_ids(void) {
    static const char *const plain[] = {"data.pkl", "data/0"}, *const renamed[] = {"data.pkl", "data/1"},
                             *const shifted[] = {"data.pk", "ldata/0"};
    static const char *const bytes[] = {"abc", "defg"}, *const changed[] = {"abc", "deff"}, *const swapped[] = {"defg", "abc"};
    char first[PTIO_ARCHIVE_ID + 1], other[PTIO_ARCHIVE_ID + 1];
    id_of("m", plain, bytes, 2, first);
    id_of("another", plain, bytes, 2, other);
    ASSERT_TEXT(other, first);
    id_of("m", renamed, bytes, 2, other);
    ASSERT_TRUE(strncmp(other, first, 20) != 0 && strcmp(other + 20, first + 20) == 0);
    id_of("m", shifted, bytes, 2, other);
    ASSERT_TRUE(strncmp(other, first, 20) != 0);
    id_of("m", plain, changed, 2, other);
    ASSERT_TRUE(strncmp(other, first, 20) == 0 && strcmp(other + 20, first + 20) != 0);
    id_of("m", plain, swapped, 2, other);
    ASSERT_TRUE(strcmp(other + 20, first + 20) != 0);
    id_of("m", plain, bytes, 1, other);
    ASSERT_TRUE(strcmp(other, first) != 0);
}

void suite_archive_write(void) {
    prepare();
    faults_clear();
    RUN(every_way_writes_the_same_bytes);
    RUN(the_reader_finds_every_record);
    RUN(streams_get_large_runs);
    RUN(small_records_added_one_by_one_are_gathered);
    RUN(payloads_that_are_not_what_was_said);
    RUN(nothing_follows_the_end);
    RUN(any_write_to_a_stream_may_fail);
    RUN(any_write_to_a_file_may_fail);
    RUN(a_full_disk_is_noticed_before_the_first_byte);
    RUN(a_tick_can_cancel);
    RUN(work_gets_done_without_threads);
    RUN(every_allocation_may_fail);
    RUN(equal_contents_have_equal_ids);
    faults_clear();
    free(payload);
}
