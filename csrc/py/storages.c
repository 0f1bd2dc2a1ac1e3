/* SPDX-License-Identifier: Apache-2.0
 *
 * The bytes of every storage that the result needs: chosen from the graph, read
 * by the core without the GIL, then swapped where the file's byte order is not
 * this machine's.
 */
#include "module.h"

ptio_status ptio_tick(void *context, uint64_t done, uint64_t total, ptio_error *err) {
    const ptio_ticker *t = context;
    ptio_status status = PTIO_OK;
    PyGILState_STATE gil = PyGILState_Ensure();
    if (PyErr_CheckSignals() < 0) status = ptio_python_failed(err);
    if (status == PTIO_OK && t->progress != NULL) {
        PyObject *result = PyObject_CallFunction(t->progress, "KK", (unsigned long long)done,
                                                 (unsigned long long)total);
        if (result == NULL) status = ptio_python_failed(err);
        Py_XDECREF(result);
    }
    PyGILState_Release(gil);
    return status;
}

static void mark_needed(const ptio_checkpoint *c, uint8_t *needed) {
    for (size_t i = PTIO_FIRST_FREE_NODE; i < c->graph.count; i++) {
        const ptio_node *node = &c->graph.nodes[i];
        if (!(node->flags & PTIO_F_NEEDED)) continue;
        if (node->kind == PTIO_N_STORAGE) needed[node->a] = 1;
        if (node->kind == PTIO_N_TENSOR && c->tensors[node->a].storage != PTIO_NO_STORAGE)
            needed[c->tensors[node->a].storage] = 1;
    }
}

static int choose(const ptio_checkpoint *c, ptio_loaded *loaded) {
    uint8_t *needed = PyMem_Calloc(c->storage_count + 1, 1);
    loaded->storage_count = c->storage_count;
    loaded->wanted = PyMem_Calloc(c->storage_count + 1, sizeof *loaded->wanted);
    loaded->wanted_of = PyMem_Calloc(c->storage_count + 1, sizeof *loaded->wanted_of);
    loaded->objects = PyMem_Calloc(c->storage_count + 1, sizeof *loaded->objects);
    if (!needed || !loaded->wanted || !loaded->wanted_of || !loaded->objects) {
        PyMem_Free(needed);
        PyErr_NoMemory();
        return -1;
    }
    mark_needed(c, needed);
    for (uint32_t i = 0; i < c->storage_count; i++) {
        const ptio_storage *storage = &c->storages[i];
        loaded->wanted_of[i] = PTIO_NO_STORAGE;
        if (!needed[i] || storage->record == PTIO_NO_RECORD) continue;
        loaded->wanted_of[i] = (uint32_t)loaded->count;
        loaded->wanted[loaded->count++] = (ptio_wanted){
            .record = storage->record,
            .alignment = storage->alignment,
            .needs_private = c->swap && storage->swap_bytes > 1};
    }
    PyMem_Free(needed);
    return 0;
}

static void swap_all(const ptio_checkpoint *c, const ptio_loaded *loaded) {
    for (uint32_t i = 0; i < c->storage_count; i++)
        if (loaded->wanted_of[i] != PTIO_NO_STORAGE && c->storages[i].swap_bytes > 1)
            ptio_swap_items(loaded->wanted[loaded->wanted_of[i]].bytes, c->storages[i].bytes,
                            c->storages[i].swap_bytes);
}

/* Every record is proven, those too that nothing refers to (Z8). */
static ptio_status prove_others(const ptio_source *source, ptio_zip_index *index, ptio_error *err) {
    for (uint32_t i = 0; i < index->count; i++)
        if (index->records[i].data == 0) PTIO_TRY(ptio_zip_prove(source, index, i, err));
    return PTIO_OK;
}

static ptio_status read_all(ptio_checkpoint_object *self, const ptio_read_options *options,
                            ptio_loaded *loaded, ptio_error *err) {
    const ptio_source *source = &self->source->source;
    ptio_checkpoint *c = &self->checkpoint;
    PTIO_TRY(ptio_records_read(source, &c->index, loaded->wanted, loaded->count, &self->limits, options, err));
    PTIO_TRY(prove_others(source, &c->index, err));
    if (c->swap) swap_all(c, loaded);
    return PTIO_OK;
}

int ptio_storages_load(ptio_checkpoint_object *self, ptio_state *state, const ptio_read_options *options,
                       ptio_loaded *loaded) {
    ptio_error err = {0};
    ptio_status status;
    memset(loaded, 0, sizeof *loaded);
    if (choose(&self->checkpoint, loaded) < 0) return -1;
    Py_BEGIN_ALLOW_THREADS
    PyThread_acquire_lock(self->lock, WAIT_LOCK);
    status = read_all(self, options, loaded, &err);
    PyThread_release_lock(self->lock);
    Py_END_ALLOW_THREADS
    if (status == PTIO_OK) return 0;
    ptio_raise(state, &err, self->path, NULL);
    return -1;
}

void ptio_storages_release(ptio_loaded *loaded) {
    for (size_t i = 0; loaded->wanted != NULL && i < loaded->count; i++)
        ptio_block_unref(loaded->wanted[i].block);
    for (size_t i = 0; loaded->objects != NULL && i < loaded->storage_count; i++)
        Py_XDECREF(loaded->objects[i]);
    PyMem_Free(loaded->wanted);
    PyMem_Free(loaded->wanted_of);
    PyMem_Free(loaded->objects);
    memset(loaded, 0, sizeof *loaded);
}

ptio_storage_object *ptio_storages_get(ptio_builder *builder, uint32_t storage) {
    PyObject **object = &builder->loaded->objects[storage];
    if (*object == NULL) {
        ptio_wanted *wanted = &builder->loaded->wanted[builder->loaded->wanted_of[storage]];
        ptio_block *block = wanted->block;
        wanted->block = NULL; /* the object owns it from here on */
        *object = ptio_storage_new(builder->state, block, wanted->bytes, builder->c->storages[storage].bytes);
    }
    return (ptio_storage_object *)*object;
}
