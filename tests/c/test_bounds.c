/* SPDX-License-Identifier: Apache-2.0
 *
 * Whether a tensor lies inside its storage: the one function that decides it.
 */
#include "tensor_bounds.h"
#include "test.h"

void suite_bounds(void);

enum { MOST = 66 };
#define HUGE_SIZE (INT64_C(1) << 62)

typedef struct {
    int line;
    int64_t offset;
    size_t ndim;
    int64_t sizes[5], strides[5];
    uint64_t available;
    const char *check, *fragment; /* NULL: fits */
    uint64_t elements;
    bool contiguous;
} bounds_case;

#define FITS(offset, ndim, sizes, strides, available, elements, contiguous) \
    {__LINE__, offset, ndim, sizes, strides, available, NULL, NULL, elements, contiguous}
#define OUTSIDE(offset, ndim, sizes, strides, available, check, fragment) \
    {__LINE__, offset, ndim, sizes, strides, available, check, fragment, 0, false}
#define DIMS(...) {__VA_ARGS__}

static void run(const bounds_case *cases, size_t count) {
    for (const bounds_case *c = cases; c < cases + count; c++) {
        ptio_error err = {0};
        ptio_tensor_facts facts = {12345, false};
        ptio_status status = ptio_tensor_bounds(c->offset, c->ndim, c->sizes, c->strides, c->available, 77, &facts, &err);
        if (c->check != NULL) {
            test_error(__FILE__, c->line, status, &err, PTIO_E_BOUNDS, c->check, c->fragment, 77);
            if (facts.elements != 12345) test_fail(__FILE__, c->line, "outputs were touched");
        } else if (status != PTIO_OK) {
            test_fail(__FILE__, c->line, "%s: %s", err.check, err.message);
        } else if (facts.elements != c->elements || facts.contiguous != c->contiguous) {
            test_fail(__FILE__, c->line, "%llu elements, contiguous %d", (unsigned long long)facts.elements, facts.contiguous);
        }
    }
}

static void inside(void) {
    static const bounds_case cases[] = {
        FITS(0, 0, DIMS(0), DIMS(0), 1, 1, true), /* a number */
        FITS(3, 0, DIMS(0), DIMS(0), 4, 1, true),
        FITS(0, 1, DIMS(4), DIMS(1), 4, 4, true),
        FITS(0, 2, DIMS(2, 3), DIMS(3, 1), 6, 6, true),
        FITS(1, 2, DIMS(2, 3), DIMS(3, 1), 7, 6, true),
        FITS(0, 2, DIMS(3, 2), DIMS(1, 3), 6, 6, false), /* transposed */
        FITS(0, 1, DIMS(2), DIMS(3), 4, 2, false),
        FITS(0, 1, DIMS(1000000), DIMS(0), 1, 1000000, false), /* expanded */
        FITS(0, 2, DIMS(HUGE_SIZE, 1), DIMS(0, 1), 1, (uint64_t)HUGE_SIZE, false),
        FITS(0, 2, DIMS(1, 1), DIMS(INT64_MAX, INT64_MAX), 1, 1, false), /* strides of size 1 lead nowhere */
        FITS(0, 1, DIMS(1), DIMS(INT64_MAX), 1, 1, false),
        FITS(INT64_MAX, 0, DIMS(0), DIMS(0), UINT64_MAX, 1, true),
    };
    run(cases, sizeof cases / sizeof cases[0]);
}

static void empty(void) {
    static const bounds_case cases[] = {
        FITS(0, 1, DIMS(0), DIMS(1), 0, 0, false),
        FITS(4, 1, DIMS(0), DIMS(1), 4, 0, false),
        FITS(0, 3, DIMS(0, HUGE_SIZE, HUGE_SIZE), DIMS(INT64_MAX, 1, 1), 0, 0, false),
        FITS(0, 3, DIMS(HUGE_SIZE, HUGE_SIZE, 0), DIMS(1, 1, 1), 0, 0, false),
        OUTSIDE(5, 1, DIMS(0), DIMS(1), 4, "T3.empty", "an empty tensor at element 5, its storage holds 4"),
    };
    run(cases, sizeof cases / sizeof cases[0]);
}

static void outside(void) {
    static const bounds_case cases[] = {
        OUTSIDE(0, 0, DIMS(0), DIMS(0), 0, "T3.last", "reaches element 0, its storage holds 0"),
        OUTSIDE(0, 1, DIMS(5), DIMS(1), 4, "T3.last", "reaches element 4, its storage holds 4"),
        OUTSIDE(1, 1, DIMS(4), DIMS(1), 4, "T3.last", "reaches element 4"),
        OUTSIDE(1000, 1, DIMS(4), DIMS(1), 4, "T3.last", "reaches element 1003"),
        OUTSIDE(0, 2, DIMS(2, 2), DIMS(3, 2), 5, "T3.last", "reaches element 5, its storage holds 5"),
        OUTSIDE(INT64_MAX, 1, DIMS(1), DIMS(1), 4, "T3.last", "9223372036854775807"),
        OUTSIDE(-1, 1, DIMS(1), DIMS(1), 4, "T2.offset", "storage offset -1 is negative"),
        OUTSIDE(INT64_MIN, 0, DIMS(0), DIMS(0), 4, "T2.offset", "-9223372036854775808"),
        OUTSIDE(0, 2, DIMS(2, -4), DIMS(1, 1), 4, "T2.size", "size -4 of dimension 1"),
        OUTSIDE(0, 2, DIMS(0, -4), DIMS(1, 1), 4, "T2.size", "size -4"),
        OUTSIDE(0, 2, DIMS(2, 2), DIMS(-1, 1), 4, "T2.stride", "stride -1 of dimension 0"),
        OUTSIDE(0, 1, DIMS(0), DIMS(-1), 4, "T2.stride", "stride -1"),
    };
    run(cases, sizeof cases / sizeof cases[0]);
}

static void arithmetic_that_would_wrap(void) {
    static const bounds_case cases[] = {
        OUTSIDE(0, 2, DIMS(HUGE_SIZE, 4), DIMS(0, 0), 4, "T3.elements", "multiply to more than 2**63"),
        OUTSIDE(0, 2, DIMS(HUGE_SIZE, 2), DIMS(0, 0), 4, "T3.elements", "multiply"), /* 2**63 */
        OUTSIDE(0, 4, DIMS(65536, 65536, 65536, 65536), DIMS(0, 0, 0, 0), 4, "T3.elements", "multiply"), /* 0 mod 2**64 */
        OUTSIDE(0, 1, DIMS(9), DIMS(INT64_C(1) << 61), 4, "T3.overflow", "beyond 2**64"),
        OUTSIDE(0, 2, DIMS(5, 5), DIMS(HUGE_SIZE, HUGE_SIZE), 4, "T3.overflow", "beyond 2**64"),
        OUTSIDE(INT64_MAX, 3, DIMS(2, 2, 2), DIMS(INT64_MAX, 1, 1), 4, "T3.overflow", "beyond 2**64"),
        OUTSIDE(INT64_MAX, 2, DIMS(2, 2), DIMS(INT64_MAX, 1), UINT64_MAX, "T3.last", "18446744073709551615"),
        OUTSIDE(0, 5, DIMS(2, 2, 2, 2, 2), DIMS(HUGE_SIZE, HUGE_SIZE, HUGE_SIZE, HUGE_SIZE, HUGE_SIZE), 4, "T3.overflow", ""),
    };
    run(cases, sizeof cases / sizeof cases[0]);
}

static void up_to_64_dimensions(void) {
    int64_t sizes[MOST], strides[MOST];
    ptio_error err = {0};
    ptio_tensor_facts facts;
    for (size_t i = 0; i < MOST; i++) sizes[i] = strides[i] = 1;
    ASSERT_OK(ptio_tensor_bounds(0, 64, sizes, strides, 1, 5, &facts, &err));
    ASSERT_TRUE(facts.contiguous);
    ASSERT_FAILS(ptio_tensor_bounds(0, 65, sizes, strides, 1, 5, &facts, &err), LIMIT, "T2.ndim",
                 "65 dimensions, at most 64", 5);
    ASSERT_FAILS(ptio_tensor_bounds(0, 100000, NULL, NULL, 1, 5, &facts, &err), LIMIT, "T2.ndim", "100000", 5);
}

/* Every small shape, compared with counting by hand. */
static void all_small_shapes(void) {
    ptio_error err;
    for (unsigned code = 0; code < 4 * 4 * 4 * 4 * 4 * 4; code++) {
        int64_t sizes[2] = {code & 3, code >> 2 & 3}, strides[2] = {code >> 4 & 3, code >> 6 & 3};
        int64_t offset = code >> 8 & 3;
        uint64_t available = 3 * (code >> 10 & 3);
        ptio_tensor_facts facts = {0, false};
        bool fits = (uint64_t)offset <= available;
        for (int64_t i = 0; i < sizes[0]; i++)
            for (int64_t j = 0; j < sizes[1]; j++)
                fits = fits && (uint64_t)(offset + i * strides[0] + j * strides[1]) < available;
        bool accepted = ptio_tensor_bounds(offset, 2, sizes, strides, available, 0, &facts, &err) == PTIO_OK;
        if (accepted != fits) test_fail(__FILE__, __LINE__, "shape %u: %d, expected %d", code, accepted, fits);
        if (accepted && facts.contiguous &&
            !(sizes[0] * sizes[1] > 0 && strides[1] == 1 && strides[0] == sizes[1]))
            test_fail(__FILE__, __LINE__, "shape %u is not contiguous", code);
    }
}

void suite_bounds(void) {
    RUN(inside);
    RUN(empty);
    RUN(outside);
    RUN(arithmetic_that_would_wrap);
    RUN(up_to_64_dimensions);
    RUN(all_small_shapes);
}
