/* SPDX-License-Identifier: Apache-2.0
 *
 * Preloaded: one call of one system function fails, or moves fewer bytes than it was asked to.
 *   arm("pread", 3, EIO, 0)   the fourth call from now on fails;   (..., 0, 1): half of the bytes
 *   fired()                   whether it has come to that
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static char armed[32];
static volatile int left, error, is_short, has_fired;

void arm(const char *name, int after, int errno_value, int make_short) {
    left = after;
    error = errno_value;
    is_short = make_short;
    has_fired = 0;
    strncpy(armed, name, sizeof armed - 1);
}

int fired(void) { return has_fired; }

static int is_due(const char *name) {
    if (strcmp(armed, name) != 0 || left-- > 0) return 0;
    armed[0] = '\0';
    has_fired = 1;
    return 1;
}

#define REAL(name) __typeof__(&name) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)
#define FAIL(failed)   \
    do {               \
        errno = error; \
        return failed; \
    } while (0)

#define TRANSFER(symbol, name, parameters, arguments) \
    ssize_t symbol parameters {                       \
        REAL(symbol);                                 \
        if (is_due(name)) {                           \
            if (!is_short) FAIL(-1);                  \
            n = n > 1 ? n / 2 : n;                    \
        }                                             \
        return real arguments;                        \
    }
TRANSFER(read, "read", (int fd, void *to, size_t n), (fd, to, n))
TRANSFER(write, "write", (int fd, const void *from, size_t n), (fd, from, n))
TRANSFER(pread, "pread", (int fd, void *to, size_t n, off_t at), (fd, to, n, at))
TRANSFER(pread64, "pread", (int fd, void *to, size_t n, off64_t at), (fd, to, n, at))
TRANSFER(pwrite, "pwrite", (int fd, const void *from, size_t n, off_t at), (fd, from, n, at))
TRANSFER(pwrite64, "pwrite", (int fd, const void *from, size_t n, off64_t at), (fd, from, n, at))

#define CALL(symbol, name, parameters, arguments) \
    int symbol parameters {                       \
        REAL(symbol);                             \
        if (is_due(name)) FAIL(-1);               \
        return real arguments;                    \
    }
CALL(fstat, "fstat", (int fd, struct stat *to), (fd, to))
CALL(fstat64, "fstat", (int fd, struct stat64 *to), (fd, to))
CALL(fsync, "fsync", (int fd), (fd))
CALL(fdatasync, "fdatasync", (int fd), (fd))
CALL(rename, "rename", (const char *from, const char *to), (from, to))
CALL(renameat, "rename", (int a, const char *from, int b, const char *to), (a, from, b, to))
CALL(linkat, "linkat", (int a, const char *from, int b, const char *to, int flags), (a, from, b, to, flags))
CALL(ftruncate, "ftruncate", (int fd, off_t size), (fd, size))
CALL(ftruncate64, "ftruncate", (int fd, off64_t size), (fd, size))
CALL(fallocate, "fallocate", (int fd, int mode, off_t at, off_t n), (fd, mode, at, n))
CALL(fallocate64, "fallocate", (int fd, int mode, off64_t at, off64_t n), (fd, mode, at, n))

#define OPEN(symbol, parameters, last, arguments) \
    int symbol parameters {                       \
        REAL(symbol);                             \
        va_list more;                             \
        va_start(more, last);                     \
        mode_t mode = va_arg(more, mode_t);       \
        va_end(more);                             \
        if (is_due("open")) FAIL(-1);             \
        return real arguments;                    \
    }
OPEN(open, (const char *path, int flags, ...), flags, (path, flags, mode))
OPEN(open64, (const char *path, int flags, ...), flags, (path, flags, mode))
OPEN(openat, (int folder, const char *path, int flags, ...), flags, (folder, path, flags, mode))
OPEN(openat64, (int folder, const char *path, int flags, ...), flags, (folder, path, flags, mode))

#define MAP(symbol, offset)                                                             \
    void *symbol(void *at, size_t n, int protection, int flags, int fd, offset where) { \
        REAL(symbol);                                                                   \
        if (fd >= 0 && is_due("mmap")) FAIL(MAP_FAILED);                                \
        return real(at, n, protection, flags, fd, where);                               \
    }
MAP(mmap, off_t)
MAP(mmap64, off64_t)
