/* SPDX-License-Identifier: Apache-2.0
 *
 * Runs the suites named in suites.def; with an argument, only the tests whose name
 * contains it.
 */
#include <stdarg.h>
#include <stdlib.h>

#include "test.h"

#define SUITE(name) void suite_##name(void);
#include "suites.def"
#undef SUITE

test_tally tally;

void test_fail(const char *file, int line, const char *format, ...) {
    va_list args;
    va_start(args, format);
    printf("%s:%d: ", file, line);
    vprintf(format, args);
    printf("\n");
    va_end(args);
    tally.failures_here++;
}

void test_error(const char *file, int line, ptio_status returned, const ptio_error *err, ptio_status status,
                const char *check, const char *fragment, uint64_t offset) {
    if (returned == PTIO_OK) {
        test_fail(file, line, "succeeded, expected %s %s", ptio_status_name(status), check);
        return;
    }
    if (returned != status || err->status != status || strcmp(err->check, check) != 0)
        test_fail(file, line, "failed with %s %s (%s), expected %s %s", ptio_status_name(returned), err->check,
                  err->message, ptio_status_name(status), check);
    else if (strstr(err->message, fragment) == NULL)
        test_fail(file, line, "message \"%s\" is without \"%s\"", err->message, fragment);
    else if (err->offset != offset)
        test_fail(file, line, "%s at byte %llu, expected %llu", check, (unsigned long long)err->offset,
                  (unsigned long long)offset);
}

void test_run(void (*function)(void), const char *name) {
    if (tally.only != NULL && strstr(name, tally.only) == NULL) return;
    tally.failures_here = 0;
#ifdef PTIO_CHECK_REMOVAL
    printf("test %s\n", name);
#endif
    function();
    if (tally.failures_here == 0) {
        tally.passed++;
    } else {
        tally.failed++;
        printf("FAILED %s\n", name);
    }
}

#ifdef PTIO_CHECK_REMOVAL
/* Asked where a check is about to refuse: says so, for check_removal.py. */
bool ptio_check_is_on(const char *id) {
    const char *without = getenv("PTIO_WITHOUT_CHECK");
    if (without == NULL) printf("refused by %s\n", id);
    return without == NULL || strcmp(without, id) != 0;
}
#endif

int main(int argc, char **argv) {
    if (argc > 1) tally.only = argv[1];
    setvbuf(stdout, NULL, _IOLBF, 0);
#define SUITE(name) suite_##name();
#include "suites.def"
#undef SUITE
    printf("%u passed, %u failed\n", tally.passed, tally.failed);
    return tally.failed == 0 ? 0 : 1;
}
