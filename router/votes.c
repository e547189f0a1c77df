/* Asks plugins and takes their votes, one stage after the other. What follows from the votes is vote_merge.c;
 * what they are told vote_facts.c; what they change vote_amend.c. */
#include "router/votes.h"

#include "router/shared.h"

#include "core/log.h"
#include "router/votes_stream.h"

#include <stdio.h>

/* How often one plugin is asked when those who were asked are gone. */
enum { ASKED_MAX = 3 };

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
    vote_facts_unref(&votes->facts);
    dyn_block_unref(&votes->texts);
}

void
route_votes_fini(struct route_request *rq)
{
    if (rq->votes != NULL) {
        forget_stage(rq->votes);
        dyn_block_unref(&rq->votes->original);
        route_plan_unref(&rq->votes->plan);
        rq->votes = NULL;
    }
}

void
route_vote_note(struct route_request *rq, const struct route_plugin *plugin, enum vote_stage stage,
                uint64_t asked_us, const char *verdict, struct dyn_slice reason)
{
    struct route_votes *votes = rq->votes;
    if (votes->n_notes == ROUTE_VOTE_NOTES_MAX) {
        return;
    }
    struct route_vote_note *note = arena_alloc(&rq->request->arena, sizeof *note);
    uint64_t now_us = dyn_mono_us(bus_loop_clock(rq->router->loop));
    *note = (struct route_vote_note){
        .before = votes->notes,
        .name = plugin->name,
        .stage = vote_stage_name(stage),
        .verdict = verdict,
        .reason = reason.len > 0 ? env_copy(rq->request, reason) : dyn_slice(NULL, 0),
        .us = asked_us != 0 && now_us > asked_us ? now_us - asked_us : 0,
    };
    votes->notes = note;
    votes->n_notes++;
}

static void
note(struct route_request *rq, const struct route_ballot *ballot, const char *verdict,
     struct dyn_slice reason)
{
    route_vote_note(rq, ballot->plugin, rq->votes->stage, ballot->asked_us, verdict, reason);
}

size_t
route_votes_tell(const struct route_request *rq, struct event_plugin plugins[ROUTE_VOTE_NOTES_MAX])
{
    size_t n = rq->votes != NULL ? rq->votes->n_notes : 0;
    const struct route_vote_note *note = n > 0 ? rq->votes->notes : NULL;
    for (size_t i = n; note != NULL; note = note->before) {
        plugins[--i] = (struct event_plugin){.name = note->name,
                                             .stage = dyn_slice_str(note->stage),
                                             .verdict = dyn_slice_str(note->verdict),
                                             .reason = note->reason,
                                             .us = note->us};
    }
    return n;
}

/* ---- who is asked ---- */

static struct route_voter *
voter_of(struct route_request *rq, const struct route_plugin *plugin)
{
    return route_voters_find(&rq->router->voters, plugin->name);
}

/* Nobody has ever said what one that is to join can do: before_request is where it can be missed. */
struct route_traits
route_traits_of(struct router *router, const struct route_plugin *plugin)
{
    static const struct route_traits unknown = {.stages = VOTE_STAGE_BIT(VOTE_BEFORE_REQUEST),
                                                .amends = true};
    uint32_t wanted = plugin->traits.stages;
    if (plugin->is_local) {
        return plugin->traits;
    }
    const struct route_voter *voter = route_voters_find(&router->voters, plugin->name);
    struct route_traits traits = voter->has_said ? voter->said : unknown;
    if (wanted != 0) {
        traits.stages = voter->has_said ? traits.stages & wanted : wanted;
    }
    return traits;
}

static bool
is_asked_at(const struct route_traits *traits, enum vote_stage stage)
{
    bool is_told = stage == VOTE_ON_ERROR || (stage == VOTE_AFTER_REQUEST && traits->watches);
    return (traits->stages & VOTE_STAGE_BIT(stage)) != 0 && !is_told;
}

static void
set_traits(struct route_votes *votes, size_t i, const struct route_traits *traits)
{
    uint32_t bit = 1u << i;
    bool is_alone = traits->charges || traits->amends || traits->answers;
    votes->ballots[i].traits = *traits;
    votes->round.alone = is_alone ? votes->round.alone | bit : votes->round.alone & ~bit;
    if ((traits->needs & ~votes->needs) != 0) {
        votes->needs |= traits->needs;
        vote_facts_unref(&votes->facts); /* they were counted for less */
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
        if (!is_asked_at(&traits, stage)) {
            continue;
        }
        size_t n = votes->round.n++;
        votes->ballots[n] = (struct route_ballot){.plugin = plugin};
        set_traits(votes, n, &traits);
    }
}

/* ---- failures ---- */

/* It stands for what its policy says. */
static void
fail(struct route_request *rq, size_t i, const char *why, struct dyn_slice detail)
{
    struct route_ballot *ballot = &rq->votes->ballots[i];
    const struct route_plugin *plugin = ballot->plugin;
    bool is_open = plugin->fails_open;
    ballot->failure = why;
    ballot->asked = 0;
    rq->votes->round.ballots[i] = is_open ? VOTE_BALLOT_PASSED : VOTE_BALLOT_DENIED;
    note(rq, ballot, is_open ? "open" : "failed", detail.len > 0 ? detail : dyn_slice_str(why));
    uint64_t now_us = bus_loop_now_us(rq->router->loop);
    if (now_us - rq->router->failure_told_us >= 1000000) { /* one that is dead fails with each request */
        rq->router->failure_told_us = now_us;
        dyn_log(DYN_LOG_WARN, "router.plugin.failed", "a plugin failed to vote",
                DYN_LOG_SLICE("plugin", plugin->name),
                DYN_LOG_STR("stage", vote_stage_name(rq->votes->stage)), DYN_LOG_STR("why", why),
                DYN_LOG_SLICE("detail", detail.len > 0 ? detail : DYN_SLICE("-")),
                DYN_LOG_STR("request", is_open ? "goes on" : "is refused"));
    }
}

static void
fail_and_count(struct route_request *rq, size_t i, const char *why, struct dyn_slice detail)
{
    struct route_voter *voter = voter_of(rq, rq->votes->ballots[i].plugin);
    vote_breaker_failed(&voter->breaker, bus_loop_now_us(rq->router->loop));
    fail(rq, i, why, detail);
}

/* ---- asking ---- */

static dyn_block_t *
body_for(struct route_request *rq, const struct route_traits *traits)
{
    struct route_votes *votes = rq->votes;
    const struct env *end = votes->stage == VOTE_AFTER_REQUEST ? rq->inbound : NULL;
    if ((traits->needs & VOTE_NEEDS_BODY) != 0) {
        dyn_block_t *body = end != NULL ? end->body : rq->request->body;
        return body != NULL ? dyn_block_ref(body) : NULL;
    }
    if ((traits->needs & VOTE_NEEDS_TEXT) == 0) {
        return NULL;
    }
    if (votes->texts == NULL) {
        votes->texts = route_vote_texts(rq, end);
    }
    return votes->texts != NULL ? dyn_block_ref(votes->texts) : NULL;
}

static struct env *
ask_envelope(struct route_request *rq, const struct route_ballot *ballot)
{
    const struct route_plugin *plugin = ballot->plugin;
    struct route_votes *votes = rq->votes;
    struct env *ask = env_new(ENV_ASK);
    if (votes->facts == NULL) {
        const struct env *end = votes->stage == VOTE_AFTER_REQUEST ? rq->inbound : NULL;
        votes->facts = route_vote_facts(rq, end, votes->needs);
    }
    ask->id = rq->node.id;
    ask->epoch = ++votes->epoch;
    ask->plugin = env_copy(ask, plugin->name);
    ask->instance = plugin->serial;
    ask->stage = (uint8_t)votes->stage;
    ask->facts_asked = vote_facts_ref(votes->facts);
    ask->body = body_for(rq, &ballot->traits);
    return ask;
}

/* Nobody of that name is there, for now: one that starts, or starts again, may come within its time limit. */
static void
wait_for_one(struct route_request *rq, size_t i)
{
    rq->votes->ballots[i].waits = true;
    rq->votes->round.ballots[i] = VOTE_BALLOT_ASKED;
}

/* The bus knows before it is said here (route_voter_is_gone follows). The ballot stays open: another one is
 * asked, or it is as if nobody were there. */
static void
is_gone(struct route_request *rq, struct route_voter *voter, bus_addr_t addr)
{
    route_voters_drain(&rq->router->voters, addr);
    vote_breaker_abandoned(&voter->breaker);
}

static void
send_ask(struct route_request *rq, size_t i, struct route_voter *voter, bus_addr_t addr)
{
    struct route_ballot *ballot = &rq->votes->ballots[i];
    struct env *env = ask_envelope(rq, ballot);
    struct dyn_err err;
    ballot->epoch = env->epoch;
    if (bus_send(rq->router->me, addr, &env, &err) != 0) {
        env_free(&env);
        if (err.code == DYN_E_GONE && !ballot->plugin->is_local) {
            is_gone(rq, voter, addr);
        } else {
            fail_and_count(rq, i, "it takes no more", dyn_slice(NULL, 0));
        }
        return;
    }
    ballot->times++;
    ballot->asked = addr;
    route_voter_count(voter, addr, +1);
    rq->votes->round.ballots[i] = VOTE_BALLOT_ASKED;
}

static void
ask(struct route_request *rq, size_t i)
{
    struct router *router = rq->router;
    struct route_ballot *ballot = &rq->votes->ballots[i];
    const struct route_plugin *plugin = ballot->plugin;
    struct route_voter *voter = voter_of(rq, plugin);
    bus_addr_t addr = plugin->is_local ? router->options.plugins : route_voter_pick(voter);
    bool is_absent = !plugin->is_local && !route_voter_is_there(voter);
    if (is_absent && !plugin->required) {
        rq->votes->round.ballots[i] = VOTE_BALLOT_PASSED;
        return;
    }
    if (ballot->times == ASKED_MAX || (addr == 0 && !is_absent)) {
        fail(rq, i, addr != 0 ? "those who were asked are gone" : "it takes no more", dyn_slice(NULL, 0));
        return;
    }
    if (!vote_breaker_admits(&voter->breaker, bus_loop_now_us(router->loop))) {
        fail(rq, i, is_absent ? "it is not there" : "its breaker is open", dyn_slice(NULL, 0));
        return;
    }
    if (ballot->asked_us == 0) { /* its time began when it was asked first */
        ballot->asked_us = dyn_mono_us(bus_loop_clock(router->loop));
    }
    if (is_absent) {
        wait_for_one(rq, i);
    } else {
        send_ask(rq, i, voter, addr);
    }
}

static uint64_t
until(const struct route_ballot *ballot)
{
    if (ballot->plugin->traits.shares && ballot->plugin->is_local) {
        return UINT64_MAX; /* the request's deadline */
    }
    return ballot->asked_us + ballot->plugin->timeout_ms * UINT64_C(1000);
}

static void
arm(struct route_request *rq)
{
    const struct route_votes *votes = rq->votes;
    uint64_t first_us = 0;
    for (size_t i = 0; i < votes->round.n; i++) {
        const struct route_ballot *ballot = &votes->ballots[i];
        bool is_open = ballot->asked != 0 || ballot->waits;
        if (is_open && (first_us == 0 || until(ballot) < first_us)) {
            first_us = until(ballot);
        }
    }
    rq->vote_until_us = first_us != UINT64_MAX ? first_us : 0;
    route_arm(rq);
}

/* ---- what follows ---- */

/* A plugin that holds on to the question may let go of it. */
static void
withdraw(struct route_request *rq, struct route_ballot *ballot)
{
    struct env *cancel = env_new(ENV_CANCEL);
    cancel->id = rq->node.id;
    cancel->epoch = ballot->epoch;
    cancel->stage = (uint8_t)rq->votes->stage;
    cancel->instance = ballot->plugin->serial;
    cancel->plugin = env_copy(cancel, ballot->plugin->name);
    if (bus_send(rq->router->me, ballot->asked, &cancel, NULL) != 0) {
        env_free(&cancel);
    }
    route_voter_count(voter_of(rq, ballot->plugin), ballot->asked, -1);
    ballot->asked = 0;
}

void
route_votes_abandon(struct route_request *rq)
{
    struct route_votes *votes = rq->votes;
    rq->vote_until_us = 0;
    for (size_t i = 0; votes != NULL && i < votes->round.n; i++) {
        struct route_ballot *ballot = &votes->ballots[i];
        if (ballot->asked != 0 || ballot->waits) {
            vote_breaker_abandoned(&voter_of(rq, ballot->plugin)->breaker);
        }
        if (ballot->asked != 0) {
            withdraw(rq, ballot);
        }
        ballot->waits = false;
    }
}

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
    bool is_failure = ballot->failure != NULL;
    const char *what = votes->stage == VOTE_BEFORE_REQUEST ? "request" : "response";
    struct dyn_slice reason = vote != NULL ? vote->error_text : dyn_slice(NULL, 0);
    char text[sizeof rq->error_text];
    route_votes_abandon(rq);
    votes->refused_by = name;
    if (is_failure) {
        (void)snprintf(text, sizeof text, "plugin %.*s failed at %s", (int)name.len, name.data,
                       vote_stage_name(votes->stage));
    } else {
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
                ask(rq, i);
            }
            break;
        case VOTE_MOVE_WAIT:
            arm(rq);
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

/* ---- votes ---- */

static void
keep_headers(struct route_request *rq, const struct env *vote)
{
    struct route_votes *votes = rq->votes;
    if (vote->n_headers > 0 && votes->headers == NULL) {
        votes->headers = arena_alloc(&rq->request->arena, ENV_HEADERS_MAX * sizeof *votes->headers);
    }
    for (size_t i = 0; i < vote->n_headers && votes->n_headers < ENV_HEADERS_MAX; i++) {
        votes->headers[votes->n_headers++] = (struct env_header){
            env_copy(rq->request, vote->headers[i].name), env_copy(rq->request, vote->headers[i].value)};
    }
}

/* NULL, or why the vote is nonsense. */
static const char *
take_verdict(struct route_request *rq, size_t i, struct env **vote_p)
{
    struct route_votes *votes = rq->votes;
    struct route_ballot *ballot = &votes->ballots[i];
    uint8_t *state = &votes->round.ballots[i];
    const struct env *vote = *vote_p;
    bool is_before = votes->stage == VOTE_BEFORE_REQUEST;
    switch ((enum vote_verdict)vote->verdict) {
    case VOTE_PASS:
        *state = VOTE_BALLOT_PASSED;
        return NULL;
    case VOTE_AMEND:
        *state = VOTE_BALLOT_PASSED;
        if (!ballot->traits.amends) {
            return "it did not say that it amends";
        }
        return is_before ? route_amend_request(rq, vote) : route_amend_answer(rq, vote);
    case VOTE_ANSWER:
        if (!ballot->traits.answers || !is_before || vote->body == NULL ||
            vote->body->len > ENV_HELD_ANSWER_MAX) {
            return "its answer is of no use here";
        }
        *state = VOTE_BALLOT_ANSWERED;
        break;
    case VOTE_DENY:
        *state = VOTE_BALLOT_DENIED;
        break;
    case VOTE_FAILED:
        return "it said so";
    case VOTE_NONE:
    case VOTE_VERDICT_COUNT:
        return "it gave no verdict";
    }
    ballot->vote = *vote_p;
    *vote_p = NULL;
    return NULL;
}

static void
take(struct route_request *rq, size_t i, struct env **vote_p)
{
    struct route_votes *votes = rq->votes;
    struct route_ballot *ballot = &votes->ballots[i];
    const struct env *vote = *vote_p;
    const char *verdict = vote_verdict_name((enum vote_verdict)vote->verdict);
    struct dyn_slice told = vote->notes.len > 0 ? vote->notes : vote->error_text;
    route_voter_count(voter_of(rq, ballot->plugin), ballot->asked, -1);
    ballot->asked = 0;
    keep_headers(rq, vote);
    if (vote->charged) {
        votes->charged |= 1u << (size_t)(ballot->plugin - votes->plan->plugins);
        if (ballot->plugin->traits.shares && ballot->plugin->is_local) {
            route_share(rq);
        }
    }
    if (vote->verdict == VOTE_DENY && vote->reason.len > 0) {
        dyn_log(DYN_LOG_INFO, "router.plugin.denied", "a plugin refused a request",
                DYN_LOG_SLICE("plugin", ballot->plugin->name), DYN_LOG_SLICE("reason", vote->reason),
                DYN_LOG_SLICE("trace_id", rq->request->trace_id));
    }
    const char *nonsense = take_verdict(rq, i, vote_p);
    vote = ballot->vote != NULL ? ballot->vote : *vote_p;
    if (nonsense != NULL) {
        fail_and_count(rq, i, nonsense, vote->reason);
        return;
    }
    vote_breaker_succeeded(&voter_of(rq, ballot->plugin)->breaker);
    note(rq, ballot, verdict, told);
}

void
route_take_vote(struct route_request *rq, struct env **env_p)
{
    struct route_votes *votes = rq->votes;
    const struct env *vote = *env_p;
    size_t i = 0;
    if (route_gate_take_vote(rq, env_p)) {
        return;
    }
    while (votes != NULL && i < votes->round.n &&
           (votes->ballots[i].asked != vote->from || votes->ballots[i].epoch != vote->epoch)) {
        i++;
    }
    if (votes == NULL || i == votes->round.n) {
        route_late(rq->router);
        return;
    }
    take(rq, i, env_p);
    if (vote_round_next(&votes->round).move != VOTE_MOVE_WAIT) {
        route_run(rq); /* it has waited in the step of the stage */
    }
}

void
route_votes_late(struct route_request *rq)
{
    struct route_votes *votes = rq->votes;
    uint64_t now_us = bus_loop_now_us(rq->router->loop);
    if (route_gate_is_late(rq)) {
        return;
    }
    for (size_t i = 0; i < votes->round.n; i++) {
        struct route_ballot *ballot = &votes->ballots[i];
        if (ballot->asked != 0 && until(ballot) <= now_us) {
            withdraw(rq, ballot);
            fail_and_count(rq, i, "it did not vote in time", dyn_slice(NULL, 0));
        } else if (ballot->waits && until(ballot) <= now_us) {
            ballot->waits = false;
            fail_and_count(rq, i, "it is not there", dyn_slice(NULL, 0));
        }
    }
    route_run(rq);
}

/* ---- processes that are gone ---- */

static bool
has_asked(const struct route_request *rq, const void *addr)
{
    const struct route_votes *votes = rq->votes;
    for (size_t i = 0; votes != NULL && i < votes->round.n; i++) {
        if (votes->ballots[i].asked == *(const bus_addr_t *)addr) {
            return true;
        }
    }
    return false;
}

/* Another one of that name is asked in the time that is left. */
static void
ask_another(struct route_request *rq, const void *addr)
{
    struct route_votes *votes = rq->votes;
    for (size_t i = 0; i < votes->round.n; i++) {
        if (votes->ballots[i].asked == *(const bus_addr_t *)addr) {
            votes->ballots[i].asked = 0;
            votes->round.ballots[i] = VOTE_BALLOT_OPEN;
            vote_breaker_abandoned(&voter_of(rq, votes->ballots[i].plugin)->breaker);
        }
    }
    if (vote_round_next(&votes->round).move != VOTE_MOVE_WAIT) {
        route_run(rq);
    }
}

static bool
is_waiting(const struct route_request *rq, const void *arg)
{
    const struct route_votes *votes = rq->votes;
    (void)arg;
    for (size_t i = 0; votes != NULL && i < votes->round.n; i++) {
        if (votes->ballots[i].waits) {
            return true;
        }
    }
    return false;
}

/* Those whose name nobody has yet go on waiting, in the time that is left. */
static void
ask_again(struct route_request *rq, const void *arg)
{
    struct route_votes *votes = rq->votes;
    (void)arg;
    for (size_t i = 0; i < votes->round.n; i++) {
        struct route_ballot *ballot = &votes->ballots[i];
        if (ballot->waits && route_voter_is_there(voter_of(rq, ballot->plugin))) {
            ballot->waits = false;
            votes->round.ballots[i] = VOTE_BALLOT_OPEN;
            vote_breaker_abandoned(&voter_of(rq, ballot->plugin)->breaker);
        }
    }
    if (vote_round_next(&votes->round).move != VOTE_MOVE_WAIT) {
        route_run(rq);
    }
}

void
route_voter_has_come(struct router *router)
{
    route_sweep(router, is_waiting, ask_again, NULL);
}

void
route_voter_is_gone(struct router *router, bus_addr_t addr)
{
    route_voters_leave(&router->voters, addr);
    route_sweep(router, has_asked, ask_another, &addr);
    route_gates_lost(router, addr);
}

/* ---- what votes have to do with the answer ---- */

void
route_votes_head(const struct route_request *rq, struct env *env)
{
    const struct route_votes *votes = rq->votes;
    for (size_t i = 0; votes != NULL && i < votes->n_headers; i++) {
        env_add_header(env, votes->headers[i].name, votes->headers[i].value);
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

/* ---- the end ---- */

static bool
is_told_at(const struct route_request *rq, size_t i, const struct env *end)
{
    const struct route_votes *votes = rq->votes;
    struct route_traits traits = route_traits_of(rq->router, &route_voting_plan(rq)->plugins[i]);
    bool failed = end->outcome != ENV_OUTCOME_OK;
    bool is_after = (traits.stages & VOTE_STAGE_BIT(VOTE_AFTER_REQUEST)) != 0;
    bool has_charged = votes != NULL && ((votes->charged >> i) & 1);
    if (has_charged || traits.shares) {
        return has_charged;
    }
    return failed ? (traits.stages & VOTE_STAGE_BIT(VOTE_ON_ERROR)) != 0
                  : is_after && (traits.watches || end->stream);
}

static void
tell(struct route_request *rq, size_t i, struct vote_facts *facts, enum vote_stage stage)
{
    const struct route_plugin *plugin = &route_voting_plan(rq)->plugins[i];
    bus_addr_t addr = plugin->is_local ? rq->router->options.plugins : route_voter_pick(voter_of(rq, plugin));
    struct env *ask = env_new(ENV_ASK);
    ask->id = rq->node.id;
    ask->epoch = ++rq->votes->epoch;
    ask->plugin = env_copy(ask, plugin->name);
    ask->instance = plugin->serial;
    ask->stage = (uint8_t)stage;
    ask->tell = true;
    ask->charged = (rq->votes->charged >> i) & 1;
    ask->facts_asked = vote_facts_ref(facts);
    dyn_block_t *answer = plugin->traits.shares && ask->charged ? route_shared_answer(rq) : NULL;
    ask->body = answer != NULL ? dyn_block_ref(answer) : NULL;
    if (addr == 0 || bus_send(rq->router->me, addr, &ask, NULL) != 0) {
        env_free(&ask);
    }
}

void
route_votes_end(struct route_request *rq, const struct env *end)
{
    struct vote_facts *facts = NULL;
    enum vote_stage stage = end->outcome == ENV_OUTCOME_OK ? VOTE_AFTER_REQUEST : VOTE_ON_ERROR;
    route_votes_abandon(rq);
    for (size_t i = 0; i < route_voting_plan(rq)->n_plugins; i++) {
        if (!is_told_at(rq, i, end)) {
            continue;
        }
        if (facts == NULL) {
            (void)route_votes_of(rq);
            facts = route_vote_facts(rq, end, VOTE_NEEDS_COUNTS);
        }
        tell(rq, i, facts, stage);
    }
    vote_facts_unref(&facts);
}
