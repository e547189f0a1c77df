/* A peer made of nothing but libzmq: says what it likes. On the test's thread. */
#pragma once

#include "proto/env_codec.h"
#include "tests/conformance/wires.h"

#include <zmq.h>

enum { RAW_TIMEOUT_MS = 20000 };

struct raw {
    void *context;
    void *socket; /* DEALER; or ROUTER: then `to` is who spoke last */
    bool is_router;
    char to[256];
    size_t to_len;
};

struct raw_options {
    const char *connect; /* or */
    const char *bind;
    const char *routing_id;
    const struct bus_cert *cert; /* CURVE */
    const char *server_key;
    int queue_max; /* messages that wait to be sent; 0: any number */
};

static inline void
raw_set(struct raw *raw, int option, const void *value, size_t size)
{
    assert_int_equal(zmq_setsockopt(raw->socket, option, value, size), 0);
}

static inline void
raw_set_int(struct raw *raw, int option, int value)
{
    raw_set(raw, option, &value, sizeof value);
}

static inline struct raw
raw_open(struct raw_options options)
{
    struct raw raw = {.context = zmq_ctx_new(), .is_router = options.bind != NULL};
    raw.socket = zmq_socket(raw.context, raw.is_router ? ZMQ_ROUTER : ZMQ_DEALER);
    raw_set_int(&raw, ZMQ_RCVTIMEO, RAW_TIMEOUT_MS);
    raw_set_int(&raw, ZMQ_LINGER, RAW_TIMEOUT_MS);
    raw_set_int(&raw, ZMQ_SNDHWM, options.queue_max);
    if (!raw.is_router) {
        raw_set_int(&raw, ZMQ_RECONNECT_IVL, -1);
    }
    if (options.routing_id != NULL) {
        raw_set(&raw, ZMQ_ROUTING_ID, options.routing_id, strlen(options.routing_id));
    }
    if (options.cert != NULL) {
        raw_set(&raw, ZMQ_CURVE_PUBLICKEY, options.cert->public_key, BUS_KEY_TEXT);
        raw_set(&raw, ZMQ_CURVE_SECRETKEY, options.cert->secret_key, BUS_KEY_TEXT);
        raw_set(&raw, ZMQ_CURVE_SERVERKEY, options.server_key, BUS_KEY_TEXT);
    }
    if (raw.is_router) {
        assert_int_equal(zmq_bind(raw.socket, options.bind), 0);
    } else {
        assert_int_equal(zmq_connect(raw.socket, options.connect), 0);
    }
    return raw;
}

/* Leaves without a word; what it has sent before still arrives. */
static inline void
raw_close(struct raw *raw)
{
    assert_int_equal(zmq_close(raw->socket), 0);
    assert_int_equal(zmq_ctx_term(raw->context), 0);
}

static inline void
raw_send_frame(struct raw *raw, const void *data, size_t len, bool more)
{
    assert_int_equal(zmq_send(raw->socket, data, len, more ? ZMQ_SNDMORE : 0), len);
}

static inline void
raw_begin(struct raw *raw)
{
    if (raw->is_router) {
        raw_send_frame(raw, raw->to, raw->to_len, true);
    }
}

/* Takes the envelope. */
static inline void
raw_send(struct raw *raw, struct env *env)
{
    struct dyn_buf header = DYN_BUF_INIT;
    assert_int_equal(env_encode(env, &header, NULL), 0);
    raw_begin(raw);
    raw_send_frame(raw, header.data, header.len, env->body != NULL);
    if (env->body != NULL) {
        raw_send_frame(raw, dyn_block_data(env->body), env->body->len, false);
    }
    dyn_buf_fini(&header);
    env_free(&env);
}

static inline void
raw_say(struct raw *raw, enum env_kind kind, const char *reason)
{
    struct env *env = wire_envelope(kind);
    env->reason = dyn_slice_str(reason);
    raw_send(raw, env);
}

static inline void
raw_say_ready(struct raw *raw, const char *role)
{
    struct env *env = env_new(ENV_READY);
    env->role = dyn_slice_str(role);
    env->node = DYN_SLICE("raw");
    raw_send(raw, env);
}

static inline void
raw_say_chunk(struct raw *raw, uint32_t sequence)
{
    struct env *env = wire_envelope(ENV_CHUNK);
    env->sequence = sequence;
    raw_send(raw, env);
}

static inline bool
raw_more(struct raw *raw)
{
    int more = 0;
    size_t size = sizeof more;
    assert_int_equal(zmq_getsockopt(raw->socket, ZMQ_RCVMORE, &more, &size), 0);
    return more != 0;
}

/* The next message, whatever it is; NULL when nothing comes for `timeout_ms`. */
static inline struct env *
raw_receive(struct raw *raw, int timeout_ms)
{
    static char header[ENV_HEADER_MAX];
    struct env *env = NULL;
    raw_set_int(raw, ZMQ_RCVTIMEO, timeout_ms);
    if (raw->is_router) {
        int to_len = zmq_recv(raw->socket, raw->to, sizeof raw->to, 0);
        if (to_len < 0) {
            return NULL;
        }
        raw->to_len = (size_t)to_len;
    }
    int len = zmq_recv(raw->socket, header, sizeof header, 0);
    if (len < 0) {
        return NULL;
    }
    assert_int_equal(env_decode(dyn_slice(header, (size_t)len), &env, NULL), 0);
    while (raw_more(raw)) {
        zmq_msg_t body;
        (void)zmq_msg_init(&body);
        (void)zmq_msg_recv(&body, raw->socket, 0);
        if (env->body == NULL) {
            env->body = dyn_block_copy(0, dyn_slice(zmq_msg_data(&body), zmq_msg_size(&body)));
        }
        (void)zmq_msg_close(&body);
    }
    return env;
}

/* The next one that is no HEARTBEAT. */
static inline struct env *
raw_expect(struct raw *raw, enum env_kind kind)
{
    struct env *env = raw_receive(raw, RAW_TIMEOUT_MS);
    while (env != NULL && env->kind == ENV_HEARTBEAT) {
        env_free(&env);
        env = raw_receive(raw, RAW_TIMEOUT_MS);
    }
    assert_non_null(env);
    assert_string_equal(env_kind_name(env->kind), env_kind_name(kind));
    return env;
}

static inline void
raw_expect_goodbye(struct raw *raw, const char *reason)
{
    struct env *env = raw_expect(raw, ENV_GOODBYE);
    char said[64];
    (void)snprintf(said, sizeof said, "%.*s", (int)env->reason.len, env->reason.data);
    assert_string_equal(said, reason);
    env_free(&env);
}

static inline void
raw_expect_ready(struct raw *raw)
{
    struct env *env = raw_expect(raw, ENV_READY);
    assert_int_equal(env->requests, 7);
    assert_int_equal(env->node.len, 32);
    env_free(&env);
}

static inline void
raw_expect_chunk(struct raw *raw, uint32_t sequence)
{
    struct env *env = raw_expect(raw, ENV_CHUNK);
    assert_int_equal(env->sequence, sequence);
    env_free(&env);
}

/* Joins as a worker. */
static inline struct raw
raw_join(const char *endpoint)
{
    struct raw raw = raw_open((struct raw_options){.connect = endpoint});
    raw_say_ready(&raw, "worker");
    raw_expect_ready(&raw);
    return raw;
}
