/* SPDX-License-Identifier: Apache-2.0
 *
 * Protocol 0: opcodes whose argument is a line of text.
 */
#include <math.h>
#include <stdlib.h>

#include "pickle_builder.h"

void suite_pickle_text(void);

/* The root of a pickle that has to parse, and its text. */
typedef struct {
    ptio_graph graph;
    uint8_t *copy;
    ptio_node root;
    const uint8_t *text;
} parsed;

static void parse_line(parsed *out, const void *pickle, size_t size) {
    ptio_error err = {0};
    memset(out, 0, sizeof *out);
    ASSERT_OK(parse_copy(pickle, size, false, &out->copy, &out->graph, &err));
    if (out->graph.root == PTIO_NO_NODE) return;
    out->root = out->graph.nodes[out->graph.root];
    bool text = out->root.kind >= PTIO_N_BIG_INT && out->root.kind <= PTIO_N_PY2_STR && out->root.kind != PTIO_N_FLOAT;
    if (text) out->text = ptio_text(&out->graph, &out->root);
}

static void parsed_free(parsed *p) {
    ptio_graph_free(&p->graph);
    free(p->copy);
}

static void expect_int(const char *file, int line, const char *pickle, size_t size, int64_t expected) {
    parsed p;
    parse_line(&p, pickle, size);
    if (p.root.kind != PTIO_N_INT || p.root.integer != expected)
        test_fail(file, line, "kind %u, value %lld, expected %lld", p.root.kind, (long long)p.root.integer,
                  (long long)expected);
    parsed_free(&p);
}

static void expect_text(const char *file, int line, const char *pickle, size_t size, uint8_t kind,
                        const char *expected, size_t expected_size) {
    parsed p;
    parse_line(&p, pickle, size);
    if (p.root.kind != kind || p.root.a != expected_size || memcmp(p.text, expected, expected_size) != 0)
        test_fail(file, line, "kind %u, %u bytes, expected kind %u, %zu bytes", p.root.kind, p.root.a, kind,
                  expected_size);
    parsed_free(&p);
}

static void expect_float(const char *file, int line, const char *pickle, size_t size, double expected) {
    parsed p;
    parse_line(&p, pickle, size);
    if (p.root.kind != PTIO_N_FLOAT || memcmp(&p.root.real, &expected, sizeof expected) != 0)
        test_fail(file, line, "kind %u, value %g, expected %g", p.root.kind, p.root.real, expected);
    parsed_free(&p);
}

#define EXPECT_INT(pickle, expected) expect_int(__FILE__, __LINE__, LITERAL(pickle), (expected))
#define EXPECT_TEXT(pickle, kind, expected) \
    expect_text(__FILE__, __LINE__, LITERAL(pickle), PTIO_N_##kind, LITERAL(expected))
#define EXPECT_FLOAT(pickle, expected) expect_float(__FILE__, __LINE__, LITERAL(pickle), (expected))

static void integers(void) {
    EXPECT_INT("I0\n.", 0);
    EXPECT_INT("I-1\n.", -1);
    EXPECT_INT("I9223372036854775807\n.", INT64_MAX);
    EXPECT_INT("I-9223372036854775807\n.", -INT64_MAX);
    EXPECT_INT("L5L\n.", 5);
    EXPECT_INT("L0L\n.", 0);
    EXPECT_TEXT("I9223372036854775808\n.", BIG_DECIMAL, "9223372036854775808");
    EXPECT_TEXT("L-9223372036854775808L\n.", BIG_DECIMAL, "-9223372036854775808");
    EXPECT_TEXT("L340282366920938463463374607431768211456L\n.", BIG_DECIMAL, "340282366920938463463374607431768211456");
}

static void bools_are_exactly_00_and_01(void) {
    parsed p;
    parse_line(&p, LITERAL("I01\n."));
    ASSERT_EQUAL(p.graph.root, PTIO_NODE_TRUE);
    parsed_free(&p);
    parse_line(&p, LITERAL("I00\n."));
    ASSERT_EQUAL(p.graph.root, PTIO_NODE_FALSE);
    parsed_free(&p);
    EXPECT_INT("I1\n.", 1);
}

static void floats(void) {
    EXPECT_FLOAT("F1.5\n.", 1.5);
    EXPECT_FLOAT("F-0.0\n.", -0.0);
    EXPECT_FLOAT("F1\n.", 1.0);
    EXPECT_FLOAT("F.5\n.", 0.5);
    EXPECT_FLOAT("F5.\n.", 5.0);
    EXPECT_FLOAT("F1e-07\n.", 1e-07);
    EXPECT_FLOAT("F1E+22\n.", 1e22);
    EXPECT_FLOAT("F1.7976931348623157e+308\n.", 1.7976931348623157e308);
    EXPECT_FLOAT("F5e-324\n.", 5e-324);
    EXPECT_FLOAT("F1e-400\n.", 0.0);
    EXPECT_FLOAT("Finf\n.", INFINITY);
    EXPECT_FLOAT("F-inf\n.", -INFINITY);
    parsed p;
    parse_line(&p, LITERAL("Fnan\n."));
    ASSERT_TRUE(p.root.kind == PTIO_N_FLOAT && isnan(p.root.real));
    parsed_free(&p);
}

static void strings_of_python_2(void) {
    EXPECT_TEXT("S''\n.", PY2_STR, "");
    EXPECT_TEXT("S'abc'\n.", PY2_STR, "abc");
    EXPECT_TEXT("S\"it's\"\n.", PY2_STR, "it's");
    EXPECT_TEXT("S'it\\'s'\n.", PY2_STR, "it's");
    EXPECT_TEXT("S'\\x00\\xff\\n\\r\\t\\\\'\n.", PY2_STR, "\0\xff\n\r\t\\");
    EXPECT_TEXT("S'\\a\\b\\f\\v\\0\\12\\377\\1234'\n.", PY2_STR, "\a\b\f\v\0\n\xff" "S4");
    EXPECT_TEXT("S'\xe9'\n.", PY2_STR, "\xe9");
    EXPECT_TEXT("S'\\\"'\n.", PY2_STR, "\"");
}

static void unicode_in_raw_unicode_escape(void) {
    EXPECT_TEXT("V\n.", STR, "");
    EXPECT_TEXT("Vabc\n.", STR, "abc");
    EXPECT_TEXT("V\xe9\n.", STR, "\xc3\xa9");                   /* bytes are Latin-1 */
    EXPECT_TEXT("V\\u00e9\\u20AC\n.", STR, "\xc3\xa9\xe2\x82\xac");
    EXPECT_TEXT("V\\U0001f600\n.", STR, "\xf0\x9f\x98\x80");
    EXPECT_TEXT("V\\u000a\\u005c\\u0000\n.", STR, "\n\\\0");
    EXPECT_TEXT("V\\d\\n\n.", STR, "\\d\\n");                   /* no other escape is one */
    EXPECT_TEXT("V\\\n.", STR, "\\");
    EXPECT_TEXT("V\\\\u0041\n.", STR, "\\\\u0041");             /* an even number of backslashes */
    EXPECT_TEXT("V\\\\\\u0041\n.", STR, "\\\\A");
    EXPECT_TEXT("V\\ud83d\\ude00\n.", STR, "\xed\xa0\xbd\xed\xb8\x80"); /* stays two code points */
    EXPECT_TEXT("V\\udc80\n.", STR, "\xed\xb2\x80");
    parsed p;
    parse_line(&p, LITERAL("Vabc\n."));
    ASSERT_TRUE(p.root.flags & PTIO_F_ASCII);
    parsed_free(&p);
    parse_line(&p, LITERAL("V\\u0080\n."));
    ASSERT_TRUE(!(p.root.flags & PTIO_F_ASCII));
    parsed_free(&p);
}

/* Text that was unescaped earlier stays where nodes say, however much follows. */
static void unescaped_text_survives_growth(void) {
    pickle_buffer p = {0};
    parsed out;
    ADD(&p, "(");
    for (int i = 0; i < 1000; i++) ADD(&p, "S'\\x41\\x42'\nV\\u0043\n");
    ADD(&p, "t.");
    parse_line(&out, p.bytes, p.size);
    ASSERT_EQUAL(out.root.count, 2000);
    for (uint32_t i = 0; i < out.root.count; i += 2) {
        const ptio_node *first = &out.graph.nodes[out.graph.refs[out.root.first + i]];
        const ptio_node *second = &out.graph.nodes[out.graph.refs[out.root.first + i + 1]];
        ASSERT_BYTES(ptio_text(&out.graph, first), "AB", 2);
        ASSERT_BYTES(ptio_text(&out.graph, second), "C", 1);
    }
    parsed_free(&out);
    pickle_free(&p);
}

static void numbers_that_no_pickler_writes(void) {
    static const broken_pickle cases[] = {
        BROKEN("", "I\n.", PICKLE_MALFORMED, "P2.decimal", "INT '' is no decimal number"),
        BROKEN("N", "I0x10\n.", PICKLE_MALFORMED, "P2.decimal", "INT '0x10' is no decimal number"),
        BROKEN("", "I1_0\n.", PICKLE_MALFORMED, "P2.decimal", "1_0"),
        BROKEN("", "I 7\n.", PICKLE_MALFORMED, "P2.decimal", "' 7'"),
        BROKEN("", "I+0\n.", PICKLE_MALFORMED, "P2.decimal", "+0"),
        BROKEN("", "I-\n.", PICKLE_MALFORMED, "P2.decimal", "'-'"),
        BROKEN("", "I1\r\n.", PICKLE_MALFORMED, "P2.decimal", "1\\x0d"),
        BROKEN("", "LL\n.", PICKLE_MALFORMED, "P2.decimal", "LONG ''"),
        BROKEN("", "L1LL\n.", PICKLE_MALFORMED, "P2.decimal", "1L"),
        BROKEN("", "I010\n.", PICKLE_MALFORMED, "P2.zero", "INT '010' begins with a needless zero"),
        BROKEN("", "I02\n.", PICKLE_MALFORMED, "P2.zero", "INT '02'"),
        BROKEN("", "I001\n.", PICKLE_MALFORMED, "P2.zero", "INT '001'"),
        BROKEN("", "I-0\n.", PICKLE_MALFORMED, "P2.zero", "INT '-0'"),
        BROKEN("", "I-01\n.", PICKLE_MALFORMED, "P2.zero", "INT '-01'"),
        BROKEN("", "L01L\n.", PICKLE_MALFORMED, "P2.zero", "LONG '01' begins with a needless zero"),
        BROKEN("", "L1\n.", PICKLE_MALFORMED, "P2.long-suffix", "LONG without its final L"),
        BROKEN("", "L\n.", PICKLE_MALFORMED, "P2.long-suffix", "LONG without its final L"),
        BROKEN("", "L1L\r\n.", PICKLE_MALFORMED, "P2.long-suffix", "LONG"),
        BROKEN("", "F\n.", PICKLE_MALFORMED, "P2.float", "FLOAT '' is no number"),
        BROKEN("", "F-\n.", PICKLE_MALFORMED, "P2.float", "'-'"),
        BROKEN("", "F.\n.", PICKLE_MALFORMED, "P2.float", "'.'"),
        BROKEN("", "F1e\n.", PICKLE_MALFORMED, "P2.float", "1e"),
        BROKEN("", "F1e+\n.", PICKLE_MALFORMED, "P2.float", "1e+"),
        BROKEN("", "F+1\n.", PICKLE_MALFORMED, "P2.float", "+1"),
        BROKEN("", "F0x1p3\n.", PICKLE_MALFORMED, "P2.float", "0x1p3"),
        BROKEN("", "F1,5\n.", PICKLE_MALFORMED, "P2.float", "1,5"),
        BROKEN("", "Finfinity\n.", PICKLE_MALFORMED, "P2.float", "infinity"),
        BROKEN("", "FINF\n.", PICKLE_MALFORMED, "P2.float", "INF"),
        BROKEN("", "F1 \n.", PICKLE_MALFORMED, "P2.float", "'1 '"),
        BROKEN("", "F1e999\n.", PICKLE_MALFORMED, "P2.float-range", "larger than any float"),
        BROKEN("", "F-1e999\n.", PICKLE_MALFORMED, "P2.float-range", "-1e999"),
        BROKEN("N", "g\n.", PICKLE_MALFORMED, "P2.index", "GET '' is no index"),
        BROKEN("N", "g+1\n.", PICKLE_MALFORMED, "P2.index", "GET '+1'"),
        BROKEN("N", "p-1\n.", PICKLE_MALFORMED, "P2.index", "PUT '-1' is no index"),
        BROKEN("N", "p1 \n.", PICKLE_MALFORMED, "P2.index", "PUT '1 '"),
    };
    PARSE_BROKEN(cases);
}

static void text_that_no_pickler_writes(void) {
    static const broken_pickle cases[] = {
        BROKEN("", "Sabc\n.", PICKLE_MALFORMED, "P2.quotes", "STRING without matching quotes"),
        BROKEN("", "Sxabcx\n.", PICKLE_MALFORMED, "P2.quotes", "quotes"),
        BROKEN("", "S'abc\n.", PICKLE_MALFORMED, "P2.quotes", "quotes"),
        BROKEN("", "S'abc\"\n.", PICKLE_MALFORMED, "P2.quotes", "quotes"),
        BROKEN("", "S'\n.", PICKLE_MALFORMED, "P2.quotes", "quotes"),
        BROKEN("", "S\n.", PICKLE_MALFORMED, "P2.quotes", "quotes"),
        BROKEN("", "S'abc'\r\n.", PICKLE_MALFORMED, "P2.quotes", "quotes"),
        BROKEN("", "S'\\'\n.", PICKLE_MALFORMED, "P2.escape", "STRING with a bad escape"),
        BROKEN("", "S'\\q'\n.", PICKLE_MALFORMED, "P2.escape", "escape"),
        BROKEN("", "S'\\x4'\n.", PICKLE_MALFORMED, "P2.escape", "escape"),
        BROKEN("", "S'\\xg0'\n.", PICKLE_MALFORMED, "P2.escape", "escape"),
        BROKEN("", "S'\\400'\n.", PICKLE_MALFORMED, "P2.escape", "escape"),
        BROKEN("", "V\\u12\n.", PICKLE_MALFORMED, "P2.unicode-escape", "UNICODE with a bad escape"),
        BROKEN("", "V\\u12g4\n.", PICKLE_MALFORMED, "P2.unicode-escape", "escape"),
        BROKEN("", "V\\U0001f60\n.", PICKLE_MALFORMED, "P2.unicode-escape", "escape"),
        BROKEN("", "V\\U00110000\n.", PICKLE_MALFORMED, "P2.unicode-range", "above 10FFFF"),
        BROKEN("", "V\\Uffffffff\n.", PICKLE_MALFORMED, "P2.unicode-range", "above 10FFFF"),
    };
    PARSE_BROKEN(cases);
}

static void lines_without_an_end(void) {
    static const broken_pickle cases[] = {
        BROKEN("", "I1", PICKLE_MALFORMED, "P2.newline", "INT without the newline that ends it"),
        BROKEN("N", "L1L", PICKLE_MALFORMED, "P2.newline", "LONG without"),
        BROKEN("", "F1.5", PICKLE_MALFORMED, "P2.newline", "FLOAT without"),
        BROKEN("", "S'a'", PICKLE_MALFORMED, "P2.newline", "STRING without"),
        BROKEN("", "Va", PICKLE_MALFORMED, "P2.newline", "UNICODE without"),
        BROKEN("", "cos", PICKLE_MALFORMED, "P2.newline", "GLOBAL without"),
        BROKEN("", "cos\nsystem", PICKLE_MALFORMED, "P2.newline", "GLOBAL without"),
        BROKEN("N", "g1", PICKLE_MALFORMED, "P2.newline", "GET without"),
        BROKEN("N", "p1", PICKLE_MALFORMED, "P2.newline", "PUT without"),
    };
    PARSE_BROKEN(cases);
}

/* One byte, `times` times, between two literals. */
static void expect_long(const char *file, int line, const char *before, const char *byte, size_t times,
                        const char *after, ptio_status status, const char *check, const char *fragment) {
    pickle_buffer p = {0};
    ptio_error err = {0};
    ptio_graph graph;
    uint8_t *copy;
    pickle_add(&p, before, strlen(before));
    pickle_add_times(&p, byte, 1, times);
    pickle_add(&p, after, strlen(after));
    ptio_status got = parse_copy(p.bytes, p.size, false, &copy, &graph, &err);
    if (status != PTIO_OK) test_error(file, line, got, &err, status, check, fragment, 0);
    else if (got != PTIO_OK) test_fail(file, line, "%s: %s", err.check, err.message);
    ptio_graph_free(&graph);
    free(copy);
    pickle_free(&p);
}

#define FITS(before, byte, times, after) expect_long(__FILE__, __LINE__, before, byte, times, after, PTIO_OK, "", "")
#define TOO_LONG(before, byte, times, after, check, fragment) \
    expect_long(__FILE__, __LINE__, before, byte, times, after, PTIO_E_PICKLE_MALFORMED, check, fragment)

static void lines_have_a_longest(void) {
    FITS("I", "1", 640, "\n.");
    TOO_LONG("I", "1", 641, "\n.", "P2.digits", "an integer of 641 digits, at most 640");
    FITS("L-", "1", 640, "L\n.");
    TOO_LONG("L-", "1", 641, "L\n.", "P2.digits", "641 digits");
    TOO_LONG("I", "1", 65537, "\n.", "P2.long", "INT with a line over 65536 bytes");
    TOO_LONG("I", "1", 65537, "", "P2.long", "INT with a line over 65536 bytes");
    FITS("F", "1", 64, "\n.");
    TOO_LONG("F", "1", 65, "\n.", "P2.long", "FLOAT with a line over 64 bytes");
    FITS("c", "a", 512, "\nb\n.");
    TOO_LONG("c", "a", 513, "\nb\n.", "P2.long", "GLOBAL with a line over 512 bytes");
    TOO_LONG("ca\n", "a", 513, "\n.", "P2.long", "GLOBAL with a line over 512 bytes");
    FITS("V", "a", 1000000, "\n.");
    FITS("S'", "a", 1000000, "'\n.");
}

/* Text offsets of names: "module\nname" stays in one piece. */
static void names_of_globals(void) {
    parsed p;
    const uint8_t *module, *name;
    size_t module_size, name_size;
    parse_line(&p, LITERAL("ctorch._utils\n_rebuild\n."));
    ptio_global_name(&p.graph, p.graph.root, &module, &module_size, &name, &name_size);
    ASSERT_EQUAL(module_size, 12);
    ASSERT_BYTES(module, "torch._utils", 12);
    ASSERT_EQUAL(name_size, 8);
    ASSERT_BYTES(name, "_rebuild", 8);
    ASSERT_EQUAL(p.graph.global_count, 1);
    ASSERT_EQUAL(p.graph.globals[0].offset, 0);
    parsed_free(&p);
    parse_line(&p, LITERAL("c\n\n."));
    ptio_global_name(&p.graph, p.graph.root, &module, &module_size, &name, &name_size);
    ASSERT_EQUAL(module_size + name_size, 0);
    parsed_free(&p);
}

void suite_pickle_text(void) {
    RUN(integers);
    RUN(bools_are_exactly_00_and_01);
    RUN(floats);
    RUN(strings_of_python_2);
    RUN(unicode_in_raw_unicode_escape);
    RUN(unescaped_text_survives_growth);
    RUN(numbers_that_no_pickler_writes);
    RUN(text_that_no_pickler_writes);
    RUN(lines_without_an_end);
    RUN(lines_have_a_longest);
    RUN(names_of_globals);
}
