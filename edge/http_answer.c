/* Answers: heads, chunk framing, and what becomes of bytes once they are queued. RFC 9110, RFC 9112.
 * See http_conn.h. */
#include "edge/http_conn.h"

#include <stdio.h>

enum {
    CHUNK_LINE_MAX = 20, /* 16 hex digits, CRLF, and one */
    COPY_MAX = 2048,     /* bytes that are cheaper to copy than to hand to the kernel on their own */
};

/* ---- the head ---- */

static const char *
reason_of(unsigned status)
{
    static const struct {
        unsigned status;
        const char *reason;
    } reasons[] = {
        {200, "OK"},
        {201, "Created"},
        {202, "Accepted"},
        {204, "No Content"},
        {301, "Moved Permanently"},
        {302, "Found"},
        {304, "Not Modified"},
        {307, "Temporary Redirect"},
        {308, "Permanent Redirect"},
        {400, "Bad Request"},
        {401, "Unauthorized"},
        {402, "Payment Required"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {408, "Request Timeout"},
        {409, "Conflict"},
        {413, "Content Too Large"},
        {415, "Unsupported Media Type"},
        {417, "Expectation Failed"},
        {422, "Unprocessable Content"},
        {429, "Too Many Requests"},
        {431, "Request Header Fields Too Large"},
        {500, "Internal Server Error"},
        {501, "Not Implemented"},
        {502, "Bad Gateway"},
        {503, "Service Unavailable"},
        {504, "Gateway Timeout"},
        {505, "HTTP Version Not Supported"},
    };
    for (size_t i = 0; i < DYN_ARRAY_LEN(reasons); i++) {
        if (reasons[i].status == status) {
            return reasons[i].reason;
        }
    }
    return "Unknown";
}

static void
add_line(struct dyn_buf *text, struct dyn_slice name, struct dyn_slice value)
{
    char *at = dyn_buf_room(text, name.len + value.len + 4);
    if (at == NULL) {
        return;
    }
    memcpy(at, name.data, name.len);
    memcpy(at + name.len, ": ", 2);
    at += name.len + 2;
    if (value.len > 0) { /* or absent */
        memcpy(at, value.data, value.len);
    }
    memcpy(at + value.len, "\r\n", 2);
    text->len += name.len + value.len + 4;
}

/* Framing is said once, by us. */
static bool
is_framing(struct dyn_slice name)
{
    static const struct dyn_slice ours[] = {
        DYN_SLICE_INIT("connection"),     DYN_SLICE_INIT("keep-alive"),
        DYN_SLICE_INIT("content-length"), DYN_SLICE_INIT("transfer-encoding"),
        DYN_SLICE_INIT("trailer"),        DYN_SLICE_INIT("upgrade"),
        DYN_SLICE_INIT("date"),
    };
    enum { LONGEST = sizeof "transfer-encoding" - 1 };
    for (size_t i = 0; name.len <= LONGEST && i < DYN_ARRAY_LEN(ours); i++) {
        if (dyn_slice_ieq(name, ours[i])) {
            return true;
        }
    }
    return false;
}

struct framing {
    bool chunked;
    bool has_length;
    uint64_t length;
};

/* The head in server->head_text. Headers that would break out of their line are left out: they may come
 * from another process. */
static struct dyn_slice
write_head(struct http_conn *conn, const struct http_answer *answer, const struct framing *framing,
           unsigned minor)
{
    http_server_t *server = conn->server;
    struct dyn_buf *text = &server->head_text;
    dyn_buf_clear(text);
    dyn_buf_add(text, "HTTP/1.1 ", 9);
    dyn_buf_add_uint(text, answer->status);
    dyn_buf_add(text, " ", 1);
    dyn_buf_add_str(text, reason_of(answer->status));
    dyn_buf_add(text, "\r\n", 2);
    dyn_buf_add_slice(text, http_server_date_line(server));
    dyn_buf_add_slice(text, dyn_buf_slice(&server->common_lines));
    if (answer->content_type.data != NULL && http_is_value(answer->content_type)) {
        add_line(text, DYN_SLICE("content-type"), answer->content_type);
    }
    for (size_t i = 0; i < answer->n_headers; i++) {
        const struct http_header *header = &answer->headers[i];
        if (http_is_token(header->name) && http_is_value(header->value) && !is_framing(header->name)) {
            add_line(text, header->name, header->value);
        }
    }
    if (framing->chunked) {
        dyn_buf_add_str(text, "transfer-encoding: chunked\r\n");
    } else if (framing->has_length) {
        dyn_buf_add_str(text, "content-length: ");
        dyn_buf_add_uint(text, framing->length);
        dyn_buf_add(text, "\r\n", 2);
    }
    if (conn->must_close) {
        dyn_buf_add_str(text, "connection: close\r\n");
    } else if (minor == 0) {
        dyn_buf_add_str(text, "connection: keep-alive\r\n");
    }
    dyn_buf_add(text, "\r\n", 2);
    return dyn_buf_slice(text);
}

/* RFC 9110 6.4.1: statuses whose answers end with the head. */
static bool
has_no_content(const http_exchange_t *exchange, unsigned status)
{
    return exchange->is_head || status == 204 || status == 304;
}

static bool
begin_answer(http_exchange_t *exchange, const struct http_answer *answer)
{
    struct http_conn *conn = exchange->conn;
    DYN_ASSERT(!exchange->answered);
    exchange->answered = true;
    conn->must_close = conn->must_close || answer->close;
    http_conn_answered_early(conn);
    http_conn_wake(conn);
    return !conn->dead;
}

/* ---- bytes to the kernel ---- */

void
http_answer_flush(struct http_conn *conn)
{
    size_t content;
    size_t before = conn->out.bytes;
    if (before == 0) {
        return;
    }
    if (http_out_send(&conn->out, &conn->socket, &content) != 0) {
        http_conn_fail(conn, false);
        return;
    }
    if (conn->out.bytes == 0) {
        conn->write_deadline_us = 0;
    } else {
        if (conn->out.bytes < before || conn->write_deadline_us == 0) {
            http_conn_write_deadline(conn, conn->server->limits.write_timeout_ms);
        }
        http_socket_want_write(&conn->socket);
    }
    if (content > 0 && conn->exchange != NULL && conn->server->ops->written != NULL) {
        conn->server->ops->written(conn->server->self, conn->exchange, content);
    }
}

/* Head and body in one piece when the body's block has room in front, in one call anyway. */
static void
push_reply(struct http_conn *conn, struct dyn_slice head, dyn_block_t **body_p)
{
    dyn_block_t *body = *body_p;
    *body_p = NULL;
    if (body != NULL && !dyn_block_is_shared(body) && dyn_block_headroom(body) >= head.len) {
        dyn_block_prepend(body, head.data, head.len);
        size_t all = body->len;
        http_out_push(&conn->out, &body, all);
        return;
    }
    http_out_copy(&conn->out, head, head.len);
    if (body != NULL) {
        size_t all = body->len;
        http_out_push(&conn->out, &body, all);
    }
}

void
http_reply(http_exchange_t *exchange, const struct http_answer *answer, dyn_block_t **body_p)
{
    struct http_conn *conn = exchange->conn;
    dyn_block_t *body = body_p != NULL ? *body_p : NULL;
    if (body_p != NULL) {
        *body_p = NULL;
    }
    exchange->ended = true;
    if (!begin_answer(exchange, answer)) {
        dyn_block_unref(&body);
        return;
    }
    bool no_body = answer->status == 204 || answer->status == 304;
    struct framing framing = {.has_length = !no_body, .length = body != NULL ? body->len : 0};
    struct dyn_slice head = write_head(conn, answer, &framing, exchange->request.minor);
    if (has_no_content(exchange, answer->status)) {
        dyn_block_unref(&body);
    }
    bool waits = conn->out.n > 0; /* only a 100 Continue can */
    push_reply(conn, head, &body);
    if (!waits) {
        http_answer_flush(conn);
    }
}

void
http_answer_refusal(struct http_conn *conn, const struct http_refusal *refusal)
{
    http_server_t *server = conn->server;
    struct dyn_buf body = DYN_BUF_INIT;
    struct http_answer answer = {.status = refusal->status};
    if (server->ops->refused != NULL) {
        server->ops->refused(server->self, conn->exchange, refusal->status, refusal->why,
                             http_conn_peer(conn), &body, &answer);
    }
    struct framing framing = {.has_length = true, .length = body.len};
    struct dyn_slice head = write_head(conn, &answer, &framing, 1);
    http_out_copy(&conn->out, head, head.len);
    if (body.len > 0) {
        http_out_copy(&conn->out, dyn_buf_slice(&body), body.len);
    }
    dyn_buf_fini(&body);
}

void
http_answer_continue(struct http_conn *conn)
{
    static const struct dyn_slice go_on = DYN_SLICE_INIT("HTTP/1.1 100 Continue\r\n\r\n");
    http_out_copy(&conn->out, go_on, go_on.len);
    http_answer_flush(conn);
}

/* ---- answers in pieces ---- */

void
http_stream_start(http_exchange_t *exchange, const struct http_answer *answer, uint64_t content_length)
{
    struct http_conn *conn = exchange->conn;
    bool unknown = content_length == UINT64_MAX;
    exchange->no_content = has_no_content(exchange, answer->status);
    exchange->chunked = unknown && exchange->request.minor > 0 && !exchange->no_content;
    exchange->content_left = content_length;
    if (unknown && exchange->request.minor == 0) {
        conn->must_close = true; /* the end of the connection is the end of the answer */
    }
    if (!begin_answer(exchange, answer)) {
        return;
    }
    struct framing framing = {
        .chunked = unknown && exchange->request.minor > 0,
        .has_length = !unknown,
        .length = content_length,
    };
    if (answer->status == 204 || answer->status == 304) {
        framing = (struct framing){0};
    }
    exchange->head = dyn_block_copy(0, write_head(conn, answer, &framing, exchange->request.minor));
}

static void
push_head(http_exchange_t *exchange)
{
    if (exchange->head != NULL) {
        size_t all = exchange->head->len;
        http_out_push(&exchange->conn->out, &exchange->head, all);
    }
}

static size_t
chunk_line(size_t len, char line[CHUNK_LINE_MAX])
{
    static const char digits[] = "0123456789abcdef";
    char reversed[CHUNK_LINE_MAX];
    size_t n = 0;
    size_t at = 0;
    do {
        reversed[n++] = digits[len % 16];
        len /= 16;
    } while (len > 0);
    while (n > 0) {
        line[at++] = reversed[--n];
    }
    line[at++] = '\r';
    line[at++] = '\n';
    return at;
}

static void
push_small_chunk(struct http_out *out, struct dyn_slice line, struct dyn_slice content)
{
    char chunk[CHUNK_LINE_MAX + COPY_MAX + 2];
    memcpy(chunk, line.data, line.len);
    memcpy(chunk + line.len, content.data, content.len);
    memcpy(chunk + line.len + content.len, "\r\n", 2);
    http_out_copy(out, dyn_slice(chunk, line.len + content.len + 2), line.len + 2);
}

/* One chunk: framed where it lies if there is room, copied if it is small, else between two pieces. */
static void
push_chunk(http_exchange_t *exchange, dyn_block_t **block_p)
{
    struct http_out *out = &exchange->conn->out;
    dyn_block_t *block = *block_p;
    char text[CHUNK_LINE_MAX];
    struct dyn_slice line = dyn_slice(text, chunk_line(block->len, text));
    struct dyn_slice head = dyn_block_slice(exchange->head);
    bool in_place = !dyn_block_is_shared(block) && dyn_block_tailroom(block) >= 2 &&
                    dyn_block_headroom(block) >= line.len + head.len;
    *block_p = NULL;
    if (in_place && (out->n == 0 || block->len > COPY_MAX)) {
        size_t overhead = line.len + 2 + head.len;
        dyn_block_append(&block, "\r\n", 2);
        dyn_block_prepend(block, line.data, line.len);
        if (head.len > 0) {
            dyn_block_prepend(block, head.data, head.len);
            dyn_block_unref(&exchange->head);
        }
        http_out_push(out, &block, overhead);
        return;
    }
    push_head(exchange);
    if (block->len <= COPY_MAX) {
        push_small_chunk(out, line, dyn_block_slice(block));
        dyn_block_unref(&block);
        return;
    }
    http_out_copy(out, line, line.len);
    http_out_push(out, &block, 0);
    http_out_copy(out, DYN_SLICE("\r\n"), 2);
}

static void
push_plain(http_exchange_t *exchange, dyn_block_t **block_p)
{
    struct http_out *out = &exchange->conn->out;
    push_head(exchange);
    if (out->n > 0 && (*block_p)->len <= COPY_MAX) {
        http_out_copy(out, dyn_block_slice(*block_p), 0);
        dyn_block_unref(block_p);
        return;
    }
    http_out_push(out, block_p, 0);
}

void
http_stream_write(http_exchange_t *exchange, dyn_block_t **bytes_p)
{
    struct http_conn *conn = exchange->conn;
    DYN_ASSERT(exchange->answered && !exchange->ended);
    dyn_block_t *block = *bytes_p;
    *bytes_p = NULL;
    if (block == NULL || block->len == 0 || conn->dead || exchange->no_content) {
        dyn_block_unref(&block);
        return;
    }
    if (exchange->chunked) {
        push_chunk(exchange, &block);
    } else {
        if (exchange->content_left != UINT64_MAX) {
            DYN_ASSERT(block->len <= exchange->content_left);
            exchange->content_left -= block->len;
        }
        push_plain(exchange, &block);
    }
    http_conn_wake(conn);
}

void
http_stream_flush(http_exchange_t *exchange)
{
    if (!exchange->conn->dead) {
        push_head(exchange);
        http_conn_wake(exchange->conn);
    }
}

void
http_stream_end(http_exchange_t *exchange)
{
    struct http_conn *conn = exchange->conn;
    DYN_ASSERT(exchange->answered && !exchange->ended);
    if (conn->dead) {
        return;
    }
    push_head(exchange);
    exchange->ended = true;
    if (exchange->chunked) {
        http_out_copy(&conn->out, DYN_SLICE("0\r\n\r\n"), 5);
    } else if (exchange->content_left != UINT64_MAX && exchange->content_left > 0 && !exchange->no_content) {
        conn->must_close = true; /* shorter than announced: the end of the connection shows it */
    }
    http_conn_wake(conn);
}

size_t
http_stream_queued(const http_exchange_t *exchange)
{
    return exchange->conn->out.content;
}

void
http_abort(http_exchange_t *exchange, bool reset)
{
    struct http_conn *conn = exchange->conn;
    exchange->answered = true;
    exchange->aborted = true;
    exchange->ended = true;
    dyn_block_unref(&exchange->head);
    conn->must_close = true;
    if (reset) {
        http_conn_fail(conn, true);
    }
    http_conn_wake(conn);
}

void
http_raw_write(http_exchange_t *exchange, struct dyn_slice bytes)
{
    struct http_conn *conn = exchange->conn;
    if (!exchange->answered) {
        exchange->answered = true;
        http_conn_answered_early(conn);
    }
    if (conn->dead) {
        return;
    }
    push_head(exchange);
    http_out_copy(&conn->out, bytes, 0);
    http_conn_wake(conn);
}
