/* SPDX-License-Identifier: Apache-2.0
 *
 * torch 0.1: a tar archive whose members are read where they lie (invariant L2).
 */
#include "tar_members.h"
#include "tar_tables.h"

typedef ptio_status (*read_tables)(ptio_pickle_series *series, const ptio_checkpoint_options *options,
                                   ptio_tar *tar, ptio_error *err);

static ptio_status read_member(const ptio_source *source, const ptio_checkpoint_options *options,
                               const ptio_tar_member *member, read_tables read, ptio_tar *tar,
                               ptio_error *err) {
    ptio_pickle_series series;
    ptio_status status = ptio_series_begin(source, member->data, member->data + member->size, &series, err);
    if (status == PTIO_OK) status = read(&series, options, tar, err);
    ptio_series_free(&series);
    return status;
}

static ptio_status read_object(const ptio_source *source, const ptio_checkpoint_options *options,
                               const ptio_tar_member *member, ptio_checkpoint *c, ptio_error *err) {
    ptio_pickle_series series;
    ptio_status status = ptio_series_begin(source, member->data, member->data + member->size, &series, err);
    if (status == PTIO_OK) status = ptio_legacy_object_read(&series, options, c, err);
    if (status == PTIO_OK) status = ptio_legacy_index(c, err);
    ptio_series_free(&series);
    PTIO_TRY(status);
    PTIO_CHECK(series.at == series.end, "L2.object", err, LEGACY_MALFORMED, series.at,
               "%llu bytes follow the object", (unsigned long long)(series.end - series.at));
    return PTIO_OK;
}

static ptio_status read_all(const ptio_source *source, const ptio_checkpoint_options *options, ptio_tar *tar,
                            ptio_checkpoint *c, ptio_error *err) {
    ptio_tar_member members[] = {{.name = "storages"}, {.name = "tensors"}, {.name = "pickle"}};
    PTIO_TRY(ptio_tar_find(source, members, 3, &c->end, err));
    for (size_t i = 0; i < 3; i++)
        PTIO_CHECK(members[i].found, "L2.member", err, LEGACY_MALFORMED, PTIO_NO_OFFSET,
                   "this is a tar archive without a member '%s'", members[i].name);
    PTIO_CHECK(options->may_continue || c->end == source->size, "L2.trailing", err, LEGACY_MALFORMED, c->end,
               "%llu bytes follow the tar archive", (unsigned long long)(source->size - c->end));
    PTIO_TRY(read_member(source, options, &members[0], ptio_tar_read_storages, tar, err));
    PTIO_TRY(read_member(source, options, &members[1], ptio_tar_read_tensors, tar, err));
    PTIO_TRY(read_object(source, options, &members[2], c, err));
    for (size_t i = 0; i < tar->storage_count; i++)
        if (tar->storages[i].root == i) ptio_legacy_place(c, c->storages[i].record, tar->storages[i].data);
    return PTIO_OK;
}

ptio_status ptio_tar_open(const ptio_source *source, const ptio_checkpoint_options *options,
                          ptio_checkpoint *out, ptio_error *err) {
    ptio_tar tar = {.storages = NULL};
    out->format = PTIO_FORMAT_TAR;
    out->pickle_record = PTIO_NO_RECORD;
    out->tar = &tar;
    ptio_status status = read_all(source, options, &tar, out, err);
    out->tar = NULL;
    ptio_tar_free(&tar);
    return status;
}
