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
        PyObject *result =
            PyObject_CallFunction(t->progress, "KK", (unsigned long long)done, (unsigned long long)total);
        if (result == NULL) status = ptio_python_failed(err);
        Py_XDECREF(result);
    }
    PyGILState_Release(gil);
    return status;
}

bool ptio_parse_read_options(PyObject *args, PyObject *kwargs, const char *format, char **names,
                             ptio_read_options *options, ptio_ticker *ticker) {
    PyObject *verify, *progress;
    int private_copy, truth = -1;
    unsigned int threads;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, format, names, &verify, &private_copy, &threads,
                                     &progress))
        return false;
    if (verify != Py_None && (truth = PyObject_IsTrue(verify)) < 0) return false;
    ticker->progress = progress == Py_None ? NULL : progress;
    *options = (ptio_read_options){.verify_mapped = truth == 1,
                                   .never_verify = truth == 0,
                                   .private_copy = private_copy,
                                   .threads = threads,
                                   .tick = ptio_tick,
                                   .tick_context = ticker};
    return true;
}

/* Memory for every table of the load, zeroed. A part touches little of it, so there it is left
 * to the system to make zeros of what is touched. */
static ptio_status allocate(const ptio_checkpoint *c, ptio_loaded *loaded, ptio_error *err) {
    size_t count = c->storage_count + 1;
    const size_t sizes[] = {sizeof *loaded->wanted, sizeof *loaded->wanted_of, sizeof *loaded->objects};
    bool whole = loaded->part.refs == NULL;
    if (whole)
        PTIO_TRY(ptio_arena_reserve(&loaded->arena, 64 * count + sizeof(PyObject *) * c->graph.count, err));
    for (size_t i = 0; i < 3; i++) {
        if (whole)
            PTIO_TRY(ptio_arena_alloc(&loaded->arena, count, sizes[i], &loaded->tables[i], err));
        else if ((loaded->tables[i] = ptio_alloc_zeroed(count, sizes[i])) == NULL)
            return ptio_no_memory(err);
        if (whole) memset(loaded->tables[i], 0, count * sizes[i]);
    }
    loaded->wanted = loaded->tables[0];
    loaded->wanted_of = loaded->tables[1];
    loaded->objects = loaded->tables[2];
    loaded->storage_count = c->storage_count;
    return PTIO_OK;
}

/* The storage of a node that needs one: a view is read with its root. */
static void want(const ptio_checkpoint *c, ptio_loaded *loaded, const ptio_node *node) {
    uint32_t number = node->kind == PTIO_N_STORAGE  ? node->a
                      : node->kind == PTIO_N_TENSOR ? c->tensors[node->a].storage
                                                    : PTIO_NO_STORAGE;
    if (number == PTIO_NO_STORAGE || loaded->wanted_of[number] != 0) return;
    uint32_t root = c->storages[number].root;
    const ptio_storage *storage = &c->storages[root];
    if (storage->record == PTIO_NO_RECORD || storage->bytes == 0) return;
    if (root != number && loaded->wanted_of[root] != 0) {
        loaded->wanted_of[number] = loaded->wanted_of[root];
        return;
    }
    loaded->wanted[loaded->count++] = (ptio_wanted){.record = storage->record,
                                                    .alignment = storage->alignment,
                                                    .needs_private = c->swap && storage->swap_bytes > 1};
    loaded->wanted_of[number] = loaded->wanted_of[root] = (uint32_t)loaded->count;
    if (c->swap && storage->swap_bytes > 1) loaded->swaps = true;
}

static ptio_status choose(const ptio_checkpoint *c, bool without_data, ptio_loaded *loaded, ptio_error *err) {
    const ptio_node *nodes = c->graph.nodes;
    const ptio_part *part = &loaded->part;
    PTIO_TRY(allocate(c, loaded, err));
    if (without_data) return PTIO_OK;
    for (size_t i = 0; i < part->count; i++) want(c, loaded, &nodes[part->refs[i]]);
    for (size_t i = PTIO_FIRST_FREE_NODE; part->refs == NULL && i < c->graph.count; i++)
        if (nodes[i].flags & PTIO_F_NEEDED) want(c, loaded, &nodes[i]);
    return PTIO_OK;
}

static void swap_all(const ptio_checkpoint *c, const ptio_loaded *loaded) {
    for (uint32_t i = 0; i < c->storage_count; i++)
        if (loaded->wanted_of[i] != 0 && c->storages[i].root == i && c->storages[i].swap_bytes > 1)
            ptio_swap_items(ptio_wanted_of(loaded, i)->bytes, c->storages[i].bytes,
                            c->storages[i].swap_bytes);
}

/* Every record is proven, those too that nothing refers to (Z8). */
static ptio_status prove_others(const ptio_source *source, ptio_zip_index *index, ptio_error *err) {
    for (uint32_t i = 0; i < index->count; i++)
        if (index->records[i].data == 0) PTIO_TRY(ptio_zip_prove(source, index, i, err));
    return PTIO_OK;
}

static ptio_status read_all(ptio_checkpoint_object *self, const ptio_read_options *options, bool without_data,
                            ptio_loaded *loaded, ptio_error *err) {
    const ptio_source *source = &self->source->source;
    ptio_checkpoint *c = &self->checkpoint;
    PTIO_TRY(choose(c, without_data, loaded, err));
    PTIO_TRY(
        ptio_records_read(source, &c->index, loaded->wanted, loaded->count, &self->limits, options, err));
    if (loaded->part.refs == NULL) PTIO_TRY(prove_others(source, &c->index, err));
    if (loaded->swaps) swap_all(c, loaded);
    return PTIO_OK;
}

int ptio_storages_load(ptio_checkpoint_object *self, ptio_state *state, const ptio_read_options *options,
                       bool without_data, ptio_part part, ptio_loaded *loaded) {
    ptio_error err = {0};
    ptio_status status;
    *loaded = (ptio_loaded){.part = part};
    Py_BEGIN_ALLOW_THREADS PyThread_acquire_lock(self->lock, WAIT_LOCK);
    status = read_all(self, options, without_data, loaded, &err);
    PyThread_release_lock(self->lock);
    Py_END_ALLOW_THREADS if (status == PTIO_OK) return 0;
    ptio_storages_release(loaded);
    ptio_raise(state, &err, self->path, NULL);
    return -1;
}

void ptio_storages_release(ptio_loaded *loaded) {
    for (size_t i = 0; i < loaded->count; i++) ptio_block_unref(loaded->wanted[i].block);
    for (size_t i = 0; i < loaded->storage_count; i++) Py_XDECREF(loaded->objects[i]);
    for (size_t i = 0; loaded->part.refs != NULL && i < 3; i++) ptio_free(loaded->tables[i]);
    ptio_free(loaded->part.refs);
    ptio_arena_free(&loaded->arena);
    memset(loaded, 0, sizeof *loaded);
}

ptio_storage_object *ptio_storages_get(ptio_builder *builder, uint32_t storage) {
    PyObject **object = &builder->loaded->objects[storage];
    const ptio_storage *what = &builder->c->storages[storage];
    if (*object == NULL && what->bytes == 0) *object = ptio_storage_new(builder->state, NULL, NULL, 0);
    if (*object == NULL) {
        const ptio_wanted *wanted = ptio_wanted_of(builder->loaded, storage);
        *object = ptio_storage_new(builder->state, ptio_block_ref(wanted->block),
                                   wanted->bytes + what->offset, what->bytes);
    }
    return (ptio_storage_object *)*object;
}
