/* SPDX-License-Identifier: Apache-2.0
 *
 * A whole file of any kind, from its first byte to the last payload. How long the file is says
 * what the caller asks for.
 */
#include "harness.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    ptio_source source;
    ptio_checkpoint_options options = fuzz_options((uint8_t)(size % 8 == 7 ? size / 8 : size % 8));
    ptio_source_borrow(data, size, &source);
    fuzz_open(&source, &options, true);
    return 0;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed) {
    return fuzz_mutate_archive(data, size, max_size, seed);
}
