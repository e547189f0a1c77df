/* An answer of the router's own process that is longer than an END may be (01-ENVELOPE, "Limits"): a list of
 * many models, a long page of metrics. It goes to its owner as CHUNKs, within what that has granted, and an
 * END without body behind them. Its text is kept until then, which costs a reference where it is shared. */
#include "router/request.h"

bool
route_is_long(const struct env *end)
{
    return env_body_len(end) > ENV_HELD_ANSWER_MAX;
}

static size_t
least(size_t a, size_t b)
{
    return a < b ? a : b;
}

static struct env *
next_chunk(struct route_request *rq, const struct env *end, size_t len)
{
    struct env *chunk = env_new(ENV_CHUNK);
    chunk->id = rq->node.id;
    chunk->sequence = rq->now->next_sequence++;
    if (chunk->sequence == 0) {
        chunk->stream = end->stream;
        rq->now->is_stream = chunk->stream = end->stream; /* a plugin's answer, told as a stream */
        chunk->status = end->status;
        chunk->content_type = env_copy(chunk, end->content_type);
        for (size_t i = 0; i < end->n_headers; i++) {
            env_add_header(chunk, end->headers[i].name, end->headers[i].value);
        }
        route_name_answerer(rq, chunk);
    }
    struct dyn_slice text = dyn_block_slice(end->body);
    chunk->body = dyn_block_copy(ENV_BODY_HEADROOM, dyn_slice(text.data + rq->told_bytes, len));
    return chunk;
}

/* Nobody else holds it back: its bytes are there. */
enum route_step
route_tell_long(struct route_request *rq)
{
    struct env *end = rq->inbound;
    size_t total = env_body_len(end);
    while (rq->told_bytes < total) {
        struct dyn_err err;
        size_t len = least(least(total - rq->told_bytes, ENV_CHUNK_MAX), rq->window);
        if (len == 0) {
            return ROUTE_STEP_PARKED; /* CREDIT resumes it */
        }
        struct env *chunk = next_chunk(rq, end, len);
        rq->told_bytes += len;
        rq->window -= len;
        route_count_passed(rq, len);
        if (route_pass_to_owner(rq, &chunk, &err) != 0) {
            env_free(&chunk);
            env_free(&rq->inbound);
            return route_fail(rq, err.code == DYN_E_FULL ? ERR_SATURATED : ERR_CLIENT_CLOSED, NULL, NULL);
        }
    }
    dyn_block_unref(&end->body);
    return ROUTE_STEP_REPLY;
}

bool
route_long_waits(const struct route_request *rq)
{
    return rq->step == ROUTE_STEP_REPLY && rq->inbound != NULL && route_is_long(rq->inbound);
}
