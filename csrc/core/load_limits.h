/* SPDX-License-Identifier: Apache-2.0
 *
 * What one load may spend. The caller sets the fields; 0 in a field that says
 * "automatic" means: from the size of the file.
 */
#ifndef PTIO_LOAD_LIMITS_H
#define PTIO_LOAD_LIMITS_H

#include "base.h"

#define PTIO_MOST_DEPTH 65535

typedef struct {
    uint64_t pickle_bytes;   /* size of one pickle */
    uint64_t objects;        /* values made by the pickle */
    uint64_t object_bytes;   /* memory for them; automatic: max(64 MiB, 32 x file size) */
    uint64_t inflated_bytes; /* sum over compressed members; automatic: max(64 MiB, 32 x file size) */
    uint32_t depth;          /* nesting of containers; at most PTIO_MOST_DEPTH is honoured */
    uint64_t hash_work;      /* pairs of equal hashes among dict keys and set members */
} ptio_limits;

#define PTIO_LIMITS_DEFAULT                               \
    ((ptio_limits){.pickle_bytes = UINT64_C(512) << 20,   \
                   .objects = UINT64_C(50) * 1000 * 1000, \
                   .object_bytes = 0,                     \
                   .inflated_bytes = 0,                   \
                   .depth = 1000,                         \
                   .hash_work = 1000000})

/* The value of an automatic limit for a file of file_size bytes. */
static inline uint64_t ptio_limit_for_file(uint64_t limit, uint64_t file_size) {
    uint64_t scaled;
    if (limit != 0) return limit;
    if (!ptio_mul_u64(file_size, 32, &scaled)) return UINT64_MAX;
    return ptio_max_u64(UINT64_C(64) << 20, scaled);
}

#endif
