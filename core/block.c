#include "core/block.h"

#include "core/piece.h"

dyn_block_t *
dyn_block_new(size_t headroom, size_t cap)
{
    dyn_block_t *block = dyn_piece_alloc(sizeof *block + headroom + cap);
    atomic_init(&block->refs, 1);
    block->cap = headroom + cap;
    block->start = headroom;
    block->len = 0;
    return block;
}

dyn_block_t *
dyn_block_copy(size_t headroom, struct dyn_slice bytes)
{
    dyn_block_t *block = dyn_block_new(headroom, bytes.len);
    if (bytes.len > 0) {
        memcpy(dyn_block_data(block), bytes.data, bytes.len);
        block->len = bytes.len;
    }
    return block;
}

dyn_block_t *
dyn_block_ref(dyn_block_t *block)
{
    (void)atomic_fetch_add_explicit(&block->refs, 1, memory_order_relaxed);
    return block;
}

void
dyn_block_unref(dyn_block_t **block_p)
{
    dyn_block_t *block = *block_p;
    *block_p = NULL;
    if (block != NULL && atomic_fetch_sub_explicit(&block->refs, 1, memory_order_acq_rel) == 1) {
        dyn_piece_free(block, sizeof *block + block->cap);
    }
}

void
dyn_block_append(dyn_block_t **block_p, const void *data, size_t len)
{
    dyn_block_t *block = *block_p;
    DYN_ASSERT(!dyn_block_is_shared(block));
    if (len == 0) {
        return;
    }
    if (dyn_block_tailroom(block) < len) {
        size_t cap = block->start + (block->len + len) * 2;
        block = dyn_piece_realloc(block, sizeof *block + block->cap, sizeof *block + cap);
        block->cap = cap;
        *block_p = block;
    }
    memcpy(dyn_block_data(block) + block->len, data, len);
    block->len += len;
}

void
dyn_block_prepend(dyn_block_t *block, const void *data, size_t len)
{
    DYN_ASSERT(!dyn_block_is_shared(block) && block->start >= len);
    block->start -= len;
    block->len += len;
    if (len > 0) {
        memcpy(dyn_block_data(block), data, len);
    }
}

void
dyn_block_skip(dyn_block_t *block, size_t len)
{
    DYN_ASSERT(block->len >= len);
    block->start += len;
    block->len -= len;
}
