/* SPDX-License-Identifier: Apache-2.0
 *
 * The formats of torch before 1.6, which have no records: their storages become
 * the records of c->index, proven already, so that everything behind it reads
 * them like those of an archive.
 */
#ifndef PTIO_LEGACY_H
#define PTIO_LEGACY_H

#include "checkpoint.h"
#include "pickle_parse.h"
#include "pickle_series.h"

/* torch < 1.6: five pickles in a row, then the storages. */
ptio_status ptio_legacy_open(const ptio_source *source, const ptio_checkpoint_options *options,
                             ptio_checkpoint *out, ptio_error *err) PTIO_MUST_CHECK;

/* torch 0.1: a tar archive. */
ptio_status ptio_tar_open(const ptio_source *source, const ptio_checkpoint_options *options,
                          ptio_checkpoint *out, ptio_error *err) PTIO_MUST_CHECK;

/* --- what both are made of --------------------------------------------------------------- */

/* One of the small pickles. */
typedef struct {
    ptio_series_pickle pickle;
    ptio_graph graph;
} ptio_legacy_part;

/* The next pickle, which names at most so many classes. It has a name for messages. */
ptio_status ptio_legacy_part_read(ptio_pickle_series *series, const ptio_checkpoint_options *options,
                                  const char *name, size_t classes, ptio_legacy_part *out,
                                  ptio_error *err) PTIO_MUST_CHECK;
void ptio_legacy_part_free(ptio_legacy_part *part);

/* The next pickle, which is that of the object. */
ptio_status ptio_legacy_object_read(ptio_pickle_series *series, const ptio_checkpoint_options *options,
                                    ptio_checkpoint *c, ptio_error *err) PTIO_MUST_CHECK;

/* Something is wrong inside a pickle. One that lacks its end says so, unless it has already
 * said something worse. */
ptio_status ptio_legacy_blame(const ptio_series_pickle *pickle, const char *name, ptio_status status,
                              ptio_error *err);

/* Gives c->index a record, still without a place, for each root of c->storages. */
ptio_status ptio_legacy_index(ptio_checkpoint *c, ptio_error *err) PTIO_MUST_CHECK;

/* Says where a record lies; the range is inside the file. */
static inline void ptio_legacy_place(ptio_checkpoint *c, uint32_t record, uint64_t at) {
    ptio_record *r = &c->index.records[record];
    r->header = r->data = at;
    r->limit = at + r->csize;
}

#endif
