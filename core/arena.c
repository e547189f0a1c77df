#include "core/arena.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

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
    size_t              size;
    _Alignas(max_align_t) char memory[];
};

static char *
align_up(char *ptr)
{
    uintptr_t value = (uintptr_t)ptr;
    uintptr_t mask = _Alignof(max_align_t) - 1;
    return ptr + (((value + mask) & ~mask) - value);
}

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
    free(chunk);
}

void
arena_reset(struct arena *arena)
{
    struct arena_chunk *kept = NULL;
    for (struct arena_chunk *chunk = arena->chunks; chunk != NULL;) {
        struct arena_chunk *older = chunk->older;
        if (kept == NULL && chunk->size == ARENA_CHUNK_BYTES) {
            kept = chunk;
            kept->older = NULL;
        } else {
            free_chunk(chunk);
        }
        chunk = older;
    }
    arena->chunks = kept;
    arena->used = 0;
    if (arena->inline_memory != NULL) {
        use_piece(arena, arena->inline_memory, arena->inline_size);
        if (kept != NULL) { /* kept only where there is no inline piece to start from */
            free_chunk(kept);
            arena->chunks = NULL;
        }
    } else if (kept != NULL) {
        use_piece(arena, kept->memory, kept->size);
    } else {
        use_piece(arena, NULL, 0);
    }
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

static void
grow(struct arena *arena, size_t size)
{
    size_t bytes = size > ARENA_CHUNK_BYTES ? size : ARENA_CHUNK_BYTES;
    struct arena_chunk *chunk = dyn_alloc(sizeof *chunk + bytes);
    chunk->size = bytes;
    chunk->older = arena->chunks;
    arena->chunks = chunk;
    use_piece(arena, chunk->memory, bytes);
}

void *
arena_alloc(struct arena *arena, size_t size)
{
    char *ptr = arena->next ? align_up(arena->next) : NULL;
    if (ptr == NULL || ptr > arena->end || (size_t)(arena->end - ptr) < size) {
        grow(arena, size);
        ptr = arena->next;
    }
    arena->next = ptr + size;
    arena->used += size;
    ASAN_UNPOISON_MEMORY_REGION(ptr, size);
    return ptr;
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
    char *copy = arena_alloc(arena, bytes.len + 1);
    if (bytes.len > 0) {
        memcpy(copy, bytes.data, bytes.len);
    }
    copy[bytes.len] = '\0';
    return dyn_slice(copy, bytes.len);
}

struct dyn_slice
arena_printf(struct arena *arena, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    va_list again;
    va_copy(again, args);
    int len = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    DYN_ASSERT(len >= 0);
    char *text = arena_alloc(arena, (size_t)len + 1);
    (void)vsnprintf(text, (size_t)len + 1, fmt, again);
    va_end(again);
    return dyn_slice(text, (size_t)len);
}
