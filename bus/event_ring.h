/* The last events, for who missed some: a queue of maps as they were published, bounded in bytes; the
 * oldest go first. Pure, no lock: its publisher's own. */
#pragma once

#include "core/block.h"

struct event_slot {
    uint64_t     sequence;
    const char  *topic; /* as its publisher keeps it */
    dyn_block_t *body;
    struct dyn_slice map; /* in it */
    size_t       bytes; /* what it counts for */
};

struct event_ring {
    struct event_slot *slots;
    size_t cap;   /* a power of two */
    size_t first; /* index of the oldest */
    size_t n;
    size_t bytes; /* of all maps with what is spare behind them, and EVENT_SLOT_COST each */
    size_t limit;
};
enum { EVENT_SLOT_COST = 96 }; /* the slot, the block's head and what malloc adds */

void event_ring_init(struct event_ring *ring, size_t limit_bytes); /* 0: nothing is kept */
void event_ring_fini(struct event_ring *ring);
/* Keeps a reference to the body, in which the map is and `spare` bytes more belong to it, unless that alone
 * is larger than the limit. Sequences rise by one. Events may share a body: the memory of the first ones of a
 * batch goes with the last one. */
void event_ring_push(struct event_ring *ring, uint64_t sequence, const char *topic, dyn_block_t *body,
                     struct dyn_slice map, size_t spare);
/* Appends the maps whose topic begins with `topic`, from sequence `since` on or from the oldest there is,
 * while they fit into `max` bytes, to *out. Returns the sequence to go on with: behind the last one looked
 * at. */
uint64_t event_ring_read(const struct event_ring *ring, uint64_t since, struct dyn_slice topic, size_t max,
                         dyn_block_t **out);
