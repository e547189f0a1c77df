/* See event_ring.h. */
#include "bus/event_ring.h"

#include <stdlib.h>
#include <sys/mman.h>

enum {
    RING_FIRST = 64,
    SLOTS_SHARE = 16, /* of the limit, for slots: enough for maps of 1 KiB. Maps may take the rest */
};

static struct event_slot *
slot_at(const struct event_ring *ring, size_t i)
{
    return &ring->slots[(ring->first + i) & (ring->cap - 1)];
}

void
event_ring_init(struct event_ring *ring, size_t limit_bytes)
{
    *ring = (struct event_ring){.limit = limit_bytes, .size = limit_bytes - limit_bytes / SLOTS_SHARE};
}

static void
drop_oldest(struct event_ring *ring)
{
    const struct event_slot *slot = slot_at(ring, 0);
    ring->bytes -= slot->len + EVENT_SLOT_COST;
    ring->held -= slot->len;
    ring->first = (ring->first + 1) & (ring->cap - 1);
    ring->n--;
}

void
event_ring_fini(struct event_ring *ring)
{
    if (ring->memory != NULL) {
        (void)munmap(ring->memory, ring->size);
    }
    free(ring->slots);
    *ring = (struct event_ring){0};
}

/* Addresses only: a page is there when it was written to. */
static bool
has_memory(struct event_ring *ring)
{
    if (ring->memory == NULL) {
        void *memory = mmap(NULL, ring->size, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        ring->memory = memory != MAP_FAILED ? memory : NULL;
    }
    return ring->memory != NULL;
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

/* How much of that many bytes lies in front of the ring's end. */
static size_t
until_end(const struct event_ring *ring, size_t at, size_t len)
{
    return len < ring->size - at ? len : ring->size - at;
}

static void
write_map(struct event_ring *ring, struct dyn_slice map)
{
    size_t front = until_end(ring, ring->end, map.len);
    memcpy(ring->memory + ring->end, map.data, front);
    memcpy(ring->memory, map.data + front, map.len - front);
    ring->end = (ring->end + map.len) % ring->size;
    ring->held += map.len;
}

void
event_ring_push(struct event_ring *ring, uint64_t sequence, const char *topic, struct dyn_slice map)
{
    size_t bytes = map.len + EVENT_SLOT_COST;
    if (bytes > ring->limit || map.len > ring->size || !has_memory(ring)) {
        return;
    }
    while (ring->bytes + bytes > ring->limit || ring->held + map.len > ring->size) {
        drop_oldest(ring);
    }
    if (ring->n == ring->cap) {
        grow(ring);
    }
    *slot_at(ring, ring->n++) = (struct event_slot){sequence, topic, ring->end, map.len};
    write_map(ring, map);
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
        if (slot->len > max - (*out)->len) {
            return slot->sequence;
        }
        size_t front = until_end(ring, slot->at, slot->len);
        dyn_block_append(out, ring->memory + slot->at, front);
        dyn_block_append(out, ring->memory, slot->len - front);
        since = slot->sequence + 1;
    }
    return since;
}
