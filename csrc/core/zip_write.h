/* SPDX-License-Identifier: Apache-2.0
 *
 * The bytes of an archive other than its payloads, from a layout: exactly those
 * that torch.save writes. Knows neither files nor threads; nothing here fails.
 */
#ifndef PTIO_ZIP_WRITE_H
#define PTIO_ZIP_WRITE_H

#include "zip_layout.h"

#define PTIO_ZIP_MOST_CENTRAL (46 + PTIO_ZIP_MOST_NAME + 28)
#define PTIO_ZIP_MOST_LOCAL (30 + PTIO_ZIP_MOST_NAME + 28 + 4 + PTIO_ZIP_MOST_ALIGNMENT)
#define PTIO_ZIP_MOST_DESCRIPTOR 24

/* Each writes one structure to out and returns how many bytes it has. */

size_t ptio_zip_put_local(const ptio_zip_layout *layout, const ptio_zip_entry *entry, uint8_t *out);

/* Needs the entry's CRC; nothing for an empty record. */
size_t ptio_zip_put_descriptor(const ptio_zip_entry *entry, uint8_t *out);

/* The entry of the central directory; needs the CRC. */
size_t ptio_zip_put_central(const ptio_zip_layout *layout, const ptio_zip_entry *entry, uint8_t *out);

/* What stands behind the directory: PTIO_ZIP_END_SIZE bytes. */
size_t ptio_zip_put_end(const ptio_zip_layout *layout, uint8_t *out);

#endif
