/* The blocking client against a router that a thread plays, over real sockets: what it sends, what it takes,
 * and which sentence whoever typed a wrong endpoint or key reads. */
#include "bus/client.h"
#include "proto/env_codec.h"
#include "tests/unit/bus/keys.h"

#include <pthread.h>
#include <zmq.h>

enum { WAIT_MS = 10000 }; /* against hanging */

/* What the played router sends when the first message has come. */
struct script {
    const char *frames[8][3]; /* of messages; NULL ends a message, and all */
    size_t lens[8][3];
    bool dies; /* closes its socket behind them */
};

struct scene {
    void *context;
    void *router;
    char endpoint[64];
    pthread_t thread;
    const struct script *script;
    char received[2][4096]; /* the client's frames */
    size_t lens[2];
    int n_frames;
};

static void *
play(void *arg)
{
    struct scene *scene = arg;
    const struct script *script = scene->script;
    char identity[256];
    int id_len = zmq_recv(scene->router, identity, sizeof identity, 0);
    int more = id_len > 0;
    size_t size = sizeof more;
    for (scene->n_frames = 0; id_len > 0 && more && scene->n_frames < 2; scene->n_frames++) {
        int n = scene->n_frames;
        int len = zmq_recv(scene->router, scene->received[n], sizeof scene->received[n], 0);
        scene->lens[n] = len > 0 ? (size_t)len : 0;
        (void)zmq_getsockopt(scene->router, ZMQ_RCVMORE, &more, &size);
    }
    for (size_t i = 0; id_len > 0 && script->frames[i][0] != NULL; i++) {
        (void)zmq_send(scene->router, identity, (size_t)id_len, ZMQ_SNDMORE);
        for (size_t k = 0; k < 3 && script->frames[i][k] != NULL; k++) {
            int flags = k < 2 && script->frames[i][k + 1] != NULL ? ZMQ_SNDMORE : 0;
            (void)zmq_send(scene->router, script->frames[i][k], script->lens[i][k], flags);
        }
    }
    if (script->dies) {
        (void)zmq_close(scene->router);
        scene->router = NULL;
    }
    return NULL;
}

static void
scene_open(struct scene *scene, const struct script *script)
{
    const int wait = WAIT_MS;
    const int linger = WAIT_MS;
    size_t size = sizeof scene->endpoint;
    memset(scene, 0, sizeof *scene);
    scene->script = script;
    scene->context = zmq_ctx_new();
    scene->router = zmq_socket(scene->context, ZMQ_ROUTER);
    assert_non_null(scene->router);
    assert_int_equal(zmq_setsockopt(scene->router, ZMQ_RCVTIMEO, &wait, sizeof wait), 0);
    assert_int_equal(zmq_setsockopt(scene->router, ZMQ_LINGER, &linger, sizeof linger), 0);
    assert_int_equal(zmq_bind(scene->router, "tcp://127.0.0.1:*"), 0);
    assert_int_equal(zmq_getsockopt(scene->router, ZMQ_LAST_ENDPOINT, scene->endpoint, &size), 0);
    assert_int_equal(pthread_create(&scene->thread, NULL, play, scene), 0);
}

static void
scene_close(struct scene *scene)
{
    assert_int_equal(pthread_join(scene->thread, NULL), 0);
    if (scene->router != NULL) {
        (void)zmq_close(scene->router);
    }
    (void)zmq_ctx_term(scene->context);
}

static struct env *
a_request(void)
{
    struct env *request = env_new(ENV_REQUEST);
    request->id = env_id_random();
    request->surface = ENV_SURFACE_CHAT;
    request->dialect = DYN_SLICE("openai_chat");
    request->body = dyn_block_copy(0, DYN_SLICE("{\"model\":\"m\"}"));
    return request;
}

static bus_client_t *
asked(struct scene *scene, const struct script *script)
{
    struct dyn_err err;
    scene_open(scene, script);
    bus_client_t *client = bus_client_open(scene->endpoint, NULL, &err);
    assert_non_null(client);
    struct env *request = a_request();
    assert_int_equal(bus_client_send(client, request, &err), 0);
    assert_non_null(request->body); /* shared, not taken */
    env_free(&request);
    return client;
}

/* Header of an EVENT-like envelope that is easy to write by hand. */
#define HEADER(minor, kind, kind_head) "\x82\xa1v\x92\x01" minor "\xa4kind" kind_head kind

static void
what_is_sent_arrives_and_answers_come(void **state)
{
    (void)state;
    static const char heartbeat[] = HEADER("\x01", "heartbeat", "\xa9");
    static const char ready[] = HEADER("\x01", "ready", "\xa5");
    static const char later[] = HEADER("\x09", "greeting", "\xa8"); /* of a later version: skipped */
    const struct script script = {
        .frames = {{later, "body of it"}, {heartbeat}, {ready, "\x80"}, {heartbeat, ""}},
        .lens = {{sizeof later - 1, 10},
                 {sizeof heartbeat - 1},
                 {sizeof ready - 1, 1},
                 {sizeof heartbeat - 1, 0}},
    };
    struct scene scene;
    struct dyn_err err;
    struct env *env = NULL;
    bus_client_t *client = asked(&scene, &script);
    static const enum env_kind expected[] = {ENV_HEARTBEAT, ENV_READY, ENV_HEARTBEAT};
    for (size_t i = 0; i < DYN_ARRAY_LEN(expected); i++) {
        assert_int_equal(bus_client_receive(client, WAIT_MS, &env, &err), 0);
        assert_int_equal(env->kind, expected[i]);
        assert_int_equal(env_body_len(env), expected[i] == ENV_READY ? 1 : 0);
        env_free(&env);
    }
    assert_int_equal(bus_client_receive(client, 1, &env, &err), 1);
    assert_null(env);
    bus_client_close(&client);
    scene_close(&scene);
    assert_int_equal(scene.n_frames, 2);
    assert_int_equal(env_decode(dyn_slice(scene.received[0], scene.lens[0]), &env, &err), 0);
    assert_int_equal(env->kind, ENV_REQUEST);
    assert_true(dyn_slice_is(dyn_slice(scene.received[1], scene.lens[1]), "{\"model\":\"m\"}"));
    env_free(&env);
}

/* Nothing that a router can send does more than end the call with a sentence. */
static void
what_is_no_envelope_is_an_error(void **state)
{
    (void)state;
    static const char heartbeat[] = HEADER("\x01", "heartbeat", "\xa9");
    const struct script script = {
        .frames = {{"", heartbeat}, {"nonsense"}, {heartbeat, "b", "c"}, {heartbeat, "body"}, {heartbeat}},
        .lens = {{0, sizeof heartbeat - 1},
                 {8},
                 {sizeof heartbeat - 1, 1, 1},
                 {sizeof heartbeat - 1, 4},
                 {sizeof heartbeat - 1}},
    };
    struct scene scene;
    struct dyn_err err;
    struct env *env = NULL;
    bus_client_t *client = asked(&scene, &script);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(bus_client_receive(client, WAIT_MS, &env, &err), -1);
        assert_int_equal(err.code, DYN_E_INVALID);
        assert_non_null(strstr(err.text, scene.endpoint));
        assert_null(env);
    }
    assert_int_equal(bus_client_receive(client, WAIT_MS, &env, &err), 0); /* and the next one is read */
    env_free(&env);
    bus_client_close(&client);
    scene_close(&scene);
}

static void
a_lost_router_is_noticed(void **state)
{
    (void)state;
    static const char goodbye[] = HEADER("\x01", "goodbye", "\xa7");
    const struct script script = {.frames = {{goodbye}}, .lens = {{sizeof goodbye - 1}}, .dies = true};
    struct scene scene;
    struct dyn_err err;
    struct env *env = NULL;
    bus_client_t *client = asked(&scene, &script);
    assert_int_equal(bus_client_receive(client, WAIT_MS, &env, &err), 0); /* its last words are heard */
    assert_int_equal(env->kind, ENV_GOODBYE);
    env_free(&env);
    assert_int_equal(bus_client_receive(client, WAIT_MS, &env, &err), -1);
    assert_int_equal(err.code, DYN_E_GONE);
    struct env *request = a_request();
    assert_int_equal(bus_client_send(client, request, &err), -1);
    assert_int_equal(err.code, DYN_E_GONE);
    env_free(&request);
    bus_client_close(&client);
    scene_close(&scene);
}

static void
where_nobody_is_a_sentence_says_so(void **state)
{
    (void)state;
    struct dyn_err err;
    void *context = zmq_ctx_new(); /* takes a port and gives it back */
    void *socket = zmq_socket(context, ZMQ_ROUTER);
    char endpoint[64];
    size_t size = sizeof endpoint;
    assert_int_equal(zmq_bind(socket, "tcp://127.0.0.1:*"), 0);
    assert_int_equal(zmq_getsockopt(socket, ZMQ_LAST_ENDPOINT, endpoint, &size), 0);
    (void)zmq_close(socket);
    (void)zmq_ctx_term(context);
    assert_null(bus_client_open(endpoint, NULL, &err));
    assert_int_equal(err.code, DYN_E_GONE);
    assert_non_null(strstr(err.text, endpoint));
    assert_null(bus_client_open("http://127.0.0.1:1", NULL, &err));
    assert_int_equal(err.code, DYN_E_CONFIG);
}

/* ---- keys ---- */

struct locked {
    struct keys keys;
    struct bus_cert router;
    struct bus_cert cert;
    bus_security_t *security;
    bus_zap_t *zap;
    void *context;
    void *socket;
    char endpoint[64];
};

static void
locked_open(struct locked *scene)
{
    struct dyn_err err;
    const int wait = WAIT_MS;
    size_t size = sizeof scene->endpoint;
    keys_open(&scene->keys);
    keys_make(&scene->keys, "router", BUS_ROLE_ROUTER, false, &scene->router);
    keys_make(&scene->keys, "client", BUS_ROLE_CLIENT, true, &scene->cert);
    keys_make(&scene->keys, "stranger", BUS_ROLE_CLIENT, false, &scene->cert);
    const struct bus_security_options options = {.cert = keys_path(&scene->keys, "router.key"),
                                                 .allowed = keys_path(&scene->keys, "allowed")};
    scene->security = bus_security_new(&options, &err);
    assert_non_null(scene->security);
    scene->context = zmq_ctx_new();
    scene->zap = bus_zap_start(scene->context, scene->security, &err);
    assert_non_null(scene->zap);
    scene->socket = zmq_socket(scene->context, ZMQ_ROUTER);
    assert_int_equal(zmq_setsockopt(scene->socket, ZMQ_RCVTIMEO, &wait, sizeof wait), 0);
    assert_int_equal(bus_security_server(scene->security, scene->socket, &err), 0);
    assert_int_equal(zmq_bind(scene->socket, "tcp://127.0.0.1:*"), 0);
    assert_int_equal(zmq_getsockopt(scene->socket, ZMQ_LAST_ENDPOINT, scene->endpoint, &size), 0);
}

static void
locked_close(struct locked *scene)
{
    (void)zmq_close(scene->socket);
    bus_zap_stop(&scene->zap);
    (void)zmq_ctx_term(scene->context);
    bus_security_free(&scene->security);
    keys_close(&scene->keys);
}

static bus_security_t *
security_of(struct locked *scene, const char *name, const char *const *server)
{
    struct dyn_err err;
    const struct bus_security_options options = {
        .cert = keys_path(&scene->keys, name), .servers = server, .n_servers = 1};
    bus_security_t *security = bus_security_new(&options, &err);
    assert_non_null(security);
    return security;
}

static void
a_key_lets_in_and_a_wrong_one_does_not(void **state)
{
    (void)state;
    struct locked scene;
    struct dyn_err err;
    char frame[256];
    locked_open(&scene);
    const char *server = scene.router.public_key;
    bus_security_t *allowed = security_of(&scene, "client.key", &server);
    bus_client_t *client = bus_client_open(scene.endpoint, allowed, &err);
    assert_non_null(client);
    struct env *request = a_request();
    assert_int_equal(bus_client_send(client, request, &err), 0);
    assert_true(zmq_recv(scene.socket, frame, sizeof frame, 0) > 0);
    env_free(&request);
    bus_client_close(&client);
    bus_security_t *stranger = security_of(&scene, "stranger.key", &server);
    assert_null(bus_client_open(scene.endpoint, stranger, &err));
    assert_int_equal(err.code, DYN_E_CONFIG);
    assert_non_null(strstr(err.text, "key"));
    assert_null(bus_client_open(scene.endpoint, NULL, &err)); /* in the clear */
    assert_int_equal(err.code, DYN_E_CONFIG);
    bus_security_free(&stranger);
    bus_security_free(&allowed);
    locked_close(&scene);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_sent_arrives_and_answers_come),
        cmocka_unit_test(what_is_no_envelope_is_an_error),
        cmocka_unit_test(a_lost_router_is_noticed),
        cmocka_unit_test(where_nobody_is_a_sentence_says_so),
        cmocka_unit_test(a_key_lets_in_and_a_wrong_one_does_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
