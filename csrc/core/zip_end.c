/* SPDX-License-Identifier: Apache-2.0
 *
 * Finds the end record and shows that only one reading of it is possible. May
 * read the last 65,557 bytes and what they point at; knows no entry of the directory.
 *
 *   end record, 22 bytes                 zip64 record, 56 bytes      locator, 20 bytes
 *    0  PK\5\6                            0  PK\6\6                   0  PK\6\7
 *    4  disk, disk of the directory       4  size of what follows     4  disk of the record
 *    8  entries here, entries            16  disk, disk of the dir.   8  offset of the record
 *   12  size, offset of the directory    24  entries here, entries   16  disks
 *   20  length of the comment            40  size, offset
 */
#include "zip_end.h"

#include "memory.h"

enum { END = 22, LOCATOR = 20, RECORD64 = 56, TAIL = 65535 + END };

#define END_SIGNATURE UINT32_C(0x06054b50)
#define LOCATOR_SIGNATURE UINT32_C(0x07064b50)
#define RECORD64_SIGNATURE UINT32_C(0x06064b50)
#define CENTRAL_SIGNATURE UINT32_C(0x02014b50)
#define LOCAL_SIGNATURE UINT32_C(0x04034b50)

typedef unsigned long long ull;

typedef struct {
    uint64_t position; /* of the end record */
    uint64_t another;  /* of a second one that qualifies; 0 = none */
    uint64_t followed; /* of one that would, but for the bytes behind it; 0 = none */
    uint64_t follows;  /* how many those are */
    uint8_t bytes[END];
    bool found;
} end_search;

/* Whether an end record that does not reach the end of the file describes an archive,
 * rather than being four bytes of a payload. */
static bool is_plausible(const uint8_t *end, uint64_t position) {
    uint64_t entries = ptio_le16(end + 10), size = ptio_le32(end + 12), offset = ptio_le32(end + 16);
    return ptio_le32(end + 4) == 0 && ptio_le16(end + 8) == entries && entries > 0 &&
           size >= entries * PTIO_CENTRAL_HEADER && offset + size <= position;
}

/* Z2 over the tail of the file; n >= END. */
static void search_tail(const uint8_t *tail, size_t n, uint64_t size, end_search *out) {
    uint64_t tail_offset = size - n;
    for (size_t i = 0; i + END <= n; i++) {
        const uint8_t *p = memchr(tail + i, 'P', n - END + 1 - i);
        if (p == NULL) return;
        i = (size_t)(p - tail);
        if (ptio_le32(p) != END_SIGNATURE) continue;
        uint64_t position = tail_offset + i, behind = n - i - END, comment = ptio_le16(p + 20);
        if (comment == behind) {
            if (out->found) out->another = position;
            if (out->found) continue;
            out->found = true;
            out->position = position;
            memcpy(out->bytes, p, END);
        } else if (comment < behind && is_plausible(p, position)) {
            out->followed = position;
            out->follows = behind - comment;
        }
    }
}

static ptio_status find_end(const ptio_source *source, end_search *out, ptio_error *err) {
    end_search search = {.found = false};
    size_t n = (size_t)ptio_min_u64(source->size, TAIL);
    uint8_t *tail = ptio_alloc(n, 1);
    if (tail == NULL) return ptio_no_memory(err);
    ptio_status status = ptio_source_read(source, source->size - n, tail, n, err);
    if (status == PTIO_OK && n >= END) search_tail(tail, n, source->size, &search);
    ptio_free(tail);
    PTIO_TRY(status);
    PTIO_CHECK(search.found || search.followed == 0, "Z1.after", err, ZIP_AMBIGUOUS,
               source->size - search.follows, "%llu bytes follow the end of the archive",
               (ull)search.follows);
    PTIO_CHECK(search.found, "Z2.end", err, TRUNCATED, source->size,
               "the archive has no end record: the file is cut off at byte %llu", (ull)source->size);
    PTIO_CHECK(search.another == 0, "Z2.unique", err, ZIP_AMBIGUOUS, search.another,
               "two end records fit the end of the file, at bytes %llu and %llu", (ull)search.position,
               (ull)search.another);
    *out = search;
    return PTIO_OK;
}

/* Whether the four bytes at an offset are this signature; false outside the file. */
static ptio_status has_signature(const ptio_source *source, uint64_t offset, uint32_t signature, bool *out,
                                 ptio_error *err) {
    uint8_t bytes[4];
    *out = false;
    if (offset > source->size || source->size - offset < sizeof bytes) return PTIO_OK;
    PTIO_TRY(ptio_source_read(source, offset, bytes, sizeof bytes, err));
    *out = ptio_le32(bytes) == signature;
    return PTIO_OK;
}

/* An archive glued behind other bytes keeps offsets that are all too small by the same
 * number: say that, rather than that they are wrong. `found` is where the structure with
 * that signature stands if so, `expected` where the offsets put it. */
static ptio_status check_nothing_before(const ptio_source *source, uint64_t found, uint64_t expected,
                                        uint32_t signature, ptio_error *err) {
    bool structure, header;
    if (found <= expected) return PTIO_OK;
    PTIO_TRY(has_signature(source, found, signature, &structure, err));
    PTIO_TRY(has_signature(source, found - expected, LOCAL_SIGNATURE, &header, err));
    PTIO_CHECK(!structure || !header, "Z1.before", err, ZIP_AMBIGUOUS, found - expected,
               "%llu bytes stand before the archive", (ull)(found - expected));
    return PTIO_OK;
}

/* Z3 for the 64-bit record. The end record's own fields are the sentinel or equal. */
static ptio_status check_record64(const uint8_t *end, uint64_t end_at, const uint8_t *record,
                                  uint64_t record_at, ptio_error *err) {
    PTIO_CHECK(ptio_le64(record + 16) == 0, "Z3.record_disk", err, ZIP_MALFORMED, record_at + 16,
               "the zip64 record names disks %lu and %lu, expected 0", (unsigned long)ptio_le32(record + 16),
               (unsigned long)ptio_le32(record + 20));
    PTIO_CHECK(ptio_le64(record + 24) == ptio_le64(record + 32), "Z3.record_entries", err, ZIP_MALFORMED,
               record_at + 24, "the zip64 record counts %llu entries on this disk and %llu in all",
               (ull)ptio_le64(record + 24), (ull)ptio_le64(record + 32));
    uint16_t count = ptio_le16(end + 10);
    uint32_t bytes = ptio_le32(end + 12), offset = ptio_le32(end + 16);
    PTIO_CHECK(count == UINT16_MAX || count == ptio_le64(record + 32), "Z3.count64", err, ZIP_MALFORMED,
               end_at + 10, "the end record counts %u entries, the zip64 record %llu", (unsigned)count,
               (ull)ptio_le64(record + 32));
    PTIO_CHECK(bytes == UINT32_MAX || bytes == ptio_le64(record + 40), "Z3.size64", err, ZIP_MALFORMED,
               end_at + 12, "the end record gives the directory %lu bytes, the zip64 record %llu",
               (unsigned long)bytes, (ull)ptio_le64(record + 40));
    PTIO_CHECK(offset == UINT32_MAX || offset == ptio_le64(record + 48), "Z3.offset64", err, ZIP_MALFORMED,
               end_at + 16, "the end record puts the directory at byte %lu, the zip64 record at %llu",
               (unsigned long)offset, (ull)ptio_le64(record + 48));
    return PTIO_OK;
}

/* Reads the zip64 record that the locator points at, and which ends where the locator
 * begins: that of another archive before this one does not. *ends_at is where it begins. */
static ptio_status read_record64(const ptio_source *source, const end_search *end, const uint8_t *locator,
                                 ptio_zip_end *out, uint64_t *ends_at, ptio_error *err) {
    uint64_t locator_at = end->position - LOCATOR, record_at = ptio_le64(locator + 8), record_end;
    uint8_t record[RECORD64];
    PTIO_CHECK(ptio_le32(locator + 4) == 0 && ptio_le32(locator + 16) == 1, "Z3.disks", err, ZIP_MALFORMED,
               locator_at + 4, "the zip64 locator names disk %lu of %lu, expected disk 0 of 1",
               (unsigned long)ptio_le32(locator + 4), (unsigned long)ptio_le32(locator + 16));
    PTIO_CHECK(ptio_add_u64(record_at, RECORD64, &record_end) && record_end <= locator_at, "Z3.record_at",
               err, ZIP_MALFORMED, locator_at + 8,
               "the zip64 record at byte %llu does not fit before byte %llu", (ull)record_at,
               (ull)locator_at);
    PTIO_TRY(ptio_source_read(source, record_at, record, sizeof record, err));
    bool adjacent = ptio_le64(record + 4) == locator_at - record_at - 12;
    if (ptio_le32(record) != RECORD64_SIGNATURE || !adjacent)
        PTIO_TRY(check_nothing_before(source, locator_at - RECORD64, record_at, RECORD64_SIGNATURE, err));
    PTIO_CHECK(ptio_le32(record) == RECORD64_SIGNATURE, "Z3.record_signature", err, ZIP_MALFORMED, record_at,
               "there is no zip64 record at byte %llu, where its locator points", (ull)record_at);
    PTIO_CHECK(adjacent, "Z3.record_size", err, ZIP_MALFORMED, record_at + 4,
               "the zip64 record says that %llu bytes follow, there are %llu", (ull)ptio_le64(record + 4),
               (ull)(locator_at - record_at - 12));
    PTIO_TRY(check_record64(end->bytes, end->position, record, record_at, err));
    *out = (ptio_zip_end){
        .count = ptio_le64(record + 32), .size = ptio_le64(record + 40), .offset = ptio_le64(record + 48)};
    *ends_at = record_at;
    return PTIO_OK;
}

/* Z3: the numbers of the end record, or of the zip64 record where there is one. */
static ptio_status read_numbers(const ptio_source *source, const end_search *end, ptio_zip_end *out,
                                uint64_t *ends_at, ptio_error *err) {
    const uint8_t *bytes = end->bytes;
    uint8_t locator[LOCATOR] = {0};
    if (end->position >= LOCATOR)
        PTIO_TRY(ptio_source_read(source, end->position - LOCATOR, locator, LOCATOR, err));
    bool is_zip64 = ptio_le32(locator) == LOCATOR_SIGNATURE;
    uint16_t disk = ptio_le16(bytes + 4), directory_disk = ptio_le16(bytes + 6);
    PTIO_CHECK((disk == 0 || (is_zip64 && disk == UINT16_MAX)) &&
                   (directory_disk == 0 || (is_zip64 && directory_disk == UINT16_MAX)),
               "Z3.disk", err, ZIP_MALFORMED, end->position + 4,
               "the end record names disks %u and %u, expected 0", (unsigned)disk, (unsigned)directory_disk);
    PTIO_CHECK(ptio_le16(bytes + 8) == ptio_le16(bytes + 10), "Z3.entries", err, ZIP_MALFORMED,
               end->position + 8, "the end record counts %u entries on this disk and %u in all",
               (unsigned)ptio_le16(bytes + 8), (unsigned)ptio_le16(bytes + 10));
    if (is_zip64) return read_record64(source, end, locator, out, ends_at, err);
    *out = (ptio_zip_end){
        .count = ptio_le16(bytes + 10), .size = ptio_le32(bytes + 12), .offset = ptio_le32(bytes + 16)};
    *ends_at = end->position;
    return PTIO_OK;
}

ptio_status ptio_zip_end_read(const ptio_source *source, ptio_zip_end *out, ptio_error *err) {
    end_search end = {.found = false};
    ptio_zip_end numbers = {0};
    uint64_t ends_at = 0, directory_end;
    bool begins;
    PTIO_TRY(find_end(source, &end, err));
    PTIO_TRY(read_numbers(source, &end, &numbers, &ends_at, err));
    if (!ptio_add_u64(numbers.offset, numbers.size, &directory_end)) directory_end = UINT64_MAX;
    if (ends_at > numbers.size && directory_end != ends_at)
        PTIO_TRY(
            check_nothing_before(source, ends_at - numbers.size, numbers.offset, CENTRAL_SIGNATURE, err));
    PTIO_CHECK(directory_end == ends_at, "Z4.position", err, ZIP_MALFORMED, end.position,
               "the directory has %llu bytes at byte %llu and ends at %llu, expected %llu", (ull)numbers.size,
               (ull)numbers.offset, (ull)directory_end, (ull)ends_at);
    PTIO_CHECK(numbers.count <= numbers.size / PTIO_CENTRAL_HEADER, "Z4.entries", err, ZIP_MALFORMED,
               end.position, "the end record counts %llu entries, %llu bytes of directory hold at most %llu",
               (ull)numbers.count, (ull)numbers.size, (ull)(numbers.size / PTIO_CENTRAL_HEADER));
    PTIO_TRY(has_signature(source, 0, LOCAL_SIGNATURE, &begins, err));
    PTIO_CHECK(begins, "Z1.magic", err, ZIP_AMBIGUOUS, 0,
               "the file does not begin with a member of the archive that it ends with");
    *out = numbers;
    return PTIO_OK;
}
