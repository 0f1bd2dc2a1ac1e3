/* SPDX-License-Identifier: Apache-2.0
 *
 * A region is first made simple - ascending in the file, the widest stride
 * outermost, neighbours joined - and then read run by run.
 */
#include "record_gather.h"

/* Runs that lie closer together than this are read with one call. */
#define WORTH_READING UINT64_C(4096)
#define WINDOW ((size_t)64 << 10)

typedef struct {
    uint64_t size;
    int64_t stride, step;
} dimension;

typedef struct {
    const ptio_source *source;
    uint64_t data; /* where the record's payload is in the source */
    uint64_t first;
    uint64_t run; /* bytes that lie together, in the record and in memory */
    uint64_t end; /* byte of the record behind the last element */
    size_t ndim;
    dimension dims[PTIO_MAX_DIMS];
    int64_t to; /* where the first element goes, from `out` on */
    uint8_t *out;
    uint64_t window_begin;
    size_t window_size; /* 0: nothing read yet */
    uint8_t window[WINDOW];
} gathering;

/* Turns dimensions that run backwards round, and leaves out those of one element. Fails
 * where the region leaves the record. */
static ptio_status straighten(gathering *g, const ptio_region *region, uint64_t record_size,
                              ptio_error *err) {
    uint64_t low = region->begin, above = region->item, span;
    bool inside = true;
    for (size_t i = 0; i < region->ndim && inside; i++) {
        dimension d = {region->sizes[i], region->strides[i], region->steps[i]};
        if (d.size == 1) continue;
        uint64_t stride = d.stride < 0 ? 0 - (uint64_t)d.stride : (uint64_t)d.stride;
        inside = ptio_mul_u64(d.size - 1, stride, &span) && ptio_add_u64(above, span, &above);
        if (inside && d.stride < 0) {
            inside = span <= low;
            low -= span;
            g->to += (int64_t)(d.size - 1) * d.step;
            d.stride = (int64_t)stride;
            d.step = -d.step;
        }
        g->dims[g->ndim++] = d;
    }
    PTIO_CHECK(inside && low <= record_size && above <= record_size - low, "T3.region", err, BOUNDS,
               PTIO_NO_OFFSET, "a slice reaches beyond the %llu bytes of its storage",
               (unsigned long long)record_size);
    g->first = low;
    g->end = low + above;
    g->run = region->item;
    return PTIO_OK;
}

/* The widest stride first, so that the file is read from front to back. */
static void order(gathering *g) {
    for (size_t i = 1; i < g->ndim; i++)
        for (size_t k = i; k > 0 && g->dims[k - 1].stride < g->dims[k].stride; k--) {
            dimension moved = g->dims[k];
            g->dims[k] = g->dims[k - 1];
            g->dims[k - 1] = moved;
        }
}

/* Inner dimensions whose elements touch on both sides make longer runs. */
static void join(gathering *g) {
    while (g->ndim > 0) {
        const dimension *inner = &g->dims[g->ndim - 1];
        if (inner->stride != inner->step || (uint64_t)inner->stride != g->run) break;
        g->run *= inner->size;
        g->ndim--;
    }
}

/* What to read from `at` on: further runs too, where little lies between them. */
static size_t window_from(const gathering *g, uint64_t at) {
    uint64_t stride = g->ndim == 0 ? 0 : (uint64_t)g->dims[g->ndim - 1].stride;
    if (stride > g->run + WORTH_READING) return (size_t)g->run;
    return (size_t)ptio_min_u64(WINDOW, g->end - at);
}

static ptio_status copy_run(gathering *g, uint64_t at, uint8_t *out, ptio_error *err) {
    if (g->run >= WINDOW) return ptio_source_read(g->source, g->data + at, out, (size_t)g->run, err);
    bool covered = at >= g->window_begin && at - g->window_begin <= g->window_size &&
                   g->run <= g->window_size - (at - g->window_begin);
    if (!covered) {
        g->window_size = 0;
        size_t size = window_from(g, at);
        PTIO_TRY(ptio_source_read(g->source, g->data + at, g->window, size, err));
        g->window_begin = at;
        g->window_size = size;
    }
    memcpy(out, g->window + (at - g->window_begin), (size_t)g->run);
    return PTIO_OK;
}

/* Counts through the outer dimensions as an odometer does. */
static ptio_status copy_all(gathering *g, ptio_error *err) {
    uint64_t counts[PTIO_MAX_DIMS] = {0}, at = g->first;
    int64_t to = g->to;
    for (;;) {
        PTIO_TRY(copy_run(g, at, g->out + to, err));
        size_t i = g->ndim;
        for (; i > 0; i--) {
            const dimension *d = &g->dims[i - 1];
            at += (uint64_t)d->stride;
            to += d->step;
            if (++counts[i - 1] < d->size) break;
            at -= d->size * (uint64_t)d->stride;
            to -= (int64_t)d->size * d->step;
            counts[i - 1] = 0;
        }
        if (i == 0) return PTIO_OK;
    }
}

ptio_status ptio_record_gather(const ptio_source *source, ptio_zip_index *index, uint32_t record,
                               const ptio_region *region, uint8_t *out, ptio_error *err) {
    gathering g;
    g.source = source;
    g.out = out;
    g.to = 0;
    g.ndim = 0;
    g.window_begin = 0;
    g.window_size = 0;
    PTIO_TRY(ptio_zip_prove(source, index, record, err));
    const ptio_record *entry = &index->records[record];
    for (size_t i = 0; i < region->ndim; i++)
        if (region->sizes[i] == 0) return PTIO_OK;
    PTIO_TRY(straighten(&g, region, entry->usize, err));
    g.data = entry->data;
    order(&g);
    join(&g);
    return copy_all(&g, err);
}
