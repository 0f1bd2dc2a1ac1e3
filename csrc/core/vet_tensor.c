/* SPDX-License-Identifier: Apache-2.0
 *
 * Tensors: torch's rebuild functions, proven against the storages (invariants
 * T2-T8).
 */
#include <math.h>

#include "tensor_bounds.h"
#include "vet.h"

/* --- parts of a rebuild's arguments --------------------------------------------------- */

/* Appends the ints of a tuple to the dims. */
static ptio_status read_dims(ptio_vetting *v, ptio_ref ref, const char *what, size_t *count) {
    ptio_checkpoint *c = v->c;
    const ptio_node *tuple = vet_node(v, ref);
    void *dims = c->dims;
    VET_CHECK(v, tuple->kind == PTIO_N_TUPLE, "T2.tuple", PICKLE_MALFORMED, "a tensor's %s is %s", what,
              ptio_vet_kind_name(v, ref));
    VET_CHECK(v, tuple->count <= PTIO_MAX_DIMS, "T2.dims", LIMIT,
              "a tensor of %u dimensions, at most %d are read", tuple->count, PTIO_MAX_DIMS);
    PTIO_TRY(ptio_vet_charge(v, tuple->count * sizeof *c->dims));
    /* Room for one more, so that dims is never NULL: a number has none. */
    PTIO_TRY(ptio_arena_grow(&v->graph->arena, &dims, &c->dim_capacity, c->dim_count + tuple->count + 1,
                             sizeof *c->dims, v->err));
    c->dims = dims;
    for (uint32_t i = 0; i < tuple->count; i++) {
        const ptio_node *dim = vet_node(v, vet_item(v, tuple, i));
        VET_CHECK(v, dim->kind == PTIO_N_INT, "T2.int", PICKLE_MALFORMED, "a tensor's %s holds %s", what,
                  ptio_vet_kind_name(v, vet_item(v, tuple, i)));
        c->dims[c->dim_count++] = dim->integer;
    }
    *count = tuple->count;
    return PTIO_OK;
}

static ptio_status read_bool(ptio_vetting *v, ptio_ref ref, uint8_t flag, uint8_t *flags) {
    VET_CHECK(v, vet_is_bool(ref), "T7.bool", PICKLE_MALFORMED, "a tensor's requires_grad is %s",
              ptio_vet_kind_name(v, ref));
    if (ref == PTIO_NODE_TRUE) *flags |= flag;
    return PTIO_OK;
}

static ptio_status check_hooks(ptio_vetting *v, ptio_ref ref) {
    bool empty =
        ref == PTIO_NODE_NONE || (vet_is_made(v, ref, PTIO_MAKE_ORDERED_DICT) &&
                                  vet_node(v, ref)->b == PTIO_NODE_NONE && vet_node(v, ref)->fills == 0);
    VET_CHECK(v, empty, "T7.hooks", PICKLE_MALFORMED, "a tensor has backward hooks");
    return PTIO_OK;
}

static ptio_status read_metadata(ptio_vetting *v, ptio_ref ref, uint8_t *flags) {
    ptio_ref key, value;
    if (ref == PTIO_NODE_NONE) return PTIO_OK;
    VET_CHECK(v, vet_is(v, ref, PTIO_N_DICT), "T7.metadata", PICKLE_MALFORMED, "a tensor's metadata is %s",
              ptio_vet_kind_name(v, ref));
    ptio_items items = ptio_vet_items(v, ref, PTIO_N_SETITEM);
    while (ptio_items_next(&items, &key) && ptio_items_next(&items, &value)) {
        PTIO_TRY(ptio_vet_charge(v, sizeof(void *))); /* pays for the loop: many tensors may share a dict */
        VET_CHECK(v, vet_is(v, key, PTIO_N_STR) && vet_is_bool(value), "T7.metadata-item", PICKLE_MALFORMED,
                  "a tensor's metadata maps %s to %s", ptio_vet_kind_name(v, key),
                  ptio_vet_kind_name(v, value));
        uint8_t flag = ptio_vet_text_is(v, key, "conj")  ? PTIO_T_CONJ
                       : ptio_vet_text_is(v, key, "neg") ? PTIO_T_NEG
                                                         : 0;
        *flags = value == PTIO_NODE_TRUE ? *flags | flag : *flags & (uint8_t)~flag;
    }
    return PTIO_OK;
}

/* --- tensors ------------------------------------------------------------------------------ */

/* A storage that is read as another dtype than its own must agree on the unit
 * of byte order with everyone who reads it (T6). */
static ptio_status agree_on_swap(ptio_vetting *v, ptio_storage *storage, uint8_t dtype) {
    uint8_t swap = ptio_dtype_get(dtype)->swap_bytes;
    if (storage->swap_bytes == 0) storage->swap_bytes = swap;
    if (storage->alignment < swap) storage->alignment = swap;
    VET_CHECK(v, !v->c->swap || storage->swap_bytes == swap, "T6.unit", VALUE_UNSUPPORTED,
              "a storage of the other byte order is read as two dtypes of different sizes");
    ptio_storage *root = &v->c->storages[storage->root];
    return root == storage ? PTIO_OK : agree_on_swap(v, root, dtype);
}

/* Proves sizes and strides, which are the last dims that were read, and adds
 * the tensor. storage NULL: a tensor without data. */
static ptio_status add_tensor(ptio_vetting *v, ptio_ref ref, ptio_tensor tensor, int64_t offset,
                              size_t size_count, size_t stride_count) {
    ptio_checkpoint *c = v->c;
    const ptio_dtype_info *info = ptio_dtype_get(tensor.dtype);
    ptio_tensor_facts facts;
    uint64_t available = UINT64_MAX, bytes;
    void *items = c->tensors;
    VET_CHECK(v, size_count == stride_count, "T2.length", BOUNDS, "a tensor has %zu sizes and %zu strides",
              size_count, stride_count);
    if (tensor.storage != PTIO_NO_STORAGE)
        available = c->storages[tensor.storage].bytes / info->item_bytes * info->per_item;
    tensor.dims = c->dim_count - 2 * size_count;
    PTIO_TRY(ptio_tensor_bounds(offset, size_count, c->dims + tensor.dims, c->dims + tensor.dims + size_count,
                                available, PTIO_NO_OFFSET, &facts, v->err));
    VET_CHECK(v, ptio_mul_u64(facts.elements, info->item_bytes, &bytes) && bytes <= INT64_MAX, "T3.bytes",
              BOUNDS, "a tensor of %llu elements is larger than any memory",
              (unsigned long long)facts.elements);
    VET_CHECK(v,
              !(tensor.flags & PTIO_T_REQUIRES_GRAD) || info->kind == PTIO_KIND_FLOAT ||
                  info->kind == PTIO_KIND_COMPLEX,
              "T7.grad", PICKLE_MALFORMED, "a tensor of dtype %s requires a gradient", info->torch_name);
    /* A conjugate or negative view becomes an array of its own (T4). */
    if ((tensor.flags & (PTIO_T_CONJ | PTIO_T_NEG)) && tensor.storage != PTIO_NO_STORAGE &&
        bytes > c->storages[tensor.storage].bytes)
        PTIO_TRY(ptio_vet_charge(v, bytes - c->storages[tensor.storage].bytes));
    PTIO_TRY(ptio_arena_grow(&v->graph->arena, &items, &c->tensor_capacity, c->tensor_count + 1,
                             sizeof tensor, v->err));
    c->tensors = items;
    tensor.offset = (uint64_t)offset;
    tensor.elements = facts.elements;
    tensor.contiguous = facts.contiguous;
    tensor.ndim = (uint8_t)size_count;
    ptio_node *node = vet_node(v, ref);
    node->kind = PTIO_N_TENSOR;
    node->a = (uint32_t)c->tensor_count;
    node->b = tensor.quantizer;
    c->tensors[c->tensor_count++] = tensor;
    return PTIO_OK;
}

/* storage, offset, size, stride: the first four arguments of every rebuild. */
static ptio_status rebuild(ptio_vetting *v, ptio_ref ref, const ptio_node *args, ptio_tensor tensor,
                           bool own_dtype) {
    ptio_ref storage_ref = vet_item(v, args, 0), offset_ref = vet_item(v, args, 1);
    size_t sizes, strides;
    VET_CHECK(v, vet_is(v, storage_ref, PTIO_N_STORAGE), "P8.storage", PICKLE_MALFORMED,
              "a tensor's storage is %s", ptio_vet_kind_name(v, storage_ref));
    VET_CHECK(v, vet_is(v, offset_ref, PTIO_N_INT), "T2.offset-int", PICKLE_MALFORMED,
              "a tensor's storage offset is %s", ptio_vet_kind_name(v, offset_ref));
    ptio_storage *storage = &v->c->storages[vet_node(v, storage_ref)->a];
    if (!own_dtype) tensor.dtype = storage->dtype;
    PTIO_TRY(agree_on_swap(v, storage, tensor.dtype));
    bool has_data = storage->record != PTIO_NO_RECORD || storage->lost;
    tensor.storage = has_data ? vet_node(v, storage_ref)->a : PTIO_NO_STORAGE;
    PTIO_TRY(read_dims(v, vet_item(v, args, 2), "size", &sizes));
    PTIO_TRY(read_dims(v, vet_item(v, args, 3), "stride", &strides));
    return add_tensor(v, ref, tensor, vet_node(v, offset_ref)->integer, sizes, strides);
}

static ptio_status check_plain(ptio_vetting *v, ptio_ref ref) {
    const ptio_dtype_info *info = ptio_dtype_get(v->c->tensors[vet_node(v, ref)->a].dtype);
    VET_CHECK(v, info->kind != PTIO_KIND_QUANTIZED, "T8.plain", VALUE_UNSUPPORTED,
              "a tensor of dtype %s without a quantizer", info->torch_name);
    return PTIO_OK;
}

ptio_status ptio_vet_listed_tensor(ptio_vetting *v, ptio_ref ref, uint32_t storage, int64_t offset,
                                   const int64_t *from, size_t ndim) {
    ptio_checkpoint *c = v->c;
    ptio_tensor tensor = {.storage = storage, .dtype = c->storages[storage].dtype};
    void *dims = c->dims;
    PTIO_TRY(agree_on_swap(v, &c->storages[storage], tensor.dtype));
    PTIO_TRY(ptio_vet_charge(v, 2 * ndim * sizeof *c->dims));
    PTIO_TRY(ptio_arena_grow(&v->graph->arena, &dims, &c->dim_capacity, c->dim_count + 2 * ndim + 1,
                             sizeof *c->dims, v->err));
    c->dims = dims;
    if (ndim > 0) memcpy(c->dims + c->dim_count, from, 2 * ndim * sizeof *c->dims);
    c->dim_count += 2 * ndim;
    PTIO_TRY(add_tensor(v, ref, tensor, offset, ndim, ndim));
    return check_plain(v, ref);
}

ptio_status ptio_vet_rebuild_tensor(ptio_vetting *v, ptio_ref ref, ptio_maker maker, ptio_ref arguments) {
    (void)maker;
    PTIO_TRY(rebuild(v, ref, vet_node(v, arguments), (ptio_tensor){0}, false));
    return check_plain(v, ref);
}

ptio_status ptio_vet_rebuild_tensor_v2(ptio_vetting *v, ptio_ref ref, ptio_maker maker, ptio_ref arguments) {
    const ptio_node *args = vet_node(v, arguments);
    ptio_tensor tensor = {0};
    (void)maker;
    PTIO_TRY(read_bool(v, vet_item(v, args, 4), PTIO_T_REQUIRES_GRAD, &tensor.flags));
    PTIO_TRY(check_hooks(v, vet_item(v, args, 5)));
    if (args->count == 7) PTIO_TRY(read_metadata(v, vet_item(v, args, 6), &tensor.flags));
    PTIO_TRY(rebuild(v, ref, args, tensor, false));
    return check_plain(v, ref);
}

static ptio_status read_dtype(ptio_vetting *v, ptio_ref ref, uint8_t *dtype) {
    VET_CHECK(v, vet_is(v, ref, PTIO_N_DTYPE), "P8.dtype", PICKLE_MALFORMED, "a tensor's dtype is %s",
              ptio_vet_kind_name(v, ref));
    *dtype = (uint8_t)vet_node(v, ref)->sub;
    return PTIO_OK;
}

ptio_status ptio_vet_rebuild_tensor_v3(ptio_vetting *v, ptio_ref ref, ptio_maker maker, ptio_ref arguments) {
    const ptio_node *args = vet_node(v, arguments);
    ptio_tensor tensor = {0};
    (void)maker;
    PTIO_TRY(read_bool(v, vet_item(v, args, 4), PTIO_T_REQUIRES_GRAD, &tensor.flags));
    PTIO_TRY(check_hooks(v, vet_item(v, args, 5)));
    PTIO_TRY(read_dtype(v, vet_item(v, args, 6), &tensor.dtype));
    if (args->count == 8) PTIO_TRY(read_metadata(v, vet_item(v, args, 7), &tensor.flags));
    PTIO_TRY(rebuild(v, ref, args, tensor, true));
    return check_plain(v, ref);
}

/* A tensor that has no bytes in the file: size and stride are items of args. */
static ptio_status rebuild_without_data(ptio_vetting *v, ptio_ref ref, const ptio_node *args, ptio_ref dtype,
                                        size_t size_at, ptio_ref grad) {
    ptio_tensor tensor = {.storage = PTIO_NO_STORAGE};
    size_t sizes = 0, strides = 0;
    PTIO_TRY(read_dtype(v, dtype, &tensor.dtype));
    PTIO_TRY(read_bool(v, grad, PTIO_T_REQUIRES_GRAD, &tensor.flags));
    PTIO_TRY(read_dims(v, vet_item(v, args, size_at), "size", &sizes));
    PTIO_TRY(read_dims(v, vet_item(v, args, size_at + 1), "stride", &strides));
    return add_tensor(v, ref, tensor, 0, sizes, strides);
}

ptio_status ptio_vet_rebuild_meta(ptio_vetting *v, ptio_ref ref, ptio_maker maker, ptio_ref arguments) {
    const ptio_node *args = vet_node(v, arguments);
    (void)maker;
    return rebuild_without_data(v, ref, args, vet_item(v, args, 0), 1, vet_item(v, args, 3));
}

/* (class, dtype, size, stride, storage offset, layout, device, requires_grad) */
ptio_status ptio_vet_rebuild_wrapper(ptio_vetting *v, ptio_ref ref, ptio_maker maker, ptio_ref arguments) {
    const ptio_node *args = vet_node(v, arguments);
    (void)maker;
    return rebuild_without_data(v, ref, args, vet_item(v, args, 1), 2, vet_item(v, args, 7));
}

/* --- parameters, subclasses, other devices: the array itself ------------------------------ */

bool ptio_vet_is_tensor(const ptio_vetting *v, ptio_ref ref) {
    const ptio_node *node = vet_node(v, ref);
    if (node->kind == PTIO_N_MADE)
        return node->sub == PTIO_MAKE_REBUILD_SPARSE || node->sub == PTIO_MAKE_REBUILD_NESTED ||
               node->sub == PTIO_MAKE_REBUILD_JAGGED;
    return node->kind == PTIO_N_TENSOR || node->kind == PTIO_N_OPAQUE_CALL ||
           node->kind == PTIO_N_FOREIGN_CALL;
}

static ptio_status same_tensor(ptio_vetting *v, ptio_ref ref, ptio_maker maker, ptio_ref data) {
    VET_CHECK(v, ptio_vet_is_tensor(v, data), "P8.tensor", PICKLE_MALFORMED, "a parameter's data is %s",
              ptio_vet_kind_name(v, data));
    ptio_vet_same(v, ref, data);
    vet_node(v, ref)->sub = (uint16_t)maker;
    return PTIO_OK;
}

static ptio_status set_requires_grad(ptio_vetting *v, ptio_ref data, ptio_ref grad) {
    uint8_t flags = 0;
    PTIO_TRY(read_bool(v, grad, PTIO_T_REQUIRES_GRAD, &flags));
    if (!v->options->torch_values && vet_is(v, data, PTIO_N_TENSOR))
        v->c->tensors[vet_node(v, data)->a].flags |= flags;
    return PTIO_OK;
}

/* (data, requires_grad, hooks[, state]); the state is Python attributes. */
ptio_status ptio_vet_rebuild_parameter(ptio_vetting *v, ptio_ref ref, ptio_maker maker, ptio_ref arguments) {
    const ptio_node *args = vet_node(v, arguments);
    ptio_ref data = vet_item(v, args, 0);
    PTIO_TRY(check_hooks(v, vet_item(v, args, 2)));
    PTIO_TRY(same_tensor(v, ref, maker, data));
    return set_requires_grad(v, data, vet_item(v, args, 1));
}

/* Parameter(data[, requires_grad]): torch 0.2 and 0.3, and NEWOBJ. */
ptio_status ptio_vet_parameter(ptio_vetting *v, ptio_ref ref, ptio_maker maker, ptio_ref arguments) {
    const ptio_node *args = vet_node(v, arguments);
    ptio_ref data = vet_item(v, args, 0);
    PTIO_TRY(same_tensor(v, ref, maker, data));
    return args->count == 2 ? set_requires_grad(v, data, vet_item(v, args, 1)) : PTIO_OK;
}

/* (requires_grad, volatile, hooks) */
ptio_status ptio_vet_build_parameter(ptio_vetting *v, ptio_ref target, ptio_ref state) {
    const ptio_node *tuple = vet_node(v, state);
    VET_CHECK(v, tuple->kind == PTIO_N_TUPLE && tuple->count == 3, "T7.state", PICKLE_MALFORMED,
              "a parameter's state is %s", ptio_vet_kind_name(v, state));
    VET_CHECK(v, vet_is_bool(vet_item(v, tuple, 1)), "T7.volatile", PICKLE_MALFORMED,
              "a parameter's volatile flag is %s", ptio_vet_kind_name(v, vet_item(v, tuple, 1)));
    PTIO_TRY(check_hooks(v, vet_item(v, tuple, 2)));
    return set_requires_grad(v, ptio_follow(v->graph, target), vet_item(v, tuple, 0));
}

/* (array or tensor, dtype, device, requires_grad): XLA and its like. */
ptio_status ptio_vet_rebuild_device(ptio_vetting *v, ptio_ref ref, ptio_maker maker, ptio_ref arguments) {
    const ptio_node *args = vet_node(v, arguments);
    ptio_ref data = vet_item(v, args, 0);
    uint8_t dtype;
    bool array =
        vet_is_made(v, data, PTIO_MAKE_NUMPY_ARRAY) || vet_is_made(v, data, PTIO_MAKE_NUMPY_FROMBUFFER);
    PTIO_TRY(read_dtype(v, vet_item(v, args, 1), &dtype));
    VET_CHECK(v, ptio_vet_is_text(v, vet_item(v, args, 2)), "P8.device", PICKLE_MALFORMED,
              "a tensor's device is %s", ptio_vet_kind_name(v, vet_item(v, args, 2)));
    VET_CHECK(v, vet_is_bool(vet_item(v, args, 3)), "T7.device-grad", PICKLE_MALFORMED,
              "a tensor's requires_grad is %s", ptio_vet_kind_name(v, vet_item(v, args, 3)));
    if (!array || maker != PTIO_MAKE_REBUILD_DEVICE_NUMPY) return same_tensor(v, ref, maker, data);
    ptio_vet_same(v, ref, data);
    return PTIO_OK;
}

/* (rebuild function, class, its arguments, attributes): the tensor without its class. */
ptio_status ptio_vet_rebuild_from_type(ptio_vetting *v, ptio_ref ref, ptio_maker maker, ptio_ref arguments) {
    const ptio_node *args = vet_node(v, arguments);
    ptio_ref function = vet_item(v, args, 0), class_ = vet_item(v, args, 1);
    ptio_ref inner = vet_item(v, args, 2);
    const ptio_node *class_node = vet_node(v, class_), *function_node = vet_node(v, function);
    bool known_class =
        vet_is_not_ours(v, class_) || (class_node->kind == PTIO_N_MARKER &&
                                       (ptio_global_get(class_node->sub)->role == PTIO_ROLE_TENSOR_CLASS ||
                                        (ptio_global_get(class_node->sub)->role == PTIO_ROLE_MAKE &&
                                         ptio_global_get(class_node->sub)->value == PTIO_MAKE_PARAMETER)));
    VET_CHECK(v, known_class, "P8.subclass", PICKLE_MALFORMED, "a tensor's class is %s",
              ptio_vet_kind_name(v, class_));
    VET_CHECK(v, vet_is(v, inner, PTIO_N_TUPLE), "P8.inner-tuple", PICKLE_MALFORMED,
              "a rebuild's arguments are %s", ptio_vet_kind_name(v, inner));
    if (vet_is_not_ours(v, function)) {
        ptio_vet_not_ours(v, ref, function);
        return PTIO_OK;
    }
    VET_CHECK(v, function_node->kind == PTIO_N_MARKER, "P8.rebuild", PICKLE_MALFORMED,
              "a tensor's rebuild function is %s", ptio_vet_kind_name(v, function));
    const ptio_global *global = ptio_global_get(function_node->sub);
    VET_CHECK(v,
              global->role == PTIO_ROLE_MAKE && global->value <= PTIO_MAKE_REBUILD_DEVICE_CPU &&
                  global->value != (uint8_t)maker,
              "P8.rebuild-kind", PICKLE_MALFORMED, "%s.%s does not rebuild a tensor", global->module,
              global->name);
    return ptio_vet_call(v, ref, (ptio_maker)global->value, inner);
}

/* --- quantized ------------------------------------------------------------------------------- */

static bool named(const ptio_vetting *v, ptio_ref ref, const char *name) {
    const ptio_node *node = vet_node(v, ref);
    return node->kind == PTIO_N_NAMED && strcmp(ptio_global_get(node->sub)->name, name) == 0;
}

static bool is_finite_number(const ptio_vetting *v, ptio_ref ref) {
    const ptio_node *node = vet_node(v, ref);
    return node->kind == PTIO_N_INT || (node->kind == PTIO_N_FLOAT && isfinite(node->real));
}

static ptio_status check_channel_tensor(ptio_vetting *v, ptio_ref ref, const char *what, int64_t channels) {
    VET_CHECK(v, vet_is(v, ref, PTIO_N_TENSOR), "T8.channels", PICKLE_MALFORMED, "%s are %s", what,
              ptio_vet_kind_name(v, ref));
    const ptio_tensor *tensor = &v->c->tensors[vet_node(v, ref)->a];
    VET_CHECK(
        v, tensor->ndim == 1 && tensor->elements == (uint64_t)channels && tensor->storage != PTIO_NO_STORAGE,
        "T8.length", BOUNDS, "%llu %s for %lld channels", (unsigned long long)tensor->elements, what,
        (long long)channels);
    return PTIO_OK;
}

static ptio_status check_quantizer(ptio_vetting *v, ptio_ref ref, const ptio_tensor *tensor) {
    ptio_ref quantizer = tensor->quantizer;
    const ptio_node *tuple = vet_node(v, quantizer);
    (void)ref;
    VET_CHECK(v, tuple->kind == PTIO_N_TUPLE && tuple->count >= 3, "T8.quantizer", PICKLE_MALFORMED,
              "a quantized tensor's quantizer is %s", ptio_vet_kind_name(v, quantizer));
    ptio_ref scheme = vet_item(v, tuple, 0);
    if (named(v, scheme, "per_tensor_affine")) {
        VET_CHECK(v, is_finite_number(v, vet_item(v, tuple, 1)), "T8.scale", VALUE_UNSUPPORTED,
                  "a quantized tensor's scale is not a finite number");
        VET_CHECK(v, vet_is(v, vet_item(v, tuple, 2), PTIO_N_INT), "T8.zero-point", VALUE_UNSUPPORTED,
                  "a quantized tensor's zero point is not an int");
        return PTIO_OK;
    }
    VET_CHECK(
        v,
        (named(v, scheme, "per_channel_affine") || named(v, scheme, "per_channel_affine_float_qparams")) &&
            tuple->count == 4,
        "T8.scheme", VALUE_UNSUPPORTED, "a quantized tensor with an unknown scheme");
    const ptio_node *axis = vet_node(v, vet_item(v, tuple, 3));
    VET_CHECK(v, axis->kind == PTIO_N_INT && axis->integer >= 0 && axis->integer < tensor->ndim, "T8.axis",
              BOUNDS, "a quantized tensor of %u dimensions with its channels in another one", tensor->ndim);
    int64_t channels = ptio_tensor_sizes(v->c, tensor)[axis->integer];
    PTIO_TRY(check_channel_tensor(v, vet_item(v, tuple, 1), "scales", channels));
    return check_channel_tensor(v, vet_item(v, tuple, 2), "zero points", channels);
}

/* (storage, offset, size, stride, quantizer, requires_grad, hooks) */
ptio_status ptio_vet_rebuild_qtensor(ptio_vetting *v, ptio_ref ref, ptio_maker maker, ptio_ref arguments) {
    const ptio_node *args = vet_node(v, arguments);
    ptio_tensor tensor = {.flags = PTIO_T_QUANTIZED, .quantizer = vet_item(v, args, 4)};
    (void)maker;
    PTIO_TRY(read_bool(v, vet_item(v, args, 5), PTIO_T_REQUIRES_GRAD, &tensor.flags));
    PTIO_TRY(check_hooks(v, vet_item(v, args, 6)));
    PTIO_TRY(rebuild(v, ref, args, tensor, false));
    const ptio_tensor *made = &v->c->tensors[vet_node(v, ref)->a];
    VET_CHECK(v, ptio_dtype_get(made->dtype)->kind == PTIO_KIND_QUANTIZED, "T8.dtype", VALUE_UNSUPPORTED,
              "a quantized tensor of dtype %s", ptio_dtype_get(made->dtype)->torch_name);
    return check_quantizer(v, ref, made);
}

/* --- sparse and nested: parts are proven here, their contents when they are read ------------- */

static ptio_status check_parts(ptio_vetting *v, const ptio_node *tuple, uint32_t first, uint32_t tensors,
                               const char *what) {
    for (uint32_t i = 0; i < tensors; i++) {
        ptio_ref part = vet_item(v, tuple, first + i);
        bool with_data =
            vet_is(v, part, PTIO_N_TENSOR) && v->c->tensors[vet_node(v, part)->a].storage != PTIO_NO_STORAGE;
        VET_CHECK(v, with_data, "P8.parts", PICKLE_MALFORMED, "part %u of a %s tensor is %s", i, what,
                  ptio_vet_kind_name(v, part));
    }
    return PTIO_OK;
}

/* TorchScript's form: (1 for COO or 2 for CSR, size, requires_grad, indices, values, hooks) or, with
 * compressed indices, one tensor more. */
static ptio_status vet_script_sparse(ptio_vetting *v, const ptio_node *args) {
    const ptio_node *layout = vet_node(v, vet_item(v, args, 0));
    uint8_t flags = 0;
    size_t sizes;
    uint32_t tensors = args->count - 4;
    VET_CHECK(v,
              layout->kind == PTIO_N_INT && layout->integer >= 1 && layout->integer <= 2 &&
                  (args->count == 6 || args->count == 7) && (layout->integer == 1) == (tensors == 2),
              "P8.script-sparse", PICKLE_MALFORMED, "a sparse tensor of TorchScript with %u arguments",
              args->count);
    PTIO_TRY(read_dims(v, vet_item(v, args, 1), "size", &sizes));
    v->c->dim_count -= sizes; /* only proven, not kept */
    PTIO_TRY(read_bool(v, vet_item(v, args, 2), PTIO_T_REQUIRES_GRAD, &flags));
    PTIO_TRY(check_parts(v, args, 3, tensors, "sparse"));
    return check_hooks(v, vet_item(v, args, args->count - 1));
}

/* (layout, (indices, values, size[, is_coalesced])) or
 * (layout, (compressed indices, plain indices, values, size)) */
ptio_status ptio_vet_rebuild_sparse(ptio_vetting *v, ptio_ref ref, ptio_maker maker, ptio_ref arguments) {
    const ptio_node *args = vet_node(v, arguments);
    if (args->count > 2) {
        PTIO_TRY(vet_script_sparse(v, args));
        ptio_vet_made(v, ref, maker, arguments);
        return PTIO_OK;
    }
    ptio_ref layout = vet_item(v, args, 0), parts = vet_item(v, args, 1);
    const ptio_node *tuple = vet_node(v, parts);
    size_t sizes;
    bool coo = ptio_vet_text_is(v, layout, "torch.sparse_coo");
    VET_CHECK(v,
              coo || ptio_vet_text_is(v, layout, "torch.sparse_csr") ||
                  ptio_vet_text_is(v, layout, "torch.sparse_csc") ||
                  ptio_vet_text_is(v, layout, "torch.sparse_bsr") ||
                  ptio_vet_text_is(v, layout, "torch.sparse_bsc"),
              "P8.layout", VALUE_UNSUPPORTED, "a sparse tensor with a layout that is not sparse");
    uint32_t tensors = coo ? 2 : 3;
    VET_CHECK(v,
              tuple->kind == PTIO_N_TUPLE && tuple->count >= tensors + 1 &&
                  tuple->count <= (coo ? tensors + 2 : tensors + 1),
              "P8.sparse", PICKLE_MALFORMED, "a sparse tensor's parts are %s", ptio_vet_kind_name(v, parts));
    PTIO_TRY(check_parts(v, tuple, 0, tensors, "sparse"));
    PTIO_TRY(read_dims(v, vet_item(v, tuple, tensors), "size", &sizes));
    v->c->dim_count -= sizes; /* only proven, not kept */
    if (tuple->count == tensors + 2) {
        ptio_ref coalesced = vet_item(v, tuple, tensors + 1);
        VET_CHECK(v, vet_is_bool(coalesced) || coalesced == PTIO_NODE_NONE, "P8.coalesced", PICKLE_MALFORMED,
                  "a sparse tensor's is_coalesced is %s", ptio_vet_kind_name(v, coalesced));
    }
    ptio_vet_made(v, ref, maker, arguments);
    return PTIO_OK;
}

/* (buffer, sizes, strides, storage offsets) */
ptio_status ptio_vet_rebuild_nested(ptio_vetting *v, ptio_ref ref, ptio_maker maker, ptio_ref arguments) {
    PTIO_TRY(check_parts(v, vet_node(v, arguments), 0, 4, "nested"));
    ptio_vet_made(v, ref, maker, arguments);
    return PTIO_OK;
}

ptio_status ptio_vet_rebuild_jagged(ptio_vetting *v, ptio_ref ref, ptio_maker maker, ptio_ref arguments) {
    ptio_ref state = vet_item(v, vet_node(v, arguments), 0);
    VET_CHECK(v, vet_is(v, state, PTIO_N_DICT), "P8.jagged", PICKLE_MALFORMED,
              "a jagged tensor's state is %s", ptio_vet_kind_name(v, state));
    ptio_vet_made(v, ref, maker, arguments);
    return PTIO_OK;
}

/* --- for torch -------------------------------------------------------------------------------- */

/* The requires_grad that a Parameter is made with, or that its BUILD sets later. */
static bool requires_grad(const ptio_vetting *v, ptio_ref ref, const ptio_kept_call *call) {
    const ptio_node *args = vet_node(v, call->arguments);
    bool grad = args->count < 2 || vet_item(v, args, 1) == PTIO_NODE_TRUE;
    for (ptio_ref fill = ptio_first_fill(v->graph, ref); fill; fill = ptio_next_fill(v->graph, ref, fill)) {
        ptio_ref state = ptio_follow(v->graph, v->graph->refs[vet_node(v, fill)->first]);
        grad = vet_item(v, vet_node(v, state), 0) == PTIO_NODE_TRUE;
    }
    return grad;
}

static void restore_parameter(ptio_vetting *v, const ptio_kept_call *call) {
    const ptio_node *args = vet_node(v, call->arguments);
    ptio_node *node = vet_node(v, call->node);
    node->kind = PTIO_N_PARAMETER;
    node->sub = requires_grad(v, call->node, call);
    node->a = vet_item(v, args, 0);
    node->b = args->count == 4 ? vet_item(v, args, 3) : PTIO_NODE_NONE;
}

/* In stream order, so that of nested calls (_rebuild_from_type_v2) the outer one stays. */
void ptio_vet_restore_kept(ptio_vetting *v) {
    for (size_t i = 0; i < v->kept_count; i++) {
        const ptio_kept_call *call = &v->kept[i];
        uint8_t kind = vet_node(v, call->node)->kind;
        if (kind == PTIO_N_FOREIGN_CALL || kind == PTIO_N_OPAQUE_CALL) continue;
        if (call->maker == PTIO_MAKE_PARAMETER || call->maker == PTIO_MAKE_REBUILD_PARAMETER)
            restore_parameter(v, call);
        else
            ptio_vet_made(v, call->node, call->maker, call->arguments);
    }
}
