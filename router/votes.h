/* The votes of one request: who is asked at the stage of the moment, what was said, and what is kept of it
 * for the answer and the event. Lies in the request's arena, and only where its plan has plugins. Private to
 * router/. */
#pragma once

#include "proto/vote_here.h"
#include "router/request.h"

/* More are not told of one by one. */
enum { ROUTE_VOTE_NOTES_MAX = EVENT_PLUGINS_MAX };

/* One plugin at the stage of the moment. */
struct route_ballot {
    const struct route_plugin *plugin;
    struct route_traits traits; /* as it said by then; once it is asked they stay */
    bool waits;         /* nobody is there to be asked: until somebody joins, or its time is over */
    unsigned times;     /* it was asked; more than once when who was asked is gone */
    bus_addr_t asked;   /* who has the ASK; 0: nobody (any more) */
    uint32_t epoch;     /* of the ASK */
    uint64_t asked_us;
    struct env *vote;   /* its denial or answer; else NULL */
    const char *failure; /* why it counts as failed; NULL: it does not */
};

/* What is told of one vote. */
struct route_vote_note {
    struct route_vote_note *before;
    struct event_plugin told;
};

struct route_votes {
    struct route_plan *plan; /* whose plugins vote: that in force when the first was asked. A request that
                              * waits for a member may go on under another one. A reference */
    enum vote_stage stage;
    struct vote_round round;
    struct route_ballot *ballots; /* of the round */
    uint32_t epoch;            /* ASKs made, over all stages */
    uint64_t until_us;         /* when the first of those asked is too late; 0: nobody is */
    uint32_t charged;          /* bit of each of the plan's plugins that took something */
    bus_addr_t *charged_at;    /* whose vote that was, of each; NULL: only those of this cell */
    uint32_t needs;            /* of all who are asked at the stage */
    uint64_t n_said;           /* of the voters, when the traits were taken */
    struct route_facts counted; /* what the walk over the body found */
    bool is_counted;
    struct vote_facts *facts;  /* of the stage, or of the one before; NULL: they have to be made */
    const struct route_plan *facts_plan; /* they were made under it */
    bool has_facts;            /* they are those of the stage */
    bool has_counts;           /* what was counted is in them */
    bool has_end;              /* how it ended, too */
    dyn_block_t *texts;        /* of its body, as a map; made when it is needed first */
    struct vote_text_list *list; /* the same, for those who are asked by a call */
    dyn_block_t *original;     /* the client's body, when a plugin has amended it */
    struct env *answer;        /* the VOTE that answered */
    struct dyn_slice answered_by;
    struct dyn_slice refused_by;
    uint16_t status;           /* of the refusal; 0: that of its row */
    uint32_t retry_after_s;
    struct env_header *headers; /* that votes give the answer; room for ENV_HEADERS_MAX */
    size_t n_headers;
    struct dyn_slice cache_said; /* the value of `x-dynabus-cache` among them */
    struct route_vote_note *notes; /* the last one first */
    size_t n_notes;
};

static inline const struct route_plan *
route_voting_plan(const struct route_request *rq)
{
    return rq->votes != NULL ? rq->votes->plan : rq->plan;
}

/* Whether it is asked about requests with this one's key. */
bool route_plugin_concerns(const struct route_request *rq, const struct route_plugin *plugin);
/* Somebody votes on this request before it is sent, because of its key alone. */
bool route_key_has_votes(const struct route_request *rq);
/* Whether somebody votes at that stage on all requests; one test of a bit. */
#define route_has_votes(rq, stage) ((route_voting_plan(rq)->plugin_stages & VOTE_STAGE_BIT(stage)) != 0)

/* What comes next at that stage: `passed` when all let it pass. */
enum route_step route_votes_run(struct route_request *rq, enum vote_stage stage, enum route_step passed);

/* Made when it is asked for first. */
struct route_votes *route_votes_of(struct route_request *rq) __attribute__((returns_nonnull));
/* For the event: what it said (EVENT_TYPE_VERDICT) at that stage, `asked_us` ago. */
void route_vote_note(struct route_request *rq, const struct route_plugin *plugin, enum vote_stage stage,
                     uint64_t asked_us, unsigned verdict, struct dyn_slice reason);
void route_votes_fini(struct route_request *rq);
/* A VOTE of somebody. */
void route_take_vote(struct route_request *rq, struct env **env_p);
/* Those that have not voted in time have failed. */
void route_votes_late(struct route_request *rq);
/* Nobody is waited for any more. */
void route_votes_abandon(struct route_request *rq);
/* A process that voted is gone. `broken`: it was told to go, what it sent cannot be read. */
void route_voter_is_gone(struct router *router, bus_addr_t addr, bool broken);
/* ... or has joined: questions that wait for it. */
void route_voter_has_come(struct router *router);
/* What the plugin may do, as far as is known now. */
struct route_traits route_traits_of(const struct router *router, const struct route_plugin *plugin);
/* The request has ended so: those that watch, and those that charged, are told. */
void route_votes_end(struct route_request *rq, const struct env *end);
/* A VOTE that took something comes when nobody waits for it any more. */
void route_votes_give_back(struct router *router, const struct env *vote);
/* What votes have to say in the head of an answer. */
void route_votes_head(const struct route_request *rq, struct env *env);
/* What they say of a refusal. */
void route_votes_refusal(const struct route_request *rq, struct env *end);
/* As the event tells them. */
size_t route_votes_tell(const struct route_request *rq, struct event_plugin plugins[ROUTE_VOTE_NOTES_MAX]);

/* ---- plain answers that are looked at (held.c) ---- */

/* Whether somebody is asked about plain answers. */
bool route_holds_answers(const struct route_request *rq);
/* A CHUNK of one; takes it. `rq` may be gone afterwards. */
void route_hold(struct route_request *rq, struct env **chunk_p);
/* The END has to wait behind CHUNKs that could not be looked at: taken then. */
bool route_held_waits(struct route_request *rq, struct env **end_p);
/* The owner has granted more. `rq` may be gone afterwards. */
void route_held_go_on(struct route_request *rq);
/* The END of the attempt is here, as rq->inbound: it gets what was held. */
void route_held_join(struct route_request *rq);
void route_held_drop(struct route_request *rq);

/* ---- what they are told (vote_facts.c) ---- */

/* Of the stage; `end` is NULL before there is one. Kept with the votes: good until it is called again. */
struct vote_facts *route_vote_facts(struct route_request *rq, const struct env *end, uint32_t needs);
/* The texts of the request, or of the answer `end`, as a map. */
dyn_block_t *route_vote_texts(struct route_request *rq, const struct env *end);
/* The same where they stand. */
struct vote_text_list *route_vote_text_list(struct route_request *rq, const struct env *end);
/* The body is another one, or of another stage. */
void route_forget_texts(struct route_votes *votes);

/* ---- what they change (vote_amend.c) ---- */

/* NULL, or why the edits of that VOTE are refused; then nothing has changed. */
const char *route_amend_request(struct route_request *rq, const struct env *vote);
const char *route_amend_answer(struct route_request *rq, const struct env *vote);
/* The END that a VOTE's answer comes to. */
struct env *route_voted_answer(struct route_request *rq, struct env **vote_p);
