/* The scripted upstream: an HTTP server that speaks the OpenAI chat API and answers as the name of the
 * model, or a script, tells it to (docs/mock.md). It runs on one loop thread of its own, as
 * `dynabus mock` or inside another process. Any thread may call these. */
#pragma once

#include "core/err.h"

typedef struct mock mock_t;

enum { MOCK_JOURNAL_CALLS_MAX = 4 * 1024 * 1024 }; /* a record has about 170 bytes */

struct mock_options {
    const char *listen;      /* "127.0.0.1:4010", "[::1]:0", ":4010"; NULL: "127.0.0.1:0". Port 0: any */
    const char *script_path; /* JSON; NULL: none */
    const char *key; /* that a request must bring ("Authorization: Bearer KEY"); NULL: none is asked */
    uint64_t seed;   /* of nonces and of times drawn from a range; 0: new ones each time. With a seed the
                        times of a request that has a number depend on seed, number and how often it came */
    size_t journal;  /* how many calls are remembered (mock/journal.h); 0: none */
};

struct mock_stats {
    uint64_t requests;     /* all that came, with those for these numbers */
    uint64_t calls;        /* of these, answered from a behaviour or a script */
    uint64_t answered;     /* calls whose whole answer was handed over */
    uint64_t faults;       /* calls that ended in a cut as asked */
    uint64_t cancels;      /* calls whose client went away first */
    uint64_t open;         /* calls now being answered */
    uint64_t open_streams; /* of these, streams that have begun */
    uint64_t tokens;       /* events of streams sent */
    uint64_t bytes;        /* of answers sent */
    uint64_t connections;  /* open now */
};

/* NULL with a sentence when the address or the script cannot be used. */
mock_t *mock_start(const struct mock_options *options, struct dyn_err *err);
uint16_t mock_port(const mock_t *mock);
/* "http://127.0.0.1:4010": where a client on this machine finds it. */
const char *mock_url(const mock_t *mock);
void mock_stats(mock_t *mock, struct mock_stats *stats);
/* Cuts what is open and ends the thread. NULL is accepted. */
void mock_stop(mock_t **mock_p);
