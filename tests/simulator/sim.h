/* What a strategy makes of failing targets, in virtual time: the router's own actor, on a loop whose clock
 * and turns are the simulator's, between a made-up client and made-up upstreams behind the providers' own
 * guards (breaker, credentials, latencies). What decides, walks, waits and gives up is the gateway's code;
 * made up are only when requests come and how a call ends. The same seed gives the same figures. */
#pragma once

#include "bus/bus_impl.h"
#include "core/rand.h"
#include "gateway/upstreams.h"
#include "router/router.h"

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

struct sim_upstream;
struct sim_scenario {
    const char *name;
    const char *title;
    /* What becomes of a call that reaches it now. */
    struct sim_fate (*fate)(struct sim_upstream *upstream);
};
extern const struct sim_scenario sim_scenarios[]; /* ends without a name */

struct sim_options {
    const char *strategy; /* the value of `strategy` as in a configuration: "mode: fallback" */
    const struct sim_scenario *scenario;
    size_t n_requests;
    uint64_t seed;
    size_t n_asked;       /* targets that the strategy ever asks, the first ones */
    const char *breaker; /* the value of `circuit_breaker`; NULL: there is none */
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

/* A call that an upstream has, until its time has come: also when nobody waits for it any more. */
struct sim_call {
    uint64_t at_us;  /* when it is answered */
    uint64_t number; /* of calls at the same time the first that was made goes first */
    struct sim_call *next;
    struct sim_upstream *upstream;
    struct env_id id;
    uint32_t attempt;
    uint32_t epoch;
    bus_addr_t from;
    uint64_t began_us;
    bool is_over; /* it was cancelled */
    struct sim_fate fate;
    struct provider_pass pass;
};

/* The provider actor of one target. */
struct sim_upstream {
    struct sim *sim;
    size_t index;
    bus_actor_t *me;
    bus_addr_t addr;
    provider_guard_t *guard;
    struct sim_call *calls; /* in flight */
    double tokens;          /* of one with a rate limit */
    uint64_t tokens_us;
};

struct sim {
    struct sim_options options;
    struct dyn_rng rng; /* of clients and upstreams; the router has its own */
    uint64_t now_us;
    struct dyn_clock clock;
    config_t *config;
    struct upstream_tally tally;
    bool has_tally;
    upstreams_t *upstreams;
    bus_t *bus;
    bus_loop_t *loop;
    struct router_shared shared;
    bus_addr_t router;
    bus_actor_t *client;
    struct sim_upstream targets[SIM_TARGETS];
    struct sim_call **heap; /* by time */
    size_t n_heap;
    size_t heap_cap;
    uint64_t n_calls;
    size_t n_open;      /* requests without an answer */
    uint64_t *began_us; /* of each request, by its number */
    uint64_t *times;    /* of served requests */
    struct sim_result result;
};

static inline bool
sim_is_trouble(uint64_t now_us)
{
    return now_us >= SIM_TROUBLE_FROM_S * SIM_US && now_us < SIM_TROUBLE_UNTIL_S * SIM_US;
}

/* sim_client.c: requests, and what becomes of them. */
extern const struct bus_actor_ops sim_client_ops;
void sim_arrive(struct sim *sim);
/* sim_upstream.c */
extern const struct bus_actor_ops sim_upstream_ops;
void sim_answer(struct sim_call *call);
/* sim.c */
void sim_at(struct sim *sim, struct sim_call *call);
