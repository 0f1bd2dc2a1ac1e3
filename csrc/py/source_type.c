/* SPDX-License-Identifier: Apache-2.0
 *
 * Source: the bytes of one file, from a path, a descriptor, bytes or a file
 * object.
 */
#include "module.h"

/* --- reading from a file object --------------------------------------------------------- */

static ptio_status short_file(ptio_error *err, uint64_t offset, size_t wanted, size_t got) {
    return ptio_fail(err, PTIO_E_FILE_CHANGED, "F2.file-object", offset,
                     "the file object gave %zu of %zu bytes", got, wanted);
}

/* The memory behind the view is ours: nobody may keep it, also when reading
 * failed. Steals view; an exception that is set stays set. */
int ptio_release_view(PyObject *view) {
    PyObject *type, *value, *traceback;
    if (view == NULL) return -1;
    PyErr_Fetch(&type, &value, &traceback);
    PyObject *released = PyObject_CallMethod(view, "release", NULL);
    Py_DECREF(view);
    Py_XDECREF(released);
    if (type != NULL) PyErr_Restore(type, value, traceback);
    return released == NULL ? -1 : 0;
}

/* readinto(view): how many bytes came, or -1 with an exception set. */
static Py_ssize_t call_readinto(PyObject *file, char *out, Py_ssize_t n) {
    PyObject *view = PyMemoryView_FromMemory(out, n, PyBUF_WRITE);
    PyObject *got = view == NULL ? NULL : PyObject_CallMethod(file, "readinto", "O", view);
    Py_ssize_t count = got == NULL ? -1 : PyNumber_AsSsize_t(got, PyExc_OverflowError);
    Py_XDECREF(got);
    return ptio_release_view(view) < 0 ? -1 : count;
}

static Py_ssize_t call_read(PyObject *file, char *out, Py_ssize_t n) {
    Py_buffer view;
    Py_ssize_t count = -1;
    PyObject *got = PyObject_CallMethod(file, "read", "n", n);
    if (got == NULL) return -1;
    if (PyObject_GetBuffer(got, &view, PyBUF_SIMPLE) == 0) {
        count = view.len;
        if (count <= n) memcpy(out, view.buf, (size_t)count);
        PyBuffer_Release(&view);
    }
    Py_DECREF(got);
    return count;
}

/* 1, 0, or -1 with an exception set. */
static int has_readinto(PyObject *file) {
    PyObject *method = PyObject_GetAttrString(file, "readinto");
    if (method == NULL && !PyErr_ExceptionMatches(PyExc_AttributeError)) return -1;
    int callable = method != NULL && PyCallable_Check(method);
    Py_XDECREF(method);
    PyErr_Clear();
    return callable;
}

/* The GIL is held. Loops over short reads; nothing at all is the end. */
static ptio_status read_from_file(ptio_source_object *self, uint64_t offset, char *out, size_t n,
                                  ptio_error *err) {
    size_t done = 0;
    PyObject *position =
        PyObject_CallMethod(self->owner, "seek", "K", (unsigned long long)(self->base + offset));
    if (position == NULL) return ptio_python_failed(err);
    Py_DECREF(position);
    int direct = has_readinto(self->owner);
    if (direct < 0) return ptio_python_failed(err);
    while (done < n) {
        Py_ssize_t left = (Py_ssize_t)(n - done);
        Py_ssize_t got =
            direct ? call_readinto(self->owner, out + done, left) : call_read(self->owner, out + done, left);
        if (got < 0 && PyErr_Occurred()) return ptio_python_failed(err);
        if (got <= 0 || got > left) return short_file(err, offset, n, done);
        done += (size_t)got;
    }
    return PTIO_OK;
}

static ptio_status read_at(void *context, uint64_t offset, void *out, size_t n, ptio_error *err) {
    ptio_source_object *self = context;
    ptio_turn *turn = self->whole == NULL ? &self->turn : &self->whole->turn;
    PyGILState_STATE gil = PyGILState_Ensure();
    ptio_status status;
    if (ptio_turn_take(turn) == 0) {
        status = read_from_file(self, offset, out, n, err);
        ptio_turn_give(turn);
    } else {
        status = ptio_python_failed(err);
    }
    PyGILState_Release(gil);
    return status;
}

/* --- the type ------------------------------------------------------------------------------- */

static ptio_source_object *source_alloc(PyTypeObject *type, PyObject *owner) {
    ptio_source_object *self = (ptio_source_object *)type->tp_alloc(type, 0);
    if (self == NULL) return NULL;
    self->source.fd = -1;
    self->owner = Py_XNewRef(owner);
    return self;
}

static PyObject *finish(ptio_source_object *self, ptio_status status, const ptio_error *err, PyObject *path) {
    if (status == PTIO_OK) {
        self->open = true;
        return (PyObject *)self;
    }
    ptio_raise(ptio_state_of_type(Py_TYPE(self)), err, path, NULL);
    Py_DECREF(self);
    return NULL;
}

static int parse_mode(const char *text, ptio_mmap_mode *mode) {
    *mode = strcmp(text, "always") == 0  ? PTIO_MMAP_ALWAYS
            : strcmp(text, "never") == 0 ? PTIO_MMAP_NEVER
                                         : PTIO_MMAP_AUTO;
    if (*mode != PTIO_MMAP_AUTO || strcmp(text, "auto") == 0) return 0;
    PyErr_SetString(PyExc_ValueError, "mmap must be 'auto', 'always' or 'never'");
    return -1;
}

static PyObject *source_from_path(PyTypeObject *type, PyObject *args) {
    PyObject *path;
    const char *mode_text;
    ptio_mmap_mode mode;
    ptio_error err = {0};
    ptio_status status;
    if (!PyArg_ParseTuple(args, "Ss:from_path", &path, &mode_text) || parse_mode(mode_text, &mode) < 0)
        return NULL;
    if (strlen(PyBytes_AS_STRING(path)) != (size_t)PyBytes_GET_SIZE(path)) {
        PyErr_SetString(PyExc_ValueError, "embedded null byte in path");
        return NULL;
    }
    PyObject *shown = PyUnicode_DecodeFSDefault(PyBytes_AS_STRING(path));
    ptio_source_object *self = shown == NULL ? NULL : source_alloc(type, NULL);
    if (self == NULL) {
        Py_XDECREF(shown);
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS status = ptio_source_open(PyBytes_AS_STRING(path), mode, &self->source, &err);
    Py_END_ALLOW_THREADS PyObject *result = finish(self, status, &err, shown);
    Py_DECREF(shown);
    return result;
}

static PyObject *source_from_fd(PyTypeObject *type, PyObject *args) {
    int fd;
    unsigned long long base;
    const char *mode_text;
    ptio_mmap_mode mode;
    ptio_error err = {0};
    ptio_status status;
    if (!PyArg_ParseTuple(args, "iKs:from_fd", &fd, &base, &mode_text) || parse_mode(mode_text, &mode) < 0)
        return NULL;
    ptio_source_object *self = source_alloc(type, NULL);
    if (self == NULL) return NULL;
    self->stream = true;
    Py_BEGIN_ALLOW_THREADS status = ptio_source_from_fd(fd, base, mode, &self->source, &err);
    Py_END_ALLOW_THREADS return finish(self, status, &err, NULL);
}

static PyObject *source_from_bytes(PyTypeObject *type, PyObject *args) {
    PyObject *data;
    Py_ssize_t base;
    if (!PyArg_ParseTuple(args, "Sn:from_bytes", &data, &base)) return NULL;
    if (base < 0 || base > PyBytes_GET_SIZE(data)) base = PyBytes_GET_SIZE(data);
    ptio_source_object *self = source_alloc(type, data);
    if (self == NULL) return NULL;
    self->stream = true;
    ptio_source_borrow(PyBytes_AS_STRING(data) + base, (size_t)(PyBytes_GET_SIZE(data) - base),
                       &self->source);
    return finish(self, PTIO_OK, NULL, NULL);
}

static PyObject *source_from_file(PyTypeObject *type, PyObject *args) {
    PyObject *file;
    unsigned long long base, size;
    if (!PyArg_ParseTuple(args, "OKK:from_file", &file, &base, &size)) return NULL;
    ptio_source_object *self = source_alloc(type, file);
    if (self == NULL || ptio_turn_init(&self->turn) < 0) {
        Py_XDECREF(self);
        return NULL;
    }
    self->stream = true;
    self->base = base;
    ptio_source_callback(read_at, self, size, &self->source);
    return finish(self, PTIO_OK, NULL, NULL);
}

static PyObject *source_part(ptio_source_object *self, PyObject *args) {
    unsigned long long offset, size;
    ptio_error err = {0};
    if (!PyArg_ParseTuple(args, "KK:part", &offset, &size)) return NULL;
    if (!self->open) return PyErr_Format(PyExc_ValueError, "the source is closed");
    ptio_source_object *part = source_alloc(Py_TYPE(self), self->owner);
    if (part == NULL) return NULL;
    part->base = self->base;
    part->stream = self->stream && offset + size == self->source.size; /* else its end is known */
    ptio_status status = ptio_source_part(&self->source, offset, size, &part->source, &err);
    if (status == PTIO_OK && part->source.read_at != NULL) {
        part->source.context = part;
        part->whole = (ptio_source_object *)Py_NewRef(self->whole == NULL ? self : self->whole);
    }
    return finish(part, status, &err, NULL);
}

static PyObject *source_read(ptio_source_object *self, PyObject *args) {
    unsigned long long offset;
    Py_ssize_t size;
    ptio_error err = {0};
    ptio_status status;
    if (!PyArg_ParseTuple(args, "Kn:read", &offset, &size)) return NULL;
    if (!self->open) return PyErr_Format(PyExc_ValueError, "the source is closed");
    if (size < 0) return PyErr_Format(PyExc_ValueError, "a negative size");
    if ((uint64_t)size > self->source.size) /* it fails: not with that much memory */
        size = (Py_ssize_t)ptio_min_u64(self->source.size + 1, PTRDIFF_MAX);
    PyObject *bytes = PyBytes_FromStringAndSize(NULL, size);
    if (bytes == NULL) return NULL;
    char *out = PyBytes_AS_STRING(bytes);
    self->users++; /* another thread may close it meanwhile */
    Py_BEGIN_ALLOW_THREADS status = ptio_source_read(&self->source, offset, out, (size_t)size, &err);
    Py_END_ALLOW_THREADS ptio_source_leave(self);
    if (status == PTIO_OK) return bytes;
    Py_DECREF(bytes);
    ptio_raise(ptio_state_of_type(Py_TYPE(self)), &err, NULL, NULL);
    return NULL;
}

/* --- closing --------------------------------------------------------------------------------- */

static void close_now(ptio_source_object *self) {
    ptio_source_close(&self->source);
    Py_CLEAR(self->owner);
}

int ptio_source_enter(ptio_source_object *self) {
    if (!self->open) {
        PyErr_SetString(PyExc_ValueError, "the file of this checkpoint is closed");
        return -1;
    }
    self->users++;
    return 0;
}

void ptio_source_leave(ptio_source_object *self) {
    if (--self->users == 0 && !self->open) close_now(self);
}

static PyObject *source_close(ptio_source_object *self, PyObject *unused) {
    (void)unused;
    bool now = self->open && self->users == 0;
    self->open = false;
    if (now) close_now(self);
    Py_RETURN_NONE;
}

static int source_traverse(ptio_source_object *self, visitproc visit, void *arg) {
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->owner);
    Py_VISIT(self->whole);
    return 0;
}

static int source_clear(ptio_source_object *self) {
    Py_CLEAR(self->owner);
    return 0;
}

static void source_dealloc(ptio_source_object *self) {
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    if (self->open) ptio_source_close(&self->source);
    Py_CLEAR(self->owner);
    Py_CLEAR(self->whole);
    ptio_turn_clear(&self->turn);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyObject *source_size(ptio_source_object *self, void *closure) {
    (void)closure;
    return PyLong_FromUnsignedLongLong(self->source.size);
}

static PyObject *source_mapped(ptio_source_object *self, void *closure) {
    (void)closure;
    return PyBool_FromLong(self->source.mapping != NULL);
}

static PyMethodDef source_methods[] = {
    {"from_path", (PyCFunction)source_from_path, METH_VARARGS | METH_CLASS,
     PyDoc_STR("from_path(path, mmap)\n--\n\nA regular file by path (bytes).")},
    {"from_fd", (PyCFunction)source_from_fd, METH_VARARGS | METH_CLASS,
     PyDoc_STR("from_fd(fd, base, mmap)\n--\n\nAn open regular file, from byte base on.")},
    {"from_bytes", (PyCFunction)source_from_bytes, METH_VARARGS | METH_CLASS,
     PyDoc_STR("from_bytes(data, base)\n--\n\nBytes, borrowed, from base on.")},
    {"from_file", (PyCFunction)source_from_file, METH_VARARGS | METH_CLASS,
     PyDoc_STR("from_file(file, base, size)\n--\n\nAn object with seek() and readinto() or read().")},
    {"part", (PyCFunction)source_part, METH_VARARGS,
     PyDoc_STR("part(offset, size)\n--\n\nA run of these bytes as a source of its own.")},
    {"read", (PyCFunction)source_read, METH_VARARGS,
     PyDoc_STR("read(offset, size)\n--\n\nSome of the bytes.")},
    {"close", (PyCFunction)source_close, METH_NOARGS,
     PyDoc_STR(
         "close()\n--\n\nCloses the file, when those who read it are done; arrays keep their mapping.")},
    {NULL}};

static PyGetSetDef source_getset[] = {
    {"size", (getter)source_size, NULL, "Bytes from the beginning of the checkpoint on.", NULL},
    {"mapped", (getter)source_mapped, NULL, "Whether the file is memory-mapped.", NULL},
    {NULL}};

static PyType_Slot source_slots[] = {{Py_tp_doc, "The bytes of one file."},
                                     {Py_tp_dealloc, source_dealloc},
                                     {Py_tp_traverse, source_traverse},
                                     {Py_tp_clear, source_clear},
                                     {Py_tp_methods, source_methods},
                                     {Py_tp_getset, source_getset},
                                     {0, NULL}};

PyType_Spec ptio_source_spec = {.name = "ptio._core.Source",
                                .basicsize = sizeof(ptio_source_object),
                                .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC |
                                         Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
                                .slots = source_slots};
