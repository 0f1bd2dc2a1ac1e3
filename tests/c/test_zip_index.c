/* SPDX-License-Identifier: Apache-2.0
 *
 * The entries of the directory: fields, zip64 fields, names, order (Z4-Z7, Z9).
 */
#include <stdlib.h>

#include "archives.h"
#include "faults.h"
#include "hash.h"

void suite_zip_index(void);

enum { LITTLE = 46 }; /* bytes of a central header before the name */

static void finished(zip_archive *zip) {
    archive_small(zip);
    zip_finish(zip, true, NULL, 0);
}

static void torch_archives(void) {
    ptio_error err;
    ptio_zip_index index;
    zip_archive zip;
    zip_torch(&zip, 1000, 128);
    ASSERT_OK(archive_index(&zip, &index, &err));
    ASSERT_EQUAL(index.count, 1002);
    ASSERT_EQUAL(index.stem_length, 1);
    ASSERT_BYTES(index.stem, "m", 1);
    ASSERT_EQUAL(index.directory_offset, zip.directory);
    ASSERT_EQUAL(ptio_zip_find(&index, "", "data.pkl", 8), 0);
    ASSERT_EQUAL(ptio_zip_find(&index, "", "version", 7), 1001);
    for (uint32_t i = 0; i < 1000; i++) {
        char key[16];
        snprintf(key, sizeof key, "%u", i);
        ASSERT_EQUAL(ptio_zip_find(&index, "data/", key, strlen(key)), i + 1);
        ASSERT_EQUAL(index.records[i + 1].usize, 128);
        ASSERT_EQUAL(index.records[i + 1].limit, zip.places[i + 2].local);
        ASSERT_EQUAL(index.records[i + 1].data, 0);
    }
    ASSERT_EQUAL(ptio_zip_find(&index, "data/", "1000", 4), PTIO_NO_RECORD);
    ASSERT_EQUAL(ptio_zip_find(&index, "data/", "", 0), PTIO_NO_RECORD);
    ASSERT_EQUAL(ptio_zip_find(&index, "DATA/", "1", 1), PTIO_NO_RECORD); /* exact, not folded */
    ASSERT_TRUE(ptio_zip_is(&index, 8, "data/", "7", 1) && !ptio_zip_is(&index, 8, "data/", "8", 1));
    ASSERT_TRUE(!ptio_zip_is(&index, 8, "", "7", 1) && !ptio_zip_is(&index, 8, "data/", "77", 2));
    size_t length;
    ASSERT_BYTES(ptio_zip_name(&index, 0, &length), "m/data.pkl", 10);
    ASSERT_EQUAL(length, 10);
    ptio_zip_index_free(&index);
    ptio_zip_index_free(&index);
    FINE(zip);
}

static void long_names_are_found(void) {
    ptio_error err;
    ptio_zip_index index;
    zip_archive zip;
    static char name[65535], key[65535];
    memset(key, 'k', sizeof key);
    zip_begin(&zip);
    for (size_t n = 508; n < 65535; n = n < 520 ? n + 1 : n + 30000) {
        memcpy(name, "m/data/", 7);
        memset(name + 7, 'k', n);
        if (n > 510) zip_add(&zip, &(zip_member){.name = name, .name_length = 7 + n, .content = "x", .size = 1});
        else zip_add(&zip, &(zip_member){.name = n == 508 ? "m/a" : n == 509 ? "m/b" : "m/c", .content = "x", .size = 1});
    }
    zip_finish(&zip, true, NULL, 0);
    ASSERT_OK(archive_index(&zip, &index, &err));
    uint32_t number = 3;
    for (size_t n = 511; n < 65535; n = n < 520 ? n + 1 : n + 30000)
        ASSERT_EQUAL(ptio_zip_find(&index, "data/", key, n), number++);
    ASSERT_EQUAL(number, index.count);
    ASSERT_EQUAL(ptio_zip_find(&index, "data/", key, 40000), PTIO_NO_RECORD);
    ptio_zip_index_free(&index);
    FINE(zip);
}

static void directory_entries_are_skipped(void) {
    ptio_error err;
    ptio_zip_index index;
    zip_archive zip;
    zip_begin(&zip);
    zip_add(&zip, &(zip_member){.name = "m/"});
    zip_add(&zip, &(zip_member){.name = "m/data.pkl", .content = ".", .size = 1});
    zip_add(&zip, &(zip_member){.name = "m/data/", .deflated = true});
    zip_add(&zip, &(zip_member){.name = "m/data/0", .content = "x", .size = 1});
    zip_finish(&zip, false, NULL, 0);
    ASSERT_OK(archive_index(&zip, &index, &err));
    ASSERT_EQUAL(index.count, 2);
    ptio_zip_index_free(&index);
    zip_put32(&zip, zip.places[0].central + 20, 1);
    zip_put32(&zip, zip.places[0].central + 24, 1);
    SPOILED(zip, ZIP_AMBIGUOUS, "Z5.directory", "ends in '/', but the entry has 1 bytes", zip.places[0].central + 24);
    zip_begin(&zip);
    zip_add(&zip, &(zip_member){.name = "m/"});
    zip_finish(&zip, false, NULL, 0);
    SPOILED(zip, ZIP_MALFORMED, "Z7.empty", "has no members", zip.directory);
    zip_begin(&zip);
    zip_raw(&zip, "PK\3\4", 4);
    zip_finish(&zip, true, NULL, 0);
    SPOILED(zip, ZIP_MALFORMED, "Z7.empty", "has no members", 4);
    zip_begin(&zip); /* of another top directory */
    zip_add(&zip, &(zip_member){.name = "m/data.pkl", .content = ".", .size = 1});
    zip_add(&zip, &(zip_member){.name = "__MACOSX/"});
    zip_finish(&zip, false, NULL, 0);
    SPOILED(zip, ZIP_AMBIGUOUS, "Z7.stem", "'m' and '__MACOSX'", zip.places[1].central + LITTLE);
}

static void counts_that_the_directory_does_not_hold(void) {
    zip_archive zip;
    archive_small(&zip);
    zip.members[2].comment = "as long as one more entry would have to be, at least";
    zip_finish(&zip, true, NULL, 0);
    for (int i = 0; i < 2; i++) {
        zip_put64(&zip, zip.record64 + 24 + (size_t)i * 8, 4);
        zip_put16(&zip, zip.end + 8 + (size_t)i * 2, 4);
    }
    SPOILED(zip, ZIP_MALFORMED, "Z4.count", "counts 4 entries, the directory holds 3", zip.record64);
    finished(&zip);
    for (int i = 0; i < 2; i++) {
        zip_put64(&zip, zip.record64 + 24 + (size_t)i * 8, 2);
        zip_put16(&zip, zip.end + 8 + (size_t)i * 2, 2);
    }
    SPOILED(zip, ZIP_MALFORMED, "Z4.rest", "bytes of the directory follow the 2 entries", zip.places[2].central);
}

static void entries_that_are_not_there(void) {
    zip_archive zip;
    finished(&zip);
    zip_put8(&zip, zip.places[1].central, 'Q');
    SPOILED(zip, ZIP_MALFORMED, "Z5.signature", "there is no entry", zip.places[1].central);
    for (size_t field = 28; field <= 32; field += 2) {
        finished(&zip);
        zip_put16(&zip, zip.places[2].central + field, 0xFFFF);
        SPOILED(zip, ZIP_MALFORMED, "Z5.size", "the directory ends after", zip.places[2].central + 28);
    }
}

static void flags_methods_disks_and_links(void) {
    zip_archive zip;
    static const uint64_t known[] = {0x0800, 0x0802, 0x0804, 0x0806};
    for (size_t i = 0; i < 4; i++) {
        finished(&zip);
        zip_put16(&zip, zip.places[2].central + 8, known[i]);
        zip_put16(&zip, zip.places[2].local + 6, known[i]);
        FINE(zip);
    }
    for (unsigned bit = 0; bit < 16; bit++) {
        if ((1u << bit & 0x080E) != 0) continue;
        finished(&zip);
        zip_put16(&zip, zip.places[2].central + 8, 1u << bit);
        zip_put16(&zip, zip.places[2].local + 6, 1u << bit);
        SPOILED(zip, ZIP_MALFORMED, "Z5.flags", bit == 0 || bit == 6 ? "encrypted" : "no meaning",
                zip.places[2].central + 8);
    }
    static const uint64_t methods[] = {1, 9, 12, 14, 93, 99};
    for (size_t i = 0; i < 6; i++) {
        finished(&zip);
        zip_put16(&zip, zip.places[2].central + 10, methods[i]);
        SPOILED(zip, METHOD_UNSUPPORTED, "Z5.method", "compressed by method", zip.places[2].central + 10);
    }
    finished(&zip);
    zip_put16(&zip, zip.places[0].central + 34, 0xFFFF);
    SPOILED(zip, ZIP_MALFORMED, "Z5.disk", "begins on disk 65535", zip.places[0].central + 34);
    finished(&zip);
    zip_put32(&zip, zip.places[0].central + 38, 0xA1ED0000);
    SPOILED(zip, ZIP_MALFORMED, "Z5.symlink", "symbolic link", zip.places[0].central + 38);
    finished(&zip);
    zip_put32(&zip, zip.places[0].central + 38, 0x81A40020); /* a regular file, as zip writes it */
    FINE(zip);
}

static void zip64_fields(void) {
    zip_archive zip;
    zip_begin(&zip);
    zip_add(&zip, &(zip_member){.name = "m/data.pkl", .content = "abc", .size = 3, .central_zip64 = true, .extra = "UT\5\0\1xxxx", .extra_length = 9});
    zip_finish(&zip, true, NULL, 0);
    size_t extra = zip.places[0].central_extra;
    FINE(zip);
    static const struct {
        size_t at, bytes;
        uint64_t value;
        const char *check, *fragment;
        size_t offset;
        ptio_status status;
    } spoiled[] = {
        {2, 2, 25, "Z6.tile", "reaches out of", 29, PTIO_E_ZIP_MALFORMED}, /* what follows is no field */
        {2, 2, 200, "Z6.tile", "reaches out of", 0, PTIO_E_ZIP_MALFORMED},
        {0, 2, 7, "Z6.missing", "needs a zip64 field", 0, PTIO_E_ZIP_MALFORMED},
        {28, 2, 1, "Z6.twice", "two zip64 fields", 28, PTIO_E_ZIP_AMBIGUOUS},
    };
    for (size_t i = 0; i < sizeof spoiled / sizeof *spoiled; i++) {
        ptio_error err;
        zip_begin(&zip);
        zip_add(&zip, &(zip_member){.name = "m/data.pkl", .content = "abc", .size = 3, .central_zip64 = true, .extra = "UT\5\0\1xxxx", .extra_length = 9});
        zip_finish(&zip, true, NULL, 0);
        zip_put16(&zip, extra + spoiled[i].at, spoiled[i].value);
        test_error(__FILE__, __LINE__, archive_prove(&zip, &err), &err, spoiled[i].status, spoiled[i].check,
                   spoiled[i].fragment, extra + spoiled[i].offset);
        ASSERT_TEXT(err.record, "m/data.pkl");
        zip_free_archive(&zip);
    }
    for (size_t field = 20; field <= 42; field += field == 24 ? 18 : 4) { /* fewer sentinels than values */
        zip_begin(&zip);
        zip_add(&zip, &(zip_member){.name = "m/data.pkl", .content = "abc", .size = 3, .central_zip64 = true});
        zip_finish(&zip, true, NULL, 0);
        zip_put32(&zip, zip.places[0].central + field, 3);
        SPOILED(zip, ZIP_MALFORMED, "Z6.length", "has 24 bytes, its header needs 16", zip.places[0].central_extra + 4);
        finished(&zip); /* a sentinel without a field */
        zip_put32(&zip, zip.places[0].central + field, 0xFFFFFFFF);
        SPOILED(zip, ZIP_MALFORMED, "Z6.missing", "there is none", zip.places[0].central_extra);
    }
    zip_begin(&zip); /* three bytes of extra field */
    zip_add(&zip, &(zip_member){.name = "m/data.pkl", .content = "abc", .size = 3, .extra = "UT\5", .extra_length = 3});
    zip_finish(&zip, true, NULL, 0);
    SPOILED(zip, ZIP_MALFORMED, "Z6.tile", "3 bytes of its entry", zip.places[0].central_extra);
}

static void spoiled_name(const char *name, size_t n, ptio_status status, const char *check, const char *fragment) {
    ptio_error err;
    zip_archive zip;
    zip_begin(&zip);
    zip_add(&zip, &(zip_member){.name = "m/data.pkl", .content = ".", .size = 1});
    zip_add(&zip, &(zip_member){.name = name, .name_length = n, .content = "x", .size = 1});
    zip_finish(&zip, true, NULL, 0);
    test_error(__FILE__, __LINE__, archive_prove(&zip, &err), &err, status, check, fragment,
               zip.places[1].central + LITTLE);
    char quoted[PTIO_QUOTED];
    ASSERT_TEXT(err.record, ptio_quote(quoted, name, n));
    zip_free_archive(&zip);
}

#define NAME(literal, status, check, fragment) \
    spoiled_name(literal, sizeof(literal) - 1, PTIO_E_##status, check, fragment)

static void names_that_two_readers_read_differently(void) {
    NAME("m/a\\b", ZIP_AMBIGUOUS, "Z5.backslash", "backslash");
    NAME("m/data\0/0", ZIP_AMBIGUOUS, "Z5.nul", "NUL");
    NAME("m/data/long enough\0", ZIP_AMBIGUOUS, "Z5.nul", "NUL");
    NAME("m/../data", ZIP_AMBIGUOUS, "Z5.dots", "'.' or '..'");
    NAME("m/a/.", ZIP_AMBIGUOUS, "Z5.dots", "'.' or '..'");
    NAME("m/./a/long/enough", ZIP_AMBIGUOUS, "Z5.dots", "'.' or '..'");
    NAME("m/..", ZIP_AMBIGUOUS, "Z5.dots", "'.' or '..'");
    NAME("m/\xff", ZIP_MALFORMED, "Z5.utf8", "not UTF-8");
    NAME("m/\xed\xa0\x80", ZIP_MALFORMED, "Z5.utf8", "not UTF-8");
    NAME("m/\xc3", ZIP_MALFORMED, "Z5.utf8", "not UTF-8");
    NAME("data", ZIP_AMBIGUOUS, "Z7.top", "in no directory");
    NAME("/m/data", ZIP_AMBIGUOUS, "Z7.leading", "begins with '/'");
    NAME("n/data", ZIP_AMBIGUOUS, "Z7.stem", "'m' and 'n'");
    NAME("mm/data", ZIP_AMBIGUOUS, "Z7.stem", "'m' and 'mm'");
    NAME("m/data.pkl", ZIP_AMBIGUOUS, "Z7.unique", "two members of this name");
    NAME("m/Data.pkl", ZIP_AMBIGUOUS, "Z7.case", "'m/data.pkl', which differs in case");
    NAME("M/data.pkl", ZIP_AMBIGUOUS, "Z7.stem", "'m' and 'M'");
    zip_archive zip;
    zip_begin(&zip);
    zip_add(&zip, &(zip_member){.name = "m\0n/data.pkl", .name_length = 12, .content = ".", .size = 1});
    zip_finish(&zip, true, NULL, 0);
    SPOILED(zip, ZIP_AMBIGUOUS, "Z5.nul", "NUL", zip.places[0].central + LITTLE);
    zip_begin(&zip);
    zip_add(&zip, &(zip_member){.name = "m/data.pkl", .content = ".", .size = 1});
    zip_add(&zip, &(zip_member){.name = "m/x", .content = ".", .size = 1});
    zip_finish(&zip, true, NULL, 0);
    /* an empty name: its three bytes become a comment */
    zip_put16(&zip, zip.places[1].central + 28, 0);
    zip_put16(&zip, zip.places[1].central + 32, 3);
    SPOILED(zip, ZIP_MALFORMED, "Z5.empty", "is empty", zip.places[1].central + LITTLE);
}

static void stems_and_names_that_are_fine(void) {
    static const char *const names[] = {"a:1/data.pkl", "../data.pkl", "./data.pkl", "a\tb\nc/data.pkl", "a\\b/data.pkl",
                                        "\xe6\xa8\xa1\xe5\x9e\x8b/data.pkl", " /data.pkl", "model.v1/data.pkl"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        zip_archive zip;
        zip_begin(&zip);
        zip_add(&zip, &(zip_member){.name = names[i], .content = ".", .size = 1, .comment = "fine"});
        zip_finish(&zip, true, NULL, 0);
        FINE(zip);
    }
    static const char *const below[] = {"m/.data/serialization_id", "m/.format_version", "m/...", "m/a..b", "m/a./b.",
                                        "m/..a", "m/data/gr\xc3\xb6\xc3\x9f", "m/data/\xf0\x9f\x98\x80\xed\x9f\xbf", "m//x"};
    for (size_t i = 0; i < sizeof below / sizeof *below; i++) {
        zip_archive zip;
        archive_small(&zip);
        zip_add(&zip, &(zip_member){.name = below[i], .content = ".", .size = 1});
        zip_finish(&zip, true, NULL, 0);
        FINE(zip);
    }
}

static void many_names_are_told_apart(void) {
    enum { MANY = 5000 };
    static char names[MANY][12];
    zip_archive zip;
    zip_begin(&zip);
    for (unsigned i = 0; i < MANY; i++) {
        snprintf(names[i], sizeof names[i], "m/%x", i);
        zip_add(&zip, &(zip_member){.name = names[i], .content = ".", .size = 1});
    }
    zip_add(&zip, &(zip_member){.name = "m/ABC", .content = ".", .size = 1});
    zip_finish(&zip, true, NULL, 0);
    SPOILED(zip, ZIP_AMBIGUOUS, "Z7.case", "'m/abc'", zip.places[MANY].central + LITTLE);
}

/* Two names that have the upper half of their hashes in common, and their slot. */
static void names_whose_hashes_look_alike(void) {
    static const char *const names[] = {"m/392c9", "m/95d73"};
    ptio_error err;
    ptio_zip_index index;
    zip_archive zip;
    if (!faults_work()) return;
    zip_begin(&zip);
    for (unsigned i = 0; i < 2; i++) zip_add(&zip, &(zip_member){.name = names[i], .content = ".", .size = 1});
    zip_finish(&zip, true, NULL, 0);
    faults.getentropy_fixed = true;
    ASSERT_OK(archive_index(&zip, &index, &err));
    faults_clear();
    uint64_t a = ptio_hash_folded(&index.hash_key, names[0] + 2, 5), b = ptio_hash_folded(&index.hash_key, names[1] + 2, 5);
    ASSERT_TRUE(a >> 32 == b >> 32 && ((a ^ b) & 15) == 0);
    for (uint32_t i = 0; i < 2; i++) ASSERT_EQUAL(ptio_zip_find(&index, "", names[i] + 2, 5), i);
    ptio_zip_index_free(&index);
    zip_free_archive(&zip);
}

static void records_that_overlap(void) {
    zip_archive zip;
    finished(&zip);
    zip_put32(&zip, zip.places[1].central + 42, zip.places[0].local + 1);
    SPOILED(zip, ZIP_MALFORMED, "Z9.overlap", "the next one begins at 1", 0);
    finished(&zip);
    zip_put32(&zip, zip.places[2].central + 42, zip.places[1].local); /* two entries, one record */
    SPOILED(zip, ZIP_MALFORMED, "Z9.overlap", "the next one begins", zip.places[1].local);
    finished(&zip);
    zip_put32(&zip, zip.places[0].central + 20, 100);
    zip_put32(&zip, zip.places[0].central + 24, 100);
    SPOILED(zip, ZIP_MALFORMED, "Z9.overlap", "the next one begins", 0);
    static const uint64_t far[] = {0x7FFFFFFF, 0xFFFFFFFE};
    for (size_t i = 0; i < 2; i++) {
        finished(&zip);
        zip_put32(&zip, zip.places[2].central + 42, far[i]);
        SPOILED(zip, ZIP_MALFORMED, "Z9.directory", "the directory begins", far[i]);
        finished(&zip);
        zip_put32(&zip, zip.places[1].central + 20, far[i]);
        zip_put32(&zip, zip.places[1].central + 24, far[i]);
        SPOILED(zip, ZIP_MALFORMED, "Z9.directory", "the directory begins", zip.places[1].local);
    }
    finished(&zip);
    zip_put32(&zip, zip.places[2].central + 42, zip.directory - 10);
    SPOILED(zip, ZIP_MALFORMED, "Z9.directory", "the directory begins", zip.directory - 10);
    static const uint64_t wrapping[] = {UINT64_MAX, UINT64_MAX - 45, (uint64_t)1 << 63};
    for (size_t i = 0; i < 3; i++) { /* sizes that wrap around */
        zip_begin(&zip);
        zip_add(&zip, &(zip_member){.name = "m/data.pkl", .content = "abc", .size = 3, .central_zip64 = true});
        zip_finish(&zip, true, NULL, 0);
        zip_put64(&zip, zip.places[0].central_extra + 4, wrapping[i]);
        zip_put64(&zip, zip.places[0].central_extra + 12, wrapping[i]);
        SPOILED(zip, ZIP_MALFORMED, "Z9.directory", "the directory begins", 0);
        zip_begin(&zip); /* an offset that does */
        zip_add(&zip, &(zip_member){.name = "m/data.pkl", .content = "abc", .size = 3, .central_zip64 = true});
        zip_finish(&zip, true, NULL, 0);
        zip_put64(&zip, zip.places[0].central_extra + 20, wrapping[i]);
        SPOILED(zip, ZIP_MALFORMED, "Z9.directory", "the directory begins", wrapping[i]);
    }
}

static void records_in_any_order(void) {
    enum { MANY = 300 };
    static char names[MANY][12];
    ptio_error err;
    ptio_zip_index index;
    zip_archive zip;
    zip_begin(&zip);
    for (unsigned i = 0; i < MANY; i++) {
        snprintf(names[i], sizeof names[i], "m/%u", i);
        zip_add(&zip, &(zip_member){.name = names[i], .content = names[i], .size = 3});
    }
    for (unsigned i = 0; i < MANY / 2; i++) { /* the directory in another order than the file */
        unsigned j = (i * 7 + 3) % MANY;
        zip_member member = zip.members[i];
        zip_place place = zip.places[i];
        uint32_t crc = zip.crcs[i];
        zip.members[i] = zip.members[j], zip.places[i] = zip.places[j], zip.crcs[i] = zip.crcs[j];
        zip.members[j] = member, zip.places[j] = place, zip.crcs[j] = crc;
    }
    zip_finish(&zip, true, NULL, 0);
    ASSERT_OK(archive_index(&zip, &index, &err));
    for (uint32_t i = 0; i < MANY; i++) {
        uint64_t next = index.directory_offset;
        for (uint32_t j = 0; j < MANY; j++)
            if (index.records[j].header > index.records[i].header && index.records[j].header < next)
                next = index.records[j].header;
        ASSERT_EQUAL(index.records[i].limit, next);
    }
    ptio_zip_index_free(&index);
    FINE(zip);
}

static void stored_records_have_one_size(void) {
    zip_archive zip;
    finished(&zip);
    zip_put32(&zip, zip.places[2].central + 24, 9);
    SPOILED(zip, ZIP_MALFORMED, "Z9.stored", "8 bytes in the file and 9 outside", zip.places[2].central + 20);
}

static void sizes_add_up(void) {
    ptio_error err;
    ptio_zip_index index;
    zip_archive zip;
    zip_begin(&zip);
    zip_add(&zip, &(zip_member){.name = "m/a", .content = "aaaaaaaa", .size = 8, .deflated = true, .central_zip64 = true});
    zip_add(&zip, &(zip_member){.name = "m/b", .content = "bbbb", .size = 4, .deflated = true, .central_zip64 = true});
    zip_add(&zip, &(zip_member){.name = "m/c", .content = "cc", .size = 2});
    zip_finish(&zip, true, NULL, 0);
    ASSERT_OK(archive_index(&zip, &index, &err));
    ASSERT_EQUAL(index.inflated_bytes, 12);
    ptio_zip_index_free(&index);
    zip_put64(&zip, zip.places[0].central_extra + 4, UINT64_MAX - 2);
    zip_put64(&zip, zip.places[1].central_extra + 4, UINT64_MAX - 2);
    ASSERT_OK(archive_index(&zip, &index, &err));
    ASSERT_EQUAL(index.inflated_bytes, UINT64_MAX);
    ptio_zip_index_free(&index);
    zip_free_archive(&zip);
}

static void every_changed_byte_of_the_directory(void) {
    zip_archive zip;
    finished(&zip);
    for (size_t i = 0; i < zip.size; i++) {
        uint8_t before = zip.bytes[i];
        for (unsigned value = 0; value < 256; value += i >= zip.directory ? 1 : 51) {
            ptio_error err;
            zip_put8(&zip, i, value);
            (void)archive_prove(&zip, &err); /* whatever it is, a sanitizer has nothing to say */
        }
        zip_put8(&zip, i, before);
    }
    FINE(zip);
}

void suite_zip_index(void) {
    RUN(torch_archives);
    RUN(long_names_are_found);
    RUN(directory_entries_are_skipped);
    RUN(counts_that_the_directory_does_not_hold);
    RUN(entries_that_are_not_there);
    RUN(flags_methods_disks_and_links);
    RUN(zip64_fields);
    RUN(names_that_two_readers_read_differently);
    RUN(stems_and_names_that_are_fine);
    RUN(many_names_are_told_apart);
    RUN(names_whose_hashes_look_alike);
    RUN(records_that_overlap);
    RUN(records_in_any_order);
    RUN(stored_records_have_one_size);
    RUN(sizes_add_up);
    RUN(every_changed_byte_of_the_directory);
}
