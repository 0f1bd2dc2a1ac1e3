/* SPDX-License-Identifier: Apache-2.0
 *
 * What the glue fetches from Python at first use: ptio's own types, dtypes, and
 * the few callables that vetted calls stand for. The names are in this file;
 * none ever comes from a checkpoint.
 */
#include "module.h"

static PyObject *fetch_module(PyObject **slot, const char *name) {
    if (*slot == NULL) *slot = PyImport_ImportModule(name);
    return *slot;
}

PyObject *ptio_state_errors(ptio_state *state) { return fetch_module(&state->errors, "ptio._errors"); }
PyObject *ptio_state_types(ptio_state *state) { return fetch_module(&state->types, "ptio._types"); }

static PyObject *import_attribute(const char *module_name, const char *attribute) {
    PyObject *module = PyImport_ImportModule(module_name);
    if (module == NULL) return NULL;
    PyObject *value = PyObject_GetAttrString(module, attribute);
    Py_DECREF(module);
    return value;
}

/* --- dtypes ------------------------------------------------------------------------- */

static PyObject *make_torch_dtype(ptio_state *state, const char *name) {
    PyObject *types = ptio_state_types(state);
    return types == NULL ? NULL : PyObject_CallMethod(types, "TorchDtype", "s", name);
}

/* NULL without an exception where this ml_dtypes is too old to have the type. */
static PyObject *make_ml_dtype(const char *name) {
    PyArray_Descr *descr = NULL;
    PyObject *type = import_attribute("ml_dtypes", name);
    if (type == NULL) {
        if (PyErr_ExceptionMatches(PyExc_AttributeError)) PyErr_Clear();
        return NULL;
    }
    PyArray_DescrConverter(type, &descr);
    Py_DECREF(type);
    return (PyObject *)descr;
}

static PyObject *make_numpy_dtype(const char *type_string) {
    PyArray_Descr *descr = NULL;
    PyObject *text = PyUnicode_FromString(type_string);
    if (text == NULL) return NULL;
    PyArray_DescrConverter(text, &descr);
    Py_DECREF(text);
    return (PyObject *)descr;
}

static PyObject *make_dtype(ptio_state *state, const ptio_dtype_info *info) {
    if (info->numpy_name[0] == '\0') return make_torch_dtype(state, info->torch_name);
    if (strlen(info->numpy_name) <= 3) return make_numpy_dtype(info->numpy_name);
    PyObject *dtype = make_ml_dtype(info->numpy_name);
    if (dtype != NULL || PyErr_Occurred()) return dtype;
    return make_torch_dtype(state, info->torch_name);
}

PyObject *ptio_state_dtype(ptio_state *state, ptio_dtype dtype) {
    PyObject **slot = &state->dtypes[dtype];
    if (*slot == NULL) *slot = make_dtype(state, ptio_dtype_get(dtype));
    return *slot;
}

PyObject *ptio_state_dtype_value(ptio_state *state, ptio_dtype dtype) {
    const ptio_dtype_info *info = ptio_dtype_get(dtype);
    if (info->kind == PTIO_KIND_QUANTIZED) return make_torch_dtype(state, info->torch_name);
    return Py_XNewRef(ptio_state_dtype(state, dtype));
}

/* --- callables ---------------------------------------------------------------------------- */

static const struct {
    ptio_maker maker;
    const char *module, *name;
} callables[] = {
    {PTIO_MAKE_COMPLEX, "builtins", "complex"},
    {PTIO_MAKE_RANGE, "builtins", "range"},
    {PTIO_MAKE_SLICE, "builtins", "slice"},
    {PTIO_MAKE_BYTES, "builtins", "bytes"},
    {PTIO_MAKE_BYTEARRAY, "builtins", "bytearray"},
    {PTIO_MAKE_SET, "builtins", "set"},
    {PTIO_MAKE_FROZENSET, "builtins", "frozenset"},
    {PTIO_MAKE_ORDERED_DICT, "collections", "OrderedDict"},
    {PTIO_MAKE_DEFAULT_DICT, "collections", "defaultdict"},
    {PTIO_MAKE_COUNTER, "collections", "Counter"},
    {PTIO_MAKE_DEQUE, "collections", "deque"},
    {PTIO_MAKE_POSIX_PATH, "pathlib", "PurePosixPath"},
    {PTIO_MAKE_WINDOWS_PATH, "pathlib", "PureWindowsPath"},
    {PTIO_MAKE_DATE, "datetime", "date"},
    {PTIO_MAKE_TIME, "datetime", "time"},
    {PTIO_MAKE_DATETIME, "datetime", "datetime"},
    {PTIO_MAKE_TIMEDELTA, "datetime", "timedelta"},
    {PTIO_MAKE_TIMEZONE, "datetime", "timezone"},
    {PTIO_MAKE_NAMESPACE, "argparse", "Namespace"},
    {PTIO_MAKE_SIMPLE_NAMESPACE, "types", "SimpleNamespace"},
    {PTIO_MAKE_NUMPY_DTYPE, "numpy", "dtype"},
};

/* numpy moved its private modules in 2.0. */
static PyObject *import_numpy_core(const char *module, const char *name) {
    char full[64];
    PyOS_snprintf(full, sizeof full, "numpy._core.%s", module);
    PyObject *value = import_attribute(full, name);
    if (value != NULL || !PyErr_ExceptionMatches(PyExc_ImportError)) return value;
    PyErr_Clear();
    PyOS_snprintf(full, sizeof full, "numpy.core.%s", module);
    return import_attribute(full, name);
}

static PyObject *make_callable(ptio_maker maker) {
    if (maker == PTIO_MAKE_NUMPY_ARRAY) return import_numpy_core("multiarray", "_reconstruct");
    if (maker == PTIO_MAKE_NUMPY_SCALAR) return import_numpy_core("multiarray", "scalar");
    if (maker == PTIO_MAKE_NUMPY_FROMBUFFER) return import_numpy_core("numeric", "_frombuffer");
    for (size_t i = 0; i < sizeof callables / sizeof callables[0]; i++)
        if (callables[i].maker == maker) return import_attribute(callables[i].module, callables[i].name);
    PyErr_SetString(PyExc_SystemError, "no callable for a vetted call");
    return NULL;
}

PyObject *ptio_state_callable(ptio_state *state, ptio_maker maker) {
    PyObject **slot = &state->callables[maker];
    if (*slot == NULL) *slot = make_callable(maker);
    return *slot;
}

/* --- garbage collection ---------------------------------------------------------------------- */

int ptio_state_traverse(ptio_state *state, visitproc visit, void *arg) {
    Py_VISIT(state->source_type);
    Py_VISIT(state->storage_type);
    Py_VISIT(state->checkpoint_type);
    Py_VISIT(state->archive_type);
    Py_VISIT(state->writer_type);
    Py_VISIT(state->salvage_type);
    Py_VISIT(state->record_type);
    Py_VISIT(state->tensor_info_type);
    Py_VISIT(state->finding_type);
    Py_VISIT(state->errors);
    Py_VISIT(state->types);
    for (size_t i = 0; i < PTIO_DTYPE_COUNT; i++) Py_VISIT(state->dtypes[i]);
    for (size_t i = 0; i < PTIO_MAKER_COUNT; i++) Py_VISIT(state->callables[i]);
    return 0;
}

void ptio_state_clear(ptio_state *state) {
    Py_CLEAR(state->source_type);
    Py_CLEAR(state->storage_type);
    Py_CLEAR(state->checkpoint_type);
    Py_CLEAR(state->archive_type);
    Py_CLEAR(state->writer_type);
    Py_CLEAR(state->salvage_type);
    Py_CLEAR(state->record_type);
    Py_CLEAR(state->tensor_info_type);
    Py_CLEAR(state->finding_type);
    Py_CLEAR(state->errors);
    Py_CLEAR(state->types);
    for (size_t i = 0; i < PTIO_DTYPE_COUNT; i++) Py_CLEAR(state->dtypes[i]);
    for (size_t i = 0; i < PTIO_MAKER_COUNT; i++) Py_CLEAR(state->callables[i]);
}
