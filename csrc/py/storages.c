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

int ptio_read_options_set(PyObject *verify, int private_copy, unsigned threads, PyObject *progress,
                          ptio_read_options *options, ptio_ticker *ticker) {
    int truth = -1;
    if (verify != Py_None && (truth = PyObject_IsTrue(verify)) < 0) return -1;
    ticker->progress = progress == Py_None ? NULL : progress;
    *options = (ptio_read_options){.verify_mapped = truth == 1,
                                   .never_verify = truth == 0,
                                   .private_copy = private_copy,
                                   .threads = threads,
                                   .tick = ptio_tick,
                                   .tick_context = ticker};
    return 0;
}

/* Zeroed tables. A part touches little of them, so there it is left to the system to make zeros
 * of what is touched. */
static ptio_status allocate(const ptio_checkpoint *c, ptio_loaded *loaded, ptio_error *err) {
    size_t count = c->storage_count + 1;
    void *tables[3];
    const size_t sizes[] = {sizeof *loaded->wanted, sizeof *loaded->wanted_of, sizeof *loaded->objects};
    bool whole = loaded->part.refs == NULL;
    if (whole)
        PTIO_TRY(ptio_arena_reserve(&loaded->arena, 64 * count + sizeof(PyObject *) * c->graph.count, err));
    for (size_t i = 0; i < 3 && whole; i++) {
        PTIO_TRY(ptio_arena_alloc(&loaded->arena, count, sizes[i], &tables[i], err));
        memset(tables[i], 0, count * sizes[i]);
    }
    loaded->wanted = whole ? tables[0] : ptio_alloc_zeroed(count, sizes[0]);
    loaded->wanted_of = whole ? tables[1] : ptio_alloc_zeroed(count, sizes[1]);
    loaded->objects = whole ? tables[2] : ptio_alloc_zeroed(count, sizes[2]);
    if (!loaded->wanted || !loaded->wanted_of || !loaded->objects) return ptio_no_memory(err);
    loaded->slots = c->storage_count;
    return PTIO_OK;
}

/* The storage of a node that needs one: a view is read with its root. */
static void want(const ptio_checkpoint *c, ptio_loaded *loaded, const ptio_node *node) {
    uint32_t number = ptio_storage_of_node(c, node);
    if (number == PTIO_NO_STORAGE) return;
    uint32_t root = c->storages[number].root;
    const ptio_storage *storage = &c->storages[root];
    uint32_t *wanted_of = &loaded->wanted_of[ptio_slot_of(loaded, number)];
    uint32_t *wanted_of_root = &loaded->wanted_of[ptio_slot_of(loaded, root)];
    if (*wanted_of != 0 || storage->record == PTIO_NO_RECORD || storage->bytes == 0) return;
    if (*wanted_of_root == 0) {
        bool swaps = c->swap && storage->swap_bytes > 1;
        loaded->wanted[loaded->count++] =
            (ptio_wanted){.record = storage->record, .alignment = storage->alignment, .needs_private = swaps};
        *wanted_of_root = (uint32_t)loaded->count;
        if (swaps) loaded->swaps = true;
    }
    *wanted_of = *wanted_of_root;
}

/* Whether the storage of a node is a view of another one. */
static bool is_in_view(const ptio_checkpoint *c, const ptio_node *node) {
    uint32_t number = ptio_storage_of_node(c, node);
    return number != PTIO_NO_STORAGE && c->storages[number].root != number;
}

static ptio_status choose(const ptio_checkpoint *c, bool without_data, ptio_loaded *loaded, ptio_error *err) {
    const ptio_node *nodes = c->graph.nodes;
    const ptio_part *part = &loaded->part;
    loaded->single = part->count == 1 && !is_in_view(c, &c->graph.nodes[part->refs[0]]);
    if (loaded->single) {
        loaded->wanted = &loaded->one_wanted;
        loaded->wanted_of = &loaded->one_wanted_of;
        loaded->objects = &loaded->one_object;
        loaded->slots = 1;
    } else {
        PTIO_TRY(allocate(c, loaded, err));
    }
    if (without_data) return PTIO_OK;
    for (size_t i = 0; i < part->count; i++) want(c, loaded, &nodes[part->refs[i]]);
    for (size_t i = PTIO_FIRST_FREE_NODE; part->refs == NULL && i < c->graph.count; i++)
        if (nodes[i].flags & PTIO_F_NEEDED) want(c, loaded, &nodes[i]);
    return PTIO_OK;
}

/* A record has the byte order of its first storage. */
static void swap_all(const ptio_checkpoint *c, const ptio_loaded *loaded) {
    const ptio_node *nodes = c->graph.nodes;
    if (loaded->single) {
        uint32_t number = ptio_storage_of_node(c, &nodes[loaded->part.refs[0]]);
        ptio_swap_items(loaded->wanted->bytes, c->storages[number].bytes, c->storages[number].swap_bytes);
        return;
    }
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

static ptio_status read_whole(ptio_checkpoint_object *self, const ptio_read_options *options,
                              bool without_data, ptio_loaded *loaded, ptio_error *err) {
    const ptio_source *source = &self->source->source;
    ptio_zip_index *index = &self->checkpoint.index;
    PTIO_TRY(choose(&self->checkpoint, without_data, loaded, err));
    PTIO_TRY(ptio_records_read(source, index, loaded->wanted, loaded->count, &self->limits, options, err));
    return prove_others(source, index, err);
}

/* A handle may be used long after the file was opened: a view of what is gone would end the
 * process. */
static ptio_status prove_part(ptio_checkpoint_object *self, bool without_data, ptio_loaded *loaded,
                              ptio_error *err) {
    PTIO_TRY(choose(&self->checkpoint, without_data, loaded, err));
    if (loaded->count > 0) PTIO_TRY(ptio_source_unchanged(&self->source->source, err));
    for (size_t i = 0; i < loaded->count; i++)
        PTIO_TRY(
            ptio_zip_prove(&self->source->source, &self->checkpoint.index, loaded->wanted[i].record, err));
    return PTIO_OK;
}

/* Of proven records, which need no turn: reading them changes nothing in the index. */
static ptio_status read_part(ptio_checkpoint_object *self, const ptio_read_options *options,
                             ptio_loaded *loaded, ptio_error *err) {
    if (loaded->count == 0) return PTIO_OK;
    return ptio_records_read(&self->source->source, &self->checkpoint.index, loaded->wanted, loaded->count,
                             &self->limits, options, err);
}

static ptio_status load(ptio_checkpoint_object *self, const ptio_read_options *options, bool without_data,
                        ptio_loaded *loaded, ptio_error *err) {
    bool whole = loaded->part.refs == NULL;
    ptio_status status;
    if (ptio_turn_take(&self->turn) < 0) return ptio_python_failed(err);
    Py_BEGIN_ALLOW_THREADS status = whole ? read_whole(self, options, without_data, loaded, err)
                                          : prove_part(self, without_data, loaded, err);
    Py_END_ALLOW_THREADS ptio_turn_give(&self->turn);
    if (status != PTIO_OK) return status;
    Py_BEGIN_ALLOW_THREADS if (!whole) status = read_part(self, options, loaded, err);
    if (status == PTIO_OK && loaded->swaps) swap_all(&self->checkpoint, loaded);
    Py_END_ALLOW_THREADS return status;
}

int ptio_storages_load(ptio_checkpoint_object *self, ptio_state *state, const ptio_read_options *options,
                       bool without_data, ptio_part part, ptio_loaded *loaded) {
    ptio_error err = {0};
    *loaded = (ptio_loaded){.part = part};
    if (ptio_source_enter(self->source) < 0) {
        ptio_storages_release(loaded);
        return -1;
    }
    ptio_status status = load(self, options, without_data, loaded, &err);
    ptio_source_leave(self->source);
    if (status == PTIO_OK) return 0;
    ptio_storages_release(loaded);
    ptio_raise(state, &err, self->path, NULL);
    return -1;
}

void ptio_storages_release(ptio_loaded *loaded) {
    for (size_t i = 0; i < loaded->count; i++) ptio_block_unref(loaded->wanted[i].block);
    for (size_t i = 0; i < loaded->slots; i++) Py_XDECREF(loaded->objects[i]);
    if (loaded->part.refs != NULL && !loaded->single) {
        ptio_free(loaded->wanted);
        ptio_free(loaded->wanted_of);
        ptio_free(loaded->objects);
    }
    ptio_free(loaded->part.refs);
    ptio_arena_free(&loaded->arena);
    memset(loaded, 0, sizeof *loaded);
}

ptio_storage_object *ptio_storages_get(ptio_builder *builder, uint32_t storage) {
    PyObject **object = &builder->loaded->objects[ptio_slot_of(builder->loaded, storage)];
    const ptio_storage *what = &builder->c->storages[storage];
    if (*object == NULL && what->bytes == 0) {
        *object = ptio_storage_new(builder->state, NULL, NULL, 0);
    } else if (*object == NULL) {
        const ptio_wanted *wanted = ptio_wanted_of(builder->loaded, storage);
        *object = ptio_storage_new(builder->state, ptio_block_ref(wanted->block),
                                   wanted->bytes + what->offset, what->bytes);
    }
    return (ptio_storage_object *)*object;
}
