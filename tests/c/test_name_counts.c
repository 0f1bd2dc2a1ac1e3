/* SPDX-License-Identifier: Apache-2.0
 *
 * Names of globals, each once.
 */
#include <errno.h>
#include <stdlib.h>

#include "faults.h"
#include "memory.h"
#include "name_counts.h"
#include "pickle_builder.h"

void suite_name_counts(void);

typedef struct {
    uint8_t *copy;
    ptio_graph graph;
    ptio_counted_name *names;
    size_t count;
} counted;

static void parse(counted *c, const void *pickle, size_t size) {
    ptio_error err = {0};
    ASSERT_OK(parse_copy(pickle, size, false, &c->copy, &c->graph, &err));
}

static ptio_status count(counted *c, ptio_error *err) {
    c->names = NULL;
    c->count = 77;
    return ptio_count_names(&c->graph, c->graph.globals, c->graph.global_count, &c->names, &c->count, err);
}

static void counted_free(counted *c) {
    ptio_free(c->names);
    ptio_graph_free(&c->graph);
    free(c->copy);
}

static void each_name_once_in_the_order_of_first_uses(void) {
    static const char pickle[] = "ca\nb\n0cb\na\n0ca.b\nc\n0ca\nb.c\n0ca\nb\n0\x8c\1a\x8c\1b\x93"
                                 "0ca\nb\n0cb\na\n0c\n\n0c\n\n.";
    static const struct {
        uint64_t offset, count;
    } expected[] = {{0, 4}, {6, 2}, {12, 1}, {20, 1}, {54, 2}};
    ptio_error err = {0};
    counted c;
    parse(&c, LITERAL(pickle));
    ASSERT_OK(count(&c, &err));
    ASSERT_EQUAL(c.count, COUNT_OF(expected));
    for (size_t i = 0; i < c.count && i < COUNT_OF(expected); i++) {
        ASSERT_EQUAL(c.names[i].first.offset, expected[i].offset);
        ASSERT_EQUAL(c.names[i].count, expected[i].count);
    }
    counted_free(&c);
}

static void a_pickle_without_names(void) {
    ptio_error err = {0};
    counted c;
    parse(&c, LITERAL("N."));
    ASSERT_OK(count(&c, &err));
    ASSERT_EQUAL(c.count, 0);
    counted_free(&c);
}

/* Twice, so that the second ones are looked for in a table that has grown. */
static void add_many(pickle_buffer *p) {
    for (int i = 0; i < 4000; i++) {
        char text[64];
        pickle_add(p, text, (size_t)snprintf(text, sizeof text, "cm%d\nn%d\n0", i % 2000 % 50, i % 2000));
    }
    ADD(p, "N.");
}

static void many_names(void) {
    pickle_buffer p = {0};
    ptio_error err = {0};
    counted c;
    add_many(&p);
    parse(&c, p.bytes, p.size);
    ASSERT_OK(count(&c, &err));
    ASSERT_EQUAL(c.count, 2000);
    for (size_t i = 0; i < c.count; i++) {
        ASSERT_EQUAL(c.names[i].count, 2);
        ASSERT_EQUAL(c.names[i].first.offset, c.graph.globals[i].offset);
    }
    counted_free(&c);
    pickle_free(&p);
}

static void memory_may_run_out(void) {
    pickle_buffer p = {0};
    ptio_error err = {0};
    counted c;
    uint64_t k = 1;
    add_many(&p);
    parse(&c, p.bytes, p.size);
    for (; k < 100; k++) {
        ptio_memory_fail_at(k);
        ptio_status status = count(&c, &err);
        ptio_memory_fail_at(0);
        if (status == PTIO_OK) break;
        ASSERT_EQUAL(status, PTIO_E_NO_MEMORY);
        ASSERT_TRUE(c.names == NULL && c.count == 77);
    }
    ASSERT_TRUE(k > 10 && k < 100);
    counted_free(&c);
    pickle_free(&p);
}

static void there_may_be_no_random_key(void) {
    ptio_error err = {0};
    counted c;
    if (!faults_work()) return;
    parse(&c, LITERAL("ca\nb\n."));
    faults.getentropy_errno = EIO;
    ASSERT_EQUAL(count(&c, &err), PTIO_E_IO);
    faults_clear();
    ASSERT_TRUE(c.names == NULL && c.count == 77);
    counted_free(&c);
}

void suite_name_counts(void) {
    RUN(each_name_once_in_the_order_of_first_uses);
    RUN(a_pickle_without_names);
    RUN(many_names);
    RUN(memory_may_run_out);
    RUN(there_may_be_no_random_key);
}
