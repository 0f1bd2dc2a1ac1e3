/* SPDX-License-Identifier: Apache-2.0
 *
 * System calls that fail, are interrupted or do half their work.
 */
#include "faults.h"

#include <errno.h>
#include <stdlib.h>

#include "archives.h"
#include "memory.h"
#include "record_read.h"

void suite_faults(void);

static const ptio_limits limits = PTIO_LIMITS_DEFAULT;

static char path[64];

static void make_file(size_t n) {
    strcpy(path, "/tmp/ptio-test-XXXXXX");
    FILE *file = fdopen(mkstemp(path), "wb");
    for (size_t i = 0; i < n; i++) fputc((int)(i % 251), file);
    fclose(file);
}

static void interrupted_and_short_reads_go_on(void) {
    ptio_error err;
    ptio_source source;
    uint8_t out[1000];
    make_file(1000);
    ASSERT_OK(ptio_source_open(path, PTIO_MMAP_NEVER, &source, &err));
    faults.preads = 0;
    faults.pread_eintr = 3;
    faults.pread_short = true;
    ASSERT_OK(ptio_source_read(&source, 0, out, sizeof out, &err));
    faults_clear();
    for (size_t i = 0; i < sizeof out; i++) ASSERT_EQUAL(out[i], i % 251);
    ptio_source_close(&source);
    remove(path);
}

static void read_errors_are_io(void) {
    ptio_error err;
    ptio_source source;
    uint8_t out[100];
    make_file(1000);
    ASSERT_OK(ptio_source_open(path, PTIO_MMAP_NEVER, &source, &err));
    faults.pread_errno = EIO;
    ASSERT_FAILS(ptio_source_read(&source, 10, out, sizeof out, &err), IO, "io", "pread: ", PTIO_NO_OFFSET);
    ASSERT_EQUAL(err.sys_errno, EIO);
    faults_clear();
    ptio_source_close(&source);
    remove(path);
}

static void fstat_errors_and_sizes(void) {
    ptio_error err;
    ptio_source source;
    make_file(1000);
    faults.fstat_errno = EIO;
    ASSERT_FAILS(ptio_source_open(path, PTIO_MMAP_NEVER, &source, &err), IO, "io", "fstat: ", PTIO_NO_OFFSET);
    faults_clear();
    faults.fstat_size = -1;
    ASSERT_FAILS(ptio_source_open(path, PTIO_MMAP_NEVER, &source, &err), LIMIT, "F1.size", "more than this process can address",
                 PTIO_NO_OFFSET);
    faults_clear();
    faults.fstat_after = 1;
    faults.fstat_size = 999;
    ASSERT_FAILS(ptio_source_open(path, PTIO_MMAP_AUTO, &source, &err), FILE_CHANGED, "F2.size",
                 "had 1000 bytes when it was opened, now it has 999", PTIO_NO_OFFSET);
    faults_clear();
    faults.fstat_after = 1;
    faults.fstat_errno = EIO;
    ASSERT_FAILS(ptio_source_open(path, PTIO_MMAP_ALWAYS, &source, &err), IO, "io", "fstat: ", PTIO_NO_OFFSET);
    faults_clear();
    remove(path);
}

static void mapping_is_only_a_wish_when_automatic(void) {
    ptio_error err;
    ptio_source source;
    make_file(1000);
    faults.mmap_errno = ENODEV;
    ASSERT_OK(ptio_source_open(path, PTIO_MMAP_AUTO, &source, &err));
    ASSERT_TRUE(source.mapping == NULL && source.bytes == NULL);
    ptio_source_close(&source);
    ASSERT_FAILS(ptio_source_open(path, PTIO_MMAP_ALWAYS, &source, &err), IO, "io", "mmap: ", PTIO_NO_OFFSET);
    faults_clear();
    faults.remote = true;
    ASSERT_OK(ptio_source_open(path, PTIO_MMAP_AUTO, &source, &err));
    ASSERT_TRUE(source.mapping == NULL);
    ptio_source_close(&source);
    ASSERT_OK(ptio_source_open(path, PTIO_MMAP_ALWAYS, &source, &err));
    ASSERT_TRUE(source.mapping != NULL);
    ptio_source_close(&source);
    faults_clear();
    remove(path);
}

static void large_blocks_need_mmap(void) {
    ptio_error err;
    ptio_block *block = NULL;
    faults.mmap_errno = ENOMEM;
    ASSERT_FAILS(ptio_block_new(3 << 20, &block, &err), NO_MEMORY, "memory", "out of memory", PTIO_NO_OFFSET);
    faults_clear();
}

static void indexing_needs_entropy(void) {
    ptio_error err;
    ptio_zip_index index;
    zip_archive zip;
    archive_small(&zip);
    zip_finish(&zip, true, NULL, 0);
    faults.getentropy_errno = ENOSYS;
    ASSERT_FAILS(archive_index(&zip, &index, &err), IO, "io", "getentropy: ", PTIO_NO_OFFSET);
    faults_clear();
    zip_free_archive(&zip);
}

/* Reads and verifies a file of 12 MiB while the k-th read fails; everything is released. */
static void any_read_may_fail(void) {
    ptio_error err;
    zip_archive zip;
    zip_torch(&zip, 4, 3 << 20);
    for (unsigned k = 0; k < 300; k++) {
        ptio_source source;
        ptio_zip_index index;
        ptio_wanted wanted[6];
        ptio_read_options options = {.threads = 1 + k % 3};
        ptio_record_verdict *verdicts = NULL;
        archive_file(&zip, PTIO_MMAP_NEVER, &source);
        for (uint32_t i = 0; i < 6; i++) wanted[i] = (ptio_wanted){.record = i, .alignment = 64};
        faults_clear();
        faults.pread_errno = k % 2 ? EIO : 0;
        faults.pread_at_end = k % 2 == 0;
        faults.pread_after = k;
        ptio_status status = ptio_zip_index_read(&source, &limits, &index, &err);
        bool indexed = status == PTIO_OK;
        if (indexed) status = ptio_records_read(&source, &index, wanted, 6, &limits, &options, &err);
        bool fine = status == PTIO_OK;
        for (size_t i = 0; i < 6 && fine; i++) ptio_block_unref(wanted[i].block);
        if (indexed) {
            ASSERT_OK(ptio_records_verify(&source, &index, &limits, &options, &verdicts, &err));
            if (!fine) ASSERT_EQUAL(verdict_status(&verdicts[5]), k % 2 ? PTIO_E_IO : PTIO_E_FILE_CHANGED);
            ptio_verdicts_free(verdicts, index.count);
            ptio_zip_index_free(&index);
        }
        if (!fine) ASSERT_EQUAL(status, k % 2 ? PTIO_E_IO : PTIO_E_FILE_CHANGED);
        ptio_source_close(&source);
        if (fine && k > 120) break;
    }
    faults_clear();
    zip_free_archive(&zip);
}

static void work_gets_done_without_threads(void) {
    ptio_error err;
    zip_archive zip;
    ptio_source source;
    ptio_zip_index index;
    ptio_record_verdict *verdicts = NULL;
    ptio_read_options options = {.threads = 4};
    zip_torch(&zip, 4, 3 << 20);
    archive_file(&zip, PTIO_MMAP_NEVER, &source);
    ASSERT_OK(ptio_zip_index_read(&source, &limits, &index, &err));
    faults.pthread_create_error = EAGAIN;
    ASSERT_OK(ptio_records_verify(&source, &index, &limits, &options, &verdicts, &err));
    ASSERT_TRUE(faults.threads == 1);
    for (uint32_t i = 0; i < 6; i++) ASSERT_EQUAL(verdict_status(&verdicts[i]), PTIO_OK);
    faults_clear();
    ptio_verdicts_free(verdicts, index.count);
    ptio_zip_index_free(&index);
    ptio_source_close(&source);
    zip_free_archive(&zip);
}

void suite_faults(void) {
    if (!faults_work()) return;
    RUN(interrupted_and_short_reads_go_on);
    RUN(read_errors_are_io);
    RUN(fstat_errors_and_sizes);
    RUN(mapping_is_only_a_wish_when_automatic);
    RUN(large_blocks_need_mmap);
    RUN(indexing_needs_entropy);
    RUN(any_read_may_fail);
    RUN(work_gets_done_without_threads);
}
