/* SPDX-License-Identifier: Apache-2.0
 *
 * Opens a zip checkpoint: sniff, index, the small records, the pickle, vetting.
 */
#include <stdio.h>
#include <stdlib.h>

#include "checkpoint.h"
#include "memory.h"
#include "pickle_parse.h"
#include "record_read.h"
#include "sniff.h"
#include "vet.h"

enum { MAX_SMALL_RECORD = 64 };

static ptio_status check_kind(const ptio_source *source, ptio_error *err) {
    ptio_sniffed file;
    PTIO_TRY(ptio_sniff(source, &file, err));
    if (file.kind == PTIO_FILE_ZIP) return PTIO_OK;
    bool checkpoint = file.kind != PTIO_FILE_OTHER;
    return ptio_fail(err, checkpoint ? PTIO_E_FORMAT_UNSUPPORTED : PTIO_E_NOT_A_CHECKPOINT, "Z1.kind", 0,
                     "this is %s, not a checkpoint that torch.save wrote as a zip archive%s%s", file.name,
                     file.hint == NULL ? "" : "; ", file.hint == NULL ? "" : file.hint);
}

static uint32_t find(const ptio_checkpoint *c, const char *name) {
    return ptio_zip_find(&c->index, "", name, strlen(name));
}

/* Archives of torch that are no checkpoints of torch.save. */
static ptio_status check_archive(const ptio_checkpoint *c, ptio_error *err) {
    static const struct {
        const char *member, *what;
    } others[] = {{".data/extern_modules", "a torch.package archive: open it with torch.package"},
                  {"archive_format", "a torch.export archive: open it with torch.export.load"},
                  {"bytecode.pkl", "a mobile TorchScript archive: open it with torch.jit.mobile"}};
    PTIO_CHECK(find(c, "constants.pkl") == PTIO_NO_RECORD, "Z7.torchscript", err, TORCHSCRIPT, PTIO_NO_OFFSET,
               "this is a TorchScript archive");
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        if (find(c, others[i].member) != PTIO_NO_RECORD)
            return ptio_fail(err, PTIO_E_FORMAT_UNSUPPORTED, "Z7.kind", PTIO_NO_OFFSET, "this is %s",
                             others[i].what);
    PTIO_CHECK(c->pickle_record != PTIO_NO_RECORD, "Z7.pickle", err, RECORD_MISSING, PTIO_NO_OFFSET,
               "the archive has no data.pkl");
    return PTIO_OK;
}

/* A record of a few bytes, and what a check says of it. */
typedef struct {
    uint32_t record;
    ptio_block *block; /* NULL where the archive lacks it */
    const uint8_t *text;
    size_t size;
} small_record;

static ptio_status name_record(const ptio_checkpoint *c, uint32_t record, ptio_status status,
                               ptio_error *err) {
    if (status != PTIO_OK && record != PTIO_NO_RECORD && err->record[0] == '\0')
        ptio_zip_name_error(&c->index, record, err);
    return status;
}

static ptio_status read_small(const ptio_source *source, ptio_checkpoint *c, const char *name,
                              const ptio_limits *limits, small_record *out, ptio_error *err) {
    *out = (small_record){.record = find(c, name)};
    if (out->record == PTIO_NO_RECORD) return PTIO_OK;
    uint64_t size = c->index.records[out->record].usize;
    PTIO_CHECK(size <= MAX_SMALL_RECORD, "Z7.small", err, METADATA_MALFORMED, PTIO_NO_OFFSET,
               "member %s has %llu bytes, torch writes a few", name, (unsigned long long)size);
    PTIO_TRY(ptio_record_slurp(source, &c->index, out->record, MAX_SMALL_RECORD, limits, &out->block, err));
    out->text = ptio_block_bytes(out->block);
    out->size = (size_t)size;
    return PTIO_OK;
}

static bool machine_is_big_endian(void) {
    const uint16_t one = 1;
    uint8_t first;
    memcpy(&first, &one, 1);
    return first == 0;
}

static ptio_status check_byte_order(ptio_checkpoint *c, const ptio_checkpoint_options *options,
                                    const small_record *order, ptio_error *err) {
    bool little = order->size == 6 && memcmp(order->text, "little", 6) == 0;
    bool big = order->size == 3 && memcmp(order->text, "big", 3) == 0;
    if (order->record == PTIO_NO_RECORD) {
        ptio_byte_order assumed = options->order_if_missing;
        little = true;
        big = assumed == PTIO_BIG_ENDIAN || (assumed == PTIO_NATIVE_ENDIAN && machine_is_big_endian());
    }
    PTIO_CHECK(little || big, "T6.order", err, METADATA_MALFORMED, PTIO_NO_OFFSET,
               "the byte order is neither 'little' nor 'big'");
    c->big_endian = big;
    c->swap = big != machine_is_big_endian();
    return PTIO_OK;
}

/* torch has written 3 and up; it reads 1 to 10. */
static ptio_status check_version(ptio_checkpoint *c, const ptio_checkpoint_options *options,
                                 const small_record *text, ptio_error *err) {
    uint32_t version = 0;
    (void)c;
    (void)options;
    for (size_t i = 0; i < text->size && version < 1000; i++)
        if (text->text[i] >= '0' && text->text[i] <= '9')
            version = version * 10 + (uint32_t)(text->text[i] - '0');
    PTIO_CHECK(text->record == PTIO_NO_RECORD || (version >= 1 && version <= 10), "Z7.version", err,
               FORMAT_UNSUPPORTED, PTIO_NO_OFFSET, "the archive's format version is %u, 1 to 10 are known",
               version);
    return PTIO_OK;
}

typedef ptio_status (*check_small)(ptio_checkpoint *, const ptio_checkpoint_options *, const small_record *,
                                   ptio_error *);

static ptio_status read_and_check(const ptio_source *source, ptio_checkpoint *c, const char *name,
                                  check_small check, const ptio_checkpoint_options *options,
                                  ptio_error *err) {
    small_record small;
    ptio_status status = read_small(source, c, name, &options->limits, &small, err);
    if (status == PTIO_OK) status = check(c, options, &small, err);
    ptio_block_unref(small.block);
    return name_record(c, small.record, status, err);
}

static ptio_status read_pickle(const ptio_source *source, ptio_checkpoint *c, const ptio_limits *limits,
                               ptio_error *err) {
    uint64_t size = c->index.records[c->pickle_record].usize;
    PTIO_CHECK(size <= limits->pickle_bytes, "R.pickle", err, LIMIT, PTIO_NO_OFFSET,
               "the pickle has %llu bytes, at most %llu are read (limit pickle_bytes)",
               (unsigned long long)size, (unsigned long long)limits->pickle_bytes);
    PTIO_TRY(ptio_record_slurp(source, &c->index, c->pickle_record, limits->pickle_bytes, limits,
                               &c->pickle_block, err));
    c->pickle = ptio_block_bytes(c->pickle_block);
    c->pickle_size = size;
    return PTIO_OK;
}

/* A stream that breaks off may still have named what it must not: that is the
 * worse news, so it comes first. */
static ptio_status report_broken(ptio_checkpoint *c, const ptio_checkpoint_options *options,
                                 ptio_error *err) {
    ptio_error parse_error = *err, ignored;
    bool refused =
        parse_error.status == PTIO_E_PICKLE_MALFORMED || parse_error.status == PTIO_E_OPCODE_FORBIDDEN;
    if (!refused || ptio_vet_globals(c, options, &ignored) != PTIO_OK || c->forbidden_count == 0)
        return parse_error.status;
    ptio_status status = ptio_vet_report_forbidden(c, err);
    size_t used = strlen(err->message);
    snprintf(err->message + used, sizeof err->message - used, "; and the pickle is broken: %s",
             parse_error.message);
    return status;
}

static ptio_status parse_and_vet(ptio_checkpoint *c, const ptio_checkpoint_options *options,
                                 ptio_error *err) {
    ptio_parse_options parse = {.max_nodes = options->limits.objects,
                                .max_bytes = ptio_limit_for_file(options->limits.object_bytes, c->file_size),
                                .old_calls = options->inert,
                                .new_calls = options->inert || options->judge != NULL};
    ptio_status status = ptio_pickle_parse(c->pickle, c->pickle_size, &parse, &c->graph, err);
    return status == PTIO_OK ? ptio_vet(c, options, err) : report_broken(c, options, err);
}

ptio_status ptio_checkpoint_open_archive(const ptio_source *source, const ptio_checkpoint_options *options,
                                         ptio_checkpoint *out, ptio_error *err) {
    memset(out, 0, sizeof *out);
    out->file_size = source->size;
    PTIO_TRY(check_kind(source, err));
    PTIO_TRY(ptio_zip_index_read(source, &options->limits, &out->index, err));
    return ptio_checkpoint_read_records(source, options, out, err);
}

ptio_status ptio_checkpoint_read_records(const ptio_source *source, const ptio_checkpoint_options *options,
                                         ptio_checkpoint *out, ptio_error *err) {
    const ptio_limits *limits = &options->limits;
    out->pickle_record = find(out, "data.pkl");
    PTIO_TRY(check_archive(out, err));
    PTIO_TRY(read_and_check(source, out, "version", check_version, options, err));
    PTIO_TRY(read_and_check(source, out, "byteorder", check_byte_order, options, err));
    return name_record(out, out->pickle_record, read_pickle(source, out, limits, err), err);
}

ptio_status ptio_checkpoint_open(const ptio_source *source, const ptio_checkpoint_options *options,
                                 ptio_checkpoint *out, ptio_error *err) {
    PTIO_TRY(ptio_checkpoint_open_archive(source, options, out, err));
    return ptio_checkpoint_read_pickle(out, options, err);
}

ptio_status ptio_checkpoint_read_pickle(ptio_checkpoint *c, const ptio_checkpoint_options *options,
                                        ptio_error *err) {
    return name_record(c, c->pickle_record, parse_and_vet(c, options, err), err);
}

void ptio_checkpoint_free(ptio_checkpoint *c) {
    ptio_zip_index_free(&c->index);
    ptio_graph_free(&c->graph);
    ptio_block_unref(c->pickle_block);
    ptio_free(c->forbidden);
    memset(c, 0, sizeof *c);
}
