/* A subscriber of events for who just waits for the next one: `dynabus tail`, the role `metrics`, C tests.
 * Speaks 04-EVENTS over a SUB socket for each router, counts what is missing, and asks for it again over
 * bus/client.h. Blocks; no loop, no thread of its own but libzmq's. One thread at a time. */
#pragma once

#include "bus/security.h"
#include "proto/event.h"

enum {
    SUBSCRIBER_ROUTERS_MAX = 64,  /* addresses listened to at the same time */
    SUBSCRIBER_QUEUE = 8192,      /* events of each that may wait here */
};

struct subscriber_options {
    /* base endpoints; names stand for all their addresses, looked up again now and then */
    const char *const *routers;
    size_t n_routers;
    /* borrowed until subscriber_close(); NULL: in the clear, whatever the endpoint */
    const bus_security_t *security;
    const char *topic;      /* a prefix; NULL: everything */
    const char *credential; /* for asking again where the gateway wants one; NULL: none */
    bool replays;           /* begin with what is kept, from `since` on */
    uint64_t since;         /* 0: the oldest that is kept */
    bool fills;             /* ask for what is missing in between */
};

/* Good until the next call. */
struct subscriber_event {
    struct dyn_slice topic;
    struct dyn_slice map;
    struct event_record record; /* as far as its topic has these fields; the publisher's own always */
    uint64_t missed; /* of its topic, right before it: told, but not to us */
};

typedef struct subscriber subscriber_t;

/* NULL with err: an endpoint can't be right, or would be spoken to in the clear off loopback. Whether
 * anybody is there shows later. */
subscriber_t *subscriber_open(const struct subscriber_options *options, struct dyn_err *err);
void subscriber_close(subscriber_t **subscriber_p);

/* Waits for the next event: 1 with *event; 0 when none has come in time (or a signal came); -1 with err
 * when asking again was refused (once for each router: it goes on without). Within a router and topic in
 * order and once. */
int subscriber_next(subscriber_t *subscriber, uint32_t timeout_ms, struct subscriber_event *event,
                    struct dyn_err *err);
/* Routers that events can come from right now. */
unsigned subscriber_connected(const subscriber_t *subscriber);
/* Why the last one was not let in; "" when nobody was refused. */
const char *subscriber_refusal(const subscriber_t *subscriber);
