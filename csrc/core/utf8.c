/* SPDX-License-Identifier: Apache-2.0 */
#include "utf8.h"

static uint64_t ascii_run(const uint8_t *text, uint64_t size) {
    uint64_t at = 0;
    for (uint64_t word; size - at >= sizeof word; at += sizeof word) {
        memcpy(&word, text + at, sizeof word);
        if (word & UINT64_C(0x8080808080808080)) break;
    }
    while (at < size && text[at] < 0x80) at++;
    return at;
}

/* Size of the sequence that begins at text and its code point, or 0. */
static unsigned sequence(const uint8_t *text, uint64_t left, uint32_t *code) {
    static const uint32_t smallest[5] = {0, 0, 0x80, 0x800, 0x10000};
    uint8_t lead = text[0];
    unsigned size = lead < 0xC2 ? 0 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : lead < 0xF5 ? 4 : 0;
    if (size == 0 || size > left) return 0;
    *code = lead & (0x7Fu >> size);
    for (unsigned i = 1; i < size; i++) {
        if ((text[i] & 0xC0) != 0x80) return 0;
        *code = *code << 6 | (text[i] & 0x3F);
    }
    return *code < smallest[size] || *code > 0x10FFFF ? 0 : size;
}

bool ptio_utf8_check(const uint8_t *text, uint64_t size, ptio_utf8_facts *facts) {
    ptio_utf8_facts seen = {0, 0};
    uint64_t at = 0;
    for (;;) {
        uint64_t run = ascii_run(text + at, size - at);
        uint32_t code = 0;
        seen.characters += run;
        at += run;
        if (at == size) break;
        unsigned length = sequence(text + at, size - at, &code);
        if (length == 0) return false;
        seen.characters++;
        at += length;
        if (code > seen.largest) seen.largest = code;
    }
    *facts = seen;
    return true;
}

unsigned ptio_utf8_put(uint8_t *out, uint32_t code) {
    if (code < 0x80) {
        out[0] = (uint8_t)code;
        return 1;
    }
    unsigned size = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    for (unsigned i = size - 1; i > 0; i--) {
        out[i] = (uint8_t)(0x80 | (code & 0x3F));
        code >>= 6;
    }
    out[0] = (uint8_t)((0xF00u >> size & 0xF0u) | code);
    return size;
}
