/* See keys_actor.h. */
#include "router/keys_actor.h"

#include "core/clock.h"
#include "core/log.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

/* The thread's one question to the ledger, on its way. */
struct errand {
    struct env_id id;
    dyn_block_t *body; /* of the question, then of the answer */
    uint16_t status;
    bool is_over;
    bool has_failed;
};

struct keys_actor {
    struct key_admin admin; /* the thread's, once it runs */
    bus_addr_t journal;
    bool is_ledgers;
    bus_actor_t *me;
    bus_loop_t *loop;
    pthread_t thread;
    bool has_thread;
    size_t in_flight; /* questions without an END yet; the loop's */
    bool is_draining;
    bool is_stopped;
    struct bus_timer uses;
    atomic_uint posted; /* calls that are on their way from the thread to the loop */

    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t wake;
    struct dyn_list questions; /* of struct question */
    struct errand *errand;     /* to be sent; NULL: none */
    struct errand *sent;       /* that the journal was asked; NULL: nothing */
    bool is_stopping;
};

struct question {
    struct dyn_list link;
    struct keys_actor *actor;
    struct env *request;
    struct env *end;
    struct dyn_buf rows; /* for the journal */
};

enum { ROWS_BYTES = 128 * 1024 }; /* of uses in one message */

static void
actor_free(struct keys_actor *actor)
{
    (void)pthread_cond_destroy(&actor->wake);
    (void)pthread_mutex_destroy(&actor->lock);
    free(actor);
}

/* ---- on the loop ---- */

static void
free_when_over(struct keys_actor *actor)
{
    if (actor->is_stopped && actor->in_flight == 0 && atomic_load(&actor->posted) == 0) {
        actor_free(actor);
    }
}

static void
look_whether_idle(struct keys_actor *actor)
{
    if (actor->is_draining && actor->in_flight == 0) {
        bus_actor_idle(actor->me);
    }
}

static void
send_end(struct keys_actor *actor, bus_addr_t to, struct env **end_p)
{
    if (bus_send(actor->me, to, end_p, NULL) != 0) {
        env_free(end_p); /* the router has stopped, and who asked knows it */
    }
}

/* A question to the journal. Takes the body. */
static int
ask_journal(struct keys_actor *actor, const struct env_id *id, dyn_block_t *body)
{
    struct env *asked = env_new(ENV_REQUEST);
    asked->surface = ENV_SURFACE_LEDGER;
    asked->id = *id;
    asked->body = body;
    int rc = bus_send(actor->me, actor->journal, &asked, NULL);
    env_free(&asked);
    return rc;
}

/* The journal keeps them until the ledger has them. */
static void
send_rows(struct keys_actor *actor, struct dyn_buf *rows, size_t n)
{
    struct env_id id = env_id_random();
    struct ledger_message message = {.op = DYN_SLICE("rows"), .rows = dyn_buf_slice(rows), .n_rows = n};
    if (n > 0 && actor->journal != 0 && ask_journal(actor, &id, ledger_message_encode(&message)) != 0) {
        dyn_log(DYN_LOG_WARN, "keys.rows", "the journal takes no rows of keys", DYN_LOG_UINT("rows", n));
    }
    dyn_buf_clear(rows);
}

static void
answered(void *arg)
{
    struct question *question = arg;
    struct keys_actor *actor = question->actor;
    if (!actor->is_stopped) {
        send_rows(actor, &question->rows, question->rows.len > 0);
        send_end(actor, question->request->from, &question->end);
    }
    env_free(&question->end);
    env_free(&question->request);
    dyn_buf_fini(&question->rows);
    free(question);
    actor->in_flight--;
    look_whether_idle(actor);
    free_when_over(actor);
}

/* ---- on the loop: for the thread ---- */

/* Under the lock. */
static void
finish_errand(struct keys_actor *actor, bool has_failed)
{
    actor->sent->has_failed = has_failed;
    actor->sent->is_over = true;
    actor->sent = NULL;
    (void)pthread_cond_signal(&actor->wake);
}

static void
run_errand(void *arg)
{
    struct keys_actor *actor = arg;
    dyn_block_t *body = NULL;
    struct env_id id;
    (void)pthread_mutex_lock(&actor->lock);
    if (actor->errand != NULL && !actor->is_stopped) {
        actor->sent = actor->errand;
        actor->errand = NULL;
        id = actor->sent->id = env_id_random();
        body = actor->sent->body;
        actor->sent->body = NULL;
    }
    (void)pthread_mutex_unlock(&actor->lock);
    if (body != NULL && ask_journal(actor, &id, body) != 0) {
        (void)pthread_mutex_lock(&actor->lock);
        if (actor->sent != NULL && env_id_eq(&actor->sent->id, &id)) {
            finish_errand(actor, true);
        }
        (void)pthread_mutex_unlock(&actor->lock);
    }
    (void)atomic_fetch_sub(&actor->posted, 1);
    free_when_over(actor);
}

static void
take_end(struct keys_actor *actor, struct env *end)
{
    (void)pthread_mutex_lock(&actor->lock);
    if (actor->sent != NULL && end->from == actor->journal && env_id_eq(&actor->sent->id, &end->id)) {
        actor->sent->body = end->body;
        actor->sent->status = end->status;
        end->body = NULL;
        finish_errand(actor, end->outcome != ENV_OUTCOME_OK);
    }
    (void)pthread_mutex_unlock(&actor->lock);
}

/* ---- on the loop: uses ---- */

static void
tell_uses(struct keys_actor *actor)
{
    struct dyn_buf rows = DYN_BUF_INIT;
    size_t n = 0;
    key_table_t *table = actor->is_ledgers ? key_ring_get(actor->admin.ring) : NULL;
    for (size_t i = 0; table != NULL && i < key_table_count(table); i++) {
        const struct key_record *record = key_table_at(table, i);
        struct ledger_row row = {.table = LEDGER_API_KEYS};
        uint64_t count = key_uses_tell(record->uses);
        if (count == 0) {
            continue;
        }
        row.of.api_key = (struct ledger_api_key){.id = record->id,
                                                 .usage_count = count,
                                                 .last_used_us = atomic_load(&record->uses->last_ms) * 1000};
        ledger_row_encode(&row, &rows);
        n++;
        if (rows.len > ROWS_BYTES) {
            send_rows(actor, &rows, n);
            n = 0;
        }
    }
    send_rows(actor, &rows, n);
    dyn_buf_fini(&rows);
    key_table_unref(&table);
}

static void
on_uses(struct bus_timer *timer)
{
    struct keys_actor *actor = DYN_CONTAINER_OF(timer, struct keys_actor, uses);
    tell_uses(actor);
    bus_timer_arm(actor->loop, timer, KEYS_USES_MS);
}

/* ---- on the loop: questions ---- */

static struct env *
refusal(const struct env *request, enum err_code code)
{
    struct env *end = env_about(ENV_END, request);
    end->outcome = ENV_OUTCOME_ERROR;
    end->error = code;
    end->status = err_row(code)->http;
    return end;
}

static void
refuse(struct keys_actor *actor, const struct env *request)
{
    struct env *end = refusal(request, ERR_SATURATED);
    send_end(actor, request->from, &end);
}

static void
pass_rows_on(struct keys_actor *actor, struct env *request)
{
    struct env_id id = env_id_random();
    dyn_block_t *body = request->body;
    request->body = NULL;
    if (actor->journal == 0) {
        dyn_block_unref(&body);
    } else if (ask_journal(actor, &id, body) != 0) {
        dyn_log(DYN_LOG_WARN, "keys.rows", "the journal takes no rows of keys");
    }
}

static void
take_question(struct keys_actor *actor, struct env **env_p)
{
    struct env *request = *env_p;
    if (actor->in_flight >= KEYS_WAITING_MAX) {
        refuse(actor, request);
        env_free(env_p);
        return;
    }
    struct question *question = dyn_zalloc(sizeof *question);
    question->actor = actor;
    question->request = request;
    *env_p = NULL;
    actor->in_flight++;
    (void)pthread_mutex_lock(&actor->lock);
    dyn_list_append(&actor->questions, &question->link);
    (void)pthread_cond_signal(&actor->wake);
    (void)pthread_mutex_unlock(&actor->lock);
}

/* CREDIT and CANCEL say nothing here: an answer is whole, and a change is made. */
static void
keys_receive(void *self, struct env **env_p)
{
    struct keys_actor *actor = self;
    struct env *env = *env_p;
    if (env->kind == ENV_REQUEST && env->surface == ENV_SURFACE_ADMIN) {
        take_question(actor, env_p);
    } else if (env->kind == ENV_REQUEST && env->surface == ENV_SURFACE_LEDGER) {
        pass_rows_on(actor, env);
    } else if (env->kind == ENV_END) {
        take_end(actor, env);
    }
    env_free(env_p);
}

/* ---- on the thread ---- */

static struct timespec
in_ms(long ms)
{
    struct timespec at;
    (void)clock_gettime(CLOCK_MONOTONIC, &at);
    at.tv_sec += ms / 1000;
    at.tv_nsec += ms % 1000 * 1000000L;
    at.tv_sec += at.tv_nsec / 1000000000L;
    at.tv_nsec %= 1000000000L;
    return at;
}

/* The courier of key_ledger.c. */
static int
ask_ledger(void *self, const struct ledger_message *question, dyn_block_t **answer, uint16_t *status,
           struct dyn_err *err)
{
    struct keys_actor *actor = self;
    struct errand errand = {.body = ledger_message_encode(question)};
    struct timespec until = in_ms(KEYS_ANSWER_MS);
    (void)pthread_mutex_lock(&actor->lock);
    if (!actor->is_stopping) {
        actor->errand = &errand;
        (void)atomic_fetch_add(&actor->posted, 1);
        bus_loop_post(actor->loop, run_errand, actor);
    }
    while (!errand.is_over && !actor->is_stopping &&
           pthread_cond_timedwait(&actor->wake, &actor->lock, &until) != ETIMEDOUT) {
    }
    actor->errand = NULL;
    actor->sent = NULL;
    (void)pthread_mutex_unlock(&actor->lock);
    *answer = errand.body;
    *status = errand.status;
    if (errand.is_over && !errand.has_failed && *answer != NULL) {
        return 0;
    }
    dyn_block_unref(answer);
    return dyn_err_set(err, DYN_E_GONE, "the ledger does not answer");
}

/* Waits for one; NULL: it was time to look at the store. */
static struct question *
next_question(struct keys_actor *actor, bool *is_stopping)
{
    struct timespec at = in_ms(key_ring_has_table(actor->admin.ring) ? KEYS_LOOK_MS : KEYS_FIRST_LOOK_MS);
    (void)pthread_mutex_lock(&actor->lock);
    while (dyn_list_is_empty(&actor->questions) && !actor->is_stopping &&
           pthread_cond_timedwait(&actor->wake, &actor->lock, &at) != ETIMEDOUT) {
    }
    struct dyn_list *link = dyn_list_pop(&actor->questions);
    *is_stopping = actor->is_stopping;
    (void)pthread_mutex_unlock(&actor->lock);
    return link != NULL ? DYN_CONTAINER_OF(link, struct question, link) : NULL;
}

static bool
is_stopping_now(struct keys_actor *actor)
{
    (void)pthread_mutex_lock(&actor->lock);
    bool is_stopping = actor->is_stopping;
    (void)pthread_mutex_unlock(&actor->lock);
    return is_stopping;
}

/* What is asked of a process that has just begun is not refused because its ledger has yet to join. */
static void
await_first_keys(struct keys_actor *actor, uint64_t began_us)
{
    const struct timespec pause = {.tv_nsec = KEYS_FIRST_LOOK_MS * 1000000L};
    uint64_t until_us = began_us + KEYS_FIRST_WAIT_MS * UINT64_C(1000);
    while (!key_ring_has_table(actor->admin.ring) && dyn_mono_us(&dyn_clock_system) < until_us &&
           !is_stopping_now(actor)) {
        key_admin_look(&actor->admin);
        (void)nanosleep(&pause, NULL);
    }
}

static void *
work(void *arg)
{
    struct keys_actor *actor = arg;
    uint64_t began_us = dyn_mono_us(&dyn_clock_system);
    for (bool is_stopping = false; !is_stopping;) {
        struct question *question = next_question(actor, &is_stopping);
        if (question == NULL) {
            key_admin_look(&actor->admin);
            continue;
        }
        if (is_stopping) { /* its drain is over: nobody waits for the store any more */
            question->end = refusal(question->request, ERR_DRAINING);
            bus_loop_post(actor->loop, answered, question);
            is_stopping = false; /* all that was asked is answered */
            continue;
        }
        await_first_keys(actor, began_us);
        question->end = key_admin_answer(&actor->admin, question->request,
                                         dyn_wall_us(&dyn_clock_system) / 1000, &question->rows);
        bus_loop_post(actor->loop, answered, question);
    }
    return NULL;
}

/* ---- life ---- */

void *
keys_actor_new(const struct keys_actor_options *options)
{
    struct keys_actor *actor = dyn_zalloc(sizeof *actor);
    pthread_condattr_t attr;
    actor->admin = options->admin;
    actor->journal = options->journal;
    actor->is_ledgers = options->is_ledgers;
    actor->uses.fire = on_uses;
    (void)pthread_mutex_init(&actor->lock, NULL);
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&actor->wake, &attr);
    (void)pthread_condattr_destroy(&attr);
    dyn_list_init(&actor->questions);
    return actor;
}

static int
keys_start(void *self, bus_actor_t *me, struct dyn_err *err)
{
    struct keys_actor *actor = self;
    actor->me = me;
    actor->loop = bus_actor_loop(me);
    if (actor->is_ledgers) {
        struct key_courier courier = {.ask = ask_ledger, .self = actor};
        key_ledger_set_courier(&actor->admin.store, &courier);
        bus_timer_arm(actor->loop, &actor->uses, KEYS_USES_MS);
    }
    if (pthread_create(&actor->thread, NULL, work, actor) != 0) {
        return dyn_err_set(err, DYN_E_IO, "no thread for the keys can be started");
    }
    actor->has_thread = true;
    return 0;
}

static void
keys_drain(void *self, uint64_t deadline_us)
{
    struct keys_actor *actor = self;
    (void)deadline_us;
    actor->is_draining = true;
    tell_uses(actor); /* the journal is still there */
    look_whether_idle(actor);
}

static void
keys_stop(void *self)
{
    struct keys_actor *actor = self;
    (void)pthread_mutex_lock(&actor->lock);
    actor->is_stopping = true;
    (void)pthread_cond_signal(&actor->wake);
    (void)pthread_mutex_unlock(&actor->lock);
    if (actor->has_thread) {
        (void)pthread_join(actor->thread, NULL);
    }
    actor->admin.store.ops->close(actor->admin.store.self);
    bus_timer_fini(&actor->uses);
    actor->is_stopped = true;
    free_when_over(actor); /* else the last of those that are on their way back does it */
}

const struct bus_actor_ops keys_actor_ops = {
    .kind = "keys",
    .start = keys_start,
    .receive = keys_receive,
    .drain = keys_drain,
    .stop = keys_stop,
};
