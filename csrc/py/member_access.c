/* SPDX-License-Identifier: Apache-2.0
 *
 * Other members of an archive, by their names below its top directory: what
 * containers keep beside their pickle. Also of an archive without a checkpoint.
 */
#include "module.h"

#include "../core/record_read.h"

/* The record of this name; PTIO_NO_RECORD with an exception where there is none. */
static uint32_t find_member(const ptio_checkpoint_object *self, PyObject *name) {
    Py_ssize_t size;
    const char *text = PyUnicode_AsUTF8AndSize(name, &size);
    if (text == NULL) return PTIO_NO_RECORD;
    if (!self->source->open) {
        PyErr_SetString(PyExc_ValueError, "the file of this checkpoint is closed");
        return PTIO_NO_RECORD;
    }
    uint32_t record = ptio_zip_find(&self->checkpoint.index, "", text, (size_t)size);
    if (record == PTIO_NO_RECORD) PyErr_SetObject(PyExc_KeyError, name);
    return record;
}

static PyObject *raise_in(const ptio_checkpoint_object *self, uint32_t record, ptio_error *err) {
    if (err->record[0] == '\0') ptio_zip_name_error(&self->checkpoint.index, record, err);
    ptio_raise(ptio_state_of_type(Py_TYPE(self)), err, self->path, NULL);
    return NULL;
}

/* (offset, size) of its bytes in the file; None for a compressed one. */
PyObject *ptio_checkpoint_member(ptio_checkpoint_object *self, PyObject *name) {
    ptio_error err = {0};
    ptio_status status;
    uint32_t number = find_member(self, name);
    if (number == PTIO_NO_RECORD) return NULL;
    const ptio_record *record = &self->checkpoint.index.records[number];
    if (ptio_checkpoint_begin(self) < 0) return NULL;
    Py_BEGIN_ALLOW_THREADS status =
        ptio_zip_prove(&self->source->source, &self->checkpoint.index, number, &err);
    Py_END_ALLOW_THREADS ptio_checkpoint_end(self);
    if (status != PTIO_OK) return raise_in(self, number, &err);
    if (record->method != PTIO_ZIP_STORED) Py_RETURN_NONE;
    return Py_BuildValue("KK", (unsigned long long)record->data, (unsigned long long)record->usize);
}

/* name, most bytes: the member as bytes, its CRC checked. */
PyObject *ptio_checkpoint_read_member(ptio_checkpoint_object *self, PyObject *args) {
    PyObject *name;
    unsigned long long limit;
    ptio_error err = {0};
    ptio_status status;
    ptio_block *block = NULL;
    if (!PyArg_ParseTuple(args, "UK:read_member", &name, &limit)) return NULL;
    uint32_t number = find_member(self, name);
    if (number == PTIO_NO_RECORD) return NULL;
    if (ptio_checkpoint_begin(self) < 0) return NULL;
    Py_BEGIN_ALLOW_THREADS status = ptio_record_slurp(&self->source->source, &self->checkpoint.index, number,
                                                      limit, &self->limits, &block, &err);
    Py_END_ALLOW_THREADS ptio_checkpoint_end(self);
    if (status != PTIO_OK) return raise_in(self, number, &err);
    PyObject *result = PyBytes_FromStringAndSize((const char *)ptio_block_bytes(block),
                                                 (Py_ssize_t)self->checkpoint.index.records[number].usize);
    ptio_block_unref(block);
    return result;
}

static int append_gap(PyObject *list, uint64_t from, uint64_t to) {
    if (from >= to) return 0;
    PyObject *gap = Py_BuildValue("KK", (unsigned long long)from, (unsigned long long)(to - from));
    int status = gap == NULL ? -1 : PyList_Append(list, gap);
    Py_XDECREF(gap);
    return status;
}

/* [(offset, size)] of what stands behind members whose headers are proven and belongs to none;
 * last what is behind the directory: the end records and the comment. */
PyObject *ptio_checkpoint_gaps(ptio_checkpoint_object *self, PyObject *unused) {
    const ptio_checkpoint *c = &self->checkpoint;
    const ptio_zip_index *index = &c->index;
    (void)unused;
    PyObject *list = PyList_New(0);
    if (c->format != PTIO_FORMAT_ZIP || index->count == 0) return list;
    for (uint32_t i = 0; list != NULL && i < index->count; i++) {
        const ptio_record *record = &index->records[i];
        if (record->data != 0 && append_gap(list, ptio_zip_record_end(index, i), record->limit) < 0)
            Py_CLEAR(list);
    }
    if (list != NULL && append_gap(list, index->directory_offset + index->directory_size, c->file_size) < 0)
        Py_CLEAR(list);
    return list;
}
