/* SPDX-License-Identifier: Apache-2.0
 *
 * The opcodes of protocol 0 that carry their argument as a line of text. Our
 * own strict grammar: what no pickler writes is refused (invariant P2).
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* strtod_l */
#endif

#include <errno.h>
#include <locale.h>
#include <stdlib.h>
#ifdef __APPLE__
#include <xlocale.h>
#endif

#include "pickle_machine.h"

enum { MAX_NUMBER = 65536, MAX_NAME = 512, MAX_DIGITS = 640, MAX_FLOAT = 64 };

/* Text may be as long as the pickle: NumPy arrays are one line in protocol 0. */
#define MAX_TEXT (SIZE_MAX / 4)

/* The rest of the line, without its newline. */
static ptio_status take_line(ptio_machine *m, size_t most, const uint8_t **line, size_t *size) {
    size_t left = (size_t)(m->limit - m->at);
    size_t window = left < most + 1 ? left : most + 1;
    const uint8_t *newline = memchr(m->at, '\n', window);
    MACHINE_CHECK(m, newline != NULL || left <= most, "P2.long", "%s with a line over %zu bytes",
                  ptio_machine_opcode(m), most);
    MACHINE_CHECK(m, newline != NULL, "P2.newline", "%s without the newline that ends it",
                  ptio_machine_opcode(m));
    *line = m->at;
    *size = (size_t)(newline - m->at);
    m->at = newline + 1;
    return PTIO_OK;
}

static bool is_digit(uint8_t c) { return c >= '0' && c <= '9'; }

static size_t digits_at(const uint8_t *text, size_t size) {
    size_t n = 0;
    while (n < size && is_digit(text[n])) n++;
    return n;
}

/* -?[0-9]+ as Python writes it: readers disagree on what 010 and -0 are. */
static ptio_status check_decimal(ptio_machine *m, const uint8_t *text, size_t size) {
    size_t sign = size > 0 && text[0] == '-';
    size_t digits = size - sign;
    char quoted[PTIO_QUOTED];
    MACHINE_CHECK(m, digits > 0 && digits_at(text + sign, digits) == digits, "P2.decimal",
                  "%s '%s' is no decimal number", ptio_machine_opcode(m), ptio_quote(quoted, text, size));
    MACHINE_CHECK(m, text[sign] != '0' || size == 1, "P2.zero", "%s '%s' begins with a needless zero",
                  ptio_machine_opcode(m), ptio_quote(quoted, text, size));
    MACHINE_CHECK(m, digits <= MAX_DIGITS, "P2.digits", "an integer of %zu digits, at most %d are read",
                  digits, MAX_DIGITS);
    return PTIO_OK;
}

static ptio_status push_decimal(ptio_machine *m, const uint8_t *text, size_t size) {
    ptio_node *node;
    uint64_t magnitude = 0;
    bool negative = text[0] == '-';
    bool fits = true;
    for (size_t i = negative; i < size && fits; i++)
        fits = ptio_mul_u64(magnitude, 10, &magnitude) &&
               ptio_add_u64(magnitude, (uint64_t)(text[i] - '0'), &magnitude);
    if (!fits || magnitude > (uint64_t)INT64_MAX)
        return ptio_machine_push_text(m, PTIO_N_BIG_DECIMAL, (uint64_t)(text - m->start), size);
    PTIO_TRY(machine_push_node(m, PTIO_N_INT, &node));
    node->integer = negative ? -(int64_t)magnitude : (int64_t)magnitude;
    return PTIO_OK;
}

ptio_status ptio_op_int(ptio_machine *m) {
    const uint8_t *line;
    size_t size;
    PTIO_TRY(take_line(m, MAX_NUMBER, &line, &size));
    if (size == 2 && line[0] == '0' && (line[1] == '0' || line[1] == '1'))
        return machine_push(m, line[1] == '1' ? PTIO_NODE_TRUE : PTIO_NODE_FALSE);
    PTIO_TRY(check_decimal(m, line, size));
    return push_decimal(m, line, size);
}

ptio_status ptio_op_long(ptio_machine *m) {
    const uint8_t *line;
    size_t size;
    PTIO_TRY(take_line(m, MAX_NUMBER, &line, &size));
    MACHINE_CHECK(m, size > 0 && line[size - 1] == 'L', "P2.long-suffix", "LONG without its final L");
    PTIO_TRY(check_decimal(m, line, size - 1));
    return push_decimal(m, line, size - 1);
}

/* --- FLOAT: what repr(float) writes, nothing else ---------------------------- */

static bool is_float_text(const uint8_t *text, size_t size) {
    size_t at = size > 0 && text[0] == '-';
    size_t whole = digits_at(text + at, size - at), fraction = 0;
    if (size - at == 3 && (memcmp(text + at, "inf", 3) == 0 || memcmp(text + at, "nan", 3) == 0)) return true;
    at += whole;
    if (at < size && text[at] == '.') {
        fraction = digits_at(text + at + 1, size - at - 1);
        at += 1 + fraction;
    }
    if (whole + fraction == 0) return false;
    if (at < size && (text[at] == 'e' || text[at] == 'E')) {
        at++;
        if (at < size && (text[at] == '-' || text[at] == '+')) at++;
        size_t exponent = digits_at(text + at, size - at);
        if (exponent == 0) return false;
        at += exponent;
    }
    return at == size;
}

/* strtod in the C locale, whatever the process has set. */
static ptio_status read_double(ptio_machine *m, const char *text, double *out) {
    locale_t c_locale = newlocale(LC_NUMERIC_MASK, "C", (locale_t)0);
    if (c_locale == (locale_t)0) return ptio_no_memory(m->err);
    *out = strtod_l(text, NULL, c_locale);
    freelocale(c_locale);
    return PTIO_OK;
}

ptio_status ptio_op_float(ptio_machine *m) {
    char text[MAX_FLOAT + 1], quoted[PTIO_QUOTED];
    const uint8_t *line;
    size_t size;
    double value = 0;
    ptio_node *node;
    PTIO_TRY(take_line(m, MAX_FLOAT, &line, &size));
    MACHINE_CHECK(m, is_float_text(line, size), "P2.float", "FLOAT '%s' is no number",
                  ptio_quote(quoted, line, size));
    memcpy(text, line, size);
    text[size] = '\0';
    PTIO_TRY(read_double(m, text, &value));
    bool written_inf = text[size - 1] == 'f';
    MACHINE_CHECK(m, written_inf || value - value == 0 || value != value, "P2.float-range",
                  "FLOAT '%s' is larger than any float", text);
    PTIO_TRY(machine_push_node(m, PTIO_N_FLOAT, &node));
    node->real = value;
    return PTIO_OK;
}

/* --- STRING and UNICODE: text with escapes -------------------------------------- */

static ptio_status reserve_unescaped(ptio_machine *m, size_t size) {
    ptio_graph *graph = m->graph;
    void *bytes = graph->unescaped;
    PTIO_TRY(ptio_arena_grow(&graph->arena, &bytes, &graph->unescaped_capacity, graph->unescaped_size + size,
                             1, m->err));
    graph->unescaped = bytes;
    return PTIO_OK;
}

static int hex_digit(uint8_t c) {
    if (is_digit(c)) return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

/* n hex digits at text, or false. */
static bool hex_number(const uint8_t *text, size_t left, unsigned n, uint32_t *value) {
    *value = 0;
    if (left < n) return false;
    for (unsigned i = 0; i < n; i++) {
        int digit = hex_digit(text[i]);
        if (digit < 0) return false;
        *value = *value << 4 | (uint32_t)digit;
    }
    return true;
}

/* One escape of Python 2's repr(str) behind its backslash: how many bytes it
 * takes and what it means; 0 if it is none. */
static size_t string_escape(const uint8_t *text, size_t left, uint8_t *byte) {
    static const char names[] = "\\'\"nrtabfv", values[] = "\\'\"\n\r\t\a\b\f\v";
    uint32_t value;
    const char *name;
    if (left == 0) return 0;
    if (text[0] == 'x') {
        if (!hex_number(text + 1, left - 1, 2, &value)) return 0;
        *byte = (uint8_t)value;
        return 3;
    }
    if (text[0] >= '0' && text[0] <= '7') {
        size_t n = 0;
        for (value = 0; n < 3 && n < left && text[n] >= '0' && text[n] <= '7'; n++)
            value = value << 3 | (uint32_t)(text[n] - '0');
        *byte = (uint8_t)value;
        return value <= 0xFF ? n : 0;
    }
    name = memchr(names, text[0], sizeof names - 1);
    if (name == NULL) return 0;
    *byte = (uint8_t)values[name - names];
    return 1;
}

ptio_status ptio_op_string(ptio_machine *m) {
    const uint8_t *line;
    size_t size;
    ptio_graph *graph = m->graph;
    PTIO_TRY(take_line(m, MAX_TEXT, &line, &size));
    MACHINE_CHECK(m, size >= 2 && (line[0] == '\'' || line[0] == '"') && line[size - 1] == line[0],
                  "P2.quotes", "STRING without matching quotes");
    PTIO_TRY(reserve_unescaped(m, size));
    size_t begin = graph->unescaped_size;
    for (size_t at = 1; at < size - 1;) {
        uint8_t byte = line[at++];
        if (byte == '\\') {
            size_t taken = string_escape(line + at, size - 1 - at, &byte);
            MACHINE_CHECK(m, taken > 0, "P2.escape", "STRING with a bad escape");
            at += taken;
        }
        graph->unescaped[graph->unescaped_size++] = byte;
    }
    return ptio_machine_push_text(m, PTIO_N_PY2_STR, graph->pickle_size + begin,
                                  graph->unescaped_size - begin);
}

/* raw-unicode-escape: \uXXXX and \UXXXXXXXX, every other byte is Latin-1. A
 * backslash is an escape only after an even number of backslashes, and a pair
 * of surrogates that Python 2 wrote stays two code points. */
static ptio_status next_character(ptio_machine *m, const uint8_t *text, size_t left, size_t *taken,
                                  uint32_t *code) {
    *taken = 1;
    *code = text[0];
    if (text[0] != '\\' || left < 2 || (text[1] != 'u' && text[1] != 'U')) return PTIO_OK;
    unsigned digits = text[1] == 'u' ? 4 : 8;
    MACHINE_CHECK(m, hex_number(text + 2, left - 2, digits, code), "P2.unicode-escape",
                  "UNICODE with a bad escape");
    MACHINE_CHECK(m, *code <= 0x10FFFF, "P2.unicode-range", "UNICODE with a code point above 10FFFF");
    *taken = 2 + digits;
    return PTIO_OK;
}

ptio_status ptio_op_unicode(ptio_machine *m) {
    const uint8_t *line;
    size_t size, taken;
    uint32_t code;
    ptio_graph *graph = m->graph;
    PTIO_TRY(take_line(m, MAX_TEXT, &line, &size));
    PTIO_TRY(reserve_unescaped(m, 2 * size + 4));
    size_t begin = graph->unescaped_size;
    for (size_t at = 0; at < size; at += taken) {
        bool pair = line[at] == '\\' && at + 1 < size && line[at + 1] == '\\';
        PTIO_TRY(next_character(m, line + at, size - at, &taken, &code));
        for (unsigned copies = 1 + pair; copies > 0; copies--)
            graph->unescaped_size += ptio_utf8_put(graph->unescaped + graph->unescaped_size, code);
        taken += pair;
    }
    return ptio_machine_push_str(m, graph->pickle_size + begin, graph->unescaped_size - begin);
}

/* --- names and memo indices ------------------------------------------------------- */

ptio_status ptio_op_global(ptio_machine *m) {
    const uint8_t *module, *name;
    size_t module_size, name_size;
    PTIO_TRY(take_line(m, MAX_NAME, &module, &module_size));
    PTIO_TRY(take_line(m, MAX_NAME, &name, &name_size));
    return ptio_machine_push_global(m, (uint64_t)(module - m->start), module_size, name_size);
}

ptio_status ptio_op_inst(ptio_machine *m) {
    ptio_ref arguments, callee;
    PTIO_CHECK(m->options->old_calls, "P9.inst", m->err, OPCODE_FORBIDDEN, MACHINE_OFFSET(m),
               "the pickle uses INST, which makes an object of a class that it names");
    PTIO_TRY(ptio_op_global(m));
    PTIO_TRY(machine_pop(m, &callee));
    PTIO_TRY(ptio_machine_tuple_of_mark(m, &arguments));
    return ptio_machine_push_call(m, PTIO_N_CALL, callee, arguments);
}

ptio_status ptio_op_persid(ptio_machine *m) {
    const uint8_t *line;
    size_t size;
    ptio_ref id;
    ptio_node *node;
    PTIO_CHECK(m->options->text_ids, "P9.persid", m->err, OPCODE_FORBIDDEN, MACHINE_OFFSET(m),
               "the pickle uses PERSID, which names things outside the file");
    PTIO_TRY(take_line(m, MAX_NAME, &line, &size));
    PTIO_TRY(ptio_machine_push_str(m, (uint64_t)(line - m->start), size));
    PTIO_TRY(machine_pop(m, &id));
    PTIO_TRY(machine_push_node(m, PTIO_N_PERSID, &node));
    node->a = id;
    return PTIO_OK;
}

static ptio_status take_index(ptio_machine *m, uint64_t *index) {
    const uint8_t *line;
    size_t size;
    char quoted[PTIO_QUOTED];
    *index = 0;
    PTIO_TRY(take_line(m, MAX_NAME, &line, &size));
    MACHINE_CHECK(m, size > 0 && digits_at(line, size) == size, "P2.index", "%s '%s' is no index",
                  ptio_machine_opcode(m), ptio_quote(quoted, line, size));
    for (size_t i = 0; i < size && *index <= UINT32_MAX; i++)
        *index = *index * 10 + (uint64_t)(line[i] - '0');
    return PTIO_OK;
}

ptio_status ptio_op_get(ptio_machine *m) {
    uint64_t index;
    PTIO_TRY(take_index(m, &index));
    return ptio_machine_memo_get(m, index);
}

ptio_status ptio_op_put(ptio_machine *m) {
    uint64_t index;
    PTIO_TRY(take_index(m, &index));
    return ptio_machine_memo_put(m, index);
}
