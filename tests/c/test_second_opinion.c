/* SPDX-License-Identifier: Apache-2.0
 *
 * libzip beside our index: agreement on sound archives, every kind of disagreement told.
 */
#include "archives.h"
#include "second_opinion.h"

void suite_second_opinion(void);

/* Asks about an archive of archive_small(), after `spoil` has changed what our index says. */
static ptio_status ask(bool callback, void (*spoil)(ptio_zip_index *), ptio_error *err) {
    zip_archive zip;
    ptio_source source;
    ptio_zip_index index;
    archive_small(&zip);
    zip_finish(&zip, true, NULL, 0);
    if (callback)
        archive_callback(&zip, &source);
    else
        ptio_source_borrow(zip.bytes, zip.size, &source);
    ptio_status status = archive_index(&zip, &index, err);
    if (status == PTIO_OK) {
        if (spoil != NULL) spoil(&index);
        status = ptio_second_opinion(&source, &index, err);
        ptio_zip_index_free(&index);
    }
    zip_free_archive(&zip);
    return status;
}

static void sound_archives_agree(void) {
    ptio_error err;
    ASSERT_OK(ask(false, NULL, &err));
    ASSERT_OK(ask(true, NULL, &err));
}

static void spoil_name(ptio_zip_index *index) { index->directory[index->records[1].name + 2] ^= 1; }
static void spoil_name_length(ptio_zip_index *index) { index->records[1].name_length--; }
static void spoil_size(ptio_zip_index *index) { index->records[1].usize++; }
static void spoil_stored_size(ptio_zip_index *index) { index->records[1].csize++; }
static void spoil_crc(ptio_zip_index *index) { index->records[2].crc ^= 1; }
static void spoil_method(ptio_zip_index *index) { index->records[2].method = PTIO_ZIP_DEFLATED; }
static void forget_one(ptio_zip_index *index) { index->count--; }
static void invent_one(ptio_zip_index *index) { index->count++; }

static void every_difference_is_told(void) {
    static const struct {
        void (*spoil)(ptio_zip_index *);
        const char *check, *fragment, *record;
    } cases[] = {
        {spoil_name, "Z13.name", "another name", ""},
        {spoil_name_length, "Z13.name", "another name", ""},
        {spoil_size, "Z13.size", "bytes here", "m/data/0"},
        {spoil_stored_size, "Z13.size", "bytes here", "m/data/0"},
        {spoil_crc, "Z13.crc", "CRC-32", "m/data/1"},
        {spoil_method, "Z13.crc", "method 0", "m/data/1"},
        {forget_one, "Z13.more", "more than 2", ""},
        {invent_one, "Z13.fewer", "only 3 of 4", ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ptio_error err;
        ASSERT_EQUAL(ask(false, cases[i].spoil, &err), PTIO_E_ZIP_AMBIGUOUS);
        ASSERT_TEXT(err.check, cases[i].check);
        ASSERT_CONTAINS(err.message, cases[i].fragment);
        if (cases[i].record[0] != '\0') ASSERT_TEXT(err.record, cases[i].record);
    }
}

static void what_libzip_refuses_is_told(void) {
    ptio_error err;
    zip_archive zip;
    ptio_source source;
    ptio_zip_index index;
    archive_small(&zip);
    zip_finish(&zip, true, NULL, 0);
    ASSERT_OK(archive_index(&zip, &index, &err));
    zip_put16(&zip, zip.places[2].local + 8, 8); /* its local header says another method than its entry */
    ptio_source_borrow(zip.bytes, zip.size, &source);
    ASSERT_FAILS(ptio_second_opinion(&source, &index, &err), ZIP_AMBIGUOUS, "Z13.accepted", "libzip does not accept",
                 PTIO_NO_OFFSET);
    ptio_zip_index_free(&index);
    zip_free_archive(&zip);
}

static ptio_status cannot_read(void *context, uint64_t offset, void *out, size_t n, ptio_error *err) {
    (void)context, (void)offset, (void)out, (void)n;
    return ptio_fail(err, PTIO_E_IO, "S0.io", 0, "the disk is gone");
}

static void a_failing_source_is_its_own_error(void) {
    ptio_error err;
    zip_archive zip;
    ptio_source source;
    ptio_zip_index index;
    archive_small(&zip);
    zip_finish(&zip, true, NULL, 0);
    ASSERT_OK(archive_index(&zip, &index, &err));
    archive_callback(&zip, &source);
    source.read_at = cannot_read;
    ASSERT_EQUAL(ptio_second_opinion(&source, &index, &err), PTIO_E_IO);
    ASSERT_CONTAINS(err.message, "the disk is gone");
    ptio_zip_index_free(&index);
    zip_free_archive(&zip);
}

void suite_second_opinion(void) {
    RUN(sound_archives_agree);
    RUN(every_difference_is_told);
    RUN(what_libzip_refuses_is_told);
    RUN(a_failing_source_is_its_own_error);
}
