/* What the edge looks for in a request's headers: found in one pass, judged by pure functions. */
#pragma once

#include "edge/http_server.h"
#include "proto/err.h"

enum { EDGE_TRACE_ID_LEN = 32 }; /* hex digits */

/* Absent where the client sent none; of several the first. */
struct edge_headers {
    struct dyn_slice authorization;
    struct dyn_slice x_api_key;
    struct dyn_slice api_key;
    struct dyn_slice x_goog_api_key;
    struct dyn_slice content_type;
    struct dyn_slice content_encoding;
    struct dyn_slice expect;
    struct dyn_slice host;
    struct dyn_slice idempotency_key;
    struct dyn_slice origin;
    struct dyn_slice traceparent; /* absent when it came twice: W3C Trace Context 3.2 */
    struct dyn_slice x_dynabus_redeliver;
    struct dyn_slice x_dynabus_target;
    struct dyn_slice x_forwarded_for;
    struct dyn_slice x_real_ip;
    struct dyn_slice x_request_id;
};

void edge_headers_read(const struct http_request *request, struct edge_headers *headers);

/* `Authorization: Bearer`, else `x-api-key`, else `api-key`, else `x-goog-api-key`. */
struct dyn_slice edge_credential(const struct edge_headers *headers);
/* ERR_UNSUPPORTED_MEDIA unless application/json without content-encoding; ERR_EXPECTATION_FAILED for an
 * expectation other than 100-continue. */
enum err_code edge_judge_body(const struct edge_headers *headers);
/* Of `x-dynabus-redeliver`: `always`, `unsent`, `never`, or none. */
bool edge_redeliver_is_valid(const struct edge_headers *headers);
/* The id of a valid traceparent, else an X-Request-ID of 32 hex digits, else a new random one, in lower
 * case. Returns the traceparent when it was valid, else absent. */
struct dyn_slice edge_trace_id(const struct edge_headers *headers, char id[EDGE_TRACE_ID_LEN]);
/* The Host (or the authority of the target) and the Origin, if there is one, name this very machine. */
bool edge_is_local(const struct http_request *request, const struct edge_headers *headers);
