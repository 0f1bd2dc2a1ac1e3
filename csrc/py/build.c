/* SPDX-License-Identifier: Apache-2.0
 *
 * Graph -> Python objects: one pass over the nodes in stream order. A node's
 * children stand before it, so nothing recurses; a container is made empty and
 * filled when its fills come, as the pickle machine would have done.
 */
#include "module.h"

enum { NODES_BETWEEN_SIGNALS = 1 << 16 };

/* --- text and numbers ------------------------------------------------------------------ */

static PyObject *make_str(const ptio_graph *graph, const ptio_node *node) {
    const char *text = (const char *)ptio_text(graph, node);
    if (node->flags & PTIO_F_ASCII) {
        PyObject *str = PyUnicode_New(node->a, 127);
        if (str != NULL && node->a > 0) memcpy(PyUnicode_1BYTE_DATA(str), text, node->a);
        return str;
    }
    return PyUnicode_DecodeUTF8(text, node->a, "surrogatepass");
}

/* Text of Python 2: decoded as the caller says, or left as bytes. The data of an array need
 * not be text; what else refers to it still gets text where it is some. */
static PyObject *make_py2_str(const ptio_builder *b, const ptio_node *node) {
    const char *text = (const char *)ptio_text(b->graph, node);
    PyObject *str = NULL;
    if (strcmp(b->encoding, "bytes") != 0) {
        str = PyUnicode_Decode(text, node->a, b->encoding, "strict");
        if (str != NULL || !(node->flags & PTIO_F_IS_DATA) || !PyErr_ExceptionMatches(PyExc_UnicodeError))
            return str;
        PyErr_Clear();
    }
    return PyBytes_FromStringAndSize(text, node->a);
}

static PyObject *make_big_int(const ptio_graph *graph, const ptio_node *node) {
    PyObject *bytes = PyBytes_FromStringAndSize((const char *)ptio_text(graph, node), node->a);
    PyObject *method = bytes == NULL ? NULL : PyObject_GetAttrString((PyObject *)&PyLong_Type, "from_bytes");
    PyObject *arguments = method == NULL ? NULL : Py_BuildValue("(Os)", bytes, "little");
    PyObject *keywords = arguments == NULL ? NULL : Py_BuildValue("{sO}", "signed", Py_True);
    PyObject *value = keywords == NULL ? NULL : PyObject_Call(method, arguments, keywords);
    Py_XDECREF(keywords);
    Py_XDECREF(arguments);
    Py_XDECREF(method);
    Py_XDECREF(bytes);
    return value;
}

static PyObject *make_big_decimal(const ptio_graph *graph, const ptio_node *node) {
    PyObject *bytes = PyBytes_FromStringAndSize((const char *)ptio_text(graph, node), node->a);
    PyObject *value = bytes == NULL ? NULL : PyLong_FromString(PyBytes_AS_STRING(bytes), NULL, 10);
    Py_XDECREF(bytes);
    return value;
}

static PyObject *make_tuple(ptio_builder *b, const ptio_node *node) {
    PyObject *tuple = PyTuple_New(node->count);
    for (uint32_t i = 0; tuple != NULL && i < node->count; i++)
        PyTuple_SET_ITEM(tuple, i, Py_NewRef(ptio_item(b, node, i)));
    return tuple;
}

static PyObject *make_frozenset(ptio_builder *b, const ptio_node *node) {
    PyObject *items = make_tuple(b, node);
    PyObject *set = items == NULL ? NULL : PyFrozenSet_New(items);
    Py_XDECREF(items);
    return set;
}

static PyObject *make_value(ptio_builder *b, ptio_ref ref) {
    const ptio_graph *graph = b->graph;
    const ptio_node *node = &graph->nodes[ref];
    switch (node->kind) {
    case PTIO_N_INT: return PyLong_FromLongLong(node->integer);
    case PTIO_N_FLOAT: return PyFloat_FromDouble(node->real);
    case PTIO_N_STR: return make_str(graph, node);
    case PTIO_N_TUPLE: return make_tuple(b, node);
    case PTIO_N_LIST: return PyList_New(0);
    case PTIO_N_DICT: return PyDict_New();
    case PTIO_N_TENSOR: return b->values->tensor(b, node);
    case PTIO_N_SAME: return Py_NewRef(b->objects[node->a]);
    case PTIO_N_MADE: return b->values->made(b, node);
    case PTIO_N_PARAMETER: return ptio_build_parameter(b, node);
    case PTIO_N_BIG_INT: return make_big_int(graph, node);
    case PTIO_N_BIG_DECIMAL: return make_big_decimal(graph, node);
    case PTIO_N_BYTES: return PyBytes_FromStringAndSize((const char *)ptio_text(graph, node), node->a);
    case PTIO_N_BYTEARRAY:
        return PyByteArray_FromStringAndSize((const char *)ptio_text(graph, node), node->a);
    case PTIO_N_PY2_STR: return make_py2_str(b, node);
    case PTIO_N_SET: return PySet_New(NULL);
    case PTIO_N_FROZENSET: return make_frozenset(b, node);
    case PTIO_N_DTYPE: return b->values->dtype(b, node->sub);
    case PTIO_N_STORAGE: return b->values->storage(b, node);
    case PTIO_N_NAMED:
    case PTIO_N_MARKER: return b->values->global(b, ref);
    case PTIO_N_FOREIGN: return ptio_build_foreign(b, node);
    case PTIO_N_FOREIGN_CALL: return ptio_build_foreign_call(b, node);
    case PTIO_N_OPAQUE:
    case PTIO_N_OPAQUE_STACK: return ptio_build_opaque(b, ref);
    case PTIO_N_OPAQUE_CALL: return ptio_build_opaque_call(b, node);
    default: return PyErr_Format(PyExc_SystemError, "node of kind %d cannot be built", node->kind);
    }
}

/* --- fills ---------------------------------------------------------------------------------- */

static int append_items(ptio_builder *b, PyObject *target, const ptio_node *fill) {
    if (PyList_CheckExact(target)) {
        for (uint32_t i = 0; i < fill->count; i++)
            if (PyList_Append(target, ptio_item(b, fill, i)) < 0) return -1;
        return 0;
    }
    PyObject *items = make_tuple(b, fill); /* a deque */
    PyObject *result = items == NULL ? NULL : PyObject_CallMethod(target, "extend", "(O)", items);
    Py_XDECREF(items);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

static int set_items(ptio_builder *b, PyObject *target, const ptio_node *fill) {
    bool plain = PyDict_CheckExact(target);
    int status = 0;
    for (uint32_t i = 0; i < fill->count && status == 0; i += 2)
        status = plain ? PyDict_SetItem(target, ptio_item(b, fill, i), ptio_item(b, fill, i + 1))
                       : PyObject_SetItem(target, ptio_item(b, fill, i), ptio_item(b, fill, i + 1));
    return status;
}

static int add_items(ptio_builder *b, PyObject *target, const ptio_node *fill) {
    for (uint32_t i = 0; i < fill->count; i++)
        if (PySet_Add(target, ptio_item(b, fill, i)) < 0) return -1;
    return 0;
}

static int apply_fill(ptio_builder *b, const ptio_node *fill) {
    const ptio_node *node = &b->graph->nodes[fill->a];
    PyObject *target = b->objects[fill->a];
    if (node->kind == PTIO_N_OPAQUE_CALL) return ptio_fill_opaque(b, target, fill);
    if (node->kind == PTIO_N_FOREIGN_CALL) return ptio_fill_foreign(b, target, fill);
    switch (fill->kind) {
    case PTIO_N_APPEND: return append_items(b, target, fill);
    case PTIO_N_SETITEM: return set_items(b, target, fill);
    case PTIO_N_ADD: return add_items(b, target, fill);
    default: return ptio_build_state(b, node, target, b->graph->refs[fill->first]);
    }
}

/* --- the pass ---------------------------------------------------------------------------------- */

static int build_node(ptio_builder *b, ptio_ref ref) {
    const ptio_node *node = &b->graph->nodes[ref];
    if (ptio_is_fill(node)) return b->graph->nodes[node->a].flags & PTIO_F_NEEDED ? apply_fill(b, node) : 0;
    if (!(node->flags & PTIO_F_NEEDED)) return 0;
    b->objects[ref] = make_value(b, ref);
    return b->objects[ref] == NULL ? -1 : 0;
}

/* Failures that are not about a value of the file: out of memory, an interrupt, what torch
 * cannot do, what NumPy has no words for, an exception of ours that says it better. -1 with
 * another exception. */
static int is_final(ptio_state *state, PyObject *type) {
    PyObject *errors = ptio_state_errors(state);
    PyObject *base = errors == NULL ? NULL : PyObject_GetAttrString(errors, "Error");
    if (base == NULL) return -1;
    int final = PyErr_GivenExceptionMatches(type, PyExc_MemoryError) ||
                PyErr_GivenExceptionMatches(type, PyExc_NotImplementedError) ||
                PyErr_GivenExceptionMatches(type, PyExc_SystemError) ||
                !PyErr_GivenExceptionMatches(type, PyExc_Exception) ||
                PyErr_GivenExceptionMatches(type, base);
    Py_DECREF(base);
    return final;
}

/* What is wrong with a value, in ptio's words and Python's own. */
static void explain(ptio_builder *b, ptio_ref ref, PyObject *value) {
    ptio_error err = {0};
    char quoted[PTIO_QUOTED] = "";
    PyObject *shown = value == NULL ? NULL : PyObject_Str(value);
    const char *text = shown == NULL ? NULL : PyUnicode_AsUTF8(shown);
    if (text != NULL) ptio_quote(quoted, text, strlen(text));
    Py_XDECREF(shown);
    PyErr_Clear();
    ptio_fail(&err, PTIO_E_PICKLE_MALFORMED, "P15.build",
              ptio_pickle_locate(b->c->pickle, b->c->pickle_size, ref), "a value cannot be made: %s", quoted);
    ptio_zip_name_error(&b->c->index, b->c->pickle_record, &err);
    ptio_raise(b->state, &err, b->path, NULL);
}

/* What Python refuses although vetting accepted it is still a fault of the file:
 * the text of an 8-bit string that is not in the caller's encoding, say. */
static void raise_as_ours(ptio_builder *b, ptio_ref ref) {
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    int final = is_final(b->state, type);
    if (final > 0) {
        PyErr_Restore(type, value, traceback);
        return;
    }
    if (final == 0) explain(b, ref, value);
    Py_XDECREF(type);
    Py_XDECREF(value);
    Py_XDECREF(traceback);
}

static int build_or_explain(ptio_builder *b, ptio_ref ref) {
    if (build_node(b, ref) == 0) return 0;
    if (b->ring == NULL || !b->ring->their_code) raise_as_ours(b, ref);
    return -1;
}

static int build_nodes(ptio_builder *b) {
    const ptio_part *part = &b->loaded->part;
    for (size_t i = 0; i < part->count; i++)
        if (part->refs[i] >= PTIO_NODE_EMPTY_TUPLE && build_or_explain(b, part->refs[i]) < 0) return -1;
    if (part->refs != NULL) return 0;
    for (ptio_ref ref = PTIO_NODE_EMPTY_TUPLE; ref < b->graph->count; ref++) {
        if (ref % NODES_BETWEEN_SIGNALS == 0 && PyErr_CheckSignals() < 0) return -1;
        if (build_or_explain(b, ref) < 0) return -1;
    }
    return 0;
}

/* By node, all NULL. */
static PyObject **take_objects(ptio_builder *b) {
    size_t count = b->graph->count;
    void *objects;
    ptio_error err;
    if (b->loaded->part.refs != NULL) return ptio_alloc_zeroed(count, sizeof *b->objects);
    if (ptio_arena_alloc(&b->loaded->arena, count, sizeof *b->objects, &objects, &err) != PTIO_OK)
        return NULL;
    return memset(objects, 0, count * sizeof *b->objects);
}

static void drop_objects(ptio_builder *b) {
    const ptio_part *part = &b->loaded->part;
    for (size_t i = 0; i < part->count; i++) Py_CLEAR(b->objects[part->refs[i]]);
    if (part->refs != NULL) {
        for (ptio_ref i = 0; i < PTIO_NODE_EMPTY_TUPLE; i++) Py_XDECREF(b->objects[i]);
        ptio_free(b->objects);
        return;
    }
    for (size_t i = 0; i < b->graph->count; i++) Py_XDECREF(b->objects[i]);
}

/* A node without children: most single tensors. */
static PyObject *build_single(ptio_builder *b, ptio_ref ref) {
    PyObject *value = make_value(b, ref);
    if (value == NULL && (b->ring == NULL || !b->ring->their_code)) raise_as_ours(b, ref);
    return value;
}

PyObject *ptio_build(ptio_builder *b, ptio_ref root) {
    PyObject *result = NULL;
    if (b->loaded->single) return build_single(b, root);
    if ((b->objects = take_objects(b)) == NULL) return PyErr_NoMemory();
    b->objects[PTIO_NODE_NONE] = Py_NewRef(Py_None);
    b->objects[PTIO_NODE_FALSE] = Py_NewRef(Py_False);
    b->objects[PTIO_NODE_TRUE] = Py_NewRef(Py_True);
    /* Many new containers and no garbage: collecting while they are made would
     * only cost time. The GIL is held throughout. */
    int collected = PyGC_Disable();
    if (build_nodes(b) == 0) result = Py_NewRef(b->objects[root]);
    drop_objects(b);
    if (collected) PyGC_Enable();
    return result;
}
