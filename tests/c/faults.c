/* SPDX-License-Identifier: Apache-2.0
 *
 * The wrapped system calls.
 */
#include "faults.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

fault_plan faults;

void faults_clear(void) { memset(&faults, 0, sizeof faults); }

#ifdef PTIO_WRAPPED_CALLS
bool faults_work(void) { return true; }

ssize_t __real_pread(int fd, void *out, size_t n, off_t offset);
ssize_t __wrap_pread(int fd, void *out, size_t n, off_t offset);
ssize_t __real_pwrite(int fd, const void *bytes, size_t n, off_t offset);
ssize_t __wrap_pwrite(int fd, const void *bytes, size_t n, off_t offset);
int __real_fallocate(int fd, int mode, off_t offset, off_t n);
int __wrap_fallocate(int fd, int mode, off_t offset, off_t n);
int __real_fstat(int fd, struct stat *out);
int __wrap_fstat(int fd, struct stat *out);
int __real_fstatfs(int fd, struct statfs *out);
int __wrap_fstatfs(int fd, struct statfs *out);
void *__real_mmap(void *at, size_t n, int protection, int flags, int fd, off_t offset);
void *__wrap_mmap(void *at, size_t n, int protection, int flags, int fd, off_t offset);
int __real_getentropy(void *out, size_t n);
int __wrap_getentropy(void *out, size_t n);
int __real_sched_getaffinity(pid_t pid, size_t n, cpu_set_t *out);
int __wrap_sched_getaffinity(pid_t pid, size_t n, cpu_set_t *out);
int __real_fcntl(int fd, int command, ...);
int __wrap_fcntl(int fd, int command, ...);
int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*start)(void *), void *argument);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*start)(void *), void *argument);

ssize_t __wrap_pread(int fd, void *out, size_t n, off_t offset) {
    unsigned call = __atomic_fetch_add(&faults.preads, 1, __ATOMIC_RELAXED);
    if (call < faults.pread_eintr) {
        errno = EINTR;
        return -1;
    }
    if (faults.pread_errno != 0 && call >= faults.pread_after) {
        errno = faults.pread_errno;
        return -1;
    }
    if (faults.pread_at_end && call >= faults.pread_after) return 0;
    return __real_pread(fd, out, faults.pread_short && n > 7 ? 7 : n, offset);
}

ssize_t __wrap_pwrite(int fd, const void *bytes, size_t n, off_t offset) {
    unsigned call = __atomic_fetch_add(&faults.pwrites, 1, __ATOMIC_RELAXED);
    if (call < faults.pwrite_eintr) {
        errno = EINTR;
        return -1;
    }
    if (faults.pwrite_errno != 0 && call >= faults.pwrite_after) {
        errno = faults.pwrite_errno;
        return -1;
    }
    if (faults.pwrite_nothing) return 0;
    return __real_pwrite(fd, bytes, faults.pwrite_short && n > 7 ? 7 : n, offset);
}

int __wrap_fallocate(int fd, int mode, off_t offset, off_t n) {
    unsigned call = faults.fallocates++;
    if (call >= faults.fallocate_eintr && faults.fallocate_errno == 0) return __real_fallocate(fd, mode, offset, n);
    errno = call < faults.fallocate_eintr ? EINTR : faults.fallocate_errno;
    return -1;
}

int __wrap_fstat(int fd, struct stat *out) {
    if (faults.fstat_after > 0) {
        faults.fstat_after--;
        return __real_fstat(fd, out);
    }
    if (faults.fstat_errno != 0) {
        errno = faults.fstat_errno;
        return -1;
    }
    int result = __real_fstat(fd, out);
    if (faults.fstat_size != 0) out->st_size = faults.fstat_size;
    return result;
}

int __wrap_fstatfs(int fd, struct statfs *out) {
    int result = __real_fstatfs(fd, out);
    if (faults.remote) out->f_type = 0x6969;
    return result;
}

void *__wrap_mmap(void *at, size_t n, int protection, int flags, int fd, off_t offset) {
    faults.mmaps++;
    if (faults.mmap_errno != 0) {
        errno = faults.mmap_errno;
        return MAP_FAILED;
    }
    return __real_mmap(at, n, protection, flags, fd, offset);
}

int __wrap_getentropy(void *out, size_t n) {
    if (faults.getentropy_fixed) {
        memset(out, 7, n);
        return 0;
    }
    if (faults.getentropy_errno == 0) return __real_getentropy(out, n);
    errno = faults.getentropy_errno;
    return -1;
}

int __wrap_sched_getaffinity(pid_t pid, size_t n, cpu_set_t *out) {
    if (faults.affinity_errno == 0) return __real_sched_getaffinity(pid, n, out);
    errno = faults.affinity_errno;
    return -1;
}

int __wrap_fcntl(int fd, int command, ...) {
    if (faults.fcntl_errno != 0) {
        errno = faults.fcntl_errno;
        return -1;
    }
    if (command == F_GETFL || command == F_GETFD) return __real_fcntl(fd, command);
    va_list argument;
    va_start(argument, command);
    int result = __real_fcntl(fd, command, va_arg(argument, int));
    va_end(argument);
    return result;
}

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*start)(void *), void *argument) {
    faults.threads++;
    if (faults.pthread_create_error != 0) return faults.pthread_create_error;
    return __real_pthread_create(thread, attributes, start, argument);
}
#else
bool faults_work(void) { return false; }
#endif
