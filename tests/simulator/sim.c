/* Time, and what is set up before it runs. */
#include "tests/simulator/sim.h"

#include "core/buf.h"
#include "gateway/parts.h"

#include <stdlib.h>

/* ---- what will happen: a binary heap ---- */

static bool
is_before(const struct sim_event *a, const struct sim_event *b)
{
    return a->at_us != b->at_us ? a->at_us < b->at_us : a->number < b->number;
}

void
sim_at(struct sim *sim, uint64_t at_us, struct sim_request *rq)
{
    if (sim->n_heap == sim->heap_cap) {
        sim->heap_cap = sim->heap_cap > 0 ? sim->heap_cap * 2 : 1024;
        sim->heap = dyn_realloc(sim->heap, sim->heap_cap * sizeof *sim->heap);
    }
    struct sim_event event = {at_us, sim->n_events++, rq};
    size_t at = sim->n_heap++;
    while (at > 0 && is_before(&event, &sim->heap[(at - 1) / 2])) {
        sim->heap[at] = sim->heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    sim->heap[at] = event;
}

static struct sim_event
take_first(struct sim *sim)
{
    struct sim_event first = sim->heap[0];
    struct sim_event last = sim->heap[--sim->n_heap];
    size_t at = 0;
    for (size_t child = 1; child < sim->n_heap; child = at * 2 + 1) {
        if (child + 1 < sim->n_heap && is_before(&sim->heap[child + 1], &sim->heap[child])) {
            child++;
        }
        if (!is_before(&sim->heap[child], &last)) {
            break;
        }
        sim->heap[at] = sim->heap[child];
        at = child;
    }
    sim->heap[at] = last;
    return first;
}

/* ---- setting up ---- */

provider_guard_t *
sim_guard(const struct sim *sim, size_t target)
{
    return upstreams_shared(sim->upstreams, target)->guard;
}

static int
compile(struct sim *sim, struct dyn_err *err)
{
    struct route_target targets[SIM_TARGETS];
    for (size_t i = 0; i < SIM_TARGETS; i++) {
        targets[i] = upstreams_route_target(sim->upstreams, i);
    }
    const struct router_config *config = config_values(sim->config, &router_config_part);
    sim->plan = route_plan_new(config, targets, SIM_TARGETS, NULL, err);
    return sim->plan != NULL ? 0 : -1;
}

/* Through the loader, as an operator would write it. */
static void
write_config(const struct sim *sim, struct dyn_buf *text)
{
    dyn_buf_addf(text, "strategy: {%s}\ntargets:\n", sim->options.strategy);
    for (size_t i = 0; i < SIM_TARGETS; i++) {
        dyn_buf_addf(text,
                     "  - {name: t%zu, provider: openai-compatible, base_url: \"http://127.0.0.1:9/v1\", "
                     "api_key: of-the-simulator, weight: 1, models: [m], retry: {attempts: 2}%s}\n",
                     i, sim->options.no_breaker ? "" : ", circuit_breaker: {}");
    }
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
    return sim->upstreams != NULL ? compile(sim, err) : -1;
}

static void
tear_down(struct sim *sim)
{
    route_plan_unref(&sim->plan);
    upstreams_free(&sim->upstreams);
    if (sim->has_tally) {
        upstream_tally_fini(&sim->tally);
    }
    config_free(&sim->config);
    free(sim->heap);
    free(sim->times);
    while (sim->spare != NULL) {
        struct sim_request *rq = sim->spare;
        sim->spare = rq->next;
        free(rq);
    }
}

/* ---- running ---- */

/* Between two arrivals: 0 to twice the mean, evenly. */
static uint64_t
next_gap_us(struct sim *sim)
{
    return dyn_rng_below(&sim->rng, 2 * SIM_US / SIM_RATE) + 1;
}

static void
play(struct sim *sim)
{
    uint64_t arrival_us = next_gap_us(sim);
    size_t left = sim->options.n_requests;
    while (left > 0 || sim->n_heap > 0) {
        if (left > 0 && (sim->n_heap == 0 || arrival_us < sim->heap[0].at_us)) {
            sim->now_us = arrival_us;
            sim_arrive(sim);
            arrival_us += next_gap_us(sim);
            left--;
        } else {
            struct sim_event event = take_first(sim);
            sim->now_us = event.at_us;
            sim_continue(sim, event.rq);
        }
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
        dyn_rng_seed(&sim.route_rng, options->seed + 1);
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
