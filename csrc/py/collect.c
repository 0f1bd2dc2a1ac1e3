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
    if (object == NULL) return PTIO_FAILED;
    int status = PyList_Append(c->kept, object);
    Py_DECREF(object);
    return status < 0 ? PTIO_FAILED : PTIO_SAVED;
}

static ptio_save_result op(ptio_collector *c, ptio_opcode opcode) {
    return ptio_save_status(c, ptio_pickler_op(&c->pickler, opcode, &c->err));
}

static ptio_save_result memoize(ptio_collector *c, const PyObject *object) {
    return ptio_save_status(c, ptio_pickler_memoize(&c->pickler, ptio_memo_key(object), &c->err));
}

/* --- numbers and text ---------------------------------------------------------------- */

static ptio_save_result save_large_int(ptio_collector *c, PyObject *object) {
    PyObject *bits = PyObject_CallMethod(object, "bit_length", NULL);
    Py_ssize_t count = bits == NULL ? -1 : PyLong_AsSsize_t(bits);
    PyObject *method = PyObject_GetAttrString(object, "to_bytes");
    PyObject *arguments = Py_BuildValue("(ns)", count / 8 + 1, "little");
    PyObject *keywords = Py_BuildValue("{sO}", "signed", Py_True), *bytes = NULL;
    if (count >= 0 && method && arguments && keywords) bytes = PyObject_Call(method, arguments, keywords);
    Py_XDECREF(keywords);
    Py_XDECREF(arguments);
    Py_XDECREF(method);
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

/* Protocol 2 has no bytes: _codecs.encode(text, "latin1"), or bytes(). */
static ptio_save_result save_bytes(ptio_collector *c, PyObject *object) {
    PyObject *module = NULL, *callee = NULL, *text = NULL, *reduced;
    if (PyBytes_GET_SIZE(object) == 0) {
        reduced = Py_BuildValue("O()", (PyObject *)&PyBytes_Type);
    } else {
        module = PyImport_ImportModule("_codecs");
        callee = module == NULL ? NULL : PyObject_GetAttrString(module, "encode");
        text = PyUnicode_DecodeLatin1(PyBytes_AS_STRING(object), PyBytes_GET_SIZE(object), NULL);
        reduced = callee && text ? Py_BuildValue("O(OO)", callee, text, c->latin1_word) : NULL;
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

static ptio_save_result changed(const char *what) {
    PyErr_Format(PyExc_RuntimeError, "%s changed size during iteration", what);
    return PTIO_FAILED;
}

static ptio_save_result save_tuple(ptio_collector *c, PyObject *tuple) {
    size_t count = (size_t)PyTuple_GET_SIZE(tuple);
    WRITE(c, ptio_pickler_tuple_begin(&c->pickler, count, &c->err));
    for (size_t i = 0; i < count; i++) SAVE(ptio_save(c, PyTuple_GET_ITEM(tuple, (Py_ssize_t)i)));
    return ptio_save_status(c, ptio_pickler_tuple_end(&c->pickler, count, ptio_memo_key(tuple), &c->err));
}

static ptio_save_result save_items(ptio_collector *c, PyObject *list, bool exact) {
    ptio_pickler_batch batch = {.count = (uint64_t)PyList_GET_SIZE(list), .exact = exact};
    for (uint64_t i = 0; i < batch.count; i++) {
        if ((uint64_t)PyList_GET_SIZE(list) != batch.count) return changed("list");
        PyObject *item = Py_NewRef(PyList_GET_ITEM(list, (Py_ssize_t)i));
        ptio_save_result result = ptio_save_status(c, ptio_pickler_item_begin(&c->pickler, &batch, &c->err));
        if (result == PTIO_SAVED) result = ptio_save(c, item);
        Py_DECREF(item);
        SAVE(result);
        WRITE(c, ptio_pickler_item_end(&c->pickler, &batch, &c->err));
    }
    return PTIO_SAVED;
}

static ptio_save_result save_list(ptio_collector *c, PyObject *list) {
    SAVE(op(c, PTIO_OP_EMPTY_LIST));
    SAVE(memoize(c, list));
    return save_items(c, list, true);
}

static ptio_save_result save_pair(ptio_collector *c, ptio_pickler_batch *batch, PyObject *key,
                                  PyObject *value) {
    WRITE(c, ptio_pickler_item_begin(&c->pickler, batch, &c->err));
    SAVE(ptio_save(c, key));
    SAVE(ptio_save(c, value));
    return ptio_save_status(c, ptio_pickler_item_end(&c->pickler, batch, &c->err));
}

static ptio_save_result save_dict(ptio_collector *c, PyObject *dict) {
    PyObject *key, *value;
    Py_ssize_t at = 0;
    SAVE(op(c, PTIO_OP_EMPTY_DICT));
    SAVE(memoize(c, dict));
    ptio_pickler_batch batch = {.count = (uint64_t)PyDict_GET_SIZE(dict), .pairs = true, .exact = true};
    while (PyDict_Next(dict, &at, &key, &value)) {
        Py_INCREF(key);
        Py_INCREF(value);
        ptio_save_result result = save_pair(c, &batch, key, value);
        Py_DECREF(key);
        Py_DECREF(value);
        SAVE(result);
        if ((uint64_t)PyDict_GET_SIZE(dict) != batch.count) return changed("dictionary");
    }
    return PTIO_SAVED;
}

/* The items that __reduce_ex__ gave: pairs of a list. */
static ptio_save_result save_reduced_pairs(ptio_collector *c, PyObject *list) {
    ptio_pickler_batch batch = {.count = (uint64_t)PyList_GET_SIZE(list), .pairs = true};
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(list); i++) {
        PyObject *pair = PyList_GET_ITEM(list, i);
        if (!PyTuple_CheckExact(pair) || PyTuple_GET_SIZE(pair) != 2) return PTIO_NOT_FOR_US;
        SAVE(save_pair(c, &batch, PyTuple_GET_ITEM(pair, 0), PyTuple_GET_ITEM(pair, 1)));
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
    PyObject *items, *pairs;
    Py_ssize_t size = PyTuple_CheckExact(reduced) ? PyTuple_GET_SIZE(reduced) : 0;
    if (size < 2 || size > 5 || !PyTuple_CheckExact(PyTuple_GET_ITEM(reduced, 1))) return PTIO_NOT_FOR_US;
    SAVE(ptio_save(c, PyTuple_GET_ITEM(reduced, 0)));
    SAVE(ptio_save(c, PyTuple_GET_ITEM(reduced, 1)));
    SAVE(op(c, PTIO_OP_REDUCE));
    if (ptio_pickler_knows(&c->pickler, ptio_memo_key(object))) return PTIO_NOT_FOR_US; /* it holds itself */
    SAVE(memoize(c, object));
    SAVE(read_items(c, reduced, 3, &items));
    if (items != NULL) SAVE(save_items(c, items, false));
    SAVE(read_items(c, reduced, 4, &pairs));
    if (pairs != NULL) SAVE(save_reduced_pairs(c, pairs));
    if (size < 3 || PyTuple_GET_ITEM(reduced, 2) == Py_None) return PTIO_SAVED;
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

ptio_save_result ptio_save_storage_id(ptio_collector *c, PyObject *class_, ptio_save_class save_class,
                                      const ptio_saved_storage *storage, PyObject *location, int64_t numel) {
    PyObject *key = storage->key; /* the table may move */
    WRITE(c, ptio_pickler_tuple_begin(&c->pickler, 5, &c->err));
    SAVE(ptio_save(c, c->storage_word));
    SAVE(save_class(c, class_));
    SAVE(ptio_save(c, key));
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
    if (PyUnicode_CheckExact(object)) return save_text(c, object);
    if (Py_EnterRecursiveCall(" while saving an object")) return PTIO_FAILED;
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
    c->kept = PyList_New(0);
    c->storage_word = PyUnicode_InternFromString("storage");
    c->cpu_word = PyUnicode_InternFromString("cpu");
    c->latin1_word = PyUnicode_InternFromString("latin1");
    return c->kept && c->storage_word && c->cpu_word && c->latin1_word ? 0 : -1;
}

void ptio_collector_clear(ptio_collector *c) {
    for (size_t i = 0; i < c->storage_count; i++) {
        Py_XDECREF(c->storages[i].owner);
        Py_XDECREF(c->storages[i].key);
        Py_XDECREF(c->storages[i].dtype);
    }
    ptio_free(c->storages);
    ptio_pickler_free(&c->pickler);
    Py_CLEAR(c->kept);
    Py_CLEAR(c->storage_word);
    Py_CLEAR(c->cpu_word);
    Py_CLEAR(c->latin1_word);
}

static ptio_save_result save_root(ptio_collector *c, PyObject *object) {
    WRITE(c, ptio_pickler_begin(&c->pickler, &c->err));
    SAVE(ptio_save(c, object));
    return ptio_save_status(c, ptio_pickler_end(&c->pickler, &c->err));
}

PyObject *ptio_collect(ptio_collector *c, PyObject *object) {
    ptio_save_result result = save_root(c, object);
    if (result == PTIO_NOT_FOR_US) Py_RETURN_NONE;
    if (result == PTIO_FAILED) return NULL;
    PyObject *owners = PyList_New((Py_ssize_t)c->storage_count);
    for (size_t i = 0; owners != NULL && i < c->storage_count; i++)
        PyList_SET_ITEM(owners, (Py_ssize_t)i, Py_NewRef(c->storages[i].owner));
    return Py_BuildValue("y#N", (const char *)c->pickler.bytes, (Py_ssize_t)c->pickler.size, owners);
}
