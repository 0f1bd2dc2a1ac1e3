/* SPDX-License-Identifier: Apache-2.0 */
#include "part_index.h"

enum { LONGEST_NAME = 512 };

static uint16_t name_length(const ptio_file_part *part) {
    return (uint16_t)ptio_min_u64(part->name_length, LONGEST_NAME);
}

static ptio_status check_part(const ptio_source *source, const ptio_file_part *part, ptio_error *err) {
    bool inside =
        part->offset > 0 && part->offset <= source->size && part->size <= source->size - part->offset;
    if (inside || !ptio_check_is_on("X1.part")) return PTIO_OK;
    ptio_status status = ptio_fail(err, PTIO_E_BOUNDS, "X1.part", PTIO_NO_OFFSET,
                                   "%llu bytes at byte %llu do not lie inside the %llu bytes of the file",
                                   (unsigned long long)part->size, (unsigned long long)part->offset,
                                   (unsigned long long)source->size);
    ptio_error_in_record(err, (const uint8_t *)part->name, name_length(part));
    return status;
}

static void add_record(ptio_zip_index *index, const ptio_file_part *part) {
    memcpy(index->directory + index->directory_size, part->name, name_length(part));
    index->records[index->count++] = (ptio_record){.header = part->offset,
                                                   .limit = part->offset + part->size,
                                                   .data = part->offset,
                                                   .csize = part->size,
                                                   .usize = part->size,
                                                   .name = (uint32_t)index->directory_size,
                                                   .name_length = name_length(part),
                                                   .method = PTIO_ZIP_STORED};
    index->directory_size += name_length(part);
}

ptio_status ptio_part_index(const ptio_source *source, const ptio_file_part *parts, uint32_t count,
                            ptio_zip_index *out, ptio_error *err) {
    uint64_t records = ((uint64_t)count + 1) * sizeof(ptio_record), names = 0;
    ptio_zip_index index = {.directory = NULL};
    for (uint32_t i = 0; i < count; i++) {
        PTIO_TRY(check_part(source, &parts[i], err));
        names += name_length(&parts[i]); /* lies in memory */
    }
    if (names > UINT32_MAX || records > PTRDIFF_MAX / 2) return ptio_no_memory(err);
    PTIO_TRY(ptio_block_new((size_t)(records + sizeof *index.table + names), &index.memory, err));
    uint8_t *bytes = ptio_block_bytes(index.memory);
    index.records = (ptio_record *)(void *)bytes;
    index.table = (uint64_t *)(void *)(bytes + records);
    index.directory = bytes + records + sizeof *index.table;
    *index.table = 0; /* its only slot is free */
    for (uint32_t i = 0; i < count; i++) add_record(&index, &parts[i]);
    *out = index;
    return PTIO_OK;
}
