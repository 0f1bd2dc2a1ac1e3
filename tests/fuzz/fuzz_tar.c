/* SPDX-License-Identifier: Apache-2.0
 *
 * Files of torch 0.1, which are tar archives. After a byte that says what the caller asks for,
 * either such a file, or its four members, each behind its length in two bytes: then the
 * headers around them are made here.
 */
#include <stdio.h>
#include <stdlib.h>

#include "harness.h"

enum { BLOCK = 512, RECORD = 10240 };

static void pad(fuzz_buffer *tar, size_t multiple) {
    static const uint8_t zeros[RECORD];
    fuzz_append(tar, zeros, (multiple - tar->size % multiple) % multiple);
}

static void add_member(fuzz_buffer *tar, const char *name, const uint8_t *bytes, size_t size) {
    char header[BLOCK] = {0};
    unsigned sum = 0;
    snprintf(header, 100, "%s", name);
    snprintf(header + 124, 12, "%011zo", size);
    memset(header + 148, ' ', 8);
    header[156] = '0';
    memcpy(header + 257, "ustar\00000", 8);
    for (size_t i = 0; i < BLOCK; i++) sum += (unsigned char)header[i];
    snprintf(header + 148, 7, "%06o", sum);
    fuzz_append(tar, header, BLOCK);
    fuzz_append(tar, bytes, size);
    pad(tar, BLOCK);
}

static void build(const uint8_t *data, size_t size, fuzz_buffer *tar) {
    static const char *const names[] = {"sys_info", "pickle", "tensors", "storages"};
    static const uint8_t end[2 * BLOCK];
    for (size_t i = 0; i < 4; i++) {
        size_t length = size < 2 ? 0 : data[0] | (size_t)data[1] << 8;
        size_t head = size < 2 ? size : 2;
        data += head, size -= head;
        if (length > size || i == 3) length = size;
        add_member(tar, names[i], data, length);
        data += length, size -= length;
    }
    fuzz_append(tar, end, sizeof end);
    pad(tar, RECORD);
}

static void open_bytes(const uint8_t *bytes, size_t size, uint8_t choice) {
    ptio_source source;
    ptio_checkpoint_options options = fuzz_options(choice);
    ptio_source_borrow(bytes, size, &source);
    fuzz_open(&source, &options, false);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0) return 0;
    if (data[0] % 2 == 0) {
        open_bytes(data + 1, size - 1, data[0] >> 1);
    } else {
        fuzz_buffer tar = {0};
        build(data + 1, size - 1, &tar);
        open_bytes(tar.bytes, tar.size, data[0] >> 1);
        free(tar.bytes);
    }
    return 0;
}
