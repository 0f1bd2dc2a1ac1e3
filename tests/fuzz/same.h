/* SPDX-License-Identifier: Apache-2.0
 *
 * Whether two checkpoints say the same object: values, types, order, sharing and cycles.
 */
#ifndef PTIO_FUZZ_SAME_H
#define PTIO_FUZZ_SAME_H

#include "checkpoint.h"

bool fuzz_same_object(const ptio_checkpoint *one, const ptio_checkpoint *other);

#endif
