/* SPDX-License-Identifier: Apache-2.0
 *
 * What every file of the core may assume: fixed-width types, attributes,
 * checked arithmetic and little-endian loads. No function here allocates,
 * and nothing here knows about files, pickles or Python.
 */
#ifndef PTIO_BASE_H
#define PTIO_BASE_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define PTIO_MUST_CHECK __attribute__((warn_unused_result))
#define PTIO_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#define PTIO_LIKELY(x) __builtin_expect(!!(x), 1)
#define PTIO_UNLIKELY(x) __builtin_expect(!!(x), 0)

/* Numbers that come from a file are only ever added and multiplied through
 * these: they answer false instead of wrapping around. */
static inline bool PTIO_MUST_CHECK ptio_add_u64(uint64_t a, uint64_t b, uint64_t *sum) {
    return !__builtin_add_overflow(a, b, sum);
}

static inline bool PTIO_MUST_CHECK ptio_mul_u64(uint64_t a, uint64_t b, uint64_t *product) {
    return !__builtin_mul_overflow(a, b, product);
}

static inline uint16_t ptio_le16(const uint8_t *p) { return (uint16_t)(p[0] | (uint16_t)(p[1] << 8)); }

static inline uint32_t ptio_le32(const uint8_t *p) {
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static inline uint64_t ptio_le64(const uint8_t *p) {
    return (uint64_t)ptio_le32(p) | (uint64_t)ptio_le32(p + 4) << 32;
}

/* Writes a number in decimal so that it ends before `end`: at most 20 digits. Gives where it begins. */
static inline char *ptio_put_digits(uint64_t number, char *end) {
    do *--end = (char)('0' + number % 10);
    while ((number /= 10) > 0);
    return end;
}

static inline uint64_t ptio_min_u64(uint64_t a, uint64_t b) { return a < b ? a : b; }
static inline uint64_t ptio_max_u64(uint64_t a, uint64_t b) { return a > b ? a : b; }

#endif
