/* SPDX-License-Identifier: Apache-2.0
 *
 * A table of records for a file that has another directory than a zip archive: the
 * caller has read it, and says what lies where.
 */
#ifndef PTIO_PART_INDEX_H
#define PTIO_PART_INDEX_H

#include "zip_index.h"

typedef struct {
    const char *name; /* for messages and listings */
    size_t name_length;
    uint64_t offset, size;
} ptio_file_part;

/* Record i is parts[i], without a CRC. Nothing is found in it by name. */
ptio_status ptio_part_index(const ptio_source *source, const ptio_file_part *parts, uint32_t count,
                            ptio_zip_index *out, ptio_error *err) PTIO_MUST_CHECK;

#endif
