/* SPDX-License-Identifier: Apache-2.0
 *
 * Single tensors of an open checkpoint: where their bytes are, some of their
 * elements, and whether the system should have them at hand.
 */
#include "module.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../core/record_gather.h"

/* The storage of a tensor's or storage's node, proven to have a record. */
static int find_storage(const ptio_checkpoint_object *self, PyObject *number, const ptio_tensor **tensor,
                        const ptio_storage **out) {
    const ptio_checkpoint *c = &self->checkpoint;
    ptio_ref ref;
    if (ptio_checkpoint_node(self, number, &ref) < 0) return -1;
    const ptio_node *node = &c->graph.nodes[ptio_follow(&c->graph, ref)];
    *tensor = node->kind == PTIO_N_TENSOR ? &c->tensors[node->a] : NULL;
    uint32_t storage = ptio_storage_of_node(c, node);
    if (storage == PTIO_NO_STORAGE || c->storages[storage].record == PTIO_NO_RECORD) {
        PyErr_SetString(PyExc_ValueError, "this tensor has no bytes in the file");
        return -1;
    }
    *out = &c->storages[storage];
    return 0;
}

/* Whoever calls it has entered the source. */
static int prove(ptio_checkpoint_object *self, uint32_t record) {
    ptio_error err = {0};
    ptio_status status;
    if (ptio_turn_take(&self->turn) < 0) return -1;
    Py_BEGIN_ALLOW_THREADS status = ptio_source_unchanged(&self->source->source, &err);
    if (status == PTIO_OK)
        status = ptio_zip_prove(&self->source->source, &self->checkpoint.index, record, &err);
    Py_END_ALLOW_THREADS ptio_turn_give(&self->turn);
    if (status == PTIO_OK) return 0;
    ptio_raise(ptio_state_of_type(Py_TYPE(self)), &err, self->path, NULL);
    return -1;
}

static bool is_stored(const ptio_checkpoint_object *self, const ptio_storage *storage) {
    return self->checkpoint.index.records[storage->record].method == PTIO_ZIP_STORED;
}

static bool is_swapped(const ptio_checkpoint_object *self, const ptio_storage *storage) {
    return self->checkpoint.swap && storage->swap_bytes > 1;
}

/* Whether building it needs no copy of its bytes. */
static bool is_viewed(const ptio_checkpoint_object *self, const ptio_storage *storage) {
    const ptio_source *source = &self->source->source;
    const ptio_record *record = &self->checkpoint.index.records[storage->record];
    return source->mapping != NULL && is_stored(self, storage) && !is_swapped(self, storage) &&
           (uintptr_t)(source->bytes + record->data) % storage->alignment == 0;
}

/* (offset of the storage in the file, stored, viewed, swapped, conj, neg) */
PyObject *ptio_checkpoint_place(ptio_checkpoint_object *self, PyObject *number) {
    const ptio_storage *storage;
    const ptio_tensor *tensor;
    if (find_storage(self, number, &tensor, &storage) < 0 || ptio_source_enter(self->source) < 0) return NULL;
    PyObject *result = NULL;
    unsigned flags = tensor == NULL ? 0 : tensor->flags;
    if (prove(self, storage->record) == 0)
        result = Py_BuildValue(
            "KOOOOO",
            (unsigned long long)(self->checkpoint.index.records[storage->record].data + storage->offset),
            is_stored(self, storage) ? Py_True : Py_False, is_viewed(self, storage) ? Py_True : Py_False,
            is_swapped(self, storage) ? Py_True : Py_False, flags & PTIO_T_CONJ ? Py_True : Py_False,
            flags & PTIO_T_NEG ? Py_True : Py_False);
    ptio_source_leave(self->source);
    return result;
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

/* The storage is proven, and its source entered. */
static ptio_status gather(ptio_checkpoint_object *self, const ptio_storage *storage,
                          const ptio_region *region, const ptio_read_options *options, PyArrayObject *out,
                          ptio_error *err) {
    ptio_status status;
    uint8_t *bytes = PyArray_DATA(out);
    size_t size = (size_t)PyArray_NBYTES(out);
    Py_BEGIN_ALLOW_THREADS status = ptio_record_gather(&self->source->source, &self->checkpoint.index,
                                                       storage->record, region, options, bytes, err);
    if (status == PTIO_OK && is_swapped(self, storage)) ptio_swap_items(bytes, size, storage->swap_bytes);
    Py_END_ALLOW_THREADS return status;
}

/* node, bytes of the storage before the first element, bytes between elements, a writable array,
 * whether to check the CRC where all of the storage is read, threads */
PyObject *ptio_checkpoint_gather(ptio_checkpoint_object *self, PyObject *args) {
    PyObject *number, *strides;
    PyArrayObject *out;
    unsigned long long begin;
    const ptio_storage *storage;
    const ptio_tensor *tensor;
    ptio_region region;
    ptio_error err = {0};
    ptio_ticker ticker = {NULL};
    int verify;
    unsigned threads;
    if (!PyArg_ParseTuple(args, "OKO!O!pI:gather", &number, &begin, &PyTuple_Type, &strides, &PyArray_Type,
                          &out, &verify, &threads))
        return NULL;
    if (PyArray_FailUnlessWriteable(out, "out") < 0 || make_region(out, begin, strides, &region) < 0 ||
        find_storage(self, number, &tensor, &storage) < 0)
        return NULL;
    if (!is_stored(self, storage) || (is_swapped(self, storage) && !PyArray_IS_C_CONTIGUOUS(out)))
        return PyErr_Format(PyExc_ValueError, "gather() cannot read this storage into this array");
    if (!ptio_add_u64(region.begin, storage->offset, &region.begin)) region.begin = UINT64_MAX;
    if (ptio_source_enter(self->source) < 0) return NULL;
    ptio_read_options options = {
        .never_verify = !verify, .threads = threads, .tick = ptio_tick, .tick_context = &ticker};
    bool proven = prove(self, storage->record) == 0; /* so that gathering needs no turn */
    ptio_status status = proven ? gather(self, storage, &region, &options, out, &err) : PTIO_OK;
    ptio_source_leave(self->source);
    if (proven && status == PTIO_OK) Py_RETURN_NONE;
    if (proven) ptio_raise(ptio_state_of_type(Py_TYPE(self)), &err, self->path, NULL);
    return NULL;
}

/* --- advise ------------------------------------------------------------------------------- */

/* The system reads no more than this for one request, whatever it is asked for. */
#define READ_AHEAD (UINT64_C(128) << 10)

static void fetch(int fd, uint64_t offset, uint64_t size) {
#ifdef POSIX_FADV_WILLNEED
    for (uint64_t at = 0; at < size; at += READ_AHEAD)
        (void)posix_fadvise(fd, (off_t)(offset + at), (off_t)ptio_min_u64(READ_AHEAD, size - at),
                            POSIX_FADV_WILLNEED);
#else
    (void)fd, (void)offset, (void)size;
#endif
}

/* Pages that a process has changed are its own and stay: PAGEOUT writes them to swap, if
 * there is any, and drops those that are still the file's. DONTNEED would lose them. */
static void drop_pages(const ptio_block *mapping, uint64_t offset, uint64_t size) {
#ifdef MADV_PAGEOUT
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t first = (uintptr_t)ptio_block_bytes(mapping) + (uintptr_t)offset;
    uintptr_t begin = first / page * page;
    (void)madvise((void *)begin, (size_t)(first + (uintptr_t)size - begin), MADV_PAGEOUT);
#else
    (void)mapping, (void)offset, (void)size;
#endif
}

static void drop(const ptio_source *source, uint64_t offset, uint64_t size) {
    if (source->mapping != NULL) drop_pages(source->mapping, offset, size);
#ifdef POSIX_FADV_DONTNEED
    (void)posix_fadvise(source->fd, (off_t)offset, (off_t)size, POSIX_FADV_DONTNEED);
#endif
}

/* node, whether it will be needed soon. Only hints: what the system cannot do it does not. */
PyObject *ptio_checkpoint_advise(ptio_checkpoint_object *self, PyObject *args) {
    PyObject *number;
    const ptio_storage *storage;
    const ptio_tensor *tensor;
    int needed;
    if (!PyArg_ParseTuple(args, "Op:advise", &number, &needed) ||
        find_storage(self, number, &tensor, &storage) < 0 || ptio_source_enter(self->source) < 0)
        return NULL;
    bool proven = prove(self, storage->record) == 0;
    const ptio_source *source = &self->source->source;
    const ptio_record *record = &self->checkpoint.index.records[storage->record];
    uint64_t offset = source->fd_base + record->data;
    if (proven && record->csize > 0 && source->fd >= 0) {
        Py_BEGIN_ALLOW_THREADS if (needed) fetch(source->fd, offset, record->csize);
        else drop(source, offset, record->csize);
        Py_END_ALLOW_THREADS
    }
    ptio_source_leave(self->source);
    return proven ? Py_NewRef(Py_None) : NULL;
}
