/* The worker actor between routers, which are ports of another bus, and provider actors that say what the
 * test tells them. */
#pragma once

#include "actors/providers/worker.h"

#include "proto/ready.h"
#include "tests/conformance/wires.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

enum { ROUTERS = 2, TARGETS = 2, DRAIN_MS = 20000 };
#define A 0u
#define B 1u

/* What came to a router or to a provider actor, in order. */
struct record {
    pthread_mutex_t lock;
    struct dyn_list seen;
    size_t n;
};

struct router {
    bus_t *bus;
    bus_loop_t *loop;
    bus_actor_t *me;
    bus_port_t *port;
    struct bus_process process;
    struct bus_remote_options options;
    struct record record;
    bus_addr_t worker; /* as a peer */
    char base[64];
};

struct target {
    struct provider_target target;
    bus_actor_t *me;
    struct record record;
};

struct fleet {
    bus_security_t *security;
    struct router routers[ROUTERS];
    struct target targets[TARGETS];
    bus_resolver_t *resolver;
    struct bus_process process;
    bus_t *bus;
    bus_loop_t *loop;
    void *worker;
    struct worker_target items[TARGETS];
    const char *bases[ROUTERS];
};

/* ---- records ---- */

static inline void
record_init(struct record *record)
{
    (void)pthread_mutex_init(&record->lock, NULL);
    dyn_list_init(&record->seen);
}

static inline void
record_add(struct record *record, struct env **env_p)
{
    (void)pthread_mutex_lock(&record->lock);
    dyn_list_append(&record->seen, &(*env_p)->link);
    record->n++;
    (void)pthread_mutex_unlock(&record->lock);
    *env_p = NULL;
}

static inline size_t
record_count(struct record *record)
{
    (void)pthread_mutex_lock(&record->lock);
    size_t n = record->n;
    (void)pthread_mutex_unlock(&record->lock);
    return n;
}

#define UNTIL(expression)                                                                                    \
    do {                                                                                                     \
        unsigned naps_ = 0;                                                                                  \
        while (!(expression)) {                                                                              \
            if (++naps_ > 20000) {                                                                           \
                fail_msg("line %d: it did not come to %s", __LINE__, #expression);                           \
            }                                                                                                \
            (void)usleep(500);                                                                               \
        }                                                                                                    \
    } while (0)

/* The nth envelope that came, waited for. It stays there. */
static inline const struct env *
nth(struct record *record, size_t n)
{
    UNTIL(record_count(record) > n);
    (void)pthread_mutex_lock(&record->lock);
    struct dyn_list *link = record->seen.next;
    for (size_t i = 0; i < n; i++) {
        link = link->next;
    }
    (void)pthread_mutex_unlock(&record->lock);
    return DYN_CONTAINER_OF(link, struct env, link);
}

static inline void
record_free(struct record *record)
{
    for (struct dyn_list *link; (link = dyn_list_pop(&record->seen)) != NULL;) {
        struct env *env = DYN_CONTAINER_OF(link, struct env, link);
        env_free(&env);
    }
    (void)pthread_mutex_destroy(&record->lock);
}

/* ---- a router ---- */

static inline void
router_receive_peer(void *self, struct bus_peer *peer, struct env **env_p)
{
    struct router *router = self;
    (void)pthread_mutex_lock(&router->record.lock);
    router->worker = peer->addr;
    (void)pthread_mutex_unlock(&router->record.lock);
    record_add(&router->record, env_p);
}

static inline void
router_ready(void *self, struct env *ready)
{
    (void)self;
    ready->role = DYN_SLICE("router");
}

static const struct bus_remote_ops router_remote_ops = {.receive = router_receive_peer,
                                                        .ready = router_ready};

static inline int
router_start(void *self, bus_actor_t *me, struct dyn_err *err)
{
    struct router *router = self;
    router->me = me;
    router->port = bus_port_open(me, &router->options, err);
    return router->port != NULL ? 0 : -1;
}

static inline void
ignore(void *self, struct env **env_p)
{
    (void)self;
    (void)env_p;
}

static inline void
router_stop(void *self)
{
    struct router *router = self;
    bus_port_close(&router->port);
}

static const struct bus_actor_ops router_ops = {
    .kind = "router", .start = router_start, .receive = ignore, .stop = router_stop};

static inline void
router_open(struct router *router, bus_security_t *security, const char *endpoint)
{
    struct dyn_err err = {.text = ""};
    record_init(&router->record);
    bus_process_init(&router->process, security);
    router->options = (struct bus_remote_options){
        .process = &router->process,
        .endpoint = endpoint,
        .roles = 1u << BUS_ROLE_WORKER,
        .kinds = 1u << ENV_END | 1u << ENV_CHUNK | 1u << ENV_DISPATCHED,
        .ops = &router_remote_ops,
        .self = router,
    };
    router->bus = bus_new(NULL, &err);
    router->loop = bus_add_loop(router->bus, "router");
    (void)bus_add_actor(router->bus, router->loop, &router_ops, router);
    if (bus_start(router->bus, &err) != 0) {
        fail_msg("%s", err.text);
    }
    const char *colon = strrchr(bus_port_endpoint(router->port), ':');
    unsigned workers_port = (unsigned)strtoul(colon + 1, NULL, 10);
    (void)snprintf(router->base, sizeof router->base, "tcp://127.0.0.1:%u", workers_port - 1);
}

static inline void
router_close(struct router *router)
{
    if (router->bus != NULL) {
        (void)bus_stop(router->bus, 0);
        bus_free(&router->bus);
    }
}

/* ---- a provider actor ---- */

static inline int
target_start(void *self, bus_actor_t *me, struct dyn_err *err)
{
    (void)err;
    ((struct target *)self)->me = me;
    return 0;
}

static inline void
target_receive(void *self, struct env **env_p)
{
    record_add(&((struct target *)self)->record, env_p);
}

static inline void
target_stop(void *self)
{
    (void)self;
}

static const struct bus_actor_ops target_ops = {
    .kind = "provider", .start = target_start, .receive = target_receive, .stop = target_stop};

/* ---- sending from the test's thread ---- */

struct step {
    bus_actor_t *me;
    bus_addr_t to;
    struct env *env;
    struct gate done;
};

static inline void
do_step(void *step_)
{
    struct step *step = step_;
    CHECK(bus_send(step->me, step->to, &step->env, NULL) == 0);
    gate_open(&step->done);
}

static inline void
send_from(bus_loop_t *loop, bus_actor_t *me, bus_addr_t to, struct env *env)
{
    struct step step = {.me = me, .to = to, .env = env};
    gate_init(&step.done, 1);
    bus_loop_post(loop, do_step, &step);
    gate_wait(&step.done);
}

static inline void
router_send(struct router *router, struct env *env)
{
    send_from(router->loop, router->me, router->worker, env);
}

static inline struct env *
request_for(const char *target, const char *body)
{
    struct env *request = env_new(ENV_REQUEST);
    request->id = env_id_random();
    request->attempt = 1;
    request->surface = ENV_SURFACE_CHAT;
    request->dialect = DYN_SLICE("openai_chat");
    request->target = dyn_slice_str(target);
    request->credit = ENV_WINDOW_FIRST;
    request->body = dyn_block_copy(0, dyn_slice_str(body));
    return request;
}

static inline struct env *
copy_of(const struct env *request)
{
    struct env *copy = env_clone_request(request);
    copy->attach = request->attach;
    return copy;
}

/* The provider actor answers what it was asked. */
static inline void
answer(struct fleet *fleet, struct target *target, const struct env *request)
{
    struct env *end = env_about(ENV_END, request);
    end->outcome = ENV_OUTCOME_OK;
    end->status = 200;
    end->body = dyn_block_copy(0, DYN_SLICE("answer"));
    send_from(fleet->loop, target->me, request->from, end);
}

/* ---- a process of workers ---- */

static const struct dyn_slice first_models[] = {DYN_SLICE_INIT("m1"), DYN_SLICE_INIT("m2")};

static inline void
workers_open(struct fleet *fleet, size_t n_routers, uint32_t requests_max, uint64_t bytes_max)
{
    static const char *const names[TARGETS] = {"first", "second"};
    struct worker_target *items = fleet->items;
    struct dyn_err err = {.text = ""};
    bus_process_init(&fleet->process, fleet->security);
    fleet->resolver = bus_resolver_new();
    fleet->bus = bus_new(NULL, &err);
    fleet->loop = bus_add_loop(fleet->bus, "worker");
    for (size_t i = 0; i < TARGETS; i++) {
        struct target *target = &fleet->targets[i];
        record_init(&target->record);
        target->target.name = dyn_slice_str(names[i]);
        target->target.row = provider_row_find(DYN_SLICE("openai"));
        items[i].target = &target->target;
        items[i].addr = bus_add_actor(fleet->bus, fleet->loop, &target_ops, target);
    }
    fleet->targets[0].target.models = first_models;
    fleet->targets[0].target.n_models = DYN_ARRAY_LEN(first_models);
    struct worker_options options = {.process = &fleet->process,
                                     .resolver = fleet->resolver,
                                     .routers = fleet->bases,
                                     .n_routers = n_routers,
                                     .targets = items,
                                     .n_targets = TARGETS,
                                     .cell = 3,
                                     .requests_max = requests_max,
                                     .request_bytes_max = bytes_max};
    fleet->worker = worker_new(&options);
    (void)bus_add_actor(fleet->bus, fleet->loop, &worker_actor_ops, fleet->worker);
    if (bus_start(fleet->bus, &err) != 0) {
        fail_msg("%s", err.text);
    }
}

static inline void
fleet_open(struct fleet *fleet, size_t n_routers, uint32_t requests_max, uint64_t bytes_max)
{
    struct dyn_err err = {.text = ""};
    *fleet = (struct fleet){.security = NULL};
    fleet->security = bus_security_new(&(struct bus_security_options){.insecure = true}, &err);
    for (size_t i = 0; i < n_routers; i++) {
        router_open(&fleet->routers[i], fleet->security, "tcp://127.0.0.1:*");
        fleet->bases[i] = fleet->routers[i].base;
    }
    workers_open(fleet, n_routers, requests_max, bytes_max);
    for (size_t i = 0; i < n_routers; i++) {
        (void)nth(&fleet->routers[i].record, 0); /* READY */
    }
}

static inline void
fleet_close(struct fleet *fleet)
{
    assert_int_equal(bus_stop(fleet->bus, DRAIN_MS), 0);
    bus_free(&fleet->bus);
    bus_resolver_free(&fleet->resolver);
    for (size_t i = 0; i < ROUTERS; i++) {
        if (fleet->routers[i].base[0] != '\0') {
            router_close(&fleet->routers[i]);
            record_free(&fleet->routers[i].record);
        }
    }
    for (size_t i = 0; i < TARGETS; i++) {
        record_free(&fleet->targets[i].record);
    }
    bus_security_free(&fleet->security);
}

static inline void
assert_end(const struct env *end, const struct env *request, enum err_code error)
{
    assert_int_equal(end->kind, ENV_END);
    assert_true(env_id_eq(&end->id, &request->id));
    assert_int_equal(end->attempt, request->attempt);
    assert_int_equal(end->epoch, request->epoch);
    assert_int_equal(end->outcome, error == ERR_NONE ? ENV_OUTCOME_OK : ENV_OUTCOME_ERROR);
    assert_int_equal(end->error, error);
}
