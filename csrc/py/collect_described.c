/* SPDX-License-Identifier: Apache-2.0
 *
 * Arrays and all else that is no plain Python data -> pickle, as the describer
 * (ptio/_describe.py) says: nothing here knows torch's names.
 */
#include "collect.h"

typedef struct {
    PyObject *describe; /* callable(object) -> one of the tuples below */
    PyObject *globals;  /* {(module, name): itself}, whose address is the name's in the memo */
} describer;

/* The first item of what describe() returns. */
enum {
    GLOBAL,  /* (0, module, name) */
    CALL,    /* (1, module, name, arguments) */
    REDUCED, /* (2, what __reduce_ex__(2) gives) */
    VALUE,   /* (3, a plain value to write instead) */
    STORAGE  /* (4, number, module, class, number of elements) */
};

static ptio_save_result save_global(ptio_collector *c, const char *module, const char *name) {
    describer *d = c->context;
    PyObject *key = Py_BuildValue("(ss)", module, name);
    PyObject *known = key == NULL ? NULL : PyDict_SetDefault(d->globals, key, key);
    Py_XDECREF(key);
    return known == NULL ? PTIO_FAILED : ptio_save_global(c, known, module, name);
}

static ptio_save_result save_call(ptio_collector *c, PyObject *object, PyObject *description) {
    const char *module, *name;
    PyObject *arguments;
    int kind;
    if (!PyArg_ParseTuple(description, "issO!", &kind, &module, &name, &PyTuple_Type, &arguments))
        return PTIO_FAILED;
    SAVE(save_global(c, module, name));
    SAVE(ptio_save(c, arguments));
    WRITE(c, ptio_pickler_op(&c->pickler, PTIO_OP_REDUCE, &c->err));
    return ptio_save_status(c, ptio_pickler_memoize(&c->pickler, ptio_memo_key(object), &c->err));
}

static ptio_save_result save_class_name(ptio_collector *c, PyObject *class_) {
    const char *module, *name;
    if (!PyArg_ParseTuple(class_, "ss", &module, &name)) return PTIO_FAILED;
    return save_global(c, module, name);
}

/* Texts of the numbers of storages: each always the same object. */
static ptio_save_result key_of(ptio_collector *c, size_t number, ptio_saved_storage **storage) {
    void *items = c->storages;
    WRITE(c, ptio_grow(&items, &c->storage_capacity, number + 1, sizeof *c->storages, &c->err));
    c->storages = items;
    while (c->storage_count <= number) {
        PyObject *key = PyUnicode_FromFormat("%zu", c->storage_count);
        if (key == NULL) return PTIO_FAILED;
        c->storages[c->storage_count++] = (ptio_saved_storage){.key = key, .owner = Py_NewRef(Py_None)};
    }
    *storage = &c->storages[number];
    return PTIO_SAVED;
}

static ptio_save_result save_storage(ptio_collector *c, PyObject *description) {
    int kind;
    unsigned int number;
    const char *module, *name;
    long long numel;
    ptio_saved_storage *storage;
    if (!PyArg_ParseTuple(description, "iIssL", &kind, &number, &module, &name, &numel)) return PTIO_FAILED;
    SAVE(key_of(c, number, &storage));
    PyObject *class_ = Py_BuildValue("(ss)", module, name);
    if (class_ == NULL) return PTIO_FAILED;
    ptio_save_result result = ptio_save_storage_id(c, class_, save_class_name, storage, c->cpu_word, numel);
    Py_DECREF(class_);
    return result;
}

static ptio_save_result save_described(ptio_collector *c, PyObject *object, PyObject *description) {
    const char *module, *name;
    int kind = PyTuple_CheckExact(description) && PyTuple_GET_SIZE(description) >= 2
                   ? (int)PyLong_AsLong(PyTuple_GET_ITEM(description, 0))
                   : -1;
    switch (kind) {
    case GLOBAL:
        if (!PyArg_ParseTuple(description, "iss", &kind, &module, &name)) return PTIO_FAILED;
        return save_global(c, module, name);
    case CALL: return save_call(c, object, description);
    case REDUCED: return ptio_save_reduced(c, object, PyTuple_GET_ITEM(description, 1));
    case VALUE: return ptio_save(c, PyTuple_GET_ITEM(description, 1));
    case STORAGE: return save_storage(c, description);
    default: PyErr_SetString(PyExc_TypeError, "not a description"); return PTIO_FAILED;
    }
}

static ptio_save_result save_other(ptio_collector *c, PyObject *object) {
    describer *d = c->context;
    PyObject *description = PyObject_CallOneArg(d->describe, object);
    SAVE(ptio_keep(c, description)); /* what it holds is in the memo */
    return save_described(c, object, description);
}

PyObject *ptio_collect_described(PyObject *module, PyObject *args) {
    PyObject *object, *result = NULL;
    ptio_collector collector;
    describer d = {.globals = PyDict_New()};
    if (d.globals == NULL || !PyArg_ParseTuple(args, "OO:collect", &object, &d.describe)) {
        Py_XDECREF(d.globals);
        return NULL;
    }
    if (ptio_collector_init(&collector, PyModule_GetState(module), save_other, &d) == 0)
        result = ptio_collect(&collector, object);
    ptio_collector_clear(&collector);
    Py_DECREF(d.globals);
    return result;
}
