/* What the load client keeps, shared by its run (stream_load.c) and its report (load_report.c). */
#pragma once

#include "load_answer.h"
#include "load_check.h"
#include "load_hist.h"
#include "load_options.h"
#include "load_wire.h"

enum { LOAD_READ_SIZE = 256 * 1024 };

struct client {
    struct load_wire wire;
    bool busy;
    bool checked; /* this answer's tokens are read */
    bool has_first_token;
    bool to_cancel;
    uint64_t start_at_ns; /* its first request waits for this */
    uint64_t sent_ns;     /* when its request began, or with a rate when it should have begun */
    uint64_t active_ns;   /* last byte in or out */
    uint64_t request_number;
    size_t unsent; /* bytes of the request that the socket did not take yet */
    uint32_t watched;
    char *request;
    struct load_answer answer;
    struct load_check check;
};

struct load {
    struct load_options options;
    int epoll;
    struct client *clients;
    struct client **idle; /* with a rate: who waits for a request to begin */
    unsigned n_idle;
    size_t request_len;
    size_t number_at; /* where the number stands in a request */
    uint64_t next_number;
    uint64_t next_arrival_ns; /* with a rate: when the next request should begin */
    uint64_t begin_ns;
    uint64_t measure_ns; /* end of the warm-up */
    uint64_t end_ns;
    unsigned busy;
    unsigned connect_failures;
    uint64_t answers;       /* 2xx and whole, warm-up included */
    uint64_t answers_timed; /* of these, begun after the warm-up */
    uint64_t errors;
    uint64_t bad_status;
    uint64_t cut;
    uint64_t timeouts;
    uint64_t incomplete; /* streams that ended well-formed, but not whole */
    uint64_t cancelled;  /* streams that we closed */
    uint64_t queued;     /* with a rate: requests that began late because every connection was busy */
    uint64_t reconnects;
    uint64_t body_bytes;
    uint64_t last_answer_ns;
    struct load_hist latency;
    struct load_hist first_token;
    struct load_hist lag; /* with a rate: how late we ourselves began a request, with a connection at hand */
    struct load_totals totals;
    char buffer[LOAD_READ_SIZE];
};

/* Prints the result as one JSON object. */
void load_report(const struct load *load);
