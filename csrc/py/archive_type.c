/* SPDX-License-Identifier: Apache-2.0
 *
 * Archive: a proven zip checkpoint whose pickle somebody else reads - CPython's
 * own unpickler, where the caller wants every class. It gives the pickle and
 * the storages.
 */
#include "module.h"

enum { ANY_ALIGNMENT = 16 }; /* enough for every dtype: nobody knows yet which is whose */

static PyObject *archive_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"source", "limits", "order", "path", NULL};
    ptio_state *state = ptio_state_of_type(type);
    ptio_limits limits;
    int order;
    PyObject *source, *path;
    ptio_error err = {0};
    ptio_status status;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O!$O&iO:Archive", names, state->source_type, &source,
                                     ptio_read_limits, &limits, &order, &path))
        return NULL;
    ptio_archive_object *self = (ptio_archive_object *)type->tp_alloc(type, 0);
    if (self == NULL) return NULL;
    self->source = (ptio_source_object *)Py_NewRef(source);
    self->path = Py_NewRef(path);
    ptio_checkpoint_options options = {.order_if_missing = (ptio_byte_order)order, .limits = limits};
    self->limits = limits;
    if (ptio_source_enter(self->source) < 0) {
        Py_DECREF(self);
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS status =
        ptio_checkpoint_open_archive(&self->source->source, &options, &self->checkpoint, &err);
    Py_END_ALLOW_THREADS ptio_source_leave(self->source);
    if (status != PTIO_OK) {
        ptio_raise(state, &err, self->path, NULL);
        Py_CLEAR(self);
    }
    return (PyObject *)self;
}

static int archive_traverse(ptio_archive_object *self, visitproc visit, void *arg) {
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->source);
    return 0;
}

static void archive_dealloc(ptio_archive_object *self) {
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    ptio_checkpoint_free(&self->checkpoint);
    Py_CLEAR(self->source);
    Py_CLEAR(self->path);
    type->tp_free(self);
    Py_DECREF(type);
}

/* --- storages --------------------------------------------------------------------------------- */

/* The key of a storage's record, NULL for other records. */
static const char *storage_key(const ptio_zip_index *index, uint32_t record, size_t *size) {
    static const char folder[] = "/data/";
    size_t length, before = index->stem_length + sizeof folder - 1;
    const char *name = (const char *)ptio_zip_name(index, record, &length);
    if (length <= before || memcmp(name + index->stem_length, folder, sizeof folder - 1) != 0) return NULL;
    *size = length - before;
    return name + before;
}

static ptio_wanted *choose(const ptio_zip_index *index, size_t *count) {
    ptio_wanted *wanted = PyMem_Calloc(index->count + 1u, sizeof *wanted);
    size_t size;
    *count = 0;
    if (wanted == NULL) PyErr_NoMemory();
    for (uint32_t i = 0; wanted != NULL && i < index->count; i++)
        if (storage_key(index, i, &size) != NULL)
            wanted[(*count)++] = (ptio_wanted){.record = i, .alignment = ANY_ALIGNMENT};
    return wanted;
}

/* {key: Storage}; takes over the blocks, also when it fails. */
static PyObject *make_dict(ptio_archive_object *self, ptio_wanted *wanted, size_t count) {
    ptio_state *state = ptio_state_of_type(Py_TYPE(self));
    const ptio_zip_index *index = &self->checkpoint.index;
    PyObject *dict = PyDict_New();
    for (size_t i = 0; i < count; i++) {
        size_t size = 0;
        if (dict == NULL) {
            ptio_block_unref(wanted[i].block);
            continue;
        }
        const char *key = storage_key(index, wanted[i].record, &size);
        PyObject *storage =
            ptio_storage_new(state, wanted[i].block, wanted[i].bytes, index->records[wanted[i].record].usize);
        PyObject *name = storage == NULL ? NULL : ptio_shown_text(key, size);
        if (name == NULL || PyDict_SetItem(dict, name, storage) < 0) Py_CLEAR(dict);
        Py_XDECREF(name);
        Py_XDECREF(storage);
    }
    return dict;
}

static PyObject *archive_storages(ptio_archive_object *self, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"verify", "private", "threads", "progress", NULL};
    ptio_ticker ticker;
    ptio_read_options options;
    ptio_error err = {0};
    ptio_status status;
    size_t count;
    PyObject *verify, *progress, *dict = NULL;
    int private_copy;
    unsigned threads;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "$OpIO:storages", names, &verify, &private_copy, &threads,
                                     &progress) ||
        ptio_read_options_set(verify, private_copy, threads, progress, &options, &ticker) < 0)
        return NULL;
    ptio_wanted *wanted = choose(&self->checkpoint.index, &count);
    if (wanted == NULL || ptio_source_enter(self->source) < 0) {
        PyMem_Free(wanted);
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS status = ptio_records_read(&self->source->source, &self->checkpoint.index, wanted,
                                                      count, &self->limits, &options, &err);
    Py_END_ALLOW_THREADS ptio_source_leave(self->source);
    if (status == PTIO_OK)
        dict = make_dict(self, wanted, count);
    else
        ptio_raise(ptio_state_of_type(Py_TYPE(self)), &err, self->path, NULL);
    PyMem_Free(wanted);
    return dict;
}

static PyObject *archive_offset(ptio_archive_object *self, PyObject *key) {
    ptio_zip_index *index = &self->checkpoint.index;
    ptio_error err = {0};
    Py_ssize_t size;
    const char *text = PyUnicode_AsUTF8AndSize(key, &size);
    if (text == NULL) return NULL;
    uint32_t record = ptio_zip_find(index, "data/", text, (size_t)size);
    if (record == PTIO_NO_RECORD) Py_RETURN_NONE;
    if (ptio_source_enter(self->source) < 0) return NULL;
    ptio_status status = ptio_zip_prove(&self->source->source, index, record, &err);
    ptio_source_leave(self->source);
    if (status != PTIO_OK) {
        ptio_raise(ptio_state_of_type(Py_TYPE(self)), &err, self->path, NULL);
        return NULL;
    }
    return PyLong_FromUnsignedLongLong(index->records[record].data);
}

/* --- attributes ----------------------------------------------------------------------------------- */

static PyObject *archive_pickle(ptio_archive_object *self, void *closure) {
    (void)closure;
    return PyBytes_FromStringAndSize((const char *)self->checkpoint.pickle,
                                     (Py_ssize_t)self->checkpoint.pickle_size);
}

static PyObject *archive_swap(ptio_archive_object *self, void *closure) {
    (void)closure;
    return PyBool_FromLong(self->checkpoint.swap);
}

static PyMethodDef archive_methods[] = {
    {"storages", (PyCFunction)(void (*)(void))archive_storages, METH_VARARGS | METH_KEYWORDS,
     PyDoc_STR("storages($self, *, verify, private, threads, progress)\n--\n\nReads all of them.")},
    {"offset", (PyCFunction)archive_offset, METH_O,
     PyDoc_STR("offset($self, key)\n--\n\nWhere a storage begins in the file; None if there is none.")},
    {NULL}};

static PyGetSetDef archive_getset[] = {
    {"pickle", (getter)archive_pickle, NULL, "The bytes of data.pkl.", NULL},
    {"swap", (getter)archive_swap, NULL, "Whether the byte order is not this machine's.", NULL},
    {NULL}};

static PyType_Slot archive_slots[] = {
    {Py_tp_doc, "Archive(source, *, limits, order, path)\n--\n\nA proven archive, its pickle unread."},
    {Py_tp_new, archive_new},
    {Py_tp_dealloc, archive_dealloc},
    {Py_tp_traverse, archive_traverse},
    {Py_tp_methods, archive_methods},
    {Py_tp_getset, archive_getset},
    {0, NULL}};

PyType_Spec ptio_archive_spec = {.name = "ptio._core.Archive",
                                 .basicsize = sizeof(ptio_archive_object),
                                 .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
                                 .slots = archive_slots};
