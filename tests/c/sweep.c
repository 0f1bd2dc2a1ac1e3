/* SPDX-License-Identifier: Apache-2.0 */
#include "sweep.h"

#include "checkpoint.h"
#include "memory.h"

ptio_status sweep_read(void *reader, uint64_t offset, void *out, size_t n, ptio_error *err) {
    sweep_reader *r = reader;
    if (++r->reads == r->fail_at) return ptio_fail(err, PTIO_E_IO, "T0.io", offset, "the disk is gone");
    memcpy(out, r->bytes + offset, n);
    return PTIO_OK;
}

ptio_status sweep_open(const ptio_source *source, ptio_error *err) {
    const ptio_checkpoint_options options = {.limits = PTIO_LIMITS_DEFAULT};
    ptio_checkpoint c;
    ptio_status status = ptio_checkpoint_open(source, &options, &c, err);
    ptio_checkpoint_free(&c);
    return status;
}

static void check(const sweep_entry *e, uint64_t k, bool failed, ptio_status status, ptio_status failure, const ptio_error *err) {
    ptio_status expected = failed ? failure : e->expected;
    if (failed && failure == PTIO_E_IO && e->goes_on && status != PTIO_E_NO_MEMORY) return;
    if (status != expected || (status != PTIO_OK && err->status != status))
        test_fail(__FILE__, __LINE__, "%s, %s %llu: %s %s %s", e->name, failure == PTIO_E_IO ? "read" : "allocation",
                  (unsigned long long)k, ptio_status_name(status), err->check, err->message);
}

static void sweep_allocations(const sweep_entry *e, const void *bytes, size_t size) {
    ptio_source source;
    ptio_error err = {0};
    uint64_t k = 1;
    for (bool more = true; more; k++) {
        more = false;
        for (int callback = 0; callback < 2; callback++) {
            sweep_reader r = {.bytes = bytes};
            if (callback) ptio_source_callback(sweep_read, &r, size, &source);
            else ptio_source_borrow(bytes, size, &source);
            ptio_memory_fail_at(k);
            ptio_status status = e->run(&source, &err);
            bool failed = ptio_memory_fail_at(0) == 0;
            more = more || failed;
            check(e, k, failed, status, PTIO_E_NO_MEMORY, &err);
        }
    }
    if (k - 2 < e->allocations) test_fail(__FILE__, __LINE__, "%s: only %llu allocations", e->name, (unsigned long long)k - 2);
}

static void sweep_reads(const sweep_entry *e, const void *bytes, size_t size) {
    ptio_source source;
    ptio_error err = {0};
    uint64_t k = 1;
    for (bool failed = true; failed; k++) {
        sweep_reader r = {.bytes = bytes, .fail_at = k};
        ptio_source_callback(sweep_read, &r, size, &source);
        ptio_status status = e->run(&source, &err);
        failed = r.reads >= k;
        check(e, k, failed, status, PTIO_E_IO, &err);
    }
    if (k - 2 < e->reads) test_fail(__FILE__, __LINE__, "%s: only %llu reads", e->name, (unsigned long long)k - 2);
}

void sweep_failures(const sweep_entry *entries, size_t count, const void *bytes, size_t size) {
    for (const sweep_entry *e = entries; e < entries + count; e++) {
        sweep_allocations(e, bytes, size);
        sweep_reads(e, bytes, size);
    }
}
