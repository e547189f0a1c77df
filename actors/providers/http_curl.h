/* Inside the HTTP client: what its files share. The only header that includes libcurl's; it and the
 * http_*.c files are all that would change with another library.
 *
 * Rules that they keep (libcurl 7.88): no handle is added, removed or resumed inside a callback of
 * libcurl; that is done by chores at the end of the turn. Easy handles are used again with their options,
 * which are set once per origin. HTTP/1.1 only: HTTP/2 of this version loses the ends of cut answers. */
#pragma once

#include "actors/providers/http_client.h"
#include "actors/providers/http_reader.h"

#include <curl/curl.h>

enum {
    HTTP_SPARE_CALLS_MAX = 128, /* per origin; an idle easy handle holds about 8 KiB */
    HTTP_RESOLVES_MAX = 4,      /* threads that look up one origin's name at the same time */
    HTTP_IDLE_S = 75,           /* of a kept connection: less than common servers allow */
    HTTP_NAME_FRESH_S = 50,     /* less than libcurl keeps an address (60 s) */
};

typedef struct http_pool http_pool_t; /* http_wire.h */
typedef struct http_wire http_wire_t;

/* libcurl's own state, once a process. -1: it cannot be used. Any thread. */
int http_curl_init(void);

struct http_client {
    bus_loop_t *loop;
    unsigned refs;
    CURLM *multi;
    CURLSH *share;                  /* TLS sessions, so that any connection resumes what another began */
    struct bus_timer timer;         /* libcurl's */
    struct bus_task task;           /* does the chores */
    bool is_due;                    /* libcurl wants to be called at the end of the turn */
    struct dyn_list chores;         /* calls to start, resume, end */
    struct dyn_list touched;        /* calls that got bytes since the last settled() */
    struct client_socket **sockets; /* by descriptor */
    size_t n_sockets;
    size_t n_calls;
    size_t n_kept;         /* connections that were used, those in use included */
    uint64_t last_call_us; /* end of the last one */
    struct bus_timer sweep_timer;
    CURL *sweeper;         /* http_sweep.c's; NULL: it has nothing to do */
    struct dyn_list pools; /* of connections without TLS and proxy */
    size_t n_wires;        /* those connections */
    uint32_t connections_max;
    bool only_libcurl;
    int taken_fd;        /* the connection that libcurl made for us and may not close; -1: none */
    char *received;      /* what was read last; for all wires */
    struct dyn_buf head; /* of the request that is sent */
    char detail[512];    /* the last sentence about an end */
};

struct http_origin {
    http_client_t *client;
    struct curl_slist *headers;
    CURLU *url;                /* parsed once: half of what libcurl would spend on the URL of each request */
    http_pool_t *pool;         /* NULL: libcurl speaks HTTP (TLS, a proxy) */
    struct dyn_buf head_front; /* of requests on wires of the pool: up to the headers of one request */
    struct dyn_buf head_back;  /* and from there to the length of the body */
    CURL *spare_easy;          /* for the pool's next connection */
    char *ca_file;
    char *proxy;
    char *no_proxy;
    char *authority; /* for sentences: host and port without credentials */
    struct dyn_list calls;
    struct dyn_list spare;
    size_t n_spare;
    struct bus_keeper spare_keeper;
    bool is_address;         /* the host is no name */
    struct dyn_list waiting; /* calls for whose name enough threads are on their way */
    unsigned n_resolving;
    uint64_t name_fresh_until_us; /* libcurl has the address: no thread is needed */
};

enum call_phase { CALL_CONNECTING, CALL_WAITING, CALL_ANSWERING };

struct http_call {
    struct dyn_list link;  /* origin->calls or ->spare */
    struct dyn_list chore; /* client->chores or origin->waiting */
    struct dyn_list touch; /* client->touched */
    http_origin_t *origin;
    CURL *easy;                      /* NULL: not in need of libcurl */
    http_wire_t *wire;               /* instead of libcurl */
    const struct http_call_ops *ops; /* NULL: nobody listens any more */
    void *self;
    dyn_block_t *body;          /* NULL when libcurl needs it no longer */
    struct curl_slist *headers; /* of this request, in front of the origin's; one piece of memory */
    struct dyn_buf own_head;    /* the same, as text for a wire */
    struct bus_timer timer;
    uint64_t phase_until_us; /* 0: no limit at the moment */
    uint64_t deadline_us;    /* 0: none */
    uint32_t connect_ms;
    uint32_t first_byte_ms;
    uint32_t idle_ms;
    enum call_phase phase;
    enum http_call_end timed_out; /* HTTP_CALL_COMPLETE: it is not */
    struct http_call_head head;
    uint32_t head_bytes;
    uint32_t linger_bytes;
    unsigned sent;
    int opened_fd;         /* the last socket opened for it; -1: none, or its connection is made */
    bool is_added;         /* in libcurl's hands */
    bool is_resolving;     /* in libcurl's hands, and no address known: must not be taken out */
    bool lacks_descriptor; /* that is why it has no connection */
    bool has_opened;       /* a connection of its own, not a kept one */
    bool must_be_fresh;    /* libcurl was told not to use a kept one */
    bool is_cancelled;
    bool is_lingering;
    bool is_paused; /* as libcurl has it */
    bool wants_pause;
    bool head_is_done;
    bool is_stream;
    bool has_stream_buffer;
    bool has_own_headers;
    char error[CURL_ERROR_SIZE];
};

/* ---- http_client.c: sockets, timer, chores ---- */

/* Looks at the call at the end of the turn. */
void http_client_chore(http_call_t *call);
/* libcurl's callbacks for sockets that it opens and closes. */
curl_socket_t http_client_open_socket(void *call, curlsocktype purpose, struct curl_sockaddr *address);
int http_client_close_socket(void *client, curl_socket_t fd);
/* The call's connection is made: from now on its socket stays watched while nobody uses it. */
void http_client_keep_socket(http_call_t *call);

/* ---- http_sweep.c ---- */

void http_sweep_init(http_client_t *client);
void http_sweep_fini(http_client_t *client);
/* There is a connection that may become old. */
void http_sweep_arm(http_client_t *client);
/* The sweeper's call is over. */
void http_sweep_ended(http_client_t *client);

/* ---- http_call.c ---- */

http_call_t *http_call_new(http_origin_t *origin) __attribute__((returns_nonnull));
void http_call_destroy(http_call_t *call);
/* What is to be done for a call outside of libcurl's callbacks. */
void http_call_do_chore(http_call_t *call);
/* libcurl says that it is over. */
void http_call_ended(http_call_t *call, CURLcode code);
/* Its address is known (`found`), or it needs none. */
void http_call_resolved(http_call_t *call, bool found);
/* The request is about to be put on a wire. False: nobody waits for it any more. */
bool http_call_sending(http_call_t *call);
/* Bytes of the answer are here. */
void http_call_got_bytes(http_call_t *call);
/* Takes it out of libcurl and keeps it for the next request. */
void http_call_recycle(http_call_t *call);

/* ---- http_result.c ---- */

/* Valid until the client's next one. */
struct http_call_result http_call_result_of(http_call_t *call, CURLcode code);

/* ---- http_origin.c ---- */

void http_origin_set_options(const http_origin_t *origin, CURL *easy);
/* Whether requests can go without libcurl; prepares them. */
void http_origin_prepare_wires(http_origin_t *origin, const struct http_origin_options *options);
/* What a request adds to the head, as text. */
void http_origin_own_head(const struct http_call_request *request, struct dyn_buf *text);
/* A new list that leads on to the origin's; NULL when the origin's is all. free() frees it. */
struct curl_slist *http_origin_own_headers(const http_origin_t *origin,
                                           const struct http_call_request *request);
