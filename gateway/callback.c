#include "gateway/callback.h"

#include "bus/credit.h"
#include "proto/env_map.h"

#include <pthread.h>
#include <stdlib.h>

enum {
    BEHIND_BYTES = 256 * 1024,            /* beyond it who writes is told that the client is behind */
    WAITING_BYTES_MAX = 16 * 1024 * 1024, /* of one answer */
    RETRY_FULL_MS = 5,                    /* the receiver's mailbox is full */
    DRAIN_MARGIN_MS = 250,                /* for the last ENDs to reach their clients */
    LATER_HEADROOM = 64,                  /* only the first piece gets an HTTP head in front */
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
    size_t piece_max; /* bytes of a CHUNK that any grant of this receiver covers in the end */
    struct bus_timer deadline;
    uint32_t sequence;
    size_t sent_bytes;
    bool has_left; /* a CHUNK */

    struct registered *registered;
    struct env *request; /* what the user looks at; unchanged */
    void *data;

    pthread_mutex_t lock;
    bus_loop_t *loop;       /* to post to; NULL: the actor has let go */
    struct dyn_list unsent; /* CHUNKs; the loop takes one when it can go, and writes go behind the last */
    size_t unsent_bytes;    /* of their bodies */
    unsigned holders;
    bool has_written;
    bool is_posted;
    bool has_ended;
    struct env *end; /* what the user said, once has_ended */
};

/* ---- life of a call ---- */

/* Under the lock, or nobody else has it. */
static void
drop_unsent(struct dynabus_call *call)
{
    for (struct dyn_list *link; (link = dyn_list_pop(&call->unsent)) != NULL;) {
        struct env *chunk = DYN_CONTAINER_OF(link, struct env, link);
        env_free(&chunk);
    }
    call->unsent_bytes = 0;
}

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
    drop_unsent(call);
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
    drop_unsent(call); /* the user may hold the call for long */
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

/* Nobody wants the answer any more: the user is told, and what he still says is dropped. He is told without
 * the lock, since he may end the call right there; so it may also be ended elsewhere at that moment, which
 * dynabus.h says of `cancelled`. */
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

/* The receiver grants again when it has passed on half a window, so that much is always to be had. */
static size_t
half_of(uint32_t bytes)
{
    uint32_t half = bytes / 2;
    return half == 0 ? 1 : half < ENV_CHUNK_MAX ? half : (size_t)ENV_CHUNK_MAX;
}

/* A request that is sent again comes with what was left of its window, which may be next to nothing; what is
 * granted later shows how large the window is. */
static void
take_credit(struct dynabus_call *call, uint32_t bytes)
{
    size_t piece_max = half_of(bytes);
    call->piece_max = piece_max > call->piece_max ? piece_max : call->piece_max;
    credit_sender_grant(&call->credit, bytes);
}

/* Takes the first piece of what waits; of one that is too long its beginning. NULL: none, or there is no
 * credit for it. */
static struct env *
next_piece(struct dynabus_call *call)
{
    struct env *chunk = NULL;
    (void)pthread_mutex_lock(&call->lock);
    if (!dyn_list_is_empty(&call->unsent)) {
        struct env *first = DYN_CONTAINER_OF(call->unsent.next, struct env, link);
        size_t len = first->body->len < call->piece_max ? first->body->len : call->piece_max;
        if (call->credit.available >= len && len == first->body->len) {
            dyn_list_remove(&first->link);
            chunk = first;
        } else if (call->credit.available >= len) {
            size_t headroom = call->sequence == 0 ? ENV_BODY_HEADROOM : LATER_HEADROOM;
            chunk = env_new(ENV_CHUNK);
            chunk->body = dyn_block_copy(headroom, dyn_slice(dyn_block_data(first->body), len));
            dyn_block_skip(first->body, len);
        }
        call->unsent_bytes -= chunk != NULL ? len : 0;
    }
    (void)pthread_mutex_unlock(&call->lock);
    return chunk;
}

static void
put_back(struct dynabus_call *call, struct env *chunk)
{
    (void)pthread_mutex_lock(&call->lock);
    call->unsent_bytes += chunk->body->len;
    dyn_list_append(call->unsent.next, &chunk->link); /* before the first */
    (void)pthread_mutex_unlock(&call->lock);
}

static void
begin_answer(const struct dynabus_call *call, struct env *env)
{
    env->status = 200;
    env->stream = call->request->stream;
    env->content_type =
        call->request->stream ? DYN_SLICE("text/event-stream") : DYN_SLICE("application/json");
}

enum sending { SENT, WAITS, IS_FULL, IS_GONE };

static enum sending
send_piece(struct dynabus_call *call)
{
    struct env *chunk = next_piece(call);
    struct dyn_err err;
    if (chunk == NULL) {
        return WAITS;
    }
    size_t len = chunk->body->len;
    chunk->id = call->node.id;
    chunk->attempt = call->attempt;
    chunk->epoch = call->epoch;
    chunk->sequence = call->sequence;
    if (call->sequence == 0) {
        begin_answer(call, chunk);
    }
    if (bus_send(call->actor->me, call->reply_to, &chunk, &err) != 0) {
        put_back(call, chunk);
        return err.code == DYN_E_FULL ? IS_FULL : IS_GONE;
    }
    (void)credit_sender_take(&call->credit, len);
    call->sequence++;
    call->sent_bytes += len;
    call->has_left = true;
    if (call->request->stream) { /* decided: a deadline bounds a stream to its first content */
        bus_timer_disarm(&call->deadline);
    }
    return SENT;
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

/* All that was written, and nothing of it has left. */
static dyn_block_t *
whole_answer(struct dynabus_call *call)
{
    dyn_block_t *whole = NULL;
    (void)pthread_mutex_lock(&call->lock);
    for (struct dyn_list *link; (link = dyn_list_pop(&call->unsent)) != NULL;) {
        struct env *chunk = DYN_CONTAINER_OF(link, struct env, link);
        if (whole == NULL && dyn_list_is_empty(&call->unsent)) {
            whole = chunk->body;
            chunk->body = NULL;
        } else {
            whole = whole != NULL ? whole : dyn_block_new(ENV_BODY_HEADROOM, call->unsent_bytes);
            dyn_block_append(&whole, dyn_block_data(chunk->body), chunk->body->len);
        }
        env_free(&chunk);
    }
    call->unsent_bytes = 0;
    (void)pthread_mutex_unlock(&call->lock);
    return whole != NULL ? whole : dyn_block_new(ENV_BODY_HEADROOM, 0);
}

static void
finish(struct dynabus_call *call)
{
    struct env *end = call->end;
    call->end = NULL;
    if (end->outcome == ENV_OUTCOME_OK && !call->has_left) {
        begin_answer(call, end);
        end->body = whole_answer(call);
        call->sent_bytes = end->body->len;
    }
    end->stream = call->request->stream;
    end->upstream_calls = 1;
    end->body_bytes = call->sent_bytes;
    send_end(call, end);
    let_go(call);
}

struct written {
    size_t bytes; /* that wait */
    bool is_all;  /* and nothing more will be written */
    bool is_failure;
};

static struct written
look_at_written(struct dynabus_call *call)
{
    (void)pthread_mutex_lock(&call->lock);
    struct written written = {call->unsent_bytes, call->has_ended,
                              call->has_ended && call->end->outcome != ENV_OUTCOME_OK};
    (void)pthread_mutex_unlock(&call->lock);
    return written;
}

/* A plain answer goes as a whole where it fits an END, a stream as it comes. Credit that is missing comes as
 * CREDIT, and room in a mailbox is tried for. */
static void
flush(struct dynabus_call *call)
{
    struct written written = look_at_written(call);
    bool holds = !call->request->stream && !call->has_left && written.bytes <= ENV_HELD_ANSWER_MAX;
    enum sending sending = SENT;
    while (!holds && !written.is_failure && sending == SENT) {
        sending = send_piece(call);
    }
    if (sending == IS_GONE) {
        abandon(call, ENV_OUTCOME_CANCELLED, ERR_CLIENT_CLOSED);
        return;
    }
    if (sending == IS_FULL) {
        wait_for_room(call);
        return;
    }
    if (written.is_failure || (written.is_all && (holds || look_at_written(call).bytes == 0))) {
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

static bool
fits_last(const struct dynabus_call *call, size_t len)
{
    if (dyn_list_is_empty(&call->unsent)) {
        return false;
    }
    const struct env *last = DYN_CONTAINER_OF(call->unsent.prev, struct env, link);
    return last->body->len + len <= ENV_CHUNK_MAX;
}

/* Under the lock. What is written at once, an event, stays in one piece where it can. */
static void
append(struct dynabus_call *call, struct dyn_slice bytes)
{
    while (bytes.len > 0) {
        size_t len = bytes.len < ENV_CHUNK_MAX ? bytes.len : (size_t)ENV_CHUNK_MAX;
        if (fits_last(call, len)) {
            struct env *last = DYN_CONTAINER_OF(call->unsent.prev, struct env, link);
            dyn_block_append(&last->body, bytes.data, len);
        } else {
            struct env *chunk = env_new(ENV_CHUNK);
            size_t headroom = call->has_written ? LATER_HEADROOM : ENV_BODY_HEADROOM;
            chunk->body = dyn_block_copy(headroom, dyn_slice(bytes.data, len));
            dyn_list_append(&call->unsent, &chunk->link);
            call->has_written = true;
        }
        call->unsent_bytes += len;
        bytes = dyn_slice(bytes.data + len, bytes.len - len);
    }
}

int
dynabus_call_write(dynabus_call_t *call, const char *bytes, size_t len)
{
    (void)pthread_mutex_lock(&call->lock);
    int rc = call->loop == NULL || len > WAITING_BYTES_MAX - call->unsent_bytes ? -1 : 0;
    if (rc == 0) {
        append(call, dyn_slice(bytes, len));
        rc = call->unsent_bytes > BEHIND_BYTES ? 1 : 0;
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
    take_credit(call, request->credit);
    dyn_list_init(&call->stuck_link);
    dyn_list_init(&call->unsent);
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
        take_credit(call, env->credit);
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
