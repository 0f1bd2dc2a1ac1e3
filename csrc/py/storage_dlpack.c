/* SPDX-License-Identifier: Apache-2.0
 *
 * Memory of a storage as DLPack tensors. Each holds a reference to the block,
 * not to a Python object: torch drops it on any thread, without the GIL.
 */
#include "dlpack_abi.h"
#include "module.h"

/* What a DLPack tensor points into: freed as one by its deleter. */
typedef struct {
    dlpack_managed_versioned managed;
    ptio_block *block;
    int64_t dims[]; /* shape, then strides */
} export;

static void delete_export(dlpack_managed_versioned *managed) {
    export *e = managed->context;
    ptio_block_unref(e->block);
    ptio_free(e);
}

static void describe(dlpack_tensor *tensor, void *bytes, int64_t *dims, size_t ndim, dlpack_dtype dtype) {
    *tensor = (dlpack_tensor){.data = bytes,
                              .device_type = DLPACK_CPU,
                              .ndim = (int32_t)ndim,
                              .dtype = dtype,
                              .shape = dims,
                              .strides = dims + ndim};
}

dlpack_managed_versioned *ptio_dlpack_new(ptio_block *block, void *bytes, dlpack_dtype dtype,
                                          const int64_t *sizes, const int64_t *strides, size_t ndim) {
    export *e = ptio_alloc(1, sizeof *e + 2 * ndim * sizeof e->dims[0]);
    if (e == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    e->block = block == NULL ? NULL : ptio_block_ref(block);
    for (size_t i = 0; i < ndim; i++) {
        e->dims[i] = sizes[i];
        e->dims[ndim + i] = strides[i];
    }
    e->managed = (dlpack_managed_versioned){
        .version = {DLPACK_MAJOR, DLPACK_MINOR}, .context = e, .deleter = delete_export};
    describe(&e->managed.tensor, bytes, e->dims, ndim, dtype);
    return &e->managed;
}

int ptio_find_exchange_api(PyObject *tensor_type, const dlpack_exchange_api **api) {
    PyObject *capsule = PyObject_GetAttrString(tensor_type, "__dlpack_c_exchange_api__");
    *api = NULL;
    if (capsule == NULL) {
        if (!PyErr_ExceptionMatches(PyExc_AttributeError)) return -1;
        PyErr_Clear();
        return 0;
    }
    const dlpack_exchange_api *found = PyCapsule_GetPointer(capsule, "dlpack_exchange_api");
    Py_DECREF(capsule);
    if (found == NULL) return -1;
    while (found != NULL && found->version.major != DLPACK_MAJOR) found = found->older;
    *api = found;
    return 0;
}

/* --- __dlpack__ -------------------------------------------------------------------------- */

/* The same for consumers older than DLPack 1.0. */
typedef struct {
    dlpack_managed managed;
    dlpack_managed_versioned *owner;
} old_export;

static void delete_old(dlpack_managed *managed) {
    old_export *e = managed->context;
    e->owner->deleter(e->owner);
    ptio_free(e);
}

/* A consumer renames the capsule when it takes the tensor over. */
static void free_capsule(PyObject *capsule) {
    if (PyCapsule_IsValid(capsule, "dltensor_versioned")) {
        dlpack_managed_versioned *managed = PyCapsule_GetPointer(capsule, "dltensor_versioned");
        managed->deleter(managed);
    } else if (PyCapsule_IsValid(capsule, "dltensor")) {
        dlpack_managed *managed = PyCapsule_GetPointer(capsule, "dltensor");
        managed->deleter(managed);
    }
}

static PyObject *new_capsule(dlpack_managed_versioned *managed) {
    PyObject *capsule = PyCapsule_New(managed, "dltensor_versioned", free_capsule);
    if (capsule == NULL) managed->deleter(managed);
    return capsule;
}

static PyObject *old_capsule(dlpack_managed_versioned *managed) {
    old_export *e = ptio_alloc(1, sizeof *e);
    if (e == NULL) {
        managed->deleter(managed);
        return PyErr_NoMemory();
    }
    e->owner = managed;
    e->managed = (dlpack_managed){.tensor = managed->tensor, .context = e, .deleter = delete_old};
    PyObject *capsule = PyCapsule_New(&e->managed, "dltensor", free_capsule);
    if (capsule == NULL) delete_old(&e->managed);
    return capsule;
}

/* max_version is None or (major, minor): what the consumer understands. */
static int understands_versions(PyObject *max_version) {
    long major = 0;
    if (max_version == NULL || max_version == Py_None) return 0;
    if (!PyTuple_Check(max_version) || PyTuple_GET_SIZE(max_version) != 2) {
        PyErr_SetString(PyExc_TypeError, "max_version must be a tuple (major, minor)");
        return -1;
    }
    major = PyLong_AsLong(PyTuple_GET_ITEM(max_version, 0));
    return major == -1 && PyErr_Occurred() ? -1 : major >= 1;
}

PyObject *ptio_storage_dlpack(ptio_storage_object *self, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"stream", "max_version", "dl_device", "copy", NULL};
    PyObject *stream = NULL, *max_version = NULL, *device = NULL, *copy = NULL;
    const dlpack_dtype byte = {DLPACK_UINT, 8, 1};
    const int64_t size = (int64_t)self->size, stride = 1;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|$OOOO:__dlpack__", names, &stream, &max_version, &device,
                                     &copy))
        return NULL;
    int versioned = understands_versions(max_version);
    if (versioned < 0) return NULL;
    if (copy == Py_True) {
        PyErr_SetString(PyExc_BufferError, "a storage is handed out without a copy only");
        return NULL;
    }
    dlpack_managed_versioned *managed =
        ptio_dlpack_new(self->block, self->size == 0 ? NULL : self->bytes, byte, &size, &stride, 1);
    if (managed == NULL) return NULL;
    return versioned ? new_capsule(managed) : old_capsule(managed);
}

PyObject *ptio_storage_dlpack_device(ptio_storage_object *self, PyObject *unused) {
    (void)self;
    (void)unused;
    return Py_BuildValue("ii", DLPACK_CPU, 0);
}
