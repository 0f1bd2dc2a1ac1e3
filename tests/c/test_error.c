/* SPDX-License-Identifier: Apache-2.0
 *
 * The error value, quoting, allocation and hashing: what all of the core rests on.
 */
#include <errno.h>

#include "base.h"
#include "load_limits.h"
#include "memory.h"
#include "test.h"

void suite_error(void);

static const char *quoted(const char *text, size_t n) {
    static char out[PTIO_QUOTED];
    memset(out, '#', sizeof out);
    return ptio_quote(out, text, n);
}

#define QUOTE(literal) quoted(literal, sizeof(literal) - 1)

static void quote_keeps_plain_text_and_utf8(void) {
    ASSERT_TEXT(QUOTE("model/data/0"), "model/data/0");
    ASSERT_TEXT(QUOTE("gr\xc3\xb6\xc3\x9f" "e \xe6\xa8\xa1\xe5\x9e\x8b \xf0\x9f\x98\x80"),
                "gr\xc3\xb6\xc3\x9f" "e \xe6\xa8\xa1\xe5\x9e\x8b \xf0\x9f\x98\x80");
    ASSERT_TEXT(QUOTE(""), "");
}

static void quote_escapes_what_could_forge_a_line(void) {
    ASSERT_TEXT(QUOTE("a\nb\r\t\x1b[31m\x7f"), "a\\x0ab\\x0d\\x09\\x1b[31m\\x7f");
    ASSERT_TEXT(QUOTE("\\ ' \""), "\\x5c \\x27 \\x22");
    ASSERT_TEXT(QUOTE("\0"), "\\x00");
    ASSERT_TEXT(QUOTE("\xc2\x85\xc2\x9b"), "\\x85\\x9b");
    ASSERT_TEXT(QUOTE("\xe2\x80\xae\xe2\x81\xa6\xe2\x80\x8f\xe2\x80\xa8\xe2\x80\xa9"),
                "\\u202e\\u2066\\u200f\\u2028\\u2029");
    ASSERT_TEXT(QUOTE("\xed\xa0\x80"), "\\ud800");
    ASSERT_TEXT(QUOTE("\xf3\xa0\x80\x81"), "\\U000e0001");
}

static void quote_escapes_bytes_that_are_not_utf8(void) {
    ASSERT_TEXT(QUOTE("\xff\xfe"), "\\xff\\xfe");
    ASSERT_TEXT(QUOTE("\xc3"), "\\xc3");
    ASSERT_TEXT(QUOTE("\xc0\x80"), "\\xc0\\x80");
    ASSERT_TEXT(QUOTE("\xe0\x80\x80"), "\\xe0\\x80\\x80");
    ASSERT_TEXT(QUOTE("\xf4\x90\x80\x80"), "\\xf4\\x90\\x80\\x80");
    ASSERT_TEXT(QUOTE("\xe2\x82x"), "\\xe2\\x82x");
}

static void quote_cuts_at_80_characters_between_escapes(void) {
    char text[200];
    memset(text, 'x', sizeof text);
    ASSERT_EQUAL(strlen(quoted(text, 80)), 80);
    ASSERT_EQUAL(strlen(quoted(text, 81)), 83);
    ASSERT_TEXT(quoted(text, 200) + 78, "xx...");
    memset(text, '\n', sizeof text);
    ASSERT_TEXT(quoted(text, 200) + 76, "\\x0a...");
    memset(text, 'x', 79);
    memcpy(text + 79, "\xc3\xb6", 2); /* would need two bytes where one is left */
    ASSERT_TEXT(quoted(text, 81) + 78, "x...");
}

static void fail_fills_every_field(void) {
    ptio_error err = {.sys_errno = 7};
    strcpy(err.record, "old");
    ASSERT_EQUAL(ptio_fail(&err, PTIO_E_LIMIT, "Z0.test", 12, "%d of %s", 3, "four"), PTIO_E_LIMIT);
    ASSERT_EQUAL(err.status, PTIO_E_LIMIT);
    ASSERT_EQUAL(err.offset, 12);
    ASSERT_EQUAL(err.sys_errno, 0);
    ASSERT_TEXT(err.check, "Z0.test");
    ASSERT_TEXT(err.message, "3 of four");
    ASSERT_TEXT(err.record, "");
    ptio_fail(&err, PTIO_E_LIMIT, "Z0.test", 12, "again: %s", err.message);
    ASSERT_TEXT(err.message, "again: 3 of four");
}

static void fail_cuts_long_messages_between_characters(void) {
    ptio_error err;
    char text[1000];
    for (size_t i = 0; i < sizeof text - 1; i += 3) memcpy(text + i, "\xe2\x82\xac", 3);
    text[999] = '\0';
    ptio_fail(&err, PTIO_E_LIMIT, "Z0.test", 0, "%s", text);
    ASSERT_EQUAL(strlen(err.message), (PTIO_ERROR_TEXT - 1) / 3 * 3);
    memset(text, 0xBF, sizeof text - 1); /* no characters: then anywhere */
    ptio_fail(&err, PTIO_E_LIMIT, "Z0.test", 0, "%s", text);
    ASSERT_EQUAL(strlen(err.message), PTIO_ERROR_TEXT - 1);
}

static void fail_errno_names_the_call(void) {
    ptio_error err;
    errno = ENOENT;
    ASSERT_EQUAL(ptio_fail_errno(&err, "open"), PTIO_E_IO);
    ASSERT_EQUAL(err.sys_errno, ENOENT);
    ASSERT_EQUAL(err.offset, PTIO_NO_OFFSET);
    ASSERT_TEXT(err.check, "io");
    ASSERT_CONTAINS(err.message, "open: No such file");
    errno = ENOMEM;
    ASSERT_EQUAL(ptio_fail_errno(&err, "mmap"), PTIO_E_NO_MEMORY);
}

static void record_names_are_quoted(void) {
    ptio_error err;
    ptio_fail(&err, PTIO_E_LIMIT, "Z0.test", 0, "x");
    ptio_error_in_record(&err, "m/\n", 3);
    ASSERT_TEXT(err.record, "m/\\x0a");
}

static void statuses_have_names(void) {
    ASSERT_TEXT(ptio_status_name(PTIO_OK), "OK");
    ASSERT_TEXT(ptio_status_name(PTIO_E_ZIP_MALFORMED), "ZIP_MALFORMED");
    ASSERT_TEXT(ptio_status_exception(PTIO_E_ZIP_AMBIGUOUS), "AmbiguousError");
    ASSERT_TEXT(ptio_status_exception(PTIO_E_IO), "");
    ASSERT_CONTAINS(ptio_status_hint(PTIO_E_TRUNCATED), "cut off");
    for (int i = 0; i < PTIO_STATUS_COUNT; i++) {
        ASSERT_TRUE(ptio_status_name((ptio_status)i) != NULL);
        ASSERT_TRUE(ptio_status_exception((ptio_status)i) != NULL);
        ASSERT_TRUE(ptio_status_hint((ptio_status)i) != NULL);
    }
}

static void checked_arithmetic_refuses_to_wrap(void) {
    uint64_t out = 5;
    ASSERT_TRUE(ptio_add_u64(UINT64_MAX - 1, 1, &out) && out == UINT64_MAX);
    ASSERT_TRUE(!ptio_add_u64(UINT64_MAX, 1, &out));
    ASSERT_TRUE(ptio_mul_u64(UINT64_C(1) << 32, (UINT64_C(1) << 32) - 1, &out));
    ASSERT_TRUE(!ptio_mul_u64(UINT64_C(1) << 32, UINT64_C(1) << 32, &out));
    const uint8_t bytes[8] = {1, 2, 3, 4, 5, 6, 7, 0x88};
    ASSERT_EQUAL(ptio_le16(bytes), 0x0201);
    ASSERT_EQUAL(ptio_le32(bytes + 4), 0x88070605);
    ASSERT_EQUAL(ptio_le64(bytes), UINT64_C(0x8807060504030201));
}

/* Whatever the byte order and the word size of this machine, and wherever the bytes lie. */
static void bytes_are_read_one_by_one(void) {
    uint8_t bytes[16];
    for (size_t at = 0; at < 8; at++) {
        memset(bytes, 0x5A, sizeof bytes);
        for (uint8_t i = 0; i < 8; i++) bytes[at + i] = (uint8_t)(0xF0 + i);
        ASSERT_EQUAL(ptio_le16(bytes + at), 0xF1F0);
        ASSERT_EQUAL(ptio_le32(bytes + at), UINT32_C(0xF3F2F1F0));
        ASSERT_EQUAL(ptio_le64(bytes + at), UINT64_C(0xF7F6F5F4F3F2F1F0));
    }
    memset(bytes, 0xFF, sizeof bytes); /* no sign creeps in */
    ASSERT_EQUAL(ptio_le16(bytes), UINT16_MAX);
    ASSERT_EQUAL(ptio_le32(bytes), UINT32_MAX);
    ASSERT_EQUAL(ptio_le64(bytes), UINT64_MAX);
}

/* Sizes of files are 64 bits wide everywhere, also where size_t is not. */
static void numbers_beyond_32_bits(void) {
    const uint64_t four_gib = UINT64_C(1) << 32;
    uint64_t out = 0;
    char digits[20];
    ASSERT_TRUE(ptio_add_u64(UINT32_MAX, 1, &out) && out == four_gib);
    ASSERT_TRUE(ptio_mul_u64(UINT32_MAX, UINT32_MAX, &out) && out == UINT64_C(0xFFFFFFFE00000001));
    ASSERT_EQUAL(ptio_min_u64(four_gib, 1), 1);
    ASSERT_EQUAL(ptio_max_u64(four_gib, 1), four_gib);
    ASSERT_EQUAL(ptio_limit_for_file(0, four_gib), 32 * four_gib);
    ASSERT_EQUAL(ptio_limit_for_file(0, UINT64_MAX / 16), UINT64_MAX);
    ASSERT_EQUAL(ptio_limit_for_file(four_gib, UINT64_MAX), four_gib);
    ASSERT_TRUE(ptio_put_digits(UINT64_MAX, digits + 20) == digits);
    ASSERT_BYTES(digits, "18446744073709551615", 20);
    ASSERT_TRUE(ptio_put_digits(0, digits + 20) == digits + 19 && digits[19] == '0');
    ASSERT_TRUE(ptio_alloc((size_t)1 << (sizeof(size_t) * 4), (size_t)1 << (sizeof(size_t) * 4)) == NULL);
}

void suite_error(void) {
    RUN(quote_keeps_plain_text_and_utf8);
    RUN(quote_escapes_what_could_forge_a_line);
    RUN(quote_escapes_bytes_that_are_not_utf8);
    RUN(quote_cuts_at_80_characters_between_escapes);
    RUN(fail_fills_every_field);
    RUN(fail_cuts_long_messages_between_characters);
    RUN(fail_errno_names_the_call);
    RUN(record_names_are_quoted);
    RUN(statuses_have_names);
    RUN(checked_arithmetic_refuses_to_wrap);
    RUN(bytes_are_read_one_by_one);
    RUN(numbers_beyond_32_bits);
}
