/* SPDX-License-Identifier: Apache-2.0
 *
 * One entry of a central directory: its fields, its zip64 field and its name
 * (Z5, Z6, and Z7's top directory).
 */
#ifndef PTIO_ZIP_DIRECTORY_H
#define PTIO_ZIP_DIRECTORY_H

#include "zip_index.h"

/* Reads the entries one after the other from the private copy of a directory. */
typedef struct {
    const uint8_t *directory;
    uint64_t directory_offset; /* in the file */
    uint64_t size;
    uint64_t at;         /* of the next entry */
    const uint8_t *stem; /* of the archive, once the first entry is read */
    uint16_t stem_length;
} ptio_zip_walk;

/* The entry at walk->at, of which at least PTIO_CENTRAL_HEADER bytes are left; moves
 * on behind it. `entry`, `data`, `limit` and `descriptor` of the record are left 0. */
ptio_status ptio_zip_next_entry(ptio_zip_walk *walk, ptio_record *out, bool *is_directory,
                                ptio_error *err) PTIO_MUST_CHECK;

#endif
