/* What goes back to the sender of a request: CHUNKs within its credit, in order, then END. What waits
 * here is bounded: the upstream is paused as soon as something does, so that it is what libcurl held
 * already, and at most one event of a stream. */
#include "actors/providers/provider_call.h"
#include "actors/providers/retry_hint.h"

#include <stdlib.h>

#define HEADER_NAME_MAX  64u
#define HEADER_VALUE_MAX 1024u
#define RETRY_FULL_MS    5u /* a full mailbox means a receiver that is tens of milliseconds behind */

static struct env *
new_reply(struct provider_call *call, enum env_kind kind)
{
    struct env *env = env_new(kind);
    env->id = call->node.id;
    env->attempt = call->attempt;
    env->epoch = call->epoch;
    return env;
}

struct env *
provider_reply_first(struct provider_call *call)
{
    if (call->reply == NULL) {
        call->reply = new_reply(call, ENV_END);
    }
    return call->reply;
}

/* ---- headers of the answer ---- */

/* Names that are worth a client's while. One that ends in '-' stands for all that begin so. */
static const struct {
    struct dyn_slice name;
    struct dyn_slice as; /* absent: under its own name */
} passed_on[] = {
    {DYN_SLICE_INIT("x-ratelimit-"), {NULL, 0}},
    {DYN_SLICE_INIT("openai-"), {NULL, 0}},
    {DYN_SLICE_INIT("anthropic-ratelimit-"), {NULL, 0}},
    {DYN_SLICE_INIT("retry-after"), {NULL, 0}},
    {DYN_SLICE_INIT("retry-after-ms"), {NULL, 0}},
    {DYN_SLICE_INIT("x-request-id"), DYN_SLICE_INIT("x-upstream-request-id")},
    {DYN_SLICE_INIT("request-id"), DYN_SLICE_INIT("x-upstream-request-id")},
};

static struct dyn_slice
name_for_client(struct dyn_slice name)
{
    for (size_t i = 0; i < DYN_ARRAY_LEN(passed_on); i++) {
        struct dyn_slice known = passed_on[i].name;
        bool is_prefix = known.data[known.len - 1] == '-';
        bool matches = is_prefix ? name.len > known.len && memcmp(name.data, known.data, known.len) == 0
                                 : dyn_slice_eq(name, known);
        if (matches) {
            return passed_on[i].as.data != NULL ? passed_on[i].as : name;
        }
    }
    return dyn_slice(NULL, 0);
}

static bool
is_clean(struct dyn_slice value)
{
    for (size_t i = 0; i < value.len; i++) {
        if ((unsigned char)value.data[i] < ' ' || value.data[i] == 0x7f) {
            return false;
        }
    }
    return value.len <= HEADER_VALUE_MAX;
}

/* A provider that quotes the key it was sent, in whatever header. */
static bool
has_secret(const struct provider_call *call, struct dyn_slice value)
{
    struct dyn_slice secrets[PROVIDER_SECRETS_MAX];
    size_t n = provider_call_secrets(call, secrets);
    return provider_text_has_secret(value, secrets, n);
}

/* false: a retry-after that says no time to wait for. It is not passed on: the edge may have one to say. */
static bool
is_worth_passing_on(const struct provider_call *call, struct dyn_slice name, struct dyn_slice value)
{
    uint64_t wall_us = dyn_wall_us(bus_loop_clock(call->provider->loop));
    return !dyn_slice_is(name, "retry-after") || retry_hint_after(value, wall_us) > 0;
}

/* Only answers that failed are looked at for it: others have such headers, too, each time. */
void
provider_reply_hint(const struct provider_call *call, struct env *end)
{
    struct retry_hint hint = {.after_ms = 0};
    uint64_t wall_us = dyn_wall_us(bus_loop_clock(call->provider->loop));
    for (size_t i = 0; i < end->n_headers; i++) {
        retry_hint_header(&hint, end->headers[i].name, end->headers[i].value, wall_us);
    }
    end->retry_ms = retry_hint_ms(&hint);
    end->retry_after_s = (uint32_t)(((uint64_t)end->retry_ms + 999) / 1000);
}

void
provider_reply_header(struct provider_call *call, struct dyn_slice name, struct dyn_slice value)
{
    char lower[HEADER_NAME_MAX];
    if (name.len > sizeof lower || !is_clean(value)) {
        return;
    }
    for (size_t i = 0; i < name.len; i++) {
        char c = name.data[i];
        lower[i] = (char)(c >= 'A' && c <= 'Z' ? c | 0x20 : c);
    }
    name.data = lower;
    if (dyn_slice_is(name, "content-type")) {
        struct env *reply = provider_reply_first(call);
        reply->content_type = has_secret(call, value) ? dyn_slice(NULL, 0) : env_copy(reply, value);
    } else if (dyn_slice_is(name, "content-encoding")) {
        call->is_encoded = !dyn_slice_ieq(value, DYN_SLICE("identity"));
    } else {
        struct dyn_slice passed = name_for_client(name);
        if (passed.data != NULL && is_worth_passing_on(call, name, value) && !has_secret(call, value)) {
            env_add_header(provider_reply_first(call), passed, value);
        }
    }
}

/* ---- chunks ---- */

size_t
provider_reply_headroom(const struct provider_call *call)
{
    return call->has_begun ? (size_t)PROVIDER_CHUNK_HEADROOM : (size_t)ENV_BODY_HEADROOM;
}

static void
queue_chunk(struct provider_call *call, dyn_block_t *block)
{
    struct env *chunk;
    if (call->has_begun) {
        chunk = new_reply(call, ENV_CHUNK);
    } else {
        call->has_begun = true;
        chunk = provider_reply_first(call);
        call->reply = NULL;
        chunk->kind = ENV_CHUNK;
        chunk->status = (uint16_t)call->status;
        chunk->stream = call->mode == CALL_STREAM;
        if (chunk->stream) {
            call->first_content_us = dyn_mono_us(bus_loop_clock(call->provider->loop));
        }
        if (chunk->stream &&
            call->http != NULL) { /* decided: a deadline bounds a stream to its first content */
            http_call_clear_deadline(call->http);
        }
    }
    chunk->sequence = call->sequence++;
    chunk->body = block;
    call->body_bytes += block->len;
    dyn_list_append(&call->out, &chunk->link);
}

void
provider_reply_chunk(struct provider_call *call, dyn_block_t **block_p)
{
    dyn_block_t *block = *block_p;
    *block_p = NULL;
    while (block != NULL && block->len > call->piece_max) { /* an event longer than a CHUNK may be */
        struct dyn_slice piece = dyn_slice(dyn_block_data(block), call->piece_max);
        dyn_block_t *copy = dyn_block_new(provider_reply_headroom(call), piece.len + PROVIDER_CHUNK_TAILROOM);
        dyn_block_append(&copy, piece.data, piece.len);
        dyn_block_skip(block, piece.len);
        queue_chunk(call, copy);
    }
    if (block != NULL && block->len > 0) {
        queue_chunk(call, block);
        block = NULL;
    }
    dyn_block_unref(&block);
}

/* ---- sending ---- */

void
provider_reply_drop(struct provider_call *call)
{
    struct dyn_list *link;
    while ((link = dyn_list_pop(&call->out)) != NULL) {
        struct env *chunk = DYN_CONTAINER_OF(link, struct env, link);
        env_free(&chunk);
    }
}

void
provider_reply_sent(struct provider_call *call)
{
    if (!call->tells_sent || call->is_orphan) {
        return;
    }
    struct env *told = new_reply(call, ENV_DISPATCHED);
    call->tells_sent = false;
    told->sent = true;
    if (bus_send(call->provider->me, call->reply_to, &told, NULL) != 0) {
        env_free(&told); /* who is gone is told of elsewhere */
    }
}

/* 1: sent; 0: it has to wait; -1: the receiver is gone, and so is the call. */
static int
send_chunk(struct provider_call *call, struct env *chunk)
{
    struct provider *provider = call->provider;
    struct dyn_err err;
    size_t len = env_body_len(chunk);
    if (call->credit.available < len) {
        return 0;
    }
    dyn_list_remove(&chunk->link);
    if (bus_send(provider->me, call->reply_to, &chunk, &err) == 0) {
        (void)credit_sender_take(&call->credit, len);
        call->has_left = true;
        return 1;
    }
    if (err.code == DYN_E_GONE && provider_orphan_begin(call)) {
        dyn_list_append(call->out.next, &chunk->link);
        return 0;
    }
    if (err.code == DYN_E_FULL) {
        dyn_list_append(call->out.next, &chunk->link); /* back to the front */
        if (!dyn_list_is_linked(&call->link)) {
            dyn_list_append(&provider->stuck, &call->link);
        }
        bus_timer_arm(provider->loop, &provider->retry, RETRY_FULL_MS);
        return 0;
    }
    env_free(&chunk);
    provider_call_cancelled(call); /* nobody is there to answer */
    return -1;
}

/* False: the receiver is gone and another one may ask for it. */
static bool
send_end(struct provider_call *call)
{
    if (bus_send(call->provider->me, call->reply_to, &call->end, NULL) != 0) {
        if (provider_orphan_begin(call)) {
            return false;
        }
        env_free(&call->end);
    }
    provider_call_free(call);
    return true;
}

bool
provider_reply_flush(struct provider_call *call)
{
    while (!call->is_orphan && !dyn_list_is_empty(&call->out)) {
        int sent = send_chunk(call, DYN_CONTAINER_OF(call->out.next, struct env, link));
        if (sent < 0) {
            return true;
        }
        if (sent == 0) {
            break;
        }
    }
    bool waits = !dyn_list_is_empty(&call->out);
    if (!call->is_orphan && !waits && call->end != NULL && send_end(call)) {
        return true;
    }
    if (call->is_orphan) {
        return provider_orphan_hold(call);
    }
    if (call->http != NULL && waits) {
        if (http_call_pause(call->http)) {
            (void)atomic_fetch_add_explicit(&call->provider->options.shared->credit_stalls, 1,
                                            memory_order_relaxed);
        }
    } else if (call->http != NULL) {
        http_call_resume(call->http);
    }
    return false;
}
