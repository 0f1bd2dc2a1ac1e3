/* SPDX-License-Identifier: Apache-2.0
 *
 * ArchiveWriter: a new archive, record by record, into a descriptor or an object
 * with write(). Payloads are written from the caller's memory, without the GIL.
 */
#include "../core/archive_write.h"
#include "module.h"

/* What keeps the payload of a record, or of that one and others behind it, until it is written. */
typedef struct {
    uint32_t record;
    Py_buffer view;    /* of bytes, arrays ...; view.obj NULL where there is none */
    PyObject *owner;   /* keeps memory given by its address */
    PyObject *produce; /* callable() -> iterator of buffers, the payload in order */
    uint64_t size;
} pending;

typedef struct {
    PyObject_HEAD ptio_sink sink;
    ptio_archive *archive;
    PyObject *file; /* the object with write(), or NULL */
    PyObject *path; /* for errors, or None */
    ptio_ticker ticker;
    PyObject *progress;
    pending *waiting;
    size_t count, capacity;
    size_t produced;  /* waiting[produced] was produced last */
    PyObject *pieces; /* iterator of the payload that is being produced, and its last piece */
    Py_buffer current;
    bool busy;
} ptio_writer_object;

/* --- an object with write() ---------------------------------------------------------------- */

/* How many of n bytes write() took, or -1 with an exception. A raw stream that would block
 * returns None; other objects that return nothing have written all. */
static Py_ssize_t bytes_taken(PyObject *file, PyObject *returned, Py_ssize_t n) {
    if (returned != Py_None) {
        Py_ssize_t taken = PyNumber_AsSsize_t(returned, PyExc_OverflowError);
        if (taken == -1 && PyErr_Occurred()) return -1;
        if (taken > 0 && taken <= n) return taken;
        PyErr_Format(PyExc_OSError, "write() returned %zd for %zd bytes", taken, n);
        return -1;
    }
    PyObject *io = PyImport_ImportModule("io");
    PyObject *raw = io == NULL ? NULL : PyObject_GetAttrString(io, "RawIOBase");
    int is_raw = raw == NULL ? -1 : PyObject_IsInstance(file, raw);
    Py_XDECREF(raw);
    Py_XDECREF(io);
    if (is_raw > 0) PyErr_SetString(PyExc_BlockingIOError, "the stream would block: give one that does not");
    return is_raw == 0 ? n : -1;
}

/* Slices of the view, and what was made of them, would outlive the memory: -1 with an exception
 * if write() kept any. */
static int check_not_kept(PyObject *view) {
    const _PyManagedBufferObject *memory = ((PyMemoryViewObject *)view)->mbuf;
    if (memory->exports > 1) PyGC_Collect(); /* nobody's, perhaps */
    if (memory->exports <= 1) return 0;
    PyErr_SetString(PyExc_BufferError,
                    "write() kept the memory it was given: it must copy what it needs later");
    return -1;
}

static Py_ssize_t call_write(PyObject *file, const char *bytes, Py_ssize_t n) {
    PyObject *view = PyMemoryView_FromMemory((char *)bytes, n, PyBUF_READ);
    PyObject *returned = view == NULL ? NULL : PyObject_CallMethod(file, "write", "O", view);
    Py_ssize_t taken = returned == NULL ? -1 : bytes_taken(file, returned, n);
    Py_XDECREF(returned);
    if (taken >= 0 && check_not_kept(view) < 0) taken = -1;
    return ptio_release_view(view) < 0 ? -1 : taken;
}

/* ptio_write: more than one call where write() takes less than it is given. */
static ptio_status write_to_file(void *context, const void *bytes, size_t n, ptio_error *err) {
    const ptio_writer_object *self = context;
    PyGILState_STATE gil = PyGILState_Ensure();
    ptio_status status = PTIO_OK;
    for (size_t done = 0; done < n && status == PTIO_OK;) {
        Py_ssize_t taken = call_write(self->file, (const char *)bytes + done, (Py_ssize_t)(n - done));
        if (taken < 0 || PyErr_CheckSignals() < 0)
            status = ptio_python_failed(err);
        else
            done += (size_t)taken;
    }
    PyGILState_Release(gil);
    return status;
}

/* --- payloads that are made when their turn comes ---------------------------------------------- */

/* Records are produced in their order. */
static const pending *find_waiting(ptio_writer_object *self, uint32_t record) {
    while (self->waiting[self->produced].record < record) self->produced++;
    return &self->waiting[self->produced];
}

/* The next piece of a payload, of which `at` bytes have come; 0, or -1 with an exception. */
static int next_piece(ptio_writer_object *self, const pending *wanted, uint64_t at) {
    PyBuffer_Release(&self->current);
    if (at == 0) {
        Py_CLEAR(self->pieces);
        PyObject *produced = PyObject_CallNoArgs(wanted->produce);
        if (produced != NULL) self->pieces = PyObject_GetIter(produced);
        Py_XDECREF(produced);
        if (self->pieces == NULL) return -1;
    }
    PyObject *piece = PyIter_Next(self->pieces);
    int status = piece == NULL ? -1 : PyObject_GetBuffer(piece, &self->current, PyBUF_SIMPLE);
    Py_XDECREF(piece);
    if (status == 0 && self->current.len > 0 && (uint64_t)self->current.len <= wanted->size - at) return 0;
    if (!PyErr_Occurred())
        PyErr_Format(PyExc_ValueError, "what is produced has not the %llu bytes that were promised",
                     (unsigned long long)wanted->size);
    return -1;
}

static ptio_status produce(void *context, uint32_t record, uint64_t at, const void **bytes, uint64_t *n,
                           ptio_error *err) {
    ptio_writer_object *self = context;
    PyGILState_STATE gil = PyGILState_Ensure();
    ptio_status status = PTIO_OK;
    if (next_piece(self, find_waiting(self, record), at) < 0) status = ptio_python_failed(err);
    PyGILState_Release(gil);
    *bytes = self->current.buf;
    *n = (uint64_t)self->current.len;
    return status;
}

/* --- new ---------------------------------------------------------------------------------------- */

static int open_sink(ptio_writer_object *self, PyObject *target) {
    if (!PyLong_Check(target)) {
        self->file = Py_NewRef(target);
        ptio_sink_forward(write_to_file, self, &self->sink);
        return 0;
    }
    long fd = PyLong_AsLong(target);
    if (fd < 0 || fd > INT_MAX) {
        if (!PyErr_Occurred()) PyErr_SetString(PyExc_ValueError, "not a file descriptor");
        return -1;
    }
    ptio_sink_file((int)fd, &self->sink);
    return 0;
}

static PyObject *writer_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"target", "stem", "alignment", "crc", "threads", "progress", "path", NULL};
    PyObject *target, *progress, *path;
    const char *stem;
    Py_ssize_t stem_size;
    unsigned long long alignment;
    int crc;
    unsigned int threads;
    ptio_error err = {0};
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "Os#$KpIOO:ArchiveWriter", names, &target, &stem,
                                     &stem_size, &alignment, &crc, &threads, &progress, &path))
        return NULL;
    ptio_writer_object *self = (ptio_writer_object *)type->tp_alloc(type, 0);
    if (self == NULL) return NULL;
    self->progress = Py_NewRef(progress);
    self->path = Py_NewRef(path);
    self->ticker.progress = progress == Py_None ? NULL : progress;
    ptio_write_options options = {.no_crc = !crc,
                                  .threads = threads,
                                  .produce = produce,
                                  .produce_context = self,
                                  .tick = ptio_tick,
                                  .tick_context = &self->ticker};
    if (open_sink(self, target) < 0) {
        Py_CLEAR(self);
    } else if (ptio_archive_begin(&self->sink, stem, (size_t)stem_size, alignment, &options, &self->archive,
                                  &err) != PTIO_OK) {
        ptio_raise(ptio_state_of_type(type), &err, path, NULL);
        Py_CLEAR(self);
    }
    return (PyObject *)self;
}

static void release(pending *item) {
    PyBuffer_Release(&item->view);
    Py_CLEAR(item->owner);
    Py_CLEAR(item->produce);
}

static void release_waiting(ptio_writer_object *self) {
    for (size_t i = 0; i < self->count; i++) release(&self->waiting[i]);
    self->count = self->produced = 0;
    PyBuffer_Release(&self->current);
    Py_CLEAR(self->pieces);
}

static int writer_traverse(ptio_writer_object *self, visitproc visit, void *arg) {
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->file);
    Py_VISIT(self->progress);
    Py_VISIT(self->pieces);
    for (size_t i = 0; i < self->count; i++) {
        Py_VISIT(self->waiting[i].view.obj);
        Py_VISIT(self->waiting[i].owner);
        Py_VISIT(self->waiting[i].produce);
    }
    return 0;
}

static int writer_clear(ptio_writer_object *self) {
    release_waiting(self);
    Py_CLEAR(self->file);
    Py_CLEAR(self->progress);
    return 0;
}

static void writer_dealloc(ptio_writer_object *self) {
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    writer_clear(self);
    ptio_archive_free(self->archive);
    ptio_free(self->waiting);
    Py_CLEAR(self->path);
    type->tp_free(self);
    Py_DECREF(type);
}

/* --- methods ------------------------------------------------------------------------------------- */

static PyObject *raise_error(ptio_writer_object *self, const ptio_error *err) {
    ptio_raise(ptio_state_of_type(Py_TYPE(self)), err, self->path, NULL);
    return NULL;
}

/* Keeps what `item` holds until the next records are written. Steals it. */
static int keep_waiting(ptio_writer_object *self, pending *item) {
    ptio_error err = {0};
    void *waiting = self->waiting;
    if (self->count == self->capacity &&
        ptio_grow(&waiting, &self->capacity, self->count + 1, sizeof *self->waiting, &err) != PTIO_OK) {
        release(item);
        raise_error(self, &err);
        return -1;
    }
    self->waiting = waiting;
    item->record = ptio_archive_layout(self->archive)->count;
    self->waiting[self->count++] = *item;
    return 0;
}

/* Steals what `item` holds. */
static PyObject *add(ptio_writer_object *self, PyObject *name, pending item, const void *bytes) {
    ptio_error err = {0};
    Py_ssize_t size;
    const char *text = PyUnicode_AsUTF8AndSize(name, &size);
    if (text == NULL) release(&item);
    if (text == NULL || keep_waiting(self, &item) < 0) return NULL;
    if (ptio_archive_add(self->archive, text, (size_t)size, bytes, item.size, &err) == PTIO_OK)
        Py_RETURN_NONE;
    release(&self->waiting[--self->count]);
    return raise_error(self, &err);
}

static int check_idle(const ptio_writer_object *self) {
    if (!self->busy) return 0;
    PyErr_SetString(PyExc_RuntimeError,
                    "this archive is being written by another thread, or from inside write()");
    return -1;
}

static PyObject *writer_add(ptio_writer_object *self, PyObject *args) {
    PyObject *name, *data;
    pending item = {.owner = NULL};
    if (!PyArg_ParseTuple(args, "UO:add", &name, &data) || check_idle(self) < 0) return NULL;
    if (PyObject_GetBuffer(data, &item.view, PyBUF_SIMPLE) < 0) return NULL;
    item.size = (uint64_t)item.view.len;
    return add(self, name, item, item.view.buf);
}

static PyObject *writer_add_memory(ptio_writer_object *self, PyObject *args) {
    PyObject *name, *owner;
    unsigned long long address, size;
    if (!PyArg_ParseTuple(args, "UKKO:add_memory", &name, &address, &size, &owner) || check_idle(self) < 0)
        return NULL;
    const char *bytes = size == 0 ? "" : (const char *)(uintptr_t)address;
    return add(self, name, (pending){.owner = Py_NewRef(owner), .size = size}, bytes);
}

/* add_memory for storages 0, 1, 2 ...: what keeps them, and (address, size) of each. */
static PyObject *writer_add_storages(ptio_writer_object *self, PyObject *args) {
    PyObject *owners;
    const char *places;
    Py_ssize_t size;
    ptio_error err = {0};
    if (!PyArg_ParseTuple(args, "O!y#:add_storages", &PyTuple_Type, &owners, &places, &size)) return NULL;
    if (check_idle(self) < 0) return NULL;
    pending item = {.owner = Py_NewRef(owners)};
    if (keep_waiting(self, &item) < 0) return NULL;
    for (size_t i = 0; i < (size_t)size / (2 * sizeof(uint64_t)); i++) {
        uint64_t place[2]; /* address and size */
        char name[25], *end = name + sizeof name, *begin = ptio_put_digits(i, end) - 5;
        memcpy(begin, "data/", 5);
        memcpy(place, places + i * sizeof place, sizeof place);
        const char *bytes = place[1] == 0 ? "" : (const char *)(uintptr_t)place[0];
        if (ptio_archive_add(self->archive, begin, (size_t)(end - begin), bytes, place[1], &err) != PTIO_OK)
            return raise_error(self, &err);
    }
    Py_RETURN_NONE;
}

static PyObject *writer_add_deferred(ptio_writer_object *self, PyObject *args) {
    PyObject *name, *callable;
    unsigned long long size;
    if (!PyArg_ParseTuple(args, "UKO:add_deferred", &name, &size, &callable) || check_idle(self) < 0)
        return NULL;
    return add(self, name, (pending){.produce = Py_NewRef(callable), .size = size}, NULL);
}

static PyObject *run(ptio_writer_object *self, ptio_status (*work)(ptio_archive *, ptio_error *)) {
    ptio_error err = {0};
    ptio_status status;
    if (check_idle(self) < 0) return NULL;
    self->busy = true;
    Py_BEGIN_ALLOW_THREADS status = work(self->archive, &err);
    Py_END_ALLOW_THREADS release_waiting(self); /* may run code that comes back here */
    self->busy = false;
    if (status != PTIO_OK) return raise_error(self, &err);
    Py_RETURN_NONE;
}

static PyObject *writer_write(ptio_writer_object *self, PyObject *unused) {
    (void)unused;
    return run(self, ptio_archive_write);
}

static PyObject *writer_finish(ptio_writer_object *self, PyObject *unused) {
    (void)unused;
    return run(self, ptio_archive_finish);
}

static PyObject *writer_id(ptio_writer_object *self, PyObject *unused) {
    char id[PTIO_ARCHIVE_ID + 1];
    (void)unused;
    if (check_idle(self) < 0) return NULL;
    ptio_archive_id(self->archive, id);
    self->ticker.progress = NULL; /* only the id is left: the end is reported once, and has been */
    return PyBytes_FromString(id);
}

static PyObject *writer_size(ptio_writer_object *self, void *closure) {
    (void)closure;
    return PyLong_FromUnsignedLongLong(ptio_zip_file_size(ptio_archive_layout(self->archive)));
}

static PyMethodDef writer_methods[] = {
    {"add", (PyCFunction)writer_add, METH_VARARGS,
     PyDoc_STR("add(name, data, /)\n--\n\nAdds a record: bytes, or any contiguous buffer.")},
    {"add_memory", (PyCFunction)writer_add_memory, METH_VARARGS,
     PyDoc_STR("add_memory(name, address, size, owner, /)\n--\n\nAdds memory that owner keeps.")},
    {"add_storages", (PyCFunction)writer_add_storages, METH_VARARGS,
     PyDoc_STR("add_storages(owners, places, /)\n--\n\nAdds memory that they keep as data/0, data/1 ...")},
    {"add_deferred", (PyCFunction)writer_add_deferred, METH_VARARGS,
     PyDoc_STR("add_deferred(name, size, produce, /)\n--\n\nAdds what produce() returns later.")},
    {"write", (PyCFunction)writer_write, METH_NOARGS,
     PyDoc_STR("write()\n--\n\nWrites what was added since the last time.")},
    {"id", (PyCFunction)writer_id, METH_NOARGS,
     PyDoc_STR("id()\n--\n\n40 digits that stand for all that has been written.")},
    {"finish", (PyCFunction)writer_finish, METH_NOARGS,
     PyDoc_STR("finish()\n--\n\nWrites the rest and the directory.")},
    {NULL}};

static PyGetSetDef writer_getset[] = {
    {"size", (getter)writer_size, NULL, "Bytes of the file with what was added so far.", NULL}, {NULL}};

static PyType_Slot writer_slots[] = {
    {Py_tp_doc, "ArchiveWriter(target, stem, *, alignment, crc, threads, progress, path)\n--\n\n"
                "A new archive in a file descriptor or an object with write()."},
    {Py_tp_new, writer_new},
    {Py_tp_dealloc, writer_dealloc},
    {Py_tp_traverse, writer_traverse},
    {Py_tp_clear, writer_clear},
    {Py_tp_methods, writer_methods},
    {Py_tp_getset, writer_getset},
    {0, NULL}};

PyType_Spec ptio_writer_spec = {.name = "ptio._core.ArchiveWriter",
                                .basicsize = sizeof(ptio_writer_object),
                                .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
                                .slots = writer_slots};
