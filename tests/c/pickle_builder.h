/* SPDX-License-Identifier: Apache-2.0
 *
 * Pickles as C literals, and checkpoints around them. A macro that makes a value
 * stands for the opcodes that push it; what is short is written as opcodes:
 * "]" is an empty list, "(...t" a tuple, "R" a call, "." the end.
 */
#ifndef PTIO_PICKLE_BUILDER_H
#define PTIO_PICKLE_BUILDER_H

#include "checkpoint.h"
#include "pickle_parse.h"
#include "test.h"
#include "vet.h"
#include "zip_builder.h"

/* --- values ------------------------------------------------------------------------ */

#define TEXT(text) "V" text "\n"
#define INT(digits) "I" digits "\n"
#define REAL(digits) "F" digits "\n"
#define PY2(text) "S'" text "'\n"
#define TRUE_ "\x88"
#define FALSE_ "\x89"
#define GLOBAL_OF(module, name) "c" module "\n" name "\n"
#define TUPLE(...) "(" __VA_ARGS__ "t" /* items one after another, without commas */
#define LIST(...) "(" __VA_ARGS__ "l"
#define DICT(...) "(" __VA_ARGS__ "d"
#define CALL(callee, arguments) callee "(" arguments "tR"
#define BYTES(escaped) CALL(GLOBAL_OF("_codecs", "encode"), TEXT(escaped) TEXT("latin1"))

/* An int whose bits are those of a tuple of `count` items, the first of which is the first that any
 * tuple of the pickle has, or `first` items later: what is no tuple must never be read as one. */
#define FORGED_TUPLE(count, first) FORGED_##count(first)
#define FORGED_1(first) "\x8a\5" first "\0\0\0\1"
#define FORGED_2(first) "\x8a\5" first "\0\0\0\2"
#define FORGED_3(first) "\x8a\5" first "\0\0\0\3"
#define FORGED_5(first) "\x8a\5" first "\0\0\0\5"
#define FORGED_8(first) "\x8a\5" first "\0\0\0\10"

/* An object of a class that nobody knows. */
#define UNKNOWN GLOBAL_OF("some.module", "Thing")
#define OPAQUE UNKNOWN ")\x81"

/* --- storages and tensors ------------------------------------------------------------ */

#define TORCH(name) GLOBAL_OF("torch", name)
#define UTILS(name) GLOBAL_OF("torch._utils", name)
#define STORAGE_ID(class_, key, location, count) \
    "(" TEXT("storage") class_ TEXT(key) TEXT(location) INT(count) "t"
#define STORAGE(class_, key, count) STORAGE_ID(TORCH(class_), key, "cpu", count) "Q"
#define UNTYPED(key, count) STORAGE_ID(GLOBAL_OF("torch.storage", "UntypedStorage"), key, "cpu", count) "Q"
#define FLOATS STORAGE("FloatStorage", "0", "4") /* all of data/0 */
#define HOOKS GLOBAL_OF("collections", "OrderedDict") ")R"
#define TENSOR_OF(storage, offset, size, stride)                                                          \
    CALL(UTILS("_rebuild_tensor_v2"), storage INT(offset) TUPLE(size) TUPLE(stride) FALSE_ HOOKS)
#define TENSOR TENSOR_OF(FLOATS, "0", INT("4"), INT("1"))
#define INDICES TENSOR_OF(STORAGE("LongStorage", "1", "2"), "0", INT("2"), INT("1"))

/* --- parsing --------------------------------------------------------------------------- */

#define LITERAL(literal) (literal), sizeof(literal) - 1

/* Where a pickle has to fail: at the opcode that `rest` begins with. */
typedef struct {
    int line;
    const char *before;
    size_t before_size;
    const char *rest;
    size_t rest_size;
    ptio_status status;
    const char *check, *fragment;
} broken_pickle;

#define BROKEN(before, rest, status, check, fragment) \
    {__LINE__, LITERAL(before), LITERAL(rest), PTIO_E_##status, check, fragment}
#define COUNT_OF(array) (sizeof(array) / sizeof(array)[0])

/* Parses a copy that ends where the pickle does, so that a sanitizer sees every byte
 * that is read behind it. *copy is what the graph points into. */
ptio_status parse_copy(const void *pickle, size_t size, bool inert, uint8_t **copy, ptio_graph *graph,
                       ptio_error *err);
void parse_broken(const char *file, const broken_pickle *cases, size_t count, bool inert);
#define PARSE_BROKEN(cases) parse_broken(__FILE__, (cases), COUNT_OF(cases), false)
#define PARSE_BROKEN_INERT(cases) parse_broken(__FILE__, (cases), COUNT_OF(cases), true)

/* --- checkpoints: the pickle, data/0 and data/1 of 16 bytes, data/empty, data/32 -------- */

typedef struct {
    zip_archive zip;
    ptio_source source;
    ptio_checkpoint c;
} opened;

ptio_checkpoint_options default_options(void);
ptio_status open_pickle(opened *o, const void *pickle, size_t size, const ptio_checkpoint_options *options,
                        ptio_error *err);
/* The same with a record `byteorder` of that text. */
ptio_status open_pickle_of(opened *o, const void *pickle, size_t size, const char *byte_order,
                           const ptio_checkpoint_options *options, ptio_error *err);
void opened_free(opened *o);

void open_broken(const char *file, const broken_pickle *cases, size_t count,
                 const ptio_checkpoint_options *options);
#define OPEN_BROKEN(cases) open_broken(__FILE__, (cases), COUNT_OF(cases), NULL)
#define OPEN_BROKEN_INERT(cases)                              \
    do {                                                      \
        ptio_checkpoint_options inert_ = default_options();   \
        inert_.inert = true;                                  \
        open_broken(__FILE__, (cases), COUNT_OF(cases), &inert_); \
    } while (0)

/* A pickle that has to open. Returns its root, aliases followed, in the static result. */
typedef struct {
    int line;
    const char *pickle;
    size_t size;
} fine_pickle;
#define FINE_PICKLE(pickle) {__LINE__, LITERAL(pickle)}
void open_fine(const char *file, const fine_pickle *cases, size_t count, bool inert);
#define OPEN_FINE(cases) open_fine(__FILE__, (cases), COUNT_OF(cases), false)
#define OPEN_FINE_INERT(cases) open_fine(__FILE__, (cases), COUNT_OF(cases), true)

/* The value of the pickle, and the tensor that it is. */
const ptio_node *opened_root(const opened *o);
const ptio_tensor *opened_tensor(const opened *o);

/* --- large pickles ------------------------------------------------------------------------ */

typedef struct {
    uint8_t *bytes;
    size_t size, capacity;
} pickle_buffer;

void pickle_add(pickle_buffer *p, const void *bytes, size_t n);
void pickle_add_times(pickle_buffer *p, const void *bytes, size_t n, size_t times);
void pickle_add_u32(pickle_buffer *p, uint32_t value);
void pickle_free(pickle_buffer *p);
#define ADD(p, literal) pickle_add((p), LITERAL(literal))
#define ADD_TIMES(p, literal, times) pickle_add_times((p), LITERAL(literal), (times))

#endif
