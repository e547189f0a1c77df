/* Frames, see frames.h. On the loop, but for release_*(), which libzmq calls on whatever thread drops a
 * frame last. */
#include "bus/frames.h"

#include "bus/tsan.h"

#include <errno.h>
#include <stdlib.h>

/* ---- sending ---- */

/* A header on its way out: libzmq gives it back when it is written, and with it what the envelope counted
 * for. */
struct outgoing {
    atomic_size_t *queued;
    size_t bytes;
    char header[];
};

static void
release_header(void *data, void *hint)
{
    struct outgoing *outgoing = hint;
    (void)data;
    BUS_TSAN_ACQUIRE(outgoing);
    if (outgoing->queued != NULL) {
        (void)atomic_fetch_sub_explicit(outgoing->queued, outgoing->bytes, memory_order_relaxed);
    }
    free(outgoing);
}

static void
release_body(void *data, void *hint)
{
    dyn_block_t *block = hint;
    (void)data;
    BUS_TSAN_ACQUIRE(block);
    dyn_block_unref(&block);
}

static void
header_frame(zmq_msg_t *frame, struct dyn_slice header, atomic_size_t *queued, size_t bytes)
{
    struct outgoing *outgoing = dyn_alloc(sizeof *outgoing + header.len);
    outgoing->queued = queued;
    outgoing->bytes = bytes;
    memcpy(outgoing->header, header.data, header.len);
    if (queued != NULL) {
        (void)atomic_fetch_add_explicit(queued, bytes, memory_order_relaxed);
    }
    /* Fails without memory only. */
    DYN_ASSERT(zmq_msg_init_data(frame, outgoing->header, header.len, release_header, outgoing) == 0);
    BUS_TSAN_RELEASE(outgoing);
}

static int
send_routing(void *socket, struct dyn_slice routing)
{
    return routing.len == 0 || zmq_send(socket, routing.data, routing.len, ZMQ_SNDMORE | ZMQ_DONTWAIT) >= 0
               ? 0
               : -1;
}

int
frames_send(void *socket, struct dyn_slice routing, struct env *env, struct dyn_slice header,
            atomic_size_t *queued, size_t bytes)
{
    zmq_msg_t frame;
    bool has_body = env_body_len(env) > 0;
    if (send_routing(socket, routing) != 0) {
        return -1;
    }
    header_frame(&frame, header, queued, bytes);
    if (zmq_msg_send(&frame, socket, ZMQ_DONTWAIT | (has_body ? ZMQ_SNDMORE : 0)) < 0) {
        int why = zmq_errno();
        (void)zmq_msg_close(&frame);
        errno = why;
        return -1;
    }
    if (has_body) {
        dyn_block_t *body = env->body;
        DYN_ASSERT(zmq_msg_init_data(&frame, dyn_block_data(body), body->len, release_body, body) == 0);
        BUS_TSAN_RELEASE(body);
        env->body = NULL;
        /* Its first frame was taken, and a pipe takes a message whole; one that ended meanwhile drops it. */
        if (zmq_msg_send(&frame, socket, ZMQ_DONTWAIT) < 0) {
            (void)zmq_msg_close(&frame);
        }
    }
    return 0;
}

/* ---- receiving ---- */

struct dyn_slice
frame_slice(zmq_msg_t *frame)
{
    return dyn_slice(zmq_msg_data(frame), zmq_msg_size(frame));
}

static bool
receive_frame(void *socket, zmq_msg_t *frame)
{
    if (zmq_msg_recv(frame, socket, ZMQ_DONTWAIT) < 0) {
        return false;
    }
    BUS_TSAN_ACQUIRE(zmq_msg_data(frame));
    return true;
}

static void
drop_the_rest(void *socket, struct frames *frames)
{
    zmq_msg_t extra;
    (void)zmq_msg_init(&extra);
    do {
        frames->n++;
    } while (receive_frame(socket, &extra) && zmq_msg_more(&extra));
    (void)zmq_msg_close(&extra);
}

bool
frames_receive(void *socket, bool has_routing, struct frames *frames)
{
    frames->n = 0;
    (void)zmq_msg_init(&frames->routing);
    (void)zmq_msg_init(&frames->header);
    (void)zmq_msg_init(&frames->body);
    if (!receive_frame(socket, has_routing ? &frames->routing : &frames->header)) {
        frames_close(frames);
        return false;
    }
    if (has_routing) { /* messages come whole */
        if (!zmq_msg_more(&frames->routing) || !receive_frame(socket, &frames->header)) {
            return true;
        }
    }
    frames->n = 1;
    if (zmq_msg_more(&frames->header) && receive_frame(socket, &frames->body)) {
        frames->n = 2;
        if (zmq_msg_more(&frames->body)) {
            drop_the_rest(socket, frames);
        }
    }
    return true;
}

void
frames_close(struct frames *frames)
{
    (void)zmq_msg_close(&frames->routing);
    (void)zmq_msg_close(&frames->header);
    (void)zmq_msg_close(&frames->body);
}

static bool
is_other_version(struct dyn_slice header)
{
    unsigned major = 0;
    unsigned minor = 0;
    return env_header_version(header, &major, &minor) == 0 && major != ENV_VERSION_MAJOR;
}

static enum frames_verdict
take_body(struct env **env_p, struct dyn_slice body, size_t body_max, struct dyn_err *err)
{
    if ((*env_p)->kind == ENV_REQUEST && body.len > body_max) {
        (void)dyn_err_set(err, DYN_E_LIMIT, "a request of %zu bytes, %zu are allowed", body.len, body_max);
        env_free(env_p);
        return FRAMES_BROKEN;
    }
    /* Wrapping libzmq's memory instead would save this copy, but has no room in front for the HTTP head of an
     * answer, which then cost the same copy on the edge. */
    dyn_block_t *block = body.len > 0 ? dyn_block_copy(ENV_BODY_HEADROOM, body) : NULL;
    if (env_take_body(*env_p, &block, err) != 0) {
        dyn_block_unref(&block);
        env_free(env_p);
        return FRAMES_BROKEN;
    }
    return FRAMES_ENVELOPE;
}

enum frames_verdict
frames_read(struct dyn_slice header, struct dyn_slice body, unsigned n, size_t body_max, struct env **env_p,
            struct dyn_err *err)
{
    *env_p = NULL;
    if (n == 0 || n > 2) {
        (void)dyn_err_set(err, DYN_E_INVALID, "a message of %u frames", n);
        return FRAMES_BROKEN;
    }
    int result = env_decode(header, env_p, err);
    if (result == 0) {
        return take_body(env_p, body, body_max, err);
    }
    if (result > 0) {
        return FRAMES_LATER_KIND;
    }
    return is_other_version(header) ? FRAMES_OTHER_VERSION : FRAMES_BROKEN;
}
