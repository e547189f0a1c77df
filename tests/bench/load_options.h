/* What stream_load was asked to do. */
#pragma once

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>

struct load_options {
    bool streams;
    struct sockaddr_in address;
    char path[256];
    char host[72];
    unsigned connections;
    double seconds;
    double warmup_seconds;
    unsigned ramp_ms; /* the first requests are spread over this time */
    unsigned timeout_ms;
    unsigned tokens;
    size_t body_bytes;
    const char *model;
    const char *key;
};

/* MODE URL [--option value ..]; ends the program with a sentence when that cannot be read. */
void load_options_parse(struct load_options *options, int argc, char **argv);
_Noreturn void load_die(const char *what);
