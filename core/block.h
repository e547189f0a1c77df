/* A block is a run of bytes with a reference count: the one home of a body on its way through the
 * actors. It has room in front (headroom) so that whoever sends it last can put framing before the
 * bytes without moving them. Counts are atomic, since a block may cross threads inside a ZeroMQ
 * message; the bytes are written only while there is one holder. */
#pragma once

#include "core/base.h"

#include <stdatomic.h>

typedef struct dyn_block dyn_block_t;

struct dyn_block {
    atomic_uint refs;
    size_t cap;   /* bytes in memory[] */
    size_t start; /* offset of the first byte in use */
    size_t len;   /* bytes in use */
    char memory[];
};

/* One reference, empty, `headroom` bytes free in front and `cap` behind. */
dyn_block_t *dyn_block_new(size_t headroom, size_t cap) __attribute__((returns_nonnull));
dyn_block_t *dyn_block_copy(size_t headroom, struct dyn_slice bytes) __attribute__((returns_nonnull));
dyn_block_t *dyn_block_ref(dyn_block_t *block);
/* Drops one reference and sets *block_p to NULL; NULL is accepted. */
void dyn_block_unref(dyn_block_t **block_p);
/* Appends, growing by moving if needed: *block_p may change. Only while there is one reference. */
void dyn_block_append(dyn_block_t **block_p, const void *data, size_t len);

static inline char *
dyn_block_data(dyn_block_t *block)
{
    return block->memory + block->start;
}

static inline struct dyn_slice
dyn_block_slice(const dyn_block_t *block)
{
    return block ? (struct dyn_slice){block->memory + block->start, block->len} : (struct dyn_slice){NULL, 0};
}

static inline size_t
dyn_block_headroom(const dyn_block_t *block)
{
    return block->start;
}

static inline size_t
dyn_block_tailroom(const dyn_block_t *block)
{
    return block->cap - block->start - block->len;
}

static inline bool
dyn_block_is_shared(const dyn_block_t *block)
{
    return atomic_load_explicit(&block->refs, memory_order_acquire) != 1;
}

/* Puts bytes in front; needs that much headroom and one reference. */
void dyn_block_prepend(dyn_block_t *block, const void *data, size_t len);
/* Takes bytes off the front: they become headroom. A block is no queue, its front is never used again
 * by appending. */
void dyn_block_skip(dyn_block_t *block, size_t len);
