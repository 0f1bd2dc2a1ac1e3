/* SPDX-License-Identifier: Apache-2.0
 *
 * Compressed records, inflated by libzip. libzip sees the archive a second
 * time; what it says of a record must agree with our own index.
 */
#ifndef PTIO_ZIP_INFLATE_H
#define PTIO_ZIP_INFLATE_H

#include "zip_index.h"

typedef struct ptio_inflater ptio_inflater;

/* source and index outlive the inflater. One thread at a time. */
ptio_status ptio_inflater_new(const ptio_source *source, const ptio_zip_index *index,
                              ptio_inflater **out, ptio_error *err) PTIO_MUST_CHECK;

/* Z11: exactly usize bytes into out, and not one more in the stream. The CRC
 * (when the archive has one) is checked. */
ptio_status ptio_inflate(ptio_inflater *inflater, uint32_t record, void *out,
                         ptio_error *err) PTIO_MUST_CHECK;

void ptio_inflater_free(ptio_inflater *inflater); /* NULL is fine */

#endif
