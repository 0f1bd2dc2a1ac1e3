/* SPDX-License-Identifier: Apache-2.0
 *
 * torch's values -> pickle. Plain tensors and parameters are written without a call of
 * Python but torch's own getters; all others as their __reduce_ex__ says, which the saver
 * (ptio/torch/_saver.py) asks for.
 */
#include "collect.h"
#include "dlpack_abi.h"

/* Names of torch's getters, as Python's own strings: made once for each save. */
enum {
    NAME_DICT,
    NAME_BACKWARD_HOOKS,
    NAME_CDATA,
    NAME_DATA,
    NAME_DATA_PTR,
    NAME_DTYPE,
    NAME_IS_CONJ,
    NAME_IS_NEG,
    NAME_NBYTES,
    NAME_REQUIRES_GRAD,
    NAME_STORAGE_OFFSET,
    NAME_UNTYPED_STORAGE,
    NAME_COUNT
};
static const char *const name_texts[NAME_COUNT] = {
    "__dict__", "_backward_hooks", "_cdata", "data",          "data_ptr",       "dtype",
    "is_conj",  "is_neg",          "nbytes", "requires_grad", "storage_offset", "untyped_storage"};

enum { MOST_DIMENSIONS = 64 }; /* torch has no more */

typedef struct {
    PyObject *names[NAME_COUNT];
    PyObject *tensor_type, *parameter_type, *typed_type, *untyped_type;
    PyObject *rebuild_v2, *rebuild_v3, *rebuild_parameter;
    PyObject *byte;            /* torch.uint8: what untyped storages count */
    PyObject *storage_classes; /* {torch.dtype: storage class, or None where it is untyped} */
    PyObject *describe, *location, *name, *reduce;
    PyObject *cpu_is_cpu; /* bool: nobody registered another tag for it */
    const dlpack_exchange_api *api;
    PyObject *numbers;       /* {address of the storage in torch: its number} */
    PyObject *dtype_of_data; /* {address of the data: torch.dtype} */
} saver;

static const struct {
    const char *name;
    size_t at;
} saver_parts[] = {{"Tensor", offsetof(saver, tensor_type)},
                   {"Parameter", offsetof(saver, parameter_type)},
                   {"TypedStorage", offsetof(saver, typed_type)},
                   {"UntypedStorage", offsetof(saver, untyped_type)},
                   {"rebuild_v2", offsetof(saver, rebuild_v2)},
                   {"rebuild_v3", offsetof(saver, rebuild_v3)},
                   {"rebuild_parameter", offsetof(saver, rebuild_parameter)},
                   {"uint8", offsetof(saver, byte)},
                   {"storage_classes", offsetof(saver, storage_classes)},
                   {"describe", offsetof(saver, describe)},
                   {"location", offsetof(saver, location)},
                   {"name", offsetof(saver, name)},
                   {"reduce", offsetof(saver, reduce)},
                   {"cpu_is_cpu", offsetof(saver, cpu_is_cpu)}};

enum { SAVER_PARTS = sizeof saver_parts / sizeof saver_parts[0] };

static PyObject **part(saver *s, size_t i) { return (PyObject **)(void *)((char *)s + saver_parts[i].at); }

static int saver_init(saver *s, PyObject *object) {
    memset(s, 0, sizeof *s);
    for (size_t i = 0; i < SAVER_PARTS; i++)
        if ((*part(s, i) = PyObject_GetAttrString(object, saver_parts[i].name)) == NULL) return -1;
    for (size_t i = 0; i < NAME_COUNT; i++)
        if ((s->names[i] = PyUnicode_InternFromString(name_texts[i])) == NULL) return -1;
    s->numbers = PyDict_New();
    s->dtype_of_data = PyDict_New();
    if (s->numbers == NULL || s->dtype_of_data == NULL) return -1;
    return ptio_find_exchange_api(s->tensor_type, &s->api);
}

static void saver_clear(saver *s) {
    for (size_t i = 0; i < SAVER_PARTS; i++) Py_CLEAR(*part(s, i));
    for (size_t i = 0; i < NAME_COUNT; i++) Py_CLEAR(s->names[i]);
    Py_CLEAR(s->numbers);
    Py_CLEAR(s->dtype_of_data);
}

/* --- names ------------------------------------------------------------------------------------ */

/* A class or function, or an object whose __reduce_ex__ is the name that `as` gives. */
static ptio_save_result save_named(ptio_collector *c, PyObject *object, PyObject *as) {
    saver *s = c->context;
    bool known;
    WRITE(c, ptio_pickler_recall(&c->pickler, ptio_memo_key(object), &known, &c->err));
    if (known) return PTIO_SAVED;
    PyObject *name = PyObject_CallFunctionObjArgs(s->name, object, as, NULL);
    const char *module, *attribute;
    SAVE(ptio_keep(c, name));
    if (name == Py_None) return PTIO_NOT_FOR_US;
    if (!PyArg_ParseTuple(name, "ss", &module, &attribute)) return PTIO_FAILED;
    return ptio_save_global(c, object, module, attribute);
}

static ptio_save_result save_class(ptio_collector *c, PyObject *class_) {
    return save_named(c, class_, Py_None);
}

/* --- storages ----------------------------------------------------------------------------------- */

static ptio_save_result add_storage(ptio_collector *c, PyObject *untyped, PyObject *address) {
    saver *s = c->context;
    void *items = c->storages;
    WRITE(c, ptio_grow(&items, &c->storage_capacity, c->storage_count + 1, sizeof *c->storages, &c->err));
    c->storages = items;
    PyObject *number = PyLong_FromSize_t(c->storage_count);
    PyObject *key = number == NULL ? NULL : PyObject_Str(number);
    int status = key == NULL ? -1 : PyDict_SetItem(s->numbers, address, number);
    Py_XDECREF(number);
    if (status < 0) {
        Py_XDECREF(key);
        return PTIO_FAILED;
    }
    c->storages[c->storage_count++] = (ptio_saved_storage){.owner = Py_NewRef(untyped), .key = key};
    return PTIO_SAVED;
}

/* One memory cannot be saved as two dtypes: loading could not make them share it. */
static ptio_save_result check_dtype(ptio_collector *c, ptio_saved_storage *storage, PyObject *untyped,
                                    PyObject *dtype) {
    saver *s = c->context;
    if (storage->dtype == dtype) return PTIO_SAVED;
    PyObject *data = PyObject_CallMethodNoArgs(untyped, s->names[NAME_DATA_PTR]);
    int truth = data == NULL ? -1 : PyObject_IsTrue(data);
    PyObject *first = truth > 0 ? PyDict_SetDefault(s->dtype_of_data, data, dtype) : dtype;
    Py_XDECREF(data);
    if (truth < 0 || first == NULL) return PTIO_FAILED;
    if (first != dtype) {
        PyErr_SetString(
            PyExc_RuntimeError,
            "Cannot save multiple tensors or storages that view the same data as different types");
        return PTIO_FAILED;
    }
    Py_XSETREF(storage->dtype, Py_NewRef(dtype));
    return PTIO_SAVED;
}

/* The number of a torch.UntypedStorage; new ones are added. */
static ptio_save_result find_storage(ptio_collector *c, PyObject *untyped, PyObject *dtype, size_t *number) {
    saver *s = c->context;
    PyObject *address = PyObject_GetAttr(untyped, s->names[NAME_CDATA]);
    if (address == NULL) return PTIO_FAILED;
    PyObject *known = PyDict_GetItemWithError(s->numbers, address);
    ptio_save_result result = PTIO_SAVED;
    *number = c->storage_count;
    if (known != NULL)
        *number = PyLong_AsSize_t(known);
    else
        result = PyErr_Occurred() ? PTIO_FAILED : add_storage(c, untyped, address);
    Py_DECREF(address);
    SAVE(result);
    return check_dtype(c, &c->storages[*number], untyped, dtype);
}

static ptio_save_result save_location(ptio_collector *c, PyObject *untyped, bool on_cpu,
                                      PyObject **location) {
    saver *s = c->context;
    *location = c->cpu_word;
    if (on_cpu && s->cpu_is_cpu == Py_True) return PTIO_SAVED;
    *location = PyObject_CallOneArg(s->location, untyped);
    return ptio_keep(c, *location);
}

/* A bare storage: the saver says what persistent_id would. */
static ptio_save_result save_storage(ptio_collector *c, PyObject *object) {
    saver *s = c->context;
    PyObject *described = PyObject_CallOneArg(s->describe, object), *untyped, *dtype, *class_, *location;
    long long numel;
    size_t number;
    SAVE(ptio_keep(c, described));
    if (!PyArg_ParseTuple(described, "OOOOL", &untyped, &dtype, &class_, &location, &numel))
        return PTIO_FAILED;
    SAVE(find_storage(c, untyped, dtype, &number));
    return ptio_save_storage_id(c, class_, save_class, &c->storages[number], location, numel);
}

/* --- tensors --------------------------------------------------------------------------------------- */

/* object.method() -> an int, or -1 with an exception */
static long long call_int(PyObject *object, PyObject *method) {
    PyObject *answer = PyObject_CallMethodNoArgs(object, method);
    long long value = answer == NULL ? -1 : PyLong_AsLongLong(answer);
    Py_XDECREF(answer);
    return value;
}

static int attribute_is(PyObject *object, PyObject *name, PyObject *value) {
    PyObject *attribute = PyObject_GetAttr(object, name);
    if (attribute == NULL) return -1;
    int same = attribute == value;
    Py_DECREF(attribute);
    return same;
}

/* None, or the empty OrderedDict that torch.load leaves. */
static int attribute_is_empty(PyObject *object, PyObject *name) {
    PyObject *attribute = PyObject_GetAttr(object, name);
    int truth = attribute == NULL ? -1 : PyObject_IsTrue(attribute);
    Py_XDECREF(attribute);
    return truth < 0 ? -1 : !truth;
}

static int call_is_false(PyObject *object, PyObject *method) {
    PyObject *answer = PyObject_CallMethodNoArgs(object, method);
    if (answer == NULL) return -1;
    int truth = PyObject_IsTrue(answer);
    Py_DECREF(answer);
    return truth < 0 ? -1 : !truth;
}

static int has_no_attributes(const saver *s, PyObject *object) {
    PyObject *dict = PyObject_GetAttr(object, s->names[NAME_DICT]);
    if (dict == NULL) return -1;
    int empty = PyDict_Check(dict) && PyDict_GET_SIZE(dict) == 0;
    Py_DECREF(dict);
    return empty;
}

/* Dense, in memory of some device, and nothing about it but sizes, strides and storage. 1, 0, or -1
 * with an exception. */
static int is_plain(const saver *s, PyObject *tensor, dlpack_tensor *view) {
    int (*view_tensor)(void *, dlpack_tensor *) = s->api == NULL ? NULL : s->api->view_tensor;
    if (view_tensor == NULL) return 0;
    if (view_tensor(tensor, view) < 0) {
        PyErr_Clear(); /* sparse, quantized, meta ... */
        return 0;
    }
    if (view->data == NULL || view->ndim > MOST_DIMENSIONS) return 0; /* ZeroTensor, among others */
    int plain = has_no_attributes(s, tensor);
    if (plain == 1) plain = attribute_is_empty(tensor, s->names[NAME_BACKWARD_HOOKS]);
    if (plain == 1) plain = call_is_false(tensor, s->names[NAME_IS_NEG]);
    if (plain == 1 && view->dtype.code == DLPACK_COMPLEX)
        plain = call_is_false(tensor, s->names[NAME_IS_CONJ]);
    return plain;
}

/* (storage, offset, size, stride, requires_grad, hooks[, dtype]) */
static ptio_save_result save_arguments(ptio_collector *c, PyObject *tensor, const dlpack_tensor *view,
                                       PyObject *untyped, PyObject *dtype, PyObject *class_) {
    const saver *s = c->context;
    bool typed = class_ != Py_None;
    size_t number, item = (size_t)(view->dtype.bits * view->dtype.lanes) / 8;
    PyObject *location;
    long long offset = call_int(tensor, s->names[NAME_STORAGE_OFFSET]),
              bytes = call_int(untyped, s->names[NAME_NBYTES]);
    if (PyErr_Occurred()) return PTIO_FAILED;
    SAVE(find_storage(c, untyped, typed ? dtype : s->byte, &number));
    if (view->device_type == DLPACK_CPU) {
        c->storages[number].in_memory = true;
        c->storages[number].address = (uint64_t)(uintptr_t)view->data - (uint64_t)offset * item;
        c->storages[number].bytes = (uint64_t)bytes;
    }
    SAVE(save_location(c, untyped, view->device_type == DLPACK_CPU, &location));
    WRITE(c, ptio_pickler_tuple_begin(&c->pickler, typed ? 6 : 7, &c->err));
    SAVE(ptio_save_storage_id(c, typed ? class_ : s->untyped_type, save_class, &c->storages[number], location,
                              typed ? bytes / (long long)item : bytes));
    WRITE(c, ptio_pickler_int(&c->pickler, offset, &c->err));
    SAVE(ptio_save_int_tuple(c, view->shape, (size_t)view->ndim));
    SAVE(ptio_save_int_tuple(c, view->strides, (size_t)view->ndim));
    int grad = attribute_is(tensor, s->names[NAME_REQUIRES_GRAD], Py_True);
    if (grad < 0) return PTIO_FAILED;
    SAVE(ptio_save(c, grad ? Py_True : Py_False));
    SAVE(ptio_save_empty_ordered_dict(c));
    if (!typed) SAVE(ptio_save(c, dtype));
    return ptio_save_status(c, ptio_pickler_tuple_end(&c->pickler, typed ? 6 : 7, 0, &c->err));
}

static ptio_save_result finish_call(ptio_collector *c, PyObject *object) {
    WRITE(c, ptio_pickler_op(&c->pickler, PTIO_OP_REDUCE, &c->err));
    return ptio_save_status(c, ptio_pickler_memoize(&c->pickler, ptio_memo_key(object), &c->err));
}

static ptio_save_result save_call(ptio_collector *c, PyObject *tensor, const dlpack_tensor *view,
                                  PyObject *untyped, PyObject *dtype) {
    const saver *s = c->context;
    PyObject *class_ = PyDict_GetItemWithError(s->storage_classes, dtype);
    if (class_ == NULL) return PyErr_Occurred() ? PTIO_FAILED : PTIO_NOT_FOR_US;
    SAVE(save_class(c, class_ == Py_None ? s->rebuild_v3 : s->rebuild_v2));
    SAVE(save_arguments(c, tensor, view, untyped, dtype, class_));
    return finish_call(c, tensor);
}

static ptio_save_result save_plain_tensor(ptio_collector *c, PyObject *tensor, const dlpack_tensor *view) {
    const saver *s = c->context;
    ptio_save_result result = PTIO_FAILED;
    PyObject *dtype = PyObject_GetAttr(tensor, s->names[NAME_DTYPE]);
    PyObject *untyped = PyObject_CallMethodNoArgs(tensor, s->names[NAME_UNTYPED_STORAGE]);
    if (dtype && untyped) result = save_call(c, tensor, view, untyped, dtype);
    Py_XDECREF(untyped);
    Py_XDECREF(dtype);
    return result;
}

static ptio_save_result save_as_reduced(ptio_collector *c, PyObject *object) {
    const saver *s = c->context;
    PyObject *reduced = PyObject_CallOneArg(s->reduce, object);
    SAVE(ptio_keep(c, reduced));
    if (reduced == Py_None) return PTIO_NOT_FOR_US;
    if (PyUnicode_Check(reduced)) return save_named(c, object, reduced);
    return ptio_save_reduced(c, object, reduced);
}

static ptio_save_result save_tensor(ptio_collector *c, PyObject *tensor) {
    dlpack_tensor view;
    int64_t sizes[2 * MOST_DIMENSIONS]; /* another thread may resize the tensor meanwhile */
    int plain = is_plain(c->context, tensor, &view);
    if (plain < 0) return PTIO_FAILED;
    if (!plain) return save_as_reduced(c, tensor);
    size_t bytes = (size_t)view.ndim * sizeof *sizes;
    if (bytes > 0) {
        view.shape = memcpy(sizes, view.shape, bytes);
        view.strides = memcpy(sizes + MOST_DIMENSIONS, view.strides, bytes);
    }
    return save_plain_tensor(c, tensor, &view);
}

/* _rebuild_parameter(data, requires_grad, hooks) */
static ptio_save_result save_parameter(ptio_collector *c, PyObject *parameter) {
    const saver *s = c->context;
    int plain = has_no_attributes(s, parameter);
    if (plain <= 0) return plain < 0 ? PTIO_FAILED : save_as_reduced(c, parameter);
    PyObject *data = PyObject_GetAttr(parameter, s->names[NAME_DATA]);
    SAVE(ptio_keep(c, data));
    int grad = attribute_is(parameter, s->names[NAME_REQUIRES_GRAD], Py_True);
    if (grad < 0) return PTIO_FAILED;
    SAVE(save_class(c, s->rebuild_parameter));
    WRITE(c, ptio_pickler_tuple_begin(&c->pickler, 3, &c->err));
    SAVE(ptio_save(c, data));
    SAVE(ptio_save(c, grad ? Py_True : Py_False));
    SAVE(ptio_save_empty_ordered_dict(c));
    WRITE(c, ptio_pickler_tuple_end(&c->pickler, 3, 0, &c->err));
    return finish_call(c, parameter);
}

static ptio_save_result save_other(ptio_collector *c, PyObject *object) {
    const saver *s = c->context;
    PyObject *type = (PyObject *)Py_TYPE(object);
    if (type == s->tensor_type) return save_tensor(c, object);
    if (type == s->parameter_type) return save_parameter(c, object);
    if (type == s->typed_type || type == s->untyped_type) return save_storage(c, object);
    if (PyType_Check(object) || PyFunction_Check(object) || PyCFunction_Check(object))
        return save_class(c, object);
    return save_as_reduced(c, object);
}

PyObject *ptio_collect_torch(PyObject *module, PyObject *args) {
    PyObject *object, *saver_object, *result = NULL;
    ptio_collector collector;
    saver s;
    if (!PyArg_ParseTuple(args, "OO:collect_torch", &object, &saver_object)) return NULL;
    int ready = saver_init(&s, saver_object);
    if (ready == 0 && ptio_collector_init(&collector, PyModule_GetState(module), save_other, &s) == 0)
        result = ptio_collect(&collector, object);
    if (ready == 0) ptio_collector_clear(&collector);
    saver_clear(&s);
    return result;
}
