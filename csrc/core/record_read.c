/* SPDX-License-Identifier: Apache-2.0
 *
 * Brings the payloads of records into memory: views of the mapping, slabs that small
 * neighbours share, blocks that several threads fill, and inflated copies.
 */
#include "record_read.h"

#include "crc.h"
#include "memory.h"
#include "pages.h"
#include "record_plan.h"
#include "zip_inflate.h"

enum { SLAB_ALIGNMENT = 64, PROVE_BATCH = 64 };

/* What proving one record costs, as bytes that could be read instead. */
enum { PROVE_IN_PLACE = 64, PROVE_BY_READING = 32 << 10 };

typedef unsigned long long ull;

typedef struct {
    const ptio_source *source;
    ptio_zip_index *index;
    ptio_wanted *wanted;
    size_t count;
    const ptio_read_options *options;
    ptio_read_plan plan;
    uint64_t done, total; /* bytes, for the ticks */
} reader;

/* Where the archive holds no CRC, computing one would be for nothing. */
static bool checks_copy(const reader *r, uint32_t record) {
    return !r->options->never_verify && r->index->records[record].crc != 0;
}

static ptio_status tick(void *context, uint64_t done_bytes, ptio_error *err) {
    reader *r = context;
    if (r->options->tick == NULL) return PTIO_OK;
    return r->options->tick(r->options->tick_context, r->done + done_bytes, r->total, err);
}

/* --- proving -------------------------------------------------------------- */

static bool needs_proof_now(const reader *r, uint32_t record) {
    return r->source->mapping != NULL || ptio_plan_is_large(r->index, record, PTIO_SLAB);
}

static ptio_status prove_batch(void *context, size_t unit, unsigned worker, uint64_t *done_bytes,
                               ptio_error *err) {
    (void)worker;
    reader *r = context;
    ptio_zip_window window;
    window.offset = window.size = 0;
    *done_bytes = 0;
    size_t end = (size_t)ptio_min_u64((unit + 1) * PROVE_BATCH, r->plan.item_count);
    for (size_t i = unit * PROVE_BATCH; i < end; i++)
        if (needs_proof_now(r, r->plan.items[i].record))
            PTIO_TRY(ptio_zip_prove_next(r->source, r->index, r->plan.items[i].record, &window, err));
    return PTIO_OK;
}

/* Before a plan is made: a view needs to know where its data is, and so do chunks. The
 * small ones of a file that is read are proven from the slab they come in. */
static ptio_status prove_early(reader *r, ptio_error *err) {
    uint64_t cost = r->source->mapping != NULL ? PROVE_IN_PLACE : PROVE_BY_READING, reads = 0;
    for (uint32_t i = 0; i < r->plan.item_count; i++) reads += needs_proof_now(r, r->plan.items[i].record);
    ptio_work work = {.run = prove_batch,
                      .context = r,
                      .unit_count = (r->plan.item_count + PROVE_BATCH - 1) / PROVE_BATCH,
                      .threads = ptio_plan_threads(r->source, r->options->threads, reads * cost)};
    return ptio_parallel(&work, err);
}

/* --- units ---------------------------------------------------------------- */

/* A record in a block of its own, copied from `payload` or, without that, read. */
static ptio_status give_own_block(const reader *r, ptio_wanted *wanted, const uint8_t *payload,
                                  ptio_error *err) {
    const ptio_record *record = &r->index->records[wanted->record];
    ptio_block *block = NULL;
    ptio_status status = ptio_block_new((size_t)record->usize, &block, err);
    if (status == PTIO_OK && payload != NULL)
        memcpy(ptio_block_bytes(block), payload, (size_t)record->usize);
    else if (status == PTIO_OK)
        status =
            ptio_source_read(r->source, record->data, ptio_block_bytes(block), (size_t)record->usize, err);
    if (status == PTIO_OK && payload == NULL && checks_copy(r, wanted->record))
        status = ptio_record_check_crc(r->index, wanted->record,
                                       ptio_crc32(0, ptio_block_bytes(block), (size_t)record->usize), err);
    if (status != PTIO_OK) {
        ptio_block_unref(block);
        return status;
    }
    wanted->block = block;
    wanted->bytes = ptio_block_bytes(block);
    return PTIO_OK;
}

/* One record of a slab, whose byte 0 is byte `begin` of the file. */
static ptio_status take_from_slab(const reader *r, ptio_block *slab, uint8_t *bytes,
                                  const ptio_plan_unit *unit, ptio_wanted *wanted, ptio_error *err) {
    const ptio_record *record = &r->index->records[wanted->record];
    bool covered = false;
    PTIO_TRY(ptio_zip_prove_in(r->index, wanted->record, bytes, unit->begin, unit->length, &covered, err));
    if (!covered) PTIO_TRY(ptio_zip_prove(r->source, r->index, wanted->record, err));
    if (record->usize == 0) {
        if (r->options->never_verify) return PTIO_OK;
        return ptio_record_check_crc(r->index, wanted->record, 0, err);
    }
    if (!covered) return give_own_block(r, wanted, NULL, err);
    uint8_t *payload = bytes + (record->data - unit->begin);
    if (checks_copy(r, wanted->record))
        PTIO_TRY(ptio_record_check_crc(r->index, wanted->record,
                                       ptio_crc32(0, payload, (size_t)record->usize), err));
    if ((uintptr_t)payload % wanted->alignment != 0) return give_own_block(r, wanted, payload, err);
    wanted->block = ptio_block_ref(slab);
    wanted->bytes = payload;
    return PTIO_OK;
}

/* Payloads lie in the slab as they lie in the file modulo 64: aligned where the writer
 * took care of that. */
static ptio_status copy_run(const reader *r, const ptio_plan_unit *unit, ptio_error *err) {
    size_t shift = (size_t)(unit->begin % SLAB_ALIGNMENT);
    ptio_block *slab = NULL;
    PTIO_TRY(ptio_block_new(shift + (size_t)unit->length, &slab, err));
    uint8_t *bytes = ptio_block_bytes(slab) + shift;
    ptio_status status = ptio_source_read(r->source, unit->begin, bytes, (size_t)unit->length, err);
    for (uint32_t i = 0; i < unit->count && status == PTIO_OK; i++)
        status = take_from_slab(r, slab, bytes, unit, &r->wanted[r->plan.items[unit->first + i].target], err);
    ptio_block_unref(slab);
    return status;
}

static ptio_status check_run(const reader *r, const ptio_plan_unit *unit, ptio_error *err) {
    for (uint32_t i = 0; i < unit->count; i++) {
        const ptio_wanted *wanted = &r->wanted[r->plan.items[unit->first + i].target];
        size_t size = (size_t)r->index->records[wanted->record].usize;
        PTIO_TRY(ptio_record_check_crc(r->index, wanted->record, ptio_crc32(0, wanted->bytes, size), err));
    }
    return PTIO_OK;
}

static ptio_status read_chunk(const reader *r, ptio_plan_unit *unit, ptio_error *err) {
    const ptio_plan_item *item = &r->plan.items[unit->first];
    uint64_t data = r->index->records[item->record].data + unit->begin;
    uint8_t *out = r->wanted[item->target].bytes + unit->begin;
    bool check = item->in_place || checks_copy(r, item->record);
    uint32_t crc = 0;
    for (uint64_t at = 0; at < unit->length; at += PTIO_PIECE) {
        size_t n = (size_t)ptio_min_u64(PTIO_PIECE, unit->length - at);
        if (!item->in_place) PTIO_TRY(ptio_source_read(r->source, data + at, out + at, n, err));
        if (check) crc = ptio_crc32(crc, out + at, n);
    }
    unit->crc = crc;
    return PTIO_OK;
}

static ptio_status run_unit(void *context, size_t number, unsigned worker, uint64_t *done_bytes,
                            ptio_error *err) {
    (void)worker;
    reader *r = context;
    ptio_plan_unit *unit = &r->plan.units[number];
    *done_bytes = unit->payload;
    if (unit->chunk) return read_chunk(r, unit, err);
    return r->plan.items[unit->first].in_place ? check_run(r, unit, err) : copy_run(r, unit, err);
}

static ptio_status check_chunked(const reader *r, ptio_error *err) {
    for (size_t i = 0; i < r->plan.unit_count;) {
        if (!r->plan.units[i].chunk) {
            i++;
            continue;
        }
        const ptio_plan_item *item = &r->plan.items[r->plan.units[i].first];
        uint32_t crc = ptio_plan_join(&r->plan, &i);
        if (item->in_place || checks_copy(r, item->record))
            PTIO_TRY(ptio_record_check_crc(r->index, item->record, crc, err));
    }
    return PTIO_OK;
}

/* --- the whole ------------------------------------------------------------ */

static bool may_view(const reader *r, const ptio_wanted *wanted) {
    if (r->source->mapping == NULL || r->options->private_copy || wanted->needs_private) return false;
    return (uintptr_t)(r->source->bytes + r->index->records[wanted->record].data) % wanted->alignment == 0;
}

/* One item for each stored record; what may not be inflated fails before any memory
 * for payloads is taken. */
static ptio_status list_stored(reader *r, const ptio_limits *limits, ptio_error *err) {
    r->plan.items = ptio_alloc(r->count, sizeof *r->plan.items);
    if (r->plan.items == NULL) return ptio_no_memory(err);
    for (size_t i = 0; i < r->count; i++) {
        const ptio_record *record = &r->index->records[r->wanted[i].record];
        if (!ptio_add_u64(r->total, record->usize, &r->total)) r->total = UINT64_MAX;
        if (record->usize > PTRDIFF_MAX) return ptio_no_memory(err);
        if (record->method != PTIO_ZIP_STORED)
            PTIO_TRY(ptio_inflate_allowed(r->index, r->source->size, limits, r->wanted[i].record, err));
        else
            r->plan.items[r->plan.item_count++] =
                (ptio_plan_item){.record = r->wanted[i].record, .target = (uint32_t)i};
    }
    return ptio_plan_sort(r->index, r->plan.items, r->plan.item_count, err);
}

/* Gives out views, and keeps only the items that are still to be read or checked; large
 * ones of those get their blocks. */
static ptio_status give_views_and_blocks(reader *r, ptio_error *err) {
    bool check_views = r->options->verify_mapped && !r->options->never_verify;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < r->plan.item_count; i++) {
        ptio_plan_item item = r->plan.items[i];
        ptio_wanted *wanted = &r->wanted[item.target];
        const ptio_record *record = &r->index->records[item.record];
        if (record->usize > 0 && may_view(r, wanted)) {
            wanted->block = ptio_block_ref(r->source->mapping);
            wanted->bytes = ptio_block_bytes(r->source->mapping) + r->source->fd_base + record->data;
            item.in_place = true;
            if (!check_views) {
                r->done += record->usize;
                continue;
            }
        } else if (ptio_plan_is_large(r->index, item.record, PTIO_SLAB)) {
            PTIO_TRY(ptio_block_new((size_t)record->usize, &wanted->block, err));
            wanted->bytes = ptio_block_bytes(wanted->block);
        }
        r->plan.items[kept++] = item;
    }
    r->plan.item_count = kept;
    return PTIO_OK;
}

static ptio_status read_stored(reader *r, ptio_error *err) {
    PTIO_TRY(prove_early(r, err));
    PTIO_TRY(give_views_and_blocks(r, err));
    PTIO_TRY(ptio_plan_make(r->index, PTIO_SLAB, &r->plan, err));
    ptio_work work = {.run = run_unit,
                      .context = r,
                      .unit_count = r->plan.unit_count,
                      .threads = ptio_plan_threads(r->source, r->options->threads, r->plan.payload),
                      .tick = tick,
                      .tick_context = r};
    PTIO_TRY(ptio_parallel(&work, err));
    r->done += r->plan.payload;
    return check_chunked(r, err);
}

static ptio_status inflate_one(reader *r, ptio_inflater *inflater, ptio_wanted *wanted, ptio_error *err) {
    uint64_t size = r->index->records[wanted->record].usize;
    PTIO_TRY(ptio_zip_prove(r->source, r->index, wanted->record, err));
    if (size > 0) PTIO_TRY(ptio_block_new((size_t)size, &wanted->block, err));
    if (size > 0) wanted->bytes = ptio_block_bytes(wanted->block);
    PTIO_TRY(ptio_inflate(inflater, wanted->record, wanted->bytes, err));
    r->done += size;
    return tick(r, 0, err);
}

static ptio_status read_compressed(reader *r, ptio_error *err) {
    ptio_inflater *inflater = NULL;
    ptio_status status = PTIO_OK;
    for (size_t i = 0; i < r->count && status == PTIO_OK; i++) {
        if (r->index->records[r->wanted[i].record].method == PTIO_ZIP_STORED) continue;
        if (inflater == NULL) status = ptio_inflater_new(r->source, r->index, &inflater, err);
        if (status == PTIO_OK) status = inflate_one(r, inflater, &r->wanted[i], err);
    }
    ptio_inflater_free(inflater);
    return status;
}

ptio_status ptio_records_read(const ptio_source *source, ptio_zip_index *index, ptio_wanted *wanted,
                              size_t count, const ptio_limits *limits, const ptio_read_options *options,
                              ptio_error *err) {
    reader r = {.source = source, .index = index, .wanted = wanted, .count = count, .options = options};
    for (size_t i = 0; i < count; i++) {
        wanted[i].block = NULL;
        wanted[i].bytes = NULL;
    }
    ptio_status status = list_stored(&r, limits, err);
    if (status == PTIO_OK) status = read_stored(&r, err);
    if (status == PTIO_OK) status = read_compressed(&r, err);
    ptio_plan_free(&r.plan);
    if (status == PTIO_OK) return PTIO_OK;
    for (size_t i = 0; i < count; i++) {
        ptio_block_unref(wanted[i].block);
        wanted[i].block = NULL;
        wanted[i].bytes = NULL;
    }
    return status;
}

static ptio_status slurp_into(const ptio_source *source, const ptio_zip_index *index, uint32_t record,
                              uint8_t *out, ptio_error *err) {
    const ptio_record *entry = &index->records[record];
    if (entry->method == PTIO_ZIP_STORED) {
        PTIO_TRY(ptio_source_read(source, entry->data, out, (size_t)entry->usize, err));
        return ptio_record_check_crc(index, record, ptio_crc32(0, out, (size_t)entry->usize), err);
    }
    ptio_inflater *inflater = NULL;
    PTIO_TRY(ptio_inflater_new(source, index, &inflater, err));
    ptio_status status = ptio_inflate(inflater, record, out, err);
    ptio_inflater_free(inflater);
    return status;
}

ptio_status ptio_record_slurp(const ptio_source *source, ptio_zip_index *index, uint32_t record,
                              uint64_t max_bytes, const ptio_limits *limits, ptio_block **out,
                              ptio_error *err) {
    const ptio_record *entry = &index->records[record];
    PTIO_TRY(ptio_zip_prove(source, index, record, err));
    if (entry->usize > max_bytes && ptio_check_is_on("Z10.size")) {
        ptio_status status =
            ptio_fail(err, PTIO_E_LIMIT, "Z10.size", entry->data,
                      "the member has %llu bytes, at most %llu are read", (ull)entry->usize, (ull)max_bytes);
        ptio_zip_name_error(index, record, err);
        return status;
    }
    if (entry->method != PTIO_ZIP_STORED)
        PTIO_TRY(ptio_inflate_allowed(index, source->size, limits, record, err));
    ptio_block *block = NULL;
    if (entry->usize > PTRDIFF_MAX) return ptio_no_memory(err);
    PTIO_TRY(ptio_block_new(ptio_huge_room((size_t)entry->usize), &block, err));
    ptio_status status = slurp_into(source, index, record, ptio_block_bytes(block), err);
    if (status != PTIO_OK) {
        ptio_block_unref(block);
        return status;
    }
    *out = block;
    return PTIO_OK;
}
