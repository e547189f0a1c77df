/* Links follow what the names of routers stand for: over real ports on several addresses of loopback, with
 * a name service and a clock that the test moves. */
#include "tests/unit/bus/keys.h"

#include "bus/links.h"
#include "bus/resolver.h"

#include <pthread.h>

enum { HOSTS = 3, ANY = 99 };

struct world;

/* A router: a port on 127.0.0.N. */
struct host {
    struct world *world;
    bus_port_t *port;
    unsigned joined;
    unsigned left;
};

struct world {
    pthread_mutex_t lock; /* everything below */
    pthread_cond_t changed;
    struct bus_addresses names; /* what "routers" stands for; n == ANY: nobody knows */
    unsigned lookups;
    uint64_t ahead_us; /* of the loop's clock */
    struct host hosts[HOSTS];
    unsigned up; /* links, as their owner heard it */
    unsigned down;
    unsigned called;

    struct dyn_clock clock;
    bus_security_t *security;
    struct bus_process process;
    struct bus_process link_process;
    bus_resolver_t *resolver;
    bus_t *bus;
    bus_loop_t *loop;
    bus_actor_t *me;
    bus_links_t *links;
    unsigned port_number;
};

static void
changed(struct world *world, unsigned *count)
{
    (void)pthread_mutex_lock(&world->lock);
    ++*count;
    (void)pthread_cond_broadcast(&world->changed);
    (void)pthread_mutex_unlock(&world->lock);
}

static void
wait_for(struct world *world, const unsigned *count, unsigned n)
{
    (void)pthread_mutex_lock(&world->lock);
    while (*count < n) {
        (void)pthread_cond_wait(&world->changed, &world->lock);
    }
    (void)pthread_mutex_unlock(&world->lock);
}

/* ---- name service and clock ---- */

static int
look_up(void *self, const char *host, struct bus_addresses *addresses, struct dyn_err *err)
{
    struct world *world = self;
    (void)pthread_mutex_lock(&world->lock);
    *addresses = world->names;
    world->lookups++;
    (void)pthread_cond_broadcast(&world->changed);
    (void)pthread_mutex_unlock(&world->lock);
    return addresses->n == ANY ? dyn_err_set(err, DYN_E_IO, "%s: nobody knows", host) : 0;
}

/* Bit N of `hosts`: 127.0.0.(N+1). */
static void
name_hosts(struct world *world, unsigned hosts)
{
    (void)pthread_mutex_lock(&world->lock);
    world->names.n = 0;
    for (unsigned i = 0; i < HOSTS; i++) {
        if ((hosts & (1u << i)) != 0) {
            (void)snprintf(world->names.text[world->names.n++], BUS_ADDRESS_TEXT, "127.0.0.%u", i + 1);
        }
    }
    (void)pthread_mutex_unlock(&world->lock);
}

static void
name_nobody(struct world *world)
{
    (void)pthread_mutex_lock(&world->lock);
    world->names.n = ANY;
    (void)pthread_mutex_unlock(&world->lock);
}

static uint64_t
world_mono_us(void *self)
{
    struct world *world = self;
    (void)pthread_mutex_lock(&world->lock);
    uint64_t now = dyn_mono_us(&dyn_clock_system) + world->ahead_us;
    (void)pthread_mutex_unlock(&world->lock);
    return now;
}

/* ---- calls on the loop ---- */

struct call {
    struct world *world;
    void (*fn)(struct world *world);
};

static void
run_call(void *arg)
{
    struct call *call = arg;
    call->fn(call->world);
    changed(call->world, &call->world->called);
}

static void
on_loop(struct world *world, void (*fn)(struct world *world))
{
    struct call call = {world, fn};
    unsigned before = world->called;
    bus_loop_post(world->loop, run_call, &call);
    wait_for(world, &world->called, before + 1);
}

static void
nothing(struct world *world)
{
    (void)world;
}

/* Until the names have been looked up anew and what came of it is done. */
static void
let_time_pass(struct world *world)
{
    (void)pthread_mutex_lock(&world->lock);
    unsigned lookups = world->lookups;
    world->ahead_us += (uint64_t)BUS_RESOLVE_MS * 1000;
    (void)pthread_mutex_unlock(&world->lock);
    on_loop(world, nothing);
    wait_for(world, &world->lookups, lookups + 1);
}

/* ---- the two ends ---- */

static void
host_receive(void *self, struct bus_peer *peer, struct env **env_p)
{
    struct host *host = self;
    (void)peer;
    changed(host->world, (*env_p)->kind == ENV_READY ? &host->joined : &host->left);
}

static void
host_ready(void *self, struct env *ready)
{
    (void)self;
    ready->role = DYN_SLICE("router");
}

static void
link_receive(void *self, struct bus_peer *peer, struct env **env_p)
{
    struct world *world = self;
    (void)peer;
    changed(world, (*env_p)->kind == ENV_READY ? &world->up : &world->down);
}

static void
link_ready(void *self, struct env *ready)
{
    (void)self;
    ready->role = DYN_SLICE("edge");
}

static const struct bus_remote_ops host_ops = {.receive = host_receive, .ready = host_ready};
static const struct bus_remote_ops link_ops = {.receive = link_receive, .ready = link_ready};

static int
open_host(struct world *world, unsigned i, struct dyn_err *err)
{
    char endpoint[64];
    (void)snprintf(endpoint, sizeof endpoint, "tcp://127.0.0.%u:%u", i + 1, world->port_number);
    struct bus_remote_options options = {
        .process = &world->process,
        .endpoint = endpoint,
        .roles = 1u << BUS_ROLE_EDGE | 1u << BUS_ROLE_CLIENT,
        .ops = &host_ops,
        .self = &world->hosts[i],
    };
    world->hosts[i].world = world;
    world->hosts[i].port = bus_port_open(world->me, &options, err);
    return world->hosts[i].port != NULL ? 0 : -1;
}

static int
world_start(void *self, bus_actor_t *me, struct dyn_err *err)
{
    struct world *world = self;
    struct bus_endpoint first;
    world->me = me;
    if (open_host(world, 0, err) != 0 ||
        bus_endpoint_parse(dyn_slice_str(bus_port_endpoint(world->hosts[0].port)), &first, err) != 0) {
        return -1;
    }
    world->port_number = first.port;
    return open_host(world, 1, err) != 0 || open_host(world, 2, err) != 0 ? -1 : 0;
}

static void
world_receive(void *self, struct env **env_p)
{
    (void)self;
    env_free(env_p);
}

static void
world_stop(void *self)
{
    struct world *world = self;
    bus_links_close(&world->links);
    for (unsigned i = 0; i < HOSTS; i++) {
        bus_port_close(&world->hosts[i].port);
    }
}

static const struct bus_actor_ops world_ops = {
    .kind = "world", .start = world_start, .receive = world_receive, .stop = world_stop};

static int
open_world(void **state)
{
    static struct world world;
    struct dyn_err err;
    memset(&world, 0, sizeof world);
    (void)pthread_mutex_init(&world.lock, NULL);
    (void)pthread_cond_init(&world.changed, NULL);
    world.clock = (struct dyn_clock){.mono_us = world_mono_us, .wall_us = world_mono_us, .self = &world};
    world.security = bus_security_new(&(struct bus_security_options){.insecure = true}, &err);
    bus_process_init(&world.process, world.security);
    bus_process_init(&world.link_process, world.security);
    world.resolver = bus_resolver_new_with(look_up, &world);
    world.bus = bus_new(&(struct bus_options){0}, &err);
    world.loop = bus_add_loop(world.bus, "world");
    bus_loop_set_clock(world.loop, &world.clock);
    (void)bus_add_actor(world.bus, world.loop, &world_ops, &world);
    if (bus_start(world.bus, &err) != 0) {
        fail_msg("%s", err.text);
    }
    *state = &world;
    return 0;
}

static int
close_world(void **state)
{
    struct world *world = *state;
    assert_int_equal(bus_stop(world->bus, 1000), 0);
    bus_free(&world->bus);
    bus_resolver_free(&world->resolver);
    bus_security_free(&world->security);
    return 0;
}

static bus_links_t *
links_to(struct world *world, const char *base, struct dyn_err *err)
{
    struct bus_remote_options options = {
        .process = &world->link_process,
        .ops = &link_ops,
        .self = world,
    };
    return bus_links_open(world->me, world->resolver, &base, 1, BUS_ENDPOINT_CLIENTS, &options, err);
}

static void
open_links(struct world *world)
{
    char base[64];
    struct dyn_err err;
    (void)snprintf(base, sizeof base, "tcp://routers:%u", world->port_number);
    world->links = links_to(world, base, &err);
    DYN_ASSERT(world->links != NULL);
}

static unsigned counted;

static void
count_links(struct world *world)
{
    counted = (unsigned)bus_links_count(world->links);
}

static unsigned
links_of(struct world *world)
{
    on_loop(world, count_links);
    return counted;
}

/* ---- tests ---- */

static void
every_address_of_a_name_gets_a_link(void **state)
{
    struct world *world = *state;
    name_hosts(world, 7);
    on_loop(world, open_links);
    wait_for(world, &world->up, 3);
    for (unsigned i = 0; i < HOSTS; i++) {
        wait_for(world, &world->hosts[i].joined, 1);
    }
    let_time_pass(world);
    let_time_pass(world);
    assert_int_equal(links_of(world), 3);
    assert_int_equal(world->up, 3);
    assert_int_equal(world->down, 0);
}

static void
a_new_address_is_joined_and_an_old_one_kept_while_it_is_up(void **state)
{
    struct world *world = *state;
    name_hosts(world, 1);
    on_loop(world, open_links);
    wait_for(world, &world->hosts[0].joined, 1);
    wait_for(world, &world->up, 1);
    name_hosts(world, 6);
    let_time_pass(world);
    wait_for(world, &world->hosts[1].joined, 1);
    wait_for(world, &world->hosts[2].joined, 1);
    let_time_pass(world);
    assert_int_equal(links_of(world), 3);
    assert_int_equal(world->hosts[0].left, 0);
}

static void
close_first_port(struct world *world)
{
    bus_port_close(&world->hosts[0].port);
}

static void
drain_first_port(struct world *world)
{
    bus_port_drain(world->hosts[0].port);
}

/* What is in flight over it may still finish. */
static void
a_router_that_drains_keeps_its_link(void **state)
{
    struct world *world = *state;
    name_hosts(world, 1);
    on_loop(world, open_links);
    wait_for(world, &world->up, 1);
    on_loop(world, drain_first_port);
    wait_for(world, &world->down, 1); /* GOODBYE drain */
    name_hosts(world, 2);
    let_time_pass(world);
    wait_for(world, &world->hosts[1].joined, 1);
    let_time_pass(world);
    assert_int_equal(links_of(world), 2);
    on_loop(world, close_first_port);
    wait_for(world, &world->down, 2);
    let_time_pass(world);
    let_time_pass(world);
    assert_int_equal(links_of(world), 1);
}

static void
a_lost_address_that_nobody_names_is_given_up(void **state)
{
    struct world *world = *state;
    name_hosts(world, 3);
    on_loop(world, open_links);
    wait_for(world, &world->up, 2);
    on_loop(world, close_first_port);
    wait_for(world, &world->down, 1);
    let_time_pass(world);
    let_time_pass(world);
    assert_int_equal(links_of(world), 2); /* named: tried again and again */
    name_hosts(world, 2);
    let_time_pass(world);
    let_time_pass(world); /* the answer to the first has come by the second */
    assert_int_equal(links_of(world), 1);
}

static void
a_name_that_is_not_known_yet_is_asked_for_again(void **state)
{
    struct world *world = *state;
    name_nobody(world);
    on_loop(world, open_links);
    wait_for(world, &world->lookups, 1);
    let_time_pass(world);
    assert_int_equal(links_of(world), 0);
    name_hosts(world, 4);
    let_time_pass(world);
    wait_for(world, &world->hosts[2].joined, 1);
}

static void
a_name_that_is_forgotten_keeps_its_links(void **state)
{
    struct world *world = *state;
    name_hosts(world, 1);
    on_loop(world, open_links);
    wait_for(world, &world->up, 1);
    name_nobody(world);
    on_loop(world, close_first_port);
    wait_for(world, &world->down, 1);
    let_time_pass(world);
    let_time_pass(world);
    assert_int_equal(links_of(world), 1);
}

static void
open_drained_links(struct world *world)
{
    open_links(world);
    bus_links_drain(world->links);
}

/* Who drains says so to a router that comes later too. */
static void
draining_reaches_who_comes_later(void **state)
{
    struct world *world = *state;
    name_hosts(world, 1);
    on_loop(world, open_drained_links);
    wait_for(world, &world->hosts[0].joined, 1);
    wait_for(world, &world->hosts[0].left, 1);
}

static void
open_localhost(struct world *world)
{
    char base[64];
    struct dyn_err err;
    (void)snprintf(base, sizeof base, "tcp://localhost:%u", world->port_number);
    world->links = links_to(world, base, &err);
    DYN_ASSERT(world->links != NULL);
}

static void
a_number_needs_no_name_service(void **state)
{
    struct world *world = *state;
    on_loop(world, open_localhost);
    wait_for(world, &world->hosts[0].joined, 1);
    assert_int_equal(world->lookups, 0);
}

static void
open_broken_ones(struct world *world)
{
    static const struct {
        const char *base;
        const char *says;
    } broken[] = {
        {"routers", "write tcp://HOST:PORT"},
        {"tcp://*:7400", "not connected to"},
        {"tcp://127.0.0.1:0", "not connected to"},
    };
    struct dyn_err err;
    for (size_t i = 0; i < DYN_ARRAY_LEN(broken); i++) {
        DYN_ASSERT(links_to(world, broken[i].base, &err) == NULL);
        DYN_ASSERT(strstr(err.text, broken[i].says) != NULL);
    }
}

static void
what_can_never_work_is_refused(void **state)
{
    on_loop(*state, open_broken_ones);
}

static struct bus_process *other_process;

static void
open_elsewhere(struct world *world)
{
    struct dyn_err err;
    const char *base = "tcp://routers:7400";
    struct bus_remote_options options = {.process = other_process, .ops = &link_ops, .self = world};
    DYN_ASSERT(bus_links_open(world->me, world->resolver, &base, 1, BUS_ENDPOINT_WORKERS, &options, &err) ==
               NULL);
    DYN_ASSERT(strstr(err.text, bus_security_has_curve(other_process->security)
                                    ? "bus.curve.servers"
                                    : "dynabus keys new") != NULL);
}

static void
keys_are_asked_for_at_once(void **state)
{
    struct world *world = *state;
    struct keys keys;
    struct bus_cert cert;
    struct bus_process process;
    struct dyn_err err;
    bus_security_t *plain = bus_security_new(&(struct bus_security_options){0}, &err);
    bus_process_init(&process, plain);
    other_process = &process;
    on_loop(world, open_elsewhere);
    bus_security_free(&plain);

    keys_open(&keys);
    keys_make(&keys, "edge", BUS_ROLE_EDGE, false, &cert);
    bus_security_t *curve =
        bus_security_new(&(struct bus_security_options){.cert = keys_path(&keys, "edge.key")}, &err);
    bus_process_init(&process, curve);
    on_loop(world, open_elsewhere);
    bus_security_free(&curve);
    keys_close(&keys);
}

int
main(void)
{
#define WITH_WORLD(test) cmocka_unit_test_setup_teardown(test, open_world, close_world)
    const struct CMUnitTest tests[] = {
        WITH_WORLD(every_address_of_a_name_gets_a_link),
        WITH_WORLD(a_new_address_is_joined_and_an_old_one_kept_while_it_is_up),
        WITH_WORLD(a_router_that_drains_keeps_its_link),
        WITH_WORLD(a_lost_address_that_nobody_names_is_given_up),
        WITH_WORLD(a_name_that_is_not_known_yet_is_asked_for_again),
        WITH_WORLD(a_name_that_is_forgotten_keeps_its_links),
        WITH_WORLD(draining_reaches_who_comes_later),
        WITH_WORLD(a_number_needs_no_name_service),
        WITH_WORLD(what_can_never_work_is_refused),
        WITH_WORLD(keys_are_asked_for_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
