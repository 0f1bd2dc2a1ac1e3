/* SPDX-License-Identifier: Apache-2.0
 *
 * Opens built archives in each of the ways in which the core can see them.
 */
#ifndef PTIO_ARCHIVES_H
#define PTIO_ARCHIVES_H

#include "test.h"
#include "zip_builder.h"
#include "record_read.h"
#include "zip_index.h"

/* A source that is read through a callback, so nothing can be done in place. */
void archive_callback(const zip_archive *zip, ptio_source *out);

/* A file of those bytes, unlinked already: mapped or read through its descriptor. */
void archive_file(const zip_archive *zip, ptio_mmap_mode mode, ptio_source *out);

ptio_status archive_index(const zip_archive *zip, ptio_zip_index *out, ptio_error *err);

/* The index, then every record proven: in place, by reading, and from bytes read before,
 * which all have to end in the same way. */
ptio_status archive_prove(const zip_archive *zip, ptio_error *err);

/* Three members that show what a test usually wants to spoil: m/data.pkl and m/data/0
 * with descriptors, m/data/1 with sizes in its local header. */
void archive_small(zip_archive *zip);

/* Checks that an archive fails like this, or does not, and frees it. */
void archive_spoiled(const char *file, int line, zip_archive *zip, ptio_status status, const char *check,
                     const char *fragment, uint64_t offset);
void archive_fine(const char *file, int line, zip_archive *zip);

static inline const ptio_error *verdict_error(const ptio_record_verdict *verdict) {
    static const ptio_error fine = {.check = ""};
    return verdict->error == NULL ? &fine : verdict->error;
}

static inline ptio_status verdict_status(const ptio_record_verdict *verdict) { return verdict_error(verdict)->status; }

#define SPOILED(zip, status, check, fragment, offset) \
    archive_spoiled(__FILE__, __LINE__, &(zip), PTIO_E_##status, check, fragment, offset)
#define FINE(zip) archive_fine(__FILE__, __LINE__, &(zip))

#endif
