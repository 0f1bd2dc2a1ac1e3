/* SPDX-License-Identifier: Apache-2.0
 *
 * SipHash-1-3 against values of CPython's own (PYTHONHASHSEED=0 is the zero key), and
 * CRC-32 against zlib's.
 */
#include <stdlib.h>
#include <zlib.h>

#include "crc.h"
#include "hash.h"
#include "test.h"

void suite_hash(void);

static void hash_matches_known_values(void) {
    const ptio_hash_key zero = {0, 0};
    uint8_t bytes[64];
    for (uint8_t i = 0; i < 64; i++) bytes[i] = i;
    if (machine_is_big_endian()) return; /* the values are those of the others */
    ASSERT_EQUAL(ptio_hash(&zero, "a", 1), UINT64_C(0x407448d2b89b1813));
    ASSERT_EQUAL(ptio_hash(&zero, "abc", 3), UINT64_C(0xc03bc3a0042630f2));
    ASSERT_EQUAL(ptio_hash(&zero, "abcdefg", 7), UINT64_C(0x6db12aae9070f506));
    ASSERT_EQUAL(ptio_hash(&zero, "abcdefgh", 8), UINT64_C(0x3f7b849c0b8e35ea));
    ASSERT_EQUAL(ptio_hash(&zero, "data/1234567890abcdef", 21), UINT64_C(0x738792d201004255));
    ASSERT_EQUAL(ptio_hash(&zero, bytes, 64), UINT64_C(0x75e05fd5bbc870c6));
}

static void folded_hash_ignores_the_case_of_ascii_letters_only(void) {
    ptio_error err;
    ptio_hash_key key;
    ASSERT_OK(ptio_hash_key_new(&key, &err));
    ASSERT_EQUAL(ptio_hash_folded(&key, "DATA/Weights.AZaz", 17), ptio_hash(&key, "data/weights.azaz", 17));
    for (int c = 0; c < 256; c++) {
        for (size_t n = 1; n <= 9; n += 8) { /* in the tail and in a whole word */
            uint8_t text[9], folded[9];
            memset(text, c, sizeof text);
            memset(folded, c >= 'A' && c <= 'Z' ? c + 32 : c, sizeof folded);
            ASSERT_EQUAL(ptio_hash_folded(&key, text, n), ptio_hash(&key, folded, n));
        }
    }
}

static void keys_differ(void) {
    ptio_error err;
    ptio_hash_key a, b;
    ASSERT_OK(ptio_hash_key_new(&a, &err));
    ASSERT_OK(ptio_hash_key_new(&b, &err));
    ASSERT_TRUE(a.k0 != b.k0 && a.k1 != b.k1);
    ASSERT_TRUE(ptio_hash(&a, "x", 1) != ptio_hash(&b, "x", 1));
}

static void crc_matches_zlib(void) {
    uint8_t bytes[10000];
    for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = (uint8_t)(i * i + i / 7);
    ASSERT_EQUAL(ptio_crc32(0, "", 0), 0);
    for (size_t n = 1; n <= sizeof bytes; n = n * 3 + 1) {
        uint32_t whole = (uint32_t)crc32(0, bytes, (uInt)n);
        ASSERT_EQUAL(ptio_crc32(0, bytes, n), whole);
        size_t cut = n / 3;
        ASSERT_EQUAL(ptio_crc32(ptio_crc32(0, bytes, cut), bytes + cut, n - cut), whole);
        ASSERT_EQUAL(ptio_crc32_join(ptio_crc32(0, bytes, cut), ptio_crc32(0, bytes + cut, n - cut), n - cut), whole);
    }
}

void suite_hash(void) {
    RUN(hash_matches_known_values);
    RUN(folded_hash_ignores_the_case_of_ascii_letters_only);
    RUN(keys_differ);
    RUN(crc_matches_zlib);
}
