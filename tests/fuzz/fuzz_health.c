/* What anyone says of targets' health: taken or refused as a whole. What was taken is encoded, and read again
 * gives the same. */
#include "proto/health.h"

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { BOARDS = 3, NOW_US = 5000000 };

struct boards {
    struct health_item items[BOARDS];
    health_board_t *boards[BOARDS];
    size_t n;
    char names[BOARDS][256];
};

static health_board_t *
board_of(void *arg, struct dyn_slice target)
{
    struct boards *boards = arg;
    for (size_t i = 0; i < boards->n; i++) {
        if (dyn_slice_eq(boards->items[i].target, target)) {
            return boards->boards[i];
        }
    }
    if (boards->n == BOARDS) {
        return NULL;
    }
    DYN_ASSERT(target.len > 0 && target.len <= sizeof boards->names[0]);
    memcpy(boards->names[boards->n], target.data, target.len);
    boards->boards[boards->n] = health_board_new();
    boards->items[boards->n] =
        (struct health_item){dyn_slice(boards->names[boards->n], target.len), boards->boards[boards->n]};
    return boards->boards[boards->n++];
}

static void
same(const struct health_view *a, const struct health_view *b)
{
    DYN_ASSERT(a->state == b->state && a->in_flight == b->in_flight && a->queued == b->queued);
    DYN_ASSERT(a->limit == b->limit && a->creds == b->creds && a->creds_aside == b->creds_aside);
    DYN_ASSERT(a->retry_ms == b->retry_ms);
}

static void
read_again(const struct boards *boards)
{
    struct boards again = {.n = 0};
    struct dyn_buf map = DYN_BUF_INIT;
    struct dyn_err err;
    health_map_encode(boards->items, boards->n, NOW_US, 0, &map);
    DYN_ASSERT(map.len <= HEALTH_MAP_MAX);
    DYN_ASSERT(health_map_decode(dyn_buf_slice(&map), NOW_US, board_of, &again, &err) == 0);
    DYN_ASSERT(again.n == boards->n);
    for (size_t i = 0; i < again.n; i++) {
        struct health_view view, view_again;
        health_view(boards->boards[i], DYN_SLICE("gpt"), NOW_US, &view);
        health_view(again.boards[i], DYN_SLICE("gpt"), NOW_US, &view_again);
        same(&view, &view_again);
        health_board_unref(&again.boards[i]);
    }
    dyn_buf_fini(&map);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct boards boards = {.n = 0};
    struct dyn_err err = {.text = ""};
    if (health_map_decode(dyn_slice((const char *)data, size), NOW_US, board_of, &boards, &err) == 0) {
        read_again(&boards);
    } else {
        DYN_ASSERT(boards.n == 0 && err.text[0] != '\0');
    }
    for (size_t i = 0; i < boards.n; i++) {
        health_board_unref(&boards.boards[i]);
    }
    return 0;
}
