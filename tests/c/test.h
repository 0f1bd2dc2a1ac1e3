/* SPDX-License-Identifier: Apache-2.0
 *
 * A test is a function; a suite is a function that runs tests. Assertions print where
 * they failed and go on, so that one run shows everything that is wrong.
 */
#ifndef PTIO_TEST_H
#define PTIO_TEST_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "error.h"

typedef struct {
    unsigned passed, failed;
    unsigned failures_here; /* of the test that runs now */
    const char *only;       /* run only tests whose name contains this; NULL = all */
} test_tally;

extern test_tally tally;

void test_run(void (*function)(void), const char *name);
void test_fail(const char *file, int line, const char *format, ...) PTIO_PRINTF(3, 4);

static inline bool machine_is_big_endian(void) {
    const uint16_t one = 1;
    return *(const uint8_t *)&one == 0;
}

#define RUN(function) test_run(function, #function)

#define ASSERT_TRUE(condition)                                              \
    do {                                                                    \
        if (!(condition)) test_fail(__FILE__, __LINE__, "%s", #condition);  \
    } while (0)

#define ASSERT_EQUAL(actual, expected)                                                                  \
    do {                                                                                                \
        unsigned long long actual_ = (unsigned long long)(actual), expected_ = (unsigned long long)(expected); \
        if (actual_ != expected_)                                                                       \
            test_fail(__FILE__, __LINE__, "%s is %llu (0x%llx), expected %llu (0x%llx)", #actual, actual_, actual_, \
                      expected_, expected_);                                                            \
    } while (0)

#define ASSERT_TEXT(actual, expected)                                                                   \
    do {                                                                                                \
        const char *actual_ = (actual), *expected_ = (expected);                                        \
        if (strcmp(actual_, expected_) != 0)                                                            \
            test_fail(__FILE__, __LINE__, "%s is \"%s\", expected \"%s\"", #actual, actual_, expected_); \
    } while (0)

#define ASSERT_CONTAINS(actual, fragment)                                                               \
    do {                                                                                                \
        const char *actual_ = (actual), *fragment_ = (fragment);                                        \
        if (strstr(actual_, fragment_) == NULL)                                                         \
            test_fail(__FILE__, __LINE__, "%s is \"%s\", without \"%s\"", #actual, actual_, fragment_); \
    } while (0)

#define ASSERT_BYTES(actual, expected, n)                                                               \
    do {                                                                                                \
        if (memcmp((actual), (expected), (n)) != 0)                                                     \
            test_fail(__FILE__, __LINE__, "%s differs from %s", #actual, #expected);                    \
    } while (0)

#define ASSERT_OK(call)                                                                                 \
    do {                                                                                                \
        if ((call) != PTIO_OK)                                                                          \
            test_fail(__FILE__, __LINE__, "%s: %s %s (record '%s'): %s", #call, ptio_status_name(err.status), \
                      err.check, err.record, err.message);                                              \
    } while (0)

/* A failure with this status, from this check, with this in its message, at this byte. */
#define ASSERT_FAILS(call, status, check, fragment, offset)                                             \
    test_error(__FILE__, __LINE__, (call), &err, PTIO_E_##status, (check), (fragment), (offset))

void test_error(const char *file, int line, ptio_status returned, const ptio_error *err, ptio_status status,
                const char *check, const char *fragment, uint64_t offset);

#endif
