/* SPDX-License-Identifier: Apache-2.0
 *
 * What a checkpoint holds, as lists of named tuples: records, tensors, findings
 * of a verification. Nothing is built or read for it.
 */
#include "module.h"

#include "../core/leaf_walk.h"
#include "../core/name_counts.h"

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

/* What neighbours in a file mostly have in common is one object for all of them. */
typedef struct {
    ptio_ref location; /* of the tag; PTIO_NO_NODE for none */
    PyObject *tag;
    const ptio_tensor *tensor;
    PyObject *shape, *strides; /* of that tensor */
} row_cache;

static void clear_cache(row_cache *cache) {
    Py_CLEAR(cache->tag);
    Py_CLEAR(cache->shape);
    Py_CLEAR(cache->strides);
}

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

/* b'...' as text, which no other key of the same dict looks like. */
static PyObject *bytes_key(const ptio_checkpoint *c, const ptio_node *node) {
    PyObject *bytes = PyBytes_FromStringAndSize((const char *)ptio_text(&c->graph, node), node->a);
    PyObject *text = bytes == NULL ? NULL : PyObject_Repr(bytes);
    Py_XDECREF(bytes);
    return text;
}

static PyObject *tuple_key(const ptio_checkpoint *c, const ptio_node *node) {
    if (node->count > PTIO_LONGEST_KEY_TUPLE)
        return PyUnicode_FromFormat("<tuple of %u>", (unsigned int)node->count);
    PyObject *tuple = PyTuple_New(node->count);
    for (uint32_t i = 0; tuple != NULL && i < node->count; i++) {
        PyObject *item = plain_object(c, ptio_follow(&c->graph, c->graph.refs[node->first + i]));
        if (item == NULL)
            Py_CLEAR(tuple);
        else
            PyTuple_SET_ITEM(tuple, i, item);
    }
    return tuple;
}

static PyObject *step_object(const ptio_checkpoint *c, const ptio_step *step) {
    if (step->key == PTIO_NO_NODE) return PyLong_FromUnsignedLongLong(step->position);
    const ptio_node *key = &c->graph.nodes[step->key];
    if (key->kind == PTIO_N_BYTES) return bytes_key(c, key);
    return key->kind == PTIO_N_TUPLE ? tuple_key(c, key) : plain_object(c, step->key);
}

/* The path before. Leaves stand beside each other: what their paths have in common is the
 * same objects, or one long key above ten thousand leaves would be there ten thousand times. */
typedef struct {
    ptio_step *steps;
    size_t length, room;
    PyObject *tuple; /* NULL before the first */
} last_path;

static void forget_path(last_path *last) {
    Py_CLEAR(last->tuple);
    PyMem_Free(last->steps);
}

static int remember_path(last_path *last, const ptio_path *path, PyObject *tuple) {
    size_t length = path->length;
    if (length > last->room) {
        ptio_step *steps = PyMem_Realloc(last->steps, length * sizeof *steps);
        if (steps == NULL) {
            PyErr_NoMemory();
            return -1;
        }
        last->steps = steps;
        last->room = length;
    }
    if (length > 0) memcpy(last->steps, path->steps, length * sizeof *path->steps);
    last->length = length;
    Py_XSETREF(last->tuple, Py_NewRef(tuple));
    return 0;
}

static PyObject *path_object(const ptio_checkpoint *c, last_path *last, const ptio_path *path) {
    PyObject *tuple = PyTuple_New((Py_ssize_t)path->length);
    bool same = last->tuple != NULL;
    for (size_t i = 0; tuple != NULL && i < path->length; i++) {
        const ptio_step *step = &path->steps[i];
        same = same && i < last->length && last->steps[i].key == step->key &&
               (step->key != PTIO_NO_NODE || last->steps[i].position == step->position);
        PyObject *object =
            same ? Py_NewRef(PyTuple_GET_ITEM(last->tuple, (Py_ssize_t)i)) : step_object(c, step);
        if (object == NULL)
            Py_CLEAR(tuple);
        else
            PyTuple_SET_ITEM(tuple, (Py_ssize_t)i, object);
    }
    if (tuple != NULL && remember_path(last, path, tuple) < 0) Py_CLEAR(tuple);
    return tuple;
}

static PyObject *node_text(const ptio_checkpoint *c, ptio_ref ref) {
    const ptio_node *node = &c->graph.nodes[ref];
    if (node->kind == PTIO_N_INT) return PyUnicode_FromFormat("%lld", (long long)node->integer);
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

static uint64_t bytes_of(const ptio_tensor *t) {
    const ptio_dtype_info *info = ptio_dtype_get(t->dtype);
    return (t->elements + info->per_item - 1) / info->per_item * info->item_bytes;
}

static PyObject *location_of(const ptio_checkpoint *c, const ptio_storage *storage, row_cache *cache) {
    if (storage == NULL) return PyUnicode_InternFromString("meta");
    if (cache->tag == NULL || cache->location != storage->location) {
        Py_XSETREF(cache->tag, node_text(c, storage->location));
        cache->location = storage->location;
    }
    return Py_XNewRef(cache->tag);
}

static int set_dims(const int64_t *sizes, const int64_t *strides, const ptio_tensor *t,
                    const ptio_checkpoint *c, row_cache *cache) {
    const ptio_tensor *last = cache->tensor;
    size_t bytes = t->ndim * sizeof *sizes;
    if (last != NULL && last->ndim == t->ndim && memcmp(ptio_tensor_sizes(c, last), sizes, bytes) == 0 &&
        memcmp(ptio_tensor_strides(c, last), strides, bytes) == 0)
        return 0;
    cache->tensor = NULL;
    Py_XSETREF(cache->shape, ptio_int_tuple(sizes, t->ndim));
    Py_XSETREF(cache->strides, ptio_int_tuple(strides, t->ndim));
    return cache->shape == NULL || cache->strides == NULL ? -1 : 0;
}

/* A named tuple of values, which are stolen; NULL if one is missing. The type's own __new__ would
 * take most of the time of a listing. */
static PyObject *make_row(PyObject *type, PyObject **values, Py_ssize_t count) {
    bool complete = true;
    for (Py_ssize_t i = 0; i < count; i++) complete = complete && values[i] != NULL;
    PyObject *row = complete ? ((PyTypeObject *)type)->tp_alloc((PyTypeObject *)type, count) : NULL;
    for (Py_ssize_t i = 0; i < count; i++) {
        if (row != NULL)
            PyTuple_SET_ITEM(row, i, values[i]);
        else
            Py_XDECREF(values[i]);
    }
    return row;
}

/* A TensorInfo; steals path. */
static PyObject *tensor_row(PyObject *type, const ptio_checkpoint *c, PyObject *path, const char *kind,
                            const ptio_tensor *t, const int64_t *sizes, const int64_t *strides, ptio_ref ref,
                            row_cache *cache) {
    const ptio_storage *s = t->storage == PTIO_NO_STORAGE ? NULL : &c->storages[t->storage];
    bool has_record = s != NULL && s->record != PTIO_NO_RECORD;
    if (set_dims(sizes, strides, t, c, cache) < 0) {
        Py_DECREF(path);
        return NULL;
    }
    PyObject *values[] = {path,
                          PyUnicode_InternFromString(kind),
                          PyUnicode_InternFromString(ptio_dtype_get(t->dtype)->torch_name),
                          Py_NewRef(cache->shape),
                          Py_NewRef(cache->strides),
                          PyLong_FromUnsignedLongLong(t->offset),
                          PyLong_FromUnsignedLongLong(bytes_of(t)),
                          s == NULL ? Py_NewRef(Py_None) : node_text(c, s->key),
                          PyLong_FromUnsignedLongLong(s == NULL ? 0 : s->bytes),
                          location_of(c, s, cache),
                          PyBool_FromLong(t->flags & PTIO_T_REQUIRES_GRAD),
                          has_record ? record_name(c, s->record) : Py_NewRef(Py_None),
                          PyLong_FromUnsignedLong(ref)};
    return make_row(type, values, sizeof values / sizeof values[0]);
}

/* --- composites: sparse and nested tensors ------------------------------------------------- */

/* The sizes of a sparse tensor, which stand behind its values. */
static PyObject *sparse_shape(const ptio_checkpoint *c, const ptio_node *node) {
    const ptio_graph *graph = &c->graph;
    const ptio_node *arguments = &graph->nodes[node->b];
    const ptio_node *parts = &graph->nodes[ptio_follow(graph, graph->refs[arguments->first + 1])];
    const ptio_node *size = arguments->count > 2 ? parts : NULL; /* TorchScript's own form */
    for (uint32_t i = 0; size == NULL && i < parts->count; i++) {
        const ptio_node *item = &graph->nodes[ptio_follow(graph, graph->refs[parts->first + i])];
        if (item->kind == PTIO_N_MADE && item->b != PTIO_NODE_NONE) { /* torch.Size(tuple) */
            const ptio_node *call = &graph->nodes[item->b];
            if (call->count == 1) item = &graph->nodes[ptio_follow(graph, graph->refs[call->first])];
        }
        if (item->kind == PTIO_N_TUPLE) size = item;
    }
    PyObject *shape = PyTuple_New(size == NULL ? 0 : size->count);
    for (uint32_t i = 0; shape != NULL && size != NULL && i < size->count; i++) {
        const ptio_node *item = &graph->nodes[ptio_follow(graph, graph->refs[size->first + i])];
        PyObject *value = PyLong_FromLongLong(item->kind == PTIO_N_INT ? item->integer : 0);
        if (value == NULL)
            Py_CLEAR(shape);
        else
            PyTuple_SET_ITEM(shape, i, value);
    }
    return shape;
}

/* A TensorInfo; steals path. The values come last in a sparse tensor, first in others. */
static PyObject *composite_row(PyObject *type, const ptio_checkpoint *c, PyObject *path, ptio_ref ref) {
    const ptio_node *node = &c->graph.nodes[ptio_follow(&c->graph, ref)];
    bool sparse = node->sub == PTIO_MAKE_REBUILD_SPARSE;
    const ptio_tensor *values = NULL;
    uint64_t bytes = 0;
    ptio_part part;
    ptio_error err;
    if (ptio_graph_part(&c->graph, ref, &part, &err) != PTIO_OK) {
        Py_DECREF(path);
        return PyErr_NoMemory();
    }
    for (size_t i = 0; i < part.count; i++) {
        const ptio_node *item = &c->graph.nodes[part.refs[i]];
        if (item->kind != PTIO_N_TENSOR) continue;
        if (sparse || values == NULL) values = &c->tensors[item->a];
        bytes += bytes_of(&c->tensors[item->a]);
    }
    ptio_free(part.refs);
    const char *dtype = values == NULL ? "" : ptio_dtype_get(values->dtype)->torch_name;
    PyObject *fields =
        Py_BuildValue("NssN()iKOisOOI", path, sparse ? "sparse" : "nested", dtype,
                      sparse ? sparse_shape(c, node) : PyTuple_New(0), 0, (unsigned long long)bytes, Py_None,
                      0, "cpu", Py_False, Py_None, (unsigned int)ref);
    PyObject *row = fields == NULL ? NULL : PyObject_Call(type, fields, NULL);
    Py_XDECREF(fields);
    return row;
}

static bool is_composite(const ptio_node *node) {
    return node->kind == PTIO_N_MADE && node->sub >= PTIO_MAKE_REBUILD_SPARSE &&
           node->sub <= PTIO_MAKE_REBUILD_JAGGED;
}

static PyObject *info_row(ptio_state *state, const ptio_checkpoint *c, PyObject *path, ptio_ref ref,
                          row_cache *cache) {
    const ptio_node *node = &c->graph.nodes[ptio_follow(&c->graph, ref)];
    PyObject *type = state->tensor_info_type;
    if (is_composite(node)) return composite_row(type, c, path, ref);
    if (node->kind == PTIO_N_STORAGE) {
        int64_t dims[2];
        ptio_tensor whole = tensor_of_storage(c, node->a, dims);
        return tensor_row(type, c, path, "storage", &whole, &dims[0], &dims[1], ref, cache);
    }
    const ptio_tensor *t = &c->tensors[node->a];
    PyObject *row = tensor_row(type, c, path, kind_of(t), t, ptio_tensor_sizes(c, t),
                               ptio_tensor_strides(c, t), ref, cache);
    cache->tensor = t;
    return row;
}

typedef struct {
    ptio_state *state;
    const ptio_checkpoint *c;
    PyObject *list;
    uint64_t room;
    last_path last;
    row_cache cache;
} tensor_listing;

static ptio_status add_tensor(void *context, const ptio_path *path, ptio_ref ref, ptio_error *err) {
    tensor_listing *l = context;
    const ptio_node *node = &l->c->graph.nodes[ptio_follow(&l->c->graph, ref)];
    if (!ptio_is_tensor_leaf(node) && !is_composite(node)) return PTIO_OK;
    PTIO_TRY(ptio_take_room(&l->room, path, err));
    PyObject *names = path_object(l->c, &l->last, path);
    PyObject *info = names == NULL ? NULL : info_row(l->state, l->c, names, ref, &l->cache);
    int status = info == NULL ? -1 : PyList_Append(l->list, info);
    Py_XDECREF(info);
    return status < 0 ? ptio_python_failed(err) : PTIO_OK;
}

/* As much as the objects of the file may take. */
static uint64_t room_for(const ptio_checkpoint *c, const ptio_limits *limits) {
    return ptio_limit_for_file(limits->object_bytes, c->file_size);
}

PyObject *ptio_list_tensors(ptio_state *state, const ptio_checkpoint *c, bool composites,
                            const ptio_limits *limits, PyObject *path) {
    tensor_listing listing = {.state = state, .c = c, .list = PyList_New(0), .room = room_for(c, limits)};
    ptio_error err = {0};
    if (listing.list == NULL) return NULL;
    if (ptio_walk_leaves(c, composites, add_tensor, &listing, &err) != PTIO_OK) {
        ptio_raise(state, &err, path, NULL);
        Py_CLEAR(listing.list);
    }
    clear_cache(&listing.cache);
    forget_path(&listing.last);
    return listing.list;
}

/* --- other leaves ---------------------------------------------------------------------- */

typedef struct {
    const ptio_checkpoint *c;
    PyObject *list;
    Py_ssize_t limit;
    uint64_t room;
    last_path last;
} leaf_listing;

static ptio_status add_leaf(void *context, const ptio_path *path, ptio_ref ref, ptio_error *err) {
    leaf_listing *l = context;
    ref = ptio_follow(&l->c->graph, ref);
    const ptio_node *node = &l->c->graph.nodes[ref];
    if (ptio_is_tensor_leaf(node) || is_composite(node) || PyList_GET_SIZE(l->list) >= l->limit)
        return PTIO_OK;
    PTIO_TRY(ptio_take_room(&l->room, path, err));
    PyObject *names = path_object(l->c, &l->last, path);
    PyObject *value = names == NULL ? NULL : plain_object(l->c, ref);
    PyObject *row = value == NULL ? NULL : PyTuple_Pack(2, names, value);
    int status = row == NULL ? -1 : PyList_Append(l->list, row);
    Py_XDECREF(row);
    Py_XDECREF(value);
    Py_XDECREF(names);
    return status < 0 ? ptio_python_failed(err) : PTIO_OK;
}

PyObject *ptio_list_leaves(ptio_state *state, const ptio_checkpoint *c, Py_ssize_t limit,
                           const ptio_limits *limits, PyObject *path) {
    leaf_listing listing = {.c = c, .list = PyList_New(0), .limit = limit, .room = room_for(c, limits)};
    ptio_error err = {0};
    if (listing.list == NULL) return NULL;
    if (ptio_walk_leaves(c, true, add_leaf, &listing, &err) != PTIO_OK) {
        ptio_raise(state, &err, path, NULL);
        Py_CLEAR(listing.list);
    }
    forget_path(&listing.last);
    return listing.list;
}

/* --- trees ------------------------------------------------------------------------------------- */

/* The caller's object for a tensor, or its row where the caller has none. */
static PyObject *info_of(ptio_builder *b, const ptio_node *node) {
    ptio_ref ref = (ptio_ref)(node - b->graph->nodes);
    PyObject *number = PyLong_FromUnsignedLong(ref);
    PyObject *info = number == NULL ? NULL : PyDict_GetItemWithError(b->infos, number);
    Py_XDECREF(number);
    if (info != NULL) return Py_NewRef(info);
    if (PyErr_Occurred()) return NULL;
    row_cache cache = {.tag = NULL};
    PyObject *path = PyTuple_New(0);
    info = path == NULL ? NULL : info_row(b->state, b->c, path, ref, &cache);
    clear_cache(&cache);
    return info;
}

static PyObject *info_of_made(ptio_builder *b, const ptio_node *node) {
    return is_composite(node) ? info_of(b, node) : ptio_build_made(b, node);
}

static PyObject *numpy_dtype(ptio_builder *b, ptio_dtype dtype) { return ptio_numpy_values.dtype(b, dtype); }

static PyObject *numpy_global(ptio_builder *b, ptio_ref ref) { return ptio_numpy_values.global(b, ref); }

const ptio_values ptio_info_values = {info_of, info_of, numpy_dtype, numpy_global, info_of_made};

/* --- globals ------------------------------------------------------------------------------------ */

static PyObject *global_row(const ptio_graph *graph, const ptio_counted_name *counted, const char *verdict) {
    const uint8_t *module, *name;
    size_t module_size, name_size;
    ptio_global_name(graph, counted->first.node, &module, &module_size, &name, &name_size);
    return Py_BuildValue("NNsKK", ptio_shown_text(module, module_size), ptio_shown_text(name, name_size),
                         verdict, (unsigned long long)counted->count,
                         (unsigned long long)counted->first.offset);
}

static const char *verdict_of(const ptio_graph *graph, ptio_ref node, const ptio_global_rules *rules) {
    const uint8_t *module, *name;
    size_t module_size, name_size;
    ptio_global_name(graph, node, &module, &module_size, &name, &name_size);
    uint32_t global = ptio_global_find(module, module_size, name, name_size);
    switch (
        ptio_judge_by_table(global, rules->allow, rules->allow_count, module, module_size, name, name_size)) {
    case PTIO_OURS: return "allowed";
    case PTIO_AS_DATA: return "data";
    default: return "unknown";
    }
}

static PyObject *global_rows(const ptio_graph *graph, const ptio_counted_name *names, size_t count,
                             const ptio_global_rules *rules) {
    Py_ssize_t seen[2] = {0, 0}, most[2] = {rules->most_unknown, rules->most_others};
    PyObject *list = PyList_New(0);
    for (size_t i = 0; list != NULL && i < count; i++) {
        const char *verdict = verdict_of(graph, names[i].first.node, rules);
        int kind = strcmp(verdict, "unknown") != 0;
        if (seen[kind]++ >= most[kind]) continue;
        PyObject *row = global_row(graph, &names[i], verdict);
        if (row == NULL || PyList_Append(list, row) < 0) Py_CLEAR(list);
        Py_XDECREF(row);
    }
    for (int kind = 0; kind < 2; kind++) seen[kind] -= Py_MIN(seen[kind], most[kind]);
    return list == NULL ? NULL : Py_BuildValue("Nnn", list, seen[0], seen[1]);
}

/* Reads the pickle once more, as far as it goes: a broken one has named something, too. */
PyObject *ptio_list_globals(ptio_state *state, const ptio_checkpoint *c, const ptio_limits *limits,
                            const ptio_global_rules *rules) {
    ptio_parse_options options = {.max_nodes = limits->objects,
                                  .max_bytes = ptio_limit_for_file(limits->object_bytes, c->file_size),
                                  .max_memory = ptio_checkpoint_most_memory(c, limits),
                                  .old_calls = true,
                                  .new_calls = true};
    ptio_graph graph = {0};
    ptio_counted_name *names = NULL;
    PyObject *found = NULL;
    size_t count = 0;
    ptio_error err = {0};
    ptio_status status;
    if (c->pickle == NULL) return Py_BuildValue("[]ii", 0, 0);
    Py_BEGIN_ALLOW_THREADS status = ptio_pickle_parse(c->pickle, c->pickle_size, &options, &graph, &err);
    if (status != PTIO_E_NO_MEMORY)
        status = ptio_count_names(&graph, graph.globals, graph.global_count, &names, &count, &err);
    Py_END_ALLOW_THREADS if (status == PTIO_OK) found = global_rows(&graph, names, count, rules);
    else ptio_raise(state, &err, NULL, NULL);
    ptio_free(names);
    ptio_graph_free(&graph);
    return found;
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
