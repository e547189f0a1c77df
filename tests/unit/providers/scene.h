/* A provider actor on a real loop between a scripted owner and a scripted upstream. The owner sends its
 * requests when the bus starts, keeps what comes back, and opens the gate with the last END. */
#pragma once

#include "actors/providers/provider.h"
#include "tests/conformance/wires.h"
#include "tests/unit/providers/upstream.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define CHAT "{\"model\":\"gpt\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}"
#define CHAT_STREAM                                                                                          \
    "{\"model\":\"gpt\",\"stream\":true,\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}"
#define ANSWER                                                                                               \
    "{\"id\":\"x\",\"object\":\"chat.completion\",\"created\":1,\"model\":\"gpt\",\"choices\":[{\"index\":"  \
    "0,"                                                                                                     \
    "\"message\":{\"role\":\"assistant\",\"content\":\"hello\"},\"finish_reason\":\"stop\"}],"               \
    "\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":4,\"total_tokens\":7}}"
#define DELTA(text)                                                                                          \
    "data: {\"id\":\"x\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"" text "\"}}]}\n\n"
#define FINISH "data: {\"id\":\"x\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n"
#define USAGE                                                                                                \
    "data: "                                                                                                 \
    "{\"id\":\"x\",\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":2,\"total_tokens\":"  \
    "5}}\n\n"
#define DONE      "data: [DONE]\n\n"
#define SSE_HEAD  "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
#define JSON_TYPE "Content-Type: application/json\r\n"

enum { SCENE_REQUESTS_MAX = 1200 };

static bool scene_inproc; /* the bus sends over libzmq also inside the loop */

struct scene;
typedef void (*script_fn)(struct scene *scene, struct env *env);

struct scene {
    struct upstream *upstream;
    bus_t *bus;
    bus_loop_t *loop;
    bus_actor_t *me; /* the owner */
    bus_addr_t provider;
    struct provider_target target;
    struct provider_shared shared;
    http_client_t *client;
    char root[64];
    struct gate ended;
    script_fn on_envelope; /* on the loop; before the envelope is counted */
    void *user;
    void *user2;
    void (*on_start)(bus_actor_t *me, struct scene *scene);
    struct env *requests[SCENE_REQUESTS_MAX];
    size_t n_requests;
    struct env *template; /* for more of them */
    unsigned n_expected;  /* ENDs to wait for; 0: one for each request */
    uint32_t calls_max;   /* of the provider; 0: default */
    struct dyn_list seen; /* everything that came back, in order */
    struct env *end;      /* the last END */
    struct dyn_buf body;  /* bodies of all CHUNKs and ENDs, in order */
    size_t n_chunks;
    size_t n_ends;
    size_t max_chunk;
    uint32_t mailbox_bytes; /* of the bus; 0: default */
    bool grants;            /* the owner grants what it receives at once */
    size_t calls_left;      /* of the HTTP client, when all was over */
};

static inline int
owner_start(void *self, bus_actor_t *me, struct dyn_err *err)
{
    struct scene *scene = self;
    scene->me = me;
    for (size_t i = 0; i < scene->n_requests; i++) {
        if (bus_send(me, scene->provider, &scene->requests[i], err) != 0) {
            return -1;
        }
    }
    if (scene->on_start != NULL) {
        scene->on_start(me, scene);
    }
    return 0;
}

static inline void
scene_send(struct scene *scene, struct env *env)
{
    CHECK(bus_send(scene->me, scene->provider, &env, NULL) == 0);
}

static inline void
owner_grant(struct scene *scene, const struct env *chunk, size_t bytes)
{
    struct env *credit = env_about(ENV_CREDIT, chunk);
    credit->credit = (uint32_t)bytes;
    scene_send(scene, credit);
}

static inline size_t
scene_expected(const struct scene *scene)
{
    return scene->n_expected ? scene->n_expected : scene->n_requests;
}

static inline void
owner_receive(void *self, struct env **env_p)
{
    struct scene *scene = self;
    struct env *env = *env_p;
    *env_p = NULL;
    dyn_list_append(&scene->seen, &env->link);
    struct dyn_slice body = dyn_block_slice(env->body);
    dyn_buf_add_slice(&scene->body, body);
    if (env->kind == ENV_CHUNK) {
        scene->n_chunks++;
        scene->max_chunk = body.len > scene->max_chunk ? body.len : scene->max_chunk;
        if (scene->grants) {
            owner_grant(scene, env, body.len);
        }
    }
    if (env->kind == ENV_END) {
        scene->n_ends++;
        scene->end = env;
    }
    if (scene->on_envelope != NULL) {
        scene->on_envelope(scene, env);
    }
    if (env->kind == ENV_END) {
        gate_open(&scene->ended);
    }
}

static inline void
owner_stop(void *self)
{
    (void)self;
}

static const struct bus_actor_ops scene_owner_ops = {
    .kind = "owner", .start = owner_start, .receive = owner_receive, .stop = owner_stop};

static inline struct scene *
scene_new(serve_fn serve)
{
    struct scene *scene = dyn_zalloc(sizeof *scene);
    dyn_list_init(&scene->seen);
    scene->grants = true;
    scene->upstream = serve != NULL ? upstream_new(serve, scene) : NULL;
    if (serve != NULL) {
        (void)snprintf(scene->root, sizeof scene->root, "http://127.0.0.1:%u/v1", scene->upstream->port);
    }
    scene->target = (struct provider_target){
        .name = DYN_SLICE("first"),
        .row = provider_row_find(DYN_SLICE("openai")),
        .root = dyn_slice_str(scene->root),
        .key = DYN_SLICE("sk-secret-of-the-target"),
        .connect_ms = 10000,
        .first_byte_ms = 10000,
        .idle_ms = 10000,
        .ask_usage = true,
    };
    return scene;
}

static inline struct env *
scene_request(struct scene *scene, const char *body)
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
    CHECK(scene->n_requests < SCENE_REQUESTS_MAX);
    scene->requests[scene->n_requests++] = request;
    return request;
}

/* What either thread has written until here is seen by the other: sockets order it, but tell no sanitizer. */
static inline void
scene_meet_upstream(struct scene *scene)
{
    if (scene->upstream != NULL) {
        (void)pthread_mutex_lock(&scene->upstream->lock);
        (void)pthread_mutex_unlock(&scene->upstream->lock);
    }
}

static inline void
scene_start(struct scene *scene)
{
    struct bus_options options = {.inproc = scene_inproc, .mailbox_bytes = scene->mailbox_bytes};
    struct dyn_err err = {.text = ""};
    gate_init(&scene->ended, (unsigned)scene_expected(scene));
    scene_meet_upstream(scene);
    scene->bus = bus_new(&options, &err);
    scene->loop = bus_add_loop(scene->bus, "provider-test");
    struct http_client_options http = {.only_libcurl = getenv("DYNABUS_TEST_LIBCURL") != NULL};
    scene->client = http_client_new(scene->loop, &http, &err);
    assert_non_null(scene->client);
    struct provider_options provider = {.target = &scene->target,
                                        .shared = &scene->shared,
                                        .client = scene->client,
                                        .calls_max = scene->calls_max};
    scene->provider = bus_add_actor(scene->bus, scene->loop, &provider_actor_ops, provider_new(&provider));
    (void)bus_add_actor(scene->bus, scene->loop, &scene_owner_ops, scene);
    if (bus_start(scene->bus, &err) != 0) {
        fail_msg("%s", err.text);
    }
}

/* Returns when all requests have their END. */
static inline void
scene_stop(struct scene *scene)
{
    gate_wait(&scene->ended);
    scene_meet_upstream(scene);
    assert_int_equal(bus_stop(scene->bus, 5000), 0);
    scene->calls_left = http_client_calls(scene->client);
    http_client_unref(&scene->client);
    assert_int_equal(atomic_load(&scene->shared.in_flight), 0);
}

static inline void
scene_play(struct scene *scene)
{
    scene_start(scene);
    scene_stop(scene);
}

static inline void
scene_free(struct scene *scene)
{
    for (struct dyn_list *link; (link = dyn_list_pop(&scene->seen)) != NULL;) {
        struct env *env = DYN_CONTAINER_OF(link, struct env, link);
        env_free(&env);
    }
    bus_free(&scene->bus);
    if (scene->upstream != NULL) {
        upstream_free(scene->upstream);
    }
    dyn_buf_fini(&scene->body);
    free(scene);
}

/* The first envelope that came back. */
static inline const struct env *
scene_first(const struct scene *scene)
{
    assert_false(dyn_list_is_empty(&scene->seen));
    return DYN_CONTAINER_OF(scene->seen.next, struct env, link);
}

static inline const char *
scene_header(const struct env *env, const char *name)
{
    for (size_t i = 0; i < env->n_headers; i++) {
        if (dyn_slice_is(env->headers[i].name, name)) {
            return env->headers[i].value.data;
        }
    }
    return NULL;
}

/* The tests of a program, over both wires of a loop. */
#define SCENE_RUN_BOTH_WAYS(tests, setup, teardown)                                                          \
    (cmocka_run_group_tests_name("local wire", tests, setup, teardown) +                                     \
     (scene_inproc = true, cmocka_run_group_tests_name("inproc wire", tests, setup, teardown)))
