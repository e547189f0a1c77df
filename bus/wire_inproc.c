/* The inproc wire, see wire_inproc.h. Runs on the loops' threads; opened and closed by bus_start and
 * bus_stop on theirs, with thread start and join as the fences between.
 *
 * One ZeroMQ message is one envelope:
 *   frame 1: struct prefix, then the header as 01-ENVELOPE has it
 *   frame 2: the body's bytes, only when there is a body; not copied, the frame holds a reference
 * The prefix is not part of the protocol: only this process can reach an inproc endpoint. It carries
 * the addresses, and where the body's bytes lie in their block: the receiver gets back the very block
 * that was sent, headroom included, so a body crosses threads without a copy at either end. */
#include "bus/wire_inproc.h"

#include "bus/context.h"
#include "bus/tsan.h"
#include "bus/zmq_poll.h"
#include "core/buf.h"
#include "core/log.h"
#include "proto/env_codec.h"

#include <stdio.h>
#include <stdlib.h>
#include <zmq.h>

/* Envelopes received in one go; then tasks queued before get their turn. */
#define RECEIVE_BATCH 64u

struct prefix {
    bus_addr_t from;
    bus_addr_t to;
    size_t mailbox_bytes;
    size_t body_start;    /* of the body frame's bytes in dyn_block.memory */
    uint64_t received_us; /* means the same on both sides: one process, one clock */
    bool is_own;          /* likewise: it is the same process that made the body */
};

struct wire_end {
    struct bus_host *host;
    struct zmq_poll poll;
    struct dyn_buf header;     /* of the envelope being sent; keeps its memory */
    void *push[BUS_LOOPS_MAX]; /* by number of the target loop; NULL until the first send */
};

static void
endpoint_name(char *out, size_t size, unsigned number)
{
    (void)snprintf(out, size, "inproc://loop-%u", number);
}

/* No limit in messages: the mailbox's limit in bytes holds. Nothing lingers: what is still in a pipe
 * when the wire closes has no receiver any more. */
static int
set_options(void *socket)
{
    const int zero = 0;
    return zmq_setsockopt(socket, ZMQ_SNDHWM, &zero, sizeof zero) |
           zmq_setsockopt(socket, ZMQ_RCVHWM, &zero, sizeof zero) |
           zmq_setsockopt(socket, ZMQ_LINGER, &zero, sizeof zero);
}

/* ---- sending ---- */

static void *
connect_to(struct wire_end *end, unsigned number)
{
    char endpoint[32];
    endpoint_name(endpoint, sizeof endpoint, number);
    void *push = zmq_socket(end->host->bus->zmq, ZMQ_PUSH);
    if (push == NULL) {
        return NULL;
    }
    if (set_options(push) != 0 || zmq_connect(push, endpoint) != 0) {
        (void)zmq_close(push);
        return NULL;
    }
    end->push[number] = push;
    return push;
}

/* On whatever thread drops the frame last. */
static void
release_body(void *data, void *hint)
{
    dyn_block_t *block = hint;
    (void)data;
    BUS_TSAN_ACQUIRE(block);
    dyn_block_unref(&block);
}

/* The frame takes over the envelope's reference. */
static int
body_frame(zmq_msg_t *frame, dyn_block_t *body)
{
    int result = zmq_msg_init_data(frame, dyn_block_data(body), body->len, release_body, body);
    BUS_TSAN_RELEASE(body); /* with what libzmq has just allocated */
    return result;
}

static int
header_frame(zmq_msg_t *frame, const struct env *env, const struct dyn_buf *header)
{
    struct prefix prefix = {.from = env->from,
                            .to = env->to,
                            .mailbox_bytes = env->mailbox_bytes,
                            .body_start = env->body ? env->body->start : 0,
                            .received_us = env->received_us,
                            .is_own = env->is_own};
    if (zmq_msg_init_size(frame, sizeof prefix + header->len) != 0) {
        return -1;
    }
    char *out = zmq_msg_data(frame);
    memcpy(out, &prefix, sizeof prefix);
    memcpy(out + sizeof prefix, header->data, header->len);
    BUS_TSAN_RELEASE(out);
    return 0;
}

static int
send_frame(void *push, zmq_msg_t *frame, int flags)
{
    if (zmq_msg_send(frame, push, flags | ZMQ_DONTWAIT) < 0) {
        (void)zmq_msg_close(frame);
        return -1;
    }
    return 0;
}

static int
send_frames(void *push, struct env *env, const struct dyn_buf *header)
{
    zmq_msg_t frame;
    if (header_frame(&frame, env, header) != 0 ||
        send_frame(push, &frame, env->body != NULL ? ZMQ_SNDMORE : 0) != 0) {
        return -1;
    }
    if (env->body == NULL) {
        return 0;
    }
    DYN_ASSERT(body_frame(&frame, env->body) == 0); /* fails without memory only */
    env->body = NULL;
    /* Its first frame was taken, and a pipe takes a message whole. */
    DYN_ASSERT(send_frame(push, &frame, 0) == 0);
    return 0;
}

int
wire_inproc_send(struct bus_host *from, struct bus_actor *to, struct env **env_p, struct dyn_err *err)
{
    struct wire_end *end = from->wire;
    struct env *env = *env_p;
    unsigned number = to->host->number;
    dyn_buf_clear(&end->header);
    if (env_encode(env, &end->header, err) != 0) {
        return -1;
    }
    void *push = end->push[number] ? end->push[number] : connect_to(end, number);
    if (push == NULL) {
        return dyn_err_set(err, DYN_E_IO, "cannot reach another loop: %s", zmq_strerror(zmq_errno()));
    }
    /* Before it can be received, or the receiver would take off what was not added. */
    (void)atomic_fetch_add_explicit(&to->remote_bytes, env->mailbox_bytes, memory_order_relaxed);
    size_t bytes = env->mailbox_bytes;
    if (send_frames(push, env, &end->header) != 0) {
        (void)atomic_fetch_sub_explicit(&to->remote_bytes, bytes, memory_order_relaxed);
        return dyn_err_set(err, DYN_E_GONE, "the wire is closed: %s", zmq_strerror(zmq_errno()));
    }
    env_free(env_p);
    return 0;
}

/* ---- receiving ---- */

/* The block that the sender held: the frame's bytes are part of it. Closing the frame drops the
 * sender's reference, so this one is the receiver's own. */
static dyn_block_t *
body_of(zmq_msg_t *frame, const struct prefix *prefix)
{
    char *memory = (char *)zmq_msg_data(frame) - prefix->body_start;
    dyn_block_t *block = DYN_CONTAINER_OF(memory, dyn_block_t, memory);
    BUS_TSAN_ACQUIRE(block);
    return dyn_block_ref(block);
}

/* An actor of ours sent what breaks the protocol (a REQUEST without an id): a bug, and a lost
 * envelope, as it would be on the way to another process. */
static DYN_COLD void
log_undecodable(const struct dyn_err *err)
{
    dyn_log(DYN_LOG_ERROR, "bus.undecodable", "an envelope that breaks the protocol was lost",
            DYN_LOG_STR("reason", err->text));
}

static struct env *
envelope_of(zmq_msg_t *header, struct prefix *prefix)
{
    char *data = zmq_msg_data(header);
    size_t len = zmq_msg_size(header);
    struct env *env = NULL;
    struct dyn_err err = {.text = "an unknown kind"};
    DYN_ASSERT(len >= sizeof *prefix);
    BUS_TSAN_ACQUIRE(data);
    memcpy(prefix, data, sizeof *prefix);
    if (env_decode(dyn_slice(data + sizeof *prefix, len - sizeof *prefix), &env, &err) != 0) {
        log_undecodable(&err);
        return NULL;
    }
    env->from = prefix->from;
    env->to = prefix->to;
    env->mailbox_bytes = prefix->mailbox_bytes;
    env->received_us = prefix->received_us;
    env->is_own = prefix->is_own;
    return env;
}

static bool
receive_one(struct wire_end *end)
{
    zmq_msg_t frame;
    struct prefix prefix;
    (void)zmq_msg_init(&frame);
    if (zmq_msg_recv(&frame, end->poll.socket, ZMQ_DONTWAIT) < 0) {
        (void)zmq_msg_close(&frame);
        return false;
    }
    struct env *env = envelope_of(&frame, &prefix);
    if (zmq_msg_more(&frame)) {
        DYN_ASSERT(zmq_msg_recv(&frame, end->poll.socket, ZMQ_DONTWAIT) >= 0); /* messages come whole */
        if (env != NULL) {
            env->body = body_of(&frame, &prefix);
        }
    }
    (void)zmq_msg_close(&frame);
    struct bus_actor *to = bus_place(end->host->bus, prefix.to);
    (void)atomic_fetch_sub_explicit(&to->remote_bytes, prefix.mailbox_bytes, memory_order_relaxed);
    if (env != NULL) {
        bus_host_accept(end->host, to, &env);
    }
    return true;
}

static bool
receive(struct zmq_poll *poll)
{
    struct wire_end *end = DYN_CONTAINER_OF(poll, struct wire_end, poll);
    for (unsigned n = 0; n < RECEIVE_BATCH; n++) {
        if (!receive_one(end)) {
            return false;
        }
    }
    return true;
}

/* ---- life ---- */

static int
open_end(struct bus_host *host, struct dyn_err *err)
{
    char endpoint[32];
    struct wire_end *end = dyn_zalloc(sizeof *end);
    host->wire = end;
    end->host = host;
    end->poll.receive = receive;
    end->poll.socket = zmq_socket(host->bus->zmq, ZMQ_PULL);
    endpoint_name(endpoint, sizeof endpoint, host->number);
    if (end->poll.socket == NULL || set_options(end->poll.socket) != 0 ||
        zmq_bind(end->poll.socket, endpoint) != 0) {
        return dyn_err_set(err, DYN_E_IO, "cannot open the bus of %s: %s", bus_loop_name(host->loop),
                           zmq_strerror(zmq_errno()));
    }
    return zmq_poll_start(&end->poll, host->loop, err);
}

int
wire_inproc_open(bus_t *bus, struct dyn_err *err)
{
    if (bus_context_open(bus, err) != 0) {
        return -1;
    }
    for (unsigned i = 0; i < bus->n_hosts; i++) {
        if (open_end(bus->hosts[i], err) != 0) {
            return -1;
        }
    }
    return 0;
}

static void
close_end(struct bus_host *host)
{
    struct wire_end *end = host->wire;
    host->wire = NULL;
    if (end == NULL) {
        return;
    }
    zmq_poll_stop(&end->poll);
    for (unsigned i = 0; i < host->bus->n_hosts; i++) {
        if (end->push[i] != NULL) {
            (void)zmq_close(end->push[i]);
        }
    }
    if (end->poll.socket != NULL) {
        (void)zmq_close(end->poll.socket);
    }
    dyn_buf_fini(&end->header);
    free(end);
}

void
wire_inproc_close(bus_t *bus)
{
    for (unsigned i = 0; i < bus->n_hosts; i++) {
        close_end(bus->hosts[i]);
    }
}
