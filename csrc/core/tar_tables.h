/* SPDX-License-Identifier: Apache-2.0
 *
 * What the members `storages` and `tensors` of a torch 0.1 file say: lists, by the
 * numbers with which the object's pickle refers to them.
 */
#ifndef PTIO_TAR_TABLES_H
#define PTIO_TAR_TABLES_H

#include "legacy.h"

enum { PTIO_TAR_LOCATION = 128 };

typedef struct {
    int64_t id;
    uint64_t data;   /* where its bytes lie in the file; of a view: those of its root */
    uint64_t offset; /* of a view, in bytes */
    uint64_t bytes;
    uint32_t root; /* the one it is a view of; of others, itself */
    uint8_t dtype;
    uint8_t location_size;
    char location[PTIO_TAR_LOCATION];
} ptio_tar_storage;

typedef struct {
    int64_t id;
    int64_t offset; /* in elements */
    size_t dims;    /* index into `dims`: ndim sizes, then ndim strides */
    uint32_t storage;
    uint32_t ndim;
    ptio_ref node; /* the first that stands for it; 0 while there is none */
} ptio_tar_tensor;

typedef struct {
    int64_t id;
    uint32_t number;
    bool is_tensor;
} ptio_tar_id;

struct ptio_tar {
    ptio_tar_storage *storages;
    size_t storage_count, storage_capacity;
    ptio_tar_tensor *tensors;
    size_t tensor_count, tensor_capacity;
    int64_t *dims;
    size_t dim_count, dim_capacity;
    ptio_tar_id *ids; /* sorted */
    size_t id_count, id_capacity;
};

/* Reads one member after the other. On failure, too, the caller frees the tables. */
ptio_status ptio_tar_read_storages(ptio_pickle_series *series, const ptio_checkpoint_options *options,
                                   ptio_tar *tar, ptio_error *err) PTIO_MUST_CHECK;
ptio_status ptio_tar_read_tensors(ptio_pickle_series *series, const ptio_checkpoint_options *options,
                                  ptio_tar *tar, ptio_error *err) PTIO_MUST_CHECK;
void ptio_tar_free(ptio_tar *tar);

/* NULL where nothing has this number. */
const ptio_tar_id *ptio_tar_lookup(const ptio_tar *tar, int64_t id);

#endif
