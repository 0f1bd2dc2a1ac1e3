/* SPDX-License-Identifier: Apache-2.0
 *
 * pwrite and fallocate with their quirks, and gathering. Knows no formats.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* fallocate */
#endif

#include "sink.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

/* Copying this much costs less than a call of its own for it. */
#define WORTH_COPYING ((size_t)32 << 10)

void ptio_sink_file(int fd, ptio_sink *out) { *out = (ptio_sink){.fd = fd}; }

void ptio_sink_forward(ptio_write write, void *context, ptio_sink *out) {
    *out = (ptio_sink){.fd = -1, .write = write, .context = context};
}

bool ptio_sink_is_concurrent(const ptio_sink *sink) { return sink->write == NULL; }

ptio_status ptio_sink_reserve(const ptio_sink *sink, uint64_t offset, uint64_t n, ptio_error *err) {
    if (sink->write != NULL || n == 0) return PTIO_OK;
#ifdef __linux__
    /* Not posix_fallocate: where the file system cannot, that writes to every block. An
     * interrupted call has undone its work, so under a storm of signals go without. */
    enum { ATTEMPTS = 5 };
    for (int i = 0; i < ATTEMPTS; i++) {
        if (fallocate(sink->fd, 0, (off_t)offset, (off_t)n) == 0) return PTIO_OK;
        if (errno == EOPNOTSUPP || errno == ENOSYS) return PTIO_OK;
        if (errno != EINTR) return ptio_fail_errno(err, "fallocate");
    }
#else
    (void)offset;
    (void)err;
#endif
    return PTIO_OK;
}

static ptio_status write_file(const ptio_sink *sink, uint64_t offset, const uint8_t *bytes, size_t n,
                              ptio_error *err) {
    const size_t most = (size_t)1 << 30; /* macOS refuses writes of 2 GiB */
    while (n > 0) {
        ssize_t done = pwrite(sink->fd, bytes, n < most ? n : most, (off_t)offset);
        if (done < 0 && errno == EINTR) continue;
        if (done == 0) errno = EIO; /* never seen on a regular file; going on might never end */
        if (done <= 0) return ptio_fail_errno(err, "pwrite");
        bytes += done;
        n -= (size_t)done;
        offset += (uint64_t)done;
    }
    return PTIO_OK;
}

ptio_status ptio_sink_write(ptio_sink *sink, uint64_t offset, const void *bytes, size_t n, ptio_error *err) {
    if (n == 0) return PTIO_OK;
    if (sink->write == NULL) return write_file(sink, offset, bytes, n, err);
    PTIO_CHECK(offset == sink->position, "W2.order", err, UNWRITABLE, offset,
               "bytes for byte %llu of a stream that is at byte %llu", (unsigned long long)offset,
               (unsigned long long)sink->position);
    PTIO_TRY(sink->write(sink->context, bytes, n, err));
    sink->position += n;
    return PTIO_OK;
}

ptio_status ptio_gather_flush(ptio_gather *gather, ptio_error *err) {
    PTIO_TRY(ptio_sink_write(gather->sink, gather->offset, gather->bytes, gather->used, err));
    gather->offset += gather->used;
    gather->used = 0;
    return PTIO_OK;
}

ptio_status ptio_gather_room(ptio_gather *gather, size_t n, uint8_t **out, ptio_error *err) {
    if (n > PTIO_GATHER - gather->used) PTIO_TRY(ptio_gather_flush(gather, err));
    *out = gather->bytes + gather->used;
    gather->used += n;
    return PTIO_OK;
}

ptio_status ptio_gather_add(ptio_gather *gather, const void *bytes, size_t n, ptio_error *err) {
    uint8_t *room = NULL;
    if (n > WORTH_COPYING) {
        PTIO_TRY(ptio_gather_flush(gather, err));
        PTIO_TRY(ptio_sink_write(gather->sink, gather->offset, bytes, n, err));
        gather->offset += n;
        return PTIO_OK;
    }
    PTIO_TRY(ptio_gather_room(gather, n, &room, err));
    if (n > 0) memcpy(room, bytes, n);
    return PTIO_OK;
}
