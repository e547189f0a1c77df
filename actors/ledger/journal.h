/* The journal: what a process has for the ledger. Takes REQUESTs of the surface `ledger` from this process's
 * actors: rows are kept until the ledger has written them, in order, bounded in bytes, and acknowledged to
 * the sender at once, unless it only tells of them (env->tell); beyond the bound the oldest are dropped and
 * counted. Every other question is passed on, and answered LEDGER_UNAVAILABLE when the ledger is gone or
 * says nothing in time. The ledger is an actor of this process, or joins over the bus: the journal cannot
 * tell. One per process with routers, on any loop but a cell's; nothing on the path of a request waits for
 * it. */
#pragma once

#include "bus/bus.h"
#include "limits/limits_store.h"
#include "proto/ledger.h"

typedef struct journal journal_t;

enum {
    JOURNAL_BATCH_BYTES = 768 * 1024, /* of rows in one REQUEST */
    JOURNAL_BATCH_ROWS = 2048,        /* ... whose values are then no more than a body may have */
    JOURNAL_PACE_MS = 100,            /* between two batches, unless one is full */
    JOURNAL_ANSWER_MS = 5000,         /* a question that nobody answered */
    JOURNAL_BEHIND_MS = 3000,         /* rows that wait for so long are told of in readiness */
    JOURNAL_QUESTIONS_MAX = 4096,
    JOURNAL_LEDGERS_MAX = 16,
};

struct journal_options {
    bus_addr_t ledger;            /* of this process; 0: those that join */
    size_t bytes_max;             /* of rows */
    const char *node;             /* of this process, 32 hex digits; outlives it */
    struct ledger_gauges *gauges; /* outlive it */
};

/* Give both to bus_add_actor(). */
journal_t *journal_new(const struct journal_options *options);
extern const struct bus_actor_ops journal_actor_ops;
