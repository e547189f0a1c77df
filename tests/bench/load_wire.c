#include "load_wire.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <sys/socket.h>
#include <unistd.h>

static SSL_CTX *
tls_context(void)
{
    static SSL_CTX *context;
    if (context == NULL) {
        context = SSL_CTX_new(TLS_client_method());
    }
    return context;
}

static int
begin_tls(struct load_wire *wire)
{
    SSL_CTX *context = tls_context();
    wire->tls = context != NULL ? SSL_new(context) : NULL;
    if (wire->tls == NULL || SSL_set_fd(wire->tls, wire->fd) != 1 || SSL_connect(wire->tls) != 1) {
        errno = ECONNABORTED;
        return -1;
    }
    return 0;
}

int
load_wire_connect(struct load_wire *wire, const struct sockaddr_in *address, bool tls)
{
    wire->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (wire->fd < 0) {
        return -1;
    }
    int one = 1;
    if (connect(wire->fd, (const struct sockaddr *)address, sizeof *address) != 0 ||
        (tls && begin_tls(wire) != 0)) {
        int why = errno;
        load_wire_close(wire);
        errno = why;
        return -1;
    }
    (void)setsockopt(wire->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    (void)fcntl(wire->fd, F_SETFL, O_NONBLOCK);
    return 0;
}

/* What OpenSSL says, as the system calls say it. */
static ssize_t
tls_result(struct load_wire *wire, int result)
{
    if (result > 0) {
        return result;
    }
    switch (SSL_get_error(wire->tls, result)) {
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE:
        errno = EAGAIN;
        return -1;
    case SSL_ERROR_ZERO_RETURN:
        return 0;
    default:
        errno = EPIPE;
        return -1;
    }
}

ssize_t
load_wire_send(struct load_wire *wire, const char *data, size_t len)
{
    if (wire->tls != NULL) {
        return tls_result(wire, SSL_write(wire->tls, data, (int)len));
    }
    return send(wire->fd, data, len, MSG_NOSIGNAL | MSG_DONTWAIT);
}

ssize_t
load_wire_receive(struct load_wire *wire, char *data, size_t len)
{
    if (wire->tls != NULL) {
        return tls_result(wire, SSL_read(wire->tls, data, (int)len));
    }
    return recv(wire->fd, data, len, MSG_DONTWAIT);
}

bool
load_wire_has_more(const struct load_wire *wire)
{
    return wire->tls != NULL && SSL_pending(wire->tls) > 0;
}

void
load_wire_close(struct load_wire *wire)
{
    SSL_free(wire->tls);
    wire->tls = NULL;
    if (wire->fd >= 0) {
        (void)close(wire->fd);
    }
    wire->fd = -1;
}
