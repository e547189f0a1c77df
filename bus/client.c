/* The blocking client, see client.h. A connection is made once: what is lost with it is for the caller to
 * decide (03-CLIENT, "Loss of the router"). A monitor tells how the handshake went, and when the connection
 * ends. */
#include "bus/client.h"

#include "bus/endpoint.h"
#include "core/buf.h"
#include "core/clock.h"
#include "proto/env_codec.h"

#include <errno.h>
#include <stdlib.h>
#include <zmq.h>

enum {
    LINGER_MS = 500,
    /* ZMTP's PING: a router that vanished is noticed. Safe only with RCVHWM 0 (socket_options.def). */
    HEARTBEAT_MS = 1000,
    HEARTBEAT_LOST_MS = 3000,
    /* Never, as far as a command lives. Not -1: libzmq would drop what came last and was not read yet. */
    RECONNECT_MS = 24 * 60 * 60 * 1000,
    FRAME_MAX = ENV_HELD_ANSWER_MAX + ENV_HEADER_MAX, /* no answer has a longer frame */
};

static const char monitor_name[] = "inproc://monitor"; /* the context is this client's own */

enum {
    HANDSHAKE_FAILED = ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL | ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL |
                       ZMQ_EVENT_HANDSHAKE_FAILED_AUTH,
    CONNECTION_ENDED = ZMQ_EVENT_DISCONNECTED | ZMQ_EVENT_CLOSED
};

struct bus_client {
    void *context;
    void *socket;
    void *monitor;
    char endpoint[BUS_ENDPOINT_MAX];
    struct dyn_buf header; /* of the envelope being sent; keeps its memory */
    bool is_lost;
};

static uint64_t
now_ms(void)
{
    return dyn_mono_us(&dyn_clock_system) / 1000;
}

static int
lost(const struct bus_client *client, struct dyn_err *err)
{
    return dyn_err_set(err, DYN_E_GONE, "the connection to the router at %s was lost", client->endpoint);
}

/* ---- connecting ---- */

static const struct {
    int option;
    int value;
} socket_options[] = {
    {ZMQ_LINGER, LINGER_MS},
    {ZMQ_SNDHWM, 0}, /* who waits for each answer does not queue much */
    {ZMQ_RCVHWM, 0}, /* credit bounds it in bytes */
    {ZMQ_RECONNECT_IVL, RECONNECT_MS},
    {ZMQ_CONNECT_TIMEOUT, BUS_CLIENT_CONNECT_MS},
    {ZMQ_HANDSHAKE_IVL, BUS_CLIENT_CONNECT_MS},
    {ZMQ_HEARTBEAT_IVL, HEARTBEAT_MS},
    {ZMQ_HEARTBEAT_TIMEOUT, HEARTBEAT_LOST_MS},
    {ZMQ_IPV6, 1},
};

static int
set_options(void *socket)
{
    const int64_t frame_max = FRAME_MAX;
    int failed = zmq_setsockopt(socket, ZMQ_MAXMSGSIZE, &frame_max, sizeof frame_max);
    for (size_t i = 0; i < DYN_ARRAY_LEN(socket_options); i++) {
        int value = socket_options[i].value;
        failed |= zmq_setsockopt(socket, socket_options[i].option, &value, sizeof value);
    }
    return failed;
}

static int
open_sockets(struct bus_client *client, const bus_security_t *security, struct dyn_err *err)
{
    const int events = ZMQ_EVENT_HANDSHAKE_SUCCEEDED | HANDSHAKE_FAILED | CONNECTION_ENDED;
    client->context = zmq_ctx_new();
    client->socket = client->context != NULL ? zmq_socket(client->context, ZMQ_DEALER) : NULL;
    client->monitor = client->socket != NULL ? zmq_socket(client->context, ZMQ_PAIR) : NULL;
    if (client->monitor == NULL || set_options(client->socket) != 0 ||
        zmq_socket_monitor(client->socket, monitor_name, events) != 0 ||
        zmq_connect(client->monitor, monitor_name) != 0) {
        return dyn_err_set(err, DYN_E_IO, "cannot open a socket: %s", zmq_strerror(zmq_errno()));
    }
    if (security != NULL && bus_security_client(security, client->socket, 0, err) != 0) {
        return -1;
    }
    if (zmq_connect(client->socket, client->endpoint) != 0) {
        return dyn_err_set(err, DYN_E_IO, "cannot connect to %s: %s", client->endpoint,
                           zmq_strerror(zmq_errno()));
    }
    return 0;
}

/* What the monitor has to say, or 0 when it has nothing. */
static int
next_event(struct bus_client *client)
{
    zmq_msg_t frame;
    uint16_t event = 0;
    (void)zmq_msg_init(&frame);
    if (zmq_msg_recv(&frame, client->monitor, ZMQ_DONTWAIT) >= 0) {
        if (zmq_msg_size(&frame) >= sizeof event) {
            memcpy(&event, zmq_msg_data(&frame), sizeof event);
        }
        while (zmq_msg_more(&frame) && zmq_msg_recv(&frame, client->monitor, ZMQ_DONTWAIT) >= 0) {
            /* the address, which is known */
        }
    }
    (void)zmq_msg_close(&frame);
    return event;
}

static int
why_not_let_in(const struct bus_client *client, int event, bool has_curve, struct dyn_err *err)
{
    if (event == 0 || event == ZMQ_EVENT_CLOSED) {
        return dyn_err_set(err, DYN_E_GONE,
                           "nobody answers at %s; is the gateway running, and is its bus open there?",
                           client->endpoint);
    }
    return dyn_err_set(err, DYN_E_CONFIG, "the router at %s did not let us in: %s", client->endpoint,
                       has_curve ? "it does not accept this key, or its own key is another one"
                                 : "it asks for a key, or is no router");
}

static int
wait_for_handshake(struct bus_client *client, bool has_curve, struct dyn_err *err)
{
    uint64_t end_ms = now_ms() + BUS_CLIENT_CONNECT_MS;
    for (uint64_t now = now_ms(); now < end_ms; now = now_ms()) {
        zmq_pollitem_t item = {.socket = client->monitor, .events = ZMQ_POLLIN};
        (void)zmq_poll(&item, 1, (long)(end_ms - now));
        int event = next_event(client);
        if (event == ZMQ_EVENT_HANDSHAKE_SUCCEEDED) {
            return 0;
        }
        if (event != 0) {
            return why_not_let_in(client, event, has_curve, err);
        }
    }
    return why_not_let_in(client, 0, has_curve, err);
}

static int
check_endpoint(struct bus_client *client, const char *text, const bus_security_t *security,
               struct dyn_err *err)
{
    struct bus_endpoint endpoint;
    if (bus_endpoint_parse(dyn_slice_str(text), &endpoint, err) != 0) {
        return -1;
    }
    bus_endpoint_text(&endpoint, BUS_ENDPOINT_CLIENTS, client->endpoint);
    return security != NULL ? bus_security_check(security, &endpoint, err) : 0;
}

bus_client_t *
bus_client_open(const char *endpoint, const bus_security_t *security, struct dyn_err *err)
{
    struct bus_client *client = dyn_zalloc(sizeof *client);
    bool has_curve = security != NULL && bus_security_has_curve(security);
    if (check_endpoint(client, endpoint, security, err) != 0 || open_sockets(client, security, err) != 0 ||
        wait_for_handshake(client, has_curve, err) != 0) {
        bus_client_close(&client);
    }
    return client;
}

void
bus_client_close(bus_client_t **client_p)
{
    struct bus_client *client = *client_p;
    *client_p = NULL;
    if (client == NULL) {
        return;
    }
    if (client->monitor != NULL) {
        (void)zmq_socket_monitor(client->socket, NULL, 0);
        (void)zmq_close(client->monitor);
    }
    if (client->socket != NULL) {
        (void)zmq_close(client->socket);
    }
    while (client->context != NULL && zmq_ctx_term(client->context) != 0 && zmq_errno() == EINTR) {
        /* a signal came: the sockets are closed, it ends within their linger */
    }
    dyn_buf_fini(&client->header);
    free(client);
}

/* ---- sending ---- */

int
bus_client_send(bus_client_t *client, const struct env *env, struct dyn_err *err)
{
    struct dyn_slice body = dyn_block_slice(env->body);
    dyn_buf_clear(&client->header);
    if (env_encode(env, &client->header, err) != 0) {
        return -1;
    }
    int more = body.len > 0 ? ZMQ_SNDMORE : 0;
    if (client->is_lost ||
        zmq_send(client->socket, client->header.data, client->header.len, ZMQ_DONTWAIT | more) < 0 ||
        (more != 0 && zmq_send(client->socket, body.data, body.len, ZMQ_DONTWAIT) < 0)) {
        client->is_lost = true;
        return lost(client, err);
    }
    return 0;
}

/* ---- receiving ---- */

static int
not_understood(const struct bus_client *client, const char *why, struct dyn_err *err)
{
    return dyn_err_set(err, DYN_E_INVALID, "%s sent what is no envelope: %s", client->endpoint, why);
}

/* The frames behind the header: a body or none. */
static int
take_body(struct bus_client *client, struct env *env, struct dyn_err *err)
{
    zmq_msg_t frame;
    dyn_block_t *body = NULL;
    int n = 0;
    int result = 0;
    (void)zmq_msg_init(&frame);
    do {
        if (zmq_msg_recv(&frame, client->socket, ZMQ_DONTWAIT) < 0) {
            break; /* a message arrives whole: never so */
        }
        if (n++ == 0 && zmq_msg_size(&frame) > 0) {
            body = dyn_block_copy(0, dyn_slice(zmq_msg_data(&frame), zmq_msg_size(&frame)));
        }
    } while (zmq_msg_more(&frame));
    (void)zmq_msg_close(&frame);
    struct dyn_err why;
    if (n > 1) {
        result = not_understood(client, "more than two frames", err);
    } else if (env_take_body(env, &body, &why) != 0) {
        result = not_understood(client, why.text, err);
    }
    dyn_block_unref(&body);
    return result;
}

static void
skip_frames(struct bus_client *client, zmq_msg_t *frame)
{
    while (zmq_msg_more(frame) && zmq_msg_recv(frame, client->socket, ZMQ_DONTWAIT) >= 0) {
        /* of a message that is of no use */
    }
}

/* As bus_client_receive(): 1 when nothing of use is there. */
static int
take_message(struct bus_client *client, struct env **env_p, struct dyn_err *err)
{
    zmq_msg_t frame;
    struct dyn_err why;
    (void)zmq_msg_init(&frame);
    if (zmq_msg_recv(&frame, client->socket, ZMQ_DONTWAIT) < 0) {
        (void)zmq_msg_close(&frame);
        return 1;
    }
    struct env *env = NULL;
    int result = env_decode(dyn_slice(zmq_msg_data(&frame), zmq_msg_size(&frame)), &env, &why);
    if (result == 0 && zmq_msg_more(&frame)) {
        result = take_body(client, env, err);
    } else if (result != 0) {
        skip_frames(client, &frame);
        result = result > 0 ? 1 : not_understood(client, why.text, err);
    }
    (void)zmq_msg_close(&frame);
    if (result == 0) {
        *env_p = env;
        return 0;
    }
    env_free(&env);
    return result;
}

static bool
is_readable(struct bus_client *client)
{
    int events = 0;
    size_t size = sizeof events;
    return zmq_getsockopt(client->socket, ZMQ_EVENTS, &events, &size) == 0 && (events & ZMQ_POLLIN) != 0;
}

static void
hear_monitor(struct bus_client *client)
{
    for (int event = next_event(client); event != 0; event = next_event(client)) {
        client->is_lost = client->is_lost || (event & (CONNECTION_ENDED | HANDSHAKE_FAILED)) != 0;
    }
}

int
bus_client_receive(bus_client_t *client, uint32_t timeout_ms, struct env **env_p, struct dyn_err *err)
{
    uint64_t end_ms = now_ms() + timeout_ms;
    for (;;) {
        /* What came before the end of the connection still counts: libzmq hands it over first. */
        hear_monitor(client);
        while (is_readable(client)) {
            int result = take_message(client, env_p, err);
            if (result <= 0) {
                return result;
            }
        }
        if (client->is_lost) {
            return lost(client, err);
        }
        uint64_t now = now_ms();
        if (now >= end_ms) {
            return 1;
        }
        zmq_pollitem_t items[] = {{.socket = client->socket, .events = ZMQ_POLLIN},
                                  {.socket = client->monitor, .events = ZMQ_POLLIN}};
        if (zmq_poll(items, 2, (long)(end_ms - now)) < 0 && zmq_errno() != EINTR) {
            client->is_lost = true;
        }
    }
}
