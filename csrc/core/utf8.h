/* SPDX-License-Identifier: Apache-2.0
 *
 * UTF-8 as pickle writes it: valid, except that lone surrogates are allowed.
 */
#ifndef PTIO_UTF8_H
#define PTIO_UTF8_H

#include "base.h"

typedef struct {
    uint64_t characters; /* code points */
    uint32_t largest;    /* code point above 0x7F; 0 where all is ASCII */
} ptio_utf8_facts;

static inline bool ptio_is_ascii(const uint8_t *text, uint64_t size) {
    uint64_t word, seen = 0;
    if (size < sizeof word) {
        for (uint64_t i = 0; i < size; i++) seen |= text[i];
        return seen < 0x80;
    }
    for (uint64_t at = 0; at < size - sizeof word; at += sizeof word) {
        memcpy(&word, text + at, sizeof word);
        seen |= word;
    }
    memcpy(&word, text + size - sizeof word, sizeof word); /* overlaps the last but one */
    return ((seen | word) & UINT64_C(0x8080808080808080)) == 0;
}

/* False if the bytes are not such UTF-8. */
bool ptio_utf8_check(const uint8_t *text, uint64_t size, ptio_utf8_facts *facts);

/* Writes one code point <= 0x10FFFF to out (4 bytes of room); returns its size. */
unsigned ptio_utf8_put(uint8_t *out, uint32_t code);

#endif
