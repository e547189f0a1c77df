/* Between a REQUEST and its upstream: the actor's side of provider_guard.h. A call passes, waits for a place
 * or is refused; what others in the process must hear of is told over the bus: an actor that one of its calls
 * has a place (HEARTBEAT `place`, to its own address), workers that the target's health has changed
 * (HEARTBEAT `health`), subscribers the same (the event `target.health`). */
#include "actors/providers/provider_call.h"

#include "core/log.h"

#include <stdlib.h>

#define US_PER_MS UINT64_C(1000)
/* A call that the router gave up before a byte of an answer came speaks against the target only when it was
 * waited for so long: a deadline of the caller's own making may be shorter. */
#define GIVEN_UP_MS 5000u

void
provider_shared_init(struct provider_shared *shared, const struct provider_target *target)
{
    struct provider_guard_config config = target->guard;
    size_t n_own = target->key.len > 0 ? 1 : 0;
    config.n_creds = target->n_keys > 0 ? target->n_keys : n_own;
    config.probe_us = ((uint64_t)target->connect_ms + target->first_byte_ms + target->idle_ms) * US_PER_MS;
    *shared = (struct provider_shared){.guard = provider_guard_new(&config),
                                       .target = dyn_strndup(target->name.data, target->name.len)};
}

void
provider_shared_fini(struct provider_shared *shared)
{
    provider_guard_unref(&shared->guard);
    free(shared->target);
    shared->target = NULL;
}

void
provider_gate_init(struct provider *provider)
{
    limiter_seat_init(&provider->seat, bus_actor_addr(provider->me));
    dyn_list_init(&provider->queue);
    provider->queue_timer.fire = provider_gate_time_is_up;
}

/* ---- telling others ---- */

static void
tell(struct provider *provider, bus_addr_t who, struct dyn_slice what)
{
    struct env *env = env_new(ENV_HEARTBEAT);
    env->reason = what;
    if (bus_send(provider->me, who, &env, NULL) != 0) {
        env_free(&env); /* an actor that has stopped holds no place, and tells nobody */
    }
}

static void
publish(struct provider *provider, const provider_guard_t *guard, uint64_t now_us)
{
    bus_addr_t events = (bus_addr_t)atomic_load(&provider->options.shared->events);
    const struct health_item item = {provider->options.target->name, provider_guard_board(guard)};
    struct dyn_buf map = DYN_BUF_INIT;
    if (events == 0) {
        return;
    }
    struct env *event = env_new(ENV_EVENT);
    health_map_encode(&item, 1, now_us, UINT64_MAX, &map);
    event->topic = DYN_SLICE(HEALTH_EVENT);
    event->body = dyn_block_copy(0, dyn_buf_slice(&map));
    dyn_buf_fini(&map);
    if (bus_send(provider->me, events, &event, NULL) != 0) {
        env_free(&event); /* events may be lost */
    }
}

static void
log_state(const struct provider *provider, const provider_guard_t *guard, uint64_t now_us)
{
    struct health_view view;
    health_view_of(provider_guard_board(guard), 0, now_us, &view);
    dyn_log(view.state == HEALTH_CLOSED ? DYN_LOG_INFO : DYN_LOG_WARN, "provider.health",
            "the health of a target has changed", DYN_LOG_SLICE("target", provider->options.target->name),
            DYN_LOG_STR("breaker", health_state_name(view.state)), DYN_LOG_UINT("retry_ms", view.retry_ms),
            DYN_LOG_UINT("credentials", view.creds), DYN_LOG_UINT("aside", view.creds_aside));
}

static void
announce(struct provider *provider)
{
    provider_guard_t *guard = provider->options.shared->guard;
    bool is_state;
    if (DYN_LIKELY(!provider_guard_has_news(guard, &is_state))) {
        return;
    }
    uint32_t listeners[PROVIDER_LISTENERS_MAX];
    size_t n = provider_guard_listeners(guard, listeners);
    for (size_t i = 0; i < n; i++) {
        tell(provider, listeners[i], DYN_SLICE("health"));
    }
    if (is_state) {
        uint64_t now_us = bus_loop_now_us(provider->loop);
        log_state(provider, guard, now_us);
        publish(provider, guard, now_us);
    }
}

/* ---- in ---- */

static void
wait_for_place(struct provider_call *call, uint64_t now_us)
{
    struct provider *provider = call->provider;
    uint32_t timeout_ms = provider_guard_queue_timeout_ms(provider->options.shared->guard);
    bool is_first = dyn_list_is_empty(&provider->queue);
    call->queue_until_us = timeout_ms > 0 ? now_us + timeout_ms * US_PER_MS : UINT64_MAX;
    dyn_list_append(&provider->queue, &call->queue_link);
    if (is_first && timeout_ms > 0) {
        bus_timer_arm(provider->loop, &provider->queue_timer, timeout_ms);
    }
}

enum provider_verdict
provider_gate_enter(struct provider_call *call, const struct env *request, struct provider_refusal *refusal)
{
    struct provider *provider = call->provider;
    provider_guard_t *guard = provider->options.shared->guard;
    uint64_t now_us = bus_loop_now_us(provider->loop);
    if (guard == NULL) {
        return PROVIDER_PASSES;
    }
    struct dyn_slice model = request->upstream_model.len > 0 ? request->upstream_model : request->model;
    enum provider_verdict verdict =
        provider_guard_enter(guard, &call->pass, &provider->seat, model, now_us, refusal);
    if (model.len <= sizeof call->model) {
        memcpy(call->model, model.data != NULL ? model.data : "", model.len);
        call->model_len = (uint16_t)model.len;
    }
    if (verdict == PROVIDER_WAITS) {
        wait_for_place(call, now_us);
    }
    announce(provider);
    return verdict;
}

/* ---- out ---- */

static bool
is_timeout(enum err_code code)
{
    return code == ERR_UPSTREAM_TIMEOUT || code == ERR_GATEWAY_TIMEOUT;
}

/* Whose fault it was, by the table of errors. */
static enum breaker_outcome
breaker_outcome(const struct provider_call *call, enum env_outcome outcome, enum err_code code,
                uint64_t now_us)
{
    uint32_t patience_ms = call->provider->options.target->first_byte_ms;
    patience_ms = patience_ms != 0 && patience_ms < GIVEN_UP_MS ? patience_ms : GIVEN_UP_MS;
    bool was_silent = call->pass.is_counted && call->first_byte_us == 0 &&
                      now_us >= call->started_us + patience_ms * US_PER_MS;
    if (outcome == ENV_OUTCOME_OK) {
        return BREAKER_SUCCESS;
    }
    if (outcome == ENV_OUTCOME_ERROR && err_row(code)->counts) {
        return BREAKER_FAILURE;
    }
    return (call->is_given_up || is_timeout(code)) && was_silent ? BREAKER_FAILURE : BREAKER_NEUTRAL;
}

/* What the caller of a failed call has to know: whether another credential is there. */
static void
advise(struct provider_call *call, enum err_code code, uint64_t now_us)
{
    if (call->end != NULL && call->pass.is_counted && err_row(code)->blame == ERR_BLAME_KEY) {
        provider_guard_t *guard = call->provider->options.shared->guard;
        call->end->creds = provider_guard_other_creds(guard, &call->pass, now_us);
    }
}

static void
leave(struct provider_call *call, const struct provider_outcome *outcome, uint64_t now_us)
{
    struct provider *provider = call->provider;
    provider_guard_t *guard = provider->options.shared->guard;
    dyn_list_remove(&call->queue_link);
    env_free(&call->waiting);
    dyn_block_unref(&call->waiting_body);
    if (guard == NULL || !call->pass.holds) {
        return;
    }
    uint32_t who = provider_guard_leave(guard, &call->pass, outcome, now_us);
    if (who != 0) {
        tell(provider, who, DYN_SLICE("place"));
    }
    announce(provider);
}

void
provider_gate_leave(struct provider_call *call, enum env_outcome outcome, enum err_code code)
{
    uint64_t now_us = bus_loop_now_us(call->provider->loop);
    bool is_ok = outcome == ENV_OUTCOME_OK;
    uint64_t total_us = call->end != NULL ? call->end->upstream_total_us : 0;
    bool has_ttft = is_ok && call->first_content_us > call->started_us;
    struct provider_outcome learned = {
        .breaker = breaker_outcome(call, outcome, code, now_us),
        .cred = {.error = is_ok              ? ERR_NONE
                          : code == ERR_NONE ? ERR_INTERNAL
                                             : code,
                 .status = call->status},
        .model = dyn_slice(call->model, call->model_len),
        .ttft_us = has_ttft ? call->first_content_us - call->started_us : 0,
        .total_us = is_ok ? total_us : 0,
    };
    if (call->end != NULL) {
        learned.cred.retry_ms = call->end->retry_ms;
    }
    advise(call, code, now_us);
    leave(call, &learned, now_us);
}

void
provider_gate_drop(struct provider_call *call)
{
    leave(call, NULL, bus_loop_now_us(call->provider->loop));
}

/* ---- the queue ---- */

/* It is over before it began: END says why. */
static void
turn_away(struct provider_call *call, const struct provider_refusal *refusal)
{
    provider_gate_drop(call);
    call->refused_retry_ms = refusal->retry_ms;
    provider_call_fail(call, refusal->error, NULL);
}

void
provider_gate_time_is_up(struct bus_timer *timer)
{
    struct provider *provider = DYN_CONTAINER_OF(timer, struct provider, queue_timer);
    uint64_t now_us = bus_loop_now_us(provider->loop);
    while (!dyn_list_is_empty(&provider->queue)) {
        struct provider_call *call = DYN_CONTAINER_OF(provider->queue.next, struct provider_call, queue_link);
        if (call->queue_until_us > now_us) {
            bus_timer_arm(provider->loop, timer, (call->queue_until_us - now_us + 999) / US_PER_MS);
            return;
        }
        turn_away(call, &(struct provider_refusal){ERR_PROVIDER_SATURATED, 0});
    }
}

/* Takes what the call has waited off its time. false: nothing is left of it. */
static bool
has_time_left(struct provider_call *call)
{
    struct env *request = call->waiting;
    /* The clock of started_us: the loop's own time may be from before the call came. */
    uint64_t now_us = dyn_mono_us(bus_loop_clock(call->provider->loop));
    uint64_t waited_ms = now_us > call->started_us ? (now_us - call->started_us) / US_PER_MS : 0;
    call->started_us = now_us;
    if (request->deadline_ms == 0) {
        return true;
    }
    bool is_left = request->deadline_ms > waited_ms;
    request->deadline_ms = is_left ? request->deadline_ms - (uint32_t)waited_ms : 0;
    return is_left;
}

/* The target may have failed, or its credentials, while the call was waiting. */
static void
go_on(struct provider_call *call)
{
    struct provider *provider = call->provider;
    struct provider_refusal refusal = {ERR_GATEWAY_TIMEOUT, 0};
    uint64_t now_us = bus_loop_now_us(provider->loop);
    if (!has_time_left(call) || provider_guard_proceed(provider->options.shared->guard, &call->pass, now_us,
                                                       &refusal) != PROVIDER_PASSES) {
        turn_away(call, &refusal);
        return;
    }
    struct env *request = call->waiting;
    dyn_block_t *body = call->waiting_body;
    call->waiting = NULL;
    call->waiting_body = NULL;
    dyn_list_remove(&call->queue_link);
    provider_call_send(call, request, body);
    dyn_block_unref(&body);
    env_free(&request);
}

void
provider_gate_told(struct provider *provider)
{
    struct provider_pass *pass;
    provider_guard_t *guard = provider->options.shared->guard;
    while (guard != NULL && (pass = provider_guard_next(guard, &provider->seat)) != NULL) {
        go_on(DYN_CONTAINER_OF(pass, struct provider_call, pass));
    }
    if (guard != NULL) {
        announce(provider);
    }
}
