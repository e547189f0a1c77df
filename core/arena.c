#include "core/arena.h"

#include "core/piece.h"

#include <stdarg.h>
#include <stdio.h>

/* Most requests need no chunk at all beyond the inline piece; one that does rarely needs two. */
#define ARENA_CHUNK_BYTES 4096u

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#include <sanitizer/asan_interface.h>
#endif
#endif
#ifndef ASAN_POISON_MEMORY_REGION
#define ASAN_POISON_MEMORY_REGION(ptr, size)   ((void)(ptr), (void)(size))
#define ASAN_UNPOISON_MEMORY_REGION(ptr, size) ((void)(ptr), (void)(size))
#endif

struct arena_chunk {
    struct arena_chunk *older;
    size_t size;
    _Alignas(max_align_t) char memory[];
};

static void
use_piece(struct arena *arena, char *memory, size_t size)
{
    arena->next = memory;
    arena->end = memory ? memory + size : NULL;
    if (memory != NULL) {
        ASAN_POISON_MEMORY_REGION(memory, size);
    }
}

void
arena_init(struct arena *arena, void *memory, size_t size)
{
    *arena = (struct arena){.inline_memory = memory, .inline_size = memory ? size : 0};
    use_piece(arena, memory, size);
}

static void
free_chunk(struct arena_chunk *chunk)
{
    ASAN_UNPOISON_MEMORY_REGION(chunk->memory, chunk->size);
    dyn_piece_free(chunk, sizeof *chunk + chunk->size);
}

void
arena_fini(struct arena *arena)
{
    for (struct arena_chunk *chunk = arena->chunks; chunk != NULL;) {
        struct arena_chunk *older = chunk->older;
        free_chunk(chunk);
        chunk = older;
    }
    if (arena->inline_memory != NULL) {
        ASAN_UNPOISON_MEMORY_REGION(arena->inline_memory, arena->inline_size);
    }
    *arena = (struct arena){0};
}

static struct arena_chunk *
add_chunk(struct arena *arena, size_t bytes)
{
    DYN_ASSERT(bytes <= SIZE_MAX - sizeof(struct arena_chunk));
    struct arena_chunk *chunk = dyn_piece_alloc(sizeof *chunk + bytes);
    chunk->size = bytes;
    chunk->older = arena->chunks;
    arena->chunks = chunk;
    return chunk;
}

/* The next aligned address of the current piece if `size` bytes fit there, else NULL. */
static inline char *
fit(const struct arena *arena, size_t size)
{
    if (arena->next == NULL) {
        return NULL;
    }
    size_t pad = (0 - (uintptr_t)arena->next) & (_Alignof(max_align_t) - 1);
    size_t left = (size_t)(arena->end - arena->next);
    return left >= pad && left - pad >= size ? arena->next + pad : NULL;
}

static void *
take_from_new_chunk(struct arena *arena, size_t size)
{
    arena->used += size;
    if (size > ARENA_CHUNK_BYTES) {
        return add_chunk(arena, size)->memory; /* what is left of the current piece stays in use */
    }
    struct arena_chunk *chunk = add_chunk(arena, ARENA_CHUNK_BYTES);
    use_piece(arena, chunk->memory, chunk->size);
    arena->next = chunk->memory + size;
    ASAN_UNPOISON_MEMORY_REGION(chunk->memory, size);
    return chunk->memory;
}

static inline void *
take(struct arena *arena, size_t size)
{
    char *ptr = fit(arena, size);
    if (DYN_UNLIKELY(ptr == NULL)) {
        return take_from_new_chunk(arena, size);
    }
    arena->used += size;
    arena->next = ptr + size;
    ASAN_UNPOISON_MEMORY_REGION(ptr, size);
    return ptr;
}

void *
arena_alloc(struct arena *arena, size_t size)
{
    return take(arena, size);
}

void *
arena_zalloc(struct arena *arena, size_t size)
{
    return memset(arena_alloc(arena, size), 0, size);
}

struct dyn_slice
arena_copy(struct arena *arena, struct dyn_slice bytes)
{
    if (bytes.data == NULL) {
        return bytes;
    }
    char *copy = take(arena, bytes.len + 1);
    if (bytes.len > 0) {
        memcpy(copy, bytes.data, bytes.len);
    }
    copy[bytes.len] = '\0';
    return dyn_slice(copy, bytes.len);
}

struct dyn_slice
arena_printf(struct arena *arena, const char *fmt, ...)
{
    char first[256]; /* nearly every text; a longer one is formatted twice */
    va_list args;
    va_start(args, fmt);
    va_list again;
    va_copy(again, args);
    int len = vsnprintf(first, sizeof first, fmt, args);
    va_end(args);
    DYN_ASSERT(len >= 0);
    char *text = arena_alloc(arena, (size_t)len + 1);
    if ((size_t)len < sizeof first) {
        memcpy(text, first, (size_t)len + 1);
    } else {
        (void)vsnprintf(text, (size_t)len + 1, fmt, again);
    }
    va_end(again);
    return dyn_slice(text, (size_t)len);
}
