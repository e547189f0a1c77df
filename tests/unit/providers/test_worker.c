/* The worker actor between routers, which are ports of another bus, and provider actors that say what the
 * test tells them. */
#include "actors/providers/worker.h"

#include "proto/ready.h"
#include "tests/conformance/raw.h"

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

static void
record_init(struct record *record)
{
    (void)pthread_mutex_init(&record->lock, NULL);
    dyn_list_init(&record->seen);
}

static void
record_add(struct record *record, struct env **env_p)
{
    (void)pthread_mutex_lock(&record->lock);
    dyn_list_append(&record->seen, &(*env_p)->link);
    record->n++;
    (void)pthread_mutex_unlock(&record->lock);
    *env_p = NULL;
}

static size_t
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
static const struct env *
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

static void
record_free(struct record *record)
{
    for (struct dyn_list *link; (link = dyn_list_pop(&record->seen)) != NULL;) {
        struct env *env = DYN_CONTAINER_OF(link, struct env, link);
        env_free(&env);
    }
    (void)pthread_mutex_destroy(&record->lock);
}

/* ---- a router ---- */

static void
router_receive_peer(void *self, struct bus_peer *peer, struct env **env_p)
{
    struct router *router = self;
    (void)pthread_mutex_lock(&router->record.lock);
    router->worker = peer->addr;
    (void)pthread_mutex_unlock(&router->record.lock);
    record_add(&router->record, env_p);
}

static void
router_ready(void *self, struct env *ready)
{
    (void)self;
    ready->role = DYN_SLICE("router");
}

static const struct bus_remote_ops router_remote_ops = {.receive = router_receive_peer,
                                                        .ready = router_ready};

static int
router_start(void *self, bus_actor_t *me, struct dyn_err *err)
{
    struct router *router = self;
    router->me = me;
    router->port = bus_port_open(me, &router->options, err);
    return router->port != NULL ? 0 : -1;
}

static void
ignore(void *self, struct env **env_p)
{
    (void)self;
    (void)env_p;
}

static void
router_stop(void *self)
{
    struct router *router = self;
    bus_port_close(&router->port);
}

static const struct bus_actor_ops router_ops = {
    .kind = "router", .start = router_start, .receive = ignore, .stop = router_stop};

static void
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

static void
router_close(struct router *router)
{
    if (router->bus != NULL) {
        (void)bus_stop(router->bus, 0);
        bus_free(&router->bus);
    }
}

/* ---- a provider actor ---- */

static int
target_start(void *self, bus_actor_t *me, struct dyn_err *err)
{
    (void)err;
    ((struct target *)self)->me = me;
    return 0;
}

static void
target_receive(void *self, struct env **env_p)
{
    record_add(&((struct target *)self)->record, env_p);
}

static void
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

static void
do_step(void *step_)
{
    struct step *step = step_;
    CHECK(bus_send(step->me, step->to, &step->env, NULL) == 0);
    gate_open(&step->done);
}

static void
send_from(bus_loop_t *loop, bus_actor_t *me, bus_addr_t to, struct env *env)
{
    struct step step = {.me = me, .to = to, .env = env};
    gate_init(&step.done, 1);
    bus_loop_post(loop, do_step, &step);
    gate_wait(&step.done);
}

static void
router_send(struct router *router, struct env *env)
{
    send_from(router->loop, router->me, router->worker, env);
}

static struct env *
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

static struct env *
copy_of(const struct env *request)
{
    struct env *copy = env_clone_request(request);
    copy->attach = request->attach;
    return copy;
}

/* The provider actor answers what it was asked. */
static void
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

static void
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

static void
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

static void
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

static void
assert_end(const struct env *end, const struct env *request, enum err_code error)
{
    assert_int_equal(end->kind, ENV_END);
    assert_true(env_id_eq(&end->id, &request->id));
    assert_int_equal(end->attempt, request->attempt);
    assert_int_equal(end->epoch, request->epoch);
    assert_int_equal(end->outcome, error == ERR_NONE ? ENV_OUTCOME_OK : ENV_OUTCOME_ERROR);
    assert_int_equal(end->error, error);
}

/* ---- tests ---- */

static void
it_says_what_it_serves(void **state)
{
    (void)state;
    struct fleet fleet;
    struct arena arena;
    struct ready ready;
    struct dyn_err err;
    char name[64];
    fleet_open(&fleet, 1, 0, 0);
    const struct env *said = nth(&fleet.routers[A].record, 0);
    assert_int_equal(said->kind, ENV_READY);
    assert_true(dyn_slice_is(said->role, "worker"));
    assert_true(dyn_slice_is(said->node, fleet.process.node));
    (void)snprintf(name, sizeof name, "%s-3", fleet.process.node);
    assert_true(dyn_slice_is(said->worker, name));
    assert_int_equal(said->requests, WORKER_REQUESTS_MAX);
    assert_int_equal(said->request_bytes, WORKER_REQUEST_BYTES_MAX);
    arena_init(&arena, NULL, 0);
    assert_int_equal(ready_decode(dyn_block_slice(said->body), &arena, &ready, &err), 0);
    assert_int_equal(ready.n_targets, 2);
    assert_true(dyn_slice_is(ready.targets[0].name, "first"));
    assert_true(dyn_slice_is(ready.targets[0].provider, "openai"));
    assert_int_equal(ready.targets[0].n_models, 2);
    assert_true(dyn_slice_is(ready.targets[0].models[1], "m2"));
    assert_false(ready.targets[0].any_model);
    assert_true(dyn_slice_is(ready.targets[1].name, "second"));
    assert_true(ready.targets[1].any_model); /* it declares none */
    arena_fini(&arena);
    fleet_close(&fleet);
}

static void
a_request_goes_to_its_target_and_the_answer_back(void **state)
{
    (void)state;
    struct fleet fleet;
    fleet_open(&fleet, 1, 0, 0);
    struct env *one = request_for("second", "to the second");
    struct env *two = request_for("first", "to the first");
    router_send(&fleet.routers[A], copy_of(one));
    router_send(&fleet.routers[A], copy_of(two));
    const struct env *at_second = nth(&fleet.targets[1].record, 0);
    const struct env *at_first = nth(&fleet.targets[0].record, 0);
    assert_true(env_id_eq(&at_second->id, &one->id));
    assert_true(dyn_slice_is(dyn_block_slice(at_first->body), "to the first"));
    answer(&fleet, &fleet.targets[1], at_second);
    const struct env *end = nth(&fleet.routers[A].record, 1);
    assert_end(end, one, ERR_NONE);
    assert_true(dyn_slice_is(dyn_block_slice(end->body), "answer"));
    answer(&fleet, &fleet.targets[0], at_first);
    assert_end(nth(&fleet.routers[A].record, 2), two, ERR_NONE);
    env_free(&one);
    env_free(&two);
    fleet_close(&fleet);
}

static void
cancel_and_credit_find_the_call(void **state)
{
    (void)state;
    struct fleet fleet;
    fleet_open(&fleet, 1, 0, 0);
    struct env *request = request_for("second", "{}");
    struct env *later = copy_of(request);
    later->epoch = 1;
    router_send(&fleet.routers[A], copy_of(request));
    struct env *wrong = env_about(ENV_CANCEL, later); /* of a sending that has not come */
    struct env *credit = env_about(ENV_CREDIT, request);
    struct env *cancel = env_about(ENV_CANCEL, request);
    credit->credit = 1000;
    router_send(&fleet.routers[A], wrong);
    router_send(&fleet.routers[A], credit);
    router_send(&fleet.routers[A], cancel);
    const struct env *at = nth(&fleet.targets[1].record, 1);
    assert_int_equal(at->kind, ENV_CREDIT);
    assert_int_equal(at->credit, 1000);
    assert_int_equal(at->from, nth(&fleet.targets[1].record, 0)->from);
    assert_int_equal(nth(&fleet.targets[1].record, 2)->kind, ENV_CANCEL);
    assert_int_equal(record_count(&fleet.targets[0].record), 0);
    answer(&fleet, &fleet.targets[1], nth(&fleet.targets[1].record, 0));
    (void)nth(&fleet.routers[A].record, 1);
    struct env *after = env_about(ENV_CANCEL, request); /* its END has crossed it */
    router_send(&fleet.routers[A], after);
    router_send(&fleet.routers[A], later); /* what comes after it shows that it was not passed on */
    assert_int_equal(nth(&fleet.targets[1].record, 3)->kind, ENV_REQUEST);
    answer(&fleet, &fleet.targets[1], nth(&fleet.targets[1].record, 3));
    (void)nth(&fleet.routers[A].record, 2);
    env_free(&request);
    fleet_close(&fleet);
}

struct serving {
    struct fleet *fleet;
    const struct worker_target *targets;
    size_t n_targets;
    struct gate done;
};

static void
do_serve(void *serving_)
{
    struct serving *serving = serving_;
    worker_serve(serving->fleet->worker, serving->targets, serving->n_targets);
    gate_open(&serving->done);
}

/* The next configuration has only the second target. */
static void
serve_the_second(struct fleet *fleet)
{
    struct serving serving = {.fleet = fleet, .targets = &fleet->items[1], .n_targets = 1};
    gate_init(&serving.done, 1);
    bus_loop_post(fleet->loop, do_serve, &serving);
    gate_wait(&serving.done);
}

/* Its router has not heard yet: another worker may have it, and the rest of this one's targets stay. */
static void
a_request_for_a_target_that_is_gone_is_handed_back(void **state)
{
    (void)state;
    struct fleet fleet;
    fleet_open(&fleet, 1, 0, 0);
    struct env *request = request_for("first", "{}");
    struct env *other = request_for("second", "{}");
    serve_the_second(&fleet);
    assert_int_equal(nth(&fleet.routers[A].record, 1)->kind, ENV_READY);
    router_send(&fleet.routers[A], copy_of(request));
    const struct env *end = nth(&fleet.routers[A].record, 2);
    assert_end(end, request, ERR_SATURATED);
    assert_int_equal(end->upstream_calls, 0);
    router_send(&fleet.routers[A], copy_of(other));
    assert_true(env_id_eq(&nth(&fleet.targets[1].record, 0)->id, &other->id));
    answer(&fleet, &fleet.targets[1], nth(&fleet.targets[1].record, 0));
    assert_end(nth(&fleet.routers[A].record, 3), other, ERR_NONE);
    env_free(&request);
    env_free(&other);
    fleet_close(&fleet);
}

/* ---- a router of version 1.1 ---- */

static void
old_say(struct raw *raw, struct env *env)
{
    struct dyn_buf header = DYN_BUF_INIT;
    assert_int_equal(env_encode_for(env, 1, &header, NULL), 0);
    raw_begin(raw);
    raw_send_frame(raw, header.data, header.len, env->body != NULL);
    if (env->body != NULL) {
        raw_send_frame(raw, dyn_block_data(env->body), env->body->len, false);
    }
    dyn_buf_fini(&header);
    env_free(&env);
}

static void
old_say_ready(struct raw *raw)
{
    struct env *env = env_new(ENV_READY);
    env->role = DYN_SLICE("router");
    env->node = DYN_SLICE("old");
    old_say(raw, env);
}

/* The next envelope that is no heartbeat. */
static struct env *
old_hear(struct raw *raw)
{
    struct env *env;
    while ((env = raw_receive(raw, RAW_TIMEOUT_MS)) != NULL && env->kind == ENV_HEARTBEAT) {
        env_free(&env);
    }
    assert_non_null(env);
    return env;
}

static void
old_expect_targets(struct raw *raw, size_t n)
{
    struct env *said = old_hear(raw);
    struct arena arena;
    struct ready ready;
    struct dyn_err err;
    arena_init(&arena, NULL, 0);
    assert_int_equal(said->kind, ENV_READY);
    assert_int_equal(ready_decode(dyn_block_slice(said->body), &arena, &ready, &err), 0);
    assert_int_equal(ready.n_targets, n);
    arena_fini(&arena);
    env_free(&said);
}

/* It hears READY once for each connection: it gets another one, when nothing is in flight over this one. */
static void
a_router_of_an_earlier_version_learns_it_too(void **state)
{
    (void)state;
    struct fleet fleet = {.security = NULL};
    struct dyn_err err;
    char base[64];
    char endpoint[64];
    size_t size = sizeof endpoint;
    fleet.security = bus_security_new(&(struct bus_security_options){.insecure = true}, &err);
    struct raw raw = raw_open((struct raw_options){.bind = "tcp://127.0.0.1:*"});
    assert_int_equal(zmq_getsockopt(raw.socket, ZMQ_LAST_ENDPOINT, endpoint, &size), 0);
    (void)snprintf(base, sizeof base, "tcp://127.0.0.1:%lu", strtoul(strrchr(endpoint, ':') + 1, NULL, 10) - 1);
    fleet.bases[A] = base;
    workers_open(&fleet, 1, 0, 0);
    old_expect_targets(&raw, 2);
    old_say_ready(&raw);
    struct env *request = request_for("first", "{}");
    old_say(&raw, copy_of(request));
    const struct env *at_target = nth(&fleet.targets[0].record, 0);
    serve_the_second(&fleet);
    answer(&fleet, &fleet.targets[0], at_target);
    struct env *end = old_hear(&raw);
    assert_end(end, request, ERR_NONE);
    env_free(&end);
    struct env *goodbye = old_hear(&raw);
    assert_int_equal(goodbye->kind, ENV_GOODBYE);
    assert_true(dyn_slice_is(goodbye->reason, "reload"));
    env_free(&goodbye);
    old_expect_targets(&raw, 1);
    env_free(&request);
    fleet_close(&fleet);
    raw_close(&raw);
}

static void
a_router_has_a_budget(void **state)
{
    (void)state;
    struct fleet fleet;
    fleet_open(&fleet, 1, 2, 10);
    struct record *at_router = &fleet.routers[A].record;
    struct record *at_target = &fleet.targets[0].record;
    struct env *one = request_for("first", "12345");
    struct env *large = request_for("first", "123456");
    struct env *two = request_for("first", "12345");
    struct env *three = request_for("first", "");
    router_send(&fleet.routers[A], copy_of(one));
    router_send(&fleet.routers[A], copy_of(large)); /* too many bytes */
    assert_end(nth(at_router, 1), large, ERR_SATURATED);
    assert_int_equal(nth(at_router, 1)->retry_after_s, 1);
    router_send(&fleet.routers[A], copy_of(two));
    router_send(&fleet.routers[A], copy_of(three)); /* too many */
    assert_end(nth(at_router, 2), three, ERR_SATURATED);
    answer(&fleet, &fleet.targets[0], nth(at_target, 0));
    assert_end(nth(at_router, 3), one, ERR_NONE);
    router_send(&fleet.routers[A], copy_of(three)); /* now there is room */
    assert_true(env_id_eq(&nth(at_target, 2)->id, &three->id));
    answer(&fleet, &fleet.targets[0], nth(at_target, 1));
    answer(&fleet, &fleet.targets[0], nth(at_target, 2));
    assert_end(nth(at_router, 5), three, ERR_NONE);
    env_free(&one);
    env_free(&large);
    env_free(&two);
    env_free(&three);
    fleet_close(&fleet);
}

/* The provider actors hear of it in the router's name, and its budget is whole when it comes back. */
static void
a_lost_router_is_told_of_and_found_again(void **state)
{
    (void)state;
    struct fleet fleet;
    char endpoint[64];
    fleet_open(&fleet, 1, 1, 0);
    struct router *router = &fleet.routers[A];
    struct env *request = request_for("first", "{}");
    router_send(router, copy_of(request));
    bus_addr_t from = nth(&fleet.targets[0].record, 0)->from;
    (void)snprintf(endpoint, sizeof endpoint, "%s", bus_port_endpoint(router->port));
    router_close(router);
    const struct env *told = nth(&fleet.targets[0].record, 1);
    assert_int_equal(told->kind, ENV_GOODBYE);
    assert_int_equal(told->from, from);
    assert_int_equal(nth(&fleet.targets[1].record, 0)->kind, ENV_GOODBYE);
    record_free(&router->record);
    memset(router, 0, sizeof *router);
    router_open(router, fleet.security, endpoint);
    (void)nth(&router->record, 0);
    struct env *next = copy_of(request);
    next->epoch = 1;
    next->attach = true;
    router_send(router, copy_of(next));
    const struct env *again = nth(&fleet.targets[0].record, 2);
    assert_int_equal(again->epoch, 1);
    assert_true(again->attach);
    assert_true(again->from != from);
    answer(&fleet, &fleet.targets[0], again);
    assert_end(nth(&router->record, 1), next, ERR_NONE);
    env_free(&request);
    env_free(&next);
    fleet_close(&fleet);
}

/* The call moves to the router that asks for it; what the former says about it is not heard any more. */
static void
a_call_moves_to_another_router(void **state)
{
    (void)state;
    struct fleet fleet;
    fleet_open(&fleet, 2, 1, 0);
    struct record *at_target = &fleet.targets[0].record;
    struct env *request = request_for("first", "{}");
    struct env *next = copy_of(request);
    next->epoch = 1;
    next->attach = true;
    router_send(&fleet.routers[A], copy_of(request));
    (void)nth(at_target, 0);
    router_send(&fleet.routers[A], copy_of(request)); /* a repeat */
    router_send(&fleet.routers[B], copy_of(next));
    const struct env *moved = nth(at_target, 1);
    assert_int_equal(moved->epoch, 1);
    router_send(&fleet.routers[A], env_about(ENV_CANCEL, request));
    struct env *other = request_for("first", "{}"); /* A has its budget back */
    router_send(&fleet.routers[A], copy_of(other));
    assert_true(env_id_eq(&nth(at_target, 2)->id, &other->id));
    answer(&fleet, &fleet.targets[0], moved);
    assert_end(nth(&fleet.routers[B].record, 1), next, ERR_NONE);
    answer(&fleet, &fleet.targets[0], nth(at_target, 2));
    assert_end(nth(&fleet.routers[A].record, 1), other, ERR_NONE);
    env_free(&request);
    env_free(&next);
    env_free(&other);
    fleet_close(&fleet);
}

static void *
drain(void *fleet_)
{
    struct fleet *fleet = fleet_;
    return (void *)(uintptr_t)bus_stop(fleet->bus, DRAIN_MS);
}

/* The routers hear it first; what crosses it on the way goes elsewhere, what is under way ends in peace. */
static void
a_drain_finishes_what_is_under_way(void **state)
{
    (void)state;
    struct fleet fleet;
    pthread_t stopping;
    void *busy = NULL;
    fleet_open(&fleet, 1, 0, 0);
    struct record *at_router = &fleet.routers[A].record;
    struct record *at_target = &fleet.targets[0].record;
    struct env *request = request_for("first", "{}");
    struct env *crossing = request_for("first", "{}");
    struct env *attached = request_for("first", "{}");
    attached->attach = true;
    router_send(&fleet.routers[A], copy_of(request));
    (void)nth(at_target, 0);
    assert_int_equal(pthread_create(&stopping, NULL, drain, &fleet), 0);
    const struct env *goodbye = nth(at_router, 1);
    assert_int_equal(goodbye->kind, ENV_GOODBYE);
    assert_true(dyn_slice_is(goodbye->reason, "drain"));
    router_send(&fleet.routers[A], copy_of(crossing));
    assert_end(nth(at_router, 2), crossing, ERR_DRAINING);
    router_send(&fleet.routers[A], copy_of(attached)); /* the provider actor knows whether it has it */
    answer(&fleet, &fleet.targets[0], nth(at_target, 1));
    assert_end(nth(at_router, 3), attached, ERR_NONE);
    answer(&fleet, &fleet.targets[0], nth(at_target, 0));
    assert_end(nth(at_router, 4), request, ERR_NONE);
    assert_int_equal(pthread_join(stopping, &busy), 0);
    assert_null(busy);
    const struct env *closed = nth(at_router, 5);
    assert_int_equal(closed->kind, ENV_GOODBYE);
    assert_true(dyn_slice_is(closed->reason, "close"));
    env_free(&request);
    env_free(&crossing);
    env_free(&attached);
    fleet_close(&fleet);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_says_what_it_serves),
        cmocka_unit_test(a_request_goes_to_its_target_and_the_answer_back),
        cmocka_unit_test(cancel_and_credit_find_the_call),
        cmocka_unit_test(a_request_for_a_target_that_is_gone_is_handed_back),
        cmocka_unit_test(a_router_of_an_earlier_version_learns_it_too),
        cmocka_unit_test(a_router_has_a_budget),
        cmocka_unit_test(a_lost_router_is_told_of_and_found_again),
        cmocka_unit_test(a_call_moves_to_another_router),
        cmocka_unit_test(a_drain_finishes_what_is_under_way),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
