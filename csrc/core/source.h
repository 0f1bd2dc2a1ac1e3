/* SPDX-License-Identifier: Apache-2.0
 *
 * The bytes of one file, whatever they come from: a mapping, memory that the
 * caller owns, a file descriptor, or a callback (file objects, remote files).
 * A source is read-only and, except for a callback, may be read by several
 * threads at once. Offset 0 is where the checkpoint begins.
 */
#ifndef PTIO_SOURCE_H
#define PTIO_SOURCE_H

#include "block.h"

/* Reads exactly n bytes at offset into out, or fails. */
typedef ptio_status (*ptio_read_at)(void *context, uint64_t offset, void *out, size_t n, ptio_error *err);

typedef enum {
    PTIO_MMAP_AUTO, /* map regular files on local file systems, read others */
    PTIO_MMAP_ALWAYS,
    PTIO_MMAP_NEVER
} ptio_mmap_mode;

typedef struct {
    uint64_t size;
    const uint8_t *bytes; /* all of them, when mapped or borrowed; else NULL */
    ptio_block *mapping;  /* owns bytes when mapped; else NULL */
    int fd;               /* owned; -1 where there is none */
    uint64_t fd_base;     /* where offset 0 lies in the file of the descriptor or the callback */
    ptio_read_at read_at; /* callback, else NULL */
    void *context;
} ptio_source;

/* A regular file by path. Anything else (FIFO, device, directory) is
 * NOT_A_CHECKPOINT; a file that cannot be opened is IO. An empty file is a
 * source of size 0. */
ptio_status ptio_source_open(const char *path, ptio_mmap_mode mode, ptio_source *out,
                             ptio_error *err) PTIO_MUST_CHECK;

/* An open descriptor of a regular file, from byte `base` to its end. The
 * descriptor is duplicated; its file position is never used or moved. */
ptio_status ptio_source_from_fd(int fd, uint64_t base, ptio_mmap_mode mode, ptio_source *out,
                                ptio_error *err) PTIO_MUST_CHECK;

/* Memory that stays valid and unchanged until the source is closed. */
void ptio_source_borrow(const void *bytes, size_t size, ptio_source *out);

/* A callback that only this thread calls. */
void ptio_source_callback(ptio_read_at read_at, void *context, uint64_t size, ptio_source *out);

/* Bytes [offset, offset + size) of a source as a source of their own, which may outlive it
 * (unless the bytes are borrowed or come from a callback). */
ptio_status ptio_source_part(const ptio_source *source, uint64_t offset, uint64_t size, ptio_source *out,
                             ptio_error *err) PTIO_MUST_CHECK;

/* Copies n bytes at offset; a range outside the source is TRUNCATED, a file
 * that shrank since it was opened is FILE_CHANGED. */
ptio_status ptio_source_read(const ptio_source *source, uint64_t offset, void *out, size_t n,
                             ptio_error *err) PTIO_MUST_CHECK;

/* F2 for the file behind a mapping; reads notice by themselves. */
ptio_status ptio_source_unchanged(const ptio_source *source, ptio_error *err) PTIO_MUST_CHECK;

/* True unless reads must come from one thread, one after another. */
bool ptio_source_is_concurrent(const ptio_source *source);

/* Idempotent; memory of a mapping stays until its last block reference goes. */
void ptio_source_close(ptio_source *source);

#endif
