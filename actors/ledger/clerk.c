#include "actors/ledger/clerk.h"

#include "core/log.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

enum { BATCH_JOBS = 64 };

struct clerk {
    struct clerk_options options;
    void *store; /* the thread's alone */
    pthread_t thread;
    struct bus_fd watch;
    int fd; /* readable: something is done */
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct dyn_list rows; /* under the lock, as all below */
    struct dyn_list asks; /* everything else */
    struct dyn_list done;
    size_t bytes;
    uint64_t retry_at_us;
    uint64_t retry_ms;
    char trouble[CLERK_TROUBLE_SIZE];
    bool must_shed;
    bool is_closing;
    struct bus_keeper keeper;
};

struct clerk_job *
clerk_job_new(struct env **request_p)
{
    struct clerk_job *job = dyn_zalloc(sizeof *job);
    job->request = *request_p;
    *request_p = NULL;
    job->bytes = env_body_len(job->request) + sizeof *job + sizeof(struct env);
    dyn_list_init(&job->link);
    return job;
}

void
clerk_job_free(struct clerk_job *job)
{
    env_free(&job->request);
    dyn_buf_fini(&job->job.rows);
    free(job);
}

/* Under the lock. */
static void
set_bytes(struct clerk *clerk, size_t bytes)
{
    clerk->bytes = bytes;
    atomic_store_explicit(&clerk->options.gauges->pending_bytes, bytes, memory_order_relaxed);
}

/* ---- the thread ---- */

static void
give_back(struct clerk *clerk, struct clerk_job *job, bool has_failed)
{
    uint64_t one = 1;
    job->has_failed = has_failed;
    (void)pthread_mutex_lock(&clerk->lock);
    dyn_list_append(&clerk->done, &job->link);
    set_bytes(clerk, clerk->bytes - job->bytes);
    (void)pthread_mutex_unlock(&clerk->lock);
    if (!has_failed && dyn_slice_is(job->job.ask.op, "rows")) {
        (void)atomic_fetch_add(&clerk->options.gauges->written_rows, job->job.answer.changed);
    }
    ssize_t written = write(clerk->fd, &one, sizeof one);
    (void)written; /* full means that it is readable */
}

static void
note_failure(struct clerk *clerk, const struct dyn_err *err)
{
    (void)atomic_fetch_add(&clerk->options.gauges->failures, 1);
    atomic_store(&clerk->options.gauges->is_failing, 1);
    (void)pthread_mutex_lock(&clerk->lock);
    (void)snprintf(clerk->trouble, sizeof clerk->trouble, "%.150s", err->text);
    (void)pthread_mutex_unlock(&clerk->lock);
    dyn_log(DYN_LOG_WARN, "ledger.store_failed", "the store does not take what it is given",
            DYN_LOG_STR("reason", err->text));
}

static void
note_success(struct clerk *clerk)
{
    (void)pthread_mutex_lock(&clerk->lock);
    bool was_broken = clerk->trouble[0] != '\0';
    clerk->trouble[0] = '\0';
    (void)pthread_mutex_unlock(&clerk->lock);
    if (was_broken) {
        atomic_store(&clerk->options.gauges->is_failing, 0);
        dyn_log(DYN_LOG_INFO, "ledger.store_works", "the store takes what it is given again");
    }
}

/* Not tried again here: who asked decides about that. */
static void
answer(struct clerk *clerk, struct clerk_job *job)
{
    struct dyn_err err = {.text = ""};
    struct store_job *one = &job->job;
    int rc;
    if (store_is_write(one->ask.op)) {
        rc = clerk->options.ops->write_batch(clerk->store, &one, 1, true, dyn_wall_us(&dyn_clock_system),
                                             &err);
    } else {
        rc = clerk->options.ops->read(clerk->store, one, dyn_wall_us(&dyn_clock_system), &err);
    }
    if (rc != 0) {
        note_failure(clerk, &err);
    } else if (store_is_write(one->ask.op)) {
        note_success(clerk);
    }
    give_back(clerk, job, rc != 0);
}

/* Under the lock: jobs from the front, which stay there until they are written. */
static size_t
pick_rows(const struct clerk *clerk, struct clerk_job **out)
{
    size_t n = 0;
    size_t bytes = 0;
    for (struct dyn_list *link = clerk->rows.next; link != &clerk->rows && n < BATCH_JOBS;
         link = link->next) {
        struct clerk_job *job = DYN_CONTAINER_OF(link, struct clerk_job, link);
        bytes += job->bytes;
        if (n > 0 && bytes > CLERK_BATCH_BYTES) {
            break;
        }
        out[n++] = job;
    }
    return n;
}

static void
set_retry(struct clerk *clerk, bool has_failed)
{
    (void)pthread_mutex_lock(&clerk->lock);
    uint64_t next_ms = clerk->retry_ms == 0 ? CLERK_RETRY_MIN_MS : clerk->retry_ms * 2;
    clerk->retry_ms = !has_failed ? 0 : next_ms < CLERK_RETRY_MAX_MS ? next_ms : CLERK_RETRY_MAX_MS;
    clerk->retry_at_us = has_failed ? dyn_mono_us(&dyn_clock_system) + clerk->retry_ms * UINT64_C(1000) : 0;
    (void)pthread_mutex_unlock(&clerk->lock);
}

/* One transaction of what has come first. */
static void
write_rows(struct clerk *clerk)
{
    struct clerk_job *jobs[BATCH_JOBS];
    struct store_job *batch[BATCH_JOBS];
    struct dyn_err err = {.text = ""};
    (void)pthread_mutex_lock(&clerk->lock);
    size_t n = pick_rows(clerk, jobs);
    (void)pthread_mutex_unlock(&clerk->lock);
    for (size_t i = 0; i < n; i++) {
        batch[i] = &jobs[i]->job;
    }
    uint64_t begin_us = dyn_mono_us(&dyn_clock_system);
    int rc =
        clerk->options.ops->write_batch(clerk->store, batch, n, false, dyn_wall_us(&dyn_clock_system), &err);
    set_retry(clerk, rc != 0);
    if (rc != 0) {
        note_failure(clerk, &err);
        return;
    }
    (void)atomic_fetch_add(&clerk->options.gauges->batches, 1);
    (void)atomic_fetch_add(&clerk->options.gauges->batch_us, dyn_mono_us(&dyn_clock_system) - begin_us);
    note_success(clerk);
    for (size_t i = 0; i < n; i++) {
        (void)pthread_mutex_lock(&clerk->lock);
        dyn_list_remove(&jobs[i]->link);
        (void)pthread_mutex_unlock(&clerk->lock);
        give_back(clerk, jobs[i], false);
    }
}

static bool
rows_are_due(const struct clerk *clerk)
{
    return !dyn_list_is_empty(&clerk->rows) && dyn_mono_us(&dyn_clock_system) >= clerk->retry_at_us;
}

/* Under the lock, which is let go meanwhile: until there is something to do. */
static void
wait_for_work(struct clerk *clerk)
{
    while (!clerk->is_closing && !clerk->must_shed && dyn_list_is_empty(&clerk->asks) &&
           !rows_are_due(clerk)) {
        if (dyn_list_is_empty(&clerk->rows)) {
            (void)pthread_cond_wait(&clerk->wake, &clerk->lock);
            continue;
        }
        struct timespec at = {.tv_sec = (time_t)(clerk->retry_at_us / 1000000),
                              .tv_nsec = (long)(clerk->retry_at_us % 1000000) * 1000};
        (void)pthread_cond_timedwait(&clerk->wake, &clerk->lock, &at);
    }
}

/* One question and one batch of rows in turn: neither keeps the other waiting. */
static void *
work(void *arg)
{
    struct clerk *clerk = arg;
    bool is_closing = false;
    while (!is_closing) {
        (void)pthread_mutex_lock(&clerk->lock);
        wait_for_work(clerk);
        is_closing = clerk->is_closing;
        bool must_shed = clerk->must_shed;
        clerk->must_shed = false;
        bool has_rows = rows_are_due(clerk) || (is_closing && !dyn_list_is_empty(&clerk->rows));
        struct dyn_list *link = dyn_list_pop(&clerk->asks);
        (void)pthread_mutex_unlock(&clerk->lock);
        if (link != NULL) {
            answer(clerk, DYN_CONTAINER_OF(link, struct clerk_job, link));
        }
        if (has_rows) {
            write_rows(clerk);
        }
        if (must_shed) {
            clerk->options.ops->shed(clerk->store);
        }
        (void)pthread_mutex_lock(&clerk->lock); /* at the end: all, as long as the store takes them */
        bool has_more = clerk->retry_at_us == 0 && !dyn_list_is_empty(&clerk->rows);
        is_closing = is_closing && !has_more && dyn_list_is_empty(&clerk->asks);
        (void)pthread_mutex_unlock(&clerk->lock);
    }
    clerk->options.ops->close(clerk->store);
    return NULL;
}

/* ---- on the loop ---- */

static void
take_done(struct clerk *clerk)
{
    struct dyn_list done;
    struct dyn_list *link;
    dyn_list_init(&done);
    (void)pthread_mutex_lock(&clerk->lock);
    dyn_list_splice(&done, &clerk->done);
    (void)pthread_mutex_unlock(&clerk->lock);
    while ((link = dyn_list_pop(&done)) != NULL) {
        clerk->options.done(clerk->options.self, DYN_CONTAINER_OF(link, struct clerk_job, link));
    }
}

static void
on_done(struct bus_fd *watch, int fd, unsigned events)
{
    struct clerk *clerk = DYN_CONTAINER_OF(watch, struct clerk, watch);
    uint64_t count;
    (void)events;
    ssize_t got = read(fd, &count, sizeof count);
    (void)got;
    take_done(clerk);
}

static void
shed(struct bus_keeper *keeper)
{
    struct clerk *clerk = DYN_CONTAINER_OF(keeper, struct clerk, keeper);
    (void)pthread_mutex_lock(&clerk->lock);
    clerk->must_shed = true;
    (void)pthread_cond_signal(&clerk->wake);
    (void)pthread_mutex_unlock(&clerk->lock);
}

bool
clerk_take(clerk_t *clerk, struct clerk_job *job)
{
    bool is_rows = dyn_slice_is(job->job.ask.op, "rows");
    (void)pthread_mutex_lock(&clerk->lock);
    bool has_room = clerk->bytes == 0 || clerk->bytes + job->bytes <= clerk->options.bytes_max;
    if (has_room) {
        set_bytes(clerk, clerk->bytes + job->bytes);
        dyn_list_append(is_rows ? &clerk->rows : &clerk->asks, &job->link);
        (void)pthread_cond_signal(&clerk->wake);
    }
    (void)pthread_mutex_unlock(&clerk->lock);
    return has_room;
}

void
clerk_trouble(clerk_t *clerk, char trouble[CLERK_TROUBLE_SIZE])
{
    (void)pthread_mutex_lock(&clerk->lock);
    memcpy(trouble, clerk->trouble, CLERK_TROUBLE_SIZE);
    (void)pthread_mutex_unlock(&clerk->lock);
}

/* Its times are the monotonic clock's. */
static void
init_wake(pthread_cond_t *wake)
{
    pthread_condattr_t attr;
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(wake, &attr);
    (void)pthread_condattr_destroy(&attr);
}

static void
clerk_free(struct clerk *clerk)
{
    if (clerk->fd >= 0) {
        (void)close(clerk->fd);
    }
    (void)pthread_cond_destroy(&clerk->wake);
    (void)pthread_mutex_destroy(&clerk->lock);
    free(clerk);
}

clerk_t *
clerk_new(const struct clerk_options *options, struct dyn_err *err)
{
    struct clerk *clerk = dyn_zalloc(sizeof *clerk);
    clerk->options = *options;
    clerk->watch.ready = on_done;
    (void)pthread_mutex_init(&clerk->lock, NULL);
    init_wake(&clerk->wake);
    dyn_list_init(&clerk->rows);
    dyn_list_init(&clerk->asks);
    dyn_list_init(&clerk->done);
    clerk->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (clerk->fd < 0) {
        (void)dyn_err_set(err, DYN_E_IO, "eventfd: %s", strerror(errno));
        clerk_free(clerk);
        return NULL;
    }
    clerk->store = options->ops->open(options->dsn, err);
    if (clerk->store == NULL) {
        clerk_free(clerk);
        return NULL;
    }
    if (pthread_create(&clerk->thread, NULL, work, clerk) != 0) {
        (void)dyn_err_set(err, DYN_E_IO, "no thread for the store");
        options->ops->close(clerk->store);
        clerk_free(clerk);
        return NULL;
    }
    (void)pthread_setname_np(clerk->thread, "ledger");
    bus_fd_watch(options->loop, &clerk->watch, clerk->fd, BUS_FD_READ);
    bus_keeper_init(&clerk->keeper, shed);
    bus_keeper_add(options->loop, &clerk->keeper);
    return clerk;
}

void
clerk_close(clerk_t **clerk_p)
{
    struct clerk *clerk = *clerk_p;
    struct dyn_list *link;
    *clerk_p = NULL;
    if (clerk == NULL) {
        return;
    }
    bus_keeper_remove(&clerk->keeper);
    (void)pthread_mutex_lock(&clerk->lock);
    clerk->is_closing = true;
    (void)pthread_cond_signal(&clerk->wake);
    (void)pthread_mutex_unlock(&clerk->lock);
    (void)pthread_join(clerk->thread, NULL);
    bus_fd_watch(clerk->options.loop, &clerk->watch, clerk->fd, 0);
    take_done(clerk);
    while ((link = dyn_list_pop(&clerk->rows)) != NULL) {
        struct clerk_job *job = DYN_CONTAINER_OF(link, struct clerk_job, link);
        job->has_failed = true;
        clerk->options.done(clerk->options.self, job);
    }
    clerk_free(clerk);
}
