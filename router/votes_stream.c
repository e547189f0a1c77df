#include "router/votes_stream.h"

#include "core/log.h"
#include "proto/dialects/texts.h"
#include "router/stream_gate.h"
#include "router/votes.h"

#include <stdio.h>
#include <stdlib.h>

/* So much is granted at once, so that the provider is not told of each event that left. */
enum { GRANT_BYTES = ROUTE_GATE_WINDOW / 4 };

struct gate_plugin {
    const struct route_plugin *plugin;
    bus_addr_t addr; /* 0: nobody (any more) */
    uint64_t asked;  /* questions */
    uint64_t answered;
    uint64_t since_us; /* of the first that is not answered */
    bool is_admitted;  /* by the breaker, which is to be told how it went */
};

struct route_gated {
    stream_gate_t *gate;
    struct vote_facts *facts;
    struct gate_plugin plugins[STREAM_GATE_VOTERS_MAX];
    size_t n_plugins;
    uint32_t first_epoch; /* of the first question; each has one for every plugin */
    bool is_last_asked;
    struct env *head; /* the first CHUNK without its bytes: goes with what leaves first */
    uint32_t next_sequence;
    uint64_t left;       /* bytes that went to the owner */
    struct env *end;     /* what the provider ended with */
    bool is_ended;       /* by a vote: nothing of the provider is wanted any more */
    enum err_code error; /* why */
    bool is_closing;     /* with last words to the reader */
};

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

/* Who is asked about all of the stream: what it saw of it is with it. 0: nobody is there, or has room. */
static bus_addr_t
pick(struct route_request *rq, const struct route_plugin *plugin)
{
    struct route_voter *voter = route_voters_find(&rq->router->voters, plugin->name);
    bus_addr_t addr = plugin->is_local ? rq->router->options.plugins : route_voter_pick(voter);
    if (addr != 0 && !plugin->is_local) {
        route_voter_count(voter, addr, +1);
    }
    return addr;
}

static void
add_plugin(struct route_request *rq, const struct route_plugin *plugin, struct stream_gate_voter *rows)
{
    struct route_gated *gated = rq->gated;
    struct route_voter *voter = route_voters_find(&rq->router->voters, plugin->name);
    bool is_absent = !plugin->is_local && !route_voter_is_there(voter);
    if (is_absent && !plugin->required) {
        return;
    }
    rows[gated->n_plugins] = (struct stream_gate_voter){.timeout_us = plugin->timeout_ms * UINT64_C(1000),
                                                        .fails_open = plugin->fails_open};
    gated->plugins[gated->n_plugins++] = (struct gate_plugin){.plugin = plugin, .addr = pick(rq, plugin)};
}

static void fail_plugin(struct route_request *rq, size_t i, const char *why);

static void
begin(struct route_request *rq)
{
    struct stream_gate_voter rows[STREAM_GATE_VOTERS_MAX];
    struct route_gated *gated = rq->gated = dyn_zalloc(sizeof *gated);
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
    gated->facts = route_vote_facts(rq, NULL, needs & ~(uint32_t)VOTE_NEEDS_PRICE);
    for (size_t i = 0; i < gated->n_plugins; i++) {
        struct gate_plugin *one = &gated->plugins[i];
        struct route_voter *voter = route_voters_find(&rq->router->voters, one->plugin->name);
        if (one->addr == 0) {
            fail_plugin(rq, i, "it is not there, or takes no more");
        } else if (!vote_breaker_admits(&voter->breaker, bus_loop_now_us(rq->router->loop))) {
            fail_plugin(rq, i, "its breaker is open");
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

/* ---- failures ---- */

static void
tell_of(struct route_request *rq, size_t i, const char *verdict, struct dyn_slice reason)
{
    const struct gate_plugin *one = &rq->gated->plugins[i];
    route_vote_note(rq, one->plugin, VOTE_DURING_STREAM, one->since_us, verdict, reason);
}

static void
fail_plugin(struct route_request *rq, size_t i, const char *why)
{
    struct route_gated *gated = rq->gated;
    struct gate_plugin *one = &gated->plugins[i];
    struct route_voter *voter = route_voters_find(&rq->router->voters, one->plugin->name);
    uint64_t now_us = bus_loop_now_us(rq->router->loop);
    if (!stream_gate_is_asked(gated->gate, i)) {
        return;
    }
    tell_of(rq, i, one->plugin->fails_open ? "open" : "failed", dyn_slice_str(why));
    if (one->is_admitted || one->asked > 0) {
        vote_breaker_failed(&voter->breaker, now_us);
        one->is_admitted = false;
    }
    if (now_us - rq->router->failure_told_us >= 1000000) {
        rq->router->failure_told_us = now_us;
        dyn_log(DYN_LOG_WARN, "router.plugin.failed", "a plugin failed to vote on a stream",
                DYN_LOG_SLICE("plugin", one->plugin->name), DYN_LOG_STR("why", why),
                DYN_LOG_STR("stream", one->plugin->fails_open ? "goes on" : "is cut"));
    }
    stream_gate_fail(gated->gate, i);
}

/* ---- questions ---- */

/* One that has seen nothing of the stream is as good as any other of its name. false: there is none. */
static bool
find_another(struct route_request *rq, size_t i)
{
    struct gate_plugin *one = &rq->gated->plugins[i];
    if (one->plugin->is_local || one->asked > 0 || !stream_gate_is_asked(rq->gated->gate, i)) {
        return false;
    }
    route_voter_count(route_voters_find(&rq->router->voters, one->plugin->name), one->addr, -1);
    one->addr = pick(rq, one->plugin);
    return one->addr != 0;
}

/* Nobody is a failure only where somebody has to be there, or has seen what came until now. */
static void
give_up(struct route_request *rq, size_t i, const char *why)
{
    struct gate_plugin *one = &rq->gated->plugins[i];
    struct route_voter *voter = route_voters_find(&rq->router->voters, one->plugin->name);
    bool is_absent = !one->plugin->is_local && !route_voter_is_there(voter);
    if (!is_absent || one->plugin->required || one->asked > 0) {
        fail_plugin(rq, i, why);
        return;
    }
    if (one->is_admitted) {
        one->is_admitted = false;
        vote_breaker_abandoned(&voter->breaker);
    }
    stream_gate_leave_out(rq->gated->gate, i);
}

/* NULL, or why nobody has got it. Who is gone may be known to the bus before it is said here. */
static const char *
send_ask(struct route_request *rq, size_t i, struct env **ask_p)
{
    struct gate_plugin *one = &rq->gated->plugins[i];
    struct route_voters *voters = &rq->router->voters;
    struct dyn_err err;
    bool is_begun = one->asked > 0 || one->plugin->is_local;
    if (!is_begun && !route_voter_takes(route_voters_find(voters, one->plugin->name), one->addr) &&
        !find_another(rq, i)) {
        return "it is not there, or takes no more";
    }
    while (bus_send(rq->router->me, one->addr, ask_p, &err) != 0) {
        if (err.code != DYN_E_GONE || one->plugin->is_local) {
            return "it takes no more";
        }
        route_voters_drain(voters, one->addr);
        if (!find_another(rq, i)) {
            return "its process is gone";
        }
    }
    return NULL;
}

static void
ask_one(struct route_request *rq, size_t i, uint32_t epoch, dyn_block_t *body)
{
    struct router *router = rq->router;
    struct route_gated *gated = rq->gated;
    struct gate_plugin *one = &gated->plugins[i];
    struct env *ask = env_new(ENV_ASK);
    ask->id = rq->node.id;
    ask->epoch = epoch;
    ask->plugin = env_copy(ask, one->plugin->name);
    ask->instance = one->plugin->serial;
    ask->stage = VOTE_DURING_STREAM;
    ask->facts_asked = vote_facts_ref(gated->facts);
    ask->body = dyn_block_ref(body);
    const char *why = send_ask(rq, i, &ask);
    if (why != NULL) {
        env_free(&ask);
        give_up(rq, i, why);
    } else if (one->asked++ == one->answered) {
        one->since_us = dyn_mono_us(bus_loop_clock(router->loop));
    }
}

static void
ask_all(struct route_request *rq)
{
    struct route_gated *gated = rq->gated;
    struct dyn_buf body = DYN_BUF_INIT;
    bool was_last = gated->is_last_asked;
    if (stream_gate_take_ask(gated->gate, bus_loop_now_us(rq->router->loop), &body)) {
        dyn_block_t *block = dyn_block_copy(0, dyn_buf_slice(&body));
        uint32_t epoch = rq->votes->epoch + 1;
        rq->votes->epoch += (uint32_t)gated->n_plugins;
        gated->is_last_asked = was_last || stream_gate_has_ended(gated->gate);
        for (size_t i = 0; i < gated->n_plugins; i++) {
            if (stream_gate_is_asked(gated->gate, i)) {
                ask_one(rq, i, epoch + (uint32_t)i, block);
            }
        }
        dyn_block_unref(&block);
    }
    dyn_buf_fini(&body);
}

/* ---- what leaves ---- */

static int
pass_block(struct route_request *rq, dyn_block_t *block, struct dyn_err *err)
{
    struct route_gated *gated = rq->gated;
    struct env *chunk = gated->head;
    gated->head = NULL;
    if (chunk == NULL) {
        chunk = env_new(ENV_CHUNK);
        chunk->id = rq->node.id;
    } else {
        route_votes_head(rq, chunk);
    }
    chunk->sequence = gated->next_sequence++;
    chunk->body = block;
    rq->window -= block->len;
    gated->left += block->len;
    int failed = route_pass_to_owner(rq, &chunk, err);
    env_free(&chunk);
    return failed;
}

/* false: the owner takes nothing any more. */
static bool
pass_ready(struct route_request *rq, struct dyn_err *err)
{
    while (rq->window > 0 && !rq->has_gap) {
        size_t most = rq->window < ENV_CHUNK_MAX ? (size_t)rq->window : ENV_CHUNK_MAX;
        dyn_block_t *block = stream_gate_take(rq->gated->gate, most);
        if (block == NULL) {
            return true;
        }
        if (pass_block(rq, block, err) != 0) {
            rq->has_gap = true;
        }
    }
    return !rq->has_gap;
}

/* What the gate has room for. An event that has not ended takes no room: it could never end otherwise. */
static void
grant_room(struct route_request *rq)
{
    struct route_attempt *flight = rq->now;
    size_t taken = stream_gate_ready(rq->gated->gate) + stream_gate_held(rq->gated->gate);
    if (flight->member == NULL || flight->is_loser || flight->cancelled_for != ERR_NONE ||
        taken >= ROUTE_GATE_WINDOW) {
        return;
    }
    uint64_t room = ROUTE_GATE_WINDOW - taken;
    if (room >= flight->window + GRANT_BYTES || (flight->window == 0 && room > 0)) {
        route_grant(rq, flight, (uint32_t)(room - flight->window));
    }
}

/* ---- a stream that a vote ends ---- */

static void
say_why(struct route_request *rq, const struct dyn_slice *reason)
{
    struct route_gated *gated = rq->gated;
    enum stream_gate_state state = stream_gate_state(gated->gate);
    char *text = rq->error_text;
    size_t size = sizeof rq->error_text;
    if (state == STREAM_GATE_UNREADABLE) {
        (void)snprintf(text, size, "%s", stream_gate_why(gated->gate));
        rq->error = ERR_RESPONSE_REJECTED;
        return;
    }
    struct dyn_slice name = gated->plugins[stream_gate_who(gated->gate)].plugin->name;
    rq->votes->refused_by = name;
    if (state == STREAM_GATE_FAILED) {
        (void)snprintf(text, size, "plugin %.*s failed at during_stream", (int)name.len, name.data);
        rq->error = ERR_PLUGIN_ERROR;
        return;
    }
    (void)snprintf(text, size, "response rejected by plugin %.*s at during_stream%s%.*s", (int)name.len,
                   name.data, reason->len > 0 ? ": " : "", (int)reason->len,
                   reason->len > 0 ? reason->data : "");
    rq->error = ERR_RESPONSE_REJECTED;
}

/* The provider is told to stop; what it ends with then decides nothing any more. */
static enum route_step
end_stream(struct route_request *rq, struct dyn_slice reason, struct dyn_slice closing)
{
    struct route_gated *gated = rq->gated;
    enum err_code error;
    struct dyn_err err;
    gated->is_ended = true;
    say_why(rq, &reason);
    error = gated->error = rq->error;
    if (closing.data != NULL) {
        gated->is_closing = true;
        stream_gate_close(gated->gate, closing);
    }
    (void)pass_ready(rq, &err);
    rq->vote_until_us = 0;
    if (rq->now->member == NULL) { /* it has ended already */
        rq->inbound = gated->end;
        gated->end = NULL;
        return ROUTE_STEP_FAIL;
    }
    if (gated->is_closing) {
        route_stop_attempt(rq, rq->now, error, "rejected");
    } else {
        route_cancel(rq, error, "rejected");
    }
    return ROUTE_STEP_PARKED;
}

/* ---- whatever has changed ---- */

static enum route_step
finish(struct route_request *rq)
{
    struct route_gated *gated = rq->gated;
    rq->inbound = gated->end;
    gated->end = NULL;
    rq->inbound->body_bytes = gated->left;
    rq->vote_until_us = 0;
    for (size_t i = 0; i < gated->n_plugins; i++) {
        if (stream_gate_is_asked(gated->gate, i)) {
            tell_of(rq, i, "pass", dyn_slice(NULL, 0));
        }
    }
    return ROUTE_STEP_REPLY;
}

/* PARKED, or what comes next. Never frees the request while something is in flight. */
static enum route_step
go_on(struct route_request *rq, struct dyn_slice reason, struct dyn_slice closing)
{
    struct route_gated *gated = rq->gated;
    struct dyn_err err;
    ask_all(rq);
    if (!gated->is_ended && stream_gate_state(gated->gate) != STREAM_GATE_OPEN) {
        return end_stream(rq, reason, closing);
    }
    if (!pass_ready(rq, &err)) {
        bool is_full = err.code == DYN_E_FULL;
        rq->error = is_full ? ERR_SATURATED : ERR_CLIENT_CLOSED;
        if (rq->now->member == NULL) {
            return ROUTE_STEP_FAIL;
        }
        route_cancel(rq, rq->error, is_full ? "owner full" : "owner gone");
        return ROUTE_STEP_PARKED;
    }
    if (gated->end != NULL && stream_gate_is_drained(gated->gate)) {
        return finish(rq);
    }
    grant_room(rq);
    rq->vote_until_us = stream_gate_due_us(gated->gate);
    route_arm(rq);
    return ROUTE_STEP_PARKED;
}

/* From outside of the steps. The request may be gone afterwards. */
static void
resume(struct route_request *rq, struct dyn_slice reason, struct dyn_slice closing)
{
    enum route_step next = go_on(rq, reason, closing);
    if (next != ROUTE_STEP_PARKED) {
        route_resume(rq, next);
    }
}

/* ---- what the provider sends ---- */

static const struct dyn_slice nothing = {NULL, 0};

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
    (void)go_on(rq, nothing, nothing); /* PARKED: it is in flight */
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
    return go_on(rq, nothing, nothing);
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
    *next = go_on(rq, nothing, nothing);
    return true;
}

/* ---- what voters say ---- */

static size_t
plugin_of(const struct route_request *rq, const struct env *vote)
{
    const struct route_gated *gated = rq->gated;
    uint32_t number = vote->epoch - gated->first_epoch;
    size_t i = gated->n_plugins > 0 ? number % gated->n_plugins : 0;
    bool is_one =
        vote->epoch >= gated->first_epoch && vote->epoch <= rq->votes->epoch && i < gated->n_plugins;
    return is_one && gated->plugins[i].addr == vote->from ? i : STREAM_GATE_VOTERS_MAX;
}

/* NULL, or what is wrong with it. */
static const char *
take_marks(struct route_request *rq, size_t i, const struct env *vote, struct arena *arena,
           struct dyn_err *err)
{
    struct gate_plugin *one = &rq->gated->plugins[i];
    struct vote_mark *marks = NULL;
    size_t n = 0;
    uint64_t now_us = bus_loop_now_us(rq->router->loop);
    uint32_t question = (vote->epoch - rq->gated->first_epoch) / (uint32_t)rq->gated->n_plugins;
    if (vote->verdict != VOTE_PASS && vote->verdict != VOTE_DENY) {
        return vote->verdict == VOTE_FAILED ? "it said so" : "its verdict is of no use in a stream";
    }
    if (question != one->answered) {
        return "it did not vote in the order of the questions";
    }
    if (env_body_len(vote) > 0 &&
        vote_marks_decode(dyn_block_slice(vote->body), arena, &marks, &n, err) != 0) {
        return err->text;
    }
    one->answered++;
    bool cuts = vote->verdict == VOTE_DENY;
    return stream_gate_vote(rq->gated->gate, i, marks, n, cuts, now_us, err) != 0 ? err->text : NULL;
}

static void
tell_of_cut(struct route_request *rq, size_t i, const struct env *vote)
{
    tell_of(rq, i, "deny", vote->notes.len > 0 ? vote->notes : vote->error_text);
    if (vote->reason.len > 0) {
        dyn_log(DYN_LOG_INFO, "router.plugin.denied", "a plugin cut a stream",
                DYN_LOG_SLICE("plugin", rq->gated->plugins[i].plugin->name),
                DYN_LOG_SLICE("reason", vote->reason), DYN_LOG_SLICE("trace_id", rq->request->trace_id));
    }
}

bool
route_gate_take_vote(struct route_request *rq, struct env **vote_p)
{
    struct env *vote = *vote_p;
    struct dyn_err err;
    struct arena arena;
    if (rq->gated == NULL) {
        return false;
    }
    size_t i = plugin_of(rq, vote);
    if (i == STREAM_GATE_VOTERS_MAX) {
        return false;
    }
    if (!stream_gate_is_asked(rq->gated->gate, i)) {
        return true; /* it is nobody's any more */
    }
    struct gate_plugin *one = &rq->gated->plugins[i];
    arena_init(&arena, NULL, 0);
    const char *wrong = take_marks(rq, i, vote, &arena, &err);
    if (wrong != NULL) {
        fail_plugin(rq, i, wrong);
    } else if (one->is_admitted) {
        one->is_admitted = false;
        vote_breaker_succeeded(&route_voters_find(&rq->router->voters, one->plugin->name)->breaker);
    }
    if (wrong == NULL && vote->verdict == VOTE_DENY) {
        tell_of_cut(rq, i, vote);
    }
    struct dyn_slice closing = nothing;
    if (wrong == NULL && vote->verdict == VOTE_DENY && env_body_len(vote) > 0) {
        closing = vote_marks_closing(dyn_block_slice(vote->body));
    }
    resume(rq, vote->error_text, closing);
    arena_fini(&arena);
    return true;
}

bool
route_gate_is_late(struct route_request *rq)
{
    uint64_t now_us = bus_loop_now_us(rq->router->loop);
    if (rq->gated == NULL) {
        return false;
    }
    for (size_t i; (i = stream_gate_overdue(rq->gated->gate, now_us)) != STREAM_GATE_VOTERS_MAX;) {
        fail_plugin(rq, i, "it did not vote in time");
    }
    resume(rq, nothing, nothing);
    return true;
}

static bool
has_asked(const struct route_request *rq, const void *addr)
{
    bool has = false;
    for (size_t i = 0; rq->gated != NULL && i < rq->gated->n_plugins; i++) {
        has = has || rq->gated->plugins[i].addr == *(const bus_addr_t *)addr;
    }
    return has;
}

static void
lose_plugin(struct route_request *rq, const void *addr)
{
    for (size_t i = 0; i < rq->gated->n_plugins; i++) {
        struct gate_plugin *one = &rq->gated->plugins[i];
        if (one->addr == *(const bus_addr_t *)addr) {
            if (!find_another(rq, i)) {
                one->addr = 0;
                give_up(rq, i, "its process is gone");
            }
        }
    }
    resume(rq, nothing, nothing);
}

void
route_gates_lost(struct router *router, bus_addr_t addr)
{
    route_sweep(router, has_asked, lose_plugin, &addr);
}

void
route_gate_credit(struct route_request *rq)
{
    resume(rq, nothing, nothing);
}

/* ---- the end ---- */

/* Who was asked and does not know that nothing follows. */
static void
tell_end(struct route_request *rq, const struct gate_plugin *one)
{
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
