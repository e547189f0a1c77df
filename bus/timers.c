/* A binary heap of timers, see timers.h. It is not a clock and calls nobody. */
#include "bus/timers.h"

#include <stdlib.h>

#define HEAP_FIRST_SLOTS 64u /* 1 KiB: most loops stay below */

void
timer_heap_fini(struct timer_heap *heap)
{
    for (uint32_t i = 1; i <= heap->n; i++) {
        heap->slots[i].timer->place = 0;
    }
    free(heap->slots);
    *heap = (struct timer_heap){0};
}

static void
put(struct timer_heap *heap, uint32_t place, struct timer_slot slot)
{
    heap->slots[place] = slot;
    slot.timer->place = place;
}

static void
sift_up(struct timer_heap *heap, uint32_t place, struct timer_slot slot)
{
    while (place > 1 && heap->slots[place / 2].look_at_us > slot.look_at_us) {
        put(heap, place, heap->slots[place / 2]);
        place /= 2;
    }
    put(heap, place, slot);
}

static void
sift_down(struct timer_heap *heap, uint32_t place, struct timer_slot slot)
{
    for (;;) {
        uint32_t child = place * 2;
        if (child > heap->n) {
            break;
        }
        if (child < heap->n && heap->slots[child + 1].look_at_us < heap->slots[child].look_at_us) {
            child++;
        }
        if (heap->slots[child].look_at_us >= slot.look_at_us) {
            break;
        }
        put(heap, place, heap->slots[child]);
        place = child;
    }
    put(heap, place, slot);
}

void
timer_heap_armed(struct timer_heap *heap, struct bus_timer *timer)
{
    struct timer_slot slot = {.look_at_us = timer->at_us, .timer = timer};
    if (timer->place != 0) {
        if (timer->at_us < heap->slots[timer->place].look_at_us) {
            sift_up(heap, timer->place, slot);
        }
        return;
    }
    if (heap->n + 1 >= heap->cap) {
        heap->cap = heap->cap ? heap->cap * 2 : HEAP_FIRST_SLOTS;
        heap->slots = dyn_realloc(heap->slots, heap->cap * sizeof *heap->slots);
    }
    heap->n++;
    sift_up(heap, heap->n, slot);
}

void
timer_heap_remove(struct timer_heap *heap, struct bus_timer *timer)
{
    uint32_t place = timer->place;
    if (place == 0) {
        return;
    }
    timer->place = 0;
    struct timer_slot last = heap->slots[heap->n--];
    if (last.timer == timer) {
        return;
    }
    if (place > 1 && heap->slots[place / 2].look_at_us > last.look_at_us) {
        sift_up(heap, place, last);
    } else {
        sift_down(heap, place, last);
    }
}

struct bus_timer *
timer_heap_pop_due(struct timer_heap *heap, uint64_t now_us)
{
    while (heap->n > 0 && heap->slots[1].look_at_us <= now_us) {
        struct bus_timer *timer = heap->slots[1].timer;
        if (timer->at_us > now_us) { /* was postponed */
            sift_down(heap, 1, (struct timer_slot){.look_at_us = timer->at_us, .timer = timer});
            continue;
        }
        bool armed = timer->at_us != 0;
        timer->at_us = 0;
        timer_heap_remove(heap, timer);
        if (armed) {
            return timer;
        }
    }
    return NULL;
}
