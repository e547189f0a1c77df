/* See credentials.h. */
#include "actors/providers/credentials.h"

#include <stdlib.h>

#define US_PER_MS UINT64_C(1000)

void
credentials_init(struct credentials *credentials, size_t n)
{
    *credentials = (struct credentials){.n = n};
    credentials->items = dyn_zalloc((n + 1) * sizeof *credentials->items);
    (void)pthread_mutex_init(&credentials->lock, NULL);
}

void
credentials_fini(struct credentials *credentials)
{
    (void)pthread_mutex_destroy(&credentials->lock);
    free(credentials->items);
    credentials->items = NULL;
}

/* ---- one of them, with the lock ---- */

static bool
is_on(const struct credential_pause *pause, uint64_t now_us)
{
    return pause->last_ms != 0 && now_us < pause->until_us;
}

/* The pause that keeps it from this model the longest; NULL: there is none. */
static const struct credential_pause *
pause_for(const struct credential *item, uint64_t model_key, uint64_t now_us)
{
    const struct credential_pause *longest = is_on(&item->all, now_us) ? &item->all : NULL;
    for (size_t i = 0; i < CREDENTIALS_MODELS_MAX; i++) {
        const struct credential_pause *pause = &item->models[i];
        bool concerns = pause->model_key == model_key && is_on(pause, now_us);
        if (concerns && (longest == NULL || pause->until_us > longest->until_us)) {
            longest = pause;
        }
    }
    return longest;
}

static bool
is_aside_for_some(const struct credential *item, uint64_t now_us)
{
    bool is_aside = is_on(&item->all, now_us);
    for (size_t i = 0; i < CREDENTIALS_MODELS_MAX; i++) {
        is_aside = is_aside || is_on(&item->models[i], now_us);
    }
    return is_aside;
}

/* Where a pause for that model is kept: where the last one was, a free place, or one that is over. */
static struct credential_pause *
place_for(struct credential *item, uint64_t model_key, uint64_t now_us)
{
    struct credential_pause *place = NULL;
    for (size_t i = 0; i < CREDENTIALS_MODELS_MAX; i++) {
        struct credential_pause *pause = &item->models[i];
        if (pause->last_ms != 0 && pause->model_key == model_key) {
            return pause;
        }
        if (place == NULL && !is_on(pause, now_us)) {
            place = pause;
        }
    }
    if (place != NULL) {
        *place = (struct credential_pause){.model_key = model_key};
    }
    return place != NULL ? place : &item->all;
}

/* Calls that were under way together fail together: that is one failure, and prolongs nothing. */
static void
set_aside(struct credential_pause *pause, enum err_code why, uint32_t named_ms, uint64_t now_us)
{
    bool is_limit = why == ERR_UPSTREAM_RATE_LIMIT;
    uint32_t first_ms = is_limit ? CREDENTIALS_LIMITED_MS : CREDENTIALS_REFUSED_MS;
    uint32_t max_ms = is_limit ? CREDENTIALS_LIMITED_MAX_MS : CREDENTIALS_REFUSED_MAX_MS;
    uint32_t ms = named_ms;
    if (named_ms == 0 && is_on(pause, now_us)) {
        return;
    }
    if (named_ms == 0) {
        bool again = pause->last_ms != 0 && pause->why == why;
        uint32_t doubled = pause->last_ms < max_ms / 2 ? pause->last_ms * 2 : max_ms;
        ms = !again ? first_ms : doubled > first_ms ? doubled : first_ms;
    }
    uint64_t until_us = now_us + ms * US_PER_MS;
    pause->why = why;
    pause->last_ms = ms;
    pause->until_us = until_us > pause->until_us ? until_us : pause->until_us;
}

/* It works again. */
static void
forgive(struct credential *item, uint64_t model_key, uint64_t now_us)
{
    if (!is_on(&item->all, now_us)) {
        item->all = (struct credential_pause){0};
    }
    for (size_t i = 0; i < CREDENTIALS_MODELS_MAX; i++) {
        if (item->models[i].model_key == model_key && !is_on(&item->models[i], now_us)) {
            item->models[i] = (struct credential_pause){0};
        }
    }
}

/* Of what no call asks about any more. true: the pause is still of interest. */
static bool
keep_or_forget(struct credential_pause *pause, uint64_t now_us)
{
    if (pause->last_ms != 0 && now_us >= pause->until_us + CREDENTIALS_FORGET_MS * US_PER_MS) {
        *pause = (struct credential_pause){0};
    }
    return pause->last_ms != 0;
}

/* ---- all of them ---- */

static bool
has_pauses(const struct credentials *credentials)
{
    return atomic_load_explicit(&credentials->has_pauses, memory_order_relaxed);
}

static size_t
next_turn(struct credentials *credentials, size_t n)
{
    return n > 1 ? atomic_fetch_add_explicit(&credentials->turn, 1, memory_order_relaxed) % n : 0;
}

/* With the lock. */
static void
explain_none(const struct credentials *credentials, uint64_t model_key, uint64_t now_us,
             struct credentials_choice *choice)
{
    uint64_t soonest_us = UINT64_MAX;
    choice->why = ERR_UPSTREAM_AUTH;
    for (size_t i = 0; i < credentials->n; i++) {
        const struct credential_pause *pause = pause_for(&credentials->items[i], model_key, now_us);
        soonest_us = pause->until_us < soonest_us ? pause->until_us : soonest_us;
        choice->why = pause->why == ERR_UPSTREAM_RATE_LIMIT ? pause->why : choice->why;
    }
    choice->retry_ms = (uint32_t)((soonest_us - now_us + US_PER_MS - 1) / US_PER_MS);
}

/* With the lock: the nth of those that are not aside. */
static int
choose_nth(struct credentials *credentials, uint64_t model_key, uint64_t now_us,
           struct credentials_choice *choice)
{
    size_t n = 0;
    for (size_t i = 0; i < credentials->n; i++) {
        n += pause_for(&credentials->items[i], model_key, now_us) == NULL ? 1 : 0;
    }
    if (n == 0) {
        explain_none(credentials, model_key, now_us, choice);
        return -1;
    }
    size_t nth = next_turn(credentials, n);
    for (size_t i = 0; i < credentials->n; i++) {
        if (pause_for(&credentials->items[i], model_key, now_us) == NULL && nth-- == 0) {
            choice->index = i;
        }
    }
    return 0;
}

int
credentials_choose(struct credentials *credentials, uint64_t model_key, uint64_t now_us,
                   struct credentials_choice *choice)
{
    *choice = (struct credentials_choice){0};
    if (credentials->n == 0 || !has_pauses(credentials)) {
        choice->index = next_turn(credentials, credentials->n);
        return 0;
    }
    (void)pthread_mutex_lock(&credentials->lock);
    int rc = choose_nth(credentials, model_key, now_us, choice);
    (void)pthread_mutex_unlock(&credentials->lock);
    return rc;
}

size_t
credentials_others(struct credentials *credentials, size_t index, uint64_t model_key, uint64_t now_us)
{
    size_t n = 0;
    (void)pthread_mutex_lock(&credentials->lock);
    for (size_t i = 0; i < credentials->n; i++) {
        n += i != index && pause_for(&credentials->items[i], model_key, now_us) == NULL ? 1 : 0;
    }
    (void)pthread_mutex_unlock(&credentials->lock);
    return n;
}

/* With the lock. */
static void
find_state(const struct credentials *credentials, uint64_t now_us, struct credentials_state *state)
{
    uint64_t soonest_us = UINT64_MAX;
    uint32_t n_out = 0;
    *state = (struct credentials_state){.n = (uint32_t)credentials->n};
    for (size_t i = 0; i < credentials->n; i++) {
        const struct credential *item = &credentials->items[i];
        state->aside += is_aside_for_some(item, now_us) ? 1 : 0;
        if (is_on(&item->all, now_us)) {
            n_out++;
            soonest_us = item->all.until_us < soonest_us ? item->all.until_us : soonest_us;
        }
    }
    state->back_at_us = n_out > 0 && n_out == credentials->n ? soonest_us : 0;
}

/* With the lock. Without any a call costs no lock again. */
static void
look_for_pauses(struct credentials *credentials, uint64_t now_us)
{
    bool has_some = false;
    for (size_t i = 0; i < credentials->n; i++) {
        struct credential *item = &credentials->items[i];
        has_some = keep_or_forget(&item->all, now_us) || has_some;
        for (size_t k = 0; k < CREDENTIALS_MODELS_MAX; k++) {
            has_some = keep_or_forget(&item->models[k], now_us) || has_some;
        }
    }
    atomic_store_explicit(&credentials->has_pauses, has_some, memory_order_relaxed);
}

/* With the lock. */
static void
apply(struct credentials *credentials, size_t index, uint64_t model_key,
      const struct credentials_outcome *outcome, uint64_t now_us)
{
    struct credential *item = &credentials->items[index];
    bool is_refused = outcome->error == ERR_UPSTREAM_AUTH;
    bool is_limited = outcome->error == ERR_UPSTREAM_RATE_LIMIT;
    bool may_pause = credentials->n > 1 || (is_limited && outcome->retry_ms > 0);
    bool is_too_long = credentials->n == 1 && outcome->retry_ms > CREDENTIALS_SOLE_MAX_MS;
    uint32_t named_ms = is_too_long ? CREDENTIALS_SOLE_MAX_MS : outcome->retry_ms;
    if (outcome->error == ERR_NONE) {
        forgive(item, model_key, now_us);
        look_for_pauses(credentials, now_us);
    } else if ((is_refused || is_limited) && may_pause) {
        bool is_for_all = is_refused && outcome->status != 403;
        struct credential_pause *pause = is_for_all ? &item->all : place_for(item, model_key, now_us);
        set_aside(pause, outcome->error, is_limited ? named_ms : 0, now_us);
        atomic_store_explicit(&credentials->has_pauses, true, memory_order_relaxed);
    }
}

bool
credentials_settle(struct credentials *credentials, size_t index, uint64_t model_key,
                   const struct credentials_outcome *outcome, uint64_t now_us)
{
    struct credentials_state before, after;
    bool is_about_key = outcome->error == ERR_UPSTREAM_AUTH || outcome->error == ERR_UPSTREAM_RATE_LIMIT;
    bool is_good = outcome->error == ERR_NONE && has_pauses(credentials);
    if (index >= credentials->n || (!is_about_key && !is_good)) {
        return false;
    }
    (void)pthread_mutex_lock(&credentials->lock);
    find_state(credentials, now_us, &before);
    apply(credentials, index, model_key, outcome, now_us);
    find_state(credentials, now_us, &after);
    (void)pthread_mutex_unlock(&credentials->lock);
    return before.aside != after.aside || before.back_at_us != after.back_at_us;
}

void
credentials_state(struct credentials *credentials, uint64_t now_us, struct credentials_state *state)
{
    if (!has_pauses(credentials)) {
        *state = (struct credentials_state){.n = (uint32_t)credentials->n};
        return;
    }
    (void)pthread_mutex_lock(&credentials->lock);
    find_state(credentials, now_us, state);
    (void)pthread_mutex_unlock(&credentials->lock);
}
