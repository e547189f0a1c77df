/* Which plugins would be asked about a request, at which stage, in which order and which of them together:
 * the part of an explanation that is about votes. Nobody is asked and nothing is charged. */
#include "router/explain.h"
#include "router/request.h"
#include "router/votes.h"

struct telling {
    struct dyn_buf *out;
    enum vote_stage stage;
    unsigned group; /* of the stage, from 1; 0: they are told */
    bool has_any;
};

static void
add_bool(struct dyn_buf *out, const char *name, bool value)
{
    dyn_buf_addf(out, ",\"%s\":%s", name, value ? "true" : "false");
}

static void
add_needs(struct dyn_buf *out, uint32_t needs)
{
    const char *comma = "";
    const char *name;
    dyn_buf_add_str(out, ",\"needs\":[");
    for (unsigned bit = 0; (name = vote_need_name(bit)) != NULL; bit++) {
        if ((needs & (1u << bit)) != 0) {
            dyn_buf_addf(out, "%s\"%s\"", comma, name);
            comma = ",";
        }
    }
    dyn_buf_add_char(out, ']');
}

static void
add_denial(struct dyn_buf *out, const struct route_plugin *plugin, enum vote_stage stage)
{
    bool is_before = stage == VOTE_BEFORE_REQUEST;
    const struct err_row *row = err_row(is_before ? plugin->denies : ERR_RESPONSE_REJECTED);
    dyn_buf_addf(out, ",\"denies\":{\"status\":%u,\"code\":\"%s\"}", (unsigned)row->http, row->code);
}

static void
add_plugin(struct telling *telling, struct router *router, const struct route_plugin *plugin)
{
    struct dyn_buf *out = telling->out;
    struct route_traits traits = route_traits_of(router, plugin);
    const struct route_voter *voter = route_voters_find(&router->voters, plugin->name);
    bool is_there = plugin->is_local || route_voter_is_there(voter, telling->stage);
    dyn_buf_add_str(out, telling->has_any ? ",{\"name\":" : "{\"name\":");
    dyn_buf_add_json_string(out, plugin->name);
    dyn_buf_addf(out, ",\"stage\":\"%s\"", vote_stage_name(telling->stage));
    if (telling->group > 0) {
        dyn_buf_addf(out, ",\"group\":%u", telling->group);
    } else {
        dyn_buf_add_str(out, ",\"group\":null");
    }
    dyn_buf_addf(out, ",\"place\":\"%s\"", plugin->is_local ? "here" : is_there ? "joined" : "nobody");
    dyn_buf_addf(out, ",\"breaker\":\"%s\"", vote_breaker_is_open(&voter->breaker) ? "open" : "closed");
    if (plugin->concerns != ROUTE_CONCERNS_ALL) {
        bool is_budget = plugin->concerns == ROUTE_CONCERNS_BUDGETS;
        dyn_buf_addf(out, ",\"only_for\":\"keys with %s\"", is_budget ? "a budget" : "limits");
    }
    add_bool(out, "required", plugin->required);
    dyn_buf_addf(out, ",\"on_failure\":\"%s\",\"timeout_ms\":%u", plugin->fails_open ? "open" : "closed",
                 (unsigned)plugin->timeout_ms);
    add_needs(out, traits.needs);
    add_bool(out, "charges", traits.charges);
    add_bool(out, "amends", traits.amends);
    add_bool(out, "answers", traits.answers);
    if (telling->group > 0 && telling->stage != VOTE_DURING_STREAM) {
        add_denial(out, plugin, telling->stage);
    }
    dyn_buf_add_char(out, '}');
    telling->has_any = true;
}

static bool
is_of_stage(struct router *router, const struct route_plugin *plugin, enum vote_stage stage)
{
    struct route_traits traits = route_traits_of(router, plugin);
    return (traits.stages & VOTE_STAGE_BIT(stage)) != 0;
}

/* As the real stage: all let it pass here. */
static void
tell_asked(struct telling *telling, struct router *router, const struct route_plan *plan)
{
    const struct route_plugin *asked[VOTE_ROUND_MAX];
    struct vote_round round = {.n = 0};
    for (size_t i = 0; i < plan->n_plugins; i++) {
        struct route_traits traits = route_traits_of(router, &plan->plugins[i]);
        if (is_of_stage(router, &plan->plugins[i], telling->stage) &&
            !route_traits_is_told(&traits, telling->stage)) {
            round.alone |= (uint32_t)route_traits_is_alone(&traits) << round.n;
            asked[round.n++] = &plan->plugins[i];
        }
    }
    struct vote_decision decision;
    while ((decision = vote_round_next(&round)).move == VOTE_MOVE_ASK) {
        telling->group++;
        for (size_t i = decision.from; i < decision.to; i++) {
            round.ballots[i] = VOTE_BALLOT_PASSED;
            add_plugin(telling, router, asked[i]);
        }
    }
    telling->group = 0;
}

/* Of a stream all are asked about each piece of it at the same time. */
static void
tell_stream(struct telling *telling, struct router *router, const struct route_plan *plan)
{
    telling->group = 1;
    for (size_t i = 0; i < plan->n_plugins; i++) {
        if (is_of_stage(router, &plan->plugins[i], telling->stage)) {
            add_plugin(telling, router, &plan->plugins[i]);
        }
    }
    telling->group = 0;
}

static void
tell_told(struct telling *telling, struct router *router, const struct route_plan *plan, bool is_stream)
{
    for (size_t i = 0; i < plan->n_plugins; i++) {
        struct route_traits traits = route_traits_of(router, &plan->plugins[i]);
        if (is_of_stage(router, &plan->plugins[i], telling->stage) &&
            (is_stream || route_traits_is_told(&traits, telling->stage))) {
            add_plugin(telling, router, &plan->plugins[i]);
        }
    }
}

void
route_explain_plugins(struct router *router, const struct route_plan *plan, bool is_stream,
                      struct dyn_buf *out)
{
    struct telling telling = {.out = out, .stage = VOTE_BEFORE_REQUEST};
    dyn_buf_add_char(out, '[');
    tell_asked(&telling, router, plan);
    if (is_stream) {
        telling.stage = VOTE_DURING_STREAM;
        tell_stream(&telling, router, plan);
    }
    telling.stage = VOTE_AFTER_REQUEST;
    if (!is_stream) { /* of a stream it is told: it has left by then */
        tell_asked(&telling, router, plan);
    }
    tell_told(&telling, router, plan, is_stream);
    telling.stage = VOTE_ON_ERROR;
    tell_told(&telling, router, plan, false);
    dyn_buf_add_char(out, ']');
}
