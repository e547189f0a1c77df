/* One request in the router, from REQUEST to END. Private to router/. */
#pragma once

#include "bus/bus.h"
#include "proto/dialects/dialect.h"
#include "proto/env_map.h"
#include "router/router.h"

enum route_step {
#define STEP(name, function) ROUTE_STEP_##name,
#include "router/steps.def"
#undef STEP
    ROUTE_STEP_COUNT,
    ROUTE_STEP_PARKED /* waits for the world; what comes resumes at the step that parked */
};

struct router {
    struct router_options options;
    bus_actor_t *me;
    bus_loop_t *loop;
    struct env_map requests;
    struct dyn_list spare; /* requests to use again, at most ROUTE_SPARE_MAX */
    size_t n_spare;
    const struct route_strategy_ops *strategy;
    struct dyn_rng rng;
};

struct route_request {
    struct env_map_node node; /* by request id */
    struct dyn_list spare_link;
    struct router *router;
    enum route_step step;

    struct env *request; /* kept, with its body, until the answer has begun */
    bus_addr_t owner;
    struct dyn_slice key_id;
    const struct dialect_ops *dialect;
    struct dialect_request facts; /* borrows from request */
    struct dyn_slice model;
    bool is_probe; /* health and readiness: no admission, no log, no event */

    uint64_t started_us;
    uint64_t deadline_us;
    struct bus_timer deadline;

    uint64_t candidates; /* bits */
    struct route_order order;
    size_t next_target;                /* index in order */
    const struct route_target *target; /* of the attempt in flight or the last one */
    uint32_t attempt;
    uint32_t credit; /* granted by the owner and not yet given to an attempt */

    struct env *inbound; /* CHUNK or END that the next step looks at */
    bool begun;          /* a CHUNK has gone to the owner */
    enum err_code cancelled_for; /* why its attempt was cancelled; ERR_NONE: it was not */
    bool has_gap;                /* a CHUNK could not be passed on, so the answer can't end well any more */
    uint64_t first_chunk_us;
    uint16_t status;     /* that the first CHUNK carried; 0: none was sent */
    enum err_code error; /* why it fails */
    char error_text[256];
    char error_param[80];
};

#define STEP(name, function) enum route_step route_step_##function(struct route_request *rq);
#include "router/steps.def"
#undef STEP

/* Runs steps until one has to wait. `rq` may be gone afterwards. */
void route_run(struct route_request *rq);
/* Ends the attempt in flight with CANCEL; its END comes later, and what the owner is told then is `why`. Does
 * nothing when it was cancelled already. */
void route_cancel_attempt(struct route_request *rq, enum err_code why, const char *reason);
/* The request fails: what the owner is told. `text` may be NULL: the row's sentence. */
enum route_step route_fail(struct route_request *rq, enum err_code error, const char *text,
                           const char *param);
/* Log line and event. */
void route_report(const struct route_request *rq, const struct env *end);
/* The END with the answer to a question that the router answers itself. */
struct env *route_local_answer(const struct route_request *rq);
void route_request_free(struct route_request *rq);
