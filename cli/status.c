/* dynabus status: asks a gateway on this machine how it is, over its own HTTP. For health checks of
 * containers and for people; it needs no other program and no library. One GET, one answer, five seconds. */
#include "cli/cli.h"
#include "cli/http_place.h"
#include "core/base.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    ANSWER_MAX = 256 * 1024, /* bytes; /health names every target */
    PORT_DEFAULT = 8080,
};

/* Everything up to the end of the connection, which the request asks for. Bytes, or -1. */
static ssize_t
ask(int fd, const struct cli_place *place, const char *path, char *answer)
{
    char request[512];
    int len = snprintf(request, sizeof request,
                       "GET %s HTTP/1.0\r\nHost: %s:%s\r\nUser-Agent: dynabus-status\r\n\r\n", path,
                       place->host, place->port);
    if (send(fd, request, (size_t)len, MSG_NOSIGNAL) != len) {
        return -1;
    }
    time_t until = time(NULL) + CLI_HTTP_PATIENCE_S;
    size_t filled = 0;
    for (;;) {
        ssize_t got = recv(fd, answer + filled, ANSWER_MAX - 1 - filled, 0);
        if (got == 0) {
            answer[filled] = '\0';
            return (ssize_t)filled;
        }
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0 || time(NULL) > until || (filled += (size_t)got) >= ANSWER_MAX - 1) {
            return -1;
        }
    }
}

/* Prints the body; CLI_OK for 200. */
static int
tell(const char *answer, const struct cli_place *place, bool only_ready)
{
    static const char begin[] = "HTTP/1.1 ";
    const char *body = strstr(answer, "\r\n\r\n");
    if (strncmp(answer, begin, sizeof begin - 1) != 0 || body == NULL) {
        (void)fprintf(stderr, "dynabus status: what answers at %s:%s is not a gateway\n", place->host,
                      place->port);
        return CLI_FAILED;
    }
    bool is_good = strncmp(answer + sizeof begin - 1, "200 ", 4) == 0;
    if (only_ready) {
        (void)puts(is_good ? "ready" : "not ready");
    } else {
        (void)printf("%s\n", body + 4);
    }
    return is_good ? CLI_OK : CLI_FAILED;
}

static int
check(const char *url, bool only_ready)
{
    static char answer[ANSWER_MAX];
    struct cli_place place;
    if (cli_read_url(url, &place) != 0) {
        (void)fprintf(stderr, "dynabus status: --url takes http://HOST:PORT, not '%s'\n", url);
        return CLI_USAGE;
    }
    int fd = cli_connect("dynabus status", &place);
    if (fd < 0) {
        return CLI_FAILED;
    }
    ssize_t len = ask(fd, &place, only_ready ? "/readyz" : "/health", answer);
    (void)close(fd);
    if (len < 0) {
        (void)fprintf(stderr, "dynabus status: no whole answer from %s:%s within %d s\n", place.host,
                      place.port, CLI_HTTP_PATIENCE_S);
        return CLI_FAILED;
    }
    return tell(answer, &place, only_ready);
}

int
cli_status(int argc, char **argv)
{
    enum { READY = 1, URL };
    static const struct option known[] = {
        {"ready", no_argument, NULL, READY},
        {"url", required_argument, NULL, URL},
        {0},
    };
    const char *port = getenv("PORT");
    char here[64];
    if (port != NULL && *port != '\0') {
        (void)snprintf(here, sizeof here, "http://127.0.0.1:%s", port);
    } else {
        (void)snprintf(here, sizeof here, "http://127.0.0.1:%d", PORT_DEFAULT);
    }
    const char *url = here;
    bool only_ready = false;
    for (int option; (option = getopt_long(argc, argv, "", known, NULL)) != -1;) {
        if (option == READY) {
            only_ready = true;
        } else if (option == URL) {
            url = optarg;
        } else {
            return cli_wrong_usage("status");
        }
    }
    if (optind < argc) {
        (void)fprintf(stderr, "dynabus status: what is '%s'?\n", argv[optind]);
        return cli_wrong_usage("status");
    }
    return check(url, only_ready);
}
