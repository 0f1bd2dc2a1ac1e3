/* SPDX-License-Identifier: Apache-2.0
 *
 * Every leaf of a checkpoint (tensors, numbers, text) with the path that leads
 * to it from the root: dict keys, list positions, attributes of opaque objects.
 * A container that is reached twice is entered once, so no graph is walked as a
 * tree (P14).
 */
#ifndef PTIO_LEAF_WALK_H
#define PTIO_LEAF_WALK_H

#include "checkpoint.h"

typedef struct {
    ptio_ref key; /* PTIO_NO_NODE: a position */
    uint64_t position;
} ptio_step;

typedef struct {
    const ptio_step *steps;
    size_t length;
    uint64_t bytes; /* about what a row of a listing takes: the path, its name, text not met before */
} ptio_path;

/* A TENSOR, a STORAGE that is a value of its own, or anything else that holds
 * nothing further; it may stand behind PTIO_N_SAME (see ptio_follow). */
typedef ptio_status (*ptio_leaf_visit)(void *context, const ptio_path *path, ptio_ref leaf, ptio_error *err);

/* whole_composites: sparse and nested tensors are leaves, instead of what they consist of, and
 * scales and zero points are no leaves beside the tensor that is quantized with them. */
ptio_status ptio_walk_leaves(const ptio_checkpoint *checkpoint, bool whole_composites, ptio_leaf_visit visit,
                             void *context, ptio_error *err) PTIO_MUST_CHECK;

/* Takes a row out of the room that there is for a listing: two bytes of a pickle refer to a leaf
 * below a path of any length. */
ptio_status ptio_take_room(uint64_t *room, const ptio_path *path, ptio_error *err) PTIO_MUST_CHECK;

/* Longer tuples are a word in paths. */
#define PTIO_LONGEST_KEY_TUPLE 64

static inline bool ptio_is_tensor_leaf(const ptio_node *node) {
    return node->kind == PTIO_N_TENSOR || node->kind == PTIO_N_STORAGE;
}

#endif
