/* The owner as an actor of the gateway: its links to the routers of the configuration. No decisions here. */
#include "edge/owner_impl.h"

#include <stdlib.h>

#define KIND(kind) (1u << (kind))

static void
on_link(void *self, struct bus_peer *peer, struct env **env_p)
{
    struct owner *owner = self;
    if ((*env_p)->kind == ENV_CONFIG) {
        if (bus_send_as(owner->me, peer->addr, owner->options.reloader, env_p, NULL) != 0) {
            env_free(env_p);
        }
        return;
    }
    peer->user = owner_from_peer(self, peer->user, peer->addr, env_p);
}

static void
say_ready(void *self, struct env *ready)
{
    (void)self;
    ready->role = DYN_SLICE("edge");
}

static const struct bus_remote_ops link_ops = {.receive = on_link, .ready = say_ready};

void *
owner_new(const struct owner_options *options)
{
    struct owner *owner = dyn_zalloc(sizeof *owner);
    owner_init(owner, options);
    return owner;
}

void
owner_apply(void *self, uint64_t request_timeout_ms)
{
    struct owner *owner = self;
    owner->options.request_timeout_ms = request_timeout_ms;
    if (owner->links != NULL && !owner->is_draining) {
        (void)bus_links_say_ready(owner->links); /* to show the hash: who is too old for it may go without */
    }
}

static int
owner_start(void *self, bus_actor_t *me, struct dyn_err *err)
{
    struct owner *owner = self;
    const struct owner_options *options = &owner->options;
    struct bus_remote_options remote = {
        .process = options->process,
        .kinds = KIND(ENV_DISPATCHED) | KIND(ENV_CHUNK) | KIND(ENV_END) | KIND(ENV_CONFIG),
        .ops = &link_ops,
        .self = owner,
    };
    owner_started(owner, me);
    owner->links = bus_links_open(me, options->resolver, options->routers, options->n_routers,
                                  BUS_ENDPOINT_CLIENTS, &remote, err);
    return owner->links != NULL ? 0 : -1;
}

static void
owner_stop(void *self)
{
    struct owner *owner = self;
    if (owner->links != NULL) {
        bus_links_close(&owner->links);
    }
    owner_fini(owner);
    free(owner);
}

const struct bus_actor_ops owner_actor_ops = {
    .kind = "owner",
    .start = owner_start,
    .receive = owner_receive,
    .drain = owner_drain,
    .stop = owner_stop,
};
