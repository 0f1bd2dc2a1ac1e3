/* SPDX-License-Identifier: Apache-2.0
 *
 * Writes a whole archive as torch.save does, in one go or record by record:
 *
 *   begin, add ..., finish                 every size is known, and reserved, first
 *   begin, add, write, add, write ...      each payload is in the file before the
 *          finish                          next one is asked for
 *
 * Order and names of the records are the caller's; torch's order is data.pkl,
 * .format_version, .storage_alignment, byteorder, data/0 ..., version,
 * .data/serialization_id. The last one's content is ptio_archive_id after a write of
 * all others. Nothing is closed, synced or cut to its length here.
 */
#ifndef PTIO_ARCHIVE_WRITE_H
#define PTIO_ARCHIVE_WRITE_H

#include "record_write.h"

typedef struct ptio_archive ptio_archive;

/* The sink is empty and stays the caller's; stem and alignment as in zip_layout.h. */
ptio_status ptio_archive_begin(ptio_sink *sink, const void *stem, size_t stem_length, uint64_t alignment,
                               const ptio_write_options *options, ptio_archive **out,
                               ptio_error *err) PTIO_MUST_CHECK;

/* Adds the record "<stem>/<name>" of `size` bytes, which stay valid until the next
 * write or finish; NULL where options->produce gives them. Records are numbered from
 * 0. Writes nothing; where it fails, the archive is as it was. */
ptio_status ptio_archive_add(ptio_archive *archive, const void *name, size_t name_length, const void *bytes,
                             uint64_t size, ptio_error *err) PTIO_MUST_CHECK;

/* Writes what was added since the last time. When this or finish fails, the archive
 * cannot be continued. */
ptio_status ptio_archive_write(ptio_archive *archive, ptio_error *err) PTIO_MUST_CHECK;

/* The same, and then the directory: the file is complete. */
ptio_status ptio_archive_finish(ptio_archive *archive, ptio_error *err) PTIO_MUST_CHECK;

void ptio_archive_free(ptio_archive *archive); /* NULL is fine */

/* What is where: entries have their CRCs once they are written. */
const ptio_zip_layout *ptio_archive_layout(const ptio_archive *archive);

#define PTIO_ARCHIVE_ID 40

/* 40 digits, as torch's serialization_id, from names, sizes and CRCs of what has been
 * written: equal contents have equal ids. Ends in a NUL. */
void ptio_archive_id(const ptio_archive *archive, char out[PTIO_ARCHIVE_ID + 1]);

#endif
