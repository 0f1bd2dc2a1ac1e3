/* SPDX-License-Identifier: Apache-2.0
 *
 * A libFuzzer harness of the glue: Python embedded in the fuzzer, with ptio._core linked into it so
 * that the core and the glue carry the sanitizers and count coverage. What is done with an input is
 * glue.py beside this file; an exception that comes out of it is a crash.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <sanitizer/asan_interface.h>
#include <stdio.h>
#include <stdlib.h>

PyMODINIT_FUNC PyInit__core(void);

static PyObject *one; /* glue.one */

/* Before main: Python and NumPy keep memory until they exit, in places that LeakSanitizer sees. */
const char *__asan_default_options(void);
const char *__asan_default_options(void) {
    return "allocator_may_return_null=1:detect_stack_use_after_return=1:abort_on_error=1";
}

static void give_up(const char *what) {
    fprintf(stderr, "== %s\n", what);
    if (PyErr_Occurred()) PyErr_Print();
    abort();
}

/* check(address, size): the memory of an array is memory that somebody has. */
static PyObject *check(PyObject *module, PyObject *args) {
    unsigned long long address, size;
    (void)module;
    if (!PyArg_ParseTuple(args, "KK", &address, &size)) return NULL;
    void *bad = __asan_region_is_poisoned((void *)(uintptr_t)address, (size_t)size);
    if (bad != NULL) {
        fprintf(stderr, "== an array of %llu bytes at %#llx: %p is not its own\n", size, address, bad);
        __asan_describe_address(bad);
        abort();
    }
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {{"check", check, METH_VARARGS, NULL}, {NULL}};
static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, .m_name = "fuzz_glue", .m_methods = methods};
static PyObject *init_fuzz_glue(void) { return PyModule_Create(&definition); }

static void start_python(void) {
    PyPreConfig before;
    PyConfig config;
    PyPreConfig_InitPythonConfig(&before);
    before.allocator = PYMEM_ALLOCATOR_MALLOC; /* so that each object is an allocation of its own */
    before.utf8_mode = 1;
    if (PyStatus_Exception(Py_PreInitialize(&before))) give_up("Py_PreInitialize");
    if (PyImport_AppendInittab("ptio._core", PyInit__core) < 0) give_up("ptio._core");
    if (PyImport_AppendInittab("fuzz_glue", init_fuzz_glue) < 0) give_up("fuzz_glue");
    PyConfig_InitPythonConfig(&config);
    config.install_signal_handlers = 0;
    config.write_bytecode = 0;
    config.use_hash_seed = 1; /* what one run finds the next one finds again */
    PyStatus status = PyConfig_SetBytesString(&config, &config.executable, FUZZ_PYTHON);
    if (!PyStatus_Exception(status)) status = Py_InitializeFromConfig(&config);
    if (PyStatus_Exception(status)) give_up(status.err_msg);
    PyConfig_Clear(&config);
}

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerInitialize(int *argc, char ***argv) {
    (void)argc;
    (void)argv;
    setenv("OPENBLAS_NUM_THREADS", "1", 1);
    start_python();
    PyObject *path = PySys_GetObject("path");
    PyObject *here = PyUnicode_DecodeFSDefault(FUZZ_FOLDER);
    if (path == NULL || here == NULL || PyList_Insert(path, 0, here) < 0) give_up("sys.path");
    Py_DECREF(here);
    PyObject *glue = PyImport_ImportModule("glue");
    one = glue == NULL ? NULL : PyObject_GetAttrString(glue, "one");
    if (one == NULL) give_up("glue.py");
    Py_DECREF(glue);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    PyObject *input = PyBytes_FromStringAndSize((const char *)data, (Py_ssize_t)size);
    PyObject *result = input == NULL ? NULL : PyObject_CallOneArg(one, input);
    if (result == NULL) give_up("an exception that no file may cause");
    Py_DECREF(result);
    Py_DECREF(input);
    return 0;
}
