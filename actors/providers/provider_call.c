/* One call to an upstream, from its start to its END. What the answer's bytes mean is in provider_plain.c
 * and provider_stream.c, how they go back in provider_reply.c.
 *
 *   HEAD --2xx, JSON--> PLAIN ---------> END
 *    |----2xx, SSE----> STREAM -CHUNK*-> END
 *    |----other-------> REFUSED -------> END (error)
 *    any: cancelled, timed out, cut ---> END (cancelled, error)
 */
#include "actors/providers/provider_call.h"
#include "actors/providers/provider_params.h"

#include "core/log.h"

#include <stdlib.h>

#define SPARE_CALLS_MAX  256u
#define BYTES_PER_TOKEN  4u /* of English text, all tokenizers in use; for estimates only */
#define ERROR_BODY_FIRST 1024u

static void
count(atomic_uint_fast64_t *counter, uint64_t n)
{
    (void)atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

void
provider_call_log(const struct provider_call *call, enum err_code code, const char *detail)
{
    const struct provider_target *target = call->provider->options.target;
    bool is_callers = err_row(code)->blame == ERR_BLAME_CLIENT;
    dyn_log(is_callers ? DYN_LOG_INFO : DYN_LOG_WARN, "provider.failed", detail,
            DYN_LOG_SLICE("target", target->name), DYN_LOG_STR("error", err_row(code)->name),
            DYN_LOG_UINT("upstream_status", call->status), DYN_LOG_UINT("attempt", call->attempt));
}

/* ---- whose it is ---- */

/* The receiver grants again when it has passed on half a window, so that much is always to be had. */
static uint32_t
half_of(uint32_t bytes)
{
    uint32_t half = bytes / 2;
    return half == 0 ? 1 : half < ENV_CHUNK_MAX ? half : (uint32_t)ENV_CHUNK_MAX;
}

uint32_t
provider_call_piece_max(const struct env *request)
{
    return half_of(request->credit ? request->credit : (uint32_t)ENV_WINDOW_FIRST);
}

/* A request that is sent again comes with what was left of its window, and that may be next to nothing; what
 * is granted later shows how large the window is. */
void
provider_call_granted(struct provider_call *call, uint32_t bytes)
{
    uint32_t piece = half_of(bytes);
    call->piece_max = piece > call->piece_max ? piece : call->piece_max;
    credit_sender_grant(&call->credit, bytes);
}

void
provider_call_belongs(struct provider_call *call, const struct env *request)
{
    call->reply_to = request->from;
    call->piece_max = provider_call_piece_max(request);
    call->credit = (struct credit_sender){0};
    credit_sender_grant(&call->credit, request->credit);
    call->tells_sent = dyn_slice_is(request->redeliver, "unsent");
}

/* ---- the end ---- */

/* What a call that was broken off will have cost: about a token for each event that carried content, and
 * the request by its size, unless the upstream has told. Whoever is told to stop has read the request. */
static void
estimate_usage(struct provider_call *call)
{
    bool has_cost = call->content_events > 0 || (call->is_unwanted && call->sent > 0);
    if (call->usage.known || !has_cost) {
        return;
    }
    uint64_t told = call->usage.prompt_tokens; /* by upstreams that say it first */
    uint64_t prompt = told > 0 ? told : call->request_bytes / BYTES_PER_TOKEN + 1;
    call->usage = (struct env_usage){
        .known = true,
        .estimated = true,
        .prompt_tokens = prompt,
        .completion_tokens = call->content_events,
        .total_tokens = prompt + call->content_events,
        .cached_tokens = call->usage.cached_tokens,
        .cache_write_tokens = call->usage.cache_write_tokens,
        .cache_write_1h_tokens = call->usage.cache_write_1h_tokens,
        .searches = call->usage.searches,
        .service = call->usage.service,
    };
}

void
provider_call_warning(const struct provider_call *call, struct dyn_buf *text)
{
    const struct provider_target *target = call->provider->options.target;
    bool is_dropped = target->on_unsupported == PROVIDER_UNSUPPORTED_DROP;
    dyn_buf_addf(text, "%s does not support ", target->row->id);
    provider_params_names(text, call->unsupported);
    dyn_buf_add_str(text, is_dropped ? ": left out" : ": sent all the same");
}

static void
warn_of_params(const struct provider_call *call, struct env *end)
{
    struct dyn_buf text = DYN_BUF_INIT;
    provider_call_warning(call, &text);
    end->warnings = env_copy(end, dyn_buf_slice(&text));
    dyn_buf_fini(&text);
}

static struct env *
make_end(struct provider_call *call, enum env_outcome outcome)
{
    struct env *end = provider_reply_first(call);
    uint64_t now_us = dyn_mono_us(bus_loop_clock(call->provider->loop));
    call->reply = NULL;
    call->end = end;
    call->has_ended = true;
    end->outcome = outcome;
    end->status = call->has_begun ? 0 : (uint16_t)call->status;
    end->stream = call->mode == CALL_STREAM;
    end->usage = call->usage;
    if (call->bridge != NULL) {
        end->degraded = env_copy(end, bridge_losses(call->bridge));
    }
    end->upstream_calls = call->sent_before + call->sent;
    end->upstream_us = (call->first_byte_us != 0 ? call->first_byte_us : now_us) - call->started_us;
    end->upstream_total_us = now_us - call->started_us;
    end->upstream_status = (uint16_t)call->status;
    if (call->unsupported != 0) {
        warn_of_params(call, end);
    }
    if (outcome == ENV_OUTCOME_OK && call->block != NULL) {
        call->body_bytes += call->block->len;
        end->body = call->block;
        call->block = NULL;
    }
    end->body_bytes = call->body_bytes;
    return end;
}

static void
leave_upstream(struct provider_call *call, bool let_go)
{
    if (call->http == NULL) {
        return;
    }
    call->sent = http_call_sent(call->http);
    if (let_go) {
        http_call_let_go(call->http);
    } else {
        http_call_cancel(call->http);
    }
    call->http = NULL;
}

void
provider_call_succeed(struct provider_call *call, bool let_go)
{
    leave_upstream(call, let_go);
    count(&call->provider->options.shared->succeeded, 1);
    (void)make_end(call, ENV_OUTCOME_OK);
    provider_gate_leave(call, ENV_OUTCOME_OK, ERR_NONE);
    (void)provider_reply_flush(call);
}

void
provider_call_fail(struct provider_call *call, enum err_code code, const struct provider_error *said)
{
    leave_upstream(call, false);
    count(&call->provider->options.shared->failed, 1);
    estimate_usage(call);
    struct env *end = make_end(call, ENV_OUTCOME_ERROR);
    end->error = code;
    provider_reply_hint(call, end);
    if (call->refused_retry_ms != 0) {
        end->retry_ms = call->refused_retry_ms;
        end->retry_after_s = (end->retry_ms + 999) / 1000;
    }
    end->status = call->has_begun ? 0 : err_row(code)->http;
    end->content_type = dyn_slice(NULL, 0);
    provider_gate_leave(call, ENV_OUTCOME_ERROR, code);
    if (said != NULL) {
        end->error_text = env_copy(end, said->message);
        end->error_param = env_copy(end, said->param);
        end->upstream_code = env_copy(end, said->code);
    }
    (void)provider_reply_flush(call);
}

/* Ends a call that its receiver does not read to the end. */
static void
end_at_once(struct provider_call *call, enum env_outcome outcome, enum err_code code)
{
    call->is_unwanted = true;
    provider_orphan_end(call);
    provider_reply_drop(call);
    if (!call->has_ended) {
        leave_upstream(call, false);
        estimate_usage(call);
        struct env *end = make_end(call, outcome);
        end->content_type = dyn_slice(NULL, 0);
        end->error = code;
        end->status = call->has_begun ? 0 : err_row(code)->http;
        provider_gate_leave(call, outcome, code);
    }
    (void)provider_reply_flush(call);
}

void
provider_call_cancelled(struct provider_call *call)
{
    if (!call->has_ended) {
        count(&call->provider->options.shared->cancelled, 1);
    }
    end_at_once(call, ENV_OUTCOME_CANCELLED, ERR_CLIENT_CLOSED);
}

void
provider_call_cut_off(struct provider_call *call, enum err_code code)
{
    if (!call->has_ended) {
        count(&call->provider->options.shared->failed, 1);
    }
    end_at_once(call, ENV_OUTCOME_ERROR, code);
}

void
provider_call_free(struct provider_call *call)
{
    struct provider *provider = call->provider;
    struct provider_shared *shared = provider->options.shared;
    leave_upstream(call, false);
    provider_gate_drop(call);
    count(&shared->upstream_calls, call->sent);
    count(&shared->answer_bytes, call->body_bytes);
    (void)atomic_fetch_sub_explicit(&shared->in_flight, 1, memory_order_relaxed);
    env_map_remove(&provider->calls, &call->node);
    dyn_list_remove(&call->link);
    provider_orphan_end(call);
    provider_reply_drop(call);
    env_free(&call->reply);
    env_free(&call->end);
    dyn_block_unref(&call->block);
    bridge_free(&call->bridge);
    sse_reader_fini(&call->sse);
    if (call->skim != NULL) {
        provider_skim_fini(call->skim);
        free(call->skim);
    }
    if (provider->n_spare < SPARE_CALLS_MAX) {
        provider->n_spare++;
        dyn_list_append(&provider->spare, &call->link);
    } else {
        free(call);
    }
    provider_call_gone(provider);
}

/* ---- an error status ---- */

static bool
is_json(struct dyn_slice content_type)
{
    return content_type.data == NULL || memmem(content_type.data, content_type.len, "json", 4) != NULL;
}

size_t
provider_call_secrets(const struct provider_call *call, struct dyn_slice *secrets)
{
    const struct provider_target *target = call->provider->options.target;
    size_t n = 0;
    if (target->n_keys == 0) {
        secrets[n++] = target->key;
    }
    for (size_t i = 0; i < target->n_keys && n < PROVIDER_KEYS_MAX; i++) {
        secrets[n++] = target->keys[i];
    }
    for (size_t i = 0; i < target->n_headers && n < PROVIDER_SECRETS_MAX; i++) {
        secrets[n++] = target->headers[i].value;
    }
    return n;
}

static struct dyn_slice
clean_text(const struct provider_call *call, struct arena *arena, struct dyn_slice text)
{
    struct provider *provider = call->provider;
    struct dyn_slice secrets[PROVIDER_SECRETS_MAX];
    size_t n = provider_call_secrets(call, secrets);
    if (provider->secret_shapes == NULL && text.len > 0) {
        provider->secret_shapes = blackout_new(NULL);
    }
    return provider_text_clean(text, secrets, n, provider->secret_shapes, arena);
}

/* The texts that may leave, without what must not. */
static void
clean(const struct provider_call *call, struct arena *arena, struct provider_error *said)
{
    said->message = clean_text(call, arena, said->message);
    said->type = clean_text(call, arena, said->type);
    said->param = clean_text(call, arena, said->param);
    said->code = clean_text(call, arena, said->code);
}

void
provider_call_fail_saying(struct provider_call *call, enum err_code code, const char *what,
                          struct provider_error *said, struct arena *arena)
{
    clean(call, arena, said);
    struct dyn_slice detail =
        arena_printf(arena, "%s%s%.*s", what, said->message.len > 0 ? ": " : "", (int)said->message.len,
                     said->message.data ? said->message.data : "");
    provider_call_log(call, code, detail.data);
    bool may_show = provider_error_may_show(code) && said->message.len > 0;
    provider_call_fail(call, code, may_show ? said : NULL);
}

static void
refused(struct provider_call *call)
{
    char memory[1024];
    struct arena arena;
    struct provider_error said;
    arena_init(&arena, memory, sizeof memory);
    (void)provider_error_read(dyn_block_slice(call->block), &arena, &said);
    dyn_block_unref(&call->block);
    provider_call_fail_saying(call, provider_error_of_status(call->status),
                              "the provider answered with an error status", &said, &arena);
    arena_fini(&arena);
}

static void
refused_data(struct provider_call *call, struct dyn_slice bytes)
{
    if (call->block == NULL) {
        call->block = dyn_block_new(0, ERROR_BODY_FIRST);
    }
    size_t room = PROVIDER_ERROR_BODY_MAX - call->block->len;
    dyn_block_append(&call->block, bytes.data, bytes.len < room ? bytes.len : room);
    if (bytes.len > room) { /* nothing readable is that long */
        refused(call);
    }
}

/* ---- what the HTTP client tells ---- */

static void
on_sending(void *self)
{
    provider_reply_sent(self);
}

static void
on_header(void *self, struct dyn_slice name, struct dyn_slice value)
{
    provider_reply_header(self, name, value);
}

static bool
is_event_stream(const struct provider_call *call)
{
    struct dyn_slice type = call->reply != NULL ? call->reply->content_type : dyn_slice(NULL, 0);
    struct dyn_slice sse = DYN_SLICE("text/event-stream");
    if (type.len >= sse.len && dyn_slice_ieq(dyn_slice(type.data, sse.len), sse)) {
        return true;
    }
    return call->is_stream && !is_json(type) && type.len >= 5 && memcmp(type.data, "text/", 5) == 0 &&
           memmem(type.data, type.len, "html", 4) == NULL; /* simple servers say text/plain */
}

static void
on_head(void *self, const struct http_call_head *head)
{
    struct provider_call *call = self;
    call->first_byte_us = dyn_mono_us(bus_loop_clock(call->provider->loop));
    call->status = head->status;
    call->is_framed = head->is_chunked || head->content_length != UINT64_MAX || head->status == 204;
    if (head->status < 200 || head->status > 299) {
        call->mode = CALL_REFUSED;
    } else if (call->is_encoded) {
        provider_call_log(call, ERR_UPSTREAM_GARBAGE, "the answer is compressed, which was not asked for");
        provider_call_fail(call, ERR_UPSTREAM_GARBAGE, NULL);
    } else if (!is_event_stream(call)) {
        call->mode = CALL_PLAIN;
        provider_plain_begin(call, head);
    } else if (call->is_stream) {
        call->mode = CALL_STREAM;
        provider_stream_begin(call);
    } else {
        provider_call_log(call, ERR_UPSTREAM_GARBAGE,
                          "the answer is an event stream, which was not asked for");
        provider_call_fail(call, ERR_UPSTREAM_GARBAGE, NULL);
    }
}

static void
on_data(void *self, struct dyn_slice bytes)
{
    struct provider_call *call = self;
    if (call->mode == CALL_STREAM) {
        provider_stream_data(call, bytes);
    } else if (call->mode == CALL_PLAIN) {
        provider_plain_data(call, bytes);
    } else {
        refused_data(call, bytes);
    }
}

static void
on_settled(void *self)
{
    struct provider_call *call = self;
    if (call->mode == CALL_STREAM) {
        provider_stream_settled(call);
    } else if (call->has_begun || call->is_orphan) {
        (void)provider_reply_flush(call);
    }
}

/* What the operator can do about it, for the log. */
static const char *
advice(enum http_call_end end)
{
    switch ((int)end) {
    case HTTP_CALL_TLS:
        return " (upstream.ca_file names the certificates that are trusted)";
    case HTTP_CALL_PROXY:
        return " (upstream.proxy, HTTPS_PROXY and NO_PROXY say when a proxy is used)";
    case HTTP_CALL_UNRESOLVED:
        return " (is base_url right, and name resolution working here?)";
    case HTTP_CALL_CONNECT_TIMEOUT:
        return " (timeouts.connect of the target)";
    case HTTP_CALL_FIRST_BYTE_TIMEOUT:
        return " (timeouts.first_byte of the target)";
    case HTTP_CALL_IDLE_TIMEOUT:
        return " (timeouts.idle of the target)";
    default:
        return "";
    }
}

static void
broken(struct provider_call *call, const struct http_call_result *result)
{
    enum err_code code = provider_error_of_call(result->end, call->mode == CALL_STREAM);
    char memory[1024];
    struct arena arena;
    arena_init(&arena, memory, sizeof memory);
    struct dyn_slice what = clean_text(call, &arena, dyn_slice_str(result->detail));
    struct dyn_slice line = arena_printf(&arena, "%.*s%s", (int)what.len, what.data != NULL ? what.data : "",
                                         advice(result->end));
    provider_call_log(call, code, line.data);
    arena_fini(&arena);
    provider_call_fail(call, code, NULL);
}

static void
on_done(void *self, const struct http_call_result *result)
{
    struct provider_call *call = self;
    call->sent = http_call_sent(call->http);
    call->http = NULL;
    if (call->mode == CALL_REFUSED) { /* the status says it, however the rest went */
        refused(call);
    } else if (result->end != HTTP_CALL_COMPLETE) {
        if (call->mode == CALL_STREAM) {
            provider_stream_cut(call);
        }
        broken(call, result);
    } else if (call->mode == CALL_STREAM) {
        provider_stream_done(call);
    } else {
        provider_plain_done(call);
    }
}

const struct http_call_ops provider_call_ops = {
    .sending = on_sending,
    .header = on_header,
    .head = on_head,
    .data = on_data,
    .settled = on_settled,
    .done = on_done,
};
