/* SPDX-License-Identifier: Apache-2.0
 *
 * Local headers and data descriptors against the directory (Z8, and the local part of Z6).
 */
#include "archives.h"

void suite_zip_local(void);

static void finished(zip_archive *zip) {
    archive_small(zip);
    zip_finish(zip, true, NULL, 0);
}

static void one_member(zip_archive *zip, zip_member member) {
    zip_begin(zip);
    member.name = "m/data.pkl";
    if (member.content == NULL && member.size != 0) member.content = "abcdefgh";
    zip_add(zip, &member);
    zip_finish(zip, true, NULL, 0);
}

static void offsets_of_proven_records(void) {
    ptio_error err;
    ptio_source source;
    ptio_zip_index index;
    zip_archive zip;
    finished(&zip);
    ptio_source_borrow(zip.bytes, zip.size, &source);
    ASSERT_OK(archive_index(&zip, &index, &err));
    for (uint32_t i = 0; i < 3; i++) {
        ASSERT_OK(ptio_zip_prove(&source, &index, i, &err));
        ASSERT_OK(ptio_zip_prove(&source, &index, i, &err));
        ASSERT_EQUAL(index.records[i].data, zip.places[i].data);
        ASSERT_EQUAL(ptio_zip_record_end(&index, i), i < 2 ? zip.places[i].descriptor + 16 : zip.directory);
        bool covered = true; /* a proven record is still not there where bytes are missing */
        ASSERT_OK(ptio_zip_prove_in(&index, i, zip.bytes, 0, ptio_zip_record_end(&index, i) - 1, &covered, &err));
        ASSERT_TRUE(!covered);
        ASSERT_OK(ptio_zip_prove_in(&index, i, zip.bytes, 0, ptio_zip_record_end(&index, i), &covered, &err));
        ASSERT_TRUE(covered);
    }
    ptio_zip_index_free(&index);
    zip_free_archive(&zip);
}

static void the_ways_in_which_writers_write_sizes(void) {
    static const zip_member members[] = {
        {.size = 8},
        {.size = 8, .descriptor = true},
        {.size = 8, .descriptor = true, .sizes_early = true},
        {.size = 8, .descriptor = true, .local_zip64 = 2, .local_zip64_zeros = true, .local_sentinel = true},
        {.size = 8, .descriptor = true, .local_zip64 = 2, .local_sentinel = true},
        {.size = 8, .descriptor = true, .local_zip64 = 1, .alignment = 64},
        {.size = 8, .descriptor = true, .local_zip64 = 3, .alignment = 64},
        {.size = 8, .descriptor = true, .local_sentinel = true},
        {.size = 8, .local_zip64 = 2, .local_sentinel = true},
        {.size = 8, .local_zip64 = 3, .local_sentinel = true, .central_zip64 = true},
        {.size = 8, .local_zip64 = 2},
        {.size = 8, .alignment = 4096, .descriptor = true},
        {.size = 8, .alignment = 65535, .descriptor = true},
        {.size = 0},
        {.size = 0, .descriptor = true},
        {.size = 0, .descriptor = true, .local_zip64 = 2},
        {.size = 8, .deflated = true},
        {.size = 8, .deflated = true, .descriptor = true},
        {.size = 0, .deflated = true, .descriptor = true},
        {.size = 8, .extra = "UT\5\0\1xxxx", .extra_length = 9},
    };
    for (size_t i = 0; i < sizeof members / sizeof *members; i++) {
        zip_archive zip;
        one_member(&zip, members[i]);
        FINE(zip);
    }
    zip_archive zip; /* flag 8, no data, no descriptor */
    zip_begin(&zip);
    zip_add(&zip, &(zip_member){.name = "m/data.pkl", .descriptor = true});
    zip.size -= 16;
    zip_add(&zip, &(zip_member){.name = "m/data/0", .content = "x", .size = 1});
    zip_finish(&zip, true, NULL, 0);
    FINE(zip);
}

static void headers_that_disagree(void) {
    zip_archive zip;
    finished(&zip);
    zip_put8(&zip, zip.places[1].local, 'Q');
    SPOILED(zip, ZIP_MALFORMED, "Z8.signature", "there is no local header", zip.places[1].local);
    finished(&zip);
    zip_put8(&zip, zip.places[1].local + 30, 'n');
    SPOILED(zip, ZIP_AMBIGUOUS, "Z8.name", "that of another name, beginning 'n/data/0'", zip.places[1].local + 30);
    finished(&zip);
    zip_put16(&zip, zip.places[1].local + 26, 7);
    SPOILED(zip, ZIP_AMBIGUOUS, "Z8.name", "beginning 'm/data/'", zip.places[1].local + 30);
    finished(&zip);
    zip_put16(&zip, zip.places[1].local + 26, 0xFFFF);
    SPOILED(zip, ZIP_AMBIGUOUS, "Z8.name", "beginning 'm/data/0'", zip.places[1].local + 30);
    static const uint64_t flags[] = {0, 0x0008, 0x0800, 0x0809, 0x0828, 0x0848, 0x2808, 0x080A};
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) {
        finished(&zip);
        zip_put16(&zip, zip.places[1].local + 6, flags[i]);
        SPOILED(zip, ZIP_AMBIGUOUS, "Z8.flags", "the directory 0x0808", zip.places[1].local + 6);
    }
    finished(&zip);
    zip_put16(&zip, zip.places[1].local + 8, 8);
    SPOILED(zip, ZIP_AMBIGUOUS, "Z8.method", "has method 8, the directory 0", zip.places[1].local + 8);
    for (size_t record = 1; record <= 2; record++) { /* with and without flag 8 */
        finished(&zip);
        zip_put32(&zip, zip.places[record].local + 14, 1);
        SPOILED(zip, ZIP_AMBIGUOUS, "Z8.crc", "has CRC-32 0x00000001", zip.places[record].local + 14);
        finished(&zip);
        zip_put32(&zip, zip.places[record].local + 18, 1);
        SPOILED(zip, ZIP_AMBIGUOUS, "Z8.csize", "has 1 bytes of data", zip.places[record].local + 18);
        finished(&zip);
        zip_put32(&zip, zip.places[record].local + 22, 1);
        SPOILED(zip, ZIP_AMBIGUOUS, "Z8.usize", "has 1 bytes of content", zip.places[record].local + 22);
    }
    finished(&zip); /* "not known yet" needs flag 8 */
    zip_put32(&zip, zip.places[2].local + 14, 0);
    SPOILED(zip, ZIP_AMBIGUOUS, "Z8.crc", "has CRC-32 0x00000000", zip.places[2].local + 14);
    finished(&zip);
    zip_put32(&zip, zip.places[2].local + 18, 0xFFFFFFFF);
    SPOILED(zip, ZIP_AMBIGUOUS, "Z8.csize", "4294967295 bytes of data", zip.places[2].local + 18);
    one_member(&zip, (zip_member){.size = 8, .local_zip64 = 2, .local_sentinel = true, .local_zip64_zeros = true});
    SPOILED(zip, ZIP_AMBIGUOUS, "Z8.csize", "4294967295 bytes of data", 18);
    finished(&zip);
    zip_put32(&zip, zip.places[1].local + 14, 0xFFFFFFFF);
    FINE(zip);
}

static void data_that_reaches_too_far(void) {
    zip_archive zip;
    finished(&zip);
    zip_put16(&zip, zip.places[2].local + 28, 1);
    SPOILED(zip, ZIP_MALFORMED, "Z8.end", "what follows it begins at", zip.places[2].local + 28);
    finished(&zip);
    zip_put16(&zip, zip.places[0].local + 28, 0xFFFF);
    SPOILED(zip, ZIP_MALFORMED, "Z8.end", "what follows it begins at", 28);
}

static void local_extra_fields(void) {
    static const zip_member with_zip64 = {.size = 8, .descriptor = true, .local_zip64 = 2, .extra = "UT\5\0\1xxxx", .extra_length = 9};
    const size_t extra = 40;
    zip_archive zip;
    one_member(&zip, with_zip64);
    zip_put16(&zip, extra + 22, 6);
    SPOILED(zip, ZIP_MALFORMED, "Z6.local_tile", "29 bytes of the local header", extra + 20);
    one_member(&zip, with_zip64);
    zip_put16(&zip, extra + 22, 2); /* three bytes are left: no field */
    SPOILED(zip, ZIP_MALFORMED, "Z6.local_tile", "29 bytes of the local header", extra + 26);
    one_member(&zip, with_zip64);
    zip_put16(&zip, extra + 2, 0xFFFF);
    SPOILED(zip, ZIP_MALFORMED, "Z6.local_tile", "29 bytes of the local header", extra);
    one_member(&zip, with_zip64);
    zip_put16(&zip, extra + 20, 1);
    SPOILED(zip, ZIP_AMBIGUOUS, "Z6.local_twice", "two zip64 fields", extra + 20);
    one_member(&zip, (zip_member){.size = 8, .extra = "\1\0\5\0\0\0\0\0\0", .extra_length = 9});
    zip_put16(&zip, zip.places[0].central_extra, 2);
    SPOILED(zip, ZIP_MALFORMED, "Z6.local_length", "has 5 bytes, expected 8, 16 or 24", extra);
    for (size_t i = 0; i < 2; i++) {
        one_member(&zip, with_zip64);
        zip_put64(&zip, extra + 4 + 8 * i, 7);
        SPOILED(zip, ZIP_AMBIGUOUS, "Z6.local_value", "is 7, the directory says 8", extra + 4 + 8 * i);
    }
    one_member(&zip, (zip_member){.size = 8, .descriptor = true, .local_zip64 = 1});
    zip_put64(&zip, extra + 4, 8); /* one value: torch's offset, others' size */
    FINE(zip);
    one_member(&zip, (zip_member){.size = 8, .descriptor = true, .local_zip64 = 1});
    zip_put64(&zip, extra + 4, 9);
    SPOILED(zip, ZIP_AMBIGUOUS, "Z6.local_value", "is 9, the directory says 8", extra + 4);
}

static void descriptors_that_disagree(void) {
    zip_archive zip;
    for (size_t at = 0; at < 16; at += 4) {
        finished(&zip);
        zip_put8(&zip, zip.places[1].descriptor + at, 0x77);
        SPOILED(zip, ZIP_AMBIGUOUS, "Z8.descriptor", "missing or does not agree", zip.places[1].descriptor);
    }
    for (size_t at = 0; at < 24; at += 4) {
        one_member(&zip, (zip_member){.size = 8, .descriptor = true, .local_zip64 = 2});
        zip_put8(&zip, zip.places[0].descriptor + at, 0x77);
        SPOILED(zip, ZIP_AMBIGUOUS, "Z8.descriptor", "missing or does not agree", zip.places[0].descriptor);
    }
    for (size_t missing = 1; missing <= 16; missing++) {
        zip_begin(&zip);
        zip_add(&zip, &(zip_member){.name = "m/data.pkl", .content = "abc", .size = 3, .descriptor = true});
        zip.size -= missing;
        zip_finish(&zip, true, NULL, 0);
        SPOILED(zip, ZIP_AMBIGUOUS, "Z8.descriptor_room", "does not fit before", zip.places[0].descriptor);
    }
    /* 24 bytes although the local header has no zip64 field */
    one_member(&zip, (zip_member){.size = 8, .descriptor = true, .local_zip64 = 2});
    zip_put16(&zip, 40, 0x5858);
    SPOILED(zip, ZIP_AMBIGUOUS, "Z8.descriptor", "missing or does not agree", zip.places[0].descriptor);
    /* 16 bytes although it has one */
    zip_begin(&zip);
    zip_add(&zip, &(zip_member){.name = "m/data.pkl", .content = "abc", .size = 3, .descriptor = true, .extra = "XX\x10\0" "0123456789abcdef", .extra_length = 20});
    zip_raw(&zip, "        ", 8);
    zip_finish(&zip, true, NULL, 0);
    zip_put16(&zip, 40, 1);
    zip_put64(&zip, 44, 0);
    zip_put64(&zip, 52, 0);
    SPOILED(zip, ZIP_AMBIGUOUS, "Z8.descriptor", "missing or does not agree", zip.places[0].descriptor);
}

static void errors_name_the_record(void) {
    ptio_error err;
    zip_archive zip;
    finished(&zip);
    zip_put16(&zip, zip.places[1].local + 8, 8);
    ASSERT_FAILS(archive_prove(&zip, &err), ZIP_AMBIGUOUS, "Z8.method", "method", zip.places[1].local + 8);
    ASSERT_TEXT(err.record, "m/data/0");
    zip_free_archive(&zip);
}

static void headers_longer_than_the_stack_buffer(void) {
    zip_archive zip;
    static char name[2000], extra[3004] = "XX\xb8\x0b";
    memset(name, 'n', sizeof name);
    memcpy(name, "m/", 2);
    zip_begin(&zip);
    zip_add(&zip, &(zip_member){.name = name, .name_length = sizeof name, .content = "x", .size = 1, .extra = extra, .extra_length = sizeof extra});
    zip_finish(&zip, true, NULL, 0);
    ptio_error err;
    ASSERT_OK(archive_prove(&zip, &err));
    zip_put8(&zip, 1500, 'N');
    SPOILED(zip, ZIP_AMBIGUOUS, "Z8.name", "another name, beginning 'm/nnnn", 30);
}

void suite_zip_local(void) {
    RUN(offsets_of_proven_records);
    RUN(the_ways_in_which_writers_write_sizes);
    RUN(headers_that_disagree);
    RUN(data_that_reaches_too_far);
    RUN(local_extra_fields);
    RUN(descriptors_that_disagree);
    RUN(errors_name_the_record);
    RUN(headers_longer_than_the_stack_buffer);
}
