/* SPDX-License-Identifier: Apache-2.0
 *
 * SipHash-1-3: a keyed hash, so that no file can be made whose names collide.
 */
#ifndef PTIO_HASH_H
#define PTIO_HASH_H

#include "error.h"

typedef struct {
    uint64_t k0, k1;
} ptio_hash_key;

/* A fresh random key. */
ptio_status ptio_hash_key_new(ptio_hash_key *out, ptio_error *err) PTIO_MUST_CHECK;

uint64_t ptio_hash(const ptio_hash_key *key, const void *bytes, size_t n);

/* The same for names that differ only in the case of ASCII letters. */
uint64_t ptio_hash_folded(const ptio_hash_key *key, const void *bytes, size_t n);

#endif
