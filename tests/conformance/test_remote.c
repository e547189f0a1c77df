/* Ports, links and peers between two gateways: who joins, what passes, who leaves and how that is known. */
#include "proto/env_codec.h"
#include "tests/conformance/wires.h"

enum { ECHOES = 1000, NEVER_WAITED_MS = 20000 };

struct end {
    struct gate gate;
    struct bus_process process;
    struct bus_remote_options options;
    bus_actor_t *me;
    bus_port_t *port;
    bus_link_t *link;
    char endpoint[256];
    unsigned echoed;
    unsigned goodbyes;
    char reason[32];
};

static void
end_ready(void *self, struct env *ready)
{
    const struct end *end = self;
    ready->role = env_copy(ready, end->options.roles != 0 ? DYN_SLICE("router") : DYN_SLICE("worker"));
    ready->requests = 7;
}

static void
end_goodbye(struct end *end, const struct env *env)
{
    (void)snprintf(end->reason, sizeof end->reason, "%.*s", (int)env->reason.len, env->reason.data);
    end->goodbyes++;
    gate_open(&end->gate);
}

/* The port sends back what it gets. */
static void
port_receive(void *self, struct bus_peer *peer, struct env **env_p)
{
    struct end *end = self;
    struct env *env = *env_p;
    if (env->kind == ENV_READY) {
        CHECK(peer->role == BUS_ROLE_WORKER && peer->is_ready && env->requests == 7);
    } else if (env->kind == ENV_GOODBYE) {
        end_goodbye(end, env);
    } else {
        CHECK(bus_send(end->me, peer->addr, env_p, NULL) == 0);
    }
}

static void
link_receive(void *self, struct bus_peer *peer, struct env **env_p)
{
    struct end *end = self;
    struct env *env = *env_p;
    if (env->kind == ENV_READY) {
        CHECK(bus_link_is_up(end->link) && peer->minor == ENV_VERSION_MINOR);
    } else if (env->kind == ENV_GOODBYE) {
        end_goodbye(end, env);
        return;
    } else {
        CHECK(env->sequence == end->echoed && dyn_slice_is(dyn_block_slice(env->body), "echo"));
        if (++end->echoed == ECHOES) {
            gate_open(&end->gate);
            return;
        }
    }
    struct env *next = wire_envelope(ENV_CHUNK);
    next->sequence = end->echoed;
    next->body = dyn_block_copy(0, DYN_SLICE("echo"));
    CHECK(bus_send(end->me, peer->addr, &next, NULL) == 0);
}

static const struct bus_remote_ops port_ops = {.receive = port_receive, .ready = end_ready};
static const struct bus_remote_ops link_ops = {.receive = link_receive, .ready = end_ready};

static int
end_start(void *self, bus_actor_t *me, struct dyn_err *err)
{
    struct end *end = self;
    end->me = me;
    if (end->options.roles != 0) {
        end->port = bus_port_open(me, &end->options, err);
        return end->port != NULL ? 0 : -1;
    }
    end->link = bus_link_open(me, &end->options, err);
    return end->link != NULL ? 0 : -1;
}

static void
end_receive(void *self, struct env **env_p)
{
    (void)self;
    (void)env_p;
}

static void
end_stop(void *self)
{
    struct end *end = self;
    bus_port_close(&end->port);
    bus_link_close(&end->link);
}

static const struct bus_actor_ops end_ops = {
    .kind = "end", .start = end_start, .receive = end_receive, .stop = end_stop};

static bus_t *
start_end(struct end *end, const char *endpoint, uint32_t roles, bus_security_t *security, unsigned openings)
{
    struct dyn_err err;
    bus_t *bus = bus_new(NULL, &err);
    gate_init(&end->gate, openings);
    bus_process_init(&end->process, security);
    end->options = (struct bus_remote_options){.process = &end->process,
                                               .endpoint = endpoint,
                                               .roles = roles,
                                               .kinds = 1u << ENV_CHUNK,
                                               .ops = roles != 0 ? &port_ops : &link_ops,
                                               .self = end};
    (void)bus_add_actor(bus, bus_add_loop(bus, roles != 0 ? "port" : "link"), &end_ops, end);
    CHECK(bus_start(bus, &err) == 0);
    return bus;
}

static void
a_link_joins_talks_and_leaves(void **state)
{
    (void)state;
    struct dyn_err err;
    bus_security_t *security = bus_security_new(&(struct bus_security_options){.insecure = true}, &err);
    struct end port = {0};
    struct end link = {0};
    bus_t *port_bus = start_end(&port, "tcp://127.0.0.1:*", 1u << BUS_ROLE_WORKER, security, 1);
    bus_t *link_bus = start_end(&link, bus_port_endpoint(port.port), 0, security, 1);
    gate_wait(&link.gate);
    (void)bus_stop(link_bus, NEVER_WAITED_MS);
    bus_free(&link_bus);
    gate_wait(&port.gate);
    (void)bus_stop(port_bus, NEVER_WAITED_MS);
    bus_free(&port_bus);
    assert_int_equal(link.echoed, ECHOES);
    assert_int_equal(port.goodbyes, 1);
    assert_string_equal(port.reason, "close");
    assert_int_equal(port.process.peers_joined, 1);
    assert_int_equal(port.process.peers_lost, 0);
    bus_security_free(&security);
}

/* Known at once, not after the time of a silent peer. */
static void
a_router_that_ends_is_missed_and_found_again(void **state)
{
    (void)state;
    struct dyn_err err;
    bus_security_t *security = bus_security_new(&(struct bus_security_options){.insecure = true}, &err);
    struct end port = {0};
    struct end again = {0};
    struct end link = {0};
    char endpoint[256];
    bus_t *port_bus = start_end(&port, "tcp://127.0.0.1:*", 1u << BUS_ROLE_WORKER, security, 1);
    (void)snprintf(endpoint, sizeof endpoint, "%s", bus_port_endpoint(port.port));
    bus_t *link_bus = start_end(&link, endpoint, 0, security, 2);
    (void)pthread_mutex_lock(&link.gate.lock);
    while (link.gate.left > 1) {
        (void)pthread_cond_wait(&link.gate.opened, &link.gate.lock);
    }
    (void)pthread_mutex_unlock(&link.gate.lock);
    (void)bus_stop(port_bus, NEVER_WAITED_MS);
    bus_free(&port_bus);
    gate_wait(&link.gate);
    assert_int_equal(link.goodbyes, 1);
    assert_string_equal(link.reason, "close");
    gate_init(&link.gate, 1);
    port_bus = start_end(&again, endpoint, 1u << BUS_ROLE_WORKER, security, 1);
    (void)bus_stop(link_bus, NEVER_WAITED_MS);
    bus_free(&link_bus);
    (void)bus_stop(port_bus, NEVER_WAITED_MS);
    bus_free(&port_bus);
    bus_security_free(&security);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_link_joins_talks_and_leaves),
        cmocka_unit_test(a_router_that_ends_is_missed_and_found_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
