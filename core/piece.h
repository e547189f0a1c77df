/* Memory that is given back soon and asked for again at once: envelopes, bodies, chunks of arenas. Each
 * thread keeps what it freed, by size and up to DYN_PIECES_KEPT bytes, so that a request in a steady state
 * allocates nothing. What is freed by another thread than took it stays with that other one.
 *
 * Who frees says the size that was asked for. Under a sanitizer nothing is kept, so that it sees all. */
#pragma once

#include "core/base.h"

enum {
    DYN_PIECES_KEPT = 1024 * 1024, /* bytes a thread: what some 90 requests hold at the same time */
    DYN_PIECE_MAX = 8 * 1024,      /* larger ones are allocated each time; they cost more than that already */
};

void *dyn_piece_alloc(size_t size) __attribute__((returns_nonnull, malloc));
/* NULL is accepted. */
void dyn_piece_free(void *ptr, size_t size);
void *dyn_piece_realloc(void *ptr, size_t size, size_t new_size) __attribute__((returns_nonnull));
/* Pieces kept here and there keep the pages around them from the system. Any thread: asks all threads to free
 * theirs, when nothing is going on. */
void dyn_pieces_shed(void);
/* Frees what this thread keeps if that was asked since it looked, and says so to who keeps more; a load and a
 * comparison if not. */
bool dyn_pieces_look(void);
/* What this thread keeps, for tests. */
size_t dyn_pieces_kept(void);
