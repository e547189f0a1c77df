/* Who votes, as one router knows it: the plugins' actor of its cell, and plugins in other processes that
 * joined. One voter for each name, with the breaker and the counts of that plugin at this router. It sends
 * nothing and knows no request. */
#pragma once

#include "bus/bus.h"
#include "router/route_plugin.h"
#include "router/vote_breaker.h"

struct route_voter {
    struct dyn_slice name;
    struct vote_breaker breaker;
};

struct route_voters {
    struct route_voter *items[2 * ROUTE_PLUGINS_MAX]; /* of the plan, and of those before it */
    size_t n;
};

void route_voters_fini(struct route_voters *voters);
/* Of that name; made when it is asked for first. Never NULL. */
struct route_voter *route_voters_find(struct route_voters *voters, struct dyn_slice name);
