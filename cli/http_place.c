#include "cli/http_place.h"

#include "core/base.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

int
cli_read_url(const char *url, struct cli_place *place)
{
    static const char scheme[] = "http://";
    const char *host = url;
    if (strncmp(url, scheme, sizeof scheme - 1) == 0) {
        host += sizeof scheme - 1;
    }
    bool is_v6 = *host == '[';
    const char *host_end = is_v6 ? strchr(host, ']') : host + strcspn(host, ":/");
    host += is_v6 ? 1 : 0;
    if (host_end == NULL || host_end <= host || (size_t)(host_end - host) >= sizeof place->host) {
        return -1;
    }
    (void)snprintf(place->host, sizeof place->host, "%.*s", (int)(host_end - host), host);
    const char *rest = host_end + (is_v6 ? 1 : 0);
    size_t digits = *rest == ':' ? strspn(rest + 1, "0123456789") : 0;
    if (*rest == ':') {
        if (digits == 0 || digits > 5) {
            return -1;
        }
        (void)snprintf(place->port, sizeof place->port, "%.*s", (int)digits, rest + 1);
        rest += 1 + digits;
    } else {
        (void)snprintf(place->port, sizeof place->port, "80");
    }
    return *rest == '\0' || strcmp(rest, "/") == 0 ? 0 : -1;
}

int
cli_connect(const char *command, const struct cli_place *place)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_family = AF_UNSPEC};
    const struct timeval patience = {.tv_sec = CLI_HTTP_PATIENCE_S};
    struct addrinfo *found = NULL;
    int rc = getaddrinfo(place->host, place->port, &hints, &found);
    if (rc != 0) {
        (void)fprintf(stderr, "%s: %s: %s\n", command, place->host, gai_strerror(rc));
        return -1;
    }
    int fd = -1;
    for (const struct addrinfo *at = found; at != NULL && fd < 0; at = at->ai_next) {
        fd = socket(at->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0) {
            continue;
        }
        (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
        (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
        if (connect(fd, at->ai_addr, at->ai_addrlen) != 0) {
            int why = errno;
            (void)close(fd);
            fd = -1;
            errno = why;
        }
    }
    freeaddrinfo(found);
    if (fd < 0) {
        (void)fprintf(stderr, "%s: nobody answers at %s:%s: %s\n", command, place->host, place->port,
                      strerror(errno));
    }
    return fd;
}
