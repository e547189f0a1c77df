/* What is told of votes: to the event of the request, and to plugins when it has ended. */
#include "router/votes_impl.h"

#include "router/shared.h"

void
route_vote_note(struct route_request *rq, const struct route_plugin *plugin, enum vote_stage stage,
                uint64_t asked_us, unsigned verdict, struct dyn_slice reason)
{
    struct route_votes *votes = rq->votes;
    if (votes->n_notes == ROUTE_VOTE_NOTES_MAX) {
        return;
    }
    struct route_vote_note *note = arena_alloc(&rq->request->arena, sizeof *note);
    uint64_t now_us = route_clock_us(rq->router);
    *note = (struct route_vote_note){
        .before = votes->notes,
        .told = {.name = plugin->name,
                 .stage = stage,
                 .verdict = verdict,
                 .reason = reason.len > 0 ? env_copy(rq->request, reason) : dyn_slice(NULL, 0),
                 .us = asked_us != 0 && now_us > asked_us ? now_us - asked_us : 0},
    };
    votes->notes = note;
    votes->n_notes++;
}

void
route_ballot_note(struct route_request *rq, const struct route_ballot *ballot, unsigned verdict,
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
        plugins[--i] = note->told;
    }
    return n;
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
    bool was_shown = votes != NULL && votes->answered_by.len > 0; /* whole, before it was made a stream */
    if (has_charged || traits.shares) {
        return has_charged;
    }
    return failed ? (traits.stages & VOTE_STAGE_BIT(VOTE_ON_ERROR)) != 0
                  : is_after && (traits.watches || (end->stream && !was_shown));
}

static void
call(struct route_request *rq, size_t i, const struct vote_here *here, struct vote_facts *facts,
     enum vote_stage stage)
{
    const struct route_plugin *plugin = &route_voting_plan(rq)->plugins[i];
    struct vote_heard unused;
    struct vote_question told = {.id = rq->node.id,
                                 .epoch = ++rq->votes->epoch,
                                 .stage = stage,
                                 .instance = plugin->serial,
                                 .from = bus_actor_addr(rq->router->me),
                                 .facts = facts,
                                 .tell = true,
                                 .charged = (rq->votes->charged >> i) & 1};
    told.body = plugin->traits.shares && told.charged ? route_shared_answer(rq) : NULL;
    (void)here->ask(here->self, &told, &unused);
    route_clock_forget(rq->router);
}

static void
tell(struct route_request *rq, size_t i, struct vote_facts *facts, enum vote_stage stage)
{
    const struct route_plugin *plugin = &route_voting_plan(rq)->plugins[i];
    const struct vote_here *here = route_votes_here(rq, plugin);
    if (here != NULL) {
        call(rq, i, here, facts, stage);
        return;
    }
    struct route_voter *voter = route_ballot_voter(rq, plugin);
    bus_addr_t first = rq->votes->charged_at != NULL ? rq->votes->charged_at[i] : 0;
    bus_addr_t addr =
        plugin->is_local ? rq->router->options.plugins : route_voter_listener(voter, stage, first);
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

/* Nobody waits for that vote any more, so nobody would tell it how the request ended. To it, it was refused:
 * what it took comes back. */
void
route_votes_give_back(struct router *router, const struct env *vote)
{
    struct env *ask = env_new(ENV_ASK);
    ask->id = vote->id;
    ask->epoch = vote->epoch;
    ask->plugin = env_copy(ask, vote->plugin);
    ask->instance = vote->from == router->options.plugins ? vote->instance : 0;
    ask->stage = VOTE_ON_ERROR;
    ask->tell = true;
    ask->charged = true;
    ask->facts_asked = vote_facts_new();
    ask->facts_asked->refused = true;
    if (bus_send(router->me, vote->from, &ask, NULL) != 0) {
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
            rq->votes->has_facts = false;
        }
        tell(rq, i, facts, stage);
    }
}
