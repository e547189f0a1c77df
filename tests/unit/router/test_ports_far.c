/* An edge's owner and the ports of two routers' processes over real sockets: what the scripted tests of both
 * take for granted. Three buses in one program; nothing but ZeroMQ lies between them. */
#include "edge/owner.h"
#include "router/ports_impl.h"
#include "tests/unit/edge/stage.h"

#include <stdio.h>
#include <unistd.h>

enum { ROUTERS = 2, PATIENCE_MS = 20000 };

struct router_process {
    struct stage stage;
    struct bus_process process;
    struct extra router;
    char endpoint[BUS_ENDPOINT_MAX];
    bool runs;
};

struct fleet {
    struct bus_security *security;
    struct router_process routers[ROUTERS];
    struct stage stage; /* of the edge */
    struct bus_process process;
    struct extra edge;
    bus_resolver_t *resolver;
    bus_addr_t owner;
    const char *endpoints[ROUTERS];
};

static void
bus_of(struct stage *stage)
{
    struct dyn_err err;
    stage->bus = bus_new(NULL, &err);
    stage->loop = bus_add_loop(stage->bus, "far");
}

static void
start_router(struct fleet *fleet, size_t i)
{
    struct router_process *process = &fleet->routers[i];
    struct bus_endpoint base = {.is_ipc = true};
    bus_process_init(&process->process, fleet->security);
    bus_of(&process->stage);
    stage_add(&process->stage, &process->router);
    (void)snprintf(base.host, sizeof base.host, "/tmp/dynabus-ports-%d-%zu", (int)getpid(), i);
    bus_endpoint_text(&base, BUS_ENDPOINT_CLIENTS, process->endpoint);
    struct ports_options options = {
        .process = &process->process,
        .base = base,
        .clients = true,
        .workers = true,
        .routers = &process->router.addr,
        .n_routers = 1,
    };
    (void)bus_add_actor(process->stage.bus, process->stage.loop, &ports_actor_ops, ports_new(&options));
    stage_start(&process->stage);
    process->runs = true;
}

static void
stop_router(struct fleet *fleet, size_t i)
{
    if (fleet->routers[i].runs) {
        fleet->routers[i].runs = false;
        stage_stop(&fleet->routers[i].stage);
    }
}

static struct fleet *
fleet_new(void)
{
    struct fleet *fleet = dyn_zalloc(sizeof *fleet);
    struct bus_security_options security = {.cert = NULL};
    struct dyn_err err;
    fleet->security = bus_security_new(&security, &err);
    assert_non_null(fleet->security);
    for (size_t i = 0; i < ROUTERS; i++) {
        start_router(fleet, i);
        fleet->endpoints[i] = fleet->routers[i].endpoint;
    }
    bus_process_init(&fleet->process, fleet->security);
    fleet->resolver = bus_resolver_new();
    bus_of(&fleet->stage);
    struct owner_options options = {
        .process = &fleet->process,
        .resolver = fleet->resolver,
        .routers = fleet->endpoints,
        .n_routers = ROUTERS,
    };
    fleet->owner = bus_add_actor(fleet->stage.bus, fleet->stage.loop, &owner_actor_ops, owner_new(&options));
    stage_add(&fleet->stage, &fleet->edge);
    stage_start(&fleet->stage);
    return fleet;
}

static void
fleet_free(struct fleet *fleet)
{
    stage_stop(&fleet->stage);
    bus_resolver_free(&fleet->resolver);
    extra_fini(&fleet->edge);
    for (size_t i = 0; i < ROUTERS; i++) {
        stop_router(fleet, i);
        extra_fini(&fleet->routers[i].router);
    }
    bus_security_free(&fleet->security);
    free(fleet);
}

struct look {
    struct extra *extra;
    struct env *found;
};

static void
look_on_loop(void *arg)
{
    struct look *look = arg;
    look->found = extra_next(look->extra);
}

/* The next envelope, if one is there. Its sockets are read while the test looks. */
static struct env *
next_of(struct stage *stage, struct extra *extra)
{
    struct look look = {.extra = extra};
    stage_do(stage, look_on_loop, &look);
    return look.found;
}

/* ... once it is there, which has to be of this kind. */
static struct env *
await(struct stage *stage, struct extra *extra, enum env_kind kind)
{
    for (unsigned ms = 0; ms < PATIENCE_MS; ms++) {
        struct env *env = next_of(stage, extra);
        if (env != NULL) {
            assert_string_equal(env_kind_name(env->kind), env_kind_name(kind));
            return env;
        }
        (void)usleep(1000);
    }
    fail_msg("no %s came", env_kind_name(kind));
    abort(); /* not reached; the compiler cannot know */
}

/* The REQUEST that one of the routers gets, and which. */
static struct env *
routers_await(struct fleet *fleet, size_t *router)
{
    for (unsigned ms = 0; ms < PATIENCE_MS; ms++) {
        for (*router = 0; *router < ROUTERS; ++*router) {
            struct router_process *process = &fleet->routers[*router];
            struct env *env = process->runs ? next_of(&process->stage, &process->router) : NULL;
            if (env != NULL) {
                assert_int_equal(env->kind, ENV_REQUEST);
                return env;
            }
        }
        (void)usleep(1000);
    }
    fail_msg("no router got anything");
    abort(); /* not reached; the compiler cannot know */
}

static void
ask(struct fleet *fleet, const char *body)
{
    struct env *request = env_new(ENV_REQUEST);
    request->id = env_id_random();
    request->surface = ENV_SURFACE_CHAT;
    request->dialect = DYN_SLICE("openai_chat");
    request->credential = DYN_SLICE("secret");
    request->peer = DYN_SLICE("10.0.0.7:1234");
    request->credit = ENV_WINDOW_FIRST;
    request->body = dyn_block_copy(0, dyn_slice_str(body));
    stage_send(&fleet->stage, &fleet->edge, fleet->owner, request);
}

static void
router_says(struct fleet *fleet, size_t router, const struct env *request, struct env *env)
{
    env->id = request->id;
    env->epoch = request->epoch;
    stage_send(&fleet->routers[router].stage, &fleet->routers[router].router, request->from, env);
}

static struct env *
chunk_with(const char *text)
{
    struct env *chunk = env_new(ENV_CHUNK);
    chunk->stream = true;
    chunk->body = dyn_block_copy(0, dyn_slice_str(text));
    return chunk;
}

static void
a_request_crosses_two_processes(void **state)
{
    (void)state;
    struct fleet *fleet = fleet_new();
    ask(fleet, "hello");
    size_t router;
    struct env *request = routers_await(fleet, &router);
    assert_slice_is(dyn_block_slice(request->body), "hello");
    assert_slice_is(request->credential, "secret");
    assert_slice_is(request->peer, "10.0.0.7:1234"); /* it said that it is an edge */
    assert_true(request->track);
    struct env *dispatched = env_new(ENV_DISPATCHED);
    dispatched->stream = true;
    router_says(fleet, router, request, dispatched);
    router_says(fleet, router, request, chunk_with("data: 1\n\n"));
    (void)await(&fleet->stage, &fleet->edge, ENV_DISPATCHED);
    struct env *chunk = await(&fleet->stage, &fleet->edge, ENV_CHUNK);
    assert_slice_is(dyn_block_slice(chunk->body), "data: 1\n\n");
    struct env *credit = env_about(ENV_CREDIT, request);
    credit->credit = 777;
    stage_send(&fleet->stage, &fleet->edge, fleet->owner, credit);
    assert_int_equal(await(&fleet->routers[router].stage, &fleet->routers[router].router, ENV_CREDIT)->credit,
                     777);
    struct env *end = env_new(ENV_END);
    end->outcome = ENV_OUTCOME_OK;
    router_says(fleet, router, request, end);
    assert_int_equal(await(&fleet->stage, &fleet->edge, ENV_END)->outcome, ENV_OUTCOME_OK);
    fleet_free(fleet);
}

static void
the_other_router_gets_what_a_stopped_one_had(void **state)
{
    (void)state;
    struct fleet *fleet = fleet_new();
    ask(fleet, "hello");
    size_t first;
    struct env *request = routers_await(fleet, &first);
    struct env *dispatched = env_new(ENV_DISPATCHED);
    dispatched->worker = DYN_SLICE("w-1");
    dispatched->worker_attempt = 1;
    dispatched->worker_epoch = 2;
    dispatched->stream = true; /* so that the edge shows that it has come */
    router_says(fleet, first, request, dispatched);
    (void)await(&fleet->stage, &fleet->edge, ENV_DISPATCHED);
    stop_router(fleet, first); /* no time to drain: it hands back what it has, or is just gone */
    size_t second;
    struct env *again = routers_await(fleet, &second);
    assert_int_not_equal(first, second);
    assert_true(env_id_eq(&again->id, &request->id));
    assert_slice_is(dyn_block_slice(again->body), "hello");
    assert_int_equal(again->epoch, 1);
    assert_slice_is(again->worker, "w-1");
    assert_int_equal(again->worker_attempt, 1);
    assert_int_equal(again->worker_epoch, 2);
    router_says(fleet, second, again, chunk_with("data: 1\n\n"));
    (void)await(&fleet->stage, &fleet->edge, ENV_CHUNK);
    stop_router(fleet, second);
    enum err_code error = await(&fleet->stage, &fleet->edge, ENV_END)->error;
    assert_true(error == ERR_DRAINING || error == ERR_ROUTER_LOST); /* whether it could still say so */
    fleet_free(fleet);
}

/* The owner of a request is gone: its routers hear of it, in its name. */
static void
a_stopped_edge_is_told_to_the_router(void **state)
{
    (void)state;
    struct fleet *fleet = fleet_new();
    ask(fleet, "hello");
    size_t router;
    struct env *request = routers_await(fleet, &router);
    stage_stop(&fleet->stage);
    struct env *goodbye = await(&fleet->routers[router].stage, &fleet->routers[router].router, ENV_GOODBYE);
    assert_int_equal(goodbye->from, request->from);
    bus_of(&fleet->stage);
    stage_start(&fleet->stage);
    fleet_free(fleet);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_crosses_two_processes),
        cmocka_unit_test(the_other_router_gets_what_a_stopped_one_had),
        cmocka_unit_test(a_stopped_edge_is_told_to_the_router),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
