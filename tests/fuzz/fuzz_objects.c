/* SPDX-License-Identifier: Apache-2.0
 *
 * A pickle beside records that are sound: vetting, tensors, keys, limits. The first byte says
 * what the caller asks for.
 */
#include "harness.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static fuzz_buffer archive;
    ptio_source source;
    if (size == 0) return 0;
    if (archive.size == 0) fuzz_archive("N.", 2, &archive);
    ptio_checkpoint_options options = fuzz_options(data[0]);
    if (data[0] & 128) options.members = (ptio_members){.pickle = "x.pkl", .folder = "data/", .suffix = ""};
    options.members.given = data + 1;
    options.members.given_size = size - 1;
    ptio_source_borrow(archive.bytes, archive.size, &source);
    fuzz_open(&source, &options, false);
    return 0;
}
