/* SPDX-License-Identifier: Apache-2.0
 *
 * Plain Python data -> pickle. The order of the cases, what gets into the memo and
 * which objects are made on the way are those of CPython's C pickler: torch.save's
 * files are the same byte for byte.
 */
#include "collect.h"

ptio_save_result ptio_save_status(ptio_collector *c, ptio_status status) {
    if (status == PTIO_OK) return PTIO_SAVED;
    ptio_raise(c->state, &c->err, NULL, NULL);
    return PTIO_FAILED;
}

ptio_save_result ptio_keep(ptio_collector *c, PyObject *object) {
    void *kept = c->kept;
    if (object == NULL) return PTIO_FAILED;
    ptio_status status = PTIO_OK;
    if (c->kept_count == c->kept_capacity)
        status = ptio_pages_grow(&kept, &c->kept_capacity, c->kept_count + 1, sizeof *c->kept, &c->err);
    c->kept = kept;
    if (status == PTIO_OK)
        c->kept[c->kept_count++] = object;
    else
        Py_DECREF(object);
    return ptio_save_status(c, status);
}

static ptio_save_result op(ptio_collector *c, ptio_opcode opcode) {
    return ptio_save_status(c, ptio_pickler_op(&c->pickler, opcode, &c->err));
}

static ptio_save_result memoize(ptio_collector *c, const PyObject *object) {
    return ptio_save_status(c, ptio_pickler_memoize(&c->pickler, ptio_memo_key(object), &c->err));
}

/* --- numbers and text ---------------------------------------------------------------- */

/* object.to_bytes(size, "little", signed=True) */
static PyObject *int_to_bytes(PyObject *object, Py_ssize_t size) {
    PyObject *method = PyObject_GetAttrString(object, "to_bytes"), *bytes = NULL;
    PyObject *arguments = method == NULL ? NULL : Py_BuildValue("(ns)", size, "little");
    PyObject *keywords = arguments == NULL ? NULL : Py_BuildValue("{sO}", "signed", Py_True);
    if (keywords != NULL) bytes = PyObject_Call(method, arguments, keywords);
    Py_XDECREF(keywords);
    Py_XDECREF(arguments);
    Py_XDECREF(method);
    return bytes;
}

static ptio_save_result save_large_int(ptio_collector *c, PyObject *object) {
    PyObject *bits = PyObject_CallMethod(object, "bit_length", NULL);
    Py_ssize_t count = bits == NULL ? -1 : PyLong_AsSsize_t(bits);
    PyObject *bytes = count < 0 ? NULL : int_to_bytes(object, count / 8 + 1);
    Py_XDECREF(bits);
    if (bytes == NULL) return PTIO_FAILED;
    ptio_status status = ptio_pickler_long(&c->pickler, (const uint8_t *)PyBytes_AS_STRING(bytes),
                                           (size_t)PyBytes_GET_SIZE(bytes), &c->err);
    Py_DECREF(bytes);
    return ptio_save_status(c, status);
}

static ptio_save_result save_int(ptio_collector *c, PyObject *object) {
    int overflow;
    long long value = PyLong_AsLongLongAndOverflow(object, &overflow);
    if (overflow) return save_large_int(c, object);
    return ptio_save_status(c, ptio_pickler_int(&c->pickler, value, &c->err));
}

/* Lone surrogates are what UTF-8 does not have, and pickles do. */
static ptio_save_result save_text(ptio_collector *c, PyObject *object) {
    Py_ssize_t size;
    const char *text = PyUnicode_AsUTF8AndSize(object, &size);
    PyObject *bytes = NULL;
    if (text == NULL) {
        PyErr_Clear();
        if ((bytes = PyUnicode_AsEncodedString(object, "utf-8", "surrogatepass")) == NULL) return PTIO_FAILED;
        text = PyBytes_AS_STRING(bytes);
        size = PyBytes_GET_SIZE(bytes);
    }
    ptio_status status = ptio_pickler_text(&c->pickler, text, (size_t)size, &c->err);
    Py_XDECREF(bytes);
    SAVE(ptio_save_status(c, status));
    return memoize(c, object);
}

/* Protocol 2 has no bytes: _codecs.encode(text, "latin1"), or bytes() for none at all, which
 * torch.load(weights_only=True) does not take. */
static ptio_save_result save_bytes(ptio_collector *c, PyObject *object) {
    PyObject *module = NULL, *callee = NULL, *text = NULL, *reduced;
    if (PyBytes_GET_SIZE(object) == 0 && !c->always_encode) {
        reduced = Py_BuildValue("O()", (PyObject *)&PyBytes_Type);
    } else {
        module = PyImport_ImportModule("_codecs");
        callee = module == NULL ? NULL : PyObject_GetAttrString(module, "encode");
        if (callee != NULL)
            text = PyUnicode_DecodeLatin1(PyBytes_AS_STRING(object), PyBytes_GET_SIZE(object), NULL);
        reduced = text == NULL ? NULL : Py_BuildValue("O(OO)", callee, text, c->latin1_word);
    }
    Py_XDECREF(text);
    Py_XDECREF(callee);
    Py_XDECREF(module);
    SAVE(ptio_keep(c, reduced));
    return ptio_save_reduced(c, object, reduced);
}

static ptio_save_result save_bytearray(ptio_collector *c, PyObject *object) {
    PyObject *reduced, *type = (PyObject *)&PyByteArray_Type;
    if (PyByteArray_GET_SIZE(object) == 0)
        reduced = Py_BuildValue("O()", type);
    else
        reduced = Py_BuildValue("O(N)", type, PyBytes_FromObject(object));
    SAVE(ptio_keep(c, reduced));
    return ptio_save_reduced(c, object, reduced);
}

/* --- containers ------------------------------------------------------------------------ */

static ptio_save_result save_tuple(ptio_collector *c, PyObject *tuple) {
    size_t count = (size_t)PyTuple_GET_SIZE(tuple);
    WRITE(c, ptio_pickler_tuple_begin(&c->pickler, count, &c->err));
    for (size_t i = 0; i < count; i++) SAVE(ptio_save(c, PyTuple_GET_ITEM(tuple, (Py_ssize_t)i)));
    return ptio_save_status(c, ptio_pickler_tuple_end(&c->pickler, count, ptio_memo_key(tuple), &c->err));
}

/* Saving an item may run code that changes the list: as in the pickler, what is there by
 * then is saved. */
static ptio_save_result save_items(ptio_collector *c, PyObject *list, bool exact) {
    ptio_pickler_batch batch = {.exact = exact};
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(list) && !batch.single; i++) {
        WRITE(c, ptio_pickler_item_begin(&c->pickler, &batch, i + 1 == PyList_GET_SIZE(list), &c->err));
        PyObject *item = Py_NewRef(PyList_GET_ITEM(list, i));
        ptio_save_result result = ptio_save(c, item);
        Py_DECREF(item);
        SAVE(result);
        WRITE(c, ptio_pickler_item_end(&c->pickler, &batch, i + 1 >= PyList_GET_SIZE(list), &c->err));
    }
    return PTIO_SAVED;
}

static ptio_save_result save_list(ptio_collector *c, PyObject *list) {
    SAVE(op(c, PTIO_OP_EMPTY_LIST));
    SAVE(memoize(c, list));
    return save_items(c, list, true);
}

static ptio_save_result save_pair(ptio_collector *c, PyObject *key, PyObject *value) {
    Py_INCREF(key);
    Py_INCREF(value);
    ptio_save_result result = ptio_save(c, key);
    if (result == PTIO_SAVED) result = ptio_save(c, value);
    Py_DECREF(key);
    Py_DECREF(value);
    return result;
}

static ptio_save_result save_dict_items(ptio_collector *c, PyObject *dict) {
    ptio_pickler_batch batch = {.pairs = true, .exact = true};
    Py_ssize_t size = PyDict_GET_SIZE(dict), at = 0;
    PyObject *key, *value;
    bool more = PyDict_Next(dict, &at, &key, &value);
    while (more && !batch.single) {
        WRITE(c, ptio_pickler_item_begin(&c->pickler, &batch, size == 1, &c->err));
        SAVE(save_pair(c, key, value)); /* may run code that changes the dict */
        more = PyDict_Next(dict, &at, &key, &value);
        WRITE(c, ptio_pickler_item_end(&c->pickler, &batch, !more, &c->err));
        if (PyDict_GET_SIZE(dict) != size && !batch.single) {
            PyErr_SetString(PyExc_RuntimeError, "dictionary changed size during iteration");
            return PTIO_FAILED;
        }
    }
    return PTIO_SAVED;
}

static ptio_save_result save_dict(ptio_collector *c, PyObject *dict) {
    SAVE(op(c, PTIO_OP_EMPTY_DICT));
    SAVE(memoize(c, dict));
    return save_dict_items(c, dict);
}

/* The items that __reduce_ex__ gave: pairs of a list. */
static ptio_save_result save_reduced_pairs(ptio_collector *c, PyObject *list) {
    ptio_pickler_batch batch = {.pairs = true};
    for (Py_ssize_t i = 0, count = PyList_GET_SIZE(list); i < count; i++) {
        PyObject *pair = PyList_GET_ITEM(list, i);
        if (!PyTuple_CheckExact(pair) || PyTuple_GET_SIZE(pair) != 2) return PTIO_NOT_FOR_US;
        WRITE(c, ptio_pickler_item_begin(&c->pickler, &batch, i + 1 == count, &c->err));
        SAVE(save_pair(c, PyTuple_GET_ITEM(pair, 0), PyTuple_GET_ITEM(pair, 1)));
        WRITE(c, ptio_pickler_item_end(&c->pickler, &batch, i + 1 == count, &c->err));
    }
    return PTIO_SAVED;
}

/* set([items]), frozenset([items]) */
static ptio_save_result save_set(ptio_collector *c, PyObject *set) {
    PyObject *items = PySequence_List(set);
    PyObject *reduced = items == NULL ? NULL : Py_BuildValue("O(N)", (PyObject *)Py_TYPE(set), items);
    SAVE(ptio_keep(c, reduced));
    return ptio_save_reduced(c, set, reduced);
}

/* --- calls ------------------------------------------------------------------------------- */

ptio_save_result ptio_save_global(ptio_collector *c, PyObject *object, const char *module, const char *name) {
    bool known;
    WRITE(c, ptio_pickler_recall(&c->pickler, ptio_memo_key(object), &known, &c->err));
    if (known) return PTIO_SAVED;
    WRITE(c, ptio_pickler_global(&c->pickler, module, name, &c->err));
    return memoize(c, object);
}

/* The iterators of __reduce_ex__, whole; NULL for None. */
static ptio_save_result read_items(ptio_collector *c, PyObject *reduced, Py_ssize_t at, PyObject **items) {
    PyObject *iterator = PyTuple_GET_SIZE(reduced) > at ? PyTuple_GET_ITEM(reduced, at) : Py_None;
    *items = NULL;
    if (iterator == Py_None) return PTIO_SAVED;
    *items = PySequence_List(iterator);
    return ptio_keep(c, *items);
}

ptio_save_result ptio_save_reduced(ptio_collector *c, PyObject *object, PyObject *reduced) {
    Py_ssize_t size = PyTuple_CheckExact(reduced) ? PyTuple_GET_SIZE(reduced) : 0;
    if (size < 2 || size > 5 || !PyTuple_CheckExact(PyTuple_GET_ITEM(reduced, 1))) return PTIO_NOT_FOR_US;
    SAVE(ptio_save(c, PyTuple_GET_ITEM(reduced, 0)));
    SAVE(ptio_save(c, PyTuple_GET_ITEM(reduced, 1)));
    SAVE(op(c, PTIO_OP_REDUCE));
    if (ptio_pickler_knows(&c->pickler, ptio_memo_key(object))) return PTIO_NOT_FOR_US; /* it holds itself */
    SAVE(memoize(c, object));
    return ptio_save_contents(c, reduced);
}

ptio_save_result ptio_save_contents(ptio_collector *c, PyObject *reduced) {
    PyObject *items, *pairs;
    SAVE(read_items(c, reduced, 3, &items));
    if (items != NULL) SAVE(save_items(c, items, false));
    SAVE(read_items(c, reduced, 4, &pairs));
    if (pairs != NULL) SAVE(save_reduced_pairs(c, pairs));
    if (PyTuple_GET_SIZE(reduced) < 3 || PyTuple_GET_ITEM(reduced, 2) == Py_None) return PTIO_SAVED;
    SAVE(ptio_save(c, PyTuple_GET_ITEM(reduced, 2)));
    return op(c, PTIO_OP_BUILD);
}

ptio_save_result ptio_save_empty_ordered_dict(ptio_collector *c) {
    SAVE(ptio_save_global(c, (PyObject *)&PyODict_Type, "collections", "OrderedDict"));
    SAVE(op(c, PTIO_OP_EMPTY_TUPLE));
    SAVE(op(c, PTIO_OP_REDUCE));
    return ptio_save_status(c, ptio_pickler_memoize(&c->pickler, 0, &c->err));
}

ptio_save_result ptio_save_int_tuple(ptio_collector *c, const int64_t *values, size_t count) {
    WRITE(c, ptio_pickler_tuple_begin(&c->pickler, count, &c->err));
    for (size_t i = 0; i < count; i++) WRITE(c, ptio_pickler_int(&c->pickler, values[i], &c->err));
    return ptio_save_status(c, ptio_pickler_tuple_end(&c->pickler, count, 0, &c->err));
}

/* str(number), the same object for one storage. Of a single digit it may be an object that comes
 * elsewhere, too: some versions of Python have one for each character. Longer ones are nobody else's. */
static ptio_save_result save_key(ptio_collector *c, size_t storage) {
    char digits[20], *end = digits + sizeof digits, *begin = ptio_put_digits(storage, end);
    ptio_saved_storage *s = &c->storages[storage];
    if (storage < 10) {
        PyObject *number = s->key == NULL ? PyLong_FromSize_t(storage) : NULL;
        if (number != NULL) s->key = PyObject_Str(number);
        Py_XDECREF(number);
        return s->key == NULL ? PTIO_FAILED : ptio_save(c, s->key);
    }
    if (s->key_memo != 0) return ptio_save_status(c, ptio_pickler_get(&c->pickler, s->key_memo, &c->err));
    WRITE(c, ptio_pickler_text(&c->pickler, begin, (size_t)(end - begin), &c->err));
    s->key_memo = c->pickler.memo_count;
    return ptio_save_status(c, ptio_pickler_memoize(&c->pickler, 0, &c->err));
}

ptio_save_result ptio_save_storage_id(ptio_collector *c, PyObject *class_, ptio_save_class save_class,
                                      size_t storage, PyObject *location, int64_t numel) {
    WRITE(c, ptio_pickler_tuple_begin(&c->pickler, 5, &c->err));
    SAVE(ptio_save(c, c->storage_word));
    SAVE(save_class(c, class_));
    SAVE(save_key(c, storage));
    SAVE(ptio_save(c, location));
    WRITE(c, ptio_pickler_int(&c->pickler, numel, &c->err));
    WRITE(c, ptio_pickler_tuple_end(&c->pickler, 5, 0, &c->err));
    return op(c, PTIO_OP_BINPERSID);
}

/* --- the walk ------------------------------------------------------------------------------ */

static ptio_save_result save_deep(ptio_collector *c, PyObject *object) {
    if (PyDict_CheckExact(object)) return save_dict(c, object);
    if (PyList_CheckExact(object)) return save_list(c, object);
    if (PyTuple_CheckExact(object)) return save_tuple(c, object);
    if (PyBytes_CheckExact(object)) return save_bytes(c, object);
    if (PySet_CheckExact(object) || PyFrozenSet_CheckExact(object)) return save_set(c, object);
    if (PyByteArray_CheckExact(object)) return save_bytearray(c, object);
    return c->other(c, object);
}

ptio_save_result ptio_save(ptio_collector *c, PyObject *object) {
    bool known;
    if (object == Py_None) return op(c, PTIO_OP_NONE);
    if (object == Py_True) return op(c, PTIO_OP_NEWTRUE);
    if (object == Py_False) return op(c, PTIO_OP_NEWFALSE);
    if (PyLong_CheckExact(object)) return save_int(c, object);
    if (PyFloat_CheckExact(object))
        return ptio_save_status(c, ptio_pickler_float(&c->pickler, PyFloat_AS_DOUBLE(object), &c->err));
    WRITE(c, ptio_pickler_recall(&c->pickler, ptio_memo_key(object), &known, &c->err));
    if (known) return PTIO_SAVED;
    SAVE(ptio_keep(c, Py_NewRef(object)));
    if (PyUnicode_CheckExact(object)) return save_text(c, object);
    if (Py_EnterRecursiveCall(" while pickling an object")) return PTIO_FAILED;
    ptio_save_result result = save_deep(c, object);
    Py_LeaveRecursiveCall();
    return result;
}

/* --- the whole ------------------------------------------------------------------------------- */

int ptio_collector_init(ptio_collector *c, ptio_state *state, ptio_save_other other, void *context) {
    memset(c, 0, sizeof *c);
    c->state = state;
    c->other = other;
    c->context = context;
    if ((c->storage_word = PyUnicode_InternFromString("storage")) == NULL) return -1;
    if ((c->cpu_word = PyUnicode_InternFromString("cpu")) == NULL) return -1;
    return (c->latin1_word = PyUnicode_InternFromString("latin1")) == NULL ? -1 : 0;
}

void ptio_collector_clear(ptio_collector *c) {
    for (size_t i = 0; i < c->storage_count; i++) {
        Py_XDECREF(c->storages[i].owner);
        Py_XDECREF(c->storages[i].dtype);
        Py_XDECREF(c->storages[i].key);
    }
    ptio_pages_free_array(c->storages, c->storage_capacity, sizeof *c->storages);
    ptio_pickler_free(&c->pickler);
    for (size_t i = 0; i < c->kept_count; i++) Py_DECREF(c->kept[i]);
    ptio_pages_free_array(c->kept, c->kept_capacity, sizeof *c->kept);
    Py_CLEAR(c->storage_word);
    Py_CLEAR(c->cpu_word);
    Py_CLEAR(c->latin1_word);
}

static ptio_save_result save_root(ptio_collector *c, PyObject *object) {
    WRITE(c, ptio_pickler_begin(&c->pickler, &c->err));
    SAVE(ptio_save(c, object));
    return ptio_save_status(c, ptio_pickler_end(&c->pickler, &c->err));
}

static void free_bytes(PyObject *capsule) {
    size_t size = (size_t)(uintptr_t)PyCapsule_GetContext(capsule);
    ptio_pages_free_array(PyCapsule_GetPointer(capsule, NULL), size, 1);
}

/* Hands the bytes over as they are: the pickle of many tensors is large. */
static PyObject *take_pickle(ptio_pickler *p) {
    npy_intp size = (npy_intp)p->size;
    PyObject *array = PyArray_SimpleNewFromData(1, &size, NPY_UINT8, p->bytes);
    PyObject *owner = array == NULL ? NULL : PyCapsule_New(p->bytes, NULL, free_bytes);
    if (owner == NULL) {
        Py_XDECREF(array);
        return NULL;
    }
    (void)PyCapsule_SetContext(owner, (void *)(uintptr_t)p->capacity); /* fails for other objects only */
    *p = (ptio_pickler){.bytes = NULL};
    if (PyArray_SetBaseObject((PyArrayObject *)array, owner) == 0) return array;
    Py_DECREF(array);
    return NULL;
}

PyObject *ptio_collect(ptio_collector *c, PyObject *object) {
    /* Many small objects and no garbage: collecting meanwhile would only cost time. */
    int collected = PyGC_Disable();
    ptio_save_result result = save_root(c, object);
    if (collected) PyGC_Enable();
    if (result == PTIO_NOT_FOR_US) Py_RETURN_NONE;
    if (result == PTIO_FAILED) return NULL;
    return take_pickle(&c->pickler);
}
