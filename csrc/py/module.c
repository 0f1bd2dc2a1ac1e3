/* SPDX-License-Identifier: Apache-2.0
 *
 * The extension module: multi-phase init, heap types, everything in the
 * module's state. Subinterpreters are refused, as NumPy does not support them.
 */
#define PTIO_IMPORTS_NUMPY
#include "module.h"

#include <libdeflate.h>
#include <zip.h>
#include <zlib.h>

ptio_state *ptio_state_of_type(PyTypeObject *type) { return PyType_GetModuleState(type); }

static PyObject *versions(PyObject *module, PyObject *unused) {
    (void)module;
    (void)unused;
    return Py_BuildValue("{ssssss}", "libzip", zip_libzip_version(), "zlib", zlibVersion(), "libdeflate",
                         LIBDEFLATE_VERSION_STRING);
}

static PyObject *dtypes(PyObject *module, PyObject *unused) {
    PyObject *list = PyList_New(0);
    (void)module;
    (void)unused;
    for (int i = 0; list != NULL && i < PTIO_DTYPE_COUNT; i++) {
        const ptio_dtype_info *info = ptio_dtype_get((uint8_t)i);
        PyObject *row = Py_BuildValue("siss", info->torch_name, (int)info->item_bytes, info->storage_class,
                                      info->numpy_name);
        if (row == NULL || PyList_Append(list, row) < 0) Py_CLEAR(list);
        Py_XDECREF(row);
    }
    return list;
}

static int add_type(PyObject *module, PyTypeObject **slot, PyType_Spec *spec) {
    *slot = (PyTypeObject *)PyType_FromModuleAndSpec(module, spec, NULL);
    return *slot == NULL ? -1 : PyModule_AddType(module, *slot);
}

/* A named tuple: what typing.NamedTuple says in _core.pyi. */
static PyObject *make_named_tuple(const char *name, const char *fields) {
    PyObject *collections = PyImport_ImportModule("collections");
    PyObject *type =
        collections == NULL ? NULL : PyObject_CallMethod(collections, "namedtuple", "ss", name, fields);
    PyObject *module = type == NULL ? NULL : PyUnicode_FromString("ptio._core");
    if (module != NULL && PyObject_SetAttrString(type, "__module__", module) < 0) Py_CLEAR(type);
    Py_XDECREF(module);
    Py_XDECREF(collections);
    return type;
}

static int add_named_tuples(PyObject *module, ptio_state *state) {
    state->record_type = make_named_tuple("Record", "name offset compressed_size size crc32 method");
    state->tensor_info_type = make_named_tuple(
        "TensorInfo", "path kind dtype shape stride storage_offset nbytes storage storage_nbytes "
                      "location requires_grad record node");
    state->finding_type = make_named_tuple("Finding", "exception kind message record offset");
    if (!state->record_type || !state->tensor_info_type || !state->finding_type) return -1;
    if (PyModule_AddObjectRef(module, "Record", state->record_type) < 0) return -1;
    if (PyModule_AddObjectRef(module, "TensorInfo", state->tensor_info_type) < 0) return -1;
    return PyModule_AddObjectRef(module, "Finding", state->finding_type);
}

/* What a judge answers. */
static int add_constants(PyObject *module) {
    if (PyModule_AddIntConstant(module, "REFUSED", PTIO_REFUSED) < 0) return -1;
    if (PyModule_AddIntConstant(module, "OURS", PTIO_OURS) < 0) return -1;
    if (PyModule_AddIntConstant(module, "THEIRS", PTIO_THEIRS) < 0) return -1;
    return PyModule_AddIntConstant(module, "AS_DATA", PTIO_AS_DATA);
}

/* Python before 3.12 does not read what the slots say. */
static int refuse_subinterpreters(void) {
    if (PyInterpreterState_Get() == PyInterpreterState_Main()) return 0;
    PyErr_SetString(PyExc_ImportError, "ptio does not support subinterpreters, as NumPy does not");
    return -1;
}

static int module_exec(PyObject *module) {
    ptio_state *state = PyModule_GetState(module);
    if (refuse_subinterpreters() < 0) return -1;
    if (PyArray_ImportNumPyAPI() < 0) return -1;
    if (add_type(module, &state->source_type, &ptio_source_spec) < 0) return -1;
    if (add_type(module, &state->storage_type, &ptio_storage_spec) < 0) return -1;
    if (add_type(module, &state->checkpoint_type, &ptio_checkpoint_spec) < 0) return -1;
    if (add_type(module, &state->archive_type, &ptio_archive_spec) < 0) return -1;
    if (add_type(module, &state->writer_type, &ptio_writer_spec) < 0) return -1;
    if (add_type(module, &state->salvage_type, &ptio_salvage_spec) < 0) return -1;
    if (add_constants(module) < 0) return -1;
    return add_named_tuples(module, state);
}

static int module_traverse(PyObject *module, visitproc visit, void *arg) {
    return ptio_state_traverse(PyModule_GetState(module), visit, arg);
}

static int module_clear(PyObject *module) {
    ptio_state_clear(PyModule_GetState(module));
    return 0;
}

static void module_free(void *module) { ptio_state_clear(PyModule_GetState(module)); }

/* What a file is, from its first bytes. */
static PyObject *sniff(PyObject *module, PyObject *args) {
    static const char *const kinds[] = {"zip", "legacy", "tar", "pickle", "safetensors", "other"};
    ptio_state *state = PyModule_GetState(module);
    PyObject *source;
    ptio_sniffed file;
    ptio_error err = {0};
    if (!PyArg_ParseTuple(args, "O!:sniff", state->source_type, &source)) return NULL;
    if (!((ptio_source_object *)source)->open) return PyErr_Format(PyExc_ValueError, "the source is closed");
    if (ptio_sniff(&((ptio_source_object *)source)->source, &file, &err) != PTIO_OK) {
        ptio_raise(state, &err, NULL, NULL);
        return NULL;
    }
    return Py_BuildValue("ss", kinds[file.kind], file.name);
}

static PyMethodDef module_methods[] = {
    {"sniff", sniff, METH_VARARGS, PyDoc_STR("sniff(source, /)\n--\n\nWhat kind of file this is.")},
    {"versions", versions, METH_NOARGS, PyDoc_STR("versions()\n--\n\nVersions of the C libraries.")},
    {"dtypes", dtypes, METH_NOARGS, PyDoc_STR("dtypes()\n--\n\nThe rows of dtypes.def.")},
    {"collect", ptio_collect_described, METH_VARARGS,
     PyDoc_STR("collect(obj, describe, /)\n--\n\nThe pickle of an object, by descriptions.")},
    {"collect_torch", ptio_collect_torch, METH_VARARGS,
     PyDoc_STR("collect_torch(obj, saver, /)\n--\n\nThe pickle of an object, and its storages.")},
    {NULL}};

static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, module_exec},
#ifdef Py_mod_multiple_interpreters
    {Py_mod_multiple_interpreters, Py_MOD_MULTIPLE_INTERPRETERS_NOT_SUPPORTED},
#endif
    {0, NULL}};

struct PyModuleDef ptio_module = {PyModuleDef_HEAD_INIT,
                                  .m_name = "ptio._core",
                                  .m_doc = "The C extension of ptio. Private: use ptio.load and ptio.verify.",
                                  .m_size = sizeof(ptio_state),
                                  .m_methods = module_methods,
                                  .m_slots = module_slots,
                                  .m_traverse = module_traverse,
                                  .m_clear = module_clear,
                                  .m_free = module_free};

PyMODINIT_FUNC PyInit__core(void) { return PyModuleDef_Init(&ptio_module); }
