/* SPDX-License-Identifier: Apache-2.0
 *
 * Damaged archives: what is left of them is sound.
 */
#include "checkpoint_salvage.h"
#include "harness.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    ptio_source source;
    ptio_salvage salvage;
    ptio_error err = {0};
    ptio_checkpoint_options options = fuzz_options(size & 8 ? 64 : 0);
    options.inert = options.missing_records_ok = true;
    ptio_source_borrow(data, size, &source);
    ptio_status status = ptio_salvage_open(&source, &options, &fuzz_reading, size & 1, &salvage, &err);
    if (status != PTIO_OK) {
        fuzz_check_error(status, &err);
    } else {
        fuzz_prove(&salvage.checkpoint, &options);
        for (size_t i = 0; i < salvage.damaged_count; i++)
            fuzz_check_error(salvage.damaged[i].error->status, salvage.damaged[i].error);
        status = ptio_salvage_cut(&salvage, &options.limits, &err);
        if (status != PTIO_OK) {
            fuzz_check_error(status, &err);
        } else {
            fuzz_prove(&salvage.checkpoint, &options);
            fuzz_use_objects(&source, &salvage.checkpoint, &options);
        }
    }
    ptio_salvage_free(&salvage);
    return 0;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed) {
    return seed % 4 == 0 ? fuzz_mutate(data, size, max_size)
                         : fuzz_mutate_archive(data, size, max_size, seed / 4);
}
