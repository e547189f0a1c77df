/* The worker actor when what it serves changes. */
#include "tests/unit/providers/fleet.h"

#include "tests/conformance/raw.h"

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

/* ---- routers made of nothing but libzmq ---- */

static void
say_in(struct raw *raw, unsigned minor, struct env *env)
{
    struct dyn_buf header = DYN_BUF_INIT;
    assert_int_equal(env_encode_for(env, minor, &header, NULL), 0);
    raw_begin(raw);
    raw_send_frame(raw, header.data, header.len, env->body != NULL);
    if (env->body != NULL) {
        raw_send_frame(raw, dyn_block_data(env->body), env->body->len, false);
    }
    dyn_buf_fini(&header);
    env_free(&env);
}

static void
say_ready_in(struct raw *raw, unsigned minor)
{
    struct env *env = env_new(ENV_READY);
    env->role = DYN_SLICE("router");
    env->node = DYN_SLICE("raw");
    say_in(raw, minor, env);
}

/* The next envelope that is no heartbeat. */
static struct env *
hear(struct raw *raw)
{
    struct env *env;
    while ((env = raw_receive(raw, RAW_TIMEOUT_MS)) != NULL && env->kind == ENV_HEARTBEAT) {
        env_free(&env);
    }
    assert_non_null(env);
    return env;
}

static void
expect_targets(struct raw *raw, size_t n)
{
    struct env *said = hear(raw);
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

static void
expect_reload(struct raw *raw)
{
    struct env *goodbye = hear(raw);
    assert_int_equal(goodbye->kind, ENV_GOODBYE);
    assert_true(dyn_slice_is(goodbye->reason, "reload"));
    env_free(&goodbye);
}

/* Workers that have said READY to it, and not been answered. */
static struct raw
fleet_open_at_raw(struct fleet *fleet)
{
    static char base[64];
    struct dyn_err err;
    char endpoint[64];
    size_t size = sizeof endpoint;
    struct raw raw = raw_open((struct raw_options){.bind = "tcp://127.0.0.1:*"});
    assert_int_equal(zmq_getsockopt(raw.socket, ZMQ_LAST_ENDPOINT, endpoint, &size), 0);
    unsigned long port = strtoul(strrchr(endpoint, ':') + 1, NULL, 10);
    (void)snprintf(base, sizeof base, "tcp://127.0.0.1:%lu", port - 1);
    *fleet = (struct fleet){.bases = {base}};
    fleet->security = bus_security_new(&(struct bus_security_options){.insecure = true}, &err);
    workers_open(fleet, 1, 0, 0);
    expect_targets(&raw, 2);
    return raw;
}

/* Between the worker's READY and the router's, which answers it. */
static void
what_changes_while_a_router_joins_is_not_lost(void **state)
{
    (void)state;
    struct fleet fleet;
    struct raw raw = fleet_open_at_raw(&fleet);
    serve_the_second(&fleet);
    say_ready_in(&raw, ENV_VERSION_MINOR);
    expect_targets(&raw, 1);
    fleet_close(&fleet);
    raw_close(&raw);
    raw = fleet_open_at_raw(&fleet);
    serve_the_second(&fleet);
    say_ready_in(&raw, 1);
    expect_reload(&raw);
    expect_targets(&raw, 1);
    fleet_close(&fleet);
    raw_close(&raw);
}

/* It hears READY once for each connection: it gets another one, when nothing is in flight over this one. */
static void
a_router_of_an_earlier_version_learns_it_too(void **state)
{
    (void)state;
    struct fleet fleet;
    struct raw raw = fleet_open_at_raw(&fleet);
    say_ready_in(&raw, 1);
    struct env *request = request_for("first", "{}");
    say_in(&raw, 1, copy_of(request));
    const struct env *at_target = nth(&fleet.targets[0].record, 0);
    serve_the_second(&fleet);
    answer(&fleet, &fleet.targets[0], at_target);
    struct env *end = hear(&raw);
    assert_end(end, request, ERR_NONE);
    env_free(&end);
    expect_reload(&raw);
    expect_targets(&raw, 1);
    env_free(&request);
    fleet_close(&fleet);
    raw_close(&raw);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_for_a_target_that_is_gone_is_handed_back),
        cmocka_unit_test(what_changes_while_a_router_joins_is_not_lost),
        cmocka_unit_test(a_router_of_an_earlier_version_learns_it_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
