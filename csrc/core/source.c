/* SPDX-License-Identifier: Apache-2.0
 *
 * Opening files and reading ranges of them (F1, F2), by a mapping, pread or a
 * callback. Knows file systems and their quirks; nothing of what is in a file.
 */
#include "source.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#if defined(__linux__)
#include <sys/vfs.h>
#elif defined(__APPLE__)
#include <sys/mount.h>
#include <sys/param.h>
#endif

#if defined(__linux__)
/* File systems on which a page fault is a round trip to a server or a daemon:
 * reading them in large pieces is several times faster than mapping them. */
static bool is_remote(int fd) {
    static const uint32_t remote_types[] = {
        0x00006969, /* NFS */
        0xFF534D42, /* CIFS */
        0xFE534D42, /* SMB2 */
        0x0000517B, /* SMB */
        0x65735546, /* FUSE, virtiofs */
        0x01021997, /* 9p */
        0x0BD00BD0, /* Lustre */
        0x47504653, /* GPFS */
        0x00C36400, /* Ceph */
        0x5346414F, /* AFS */
        0x6B414653, /* AFS, as kAFS */
        0x19830326, /* BeeGFS (FhGFS) */
        0x73757245, /* Coda */
        0x0000564C, /* NCP */
        0x7461636F, /* OCFS2 */
        0x01161970, /* GFS2 */
        0xAAD7AAEA, /* PanFS */
        0x013111A8, /* IBRIX */
        0x20030528, /* OrangeFS */
        0x61636673, /* ACFS */
        0xBACBACBC, /* VMware HGFS */
        0x786F4256, /* VirtualBox shared folders */
    };
    struct statfs info;
    if (fstatfs(fd, &info) != 0) return false;
    for (size_t i = 0; i < sizeof remote_types / sizeof *remote_types; i++)
        if ((uint32_t)info.f_type == remote_types[i]) return true;
    return false;
}
#elif defined(__APPLE__)
static bool is_remote(int fd) {
    struct statfs info;
    return fstatfs(fd, &info) == 0 && (info.f_flags & MNT_LOCAL) == 0;
}
#else
static bool is_remote(int fd) {
    (void)fd;
    return false;
}
#endif

static const char *kind_of_file(mode_t mode) {
    return S_ISDIR(mode)    ? "a directory"
           : S_ISFIFO(mode) ? "a FIFO"
           : S_ISCHR(mode)  ? "a character device"
           : S_ISBLK(mode)  ? "a block device"
           : S_ISSOCK(mode) ? "a socket"
                            : "a special file";
}

/* F1 for an open descriptor. */
static ptio_status regular_size(int fd, uint64_t *size, ptio_error *err) {
    struct stat info;
    if (fstat(fd, &info) != 0) return ptio_fail_errno(err, "fstat");
    PTIO_CHECK(S_ISREG(info.st_mode), "F1.regular", err, NOT_A_CHECKPOINT, PTIO_NO_OFFSET,
               "this is %s, not a regular file", kind_of_file(info.st_mode));
    PTIO_CHECK((uint64_t)info.st_size <= (uint64_t)PTRDIFF_MAX, "F1.size", err, LIMIT, PTIO_NO_OFFSET,
               "the file has %llu bytes, more than this process can address",
               (unsigned long long)info.st_size);
    *size = (uint64_t)info.st_size;
    return PTIO_OK;
}

/* F2: a file that another process is writing has a new size by now. */
static ptio_status check_unchanged(int fd, uint64_t size, ptio_error *err) {
    uint64_t now = 0;
    PTIO_TRY(regular_size(fd, &now, err));
    PTIO_CHECK(now == size, "F2.size", err, FILE_CHANGED, PTIO_NO_OFFSET,
               "the file had %llu bytes when it was opened, now it has %llu", (unsigned long long)size,
               (unsigned long long)now);
    return PTIO_OK;
}

static ptio_status map_file(ptio_source *source, uint64_t file_size, ptio_mmap_mode mode, ptio_error *err) {
    if (source->size == 0 || mode == PTIO_MMAP_NEVER) return PTIO_OK;
    if (mode == PTIO_MMAP_AUTO && is_remote(source->fd)) return PTIO_OK;
    ptio_block *mapping = NULL;
    ptio_status status = ptio_block_map(source->fd, (size_t)file_size, &mapping, err);
    if (status != PTIO_OK) return mode == PTIO_MMAP_AUTO ? PTIO_OK : status;
    status = check_unchanged(source->fd, file_size, err);
    if (status != PTIO_OK) {
        ptio_block_unref(mapping);
        return status;
    }
    source->mapping = mapping;
    source->bytes = ptio_block_bytes(mapping) + source->fd_base;
    return PTIO_OK;
}

/* Takes fd over, also when it fails. */
static ptio_status from_owned_fd(int fd, uint64_t base, ptio_mmap_mode mode, ptio_source *out,
                                 ptio_error *err) {
    ptio_source source = {.fd = fd};
    uint64_t file_size = 0;
    ptio_status status = regular_size(fd, &file_size, err);
    if (status == PTIO_OK) {
        source.fd_base = ptio_min_u64(base, file_size); /* behind the end, nothing is left to read */
        source.size = file_size - source.fd_base;
        status = map_file(&source, file_size, mode, err);
    }
    if (status != PTIO_OK) {
        close(fd);
        return status;
    }
    *out = source;
    return PTIO_OK;
}

ptio_status ptio_source_open(const char *path, ptio_mmap_mode mode, ptio_source *out, ptio_error *err) {
    int fd;
    /* Without O_NONBLOCK, opening a FIFO would wait for somebody to write to it. */
    do fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    while (fd < 0 && errno == EINTR);
    if (fd < 0) return ptio_fail_errno(err, "open");
    int flags = fcntl(fd, F_GETFL);
    if (flags >= 0) (void)fcntl(fd, F_SETFL, flags & ~O_NONBLOCK);
    return from_owned_fd(fd, 0, mode, out, err);
}

ptio_status ptio_source_from_fd(int fd, uint64_t base, ptio_mmap_mode mode, ptio_source *out,
                                ptio_error *err) {
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (copy < 0) return ptio_fail_errno(err, "fcntl");
    return from_owned_fd(copy, base, mode, out, err);
}

void ptio_source_borrow(const void *bytes, size_t size, ptio_source *out) {
    *out = (ptio_source){.size = size, .bytes = bytes, .fd = -1};
}

void ptio_source_callback(ptio_read_at read_at, void *context, uint64_t size, ptio_source *out) {
    *out = (ptio_source){.size = size, .fd = -1, .read_at = read_at, .context = context};
}

ptio_status ptio_source_part(const ptio_source *source, uint64_t offset, uint64_t size, ptio_source *out,
                             ptio_error *err) {
    ptio_source part = *source;
    PTIO_CHECK(offset <= source->size && size <= source->size - offset, "X1.range", err, TRUNCATED,
               source->size, "%llu bytes are needed at byte %llu, the file ends at byte %llu",
               (unsigned long long)size, (unsigned long long)offset, (unsigned long long)source->size);
    if (source->fd >= 0 && (part.fd = fcntl(source->fd, F_DUPFD_CLOEXEC, 0)) < 0)
        return ptio_fail_errno(err, "fcntl");
    part.size = size;
    part.fd_base += offset;
    if (part.bytes != NULL) part.bytes += offset;
    if (part.mapping != NULL) part.mapping = ptio_block_ref(part.mapping);
    *out = part;
    return PTIO_OK;
}

static ptio_status read_fd(const ptio_source *source, uint64_t offset, uint8_t *out, size_t n,
                           ptio_error *err) {
    const size_t most = (size_t)1 << 30; /* macOS refuses reads of 2 GiB */
    while (n > 0) {
        ssize_t got = pread(source->fd, out, n < most ? n : most, (off_t)(source->fd_base + offset));
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return ptio_fail_errno(err, "pread");
        PTIO_CHECK(got > 0, "F2.shrank", err, FILE_CHANGED, offset,
                   "the file had %llu bytes when it was opened, now it ends at byte %llu",
                   (unsigned long long)source->size, (unsigned long long)offset);
        out += got;
        n -= (size_t)got;
        offset += (uint64_t)got;
    }
    return PTIO_OK;
}

ptio_status ptio_source_read(const ptio_source *source, uint64_t offset, void *out, size_t n,
                             ptio_error *err) {
    PTIO_CHECK(offset <= source->size && n <= source->size - offset, "F1.range", err, TRUNCATED, source->size,
               "%zu bytes are needed at byte %llu, the file ends at byte %llu", n, (unsigned long long)offset,
               (unsigned long long)source->size);
    if (n == 0) return PTIO_OK;
    /* A mapped file is read through its descriptor as well: where it has shrunk that
     * is an error to report, not a fault that ends the process. */
    if (source->fd >= 0) return read_fd(source, offset, out, n, err);
    if (source->read_at != NULL)
        return source->read_at(source->context, source->fd_base + offset, out, n, err);
    memcpy(out, source->bytes + offset, n);
    return PTIO_OK;
}

ptio_status ptio_source_unchanged(const ptio_source *source, ptio_error *err) {
    uint64_t now = 0;
    if (source->mapping == NULL) return PTIO_OK;
    PTIO_TRY(regular_size(source->fd, &now, err));
    PTIO_CHECK(now >= ptio_block_size(source->mapping), "F2.mapping", err, FILE_CHANGED, PTIO_NO_OFFSET,
               "the file had %zu bytes when it was opened, now it has %llu", ptio_block_size(source->mapping),
               (unsigned long long)now);
    return PTIO_OK;
}

bool ptio_source_is_concurrent(const ptio_source *source) { return source->read_at == NULL; }

void ptio_source_close(ptio_source *source) {
    ptio_block_unref(source->mapping);
    if (source->fd >= 0) close(source->fd);
    *source = (ptio_source){.fd = -1};
}
