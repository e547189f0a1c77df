/* The last events, for who missed some: a queue of maps as they were published, bounded in bytes; the
 * oldest go first. Pure, no lock: its publisher's own.
 *
 * One run of bytes that begins again at its front, not a block for each event: what lives long would lie
 * between what lives as long as a request, and keep its pages. It is mapped whole and owned as far as it was
 * filled once. */
#pragma once

#include "core/block.h"

struct event_slot {
    uint64_t    sequence;
    const char *topic; /* as its publisher keeps it */
    size_t      at;    /* of its map in the ring; one that passes the end goes on at the front */
    size_t      len;
};

struct event_ring {
    char *memory;   /* NULL until the first event */
    size_t end;     /* where the next map begins */
    size_t held;    /* bytes of all maps */
    size_t size;    /* of the memory */
    struct event_slot *slots;
    size_t cap;     /* a power of two */
    size_t first;   /* index of the oldest */
    size_t n;
    size_t bytes;   /* of all maps, and EVENT_SLOT_COST each */
    size_t limit;
};
enum { EVENT_SLOT_COST = 2 * sizeof(struct event_slot) }; /* slots grow by doubling */

void event_ring_init(struct event_ring *ring, size_t limit_bytes); /* 0: nothing is kept */
void event_ring_fini(struct event_ring *ring);
/* Keeps a copy of the map, unless that alone is larger than the limit, or the system has no memory.
 * Sequences rise. */
void event_ring_push(struct event_ring *ring, uint64_t sequence, const char *topic, struct dyn_slice map);
/* Appends the maps whose topic begins with `topic`, from sequence `since` on or from the oldest there is,
 * while they fit into `max` bytes, to *out. Returns the sequence to go on with: behind the last one looked
 * at. */
uint64_t event_ring_read(const struct event_ring *ring, uint64_t since, struct dyn_slice topic, size_t max,
                         dyn_block_t **out);
