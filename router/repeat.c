/* A REQUEST whose id is in flight. An owner that lost its connection sends again, and the answer shall reach
 * it where it is now; who merely knows the id shall get nothing. */
#include "router/request.h"

void
route_refuse(struct router *router, const struct env *request, enum err_code error)
{
    struct env *end = env_about(ENV_END, request);
    end->outcome = error == ERR_CLIENT_CLOSED ? ENV_OUTCOME_CANCELLED : ENV_OUTCOME_ERROR;
    end->error = error;
    end->status = err_row(error)->http;
    end->attempt = 0;
    if (bus_send(router->me, request->from, &end, NULL) != 0) {
        env_free(&end);
    }
}

static bool
has_same_key(const struct route_request *rq, const struct env *request)
{
    struct admission_verdict verdict = route_judge(rq->router, request);
    return verdict.refused == ERR_NONE && dyn_slice_eq(verdict.key_id, rq->key_id);
}

static bool
is_same_question(const struct route_request *rq, const struct env *request)
{
    struct dyn_slice body = dyn_block_slice(rq->request->body);
    return request->surface == rq->request->surface && dyn_slice_eq(body, dyn_block_slice(request->body));
}

/* Nothing of the answer has been passed on, and what was granted before does not exceed what is granted now.
 */
static bool
can_join(const struct route_request *rq, const struct env *request)
{
    bool is_untouched = !rq->begun && !rq->has_gap && !rq->has_leftovers && rq->told == NULL &&
                        rq->flights[0].next_sequence == 0 && rq->flights[1].next_sequence == 0;
    return is_untouched && rq->cancelled_for == ERR_NONE && rq->window <= request->credit &&
           is_same_question(rq, request);
}

/* The answer goes to who asked last. */
static void
join(struct route_request *rq, const struct env *request)
{
    struct env *credit = env_new(ENV_CREDIT);
    credit->id = rq->node.id;
    credit->credit = (uint32_t)(request->credit - rq->window);
    rq->owner = request->from;
    rq->request->epoch = request->epoch;
    rq->request->redelivered = request->redelivered;
    rq->request->track = request->track;
    if (credit->credit > 0) {
        route_take_credit(rq, &credit);
    }
    env_free(&credit);
    if (request->deadline_ms > 0) {
        uint64_t until_us = bus_loop_now_us(rq->router->loop) + request->deadline_ms * UINT64_C(1000);
        rq->deadline_us = until_us < rq->deadline_us ? until_us : rq->deadline_us;
        route_arm(rq);
    }
    route_tell_owner(rq);
}

/* The attempt in flight ends first: the worker must not have two calls of one id. */
static void
supersede(struct route_request *rq, struct env **request_p)
{
    if (rq->successor != NULL) {
        route_refuse(rq->router, rq->successor, ERR_DUPLICATE_ID);
        env_free(&rq->successor);
    }
    rq->successor = *request_p;
    *request_p = NULL;
    rq->owner = 0;
    route_cancel(rq, ERR_CLIENT_CLOSED, "repeated");
}

/* Its owner sends again, or nobody waits for the former one, or it is one question asked twice. */
static bool
may_supersede(const struct route_request *rq, const struct env *request)
{
    const struct env *latest = rq->successor != NULL ? rq->successor : rq->request;
    bool is_sent_again = request->epoch > latest->epoch;
    bool was_given_up = rq->owner == 0 || rq->told != NULL || rq->cancelled_for == ERR_CLIENT_CLOSED;
    return is_sent_again || was_given_up || (route_may_start_over(rq) && is_same_question(rq, request));
}

void
route_repeated(struct route_request *rq, struct env **request_p)
{
    bool is_theirs = has_same_key(rq, *request_p);
    if (is_theirs && can_join(rq, *request_p)) {
        join(rq, *request_p);
    } else if (is_theirs && may_supersede(rq, *request_p)) {
        supersede(rq, request_p);
    } else {
        route_refuse(rq->router, *request_p, ERR_DUPLICATE_ID);
    }
}
