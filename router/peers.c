/* Peers of the router in other processes come and go: workers join with READY, drain and leave with GOODBYE;
 * owners are only heard of when they leave. What was lost with them is for the walker. */
#include "core/log.h"
#include "router/shared.h"
#include "router/votes.h"

/* ---- workers ---- */

static void
log_worker(enum dyn_log_level level, const char *event, const char *text, const struct route_member *worker,
           struct dyn_slice reason)
{
    dyn_log(level, event, text, DYN_LOG_SLICE("worker", worker->name), DYN_LOG_SLICE("reason", reason),
            DYN_LOG_UINT("targets", route_set_count(&worker->serves)),
            DYN_LOG_UINT("in_flight", worker->in_flight));
}

static bool
is_with(const struct route_request *rq, const void *worker)
{
    return rq->flights[0].member == worker || rq->flights[1].member == worker;
}

static void
lose_worker_of(struct route_request *rq, const void *worker)
{
    struct route_attempt *loser = route_loser(rq);
    bool is_answered = rq->told != NULL;
    if (loser != NULL && loser->member == worker) {
        rq->calls += route_may_have_called(rq, loser);
        route_loser_is_over(rq, loser, NULL);
        if (is_answered) {
            return; /* that was all there was, and it may be gone */
        }
    }
    for (size_t i = 0; i < ROUTE_FLIGHTS_MAX; i++) { /* a repeat may have gone to the loser's worker */
        if (rq->flights[i].member == worker) {
            rq->now = &rq->flights[i];
            route_resume(rq, ROUTE_STEP_LOST);
            return;
        }
    }
}

/* Nothing may find it while its requests look for another one. */
static void
lose(struct router *router, struct route_member *worker, struct dyn_slice reason)
{
    log_worker(DYN_LOG_INFO, "router.worker.left", "a worker is gone", worker, reason);
    worker->is_draining = true;
    worker->name = dyn_slice(NULL, 0);
    route_sweep(router, is_with, lose_worker_of, worker);
    DYN_ASSERT(worker->in_flight == 0);
    route_members_leave(&router->members, worker);
    route_show(&router->options.counters->workers, router->members.n_workers);
}

/* Those whose target got a member, and those whose model nobody served until now. */
static void
wake(struct router *router, const struct route_set *targets)
{
    struct dyn_list waiting;
    dyn_list_init(&waiting);
    dyn_list_splice(&waiting, &router->parked);
    for (struct dyn_list *link; (link = dyn_list_pop(&waiting)) != NULL;) {
        struct route_request *rq = DYN_CONTAINER_OF(link, struct route_request, parked_link);
        size_t number = route_members_number(&router->members, rq->target);
        bool concerns =
            rq->step == ROUTE_STEP_RESOLVE || (number < ROUTE_TARGETS_MAX && route_set_has(targets, number));
        if (concerns) {
            route_run(rq);
        } else {
            dyn_list_append(&router->parked, &rq->parked_link);
        }
    }
}

/* Announced targets that requests in flight were promised. */
static struct route_set
busy_targets(const struct router *router)
{
    struct route_set busy = {{0}};
    for (size_t i = 0; i < router->requests.n_buckets; i++) {
        struct env_map_node *node = router->requests.buckets[i];
        for (; node != NULL; node = node->next) {
            route_set_add_all(&busy, &DYN_CONTAINER_OF(node, struct route_request, node)->candidates);
        }
    }
    return busy;
}

/* Different configurations are allowed, so that a fleet can be changed host by host; but nobody should have
 * them without knowing. */
static void
compare_configs(struct router *router, const struct env *ready)
{
    for (size_t i = 0; i < router->members.n_workers && !router->has_warned_of_configs; i++) {
        const struct env *other = router->members.workers[i]->ready;
        bool differ = other->config_hash.len > 0 && ready->config_hash.len > 0 &&
                      !dyn_slice_eq(other->config_hash, ready->config_hash);
        if (differ) {
            router->has_warned_of_configs = true;
            dyn_log(DYN_LOG_WARN, "router.worker.config", "workers have different configurations",
                    DYN_LOG_SLICE("worker", ready->worker), DYN_LOG_SLICE("other", other->worker));
        }
    }
}

/* Restarted under a fixed name, or connected anew before the loss of the former connection was noticed. 0:
 * there is none. */
static bus_addr_t
namesake_of(const struct router *router, const struct env *ready)
{
    const struct route_member *former = route_members_named(&router->members, ready->worker);
    return former != NULL && former->addr != ready->from ? former->addr : 0;
}

/* ---- plugins ---- */

/* It votes, and not where it is wanted: there it is as if it had not come. */
static void
tell_of_missing_stages(struct router *router, bus_addr_t addr)
{
    const struct route_plan *plan = router->options.plan;
    for (size_t i = 0; i < plan->n_plugins; i++) {
        const struct route_plugin *plugin = &plan->plugins[i];
        const struct route_voter *voter = route_voters_find(&router->voters, plugin->name);
        const struct route_traits *said = route_voter_traits(voter, addr);
        uint32_t missing = said != NULL ? plugin->traits.stages & ~said->stages : 0;
        for (enum vote_stage stage = VOTE_BEFORE_REQUEST; stage < VOTE_STAGE_COUNT && missing != 0; stage++) {
            if ((missing & VOTE_STAGE_BIT(stage)) != 0) {
                dyn_log(DYN_LOG_WARN, "router.plugin.stage",
                        "a plugin joined without a stage that is configured",
                        DYN_LOG_SLICE("plugin", plugin->name), DYN_LOG_STR("stage", vote_stage_name(stage)),
                        DYN_LOG_STR("required", plugin->required ? "true" : "false"));
            }
        }
    }
}

static void
plugin_ready(struct router *router, const struct env *ready)
{
    struct dyn_err why = {.text = ""};
    const char *refusal = route_voters_join(&router->voters, ready, &why);
    if (refusal != NULL) {
        dyn_log(DYN_LOG_WARN, "router.plugin.refused", "a plugin that wanted to join was told to go",
                DYN_LOG_SLICE("plugin", ready->worker), DYN_LOG_STR("reason", refusal),
                DYN_LOG_STR("why", why.text));
        route_peer_cut(router, ready->from, refusal);
        return;
    }
    dyn_log(DYN_LOG_INFO, "router.plugin.joined", "a plugin joined", DYN_LOG_SLICE("plugin", ready->worker),
            DYN_LOG_SLICE("node", ready->node));
    tell_of_missing_stages(router, ready->from);
    route_voter_has_come(router);
}

/* true: it was a plugin's. */
static bool
plugin_goodbye(struct router *router, const struct env *goodbye)
{
    if (!route_voters_has(&router->voters, goodbye->from)) {
        return false;
    }
    if (dyn_slice_is(goodbye->reason, "drain")) {
        route_voters_drain(&router->voters, goodbye->from);
        return true;
    }
    dyn_log(DYN_LOG_INFO, "router.plugin.left", "a plugin is gone", DYN_LOG_SLICE("reason", goodbye->reason));
    route_voter_is_gone(router, goodbye->from, dyn_slice_is(goodbye->reason, "protocol"));
    return true;
}

/* ---- workers that come ---- */

void
route_peer_ready(struct router *router, struct env **ready_p)
{
    bus_addr_t addr = (*ready_p)->from;
    if (dyn_slice_is((*ready_p)->role, "plugin")) {
        plugin_ready(router, *ready_p);
        return;
    }
    if (!router->options.accepts_workers) {
        route_peer_cut(router, addr, "role");
        return;
    }
    struct route_joining joining = {.accepts_new_targets = router->options.accepts_new_targets};
    if (joining.accepts_new_targets) {
        joining.busy = busy_targets(router);
    }
    compare_configs(router, *ready_p);
    bus_addr_t former = namesake_of(router, *ready_p);
    struct dyn_err why;
    const char *refusal = route_members_join(&router->members, ready_p, &joining, &why);
    if (refusal != NULL) {
        dyn_log(DYN_LOG_WARN, "router.worker.refused", "a worker that wanted to join was told to go",
                DYN_LOG_STR("reason", refusal), DYN_LOG_STR("why", why.text));
        route_peer_cut(router, addr, refusal);
        return;
    }
    if (former != 0) {
        route_peer_cut(router, former, "close");
    }
    const struct route_member *worker = route_members_find(&router->members, addr);
    log_worker(DYN_LOG_INFO, "router.worker.joined", "a worker joined", worker, dyn_slice(NULL, 0));
    route_show(&router->options.counters->workers, router->members.n_workers);
    wake(router, &worker->serves);
}

/* ---- owners ---- */

static bool
is_owned_by(const struct route_request *rq, const void *peer)
{
    bus_addr_t addr = *(const bus_addr_t *)peer;
    return rq->owner == addr || (rq->successor != NULL && rq->successor->from == addr);
}

static void
owner_is_gone(struct route_request *rq, const void *peer)
{
    bus_addr_t addr = *(const bus_addr_t *)peer;
    if (rq->successor != NULL && rq->successor->from == addr) {
        env_free(&rq->successor);
    }
    if (rq->owner == addr) {
        rq->owner = 0;
        if (!route_outlives_owner(rq)) {
            route_cancel(rq, ERR_CLIENT_CLOSED, "owner");
        }
    }
}

/* ---- both ---- */

void
route_peer_goodbye(struct router *router, const struct env *goodbye)
{
    if (plugin_goodbye(router, goodbye)) {
        return;
    }
    struct route_member *worker = route_members_find(&router->members, goodbye->from);
    bool drains = dyn_slice_is(goodbye->reason, "drain");
    if (worker != NULL && drains) {
        log_worker(DYN_LOG_INFO, "router.worker.drains", "a worker takes nothing new", worker,
                   goodbye->reason);
        worker->is_draining = true;
    } else if (worker != NULL) {
        lose(router, worker, goodbye->reason);
    } else if (!drains) { /* an owner that drains waits for its answers */
        route_sweep(router, is_owned_by, owner_is_gone, &goodbye->from);
    }
}

/* How its targets fare. What cannot be understood is no reason to lose its calls. */
static void
hear(struct router *router, struct route_member *worker, const struct env *heartbeat)
{
    struct dyn_err err;
    if (route_members_hear(&router->members, worker, dyn_block_slice(heartbeat->body),
                           bus_loop_now_us(router->loop), &err) != 0) {
        dyn_log(DYN_LOG_WARN, "router.worker.health", "what a worker says of its targets is not understood",
                DYN_LOG_SLICE("worker", worker->name), DYN_LOG_STR("why", err.text));
    }
}

void
route_peer_late(struct router *router, const struct env *heartbeat)
{
    struct route_member *worker = route_members_find(&router->members, heartbeat->from);
    if (worker != NULL && heartbeat->body != NULL) {
        hear(router, worker, heartbeat);
    } else if (worker != NULL) {
        worker->is_late = dyn_slice_is(heartbeat->reason, "late");
    } else {
        route_voters_late(&router->voters, heartbeat->from, dyn_slice_is(heartbeat->reason, "late"));
    }
}

void
route_peer_cut(struct router *router, bus_addr_t peer, const char *reason)
{
    struct route_member *worker = route_members_find(&router->members, peer);
    struct env *goodbye = env_new(ENV_GOODBYE);
    goodbye->reason = env_copy(goodbye, dyn_slice_str(reason));
    if (bus_send(router->me, peer, &goodbye, NULL) != 0) {
        env_free(&goodbye); /* it is gone already */
    }
    if (worker != NULL) {
        lose(router, worker, dyn_slice_str(reason));
    } else if (route_voters_has(&router->voters, peer)) {
        route_voter_is_gone(router, peer, strcmp(reason, "protocol") == 0);
    }
}
