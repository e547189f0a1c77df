/* See http_tls.h.
 *
 * A connection's bytes come from http_socket.c and are read through a BIO of ours that has no descriptor;
 * they leave through send(2) with MSG_NOSIGNAL, where OpenSSL's own BIO would raise SIGPIPE. So OpenSSL
 * never holds bytes that a poll could not show, and reading is stopped and resumed as it is without TLS.
 *
 * A record that the kernel took only in part is finished by the next call, which has to offer the same
 * bytes again: http_out.c's queue begins with them, and what leaves it is what SSL_write() has reported. */
#include "edge/http_tls.h"

#include "core/clock.h"
#include "core/log.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>

enum {
    RECORD_MAX = 16 * 1024, /* bytes of content in one record, RFC 8446 5.1 */
    WARN_DAYS = 14, /* an ACME client renews 30 days before the end: then it has failed for two weeks */
    SECONDS_A_DAY = 24 * 3600,
    FILES = 3,
};

/* Forward secrecy and authenticated encryption only; what 1.3 has is all of that kind. */
static const char ciphers_1_2[] = "ECDHE+AESGCM:ECDHE+CHACHA20";

/* What tells one content of a file from the next without reading it. */
struct stamp {
    dev_t dev;
    ino_t ino;
    off_t size;
    struct timespec changed;
};

struct http_tls {
    char *files[FILES]; /* certificate, key, client CA; the last may be NULL */
    bool only_1_3;

    pthread_mutex_t lock; /* everything below */
    SSL_CTX *context;
    int64_t ends_at; /* seconds since 1970 */
    int64_t warned_at;
    struct stamp stamps[FILES];
};

struct http_tls_conn {
    SSL *ssl;
    int fd;
    struct dyn_slice wire; /* borrowed, or in `kept` */
    char *kept;            /* while it is blocked */
    bool is_open;          /* the handshake is done */
    bool is_broken;        /* OpenSSL must not be asked for anything any more */
    bool has_ended;        /* our good-bye was said, or will not be */
};

/* ---- errors ---- */

/* OpenSSL's queue is the thread's: what an earlier call left there would be taken for this one's. */
static const char *
first_reason(void)
{
    unsigned long code = ERR_get_error();
    const char *reason = code != 0 ? ERR_reason_error_string(code) : NULL;
    ERR_clear_error();
    return reason != NULL ? reason : "unknown error";
}

static int
cannot_use(const char *file, const char *what, struct dyn_err *err)
{
    return dyn_err_set(err, DYN_E_CONFIG, "%s: %s: %s", file, what, first_reason());
}

/* ---- the BIO: reads from conn->wire, writes to the kernel ---- */

static struct http_tls_conn *
conn_of(BIO *bio)
{
    return BIO_get_data(bio);
}

static int
wire_read(BIO *bio, char *out, int size)
{
    struct http_tls_conn *conn = conn_of(bio);
    BIO_clear_retry_flags(bio);
    if (size <= 0 || conn->wire.len == 0) {
        BIO_set_retry_read(bio);
        return -1;
    }
    size_t len = (size_t)size < conn->wire.len ? (size_t)size : conn->wire.len;
    memcpy(out, conn->wire.data, len);
    conn->wire.data += len;
    conn->wire.len -= len;
    return (int)len;
}

static int
wire_write(BIO *bio, const char *bytes, int len)
{
    const struct http_tls_conn *conn = conn_of(bio);
    BIO_clear_retry_flags(bio);
    ssize_t sent = send(conn->fd, bytes, (size_t)len, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0 && (errno == EAGAIN || errno == EINTR)) {
        BIO_set_retry_write(bio);
    }
    return (int)sent;
}

static long
wire_control(BIO *bio, int command, long number, void *pointer)
{
    (void)bio, (void)number, (void)pointer;
    return command == BIO_CTRL_FLUSH || command == BIO_CTRL_DUP ? 1 : 0;
}

static BIO_METHOD *wire_method;
static pthread_once_t wire_once = PTHREAD_ONCE_INIT;

/* The only thing that gateways share here: a table of three functions, made once, never changed. */
static void
make_wire_method(void)
{
    wire_method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "dynabus");
    DYN_ASSERT(wire_method != NULL && BIO_meth_set_read(wire_method, wire_read) == 1 &&
               BIO_meth_set_write(wire_method, wire_write) == 1 &&
               BIO_meth_set_ctrl(wire_method, wire_control) == 1);
}

/* ---- files to a context ---- */

static int
refuse_password(char *out, int size, int is_writing, void *self)
{
    (void)out, (void)size, (void)is_writing, (void)self;
    return -1; /* else OpenSSL asks on the terminal */
}

/* h2 alone is refused in words that the client understands (RFC 7301 3.2); who names nothing gets 1.1. */
static int
choose_protocol(SSL *ssl, const unsigned char **chosen, unsigned char *len, const unsigned char *offered,
                unsigned int offered_len, void *self)
{
    static const unsigned char ours[] = "\x08http/1.1";
    unsigned char *match = NULL;
    (void)ssl, (void)self;
    if (SSL_select_next_proto(&match, len, ours, sizeof ours - 1, offered, offered_len) !=
        OPENSSL_NPN_NEGOTIATED) {
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    }
    *chosen = match;
    return SSL_TLSEXT_ERR_OK;
}

static int
load_pair(SSL_CTX *context, const http_tls_t *tls, struct dyn_err *err)
{
    const char *cert = tls->files[0];
    const char *key = tls->files[1];
    if (SSL_CTX_use_certificate_chain_file(context, cert) != 1) {
        return cannot_use(cert, "no certificate in PEM", err);
    }
    if (SSL_CTX_use_PrivateKey_file(context, key, SSL_FILETYPE_PEM) != 1) {
        unsigned long code = ERR_peek_last_error();
        if (ERR_GET_LIB(code) == ERR_LIB_X509 ||
            ERR_GET_REASON(ERR_peek_error()) == X509_R_KEY_VALUES_MISMATCH) {
            ERR_clear_error();
            return dyn_err_set(err, DYN_E_CONFIG, "%s: is not the key of %s", key, cert);
        }
        return cannot_use(key, "no private key in PEM without a password", err);
    }
    if (SSL_CTX_check_private_key(context) != 1) {
        ERR_clear_error();
        return dyn_err_set(err, DYN_E_CONFIG, "%s: is not the key of %s", key, cert);
    }
    return 0;
}

static int
load_client_ca(SSL_CTX *context, const char *file, struct dyn_err *err)
{
    if (file == NULL) {
        return 0;
    }
    STACK_OF(X509_NAME) *names = SSL_load_client_CA_file(file);
    if (names == NULL || SSL_CTX_load_verify_locations(context, file, NULL) != 1) {
        sk_X509_NAME_pop_free(names, X509_NAME_free);
        return cannot_use(file, "no certificate in PEM", err);
    }
    SSL_CTX_set_client_CA_list(context, names);
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    return 0;
}

/* Sessions are resumed by tickets alone: no memory here, and a new context (new keys) forgets them, so that a
 * client whose CA was taken out is asked for its certificate again. */
static int
set_rules(SSL_CTX *context, bool only_1_3)
{
    static const unsigned char id[] = "dynabus";
    SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                     SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                  SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_default_passwd_cb(context, refuse_password);
    SSL_CTX_set_alpn_select_cb(context, choose_protocol, NULL);
    return SSL_CTX_set_min_proto_version(context, only_1_3 ? TLS1_3_VERSION : TLS1_2_VERSION) == 1 &&
                   SSL_CTX_set_cipher_list(context, ciphers_1_2) == 1 &&
                   SSL_CTX_set_num_tickets(context, 1) == 1 &&
                   SSL_CTX_set_session_id_context(context, id, sizeof id - 1) == 1
               ? 0
               : -1;
}

static int64_t
end_of(SSL_CTX *context)
{
    struct tm tm = {0};
    const X509 *cert = SSL_CTX_get0_certificate(context);
    if (cert == NULL || ASN1_TIME_to_tm(X509_get0_notAfter(cert), &tm) != 1) {
        return INT64_MAX;
    }
    return timegm(&tm);
}

static SSL_CTX *
new_context(const http_tls_t *tls, struct dyn_err *err)
{
    ERR_clear_error();
    SSL_CTX *context = SSL_CTX_new(TLS_server_method());
    if (context == NULL || set_rules(context, tls->only_1_3) != 0) {
        (void)dyn_err_set(err, DYN_E_IO, "TLS could not be set up: %s", first_reason());
    } else if (load_pair(context, tls, err) == 0 && load_client_ca(context, tls->files[2], err) == 0) {
        return context;
    }
    SSL_CTX_free(context);
    return NULL;
}

/* ---- the files over time ---- */

static void
read_stamps(const http_tls_t *tls, struct stamp stamps[FILES])
{
    memset(stamps, 0, FILES * sizeof *stamps); /* padding too: they are compared as bytes */
    for (int i = 0; i < FILES; i++) {
        struct stat file;
        if (tls->files[i] != NULL && stat(tls->files[i], &file) == 0) {
            stamps[i].dev = file.st_dev;
            stamps[i].ino = file.st_ino;
            stamps[i].size = file.st_size;
            stamps[i].changed.tv_sec = file.st_mtim.tv_sec;
            stamps[i].changed.tv_nsec = file.st_mtim.tv_nsec;
        }
    }
}

static void
warn_of_open_key(const http_tls_t *tls)
{
    struct stat file;
    if (stat(tls->files[1], &file) == 0 && (file.st_mode & (S_IRWXO | S_IWGRP)) != 0) {
        dyn_log(DYN_LOG_WARN, "edge.tls.key_open",
                "the key of TLS can be read or changed by others: chmod 600",
                DYN_LOG_STR("file", tls->files[1]));
    }
}

static int64_t
now_s(void)
{
    return (int64_t)(dyn_wall_us(&dyn_clock_system) / 1000000);
}

static int
days_from(int64_t now, int64_t end)
{
    int64_t left = end - now;
    int64_t days = left >= 0 ? left / SECONDS_A_DAY : -((-left + SECONDS_A_DAY - 1) / SECONDS_A_DAY);
    return days > INT32_MAX ? INT32_MAX : (int)days;
}

/* Locked. */
static void
warn_of_end(http_tls_t *tls)
{
    int64_t now = now_s();
    int days = days_from(now, tls->ends_at);
    if (days >= WARN_DAYS || now < tls->warned_at + SECONDS_A_DAY) {
        return;
    }
    tls->warned_at = now;
    dyn_log(days < 0 ? DYN_LOG_ERROR : DYN_LOG_WARN, "edge.tls.expires",
            days < 0 ? "the certificate of TLS has ended: clients refuse it"
                     : "the certificate of TLS ends soon",
            DYN_LOG_STR("file", tls->files[0]), DYN_LOG_INT("days", days));
}

/* The stamps are read before the files: what changes in between is seen the next time. */
int
http_tls_reload(http_tls_t *tls, struct dyn_err *err)
{
    struct stamp stamps[FILES];
    read_stamps(tls, stamps);
    SSL_CTX *context = new_context(tls, err);
    (void)pthread_mutex_lock(&tls->lock);
    memcpy(tls->stamps, stamps, sizeof stamps);
    if (context == NULL) {
        (void)pthread_mutex_unlock(&tls->lock);
        return -1;
    }
    SSL_CTX *old = tls->context;
    tls->context = context;
    tls->ends_at = end_of(context);
    tls->warned_at = 0;
    warn_of_end(tls);
    (void)pthread_mutex_unlock(&tls->lock);
    SSL_CTX_free(old); /* its connections hold it */
    warn_of_open_key(tls);
    return 0;
}

static void
log_reload(http_tls_t *tls)
{
    struct dyn_err err;
    if (http_tls_reload(tls, &err) != 0) {
        dyn_log(DYN_LOG_ERROR, "edge.tls.reload",
                "the new files of TLS cannot be used; the old ones stay in use",
                DYN_LOG_STR("reason", err.text));
        return;
    }
    dyn_log(DYN_LOG_INFO, "edge.tls.reload", "the files of TLS have changed and are in use",
            DYN_LOG_STR("file", tls->files[0]), DYN_LOG_INT("days", http_tls_days_left(tls)));
}

void
http_tls_tick(http_tls_t *tls)
{
    struct stamp stamps[FILES];
    read_stamps(tls, stamps);
    (void)pthread_mutex_lock(&tls->lock);
    bool have_changed = memcmp(stamps, tls->stamps, sizeof stamps) != 0;
    warn_of_end(tls);
    (void)pthread_mutex_unlock(&tls->lock);
    if (have_changed) {
        log_reload(tls);
    }
}

int
http_tls_days_left(http_tls_t *tls)
{
    (void)pthread_mutex_lock(&tls->lock);
    int64_t end = tls->ends_at;
    (void)pthread_mutex_unlock(&tls->lock);
    return days_from(now_s(), end);
}

http_tls_t *
http_tls_new(const struct http_tls_options *options, struct dyn_err *err)
{
    http_tls_t *tls = dyn_zalloc(sizeof *tls);
    const char *files[FILES] = {options->cert, options->key, options->client_ca};
    (void)pthread_once(&wire_once, make_wire_method);
    (void)pthread_mutex_init(&tls->lock, NULL);
    tls->only_1_3 = options->only_1_3;
    for (int i = 0; i < FILES; i++) {
        tls->files[i] = files[i] != NULL ? dyn_strdup(files[i]) : NULL;
    }
    if (http_tls_reload(tls, err) != 0) {
        http_tls_free(&tls);
    }
    return tls;
}

void
http_tls_free(http_tls_t **tls_p)
{
    http_tls_t *tls = *tls_p;
    *tls_p = NULL;
    if (tls == NULL) {
        return;
    }
    SSL_CTX_free(tls->context);
    for (int i = 0; i < FILES; i++) {
        free(tls->files[i]);
    }
    (void)pthread_mutex_destroy(&tls->lock);
    free(tls);
}

/* ---- connections ---- */

struct http_tls_conn *
http_tls_accept(http_tls_t *tls, int fd)
{
    struct http_tls_conn *conn = dyn_zalloc(sizeof *conn);
    conn->fd = fd;
    ERR_clear_error();
    (void)pthread_mutex_lock(&tls->lock);
    conn->ssl = SSL_new(tls->context);
    (void)pthread_mutex_unlock(&tls->lock);
    BIO *bio = BIO_new(wire_method);
    DYN_ASSERT(conn->ssl != NULL && bio != NULL); /* they fail for lack of memory only */
    BIO_set_data(bio, conn);
    BIO_set_init(bio, 1);
    SSL_set_bio(conn->ssl, bio, bio);
    SSL_set_accept_state(conn->ssl);
    return conn;
}

void
http_tls_conn_free(struct http_tls_conn **conn_p)
{
    struct http_tls_conn *conn = *conn_p;
    *conn_p = NULL;
    if (conn != NULL) {
        SSL_free(conn->ssl);
        free(conn->kept);
        free(conn);
    }
}

void
http_tls_conn_feed(struct http_tls_conn *conn, struct dyn_slice wire)
{
    if (conn->wire.len == 0) {
        conn->wire = wire;
        return;
    }
    /* It was blocked, and http_socket.c reads no more then: what was on its way comes at most once. */
    char *both = dyn_alloc(conn->wire.len + wire.len);
    memcpy(both, conn->wire.data, conn->wire.len);
    memcpy(both + conn->wire.len, wire.data, wire.len);
    conn->wire = dyn_slice(both, conn->wire.len + wire.len);
    free(conn->kept);
    conn->kept = both;
}

static void
keep_rest(struct http_tls_conn *conn)
{
    if (conn->wire.len == 0) {
        free(conn->kept);
        conn->kept = NULL;
        return;
    }
    char *rest = dyn_alloc(conn->wire.len);
    memcpy(rest, conn->wire.data, conn->wire.len);
    free(conn->kept);
    conn->kept = rest;
    conn->wire.data = rest;
}

/* A client that speaks HTTP to this port is told so in the language that it speaks. */
static void
answer_plain_http(const struct http_tls_conn *conn)
{
    static const char answer[] =
        "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncontent-length: 111\r\n"
        "connection: close\r\n\r\n"
        "{\"error\":{\"message\":\"this port speaks TLS: use https://\",\"type\":\"invalid_request_error\","
        "\"code\":\"tls_required\"}}";
    (void)send(conn->fd, answer, sizeof answer - 1, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* What a call that did not succeed asks for. */
static enum http_tls_event
wanted(struct http_tls_conn *conn, int result)
{
    switch (SSL_get_error(conn->ssl, result)) {
    case SSL_ERROR_WANT_READ:
        keep_rest(conn); /* nothing, that is */
        return HTTP_TLS_MORE;
    case SSL_ERROR_WANT_WRITE:
        keep_rest(conn);
        return HTTP_TLS_BLOCKED;
    case SSL_ERROR_ZERO_RETURN:
        return HTTP_TLS_END;
    default:
        conn->is_broken = true;
        if (!conn->is_open && ERR_GET_REASON(ERR_peek_error()) == SSL_R_HTTP_REQUEST) {
            answer_plain_http(conn);
        }
        ERR_clear_error();
        return HTTP_TLS_END;
    }
}

enum http_tls_event
http_tls_conn_next(struct http_tls_conn *conn, struct dyn_slice *plain)
{
    static _Thread_local char bytes[RECORD_MAX];
    if (conn->is_broken) {
        return HTTP_TLS_END;
    }
    ERR_clear_error();
    if (!conn->is_open) {
        int result = SSL_do_handshake(conn->ssl);
        conn->is_open = result == 1;
        return conn->is_open ? HTTP_TLS_OPENED : wanted(conn, result);
    }
    int len = SSL_read(conn->ssl, bytes, sizeof bytes);
    if (len <= 0) {
        return wanted(conn, len);
    }
    *plain = dyn_slice(bytes, (size_t)len);
    return HTTP_TLS_BYTES;
}

/* ---- sending ---- */

struct feed {
    const struct iovec *pieces;
    int n;
    int piece; /* the next, and how much of it is gone */
    size_t used;
};

static void
skip(struct feed *feed, size_t len)
{
    while (feed->piece < feed->n) {
        size_t left = feed->pieces[feed->piece].iov_len - feed->used;
        if (len < left) {
            feed->used += len;
            return;
        }
        len -= left;
        feed->piece++;
        feed->used = 0;
    }
}

/* Up to one record, in one place: as it lies when a piece is long enough, else put together, so that a head
 * and its body are one record and one system call. */
static struct dyn_slice
next_record(const struct feed *feed, char scratch[RECORD_MAX])
{
    size_t len = 0;
    size_t used = feed->used;
    for (int i = feed->piece; i < feed->n && len < RECORD_MAX; i++) {
        const char *data = (const char *)feed->pieces[i].iov_base + used;
        size_t left = feed->pieces[i].iov_len - used;
        if (len == 0 && (left >= RECORD_MAX || i + 1 == feed->n)) {
            return dyn_slice(data, left < RECORD_MAX ? left : RECORD_MAX);
        }
        size_t room = RECORD_MAX - len;
        size_t part = left < room ? left : room;
        memcpy(scratch + len, data, part);
        len += part;
        used = 0;
    }
    return dyn_slice(scratch, len);
}

/* A call that could not write all of a record comes back here with the same bytes in front: OpenSSL only
 * wants to see that they have not become fewer. */
ssize_t
http_tls_conn_send(struct http_tls_conn *conn, const struct iovec *pieces, int n_pieces)
{
    static _Thread_local char scratch[RECORD_MAX];
    struct feed feed = {.pieces = pieces, .n = n_pieces};
    ssize_t total = 0;
    if (conn->is_broken || !conn->is_open) {
        return conn->is_broken ? -1 : 0;
    }
    for (;;) {
        struct dyn_slice record = next_record(&feed, scratch);
        if (record.len == 0) {
            return total;
        }
        ERR_clear_error();
        int sent = SSL_write(conn->ssl, record.data, (int)record.len);
        if (sent <= 0) {
            int error = SSL_get_error(conn->ssl, sent);
            if (error == SSL_ERROR_WANT_WRITE || error == SSL_ERROR_WANT_READ) {
                return total;
            }
            ERR_clear_error();
            conn->is_broken = true;
            return -1;
        }
        total += sent;
        skip(&feed, (size_t)sent);
    }
}

/* Once, and as far as the kernel takes it: nobody waits for the peer's. */
void
http_tls_conn_end(struct http_tls_conn *conn)
{
    if (conn->is_open && !conn->is_broken && !conn->has_ended) {
        conn->has_ended = true;
        ERR_clear_error();
        (void)SSL_shutdown(conn->ssl);
        ERR_clear_error();
    }
}

void
http_tls_conn_cut(struct http_tls_conn *conn)
{
    conn->has_ended = true;
}
