/* SPDX-License-Identifier: Apache-2.0
 *
 * The small pickles around the objects of legacy files: parsed, but nothing in
 * them is ever made or looked up.
 */
#include "legacy.h"

#include "memory.h"

ptio_status ptio_legacy_blame(const ptio_series_pickle *pickle, const char *name, ptio_status status,
                              ptio_error *err) {
    if (status == PTIO_E_PICKLE_MALFORMED)
        PTIO_CHECK(!pickle->cut, "L1.cut", err, TRUNCATED, pickle->begin + pickle->size,
                   "the file ends inside the pickle of the %s", name);
    if (err->record[0] == '\0') ptio_error_in_record(err, name, strlen(name));
    return status;
}

static ptio_status parse(const ptio_checkpoint_options *options, uint64_t file_size, size_t classes,
                         ptio_legacy_part *part, ptio_error *err) {
    const ptio_limits *limits = &options->limits;
    ptio_parse_options parse = {.max_nodes = limits->objects,
                                .max_bytes = ptio_limit_for_file(limits->object_bytes, file_size)};
    const ptio_graph *graph = &part->graph;
    PTIO_TRY(ptio_pickle_parse(part->pickle.bytes, part->pickle.size, &parse, &part->graph, err));
    PTIO_CHECK(graph->global_count <= classes, "L1.global", err, GLOBAL_FORBIDDEN,
               graph->globals[classes].offset, "a class or function is named where only plain data is");
    return PTIO_OK;
}

ptio_status ptio_legacy_part_read(ptio_pickle_series *series, const ptio_checkpoint_options *options,
                                  const char *name, size_t classes, ptio_legacy_part *out, ptio_error *err) {
    ptio_legacy_part part = {.graph = {.nodes = NULL}};
    PTIO_TRY(ptio_series_next(series, options->limits.pickle_bytes, &part.pickle, err));
    ptio_status status = parse(options, series->source->size, classes, &part, err);
    if (status != PTIO_OK) {
        status = ptio_legacy_blame(&part.pickle, name, status, err);
        ptio_legacy_part_free(&part);
        return status;
    }
    *out = part;
    return PTIO_OK;
}

void ptio_legacy_part_free(ptio_legacy_part *part) {
    ptio_graph_free(&part->graph);
    ptio_block_unref(part->pickle.block);
}

ptio_status ptio_legacy_object_read(ptio_pickle_series *series, const ptio_checkpoint_options *options,
                                    ptio_checkpoint *c, ptio_error *err) {
    ptio_series_pickle pickle;
    PTIO_TRY(ptio_series_next(series, options->limits.pickle_bytes, &pickle, err));
    c->pickle_block = pickle.block;
    c->pickle = pickle.bytes;
    c->pickle_size = pickle.size;
    ptio_status status = ptio_checkpoint_parse(c, options, err);
    return status == PTIO_OK ? PTIO_OK : ptio_legacy_blame(&pickle, "object", status, err);
}
