/* One request in the router, from REQUEST to END. Private to router/. */
#pragma once

#include "bus/bus.h"
#include "models/cost.h"
#include "proto/dialects/dialect.h"
#include "proto/env_map.h"
#include "proto/event.h"
#include "router/members.h"
#include "router/pick.h"
#include "router/retry.h"
#include "router/router.h"
#include "router/voters.h"

struct route_votes;
struct route_gated;
struct route_shared;

enum route_step {
#define STEP(name, function) ROUTE_STEP_##name,
#include "router/steps.def"
#undef STEP
    ROUTE_STEP_COUNT,
    ROUTE_STEP_PARKED /* waits for the world; what comes resumes at the step that parked */
};

/* After a CANCEL the provider answers within a turn; this is for one that does not. */
enum { ROUTE_CANCEL_GRACE_MS = 1000 };
/* Events of ended requests wait so long, or until there are so many (of about 1 KB each) or so many bytes,
 * for others to go with them: four threads and whoever listens wake for each batch. */
enum { ROUTE_EVENTS_MS = 25, ROUTE_EVENTS_MAX = 128, ROUTE_EVENTS_BYTES = 256 * 1024 };
/* Attempts of one request in flight: the second one is a hedge. */
enum { ROUTE_FLIGHTS_MAX = 2 };
/* Dispatches that are told of one by one; of more only the number is. */
enum { ROUTE_NOTES_MAX = EVENT_ATTEMPTS_MAX };

struct router {
    struct router_options options;
    struct router_counters own_counters;
    bus_actor_t *me;
    bus_loop_t *loop;
    struct route_members members;
    struct env_map requests;
    struct dyn_list parked; /* requests that wait for a member of their target */
    struct dyn_list spare;  /* requests to use again, at most ROUTE_SPARE_MAX */
    size_t n_spare;
    struct bus_keeper spare_keeper;
    struct dyn_rng rng;
    struct route_budget retries; /* at the same target */
    struct route_budget hedges;
    struct catalogue_memo *prices; /* of models that were asked lately */
    /* Each look into `prices` is followed by one at this, so that both are of the same catalogue. */
    struct route_last_cost {
        const struct catalogue *catalogue; /* NULL: none yet */
        const struct catalogue_model *model;
        struct cost_usage usage;
        struct cost cost;
    } last_cost;
    struct route_target_view seen[ROUTE_TARGETS_MAX]; /* of the decision of the moment */
    route_memo_t *memo;
    uint64_t failure_told_us; /* when a plugin's failure was last logged */
    uint64_t limit_told_us; /* when a rule was last logged whose search was given up */
    struct route_voters voters;
    struct route_member ledger;  /* who answers the surface `ledger`, likewise */
    struct route_member metrics; /* who answers the surface `metrics`, in the form of a member */
    uint64_t refusals_paid_us;      /* of operators that were not let in: when the next one may be noted */
    struct route_member keys_admin; /* ... and `admin`, what is about keys */
    struct route_member logs_admin; /* ... and what is about logs */
    struct key_cell keys;
    uint64_t started_us;
    uint64_t run_us; /* route_clock_us() */
    bool has_warned_of_configs;
    struct dyn_buf events; /* of ended requests, that go to who publishes them: proto/event_batch.h */
    struct dyn_buf event_lists; /* of the one that is written; keeps its memory */
    size_t n_events;
    struct bus_timer events_due;
    bool is_draining;
    bool is_cut; /* the drain's time is nearly over: what still comes is refused */
    uint64_t drain_until_us;
    struct bus_timer drain;
    uint32_t grace_ms; /* after a CANCEL */
    size_t n_orphans;  /* requests that go on without an owner */
};

/* What is told of a dispatch when the request has ended. */
struct route_note {
    struct route_note *next;
    struct dyn_slice target; /* absent: it was for the process itself */
    struct dyn_slice provider;
    struct dyn_slice worker;
    enum err_code error; /* ERR_NONE: it answered, or is in flight */
    uint16_t status;     /* of the upstream's answer, else of ours */
    uint64_t started_us;
    uint64_t ttft_us;    /* after the dispatch; 0: nothing came */
    uint64_t total_us;
    uint32_t calls;
    struct env_usage usage; /* as its END said */
    bool is_hedge;
    bool is_redelivery;
    bool is_hidden; /* a failure that was followed by another attempt */
    bool is_loser;  /* the other one answered first */
};

/* One dispatch: what a member was sent, and what came back of it. */
struct route_attempt {
    struct route_member *member; /* who has it; NULL: it is over, or has not begun */
    const struct route_target *target;
    uint32_t number;
    uint32_t epoch;
    uint32_t tries;            /* at `target` before it, those for another credential left out */
    uint32_t credential_tries; /* at `target` before it, since a credential failed */
    uint64_t started_us;
    uint64_t until_us;           /* 0: the deadline bounds it */
    enum err_code cancelled_for; /* why it alone was told to stop; ERR_NONE: it was not */
    uint64_t grace_until_us;     /* it was told to stop, and is over then; 0: it was not told */
    bool is_loser;               /* the other one's answer has begun */
    uint64_t bytes;              /* of the body, in the member's budget */
    uint64_t window;             /* granted to it and not used up */
    uint64_t passed;             /* bytes of its CHUNKs that went to the owner */
    uint32_t next_sequence;      /* of its CHUNKs */
    bool is_sent;                /* the worker said: bytes have reached an upstream */
    bool is_stream;              /* the answer is one */
    bool is_held;                /* it is plain, and plugins look at it before its owner does (held.c) */
    bool is_cut_short;           /* CHUNKs of it were not passed on, since it had been told to stop */
    uint16_t status;             /* that the first CHUNK carried; 0: none came */
    struct route_note *note;
};

struct route_request {
    struct env_map_node node; /* by request id */
    struct dyn_list link;     /* in `spare`, or in the list of a sweep */
    struct dyn_list parked_link;
    struct router *router;
    struct route_plan *plan; /* that it began under */
    enum route_step step;

    struct env *request;   /* kept, with its body, until the answer has begun */
    struct env *successor; /* the same request sent again by its owner: follows when the attempt is over */
    bus_addr_t owner;      /* 0: it is gone */
    struct dyn_slice key_id;
    struct key_view *key_view;    /* keeps `key`, and key_id of a key */
    const struct key_record *key; /* NULL: the master key, or none was needed */
    uint32_t scopes;
    bool is_barred; /* targets would serve the model, but none that its key may use */
    const struct dialect_ops *dialect;
    struct dialect_request facts; /* borrows from request */
    struct json_places places;    /* of its body; none where nobody will look at what is in it */
    struct dyn_slice asked_model; /* as the client wrote it */
    struct dyn_slice model;       /* an alias is replaced */
    bool is_probe; /* health and readiness: no admission, no log, no event */

    uint64_t started_us;
    uint64_t deadline_us;
    uint64_t parked_until_us;  /* 0: it does not wait for a member */
    uint64_t backoff_until_us; /* 0: it does not wait before another try */
    uint64_t hedge_at_us;      /* 0: no second attempt is planned */
    uint64_t vote_until_us;    /* when a plugin that is asked is too late; 0: none is asked */
    struct bus_timer timer;    /* of whichever comes first */

    struct route_set candidates;
    struct route_order order;
    size_t next_target;                /* index in order */
    const struct route_target *target; /* of the last dispatch, or the one to be */
    bool has_walked;                   /* the walk has begun, under this plan or an earlier one */
    bool is_at_target;                 /* the next dispatch goes to `target` again */
    bool is_target_tried;              /* an attempt was used up at `target` */
    bool has_waited;                   /* for a member of `target`, in vain */
    uint32_t targets_tried;
    uint32_t tries;            /* at `target`, those for another credential left out */
    uint32_t credential_tries; /* at `target`, since a credential failed */
    uint32_t soonest_ms;       /* when the first of the targets that refused takes calls again; 0: unknown */

    struct route_attempt flights[ROUTE_FLIGHTS_MAX];
    struct route_attempt *now; /* the one that the step is about: to be dispatched, in flight, or just over */
    bus_addr_t last_worker;    /* who had the last one that is over; 0: none, or it was of this process */
    bus_addr_t avoid;          /* handed it back: another one shall have it */
    uint32_t attempt;          /* number of the next dispatch, or of the one in flight */
    uint32_t epoch;
    uint32_t attempts;    /* the highest number that was dispatched; 0: none was */
    uint32_t lost;        /* dispatches whose process was lost */
    uint32_t handed_back; /* dispatches that a worker did not take */
    uint32_t redelivered; /* dispatches after those */
    uint32_t hedges;      /* second attempts that were begun */
    bool is_attached;     /* the dispatch asks the worker for a call that it may have */
    bool is_full;         /* a target was passed over since all of its members were at their budget */
    uint32_t calls;       /* upstream calls of what is over */
    uint64_t upstream_us; /* time of what is over, until the last byte */
    struct env *failed;   /* END of the last attempt that failed */
    struct route_note first_note; /* of the first dispatch; the others lie in the request's arena */
    struct route_note *last_note; /* NULL: there was none */
    size_t n_notes;

    struct dyn_list held;    /* CHUNKs of a plain answer that plugins are to look at */
    size_t held_bytes;
    struct env *held_end;    /* that comes behind those that could not be looked at, and wait for credit */
    struct route_votes *votes; /* NULL: nobody was asked (votes.h) */
    struct route_shared *shared; /* NULL: nobody else waits for its answer (shared.h) */
    struct route_gated *gated; /* NULL: no stream is voted on (votes_stream.h) */

    uint64_t window;        /* granted by the owner and not used up by CHUNKs that it got */
    bool has_leftovers;     /* the owner holds CHUNKs of a dispatch that is over */

    struct env *inbound; /* CHUNK or END that the next step looks at, of `now` */
    size_t told_bytes;   /* of its body, when it is long and goes as CHUNKs */
    struct env *told;    /* the END that the owner got, without its body, while a loser is waited for */
    bool begun;          /* in the sense of 01-ENVELOPE: nothing can be sent again */
    enum err_code cancelled_for; /* why all of it was cancelled; ERR_NONE: it was not */
    bool has_gap;                /* a CHUNK could not be passed on, so the answer can't end well any more */
    uint64_t first_chunk_us;     /* 0: none yet */
    enum err_code error;         /* why it fails */
    char error_text[256];
    char error_param[80];
};

#define STEP(name, function) enum route_step route_step_##function(struct route_request *rq);
#include "router/steps.def"
#undef STEP

/* Runs steps until one has to wait. `rq` may be gone afterwards. */
void route_run(struct route_request *rq);
/* The loop's own time stands still while it works; this one goes on. Steps of one run share a look at the
 * clock, which costs as much as a vote: between them lies only code that does not take long. Outside of a run
 * it is looked at each time. */
uint64_t route_clock_us(struct router *router);
/* What was called may have taken long. */
void route_clock_forget(struct router *router);
void route_resume(struct route_request *rq, enum route_step step);
/* The request fails: what the owner is told. `text` may be NULL: the row's sentence. */
enum route_step route_fail(struct route_request *rq, enum err_code error, const char *text,
                           const char *param);
/* ---- who may do what (admit.c) ---- */

/* Who a REQUEST is of. */
struct admission_verdict route_judge(struct router *router, const struct env *request);
/* As the client wrote it, or what that is an alias of. */
bool route_may_use_model(const struct route_request *rq);
/* Takes the targets out that its key may not use; rq->is_barred: none is left. */
void route_bar_targets(struct route_request *rq, struct route_candidacy *found);
bool route_may_use_target(const struct route_request *rq, const struct route_target *target);
/* `surface: admin`: hands it to who knows. */
enum route_step route_ask_admin(struct route_request *rq);
/* Notes who was not let in that wanted to change keys; nothing for anybody else. */
void route_audit_refusal(struct route_request *rq, enum err_code refused);
/* The error that route_gather_facts() means. */
enum err_code route_facts_refusal(const struct dyn_err *err);

/* ---- what the decision is given (pick.c) ---- */

void route_find_candidates(struct route_request *rq, struct route_candidacy *found);
/* How the candidates fare, as far as the plan wants to know. Good until the next request is looked at. */
void route_look_around(struct route_request *rq, const struct route_candidacy *found,
                       struct route_view *view);
/* -1 with DYN_E_GONE: its key may not name targets; DYN_E_LIMIT: not those; else: it names one that is not
 * there. */
int route_gather_facts(struct route_request *rq, struct route_facts *facts, struct dyn_err *err);

int route_pass_to_owner(struct route_request *rq, struct env **env_p, struct dyn_err *err);
/* What the owner may know of who answers. */
void route_name_answerer(const struct route_request *rq, struct env *env);
/* Log line and event. */
void route_report(const struct route_request *rq, const struct env *end);
/* Events wait a moment for others to go with them. */
void route_event_keep(struct router *router, const struct event_record *record);
void route_events_flush(struct router *router);
void route_events_due(struct bus_timer *timer);
/* The END with the answer to a question that the router answers itself. */
struct env *route_local_answer(const struct route_request *rq);
/* GET /v1/models shows it. */
bool route_model_is_listed(struct route_members *members, struct dyn_slice model);

/* ---- an answer of this process that no END can hold (long_answer.c) ---- */

bool route_is_long(const struct env *end);
/* Of `inbound`, as much as its owner has granted; REPLY follows when all of it is told. */
enum route_step route_tell_long(struct route_request *rq);
/* It waits for CREDIT. */
bool route_long_waits(const struct route_request *rq);

/* ---- requests of a router (router.c) ---- */

/* The successor takes the place of the request that is over. */
void route_succeed(struct route_request *rq);
void route_request_free(struct route_request *rq);
/* Calls `fn` for each request that `match` is true for; fn may end that one. */
void route_sweep(struct router *router, bool (*match)(const struct route_request *rq, const void *arg),
                 void (*fn)(struct route_request *rq, const void *arg), const void *arg);
/* Counts an envelope that matches nothing. */
void route_late(struct router *router);
static inline void
route_show(atomic_uint_fast64_t *gauge, size_t number)
{
    atomic_store_explicit(gauge, number, memory_order_relaxed);
}

/* ---- the walker (walker.c) ---- */

/* First attempt and epoch, and the worker that may have the call already. */
void route_walk_begin(struct route_request *rq);
/* Of two that were in flight it is the one whose answer is waited for: what follows it follows there. */
void route_walk_goes_on_with(struct route_request *rq, struct route_attempt *attempt);
/* Goes to the next target of the order, if there is one and the budget allows it. */
bool route_next_target(struct route_request *rq);
void route_timer_fired(struct bus_timer *timer);
/* `surface: ledger`: hands it to who keeps, when it is one that may be asked from outside. */
enum route_step route_ask_ledger(struct route_request *rq);
/* `surface: metrics`: hands it to who counts. */
enum route_step route_ask_metrics(struct route_request *rq);

/* ---- one dispatch (dispatch.c) ---- */

/* Sends it to the member as `now`, which is not in flight. -1: the member takes nothing (any more). */
int route_dispatch(struct route_request *rq, struct route_member *member, struct dyn_err *err);
/* Nobody works on it any more. */
void route_dispatch_is_over(struct route_request *rq, struct route_attempt *attempt);
/* Ends all that is in flight with CANCEL; ENDs come later, and what the owner is told then is `why`. Nothing
 * follows any more. Does nothing when it was cancelled already. Nothing in flight: fails at once, and `rq`
 * may be gone. */
void route_cancel(struct route_request *rq, enum err_code why, const char *reason);
/* Ends one attempt; another one may follow. */
void route_stop_attempt(struct route_request *rq, struct route_attempt *attempt, enum err_code why,
                        const char *reason);
/* The router grants it more, in its owner's stead. */
void route_grant(struct route_request *rq, struct route_attempt *flight, uint32_t bytes);
/* So much more may go to the owner. `rq` may be gone afterwards. */
void route_credit(struct route_request *rq, uint32_t bytes);
/* The owner granted more. */
void route_take_credit(struct route_request *rq, struct env **credit_p);
/* DISPATCHED once more, to an owner that has just become it, or whose answer comes from another worker. */
void route_tell_owner(struct route_request *rq);

/* What the request asks for, else the policy of the target (may be NULL); the other one: of `now`. */
enum route_redeliver route_redeliver_at(const struct route_request *rq, const struct route_target *target);
enum route_redeliver route_redeliver_of(const struct route_request *rq);
/* For all that is known, bytes of the dispatch have reached an upstream. */
bool route_may_have_called(const struct route_request *rq, const struct route_attempt *attempt);
/* What was passed on can be taken back, and policy allows to send again. */
bool route_may_start_over(const struct route_request *rq);
uint32_t route_attempts_max(const struct route_request *rq);
/* Another one than `attempt` (may be NULL) that is in flight and whose answer is wanted, or NULL. */
struct route_attempt *route_other_flight(struct route_request *rq, const struct route_attempt *attempt);
struct route_attempt *route_loser(struct route_request *rq);

/* (Re)arms the timer for what comes first. */
void route_arm(struct route_request *rq);
/* From now on it has as long as it may take, and its client wants to wait. */
void route_arm_deadline(struct route_request *rq);
/* Waits for a member until then; joining wakes it. */
enum route_step route_park(struct route_request *rq, uint64_t until_us);
void route_unpark(struct route_request *rq);

/* ---- what is noted of dispatches (notes.c) ---- */

void route_note_begin(struct route_request *rq, const struct route_member *member);
/* `end` may be NULL. */
void route_note_end(struct route_request *rq, struct route_attempt *attempt, const struct env *end,
                    enum err_code error);

/* As the event tells them. */
size_t route_notes_tell(const struct route_request *rq, struct event_attempt attempts[ROUTE_NOTES_MAX]);

/* ---- a second attempt (hedge.c) ---- */

/* After a dispatch: plans it. */
void route_hedge_plan(struct route_request *rq);
/* Its time has come. */
void route_hedge(struct route_request *rq);
/* The answer of `now` begins: the other one is told to stop. */
void route_hedge_won(struct route_request *rq);
/* A loser is over; `end` may be NULL. `rq` may be gone afterwards. */
void route_loser_is_over(struct route_request *rq, struct route_attempt *loser, const struct env *end);

/* ---- what comes back (answer.c) ---- */

/* A CHUNK of `now` is looked at, before it goes anywhere; and so many bytes of it count as passed on. */
void route_look_at_chunk(struct route_request *rq, struct env *chunk);
void route_count_passed(struct route_request *rq, size_t len);
/* To the owner. Takes it in any case. */
void route_pass_chunk(struct route_request *rq, struct env **chunk_p);

/* An envelope from the member that works on it. */
void route_take_answer(struct route_request *rq, struct env **env_p);

/* ---- who comes and goes (peers.c) ---- */

void route_peer_ready(struct router *router, struct env **ready_p);
void route_peer_goodbye(struct router *router, const struct env *goodbye);
/* A HEARTBEAT of the bus: a worker has been silent for a while, or is heard again. */
void route_peer_late(struct router *router, const struct env *heartbeat);
/* Tells a peer to go; a worker is no member from now on. */
void route_peer_cut(struct router *router, bus_addr_t peer, const char *reason);

/* ---- the same id again (repeat.c) ---- */

void route_repeated(struct route_request *rq, struct env **request_p);
/* END to who asked, without a request in the router. */
void route_refuse(struct router *router, const struct env *request, enum err_code error);
