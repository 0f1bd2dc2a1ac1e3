/* SPDX-License-Identifier: Apache-2.0
 *
 * Chunks are bumped from front to back. A chunk or large array is one block of
 * pages from pages.c, with its own header in front.
 */
#include "arena.h"

#include "memory.h"
#include "pages.h"

/* From here on an array is worth pages of its own. */
#define LARGE ((size_t)4 << 20)
#define SMALLEST_CHUNK ((size_t)60 << 10)
#define ALIGNMENT ((size_t)16)

struct ptio_arena_chunk {
    ptio_arena_chunk *next;
    size_t size; /* of the whole block, this header included */
    size_t used; /* of size */
    size_t padding;
};

static size_t rounded(size_t bytes) { return (bytes + ALIGNMENT - 1) & ~(ALIGNMENT - 1); }

static ptio_arena_chunk *new_chunk(size_t bytes) {
    ptio_arena_chunk *chunk;
    size_t size;
    if (!ptio_pages_size(bytes + sizeof *chunk, &size)) return NULL;
    chunk = ptio_pages_alloc(size);
    if (chunk != NULL) *chunk = (ptio_arena_chunk){.size = size, .used = sizeof *chunk};
    return chunk;
}

ptio_status ptio_arena_reserve(ptio_arena *arena, uint64_t bytes, ptio_error *err) {
    ptio_arena_chunk *chunk = arena->chunk;
    if (chunk != NULL && bytes <= chunk->size - chunk->used) return PTIO_OK;
    if (bytes > PTRDIFF_MAX / 2) return ptio_no_memory(err);
    size_t size = (size_t)ptio_max_u64(bytes, SMALLEST_CHUNK);
    if (chunk != NULL && chunk->size < LARGE) size = (size_t)ptio_max_u64(size, 2 * chunk->size);
    chunk = new_chunk(ptio_huge_room(size + sizeof *chunk) - sizeof *chunk);
    if (chunk == NULL) return ptio_no_memory(err);
    chunk->next = arena->chunk;
    arena->chunk = chunk;
    return PTIO_OK;
}

ptio_status ptio_arena_charge(ptio_arena *arena, uint64_t bytes, ptio_error *err) {
    uint64_t taken = arena->taken + bytes; /* of memory: cannot wrap */
    PTIO_CHECK(arena->limit == 0 || taken <= arena->limit, "R.arena", err, LIMIT, PTIO_NO_OFFSET,
               "what the pickle makes needs more than %llu bytes of memory (limit object_bytes)",
               (unsigned long long)arena->limit);
    arena->taken = taken;
    return PTIO_OK;
}

static ptio_status take_large(ptio_arena *arena, size_t bytes, void **out, ptio_error *err) {
    ptio_arena_chunk *chunk = new_chunk(bytes);
    if (chunk == NULL) return ptio_no_memory(err);
    chunk->next = arena->large;
    arena->large = chunk;
    *out = chunk + 1;
    return PTIO_OK;
}

ptio_status ptio_arena_alloc(ptio_arena *arena, size_t count, size_t size, void **out, ptio_error *err) {
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes) || bytes > PTRDIFF_MAX / 2 || ptio_allocation_fails())
        return ptio_no_memory(err);
    bytes = rounded(bytes == 0 ? 1 : bytes);
    PTIO_TRY(ptio_arena_charge(arena, bytes, err));
    bool fits = arena->chunk != NULL && bytes <= arena->chunk->size - arena->chunk->used;
    if (bytes >= LARGE && !fits) return take_large(arena, bytes, out, err);
    PTIO_TRY(ptio_arena_reserve(arena, bytes, err));
    *out = (uint8_t *)arena->chunk + arena->chunk->used;
    arena->chunk->used += bytes;
    return PTIO_OK;
}

/* The large block of an array, unlinked from the list; NULL if it has none. */
static ptio_arena_chunk **find_large(ptio_arena *arena, const void *items) {
    for (ptio_arena_chunk **link = &arena->large; *link != NULL; link = &(*link)->next)
        if (*link + 1 == items) return link;
    return NULL;
}

static ptio_status grow_large(ptio_arena_chunk **link, size_t bytes, void **items, ptio_error *err) {
    size_t size;
    if (!ptio_pages_size(bytes + sizeof **link, &size)) return ptio_no_memory(err);
    ptio_arena_chunk *chunk = ptio_pages_resize(*link, (*link)->size, size);
    if (chunk == NULL) return ptio_no_memory(err);
    chunk->size = size;
    *link = chunk;
    *items = chunk + 1;
    return PTIO_OK;
}

/* An array that was the last piece taken grows where it is. */
static bool grow_in_place(ptio_arena *arena, const void *items, size_t old_bytes, size_t new_bytes) {
    ptio_arena_chunk *chunk = arena->chunk;
    if (chunk == NULL || items == NULL) return false;
    if ((const uint8_t *)items + old_bytes != (const uint8_t *)chunk + chunk->used) return false;
    if (new_bytes - old_bytes > chunk->size - chunk->used) return false;
    chunk->used += new_bytes - old_bytes;
    return true;
}

static ptio_status move(ptio_arena *arena, void **items, size_t old_bytes, size_t new_bytes,
                        ptio_error *err) {
    void *moved;
    ptio_arena_chunk **link = old_bytes >= LARGE ? find_large(arena, *items) : NULL;
    bool in_place = grow_in_place(arena, *items, old_bytes, new_bytes);
    if (in_place || link != NULL) PTIO_TRY(ptio_arena_charge(arena, new_bytes - old_bytes, err));
    if (in_place) return PTIO_OK;
    if (link != NULL) return grow_large(link, new_bytes, items, err);
    PTIO_TRY(ptio_arena_alloc(arena, new_bytes, 1, &moved, err));
    if (*items != NULL) memcpy(moved, *items, old_bytes);
    *items = moved;
    return PTIO_OK;
}

ptio_status ptio_arena_grow(ptio_arena *arena, void **items, size_t *capacity, size_t needed,
                            size_t item_size, ptio_error *err) {
    size_t bytes, wider;
    if (needed <= *capacity) return PTIO_OK;
    wider = *capacity > SIZE_MAX / 2 ? SIZE_MAX : *capacity * 2;
    if (wider < needed) wider = needed;
    if (wider < 16) wider = 16;
    if (__builtin_mul_overflow(wider, item_size, &bytes) || bytes > PTRDIFF_MAX / 2 ||
        ptio_allocation_fails()) /* though most pieces need no memory of the system */
        return ptio_no_memory(err);
    PTIO_TRY(move(arena, items, rounded(*capacity * item_size), rounded(bytes), err));
    *capacity = wider;
    return PTIO_OK;
}

static void free_all(ptio_arena_chunk *chunk) {
    while (chunk != NULL) {
        ptio_arena_chunk *next = chunk->next;
        ptio_pages_free(chunk, chunk->size);
        chunk = next;
    }
}

void ptio_arena_free(ptio_arena *arena) {
    free_all(arena->chunk);
    free_all(arena->large);
    *arena = (ptio_arena){0};
}
