/* The board: numbers behind atomics, and a small table of models that only grows. The map that carries boards
 * between processes is health_map.c. */
#include "proto/health.h"

#include "proto/health_impl.h"

#include <stdlib.h>

#define FNV_START UINT64_C(0xcbf29ce484222325)
#define FNV_PRIME UINT64_C(0x100000001b3)
#define US_PER_MS 1000u

/* ---- life ---- */

health_board_t *
health_board_new(void)
{
    health_board_t *board = dyn_zalloc(sizeof *board);
    _Static_assert(sizeof *board <= HEALTH_BOARD_BYTES, "what the header promises");
    atomic_init(&board->refs, 1);
    return board;
}

health_board_t *
health_board_ref(health_board_t *board)
{
    (void)atomic_fetch_add_explicit(&board->refs, 1, memory_order_relaxed);
    return board;
}

void
health_board_unref(health_board_t **board_p)
{
    health_board_t *board = *board_p;
    *board_p = NULL;
    if (board == NULL || atomic_fetch_sub_explicit(&board->refs, 1, memory_order_acq_rel) != 1) {
        return;
    }
    for (size_t i = 0; i < HEALTH_MODELS_MAX; i++) {
        free(atomic_load_explicit(&board->slots[i].name, memory_order_relaxed));
    }
    free(board);
}

/* ---- models ---- */

uint64_t
health_model_key(struct dyn_slice model)
{
    uint64_t key = FNV_START;
    for (size_t i = 0; i < model.len; i++) {
        key = (key ^ (uint8_t)model.data[i]) * FNV_PRIME;
    }
    key ^= key >> 32; /* the low bits choose the slot */
    return model.len == 0 ? 0 : key == 0 ? 1 : key;
}

/* Slots are looked at from the one that the key names, and never given back: the first empty one ends it. Two
 * names of one key would share their figures, and nothing worse. */
static size_t
find_slot(const health_board_t *board, uint64_t key)
{
    for (size_t i = 0; i < HEALTH_MODELS_MAX; i++) {
        size_t at = (key + i) % HEALTH_MODELS_MAX;
        uint64_t there = atomic_load_explicit(&board->slots[at].key, memory_order_acquire);
        if (there == key || there == 0) {
            return at;
        }
    }
    return HEALTH_MODELS_MAX;
}

size_t
health_board_slot(health_board_t *board, struct dyn_slice model)
{
    uint64_t key = health_model_key(model);
    if (key == 0 || model.len > HEALTH_MODEL_NAME_MAX) {
        return HEALTH_MODELS_MAX;
    }
    for (size_t at; (at = find_slot(board, key)) != HEALTH_MODELS_MAX;) {
        uint64_t there = 0;
        if (atomic_compare_exchange_strong_explicit(&board->slots[at].key, &there, key, memory_order_acq_rel,
                                                    memory_order_acquire)) {
            atomic_store_explicit(&board->slots[at].name, dyn_strndup(model.data, model.len),
                                  memory_order_release);
            return at;
        }
        if (there == key) {
            return at;
        }
    }
    return HEALTH_MODELS_MAX;
}

uint32_t
health_decayed(uint32_t ewma_us, uint64_t silent_us)
{
    uint64_t halvings = silent_us / HEALTH_HALF_LIFE_US;
    if (halvings >= 32) {
        return 0;
    }
    uint32_t now = ewma_us >> halvings;
    /* Between two halvings a straight line is close enough. */
    return now - (uint32_t)((uint64_t)now / 2 * (silent_us % HEALTH_HALF_LIFE_US) / HEALTH_HALF_LIFE_US);
}

void
health_board_set_latency(health_board_t *board, size_t slot, const struct health_latency *latency,
                         uint64_t now_us)
{
    struct health_slot *at = &board->slots[slot];
    health_store(&at->ttft_us, latency->ttft_us);
    health_store(&at->ttft_p95_us, latency->ttft_p95_us);
    health_store(&at->total_us, latency->total_us);
    health_store(&at->ewma_us, latency->ewma_us);
    health_store(&at->samples, latency->samples);
    atomic_store_explicit(&at->changed_us, now_us, memory_order_relaxed);
}

void
health_slot_read(const struct health_slot *slot, uint64_t now_us, struct health_latency *latency)
{
    uint64_t changed_us = atomic_load_explicit(&slot->changed_us, memory_order_relaxed);
    uint64_t silent_us = now_us > changed_us ? now_us - changed_us : 0;
    *latency = (struct health_latency){
        .ttft_us = health_load(&slot->ttft_us),
        .ttft_p95_us = health_load(&slot->ttft_p95_us),
        .total_us = health_load(&slot->total_us),
        .ewma_us = health_decayed(health_load(&slot->ewma_us), silent_us),
        .samples = health_load(&slot->samples),
    };
}

/* ---- reading ---- */

const char *
health_state_name(enum health_state state)
{
    static const char *const names[] = {"closed", "half_open", "open"};
    return (size_t)state < DYN_ARRAY_LEN(names) ? names[state] : "unknown";
}

static uint32_t
ms_until(uint64_t at_us, uint64_t now_us)
{
    uint64_t ms = at_us > now_us ? (at_us - now_us + US_PER_MS - 1) / US_PER_MS : 0;
    return ms < UINT32_MAX ? (uint32_t)ms : UINT32_MAX;
}

enum health_state
health_state_of(const health_board_t *board, uint64_t now_us)
{
    enum health_state state = (enum health_state)health_load(&board->state);
    bool is_over =
        state == HEALTH_OPEN && now_us >= atomic_load_explicit(&board->open_until_us, memory_order_relaxed);
    return is_over ? HEALTH_HALF_OPEN : state;
}

void
health_view_of(const health_board_t *board, uint64_t model_key, uint64_t now_us, struct health_view *view)
{
    struct health_latency latency = {0};
    size_t slot = model_key != 0 ? find_slot(board, model_key) : HEALTH_MODELS_MAX;
    if (model_key != 0) {
        health_slot_read(&board->slots[slot], now_us, &latency);
    }
    *view = (struct health_view){
        .state = health_state_of(board, now_us),
        .in_flight = health_load(&board->in_flight),
        .queued = health_load(&board->queued),
        .limit = health_load(&board->limit),
        .creds = health_load(&board->creds),
        .creds_aside = health_load(&board->creds_aside),
        .ttft_us = latency.ttft_us,
        .total_us = latency.total_us,
        .ttft_p95_us = latency.ttft_p95_us,
        .ewma_us = latency.ewma_us,
        .samples = latency.samples,
    };
    uint64_t back_at_us = atomic_load_explicit(&board->back_at_us, memory_order_relaxed);
    bool is_back = back_at_us != 0 && now_us >= back_at_us; /* the soonest, and nobody has looked yet */
    view->creds_aside -= is_back && view->creds_aside > 0 ? 1 : 0;
    if (view->state == HEALTH_OPEN) {
        view->retry_ms = ms_until(atomic_load_explicit(&board->open_until_us, memory_order_relaxed), now_us);
    } else if (view->creds > 0 && view->creds_aside >= view->creds) {
        view->retry_ms = ms_until(back_at_us, now_us);
    }
}

void
health_view(const health_board_t *board, struct dyn_slice model, uint64_t now_us, struct health_view *view)
{
    health_view_of(board, health_model_key(model), now_us, view);
}

/* ---- writing ---- */

void
health_board_set_breaker(health_board_t *board, enum health_state state, uint64_t open_until_us)
{
    atomic_store_explicit(&board->open_until_us, open_until_us, memory_order_relaxed);
    health_store(&board->state, (uint32_t)state);
}

void
health_board_set_limit(health_board_t *board, uint32_t limit)
{
    health_store(&board->limit, limit);
}

void
health_board_set_creds(health_board_t *board, uint32_t creds, uint32_t aside, uint64_t back_at_us)
{
    atomic_store_explicit(&board->back_at_us, back_at_us, memory_order_relaxed);
    health_store(&board->creds, creds);
    health_store(&board->creds_aside, aside);
}

void
health_board_add_in_flight(health_board_t *board, int32_t difference)
{
    (void)atomic_fetch_add_explicit(&board->in_flight, (uint32_t)difference, memory_order_relaxed);
}

void
health_board_set_load(health_board_t *board, uint32_t in_flight, uint32_t queued)
{
    health_store(&board->in_flight, in_flight);
    health_store(&board->queued, queued);
}

void
health_board_set_queued(health_board_t *board, uint32_t queued)
{
    health_store(&board->queued, queued);
}
