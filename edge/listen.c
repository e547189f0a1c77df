/* See listen.h. SO_REUSEPORT gives each cell a queue of its own (the kernel spreads connections over
 * them), and would hide that somebody else listens already: the port is bound once without it first. */
#include "edge/listen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/filter.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    BACKLOG = 4096, /* the kernel takes less when net.core.somaxconn is lower */
    HOST_SIZE = 256,
    PORT_MAX = 65535,
};

union any_address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

struct meaning {
    union any_address addresses[LISTEN_ADDRESSES_MAX];
    unsigned n;
    bool is_all; /* [::], and where there is no IPv6 0.0.0.0 */
};

static socklen_t
size_of(const union any_address *address)
{
    return address->any.sa_family == AF_INET6 ? sizeof address->v6 : sizeof address->v4;
}

static void
set_port(union any_address *address, uint16_t port)
{
    if (address->any.sa_family == AF_INET6) {
        address->v6.sin6_port = htons(port);
    } else {
        address->v4.sin_port = htons(port);
    }
}

static uint16_t
port_of(const union any_address *address)
{
    return ntohs(address->any.sa_family == AF_INET6 ? address->v6.sin6_port : address->v4.sin_port);
}

static void
write_text(const union any_address *address, char out[LISTEN_TEXT_SIZE])
{
    char host[INET6_ADDRSTRLEN] = "";
    if (address->any.sa_family == AF_INET6) {
        (void)inet_ntop(AF_INET6, &address->v6.sin6_addr, host, sizeof host);
        (void)snprintf(out, LISTEN_TEXT_SIZE, "[%s]:%u", host, port_of(address));
    } else {
        (void)inet_ntop(AF_INET, &address->v4.sin_addr, host, sizeof host);
        (void)snprintf(out, LISTEN_TEXT_SIZE, "%s:%u", host, port_of(address));
    }
}

/* ---- what is written ---- */

static int
nonsense(struct dyn_slice address, const char *why, struct dyn_err *err)
{
    int shown = address.len < 200 ? (int)address.len : 200;
    return dyn_err_set(err, DYN_E_INVALID,
                       "cannot listen on '%.*s': %s; write HOST:PORT, [IPv6]:PORT or :PORT", shown,
                       address.data ? address.data : "", why);
}

static int
parse_port(struct dyn_slice text, uint16_t *port)
{
    unsigned value = 0;
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] < '0' || text.data[i] > '9' || value > PORT_MAX) {
            return -1;
        }
        value = value * 10 + (unsigned)(text.data[i] - '0');
    }
    *port = (uint16_t)value;
    return text.len > 0 && value <= PORT_MAX ? 0 : -1;
}

/* The host without brackets, empty for all addresses. */
static int
split(struct dyn_slice address, struct dyn_slice *host, struct dyn_slice *port, struct dyn_err *err)
{
    size_t colon = address.len;
    while (colon > 0 && address.data[colon - 1] != ':') {
        colon--;
    }
    *host = dyn_slice(address.data, colon > 0 ? colon - 1 : 0);
    *port = dyn_slice(address.data + colon, address.len - colon);
    if (host->len >= 2 && host->data[0] == '[' && host->data[host->len - 1] == ']') {
        *host = dyn_slice(host->data + 1, host->len - 2);
        bool is_ipv6 = memchr(host->data, ':', host->len) != NULL;
        return is_ipv6 ? 0 : nonsense(address, "no IPv6 address in []", err);
    }
    if (host->len > 0 && memchr(host->data, ':', host->len) != NULL) {
        return nonsense(address, "an IPv6 address needs brackets", err);
    }
    return 0;
}

static bool
looks_numeric(const char *host)
{
    return host[strspn(host, "0123456789.")] == '\0';
}

static int
resolve(struct dyn_slice address, const char *host, struct meaning *meaning, struct dyn_err *err)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
    struct addrinfo *found = NULL;
    if (looks_numeric(host) || strchr(host, ':') != NULL) {
        hints.ai_flags |= AI_NUMERICHOST; /* a mistyped number is not a name to ask a server for */
    }
    int rc = getaddrinfo(host, NULL, &hints, &found);
    if (rc != 0) {
        return nonsense(address, rc == EAI_SYSTEM ? strerror(errno) : gai_strerror(rc), err);
    }
    for (const struct addrinfo *it = found; it != NULL; it = it->ai_next) {
        if (meaning->n < LISTEN_ADDRESSES_MAX && it->ai_addrlen <= sizeof meaning->addresses[0]) {
            memcpy(&meaning->addresses[meaning->n++], it->ai_addr, it->ai_addrlen);
        }
    }
    freeaddrinfo(found);
    return meaning->n > 0 ? 0 : nonsense(address, "the name has no address", err);
}

static int
understand(struct dyn_slice address, struct meaning *meaning, struct dyn_err *err)
{
    char host[HOST_SIZE];
    struct dyn_slice host_text;
    struct dyn_slice port_text;
    uint16_t port;
    *meaning = (struct meaning){.n = 0};
    if (split(address, &host_text, &port_text, err) != 0) {
        return -1;
    }
    if (parse_port(port_text, &port) != 0) {
        return nonsense(address, "there is no port from 0 to 65535", err);
    }
    if (host_text.len >= sizeof host) {
        return nonsense(address, "the host name is too long", err);
    }
    if (host_text.len == 0 || dyn_slice_is(host_text, "::")) {
        meaning->is_all = true;
        meaning->n = 1;
        meaning->addresses[0].v6 = (struct sockaddr_in6){.sin6_family = AF_INET6};
    } else {
        memcpy(host, host_text.data, host_text.len);
        host[host_text.len] = '\0';
        if (resolve(address, host, meaning, err) != 0) {
            return -1;
        }
    }
    for (unsigned i = 0; i < meaning->n; i++) {
        set_port(&meaning->addresses[i], port);
    }
    return 0;
}

int
listen_is_loopback(struct dyn_slice address, bool *is_loopback, struct dyn_err *err)
{
    enum { LOOPBACK_NET = 127 };
    struct meaning meaning;
    if (understand(address, &meaning, err) != 0) {
        return -1;
    }
    *is_loopback = true;
    for (unsigned i = 0; i < meaning.n; i++) {
        const union any_address *one = &meaning.addresses[i];
        *is_loopback &= one->any.sa_family == AF_INET6 ? IN6_IS_ADDR_LOOPBACK(&one->v6.sin6_addr) != 0
                                                       : ntohl(one->v4.sin_addr.s_addr) >> 24 == LOOPBACK_NET;
    }
    return 0;
}

/* ---- sockets ---- */

static int
refused_by_system(const union any_address *address, struct dyn_err *err)
{
    char where[LISTEN_TEXT_SIZE];
    write_text(address, where);
    if (errno == EADDRINUSE) {
        return dyn_err_set(err, DYN_E_FULL,
                           "cannot listen on %s: port %u is in use; stop what has it or choose another",
                           where, port_of(address));
    }
    if (errno == EACCES) {
        return dyn_err_set(err, DYN_E_IO,
                           "cannot listen on %s: ports below 1024 need a right that this process lacks "
                           "(CAP_NET_BIND_SERVICE); choose a higher port",
                           where);
    }
    return dyn_err_set(err, DYN_E_IO, "cannot listen on %s: %s", where, strerror(errno));
}

static int
bound_socket(const union any_address *address, bool share)
{
    const int on = 1;
    const int off = 0;
    int fd = socket(address->any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return -1;
    }
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on); /* TIME_WAIT need not be waited for */
    if (address->any.sa_family == AF_INET6) {
        bool is_any = IN6_IS_ADDR_UNSPECIFIED(&address->v6.sin6_addr) != 0;
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, is_any ? &off : &on, sizeof on);
    }
    if ((share && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) != 0) ||
        bind(fd, &address->any, size_of(address)) != 0) {
        int error = errno;
        (void)close(fd);
        errno = error;
        return -1;
    }
    return fd;
}

/* bind() with SO_REUSEADDR succeeds beside a listener that has it, too; listen() does not. */
static int
listening_socket(union any_address *address, bool share)
{
    socklen_t size = sizeof *address;
    int fd = bound_socket(address, share);
    if (fd >= 0 && (listen(fd, BACKLOG) != 0 || getsockname(fd, &address->any, &size) != 0)) {
        int error = errno;
        (void)close(fd);
        errno = error;
        return -1;
    }
    return fd;
}

static bool
lacks_ipv6(int error)
{
    return error == EAFNOSUPPORT || error == EADDRNOTAVAIL || error == EPROTONOSUPPORT;
}

/* One address for all cells. */
static int
open_for_cells(union any_address *address, struct listeners *listeners, unsigned place, bool share,
               struct dyn_err *err)
{
    bool several = listeners->n_cells > 1;
    if (several && !share && port_of(address) != 0) {
        int probe = listening_socket(address, false);
        if (probe < 0) {
            return refused_by_system(address, err);
        }
        (void)close(probe);
    }
    for (unsigned cell = 0; cell < listeners->n_cells; cell++) {
        int fd = listening_socket(address, share || several);
        if (fd < 0) {
            return refused_by_system(address, err);
        }
        listeners->fds[cell * listeners->per_cell + place] = fd;
    }
    return 0;
}

/* Without IPv6 "all addresses" are those of IPv4, and a name keeps those that this host can have. */
static void
leave_out_what_lacks(struct meaning *meaning)
{
    uint16_t port = port_of(&meaning->addresses[0]);
    unsigned kept = 0;
    for (unsigned i = 0; i < meaning->n; i++) {
        union any_address address = meaning->addresses[i];
        set_port(&address, 0);
        int probe = address.any.sa_family == AF_INET6 ? bound_socket(&address, false) : -1;
        bool lacking = address.any.sa_family == AF_INET6 && probe < 0 && lacks_ipv6(errno);
        if (probe >= 0) {
            (void)close(probe);
        }
        if (!lacking || (i + 1 == meaning->n && kept == 0)) { /* the last one is tried, to say why not */
            meaning->addresses[kept++] = meaning->addresses[i];
        }
        if (lacking && meaning->is_all) {
            meaning->addresses[0].v4 = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(port)};
        }
    }
    meaning->n = kept;
}

int
listen_open(struct dyn_slice address, unsigned n_cells, bool share, struct listeners *listeners,
            struct dyn_err *err)
{
    struct meaning meaning;
    *listeners = (struct listeners){.n_cells = n_cells};
    if (understand(address, &meaning, err) != 0) {
        return -1;
    }
    leave_out_what_lacks(&meaning);
    listeners->per_cell = meaning.n;
    listeners->fds = dyn_alloc(n_cells * meaning.n * sizeof(int));
    for (unsigned i = 0; i < n_cells * meaning.n; i++) {
        listeners->fds[i] = -1;
    }
    for (unsigned i = 0; i < meaning.n; i++) {
        if (i > 0) {
            set_port(&meaning.addresses[i], port_of(&meaning.addresses[0])); /* port 0: the same free one */
        }
        if (open_for_cells(&meaning.addresses[i], listeners, i, share, err) != 0) {
            listen_close(listeners);
            return -1;
        }
    }
    write_text(&meaning.addresses[0], listeners->text);
    return 0;
}

void
listen_close(struct listeners *listeners)
{
    for (unsigned i = 0; listeners->fds != NULL && i < listeners->n_cells * listeners->per_cell; i++) {
        if (listeners->fds[i] >= 0) {
            (void)close(listeners->fds[i]);
        }
    }
    free(listeners->fds);
    *listeners = (struct listeners){0};
}

void
listen_url(const char *text, const char *scheme, char out[LISTEN_URL_SIZE])
{
    const char *port = strrchr(text, ':');
    bool is_any = strncmp(text, "[::]:", 5) == 0 || strncmp(text, "0.0.0.0:", 8) == 0;
    (void)snprintf(out, LISTEN_URL_SIZE, "%s://%s%s", scheme, is_any ? "127.0.0.1" : "",
                   is_any ? port : text);
}

/* The kernel numbers the sockets of a port in the order in which they came, so those behind our own belong to
 * who shares it. A classic BPF program picks by that number (SO_ATTACH_REUSEPORT_CBPF, socket(7)); a number
 * that is not taken means the usual choice by hash. So the program, which stays with the port, does nothing
 * as soon as ours are closed, unless the successor has more cells than we: then its accepts meet in one cell,
 * which hands them out. */
void
listen_steer_away(int fd, unsigned n_cells)
{
    struct sock_filter code[] = {{BPF_RET | BPF_K, 0, 0, n_cells}};
    struct sock_fprog program = {.len = DYN_ARRAY_LEN(code), .filter = code};
    (void)setsockopt(fd, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, &program, sizeof program);
}
