/* TLS on the server's side (RFC 5246, RFC 8446), through OpenSSL: http_tls.c is the only file that knows
 * it. http_tls_t is the certificate and the rules, one for all cells, replaced while connections go on;
 * http_tls_conn is one connection: bytes of the wire in, bytes of HTTP out. It never reads the descriptor
 * (http_socket.c does) and never waits. */
#pragma once

#include "core/err.h"

#include <sys/types.h>
#include <sys/uio.h>

typedef struct http_tls http_tls_t;

struct http_tls_options {
    const char *cert;      /* PEM: the certificate, then those between it and its root */
    const char *key;       /* PEM, not encrypted */
    const char *client_ca; /* PEM: who connects needs a certificate of one of these; NULL: nobody is asked */
    bool only_1_3;         /* else 1.2 is taken too */
};

/* Reads the files. NULL with err, which names the file and what is wrong. Any thread, as is all else
 * about http_tls_t. Warns in the log of a key that others can read, and of a certificate that ends soon. */
http_tls_t *http_tls_new(const struct http_tls_options *options, struct dyn_err *err);
void http_tls_free(http_tls_t **tls_p); /* connections may go on */
/* New connections get what the files hold now; -1 with err, and they get what they got before. */
int http_tls_reload(http_tls_t *tls, struct dyn_err *err);
/* Looks whether a file has changed since they were last read, and reads them again then: what came of it is
 * in the log. Warns once a day when the certificate is about to end. A few stat(2). */
void http_tls_tick(http_tls_t *tls);
/* Whole days until the certificate ends; negative when it has. */
int http_tls_days_left(http_tls_t *tls);

struct http_tls_conn;

enum http_tls_event {
    HTTP_TLS_MORE,    /* the bytes of the wire are used up */
    HTTP_TLS_OPENED,  /* the handshake is done; go on asking */
    HTTP_TLS_BYTES,   /* *plain has some; go on asking */
    HTTP_TLS_BLOCKED, /* something must be written first: ask again when the kernel takes bytes */
    HTTP_TLS_END,     /* the peer said good-bye, or what it sent is no TLS: close */
};

/* `fd` is borrowed, for writing. */
struct http_tls_conn *http_tls_accept(http_tls_t *tls, int fd);
void http_tls_conn_free(struct http_tls_conn **conn_p);
/* Bytes that were received; borrowed until http_tls_conn_next() says something else than OPENED or BYTES:
 * what is not used by then is kept. */
void http_tls_conn_feed(struct http_tls_conn *conn, struct dyn_slice wire);
/* *plain is good until the next call for any connection of the thread. */
enum http_tls_event http_tls_conn_next(struct http_tls_conn *conn, struct dyn_slice *plain);
/* As http_socket_send. What was not taken has to be given again, with the same bytes first. */
ssize_t http_tls_conn_send(struct http_tls_conn *conn, const struct iovec *pieces, int n_pieces);
/* Says good-bye (close_notify), once, so that the peer knows that nothing was cut off. */
void http_tls_conn_end(struct http_tls_conn *conn);
/* No good-bye will be said: something is cut off. */
void http_tls_conn_cut(struct http_tls_conn *conn);
