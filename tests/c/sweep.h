/* SPDX-License-Identifier: Apache-2.0
 *
 * Runs one piece of work while the k-th allocation fails, and while the k-th read of the file fails,
 * for every k that there is: each time it has to end in that error.
 */
#ifndef PTIO_SWEEP_H
#define PTIO_SWEEP_H

#include "source.h"
#include "test.h"

/* The bytes of a file, of which read number fail_at fails; 0: none does. */
typedef struct {
    const uint8_t *bytes;
    uint64_t reads, fail_at;
} sweep_reader;

ptio_status sweep_read(void *reader, uint64_t offset, void *out, size_t n, ptio_error *err);

typedef struct {
    const char *name;
    ptio_status (*run)(const ptio_source *source, ptio_error *err); /* gives everything back */
    ptio_status expected;        /* where nothing fails */
    unsigned allocations, reads; /* there are at least so many */
    bool goes_on; /* after a read that fails: a record is not intact then, that is all */
} sweep_entry;

/* Opens a whole checkpoint: for `run`. */
ptio_status sweep_open(const ptio_source *source, ptio_error *err);

void sweep_failures(const sweep_entry *entries, size_t count, const void *bytes, size_t size);
#define SWEEP(entries, bytes, size) sweep_failures((entries), sizeof(entries) / sizeof(entries)[0], (bytes), (size))

#endif
