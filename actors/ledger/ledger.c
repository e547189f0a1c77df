#include "actors/ledger/ledger.h"

#include "actors/ledger/clerk.h"
#include "actors/ledger/lease_desk.h"
#include "core/clock.h"
#include "core/log.h"

#include <stdlib.h>

#define CONTENT_TYPE DYN_SLICE("application/msgpack")

enum {
    RETRY_S = 1,
    OLD_LOOK_MS = 60 * 1000, /* whether rows have become too old */
    OLD_SOON_MS = 100,       /* there were as many as are deleted at once */
    OLD_ROWS = 5000,
};

struct ledger {
    struct ledger_options options;
    bus_actor_t *me;
    clerk_t *clerk;
    lease_desk_t *desk;
    struct lease_counters own_leases;
    struct bus_timer old;
};

/* ---- answers ---- */

static void
reply(struct ledger *ledger, const struct env *request, struct env *end)
{
    end->outcome = end->error == ERR_NONE ? ENV_OUTCOME_OK : ENV_OUTCOME_ERROR;
    if (bus_send(ledger->me, request->from, &end, NULL) != 0) {
        env_free(&end); /* who asked is gone; what was written stays */
    }
}

static void
refuse(struct ledger *ledger, const struct env *request, enum err_code code, const char *text)
{
    struct env *end = env_about(ENV_END, request);
    end->error = code;
    end->status = err_row(code)->http;
    end->error_text = text != NULL ? env_copy(end, dyn_slice_str(text)) : end->error_text;
    end->retry_after_s = code == ERR_LEDGER_UNAVAILABLE ? RETRY_S : 0;
    reply(ledger, request, end);
}

static void
tell(struct ledger *ledger, const struct env *request, uint16_t status, const struct ledger_message *answer)
{
    struct env *end = env_about(ENV_END, request);
    end->status = status;
    end->content_type = CONTENT_TYPE;
    end->body = ledger_message_encode(answer);
    end->body_bytes = env_body_len(end);
    reply(ledger, request, end);
}

/* ---- rows that are too old ---- */

/* What this actor asks itself has no asker. */
static bool
is_own(struct ledger *ledger, const struct clerk_job *job)
{
    if (job->request->from != 0 || !dyn_slice_is(job->job.ask.op, "purge")) {
        return false;
    }
    if (!job->has_failed && job->job.answer.changed >= OLD_ROWS) {
        bus_timer_arm(bus_actor_loop(ledger->me), &ledger->old, OLD_SOON_MS);
    }
    return true;
}

static void
delete_old(struct bus_timer *timer)
{
    struct ledger *ledger = DYN_CONTAINER_OF(timer, struct ledger, old);
    uint64_t now_us = dyn_wall_us(&dyn_clock_system);
    uint64_t kept_us = ledger->options.keep_logs_ms * UINT64_C(1000);
    struct ledger_message purge = {.op = DYN_SLICE("purge"), .before = now_us - kept_us, .limit = OLD_ROWS};
    bus_timer_arm(bus_actor_loop(ledger->me), timer, OLD_LOOK_MS);
    if (kept_us < now_us) {
        struct env *request = env_new(ENV_REQUEST);
        request->surface = ENV_SURFACE_LEDGER;
        request->id = env_id_random();
        request->body = ledger_message_encode(&purge);
        struct clerk_job *job = clerk_job_new(&request);
        struct ledger_message *ask = &job->job.ask;
        if (ledger_message_decode(dyn_block_slice(job->request->body), ask, NULL) != 0 ||
            !clerk_take(ledger->clerk, job)) {
            clerk_job_free(job); /* no room: later */
        }
    }
}

/* ---- what the clerk has done ---- */

static void
done(void *self, struct clerk_job *job)
{
    struct ledger *ledger = self;
    struct store_job *result = &job->job;
    if (lease_desk_stored(ledger->desk, job) || is_own(ledger, job)) {
        clerk_job_free(job);
        return;
    }
    if (job->has_failed) {
        refuse(ledger, job->request, ERR_LEDGER_UNAVAILABLE, NULL);
    } else if (result->status == 413) {
        refuse(ledger, job->request, ERR_LEDGER_UNAVAILABLE,
               "that is too much to look through; ask for less of the time, with since and before");
    } else if (result->status == 400) {
        refuse(ledger, job->request, ERR_INVALID_REQUEST, "the question lacks what it needs");
    } else {
        result->answer.rows = dyn_buf_slice(&result->rows);
        result->answer.n_rows = result->n_rows;
        tell(ledger, job->request, result->status, &result->answer);
    }
    clerk_job_free(job);
}

/* ---- leases ---- */

static bool
store_lease(void *self, struct clerk_job *job)
{
    struct ledger *ledger = self;
    return clerk_take(ledger->clerk, job);
}

static void
tell_lease(void *self, const struct env *request, const struct ledger_message *answer)
{
    tell(self, request, 200, answer);
}

static void
open_desk(struct ledger *ledger)
{
    struct lease_counters *counters = ledger->options.leases;
    struct lease_desk_options options = {.clock = &dyn_clock_system,
                                         .counters = counters != NULL ? counters : &ledger->own_leases,
                                         .store = store_lease,
                                         .answer = tell_lease,
                                         .self = ledger};
    ledger->desk = lease_desk_new(&options);
}

/* ---- questions ---- */

static void
tell_state(struct ledger *ledger, const struct env *request)
{
    const struct ledger_store_gauges *gauges = ledger->options.gauges;
    char trouble[CLERK_TROUBLE_SIZE];
    struct ledger_message answer = {.pending = atomic_load(&gauges->pending_bytes),
                                    .written = atomic_load(&gauges->written_rows),
                                    .failures = atomic_load(&gauges->failures)};
    clerk_trouble(ledger->clerk, trouble);
    if (trouble[0] != '\0') {
        answer.trouble = dyn_slice_str(trouble);
    }
    tell(ledger, request, 200, &answer);
}

static void
take(struct ledger *ledger, struct env **env_p)
{
    struct clerk_job *job = clerk_job_new(env_p);
    struct ledger_message *ask = &job->job.ask;
    struct dyn_err err;
    int (*decode)(struct dyn_slice, struct ledger_message *, struct dyn_err *) =
        job->request->is_own ? ledger_message_read : ledger_message_decode;
    if (decode(dyn_block_slice(job->request->body), ask, &err) != 0) {
        refuse(ledger, job->request, ERR_INVALID_REQUEST, err.text);
    } else if (dyn_slice_is(ask->op, "status")) {
        tell_state(ledger, job->request);
    } else if (dyn_slice_is(ask->op, "lease")) {
        lease_desk_ask(ledger->desk, &job->request);
    } else if (!store_is_write(ask->op) && !store_is_read(ask->op)) {
        refuse(ledger, job->request, ERR_INVALID_REQUEST, "the ledger does not know this question");
    } else if (clerk_take(ledger->clerk, job)) {
        return;
    } else {
        refuse(ledger, job->request, ERR_LEDGER_UNAVAILABLE, "too much waits for the store");
    }
    clerk_job_free(job);
}

static void
ledger_receive(void *self, struct env **env_p)
{
    const struct env *env = *env_p;
    if (env->kind == ENV_REQUEST && env->surface == ENV_SURFACE_LEDGER) {
        take(self, env_p);
    }
    env_free(env_p);
}

/* ---- life ---- */

void *
ledger_new(const struct ledger_options *options)
{
    struct ledger *ledger = dyn_zalloc(sizeof *ledger);
    ledger->options = *options;
    ledger->options.dsn = dyn_strdup(options->dsn);
    return ledger;
}

static int
ledger_start(void *self, bus_actor_t *me, struct dyn_err *err)
{
    struct ledger *ledger = self;
    struct clerk_options options = {.ops = ledger->options.store,
                                    .dsn = ledger->options.dsn,
                                    .loop = bus_actor_loop(me),
                                    .bytes_max = ledger->options.queue_max,
                                    .gauges = ledger->options.gauges,
                                    .done = done,
                                    .self = ledger};
    ledger->me = me;
    open_desk(ledger);
    ledger->old.fire = delete_old;
    ledger->clerk = clerk_new(&options, err);
    if (ledger->clerk != NULL && ledger->options.keep_logs_ms > 0) {
        bus_timer_arm(bus_actor_loop(me), &ledger->old, OLD_SOON_MS);
    }
    return ledger->clerk != NULL ? 0 : -1;
}

static void
ledger_stop(void *self)
{
    struct ledger *ledger = self;
    if (ledger->clerk != NULL) {
        lease_desk_close(ledger->desk);
    }
    clerk_close(&ledger->clerk);
    bus_timer_fini(&ledger->old);
    lease_desk_free(&ledger->desk);
    free((void *)(uintptr_t)ledger->options.dsn);
    free(ledger);
}

const struct bus_actor_ops ledger_actor_ops = {
    .kind = "ledger",
    .start = ledger_start,
    .receive = ledger_receive,
    .stop = ledger_stop,
};
