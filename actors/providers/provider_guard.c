/* Puts the four together: who is asked first, what is shown on the board, what counts as news. */
#include "actors/providers/provider_guard.h"

#include <stdlib.h>

struct provider_guard {
    atomic_uint refs;
    struct provider_guard_config config;
    health_board_t *board;
    struct breaker breaker;
    struct limiter limiter;
    struct credentials credentials;
    struct latency latency;
    pthread_mutex_t show; /* one at a time shows state and credentials: the newest wins */
    atomic_uint state_changes, state_told;
    atomic_uint load_told;
    atomic_uint n_listeners;
    atomic_uint listeners[PROVIDER_LISTENERS_MAX];
    atomic_uint_fast64_t refused_open, refused_full, refused_creds, waited;
};

/* ---- life ---- */

provider_guard_t *
provider_guard_new(const struct provider_guard_config *config)
{
    provider_guard_t *guard = dyn_zalloc(sizeof *guard);
    atomic_init(&guard->refs, 1);
    guard->config = *config;
    guard->board = health_board_new();
    breaker_init(&guard->breaker, &config->breaker);
    limiter_init(&guard->limiter, config->limit, config->queue_max, guard->board);
    credentials_init(&guard->credentials, config->n_creds);
    latency_init(&guard->latency, guard->board);
    (void)pthread_mutex_init(&guard->show, NULL);
    health_board_set_limit(guard->board, config->limit);
    health_board_set_creds(guard->board, (uint32_t)config->n_creds, 0, 0);
    return guard;
}

provider_guard_t *
provider_guard_ref(provider_guard_t *guard)
{
    (void)atomic_fetch_add_explicit(&guard->refs, 1, memory_order_relaxed);
    return guard;
}

void
provider_guard_unref(provider_guard_t **guard_p)
{
    provider_guard_t *guard = *guard_p;
    *guard_p = NULL;
    if (guard == NULL || atomic_fetch_sub_explicit(&guard->refs, 1, memory_order_acq_rel) != 1) {
        return;
    }
    (void)pthread_mutex_destroy(&guard->show);
    latency_fini(&guard->latency);
    credentials_fini(&guard->credentials);
    limiter_fini(&guard->limiter);
    breaker_fini(&guard->breaker);
    health_board_unref(&guard->board);
    free(guard);
}

health_board_t *
provider_guard_board(const provider_guard_t *guard)
{
    return guard->board;
}

uint32_t
provider_guard_queue_timeout_ms(const provider_guard_t *guard)
{
    return guard->config.queue_timeout_ms;
}

bool
provider_guard_has_breaker(const provider_guard_t *guard)
{
    return guard->config.breaker.failure_threshold > 0;
}

/* ---- the board ---- */

static void
count(atomic_uint_fast64_t *counter)
{
    (void)atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

static void
show_state(provider_guard_t *guard, uint64_t now_us)
{
    struct credentials_state creds;
    (void)pthread_mutex_lock(&guard->show);
    health_board_set_breaker(guard->board, breaker_state(&guard->breaker, now_us),
                             atomic_load_explicit(&guard->breaker.open_until_us, memory_order_relaxed));
    credentials_state(&guard->credentials, now_us, &creds);
    health_board_set_creds(guard->board, creds.n, creds.aside, creds.back_at_us);
    (void)pthread_mutex_unlock(&guard->show);
}

static void
state_changed(provider_guard_t *guard, uint64_t now_us)
{
    show_state(guard, now_us);
    (void)atomic_fetch_add_explicit(&guard->state_changes, 1, memory_order_relaxed);
}

void
provider_guard_refresh(provider_guard_t *guard, uint64_t now_us)
{
    show_state(guard, now_us);
}

static bool
is_news(atomic_uint *changes, atomic_uint *told)
{
    unsigned now = atomic_load_explicit(changes, memory_order_relaxed);
    return now != atomic_load_explicit(told, memory_order_relaxed) &&
           atomic_exchange_explicit(told, now, memory_order_relaxed) != now;
}

bool
provider_guard_has_news(provider_guard_t *guard, bool *is_state)
{
    *is_state = is_news(&guard->state_changes, &guard->state_told);
    bool is_load = is_news(&guard->limiter.fullness_changes, &guard->load_told);
    return *is_state || is_load;
}

void
provider_guard_listen(provider_guard_t *guard, uint32_t address)
{
    (void)pthread_mutex_lock(&guard->show);
    unsigned n = atomic_load(&guard->n_listeners);
    bool is_known = false;
    for (unsigned i = 0; i < n; i++) {
        is_known = is_known || atomic_load(&guard->listeners[i]) == address;
    }
    if (!is_known) {
        DYN_ASSERT(n < PROVIDER_LISTENERS_MAX);
        atomic_store(&guard->listeners[n], address);
        atomic_store(&guard->n_listeners, n + 1);
    }
    (void)pthread_mutex_unlock(&guard->show);
}

size_t
provider_guard_listeners(const provider_guard_t *guard, uint32_t addresses[PROVIDER_LISTENERS_MAX])
{
    size_t n = 0;
    for (unsigned i = 0; i < atomic_load(&guard->n_listeners); i++) {
        addresses[n++] = atomic_load(&guard->listeners[i]);
    }
    return n;
}

/* ---- in ---- */

/* The credential is chosen last, when the call really goes out. */
static enum provider_verdict
begin(provider_guard_t *guard, struct provider_pass *pass, uint64_t now_us, struct provider_refusal *refusal)
{
    struct credentials_choice choice;
    if (credentials_choose(&guard->credentials, pass->model_key, now_us, &choice) != 0) {
        count(&guard->refused_creds);
        *refusal = (struct provider_refusal){choice.why, choice.retry_ms};
        return PROVIDER_REFUSED;
    }
    pass->cred = choice.index;
    pass->is_counted = true;
    breaker_begun(&guard->breaker, now_us);
    health_board_add_in_flight(guard->board, 1);
    return PROVIDER_PASSES;
}

static bool
is_admitted(provider_guard_t *guard, struct provider_pass *pass, uint64_t now_us,
            struct provider_refusal *refusal)
{
    enum breaker_verdict verdict =
        breaker_admit(&guard->breaker, now_us, guard->config.probe_us, &pass->permit, &refusal->retry_ms);
    if (verdict == BREAKER_PROBES) {
        state_changed(guard, now_us);
    } else if (verdict == BREAKER_REFUSES) {
        refusal->error = ERR_UPSTREAM_UNAVAILABLE;
        count(&guard->refused_open);
    }
    return verdict != BREAKER_REFUSES;
}

/* A place at once, or in the queue; REFUSED: neither. */
static enum provider_verdict
find_place(provider_guard_t *guard, struct provider_pass *pass, struct limiter_seat *seat,
           struct provider_refusal *refusal)
{
    if (guard->config.limit == 0) {
        return PROVIDER_PASSES;
    }
    enum limiter_verdict verdict = limiter_take(&guard->limiter, seat, &pass->place);
    if (verdict == LIMITER_QUEUED) {
        count(&guard->waited);
        return PROVIDER_WAITS;
    }
    if (verdict == LIMITER_FULL) {
        count(&guard->refused_full);
        *refusal = (struct provider_refusal){ERR_PROVIDER_SATURATED, 0};
        return PROVIDER_REFUSED;
    }
    return PROVIDER_PASSES;
}

enum provider_verdict
provider_guard_enter(provider_guard_t *guard, struct provider_pass *pass, struct limiter_seat *seat,
                     struct dyn_slice model, uint64_t now_us, struct provider_refusal *refusal)
{
    *pass = (struct provider_pass){.model_key = health_model_key(model)};
    *refusal = (struct provider_refusal){0};
    if (!is_admitted(guard, pass, now_us, refusal)) {
        return PROVIDER_REFUSED;
    }
    pass->holds = true;
    enum provider_verdict verdict = find_place(guard, pass, seat, refusal);
    if (verdict == PROVIDER_PASSES) {
        verdict = begin(guard, pass, now_us, refusal);
    }
    return verdict;
}

struct provider_pass *
provider_guard_next(provider_guard_t *guard, struct limiter_seat *seat)
{
    struct limiter_place *place = limiter_next_given(&guard->limiter, seat);
    return place != NULL ? DYN_CONTAINER_OF(place, struct provider_pass, place) : NULL;
}

enum provider_verdict
provider_guard_proceed(provider_guard_t *guard, struct provider_pass *pass, uint64_t now_us,
                       struct provider_refusal *refusal)
{
    *refusal = (struct provider_refusal){0};
    bool holds = breaker_holds(&guard->breaker, &pass->permit, now_us, guard->config.probe_us);
    if (!holds && !is_admitted(guard, pass, now_us, refusal)) {
        return PROVIDER_REFUSED;
    }
    return begin(guard, pass, now_us, refusal);
}

/* ---- out ---- */

uint32_t
provider_guard_other_creds(provider_guard_t *guard, const struct provider_pass *pass, uint64_t now_us)
{
    return (uint32_t)credentials_others(&guard->credentials, pass->cred, pass->model_key, now_us);
}

static void
learn(provider_guard_t *guard, const struct provider_pass *pass, const struct provider_outcome *outcome,
      uint64_t now_us)
{
    if (credentials_settle(&guard->credentials, pass->cred, pass->model_key, &outcome->cred, now_us)) {
        state_changed(guard, now_us);
    }
    if (outcome->total_us != 0) {
        latency_add(&guard->latency, outcome->model, outcome->ttft_us, outcome->total_us, now_us);
    }
}

uint32_t
provider_guard_leave(provider_guard_t *guard, struct provider_pass *pass,
                     const struct provider_outcome *outcome, uint64_t now_us)
{
    uint32_t who = 0;
    if (!pass->holds) {
        return 0;
    }
    pass->holds = false;
    if (pass->is_counted) {
        pass->is_counted = false;
        health_board_add_in_flight(guard->board, -1);
        if (outcome != NULL) {
            learn(guard, pass, outcome, now_us);
        }
    }
    enum breaker_outcome how = outcome != NULL ? outcome->breaker : BREAKER_NEUTRAL;
    if (breaker_settle(&guard->breaker, &pass->permit, how, now_us)) {
        state_changed(guard, now_us);
    }
    if (guard->config.limit != 0) {
        who = limiter_leave(&guard->limiter, &pass->place);
    }
    return who;
}

void
provider_guard_counts(const provider_guard_t *guard, struct provider_guard_counts *counts)
{
    *counts = (struct provider_guard_counts){
        .refused_open = atomic_load_explicit(&guard->refused_open, memory_order_relaxed),
        .refused_full = atomic_load_explicit(&guard->refused_full, memory_order_relaxed),
        .refused_creds = atomic_load_explicit(&guard->refused_creds, memory_order_relaxed),
        .waited = atomic_load_explicit(&guard->waited, memory_order_relaxed),
    };
}
