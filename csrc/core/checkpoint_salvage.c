/* SPDX-License-Identifier: Apache-2.0
 *
 * Opens damaged files: an index of some kind, every record checked, the bad ones taken out of
 * it. From there on the file is a checkpoint like others, but for storages without records.
 */
#include "checkpoint_salvage.h"

#include "memory.h"
#include "pickle_cut.h"
#include "sniff.h"
#include "zip_salvage.h"

static bool ends_the_work(ptio_status status) {
    return status == PTIO_E_NO_MEMORY || status == PTIO_E_CANCELLED || status == PTIO_E_IO;
}

/* Files that are sound in a kind of their own are not searched for archives that are in them. */
static ptio_status check_kind(const ptio_source *source, ptio_error *err) {
    ptio_sniffed file;
    PTIO_TRY(ptio_sniff(source, &file, err));
    bool other = file.kind == PTIO_FILE_LEGACY_PICKLE || file.kind == PTIO_FILE_LEGACY_TAR ||
                 file.kind == PTIO_FILE_SAFETENSORS;
    PTIO_CHECK(!other, "S1.kind", err, FORMAT_UNSUPPORTED, 0, "this is %s, only zip archives are repaired",
               file.name);
    return PTIO_OK;
}

/* Where the whole file has no pickle, it may be something else: that is the better message. */
static ptio_status report_nothing(const ptio_source *source, ptio_status status, ptio_error *err) {
    ptio_sniffed file;
    ptio_error ignored;
    if (status != PTIO_E_TRUNCATED || ptio_sniff(source, &file, &ignored) != PTIO_OK) return status;
    if (file.kind == PTIO_FILE_ZIP || !ptio_check_is_on("S1.other")) return status;
    return ptio_fail(err, PTIO_E_NOT_A_CHECKPOINT, "S1.other", 0, "this is %s, and holds no checkpoint%s%s",
                     file.name, file.hint == NULL ? "" : "; ", file.hint == NULL ? "" : file.hint);
}

/* An index, and what is wrong with its records. */
typedef struct {
    ptio_zip_index index;
    ptio_record_verdict *verdicts;
    uint32_t intact;
    bool doubtful; /* some records are not what the index says, rather than damaged bytes */
} checked_index;

static void free_checked(checked_index *checked) {
    ptio_verdicts_free(checked->verdicts, checked->index.count);
    ptio_zip_index_free(&checked->index);
    *checked = (checked_index){.verdicts = NULL};
}

static ptio_status check(const ptio_source *source, const ptio_limits *limits,
                         const ptio_read_options *reading, checked_index *out, ptio_error *err) {
    PTIO_TRY(ptio_zip_prove_damaged(source, &out->index, reading, err));
    PTIO_TRY(ptio_records_verify(source, &out->index, limits, reading, &out->verdicts, err));
    for (uint32_t i = 0; i < out->index.count; i++) {
        const ptio_error *error = out->verdicts[i].error;
        if (error != NULL && error->status == PTIO_E_LIMIT) { /* not lost, but unread */
            *err = *error;
            return PTIO_E_LIMIT;
        }
        out->intact += error == NULL;
        out->doubtful = out->doubtful || (error != NULL && error->status != PTIO_E_CHECKSUM);
    }
    return PTIO_OK;
}

static ptio_status by_local_headers(const ptio_source *source, const ptio_limits *limits,
                                    const ptio_read_options *reading, checked_index *out, ptio_error *err) {
    PTIO_TRY(ptio_zip_salvage(source, reading, &out->index, err));
    return check(source, limits, reading, out, err);
}

/* There is one. */
static const ptio_error *first_error(const checked_index *checked) {
    uint32_t i = 0;
    while (checked->verdicts[i].error == NULL) i++;
    return checked->verdicts[i].error;
}

/* The directory can be read, but not all that it says is so: perhaps the headers know better. */
static ptio_status ask_headers(const ptio_source *source, const ptio_limits *limits,
                               const ptio_read_options *reading, ptio_error *directory,
                               checked_index *checked, ptio_error *err) {
    checked_index other = {.verdicts = NULL};
    ptio_status status = by_local_headers(source, limits, reading, &other, err);
    if (status == PTIO_OK && other.intact > checked->intact) {
        checked_index worse = *checked;
        *checked = other;
        other = worse;
        *directory = *first_error(&worse);
    }
    free_checked(&other);
    return ends_the_work(status) ? status : PTIO_OK;
}

static ptio_status find_records(const ptio_source *source, const ptio_limits *limits,
                                const ptio_read_options *reading, ptio_error *directory,
                                checked_index *checked, ptio_error *err) {
    PTIO_TRY(check_kind(source, err));
    ptio_status status = ptio_zip_index_read(source, limits, &checked->index, directory);
    if (ends_the_work(status)) {
        *err = *directory;
        return status;
    }
    if (status != PTIO_OK) {
        status = by_local_headers(source, limits, reading, checked, err);
        return status == PTIO_OK ? status : report_nothing(source, status, err);
    }
    directory->status = PTIO_OK;
    PTIO_TRY(check(source, limits, reading, checked, err));
    return checked->doubtful ? ask_headers(source, limits, reading, directory, checked, err) : PTIO_OK;
}

/* --- bad records ----------------------------------------------------------------------------- */

static bool is_kept(const ptio_record *record, const ptio_error *error, bool any_crc) {
    if (error == NULL) return true;
    return any_crc && error->status == PTIO_E_CHECKSUM && record->method == PTIO_ZIP_STORED;
}

/* Moves the errors out of the verdicts; a wrong CRC that is accepted is as good as none. */
static ptio_status take_out(ptio_salvage *s, ptio_record_verdict *verdicts, bool any_crc, bool *keep,
                            ptio_error *err) {
    ptio_zip_index *index = &s->checkpoint.index;
    size_t capacity = 0;
    for (uint32_t i = 0; i < index->count; i++) {
        void *damaged = s->damaged;
        ptio_record *record = &index->records[i];
        keep[i] = is_kept(record, verdicts[i].error, any_crc);
        if (verdicts[i].error == NULL) continue;
        PTIO_TRY(ptio_grow(&damaged, &capacity, s->damaged_count + 1, sizeof *s->damaged, err));
        s->damaged = damaged;
        ptio_damaged_record *bad = &s->damaged[s->damaged_count++];
        *bad = (ptio_damaged_record){.kept = keep[i], .error = verdicts[i].error};
        bad->name = ptio_zip_name(index, i, &bad->name_length);
        verdicts[i].error = NULL;
        if (keep[i]) record->crc = 0;
    }
    return ptio_zip_index_keep(index, keep, err);
}

static ptio_status read_records(const ptio_source *source, const ptio_limits *limits,
                                const ptio_read_options *reading, bool any_crc, ptio_salvage *s,
                                ptio_error *err) {
    checked_index checked = {.verdicts = NULL};
    bool *keep = NULL;
    ptio_status status = find_records(source, limits, reading, &s->directory, &checked, err);
    uint32_t count = checked.index.count;
    if (status == PTIO_OK) {
        s->checkpoint.index = checked.index;
        checked.index = (ptio_zip_index){.directory = NULL};
        keep = ptio_alloc(count + 1u, sizeof *keep);
        status = keep == NULL ? ptio_no_memory(err) : take_out(s, checked.verdicts, any_crc, keep, err);
    }
    ptio_verdicts_free(checked.verdicts, count);
    ptio_zip_index_free(&checked.index);
    ptio_free(keep);
    return status;
}

/* --- opening --------------------------------------------------------------------------------- */

/* Without its pickle nothing can be saved: says what is wrong with that, if it is there. */
static ptio_status check_pickle(const ptio_source *source, const ptio_salvage *s, ptio_error *err) {
    static const char pickle[] = "data.pkl";
    const ptio_zip_index *index = &s->checkpoint.index;
    size_t below = (size_t)index->stem_length + 1;
    if (ptio_zip_find(index, "", pickle, sizeof pickle - 1) != PTIO_NO_RECORD) return PTIO_OK;
    for (size_t i = 0; i < s->damaged_count; i++) {
        const ptio_damaged_record *bad = &s->damaged[i];
        bool is_pickle = bad->name_length == below + sizeof pickle - 1 &&
                         memcmp(bad->name + below, pickle, sizeof pickle - 1) == 0;
        if (!is_pickle || !ptio_check_is_on("S1.damaged")) continue;
        *err = *bad->error;
        if (err->status == PTIO_E_CHECKSUM) return err->status;
        ptio_fail(err, PTIO_E_ZIP_MALFORMED, "S1.damaged", bad->error->offset,
                  "the member that says which tensors there are is damaged: %s", bad->error->message);
        ptio_error_in_record(err, bad->name, bad->name_length);
        return PTIO_E_ZIP_MALFORMED;
    }
    PTIO_CHECK(s->directory.status == PTIO_OK, "S1.whole", err, TRUNCATED, source->size,
               "data.pkl is not whole in this file: nothing says which tensors it held");
    return PTIO_OK; /* an archive of another kind, which has none */
}

static bool any_lost(const ptio_checkpoint *c) {
    for (size_t i = 0; i < c->storage_count; i++)
        if (c->storages[i].lost) return true;
    return false;
}

static ptio_checkpoint_options salvage_options(const ptio_checkpoint_options *options, bool missing_ok) {
    ptio_checkpoint_options all = *options;
    all.inert = true;
    all.missing_records_ok = missing_ok;
    return all;
}

ptio_status ptio_salvage_open(const ptio_source *source, const ptio_checkpoint_options *options,
                              const ptio_read_options *reading, bool any_crc, ptio_salvage *out,
                              ptio_error *err) {
    ptio_checkpoint_options all = salvage_options(options, true);
    memset(out, 0, sizeof *out);
    ptio_checkpoint_init(source, &all, &out->checkpoint);
    PTIO_TRY(read_records(source, &all.limits, reading, any_crc, out, err));
    PTIO_TRY(check_pickle(source, out, err));
    PTIO_TRY(ptio_checkpoint_read_records(source, &all, &out->checkpoint, err));
    PTIO_TRY(ptio_checkpoint_read_pickle(&out->checkpoint, &all, err));
    out->lost = any_lost(&out->checkpoint);
    return PTIO_OK;
}

ptio_status ptio_salvage_cut(ptio_salvage *s, const ptio_limits *limits, ptio_error *err) {
    const ptio_checkpoint_options options = {.limits = *limits};
    ptio_checkpoint_options strict = salvage_options(&options, false);
    ptio_checkpoint *c = &s->checkpoint;
    ptio_block *pickle = NULL;
    uint64_t size = 0;
    PTIO_TRY(ptio_pickle_cut(c, limits, &pickle, &size, err));
    ptio_checkpoint_free_graph(c);
    ptio_block_unref(c->pickle_block);
    c->pickle_block = pickle;
    c->pickle = ptio_block_bytes(pickle);
    c->pickle_size = size;
    s->lost = false;
    return ptio_checkpoint_read_pickle(c, &strict, err);
}

void ptio_salvage_free(ptio_salvage *s) {
    for (size_t i = 0; i < s->damaged_count; i++) ptio_free(s->damaged[i].error);
    ptio_free(s->damaged);
    ptio_checkpoint_free(&s->checkpoint);
    memset(s, 0, sizeof *s);
}
