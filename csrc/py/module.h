/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files of the glue share: the module's state and one declaration per
 * service. This folder is the only place that knows Python and NumPy; all it
 * knows of files and pickles comes from csrc/core.
 */
#ifndef PTIO_MODULE_H
#define PTIO_MODULE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#define NPY_NO_DEPRECATED_API NPY_1_20_API_VERSION
#define NPY_TARGET_VERSION NPY_1_23_API_VERSION
#define PY_ARRAY_UNIQUE_SYMBOL ptio_numpy_api
#ifndef PTIO_IMPORTS_NUMPY
#define NO_IMPORT_ARRAY
#endif
#include <numpy/arrayobject.h>

#include "dlpack_abi.h"

#include "../core/arena.h"
#include "../core/checkpoint.h"
#include "../core/graph_walk.h"
#include "../core/memory.h"
#include "../core/pickle_parse.h"
#include "../core/record_read.h"
#include "../core/sniff.h"
#include "../core/vet.h"

typedef struct {
    PyTypeObject *source_type;
    PyTypeObject *storage_type;
    PyTypeObject *checkpoint_type;
    PyTypeObject *archive_type;
    PyTypeObject *writer_type;
    PyTypeObject *salvage_type;
    PyObject *record_type; /* named tuples of _core.pyi */
    PyObject *tensor_info_type;
    PyObject *finding_type;

    /* Made when they are first asked for, see state.c. */
    PyObject *errors;                   /* module ptio._errors */
    PyObject *types;                    /* module ptio._types */
    PyObject *dtypes[PTIO_DTYPE_COUNT]; /* numpy.dtype, or ptio.TorchDtype */
    PyObject *callables[PTIO_MAKER_COUNT];
} ptio_state;

extern struct PyModuleDef ptio_module;
ptio_state *ptio_state_of_type(PyTypeObject *type);

/* --- state.c: borrowed references, or NULL with an exception set -------------------- */

PyObject *ptio_state_errors(ptio_state *state);
PyObject *ptio_state_types(ptio_state *state);
/* numpy.dtype where NumPy or ml_dtypes has the type, else a TorchDtype. */
PyObject *ptio_state_dtype(ptio_state *state, ptio_dtype dtype);
/* torch.<dtype> as a value, a new reference: a quantized one stays a TorchDtype. */
PyObject *ptio_state_dtype_value(ptio_state *state, ptio_dtype dtype);
/* The Python or NumPy callable that a maker with trait P stands for. */
PyObject *ptio_state_callable(ptio_state *state, ptio_maker maker);
int ptio_state_traverse(ptio_state *state, visitproc visit, void *arg);
void ptio_state_clear(ptio_state *state);

/* --- errors.c ------------------------------------------------------------------------ */

/* Raises the exception for a failure of the core. checkpoint gives the list of
 * forbidden globals and may be NULL, as may path. */
void ptio_raise(ptio_state *state, const ptio_error *err, PyObject *path, const ptio_checkpoint *checkpoint);

/* For callbacks of the core that run Python: the exception stays set. */
ptio_status ptio_python_failed(ptio_error *err);

/* --- attributes.c --------------------------------------------------------------------- */

/* An attribute of an object, and where a struct has it. A table ends with {NULL}. */
typedef struct {
    const char *name;
    size_t at;
} ptio_attribute;

/* 0, or -1 with an exception: what came before is there and has to be cleared. */
int ptio_read_attributes(PyObject *object, const ptio_attribute *attributes, void *into);
void ptio_clear_attributes(const ptio_attribute *attributes, void *into);

/* --- turn.c ------------------------------------------------------------------------------ */

/* A lock for work that may run Python code. It knows who has it: a callback that comes back to
 * what it was called from gets an exception instead of waiting for itself. */
typedef struct {
    PyThread_type_lock lock;
    unsigned long holder; /* thread; 0 for none */
} ptio_turn;

int ptio_turn_init(ptio_turn *turn);
void ptio_turn_clear(ptio_turn *turn);
/* With the GIL, which is released while waiting. */
int ptio_turn_take(ptio_turn *turn);
void ptio_turn_give(ptio_turn *turn);

/* --- the types ------------------------------------------------------------------------- */

typedef struct ptio_source_object {
    PyObject_HEAD ptio_source source;
    bool open;
    bool stream;     /* not all of a file: other bytes may follow the checkpoint */
    size_t users;    /* calls that read it without the GIL: close() leaves the closing to the last */
    PyObject *owner; /* bytes that are borrowed, or the file object */
    uint64_t base;   /* where offset 0 lies in the file object */
    ptio_turn turn;  /* of a file object, which has one position */
    struct ptio_source_object *whole; /* of a part of a file object: whose turn it takes */
} ptio_source_object;

typedef struct {
    PyObject_HEAD ptio_block *block; /* NULL for an empty storage */
    uint8_t *bytes;
    uint64_t size;
    uint8_t nothing[16]; /* what an empty storage points to */
} ptio_storage_object;

/* Refused names that an error lists: more than any program has, but a file may name a million. */
enum { PTIO_MOST_NAMES = 10000 };

/* What a caller's rule has said of the globals of a file. */
typedef struct {
    PyObject *judge;     /* callable(module, name) -> (judgement, object); NULL: there is no rule */
    PyObject *asked;     /* {(module, name): (judgement, number of the object)} */
    PyObject *objects;   /* list */
    uint32_t *of_global; /* row of globals.def -> number of its object, plus 1 */
    unsigned refused;    /* uses of refused names so far */
} ptio_judging;

typedef struct {
    PyObject_HEAD ptio_source_object *source;
    ptio_checkpoint checkpoint;
    ptio_judging judging;
    ptio_limits limits;
    PyObject *encoding; /* str */
    PyObject *path;     /* str or None */
    PyObject *members;  /* tuple that owns the names in checkpoint.members, or None */
    PyObject *error;    /* why there is no graph, of a lenient one; else NULL */
    ptio_turn turn;     /* over the index while records are proven */
} ptio_checkpoint_object;

typedef struct {
    PyObject_HEAD ptio_source_object *source;
    ptio_checkpoint checkpoint; /* without a graph */
    ptio_limits limits;
    PyObject *path; /* str or None */
} ptio_archive_object;

extern PyType_Spec ptio_source_spec, ptio_storage_spec, ptio_checkpoint_spec, ptio_archive_spec,
    ptio_writer_spec, ptio_salvage_spec;

/* source_type.c: before and after reading without the GIL. -1 with an exception where it is closed. */
int ptio_source_enter(ptio_source_object *self);
void ptio_source_leave(ptio_source_object *self);
/* Ends a memoryview of memory that is about to go. Nobody may keep it, also when
 * the call that got it failed: an exception that is set stays set. Steals view. */
int ptio_release_view(PyObject *view);

/* archive_check.c */
PyObject *ptio_checkpoint_locate(ptio_checkpoint_object *self, PyObject *unused);
PyObject *ptio_checkpoint_second_opinion(ptio_checkpoint_object *self, PyObject *unused);

/* judge.c */
int ptio_judging_init(ptio_judging *judging, PyObject *judge);
void ptio_judging_clear(ptio_judging *judging);
int ptio_judging_traverse(ptio_judging *judging, visitproc visit, void *arg);
ptio_status ptio_judge_global(void *judging, uint32_t global, const uint8_t *module, size_t module_size,
                              const uint8_t *name, size_t name_size, ptio_judgement *judgement,
                              uint16_t *object, ptio_error *err);
PyObject *ptio_judged_object(const ptio_judging *judging, uint32_t number); /* borrowed */

/* Steals the block reference. */
PyObject *ptio_storage_new(ptio_state *state, ptio_block *block, uint8_t *bytes, uint64_t size);

/* storage_dlpack.c: memory as a DLPack tensor that holds a reference to block (which may be NULL). */
struct dlpack_managed_versioned *ptio_dlpack_new(ptio_block *block, void *bytes, dlpack_dtype dtype,
                                                 const int64_t *sizes, const int64_t *strides, size_t ndim);
/* The exchange table of a tensor type; NULL where it has none: its methods do the same, a little
 * slower. 0, or -1 with an exception. */
int ptio_find_exchange_api(PyObject *tensor_type, const struct dlpack_exchange_api **api);
PyObject *ptio_storage_dlpack(ptio_storage_object *self, PyObject *args, PyObject *kwargs);
PyObject *ptio_storage_dlpack_device(ptio_storage_object *self, PyObject *unused);

/* --- listing.c ----------------------------------------------------------------------------- */

PyObject *ptio_list_records(ptio_state *state, const ptio_checkpoint *checkpoint);
PyObject *ptio_list_tensors(ptio_state *state, const ptio_checkpoint *checkpoint, bool composites,
                            const ptio_limits *limits, PyObject *path);
/* The first `limit` leaves that are no tensors: [(path, value)]. */
PyObject *ptio_list_leaves(ptio_state *state, const ptio_checkpoint *checkpoint, Py_ssize_t limit,
                           const ptio_limits *limits, PyObject *path);
/* Whose names are no surprise, and how many names become rows. */
typedef struct {
    const char *const *allow; /* as ptio_checkpoint_options has it */
    size_t allow_count;
    Py_ssize_t most_unknown, most_others;
} ptio_global_rules;

/* What the pickle names, each once and in the order of its first use, also where opening has failed:
 * ([(module, name, "allowed", "data" or "unknown", count, offset)], unknown and other names that are
 * left out). */
PyObject *ptio_list_globals(ptio_state *state, const ptio_checkpoint *checkpoint, const ptio_limits *limits,
                            const ptio_global_rules *rules);
PyObject *ptio_list_findings(ptio_state *state, const ptio_checkpoint *checkpoint,
                             const ptio_record_verdict *verdicts);

/* --- building --------------------------------------------------------------------------------- */

/* The storages of a load. */
typedef struct {
    ptio_part part;      /* nodes to build; without refs: all that the result needs */
    bool single;         /* the part is one node, and so at most one storage */
    ptio_arena arena;    /* of the tables below, and of the builder's, unless it is a part */
    ptio_wanted *wanted; /* one for each storage that is read */
    uint32_t *wanted_of; /* slot -> index into wanted, plus 1; 0: it is not read */
    PyObject **objects;  /* slot -> Storage, or NULL until it is asked for */
    size_t count, slots;
    bool swaps;             /* some of them are in the other byte order */
    ptio_wanted one_wanted; /* the tables of a single one */
    uint32_t one_wanted_of;
    PyObject *one_object;
} ptio_loaded;

/* Where the tables above have a storage. */
static inline size_t ptio_slot_of(const ptio_loaded *loaded, uint32_t storage) {
    return loaded->single ? 0 : storage;
}

static inline ptio_wanted *ptio_wanted_of(const ptio_loaded *loaded, uint32_t storage) {
    return &loaded->wanted[loaded->wanted_of[ptio_slot_of(loaded, storage)] - 1];
}

typedef struct ptio_builder ptio_builder;

/* The values that differ between NumPy and torch: each returns a new reference. */
typedef struct {
    PyObject *(*tensor)(ptio_builder *builder, const ptio_node *node);
    PyObject *(*storage)(ptio_builder *builder, const ptio_node *node);
    PyObject *(*dtype)(ptio_builder *builder, ptio_dtype dtype);
    PyObject *(*global)(ptio_builder *builder, ptio_ref ref); /* MARKER, NAMED */
    PyObject *(*made)(ptio_builder *builder, const ptio_node *node);
} ptio_values;

extern const ptio_values ptio_numpy_values, ptio_torch_values;
extern const ptio_values ptio_info_values; /* a TensorInfo in the place of each tensor */

/* What ptio.torch hands in for one load; see ptio/torch/_ring.py for each. */
typedef struct {
    PyObject *tensor_type, *parameter_type, *subclass, *dtypes;
    PyObject *untyped, *meta_storage, *typed, *view, *meta;
    PyObject *set_bits, *set_state, *place, *makers, *call, *fill;
    const struct dlpack_exchange_api *api; /* NULL: this torch has none */
    PyObject *torch_dtypes[PTIO_DTYPE_COUNT];
    ptio_ref last_location; /* the tag that was placed last, and where */
    PyObject *last_place;
    bool without_data; /* storages go to the device "meta" */
    bool their_code;   /* the caller's own has run: what it raises the caller gets */
} ptio_ring;

struct ptio_builder {
    ptio_state *state;
    const ptio_checkpoint *c;
    const ptio_graph *graph;
    ptio_loaded *loaded;
    const ptio_values *values;
    ptio_ring *ring;             /* of torch's values */
    PyObject *infos;             /* of a tree: {node: object} */
    const ptio_judging *judging; /* of torch's values */
    PyObject **objects;          /* node -> its value, owned */
    const char *encoding;
    PyObject *path; /* for errors */
};

/* For ptio_read_options.tick: takes the GIL, looks for signals, reports progress. */
typedef struct {
    PyObject *progress; /* callable, or NULL */
} ptio_ticker;
ptio_status ptio_tick(void *ticker, uint64_t done, uint64_t total, ptio_error *err);

/* What Python says with verify, private, threads and progress ("OpIO"). The ticker must live as
 * long as the options. */
int ptio_read_options_set(PyObject *verify, int private_copy, unsigned threads, PyObject *progress,
                          ptio_read_options *options, ptio_ticker *ticker);

/* checkpoint_type.c: a converter for PyArg_Parse, from the fields of ptio.Limits. */
int ptio_read_limits(PyObject *tuple, void *limits);
/* -1 with an exception where the checkpoint has no graph, or its file is closed. */
int ptio_checkpoint_check_open(const ptio_checkpoint_object *self);

/* checkpoint_build.c: methods of Checkpoint that make objects. */
PyObject *ptio_checkpoint_build(ptio_checkpoint_object *self, PyObject *args, PyObject *kwargs);
PyObject *ptio_checkpoint_build_torch(ptio_checkpoint_object *self, PyObject *args, PyObject *kwargs);
PyObject *ptio_checkpoint_build_tree(ptio_checkpoint_object *self, PyObject *infos);

/* tensor_access.c: methods of Checkpoint for single tensors. */
PyObject *ptio_checkpoint_place(ptio_checkpoint_object *self, PyObject *node);
PyObject *ptio_checkpoint_gather(ptio_checkpoint_object *self, PyObject *args);
PyObject *ptio_checkpoint_advise(ptio_checkpoint_object *self, PyObject *args);
PyObject *ptio_checkpoint_member(ptio_checkpoint_object *self, PyObject *name);
PyObject *ptio_checkpoint_gaps(ptio_checkpoint_object *self, PyObject *unused);
PyObject *ptio_checkpoint_read_member(ptio_checkpoint_object *self, PyObject *args);
/* checkpoint_type.c: around work that reads the file and changes the index, without the GIL. */
int ptio_checkpoint_begin(ptio_checkpoint_object *self);
void ptio_checkpoint_end(ptio_checkpoint_object *self);
/* checkpoint_type.c: the node with the number that a TensorInfo gives, of an open checkpoint. */
int ptio_checkpoint_node(const ptio_checkpoint_object *self, PyObject *number, ptio_ref *out);

/* storages.c: reads what the result, or a part of it, needs, with the GIL released. Without data
 * it only proves. Takes part.refs over, also when it fails. */
int ptio_storages_load(ptio_checkpoint_object *self, ptio_state *state, const ptio_read_options *options,
                       bool without_data, ptio_part part, ptio_loaded *loaded);
void ptio_storages_release(ptio_loaded *loaded);
/* Borrowed Storage object. */
ptio_storage_object *ptio_storages_get(ptio_builder *builder, uint32_t storage);

/* build_torch.c */
int ptio_ring_init(ptio_ring *ring, PyObject *object, bool without_data);
void ptio_ring_clear(ptio_ring *ring);
/* Fails where a device is missing, before anything is read. */
int ptio_ring_check_places(ptio_ring *ring, const ptio_checkpoint *checkpoint);
PyObject *ptio_build_parameter(ptio_builder *builder, const ptio_node *node);
PyObject *ptio_build_foreign(ptio_builder *builder, const ptio_node *node);
PyObject *ptio_build_foreign_call(ptio_builder *builder, const ptio_node *node);
int ptio_fill_foreign(ptio_builder *builder, PyObject *target, const ptio_node *fill);

/* build.c: the whole object, or the one that builder->loaded->part is for; a new reference. */
PyObject *ptio_build(ptio_builder *builder, ptio_ref root);
/* build_calls.c: the result of a vetted call; a fill of one. */
PyObject *ptio_build_made(ptio_builder *builder, const ptio_node *node);
PyObject *ptio_build_opaque(ptio_builder *builder, ptio_ref ref);
PyObject *ptio_build_opaque_call(ptio_builder *builder, const ptio_node *node);
int ptio_build_state(ptio_builder *builder, const ptio_node *target, PyObject *object, ptio_ref state);
int ptio_fill_opaque(ptio_builder *builder, PyObject *opaque, const ptio_node *fill);

/* collect_torch.c: collect_torch(object, saver) */
PyObject *ptio_collect_torch(PyObject *module, PyObject *args);

/* collect_described.c: collect(object, describe) */
PyObject *ptio_collect_described(PyObject *module, PyObject *args);

/* A new tuple of ints. */
PyObject *ptio_int_tuple(const int64_t *values, size_t count);

/* Text of a file for people to read: what is not UTF-8 shows as escapes. */
static inline PyObject *ptio_shown_text(const void *text, size_t size) {
    return PyUnicode_DecodeUTF8(text, (Py_ssize_t)size, "backslashreplace");
}

/* An item of a fill or tuple, borrowed. */
static inline PyObject *ptio_item(const ptio_builder *builder, const ptio_node *node, uint32_t i) {
    return builder->objects[builder->graph->refs[node->first + i]];
}

#endif
