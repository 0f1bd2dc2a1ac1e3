/* SPDX-License-Identifier: Apache-2.0
 *
 * A region is first made simple - ascending in the file, the widest stride
 * outermost, neighbours joined - then cut into units of about equal work, which are
 * read run by run.
 */
#include "record_gather.h"

#include "crc.h"
#include "memory.h"
#include "record_plan.h"

/* Runs that lie closer together than this are read with one call. */
#define WORTH_READING UINT64_C(4096)
#define WINDOW ((size_t)64 << 10)

typedef struct {
    uint64_t size;
    int64_t stride, step;
} dimension;

typedef struct {
    const ptio_source *source;
    const ptio_read_options *options;
    uint64_t data;  /* where the record's payload is in the source */
    uint64_t first; /* byte of the record with the first element */
    uint64_t run;   /* bytes that lie together, in the record and in memory */
    uint64_t end;   /* byte of the record behind the last element */
    size_t ndim;
    dimension dims[PTIO_MAX_DIMS];
    uint8_t *out;       /* where the first element goes */
    uint64_t unit;      /* steps of the outermost dimension, or bytes of a single run, that go together */
    uint64_t unit_size; /* bytes of elements in that */
    uint64_t total;     /* bytes of elements in all */
    uint32_t *crcs;     /* of the units of a whole record; NULL: they are not wanted */
} gathering;

/* --- simplifying ---------------------------------------------------------------------------- */

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
            g->out += (int64_t)(d.size - 1) * d.step;
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

/* --- reading -------------------------------------------------------------------------------- */

/* What was read last, for runs that are shorter. */
typedef struct {
    uint64_t begin;
    size_t size; /* 0: nothing yet */
    uint8_t bytes[WINDOW];
} window;

/* What to read from `at` on: further runs too, where little lies between them. */
static size_t window_from(const gathering *g, uint64_t at) {
    uint64_t stride = g->ndim == 0 ? 0 : (uint64_t)g->dims[g->ndim - 1].stride;
    if (stride > g->run + WORTH_READING) return (size_t)g->run;
    return (size_t)ptio_min_u64(WINDOW, g->end - at);
}

static ptio_status copy_run(const gathering *g, window *w, uint64_t at, uint8_t *out, ptio_error *err) {
    if (g->run >= WINDOW) return ptio_source_read(g->source, g->data + at, out, (size_t)g->run, err);
    bool covered = at >= w->begin && at - w->begin <= w->size && g->run <= w->size - (size_t)(at - w->begin);
    if (!covered) {
        w->size = 0;
        size_t size = window_from(g, at);
        PTIO_TRY(ptio_source_read(g->source, g->data + at, w->bytes, size, err));
        w->begin = at;
        w->size = size;
    }
    memcpy(out, w->bytes + (at - w->begin), (size_t)g->run);
    return PTIO_OK;
}

/* Steps [begin, begin + count) of the outermost dimension. Counts through the inner ones
 * as an odometer does. */
static ptio_status copy_steps(const gathering *g, uint64_t begin, uint64_t count, ptio_error *err) {
    window w;
    uint64_t counts[PTIO_MAX_DIMS] = {0}, at = g->first + begin * (uint64_t)g->dims[0].stride;
    int64_t to = (int64_t)begin * g->dims[0].step; /* from g->out on */
    w.begin = w.size = 0;                          /* its bytes need no value */
    for (;;) {
        PTIO_TRY(copy_run(g, &w, at, g->out + to, err));
        size_t i = g->ndim;
        for (; i > 0; i--) {
            const dimension *d = &g->dims[i - 1];
            uint64_t size = i == 1 ? count : d->size;
            at += (uint64_t)d->stride;
            to += d->step;
            if (++counts[i - 1] < size) break;
            at -= size * (uint64_t)d->stride;
            to -= (int64_t)size * d->step;
            counts[i - 1] = 0;
        }
        if (i == 0) return PTIO_OK;
    }
}

/* Bytes [begin, begin + size) of the only run, checked while they are in the cache. */
static ptio_status copy_bytes(const gathering *g, uint64_t begin, uint64_t size, uint32_t *crc,
                              ptio_error *err) {
    uint32_t sum = 0;
    for (uint64_t at = 0; at < size; at += PTIO_PIECE) {
        size_t n = (size_t)ptio_min_u64(PTIO_PIECE, size - at);
        uint8_t *out = g->out + begin + at;
        PTIO_TRY(ptio_source_read(g->source, g->data + g->first + begin + at, out, n, err));
        if (crc != NULL) sum = ptio_crc32(sum, out, n);
    }
    if (crc != NULL) *crc = sum;
    return PTIO_OK;
}

/* --- units ---------------------------------------------------------------------------------- */

static uint64_t outermost(const gathering *g) { return g->ndim == 0 ? g->run : g->dims[0].size; }

static ptio_status copy_unit(void *context, size_t number, unsigned worker, uint64_t *done, ptio_error *err) {
    const gathering *g = context;
    uint64_t begin = number * g->unit, count = ptio_min_u64(g->unit, outermost(g) - begin);
    (void)worker;
    *done = count * (g->unit_size / g->unit);
    if (g->ndim > 0) return copy_steps(g, begin, count, err);
    return copy_bytes(g, begin, count, g->crcs == NULL ? NULL : &g->crcs[number], err);
}

static ptio_status tick(void *context, uint64_t done, ptio_error *err) {
    const gathering *g = context;
    if (g->options->tick == NULL) return PTIO_OK;
    return g->options->tick(g->options->tick_context, done, g->total, err);
}

static uint64_t saturated(uint64_t a, uint64_t b) {
    uint64_t product;
    return ptio_mul_u64(a, b, &product) ? product : UINT64_MAX;
}

static size_t cut(gathering *g) {
    uint64_t step = g->ndim == 0 ? 1 : g->run; /* bytes of elements in a step of the outermost dimension */
    for (size_t i = 1; i < g->ndim; i++) step = saturated(step, g->dims[i].size);
    g->unit = step < PTIO_CHUNK ? PTIO_CHUNK / step : 1;
    g->unit_size = saturated(g->unit, step);
    g->total = saturated(outermost(g), step);
    return (size_t)((outermost(g) - 1) / g->unit + 1);
}

static ptio_status check_crcs(const gathering *g, const ptio_zip_index *index, uint32_t record, size_t units,
                              ptio_error *err) {
    uint32_t crc = 0;
    for (size_t i = 0; i < units; i++)
        crc = ptio_crc32_join(crc, g->crcs[i], ptio_min_u64(g->unit, g->run - i * g->unit));
    return ptio_record_check_crc(index, record, crc, err);
}

ptio_status ptio_record_gather(const ptio_source *source, ptio_zip_index *index, uint32_t record,
                               const ptio_region *region, const ptio_read_options *options, uint8_t *out,
                               ptio_error *err) {
    gathering g = {.source = source, .options = options, .out = out};
    PTIO_TRY(ptio_zip_prove(source, index, record, err));
    const ptio_record *entry = &index->records[record];
    for (size_t i = 0; i < region->ndim; i++)
        if (region->sizes[i] == 0) return PTIO_OK;
    PTIO_TRY(straighten(&g, region, entry->usize, err));
    g.data = entry->data;
    order(&g);
    join(&g);
    size_t units = cut(&g);
    if (g.ndim == 0 && g.run == entry->usize && !options->never_verify) {
        g.crcs = ptio_alloc(units, sizeof *g.crcs);
        if (g.crcs == NULL) return ptio_no_memory(err);
    }
    ptio_work work = {.run = copy_unit,
                      .context = &g,
                      .unit_count = units,
                      .threads = ptio_plan_threads(source, options->threads, g.total),
                      .tick = tick,
                      .tick_context = &g};
    ptio_status status = ptio_parallel(&work, err);
    if (status == PTIO_OK && g.crcs != NULL) status = check_crcs(&g, index, record, units, err);
    ptio_free(g.crcs);
    return status;
}
