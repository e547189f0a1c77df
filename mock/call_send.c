/* How a call's bytes go out: heads, bodies whole or in pieces, dripping, cut. See call_impl.h. */
#include "mock/call_impl.h"

enum {
    HEADERS_MAX = 12,
    RESET_AFTER_MS = 2, /* a reset overtakes what was not sent: let it go first */
};

/* ---- waiting ---- */

static void
on_wait(struct mock_wait *wait)
{
    struct mock_call *call = DYN_CONTAINER_OF(wait, struct mock_call, wait);
    call->next(call);
}

/* Counts from when the last wait was due, so that a pace does not drift. */
void
mock_call_wait(struct mock_call *call, uint32_t ms, void (*next)(struct mock_call *call))
{
    call->next = next;
    call->wait.fire = on_wait;
    mock_pacer_add(&call->core->pacer, &call->wait, call->wait.due_ms + ms);
}

/* ---- heads ---- */

struct head {
    struct http_answer answer;
    struct http_header headers[HEADERS_MAX];
    size_t n;
};

static void
add_header(struct head *head, struct dyn_slice name, struct dyn_slice value)
{
    if (head->n < HEADERS_MAX) {
        head->headers[head->n++] = (struct http_header){name, value};
    }
}

static void
add_limits(struct head *head)
{
    add_header(head, DYN_SLICE("openai-organization"), DYN_SLICE("org-mock"));
    add_header(head, DYN_SLICE("openai-processing-ms"), DYN_SLICE("1"));
    add_header(head, DYN_SLICE("openai-version"), DYN_SLICE("2020-10-01"));
    add_header(head, DYN_SLICE("x-ratelimit-limit-requests"), DYN_SLICE("10000"));
    add_header(head, DYN_SLICE("x-ratelimit-remaining-requests"), DYN_SLICE("9999"));
    add_header(head, DYN_SLICE("x-ratelimit-remaining-tokens"), DYN_SLICE("1999990"));
}

static void
make_head(struct mock_call *call, struct head *head, struct dyn_slice content_type)
{
    struct arena *arena = http_exchange_arena(call->exchange);
    const struct mock_behaviour *behaviour = &call->behaviour;
    head->n = 0;
    char *id = arena_alloc(arena, 4 + MOCK_NONCE_DIGITS);
    memcpy(id, "req_", 4);
    memcpy(id + 4, call->answer.nonce, MOCK_NONCE_DIGITS);
    add_header(head, DYN_SLICE("x-request-id"), dyn_slice(id, 4 + MOCK_NONCE_DIGITS));
    if (behaviour->retry_s != MOCK_RETRY_NONE) {
        add_header(head, DYN_SLICE("retry-after"), arena_printf(arena, "%u", behaviour->retry_s));
    }
    if (behaviour->limits) {
        add_limits(head);
    }
    for (size_t i = 0; call->rule != NULL && i < call->rule->n_headers; i++) {
        add_header(head, call->rule->headers[i].name, call->rule->headers[i].value);
    }
    if (call->status >= 300 && call->status < 400) {
        add_header(head, DYN_SLICE("location"), DYN_SLICE("/elsewhere"));
    }
    if (call->rule != NULL && call->rule->content_type.data != NULL) {
        content_type = call->rule->content_type;
    }
    head->answer = (struct http_answer){
        .status = call->status, .content_type = content_type, .headers = head->headers, .n_headers = head->n};
}

/* A head without a framing of its body, which then ends with the connection. */
static void
write_bare_head(struct mock_call *call, const struct head *head)
{
    struct dyn_buf text = DYN_BUF_INIT;
    dyn_buf_addf(&text, "HTTP/1.1 %u Mocked\r\ncontent-type: ", head->answer.status);
    dyn_buf_add_slice(&text, head->answer.content_type);
    dyn_buf_add_str(&text, "\r\nconnection: close\r\n");
    for (size_t i = 0; i < head->n; i++) {
        dyn_buf_add_slice(&text, head->headers[i].name);
        dyn_buf_add_str(&text, ": ");
        dyn_buf_add_slice(&text, head->headers[i].value);
        dyn_buf_add_str(&text, "\r\n");
    }
    dyn_buf_add_str(&text, "\r\n");
    http_raw_write(call->exchange, dyn_buf_slice(&text));
    dyn_buf_fini(&text);
}

void
mock_call_start_body(struct mock_call *call, struct dyn_slice content_type, uint64_t content_length)
{
    struct head head;
    make_head(call, &head, content_type);
    if (call->behaviour.close) {
        write_bare_head(call, &head);
    } else {
        http_stream_start(call->exchange, &head.answer, content_length);
    }
}

static void
reply(struct mock_call *call, struct dyn_slice content_type, dyn_block_t **body_p)
{
    struct head head;
    make_head(call, &head, content_type);
    mock_tally_add(&call->core->tally.bytes, (int64_t)(*body_p)->len);
    http_reply(call->exchange, &head.answer, body_p);
}

/* ---- bodies in pieces ---- */

static void
write_now(struct mock_call *call, dyn_block_t **block_p)
{
    mock_tally_add(&call->core->tally.bytes, (int64_t)(*block_p)->len);
    if (call->behaviour.close) {
        http_raw_write(call->exchange, dyn_block_slice(*block_p));
        dyn_block_unref(block_p);
    } else {
        http_stream_write(call->exchange, block_p);
    }
}

/* Sends a piece of the body, or puts it with what drips later. Takes *block_p. */
void
mock_call_write(struct mock_call *call, dyn_block_t **block_p)
{
    if (call->behaviour.drip_ms == 0) {
        write_now(call, block_p);
    } else if (call->held == NULL) {
        call->held = *block_p;
        *block_p = NULL;
    } else {
        dyn_block_append(&call->held, dyn_block_data(*block_p), (*block_p)->len);
        dyn_block_unref(block_p);
    }
}

void
mock_call_cut(struct mock_call *call)
{
    call->ended_by_us = true;
    call->is_fault = true;
    http_abort(call->exchange, call->behaviour.reset);
}

static void
come_to_end(struct mock_call *call)
{
    switch (call->finale) {
    case MOCK_FINALE_HANG:
        if (!call->behaviour.close) {
            http_stream_flush(call->exchange);
        }
        return;
    case MOCK_FINALE_CUT:
        if (call->behaviour.reset) {
            mock_call_wait(call, RESET_AFTER_MS, mock_call_cut);
        } else {
            mock_call_cut(call);
        }
        return;
    case MOCK_FINALE_END:
        if (call->behaviour.close) {
            call->ended_by_us = true;
            http_abort(call->exchange, false);
        } else {
            http_stream_end(call->exchange);
        }
        return;
    }
}

static void
drip(struct mock_call *call)
{
    if (call->held == NULL || call->held->len == 0) {
        come_to_end(call);
        return;
    }
    size_t len = call->behaviour.piece_bytes;
    len = len < call->held->len ? len : call->held->len;
    dyn_block_t *piece = dyn_block_copy(MOCK_STREAM_HEADROOM, dyn_slice(dyn_block_data(call->held), len));
    dyn_block_skip(call->held, len);
    write_now(call, &piece);
    mock_call_wait(call, call->behaviour.drip_ms, drip);
}

void
mock_call_finish(struct mock_call *call, enum mock_finale finale)
{
    call->finale = finale;
    drip(call);
}

static bool
stops_inside(const struct mock_behaviour *behaviour)
{
    return behaviour->cut == MOCK_CUT_BODY || behaviour->cut == MOCK_CUT_EVENT ||
           behaviour->hang == MOCK_HANG_BODY;
}

/* Sends one body, in one write where nothing else is asked. Takes *body_p. */
void
mock_call_send_plain(struct mock_call *call, struct dyn_slice content_type, dyn_block_t **body_p)
{
    const struct mock_behaviour *behaviour = &call->behaviour;
    if (behaviour->drip_ms == 0 && !behaviour->close && !stops_inside(behaviour)) {
        reply(call, content_type, body_p);
        return;
    }
    dyn_block_t *body = *body_p;
    *body_p = NULL;
    mock_call_start_body(call, content_type, body->len);
    if (stops_inside(behaviour)) {
        body->len /= 2;
    }
    mock_call_write(call, &body);
    enum mock_finale otherwise = behaviour->hang == MOCK_HANG_BODY ? MOCK_FINALE_HANG : MOCK_FINALE_CUT;
    mock_call_finish(call, stops_inside(behaviour) ? otherwise : MOCK_FINALE_END);
}
