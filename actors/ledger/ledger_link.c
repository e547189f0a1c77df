#include "actors/ledger/ledger_link.h"

#include "core/log.h"

#include <stdio.h>
#include <stdlib.h>

enum { NAME_SIZE = 48, REQUESTS_MAX = 4096, DRAIN_GRACE_MS = 1000, ROUTERS_MAX = 64 };

struct ledger_link {
    struct ledger_link_options options;
    char name[NAME_SIZE];
    bus_actor_t *me;
    bus_links_t *links;
    struct bus_timer drain;
    bus_addr_t routers[ROUTERS_MAX]; /* that have said READY: the first one is told this process's numbers */
    size_t n_routers;
};

static void
note_router(struct ledger_link *link, bus_addr_t router, bool is_there)
{
    size_t kept = 0;
    for (size_t i = 0; i < link->n_routers; i++) {
        if (link->routers[i] != router) {
            link->routers[kept++] = link->routers[i];
        }
    }
    link->n_routers = kept;
    if (is_there && kept < ROUTERS_MAX) {
        link->routers[link->n_routers++] = router;
    }
}

static void
on_envelope(void *self, struct bus_peer *peer, struct env **env_p)
{
    struct ledger_link *link = self;
    enum env_kind kind = (*env_p)->kind;
    if (kind == ENV_REQUEST || kind == ENV_CONFIG) {
        bus_addr_t to = kind == ENV_REQUEST ? link->options.ledger : link->options.reloader;
        if (bus_send_as(link->me, peer->addr, to, env_p, NULL) != 0) {
            env_free(env_p); /* it takes no more: the journal gives the question up, and sends rows again */
        }
    } else if (kind == ENV_READY || kind == ENV_GOODBYE) {
        note_router(link, peer->addr, kind == ENV_READY);
        dyn_log(DYN_LOG_INFO, kind == ENV_READY ? "ledger.router" : "ledger.router_gone",
                kind == ENV_READY ? "joined a router" : "a router is gone, or drains",
                DYN_LOG_SLICE("node", peer->node), DYN_LOG_SLICE("reason", (*env_p)->reason));
    }
}

static void
fill_ready(void *self, struct env *ready)
{
    const struct ledger_link *link = self;
    ready->role = dyn_slice_str(bus_role_name(BUS_ROLE_LEDGER));
    ready->worker = env_copy(ready, dyn_slice_str(link->name));
    ready->requests = REQUESTS_MAX;
}

static const struct bus_remote_ops router_ops = {.receive = on_envelope, .ready = fill_ready};

static int
link_start(void *self, bus_actor_t *me, struct dyn_err *err)
{
    struct ledger_link *link = self;
    const struct ledger_link_options *options = &link->options;
    struct bus_remote_options remote = {
        .process = options->process,
        .roles = 1u << BUS_ROLE_ROUTER,
        .kinds = 1u << ENV_REQUEST | 1u << ENV_CANCEL | 1u << ENV_CREDIT | 1u << ENV_CONFIG,
        .ops = &router_ops,
        .self = link,
    };
    link->me = me;
    (void)snprintf(link->name, sizeof link->name, "%.32s-ledger", options->process->node);
    link->links = bus_links_open(me, options->resolver, options->routers, options->n_routers,
                                 BUS_ENDPOINT_WORKERS, &remote, err);
    return link->links != NULL ? 0 : -1;
}

static void
link_receive(void *self, struct env **env_p)
{
    const struct ledger_link *link = self;
    bool is_event = (*env_p)->kind == ENV_EVENT && link->n_routers > 0; /* work comes over the links */
    if (!is_event || bus_send(link->me, link->routers[0], env_p, NULL) != 0) {
        env_free(env_p);
    }
}

static void
on_drain(struct bus_timer *timer)
{
    bus_actor_idle(DYN_CONTAINER_OF(timer, struct ledger_link, drain)->me);
}

/* What was asked before a journal heard that this process drains is still answered. */
static void
link_drain(void *self, uint64_t deadline_us)
{
    struct ledger_link *link = self;
    (void)deadline_us;
    bus_links_drain(link->links);
    bus_timer_arm(bus_actor_loop(link->me), &link->drain, DRAIN_GRACE_MS);
}

static void
link_stop(void *self)
{
    struct ledger_link *link = self;
    if (link->links != NULL) {
        bus_links_close(&link->links);
    }
    bus_timer_fini(&link->drain);
    free(link);
}

void *
ledger_link_new(const struct ledger_link_options *options)
{
    struct ledger_link *link = dyn_zalloc(sizeof *link);
    link->options = *options;
    link->drain.fire = on_drain;
    return link;
}

const struct bus_actor_ops ledger_link_ops = {
    .kind = "ledger-link",
    .start = link_start,
    .receive = link_receive,
    .drain = link_drain,
    .stop = link_stop,
};
