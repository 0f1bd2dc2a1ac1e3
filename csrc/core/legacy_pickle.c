/* SPDX-License-Identifier: Apache-2.0
 *
 * torch < 1.6 (invariant L1). One after another, without padding:
 *
 *   pickle of the magic number         pickle of the protocol version, 1001
 *   pickle of a dict about the writer  pickle of the object
 *   pickle of the storages' keys       for each key: elements (int64), then the bytes
 *
 * All of it is little-endian. The object names its storages before anything is
 * known of their bytes.
 */
#include "legacy.h"
#include "vet.h"

enum { PROTOCOL_VERSION = 1001 };

typedef long long ll;
typedef unsigned long long ull;

typedef struct {
    const ptio_checkpoint_options *options;
    ptio_checkpoint *c;
    ptio_pickle_series series;
    ptio_error *err;
} reader;

/* --- the small pickles -------------------------------------------------------------------- */

/* What is to be said of the root of a small pickle. */
typedef ptio_status (*check_root)(reader *r, const ptio_graph *graph);

static ptio_status read_small(reader *r, const char *name, check_root check) {
    ptio_legacy_part part;
    PTIO_TRY(ptio_legacy_part_read(&r->series, r->options, name, 0, &part, r->err));
    ptio_status status = check(r, &part.graph);
    ptio_legacy_part_free(&part);
    return status;
}

/* 0x1950a86a20f9469cfc6c, as a number that stands there: nothing that is computed. */
static ptio_status check_magic(reader *r, const ptio_graph *graph) {
    static const char bytes[] = "\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19",
                      digits[] = "119547037146038801333356";
    const ptio_node *root = &graph->nodes[graph->root];
    const char *magic = root->kind == PTIO_N_BIG_INT ? bytes : digits;
    bool number = root->kind == PTIO_N_BIG_INT || root->kind == PTIO_N_BIG_DECIMAL;
    PTIO_CHECK(number && root->a == strlen(magic) && memcmp(ptio_text(graph, root), magic, root->a) == 0,
               "L1.magic", r->err, PICKLE_MALFORMED, 0, "Invalid magic number; corrupt file?");
    return PTIO_OK;
}

static ptio_status check_version(reader *r, const ptio_graph *graph) {
    const ptio_node *root = &graph->nodes[graph->root];
    PTIO_CHECK(root->kind == PTIO_N_INT, "L1.version-int", r->err, PICKLE_MALFORMED, PTIO_NO_OFFSET,
               "Invalid protocol version: not a number");
    PTIO_CHECK(root->integer == PROTOCOL_VERSION, "L1.version", r->err, FORMAT_UNSUPPORTED, PTIO_NO_OFFSET,
               "Invalid protocol version: %lld", (ll)root->integer);
    return PTIO_OK;
}

static ptio_status check_system(reader *r, const ptio_graph *graph) {
    PTIO_CHECK(graph->nodes[graph->root].kind == PTIO_N_DICT, "L1.system", r->err, PICKLE_MALFORMED,
               PTIO_NO_OFFSET, "what the file says of the system that wrote it is no dict");
    return PTIO_OK;
}

/* --- the storages ------------------------------------------------------------------------------ */

/* Each key is that of a storage, once: its bytes come next. */
static ptio_status read_data(reader *r, const ptio_graph *graph, const ptio_node *key, uint32_t *placed) {
    ptio_checkpoint *c = r->c;
    char quoted[PTIO_QUOTED];
    bool text = key->kind == PTIO_N_STR || key->kind == PTIO_N_PY2_STR || key->kind == PTIO_N_BYTES;
    PTIO_CHECK(text, "L1.key", r->err, PICKLE_MALFORMED, PTIO_NO_OFFSET,
               "the list of the storages' keys holds what is no text");
    uint32_t number = ptio_declared_find(c, ptio_text(graph, key), key->a);
    PTIO_CHECK(number != PTIO_NO_STORAGE && c->storages[number].root == number, "L1.unknown", r->err,
               PICKLE_MALFORMED, PTIO_NO_OFFSET, "storage key '%s' not found among the object's storages",
               ptio_quote(quoted, ptio_text(graph, key), key->a));
    const ptio_storage *storage = &c->storages[number];
    const ptio_record *record = &c->index.records[storage->record];
    PTIO_CHECK(record->data == 0, "L1.twice", r->err, PICKLE_MALFORMED, PTIO_NO_OFFSET,
               "storage key '%s' is listed twice", ptio_quote(quoted, ptio_text(graph, key), key->a));
    const uint8_t *count = NULL;
    PTIO_TRY(ptio_series_bytes(&r->series, 8, &count, r->err));
    uint64_t elements = ptio_le64(count), bytes, item = ptio_dtype_get(storage->dtype)->item_bytes;
    PTIO_CHECK(ptio_mul_u64(elements, item, &bytes) && bytes == record->usize, "L1.count", r->err, BOUNDS,
               r->series.at - 8, "storage has wrong byte size: expected %llu got %lld elements of %llu bytes",
               (ull)record->usize, (ll)elements, (ull)item);
    ptio_legacy_place(c, storage->record, r->series.at);
    ++*placed;
    return ptio_series_skip(&r->series, bytes, r->err);
}

static ptio_status read_storages(reader *r, const ptio_graph *graph) {
    const ptio_node *list = &graph->nodes[graph->root];
    uint32_t placed = 0;
    PTIO_CHECK(list->kind == PTIO_N_LIST, "L1.list", r->err, PICKLE_MALFORMED, PTIO_NO_OFFSET,
               "the keys of the storages are no list");
    PTIO_TRY(ptio_legacy_index(r->c, r->err));
    for (ptio_ref fill = ptio_first_fill(graph, graph->root); fill;
         fill = ptio_next_fill(graph, graph->root, fill)) {
        const ptio_node *items = &graph->nodes[fill];
        PTIO_CHECK(items->kind == PTIO_N_APPEND, "L1.fill", r->err, PICKLE_MALFORMED, PTIO_NO_OFFSET,
                   "the list of the storages' keys is filled like something else");
        for (uint32_t i = 0; i < items->count; i++)
            PTIO_TRY(read_data(r, graph, &graph->nodes[graph->refs[items->first + i]], &placed));
    }
    PTIO_CHECK(placed == r->c->index.count, "L1.missing", r->err, PICKLE_MALFORMED, PTIO_NO_OFFSET,
               "the object has %u storages, the file lists the keys of %u", r->c->index.count, placed);
    return PTIO_OK;
}

/* --- the whole ----------------------------------------------------------------------------------- */

static ptio_status read_all(reader *r) {
    PTIO_TRY(read_small(r, "magic number", check_magic));
    PTIO_TRY(read_small(r, "protocol version", check_version));
    PTIO_TRY(read_small(r, "system information", check_system));
    PTIO_TRY(ptio_legacy_object_read(&r->series, r->options, r->c, r->err));
    PTIO_TRY(read_small(r, "list of storages", read_storages));
    PTIO_CHECK(r->options->may_continue || r->series.at == r->series.end, "L1.end", r->err, LEGACY_MALFORMED,
               r->series.at, "%llu bytes follow the last storage", (ull)(r->series.end - r->series.at));
    r->c->end = r->series.at;
    return PTIO_OK;
}

ptio_status ptio_legacy_open(const ptio_source *source, const ptio_checkpoint_options *options,
                             ptio_checkpoint *out, ptio_error *err) {
    reader r = {.options = options, .c = out, .err = err};
    out->format = PTIO_FORMAT_LEGACY;
    out->pickle_record = PTIO_NO_RECORD;
    ptio_status status = ptio_series_begin(source, 0, source->size, &r.series, err);
    if (status == PTIO_OK) status = read_all(&r);
    ptio_series_free(&r.series);
    return status;
}
