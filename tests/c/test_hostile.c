/* SPDX-License-Identifier: Apache-2.0
 *
 * What hostile pickles may cost: a second and one more per 10 MB, 64 MiB + 32 x the size. Each
 * pickle is opened in a process of its own, so that its memory can be seen.
 */
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "pickle_builder.h"

void suite_hostile(void);

enum { FILE_SIZE = 2000000 };

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SLOWED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define SLOWED 1
#endif
#endif
#ifndef SLOWED
#define SLOWED 0
#endif

static long resident_kib(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_maxrss; /* KiB on Linux */
}

typedef struct {
    double seconds;
    long kib;
    ptio_status status;
    char check[32];
} cost;

static void open_and_measure(const pickle_buffer *p, bool inert, cost *out) {
    ptio_error err = {0};
    opened o;
    ptio_checkpoint_options options = default_options();
    options.inert = inert;
    long before = resident_kib();
    clock_t start = clock();
    out->status = open_pickle(&o, p->bytes, p->size, &options, &err);
    out->seconds = (double)(clock() - start) / CLOCKS_PER_SEC;
    out->kib = resident_kib() - before;
    snprintf(out->check, sizeof out->check, "%s", out->status == PTIO_OK ? "" : err.check);
    opened_free(&o);
}

static void measure(int line, pickle_buffer *p, bool inert, const char *check) {
    int channel[2];
    cost c = {0};
    fflush(stdout);
    if (pipe(channel) != 0) abort();
    pid_t child = fork();
    if (child == 0) {
        open_and_measure(p, inert, &c);
        if (write(channel[1], &c, sizeof c) != sizeof c) abort();
        _exit(0);
    }
    close(channel[1]);
    bool got = read(channel[0], &c, sizeof c) == sizeof c;
    close(channel[0]);
    int status;
    waitpid(child, &status, 0);
    bool measured = !SLOWED && getenv("VALGRIND") == NULL && getenv("COVERAGE") == NULL && getenv("EMULATOR") == NULL;
    if (!got)
        test_fail(__FILE__, line, "the process died (status %d)", status);
    else if (strcmp(c.check, check) != 0)
        test_fail(__FILE__, line, "ends with '%s', expected '%s'", c.check, check);
    else if (measured && (c.seconds > 1.0 + (double)p->size / 1e7 || (uint64_t)c.kib > 65536 + 32 * (uint64_t)p->size / 1024))
        test_fail(__FILE__, line, "%zu bytes cost %.2f s and %ld KiB", p->size, c.seconds, c.kib);
    pickle_free(p);
}

/* before, as many times `again` as fill the file, after */
static void flood(int line, const char *before, size_t before_size, const char *again, size_t again_size,
                  const char *after, size_t after_size, bool inert, const char *check) {
    pickle_buffer p = {0};
    pickle_add(&p, before, before_size);
    pickle_add_times(&p, again, again_size, (FILE_SIZE - p.size) / again_size);
    pickle_add(&p, after, after_size);
    measure(line, &p, inert, check);
}

#define FLOOD(before, again, after, check) \
    flood(__LINE__, LITERAL(before), LITERAL(again), LITERAL(after), false, check)
#define FLOOD_INERT(before, again, after, check) \
    flood(__LINE__, LITERAL(before), LITERAL(again), LITERAL(after), true, check)

static void one_byte_an_object(void) {
    FLOOD("(", "\x8f", "l.", "R.object-bytes");
    FLOOD("(", "}", "l.", "R.object-bytes");
    FLOOD("(", "]", "l.", "R.object-bytes");
    FLOOD("(", ")", "l.", "");
    FLOOD("", "\x8f", ".", "P3.stop"); /* never reached */
    FLOOD("", "(", "N.", "P3.stop-mark");
    FLOOD("N", "\x94", ".", "");
    FLOOD("]", "(l", ".", "P3.stop");
    FLOOD("", "N", ".", "P3.stop");
    FLOOD("(", "F1\n", "l.", "");
    FLOOD("(", "V\\u00e9\n", "l.", "");
}

static void deep_nesting(void) {
    pickle_buffer p = {0};
    FLOOD("N", "\x85", ".", "P13.depth");
    FLOOD("N", "2\x86", ".", "P13.depth");
    ADD_TIMES(&p, "(", 5000000);
    ADD_TIMES(&p, "l", 5000000);
    ADD(&p, ".");
    measure(__LINE__, &p, false, "P13.depth");
    ADD_TIMES(&p, "]", 2500000);
    ADD_TIMES(&p, "a", 2499999);
    ADD(&p, ".");
    measure(__LINE__, &p, false, "P13.depth");
}

static void memo_indices(void) {
    static const uint32_t steps[] = {1, 2, 3, 65, 66, 1000003, 0x10000};
    for (size_t i = 0; i < COUNT_OF(steps); i++) {
        pickle_buffer p = {0};
        ADD(&p, "N");
        for (uint32_t k = 0; k < 400000; k++) {
            ADD(&p, "r");
            pickle_add_u32(&p, k * steps[i]);
        }
        ADD(&p, ".");
        measure(__LINE__, &p, false, "");
    }
}

#define LONG_TEXT(opcode, size) ADD(&p, opcode), pickle_add_u32(&p, size), ADD_TIMES(&p, "a", size)

/* A few opcodes name something large, over and over. */
static void large_things_named_often(void) {
    pickle_buffer p = {0};
    LONG_TEXT("X", 1000000); /* as a dict key, beside an int */
    ADD(&p, "q\1" "0}(K\1N");
    ADD_TIMES(&p, "h\1N", 300000);
    ADD(&p, "u.");
    measure(__LINE__, &p, false, "P12.work");

    LONG_TEXT("\x8b", 1024);
    ADD(&p, "q\1" "0}(");
    ADD_TIMES(&p, "h\1N", 600000);
    ADD(&p, "u.");
    measure(__LINE__, &p, false, "P12.parts");

    ADD(&p, "(" TEXT("storage") TORCH("FloatStorage") TEXT("0"));
    LONG_TEXT("X", 1000000);
    ADD(&p, INT("4") "tq\1" "0");
    ADD_TIMES(&p, "h\1Q0", 250000);
    ADD(&p, "N.");
    measure(__LINE__, &p, false, "P10.length");

    ADD(&p, TORCH("Size") "q\1" "0((K\1");
    ADD_TIMES(&p, "2", 1000000);
    ADD(&p, "ttq\2" "0");
    ADD_TIMES(&p, "h\1h\2R0", 160000);
    ADD(&p, "N.");
    measure(__LINE__, &p, false, "R.object-bytes");

    ADD(&p, GLOBAL_OF("pathlib", "PosixPath") "q\1" "0(");
    LONG_TEXT("X", 1000000);
    ADD(&p, "tq\2" "0");
    ADD_TIMES(&p, "h\1h\2R0", 160000);
    ADD(&p, "N.");
    measure(__LINE__, &p, false, "R.object-bytes");

    ADD(&p, UTILS("_rebuild_meta_tensor_no_storage") "q\1" "0(" TORCH("float32") "(K\1");
    ADD_TIMES(&p, "2", 63);
    ADD(&p, "t2" FALSE_ "tq\2" "0");
    ADD_TIMES(&p, "h\1h\2R0", 330000);
    ADD(&p, "N.");
    measure(__LINE__, &p, false, "R.object-bytes");

    ADD(&p, TEXT("a") "q\3" "0" UTILS("_rebuild_tensor_v2") "q\1" "0(" FLOATS INT("0") "))" FALSE_ "N}(");
    ADD_TIMES(&p, "h\3\x88", 300000);
    ADD(&p, "utq\2" "0");
    ADD_TIMES(&p, "h\1h\2R0", 160000);
    ADD(&p, "N.");
    measure(__LINE__, &p, false, "R.object-bytes");

    LONG_TEXT("X", 1000000); /* the name of many unknown classes */
    ADD(&p, "q\1" "0(");
    ADD_TIMES(&p, "h\1h\1\x93", 200000);
    ADD(&p, "l.");
    measure(__LINE__, &p, true, "P7.length");

    LONG_TEXT("X", 512);
    ADD(&p, "q\1" "0(");
    ADD_TIMES(&p, "h\1h\1\x93", 390000);
    ADD(&p, "l.");
    measure(__LINE__, &p, true, "R.object-bytes");
}

static void copies_of_copies(void) {
    static const char *const makers[] = {"set", "frozenset"};
    for (size_t i = 0; i < COUNT_OF(makers); i++) {
        pickle_buffer p = {0};
        ADD(&p, "cbuiltins\n");
        pickle_add(&p, makers[i], strlen(makers[i]));
        ADD(&p, "\nq\1" "0((");
        for (unsigned k = 0; k < 300000; k++) {
            uint8_t key[3] = {'M', (uint8_t)k, (uint8_t)(k >> 8)};
            pickle_add(&p, key, 3);
        }
        ADD(&p, "ltq\2" "0");
        ADD_TIMES(&p, "h\1h\2R0", 180000);
        ADD(&p, "N.");
        measure(__LINE__, &p, false, "R.object-bytes");
    }
    pickle_buffer p = {0};
    ADD(&p, "cbuiltins\nbytearray\nq\1" "0(");
    LONG_TEXT("B", 65536);
    ADD(&p, "tq\2" "0");
    ADD_TIMES(&p, "h\1h\2R0", 300000);
    ADD(&p, "N.");
    measure(__LINE__, &p, false, "R.object-bytes");
}

static void structured_dtypes(void) {
    pickle_buffer p = {0};
    char text[32];
    ADD(&p, GLOBAL_OF("numpy", "dtype") "q\1" "0(" TEXT("V4096") FALSE_ TRUE_ "tq\2" "0");
    ADD(&p, "h\1(" TEXT("V1") FALSE_ TRUE_ "tRK\0\x86q\3" "0(K\3" TEXT("|") "N(");
    for (int i = 0; i < 1024; i++) pickle_add(&p, text, (size_t)snprintf(text, sizeof text, "Vf%04d\np%d\n", i, 100 + i));
    ADD(&p, "t}(");
    for (int i = 1023; i >= 0; i--) pickle_add(&p, text, (size_t)snprintf(text, sizeof text, "Vf%04d\nh\3", i));
    ADD(&p, "uM\0\x10K\1K\0tq\4" "0");
    ADD_TIMES(&p, "h\1h\2Rh\4b0", 200000);
    ADD(&p, "N.");
    measure(__LINE__, &p, false, "R.object-bytes");
}

static void shared_arguments_of_unknown_calls(void) {
    FLOOD_INERT("cm\nn\nq\1" "0(", "h\1)R", "l.", "R.object-bytes");
    FLOOD_INERT("cm\nn\n)R", "(NNNNNNNNNNe", ".", "");
    FLOOD_INERT("", "cm\nn\n0", "N.", "");
    FLOOD("", "cm\nn\n0", "N.", "P7.allowed");
    FLOOD("(" TEXT("storage") TORCH("FloatStorage") TEXT("0") TEXT("meta") INT("4") "tq\1" "0", "h\1Q0", "N.", "");
}

void suite_hostile(void) {
    if (getenv("PTIO_WITHOUT_CHECK") != NULL) return; /* one run for each check: they have to be quick */
    RUN(one_byte_an_object);
    RUN(deep_nesting);
    RUN(memo_indices);
    RUN(large_things_named_often);
    RUN(copies_of_copies);
    RUN(structured_dtypes);
    RUN(shared_arguments_of_unknown_calls);
}
