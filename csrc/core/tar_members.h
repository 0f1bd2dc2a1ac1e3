/* SPDX-License-Identifier: Apache-2.0
 *
 * Where the members of a tar archive lie. Nothing is ever extracted.
 */
#ifndef PTIO_TAR_MEMBERS_H
#define PTIO_TAR_MEMBERS_H

#include "source.h"

typedef struct {
    const char *name;
    bool found;
    uint64_t data, size;
} ptio_tar_member;

/* Finds the members with these names among those of the archive that begins at byte 0 of
 * the source; *end is where it ends, with its padding. */
ptio_status ptio_tar_find(const ptio_source *source, ptio_tar_member *members, size_t count, uint64_t *end,
                          ptio_error *err) PTIO_MUST_CHECK;

#endif
