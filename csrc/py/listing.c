/* SPDX-License-Identifier: Apache-2.0
 *
 * What a checkpoint holds, as lists of named tuples: records, tensors, findings
 * of a verification. Nothing is built or read for it.
 */
#include "module.h"

#include "../core/leaf_walk.h"

/* Calls a named tuple type with arguments that Py_BuildValue made (or NULL);
 * appends the result. Steals arguments. */
static int append_row(PyObject *list, PyObject *type, PyObject *arguments) {
    PyObject *row = arguments == NULL ? NULL : PyObject_Call(type, arguments, NULL);
    int status = row == NULL ? -1 : PyList_Append(list, row);
    Py_XDECREF(row);
    Py_XDECREF(arguments);
    return status;
}

static PyObject *record_name(const ptio_checkpoint *c, uint32_t record) {
    size_t length;
    const uint8_t *name = ptio_zip_name(&c->index, record, &length);
    return ptio_shown_text(name, length);
}

PyObject *ptio_list_records(ptio_state *state, const ptio_checkpoint *c) {
    PyObject *list = PyList_New(0);
    for (uint32_t i = 0; list != NULL && i < c->index.count; i++) {
        const ptio_record *r = &c->index.records[i];
        PyObject *row = Py_BuildValue("NLKKII", record_name(c, i), r->data == 0 ? -1LL : (long long)r->data,
                                      (unsigned long long)r->csize, (unsigned long long)r->usize,
                                      (unsigned int)r->crc, (unsigned int)r->method);
        if (append_row(list, state->record_type, row) < 0) Py_CLEAR(list);
    }
    return list;
}

/* --- tensors ---------------------------------------------------------------------------- */

typedef struct {
    ptio_state *state;
    const ptio_checkpoint *c;
    PyObject *list;
} tensor_listing;

/* A plain value as itself, anything else as a word for what it is. */
static PyObject *plain_object(const ptio_checkpoint *c, ptio_ref ref) {
    const ptio_node *node = &c->graph.nodes[ref];
    const ptio_vetting names = {.graph = (ptio_graph *)&c->graph};
    switch (node->kind) {
    case PTIO_N_NONE: return Py_NewRef(Py_None);
    case PTIO_N_FALSE: return Py_NewRef(Py_False);
    case PTIO_N_TRUE: return Py_NewRef(Py_True);
    case PTIO_N_INT: return PyLong_FromLongLong(node->integer);
    case PTIO_N_FLOAT: return PyFloat_FromDouble(node->real);
    case PTIO_N_STR:
        return PyUnicode_DecodeUTF8((const char *)ptio_text(&c->graph, node), node->a, "surrogatepass");
    case PTIO_N_PY2_STR: return ptio_shown_text(ptio_text(&c->graph, node), node->a);
    case PTIO_N_DTYPE: return PyUnicode_FromFormat("torch.%s", ptio_dtype_get(node->sub)->torch_name);
    default: return PyUnicode_FromFormat("<%s>", ptio_vet_kind_name(&names, ref));
    }
}

static PyObject *step_object(const ptio_checkpoint *c, const ptio_step *step) {
    return step->key == PTIO_NO_NODE ? PyLong_FromUnsignedLongLong(step->position)
                                     : plain_object(c, step->key);
}

static PyObject *path_object(const ptio_checkpoint *c, const ptio_step *path, size_t length) {
    PyObject *tuple = PyTuple_New((Py_ssize_t)length);
    for (size_t i = 0; tuple != NULL && i < length; i++) {
        PyObject *step = step_object(c, &path[i]);
        if (step == NULL)
            Py_CLEAR(tuple);
        else
            PyTuple_SET_ITEM(tuple, (Py_ssize_t)i, step);
    }
    return tuple;
}

static PyObject *node_text(const ptio_checkpoint *c, ptio_ref ref) {
    const ptio_node *node = &c->graph.nodes[ref];
    return ptio_shown_text(ptio_text(&c->graph, node), node->a);
}

static const char *kind_of(const ptio_tensor *tensor) {
    return tensor->flags & PTIO_T_QUANTIZED     ? "quantized"
           : tensor->storage == PTIO_NO_STORAGE ? "raw"
                                                : "tensor";
}

/* A storage that is a value of its own looks like a 1-d tensor over all of it. */
static ptio_tensor tensor_of_storage(const ptio_checkpoint *c, uint32_t number, int64_t *dims) {
    const ptio_storage *storage = &c->storages[number];
    dims[0] = (int64_t)(storage->bytes / ptio_dtype_get(storage->dtype)->item_bytes);
    dims[1] = 1;
    return (ptio_tensor){
        .storage = number, .dtype = storage->dtype, .ndim = 1, .elements = (uint64_t)dims[0]};
}

static PyObject *tensor_row(tensor_listing *l, PyObject *path, const char *kind, const ptio_tensor *t,
                            const int64_t *sizes, const int64_t *strides) {
    const ptio_checkpoint *c = l->c;
    const ptio_dtype_info *info = ptio_dtype_get(t->dtype);
    const ptio_storage *s = t->storage == PTIO_NO_STORAGE ? NULL : &c->storages[t->storage];
    bool has_record = s != NULL && s->record != PTIO_NO_RECORD;
    PyObject *key = s == NULL ? Py_NewRef(Py_None) : node_text(c, s->key);
    PyObject *location = s == NULL ? PyUnicode_FromString("meta") : node_text(c, s->location);
    PyObject *record = has_record ? record_name(c, s->record) : Py_NewRef(Py_None);
    uint64_t bytes = (t->elements + info->per_item - 1) / info->per_item * info->item_bytes;
    return Py_BuildValue("NssNNKKNKNNN", path, kind, info->torch_name, ptio_int_tuple(sizes, t->ndim),
                         ptio_int_tuple(strides, t->ndim), (unsigned long long)t->offset,
                         (unsigned long long)bytes, key, (unsigned long long)(s == NULL ? 0 : s->bytes),
                         location, PyBool_FromLong(t->flags & PTIO_T_REQUIRES_GRAD), record);
}

static ptio_status add_tensor(void *context, const ptio_step *path, size_t length, ptio_ref ref,
                              ptio_error *err) {
    tensor_listing *l = context;
    const ptio_node *node = &l->c->graph.nodes[ref];
    if (!ptio_is_tensor_leaf(node)) return PTIO_OK;
    PyObject *names = path_object(l->c, path, length), *row;
    if (names == NULL) return ptio_python_failed(err);
    if (node->kind == PTIO_N_STORAGE) {
        int64_t dims[2];
        ptio_tensor whole = tensor_of_storage(l->c, node->a, dims);
        row = tensor_row(l, names, "storage", &whole, &dims[0], &dims[1]);
    } else {
        const ptio_tensor *t = &l->c->tensors[node->a];
        row = tensor_row(l, names, kind_of(t), t, ptio_tensor_sizes(l->c, t), ptio_tensor_strides(l->c, t));
    }
    return append_row(l->list, l->state->tensor_info_type, row) < 0 ? ptio_python_failed(err) : PTIO_OK;
}

PyObject *ptio_list_tensors(ptio_state *state, const ptio_checkpoint *c) {
    tensor_listing listing = {state, c, PyList_New(0)};
    ptio_error err = {0};
    if (listing.list == NULL) return NULL;
    if (ptio_walk_leaves(c, add_tensor, &listing, &err) != PTIO_OK) {
        ptio_raise(state, &err, NULL, NULL);
        Py_CLEAR(listing.list);
    }
    return listing.list;
}

/* --- other leaves ---------------------------------------------------------------------- */

typedef struct {
    const ptio_checkpoint *c;
    PyObject *list;
    Py_ssize_t limit;
} leaf_listing;

static ptio_status add_leaf(void *context, const ptio_step *path, size_t length, ptio_ref ref,
                            ptio_error *err) {
    leaf_listing *l = context;
    if (ptio_is_tensor_leaf(&l->c->graph.nodes[ref]) || PyList_GET_SIZE(l->list) >= l->limit) return PTIO_OK;
    PyObject *names = path_object(l->c, path, length);
    PyObject *value = names == NULL ? NULL : plain_object(l->c, ref);
    PyObject *row = value == NULL ? NULL : PyTuple_Pack(2, names, value);
    int status = row == NULL ? -1 : PyList_Append(l->list, row);
    Py_XDECREF(row);
    Py_XDECREF(value);
    Py_XDECREF(names);
    return status < 0 ? ptio_python_failed(err) : PTIO_OK;
}

PyObject *ptio_list_leaves(ptio_state *state, const ptio_checkpoint *c, Py_ssize_t limit) {
    leaf_listing listing = {c, PyList_New(0), limit};
    ptio_error err = {0};
    if (listing.list == NULL) return NULL;
    if (ptio_walk_leaves(c, add_leaf, &listing, &err) != PTIO_OK) {
        ptio_raise(state, &err, NULL, NULL);
        Py_CLEAR(listing.list);
    }
    return listing.list;
}

/* --- findings ---------------------------------------------------------------------------------- */

static PyObject *note_row(const ptio_checkpoint *c, uint32_t record) {
    return Py_BuildValue("sssNO", "", "CRC_NOT_COMPUTED", "the archive holds no CRC-32 for this member",
                         record_name(c, record), Py_None);
}

static PyObject *finding_row(const ptio_checkpoint *c, const ptio_record_verdict *verdict) {
    const ptio_error *err = verdict->error;
    PyObject *offset =
        err->offset == PTIO_NO_OFFSET ? Py_NewRef(Py_None) : PyLong_FromUnsignedLongLong(err->offset);
    return Py_BuildValue("sssNN", ptio_status_exception(err->status), ptio_status_name(err->status),
                         err->message, record_name(c, verdict->record), offset);
}

PyObject *ptio_list_findings(ptio_state *state, const ptio_checkpoint *c,
                             const ptio_record_verdict *verdicts) {
    PyObject *list = PyList_New(0);
    for (uint32_t i = 0; list != NULL && i < c->index.count; i++) {
        bool bad = verdicts[i].error != NULL;
        if (!bad && !verdicts[i].not_computed) continue;
        PyObject *row = bad ? finding_row(c, &verdicts[i]) : note_row(c, verdicts[i].record);
        if (append_row(list, state->finding_type, row) < 0) Py_CLEAR(list);
    }
    return list;
}
