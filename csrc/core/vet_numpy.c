/* SPDX-License-Identifier: Apache-2.0
 *
 * Pickled NumPy dtypes, arrays and scalars. NumPy's own __setstate__ believes
 * what it is told (flags, item sizes), so everything is proven before it is
 * called: the dtype is one of a closed list, flags are those NumPy writes for
 * it, and the data is exactly as long as the shape says.
 */
#include "tensor_bounds.h"
#include "vet.h"

enum { HAS_OBJECTS_FLAGS = 63, NEEDS_INIT = 8, NEEDS_API = 16, ALIGNED = 128 };

static ptio_numpy_dtype *dtype_of(const ptio_vetting *v, ptio_ref ref) {
    return &v->c->numpy_dtypes[vet_node(v, ref)->a];
}

static bool is_integer(const ptio_vetting *v, ptio_ref ref, int64_t value) {
    return vet_is(v, ref, PTIO_N_INT) && vet_node(v, ref)->integer == value;
}

/* False, True or the ints that old NumPy wrote for them. */
static bool is_flag(const ptio_vetting *v, ptio_ref ref, bool value) {
    return ref == (value ? PTIO_NODE_TRUE : PTIO_NODE_FALSE) || is_integer(v, ref, value);
}

/* "f8", "S10", "U3", "V16", "M8", "O8" ...: kind and bytes of one item. */
static bool read_type_string(const uint8_t *text, size_t size, ptio_numpy_dtype *out) {
    static const char *const fixed[] = {"b1", "i1", "i2",  "i4",  "i8", "u1",  "u2",  "u4",  "u8", "f2",
                                        "f4", "f8", "f16", "f12", "c8", "c16", "c32", "c24", "M8", "m8"};
    uint64_t number = 0;
    if (size < 1 || size > 10) return false;
    for (size_t i = 1; i < size; i++) {
        if (text[i] < '0' || text[i] > '9') return false;
        number = number * 10 + (uint64_t)(text[i] - '0');
    }
    *out = (ptio_numpy_dtype){.kind = (char)text[0], .item_bytes = number};
    if (text[0] == 'O') {
        out->has_objects = true;
        out->item_bytes = sizeof(void *);
        return size == 1 || number == 8 || number == 4;
    }
    if (text[0] == 'U') return size > 1 && ptio_mul_u64(number, 4, &out->item_bytes);
    if (text[0] == 'S' || text[0] == 'V') return size > 1;
    for (size_t i = 0; i < sizeof fixed / sizeof fixed[0]; i++)
        if (size == strlen(fixed[i]) && memcmp(text, fixed[i], size) == 0) return true;
    return false;
}

/* numpy.dtype("f4", False, True) */
ptio_status ptio_vet_numpy_dtype(ptio_vetting *v, ptio_ref ref, ptio_maker maker, ptio_ref arguments) {
    const ptio_node *args = vet_node(v, arguments);
    ptio_checkpoint *c = v->c;
    const ptio_node *spec = vet_node(v, vet_item(v, args, 0));
    ptio_numpy_dtype dtype;
    char quoted[PTIO_QUOTED];
    void *items = c->numpy_dtypes;
    VET_CHECK(v, spec->kind == PTIO_N_STR || spec->kind == PTIO_N_PY2_STR, "P8.numpy-spec", VALUE_UNSUPPORTED,
              "a NumPy dtype made from %s", ptio_vet_kind_name(v, vet_item(v, args, 0)));
    VET_CHECK(v, read_type_string(ptio_text(v->graph, spec), spec->a, &dtype), "P8.numpy-type",
              VALUE_UNSUPPORTED, "NumPy dtype '%s' is not known",
              ptio_quote(quoted, ptio_text(v->graph, spec), spec->a));
    VET_CHECK(v, is_flag(v, vet_item(v, args, 1), false) && is_flag(v, vet_item(v, args, 2), true),
              "P8.numpy-copy", PICKLE_MALFORMED, "a NumPy dtype with arguments that NumPy never writes");
    PTIO_TRY(ptio_arena_grow(&v->graph->arena, &items, &c->numpy_dtype_capacity, c->numpy_dtype_count + 1,
                             sizeof dtype, v->err));
    c->numpy_dtypes = items;
    dtype.big_endian = c->big_endian != c->swap; /* this machine's */
    ptio_vet_made(v, ref, maker, arguments);
    vet_node(v, ref)->a = (uint32_t)c->numpy_dtype_count;
    c->numpy_dtypes[c->numpy_dtype_count++] = dtype;
    return PTIO_OK;
}

/* Items of a shape; the tensor bounds serve here too. */
static ptio_status count_items(ptio_vetting *v, ptio_ref ref, uint64_t *items) {
    int64_t sizes[PTIO_MAX_DIMS], strides[PTIO_MAX_DIMS] = {0};
    ptio_tensor_facts facts;
    const ptio_node *shape = vet_node(v, ref);
    VET_CHECK(v, shape->kind == PTIO_N_TUPLE, "P8.numpy-shape", PICKLE_MALFORMED,
              "a NumPy array's shape is %s", ptio_vet_kind_name(v, ref));
    VET_CHECK(v, shape->count <= 32, "P8.numpy-dims", VALUE_UNSUPPORTED, "a NumPy array of %u dimensions",
              shape->count);
    for (uint32_t i = 0; i < shape->count; i++) {
        const ptio_node *size = vet_node(v, vet_item(v, shape, i));
        VET_CHECK(v, size->kind == PTIO_N_INT, "P8.numpy-shape-int", PICKLE_MALFORMED,
                  "a NumPy array's shape holds %s", ptio_vet_kind_name(v, vet_item(v, shape, i)));
        sizes[i] = size->integer;
    }
    PTIO_TRY(ptio_tensor_bounds(0, shape->count, sizes, strides, UINT64_MAX, PTIO_NO_OFFSET, &facts, v->err));
    *items = facts.elements;
    return PTIO_OK;
}

/* --- BUILD of a dtype: (version, order, subarray, names, fields, item size,
 *     alignment, flags[, metadata of datetime64]) ----------------------------------- */

enum { MAX_FIELDS = 1024, FIELD_COST = 256, MOST_EMPTY_ITEMS = 1 << 20 };

/* Whether two names are the same text. Pays for comparing, as one long text may
 * be the name of many fields. */
static ptio_status is_same_name(ptio_vetting *v, ptio_ref a, ptio_ref b, bool *same) {
    const ptio_node *x = vet_node(v, a), *y = vet_node(v, b);
    *same = a == b;
    if (*same || x->kind != y->kind || x->a != y->a) return PTIO_OK;
    PTIO_TRY(ptio_vet_charge(v, x->a));
    *same = memcmp(ptio_text(v->graph, x), ptio_text(v->graph, y), x->a) == 0;
    return PTIO_OK;
}

/* Name i differs from those before it and is a key of the fields: the i-th, as
 * NumPy writes them, or another one. As there are as many keys as names, no
 * field is without a name then. */
static ptio_status check_name(ptio_vetting *v, const ptio_node *names, uint32_t i, const ptio_ref *keys) {
    ptio_ref name = vet_item(v, names, i);
    bool same = false;
    VET_CHECK(v, vet_is(v, name, PTIO_N_STR) && vet_node(v, name)->a > 0, "P8.numpy-name", PICKLE_MALFORMED,
              "a field's name is %s", ptio_vet_kind_name(v, name));
    for (uint32_t j = 0; j < i; j++) {
        PTIO_TRY(is_same_name(v, name, vet_item(v, names, j), &same));
        VET_CHECK(v, !same, "P8.numpy-same-name", PICKLE_MALFORMED,
                  "two fields of a structured dtype have one name");
    }
    PTIO_TRY(is_same_name(v, name, keys[i], &same));
    for (uint32_t j = 0; j < names->count && !same; j++) PTIO_TRY(is_same_name(v, name, keys[j], &same));
    VET_CHECK(v, same, "P8.numpy-key", PICKLE_MALFORMED, "a structured dtype lacks a field that it names");
    return PTIO_OK;
}

/* A field: (dtype, offset). NumPy believes it. */
static ptio_status check_field(ptio_vetting *v, ptio_ref value, uint64_t item_bytes) {
    const ptio_node *field = vet_node(v, value);
    VET_CHECK(v,
              field->kind == PTIO_N_TUPLE && field->count == 2 &&
                  vet_is_made(v, vet_item(v, field, 0), PTIO_MAKE_NUMPY_DTYPE) &&
                  vet_is(v, vet_item(v, field, 1), PTIO_N_INT),
              "P8.numpy-field", VALUE_UNSUPPORTED,
              "a structured dtype with a field that is not (dtype, offset)");
    ptio_numpy_dtype *type = dtype_of(v, vet_item(v, field, 0));
    int64_t offset = vet_node(v, vet_item(v, field, 1))->integer;
    type->in_use = true;
    VET_CHECK(v, !type->has_objects, "P8.numpy-object-field", VALUE_UNSUPPORTED,
              "a structured dtype that holds objects");
    VET_CHECK(
        v, offset >= 0 && type->item_bytes <= item_bytes && (uint64_t)offset <= item_bytes - type->item_bytes,
        "P8.numpy-offset", BOUNDS, "a field of %llu bytes at %lld, the item has %llu",
        (unsigned long long)type->item_bytes, (long long)offset, (unsigned long long)item_bytes);
    return PTIO_OK;
}

static ptio_status check_fields(ptio_vetting *v, ptio_numpy_dtype *dtype, ptio_ref names, ptio_ref fields) {
    ptio_ref keys[MAX_FIELDS], key, value;
    uint32_t count = 0;
    if (names == PTIO_NODE_NONE && fields == PTIO_NODE_NONE) return PTIO_OK;
    VET_CHECK(v, dtype->kind == 'V' && vet_is(v, names, PTIO_N_TUPLE) && vet_is(v, fields, PTIO_N_DICT),
              "P8.numpy-fields", PICKLE_MALFORMED, "a NumPy dtype of kind '%c' with fields", dtype->kind);
    const ptio_node *tuple = vet_node(v, names);
    VET_CHECK(v, tuple->count >= 1 && tuple->count <= MAX_FIELDS, "P8.numpy-names", VALUE_UNSUPPORTED,
              "a structured dtype of %u fields", tuple->count);
    ptio_items items = ptio_vet_items(v, fields, PTIO_N_SETITEM);
    for (; count < tuple->count && ptio_items_next(&items, &key) && ptio_items_next(&items, &value);
         count++) {
        keys[count] = key;
        PTIO_TRY(ptio_vet_charge(v, FIELD_COST));
        PTIO_TRY(check_field(v, value, dtype->item_bytes));
    }
    VET_CHECK(v, count == tuple->count && !ptio_items_next(&items, &key), "P8.numpy-field-count",
              VALUE_UNSUPPORTED, "a structured dtype with %u names and another number of fields",
              tuple->count);
    for (uint32_t i = 0; i < count; i++) PTIO_TRY(check_name(v, tuple, i, keys));
    vet_copied(v, fields); /* NumPy even keeps it, and believes it when a field is asked for */
    dtype->structured = true;
    return PTIO_OK;
}

/* (base dtype, shape), or None */
static ptio_status check_subarray(ptio_vetting *v, ptio_numpy_dtype *dtype, ptio_ref ref) {
    uint64_t items, bytes;
    const ptio_node *pair = vet_node(v, ref);
    if (ref == PTIO_NODE_NONE) return PTIO_OK;
    VET_CHECK(v,
              dtype->kind == 'V' && !dtype->structured && pair->kind == PTIO_N_TUPLE && pair->count == 2 &&
                  vet_is_made(v, vet_item(v, pair, 0), PTIO_MAKE_NUMPY_DTYPE) &&
                  !dtype_of(v, vet_item(v, pair, 0))->subarray,
              "P8.numpy-subarray", PICKLE_MALFORMED, "a NumPy dtype's sub-array is %s",
              ptio_vet_kind_name(v, ref));
    ptio_numpy_dtype *base = dtype_of(v, vet_item(v, pair, 0));
    base->in_use = true;
    PTIO_TRY(count_items(v, vet_item(v, pair, 1), &items));
    VET_CHECK(
        v, !base->has_objects && ptio_mul_u64(items, base->item_bytes, &bytes) && bytes == dtype->item_bytes,
        "P8.numpy-subarray-size", BOUNDS, "a sub-array of %llu items of %llu bytes in %llu bytes",
        (unsigned long long)items, (unsigned long long)base->item_bytes,
        (unsigned long long)dtype->item_bytes);
    dtype->subarray = dtype->structured = true;
    return PTIO_OK;
}

/* Item size and alignment: -1 for types that have their own. */
static ptio_status check_layout(ptio_vetting *v, const ptio_numpy_dtype *dtype, ptio_ref size,
                                ptio_ref alignment) {
    bool flexible = dtype->kind == 'S' || dtype->kind == 'U' || dtype->kind == 'V';
    int64_t expected = flexible ? (int64_t)dtype->item_bytes : -1;
    VET_CHECK(v, is_integer(v, size, expected), "P8.numpy-size", PICKLE_MALFORMED,
              "a NumPy dtype's item size is not the %lld its type says", (long long)expected);
    bool good = flexible ? is_integer(v, alignment, 1) || is_integer(v, alignment, 2) ||
                               is_integer(v, alignment, 4) || is_integer(v, alignment, 8) ||
                               is_integer(v, alignment, 16)
                         : is_integer(v, alignment, -1);
    VET_CHECK(v, good, "P8.numpy-alignment", PICKLE_MALFORMED,
              "a NumPy dtype's alignment is not one NumPy writes");
    return PTIO_OK;
}

/* Flags say, among others, that items are object pointers: exactly NumPy's own. NumPy
 * 1.x wrote them as a signed byte: -112 is 144. */
static ptio_status check_flags(ptio_vetting *v, const ptio_numpy_dtype *dtype, ptio_ref ref) {
    const ptio_node *node = vet_node(v, ref);
    int64_t allowed = dtype->structured    ? NEEDS_INIT | NEEDS_API | ALIGNED
                      : dtype->kind == 'U' ? NEEDS_INIT
                                           : 0;
    int64_t flags = node->kind == PTIO_N_INT ? node->integer : INT64_MAX;
    if (flags < 0 && flags >= INT8_MIN) flags += 256;
    bool good = dtype->has_objects ? flags == HAS_OBJECTS_FLAGS : (flags & ~allowed) == 0;
    VET_CHECK(v, good, "P8.numpy-flags", PICKLE_MALFORMED,
              "a NumPy dtype with flags that NumPy never writes");
    return PTIO_OK;
}

/* (None or {}, (unit, count, 1, 1)) */
static ptio_status check_unit(ptio_vetting *v, ptio_ref ref) {
    static const char *const units[] = {"Y",  "M",  "W",  "D",  "h",  "m",  "s",
                                        "ms", "us", "ns", "ps", "fs", "as", "generic"};
    const ptio_node *pair = vet_node(v, ref);
    bool known = false;
    bool shape = pair->kind == PTIO_N_TUPLE && pair->count == 2 &&
                 vet_is(v, vet_item(v, pair, 1), PTIO_N_TUPLE) &&
                 vet_node(v, vet_item(v, pair, 1))->count == 4;
    VET_CHECK(v, shape, "P8.numpy-metadata", PICKLE_MALFORMED, "a datetime dtype's metadata is %s",
              ptio_vet_kind_name(v, ref));
    ptio_ref extra = vet_item(v, pair, 0);
    VET_CHECK(v, extra == PTIO_NODE_NONE || (vet_is(v, extra, PTIO_N_DICT) && vet_node(v, extra)->fills == 0),
              "P8.numpy-extra", VALUE_UNSUPPORTED, "a NumPy dtype with metadata of its own");
    const ptio_node *unit = vet_node(v, vet_item(v, pair, 1));
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++)
        known = known || (vet_is(v, vet_item(v, unit, 0), PTIO_N_BYTES) &&
                          ptio_vet_text_is(v, vet_item(v, unit, 0), units[i]));
    const ptio_node *count = vet_node(v, vet_item(v, unit, 1));
    VET_CHECK(v,
              known && count->kind == PTIO_N_INT && count->integer >= 1 && count->integer <= INT32_MAX &&
                  is_integer(v, vet_item(v, unit, 2), 1) && is_integer(v, vet_item(v, unit, 3), 1),
              "P8.numpy-unit", PICKLE_MALFORMED, "a datetime dtype with a unit that NumPy does not have");
    return PTIO_OK;
}

ptio_status ptio_vet_build_numpy_dtype(ptio_vetting *v, ptio_ref target, ptio_ref state) {
    const ptio_node *tuple = vet_node(v, state);
    ptio_numpy_dtype *dtype = dtype_of(v, target);
    bool dated = dtype->kind == 'M' || dtype->kind == 'm';
    VET_CHECK(v, !dtype->in_use, "P8.numpy-late", PICKLE_MALFORMED,
              "a NumPy dtype changes after it was used");
    VET_CHECK(v, tuple->kind == PTIO_N_TUPLE && tuple->count == (dated ? 9 : 8), "P8.numpy-state",
              PICKLE_MALFORMED, "a NumPy dtype's state is %s", ptio_vet_kind_name(v, state));
    VET_CHECK(v, is_integer(v, vet_item(v, tuple, 0), dated ? 4 : 3), "P8.numpy-version", VALUE_UNSUPPORTED,
              "a NumPy dtype's state of a version that ptio does not know");
    ptio_ref order = vet_item(v, tuple, 1);
    bool good_order =
        ptio_vet_is_text(v, order) && (ptio_vet_text_is(v, order, "<") || ptio_vet_text_is(v, order, ">") ||
                                       ptio_vet_text_is(v, order, "|") || ptio_vet_text_is(v, order, "="));
    VET_CHECK(v, good_order, "P8.numpy-order", PICKLE_MALFORMED, "a NumPy dtype with an unknown byte order");
    PTIO_TRY(check_fields(v, dtype, vet_item(v, tuple, 3), vet_item(v, tuple, 4)));
    PTIO_TRY(check_subarray(v, dtype, vet_item(v, tuple, 2)));
    PTIO_TRY(check_layout(v, dtype, vet_item(v, tuple, 5), vet_item(v, tuple, 6)));
    PTIO_TRY(check_flags(v, dtype, vet_item(v, tuple, 7)));
    if (dated) PTIO_TRY(check_unit(v, vet_item(v, tuple, 8)));
    if (ptio_vet_text_is(v, order, "<") || ptio_vet_text_is(v, order, ">"))
        dtype->big_endian = ptio_vet_text_is(v, order, ">");
    dtype->in_use = true; /* one state is all that NumPy writes */
    return PTIO_OK;
}

/* --- arrays --------------------------------------------------------------------------- */

/* _reconstruct(ndarray, (0,), b"b"): an empty array that waits for its BUILD. */
ptio_status ptio_vet_numpy_array(ptio_vetting *v, ptio_ref ref, ptio_maker maker, ptio_ref arguments) {
    const ptio_node *args = vet_node(v, arguments);
    const ptio_node *class_ = vet_node(v, vet_item(v, args, 0)), *shape = vet_node(v, vet_item(v, args, 1));
    ptio_ref code = vet_item(v, args, 2);
    bool good = class_->kind == PTIO_N_MARKER && strcmp(ptio_global_get(class_->sub)->name, "ndarray") == 0 &&
                shape->kind == PTIO_N_TUPLE && shape->count == 1 && is_integer(v, vet_item(v, shape, 0), 0) &&
                ptio_vet_text_is(v, code, "b");
    VET_CHECK(v, good, "P8.numpy-reconstruct", PICKLE_MALFORMED,
              "numpy's _reconstruct with arguments that NumPy never writes");
    ptio_vet_made(v, ref, maker, PTIO_NODE_NONE); /* always the same arguments */
    return PTIO_OK;
}

static ptio_status take_dtype(ptio_vetting *v, ptio_ref ref, ptio_numpy_dtype *dtype) {
    VET_CHECK(v, vet_is_made(v, ref, PTIO_MAKE_NUMPY_DTYPE), "P8.numpy-dtype", PICKLE_MALFORMED,
              "a NumPy value's dtype is %s", ptio_vet_kind_name(v, ref));
    dtype_of(v, ref)->in_use = true;
    *dtype = *dtype_of(v, ref);
    VET_CHECK(v, !dtype->subarray, "P8.numpy-subarray-value", PICKLE_MALFORMED,
              "a NumPy value whose dtype is a sub-array");
    return PTIO_OK;
}

static ptio_status check_data(ptio_vetting *v, const ptio_numpy_dtype *dtype, uint64_t items, ptio_ref data) {
    ptio_node *node = vet_node(v, data);
    uint64_t bytes;
    VET_CHECK(v, !dtype->has_objects && (vet_is_data(node) || node->kind == PTIO_N_BYTEARRAY),
              "P8.numpy-data", PICKLE_MALFORMED, "a NumPy array's data is %s", ptio_vet_kind_name(v, data));
    VET_CHECK(v, ptio_mul_u64(items, dtype->item_bytes, &bytes) && bytes == node->a, "T1.numpy", BOUNDS,
              "a NumPy array of %llu items of %llu bytes over %u bytes of data", (unsigned long long)items,
              (unsigned long long)dtype->item_bytes, node->a);
    VET_CHECK(v, dtype->item_bytes > 0 || items <= MOST_EMPTY_ITEMS, "T4.numpy", LIMIT,
              "a NumPy array of %llu items without bytes", (unsigned long long)items);
    return ptio_vet_charge(v, bytes);
}

static ptio_status check_objects(ptio_vetting *v, uint64_t items, ptio_ref list) {
    uint64_t count = 0;
    ptio_ref item;
    VET_CHECK(v, vet_is(v, list, PTIO_N_LIST), "P8.numpy-objects", PICKLE_MALFORMED,
              "an object array's data is %s", ptio_vet_kind_name(v, list));
    for (ptio_items walk = ptio_vet_items(v, list, PTIO_N_APPEND); ptio_items_next(&walk, &item);) count++;
    VET_CHECK(v, count == items, "T1.numpy-objects", BOUNDS,
              "an object array of %llu items over %llu objects", (unsigned long long)items,
              (unsigned long long)count);
    return ptio_vet_charge(v, items * sizeof(void *));
}

/* BUILD: (1, shape, dtype, is Fortran, data) */
ptio_status ptio_vet_build_numpy_array(ptio_vetting *v, ptio_ref target, ptio_ref state) {
    const ptio_node *tuple = vet_node(v, state);
    ptio_numpy_dtype dtype;
    uint64_t items;
    VET_CHECK(v, vet_node(v, target)->a == 0, "P8.numpy-again", PICKLE_MALFORMED,
              "a NumPy array is built twice");
    VET_CHECK(v, tuple->kind == PTIO_N_TUPLE && tuple->count == 5 && is_integer(v, vet_item(v, tuple, 0), 1),
              "P8.numpy-array-state", PICKLE_MALFORMED, "a NumPy array's state is %s",
              ptio_vet_kind_name(v, state));
    ptio_ref order = vet_item(v, tuple, 3), data = vet_item(v, tuple, 4);
    PTIO_TRY(count_items(v, vet_item(v, tuple, 1), &items));
    PTIO_TRY(take_dtype(v, vet_item(v, tuple, 2), &dtype));
    VET_CHECK(v, is_flag(v, order, true) || is_flag(v, order, false), "P8.numpy-fortran", PICKLE_MALFORMED,
              "a NumPy array's order is %s", ptio_vet_kind_name(v, order));
    vet_node(v, target)->a = 1;
    return dtype.has_objects ? check_objects(v, items, data) : check_data(v, &dtype, items, data);
}

/* Four bytes a character. NumPy finds out only when it makes a str of them. */
static ptio_status check_characters(ptio_vetting *v, const ptio_numpy_dtype *dtype, const ptio_node *data) {
    const uint8_t *bytes = ptio_text(v->graph, data);
    for (uint32_t at = 0; at + 4 <= data->a; at += 4) {
        uint32_t code = ptio_le32(bytes + at);
        if (dtype->big_endian) code = __builtin_bswap32(code);
        VET_CHECK(v, code <= 0x10FFFF, "P8.numpy-text", PICKLE_MALFORMED,
                  "a NumPy text with the character %#x, which there is not", code);
    }
    return PTIO_OK;
}

/* scalar(dtype, bytes) */
ptio_status ptio_vet_numpy_scalar(ptio_vetting *v, ptio_ref ref, ptio_maker maker, ptio_ref arguments) {
    const ptio_node *args = vet_node(v, arguments);
    ptio_numpy_dtype dtype;
    PTIO_TRY(take_dtype(v, vet_item(v, args, 0), &dtype));
    VET_CHECK(
        v, vet_is(v, vet_item(v, args, 1), PTIO_N_BYTES) || vet_is(v, vet_item(v, args, 1), PTIO_N_PY2_STR),
        "P8.numpy-scalar", PICKLE_MALFORMED, "a NumPy scalar's data is %s",
        ptio_vet_kind_name(v, vet_item(v, args, 1)));
    PTIO_TRY(check_data(v, &dtype, 1, vet_item(v, args, 1)));
    if (dtype.kind == 'U') PTIO_TRY(check_characters(v, &dtype, vet_node(v, vet_item(v, args, 1))));
    ptio_vet_made(v, ref, maker, arguments);
    if (dtype.kind == 'V') vet_node(v, ref)->flags = 0; /* numpy.void is writeable, so it has no hash */
    return PTIO_OK;
}

static bool is_permutation(const ptio_vetting *v, ptio_ref ref, uint32_t dims) {
    const ptio_node *tuple = vet_node(v, ref);
    uint64_t seen = 0;
    if (tuple->kind != PTIO_N_TUPLE || tuple->count != dims) return false;
    for (uint32_t i = 0; i < dims; i++) {
        const ptio_node *axis = vet_node(v, vet_item(v, tuple, i));
        if (axis->kind != PTIO_N_INT || axis->integer < 0 || axis->integer >= dims) return false;
        seen |= UINT64_C(1) << axis->integer;
    }
    return seen == (UINT64_C(1) << dims) - 1;
}

/* _frombuffer(data, dtype, shape, order[, axis order]): protocol 5 */
ptio_status ptio_vet_numpy_frombuffer(ptio_vetting *v, ptio_ref ref, ptio_maker maker, ptio_ref arguments) {
    const ptio_node *args = vet_node(v, arguments);
    ptio_ref shape = vet_item(v, args, 2), order = vet_item(v, args, 3);
    ptio_ref axes = args->count == 5 ? vet_item(v, args, 4) : PTIO_NODE_NONE;
    ptio_numpy_dtype dtype;
    uint64_t items;
    PTIO_TRY(take_dtype(v, vet_item(v, args, 1), &dtype));
    PTIO_TRY(count_items(v, shape, &items));
    bool good = vet_is(v, order, PTIO_N_STR) &&
                (axes == PTIO_NODE_NONE
                     ? ptio_vet_text_is(v, order, "C") || ptio_vet_text_is(v, order, "F")
                     : ptio_vet_text_is(v, order, "K") && is_permutation(v, axes, vet_node(v, shape)->count));
    VET_CHECK(v, good, "P8.numpy-buffer-order", PICKLE_MALFORMED,
              "a NumPy array's order is one NumPy never writes");
    VET_CHECK(v, dtype.item_bytes > 0, "P8.numpy-empty-item", VALUE_UNSUPPORTED,
              "a NumPy array of items without bytes");
    PTIO_TRY(check_data(v, &dtype, items, vet_item(v, args, 0)));
    ptio_vet_made(v, ref, maker, arguments);
    return PTIO_OK;
}
