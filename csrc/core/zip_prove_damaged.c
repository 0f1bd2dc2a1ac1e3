/* SPDX-License-Identifier: Apache-2.0
 *
 * Proves records by the CRC of their bytes, where their own headers cannot: a flipped bit in
 * those loses no payload.
 */
#include "crc.h"
#include "memory.h"
#include "zip_salvage.h"

enum { LOCAL_HEADER = 30, MOST_DESCRIPTOR = 24 };

#define BUFFER ((size_t)1 << 20)

typedef struct {
    const ptio_source *source;
    const ptio_read_options *options;
    uint8_t *buffer;
} prover;

/* Only these end the work: the rest is about one record. */
static bool ends_the_work(ptio_status status) {
    return status == PTIO_E_NO_MEMORY || status == PTIO_E_CANCELLED;
}

static ptio_status crc_of(const prover *p, uint64_t offset, uint64_t n, uint32_t *crc, ptio_error *err) {
    uint32_t sum = 0;
    for (uint64_t at = 0; at < n; at += BUFFER) {
        size_t size = (size_t)ptio_min_u64(BUFFER, n - at);
        PTIO_TRY(ptio_source_read(p->source, offset + at, p->buffer, size, err));
        sum = ptio_crc32(sum, p->buffer, size);
        if (p->options->tick != NULL)
            PTIO_TRY(p->options->tick(p->options->tick_context, 0, p->source->size, err));
    }
    *crc = sum;
    return PTIO_OK;
}

/* Takes the payload to begin at `data` if its bytes have the record's CRC. */
static ptio_status try_place(const prover *p, ptio_record *record, uint64_t data, ptio_error *err) {
    uint64_t first = record->header + LOCAL_HEADER + record->name_length;
    uint32_t crc;
    if (record->data != 0 || data < first || data > record->limit || record->csize > record->limit - data)
        return PTIO_OK;
    PTIO_TRY(crc_of(p, data, record->csize, &crc, err));
    if (crc != record->crc) return PTIO_OK;
    record->data = data;
    record->descriptor = (uint16_t)ptio_min_u64(MOST_DESCRIPTOR, record->limit - data - record->csize);
    return PTIO_OK;
}

/* Whether the local header has the name that the index has: else one of the two is wrong, and
 * the right bytes would get a wrong name. A pickle shows by itself that it is one. */
static ptio_status has_its_name(const prover *p, const ptio_zip_index *index, uint32_t number, bool *out,
                                ptio_error *err) {
    size_t length;
    const uint8_t *name = ptio_zip_name(index, number, &length); /* at most 65,535 bytes */
    PTIO_TRY(
        ptio_source_read(p->source, index->records[number].header + LOCAL_HEADER, p->buffer, length, err));
    *out = memcmp(p->buffer, name, length) == 0 || ptio_zip_is(index, number, "", "data.pkl", 8);
    return PTIO_OK;
}

/* Where the local header puts the payload, or where it ends just before what follows it. */
static ptio_status try_places(const prover *p, ptio_zip_index *index, uint32_t number, ptio_error *err) {
    static const uint64_t descriptors[] = {16, 24, 0};
    ptio_record *record = &index->records[number];
    uint8_t header[LOCAL_HEADER];
    bool named;
    PTIO_TRY(has_its_name(p, index, number, &named, err));
    if (!named) return PTIO_OK;
    PTIO_TRY(ptio_source_read(p->source, record->header, header, sizeof header, err));
    uint64_t before = (uint64_t)LOCAL_HEADER + ptio_le16(header + 26) + ptio_le16(header + 28);
    PTIO_TRY(try_place(p, record, record->header + before, err));
    for (size_t i = 0; i < 3; i++) {
        uint64_t behind = descriptors[i] + record->csize, room = record->limit - record->header;
        if (behind < room) PTIO_TRY(try_place(p, record, record->limit - behind, err));
    }
    return PTIO_OK;
}

static ptio_status prove_all(prover *p, ptio_zip_index *index, ptio_error *err) {
    ptio_zip_window window;
    window.offset = window.size = 0;
    for (uint32_t i = 0; i < index->count; i++) {
        ptio_record *record = &index->records[i];
        ptio_status status = ptio_zip_prove_next(p->source, index, i, &window, err);
        bool has_crc = record->method == PTIO_ZIP_STORED && record->csize > 0 && record->crc != 0;
        if (status != PTIO_OK && !ends_the_work(status) && has_crc) status = try_places(p, index, i, err);
        if (ends_the_work(status)) return status;
    }
    return PTIO_OK;
}

ptio_status ptio_zip_prove_damaged(const ptio_source *source, ptio_zip_index *index,
                                   const ptio_read_options *options, ptio_error *err) {
    size_t size = (size_t)ptio_min_u64(source->size, BUFFER);
    prover p = {.source = source, .options = options, .buffer = ptio_alloc(size, 1)};
    if (p.buffer == NULL) return ptio_no_memory(err);
    ptio_status status = prove_all(&p, index, err);
    ptio_free(p.buffer);
    return status;
}
