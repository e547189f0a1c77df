/* Memory that lives exactly as long as one request. Allocation moves a pointer; everything goes at
 * once. An arena is owned by one object and used on its loop only. */
#pragma once

#include "core/base.h"

struct arena_chunk;

struct arena {
    char *next; /* first free byte of the current chunk */
    char *end;
    struct arena_chunk *chunks; /* newest first; what was malloc'd */
    char *inline_memory;        /* borrowed first piece, may be NULL */
    size_t inline_size;
    size_t used; /* bytes handed out */
};

/* `memory` (may be NULL) is used up before anything is allocated; it must stay until arena_fini. */
void arena_init(struct arena *arena, void *memory, size_t size);
void arena_fini(struct arena *arena);
/* Aligned for any object. Never NULL. */
void *arena_alloc(struct arena *arena, size_t size) __attribute__((returns_nonnull));
void *arena_zalloc(struct arena *arena, size_t size) __attribute__((returns_nonnull));
/* Copies bytes and a terminator; the slice does not count the terminator. Absent stays absent. */
struct dyn_slice arena_copy(struct arena *arena, struct dyn_slice bytes);
struct dyn_slice arena_printf(struct arena *arena, const char *fmt, ...) DYN_PRINTF(2, 3);
