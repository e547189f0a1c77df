#include "gateway/callback.h"

#include "bus/credit.h"
#include "core/buf.h"
#include "proto/env_map.h"

#include <pthread.h>
#include <stdlib.h>

enum {
    BEHIND_BYTES = 256 * 1024,            /* beyond it who writes is told that the client is behind */
    WAITING_BYTES_MAX = 16 * 1024 * 1024, /* of one answer */
    RETRY_FULL_MS = 5,                    /* the receiver's mailbox is full */
    DRAIN_MARGIN_MS = 250,                /* for the last ENDs to reach their clients */
};

struct callback {
    struct registered *registered;
    bus_actor_t *me;
    bus_loop_t *loop;
    struct env_map calls; /* those that still have somebody to answer */
    struct dyn_list stuck;
    struct bus_timer retry;
    struct bus_timer drain;
    bool is_draining;
};

/* Held by the actor, until its END has left or nobody wants it, by the user, until dynabus_call_end(), and by
 * what is posted to the loop. Who lets go last frees it. */
struct dynabus_call {
    struct env_map_node node; /* on the loop, like all up to the lock */
    struct callback *actor;
    struct dyn_list stuck_link;
    bus_addr_t reply_to;
    uint32_t attempt;
    uint32_t epoch;
    struct credit_sender credit;
    struct bus_timer deadline;
    uint32_t sequence;
    size_t sent_bytes;
    bool has_left; /* a CHUNK */

    struct registered *registered;
    struct env *request; /* what the user looks at; unchanged */
    void *data;

    pthread_mutex_t lock;
    bus_loop_t *loop;     /* to post to; NULL: the actor has let go */
    struct dyn_buf waits; /* written and not taken by the loop */
    unsigned holders;
    bool is_posted;
    bool has_ended;
    struct env *end;    /* what the user said, once has_ended */
    struct dyn_buf out; /* on the loop: taken and not sent yet */
    size_t out_sent;    /* of it */
};

/* ---- life of a call ---- */

static void
release(struct dynabus_call *call)
{
    (void)pthread_mutex_lock(&call->lock);
    bool is_last = --call->holders == 0;
    (void)pthread_mutex_unlock(&call->lock);
    if (!is_last) {
        return;
    }
    env_free(&call->request);
    env_free(&call->end);
    dyn_buf_fini(&call->waits);
    dyn_buf_fini(&call->out);
    registered_unref(&call->registered);
    (void)pthread_mutex_destroy(&call->lock);
    free(call);
}

/* The actor has nothing more to do with it. */
static void
let_go(struct dynabus_call *call)
{
    struct callback *actor = call->actor;
    env_map_remove(&actor->calls, &call->node);
    dyn_list_remove(&call->stuck_link);
    bus_timer_fini(&call->deadline);
    (void)pthread_mutex_lock(&call->lock);
    call->loop = NULL;
    (void)pthread_mutex_unlock(&call->lock);
    release(call);
    if (actor->is_draining && actor->calls.n == 0) {
        bus_timer_disarm(&actor->drain);
        bus_actor_idle(actor->me);
    }
}

static void
send_end(struct dynabus_call *call, struct env *end)
{
    end->id = call->node.id;
    end->attempt = call->attempt;
    end->epoch = call->epoch;
    if (bus_send(call->actor->me, call->reply_to, &end, NULL) != 0) {
        env_free(&end); /* nobody is there to answer */
    }
}

/* Nobody wants the answer any more: the user is told, and what he still says is dropped. */
static void
abandon(struct dynabus_call *call, enum env_outcome outcome, enum err_code error)
{
    const struct dynabus_provider *provider = &call->registered->provider;
    struct env *end = env_new(ENV_END);
    end->outcome = outcome;
    end->error = error;
    end->status = err_row(error)->http;
    end->upstream_calls = 1;
    send_end(call, end);
    (void)pthread_mutex_lock(&call->lock);
    bool tells = !call->has_ended && provider->cancelled != NULL;
    call->loop = NULL;
    (void)pthread_mutex_unlock(&call->lock);
    if (tells) {
        provider->cancelled(provider->user, call);
    }
    let_go(call);
}

/* ---- answering, on the loop ---- */

/* Whether that was the last. */
static bool
take_written(struct dynabus_call *call)
{
    if (call->out_sent == call->out.len) {
        dyn_buf_clear(&call->out);
        call->out_sent = 0;
    }
    (void)pthread_mutex_lock(&call->lock);
    dyn_buf_add_slice(&call->out, dyn_buf_slice(&call->waits));
    dyn_buf_clear(&call->waits);
    bool has_ended = call->has_ended;
    (void)pthread_mutex_unlock(&call->lock);
    return has_ended;
}

static struct env *
first_of_answer(const struct dynabus_call *call, enum env_kind kind)
{
    struct env *env = env_new(kind);
    env->status = 200;
    env->stream = call->request->stream;
    env->content_type =
        call->request->stream ? DYN_SLICE("text/event-stream") : DYN_SLICE("application/json");
    return env;
}

/* 1: on its way; 0: it has to wait; -1: the receiver is gone. */
static int
send_piece(struct dynabus_call *call)
{
    struct dyn_slice all = dyn_buf_slice(&call->out);
    struct dyn_err err;
    size_t len = all.len - call->out_sent < ENV_CHUNK_MAX ? all.len - call->out_sent : (size_t)ENV_CHUNK_MAX;
    if (call->credit.available < len) {
        return 0;
    }
    struct env *chunk = call->sequence == 0 ? first_of_answer(call, ENV_CHUNK) : env_new(ENV_CHUNK);
    chunk->id = call->node.id;
    chunk->attempt = call->attempt;
    chunk->epoch = call->epoch;
    chunk->sequence = call->sequence;
    chunk->body = dyn_block_copy(call->sequence == 0 ? ENV_BODY_HEADROOM : 64,
                                 dyn_slice(all.data + call->out_sent, len));
    if (bus_send(call->actor->me, call->reply_to, &chunk, &err) != 0) {
        env_free(&chunk);
        return err.code == DYN_E_FULL ? 0 : -1;
    }
    (void)credit_sender_take(&call->credit, len);
    call->sequence++;
    call->out_sent += len;
    call->sent_bytes += len;
    call->has_left = true;
    if (call->request->stream) { /* decided: a deadline bounds a stream to its first content */
        bus_timer_disarm(&call->deadline);
    }
    return 1;
}

static void
wait_for_room(struct dynabus_call *call)
{
    struct callback *actor = call->actor;
    if (!dyn_list_is_linked(&call->stuck_link)) {
        dyn_list_append(&actor->stuck, &call->stuck_link);
    }
    bus_timer_arm(actor->loop, &actor->retry, RETRY_FULL_MS);
}

static void
finish(struct dynabus_call *call)
{
    struct env *end = call->end;
    struct dyn_slice rest = dyn_buf_slice(&call->out);
    call->end = NULL;
    end->stream = call->request->stream;
    end->upstream_calls = 1;
    if (end->outcome == ENV_OUTCOME_OK && !call->has_left) {
        end->status = 200;
        end->content_type =
            call->request->stream ? DYN_SLICE("text/event-stream") : DYN_SLICE("application/json");
        end->body = dyn_block_copy(ENV_BODY_HEADROOM, rest);
        call->sent_bytes = rest.len;
    }
    end->body_bytes = call->sent_bytes;
    send_end(call, end);
    let_go(call);
}

/* A plain answer goes as a whole where it fits an END, a stream as it comes. */
static void
flush(struct dynabus_call *call)
{
    bool done = take_written(call);
    bool is_failure = done && call->end->outcome != ENV_OUTCOME_OK;
    bool holds = !call->request->stream && !call->has_left && call->out.len <= ENV_HELD_ANSWER_MAX;
    while (!holds && !is_failure && call->out_sent < call->out.len) {
        int sent = send_piece(call);
        if (sent < 0) {
            abandon(call, ENV_OUTCOME_CANCELLED, ERR_CLIENT_CLOSED);
            return;
        }
        if (sent == 0) {
            wait_for_room(call);
            return;
        }
    }
    if (done) {
        finish(call);
    }
}

static void
flush_posted(void *arg)
{
    struct dynabus_call *call = arg;
    (void)pthread_mutex_lock(&call->lock);
    call->is_posted = false;
    bool is_ours = call->loop != NULL;
    (void)pthread_mutex_unlock(&call->lock);
    if (is_ours) {
        flush(call);
    }
    release(call);
}

static void
flush_stuck(struct bus_timer *timer)
{
    struct callback *actor = DYN_CONTAINER_OF(timer, struct callback, retry);
    struct dyn_list batch;
    dyn_list_init(&batch);
    dyn_list_splice(&batch, &actor->stuck);
    for (struct dyn_list *link; (link = dyn_list_pop(&batch)) != NULL;) {
        flush(DYN_CONTAINER_OF(link, struct dynabus_call, stuck_link));
    }
}

/* ---- answering, on any thread ---- */

/* Under the lock. */
static void
post(struct dynabus_call *call)
{
    if (!call->is_posted && call->loop != NULL) {
        call->is_posted = true;
        call->holders++;
        bus_loop_post(call->loop, flush_posted, call);
    }
}

int
dynabus_call_write(dynabus_call_t *call, const char *bytes, size_t len)
{
    (void)pthread_mutex_lock(&call->lock);
    int rc = call->loop == NULL || call->waits.len + len > WAITING_BYTES_MAX ? -1 : 0;
    if (rc == 0) {
        dyn_buf_add_slice(&call->waits, dyn_slice(bytes, len));
        rc = call->waits.len > BEHIND_BYTES ? 1 : 0;
        post(call);
    }
    (void)pthread_mutex_unlock(&call->lock);
    return rc;
}

static enum err_code
code_named(const char *name)
{
    for (size_t i = 0; i < ERR_COUNT; i++) { /* several rows have one code: those of upstreams first */
        enum err_code code = (enum err_code)((i + ERR_UPSTREAM_RATE_LIMIT) % ERR_COUNT);
        if (code != ERR_NONE && strcmp(err_row(code)->code, name) == 0) {
            return code;
        }
    }
    return ERR_UPSTREAM_ERROR;
}

static struct env *
end_of(const struct dynabus_result *result)
{
    struct dynabus_result said = DYNABUS_RESULT_INIT;
    struct env *end = env_new(ENV_END);
    if (result != NULL) {
        memcpy(&said, result, result->size < sizeof said ? result->size : sizeof said);
    }
    end->outcome = said.error_code == NULL ? ENV_OUTCOME_OK : ENV_OUTCOME_ERROR;
    if (said.error_code != NULL) {
        end->error = code_named(said.error_code);
        end->error_text = env_copy(end, dyn_slice_str(said.error));
        end->retry_after_s = said.retry_after_s;
    }
    end->usage.known = said.usage_known;
    end->usage.prompt_tokens = said.prompt_tokens;
    end->usage.completion_tokens = said.completion_tokens;
    end->usage.total_tokens = said.prompt_tokens + said.completion_tokens;
    return end;
}

void
dynabus_call_end(dynabus_call_t *call, const struct dynabus_result *result)
{
    struct env *end = end_of(result);
    (void)pthread_mutex_lock(&call->lock);
    call->has_ended = true;
    call->end = end;
    post(call);
    (void)pthread_mutex_unlock(&call->lock);
    release(call);
}

const char *
dynabus_call_body(const dynabus_call_t *call, size_t *len)
{
    struct dyn_slice body = dyn_block_slice(call->request->body);
    *len = body.len;
    return body.data != NULL ? body.data : "";
}

const char *
dynabus_call_model(const dynabus_call_t *call)
{
    return call->request->model.data != NULL ? call->request->model.data : "";
}

bool
dynabus_call_is_stream(const dynabus_call_t *call)
{
    return call->request->stream;
}

uint32_t
dynabus_call_timeout_ms(const dynabus_call_t *call)
{
    return call->request->deadline_ms;
}

void
dynabus_call_set_data(dynabus_call_t *call, void *data)
{
    call->data = data;
}

void *
dynabus_call_data(const dynabus_call_t *call)
{
    return call->data;
}

/* ---- the actor ---- */

static void
deadline_is_over(struct bus_timer *timer)
{
    abandon(DYN_CONTAINER_OF(timer, struct dynabus_call, deadline), ENV_OUTCOME_ERROR, ERR_UPSTREAM_TIMEOUT);
}

static void
refuse(struct callback *actor, const struct env *request, enum err_code code)
{
    struct env *end = env_about(ENV_END, request);
    end->outcome = ENV_OUTCOME_ERROR;
    end->error = code;
    end->status = err_row(code)->http;
    end->stream = request->stream;
    if (bus_send(actor->me, request->from, &end, NULL) != 0) {
        env_free(&end);
    }
}

static struct dynabus_call *
call_new(struct callback *actor, struct env **env_p)
{
    struct env *request = *env_p;
    struct dynabus_call *call = dyn_zalloc(sizeof *call);
    call->actor = actor;
    call->reply_to = request->from;
    call->attempt = request->attempt;
    call->epoch = request->epoch;
    call->deadline.fire = deadline_is_over;
    credit_sender_grant(&call->credit, request->credit);
    dyn_list_init(&call->stuck_link);
    call->registered = registered_ref(actor->registered);
    call->request = request;
    request->facts = NULL; /* the router's, which may let go of them first */
    (void)pthread_mutex_init(&call->lock, NULL);
    call->loop = actor->loop;
    call->holders = 2;
    env_map_add(&actor->calls, &call->node, &request->id);
    *env_p = NULL;
    return call;
}

static struct dynabus_call *
find(const struct callback *actor, const struct env *env)
{
    struct env_map_node *node = env_map_find(&actor->calls, &env->id);
    return node != NULL ? DYN_CONTAINER_OF(node, struct dynabus_call, node) : NULL;
}

/* 02-WORKER, Attach: none of them outlives its router, so a later REQUEST takes the former's place. */
static void
take_request(struct callback *actor, struct env **env_p)
{
    const struct dynabus_provider *provider = &actor->registered->provider;
    struct dynabus_call *former = find(actor, *env_p);
    if (former != NULL && former->reply_to == (*env_p)->from &&
        (former->attempt > (*env_p)->attempt ||
         (former->attempt == (*env_p)->attempt && former->epoch >= (*env_p)->epoch))) {
        return; /* a repeat of what is in work, or overtaken */
    }
    if (former != NULL) {
        abandon(former, ENV_OUTCOME_CANCELLED, ERR_CLIENT_CLOSED);
    }
    if (actor->is_draining) {
        refuse(actor, *env_p, ERR_DRAINING);
        return;
    }
    if ((*env_p)->surface != ENV_SURFACE_CHAT || (*env_p)->body == NULL) {
        refuse(actor, *env_p, ERR_INVALID_REQUEST);
        return;
    }
    struct dynabus_call *call = call_new(actor, env_p);
    if (call->request->deadline_ms > 0) {
        bus_timer_arm(actor->loop, &call->deadline, call->request->deadline_ms);
    }
    provider->call(provider->user, call);
}

static void
callback_receive(void *self, struct env **env_p)
{
    struct callback *actor = self;
    const struct env *env = *env_p;
    if (env->kind == ENV_REQUEST) {
        take_request(actor, env_p);
        env_free(env_p);
        return;
    }
    struct dynabus_call *call = find(actor, env);
    bool is_meant = call != NULL && call->attempt == env->attempt && call->epoch == env->epoch &&
                    call->reply_to == env->from;
    if (is_meant && env->kind == ENV_CANCEL) {
        abandon(call, ENV_OUTCOME_CANCELLED, ERR_CLIENT_CLOSED);
    } else if (is_meant && env->kind == ENV_CREDIT) {
        credit_sender_grant(&call->credit, env->credit);
        flush(call);
    }
    env_free(env_p);
}

static void
end_all(struct callback *actor)
{
    for (struct env_map_node *node; (node = env_map_any(&actor->calls)) != NULL;) {
        abandon(DYN_CONTAINER_OF(node, struct dynabus_call, node), ENV_OUTCOME_ERROR, ERR_DRAINING);
    }
}

static void
end_of_drain(struct bus_timer *timer)
{
    end_all(DYN_CONTAINER_OF(timer, struct callback, drain));
}

static void
callback_drain(void *self, uint64_t deadline_us)
{
    struct callback *actor = self;
    uint64_t now_us = bus_loop_now_us(actor->loop);
    uint64_t left_ms = deadline_us > now_us ? (deadline_us - now_us) / 1000 : 0;
    uint64_t margin_ms = left_ms / 4 < DRAIN_MARGIN_MS ? left_ms / 4 : DRAIN_MARGIN_MS;
    actor->is_draining = true;
    bus_timer_arm(actor->loop, &actor->drain, left_ms - margin_ms);
    if (actor->calls.n == 0) {
        bus_timer_disarm(&actor->drain);
        bus_actor_idle(actor->me);
    }
}

static int
callback_start(void *self, bus_actor_t *me, struct dyn_err *err)
{
    (void)err;
    struct callback *actor = self;
    actor->me = me;
    actor->loop = bus_actor_loop(me);
    return 0;
}

static void
callback_stop(void *self)
{
    struct callback *actor = self;
    actor->is_draining = false;
    end_all(actor);
    bus_timer_fini(&actor->retry);
    bus_timer_fini(&actor->drain);
    env_map_fini(&actor->calls);
    registered_unref(&actor->registered);
    free(actor);
}

void *
callback_new(struct registered *registered)
{
    struct callback *actor = dyn_zalloc(sizeof *actor);
    actor->registered = registered_ref(registered);
    actor->retry.fire = flush_stuck;
    actor->drain.fire = end_of_drain;
    env_map_init(&actor->calls);
    dyn_list_init(&actor->stuck);
    return actor;
}

const struct bus_actor_ops callback_actor_ops = {
    .kind = "callback",
    .start = callback_start,
    .receive = callback_receive,
    .drain = callback_drain,
    .stop = callback_stop,
};
