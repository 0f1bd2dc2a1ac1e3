/* SPDX-License-Identifier: Apache-2.0
 *
 * Checkpoint: a parsed and vetted file. It can be listed, verified and built,
 * each as often as one likes.
 */
#include "module.h"

/* --- new -------------------------------------------------------------------------------- */

/* A converter for PyArg_Parse: the fields of ptio.Limits. */
int ptio_read_limits(PyObject *tuple, void *limits) {
    unsigned long long pickle_bytes, objects, object_bytes, inflated_bytes, hash_work;
    unsigned int depth;
    if (!PyTuple_Check(tuple)) {
        PyErr_SetString(PyExc_TypeError, "limits must be a tuple");
        return 0;
    }
    if (!PyArg_ParseTuple(tuple, "KKKKIK", &pickle_bytes, &objects, &object_bytes, &inflated_bytes, &depth,
                          &hash_work))
        return 0;
    *(ptio_limits *)limits =
        (ptio_limits){pickle_bytes, objects, object_bytes, inflated_bytes, depth, hash_work};
    return 1;
}

/* ("module.name", ...) as C strings that live as long as the tuple. */
static int read_allow(PyObject *allow, const char ***names, size_t *count) {
    Py_ssize_t size = PyTuple_GET_SIZE(allow);
    *names = PyMem_Calloc((size_t)size + 1, sizeof **names);
    if (*names == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    for (Py_ssize_t i = 0; i < size; i++)
        if (((*names)[i] = PyUnicode_AsUTF8(PyTuple_GET_ITEM(allow, i))) == NULL) return -1;
    *count = (size_t)size;
    return 0;
}

/* [(name, offset, size), ...] as an array that the caller frees; names live as long as the list. */
static int read_parts(PyObject *list, ptio_members *members) {
    Py_ssize_t count = PyList_GET_SIZE(list);
    ptio_file_part *parts = PyMem_Calloc((size_t)count + 1, sizeof *parts);
    members->parts = parts;
    members->part_count = (uint32_t)count;
    if (parts == NULL || count > INT32_MAX) {
        PyErr_NoMemory();
        return -1;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        unsigned long long offset, size;
        Py_ssize_t length;
        if (!PyArg_ParseTuple(PyList_GET_ITEM(list, i), "s#KK", &parts[i].name, &length, &offset, &size))
            return -1;
        parts[i].name_length = (size_t)length;
        parts[i].offset = offset;
        parts[i].size = size;
    }
    return 0;
}

/* (pickle, folder, suffix) as C strings that live as long as the tuple. The pickle is the name of
 * a member, or bytes: itself. Or (bytes, parts), for a file that is no archive. */
static int read_members(PyObject *tuple, ptio_members *members) {
    enum { MOST_SUFFIX = 16 };
    PyObject *pickle, *parts;
    if (tuple == Py_None) return 0;
    if (PyTuple_Check(tuple) && PyTuple_GET_SIZE(tuple) == 2) {
        if (!PyArg_ParseTuple(tuple, "SO!", &pickle, &PyList_Type, &parts)) return -1;
        *members = (ptio_members){
            "",   "", "", (const uint8_t *)PyBytes_AS_STRING(pickle), (size_t)PyBytes_GET_SIZE(pickle),
            NULL, 0};
        return read_parts(parts, members);
    }
    if (!PyArg_ParseTuple(tuple, "Oss", &pickle, &members->folder, &members->suffix)) return -1;
    if (PyBytes_Check(pickle)) {
        members->pickle = "";
        members->given = (const uint8_t *)PyBytes_AS_STRING(pickle);
        members->given_size = (size_t)PyBytes_GET_SIZE(pickle);
    } else if ((members->pickle = PyUnicode_AsUTF8(pickle)) == NULL) {
        return -1;
    }
    if (strlen(members->suffix) <= MOST_SUFFIX) return 0;
    PyErr_SetString(PyExc_ValueError, "the suffix of storages has at most 16 characters");
    return -1;
}

/* Of a lenient one: keeps the exception that is set, if it is about the file. */
static int keep_error(ptio_checkpoint_object *self) {
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyObject *errors = ptio_state_errors(ptio_state_of_type(Py_TYPE(self)));
    PyObject *base = errors == NULL ? NULL : PyObject_GetAttrString(errors, "Error");
    if (base != NULL && !PyErr_GivenExceptionMatches(type, base)) {
        PyErr_Restore(type, value, traceback);
        Py_DECREF(base);
        return -1;
    }
    if (base != NULL) {
        PyErr_NormalizeException(&type, &value, &traceback);
        self->error = Py_XNewRef(value);
        ptio_checkpoint_free_graph(&self->checkpoint); /* it may be large, and nobody asks for it */
    }
    Py_XDECREF(base);
    Py_XDECREF(type);
    Py_XDECREF(value);
    Py_XDECREF(traceback);
    return base == NULL ? -1 : 0;
}

static int open_checkpoint(ptio_checkpoint_object *self, const ptio_checkpoint_options *options) {
    ptio_error err = {0};
    ptio_status status;
    if (ptio_source_enter(self->source) < 0) return -1;
    Py_BEGIN_ALLOW_THREADS status =
        ptio_checkpoint_open(&self->source->source, options, &self->checkpoint, &err);
    Py_END_ALLOW_THREADS ptio_source_leave(self->source);
    if (status == PTIO_OK) return 0;
    ptio_raise(ptio_state_of_type(Py_TYPE(self)), &err, self->path, &self->checkpoint);
    return -1;
}

static PyObject *checkpoint_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"source", "limits", "inert",     "allow",   "encoding", "path",
                            "judge",  "order",  "for_torch", "members", "lenient",  NULL};
    ptio_state *state = ptio_state_of_type(type);
    PyObject *source, *allow, *encoding, *path, *judge = Py_None, *members = Py_None;
    int order = PTIO_LITTLE_ENDIAN, for_torch = false, lenient = false;
    int inert;
    ptio_checkpoint_options options = {0};
    const char **allow_names = NULL;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O!$O&pO!UOOipOp:Checkpoint", names, state->source_type,
                                     &source, ptio_read_limits, &options.limits, &inert, &PyTuple_Type,
                                     &allow, &encoding, &path, &judge, &order, &for_torch, &members,
                                     &lenient))
        return NULL;
    if (!((ptio_source_object *)source)->open) {
        PyErr_SetString(PyExc_ValueError, "the source is closed");
        return NULL;
    }
    ptio_checkpoint_object *self = (ptio_checkpoint_object *)type->tp_alloc(type, 0);
    if (self == NULL) return NULL;
    self->limits = options.limits;
    self->source = (ptio_source_object *)Py_NewRef(source);
    self->encoding = Py_NewRef(encoding);
    self->path = Py_NewRef(path);
    self->members = Py_NewRef(members);
    options.inert = inert;
    options.order_if_missing = (ptio_byte_order)order;
    options.torch_values = for_torch;
    options.may_continue = ((ptio_source_object *)source)->stream;
    if (judge != Py_None) options.judge = ptio_judge_global;
    options.judge_context = &self->judging;
    bool ready = ptio_turn_init(&self->turn) == 0 && ptio_judging_init(&self->judging, judge) == 0 &&
                 read_members(members, &options.members) == 0 &&
                 read_allow(allow, &allow_names, &options.allow_count) == 0;
    options.allow = allow_names;
    if (!ready || (open_checkpoint(self, &options) < 0 && (!lenient || keep_error(self) < 0))) Py_CLEAR(self);
    PyMem_Free(allow_names);
    PyMem_Free((void *)options.members.parts);
    if (self != NULL) self->checkpoint.members.parts = NULL; /* the index has them */
    return (PyObject *)self;
}

static int checkpoint_traverse(ptio_checkpoint_object *self, visitproc visit, void *arg) {
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->source);
    Py_VISIT(self->error);
    return ptio_judging_traverse(&self->judging, visit, arg);
}

static int checkpoint_clear(ptio_checkpoint_object *self) {
    ptio_judging_clear(&self->judging);
    Py_CLEAR(self->error);
    return 0;
}

static void checkpoint_dealloc(ptio_checkpoint_object *self) {
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    ptio_checkpoint_free(&self->checkpoint);
    ptio_judging_clear(&self->judging);
    ptio_turn_clear(&self->turn);
    Py_CLEAR(self->source);
    Py_CLEAR(self->encoding);
    Py_CLEAR(self->path);
    Py_CLEAR(self->members);
    Py_CLEAR(self->error);
    type->tp_free(self);
    Py_DECREF(type);
}

/* --- build and check ----------------------------------------------------------------------- */

int ptio_checkpoint_check_open(const ptio_checkpoint_object *self) {
    if (self->error != NULL) {
        PyErr_SetObject((PyObject *)Py_TYPE(self->error), self->error);
        return -1;
    }
    if (self->source->open) return 0;
    PyErr_SetString(PyExc_ValueError, "the file of this checkpoint is closed");
    return -1;
}

/* While the file is read and the index changes: it stays open, and one thread is at it. */
int ptio_checkpoint_begin(ptio_checkpoint_object *self) {
    if (ptio_source_enter(self->source) < 0) return -1;
    if (ptio_turn_take(&self->turn) == 0) return 0;
    ptio_source_leave(self->source);
    return -1;
}

void ptio_checkpoint_end(ptio_checkpoint_object *self) {
    ptio_turn_give(&self->turn);
    ptio_source_leave(self->source);
}

/* The node that a TensorInfo is of. */
int ptio_checkpoint_node(const ptio_checkpoint_object *self, PyObject *number, ptio_ref *out) {
    const ptio_graph *graph = &self->checkpoint.graph;
    unsigned long long ref = PyLong_AsUnsignedLongLong(number);
    if (ref == (unsigned long long)-1 && PyErr_Occurred()) return -1;
    if (ptio_checkpoint_check_open(self) < 0) return -1;
    if (ref < PTIO_FIRST_FREE_NODE || ref >= graph->count || !(graph->nodes[ref].flags & PTIO_F_NEEDED) ||
        ptio_is_fill(&graph->nodes[ref])) {
        PyErr_Format(PyExc_ValueError, "the checkpoint has no tensor %llu", ref);
        return -1;
    }
    *out = (ptio_ref)ref;
    return 0;
}

static PyObject *checkpoint_check(ptio_checkpoint_object *self, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"threads", "progress", NULL};
    ptio_state *state = ptio_state_of_type(Py_TYPE(self));
    PyObject *progress, *findings;
    unsigned int threads;
    ptio_record_verdict *verdicts = NULL;
    ptio_error err = {0};
    ptio_status status;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "$IO:check", names, &threads, &progress)) return NULL;
    if (ptio_checkpoint_begin(self) < 0) return NULL;
    ptio_ticker ticker = {progress == Py_None ? NULL : progress};
    ptio_read_options options = {.threads = threads, .tick = ptio_tick, .tick_context = &ticker};
    Py_BEGIN_ALLOW_THREADS status = ptio_records_verify(&self->source->source, &self->checkpoint.index,
                                                        &self->limits, &options, &verdicts, &err);
    Py_END_ALLOW_THREADS ptio_checkpoint_end(self);
    if (status != PTIO_OK) {
        ptio_raise(state, &err, self->path, NULL);
        return NULL;
    }
    findings = ptio_list_findings(state, &self->checkpoint, verdicts);
    ptio_verdicts_free(verdicts, self->checkpoint.index.count);
    return findings;
}

/* --- lists and attributes --------------------------------------------------------------------- */

static PyObject *checkpoint_records(ptio_checkpoint_object *self, PyObject *unused) {
    (void)unused;
    return ptio_list_records(ptio_state_of_type(Py_TYPE(self)), &self->checkpoint);
}

static PyObject *checkpoint_tensors(ptio_checkpoint_object *self, PyObject *args) {
    int composites;
    if (!PyArg_ParseTuple(args, "p:tensors", &composites)) return NULL;
    if (self->error != NULL) return PyList_New(0);
    return ptio_list_tensors(ptio_state_of_type(Py_TYPE(self)), &self->checkpoint, composites, &self->limits,
                             self->path);
}

static PyObject *checkpoint_globals(ptio_checkpoint_object *self, PyObject *args) {
    PyObject *allow, *found = NULL;
    ptio_global_rules rules;
    const char **names = NULL;
    if (!PyArg_ParseTuple(args, "O!nn:globals", &PyTuple_Type, &allow, &rules.most_unknown,
                          &rules.most_others))
        return NULL;
    if (read_allow(allow, &names, &rules.allow_count) == 0) {
        rules.allow = names;
        found =
            ptio_list_globals(ptio_state_of_type(Py_TYPE(self)), &self->checkpoint, &self->limits, &rules);
    }
    PyMem_Free(names);
    return found;
}

static PyObject *checkpoint_leaves(ptio_checkpoint_object *self, PyObject *args) {
    Py_ssize_t limit;
    if (!PyArg_ParseTuple(args, "n:leaves", &limit)) return NULL;
    if (self->error != NULL) return PyList_New(0);
    return ptio_list_leaves(ptio_state_of_type(Py_TYPE(self)), &self->checkpoint, limit, &self->limits,
                            self->path);
}

static PyObject *checkpoint_format(ptio_checkpoint_object *self, void *closure) {
    static const char *const names[] = {[PTIO_FORMAT_ZIP] = "zip",
                                        [PTIO_FORMAT_LEGACY] = "legacy",
                                        [PTIO_FORMAT_TAR] = "tar",
                                        [PTIO_FORMAT_PICKLE] = "pickle",
                                        [PTIO_FORMAT_PARTS] = "parts"};
    (void)closure;
    return PyUnicode_FromString(names[self->checkpoint.format]);
}

/* Where other bytes may follow. */
static PyObject *checkpoint_end(ptio_checkpoint_object *self, void *closure) {
    (void)closure;
    if (self->checkpoint.end == 0) Py_RETURN_NONE;
    return PyLong_FromUnsignedLongLong(self->checkpoint.end);
}

static PyObject *checkpoint_error(ptio_checkpoint_object *self, void *closure) {
    (void)closure;
    return Py_NewRef(self->error == NULL ? Py_None : self->error);
}

static PyObject *checkpoint_pickle(ptio_checkpoint_object *self, void *closure) {
    (void)closure;
    return PyBytes_FromStringAndSize((const char *)self->checkpoint.pickle,
                                     (Py_ssize_t)self->checkpoint.pickle_size);
}

static PyObject *checkpoint_byteorder(ptio_checkpoint_object *self, void *closure) {
    (void)closure;
    return PyUnicode_FromString(self->checkpoint.big_endian ? "big" : "little");
}

static PyObject *checkpoint_pickle_size(ptio_checkpoint_object *self, void *closure) {
    (void)closure;
    return PyLong_FromUnsignedLongLong(self->checkpoint.pickle_size);
}

/* Sparse and nested tensors, whose contents only building proves. */
static PyObject *checkpoint_has_composites(ptio_checkpoint_object *self, void *closure) {
    const ptio_graph *graph = &self->checkpoint.graph;
    (void)closure;
    for (size_t i = PTIO_FIRST_FREE_NODE; i < graph->count; i++) {
        const ptio_node *node = &graph->nodes[i];
        if (node->kind == PTIO_N_MADE && node->flags & PTIO_F_NEEDED &&
            node->sub >= PTIO_MAKE_REBUILD_SPARSE && node->sub <= PTIO_MAKE_REBUILD_JAGGED)
            Py_RETURN_TRUE;
    }
    Py_RETURN_FALSE;
}

/* A parameter is the same as its tensor, and the result of what rebuilds a subclass looks like any
 * other tensor. */
static bool tells_of_wrappers(const ptio_graph *graph, ptio_ref ref) {
    const ptio_node *node = &graph->nodes[ref];
    if (node->kind == PTIO_N_SAME && node->flags & PTIO_F_NEEDED)
        return graph->nodes[ptio_follow(graph, ref)].kind == PTIO_N_TENSOR;
    if (node->kind != PTIO_N_MARKER) return false;
    const ptio_global *global = ptio_global_get(node->sub);
    return global->role == PTIO_ROLE_MAKE && global->value == PTIO_MAKE_REBUILD_FROM_TYPE;
}

static PyObject *checkpoint_has_wrappers(ptio_checkpoint_object *self, void *closure) {
    const ptio_graph *graph = &self->checkpoint.graph;
    (void)closure;
    for (ptio_ref i = PTIO_FIRST_FREE_NODE; i < graph->count; i++)
        if (tells_of_wrappers(graph, i)) Py_RETURN_TRUE;
    Py_RETURN_FALSE;
}

static PyMethodDef checkpoint_methods[] = {
    {"build", (PyCFunction)(void (*)(void))ptio_checkpoint_build, METH_VARARGS | METH_KEYWORDS,
     PyDoc_STR("build($self, node, /, *, verify, private, threads, progress)\n--\n\n"
               "Makes the object, or one tensor of it.")},
    {"build_tree", (PyCFunction)ptio_checkpoint_build_tree, METH_O,
     PyDoc_STR("build_tree($self, infos, /)\n--\n\nMakes the object, with infos in the place of tensors.")},
    {"place", (PyCFunction)ptio_checkpoint_place, METH_O,
     PyDoc_STR("place($self, node, /)\n--\n\nWhere the storage of a tensor is in the file.")},
    {"gather", (PyCFunction)ptio_checkpoint_gather, METH_VARARGS,
     PyDoc_STR("gather($self, node, begin, strides, out, verify, threads, /)\n--\n\n"
               "Reads some elements of a storage.")},
    {"advise", (PyCFunction)ptio_checkpoint_advise, METH_VARARGS,
     PyDoc_STR("advise($self, node, needed, /)\n--\n\nBrings a storage into memory, or out of it.")},
    {"build_torch", (PyCFunction)(void (*)(void))ptio_checkpoint_build_torch, METH_VARARGS | METH_KEYWORDS,
     PyDoc_STR(
         "build_torch($self, ring, without_data, node, /, *, verify, private, threads, progress)\n--\n\n"
         "Makes the object, of torch's values.")},
    {"check", (PyCFunction)(void (*)(void))checkpoint_check, METH_VARARGS | METH_KEYWORDS,
     PyDoc_STR("check($self, *, threads, progress)\n--\n\nProves every member and its CRC-32.")},
    {"records", (PyCFunction)checkpoint_records, METH_NOARGS,
     PyDoc_STR("records($self)\n--\n\nMembers of the archive, in directory order.")},
    {"tensors", (PyCFunction)checkpoint_tensors, METH_VARARGS,
     PyDoc_STR("tensors($self, composites, /)\n--\n\nTensors with their paths, without reading them.")},
    {"member", (PyCFunction)ptio_checkpoint_member, METH_O,
     PyDoc_STR("member($self, name, /)\n--\n\nWhere a member that is not compressed is in the file.")},
    {"read_member", (PyCFunction)ptio_checkpoint_read_member, METH_VARARGS,
     PyDoc_STR("read_member($self, name, limit, /)\n--\n\nThe bytes of a small member.")},
    {"gaps", (PyCFunction)ptio_checkpoint_gaps, METH_NOARGS,
     PyDoc_STR("gaps($self)\n--\n\nBytes that belong to no member.")},
    {"locate", (PyCFunction)ptio_checkpoint_locate, METH_NOARGS,
     PyDoc_STR("locate($self)\n--\n\nFinds the offsets of all members.")},
    {"second_opinion", (PyCFunction)ptio_checkpoint_second_opinion, METH_NOARGS,
     PyDoc_STR("second_opinion($self)\n--\n\nRaises what libzip sees otherwise in the archive.")},
    {"globals", (PyCFunction)checkpoint_globals, METH_VARARGS,
     PyDoc_STR("globals($self, allow, most_unknown, most_others, /)\n--\n\n"
               "Classes and functions that the pickle names, each once.")},
    {"leaves", (PyCFunction)checkpoint_leaves, METH_VARARGS,
     PyDoc_STR("leaves($self, limit)\n--\n\nThe first values that are no tensors, with their paths.")},
    {NULL}};

static PyGetSetDef checkpoint_getset[] = {
    {"format", (getter)checkpoint_format, NULL, "\"zip\", \"legacy\", \"tar\" or \"pickle\".", NULL},
    {"end", (getter)checkpoint_end, NULL, "Where a legacy checkpoint ends in its source; None for others.",
     NULL},
    {"error", (getter)checkpoint_error, NULL, "Why a lenient one has no tensors, or None.", NULL},
    {"pickle", (getter)checkpoint_pickle, NULL, "The pickle.", NULL},
    {"byteorder", (getter)checkpoint_byteorder, NULL, "\"little\" or \"big\".", NULL},
    {"has_composites", (getter)checkpoint_has_composites, NULL, "Whether there are sparse or nested tensors.",
     NULL},
    {"has_wrappers", (getter)checkpoint_has_wrappers, NULL,
     "Whether there are parameters or tensors of subclasses.", NULL},
    {"pickle_size", (getter)checkpoint_pickle_size, NULL, "Bytes of the pickle.", NULL},
    {NULL}};

static PyType_Slot checkpoint_slots[] = {
    {Py_tp_doc,
     "Checkpoint(source, *, limits, inert, allow, encoding, path)\n--\n\nA parsed and vetted checkpoint."},
    {Py_tp_new, checkpoint_new},
    {Py_tp_dealloc, checkpoint_dealloc},
    {Py_tp_traverse, checkpoint_traverse},
    {Py_tp_clear, checkpoint_clear},
    {Py_tp_methods, checkpoint_methods},
    {Py_tp_getset, checkpoint_getset},
    {0, NULL}};

PyType_Spec ptio_checkpoint_spec = {.name = "ptio._core.Checkpoint",
                                    .basicsize = sizeof(ptio_checkpoint_object),
                                    .flags =
                                        Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
                                    .slots = checkpoint_slots};
