/* SPDX-License-Identifier: Apache-2.0
 *
 * Opening and reading files (F1, F2), mapped and not, and the other kinds of source.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "faults.h"
#include "source.h"
#include "test.h"

void suite_source(void);

static char path[64];

static void make_file(const char *content, size_t n) {
    strcpy(path, "/tmp/ptio-test-XXXXXX");
    int fd = mkstemp(path);
    if (fd < 0 || write(fd, content, n) != (ssize_t)n) abort();
    close(fd);
}

static unsigned open_descriptors(void) {
    unsigned count = 0;
    for (int fd = 0; fd < 256; fd++) count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

static void reads_in_every_mode(void) {
    ptio_error err;
    make_file("0123456789", 10);
    unsigned before = open_descriptors();
    for (int mode = PTIO_MMAP_AUTO; mode <= PTIO_MMAP_NEVER; mode++) {
        ptio_source source;
        char out[4] = "";
        ASSERT_OK(ptio_source_open(path, (ptio_mmap_mode)mode, &source, &err));
        ASSERT_EQUAL(source.size, 10);
        ASSERT_EQUAL(source.bytes != NULL, mode != PTIO_MMAP_NEVER);
        ASSERT_EQUAL(source.mapping != NULL, mode != PTIO_MMAP_NEVER);
        ASSERT_OK(ptio_source_read(&source, 3, out, 3, &err));
        ASSERT_TEXT(out, "345");
        ASSERT_OK(ptio_source_read(&source, 10, out, 0, &err));
        ASSERT_TRUE(ptio_source_is_concurrent(&source));
        ASSERT_TRUE((fcntl(source.fd, F_GETFD) & FD_CLOEXEC) != 0);
        ASSERT_EQUAL(fcntl(source.fd, F_GETFL) & O_NONBLOCK, 0);
        ptio_source_close(&source);
        ptio_source_close(&source);
    }
    ASSERT_EQUAL(open_descriptors(), before);
    unlink(path);
}

static void ranges_outside_are_truncated(void) {
    ptio_error err;
    ptio_source source;
    char out[16];
    ptio_source_borrow("0123456789", 10, &source);
    ASSERT_OK(ptio_source_read(&source, 9, out, 1, &err));
    ASSERT_EQUAL(out[0], '9');
    ASSERT_FAILS(ptio_source_read(&source, 9, out, 2, &err), TRUNCATED, "F1.range",
                 "2 bytes are needed at byte 9, the file ends at byte 10", 10);
    ASSERT_FAILS(ptio_source_read(&source, 11, out, 0, &err), TRUNCATED, "F1.range", "at byte 11", 10);
    ASSERT_FAILS(ptio_source_read(&source, UINT64_MAX, out, 2, &err), TRUNCATED, "F1.range", "2 bytes", 10);
    ptio_source_close(&source);
}

static void only_regular_files_are_opened(void) {
    ptio_error err;
    ptio_source source;
    ASSERT_FAILS(ptio_source_open("/tmp", PTIO_MMAP_AUTO, &source, &err), NOT_A_CHECKPOINT, "F1.regular",
                 "this is a directory, not a regular file", PTIO_NO_OFFSET);
    ASSERT_FAILS(ptio_source_open("/dev/null", PTIO_MMAP_AUTO, &source, &err), NOT_A_CHECKPOINT, "F1.regular",
                 "a character device", PTIO_NO_OFFSET);
    strcpy(path, "/tmp/ptio-test-XXXXXX");
    close(mkstemp(path));
    unlink(path);
    ASSERT_EQUAL(mkfifo(path, 0600), 0);
    ASSERT_FAILS(ptio_source_open(path, PTIO_MMAP_AUTO, &source, &err), NOT_A_CHECKPOINT, "F1.regular", "a FIFO",
                 PTIO_NO_OFFSET);
    unlink(path);
    int sockets[2];
    ASSERT_EQUAL(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets), 0);
    ASSERT_FAILS(ptio_source_from_fd(sockets[0], 0, PTIO_MMAP_AUTO, &source, &err), NOT_A_CHECKPOINT, "F1.regular",
                 "a socket", PTIO_NO_OFFSET);
    close(sockets[0]);
    close(sockets[1]);
}

static void what_cannot_be_opened_is_io(void) {
    ptio_error err;
    ptio_source source;
    ASSERT_FAILS(ptio_source_open("/tmp/ptio/does/not/exist", PTIO_MMAP_AUTO, &source, &err), IO, "io", "open: ",
                 PTIO_NO_OFFSET);
    ASSERT_EQUAL(err.sys_errno, ENOENT);
    ASSERT_FAILS(ptio_source_from_fd(-1, 0, PTIO_MMAP_AUTO, &source, &err), IO, "io", "fcntl: ", PTIO_NO_OFFSET);
    ASSERT_EQUAL(err.sys_errno, EBADF);
}

static void an_empty_file_has_size_0(void) {
    ptio_error err;
    ptio_source source;
    make_file("", 0);
    ASSERT_OK(ptio_source_open(path, PTIO_MMAP_ALWAYS, &source, &err));
    ASSERT_EQUAL(source.size, 0);
    ASSERT_TRUE(source.mapping == NULL);
    ptio_source_close(&source);
    unlink(path);
}

static void a_descriptor_is_read_from_its_base(void) {
    ptio_error err;
    make_file("0123456789", 10);
    int fd = open(path, O_RDONLY);
    ASSERT_EQUAL(lseek(fd, 2, SEEK_SET), 2);
    for (int mode = PTIO_MMAP_ALWAYS; mode <= PTIO_MMAP_NEVER; mode++) {
        ptio_source source;
        char out[4] = "";
        ASSERT_OK(ptio_source_from_fd(fd, 4, (ptio_mmap_mode)mode, &source, &err));
        ASSERT_EQUAL(source.size, 6);
        ASSERT_OK(ptio_source_read(&source, 0, out, 3, &err));
        ASSERT_TEXT(out, "456");
        if (source.bytes != NULL) ASSERT_BYTES(source.bytes, "456789", 6);
        ASSERT_FAILS(ptio_source_read(&source, 6, out, 1, &err), TRUNCATED, "F1.range", "1 bytes", 6);
        ASSERT_TRUE(source.fd != fd);
        ptio_source_close(&source);
    }
    ptio_source source;
    ASSERT_OK(ptio_source_from_fd(fd, 11, PTIO_MMAP_ALWAYS, &source, &err));
    ASSERT_EQUAL(source.size, 0);
    ptio_source_close(&source);
    ASSERT_EQUAL(lseek(fd, 0, SEEK_CUR), 2);
    close(fd);
    unlink(path);
}

static void a_file_that_shrinks_is_noticed(void) {
    ptio_error err;
    make_file("0123456789", 10);
    for (int mode = PTIO_MMAP_ALWAYS; mode <= PTIO_MMAP_NEVER; mode++) {
        ptio_source source;
        char out[8];
        ASSERT_OK(ptio_source_open(path, (ptio_mmap_mode)mode, &source, &err));
        ASSERT_EQUAL(truncate(path, 5), 0);
        ASSERT_FAILS(ptio_source_read(&source, 2, out, 6, &err), FILE_CHANGED, "F2.shrank",
                     "the file had 10 bytes when it was opened, now it ends at byte 5", 5);
        ptio_source_close(&source);
        ASSERT_EQUAL(truncate(path, 10), 0);
    }
    unlink(path);
}

static ptio_status answer(void *context, uint64_t offset, void *out, size_t n, ptio_error *err) {
    if (offset == 5) return ptio_fail(err, PTIO_E_CANCELLED, "T0.test", offset, "no");
    memcpy(out, (const char *)context + offset, n);
    return PTIO_OK;
}

static void callbacks_are_asked_in_turn(void) {
    ptio_error err;
    ptio_source source;
    char text[] = "0123456789", out[4] = "";
    ptio_source_callback(answer, text, 10, &source);
    ASSERT_TRUE(!ptio_source_is_concurrent(&source));
    ASSERT_OK(ptio_source_read(&source, 6, out, 3, &err));
    ASSERT_TEXT(out, "678");
    ASSERT_FAILS(ptio_source_read(&source, 5, out, 3, &err), CANCELLED, "T0.test", "no", 5);
    ASSERT_FAILS(ptio_source_read(&source, 8, out, 3, &err), TRUNCATED, "F1.range", "3 bytes", 10);
    ptio_source_close(&source);
}

static void mapping_outlives_the_source(void) {
    ptio_error err;
    ptio_source source;
    make_file("0123456789", 10);
    ASSERT_OK(ptio_source_open(path, PTIO_MMAP_ALWAYS, &source, &err));
    ptio_block *block = ptio_block_ref(source.mapping);
    ptio_source_close(&source);
    ASSERT_BYTES(ptio_block_bytes(block), "0123456789", 10);
    ptio_block_unref(block);
    unlink(path);
}

static void a_mapped_file_that_shrinks_is_noticed(void) {
    ptio_error err;
    ptio_source mapped, bytes;
    make_file("0123456789", 10);
    ASSERT_OK(ptio_source_open(path, PTIO_MMAP_ALWAYS, &mapped, &err));
    ASSERT_OK(ptio_source_unchanged(&mapped, &err));
    ASSERT_EQUAL(truncate(path, 11), 0); /* what was there still is */
    ASSERT_OK(ptio_source_unchanged(&mapped, &err));
    ASSERT_EQUAL(truncate(path, 9), 0);
    ASSERT_FAILS(ptio_source_unchanged(&mapped, &err), FILE_CHANGED, "F2.mapping",
                 "the file had 10 bytes when it was opened, now it has 9", PTIO_NO_OFFSET);
    ptio_source_close(&mapped);
    unlink(path);
    ptio_source_borrow("0123456789", 10, &bytes);
    ASSERT_OK(ptio_source_unchanged(&bytes, &err));
}

static void parts_are_sources_of_their_own(void) {
    ptio_error err;
    char text[] = "0123456789";
    make_file(text, 10);
    unsigned before = open_descriptors();
    for (int how = 0; how < 4; how++) {
        ptio_source whole, part, inner;
        char out[4] = "";
        if (how == 0) ASSERT_OK(ptio_source_open(path, PTIO_MMAP_ALWAYS, &whole, &err));
        if (how == 1) ASSERT_OK(ptio_source_open(path, PTIO_MMAP_NEVER, &whole, &err));
        if (how == 2) ptio_source_borrow(text, 10, &whole);
        if (how == 3) ptio_source_callback(answer, text, 10, &whole);
        ASSERT_OK(ptio_source_part(&whole, 2, 7, &part, &err));
        ASSERT_OK(ptio_source_part(&part, 1, 6, &inner, &err));
        ptio_source_close(&whole);
        ptio_source_close(&part);
        ASSERT_EQUAL(inner.size, 6);
        ASSERT_OK(ptio_source_read(&inner, 3, out, 3, &err));
        ASSERT_TEXT(out, "678");
        if (inner.bytes != NULL) ASSERT_BYTES(inner.bytes, "345678", 6);
        ASSERT_FAILS(ptio_source_read(&inner, 4, out, 3, &err), TRUNCATED, "F1.range", "3 bytes", 6);
        ASSERT_FAILS(ptio_source_part(&inner, 4, 3, &part, &err), TRUNCATED, "X1.range",
                     "3 bytes are needed at byte 4, the file ends at byte 6", 6);
        ASSERT_FAILS(ptio_source_part(&inner, 7, 0, &part, &err), TRUNCATED, "X1.range", "at byte 7", 6);
        ASSERT_FAILS(ptio_source_part(&inner, 2, UINT64_MAX, &part, &err), TRUNCATED, "X1.range", "at byte 2", 6);
        ASSERT_OK(ptio_source_part(&inner, 6, 0, &part, &err));
        ASSERT_EQUAL(part.size, 0);
        ptio_source_close(&part);
        ptio_source_close(&inner);
    }
    ASSERT_EQUAL(open_descriptors(), before);
    unlink(path);
}

static void descriptors_may_run_out(void) {
    ptio_error err;
    ptio_source whole, part = {.size = 7};
    make_file("0123456789", 10);
    ASSERT_OK(ptio_source_open(path, PTIO_MMAP_ALWAYS, &whole, &err));
    faults.fcntl_errno = EMFILE;
    ASSERT_FAILS(ptio_source_part(&whole, 2, 7, &part, &err), IO, "io", "fcntl: ", PTIO_NO_OFFSET);
    ASSERT_EQUAL(err.sys_errno, EMFILE);
    ASSERT_EQUAL(part.size, 7);
    faults_clear();
    ptio_source_close(&whole);
    unlink(path);
}

void suite_source(void) {
    RUN(reads_in_every_mode);
    RUN(ranges_outside_are_truncated);
    RUN(only_regular_files_are_opened);
    RUN(what_cannot_be_opened_is_io);
    RUN(an_empty_file_has_size_0);
    RUN(a_descriptor_is_read_from_its_base);
    RUN(a_file_that_shrinks_is_noticed);
    RUN(callbacks_are_asked_in_turn);
    RUN(mapping_outlives_the_source);
    RUN(a_mapped_file_that_shrinks_is_noticed);
    RUN(parts_are_sources_of_their_own);
    if (faults_work()) RUN(descriptors_may_run_out);
}
