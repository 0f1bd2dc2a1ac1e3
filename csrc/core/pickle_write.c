/* SPDX-License-Identifier: Apache-2.0
 *
 * Opcodes of protocol 2 as CPython's C pickler chooses them. Its habits are the same
 * from 3.10 to 3.13; where one looks odd, the comment says so.
 */
#include "pickle_write.h"

#include "memory.h"

enum { PROTOCOL = 2, BATCH = 1000, FIRST_MEMO = 64 };

typedef unsigned long long ull;

/* --- bytes ---------------------------------------------------------------- */

static ptio_status grow(ptio_pickler *p, size_t n, ptio_error *err) {
    if (n > SIZE_MAX - p->size) return ptio_no_memory(err);
    void *bytes = p->bytes;
    PTIO_TRY(ptio_grow(&bytes, &p->capacity, p->size + n, 1, err));
    p->bytes = bytes;
    return PTIO_OK;
}

static inline ptio_status PTIO_MUST_CHECK make_room(ptio_pickler *p, size_t n, ptio_error *err) {
    return PTIO_LIKELY(n <= p->capacity - p->size) ? PTIO_OK : grow(p, n, err);
}

/* The lowest `size` bytes of a number, lowest first; there is room. */
static void put(ptio_pickler *p, uint64_t value, unsigned size) {
    for (unsigned i = 0; i < size; i++) p->bytes[p->size++] = (uint8_t)(value >> (8 * i));
}

static void put_bytes(ptio_pickler *p, const void *bytes, size_t n) {
    if (n > 0) memcpy(p->bytes + p->size, bytes, n);
    p->size += n;
}

/* An opcode with a number of `size` bytes behind it. */
static ptio_status put_op(ptio_pickler *p, ptio_opcode op, uint64_t value, unsigned size, ptio_error *err) {
    PTIO_TRY(make_room(p, 1 + size, err));
    p->bytes[p->size++] = (uint8_t)op;
    put(p, value, size);
    return PTIO_OK;
}

ptio_status ptio_pickler_op(ptio_pickler *p, ptio_opcode op, ptio_error *err) {
    return put_op(p, op, 0, 0, err);
}

static void free_memo(ptio_pickler *p) {
    ptio_free(p->memo);
    p->memo = NULL;
    p->memo_capacity = p->keys = 0;
}

ptio_status ptio_pickler_begin(ptio_pickler *p, ptio_error *err) {
    return put_op(p, PTIO_OP_PROTO, PROTOCOL, 1, err);
}

ptio_status ptio_pickler_end(ptio_pickler *p, ptio_error *err) {
    PTIO_TRY(ptio_pickler_op(p, PTIO_OP_STOP, err));
    free_memo(p);
    return PTIO_OK;
}

void ptio_pickler_free(ptio_pickler *p) {
    free_memo(p);
    ptio_free(p->bytes);
    *p = (ptio_pickler){.bytes = NULL};
}

/* --- values --------------------------------------------------------------- */

ptio_status ptio_pickler_int(ptio_pickler *p, int64_t value, ptio_error *err) {
    if (value >= 0 && value <= UINT8_MAX) return put_op(p, PTIO_OP_BININT1, (uint64_t)value, 1, err);
    if (value >= 0 && value <= UINT16_MAX) return put_op(p, PTIO_OP_BININT2, (uint64_t)value, 2, err);
    if (value >= INT32_MIN && value <= INT32_MAX) return put_op(p, PTIO_OP_BININT, (uint64_t)value, 4, err);
    uint8_t bytes[8];
    for (unsigned i = 0; i < 8; i++) bytes[i] = (uint8_t)((uint64_t)value >> (8 * i));
    return ptio_pickler_long(p, bytes, sizeof bytes, err);
}

ptio_status ptio_pickler_long(ptio_pickler *p, const uint8_t *bytes, size_t n, ptio_error *err) {
    /* No byte more than the sign needs. */
    while (n > 1 && bytes[n - 1] == (bytes[n - 2] & 0x80 ? 0xFF : 0)) n--;
    PTIO_CHECK(n > 0 && n <= INT32_MAX, "W5.long", err, UNWRITABLE, PTIO_NO_OFFSET,
               "an integer of %zu bytes cannot be in a pickle", n);
    PTIO_TRY(make_room(p, n + 5, err));
    PTIO_TRY(n < 256 ? put_op(p, PTIO_OP_LONG1, n, 1, err) : put_op(p, PTIO_OP_LONG4, n, 4, err));
    put_bytes(p, bytes, n);
    return PTIO_OK;
}

ptio_status ptio_pickler_float(ptio_pickler *p, double value, ptio_error *err) {
    uint64_t bits, reversed = 0;
    memcpy(&bits, &value, sizeof bits);
    for (unsigned i = 0; i < 8; i++) reversed |= (bits >> (8 * i) & 0xFF) << (56 - 8 * i);
    return put_op(p, PTIO_OP_BINFLOAT, reversed, 8, err); /* the only number with its highest byte first */
}

ptio_status ptio_pickler_text(ptio_pickler *p, const void *utf8, size_t n, ptio_error *err) {
    PTIO_CHECK(n <= UINT32_MAX, "W5.text", err, UNWRITABLE, PTIO_NO_OFFSET,
               "a string of %llu bytes is too long for a pickle of protocol 2: it takes less than 4 GiB",
               (ull)n);
    return ptio_pickler_sized(p, PTIO_OP_BINUNICODE, 4, utf8, n, err);
}

ptio_status ptio_pickler_sized(ptio_pickler *p, ptio_opcode op, unsigned width, const void *bytes, size_t n,
                               ptio_error *err) {
    PTIO_TRY(make_room(p, n + 1 + width, err));
    PTIO_TRY(put_op(p, op, n, width, err));
    put_bytes(p, bytes, n);
    return PTIO_OK;
}

/* The opcode has its arguments as lines of ASCII. */
static bool is_line(const char *text) {
    for (; *text != '\0'; text++)
        if (*text == '\n' || (uint8_t)*text >= 0x80) return false;
    return true;
}

ptio_status ptio_pickler_global(ptio_pickler *p, const char *module, const char *name, ptio_error *err) {
    char quoted_module[PTIO_QUOTED], quoted_name[PTIO_QUOTED];
    size_t n = strlen(module), m = strlen(name);
    PTIO_CHECK(is_line(module) && is_line(name), "W5.global", err, UNWRITABLE, PTIO_NO_OFFSET,
               "the global %s.%s cannot be named in a pickle of protocol 2",
               ptio_quote(quoted_module, module, n), ptio_quote(quoted_name, name, m));
    PTIO_TRY(make_room(p, n + m + 3, err));
    PTIO_TRY(ptio_pickler_op(p, PTIO_OP_GLOBAL, err));
    put_bytes(p, module, n);
    put(p, '\n', 1);
    put_bytes(p, name, m);
    put(p, '\n', 1);
    return PTIO_OK;
}

/* --- the memo ------------------------------------------------------------- */

/* The slot of the key, or the free one where it would be; there is a free one. The
 * multiplication brings the bits in which addresses differ to the top. */
static ptio_pickler_slot *find(const ptio_pickler *p, uint64_t key) {
    size_t mask = p->memo_capacity - 1;
    size_t at = (size_t)(key * UINT64_C(0x9E3779B97F4A7C15) >> 32) & mask;
    while (p->memo[at].key != 0 && p->memo[at].key != key) at = (at + 1) & mask;
    return &p->memo[at];
}

static ptio_status widen_memo(ptio_pickler *p, ptio_error *err) {
    size_t capacity = p->memo_capacity == 0 ? FIRST_MEMO : 2 * p->memo_capacity;
    ptio_pickler_slot *old = p->memo, *wider = ptio_alloc_zeroed(capacity, sizeof *wider);
    size_t old_capacity = p->memo_capacity;
    if (wider == NULL) return ptio_no_memory(err);
    p->memo = wider;
    p->memo_capacity = capacity;
    for (size_t i = 0; i < old_capacity; i++)
        if (old[i].key != 0) *find(p, old[i].key) = old[i];
    ptio_free(old);
    return PTIO_OK;
}

static ptio_status put_number(ptio_pickler *p, ptio_opcode near, ptio_opcode far, uint64_t number,
                              ptio_error *err) {
    if (number <= UINT8_MAX) return put_op(p, near, number, 1, err);
    return put_op(p, far, number, 4, err);
}

ptio_status ptio_pickler_memoize(ptio_pickler *p, uint64_t key, ptio_error *err) {
    PTIO_CHECK(p->memo_count <= UINT32_MAX, "W5.memo", err, UNWRITABLE, PTIO_NO_OFFSET,
               "a pickle of protocol 2 has no more than 2^32 objects");
    if (key != 0 && p->keys >= p->memo_capacity / 2) PTIO_TRY(widen_memo(p, err));
    PTIO_TRY(put_number(p, PTIO_OP_BINPUT, PTIO_OP_LONG_BINPUT, p->memo_count, err));
    if (key != 0) {
        ptio_pickler_slot *slot = find(p, key);
        p->keys += slot->key == 0;
        *slot = (ptio_pickler_slot){key, p->memo_count};
    }
    p->memo_count++;
    return PTIO_OK;
}

bool ptio_pickler_knows(const ptio_pickler *p, uint64_t key) {
    return p->keys > 0 && key != 0 && find(p, key)->key == key;
}

ptio_status ptio_pickler_recall(ptio_pickler *p, uint64_t key, bool *known, ptio_error *err) {
    bool found = ptio_pickler_knows(p, key);
    if (found) PTIO_TRY(put_number(p, PTIO_OP_BINGET, PTIO_OP_LONG_BINGET, find(p, key)->number, err));
    *known = found;
    return PTIO_OK;
}

/* --- tuples and containers ------------------------------------------------ */

enum { SHORT_TUPLE = 3 }; /* these have opcodes of their own and no mark */

ptio_status ptio_pickler_tuple_begin(ptio_pickler *p, size_t n, ptio_error *err) {
    return n > SHORT_TUPLE ? ptio_pickler_op(p, PTIO_OP_MARK, err) : PTIO_OK;
}

/* Takes the items of a tuple from the stack again. */
static ptio_status drop_items(ptio_pickler *p, size_t n, ptio_error *err) {
    if (n > SHORT_TUPLE) return ptio_pickler_op(p, PTIO_OP_POP_MARK, err);
    for (size_t i = 0; i < n; i++) PTIO_TRY(ptio_pickler_op(p, PTIO_OP_POP, err));
    return PTIO_OK;
}

ptio_status ptio_pickler_tuple_end(ptio_pickler *p, size_t n, uint64_t key, ptio_error *err) {
    static const ptio_opcode ops[] = {PTIO_OP_EMPTY_TUPLE, PTIO_OP_TUPLE1, PTIO_OP_TUPLE2, PTIO_OP_TUPLE3,
                                      PTIO_OP_TUPLE};
    bool known = n > 0 && ptio_pickler_knows(p, key);
    if (known) {
        PTIO_TRY(drop_items(p, n, err));
        return ptio_pickler_recall(p, key, &known, err);
    }
    PTIO_TRY(ptio_pickler_op(p, ops[n > SHORT_TUPLE ? SHORT_TUPLE + 1 : n], err));
    return n == 0 ? PTIO_OK : ptio_pickler_memoize(p, key, err); /* the empty tuple has no number */
}

/* A single item goes without a mark: of an exact container, only if it is the only one;
 * of other items also when it is what is left behind full batches. */
ptio_status ptio_pickler_item_begin(ptio_pickler *p, ptio_pickler_batch *batch, bool last, ptio_error *err) {
    if (batch->done % BATCH != 0) return PTIO_OK;
    batch->single = last && (batch->done == 0 || !batch->exact);
    return batch->single ? PTIO_OK : ptio_pickler_op(p, PTIO_OP_MARK, err);
}

ptio_status ptio_pickler_item_end(ptio_pickler *p, ptio_pickler_batch *batch, bool last, ptio_error *err) {
    bool full = ++batch->done % BATCH == 0;
    if (batch->single) return ptio_pickler_op(p, batch->pairs ? PTIO_OP_SETITEM : PTIO_OP_APPEND, err);
    if (full || last) PTIO_TRY(ptio_pickler_op(p, batch->pairs ? PTIO_OP_SETITEMS : PTIO_OP_APPENDS, err));
    /* After a full batch of an exact dict the pickler begins another one before it
     * sees that nothing is left. */
    if (full && last && batch->exact && batch->pairs) {
        PTIO_TRY(ptio_pickler_op(p, PTIO_OP_MARK, err));
        PTIO_TRY(ptio_pickler_op(p, PTIO_OP_SETITEMS, err));
    }
    return PTIO_OK;
}
