/* SPDX-License-Identifier: Apache-2.0
 *
 * What the fuzz targets share. A target is a file fuzz_NAME.c; a violation of what the core
 * promises ends the process.
 */
#ifndef PTIO_FUZZ_HARNESS_H
#define PTIO_FUZZ_HARNESS_H

#include "archive_write.h"
#include "checkpoint.h"
#include "record_read.h"

#define REQUIRE(condition) ((condition) ? (void)0 : fuzz_broken(#condition, __FILE__, __LINE__))
_Noreturn void fuzz_broken(const char *what, const char *file, int line);

/* What libFuzzer calls. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed);

/* Its own mutations. */
size_t fuzz_mutate(uint8_t *data, size_t size, size_t max_size);

/* Tells MemorySanitizer that libFuzzer, which it does not see, has set these bytes. */
void fuzz_known(uint8_t *bytes, size_t n);

/* What a caller may ask for, by the bits of a byte. */
ptio_checkpoint_options fuzz_options(uint8_t choice);
extern const ptio_read_options fuzz_reading;

/* A failure says what, where and why, in bounds. */
void fuzz_check_error(ptio_status status, const ptio_error *err);

/* prove.c: what vetting promises of an open checkpoint, found out in another way. */
void fuzz_prove(const ptio_checkpoint *checkpoint, const ptio_checkpoint_options *options);

/* use.c: what a reader does with it. Listings, and the payloads of its tensors ... */
void fuzz_use_objects(const ptio_source *source, ptio_checkpoint *checkpoint,
                      const ptio_checkpoint_options *options);
/* ... CRCs of all records, regions, libzip's word. */
void fuzz_use_archive(const ptio_source *source, ptio_checkpoint *checkpoint,
                      const ptio_checkpoint_options *options);

/* Opens what is in the source, proves and uses its objects; its archive too, if asked. */
void fuzz_open(const ptio_source *source, const ptio_checkpoint_options *options, bool archive);

/* archive.c: archives in memory. */
typedef struct {
    uint8_t *bytes;
    size_t size, capacity;
} fuzz_buffer;
void fuzz_append(fuzz_buffer *buffer, const void *bytes, size_t n);

/* A sink that takes bytes one after another. */
void fuzz_sink(fuzz_buffer *buffer, ptio_sink *out);

/* The records data/0, data/1 (16 bytes each), data/32, data/empty and the pickle. */
void fuzz_archive(const void *pickle, size_t size, fuzz_buffer *out);

/* Makes the CRCs of an archive true again, where its headers can be read. */
void fuzz_mend_crcs(uint8_t *archive, size_t size);

/* A mutation that an archive survives, else libFuzzer's own. */
size_t fuzz_mutate_archive(uint8_t *data, size_t size, size_t max_size, unsigned seed);

#endif
