/* SPDX-License-Identifier: Apache-2.0
 *
 * Files before torch 1.6. The first byte says what the caller asks for; an odd one, that the
 * magic number's pickle is put in front, which is hard to come by.
 */
#include <stdlib.h>

#include "harness.h"

static const char magic[] = "\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    ptio_source source;
    size_t given = sizeof magic - 1;
    if (size == 0) return 0;
    ptio_checkpoint_options options = fuzz_options(data[0] >> 1);
    uint8_t *file = malloc(given + size);
    if (file == NULL) abort();
    if (data[0] % 2 == 0) given = 0;
    memcpy(file, magic, given);
    memcpy(file + given, data + 1, size - 1);
    ptio_source_borrow(file, given + size - 1, &source);
    fuzz_open(&source, &options, false);
    free(file);
    return 0;
}
