/* SPDX-License-Identifier: Apache-2.0
 *
 * What libzip makes of an archive that our own index has proven. Two readers
 * written by different people that agree are better than one.
 */
#ifndef PTIO_SECOND_OPINION_H
#define PTIO_SECOND_OPINION_H

#include "zip_index.h"

/* Opens the archive with libzip, consistency checks on, and compares its names, sizes,
 * methods and CRCs with the index. The first difference is the error. Reads no payload. */
ptio_status ptio_second_opinion(const ptio_source *source, const ptio_zip_index *index,
                                ptio_error *err) PTIO_MUST_CHECK;

#endif
