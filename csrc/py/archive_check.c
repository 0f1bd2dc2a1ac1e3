/* SPDX-License-Identifier: Apache-2.0
 *
 * What a Checkpoint can tell of its archive beyond the table of records: where all
 * of them are, and whether libzip sees the same.
 */
#include "../core/second_opinion.h"
#include "module.h"

static int check_archive_open(const ptio_checkpoint_object *self) {
    if (self->source->open) return 0;
    PyErr_SetString(PyExc_ValueError, "the file of this checkpoint is closed");
    return -1;
}

/* Proves every member that can be proven, so that records() knows its offset. */
PyObject *ptio_checkpoint_locate(ptio_checkpoint_object *self, PyObject *unused) {
    ptio_zip_index *index = &self->checkpoint.index;
    ptio_zip_window window = {.size = 0};
    ptio_error err = {0};
    ptio_status status = PTIO_OK;
    (void)unused;
    if (check_archive_open(self) < 0) return NULL;
    Py_BEGIN_ALLOW_THREADS PyThread_acquire_lock(self->lock, WAIT_LOCK);
    for (uint32_t i = 0; i < index->count; i++) {
        status = ptio_zip_prove_next(&self->source->source, index, i, &window, &err);
        if (status == PTIO_E_NO_MEMORY || status == PTIO_E_IO || status == PTIO_E_CANCELLED) break;
        if (status != PTIO_OK) window.size = 0;
        status = PTIO_OK;
    }
    PyThread_release_lock(self->lock);
    Py_END_ALLOW_THREADS if (status != PTIO_OK) {
        ptio_raise(ptio_state_of_type(Py_TYPE(self)), &err, self->path, NULL);
        return NULL;
    }
    Py_RETURN_NONE;
}

/* None, or raises what libzip sees otherwise. */
PyObject *ptio_checkpoint_second_opinion(ptio_checkpoint_object *self, PyObject *unused) {
    ptio_error err = {0};
    ptio_status status = PTIO_OK;
    (void)unused;
    if (check_archive_open(self) < 0) return NULL;
    if (self->checkpoint.index.count == 0) Py_RETURN_NONE;
    Py_BEGIN_ALLOW_THREADS PyThread_acquire_lock(self->lock, WAIT_LOCK);
    status = ptio_second_opinion(&self->source->source, &self->checkpoint.index, &err);
    PyThread_release_lock(self->lock);
    Py_END_ALLOW_THREADS if (status != PTIO_OK) {
        ptio_raise(ptio_state_of_type(Py_TYPE(self)), &err, self->path, NULL);
        return NULL;
    }
    Py_RETURN_NONE;
}
