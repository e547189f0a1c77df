#include "router/pick.h"

#include "core/nearest.h"
#include "router/facts.h"
#include "router/request.h"

#include <stdio.h>

enum { MODEL_SHOWN_MAX = 100 };

int
route_shown_len(struct dyn_slice text)
{
    size_t len = text.len < MODEL_SHOWN_MAX ? text.len : MODEL_SHOWN_MAX;
    while (len > 0 && len < text.len && ((unsigned char)text.data[len] & 0xC0) == 0x80) {
        len--;
    }
    return (int)len;
}

/* ---- targets that a request names ---- */

bool
route_may_override(const struct route_plan *plan, struct dyn_slice key_id)
{
    return plan->overrides == ROUTE_OVERRIDES_ALL ||
           (plan->overrides == ROUTE_OVERRIDES_MASTER && dyn_slice_is(key_id, "master"));
}

static int
refuse_name(struct dyn_slice name, const struct route_target *targets, size_t n_targets, struct arena *arena,
            struct dyn_err *err)
{
    const char **words = arena_alloc(arena, (n_targets + 1) * sizeof *words);
    for (size_t i = 0; i < n_targets; i++) {
        words[i] = arena_copy(arena, targets[i].name.len > 0 ? targets[i].name : DYN_SLICE("-")).data;
    }
    const char *near = dyn_nearest(name, words, n_targets);
    return dyn_err_set(err, DYN_E_INVALID, "%s: there is no target '%.*s'%s%s%s", ROUTE_OVERRIDE_HEADER,
                       route_shown_len(name), name.len > 0 ? name.data : "",
                       near != NULL ? ", did you mean '" : "", near != NULL ? near : "",
                       near != NULL ? "'?" : "");
}

int
route_override_read(struct dyn_slice value, const struct route_target *targets, size_t n_targets,
                    struct arena *arena, struct route_facts *facts, struct dyn_err *err)
{
    uint8_t *named = arena_alloc(arena, ROUTE_TARGETS_MAX);
    struct route_set seen = {{0}};
    facts->override = named;
    facts->n_override = 0;
    for (size_t begin = 0; begin <= value.len;) {
        const char *comma = value.len > begin ? memchr(value.data + begin, ',', value.len - begin) : NULL;
        size_t end = comma != NULL ? (size_t)(comma - value.data) : value.len;
        struct dyn_slice name = dyn_slice_trim(dyn_slice(value.data + begin, end - begin));
        size_t target = 0;
        while (target < n_targets && (name.len == 0 || !dyn_slice_eq(targets[target].name, name))) {
            target++;
        }
        if (target == n_targets) {
            return refuse_name(name, targets, n_targets, arena, err);
        }
        if (!route_set_has(&seen, target)) {
            route_set_add(&seen, target);
            named[facts->n_override++] = (uint8_t)target;
        }
        begin = end + 1;
    }
    return 0;
}

/* ---- prices ---- */

void
route_price_of(const struct route_plan *plan, const struct route_target *target, struct dyn_slice model,
               struct route_target_view *seen)
{
    const struct catalogue_model *found =
        plan->catalogue != NULL ? catalogue_find_for(plan->catalogue, target->name, target->provider, model)
                                : NULL;
    seen->is_in_catalogue = found != NULL;
    seen->price_in = found != NULL ? catalogue_price(found, CATALOGUE_PRICE_INPUT) : PRICE_UNKNOWN;
    seen->price_out = found != NULL ? catalogue_price(found, CATALOGUE_PRICE_OUTPUT) : PRICE_UNKNOWN;
    seen->output_max = found != NULL ? found->max_output : 0;
}

/* ---- what is said when nobody is left ---- */

void
route_refusal_text(const struct route_plan *plan, const struct route_target *targets, size_t n_targets,
                   const struct route_candidacy *found, struct dyn_slice model, char *out, size_t out_size)
{
    if (!route_set_is_empty(&found->elsewhere)) {
        (void)snprintf(out, out_size, "the model '%.*s' is served, but not for this kind of request",
                       route_shown_len(model), model.data);
        return;
    }
    char near[160];
    route_candidates_near(plan, targets, n_targets, model, near, sizeof near);
    (void)snprintf(out, out_size,
                   "no target serves the model '%.*s'; %s%sGET /v1/models lists what is served",
                   route_shown_len(model), model.data, near, near[0] != '\0' ? " " : "");
}

void
route_decision_text(const struct route_decision *decision, const struct route_facts *facts, char *out,
                    size_t out_size)
{
    out[0] = '\0';
    if (decision->asked.n > 0) {
        return;
    }
    int len = route_shown_len(facts->model);
    if (facts->n_override > 0) {
        (void)snprintf(out, out_size, "none of the targets that %s names serves the model '%.*s'",
                       ROUTE_OVERRIDE_HEADER, len, facts->model.data);
    } else if (decision->asked.why_void == ROUTE_VOID_RULE) {
        (void)snprintf(out, out_size, "the target of rule %d does not serve the model '%.*s'",
                       decision->asked.rule + 1, len, facts->model.data);
    } else if (decision->asked.why_void == ROUTE_VOID_WEIGHT) {
        (void)snprintf(out, out_size, "no target with a weight serves the model '%.*s'", len,
                       facts->model.data);
    }
}

/* ---- a request of this router ---- */

void
route_find_candidates(struct route_request *rq, struct route_candidacy *found)
{
    struct router *router = rq->router;
    const struct route_members *members = &router->members;
    route_memo_find(router->memo, members->generation, rq->plan, members->targets, members->n_targets,
                    rq->model, rq->request->surface, found);
    if (DYN_UNLIKELY(rq->key != NULL && rq->key->targets.n > 0)) {
        route_bar_targets(rq, found);
    }
    rq->candidates = found->set;
}

static void
look_at(struct route_request *rq, size_t target, uint64_t model_key, struct route_target_view *seen)
{
    struct router *router = rq->router;
    const struct route_members *members = &router->members;
    uint32_t needs = rq->plan->needs;
    uint64_t now_us = bus_loop_now_us(router->loop);
    *seen = (struct route_target_view){.price_in = PRICE_UNKNOWN, .price_out = PRICE_UNKNOWN};
    if (!route_members_is_closed(members, target, now_us) ||
        (needs & (ROUTE_NEEDS_LOAD | ROUTE_NEEDS_LATENCY)) != 0) {
        struct health_view health;
        route_members_health_of(members, target, model_key, now_us, &health);
        seen->state = health.state;
        seen->retry_ms = health.retry_ms;
        seen->in_flight = health.in_flight;
        seen->samples = health.samples;
        seen->ttft_us = health.ttft_us;
        seen->total_us = health.total_us;
        seen->ewma_us = health.ewma_us;
    }
    if ((needs & ROUTE_NEEDS_PRICE) != 0) {
        route_memo_price(router->memo, rq->plan, members->targets, target, rq->model, seen);
    }
}

void
route_look_around(struct route_request *rq, const struct route_candidacy *found, struct route_view *view)
{
    struct router *router = rq->router;
    bool wants_latency = (rq->plan->needs & ROUTE_NEEDS_LATENCY) != 0;
    uint64_t model_key = wants_latency ? health_model_key(rq->model) : 0;
    *view = (struct route_view){
        .plan = rq->plan,
        .targets = router->members.targets,
        .n_targets = router->members.n_targets,
        .candidates = found->set,
        .elsewhere = found->elsewhere,
        .seen = router->seen,
        .now_ms = bus_loop_now_us(router->loop) / 1000,
    };
    for (ROUTE_SET_EACH(i, &found->set)) {
        look_at(rq, i, model_key, &router->seen[i]);
    }
}

int
route_gather_facts(struct route_request *rq, struct route_facts *facts, struct dyn_err *err)
{
    struct env *request = rq->request;
    const struct route_members *members = &rq->router->members;
    *facts = (struct route_facts){
        .surface = request->surface,
        .model = rq->model,
        .asked_model = rq->asked_model,
        .stream = rq->facts.stream,
        .may_override = route_may_override(rq->plan, rq->key_id),
        .key_id = rq->key_id,
        .headers = request->headers,
        .n_headers = request->n_headers,
        .max_output_tokens = rq->facts.max_output_tokens,
    };
    if (rq->plan->needs != 0) {
        route_facts_read(facts, dyn_block_slice(request->body), &rq->places, rq->plan->needs,
                         &request->arena);
    }
    struct dyn_slice named = request->n_headers > 0
                                 ? route_facts_header(facts, DYN_SLICE(ROUTE_OVERRIDE_HEADER))
                                 : dyn_slice(NULL, 0);
    if (named.data == NULL) {
        return 0;
    }
    if (!facts->may_override) {
        return dyn_err_set(err, DYN_E_GONE, "this key may not choose targets by %s", ROUTE_OVERRIDE_HEADER);
    }
    if (route_override_read(named, members->targets, members->n_targets, &request->arena, facts, err) != 0) {
        return -1;
    }
    for (size_t i = 0; i < facts->n_override; i++) {
        if (!route_may_use_target(rq, &members->targets[facts->override[i]])) {
            return dyn_err_set(err, DYN_E_LIMIT, "this key may not use a target that %s names",
                               ROUTE_OVERRIDE_HEADER);
        }
    }
    return 0;
}
