/* SPDX-License-Identifier: Apache-2.0
 *
 * Where everything in an archive lies, exactly as torch.save places it, before
 * one byte of it is written: sizes are enough for that, since the checksums
 * stand behind the payloads. Writes nothing itself.
 */
#ifndef PTIO_ZIP_LAYOUT_H
#define PTIO_ZIP_LAYOUT_H

#include "error.h"

#define PTIO_ZIP_MOST_NAME 511 /* of a whole name: torch's reader cuts off what is longer */
#define PTIO_ZIP_MOST_ALIGNMENT 32768
#define PTIO_ZIP_END_SIZE 98 /* zip64 record, locator and end record: torch writes all three, always */

typedef struct {
    uint64_t header; /* offset of the local header */
    uint64_t size;   /* bytes of the payload */
    uint32_t crc;    /* the caller's; 0 until it is known */
    uint32_t name;   /* where the name below the stem begins in `names` */
    uint16_t name_length;
    uint16_t local; /* bytes of the local header: name, extra fields and padding included */
} ptio_zip_entry;

typedef struct {
    uint8_t *names; /* the stem, then the names of the entries */
    size_t names_size, names_capacity;
    ptio_zip_entry *entries; /* in the order of the file */
    size_t capacity;
    uint32_t count;
    uint32_t alignment;
    uint16_t stem_length;
    uint64_t end;            /* offset behind the last entry: of the next one, or of the directory */
    uint64_t directory_size; /* of the central directory without its end records */
} ptio_zip_layout;           /* {0} owns nothing */

/* An archive without entries. The stem is the directory that all of them are in:
 * text without '/'. alignment is a power of two; torch's default is 64. */
ptio_status ptio_zip_layout_begin(const void *stem, size_t stem_length, uint64_t alignment,
                                  ptio_zip_layout *out, ptio_error *err) PTIO_MUST_CHECK;

/* Places one more record, "<stem>/<name>", behind the others. No two names may be
 * equal, nor differ only in case: that is for the caller to see to. */
ptio_status ptio_zip_layout_add(ptio_zip_layout *layout, const void *name, size_t name_length, uint64_t size,
                                ptio_error *err) PTIO_MUST_CHECK;

void ptio_zip_layout_free(ptio_zip_layout *layout); /* leaves {0} */

static inline uint64_t ptio_zip_payload(const ptio_zip_entry *entry) { return entry->header + entry->local; }

/* Bytes of the data descriptor behind the payload. */
uint32_t ptio_zip_descriptor_size(const ptio_zip_entry *entry);

static inline uint64_t ptio_zip_entry_end(const ptio_zip_entry *entry) {
    return ptio_zip_payload(entry) + entry->size + ptio_zip_descriptor_size(entry);
}

/* Bytes of the zip64 extra field; 0 where there is none. */
uint32_t ptio_zip64_size(const ptio_zip_entry *entry);

/* Bytes of the entry in the central directory. */
uint32_t ptio_zip_central_size(const ptio_zip_layout *layout, const ptio_zip_entry *entry);

/* Bytes of the whole file. */
static inline uint64_t ptio_zip_file_size(const ptio_zip_layout *layout) {
    return layout->end + layout->directory_size + PTIO_ZIP_END_SIZE;
}

/* Says in an error that it happened in the record of that name. */
void ptio_zip_layout_name_error(const ptio_zip_layout *layout, const void *name, size_t name_length,
                                ptio_error *err);

#endif
