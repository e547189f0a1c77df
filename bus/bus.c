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

size_t
bus_kind_bytes(const bus_t *bus, const char *kind)
{
    size_t bytes = 0;
    for (unsigned i = 0; i < bus->n_hosts; i++) {
        unsigned n_slots = atomic_load_explicit(&bus->hosts[i]->n_slots, memory_order_acquire);
        for (unsigned slot = 0; slot < n_slots; slot++) {
            const struct bus_actor *actor =
                bus_place(bus, ((bus_addr_t)(i + 1) << BUS_ADDR_LOOP_SHIFT) | (bus_addr_t)slot);
            const struct bus_actor_ops *ops = atomic_load_explicit(&actor->ops, memory_order_relaxed);
            bytes += ops != NULL && strcmp(ops->kind, kind) == 0 ? waiting_bytes(actor) : 0;
        }
    }
    return bytes;
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

/* Is it still the one that had this address? */
static bool
is_alive_at(const struct bus_actor *actor, bus_addr_t addr)
{
    return atomic_load_explicit(&actor->addr, memory_order_relaxed) == addr &&
           atomic_load_explicit(&actor->state, memory_order_relaxed) == BUS_ACTOR_LIVES;
}

static void
deliver_one(struct bus_host *host, struct env *env)
{
    struct bus_actor *actor = bus_place(host->bus, env->to);
    take_local_bytes(actor, env->mailbox_bytes);
    if (is_alive_at(actor, env->to)) {
        const struct bus_actor_ops *ops = atomic_load_explicit(&actor->ops, memory_order_relaxed);
        ops->receive(actor->self, &env);
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

static void
drop(struct bus_host *host, struct dyn_list *link)
{
    struct env *env = DYN_CONTAINER_OF(link, struct env, link);
    take_local_bytes(bus_place(host->bus, env->to), env->mailbox_bytes);
    env_free(&env);
}

void
bus_host_drop_inbox(struct bus_host *host)
{
    struct dyn_list *link = NULL;
    while ((link = dyn_list_pop(&host->inbox)) != NULL) {
        drop(host, link);
    }
    bus_task_cancel(&host->deliver);
}

void
bus_host_drop_for(struct bus_host *host, bus_addr_t addr)
{
    struct dyn_list *next = NULL;
    for (struct dyn_list *link = host->inbox.next; link != &host->inbox; link = next) {
        next = link->next;
        if (DYN_CONTAINER_OF(link, struct env, link)->to == addr) {
            dyn_list_remove(link);
            drop(host, link);
        }
    }
}

/* ---- sending ---- */

static int
send_from(struct bus_host *host, bus_addr_t from, bus_addr_t to, struct env **env_p, struct dyn_err *err)
{
    struct env *env = *env_p;
    struct bus_actor *peer = bus_find(host->bus, to);
    DYN_ASSERT(bus_loop_is_current(host->loop)); /* sockets and inbox are this thread's */
    if (peer == NULL || atomic_load_explicit(&peer->state, memory_order_acquire) != BUS_ACTOR_LIVES) {
        return dyn_err_set(err, DYN_E_GONE, "there is no actor at address %#x any more", to);
    }
    size_t bytes = bus_envelope_bytes(env);
    if (bus_kind_is_limited(env->kind) && !has_room(peer, bytes)) {
        return dyn_err_set(err, DYN_E_FULL, "the mailbox of %s holds %zu bytes, its limit",
                           atomic_load_explicit(&peer->ops, memory_order_relaxed)->kind, waiting_bytes(peer));
    }
    env->from = from;
    env->to = to;
    env->mailbox_bytes = bytes;
    if (peer->host != host || host->bus->options.inproc) {
        return wire_inproc_send(host, peer, env_p, err);
    }
    bus_host_accept(host, peer, env_p);
    return 0;
}

int
bus_send(bus_actor_t *me, bus_addr_t to, struct env **env_p, struct dyn_err *err)
{
    return send_from(me->host, bus_actor_addr(me), to, env_p, err);
}

int
bus_send_as(bus_actor_t *me, bus_addr_t from, bus_addr_t to, struct env **env_p, struct dyn_err *err)
{
    DYN_ASSERT(from >> BUS_ADDR_LOOP_SHIFT == bus_actor_addr(me) >> BUS_ADDR_LOOP_SHIFT);
    return send_from(me->host, from, to, env_p, err);
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
    dyn_list_init(&host->free_slots);
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

static void
move_in(struct bus_actor *actor, const struct bus_actor_ops *ops, void *self)
{
    dyn_list_init(&actor->children);
    actor->live_drains = actor->live_idle = false;
    actor->when_idle = NULL;
    actor->self = self;
    atomic_store_explicit(&actor->ops, ops, memory_order_relaxed);
    atomic_store_explicit(&actor->state, BUS_ACTOR_LIVES, memory_order_release);
}

bus_addr_t
bus_add_actor(bus_t *bus, bus_loop_t *loop, const struct bus_actor_ops *ops, void *self)
{
    struct bus_host *host = host_of(bus, loop);
    DYN_ASSERT(!bus->started && host != NULL);
    struct bus_actor *actor = bus_place_take(host);
    DYN_ASSERT(actor != NULL);
    move_in(actor, ops, self);
    /* Grows by one; a gateway adds its actors once. */
    bus->actors = dyn_realloc(bus->actors, (bus->n_actors + 1) * sizeof(struct bus_actor *));
    bus->actors[bus->n_actors++] = actor;
    return bus_actor_addr(actor);
}

/* ---- live actors ---- */

bus_addr_t
bus_add_live_actor(bus_actor_t *parent, const struct bus_actor_ops *ops, void *self)
{
    DYN_ASSERT(bus_loop_is_current(parent->host->loop));
    struct bus_actor *actor = bus_place_take(parent->host);
    if (actor == NULL) {
        return 0;
    }
    move_in(actor, ops, self);
    dyn_list_append(&parent->children, &actor->link);
    return bus_actor_addr(actor);
}

bus_addr_t
bus_start_live_actor(bus_actor_t *parent, const struct bus_actor_ops *ops, void *self, struct dyn_err *err)
{
    bus_addr_t addr = bus_add_live_actor(parent, ops, self);
    if (addr == 0) {
        ops->stop(self);
        (void)dyn_err_set(err, DYN_E_FULL, "a loop has room for %d actors", BUS_SLOTS_MAX);
        return 0;
    }
    if (ops->start(self, bus_find(parent->host->bus, addr), err) != 0) {
        bus_remove_actor(parent, addr);
        return 0;
    }
    return addr;
}

static struct bus_actor *
find_live(const bus_actor_t *parent, bus_addr_t addr)
{
    struct bus_actor *actor = bus_find(parent->host->bus, addr);
    DYN_ASSERT(bus_loop_is_current(parent->host->loop));
    bool lives =
        actor != NULL && atomic_load_explicit(&actor->state, memory_order_relaxed) == BUS_ACTOR_LIVES;
    return lives ? actor : NULL;
}

void
bus_drain_live_actor(bus_actor_t *parent, bus_addr_t addr, uint64_t deadline_us, struct bus_task *idle)
{
    struct bus_actor *actor = find_live(parent, addr);
    if (actor == NULL) {
        return;
    }
    const struct bus_actor_ops *ops = atomic_load_explicit(&actor->ops, memory_order_relaxed);
    actor->live_drains = true;
    actor->when_idle = idle;
    if (ops->drain != NULL) {
        ops->drain(actor->self, deadline_us);
    } else {
        bus_actor_idle(actor);
    }
}

bool
bus_live_actor_is_idle(const bus_actor_t *parent, bus_addr_t addr)
{
    const struct bus_actor *actor = find_live(parent, addr);
    return actor == NULL || actor->live_idle;
}

void
bus_remove_actor(bus_actor_t *parent, bus_addr_t addr)
{
    struct bus_actor *actor = bus_find(parent->host->bus, addr);
    DYN_ASSERT(bus_loop_is_current(parent->host->loop));
    if (actor == NULL || atomic_load_explicit(&actor->state, memory_order_relaxed) != BUS_ACTOR_LIVES) {
        return;
    }
    DYN_ASSERT(actor->host == parent->host && dyn_list_is_linked(&actor->link)); /* live, of this loop */
    bus_actor_stop_now(actor);
    dyn_list_remove(&actor->link);
    bus_host_drop_for(actor->host, addr);
    bus_place_give_back(actor);
}

static void
remove_children(struct bus_actor *actor)
{
    while (!dyn_list_is_empty(&actor->children)) {
        struct bus_actor *child = DYN_CONTAINER_OF(actor->children.next, struct bus_actor, link);
        bus_remove_actor(actor, bus_actor_addr(child));
    }
}

/* ---- the end ---- */

/* What waits may point into the memory of its sender, which goes now. Only the local wire carries that. */
static void
take_back_facts(struct bus_actor *actor)
{
    const struct dyn_list *inbox = &actor->host->inbox;
    for (struct dyn_list *link = inbox->next; link != inbox; link = link->next) {
        struct env *env = DYN_CONTAINER_OF(link, struct env, link);
        if (env->from == bus_actor_addr(actor)) {
            env->facts = NULL;
        }
    }
}

void
bus_actor_stop_now(struct bus_actor *actor)
{
    if (atomic_load_explicit(&actor->state, memory_order_relaxed) == BUS_ACTOR_LIVES) {
        remove_children(actor);
        atomic_store_explicit(&actor->state, BUS_ACTOR_GONE, memory_order_release);
        atomic_load_explicit(&actor->ops, memory_order_relaxed)->stop(actor->self);
        actor->self = NULL;
        take_back_facts(actor); /* of what stop() sent, too */
    }
}

static void
host_free(struct bus_host *host)
{
    bus_host_drop_inbox(host);
    bus_loop_free(&host->loop);
    bus_places_free(host);
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
    free(bus->actors);
    (void)pthread_cond_destroy(&bus->changed);
    (void)pthread_mutex_destroy(&bus->lock);
    free(bus);
}

bus_addr_t
bus_actor_addr(const bus_actor_t *me)
{
    return atomic_load_explicit(&me->addr, memory_order_relaxed);
}

bus_loop_t *
bus_actor_loop(const bus_actor_t *me)
{
    return me->host->loop;
}
