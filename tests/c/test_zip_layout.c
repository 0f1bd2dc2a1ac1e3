/* SPDX-License-Identifier: Apache-2.0
 *
 * Where records are placed, and what no archive can hold.
 */
#include "memory.h"
#include "test.h"
#include "zip_layout.h"

void suite_zip_layout(void);

static ptio_status add(ptio_zip_layout *layout, const char *name, uint64_t size, ptio_error *err) {
    return ptio_zip_layout_add(layout, name, strlen(name), size, err);
}

static void begin(ptio_zip_layout *layout, const char *stem, uint64_t alignment) {
    ptio_error err;
    ASSERT_OK(ptio_zip_layout_begin(stem, strlen(stem), alignment, layout, &err));
}

static void payloads_are_aligned(void) {
    ptio_error err;
    for (uint64_t alignment = 1; alignment <= PTIO_ZIP_MOST_ALIGNMENT; alignment *= 2) {
        ptio_zip_layout layout;
        begin(&layout, "archive", alignment);
        uint64_t end = 0;
        for (unsigned i = 0; i < 200; i++) {
            char name[32];
            snprintf(name, sizeof name, "data/%u", i);
            ASSERT_OK(add(&layout, name, i * 37 % 1000, &err));
            const ptio_zip_entry *entry = &layout.entries[i];
            ASSERT_EQUAL(entry->header, end);
            ASSERT_EQUAL(ptio_zip_payload(entry) % alignment, 0);
            ASSERT_TRUE(entry->local >= 30 + 8 + strlen(name) + 4);
            ASSERT_TRUE(entry->local < 30 + 8 + strlen(name) + 4 + alignment);
            ASSERT_EQUAL(ptio_zip_descriptor_size(entry), entry->size == 0 ? 0 : 16);
            end = ptio_zip_entry_end(entry);
        }
        ASSERT_EQUAL(layout.end, end);
        ASSERT_EQUAL(ptio_zip_file_size(&layout), end + layout.directory_size + 98);
        ptio_zip_layout_free(&layout);
    }
}

/* Offsets that torch 2.13 gives torch.save({"a": torch.arange(10)}, "m.v1.pt"). */
static void the_offsets_of_torch(void) {
    static const struct {
        const char *name;
        uint64_t size, header, payload;
    } expected[] = {
        {"data.pkl", 161, 0, 64},           {".format_version", 1, 241, 320}, {".storage_alignment", 2, 337, 448},
        {"byteorder", 6, 466, 576},         {"data/0", 80, 598, 704},         {"version", 2, 800, 896},
        {".data/serialization_id", 40, 914, 1024},
    };
    ptio_error err;
    ptio_zip_layout layout;
    begin(&layout, "m.v1", 64);
    for (unsigned i = 0; i < 7; i++) {
        ASSERT_OK(add(&layout, expected[i].name, expected[i].size, &err));
        ASSERT_EQUAL(layout.entries[i].header, expected[i].header);
        ASSERT_EQUAL(ptio_zip_payload(&layout.entries[i]), expected[i].payload);
    }
    ASSERT_EQUAL(layout.end, 1080);
    ptio_zip_layout_free(&layout);
}

enum { FIXED = 30 + 1 + 1 + 1 + 4 }; /* of "m/a" and the like */

/* The zip64 field is there from 0xFFFFFFFF on, as that value means "look there". */
static void sizes_over_4_gib(void) {
    ptio_error err;
    for (uint64_t size = UINT32_MAX - 1; size <= UINT32_MAX; size++) {
        ptio_zip_layout layout;
        bool far = size == UINT32_MAX;
        begin(&layout, "m", 1);
        ASSERT_OK(add(&layout, "a", size, &err));
        ASSERT_EQUAL(layout.entries[0].local, FIXED + (far ? 20 : 0));
        ASSERT_EQUAL(ptio_zip64_size(&layout.entries[0]), far ? 20 : 0);
        ASSERT_EQUAL(ptio_zip_descriptor_size(&layout.entries[0]), far ? 24 : 16);
        ASSERT_EQUAL(layout.directory_size, 46 + 3 + (far ? 20 : 0));
        ptio_zip_layout_free(&layout);
    }
}

static void offsets_over_4_gib(void) {
    ptio_error err;
    for (uint64_t offset = UINT32_MAX - 1; offset <= UINT32_MAX; offset++) {
        ptio_zip_layout layout;
        uint32_t more = offset == UINT32_MAX ? 12 : 0;
        begin(&layout, "m", 1);
        ASSERT_OK(add(&layout, "a", offset - FIXED - 16, &err));
        ASSERT_EQUAL(layout.end, offset);
        ASSERT_OK(add(&layout, "b", 7, &err));
        ASSERT_EQUAL(layout.entries[1].local, FIXED + more);
        ASSERT_EQUAL(ptio_zip_descriptor_size(&layout.entries[1]), more > 0 ? 24 : 16);
        ASSERT_OK(add(&layout, "c", 0, &err)); /* empty ones have no descriptor there either */
        ASSERT_EQUAL(ptio_zip64_size(&layout.entries[2]), 12);
        ASSERT_EQUAL(ptio_zip_descriptor_size(&layout.entries[2]), 0);
        ASSERT_OK(add(&layout, "d", UINT64_C(5) << 30, &err));
        ASSERT_EQUAL(layout.entries[3].local, FIXED + 28);
        ASSERT_EQUAL(layout.directory_size, 4 * 49 + more + 12 + 28);
        ptio_zip_layout_free(&layout);
    }
}

static void the_widest_local_header(void) {
    ptio_error err;
    ptio_zip_layout layout;
    char name[PTIO_ZIP_MOST_NAME];
    memset(name, 'n', sizeof name);
    begin(&layout, "m", PTIO_ZIP_MOST_ALIGNMENT);
    ASSERT_OK(ptio_zip_layout_add(&layout, name, sizeof name - 2, UINT64_C(1) << 40, &err));
    ASSERT_EQUAL(layout.entries[0].local, PTIO_ZIP_MOST_ALIGNMENT);
    ASSERT_FAILS(ptio_zip_layout_add(&layout, name, sizeof name - 1, 1, &err), UNWRITABLE, "W1.name-length",
                 "has 510 bytes, expected 1 to 509", PTIO_NO_OFFSET);
    ptio_zip_layout_free(&layout);
}

static void alignments_that_do_not_fit(void) {
    static const uint64_t wrong[] = {0, 3, 48, 65, 65536, UINT64_C(1) << 32, UINT64_MAX};
    ptio_error err;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        ptio_zip_layout layout = {.count = 77};
        ASSERT_FAILS(ptio_zip_layout_begin("m", 1, wrong[i], &layout, &err), UNWRITABLE, "W1.alignment",
                     "it must be a power of two up to 32768", PTIO_NO_OFFSET);
        ASSERT_EQUAL(layout.count, 77);
    }
}

static void names_of_archives(void) {
    ptio_error err;
    ptio_zip_layout layout = {.count = 77};
    char text[600];
    memset(text, 'x', sizeof text);
    ASSERT_FAILS(ptio_zip_layout_begin("", 0, 64, &layout, &err), UNWRITABLE, "W1.stem-length", "has 0 bytes", PTIO_NO_OFFSET);
    ASSERT_FAILS(ptio_zip_layout_begin(text, 510, 64, &layout, &err), UNWRITABLE, "W1.stem-length",
                 "has 510 bytes, expected 1 to 509", PTIO_NO_OFFSET);
    ASSERT_FAILS(ptio_zip_layout_begin("a/b", 3, 64, &layout, &err), UNWRITABLE, "W1.stem", "'a/b'", PTIO_NO_OFFSET);
    ASSERT_FAILS(ptio_zip_layout_begin("a\0b", 3, 64, &layout, &err), UNWRITABLE, "W1.stem", "'a\\x00b'", PTIO_NO_OFFSET);
    ASSERT_FAILS(ptio_zip_layout_begin("\xff", 1, 64, &layout, &err), UNWRITABLE, "W1.stem", "\\xff", PTIO_NO_OFFSET);
    ASSERT_FAILS(ptio_zip_layout_begin("\xed\xa0\x80", 3, 64, &layout, &err), UNWRITABLE, "W1.stem", "\\ud800", PTIO_NO_OFFSET);
    ASSERT_EQUAL(layout.count, 77);
    static const char *const fine[] = {"m", ".", "..", "model.v1", "a b", "\xc3\xa9", "\xed\x9f\xbf"};
    for (size_t i = 0; i < sizeof fine / sizeof *fine; i++) {
        begin(&layout, fine[i], 64);
        ptio_zip_layout_free(&layout);
    }
    begin(&layout, "m", 64);
    ptio_zip_layout_free(&layout);
    ptio_zip_layout_free(&layout);
}

static void names_of_records(void) {
    static const char *const wrong[] = {"/a", "a/", "a//b", ".", "..", "a/./b", "a/..", "../a", "a\\b", "\xff", "\xed\xbf\xbf"};
    static const char *const fine[] = {".data/x", "a.b", "a/..b", "a../b", "...", "data/w.b", "\xc3\xa9/x", "A"};
    ptio_error err;
    ptio_zip_layout layout;
    begin(&layout, "stem", 64);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        ASSERT_FAILS(add(&layout, wrong[i], 1, &err), UNWRITABLE, "W1.name", "a record cannot have the name", PTIO_NO_OFFSET);
        ASSERT_CONTAINS(err.record, "stem/");
    }
    ASSERT_FAILS(ptio_zip_layout_add(&layout, "a\0b", 3, 1, &err), UNWRITABLE, "W1.name", "'a\\x00b'", PTIO_NO_OFFSET);
    ASSERT_TEXT(err.record, "stem/a\\x00b");
    ASSERT_FAILS(add(&layout, "", 1, &err), UNWRITABLE, "W1.name-length", "has 0 bytes", PTIO_NO_OFFSET);
    ASSERT_EQUAL(layout.count, 0);
    ASSERT_EQUAL(layout.end, 0);
    ASSERT_EQUAL(layout.directory_size, 0);
    for (size_t i = 0; i < sizeof fine / sizeof *fine; i++) ASSERT_OK(add(&layout, fine[i], 1, &err));
    ptio_zip_layout_free(&layout);
}

static void long_names_are_cut_in_errors(void) {
    ptio_error err;
    ptio_zip_layout layout;
    char text[600];
    memset(text, 'x', sizeof text);
    for (size_t stem = 1; stem < 200; stem += 13) {
        ASSERT_OK(ptio_zip_layout_begin(text, stem, 64, &layout, &err));
        ASSERT_FAILS(ptio_zip_layout_add(&layout, text, 600, 1, &err), UNWRITABLE, "W1.name-length", "has 600 bytes", PTIO_NO_OFFSET);
        ASSERT_TRUE(strlen(err.record) > 70 && strlen(err.record) < sizeof err.record);
        ptio_zip_layout_free(&layout);
    }
}

static void archives_that_are_too_large(void) {
    ptio_error err;
    ptio_zip_layout layout;
    static const uint64_t wrong[] = {UINT64_MAX, UINT64_MAX - 40, (uint64_t)INT64_MAX + 1, INT64_MAX, INT64_MAX - UINT32_MAX};
    begin(&layout, "m", 64);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        ASSERT_FAILS(add(&layout, "a", wrong[i], &err), UNWRITABLE, "W1.size", "larger than any file can be", PTIO_NO_OFFSET);
    ASSERT_OK(add(&layout, "a", INT64_MAX - (UINT64_C(1) << 33), &err));
    ASSERT_FAILS(add(&layout, "b", UINT64_C(1) << 33, &err), UNWRITABLE, "W1.size", "with 8589934592 bytes more", PTIO_NO_OFFSET);
    ASSERT_EQUAL(layout.count, 1);
    ASSERT_TRUE(ptio_zip_file_size(&layout) < INT64_MAX);
    layout.directory_size = UINT32_MAX - 49 - 12;
    ASSERT_FAILS(add(&layout, "b", 1, &err), UNWRITABLE, "W1.directory", "would have 4294967295 bytes", PTIO_NO_OFFSET);
    layout.directory_size--;
    ASSERT_OK(add(&layout, "b", 1, &err));
    ptio_zip_layout_free(&layout);
}

static void every_allocation_may_fail(void) {
    ptio_error err;
    for (uint64_t k = 1; k < 100; k++) {
        ptio_zip_layout layout = {.count = 0};
        ptio_memory_fail_at(k);
        ptio_status status = ptio_zip_layout_begin("m", 1, 64, &layout, &err);
        for (unsigned i = 0; i < 100 && status == PTIO_OK; i++) {
            uint64_t end = layout.end;
            status = add(&layout, "data/1234", 1000, &err);
            if (status != PTIO_OK) ASSERT_TRUE(layout.count == i && layout.end == end);
        }
        ptio_memory_fail_at(0);
        ptio_zip_layout_free(&layout);
        if (status == PTIO_OK) {
            ASSERT_TRUE(k > 5);
            return;
        }
        ASSERT_EQUAL(status, PTIO_E_NO_MEMORY);
    }
    ASSERT_TRUE(false);
}

void suite_zip_layout(void) {
    RUN(payloads_are_aligned);
    RUN(the_offsets_of_torch);
    RUN(sizes_over_4_gib);
    RUN(offsets_over_4_gib);
    RUN(the_widest_local_header);
    RUN(alignments_that_do_not_fit);
    RUN(names_of_archives);
    RUN(names_of_records);
    RUN(long_names_are_cut_in_errors);
    RUN(archives_that_are_too_large);
    RUN(every_allocation_may_fail);
}
