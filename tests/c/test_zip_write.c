/* SPDX-License-Identifier: Apache-2.0
 *
 * The bytes between the payloads, against literal ones and against archives that were
 * built without the core.
 */
#include <stdlib.h>

#include "archives.h"
#include "zip_write.h"

void suite_zip_write(void);

static void begin(ptio_zip_layout *layout, const char *stem, uint64_t alignment) {
    ptio_error err;
    ASSERT_OK(ptio_zip_layout_begin(stem, strlen(stem), alignment, layout, &err));
}

static ptio_zip_entry *add(ptio_zip_layout *layout, const char *name, uint64_t size, uint32_t crc) {
    ptio_error err;
    ASSERT_OK(ptio_zip_layout_add(layout, name, strlen(name), size, &err));
    layout->entries[layout->count - 1].crc = crc;
    return &layout->entries[layout->count - 1];
}

#define ASSERT_PUT(call, expected)                          \
    do {                                                    \
        memset(out, 0xEE, sizeof out);                      \
        ASSERT_EQUAL(call, sizeof expected - 1);            \
        ASSERT_BYTES(out, expected, sizeof expected - 1);   \
        ASSERT_EQUAL(out[sizeof expected - 1], 0xEE);       \
    } while (0)

static uint8_t out[PTIO_ZIP_MOST_LOCAL + 1];

static void a_small_record(void) {
    ptio_zip_layout layout;
    begin(&layout, "m", 64);
    ptio_zip_entry *entry = add(&layout, "data/0", 10, 0x01020304);
    ASSERT_PUT(ptio_zip_put_local(&layout, entry, out),
               "PK\3\4\0\0\x08\x08\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x08\0\x1a\0m/data/0"
               "FB\x16\0ZZZZZZZZZZZZZZZZZZZZZZ");
    ASSERT_PUT(ptio_zip_put_descriptor(entry, out), "PK\7\x08\4\3\2\1\x0a\0\0\0\x0a\0\0\0");
    ASSERT_PUT(ptio_zip_put_central(&layout, entry, out),
               "PK\1\2\0\0\0\0\x08\x08\0\0\0\0\0\0\4\3\2\1\x0a\0\0\0\x0a\0\0\0\x08\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0m/data/0");
    ASSERT_EQUAL(ptio_zip_central_size(&layout, entry), 54);
    ASSERT_PUT(ptio_zip_put_end(&layout, out),
               "PK\6\6\x2c\0\0\0\0\0\0\0\x1e\3\x2d\0\0\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0"
               "\x36\0\0\0\0\0\0\0\x5a\0\0\0\0\0\0\0"
               "PK\6\7\0\0\0\0\x90\0\0\0\0\0\0\0\1\0\0\0"
               "PK\5\6\0\0\0\0\1\0\1\0\x36\0\0\0\x5a\0\0\0\0\0");
    ptio_zip_layout_free(&layout);
}

static void an_empty_record(void) {
    ptio_zip_layout layout;
    begin(&layout, "m", 1);
    ptio_zip_entry *entry = add(&layout, "e", 0, 0);
    ASSERT_PUT(ptio_zip_put_local(&layout, entry, out),
               "PK\3\4\0\0\0\x08\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\3\0\4\0m/eFB\0\0");
    ASSERT_EQUAL(ptio_zip_put_descriptor(entry, out), 0);
    ptio_zip_layout_free(&layout);
}

static void a_record_over_4_gib(void) {
    ptio_zip_layout layout;
    begin(&layout, "m", 1);
    ptio_zip_entry *entry = add(&layout, "b", UINT64_C(0x123456789A), 7);
    ASSERT_PUT(ptio_zip_put_local(&layout, entry, out),
               "PK\3\4\0\0\x08\x08\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\3\0\x18\0m/b"
               "\1\0\x10\0\x9a\x78\x56\x34\x12\0\0\0\0\0\0\0\0\0\0\0FB\0\0");
    ASSERT_PUT(ptio_zip_put_descriptor(entry, out), "PK\7\x08\7\0\0\0\x9a\x78\x56\x34\x12\0\0\0\x9a\x78\x56\x34\x12\0\0\0");
    ASSERT_PUT(ptio_zip_put_central(&layout, entry, out),
               "PK\1\2\0\0\0\0\x08\x08\0\0\0\0\0\0\7\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff\3\0\x14\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0m/b"
               "\1\0\x10\0\x9a\x78\x56\x34\x12\0\0\0\x9a\x78\x56\x34\x12\0\0\0");
    entry = add(&layout, "s", 5, 7); /* behind it: its offset is far */
    ASSERT_PUT(ptio_zip_put_local(&layout, entry, out),
               "PK\3\4\0\0\x08\x08\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\3\0\x10\0m/s"
               "\1\0\x08\0\xeb\x78\x56\x34\x12\0\0\0FB\0\0");
    ASSERT_PUT(ptio_zip_put_descriptor(entry, out), "PK\7\x08\7\0\0\0\5\0\0\0\0\0\0\0\5\0\0\0\0\0\0\0");
    ASSERT_PUT(ptio_zip_put_central(&layout, entry, out),
               "PK\1\2\0\0\0\0\x08\x08\0\0\0\0\0\0\7\0\0\0\5\0\0\0\5\0\0\0\3\0\x0c\0\0\0\0\0\0\0\0\0\0\0\xff\xff\xff\xffm/s"
               "\1\0\x08\0\xeb\x78\x56\x34\x12\0\0\0");
    entry = add(&layout, "t", UINT64_C(1) << 32, 7); /* both */
    ASSERT_EQUAL(ptio_zip_put_local(&layout, entry, out), 30 + 3 + 28 + 4);
    ASSERT_BYTES(out + 33, "\1\0\x18\0\0\0\0\0\1\0\0\0\0\0\0\0\0\0\0\0\x39\x79\x56\x34\x12\0\0\0FB\0\0", 32);
    ASSERT_EQUAL(ptio_zip_put_central(&layout, entry, out), 46 + 3 + 28);
    ASSERT_BYTES(out + 49, "\1\0\x18\0\0\0\0\0\1\0\0\0\0\0\0\0\1\0\0\0\x39\x79\x56\x34\x12\0\0\0", 28);
    ASSERT_EQUAL(ptio_zip_put_end(&layout, out), PTIO_ZIP_END_SIZE);
    ASSERT_BYTES(out + 76 + 16, "\xff\xff\xff\xff\0\0", 6);
    ASSERT_EQUAL(ptio_le64(out + 48), layout.end);
    ASSERT_EQUAL(ptio_le64(out + 56 + 8), layout.end + layout.directory_size);
    ptio_zip_layout_free(&layout);
}

/* The end record says 65,535 then; the zip64 record says how many there are. */
static void more_records_than_16_bits_count(void) {
    ptio_zip_layout layout;
    begin(&layout, "m", 64);
    for (unsigned i = 0; i < 65536; i++) {
        char name[16];
        snprintf(name, sizeof name, "data/%u", i);
        add(&layout, name, 1, 0);
        if (i < 65533) continue;
        ptio_zip_put_end(&layout, out);
        ASSERT_EQUAL(ptio_le64(out + 24), i + 1);
        ASSERT_EQUAL(ptio_le64(out + 32), i + 1);
        ASSERT_EQUAL(ptio_le16(out + 76 + 8), i < 65535 ? i + 1 : 65535);
        ASSERT_EQUAL(ptio_le16(out + 76 + 10), i < 65535 ? i + 1 : 65535);
    }
    ptio_zip_layout_free(&layout);
}

static void the_widest_structures_fit(void) {
    ptio_error err;
    ptio_zip_layout layout;
    char name[PTIO_ZIP_MOST_NAME - 2];
    memset(name, 'n', sizeof name);
    begin(&layout, "m", PTIO_ZIP_MOST_ALIGNMENT);
    add(&layout, "first", (UINT64_C(1) << 40) + 32768 - 596, 1);
    ASSERT_OK(ptio_zip_layout_add(&layout, name, sizeof name, UINT64_C(1) << 40, &err));
    const ptio_zip_entry *entry = &layout.entries[1];
    out[PTIO_ZIP_MOST_LOCAL] = 0xEE;
    ASSERT_EQUAL(ptio_zip_put_local(&layout, entry, out), entry->local);
    ASSERT_TRUE(entry->local > 32768 && entry->local <= PTIO_ZIP_MOST_LOCAL);
    ASSERT_EQUAL(out[PTIO_ZIP_MOST_LOCAL], 0xEE);
    ASSERT_EQUAL(ptio_zip_put_central(&layout, entry, out), PTIO_ZIP_MOST_CENTRAL);
    ASSERT_EQUAL(ptio_zip_put_descriptor(entry, out), PTIO_ZIP_MOST_DESCRIPTOR);
    ptio_zip_layout_free(&layout);
}

/* The test's own builder says 2.0 where torch says nothing. */
static void forget_versions(zip_archive *zip) {
    for (size_t i = 0; i < zip->count; i++) {
        zip_put16(zip, zip->places[i].local + 4, 0);
        zip_put32(zip, zip->places[i].central + 4, 0);
    }
}

static void whole_archives_are_the_same_as_built_ones(void) {
    static const unsigned alignments[] = {1, 64, 4096, 32768};
    for (unsigned a = 0; a < 4; a++) {
        zip_archive zip;
        ptio_zip_layout layout;
        static char names[60][16], content[7000];
        zip_begin(&zip);
        begin(&layout, "m", alignments[a]);
        for (unsigned i = 0; i < 60; i++) {
            size_t size = i * i * 7 % 5000;
            snprintf(names[i], sizeof names[i], "m/data/%u", i);
            content[i * 3] = (char)i;
            zip_add(&zip, &(zip_member){.name = names[i], .content = content, .size = size, .descriptor = size > 0,
                                        .alignment = alignments[a]});
            add(&layout, names[i] + 2, size, zip.crcs[i]);
        }
        zip_finish(&zip, true, NULL, 0);
        forget_versions(&zip);
        ASSERT_EQUAL(ptio_zip_file_size(&layout), zip.size);
        uint64_t at = layout.end;
        for (unsigned i = 0; i < 60; i++) {
            const ptio_zip_entry *entry = &layout.entries[i];
            size_t n = ptio_zip_put_local(&layout, entry, out);
            ASSERT_EQUAL(entry->header, zip.places[i].local);
            ASSERT_EQUAL(ptio_zip_payload(entry), zip.places[i].data);
            ASSERT_BYTES(out, zip.bytes + entry->header, n);
            n = ptio_zip_put_descriptor(entry, out);
            ASSERT_BYTES(out, zip.bytes + zip.places[i].descriptor, n);
            n = ptio_zip_put_central(&layout, entry, out);
            ASSERT_BYTES(out, zip.bytes + at, n);
            at += n;
        }
        ASSERT_EQUAL(ptio_zip_put_end(&layout, out), zip.size - at);
        ASSERT_BYTES(out, zip.bytes + at, zip.size - (size_t)at);
        ptio_zip_layout_free(&layout);
        zip_free_archive(&zip);
    }
}

void suite_zip_write(void) {
    RUN(a_small_record);
    RUN(an_empty_record);
    RUN(a_record_over_4_gib);
    RUN(more_records_than_16_bits_count);
    RUN(the_widest_structures_fit);
    RUN(whole_archives_are_the_same_as_built_ones);
}
