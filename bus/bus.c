/* Actors and sending: who an address is, whether a mailbox has room, which wire is taken, and the
 * local wire itself: a list of envelopes that a task delivers at the end of the turn. Not here:
 * threads and their order of start and stop (lifecycle.c). */
#include "bus/bus_impl.h"
#include "bus/wire_inproc.h"

#include <stdlib.h>

/* Envelopes delivered in one run of the task; then other tasks have their turn, and after some runs
 * (loop.c) descriptors too. */
#define DELIVER_BATCH 64u

/* ---- accounting ---- */

bool
bus_kind_is_limited(enum env_kind kind)
{
    /* The others end something, free memory or keep a peer alive: refusing them would make it worse. */
    return kind == ENV_REQUEST || kind == ENV_CHUNK || kind == ENV_ASK || kind == ENV_EVENT;
}

size_t
bus_envelope_bytes(const struct env *env)
{
    return env_body_len(env) + BUS_ENVELOPE_COST;
}

static void
add_local_bytes(struct bus_actor *actor, size_t bytes)
{
    size_t now = atomic_load_explicit(&actor->local_bytes, memory_order_relaxed);
    atomic_store_explicit(&actor->local_bytes, now + bytes, memory_order_relaxed);
}

static void
take_local_bytes(struct bus_actor *actor, size_t bytes)
{
    size_t now = atomic_load_explicit(&actor->local_bytes, memory_order_relaxed);
    atomic_store_explicit(&actor->local_bytes, now - bytes, memory_order_relaxed);
}

static size_t
waiting_bytes(const struct bus_actor *actor)
{
    return atomic_load_explicit(&actor->local_bytes, memory_order_relaxed) +
           atomic_load_explicit(&actor->remote_bytes, memory_order_relaxed);
}

size_t
bus_mailbox_bytes(const bus_t *bus, bus_addr_t addr)
{
    const struct bus_actor *actor = bus_find(bus, addr);
    return actor ? waiting_bytes(actor) : 0;
}

/* An empty mailbox takes anything, else a body larger than the limit could never pass. */
static bool
has_room(const struct bus_actor *actor, size_t bytes)
{
    size_t waiting = waiting_bytes(actor);
    return waiting == 0 || waiting + bytes <= actor->host->bus->options.mailbox_bytes;
}

/* ---- the local wire ---- */

void
bus_host_accept(struct bus_host *host, struct bus_actor *to, struct env **env_p)
{
    struct env *env = *env_p;
    *env_p = NULL;
    add_local_bytes(to, env->mailbox_bytes);
    if (dyn_list_is_empty(&host->inbox)) {
        bus_task_queue(host->loop, &host->deliver);
    }
    dyn_list_append(&host->inbox, &env->link);
}

static void
deliver_one(struct bus_host *host, struct env *env)
{
    struct bus_actor *actor = host->actors[env->to & BUS_ADDR_SLOT_MASK];
    take_local_bytes(actor, env->mailbox_bytes);
    if (atomic_load_explicit(&actor->state, memory_order_relaxed) == BUS_ACTOR_LIVES) {
        actor->ops->receive(actor->self, &env);
    }
    env_free(&env); /* it was for an actor that is gone, or the actor had no use for it */
}

static void
deliver(struct bus_task *task)
{
    struct bus_host *host = DYN_CONTAINER_OF(task, struct bus_host, deliver);
    struct dyn_list *link = NULL;
    for (unsigned n = 0; n < DELIVER_BATCH && (link = dyn_list_pop(&host->inbox)) != NULL; n++) {
        deliver_one(host, DYN_CONTAINER_OF(link, struct env, link));
    }
    if (!dyn_list_is_empty(&host->inbox)) {
        bus_task_queue(host->loop, &host->deliver);
    }
}

void
bus_host_drop_inbox(struct bus_host *host)
{
    struct dyn_list *link = NULL;
    while ((link = dyn_list_pop(&host->inbox)) != NULL) {
        struct env *env = DYN_CONTAINER_OF(link, struct env, link);
        take_local_bytes(host->actors[env->to & BUS_ADDR_SLOT_MASK], env->mailbox_bytes);
        env_free(&env);
    }
    bus_task_cancel(&host->deliver);
}

/* ---- sending ---- */

struct bus_actor *
bus_find(const bus_t *bus, bus_addr_t addr)
{
    unsigned number = addr >> BUS_ADDR_SLOT_BITS;
    if (number == 0 || number > bus->n_hosts) {
        return NULL;
    }
    const struct bus_host *host = bus->hosts[number - 1];
    unsigned slot = addr & BUS_ADDR_SLOT_MASK;
    return slot < host->n_actors ? host->actors[slot] : NULL;
}

int
bus_send(bus_actor_t *me, bus_addr_t to, struct env **env_p, struct dyn_err *err)
{
    struct env *env = *env_p;
    struct bus_actor *peer = bus_find(me->host->bus, to);
    DYN_ASSERT(bus_loop_is_current(me->host->loop)); /* sockets and inbox are this thread's */
    if (peer == NULL || atomic_load_explicit(&peer->state, memory_order_acquire) != BUS_ACTOR_LIVES) {
        return dyn_err_set(err, DYN_E_GONE, "there is no actor at address %#x any more", to);
    }
    size_t bytes = bus_envelope_bytes(env);
    if (bus_kind_is_limited(env->kind) && !has_room(peer, bytes)) {
        return dyn_err_set(err, DYN_E_FULL, "the mailbox of %s holds %zu bytes, its limit", peer->ops->kind,
                           waiting_bytes(peer));
    }
    env->from = me->addr;
    env->to = to;
    env->mailbox_bytes = bytes;
    if (peer->host != me->host || me->host->bus->options.inproc) {
        return wire_inproc_send(me->host, peer, env_p, err);
    }
    bus_host_accept(peer->host, peer, env_p);
    return 0;
}

/* ---- building ---- */

bus_t *
bus_new(const struct bus_options *options, struct dyn_err *err)
{
    (void)err;
    bus_t *bus = dyn_zalloc(sizeof *bus);
    if (options != NULL) {
        bus->options = *options;
    }
    if (bus->options.mailbox_bytes == 0) {
        bus->options.mailbox_bytes = BUS_MAILBOX_DEFAULT;
    }
    pthread_condattr_t attr;
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&bus->changed, &attr);
    (void)pthread_condattr_destroy(&attr);
    (void)pthread_mutex_init(&bus->lock, NULL);
    return bus;
}

bus_loop_t *
bus_add_loop(bus_t *bus, const char *name)
{
    DYN_ASSERT(!bus->started && bus->n_hosts < BUS_LOOPS_MAX);
    struct bus_host *host = dyn_zalloc(sizeof *host);
    host->bus = bus;
    host->loop = bus_loop_new(name);
    host->number = bus->n_hosts;
    dyn_list_init(&host->inbox);
    bus_task_init(&host->deliver, deliver);
    bus->hosts[bus->n_hosts++] = host;
    return host->loop;
}

static struct bus_host *
host_of(const bus_t *bus, const bus_loop_t *loop)
{
    for (unsigned i = 0; i < bus->n_hosts; i++) {
        if (bus->hosts[i]->loop == loop) {
            return bus->hosts[i];
        }
    }
    return NULL;
}

/* Grows by one; a gateway adds its actors once. */
static struct bus_actor **
append_actor(struct bus_actor **actors, size_t *n, struct bus_actor *actor)
{
    actors = dyn_realloc(actors, (*n + 1) * sizeof(struct bus_actor *));
    actors[(*n)++] = actor;
    return actors;
}

bus_addr_t
bus_add_actor(bus_t *bus, bus_loop_t *loop, const struct bus_actor_ops *ops, void *self)
{
    struct bus_host *host = host_of(bus, loop);
    DYN_ASSERT(!bus->started && host != NULL && host->n_actors < BUS_ADDR_SLOT_MASK);
    struct bus_actor *actor = dyn_zalloc(sizeof *actor);
    actor->ops = ops;
    actor->self = self;
    actor->host = host;
    actor->addr = ((bus_addr_t)(host->number + 1) << BUS_ADDR_SLOT_BITS) | (bus_addr_t)host->n_actors;
    atomic_init(&actor->state, BUS_ACTOR_LIVES);
    atomic_init(&actor->local_bytes, 0);
    atomic_init(&actor->remote_bytes, 0);
    host->actors = append_actor(host->actors, &host->n_actors, actor);
    bus->actors = append_actor(bus->actors, &bus->n_actors, actor);
    return actor->addr;
}

/* What waits may point into the memory of its sender, which goes now. Only the local wire carries that. */
static void
take_back_facts(struct bus_actor *actor)
{
    const struct dyn_list *inbox = &actor->host->inbox;
    for (struct dyn_list *link = inbox->next; link != inbox; link = link->next) {
        struct env *env = DYN_CONTAINER_OF(link, struct env, link);
        if (env->from == actor->addr) {
            env->facts = NULL;
        }
    }
}

void
bus_actor_stop_now(struct bus_actor *actor)
{
    if (atomic_load_explicit(&actor->state, memory_order_relaxed) == BUS_ACTOR_LIVES) {
        atomic_store_explicit(&actor->state, BUS_ACTOR_GONE, memory_order_release);
        actor->ops->stop(actor->self);
        actor->self = NULL;
        take_back_facts(actor); /* of what stop() sent, too */
    }
}

static void
host_free(struct bus_host *host)
{
    bus_host_drop_inbox(host);
    bus_loop_free(&host->loop);
    free(host->actors);
    free(host);
}

void
bus_free(bus_t **bus_p)
{
    bus_t *bus = *bus_p;
    *bus_p = NULL;
    if (bus == NULL) {
        return;
    }
    DYN_ASSERT(!bus->started || bus->stopped);
    for (size_t i = bus->n_actors; i-- > 0;) {
        bus_actor_stop_now(bus->actors[i]); /* never started */
    }
    for (unsigned i = 0; i < bus->n_hosts; i++) {
        host_free(bus->hosts[i]);
    }
    for (size_t i = 0; i < bus->n_actors; i++) {
        free(bus->actors[i]);
    }
    free(bus->actors);
    (void)pthread_cond_destroy(&bus->changed);
    (void)pthread_mutex_destroy(&bus->lock);
    free(bus);
}

bus_addr_t
bus_actor_addr(const bus_actor_t *me)
{
    return me->addr;
}

bus_loop_t *
bus_actor_loop(const bus_actor_t *me)
{
    return me->host->loop;
}
