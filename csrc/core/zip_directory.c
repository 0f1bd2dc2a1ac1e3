/* SPDX-License-Identifier: Apache-2.0
 *
 * Takes a central header apart and refuses what two readers could read in two ways.
 * Works on memory only.
 *
 *    0  PK\1\2           10  method          28  name length      38  external attributes
 *    4  made by          16  crc             30  extra length     42  offset of the local header
 *    6  version needed   20  csize           32  comment length   46  name, extra, comment
 *    8  flags            24  usize           34  first disk
 */
#include "zip_directory.h"

#include "utf8.h"
#include "zip_end.h"

#define CENTRAL_SIGNATURE UINT32_C(0x02014b50)

/* Bits 1 and 2 tell how hard the compressor tried, 3 that a descriptor follows the data,
 * 11 that the name is UTF-8. All others change how the data is read. */
enum { KNOWN_FLAGS = 0x080E };

typedef unsigned long long ull;

/* Z5: the zip64 field's values in the order of the sentinels that they stand for. */
static ptio_status apply_zip64(const uint8_t *field, size_t length, uint64_t offset, ptio_record *record,
                               ptio_error *err) {
    uint64_t *const values[] = {&record->usize, &record->csize, &record->header};
    size_t expected = 0, at = 0;
    for (size_t i = 0; i < 3; i++) expected += *values[i] == UINT32_MAX ? 8 : 0;
    PTIO_CHECK(length == expected, "Z6.length", err, ZIP_MALFORMED, offset,
               "the zip64 field has %zu bytes, its header needs %zu", length, expected);
    for (size_t i = 0; i < 3; i++) {
        if (*values[i] != UINT32_MAX) continue;
        *values[i] = ptio_le64(field + at);
        at += 8;
    }
    return PTIO_OK;
}

/* Z6 over the extra fields, which tile their room: id, length, bytes. */
static ptio_status read_extra(const uint8_t *extra, size_t n, uint64_t offset, ptio_record *record,
                              ptio_error *err) {
    const uint8_t *zip64 = NULL;
    size_t at = 0, zip64_length = 0;
    while (at < n) {
        PTIO_CHECK(n - at >= 4 && ptio_le16(extra + at + 2) <= n - at - 4, "Z6.tile", err, ZIP_MALFORMED,
                   offset + at, "an extra field reaches out of the %zu bytes of its entry", n);
        if (ptio_le16(extra + at) == 1) {
            PTIO_CHECK(zip64 == NULL, "Z6.twice", err, ZIP_AMBIGUOUS, offset + at,
                       "the entry has two zip64 fields");
            zip64 = extra + at + 4;
            zip64_length = ptio_le16(extra + at + 2);
        }
        at += 4 + (size_t)ptio_le16(extra + at + 2);
    }
    if (zip64 != NULL)
        return apply_zip64(zip64, zip64_length, offset + (uint64_t)(zip64 - extra), record, err);
    PTIO_CHECK(record->usize != UINT32_MAX && record->csize != UINT32_MAX && record->header != UINT32_MAX,
               "Z6.missing", err, ZIP_MALFORMED, offset,
               "a size or offset needs a zip64 field, there is none");
    return PTIO_OK;
}

/* Whether eight bytes can be part of any name: none is NUL, a backslash, a dot or not
 * ASCII. Dots are fine in most places, but their places need looking at. */
static inline bool is_plain(uint64_t word) {
    const uint64_t ones = UINT64_C(0x0101010101010101), high = ones * 0x80;
    uint64_t slash = word ^ ones * '\\', dot = word ^ ones * '.';
    uint64_t zeros = ((word - ones) & ~word) | ((slash - ones) & ~slash) | ((dot - ones) & ~dot);
    return ((zeros | word) & high) == 0;
}

static bool is_plain_name(const uint8_t *name, size_t n) {
    uint64_t word;
    for (; n >= 8; n -= 8, name += 8) {
        memcpy(&word, name, 8);
        if (!is_plain(word)) return false;
    }
    for (size_t i = 0; i < n; i++)
        if (name[i] == 0 || name[i] == '\\' || name[i] == '.' || name[i] >= 0x80) return false;
    return true;
}

/* UTF-8 as zip means it, without the surrogates that pickle allows. */
static ptio_status check_text(const uint8_t *text, size_t n, uint64_t offset, ptio_error *err) {
    ptio_utf8_facts facts;
    bool valid = ptio_utf8_check(text, n, &facts);
    for (size_t i = 0; valid && i + 1 < n; i++) valid = text[i] != 0xED || text[i + 1] < 0xA0;
    PTIO_CHECK(valid, "Z5.utf8", err, ZIP_MALFORMED, offset, "the name of the entry is not UTF-8");
    PTIO_CHECK(memchr(text, 0, n) == NULL, "Z5.nul", err, ZIP_AMBIGUOUS, offset,
               "the name of the entry holds a NUL byte");
    return PTIO_OK;
}

/* Z5 for the part of a name below the stem: nothing that one tool takes for another
 * place in the archive than the next tool does. */
static ptio_status check_below_stem(const uint8_t *name, size_t n, uint64_t offset, ptio_error *err) {
    if (PTIO_LIKELY(is_plain_name(name, n))) return PTIO_OK;
    PTIO_TRY(check_text(name, n, offset, err));
    PTIO_CHECK(memchr(name, '\\', n) == NULL, "Z5.backslash", err, ZIP_AMBIGUOUS, offset,
               "the name of the entry holds a backslash");
    for (size_t begin = 0; begin < n;) {
        const uint8_t *slash = memchr(name + begin, '/', n - begin);
        size_t end = slash == NULL ? n : (size_t)(slash - name);
        bool dots = end - begin >= 1 && end - begin <= 2 && name[begin] == '.' && name[end - 1] == '.';
        PTIO_CHECK(!dots, "Z5.dots", err, ZIP_AMBIGUOUS, offset,
                   "the name of the entry has a '.' or '..' in it");
        begin = end + 1;
    }
    return PTIO_OK;
}

/* Z7: the text before the first '/' is the same for every entry. Whatever it is, it is
 * what torch.save made of the file's name. */
static ptio_status check_stem(ptio_zip_walk *walk, const uint8_t *name, size_t n, uint64_t offset,
                              ptio_error *err) {
    size_t stem = walk->stem_length;
    if (PTIO_LIKELY(walk->stem != NULL && n > stem && name[stem] == '/' &&
                    memcmp(name, walk->stem, stem) == 0))
        return PTIO_OK;
    const uint8_t *slash = n == 0 ? NULL : memchr(name, '/', n);
    PTIO_CHECK(n > 0, "Z5.empty", err, ZIP_MALFORMED, offset, "the name of the entry is empty");
    PTIO_CHECK(slash != NULL, "Z7.top", err, ZIP_AMBIGUOUS, offset,
               "the entry is in no directory: torch.save puts all of them into one");
    PTIO_CHECK(slash != name, "Z7.leading", err, ZIP_AMBIGUOUS, offset,
               "the name of the entry begins with '/'");
    char mine[PTIO_QUOTED], theirs[PTIO_QUOTED];
    PTIO_CHECK(walk->stem == NULL, "Z7.stem", err, ZIP_AMBIGUOUS, offset,
               "the archive has two top directories, '%s' and '%s'",
               ptio_quote(theirs, walk->stem, walk->stem_length),
               ptio_quote(mine, name, (size_t)(slash - name)));
    PTIO_TRY(check_text(name, (size_t)(slash - name), offset, err));
    walk->stem = name;
    walk->stem_length = (uint16_t)(slash - name);
    return PTIO_OK;
}

/* Z5 for what is neither name nor extra. `header` holds all of the entry. */
static ptio_status check_fields(const uint8_t *header, uint64_t offset, const ptio_record *record,
                                ptio_error *err) {
    PTIO_CHECK((record->flags & ~KNOWN_FLAGS) == 0, "Z5.flags", err, ZIP_MALFORMED, offset + 8,
               "the entry has flags 0x%04x, of which 0x%04x %s", (unsigned)record->flags,
               (unsigned)(record->flags & ~KNOWN_FLAGS),
               record->flags & 0x41 ? "mean that it is encrypted" : "have no meaning for a checkpoint");
    PTIO_CHECK(record->method == PTIO_ZIP_STORED || record->method == PTIO_ZIP_DEFLATED, "Z5.method", err,
               METHOD_UNSUPPORTED, offset + 10, "the entry is compressed by method %u, only 0 and 8 are read",
               (unsigned)record->method);
    PTIO_CHECK(ptio_le16(header + 34) == 0, "Z5.disk", err, ZIP_MALFORMED, offset + 34,
               "the entry begins on disk %u, expected 0", (unsigned)ptio_le16(header + 34));
    PTIO_CHECK((ptio_le32(header + 38) >> 16 & 0170000) != 0120000, "Z5.symlink", err, ZIP_MALFORMED,
               offset + 38, "the entry is a symbolic link");
    return PTIO_OK;
}

/* Z9: what can be said about the sizes without the local header. */
static ptio_status check_sizes(const ptio_record *record, bool is_directory, uint64_t offset,
                               ptio_error *err) {
    PTIO_CHECK(!is_directory || record->usize == 0, "Z5.directory", err, ZIP_AMBIGUOUS, offset + 24,
               "the name ends in '/', but the entry has %llu bytes", (ull)record->usize);
    PTIO_CHECK(record->method != PTIO_ZIP_STORED || record->csize == record->usize, "Z9.stored", err,
               ZIP_MALFORMED, offset + 20,
               "the entry is stored, but has %llu bytes in the file and %llu outside", (ull)record->csize,
               (ull)record->usize);
    return PTIO_OK;
}

static ptio_status read_entry(ptio_zip_walk *walk, const uint8_t *header, uint64_t offset, ptio_record *out,
                              bool *is_directory, ptio_error *err) {
    const uint8_t *name = header + PTIO_CENTRAL_HEADER;
    size_t n = out->name_length;
    PTIO_TRY(check_fields(header, offset, out, err));
    PTIO_TRY(check_stem(walk, name, n, offset + PTIO_CENTRAL_HEADER, err));
    size_t below = (size_t)walk->stem_length + 1;
    PTIO_TRY(check_below_stem(name + below, n - below, offset + PTIO_CENTRAL_HEADER, err));
    PTIO_TRY(read_extra(name + n, ptio_le16(header + 30), offset + PTIO_CENTRAL_HEADER + n, out, err));
    *is_directory = name[n - 1] == '/';
    return check_sizes(out, *is_directory, offset, err);
}

ptio_status ptio_zip_next_entry(ptio_zip_walk *walk, ptio_record *out, bool *is_directory, ptio_error *err) {
    const uint8_t *header = walk->directory + walk->at;
    uint64_t offset = walk->directory_offset + walk->at, left = walk->size - walk->at;
    PTIO_CHECK(ptio_le32(header) == CENTRAL_SIGNATURE, "Z5.signature", err, ZIP_MALFORMED, offset,
               "there is no entry of the directory at byte %llu", (ull)offset);
    uint64_t size = (uint64_t)PTIO_CENTRAL_HEADER + ptio_le16(header + 28) + ptio_le16(header + 30) +
                    ptio_le16(header + 32);
    PTIO_CHECK(size <= left, "Z5.size", err, ZIP_MALFORMED, offset + 28,
               "an entry of the directory has %llu bytes, the directory ends after %llu", (ull)size,
               (ull)left);
    ptio_record record = {.header = ptio_le32(header + 42),
                          .csize = ptio_le32(header + 20),
                          .usize = ptio_le32(header + 24),
                          .crc = ptio_le32(header + 16),
                          .name = (uint32_t)walk->at + PTIO_CENTRAL_HEADER,
                          .name_length = ptio_le16(header + 28),
                          .method = ptio_le16(header + 10),
                          .flags = ptio_le16(header + 8)};
    ptio_status status = read_entry(walk, header, offset, &record, is_directory, err);
    if (PTIO_UNLIKELY(status != PTIO_OK)) {
        ptio_error_in_record(err, header + PTIO_CENTRAL_HEADER, record.name_length);
        return status;
    }
    walk->at += size;
    *out = record;
    return PTIO_OK;
}
