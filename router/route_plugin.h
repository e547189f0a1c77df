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
    bool watches; /* it only looks: after_request it is told, not asked */
    bool shares;  /* requests wait for the answers of others (shared.h) */
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
};
