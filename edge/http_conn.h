/* The inside of the HTTP server: what its files share. http_conn.c reads requests, http_answer.c writes
 * answers, http_out.c queues bytes, http_server.c owns the connections. Nobody else includes this.
 *
 * A connection has at most one exchange. Whatever would change what the caller stands on (the end of an
 * exchange, the next request, closing) is done by the connection's task at the end of the turn, so that
 * every function of http_server.h may be called from every callback. */
#pragma once

#include "edge/http_body.h"
#include "edge/http_parse.h"
#include "edge/http_server.h"
#include "edge/http_socket.h"

enum {
    HTTP_EXCHANGE_INLINE = 2048, /* bytes: head, headers and answer head of a usual request */
    HTTP_OUT_INLINE = 4,
    HTTP_PEER_SIZE = 56, /* "[v6 address]:port" */
};

struct http_limits {
    uint32_t head_timeout_ms;
    uint32_t body_timeout_ms;
    uint32_t body_total_ms;
    uint32_t idle_timeout_ms;
    uint32_t write_timeout_ms;
    uint32_t head_max;
    uint32_t connections_max;
};

struct http_server {
    bus_loop_t *loop;
    http_sockets_t *sockets;
    const struct http_server_ops *ops;
    void *self;
    struct http_limits limits;
    struct dyn_list active; /* connections with a request, or part of one */
    struct dyn_list idle;   /* the others */
    size_t n_connections;
    atomic_size_t *gauge; /* of them, for other threads; may be NULL */
    struct http_bodies *bodies; /* may be NULL */
    struct dyn_buf common_lines; /* header lines that every answer carries */
    struct dyn_buf head_text;    /* where an answer's head is put together */
    char     date_line[48];      /* "date: ...\r\n", made once a second */
    size_t   date_len;
    uint64_t date_until_us;
    struct bus_timer drain_timer;
    uint32_t drain_grace_ms;
    bool draining;
    http_exchange_t *spare; /* exchanges for reuse, linked through `user` */
    size_t n_spare;
    struct bus_keeper spare_keeper;
    struct http_head head; /* scratch of the parser */
};

/* Bytes on their way to the kernel. The block may be shared: it is not changed. */
struct http_out_item {
    dyn_block_t *block;
    size_t sent;     /* of block->len */
    size_t overhead; /* of what is left: head or framing */
};

struct http_out {
    struct http_out_item *items; /* inline_items, or malloc'd while there are more */
    size_t first, n, cap;
    size_t bytes;   /* in all items */
    size_t content; /* of which bytes of the exchange's answer */
    struct http_out_item inline_items[HTTP_OUT_INLINE];
};

enum http_reading {
    READING_HEAD,
    READING_BODY,
    READING_DISCARD, /* a body that nobody wants, small enough to get to the next request behind it */
    READING_PAUSED,  /* the request is whole, its answer is not: bytes that come belong to the next */
    READING_DROP,    /* nothing that comes is used: this is the connection's last answer */
};

struct http_conn {
    struct http_socket socket;
    struct dyn_list    link;
    http_server_t     *server;
    http_exchange_t   *exchange;

    enum http_reading reading;
    bool is_idle;     /* in server->idle */
    bool must_close;  /* after this answer */
    bool half_closed; /* our end was sent; the client's is waited for */
    bool dead;        /* nothing more can be written; the task closes */
    bool reset;       /* ... with RST */
    char *in;             /* bytes not used yet: part of a head, or of requests to come */
    size_t in_len, in_cap;
    struct http_head_scan scan;
    struct http_body      body;
    uint64_t body_end_us;     /* when a body has to be whole */
    uint64_t discarded;       /* bytes of READING_DISCARD */
    uint64_t first_byte_us;   /* of the current request; 0: none came */

    struct http_out out;

    struct bus_task  task;
    struct bus_timer timer;        /* for the earlier of the two */
    uint64_t read_deadline_us;     /* 0: none */
    uint64_t write_deadline_us;
    char peer[HTTP_PEER_SIZE]; /* empty until asked for */
};

struct http_exchange {
    struct http_conn   *conn;
    void               *user;
    struct http_request request;
    dyn_block_t        *body;
    uint64_t            body_max;
    size_t              body_counted; /* in server->bodies->held */
    uint64_t            content_left; /* of a streamed answer with Content-Length; UINT64_MAX: unknown */
    dyn_block_t        *head;         /* of a streamed answer, not queued yet */
    bool is_head;                     /* the method is HEAD */
    bool expects_continue;
    bool answered; /* reply, stream_start, abort or raw_write came */
    bool chunked;
    bool no_content; /* the answer has none, whatever is written */
    bool ended;      /* nothing more will be written */
    bool aborted;
    struct arena arena;
    _Alignas(16) char inline_memory[HTTP_EXCHANGE_INLINE];
};

/* ---- http_conn.c ---- */

extern const struct http_socket_ops http_conn_ops;

void http_conn_init(struct http_conn *conn, http_server_t *server);
struct dyn_slice http_conn_peer(struct http_conn *conn);
/* Queues the end-of-turn task. */
void http_conn_wake(struct http_conn *conn);
/* Nothing can be written any more: the task closes. */
void http_conn_fail(struct http_conn *conn, bool reset);
/* Refuses with 503 a request that is still arriving; false: there is none. */
bool http_conn_refuse_arriving(struct http_conn *conn);
/* Time-outs; 0: none. */
void http_conn_read_deadline(struct http_conn *conn, uint32_t ms);
void http_conn_write_deadline(struct http_conn *conn, uint32_t ms);
/* An answer begins while the request is still coming in. Decides how the rest of the body is treated. */
void http_conn_answered_early(struct http_conn *conn);

/* ---- http_out.c ---- */

void http_out_init(struct http_out *out);
void http_out_fini(struct http_out *out);
/* Takes *block_p. */
void http_out_push(struct http_out *out, dyn_block_t **block_p, size_t overhead);
/* Copies bytes behind what waits already, into the last block if they fit. */
void http_out_copy(struct http_out *out, struct dyn_slice bytes, size_t overhead);
/* Sends what it can. -1: the peer is gone. *content: bytes of content that left. */
int http_out_send(struct http_out *out, struct http_socket *socket, size_t *content);

/* ---- http_answer.c ---- */

/* Answers a request that cannot be served, without the exchange (if there is one). */
void http_answer_refusal(struct http_conn *conn, const struct http_refusal *refusal);
void http_answer_continue(struct http_conn *conn); /* 100 Continue */
/* Sends what is queued, and accounts for it. */
void http_answer_flush(struct http_conn *conn);

/* ---- http_server.c ---- */

http_exchange_t *http_exchange_new(struct http_conn *conn);
void http_exchange_free(http_exchange_t *exchange);
void http_server_set_idle(struct http_conn *conn, bool idle); /* to the idle list or off it */
void http_server_forget(struct http_conn *conn);              /* off all lists; frees it */
struct dyn_slice http_server_date_line(http_server_t *server);
