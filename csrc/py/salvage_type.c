/* SPDX-License-Identifier: Apache-2.0
 *
 * Salvage: what is intact in a damaged file, for those who write it into a new one.
 * Nothing is built from it.
 */
#include "module.h"

#include "../core/checkpoint_salvage.h"

typedef struct {
    PyObject_HEAD ptio_source_object *source;
    ptio_salvage salvage;
    ptio_limits limits;
    PyObject *path; /* str or None */
} ptio_salvage_object;

/* --- new -------------------------------------------------------------------------------- */

static int open_salvage(ptio_salvage_object *self, int any_crc, const ptio_read_options *reading) {
    const ptio_checkpoint_options options = {.limits = self->limits};
    ptio_error err = {0};
    ptio_status status;
    if (ptio_source_enter(self->source) < 0) return -1;
    Py_BEGIN_ALLOW_THREADS status =
        ptio_salvage_open(&self->source->source, &options, reading, any_crc != 0, &self->salvage, &err);
    Py_END_ALLOW_THREADS ptio_source_leave(self->source);
    if (status == PTIO_OK) return 0;
    ptio_raise(ptio_state_of_type(Py_TYPE(self)), &err, self->path, &self->salvage.checkpoint);
    return -1;
}

static PyObject *salvage_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"source", "limits", "any_crc", "threads", "progress", "path", NULL};
    ptio_state *state = ptio_state_of_type(type);
    ptio_limits limits;
    unsigned int threads;
    PyObject *source, *progress, *path;
    int any_crc;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O!$O&pIOO:Salvage", names, state->source_type, &source,
                                     ptio_read_limits, &limits, &any_crc, &threads, &progress, &path))
        return NULL;
    ptio_salvage_object *self = (ptio_salvage_object *)type->tp_alloc(type, 0);
    if (self == NULL) return NULL;
    self->source = (ptio_source_object *)Py_NewRef(source);
    self->path = Py_NewRef(path);
    self->limits = limits;
    ptio_ticker ticker = {progress == Py_None ? NULL : progress};
    const ptio_read_options reading = {.threads = threads, .tick = ptio_tick, .tick_context = &ticker};
    if (open_salvage(self, any_crc, &reading) < 0) Py_CLEAR(self);
    return (PyObject *)self;
}

static int salvage_traverse(ptio_salvage_object *self, visitproc visit, void *arg) {
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->source);
    return 0;
}

static void salvage_dealloc(ptio_salvage_object *self) {
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    ptio_salvage_free(&self->salvage);
    Py_CLEAR(self->source);
    Py_CLEAR(self->path);
    type->tp_free(self);
    Py_DECREF(type);
}

/* --- methods ------------------------------------------------------------------------------ */

static PyObject *salvage_records(ptio_salvage_object *self, PyObject *unused) {
    (void)unused;
    return ptio_list_records(ptio_state_of_type(Py_TYPE(self)), &self->salvage.checkpoint);
}

static PyObject *salvage_tensors(ptio_salvage_object *self, PyObject *unused) {
    (void)unused;
    return ptio_list_tensors(ptio_state_of_type(Py_TYPE(self)), &self->salvage.checkpoint, false,
                             &self->limits, self->path);
}

static PyObject *salvage_damaged(ptio_salvage_object *self, PyObject *unused) {
    PyObject *list = PyList_New(0);
    (void)unused;
    for (size_t i = 0; list != NULL && i < self->salvage.damaged_count; i++) {
        const ptio_damaged_record *bad = &self->salvage.damaged[i];
        PyObject *row = Py_BuildValue("NssO", ptio_shown_text(bad->name, bad->name_length),
                                      ptio_status_exception(bad->error->status), bad->error->message,
                                      bad->kept ? Py_True : Py_False);
        if (row == NULL || PyList_Append(list, row) < 0) Py_CLEAR(list);
        Py_XDECREF(row);
    }
    return list;
}

static PyObject *salvage_cut(ptio_salvage_object *self, PyObject *unused) {
    ptio_error err = {0};
    ptio_status status;
    (void)unused;
    if (!self->salvage.lost) Py_RETURN_NONE;
    Py_BEGIN_ALLOW_THREADS status = ptio_salvage_cut(&self->salvage, &self->limits, &err);
    Py_END_ALLOW_THREADS if (status == PTIO_OK) Py_RETURN_NONE;
    ptio_raise(ptio_state_of_type(Py_TYPE(self)), &err, self->path, &self->salvage.checkpoint);
    return NULL;
}

static PyObject *salvage_payload(ptio_salvage_object *self, PyObject *args) {
    ptio_zip_index *index = &self->salvage.checkpoint.index;
    ptio_state *state = ptio_state_of_type(Py_TYPE(self));
    ptio_ticker ticker = {NULL};
    const ptio_read_options reading = {.tick = ptio_tick, .tick_context = &ticker};
    unsigned int number;
    ptio_error err = {0};
    ptio_status status;
    if (!PyArg_ParseTuple(args, "I:payload", &number)) return NULL;
    if (number >= index->count) return PyErr_Format(PyExc_IndexError, "no such record");
    ptio_wanted wanted = {.record = number, .alignment = 1};
    uint64_t size = index->records[number].usize;
    if (size == 0) return ptio_storage_new(state, NULL, NULL, 0);
    if (ptio_source_enter(self->source) < 0) return NULL;
    Py_BEGIN_ALLOW_THREADS status =
        ptio_records_read(&self->source->source, index, &wanted, 1, &self->limits, &reading, &err);
    Py_END_ALLOW_THREADS ptio_source_leave(self->source);
    if (status == PTIO_OK) return ptio_storage_new(state, wanted.block, wanted.bytes, size);
    ptio_raise(state, &err, self->path, NULL);
    return NULL;
}

/* --- attributes ----------------------------------------------------------------------------- */

static PyObject *salvage_pickle(ptio_salvage_object *self, void *closure) {
    const ptio_checkpoint *c = &self->salvage.checkpoint;
    (void)closure;
    return PyBytes_FromStringAndSize((const char *)c->pickle, (Py_ssize_t)c->pickle_size);
}

static PyObject *salvage_lost(ptio_salvage_object *self, void *closure) {
    (void)closure;
    return PyBool_FromLong(self->salvage.lost);
}

static PyObject *salvage_mapped(ptio_salvage_object *self, void *closure) {
    (void)closure;
    return PyBool_FromLong(self->source->source.mapping != NULL);
}

static PyObject *salvage_directory(ptio_salvage_object *self, void *closure) {
    const ptio_error *err = &self->salvage.directory;
    (void)closure;
    if (err->status == PTIO_OK) Py_RETURN_NONE;
    return Py_BuildValue("ss", ptio_status_exception(err->status), err->message);
}

static PyMethodDef salvage_methods[] = {
    {"records", (PyCFunction)salvage_records, METH_NOARGS,
     PyDoc_STR("records($self)\n--\n\nThe intact members.")},
    {"tensors", (PyCFunction)salvage_tensors, METH_NOARGS,
     PyDoc_STR("tensors($self)\n--\n\nTensors of the pickle, the lost ones too until cut().")},
    {"damaged", (PyCFunction)salvage_damaged, METH_NOARGS,
     PyDoc_STR("damaged($self)\n--\n\n[(member, exception, message, kept)].")},
    {"cut", (PyCFunction)salvage_cut, METH_NOARGS,
     PyDoc_STR("cut($self)\n--\n\nTakes what is lost out of the pickle.")},
    {"payload", (PyCFunction)salvage_payload, METH_VARARGS,
     PyDoc_STR("payload($self, number, /)\n--\n\nThe bytes of records()[number], a Storage.")},
    {NULL}};

static PyGetSetDef salvage_getset[] = {
    {"pickle", (getter)salvage_pickle, NULL, "The bytes of data.pkl.", NULL},
    {"lost", (getter)salvage_lost, NULL, "Whether a storage has no intact member.", NULL},
    {"mapped", (getter)salvage_mapped, NULL, "Whether payloads of stored members are views.", NULL},
    {"directory", (getter)salvage_directory, NULL, "(exception, message) if it was of no use, or None.",
     NULL},
    {NULL}};

static PyType_Slot salvage_slots[] = {
    {Py_tp_doc,
     "Salvage(source, *, limits, any_crc, threads, progress, path)\n--\n\nWhat is intact in a damaged file."},
    {Py_tp_new, salvage_new},
    {Py_tp_dealloc, salvage_dealloc},
    {Py_tp_traverse, salvage_traverse},
    {Py_tp_methods, salvage_methods},
    {Py_tp_getset, salvage_getset},
    {0, NULL}};

PyType_Spec ptio_salvage_spec = {.name = "ptio._core.Salvage",
                                 .basicsize = sizeof(ptio_salvage_object),
                                 .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
                                 .slots = salvage_slots};
