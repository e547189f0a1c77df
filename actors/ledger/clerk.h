/* The clerk: the thread that a store lives on. Takes questions from the ledger actor, gives them back with
 * their answers; whoever asks never waits. Rows that the store does not take now stay, in order, and are
 * tried again; everything else is answered at once, also while rows wait. Bounded in bytes. */
#pragma once

#include "actors/ledger/store.h"
#include "bus/bus.h"

typedef struct clerk clerk_t;

enum {
    CLERK_BATCH_BYTES = 1024 * 1024, /* of one transaction */
    CLERK_RETRY_MIN_MS = 50,         /* a store that failed is tried again after this, doubling */
    CLERK_RETRY_MAX_MS = 1000,
};

/* A question on its way. Its body is the request's. */
struct clerk_job {
    struct dyn_list link;
    struct env *request;
    struct store_job job;
    size_t bytes;
    bool has_failed; /* the store did; an answer otherwise */
};

struct clerk_options {
    const struct store_ops *ops;
    const char *dsn; /* borrowed until clerk_new() returns */
    bus_loop_t *loop;
    size_t bytes_max; /* of questions that wait */
    struct ledger_store_gauges *gauges; /* outlive it */
    /* On the loop; takes the job. */
    void (*done)(void *self, struct clerk_job *job);
    void *self;
};

/* Opens the store. NULL with a sentence. */
clerk_t *clerk_new(const struct clerk_options *options, struct dyn_err *err);
/* Takes the job, whose `job.ask` was decoded and is a question of store.h. false: there is no room. */
bool clerk_take(clerk_t *clerk, struct clerk_job *job);
enum { CLERK_TROUBLE_SIZE = 160 };
/* Why the store takes nothing now; "": it does. */
void clerk_trouble(clerk_t *clerk, char trouble[CLERK_TROUBLE_SIZE]);
/* Finishes what waits, tries rows once more, and closes the store. What is not done is given back as failed,
 * from inside this call. */
void clerk_close(clerk_t **clerk_p);

struct clerk_job *clerk_job_new(struct env **request_p) __attribute__((returns_nonnull));
void clerk_job_free(struct clerk_job *job);
