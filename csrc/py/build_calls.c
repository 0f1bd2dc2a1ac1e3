/* SPDX-License-Identifier: Apache-2.0
 *
 * Values that come from calls: everything vetting has proven, so the Python or
 * NumPy callable of our own table accepts the arguments; and unknown calls as
 * ptio.Opaque, which calls nothing.
 */
#include "module.h"

static PyObject *call_with_arguments(ptio_builder *b, const ptio_node *node) {
    PyObject *callable = ptio_state_callable(b->state, (ptio_maker)node->sub);
    if (callable == NULL) return NULL;
    if (node->b == PTIO_NODE_NONE) return PyObject_CallNoArgs(callable);
    return PyObject_Call(callable, b->objects[node->b], NULL);
}

/* A new reference to an argument tuple in which item `at` is bytes, even where its text is
 * a str for all others. */
static PyObject *with_data(ptio_builder *b, ptio_ref arguments, uint32_t at) {
    const ptio_graph *graph = b->graph;
    const ptio_node *tuple = &graph->nodes[arguments];
    const ptio_node *data = &graph->nodes[ptio_follow(graph, graph->refs[tuple->first + at])];
    if (data->kind != PTIO_N_PY2_STR || PyBytes_Check(ptio_item(b, tuple, at)))
        return Py_NewRef(b->objects[arguments]);
    PyObject *copy = PyTuple_New(tuple->count);
    for (uint32_t i = 0; copy != NULL && i < tuple->count; i++) {
        const char *text = (const char *)ptio_text(graph, data);
        PyObject *item =
            i == at ? PyBytes_FromStringAndSize(text, data->a) : Py_NewRef(ptio_item(b, tuple, i));
        if (item == NULL)
            Py_CLEAR(copy);
        else
            PyTuple_SET_ITEM(copy, i, item);
    }
    return copy;
}

static PyObject *call_with_data(ptio_builder *b, const ptio_node *node, uint32_t at) {
    PyObject *callable = ptio_state_callable(b->state, (ptio_maker)node->sub);
    PyObject *arguments = callable == NULL ? NULL : with_data(b, node->b, at);
    PyObject *result = arguments == NULL ? NULL : PyObject_Call(callable, arguments, NULL);
    Py_XDECREF(arguments);
    return result;
}

/* The type that a defaultdict calls for a missing key. */
static PyObject *factory_of(ptio_builder *b, const ptio_node *node) {
    if (node->a == 0) return Py_NewRef(Py_None);
    const ptio_global *global = ptio_global_get(node->a - 1);
    if (global->role == PTIO_ROLE_MAKE)
        return Py_XNewRef(ptio_state_callable(b->state, (ptio_maker)global->value));
    const char *name = strcmp(global->name, "long") == 0      ? "int"
                       : strcmp(global->name, "unicode") == 0 ? "str"
                                                              : global->name;
    PyObject *builtins = PyImport_ImportModule("builtins");
    PyObject *type = builtins == NULL ? NULL : PyObject_GetAttrString(builtins, name);
    Py_XDECREF(builtins);
    return type;
}

static PyObject *make_default_dict(ptio_builder *b, const ptio_node *node) {
    PyObject *callable = ptio_state_callable(b->state, PTIO_MAKE_DEFAULT_DICT);
    PyObject *factory = callable == NULL ? NULL : factory_of(b, node);
    PyObject *dict = factory == NULL ? NULL : PyObject_CallOneArg(callable, factory);
    Py_XDECREF(factory);
    return dict;
}

static PyObject *make_set(ptio_builder *b, const ptio_node *node) {
    PyObject *items = node->b == PTIO_NODE_NONE ? NULL : PyTuple_GET_ITEM(b->objects[node->b], 0);
    return node->sub == PTIO_MAKE_SET ? PySet_New(items) : PyFrozenSet_New(items);
}

/* torch.device("cuda", 1) is "cuda:1". The caller may have asked for Python 2's text as bytes. */
static PyObject *make_device(ptio_builder *b, const ptio_node *node) {
    PyObject *arguments = b->objects[node->b], *name = PyTuple_GET_ITEM(arguments, 0);
    PyObject *text =
        PyUnicode_Check(name) ? Py_NewRef(name) : PyUnicode_FromEncodedObject(name, "ascii", "strict");
    PyObject *device =
        text == NULL ? NULL : PyUnicode_FromFormat("%U:%S", text, PyTuple_GET_ITEM(arguments, 1));
    Py_XDECREF(text);
    return device;
}

/* Sparse, nested and jagged: a class of ptio._types checks what the tensors hold. */
static PyObject *make_composite(ptio_builder *b, const ptio_node *node) {
    static const char *const names[][2] = {{"SparseTensor", "_from_rebuild"},
                                           {"NestedTensor", "_from_rebuild"},
                                           {"NestedTensor", "_from_jagged"}};
    const char *const *name = names[node->sub - PTIO_MAKE_REBUILD_SPARSE];
    PyObject *types = ptio_state_types(b->state);
    PyObject *class = types == NULL ? NULL : PyObject_GetAttrString(types, name[0]);
    PyObject *maker = class == NULL ? NULL : PyObject_GetAttrString(class, name[1]);
    PyObject *result = maker == NULL ? NULL : PyObject_Call(maker, b->objects[node->b], NULL);
    Py_XDECREF(maker);
    Py_XDECREF(class);
    return result;
}

static PyObject *make_numpy_array(ptio_builder *b) {
    PyObject *callable = ptio_state_callable(b->state, PTIO_MAKE_NUMPY_ARRAY);
    return callable == NULL ? NULL
                            : PyObject_CallFunction(callable, "O(i)y", (PyObject *)&PyArray_Type, 0, "b");
}

PyObject *ptio_build_made(ptio_builder *b, const ptio_node *node) {
    switch (node->sub) {
    case PTIO_MAKE_ORDERED_DICT:
        return node->b == PTIO_NODE_NONE ? PyODict_New() : call_with_arguments(b, node);
    case PTIO_MAKE_DEFAULT_DICT: return make_default_dict(b, node);
    case PTIO_MAKE_SET:
    case PTIO_MAKE_FROZENSET: return make_set(b, node);
    case PTIO_MAKE_DEVICE: return make_device(b, node);
    case PTIO_MAKE_REBUILD_SPARSE:
    case PTIO_MAKE_REBUILD_NESTED:
    case PTIO_MAKE_REBUILD_JAGGED: return make_composite(b, node);
    case PTIO_MAKE_NUMPY_ARRAY: return make_numpy_array(b);
    case PTIO_MAKE_DATE:
    case PTIO_MAKE_TIME:
    case PTIO_MAKE_DATETIME:
    case PTIO_MAKE_NUMPY_FROMBUFFER: return call_with_data(b, node, 0);
    case PTIO_MAKE_NUMPY_SCALAR: return call_with_data(b, node, 1);
    default: return call_with_arguments(b, node);
    }
}

/* BUILD of something we made: attributes, or NumPy's own state. */
int ptio_build_state(ptio_builder *b, const ptio_node *target, PyObject *object, ptio_ref from) {
    PyObject *result = NULL, *state = b->objects[from];
    if (target->sub == PTIO_MAKE_NUMPY_ARRAY) {
        if ((state = with_data(b, ptio_follow(b->graph, from), 4)) == NULL) return -1;
        result = PyObject_CallMethod(object, "__setstate__", "(O)", state);
        Py_DECREF(state);
    } else if (target->sub == PTIO_MAKE_NUMPY_DTYPE) {
        result = PyObject_CallMethod(object, "__setstate__", "(O)", state);
    } else {
        PyObject *attributes = PyObject_GetAttrString(object, "__dict__");
        if (attributes != NULL && PyDict_Update(attributes, state) == 0) result = Py_NewRef(Py_None);
        Py_XDECREF(attributes);
    }
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

/* --- unknown code as data -------------------------------------------------------------------- */

PyObject *ptio_build_opaque(ptio_builder *b, ptio_ref ref) {
    const ptio_node *node = &b->graph->nodes[ref];
    const uint8_t *module, *name;
    size_t module_size, name_size;
    PyObject *types = ptio_state_types(b->state);
    if (types == NULL) return NULL;
    if (node->kind == PTIO_N_MARKER) {
        const ptio_global *global = ptio_global_get(node->sub);
        return PyObject_CallMethod(types, "Opaque", "ss", global->module, global->name);
    }
    ptio_global_name(b->graph, ref, &module, &module_size, &name, &name_size);
    PyObject *module_text = ptio_shown_text(module, module_size);
    PyObject *name_text = module_text == NULL ? NULL : ptio_shown_text(name, name_size);
    PyObject *opaque = NULL;
    if (name_text != NULL) opaque = PyObject_CallMethod(types, "Opaque", "OO", module_text, name_text);
    Py_XDECREF(module_text);
    Py_XDECREF(name_text);
    return opaque;
}

/* ptio._types.opaque.make_call names it after what was called. */
PyObject *ptio_build_opaque_call(ptio_builder *b, const ptio_node *node) {
    ptio_ref callee = ptio_follow(b->graph, node->a);
    bool named = b->graph->nodes[callee].kind != PTIO_N_OPAQUE_CALL;
    PyObject *types = ptio_state_types(b->state), *opaque = NULL;
    if (types == NULL) return NULL;
    PyObject *called = named ? ptio_build_opaque(b, callee) : Py_NewRef(b->objects[callee]);
    PyObject *given = b->objects[node->b], *keywords = Py_None;
    if (node->sub == PTIO_CALL_NEW_KEYWORDS) {
        keywords = PyTuple_GET_ITEM(given, 1);
        given = PyTuple_GET_ITEM(given, 0);
    }
    if (called != NULL)
        opaque = PyObject_CallMethod(types, "make_call", "OOOO", called, given, keywords,
                                     node->sub == PTIO_CALL ? Py_False : Py_True);
    Py_XDECREF(called);
    return opaque;
}

/* The list or dict that an Opaque keeps under `name`, made at its first item. */
static PyObject *collection_of(PyObject *opaque, const char *name) {
    PyObject *collection = PyObject_GetAttrString(opaque, name);
    if (collection != Py_None) return collection;
    Py_DECREF(collection);
    collection = strcmp(name, "items") == 0 ? PyList_New(0) : PyDict_New();
    if (collection != NULL && PyObject_SetAttrString(opaque, name, collection) < 0) Py_CLEAR(collection);
    return collection;
}

int ptio_fill_opaque(ptio_builder *b, PyObject *opaque, const ptio_node *fill) {
    bool pairs = fill->kind == PTIO_N_SETITEM;
    int status = 0;
    if (fill->kind == PTIO_N_BUILD) return PyObject_SetAttrString(opaque, "state", ptio_item(b, fill, 0));
    PyObject *collection = collection_of(opaque, pairs ? "mapping" : "items");
    if (collection == NULL) return -1;
    for (uint32_t i = 0; i < fill->count && status == 0; i += pairs ? 2 : 1)
        status = pairs ? PyDict_SetItem(collection, ptio_item(b, fill, i), ptio_item(b, fill, i + 1))
                       : PyList_Append(collection, ptio_item(b, fill, i));
    Py_DECREF(collection);
    return status;
}
