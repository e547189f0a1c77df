/* The life of a gate: it begins with the first CHUNK, is fed with what the provider sends, and goes with the
 * attempt. Plugins are asked in votes_stream_ask.c, what they cleared leaves in votes_stream_pass.c. */
#include "router/votes_stream_impl.h"

#include "proto/dialects/texts.h"
#include "router/votes.h"

#include <stdlib.h>

static const struct dyn_slice nothing = {NULL, 0};

/* ---- beginning ---- */

static bool
votes_on_streams(struct route_request *rq, const struct route_plugin *plugin)
{
    return (route_traits_of(rq->router, plugin).stages & VOTE_STAGE_BIT(VOTE_DURING_STREAM)) != 0;
}

/* One of a plan whose plugins may still say where they vote may have nobody here. */
bool
route_gate_is_wanted(struct route_request *rq, const struct env *answer)
{
    bool is_first = rq->now->next_sequence == 0;
    if (!route_has_votes(rq, VOTE_DURING_STREAM) || (!is_first && rq->gated == NULL)) {
        return false;
    }
    if (!is_first) {
        return true;
    }
    for (size_t i = 0; i < route_voting_plan(rq)->n_plugins && answer->stream; i++) {
        if (votes_on_streams(rq, &route_voting_plan(rq)->plugins[i])) {
            return true;
        }
    }
    route_gate_fini(rq); /* of an attempt that is over */
    return false;
}

static void
add_plugin(struct route_request *rq, const struct route_plugin *plugin, struct stream_gate_voter *rows)
{
    struct route_gated *gated = rq->gated;
    struct route_voter *voter = route_voters_find(&rq->router->voters, plugin->name);
    bool is_absent = !plugin->is_local && !route_voter_is_there(voter, VOTE_DURING_STREAM);
    if (is_absent && !plugin->required) {
        return;
    }
    rows[gated->n_plugins] = (struct stream_gate_voter){.timeout_us = plugin->timeout_ms * UINT64_C(1000),
                                                        .fails_open = plugin->fails_open};
    gated->plugins[gated->n_plugins++] =
        (struct gate_plugin){.plugin = plugin, .addr = route_gated_pick(rq, plugin)};
}

static void
begin(struct route_request *rq)
{
    struct stream_gate_voter rows[STREAM_GATE_VOTERS_MAX];
    struct route_gated *gated = rq->gated =
        dyn_zalloc(sizeof *gated + route_voting_plan(rq)->n_plugins * sizeof gated->plugins[0]);
    struct route_votes *votes = route_votes_of(rq);
    uint32_t needs = 0;
    for (size_t i = 0; i < route_voting_plan(rq)->n_plugins; i++) {
        const struct route_plugin *plugin = &route_voting_plan(rq)->plugins[i];
        if (votes_on_streams(rq, plugin)) {
            add_plugin(rq, plugin, rows);
            needs |= route_traits_of(rq->router, plugin).needs;
        }
    }
    struct stream_gate_options options = {
        .texts = rq->dialect != NULL ? rq->dialect->texts : NULL,
        .voters = rows,
        .n_voters = gated->n_plugins,
        .held_max = ROUTE_GATE_HELD,
    };
    gated->gate = stream_gate_new(&options);
    gated->first_epoch = votes->epoch + 1;
    gated->facts = vote_facts_ref(route_vote_facts(rq, NULL, needs & ~(uint32_t)VOTE_NEEDS_PRICE));
    votes->has_facts = false;
    for (size_t i = 0; i < gated->n_plugins; i++) {
        struct gate_plugin *one = &gated->plugins[i];
        struct route_voter *voter = route_voters_find(&rq->router->voters, one->plugin->name);
        if (one->addr == 0) {
            route_gated_fail(rq, i, "it is not there, or takes no more", false);
        } else if (!vote_breaker_admits(&voter->breaker, bus_loop_now_us(rq->router->loop))) {
            route_gated_fail(rq, i, "its breaker is open", false);
        } else {
            one->is_admitted = true;
        }
    }
}

/* The head of the answer, for what leaves first. */
static void
keep_head(struct route_request *rq, struct env *answer)
{
    struct env *head = env_about(ENV_CHUNK, answer);
    head->stream = true;
    head->status = answer->status;
    head->trace_id = env_copy(head, answer->trace_id);
    head->content_type = env_copy(head, answer->content_type);
    head->degraded = env_copy(head, answer->degraded);
    head->warnings = env_copy(head, answer->warnings);
    for (size_t i = 0; i < answer->n_headers; i++) {
        env_add_header(head, answer->headers[i].name, answer->headers[i].value);
    }
    route_name_answerer(rq, head);
    rq->gated->head = head;
}

/* ---- what the provider sends ---- */

/* A first CHUNK, also of another attempt. */
static void
begin_with(struct route_request *rq, struct env *answer)
{
    route_gate_fini(rq);
    begin(rq);
    keep_head(rq, answer);
}

enum route_step
route_gate_chunk(struct route_request *rq, struct env **chunk_p)
{
    struct env *chunk = *chunk_p;
    *chunk_p = NULL;
    if (rq->now->next_sequence == 0) {
        begin_with(rq, chunk);
    }
    route_look_at_chunk(rq, chunk);
    route_count_passed(rq, env_body_len(chunk));
    stream_gate_feed(rq->gated->gate, dyn_block_slice(chunk->body));
    env_free(&chunk);
    (void)route_gated_go_on(rq, nothing, nothing); /* PARKED: it is in flight */
    return ROUTE_STEP_WAIT;
}

/* A short stream may come as a whole in its END. */
enum route_step
route_gate_end(struct route_request *rq)
{
    struct env *end = rq->inbound;
    if (rq->gated == NULL || rq->now->next_sequence == 0) {
        begin_with(rq, end);
    }
    if (rq->gated->is_ended && !rq->gated->is_closing) { /* it crossed the CANCEL */
        rq->error = rq->gated->error;
        return ROUTE_STEP_FAIL;
    }
    rq->inbound = NULL;
    if (env_body_len(end) > 0) {
        stream_gate_feed(rq->gated->gate, dyn_block_slice(end->body));
        rq->begun = true;
        dyn_block_unref(&end->body);
    }
    rq->gated->end = end;
    stream_gate_end(rq->gated->gate);
    return route_gated_go_on(rq, nothing, nothing);
}

bool
route_gate_fails(struct route_request *rq, enum route_step *next)
{
    struct route_gated *gated = rq->gated;
    if (gated == NULL) {
        return false;
    }
    if (!gated->is_closing || rq->has_gap || rq->cancelled_for != ERR_NONE || gated->end != NULL) {
        if (rq->inbound == NULL) {
            rq->inbound = gated->end; /* what it used and cost is known */
            gated->end = NULL;
        }
        rq->vote_until_us = 0;
        return false;
    }
    struct env *end = rq->inbound != NULL ? rq->inbound : env_new(ENV_END);
    rq->inbound = NULL;
    end->id = rq->node.id;
    end->outcome = ENV_OUTCOME_OK;
    end->error = ERR_NONE;
    end->status = 200;
    end->stream = true;
    end->error_text = end->error_param = nothing;
    dyn_block_unref(&end->body);
    gated->end = end;
    *next = route_gated_go_on(rq, nothing, nothing);
    return true;
}

void
route_gate_credit(struct route_request *rq)
{
    route_gated_resume(rq, nothing, nothing);
}

/* ---- the end ---- */

/* Who was asked and does not know that nothing follows. */
static void
tell_end(struct route_request *rq, const struct gate_plugin *one)
{
    const struct vote_here *here = route_votes_here(rq, one->plugin);
    if (here != NULL) {
        struct vote_heard unused;
        struct vote_question told = {.id = rq->node.id,
                                     .epoch = ++rq->votes->epoch,
                                     .stage = VOTE_DURING_STREAM,
                                     .instance = one->plugin->serial,
                                     .from = bus_actor_addr(rq->router->me),
                                     .facts = rq->gated->facts,
                                     .tell = true};
        (void)here->ask(here->self, &told, &unused);
        return;
    }
    struct env *ask = env_new(ENV_ASK);
    ask->id = rq->node.id;
    ask->epoch = ++rq->votes->epoch;
    ask->plugin = env_copy(ask, one->plugin->name);
    ask->instance = one->plugin->serial;
    ask->stage = VOTE_DURING_STREAM;
    ask->tell = true;
    ask->facts_asked = vote_facts_ref(rq->gated->facts);
    if (bus_send(rq->router->me, one->addr, &ask, NULL) != 0) {
        env_free(&ask);
    }
}

void
route_gate_fini(struct route_request *rq)
{
    struct route_gated *gated = rq->gated;
    if (gated == NULL) {
        return;
    }
    for (size_t i = 0; i < gated->n_plugins; i++) {
        struct gate_plugin *one = &gated->plugins[i];
        if (one->addr != 0 && one->asked > 0 && !gated->is_last_asked) {
            tell_end(rq, one);
        }
        if (!one->plugin->is_local && one->addr != 0) {
            route_voter_count(route_voters_find(&rq->router->voters, one->plugin->name), one->addr, -1);
        }
        if (one->is_admitted) {
            vote_breaker_abandoned(&route_voters_find(&rq->router->voters, one->plugin->name)->breaker);
        }
    }
    rq->gated = NULL;
    rq->vote_until_us = 0;
    stream_gate_free(&gated->gate);
    vote_facts_unref(&gated->facts);
    env_free(&gated->head);
    env_free(&gated->end);
    free(gated);
}
