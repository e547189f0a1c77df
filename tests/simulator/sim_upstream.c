/* The upstreams: a provider actor each, with the guard of a real one and a made-up server behind it. What it
 * tells the guard and the router is what actors/providers/provider_gate.c does. */
#include "tests/simulator/sim.h"

#include <stdlib.h>

static const struct dyn_slice model = DYN_SLICE_INIT("m");
static const struct dyn_slice answer_body = DYN_SLICE_INIT("{\"object\":\"chat.completion\",\"choices\":[]}");
enum { GIVEN_UP_US = 5000 * 1000 }; /* a call that was given up sooner says nothing about its target */

static int
upstream_start(void *self, bus_actor_t *me, struct dyn_err *err)
{
    (void)err;
    ((struct sim_upstream *)self)->me = me;
    return 0;
}

/* ---- what is told ---- */

static void
tell(const struct sim_call *call, struct env *end)
{
    end->id = call->id;
    end->attempt = call->attempt;
    end->epoch = call->epoch;
    DYN_ASSERT(bus_send(call->upstream->me, call->from, &end, NULL) == 0);
}

/* All are open for the first time since the trouble began. */
static void
note_breakers(struct sim *sim)
{
    struct sim_result *result = &sim->result;
    if (result->open_after_us != UINT64_MAX || !sim_is_trouble(sim->now_us)) {
        return;
    }
    for (size_t i = 0; i < sim->options.n_asked; i++) {
        if (health_state_of(provider_guard_board(sim->targets[i].guard), sim->now_us) != HEALTH_OPEN) {
            return;
        }
    }
    result->open_after_us = sim->now_us - SIM_TROUBLE_FROM_S * SIM_US;
}

static enum breaker_outcome
breaker_outcome(const struct sim_call *call, enum err_code error)
{
    if (error == ERR_NONE) {
        return BREAKER_SUCCESS;
    }
    uint64_t waited_us = call->upstream->sim->now_us - call->began_us;
    bool counts = call->is_over ? waited_us >= GIVEN_UP_US : err_row(error)->counts;
    return counts ? BREAKER_FAILURE : BREAKER_NEUTRAL;
}

static void
leave(struct sim_call *call, enum err_code error, struct env *end)
{
    struct sim *sim = call->upstream->sim;
    provider_guard_t *guard = call->upstream->guard;
    struct provider_outcome outcome = {
        .breaker = breaker_outcome(call, error),
        .cred = {.error = error, .status = end->upstream_status, .retry_ms = end->retry_ms},
        .model = model,
        .total_us = error == ERR_NONE ? sim->now_us - call->began_us : 0,
    };
    if (error != ERR_NONE && err_row(error)->blame == ERR_BLAME_KEY) {
        end->creds = provider_guard_other_creds(guard, &call->pass, sim->now_us);
    }
    (void)provider_guard_leave(guard, &call->pass, &outcome, sim->now_us);
    note_breakers(sim);
}

static void
forget(struct sim_call *call)
{
    struct sim_call **at = &call->upstream->calls;
    while (*at != call) {
        at = &(*at)->next;
    }
    *at = call->next;
}

void
sim_answer(struct sim_call *call)
{
    if (!call->is_over) {
        const struct sim_fate *fate = &call->fate;
        struct env *end = env_new(ENV_END);
        end->outcome = fate->error == ERR_NONE ? ENV_OUTCOME_OK : ENV_OUTCOME_ERROR;
        end->error = fate->error;
        end->status = fate->status;
        end->upstream_status = fate->status;
        end->retry_ms = fate->retry_ms;
        end->upstream_calls = 1;
        end->body = fate->error == ERR_NONE ? dyn_block_copy(0, answer_body) : NULL;
        leave(call, fate->error, end);
        forget(call);
        tell(call, end);
    }
    free(call);
}

/* ---- what is asked ---- */

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
refuse(struct sim_call *call, const struct provider_refusal *refusal)
{
    struct sim *sim = call->upstream->sim;
    struct env *end = env_new(ENV_END);
    end->outcome = ENV_OUTCOME_ERROR;
    end->error = refusal->error;
    end->retry_ms = refusal->retry_ms;
    (void)provider_guard_leave(call->upstream->guard, &call->pass, NULL, sim->now_us);
    tell(call, end);
    free(call);
}

static void
take_request(struct sim_upstream *upstream, const struct env *request)
{
    struct sim *sim = upstream->sim;
    struct provider_refusal refusal;
    struct sim_call *call = dyn_zalloc(sizeof *call);
    call->upstream = upstream;
    call->id = request->id;
    call->attempt = request->attempt;
    call->epoch = request->epoch;
    call->from = request->from;
    call->began_us = sim->now_us;
    if (provider_guard_enter(upstream->guard, &call->pass, NULL, model, sim->now_us, &refusal) !=
        PROVIDER_PASSES) {
        refuse(call, &refusal);
        return;
    }
    count_call(sim);
    call->fate = sim->options.scenario->fate(upstream);
    call->at_us = sim->now_us + call->fate.took_us;
    call->next = upstream->calls;
    upstream->calls = call;
    sim_at(sim, call);
}

static void
take_cancel(struct sim_upstream *upstream, const struct env *cancel)
{
    struct sim_call *call = upstream->calls;
    while (call != NULL && !(env_id_eq(&call->id, &cancel->id) && call->attempt == cancel->attempt &&
                             call->epoch == cancel->epoch)) {
        call = call->next;
    }
    if (call == NULL) {
        return;
    }
    struct env *end = env_new(ENV_END);
    end->outcome = ENV_OUTCOME_CANCELLED;
    end->error = ERR_CLIENT_CLOSED;
    end->upstream_calls = 1;
    call->is_over = true;
    leave(call, ERR_CLIENT_CLOSED, end);
    forget(call);
    tell(call, end);
}

static void
upstream_receive(void *self, struct env **env_p)
{
    struct sim_upstream *upstream = self;
    if ((*env_p)->kind == ENV_REQUEST) {
        take_request(upstream, *env_p);
    } else if ((*env_p)->kind == ENV_CANCEL) {
        take_cancel(upstream, *env_p);
    }
    env_free(env_p);
}

static void
upstream_stop(void *self)
{
    (void)self;
}

const struct bus_actor_ops sim_upstream_ops = {
    .kind = "provider", .start = upstream_start, .receive = upstream_receive, .stop = upstream_stop};
