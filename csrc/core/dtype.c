/* SPDX-License-Identifier: Apache-2.0 */
#include "dtype.h"

static const ptio_dtype_info dtypes[PTIO_DTYPE_COUNT] = {
#define DTYPE(id, torch, item, per_item, swap, kind, storage, numpy) \
    {torch, storage, numpy, item, per_item, swap, PTIO_KIND_##kind},
#include "dtypes.def"
#undef DTYPE
};

const ptio_dtype_info *ptio_dtype_get(ptio_dtype dtype) { return &dtypes[dtype]; }

void ptio_swap_items(uint8_t *bytes, uint64_t n, unsigned swap_bytes) {
    for (uint64_t at = 0; swap_bytes > 1 && n - at >= swap_bytes; at += swap_bytes) {
        for (unsigned low = 0, high = swap_bytes - 1; low < high; low++, high--) {
            uint8_t byte = bytes[at + low];
            bytes[at + low] = bytes[at + high];
            bytes[at + high] = byte;
        }
    }
}
