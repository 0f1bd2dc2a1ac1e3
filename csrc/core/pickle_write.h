/* SPDX-License-Identifier: Apache-2.0
 *
 * Writes a pickle of protocol 2, byte for byte as CPython's C pickler does. The
 * caller walks its objects in the pickler's order and says what each one is; here
 * are the opcodes, the memo and the batches of items. Knows no Python.
 */
#ifndef PTIO_PICKLE_WRITE_H
#define PTIO_PICKLE_WRITE_H

#include "address_map.h"

typedef enum {
#define OPCODE(byte, name, protocol, argument, handler) PTIO_OP_##name = byte,
#include "opcodes.def"
#undef OPCODE
} ptio_opcode;

typedef struct {
    uint8_t *bytes; /* the pickle: an array of pages.h */
    size_t size, capacity;
    ptio_address_map memo;
    uint64_t memo_count; /* the next number: one for each object that was memoized */
} ptio_pickler;          /* {0} is an empty one */

/* Frees what a pickler holds and leaves {0}. */
void ptio_pickler_free(ptio_pickler *p);

/* PROTO 2. */
ptio_status ptio_pickler_begin(ptio_pickler *p, ptio_error *err) PTIO_MUST_CHECK;

/* STOP: bytes and size are the pickle. The memo is gone. */
ptio_status ptio_pickler_end(ptio_pickler *p, ptio_error *err) PTIO_MUST_CHECK;

/* An opcode without an argument: NONE, NEWTRUE, EMPTY_DICT, REDUCE, BUILD, BINPERSID ... */
ptio_status ptio_pickler_op(ptio_pickler *p, ptio_opcode op, ptio_error *err) PTIO_MUST_CHECK;

/* --- values: of these, strings and globals are memoized next --- */

ptio_status ptio_pickler_int(ptio_pickler *p, int64_t value, ptio_error *err) PTIO_MUST_CHECK;

/* An integer outside of int64_t: n > 0 bytes of two's complement, lowest first. */
ptio_status ptio_pickler_long(ptio_pickler *p, const uint8_t *bytes, size_t n,
                              ptio_error *err) PTIO_MUST_CHECK;

ptio_status ptio_pickler_float(ptio_pickler *p, double value, ptio_error *err) PTIO_MUST_CHECK;

/* UTF-8; lone surrogates as three bytes, as in Python's "surrogatepass". */
ptio_status ptio_pickler_text(ptio_pickler *p, const void *utf8, size_t n, ptio_error *err) PTIO_MUST_CHECK;

/* Names as protocol 2 has them: "__builtin__", not "builtins". */
ptio_status ptio_pickler_global(ptio_pickler *p, const char *module, const char *name,
                                ptio_error *err) PTIO_MUST_CHECK;

/* --- the memo --- */

/* BINPUT: gives the object on top of the stack, which is not known yet, the next number.
 * The key is its address, or 0 for an object that cannot come again: one that was made
 * for the pickle. */
ptio_status ptio_pickler_memoize(ptio_pickler *p, uint64_t key, ptio_error *err) PTIO_MUST_CHECK;

/* BINGET and *known = true if the object was memoized, else *known = false. */
ptio_status ptio_pickler_recall(ptio_pickler *p, uint64_t key, bool *known, ptio_error *err) PTIO_MUST_CHECK;

bool ptio_pickler_knows(const ptio_pickler *p, uint64_t key);

/* BINGET of an object whose number the caller has remembered: p->memo_count before it was memoized. */
ptio_status ptio_pickler_get(ptio_pickler *p, uint64_t number, ptio_error *err) PTIO_MUST_CHECK;

/* --- tuples and containers --- */

/* Before and after the n items of a tuple that is not known yet; memoizes it. A tuple
 * that was reached from itself is known by then, and recalled. */
ptio_status ptio_pickler_tuple_begin(ptio_pickler *p, size_t n, ptio_error *err) PTIO_MUST_CHECK;
ptio_status ptio_pickler_tuple_end(ptio_pickler *p, size_t n, uint64_t key, ptio_error *err) PTIO_MUST_CHECK;

/* What is put into a list or dict once that is memoized. The pickler has other habits
 * for an exact list or dict than for items that __reduce_ex__ gave. */
typedef struct {
    bool pairs;    /* SETITEMS rather than APPENDS */
    bool exact;    /* an exact list or dict */
    bool single;   /* the item goes without a mark; it is the last one, whatever comes */
    uint64_t done; /* items, or pairs of key and value; 0 to begin */
} ptio_pickler_batch;

/* Around each item or pair; neither is called where there are none. last: no other one
 * follows, as far as is known by then. Saving an item may change the container. */
ptio_status ptio_pickler_item_begin(ptio_pickler *p, ptio_pickler_batch *batch, bool last,
                                    ptio_error *err) PTIO_MUST_CHECK;
ptio_status ptio_pickler_item_end(ptio_pickler *p, ptio_pickler_batch *batch, bool last,
                                  ptio_error *err) PTIO_MUST_CHECK;

#endif
