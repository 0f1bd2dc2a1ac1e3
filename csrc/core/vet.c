/* SPDX-License-Identifier: Apache-2.0
 *
 * The vetting passes: globals, then every node in stream order. What a call
 * means is in vet_tensor.c, vet_plain.c and vet_numpy.c.
 */
#include <stdio.h>

#include "memory.h"
#include "name_counts.h"
#include "pickle_parse.h"
#include "vet.h"

enum { FILL_APPEND = 1, FILL_SETITEM = 2, FILL_ADD = 4, FILL_BUILD = 8 };
enum { H = 1, N = 2, P = 4, T = 8 }; /* traits of makers.def */

typedef struct {
    const char *name;
    ptio_status (*vet)(ptio_vetting *, ptio_ref, ptio_maker, ptio_ref);
    uint16_t fewest, most;
    uint8_t fills, traits;
} maker_info;

static const maker_info makers[PTIO_MAKER_COUNT] = {
#define MAKER(token, handler, fewest, most, fills, traits) \
    {#handler, ptio_vet_##handler, fewest, most, fills, traits},
#include "makers.def"
#undef MAKER
};

/* --- what the handlers share ------------------------------------------------------ */

bool ptio_vet_is_text(const ptio_vetting *v, ptio_ref ref) {
    uint8_t kind = vet_node(v, ref)->kind;
    return kind == PTIO_N_STR || kind == PTIO_N_BYTES || kind == PTIO_N_PY2_STR;
}

bool ptio_vet_text_is(const ptio_vetting *v, ptio_ref ref, const char *text) {
    const ptio_node *node = vet_node(v, ref);
    return ptio_vet_is_text(v, ref) && node->a == strlen(text) &&
           memcmp(ptio_text(v->graph, node), text, node->a) == 0;
}

const char *ptio_vet_kind_name(const ptio_vetting *v, ptio_ref ref) {
    const ptio_node *node = vet_value(v, ref);
    return node->kind == PTIO_N_MADE ? makers[node->sub].name : ptio_kind_name(node->kind);
}

void ptio_vet_made(ptio_vetting *v, ptio_ref ref, ptio_maker maker, ptio_ref arguments) {
    ptio_node *node = vet_node(v, ref);
    node->kind = PTIO_N_MADE;
    node->flags = makers[maker].traits & H ? PTIO_F_HASHABLE : 0;
    node->sub = (uint16_t)maker;
    node->a = 0;
    node->b = arguments;
}

void ptio_vet_same(ptio_vetting *v, ptio_ref ref, ptio_ref value) {
    ptio_node *node = vet_node(v, ref);
    node->kind = PTIO_N_SAME;
    node->a = value;
}

void ptio_vet_not_ours(ptio_vetting *v, ptio_ref ref, ptio_ref code) {
    ptio_node *node = vet_node(v, ref);
    bool theirs = vet_is(v, code, PTIO_N_FOREIGN) || vet_is(v, code, PTIO_N_FOREIGN_CALL);
    node->sub = node->kind == PTIO_N_NEWOBJ_EX ? PTIO_CALL_NEW_KEYWORDS
                : node->kind == PTIO_N_NEWOBJ  ? PTIO_CALL_NEW
                                               : PTIO_CALL;
    node->kind = theirs ? PTIO_N_FOREIGN_CALL : PTIO_N_OPAQUE_CALL;
}

/* --- globals (P7) -------------------------------------------------------------------- */

static bool is_allowed(const char *const *allow, size_t allow_count, const uint8_t *module,
                       size_t module_size, const uint8_t *name, size_t name_size) {
    for (size_t i = 0; i < allow_count; i++) {
        const char *entry = allow[i];
        size_t size = strlen(entry);
        bool whole = size == module_size + 1 + name_size && memcmp(entry, module, module_size) == 0 &&
                     entry[module_size] == '.' && memcmp(entry + module_size + 1, name, name_size) == 0;
        bool group = memchr(entry, '.', size) == NULL && size <= module_size &&
                     memcmp(entry, module, size) == 0 && (size == module_size || module[size] == '.');
        if (whole || group) return true;
    }
    return false;
}

/* An INERT one is no surprise, so it needs no permission. */
ptio_judgement ptio_judge_by_table(uint32_t global, const char *const *allow, size_t allow_count,
                                   const uint8_t *module, size_t module_size, const uint8_t *name,
                                   size_t name_size) {
    if (global != PTIO_NO_GLOBAL)
        return ptio_global_get(global)->role == PTIO_ROLE_INERT ? PTIO_AS_DATA : PTIO_OURS;
    return is_allowed(allow, allow_count, module, module_size, name, name_size) ? PTIO_AS_DATA : PTIO_REFUSED;
}

static ptio_status forbid(ptio_checkpoint *c, ptio_global_use use, ptio_error *err) {
    void *items = c->forbidden;
    PTIO_TRY(ptio_grow(&items, &c->forbidden_capacity, c->forbidden_count + 1, sizeof use, err));
    c->forbidden = items;
    c->forbidden[c->forbidden_count++] = use;
    return PTIO_OK;
}

/* A marker, a value, or data that is never looked up anywhere. */
static void resolve(ptio_node *node, uint32_t global) {
    const ptio_global *known = ptio_global_get(global);
    node->kind = known->role == PTIO_ROLE_DTYPE   ? PTIO_N_DTYPE
                 : known->role == PTIO_ROLE_NAMED ? PTIO_N_NAMED
                                                  : PTIO_N_MARKER;
    node->sub = known->role == PTIO_ROLE_DTYPE ? known->value : (uint16_t)global;
}

/* Each name once, where it comes first. */
static ptio_status keep_first_uses(ptio_checkpoint *c, ptio_error *err) {
    ptio_counted_name *names;
    size_t count;
    if (c->forbidden_count < 2) return PTIO_OK;
    PTIO_TRY(ptio_count_names(&c->graph, c->forbidden, c->forbidden_count, &names, &count, err));
    for (size_t i = 0; i < count; i++) c->forbidden[i] = names[i].first;
    c->forbidden_count = count;
    ptio_free(names);
    return PTIO_OK;
}

/* A marker, a value, data or the caller's object; or on the list of what is refused. */
static ptio_status vet_global(ptio_checkpoint *c, const ptio_checkpoint_options *options, ptio_global_use use,
                              ptio_error *err) {
    ptio_node *node = &c->graph.nodes[use.node];
    const uint8_t *module, *name;
    size_t module_size, name_size;
    uint16_t object = 0;
    ptio_judgement judgement;
    ptio_global_name(&c->graph, use.node, &module, &module_size, &name, &name_size);
    uint32_t global = ptio_global_find(module, module_size, name, name_size);
    if (options->judge == NULL) {
        judgement = ptio_judge_by_table(global, options->allow, options->allow_count, module, module_size,
                                        name, name_size);
        if (judgement == PTIO_REFUSED && options->inert) judgement = PTIO_AS_DATA;
    } else {
        PTIO_TRY(options->judge(options->judge_context, global, module, module_size, name, name_size,
                                &judgement, &object, err));
    }
    if (judgement == PTIO_OURS && global != PTIO_NO_GLOBAL) {
        resolve(node, global);
    } else if (judgement == PTIO_THEIRS) {
        node->kind = PTIO_N_FOREIGN;
        node->sub = object;
    } else {
        node->kind = node->kind == PTIO_N_GLOBAL ? PTIO_N_OPAQUE : PTIO_N_OPAQUE_STACK;
        if (judgement != PTIO_AS_DATA) return forbid(c, use, err);
    }
    return PTIO_OK;
}

ptio_status ptio_vet_globals(ptio_checkpoint *c, const ptio_checkpoint_options *options, ptio_error *err) {
    const ptio_graph *graph = &c->graph;
    for (size_t i = 0; i < graph->global_count; i++) {
        uint8_t kind = graph->nodes[graph->globals[i].node].kind;
        if (kind == PTIO_N_GLOBAL || kind == PTIO_N_STACK_GLOBAL)
            PTIO_TRY(vet_global(c, options, graph->globals[i], err));
    }
    return keep_first_uses(c, err);
}

/* One line that lists as many of them as fit; the caller has the whole list. */
ptio_status ptio_vet_report_forbidden(const ptio_checkpoint *c, ptio_error *err) {
    char list[320] = "", module_text[PTIO_QUOTED], name_text[PTIO_QUOTED];
    size_t used = 0, shown = 0;
    for (; shown < c->forbidden_count; shown++) {
        const uint8_t *module, *name;
        size_t module_size, name_size;
        ptio_global_name(&c->graph, c->forbidden[shown].node, &module, &module_size, &name, &name_size);
        int n = snprintf(list + used, sizeof list - used, "%s%s.%s at byte %llu", shown ? ", " : "",
                         ptio_quote(module_text, module, module_size), ptio_quote(name_text, name, name_size),
                         (unsigned long long)c->forbidden[shown].offset);
        if (n < 0 || (size_t)n >= sizeof list - used) break;
        used += (size_t)n;
    }
    list[used] = '\0';
    bool one = c->forbidden_count == 1;
    return ptio_fail(err, PTIO_E_GLOBAL_FORBIDDEN, "P7.allowed", c->forbidden[0].offset,
                     "the pickle names %zu global%s that %s not allowed: %s%s", c->forbidden_count,
                     one ? "" : "s", one ? "is" : "are", list, shown < c->forbidden_count ? ", ..." : "");
}

/* --- calls (P8) ------------------------------------------------------------------------ */

static ptio_status keep_call(ptio_vetting *v, ptio_ref node, ptio_maker maker, ptio_ref arguments) {
    void *calls = v->kept;
    PTIO_TRY(ptio_arena_grow(&v->graph->arena, &calls, &v->kept_capacity, v->kept_count + 1, sizeof *v->kept,
                             v->err));
    v->kept = calls;
    v->kept[v->kept_count++] = (ptio_kept_call){node, arguments, maker};
    return PTIO_OK;
}

ptio_status ptio_vet_call(ptio_vetting *v, ptio_ref node, ptio_maker maker, ptio_ref arguments) {
    const maker_info *info = &makers[maker];
    uint32_t count = vet_node(v, arguments)->count;
    VET_CHECK(v, count >= info->fewest && count <= info->most, "P8.arity", PICKLE_MALFORMED,
              "%s is called with %u arguments, it takes %u to %u", info->name, count, info->fewest,
              info->most);
    PTIO_TRY(info->vet(v, node, maker, arguments));
    return v->options->torch_values && (info->traits & T) ? keep_call(v, node, maker, arguments) : PTIO_OK;
}

static ptio_status forbid_constructor(ptio_vetting *v, ptio_ref callee) {
    ptio_global_use use = {callee, PTIO_NO_OFFSET};
    for (size_t i = 0; i < v->graph->global_count; i++)
        if (v->graph->globals[i].node == callee) use = v->graph->globals[i];
    PTIO_TRY(forbid(v->c, use, v->err));
    const ptio_global *global = ptio_global_get(vet_node(v, callee)->sub);
    return ptio_fail(v->err, PTIO_E_GLOBAL_FORBIDDEN, "P8.constructor", PTIO_NO_OFFSET,
                     "the pickle calls %s.%s, whose result would not come from the file", global->module,
                     global->name);
}

static ptio_status vet_call_node(ptio_vetting *v, ptio_ref ref) {
    ptio_node *node = vet_node(v, ref);
    ptio_ref callee = ptio_follow(v->graph, node->a);
    uint8_t kind = vet_node(v, callee)->kind;
    if (vet_is_not_ours(v, callee) || kind == PTIO_N_OPAQUE_CALL) {
        ptio_vet_not_ours(v, ref, callee);
        return PTIO_OK;
    }
    VET_CHECK(v, kind == PTIO_N_MARKER, "P8.callee", PICKLE_MALFORMED, "%s is called like a function",
              ptio_vet_kind_name(v, callee));
    const ptio_global *global = ptio_global_get(vet_node(v, callee)->sub);
    if (global->role != PTIO_ROLE_MAKE && ptio_check_is_on("P8.constructor"))
        return forbid_constructor(v, callee);
    if (node->kind != PTIO_N_CALL) {
        VET_CHECK(v, node->kind == PTIO_N_NEWOBJ && (makers[global->value].traits & N), "P8.newobj",
                  PICKLE_MALFORMED, "%s.%s is made by NEWOBJ, which no pickler writes for it", global->module,
                  global->name);
    }
    return ptio_vet_call(v, ref, (ptio_maker)global->value, node->b);
}

/* --- fills (P6) -------------------------------------------------------------------------- */

static unsigned fills_of(const ptio_vetting *v, ptio_ref target) {
    const ptio_node *node = vet_node(v, target);
    switch (node->kind) {
    case PTIO_N_LIST: return FILL_APPEND;
    case PTIO_N_DICT: return FILL_SETITEM;
    case PTIO_N_SET: return FILL_ADD;
    case PTIO_N_OPAQUE_CALL: /* the builder asks the object itself */
    case PTIO_N_FOREIGN_CALL: return FILL_APPEND | FILL_SETITEM | FILL_ADD | FILL_BUILD;
    case PTIO_N_MADE: return makers[node->sub].fills;
    case PTIO_N_SAME: return node->sub == PTIO_MAKE_PARAMETER ? FILL_BUILD : 0;
    default: return 0;
    }
}

static ptio_status vet_build(ptio_vetting *v, ptio_ref target, ptio_ref state) {
    const ptio_node *node = vet_node(v, target);
    if (node->kind == PTIO_N_OPAQUE_CALL || node->kind == PTIO_N_FOREIGN_CALL) return PTIO_OK;
    if (node->kind == PTIO_N_SAME) {
        vet_node(v, v->now)->kind = PTIO_N_DROPPED;
        return ptio_vet_build_parameter(v, target, state);
    }
    if (node->sub == PTIO_MAKE_NUMPY_DTYPE) return ptio_vet_build_numpy_dtype(v, target, state);
    if (node->sub == PTIO_MAKE_NUMPY_ARRAY) return ptio_vet_build_numpy_array(v, target, state);
    return ptio_vet_build_attributes(v, target, state);
}

static ptio_status vet_fill(ptio_vetting *v, ptio_ref ref) {
    static const char *const names[] = {"APPEND", "SETITEM", "ADDITEMS", "BUILD"};
    const ptio_node *fill = vet_node(v, ref);
    unsigned which = fill->kind - PTIO_N_APPEND;
    const ptio_ref *items = v->graph->refs + fill->first;
    ptio_ref target = fill->a;
    VET_CHECK(v, fills_of(v, target) & (1u << which), "P6.kind", PICKLE_MALFORMED, "%s on %s", names[which],
              ptio_vet_kind_name(v, target));
    VET_CHECK(v, !(vet_node(v, target)->flags & PTIO_F_COPIED), "P6.copied", PICKLE_MALFORMED,
              "%s on %s whose items were copied already", names[which], ptio_vet_kind_name(v, target));
    if (fill->kind == PTIO_N_BUILD) return vet_build(v, target, ptio_follow(v->graph, items[0]));
    if (fill->kind == PTIO_N_APPEND) return PTIO_OK;
    for (uint32_t i = 0, step = fill->kind == PTIO_N_SETITEM ? 2 : 1; i < fill->count; i += step)
        if (!vet_is(v, items[i], PTIO_N_STR)) PTIO_TRY(ptio_vet_key(v, target, items[i]));
    return PTIO_OK;
}

/* --- the pass ------------------------------------------------------------------------------ */

static ptio_status vet_frozenset(ptio_vetting *v, ptio_ref ref) {
    const ptio_node *set = vet_node(v, ref);
    for (uint32_t i = 0; i < set->count; i++) PTIO_TRY(ptio_vet_key(v, ref, vet_item(v, set, i)));
    return PTIO_OK;
}

static ptio_status vet_one(ptio_vetting *v, ptio_ref ref) {
    switch (vet_node(v, ref)->kind) {
    case PTIO_N_PERSID: return ptio_vet_persistent_id(v, ref);
    case PTIO_N_CALL:
    case PTIO_N_NEWOBJ:
    case PTIO_N_NEWOBJ_EX: return vet_call_node(v, ref);
    case PTIO_N_APPEND:
    case PTIO_N_SETITEM:
    case PTIO_N_ADD:
    case PTIO_N_BUILD: return vet_fill(v, ref);
    case PTIO_N_FROZENSET: return vet_frozenset(v, ref);
    default: return PTIO_OK;
    }
}

static ptio_status vet_nodes(ptio_vetting *v) {
    for (v->now = PTIO_FIRST_FREE_NODE; v->now < v->graph->count; v->now++) PTIO_TRY(vet_one(v, v->now));
    v->now = PTIO_NO_NODE;
    return PTIO_OK;
}

/* Tables as large as the archive lets foresee: a storage, a tensor and a few sizes and
 * strides for each record. */
static ptio_status make_tables(ptio_vetting *v) {
    ptio_checkpoint *c = v->c;
    ptio_arena *arena = &v->graph->arena;
    size_t records = c->index.count;
    void *of_record, *storages = NULL, *tensors = NULL, *dims = NULL;
    PTIO_TRY(ptio_arena_alloc(arena, records + 1, sizeof *v->storage_of_record, &of_record, v->err));
    PTIO_TRY(ptio_arena_grow(arena, &storages, &c->storage_capacity, records, sizeof *c->storages, v->err));
    PTIO_TRY(ptio_arena_grow(arena, &tensors, &c->tensor_capacity, records, sizeof *c->tensors, v->err));
    PTIO_TRY(ptio_arena_grow(arena, &dims, &c->dim_capacity, 4 * records, sizeof *c->dims, v->err));
    v->storage_of_record = memset(of_record, 0xff, records * sizeof *v->storage_of_record);
    c->storages = storages;
    c->tensors = tensors;
    c->dims = dims;
    return PTIO_OK;
}

static ptio_status vet_all(ptio_vetting *v) {
    PTIO_TRY(ptio_vet_globals(v->c, v->options, v->err));
    if (v->c->forbidden_count > 0 && ptio_check_is_on("P7.allowed"))
        return ptio_vet_report_forbidden(v->c, v->err);
    PTIO_TRY(make_tables(v));
    if (v->c->tar != NULL) PTIO_TRY(ptio_vet_tar_tables(v));
    PTIO_TRY(vet_nodes(v));
    PTIO_TRY(ptio_vet_views(v));
    PTIO_TRY(ptio_vet_hash_work(v));
    ptio_vet_restore_kept(v);
    return ptio_vet_reachable(v);
}

ptio_status ptio_vet(ptio_checkpoint *c, const ptio_checkpoint_options *options, ptio_error *err) {
    ptio_vetting v = {.c = c,
                      .graph = &c->graph,
                      .options = options,
                      .now = PTIO_NO_NODE,
                      .err = err,
                      .storage_word = PTIO_NO_NODE,
                      .location = PTIO_NO_NODE,
                      .object_limit = ptio_limit_for_file(options->limits.object_bytes, c->file_size)};
    ptio_status status = vet_all(&v);
    /* Finding the place means parsing again: not with two graphs in memory. Only
     * the names of forbidden globals are still asked for. */
    if (status != PTIO_OK && c->forbidden_count == 0) ptio_graph_free(&c->graph);
    if (status != PTIO_OK && err->offset == PTIO_NO_OFFSET && v.now != PTIO_NO_NODE)
        err->offset = ptio_pickle_locate(c->pickle, c->pickle_size, v.now);
    return status;
}
