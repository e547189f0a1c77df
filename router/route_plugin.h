/* A plugin as the router sees it: what it may do, when it is asked, and what its failure stands for. Who
 * hosts it is the business of voters.h. */
#pragma once

#include "proto/vote.h"
#include "router/vote_merge.h"

enum { ROUTE_PLUGINS_MAX = VOTE_ROUND_MAX };

struct route_traits {
    uint32_t stages; /* VOTE_STAGE_BIT */
    uint32_t needs;  /* VOTE_NEEDS_* */
    bool charges;
    bool amends;
    bool answers;
    bool lists;   /* it reads texts as a list: only of one that is asked by a call (proto/vote_here.h) */
    bool watches; /* it only looks: after_request it is told, not asked */
    bool shares;  /* requests wait for the answers of others (shared.h) */
};

/* It is told there, not asked. */
static inline bool
route_traits_is_told(const struct route_traits *traits, enum vote_stage stage)
{
    return stage == VOTE_ON_ERROR || (stage == VOTE_AFTER_REQUEST && traits->watches);
}

/* It is asked when all before it have passed, and nobody with it. */
static inline bool
route_traits_is_alone(const struct route_traits *traits)
{
    return traits->charges || traits->amends || traits->answers;
}

/* Which requests it is asked about. */
enum route_concern {
    ROUTE_CONCERNS_ALL,
    ROUTE_CONCERNS_LIMITS,  /* those with a key that has limits of its own */
    ROUTE_CONCERNS_BUDGETS, /* ... a budget of its own */
};

struct route_plugin {
    struct dyn_slice name;
    uint64_t serial;            /* of the instance in this process; 0: whoever joined under that name */
    struct route_traits traits; /* of one that joins: `stages` where the configuration wants it, 0: wherever
                                 * it says that it can; all else is what it says */
    bool is_local;              /* the plugins' actor of the cell hosts it */
    bool required;              /* nobody there is a failure */
    bool fails_open;
    uint32_t timeout_ms;
    enum err_code denies;       /* what its denial before_request is */
    enum route_concern concerns;
};
