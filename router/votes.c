/* The stages of the vote: who has a say at one, and what follows when all have voted. Asking is votes_ask.c,
 * taking votes_taken.c; what follows from the votes is vote_merge.c; what they are told vote_facts.c; what
 * they change vote_amend.c. */
#include "router/votes_impl.h"

#include <stdio.h>

/* ---- what is kept ---- */

struct route_votes *
route_votes_of(struct route_request *rq)
{
    if (rq->votes == NULL) {
        rq->votes = arena_zalloc(&rq->request->arena, sizeof *rq->votes);
        rq->votes->plan = route_plan_ref(rq->plan);
    }
    return rq->votes;
}

static void
forget_stage(struct route_votes *votes)
{
    for (size_t i = 0; i < votes->round.n; i++) {
        env_free(&votes->ballots[i].vote);
    }
    votes->round.n = 0;
    votes->stage = VOTE_STAGE_NONE;
    votes->has_facts = false;
    route_forget_texts(votes);
}

void
route_votes_fini(struct route_request *rq)
{
    if (rq->votes != NULL) {
        forget_stage(rq->votes);
        vote_facts_unref(&rq->votes->facts);
        dyn_block_unref(&rq->votes->original);
        route_plan_unref(&rq->votes->plan);
        rq->votes = NULL;
    }
}

/* ---- who is asked ---- */

/* Nobody has ever said what one that is to join can do: before_request is where it can be missed. */
struct route_traits
route_traits_of(const struct router *router, const struct route_plugin *plugin)
{
    static const struct route_traits unknown = {.stages = VOTE_STAGE_BIT(VOTE_BEFORE_REQUEST),
                                                .amends = true};
    uint32_t wanted = plugin->traits.stages;
    if (plugin->is_local) {
        return plugin->traits;
    }
    const struct route_voter *voter = route_voters_look(&router->voters, plugin->name);
    bool has_said = voter != NULL && voter->has_said;
    struct route_traits traits = has_said ? voter->said : unknown;
    if (wanted != 0) {
        bool is_sure = plugin->required || !has_said; /* else who leaves out a stage would open it */
        traits.stages = is_sure ? wanted : traits.stages & wanted;
    }
    return traits;
}

static bool
is_asked_at(const struct route_traits *traits, enum vote_stage stage)
{
    return (traits->stages & VOTE_STAGE_BIT(stage)) != 0 && !route_traits_is_told(traits, stage);
}

static void
set_traits(struct route_votes *votes, size_t i, const struct route_traits *traits)
{
    uint32_t bit = 1u << i;
    votes->ballots[i].traits = *traits;
    votes->round.alone = route_traits_is_alone(traits) ? votes->round.alone | bit : votes->round.alone & ~bit;
    if ((traits->needs & ~votes->needs) != 0) {
        votes->needs |= traits->needs;
        votes->has_facts = false; /* they were counted for less */
    }
}

/* Who has joined since the stage began says other things than who was there before, or than nobody. */
static void
take_traits_anew(struct route_request *rq)
{
    struct route_votes *votes = rq->votes;
    votes->n_said = rq->router->voters.n_said;
    for (size_t i = 0; i < votes->round.n; i++) {
        if (votes->round.ballots[i] != VOTE_BALLOT_OPEN) {
            continue;
        }
        struct route_traits traits = route_traits_of(rq->router, votes->ballots[i].plugin);
        set_traits(votes, i, &traits);
        if (!is_asked_at(&traits, votes->stage)) {
            votes->round.ballots[i] = VOTE_BALLOT_PASSED;
        }
    }
}

static bool
has_limits(const struct key_limits *limits)
{
    return (limits->requests_per_minute | limits->requests_per_day | limits->tokens_per_minute |
            limits->tokens_per_day) != 0;
}

static bool
has_token_limits(const struct route_request *rq)
{
    return rq->key != NULL && (rq->key->limits.tokens_per_minute | rq->key->limits.tokens_per_day) != 0;
}

bool
route_plugin_concerns(const struct route_request *rq, const struct route_plugin *plugin)
{
    if (plugin->concerns == ROUTE_CONCERNS_ALL || rq->key == NULL) {
        return plugin->concerns == ROUTE_CONCERNS_ALL;
    }
    const struct key_budget *budget = &rq->key->budget;
    return plugin->concerns == ROUTE_CONCERNS_LIMITS ? has_limits(&rq->key->limits)
                                                     : (budget->day | budget->week | budget->month) != 0;
}

bool
route_key_has_votes(const struct route_request *rq)
{
    const struct route_plan *plan = route_voting_plan(rq);
    if (rq->key == NULL || !plan->has_key_plugins) {
        return false;
    }
    size_t i = 0;
    while (i < plan->n_plugins && (plan->plugins[i].concerns == ROUTE_CONCERNS_ALL ||
                                   !route_plugin_concerns(rq, &plan->plugins[i]))) {
        i++;
    }
    return i < plan->n_plugins;
}

static void
begin_stage(struct route_request *rq, enum vote_stage stage)
{
    const struct route_plan *plan = route_voting_plan(rq);
    struct route_votes *votes = route_votes_of(rq);
    forget_stage(votes);
    votes->stage = stage;
    votes->round = (struct vote_round){.n = 0};
    votes->needs = 0;
    votes->n_said = rq->router->voters.n_said;
    votes->ballots = arena_alloc(&rq->request->arena, (plan->n_plugins + 1) * sizeof *votes->ballots);
    for (size_t i = 0; i < plan->n_plugins; i++) {
        const struct route_plugin *plugin = &plan->plugins[i];
        struct route_traits traits = route_traits_of(rq->router, plugin);
        if (!is_asked_at(&traits, stage) || !route_plugin_concerns(rq, plugin)) {
            continue;
        }
        if (traits.charges && has_token_limits(rq)) { /* whatever the plugin's own configuration counts */
            traits.needs |= VOTE_NEEDS_COUNTS;
        }
        size_t n = votes->round.n++;
        votes->ballots[n] = (struct route_ballot){.plugin = plugin};
        set_traits(votes, n, &traits);
    }
}

/* ---- what follows ---- */

/* An error that a plugin names is one that refuses; else it is what its type and the stage come to. */
static enum err_code
refusal_of(const struct route_request *rq, const struct route_ballot *ballot)
{
    if (ballot->failure != NULL) {
        return ERR_PLUGIN_ERROR;
    }
    if (ballot->vote->error != ERR_NONE && err_row(ballot->vote->error)->http >= 400) {
        return ballot->vote->error;
    }
    return rq->votes->stage == VOTE_BEFORE_REQUEST ? ballot->plugin->denies : ERR_RESPONSE_REJECTED;
}

static enum route_step
refuse(struct route_request *rq, size_t i)
{
    struct route_votes *votes = rq->votes;
    const struct route_ballot *ballot = &votes->ballots[i];
    const struct env *vote = ballot->vote;
    struct dyn_slice name = ballot->plugin->name;
    const char *what = votes->stage == VOTE_BEFORE_REQUEST ? "request" : "response";
    char text[sizeof rq->error_text];
    route_votes_abandon(rq);
    votes->refused_by = name;
    if (ballot->failure != NULL) {
        (void)snprintf(text, sizeof text, "plugin %.*s failed at %s", (int)name.len, name.data,
                       vote_stage_name(votes->stage));
    } else {
        struct dyn_slice reason = vote->error_text;
        (void)snprintf(text, sizeof text, "%s rejected by plugin %.*s at %s%s%.*s", what, (int)name.len,
                       name.data, vote_stage_name(votes->stage), reason.len > 0 ? ": " : "", (int)reason.len,
                       reason.len > 0 ? reason.data : "");
        bool is_error = vote->status >= 400 && vote->status <= 599;
        votes->status = is_error ? vote->status : 0;
        votes->retry_after_s = vote->retry_after_s;
    }
    return route_fail(rq, refusal_of(rq, ballot), text, NULL);
}

static enum route_step
stage_is_over(struct route_request *rq, size_t answered, enum route_step passed)
{
    struct route_votes *votes = rq->votes;
    rq->vote_until_us = 0;
    if (answered == votes->round.n) {
        forget_stage(votes);
        return passed;
    }
    votes->answered_by = votes->ballots[answered].plugin->name;
    env_free(&rq->inbound);
    rq->inbound = route_voted_answer(rq, &votes->ballots[answered].vote);
    forget_stage(votes);
    return ROUTE_STEP_AFTER;
}

enum route_step
route_votes_run(struct route_request *rq, enum vote_stage stage, enum route_step passed)
{
    if (rq->votes == NULL || rq->votes->stage != stage) {
        begin_stage(rq, stage);
    } else if (rq->votes->n_said != rq->router->voters.n_said) {
        take_traits_anew(rq);
    }
    for (;;) {
        struct vote_decision decision = vote_round_next(&rq->votes->round);
        switch (decision.move) {
        case VOTE_MOVE_ASK:
            for (size_t i = decision.from; i < decision.to; i++) {
                route_ballot_ask(rq, i);
            }
            break;
        case VOTE_MOVE_WAIT:
            route_ballots_arm(rq);
            return ROUTE_STEP_PARKED;
        case VOTE_MOVE_DENIED:
            return refuse(rq, decision.from);
        case VOTE_MOVE_PASSED:
            return stage_is_over(rq, decision.from, passed);
        }
    }
}

enum route_step
route_step_before(struct route_request *rq)
{
    return route_votes_run(rq, VOTE_BEFORE_REQUEST, ROUTE_STEP_RESOLVE);
}

/* A stream has been passed on by now: those who would vote on it are told how it ended (route_votes_end). */
enum route_step
route_step_after(struct route_request *rq)
{
    bool is_asked = route_has_votes(rq, VOTE_AFTER_REQUEST) && !rq->inbound->stream && !rq->begun;
    return is_asked ? route_votes_run(rq, VOTE_AFTER_REQUEST, ROUTE_STEP_REPLY) : ROUTE_STEP_REPLY;
}

/* ---- what votes have to do with the answer ---- */

void
route_votes_head(const struct route_request *rq, struct env *env)
{
    if (rq->votes != NULL) {
        env_add_headers(env, rq->votes->headers, rq->votes->n_headers);
    }
}

void
route_votes_refusal(const struct route_request *rq, struct env *end)
{
    const struct route_votes *votes = rq->votes;
    if (votes == NULL || votes->refused_by.len == 0) {
        return;
    }
    end->status = votes->status != 0 ? votes->status : end->status;
    end->retry_after_s = votes->retry_after_s != 0 ? votes->retry_after_s : end->retry_after_s;
    end->error_text = env_copy(end, dyn_slice_str(rq->error_text));
}
