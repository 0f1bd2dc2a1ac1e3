/* SPDX-License-Identifier: Apache-2.0
 *
 * Where an archive's central directory lies, from the end record and the zip64
 * record (Z1-Z4).
 */
#ifndef PTIO_ZIP_END_H
#define PTIO_ZIP_END_H

#include "source.h"

enum { PTIO_CENTRAL_HEADER = 46 }; /* bytes of a central header before the name */

typedef struct {
    uint64_t offset; /* of the central directory */
    uint64_t size;
    uint64_t count; /* entries that the end record counts, at most size / 46 */
} ptio_zip_end;

ptio_status ptio_zip_end_read(const ptio_source *source, ptio_zip_end *out, ptio_error *err) PTIO_MUST_CHECK;

#endif
