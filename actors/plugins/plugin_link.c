#include "actors/plugins/plugin_link.h"

#include "core/log.h"
#include "proto/plugin_ready.h"

#include <stdio.h>
#include <stdlib.h>

enum {
    REQUESTS_MAX = 65536, /* ASKs of one router that have no VOTE yet: each costs about a kilobyte */
    NAME_SIZE = 48,
    DRAIN_LOOK_MS = 20,
    DRAIN_QUIET_US = 2 * 1000 * 1000, /* what is asked for so long without a vote is asked no more */
};

struct plugin_link {
    struct plugin_link_options options;
    char name[NAME_SIZE];
    bus_actor_t *me;
    bus_loop_t *loop;
    bus_links_t *links;
    uint64_t
        asks; /* that have no vote yet: some never get one, when they are withdrawn or their router is gone */
    uint64_t heard_us; /* when the last one came, or the last vote went */
    uint64_t drain_until_us;
    struct bus_timer drain;
};

/* ---- routers ---- */

static void
pass_on(struct plugin_link *link, const struct bus_peer *peer, bus_addr_t to, struct env **env_p)
{
    bool wants_vote = (*env_p)->kind == ENV_ASK && !(*env_p)->tell;
    if (bus_send_as(link->me, peer->addr, to, env_p, NULL) != 0) {
        env_free(env_p); /* it takes no more: who asked waits no longer than its time limit */
        return;
    }
    link->asks += wants_vote;
    link->heard_us = bus_loop_now_us(link->loop);
}

static void
on_envelope(void *self, struct bus_peer *peer, struct env **env_p)
{
    struct plugin_link *link = self;
    switch ((int)(*env_p)->kind) {
    case ENV_ASK:
    case ENV_CANCEL:
        pass_on(link, peer, link->options.plugins, env_p);
        break;
    case ENV_CONFIG:
        pass_on(link, peer, link->options.reloader, env_p);
        break;
    case ENV_READY:
        dyn_log(DYN_LOG_INFO, "plugins.router", "joined a router", DYN_LOG_SLICE("node", peer->node));
        break;
    case ENV_GOODBYE:
        dyn_log(DYN_LOG_INFO, "plugins.router_gone", "a router is gone, or drains",
                DYN_LOG_SLICE("reason", (*env_p)->reason));
        break;
    default:
        break;
    }
}

static void
on_sending(void *self, struct bus_peer *peer, struct env *env)
{
    struct plugin_link *link = self;
    (void)peer;
    if (env->kind == ENV_VOTE && link->asks > 0) {
        link->asks--;
        link->heard_us = bus_loop_now_us(link->loop);
    }
}

static void
fill_ready(void *self, struct env *ready)
{
    const struct plugin_link *link = self;
    struct plugin_said said[PLUGINS_MAX];
    struct dyn_buf body = DYN_BUF_INIT;
    size_t n = plugin_set_count(link->options.set);
    for (size_t i = 0; i < n; i++) {
        const struct plugin_instance *instance = plugin_set_at(link->options.set, i);
        said[i] = (struct plugin_said){.name = instance->name,
                                       .stages = instance->traits.stages,
                                       .needs = instance->traits.needs,
                                       .charges = instance->traits.charges,
                                       .amends = instance->traits.amends,
                                       .answers = instance->traits.answers,
                                       .watches = instance->traits.watches};
    }
    plugin_ready_encode(said, n, &body);
    ready->role = dyn_slice_str(bus_role_name(BUS_ROLE_PLUGIN));
    ready->worker = env_copy(ready, dyn_slice_str(link->name));
    ready->requests = REQUESTS_MAX;
    ready->body = dyn_block_copy(0, dyn_buf_slice(&body));
    dyn_buf_fini(&body);
}

static const struct bus_remote_ops router_ops = {
    .receive = on_envelope,
    .sending = on_sending,
    .ready = fill_ready,
};

/* ---- life ---- */

static int
open_links(struct plugin_link *link, struct dyn_err *err)
{
    const struct plugin_link_options *options = &link->options;
    struct bus_remote_options remote = {
        .process = options->process,
        .roles = 1u << BUS_ROLE_ROUTER,
        .kinds = 1u << ENV_ASK | 1u << ENV_CANCEL | 1u << ENV_CONFIG,
        .ops = &router_ops,
        .self = link,
    };
    link->links = bus_links_open(link->me, options->resolver, options->routers, options->n_routers,
                                 BUS_ENDPOINT_WORKERS, &remote, err);
    return link->links != NULL ? 0 : -1;
}

/* A process that hosts nothing has nothing to say to routers. */
static int
link_start(void *self, bus_actor_t *me, struct dyn_err *err)
{
    struct plugin_link *link = self;
    link->me = me;
    link->loop = bus_actor_loop(me);
    (void)snprintf(link->name, sizeof link->name, "%.32s-%u", link->options.process->node,
                   link->options.cell);
    return plugin_set_count(link->options.set) > 0 ? open_links(link, err) : 0;
}

static void
link_receive(void *self, struct env **env_p)
{
    (void)self;
    env_free(env_p); /* work comes over the links */
}

static void
look_whether_idle(struct bus_timer *timer)
{
    struct plugin_link *link = DYN_CONTAINER_OF(timer, struct plugin_link, drain);
    uint64_t now_us = bus_loop_now_us(link->loop);
    bool is_quiet = now_us - link->heard_us >= DRAIN_QUIET_US;
    if (link->asks == 0 || is_quiet || now_us >= link->drain_until_us) {
        bus_actor_idle(link->me);
        return;
    }
    bus_timer_arm(link->loop, timer, DRAIN_LOOK_MS);
}

/* What was asked before a router heard that this process drains is still answered. */
static void
link_drain(void *self, uint64_t deadline_us)
{
    struct plugin_link *link = self;
    link->drain_until_us = deadline_us;
    if (link->links != NULL) {
        bus_links_drain(link->links);
    }
    bus_timer_arm(link->loop, &link->drain, link->links != NULL ? DRAIN_LOOK_MS : 0);
}

static void
link_stop(void *self)
{
    struct plugin_link *link = self;
    if (link->links != NULL) {
        bus_links_close(&link->links);
    }
    bus_timer_fini(&link->drain);
    plugin_set_unref(&link->options.set);
    free(link);
}

void
plugin_link_apply(void *self, plugin_set_t *set)
{
    struct plugin_link *link = self;
    plugin_set_t *former = link->options.set;
    struct dyn_err err;
    link->options.set = plugin_set_ref(set);
    plugin_set_unref(&former);
    if (plugin_set_count(set) == 0 && link->links != NULL) {
        bus_links_close(&link->links);
    } else if (link->links != NULL) {
        (void)bus_links_say_ready(link->links);
    } else if (link->me != NULL && plugin_set_count(set) > 0 && open_links(link, &err) != 0) {
        dyn_log(DYN_LOG_ERROR, "plugins.link", err.text);
    }
}

void *
plugin_link_new(const struct plugin_link_options *options)
{
    struct plugin_link *link = dyn_zalloc(sizeof *link);
    link->options = *options;
    link->options.set = plugin_set_ref(options->set);
    link->drain.fire = look_whether_idle;
    return link;
}

const struct bus_actor_ops plugin_link_ops = {
    .kind = "plugin-link",
    .start = link_start,
    .receive = link_receive,
    .drain = link_drain,
    .stop = link_stop,
};
