/* SPDX-License-Identifier: Apache-2.0
 *
 * The arithmetic of reading many records: which go together, how large a unit is, and
 * how many threads pay off. Reads nothing itself.
 */
#include "record_plan.h"

#include <stdlib.h>

#include "crc.h"
#include "memory.h"

/* What local header, alignment and descriptor add to a payload, but for odd files: a
 * record that needs more is read by itself. */
#define USUAL_MARGIN (UINT64_C(8) << 10)

/* Unwanted bytes up to here are cheaper to read than to seek over. */
#define WORTH_READING (UINT64_C(16) << 10)

/* Starting a thread costs as much as reading this much. */
#define BYTES_PER_THREAD (UINT64_C(4) << 20)

/* More readers than this only wait for memory. */
enum { MOST_AUTOMATIC_THREADS = 16 };

typedef struct {
    uint64_t header;
    ptio_plan_item item;
} placed;

static int compare_places(const void *a, const void *b) {
    const placed *x = a, *y = b;
    return x->header < y->header ? -1 : x->header > y->header;
}

static bool is_sorted(const ptio_zip_index *index, const ptio_plan_item *items, uint32_t count) {
    for (uint32_t i = 1; i < count; i++)
        if (index->records[items[i - 1].record].header > index->records[items[i].record].header) return false;
    return true;
}

ptio_status ptio_plan_sort(const ptio_zip_index *index, ptio_plan_item *items, uint32_t count,
                           ptio_error *err) {
    if (is_sorted(index, items, count)) return PTIO_OK;
    placed *places = ptio_alloc(count, sizeof *places);
    if (places == NULL) return ptio_no_memory(err);
    for (uint32_t i = 0; i < count; i++)
        places[i] = (placed){index->records[items[i].record].header, items[i]};
    qsort(places, count, sizeof *places, compare_places);
    for (uint32_t i = 0; i < count; i++) items[i] = places[i].item;
    ptio_free(places);
    return PTIO_OK;
}

/* Where a record ends: exactly, if it is proven or another one follows at once. */
static uint64_t likely_end(const ptio_zip_index *index, uint32_t number) {
    const ptio_record *record = &index->records[number];
    if (record->data != 0) return ptio_zip_record_end(index, number);
    uint64_t room = record->limit - record->header - record->csize; /* the index has proven that there is */
    return record->header + record->csize + ptio_min_u64(room, USUAL_MARGIN + record->name_length);
}

bool ptio_plan_is_large(const ptio_zip_index *index, uint32_t record, uint64_t slab) {
    return likely_end(index, record) - index->records[record].header > slab;
}

static ptio_status add_unit(ptio_read_plan *plan, ptio_plan_unit unit, ptio_error *err) {
    PTIO_TRY(ptio_grow((void **)&plan->units, &plan->unit_capacity, plan->unit_count + 1, sizeof unit, err));
    plan->units[plan->unit_count++] = unit;
    plan->payload += unit.payload;
    return PTIO_OK;
}

static ptio_status add_chunks(const ptio_zip_index *index, ptio_read_plan *plan, uint32_t item,
                              ptio_error *err) {
    uint64_t size = index->records[plan->items[item].record].csize;
    for (uint64_t begin = 0; begin < size; begin += PTIO_CHUNK) {
        uint64_t length = ptio_min_u64(size - begin, PTIO_CHUNK);
        PTIO_TRY(add_unit(plan,
                          (ptio_plan_unit){.first = item,
                                           .count = 1,
                                           .chunk = true,
                                           .begin = begin,
                                           .length = length,
                                           .payload = length},
                          err));
    }
    return PTIO_OK;
}

/* The run of small neighbours from item `first` on. It ends before a gap that is not
 * worth reading, and where the gaps together would be half of it. */
static ptio_plan_unit collect_run(const ptio_zip_index *index, const ptio_read_plan *plan, uint32_t first,
                                  uint64_t slab) {
    const ptio_plan_item *items = plan->items;
    ptio_plan_unit unit = {.first = first, .begin = index->records[items[first].record].header};
    uint64_t end = unit.begin, gaps = 0;
    for (uint32_t i = first; i < plan->item_count; i++) {
        const ptio_record *record = &index->records[items[i].record];
        uint64_t gap = record->header - ptio_min_u64(end, record->header);
        uint64_t new_end = likely_end(index, items[i].record), span = new_end - unit.begin;
        if (span > slab || gap > WORTH_READING || items[i].in_place != items[first].in_place) break;
        if (gaps + gap > span / 2 && gaps + gap > WORTH_READING) break;
        gaps += gap;
        end = new_end;
        unit.length = span;
        unit.payload += record->csize;
        unit.count++;
    }
    return unit;
}

ptio_status ptio_plan_make(const ptio_zip_index *index, uint64_t slab, ptio_read_plan *plan,
                           ptio_error *err) {
    for (uint32_t i = 0; i < plan->item_count;) {
        if (ptio_plan_is_large(index, plan->items[i].record, slab)) {
            PTIO_TRY(add_chunks(index, plan, i, err));
            i++;
            continue;
        }
        ptio_plan_unit run = collect_run(index, plan, i, slab);
        PTIO_TRY(add_unit(plan, run, err));
        i += run.count;
    }
    return PTIO_OK;
}

void ptio_plan_free(ptio_read_plan *plan) {
    ptio_free(plan->items);
    ptio_free(plan->units);
    *plan = (ptio_read_plan){.items = NULL};
}

unsigned ptio_plan_threads(const ptio_source *source, unsigned asked, uint64_t bytes) {
    if (!ptio_source_is_concurrent(source) || bytes < 2 * BYTES_PER_THREAD) return 1;
    unsigned most = asked;
    if (most == 0) {
        most = ptio_cpu_count();
        if (most > MOST_AUTOMATIC_THREADS) most = MOST_AUTOMATIC_THREADS;
    }
    return (unsigned)ptio_min_u64(most, bytes / BYTES_PER_THREAD);
}

uint32_t ptio_plan_join(const ptio_read_plan *plan, size_t *next) {
    const ptio_plan_unit *units = plan->units;
    uint32_t item = units[*next].first, crc = 0;
    for (; *next < plan->unit_count && units[*next].chunk && units[*next].first == item; ++*next)
        crc = ptio_crc32_join(crc, units[*next].crc, units[*next].length);
    return crc;
}

ptio_status ptio_record_check_crc(const ptio_zip_index *index, uint32_t record, uint32_t crc,
                                  ptio_error *err) {
    const ptio_record *entry = &index->records[record];
    if (crc == entry->crc || entry->crc == 0 || !ptio_check_is_on("Z10.crc")) return PTIO_OK;
    ptio_status status =
        ptio_fail(err, PTIO_E_CHECKSUM, "Z10.crc", entry->data, "CRC-32 is 0x%08lx, the archive says 0x%08lx",
                  (unsigned long)crc, (unsigned long)entry->crc);
    ptio_zip_name_error(index, record, err);
    return status;
}
