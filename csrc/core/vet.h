/* SPDX-License-Identifier: Apache-2.0
 *
 * Vetting: graph -> proven checkpoint. One pass in stream order gives every
 * global, call and fill its meaning or refuses it; a second one, from the
 * root, marks what the result needs and holds depth and memory to their limits.
 * After it, building objects can fail for want of memory only.
 *
 * Shared by the vet_*.c files; ptio_vet is what checkpoint.c calls.
 */
#ifndef PTIO_VET_H
#define PTIO_VET_H

#include "checkpoint.h"

typedef enum {
#define MAKER(token, handler, fewest, most, fills, traits) PTIO_MAKE_##token,
#include "makers.def"
#undef MAKER
    PTIO_MAKER_COUNT
} ptio_maker;

typedef enum {
    PTIO_ROLE_MAKE,
    PTIO_ROLE_STORAGE,
    PTIO_ROLE_UNTYPED,
    PTIO_ROLE_DTYPE,
    PTIO_ROLE_NAMED,
    PTIO_ROLE_TENSOR_CLASS,
    PTIO_ROLE_FACTORY,
    PTIO_ROLE_INERT,
    PTIO_ROLE_CLASS
} ptio_role;

typedef struct {
    const char *module;
    const char *name;
    uint8_t role;
    uint8_t value; /* maker or dtype */
} ptio_global;

#define PTIO_NO_GLOBAL UINT32_MAX

const ptio_global *ptio_global_get(uint32_t global);
uint32_t ptio_global_find(const uint8_t *module, size_t module_size, const uint8_t *name, size_t name_size);
uint32_t ptio_global_count(void);

/* A call that was vetted as a plain value, and becomes a call again at the end. */
typedef struct {
    ptio_ref node, arguments;
    ptio_maker maker;
} ptio_kept_call;

typedef struct {
    ptio_checkpoint *c;
    ptio_graph *graph; /* of c */
    const ptio_checkpoint_options *options;
    ptio_ref now;                /* the node being vetted */
    uint32_t *storage_of_record; /* record -> storage, or PTIO_NO_STORAGE */
    ptio_ref *keyed;             /* containers with keys that are no strings */
    size_t keyed_count, keyed_capacity;
    /* Texts that every persistent id repeats, as the pickler's memo gives them:
     * a node that was proven once need not be read again. */
    ptio_ref storage_word, location;
    bool location_is_meta;
    uint32_t next_record;  /* where the next storage's record probably is */
    uint64_t key_parts;    /* looked at so far */
    uint64_t object_limit; /* bytes that objects may cost */
    ptio_kept_call *kept;  /* calls whose results torch makes, in stream order */
    size_t kept_count, kept_capacity;
    ptio_error *err;
} ptio_vetting;

/* Vets the graph of c. Sets c->forbidden even when it fails. */
ptio_status ptio_vet(ptio_checkpoint *c, const ptio_checkpoint_options *options,
                     ptio_error *err) PTIO_MUST_CHECK;

/* Only the globals: for a stream that broke off in the middle. */
ptio_status ptio_vet_globals(ptio_checkpoint *c, const ptio_checkpoint_options *options,
                             ptio_error *err) PTIO_MUST_CHECK;

/* What globals.def, by its row `global`, and a list of permissions say of a name. Each of these is
 * the name of a global ("module.name"), or the group of its module. */
ptio_judgement ptio_judge_by_table(uint32_t global, const char *const *allow, size_t allow_count,
                                   const uint8_t *module, size_t module_size, const uint8_t *name,
                                   size_t name_size);

/* The error for c->forbidden, which is not empty. */
ptio_status ptio_vet_report_forbidden(const ptio_checkpoint *c, ptio_error *err);

/* --- for the handlers ------------------------------------------------------------ */

/* The offset is found later, from the node that is being vetted. */
#define VET_CHECK(v, condition, id, status, ...) \
    PTIO_CHECK(condition, id, (v)->err, status, PTIO_NO_OFFSET, __VA_ARGS__)

static inline ptio_node *vet_node(const ptio_vetting *v, ptio_ref ref) { return &v->graph->nodes[ref]; }
static inline ptio_node *vet_value(const ptio_vetting *v, ptio_ref ref) {
    return vet_node(v, ptio_follow(v->graph, ref));
}
/* Item i of a tuple, its aliases followed. */
static inline ptio_ref vet_item(const ptio_vetting *v, const ptio_node *tuple, size_t i) {
    return ptio_follow(v->graph, v->graph->refs[tuple->first + i]);
}
static inline bool vet_is(const ptio_vetting *v, ptio_ref ref, ptio_node_kind kind) {
    return vet_node(v, ref)->kind == kind;
}
static inline bool vet_is_bool(ptio_ref ref) { return ref == PTIO_NODE_TRUE || ref == PTIO_NODE_FALSE; }
static inline bool vet_is_made(const ptio_vetting *v, ptio_ref ref, ptio_maker maker) {
    return vet_is(v, ref, PTIO_N_MADE) && vet_node(v, ref)->sub == maker;
}
/* A class or function that is not known, which only the caller's wish lets pass. */
static inline bool vet_is_unknown(const ptio_vetting *v, ptio_ref ref) {
    return vet_is(v, ref, PTIO_N_OPAQUE) || vet_is(v, ref, PTIO_N_OPAQUE_STACK);
}
/* Unknown to us, but to the caller it may be a class or function. */
static inline bool vet_is_not_ours(const ptio_vetting *v, ptio_ref ref) {
    return vet_is_unknown(v, ref) || vet_is(v, ref, PTIO_N_FOREIGN);
}
/* Bytes; or text of Python 2, which wrote them as such: that it is data, it keeps. */
static inline bool vet_is_data(ptio_node *node) {
    if (node->kind == PTIO_N_PY2_STR) node->flags |= PTIO_F_IS_DATA;
    return node->kind == PTIO_N_BYTES || node->kind == PTIO_N_PY2_STR;
}
/* A str or bytes node (of whatever Python) that holds exactly this ASCII text. */
bool ptio_vet_text_is(const ptio_vetting *v, ptio_ref ref, const char *text);
bool ptio_vet_is_text(const ptio_vetting *v, ptio_ref ref);

/* A tensor of whatever layout, or an object that may be one. */
bool ptio_vet_is_tensor(const ptio_vetting *v, ptio_ref ref);

/* A call copies the items of this list, dict or tuple: they are all that it ever has
 * (P6), so what is proven of them now stays true. */
static inline void vet_copied(const ptio_vetting *v, ptio_ref from) {
    vet_node(v, from)->flags |= PTIO_F_COPIED;
}

/* A word for what a node is, for messages: "a list", "an int". */
const char *ptio_vet_kind_name(const ptio_vetting *v, ptio_ref ref);

/* Items of a list or tuple as they are at this point of the stream. */
typedef struct {
    const ptio_vetting *v;
    ptio_ref container, fill; /* fill 0: none left, or a tuple */
    uint32_t at, end;
} ptio_items;
ptio_items ptio_vet_items(const ptio_vetting *v, ptio_ref container, ptio_node_kind fill_kind);
bool ptio_items_next(ptio_items *items, ptio_ref *item);

/* Charges memory that the result will need, before anything is made. */
ptio_status ptio_vet_charge(ptio_vetting *v, uint64_t bytes) PTIO_MUST_CHECK;

/* P12: may be a dict key or set member. Notes the container for the hash budget. */
ptio_status ptio_vet_key(ptio_vetting *v, ptio_ref container, ptio_ref key) PTIO_MUST_CHECK;
/* P12: the work of all hash collisions. */
ptio_status ptio_vet_hash_work(ptio_vetting *v) PTIO_MUST_CHECK;

/* Turns the node into the result of a call: kind MADE, arguments as given. */
void ptio_vet_made(ptio_vetting *v, ptio_ref node, ptio_maker maker, ptio_ref arguments);
void ptio_vet_same(ptio_vetting *v, ptio_ref node, ptio_ref value);
/* A call of or with `code`, so not ours to make: unknown code stays a description
 * of it, the caller's code is called by the builder. */
void ptio_vet_not_ours(ptio_vetting *v, ptio_ref node, ptio_ref code);

/* Vets a call: checks the number of arguments and runs the maker's handler. */
ptio_status ptio_vet_call(ptio_vetting *v, ptio_ref node, ptio_maker maker,
                          ptio_ref arguments) PTIO_MUST_CHECK;

/* The handlers of makers.def: prove the arguments, then set the node. */
#define MAKER(token, handler, fewest, most, fills, traits)                                               \
    ptio_status ptio_vet_##handler(ptio_vetting *v, ptio_ref node, ptio_maker maker, ptio_ref arguments) \
        PTIO_MUST_CHECK;
#include "makers.def"
#undef MAKER

/* BUILD on a proven node. */
ptio_status ptio_vet_build_attributes(ptio_vetting *v, ptio_ref target, ptio_ref state) PTIO_MUST_CHECK;
ptio_status ptio_vet_build_numpy_dtype(ptio_vetting *v, ptio_ref target, ptio_ref state) PTIO_MUST_CHECK;
ptio_status ptio_vet_build_numpy_array(ptio_vetting *v, ptio_ref target, ptio_ref state) PTIO_MUST_CHECK;
ptio_status ptio_vet_build_parameter(ptio_vetting *v, ptio_ref target, ptio_ref state) PTIO_MUST_CHECK;

/* Makes kept calls what they are for torch. Last of all, before the walk from the root. */
void ptio_vet_restore_kept(ptio_vetting *v);

/* PERSID -> STORAGE (P10, T1, Z12). */
ptio_status ptio_vet_persistent_id(ptio_vetting *v, ptio_ref node) PTIO_MUST_CHECK;

/* Its parts, for vet_legacy.c: a key; a new storage, or a view of one (root and offset are set). */
ptio_status ptio_vet_storage_key(ptio_vetting *v, ptio_ref key) PTIO_MUST_CHECK;
ptio_status ptio_vet_add_storage(ptio_vetting *v, ptio_storage storage, uint32_t *number) PTIO_MUST_CHECK;
ptio_status ptio_vet_add_view(ptio_vetting *v, ptio_storage storage, uint32_t *number) PTIO_MUST_CHECK;

/* vet_legacy.c: a storage whose bytes come after the pickle (L1), or its view where view is not
 * None; a class of modules; what is to be said of all views at the end. */
ptio_status ptio_vet_declare(ptio_vetting *v, ptio_storage storage, ptio_ref view,
                             uint32_t *number) PTIO_MUST_CHECK;
ptio_status ptio_vet_module_id(ptio_vetting *v, ptio_ref node, ptio_ref class_) PTIO_MUST_CHECK;
ptio_status ptio_vet_views(ptio_vetting *v) PTIO_MUST_CHECK;
/* vet_tar.c: the storages that the archive lists; PERSID -> STORAGE or TENSOR. */
ptio_status ptio_vet_tar_tables(ptio_vetting *v) PTIO_MUST_CHECK;
ptio_status ptio_vet_tar_id(ptio_vetting *v, ptio_ref node, ptio_ref id) PTIO_MUST_CHECK;
/* vet_tensor.c: a tensor over a storage; dims: ndim sizes, then ndim strides. */
ptio_status ptio_vet_listed_tensor(ptio_vetting *v, ptio_ref node, uint32_t storage, int64_t offset,
                                   const int64_t *dims, size_t ndim) PTIO_MUST_CHECK;
/* The storage of this key, or PTIO_NO_STORAGE. */
uint32_t ptio_declared_find(const ptio_checkpoint *c, const uint8_t *key, size_t size);

/* PERSID -> OPAQUE_CALL: an object of torch.package that only code could make. */
ptio_status ptio_vet_reduce_package(ptio_vetting *v, ptio_ref node, const ptio_node *id) PTIO_MUST_CHECK;

/* From the root: what is needed, depth (P13), memory. */
ptio_status ptio_vet_reachable(ptio_vetting *v) PTIO_MUST_CHECK;

#endif
