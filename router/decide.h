/* The decision about one request: pure, so that who asks for the reasons gets those of the real route. */
#pragma once

#include "router/plan.h"

/* What became of a target. */
enum route_drop {
    ROUTE_DROP_NONE,          /* it is in the order */
    ROUTE_DROP_NOT_CANDIDATE, /* it does not serve the model */
    ROUTE_DROP_SURFACE,       /* it serves the model, but not this kind of request */
    ROUTE_DROP_OVERRIDE,      /* the request names others */
    ROUTE_DROP_WEIGHT,        /* its weight is zero */
    ROUTE_DROP_PRICE,         /* its price is unknown */
    ROUTE_DROP_NOT_CHOSEN,    /* the strategy takes another one */
    ROUTE_DROP_BREAKER,       /* its breaker is open */
};

struct route_decision {
    struct route_order order; /* what is walked */
    struct route_order asked; /* the same before open breakers and all but the first of a named one left it */
    enum err_code refused;    /* ERR_NONE: there is an order */
    uint32_t retry_ms;        /* refused since all breakers are open: the soonest probe; 0: unknown */
};

/* 0; -1 when nobody is left, and why. Allocates nothing, but what a search beyond 32 KB of states needs. The
 * same facts, view and state of `rng` give the same decision. */
int route_decide(const struct route_plan *plan, const struct route_facts *facts,
                 const struct route_view *view, struct dyn_rng *rng, struct route_decision *decision);

/* What became of that target, for who asks. `facts`, `view` and `decision` as above. */
enum route_drop route_drop_of(const struct route_facts *facts, const struct route_view *view,
                              const struct route_decision *decision, size_t target);
const char *route_drop_text(enum route_drop drop); /* the end of a sentence about the target */
