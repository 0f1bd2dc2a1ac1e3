/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "harness.h"
#include "leaf_walk.h"
#include "memory.h"
#include "record_gather.h"
#include "second_opinion.h"

/* Larger bombs are inflated in other tests: here they would only take time. */
enum { MOST_LEAVES = 2000, MOST_INFLATED = 1 << 20 };

/* Reads bytes, and lets MemorySanitizer see that each of them is known. */
static void touch(const uint8_t *bytes, uint64_t n) {
    for (uint64_t i = 0; i < n; i++)
        if (((const volatile uint8_t *)bytes)[i] == 0xA5) (void)0;
}

static void touch_tensor(const ptio_checkpoint *c, const ptio_tensor *t, const uint8_t *root) {
    const ptio_dtype_info *dtype = ptio_dtype_get(t->dtype);
    uint64_t first = t->offset, last = first;
    if (t->elements == 0) return;
    for (size_t i = 0; i < t->ndim; i++)
        last += (uint64_t)(ptio_tensor_sizes(c, t)[i] - 1) * (uint64_t)ptio_tensor_strides(c, t)[i];
    const uint8_t *bytes = root + c->storages[t->storage].offset;
    touch(bytes + first / dtype->per_item * dtype->item_bytes, dtype->item_bytes);
    touch(bytes + last / dtype->per_item * dtype->item_bytes, dtype->item_bytes);
}

/* A storage of its own for each record, as loading makes them. */
static void read_payloads(const ptio_source *source, ptio_checkpoint *c,
                          const ptio_checkpoint_options *options, bool private_copy) {
    ptio_error err = {0};
    ptio_read_options reading = {.threads = 1, .private_copy = private_copy, .verify_mapped = true};
    ptio_wanted *wanted = calloc(c->storage_count + 1, sizeof *wanted);
    uint32_t *of_storage = calloc(c->storage_count + 1, sizeof *of_storage);
    size_t count = 0;
    if (wanted == NULL || of_storage == NULL) abort();
    for (uint32_t i = 0; i < c->storage_count; i++) {
        of_storage[i] = UINT32_MAX;
        if (c->storages[i].root != i || c->storages[i].record == PTIO_NO_RECORD || c->storages[i].lost)
            continue;
        of_storage[i] = (uint32_t)count;
        wanted[count++] = (ptio_wanted){.record = c->storages[i].record, .alignment = 8};
    }
    ptio_status status =
        ptio_records_read(source, &c->index, wanted, count, &options->limits, &reading, &err);
    if (status != PTIO_OK) {
        fuzz_check_error(status, &err);
    } else {
        for (size_t i = 0; i < c->tensor_count; i++) {
            const ptio_tensor *t = &c->tensors[i];
            if (t->storage == PTIO_NO_STORAGE) continue;
            uint32_t at = of_storage[c->storages[t->storage].root];
            if (at != UINT32_MAX) touch_tensor(c, t, wanted[at].bytes);
        }
        for (size_t i = 0; i < count; i++) {
            touch(wanted[i].bytes, c->index.records[wanted[i].record].usize);
            ptio_block_unref(wanted[i].block);
        }
    }
    free(of_storage);
    free(wanted);
}

typedef struct {
    size_t left;
    uint64_t room;
} listing;

static ptio_status see_leaf(void *context, const ptio_path *path, ptio_ref leaf, ptio_error *err) {
    listing *l = context;
    (void)leaf;
    REQUIRE(path->length <= PTIO_MOST_DEPTH);
    PTIO_TRY(ptio_take_room(&l->room, path, err));
    return l->left-- > 1 ? PTIO_OK
                         : ptio_fail(err, PTIO_E_CANCELLED, "fuzz.leaves", PTIO_NO_OFFSET, "enough");
}

static void list(const ptio_checkpoint *c) {
    ptio_error err = {0};
    for (unsigned composites = 0; composites < 2; composites++) {
        listing l = {.left = MOST_LEAVES, .room = 1 << 20};
        ptio_status status = ptio_walk_leaves(c, composites == 1, see_leaf, &l, &err);
        if (status != PTIO_OK) fuzz_check_error(status, &err);
    }
}

static void verify(const ptio_source *source, ptio_checkpoint *c, const ptio_checkpoint_options *options) {
    ptio_error err = {0};
    ptio_record_verdict *verdicts = NULL;
    ptio_status status =
        ptio_records_verify(source, &c->index, &options->limits, &fuzz_reading, &verdicts, &err);
    if (status != PTIO_OK) {
        fuzz_check_error(status, &err);
        return;
    }
    for (uint32_t i = 0; i < c->index.count; i++)
        if (verdicts[i].error != NULL) fuzz_check_error(verdicts[i].error->status, verdicts[i].error);
    ptio_verdicts_free(verdicts, c->index.count);
}

/* Every second element of the first record, backwards. */
static void gather(const ptio_source *source, ptio_checkpoint *c) {
    ptio_error err = {0};
    if (c->index.count == 0) return;
    uint64_t n = ptio_min_u64(c->index.records[0].usize, 256) / 2;
    uint8_t *out = malloc((size_t)n + 1);
    if (out == NULL) abort();
    ptio_region region = {.begin = n == 0 ? 0 : 2 * (n - 1), .item = 1, .ndim = 1};
    region.sizes[0] = n;
    region.strides[0] = -2;
    region.steps[0] = 1;
    if (c->index.records[0].method == PTIO_ZIP_STORED) {
        ptio_status status = ptio_record_gather(source, &c->index, 0, &region, &fuzz_reading, out, &err);
        if (status != PTIO_OK)
            fuzz_check_error(status, &err);
        else
            touch(out, n);
    }
    free(out);
}

void fuzz_use_objects(const ptio_source *source, ptio_checkpoint *c, const ptio_checkpoint_options *options) {
    list(c);
    if (c->index.inflated_bytes > MOST_INFLATED || options->missing_records_ok) return;
    read_payloads(source, c, options, false);
    read_payloads(source, c, options, true);
}

void fuzz_use_archive(const ptio_source *source, ptio_checkpoint *c, const ptio_checkpoint_options *options) {
    ptio_error err = {0};
    if (c->format != PTIO_FORMAT_ZIP || c->index.inflated_bytes > MOST_INFLATED) return;
    verify(source, c, options);
    gather(source, c);
    ptio_status status = ptio_second_opinion(source, &c->index, &err);
    if (status != PTIO_OK) fuzz_check_error(status, &err);
}
