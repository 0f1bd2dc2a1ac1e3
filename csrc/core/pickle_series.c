/* SPDX-License-Identifier: Apache-2.0
 *
 * Reads in windows, and long arguments not at all. Nothing that is found here is
 * believed: a file that changes meanwhile ends in an error of the parser.
 */
#include "pickle_series.h"

#include "memory.h"
#include "pages.h"

enum { WINDOW = 64 << 10, SMALL_READ = 4 << 10, MOST_PREFIX = 9, STOP = 0x2e };

typedef unsigned long long ull;

/* What follows an opcode. */
enum { NO_OPCODE = 0, FIXED, COUNTED, TEXT };

typedef struct {
    uint8_t what, n;
} argument;

static const argument arguments[256] = {
#define BYTES(n) {FIXED, n}
#define SIZED(n) {COUNTED, n}
#define LINES(n) {TEXT, n}
#define OPCODE(byte, name, protocol, argument, handler) [byte] = argument,
#include "opcodes.def"
#undef OPCODE
#undef BYTES
#undef SIZED
#undef LINES
};

ptio_status ptio_series_begin(const ptio_source *source, uint64_t at, uint64_t end, ptio_pickle_series *out,
                              ptio_error *err) {
    *out = (ptio_pickle_series){.source = source, .at = at, .end = end};
    out->window = ptio_alloc(WINDOW, 1);
    return out->window == NULL ? ptio_no_memory(err) : PTIO_OK;
}

void ptio_series_free(ptio_pickle_series *series) {
    ptio_free(series->window);
    series->window = NULL;
}

/* At least `needed` bytes from `at` on, or all that are left: *n of them. */
static ptio_status view(ptio_pickle_series *s, uint64_t at, size_t needed, size_t wanted, const uint8_t **out,
                        size_t *n, ptio_error *err) {
    uint64_t left = s->end - at;
    bool inside = at >= s->from && at - s->from <= s->have;
    uint64_t there = inside ? s->have - (at - s->from) : 0;
    if (there < ptio_min_u64(needed, left)) {
        size_t size = (size_t)ptio_min_u64(wanted, left);
        s->have = 0;
        PTIO_TRY(ptio_source_read(s->source, at, s->window, size, err));
        s->from = at;
        s->have = size;
        there = size;
    }
    *out = s->window + (at - s->from);
    *n = (size_t)ptio_min_u64(there, left);
    return PTIO_OK;
}

/* --- stepping over opcodes ----------------------------------------------------------- */

typedef struct {
    uint64_t at;
    unsigned lines; /* still to come before the next opcode */
    bool done;      /* behind STOP, or behind a byte that is no opcode */
} stepper;

static uint64_t counted(const uint8_t *p, unsigned width) {
    return width == 1 ? *p : width == 4 ? ptio_le32(p) : ptio_le64(p);
}

/* Moves on by `length`, or to the end where there are fewer. */
static void advance(const ptio_pickle_series *s, stepper *step, uint64_t length) {
    step->at += ptio_min_u64(length, s->end - step->at);
}

/* Steps over n bytes at p, except for an opcode at the end whose size is not there. */
static void step_through(const ptio_pickle_series *s, stepper *step, const uint8_t *p, size_t n) {
    uint64_t from = step->at;
    while (!step->done && step->at - from < n) {
        const uint8_t *now = p + (step->at - from);
        size_t left = n - (size_t)(step->at - from);
        if (step->lines > 0) {
            const uint8_t *newline = memchr(now, '\n', left);
            step->at += newline == NULL ? left : (size_t)(newline - now) + 1;
            if (newline != NULL) step->lines--;
            continue;
        }
        argument a = arguments[*now];
        if (a.what == COUNTED && left <= a.n) {
            if (s->end - step->at > a.n) return; /* the next window has it */
            step->at = s->end;
            return;
        }
        uint64_t length = 1;
        if (a.what == FIXED) length += a.n;
        if (a.what == COUNTED && !ptio_add_u64(counted(now + 1, a.n), 1 + (uint64_t)a.n, &length))
            length = UINT64_MAX;
        step->lines = a.what == TEXT ? a.n : 0;
        step->done = a.what == NO_OPCODE || *now == STOP;
        advance(s, step, length);
    }
}

static ptio_status find_end(ptio_pickle_series *s, uint64_t most, uint64_t *end, bool *cut, ptio_error *err) {
    stepper step = {.at = s->at};
    while (!step.done && step.at < s->end) {
        const uint8_t *bytes;
        size_t n;
        PTIO_TRY(view(s, step.at, MOST_PREFIX, WINDOW, &bytes, &n, err));
        step_through(s, &step, bytes, n);
        PTIO_CHECK(step.at - s->at <= most, "R.series", err, LIMIT, s->at,
                   "the pickle has more than %llu bytes, no more are read (limit pickle_bytes)", (ull)most);
    }
    *end = step.at;
    *cut = !step.done;
    return PTIO_OK;
}

ptio_status ptio_series_next(ptio_pickle_series *s, uint64_t most, ptio_series_pickle *out, ptio_error *err) {
    ptio_series_pickle found = {.begin = s->at};
    uint64_t end = 0;
    PTIO_TRY(find_end(s, most, &end, &found.cut, err));
    found.size = end - s->at;
    if (found.size > PTRDIFF_MAX) return ptio_no_memory(err);
    PTIO_TRY(ptio_block_new(ptio_huge_room((size_t)found.size + 1), &found.block, err));
    uint8_t *bytes = ptio_block_bytes(found.block);
    bool inside = s->at >= s->from && end <= s->from + s->have;
    ptio_status status = PTIO_OK;
    if (inside)
        memcpy(bytes, s->window + (s->at - s->from), (size_t)found.size);
    else
        status = ptio_source_read(s->source, s->at, bytes, (size_t)found.size, err);
    if (status != PTIO_OK) {
        ptio_block_unref(found.block);
        return status;
    }
    found.bytes = bytes;
    s->at = end;
    *out = found;
    return PTIO_OK;
}

/* --- between the pickles ----------------------------------------------------------------- */

static ptio_status check_room(const ptio_pickle_series *s, uint64_t n, ptio_error *err) {
    PTIO_CHECK(n <= s->end - s->at, "L1.room", err, TRUNCATED, s->at,
               "%llu bytes are needed at byte %llu, %llu are left", (ull)n, (ull)s->at,
               (ull)(s->end - s->at));
    return PTIO_OK;
}

ptio_status ptio_series_bytes(ptio_pickle_series *s, size_t n, const uint8_t **out, ptio_error *err) {
    const uint8_t *bytes = NULL;
    size_t have;
    PTIO_TRY(check_room(s, n, err));
    PTIO_TRY(view(s, s->at, n, SMALL_READ, &bytes, &have, err));
    s->at += n;
    *out = bytes;
    return PTIO_OK;
}

ptio_status ptio_series_skip(ptio_pickle_series *s, uint64_t n, ptio_error *err) {
    PTIO_TRY(check_room(s, n, err));
    s->at += n;
    return PTIO_OK;
}
