/* One gateway with a port or a link, for tests that play its peer themselves: its owner writes down what
 * it is told, sends back every CHUNK, and its clock goes on when the test says so. */
#pragma once

#include "tests/conformance/wires.h"

struct host {
    const struct bus_security_options *security_options; /* NULL: plain */
    bool is_link;
    const char *endpoint;
    uint32_t roles; /* of a port */
    uint32_t kinds;
    size_t body_max;
    bool mute; /* sends nothing back */
    bool hears_late;
    bool is_timeless; /* no time goes by but what the test lets go by: nobody is silent for too long */

    struct dyn_clock clock;
    uint64_t opened_us;
    atomic_uint_fast64_t ahead_us; /* of the system's clock, or of when it was opened */
    bus_security_t *security;
    struct bus_process process;
    bus_t *bus;
    bus_loop_t *loop;
    bus_actor_t *me;
    bus_port_t *port;
    bus_link_t *link;
    _Atomic bus_addr_t last_peer;
    atomic_uint last_minor;

    pthread_mutex_t lock;
    pthread_cond_t changed;
    char journal[4096]; /* under the lock */
    uint64_t chunks;    /* under the lock */
};

static inline uint64_t
host_mono_us(void *self)
{
    struct host *host = self;
    uint64_t now_us = host->is_timeless ? host->opened_us : dyn_mono_us(&dyn_clock_system);
    return now_us + atomic_load(&host->ahead_us);
}

static inline void
host_write(struct host *host, const char *word, struct dyn_slice detail)
{
    (void)pthread_mutex_lock(&host->lock);
    size_t len = strlen(host->journal);
    (void)snprintf(host->journal + len, sizeof host->journal - len, "%s%s%s%.*s", len > 0 ? " " : "", word,
                   detail.len > 0 ? ":" : "", (int)detail.len, detail.len > 0 ? detail.data : "");
    (void)pthread_cond_broadcast(&host->changed);
    (void)pthread_mutex_unlock(&host->lock);
}

/* Waits until as much is in the journal, compares, and begins a new one. */
static inline void
host_expect(struct host *host, const char *text)
{
    (void)pthread_mutex_lock(&host->lock);
    while (strlen(host->journal) < strlen(text)) {
        (void)pthread_cond_wait(&host->changed, &host->lock);
    }
    char journal[sizeof host->journal];
    memcpy(journal, host->journal, sizeof journal);
    host->journal[0] = '\0';
    (void)pthread_mutex_unlock(&host->lock);
    assert_string_equal(journal, text);
}

/* CHUNKs are counted, not written down. */
static inline void
host_expect_chunks(struct host *host, uint64_t n)
{
    (void)pthread_mutex_lock(&host->lock);
    while (host->chunks < n) {
        (void)pthread_cond_wait(&host->changed, &host->lock);
    }
    uint64_t chunks = host->chunks;
    (void)pthread_mutex_unlock(&host->lock);
    assert_int_equal(chunks, n);
}

static inline void
host_heard(void *self, struct bus_peer *peer, struct env **env_p)
{
    struct host *host = self;
    const struct env *env = *env_p;
    CHECK(env->from == peer->addr && env->to == bus_actor_addr(host->me));
    host->last_peer = peer->addr;
    host->last_minor = peer->minor;
    if (env->kind == ENV_HEARTBEAT && !host->hears_late) {
        return;
    }
    if (env->kind != ENV_CHUNK) {
        host_write(host, env_kind_name(env->kind),
                   env->kind == ENV_READY ? dyn_slice_str(bus_role_name(peer->role)) : env->reason);
        return;
    }
    (void)pthread_mutex_lock(&host->lock);
    CHECK(env->sequence == host->chunks || host->mute);
    host->chunks++;
    (void)pthread_cond_broadcast(&host->changed);
    (void)pthread_mutex_unlock(&host->lock);
    if (!host->mute) {
        CHECK(bus_send_as(host->me, bus_actor_addr(host->me), peer->addr, env_p, NULL) == 0);
    }
}

static inline void
host_ready(void *self, struct env *ready)
{
    const struct host *host = self;
    ready->role = env_copy(ready, host->is_link ? DYN_SLICE("worker") : DYN_SLICE("router"));
    ready->requests = 7;
}

static const struct bus_remote_ops host_remote_ops = {.receive = host_heard, .ready = host_ready};

static inline int
host_start(void *self, bus_actor_t *me, struct dyn_err *err)
{
    struct host *host = self;
    struct bus_remote_options options = {.process = &host->process,
                                         .endpoint = host->endpoint,
                                         .roles = host->roles,
                                         .kinds = host->kinds,
                                         .body_max = host->body_max,
                                         .ops = &host_remote_ops,
                                         .self = host};
    host->me = me;
    if (host->is_link) {
        host->link = bus_link_open(me, &options, err);
        return host->link != NULL ? 0 : -1;
    }
    host->port = bus_port_open(me, &options, err);
    return host->port != NULL ? 0 : -1;
}

static inline void
host_receive(void *self, struct env **env_p)
{
    (void)self;
    (void)env_p;
}

static inline void
host_stop(void *self)
{
    struct host *host = self;
    bus_port_close(&host->port);
    bus_link_close(&host->link);
}

static const struct bus_actor_ops host_ops = {
    .kind = "host", .start = host_start, .receive = host_receive, .stop = host_stop};

/* Roles, kinds and endpoint are set, or the defaults are taken: workers that send CHUNK and END. A test that
 * fails ends the program there: its host lies on its stack, and the loop would go on with it in the next
 * test's. */
static inline void
host_open(struct host *host)
{
    static const struct bus_security_options plain = {.cert = NULL};
    struct dyn_err err;
    (void)setenv("CMOCKA_TEST_ABORT", "1", 1);
    host->opened_us = dyn_mono_us(&dyn_clock_system);
    (void)pthread_mutex_init(&host->lock, NULL);
    (void)pthread_cond_init(&host->changed, NULL);
    host->clock = (struct dyn_clock){.mono_us = host_mono_us, .wall_us = host_mono_us, .self = host};
    host->endpoint = host->endpoint != NULL ? host->endpoint : "tcp://127.0.0.1:0";
    host->roles = host->roles != 0 ? host->roles : 1u << BUS_ROLE_WORKER;
    host->kinds = host->kinds != 0 ? host->kinds : 1u << ENV_CHUNK | 1u << ENV_END;
    host->security = wire_security(host->security_options != NULL ? host->security_options : &plain);
    bus_process_init(&host->process, host->security);
    host->bus = bus_new(NULL, &err);
    host->loop = bus_add_loop(host->bus, "host");
    bus_loop_set_clock(host->loop, &host->clock);
    (void)bus_add_actor(host->bus, host->loop, &host_ops, host);
    assert_int_equal(bus_start(host->bus, &err), 0);
}

static inline void
host_close(struct host *host)
{
    assert_int_equal(bus_stop(host->bus, 1000), 0);
    bus_free(&host->bus);
    bus_security_free(&host->security);
}

struct host_call {
    struct host *host;
    void (*fn)(struct host *host);
    struct gate gate;
};

static inline void
host_run_call(void *arg)
{
    struct host_call *call = arg;
    if (call->fn != NULL) {
        call->fn(call->host);
    }
    gate_open(&call->gate);
}

/* Has it done on the loop, and waits. */
static inline void
host_call(struct host *host, void (*fn)(struct host *host))
{
    struct host_call call = {.host = host, .fn = fn};
    gate_init(&call.gate, 1);
    bus_loop_post(host->loop, host_run_call, &call);
    gate_wait(&call.gate);
}

/* Time goes by while the loop turns. */
static inline void
host_wait_ms(struct host *host, unsigned ms)
{
    enum { STEP_MS = 50 };
    for (; ms > 0; ms -= STEP_MS) {
        (void)atomic_fetch_add(&host->ahead_us, STEP_MS * 1000);
        host_call(host, NULL); /* timers fire at the end of this turn */
        host_call(host, NULL);
    }
}

/* The process is stopped for so long. */
static inline void
host_stand_still_ms(struct host *host, unsigned ms)
{
    (void)atomic_fetch_add(&host->ahead_us, ms * 1000u);
    host_call(host, NULL);
    host_call(host, NULL);
}
