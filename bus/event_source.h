/* The events of one router, as a subscriber gets them: its SUB socket, the count of what comes, and asking
 * for what does not. Private to bus/subscriber.c. */
#pragma once

#include "bus/endpoint.h"
#include "bus/subscriber.h"

#include <zmq.h>

struct event_source;

struct event_source_options {
    void *context;
    const bus_security_t *security;
    struct bus_endpoint endpoint; /* base; a number */
    const char *topic;            /* these two outlive the source */
    const char *credential;
    bool replays;
    uint64_t since;
    bool fills;
};

struct event_source *event_source_open(const struct event_source_options *options, struct dyn_err *err);
void event_source_close(struct event_source **source_p);
const char *event_source_base(const struct event_source *source);
bool event_source_is_connected(const struct event_source *source);
/* Not connected for longer than a router may take to come back. */
bool event_source_is_dead(const struct event_source *source);
const char *event_source_refusal(const struct event_source *source);
/* As subscriber_next(), without waiting for events; asking again may wait for its answer. */
int event_source_next(struct event_source *source, struct subscriber_event *event, struct dyn_err *err);
/* When it wants to be called again, whatever comes; UINT64_MAX: never. */
uint64_t event_source_due_ms(const struct event_source *source);
/* Fills at most two; returns how many. */
int event_source_poll_items(const struct event_source *source, zmq_pollitem_t *items);
