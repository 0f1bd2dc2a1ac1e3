/* SPDX-License-Identifier: Apache-2.0
 *
 * The payloads of many records at once: as views of a mapping where that is
 * possible, else read (and checked) by several threads into private memory.
 * Small neighbours share blocks of at most PTIO_SLAB bytes, which are read with
 * one call each; large records get a block of their own.
 */
#ifndef PTIO_RECORD_READ_H
#define PTIO_RECORD_READ_H

#include "parallel.h"
#include "zip_index.h"

#define PTIO_SLAB (UINT64_C(1) << 20)

typedef struct {
    uint32_t record;    /* in */
    uint32_t alignment; /* in: what the payload's address must be a multiple of, a power of two <= 64 */
    bool needs_private; /* in: never a view of the mapping (its bytes will be swapped) */
    ptio_block *block;  /* out: owns bytes, one reference for the caller; NULL when usize is 0 */
    uint8_t *bytes;     /* out: the payload, usize bytes; NULL when usize is 0 */
} ptio_wanted;

typedef struct {
    bool
        verify_mapped; /* check CRCs of mapped payloads too; copied and inflated ones always are, unless never_verify */
    bool never_verify;
    bool private_copy; /* no views of the mapping at all */
    unsigned threads;  /* 0 = automatic */
    ptio_status (*tick)(void *context, uint64_t done_bytes, uint64_t total_bytes, ptio_error *err);
    void *tick_context;
} ptio_read_options;

/* Fills block and bytes of every wanted[i]; the records are distinct. Every
 * record is proven (Z8) first. On failure nothing is owned by the caller. */
ptio_status ptio_records_read(const ptio_source *source, ptio_zip_index *index, ptio_wanted *wanted,
                              size_t count, const ptio_limits *limits, const ptio_read_options *options,
                              ptio_error *err) PTIO_MUST_CHECK;

typedef struct {
    ptio_error *error; /* owned; NULL when the record is fine */
    uint32_t record;
    bool not_computed; /* the archive holds no CRC for it */
} ptio_record_verdict;

/* Proves and checks the CRC of every record of the archive without keeping any
 * payload, and goes on after a bad one: *verdicts gets one entry per record, for
 * the caller to give to ptio_verdicts_free. Fails only when the work itself cannot go on
 * (memory, a cancelled tick). */
ptio_status ptio_records_verify(const ptio_source *source, ptio_zip_index *index, const ptio_limits *limits,
                                const ptio_read_options *options, ptio_record_verdict **verdicts,
                                ptio_error *err) PTIO_MUST_CHECK;

void ptio_verdicts_free(ptio_record_verdict *verdicts, uint32_t count); /* NULL is fine */

/* One small record (the pickle, byteorder, version), whole, stored or
 * compressed, CRC always checked. A record over max_bytes is LIMIT. */
ptio_status ptio_record_slurp(const ptio_source *source, ptio_zip_index *index, uint32_t record,
                              uint64_t max_bytes, const ptio_limits *limits, ptio_block **out,
                              ptio_error *err) PTIO_MUST_CHECK;

#endif
