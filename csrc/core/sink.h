/* SPDX-License-Identifier: Apache-2.0
 *
 * Where the bytes of a new file go: a descriptor, which several threads write at
 * once, or a callback, which gets everything once and in order (pipes, sockets,
 * objects with write()). Knows nothing of what the bytes mean.
 */
#ifndef PTIO_SINK_H
#define PTIO_SINK_H

#include "error.h"

/* Takes n > 0 bytes, all of them, or fails. */
typedef ptio_status (*ptio_write)(void *context, const void *bytes, size_t n, ptio_error *err);

typedef struct {
    int fd;           /* not owned; -1 for a callback */
    ptio_write write; /* NULL for a descriptor */
    void *context;
    uint64_t position; /* bytes that the callback has taken */
} ptio_sink;

/* A regular file, open for writing. Its file position is never used or moved. */
void ptio_sink_file(int fd, ptio_sink *out);

/* A callback that only the calling thread calls. */
void ptio_sink_forward(ptio_write write, void *context, ptio_sink *out);

bool ptio_sink_is_concurrent(const ptio_sink *sink);

/* Takes the space for n bytes at offset before they are written, so that a full disk
 * is noticed at once: IO with ENOSPC. Where the file system cannot, or for a callback,
 * nothing happens. */
ptio_status ptio_sink_reserve(const ptio_sink *sink, uint64_t offset, uint64_t n,
                              ptio_error *err) PTIO_MUST_CHECK;

/* Writes n bytes at offset; for a callback that is where the last bytes ended. */
ptio_status ptio_sink_write(ptio_sink *sink, uint64_t offset, const void *bytes, size_t n,
                            ptio_error *err) PTIO_MUST_CHECK;

/* Gathers small pieces of a file that follow each other into large writes. */
typedef struct {
    ptio_sink *sink;
    uint8_t *bytes; /* PTIO_GATHER bytes, the caller's */
    size_t used;
    uint64_t offset; /* in the file, of bytes[0] */
} ptio_gather;

#define PTIO_GATHER ((size_t)256 << 10)

/* Room for the next n <= PTIO_GATHER bytes, which the caller fills at once. */
ptio_status ptio_gather_room(ptio_gather *gather, size_t n, uint8_t **out, ptio_error *err) PTIO_MUST_CHECK;

/* Bytes that lie somewhere already: copied if they are few, else written from there. */
ptio_status ptio_gather_add(ptio_gather *gather, const void *bytes, size_t n,
                            ptio_error *err) PTIO_MUST_CHECK;

ptio_status ptio_gather_flush(ptio_gather *gather, ptio_error *err) PTIO_MUST_CHECK;

#endif
