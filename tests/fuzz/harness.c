/* SPDX-License-Identifier: Apache-2.0 */
#include "harness.h"

#include <stdio.h>
#include <stdlib.h>

/* Hash tables are laid out the same in each run of an input: else coverage would be noise. */
int __wrap_getentropy(void *bytes, size_t n);
int __wrap_getentropy(void *bytes, size_t n) {
    memset(bytes, 0x5A, n);
    return 0;
}

#if __has_feature(memory_sanitizer)
#include <sanitizer/msan_interface.h>
void fuzz_known(uint8_t *bytes, size_t n) { __msan_unpoison(bytes, n); }
#else
void fuzz_known(uint8_t *bytes, size_t n) { (void)bytes, (void)n; }
#endif

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);
size_t fuzz_mutate(uint8_t *data, size_t size, size_t max_size) {
    size_t made = LLVMFuzzerMutate(data, size, max_size);
    fuzz_known(data, made);
    return made;
}

void fuzz_broken(const char *what, const char *file, int line) {
    fprintf(stderr, "%s:%d: a promise is broken: %s\n", file, line, what);
    abort();
}

const ptio_read_options fuzz_reading = {.threads = 1};

/* A caller's rule: the same name gets the same answer. */
static ptio_status judge(void *context, uint32_t global, const uint8_t *module, size_t module_size,
                         const uint8_t *name, size_t name_size, ptio_judgement *judgement, uint16_t *object,
                         ptio_error *err) {
    (void)context, (void)err;
    unsigned sum = global == UINT32_MAX;
    for (size_t i = 0; i < module_size; i++) sum += module[i];
    for (size_t i = 0; i < name_size; i++) sum += name[i];
    *judgement = (ptio_judgement)(sum % 4);
    *object = (uint16_t)sum;
    return PTIO_OK;
}

ptio_checkpoint_options fuzz_options(uint8_t choice) {
    ptio_checkpoint_options options = {.limits = PTIO_LIMITS_DEFAULT};
    options.inert = (choice & 1) != 0;
    options.torch_values = (choice & 2) != 0;
    if (choice & 4) options.judge = judge;
    options.missing_records_ok = (choice & 8) != 0;
    if (choice & 16) options.order_if_missing = PTIO_BIG_ENDIAN;
    options.may_continue = (choice & 32) != 0;
    if (choice & 64)
        options.limits = (ptio_limits){.pickle_bytes = 2000,
                                       .objects = 200,
                                       .object_bytes = 20000,
                                       .inflated_bytes = 2000,
                                       .depth = 10,
                                       .hash_work = 20};
    return options;
}

void fuzz_check_error(ptio_status status, const ptio_error *err) {
    REQUIRE(status != PTIO_OK && status < PTIO_STATUS_COUNT && err->status == status);
    REQUIRE(err->check != NULL && err->check[0] != '\0');
    REQUIRE(memchr(err->message, '\0', sizeof err->message) != NULL && err->message[0] != '\0');
    REQUIRE(memchr(err->record, '\0', sizeof err->record) != NULL);
    for (const char *p = err->message; *p != '\0'; p++) REQUIRE((unsigned char)*p >= ' ' && *p != 0x7F);
    for (const char *p = err->record; *p != '\0'; p++) REQUIRE((unsigned char)*p >= ' ' && *p != 0x7F);
    REQUIRE(status != PTIO_E_NO_MEMORY); /* nothing that an input of a few KiB may ask for */
}

void fuzz_open(const ptio_source *source, const ptio_checkpoint_options *options, bool archive) {
    ptio_checkpoint c;
    ptio_error err = {0};
    ptio_status status = ptio_checkpoint_open(source, options, &c, &err);
    if (status != PTIO_OK) {
        fuzz_check_error(status, &err);
    } else {
        fuzz_prove(&c, options);
        fuzz_use_objects(source, &c, options);
        if (archive) fuzz_use_archive(source, &c, options);
    }
    ptio_checkpoint_free(&c);
}
