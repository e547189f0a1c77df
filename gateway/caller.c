#include "gateway/caller.h"

#include "bus/credit.h"
#include "core/rand.h"
#include "gateway/caller_request.h"
#include "proto/dialects/dialect.h"
#include "proto/env_map.h"

#include <stdatomic.h>
#include <stdlib.h>

/* What a caller without a chunk callback may be handed in one piece. */
#define CALLER_ANSWER_MAX (50u * 1024 * 1024)
/* Of submitted requests that the loop has not taken yet. */
#define CALLER_WAITING_MAX ((size_t)BUS_MAILBOX_DEFAULT)
/* Of the drain time: what is ended by then is still settled by router and provider. */
#define GIVE_UP_PERCENT 90u

struct caller {
    bus_actor_t *me;
    bus_loop_t *loop;
    bus_addr_t router;
    struct dyn_slice credential;
    struct env_map calls;
    atomic_size_t waiting_bytes; /* submitted and not yet on the loop */
    bool is_draining;
    struct bus_timer drain_timer;
};

struct call {
    struct env_map_node node;
    struct caller *caller;
    struct env *request; /* until it is sent */
    dynabus_chunk_fn chunk;
    dynabus_answer_fn answered;
    void *user;
    struct credit_receiver credit;
    dyn_block_t *held; /* the answer so far, when it is not given out in pieces */
    bool cancelled;
    const char *broken; /* why no answer can be handed over, whatever the END says; or NULL */
    bool is_stream;     /* as the first CHUNK or END says */
    struct caller_headers headers;
    char trace_id[CALLER_TRACE_ID_DIGITS + 1];
};

static void
call_free(struct call *call)
{
    env_free(&call->request);
    dyn_block_unref(&call->held);
    caller_headers_fini(&call->headers);
    free(call);
}

static void
idle_when_empty(struct caller *caller)
{
    if (caller->is_draining && caller->calls.n == 0) {
        caller->is_draining = false;
        bus_actor_idle(caller->me);
    }
}

static const char *
or_empty(struct arena *arena, struct dyn_slice text)
{
    return text.len > 0 ? arena_copy(arena, text).data : "";
}

static void
write_error(const struct env *end, struct dyn_buf *out)
{
    dialect_openai_chat.write_error(out, end->error, end->error_text, end->error_param, end->upstream_code);
}

/* As a client of the edge sees it: a plugin may have refused with a status of its own. */
static int
status_of(const struct env *end)
{
    if (end->outcome == ENV_OUTCOME_OK) {
        return end->status != 0 ? end->status : 200;
    }
    return end->status >= 400 ? end->status : err_row(end->error)->http;
}

static void
add_headers(struct dynabus_answer *told, const struct caller_headers *headers)
{
    const char *cost = caller_headers_find(headers, "x-dynabus-cost-usd");
    const char *degraded = caller_headers_find(headers, "x-dynabus-degraded");
    told->cost_known = cost != NULL;
    told->cost_usd = cost != NULL ? strtod(cost, NULL) : 0;
    told->degraded = degraded != NULL ? degraded : "";
}

static void
answer(struct call *call, const struct env *end)
{
    struct arena arena;
    arena_init(&arena, NULL, 0);
    struct dyn_buf error_body = DYN_BUF_INIT;
    const struct err_row *row = err_row(end->error);
    bool ok = end->outcome == ENV_OUTCOME_OK;
    struct dyn_slice body = dyn_block_slice(call->held);
    if (!ok) {
        write_error(end, &error_body);
        body = dyn_buf_slice(&error_body);
    }
    struct dynabus_answer told = {
        .status = status_of(end),
        .body = body.len > 0 ? body.data : "",
        .body_len = body.len,
        .error_code = ok ? NULL : row->code,
        .error = ok ? NULL : (end->error_text.len > 0 ? or_empty(&arena, end->error_text) : row->sentence),
        .provider = or_empty(&arena, end->provider),
        .target = or_empty(&arena, end->target),
        .trace_id = call->trace_id,
        .attempts = end->attempts,
        .usage_known = end->usage.known,
        .prompt_tokens = end->usage.prompt_tokens,
        .completion_tokens = end->usage.completion_tokens,
        .headers = call->headers.items,
        .n_headers = call->headers.n,
        .redelivered = end->redelivered,
        .upstream_calls = end->upstream_calls,
        .retry_after_s = end->retry_after_s,
        .usage_estimated = end->usage.estimated,
    };
    add_headers(&told, &call->headers);
    call->answered(call->user, &told);
    dyn_buf_fini(&error_body);
    arena_fini(&arena);
}

static void
finish(struct call *call, const struct env *end)
{
    struct caller *caller = call->caller;
    env_map_remove(&caller->calls, &call->node);
    answer(call, end);
    call_free(call);
    idle_when_empty(caller);
}

static void
finish_with(struct call *call, enum err_code error)
{
    struct env *end = env_new(ENV_END);
    end->outcome = ENV_OUTCOME_ERROR;
    end->error = error;
    finish(call, end);
    env_free(&end);
}

static void
send_about(struct call *call, struct env *env)
{
    env->id = call->node.id;
    if (bus_send(call->caller->me, call->caller->router, &env, NULL) != 0) {
        env_free(&env); /* the router is gone: so is this call, at the drain's deadline */
    }
}

static void
cancel(struct call *call, const char *reason)
{
    if (!call->cancelled) {
        call->cancelled = true;
        struct env *env = env_new(ENV_CANCEL);
        env->reason = env_copy(env, dyn_slice_str(reason));
        send_about(call, env);
    }
}

static void
break_off(struct call *call, const char *why)
{
    call->broken = why;
    cancel(call, "broken");
}

static void
hold(struct call *call, struct dyn_slice bytes)
{
    if (call->held == NULL) {
        call->held = dyn_block_new(0, bytes.len);
    }
    if (call->held->len + bytes.len > CALLER_ANSWER_MAX) {
        break_off(call, "the answer is larger than 50 MiB, which is what can be handed over at once");
        return;
    }
    dyn_block_append(&call->held, bytes.data, bytes.len);
}

/* Pieces go out only where the answer is a stream; an error or a plain answer comes whole. */
static void
deliver(struct call *call, struct dyn_slice bytes)
{
    if (bytes.len == 0 || call->cancelled) {
        return;
    }
    if (call->chunk == NULL || !call->is_stream) {
        hold(call, bytes);
    } else if (call->chunk(call->user, bytes.data, bytes.len) != 0) {
        cancel(call, "caller");
    }
}

static void
take_chunk(struct call *call, const struct env *chunk)
{
    struct dyn_slice bytes = dyn_block_slice(chunk->body);
    if (!credit_receiver_arrived(&call->credit, bytes.len)) {
        break_off(call, "an answer came without credit");
        return;
    }
    call->is_stream = call->is_stream || chunk->stream;
    if (chunk->sequence == 0) { /* of an attempt; what another one said does not hold */
        caller_headers_clear(&call->headers);
    }
    caller_headers_take(&call->headers, chunk);
    if (chunk->sequence == 0 && !call->is_stream) {
        dyn_block_unref(&call->held); /* 01-ENVELOPE: a plain answer starts over */
    }
    deliver(call, bytes);
    uint32_t grant = credit_receiver_consumed(&call->credit, bytes.len);
    if (grant > 0 && !call->cancelled) {
        struct env *env = env_new(ENV_CREDIT);
        env->credit = grant;
        send_about(call, env);
    }
}

/* The answer is in the END alone, whatever came before it (01-ENVELOPE). A worker may put its last bytes
 * there, too, if it says how many the answer has in all. */
static bool
is_whole(const struct env *end)
{
    size_t len = env_body_len(end);
    return len > 0 && (end->body_bytes == 0 || end->body_bytes == len);
}

static void
caller_receive(void *self, struct env **env_p)
{
    struct caller *caller = self;
    struct env *env = *env_p;
    struct env_map_node *node = env_map_find(&caller->calls, &env->id);
    if (node != NULL) {
        struct call *call = DYN_CONTAINER_OF(node, struct call, node);
        if (env->kind == ENV_CHUNK) {
            take_chunk(call, env);
        } else if (env->kind == ENV_END) {
            call->is_stream = call->is_stream || env->stream;
            caller_headers_take(&call->headers, env);
            if (!call->is_stream && is_whole(env)) {
                dyn_block_unref(&call->held);
            }
            deliver(call, dyn_block_slice(env->body));
            if (call->broken != NULL) {
                env->outcome = ENV_OUTCOME_ERROR;
                env->error = ERR_INTERNAL;
                env->status = 0; /* that of the error */
                env->error_text = dyn_slice_str(call->broken);
            }
            finish(call, env);
        }
    }
    env_free(env_p);
}

static size_t
waiting_cost(size_t body_len)
{
    return body_len + BUS_ENVELOPE_COST;
}

static void
submit_on_loop(void *arg)
{
    struct call *call = arg;
    struct caller *caller = call->caller;
    struct env *request = call->request;
    call->request = NULL;
    (void)atomic_fetch_sub_explicit(&caller->waiting_bytes, waiting_cost(env_body_len(request)),
                                    memory_order_relaxed);
    request->received_us = dyn_mono_us(bus_loop_clock(caller->loop));
    env_map_add(&caller->calls, &call->node, &request->id);
    if (bus_send(caller->me, caller->router, &request, NULL) != 0) {
        env_free(&request);
        finish_with(call, ERR_SATURATED);
    }
}

static int
submit(caller_t *caller, const struct dynabus_request *request, enum env_surface surface,
       dynabus_chunk_fn chunk, dynabus_answer_fn answered, void *user)
{
    size_t cost = waiting_cost(request->body_len);
    size_t before = atomic_fetch_add_explicit(&caller->waiting_bytes, cost, memory_order_relaxed);
    if (before > 0 && before + cost > CALLER_WAITING_MAX) { /* one request of any size passes */
        (void)atomic_fetch_sub_explicit(&caller->waiting_bytes, cost, memory_order_relaxed);
        return -1;
    }
    struct call *call = dyn_zalloc(sizeof *call);
    call->caller = caller;
    call->chunk = chunk;
    call->answered = answered;
    call->user = user;
    credit_receiver_init(&call->credit, ENV_WINDOW_FIRST);
    caller_headers_init(&call->headers);
    call->request = caller_request_new(request, surface, caller->credential, call->trace_id);
    bus_loop_post(caller->loop, submit_on_loop, call);
    return 0;
}

int
caller_submit(caller_t *caller, const struct dynabus_request *request, dynabus_chunk_fn chunk,
              dynabus_answer_fn answered, void *user)
{
    return submit(caller, request, ENV_SURFACE_CHAT, chunk, answered, user);
}

int
caller_embed(caller_t *caller, const struct dynabus_request *request, dynabus_answer_fn answered, void *user)
{
    return submit(caller, request, ENV_SURFACE_EMBEDDINGS, NULL, answered, user);
}

static void
drain_look(struct bus_timer *timer)
{
    struct caller *caller = DYN_CONTAINER_OF(timer, struct caller, drain_timer);
    for (struct env_map_node *node; (node = env_map_any(&caller->calls)) != NULL;) {
        struct call *call = DYN_CONTAINER_OF(node, struct call, node);
        cancel(call, "drain");
        finish_with(call, ERR_DRAINING);
    }
    idle_when_empty(caller);
}

/* Nothing new comes: the gateway refuses since before its bus drains, and what was submitted until then lies
 * before this call in the loop's queue. */
static void
caller_drain(void *self, uint64_t deadline_us)
{
    struct caller *caller = self;
    caller->is_draining = true;
    uint64_t now_us = bus_loop_now_us(caller->loop);
    uint64_t left_ms = deadline_us > now_us ? (deadline_us - now_us) / 1000 : 0;
    bus_timer_arm(caller->loop, &caller->drain_timer, left_ms * GIVE_UP_PERCENT / 100);
    idle_when_empty(caller);
}

caller_t *
caller_new(bus_addr_t router, struct dyn_slice credential)
{
    struct caller *caller = dyn_zalloc(sizeof *caller);
    caller->router = router;
    caller->credential = credential;
    caller->drain_timer.fire = drain_look;
    env_map_init(&caller->calls);
    return caller;
}

static int
caller_start(void *self, bus_actor_t *me, struct dyn_err *err)
{
    (void)err;
    struct caller *caller = self;
    caller->me = me;
    caller->loop = bus_actor_loop(me);
    return 0;
}

static void
caller_stop(void *self)
{
    struct caller *caller = self;
    for (struct env_map_node *node; (node = env_map_any(&caller->calls)) != NULL;) {
        finish_with(DYN_CONTAINER_OF(node, struct call, node), ERR_DRAINING);
    }
    bus_timer_fini(&caller->drain_timer);
    env_map_fini(&caller->calls);
    free(caller);
}

const struct bus_actor_ops caller_actor_ops = {
    .kind = "caller",
    .start = caller_start,
    .receive = caller_receive,
    .drain = caller_drain,
    .stop = caller_stop,
};
