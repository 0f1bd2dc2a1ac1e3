/* SPDX-License-Identifier: Apache-2.0
 *
 * Writes records of a layout - header, payload, descriptor - to a sink and takes
 * their CRCs while the bytes are in the cache: by several threads into a file, one
 * after another into a stream. Knows neither directories nor whose bytes they are.
 */
#ifndef PTIO_RECORD_WRITE_H
#define PTIO_RECORD_WRITE_H

#include "sink.h"
#include "zip_layout.h"

/* Gives the next bytes of a payload, of which `at` have been given: *n > 0 of them,
 * no more than are left. They stay valid until the next call or the record's end.
 * Only the calling thread asks for them, record after record in order. */
typedef ptio_status (*ptio_produce)(void *context, uint32_t record, uint64_t at, const void **bytes,
                                    uint64_t *n, ptio_error *err);

typedef struct {
    bool no_crc;          /* leave the CRC fields 0: "not computed" */
    unsigned threads;     /* at most; 0 = automatic */
    ptio_produce produce; /* of payloads that are not in memory; may be NULL */
    void *produce_context;
    /* As that of ptio_read_options; totals grow as records are added. NULL for none. */
    ptio_status (*tick)(void *context, uint64_t done_bytes, uint64_t total_bytes, ptio_error *err);
    void *tick_context;
} ptio_write_options;

typedef struct {
    ptio_sink *sink;
    ptio_zip_layout *layout; /* CRCs of its entries are filled in */
    ptio_write_options options;
    ptio_gather gather;             /* what has not gone to the sink yet */
    uint64_t done, total;           /* bytes of payload, for the ticks */
    uint64_t ticked;                /* offset in the file where the last tick was */
    uint64_t told_done, told_total; /* by the last tick */
} ptio_record_writer;

/* Writes the records from `first` on, `count` of them; what came before them has been
 * written. payloads[i] holds that of record first + i, NULL where it is produced. Small
 * ones may stay in writer->gather. After a failure, what was written is undefined. */
ptio_status ptio_records_write(ptio_record_writer *writer, uint32_t first, uint32_t count,
                               const void *const *payloads, ptio_error *err) PTIO_MUST_CHECK;

#endif
