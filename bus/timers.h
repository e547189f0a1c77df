/* The armed timers of one loop, ordered by the time at which they have to be looked at. Pure: it is
 * told the time. Disarming and postponing leave a timer where it is; when its old time has come it is
 * dropped or moved, so a time-out that is pushed back with every byte costs one store each. */
#pragma once

#include "bus/loop.h"

struct timer_slot {
    uint64_t look_at_us; /* <= timer->at_us while armed */
    struct bus_timer *timer;
};

struct timer_heap {
    struct timer_slot *slots; /* slots[0] is unused: children of i are 2i and 2i + 1 */
    uint32_t n;
    uint32_t cap;
};

void timer_heap_fini(struct timer_heap *heap);
/* timer->at_us was set to something other than 0. */
void timer_heap_armed(struct timer_heap *heap, struct bus_timer *timer);
/* Forgets the timer; nothing points to it afterwards. */
void timer_heap_remove(struct timer_heap *heap, struct bus_timer *timer);
/* The timer that is due at `now_us`, disarmed and out of the heap, or NULL. */
struct bus_timer *timer_heap_pop_due(struct timer_heap *heap, uint64_t now_us);

/* When something has to be looked at next; 0: never. */
static inline uint64_t
timer_heap_next_us(const struct timer_heap *heap)
{
    return heap->n > 0 ? heap->slots[1].look_at_us : 0;
}
