/* SPDX-License-Identifier: Apache-2.0
 *
 * Pickle bytes -> graph: what every opcode makes, and where broken streams fail.
 */
#include <stdlib.h>

#include "pickle_builder.h"
#include "pickle_machine.h"

void suite_pickle(void);

/* --- the graph in words: a dump small enough to compare ------------------------------- */

typedef struct {
    char text[4096];
    size_t used;
} dump;

static void say(dump *d, const char *text) {
    size_t n = strlen(text);
    if (d->used + n >= sizeof d->text) abort();
    memcpy(d->text + d->used, text, n + 1);
    d->used += n;
}

static void say_number(dump *d, long long value) {
    char text[32];
    snprintf(text, sizeof text, "%lld", value);
    say(d, text);
}

static void say_node(dump *d, const ptio_graph *g, ptio_ref ref, unsigned depth);

static void say_run(dump *d, const ptio_graph *g, uint32_t first, uint32_t count, unsigned depth) {
    for (uint32_t i = 0; i < count; i++) {
        if (i > 0) say(d, " ");
        say_node(d, g, g->refs[first + i], depth);
    }
}

static void say_fills(dump *d, const ptio_graph *g, ptio_ref ref, unsigned depth) {
    static const char *const marks[] = {"+", ":", "&", "="};
    for (ptio_ref fill = ptio_first_fill(g, ref); fill != 0; fill = ptio_next_fill(g, ref, fill)) {
        const ptio_node *node = &g->nodes[fill];
        say(d, marks[node->kind - PTIO_N_APPEND]);
        say(d, "{");
        say_run(d, g, node->first, node->count, depth);
        say(d, "}");
        ASSERT_TRUE(ptio_is_fill(node) && node->a == ref);
    }
}

static void say_text(dump *d, const char *prefix, const ptio_graph *g, const ptio_node *node, size_t size) {
    char text[128];
    const uint8_t *bytes = ptio_text(g, node);
    say(d, prefix);
    for (size_t i = 0; i < size; i++) {
        if (bytes[i] == '\n') snprintf(text, sizeof text, ".");
        else if (bytes[i] >= 0x20 && bytes[i] < 0x7F) snprintf(text, sizeof text, "%c", bytes[i]);
        else snprintf(text, sizeof text, "\\%02x", bytes[i]);
        say(d, text);
    }
    say(d, "'");
}

static void say_node(dump *d, const ptio_graph *g, ptio_ref ref, unsigned depth) {
    const ptio_node *node = &g->nodes[ref];
    char text[64];
    if (depth == 0) {
        say(d, "...");
        return;
    }
    switch (node->kind) {
    case PTIO_N_NONE: say(d, "None"); break;
    case PTIO_N_FALSE: say(d, "False"); break;
    case PTIO_N_TRUE: say(d, "True"); break;
    case PTIO_N_INT: say_number(d, node->integer); break;
    case PTIO_N_BIG_INT: say_text(d, "I'", g, node, node->a); break;
    case PTIO_N_BIG_DECIMAL: say_text(d, "D'", g, node, node->a); break;
    case PTIO_N_FLOAT:
        snprintf(text, sizeof text, "%.17gf", node->real);
        say(d, text);
        break;
    case PTIO_N_STR: say_text(d, node->flags & PTIO_F_ASCII ? "'" : "u'", g, node, node->a); break;
    case PTIO_N_BYTES: say_text(d, "b'", g, node, node->a); break;
    case PTIO_N_BYTEARRAY: say_text(d, "a'", g, node, node->a); break;
    case PTIO_N_PY2_STR: say_text(d, "s'", g, node, node->a); break;
    case PTIO_N_TUPLE:
    case PTIO_N_FROZENSET:
        say(d, node->kind == PTIO_N_TUPLE ? "(" : "fs(");
        say_run(d, g, node->first, node->count, depth - 1);
        say(d, ")");
        break;
    case PTIO_N_LIST:
    case PTIO_N_DICT:
    case PTIO_N_SET:
        say(d, node->kind == PTIO_N_LIST ? "[]" : node->kind == PTIO_N_DICT ? "{}" : "<>");
        say_fills(d, g, ref, depth - 1);
        break;
    case PTIO_N_GLOBAL: say_text(d, "g'", g, node, (size_t)(node->a & 0xFFFF) + 1 + (node->a >> 16)); break;
    case PTIO_N_STACK_GLOBAL:
        say(d, "sg(");
        say_node(d, g, node->a, depth - 1);
        say(d, " ");
        say_node(d, g, node->b, depth - 1);
        say(d, ")");
        break;
    case PTIO_N_PERSID:
        say(d, "id");
        say_node(d, g, node->a, depth - 1);
        break;
    case PTIO_N_CALL:
    case PTIO_N_NEWOBJ:
    case PTIO_N_NEWOBJ_EX:
        say(d, node->kind == PTIO_N_CALL ? "call" : node->kind == PTIO_N_NEWOBJ ? "new" : "newex");
        say(d, "[");
        say_node(d, g, node->a, depth - 1);
        say(d, " ");
        say_node(d, g, node->b, depth - 1);
        say(d, "]");
        say_fills(d, g, ref, depth - 1);
        break;
    default: say(d, "?"); break;
    }
}

static void expect(const char *file, int line, const char *pickle, size_t size, bool inert, const char *expected) {
    ptio_error err = {0};
    ptio_graph graph;
    uint8_t *copy;
    dump d = {.used = 0};
    if (parse_copy(pickle, size, inert, &copy, &graph, &err) != PTIO_OK) {
        test_fail(file, line, "%s at byte %llu: %s", err.check, (unsigned long long)err.offset, err.message);
    } else {
        say_node(&d, &graph, graph.root, 8);
        if (strcmp(d.text, expected) != 0) test_fail(file, line, "graph is %s, expected %s", d.text, expected);
    }
    ptio_graph_free(&graph);
    free(copy);
}

#define EXPECT(pickle, expected) expect(__FILE__, __LINE__, LITERAL(pickle), false, expected)
#define EXPECT_INERT(pickle, expected) expect(__FILE__, __LINE__, LITERAL(pickle), true, expected)

/* --- what opcodes make --------------------------------------------------------------------- */

static void constants_and_small_ints(void) {
    EXPECT("(N\x88\x89t.", "(None True False)");
    EXPECT("(K\x00K\xffM\x00\x01M\xff\xffJ\x00\x00\x00\x80J\xff\xff\xff\x7ft.",
           "(0 255 256 65535 -2147483648 2147483647)");
    EXPECT("G\x3f\xf8\0\0\0\0\0\0.", "1.5f");
    EXPECT("G\xff\xf0\0\0\0\0\0\0.", "-inff");
}

static void long_ints(void) {
    EXPECT("(\x8a\x00\x8a\x01\xff\x8a\x01\x7f\x8a\x02\x80\x00t.", "(0 -1 127 128)");
    EXPECT("\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f.", "9223372036854775807");
    EXPECT("\x8a\x08\x00\x00\x00\x00\x00\x00\x00\x80.", "-9223372036854775808");
    EXPECT("\x8a\x09\x05\0\0\0\0\0\0\0\0.", "5"); /* more bytes than it needs */
    EXPECT("\x8a\x0a\xfb\xff\xff\xff\xff\xff\xff\xff\xff\xff.", "-5");
    EXPECT("\x8a\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x00\x00.", "I'\\ff\\ff\\ff\\ff\\ff\\ff\\ff\\ff\\00'");
    EXPECT("\x8a\x09\xff\xff\xff\xff\xff\xff\xff\xff\x00.", "I'\\ff\\ff\\ff\\ff\\ff\\ff\\ff\\ff\\00'");
    EXPECT("\x8b\x02\x00\x00\x00\x00\x01.", "256");
    EXPECT("\x8b\x00\x00\x00\x00.", "0");
}

static void integers_up_to_1024_bytes(void) {
    pickle_buffer p = {0};
    ptio_graph graph;
    ptio_error err = {0};
    uint8_t *copy;
    for (uint32_t size = 1024; size <= 1025; size++) {
        p.size = 0;
        ADD(&p, "N\x8b");
        pickle_add_u32(&p, size);
        ADD_TIMES(&p, "\x01", size);
        ADD(&p, "\x86.");
        ptio_status status = parse_copy(p.bytes, p.size, false, &copy, &graph, &err);
        if (size == 1024) ASSERT_TRUE(status == PTIO_OK);
        else ASSERT_FAILS(status, LIMIT, "P16.size", "an integer of 1025 bytes", 1);
        ptio_graph_free(&graph);
        free(copy);
    }
    pickle_free(&p);
}

static void text_and_bytes(void) {
    EXPECT("(X\x02\0\0\0hi\x8c\x01x\x8d\x01\0\0\0\0\0\0\0yX\x02\0\0\0\xc3\xa9t.", "('hi' 'x' 'y' u'\\c3\\a9')");
    EXPECT("(C\x01\x80" "B\x02\0\0\0ab\x8e\x00\0\0\0\0\0\0\0t.", "(b'\\80' b'ab' b'')");
    EXPECT("\x96\x02\0\0\0\0\0\0\0ab.", "a'ab'");
    EXPECT("(U\x01\xffT\x02\0\0\0abt.", "(s'\\ff' s'ab')");
    EXPECT("\x8c\x03\xed\xa0\x80.", "u'\\ed\\a0\\80'"); /* a lone surrogate */
}

static void containers_and_their_fills(void) {
    EXPECT("(]})\x8ft.", "([] {} () <>)");
    EXPECT("]Na(K\1K\2eK\3a.", "[]+{None}+{1 2}+{3}");
    EXPECT("}K\1Ns(K\2NK\3Nu.", "{}:{1 None}:{2 None 3 None}");
    EXPECT("\x8f(K\1K\2\x90(K\3\x90.", "<>&{1 2}&{3}");
    EXPECT("(K\1K\2l.", "[]+{1 2}");
    EXPECT("(K\1K\2d.", "{}:{1 2}");
    EXPECT("((l(dt.", "([] {})");
    EXPECT("(K\1K\2\x91.", "fs(1 2)");
    EXPECT("(\x91.", "fs()");
    EXPECT("N\x85.", "(None)");
    EXPECT("NN\x86.", "(None None)");
    EXPECT("NNN\x87.", "(None None None)");
    EXPECT("](e.", "[]+{}"); /* a fill of nothing, too, says what can be filled */
    EXPECT("}(u.", "{}:{}");
    EXPECT("\x8f(\x90.", "<>&{}");
}

static void the_stack_and_the_memo(void) {
    EXPECT("N2\x86.", "(None None)");
    EXPECT("NK\1" "0.", "None");
    EXPECT("N(K\1K\2" "1.", "None");
    EXPECT("N(0.", "None"); /* POP of a MARK */
    EXPECT("]q\x05h\x05\x86.", "([] [])");
    EXPECT("]r\x00\x00\x00\x7fj\x00\x00\x00\x7f\x86.", "([] [])");
    EXPECT("]p12\ng12\n\x86.", "([] [])");
    EXPECT("]\x94K\1\x94h\x00h\x01\x86\x86" "00h\x00.", "[]");
    EXPECT("Nq\x05]\x94" "00h\x01.", "[]"); /* MEMOIZE counts entries, as CPython does */
    EXPECT("K\1q\0" "0K\2q\0" "0h\0.", "2");
    EXPECT("K\1p4294967295\ng4294967295\n\x86.", "(1 1)");
}

static void recursive_values(void) {
    EXPECT("]q\0h\0a.", "[]+{[]+{[]+{[]+{[]+{[]+{[]+{[]+{...}}}}}}}}");
    /* A tuple that holds itself through a list: protocol 0 pops item by item. */
    EXPECT("(((lp0\n(g0\ntp1\nag0\n00g1\nt00g1\n.", "([]+{([]+{([]+{([]+{...})})})})");
    EXPECT("(]q\0(h\0tq\1ah\0001h\1.", "([]+{([]+{([]+{([]+{...})})})})");
}

static void globals_and_calls(void) {
    EXPECT("ca.b\nc\n.", "g'a.b.c'");
    EXPECT("\x8c\x03" "a.b\x8c\x01" "c\x93.", "sg('a.b' 'c')");
    EXPECT("U\x01" "aU\x01" "b\x93.", "sg(s'a' s'b')");
    EXPECT("ca\nb\n)R.", "call[g'a.b' ()]");
    EXPECT("ca\nb\n)\x81}b.", "new[g'a.b' ()]={{}}");
    EXPECT("ca\nb\n)RNaK\1K\2sNb.", "call[g'a.b' ()]+{None}:{1 2}={None}");
    EXPECT("(N)tQ.", "id(None ())");
    EXPECT("K\1Q.", "id1");
}

static void objects_that_are_data_when_asked_for(void) {
    EXPECT_INERT("ca\nb\n)}\x92.", "newex[g'a.b' (() {})]");
    EXPECT_INERT("(ca\nb\nK\1K\2o.", "call[g'a.b' (1 2)]");
    EXPECT_INERT("(K\1ia\nb\n.", "call[g'a.b' (1)]");
    EXPECT_INERT("(ia\nb\n(dK\1K\2sb.", "call[g'a.b' ()]={{}:{1 2}}");
}

static void protocols_and_frames(void) {
    EXPECT("\x80\0N.", "None");
    EXPECT("\x80\5N.", "None");
    EXPECT("\x80\4\x95\x02\0\0\0\0\0\0\0N.", "None");
    EXPECT("\x80\4\x95\x01\0\0\0\0\0\0\0N\x95\x02\0\0\0\0\0\0\0" "0N.", "None");
    EXPECT("\x95\x01\0\0\0\0\0\0\0N0\x95\0\0\0\0\0\0\0\0N.", "None"); /* bytes between frames, an empty frame */
}

/* --- where broken streams fail --------------------------------------------------------------- */

static void arguments_end_early(void) {
    static const broken_pickle cases[] = {
        BROKEN("", "", PICKLE_MALFORMED, "P1.empty", "the pickle is empty"),
        BROKEN("", "J\0\0\0", PICKLE_MALFORMED, "P1.short", "BININT needs 4 bytes, the pickle has 3 left"),
        BROKEN("N", "K", PICKLE_MALFORMED, "P1.short", "BININT1 needs 1"),
        BROKEN("", "M\0", PICKLE_MALFORMED, "P1.short", "BININT2 needs 2"),
        BROKEN("", "G\0\0\0\0\0\0\0", PICKLE_MALFORMED, "P1.short", "BINFLOAT needs 8"),
        BROKEN("", "\x8a\x05\0\0", PICKLE_MALFORMED, "P1.short", "LONG1 needs 5"),
        BROKEN("", "\x8b\xff\xff\xff\x7f\0\0\0", PICKLE_MALFORMED, "P1.short", "LONG4 needs 2147483647 bytes"),
        BROKEN("", "X\xff\xff\xff\xff" "abc", PICKLE_MALFORMED, "P1.short", "needs 4294967295 bytes, the pickle has 3"),
        BROKEN("", "\x8d\xff\xff\xff\xff\xff\xff\xff\xff" "abc", PICKLE_MALFORMED, "P1.short",
               "BINUNICODE8 needs 18446744073709551615 bytes, the pickle has 3 left"),
        BROKEN("", "\x8e\0\0\0\0\0\0\0\x80" "abc", PICKLE_MALFORMED, "P1.short", "BINBYTES8 needs 9223372036854775808"),
        BROKEN("", "\x96\xff\xff\xff\xff\0\0\0\0" "abc", PICKLE_MALFORMED, "P1.short", "BYTEARRAY8 needs 4294967295"),
        BROKEN("", "\x95\xff\xff\xff\xff\xff\xff\xff\xffN.", PICKLE_MALFORMED, "P1.short", "FRAME needs"),
        BROKEN("", "\x80", PICKLE_MALFORMED, "P1.short", "PROTO needs 1"),
        BROKEN("N", "q", PICKLE_MALFORMED, "P1.short", "BINPUT needs 1"),
        BROKEN("N", "r\0\0", PICKLE_MALFORMED, "P1.short", "LONG_BINPUT needs 4"),
        BROKEN("N", "h", PICKLE_MALFORMED, "P1.short", "BINGET needs 1"),
        BROKEN("N", "j\0", PICKLE_MALFORMED, "P1.short", "LONG_BINGET needs 4"),
        BROKEN("N", "T\0", PICKLE_MALFORMED, "P1.short", "BINSTRING needs 4"),
        BROKEN("", "\x8b\0\0\0\x80.", PICKLE_MALFORMED, "P1.long4", "LONG4 with a negative size"),
        BROKEN("", "T\0\0\0\x80.", PICKLE_MALFORMED, "P1.binstring", "BINSTRING with a negative size"),
        BROKEN("N", "\x05.", PICKLE_MALFORMED, "P1.opcode", "byte 0x05 is no pickle opcode"),
        BROKEN("N", "\xff.", PICKLE_MALFORMED, "P1.opcode", "byte 0xff is no pickle opcode"),
    };
    PARSE_BROKEN(cases);
}

static void streams_without_an_end(void) {
    /* The last opcode that was done is the nearest place there is. */
    static const broken_pickle cases[] = {
        BROKEN("", "N", PICKLE_MALFORMED, "P1.end", "ends without STOP"),
        BROKEN("N", "0", PICKLE_MALFORMED, "P1.end", "ends without STOP"),
        BROKEN("\x95\x01\0\0\0\0\0\0\0", "N", PICKLE_MALFORMED, "P1.end", "ends without STOP"),
        BROKEN("", "\x8c\0", PICKLE_MALFORMED, "P1.end", "ends without STOP"), /* its text has no address */
    };
    PARSE_BROKEN(cases);
}

static void the_stack_runs_out(void) {
    static const broken_pickle cases[] = {
        BROKEN("", "0.", PICKLE_MALFORMED, "P3.underflow", "POP finds nothing on the stack"),
        BROKEN("N", "R.", PICKLE_MALFORMED, "P3.underflow", "REDUCE finds nothing on the stack"),
        BROKEN(")", "R.", PICKLE_MALFORMED, "P3.underflow", "REDUCE"),
        BROKEN("ca\nb\n(", "R.", PICKLE_MALFORMED, "P3.underflow", "above the mark"),
        BROKEN("N", "\x93.", PICKLE_MALFORMED, "P3.underflow", "STACK_GLOBAL"),
        BROKEN("", "Q.", PICKLE_MALFORMED, "P3.underflow", "BINPERSID"),
        BROKEN("", "2.", PICKLE_MALFORMED, "P3.top", "DUP finds nothing"),
        BROKEN("N(", "2.", PICKLE_MALFORMED, "P3.top", "DUP finds nothing on the stack above the mark"),
        BROKEN("", "q\0.", PICKLE_MALFORMED, "P3.top", "BINPUT"),
        BROKEN("N(", "\x94.", PICKLE_MALFORMED, "P3.top", "MEMOIZE"),
        BROKEN("", "\x85.", PICKLE_MALFORMED, "P3.tuple", "TUPLE1 finds fewer objects"),
        BROKEN("N", "\x86.", PICKLE_MALFORMED, "P3.tuple", "TUPLE2"),
        BROKEN("NN(N", "\x87.", PICKLE_MALFORMED, "P3.tuple", "TUPLE3 finds fewer objects above the mark"),
        BROKEN("", "t.", PICKLE_MALFORMED, "P3.mark", "TUPLE without a MARK"),
        BROKEN("", "l.", PICKLE_MALFORMED, "P3.mark", "LIST without a MARK"),
        BROKEN("", "d.", PICKLE_MALFORMED, "P3.mark", "DICT without a MARK"),
        BROKEN("]", "e.", PICKLE_MALFORMED, "P3.mark", "APPENDS without a MARK"),
        BROKEN("NN", "u.", PICKLE_MALFORMED, "P3.mark", "SETITEMS without a MARK"),
        BROKEN("\x8f", "\x90.", PICKLE_MALFORMED, "P3.mark", "ADDITEMS without a MARK"),
        BROKEN("N", "1.", PICKLE_MALFORMED, "P3.mark", "POP_MARK without a MARK"),
        BROKEN("N", "\x91.", PICKLE_MALFORMED, "P3.mark", "FROZENSET without a MARK"),
    };
    PARSE_BROKEN(cases);
}

static void fills_find_no_target(void) {
    static const broken_pickle cases[] = {
        BROKEN("(", "e.", PICKLE_MALFORMED, "P3.fill", "APPENDS finds no object below its MARK"),
        BROKEN("(N", "a.", PICKLE_MALFORMED, "P3.target", "APPEND finds no object to fill above the mark"),
        BROKEN("}N", "s.", PICKLE_MALFORMED, "P3.target", "SETITEM finds no object to fill"),
        BROKEN("N", "b.", PICKLE_MALFORMED, "P3.target", "BUILD finds no object to fill"),
        BROKEN("](N", "a.", PICKLE_MALFORMED, "P3.target", "APPEND"),
        BROKEN("](((", "e.", PICKLE_MALFORMED, "P3.fill", "APPENDS"),
        BROKEN("}(N", "u.", PICKLE_MALFORMED, "P3.pairs", "SETITEMS with a key that has no value"),
        BROKEN("(NNN", "d.", PICKLE_MALFORMED, "P3.pairs", "DICT with a key that has no value"),
    };
    PARSE_BROKEN(cases);
}

static void fills_of_what_cannot_be_filled(void) {
    static const broken_pickle cases[] = {
        BROKEN(")N", "a.", PICKLE_MALFORMED, "P6.target", "APPEND on a tuple, which cannot be filled"),
        BROKEN("N(N", "e.", PICKLE_MALFORMED, "P6.target", "APPENDS"),
        BROKEN("N(", "e.", PICKLE_MALFORMED, "P6.target", "APPENDS"), /* of nothing, too */
        BROKEN("N(", "u.", PICKLE_MALFORMED, "P6.target", "SETITEMS"),
        BROKEN("N(", "\x90.", PICKLE_MALFORMED, "P6.target", "ADDITEMS"),
        BROKEN("NNN", "s.", PICKLE_MALFORMED, "P6.target", "SETITEM"),
        BROKEN("(\x91(N", "\x90.", PICKLE_MALFORMED, "P6.target", "ADDITEMS"),
        BROKEN("ca\nb\nN", "b.", PICKLE_MALFORMED, "P6.target", "BUILD on a class or function,"),
        BROKEN("K\1QN", "b.", PICKLE_MALFORMED, "P6.target", "BUILD on a storage,"),
        BROKEN("V1\nN", "b.", PICKLE_MALFORMED, "P6.target", "BUILD on a str,"),
    };
    PARSE_BROKEN(cases);
}

static void the_stream_s_own_frame(void) {
    static const broken_pickle cases[] = {
        BROKEN("N", "\x80\2.", PICKLE_MALFORMED, "P4.proto-first", "PROTO is not the first opcode"),
        BROKEN("\x80\2", "\x80\2N.", PICKLE_MALFORMED, "P4.proto-first", "PROTO is not the first"),
        BROKEN("", "\x80\6N.", PICKLE_MALFORMED, "P4.proto", "pickle protocol 6"),
        BROKEN("\x80\4\x95\x0b\0\0\0\0\0\0\0", "\x95\1\0\0\0\0\0\0\0N..", PICKLE_MALFORMED, "P4.nested", "FRAME inside"),
        /* also in a frame that reaches to the end */
        BROKEN("\x80\4\x95\x0b\0\0\0\0\0\0\0", "\x95\2\0\0\0\0\0\0\0N.", PICKLE_MALFORMED, "P4.nested", "FRAME inside"),
        BROKEN("\x95\3\0\0\0\0\0\0\0", "J\0\0\0\0.", PICKLE_MALFORMED, "P4.crosses",
               "BININT needs 4 bytes, its frame has 2 left"),
        BROKEN("\x95\2\0\0\0\0\0\0\0", "I1\n.", PICKLE_MALFORMED, "P2.newline", "INT without the newline"),
        BROKEN("N(", ".", PICKLE_MALFORMED, "P3.stop-mark", "STOP with a MARK"),
        BROKEN("", ".", PICKLE_MALFORMED, "P3.stop", "STOP with 0 objects"),
        BROKEN("NN", ".", PICKLE_MALFORMED, "P3.stop", "STOP with 2 objects"),
        BROKEN("N", "..", PICKLE_MALFORMED, "P3.trailing", "1 bytes follow STOP"),
        BROKEN("N", ".\x80\2N.", PICKLE_MALFORMED, "P3.trailing", "4 bytes follow STOP"),
    };
    PARSE_BROKEN(cases);
}

static void the_memo_s_indices(void) {
    static const broken_pickle cases[] = {
        BROKEN("", "h\0.", PICKLE_MALFORMED, "P5.missing", "BINGET 0: nothing was put there"),
        BROKEN("Nq\0", "h\1.", PICKLE_MALFORMED, "P5.missing", "BINGET 1"),
        BROKEN("Nq\5", "h\4.", PICKLE_MALFORMED, "P5.missing", "BINGET 4"),
        BROKEN("", "j\xff\xff\xff\xff.", PICKLE_MALFORMED, "P5.missing", "LONG_BINGET 4294967295"),
        BROKEN("", "g18446744073709551616\n.", PICKLE_MALFORMED, "P5.missing", "GET"),
        BROKEN("N", "p4294967296\n.", PICKLE_MALFORMED, "P5.range", "PUT 4294967296: no memo is that large"),
        BROKEN("N", "p99999999999999999999\n.", PICKLE_MALFORMED, "P5.range", "PUT"),
    };
    PARSE_BROKEN(cases);
}

static void calls_and_names(void) {
    static const broken_pickle cases[] = {
        BROKEN("ca\nb\nN", "R.", PICKLE_MALFORMED, "P8.tuple", "REDUCE with arguments that are not a tuple"),
        BROKEN("ca\nb\n]", "\x81.", PICKLE_MALFORMED, "P8.tuple", "NEWOBJ with arguments"),
        BROKEN("V" "a\nK\1", "\x93.", PICKLE_MALFORMED, "P7.stack-global", "not a str"),
        BROKEN("NV" "a\n", "\x93.", PICKLE_MALFORMED, "P7.stack-global", "not a str"),
        BROKEN("", "\x8c\1\xff.", PICKLE_MALFORMED, "P15.utf8", "SHORT_BINUNICODE holds text that is not UTF-8"),
        BROKEN("", "X\2\0\0\0\xc3(.", PICKLE_MALFORMED, "P15.utf8", "BINUNICODE"),
        BROKEN("", "Pabc\n.", OPCODE_FORBIDDEN, "P9.persid", "the pickle uses PERSID"),
        BROKEN("", "\x82\1.", OPCODE_FORBIDDEN, "P9.opcode", "EXT1"),
        BROKEN("", "\x83\1\0.", OPCODE_FORBIDDEN, "P9.opcode", "EXT2"),
        BROKEN("", "\x84\1\0\0\0.", OPCODE_FORBIDDEN, "P9.opcode", "EXT4"),
        BROKEN("", "\x97.", OPCODE_FORBIDDEN, "P9.opcode", "NEXT_BUFFER"),
        BROKEN("N", "\x98.", OPCODE_FORBIDDEN, "P9.opcode", "READONLY_BUFFER"),
        BROKEN("ca\nb\n)}", "\x92.", OPCODE_FORBIDDEN, "P9.opcode", "NEWOBJ_EX"),
        BROKEN("(ca\nb\n", "o.", OPCODE_FORBIDDEN, "P9.opcode", "OBJ"),
        BROKEN("(", "ia\nb\n.", OPCODE_FORBIDDEN, "P9.inst", "the pickle uses INST"),
    };
    PARSE_BROKEN(cases);
    static const broken_pickle inert[] = {
        BROKEN("ca\nb\n)N", "\x92.", PICKLE_MALFORMED, "P8.keywords", "keywords that are not a dict"),
        BROKEN("ca\nb\nN}", "\x92.", PICKLE_MALFORMED, "P8.newobj-ex", "arguments that are not a tuple"),
        BROKEN("}", "\x92.", PICKLE_MALFORMED, "P3.tuple", "NEWOBJ_EX"),
        BROKEN(")}", "\x92.", PICKLE_MALFORMED, "P3.underflow", "NEWOBJ_EX"),
        BROKEN("(", "o.", PICKLE_MALFORMED, "P3.obj", "OBJ without a class"),
        BROKEN("", "o.", PICKLE_MALFORMED, "P3.mark", "OBJ without a MARK"),
        BROKEN("", "ia\nb\n.", PICKLE_MALFORMED, "P3.mark", "INST without a MARK"),
        BROKEN("", "Pabc\n.", OPCODE_FORBIDDEN, "P9.persid", "PERSID"),
    };
    PARSE_BROKEN_INERT(inert);
}

static void names_for_stack_global_are_short(void) {
    pickle_buffer p = {0};
    ptio_graph graph;
    ptio_error err = {0};
    uint8_t *copy;
    static const uint32_t sizes[][2] = {{512, 512}, {512, 513}, {513, 512}};
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        p.size = 0;
        for (size_t text = 0; text < 2; text++) {
            ADD(&p, "X");
            pickle_add_u32(&p, sizes[i][text]);
            ADD_TIMES(&p, "a", sizes[i][text]);
        }
        ADD(&p, "\x93.");
        ptio_status status = parse_copy(p.bytes, p.size, false, &copy, &graph, &err);
        if (i == 0) ASSERT_TRUE(status == PTIO_OK);
        else ASSERT_FAILS(status, PICKLE_MALFORMED, "P7.length", "over 512 bytes", p.size - 2);
        ptio_graph_free(&graph);
        free(copy);
    }
    pickle_free(&p);
}

/* Every opcode is in the table once, and has its name from there. */
static void opcodes_have_names(void) {
    unsigned count = 0;
    for (unsigned byte = 0; byte < 256; byte++) count += ptio_opcode_name((uint8_t)byte) != NULL;
    ASSERT_EQUAL(count, 68);
    ASSERT_TEXT(ptio_opcode_name('.'), "STOP");
    ASSERT_TEXT(ptio_opcode_name(0x98), "READONLY_BUFFER");
    ASSERT_TRUE(ptio_opcode_name(0) == NULL);
}

/* --- limits --------------------------------------------------------------------------------------- */

static void objects_are_counted(void) {
    pickle_buffer p = {0};
    ptio_graph graph;
    ptio_error err = {0};
    ptio_parse_options options = {.max_nodes = 100, .max_bytes = UINT64_MAX};
    ADD(&p, "(");
    ADD_TIMES(&p, "]", 100);
    ADD(&p, "l."); /* the list and its fill are 102 */
    ASSERT_FAILS(ptio_pickle_parse(p.bytes, p.size, &options, &graph, &err), LIMIT, "R.objects",
                 "more than 100 objects", p.size - 2);
    ptio_graph_free(&graph);
    options.max_nodes = 102;
    ASSERT_OK(ptio_pickle_parse(p.bytes, p.size, &options, &graph, &err));
    ptio_graph_free(&graph);
    /* A stream of many more does not get to its end. */
    p.size = 0;
    ADD_TIMES(&p, "]", 100000);
    options.max_nodes = 100;
    ASSERT_TRUE(ptio_pickle_parse(p.bytes, p.size, &options, &graph, &err) == PTIO_E_LIMIT);
    ASSERT_TEXT(err.check, "R.objects");
    ASSERT_CONTAINS(err.message, "more than 100 objects");
    ASSERT_EQUAL(err.offset, 100);
    ptio_graph_free(&graph);
    pickle_free(&p);
}

static void memory_is_counted(void) {
    pickle_buffer p = {0};
    ptio_graph graph;
    ptio_error err = {0};
    ptio_parse_options options = {.max_nodes = UINT64_MAX, .max_bytes = 100000};
    ADD_TIMES(&p, "]", 100000);
    ASSERT_TRUE(ptio_pickle_parse(p.bytes, p.size, &options, &graph, &err) == PTIO_E_LIMIT);
    ASSERT_TEXT(err.check, "R.graph");
    ASSERT_CONTAINS(err.message, "more than 100000 bytes");
    ASSERT_TRUE(err.offset != PTIO_NO_OFFSET);
    ptio_graph_free(&graph);
    pickle_free(&p);
}

/* Sizes that no test can have: the machine is told that it is there already. */
static void counters_do_not_wrap(void) {
    static const uint8_t pickle[] = "]Na.";
    ptio_graph graph;
    ptio_error err = {0};
    ptio_parse_options options = {.max_nodes = UINT64_MAX, .max_bytes = UINT64_MAX};
    ptio_machine m = {.start = pickle, .at = pickle + 3, .end = pickle + 4, .limit = pickle + 4,
                      .opcode = pickle + 2, .options = &options, .graph = &graph, .err = &err};
    ASSERT_OK(ptio_graph_init(&graph, pickle, sizeof pickle - 1, 0, &err));
    ASSERT_FAILS(ptio_machine_push_text(&m, PTIO_N_STR, 0, UINT32_MAX), LIMIT, "R.text", "a text of 4294967295 bytes", 2);
    graph.nodes[graph.count++] = (ptio_node){.kind = PTIO_N_LIST};
    graph.ref_count = graph.ref_capacity = UINT32_MAX - 2;
    m.height = 0;
    ASSERT_FAILS(ptio_machine_fill(&m, PTIO_N_APPEND, PTIO_FIRST_FREE_NODE, 1), LIMIT, "R.refs", "more than 4294967295 items", 2);
    graph.ref_count = graph.ref_capacity = 0;
    size_t count = graph.count;
    graph.count = PTIO_NO_NODE;
    ASSERT_FAILS(ptio_machine_more_nodes(&m), LIMIT, "R.objects", "more than 4294967035 objects", 2);
    graph.count = count;
    ptio_graph_free(&graph);
}

/* --- offsets of nodes ------------------------------------------------------------------------------ */

static void nodes_are_located(void) {
    static const char pickle[] = "\x80\2(]NaM\1\1\x85}t.";
    const uint8_t *bytes = (const uint8_t *)pickle;
    const ptio_ref first = PTIO_FIRST_FREE_NODE;
    ASSERT_EQUAL(ptio_pickle_locate(bytes, sizeof pickle - 1, first), 3);     /* the list */
    ASSERT_EQUAL(ptio_pickle_locate(bytes, sizeof pickle - 1, first + 1), 5); /* APPEND */
    ASSERT_EQUAL(ptio_pickle_locate(bytes, sizeof pickle - 1, first + 2), 6);
    ASSERT_EQUAL(ptio_pickle_locate(bytes, sizeof pickle - 1, first + 3), 9);
    ASSERT_EQUAL(ptio_pickle_locate(bytes, sizeof pickle - 1, first + 4), 10);
    ASSERT_EQUAL(ptio_pickle_locate(bytes, sizeof pickle - 1, first + 5), 11);
    ASSERT_EQUAL(ptio_pickle_locate(bytes, sizeof pickle - 1, first + 6), PTIO_NO_OFFSET);
    /* LIST makes two nodes at once */
    ASSERT_EQUAL(ptio_pickle_locate((const uint8_t *)"(Nl.", 4, first), 2);
    ASSERT_EQUAL(ptio_pickle_locate((const uint8_t *)"(Nl.", 4, first + 1), 2);
}

/* Every prefix of a stream with every opcode fails, and none is read beyond its end. */
static void every_truncation_fails(void) {
    static const char all[] =
        "\x80\5\x95\x08\0\0\0\0\0\0\0(NN\x88\x89I1\nL2L\n" "F1.5\nS'a'\nT\1\0\0\0bU\1cVd\nX\1\0\0\0e\x8c\1f"
        "\x8d\1\0\0\0\0\0\0\0g" "B\1\0\0\0hC\1i\x8e\1\0\0\0\0\0\0\0j\x96\1\0\0\0\0\0\0\0kJ\1\0\0\0K\1M\1\0\x8a\1\1"
        "\x8b\1\0\0\0\1G\0\0\0\0\0\0\0\0]Na(NNe}NNs(NNu\x8f(N\x90(N\x91)N\x85NN\x86NNN\x87(Nl(NNdca\nb\n)R"
        "ca\nb\n)\x81}bVa\nVb\n\x93N0N2(1Np5\ng5\nNq\6h\6Nr\7\0\0\0j\7\0\0\0N\x94K\1Qt.";
    ptio_error err;
    ptio_graph graph;
    uint8_t *copy;
    for (size_t n = 0; n < sizeof all - 1; n++) {
        ASSERT_EQUAL(parse_copy(all, n, false, &copy, &graph, &err), PTIO_E_PICKLE_MALFORMED);
        ptio_graph_free(&graph);
        free(copy);
    }
    ASSERT_OK(parse_copy(all, sizeof all - 1, false, &copy, &graph, &err));
    ptio_graph_free(&graph);
    free(copy);
}

void suite_pickle(void) {
    RUN(constants_and_small_ints);
    RUN(long_ints);
    RUN(integers_up_to_1024_bytes);
    RUN(text_and_bytes);
    RUN(containers_and_their_fills);
    RUN(the_stack_and_the_memo);
    RUN(recursive_values);
    RUN(globals_and_calls);
    RUN(objects_that_are_data_when_asked_for);
    RUN(protocols_and_frames);
    RUN(arguments_end_early);
    RUN(streams_without_an_end);
    RUN(the_stack_runs_out);
    RUN(fills_find_no_target);
    RUN(fills_of_what_cannot_be_filled);
    RUN(the_stream_s_own_frame);
    RUN(the_memo_s_indices);
    RUN(calls_and_names);
    RUN(names_for_stack_global_are_short);
    RUN(opcodes_have_names);
    RUN(objects_are_counted);
    RUN(memory_is_counted);
    RUN(counters_do_not_wrap);
    RUN(nodes_are_located);
    RUN(every_truncation_fails);
}
