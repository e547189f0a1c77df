/* See breaker.h. */
#include "actors/providers/breaker.h"

#define US_PER_MS 1000u

void
breaker_init(struct breaker *breaker, const struct breaker_config *config)
{
    *breaker = (struct breaker){.config = *config};
    if (breaker->config.probes_max > BREAKER_PROBES_MAX) {
        breaker->config.probes_max = BREAKER_PROBES_MAX;
    }
    (void)pthread_mutex_init(&breaker->lock, NULL);
}

void
breaker_fini(struct breaker *breaker)
{
    (void)pthread_mutex_destroy(&breaker->lock);
}

static enum health_state
state_now(const struct breaker *breaker)
{
    return (enum health_state)atomic_load_explicit(&breaker->state, memory_order_relaxed);
}

static uint64_t
open_until(const struct breaker *breaker)
{
    return atomic_load_explicit(&breaker->open_until_us, memory_order_relaxed);
}

/* ---- the window ---- */

static uint64_t
number_at(const struct breaker *breaker, uint64_t now_us)
{
    uint64_t slot_us = breaker->config.window_us / BREAKER_SLOTS;
    return now_us / (slot_us > 0 ? slot_us : 1) + 1;
}

/* With the lock. A cell whose clock is a turn behind counts in the slot that is there. */
static struct breaker_slot *
turn_to(struct breaker *breaker, uint64_t number)
{
    struct breaker_slot *slot = &breaker->slots[number % BREAKER_SLOTS];
    if (atomic_load_explicit(&slot->number, memory_order_relaxed) < number) {
        atomic_store_explicit(&slot->begun, 0, memory_order_relaxed);
        atomic_store_explicit(&slot->failed, 0, memory_order_relaxed);
        atomic_store_explicit(&slot->number, number, memory_order_release);
    }
    return slot;
}

void
breaker_begun(struct breaker *breaker, uint64_t now_us)
{
    if (DYN_LIKELY(breaker->config.failure_percent == 0)) {
        return;
    }
    uint64_t number = number_at(breaker, now_us);
    struct breaker_slot *slot = &breaker->slots[number % BREAKER_SLOTS];
    if (DYN_UNLIKELY(atomic_load_explicit(&slot->number, memory_order_acquire) < number)) {
        (void)pthread_mutex_lock(&breaker->lock);
        (void)turn_to(breaker, number);
        (void)pthread_mutex_unlock(&breaker->lock);
    }
    (void)atomic_fetch_add_explicit(&slot->begun, 1, memory_order_relaxed);
}

/* With the lock, about a failure that is counted. */
static bool
is_often_enough(struct breaker *breaker, uint64_t now_us)
{
    uint64_t number = number_at(breaker, now_us);
    uint64_t begun = 0;
    uint64_t failed = 0;
    for (size_t i = 0; i < BREAKER_SLOTS; i++) {
        const struct breaker_slot *slot = &breaker->slots[i];
        if (atomic_load_explicit(&slot->number, memory_order_relaxed) + BREAKER_SLOTS > number) {
            begun += atomic_load_explicit(&slot->begun, memory_order_relaxed);
            failed += atomic_load_explicit(&slot->failed, memory_order_relaxed);
        }
    }
    return begun >= breaker->config.calls_min && failed * 100 >= begun * breaker->config.failure_percent;
}

/* With the lock. */
static bool
opens(struct breaker *breaker, uint64_t now_us)
{
    unsigned failures = atomic_fetch_add_explicit(&breaker->failures, 1, memory_order_relaxed) + 1;
    bool is_in_a_row = failures >= breaker->config.failure_threshold;
    if (breaker->config.failure_percent == 0) {
        return is_in_a_row;
    }
    struct breaker_slot *slot = turn_to(breaker, number_at(breaker, now_us));
    (void)atomic_fetch_add_explicit(&slot->failed, 1, memory_order_relaxed);
    return is_in_a_row && is_often_enough(breaker, now_us);
}

/* ---- states ---- */

/* With the lock. */
static void
become(struct breaker *breaker, enum health_state state)
{
    (void)atomic_fetch_add_explicit(&breaker->generation, 1, memory_order_relaxed);
    atomic_store_explicit(&breaker->failures, 0, memory_order_relaxed);
    breaker->successes = 0;
    memset(breaker->leases, 0, sizeof breaker->leases);
    for (size_t i = 0; i < BREAKER_SLOTS; i++) { /* number 0 is of the present while the clock is young */
        struct breaker_slot *slot = &breaker->slots[i];
        atomic_store_explicit(&slot->begun, 0, memory_order_relaxed);
        atomic_store_explicit(&slot->failed, 0, memory_order_relaxed);
        atomic_store_explicit(&slot->number, 0, memory_order_relaxed);
    }
    atomic_store_explicit(&breaker->state, (unsigned)state, memory_order_relaxed);
}

static void
open_up(struct breaker *breaker, uint64_t now_us)
{
    atomic_store_explicit(&breaker->open_until_us, now_us + breaker->config.open_us, memory_order_relaxed);
    become(breaker, HEALTH_OPEN);
}

/* ---- in ---- */

/* A place for a probe: a free one, or one whose call was not heard of in time. */
static struct breaker_lease *
free_lease(struct breaker *breaker, uint64_t now_us)
{
    for (uint32_t i = 0; i < breaker->config.probes_max; i++) {
        struct breaker_lease *lease = &breaker->leases[i];
        if (lease->id == 0 || now_us >= lease->until_us) {
            return lease;
        }
    }
    return NULL;
}

/* When the first of them is given up at the latest; no probe takes that long as a rule. */
static uint32_t
until_probe_ms(const struct breaker *breaker, uint64_t now_us)
{
    enum { PROBE_RETRY_MS = 1000 };
    uint64_t soonest_us = now_us + (uint64_t)PROBE_RETRY_MS * US_PER_MS;
    for (uint32_t i = 0; i < breaker->config.probes_max; i++) {
        uint64_t until_us = breaker->leases[i].until_us;
        soonest_us = until_us < soonest_us ? until_us : soonest_us;
    }
    return (uint32_t)((soonest_us - now_us + US_PER_MS - 1) / US_PER_MS);
}

static enum breaker_verdict
admit_half_open(struct breaker *breaker, uint64_t now_us, uint64_t lease_us, struct breaker_permit *permit,
                uint32_t *retry_ms)
{
    struct breaker_lease *lease = free_lease(breaker, now_us);
    if (lease == NULL) {
        *retry_ms = until_probe_ms(breaker, now_us);
        return BREAKER_REFUSES;
    }
    *lease = (struct breaker_lease){++breaker->last_lease, now_us + lease_us};
    permit->lease = lease->id;
    permit->generation = atomic_load_explicit(&breaker->generation, memory_order_relaxed);
    return BREAKER_PROBES;
}

enum breaker_verdict
breaker_admit(struct breaker *breaker, uint64_t now_us, uint64_t lease_us, struct breaker_permit *permit,
              uint32_t *retry_ms)
{
    *retry_ms = 0;
    *permit = (struct breaker_permit){.generation =
                                          atomic_load_explicit(&breaker->generation, memory_order_relaxed)};
    if (DYN_LIKELY(state_now(breaker) == HEALTH_CLOSED)) {
        return BREAKER_ADMITS;
    }
    enum breaker_verdict verdict = BREAKER_ADMITS;
    (void)pthread_mutex_lock(&breaker->lock);
    if (state_now(breaker) == HEALTH_OPEN && now_us >= open_until(breaker)) {
        become(breaker, HEALTH_HALF_OPEN);
    }
    if (state_now(breaker) == HEALTH_OPEN) {
        verdict = BREAKER_REFUSES;
        *retry_ms = (uint32_t)((open_until(breaker) - now_us + US_PER_MS - 1) / US_PER_MS);
    } else if (state_now(breaker) == HEALTH_HALF_OPEN) {
        verdict = admit_half_open(breaker, now_us, lease_us, permit, retry_ms);
    } else {
        permit->generation = atomic_load_explicit(&breaker->generation, memory_order_relaxed);
    }
    (void)pthread_mutex_unlock(&breaker->lock);
    return verdict;
}

static bool
is_of_now(const struct breaker *breaker, const struct breaker_permit *permit)
{
    return permit->generation == atomic_load_explicit(&breaker->generation, memory_order_relaxed);
}

/* With the lock. */
static struct breaker_lease *
find_lease(struct breaker *breaker, uint64_t id)
{
    for (uint32_t i = 0; id != 0 && i < breaker->config.probes_max; i++) {
        if (breaker->leases[i].id == id) {
            return &breaker->leases[i];
        }
    }
    return NULL;
}

bool
breaker_holds(struct breaker *breaker, const struct breaker_permit *permit, uint64_t now_us,
              uint64_t lease_us)
{
    if (permit->lease == 0) {
        return is_of_now(breaker, permit);
    }
    (void)pthread_mutex_lock(&breaker->lock);
    struct breaker_lease *lease = is_of_now(breaker, permit) ? find_lease(breaker, permit->lease) : NULL;
    if (lease != NULL) {
        lease->until_us = now_us + lease_us;
    }
    (void)pthread_mutex_unlock(&breaker->lock);
    return lease != NULL;
}

/* ---- out ---- */

static void
give_back(struct breaker *breaker, uint64_t id)
{
    struct breaker_lease *lease = find_lease(breaker, id);
    if (lease != NULL) {
        *lease = (struct breaker_lease){0};
    }
}

/* With the lock; the permit is of this generation. */
static void
count(struct breaker *breaker, enum breaker_outcome outcome, uint64_t now_us)
{
    enum health_state state = state_now(breaker);
    if (outcome == BREAKER_FAILURE && state == HEALTH_HALF_OPEN) {
        open_up(breaker, now_us);
    } else if (outcome == BREAKER_FAILURE && state == HEALTH_CLOSED) {
        if (opens(breaker, now_us)) {
            open_up(breaker, now_us);
        }
    } else if (outcome == BREAKER_SUCCESS && state == HEALTH_HALF_OPEN) {
        if (++breaker->successes >= breaker->config.success_threshold) {
            become(breaker, HEALTH_CLOSED);
        }
    } else if (outcome == BREAKER_SUCCESS && state == HEALTH_CLOSED) {
        atomic_store_explicit(&breaker->failures, 0, memory_order_relaxed);
    }
}

/* Nothing to write: it was no probe, and there is no count that a success would reset. */
static bool
is_without_news(const struct breaker *breaker, const struct breaker_permit *permit,
                enum breaker_outcome outcome)
{
    bool changes =
        outcome == BREAKER_FAILURE ||
        (outcome == BREAKER_SUCCESS && atomic_load_explicit(&breaker->failures, memory_order_relaxed) != 0);
    return permit->lease == 0 && (!changes || breaker->config.failure_threshold == 0);
}

bool
breaker_settle(struct breaker *breaker, struct breaker_permit *permit, enum breaker_outcome outcome,
               uint64_t now_us)
{
    if (DYN_LIKELY(is_without_news(breaker, permit, outcome))) {
        *permit = (struct breaker_permit){0};
        return false;
    }
    (void)pthread_mutex_lock(&breaker->lock);
    unsigned before = atomic_load_explicit(&breaker->generation, memory_order_relaxed);
    if (permit->generation == before) {
        give_back(breaker, permit->lease);
        count(breaker, outcome, now_us);
    }
    bool has_changed = atomic_load_explicit(&breaker->generation, memory_order_relaxed) != before;
    (void)pthread_mutex_unlock(&breaker->lock);
    *permit = (struct breaker_permit){0};
    return has_changed;
}

enum health_state
breaker_state(const struct breaker *breaker, uint64_t now_us)
{
    enum health_state state = state_now(breaker);
    return state == HEALTH_OPEN && now_us >= open_until(breaker) ? HEALTH_HALF_OPEN : state;
}
