/* Envelopes as ZeroMQ messages between processes (01-ENVELOPE, "Frames"): what is sent, and what is made of
 * what arrives. Knows no peer and no role. */
#pragma once

#include "proto/env_codec.h"

#include <stdatomic.h>
#include <zmq.h>

/* ---- sending ---- */

/* Sends an encoded header and the envelope's body, which is not copied: on success the envelope's
 * reference has gone to the message. `routing`: for a ROUTER socket, else absent. While it waits in libzmq
 * `queued` is `bytes` larger; NULL: nobody counts. 0, or -1 with errno (EAGAIN: the queue is full;
 * EHOSTUNREACH: no such peer). */
int frames_send(void *socket, struct dyn_slice routing, struct env *env, struct dyn_slice header,
                atomic_size_t *queued, size_t bytes);

/* ---- receiving ---- */

struct frames {
    zmq_msg_t routing; /* empty on a DEALER */
    zmq_msg_t header;
    zmq_msg_t body;
    unsigned n; /* frames of the message without routing; two are the most that mean something */
};

/* false: nothing there. Otherwise frames_close() is next. */
bool frames_receive(void *socket, bool has_routing, struct frames *frames);
void frames_close(struct frames *frames);
struct dyn_slice frame_slice(zmq_msg_t *frame);

enum frames_verdict {
    FRAMES_ENVELOPE,      /* *env_p is set */
    FRAMES_LATER_KIND,    /* of a minor version that is not known here: to be counted */
    FRAMES_OTHER_VERSION, /* another major */
    FRAMES_BROKEN,        /* err says why */
};

/* Whatever came from whoever: makes an envelope of it, or says why not. Pure. `n` as in struct frames;
 * `body_max` is the largest body of a REQUEST. A body is copied once, into a block with ENV_BODY_HEADROOM
 * in front. */
enum frames_verdict frames_read(struct dyn_slice header, struct dyn_slice body, unsigned n, size_t body_max,
                                struct env **env_p, struct dyn_err *err);
