/* Provider actors, one in each of two cells, between two routers that come and go and an upstream that
 * answers when it is told to. The test's thread says what happens, step by step; what happens on the loop is
 * posted there. */
#pragma once

#include "tests/unit/providers/scene.h"

enum { STAGE_ROUTERS = 2, STAGE_CELLS = 2 };

struct stage;

/* What came to a router. */
struct stage_router {
    struct stage *stage;
    bus_addr_t addr; /* 0: gone */
    struct dyn_list seen;
    struct dyn_buf body;
    unsigned n_chunks;
    unsigned n_ends;
    unsigned n_dispatched;
    struct env *end; /* the last */
};

struct stage {
    struct upstream *upstream;
    bus_t *bus;
    bus_loop_t *loop; /* of the first cell and the routers */
    bus_loop_t *loops[STAGE_CELLS];
    bus_actor_t *port; /* whose peers the routers are */
    bus_addr_t cells[STAGE_CELLS];
    bus_addr_t provider; /* that is spoken to: the first cell's, until the test says otherwise */
    struct provider_target target;
    struct provider_shared shared;
    struct provider_orphans orphans;
    http_client_t *clients[STAGE_CELLS];
    char root[64];
    pthread_mutex_t lock; /* of what the routers have */
    struct stage_router routers[STAGE_ROUTERS];
    atomic_uint go; /* how often the upstream may go on */
};

static bool stage_inproc;
/* Says more about the target before its actors start; it has a guard then. */
static void (*stage_prepare)(struct stage *stage);

/* ---- on the loop ---- */

static inline void
stage_router_receive(void *self, struct env **env_p)
{
    struct stage_router *router = self;
    struct env *env = *env_p;
    *env_p = NULL;
    (void)pthread_mutex_lock(&router->stage->lock);
    dyn_list_append(&router->seen, &env->link);
    dyn_buf_add_slice(&router->body, dyn_block_slice(env->body));
    router->n_chunks += env->kind == ENV_CHUNK;
    router->n_ends += env->kind == ENV_END;
    router->n_dispatched += env->kind == ENV_DISPATCHED;
    router->end = env->kind == ENV_END ? env : router->end;
    (void)pthread_mutex_unlock(&router->stage->lock);
}

static inline void
stage_nothing(void *self)
{
    (void)self;
}

static const struct bus_actor_ops stage_router_ops = {
    .kind = "router", .receive = stage_router_receive, .stop = stage_nothing};

static inline int
stage_port_start(void *self, bus_actor_t *me, struct dyn_err *err)
{
    struct stage *stage = self;
    (void)err;
    stage->port = me;
    for (size_t i = 0; i < STAGE_ROUTERS; i++) {
        stage->routers[i].addr = bus_add_live_actor(me, &stage_router_ops, &stage->routers[i]);
        CHECK(stage->routers[i].addr != 0);
    }
    return 0;
}

static const struct bus_actor_ops stage_port_ops = {
    .kind = "port", .start = stage_port_start, .stop = stage_nothing};

struct stage_step {
    struct stage *stage;
    size_t router;
    struct env *env; /* NULL: the router goes */
    struct gate done;
};

static inline void
stage_do_step(void *step_)
{
    struct stage_step *step = step_;
    struct stage_router *router = &step->stage->routers[step->router];
    if (step->env != NULL) {
        CHECK(bus_send_as(step->stage->port, router->addr, step->stage->provider, &step->env, NULL) == 0);
    } else {
        bus_remove_actor(step->stage->port, router->addr);
    }
    gate_open(&step->done);
}

/* ---- in the test's thread ---- */

static inline void
stage_step(struct stage *stage, size_t router, struct env *env)
{
    struct stage_step step = {.stage = stage, .router = router, .env = env};
    gate_init(&step.done, 1);
    bus_loop_post(stage->loop, stage_do_step, &step);
    gate_wait(&step.done);
}

/* In the router's name. */
static inline void
stage_send(struct stage *stage, size_t router, enum env_kind kind, const struct env *about)
{
    struct env *env = env_about(kind, about);
    env->credit = kind == ENV_CREDIT ? ENV_WINDOW_FIRST : 0;
    stage_step(stage, router, env);
}

/* The router is gone. `told`: as a worker that has noticed says it; else the provider finds nobody there. */
static inline void
stage_lose(struct stage *stage, size_t router, bool told)
{
    if (told) {
        stage_step(stage, router, env_new(ENV_GOODBYE));
    }
    stage_step(stage, router, NULL);
}

/* The caller keeps one like it, to speak about it. */
static inline struct env *
stage_request(const char *body)
{
    struct env *request = env_new(ENV_REQUEST);
    request->id = env_id_random();
    request->attempt = 1;
    request->surface = ENV_SURFACE_CHAT;
    request->dialect = DYN_SLICE("openai_chat");
    request->model = DYN_SLICE("gpt");
    request->credit = ENV_WINDOW_FIRST;
    request->stream = strstr(body, "\"stream\":true") != NULL;
    request->body = dyn_block_copy(0, dyn_slice_str(body));
    return request;
}

static inline void
stage_ask(struct stage *stage, size_t router, const struct env *request)
{
    struct env *copy = env_clone_request(request);
    copy->attach = request->attach; /* of one hop only, so not part of a clone */
    stage_step(stage, router, copy);
}

/* Lets the upstream do its next step. */
static inline void
stage_go(struct stage *stage)
{
    (void)atomic_fetch_add(&stage->go, 1);
}

/* For the upstream: waits until it may do its nth step. */
static inline void
stage_await_go(struct upstream *upstream, unsigned n)
{
    const struct stage *stage = upstream->user;
    while (atomic_load(&stage->go) < n && !atomic_load(&upstream->stopping)) {
        (void)usleep(500);
    }
}

/* Until the expression holds; a test that waits for ever has failed and says where. */
#define STAGE_UNTIL(expression)                                                                              \
    do {                                                                                                     \
        unsigned naps_ = 0;                                                                                  \
        while (!(expression)) {                                                                              \
            if (++naps_ > 20000) {                                                                           \
                fail_msg("line %d: it did not come to %s", __LINE__, #expression);                           \
            }                                                                                                \
            (void)usleep(500);                                                                               \
        }                                                                                                    \
    } while (0)

static inline unsigned
stage_count(struct stage *stage, const unsigned *counter)
{
    (void)pthread_mutex_lock(&stage->lock);
    unsigned n = *counter;
    (void)pthread_mutex_unlock(&stage->lock);
    return n;
}
#define stage_ends(stage, router)   stage_count(stage, &(stage)->routers[router].n_ends)
#define stage_chunks(stage, router) stage_count(stage, &(stage)->routers[router].n_chunks)

static inline size_t
stage_body(struct stage *stage, size_t router)
{
    (void)pthread_mutex_lock(&stage->lock);
    size_t len = stage->routers[router].body.len;
    (void)pthread_mutex_unlock(&stage->lock);
    return len;
}

static inline void
stage_add_cell(struct stage *stage, size_t cell, bus_loop_t *loop)
{
    struct http_client_options http = {.connections_max = 0};
    struct dyn_err err = {.text = ""};
    stage->clients[cell] = http_client_new(loop, &http, &err);
    assert_non_null(stage->clients[cell]);
    struct provider_options provider = {.target = &stage->target,
                                        .shared = &stage->shared,
                                        .client = stage->clients[cell],
                                        .orphans = stage->orphans.time_ms > 0 ? &stage->orphans : NULL};
    stage->cells[cell] = bus_add_actor(stage->bus, loop, &provider_actor_ops, provider_new(&provider));
}

static inline struct stage *
stage_new(serve_fn serve, uint32_t time_ms, size_t bytes_max)
{
    struct stage *stage = dyn_zalloc(sizeof *stage);
    struct bus_options bus = {.inproc = stage_inproc};
    struct dyn_err err = {.text = ""};
    (void)pthread_mutex_init(&stage->lock, NULL);
    for (size_t i = 0; i < STAGE_ROUTERS; i++) {
        stage->routers[i].stage = stage;
        dyn_list_init(&stage->routers[i].seen);
    }
    stage->upstream = upstream_new(serve, stage);
    (void)snprintf(stage->root, sizeof stage->root, "http://127.0.0.1:%u/v1", stage->upstream->port);
    stage->target = (struct provider_target){
        .name = DYN_SLICE("first"),
        .row = provider_row_find(DYN_SLICE("openai")),
        .root = dyn_slice_str(stage->root),
        .key = DYN_SLICE("sk-secret-of-the-target"),
        .connect_ms = 10000,
        .first_byte_ms = 10000,
        .idle_ms = 10000,
    };
    stage->orphans.time_ms = time_ms;
    stage->orphans.bytes_max = bytes_max;
    stage->bus = bus_new(&bus, &err);
    stage->loop = bus_add_loop(stage->bus, "stage");
    stage->loops[0] = stage->loop;
    stage->loops[1] = bus_add_loop(stage->bus, "stage-1");
    if (stage_prepare != NULL) {
        stage_prepare(stage);
        provider_shared_init(&stage->shared, &stage->target);
    }
    stage_add_cell(stage, 0, stage->loops[0]);
    stage_add_cell(stage, 1, stage->loops[1]);
    stage->provider = stage->cells[0];
    (void)bus_add_actor(stage->bus, stage->loop, &stage_port_ops, stage);
    if (bus_start(stage->bus, &err) != 0) {
        fail_msg("%s", err.text);
    }
    return stage;
}

/* Everything ended, and nothing is left behind. */
static inline void
stage_free(struct stage *stage)
{
    assert_int_equal(bus_stop(stage->bus, 5000), 0);
    assert_int_equal(atomic_load(&stage->shared.in_flight), 0);
    assert_int_equal(atomic_load(&stage->orphans.bytes), 0);
    for (size_t i = 0; i < STAGE_CELLS; i++) {
        assert_int_equal(http_client_calls(stage->clients[i]), 0);
        http_client_unref(&stage->clients[i]);
    }
    bus_free(&stage->bus);
    upstream_free(stage->upstream);
    for (size_t i = 0; i < STAGE_ROUTERS; i++) {
        for (struct dyn_list *link; (link = dyn_list_pop(&stage->routers[i].seen)) != NULL;) {
            struct env *env = DYN_CONTAINER_OF(link, struct env, link);
            env_free(&env);
        }
        dyn_buf_fini(&stage->routers[i].body);
    }
    (void)pthread_mutex_destroy(&stage->lock);
    provider_shared_fini(&stage->shared);
    free(stage);
}
