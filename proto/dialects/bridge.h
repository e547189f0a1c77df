/* A bridge between a client and an upstream that speak different dialects: one request goes over it, and its
 * answer or stream comes back. It reads with one dialect's codec and writes with the other's, keeps what lies
 * between two events (a few kilobytes, however long the stream is), and knows what was lost.
 *
 * Where an upstream cannot promise JSON of a schema, the bridge asks for it as the arguments of a tool that
 * must be called, and makes the call a text again on its way back. */
#pragma once

#include "proto/dialects/dialect.h"

typedef struct bridge bridge_t;

struct bridge_options {
    const struct dialect_ops *client;
    const struct dialect_ops *upstream;
    struct dyn_slice model; /* what the upstream calls it; absent: as the client wrote it */
    uint64_t now_s;         /* for answers that must say when they were made */
};

/* The longest plain answer that is translated; it is held whole meanwhile. Bytes. */
enum { BRIDGE_ANSWER_MAX = 16 * 1024 * 1024 };

/* Both can be read and written. */
bool bridge_exists(const struct dialect_ops *client, const struct dialect_ops *upstream);

/* `body` was validated by the client's dialect. *upstream_p: the body to send, one reference. NULL with a
 * problem when the upstream's language has no words for what is asked. */
bridge_t *bridge_new(const struct bridge_options *options, struct dyn_slice body, dyn_block_t **upstream_p,
                     struct dialect_problem *problem);
void bridge_free(bridge_t **bridge_p);
/* What could not be said: names as in errors, in a comma list; empty: nothing. As long as the bridge. */
struct dyn_slice bridge_losses(const bridge_t *bridge);

/* A whole plain answer of the upstream becomes one for the client in `out`. -1: it is none. */
int bridge_answer(bridge_t *bridge, struct dyn_slice body, struct dyn_buf *out, struct env_usage *usage);
/* One event of the upstream's stream: appends events for the client to `out`, and says what it was as the
 * client's own dialect would. -1: garbage. */
int bridge_event(bridge_t *bridge, const struct sse_event *event, struct dyn_buf *out,
                 struct dialect_event *seen);
