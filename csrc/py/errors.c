/* SPDX-License-Identifier: Apache-2.0
 *
 * The one place where a failure of the core becomes an exception.
 */
#include <errno.h>

#include "module.h"

ptio_status ptio_python_failed(ptio_error *err) {
    return ptio_fail(err, PTIO_E_CANCELLED, "python", PTIO_NO_OFFSET, "an exception is set");
}

/* ("module.name", ...) of every global that was refused, in stream order. */
static PyObject *forbidden_names(const ptio_checkpoint *c) {
    PyObject *names = PyList_New(0);
    for (size_t i = 0; names != NULL && i < c->forbidden_count && i < PTIO_MOST_NAMES; i++) {
        const uint8_t *module_text, *name_text;
        size_t module_size, name_size;
        ptio_global_name(&c->graph, c->forbidden[i].node, &module_text, &module_size, &name_text, &name_size);
        PyObject *module = ptio_shown_text(module_text, module_size);
        PyObject *name = module == NULL ? NULL : ptio_shown_text(name_text, name_size);
        PyObject *full = name == NULL ? NULL : PyUnicode_FromFormat("%U.%U", module, name);
        if (full == NULL || PyList_Append(names, full) < 0) Py_CLEAR(names);
        Py_XDECREF(full);
        Py_XDECREF(module);
        Py_XDECREF(name);
    }
    PyObject *tuple = names == NULL ? NULL : PyList_AsTuple(names);
    Py_XDECREF(names);
    return tuple;
}

static PyObject *make_keywords(const ptio_error *err, PyObject *path, const ptio_checkpoint *c,
                               bool forbidden) {
    PyObject *offset =
        err->offset == PTIO_NO_OFFSET ? Py_NewRef(Py_None) : PyLong_FromUnsignedLongLong(err->offset);
    PyObject *keywords = NULL;
    if (offset == NULL) return NULL;
    PyObject *record = err->record[0] == '\0' ? Py_NewRef(Py_None) : PyUnicode_FromString(err->record);
    if (record != NULL)
        keywords = Py_BuildValue("{sOsNsNssss}", "path", path == NULL ? Py_None : path, "record", record,
                                 "offset", offset, "hint", ptio_status_hint(err->status), "kind",
                                 ptio_status_name(err->status));
    else
        Py_DECREF(offset);
    if (keywords != NULL && forbidden && c != NULL) {
        PyObject *names = forbidden_names(c);
        if (names == NULL || PyDict_SetItemString(keywords, "globals", names) < 0) Py_CLEAR(keywords);
        Py_XDECREF(names);
    }
    return keywords;
}

static void raise_ours(ptio_state *state, const ptio_error *err, PyObject *path, const ptio_checkpoint *c) {
    const char *name = ptio_status_exception(err->status);
    PyObject *errors = ptio_state_errors(state), *class = NULL, *arguments = NULL, *keywords = NULL;
    PyObject *exception = NULL;
    if (errors == NULL) return;
    class = PyObject_GetAttrString(errors, name);
    arguments = class == NULL ? NULL : Py_BuildValue("(s)", err->message);
    keywords = arguments == NULL ? NULL : make_keywords(err, path, c, strcmp(name, "ForbiddenError") == 0);
    exception = keywords == NULL ? NULL : PyObject_Call(class, arguments, keywords);
    if (exception != NULL) PyErr_SetObject(class, exception);
    Py_XDECREF(exception);
    Py_XDECREF(keywords);
    Py_XDECREF(arguments);
    Py_XDECREF(class);
}

void ptio_raise(ptio_state *state, const ptio_error *err, PyObject *path, const ptio_checkpoint *c) {
    switch (err->status) {
    case PTIO_E_CANCELLED: /* the exception that stopped the work is set */
        if (!PyErr_Occurred()) PyErr_SetString(PyExc_SystemError, "cancelled without an exception");
        return;
    case PTIO_E_NO_MEMORY: PyErr_NoMemory(); return;
    case PTIO_E_IO:
        errno = err->sys_errno;
        PyErr_SetFromErrnoWithFilenameObject(PyExc_OSError, path == Py_None ? NULL : path);
        return;
    default: raise_ours(state, err, path, c);
    }
}
