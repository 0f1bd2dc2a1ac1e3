/* SPDX-License-Identifier: Apache-2.0
 *
 * SipHash-1-3 (J.-P. Aumasson, D. J. Bernstein) over bytes as they are or with
 * ASCII letters folded. The values depend on the host's byte order: never store one.
 */
#include "hash.h"

#include <sys/random.h>
#include <unistd.h>

ptio_status ptio_hash_key_new(ptio_hash_key *out, ptio_error *err) {
    ptio_hash_key key;
    if (getentropy(&key, sizeof key) != 0) return ptio_fail_errno(err, "getentropy");
    *out = key;
    return PTIO_OK;
}

static inline uint64_t rotate(uint64_t x, unsigned bits) { return x << bits | x >> (64 - bits); }

typedef struct {
    uint64_t v0, v1, v2, v3;
} sip_state;

static inline void sip_round(sip_state *s) {
    s->v0 += s->v1, s->v1 = rotate(s->v1, 13) ^ s->v0, s->v0 = rotate(s->v0, 32);
    s->v2 += s->v3, s->v3 = rotate(s->v3, 16) ^ s->v2;
    s->v0 += s->v3, s->v3 = rotate(s->v3, 21) ^ s->v0;
    s->v2 += s->v1, s->v1 = rotate(s->v1, 17) ^ s->v2, s->v2 = rotate(s->v2, 32);
}

/* Lower-cases the ASCII letters among eight bytes: bit 7 of `upper` is set in the
 * bytes from 'A' to 'Z', and a quarter of it is the difference to 'a'. */
static inline uint64_t fold(uint64_t word) {
    const uint64_t ones = UINT64_C(0x0101010101010101);
    uint64_t low = word & ones * 0x7F;
    uint64_t upper = ((low + ones * (0x80 - 'A')) ^ (low + ones * (0x7F - 'Z'))) & ~word & ones * 0x80;
    return word | upper >> 2;
}

static inline uint64_t sip(const ptio_hash_key *key, const uint8_t *p, size_t n, bool folded) {
    sip_state s = {key->k0 ^ UINT64_C(0x736f6d6570736575), key->k1 ^ UINT64_C(0x646f72616e646f6d),
                   key->k0 ^ UINT64_C(0x6c7967656e657261), key->k1 ^ UINT64_C(0x7465646279746573)};
    uint64_t word, last = 0;
    size_t left = n;
    for (; left >= 8; left -= 8, p += 8) {
        memcpy(&word, p, 8);
        if (folded) word = fold(word);
        s.v3 ^= word;
        sip_round(&s);
        s.v0 ^= word;
    }
    for (size_t i = 0; i < left; i++) last |= (uint64_t)p[i] << (8 * i);
    if (folded) last = fold(last);
    last |= (uint64_t)n << 56;
    s.v3 ^= last;
    sip_round(&s);
    s.v0 ^= last;
    s.v2 ^= 0xFF;
    sip_round(&s);
    sip_round(&s);
    sip_round(&s);
    return s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
}

uint64_t ptio_hash(const ptio_hash_key *key, const void *bytes, size_t n) {
    return sip(key, bytes, n, false);
}

uint64_t ptio_hash_folded(const ptio_hash_key *key, const void *bytes, size_t n) {
    return sip(key, bytes, n, true);
}
