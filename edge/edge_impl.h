/* The inside of the edge actor. edge.c: the actor and its HTTP callbacks; edge_request.c: from a request to
 * an envelope; edge_answer.c: from envelopes to an answer. Nobody else includes this. */
#pragma once

#include "bus/credit.h"
#include "edge/accept.h"
#include "edge/edge.h"
#include "edge/headers.h"
#include "edge/http_server.h"
#include "edge/routes.h"
#include "proto/dialects/dialect.h"
#include "proto/env_map.h"

struct edge {
    struct edge_options  options;
    struct arena         arena; /* what the options borrow */
    bus_actor_t         *me;
    bus_loop_t          *loop;
    http_server_t       *server;
    struct edge_acceptor acceptor;
    struct env_map       requests; /* at the router */
    size_t               n_open;   /* exchanges */
    const struct dialect_ops *dialect;

    bool             draining;
    uint64_t         grace_until_us; /* idle connections are closed then */
    uint64_t         give_up_at_us;  /* what is in flight is ended then */
    struct bus_timer drain_timer;
    struct bus_timer tls_timer; /* looks at the files; one cell does for all */

    char               refusal_trace[EDGE_TRACE_ID_LEN]; /* of the last answer to unreadable bytes */
    struct http_header refusal_header;
};

/* One request; lives in its exchange's arena. */
struct edge_request {
    struct env_map_node      node; /* in edge->requests while is_in_flight */
    struct edge             *edge;
    http_exchange_t         *exchange;
    const struct edge_route *route;
    char                     trace_id[EDGE_TRACE_ID_LEN];
    struct dyn_slice         origin;      /* of a web page that may see the answer, else absent */
    struct dyn_slice         traceparent; /* valid, or absent */
    struct dyn_slice         client;      /* its address: the peer's, or what a proxy says */

    bool is_in_flight;  /* sent to the router, no END yet */
    bool has_begun;     /* the head of an answer was written */
    bool is_sse;        /* ... of a stream */
    bool is_streaming;  /* the provider answers with a stream */
    bool is_mid_event;  /* what was written last does not end an event */
    bool is_complete;   /* the end marker of the stream was written: its client has all of it */
    struct credit_receiver credit;
    size_t unpaid; /* bytes of CHUNKs not yet with the kernel: what credit is given back for */

    struct env      *request; /* made with the head, waits for the body; NULL when it was sent */
    struct env      *first;   /* first CHUNK of a plain answer that is held: status and headers */
    dyn_block_t     *held;    /* ... and its bytes so far */
    struct bus_timer keepalive;
};

static inline struct dyn_slice
edge_trace_slice(const struct edge_request *rq)
{
    return dyn_slice(rq->trace_id, EDGE_TRACE_ID_LEN);
}

/* ---- edge_request.c ---- */

/* http_server_ops */
uint64_t edge_on_head(void *self, http_exchange_t *exchange, const struct http_request *request);
void     edge_on_too_large(void *self, http_exchange_t *exchange, const struct http_request *request);
void     edge_on_no_room(void *self, http_exchange_t *exchange, const struct http_request *request);
void     edge_on_request(void *self, http_exchange_t *exchange, const struct http_request *request);
/* The router need not work on it any more. */
void edge_cancel(struct edge_request *rq, const char *reason);

/* ---- edge_answer.c ---- */

/* From the router: each takes what it keeps of *env_p. */
void edge_on_dispatched(struct edge_request *rq, const struct env *env);
void edge_on_chunk(struct edge_request *rq, struct env **env_p);
void edge_on_end(struct edge_request *rq, struct env **env_p);
void edge_on_keepalive(struct bus_timer *timer);
/* http_server_ops.written */
void edge_on_written(void *self, http_exchange_t *exchange, size_t bytes);
/* Ends the answer with an error, in the way that is still possible. */
void edge_fail(struct edge_request *rq, enum err_code code);
/* An answer of the edge's own, with its line in the access log. `text` may be absent: the row's sentence. */
void edge_answer_error(struct edge_request *rq, enum err_code code, struct dyn_slice text);
void edge_answer_preflight(struct edge_request *rq);
void edge_answer_json(struct edge_request *rq, unsigned status, struct dyn_slice json);
/* http_server_ops.refused */
void edge_on_refused(void *self, http_exchange_t *exchange, unsigned status, const char *why,
                     struct dyn_slice peer, struct dyn_buf *body, struct http_answer *answer);
/* What the request holds beside its arena. */
void edge_request_fini(struct edge_request *rq);
