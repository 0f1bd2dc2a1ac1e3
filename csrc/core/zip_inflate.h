/* SPDX-License-Identifier: Apache-2.0
 *
 * Compressed records, inflated by libzip. libzip is shown one record at a time,
 * as an archive of its own with the directory that our index has proven: it can
 * neither read that directory in another way nor spend time on other entries.
 */
#ifndef PTIO_ZIP_INFLATE_H
#define PTIO_ZIP_INFLATE_H

#include "zip_index.h"

typedef struct ptio_inflater ptio_inflater;

/* source and index outlive the inflater. One thread at a time. */
ptio_status ptio_inflater_new(const ptio_source *source, const ptio_zip_index *index, ptio_inflater **out,
                              ptio_error *err) PTIO_MUST_CHECK;

/* Z11: whether a compressed record and its archive may be inflated at all; to be
 * asked before memory for it is allocated. */
ptio_status ptio_inflate_allowed(const ptio_zip_index *index, uint64_t file_size, const ptio_limits *limits,
                                 uint32_t record, ptio_error *err) PTIO_MUST_CHECK;

/* Z11: exactly usize bytes into out, and not one more in the stream. The CRC
 * (when the archive has one) is checked. The record is proven. With out NULL it
 * is checked without being kept. */
ptio_status ptio_inflate(ptio_inflater *inflater, uint32_t record, void *out,
                         ptio_error *err) PTIO_MUST_CHECK;

void ptio_inflater_free(ptio_inflater *inflater); /* NULL is fine */

#endif
