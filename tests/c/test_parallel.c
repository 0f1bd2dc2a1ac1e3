/* SPDX-License-Identifier: Apache-2.0
 *
 * The pool of threads: every unit once, the lowest failure, ticks on the caller.
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#include "faults.h"
#include "parallel.h"
#include "test.h"

void suite_parallel(void);

enum { UNITS = 1000 };

typedef struct {
    atomic_uint runs[UNITS];
    atomic_uint workers[8];
    size_t fail_from; /* units from here on fail */
    pthread_t caller;
    unsigned ticks, ticks_elsewhere, cancel_at;
    uint64_t last_bytes;
    bool slow_low_unit;
} probe;

static ptio_status run(void *context, size_t unit, unsigned worker, uint64_t *done_bytes, ptio_error *err) {
    probe *p = context;
    atomic_fetch_add(&p->runs[unit], 1);
    atomic_fetch_add(&p->workers[worker], 1);
    *done_bytes = unit;
    if (p->slow_low_unit && unit == p->fail_from) usleep(20000);
    if (unit >= p->fail_from) return ptio_fail(err, PTIO_E_LIMIT, "T0.test", unit, "unit %zu", unit);
    return PTIO_OK;
}

static ptio_status tick(void *context, uint64_t done_bytes, ptio_error *err) {
    probe *p = context;
    p->ticks++;
    p->ticks_elsewhere += !pthread_equal(p->caller, pthread_self());
    if (done_bytes < p->last_bytes) p->ticks_elsewhere++;
    p->last_bytes = done_bytes;
    if (p->ticks == p->cancel_at) return ptio_fail(err, PTIO_E_CANCELLED, "T0.cancel", 0, "stopped");
    return PTIO_OK;
}

static ptio_work work_of(probe *p, unsigned threads) {
    p->caller = pthread_self();
    return (ptio_work){.run = run, .context = p, .unit_count = UNITS, .threads = threads, .tick = tick, .tick_context = p};
}

static void every_unit_runs_once(void) {
    for (unsigned threads = 0; threads <= 4; threads++) {
        ptio_error err;
        probe p = {.fail_from = UNITS};
        ptio_work work = work_of(&p, threads);
        ASSERT_OK(ptio_parallel(&work, &err));
        for (size_t i = 0; i < UNITS; i++) ASSERT_EQUAL(p.runs[i], 1);
        ASSERT_EQUAL(p.last_bytes, UNITS * (UNITS - 1) / 2);
        ASSERT_EQUAL(p.ticks_elsewhere, 0);
        ASSERT_TRUE(p.ticks >= 1);
        for (unsigned i = threads == 0 ? ptio_cpu_count() : threads; i < 8; i++) ASSERT_EQUAL(p.workers[i], 0);
    }
}

static void the_lowest_failure_is_reported(void) {
    for (unsigned round = 0; round < 20; round++) {
        ptio_error err;
        probe p = {.fail_from = 100, .slow_low_unit = round % 2 == 0};
        ptio_work work = work_of(&p, 1 + round % 4);
        ASSERT_FAILS(ptio_parallel(&work, &err), LIMIT, "T0.test", "unit 100", 100);
        ASSERT_EQUAL(p.runs[UNITS - 1], 0);
    }
}

static void a_tick_can_stop_the_work(void) {
    for (unsigned threads = 1; threads <= 4; threads += 3) {
        ptio_error err;
        probe p = {.fail_from = UNITS, .cancel_at = 1};
        ptio_work work = work_of(&p, threads);
        ASSERT_FAILS(ptio_parallel(&work, &err), CANCELLED, "T0.cancel", "stopped", 0);
    }
    ptio_error err;
    probe p = {.fail_from = UNITS, .cancel_at = UNITS + 1}; /* at the very end */
    ptio_work work = work_of(&p, 1);
    ASSERT_FAILS(ptio_parallel(&work, &err), CANCELLED, "T0.cancel", "stopped", 0);
}

static void no_units_is_fine(void) {
    ptio_error err;
    probe p = {.fail_from = UNITS};
    ptio_work work = work_of(&p, 4);
    work.unit_count = 0;
    ASSERT_OK(ptio_parallel(&work, &err));
    ASSERT_EQUAL(p.ticks, 1);
    work.tick = NULL;
    ASSERT_OK(ptio_parallel(&work, &err));
}

static void width_is_bounded(void) {
    unsigned cpus = ptio_cpu_count();
    ASSERT_TRUE(cpus >= 1);
    faults.affinity_errno = EINVAL; /* as on a machine with more CPUs than fit */
    ASSERT_TRUE(ptio_cpu_count() >= cpus);
    faults_clear();
    ASSERT_EQUAL(ptio_parallel_width(0, 4), 1);
    ASSERT_EQUAL(ptio_parallel_width(3, 4), 3);
    ASSERT_EQUAL(ptio_parallel_width(100, 4), 4);
    ASSERT_EQUAL(ptio_parallel_width(100000, 100000), 128);
    ASSERT_EQUAL(ptio_parallel_width(100000, 0), ptio_cpu_count() < 128 ? ptio_cpu_count() : 128);
}

void suite_parallel(void) {
    RUN(every_unit_runs_once);
    RUN(the_lowest_failure_is_reported);
    RUN(a_tick_can_stop_the_work);
    RUN(no_units_is_fine);
    RUN(width_is_bounded);
}
