/* What the router answers itself: which models are served, and whether anything is. */
#include "core/buf.h"
#include "router/model_list.h"
#include "router/request.h"
#include "router/votes.h"

bool
route_model_is_listed(struct route_members *members, struct dyn_slice model)
{
    return route_model_owner(members, model) != NULL;
}

static size_t
members_there(const struct route_crew *crew)
{
    size_t n = 0;
    for (size_t i = 0; i < crew->n; i++) {
        n += !crew->members[i]->is_draining;
    }
    return n;
}

/* A configured target is shown whoever serves it; an announced one while somebody does. */
static bool
is_shown(const struct route_members *members, size_t target)
{
    return target < members->n_configured || members->crews[target].n > 0;
}

/* Of the member whose breaker would let a request through soonest. */
static enum health_state
circuit_of(const struct router *router, size_t target)
{
    struct health_view view;
    route_members_health_of(&router->members, target, 0, bus_loop_now_us(router->loop), &view);
    return view.state;
}

static bool
is_routable(const struct router *router, size_t target)
{
    return route_crew_is_there(&router->members.crews[target]) && circuit_of(router, target) != HEALTH_OPEN;
}

static bool
is_any_there(const struct router *router)
{
    bool is_there = router->options.only_admits;
    for (size_t i = 0; i < router->members.n_targets && !is_there; i++) {
        is_there = route_crew_is_there(&router->members.crews[i]);
    }
    return is_there;
}

static bool
is_any_routable(const struct router *router)
{
    bool is_any = router->options.only_admits;
    for (size_t i = 0; i < router->members.n_targets && !is_any; i++) {
        is_any = is_routable(router, i);
    }
    return is_any;
}

static void
write_health(const struct router *router, struct dyn_buf *out)
{
    const struct route_members *members = &router->members;
    const char *comma = "";
    static const char *const circuits[] = {
        [HEALTH_CLOSED] = "closed", [HEALTH_HALF_OPEN] = "half-open", [HEALTH_OPEN] = "open"};
    dyn_buf_add_str(out, is_any_there(router) ? "{\"status\":\"ok\"" : "{\"status\":\"no_providers\"");
    dyn_buf_add_str(out, ",\"providers\":[");
    for (size_t i = 0; i < members->n_targets; i++) {
        size_t there = members_there(&members->crews[i]);
        if (is_shown(members, i)) {
            dyn_buf_addf(out, "%s{\"name\":", comma);
            dyn_buf_add_json_string(out, members->targets[i].name);
            dyn_buf_addf(out, ",\"status\":\"%s\",\"circuit\":\"%s\",\"models\":%zu,\"members\":%zu}",
                         there > 0 ? "available" : "unavailable", circuits[circuit_of(router, i)],
                         members->targets[i].n_models, there);
            comma = ",";
        }
    }
    dyn_buf_add_str(out, "]}");
}

/* Rows that wait are no reason to send requests elsewhere: it is told, not judged. */
static void
write_ledger(const struct router_shared *shared, struct dyn_buf *out)
{
    const struct ledger_gauges *gauges = &shared->ledger;
    enum ledger_state state = (enum ledger_state)atomic_load(&gauges->state);
    if (state != LEDGER_NONE) {
        dyn_buf_addf(out,
                     ",\"ledger\":{\"status\":\"%s\",\"pending_rows\":%llu,\"pending_bytes\":%llu,\"dropped_"
                     "rows\":%llu}",
                     ledger_state_name(state), (unsigned long long)atomic_load(&gauges->pending_rows),
                     (unsigned long long)atomic_load(&gauges->pending_bytes),
                     (unsigned long long)atomic_load(&gauges->dropped_rows));
    }
}

/* Likewise: who has the master key gets in all the same. Nothing is said while all is well. */
static void
write_keys(const struct router *router, struct dyn_buf *out)
{
    const key_ring_t *ring = router->keys.ring;
    bool is_known = ring == NULL || key_ring_has_table(ring);
    if (!is_known || (ring != NULL && !key_ring_is_fresh(ring, bus_loop_now_us(router->loop)))) {
        dyn_buf_addf(out, ",\"keys\":{\"status\":\"%s\"}", is_known ? "stale" : "waiting");
    }
}

/* Different ones among the workers; 0: none said. */
static size_t
count_configs(const struct route_members *members)
{
    size_t n = 0;
    for (size_t i = 0; i < members->n_workers; i++) {
        struct dyn_slice hash = members->workers[i]->ready->config_hash;
        bool is_new = hash.len > 0;
        for (size_t k = 0; k < i && is_new; k++) {
            is_new = !dyn_slice_eq(members->workers[k]->ready->config_hash, hash);
        }
        n += is_new;
    }
    return n;
}

/* Those that join: hosted ones are there when this is. */
static bool
is_plugin_there(const struct router *router, const struct route_plugin *plugin)
{
    struct route_traits traits = route_traits_of(router, plugin);
    const struct route_voter *voter = route_voters_look(&router->voters, plugin->name);
    bool is_there = false;
    for (unsigned stage = VOTE_BEFORE_REQUEST; stage < VOTE_STAGE_COUNT; stage++) {
        bool is_wanted = (traits.stages & VOTE_STAGE_BIT(stage)) != 0;
        bool has_stage = voter != NULL && route_voter_is_there(voter, (enum vote_stage)stage);
        if (is_wanted && !has_stage && stage != VOTE_ON_ERROR) {
            return false;
        }
        is_there = is_there || has_stage;
    }
    return is_there;
}

/* Requests are refused without it. */
static bool
is_missed(const struct router *router, const struct route_plugin *plugin)
{
    return !plugin->is_local && plugin->required && !plugin->fails_open && !is_plugin_there(router, plugin);
}

static bool
is_any_missed(const struct router *router)
{
    const struct route_plan *plan = router->options.plan;
    for (size_t i = 0; i < plan->n_plugins; i++) {
        if (is_missed(router, &plan->plugins[i])) {
            return true;
        }
    }
    return false;
}

static void
write_plugins(const struct router *router, struct dyn_buf *out)
{
    const struct route_plan *plan = router->options.plan;
    bool has_any = false;
    for (size_t i = 0; i < plan->n_plugins; i++) {
        const struct route_plugin *plugin = &plan->plugins[i];
        if (plugin->is_local) {
            continue;
        }
        dyn_buf_add_str(out, has_any ? ",{\"name\":" : ",\"plugins\":[{\"name\":");
        dyn_buf_add_json_string(out, plugin->name);
        dyn_buf_addf(out, ",\"required\":%s,\"there\":%s}", plugin->required ? "true" : "false",
                     is_plugin_there(router, plugin) ? "true" : "false");
        has_any = true;
    }
    if (has_any) {
        dyn_buf_add_char(out, ']');
    }
}

static bool
is_ready(const struct router *router)
{
    return is_any_routable(router) && !is_any_missed(router);
}

static void
write_ready(const struct router *router, struct dyn_buf *out)
{
    const struct route_members *members = &router->members;
    const char *comma = "";
    if (!is_any_routable(router)) {
        dyn_buf_add_str(out, "{\"status\":\"not_ready\",\"reason\":\"no routable targets\"");
        write_plugins(router, out);
        dyn_buf_add_char(out, '}');
        return;
    }
    dyn_buf_add_str(out, is_ready(router)
                             ? "{\"status\":\"ready\",\"targets\":["
                             : "{\"status\":\"not_ready\",\"reason\":\"required plugins are not there\","
                               "\"targets\":[");
    for (size_t i = 0; i < members->n_targets; i++) {
        size_t there = members_there(&members->crews[i]);
        if (is_shown(members, i)) {
            dyn_buf_addf(out, "%s{\"name\":", comma);
            dyn_buf_add_json_string(out, members->targets[i].name);
            dyn_buf_addf(out, ",\"routable\":%s,\"members\":%zu}", is_routable(router, i) ? "true" : "false",
                         there);
            comma = ",";
        }
    }
    dyn_buf_add_char(out, ']');
    const struct router_shared *shared = router->options.shared;
    uint64_t digest = shared != NULL ? atomic_load(&shared->config_digest) : 0;
    if (digest != 0) {
        dyn_buf_addf(out, ",\"config\":\"%016llx\"", (unsigned long long)digest);
    }
    write_plugins(router, out);
    if (shared != NULL) {
        write_ledger(shared, out);
    }
    write_keys(router, out);
    size_t n_configs = count_configs(members);
    if (n_configs > 1) { /* allowed, but nobody should have them without knowing */
        dyn_buf_addf(out, ",\"configurations\":%zu", n_configs);
    }
    dyn_buf_add_char(out, '}');
}

static bool
write_one_model(const struct route_request *rq, struct dyn_buf *out)
{
    const struct route_target *owner = route_model_owner(&rq->router->members, rq->model);
    if (owner != NULL) {
        route_model_text(out, rq->model, owner->provider);
    }
    return owner != NULL;
}

/* One that is long goes in pieces, which are copied then. */
static dyn_block_t *
body_of_models(const struct route_request *rq)
{
    dyn_block_t *text = route_models_text(&rq->router->members);
    bool is_long = text->len > ENV_HELD_ANSWER_MAX;
    return is_long ? dyn_block_ref(text) : dyn_block_copy(ENV_BODY_HEADROOM, dyn_block_slice(text));
}

/* NULL: there is no such model. */
struct env *
route_local_answer(const struct route_request *rq)
{
    struct dyn_buf out = DYN_BUF_INIT;
    uint16_t status = 200;
    bool is_list = rq->request->surface == ENV_SURFACE_MODELS;
    bool found = true;
    if (rq->request->surface == ENV_SURFACE_MODEL) {
        found = write_one_model(rq, &out);
    } else if (!is_list) {
        bool is_health = rq->request->surface == ENV_SURFACE_HEALTH;
        (is_health ? write_health : write_ready)(rq->router, &out);
        status = (is_health ? is_any_there : is_ready)(rq->router) ? 200 : 503;
    }
    struct env *end = NULL;
    if (found) {
        end = env_new(ENV_END);
        end->id = rq->node.id;
        end->outcome = ENV_OUTCOME_OK;
        end->status = status;
        end->content_type = DYN_SLICE("application/json");
        end->body = is_list ? body_of_models(rq) : dyn_block_copy(ENV_BODY_HEADROOM, dyn_buf_slice(&out));
        end->body_bytes = end->body->len;
    }
    dyn_buf_fini(&out);
    return end;
}
