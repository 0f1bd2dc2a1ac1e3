/* SPDX-License-Identifier: Apache-2.0
 *
 * Runs independent units of work on a few threads, the calling one included.
 * Nothing outlives the call.
 */
#ifndef PTIO_PARALLEL_H
#define PTIO_PARALLEL_H

#include "error.h"

typedef struct {
    /* Does unit number `unit`; several threads call it at once. *done_bytes is
     * what the unit adds to the progress. */
    ptio_status (*run)(void *context, size_t unit, unsigned worker, uint64_t *done_bytes, ptio_error *err);
    void *context;
    size_t unit_count;
    unsigned threads; /* at most; 0 = as many as the process may use CPUs */

    /* Called on the calling thread only, between its units and at the end, NULL
     * for none. Anything but PTIO_OK stops the work and is returned. */
    ptio_status (*tick)(void *tick_context, uint64_t done_bytes, ptio_error *err);
    void *tick_context;
} ptio_work;

/* Runs every unit, or stops early at a failure: of several failures the one of
 * the lowest unit is reported, whichever came first. */
ptio_status ptio_parallel(const ptio_work *work, ptio_error *err) PTIO_MUST_CHECK;

/* CPUs that this process may use, at least 1. */
unsigned ptio_cpu_count(void);

/* How many workers ptio_parallel would use: what per-worker scratch needs. */
unsigned ptio_parallel_width(size_t unit_count, unsigned threads);

#endif
