/* SPDX-License-Identifier: Apache-2.0
 *
 * A checkpoint, parsed and proven: the graph of its pickle, the tables of its
 * storages and tensors, the records that hold their bytes. Loading, listing,
 * verifying and scanning all start here, so they cannot disagree.
 */
#ifndef PTIO_CHECKPOINT_H
#define PTIO_CHECKPOINT_H

#include "dtype.h"
#include "graph.h"
#include "load_limits.h"
#include "part_index.h"
#include "sniff.h"
#include "zip_index.h"

typedef struct {
    uint64_t bytes;     /* exactly those of its record, but for a view's */
    uint64_t offset;    /* of a view: bytes of its root before it */
    uint32_t root;      /* the storage that this one is a view of; of others, itself */
    uint32_t record;    /* PTIO_NO_RECORD: no data (meta) */
    uint8_t dtype;      /* of a typed storage; UINT8 for an untyped one */
    uint8_t swap_bytes; /* unit of byte order; 0 = not known yet */
    uint8_t alignment;  /* what its address must be a multiple of, for all who read it */
    bool lost;          /* missing_records_ok: there is no such record, or one of another size */
    ptio_ref key;       /* text nodes */
    ptio_ref location;
} ptio_storage;

enum {
    PTIO_T_REQUIRES_GRAD = 1,
    PTIO_T_CONJ = 2, /* the value is the conjugate of what is stored */
    PTIO_T_NEG = 4,  /* the value is the negative of what is stored */
    PTIO_T_QUANTIZED = 8
};

#define PTIO_NO_STORAGE UINT32_MAX

typedef struct {
    uint64_t offset;   /* elements before the first one */
    uint64_t elements; /* product of the sizes */
    size_t dims;       /* index into `dims`: ndim sizes, then ndim strides, in elements */
    uint32_t storage;  /* PTIO_NO_STORAGE: no data (meta) */
    uint8_t dtype;
    uint8_t ndim;
    uint8_t flags;
    bool contiguous;    /* not empty, and the strides are exactly those of a C array */
    ptio_ref quantizer; /* argument tuple (qscheme, ...) of a quantized tensor */
} ptio_tensor;

/* What a pickled numpy.dtype says, as far as proofs need it. */
typedef struct {
    uint64_t item_bytes; /* 0 while a flexible type waits for its BUILD */
    char kind;           /* as numpy.dtype.kind, '?' for bool */
    bool has_objects;
    bool structured;
    bool subarray;   /* only a field may have such a type */
    bool big_endian; /* order of its numbers and characters */
    bool in_use;     /* an array, a field or a scalar relies on it: no further BUILD */
} ptio_numpy_dtype;

typedef enum {
    PTIO_REFUSED,
    PTIO_OURS,   /* its handler in makers.def, refused where it has none */
    PTIO_THEIRS, /* an object of the caller, which the builder calls in stream order */
    PTIO_AS_DATA /* never called, whatever the stream does with it */
} ptio_judgement;

/* The caller's own rule for the globals of a file, instead of globals.def alone.
 * `global` is its row there, or UINT32_MAX. *object is the number that the caller
 * gives its object for this name, for PTIO_OURS (as a value) and PTIO_THEIRS. */
typedef ptio_status (*ptio_judge)(void *context, uint32_t global, const uint8_t *module, size_t module_size,
                                  const uint8_t *name, size_t name_size, ptio_judgement *judgement,
                                  uint16_t *object, ptio_error *err);

/* The byte order of a file that does not say: those of torch < 2.0. */
typedef enum { PTIO_LITTLE_ENDIAN, PTIO_BIG_ENDIAN, PTIO_NATIVE_ENDIAN } ptio_byte_order;

typedef enum {
    PTIO_FORMAT_ZIP,
    PTIO_FORMAT_LEGACY,
    PTIO_FORMAT_TAR,
    PTIO_FORMAT_PICKLE,
    PTIO_FORMAT_PARTS
} ptio_format;

/* The storages that a file without records has named so far, by their keys. */
typedef struct {
    uint32_t *slots; /* open addressing: storage + 1 */
    uint32_t mask, count;
    uint32_t roots; /* those that are no views */
    ptio_hash_key hash_key;
} ptio_declared;

/* Where an archive keeps an object, below its top directory. */
typedef struct {
    const char *pickle;   /* "model.pkl"; NULL: data.pkl, of an archive that torch.save wrote */
    const char *folder;   /* of its storages: "data/" */
    const char *suffix;   /* of their names: "" */
    const uint8_t *given; /* not NULL: the pickle itself, which the caller made of other metadata ... */
    size_t given_size;    /* ... and is not a member */
    const ptio_file_part *parts; /* with `given`: what is stored where in a file that is no archive. */
    uint32_t part_count;         /* The key of a storage is the number of its part. */
} ptio_members;

typedef struct {
    ptio_members members;
    bool inert;               /* unknown globals become data */
    const char *const *allow; /* "module.name" or group names */
    size_t allow_count;
    ptio_judge judge; /* NULL: globals.def, inert and allow decide */
    void *judge_context;
    bool torch_values; /* parameters, subclasses, sizes ... are made by torch; else the nearest plain value */
    bool missing_records_ok; /* a storage without its record is lost: nothing can be built then */
    ptio_byte_order order_if_missing;
    bool may_continue; /* other bytes may follow a file of a legacy format: it is part of a stream */
    ptio_limits limits;
} ptio_checkpoint_options;

typedef struct ptio_tar ptio_tar; /* tar_tables.h */

typedef struct {
    ptio_zip_index index; /* of a legacy format: its storages, as "data/<key>"; empty for a bare pickle */
    ptio_format format;
    ptio_members members;
    uint64_t file_size;
    uint64_t end;             /* of a legacy format: where it ends in the source; 0: with the source */
    ptio_block *pickle_block; /* owns pickle */
    const uint8_t *pickle;
    uint64_t pickle_size;
    uint32_t pickle_record; /* PTIO_NO_RECORD: the file is the pickle */
    bool big_endian;        /* byte order of the file ... */
    bool swap;              /* ... which is not this machine's */

    ptio_graph graph; /* its arena holds the tables below, too */
    ptio_declared declared;
    ptio_tar *tar; /* not owned, while such a file is vetted */
    ptio_storage *storages;
    size_t storage_count, storage_capacity;
    ptio_tensor *tensors;
    size_t tensor_count, tensor_capacity;
    int64_t *dims;
    size_t dim_count, dim_capacity;
    ptio_numpy_dtype *numpy_dtypes;
    size_t numpy_dtype_count, numpy_dtype_capacity;

    /* Globals that nobody allows, in stream order: filled also when opening
     * fails, for the error that lists them all. */
    ptio_global_use *forbidden;
    size_t forbidden_count, forbidden_capacity;

    uint64_t object_bytes; /* what the objects of the result will cost */
} ptio_checkpoint;

/* Opens what torch.save wrote, a bare pickle, or the object that options->members names. On
 * failure *out still answers for `forbidden` and for what came before the failure: kind,
 * index, pickle. It must be freed. */
ptio_status ptio_checkpoint_open(const ptio_source *source, const ptio_checkpoint_options *options,
                                 ptio_checkpoint *out, ptio_error *err) PTIO_MUST_CHECK;
/* The same without reading what its pickle says: no graph, no tensors. */
ptio_status ptio_checkpoint_open_archive(const ptio_source *source, const ptio_checkpoint_options *options,
                                         ptio_checkpoint *out, ptio_error *err) PTIO_MUST_CHECK;
/* c->pickle, parsed and vetted. What ptio_checkpoint_open does for every format. */
ptio_status ptio_checkpoint_parse(ptio_checkpoint *c, const ptio_checkpoint_options *options,
                                  ptio_error *err) PTIO_MUST_CHECK;
/* What reading c->pickle may still take. The size of a compressed pickle says nothing about that of
 * its file, so it and all that it makes share what the objects may take; 0, for any, of others. */
uint64_t ptio_checkpoint_most_memory(const ptio_checkpoint *c, const ptio_limits *limits);
void ptio_checkpoint_free(ptio_checkpoint *checkpoint);
/* Gives the graph, its tables and `forbidden` back. What came before them stays: kind, index,
 * pickle, which may be parsed again. */
void ptio_checkpoint_free_graph(ptio_checkpoint *checkpoint);

/* An empty one, for the functions below. */
void ptio_checkpoint_init(const ptio_source *source, const ptio_checkpoint_options *options,
                          ptio_checkpoint *out);
/* The two steps of opening, for those who make the index or the pickle themselves: the small
 * records and the pickle's bytes, found by out->index; the graph of out->pickle. */
ptio_status ptio_checkpoint_read_records(const ptio_source *source, const ptio_checkpoint_options *options,
                                         ptio_checkpoint *out, ptio_error *err) PTIO_MUST_CHECK;
ptio_status ptio_checkpoint_read_pickle(ptio_checkpoint *checkpoint, const ptio_checkpoint_options *options,
                                        ptio_error *err) PTIO_MUST_CHECK;

/* Module and name of a GLOBAL, MARKER or OPAQUE node. */
void ptio_global_name(const ptio_graph *graph, ptio_ref node, const uint8_t **module, size_t *module_size,
                      const uint8_t **name, size_t *name_size);

/* Whether the pickle was compressed in the file. */
static inline bool ptio_checkpoint_inflates(const ptio_checkpoint *c) {
    return c->pickle_record != PTIO_NO_RECORD && c->index.records[c->pickle_record].method != PTIO_ZIP_STORED;
}

/* The storage of a TENSOR or STORAGE node; PTIO_NO_STORAGE for one that has none, and for others. */
static inline uint32_t ptio_storage_of_node(const ptio_checkpoint *c, const ptio_node *node) {
    return node->kind == PTIO_N_STORAGE  ? node->a
           : node->kind == PTIO_N_TENSOR ? c->tensors[node->a].storage
                                         : PTIO_NO_STORAGE;
}

static inline const int64_t *ptio_tensor_sizes(const ptio_checkpoint *c, const ptio_tensor *t) {
    return c->dims + t->dims;
}

static inline const int64_t *ptio_tensor_strides(const ptio_checkpoint *c, const ptio_tensor *t) {
    return c->dims + t->dims + t->ndim;
}

#endif
