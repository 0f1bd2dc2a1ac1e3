/* SPDX-License-Identifier: Apache-2.0
 *
 * A run of bytes with an atomic reference count: a mapped file, or private
 * memory that storages were read into. Arrays and tensors keep blocks alive
 * after the file is closed; the last reference may be dropped on any thread,
 * without the GIL.
 */
#ifndef PTIO_BLOCK_H
#define PTIO_BLOCK_H

#include "error.h"

typedef struct ptio_block ptio_block;

/* Private memory, aligned to 64 bytes (to 2 MiB and advised as huge pages when
 * it is large), contents undefined until written. */
ptio_status ptio_block_new(size_t size, ptio_block **out, ptio_error *err) PTIO_MUST_CHECK;

/* The first `size` bytes of the file, copy-on-write: writable, and writes never
 * reach the file. size > 0. */
ptio_status ptio_block_map(int fd, size_t size, ptio_block **out, ptio_error *err) PTIO_MUST_CHECK;

uint8_t *ptio_block_bytes(const ptio_block *block);
size_t ptio_block_size(const ptio_block *block);

ptio_block *ptio_block_ref(ptio_block *block); /* returns block */
void ptio_block_unref(ptio_block *block);      /* NULL is fine */

#endif
