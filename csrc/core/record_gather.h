/* SPDX-License-Identifier: Apache-2.0
 *
 * Some elements of one stored record, without reading the rest of it: a region
 * in the sense of NumPy's basic slicing.
 */
#ifndef PTIO_RECORD_GATHER_H
#define PTIO_RECORD_GATHER_H

#include "record_read.h"
#include "tensor_bounds.h"

typedef struct {
    uint64_t begin; /* bytes of the record before the element with all indices 0 */
    uint64_t item;  /* bytes of an element, > 0 */
    size_t ndim;    /* <= PTIO_MAX_DIMS */
    uint64_t sizes[PTIO_MAX_DIMS];
    int64_t strides[PTIO_MAX_DIMS]; /* bytes from element to element in the record ... */
    int64_t steps[PTIO_MAX_DIMS];   /* ... and in memory */
} ptio_region;

/* Reads the elements of a stored record to out, which is the place of the one with all
 * indices 0, by several threads where there are many bytes. Runs of neighbours are read at
 * once; short gaps between them are read over. Where the region is the whole record, in its
 * order, its CRC is checked (unless options->never_verify): there is none for a part.
 *
 * The record's local header is proven first, which writes to the index; of a record that is
 * proven, several threads may gather at once. A region outside of the record is BOUNDS. */
ptio_status ptio_record_gather(const ptio_source *source, ptio_zip_index *index, uint32_t record,
                               const ptio_region *region, const ptio_read_options *options, uint8_t *out,
                               ptio_error *err) PTIO_MUST_CHECK;

#endif
