/* SPDX-License-Identifier: Apache-2.0
 *
 * Storage: the Python object that keeps the bytes of one storage alive. It is
 * the base of every array that views them, so a.base is b.base tells that two
 * arrays share memory.
 */
#include "module.h"

PyObject *ptio_storage_new(ptio_state *state, ptio_block *block, uint8_t *bytes, uint64_t size) {
    ptio_storage_object *self = PyObject_New(ptio_storage_object, state->storage_type);
    if (self == NULL) {
        ptio_block_unref(block);
        return NULL;
    }
    self->block = block;
    self->bytes = bytes == NULL ? self->nothing : bytes;
    self->size = size;
    return (PyObject *)self;
}

static void storage_dealloc(ptio_storage_object *self) {
    PyTypeObject *type = Py_TYPE(self);
    ptio_block_unref(self->block);
    PyObject_Free(self);
    Py_DECREF(type);
}

static PyObject *storage_repr(ptio_storage_object *self) {
    return PyUnicode_FromFormat("<ptio Storage of %llu bytes>", (unsigned long long)self->size);
}

static PyObject *storage_nbytes(ptio_storage_object *self, void *closure) {
    (void)closure;
    return PyLong_FromUnsignedLongLong(self->size);
}

static PyMethodDef storage_methods[] = {
    {"__dlpack__", (PyCFunction)(void (*)(void))ptio_storage_dlpack, METH_VARARGS | METH_KEYWORDS,
     PyDoc_STR("__dlpack__($self, *, stream=None, max_version=None, dl_device=None, copy=None)\n--\n\n"
               "The bytes as a one-dimensional uint8 tensor.")},
    {"__dlpack_device__", (PyCFunction)ptio_storage_dlpack_device, METH_NOARGS,
     PyDoc_STR("__dlpack_device__($self)\n--\n\nThe CPU: (1, 0).")},
    {NULL}};

static PyGetSetDef storage_getset[] = {
    {"nbytes", (getter)storage_nbytes, NULL, "Size of the storage in bytes.", NULL}, {NULL}};

static PyType_Slot storage_slots[] = {
    {Py_tp_doc, "The bytes of one storage, kept alive for the arrays that view them."},
    {Py_tp_dealloc, storage_dealloc},
    {Py_tp_repr, storage_repr},
    {Py_tp_methods, storage_methods},
    {Py_tp_getset, storage_getset},
    {0, NULL}};

PyType_Spec ptio_storage_spec = {.name = "ptio._core.Storage",
                                 .basicsize = sizeof(ptio_storage_object),
                                 .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION |
                                          Py_TPFLAGS_IMMUTABLETYPE,
                                 .slots = storage_slots};
