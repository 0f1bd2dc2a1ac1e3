/* SPDX-License-Identifier: Apache-2.0
 *
 * Sources over built archives.
 */
#include "archives.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

static ptio_status read_at(void *context, uint64_t offset, void *out, size_t n, ptio_error *err) {
    const zip_archive *zip = context;
    if (offset > zip->size || n > zip->size - offset) return ptio_fail(err, PTIO_E_IO, "T0.range", offset, "bad range");
    memcpy(out, zip->bytes + offset, n);
    return PTIO_OK;
}

void archive_callback(const zip_archive *zip, ptio_source *out) {
    ptio_source_callback(read_at, (void *)(uintptr_t)zip, zip->size, out);
}

void archive_file(const zip_archive *zip, ptio_mmap_mode mode, ptio_source *out) {
    char path[] = "/tmp/ptio-test-XXXXXX";
    ptio_error err;
    int fd = mkstemp(path);
    size_t done = 0;
    while (fd >= 0 && done < zip->size) {
        ssize_t n = write(fd, zip->bytes + done, zip->size - done);
        if (n <= 0) abort();
        done += (size_t)n;
    }
    if (fd < 0 || ptio_source_open(path, mode, out, &err) != PTIO_OK) abort();
    close(fd);
    unlink(path);
}

static ptio_status index_of(const ptio_source *source, ptio_zip_index *out, ptio_error *err) {
    ptio_limits limits = PTIO_LIMITS_DEFAULT;
    return ptio_zip_index_read(source, &limits, out, err);
}

ptio_status archive_index(const zip_archive *zip, ptio_zip_index *out, ptio_error *err) {
    ptio_source source;
    ptio_source_borrow(zip->bytes, zip->size, &source);
    return index_of(&source, out, err);
}

typedef enum { IN_PLACE, BY_READING, FROM_BYTES } proof;

static ptio_status prove_all(const zip_archive *zip, proof how, ptio_error *err) {
    ptio_source source;
    ptio_zip_index index;
    if (how == BY_READING)
        archive_callback(zip, &source);
    else
        ptio_source_borrow(zip->bytes, zip->size, &source);
    ptio_status status = index_of(&source, &index, err);
    if (status != PTIO_OK) return status;
    for (uint32_t i = 0; i < index.count && status == PTIO_OK; i++) {
        if (how != FROM_BYTES) {
            status = ptio_zip_prove(&source, &index, i, err);
            continue;
        }
        bool covered = false;
        uint64_t from = index.records[i].header - (index.records[i].header > 0 ? 1 : 0);
        size_t rest = zip->size - (size_t)from;
        uint8_t *exact = malloc(rest); /* so that a sanitizer sees reads behind it */
        if (exact == NULL) abort();
        memcpy(exact, zip->bytes + from, rest);
        for (size_t n = 0; n <= rest && !covered && status == PTIO_OK; n += 1 + n / 64) {
            uint8_t *cut = malloc(n + 1);
            if (cut == NULL) abort();
            memcpy(cut, exact, n);
            status = ptio_zip_prove_in(&index, i, cut, from, n, &covered, err);
            free(cut);
        }
        if (status == PTIO_OK && !covered)
            status = ptio_zip_prove_in(&index, i, exact, from, rest, &covered, err);
        ASSERT_TRUE(status != PTIO_OK || covered);
        free(exact);
    }
    ptio_zip_index_free(&index);
    return status;
}

ptio_status archive_prove(const zip_archive *zip, ptio_error *err) {
    ptio_error other;
    ptio_status status = prove_all(zip, IN_PLACE, err);
    for (proof how = BY_READING; how <= FROM_BYTES; how++) {
        ptio_status again = prove_all(zip, how, &other);
        ASSERT_EQUAL(again, status);
        if (status == PTIO_OK || again == PTIO_OK) continue;
        ASSERT_TEXT(other.check, err->check);
        ASSERT_TEXT(other.message, err->message);
        ASSERT_TEXT(other.record, err->record);
        ASSERT_EQUAL(other.offset, err->offset);
    }
    return status;
}

void archive_small(zip_archive *zip) {
    zip_begin(zip);
    zip_add(zip, &(zip_member){.name = "m/data.pkl", .content = "\x80\2}.", .size = 4, .descriptor = true, .alignment = 64});
    zip_add(zip, &(zip_member){.name = "m/data/0", .content = "0123456789", .size = 10, .descriptor = true, .alignment = 64});
    zip_add(zip, &(zip_member){.name = "m/data/1", .content = "abcdefgh", .size = 8});
}

void archive_spoiled(const char *file, int line, zip_archive *zip, ptio_status status, const char *check,
                     const char *fragment, uint64_t offset) {
    ptio_error err;
    test_error(file, line, archive_prove(zip, &err), &err, status, check, fragment, offset);
    zip_free_archive(zip);
}

void archive_fine(const char *file, int line, zip_archive *zip) {
    ptio_error err;
    if (archive_prove(zip, &err) != PTIO_OK)
        test_fail(file, line, "%s %s (record '%s'): %s", ptio_status_name(err.status), err.check, err.record, err.message);
    zip_free_archive(zip);
}
