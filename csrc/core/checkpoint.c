/* SPDX-License-Identifier: Apache-2.0
 *
 * Opens a zip checkpoint: sniff, index, the small records, the pickle, vetting.
 */
#include <stdio.h>
#include <stdlib.h>

#include "checkpoint.h"
#include "legacy.h"
#include "memory.h"
#include "pickle_parse.h"
#include "record_read.h"
#include "sniff.h"
#include "vet.h"

enum { MAX_SMALL_RECORD = 64 };

static ptio_status check_kind(ptio_sniffed file, ptio_error *err) {
    if (file.kind == PTIO_FILE_ZIP || !ptio_check_is_on("Z1.kind")) return PTIO_OK;
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
    bool torchscript =
        find(c, "constants.pkl") != PTIO_NO_RECORD || find(c, "bytecode.pkl") != PTIO_NO_RECORD;
    PTIO_CHECK(!torchscript, "Z7.torchscript", err, TORCHSCRIPT, PTIO_NO_OFFSET,
               "this is a TorchScript archive");
    PTIO_CHECK(find(c, ".data/extern_modules") == PTIO_NO_RECORD, "Z7.package", err, TORCH_PACKAGE,
               PTIO_NO_OFFSET, "this is a torch.package archive");
    PTIO_CHECK(find(c, "archive_format") == PTIO_NO_RECORD, "Z7.export", err, TORCH_EXPORT, PTIO_NO_OFFSET,
               "this is a torch.export archive");
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

static ptio_status take_pickle(ptio_checkpoint *c, const ptio_members *members, ptio_error *err) {
    PTIO_TRY(ptio_block_new(members->given_size, &c->pickle_block, err));
    c->pickle = memcpy(ptio_block_bytes(c->pickle_block), members->given, members->given_size);
    c->pickle_size = members->given_size;
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
    (void)snprintf(err->message + used, sizeof err->message - used, "; and the pickle is broken: %s",
                   parse_error.message);
    return status;
}

uint64_t ptio_checkpoint_most_memory(const ptio_checkpoint *c, const ptio_limits *limits) {
    uint64_t most = ptio_limit_for_file(limits->object_bytes, c->file_size), held = c->graph.arena.taken;
    if (!ptio_checkpoint_inflates(c)) return 0;
    held += c->pickle_size; /* of memory: cannot wrap */
    return held < most ? most - held : 1;
}

ptio_status ptio_checkpoint_parse(ptio_checkpoint *c, const ptio_checkpoint_options *options,
                                  ptio_error *err) {
    ptio_parse_options parse = {.max_nodes = options->limits.objects,
                                .max_bytes = ptio_limit_for_file(options->limits.object_bytes, c->file_size),
                                .max_memory = ptio_checkpoint_most_memory(c, &options->limits),
                                .old_calls = options->inert,
                                .text_ids = c->format == PTIO_FORMAT_TAR,
                                .new_calls = options->inert || options->judge != NULL,
                                .bare_arguments = options->members.pickle != NULL};
    ptio_status status = ptio_pickle_parse(c->pickle, c->pickle_size, &parse, &c->graph, err);
    return status == PTIO_OK ? ptio_vet(c, options, err) : report_broken(c, options, err);
}

/* P3: the file is one pickle, from its first byte to its last. */
static ptio_status read_bare_pickle(const ptio_source *source, ptio_checkpoint *c, const ptio_limits *limits,
                                    ptio_error *err) {
    PTIO_CHECK(source->size <= limits->pickle_bytes, "R.bare-pickle", err, LIMIT, PTIO_NO_OFFSET,
               "the pickle has %llu bytes, at most %llu are read (limit pickle_bytes)",
               (unsigned long long)source->size, (unsigned long long)limits->pickle_bytes);
    PTIO_TRY(ptio_block_new((size_t)source->size, &c->pickle_block, err));
    c->format = PTIO_FORMAT_PICKLE;
    c->pickle = ptio_block_bytes(c->pickle_block);
    c->pickle_size = source->size;
    return ptio_source_read(source, 0, ptio_block_bytes(c->pickle_block), (size_t)source->size, err);
}

static ptio_status find_pickle(ptio_checkpoint *c, ptio_error *err) {
    char quoted[PTIO_QUOTED];
    const char *name = c->members.pickle;
    c->pickle_record = find(c, name);
    PTIO_CHECK(c->pickle_record != PTIO_NO_RECORD, "Z7.pickle", err, RECORD_MISSING, PTIO_NO_OFFSET,
               "the archive has no %s", ptio_quote(quoted, name, strlen(name)));
    return PTIO_OK;
}

ptio_status ptio_checkpoint_read_records(const ptio_source *source, const ptio_checkpoint_options *options,
                                         ptio_checkpoint *out, ptio_error *err) {
    const ptio_limits *limits = &options->limits;
    if (options->members.pickle == NULL) PTIO_TRY(check_archive(out, err));
    if (options->members.given == NULL) PTIO_TRY(find_pickle(out, err));
    PTIO_TRY(read_and_check(source, out, "version", check_version, options, err));
    PTIO_TRY(read_and_check(source, out, "byteorder", check_byte_order, options, err));
    if (options->members.given != NULL) return take_pickle(out, &options->members, err);
    return name_record(out, out->pickle_record, read_pickle(source, out, limits, err), err);
}

static ptio_status open_archive(const ptio_source *source, const ptio_checkpoint_options *options,
                                ptio_sniffed file, ptio_checkpoint *out, ptio_error *err) {
    PTIO_TRY(check_kind(file, err));
    PTIO_TRY(ptio_zip_index_read(source, &options->limits, &out->index, err));
    return ptio_checkpoint_read_records(source, options, out, err);
}

/* A file whose storages and pickle the caller has listed. */
static ptio_status open_parts(const ptio_source *source, const ptio_members *members, ptio_checkpoint *out,
                              ptio_error *err) {
    out->format = PTIO_FORMAT_PARTS;
    PTIO_TRY(ptio_part_index(source, members->parts, members->part_count, &out->index, err));
    return take_pickle(out, members, err);
}

void ptio_checkpoint_init(const ptio_source *source, const ptio_checkpoint_options *options,
                          ptio_checkpoint *out) {
    bool saved = options->members.pickle == NULL;
    memset(out, 0, sizeof *out);
    out->file_size = source->size;
    out->pickle_record = PTIO_NO_RECORD;
    out->members =
        saved ? (ptio_members){.pickle = "data.pkl", .folder = "data/", .suffix = ""} : options->members;
}

static ptio_status begin(const ptio_source *source, const ptio_checkpoint_options *options,
                         ptio_checkpoint *out, ptio_sniffed *file, ptio_error *err) {
    ptio_checkpoint_init(source, options, out);
    return ptio_sniff(source, file, err);
}

ptio_status ptio_checkpoint_open_archive(const ptio_source *source, const ptio_checkpoint_options *options,
                                         ptio_checkpoint *out, ptio_error *err) {
    ptio_sniffed file;
    PTIO_TRY(begin(source, options, out, &file, err));
    return open_archive(source, options, file, out, err);
}

/* Where that fails, records may still have no place, so nobody may have them. */
static ptio_status open_legacy(const ptio_source *source, const ptio_checkpoint_options *options,
                               ptio_file_kind kind, ptio_checkpoint *out, ptio_error *err) {
    ptio_status status = kind == PTIO_FILE_LEGACY_TAR ? ptio_tar_open(source, options, out, err)
                                                      : ptio_legacy_open(source, options, out, err);
    if (status != PTIO_OK) ptio_zip_index_free(&out->index);
    return status;
}

ptio_status ptio_checkpoint_open(const ptio_source *source, const ptio_checkpoint_options *options,
                                 ptio_checkpoint *out, ptio_error *err) {
    ptio_sniffed file;
    PTIO_TRY(begin(source, options, out, &file, err));
    out->swap = machine_is_big_endian(); /* unless the file says that it is big-endian, too */
    bool parts = options->members.parts != NULL;
    bool legacy = file.kind == PTIO_FILE_LEGACY_TAR || file.kind == PTIO_FILE_LEGACY_PICKLE;
    if (legacy && !parts) return open_legacy(source, options, file.kind, out, err);
    if (parts)
        PTIO_TRY(open_parts(source, &options->members, out, err));
    else if (file.kind == PTIO_FILE_BARE_PICKLE)
        PTIO_TRY(read_bare_pickle(source, out, &options->limits, err));
    else
        PTIO_TRY(open_archive(source, options, file, out, err));
    return ptio_checkpoint_read_pickle(out, options, err);
}

ptio_status ptio_checkpoint_read_pickle(ptio_checkpoint *c, const ptio_checkpoint_options *options,
                                        ptio_error *err) {
    return name_record(c, c->pickle_record, ptio_checkpoint_parse(c, options, err), err);
}

void ptio_checkpoint_free_graph(ptio_checkpoint *c) {
    ptio_graph_free(&c->graph); /* and with it the tables, which its arena holds */
    ptio_free(c->forbidden);
    c->declared = (ptio_declared){0};
    c->storages = NULL;
    c->tensors = NULL;
    c->dims = NULL;
    c->numpy_dtypes = NULL;
    c->forbidden = NULL;
    c->storage_count = c->storage_capacity = c->tensor_count = c->tensor_capacity = 0;
    c->dim_count = c->dim_capacity = c->numpy_dtype_count = c->numpy_dtype_capacity = 0;
    c->forbidden_count = c->forbidden_capacity = 0;
    c->object_bytes = 0;
}

void ptio_checkpoint_free(ptio_checkpoint *c) {
    ptio_checkpoint_free_graph(c);
    ptio_zip_index_free(&c->index);
    ptio_block_unref(c->pickle_block);
    memset(c, 0, sizeof *c);
}
