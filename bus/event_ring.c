/* See event_ring.h. */
#include "bus/event_ring.h"

#include <stdlib.h>

enum { RING_FIRST = 64 };

static struct event_slot *
slot_at(const struct event_ring *ring, size_t i)
{
    return &ring->slots[(ring->first + i) & (ring->cap - 1)];
}

void
event_ring_init(struct event_ring *ring, size_t limit_bytes)
{
    *ring = (struct event_ring){.limit = limit_bytes};
}

static void
drop_oldest(struct event_ring *ring)
{
    struct event_slot *slot = slot_at(ring, 0);
    ring->bytes -= slot->bytes;
    dyn_block_unref(&slot->body);
    ring->first = (ring->first + 1) & (ring->cap - 1);
    ring->n--;
}

void
event_ring_fini(struct event_ring *ring)
{
    while (ring->n > 0) {
        drop_oldest(ring);
    }
    free(ring->slots);
    *ring = (struct event_ring){0};
}

/* Bounded by the limit: each slot counts EVENT_SLOT_COST at least. */
static void
grow(struct event_ring *ring)
{
    size_t cap = ring->cap > 0 ? ring->cap * 2 : RING_FIRST;
    struct event_slot *slots = dyn_alloc(cap * sizeof *slots);
    for (size_t i = 0; i < ring->n; i++) {
        slots[i] = *slot_at(ring, i);
    }
    free(ring->slots);
    ring->slots = slots;
    ring->cap = cap;
    ring->first = 0;
}

void
event_ring_push(struct event_ring *ring, uint64_t sequence, const char *topic, dyn_block_t *body,
                struct dyn_slice map, size_t spare)
{
    size_t bytes = map.len + spare + EVENT_SLOT_COST;
    if (bytes > ring->limit) {
        return;
    }
    while (ring->bytes + bytes > ring->limit) {
        drop_oldest(ring);
    }
    if (ring->n == ring->cap) {
        grow(ring);
    }
    *slot_at(ring, ring->n++) = (struct event_slot){sequence, topic, dyn_block_ref(body), map, bytes};
    ring->bytes += bytes;
}

/* The first slot with at least that sequence; n: there is none. */
static size_t
find(const struct event_ring *ring, uint64_t since)
{
    size_t low = 0;
    size_t high = ring->n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (slot_at(ring, middle)->sequence < since) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

uint64_t
event_ring_read(const struct event_ring *ring, uint64_t since, struct dyn_slice topic, size_t max,
                dyn_block_t **out)
{
    for (size_t i = find(ring, since); i < ring->n; i++) {
        const struct event_slot *slot = slot_at(ring, i);
        if (topic.len > 0 && strncmp(slot->topic, topic.data, topic.len) != 0) {
            since = slot->sequence + 1;
            continue;
        }
        struct dyn_slice map = slot->map;
        if (map.len > max - (*out)->len) {
            return slot->sequence;
        }
        dyn_block_append(out, map.data, map.len);
        since = slot->sequence + 1;
    }
    return since;
}
