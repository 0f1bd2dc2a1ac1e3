/* SPDX-License-Identifier: Apache-2.0
 *
 * The one error value of the core: what failed, where, and in words. Every
 * fallible function returns a ptio_status, takes the error last and leaves its
 * outputs untouched when it fails. csrc/py/errors.c turns errors into
 * exceptions; nothing else reads the fields.
 */
#ifndef PTIO_ERROR_H
#define PTIO_ERROR_H

#include "base.h"

typedef enum {
    PTIO_OK = 0,
#define STATUS(name, exception, hint) PTIO_E_##name,
#include "status.def"
#undef STATUS
    PTIO_STATUS_COUNT
} ptio_status;

#define PTIO_NO_OFFSET UINT64_MAX
#define PTIO_ERROR_TEXT 640
#define PTIO_ERROR_RECORD 96
#define PTIO_QUOTED 84 /* room for quoted text: 80 characters and "...", see ptio_quote */

typedef struct {
    ptio_status status;
    int sys_errno;     /* of a PTIO_E_IO */
    const char *check; /* id of the check that failed ("Z4.count"), never NULL */
    uint64_t offset;   /* byte of the file where the check is one of F or Z, else of the record */
    char record[PTIO_ERROR_RECORD]; /* member of the archive, escaped */
    char message[PTIO_ERROR_TEXT];
} ptio_error;

/* Fills *err and returns status, so that a check is `return ptio_fail(...)`. */
ptio_status ptio_fail(ptio_error *err, ptio_status status, const char *check, uint64_t offset,
                      const char *format, ...) PTIO_PRINTF(5, 6) __attribute__((cold));

/* The same for a failed system call: keeps errno and names the call. */
ptio_status ptio_fail_errno(ptio_error *err, const char *call) __attribute__((cold));

void ptio_set_no_memory(ptio_error *err) __attribute__((cold));

/* A constant, as in PTIO_CHECK. */
static inline ptio_status ptio_no_memory(ptio_error *err) {
    ptio_set_no_memory(err);
    return PTIO_E_NO_MEMORY;
}

/* Says in which member of the archive an error that is already set happened. */
void ptio_error_in_record(ptio_error *err, const void *name, size_t length);

/* Text of a file as it may stand in a message: one line, escaped, cut at 80
 * characters. Returns out, which holds at least PTIO_QUOTED bytes. */
const char *ptio_quote(char *out, const void *text, size_t length);

const char *ptio_status_name(ptio_status status);      /* "ZIP_MALFORMED" */
const char *ptio_status_exception(ptio_status status); /* "FormatError", or "" */
const char *ptio_status_hint(ptio_status status);

/* One invariant of docs/security.md. The id is unique in the source, so that
 * tests/c/check_removal.py can switch it off by name and show that a test
 * notices: the C tests define the function, and see which checks refuse what. */
#ifdef PTIO_CHECK_REMOVAL
bool ptio_check_is_on(const char *id);
#else
#define ptio_check_is_on(id) true
#endif

#define PTIO_CHECK(condition, id, err, status, offset, ...)                        \
    do {                                                                           \
        if (PTIO_UNLIKELY(!(condition)) && ptio_check_is_on(id)) {                 \
            ptio_fail((err), PTIO_E_##status, (id), (offset), __VA_ARGS__);        \
            return PTIO_E_##status; /* a constant: compilers see that it failed */ \
        }                                                                          \
    } while (0)

/* Hands a failure on. */
#define PTIO_TRY(call)                                                         \
    do {                                                                       \
        ptio_status status_of_call_ = (call);                                  \
        if (PTIO_UNLIKELY(status_of_call_ != PTIO_OK)) return status_of_call_; \
    } while (0)

#endif
