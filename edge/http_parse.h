/* Splits a request head into method, target and headers. This is the only interface to http-parser
 * (http_parse.c). Bodies are not its business: http_body.h reads them. Pure. */
#pragma once

#include "edge/http_guard.h"
#include "edge/http_server.h"

struct http_head {
    struct dyn_slice    method;
    struct dyn_slice    target;
    unsigned            minor;
    bool                keep_alive; /* what the client wants, by version and Connection header */
    size_t              n_headers;
    struct http_framing framing;
    struct http_header  headers[HTTP_REQUEST_HEADERS_MAX];
};

/* `bytes` is one head that http_guard_head() let through, from its request line to its empty line.
 * The slices in *head point into it. -1: refused. */
int http_parse_head(struct dyn_slice bytes, struct http_head *head, struct http_refusal *refusal);

/* Splits a target into path and query (absent without '?'); of an absolute-form target the scheme and
 * the authority are left out (RFC 9112 3.2.2). */
void http_parse_target(struct dyn_slice target, struct dyn_slice *path, struct dyn_slice *query);
/* The authority of an absolute-form target, else absent. */
struct dyn_slice http_parse_authority(struct dyn_slice target);
