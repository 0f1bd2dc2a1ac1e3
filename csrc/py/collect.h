/* SPDX-License-Identifier: Apache-2.0
 *
 * Walks an object once and writes its pickle, as CPython's C pickler would. What
 * is no plain Python data goes to `other`: torch's values or NumPy's.
 */
#ifndef PTIO_COLLECT_H
#define PTIO_COLLECT_H

#include "../core/pickle_write.h"
#include "module.h"

typedef enum {
    PTIO_SAVED,
    PTIO_FAILED,    /* an exception is set */
    PTIO_NOT_FOR_US /* an object that only CPython's pickler knows; no exception */
} ptio_save_result;

#define SAVE(call)                                 \
    do {                                           \
        ptio_save_result result_ = (call);         \
        if (result_ != PTIO_SAVED) return result_; \
    } while (0)

typedef struct ptio_collector ptio_collector;
typedef ptio_save_result (*ptio_save_other)(ptio_collector *c, PyObject *object);

/* A storage, in the order in which the pickle first names it. */
typedef struct {
    PyObject *owner; /* torch.UntypedStorage, or what NumPy's collector keeps */
    PyObject *key;   /* str: "0", "1", ... always the same object */
    PyObject *dtype; /* of the first tensor over it */
    bool in_memory;  /* of the CPU: */
    uint64_t address, bytes;
} ptio_saved_storage;

struct ptio_collector {
    ptio_state *state;
    ptio_pickler pickler;
    ptio_error err;
    ptio_save_other other;
    void *context;      /* of other */
    bool always_encode; /* b"" as a text, too */
    PyObject **kept;    /* all whose addresses are in the memo: no other object may get those */
    size_t kept_count, kept_capacity;
    PyObject *storage_word, *cpu_word, *latin1_word; /* Python's one object for each */
    ptio_saved_storage *storages;
    size_t storage_count, storage_capacity;
};

int ptio_collector_init(ptio_collector *c, ptio_state *state, ptio_save_other other, void *context);
void ptio_collector_clear(ptio_collector *c);
/* The whole pickle: (bytes, [owner of each storage, or (owner, address, bytes) where that is
 * known]), None for PTIO_NOT_FOR_US, or NULL. */
PyObject *ptio_collect(ptio_collector *c, PyObject *object);

ptio_save_result ptio_save(ptio_collector *c, PyObject *object);
/* What __reduce_ex__(2) returned for an object, as far as it is a plain call. */
ptio_save_result ptio_save_reduced(ptio_collector *c, PyObject *object, PyObject *reduced);
/* The items, pairs and state in it, for the object on top of the stack. */
ptio_save_result ptio_save_contents(ptio_collector *c, PyObject *reduced);
/* A class or function. object is its identity in the memo. */
ptio_save_result ptio_save_global(ptio_collector *c, PyObject *object, const char *module, const char *name);
/* OrderedDict(): one for every tensor. */
ptio_save_result ptio_save_empty_ordered_dict(ptio_collector *c);
ptio_save_result ptio_save_int_tuple(ptio_collector *c, const int64_t *values, size_t count);

/* ('storage', class, key, location, numel); save_class writes the class. */
typedef ptio_save_result (*ptio_save_class)(ptio_collector *c, PyObject *class_);
ptio_save_result ptio_save_storage_id(ptio_collector *c, PyObject *class_, ptio_save_class save_class,
                                      const ptio_saved_storage *storage, PyObject *location, int64_t numel);

/* A status of the core as a result: raises. */
ptio_save_result ptio_save_status(ptio_collector *c, ptio_status status);
#define WRITE(c, call) SAVE(ptio_save_status((c), (call)))

/* Keeps a new reference until the pickle is done. Steals it; NULL is PTIO_FAILED. */
ptio_save_result ptio_keep(ptio_collector *c, PyObject *object);

static inline uint64_t ptio_memo_key(const PyObject *object) { return (uint64_t)(uintptr_t)object; }

#endif
