/* Asks all plugins of a stream: those of this loop by a call (proto/vote_here.h), others by envelopes
 * (votes_stream_ask.c). */
#include "router/votes_stream_impl.h"

/* What is asked of all: as it is, and packed where somebody needs that. */
struct gate_question {
    struct vote_deltas deltas;
    dyn_block_t *body;
    uint32_t epoch; /* of the first plugin */
};

static dyn_block_t *
packed(struct gate_question *question)
{
    const struct vote_deltas *deltas = &question->deltas;
    if (question->body == NULL) {
        struct dyn_buf body = DYN_BUF_INIT;
        vote_deltas_encode(deltas->items, deltas->n, deltas->is_last, &body);
        question->body = dyn_block_copy(0, dyn_buf_slice(&body));
        dyn_buf_fini(&body);
    }
    return question->body;
}

/* It has voted when the call returns, or will do so. */
static enum vote_here_said
call(struct route_request *rq, size_t i, const struct vote_here *here, struct gate_question *question,
     struct vote_heard *heard)
{
    struct gate_plugin *one = &rq->gated->plugins[i];
    bool lists = route_traits_of(rq->router, one->plugin).lists;
    struct vote_question asked = {.id = rq->node.id,
                                  .epoch = question->epoch + (uint32_t)i,
                                  .stage = VOTE_DURING_STREAM,
                                  .instance = one->plugin->serial,
                                  .from = bus_actor_addr(rq->router->me),
                                  .facts = rq->gated->facts,
                                  .body = lists ? NULL : packed(question),
                                  .deltas = lists ? &question->deltas : NULL};
    route_gated_count(rq, one);
    return here->ask(here->self, &asked, heard);
}

static const char *
take_pass(struct route_request *rq, size_t i, const struct vote_heard *heard, struct dyn_err *err)
{
    struct gate_plugin *one = &rq->gated->plugins[i];
    one->answered++;
    return stream_gate_vote(rq->gated->gate, i, heard->marks, heard->n_marks, false,
                            bus_loop_now_us(rq->router->loop), err) != 0
               ? err->text
               : NULL;
}

/* Whether it cut the stream. Frees its envelope unless it did. */
static bool
take_call(struct route_request *rq, size_t i, enum vote_here_said said, struct vote_heard *heard)
{
    struct dyn_err err;
    bool cuts = false;
    if (!stream_gate_is_asked(rq->gated->gate, i)) { /* it is nobody's any more */
        said = said == VOTE_HERE_VOTED ? said : VOTE_HERE_LATER;
    } else if (said == VOTE_HERE_VOTED) {
        cuts = route_gated_take(rq, i, heard->vote);
    }
    switch (said) {
    case VOTE_HERE_PASSED:
        route_gated_settle(rq, i, take_pass(rq, i, heard, &err));
        break;
    case VOTE_HERE_VOTED:
        if (!cuts) {
            env_free(&heard->vote);
        }
        break;
    case VOTE_HERE_LATER:
        break;
    case VOTE_HERE_ABSENT:
        route_gated_settle(rq, i, "it said so");
        break;
    }
    return cuts;
}

/* The others. */
static void
send_all(struct route_request *rq, struct gate_question *question, uint32_t called)
{
    struct route_gated *gated = rq->gated;
    for (size_t i = 0; i < gated->n_plugins; i++) {
        if ((called >> i & 1u) == 0 && stream_gate_is_asked(gated->gate, i)) {
            route_gated_send(rq, i, question->epoch + (uint32_t)i, packed(question));
        }
    }
}

/* Votes count when all have been asked: all of them are to know how a stream ends. Calls come first, for what
 * they show lies in the gate, which changes when one is left out. */
static struct env *
ask_all(struct route_request *rq, struct gate_question *question)
{
    struct route_gated *gated = rq->gated;
    struct vote_heard heard[STREAM_GATE_VOTERS_MAX];
    enum vote_here_said said[STREAM_GATE_VOTERS_MAX];
    uint32_t called = 0;
    struct env *cut = NULL;
    for (size_t i = 0; i < gated->n_plugins; i++) {
        const struct vote_here *here = route_votes_here(rq, gated->plugins[i].plugin);
        if (here != NULL && stream_gate_is_asked(gated->gate, i)) {
            said[i] = call(rq, i, here, question, &heard[i]);
            called |= UINT32_C(1) << i;
        }
    }
    send_all(rq, question, called);
    for (size_t i = 0; i < gated->n_plugins; i++) {
        if ((called >> i & 1u) != 0 && take_call(rq, i, said[i], &heard[i])) {
            cut = heard[i].vote;
        }
    }
    return cut;
}

struct env *
route_gated_ask(struct route_request *rq)
{
    struct route_gated *gated = rq->gated;
    struct vote_delta items[STREAM_GATE_CHANNELS_MAX];
    struct gate_question question = {.epoch = rq->votes->epoch + 1};
    bool was_last = gated->is_last_asked;
    if (!stream_gate_take_deltas(gated->gate, bus_loop_now_us(rq->router->loop), items, &question.deltas)) {
        return NULL;
    }
    rq->votes->epoch += (uint32_t)gated->n_plugins;
    gated->is_last_asked = was_last || stream_gate_has_ended(gated->gate);
    struct env *cut = ask_all(rq, &question);
    dyn_block_unref(&question.body);
    return cut;
}
