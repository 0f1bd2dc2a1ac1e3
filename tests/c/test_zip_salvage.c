/* SPDX-License-Identifier: Apache-2.0
 *
 * Archives without a directory: what is whole is found, by local headers and descriptors.
 */
#include <stdlib.h>

#include "archives.h"
#include "memory.h"
#include "zip_salvage.h"

void suite_zip_salvage(void);

static const ptio_limits limits = PTIO_LIMITS_DEFAULT;
static const ptio_read_options reading = {.threads = 1};

/* In place and through a callback: both have to find the same. */
static ptio_status salvage(const zip_archive *zip, ptio_zip_index *out, ptio_error *err) {
    ptio_source source;
    ptio_zip_index other;
    ptio_error other_err = {0};
    ptio_source_borrow(zip->bytes, zip->size, &source);
    ptio_status status = ptio_zip_salvage(&source, &reading, out, err);
    archive_callback(zip, &source);
    ASSERT_EQUAL(ptio_zip_salvage(&source, &reading, &other, &other_err), status);
    if (status != PTIO_OK) return status;
    ASSERT_EQUAL(other.count, out->count);
    ptio_zip_index_free(&other);
    return PTIO_OK;
}

/* Names of the members that are found and have their CRC, below the stem, one blank behind each. */
static const char *intact(const zip_archive *zip) {
    static char names[4096];
    ptio_source source;
    ptio_zip_index index;
    ptio_record_verdict *verdicts;
    ptio_error err = {0};
    size_t used = 0;
    names[0] = '\0';
    ptio_source_borrow(zip->bytes, zip->size, &source);
    if (salvage(zip, &index, &err) != PTIO_OK) return err.check;
    ASSERT_OK(ptio_zip_prove_damaged(&source, &index, &reading, &err));
    ASSERT_OK(ptio_records_verify(&source, &index, &limits, &reading, &verdicts, &err));
    for (uint32_t i = 0; i < index.count; i++) {
        size_t length;
        const uint8_t *name = ptio_zip_name(&index, i, &length);
        if (verdicts[i].error != NULL) continue;
        ASSERT_TRUE(ptio_zip_record_end(&index, i) <= zip->size);
        used += (size_t)snprintf(names + used, sizeof names - used, "%.*s ", (int)(length - index.stem_length - 1),
                                 (const char *)name + index.stem_length + 1);
    }
    ptio_verdicts_free(verdicts, index.count);
    ptio_zip_index_free(&index);
    return names;
}

#define FOUND(zip, expected)                \
    do {                                    \
        ASSERT_TEXT(intact(&(zip)), expected); \
        zip_free_archive(&(zip));           \
    } while (0)

static void add(zip_archive *zip, const char *name, const void *content, size_t size) {
    zip_member member = {.name = name, .content = content, .size = size, .descriptor = size > 0, .alignment = 64};
    zip_add(zip, &member);
}

static void small(zip_archive *zip) {
    zip_begin(zip);
    add(zip, "m/data.pkl", "\x80\2}q\0.", 6);
    add(zip, "m/data/0", "zero and more of it", 19);
    add(zip, "m/data/1", "one and more of it", 18);
    add(zip, "m/empty", "", 0);
    add(zip, "m/version", "3\n", 2);
}
#define ALL "data.pkl data/0 data/1 empty version "

static void every_member_that_is_whole_is_found_in_a_truncated_file(void) {
    zip_archive zip;
    small(&zip);
    size_t size = zip.size;
    static char expected[200];
    for (zip.size = 0; zip.size <= size; zip.size++) {
        expected[0] = '\0';
        for (size_t i = 0; i < zip.count; i++) {
            size_t end = zip.places[i].descriptor + (zip.members[i].descriptor ? 16 : 0);
            if (end <= zip.size) sprintf(expected + strlen(expected), "%s ", zip.members[i].name + 2);
        }
        size_t begun = 30 + strlen("m/data.pkl");
        const char *nothing = zip.size < begun || zip.size < zip.places[0].data ? "S1.pickle" : "S1.found";
        ASSERT_TEXT(intact(&zip), expected[0] == '\0' ? nothing : expected);
    }
    zip_free_archive(&zip);
}

static void a_file_without_a_pickle(void) {
    zip_archive zip;
    ptio_zip_index index;
    ptio_error err;
    zip_begin(&zip);
    add(&zip, "m/data/0", "zero", 4);
    add(&zip, "m/data.pkl/x", "zero", 4);
    add(&zip, "a/b/data.pkl", "zero", 4);
    add(&zip, "/data.pkl", "zero", 4);
    ASSERT_FAILS(salvage(&zip, &index, &err), TRUNCATED, "S1.pickle", "there is no data.pkl in the", zip.size);
    zip_free_archive(&zip);
    small(&zip);
    zip.size = zip.places[0].data + 3;
    ASSERT_FAILS(salvage(&zip, &index, &err), TRUNCATED, "S1.found", "data.pkl is not whole in this file", zip.size);
    zip_free_archive(&zip);
}

static void a_useless_directory_is_not_needed(void) {
    zip_archive zip;
    small(&zip);
    zip_finish(&zip, true, NULL, 0);
    memset(zip.bytes + zip.directory, 0, zip.size - zip.directory);
    FOUND(zip, ALL);
    small(&zip);
    zip_finish(&zip, true, NULL, 0);
    zip_raw(&zip, "junk", 4);
    FOUND(zip, ALL);
}

static void bytes_before_and_between_members(void) {
    zip_archive zip;
    zip_begin(&zip);
    zip_raw(&zip, "PK\3\4 is what some other file begins with, PK\7\10 too", 50);
    add(&zip, "m/data.pkl", "\x80\2}q\0.", 6);
    zip_raw(&zip, "garbage PK\3", 11);
    add(&zip, "m/data/0", "zero", 4);
    zip_raw(&zip, "PK\3\4PK\3\4PK\7\10PK\7\10PK\5\6", 20);
    add(&zip, "m/data/1", "one", 3);
    zip_finish(&zip, false, NULL, 0);
    FOUND(zip, "data.pkl data/0 data/1 ");
}

static void damaged_bytes_cost_their_member_alone(void) {
    zip_archive zip;
    small(&zip);
    zip.bytes[zip.places[1].data + 3] ^= 1;
    FOUND(zip, "data.pkl data/1 empty version ");
    /* bytes that are too many, or too few */
    small(&zip);
    memmove(zip.bytes + zip.places[1].data + 4, zip.bytes + zip.places[1].data, zip.size - zip.places[1].data - 4);
    FOUND(zip, "data.pkl data/1 empty ");
    small(&zip);
    zip.size -= 4;
    memmove(zip.bytes + zip.places[1].data, zip.bytes + zip.places[1].data + 4, zip.size - zip.places[1].data);
    FOUND(zip, "data.pkl data/1 empty version ");
    /* a lost header */
    small(&zip);
    zip_put32(&zip, zip.places[1].local, 0);
    FOUND(zip, "data.pkl data/1 empty version ");
    /* nothing says where the last one ends */
    small(&zip);
    zip_put32(&zip, zip.places[4].descriptor, 0);
    FOUND(zip, "data.pkl data/0 data/1 empty ");
}

static void a_damaged_descriptor_costs_nothing(void) {
    for (size_t field = 0; field < 16; field += 4) {
        zip_archive zip;
        small(&zip);
        zip.bytes[zip.places[1].descriptor + field] ^= 4;
        FOUND(zip, field == 4 ? "data.pkl data/1 empty version " : ALL);
    }
    /* but a CRC of 0 does not mean "not computed" there */
    zip_archive zip;
    small(&zip);
    memset(zip.bytes + zip.places[1].descriptor, 0, 16);
    FOUND(zip, "data.pkl data/1 empty version ");
}

static void a_checksum_of_zero_was_not_computed(void) {
    zip_archive zip;
    small(&zip);
    zip_put32(&zip, zip.places[1].descriptor + 4, 0);
    FOUND(zip, ALL);
}

static void sizes_of_64_bits(void) {
    for (unsigned way = 0; way < 4; way++) {
        zip_archive zip;
        zip_member pickle = {.name = "m/data.pkl", .content = "\x80\2}q\0.", .size = 6, .descriptor = true};
        zip_member storage = {.name = "m/data/0", .content = "zero", .size = 4, .alignment = 64};
        storage.descriptor = way < 2;
        storage.local_zip64 = way % 2 == 0 ? 2 : 3;
        storage.local_zip64_zeros = way < 2;
        storage.local_sentinel = true;
        zip_begin(&zip);
        zip_add(&zip, &pickle);
        zip_add(&zip, &storage);
        storage.name = "m/data/1";
        zip_add(&zip, &storage);
        FOUND(zip, "data.pkl data/0 data/1 ");
    }
    /* a descriptor of the other form is none */
    zip_archive zip;
    small(&zip);
    zip_raw(&zip, "PK\7\10....\2\0\0\0\0\0\0\0\2\0\0\0\0\0\0\0", 24);
    FOUND(zip, ALL);
}

static void members_that_give_their_sizes_first(void) {
    static const bool choices[] = {false, true};
    for (size_t deflated = 0; deflated < 2; deflated++)
        for (size_t descriptor = 0; descriptor < 2; descriptor++) {
            zip_archive zip;
            zip_member member = {.name = "m/data.pkl",
                                 .content = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
                                 .size = 32,
                                 .deflated = choices[deflated],
                                 .descriptor = choices[descriptor]};
            zip_begin(&zip);
            zip_add(&zip, &member);
            member.name = "m/data/0";
            zip_add(&zip, &member);
            member.name = "m/d/"; /* a directory is no member */
            member.size = 0;
            member.deflated = member.descriptor = false;
            zip_add(&zip, &member);
            member = (zip_member){.name = "m/data/1", .content = "bbbb", .size = 4};
            zip_add(&zip, &member);
            zip_raw(&zip, "\0\0\0\0\0\0", 6); /* where the directory was */
            ASSERT_TEXT(intact(&zip), "data.pkl data/0 data/1 ");
            zip.size -= 8;
            ASSERT_TEXT(intact(&zip), "data.pkl data/0 ");
            zip.size = zip.places[1].descriptor - 1;
            FOUND(zip, "data.pkl ");
        }
}

static void a_wrong_size_does_not_hide_what_follows(void) {
    zip_archive zip;
    zip_member pickle = {.name = "m/data.pkl", .content = "pickle", .size = 6};
    zip_member storage = {.name = "m/data/0", .content = "zero", .size = 4};
    zip_begin(&zip);
    zip_add(&zip, &pickle);
    zip_add(&zip, &storage);
    storage.name = "m/data/1";
    zip_add(&zip, &storage);
    zip_put32(&zip, zip.places[1].local + 18, 30);
    zip_put32(&zip, zip.places[1].local + 22, 30);
    FOUND(zip, "data.pkl data/1 ");
}

static void archives_inside_of_a_payload(void) {
    zip_archive inner, zip;
    small(&inner);
    zip_finish(&inner, true, NULL, 0);
    for (unsigned way = 0; way < 4; way++) {
        zip_begin(&zip);
        if (way == 3) add(&zip, "m/data/5", inner.bytes, inner.size); /* some write the pickle last */
        add(&zip, "m/data.pkl", "outer!", 6);
        add(&zip, "m/data/7", inner.bytes, inner.size);
        add(&zip, "m/data/8", "eight", 5);
        size_t last = zip.count - 2;
        if (way == 1) zip.size = zip.places[last].descriptor - 1; /* its end is lost with all of it */
        if (way == 2) memset(zip.bytes + zip.places[last].descriptor, 0, 16);
        FOUND(zip, way == 0   ? "data.pkl data/7 data/8 "
                   : way == 1 ? "data.pkl "
                   : way == 2 ? "data.pkl data/8 "
                              : "data/5 data.pkl data/7 data/8 ");
    }
    zip_free_archive(&inner);
}

static void members_of_the_same_name(void) {
    zip_archive zip;
    small(&zip);
    add(&zip, "m/data/0", "zero and more of it", 19);
    add(&zip, "m/Data/1", "another content", 15);
    add(&zip, "m/data/2", "one content", 11);
    add(&zip, "m/data/3", "two", 3);
    add(&zip, "m/data/2", "two content", 11);
    FOUND(zip, "data.pkl data/0 empty version data/3 ");
}

static void members_that_no_directory_may_have(void) {
    zip_archive zip;
    small(&zip);
    add(&zip, "m/../x", "x", 1);
    add(&zip, "m/\xff", "x", 1);
    add(&zip, "n/data/9", "x", 1);
    add(&zip, "m", "x", 1);
    add(&zip, "m/data/2", "two", 3);
    FOUND(zip, ALL "data/2 ");
}

/* Every structure of a member lies across the border of what is read at once. */
static void windows_hide_nothing(void) {
    const size_t window = 1 << 20;
    uint8_t *zeros = calloc(1, window);
    for (size_t shift = 0; shift < 160; shift++) {
        zip_archive zip;
        zip_member member = {.name = "m/data.pkl", .content = zeros, .size = window - 56 - shift, .descriptor = true};
        zip_begin(&zip);
        zip_add(&zip, &member);
        add(&zip, "m/data/0", "zero", 4);
        ptio_zip_index index;
        ptio_error err;
        ptio_source source;
        ptio_source_borrow(zip.bytes, zip.size, &source);
        ASSERT_OK(ptio_zip_salvage(&source, &reading, &index, &err));
        ASSERT_EQUAL(index.count, 2);
        ptio_zip_index_free(&index);
        zip_free_archive(&zip);
    }
    free(zeros);
}

/* A member that is said to inflate to 5 GiB; no matter that it does not. */
static void sizes_beyond_4_gib_get_their_field(void) {
    zip_archive zip;
    ptio_zip_index index;
    ptio_error err;
    zip_member member = {.name = "m/data/0", .content = "zero", .size = 4, .deflated = true, .local_zip64 = 2, .local_sentinel = true};
    zip_begin(&zip);
    add(&zip, "m/data.pkl", "pickle", 6);
    zip_add(&zip, &member);
    zip_put64(&zip, zip.places[1].local + 30 + 8 + 4, UINT64_C(5) << 30);
    ASSERT_OK(salvage(&zip, &index, &err));
    ASSERT_EQUAL(index.count, 2);
    ASSERT_EQUAL(index.records[1].usize, UINT64_C(5) << 30);
    ASSERT_EQUAL(index.records[1].csize, zip.places[1].csize);
    ASSERT_EQUAL(index.records[1].header, zip.places[1].local);
    ptio_zip_index_free(&index);
    zip_free_archive(&zip);
}

/* Where the descriptor is damaged, its CRC proves nothing of compressed bytes, but the member is known. */
static void compressed_members_that_give_their_sizes_last(void) {
    for (int way = 0; way < 4; way++) {
        zip_archive zip;
        zip_member member = {.name = "m/data/0", .content = "0000000000000000", .size = 16, .deflated = true, .descriptor = true, .local_zip64 = way & 2};
        zip_begin(&zip);
        add(&zip, "m/data.pkl", "pickle", 6);
        zip_add(&zip, &member);
        if (way & 1) zip_put32(&zip, zip.places[1].descriptor, 0);
        add(&zip, "m/data/1", "one", 3);
        ptio_zip_index index;
        ptio_error err;
        ASSERT_OK(salvage(&zip, &index, &err));
        ASSERT_EQUAL(index.count, 3);
        ASSERT_EQUAL(index.records[1].usize, 16);
        ASSERT_EQUAL(index.records[1].csize, zip.places[1].csize);
        ptio_zip_index_free(&index);
        FOUND(zip, way & 1 ? "data.pkl data/1 " : "data.pkl data/0 data/1 ");
    }
}

/* The offsets of members that the index has found. */
static void entries_are_what_a_directory_says(void) {
    zip_archive zip;
    ptio_zip_index found, told;
    ptio_error err;
    small(&zip);
    zip_finish(&zip, true, NULL, 0);
    ASSERT_OK(archive_index(&zip, &told, &err));
    ASSERT_OK(salvage(&zip, &found, &err));
    ASSERT_EQUAL(found.count, told.count);
    for (uint32_t i = 0; i < found.count; i++) {
        ASSERT_EQUAL(found.records[i].header, told.records[i].header);
        ASSERT_EQUAL(found.records[i].csize, told.records[i].csize);
        ASSERT_EQUAL(found.records[i].usize, told.records[i].usize);
        ASSERT_EQUAL(found.records[i].crc, told.records[i].crc);
    }
    ASSERT_EQUAL(ptio_zip_find(&found, "data/", "1", 1), 2);
    bool keep[] = {true, false, true, false, true};
    ASSERT_OK(ptio_zip_index_keep(&found, keep, &err));
    ASSERT_EQUAL(found.count, 3);
    ASSERT_EQUAL(ptio_zip_find(&found, "data/", "1", 1), 1);
    ASSERT_EQUAL(ptio_zip_find(&found, "data/", "0", 1), PTIO_NO_RECORD);
    ptio_zip_index_free(&found);
    ptio_zip_index_free(&told);
    zip_free_archive(&zip);
}

/* --- with a directory ------------------------------------------------------------------------ */

static uint64_t proven_data(zip_archive *zip, uint32_t record) {
    ptio_source source;
    ptio_zip_index index;
    ptio_error err;
    ptio_source_borrow(zip->bytes, zip->size, &source);
    ASSERT_OK(archive_index(zip, &index, &err));
    ASSERT_OK(ptio_zip_prove_damaged(&source, &index, &reading, &err));
    uint64_t data = index.records[record].data;
    ptio_zip_index_free(&index);
    zip_free_archive(zip);
    return data;
}

static void bytes_with_the_right_checksum_need_no_header(void) {
    zip_archive zip;
    for (size_t byte = 0; byte < 30; byte++) {
        small(&zip);
        zip_finish(&zip, true, NULL, 0);
        zip.bytes[zip.places[1].local + byte] ^= 0x10;
        size_t data = zip.places[1].data;
        ASSERT_EQUAL(proven_data(&zip, 1), data);
    }
    small(&zip);
    zip_finish(&zip, true, NULL, 0);
    zip_put8(&zip, zip.places[0].local + 30, 'n'); /* n/data.pkl */
    size_t pickle = zip.places[0].data;
    ASSERT_EQUAL(proven_data(&zip, 0), pickle);
    /* the descriptor is damaged, and more bytes follow */
    zip_begin(&zip);
    add(&zip, "m/data.pkl", "pickle", 6);
    zip_put32(&zip, zip.places[0].descriptor, 0);
    zip_raw(&zip, "more", 4);
    add(&zip, "m/data/0", "zero", 4);
    zip_finish(&zip, false, NULL, 0);
    size_t data = zip.places[0].data;
    ASSERT_EQUAL(proven_data(&zip, 0), data);
}

static void other_bytes_are_not_proven(void) {
    zip_archive zip;
    small(&zip);
    zip_finish(&zip, true, NULL, 0);
    zip_put32(&zip, zip.places[1].local, 0);
    zip.bytes[zip.places[1].data] ^= 1;
    ASSERT_EQUAL(proven_data(&zip, 1), 0);
    small(&zip);
    zip_finish(&zip, true, NULL, 0);
    zip_put8(&zip, zip.places[1].local + 37, '9'); /* m/data/9: which of the two names is right? */
    ASSERT_EQUAL(proven_data(&zip, 1), 0);
    /* no checksum, so nothing proves them */
    small(&zip);
    zip.crcs[1] = 0;
    zip_put32(&zip, zip.places[1].descriptor + 4, 0);
    zip_finish(&zip, true, NULL, 0);
    zip_put32(&zip, zip.places[1].local, 0);
    ASSERT_EQUAL(proven_data(&zip, 1), 0);
}

/* --- failures ---------------------------------------------------------------------------------- */

static void memory_may_run_out_anywhere(void) {
    zip_archive zip;
    ptio_zip_index index;
    ptio_error err;
    ptio_source source;
    small(&zip);
    for (unsigned i = 0; i < 300; i++) add(&zip, "m/data/2", "zero", 4);
    ptio_source_borrow(zip.bytes, zip.size, &source);
    ptio_status status = PTIO_E_NO_MEMORY;
    uint64_t k = 1;
    for (; status != PTIO_OK && k < 100; k++) {
        ptio_memory_fail_at(k);
        status = ptio_zip_salvage(&source, &reading, &index, &err);
        ptio_memory_fail_at(0);
        if (status != PTIO_OK) ASSERT_EQUAL(status, PTIO_E_NO_MEMORY);
    }
    ASSERT_TRUE(k > 10 && status == PTIO_OK);
    ptio_memory_fail_at(1);
    ASSERT_EQUAL(ptio_zip_prove_damaged(&source, &index, &reading, &err), PTIO_E_NO_MEMORY);
    ptio_memory_fail_at(0);
    ptio_zip_index_free(&index);
    zip_free_archive(&zip);
}

static ptio_status cancel(void *context, uint64_t done, uint64_t total, ptio_error *err) {
    (void)context;
    (void)done;
    (void)total;
    return ptio_fail(err, PTIO_E_CANCELLED, "T0.cancel", 0, "enough");
}

static void the_caller_may_stop_it(void) {
    zip_archive zip;
    ptio_zip_index index;
    ptio_error err;
    ptio_source source;
    const ptio_read_options impatient = {.tick = cancel};
    small(&zip);
    ptio_source_borrow(zip.bytes, zip.size, &source);
    ASSERT_EQUAL(ptio_zip_salvage(&source, &impatient, &index, &err), PTIO_E_CANCELLED);
    zip_put32(&zip, zip.places[1].descriptor, 0);
    ASSERT_OK(ptio_zip_salvage(&source, &reading, &index, &err));
    ASSERT_EQUAL(ptio_zip_prove_damaged(&source, &index, &impatient, &err), PTIO_E_CANCELLED);
    ptio_zip_index_free(&index);
    zip_free_archive(&zip);
}

void suite_zip_salvage(void) {
    RUN(every_member_that_is_whole_is_found_in_a_truncated_file);
    RUN(a_file_without_a_pickle);
    RUN(a_useless_directory_is_not_needed);
    RUN(bytes_before_and_between_members);
    RUN(damaged_bytes_cost_their_member_alone);
    RUN(a_damaged_descriptor_costs_nothing);
    RUN(a_checksum_of_zero_was_not_computed);
    RUN(sizes_of_64_bits);
    RUN(members_that_give_their_sizes_first);
    RUN(a_wrong_size_does_not_hide_what_follows);
    RUN(archives_inside_of_a_payload);
    RUN(members_of_the_same_name);
    RUN(members_that_no_directory_may_have);
    RUN(windows_hide_nothing);
    RUN(sizes_beyond_4_gib_get_their_field);
    RUN(compressed_members_that_give_their_sizes_last);
    RUN(entries_are_what_a_directory_says);
    RUN(bytes_with_the_right_checksum_need_no_header);
    RUN(other_bytes_are_not_proven);
    RUN(memory_may_run_out_anywhere);
    RUN(the_caller_may_stop_it);
}
