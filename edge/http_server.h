/* An HTTP/1.1 server on a bus loop: connections, requests, answers; it knows neither gateways nor
 * envelopes. The edge actor and the mock upstream stand on it. libwebsockets (raw role: sockets, TLS)
 * is behind edge/http_socket.c, http-parser behind edge/http_parse.c.
 *
 * One request at a time per connection; pipelined ones wait. Everything runs on the
 * server's loop. Callbacks may answer, stream, abort, from inside any callback. */
#pragma once

#include "bus/loop.h"
#include "core/arena.h"
#include "core/block.h"
#include "core/buf.h"
#include "core/err.h"
#include "edge/http_tls.h"

#include <stdatomic.h>

typedef struct http_server http_server_t;
typedef struct http_exchange http_exchange_t; /* one request and its answer */

struct http_header {
    struct dyn_slice name; /* as received or as to be sent */
    struct dyn_slice value;
};

enum { HTTP_REQUEST_HEADERS_MAX = 100 };
#define HTTP_BODY_DISCARD UINT64_MAX

/* Valid until the exchange ends. */
struct http_request {
    struct dyn_slice          method;
    struct dyn_slice          target; /* as on the request line */
    struct dyn_slice          path;   /* target up to '?', not decoded; of an absolute-form target its path */
    struct dyn_slice          query;  /* behind '?'; absent without one */
    const struct http_header *headers;
    size_t                    n_headers;
    unsigned                  minor;  /* HTTP/1.minor */
    bool                      has_body;      /* Content-Length > 0 or chunked */
    uint64_t                  content_length; /* UINT64_MAX when chunked */
    dyn_block_t              *body; /* whole; NULL in `head` and without one; take a reference to keep it */
    struct dyn_slice          peer; /* "192.0.2.1:4711", "[::1]:4711" */
    uint64_t                  received_us; /* monotonic, first byte of this request */
};

/* First header with that name (any case), or absent. */
struct dyn_slice http_request_header(const struct http_request *request, const char *name);

struct http_answer {
    unsigned                  status;
    struct dyn_slice          content_type; /* absent: none is sent */
    const struct http_header *headers;
    size_t                    n_headers;
    bool                      close; /* end the connection after this answer */
};

struct http_server_ops {
    /* The head is complete and well framed, the body is not read yet. Return the largest body to
     * accept in bytes (0: none expected; a longer one calls `too_large`), or answer here. HTTP_BODY_DISCARD:
     * the answer comes without the body, now or later; `request` is not called. A short body is read and
     * dropped, behind a long one the connection closes. */
    uint64_t (*head)(void *self, http_exchange_t *exchange, const struct http_request *request);
    /* The body is longer than `head` allowed: answer (413), now or later. The rest is not read; the
     * connection closes after the answer (lingering, so that the client can read it). */
    void (*too_large)(void *self, http_exchange_t *exchange, const struct http_request *request);
    /* The bodies of all requests together have reached `bodies->max`: answer (429, 503) as for `too_large`.
     * Only with `bodies`. */
    void (*no_room)(void *self, http_exchange_t *exchange, const struct http_request *request);
    /* The whole request is here. Not called when one of those above has answered. */
    void (*request)(void *self, http_exchange_t *exchange, const struct http_request *request);
    /* `bytes` more of a streamed answer went to the kernel (framing not counted). Never from inside a
     * function of this header. May be NULL. */
    void (*written)(void *self, http_exchange_t *exchange, size_t bytes);
    /* The exchange is over and its pointer dead on return. `complete`: the whole answer was handed to
     * the kernel; false: the client went away, a time-out, or http_abort. Called exactly once for every
     * exchange for which `head` was called, at the end of the turn or from the loop, never from inside a
     * function of this header but http_server_free. */
    void (*done)(void *self, http_exchange_t *exchange, bool complete);
    /* The bytes of a request cannot be read (bad framing, 400, 408, 431, 501, 505) and the server answers
     * by itself. `exchange` is NULL when its head was unreadable; else its done() follows. Fill in the
     * answer's body, content type and headers, valid until the next call. May be NULL: empty body. */
    void (*refused)(void *self, http_exchange_t *exchange, unsigned status, const char *why,
                    struct dyn_slice peer, struct dyn_buf *body, struct http_answer *answer);
};

/* What the requests of a process may make it hold at a time, shared by the servers of its loops. A body
 * counts from its arrival to the end of its exchange, except for its first HTTP_BODY_UNCOUNTED bytes:
 * those are bounded by the number of connections, and most requests never touch the counter. */
struct http_bodies {
    atomic_size_t held;
    size_t        max;
};
enum { HTTP_BODY_UNCOUNTED = 16 * 1024 };

struct http_server_options {
    uint32_t head_timeout_ms;   /* first byte of a request to the end of its head; 0: 10 s */
    uint32_t body_timeout_ms;   /* between two pieces of a body; 0: 30 s */
    uint32_t body_total_ms;     /* for a whole body: a trickle must end; 0: 300 s */
    uint32_t idle_timeout_ms;   /* keep-alive without a request; 0: 75 s */
    uint32_t write_timeout_ms;  /* a client that takes nothing although bytes wait; 0: 60 s */
    uint32_t head_max;          /* bytes of request line and headers; 0: 32 KiB */
    uint32_t connections_max;   /* of this server; 0: 10,000 */
    const struct http_header *answer_headers; /* put on every answer, also refusals; borrowed */
    size_t                    n_answer_headers;
    atomic_size_t            *connections; /* kept up to date, for other threads; may be NULL */
    struct http_bodies       *bodies; /* outlives the server; NULL: no limit but those of each request */
    http_tls_t               *tls;    /* outlives the server; NULL: plain HTTP */
};

/* `loop` must not run elsewhere; call on its thread or before it runs. */
http_server_t *http_server_new(bus_loop_t *loop, const struct http_server_ops *ops, void *self,
                               const struct http_server_options *options, struct dyn_err *err);
/* Takes a connected socket. -1: at the limit (DYN_E_LIMIT), the descriptor is still the caller's. Not from
 * inside a callback. */
int http_server_adopt(http_server_t *server, int fd, struct dyn_err *err);
size_t http_server_connections(const http_server_t *server);
/* From now on answers carry `connection: close`; idle connections close after `grace_ms`. */
void http_server_drain(http_server_t *server, uint32_t grace_ms);
/* Refuses with 503 the requests that are still arriving, for the end of a drain. Returns how many; their
 * answers leave within the turn. Not from inside a callback. */
size_t http_server_refuse_arriving(http_server_t *server);
/* Closes everything at once (done() is called for each open exchange) and frees it. Not from inside a
 * callback. */
void http_server_free(http_server_t **server_p);

void  http_exchange_set_user(http_exchange_t *exchange, void *user);
void *http_exchange_user(const http_exchange_t *exchange);
const struct http_request *http_exchange_request(const http_exchange_t *exchange);
/* Memory until the exchange ends. */
struct arena *http_exchange_arena(http_exchange_t *exchange);
/* The request's body becomes the caller's, and is gone from the request. */
dyn_block_t *http_exchange_take_body(http_exchange_t *exchange);

/* A whole answer: head and body leave in one write; Content-Length is set. Takes *body_p (NULL: empty);
 * when it has headroom and one reference, the head is put in front of it without moving it. Exactly one of
 * http_reply, http_stream_start or http_abort is called per exchange. A HEAD request gets no body. */
void http_reply(http_exchange_t *exchange, const struct http_answer *answer, dyn_block_t **body_p);

/* An answer in pieces: chunked on 1.1, ended by close on 1.0. `content_length` UINT64_MAX: unknown.
 * The head goes out with the first write, or with http_stream_flush. */
void http_stream_start(http_exchange_t *exchange, const struct http_answer *answer, uint64_t content_length);
/* Takes *bytes_p. All that a turn writes leaves in one call at its end; `written` tells what the kernel
 * took. With 24 bytes of headroom and 2 behind, and one reference, chunk framing is put in place. Bounded by
 * the caller's credit. */
void http_stream_write(http_exchange_t *exchange, dyn_block_t **bytes_p);
void http_stream_flush(http_exchange_t *exchange);
void http_stream_end(http_exchange_t *exchange);
/* Bytes queued and not yet taken by the kernel. */
size_t http_stream_queued(const http_exchange_t *exchange);
/* Ends the connection in the middle, visibly: no last chunk, closed behind what was written (reset: at
 * once, with RST). `done` follows with complete = false. */
void http_abort(http_exchange_t *exchange, bool reset);
/* Bytes as they are, bypassing framing: for the mock's broken answers. Ends with http_abort. */
void http_raw_write(http_exchange_t *exchange, struct dyn_slice bytes);
