/* One request: decided about, tried, repeated, moved on. What the walker does (router/walker.c), with events
 * instead of envelopes and without processes that get lost. */
#include "tests/simulator/sim.h"

#include "router/decide.h"

#include <stdio.h>
#include <stdlib.h>

static const struct dyn_slice model = DYN_SLICE_INIT("m");
enum { ATTEMPT_MIN_US = 1000 * 1000, PROMPT_TOKENS = 400, KEYS = 1000 };
/* 10^-12 USD a token; the first is the cheapest. */
static const uint64_t prices[SIM_TARGETS] = {1000000, 2000000, 3000000};

static struct sim_request *
request_new(struct sim *sim)
{
    struct sim_request *rq = sim->spare;
    if (rq != NULL) {
        sim->spare = rq->next;
    } else {
        rq = dyn_alloc(sizeof *rq);
    }
    *rq = (struct sim_request){.began_us = sim->now_us,
                               .deadline_us = sim->now_us + SIM_TIMEOUT_MS * UINT64_C(1000)};
    return rq;
}

static void
finish(struct sim *sim, struct sim_request *rq, bool is_served)
{
    if (is_served) {
        sim->times[sim->result.served++] = sim->now_us - rq->began_us;
        sim->result.trouble_served += sim_is_trouble(rq->began_us);
    }
    rq->next = sim->spare;
    sim->spare = rq;
}

static struct route_target_view
look_at(struct sim *sim, size_t target)
{
    struct health_view health;
    provider_guard_refresh(sim_guard(sim, target), sim->now_us);
    health_view(provider_guard_board(sim_guard(sim, target)), model, sim->now_us, &health);
    return (struct route_target_view){
        .state = health.state,
        .retry_ms = health.retry_ms,
        .in_flight = health.in_flight,
        .samples = health.samples,
        .total_us = health.total_us,
        .ewma_us = health.ewma_us,
        .is_in_catalogue = true,
        .price_in = prices[target],
        .price_out = prices[target],
    };
}

static void
decide(struct sim *sim, struct sim_request *rq)
{
    struct route_target_view seen[SIM_TARGETS];
    char key[16];
    int key_len = snprintf(key, sizeof key, "k%u", (unsigned)dyn_rng_below(&sim->rng, KEYS));
    struct route_facts facts = {.surface = ENV_SURFACE_CHAT,
                                .model = model,
                                .asked_model = model,
                                .key_id = dyn_slice(key, (size_t)key_len),
                                .prompt_tokens = PROMPT_TOKENS};
    struct route_view view = {.plan = sim->plan,
                              .targets = sim->plan->targets,
                              .n_targets = sim->plan->n_targets,
                              .seen = seen,
                              .now_ms = sim->now_us / 1000};
    for (size_t i = 0; i < SIM_TARGETS; i++) {
        seen[i] = look_at(sim, i);
        route_set_add(&view.candidates, i);
    }
    struct route_decision decision;
    (void)route_decide(sim->plan, &facts, &view, &sim->route_rng, &decision);
    rq->order = decision.order;
}

/* ---- attempts ---- */

static bool
next_target(struct sim *sim, struct sim_request *rq)
{
    bool is_held = rq->order.is_named && rq->targets_tried > 0;
    if (rq->next_target >= rq->order.n || is_held || rq->targets_tried >= sim->plan->max_attempts) {
        return false;
    }
    rq->target = rq->order.items[rq->next_target++];
    rq->targets_tried++;
    rq->tries = 0;
    rq->credential_tries = 0;
    return true;
}

/* Of the time that is left the share of one attempt, at least a second. */
static uint64_t
attempt_until_us(const struct sim *sim, const struct sim_request *rq)
{
    uint64_t targets_left = rq->order.n - rq->next_target + 1;
    uint64_t share_us = (rq->deadline_us - sim->now_us) / targets_left;
    uint64_t until_us = sim->now_us + (share_us > ATTEMPT_MIN_US ? share_us : ATTEMPT_MIN_US);
    return until_us < rq->deadline_us ? until_us : rq->deadline_us;
}

static void
count_call(struct sim *sim)
{
    struct sim_result *result = &sim->result;
    bool is_trouble = sim_is_trouble(sim->now_us);
    result->calls++;
    result->trouble_calls += is_trouble;
    if (result->open_after_us == UINT64_MAX) {
        result->calls_before += is_trouble;
    } else {
        result->open_calls += is_trouble;
    }
}

static void
call(struct sim *sim, struct sim_request *rq)
{
    uint64_t until_us = attempt_until_us(sim, rq);
    count_call(sim);
    rq->fate = sim->options.scenario->fate(sim, rq->target);
    rq->call_us = sim->now_us;
    rq->in_flight = true;
    rq->is_cut = sim->now_us + rq->fate.took_us > until_us;
    sim_at(sim, rq->is_cut ? until_us : sim->now_us + rq->fate.took_us, rq);
}

/* Until one call is in flight, or nobody is left. A target that refuses was not tried. */
static void
send(struct sim *sim, struct sim_request *rq, bool is_at_target)
{
    struct provider_refusal refusal;
    while (is_at_target || next_target(sim, rq)) {
        provider_guard_t *guard = sim_guard(sim, rq->target);
        rq->pass = (struct provider_pass){.holds = false};
        if (provider_guard_enter(guard, &rq->pass, NULL, model, sim->now_us, &refusal) == PROVIDER_PASSES) {
            call(sim, rq);
            return;
        }
        (void)provider_guard_leave(guard, &rq->pass, NULL, sim->now_us);
        rq->targets_tried -= rq->tries + rq->credential_tries == 0;
        is_at_target = false;
    }
    finish(sim, rq, false);
}

void
sim_arrive(struct sim *sim)
{
    struct sim_request *rq = request_new(sim);
    struct sim_result *result = &sim->result;
    bool are_open = result->open_after_us != UINT64_MAX;
    result->requests++;
    if (sim_is_trouble(sim->now_us)) {
        result->trouble_requests++;
        *(are_open ? &result->open_requests : &result->requests_before) += 1;
    }
    route_budget_count(&sim->retries, sim->now_us);
    decide(sim, rq);
    send(sim, rq, false);
}

/* All are open for the first time since the trouble began. */
static void
note_breakers(struct sim *sim)
{
    struct sim_result *result = &sim->result;
    if (result->open_after_us != UINT64_MAX || !sim_is_trouble(sim->now_us)) {
        return;
    }
    for (size_t i = 0; i < SIM_TARGETS; i++) {
        if (health_state_of(provider_guard_board(sim_guard(sim, i)), sim->now_us) != HEALTH_OPEN) {
            return;
        }
    }
    result->open_after_us = sim->now_us - SIM_TROUBLE_FROM_S * SIM_US;
}

/* The upstream's answer, as its provider actor tells of it. */
static struct route_failure
leave(struct sim *sim, struct sim_request *rq)
{
    provider_guard_t *guard = sim_guard(sim, rq->target);
    enum err_code error = rq->is_cut ? ERR_GATEWAY_TIMEOUT : rq->fate.error;
    bool counts = error != ERR_NONE && (err_row(error)->counts || rq->is_cut);
    struct provider_outcome outcome = {
        .breaker = error == ERR_NONE ? BREAKER_SUCCESS : counts ? BREAKER_FAILURE : BREAKER_NEUTRAL,
        .cred = {.error = error, .status = rq->fate.status, .retry_ms = rq->fate.retry_ms},
        .model = model,
        .total_us = error == ERR_NONE ? sim->now_us - rq->call_us : 0,
    };
    struct route_failure failure = {.error = error, .calls = 1};
    if (!rq->is_cut) {
        failure.upstream_status = rq->fate.status;
        failure.retry_ms = rq->fate.retry_ms;
    }
    if (error != ERR_NONE && err_row(error)->blame == ERR_BLAME_KEY) {
        failure.creds = provider_guard_other_creds(guard, &rq->pass, sim->now_us);
    }
    (void)provider_guard_leave(guard, &rq->pass, &outcome, sim->now_us);
    note_breakers(sim);
    return failure;
}

static bool
may_repeat(struct sim *sim, const struct sim_request *rq, const struct route_failure *failure,
           uint64_t *wait_ms)
{
    const struct route_retry *retry = &sim->plan->targets[rq->target].retry;
    return rq->tries < retry->attempts && route_retry_may_help(retry, failure) &&
           route_retry_wait_ms(retry, failure, rq->tries, &sim->route_rng, wait_ms) &&
           sim->now_us + *wait_ms * 1000 < rq->deadline_us &&
           route_budget_spend(&sim->retries, sim->plan->retry_share, sim->now_us);
}

static void
follow(struct sim *sim, struct sim_request *rq, const struct route_failure *failure)
{
    uint64_t wait_ms = 0;
    if (sim->now_us >= rq->deadline_us) {
        finish(sim, rq, false);
        return;
    }
    if (route_failure_is_of_credential(failure) && rq->credential_tries < ROUTE_CREDENTIAL_TRIES_MAX) {
        rq->credential_tries++;
        send(sim, rq, true);
        return;
    }
    rq->tries++;
    if (may_repeat(sim, rq, failure, &wait_ms)) {
        sim_at(sim, sim->now_us + wait_ms * 1000, rq);
    } else if (route_failure_may_be_mended_elsewhere(failure) || rq->is_cut) {
        send(sim, rq, false);
    } else {
        finish(sim, rq, false);
    }
}

void
sim_continue(struct sim *sim, struct sim_request *rq)
{
    if (!rq->in_flight) { /* its wait is over */
        send(sim, rq, true);
        return;
    }
    rq->in_flight = false;
    struct route_failure failure = leave(sim, rq);
    if (failure.error == ERR_NONE) {
        finish(sim, rq, true);
    } else {
        follow(sim, rq, &failure);
    }
}
