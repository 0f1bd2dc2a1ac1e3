/* SPDX-License-Identifier: Apache-2.0
 *
 * One scan notes every local header, and gives it the first data descriptor behind it that
 * counts exactly the bytes in between: payloads may hold whatever they like, headers and
 * descriptors of other archives too. A walk over the headers then makes the entries that a
 * central directory would have, and the index proves those like any others.
 */
#include "zip_salvage.h"

#include <stdlib.h>

#include "crc.h"
#include "memory.h"
#include "zip_directory.h"
#include "zip_end.h"

enum { LOCAL_HEADER = 30, END = 22, HAS_DESCRIPTOR = 8, KNOWN_FLAGS = 0x080E };
enum { MOST_NAME = 511, MOST_EXTRA = 512 }; /* of a header that is looked at */

/* What is scanned at once, and what must be there behind a place to look at it. */
#define WINDOW ((size_t)1 << 20)
#define CONTEXT ((size_t)LOCAL_HEADER + MOST_NAME + MOST_EXTRA)

#define LOCAL_SIGNATURE UINT32_C(0x04034b50)
#define CENTRAL_SIGNATURE UINT32_C(0x02014b50)
#define DESCRIPTOR_SIGNATURE UINT32_C(0x08074b50)
#define END_SIGNATURE UINT32_C(0x06054b50)

typedef struct {
    uint64_t header, data;
    uint64_t csize, usize;
    uint32_t crc;
    uint16_t name_length, flags, method;
    uint8_t descriptor; /* bytes of it */
    bool sized;         /* csize, usize and crc are known */
    bool is_pickle;
} local_member;

typedef struct {
    const ptio_source *source;
    const ptio_read_options *options;
    uint8_t *window;

    local_member *members; /* in the order of the file */
    size_t count, capacity;
    ptio_hash_key key;
    size_t *by_data; /* open addressing: member + 1, by where its data begins */
    size_t slots;
    uint64_t *ends; /* offsets of end records */
    size_t end_count, end_capacity;

    uint8_t name[MOST_NAME], stem[MOST_NAME];
    size_t stem_length; /* with the '/' */
    bool have_pickle;
    local_member open; /* the last one, if nothing tells where its data ends */
    bool is_open;

    uint8_t *entries; /* what was found, as a central directory */
    size_t size, entries_capacity;
    uint32_t found;
    ptio_error *err;
} salvage;

/* --- the scan ------------------------------------------------------------------------------ */

static size_t slot_of(const salvage *s, uint64_t data) {
    size_t slot = (size_t)ptio_hash(&s->key, &data, sizeof data) & (s->slots - 1);
    while (s->by_data[slot] != 0 && s->members[s->by_data[slot] - 1].data != data)
        slot = (slot + 1) & (s->slots - 1);
    return slot;
}

static ptio_status more_slots(salvage *s) {
    size_t slots = s->slots == 0 ? 256 : 2 * s->slots;
    size_t *table = ptio_alloc_zeroed(slots, sizeof *table);
    if (table == NULL) return ptio_no_memory(s->err);
    ptio_free(s->by_data);
    s->by_data = table;
    s->slots = slots;
    for (size_t i = 0; i < s->count; i++) {
        size_t slot = slot_of(s, s->members[i].data);
        if (table[slot] == 0) table[slot] = i + 1;
    }
    return PTIO_OK;
}

static ptio_status add_member(salvage *s, const local_member *member) {
    void *members = s->members;
    PTIO_TRY(ptio_grow(&members, &s->capacity, s->count + 1, sizeof *member, s->err));
    s->members = members;
    if (2 * (s->count + 1) > s->slots) PTIO_TRY(more_slots(s));
    size_t slot = slot_of(s, member->data);
    s->members[s->count++] = *member;
    if (s->by_data[slot] == 0) s->by_data[slot] = s->count;
    return PTIO_OK;
}

/* The values of the zip64 field, NULL where there is none among the first n bytes. */
static const uint8_t *find_zip64(const uint8_t *extra, size_t n, size_t *length) {
    for (size_t at = 0; n - at >= 4; at += 4 + *length) {
        *length = ptio_le16(extra + at + 2);
        if (*length > n - at - 4) return NULL;
        if (ptio_le16(extra + at) == 1) return extra + at + 4;
    }
    return NULL;
}

/* "<stem>/data.pkl", the stem not empty. */
static bool is_pickle_name(const uint8_t *name, size_t n) {
    static const char pickle[] = "/data.pkl";
    const size_t tail = sizeof pickle - 1;
    return n > tail && memcmp(name + n - tail, pickle, tail) == 0 && memchr(name, '/', n) == name + n - tail;
}

/* n bytes from a local signature on: notes it if a member can begin like this. */
static ptio_status see_header(salvage *s, const uint8_t *p, size_t n, uint64_t offset) {
    if (n < LOCAL_HEADER) return PTIO_OK;
    uint16_t name_length = ptio_le16(p + 26), extra = ptio_le16(p + 28);
    uint64_t data = offset + LOCAL_HEADER + name_length + extra;
    local_member member = {.header = offset,
                           .data = data,
                           .csize = ptio_le32(p + 18),
                           .usize = ptio_le32(p + 22),
                           .crc = ptio_le32(p + 14),
                           .name_length = name_length,
                           .flags = ptio_le16(p + 6),
                           .method = ptio_le16(p + 8)};
    bool plausible = (member.flags & ~KNOWN_FLAGS) == 0 && name_length > 0 && name_length <= MOST_NAME &&
                     (member.method == PTIO_ZIP_STORED || member.method == PTIO_ZIP_DEFLATED) &&
                     data <= s->source->size;
    if (!plausible) return PTIO_OK;
    const uint8_t *name = p + LOCAL_HEADER;
    size_t room = n - LOCAL_HEADER - name_length, length = 0;
    const uint8_t *zip64 = find_zip64(name + name_length, extra < room ? extra : room, &length);
    member.is_pickle = is_pickle_name(name, name_length);
    member.sized = (member.flags & HAS_DESCRIPTOR) == 0;
    if (!member.sized) member.descriptor = zip64 == NULL ? 16 : 24;
    if (member.sized && zip64 != NULL && length >= 16) {
        if (member.usize == UINT32_MAX) member.usize = ptio_le64(zip64);
        if (member.csize == UINT32_MAX) member.csize = ptio_le64(zip64 + 8);
    }
    return add_member(s, &member);
}

/* n bytes from the signature of a descriptor on: that of a member, if it counts the bytes
 * since the beginning of the member's data. */
static void see_descriptor(salvage *s, const uint8_t *p, size_t n, uint64_t offset) {
    for (size_t form = 16; form <= 24 && form <= n && s->slots > 0; form += 8) {
        uint64_t csize = form == 24 ? ptio_le64(p + 8) : ptio_le32(p + 8);
        uint64_t usize = form == 24 ? ptio_le64(p + 16) : ptio_le32(p + 12);
        if (csize > offset) continue;
        size_t slot = slot_of(s, offset - csize);
        local_member *member = s->by_data[slot] == 0 ? NULL : &s->members[s->by_data[slot] - 1];
        if (member == NULL || member->sized || member->descriptor != form) continue;
        if (member->method == PTIO_ZIP_STORED && csize != usize) continue;
        member->sized = true;
        member->csize = csize;
        member->usize = usize;
        member->crc = ptio_le32(p + 4);
    }
}

static ptio_status see_end(salvage *s, uint64_t offset) {
    void *ends = s->ends;
    PTIO_TRY(ptio_grow(&ends, &s->end_capacity, s->end_count + 1, sizeof *s->ends, s->err));
    s->ends = ends;
    s->ends[s->end_count++] = offset;
    return PTIO_OK;
}

static ptio_status scan_window(salvage *s, const uint8_t *bytes, size_t n, size_t begins, uint64_t offset) {
    for (size_t i = 0; i < begins; i++) {
        const uint8_t *p = memchr(bytes + i, 'P', begins - i);
        if (p == NULL) return PTIO_OK;
        i = (size_t)(p - bytes);
        if (n - i < 4 || p[1] != 'K') continue;
        uint32_t signature = ptio_le32(p);
        if (signature == LOCAL_SIGNATURE) PTIO_TRY(see_header(s, p, n - i, offset + i));
        if (signature == DESCRIPTOR_SIGNATURE) see_descriptor(s, p, n - i, offset + i);
        if (signature == END_SIGNATURE) PTIO_TRY(see_end(s, offset + i));
    }
    return PTIO_OK;
}

static ptio_status tick(const ptio_source *source, const ptio_read_options *options, ptio_error *err) {
    return options->tick == NULL ? PTIO_OK : options->tick(options->tick_context, 0, source->size, err);
}

static ptio_status scan(salvage *s) {
    uint64_t size = s->source->size;
    PTIO_TRY(ptio_hash_key_new(&s->key, s->err));
    s->window = ptio_alloc((size_t)ptio_min_u64(size, WINDOW + CONTEXT), 1);
    if (s->window == NULL) return ptio_no_memory(s->err);
    for (uint64_t at = 0; at < size; at += WINDOW) {
        size_t n = (size_t)ptio_min_u64(size - at, WINDOW + CONTEXT);
        PTIO_TRY(ptio_source_read(s->source, at, s->window, n, s->err));
        PTIO_TRY(scan_window(s, s->window, n, n < WINDOW ? n : WINDOW, at));
        PTIO_TRY(tick(s->source, s->options, s->err));
    }
    return PTIO_OK;
}

/* --- entries of a directory ---------------------------------------------------------------- */

static uint8_t *put16(uint8_t *p, uint64_t value) {
    p[0] = (uint8_t)value;
    p[1] = (uint8_t)(value >> 8);
    return p + 2;
}

static uint8_t *put32(uint8_t *p, uint64_t value) { return put16(put16(p, value), value >> 16); }
static uint8_t *put64(uint8_t *p, uint64_t value) { return put32(put32(p, value), value >> 32); }
static uint64_t short_of(uint64_t value) { return ptio_min_u64(value, UINT32_MAX); }

/* Returns how long the entry is: at most 46 + MOST_NAME + 28 bytes. */
static size_t put_entry(const salvage *s, const local_member *m, uint8_t *out) {
    const uint64_t values[] = {m->usize, m->csize, m->header};
    uint8_t *extra = out + PTIO_CENTRAL_HEADER + m->name_length, *p = extra + 4;
    memset(out, 0, PTIO_CENTRAL_HEADER);
    put32(out, CENTRAL_SIGNATURE);
    put16(out + 8, m->flags);
    put16(out + 10, m->method);
    put32(out + 16, m->crc);
    put32(out + 20, short_of(m->csize));
    put32(out + 24, short_of(m->usize));
    put16(out + 28, m->name_length);
    put32(out + 42, short_of(m->header));
    memcpy(out + PTIO_CENTRAL_HEADER, s->name, m->name_length);
    for (size_t i = 0; i < 3; i++)
        if (values[i] >= UINT32_MAX) p = put64(p, values[i]);
    if (p == extra + 4) return (size_t)(extra - out);
    put16(put16(extra, 1), (uint64_t)(p - extra - 4));
    put16(out + 30, (uint64_t)(p - extra));
    return (size_t)(p - out);
}

/* Adds the member whose name is in s->name. One that no directory may have is left out. */
static ptio_status keep_member(salvage *s, const local_member *member) {
    void *entries = s->entries;
    PTIO_TRY(
        ptio_grow(&entries, &s->entries_capacity, s->size + PTIO_CENTRAL_HEADER + MOST_NAME + 28, 1, s->err));
    s->entries = entries;
    size_t size = put_entry(s, member, s->entries + s->size);
    ptio_zip_walk walk = {.directory = s->entries + s->size, .size = size};
    ptio_record record;
    ptio_error why;
    bool is_directory = false;
    if (ptio_zip_next_entry(&walk, &record, &is_directory, &why) != PTIO_OK || is_directory) return PTIO_OK;
    s->size += size;
    s->found++;
    return PTIO_OK;
}

/* --- the walk ------------------------------------------------------------------------------ */

static ptio_status read_name(salvage *s, const local_member *member) {
    return ptio_source_read(s->source, member->header + LOCAL_HEADER, s->name, member->name_length, s->err);
}

/* The first data.pkl that is in no member with a known end; else the first one at all. */
static const local_member *first_pickle(const salvage *s) {
    const local_member *first = NULL;
    uint64_t at = 0;
    for (size_t i = 0; i < s->count; i++) {
        const local_member *m = &s->members[i];
        if (m->is_pickle && m->header >= at) return m;
        if (m->is_pickle && first == NULL) first = m;
        if (m->header >= at && m->sized && m->csize <= s->source->size - m->data) at = m->data + m->csize;
    }
    return first;
}

static ptio_status find_stem(salvage *s) {
    const local_member *pickle = first_pickle(s);
    PTIO_CHECK(pickle != NULL, "S1.pickle", s->err, TRUNCATED, s->source->size,
               "there is no data.pkl in the %llu bytes of the file: nothing says which tensors it held",
               (unsigned long long)s->source->size);
    PTIO_TRY(read_name(s, pickle));
    s->stem_length = pickle->name_length - (sizeof "data.pkl" - 1);
    memcpy(s->stem, s->name, s->stem_length);
    return PTIO_OK;
}

/* A member with an unknown end, or one that no signature follows, ends before the next one:
 * where its descriptor would be then, it may be found, and the CRC decides. */
static ptio_status close_open(salvage *s, uint64_t next) {
    local_member m = s->open;
    uint8_t descriptor[24];
    if (!s->is_open) return PTIO_OK;
    s->is_open = false;
    if (!m.sized) {
        if (next - m.data <= m.descriptor) return PTIO_OK;
        PTIO_TRY(ptio_source_read(s->source, next - m.descriptor, descriptor, m.descriptor, s->err));
        m.crc = ptio_le32(descriptor + 4);
        m.csize = next - m.descriptor - m.data;
        m.usize = m.method == PTIO_ZIP_STORED ? m.csize
                  : m.descriptor == 24        ? ptio_le64(descriptor + 16)
                                              : ptio_le32(descriptor + 12);
        if (m.crc == 0) return PTIO_OK; /* that would mean "not computed" */
    }
    if (m.csize > next - m.data) return PTIO_OK;
    PTIO_TRY(read_name(s, &m));
    return keep_member(s, &m);
}

/* Whether another structure of an archive, or nothing, follows at this offset. */
static ptio_status is_followed(const salvage *s, uint64_t offset, bool *out) {
    uint8_t bytes[2] = {'P', 'K'};
    if (s->source->size - offset >= 2) PTIO_TRY(ptio_source_read(s->source, offset, bytes, 2, s->err));
    *out = bytes[0] == 'P' && bytes[1] == 'K';
    return PTIO_OK;
}

/* A member at or behind *at; moves on behind what it is known to take up. */
static ptio_status take_member(salvage *s, const local_member *member, uint64_t *at) {
    PTIO_TRY(close_open(s, member->header));
    PTIO_TRY(read_name(s, member));
    s->have_pickle = s->have_pickle || member->is_pickle;
    *at = member->data;
    if (member->sized) {
        uint64_t size = (uint64_t)member->csize, left = s->source->size - member->data;
        bool followed;
        if (size > left || member->descriptor > left - size) return PTIO_OK; /* cut off */
        uint64_t end = member->data + size + member->descriptor;
        PTIO_TRY(is_followed(s, end, &followed));
        if (followed || member->descriptor > 0) {
            *at = end;
            return keep_member(s, member);
        }
    }
    s->open = *member;
    s->is_open = true;
    return PTIO_OK;
}

/* Behind the end record of an archive that begins at an offset: somebody stored it as bytes. */
static uint64_t behind_archive(const salvage *s, uint64_t offset) {
    size_t first = 0, count = s->end_count;
    while (count > 0) {
        size_t half = count / 2;
        bool before = s->ends[first + half] < offset;
        first = before ? first + half + 1 : first;
        count = before ? count - half - 1 : half;
    }
    return first < s->end_count ? s->ends[first] + END : UINT64_MAX;
}

static ptio_status walk_members(salvage *s) {
    uint64_t at = 0;
    for (size_t i = 0; i < s->count; i++) {
        const local_member *member = &s->members[i];
        if (member->header < at) continue;
        if (member->is_pickle && s->have_pickle) {
            at = behind_archive(s, member->header);
            continue;
        }
        if (member->name_length <= s->stem_length) continue;
        PTIO_TRY(read_name(s, member));
        if (memcmp(s->name, s->stem, s->stem_length) != 0) continue;
        PTIO_TRY(take_member(s, member, &at));
    }
    if (s->is_open && !s->open.sized) s->is_open = false;
    return close_open(s, s->source->size);
}

/* --- members of the same name ------------------------------------------------------------------ */

typedef struct {
    const uint8_t *entry;
    size_t size;
    uint32_t number;
    bool drop;
} named_entry;

static int compare_numbers(const void *a, const void *b) {
    const named_entry *x = a, *y = b;
    return (x->number > y->number) - (x->number < y->number);
}

static int compare_names(const named_entry *x, const named_entry *y) {
    size_t n = ptio_le16(x->entry + 28), m = ptio_le16(y->entry + 28);
    const uint8_t *a = x->entry + PTIO_CENTRAL_HEADER, *b = y->entry + PTIO_CENTRAL_HEADER;
    if (n != m) return n < m ? -1 : 1;
    for (size_t i = 0; i < n; i++) {
        int c = a[i] >= 'A' && a[i] <= 'Z' ? a[i] | 0x20 : a[i];
        int d = b[i] >= 'A' && b[i] <= 'Z' ? b[i] | 0x20 : b[i];
        if (c != d) return c - d;
    }
    return 0;
}

static int compare_entries(const void *a, const void *b) {
    int order = compare_names(a, b);
    return order != 0 ? order : compare_numbers(a, b);
}

static bool same_content(const named_entry *x, const named_entry *y) {
    return memcmp(x->entry + 16, y->entry + 16, 12) == 0 && ptio_le32(x->entry + 16) != 0;
}

/* Of members with one name the first, if all hold the same; else none: nobody knows which. */
static uint32_t drop_ambiguous(named_entry *all, uint32_t count) {
    uint32_t kept = count;
    for (uint32_t i = 0, end; i < count; i = end) {
        bool same = true;
        for (end = i + 1; end < count && compare_names(&all[i], &all[end]) == 0; end++)
            same = same && same_content(&all[i], &all[end]);
        for (uint32_t k = same ? i + 1 : i; end - i > 1 && k < end; k++) {
            all[k].drop = true;
            kept--;
        }
    }
    return kept;
}

/* Leaves no two entries that the index would refuse (Z7). */
static ptio_status drop_doubles(salvage *s) {
    named_entry *all = ptio_alloc(s->found + 1u, sizeof *all);
    if (all == NULL) return ptio_no_memory(s->err);
    const uint8_t *p = s->entries;
    for (uint32_t i = 0; i < s->found; i++) {
        size_t size = (size_t)PTIO_CENTRAL_HEADER + ptio_le16(p + 28) + ptio_le16(p + 30);
        all[i] = (named_entry){.entry = p, .size = size, .number = i};
        p += size;
    }
    qsort(all, s->found, sizeof *all, compare_entries);
    uint32_t kept = drop_ambiguous(all, s->found);
    if (kept < s->found) {
        qsort(all, s->found, sizeof *all, compare_numbers);
        s->size = 0;
        for (uint32_t i = 0; i < s->found; i++) {
            if (all[i].drop) continue;
            memmove(s->entries + s->size, all[i].entry, all[i].size);
            s->size += all[i].size;
        }
        s->found = kept;
    }
    ptio_free(all);
    return PTIO_OK;
}

static ptio_status salvage_index(salvage *s, ptio_zip_index *out) {
    PTIO_TRY(scan(s));
    PTIO_TRY(find_stem(s));
    PTIO_TRY(walk_members(s));
    PTIO_TRY(drop_doubles(s));
    PTIO_CHECK(s->found > 0, "S1.found", s->err, TRUNCATED, s->source->size,
               "data.pkl is not whole in this file, nor is any other member");
    return ptio_zip_index_of(s->entries, s->size, s->found, s->source->size, out, s->err);
}

ptio_status ptio_zip_salvage(const ptio_source *source, const ptio_read_options *options, ptio_zip_index *out,
                             ptio_error *err) {
    salvage s = {.source = source, .options = options, .err = err};
    ptio_status status = salvage_index(&s, out);
    ptio_free(s.window);
    ptio_free(s.members);
    ptio_free(s.by_data);
    ptio_free(s.ends);
    ptio_free(s.entries);
    return status;
}
