#include "mock/listen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BACKLOG = 4096 };

/* "127.0.0.1:4010", "[::1]:4010", ":4010" into host and port. */
static int
split(const char *address, char host[MOCK_URL_SIZE], const char **port, struct dyn_err *err)
{
    const char *colon = strrchr(address, ':');
    const char *from = address;
    size_t len = colon != NULL ? (size_t)(colon - address) : 0;
    if (len >= 2 && address[0] == '[' && address[len - 1] == ']') {
        from++;
        len -= 2;
    }
    if (colon == NULL || colon[1] == '\0' || len >= MOCK_URL_SIZE) {
        return dyn_err_set(err, DYN_E_CONFIG, "'%s' is not an address to listen on; write HOST:PORT",
                           address);
    }
    memcpy(host, from, len);
    host[len] = '\0';
    *port = colon + 1;
    return 0;
}

static void
describe(int fd, char url[MOCK_URL_SIZE], uint16_t *port)
{
    struct sockaddr_storage bound = {0};
    socklen_t len = sizeof bound;
    char host[INET6_ADDRSTRLEN] = "";
    *port = 0;
    if (getsockname(fd, (struct sockaddr *)&bound, &len) == 0) {
        if (bound.ss_family == AF_INET6) {
            struct sockaddr_in6 six;
            memcpy(&six, &bound, sizeof six);
            *port = ntohs(six.sin6_port);
            (void)inet_ntop(AF_INET6, &six.sin6_addr, host, sizeof host);
        } else {
            struct sockaddr_in four;
            memcpy(&four, &bound, sizeof four);
            *port = ntohs(four.sin_port);
            (void)inet_ntop(AF_INET, &four.sin_addr, host, sizeof host);
        }
    }
    if (strcmp(host, "::") == 0 || strcmp(host, "0.0.0.0") == 0) {
        (void)snprintf(host, sizeof host, "127.0.0.1"); /* "::" takes IPv4 too */
    }
    bool six = strchr(host, ':') != NULL;
    (void)snprintf(url, MOCK_URL_SIZE, "http://%s%s%s:%u", six ? "[" : "", host, six ? "]" : "", *port);
}

static int
open_socket(const struct addrinfo *info)
{
    int fd = socket(info->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return -1;
    }
    int one = 1;
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fd, info->ai_addr, info->ai_addrlen) == 0 && listen(fd, BACKLOG) == 0) {
        return fd;
    }
    int why = errno;
    (void)close(fd);
    errno = why;
    return -1;
}

int
mock_listen(const char *address, char url[MOCK_URL_SIZE], uint16_t *port, struct dyn_err *err)
{
    char host[MOCK_URL_SIZE] = "";
    const char *service = NULL;
    if (split(address, host, &service, err) != 0) {
        return -1;
    }
    const struct addrinfo hints = {.ai_flags = AI_PASSIVE | AI_NUMERICSERV, .ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    int rc = getaddrinfo(host[0] != '\0' ? host : NULL, service, &hints, &found);
    if (rc != 0) {
        return dyn_err_set(err, DYN_E_CONFIG, "cannot listen on '%s': %s", address, gai_strerror(rc));
    }
    int fd = -1;
    for (const struct addrinfo *info = found; info != NULL && fd < 0; info = info->ai_next) {
        fd = open_socket(info);
    }
    int why = errno;
    freeaddrinfo(found);
    if (fd < 0) {
        return dyn_err_set(err, DYN_E_IO, "cannot listen on '%s': %s", address, strerror(why));
    }
    describe(fd, url, port);
    return fd;
}
