/* Asks plugins of a stream by envelopes and takes their votes, or does without them. */
#include "router/votes_stream_impl.h"

#include "core/log.h"
#include "router/votes.h"

static const struct dyn_slice nothing = {NULL, 0};

/* Text that ends whoever looks at it ends no more of them. */
enum { HANDED_OVER_MAX = 3 };

static struct route_voter *
voter_of(struct route_request *rq, size_t i)
{
    return route_voters_find(&rq->router->voters, rq->gated->plugins[i].plugin->name);
}

/* ---- failures ---- */

void
route_gated_note(struct route_request *rq, size_t i, unsigned verdict, struct dyn_slice reason)
{
    const struct gate_plugin *one = &rq->gated->plugins[i];
    route_vote_note(rq, one->plugin, VOTE_DURING_STREAM, one->since_us, verdict, reason);
}

void
route_gated_fail(struct route_request *rq, size_t i, const char *why, bool has_voted)
{
    struct route_gated *gated = rq->gated;
    struct gate_plugin *one = &gated->plugins[i];
    struct route_voter *voter = route_voters_find(&rq->router->voters, one->plugin->name);
    uint64_t now_us = bus_loop_now_us(rq->router->loop);
    if (!stream_gate_is_asked(gated->gate, i)) {
        return;
    }
    route_gated_note(rq, i, one->plugin->fails_open ? EVENT_VERDICT_OPEN : VOTE_FAILED, dyn_slice_str(why));
    if (!has_voted && (one->is_admitted || one->asked > 0)) {
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

/* Who is asked about all of the stream: what it saw of it is with it. 0: nobody is there, or has room. */
bus_addr_t
route_gated_pick(struct route_request *rq, const struct route_plugin *plugin)
{
    struct route_voter *voter = route_voters_find(&rq->router->voters, plugin->name);
    bus_addr_t addr =
        plugin->is_local ? rq->router->options.plugins : route_voter_pick(voter, VOTE_DURING_STREAM);
    if (addr != 0 && !plugin->is_local) {
        route_voter_count(voter, addr, +1);
    }
    return addr;
}

/* One that has seen nothing of the stream is as good as any other of its name. false: there is none. */
static bool
find_another(struct route_request *rq, size_t i)
{
    struct gate_plugin *one = &rq->gated->plugins[i];
    if (one->plugin->is_local || one->asked > 0 || !stream_gate_is_asked(rq->gated->gate, i)) {
        return false;
    }
    route_voter_count(route_voters_find(&rq->router->voters, one->plugin->name), one->addr, -1);
    one->addr = route_gated_pick(rq, one->plugin);
    return one->addr != 0;
}

/* Nobody is a failure only where somebody has to be there, or has seen what came until now. */
static void
give_up(struct route_request *rq, size_t i, const char *why)
{
    struct gate_plugin *one = &rq->gated->plugins[i];
    struct route_voter *voter = route_voters_find(&rq->router->voters, one->plugin->name);
    bool is_absent = !one->plugin->is_local && !route_voter_is_there(voter, VOTE_DURING_STREAM);
    if (!is_absent || one->plugin->required || one->asked > 0) {
        route_gated_fail(rq, i, why, false);
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

static struct env *
ask_of(struct route_request *rq, size_t i, uint32_t epoch, dyn_block_t *body)
{
    const struct gate_plugin *one = &rq->gated->plugins[i];
    struct env *ask = env_new(ENV_ASK);
    ask->id = rq->node.id;
    ask->epoch = epoch;
    ask->plugin = env_copy(ask, one->plugin->name);
    ask->instance = one->plugin->serial;
    ask->stage = VOTE_DURING_STREAM;
    ask->facts_asked = vote_facts_ref(rq->gated->facts);
    ask->body = dyn_block_ref(body);
    return ask;
}

/* Who was asked is gone: another one of its name gets what is not decided. false: there is none. */
static bool
hand_over(struct route_request *rq, size_t i)
{
    struct route_gated *gated = rq->gated;
    struct gate_plugin *one = &gated->plugins[i];
    bool can = !one->plugin->is_local && one->asked > 0 && one->handed_over < HANDED_OVER_MAX &&
               stream_gate_is_asked(gated->gate, i);
    if (!can || (one->addr = route_gated_pick(rq, one->plugin)) == 0) {
        return false;
    }
    struct dyn_buf body = DYN_BUF_INIT;
    stream_gate_hand_over(gated->gate, i, bus_loop_now_us(rq->router->loop), &body);
    dyn_block_t *block = dyn_block_copy(0, dyn_buf_slice(&body));
    uint32_t epoch = gated->first_epoch + (uint32_t)((one->asked - 1) * gated->n_plugins + i);
    struct env *ask = ask_of(rq, i, epoch, block);
    dyn_block_unref(&block);
    dyn_buf_fini(&body);
    if (one->answered == one->asked) {
        one->since_us = dyn_mono_us(bus_loop_clock(rq->router->loop));
    }
    one->answered = one->asked - 1;
    one->handed_over++;
    if (bus_send(rq->router->me, one->addr, &ask, NULL) != 0) {
        env_free(&ask);
        route_voter_count(voter_of(rq, i), one->addr, -1);
        one->addr = 0;
        return false;
    }
    return true;
}

void
route_gated_count(struct route_request *rq, struct gate_plugin *one)
{
    if (one->asked++ == one->answered) {
        one->since_us = dyn_mono_us(bus_loop_clock(rq->router->loop));
    }
}

void
route_gated_send(struct route_request *rq, size_t i, uint32_t epoch, dyn_block_t *body)
{
    struct gate_plugin *one = &rq->gated->plugins[i];
    struct env *ask = ask_of(rq, i, epoch, body);
    const char *why = send_ask(rq, i, &ask);
    if (why == NULL) {
        route_gated_count(rq, one);
        return;
    }
    env_free(&ask);
    bool is_gone = one->asked > 0 && !route_voter_takes(voter_of(rq, i), one->addr);
    one->asked += is_gone; /* what is handed over has this question in it */
    if (!is_gone || !hand_over(rq, i)) {
        one->asked -= is_gone;
        give_up(rq, i, why);
    }
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
    one->handed_over = 0;
    bool cuts = vote->verdict == VOTE_DENY;
    return stream_gate_vote(rq->gated->gate, i, marks, n, cuts, now_us, err) != 0 ? err->text : NULL;
}

static void
tell_of_cut(struct route_request *rq, size_t i, const struct env *vote)
{
    route_gated_note(rq, i, VOTE_DENY, vote->notes.len > 0 ? vote->notes : vote->error_text);
    if (vote->reason.len > 0) {
        dyn_log(DYN_LOG_INFO, "router.plugin.denied", "a plugin cut a stream",
                DYN_LOG_SLICE("plugin", rq->gated->plugins[i].plugin->name),
                DYN_LOG_SLICE("reason", vote->reason), DYN_LOG_SLICE("trace_id", rq->request->trace_id));
    }
}

void
route_gated_settle(struct route_request *rq, size_t i, const char *wrong)
{
    struct gate_plugin *one = &rq->gated->plugins[i];
    if (one->is_admitted) {
        one->is_admitted = false;
        vote_breaker_succeeded(&voter_of(rq, i)->breaker);
    }
    if (wrong != NULL) {
        route_gated_fail(rq, i, wrong, true);
    }
}

bool
route_gated_take(struct route_request *rq, size_t i, const struct env *vote)
{
    struct dyn_err err;
    struct arena arena;
    arena_init(&arena, NULL, 0);
    const char *wrong = take_marks(rq, i, vote, &arena, &err);
    route_gated_settle(rq, i, wrong);
    arena_fini(&arena);
    bool cuts = wrong == NULL && vote->verdict == VOTE_DENY;
    if (cuts) {
        tell_of_cut(rq, i, vote);
    }
    return cuts;
}

bool
route_gate_take_vote(struct route_request *rq, struct env **vote_p)
{
    struct env *vote = *vote_p;
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
    bool cuts = route_gated_take(rq, i, vote);
    bool has_marks = cuts && env_body_len(vote) > 0;
    route_gated_resume(rq, vote->error_text,
                       has_marks ? vote_marks_closing(dyn_block_slice(vote->body)) : nothing);
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
        route_gated_fail(rq, i, "it did not vote in time", false);
    }
    route_gated_resume(rq, nothing, nothing);
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
            bool is_done = rq->gated->is_last_asked && one->answered == one->asked;
            if (is_done) {
                one->addr = 0;
            } else if (!find_another(rq, i) && !hand_over(rq, i)) {
                one->addr = 0;
                give_up(rq, i, "its process is gone");
            }
        }
    }
    route_gated_resume(rq, nothing, nothing);
}

void
route_gates_lost(struct router *router, bus_addr_t addr)
{
    route_sweep(router, has_asked, lose_plugin, &addr);
}
