/* SPDX-License-Identifier: Apache-2.0
 *
 * Proves and checks every record of an archive and keeps none of it. A bad record is
 * a verdict, not a failure; only lack of memory and a cancelled tick end the work.
 */
#include "crc.h"
#include "memory.h"
#include "record_plan.h"
#include "zip_inflate.h"

/* Read and checked at once where the bytes are not in memory. Larger than a piece of a
 * copy: nothing else wants the cache here, and there are fewer calls. */
#define BUFFER ((size_t)1 << 20)

typedef struct {
    const ptio_source *source;
    ptio_zip_index *index;
    const ptio_read_options *options;
    ptio_read_plan plan;
    ptio_record_verdict *verdicts;
    uint8_t *buffers; /* BUFFER bytes for each worker */
    uint64_t done, total;
} verifier;

static ptio_status tick(void *context, uint64_t done_bytes, ptio_error *err) {
    verifier *v = context;
    if (v->options->tick == NULL) return PTIO_OK;
    return v->options->tick(v->options->tick_context, v->done + done_bytes, v->total, err);
}

/* Turns what happened to a record into its verdict, unless it ends the work. */
static ptio_status judge(verifier *v, uint32_t record, ptio_status status, ptio_error *err) {
    if (status == PTIO_OK) return PTIO_OK;
    if (status == PTIO_E_NO_MEMORY || status == PTIO_E_CANCELLED) return status;
    if (err->record[0] == '\0') ptio_zip_name_error(v->index, record, err);
    ptio_error *kept = ptio_alloc(1, sizeof *kept);
    if (kept == NULL) return ptio_no_memory(err);
    *kept = *err;
    ptio_free(v->verdicts[record].error);
    v->verdicts[record].error = kept;
    return PTIO_OK;
}

/* n <= BUFFER bytes of the file; in place where they are in memory or mapped, which beats
 * reading by a quarter. */
static ptio_status fetch(const verifier *v, uint64_t offset, size_t n, uint8_t *buffer, const uint8_t **out,
                         ptio_error *err) {
    if (v->source->bytes != NULL) {
        *out = v->source->bytes + offset;
        return PTIO_OK;
    }
    *out = buffer;
    return ptio_source_read(v->source, offset, buffer, n, err);
}

static ptio_status crc_of_range(const verifier *v, uint64_t offset, uint64_t n, uint8_t *buffer,
                                uint32_t *crc, ptio_error *err) {
    uint32_t sum = 0;
    for (uint64_t at = 0; at < n; at += BUFFER) {
        size_t size = (size_t)ptio_min_u64(BUFFER, n - at);
        const uint8_t *bytes = NULL;
        PTIO_TRY(fetch(v, offset + at, size, buffer, &bytes, err));
        sum = ptio_crc32(sum, bytes, size);
    }
    *crc = sum;
    return PTIO_OK;
}

static ptio_status check_alone(const verifier *v, uint32_t record, uint8_t *buffer, ptio_error *err) {
    const ptio_record *entry = &v->index->records[record];
    uint32_t crc = 0;
    PTIO_TRY(ptio_zip_prove(v->source, v->index, record, err));
    PTIO_TRY(crc_of_range(v, entry->data, entry->csize, buffer, &crc, err));
    return ptio_record_check_crc(v->index, record, crc, err);
}

/* One record of a run whose bytes were fetched. */
static ptio_status check_in_run(const verifier *v, uint32_t record, const uint8_t *bytes,
                                const ptio_plan_unit *unit, bool *covered, ptio_error *err) {
    const ptio_record *entry = &v->index->records[record];
    PTIO_TRY(ptio_zip_prove_in(v->index, record, bytes, unit->begin, unit->length, covered, err));
    if (!*covered) return PTIO_OK;
    uint32_t crc = ptio_crc32(0, bytes + (entry->data - unit->begin), (size_t)entry->csize);
    return ptio_record_check_crc(v->index, record, crc, err);
}

/* Records that reach out of what was fetched, or could not be fetched together, are read
 * one by one afterwards: the buffer is free then. */
static ptio_status check_run(verifier *v, const ptio_plan_unit *unit, uint8_t *buffer, ptio_error *err) {
    const uint8_t *bytes = NULL;
    uint32_t uncovered = 0;
    ptio_status fetched = fetch(v, unit->begin, (size_t)unit->length, buffer, &bytes, err);
    if (fetched == PTIO_E_CANCELLED) return fetched;
    for (uint32_t i = 0; i < unit->count; i++) {
        uint32_t record = v->plan.items[unit->first + i].record;
        bool covered = false;
        ptio_status status =
            fetched == PTIO_OK ? check_in_run(v, record, bytes, unit, &covered, err) : PTIO_OK;
        PTIO_TRY(judge(v, record, status, err));
        if (status == PTIO_OK && !covered) v->plan.items[unit->first + uncovered++].record = record;
    }
    for (uint32_t i = 0; i < uncovered; i++) {
        uint32_t record = v->plan.items[unit->first + i].record;
        PTIO_TRY(judge(v, record, check_alone(v, record, buffer, err), err));
    }
    return PTIO_OK;
}

static ptio_status run_unit(void *context, size_t number, unsigned worker, uint64_t *done_bytes,
                            ptio_error *err) {
    verifier *v = context;
    ptio_plan_unit *unit = &v->plan.units[number];
    uint8_t *buffer = v->source->bytes == NULL ? v->buffers + worker * BUFFER : NULL;
    *done_bytes = unit->payload;
    if (!unit->chunk) return check_run(v, unit, buffer, err);
    uint64_t data = v->index->records[v->plan.items[unit->first].record].data + unit->begin;
    ptio_status status = crc_of_range(v, data, unit->length, buffer, &unit->crc, err);
    unit->failed = status != PTIO_OK;
    return status == PTIO_E_CANCELLED ? status : PTIO_OK;
}

/* A chunk that could not be read may be one of several: reading the record again from
 * its beginning tells the same first error every time. */
static ptio_status check_chunked(verifier *v, ptio_error *err) {
    for (size_t i = 0; i < v->plan.unit_count;) {
        size_t begin = i;
        if (!v->plan.units[i].chunk) {
            i++;
            continue;
        }
        uint32_t record = v->plan.items[v->plan.units[i].first].record;
        uint32_t crc = ptio_plan_join(&v->plan, &i);
        bool failed = false;
        for (; begin < i; begin++) failed = failed || v->plan.units[begin].failed;
        ptio_status status = failed ? check_alone(v, record, v->buffers, err)
                                    : ptio_record_check_crc(v->index, record, crc, err);
        PTIO_TRY(judge(v, record, status, err));
    }
    return PTIO_OK;
}

/* All stored records in file order, but for the large ones that cannot be proven. */
static ptio_status list_stored(verifier *v, ptio_error *err) {
    uint32_t kept = 0, count = 0;
    v->plan.items = ptio_alloc(v->index->count, sizeof *v->plan.items);
    if (v->plan.items == NULL) return ptio_no_memory(err);
    for (uint32_t i = 0; i < v->index->count; i++) {
        const ptio_record *record = &v->index->records[i];
        if (!ptio_add_u64(v->total, record->usize, &v->total)) v->total = UINT64_MAX;
        v->verdicts[i].record = i;
        v->verdicts[i].not_computed = record->crc == 0 && record->usize > 0;
        if (record->method == PTIO_ZIP_STORED) v->plan.items[count++].record = i;
    }
    PTIO_TRY(ptio_plan_sort(v->index, v->plan.items, count, err));
    for (uint32_t i = 0; i < count; i++) {
        uint32_t record = v->plan.items[i].record;
        ptio_status status = PTIO_OK;
        if (ptio_plan_is_large(v->index, record, BUFFER))
            status = ptio_zip_prove(v->source, v->index, record, err);
        PTIO_TRY(judge(v, record, status, err));
        if (status == PTIO_OK) v->plan.items[kept++] = (ptio_plan_item){.record = record};
    }
    v->plan.item_count = kept;
    return PTIO_OK;
}

static ptio_status verify_stored(verifier *v, ptio_error *err) {
    PTIO_TRY(list_stored(v, err));
    PTIO_TRY(ptio_plan_make(v->index, BUFFER, &v->plan, err));
    unsigned threads = ptio_plan_threads(v->source, v->options->threads, v->plan.payload);
    unsigned width = ptio_parallel_width(v->plan.unit_count, threads);
    v->buffers = ptio_alloc(width, v->source->bytes == NULL ? BUFFER : 0);
    if (v->buffers == NULL) return ptio_no_memory(err);
    ptio_work work = {.run = run_unit,
                      .context = v,
                      .unit_count = v->plan.unit_count,
                      .threads = width,
                      .tick = tick,
                      .tick_context = v};
    PTIO_TRY(ptio_parallel(&work, err));
    v->done += v->plan.payload;
    return check_chunked(v, err);
}

static ptio_status verify_compressed(verifier *v, const ptio_limits *limits, ptio_error *err) {
    ptio_inflater *inflater = NULL;
    ptio_status status = PTIO_OK;
    for (uint32_t i = 0; i < v->index->count && status == PTIO_OK; i++) {
        if (v->index->records[i].method == PTIO_ZIP_STORED) continue;
        if (inflater == NULL) status = ptio_inflater_new(v->source, v->index, &inflater, err);
        if (status != PTIO_OK) break;
        status = ptio_inflate_allowed(v->index, v->source->size, limits, i, err);
        if (status == PTIO_OK) status = ptio_zip_prove(v->source, v->index, i, err);
        if (status == PTIO_OK) status = ptio_inflate(inflater, i, NULL, err);
        status = judge(v, i, status, err);
        v->done += v->index->records[i].usize;
        if (status == PTIO_OK) status = tick(v, 0, err);
    }
    ptio_inflater_free(inflater);
    return status;
}

ptio_status ptio_records_verify(const ptio_source *source, ptio_zip_index *index, const ptio_limits *limits,
                                const ptio_read_options *options, ptio_record_verdict **verdicts,
                                ptio_error *err) {
    verifier v = {.source = source, .index = index, .options = options};
    ptio_status status = PTIO_OK;
    v.verdicts = ptio_alloc_zeroed(index->count, sizeof *v.verdicts);
    if (v.verdicts == NULL) return ptio_no_memory(err);
    status = verify_stored(&v, err);
    if (status == PTIO_OK) status = verify_compressed(&v, limits, err);
    ptio_plan_free(&v.plan);
    ptio_free(v.buffers);
    if (status != PTIO_OK) {
        ptio_verdicts_free(v.verdicts, index->count);
        return status;
    }
    *verdicts = v.verdicts;
    return PTIO_OK;
}

void ptio_verdicts_free(ptio_record_verdict *verdicts, uint32_t count) {
    for (uint32_t i = 0; verdicts != NULL && i < count; i++) ptio_free(verdicts[i].error);
    ptio_free(verdicts);
}
