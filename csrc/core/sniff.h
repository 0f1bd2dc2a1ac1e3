/* SPDX-License-Identifier: Apache-2.0
 *
 * Says what a file is from its first bytes, so that an error can name it.
 */
#ifndef PTIO_SNIFF_H
#define PTIO_SNIFF_H

#include "source.h"

typedef enum {
    PTIO_FILE_ZIP,
    PTIO_FILE_LEGACY_PICKLE, /* torch < 1.6: the magic number's pickle comes first */
    PTIO_FILE_LEGACY_TAR,    /* torch 0.1 */
    PTIO_FILE_BARE_PICKLE,
    PTIO_FILE_SAFETENSORS,
    PTIO_FILE_OTHER /* no checkpoint: name says what it looks like */
} ptio_file_kind;

typedef struct {
    ptio_file_kind kind;
    const char *name; /* "a git-lfs pointer", "an HTML page", "an empty file" ... */
    const char *hint; /* what to do about it, or NULL */
} ptio_sniffed;

ptio_status ptio_sniff(const ptio_source *source, ptio_sniffed *out, ptio_error *err) PTIO_MUST_CHECK;

#endif
