/* SPDX-License-Identifier: Apache-2.0
 *
 * UTF-8 with surrogates: every code point there and back, and what is refused.
 */
#include "test.h"
#include "utf8.h"

void suite_utf8(void);

static bool check(const char *text, size_t size, ptio_utf8_facts *facts) {
    return ptio_utf8_check((const uint8_t *)text, size, facts);
}

#define VALID(text, characters_, largest_)                          \
    do {                                                            \
        ptio_utf8_facts facts = {99, 99};                           \
        ASSERT_TRUE(check((text), sizeof(text) - 1, &facts));       \
        ASSERT_EQUAL(facts.characters, (characters_));              \
        ASSERT_EQUAL(facts.largest, (largest_));                    \
    } while (0)

#define INVALID(text)                                               \
    do {                                                            \
        ptio_utf8_facts facts = {99, 99};                           \
        ASSERT_TRUE(!check((text), sizeof(text) - 1, &facts));      \
        ASSERT_EQUAL(facts.characters, 99); /* untouched */         \
    } while (0)

static void valid_text(void) {
    VALID("", 0, 0);
    VALID("abc", 3, 0);
    VALID("0123456789abcdef\x7f", 17, 0);
    VALID("\xc2\x80", 1, 0x80);
    VALID("abcdefgh\xc3\xa9ijklmnopq", 18, 0xE9);
    VALID("\xe2\x82\xac\xf0\x9f\x98\x80z", 3, 0x1F600);
    VALID("\xf4\x8f\xbf\xbf", 1, 0x10FFFF);
    VALID("\xed\xa0\x80\xed\xbf\xbf", 2, 0xDFFF); /* surrogates, as pickle writes them */
}

static void invalid_text(void) {
    INVALID("\x80");
    INVALID("abcdefgh\xbf");
    INVALID("\xc0\x80"); /* overlong */
    INVALID("\xc1\xbf");
    INVALID("\xe0\x9f\xbf");
    INVALID("\xf0\x8f\xbf\xbf");
    INVALID("\xf4\x90\x80\x80"); /* above 10FFFF */
    INVALID("\xf5\x80\x80\x80");
    INVALID("\xff");
    INVALID("\xc3");
    INVALID("\xe2\x82");
    INVALID("\xf0\x9f\x98");
    INVALID("\xc3(");
    INVALID("\xe2(\xac");
    INVALID("\xe2\x82(");
}

static void every_code_point_there_and_back(void) {
    for (uint32_t code = 0; code <= 0x10FFFF; code++) {
        uint8_t text[4];
        ptio_utf8_facts facts;
        unsigned size = ptio_utf8_put(text, code);
        if (!ptio_utf8_check(text, size, &facts) || facts.characters != 1 || facts.largest != (code < 0x80 ? 0 : code)) {
            test_fail(__FILE__, __LINE__, "code point %x", code);
            return;
        }
    }
}

void suite_utf8(void) {
    RUN(valid_text);
    RUN(invalid_text);
    RUN(every_code_point_there_and_back);
}
