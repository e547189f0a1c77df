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
    char host[64];
    unsigned port = 0;
    int used = 0;
    if (sscanf(url, "http://%63[0-9.]:%5u%n", host, &port, &used) != 2 || port > 65535) {
        load_die("the URL must look like http://127.0.0.1:8080/v1/chat/completions");
    }
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
    if (strcmp(name, "--connections") == 0) {
        options->connections = (unsigned)strtoul(value, NULL, 10);
    } else if (strcmp(name, "--seconds") == 0) {
        options->seconds = strtod(value, NULL);
    } else if (strcmp(name, "--warmup") == 0) {
        options->warmup_seconds = strtod(value, NULL);
    } else if (strcmp(name, "--ramp-ms") == 0) {
        options->ramp_ms = (unsigned)strtoul(value, NULL, 10);
    } else if (strcmp(name, "--timeout-ms") == 0) {
        options->timeout_ms = (unsigned)strtoul(value, NULL, 10);
    } else if (strcmp(name, "--tokens") == 0) {
        options->tokens = (unsigned)strtoul(value, NULL, 10);
    } else if (strcmp(name, "--body-bytes") == 0) {
        options->body_bytes = strtoul(value, NULL, 10);
    } else if (strcmp(name, "--model") == 0) {
        options->model = value;
    } else if (strcmp(name, "--key") == 0) {
        options->key = value;
    } else {
        load_die("unknown option; known are --connections --seconds --warmup --ramp-ms --timeout-ms --tokens "
                 "--body-bytes --model --key");
    }
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
