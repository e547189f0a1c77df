/* How a cell of the rate-limit plugin reaches the ledger that lends a fleet's limits: sends what its
 * process's leases have to ask, takes the answers, and keeps the requests that wait for them. Its own loop
 * only. */
#pragma once

#include "actors/plugins/plugin.h"
#include "actors/plugins/rate_leases.h"

enum {
    RATE_FLEET_WAIT_US = 400000, /* a request that waits for a lease; then it is refused */
    RATE_FLEET_LOOK_MS = 100,    /* LEASE_REPEAT_US */
    RATE_FLEET_SOON_MS = 20,     /* when requests wait */
};

/* A request that waits; embedded in what the plugin keeps of it. */
struct rate_waiter {
    struct dyn_list link;
    struct plugin_ticket ticket;
    struct vote_facts *facts; /* a reference */
    uint64_t until_us;
};

struct rate_fleet {
    rate_leases_t *leases;
    const struct dyn_clock *clock;
    plugin_cell_t *cell;
    struct dyn_list waiting;
    struct bus_timer timer;
    struct env_id id; /* of its questions, by the first half */
    void (*look)(struct rate_fleet *fleet); /* those who wait try again */
};

void rate_fleet_init(struct rate_fleet *fleet, rate_leases_t *leases, const struct dyn_clock *clock,
                     plugin_cell_t *cell, void (*look)(struct rate_fleet *fleet));
void rate_fleet_fini(struct rate_fleet *fleet); /* nobody waits any more */
/* Somebody wants `n` of it: asks for it, unless that is under way. */
void rate_fleet_want(struct rate_fleet *fleet, struct rate_lease *lease, uint64_t n);
/* There may be something to ask: soon. */
void rate_fleet_stir(struct rate_fleet *fleet);
void rate_fleet_goodbye(struct rate_fleet *fleet);
/* True: it was an answer, and is gone. */
bool rate_fleet_receive(struct rate_fleet *fleet, struct env **env_p);
void rate_fleet_wait(struct rate_fleet *fleet, struct rate_waiter *waiter, const struct plugin_ticket *ticket,
                     struct vote_facts *facts, uint64_t now_us);
struct rate_waiter *rate_fleet_find(const struct rate_fleet *fleet, const struct plugin_ticket *ticket);
void rate_fleet_remove(struct rate_waiter *waiter);
