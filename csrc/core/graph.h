/* SPDX-License-Identifier: Apache-2.0
 *
 * What a pickle says, as a flat program. Every value the pickle makes is one
 * 16-byte node, and nodes stand in stream order: a node refers only to nodes
 * before it. Filling a container later (APPENDS, SETITEMS, ADDITEMS, BUILD) is a
 * node of its own that names its target. So one pass from the first node to
 * the last replays the pickle exactly, without a stack and without recursion,
 * and cycles need no special care. Text and bytes stay slices of the pickle.
 */
#ifndef PTIO_GRAPH_H
#define PTIO_GRAPH_H

#include "arena.h"

typedef uint32_t ptio_ref; /* number of a node */

/* Values that are always there, because Python has them once, too. */
enum {
    PTIO_NODE_NONE,
    PTIO_NODE_FALSE,
    PTIO_NODE_TRUE,
    PTIO_NODE_EMPTY_TUPLE,
    PTIO_NODE_SMALL_INT, /* 0, then 1 to 255 */
    PTIO_FIRST_FREE_NODE = PTIO_NODE_SMALL_INT + 256
};
#define PTIO_NO_NODE UINT32_MAX

typedef enum {
    /* --- made by the parser; fields used in brackets --- */
    PTIO_N_NONE,
    PTIO_N_FALSE,
    PTIO_N_TRUE,
    PTIO_N_INT,          /* [integer] */
    PTIO_N_BIG_INT,      /* two's complement, little-endian [a = bytes, text] */
    PTIO_N_BIG_DECIMAL,  /* -?[0-9]+ [a = bytes, text] */
    PTIO_N_FLOAT,        /* [real] */
    PTIO_N_STR,          /* valid UTF-8, surrogates allowed [a = bytes, text] */
    PTIO_N_BYTES,        /* [a = bytes, text] */
    PTIO_N_BYTEARRAY,    /* [a = bytes, text] */
    PTIO_N_PY2_STR,      /* 8-bit string of Python 2 [a = bytes, text] */
    PTIO_N_TUPLE,        /* [first, count] */
    PTIO_N_FROZENSET,    /* [first, count] */
    PTIO_N_LIST,         /* [fills] */
    PTIO_N_DICT,         /* [fills] */
    PTIO_N_SET,          /* [fills] */
    PTIO_N_GLOBAL,       /* "module\nname" [a = module length | name length << 16, text] */
    PTIO_N_STACK_GLOBAL, /* [a = module node, b = name node] */
    PTIO_N_PERSID,       /* [a = id node] */
    PTIO_N_CALL,         /* REDUCE: [a = callee, b = argument tuple, fills] */
    PTIO_N_NEWOBJ,       /* class.__new__: as CALL */
    PTIO_N_NEWOBJ_EX,    /* [a = callee, b = tuple (arguments, keywords), fills] */
    PTIO_N_APPEND,       /* fills: [a = target, first, count] */
    PTIO_N_SETITEM,      /*        count = keys and values together */
    PTIO_N_ADD,
    PTIO_N_BUILD, /*        count = 1, the state */
    /* --- what vetting turns GLOBAL, PERSID, CALL ... into --- */
    PTIO_N_MARKER,       /* a known global that is no value [sub = global] */
    PTIO_N_NAMED,        /* a value that is its name: qscheme, layout [sub = global] */
    PTIO_N_DTYPE,        /* torch dtype [sub = dtype] */
    PTIO_N_STORAGE,      /* [a = storage] */
    PTIO_N_TENSOR,       /* [a = tensor] */
    PTIO_N_MADE,         /* result of a vetted call [sub = maker, a = maker's own, b = argument
                           tuple or PTIO_NODE_NONE where the builder needs none, fills] */
    PTIO_N_SAME,         /* another node's value [a = node] */
    PTIO_N_OPAQUE,       /* unknown class or function, as data [a = GLOBAL's own fields] */
    PTIO_N_OPAQUE_STACK, /* the same from STACK_GLOBAL [a, b] */
    PTIO_N_OPAQUE_CALL,  /* a call of unknown code, as data [a, b, fills and sub as FOREIGN_CALL] */
    PTIO_N_PARAMETER,    /* torch.nn.Parameter [a = tensor, sub = requires_grad, b = state or
                           PTIO_NODE_NONE, fills] */
    PTIO_N_FOREIGN,      /* class or function that the caller provides [sub = its number] */
    PTIO_N_FOREIGN_CALL, /* a call of one [a = callee, b = arguments, fills; sub = ptio_call_form] */
    PTIO_N_DROPPED       /* a fill that has had its effect */
} ptio_node_kind;

typedef enum { PTIO_CALL, PTIO_CALL_NEW, PTIO_CALL_NEW_KEYWORDS } ptio_call_form;

enum {
    PTIO_F_ASCII = 1,    /* STR: no byte above 0x7F */
    PTIO_F_NEEDED = 2,   /* part of the result, or of something that makes it */
    PTIO_F_HASHABLE = 4, /* MADE: may be a dict key */
    PTIO_F_OPEN = 8,     /* depth walk: on the path from the root */
    PTIO_F_COPIED = 16,  /* LIST, DICT: a call has copied its items, so none may follow */
    PTIO_F_IS_DATA = 32  /* PY2_STR: a date or an array is made from its bytes */
};

typedef struct {
    uint8_t kind;
    uint8_t flags;
    uint16_t sub;
    uint32_t a;
    union {
        int64_t integer;
        double real;
        uint64_t text; /* offset, see ptio_text */
        struct {
            uint32_t b;     /* or: first */
            uint32_t fills; /* last fill of the container, 0 for none; or: count */
        };
        struct {
            uint32_t first; /* index into refs */
            uint32_t count;
        };
    };
} ptio_node;

typedef struct {
    ptio_ref node;
    uint64_t offset; /* of the opcode */
} ptio_global_use;

typedef struct {
    ptio_arena arena;      /* of the graph, and of what vetting adds to it */
    const uint8_t *pickle; /* not owned */
    uint64_t pickle_size;

    ptio_node *nodes;
    size_t count, capacity;

    /* Children of tuples and fills. refs[first - 1] of a fill is the next fill
     * of the same container; the last one points back to the first. */
    ptio_ref *refs;
    size_t ref_count, ref_capacity;

    /* Text that had to be unescaped (protocol 0). */
    uint8_t *unescaped;
    size_t unescaped_size, unescaped_capacity;

    ptio_global_use *globals; /* in stream order */
    size_t global_count, global_capacity;

    ptio_ref root;
} ptio_graph;

/* max_memory: of the arena; 0 for any. */
ptio_status ptio_graph_init(ptio_graph *graph, const uint8_t *pickle, uint64_t size, uint64_t max_memory,
                            ptio_error *err) PTIO_MUST_CHECK;
void ptio_graph_free(ptio_graph *graph);

/* How many nodes, references and memo entries to foresee for a pickle. */
size_t ptio_graph_guess(uint64_t pickle_size);

/* Memory held, for the object budget. */
uint64_t ptio_graph_bytes(const ptio_graph *graph);

/* A value of this kind, in words: "a tuple". */
const char *ptio_kind_name(uint8_t kind);

/* The bytes of a STR, BYTES, BYTEARRAY, PY2_STR, BIG_* or GLOBAL node. */
static inline const uint8_t *ptio_text(const ptio_graph *graph, const ptio_node *node) {
    if (node->text < graph->pickle_size) return graph->pickle + node->text;
    /* Empty text at the end of a pickle where nothing was unescaped. */
    if (graph->unescaped == NULL) return graph->pickle + graph->pickle_size;
    return graph->unescaped + (node->text - graph->pickle_size);
}

static inline bool ptio_is_fill(const ptio_node *node) {
    return node->kind >= PTIO_N_APPEND && node->kind <= PTIO_N_BUILD;
}

/* The node itself, or the one whose value it has. */
static inline ptio_ref ptio_follow(const ptio_graph *graph, ptio_ref ref) {
    while (graph->nodes[ref].kind == PTIO_N_SAME) ref = graph->nodes[ref].a;
    return ref;
}

/* Walks the fills of a container in stream order:
 *     for (ptio_ref fill = ptio_first_fill(g, ref); fill; fill = ptio_next_fill(g, ref, fill)) */
static inline ptio_ref ptio_first_fill(const ptio_graph *graph, ptio_ref container) {
    ptio_ref last = graph->nodes[container].fills;
    return last == 0 ? 0 : graph->refs[graph->nodes[last].first - 1];
}

static inline ptio_ref ptio_next_fill(const ptio_graph *graph, ptio_ref container, ptio_ref fill) {
    return fill == graph->nodes[container].fills ? 0 : graph->refs[graph->nodes[fill].first - 1];
}

#endif
