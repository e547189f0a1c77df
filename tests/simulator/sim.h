/* What a strategy makes of failing targets, in virtual time: the router's own decision, retry and budget
 * code and the providers' own guards (breaker, credentials, latencies), between made-up clients and made-up
 * upstreams. The order in which the walker asks them is written down once more in sim_walk.c; everything that
 * decides is the real code. The same seed gives the same figures. */
#pragma once

#include "core/rand.h"
#include "gateway/upstreams.h"
#include "router/plan.h"
#include "router/retry.h"

enum {
    SIM_TARGETS = 3,
    SIM_REQUESTS = 100000,
    SIM_RATE = 100, /* requests a second, on average */
    SIM_TROUBLE_FROM_S = 300,
    SIM_TROUBLE_UNTIL_S = 600,
    SIM_TIMEOUT_MS = 60 * 1000,
};
#define SIM_US UINT64_C(1000000)

/* How one call to an upstream ends. */
struct sim_fate {
    enum err_code error; /* ERR_NONE: it is answered */
    uint16_t status;
    uint32_t retry_ms; /* that it names; 0: none */
    uint64_t took_us;
};

struct sim;
struct sim_scenario {
    const char *name;
    const char *title;
    /* What becomes of a call that reaches that target now. */
    struct sim_fate (*fate)(struct sim *sim, size_t target);
};
extern const struct sim_scenario sim_scenarios[]; /* ends without a name */

struct sim_options {
    const char *strategy; /* the value of `strategy` as in a configuration: "mode: fallback" */
    const struct sim_scenario *scenario;
    size_t n_requests;
    uint64_t seed;
    bool no_breaker;
};

struct sim_result {
    size_t requests;
    size_t served;
    size_t calls;    /* that reached an upstream */
    uint64_t p50_us; /* of served requests */
    uint64_t p99_us;
    size_t trouble_requests; /* while the trouble lasts */
    size_t trouble_served;
    size_t trouble_calls;
    /* Since all breakers had opened for the first time, until the trouble ends; and before. */
    uint64_t open_after_us; /* from the beginning of the trouble; UINT64_MAX: they never all were */
    size_t open_requests;
    size_t open_calls;
    size_t requests_before;
    size_t calls_before;
};

/* Runs it; -1 with a sentence when the strategy cannot be configured. */
int sim_run(const struct sim_options *options, struct sim_result *result, struct dyn_err *err);

/* ---- the inside, for the files of this folder ---- */

struct sim_request {
    struct sim_request *next; /* free list */
    uint64_t began_us;
    uint64_t deadline_us;
    struct route_order order;
    size_t next_target;
    size_t target; /* of the attempt at hand */
    uint32_t tries;
    uint32_t credential_tries;
    uint32_t targets_tried;
    struct provider_pass pass;
    struct sim_fate fate;
    uint64_t call_us; /* when the attempt in flight began */
    bool in_flight;   /* else it waits for its next try */
    bool is_cut;      /* its time is over before the upstream's answer comes */
};

struct sim_event {
    uint64_t at_us;
    uint64_t number; /* of events at the same time the first that was made goes first */
    struct sim_request *rq;
};

struct sim {
    struct sim_options options;
    struct dyn_rng rng;       /* clients and upstreams */
    struct dyn_rng route_rng; /* the router's own */
    uint64_t now_us;
    config_t *config;
    struct upstream_tally tally;
    bool has_tally;
    upstreams_t *upstreams;
    struct route_plan *plan;
    struct route_budget retries;
    struct sim_event *heap;
    size_t n_heap;
    size_t heap_cap;
    uint64_t n_events;
    struct sim_request *spare;
    uint64_t *times;            /* of served requests */
    double bucket[SIM_TARGETS]; /* a rate-limited upstream's tokens */
    uint64_t bucket_us[SIM_TARGETS];
    struct sim_result result;
};

static inline bool
sim_is_trouble(uint64_t now_us)
{
    return now_us >= SIM_TROUBLE_FROM_S * SIM_US && now_us < SIM_TROUBLE_UNTIL_S * SIM_US;
}

/* sim_walk.c: one request, from its arrival to its end. */
void sim_arrive(struct sim *sim);
void sim_continue(struct sim *sim, struct sim_request *rq);
/* sim.c */
void sim_at(struct sim *sim, uint64_t at_us, struct sim_request *rq);
provider_guard_t *sim_guard(const struct sim *sim, size_t target);
