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

/* False if the bytes are not such UTF-8. */
bool ptio_utf8_check(const uint8_t *text, uint64_t size, ptio_utf8_facts *facts);

/* Writes one code point <= 0x10FFFF to out (4 bytes of room); returns its size. */
unsigned ptio_utf8_put(uint8_t *out, uint32_t code);

#endif
