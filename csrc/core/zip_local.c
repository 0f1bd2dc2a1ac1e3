/* SPDX-License-Identifier: Apache-2.0
 *
 * Proves that a record's local header and data descriptor say what the directory says
 * of it (Z8), so that a reader which goes by them sees the same file as we do.
 *
 *   local header                             data descriptor, 16 or 24 bytes
 *    0  PK\3\4           18  csize            0  PK\7\8
 *    4  version needed   22  usize            4  crc
 *    6  flags            26  name length      8  csize, usize: 4 bytes each, or 8 each where
 *    8  method           28  extra length        the local header has a zip64 field
 *   14  crc              30  name, extra
 */
#include "memory.h"
#include "zip_index.h"

enum { LOCAL_HEADER = 30, MOST_DESCRIPTOR = 24, HAS_DESCRIPTOR = 8, FAR_APART = 64 << 10 };

#define LOCAL_SIGNATURE UINT32_C(0x04034b50)
#define DESCRIPTOR_SIGNATURE UINT32_C(0x08074b50)

typedef unsigned long long ull;

typedef struct {
    const uint8_t *values; /* of the zip64 field; NULL where there is none */
    size_t count;
} zip64_field;

/* Z6 for the local header: torch fills the field in before it knows the sizes, and keeps
 * 0 for what it does not know; other writers put the sizes there. */
static ptio_status check_zip64(const ptio_record *record, zip64_field field, uint64_t offset,
                               ptio_error *err) {
    const uint64_t meant[3] = {record->usize, record->csize, record->header};
    for (size_t i = 0; i < field.count; i++) {
        uint64_t value = ptio_le64(field.values + 8 * i);
        bool alone = field.count == 1 && (value == meant[1] || value == meant[2]);
        PTIO_CHECK(value == 0 || value == meant[i] || alone, "Z6.local_value", err, ZIP_AMBIGUOUS,
                   offset + 8 * i, "value %zu of the local zip64 field is %llu, the directory says %llu",
                   i + 1, (ull)value, (ull)meant[i]);
    }
    return PTIO_OK;
}

static ptio_status read_extra(const ptio_record *record, const uint8_t *extra, size_t n, zip64_field *out,
                              ptio_error *err) {
    uint64_t offset = record->header + LOCAL_HEADER + record->name_length;
    zip64_field found = {NULL, 0};
    for (size_t at = 0, length; at < n; at += 4 + length) {
        PTIO_CHECK(n - at >= 4 && ptio_le16(extra + at + 2) <= n - at - 4, "Z6.local_tile", err,
                   ZIP_MALFORMED, offset + at,
                   "an extra field reaches out of the %zu bytes of the local header", n);
        length = ptio_le16(extra + at + 2);
        if (ptio_le16(extra + at) != 1) continue;
        PTIO_CHECK(found.values == NULL, "Z6.local_twice", err, ZIP_AMBIGUOUS, offset + at,
                   "the local header has two zip64 fields");
        PTIO_CHECK(length == 8 || length == 16 || length == 24, "Z6.local_length", err, ZIP_MALFORMED,
                   offset + at, "the local zip64 field has %zu bytes, expected 8, 16 or 24", length);
        found = (zip64_field){extra + at + 4, length / 8};
        PTIO_TRY(check_zip64(record, found, offset + at + 4, err));
    }
    *out = found;
    return PTIO_OK;
}

/* A size in the local header: the directory's, or the sentinel if the zip64 field holds
 * the directory's; with a descriptor to come, also 0 or the sentinel alone. */
static bool size_agrees(const ptio_record *record, uint32_t local, uint64_t meant, zip64_field field,
                        size_t place) {
    bool late = (record->flags & HAS_DESCRIPTOR) != 0;
    if (local != UINT32_MAX) return local == meant || (late && local == 0);
    if (late) return true;
    size_t at = field.count == 1 ? 0 : place;
    return at < field.count && ptio_le64(field.values + 8 * at) == meant;
}

/* The fixed part against the directory, all but the sizes. */
static ptio_status check_header(const ptio_zip_index *index, const ptio_record *record, const uint8_t *header,
                                ptio_error *err) {
    uint64_t offset = record->header;
    PTIO_CHECK(ptio_le32(header) == LOCAL_SIGNATURE, "Z8.signature", err, ZIP_MALFORMED, offset,
               "there is no local header at byte %llu", (ull)offset);
    char theirs[PTIO_QUOTED];
    PTIO_CHECK(ptio_le16(header + 26) == record->name_length &&
                   memcmp(header + LOCAL_HEADER, index->directory + record->name, record->name_length) == 0,
               "Z8.name", err, ZIP_AMBIGUOUS, offset + LOCAL_HEADER,
               "the local header at byte %llu is that of another name, beginning '%s'", (ull)offset,
               ptio_quote(theirs, header + LOCAL_HEADER,
                          (size_t)ptio_min_u64(ptio_le16(header + 26), record->name_length)));
    PTIO_CHECK(ptio_le16(header + 6) == record->flags, "Z8.flags", err, ZIP_AMBIGUOUS, offset + 6,
               "the local header has flags 0x%04x, the directory 0x%04x", (unsigned)ptio_le16(header + 6),
               (unsigned)record->flags);
    PTIO_CHECK(ptio_le16(header + 8) == record->method, "Z8.method", err, ZIP_AMBIGUOUS, offset + 8,
               "the local header has method %u, the directory %u", (unsigned)ptio_le16(header + 8),
               (unsigned)record->method);
    uint32_t crc = ptio_le32(header + 14);
    bool late = (record->flags & HAS_DESCRIPTOR) != 0 && (crc == 0 || crc == UINT32_MAX);
    PTIO_CHECK(crc == record->crc || late, "Z8.crc", err, ZIP_AMBIGUOUS, offset + 14,
               "the local header has CRC-32 0x%08lx, the directory 0x%08lx", (unsigned long)crc,
               (unsigned long)record->crc);
    return PTIO_OK;
}

static ptio_status check_sizes(const ptio_record *record, const uint8_t *header, zip64_field field,
                               ptio_error *err) {
    uint32_t csize = ptio_le32(header + 18), usize = ptio_le32(header + 22);
    PTIO_CHECK(size_agrees(record, csize, record->csize, field, 1), "Z8.csize", err, ZIP_AMBIGUOUS,
               record->header + 18, "the local header has %lu bytes of data, the directory %llu",
               (unsigned long)csize, (ull)record->csize);
    PTIO_CHECK(size_agrees(record, usize, record->usize, field, 0), "Z8.usize", err, ZIP_AMBIGUOUS,
               record->header + 22, "the local header has %lu bytes of content, the directory %llu",
               (unsigned long)usize, (ull)record->usize);
    return PTIO_OK;
}

/* The whole local header, of which at least the length that local_length gave is there.
 * Sets where the data begins and how long the descriptor is. */
static ptio_status check_local(const ptio_zip_index *index, const ptio_record *record, const uint8_t *header,
                               uint64_t *data, uint16_t *descriptor, ptio_error *err) {
    zip64_field field = {NULL, 0};
    size_t extra = ptio_le16(header + 28);
    PTIO_TRY(check_header(index, record, header, err));
    uint64_t begin = record->header + LOCAL_HEADER + record->name_length + extra, end;
    PTIO_CHECK(ptio_add_u64(begin, record->csize, &end) && end <= record->limit, "Z8.end", err, ZIP_MALFORMED,
               record->header + 28, "the data ends at byte %llu, what follows it begins at %llu",
               (ull)(begin + record->csize), (ull)record->limit);
    PTIO_TRY(read_extra(record, header + LOCAL_HEADER + record->name_length, extra, &field, err));
    PTIO_TRY(check_sizes(record, header, field, err));
    *data = begin;
    *descriptor = (record->flags & HAS_DESCRIPTOR) == 0 ? 0 : field.count > 0 ? 24 : 16;
    return PTIO_OK;
}

/* What check_local needs to see, from the fixed part of a header. Limited to the room
 * before the next record: a longer one fails Z8.end, which reads nothing beyond. */
static uint64_t local_length(const ptio_record *record, const uint8_t *fixed) {
    uint64_t room = record->limit - record->header;
    return ptio_min_u64((uint64_t)LOCAL_HEADER + record->name_length + ptio_le16(fixed + 28), room);
}

static bool descriptor_agrees(const ptio_record *record, const uint8_t *p, uint16_t length) {
    uint64_t csize = length == 24 ? ptio_le64(p + 8) : ptio_le32(p + 8);
    uint64_t usize = length == 24 ? ptio_le64(p + 16) : ptio_le32(p + 12);
    return ptio_le32(p) == DESCRIPTOR_SIGNATURE && ptio_le32(p + 4) == record->crc &&
           csize == record->csize && usize == record->usize;
}

/* `p` holds the bytes behind the data, n of them: all up to the limit, or enough. A record
 * without data may go without its descriptor: *descriptor is 0 then. */
static ptio_status check_descriptor(const ptio_record *record, const uint8_t *p, uint64_t n, uint64_t offset,
                                    uint16_t *descriptor, ptio_error *err) {
    uint16_t length = *descriptor;
    bool agrees = n >= length && descriptor_agrees(record, p, length);
    if (!agrees && record->csize == 0) {
        *descriptor = 0;
        return PTIO_OK;
    }
    PTIO_CHECK(n >= length, "Z8.descriptor_room", err, ZIP_AMBIGUOUS, offset,
               "a data descriptor of %u bytes does not fit before byte %llu", (unsigned)length,
               (ull)record->limit);
    PTIO_CHECK(agrees, "Z8.descriptor", err, ZIP_AMBIGUOUS, offset,
               "the data descriptor at byte %llu is missing or does not agree with the directory",
               (ull)offset);
    return PTIO_OK;
}

/* All of it for bytes that hold the file from record->header on, up to record->limit or
 * further than the record reaches; false in *covered where they end before that. */
static ptio_status prove_bytes(const ptio_zip_index *index, const ptio_record *record, const uint8_t *bytes,
                               uint64_t n, uint64_t *data, uint16_t *descriptor, bool *covered,
                               ptio_error *err) {
    *covered = false;
    n = ptio_min_u64(n, record->limit - record->header);
    if (n < (uint64_t)LOCAL_HEADER + record->name_length || n < local_length(record, bytes)) return PTIO_OK;
    PTIO_TRY(check_local(index, record, bytes, data, descriptor, err));
    uint64_t behind = *data + record->csize - record->header;
    uint64_t room = record->limit - record->header - ptio_min_u64(behind, record->limit - record->header);
    if (n < behind || n - behind < ptio_min_u64(*descriptor, room)) return PTIO_OK;
    *covered = true;
    if (*descriptor == 0) return PTIO_OK;
    return check_descriptor(record, bytes + behind, n - behind, record->header + behind, descriptor, err);
}

/* n bytes at offset, from what was read last if they are there. */
static ptio_status view(const ptio_source *source, ptio_zip_window *window, uint64_t offset, size_t n,
                        const uint8_t **out, ptio_error *err) {
    bool there = offset >= window->offset && offset - window->offset <= window->size &&
                 n <= window->size - (offset - window->offset);
    if (!there) {
        uint64_t left = offset < source->size ? source->size - offset : 0;
        size_t size = (size_t)ptio_max_u64(n, ptio_min_u64(sizeof window->bytes, left));
        window->size = 0;
        PTIO_TRY(ptio_source_read(source, offset, window->bytes, size, err));
        window->offset = offset;
        window->size = size;
    }
    *out = window->bytes + (offset - window->offset);
    return PTIO_OK;
}

/* The same with small reads, for payloads that are not in memory. The bytes behind a
 * descriptor are mostly the next record's header. */
static ptio_status prove_by_reading(const ptio_source *source, const ptio_zip_index *index,
                                    const ptio_record *record, ptio_zip_window *window, uint64_t *data,
                                    uint16_t *descriptor, ptio_error *err) {
    uint8_t *heap = NULL;
    const uint8_t *header, *behind;
    uint64_t have = ptio_min_u64(sizeof window->bytes / 2, record->limit - record->header), needed;
    ptio_status status = PTIO_OK;
    PTIO_TRY(view(source, window, record->header, (size_t)have, &header, err));
    needed = ptio_max_u64(local_length(record, header), (uint64_t)LOCAL_HEADER + record->name_length);
    if (needed > have) {
        header = heap = ptio_alloc((size_t)needed, 1);
        if (heap == NULL) return ptio_no_memory(err);
        status = ptio_source_read(source, record->header, heap, (size_t)needed, err);
    }
    if (status == PTIO_OK) status = check_local(index, record, header, data, descriptor, err);
    ptio_free(heap);
    if (status != PTIO_OK || *descriptor == 0) return status;
    uint64_t end = *data + record->csize;
    uint64_t n = end < record->limit ? ptio_min_u64(*descriptor, record->limit - end) : 0;
    PTIO_TRY(view(source, window, end, (size_t)n, &behind, err));
    return check_descriptor(record, behind, n, end, descriptor, err);
}

/* Keeps the outcome: only now is the record proven. */
static ptio_status conclude(const ptio_zip_index *index, ptio_record *record, ptio_status status,
                            bool covered, uint64_t data, uint16_t descriptor, ptio_error *err) {
    if (PTIO_UNLIKELY(status != PTIO_OK)) {
        ptio_error_in_record(err, index->directory + record->name, record->name_length);
        return status;
    }
    if (!covered) return PTIO_OK;
    record->descriptor = descriptor;
    record->data = data;
    return PTIO_OK;
}

ptio_status ptio_zip_prove(const ptio_source *source, ptio_zip_index *index, uint32_t record,
                           ptio_error *err) {
    ptio_zip_window window;
    window.offset = window.size = 0; /* its bytes need no value */
    return ptio_zip_prove_next(source, index, record, &window, err);
}

ptio_status ptio_zip_prove_next(const ptio_source *source, ptio_zip_index *index, uint32_t record,
                                ptio_zip_window *window, ptio_error *err) {
    ptio_record *proven = &index->records[record];
    uint64_t data = 0;
    uint16_t descriptor = 0;
    bool covered = true;
    if (proven->data != 0) return PTIO_OK;
    /* The neighbourhood of a large payload's header is a page that nobody else wants:
     * mapping it costs more than reading it, and with large pages in the cache it
     * makes the process look megabytes larger. */
    bool in_place = source->bytes != NULL && (source->fd < 0 || proven->csize < FAR_APART);
    ptio_status status = in_place
                             ? prove_bytes(index, proven, source->bytes + proven->header,
                                           source->size - proven->header, &data, &descriptor, &covered, err)
                             : prove_by_reading(source, index, proven, window, &data, &descriptor, err);
    return conclude(index, proven, status, covered, data, descriptor, err);
}

ptio_status ptio_zip_prove_in(ptio_zip_index *index, uint32_t record, const uint8_t *bytes, uint64_t from,
                              uint64_t n, bool *covered, ptio_error *err) {
    ptio_record *proven = &index->records[record];
    uint64_t data = 0;
    uint16_t descriptor = 0;
    if (proven->data != 0) {
        uint64_t end = ptio_zip_record_end(index, record);
        *covered = proven->header >= from && end - from <= n;
        return PTIO_OK;
    }
    *covered = false;
    if (proven->header < from || proven->header - from >= n) return PTIO_OK;
    uint64_t skip = proven->header - from;
    ptio_status status = prove_bytes(index, proven, bytes + skip, n - skip, &data, &descriptor, covered, err);
    return conclude(index, proven, status, *covered, data, descriptor, err);
}
