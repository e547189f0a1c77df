/* What votes change: the body of a request or of a plain answer by edits, and the answer that a plugin gives
 * instead of a provider's. */
#include "core/log.h"
#include "proto/edits.h"
#include "router/shared.h"
#include "router/votes.h"

/* The edited text, or NULL with why. */
static dyn_block_t *
edited(struct route_request *rq, struct dyn_slice text, const struct env *vote, size_t headroom,
       const char **why)
{
    struct vote_edit *edits;
    size_t n;
    struct dyn_err err;
    dyn_block_t *body = NULL;
    struct dyn_slice said = dyn_block_slice(vote->body);
    if (vote_edits_decode(said, &rq->request->arena, &edits, &n, &err) != 0 ||
        edits_apply(text, edits, n, headroom, &body, &err) != 0) {
        dyn_log(DYN_LOG_WARN, "router.plugin.edits", "what a plugin wanted to change cannot be changed so",
                DYN_LOG_SLICE("plugin", vote->plugin), DYN_LOG_STR("why", err.text));
        *why = "its edits cannot be made";
    }
    return body;
}

const char *
route_amend_request(struct route_request *rq, const struct env *vote)
{
    struct env *request = rq->request;
    struct dialect_request facts = {0};
    struct dialect_problem problem = {0};
    const char *why = NULL;
    dyn_block_t *body = edited(rq, dyn_block_slice(request->body), vote, 0, &why);
    if (body == NULL) {
        return why;
    }
    if (rq->dialect->read_request(dyn_block_slice(body), &request->arena, &facts, &problem) != 0 ||
        facts.stream != rq->facts.stream) {
        dyn_block_unref(&body);
        return "its edits make no request that could be sent";
    }
    struct dyn_slice asked = rq->asked_model;
    rq->asked_model = facts.model;
    bool may = route_may_use_model(rq);
    rq->asked_model = asked;
    if (!may) {
        dyn_block_unref(&body);
        return "its edits name a model that the key may not use";
    }
    if (rq->votes->original == NULL) {
        rq->votes->original = request->body;
        request->body = NULL;
    }
    dyn_block_unref(&request->body);
    request->body = body;
    rq->facts = facts;
    rq->places.n = 0;
    rq->asked_model = env_copy(request, facts.model);
    rq->model = rq->asked_model;
    rq->votes->is_counted = false; /* those behind it are told of what the body is now */
    vote_facts_unref(&rq->votes->facts);
    rq->votes->has_facts = false;
    route_forget_texts(rq->votes);
    return NULL;
}

const char *
route_amend_answer(struct route_request *rq, const struct env *vote)
{
    struct env *end = rq->inbound;
    const char *why = NULL;
    dyn_block_t *body = edited(rq, dyn_block_slice(end->body), vote, ENV_BODY_HEADROOM, &why);
    if (body == NULL) {
        return why;
    }
    if (body->len > ENV_HELD_ANSWER_MAX) {
        dyn_block_unref(&body);
        return "its edits make an answer that is too long";
    }
    route_shared_keep(rq, end->body);
    dyn_block_unref(&end->body);
    end->body = body;
    end->is_scanned = false;
    route_forget_texts(rq->votes);
    return NULL;
}

/* A body goes to the client behind an HTTP head, for which there has to be room. */
static dyn_block_t *
with_headroom(dyn_block_t *body)
{
    if (dyn_block_headroom(body) >= ENV_BODY_HEADROOM && !dyn_block_is_shared(body)) {
        return dyn_block_ref(body);
    }
    return dyn_block_copy(ENV_BODY_HEADROOM, dyn_block_slice(body));
}

struct env *
route_voted_answer(struct route_request *rq, struct env **vote_p)
{
    struct env *vote = *vote_p;
    struct env *end = env_new(ENV_END);
    end->id = rq->node.id;
    end->outcome = ENV_OUTCOME_OK;
    end->status = vote->status != 0 ? vote->status : 200;
    end->content_type =
        env_copy(end, vote->content_type.len > 0 ? vote->content_type : DYN_SLICE("application/json"));
    end->usage = vote->usage;
    end->body = with_headroom(vote->body);
    env_free(vote_p);
    return end;
}
