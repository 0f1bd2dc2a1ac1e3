/* SPDX-License-Identifier: Apache-2.0
 *
 * The formats of torch before 1.6, which have no records: their storages become
 * the records of c->index, proven already, so that everything behind it reads
 * them like those of an archive.
 */
#ifndef PTIO_LEGACY_H
#define PTIO_LEGACY_H

#include "checkpoint.h"

/* torch < 1.6: five pickles in a row, then the storages. */
ptio_status ptio_legacy_open(const ptio_source *source, const ptio_checkpoint_options *options,
                             ptio_checkpoint *out, ptio_error *err) PTIO_MUST_CHECK;

/* Gives c->index a record, still without a place, for each root of c->storages. */
ptio_status ptio_legacy_index(ptio_checkpoint *c, ptio_error *err) PTIO_MUST_CHECK;

/* Says where a record lies; the range is inside the file. */
static inline void ptio_legacy_place(ptio_checkpoint *c, uint32_t record, uint64_t at) {
    ptio_record *r = &c->index.records[record];
    r->header = r->data = at;
    r->limit = at + r->csize;
}

#endif
