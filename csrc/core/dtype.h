/* SPDX-License-Identifier: Apache-2.0
 *
 * The static facts about torch's dtypes: dtypes.def as a table.
 */
#ifndef PTIO_DTYPE_H
#define PTIO_DTYPE_H

#include "base.h"

typedef enum {
#define DTYPE(id, torch, item, per_item, swap, kind, storage, numpy) PTIO_##id,
#include "dtypes.def"
#undef DTYPE
    PTIO_DTYPE_COUNT
} ptio_dtype;

typedef enum {
    PTIO_KIND_INTEGER, /* bool too */
    PTIO_KIND_FLOAT,
    PTIO_KIND_COMPLEX,
    PTIO_KIND_QUANTIZED,
    PTIO_KIND_BITS
} ptio_dtype_kind;

typedef struct {
    const char *torch_name;
    const char *storage_class; /* prefix of torch.<X>Storage, "" if stored untyped */
    const char *numpy_name;
    uint8_t item_bytes;
    uint8_t per_item;
    uint8_t swap_bytes;
    uint8_t kind;
} ptio_dtype_info;

const ptio_dtype_info *ptio_dtype_get(ptio_dtype dtype);

/* Reverses the byte order of every item, in place; n is in bytes. */
void ptio_swap_items(uint8_t *bytes, uint64_t n, unsigned swap_bytes);

#endif
