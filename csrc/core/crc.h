/* SPDX-License-Identifier: Apache-2.0
 *
 * CRC-32 as zip uses it (polynomial 0xEDB88320), at libdeflate's speed.
 */
#ifndef PTIO_CRC_H
#define PTIO_CRC_H

#include "base.h"

/* crc = 0 to begin; may be continued over consecutive runs of bytes. */
uint32_t ptio_crc32(uint32_t crc, const void *bytes, size_t n);

/* The CRC of A followed by B from those of A and B and the length of B. */
uint32_t ptio_crc32_join(uint32_t crc_a, uint32_t crc_b, uint64_t length_b);

#endif
