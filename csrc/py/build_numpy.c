/* SPDX-License-Identifier: Apache-2.0
 *
 * Tensors as NumPy arrays: views of their Storage, or ptio.RawTensor where
 * NumPy has no such type or no such shape.
 */
#include "module.h"

enum { PTIO_MAX_NUMPY_DIMS = 64 };

/* What NumPy at run time allows; the headers may be newer. */
static int max_dims(void) { return PyArray_RUNTIME_VERSION >= NPY_2_0_API_VERSION ? 64 : 32; }

static bool fits_numpy(const ptio_checkpoint *c, const ptio_tensor *tensor) {
    uint64_t bytes = ptio_dtype_get(tensor->dtype)->item_bytes;
    const int64_t *sizes = ptio_tensor_sizes(c, tensor);
    for (size_t i = 0; i < tensor->ndim; i++)
        if (sizes[i] != 0 && !ptio_mul_u64(bytes, (uint64_t)sizes[i], &bytes)) return false;
    return tensor->ndim <= max_dims() && bytes <= (uint64_t)NPY_MAX_INTP;
}

/* A view of `bytes`, which `base` keeps alive. */
static PyObject *make_view(PyObject *dtype, int ndim, npy_intp *sizes, npy_intp *strides, void *bytes,
                           ptio_storage_object *base) {
    int flags = strides == NULL ? NPY_ARRAY_CARRAY : NPY_ARRAY_WRITEABLE;
    Py_INCREF(dtype); /* stolen by the next call */
    PyObject *array =
        PyArray_NewFromDescr(&PyArray_Type, (PyArray_Descr *)dtype, ndim, sizes, strides, bytes, flags, NULL);
    if (array == NULL) return NULL;
    Py_INCREF(base); /* stolen by the next call, also when it fails */
    if (PyArray_SetBaseObject((PyArrayObject *)array, (PyObject *)base) < 0) Py_CLEAR(array);
    return array;
}

static PyObject *make_array(ptio_builder *b, const ptio_tensor *tensor, PyObject *dtype) {
    npy_intp sizes[PTIO_MAX_NUMPY_DIMS], strides[PTIO_MAX_NUMPY_DIMS];
    const int64_t *from_sizes = ptio_tensor_sizes(b->c, tensor),
                  *from_strides = ptio_tensor_strides(b->c, tensor);
    npy_intp item = ptio_dtype_get(tensor->dtype)->item_bytes;
    ptio_storage_object *storage = ptio_storages_get(b, tensor->storage);
    if (storage == NULL) return NULL;
    for (size_t i = 0; i < tensor->ndim; i++) {
        sizes[i] = (npy_intp)from_sizes[i];
        strides[i] = tensor->contiguous ? 0 : (npy_intp)((uint64_t)from_strides[i] * (uint64_t)item);
    }
    return make_view(dtype, tensor->ndim, sizes, tensor->contiguous ? NULL : strides,
                     storage->bytes + tensor->offset * (uint64_t)item, storage);
}

/* torch's conj and neg bits: the stored values stand for others. */
static PyObject *apply_bits(PyObject *array, uint8_t flags) {
    PyObject *result = array;
    if (flags & PTIO_T_CONJ) {
        result = PyArray_Conjugate((PyArrayObject *)array, NULL);
        Py_DECREF(array);
    }
    if (result != NULL && flags & PTIO_T_NEG) {
        array = result;
        result = PyNumber_Negative(array);
        Py_DECREF(array);
    }
    /* A ufunc makes a scalar of a 0-d array. */
    if (result != NULL && !PyArray_Check(result)) {
        array = result;
        result = PyArray_FromAny(array, NULL, 0, 0, NPY_ARRAY_WRITEABLE | NPY_ARRAY_ENSURECOPY, NULL);
        Py_DECREF(array);
    }
    return result;
}

/* --- what NumPy cannot express --------------------------------------------------------- */

PyObject *ptio_int_tuple(const int64_t *values, size_t count) {
    PyObject *tuple = PyTuple_New((Py_ssize_t)count);
    for (size_t i = 0; tuple != NULL && i < count; i++) {
        PyObject *value = PyLong_FromLongLong(values[i]);
        if (value == NULL)
            Py_CLEAR(tuple);
        else
            PyTuple_SET_ITEM(tuple, (Py_ssize_t)i, value);
    }
    return tuple;
}

/* Bytes from the tensor's first to its last element. */
static uint64_t span_of(const ptio_checkpoint *c, const ptio_tensor *tensor) {
    const ptio_dtype_info *info = ptio_dtype_get(tensor->dtype);
    const int64_t *sizes = ptio_tensor_sizes(c, tensor), *strides = ptio_tensor_strides(c, tensor);
    uint64_t last = tensor->offset;
    if (tensor->elements == 0) return 0;
    for (size_t i = 0; i < tensor->ndim; i++) last += (uint64_t)(sizes[i] - 1) * (uint64_t)strides[i];
    return (last / info->per_item - tensor->offset / info->per_item + 1) * info->item_bytes;
}

/* conj and neg of half-precision complex numbers are sign bits, too. */
static PyObject *flip_signs(PyObject *bytes, uint8_t flags) {
    PyObject *copy = PyArray_NewCopy((PyArrayObject *)bytes, NPY_CORDER);
    Py_DECREF(bytes);
    if (copy == NULL) return NULL;
    uint8_t *at = PyArray_DATA((PyArrayObject *)copy);
    uint8_t real = flags & PTIO_T_NEG ? 0x80 : 0;
    uint8_t imaginary = (uint8_t)(real ^ (flags & PTIO_T_CONJ ? 0x80 : 0));
    size_t high = NPY_BYTE_ORDER == NPY_LITTLE_ENDIAN ? 1 : 0;
    for (npy_intp left = PyArray_SIZE((PyArrayObject *)copy); left >= 4; left -= 4, at += 4) {
        at[high] ^= real;
        at[high + 2] ^= imaginary;
    }
    return copy;
}

/* Bytes of a storage as a 1-d uint8 array. */
static PyObject *view_bytes(ptio_builder *b, uint32_t number, uint64_t first, uint64_t size) {
    npy_intp length = (npy_intp)size;
    PyObject *byte = ptio_state_dtype(b->state, PTIO_UINT8);
    ptio_storage_object *storage = byte == NULL ? NULL : ptio_storages_get(b, number);
    return storage == NULL ? NULL : make_view(byte, 1, &length, NULL, storage->bytes + first, storage);
}

static PyObject *raw_bytes(ptio_builder *b, const ptio_tensor *tensor) {
    const ptio_dtype_info *info = ptio_dtype_get(tensor->dtype);
    uint64_t first = tensor->elements == 0 ? 0 : tensor->offset / info->per_item * info->item_bytes;
    PyObject *bytes = view_bytes(b, tensor->storage, first, span_of(b->c, tensor));
    bool flip = (tensor->flags & (PTIO_T_CONJ | PTIO_T_NEG)) && info->kind == PTIO_KIND_COMPLEX;
    return bytes != NULL && flip ? flip_signs(bytes, tensor->flags) : bytes;
}

/* RawTensor(dtype, shape, stride, data); data None for a tensor without any. Steals data. */
static PyObject *make_raw(ptio_builder *b, PyObject *dtype, const int64_t *sizes, const int64_t *strides,
                          size_t ndim, PyObject *data) {
    PyObject *types = ptio_state_types(b->state), *result = NULL;
    PyObject *shape = types == NULL ? NULL : ptio_int_tuple(sizes, ndim);
    PyObject *stride = shape == NULL ? NULL : ptio_int_tuple(strides, ndim);
    if (stride != NULL) result = PyObject_CallMethod(types, "RawTensor", "OOOO", dtype, shape, stride, data);
    Py_XDECREF(shape);
    Py_XDECREF(stride);
    Py_XDECREF(data);
    return result;
}

static PyObject *make_raw_tensor(ptio_builder *b, const ptio_tensor *tensor, PyObject *dtype) {
    PyObject *data = tensor->storage == PTIO_NO_STORAGE ? Py_NewRef(Py_None) : raw_bytes(b, tensor);
    if (data == NULL) return NULL;
    return make_raw(b, dtype, ptio_tensor_sizes(b->c, tensor), ptio_tensor_strides(b->c, tensor),
                    tensor->ndim, data);
}

/* --- quantized ------------------------------------------------------------------------------ */

/* quantizer: (scheme, scale, zero point) or (scheme, scales, zero points, axis) */
static PyObject *make_quantized(ptio_builder *b, const ptio_tensor *tensor, PyObject *values) {
    const ptio_node *quantizer = &b->graph->nodes[tensor->quantizer];
    PyObject *types = values == NULL ? NULL : ptio_state_types(b->state);
    PyObject *class = types == NULL ? NULL : PyObject_GetAttrString(types, "QuantizedTensor");
    PyObject *axis = quantizer->count == 4 ? ptio_item(b, quantizer, 3) : Py_None;
    PyObject *result = NULL;
    if (class != NULL)
        result = PyObject_CallMethod(class, "_from_rebuild", "OsOOOO", values,
                                     ptio_dtype_get(tensor->dtype)->torch_name, ptio_item(b, quantizer, 0),
                                     ptio_item(b, quantizer, 1), ptio_item(b, quantizer, 2), axis);
    Py_XDECREF(class);
    Py_XDECREF(values);
    return result;
}

static PyObject *make_tensor(ptio_builder *b, const ptio_node *node) {
    const ptio_tensor *tensor = &b->c->tensors[node->a];
    PyObject *dtype = ptio_state_dtype(b->state, tensor->dtype), *array;
    if (dtype == NULL) return NULL;
    if (!PyArray_DescrCheck(dtype) || tensor->storage == PTIO_NO_STORAGE || !fits_numpy(b->c, tensor)) {
        array = make_raw_tensor(b, tensor, dtype);
    } else {
        array = make_array(b, tensor, dtype);
        if (array != NULL && tensor->flags & (PTIO_T_CONJ | PTIO_T_NEG))
            array = apply_bits(array, tensor->flags);
    }
    return tensor->flags & PTIO_T_QUANTIZED ? make_quantized(b, tensor, array) : array;
}

static PyObject *make_storage(ptio_builder *b, const ptio_node *node) {
    uint32_t number = node->a;
    const ptio_storage *storage = &b->c->storages[number];
    bool has_data = storage->record != PTIO_NO_RECORD;
    PyObject *dtype = ptio_state_dtype(b->state, storage->dtype);
    npy_intp count = (npy_intp)(storage->bytes / ptio_dtype_get(storage->dtype)->item_bytes);
    if (dtype == NULL) return NULL;
    if (has_data && PyArray_DescrCheck(dtype)) {
        ptio_storage_object *object = ptio_storages_get(b, number);
        return object == NULL ? NULL : make_view(dtype, 1, &count, NULL, object->bytes, object);
    }
    const int64_t size = count, stride = 1;
    PyObject *data = has_data ? view_bytes(b, number, 0, storage->bytes) : Py_NewRef(Py_None);
    return data == NULL ? NULL : make_raw(b, dtype, &size, &stride, 1, data);
}

/* --- names ---------------------------------------------------------------------------------- */

static PyObject *make_dtype(ptio_builder *b, ptio_dtype dtype) {
    return ptio_state_dtype_value(b->state, dtype);
}

/* qschemes look as torch prints them; a class or function is data here. */
static PyObject *make_global(ptio_builder *b, ptio_ref ref) {
    const ptio_node *node = &b->graph->nodes[ref];
    const ptio_global *global = ptio_global_get(node->sub);
    if (node->kind == PTIO_N_MARKER) return ptio_build_opaque(b, ref);
    return PyUnicode_FromFormat("%s.%s", global->module, global->name);
}

const ptio_values ptio_numpy_values = {make_tensor, make_storage, make_dtype, make_global, ptio_build_made};
