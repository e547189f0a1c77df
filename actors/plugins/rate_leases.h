/* What this process has of the limits that a fleet shares: a lease (limits/lease.h) for each limit and name
 * that came by, shared by the cells. Taking from a piece needs no lock; finding it, asking and being answered
 * do. It sends nothing itself: rate_fleet.h does. */
#pragma once

#include "core/buf.h"
#include "core/list.h"
#include "limits/lease.h"
#include "limits/name_hash.h"
#include "proto/ledger.h"

#include <pthread.h>

typedef struct rate_leases rate_leases_t;

enum { RATE_LEASES_ROWS_MAX = 2000 }; /* in one question */

struct rate_leases_options {
    size_t entries_max; /* limits and names */
    enum lease_fallback fallback;
    struct lease_counters *counters; /* outlive it */
    void (*wake)(void *cell);        /* of those that joined: a lease that somebody waits for has changed */
};

struct rate_lease {
    struct lease_holder holder;
    /* the table's own */
    struct rate_lease *next;
    struct name_hash key;
    struct dyn_list used;   /* least recently first */
    struct dyn_list active; /* linked: it has a piece, or waits for one */
    size_t slot;
    uint64_t used_at_us;
    uint64_t pause_until_us; /* there was nothing: not asked before */
    unsigned open;           /* requests that may still give back */
    char name[16];
};

/* What tells one limit from another, in the whole fleet. */
struct rate_identity {
    struct name_hash key;  /* of this process's own finding */
    const char *who, *what; /* "key", "requests" */
    struct dyn_slice name;
    uint64_t amount, period_us;
};

rate_leases_t *rate_leases_new(const struct rate_leases_options *options) __attribute__((returns_nonnull));
void rate_leases_free(rate_leases_t **leases_p); /* NULL is accepted */

/* Cells that are woken. */
void rate_leases_join(rate_leases_t *leases, void *cell);
void rate_leases_part(rate_leases_t *leases, void *cell);

/* Open until rate_lease_close(), as often as it was opened. NULL: too many are open. */
struct rate_lease *rate_lease_open(rate_leases_t *leases, const struct rate_identity *identity,
                                   struct limits_now now);
void rate_lease_close(rate_leases_t *leases, struct rate_lease *lease);
void rate_lease_want(rate_leases_t *leases, struct rate_lease *lease, uint64_t n);
/* Something came back to its piece, or (`owed`) was used that it had not got. */
void rate_lease_changed(rate_leases_t *leases, struct rate_lease *lease, uint64_t owed);

/* Its row for the ledger, when it has something to ask now. A look at one, on the way of a request. */
bool rate_lease_collect(rate_leases_t *leases, struct rate_lease *lease, struct limits_now now,
                        struct dyn_buf *rows);
/* Rows of all that have something to ask now. A walk over those in use: by a timer. How many. */
size_t rate_leases_collect(rate_leases_t *leases, struct limits_now now, struct dyn_buf *rows);
/* ... of all, for the last time. */
size_t rate_leases_collect_goodbyes(rate_leases_t *leases, struct limits_now now, struct dyn_buf *rows);
bool rate_leases_are_idle(rate_leases_t *leases); /* nobody has anything to ask, now or soon */
/* The ledger's answer; wakes who waits. `rows` gets what its leases have to ask at once, to give something
 * back: how many. */
size_t rate_leases_take(rate_leases_t *leases, const struct ledger_message *answer, struct limits_now now,
                        struct dyn_buf *rows);
