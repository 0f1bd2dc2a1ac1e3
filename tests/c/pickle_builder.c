/* SPDX-License-Identifier: Apache-2.0
 *
 * Tables of pickles, run through the parser or through a whole checkpoint.
 */
#include "pickle_builder.h"

#include <stdlib.h>

static void *must(void *memory) {
    if (memory == NULL) abort();
    return memory;
}

/* --- large pickles ---------------------------------------------------------------------- */

void pickle_add(pickle_buffer *p, const void *bytes, size_t n) {
    if (p->size + n > p->capacity) {
        p->capacity = 2 * (p->size + n);
        p->bytes = must(realloc(p->bytes, p->capacity));
    }
    if (n > 0) memcpy(p->bytes + p->size, bytes, n);
    p->size += n;
}

void pickle_add_times(pickle_buffer *p, const void *bytes, size_t n, size_t times) {
    for (size_t i = 0; i < times; i++) pickle_add(p, bytes, n);
}

void pickle_add_u32(pickle_buffer *p, uint32_t value) {
    uint8_t bytes[4];
    for (unsigned i = 0; i < 4; i++) bytes[i] = (uint8_t)(value >> (8 * i));
    pickle_add(p, bytes, sizeof bytes);
}

void pickle_free(pickle_buffer *p) {
    free(p->bytes);
    memset(p, 0, sizeof *p);
}

/* --- parsing ------------------------------------------------------------------------------ */

ptio_status parse_copy(const void *pickle, size_t size, bool inert, uint8_t **copy, ptio_graph *graph,
                       ptio_error *err) {
    ptio_parse_options options = {UINT64_MAX, UINT64_MAX, inert, inert, false};
    *copy = must(malloc(size + (size == 0)));
    if (size > 0) memcpy(*copy, pickle, size);
    return ptio_pickle_parse(*copy, size, &options, graph, err);
}

static pickle_buffer whole(const broken_pickle *broken) {
    pickle_buffer p = {0};
    pickle_add(&p, broken->before, broken->before_size);
    pickle_add(&p, broken->rest, broken->rest_size);
    return p;
}

void parse_broken(const char *file, const broken_pickle *cases, size_t count, bool inert) {
    for (const broken_pickle *b = cases; b < cases + count; b++) {
        ptio_error err = {0};
        ptio_graph graph;
        uint8_t *copy;
        pickle_buffer p = whole(b);
        ptio_status status = parse_copy(p.bytes, p.size, inert, &copy, &graph, &err);
        test_error(file, b->line, status, &err, b->status, b->check, b->fragment, b->before_size);
        ptio_graph_free(&graph);
        free(copy);
        pickle_free(&p);
    }
}

/* --- checkpoints ------------------------------------------------------------------------------ */

ptio_checkpoint_options default_options(void) {
    return (ptio_checkpoint_options){.limits = PTIO_LIMITS_DEFAULT};
}

static void add_member(zip_archive *zip, const char *name, const void *content, size_t size) {
    zip_member member = {.name = name, .content = content, .size = size, .descriptor = size > 0};
    zip_add(zip, &member);
}

ptio_status open_pickle_of(opened *o, const void *pickle, size_t size, const char *byte_order,
                           const ptio_checkpoint_options *options, ptio_error *err) {
    static const uint8_t zeros[32];
    ptio_checkpoint_options defaults = default_options();
    zip_begin(&o->zip);
    add_member(&o->zip, "m/data.pkl", pickle, size);
    if (byte_order != NULL) add_member(&o->zip, "m/byteorder", byte_order, strlen(byte_order));
    add_member(&o->zip, "m/data/0", zeros, 16);
    add_member(&o->zip, "m/data/1", zeros, 16);
    add_member(&o->zip, "m/data/32", zeros, 32);
    add_member(&o->zip, "m/data/empty", zeros, 0);
    add_member(&o->zip, "m/version", "3\n", 2);
    zip_finish(&o->zip, true, NULL, 0);
    ptio_source_borrow(o->zip.bytes, o->zip.size, &o->source);
    return ptio_checkpoint_open(&o->source, options == NULL ? &defaults : options, &o->c, err);
}

ptio_status open_pickle(opened *o, const void *pickle, size_t size, const ptio_checkpoint_options *options,
                        ptio_error *err) {
    return open_pickle_of(o, pickle, size, NULL, options, err);
}

void opened_free(opened *o) {
    ptio_checkpoint_free(&o->c);
    ptio_source_close(&o->source);
    zip_free_archive(&o->zip);
}

void open_broken(const char *file, const broken_pickle *cases, size_t count,
                 const ptio_checkpoint_options *options) {
    for (const broken_pickle *b = cases; b < cases + count; b++) {
        ptio_error err = {0};
        opened o;
        pickle_buffer p = whole(b);
        ptio_status status = open_pickle(&o, p.bytes, p.size, options, &err);
        test_error(file, b->line, status, &err, b->status, b->check, b->fragment, b->before_size);
        if (status != PTIO_OK && strcmp(err.record, "m/data.pkl") != 0)
            test_fail(file, b->line, "%s in record '%s', expected m/data.pkl", err.check, err.record);
        opened_free(&o);
        pickle_free(&p);
    }
}

void open_fine(const char *file, const fine_pickle *cases, size_t count, bool inert) {
    ptio_checkpoint_options options = default_options();
    options.inert = inert;
    for (const fine_pickle *f = cases; f < cases + count; f++) {
        ptio_error err = {0};
        opened o;
        if (open_pickle(&o, f->pickle, f->size, &options, &err) != PTIO_OK)
            test_fail(file, f->line, "%s %s at byte %llu: %s", ptio_status_name(err.status), err.check,
                      (unsigned long long)err.offset, err.message);
        opened_free(&o);
    }
}

const ptio_node *opened_root(const opened *o) {
    return &o->c.graph.nodes[ptio_follow(&o->c.graph, o->c.graph.root)];
}

const ptio_tensor *opened_tensor(const opened *o) {
    static const ptio_tensor none = {.storage = PTIO_NO_STORAGE};
    const ptio_node *root = opened_root(o);
    return root->kind == PTIO_N_TENSOR ? &o->c.tensors[root->a] : &none;
}
