/* SPDX-License-Identifier: Apache-2.0
 *
 * Files and streams as places to write to, also when the system does not want to.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "faults.h"
#include "sink.h"
#include "test.h"

void suite_sink(void);

static int new_file(void) {
    char path[] = "/tmp/ptio-test-XXXXXX";
    int fd = mkstemp(path);
    if (fd < 0) abort();
    unlink(path);
    return fd;
}

static void ASSERT_FILE(int fd, const char *expected, size_t n) {
    char content[256];
    ASSERT_EQUAL(pread(fd, content, sizeof content, 0), n);
    ASSERT_BYTES(content, expected, n);
}

static void a_file_takes_bytes_at_any_offset(void) {
    ptio_error err;
    ptio_sink sink;
    int fd = new_file();
    ptio_sink_file(fd, &sink);
    ASSERT_TRUE(ptio_sink_is_concurrent(&sink));
    ASSERT_OK(ptio_sink_write(&sink, 5, "fghij", 5, &err));
    ASSERT_OK(ptio_sink_write(&sink, 0, "abcde", 5, &err));
    ASSERT_OK(ptio_sink_write(&sink, 3, NULL, 0, &err));
    ASSERT_FILE(fd, "abcdefghij", 10);
    ASSERT_EQUAL(lseek(fd, 0, SEEK_CUR), 0);
    close(fd);
}

static void interrupted_and_short_writes_go_on(void) {
    ptio_error err;
    ptio_sink sink;
    if (!faults_work()) return;
    int fd = new_file();
    ptio_sink_file(fd, &sink);
    faults.pwrite_eintr = 3;
    faults.pwrite_short = true;
    ASSERT_OK(ptio_sink_write(&sink, 0, "abcdefghijklmnopqrstuvwxyz", 26, &err));
    ASSERT_EQUAL(faults.pwrites, 3 + 4);
    faults_clear();
    ASSERT_FILE(fd, "abcdefghijklmnopqrstuvwxyz", 26);
    close(fd);
}

static void write_errors_are_io(void) {
    static const int codes[] = {ENOSPC, EDQUOT, EIO, EFBIG};
    ptio_error err;
    ptio_sink sink;
    if (!faults_work()) return;
    int fd = new_file();
    ptio_sink_file(fd, &sink);
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++) {
        faults_clear();
        faults.pwrite_short = true;
        faults.pwrite_errno = codes[i];
        faults.pwrite_after = 1;
        ASSERT_FAILS(ptio_sink_write(&sink, 0, "abcdefghijkl", 12, &err), IO, "io", "pwrite: ", PTIO_NO_OFFSET);
        ASSERT_EQUAL(err.sys_errno, codes[i]);
    }
    faults_clear();
    faults.pwrite_nothing = true;
    ASSERT_FAILS(ptio_sink_write(&sink, 0, "abc", 3, &err), IO, "io", "pwrite: ", PTIO_NO_OFFSET);
    ASSERT_EQUAL(err.sys_errno, EIO);
    faults_clear();
    close(fd);
    ASSERT_FAILS(ptio_sink_write(&sink, 0, "abc", 3, &err), IO, "io", "pwrite: ", PTIO_NO_OFFSET);
    ASSERT_EQUAL(err.sys_errno, EBADF);
}

static void space_is_reserved(void) {
    ptio_error err;
    ptio_sink sink;
    struct stat info;
    if (!faults_work()) return;
    int fd = new_file();
    ptio_sink_file(fd, &sink);
    ASSERT_OK(ptio_sink_reserve(&sink, 0, 1 << 20, &err));
    ASSERT_OK(ptio_sink_reserve(&sink, 1 << 20, 0, &err));
    ASSERT_EQUAL(faults.fallocates, 1);
    faults_clear();
    ASSERT_EQUAL(fstat(fd, &info), 0);
    ASSERT_TRUE(info.st_size == 0 || info.st_size == 1 << 20); /* 0 where the file system cannot */
    close(fd);
}

static void a_full_disk_is_noticed_early(void) {
    ptio_error err;
    ptio_sink sink;
    if (!faults_work()) return;
    int fd = new_file();
    ptio_sink_file(fd, &sink);
    faults.fallocate_errno = ENOSPC;
    ASSERT_FAILS(ptio_sink_reserve(&sink, 0, 100, &err), IO, "io", "fallocate: ", PTIO_NO_OFFSET);
    ASSERT_EQUAL(err.sys_errno, ENOSPC);
    faults_clear();
    faults.fallocate_errno = EOPNOTSUPP;
    ASSERT_OK(ptio_sink_reserve(&sink, 0, 100, &err));
    faults.fallocate_errno = ENOSYS;
    ASSERT_OK(ptio_sink_reserve(&sink, 0, 100, &err));
    faults_clear();
    faults.fallocate_eintr = 2;
    ASSERT_OK(ptio_sink_reserve(&sink, 0, 100, &err));
    ASSERT_EQUAL(faults.fallocates, 3);
    faults_clear();
    faults.fallocate_eintr = 1000;
    ASSERT_OK(ptio_sink_reserve(&sink, 0, 100, &err));
    ASSERT_TRUE(faults.fallocates < 10);
    faults_clear();
    close(fd);
}

typedef struct {
    char bytes[64];
    size_t size;
    bool fails;
} stream;

static ptio_status take(void *context, const void *bytes, size_t n, ptio_error *err) {
    stream *s = context;
    if (s->fails) return ptio_fail(err, PTIO_E_CANCELLED, "T0.stream", 9, "closed");
    ASSERT_TRUE(n > 0 && n <= sizeof s->bytes - s->size);
    memcpy(s->bytes + s->size, bytes, n);
    s->size += n;
    return PTIO_OK;
}

static void a_stream_takes_bytes_in_order(void) {
    ptio_error err;
    ptio_sink sink;
    stream s = {.size = 0};
    ptio_sink_forward(take, &s, &sink);
    ASSERT_TRUE(!ptio_sink_is_concurrent(&sink));
    ASSERT_OK(ptio_sink_reserve(&sink, 0, UINT64_C(1) << 50, &err));
    ASSERT_OK(ptio_sink_write(&sink, 0, "abc", 3, &err));
    ASSERT_OK(ptio_sink_write(&sink, 3, "de", 2, &err));
    ASSERT_OK(ptio_sink_write(&sink, 77, NULL, 0, &err));
    ASSERT_FAILS(ptio_sink_write(&sink, 4, "x", 1, &err), UNWRITABLE, "W2.order",
                 "bytes for byte 4 of a stream that is at byte 5", 4);
    ASSERT_FAILS(ptio_sink_write(&sink, 6, "x", 1, &err), UNWRITABLE, "W2.order", "byte 6", 6);
    s.fails = true;
    ASSERT_FAILS(ptio_sink_write(&sink, 5, "x", 1, &err), CANCELLED, "T0.stream", "closed", 9);
    ASSERT_EQUAL(sink.position, 5);
    ASSERT_EQUAL(s.size, 5);
    ASSERT_BYTES(s.bytes, "abcde", 5);
}

typedef struct {
    uint64_t size, hash;
    unsigned calls;
    size_t smallest, largest;
} meter;

static ptio_status measure(void *context, const void *bytes, size_t n, ptio_error *err) {
    meter *m = context;
    (void)err;
    for (size_t i = 0; i < n; i++) m->hash = m->hash * 31 + ((const uint8_t *)bytes)[i];
    m->size += n;
    if (m->calls++ == 0 || n < m->smallest) m->smallest = n;
    if (n > m->largest) m->largest = n;
    return PTIO_OK;
}

static void small_pieces_are_gathered(void) {
    ptio_error err;
    ptio_sink sink;
    meter m = {0};
    uint64_t hash = 0, size = 0;
    uint8_t *buffer = malloc(PTIO_GATHER), *large = malloc(1 << 20);
    if (buffer == NULL || large == NULL) abort();
    for (size_t i = 0; i < 1 << 20; i++) large[i] = (uint8_t)(i * 7 + (i >> 8));
    ptio_sink_forward(measure, &m, &sink);
    ptio_gather gather = {.sink = &sink, .bytes = buffer};
    for (unsigned i = 0; i < 20000; i++) {
        uint8_t *room = NULL;
        size_t n = i == 9999 ? 1 << 20 : i * 37 % 100;
        if (i % 3 == 0 && n <= 100) {
            ASSERT_OK(ptio_gather_room(&gather, n, &room, &err));
            memcpy(room, large + i, n);
        } else {
            ASSERT_OK(ptio_gather_add(&gather, n == 0 ? NULL : n > 100 ? large : large + i, n, &err));
        }
        for (size_t k = 0; k < n; k++) hash = hash * 31 + large[n > 100 ? k : i + k];
        size += n;
        ASSERT_EQUAL(gather.offset + gather.used, size);
    }
    ASSERT_OK(ptio_gather_flush(&gather, &err));
    ASSERT_OK(ptio_gather_flush(&gather, &err));
    ASSERT_EQUAL(m.size, size);
    ASSERT_EQUAL(m.hash, hash);
    ASSERT_EQUAL(m.largest, 1 << 20);
    ASSERT_TRUE(m.calls <= 8);
    uint8_t *room = NULL;
    ASSERT_OK(ptio_gather_room(&gather, PTIO_GATHER, &room, &err));
    ASSERT_TRUE(room == buffer);
    ASSERT_OK(ptio_gather_room(&gather, 0, &room, &err));
    free(buffer);
    free(large);
}

void suite_sink(void) {
    faults_clear();
    RUN(a_file_takes_bytes_at_any_offset);
    RUN(interrupted_and_short_writes_go_on);
    RUN(write_errors_are_io);
    RUN(space_is_reserved);
    RUN(a_full_disk_is_noticed_early);
    RUN(a_stream_takes_bytes_in_order);
    RUN(small_pieces_are_gathered);
    faults_clear();
}
