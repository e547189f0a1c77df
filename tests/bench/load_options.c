#include "load_options.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void
load_die(const char *what)
{
    (void)fprintf(stderr, "stream_load: %s\n", what);
    exit(2);
}

static void
parse_url(struct load_options *options, const char *url)
{
    char scheme[8];
    char host[64];
    unsigned port = 0;
    int used = 0;
    if (sscanf(url, "%7[a-z]://%63[0-9.]:%5u%n", scheme, host, &port, &used) != 3 || port > 65535) {
        load_die("the URL must look like http://127.0.0.1:8080/v1/chat/completions");
    }
    options->tls = strcmp(scheme, "https") == 0;
    options->address.sin_family = AF_INET;
    options->address.sin_port = htons((uint16_t)port);
    if (inet_pton(AF_INET, host, &options->address.sin_addr) != 1) {
        load_die("the URL's host must be an IPv4 address");
    }
    (void)snprintf(options->host, sizeof options->host, "%s:%u", host, port);
    (void)snprintf(options->path, sizeof options->path, "%s",
                   url[used] ? url + used : "/v1/chat/completions");
}

static void
parse_option(struct load_options *options, const char *name, const char *value)
{
    struct {
        const char *name;
        unsigned *number;
        double *real;
        const char **text;
    } known[] = {
        {.name = "--connections", .number = &options->connections},
        {.name = "--seconds", .real = &options->seconds},
        {.name = "--warmup", .real = &options->warmup_seconds},
        {.name = "--rate", .real = &options->rate},
        {.name = "--ramp-ms", .number = &options->ramp_ms},
        {.name = "--timeout-ms", .number = &options->timeout_ms},
        {.name = "--tokens", .number = &options->tokens},
        {.name = "--cancel-every", .number = &options->cancel_every},
        {.name = "--close-each", .number = &options->close_each},
        {.name = "--model", .text = &options->model},
        {.name = "--key", .text = &options->key},
    };
    if (strcmp(name, "--body-bytes") == 0) {
        options->body_bytes = strtoul(value, NULL, 10);
        return;
    }
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (strcmp(name, known[i].name) != 0) {
            continue;
        }
        if (known[i].number != NULL) {
            *known[i].number = (unsigned)strtoul(value, NULL, 10);
        } else if (known[i].real != NULL) {
            *known[i].real = strtod(value, NULL);
        } else {
            *known[i].text = value;
        }
        return;
    }
    load_die(
        "unknown option; known are --connections --seconds --warmup --rate --ramp-ms --timeout-ms --tokens "
        "--cancel-every --close-each --body-bytes --model --key");
}

void
load_options_parse(struct load_options *options, int argc, char **argv)
{
    if (argc < 3 || argc % 2 == 0 || (strcmp(argv[1], "requests") != 0 && strcmp(argv[1], "streams") != 0)) {
        load_die("run: stream_load requests|streams URL [--option value ..]");
    }
    *options = (struct load_options){
        .streams = argv[1][0] == 's',
        .connections = 1,
        .seconds = 5,
        .warmup_seconds = 0.2,
        .timeout_ms = 10000,
        .tokens = 8,
        .body_bytes = 1024,
        .model = "mock",
    };
    parse_url(options, argv[2]);
    for (int i = 3; i + 1 < argc; i += 2) {
        parse_option(options, argv[i], argv[i + 1]);
    }
}
