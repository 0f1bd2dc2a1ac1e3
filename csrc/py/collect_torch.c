/* SPDX-License-Identifier: Apache-2.0
 *
 * torch's values -> pickle. Plain tensors and parameters are written without a call of
 * Python but torch's own getters; all others as their __reduce_ex__ says, which the saver
 * (ptio/torch/_saver.py) asks for.
 */
#include "collect.h"
#include "dlpack_abi.h"

enum { MOST_DIMENSIONS = 64 }; /* torch has no more */

typedef struct {
    PyObject *tensor_type, *parameter_type, *typed_type, *untyped_type;
    PyObject *rebuild_v2, *rebuild_v3, *rebuild_parameter;
    PyObject *byte;            /* torch.uint8: what untyped storages count */
    PyObject *storage_classes; /* {torch.dtype: storage class, or None where it is untyped} */
    PyObject *describe, *location, *name, *reduce;
    PyObject *cpu_is_cpu; /* bool: nobody registered another tag for it */
    /* torch's own methods and getters, without self: to look one up takes as long as its work. */
    PyObject *is_conj, *is_neg, *storage_offset, *untyped_storage; /* methods of a tensor */
    PyObject *backward_hooks, *data, *dtype, *requires_grad;       /* getters of a tensor */
    PyObject *data_ptr, *nbytes;                                   /* methods of a storage */
    PyObject *cdata;                                               /* getter of a storage */
    const dlpack_exchange_api *api;
    ptio_address_map at_address; /* memory -> number of the first storage over it */
    ptio_address_map in_torch;   /* storage in torch -> its number, of all other storages */
} saver;

static const ptio_attribute saver_parts[] = {{"Tensor", offsetof(saver, tensor_type)},
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
                                             {"cpu_is_cpu", offsetof(saver, cpu_is_cpu)},
                                             {NULL}},
                            tensor_parts[] = {{"is_conj", offsetof(saver, is_conj)},
                                              {"is_neg", offsetof(saver, is_neg)},
                                              {"storage_offset", offsetof(saver, storage_offset)},
                                              {"untyped_storage", offsetof(saver, untyped_storage)},
                                              {"_backward_hooks", offsetof(saver, backward_hooks)},
                                              {"data", offsetof(saver, data)},
                                              {"dtype", offsetof(saver, dtype)},
                                              {"requires_grad", offsetof(saver, requires_grad)},
                                              {NULL}},
                            storage_parts[] = {{"data_ptr", offsetof(saver, data_ptr)},
                                               {"nbytes", offsetof(saver, nbytes)},
                                               {"_cdata", offsetof(saver, cdata)},
                                               {NULL}};

static int saver_init(saver *s, PyObject *object) {
    memset(s, 0, sizeof *s);
    if (ptio_read_attributes(object, saver_parts, s) < 0) return -1;
    if (ptio_read_attributes(s->tensor_type, tensor_parts, s) < 0) return -1;
    if (ptio_read_attributes(s->untyped_type, storage_parts, s) < 0) return -1;
    return ptio_find_exchange_api(s->tensor_type, &s->api);
}

static void saver_clear(saver *s) {
    ptio_clear_attributes(saver_parts, s);
    ptio_clear_attributes(tensor_parts, s);
    ptio_clear_attributes(storage_parts, s);
    ptio_address_map_free(&s->at_address);
    ptio_address_map_free(&s->in_torch);
}

/* --- what torch says ------------------------------------------------------------------------- */

/* As object.attribute: any descriptor, or a value that all objects share. */
static PyObject *get(PyObject *getter, PyObject *object) {
    descrgetfunc read = Py_TYPE(getter)->tp_descr_get;
    return read == NULL ? Py_NewRef(getter) : read(getter, object, (PyObject *)Py_TYPE(object));
}

/* 1, 0, or -1 with an exception; steals. */
static int truth_of(PyObject *answer) {
    if (answer == Py_None || answer == Py_False || answer == Py_True) {
        Py_DECREF(answer); /* never the last one */
        return answer == Py_True;
    }
    int truth = answer == NULL ? -1 : PyObject_IsTrue(answer);
    Py_XDECREF(answer);
    return truth;
}

/* object.method() -> a number, or -1 with an exception */
static long long call_int(PyObject *method, PyObject *object) {
    PyObject *answer = PyObject_CallOneArg(method, object);
    long long value = answer == NULL ? -1 : PyLong_AsLongLong(answer);
    Py_XDECREF(answer);
    return value;
}

/* object.address; 0 may come with an exception. */
static uint64_t get_address(PyObject *getter, PyObject *object) {
    PyObject *answer = get(getter, object);
    uint64_t address = answer == NULL ? 0 : (uint64_t)(uintptr_t)PyLong_AsVoidPtr(answer);
    Py_XDECREF(answer);
    return address;
}

/* Does not make the dict, which stays empty as a rule, as reading __dict__ would. */
static bool has_no_attributes(PyObject *object) {
    PyObject **dict = _PyObject_GetDictPtr(object);
    return dict == NULL || *dict == NULL || PyDict_GET_SIZE(*dict) == 0;
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

static ptio_save_result add_storage(ptio_collector *c, PyObject *untyped, PyObject *dtype,
                                    ptio_address_map *map, uint64_t key) {
    void *items = c->storages;
    WRITE(c,
          ptio_pages_grow(&items, &c->storage_capacity, c->storage_count + 1, sizeof *c->storages, &c->err));
    c->storages = items;
    WRITE(c, ptio_address_map_put(map, key, c->storage_count, &c->err));
    c->storages[c->storage_count++] =
        (ptio_saved_storage){.owner = Py_NewRef(untyped), .dtype = Py_NewRef(dtype)};
    return PTIO_SAVED;
}

/* The number of a storage whose address does not tell it from others: several may share memory,
 * which somebody else owns, and without memory there is no address. */
static ptio_save_result find_in_torch(ptio_collector *c, PyObject *untyped, PyObject *dtype,
                                      const uint64_t *first, size_t *number) {
    saver *s = c->context;
    uint64_t sought = get_address(s->cdata, untyped), other = 0;
    if (sought != 0 && first != NULL) other = get_address(s->cdata, c->storages[*first].owner);
    if (sought == 0 || (first != NULL && other == 0)) {
        if (!PyErr_Occurred()) PyErr_SetString(PyExc_RuntimeError, "a storage has no address in torch");
        return PTIO_FAILED;
    }
    const uint64_t *known = sought == other ? first : ptio_address_map_find(&s->in_torch, sought);
    *number = known == NULL ? c->storage_count : (size_t)*known;
    return known == NULL ? add_storage(c, untyped, dtype, &s->in_torch, sought) : PTIO_SAVED;
}

/* The number of a torch.UntypedStorage; new ones are added. One memory cannot be saved as two
 * dtypes: loading could not make them share it. */
static ptio_save_result find_storage(ptio_collector *c, PyObject *untyped, uint64_t address, PyObject *dtype,
                                     size_t *number) {
    saver *s = c->context;
    const uint64_t *first = ptio_address_map_find(&s->at_address, address);
    if (first != NULL && c->storages[*first].dtype != dtype) {
        PyErr_SetString(
            PyExc_RuntimeError,
            "Cannot save multiple tensors or storages that view the same data as different types");
        return PTIO_FAILED;
    }
    *number = first == NULL ? c->storage_count : (size_t)*first;
    if (first == NULL && address != 0) return add_storage(c, untyped, dtype, &s->at_address, address);
    if (first != NULL && c->storages[*first].owner == untyped) return PTIO_SAVED;
    return find_in_torch(c, untyped, dtype, first, number);
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
    long long address = call_int(s->data_ptr, untyped);
    if (PyErr_Occurred()) return PTIO_FAILED;
    SAVE(find_storage(c, untyped, (uint64_t)address, dtype, &number));
    return ptio_save_storage_id(c, class_, save_class, number, location, numel);
}

/* --- tensors --------------------------------------------------------------------------------------- */

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
    if (!has_no_attributes(tensor)) return 0;
    /* None, or the empty OrderedDict that torch.load leaves. */
    int other = truth_of(get(s->backward_hooks, tensor));
    if (other == 0) other = truth_of(PyObject_CallOneArg(s->is_neg, tensor));
    if (other == 0 && view->dtype.code == DLPACK_COMPLEX)
        other = truth_of(PyObject_CallOneArg(s->is_conj, tensor));
    return other < 0 ? -1 : !other;
}

static size_t element_size(const dlpack_tensor *view) {
    return (size_t)(view->dtype.bits * view->dtype.lanes) / 8;
}

/* Where the storage of a tensor lies. Devices have addresses of their own, which DLPack changes. */
static ptio_save_result measure(const saver *s, PyObject *untyped, const dlpack_tensor *view,
                                long long offset, uint64_t *address, long long *bytes) {
    *address = (uint64_t)(uintptr_t)view->data - (uint64_t)offset * element_size(view);
    *bytes = call_int(s->nbytes, untyped);
    if (*bytes == -1 && PyErr_Occurred()) return PTIO_FAILED;
    if (view->device_type == DLPACK_CPU) return PTIO_SAVED;
    *address = (uint64_t)call_int(s->data_ptr, untyped);
    return PyErr_Occurred() ? PTIO_FAILED : PTIO_SAVED;
}

/* (storage, offset, size, stride, requires_grad, hooks[, dtype]) */
static ptio_save_result save_arguments(ptio_collector *c, PyObject *tensor, const dlpack_tensor *view,
                                       PyObject *untyped, PyObject *dtype, PyObject *class_) {
    const saver *s = c->context;
    bool typed = class_ != Py_None;
    size_t number;
    PyObject *location;
    long long bytes, offset = call_int(s->storage_offset, tensor);
    uint64_t address;
    if (offset == -1 && PyErr_Occurred()) return PTIO_FAILED;
    SAVE(measure(s, untyped, view, offset, &address, &bytes));
    SAVE(find_storage(c, untyped, address, typed ? dtype : s->byte, &number));
    if (view->device_type == DLPACK_CPU) {
        c->storages[number].in_memory = true;
        c->storages[number].address = address;
        c->storages[number].bytes = (uint64_t)bytes;
    }
    SAVE(save_location(c, untyped, view->device_type == DLPACK_CPU, &location));
    WRITE(c, ptio_pickler_tuple_begin(&c->pickler, typed ? 6 : 7, &c->err));
    SAVE(ptio_save_storage_id(c, typed ? class_ : s->untyped_type, save_class, number, location,
                              typed ? bytes / (long long)element_size(view) : bytes));
    WRITE(c, ptio_pickler_int(&c->pickler, offset, &c->err));
    SAVE(ptio_save_int_tuple(c, view->shape, (size_t)view->ndim));
    SAVE(ptio_save_int_tuple(c, view->strides, (size_t)view->ndim));
    int grad = truth_of(get(s->requires_grad, tensor));
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
    PyObject *dtype = get(s->dtype, tensor);
    PyObject *untyped = PyObject_CallOneArg(s->untyped_storage, tensor);
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
    if (!has_no_attributes(parameter)) return save_as_reduced(c, parameter);
    PyObject *data = get(s->data, parameter);
    SAVE(ptio_keep(c, data));
    int grad = truth_of(get(s->requires_grad, parameter));
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

/* --- the whole --- */

static PyObject *list_owners(const ptio_collector *c) {
    PyObject *owners = PyTuple_New((Py_ssize_t)c->storage_count);
    for (size_t i = 0; owners != NULL && i < c->storage_count; i++)
        PyTuple_SET_ITEM(owners, (Py_ssize_t)i, Py_NewRef(c->storages[i].owner));
    return owners;
}

/* Address and size of each, as two uint64, for ArchiveWriter.add_storages; None where that is not
 * known of all. */
static PyObject *list_places(const ptio_collector *c) {
    for (size_t i = 0; i < c->storage_count; i++)
        if (!c->storages[i].in_memory) Py_RETURN_NONE;
    PyObject *places = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)(c->storage_count * 2 * sizeof(uint64_t)));
    for (size_t i = 0; places != NULL && i < c->storage_count; i++) {
        uint64_t place[2] = {c->storages[i].address, c->storages[i].bytes};
        memcpy(PyBytes_AS_STRING(places) + i * sizeof place, place, sizeof place);
    }
    return places;
}

/* (pickle, owners of the storages, their places or None) */
static PyObject *collect(ptio_collector *c, PyObject *object) {
    PyObject *pickle = ptio_collect(c, object);
    if (pickle == NULL || pickle == Py_None) return pickle;
    return Py_BuildValue("NNN", pickle, list_owners(c), list_places(c));
}

PyObject *ptio_collect_torch(PyObject *module, PyObject *args) {
    PyObject *object, *saver_object, *result = NULL;
    ptio_collector collector;
    saver s;
    if (!PyArg_ParseTuple(args, "OO:collect_torch", &object, &saver_object)) return NULL;
    int ready = saver_init(&s, saver_object);
    if (ready == 0 && ptio_collector_init(&collector, PyModule_GetState(module), save_other, &s) == 0)
        result = collect(&collector, object);
    if (ready == 0) ptio_collector_clear(&collector);
    saver_clear(&s);
    return result;
}
