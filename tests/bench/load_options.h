/* What stream_load was asked to do. */
#pragma once

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>

struct load_options {
    bool streams;
    bool tls;
    struct sockaddr_in address;
    char path[256];
    char host[72];
    unsigned connections;
    double seconds;
    double warmup_seconds;
    double rate;      /* requests a second that begin whatever became of others; 0: as answers come */
    unsigned ramp_ms; /* the first requests are spread over this time */
    unsigned timeout_ms;
    unsigned tokens;
    unsigned cancel_every; /* so manieth streams are closed after some tokens; 0: none */
    unsigned close_each;   /* 1: a connection for each request */
    size_t body_bytes;
    const char *model;
    const char *key;
};

/* MODE URL [--option value ..]; ends the program with a sentence when that cannot be read. */
void load_options_parse(struct load_options *options, int argc, char **argv);
_Noreturn void load_die(const char *what);
