/* SPDX-License-Identifier: Apache-2.0
 *
 * Single tensors of an open checkpoint: where their bytes are, some of their
 * elements, and whether the system should have them at hand.
 */
#include "module.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../core/crc.h"
#include "../core/record_gather.h"
#include "../core/record_plan.h"

/* The storage of a tensor's or storage's node, proven to have a record. */
static int find_storage(const ptio_checkpoint_object *self, PyObject *number, const ptio_storage **out) {
    const ptio_checkpoint *c = &self->checkpoint;
    ptio_ref ref;
    if (ptio_checkpoint_node(self, number, &ref) < 0) return -1;
    const ptio_node *node = &c->graph.nodes[ref];
    uint32_t storage = node->kind == PTIO_N_STORAGE  ? node->a
                       : node->kind == PTIO_N_TENSOR ? c->tensors[node->a].storage
                                                     : PTIO_NO_STORAGE;
    if (storage == PTIO_NO_STORAGE || c->storages[storage].record == PTIO_NO_RECORD) {
        PyErr_SetString(PyExc_ValueError, "this tensor has no bytes in the file");
        return -1;
    }
    *out = &c->storages[storage];
    return 0;
}

static int prove(ptio_checkpoint_object *self, const ptio_storage *storage) {
    ptio_error err = {0};
    ptio_status status;
    Py_BEGIN_ALLOW_THREADS PyThread_acquire_lock(self->lock, WAIT_LOCK);
    status = ptio_zip_prove(&self->source->source, &self->checkpoint.index, storage->record, &err);
    PyThread_release_lock(self->lock);
    Py_END_ALLOW_THREADS if (status == PTIO_OK) return 0;
    ptio_raise(ptio_state_of_type(Py_TYPE(self)), &err, self->path, NULL);
    return -1;
}

static bool is_stored(const ptio_checkpoint_object *self, const ptio_storage *storage) {
    return self->checkpoint.index.records[storage->record].method == PTIO_ZIP_STORED;
}

/* (offset of the storage in the file, whether the bytes there are the tensor's values) */
PyObject *ptio_checkpoint_place(ptio_checkpoint_object *self, PyObject *number) {
    const ptio_checkpoint *c = &self->checkpoint;
    const ptio_storage *storage;
    ptio_ref ref;
    if (find_storage(self, number, &storage) < 0 || prove(self, storage) < 0 ||
        ptio_checkpoint_node(self, number, &ref) < 0)
        return NULL;
    const ptio_node *node = &c->graph.nodes[ref];
    bool flipped = node->kind == PTIO_N_TENSOR && c->tensors[node->a].flags & (PTIO_T_CONJ | PTIO_T_NEG);
    bool swapped = c->swap && storage->swap_bytes > 1;
    return Py_BuildValue("KO", (unsigned long long)(c->index.records[storage->record].data + storage->offset),
                         is_stored(self, storage) && !swapped && !flipped ? Py_True : Py_False);
}

/* --- gather ------------------------------------------------------------------------------- */

static int make_region(PyArrayObject *out, unsigned long long begin, PyObject *strides, ptio_region *region) {
    int ndim = PyArray_NDIM(out);
    if (PyTuple_GET_SIZE(strides) != ndim || ndim > PTIO_MAX_DIMS || PyArray_ITEMSIZE(out) <= 0) {
        PyErr_SetString(PyExc_ValueError, "gather() takes one stride for each dimension of the array");
        return -1;
    }
    region->begin = begin;
    region->item = (uint64_t)PyArray_ITEMSIZE(out);
    region->ndim = (size_t)ndim;
    for (int i = 0; i < ndim; i++) {
        long long stride = PyLong_AsLongLong(PyTuple_GET_ITEM(strides, i));
        if (stride == -1 && PyErr_Occurred()) return -1;
        region->sizes[i] = (uint64_t)PyArray_DIM(out, i);
        region->strides[i] = stride;
        region->steps[i] = PyArray_STRIDE(out, i);
    }
    return 0;
}

/* Whether out holds the bytes of the record as they lie there. */
static bool is_whole_record(const ptio_checkpoint_object *self, const ptio_storage *storage,
                            const ptio_region *region, PyArrayObject *out) {
    uint64_t step = region->item;
    if (!PyArray_IS_C_CONTIGUOUS(out) || region->begin != 0) return false;
    for (size_t i = region->ndim; i > 0; i--) {
        if (region->sizes[i - 1] != 1 && (uint64_t)region->strides[i - 1] != step) return false;
        step *= region->sizes[i - 1];
    }
    return step == self->checkpoint.index.records[storage->record].usize;
}

/* node, bytes of the storage before the first element, bytes between elements, a writable array,
 * whether to check the CRC where all of the storage is read */
PyObject *ptio_checkpoint_gather(ptio_checkpoint_object *self, PyObject *args) {
    PyObject *number, *strides;
    PyArrayObject *out;
    unsigned long long begin;
    const ptio_storage *storage;
    ptio_region region;
    ptio_error err = {0};
    ptio_status status;
    int verify;
    if (!PyArg_ParseTuple(args, "OKO!O!p:gather", &number, &begin, &PyTuple_Type, &strides, &PyArray_Type,
                          &out, &verify))
        return NULL;
    if (PyArray_FailUnlessWriteable(out, "out") < 0 || make_region(out, begin, strides, &region) < 0 ||
        find_storage(self, number, &storage) < 0)
        return NULL;
    if (!is_stored(self, storage)) return PyErr_Format(PyExc_ValueError, "the storage is compressed");
    if (!ptio_add_u64(region.begin, storage->offset, &region.begin)) region.begin = UINT64_MAX;
    if (prove(self, storage) < 0) return NULL; /* so that reading needs no lock */
    Py_BEGIN_ALLOW_THREADS status = ptio_record_gather(&self->source->source, &self->checkpoint.index,
                                                       storage->record, &region, PyArray_DATA(out), &err);
    if (status == PTIO_OK && verify && is_whole_record(self, storage, &region, out))
        status = ptio_record_check_crc(&self->checkpoint.index, storage->record,
                                       ptio_crc32(0, PyArray_DATA(out), (size_t)PyArray_NBYTES(out)), &err);
    Py_END_ALLOW_THREADS if (status == PTIO_OK) Py_RETURN_NONE;
    ptio_raise(ptio_state_of_type(Py_TYPE(self)), &err, self->path, NULL);
    return NULL;
}

/* --- advise ------------------------------------------------------------------------------- */

/* Pages that a process has changed are its own and stay: PAGEOUT writes them to swap, if
 * there is any, and drops those that are still the file's. */
static void advise_mapping(const ptio_block *mapping, uint64_t offset, uint64_t size, bool needed) {
#ifdef MADV_PAGEOUT
    const int drop = MADV_PAGEOUT;
#else
    const int drop = MADV_NORMAL;
#endif
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t first = (uintptr_t)ptio_block_bytes(mapping) + (uintptr_t)offset;
    uintptr_t begin = first / page * page;
    (void)madvise((void *)begin, (size_t)(first + (uintptr_t)size - begin), needed ? MADV_WILLNEED : drop);
}

static void advise_file(int fd, uint64_t offset, uint64_t size, bool needed) {
#ifdef POSIX_FADV_WILLNEED
    (void)posix_fadvise(fd, (off_t)offset, (off_t)size, needed ? POSIX_FADV_WILLNEED : POSIX_FADV_DONTNEED);
#else
    (void)fd, (void)offset, (void)size, (void)needed;
#endif
}

/* node, whether it will be needed soon. Only hints: what the system cannot do it does not. */
PyObject *ptio_checkpoint_advise(ptio_checkpoint_object *self, PyObject *args) {
    PyObject *number;
    const ptio_storage *storage;
    int needed;
    if (!PyArg_ParseTuple(args, "Op:advise", &number, &needed) || find_storage(self, number, &storage) < 0 ||
        prove(self, storage) < 0)
        return NULL;
    const ptio_source *source = &self->source->source;
    const ptio_record *record = &self->checkpoint.index.records[storage->record];
    uint64_t offset = source->fd_base + record->data;
    if (record->csize == 0) Py_RETURN_NONE;
    Py_BEGIN_ALLOW_THREADS if (source->mapping != NULL)
        advise_mapping(source->mapping, offset, record->csize, needed);
    if (source->fd >= 0) advise_file(source->fd, offset, record->csize, needed);
    Py_END_ALLOW_THREADS Py_RETURN_NONE;
}
