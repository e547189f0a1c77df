/* Who votes, as one router knows it: one voter for each name, with its breaker, and the processes that joined
 * under it. Plugins that the cell hosts itself have no processes here. It sends nothing and knows no
 * request. */
#pragma once

#include "bus/bus.h"
#include "proto/plugin_ready.h"
#include "router/route_plugin.h"
#include "router/vote_breaker.h"

enum {
    ROUTE_VOTERS_MAX = 2 * ROUTE_PLUGINS_MAX, /* of the plan, of those before it, and of who joined unasked */
    ROUTE_VOTER_PEERS_MAX = 64,               /* processes of one name */
};

/* A process that votes under that name. */
struct route_voter_peer {
    bus_addr_t addr;
    struct route_traits said;
    uint32_t in_flight;
    uint32_t requests_max; /* 0: any number */
    bool is_draining;
    bool is_late;
};

struct route_voter {
    struct dyn_slice name;
    struct vote_breaker breaker;
    struct route_traits said; /* what any of those that are there can; stays when all are gone */
    bool has_said;
    struct route_voter_peer peers[ROUTE_VOTER_PEERS_MAX];
    size_t n_peers;
};

struct route_voters {
    struct route_voter *items[ROUTE_VOTERS_MAX];
    size_t n;
    uint64_t n_said; /* READYs: while it is the same, all say what they said */
};

void route_voters_fini(struct route_voters *voters);
/* Of that name; made when it is asked for first. Never NULL. */
struct route_voter *route_voters_find(struct route_voters *voters, struct dyn_slice name);
/* NULL: nobody has asked for it, and nobody has joined under it. */
const struct route_voter *route_voters_look(const struct route_voters *voters, struct dyn_slice name);

/* A process says under which names it votes; what it said before does not count any more. NULL, or why it is
 * told to go; `why` is a sentence for its author. */
const char *route_voters_join(struct route_voters *voters, const struct env *ready, struct dyn_err *why);
/* false: that address is no plugin's. */
bool route_voters_has(const struct route_voters *voters, bus_addr_t addr);
void route_voters_leave(struct route_voters *voters, bus_addr_t addr);
void route_voters_drain(struct route_voters *voters, bus_addr_t addr);
void route_voters_late(struct route_voters *voters, bus_addr_t addr, bool is_late);

/* Whether there is one that votes at that stage and takes something new: one that drains is as good as gone
 * for that. */
bool route_voter_is_there(const struct route_voter *voter, enum vote_stage stage);
/* Whether that one takes something new. */
bool route_voter_takes(const struct route_voter *voter, bus_addr_t addr);
/* Who votes at that stage and has least to do. 0: nobody is there, or all are at their limit. */
bus_addr_t route_voter_pick(const struct route_voter *voter, enum vote_stage stage);
/* Who is told how a request ended: `first` while it is there, also at its limit, which is of questions, or
 * when it drains; else who is at that stage. 0: nobody is there. */
bus_addr_t route_voter_listener(const struct route_voter *voter, enum vote_stage stage, bus_addr_t first);
/* What that process said of itself. NULL: it is not there. */
const struct route_traits *route_voter_traits(const struct route_voter *voter, bus_addr_t addr);
/* One more in flight there, or one less. */
void route_voter_count(struct route_voter *voter, bus_addr_t addr, int change);
