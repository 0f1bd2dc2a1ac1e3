/* SPDX-License-Identifier: Apache-2.0
 *
 * torch's rules of placement: every payload begins at a multiple of the alignment,
 * by means of an extra field "FB" that every local header has, padded with 'Z'.
 *
 *   local header, 30 bytes | name | zip64 field? | 'F' 'B' length | padding | payload | descriptor?
 */
#include "zip_layout.h"

#include "memory.h"
#include "utf8.h"

enum { LOCAL_HEADER = 30, CENTRAL_HEADER = 46, EXTRA_HEADER = 4, DESCRIPTOR = 16, DESCRIPTOR64 = 24 };

/* Of all records: leaves room for any directory below the largest file offset. */
#define MOST_BYTES ((uint64_t)INT64_MAX - UINT32_MAX - PTIO_ZIP_END_SIZE)

static bool is_far(uint64_t value) { return value >= UINT32_MAX; }

uint32_t ptio_zip64_size(const ptio_zip_entry *entry) {
    uint32_t values = (is_far(entry->size) ? 2u : 0u) + (is_far(entry->header) ? 1u : 0u);
    return values == 0 ? 0 : EXTRA_HEADER + 8 * values;
}

uint32_t ptio_zip_descriptor_size(const ptio_zip_entry *entry) {
    if (entry->size == 0) return 0;
    return ptio_zip64_size(entry) > 0 ? DESCRIPTOR64 : DESCRIPTOR;
}

uint32_t ptio_zip_central_size(const ptio_zip_layout *layout, const ptio_zip_entry *entry) {
    return CENTRAL_HEADER + layout->stem_length + 1u + entry->name_length + ptio_zip64_size(entry);
}

void ptio_zip_layout_name_error(const ptio_zip_layout *layout, const void *name, size_t name_length,
                                ptio_error *err) {
    char whole[PTIO_ERROR_RECORD];
    size_t stem = layout->stem_length, below = name_length;
    if (stem + 1 > sizeof whole) stem = sizeof whole - 1;
    if (below > sizeof whole - stem - 1) below = sizeof whole - stem - 1;
    memcpy(whole, layout->names, stem);
    whole[stem] = '/';
    memcpy(whole + stem + 1, name, below);
    ptio_error_in_record(err, whole, stem + 1 + below);
}

/* UTF-8 as zip means it: no NUL, none of the surrogates that pickle allows. */
static bool is_text(const uint8_t *text, size_t n) {
    ptio_utf8_facts facts;
    if (memchr(text, 0, n) != NULL || !ptio_utf8_check(text, n, &facts)) return false;
    for (size_t i = 0; facts.largest != 0 && i + 1 < n; i++)
        if (text[i] == 0xED && text[i + 1] >= 0xA0) return false;
    return true;
}

/* Whether each part of a path is the name of something, as readers demand (Z5). */
static bool is_path(const uint8_t *name, size_t n) {
    for (size_t begin = 0; begin <= n;) {
        const uint8_t *slash = n == begin ? NULL : memchr(name + begin, '/', n - begin);
        size_t end = slash == NULL ? n : (size_t)(slash - name);
        if (end == begin) return false;
        if (end - begin <= 2 && name[begin] == '.' && name[end - 1] == '.') return false;
        begin = end + 1;
    }
    return memchr(name, '\\', n) == NULL;
}

ptio_status ptio_zip_layout_begin(const void *stem, size_t stem_length, uint64_t alignment,
                                  ptio_zip_layout *out, ptio_error *err) {
    char quoted[PTIO_QUOTED];
    PTIO_CHECK(alignment > 0 && (alignment & (alignment - 1)) == 0 && alignment <= PTIO_ZIP_MOST_ALIGNMENT,
               "W1.alignment", err, UNWRITABLE, PTIO_NO_OFFSET,
               "records cannot be aligned to %llu bytes: it must be a power of two up to %d",
               (unsigned long long)alignment, PTIO_ZIP_MOST_ALIGNMENT);
    PTIO_CHECK(stem_length > 0 && stem_length < PTIO_ZIP_MOST_NAME - 1, "W1.stem-length", err, UNWRITABLE,
               PTIO_NO_OFFSET, "the name of the archive has %zu bytes, expected 1 to %d", stem_length,
               PTIO_ZIP_MOST_NAME - 2);
    PTIO_CHECK(is_text(stem, stem_length) && memchr(stem, '/', stem_length) == NULL, "W1.stem", err,
               UNWRITABLE, PTIO_NO_OFFSET, "an archive cannot have the name '%s'",
               ptio_quote(quoted, stem, stem_length));
    ptio_zip_layout layout = {.alignment = (uint32_t)alignment, .stem_length = (uint16_t)stem_length};
    void *names = NULL;
    PTIO_TRY(ptio_grow(&names, &layout.names_capacity, stem_length, 1, err));
    layout.names = names;
    memcpy(layout.names, stem, stem_length);
    layout.names_size = stem_length;
    *out = layout;
    return PTIO_OK;
}

static ptio_status check_name(const ptio_zip_layout *layout, const uint8_t *name, size_t n, ptio_error *err) {
    char quoted[PTIO_QUOTED];
    size_t most = PTIO_ZIP_MOST_NAME - 1u - layout->stem_length;
    PTIO_CHECK(n > 0 && n <= most, "W1.name-length", err, UNWRITABLE, PTIO_NO_OFFSET,
               "the name of a record has %zu bytes, expected 1 to %zu", n, most);
    PTIO_CHECK(is_text(name, n) && is_path(name, n), "W1.name", err, UNWRITABLE, PTIO_NO_OFFSET,
               "a record cannot have the name '%s'", ptio_quote(quoted, name, n));
    return PTIO_OK;
}

/* Fills in where the entry's payload begins, and gives the end of the entry. */
static ptio_status place(const ptio_zip_layout *layout, ptio_zip_entry *entry, uint64_t *end,
                         ptio_error *err) {
    uint32_t fixed =
        LOCAL_HEADER + layout->stem_length + 1u + entry->name_length + ptio_zip64_size(entry) + EXTRA_HEADER;
    uint32_t beyond = (uint32_t)((entry->header + fixed) & (layout->alignment - 1));
    entry->local = (uint16_t)(fixed + (beyond == 0 ? 0 : layout->alignment - beyond));
    uint64_t behind = 0;
    bool fits = ptio_add_u64(ptio_zip_payload(entry), entry->size, &behind) &&
                ptio_add_u64(behind, ptio_zip_descriptor_size(entry), &behind) && behind <= MOST_BYTES;
    PTIO_CHECK(fits, "W1.size", err, UNWRITABLE, PTIO_NO_OFFSET,
               "with %llu bytes more the archive would be larger than any file can be",
               (unsigned long long)entry->size);
    *end = behind;
    return PTIO_OK;
}

static ptio_status make_room(ptio_zip_layout *layout, size_t name_length, ptio_error *err) {
    void *names = layout->names, *entries = layout->entries;
    PTIO_TRY(ptio_grow(&names, &layout->names_capacity, layout->names_size + name_length, 1, err));
    layout->names = names;
    PTIO_TRY(ptio_grow(&entries, &layout->capacity, (size_t)layout->count + 1, sizeof(ptio_zip_entry), err));
    layout->entries = entries;
    return PTIO_OK;
}

static ptio_status add(ptio_zip_layout *layout, const void *name, size_t name_length, uint64_t size,
                       ptio_error *err) {
    PTIO_TRY(check_name(layout, name, name_length, err));
    ptio_zip_entry entry = {.header = layout->end,
                            .size = size,
                            .name = (uint32_t)layout->names_size,
                            .name_length = (uint16_t)name_length};
    uint64_t end = 0, directory = layout->directory_size + ptio_zip_central_size(layout, &entry);
    /* Keeps the number of entries and the length of all names below 2^32 as well. */
    PTIO_CHECK(directory < UINT32_MAX, "W1.directory", err, UNWRITABLE, PTIO_NO_OFFSET,
               "the archive has too many records: its directory would have %llu bytes, readers take less "
               "than 4 GiB",
               (unsigned long long)directory);
    PTIO_TRY(place(layout, &entry, &end, err));
    PTIO_TRY(make_room(layout, name_length, err));
    memcpy(layout->names + layout->names_size, name, name_length);
    layout->names_size += name_length;
    layout->entries[layout->count++] = entry;
    layout->end = end;
    layout->directory_size = directory;
    return PTIO_OK;
}

ptio_status ptio_zip_layout_add(ptio_zip_layout *layout, const void *name, size_t name_length, uint64_t size,
                                ptio_error *err) {
    ptio_status status = add(layout, name, name_length, size, err);
    if (PTIO_UNLIKELY(status != PTIO_OK)) ptio_zip_layout_name_error(layout, name, name_length, err);
    return status;
}

void ptio_zip_layout_free(ptio_zip_layout *layout) {
    ptio_free(layout->names);
    ptio_free(layout->entries);
    *layout = (ptio_zip_layout){.names = NULL};
}
