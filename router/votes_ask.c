/* Asks the plugins of a stage, those that are waited for, and those asked again because a process is gone;
 * and what becomes of a ballot that fails. */
#include "router/votes_impl.h"

#include "core/log.h"
#include "router/votes_stream.h"

/* How often one plugin is asked when those who were asked are gone. */
enum { ASKED_MAX = 3 };

struct route_voter *
route_ballot_voter(struct route_request *rq, const struct route_plugin *plugin)
{
    return route_voters_find(&rq->router->voters, plugin->name);
}

/* ---- failures ---- */

/* It stands for what its policy says. */
void
route_ballot_fail(struct route_request *rq, size_t i, const char *why, struct dyn_slice detail)
{
    struct route_ballot *ballot = &rq->votes->ballots[i];
    const struct route_plugin *plugin = ballot->plugin;
    bool is_open = plugin->fails_open;
    ballot->failure = why;
    ballot->asked = 0;
    rq->votes->round.ballots[i] = is_open ? VOTE_BALLOT_PASSED : VOTE_BALLOT_DENIED;
    route_ballot_note(rq, ballot, is_open ? EVENT_VERDICT_OPEN : VOTE_FAILED,
                      detail.len > 0 ? detail : dyn_slice_str(why));
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

void
route_ballot_fail_late(struct route_request *rq, size_t i, const char *why)
{
    struct route_voter *voter = route_ballot_voter(rq, rq->votes->ballots[i].plugin);
    vote_breaker_failed(&voter->breaker, bus_loop_now_us(rq->router->loop));
    route_ballot_fail(rq, i, why, dyn_slice(NULL, 0));
}

/* ---- asking ---- */

/* The answer that is asked about; NULL: it is the request. */
static const struct env *
end_of(const struct route_request *rq)
{
    return rq->votes->stage == VOTE_AFTER_REQUEST ? rq->inbound : NULL;
}

/* Borrowed. */
static dyn_block_t *
body_for(struct route_request *rq, const struct route_traits *traits)
{
    struct route_votes *votes = rq->votes;
    const struct env *end = end_of(rq);
    if ((traits->needs & VOTE_NEEDS_BODY) != 0) {
        return end != NULL ? end->body : rq->request->body;
    }
    if ((traits->needs & VOTE_NEEDS_TEXT) == 0) {
        return NULL;
    }
    if (votes->texts == NULL) {
        votes->texts = route_vote_texts(rq, end);
    }
    return votes->texts;
}

static struct vote_facts *
facts_for(struct route_request *rq)
{
    struct route_votes *votes = rq->votes;
    if (!votes->has_facts) {
        (void)route_vote_facts(rq, end_of(rq), votes->needs);
        votes->has_facts = true;
    }
    return votes->facts;
}

static struct env *
ask_envelope(struct route_request *rq, const struct route_ballot *ballot)
{
    const struct route_plugin *plugin = ballot->plugin;
    struct route_votes *votes = rq->votes;
    dyn_block_t *body = body_for(rq, &ballot->traits);
    struct env *ask = env_new(ENV_ASK);
    ask->id = rq->node.id;
    ask->epoch = ++votes->epoch;
    ask->plugin = env_copy(ask, plugin->name);
    ask->instance = plugin->serial;
    ask->stage = (uint8_t)votes->stage;
    ask->facts_asked = vote_facts_ref(facts_for(rq));
    ask->body = body != NULL ? dyn_block_ref(body) : NULL;
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
    const struct route_traits *said = route_voter_traits(voter, addr);
    if (said != NULL) { /* others of its name may say other things */
        ballot->traits.needs = said->needs;
        ballot->traits.amends = said->amends;
        ballot->traits.answers = said->answers;
    }
    struct env *env = ask_envelope(rq, ballot);
    struct dyn_err err;
    ballot->epoch = env->epoch;
    if (bus_send(rq->router->me, addr, &env, &err) != 0) {
        env_free(&env);
        if (err.code == DYN_E_GONE && !ballot->plugin->is_local) {
            is_gone(rq, voter, addr);
        } else {
            route_ballot_fail_late(rq, i, "it takes no more");
        }
        return;
    }
    ballot->times++;
    ballot->asked = addr;
    route_voter_count(voter, addr, +1);
    rq->votes->round.ballots[i] = VOTE_BALLOT_ASKED;
}

/* It has the question, and waits for something itself. */
static void
votes_later(struct route_request *rq, size_t i, bus_addr_t addr, uint32_t epoch)
{
    struct route_ballot *ballot = &rq->votes->ballots[i];
    ballot->epoch = epoch;
    ballot->times++;
    ballot->asked = addr;
    rq->votes->round.ballots[i] = VOTE_BALLOT_ASKED;
}

/* Of this loop: it has voted when the call returns, or will do so. */
static void
call(struct route_request *rq, size_t i, const struct vote_here *here, struct route_voter *voter,
     bus_addr_t addr)
{
    struct route_votes *votes = rq->votes;
    struct route_ballot *ballot = &votes->ballots[i];
    const struct route_traits *traits = &ballot->traits;
    bool lists = traits->lists && (traits->needs & VOTE_NEEDS_TEXT) != 0;
    struct vote_facts *facts = facts_for(rq); /* they say how late it is */
    if (lists && votes->list == NULL) {
        votes->list = route_vote_text_list(rq, end_of(rq));
    }
    struct vote_heard heard = {.vote = NULL};
    struct vote_question question = {.id = rq->node.id,
                                     .epoch = ++votes->epoch,
                                     .stage = votes->stage,
                                     .instance = ballot->plugin->serial,
                                     .from = bus_actor_addr(rq->router->me),
                                     .facts = facts,
                                     .body = lists ? NULL : body_for(rq, traits),
                                     .texts = lists ? votes->list : NULL};
    enum vote_here_said said = here->ask(here->self, &question, &heard);
    route_clock_forget(rq->router);
    switch (said) {
    case VOTE_HERE_PASSED:
        route_ballot_passed(rq, i, voter, &heard);
        return;
    case VOTE_HERE_VOTED:
        route_ballot_take(rq, i, &heard.vote);
        env_free(&heard.vote);
        return;
    case VOTE_HERE_LATER:
        votes_later(rq, i, addr, question.epoch);
        return;
    case VOTE_HERE_ABSENT:
        vote_breaker_succeeded(&voter->breaker);
        route_ballot_fail(rq, i, "it said so", DYN_SLICE("not here"));
        return;
    }
}

/* NULL: envelopes are sent. */
const struct vote_here *
route_votes_here(const struct route_request *rq, const struct route_plugin *plugin)
{
    const struct vote_here *here = rq->router->options.here;
    return plugin->is_local && plugin->serial != 0 && here != NULL && here->ask != NULL ? here : NULL;
}

void
route_ballot_ask(struct route_request *rq, size_t i)
{
    struct router *router = rq->router;
    struct route_ballot *ballot = &rq->votes->ballots[i];
    const struct route_plugin *plugin = ballot->plugin;
    struct route_voter *voter = route_ballot_voter(rq, plugin);
    enum vote_stage stage = rq->votes->stage;
    bus_addr_t addr = plugin->is_local ? router->options.plugins : route_voter_pick(voter, stage);
    bool is_absent = !plugin->is_local && !route_voter_is_there(voter, stage);
    if (is_absent && !plugin->required) {
        rq->votes->round.ballots[i] = VOTE_BALLOT_PASSED;
        return;
    }
    if (ballot->times == ASKED_MAX || (addr == 0 && !is_absent)) {
        route_ballot_fail(rq, i, addr != 0 ? "those who were asked are gone" : "it takes no more",
                          dyn_slice(NULL, 0));
        return;
    }
    if (!vote_breaker_admits(&voter->breaker, bus_loop_now_us(router->loop))) {
        route_ballot_fail(rq, i, is_absent ? "it is not there" : "its breaker is open", dyn_slice(NULL, 0));
        return;
    }
    if (ballot->asked_us == 0) { /* its time began when it was asked first */
        ballot->asked_us = route_clock_us(router);
    }
    const struct vote_here *here = route_votes_here(rq, plugin);
    if (is_absent) {
        wait_for_one(rq, i);
    } else if (here != NULL) {
        call(rq, i, here, voter, addr);
    } else {
        send_ask(rq, i, voter, addr);
    }
}

uint64_t
route_ballot_until_us(const struct route_ballot *ballot)
{
    if (ballot->plugin->traits.shares && ballot->plugin->is_local) {
        return UINT64_MAX; /* the request's deadline */
    }
    return ballot->asked_us + ballot->plugin->timeout_ms * UINT64_C(1000);
}

void
route_ballots_arm(struct route_request *rq)
{
    const struct route_votes *votes = rq->votes;
    uint64_t first_us = 0;
    for (size_t i = 0; i < votes->round.n; i++) {
        const struct route_ballot *ballot = &votes->ballots[i];
        bool is_open = ballot->asked != 0 || ballot->waits;
        if (is_open && (first_us == 0 || route_ballot_until_us(ballot) < first_us)) {
            first_us = route_ballot_until_us(ballot);
        }
    }
    rq->vote_until_us = first_us != UINT64_MAX ? first_us : 0;
    route_arm(rq);
}

/* A plugin that holds on to the question may let go of it. */
void
route_ballot_withdraw(struct route_request *rq, struct route_ballot *ballot)
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
    route_voter_count(route_ballot_voter(rq, ballot->plugin), ballot->asked, -1);
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
            vote_breaker_abandoned(&route_ballot_voter(rq, ballot->plugin)->breaker);
        }
        if (ballot->asked != 0) {
            route_ballot_withdraw(rq, ballot);
        }
        ballot->waits = false;
    }
}

/* ---- processes that are gone ---- */

struct gone_voter {
    bus_addr_t addr;
    bool broken;
};

static bool
has_asked(const struct route_request *rq, const void *arg)
{
    const struct gone_voter *gone = arg;
    const struct route_votes *votes = rq->votes;
    for (size_t i = 0; votes != NULL && i < votes->round.n; i++) {
        if (votes->ballots[i].asked == gone->addr) {
            return true;
        }
    }
    return false;
}

/* Another one of that name is asked in the time that is left. Who was lost may come again within it; who sent
 * what cannot be read has voted so, for all that is known. */
static void
ask_another(struct route_request *rq, const void *arg)
{
    const struct gone_voter *gone = arg;
    struct route_votes *votes = rq->votes;
    for (size_t i = 0; i < votes->round.n; i++) {
        if (votes->ballots[i].asked != gone->addr) {
            continue;
        }
        struct route_voter *voter = route_ballot_voter(rq, votes->ballots[i].plugin);
        votes->ballots[i].asked = 0;
        if (gone->broken && !route_voter_is_there(voter, votes->stage)) {
            route_ballot_fail_late(rq, i, "what it sent cannot be read");
        } else {
            votes->round.ballots[i] = VOTE_BALLOT_OPEN;
            vote_breaker_abandoned(&voter->breaker);
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

/* Those whose name nobody has yet wait again, in the time that is left. */
static void
ask_again(struct route_request *rq, const void *arg)
{
    struct route_votes *votes = rq->votes;
    (void)arg;
    for (size_t i = 0; i < votes->round.n; i++) {
        struct route_ballot *ballot = &votes->ballots[i];
        if (ballot->waits) {
            ballot->waits = false;
            votes->round.ballots[i] = VOTE_BALLOT_OPEN;
            vote_breaker_abandoned(&route_ballot_voter(rq, ballot->plugin)->breaker);
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
route_voter_is_gone(struct router *router, bus_addr_t addr, bool broken)
{
    struct gone_voter gone = {addr, broken};
    route_voters_leave(&router->voters, addr);
    route_sweep(router, has_asked, ask_another, &gone);
    route_gates_lost(router, addr);
}
