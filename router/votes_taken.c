/* Takes the votes of a stage, or sees that none came in time. Those on streams are votes_stream_taken.c. */
#include "router/votes_impl.h"

#include "router/shared.h"

#include "core/log.h"
#include "router/votes_stream.h"

/* What the edge says of each answer itself, and what would speak for the gateway's host to browsers. */
static bool
is_ours(struct dyn_slice name)
{
    static const struct dyn_slice ours[] = {DYN_SLICE_INIT("content-type"),
                                            DYN_SLICE_INIT("content-encoding"),
                                            DYN_SLICE_INIT("date"),
                                            DYN_SLICE_INIT("server"),
                                            DYN_SLICE_INIT("set-cookie"),
                                            DYN_SLICE_INIT("location"),
                                            DYN_SLICE_INIT("retry-after"),
                                            DYN_SLICE_INIT("x-request-id"),
                                            DYN_SLICE_INIT("www-authenticate")};
    enum { LONGEST = sizeof "content-encoding" - 1 };
    for (size_t i = 0; name.len <= LONGEST && i < DYN_ARRAY_LEN(ours); i++) {
        if (dyn_slice_ieq(ours[i], name)) {
            return true;
        }
    }
    return false;
}

static void
keep_headers(struct route_request *rq, const struct env_header *headers, size_t n)
{
    struct route_votes *votes = rq->votes;
    struct env_header kept[ENV_HEADERS_MAX];
    size_t n_kept = 0;
    for (size_t i = 0; i < n && votes->n_headers + n_kept < ENV_HEADERS_MAX; i++) {
        if (!is_ours(headers[i].name)) {
            kept[n_kept++] = headers[i];
        }
    }
    if (n_kept > 0 && votes->headers == NULL) {
        votes->headers = arena_alloc(&rq->request->arena, ENV_HEADERS_MAX * sizeof *votes->headers);
    }
    env_headers_copy(&rq->request->arena, kept, n_kept,
                     n_kept > 0 ? votes->headers + votes->n_headers : NULL);
    for (; n_kept > 0; n_kept--, votes->n_headers++) {
        const struct env_header *header = &votes->headers[votes->n_headers];
        if (votes->cache_said.data == NULL && dyn_slice_is(header->name, "x-dynabus-cache")) {
            votes->cache_said = header->value;
        }
    }
}

static void
keep_charge(struct route_request *rq, const struct route_plugin *plugin, bus_addr_t who)
{
    struct route_votes *votes = rq->votes;
    size_t place = (size_t)(plugin - votes->plan->plugins);
    votes->charged |= 1u << place;
    if (plugin->is_local) {
        if (plugin->traits.shares) {
            route_share(rq);
        }
        return;
    }
    if (votes->charged_at == NULL) {
        votes->charged_at =
            arena_zalloc(&rq->request->arena, votes->plan->n_plugins * sizeof *votes->charged_at);
    }
    votes->charged_at[place] = who;
}

/* A good one, in the language of the request. Those of this process are taken at their word: a cache keeps
 * only what was one. */
static bool
is_answer(const struct route_request *rq, const struct env *vote, bool is_local)
{
    struct env_usage unused = {0};
    bool is_good = vote->status == 0 || vote->status == 200;
    bool is_held = env_body_len(vote) > 0 && vote->body->len <= ENV_HELD_ANSWER_MAX;
    return is_good && is_held &&
           (is_local || rq->dialect->read_answer(dyn_block_slice(vote->body), &unused) >= 0);
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
        if (!ballot->traits.answers || !is_before || !is_answer(rq, vote, ballot->plugin->is_local)) {
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

void
route_ballot_passed(struct route_request *rq, size_t i, struct route_voter *voter,
                    const struct vote_heard *heard)
{
    struct route_ballot *ballot = &rq->votes->ballots[i];
    keep_headers(rq, heard->headers, heard->n_headers);
    if (heard->charged) {
        keep_charge(rq, ballot->plugin, 0);
    }
    vote_breaker_succeeded(&voter->breaker);
    rq->votes->round.ballots[i] = VOTE_BALLOT_PASSED;
    route_ballot_note(rq, ballot, VOTE_PASS, heard->notes);
}

void
route_ballot_take(struct route_request *rq, size_t i, struct env **vote_p)
{
    struct route_votes *votes = rq->votes;
    struct route_ballot *ballot = &votes->ballots[i];
    const struct env *vote = *vote_p;
    unsigned verdict = vote->verdict;
    struct dyn_slice told = vote->notes.len > 0 ? vote->notes : vote->error_text;
    route_voter_count(route_ballot_voter(rq, ballot->plugin), ballot->asked, -1);
    ballot->asked = 0;
    keep_headers(rq, vote->headers, vote->n_headers);
    if (vote->charged) {
        keep_charge(rq, ballot->plugin, vote->from);
    }
    if (vote->verdict == VOTE_DENY && vote->reason.len > 0) {
        dyn_log(DYN_LOG_INFO, "router.plugin.denied", "a plugin refused a request",
                DYN_LOG_SLICE("plugin", ballot->plugin->name), DYN_LOG_SLICE("reason", vote->reason),
                DYN_LOG_SLICE("trace_id", rq->request->trace_id));
    }
    vote_breaker_succeeded(&route_ballot_voter(rq, ballot->plugin)->breaker);
    const char *nonsense = take_verdict(rq, i, vote_p);
    vote = ballot->vote != NULL ? ballot->vote : *vote_p;
    if (nonsense != NULL) {
        route_ballot_fail(rq, i, nonsense, vote->reason);
        return;
    }
    route_ballot_note(rq, ballot, verdict, told);
}

/* Said before, so it will be told how the request ends. */
static bool
has_charged(const struct route_votes *votes, const struct env *vote)
{
    for (size_t i = 0; votes != NULL && i < votes->plan->n_plugins; i++) {
        if ((votes->charged >> i & 1) != 0 && dyn_slice_eq(votes->plan->plugins[i].name, vote->plugin)) {
            return true;
        }
    }
    return false;
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
        if (vote->charged && !has_charged(votes, vote)) {
            route_votes_give_back(rq->router, vote);
        }
        return;
    }
    route_ballot_take(rq, i, env_p);
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
        if (ballot->asked != 0 && route_ballot_until_us(ballot) <= now_us) {
            route_ballot_withdraw(rq, ballot);
            route_ballot_fail_late(rq, i, "it did not vote in time");
        } else if (ballot->waits && route_ballot_until_us(ballot) <= now_us) {
            ballot->waits = false;
            route_ballot_fail_late(rq, i, "it is not there");
        }
    }
    route_run(rq);
}
