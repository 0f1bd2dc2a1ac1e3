/* SPDX-License-Identifier: Apache-2.0
 *
 * torch's archives, field by field. Fields that are not named below are 0, as torch
 * leaves them: versions, time and date, attributes, disks, comments.
 *
 *   local header                 central entry                 data descriptor
 *    0  PK\3\4                    0  PK\1\2                     0  PK\7\8
 *    6  flags                     8  flags                      4  crc
 *   14  crc, sizes: always 0     16  crc                        8  csize, usize: 4 bytes each, or
 *   26  name length              20  csize, usize                  8 each where there is a zip64 field
 *   28  extra length             28  name length
 *   30  name, zip64?, "FB"       30  extra length
 *                                42  offset of the local header
 *                                46  name, zip64?
 */
#include "zip_write.h"

enum { LOCAL_HEADER = 30, CENTRAL_HEADER = 46, END = 22, LOCATOR = 20, RECORD64 = 56 };
enum { FLAG_DESCRIPTOR = 0x0008, FLAG_UTF8 = 0x0800 };

#define LOCAL_SIGNATURE UINT32_C(0x04034b50)
#define CENTRAL_SIGNATURE UINT32_C(0x02014b50)
#define DESCRIPTOR_SIGNATURE UINT32_C(0x08074b50)
#define END_SIGNATURE UINT32_C(0x06054b50)
#define LOCATOR_SIGNATURE UINT32_C(0x07064b50)
#define RECORD64_SIGNATURE UINT32_C(0x06064b50)

static uint8_t *put16(uint8_t *p, uint64_t value) {
    p[0] = (uint8_t)value;
    p[1] = (uint8_t)(value >> 8);
    return p + 2;
}

static uint8_t *put32(uint8_t *p, uint64_t value) { return put16(put16(p, value), value >> 16); }
static uint8_t *put64(uint8_t *p, uint64_t value) { return put32(put32(p, value), value >> 32); }

/* A value as it stands in a field of 4 bytes, when the zip64 field has it whole. */
static uint64_t short_of(uint64_t value) { return ptio_min_u64(value, UINT32_MAX); }

static uint16_t flags_of(const ptio_zip_entry *entry) {
    return entry->size == 0 ? FLAG_UTF8 : FLAG_UTF8 | FLAG_DESCRIPTOR;
}

static uint8_t *put_name(const ptio_zip_layout *layout, const ptio_zip_entry *entry, uint8_t *p) {
    memcpy(p, layout->names, layout->stem_length);
    p += layout->stem_length;
    *p++ = '/';
    memcpy(p, layout->names + entry->name, entry->name_length);
    return p + entry->name_length;
}

/* csize is 0 in local headers: when torch writes those it has not come to it yet. */
static uint8_t *put_zip64(const ptio_zip_entry *entry, uint64_t csize, uint8_t *p) {
    uint32_t size = ptio_zip64_size(entry);
    if (size == 0) return p;
    p = put16(put16(p, 1), size - 4);
    if (entry->size >= UINT32_MAX) p = put64(put64(p, entry->size), csize);
    if (entry->header >= UINT32_MAX) p = put64(p, entry->header);
    return p;
}

size_t ptio_zip_put_local(const ptio_zip_layout *layout, const ptio_zip_entry *entry, uint8_t *out) {
    size_t name = layout->stem_length + 1u + entry->name_length, extra = entry->local - LOCAL_HEADER - name;
    memset(out, 0, LOCAL_HEADER);
    put32(out, LOCAL_SIGNATURE);
    put16(out + 6, flags_of(entry));
    put16(out + 26, name);
    put16(out + 28, extra);
    uint8_t *p = put_zip64(entry, 0, put_name(layout, entry, out + LOCAL_HEADER));
    size_t padding = (size_t)(out + entry->local - p) - 4;
    *p++ = 'F';
    *p++ = 'B';
    memset(put16(p, padding), 'Z', padding);
    return entry->local;
}

size_t ptio_zip_put_descriptor(const ptio_zip_entry *entry, uint8_t *out) {
    uint32_t size = ptio_zip_descriptor_size(entry);
    if (size == 0) return 0;
    uint8_t *p = put32(put32(out, DESCRIPTOR_SIGNATURE), entry->crc);
    if (size == PTIO_ZIP_MOST_DESCRIPTOR)
        put64(put64(p, entry->size), entry->size);
    else
        put32(put32(p, entry->size), entry->size);
    return size;
}

size_t ptio_zip_put_central(const ptio_zip_layout *layout, const ptio_zip_entry *entry, uint8_t *out) {
    memset(out, 0, CENTRAL_HEADER);
    put32(out, CENTRAL_SIGNATURE);
    put16(out + 8, flags_of(entry));
    put32(out + 16, entry->crc);
    put32(out + 20, short_of(entry->size));
    put32(out + 24, short_of(entry->size));
    put16(out + 28, layout->stem_length + 1u + entry->name_length);
    put16(out + 30, ptio_zip64_size(entry));
    put32(out + 42, short_of(entry->header));
    uint8_t *p = put_zip64(entry, entry->size, put_name(layout, entry, out + CENTRAL_HEADER));
    return (size_t)(p - out);
}

size_t ptio_zip_put_end(const ptio_zip_layout *layout, uint8_t *out) {
    enum { MADE_BY_UNIX = 0x031E, VERSION_ZIP64 = 0x002D };
    uint64_t count = layout->count, size = layout->directory_size, record64 = layout->end + size;
    memset(out, 0, PTIO_ZIP_END_SIZE);
    put64(put32(out, RECORD64_SIGNATURE), RECORD64 - 12);
    put16(put16(out + 12, MADE_BY_UNIX), VERSION_ZIP64);
    put64(put64(put64(put64(out + 24, count), count), size), layout->end);
    out += RECORD64;
    put32(out, LOCATOR_SIGNATURE);
    put64(out + 8, record64);
    put32(out + 16, 1); /* disks */
    out += LOCATOR;
    put32(out, END_SIGNATURE);
    put16(out + 8, ptio_min_u64(count, UINT16_MAX));
    put16(out + 10, ptio_min_u64(count, UINT16_MAX));
    put32(out + 12, short_of(size));
    put32(out + 16, short_of(layout->end));
    return RECORD64 + LOCATOR + END;
}
