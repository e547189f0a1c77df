/* The request path without sockets: bytes of a connection, in one piece and in pieces of the fuzzer's
 * choice, must be read as the same requests and the same refusal; and what is let through must be free of
 * what could be read in two ways. The first byte chooses the pieces, the rest is the connection. */
#include "edge/headers.h"
#include "edge/http_body.h"
#include "edge/http_parse.h"
#include "edge/routes.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { HEAD_MAX = 2048 };

struct reader {
    char *in; /* bytes of a head that is not whole */
    size_t in_len;
    struct http_head_scan scan;
    struct http_body body;
    bool in_body;
    unsigned refused; /* status; nothing is read any more */
    uint64_t digest;  /* of all that was understood */
    uint64_t requests;
};

static void
digest(struct reader *reader, struct dyn_slice bytes)
{
    for (size_t i = 0; i < bytes.len; i++) {
        reader->digest = (reader->digest ^ (unsigned char)bytes.data[i]) * 1099511628211u;
    }
}

static void
digest_text(struct reader *reader, struct dyn_slice bytes)
{
    digest(reader, bytes);
    digest(reader, DYN_SLICE("\n"));
}

static void
must(bool truth)
{
    if (!truth) {
        abort();
    }
}

static void
check_head(struct dyn_slice bytes, const struct http_head *head)
{
    unsigned lengths = 0;
    for (size_t i = 0; i < bytes.len; i++) {
        must(bytes.data[i] != '\n' || (i > 0 && bytes.data[i - 1] == '\r'));
        must(bytes.data[i] != '\r' || (i + 1 < bytes.len && bytes.data[i + 1] == '\n'));
        must(bytes.data[i] != '\0');
    }
    for (size_t i = 0; i < head->n_headers; i++) {
        struct dyn_slice name = head->headers[i].name;
        must(name.len > 0 && memchr(name.data, ' ', name.len) == NULL);
        must(name.data[name.len] == ':');
        must(memchr(head->headers[i].value.data, '\r', head->headers[i].value.len) == NULL);
        lengths += dyn_slice_ieq(name, DYN_SLICE("content-length")) ||
                   dyn_slice_ieq(name, DYN_SLICE("transfer-encoding"));
    }
    must(lengths <= 1);
    must(head->minor == 0 || head->framing.hosts == 1);
    must(lengths == 1 || !(head->framing.chunked || head->framing.has_length));
}

/* What the edge makes of it, as far as no socket is needed. */
static void
check_edge(const struct http_head *head, struct dyn_slice path)
{
    struct http_request request = {
        .target = head->target, .path = path, .headers = head->headers, .n_headers = head->n_headers};
    struct edge_headers headers;
    struct arena arena;
    char id[EDGE_TRACE_ID_LEN];
    arena_init(&arena, NULL, 0);
    edge_headers_read(&request, &headers);
    struct dyn_slice traceparent = edge_trace_id(&headers, id);
    must(traceparent.data == NULL || memcmp(traceparent.data + 3, id, sizeof id) == 0);
    struct dyn_slice credential = edge_credential(&headers);
    must(credential.len == 0 || credential.data[0] != ' ' || headers.authorization.data == NULL);
    (void)edge_judge_body(&headers);
    must(!edge_is_local(&request, &headers) || headers.host.len >= 5);
    struct edge_match match = edge_route_match(head->method, path);
    must(match.refuse != ERR_NONE || match.route != NULL);
    struct dyn_slice decoded = edge_path_decode(&arena, match.id);
    must(decoded.len <= match.id.len);
    arena_fini(&arena);
}

static void
refuse(struct reader *reader, const struct http_refusal *refusal)
{
    must(refusal->status >= 400 && refusal->why != NULL);
    reader->refused = refusal->status;
}

static void
read_head(struct reader *reader, struct dyn_slice bytes)
{
    static struct http_head head;
    struct http_refusal refusal = {0, NULL};
    if (http_parse_head(bytes, &head, &refusal) != 0) {
        refuse(reader, &refusal);
        return;
    }
    struct dyn_slice path;
    struct dyn_slice query;
    check_head(bytes, &head);
    http_parse_target(head.target, &path, &query);
    must(path.len > 0);
    check_edge(&head, path);
    digest_text(reader, head.method);
    digest_text(reader, path);
    digest_text(reader, query);
    for (size_t i = 0; i < head.n_headers; i++) {
        digest_text(reader, head.headers[i].name);
        digest_text(reader, head.headers[i].value);
    }
    reader->requests++;
    reader->in_body = true;
    http_body_start(&reader->body, head.framing.chunked, head.framing.length);
}

static void
take_head(struct reader *reader, struct dyn_slice *input)
{
    struct http_refusal refusal = {0, NULL};
    size_t end = 0;
    reader->in = realloc(reader->in, reader->in_len + input->len + 1);
    memcpy(reader->in + reader->in_len, input->data, input->len);
    struct dyn_slice bytes = dyn_slice(reader->in, reader->in_len + input->len);
    int found = http_guard_head(&reader->scan, bytes, HEAD_MAX, &end, &refusal);
    if (found < 0) {
        refuse(reader, &refusal);
        return;
    }
    if (found == 0) {
        must(bytes.len - reader->scan.start <= HEAD_MAX);
        reader->in_len = bytes.len;
        input->len = 0;
        return;
    }
    must(end <= bytes.len && end > reader->in_len); /* not before the bytes that just came */
    input->data += end - reader->in_len;
    input->len -= end - reader->in_len;
    read_head(reader, dyn_slice(reader->in + reader->scan.start, end - reader->scan.start));
    reader->scan = (struct http_head_scan){0};
    reader->in_len = 0;
}

static void
take_body(struct reader *reader, struct dyn_slice *input)
{
    struct http_refusal refusal = {0, NULL};
    struct dyn_slice piece;
    switch (http_body_next(&reader->body, input, &piece, &refusal)) {
    case HTTP_BODY_PIECE:
        must(piece.len > 0);
        digest(reader, piece);
        return;
    case HTTP_BODY_END:
        digest_text(reader, DYN_SLICE("end"));
        reader->in_body = false;
        return;
    case HTTP_BODY_BAD:
        must(refusal.status == 400);
        refuse(reader, &refusal);
        return;
    case HTTP_BODY_MORE:
        must(input->len == 0);
    }
}

static void
feed(struct reader *reader, struct dyn_slice input)
{
    while (reader->refused == 0 && (input.len > 0 || (reader->in_body && reader->body.left == 0))) {
        size_t before = input.len;
        bool in_body = reader->in_body;
        if (reader->in_body) {
            take_body(reader, &input);
        } else {
            take_head(reader, &input);
        }
        if (input.len == 0 && before == 0 && in_body == reader->in_body) {
            return;
        }
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1) {
        return 0;
    }
    struct reader whole = {0};
    struct reader pieces = {0};
    const char *bytes = (const char *)data + 1;
    size_t len = size - 1;
    feed(&whole, dyn_slice(bytes, len));
    uint32_t draw = data[0] + 1u;
    for (size_t at = 0; at < len;) {
        draw = draw * 1664525u + 1013904223u;
        size_t n = data[0] == 0 ? 1 : 1 + (draw >> 16) % (data[0] + 1u);
        n = n < len - at ? n : len - at;
        char *exact = malloc(n); /* so that reading beyond a piece shows */
        memcpy(exact, bytes + at, n);
        feed(&pieces, dyn_slice(exact, n));
        free(exact);
        at += n;
    }
    must(whole.refused == pieces.refused);
    must(whole.digest == pieces.digest && whole.requests == pieces.requests);
    free(whole.in);
    free(pieces.in);
    return 0;
}
