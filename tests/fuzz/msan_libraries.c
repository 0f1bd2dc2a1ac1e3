/* SPDX-License-Identifier: Apache-2.0
 *
 * libzip, zlib and libdeflate are not built with MemorySanitizer, so it does not see what they
 * write. These wrappers (ld --wrap) tell it.
 */
#include <sanitizer/msan_interface.h>
#include <zip.h>

#define WRAPPED(result, name, ...)     \
    result __real_##name(__VA_ARGS__); \
    result __wrap_##name(__VA_ARGS__); \
    result __wrap_##name(__VA_ARGS__)

WRAPPED(void, zip_error_init, zip_error_t *error) {
    __real_zip_error_init(error);
    __msan_unpoison(error, sizeof *error);
}

WRAPPED(void, zip_error_set, zip_error_t *error, int code, int system) {
    __real_zip_error_set(error, code, system);
    __msan_unpoison(error, sizeof *error);
}

WRAPPED(const char *, zip_error_strerror, zip_error_t *error) {
    const char *text = __real_zip_error_strerror(error);
    __msan_unpoison_string(text);
    return text;
}

WRAPPED(void, zip_stat_init, zip_stat_t *stat) {
    __real_zip_stat_init(stat);
    __msan_unpoison(stat, sizeof *stat);
}

/* Calls that hand memory of libzip to libc, which MemorySanitizer would look at. */
#define UNSEEN(type, result, call)              \
    __msan_scoped_disable_interceptor_checks(); \
    type result = call;                         \
    __msan_scoped_enable_interceptor_checks()

WRAPPED(zip_t *, zip_open_from_source, zip_source_t *from, int flags, zip_error_t *error) {
    UNSEEN(zip_t *, zip, __real_zip_open_from_source(from, flags, error));
    return zip;
}

WRAPPED(zip_file_t *, zip_fopen_index, zip_t *zip, zip_uint64_t number, zip_flags_t flags) {
    UNSEEN(zip_file_t *, file, __real_zip_fopen_index(zip, number, flags));
    return file;
}

WRAPPED(int, zip_stat_index, zip_t *zip, zip_uint64_t number, zip_flags_t flags, zip_stat_t *stat) {
    UNSEEN(int, result, __real_zip_stat_index(zip, number, flags, stat));
    __msan_unpoison(stat, sizeof *stat);
    if (result == 0 && stat->name != NULL) __msan_unpoison_string(stat->name);
    return result;
}

WRAPPED(zip_int64_t, zip_fread, zip_file_t *file, void *buffer, zip_uint64_t n) {
    UNSEEN(zip_int64_t, got, __real_zip_fread(file, buffer, n));
    if (got > 0) __msan_unpoison(buffer, (size_t)got);
    return got;
}

/* libzip calls back with arguments and memory of its own. One archive is open at a time. */
static struct {
    zip_source_callback call;
    void *context;
} source;

__attribute__((no_sanitize("memory"))) static zip_int64_t forward(void *context, void *data, zip_uint64_t n,
                                                                  zip_source_cmd_t command) {
    (void)context;
    if (command != ZIP_SOURCE_READ && data != NULL) __msan_unpoison(data, (size_t)n);
    return source.call(source.context, data, n, command);
}

WRAPPED(zip_source_t *, zip_source_function_create, zip_source_callback call, void *context,
        zip_error_t *error) {
    source.call = call;
    source.context = context;
    return __real_zip_source_function_create(forward, context, error);
}
