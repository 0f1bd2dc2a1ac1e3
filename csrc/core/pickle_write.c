/* SPDX-License-Identifier: Apache-2.0
 *
 * Opcodes of protocol 2 as CPython's C pickler chooses them. Its habits are the same
 * from 3.10 to 3.13; where one looks odd, the comment says so.
 */
#include "pickle_write.h"

#include "pages.h"

enum { PROTOCOL = 2, BATCH = 1000 };

typedef unsigned long long ull;

/* --- bytes ---------------------------------------------------------------- */

static ptio_status grow(ptio_pickler *p, size_t n, ptio_error *err) {
    if (n > SIZE_MAX - p->size) return ptio_no_memory(err);
    void *bytes = p->bytes;
    PTIO_TRY(ptio_pages_grow(&bytes, &p->capacity, p->size + n, 1, err));
    p->bytes = bytes;
    return PTIO_OK;
}

static inline ptio_status PTIO_MUST_CHECK make_room(ptio_pickler *p, size_t n, ptio_error *err) {
    return PTIO_LIKELY(n <= p->capacity - p->size) ? PTIO_OK : grow(p, n, err);
}

/* A number, lowest byte first; there is room for all 8 of it. Written out, compilers see one store. */
static inline void put_le64(uint8_t *to, uint64_t value) {
    to[0] = (uint8_t)value;
    to[1] = (uint8_t)(value >> 8);
    to[2] = (uint8_t)(value >> 16);
    to[3] = (uint8_t)(value >> 24);
    to[4] = (uint8_t)(value >> 32);
    to[5] = (uint8_t)(value >> 40);
    to[6] = (uint8_t)(value >> 48);
    to[7] = (uint8_t)(value >> 56);
}

static void put_bytes(ptio_pickler *p, const void *bytes, size_t n) {
    if (n > 0) memcpy(p->bytes + p->size, bytes, n);
    p->size += n;
}

/* An opcode with the lowest `size` bytes of a number behind it; what is above them is overwritten
 * by the next opcode. */
static inline ptio_status PTIO_MUST_CHECK put_op(ptio_pickler *p, ptio_opcode op, uint64_t value,
                                                 unsigned size, ptio_error *err) {
    PTIO_TRY(make_room(p, 1 + sizeof value, err));
    p->bytes[p->size] = (uint8_t)op;
    put_le64(p->bytes + p->size + 1, value);
    p->size += 1 + size;
    return PTIO_OK;
}

ptio_status ptio_pickler_op(ptio_pickler *p, ptio_opcode op, ptio_error *err) {
    PTIO_TRY(make_room(p, 1, err));
    p->bytes[p->size++] = (uint8_t)op;
    return PTIO_OK;
}

ptio_status ptio_pickler_begin(ptio_pickler *p, ptio_error *err) {
    return put_op(p, PTIO_OP_PROTO, PROTOCOL, 1, err);
}

ptio_status ptio_pickler_end(ptio_pickler *p, ptio_error *err) {
    PTIO_TRY(ptio_pickler_op(p, PTIO_OP_STOP, err));
    ptio_address_map_free(&p->memo);
    return PTIO_OK;
}

void ptio_pickler_free(ptio_pickler *p) {
    ptio_address_map_free(&p->memo);
    ptio_pages_free_array(p->bytes, p->capacity, 1);
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
    PTIO_TRY(make_room(p, n + 5, err));
    PTIO_TRY(put_op(p, PTIO_OP_BINUNICODE, n, 4, err));
    put_bytes(p, utf8, n);
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
    put_bytes(p, "\n", 1);
    put_bytes(p, name, m);
    put_bytes(p, "\n", 1);
    return PTIO_OK;
}

/* --- the memo ------------------------------------------------------------- */

static ptio_status put_number(ptio_pickler *p, ptio_opcode near, ptio_opcode far, uint64_t number,
                              ptio_error *err) {
    if (number <= UINT8_MAX) return put_op(p, near, number, 1, err);
    return put_op(p, far, number, 4, err);
}

ptio_status ptio_pickler_memoize(ptio_pickler *p, uint64_t key, ptio_error *err) {
    PTIO_CHECK(p->memo_count <= UINT32_MAX, "W5.memo", err, UNWRITABLE, PTIO_NO_OFFSET,
               "a pickle of protocol 2 has no more than 2^32 objects");
    PTIO_TRY(put_number(p, PTIO_OP_BINPUT, PTIO_OP_LONG_BINPUT, p->memo_count, err));
    if (key != 0) PTIO_TRY(ptio_address_map_put(&p->memo, key, p->memo_count, err));
    p->memo_count++;
    return PTIO_OK;
}

bool ptio_pickler_knows(const ptio_pickler *p, uint64_t key) {
    return ptio_address_map_find(&p->memo, key) != NULL;
}

ptio_status ptio_pickler_get(ptio_pickler *p, uint64_t number, ptio_error *err) {
    return put_number(p, PTIO_OP_BINGET, PTIO_OP_LONG_BINGET, number, err);
}

ptio_status ptio_pickler_recall(ptio_pickler *p, uint64_t key, bool *known, ptio_error *err) {
    const uint64_t *number = ptio_address_map_find(&p->memo, key);
    if (number != NULL) PTIO_TRY(ptio_pickler_get(p, *number, err));
    *known = number != NULL;
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
