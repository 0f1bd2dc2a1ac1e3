/* SPDX-License-Identifier: Apache-2.0
 *
 * Filling in the error value, and making text of a file safe to print. May call
 * nothing but libc; knows neither files nor formats.
 */
#include "error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static const char *const status_names[PTIO_STATUS_COUNT] = {
    [PTIO_OK] = "OK",
#define STATUS(name, exception, hint) [PTIO_E_##name] = #name,
#include "status.def"
#undef STATUS
};

static const char *const status_exceptions[PTIO_STATUS_COUNT] = {
    [PTIO_OK] = "",
#define STATUS(name, exception, hint) [PTIO_E_##name] = exception,
#include "status.def"
#undef STATUS
};

static const char *const status_hints[PTIO_STATUS_COUNT] = {
    [PTIO_OK] = "",
#define STATUS(name, exception, hint) [PTIO_E_##name] = hint,
#include "status.def"
#undef STATUS
};

const char *ptio_status_name(ptio_status status) { return status_names[status]; }
const char *ptio_status_exception(ptio_status status) { return status_exceptions[status]; }
const char *ptio_status_hint(ptio_status status) { return status_hints[status]; }

/* The length of a text of n bytes without half a UTF-8 character at its end. */
static size_t whole_characters(const char *text, size_t n) {
    size_t lead = n;
    while (lead > 0 && n - lead < 4) {
        uint8_t byte = (uint8_t)text[--lead];
        if ((byte & 0xC0) == 0x80) continue;
        size_t length = byte < 0xC0 ? 1 : byte < 0xE0 ? 2 : byte < 0xF0 ? 3 : 4;
        return lead + length > n ? lead : n;
    }
    return n;
}

ptio_status ptio_fail(ptio_error *err, ptio_status status, const char *check, uint64_t offset,
                      const char *format, ...) {
    char text[PTIO_ERROR_TEXT]; /* an argument may be the text of *err itself */
    va_list args;
    va_start(args, format);
    int written = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (written < 0) text[0] = '\0';
    if (written >= (int)sizeof text) text[whole_characters(text, sizeof text - 1)] = '\0';
    err->status = status;
    err->sys_errno = 0;
    err->check = check;
    err->offset = offset;
    err->record[0] = '\0';
    memcpy(err->message, text, sizeof text);
    return status;
}

/* strerror_r has two incompatible signatures; overloading by the type of its
 * result picks the right reading of it. */
static const char *error_text_gnu(const char *result, const char *buffer) {
    (void)buffer;
    return result;
}

static const char *error_text_posix(int result, const char *buffer) { /* GCOV_EXCL_LINE: not glibc's */
    return result == 0 ? buffer : "unknown error";                    /* GCOV_EXCL_LINE: not glibc's */
}

ptio_status ptio_fail_errno(ptio_error *err, const char *call) {
    int code = errno;
    char buffer[256] = "";
    const char *text = _Generic(strerror_r(code, buffer, sizeof buffer),
        char *: error_text_gnu,
        int: error_text_posix)(strerror_r(code, buffer, sizeof buffer), buffer);
    if (code == ENOMEM) return ptio_no_memory(err);
    ptio_fail(err, PTIO_E_IO, "io", PTIO_NO_OFFSET, "%s: %s", call, text);
    err->sys_errno = code;
    return PTIO_E_IO;
}

void ptio_set_no_memory(ptio_error *err) {
    ptio_fail(err, PTIO_E_NO_MEMORY, "memory", PTIO_NO_OFFSET, "out of memory");
}

void ptio_error_in_record(ptio_error *err, const void *name, size_t length) {
    _Static_assert(PTIO_ERROR_RECORD >= PTIO_QUOTED, "a quoted name fits");
    ptio_quote(err->record, name, length);
}

/* Decodes one character of n > 0 bytes and returns its length; 0 where the bytes
 * are not UTF-8. Surrogates decode, as pickles hold them. */
static size_t decode_utf8(const uint8_t *p, size_t n, uint32_t *code) {
    static const uint32_t smallest[5] = {0, 0, 0x80, 0x800, 0x10000};
    size_t length = p[0] < 0x80   ? 1
                    : p[0] < 0xC0 ? 0
                    : p[0] < 0xE0 ? 2
                    : p[0] < 0xF0 ? 3
                    : p[0] < 0xF8 ? 4
                                  : 0;
    if (length == 0 || length > n) return 0;
    uint32_t value = length == 1 ? p[0] : p[0] & (0x7Fu >> length);
    for (size_t i = 1; i < length; i++) {
        if ((p[i] & 0xC0) != 0x80) return 0;
        value = value << 6 | (p[i] & 0x3Fu);
    }
    if (value < smallest[length] || value > 0x10FFFF) return 0;
    *code = value;
    return length;
}

/* Whether a character could move the cursor, forge a line or hide: controls,
 * surrogates, and the format characters that reorder or vanish. */
static bool needs_escape(uint32_t code) {
    if (code < 0x20 || code == '\\' || code == '\'' || code == '"') return true;
    if (code < 0x7F) return false;
    return code <= 0x9F || code == 0xAD || code == 0x61C || code == 0x180E ||
           (code >= 0x200B && code <= 0x200F) || (code >= 0x2028 && code <= 0x202E) ||
           (code >= 0x2060 && code <= 0x206F) || (code >= 0xD800 && code <= 0xDFFF) || code == 0xFEFF ||
           (code >= 0xFFF9 && code <= 0xFFFB) || (code >= 0xE0000 && code <= 0xE0FFF);
}

const char *ptio_quote(char *out, const void *text, size_t length) {
    enum { LONGEST = 80 };
    const uint8_t *p = text;
    size_t at = 0, used = 0;
    while (at < length) {
        char piece[12];
        uint32_t code = p[at];
        size_t step = decode_utf8(p + at, length - at, &code);
        int size;
        if (step == 0) {
            step = 1;
            size = snprintf(piece, sizeof piece, "\\x%02x", (unsigned)p[at]);
        } else if (!needs_escape(code)) {
            memcpy(piece, p + at, step);
            size = (int)step;
        } else {
            const char *format = code < 0x100 ? "\\x%02x" : code < 0x10000 ? "\\u%04x" : "\\U%08x";
            size = snprintf(piece, sizeof piece, format, (unsigned)code);
        }
        if (used + (size_t)size > LONGEST) {
            memcpy(out + used, "...", 3);
            used += 3;
            break;
        }
        memcpy(out + used, piece, (size_t)size);
        used += (size_t)size;
        at += step;
    }
    out[used] = '\0';
    return out;
}
