/* SPDX-License-Identifier: Apache-2.0
 *
 * The table of records of an archive whose central directory is gone: cut off, overwritten,
 * or made useless by bytes before or between the members. It goes by local headers and data
 * descriptors. Knows nothing of pickles.
 */
#ifndef PTIO_ZIP_SALVAGE_H
#define PTIO_ZIP_SALVAGE_H

#include "record_read.h"
#include "zip_index.h"

/* The members of the archive that "<stem>/data.pkl" belongs to, the first one of that name in
 * the file, as far as they are whole by their headers: nothing is proven of their bytes. Takes
 * time in proportion to the file, whatever is in it. TRUNCATED when there is no such pickle.
 * Of the options only tick is used. */
ptio_status ptio_zip_salvage(const ptio_source *source, const ptio_read_options *options, ptio_zip_index *out,
                             ptio_error *err) PTIO_MUST_CHECK;

/* Proves every record (Z8) that can be. One whose local header or descriptor is damaged is
 * proven in another way if it is stored: bytes where the payload must lie have its CRC. What is
 * left unproven keeps data == 0. */
ptio_status ptio_zip_prove_damaged(const ptio_source *source, ptio_zip_index *index,
                                   const ptio_read_options *options, ptio_error *err) PTIO_MUST_CHECK;

#endif
