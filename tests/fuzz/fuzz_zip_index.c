/* SPDX-License-Identifier: Apache-2.0
 *
 * The directory of an archive, and the local headers that it points to.
 */
#include "harness.h"

/* Z9: no two records share a byte, none reaches into the directory. */
static void prove_places(const ptio_zip_index *index) {
    for (uint32_t i = 0; i < index->count; i++) {
        const ptio_record *r = &index->records[i];
        if (r->data == 0) continue;
        REQUIRE(r->header < r->data && r->csize <= index->directory_offset - r->data);
        REQUIRE(ptio_zip_record_end(index, i) <= r->limit && r->limit <= index->directory_offset);
        for (uint32_t k = 0; k < i && index->count < 100; k++) {
            const ptio_record *other = &index->records[k];
            REQUIRE(other->limit <= r->header || r->limit <= other->header);
        }
    }
}

static void find_each(const ptio_zip_index *index) {
    for (uint32_t i = 0; i < index->count; i++) {
        size_t length, skip = (size_t)index->stem_length + 1;
        const uint8_t *name = ptio_zip_name(index, i, &length);
        REQUIRE(length > skip && ptio_zip_find(index, "", name + skip, length - skip) == i);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    ptio_source source;
    ptio_zip_index index;
    ptio_error err = {0};
    ptio_limits limits = PTIO_LIMITS_DEFAULT;
    ptio_zip_window window = {0};
    ptio_source_borrow(data, size, &source);
    ptio_status status = ptio_zip_index_read(&source, &limits, &index, &err);
    if (status != PTIO_OK) {
        fuzz_check_error(status, &err);
        return 0;
    }
    find_each(&index);
    for (uint32_t i = 0; i < index.count; i++) {
        bool windowed = (size & 1) != 0;
        status = windowed ? ptio_zip_prove_next(&source, &index, i, &window, &err)
                          : ptio_zip_prove(&source, &index, i, &err);
        if (status != PTIO_OK) fuzz_check_error(status, &err);
    }
    prove_places(&index);
    ptio_zip_index_free(&index);
    return 0;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed) {
    size_t made = fuzz_mutate(data, size, max_size);
    if (seed % 2 == 0) fuzz_mend_crcs(data, made);
    return made;
}
