/* The publisher: the actor that tells the world. It takes EVENT envelopes of this process's actors (and of
 * edges and workers, that ports hand on), numbers them, sends them to every subscriber of its PUB socket,
 * keeps the last ones for who asks again, and hands those of requests to the hooks of the library's user.
 * Specified in proto/04-EVENTS.md.
 *
 *   frames   topic | header of an EVENT with node, epoch and event_seq | map of the event with the members of
 *            kind P
 *   REQUEST  surface `events`: `since` the first sequence wanted (0: the oldest held), `topic` a prefix
 *            (absent: all), `node` whom `since` counts for (another's or absent: as is / the oldest held)
 *   END      body: maps one after the other, at most 1 MiB; `since`: what to ask for next; `event_seq`: the
 *            newest there is; `node`
 *
 * It waits for nobody: a subscriber that does not read loses what its queue of PUBLISHER_QUEUE events
 * can't take, and sees so by the numbers. One per process; any loop but a cell's. */
#pragma once

#include "bus/remote.h"

enum {
    PUBLISHER_REPLAY_BYTES = 4 * 1024 * 1024, /* held for who asks again */
    /* events waiting for one subscriber; their bytes are shared by all who wait for them */
    PUBLISHER_QUEUE = 4096,
    PUBLISHER_TOPICS_MAX = 64, /* an event of one more topic is refused */
};

/* Read by any thread, written by the publisher's loop. */
struct publisher_counts {
    atomic_uint_fast64_t published;
    atomic_uint_fast64_t refused;  /* no sound map, too large, one topic too many */
    atomic_uint_fast64_t unheard;  /* the hooks' mailbox was full */
    atomic_uint_fast64_t replays;  /* REQUESTs answered */
    atomic_uint_fast64_t replay_bytes;  /* gauge: held */
};

struct publisher_options {
    struct bus_process *process; /* node and keys; outlives the publisher */
    const char *endpoint;        /* of the PUB socket, copied; NULL: nothing is bound */
    bus_addr_t  also;            /* who gets the events of requests too; 0: nobody */
    /* who gets what processes tell of themselves (gateway.node.counters); 0: nobody */
    bus_addr_t  metrics;
    size_t      replay_bytes;    /* 0: PUBLISHER_REPLAY_BYTES */
    struct publisher_counts *counts; /* outlives it; NULL: not counted */
};

typedef struct publisher publisher_t;
publisher_t *publisher_new(const struct publisher_options *options);
/* What the socket was bound to ("tcp://127.0.0.1:7402" for port *), from start() on; "" without one. */
const char *publisher_endpoint(const publisher_t *publisher);
extern const struct bus_actor_ops publisher_actor_ops;
