/* Virtual time, and what is set up before it runs. */
#include "tests/simulator/sim.h"

#include "core/buf.h"
#include "gateway/parts.h"
#include "gateway/pricing.h"

#include <stdlib.h>

/* ---- what will happen: a binary heap of calls ---- */

static bool
is_before(const struct sim_call *a, const struct sim_call *b)
{
    return a->at_us != b->at_us ? a->at_us < b->at_us : a->number < b->number;
}

void
sim_at(struct sim *sim, struct sim_call *call)
{
    if (sim->n_heap == sim->heap_cap) {
        sim->heap_cap = sim->heap_cap > 0 ? sim->heap_cap * 2 : 1024;
        sim->heap = dyn_realloc(sim->heap, sim->heap_cap * sizeof(struct sim_call *));
    }
    call->number = sim->n_calls++;
    size_t at = sim->n_heap++;
    while (at > 0 && is_before(call, sim->heap[(at - 1) / 2])) {
        sim->heap[at] = sim->heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    sim->heap[at] = call;
}

static struct sim_call *
take_first(struct sim *sim)
{
    struct sim_call *first = sim->heap[0];
    struct sim_call *last = sim->heap[--sim->n_heap];
    size_t at = 0;
    for (size_t child = 1; child < sim->n_heap; child = at * 2 + 1) {
        if (child + 1 < sim->n_heap && is_before(sim->heap[child + 1], sim->heap[child])) {
            child++;
        }
        if (!is_before(sim->heap[child], last)) {
            break;
        }
        sim->heap[at] = sim->heap[child];
        at = child;
    }
    sim->heap[at] = last;
    return first;
}

/* ---- setting up ---- */

/* Through the loader, as an operator would write it. */
static void
write_config(const struct sim *sim, struct dyn_buf *text)
{
    dyn_buf_addf(text, "strategy: {%s}\ntargets:\n", sim->options.strategy);
    const char *breaker = sim->options.breaker;
    for (size_t i = 0; i < SIM_TARGETS; i++) {
        dyn_buf_addf(text,
                     "  - {name: t%zu, provider: openai-compatible, base_url: \"http://127.0.0.1:9/v1\", "
                     "api_key: of-the-simulator, weight: 1, models: [m], retry: {attempts: 2}%s%s}\n",
                     i, breaker != NULL ? ", circuit_breaker: " : "", breaker != NULL ? breaker : "");
    }
    dyn_buf_addf(text, "models:\n  prices:\n");
    for (unsigned i = 0; i < SIM_TARGETS; i++) { /* the first is the cheapest */
        dyn_buf_addf(text,
                     "    - {provider: t%u, model: m, input_per_m_tokens: %u, output_per_m_tokens: %u}\n", i,
                     i + 1, i + 1);
    }
}

static uint64_t
sim_us(void *self)
{
    return ((struct sim *)self)->now_us;
}

static bus_addr_t
add_actor(struct sim *sim, const struct bus_actor_ops *ops, void *self)
{
    struct dyn_err err;
    bus_addr_t addr = bus_add_actor(sim->bus, sim->loop, ops, self);
    struct bus_actor *actor = bus_find(sim->bus, addr);
    DYN_ASSERT(actor->ops->start(actor->self, actor, &err) == 0);
    return addr;
}

static void
add_upstreams(struct sim *sim, bus_addr_t addrs[SIM_TARGETS])
{
    for (size_t i = 0; i < SIM_TARGETS; i++) {
        struct sim_upstream *upstream = &sim->targets[i];
        upstream->sim = sim;
        upstream->index = i;
        upstream->guard = upstreams_shared(sim->upstreams, i)->guard;
        upstream->addr = add_actor(sim, &sim_upstream_ops, upstream);
        addrs[i] = upstream->addr;
    }
}

static int
add_router(struct sim *sim, const bus_addr_t addrs[SIM_TARGETS], struct dyn_err *err)
{
    struct route_target targets[SIM_TARGETS];
    for (size_t i = 0; i < SIM_TARGETS; i++) {
        targets[i] = upstreams_route_target(sim->upstreams, i);
    }
    catalogue_t *none = catalogue_builtin();
    catalogue_t *prices = gateway_price(none, sim->config, targets, SIM_TARGETS);
    const struct router_config *config = config_values(sim->config, &router_config_part);
    struct router_options options = {.addrs = addrs, .shared = &sim->shared, .seed = sim->options.seed + 1};
    options.plan = route_plan_new(config, targets, SIM_TARGETS, prices, err);
    catalogue_unref(&none);
    catalogue_unref(&prices);
    if (options.plan == NULL) {
        return -1;
    }
    sim->shared.admission.open = true;
    sim->router = add_actor(sim, &router_actor_ops, router_new(&options));
    route_plan_unref(&options.plan);
    return 0;
}

static int
add_actors(struct sim *sim, struct dyn_err *err)
{
    bus_addr_t addrs[SIM_TARGETS];
    sim->clock = (struct dyn_clock){.mono_us = sim_us, .wall_us = sim_us, .self = sim};
    sim->bus = bus_new(NULL, err);
    if (sim->bus == NULL) {
        return -1;
    }
    sim->loop = bus_add_loop(sim->bus, "simulator");
    bus_loop_set_clock(sim->loop, &sim->clock);
    (void)add_actor(sim, &sim_client_ops, sim);
    add_upstreams(sim, addrs);
    return add_router(sim, addrs, err);
}

static int
set_up(struct sim *sim, struct dyn_err *err)
{
    struct dyn_buf text = DYN_BUF_INIT;
    struct config_options how = {.ignore_unsupported = false};
    write_config(sim, &text);
    sim->config = config_parse(dyn_buf_slice(&text), "simulator", gateway_parts, gateway_n_parts, &how);
    dyn_buf_fini(&text);
    if (!config_ok(sim->config)) {
        struct dyn_buf why = DYN_BUF_INIT;
        config_print_problems(sim->config, &why);
        (void)dyn_err_set(err, DYN_E_CONFIG, "%s", dyn_buf_cstr(&why));
        dyn_buf_fini(&why);
        return -1;
    }
    struct upstreams_options options = {.tally = &sim->tally};
    upstream_tally_init(&sim->tally);
    sim->has_tally = true;
    sim->upstreams = upstreams_new(sim->config, &options, err);
    return sim->upstreams != NULL ? add_actors(sim, err) : -1;
}

static void
tear_down(struct sim *sim)
{
    bus_free(&sim->bus);
    upstreams_free(&sim->upstreams);
    if (sim->has_tally) {
        upstream_tally_fini(&sim->tally);
    }
    config_free(&sim->config);
    free(sim->heap);
    free(sim->times);
    free(sim->began_us);
}

/* ---- running ---- */

/* Between two arrivals: 0 to twice the mean, evenly. */
static uint64_t
next_gap_us(struct sim *sim)
{
    return dyn_rng_below(&sim->rng, 2 * SIM_US / SIM_RATE) + 1;
}

/* Until nothing is left to be done at this time: a request that is refused everywhere walks to its end. */
static void
turn(struct sim *sim)
{
    uint64_t next_us;
    do {
        bus_loop_run_once(sim->loop, 0);
        next_us = bus_loop_next_timer_us(sim->loop);
    } while (bus_loop_has_tasks(sim->loop) || (next_us != 0 && next_us <= sim->now_us));
}

static uint64_t
earliest(uint64_t a_us, uint64_t b_us) /* 0: never */
{
    return a_us == 0 || (b_us != 0 && b_us < a_us) ? b_us : a_us;
}

static void
play(struct sim *sim)
{
    uint64_t arrival_us = next_gap_us(sim);
    size_t left = sim->options.n_requests;
    while (left > 0 || sim->n_open > 0 || sim->n_heap > 0) {
        uint64_t answer_us = sim->n_heap > 0 ? sim->heap[0]->at_us : 0;
        uint64_t next_us = earliest(left > 0 ? arrival_us : 0, answer_us);
        sim->now_us = earliest(next_us, bus_loop_next_timer_us(sim->loop));
        if (left > 0 && sim->now_us == arrival_us) {
            sim_arrive(sim);
            arrival_us += next_gap_us(sim);
            left--;
        } else if (sim->now_us == answer_us) {
            sim_answer(take_first(sim));
        }
        turn(sim);
    }
}

static int
compare(const void *left, const void *right)
{
    uint64_t a = *(const uint64_t *)left;
    uint64_t b = *(const uint64_t *)right;
    return (a > b) - (a < b);
}

int
sim_run(const struct sim_options *options, struct sim_result *result, struct dyn_err *err)
{
    struct sim sim = {.options = *options};
    int rc = set_up(&sim, err);
    if (rc == 0) {
        dyn_rng_seed(&sim.rng, options->seed);
        sim.began_us = dyn_alloc((options->n_requests + 1) * sizeof *sim.began_us);
        sim.times = dyn_alloc((options->n_requests + 1) * sizeof *sim.times);
        sim.result.open_after_us = UINT64_MAX;
        play(&sim);
        qsort(sim.times, sim.result.served, sizeof *sim.times, compare);
        if (sim.result.served > 0) {
            sim.result.p50_us = sim.times[sim.result.served / 2];
            sim.result.p99_us = sim.times[sim.result.served * 99 / 100];
        }
        *result = sim.result;
    }
    tear_down(&sim);
    return rc;
}
