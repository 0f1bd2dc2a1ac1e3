/* SPDX-License-Identifier: Apache-2.0 */
#include "tensor_bounds.h"

/* Product of the sizes; false when it does not fit. A size of 0 wins over any
 * overflow, because the others are not multiplied then. */
static bool count_elements(size_t ndim, const int64_t *sizes, uint64_t *elements) {
    uint64_t product = 1;
    for (size_t i = 0; i < ndim; i++)
        if (sizes[i] == 0) {
            *elements = 0;
            return true;
        }
    for (size_t i = 0; i < ndim; i++)
        if (!ptio_mul_u64(product, (uint64_t)sizes[i], &product)) return false;
    *elements = product;
    return product <= INT64_MAX;
}

static bool is_contiguous(size_t ndim, const int64_t *sizes, const int64_t *strides) {
    uint64_t expected = 1;
    for (size_t i = ndim; i > 0; i--) {
        if ((uint64_t)strides[i - 1] != expected) return false;
        expected *= (uint64_t)sizes[i - 1];
    }
    return true;
}

/* The element that lies last in the storage; false when it does not fit. */
static bool last_element(int64_t offset, size_t ndim, const int64_t *sizes, const int64_t *strides,
                         uint64_t *last) {
    uint64_t step;
    *last = (uint64_t)offset;
    for (size_t i = 0; i < ndim; i++)
        if (!ptio_mul_u64((uint64_t)sizes[i] - 1, (uint64_t)strides[i], &step) ||
            !ptio_add_u64(*last, step, last))
            return false;
    return true;
}

ptio_status ptio_tensor_bounds(int64_t offset, size_t ndim, const int64_t *sizes, const int64_t *strides,
                               uint64_t available, uint64_t at, ptio_tensor_facts *out, ptio_error *err) {
    uint64_t elements, last;
    PTIO_CHECK(ndim <= PTIO_MAX_DIMS, "T2.ndim", err, LIMIT, at,
               "a tensor of %zu dimensions, at most %d are read", ndim, PTIO_MAX_DIMS);
    PTIO_CHECK(offset >= 0, "T2.offset", err, BOUNDS, at, "storage offset %lld is negative",
               (long long)offset);
    for (size_t i = 0; i < ndim; i++) {
        PTIO_CHECK(sizes[i] >= 0, "T2.size", err, BOUNDS, at, "size %lld of dimension %zu is negative",
                   (long long)sizes[i], i);
        PTIO_CHECK(strides[i] >= 0, "T2.stride", err, BOUNDS, at, "stride %lld of dimension %zu is negative",
                   (long long)strides[i], i);
    }
    PTIO_CHECK(count_elements(ndim, sizes, &elements), "T3.elements", err, BOUNDS, at,
               "the tensor's sizes multiply to more than 2**63 elements");
    if (elements == 0) {
        PTIO_CHECK((uint64_t)offset <= available, "T3.empty", err, BOUNDS, at,
                   "an empty tensor at element %lld, its storage holds %llu", (long long)offset,
                   (unsigned long long)available);
    } else {
        PTIO_CHECK(last_element(offset, ndim, sizes, strides, &last), "T3.overflow", err, BOUNDS, at,
                   "the tensor's strides reach beyond 2**64 elements");
        PTIO_CHECK(last < available, "T3.last", err, BOUNDS, at,
                   "the tensor reaches element %llu, its storage holds %llu", (unsigned long long)last,
                   (unsigned long long)available);
    }
    out->elements = elements;
    out->contiguous = elements > 0 && is_contiguous(ndim, sizes, strides);
    return PTIO_OK;
}
