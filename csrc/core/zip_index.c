/* SPDX-License-Identifier: Apache-2.0
 *
 * Walks the private copy of the central directory once into a table of records with
 * unique names and ranges that do not overlap (Z4, Z7, Z9). Reads no payload.
 */
#include "zip_index.h"

#include <stdlib.h>

#include "memory.h"
#include "pages.h"
#include "zip_directory.h"
#include "zip_end.h"

enum { LOCAL_HEADER = 30, LONGEST_LOOKUP = 512 };

typedef unsigned long long ull;

static const uint8_t *name_of(const ptio_zip_index *index, const ptio_record *record) {
    return index->directory + record->name;
}

static bool equal_folded(const uint8_t *a, const uint8_t *b, size_t n) {
    for (size_t i = 0; i < n; i++) {
        uint8_t x = a[i], y = b[i];
        if (x >= 'A' && x <= 'Z') x = (uint8_t)(x | 0x20);
        if (y >= 'A' && y <= 'Z') y = (uint8_t)(y | 0x20);
        if (x != y) return false;
    }
    return true;
}

/* Z7 for two records whose names have the same hash: their names differ, also in case. */
static ptio_status check_distinct(const ptio_zip_index *index, const ptio_record *record,
                                  const ptio_record *other, ptio_error *err) {
    const uint8_t *name = name_of(index, record), *others = name_of(index, other);
    bool same = record->name_length == other->name_length && equal_folded(name, others, record->name_length);
    bool exact = same && memcmp(name, others, record->name_length) == 0;
    uint64_t offset = index->directory_offset + record->name;
    PTIO_CHECK(!exact, "Z7.unique", err, ZIP_AMBIGUOUS, offset, "the archive has two members of this name");
    char theirs[PTIO_QUOTED];
    PTIO_CHECK(!same || exact, "Z7.case", err, ZIP_AMBIGUOUS, offset,
               "the archive also has a member '%s', which differs in case only",
               ptio_quote(theirs, others, other->name_length));
    return PTIO_OK;
}

/* Enters a record into the table. The upper half of a slot tells most names apart
 * without a look at them. */
static ptio_status enter_name(ptio_zip_index *index, uint32_t number, uint64_t hash, ptio_error *err) {
    const ptio_record *record = &index->records[number];
    uint32_t slot = (uint32_t)hash & index->table_mask;
    for (; index->table[slot] != 0; slot = (slot + 1) & index->table_mask) {
        if (index->table[slot] >> 32 != hash >> 32) continue;
        const ptio_record *other = &index->records[(uint32_t)index->table[slot] - 1];
        ptio_status status = check_distinct(index, record, other, err);
        if (status == PTIO_OK) continue;
        ptio_error_in_record(err, name_of(index, record), record->name_length);
        return status;
    }
    index->table[slot] = (hash >> 32 << 32) | (number + 1);
    return PTIO_OK;
}

/* The last records, hashed but not yet in the table: its slots lie all over memory, and
 * are on their way into the cache meanwhile. */
enum { PENDING = 16 };

typedef struct {
    uint64_t hashes[PENDING];
} pending_names;

/* All names share the stem, so only what is below it is hashed. */
static ptio_status queue_name(ptio_zip_index *index, pending_names *pending, uint32_t number,
                              ptio_error *err) {
    const ptio_record *record = &index->records[number];
    size_t stem = (size_t)index->stem_length + 1;
    uint64_t *place = &pending->hashes[number % PENDING];
    if (number >= PENDING) PTIO_TRY(enter_name(index, number - PENDING, *place, err));
    *place = ptio_hash_folded(&index->hash_key, name_of(index, record) + stem, record->name_length - stem);
    __builtin_prefetch(&index->table[(uint32_t)*place & index->table_mask], 1);
    return PTIO_OK;
}

static ptio_status enter_pending(ptio_zip_index *index, const pending_names *pending, ptio_error *err) {
    for (uint32_t i = index->count < PENDING ? 0 : index->count - PENDING; i < index->count; i++)
        PTIO_TRY(enter_name(index, i, pending->hashes[i % PENDING], err));
    return PTIO_OK;
}

/* Z4: walks `count` entries and shows that they are all of the directory. Where the first
 * member begins goes to *lowest, whether the records are in file order to *ordered. */
static ptio_status walk_entries(ptio_zip_index *index, uint64_t count, uint64_t *lowest, bool *ordered,
                                ptio_error *err) {
    ptio_zip_walk walk = {.directory = index->directory,
                          .directory_offset = index->directory_offset,
                          .size = index->directory_size};
    pending_names pending = {{0}};
    uint64_t last = 0;
    for (uint64_t i = 0; i < count; i++) {
        ptio_record *record = &index->records[index->count];
        bool is_directory = false;
        PTIO_CHECK(walk.size - walk.at >= PTIO_CENTRAL_HEADER, "Z4.count", err, ZIP_MALFORMED,
                   walk.directory_offset + walk.at,
                   "the end record counts %llu entries, the directory holds %llu", (ull)count, (ull)i);
        PTIO_TRY(ptio_zip_next_entry(&walk, record, &is_directory, err));
        if (record->header < *lowest) *lowest = record->header;
        if (is_directory) continue;
        if (record->header < last) *ordered = false;
        last = record->header;
        index->stem = walk.stem;
        index->stem_length = walk.stem_length;
        if (record->method != PTIO_ZIP_STORED &&
            !ptio_add_u64(index->inflated_bytes, record->usize, &index->inflated_bytes))
            index->inflated_bytes = UINT64_MAX;
        PTIO_TRY(queue_name(index, &pending, index->count, err));
        index->count++;
    }
    PTIO_CHECK(walk.at == walk.size, "Z4.rest", err, ZIP_MALFORMED, walk.directory_offset + walk.at,
               "%llu bytes of the directory follow the %llu entries that the end record counts",
               (ull)(walk.size - walk.at), (ull)count);
    return enter_pending(index, &pending, err);
}

typedef struct {
    uint64_t header;
    uint32_t record;
} placed;

static int compare_places(const void *a, const void *b) {
    const placed *x = a, *y = b;
    if (x->header != y->header) return x->header < y->header ? -1 : 1;
    return x->record < y->record ? -1 : x->record > y->record;
}

/* Z9 for one record, as far as the directory tells: the local extra field and the
 * descriptor come on top when the record is proven. */
static ptio_status check_extent(ptio_zip_index *index, ptio_record *record, uint64_t limit, ptio_error *err) {
    uint64_t end;
    if (!ptio_add_u64(record->header, (uint64_t)LOCAL_HEADER + record->name_length, &end) ||
        !ptio_add_u64(end, record->csize, &end))
        end = UINT64_MAX;
    record->limit = limit;
    if (PTIO_LIKELY(end <= limit)) return PTIO_OK;
    const char *check = end <= index->directory_offset ? "Z9.overlap" : "Z9.directory";
    if (!ptio_check_is_on(check)) return PTIO_OK;
    ptio_status status =
        ptio_fail(err, PTIO_E_ZIP_MALFORMED, check, record->header,
                  "the member at byte %llu ends at %llu or later, %s at %llu", (ull)record->header, (ull)end,
                  end <= index->directory_offset ? "the next one begins" : "the directory begins",
                  end <= index->directory_offset ? (ull)limit : (ull)index->directory_offset);
    ptio_error_in_record(err, name_of(index, record), record->name_length);
    return status;
}

static ptio_status check_extents(ptio_zip_index *index, bool ordered, ptio_error *err) {
    ptio_status status = PTIO_OK;
    placed *places = NULL;
    if (!ordered) {
        places = ptio_alloc(index->count, sizeof *places);
        if (places == NULL) return ptio_no_memory(err);
        for (uint32_t i = 0; i < index->count; i++) places[i] = (placed){index->records[i].header, i};
        qsort(places, index->count, sizeof *places, compare_places);
    }
    uint64_t limit = index->directory_offset;
    for (uint32_t i = index->count; i-- > 0 && status == PTIO_OK;) {
        ptio_record *record = &index->records[places == NULL ? i : places[i].record];
        status = check_extent(index, record, limit, err);
        limit = record->header;
    }
    ptio_free(places);
    return status;
}

/* Room for every entry that the directory can hold; its size has been proven. One block
 * for all of it, of a huge page at least where that is not too much: faulting in small
 * pages would take longer than filling them. */
static ptio_status allocate(ptio_zip_index *index, const ptio_zip_end *end, ptio_error *err) {
    PTIO_CHECK(end->size <= UINT32_MAX, "Z4.size", err, LIMIT, end->offset,
               "the directory has %llu bytes, at most %lu are read", (ull)end->size,
               (unsigned long)UINT32_MAX);
    uint64_t slots = 16;
    while (slots < 2 * end->count) slots *= 2;
    /* None of these sums comes near 2^64, as count <= size / 46. */
    uint64_t records = (end->count + 1) * sizeof *index->records, table = slots * sizeof *index->table;
    uint64_t size = records + table + end->size;
    if (size > PTRDIFF_MAX) return ptio_no_memory(err);
    PTIO_TRY(ptio_block_new(ptio_huge_room((size_t)size), &index->memory, err));
    uint8_t *bytes = ptio_block_bytes(index->memory);
    index->records = (ptio_record *)(void *)bytes;
    index->table = (uint64_t *)(void *)(bytes + records);
    index->directory = bytes + records + table;
    index->table_mask = (uint32_t)(slots - 1);
    index->directory_offset = end->offset;
    index->directory_size = end->size;
    memset(index->table, 0, (size_t)table);
    return PTIO_OK;
}

/* All of it for a directory that is in memory. Where the first member begins goes to *lowest. */
static ptio_status index_entries(ptio_zip_index *index, uint64_t count, uint64_t *lowest, ptio_error *err) {
    bool ordered = true;
    *lowest = UINT64_MAX;
    PTIO_TRY(ptio_hash_key_new(&index->hash_key, err));
    PTIO_TRY(walk_entries(index, count, lowest, &ordered, err));
    PTIO_CHECK(index->count > 0, "Z7.empty", err, ZIP_MALFORMED, index->directory_offset,
               "the archive has no members");
    return check_extents(index, ordered, err);
}

static ptio_status read_index(const ptio_source *source, ptio_zip_index *index, ptio_error *err) {
    ptio_zip_end end = {0};
    uint64_t lowest;
    PTIO_TRY(ptio_zip_end_read(source, &end, err));
    PTIO_TRY(allocate(index, &end, err));
    PTIO_TRY(ptio_source_read(source, end.offset, index->directory, (size_t)end.size, err));
    PTIO_TRY(index_entries(index, end.count, &lowest, err));
    PTIO_CHECK(lowest == 0, "Z1.first", err, ZIP_AMBIGUOUS, 0,
               "%llu bytes stand before the first member of the archive", (ull)lowest);
    return PTIO_OK;
}

static ptio_status index_of_entries(const void *entries, const ptio_zip_end *end, ptio_zip_index *index,
                                    ptio_error *err) {
    uint64_t lowest;
    PTIO_TRY(allocate(index, end, err));
    memcpy(index->directory, entries, (size_t)end->size);
    return index_entries(index, end->count, &lowest, err);
}

ptio_status ptio_zip_index_of(const void *entries, uint64_t size, uint64_t count, uint64_t file_size,
                              ptio_zip_index *out, ptio_error *err) {
    const ptio_zip_end end = {.offset = file_size, .size = size, .count = count};
    ptio_zip_index index = {.directory = NULL};
    ptio_status status = index_of_entries(entries, &end, &index, err);
    if (status != PTIO_OK) {
        ptio_zip_index_free(&index);
        return status;
    }
    *out = index;
    return PTIO_OK;
}

ptio_status ptio_zip_index_keep(ptio_zip_index *index, const bool *keep, ptio_error *err) {
    pending_names pending = {{0}};
    uint32_t count = index->count;
    memset(index->table, 0, ((size_t)index->table_mask + 1) * sizeof *index->table);
    index->count = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (!keep[i]) continue;
        index->records[index->count] = index->records[i];
        PTIO_TRY(queue_name(index, &pending, index->count, err));
        index->count++;
    }
    return enter_pending(index, &pending, err);
}

ptio_status ptio_zip_index_read(const ptio_source *source, const ptio_limits *limits, ptio_zip_index *out,
                                ptio_error *err) {
    (void)limits; /* an index is bounded by the directory that is really there */
    ptio_zip_index index = {.directory = NULL};
    ptio_status status = read_index(source, &index, err);
    if (status != PTIO_OK) {
        ptio_zip_index_free(&index);
        return status;
    }
    *out = index;
    return PTIO_OK;
}

bool ptio_zip_is(const ptio_zip_index *index, uint32_t record, const char *directory, const void *name,
                 size_t name_length) {
    const ptio_record *candidate = &index->records[record];
    size_t stem = (size_t)index->stem_length + 1, n = strlen(directory);
    const uint8_t *text = name_of(index, candidate) + stem;
    return candidate->name_length == stem + n + name_length && memcmp(text, directory, n) == 0 &&
           memcmp(text + n, name, name_length) == 0;
}

/* For names that no writer of checkpoints makes. */
static uint32_t find_slowly(const ptio_zip_index *index, const char *directory, const void *name,
                            size_t name_length) {
    for (uint32_t i = 0; i < index->count; i++)
        if (ptio_zip_is(index, i, directory, name, name_length)) return i;
    return PTIO_NO_RECORD;
}

uint32_t ptio_zip_find(const ptio_zip_index *index, const char *directory, const void *name,
                       size_t name_length) {
    uint8_t wanted[LONGEST_LOOKUP];
    size_t directory_length = strlen(directory);
    if (index->count == 0) return PTIO_NO_RECORD;
    if (directory_length > LONGEST_LOOKUP || name_length > LONGEST_LOOKUP - directory_length)
        return find_slowly(index, directory, name, name_length);
    memcpy(wanted, directory, directory_length);
    if (name_length > 0) memcpy(wanted + directory_length, name, name_length);
    size_t n = directory_length + name_length, stem = (size_t)index->stem_length + 1;
    uint64_t hash = ptio_hash_folded(&index->hash_key, wanted, n);
    for (uint32_t slot = (uint32_t)hash & index->table_mask; index->table[slot] != 0;
         slot = (slot + 1) & index->table_mask) {
        if (index->table[slot] >> 32 != hash >> 32) continue;
        uint32_t number = (uint32_t)index->table[slot] - 1;
        const ptio_record *record = &index->records[number];
        if (record->name_length == stem + n && memcmp(name_of(index, record) + stem, wanted, n) == 0)
            return number;
    }
    return PTIO_NO_RECORD;
}

const uint8_t *ptio_zip_name(const ptio_zip_index *index, uint32_t record, size_t *length) {
    *length = index->records[record].name_length;
    return name_of(index, &index->records[record]);
}

void ptio_zip_name_error(const ptio_zip_index *index, uint32_t record, ptio_error *err) {
    size_t length;
    if (record >= index->count) return; /* a bare pickle is no record */
    const uint8_t *name = ptio_zip_name(index, record, &length);
    ptio_error_in_record(err, name, length);
}

uint64_t ptio_zip_record_end(const ptio_zip_index *index, uint32_t record) {
    const ptio_record *proven = &index->records[record];
    return proven->data + proven->csize + proven->descriptor;
}

void ptio_zip_index_free(ptio_zip_index *index) {
    ptio_block_unref(index->memory);
    *index = (ptio_zip_index){.directory = NULL};
}
