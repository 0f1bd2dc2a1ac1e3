/* SPDX-License-Identifier: Apache-2.0
 *
 * Compressed records: what comes out, what may not, and what must not be tried (Z11).
 */
#include <stdlib.h>

#include "archives.h"
#include "sweep.h"
#include "zip_inflate.h"

void suite_zip_inflate(void);

enum { SIZE = 200000 };

static uint8_t content[SIZE];

static void deflated_archive(zip_archive *zip, bool descriptor) {
    for (size_t i = 0; i < SIZE; i++) content[i] = (uint8_t)(i % 251 + i / 1000);
    zip_begin(zip);
    zip_add(zip, &(zip_member){.name = "m/data.pkl", .content = content, .size = SIZE, .deflated = true, .descriptor = descriptor, .alignment = 64});
    zip_add(zip, &(zip_member){.name = "m/empty", .deflated = true, .descriptor = descriptor});
    zip_add(zip, &(zip_member){.name = "m/small", .content = "abc", .size = 3, .deflated = true, .local_zip64 = 2, .descriptor = descriptor, .local_sentinel = true});
    zip_finish(zip, true, NULL, 0);
}

/* Proves and inflates one record; the output is `room` bytes. */
static ptio_status inflate(const zip_archive *zip, bool callback, uint32_t record, uint8_t *out, ptio_error *err) {
    ptio_source source;
    ptio_zip_index index;
    ptio_inflater *inflater = NULL;
    ptio_limits limits = PTIO_LIMITS_DEFAULT;
    if (callback)
        archive_callback(zip, &source);
    else
        ptio_source_borrow(zip->bytes, zip->size, &source);
    ptio_status status = ptio_zip_index_read(&source, &limits, &index, err);
    if (status != PTIO_OK) return status;
    status = ptio_zip_prove(&source, &index, record, err);
    if (status == PTIO_OK) status = ptio_inflate_allowed(&index, source.size, &limits, record, err);
    if (status == PTIO_OK) status = ptio_inflater_new(&source, &index, &inflater, err);
    if (status == PTIO_OK) status = ptio_inflate(inflater, record, out, err);
    if (status == PTIO_OK) status = ptio_inflate(inflater, record, out, err); /* again, and without keeping it */
    if (status == PTIO_OK) status = ptio_inflate(inflater, record, NULL, err);
    ptio_inflater_free(inflater);
    ptio_zip_index_free(&index);
    return status;
}

static void what_was_deflated_comes_back(void) {
    ptio_error err;
    uint8_t *out = malloc(SIZE);
    for (int variant = 0; variant < 4; variant++) {
        zip_archive zip;
        deflated_archive(&zip, variant & 1);
        memset(out, 0, SIZE);
        ASSERT_OK(inflate(&zip, variant & 2, 0, out, &err));
        ASSERT_BYTES(out, content, SIZE);
        ASSERT_OK(inflate(&zip, variant & 2, 1, out, &err));
        ASSERT_OK(inflate(&zip, variant & 2, 2, out, &err));
        ASSERT_BYTES(out, "abc", 3);
        zip_free_archive(&zip);
    }
    free(out);
    ptio_inflater_free(NULL);
}

static void set_size(zip_archive *zip, size_t record, uint32_t size) {
    zip_put32(zip, zip->places[record].central + 24, size);
    zip_put32(zip, zip->places[record].local + 22, size);
}

static void streams_of_another_length(void) {
    ptio_error err;
    zip_archive zip;
    uint8_t *out = malloc(SIZE);
    deflated_archive(&zip, false);
    set_size(&zip, 0, SIZE - 1);
    ASSERT_FAILS(inflate(&zip, false, 0, out, &err), ZIP_MALFORMED, "Z11.longer", "goes on after the 199999 bytes",
                 zip.places[0].data);
    ASSERT_TEXT(err.record, "m/data.pkl");
    set_size(&zip, 0, SIZE + 1);
    free(out);
    out = malloc(SIZE + 1);
    ASSERT_FAILS(inflate(&zip, false, 0, out, &err), ZIP_MALFORMED, "Z11.short", "ends after 200000 bytes, the archive says 200001",
                 zip.places[0].data);
    set_size(&zip, 0, 0);
    ASSERT_FAILS(inflate(&zip, false, 0, out, &err), ZIP_MALFORMED, "Z11.longer", "after the 0 bytes", zip.places[0].data);
    free(out);
    zip_free_archive(&zip);
}

static void damaged_streams(void) {
    ptio_error err;
    zip_archive zip;
    uint8_t *out = malloc(SIZE);
    deflated_archive(&zip, false);
    zip_put8(&zip, zip.places[0].data, 0xFF); /* no such block type */
    ASSERT_FAILS(inflate(&zip, false, 0, out, &err), ZIP_MALFORMED, "Z11.inflate", "cannot be read: ", zip.places[0].data);
    zip_free_archive(&zip);
    /* every change of a small stream */
    zip_begin(&zip);
    zip_add(&zip, &(zip_member){.name = "m/data.pkl", .content = content, .size = 400, .deflated = true});
    zip_finish(&zip, true, NULL, 0);
    for (size_t i = zip.places[0].data; i < zip.places[0].data + zip.places[0].csize; i += 3) {
        uint8_t before = zip.bytes[i];
        for (unsigned value = 0; value < 256; value += 5) {
            zip_put8(&zip, i, value);
            ptio_status status = inflate(&zip, false, 0, out, &err);
            ASSERT_TRUE(status == PTIO_OK || status == PTIO_E_ZIP_MALFORMED || status == PTIO_E_CHECKSUM);
        }
        zip_put8(&zip, i, before);
    }
    zip_free_archive(&zip);
    free(out);
}

static void set_crc(zip_archive *zip, size_t record, uint32_t crc) {
    zip_put32(zip, zip->places[record].central + 16, crc);
    zip_put32(zip, zip->places[record].local + 14, crc);
}

static void checksums_are_checked_where_there_are_any(void) {
    ptio_error err;
    zip_archive zip;
    uint8_t *out = malloc(SIZE);
    deflated_archive(&zip, false);
    set_crc(&zip, 0, 0x1234);
    ASSERT_FAILS(inflate(&zip, false, 0, out, &err), CHECKSUM, "Z11.crc", "the archive says 0x00001234", zip.places[0].data);
    set_crc(&zip, 0, 0);
    ASSERT_OK(inflate(&zip, false, 0, out, &err));
    ASSERT_BYTES(out, content, SIZE);
    free(out);
    zip_free_archive(&zip);
}

static void impossible_ratios(void) {
    ptio_error err;
    zip_archive zip;
    uint8_t out[1];
    deflated_archive(&zip, false);
    size_t csize = zip.places[1].csize;
    set_size(&zip, 1, (uint32_t)(1032 * csize + 65));
    ASSERT_FAILS(inflate(&zip, false, 1, out, &err), ZIP_MALFORMED, "Z11.ratio", "compressed bytes cannot become",
                 zip.places[1].local);
    ASSERT_TEXT(err.record, "m/empty");
    set_size(&zip, 1, (uint32_t)(1032 * csize + 64));
    uint8_t *room = malloc(1032 * csize + 64);
    ASSERT_FAILS(inflate(&zip, false, 1, room, &err), ZIP_MALFORMED, "Z11.short", "ends after 0 bytes", zip.places[1].data);
    free(room);
    zip_free_archive(&zip);
}

static void the_sum_is_limited(void) {
    ptio_error err;
    zip_archive zip;
    ptio_zip_index index;
    ptio_limits limits = PTIO_LIMITS_DEFAULT;
    deflated_archive(&zip, false);
    ASSERT_OK(archive_index(&zip, &index, &err));
    limits.inflated_bytes = SIZE + 3;
    ASSERT_OK(ptio_inflate_allowed(&index, zip.size, &limits, 0, &err));
    limits.inflated_bytes = SIZE + 2;
    ASSERT_FAILS(ptio_inflate_allowed(&index, zip.size, &limits, 2, &err), LIMIT, "Z11.sum",
                 "have 200003 bytes in all, the limit inflated_bytes is 200002", zip.places[2].local);
    ASSERT_TEXT(err.record, "m/small");
    index.inflated_bytes = ((uint64_t)64 << 20) + 1;
    limits.inflated_bytes = 0;
    ASSERT_FAILS(ptio_inflate_allowed(&index, zip.size, &limits, 0, &err), LIMIT, "Z11.sum", "is 67108864", 0);
    ASSERT_OK(ptio_inflate_allowed(&index, (uint64_t)3 << 20, &limits, 0, &err));
    ptio_zip_index_free(&index);
    zip_free_archive(&zip);
}

static ptio_status fail_late(void *context, uint64_t offset, void *out, size_t n, ptio_error *err) {
    const zip_archive *zip = context;
    if (offset >= 70000 && offset < zip->directory && n > 24)
        return ptio_fail(err, PTIO_E_CANCELLED, "T0.test", offset, "interrupted");
    memcpy(out, zip->bytes + offset, n);
    return PTIO_OK;
}

static void errors_of_the_source_come_through(void) {
    static uint8_t noise[SIZE], out[SIZE];
    ptio_error err;
    zip_archive zip;
    ptio_source source;
    ptio_zip_index index;
    ptio_inflater *inflater = NULL;
    fill_with_noise(noise, SIZE);
    zip_begin(&zip);
    zip_add(&zip, &(zip_member){.name = "m/data.pkl", .content = noise, .size = SIZE, .deflated = true});
    zip_finish(&zip, true, NULL, 0);
    ASSERT_OK(archive_index(&zip, &index, &err));
    ptio_source_callback(fail_late, &zip, zip.size, &source);
    ASSERT_OK(ptio_zip_prove(&source, &index, 0, &err));
    ASSERT_OK(ptio_inflater_new(&source, &index, &inflater, &err));
    ptio_status status = ptio_inflate(inflater, 0, out, &err);
    ASSERT_EQUAL(status, PTIO_E_CANCELLED);
    ASSERT_TEXT(err.message, "interrupted");
    ptio_inflater_free(inflater);
    ptio_zip_index_free(&index);
    zip_free_archive(&zip);
}

/* After "hello", bytes are copied from a place before the beginning. */
static void streams_that_are_damaged_behind_their_end(void) {
    ptio_error err;
    zip_archive zip;
    uint8_t out[5];
    zip_begin(&zip);
    zip_add(&zip, &(zip_member){.name = "m/data.pkl", .content = "\xcb\x48\xcd\xc9\xc9\x07\x16\x00", .size = 8});
    zip_finish(&zip, true, NULL, 0);
    zip_put16(&zip, zip.places[0].central + 10, 8);
    zip_put16(&zip, zip.places[0].local + 8, 8);
    set_size(&zip, 0, 5);
    set_crc(&zip, 0, 0x3610a686);
    ASSERT_FAILS(inflate(&zip, false, 0, out, &err), ZIP_MALFORMED, "Z11.inflate", "cannot be read: ", zip.places[0].data);
    zip_free_archive(&zip);
}

static void any_read_may_fail(void) {
    uint8_t *out = malloc(SIZE);
    ptio_error err;
    zip_archive zip;
    ptio_zip_index index;
    ptio_status status = PTIO_E_IO;
    unsigned k = 1;
    deflated_archive(&zip, true);
    ASSERT_OK(archive_index(&zip, &index, &err));
    for (; status != PTIO_OK && k < 100; k++) {
        ptio_source source;
        ptio_inflater *inflater = NULL;
        sweep_reader reader = {.bytes = zip.bytes};
        ptio_source_callback(sweep_read, &reader, zip.size, &source);
        ASSERT_OK(ptio_zip_prove(&source, &index, 0, &err));
        ASSERT_OK(ptio_inflater_new(&source, &index, &inflater, &err));
        reader.fail_at = reader.reads + k;
        status = ptio_inflate(inflater, 0, out, &err);
        if (status != PTIO_OK) ASSERT_FAILS(status, IO, "T0.io", "the disk is gone", err.offset);
        ptio_inflater_free(inflater);
    }
    ASSERT_TRUE(status == PTIO_OK && k > 3);
    ASSERT_BYTES(out, content, SIZE);
    ptio_zip_index_free(&index);
    zip_free_archive(&zip);
    free(out);
}

/* libzip is told such a size in a zip64 field, and what it then gives is compared with it. */
static void sizes_beyond_4_gib_get_their_field(void) {
    enum { NOISE = 4300000 }; /* bytes that deflate might make of 4 GiB */
    ptio_error err;
    zip_archive zip;
    ptio_source source;
    ptio_zip_index index;
    ptio_inflater *inflater = NULL;
    ptio_limits limits = PTIO_LIMITS_DEFAULT;
    uint8_t *noise = malloc(NOISE);
    fill_with_noise(noise, NOISE);
    zip_begin(&zip);
    zip_add(&zip, &(zip_member){.name = "m/data.pkl", .content = noise, .size = NOISE, .deflated = true, .local_zip64 = 2, .local_sentinel = true, .central_zip64 = true});
    zip_finish(&zip, true, NULL, 0);
    zip_put64(&zip, zip.places[0].local + 30 + 10 + 4, UINT64_C(1) << 32);
    zip_put64(&zip, zip.places[0].central_extra + 4, UINT64_C(1) << 32);
    limits.inflated_bytes = UINT64_MAX;
    ASSERT_OK(archive_index(&zip, &index, &err));
    ptio_source_borrow(zip.bytes, zip.size, &source);
    ASSERT_OK(ptio_zip_prove(&source, &index, 0, &err));
    ASSERT_OK(ptio_inflate_allowed(&index, zip.size, &limits, 0, &err));
    ASSERT_OK(ptio_inflater_new(&source, &index, &inflater, &err));
    ASSERT_FAILS(ptio_inflate(inflater, 0, NULL, &err), ZIP_MALFORMED, "Z11.short",
                 "ends after 4300000 bytes, the archive says 4294967296", zip.places[0].data);
    ptio_inflater_free(inflater);
    ptio_zip_index_free(&index);
    zip_free_archive(&zip);
    free(noise);
}

/* Data that would pass for an end record or a zip64 locator, were it found. */
static void data_is_never_taken_for_structure(void) {
    ptio_error err;
    zip_archive zip;
    uint8_t forged[64] = "PK\6\7\0\0\0\0\1\0\0\0\0\0\0\0\1\0\0\0" "PK\5\6\0\0\0\0\1\0\1\0\x30", out[64];
    zip_begin(&zip);
    /* a deflate block that is stored: the bytes appear as they are, at the very end */
    zip_add(&zip, &(zip_member){.name = "m/data.pkl", .content = forged, .size = 20, .deflated = true});
    zip_finish(&zip, true, NULL, 0);
    ASSERT_OK(inflate(&zip, false, 0, out, &err));
    ASSERT_BYTES(out, forged, 20);
    zip_free_archive(&zip);
}

void suite_zip_inflate(void) {
    RUN(what_was_deflated_comes_back);
    RUN(streams_of_another_length);
    RUN(damaged_streams);
    RUN(checksums_are_checked_where_there_are_any);
    RUN(impossible_ratios);
    RUN(the_sum_is_limited);
    RUN(errors_of_the_source_come_through);
    RUN(streams_that_are_damaged_behind_their_end);
    RUN(any_read_may_fail);
    RUN(sizes_beyond_4_gib_get_their_field);
    RUN(data_is_never_taken_for_structure);
}
