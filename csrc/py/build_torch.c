/* SPDX-License-Identifier: Apache-2.0
 *
 * Tensors, and all else that is torch's, as torch makes it. A tensor that fills its storage
 * is handed over through DLPack without a call of Python. Others view their storage by
 * set_(), as torch.load's do: they share memory and are not each other's autograd views.
 * What is rare comes from the ring (ptio/torch/_ring.py), by torch's own functions.
 */
#include "dlpack_abi.h"
#include "module.h"

/* --- the ring ------------------------------------------------------------------------------ */

static const ptio_attribute ring_parts[] = {{"Tensor", offsetof(ptio_ring, tensor_type)},
                                            {"Parameter", offsetof(ptio_ring, parameter_type)},
                                            {"make_subclass", offsetof(ptio_ring, subclass)},
                                            {"dtypes", offsetof(ptio_ring, dtypes)},
                                            {"untyped", offsetof(ptio_ring, untyped)},
                                            {"meta_storage", offsetof(ptio_ring, meta_storage)},
                                            {"typed", offsetof(ptio_ring, typed)},
                                            {"view", offsetof(ptio_ring, view)},
                                            {"meta", offsetof(ptio_ring, meta)},
                                            {"set_bits", offsetof(ptio_ring, set_bits)},
                                            {"set_state", offsetof(ptio_ring, set_state)},
                                            {"place", offsetof(ptio_ring, place)},
                                            {"makers", offsetof(ptio_ring, makers)},
                                            {"call", offsetof(ptio_ring, call)},
                                            {"fill", offsetof(ptio_ring, fill)},
                                            {NULL}};

int ptio_ring_init(ptio_ring *ring, PyObject *object, bool without_data) {
    memset(ring, 0, sizeof *ring);
    ring->without_data = without_data;
    ring->last_location = PTIO_NO_NODE;
    if (ptio_read_attributes(object, ring_parts, ring) < 0) return -1;
    return ptio_find_exchange_api(ring->tensor_type, &ring->api);
}

void ptio_ring_clear(ptio_ring *ring) {
    ptio_clear_attributes(ring_parts, ring);
    for (size_t i = 0; i < PTIO_DTYPE_COUNT; i++) Py_CLEAR(ring->torch_dtypes[i]);
    Py_CLEAR(ring->last_place);
}

/* torch.<dtype>, borrowed. */
static PyObject *dtype_of(ptio_ring *ring, uint8_t dtype) {
    PyObject **slot = &ring->torch_dtypes[dtype];
    if (*slot == NULL) {
        PyObject *name = PyUnicode_FromString(ptio_dtype_get(dtype)->torch_name);
        if (name != NULL) *slot = PyObject_GetItem(ring->dtypes, name);
        Py_XDECREF(name);
    }
    return *slot;
}

static PyObject *make_dtype(ptio_builder *b, ptio_dtype dtype) {
    return Py_XNewRef(dtype_of(b->ring, (uint8_t)dtype));
}

/* --- storages -------------------------------------------------------------------------------- */

/* What moves storages with this location tag to their device, or None for those that stay: borrowed. */
static PyObject *place_of(ptio_ring *ring, const ptio_graph *graph, const ptio_storage *storage) {
    if (ring->last_location != storage->location) {
        const ptio_node *tag = &graph->nodes[storage->location];
        PyObject *text = ptio_shown_text(ptio_text(graph, tag), tag->a);
        PyObject *place = text == NULL ? NULL : PyObject_CallOneArg(ring->place, text);
        Py_XDECREF(text);
        if (place == NULL) return NULL;
        Py_XSETREF(ring->last_place, place);
        ring->last_location = storage->location;
    }
    return ring->last_place;
}

int ptio_ring_check_places(ptio_ring *ring, const ptio_checkpoint *c) {
    for (size_t i = 0; i < c->storage_count && !ring->without_data; i++)
        if (place_of(ring, &c->graph, &c->storages[i]) == NULL) return -1;
    return 0;
}

static bool is_loaded(const ptio_builder *b, uint32_t number) {
    const ptio_storage *storage = &b->c->storages[number];
    return !b->ring->without_data && storage->record != PTIO_NO_RECORD;
}

static PyObject *storage_of(ptio_builder *b, uint32_t number);

static PyObject *import_storage(ptio_builder *b, uint32_t number) {
    const ptio_storage *storage = &b->c->storages[number];
    if (!is_loaded(b, number)) {
        uint64_t at = storage->record == PTIO_NO_RECORD
                          ? 0
                          : b->c->index.records[storage->record].data + storage->offset;
        return PyObject_CallFunction(b->ring->meta_storage, "KK", storage->bytes, at);
    }
    ptio_wanted nothing = {.block = NULL}, *wanted = &nothing;
    if (storage->bytes > 0) wanted = ptio_wanted_of(b->loaded, number);
    ptio_block *block = wanted->block == NULL ? NULL : ptio_block_ref(wanted->block);
    PyObject *object = ptio_storage_new(b->state, block, wanted->bytes, storage->bytes);
    PyObject *untyped = object == NULL ? NULL : PyObject_CallOneArg(b->ring->untyped, object);
    Py_XDECREF(object);
    return untyped;
}

/* A new torch.UntypedStorage where it belongs. */
static PyObject *placed_storage(ptio_builder *b, uint32_t number) {
    const ptio_storage *storage = &b->c->storages[number];
    PyObject *untyped = import_storage(b, number);
    PyObject *place = untyped == NULL ? NULL : place_of(b->ring, b->graph, storage);
    if (place == NULL) Py_CLEAR(untyped);
    if (untyped == NULL || place == Py_None || !is_loaded(b, number)) return untyped;
    Py_INCREF(place); /* it may ask for other tags */
    PyObject *moved = PyObject_CallOneArg(place, untyped);
    if (moved == NULL) b->ring->their_code = true;
    Py_DECREF(place);
    Py_DECREF(untyped);
    if (moved != NULL && storage->bytes > 0) { /* nobody asks for it again: see storage_of */
        ptio_wanted *wanted = ptio_wanted_of(b->loaded, number);
        ptio_block_unref(wanted->block);
        wanted->block = NULL;
    }
    return moved;
}

/* A view shares the memory of its root, wherever that was placed. */
static PyObject *view_of_root(ptio_builder *b, uint32_t number) {
    const ptio_storage *view = &b->c->storages[number];
    PyObject *root = storage_of(b, view->root);
    if (root == NULL) return NULL;
    PyObject *part =
        PySequence_GetSlice(root, (Py_ssize_t)view->offset, (Py_ssize_t)(view->offset + view->bytes));
    Py_DECREF(root);
    return part;
}

/* The storage that all of its tensors share, a new reference. torch never shares empty ones,
 * nor those without data. */
static PyObject *storage_of(ptio_builder *b, uint32_t number) {
    PyObject **shared = &b->loaded->objects[number];
    if (*shared == NULL) {
        bool view = b->c->storages[number].root != number && is_loaded(b, number);
        PyObject *untyped = view ? view_of_root(b, number) : placed_storage(b, number);
        if (untyped != NULL && b->c->storages[number].bytes > 0 && is_loaded(b, number))
            *shared = Py_NewRef(untyped);
        return untyped;
    }
    if (Py_TYPE(*shared) == (PyTypeObject *)b->ring->tensor_type) { /* handed over by its first tensor */
        PyObject *untyped = PyObject_CallMethod(*shared, "untyped_storage", NULL);
        if (untyped == NULL) return NULL;
        Py_SETREF(*shared, untyped);
    }
    return Py_NewRef(*shared);
}

/* A bare storage: torch.storage.TypedStorage, one for each storage. */
static PyObject *make_storage(ptio_builder *b, const ptio_node *node) {
    uint32_t number = node->a;
    PyObject *dtype = dtype_of(b->ring, b->c->storages[number].dtype);
    PyObject *untyped = dtype == NULL ? NULL : storage_of(b, number);
    PyObject *typed =
        untyped == NULL ? NULL : PyObject_CallFunction(b->ring->typed, "IOO", number, untyped, dtype);
    Py_XDECREF(untyped);
    return typed;
}

/* --- tensors ----------------------------------------------------------------------------------- */

/* What torch takes from DLPack; bits 0: it has no such type there. */
static const dlpack_dtype dlpack_dtypes[PTIO_DTYPE_COUNT] = {
    [PTIO_FLOAT64] = {DLPACK_FLOAT, 64, 1},
    [PTIO_FLOAT32] = {DLPACK_FLOAT, 32, 1},
    [PTIO_FLOAT16] = {DLPACK_FLOAT, 16, 1},
    [PTIO_BFLOAT16] = {DLPACK_BFLOAT, 16, 1},
    [PTIO_INT64] = {DLPACK_INT, 64, 1},
    [PTIO_INT32] = {DLPACK_INT, 32, 1},
    [PTIO_INT16] = {DLPACK_INT, 16, 1},
    [PTIO_INT8] = {DLPACK_INT, 8, 1},
    [PTIO_UINT64] = {DLPACK_UINT, 64, 1},
    [PTIO_UINT32] = {DLPACK_UINT, 32, 1},
    [PTIO_UINT16] = {DLPACK_UINT, 16, 1},
    [PTIO_UINT8] = {DLPACK_UINT, 8, 1},
    [PTIO_BOOL] = {DLPACK_BOOL, 8, 1},
    [PTIO_COMPLEX128] = {DLPACK_COMPLEX, 128, 1},
    [PTIO_COMPLEX64] = {DLPACK_COMPLEX, 64, 1},
    [PTIO_FLOAT8_E4M3FN] = {DLPACK_FLOAT8_E4M3FN, 8, 1},
    [PTIO_FLOAT8_E4M3FNUZ] = {DLPACK_FLOAT8_E4M3FNUZ, 8, 1},
    [PTIO_FLOAT8_E5M2] = {DLPACK_FLOAT8_E5M2, 8, 1},
    [PTIO_FLOAT8_E5M2FNUZ] = {DLPACK_FLOAT8_E5M2FNUZ, 8, 1},
    [PTIO_FLOAT8_E8M0FNU] = {DLPACK_FLOAT8_E8M0FNU, 8, 1},
};

/* From the storage's first element to its last. */
static bool fills_storage(const ptio_checkpoint *c, const ptio_tensor *tensor) {
    const int64_t *sizes = ptio_tensor_sizes(c, tensor), *strides = ptio_tensor_strides(c, tensor);
    uint64_t count = c->storages[tensor->storage].bytes / ptio_dtype_get(tensor->dtype)->item_bytes, last = 0;
    if (tensor->offset != 0 || tensor->elements == 0) return false;
    if (tensor->contiguous) return tensor->elements == count;
    for (size_t i = 0; i < tensor->ndim; i++) last += (uint64_t)(sizes[i] - 1) * (uint64_t)strides[i];
    return last + 1 == count;
}

/* 1: *out is the tensor, which owns a reference to the block; 0: it takes the other way. */
static int hand_over(ptio_builder *b, const ptio_tensor *tensor, PyObject **out) {
    uint32_t number = tensor->storage;
    const dlpack_exchange_api *api = b->ring->api;
    void *object = NULL;
    if (b->c->storages[number].root != number) return 0;
    if (api == NULL || dlpack_dtypes[tensor->dtype].bits == 0 || !is_loaded(b, number) ||
        b->loaded->objects[number] != NULL || !fills_storage(b->c, tensor))
        return 0;
    PyObject *place = place_of(b->ring, b->graph, &b->c->storages[number]);
    if (place == NULL) return -1;
    if (place != Py_None) return 0;
    const ptio_wanted *wanted = ptio_wanted_of(b->loaded, number);
    dlpack_managed_versioned *managed =
        ptio_dlpack_new(wanted->block, wanted->bytes, dlpack_dtypes[tensor->dtype],
                        ptio_tensor_sizes(b->c, tensor), ptio_tensor_strides(b->c, tensor), tensor->ndim);
    if (managed == NULL || api->import_tensor(managed, &object) < 0) return -1;
    *out = object;
    b->loaded->objects[number] = Py_NewRef(object);
    return 1;
}

/* make(storage or nothing, dtype, offset, size, stride) */
static PyObject *make_view(ptio_builder *b, const ptio_tensor *tensor) {
    bool meta = tensor->storage == PTIO_NO_STORAGE;
    PyObject *dtype = dtype_of(b->ring, tensor->dtype);
    PyObject *storage = meta ? Py_NewRef(Py_None) : storage_of(b, tensor->storage);
    PyObject *size = ptio_int_tuple(ptio_tensor_sizes(b->c, tensor), tensor->ndim);
    PyObject *stride = ptio_int_tuple(ptio_tensor_strides(b->c, tensor), tensor->ndim);
    PyObject *offset = PyLong_FromUnsignedLongLong(tensor->offset), *result = NULL;
    if (dtype && storage && size && stride && offset) {
        PyObject *arguments[] = {storage, dtype, offset, size, stride};
        result = meta ? PyObject_CallFunctionObjArgs(b->ring->meta, dtype, size, stride, NULL)
                      : PyObject_Vectorcall(b->ring->view, arguments, 5, NULL);
    }
    Py_XDECREF(offset);
    Py_XDECREF(stride);
    Py_XDECREF(size);
    Py_XDECREF(storage);
    return result;
}

static PyObject *make_tensor(ptio_builder *b, const ptio_node *node) {
    const ptio_tensor *tensor = &b->c->tensors[node->a];
    PyObject *result = NULL;
    int taken = tensor->storage == PTIO_NO_STORAGE ? 0 : hand_over(b, tensor, &result);
    if (taken == 0) result = make_view(b, tensor);
    if (result != NULL && tensor->flags & PTIO_T_REQUIRES_GRAD &&
        PyObject_SetAttrString(result, "requires_grad", Py_True) < 0)
        Py_CLEAR(result);
    if (result != NULL && tensor->flags & (PTIO_T_CONJ | PTIO_T_NEG)) {
        PyObject *done = PyObject_CallFunction(b->ring->set_bits, "OOO", result,
                                               tensor->flags & PTIO_T_CONJ ? Py_True : Py_False,
                                               tensor->flags & PTIO_T_NEG ? Py_True : Py_False);
        if (done == NULL) Py_CLEAR(result);
        Py_XDECREF(done);
    }
    return result;
}

PyObject *ptio_build_parameter(ptio_builder *b, const ptio_node *node) {
    ptio_ring *ring = b->ring;
    PyObject *data = b->objects[node->a], *grad = node->sub ? Py_True : Py_False, *parameter;
    PyObject *arguments[] = {ring->parameter_type, data, grad};
    if (Py_TYPE(data) == (PyTypeObject *)ring->tensor_type)
        parameter = PyObject_Vectorcall(ring->subclass, arguments, 3, NULL);
    else
        parameter = PyObject_Vectorcall(ring->parameter_type, arguments + 1, 2, NULL);
    if (parameter == NULL || node->b == PTIO_NODE_NONE) return parameter;
    PyObject *result = PyObject_CallFunctionObjArgs(ring->set_state, parameter, b->objects[node->b], NULL);
    Py_DECREF(parameter);
    return result;
}

/* --- classes, functions and their calls ---------------------------------------------------------- */

static PyObject *make_global(ptio_builder *b, ptio_ref ref) {
    uint32_t number = b->judging->of_global[b->graph->nodes[ref].sub];
    if (number == 0) return ptio_build_opaque(b, ref);
    return Py_NewRef(ptio_judged_object(b->judging, number - 1));
}

enum { H = 0, N = 0, P = 0, T = 1 };
static const struct {
    const char *name;
    bool torch_makes;
} makers[PTIO_MAKER_COUNT] = {
#define MAKER(token, handler, fewest, most, fills, traits) {#token, ((traits) & T) != 0},
#include "../core/makers.def"
#undef MAKER
};

static PyObject *make_made(ptio_builder *b, const ptio_node *node) {
    if (!makers[node->sub].torch_makes) return ptio_build_made(b, node);
    PyObject *function = PyMapping_GetItemString(b->ring->makers, makers[node->sub].name);
    PyObject *result = function == NULL ? NULL : PyObject_Call(function, b->objects[node->b], NULL);
    Py_XDECREF(function);
    return result;
}

PyObject *ptio_build_foreign(ptio_builder *b, const ptio_node *node) {
    return Py_NewRef(ptio_judged_object(b->judging, node->sub));
}

PyObject *ptio_build_foreign_call(ptio_builder *b, const ptio_node *node) {
    PyObject *callee = b->objects[ptio_follow(b->graph, node->a)], *arguments = b->objects[node->b];
    b->ring->their_code = true;
    if (node->sub == PTIO_CALL) return PyObject_Call(callee, arguments, NULL);
    return PyObject_CallFunction(b->ring->call, "iOO", (int)node->sub, callee, arguments);
}

int ptio_fill_foreign(ptio_builder *b, PyObject *target, const ptio_node *fill) {
    PyObject *items = PyTuple_New(fill->count), *result = NULL;
    for (uint32_t i = 0; items != NULL && i < fill->count; i++)
        PyTuple_SET_ITEM(items, i, Py_NewRef(ptio_item(b, fill, i)));
    if (items != NULL)
        result = PyObject_CallFunction(b->ring->fill, "iOO", (int)fill->kind - PTIO_N_APPEND, target, items);
    Py_XDECREF(items);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

const ptio_values ptio_torch_values = {make_tensor, make_storage, make_dtype, make_global, make_made};
