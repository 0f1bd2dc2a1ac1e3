/* SPDX-License-Identifier: Apache-2.0
 *
 * Pickles that stand one after another in a file, with other bytes between them.
 * Nothing says how long each is, so its opcodes are stepped over to its STOP;
 * then it is copied, and the parser proves that it is one pickle exactly.
 */
#ifndef PTIO_PICKLE_SERIES_H
#define PTIO_PICKLE_SERIES_H

#include "source.h"

typedef struct {
    const ptio_source *source;
    uint64_t at;     /* where the next pickle, or what else there is, begins */
    uint64_t end;    /* of the bytes that belong to the series */
    uint8_t *window; /* bytes of the file ... */
    uint64_t from;   /* ... from here on ... */
    size_t have;     /* ... as many */
} ptio_pickle_series;

typedef struct {
    ptio_block *block; /* owns bytes, which are private */
    const uint8_t *bytes;
    uint64_t size;
    uint64_t begin; /* in the file */
    bool cut;       /* the series ended before its STOP */
} ptio_series_pickle;

/* The bytes [at, end) of a source. On failure, too, the caller frees the series. */
ptio_status ptio_series_begin(const ptio_source *source, uint64_t at, uint64_t end, ptio_pickle_series *out,
                              ptio_error *err) PTIO_MUST_CHECK;
void ptio_series_free(ptio_pickle_series *series);

/* The next pickle, to where it ends or cannot be one; out->block is the caller's. */
ptio_status ptio_series_next(ptio_pickle_series *series, uint64_t most, ptio_series_pickle *out,
                             ptio_error *err) PTIO_MUST_CHECK;

/* The next n <= 4096 bytes, which stay until the next call. */
ptio_status ptio_series_bytes(ptio_pickle_series *series, size_t n, const uint8_t **out,
                              ptio_error *err) PTIO_MUST_CHECK;

/* Moves over n bytes that somebody else reads. */
ptio_status ptio_series_skip(ptio_pickle_series *series, uint64_t n, ptio_error *err) PTIO_MUST_CHECK;

#endif
