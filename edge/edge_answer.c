/* From envelopes to an HTTP answer. A plain answer is held until it is whole, so that a failure in its
 * middle can still be told or mended; beyond a megabyte it is streamed. A stream goes through as it comes,
 * and credit is given back as the kernel takes its bytes: a slow client slows the provider. */
#include "edge/edge_impl.h"

#include "core/log.h"
#include "core/text.h"

enum {
    OWN_HEADERS = 12,    /* more than we ever add to those of the envelopes */
    GATEWAY_RETRY_S = 1, /* what a client is told to wait when the gateway itself is short of something */
};

static const char keepalive_comment[] = ": keep-alive\n\n";

/* ---- headers ---- */

struct answer_headers {
    struct http_header items[2 * ENV_HEADERS_MAX + OWN_HEADERS]; /* of the first envelope and the last */
    size_t n;
    char attempts[DYN_UINT_TEXT_MAX];
    char redelivered[DYN_UINT_TEXT_MAX];
    char overhead[DYN_UINT_TEXT_MAX];
    char retry_after[DYN_UINT_TEXT_MAX];
};

static void
add(struct answer_headers *headers, struct dyn_slice name, struct dyn_slice value)
{
    if (value.data != NULL && headers->n < DYN_ARRAY_LEN(headers->items)) {
        headers->items[headers->n++] = (struct http_header){name, value};
    }
}

static void
add_number(struct answer_headers *headers, struct dyn_slice name, uint64_t number,
           char text[DYN_UINT_TEXT_MAX])
{
    add(headers, name, dyn_slice(text, dyn_uint_text(text, number)));
}

static void
begin_headers(const struct edge_request *rq, struct answer_headers *headers)
{
    headers->n = 0;
    add(headers, DYN_SLICE("x-request-id"), edge_trace_slice(rq));
    add(headers, DYN_SLICE("access-control-allow-origin"), rq->origin);
}

/* Who answered, and what the upstream wants the client to know. */
static void
add_from_envelope(struct answer_headers *headers, const struct env *env)
{
    add(headers, DYN_SLICE("x-dynabus-provider"), env->provider);
    add(headers, DYN_SLICE("x-dynabus-target"), env->target);
    if (env->attempts > 0) {
        add_number(headers, DYN_SLICE("x-dynabus-attempts"), env->attempts, headers->attempts);
    }
    if (env->redelivered > 0) {
        add_number(headers, DYN_SLICE("x-dynabus-redelivered"), env->redelivered, headers->redelivered);
    }
    for (size_t i = 0; i < env->n_headers; i++) {
        bool is_ours = env->retry_after_s > 0 && dyn_slice_is(env->headers[i].name, "retry-after");
        if (!is_ours) {
            add(headers, env->headers[i].name, env->headers[i].value);
        }
    }
}

/* What was known when an answer that came in pieces was over: its cost. */
static void
add_from_end(struct answer_headers *headers, const struct env *head, const struct env *end)
{
    for (size_t i = 0; head != end && i < end->n_headers; i++) {
        size_t k = 0;
        while (k < head->n_headers && !dyn_slice_ieq(head->headers[k].name, end->headers[i].name)) {
            k++;
        }
        if (k == head->n_headers) {
            add(headers, end->headers[i].name, end->headers[i].value);
        }
    }
}

/* Time that went by here and not at a provider. */
static void
add_overhead(const struct edge_request *rq, struct answer_headers *headers, const struct env *end)
{
    uint64_t now_us = dyn_mono_us(bus_loop_clock(rq->edge->loop));
    uint64_t total_us = now_us - http_exchange_request(rq->exchange)->received_us;
    uint64_t theirs_us = end->upstream_total_us < total_us ? end->upstream_total_us : total_us;
    add_number(headers, DYN_SLICE("x-dynabus-overhead-us"), total_us - theirs_us, headers->overhead);
}

/* ---- credit ---- */

/* `bytes` were passed on: some of them were CHUNKs, which the router wants to hear of. */
static void
give_back(struct edge_request *rq, size_t bytes)
{
    size_t paid = bytes < rq->unpaid ? bytes : rq->unpaid;
    rq->unpaid -= paid;
    uint32_t grant = credit_receiver_consumed(&rq->credit, paid);
    if (grant == 0 || !rq->is_in_flight) {
        return;
    }
    struct env *credit = env_new(ENV_CREDIT);
    credit->id = rq->node.id;
    credit->credit = grant;
    if (bus_send(rq->edge->me, rq->edge->options.router, &credit, NULL) != 0) {
        env_free(&credit); /* the router is gone */
    }
}

void
edge_on_written(void *self, http_exchange_t *exchange, size_t bytes)
{
    (void)self;
    give_back(http_exchange_user(exchange), bytes);
}

/* ---- streams ---- */

static void
arm_keepalive(struct edge_request *rq)
{
    bus_timer_arm(rq->edge->loop, &rq->keepalive, rq->edge->options.config->sse_keepalive_ms);
}

/* `env` may be NULL: a comment goes first, and nobody has answered yet. */
static void
begin_stream(struct edge_request *rq, const struct env *env)
{
    struct answer_headers headers;
    struct http_answer answer = {.status = 200, .content_type = DYN_SLICE("text/event-stream")};
    begin_headers(rq, &headers);
    add(&headers, DYN_SLICE("cache-control"), DYN_SLICE("no-cache, no-transform"));
    add(&headers, DYN_SLICE("x-accel-buffering"), DYN_SLICE("no"));
    if (env != NULL) {
        add_from_envelope(&headers, env);
        answer.status = env->status != 0 ? env->status : answer.status;
        answer.content_type = env->content_type.data != NULL ? env->content_type : answer.content_type;
    }
    answer.headers = headers.items;
    answer.n_headers = headers.n;
    rq->has_begun = true;
    rq->is_sse = true;
    http_stream_start(rq->exchange, &answer, UINT64_MAX);
}

static bool
ends_event(struct dyn_slice bytes)
{
    char last = bytes.data[bytes.len - 1];
    char before = bytes.len > 1 ? bytes.data[bytes.len - 2] : '\0';
    if (last == '\n' && before == '\r') { /* CR LF CR LF */
        return bytes.len > 3 && bytes.data[bytes.len - 3] == '\n';
    }
    return (last == '\n' || last == '\r') && before == last;
}

static void
write_block(struct edge_request *rq, dyn_block_t **block_p)
{
    if (*block_p == NULL || (*block_p)->len == 0) {
        dyn_block_unref(block_p);
        return;
    }
    rq->is_mid_event = !ends_event(dyn_block_slice(*block_p));
    rq->is_complete = rq->is_complete || rq->edge->dialect->is_stream_end(dyn_block_slice(*block_p));
    http_stream_write(rq->exchange, block_p);
}

static void
write_text(struct edge_request *rq, struct dyn_slice text)
{
    enum { FRAME_HEAD = 32, FRAME_TAIL = 2 };
    dyn_block_t *block = dyn_block_new(FRAME_HEAD, text.len + FRAME_TAIL);
    dyn_block_append(&block, text.data, text.len);
    write_block(rq, &block);
}

void
edge_on_dispatched(struct edge_request *rq, const struct env *env)
{
    if (env->stream && !rq->has_begun) {
        arm_keepalive(rq);
    }
}

/* Nothing was said for a while. A comment may stand between events only, and helps nobody while bytes wait
 * for the client anyway. */
void
edge_on_keepalive(struct bus_timer *timer)
{
    struct edge_request *rq = DYN_CONTAINER_OF(timer, struct edge_request, keepalive);
    if (!rq->has_begun) {
        begin_stream(rq, NULL);
    }
    if (rq->is_sse && !rq->is_mid_event && http_stream_queued(rq->exchange) == 0) {
        write_text(rq, dyn_slice(keepalive_comment, sizeof keepalive_comment - 1));
    }
    arm_keepalive(rq);
}

/* What was written can't be taken back: a stream says what happened, a plain answer shows it. */
static void
break_off(struct edge_request *rq, enum err_code code, struct dyn_slice message)
{
    if (!rq->is_sse) { /* HTTP/1.0 has no chunks: there a close would be the end of a whole answer */
        http_abort(rq->exchange, http_exchange_request(rq->exchange)->minor == 0);
        return;
    }
    if (rq->is_complete) { /* whoever sent it was lost before it could say so */
        http_stream_end(rq->exchange);
        return;
    }
    struct dyn_buf text = DYN_BUF_INIT;
    if (rq->is_mid_event) {
        dyn_buf_add_str(&text, "\n\n");
    }
    rq->edge->dialect->write_stream_error(&text, code, message);
    write_text(rq, dyn_buf_slice(&text));
    dyn_buf_fini(&text);
    http_stream_end(rq->exchange);
}

/* ---- plain answers ---- */

/* The router does not know how the client came here: the state of TLS is put into its answer to /readyz. */
static void
add_tls_detail(const struct edge_request *rq, dyn_block_t **body_p)
{
    http_tls_t *tls = rq->edge->options.group->tls;
    dyn_block_t *body = *body_p;
    bool is_ready = rq->route != NULL && rq->route->name == EDGE_ROUTE_READY;
    if (tls == NULL || !is_ready || body == NULL || body->len < 2 || dyn_block_data(body)[0] != '{') {
        return;
    }
    struct dyn_buf text = DYN_BUF_INIT;
    dyn_buf_addf(&text, "{\"tls\":{\"days_left\":%d},", http_tls_days_left(tls));
    dyn_buf_add(&text, dyn_block_data(body) + 1, body->len - 1);
    dyn_block_unref(body_p);
    *body_p = dyn_block_copy(ENV_BODY_HEADROOM, dyn_buf_slice(&text));
    dyn_buf_fini(&text);
}

static void
reply(struct edge_request *rq, const struct env *head, const struct env *end, dyn_block_t **body_p)
{
    struct answer_headers headers;
    struct http_answer answer = {
        .status = head->status != 0 ? head->status : 200,
        .content_type = head->content_type,
    };
    begin_headers(rq, &headers);
    add_from_envelope(&headers, head);
    add_from_end(&headers, head, end);
    add_overhead(rq, &headers, end);
    answer.headers = headers.items;
    answer.n_headers = headers.n;
    rq->has_begun = true;
    add_tls_detail(rq, body_p);
    http_reply(rq->exchange, &answer, body_p);
}

/* Too long to hold: what is there goes out, and from now on a failure can only be shown by the end of the
 * connection. */
static void
stop_holding(struct edge_request *rq)
{
    struct answer_headers headers;
    const struct env *head = rq->first;
    struct http_answer answer = {
        .status = head->status != 0 ? head->status : 200,
        .content_type = head->content_type,
    };
    begin_headers(rq, &headers);
    add_from_envelope(&headers, head);
    answer.headers = headers.items;
    answer.n_headers = headers.n;
    rq->has_begun = true;
    http_stream_start(rq->exchange, &answer, UINT64_MAX);
    http_stream_write(rq->exchange, &rq->held);
    env_free(&rq->first);
}

static void
hold(struct edge_request *rq, dyn_block_t **bytes_p)
{
    dyn_block_t *bytes = *bytes_p;
    *bytes_p = NULL;
    if (bytes == NULL) {
        return;
    }
    if (rq->held == NULL && !dyn_block_is_shared(bytes)) {
        rq->held = bytes;
        return;
    }
    if (rq->held == NULL) {
        rq->held = dyn_block_new(ENV_BODY_HEADROOM, bytes->len);
    }
    dyn_block_append(&rq->held, dyn_block_data(bytes), bytes->len);
    dyn_block_unref(&bytes);
}

/* Nothing of it has been written. Whoever worked on it is gone and another begins from the start. */
static void
forget_held(struct edge_request *rq)
{
    env_free(&rq->first);
    dyn_block_unref(&rq->held);
}

static void
take_plain(struct edge_request *rq, struct env **env_p)
{
    struct env *chunk = *env_p;
    if (rq->has_begun) {
        http_stream_write(rq->exchange, &chunk->body);
        return;
    }
    size_t len = env_body_len(chunk);
    hold(rq, &chunk->body);
    if (rq->first == NULL) {
        rq->first = chunk;
        *env_p = NULL;
    }
    if (rq->held != NULL && rq->held->len > ENV_HELD_ANSWER_MAX) {
        stop_holding(rq);
        return;
    }
    give_back(rq, len);
}

/* ---- CHUNK and END ---- */

/* A comment has promised a stream, and now the provider answers with one JSON text: an event is all that
 * can still be said. */
static bool
is_plain_in_stream(struct edge_request *rq, const struct env *env)
{
    rq->is_streaming = rq->is_streaming || env->stream;
    return rq->is_sse && !rq->is_streaming;
}

void
edge_on_chunk(struct edge_request *rq, struct env **env_p)
{
    struct env *chunk = *env_p;
    size_t len = env_body_len(chunk);
    if (chunk->sequence == 0 && rq->first != NULL) {
        forget_held(rq);
    }
    bool is_first = !rq->has_begun && rq->first == NULL;
    if (is_plain_in_stream(rq, chunk)) {
        edge_cancel(rq, "not a stream");
        edge_fail(rq, ERR_UPSTREAM_GARBAGE);
        return;
    }
    if (!credit_receiver_arrived(&rq->credit, len)) {
        dyn_log(DYN_LOG_ERROR, "edge.credit", "an answer came without credit; its request is ended",
                DYN_LOG_SLICE("trace_id", edge_trace_slice(rq)));
        edge_cancel(rq, "credit");
        edge_fail(rq, ERR_INTERNAL);
        return;
    }
    rq->unpaid += len;
    if (is_first && chunk->stream) {
        begin_stream(rq, chunk);
    }
    if (rq->is_sse) {
        write_block(rq, &chunk->body);
        arm_keepalive(rq);
    } else {
        take_plain(rq, env_p);
    }
}

/* The answer is in the END alone, so what is held came of another attempt (01-ENVELOPE, "When an answer has
 * begun"). A worker may put its last bytes there, too, if it says how many the answer has in all. */
static bool
is_whole(const struct env *end)
{
    size_t len = env_body_len(end);
    return len > 0 && (end->body_bytes == 0 || end->body_bytes == len);
}

static void
end_well(struct edge_request *rq, struct env *end)
{
    if (rq->first != NULL && rq->held != NULL && rq->held->len > 0 && is_whole(end)) {
        forget_held(rq);
    }
    if (is_plain_in_stream(rq, end)) {
        break_off(rq, ERR_UPSTREAM_GARBAGE, dyn_slice(NULL, 0));
        return;
    }
    if (!rq->has_begun && end->stream && rq->first == NULL) {
        begin_stream(rq, end);
    }
    if (rq->is_sse) {
        write_block(rq, &end->body);
        http_stream_end(rq->exchange);
    } else if (rq->has_begun) {
        http_stream_write(rq->exchange, &end->body);
        http_stream_end(rq->exchange);
    } else if (rq->first != NULL) {
        hold(rq, &end->body);
        reply(rq, rq->first, end, &rq->held);
    } else {
        reply(rq, end, end, &end->body);
    }
}

/* ---- errors ---- */

/* Bytes of errors built with dyn_buf become a block with room for the head. */
static dyn_block_t *
block_of(struct dyn_buf *text)
{
    dyn_block_t *block = dyn_block_copy(ENV_BODY_HEADROOM, dyn_buf_slice(text));
    dyn_buf_fini(text);
    return block;
}

static void
reply_error(struct edge_request *rq, enum err_code code, const struct env *end)
{
    const struct err_row *row = err_row(code);
    struct answer_headers headers;
    struct dyn_buf text = DYN_BUF_INIT;
    struct http_answer answer = {
        .status = end->status >= 400 ? end->status : row->http,
        .content_type = DYN_SLICE("application/json"),
    };
    rq->edge->dialect->write_error(&text, code, end->error_text, end->error_param, end->upstream_code);
    begin_headers(rq, &headers);
    add_from_envelope(&headers, end);
    add_overhead(rq, &headers, end);
    bool is_short_of_something = answer.status == 429 || code == ERR_DRAINING;
    if (end->retry_after_s > 0 || is_short_of_something) {
        uint64_t wait_s = end->retry_after_s > 0 ? end->retry_after_s : GATEWAY_RETRY_S;
        add_number(&headers, DYN_SLICE("retry-after"), wait_s, headers.retry_after);
    }
    if (code == ERR_METHOD_NOT_ALLOWED && rq->route != NULL) {
        add(&headers, DYN_SLICE("allow"), edge_route_allow(rq->route));
    }
    if (answer.status == 401) { /* RFC 9110 15.5.2 */
        add(&headers, DYN_SLICE("www-authenticate"), DYN_SLICE("Bearer"));
    }
    answer.headers = headers.items;
    answer.n_headers = headers.n;
    rq->has_begun = true;
    dyn_block_t *body = block_of(&text);
    http_reply(rq->exchange, &answer, &body);
}

static void
end_badly(struct edge_request *rq, const struct env *end)
{
    enum err_code code = end->error != ERR_NONE ? end->error : ERR_INTERNAL;
    if (rq->has_begun) {
        break_off(rq, code, end->error_text);
    } else {
        reply_error(rq, code, end);
    }
}

void
edge_on_end(struct edge_request *rq, struct env **env_p)
{
    struct env *end = *env_p;
    bus_timer_disarm(&rq->keepalive);
    rq->is_in_flight = false;
    env_map_remove(&rq->edge->requests, &rq->node);
    if (end->outcome == ENV_OUTCOME_OK) {
        end_well(rq, end);
    } else {
        end_badly(rq, end);
    }
}

void
edge_fail(struct edge_request *rq, enum err_code code)
{
    struct env *end = env_new(ENV_END);
    bus_timer_disarm(&rq->keepalive);
    end->error = code;
    end_badly(rq, end);
    env_free(&end);
}

/* ---- answers of the edge's own ---- */

static void
log_access(struct dyn_slice trace_id, struct dyn_slice peer, const struct http_request *request,
           unsigned status, enum err_code code, uint64_t took_us)
{
    enum { SHOWN_MAX = 200 };
    struct dyn_slice path = request != NULL ? request->path : DYN_SLICE("-");
    const struct dyn_log_field fields[] = {
        DYN_LOG_SLICE("trace_id", trace_id),
        DYN_LOG_SLICE("peer", peer),
        DYN_LOG_SLICE("method", request != NULL ? request->method : DYN_SLICE("-")),
        DYN_LOG_SLICE("path", dyn_slice(path.data, path.len < SHOWN_MAX ? path.len : SHOWN_MAX)),
        DYN_LOG_UINT("status", status),
        DYN_LOG_STR("error", code != ERR_NONE ? err_row(code)->code : "-"),
        DYN_LOG_REAL("total_ms", (double)took_us / 1e3),
    };
    dyn_log_access(fields, DYN_ARRAY_LEN(fields));
}

void
edge_answer_error(struct edge_request *rq, enum err_code code, struct dyn_slice text)
{
    const struct http_request *request = http_exchange_request(rq->exchange);
    uint64_t now_us = bus_loop_now_us(rq->edge->loop);
    struct env *end = env_new(ENV_END);
    end->error = code;
    end->error_text = env_copy(end, text);
    reply_error(rq, code, end);
    env_free(&end);
    log_access(edge_trace_slice(rq), rq->client, request, err_row(code)->http, code,
               now_us - request->received_us);
}

/* Probes: not in the access log. */
void
edge_answer_json(struct edge_request *rq, unsigned status, struct dyn_slice json)
{
    struct answer_headers headers;
    begin_headers(rq, &headers);
    struct http_answer answer = {
        .status = status,
        .content_type = DYN_SLICE("application/json"),
        .headers = headers.items,
        .n_headers = headers.n,
    };
    dyn_block_t *body = dyn_block_copy(ENV_BODY_HEADROOM, json);
    rq->has_begun = true;
    http_reply(rq->exchange, &answer, &body);
}

/* A browser asks whether a page may ask: before any credential, and of any path. */
void
edge_answer_preflight(struct edge_request *rq)
{
    struct answer_headers headers;
    dyn_block_t *nothing = NULL;
    begin_headers(rq, &headers);
    if (rq->origin.data != NULL) {
        headers.n += edge_cors_preflight(http_exchange_request(rq->exchange),
                                         http_exchange_arena(rq->exchange), headers.items + headers.n);
    }
    struct http_answer answer = {.status = 204, .headers = headers.items, .n_headers = headers.n};
    rq->has_begun = true;
    http_reply(rq->exchange, &answer, &nothing);
}

static enum err_code
code_of_refusal(unsigned status)
{
    switch (status) {
    case 408:
        return ERR_REQUEST_TIMEOUT;
    case 431:
        return ERR_HEADERS_TOO_LARGE;
    case 501:
        return ERR_METHOD_UNKNOWN;
    case 503:
        return ERR_DRAINING;
    case 505:
        return ERR_VERSION_UNSUPPORTED;
    default:
        return ERR_MALFORMED_HTTP;
    }
}

void
edge_on_refused(void *self, http_exchange_t *exchange, unsigned status, const char *why,
                struct dyn_slice peer, struct dyn_buf *body, struct http_answer *answer)
{
    static const struct edge_headers no_headers;
    struct edge *edge = self;
    const struct http_request *request = exchange != NULL ? http_exchange_request(exchange) : NULL;
    enum err_code code = code_of_refusal(status);
    struct dyn_buf text = DYN_BUF_INIT;
    struct dyn_slice trace_id = dyn_slice(edge->refusal_trace, EDGE_TRACE_ID_LEN);
    if (exchange != NULL) {
        const struct edge_request *rq = http_exchange_user(exchange);
        trace_id = edge_trace_slice(rq);
        peer = rq->client;
    } else {
        (void)edge_trace_id(&no_headers, edge->refusal_trace);
    }
    dyn_buf_addf(&text, "%s: %s", err_row(code)->sentence, why);
    edge->dialect->write_error(body, code, dyn_buf_slice(&text), dyn_slice(NULL, 0), dyn_slice(NULL, 0));
    dyn_buf_fini(&text);
    edge->refusal_header = (struct http_header){DYN_SLICE("x-request-id"), trace_id};
    answer->content_type = DYN_SLICE("application/json");
    answer->headers = &edge->refusal_header;
    answer->n_headers = 1;
    edge_count(&edge->options.group->counters.refused_requests);
    log_access(trace_id, peer, request, status, code, 0);
}

void
edge_request_fini(struct edge_request *rq)
{
    bus_timer_fini(&rq->keepalive);
    env_free(&rq->request);
    env_free(&rq->first);
    dyn_block_unref(&rq->held);
}
