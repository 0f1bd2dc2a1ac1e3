/* SPDX-License-Identifier: Apache-2.0
 *
 * System calls that fail on request: the runner links the tests with ld's --wrap, so
 * that the core's own calls come by here.
 */
#ifndef PTIO_FAULTS_H
#define PTIO_FAULTS_H

#include <stdbool.h>
#include <stdint.h>

typedef struct {
    int pread_errno;        /* what pread fails with; 0 = it works */
    unsigned pread_after;   /* ... after so many calls that work */
    unsigned pread_eintr;   /* so many calls are interrupted first */
    bool pread_short;       /* at most 7 bytes a call */
    bool pread_at_end;      /* the file has become empty */
    int fstat_errno;
    unsigned fstat_after;
    int64_t fstat_size;     /* what fstat says of the size, from that call on; 0 = the truth */
    int mmap_errno;
    bool remote;            /* fstatfs names NFS */
    int getentropy_errno;
    bool getentropy_fixed;  /* every byte is 7 */
    int pthread_create_error;
    int affinity_errno, fcntl_errno;
    int pwrite_errno;       /* as those of pread */
    unsigned pwrite_after, pwrite_eintr;
    bool pwrite_short, pwrite_nothing; /* at most 7 bytes a call; none */
    int fallocate_errno;
    unsigned fallocate_eintr;
    unsigned preads, mmaps, threads, pwrites, fallocates; /* calls seen */
} fault_plan;

extern fault_plan faults;

void faults_clear(void);

/* False where the linker cannot wrap: tests that need faults pass by then. */
bool faults_work(void);

#endif
