/* SPDX-License-Identifier: Apache-2.0
 *
 * A pool of threads that lives as long as one call: workers take the next unit
 * from a counter until none is left or one failed. Knows nothing of the work.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* sched_getaffinity */
#endif

#include "parallel.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <unistd.h>
#ifdef __linux__
#include <sched.h>
#endif

enum { MOST_WORKERS = 128 };

typedef struct {
    const ptio_work *work;
    _Atomic size_t next;
    _Atomic uint64_t done_bytes;
    atomic_bool stop;
    pthread_mutex_t lock; /* of the two below */
    size_t failed_unit;   /* unit_count while none failed */
    ptio_error failure;
} work_pool;

typedef struct {
    work_pool *pool;
    unsigned number;
    pthread_t thread;
} pool_worker;

static void note_failure(work_pool *pool, size_t unit, const ptio_error *err) {
    pthread_mutex_lock(&pool->lock);
    if (unit < pool->failed_unit) {
        pool->failed_unit = unit;
        pool->failure = *err;
    }
    pthread_mutex_unlock(&pool->lock);
    atomic_store(&pool->stop, true);
}

/* Units are handed out in order, so when one fails all lower ones are already
 * running: finishing those is enough to report the lowest failure. */
static bool run_next(work_pool *pool, unsigned number) {
    if (atomic_load(&pool->stop)) return false;
    size_t unit = atomic_fetch_add(&pool->next, 1);
    if (unit >= pool->work->unit_count) return false;
    uint64_t bytes = 0;
    ptio_error err;
    if (pool->work->run(pool->work->context, unit, number, &bytes, &err) != PTIO_OK)
        note_failure(pool, unit, &err);
    else
        atomic_fetch_add(&pool->done_bytes, bytes);
    return true;
}

static void *worker_main(void *argument) {
    pool_worker *self = argument;
    while (run_next(self->pool, self->number)) {}
    return NULL;
}

/* Starts up to `wanted` workers and returns how many there are: with fewer threads
 * than hoped for, the work still gets done. Signals stay with the caller's threads;
 * those that a fault raises cannot be moved. */
static unsigned start_workers(work_pool *pool, pool_worker *workers, unsigned wanted) {
    sigset_t most, before;
    sigfillset(&most);
    sigdelset(&most, SIGSEGV);
    sigdelset(&most, SIGBUS);
    sigdelset(&most, SIGFPE);
    sigdelset(&most, SIGILL);
    pthread_sigmask(SIG_SETMASK, &most, &before);
    unsigned started = 0;
    for (; started < wanted; started++) {
        workers[started].pool = pool;
        workers[started].number = started + 1;
        if (pthread_create(&workers[started].thread, NULL, worker_main, &workers[started]) != 0) break;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return started;
}

static ptio_status tick(work_pool *pool, ptio_error *err) {
    const ptio_work *work = pool->work;
    if (work->tick == NULL) return PTIO_OK;
    return work->tick(work->tick_context, atomic_load(&pool->done_bytes), err);
}

ptio_status ptio_parallel(const ptio_work *work, ptio_error *err) {
    pool_worker workers[MOST_WORKERS];
    work_pool pool = {.work = work, .failed_unit = work->unit_count};
    ptio_status status = PTIO_OK;
    pthread_mutex_init(&pool.lock, NULL);
    unsigned width = ptio_parallel_width(work->unit_count, work->threads);
    unsigned started = width > 1 ? start_workers(&pool, workers, width - 1) : 0;
    while (status == PTIO_OK && run_next(&pool, 0)) status = tick(&pool, err);
    if (status != PTIO_OK) atomic_store(&pool.stop, true);
    for (unsigned i = 0; i < started; i++) pthread_join(workers[i].thread, NULL);
    pthread_mutex_destroy(&pool.lock);
    if (status != PTIO_OK) return status;
    if (pool.failed_unit < work->unit_count) {
        *err = pool.failure;
        return err->status;
    }
    return tick(&pool, err);
}

unsigned ptio_cpu_count(void) {
#ifdef __linux__
    cpu_set_t set; /* for up to 1,024 CPUs; on larger machines the call fails and sysconf answers */
    if (sched_getaffinity(0, sizeof set, &set) == 0) return (unsigned)CPU_COUNT(&set);
#endif
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    return online < 1 ? 1 : (unsigned)online;
}

unsigned ptio_parallel_width(size_t unit_count, unsigned threads) {
    size_t width = threads != 0 ? threads : ptio_cpu_count();
    if (width > MOST_WORKERS) width = MOST_WORKERS;
    if (width > unit_count) width = unit_count;
    return width < 1 ? 1 : (unsigned)width;
}
