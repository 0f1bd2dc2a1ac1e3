/* SPDX-License-Identifier: Apache-2.0
 *
 * Cuts payloads into units for several threads where the sink takes bytes at any
 * offset, and goes through them in order where it does not.
 *
 *   file:    runs of small records, chunks of large ones; then the descriptors of
 *            the large ones, whose CRCs have been joined by then
 *   stream:  record by record; the CRC of a window by several threads, then the window
 */
#include "record_write.h"

#include "crc.h"
#include "memory.h"
#include "parallel.h"
#include "zip_write.h"

#define LARGE (UINT64_C(1) << 20)        /* payloads above this are cut into chunks */
#define CHUNK (UINT64_C(4) << 20)        /* of a payload: what one thread does at a time */
#define PIECE ((size_t)512 << 10)        /* checked and written at once: stays in the cache */
#define RUN (UINT64_C(1) << 20)          /* of small records: what one thread does at a time */
#define STREAM_CHUNK (UINT64_C(1) << 20) /* the same, of what goes into a stream ... */
#define WINDOW (UINT64_C(16) << 20)      /* ... in writes of this size */
#define TICK (UINT64_C(1) << 20)

/* Starting a thread costs as much as writing this much. */
#define BYTES_PER_THREAD (UINT64_C(2) << 20)

/* File systems let one thread at a time write to a file: more only help with CRCs. */
enum { MOST_AUTOMATIC_THREADS = 4 };

typedef struct {
    uint32_t first;       /* a chunk: its record; a run: records [first, first + count) */
    uint32_t count;       /* 0 for a chunk */
    uint32_t crc;         /* of a chunk, once it is written */
    const uint8_t *bytes; /* of a chunk */
    uint64_t offset;      /* of a chunk, in the file */
    uint64_t length;      /* bytes of payload */
} write_unit;

typedef struct {
    ptio_record_writer *writer;
    uint32_t first;
    const void *const *payloads; /* of record first and those behind it */
    write_unit *units;
    size_t unit_count, unit_capacity;
    uint64_t length;  /* of all units */
    uint8_t *scratch; /* PTIO_GATHER bytes for each worker but the calling thread, which has its own */
} write_plan;

/* Once for each state of the work: parts of it end together. */
static ptio_status tick(void *context, uint64_t done_bytes, ptio_error *err) {
    ptio_record_writer *writer = context;
    const ptio_write_options *options = &writer->options;
    uint64_t done = writer->done + done_bytes;
    if (options->tick == NULL || (done == writer->told_done && writer->total == writer->told_total))
        return PTIO_OK;
    writer->told_done = done;
    writer->told_total = writer->total;
    return options->tick(options->tick_context, done, writer->total, err);
}

static unsigned thread_count(const ptio_record_writer *writer, uint64_t bytes) {
    if (bytes < 2 * BYTES_PER_THREAD) return 1;
    unsigned most = writer->options.threads;
    if (most == 0) {
        most = ptio_cpu_count();
        if (most > MOST_AUTOMATIC_THREADS) most = MOST_AUTOMATIC_THREADS;
    }
    return (unsigned)ptio_min_u64(most, bytes / BYTES_PER_THREAD);
}

/* --- units ---------------------------------------------------------------- */

static ptio_status put_header(const ptio_zip_layout *layout, const ptio_zip_entry *entry, ptio_gather *gather,
                              ptio_error *err) {
    uint8_t *room = NULL;
    PTIO_TRY(ptio_gather_room(gather, entry->local, &room, err));
    ptio_zip_put_local(layout, entry, room);
    return PTIO_OK;
}

static ptio_status put_descriptor(const ptio_zip_entry *entry, ptio_gather *gather, ptio_error *err) {
    uint8_t *room = NULL;
    PTIO_TRY(ptio_gather_room(gather, ptio_zip_descriptor_size(entry), &room, err));
    ptio_zip_put_descriptor(entry, room);
    return PTIO_OK;
}

static ptio_status write_small(const ptio_record_writer *writer, ptio_zip_entry *entry, const void *payload,
                               ptio_gather *gather, ptio_error *err) {
    PTIO_TRY(put_header(writer->layout, entry, gather, err));
    if (entry->size > 0 && !writer->options.no_crc) entry->crc = ptio_crc32(0, payload, (size_t)entry->size);
    PTIO_TRY(ptio_gather_add(gather, payload, (size_t)entry->size, err));
    return put_descriptor(entry, gather, err);
}

static ptio_status write_run(const write_plan *plan, const write_unit *unit, unsigned worker,
                             ptio_error *err) {
    ptio_record_writer *writer = plan->writer;
    ptio_zip_entry *entries = writer->layout->entries;
    ptio_gather gather = {.sink = writer->sink, .offset = entries[unit->first].header};
    gather.bytes = worker == 0 ? writer->gather.bytes : plan->scratch + (worker - 1) * PTIO_GATHER;
    for (uint32_t i = unit->first; i < unit->first + unit->count; i++)
        PTIO_TRY(write_small(writer, &entries[i], plan->payloads[i - plan->first], &gather, err));
    return ptio_gather_flush(&gather, err);
}

static ptio_status write_chunk(const ptio_record_writer *writer, write_unit *unit, ptio_error *err) {
    bool to_file = ptio_sink_is_concurrent(writer->sink);
    uint32_t crc = 0;
    for (uint64_t at = 0; at < unit->length; at += PIECE) {
        size_t n = (size_t)ptio_min_u64(PIECE, unit->length - at);
        if (!writer->options.no_crc) crc = ptio_crc32(crc, unit->bytes + at, n);
        if (to_file) PTIO_TRY(ptio_sink_write(writer->sink, unit->offset + at, unit->bytes + at, n, err));
    }
    unit->crc = crc;
    return PTIO_OK;
}

static ptio_status run_unit(void *context, size_t number, unsigned worker, uint64_t *done_bytes,
                            ptio_error *err) {
    write_plan *plan = context;
    write_unit *unit = &plan->units[number];
    *done_bytes = unit->length;
    return unit->count > 0 ? write_run(plan, unit, worker, err) : write_chunk(plan->writer, unit, err);
}

static ptio_status add_unit(write_plan *plan, write_unit unit, ptio_error *err) {
    void *units = plan->units;
    PTIO_TRY(ptio_grow(&units, &plan->unit_capacity, plan->unit_count + 1, sizeof unit, err));
    plan->units = units;
    plan->units[plan->unit_count++] = unit;
    plan->length += unit.length;
    return PTIO_OK;
}

static ptio_status add_chunks(write_plan *plan, uint32_t record, const uint8_t *bytes, uint64_t offset,
                              uint64_t n, uint64_t chunk, ptio_error *err) {
    for (uint64_t at = 0; at < n; at += chunk)
        PTIO_TRY(add_unit(plan,
                          (write_unit){.first = record,
                                       .bytes = bytes + at,
                                       .offset = offset + at,
                                       .length = ptio_min_u64(chunk, n - at)},
                          err));
    return PTIO_OK;
}

/* Runs all units; the caller frees them. */
static ptio_status run_units(write_plan *plan, ptio_error *err) {
    unsigned threads = thread_count(plan->writer, plan->length);
    unsigned width = ptio_parallel_width(plan->unit_count, threads);
    ptio_work work = {.run = run_unit,
                      .context = plan,
                      .unit_count = plan->unit_count,
                      .threads = threads,
                      .tick = tick,
                      .tick_context = plan->writer};
    plan->scratch = ptio_alloc(width - 1, PTIO_GATHER);
    if (plan->scratch == NULL) return ptio_no_memory(err);
    ptio_status status = ptio_parallel(&work, err);
    ptio_free(plan->scratch);
    if (status == PTIO_OK) plan->writer->done += plan->length;
    return status;
}

static uint32_t join_chunks(const write_plan *plan, size_t first, size_t end, uint32_t crc) {
    for (size_t i = first; i < end; i++)
        crc = ptio_crc32_join(crc, plan->units[i].crc, plan->units[i].length);
    return crc;
}

/* --- into a file ---------------------------------------------------------- */

/* Makes a run of the small records from `first` on; at least one. */
static ptio_status add_run(write_plan *plan, uint32_t *first, uint32_t end, ptio_error *err) {
    const ptio_zip_entry *entries = plan->writer->layout->entries;
    write_unit run = {.first = *first};
    uint32_t i = *first;
    for (; i < end && entries[i].size <= LARGE; i++) {
        if (i > *first && ptio_zip_entry_end(&entries[i]) - entries[*first].header > RUN) break;
        run.length += entries[i].size;
    }
    run.count = i - *first;
    *first = i;
    return add_unit(plan, run, err);
}

static ptio_status plan_units(write_plan *plan, uint32_t count, ptio_error *err) {
    const ptio_zip_entry *entries = plan->writer->layout->entries;
    for (uint32_t i = plan->first; i < plan->first + count;) {
        if (entries[i].size <= LARGE) {
            PTIO_TRY(add_run(plan, &i, plan->first + count, err));
            continue;
        }
        PTIO_TRY(add_chunks(plan, i, plan->payloads[i - plan->first], ptio_zip_payload(&entries[i]),
                            entries[i].size, CHUNK, err));
        i++;
    }
    return PTIO_OK;
}

static ptio_status move_gather(ptio_gather *gather, uint64_t offset, ptio_error *err) {
    if (gather->offset + gather->used == offset) return PTIO_OK;
    PTIO_TRY(ptio_gather_flush(gather, err));
    gather->offset = offset;
    return PTIO_OK;
}

/* Headers and descriptors of large records: where two of those are neighbours, one
 * descriptor and the next header are one write. */
static ptio_status write_edges(write_plan *plan, ptio_error *err) {
    ptio_record_writer *writer = plan->writer;
    for (size_t i = 0; i < plan->unit_count;) {
        size_t begin = i;
        ptio_zip_entry *entry = &writer->layout->entries[plan->units[begin].first];
        if (plan->units[i].count > 0) {
            i++;
            continue;
        }
        while (i < plan->unit_count && plan->units[i].first == plan->units[begin].first) i++;
        entry->crc = join_chunks(plan, begin, i, 0);
        PTIO_TRY(move_gather(&writer->gather, entry->header, err));
        PTIO_TRY(put_header(writer->layout, entry, &writer->gather, err));
        PTIO_TRY(move_gather(&writer->gather, ptio_zip_payload(entry) + entry->size, err));
        PTIO_TRY(put_descriptor(entry, &writer->gather, err));
    }
    return PTIO_OK;
}

static ptio_status write_planned(write_plan *plan, uint32_t count, ptio_error *err) {
    PTIO_TRY(plan_units(plan, count, err));
    PTIO_TRY(run_units(plan, err));
    return write_edges(plan, err);
}

/* Records in memory, into a file. */
static ptio_status write_at_once(ptio_record_writer *writer, uint32_t first, uint32_t count,
                                 const void *const *payloads, ptio_error *err) {
    write_plan plan = {.writer = writer, .first = first, .payloads = payloads};
    PTIO_TRY(ptio_gather_flush(&writer->gather, err)); /* its memory is the calling thread's scratch */
    ptio_status status = write_planned(&plan, count, err);
    ptio_free(plan.units);
    if (status != PTIO_OK) return status;
    return move_gather(&writer->gather, ptio_zip_entry_end(&writer->layout->entries[first + count - 1]), err);
}

/* --- one after another ---------------------------------------------------- */

/* Consecutive bytes of a payload by several threads: into a file, or their CRC only. */
static ptio_status write_chunks(ptio_record_writer *writer, const uint8_t *bytes, uint64_t n, uint64_t chunk,
                                uint32_t *crc, ptio_error *err) {
    write_plan plan = {.writer = writer};
    ptio_status status = add_chunks(&plan, 0, bytes, writer->gather.offset, n, chunk, err);
    if (status == PTIO_OK) status = run_units(&plan, err);
    if (status == PTIO_OK) *crc = join_chunks(&plan, 0, plan.unit_count, *crc);
    ptio_free(plan.units);
    return status;
}

static ptio_status stream_windows(ptio_record_writer *writer, const uint8_t *bytes, uint64_t n, uint32_t *crc,
                                  ptio_error *err) {
    uint64_t window = thread_count(writer, n) > 1 ? WINDOW : STREAM_CHUNK;
    for (uint64_t at = 0, part; at < n; at += part) {
        part = ptio_min_u64(window, n - at);
        if (!writer->options.no_crc)
            PTIO_TRY(write_chunks(writer, bytes + at, part, STREAM_CHUNK, crc, err));
        else
            writer->done += part;
        PTIO_TRY(ptio_gather_add(&writer->gather, bytes + at, (size_t)part, err));
        PTIO_TRY(tick(writer, 0, err));
    }
    return PTIO_OK;
}

static ptio_status write_piece(ptio_record_writer *writer, const uint8_t *bytes, uint64_t n, uint32_t *crc,
                               ptio_error *err) {
    if (n <= LARGE) {
        if (!writer->options.no_crc) *crc = ptio_crc32(*crc, bytes, (size_t)n);
        writer->done += n;
        return ptio_gather_add(&writer->gather, bytes, (size_t)n, err);
    }
    if (!ptio_sink_is_concurrent(writer->sink)) return stream_windows(writer, bytes, n, crc, err);
    PTIO_TRY(ptio_gather_flush(&writer->gather, err));
    PTIO_TRY(write_chunks(writer, bytes, n, CHUNK, crc, err));
    writer->gather.offset += n;
    return PTIO_OK;
}

static ptio_status write_produced(ptio_record_writer *writer, uint32_t record, uint64_t size, uint32_t *crc,
                                  ptio_error *err) {
    const ptio_write_options *options = &writer->options;
    PTIO_CHECK(options->produce != NULL, "W3.payload", err, UNWRITABLE, PTIO_NO_OFFSET,
               "there are no bytes for record %lu", (unsigned long)record);
    for (uint64_t at = 0, n = 0; at < size; at += n) {
        const void *bytes = NULL;
        n = 0;
        PTIO_TRY(options->produce(options->produce_context, record, at, &bytes, &n, err));
        PTIO_CHECK(n > 0 && n <= size - at, "W3.produced", err, UNWRITABLE, PTIO_NO_OFFSET,
                   "record %lu was given %llu bytes at byte %llu of its %llu", (unsigned long)record,
                   (unsigned long long)n, (unsigned long long)at, (unsigned long long)size);
        PTIO_TRY(write_piece(writer, bytes, n, crc, err));
    }
    return PTIO_OK;
}

static ptio_status write_in_turn(ptio_record_writer *writer, uint32_t record, const void *payload,
                                 ptio_error *err) {
    ptio_zip_entry *entry = &writer->layout->entries[record];
    uint32_t crc = 0;
    PTIO_TRY(put_header(writer->layout, entry, &writer->gather, err));
    if (payload != NULL)
        PTIO_TRY(write_piece(writer, payload, entry->size, &crc, err));
    else if (entry->size > 0)
        PTIO_TRY(write_produced(writer, record, entry->size, &crc, err));
    entry->crc = crc;
    PTIO_TRY(put_descriptor(entry, &writer->gather, err));
    if (ptio_zip_entry_end(entry) - writer->ticked < TICK) return PTIO_OK;
    writer->ticked = ptio_zip_entry_end(entry);
    return tick(writer, 0, err);
}

/* --- the whole ------------------------------------------------------------ */

/* How many of the records from `first` on are in memory; *length is what they take in
 * the file. */
static uint32_t count_in_memory(const ptio_record_writer *writer, uint32_t first, uint32_t count,
                                const void *const *payloads, uint64_t *length) {
    const ptio_zip_entry *entries = &writer->layout->entries[first];
    uint32_t i = 0;
    while (i < count && (payloads[i] != NULL || entries[i].size == 0)) i++;
    *length = i == 0 ? 0 : ptio_zip_entry_end(&entries[i - 1]) - entries[0].header;
    return i;
}

ptio_status ptio_records_write(ptio_record_writer *writer, uint32_t first, uint32_t count,
                               const void *const *payloads, ptio_error *err) {
    bool to_file = ptio_sink_is_concurrent(writer->sink);
    for (uint32_t i = 0; i < count;) {
        uint64_t length = 0;
        uint32_t n = to_file ? count_in_memory(writer, first + i, count - i, payloads + i, &length) : 0;
        if (length > RUN) {
            PTIO_TRY(write_at_once(writer, first + i, n, payloads + i, err));
            i += n;
            continue;
        }
        for (uint32_t end = i + (n > 0 ? n : 1); i < end; i++)
            PTIO_TRY(write_in_turn(writer, first + i, payloads[i], err));
    }
    return tick(writer, 0, err);
}
