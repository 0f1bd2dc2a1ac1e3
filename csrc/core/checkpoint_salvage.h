/* SPDX-License-Identifier: Apache-2.0
 *
 * A checkpoint of what is intact in a damaged or truncated file: its index holds whole records
 * alone, and its storages without one are lost. It can be listed and copied, not built.
 */
#ifndef PTIO_CHECKPOINT_SALVAGE_H
#define PTIO_CHECKPOINT_SALVAGE_H

#include "checkpoint.h"
#include "record_read.h"

/* A record that is there, but not intact. */
typedef struct {
    const uint8_t *name;
    size_t name_length;
    bool kept; /* only its CRC is wrong, and the caller wants it as it is */
    ptio_error *error;
} ptio_damaged_record;

typedef struct {
    ptio_checkpoint checkpoint;
    ptio_error directory; /* why it was not used; status PTIO_OK where it was */
    ptio_damaged_record *damaged;
    size_t damaged_count;
    bool lost; /* there is a storage without its record */
} ptio_salvage;

/* Goes by the central directory where that can be read, else by local headers. Reads all of the
 * file. Of the options, inert and missing_records_ok are always set. With any_crc, stored records
 * whose CRC alone is wrong count as intact. On failure *out must be freed, too. */
ptio_status ptio_salvage_open(const ptio_source *source, const ptio_checkpoint_options *options,
                              const ptio_read_options *reading, bool any_crc, ptio_salvage *out,
                              ptio_error *err) PTIO_MUST_CHECK;

/* Takes what is lost out of the pickle; the checkpoint is then that of the new one, and proven
 * like any other. */
ptio_status ptio_salvage_cut(ptio_salvage *salvage, const ptio_limits *limits,
                             ptio_error *err) PTIO_MUST_CHECK;

void ptio_salvage_free(ptio_salvage *salvage);

#endif
