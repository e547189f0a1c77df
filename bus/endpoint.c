/* Endpoints of the bus as text, see endpoint.h. */
#include "bus/endpoint.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>

enum { PORT_MAX = 65535, PARTS = 3 };
/* "tcp://host:port" names the clients' port; the workers' and the events' follow it. */
static const char *const ipc_suffix[PARTS] = {"", ".workers", ".events"};

static int
wrong(struct dyn_slice text, const char *what, struct dyn_err *err)
{
    return dyn_err_set(err, DYN_E_CONFIG, "'%.*s' is not an endpoint of the bus: %s",
                       text.len < BUS_ENDPOINT_MAX ? (int)text.len : BUS_ENDPOINT_MAX, text.data, what);
}

static bool
starts_with(struct dyn_slice text, const char *start)
{
    size_t len = strlen(start);
    return text.len >= len && memcmp(text.data, start, len) == 0;
}

/* Printable ASCII without blanks: it becomes part of a longer text for libzmq, and of a log line. */
static bool
is_plain(struct dyn_slice text)
{
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] <= ' ' || text.data[i] > '~') {
            return false;
        }
    }
    return true;
}

static int
parse_ipc(struct dyn_slice text, struct dyn_slice path, struct bus_endpoint *endpoint, struct dyn_err *err)
{
    /* The kernel's limit holds for the longest of the three. */
    const size_t room = sizeof((struct sockaddr_un *)NULL)->sun_path - sizeof ".workers";
    if (path.len == 0) {
        return wrong(text, "write ipc:///path/of/a/socket", err);
    }
    if (path.len > room) {
        return dyn_err_set(err, DYN_E_CONFIG, "'%.*s..': the path of a socket has at most %zu characters",
                           (int)room, text.data, room);
    }
    endpoint->is_ipc = true;
    memcpy(endpoint->host, path.data, path.len);
    return 0;
}

/* Digits only, so that "+7", " 7" and "0x7" are refused. */
static int
parse_port(struct dyn_slice digits, uint16_t *port)
{
    unsigned value = 0;
    if (digits.len == 0 || digits.len > 5) {
        return -1;
    }
    for (size_t i = 0; i < digits.len; i++) {
        if (digits.data[i] < '0' || digits.data[i] > '9') {
            return -1;
        }
        value = value * 10 + (unsigned)(digits.data[i] - '0');
    }
    if (value > PORT_MAX) {
        return -1;
    }
    *port = (uint16_t)value;
    return 0;
}

/* Splits "host", "host:port", "[v6]", "[v6]:port". */
static int
split_host(struct dyn_slice text, struct dyn_slice *host, struct dyn_slice *port, bool *is_v6)
{
    const char *end = text.data + text.len;
    const char *host_end;
    *is_v6 = text.len > 0 && text.data[0] == '[';
    if (*is_v6) {
        host_end = memchr(text.data, ']', text.len);
        if (host_end == NULL) {
            return -1;
        }
        *host = dyn_slice(text.data + 1, (size_t)(host_end - text.data) - 1);
        host_end++;
    } else {
        host_end = memchr(text.data, ':', text.len);
        host_end = host_end != NULL ? host_end : end;
        *host = dyn_slice(text.data, (size_t)(host_end - text.data));
    }
    *port = (struct dyn_slice){NULL, 0};
    if (host_end == end) {
        return 0;
    }
    *port = dyn_slice(host_end + 1, (size_t)(end - host_end) - 1);
    return *host_end == ':' ? 0 : -1;
}

static bool
is_host_text(const char *host, bool is_v6)
{
    struct in6_addr v6;
    if (is_v6) {
        char number[INET6_ADDRSTRLEN + 1];
        size_t len = strcspn(host, "%"); /* fe80::1%eth0 */
        if (len >= sizeof number) {
            return false;
        }
        memcpy(number, host, len);
        number[len] = '\0';
        return inet_pton(AF_INET6, number, &v6) == 1;
    }
    return strcmp(host, "*") == 0 ||
           strspn(host, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_") == strlen(host);
}

static int
parse_tcp(struct dyn_slice text, struct dyn_slice rest, struct bus_endpoint *endpoint, struct dyn_err *err)
{
    struct dyn_slice host;
    struct dyn_slice port;
    bool is_v6;
    if (split_host(rest, &host, &port, &is_v6) != 0) {
        return wrong(text, "write tcp://HOST:PORT, a number of IPv6 in [ ]", err);
    }
    if (host.len == 0 || host.len >= sizeof endpoint->host) {
        return wrong(
            text, host.len == 0 ? "it has no host (a number of IPv6 stands in [ ])" : "its host is too long",
            err);
    }
    memcpy(endpoint->host, host.data, host.len);
    if (!is_host_text(endpoint->host, is_v6)) {
        return wrong(text, "its host is neither a name nor a number", err);
    }
    endpoint->port = BUS_PORT_DEFAULT;
    if (port.data != NULL && parse_port(port, &endpoint->port) != 0) {
        return wrong(text, "its port is not a number up to 65535", err);
    }
    if (endpoint->port > PORT_MAX - (PARTS - 1)) {
        return wrong(text, "its port is too high: the two that follow are used too", err);
    }
    return 0;
}

int
bus_endpoint_parse(struct dyn_slice text, struct bus_endpoint *endpoint, struct dyn_err *err)
{
    memset(endpoint, 0, sizeof *endpoint);
    if (text.data == NULL || !is_plain(text)) {
        return dyn_err_set(err, DYN_E_CONFIG, "an endpoint of the bus has visible ASCII characters only");
    }
    if (starts_with(text, "tcp://")) {
        return parse_tcp(text, dyn_slice(text.data + 6, text.len - 6), endpoint, err);
    }
    if (starts_with(text, "ipc://")) {
        return parse_ipc(text, dyn_slice(text.data + 6, text.len - 6), endpoint, err);
    }
    return wrong(text, "write tcp://HOST:PORT or ipc:///PATH", err);
}

/* Port 0 is any free one, for each part. */
void
bus_endpoint_text(const struct bus_endpoint *base, enum bus_endpoint_part part, char out[BUS_ENDPOINT_MAX])
{
    unsigned port = base->port > 0 ? base->port + (unsigned)part : 0;
    if (base->is_ipc) {
        (void)snprintf(out, BUS_ENDPOINT_MAX, "ipc://%s%s", base->host, ipc_suffix[part]);
    } else if (strchr(base->host, ':') != NULL) {
        (void)snprintf(out, BUS_ENDPOINT_MAX, "tcp://[%s]:%u", base->host, port);
    } else {
        (void)snprintf(out, BUS_ENDPOINT_MAX, "tcp://%s:%u", base->host, port);
    }
}

bool
bus_endpoint_is_local(const struct bus_endpoint *endpoint)
{
    struct in_addr v4;
    struct in6_addr v6;
    if (endpoint->is_ipc || strcmp(endpoint->host, "localhost") == 0) {
        return true;
    }
    if (inet_pton(AF_INET, endpoint->host, &v4) == 1) {
        return ntohl(v4.s_addr) >> 24 == IN_LOOPBACKNET;
    }
    return inet_pton(AF_INET6, endpoint->host, &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}
