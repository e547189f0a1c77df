/* The edge actor on a real loop and real sockets, before a router whose part the test plays: it takes what
 * the edge sends and sends what it likes. */
#pragma once

#include "edge/edge.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

enum { PATIENCE_S = 20 }; /* never waited for unless something is broken */

struct scripted_router {
    bus_actor_t *me;
    bus_loop_t *loop;
    bus_addr_t edge;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct dyn_list received; /* envelopes */
};

struct world {
    bus_t *bus;
    struct scripted_router *router;
    struct edge_group *group;
    config_t *config;
    struct edge_config edge_config;
    bus_addr_t edge_addr;
    bool started;
};

/* ---- the router ---- */

static int
router_start(void *self, bus_actor_t *me, struct dyn_err *err)
{
    struct scripted_router *router = self;
    (void)err;
    router->me = me;
    router->loop = bus_actor_loop(me);
    return 0;
}

static void
router_receive(void *self, struct env **env_p)
{
    struct scripted_router *router = self;
    struct env *env = *env_p;
    *env_p = NULL;
    router->edge = env->from;
    (void)pthread_mutex_lock(&router->lock);
    dyn_list_append(&router->received, &env->link);
    (void)pthread_cond_broadcast(&router->changed);
    (void)pthread_mutex_unlock(&router->lock);
}

static void
router_stop(void *self)
{
    (void)self; /* the test looks at what is left */
}

static const struct bus_actor_ops scripted_router_ops = {
    .kind = "router",
    .start = router_start,
    .receive = router_receive,
    .stop = router_stop,
};

/* The next envelope from the edge, whatever its kind; NULL when there is none within `ms`. */
static struct env *
router_take_within(struct world *world, unsigned ms)
{
    struct scripted_router *router = world->router;
    struct timespec until;
    struct env *env = NULL;
    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += ms / 1000;
    until.tv_nsec += (long)(ms % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    (void)pthread_mutex_lock(&router->lock);
    while (dyn_list_is_empty(&router->received)) {
        if (pthread_cond_timedwait(&router->changed, &router->lock, &until) != 0) {
            break;
        }
    }
    struct dyn_list *link = dyn_list_pop(&router->received);
    (void)pthread_mutex_unlock(&router->lock);
    if (link != NULL) {
        env = DYN_CONTAINER_OF(link, struct env, link);
    }
    return env;
}

static struct env *
router_take(struct world *world, enum env_kind kind)
{
    struct env *env = router_take_within(world, PATIENCE_S * 1000);
    if (env == NULL) {
        fail_msg("the router got nothing");
        abort(); /* not reached; the compiler cannot know */
    }
    assert_int_equal(env->kind, kind);
    return env;
}

struct to_send {
    struct world *world;
    struct env *env;
};

static void
send_on_loop(void *arg)
{
    struct to_send *to_send = arg;
    struct scripted_router *router = to_send->world->router;
    struct dyn_err err;
    if (bus_send(router->me, to_send->world->edge_addr, &to_send->env, &err) != 0) {
        env_free(&to_send->env);
    }
    free(to_send);
}

static void
router_send(struct world *world, struct env *env)
{
    struct to_send *to_send = malloc(sizeof *to_send);
    *to_send = (struct to_send){world, env};
    bus_loop_post(world->router->loop, send_on_loop, to_send);
}

static DYN_UNUSED struct env *
chunk_for(const struct env *request, const char *text)
{
    struct env *chunk = env_about(ENV_CHUNK, request);
    chunk->sequence = 1; /* 0 is an answer's first */
    chunk->body = dyn_block_copy(ENV_BODY_HEADROOM, dyn_slice_str(text));
    return chunk;
}

static DYN_UNUSED struct env *
first_chunk_for(const struct env *request, bool stream, const char *text)
{
    struct env *chunk = chunk_for(request, text);
    chunk->sequence = 0;
    chunk->status = 200;
    chunk->stream = stream;
    chunk->content_type = stream ? DYN_SLICE("text/event-stream") : DYN_SLICE("application/json");
    chunk->provider = DYN_SLICE("openai");
    chunk->target = DYN_SLICE("main");
    chunk->attempts = 1;
    return chunk;
}

static DYN_UNUSED struct env *
end_for(const struct env *request, const char *text)
{
    struct env *end = env_about(ENV_END, request);
    end->outcome = ENV_OUTCOME_OK;
    end->status = 200;
    end->content_type = DYN_SLICE("application/json");
    end->provider = DYN_SLICE("openai");
    end->target = DYN_SLICE("main");
    end->attempts = 1;
    if (text != NULL) {
        end->body = dyn_block_copy(ENV_BODY_HEADROOM, dyn_slice_str(text));
    }
    return end;
}

static DYN_UNUSED struct env *
error_for(const struct env *request, enum err_code code)
{
    struct env *end = env_about(ENV_END, request);
    end->outcome = ENV_OUTCOME_ERROR;
    end->error = code;
    end->status = err_row(code)->http;
    return end;
}

/* ---- the world ---- */

static const struct config_part *const edge_parts[] = {&edge_config_part};

struct world_options {
    bool dev;
    bool inproc;
    bool no_router; /* its address is nobody's */
    size_t mailbox_bytes;
    unsigned sse_keepalive_ms;
    size_t max_body_memory;
};

static struct world *
world_start_with(const struct world_options *options)
{
    struct world *world = calloc(1, sizeof *world);
    struct dyn_err err;
    world->config = config_defaults(edge_parts, 1);
    world->edge_config = *(struct edge_config *)config_values(world->config, &edge_config_part);
    if (options->sse_keepalive_ms > 0) {
        world->edge_config.sse_keepalive_ms = options->sse_keepalive_ms;
    }
    if (options->max_body_memory > 0) {
        world->edge_config.max_body_memory = options->max_body_memory;
    }
    world->group = edge_group_new(1);
    assert_int_equal(edge_group_listen(world->group, DYN_SLICE("127.0.0.1:0"), false, &err), 0);
    world->bus = bus_new(
        &(struct bus_options){.inproc = options->inproc, .mailbox_bytes = options->mailbox_bytes}, &err);
    bus_loop_t *loop = bus_add_loop(world->bus, "cell-0");
    world->router = calloc(1, sizeof *world->router);
    (void)pthread_mutex_init(&world->router->lock, NULL);
    (void)pthread_cond_init(&world->router->changed, NULL);
    dyn_list_init(&world->router->received);
    bus_addr_t router = bus_add_actor(world->bus, loop, &scripted_router_ops, world->router);
    void *edge = edge_new(&(struct edge_options){
        .config = &world->edge_config,
        .router = options->no_router ? 0 : router,
        .group = world->group,
        .dev = options->dev,
    });
    world->edge_addr = bus_add_actor(world->bus, loop, &edge_actor_ops, edge);
    assert_int_equal(bus_start(world->bus, &err), 0);
    world->started = true;
    return world;
}

static DYN_UNUSED struct world *
world_start(void)
{
    return world_start_with(&(struct world_options){.dev = false});
}

static unsigned
world_drain(struct world *world, uint32_t timeout_ms)
{
    world->started = false;
    return bus_stop(world->bus, timeout_ms);
}

static void
world_stop(struct world *world)
{
    if (world->started) {
        (void)world_drain(world, 0);
    }
    bus_free(&world->bus);
    for (struct dyn_list *link; (link = dyn_list_pop(&world->router->received)) != NULL;) {
        struct env *env = DYN_CONTAINER_OF(link, struct env, link);
        env_free(&env);
    }
    (void)pthread_mutex_destroy(&world->router->lock);
    (void)pthread_cond_destroy(&world->router->changed);
    free(world->router);
    edge_group_free(&world->group);
    config_free(&world->config);
    free(world);
}

/* ---- clients ---- */

struct caller {
    int fd;
    char *got;
    size_t len;
};

static DYN_UNUSED struct caller
caller_connect(struct world *world)
{
    const char *text = edge_group_address(world->group);
    struct sockaddr_in address = {
        .sin_family = AF_INET,
        .sin_port = htons((uint16_t)strtoul(strrchr(text, ':') + 1, NULL, 10)),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    struct caller caller = {.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    struct timeval patience = {.tv_sec = PATIENCE_S};
    assert_int_equal(setsockopt(caller.fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience), 0);
    assert_int_equal(connect(caller.fd, (struct sockaddr *)&address, sizeof address), 0);
    return caller;
}

static DYN_UNUSED void
caller_send(struct caller *caller, const char *text)
{
    size_t len = strlen(text);
    for (size_t at = 0; at < len;) {
        ssize_t n = send(caller->fd, text + at, len - at, MSG_NOSIGNAL);
        assert_true(n > 0);
        at += (size_t)n;
    }
}

/* One more piece; false at the end of the connection. */
static bool
caller_read(struct caller *caller)
{
    char piece[16384];
    ssize_t n = recv(caller->fd, piece, sizeof piece, 0);
    if (n < 0 && errno == EAGAIN) {
        fail_msg("nothing came in time; so far: %s", caller->got ? caller->got : "");
    }
    if (n <= 0) {
        return false;
    }
    caller->got = realloc(caller->got, caller->len + (size_t)n + 1);
    memcpy(caller->got + caller->len, piece, (size_t)n);
    caller->len += (size_t)n;
    caller->got[caller->len] = '\0';
    return true;
}

static DYN_UNUSED bool
caller_has(const struct caller *caller, const char *text)
{
    return caller->got != NULL && strstr(caller->got, text) != NULL;
}

/* Reads until that came. */
static DYN_UNUSED void
caller_wait(struct caller *caller, const char *text)
{
    while (!caller_has(caller, text)) {
        if (!caller_read(caller)) {
            fail_msg("closed before \"%s\": %s", text, caller->got ? caller->got : "");
        }
    }
}

static DYN_UNUSED void
caller_wait_end(struct caller *caller)
{
    while (caller_read(caller)) {
    }
}

/* A whole answer with Content-Length. */
static DYN_UNUSED void
caller_wait_answer(struct caller *caller)
{
    caller_wait(caller, "\r\n\r\n");
    const char *length = strstr(caller->got, "content-length: ");
    assert_non_null(length);
    size_t body = strtoul(length + strlen("content-length: "), NULL, 10);
    size_t head = (size_t)(strstr(caller->got, "\r\n\r\n") - caller->got) + 4;
    while (caller->len < head + body) {
        assert_true(caller_read(caller));
    }
}

static DYN_UNUSED unsigned
caller_status(const struct caller *caller)
{
    return caller->len > 12 ? (unsigned)strtoul(caller->got + 9, NULL, 10) : 0;
}

static DYN_UNUSED void
caller_forget(struct caller *caller)
{
    free(caller->got);
    caller->got = NULL;
    caller->len = 0;
}

static DYN_UNUSED void
caller_close(struct caller *caller)
{
    (void)close(caller->fd);
    caller_forget(caller);
}

/* Sends a request and reads its answer, which the edge gives without the router. */
static DYN_UNUSED void
caller_ask(struct caller *caller, const char *text)
{
    caller_forget(caller);
    caller_send(caller, text);
    caller_wait_answer(caller);
}

#define caller_assert_has(caller, text)                                                  \
    do {                                                                                 \
        if (!caller_has((caller), (text))) {                                             \
            fail_msg("missing \"%s\" in: %s", (text), (caller)->got ? (caller)->got : ""); \
        }                                                                                \
    } while (0)

#define assert_slice_equal(slice, text) assert_true(dyn_slice_is((slice), (text)))
