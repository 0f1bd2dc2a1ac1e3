/* SPDX-License-Identifier: Apache-2.0
 *
 *   storages:  pickle of n, then n times: pickle of (id, location, class), elements
 *              (int64), bytes; then pickle of a list of views (id, root, offset, size)
 *   tensors:   pickle of n, then n times: pickle of (id, storage, class), int32 ndim,
 *              4 bytes, ndim int64 sizes, ndim int64 strides, int64 offset
 */
#include "tar_tables.h"

#include <stdlib.h>

#include "memory.h"
#include "tensor_bounds.h"
#include "utf8.h"
#include "vet.h"

typedef long long ll;
typedef unsigned long long ull;

/* --- numbers -> entries -------------------------------------------------------------------- */

static int compare_ids(const void *a, const void *b) {
    const ptio_tar_id *x = a, *y = b;
    return x->id < y->id ? -1 : x->id > y->id;
}

static ptio_status sort_ids(ptio_tar *tar, ptio_error *err) {
    if (tar->id_count > 0) qsort(tar->ids, tar->id_count, sizeof *tar->ids, compare_ids);
    for (size_t i = 1; i < tar->id_count; i++)
        PTIO_CHECK(tar->ids[i - 1].id != tar->ids[i].id, "L2.unique", err, LEGACY_MALFORMED, PTIO_NO_OFFSET,
                   "two storages or tensors have the number %lld", (ll)tar->ids[i].id);
    return PTIO_OK;
}

const ptio_tar_id *ptio_tar_lookup(const ptio_tar *tar, int64_t id) {
    const ptio_tar_id key = {.id = id};
    if (tar->id_count == 0) return NULL;
    return bsearch(&key, tar->ids, tar->id_count, sizeof key, compare_ids);
}

static ptio_status add_id(ptio_tar *tar, int64_t id, size_t number, bool is_tensor, ptio_error *err) {
    PTIO_TRY(ptio_grow((void **)&tar->ids, &tar->id_capacity, tar->id_count + 1, sizeof *tar->ids, err));
    tar->ids[tar->id_count++] = (ptio_tar_id){id, (uint32_t)number, is_tensor};
    return PTIO_OK;
}

/* --- reading parts --------------------------------------------------------------------------- */

typedef struct {
    ptio_pickle_series *series;
    const ptio_checkpoint_options *options;
    ptio_tar *tar;
    ptio_error *err;
} reader;

static ptio_status read_count(reader *r, const char *name, uint64_t *count) {
    ptio_legacy_part part;
    PTIO_TRY(ptio_legacy_part_read(r->series, r->options, name, 0, &part, r->err));
    const ptio_node root = part.graph.nodes[part.graph.root];
    ptio_legacy_part_free(&part);
    PTIO_CHECK(root.kind == PTIO_N_INT && root.integer >= 0 && root.integer <= INT32_MAX, "L2.count", r->err,
               LEGACY_MALFORMED, PTIO_NO_OFFSET, "the %s is no count", name);
    *count = (uint64_t)root.integer;
    return PTIO_OK;
}

static const ptio_node *item_of(const ptio_graph *graph, const ptio_node *tuple, size_t i) {
    return &graph->nodes[graph->refs[tuple->first + i]];
}

/* A tuple of three, the last of which is a class: (id, anything, class). */
static ptio_status check_entry(reader *r, const ptio_graph *graph, const ptio_node **tuple) {
    const ptio_node *root = &graph->nodes[graph->root];
    PTIO_CHECK(root->kind == PTIO_N_TUPLE && root->count == 3 &&
                   item_of(graph, root, 0)->kind == PTIO_N_INT &&
                   (item_of(graph, root, 2)->kind == PTIO_N_GLOBAL ||
                    item_of(graph, root, 2)->kind == PTIO_N_STACK_GLOBAL),
               "L2.entry", r->err, LEGACY_MALFORMED, PTIO_NO_OFFSET,
               "an entry that is not (number, number or place, class)");
    *tuple = root;
    return PTIO_OK;
}

/* The next n * width bytes' worth of numbers. */
static ptio_status read_int64s(reader *r, size_t n, int64_t *out) {
    for (size_t i = 0; i < n; i++) {
        const uint8_t *bytes = NULL;
        PTIO_TRY(ptio_series_bytes(r->series, 8, &bytes, r->err));
        out[i] = (int64_t)ptio_le64(bytes);
    }
    return PTIO_OK;
}

/* --- storages ------------------------------------------------------------------------------------ */

static ptio_status new_storage(reader *r, ptio_tar_storage storage) {
    ptio_tar *tar = r->tar;
    PTIO_TRY(ptio_grow((void **)&tar->storages, &tar->storage_capacity, tar->storage_count + 1,
                       sizeof storage, r->err));
    PTIO_TRY(add_id(tar, storage.id, tar->storage_count, false, r->err));
    tar->storages[tar->storage_count++] = storage;
    return PTIO_OK;
}

static ptio_status read_class(reader *r, const ptio_graph *graph, const ptio_node *class, uint8_t *dtype) {
    const uint8_t *module, *name;
    size_t module_size, name_size;
    ptio_global_name(graph, (ptio_ref)(class - graph->nodes), &module, &module_size, &name, &name_size);
    uint32_t global = ptio_global_find(module, module_size, name, name_size);
    PTIO_CHECK(global != PTIO_NO_GLOBAL && ptio_global_get(global)->role == PTIO_ROLE_STORAGE, "L2.class",
               r->err, GLOBAL_FORBIDDEN, PTIO_NO_OFFSET, "a storage's class is none of torch's");
    *dtype = ptio_global_get(global)->value;
    return PTIO_OK;
}

static ptio_status read_entry(reader *r, const ptio_graph *graph, ptio_tar_storage *storage) {
    const ptio_node *tuple = NULL;
    PTIO_TRY(check_entry(r, graph, &tuple));
    const ptio_node *location = item_of(graph, tuple, 1);
    bool text = location->kind == PTIO_N_STR || location->kind == PTIO_N_PY2_STR;
    PTIO_CHECK(
        text && location->a <= PTIO_TAR_LOCATION && ptio_is_ascii(ptio_text(graph, location), location->a),
        "L2.location", r->err, LEGACY_MALFORMED, PTIO_NO_OFFSET, "a storage's location is no short text");
    storage->id = item_of(graph, tuple, 0)->integer;
    storage->location_size = (uint8_t)location->a;
    memcpy(storage->location, ptio_text(graph, location), location->a);
    return read_class(r, graph, item_of(graph, tuple, 2), &storage->dtype);
}

static ptio_status read_storage(reader *r) {
    ptio_legacy_part part;
    ptio_tar_storage storage = {.root = (uint32_t)r->tar->storage_count};
    int64_t elements = 0;
    PTIO_TRY(ptio_legacy_part_read(r->series, r->options, "list of storages", 1, &part, r->err));
    ptio_status status = read_entry(r, &part.graph, &storage);
    ptio_legacy_part_free(&part);
    PTIO_TRY(status);
    PTIO_TRY(read_int64s(r, 1, &elements));
    storage.data = r->series->at;
    PTIO_CHECK(elements >= 0 && ptio_mul_u64((uint64_t)elements, ptio_dtype_get(storage.dtype)->item_bytes,
                                             &storage.bytes),
               "L2.elements", r->err, BOUNDS, storage.data - 8, "a storage of %lld elements", (ll)elements);
    PTIO_TRY(ptio_series_skip(r->series, storage.bytes, r->err));
    return new_storage(r, storage);
}

/* --- views of storages ------------------------------------------------------------------------------ */

static ptio_status read_view(reader *r, const ptio_graph *graph, const ptio_node *tuple) {
    int64_t numbers[4];
    uint64_t offset, bytes;
    bool shape = tuple->kind == PTIO_N_TUPLE && tuple->count == 4;
    for (size_t i = 0; i < 4 && shape; i++) {
        shape = item_of(graph, tuple, i)->kind == PTIO_N_INT;
        numbers[i] = item_of(graph, tuple, i)->integer;
    }
    PTIO_CHECK(shape, "L2.view-shape", r->err, LEGACY_MALFORMED, PTIO_NO_OFFSET,
               "a view of a storage that is not (number, root, offset, size)");
    const ptio_tar_id *found = ptio_tar_lookup(r->tar, numbers[1]);
    PTIO_CHECK(found != NULL, "L2.root", r->err, LEGACY_MALFORMED, PTIO_NO_OFFSET,
               "a view of storage %lld, which is not in the file", (ll)numbers[1]);
    ptio_tar_storage view = r->tar->storages[found->number];
    uint64_t item = ptio_dtype_get(view.dtype)->item_bytes;
    PTIO_CHECK(numbers[2] >= 0 && numbers[3] >= 0 && ptio_mul_u64((uint64_t)numbers[2], item, &offset) &&
                   ptio_mul_u64((uint64_t)numbers[3], item, &bytes) && offset <= view.bytes &&
                   bytes <= view.bytes - offset,
               "L2.view", r->err, BOUNDS, PTIO_NO_OFFSET,
               "a view of %lld elements from element %lld on of a storage of %llu bytes", (ll)numbers[3],
               (ll)numbers[2], (ull)view.bytes);
    view.id = numbers[0];
    view.root = found->number;
    view.offset = offset;
    view.bytes = bytes;
    PTIO_TRY(ptio_grow((void **)&r->tar->storages, &r->tar->storage_capacity, r->tar->storage_count + 1,
                       sizeof view, r->err));
    r->tar->storages[r->tar->storage_count++] = view;
    return PTIO_OK;
}

static ptio_status read_views_of(reader *r, const ptio_graph *graph) {
    const ptio_node *list = &graph->nodes[graph->root];
    size_t roots = r->tar->storage_count;
    PTIO_CHECK(list->kind == PTIO_N_LIST, "L2.views", r->err, LEGACY_MALFORMED, PTIO_NO_OFFSET,
               "the views of storages are no list");
    for (ptio_ref fill = ptio_first_fill(graph, graph->root); fill;
         fill = ptio_next_fill(graph, graph->root, fill)) {
        const ptio_node *items = &graph->nodes[fill];
        PTIO_CHECK(items->kind == PTIO_N_APPEND, "L2.views-fill", r->err, LEGACY_MALFORMED, PTIO_NO_OFFSET,
                   "the list of views is filled like something else");
        for (uint32_t i = 0; i < items->count; i++) PTIO_TRY(read_view(r, graph, item_of(graph, items, i)));
    }
    for (size_t i = roots; i < r->tar->storage_count; i++) /* a view's root is never a view */
        PTIO_TRY(add_id(r->tar, r->tar->storages[i].id, i, false, r->err));
    return PTIO_OK;
}

static ptio_status check_done(const reader *r, const char *name) {
    PTIO_CHECK(r->series->at == r->series->end, "L2.rest", r->err, LEGACY_MALFORMED, r->series->at,
               "%llu bytes follow the last of the %s", (ull)(r->series->end - r->series->at), name);
    return PTIO_OK;
}

ptio_status ptio_tar_read_storages(ptio_pickle_series *series, const ptio_checkpoint_options *options,
                                   ptio_tar *tar, ptio_error *err) {
    reader r = {series, options, tar, err};
    ptio_legacy_part part;
    uint64_t count = 0;
    PTIO_TRY(read_count(&r, "number of storages", &count));
    for (uint64_t i = 0; i < count; i++) PTIO_TRY(read_storage(&r));
    PTIO_TRY(sort_ids(tar, err));
    PTIO_TRY(ptio_legacy_part_read(series, options, "views of storages", 0, &part, err));
    ptio_status status = read_views_of(&r, &part.graph);
    ptio_legacy_part_free(&part);
    PTIO_TRY(status);
    PTIO_TRY(sort_ids(tar, err));
    return check_done(&r, "storages");
}

/* --- tensors ----------------------------------------------------------------------------------------- */

/* The class is one of torch's tensors; which, its storage says. */
static ptio_status check_tensor_class(reader *r, const ptio_graph *graph, const ptio_node *class) {
    const uint8_t *module, *name;
    size_t module_size, name_size;
    ptio_global_name(graph, (ptio_ref)(class - graph->nodes), &module, &module_size, &name, &name_size);
    bool ours = (module_size == 5 && memcmp(module, "torch", 5) == 0) ||
                (module_size == 10 && memcmp(module, "torch.cuda", 10) == 0);
    PTIO_CHECK(ours && name_size >= 6 && memcmp(name + name_size - 6, "Tensor", 6) == 0, "L2.tensor-class",
               r->err, GLOBAL_FORBIDDEN, PTIO_NO_OFFSET, "a tensor's class is none of torch's");
    return PTIO_OK;
}

static ptio_status read_tensor_entry(reader *r, const ptio_graph *graph, ptio_tar_tensor *tensor) {
    const ptio_node *tuple = NULL;
    PTIO_TRY(check_entry(r, graph, &tuple));
    const ptio_node *storage = item_of(graph, tuple, 1);
    const ptio_tar_id *found = storage->kind == PTIO_N_INT ? ptio_tar_lookup(r->tar, storage->integer) : NULL;
    /* The numbers of tensors come into the table after all of these. */
    PTIO_CHECK(found != NULL, "L2.storage", r->err, LEGACY_MALFORMED, PTIO_NO_OFFSET,
               "a tensor without a storage in the file");
    tensor->id = item_of(graph, tuple, 0)->integer;
    tensor->storage = found->number;
    return check_tensor_class(r, graph, item_of(graph, tuple, 2));
}

static ptio_status read_tensor(reader *r) {
    ptio_tar *tar = r->tar;
    ptio_legacy_part part;
    ptio_tar_tensor tensor = {.dims = tar->dim_count};
    const uint8_t *head = NULL;
    PTIO_TRY(ptio_legacy_part_read(r->series, r->options, "list of tensors", 1, &part, r->err));
    ptio_status status = read_tensor_entry(r, &part.graph, &tensor);
    ptio_legacy_part_free(&part);
    PTIO_TRY(status);
    PTIO_TRY(ptio_series_bytes(r->series, 8, &head, r->err));
    tensor.ndim = ptio_le32(head);
    PTIO_CHECK(tensor.ndim <= PTIO_MAX_DIMS, "L2.dims", r->err, LIMIT, r->series->at - 8,
               "a tensor of %u dimensions, at most %d are read", tensor.ndim, PTIO_MAX_DIMS);
    size_t dims = 2 * (size_t)tensor.ndim;
    PTIO_TRY(ptio_grow((void **)&tar->dims, &tar->dim_capacity, tar->dim_count + dims + 1, sizeof *tar->dims,
                       r->err));
    PTIO_TRY(read_int64s(r, dims, tar->dims + tar->dim_count));
    PTIO_TRY(read_int64s(r, 1, &tensor.offset));
    PTIO_TRY(ptio_grow((void **)&tar->tensors, &tar->tensor_capacity, tar->tensor_count + 1, sizeof tensor,
                       r->err));
    tar->dim_count += dims;
    tar->tensors[tar->tensor_count++] = tensor;
    return PTIO_OK;
}

ptio_status ptio_tar_read_tensors(ptio_pickle_series *series, const ptio_checkpoint_options *options,
                                  ptio_tar *tar, ptio_error *err) {
    reader r = {series, options, tar, err};
    uint64_t count = 0;
    PTIO_TRY(read_count(&r, "number of tensors", &count));
    for (uint64_t i = 0; i < count; i++) PTIO_TRY(read_tensor(&r));
    for (size_t i = 0; i < tar->tensor_count; i++) PTIO_TRY(add_id(tar, tar->tensors[i].id, i, true, err));
    PTIO_TRY(sort_ids(tar, err));
    return check_done(&r, "tensors");
}

void ptio_tar_free(ptio_tar *tar) {
    ptio_free(tar->storages);
    ptio_free(tar->tensors);
    ptio_free(tar->dims);
    ptio_free(tar->ids);
    *tar = (ptio_tar){.storages = NULL};
}
