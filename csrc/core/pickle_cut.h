/* SPDX-License-Identifier: Apache-2.0
 *
 * The pickle of a checkpoint without the tensors that are lost. All else is said again as it was:
 * objects of unknown classes, order, identity, protocol.
 */
#ifndef PTIO_PICKLE_CUT_H
#define PTIO_PICKLE_CUT_H

#include "checkpoint.h"

/* c was opened with inert and missing_records_ok. A tensor over a lost storage becomes None, as
 * does the result of a call with such a tensor among its arguments; pairs of a dict with such a
 * key or value go. *out is a pickle of *size bytes; where nothing is lost, the one that a
 * pickler writes. */
ptio_status ptio_pickle_cut(const ptio_checkpoint *c, const ptio_limits *limits, ptio_block **out,
                            uint64_t *size, ptio_error *err) PTIO_MUST_CHECK;

#endif
