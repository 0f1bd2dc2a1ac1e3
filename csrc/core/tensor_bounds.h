/* SPDX-License-Identifier: Apache-2.0
 *
 * The one place that decides whether a tensor lies inside its storage
 * (invariants T2-T4). Every way to make a tensor goes through it.
 */
#ifndef PTIO_TENSOR_BOUNDS_H
#define PTIO_TENSOR_BOUNDS_H

#include "error.h"

#define PTIO_MAX_DIMS 64

typedef struct {
    uint64_t elements; /* product of the sizes: may exceed the storage through stride 0 */
    bool contiguous;   /* not empty, and the strides are exactly those of a C array */
} ptio_tensor_facts;

/* sizes and strides in elements, ndim of each; available = elements that the
 * storage holds. *at is the offset of the opcode for the error. */
ptio_status ptio_tensor_bounds(int64_t offset, size_t ndim, const int64_t *sizes, const int64_t *strides,
                               uint64_t available, uint64_t at, ptio_tensor_facts *out,
                               ptio_error *err) PTIO_MUST_CHECK;

#endif
