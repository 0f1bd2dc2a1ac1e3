/* SPDX-License-Identifier: Apache-2.0
 *
 * Arrays and all else that is no plain Python data -> pickle, as the describer
 * (ptio/_save/describe.py) says: it knows torch's names and where arrays lie, here is how
 * a tensor is written.
 */
#include "collect.h"

enum { MAX_DIMS = 64 };

typedef struct {
    PyObject *describe; /* callable(object, address of an array's data or None) -> a tuple, see below */
    PyObject *names;    /* {(module, name): itself}, whose address is the name's in the memo */
    PyObject *rebuild_v2, *rebuild_v3, *ordered_dict; /* names */
} describer;

/* The first item of what describe() returns; a name is (module, name). */
enum {
    GLOBAL,  /* (0, name) */
    CALL,    /* (1, name, arguments) */
    REDUCED, /* (2, what __reduce_ex__(2) gives) */
    VALUE,   /* (3, a plain value to write instead) */
    STORAGE, /* (4, number, class name, number of elements) */
    TENSOR,  /* (5, ... as for a storage, offset, shape, stride or None, dtype's name or None) */
    OPAQUE   /* (6, callee, arguments or None, keywords or None, opcode, as REDUCED for the rest) */
};

static ptio_save_result save_name(ptio_collector *c, PyObject *name) {
    const describer *d = c->context;
    const char *module, *attribute;
    PyObject *known = PyDict_SetDefault(d->names, name, name);
    if (known == NULL || !PyArg_ParseTuple(known, "ss", &module, &attribute)) return PTIO_FAILED;
    return ptio_save_global(c, known, module, attribute);
}

static ptio_save_result finish_call(ptio_collector *c, PyObject *object) {
    WRITE(c, ptio_pickler_op(&c->pickler, PTIO_OP_REDUCE, &c->err));
    return ptio_save_status(c, ptio_pickler_memoize(&c->pickler, ptio_memo_key(object), &c->err));
}

static ptio_save_result save_call(ptio_collector *c, PyObject *object, PyObject *description) {
    PyObject *name, *arguments;
    int kind;
    if (!PyArg_ParseTuple(description, "iO!O!", &kind, &PyTuple_Type, &name, &PyTuple_Type, &arguments))
        return PTIO_FAILED;
    SAVE(save_name(c, name));
    SAVE(ptio_save(c, arguments));
    return finish_call(c, object);
}

/* An object that was made in any way there is. Where its arguments lead back to it, it is made
 * by then: as in the pickler, what was made a second time is dropped. */
static ptio_save_result save_opaque(ptio_collector *c, PyObject *object, PyObject *description) {
    PyObject *callee, *arguments, *keywords, *rest;
    int kind, opcode;
    bool known;
    if (!PyArg_ParseTuple(description, "iOOOiO!", &kind, &callee, &arguments, &keywords, &opcode,
                          &PyTuple_Type, &rest))
        return PTIO_FAILED;
    SAVE(ptio_save(c, callee));
    if (arguments != Py_None) {
        SAVE(ptio_save(c, arguments));
        if (keywords != Py_None) SAVE(ptio_save(c, keywords));
        WRITE(c, ptio_pickler_op(&c->pickler, (ptio_opcode)opcode, &c->err));
    }
    if (ptio_pickler_knows(&c->pickler, ptio_memo_key(object))) {
        WRITE(c, ptio_pickler_op(&c->pickler, PTIO_OP_POP, &c->err));
        return ptio_save_status(c, ptio_pickler_recall(&c->pickler, ptio_memo_key(object), &known, &c->err));
    }
    WRITE(c, ptio_pickler_memoize(&c->pickler, ptio_memo_key(object), &c->err));
    return ptio_save_contents(c, rest);
}

/* --- tensors ----------------------------------------------------------------------------- */

static ptio_save_result save_storage_id(ptio_collector *c, size_t number, PyObject *class_, long long numel) {
    void *items = c->storages;
    WRITE(c, ptio_pages_grow(&items, &c->storage_capacity, number + 1, sizeof *c->storages, &c->err));
    c->storages = items;
    while (c->storage_count <= number) c->storages[c->storage_count++] = (ptio_saved_storage){.owner = NULL};
    return ptio_save_storage_id(c, class_, save_name, number, c->cpu_word, numel);
}

static ptio_save_result save_storage(ptio_collector *c, PyObject *description) {
    int kind;
    unsigned int number;
    PyObject *class_;
    long long numel;
    if (!PyArg_ParseTuple(description, "iIO!L", &kind, &number, &PyTuple_Type, &class_, &numel))
        return PTIO_FAILED;
    return save_storage_id(c, number, class_, numel);
}

static int read_ints(PyObject *tuple, int64_t values[MAX_DIMS], size_t *count) {
    *count = (size_t)PyTuple_GET_SIZE(tuple);
    if (*count > MAX_DIMS) {
        PyErr_Format(PyExc_ValueError, "torch has no tensors of %zu dimensions", *count);
        return -1;
    }
    for (size_t i = 0; i < *count; i++) {
        values[i] = PyLong_AsLongLong(PyTuple_GET_ITEM(tuple, (Py_ssize_t)i));
        if (values[i] == -1 && PyErr_Occurred()) return -1;
    }
    return 0;
}

/* Of a contiguous tensor; torch counts a dimension without elements as one with one. The
 * products are those of an array or Deferred, which has made sure of them. */
static void contiguous_stride(const int64_t *shape, int64_t *stride, size_t count) {
    uint64_t step = 1;
    for (size_t i = count; i-- > 0;) {
        stride[i] = (int64_t)step;
        if (shape[i] > 1) step *= (uint64_t)shape[i];
    }
}

static ptio_save_result save_shape(ptio_collector *c, PyObject *shape, PyObject *stride) {
    int64_t sizes[MAX_DIMS], steps[MAX_DIMS];
    size_t count, step_count;
    if (read_ints(shape, sizes, &count) < 0) return PTIO_FAILED;
    if (stride == Py_None)
        contiguous_stride(sizes, steps, step_count = count);
    else if (!PyTuple_Check(stride) || read_ints(stride, steps, &step_count) < 0)
        return PTIO_FAILED;
    SAVE(ptio_save_int_tuple(c, sizes, count));
    return ptio_save_int_tuple(c, steps, step_count);
}

/* OrderedDict(), by its name: the class itself is no value that can be saved. */
static ptio_save_result save_no_hooks(ptio_collector *c) {
    const describer *d = c->context;
    SAVE(save_name(c, d->ordered_dict));
    WRITE(c, ptio_pickler_op(&c->pickler, PTIO_OP_EMPTY_TUPLE, &c->err));
    WRITE(c, ptio_pickler_op(&c->pickler, PTIO_OP_REDUCE, &c->err));
    return ptio_save_status(c, ptio_pickler_memoize(&c->pickler, 0, &c->err));
}

/* _rebuild_tensor_v2(storage, offset, shape, stride, False, OrderedDict()), or _v3(..., dtype) */
static ptio_save_result save_tensor(ptio_collector *c, PyObject *object, PyObject *description) {
    const describer *d = c->context;
    int kind;
    unsigned int number;
    PyObject *class_, *shape, *stride, *dtype;
    long long numel, offset;
    if (!PyArg_ParseTuple(description, "iIO!LLO!OO", &kind, &number, &PyTuple_Type, &class_, &numel, &offset,
                          &PyTuple_Type, &shape, &stride, &dtype))
        return PTIO_FAILED;
    bool typed = dtype == Py_None;
    SAVE(save_name(c, typed ? d->rebuild_v2 : d->rebuild_v3));
    WRITE(c, ptio_pickler_tuple_begin(&c->pickler, typed ? 6 : 7, &c->err));
    SAVE(save_storage_id(c, number, class_, numel));
    WRITE(c, ptio_pickler_int(&c->pickler, offset, &c->err));
    SAVE(save_shape(c, shape, stride));
    SAVE(ptio_save(c, Py_False));
    SAVE(save_no_hooks(c));
    if (!typed) SAVE(save_name(c, dtype));
    WRITE(c, ptio_pickler_tuple_end(&c->pickler, typed ? 6 : 7, 0, &c->err));
    return finish_call(c, object);
}

/* --- the walk ------------------------------------------------------------------------------ */

static ptio_save_result save_described(ptio_collector *c, PyObject *object, PyObject *description) {
    PyObject *first = PyTuple_GET_ITEM(description, 1);
    switch (PyLong_AsLong(PyTuple_GET_ITEM(description, 0))) {
    case GLOBAL: return save_name(c, first);
    case CALL: return save_call(c, object, description);
    case REDUCED: return ptio_save_reduced(c, object, first);
    case VALUE: return ptio_save(c, first);
    case STORAGE: return save_storage(c, description);
    case TENSOR: return save_tensor(c, object, description);
    case OPAQUE: return save_opaque(c, object, description);
    default: PyErr_SetString(PyExc_TypeError, "not a description"); return PTIO_FAILED;
    }
}

/* Whether there are objects in the description whose addresses get into the memo. */
static bool must_be_kept(PyObject *description) {
    long kind = PyLong_AsLong(PyTuple_GET_ITEM(description, 0));
    PyObject *first = PyTuple_GET_ITEM(description, 1);
    return kind == CALL || kind == REDUCED || kind == OPAQUE ||
           (kind == VALUE && !PyLong_Check(first) && !PyFloat_Check(first));
}

static PyObject *ask(const describer *d, PyObject *object) {
    PyObject *address = PyArray_Check(object) ? PyLong_FromVoidPtr(PyArray_DATA((PyArrayObject *)object))
                                              : Py_NewRef(Py_None);
    if (address == NULL) return NULL;
    PyObject *description = PyObject_CallFunctionObjArgs(d->describe, object, address, NULL);
    Py_DECREF(address);
    if (description == NULL || (PyTuple_CheckExact(description) && PyTuple_GET_SIZE(description) >= 2))
        return description;
    PyErr_SetString(PyExc_TypeError, "not a description");
    Py_DECREF(description);
    return NULL;
}

static ptio_save_result save_other(ptio_collector *c, PyObject *object) {
    PyObject *description = ask(c->context, object);
    if (description == NULL) return PTIO_FAILED;
    if (must_be_kept(description)) {
        SAVE(ptio_keep(c, description));
        return save_described(c, object, description);
    }
    ptio_save_result result = save_described(c, object, description);
    Py_DECREF(description);
    return result;
}

static int describer_init(describer *d, PyObject *describe) {
    *d = (describer){.describe = describe, .names = PyDict_New()};
    if (d->names == NULL) return -1;
    d->rebuild_v2 = Py_BuildValue("(ss)", "torch._utils", "_rebuild_tensor_v2");
    if (d->rebuild_v2 == NULL) return -1;
    d->rebuild_v3 = Py_BuildValue("(ss)", "torch._utils", "_rebuild_tensor_v3");
    if (d->rebuild_v3 == NULL) return -1;
    d->ordered_dict = Py_BuildValue("(ss)", "collections", "OrderedDict");
    return d->ordered_dict == NULL ? -1 : 0;
}

static void describer_clear(describer *d) {
    Py_CLEAR(d->names);
    Py_CLEAR(d->rebuild_v2);
    Py_CLEAR(d->rebuild_v3);
    Py_CLEAR(d->ordered_dict);
}

PyObject *ptio_collect_described(PyObject *module, PyObject *args) {
    PyObject *object, *describe, *result = NULL;
    ptio_collector collector;
    describer d = {.describe = NULL};
    if (!PyArg_ParseTuple(args, "OO:collect", &object, &describe)) return NULL;
    int ready = ptio_collector_init(&collector, PyModule_GetState(module), save_other, &d);
    collector.always_encode = true;
    if (ready == 0 && describer_init(&d, describe) == 0) result = ptio_collect(&collector, object);
    ptio_collector_clear(&collector);
    describer_clear(&d);
    return result;
}
