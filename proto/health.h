/* How a target is doing, as one process knows it: its breaker, what is in flight, its credentials, how long
 * answers take. Written by the provider actors of all cells, read by routers without a lock: fields are
 * independent of each other, and a reader that comes in between sees the old of one and the new of another.
 * The router keeps the same board for each target of a worker, filled from the map that comes with
 * HEARTBEAT (02-WORKER, Health). It decides nothing. */
#pragma once

#include "core/buf.h"
#include "core/err.h"

typedef struct health_board health_board_t;

/* Topic of the event that a target's state or credentials have changed; its map is the one below. */
#define HEALTH_EVENT "target.health"

enum health_state {
    HEALTH_CLOSED,    /* takes calls; also without a breaker */
    HEALTH_HALF_OPEN, /* takes a few, to see */
    HEALTH_OPEN,      /* takes none until retry_ms is over */
};

enum {
    HEALTH_MODELS_MAX = 64,        /* of a target that have figures of their own; the rest shares one slot */
    HEALTH_MODEL_NAME_MAX = 128,   /* bytes; longer names share that slot, too */
    HEALTH_TARGETS_MAX = 256,      /* in one map */
    HEALTH_MAP_MAX = 256 * 1024,   /* bytes of a map; figures of models are left out beyond it */
    HEALTH_BOARD_BYTES = 4 * 1024, /* what a board takes, about, without the names of its models */
};

/* How long answers take, in microseconds; 0: not known. */
struct health_latency {
    uint32_t ttft_us;     /* to the first content of a stream: median of the last 100 */
    uint32_t ttft_p95_us; /* of the same, what one in twenty takes longer than */
    uint32_t total_us;    /* to the end of an answer, streams or not: median of the last 100 */
    uint32_t ewma_us;     /* to the end; the older the less it counts, in silence too (HEALTH_HALF_LIFE_US) */
    uint32_t samples;     /* that the medians are of, at most 100 */
};
#define HEALTH_HALF_LIFE_US UINT64_C(10000000)

struct health_view {
    enum health_state state;
    uint32_t retry_ms; /* OPEN: until a probe may go. Else, with all credentials aside: until one is back */
    uint32_t in_flight;
    uint32_t queued;
    uint32_t limit; /* of in_flight; 0: none */
    uint32_t creds; /* 0: it needs none */
    uint32_t creds_aside;
    uint32_t ttft_us; /* these as in struct health_latency, of the model asked for */
    uint32_t total_us;
    uint32_t ttft_p95_us;
    uint32_t ewma_us;
    uint32_t samples;
};

/* One reference. */
health_board_t *health_board_new(void) __attribute__((returns_nonnull));
health_board_t *health_board_ref(health_board_t *board);
void health_board_unref(health_board_t **board_p);

/* ---- reading: any thread, no lock. Times are of the monotonic clock of this process. ---- */

/* `model` may be absent: no latencies then. About 20 ns, and what hashing the name takes. */
void health_view(const health_board_t *board, struct dyn_slice model, uint64_t now_us,
                 struct health_view *view);
/* The same with the name hashed once for many boards. */
uint64_t health_model_key(struct dyn_slice model); /* never 0; absent: 0 */
void health_view_of(const health_board_t *board, uint64_t model_key, uint64_t now_us,
                    struct health_view *view);
/* An open breaker becomes half-open by the time alone. */
enum health_state health_state_of(const health_board_t *board, uint64_t now_us);
const char *health_state_name(enum health_state state); /* "closed", "half_open", "open" */

/* ---- writing: any thread ---- */

void health_board_set_breaker(health_board_t *board, enum health_state state, uint64_t open_until_us);
void health_board_set_limit(health_board_t *board, uint32_t limit);
/* back_at_us: when the first is back, all being aside; 0: they are not. */
void health_board_set_creds(health_board_t *board, uint32_t creds, uint32_t aside, uint64_t back_at_us);
void health_board_add_in_flight(health_board_t *board, int32_t difference);
void health_board_set_load(health_board_t *board, uint32_t in_flight, uint32_t queued);
void health_board_set_queued(health_board_t *board, uint32_t queued);
/* Which of the models' slots (below HEALTH_MODELS_MAX), or HEALTH_MODELS_MAX for the shared one. The first
 * time it takes a free one. */
size_t health_board_slot(health_board_t *board, struct dyn_slice model);
/* Writers of the same slot take turns by themselves. */
void health_board_set_latency(health_board_t *board, size_t slot, const struct health_latency *latency,
                              uint64_t now_us);
/* What is left of a decayed mean after so long a silence. */
uint32_t health_decayed(uint32_t ewma_us, uint64_t silent_us);

/* ---- the map: what a HEARTBEAT and the event `target.health` carry ---- */

struct health_item {
    struct dyn_slice target;
    const health_board_t *board;
};
/* Appends it. Figures of models that changed after `since_us` go along; UINT64_MAX: none do. */
void health_map_encode(const struct health_item *items, size_t n_items, uint64_t now_us, uint64_t since_us,
                       struct dyn_buf *out);
/* Reads one that may come from anyone: -1 with err when it is no sound map, and nothing was touched. For each
 * target `board_of` names the board that takes its state; NULL: it is skipped. */
int health_map_decode(struct dyn_slice map, uint64_t now_us,
                      health_board_t *(*board_of)(void *arg, struct dyn_slice target), void *arg,
                      struct dyn_err *err);
