/* SPDX-License-Identifier: Apache-2.0
 *
 * The end record, the zip64 record and what they say of the directory (Z1-Z4).
 */
#include <stdlib.h>

#include "archives.h"
#include "zip_end.h"

void suite_zip_end(void);

static void small_archive(zip_archive *zip, bool zip64) {
    archive_small(zip);
    zip_finish(zip, zip64, NULL, 0);
}

static void archives_with_and_without_zip64(void) {
    zip_archive zip;
    small_archive(&zip, false);
    FINE(zip);
    small_archive(&zip, true);
    FINE(zip);
    /* real numbers or sentinels in the end record */
    small_archive(&zip, true);
    zip_put16(&zip, zip.end + 4, 0xFFFF);
    zip_put16(&zip, zip.end + 6, 0xFFFF);
    zip_put16(&zip, zip.end + 8, 0xFFFF);
    zip_put16(&zip, zip.end + 10, 0xFFFF);
    zip_put32(&zip, zip.end + 12, 0xFFFFFFFF);
    zip_put32(&zip, zip.end + 16, 0xFFFFFFFF);
    FINE(zip);
}

static void comments_of_any_length(void) {
    static char comment[65535];
    zip_archive zip;
    memset(comment, 'P', sizeof comment);
    for (size_t n = 1; n <= sizeof comment; n = n < 65535 && n * 41 > 65535 ? 65535 : n * 41) {
        archive_small(&zip);
        zip_finish(&zip, n % 2 == 0, comment, n);
        FINE(zip);
        if (n == 65535) break;
    }
    /* an end record in the comment that does not fit is no second one */
    memset(comment, 0, sizeof comment);
    memcpy(comment + 10, "PK\5\6", 4);
    archive_small(&zip);
    zip_finish(&zip, true, comment, 100);
    FINE(zip);
}

static void cut_off_files_are_truncated(void) {
    zip_archive zip;
    small_archive(&zip, true);
    size_t size = zip.size;
    for (zip.size = 4; zip.size < size; zip.size++) {
        ptio_error err;
        ptio_status status = archive_prove(&zip, &err);
        ASSERT_EQUAL(status, PTIO_E_TRUNCATED);
        ASSERT_TEXT(err.check, "Z2.end");
        ASSERT_CONTAINS(err.message, "has no end record: the file is cut off at byte");
        ASSERT_EQUAL(err.offset, zip.size);
    }
    zip_free_archive(&zip);
    /* of a file whose end is further away than a comment is long */
    zip_torch(&zip, 3, 100000);
    zip.size -= 150000;
    SPOILED(zip, TRUNCATED, "Z2.end", "the file is cut off at byte", zip.size);
    zip_begin(&zip);
    SPOILED(zip, TRUNCATED, "Z2.end", "cut off at byte 0", 0);
}

static void bytes_after_the_archive(void) {
    zip_archive zip;
    small_archive(&zip, true);
    size_t end = zip.size;
    zip_raw(&zip, "junk", 4);
    SPOILED(zip, ZIP_AMBIGUOUS, "Z1.after", "4 bytes follow the end of the archive", end);
    archive_small(&zip);
    zip_finish(&zip, false, "comment", 7);
    end = zip.size;
    zip_raw(&zip, "j", 1);
    SPOILED(zip, ZIP_AMBIGUOUS, "Z1.after", "1 bytes follow", end);
    /* too much of it, and the file looks like a cut-off one */
    static char junk[70000];
    small_archive(&zip, true);
    zip_raw(&zip, junk, sizeof junk);
    SPOILED(zip, TRUNCATED, "Z2.end", "no end record", zip.size);
}

static void two_end_records(void) {
    zip_archive zip;
    uint8_t inner[22] = "PK\5\6";
    archive_small(&zip);
    zip_finish(&zip, true, inner, sizeof inner);
    SPOILED(zip, ZIP_AMBIGUOUS, "Z2.unique", "two end records fit", zip.end + 22);
}

static void two_archives_in_a_row(void) {
    for (int zip64 = 0; zip64 < 2; zip64++) {
        zip_archive first, second;
        small_archive(&first, zip64);
        small_archive(&second, zip64);
        size_t before = first.size;
        zip_raw(&first, second.bytes, second.size);
        zip_free_archive(&second);
        SPOILED(first, ZIP_AMBIGUOUS, "Z1.before", "bytes stand before the archive", before);
        /* other bytes before */
        small_archive(&second, zip64);
        zip_begin(&first);
        zip_raw(&first, "#!/bin/sh\n", 10);
        zip_raw(&first, second.bytes, second.size);
        zip_free_archive(&second);
        SPOILED(first, ZIP_AMBIGUOUS, "Z1.before", "10 bytes stand before the archive", 10);
    }
}

static void the_file_begins_with_a_member(void) {
    zip_archive zip;
    archive_small(&zip);
    zip_finish(&zip, true, NULL, 0);
    zip_put8(&zip, 0, 'X');
    SPOILED(zip, ZIP_AMBIGUOUS, "Z1.magic", "does not begin with a member", 0);
    /* a local header that no entry knows of stands there */
    zip_begin(&zip);
    zip_raw(&zip, "PK\3\4 and more", 13);
    zip_add(&zip, &(zip_member){.name = "m/data.pkl", .content = ".", .size = 1});
    zip_finish(&zip, true, NULL, 0);
    SPOILED(zip, ZIP_AMBIGUOUS, "Z1.first", "13 bytes stand before the first member", 0);
}

static void disks(void) {
    zip_archive zip;
    for (size_t field = 4; field <= 6; field += 2) {
        small_archive(&zip, field == 4);
        zip_put16(&zip, zip.end + field, 1);
        SPOILED(zip, ZIP_MALFORMED, "Z3.disk", "names disks", zip.end + 4);
        small_archive(&zip, false);
        zip_put16(&zip, zip.end + field, 0xFFFF);
        SPOILED(zip, ZIP_MALFORMED, "Z3.disk", "names disks", zip.end + 4);
    }
    small_archive(&zip, true);
    zip_put32(&zip, zip.locator + 4, 1);
    SPOILED(zip, ZIP_MALFORMED, "Z3.disks", "disk 1 of 1, expected disk 0 of 1", zip.locator + 4);
    small_archive(&zip, true);
    zip_put32(&zip, zip.locator + 16, 2);
    SPOILED(zip, ZIP_MALFORMED, "Z3.disks", "disk 0 of 2", zip.locator + 4);
    for (size_t field = 16; field <= 20; field += 4) {
        small_archive(&zip, true);
        zip_put32(&zip, zip.record64 + field, 3);
        SPOILED(zip, ZIP_MALFORMED, "Z3.record_disk", "3", zip.record64 + 16);
    }
}

static void counts_that_disagree(void) {
    zip_archive zip;
    small_archive(&zip, true);
    zip_put16(&zip, zip.end + 8, 2);
    SPOILED(zip, ZIP_MALFORMED, "Z3.entries", "counts 2 entries on this disk and 3 in all", zip.end + 8);
    small_archive(&zip, true);
    zip_put64(&zip, zip.record64 + 24, 4);
    SPOILED(zip, ZIP_MALFORMED, "Z3.record_entries", "counts 4 entries on this disk and 3 in all", zip.record64 + 24);
    small_archive(&zip, true);
    zip_put16(&zip, zip.end + 8, 2);
    zip_put16(&zip, zip.end + 10, 2);
    SPOILED(zip, ZIP_MALFORMED, "Z3.count64", "counts 2 entries, the zip64 record 3", zip.end + 10);
    small_archive(&zip, true);
    zip_put32(&zip, zip.end + 12, 7);
    SPOILED(zip, ZIP_MALFORMED, "Z3.size64", "gives the directory 7 bytes", zip.end + 12);
    small_archive(&zip, true);
    zip_put32(&zip, zip.end + 16, 9);
    SPOILED(zip, ZIP_MALFORMED, "Z3.offset64", "at byte 9", zip.end + 16);
}

static void zip64_records_in_the_wrong_place(void) {
    static const uint64_t places[] = {UINT64_MAX, UINT64_MAX - 50, (uint64_t)1 << 63};
    zip_archive zip;
    for (size_t i = 0; i < 3; i++) {
        small_archive(&zip, true);
        zip_put64(&zip, zip.locator + 8, places[i]);
        SPOILED(zip, ZIP_MALFORMED, "Z3.record_at", "does not fit before", zip.locator + 8);
    }
    small_archive(&zip, true);
    zip_put64(&zip, zip.locator + 8, zip.locator); /* at its own locator */
    SPOILED(zip, ZIP_MALFORMED, "Z3.record_at", "does not fit before", zip.locator + 8);
    small_archive(&zip, true);
    zip_put64(&zip, zip.locator + 8, zip.record64 + 1);
    SPOILED(zip, ZIP_MALFORMED, "Z3.record_at", "does not fit before", zip.locator + 8);
    small_archive(&zip, true);
    zip_put64(&zip, zip.locator + 8, zip.record64 - 1);
    SPOILED(zip, ZIP_MALFORMED, "Z3.record_signature", "there is no zip64 record", zip.record64 - 1);
    small_archive(&zip, true);
    zip_put64(&zip, zip.locator + 8, 0);
    SPOILED(zip, ZIP_MALFORMED, "Z3.record_signature", "there is no zip64 record at byte 0", 0);
    static const uint64_t sizes[] = {0, 43, 45, UINT64_MAX, UINT64_MAX - 11};
    for (size_t i = 0; i < 5; i++) {
        small_archive(&zip, true);
        zip_put64(&zip, zip.record64 + 4, sizes[i]);
        SPOILED(zip, ZIP_MALFORMED, "Z3.record_size", "there are 44", zip.record64 + 4);
    }
}

static void directories_in_the_wrong_place(void) {
    zip_archive zip;
    for (int by = -1; by <= 1; by += 2) {
        small_archive(&zip, false);
        zip_put32(&zip, zip.end + 12, zip.directory_size + (uint64_t)(int64_t)by);
        SPOILED(zip, ZIP_MALFORMED, "Z4.position", "expected", zip.end);
        small_archive(&zip, false);
        zip_put32(&zip, zip.end + 16, zip.directory + (uint64_t)(int64_t)by);
        SPOILED(zip, ZIP_MALFORMED, "Z4.position", "expected", zip.end);
    }
    small_archive(&zip, true);
    zip_put32(&zip, zip.end + 12, 0xFFFFFFFF);
    zip_put32(&zip, zip.end + 16, 0xFFFFFFFF);
    zip_put64(&zip, zip.record64 + 40, UINT64_MAX);
    SPOILED(zip, ZIP_MALFORMED, "Z4.position", "expected", zip.end);
}

static void more_entries_than_the_directory_can_hold(void) {
    static const uint64_t counts[] = {(uint64_t)1 << 63, UINT32_MAX, 65535, 6};
    zip_archive zip;
    for (size_t i = 0; i < 4; i++) {
        small_archive(&zip, true);
        zip_put16(&zip, zip.end + 8, 0xFFFF);
        zip_put16(&zip, zip.end + 10, 0xFFFF);
        zip_put64(&zip, zip.record64 + 24, counts[i]);
        zip_put64(&zip, zip.record64 + 32, counts[i]);
        SPOILED(zip, ZIP_MALFORMED, "Z4.entries", "hold at most", zip.end);
    }
}

/* A file of 5 GiB that consists of an end record: nothing of it may be allocated. */
static ptio_status huge(void *context, uint64_t offset, void *out, size_t n, ptio_error *err) {
    (void)err;
    const uint64_t *size = context;
    uint8_t end[98] = "PK\6\6", *p = out;
    memset(p, 0, n);
    end[4] = 44;
    end[24] = end[32] = 1;
    for (unsigned i = 0; i < 8; i++) end[40 + i] = (uint8_t)((*size - 98) >> (8 * i));
    memcpy(end + 56, "PK\6\7", 4);
    for (unsigned i = 0; i < 8; i++) end[64 + i] = (uint8_t)((*size - 98) >> (8 * i));
    end[72] = 1;
    memcpy(end + 76, "PK\5\6", 4);
    end[84] = end[86] = 1;
    memset(end + 88, 0xFF, 4);
    for (size_t i = 0; i < n; i++)
        if (offset + i >= *size - 98) p[i] = end[offset + i - (*size - 98)];
    if (offset == 0) memcpy(p, "PK\3\4", n < 4 ? n : 4);
    return PTIO_OK;
}

static void directories_beyond_4_gib(void) {
    ptio_error err;
    ptio_source source;
    ptio_zip_index index;
    ptio_limits limits = PTIO_LIMITS_DEFAULT;
    uint64_t size = UINT64_C(5) << 30;
    ptio_source_callback(huge, &size, size, &source);
    ASSERT_FAILS(ptio_zip_index_read(&source, &limits, &index, &err), LIMIT, "Z4.size",
                 "the directory has 5368709022 bytes, at most 4294967295 are read", 0);
}

void suite_zip_end(void) {
    RUN(archives_with_and_without_zip64);
    RUN(comments_of_any_length);
    RUN(cut_off_files_are_truncated);
    RUN(bytes_after_the_archive);
    RUN(two_end_records);
    RUN(two_archives_in_a_row);
    RUN(the_file_begins_with_a_member);
    RUN(disks);
    RUN(counts_that_disagree);
    RUN(zip64_records_in_the_wrong_place);
    RUN(directories_in_the_wrong_place);
    RUN(more_entries_than_the_directory_can_hold);
    RUN(directories_beyond_4_gib);
}
