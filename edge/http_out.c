/* Bytes that wait for the kernel: blocks as they came, small pieces packed together, so that a slow
 * client's backlog costs about what it holds. See http_conn.h. */
#include "edge/http_conn.h"

#include <stdlib.h>

enum {
    PACK_BLOCK = 8 * 1024, /* bytes of a block that collects small pieces */
    PIECES_PER_CALL = 16,  /* iovecs of one sendmsg */
};

void
http_out_init(struct http_out *out)
{
    *out = (struct http_out){.cap = HTTP_OUT_INLINE};
    out->items = out->inline_items;
}

void
http_out_fini(struct http_out *out)
{
    for (size_t i = 0; i < out->n; i++) {
        dyn_block_unref(&out->items[out->first + i].block);
    }
    if (out->items != out->inline_items) {
        free(out->items);
    }
    http_out_init(out);
}

static void
make_room(struct http_out *out)
{
    if (out->first > 0) {
        memmove(out->items, out->items + out->first, out->n * sizeof *out->items);
        out->first = 0;
    }
    if (out->n < out->cap) {
        return;
    }
    size_t cap = out->cap * 2;
    if (out->items == out->inline_items) {
        out->items = dyn_alloc(cap * sizeof *out->items);
        memcpy(out->items, out->inline_items, sizeof out->inline_items);
    } else {
        out->items = dyn_realloc(out->items, cap * sizeof *out->items);
    }
    out->cap = cap;
}

void
http_out_push(struct http_out *out, dyn_block_t **block_p, size_t overhead)
{
    dyn_block_t *block = *block_p;
    *block_p = NULL;
    if (block->len == 0) {
        dyn_block_unref(&block);
        return;
    }
    if (out->first + out->n == out->cap) {
        make_room(out);
    }
    out->items[out->first + out->n++] = (struct http_out_item){block, 0, overhead};
    out->bytes += block->len;
    out->content += block->len - overhead;
}

void
http_out_copy(struct http_out *out, struct dyn_slice bytes, size_t overhead)
{
    if (out->n > 0) {
        struct http_out_item *last = &out->items[out->first + out->n - 1];
        if (!dyn_block_is_shared(last->block) && dyn_block_tailroom(last->block) >= bytes.len) {
            dyn_block_append(&last->block, bytes.data, bytes.len);
            last->overhead += overhead;
            out->bytes += bytes.len;
            out->content += bytes.len - overhead;
            return;
        }
    }
    bool waits = out->n > 0; /* then more will come to wait with it */
    dyn_block_t *block = dyn_block_new(0, waits && bytes.len < PACK_BLOCK ? PACK_BLOCK : bytes.len);
    dyn_block_append(&block, bytes.data, bytes.len);
    http_out_push(out, &block, overhead);
}

/* `len` bytes of the first item left. What is not content counts as gone first, so content is never
 * reported before it has left. Returns the content among them. */
static size_t
advance(struct http_out *out, size_t len)
{
    struct http_out_item *item = &out->items[out->first];
    size_t overhead = item->overhead < len ? item->overhead : len;
    item->overhead -= overhead;
    item->sent += len;
    out->bytes -= len;
    out->content -= len - overhead;
    if (item->sent == item->block->len) {
        dyn_block_unref(&item->block);
        out->first++;
        out->n--;
    }
    return len - overhead;
}

static size_t
bytes_left(const struct http_out_item *item)
{
    return item->block->len - item->sent;
}

static void
release_items(struct http_out *out)
{
    if (out->items != out->inline_items) {
        free(out->items);
    }
    http_out_init(out);
}

int
http_out_send(struct http_out *out, struct http_socket *socket, size_t *content)
{
    *content = 0;
    while (out->n > 0) {
        struct iovec pieces[PIECES_PER_CALL];
        int n = 0;
        size_t total = 0;
        for (; n < PIECES_PER_CALL && (size_t)n < out->n; n++) {
            const struct http_out_item *item = &out->items[out->first + (size_t)n];
            pieces[n] = (struct iovec){dyn_block_data(item->block) + item->sent, bytes_left(item)};
            total += bytes_left(item);
        }
        ssize_t sent = http_socket_send(socket, pieces, n);
        if (sent < 0) {
            return -1;
        }
        for (size_t left = (size_t)sent; left > 0;) {
            size_t in_first = bytes_left(&out->items[out->first]);
            size_t len = left < in_first ? left : in_first;
            *content += advance(out, len);
            left -= len;
        }
        if ((size_t)sent < total) {
            return 0; /* asking again at once would only be told to wait */
        }
    }
    release_items(out);
    return 0;
}
