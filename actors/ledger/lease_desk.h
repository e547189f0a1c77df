/* The lease desk: owner of the limits that a fleet shares (limits/lease.h, 06-LEDGER). Answers `lease` from
 * memory; asks the store only before it lends more than was saved, and for what was lent before it started.
 * Never waits: a question that the store has to be asked for is kept meanwhile. The ledger's own, on its
 * loop. */
#pragma once

#include "actors/ledger/clerk.h"
#include "limits/lease.h"

typedef struct lease_desk lease_desk_t;

enum {
    LEASE_DESK_BYTES = 64 * 1024 * 1024, /* of limits that are known at a time */
    LEASE_DESK_WAITING_MAX = 256,        /* questions that wait for the store; the oldest is answered */
    LEASE_UNSAVED_US = 10 * 1000 * 1000, /* a window up to so long counts as spent after a restart */
};

struct lease_desk_options {
    const struct dyn_clock *clock;
    struct lease_counters *counters; /* outlive it */
    /* Takes the job; false: no room, it is not taken. Its answer comes to lease_desk_stored(). */
    bool (*store)(void *self, struct clerk_job *job);
    void (*answer)(void *self, const struct env *request, const struct ledger_message *answer);
    void *self;
};

lease_desk_t *lease_desk_new(const struct lease_desk_options *options) __attribute__((returns_nonnull));
/* Takes the question, which was decoded before. */
void lease_desk_ask(lease_desk_t *desk, struct env **request_p);
/* True: the job was one of the desk's; it stays the caller's. */
bool lease_desk_stored(lease_desk_t *desk, const struct clerk_job *job);
/* In order: saves how much was lent, so that the next one may lend the rest. Its last question to the
 * store. */
void lease_desk_close(lease_desk_t *desk);
void lease_desk_free(lease_desk_t **desk_p); /* NULL is accepted */
