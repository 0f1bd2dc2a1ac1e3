/* SPDX-License-Identifier: Apache-2.0
 *
 * What is written is read back the same: the pickle of whatever object the input is, said again
 * from its graph, and an archive whose records are pieces of the input.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "harness.h"
#include "pickle_cut.h"
#include "same.h"

/* --- pickles -------------------------------------------------------------------------------- */

static bool open_given(const fuzz_buffer *archive, const uint8_t *pickle, size_t size,
                       ptio_checkpoint_options options, ptio_checkpoint *out) {
    ptio_source source;
    ptio_error err = {0};
    options.inert = options.missing_records_ok = true;
    options.members.given = pickle;
    options.members.given_size = size;
    ptio_source_borrow(archive->bytes, archive->size, &source);
    ptio_status status = ptio_checkpoint_open(&source, &options, out, &err);
    if (status != PTIO_OK) fuzz_check_error(status, &err);
    return status == PTIO_OK;
}

static bool any_lost(const ptio_checkpoint *c) {
    for (size_t i = 0; i < c->storage_count; i++)
        if (c->storages[i].lost) return true;
    return false;
}

/* Said again, the object is the same; said once more, so are the bytes. */
static void rewrite(const fuzz_buffer *archive, const ptio_checkpoint *c, ptio_checkpoint_options options) {
    ptio_block *block = NULL, *again = NULL;
    ptio_checkpoint second;
    ptio_error err = {0};
    uint64_t size, size_again;
    ptio_status status = ptio_pickle_cut(c, &options.limits, &block, &size, &err);
    if (status != PTIO_OK) {
        fuzz_check_error(status, &err);
        return;
    }
    bool opened = open_given(archive, ptio_block_bytes(block), size, options, &second);
    REQUIRE(opened || any_lost(c));
    if (opened && !any_lost(c)) {
        REQUIRE(fuzz_same_object(c, &second));
        REQUIRE(ptio_pickle_cut(&second, &options.limits, &again, &size_again, &err) == PTIO_OK);
        REQUIRE(size == size_again);
        REQUIRE(memcmp(ptio_block_bytes(block), ptio_block_bytes(again), (size_t)size) == 0);
        ptio_block_unref(again);
    }
    ptio_checkpoint_free(&second);
    ptio_block_unref(block);
}

/* --- archives --------------------------------------------------------------------------------- */

enum { MOST_RECORDS = 8 };

typedef struct {
    const uint8_t *bytes[MOST_RECORDS];
    size_t sizes[MOST_RECORDS];
    uint32_t count;
    size_t alignment;
} content;

/* The first bytes are the lengths of the pieces. */
static content divide(const uint8_t *data, size_t size) {
    content c = {.alignment = 1};
    uint32_t wanted = size > MOST_RECORDS ? data[0] % MOST_RECORDS + 1u : 0;
    const uint8_t *lengths = data + 1, *at = data + 1 + wanted, *end = data + size;
    if (wanted > 0) c.alignment = (size_t)1 << (data[0] >> 5);
    for (; c.count < wanted; c.count++) {
        size_t length = lengths[c.count];
        if (length > (size_t)(end - at)) length = (size_t)(end - at);
        c.bytes[c.count] = at;
        c.sizes[c.count] = length;
        at += length;
    }
    return c;
}

static void write_archive(const content *c, ptio_sink *sink, bool no_crc) {
    ptio_error err = {0};
    ptio_archive *archive = NULL;
    ptio_write_options options = {.threads = 1, .no_crc = no_crc};
    char name[32];
    REQUIRE(ptio_archive_begin(sink, "stem", 4, c->alignment, &options, &archive, &err) == PTIO_OK);
    for (uint32_t i = 0; i < c->count; i++) {
        snprintf(name, sizeof name, "data/%u", i);
        REQUIRE(ptio_archive_add(archive, name, strlen(name), c->bytes[i], c->sizes[i], &err) == PTIO_OK);
        if (c->sizes[i] % 2 == 0) REQUIRE(ptio_archive_write(archive, &err) == PTIO_OK);
    }
    REQUIRE(ptio_archive_finish(archive, &err) == PTIO_OK);
    ptio_archive_free(archive);
}

static void read_back(const content *c, const uint8_t *bytes, size_t size, bool no_crc) {
    ptio_source source;
    ptio_zip_index index;
    ptio_error err = {0};
    ptio_limits limits = PTIO_LIMITS_DEFAULT;
    ptio_record_verdict *verdicts = NULL;
    ptio_source_borrow(bytes, size, &source);
    ptio_status status = ptio_zip_index_read(&source, &limits, &index, &err);
    /* A payload may hold what passes for an end record: then there are two, which nobody reads. */
    if (status != PTIO_OK && strcmp(err.check, "Z2.unique") == 0 &&
        memmem(bytes, size - 22, "PK\5\6", 4) != NULL)
        return;
    REQUIRE(status == PTIO_OK && index.count == c->count);
    REQUIRE(ptio_records_verify(&source, &index, &limits, &fuzz_reading, &verdicts, &err) == PTIO_OK);
    for (uint32_t i = 0; i < c->count; i++) {
        const ptio_record *r = &index.records[i];
        REQUIRE(verdicts[i].error == NULL && r->usize == c->sizes[i] && r->data % c->alignment == 0);
        REQUIRE(memcmp(bytes + r->data, c->bytes[i], c->sizes[i]) == 0);
        REQUIRE(no_crc ? r->crc == 0 : !verdicts[i].not_computed || r->crc == 0);
    }
    ptio_verdicts_free(verdicts, c->count);
    ptio_zip_index_free(&index);
}

static void through_archive(const uint8_t *data, size_t size, bool to_file, bool no_crc) {
    content c = divide(data, size);
    ptio_sink sink;
    fuzz_buffer stream = {0};
    if (c.count == 0) return;
    int fd = to_file ? memfd_create("fuzz", MFD_CLOEXEC) : -1;
    if (to_file)
        ptio_sink_file(fd, &sink);
    else
        fuzz_sink(&stream, &sink);
    write_archive(&c, &sink, no_crc);
    if (to_file) {
        off_t length = lseek(fd, 0, SEEK_END);
        REQUIRE(length > 0);
        stream.bytes = malloc((size_t)length);
        stream.size = (size_t)length;
        REQUIRE(stream.bytes != NULL && pread(fd, stream.bytes, stream.size, 0) == length);
        close(fd);
    }
    read_back(&c, stream.bytes, stream.size, no_crc);
    free(stream.bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static fuzz_buffer archive;
    ptio_checkpoint c;
    if (size == 0) return 0;
    if (data[0] & 1) {
        through_archive(data + 1, size - 1, (data[0] & 6) == 6, (data[0] & 8) != 0);
        return 0;
    }
    if (archive.size == 0) fuzz_archive("N.", 2, &archive);
    ptio_checkpoint_options options = fuzz_options(data[0] & 16 ? 2 : 0);
    if (open_given(&archive, data + 1, size - 1, options, &c)) rewrite(&archive, &c, options);
    ptio_checkpoint_free(&c);
    return 0;
}
