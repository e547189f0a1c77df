/* See keys_actor.h. */
#include "router/keys_actor.h"

#include "core/clock.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

struct keys_actor {
    struct key_admin admin; /* the thread's, once it runs */
    bus_actor_t *me;
    bus_loop_t *loop;
    pthread_t thread;
    bool has_thread;
    size_t in_flight; /* questions without an END yet; the loop's */
    bool is_draining;
    bool is_stopped;

    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t wake;
    struct dyn_list questions; /* of struct question */
    bool is_stopping;
};

struct question {
    struct dyn_list link;
    struct keys_actor *actor;
    struct env *request;
    struct env *end;
};

static void
actor_free(struct keys_actor *actor)
{
    (void)pthread_cond_destroy(&actor->wake);
    (void)pthread_mutex_destroy(&actor->lock);
    free(actor);
}

/* ---- on the loop ---- */

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

static void
answered(void *arg)
{
    struct question *question = arg;
    struct keys_actor *actor = question->actor;
    if (!actor->is_stopped) {
        send_end(actor, question->request->from, &question->end);
    }
    env_free(&question->end);
    env_free(&question->request);
    free(question);
    actor->in_flight--;
    if (actor->is_stopped && actor->in_flight == 0) {
        actor_free(actor);
    } else {
        look_whether_idle(actor);
    }
}

static void
refuse(struct keys_actor *actor, const struct env *request)
{
    struct env *end = env_about(ENV_END, request);
    end->outcome = ENV_OUTCOME_ERROR;
    end->error = ERR_SATURATED;
    end->status = err_row(ERR_SATURATED)->http;
    send_end(actor, request->from, &end);
}

static void
keys_receive(void *self, struct env **env_p)
{
    struct keys_actor *actor = self;
    struct env *request = *env_p;
    if (request->kind != ENV_REQUEST || request->surface != ENV_SURFACE_ADMIN) {
        env_free(env_p); /* CREDIT and CANCEL: an answer is whole, and a change is made */
        return;
    }
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

/* ---- on the thread ---- */

static struct timespec
next_look(void)
{
    struct timespec at;
    (void)clock_gettime(CLOCK_MONOTONIC, &at);
    at.tv_nsec += KEYS_LOOK_MS * 1000000L;
    at.tv_sec += at.tv_nsec / 1000000000L;
    at.tv_nsec %= 1000000000L;
    return at;
}

/* Waits for one; NULL: it was time to look at the store. */
static struct question *
next_question(struct keys_actor *actor, bool *is_stopping)
{
    struct timespec at = next_look();
    (void)pthread_mutex_lock(&actor->lock);
    while (dyn_list_is_empty(&actor->questions) && !actor->is_stopping &&
           pthread_cond_timedwait(&actor->wake, &actor->lock, &at) != ETIMEDOUT) {
    }
    struct dyn_list *link = dyn_list_pop(&actor->questions);
    *is_stopping = actor->is_stopping;
    (void)pthread_mutex_unlock(&actor->lock);
    return link != NULL ? DYN_CONTAINER_OF(link, struct question, link) : NULL;
}

static void *
work(void *arg)
{
    struct keys_actor *actor = arg;
    for (bool is_stopping = false; !is_stopping;) {
        struct question *question = next_question(actor, &is_stopping);
        if (question == NULL) {
            key_admin_look(&actor->admin);
            continue;
        }
        is_stopping = false; /* all that was asked is answered */
        question->end =
            key_admin_answer(&actor->admin, question->request, dyn_wall_us(&dyn_clock_system) / 1000);
        bus_loop_post(actor->loop, answered, question);
    }
    return NULL;
}

/* ---- life ---- */

void *
keys_actor_new(const struct key_admin *admin)
{
    struct keys_actor *actor = dyn_zalloc(sizeof *actor);
    pthread_condattr_t attr;
    actor->admin = *admin;
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
    actor->is_stopped = true;
    if (actor->in_flight == 0) { /* else the last of those that are on their way back does it */
        actor_free(actor);
    }
}

const struct bus_actor_ops keys_actor_ops = {
    .kind = "keys",
    .start = keys_start,
    .receive = keys_receive,
    .drain = keys_drain,
    .stop = keys_stop,
};
