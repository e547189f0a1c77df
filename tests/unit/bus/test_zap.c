/* Real CURVE handshakes over loopback: who is let in, who is not; and a ZAP handler that answers any
 * nonsense. */
#include "tests/unit/bus/keys.h"

#include <zmq.h>

enum { WAIT_MS = 10000 }; /* against hanging */

struct scene {
    struct keys keys;
    struct bus_cert router;
    bus_security_t *security;
    void *context; /* the router's */
    bus_zap_t *zap;
    void *server;
    void *client_context;
    char endpoint[64];
    void *sockets[16]; /* closed with the scene, however a test ends */
    unsigned n_sockets;
};

static void *
open_socket(struct scene *scene, void *context, int type)
{
    const int wait = WAIT_MS;
    const int zero = 0;
    void *socket = zmq_socket(context, type);
    assert_non_null(socket);
    scene->sockets[scene->n_sockets++] = socket;
    assert_int_equal(zmq_setsockopt(socket, ZMQ_RCVTIMEO, &wait, sizeof wait), 0);
    assert_int_equal(zmq_setsockopt(socket, ZMQ_LINGER, &zero, sizeof zero), 0);
    return socket;
}

/* Hears how handshakes of a socket end. */
static void *
open_monitor(struct scene *scene, void *socket)
{
    char name[32];
    (void)snprintf(name, sizeof name, "inproc://monitor-%u", scene->n_sockets);
    assert_int_equal(zmq_socket_monitor(socket, name,
                                        ZMQ_EVENT_HANDSHAKE_SUCCEEDED | ZMQ_EVENT_HANDSHAKE_FAILED_AUTH |
                                            ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL |
                                            ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL | ZMQ_EVENT_DISCONNECTED),
                     0);
    void *monitor = open_socket(scene, scene->client_context, ZMQ_PAIR);
    assert_int_equal(zmq_connect(monitor, name), 0);
    return monitor;
}

static void
open_server(struct scene *scene, int type, uint32_t roles)
{
    struct dyn_err err;
    size_t size = sizeof scene->endpoint;
    scene->server = open_socket(scene, scene->context, type);
    assert_int_equal(roles == 0 ? bus_security_server(scene->security, scene->server, &err)
                                : bus_security_publisher(scene->security, scene->server, roles, &err),
                     0);
    assert_int_equal(zmq_bind(scene->server, "tcp://127.0.0.1:*"), 0);
    assert_int_equal(zmq_getsockopt(scene->server, ZMQ_LAST_ENDPOINT, scene->endpoint, &size), 0);
}

static int
open_scene(void **state)
{
    static struct scene scene;
    struct dyn_err err;
    memset(&scene, 0, sizeof scene);
    keys_open(&scene.keys);
    keys_make(&scene.keys, "router", BUS_ROLE_ROUTER, false, &scene.router);
    scene.security =
        bus_security_new(&(struct bus_security_options){.cert = keys_path(&scene.keys, "router.key"),
                                                        .allowed = keys_path(&scene.keys, "allowed")},
                         &err);
    assert_non_null(scene.security);
    scene.context = zmq_ctx_new();
    scene.client_context = zmq_ctx_new();
    scene.zap = bus_zap_start(scene.context, scene.security, &err);
    assert_non_null(scene.zap);
    *state = &scene;
    return 0;
}

static int
close_scene(void **state)
{
    struct scene *scene = *state;
    while (scene->n_sockets > 0) {
        (void)zmq_close(scene->sockets[--scene->n_sockets]);
    }
    bus_zap_stop(&scene->zap);
    assert_int_equal(zmq_ctx_term(scene->context), 0);
    assert_int_equal(zmq_ctx_term(scene->client_context), 0);
    bus_security_free(&scene->security);
    keys_close(&scene->keys);
    return 0;
}

/* A peer's socket with that key, not connected yet; *monitor hears how its handshake ends. */
static void *
peer_socket(struct scene *scene, int type, const char *name, const char *server_key, void **monitor)
{
    struct dyn_err err;
    char file[64];
    (void)snprintf(file, sizeof file, "%s.key", name);
    bus_security_t *own = bus_security_new(
        &(struct bus_security_options){
            .cert = keys_path(&scene->keys, file), .servers = &server_key, .n_servers = 1},
        &err);
    assert_non_null(own);
    void *socket = open_socket(scene, scene->client_context, type);
    assert_int_equal(bus_security_client(own, socket, 0, &err), 0);
    *monitor = open_monitor(scene, socket);
    bus_security_free(&own);
    return socket;
}

struct ending {
    uint16_t event;
    uint32_t value;
};

static struct ending
next_event(void *monitor)
{
    struct ending ending = {0};
    uint8_t bytes[6];
    char address[128];
    assert_int_equal(zmq_recv(monitor, bytes, sizeof bytes, 0), 6);
    assert_true(zmq_recv(monitor, address, sizeof address, 0) >= 0);
    memcpy(&ending.event, bytes, 2);
    memcpy(&ending.value, bytes + 2, 4);
    return ending;
}

static struct ending
handshake(struct scene *scene, int type, const char *name, const char *server_key)
{
    void *monitor;
    void *socket = peer_socket(scene, type, name, server_key, &monitor);
    assert_int_equal(zmq_connect(socket, scene->endpoint), 0);
    return next_event(monitor);
}

static void
assert_refused(struct ending ending)
{
    assert_int_equal(ending.event, ZMQ_EVENT_HANDSHAKE_FAILED_AUTH);
    assert_int_equal(ending.value, 400);
}

/* User-Id tells the receiver of each message whose it is. */
static void
an_allowed_key_is_let_in_and_known(void **state)
{
    struct scene *scene = *state;
    struct bus_cert anna;
    struct dyn_err err;
    void *monitor;
    keys_make(&scene->keys, "anna", BUS_ROLE_CLIENT, true, &anna);
    assert_int_equal(bus_security_reload(scene->security, &err), 0);
    open_server(scene, ZMQ_ROUTER, 0);
    void *socket = peer_socket(scene, ZMQ_DEALER, "anna", scene->router.public_key, &monitor);
    assert_int_equal(zmq_connect(socket, scene->endpoint), 0);
    assert_int_equal(next_event(monitor).event, ZMQ_EVENT_HANDSHAKE_SUCCEEDED);
    assert_int_equal(zmq_send(socket, "hello", 5, 0), 5);

    zmq_msg_t part;
    (void)zmq_msg_init(&part);
    assert_true(zmq_msg_recv(&part, scene->server, 0) > 0); /* routing id */
    assert_int_equal(zmq_msg_recv(&part, scene->server, 0), 5);
    assert_string_equal(zmq_msg_gets(&part, "User-Id"), anna.public_key);
    (void)zmq_msg_close(&part);
    assert_int_equal(bus_security_refused(scene->security), 0);
}

static void
an_unknown_key_is_refused(void **state)
{
    struct scene *scene = *state;
    struct bus_cert stranger;
    keys_make(&scene->keys, "stranger", BUS_ROLE_ADMIN, false, &stranger);
    open_server(scene, ZMQ_ROUTER, 0);
    assert_refused(handshake(scene, ZMQ_DEALER, "stranger", scene->router.public_key));
    assert_true(bus_security_refused(scene->security) >= 1);
}

static void
a_removed_key_is_refused(void **state)
{
    struct scene *scene = *state;
    struct bus_cert anna;
    struct dyn_err err;
    keys_make(&scene->keys, "anna", BUS_ROLE_CLIENT, true, &anna);
    assert_int_equal(bus_security_reload(scene->security, &err), 0);
    open_server(scene, ZMQ_ROUTER, 0);
    assert_int_equal(handshake(scene, ZMQ_DEALER, "anna", scene->router.public_key).event,
                     ZMQ_EVENT_HANDSHAKE_SUCCEEDED);
    assert_int_equal(unlink(keys_path(&scene->keys, "allowed/anna.key")), 0);
    assert_int_equal(bus_security_reload(scene->security, &err), 0);
    assert_refused(handshake(scene, ZMQ_DEALER, "anna", scene->router.public_key));
}

/* A PUB socket hears nothing from its peers, so the handshake is where a role is looked at. */
static void
a_publisher_takes_its_roles_only(void **state)
{
    struct scene *scene = *state;
    struct bus_cert cert;
    struct dyn_err err;
    keys_make(&scene->keys, "tail", BUS_ROLE_SUBSCRIBER, true, &cert);
    keys_make(&scene->keys, "worker", BUS_ROLE_WORKER, true, &cert);
    assert_int_equal(bus_security_reload(scene->security, &err), 0);
    open_server(scene, ZMQ_PUB, 1u << BUS_ROLE_SUBSCRIBER);
    assert_int_equal(handshake(scene, ZMQ_SUB, "tail", scene->router.public_key).event,
                     ZMQ_EVENT_HANDSHAKE_SUCCEEDED);
    assert_refused(handshake(scene, ZMQ_SUB, "worker", scene->router.public_key));
}

static void
another_server_key_does_not_fit(void **state)
{
    struct scene *scene = *state;
    struct bus_cert anna;
    struct dyn_err err;
    keys_make(&scene->keys, "anna", BUS_ROLE_CLIENT, true, &anna);
    assert_int_equal(bus_security_reload(scene->security, &err), 0);
    open_server(scene, ZMQ_ROUTER, 0);
    assert_int_not_equal(handshake(scene, ZMQ_DEALER, "anna", anna.public_key).event,
                         ZMQ_EVENT_HANDSHAKE_SUCCEEDED);
}

/* The domain is enforced: no handler, nobody gets in. */
static void
without_a_handler_nobody_gets_in(void **state)
{
    struct scene *scene = *state;
    struct bus_cert anna;
    struct dyn_err err;
    keys_make(&scene->keys, "anna", BUS_ROLE_CLIENT, true, &anna);
    assert_int_equal(bus_security_reload(scene->security, &err), 0);
    bus_zap_stop(&scene->zap);
    assert_int_equal(zmq_ctx_term(scene->context), 0); /* its address may outlive the handler for a moment */
    scene->context = zmq_ctx_new();
    open_server(scene, ZMQ_ROUTER, 0);
    assert_int_not_equal(handshake(scene, ZMQ_DEALER, "anna", scene->router.public_key).event,
                         ZMQ_EVENT_HANDSHAKE_SUCCEEDED);
}

static void
plain_text_is_not_taken(void **state)
{
    struct scene *scene = *state;
    open_server(scene, ZMQ_ROUTER, 0);
    void *socket = open_socket(scene, scene->client_context, ZMQ_DEALER);
    void *monitor = open_monitor(scene, socket);
    assert_int_equal(zmq_connect(socket, scene->endpoint), 0);
    assert_int_not_equal(next_event(monitor).event, ZMQ_EVENT_HANDSHAKE_SUCCEEDED);
}

/* ---- the handler alone ---- */

struct part {
    const char *data;
    size_t len;
};
#define PART(text)                                                                                           \
    {                                                                                                        \
        "" text, sizeof(text) - 1                                                                            \
    }
#define DOMAIN PART("dynabus/fe")
#define KEY32  PART("0123456789abcdef0123456789abcdef")

static const struct {
    struct part parts[10];
    unsigned n;
    const char *status;
} requests[] = {
    {{PART("")}, 1, "500"},
    {{PART("1.0")}, 1, "500"},
    {{PART("1.0"), PART("7")}, 2, "500"},
    {{PART("2.0"), PART("7"), DOMAIN, PART("1.2.3.4"), PART("id"), PART("CURVE"), KEY32}, 7, "500"},
    {{PART("1.0"), PART("7"), DOMAIN, PART("1.2.3.4"), PART("id"), PART("NULL")}, 6, "400"},
    {{PART("1.0"), PART("7"), DOMAIN, PART("1.2.3.4"), PART("id"), PART("PLAIN"), PART("u"), PART("p")},
     8,
     "400"},
    {{PART("1.0"), PART("7"), DOMAIN, PART("1.2.3.4"), PART("id"), PART("CURVE")}, 6, "500"},
    {{PART("1.0"), PART("7"), DOMAIN, PART("1.2.3.4"), PART("id"), PART("CURVE"), PART("short")}, 7, "500"},
    {{PART("1.0"), PART("7"), DOMAIN, PART("1.2.3.4"), PART("id"), PART("CURVE"), KEY32, PART("x")},
     8,
     "500"},
    {{PART("1.0"), PART("7"), DOMAIN, PART("a"), PART("id"), PART("CURVE"), KEY32, PART("x"), PART("y"),
      PART("z")},
     10,
     "500"},
    {{PART("1.0"), PART("7"), PART("global"), PART("1.2.3.4"), PART("id"), PART("CURVE"), KEY32}, 7, "400"},
    {{PART("1.0"), PART("7"), DOMAIN, PART("\x00\xff\n"), PART(""), PART("CURVE"), KEY32}, 7, "400"},
};

static void
assert_part(void *asker, const char *text)
{
    char part[64] = "";
    int len = zmq_recv(asker, part, sizeof part - 1, 0);
    assert_int_equal(len, strlen(text));
    assert_string_equal(part, text);
}

static void
nonsense_is_answered(void **state)
{
    struct scene *scene = *state;
    void *asker = open_socket(scene, scene->context, ZMQ_REQ);
    assert_int_equal(zmq_connect(asker, "inproc://zeromq.zap.01"), 0);
    for (size_t i = 0; i < DYN_ARRAY_LEN(requests); i++) {
        char text[64] = "";
        for (unsigned p = 0; p < requests[i].n; p++) {
            const struct part *part = &requests[i].parts[p];
            int more = p + 1 < requests[i].n ? ZMQ_SNDMORE : 0;
            assert_int_equal(zmq_send(asker, part->data, part->len, more), part->len);
        }
        assert_part(asker, "1.0");
        assert_part(asker, requests[i].n > 1 ? "7" : "");
        assert_part(asker, requests[i].status);
        assert_true(zmq_recv(asker, text, sizeof text, 0) > 0); /* the reason */
        assert_part(asker, "");
        assert_part(asker, "");
    }
    assert_int_equal(bus_security_refused(scene->security), DYN_ARRAY_LEN(requests));
}

static void
without_keys_nothing_runs(void **state)
{
    (void)state;
    struct dyn_err err;
    bus_security_t *security = bus_security_new(&(struct bus_security_options){0}, &err);
    void *context = zmq_ctx_new();
    bus_zap_t *zap = bus_zap_start(context, security, &err);
    assert_non_null(zap);
    void *socket = zmq_socket(context, ZMQ_DEALER);
    assert_int_equal(bus_security_server(security, socket, &err), 0);
    assert_int_equal(bus_security_client(security, socket, 3, &err), 0);
    assert_int_equal(zmq_close(socket), 0);
    bus_zap_stop(&zap);
    assert_int_equal(zmq_ctx_term(context), 0);
    bus_security_free(&security);
}

/* Two handlers on one context: the second says so. */
static void
a_taken_address_is_an_error(void **state)
{
    struct scene *scene = *state;
    struct dyn_err err;
    assert_null(bus_zap_start(scene->context, scene->security, &err));
    assert_non_null(strstr(err.text, "cannot start the handler of keys"));
}

int
main(void)
{
#define WITH_SCENE(test) cmocka_unit_test_setup_teardown(test, open_scene, close_scene)
    const struct CMUnitTest tests[] = {
        WITH_SCENE(an_allowed_key_is_let_in_and_known),
        WITH_SCENE(an_unknown_key_is_refused),
        WITH_SCENE(a_removed_key_is_refused),
        WITH_SCENE(a_publisher_takes_its_roles_only),
        WITH_SCENE(another_server_key_does_not_fit),
        WITH_SCENE(without_a_handler_nobody_gets_in),
        WITH_SCENE(plain_text_is_not_taken),
        WITH_SCENE(nonsense_is_answered),
        WITH_SCENE(a_taken_address_is_an_error),
        cmocka_unit_test(without_keys_nothing_runs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
