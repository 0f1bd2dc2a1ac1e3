/* SPDX-License-Identifier: Apache-2.0
 *
 * The names of globals, each once: a pickle may name one thing a million times.
 */
#ifndef PTIO_NAME_COUNTS_H
#define PTIO_NAME_COUNTS_H

#include "graph.h"

typedef struct {
    ptio_global_use first;
    uint64_t count;
} ptio_counted_name;

/* Sets *out to an array of the names of `uses`, in the order of their first use; the
 * caller frees it. */
ptio_status ptio_count_names(const ptio_graph *graph, const ptio_global_use *uses, size_t use_count,
                             ptio_counted_name **out, size_t *out_count, ptio_error *err) PTIO_MUST_CHECK;

#endif
