/* SPDX-License-Identifier: Apache-2.0
 *
 * Writes zip archives into memory, as torch does or as others do, and remembers where
 * each structure stands: a test spoils one field by overwriting it.
 */
#ifndef PTIO_ZIP_BUILDER_H
#define PTIO_ZIP_BUILDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
    const char *name;
    size_t name_length; /* 0 = strlen(name) */
    const void *content;
    size_t size;
    bool deflated;
    bool descriptor;         /* flag 8: CRC and sizes 0 in the local header, a descriptor behind the data */
    bool sizes_early;        /* ... but the local header has them nevertheless */
    int local_zip64;         /* values in the local zip64 field: 0 = none, else 1..3 */
    bool local_sentinel;     /* 32-bit sizes in the local header are 0xFFFFFFFF */
    bool local_zip64_zeros;  /* the values of that field are 0 */
    bool central_zip64;      /* sizes and offset in the central zip64 field */
    unsigned alignment;      /* FB padding so that the data is aligned; 0 = no such field */
    const void *extra;       /* more extra fields, in both headers */
    size_t extra_length;
    const char *comment;
} zip_member;

typedef struct {
    size_t local, data, csize, descriptor, central, central_extra;
} zip_place;

typedef struct {
    uint8_t *bytes;
    size_t size, capacity;
    zip_member *members; /* copies */
    zip_place *places;
    uint32_t *crcs;
    size_t count, room;
    size_t directory, directory_size, record64, locator, end;
} zip_archive;

void zip_begin(zip_archive *zip);
void zip_add(zip_archive *zip, const zip_member *member);
void zip_raw(zip_archive *zip, const void *bytes, size_t n); /* between members, or behind the end */
void zip_finish(zip_archive *zip, bool zip64, const void *comment, size_t comment_length);
void zip_free_archive(zip_archive *zip);

/* An archive as torch.save writes it: the pickle and `storages` of `size` bytes each. */
void zip_torch(zip_archive *zip, size_t storages, size_t size);

/* Content that deflate cannot make smaller; always the same. */
void fill_with_noise(uint8_t *content, size_t size);

/* Overwrite bytes of a finished archive. */
void zip_put8(zip_archive *zip, size_t at, uint64_t value);
void zip_put16(zip_archive *zip, size_t at, uint64_t value);
void zip_put32(zip_archive *zip, size_t at, uint64_t value);
void zip_put64(zip_archive *zip, size_t at, uint64_t value);
uint32_t zip_get32(const zip_archive *zip, size_t at);

#endif
