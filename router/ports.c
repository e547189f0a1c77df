/* The ports actor: its life, its two ports, and what both have in common. See ports.h. */
#include "router/ports_impl.h"

#include "core/rand.h"

#include <stdlib.h>

#define KIND(kind)     (1u << (kind))
#define ROLE_BIT(role) (1u << BUS_ROLE_##role)

/* ---- to the routers ---- */

bus_addr_t
ports_router_of(const struct ports *ports, const struct env_id *id)
{
    uint64_t tail; /* the front is what maps hash by */
    memcpy(&tail, id->bytes + sizeof id->bytes - sizeof tail, sizeof tail);
    return ports->routers[tail % ports->options.n_routers];
}

/* What a peer says of itself; the body is the same block. */
static struct env *
copy_of(const struct env *env)
{
    struct env *copy = env_new(env->kind);
    copy->role = env_copy(copy, env->role);
    copy->worker = env_copy(copy, env->worker);
    copy->node = env_copy(copy, env->node);
    copy->config_hash = env_copy(copy, env->config_hash);
    copy->reason = env_copy(copy, env->reason);
    copy->requests = env->requests;
    copy->request_bytes = env->request_bytes;
    copy->body = env->body != NULL ? dyn_block_ref(env->body) : NULL;
    return copy;
}

void
ports_tell_all(struct ports *ports, bus_addr_t peer, struct env **env_p)
{
    for (size_t i = 0; i < ports->options.n_routers; i++) {
        struct env *copy = copy_of(*env_p);
        if (bus_send_as(ports->me, peer, ports->routers[i], &copy, NULL) != 0) {
            env_free(&copy); /* the router has stopped */
        }
    }
    env_free(env_p);
}

void
ports_publish(struct ports *ports, bus_addr_t peer, struct env **env_p)
{
    bus_addr_t publisher = ports->options.publisher;
    if (publisher == 0 || bus_send_as(ports->me, peer, publisher, env_p, NULL) != 0) {
        ports_count(&ports->options.counters->events_lost);
    }
}

/* ---- draining ---- */

static void
look_whether_idle(struct bus_timer *timer)
{
    struct ports *ports = DYN_CONTAINER_OF(timer, struct ports, drain_timer);
    uint64_t now_us = bus_loop_now_us(ports->loop);
    bool may_cross = !dyn_list_is_empty(&ports->peers) && now_us < ports->idle_from_us;
    if (ports->n_requests == 0 && !may_cross) {
        bus_actor_idle(ports->me);
        return;
    }
    if (now_us >= ports->give_up_at_us) {
        ports->give_up_at_us = UINT64_MAX;
        ports_end_all(ports, ERR_DRAINING);
    }
    bus_timer_arm(ports->loop, &ports->drain_timer, PORTS_DRAIN_LOOK_MS);
}

static void
ports_drain(void *self, uint64_t deadline_us)
{
    struct ports *ports = self;
    uint64_t now_us = bus_loop_now_us(ports->loop);
    uint64_t left_us = deadline_us > now_us ? deadline_us - now_us : 0;
    ports->idle_from_us = now_us + (uint64_t)PORTS_DRAIN_GRACE_MS * 1000;
    ports->give_up_at_us = now_us + left_us / 100 * PORTS_GIVE_UP_PERCENT;
    if (ports->clients != NULL) {
        bus_port_drain(ports->clients);
    }
    if (ports->workers != NULL) {
        bus_port_drain(ports->workers);
    }
    look_whether_idle(&ports->drain_timer);
}

/* ---- life ---- */

static void
shed(struct bus_keeper *keeper)
{
    struct ports *ports = DYN_CONTAINER_OF(keeper, struct ports, spare_keeper);
    for (struct dyn_list *link; (link = dyn_list_pop(&ports->spare)) != NULL;) {
        free(DYN_CONTAINER_OF(link, struct ports_request, link));
    }
    ports->n_spare = 0;
}

void
ports_init(struct ports *ports, const struct ports_options *options)
{
    DYN_ASSERT(options->n_routers > 0);
    *ports = (struct ports){.options = *options, .drain_timer = {.fire = look_whether_idle}};
    ports->routers = dyn_alloc(options->n_routers * sizeof *ports->routers);
    memcpy(ports->routers, options->routers, options->n_routers * sizeof *ports->routers);
    if (ports->options.counters == NULL) {
        ports->options.counters = &ports->own_counters;
    }
    if (ports->options.requests_max == 0) {
        ports->options.requests_max = PORTS_REQUESTS_READY;
    }
    if (ports->options.request_bytes_max == 0) {
        ports->options.request_bytes_max = PORTS_REQUEST_BYTES;
    }
    dyn_random_bytes(ports->salt, sizeof ports->salt);
    key_cell_init(&ports->keys, options->admission != NULL ? options->admission->keys : NULL);
    env_map_init(&ports->by_id);
    dyn_list_init(&ports->peers);
    dyn_list_init(&ports->requests);
    dyn_list_init(&ports->spare);
    bus_keeper_init(&ports->spare_keeper, shed);
    env_map_init(&ports->calls);
}

void
ports_started(struct ports *ports, bus_actor_t *me)
{
    ports->me = me;
    ports->loop = bus_actor_loop(me);
    bus_keeper_add(ports->loop, &ports->spare_keeper);
}

void
ports_fini(struct ports *ports)
{
    while (!dyn_list_is_empty(&ports->peers)) {
        ports_client_free(DYN_CONTAINER_OF(ports->peers.next, struct ports_client, link));
    }
    shed(&ports->spare_keeper);
    bus_keeper_remove(&ports->spare_keeper);
    ports_forget_calls(ports, 0);
    ports_config_fini(ports);
    key_cell_fini(&ports->keys);
    env_map_fini(&ports->calls);
    bus_timer_fini(&ports->drain_timer);
    env_map_fini(&ports->by_id);
    free(ports->routers);
}

void *
ports_new(const struct ports_options *options)
{
    struct ports *ports = dyn_zalloc(sizeof *ports);
    ports_init(ports, options);
    return ports;
}

static int
open_clients(struct ports *ports, struct dyn_err *err)
{
    char endpoint[BUS_ENDPOINT_MAX];
    struct bus_remote_options options = {
        .process = ports->options.process,
        .endpoint = endpoint,
        .roles = ROLE_BIT(EDGE) | ROLE_BIT(CLIENT) | ROLE_BIT(ADMIN) | ROLE_BIT(SUBSCRIBER),
        .kinds = KIND(ENV_REQUEST) | KIND(ENV_CANCEL) | KIND(ENV_CREDIT) | KIND(ENV_EVENT) |
                 KIND(ENV_CONFIG) | KIND(ENV_ACK),
        .body_max = ports->options.request_body_max,
        .ops = &ports_client_ops,
        .self = ports,
    };
    bus_endpoint_text(&ports->options.base, BUS_ENDPOINT_CLIENTS, endpoint);
    ports->clients = bus_port_open(ports->me, &options, err);
    return ports->clients != NULL ? 0 : -1;
}

static int
open_workers(struct ports *ports, struct dyn_err *err)
{
    char endpoint[BUS_ENDPOINT_MAX];
    struct bus_remote_options options = {
        .process = ports->options.process,
        .endpoint = endpoint,
        .roles = ROLE_BIT(WORKER) | ROLE_BIT(PLUGIN) | ROLE_BIT(LEDGER),
        .kinds = KIND(ENV_VOTE) | KIND(ENV_DISPATCHED) | KIND(ENV_CHUNK) | KIND(ENV_END) | KIND(ENV_EVENT) |
                 KIND(ENV_HEARTBEAT) | KIND(ENV_ACK),
        .ops = &ports_worker_ops,
        .self = ports,
    };
    bus_endpoint_text(&ports->options.base, BUS_ENDPOINT_WORKERS, endpoint);
    ports->workers = bus_port_open(ports->me, &options, err);
    return ports->workers != NULL ? 0 : -1;
}

static int
ports_start(void *self, bus_actor_t *me, struct dyn_err *err)
{
    struct ports *ports = self;
    ports_started(ports, me);
    if (ports->options.clients && open_clients(ports, err) != 0) {
        return -1;
    }
    return ports->options.workers ? open_workers(ports, err) : 0;
}

static void
ports_receive(void *self, struct env **env_p)
{
    struct ports *ports = self; /* actors of this process answer peers, not us */
    ports_count(&ports->options.counters->late);
    env_free(env_p);
}

static void
ports_stop(void *self)
{
    struct ports *ports = self;
    if (ports->clients != NULL) {
        bus_port_close(&ports->clients);
    }
    if (ports->workers != NULL) {
        bus_port_close(&ports->workers);
    }
    ports_fini(ports);
    free(ports);
}

const char *
ports_clients_endpoint(const void *self)
{
    const struct ports *ports = self;
    return ports->clients != NULL ? bus_port_endpoint(ports->clients) : NULL;
}

const char *
ports_workers_endpoint(const void *self)
{
    const struct ports *ports = self;
    return ports->workers != NULL ? bus_port_endpoint(ports->workers) : NULL;
}

const struct bus_actor_ops ports_actor_ops = {
    .kind = "ports",
    .start = ports_start,
    .receive = ports_receive,
    .drain = ports_drain,
    .stop = ports_stop,
};
