/* An HTTP/1.1 client on a bus loop: connections that are kept, calls, time-outs. It knows neither
 * envelopes nor providers. Connections are made by libcurl; over one without TLS and without a proxy requests
 * go on their own (http_wire.c), over all others through libcurl.
 *
 * Everything runs on the client's loop. Callbacks come from the loop, never from inside a function of
 * this header; from inside a callback every function here may be called. What a call costs in memory is
 * bounded by the caller: bytes are handed over as they come and nothing is kept. */
#pragma once

#include "bus/loop.h"
#include "core/block.h"

typedef struct http_client http_client_t;
typedef struct http_origin http_origin_t; /* where calls go, prepared once */
typedef struct http_call http_call_t;     /* one request and its answer */

struct http_client_options {
    uint32_t connections_max; /* open at once before idle ones are closed; 0: HTTP_CLIENT_CONNECTIONS */
    bool only_libcurl;        /* every request goes through it: tests see by it that both ways are one */
};
enum { HTTP_CLIENT_CONNECTIONS = 8192 };

/* One for all origins of a loop: they share connections, names and certificates. One reference. */
http_client_t *http_client_new(bus_loop_t *loop, const struct http_client_options *options,
                               struct dyn_err *err);
http_client_t *http_client_ref(http_client_t *client);
/* The last one frees it: on the loop's thread, or when the loop does not run. All origins are gone. */
void http_client_unref(http_client_t **client_p);
/* Calls that exist, those that only wait for a name to be let go included. */
size_t http_client_calls(const http_client_t *client);

struct http_client_header {
    struct dyn_slice name;
    struct dyn_slice value;
};

struct http_origin_options {
    const char *url;                          /* of all its requests */
    const struct http_client_header *headers; /* on all of them; copied */
    size_t n_headers;
    const char *ca_file;  /* certificates to trust; NULL: the system's */
    const char *proxy;    /* NULL: none */
    const char *no_proxy; /* hosts that the proxy is not for, as in NO_PROXY; NULL: none */
};
http_origin_t *http_origin_new(http_client_t *client, const struct http_origin_options *options,
                               struct dyn_err *err);
/* Ends what is still there, without callbacks. Not from inside a callback. */
void http_origin_free(http_origin_t **origin_p);

struct http_call_head {
    unsigned status;
    uint64_t content_length; /* UINT64_MAX: not said */
    bool is_chunked;
};

enum http_call_end {
    HTTP_CALL_COMPLETE,   /* the whole answer as far as its framing tells; a status of 500 too */
    HTTP_CALL_UNRESOLVED, /* the host's name (or the proxy's) has no address */
    HTTP_CALL_REFUSED,    /* no connection could be made */
    HTTP_CALL_TLS,        /* the handshake failed, or the certificate is not trusted */
    HTTP_CALL_PROXY,      /* the proxy did not let us through */
    HTTP_CALL_CONNECT_TIMEOUT,
    HTTP_CALL_FIRST_BYTE_TIMEOUT,
    HTTP_CALL_IDLE_TIMEOUT,
    HTTP_CALL_DEADLINE,
    HTTP_CALL_CUT,     /* the connection ended before the answer did */
    HTTP_CALL_GARBAGE, /* what came is no HTTP, or a head without an end */
    HTTP_CALL_FAILED,  /* our side: out of descriptors or memory */
};

struct http_call_result {
    enum http_call_end end;
    const char *detail; /* a sentence for the log, never NULL; the URL's host may be in it */
};

/* `self` is what the call was started with. */
struct http_call_ops {
    /* The request is about to be put on a connection, maybe not for the first time. May be NULL. */
    void (*sending)(void *self);
    /* One header of the final answer, in order, before `head`. */
    void (*header)(void *self, struct dyn_slice name, struct dyn_slice value);
    /* The head of the final answer is complete. */
    void (*head)(void *self, const struct http_call_head *head);
    /* Bytes of the body, decoded from chunks; gone on return. */
    void (*data)(void *self, struct dyn_slice bytes);
    /* All that had arrived was handed over: time to send on what was collected. */
    void (*settled)(void *self);
    /* The call is over and its pointer dead on return. Once, unless it was cancelled. */
    void (*done)(void *self, const struct http_call_result *result);
};

struct http_call_request {
    dyn_block_t *body;                        /* one reference is taken; its bytes are not copied */
    const struct http_client_header *headers; /* of this request only; copied */
    size_t n_headers;
    bool is_stream;         /* small pieces are expected: little memory, not few system calls */
    uint32_t connect_ms;    /* name, TCP and TLS */
    uint32_t first_byte_ms; /* from there to the first byte of the answer's head */
    uint32_t idle_ms;       /* between two bytes; does not run while the call is paused */
    uint32_t deadline_ms;   /* for all of it; 0: none */
};

/* A POST. It is on its way when the current turn ends. Header values with control characters are the
 * caller's mistake. */
http_call_t *http_call_start(http_origin_t *origin, const struct http_call_request *request,
                             const struct http_call_ops *ops, void *self) __attribute__((returns_nonnull));
/* How often bytes of this request were put on a connection: 0 until then, 2 when a kept connection turned
 * out to be closed and another was taken. */
unsigned http_call_sent(const http_call_t *call);
/* No byte is read from the connection until resume. What was read already is handed over all the same, or
 * with resume: up to 16 KiB of a stream, 32 KiB of another answer. */
bool http_call_pause(http_call_t *call); /* false: it was paused already */
void http_call_resume(http_call_t *call);
void http_call_clear_deadline(http_call_t *call);
/* From now on; 0: none. */
void http_call_set_deadline(http_call_t *call, uint32_t deadline_ms);
/* No callback any more; the connection is closed at the end of the turn. The pointer is dead. */
void http_call_cancel(http_call_t *call);
/* No callback any more, but what little is left of the answer may come, so that the connection can be
 * kept: for up to HTTP_CALL_LINGER_MS and HTTP_CALL_LINGER_BYTES. The pointer is dead. */
void http_call_let_go(http_call_t *call);
enum { HTTP_CALL_LINGER_MS = 1000, HTTP_CALL_LINGER_BYTES = 64 * 1024 };
