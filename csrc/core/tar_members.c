/* SPDX-License-Identifier: Apache-2.0
 *
 * Walks the headers of an archive (invariant L2), each a block of 512 bytes:
 *
 *     0  name          100      156  type: '0' or NUL a file, 'x' or 'g' PAX records
 *   124  size, octal    12      257  "ustar"
 *   148  checksum        8      345  what precedes the name
 *
 * The data of a member fills whole blocks. A block of zeros is the end; the file is
 * padded to a multiple of 10,240 bytes.
 */
#include "tar_members.h"

enum {
    BLOCK = 512,
    RECORD = 10240,
    SIZE = 124,
    CHECKSUM = 148,
    TYPE = 156,
    PREFIX = 345,
    MOST_PAX = 64 << 10
};

typedef unsigned long long ull;

/* Digits up to a blank or NUL, after blanks. */
static bool read_octal(const uint8_t *field, size_t n, uint64_t *value) {
    size_t at = 0, digits = 0;
    *value = 0;
    while (at < n && field[at] == ' ') at++;
    for (; at < n && field[at] >= '0' && field[at] <= '7'; at++, digits++)
        *value = *value * 8 + (uint64_t)(field[at] - '0'); /* 12 digits have 36 bits */
    return digits > 0 && (at == n || field[at] == ' ' || field[at] == '\0');
}

/* The sum of all bytes, those of the checksum itself as blanks. */
static bool checksum_agrees(const uint8_t *header) {
    uint64_t sum = 0, stored;
    for (size_t i = 0; i < BLOCK; i++) sum += i >= CHECKSUM && i < CHECKSUM + 8 ? ' ' : header[i];
    return read_octal(header + CHECKSUM, 8, &stored) && stored == sum;
}

static bool is_zero(const uint8_t *block) {
    for (size_t i = 0; i < BLOCK; i++)
        if (block[i] != 0) return false;
    return true;
}

/* One line "length key=value\n" of PAX records; false where it is none. */
static bool next_record(const uint8_t *text, size_t n, size_t *at, const uint8_t **key, size_t *key_size) {
    size_t length = 0, p = *at;
    while (p < n && text[p] >= '0' && text[p] <= '9' && length <= MOST_PAX)
        length = length * 10 + (size_t)(text[p++] - '0');
    if (p == *at || p == n || text[p] != ' ' || length > n - *at || length < p - *at + 3) return false;
    const uint8_t *equals = memchr(text + p + 1, '=', *at + length - p - 1);
    if (equals == NULL || text[*at + length - 1] != '\n') return false;
    *key = text + p + 1;
    *key_size = (size_t)(equals - *key);
    *at += length;
    return true;
}

/* Times and owners may be said twice; a name or a size not, of which the header is all
 * that older readers know. */
static ptio_status check_pax(const ptio_source *source, uint64_t data, uint64_t size, ptio_error *err) {
    static const char *const harmless[] = {"mtime", "atime", "ctime", "uid",
                                           "gid",   "uname", "gname", "comment"};
    uint8_t text[BLOCK];
    size_t at = 0;
    PTIO_CHECK(size <= BLOCK, "L2.pax-size", err, LEGACY_MALFORMED, data,
               "%llu bytes of extended header, at most %d are read", (ull)size, BLOCK);
    PTIO_TRY(ptio_source_read(source, data, text, (size_t)size, err));
    while (at < size) {
        const uint8_t *key = NULL;
        size_t n = 0;
        bool known = false;
        PTIO_CHECK(next_record(text, (size_t)size, &at, &key, &n), "L2.pax", err, LEGACY_MALFORMED, data + at,
                   "a broken record in an extended header");
        for (size_t i = 0; i < sizeof harmless / sizeof *harmless; i++)
            known = known || (n == strlen(harmless[i]) && memcmp(key, harmless[i], n) == 0);
        PTIO_CHECK(known, "L2.pax-key", err, LEGACY_MALFORMED, data,
                   "an extended header that says something else than times and owners");
    }
    return PTIO_OK;
}

static ptio_status note_member(ptio_tar_member *members, size_t count, const uint8_t *header, uint64_t data,
                               uint64_t size, ptio_error *err) {
    for (size_t i = 0; i < count && header[PREFIX] == '\0'; i++) {
        if (strncmp((const char *)header, members[i].name, 100) != 0) continue;
        PTIO_CHECK(!members[i].found, "L2.twice", err, LEGACY_MALFORMED, data - BLOCK,
                   "the archive has two members '%s'", members[i].name);
        members[i] = (ptio_tar_member){members[i].name, true, data, size};
    }
    return PTIO_OK;
}

/* One header at *at, which moves behind its member. */
static ptio_status read_header(const ptio_source *source, ptio_tar_member *members, size_t count,
                               const uint8_t *header, uint64_t *at, ptio_error *err) {
    uint64_t size, data = *at + BLOCK, left = source->size - data;
    uint8_t type = header[TYPE];
    PTIO_CHECK(checksum_agrees(header), "L2.checksum", err, LEGACY_MALFORMED, *at,
               "the checksum of the tar header at byte %llu is wrong", (ull)*at);
    PTIO_CHECK(read_octal(header + SIZE, 12, &size), "L2.size", err, LEGACY_MALFORMED, *at + SIZE,
               "the size of a tar member is no octal number");
    PTIO_CHECK(type == '0' || type == '\0' || type == 'x' || type == 'g', "L2.type", err, LEGACY_MALFORMED,
               *at + TYPE, "a tar member of type 0x%02x, torch wrote files only", type);
    uint64_t whole = (size + BLOCK - 1) / BLOCK * BLOCK; /* size < 2^36 */
    PTIO_CHECK(whole <= left, "L2.room", err, TRUNCATED, data,
               "a tar member of %llu bytes begins at byte %llu, %llu are left", (ull)size, (ull)data,
               (ull)left);
    if (type == 'x' || type == 'g')
        PTIO_TRY(check_pax(source, data, size, err));
    else
        PTIO_TRY(note_member(members, count, header, data, size, err));
    *at = data + whole;
    return PTIO_OK;
}

ptio_status ptio_tar_find(const ptio_source *source, ptio_tar_member *members, size_t count, uint64_t *end,
                          ptio_error *err) {
    uint8_t header[BLOCK];
    uint64_t at = 0;
    for (;;) {
        PTIO_CHECK(BLOCK <= source->size - at, "L2.end", err, TRUNCATED, at,
                   "the tar archive ends at byte %llu without its last block", (ull)source->size);
        PTIO_TRY(ptio_source_read(source, at, header, BLOCK, err));
        if (is_zero(header)) break;
        PTIO_TRY(read_header(source, members, count, header, &at, err));
    }
    *end = ptio_min_u64(source->size, (at + (uint64_t)2 * BLOCK + RECORD - 1) / RECORD * RECORD);
    return PTIO_OK;
}
