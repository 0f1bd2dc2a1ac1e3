/* SPDX-License-Identifier: Apache-2.0
 *
 * The part of DLPack's ABI that hands memory to torch, from the DLPack 1.3
 * specification. A tensor describes memory; its deleter gives the memory back,
 * on any thread and without the GIL.
 */
#ifndef PTIO_DLPACK_ABI_H
#define PTIO_DLPACK_ABI_H

#include <stdint.h>

enum { DLPACK_MAJOR = 1, DLPACK_MINOR = 0 };
enum { DLPACK_CPU = 1 };

enum {
    DLPACK_INT = 0,
    DLPACK_UINT = 1,
    DLPACK_FLOAT = 2,
    DLPACK_BFLOAT = 4,
    DLPACK_COMPLEX = 5,
    DLPACK_BOOL = 6,
    DLPACK_FLOAT8_E4M3FN = 10,
    DLPACK_FLOAT8_E4M3FNUZ = 11,
    DLPACK_FLOAT8_E5M2 = 12,
    DLPACK_FLOAT8_E5M2FNUZ = 13,
    DLPACK_FLOAT8_E8M0FNU = 14
};

typedef struct {
    uint32_t major, minor;
} dlpack_version;

typedef struct {
    uint8_t code, bits;
    uint16_t lanes;
} dlpack_dtype;

typedef struct {
    void *data;
    int32_t device_type, device_id;
    int32_t ndim;
    dlpack_dtype dtype;
    int64_t *shape;
    int64_t *strides; /* in elements */
    uint64_t byte_offset;
} dlpack_tensor;

/* Capsule "dltensor": before DLPack 1.0. */
typedef struct dlpack_managed {
    dlpack_tensor tensor;
    void *context;
    void (*deleter)(struct dlpack_managed *self);
} dlpack_managed;

/* Capsule "dltensor_versioned". */
typedef struct dlpack_managed_versioned {
    dlpack_version version;
    void *context;
    void (*deleter)(struct dlpack_managed_versioned *self);
    uint64_t flags;
    dlpack_tensor tensor;
} dlpack_managed_versioned;

/* Capsule "dlpack_exchange_api", the attribute __dlpack_c_exchange_api__ of a tensor type.
 * Functions that are not used here are only placed. */
typedef struct dlpack_exchange_api {
    dlpack_version version;
    struct dlpack_exchange_api *older;
    int (*allocate)(void);
    int (*export_tensor)(void);
    /* Steals managed; 0, or -1 with an exception. */
    int (*import_tensor)(dlpack_managed_versioned *managed, void **out_object);
    /* Borrows: valid while the object is. 0, or -1 with an exception. */
    int (*view_tensor)(void *object, dlpack_tensor *out);
    int (*current_stream)(void);
} dlpack_exchange_api;

#endif
