#include "gateway/keeper.h"

#include "actors/providers/worker.h"
#include "core/list.h"
#include "core/log.h"
#include "gateway/callback.h"
#include "router/router.h"

#include <stdlib.h>

enum {
    /* What was sent to a target before everybody knew that it is gone still arrives. Routers of other
     * processes hear of it within a heartbeat. */
    LEAVING_GRACE_MS = 2000,
    /* Nobody cuts a call of a former configuration: its request has a deadline of its own. */
    LEAVING_DRAIN_MS = 7 * 24 * 3600 * 1000,
};

/* A provider actor. */
struct kept {
    struct dyn_list link;            /* keeper->leaving, once it is in no edition in force */
    struct gateway_edition *edition; /* that it was made for: its target lies there */
    size_t index;                    /* in it */
    bus_addr_t addr;
    uint64_t drain_at_us; /* leaving: when it takes nothing more */
    bool is_draining;
};

/* An edition, and who serves its targets. */
struct team {
    struct gateway_edition *edition;
    struct kept **members; /* one a target; NULL: nobody here */
};

struct keeper {
    struct keeper_options options;
    bus_actor_t *me;
    bus_loop_t *loop;
    void *router;
    void *worker;
    struct team now;
    struct team next; /* edition NULL: nothing is prepared */
    struct dyn_list leaving;
    size_t n_leaving;
    struct bus_timer timer; /* of the next one that is to drain */
    struct bus_task idle;
    bool is_draining;
};

/* ---- actors ---- */

static bus_addr_t
start_actor(struct keeper *keeper, const upstreams_t *upstreams, size_t index, struct dyn_err *err)
{
    struct registered *registered = upstreams_registered(upstreams, index);
    if (registered != NULL) {
        return bus_start_live_actor(keeper->me, &callback_actor_ops, callback_new(registered), err);
    }
    struct provider_options options = {
        .target = upstreams_target(upstreams, index),
        .shared = upstreams_shared(upstreams, index),
        .client = keeper->options.client,
        .orphans = keeper->options.orphans,
    };
    if (keeper->options.events != 0) {
        atomic_store(&options.shared->events, keeper->options.events);
    }
    return bus_start_live_actor(keeper->me, &provider_actor_ops, provider_new(&options), err);
}

static struct kept *
kept_new(struct keeper *keeper, struct gateway_edition *edition, size_t index, struct dyn_err *err)
{
    bus_addr_t addr = start_actor(keeper, edition->upstreams, index, err);
    if (addr == 0) {
        return NULL;
    }
    struct kept *kept = dyn_zalloc(sizeof *kept);
    kept->edition = gateway_edition_ref(edition);
    kept->index = index;
    kept->addr = addr;
    dyn_list_init(&kept->link);
    return kept;
}

/* The actor before the edition: it looks at its target until it is stopped. */
static void
kept_free(struct keeper *keeper, struct kept *kept)
{
    dyn_list_remove(&kept->link);
    bus_remove_actor(keeper->me, kept->addr);
    gateway_edition_unref(&kept->edition);
    free(kept);
}

static void
team_fini(struct team *team)
{
    free(team->members);
    gateway_edition_unref(&team->edition);
    *team = (struct team){.edition = NULL};
}

/* ---- a new edition ---- */

/* Who serves the target already. NULL: nobody, or in another way. */
static struct kept *
going_on(const struct keeper *keeper, const struct gateway_edition *edition, size_t index)
{
    for (size_t i = 0; keeper->now.edition != NULL && i < upstreams_count(keeper->now.edition->upstreams);
         i++) {
        struct kept *kept = keeper->now.members[i];
        if (kept != NULL &&
            upstreams_former(edition->upstreams, index, kept->edition->upstreams) == kept->index) {
            return kept;
        }
    }
    return NULL;
}

static bool
is_in(const struct team *team, const struct kept *kept)
{
    for (size_t i = 0; team->edition != NULL && i < upstreams_count(team->edition->upstreams); i++) {
        if (team->members[i] == kept) {
            return true;
        }
    }
    return false;
}

void
keeper_abandon(keeper_t *keeper)
{
    struct team *next = &keeper->next;
    for (size_t i = 0; next->edition != NULL && i < upstreams_count(next->edition->upstreams); i++) {
        if (next->members[i] != NULL && !is_in(&keeper->now, next->members[i])) {
            kept_free(keeper, next->members[i]);
        }
    }
    team_fini(next);
}

int
keeper_prepare(keeper_t *keeper, struct gateway_edition *edition, struct dyn_err *err)
{
    size_t n = upstreams_count(edition->upstreams);
    struct team *next = &keeper->next;
    DYN_ASSERT(next->edition == NULL);
    next->edition = gateway_edition_ref(edition);
    next->members = dyn_zalloc((n + 1) * sizeof(struct kept *));
    for (size_t i = 0; i < n && keeper->options.calls; i++) {
        next->members[i] = going_on(keeper, edition, i);
        if (next->members[i] == NULL) {
            next->members[i] = kept_new(keeper, edition, i, err);
        }
        if (next->members[i] == NULL) {
            keeper_abandon(keeper);
            return -1;
        }
    }
    return 0;
}

static uint64_t
grace_ms(const struct keeper *keeper)
{
    const struct provider_orphans *orphans = keeper->options.orphans;
    return LEAVING_GRACE_MS + (orphans != NULL ? orphans->time_ms : 0);
}

static void
arm(struct keeper *keeper)
{
    uint64_t now_us = bus_loop_now_us(keeper->loop);
    uint64_t soonest_us = UINT64_MAX;
    for (struct dyn_list *link = keeper->leaving.next; link != &keeper->leaving; link = link->next) {
        const struct kept *kept = DYN_CONTAINER_OF(link, struct kept, link);
        if (!kept->is_draining && kept->drain_at_us < soonest_us) {
            soonest_us = kept->drain_at_us;
        }
    }
    if (soonest_us != UINT64_MAX) {
        bus_timer_arm(keeper->loop, &keeper->timer,
                      soonest_us > now_us ? (soonest_us - now_us + 999) / 1000 : 0);
    }
}

static void
let_leave(struct keeper *keeper, struct kept *kept)
{
    kept->drain_at_us = bus_loop_now_us(keeper->loop) + grace_ms(keeper) * 1000;
    dyn_list_append(&keeper->leaving, &kept->link);
    keeper->n_leaving++;
}

static void
tell_worker(struct keeper *keeper)
{
    size_t n = upstreams_count(keeper->now.edition->upstreams);
    struct worker_target *targets = dyn_zalloc((n + keeper->n_leaving + 1) * sizeof *targets);
    size_t used = 0;
    for (size_t i = 0; i < n; i++) {
        const struct kept *kept = keeper->now.members[i];
        targets[used++] =
            (struct worker_target){.target = upstreams_target(keeper->now.edition->upstreams, i),
                                   .addr = kept->addr,
                                   .shared = upstreams_shared(keeper->now.edition->upstreams, i)};
    }
    for (struct dyn_list *link = keeper->leaving.next; link != &keeper->leaving; link = link->next) {
        const struct kept *kept = DYN_CONTAINER_OF(link, struct kept, link);
        targets[used++] =
            (struct worker_target){.target = upstreams_target(kept->edition->upstreams, kept->index),
                                   .addr = kept->addr,
                                   .shared = upstreams_shared(kept->edition->upstreams, kept->index),
                                   .is_leaving = true};
    }
    worker_serve(keeper->worker, targets, used);
    free(targets);
}

static void
tell_router(struct keeper *keeper)
{
    size_t n = upstreams_count(keeper->now.edition->upstreams);
    bus_addr_t *addrs = dyn_zalloc((n + 1) * sizeof *addrs);
    for (size_t i = 0; i < n; i++) {
        addrs[i] = keeper->now.members[i] != NULL ? keeper->now.members[i]->addr : 0;
    }
    router_apply(keeper->router, keeper->now.edition->plan, addrs);
    free(addrs);
}

void
keeper_commit(keeper_t *keeper)
{
    struct team former = keeper->now;
    keeper->now = keeper->next;
    keeper->next = (struct team){.edition = NULL};
    for (size_t i = 0; former.edition != NULL && i < upstreams_count(former.edition->upstreams); i++) {
        if (former.members[i] != NULL && !is_in(&keeper->now, former.members[i])) {
            let_leave(keeper, former.members[i]);
        }
    }
    if (keeper->router != NULL) {
        tell_router(keeper);
    }
    if (keeper->worker != NULL) {
        tell_worker(keeper);
    }
    team_fini(&former); /* the worker looked at its targets until now */
    arm(keeper);
}

size_t
keeper_count(const keeper_t *keeper)
{
    size_t n = keeper->n_leaving;
    for (size_t i = 0; keeper->now.edition != NULL && i < upstreams_count(keeper->now.edition->upstreams);
         i++) {
        n += keeper->now.members[i] != NULL;
    }
    return n;
}

/* ---- leaving ---- */

static void
drain_due(struct bus_timer *timer)
{
    struct keeper *keeper = DYN_CONTAINER_OF(timer, struct keeper, timer);
    uint64_t now_us = bus_loop_now_us(keeper->loop);
    for (struct dyn_list *link = keeper->leaving.next; link != &keeper->leaving; link = link->next) {
        struct kept *kept = DYN_CONTAINER_OF(link, struct kept, link);
        if (!kept->is_draining && kept->drain_at_us <= now_us) {
            kept->is_draining = true;
            bus_drain_live_actor(keeper->me, kept->addr, now_us + LEAVING_DRAIN_MS * UINT64_C(1000),
                                 &keeper->idle);
        }
    }
    arm(keeper);
}

static bool
all_are_idle(const struct keeper *keeper)
{
    for (size_t i = 0; i < upstreams_count(keeper->now.edition->upstreams); i++) {
        const struct kept *kept = keeper->now.members[i];
        if (kept != NULL && !bus_live_actor_is_idle(keeper->me, kept->addr)) {
            return false;
        }
    }
    return dyn_list_is_empty(&keeper->leaving);
}

static void
remove_idle(struct bus_task *task)
{
    struct keeper *keeper = DYN_CONTAINER_OF(task, struct keeper, idle);
    struct dyn_list *next;
    for (struct dyn_list *link = keeper->leaving.next; link != &keeper->leaving; link = next) {
        struct kept *kept = DYN_CONTAINER_OF(link, struct kept, link);
        next = link->next;
        if (kept->is_draining && bus_live_actor_is_idle(keeper->me, kept->addr)) {
            if (keeper->worker != NULL) {
                worker_forget(keeper->worker, kept->addr);
            }
            keeper->n_leaving--;
            kept_free(keeper, kept);
        }
    }
    if (keeper->is_draining && all_are_idle(keeper)) {
        bus_actor_idle(keeper->me);
    }
}

/* ---- life ---- */

void
keeper_serves(keeper_t *keeper, void *router, void *worker)
{
    keeper->router = router != NULL ? router : keeper->router;
    keeper->worker = worker != NULL ? worker : keeper->worker;
}

keeper_t *
keeper_new(const struct keeper_options *options)
{
    struct keeper *keeper = dyn_zalloc(sizeof *keeper);
    keeper->options = *options;
    keeper->options.edition = gateway_edition_ref(options->edition);
    if (options->client != NULL) {
        keeper->options.client = http_client_ref(options->client);
    }
    keeper->timer.fire = drain_due;
    dyn_list_init(&keeper->leaving);
    bus_task_init(&keeper->idle, remove_idle);
    return keeper;
}

static int
keeper_start(void *self, bus_actor_t *me, struct dyn_err *err)
{
    struct keeper *keeper = self;
    keeper->me = me;
    keeper->loop = bus_actor_loop(me);
    if (keeper_prepare(keeper, keeper->options.edition, err) != 0) {
        return -1;
    }
    gateway_edition_unref(&keeper->options.edition);
    keeper_commit(keeper);
    return 0;
}

static void
keeper_receive(void *self, struct env **env_p)
{
    (void)self;
    env_free(env_p); /* nobody has its address */
}

static void
keeper_drain(void *self, uint64_t deadline_us)
{
    struct keeper *keeper = self;
    keeper->is_draining = true;
    keeper_abandon(keeper);
    for (size_t i = 0; i < upstreams_count(keeper->now.edition->upstreams); i++) {
        if (keeper->now.members[i] != NULL) {
            bus_drain_live_actor(keeper->me, keeper->now.members[i]->addr, deadline_us, &keeper->idle);
        }
    }
    for (struct dyn_list *link = keeper->leaving.next; link != &keeper->leaving; link = link->next) {
        struct kept *kept = DYN_CONTAINER_OF(link, struct kept, link);
        kept->is_draining = true;
        bus_drain_live_actor(keeper->me, kept->addr, deadline_us, &keeper->idle);
    }
    bus_task_queue(keeper->loop, &keeper->idle);
}

/* Its children have been stopped: nobody looks at their targets any more. */
static void
keeper_stop(void *self)
{
    struct keeper *keeper = self;
    keeper->is_draining = false;
    bus_task_cancel(&keeper->idle);
    bus_timer_fini(&keeper->timer);
    keeper_abandon(keeper);
    for (size_t i = 0; keeper->now.edition != NULL && i < upstreams_count(keeper->now.edition->upstreams);
         i++) {
        if (keeper->now.members[i] != NULL) {
            kept_free(keeper, keeper->now.members[i]);
        }
    }
    team_fini(&keeper->now);
    while (!dyn_list_is_empty(&keeper->leaving)) {
        kept_free(keeper, DYN_CONTAINER_OF(keeper->leaving.next, struct kept, link));
    }
    gateway_edition_unref(&keeper->options.edition);
    http_client_unref(&keeper->options.client);
    free(keeper);
}

const struct bus_actor_ops keeper_actor_ops = {
    .kind = "keeper",
    .start = keeper_start,
    .receive = keeper_receive,
    .drain = keeper_drain,
    .stop = keeper_stop,
};
