/* Events of ended requests on their way from a router to the publisher of its process: maps as
 * event_encode() makes them, one behind the other, each with room for what the publisher says of it. So an
 * event is written once, and its bytes stay where they are until the last who wants them has gone.
 * Never leaves the process: an envelope with it has `is_own` (proto/env.h), and the maps are not checked
 * again. */
#pragma once

#include "proto/event.h"

struct event_batch_item {
    bool   failed;  /* EVENT_REQUEST_FAILED, not EVENT_REQUEST_COMPLETED */
    size_t map_at;  /* in the batch */
    size_t map_len;
    size_t room;    /* behind the map */
};

/* Begins with an empty buffer. */
void event_batch_add(struct dyn_buf *batch, const struct event_record *record);
/* The item at *at, which begins with 0; then *at is the next one's. false: there is none. */
bool event_batch_next(struct dyn_slice batch, size_t *at, struct event_batch_item *item);
/* Writes the stamp's members behind the map of the item, once. The stamp has one of the two topics, and a
 * node of EVENT_NODE_LEN bytes. */
void event_batch_stamp(char *batch, struct event_batch_item *item, const struct event_stamp *stamp);

static inline struct dyn_slice
event_batch_map(const char *batch, const struct event_batch_item *item)
{
    return dyn_slice(batch + item->map_at, item->map_len);
}

static inline const char *
event_batch_topic(const struct event_batch_item *item)
{
    return item->failed ? EVENT_REQUEST_FAILED : EVENT_REQUEST_COMPLETED;
}
