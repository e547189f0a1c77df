#include "mock/pacer.h"

enum {
    US_PER_MS = 1000,
    AT_A_TIME = 2, /* a token carries the time at which it was written: it must not wait for many others */
    TIMES_PER_TURN = 4, /* and a request must not wait until all that is due has fired */
};

static size_t
slot_of(uint64_t tick_ms)
{
    return (size_t)(tick_ms % MOCK_PACER_SLOTS);
}

uint64_t
mock_pacer_now_ms(const struct mock_pacer *pacer)
{
    return bus_loop_now_us(pacer->loop) / US_PER_MS;
}

/* The first tick after `from` whose slot is in use; the caller knows that there is one. */
static uint64_t
next_used_tick(const struct mock_pacer *pacer, uint64_t from)
{
    for (uint64_t tick = from + 1; tick <= from + MOCK_PACER_SLOTS;) {
        size_t slot = slot_of(tick);
        uint64_t word = pacer->in_use[slot / 64] >> (slot % 64);
        if (word != 0) {
            return tick + (uint64_t)__builtin_ctzll(word);
        }
        tick += 64 - slot % 64;
    }
    return from + MOCK_PACER_SLOTS;
}

static void
arm(struct mock_pacer *pacer)
{
    if (pacer->waiting == 0) {
        bus_timer_disarm(&pacer->timer);
        return;
    }
    uint64_t tick = next_used_tick(pacer, pacer->tick_ms);
    uint64_t now = mock_pacer_now_ms(pacer);
    bus_timer_arm(pacer->loop, &pacer->timer, tick > now ? tick - now : 0);
}

static void
put(struct mock_pacer *pacer, struct mock_wait *wait)
{
    uint64_t tick = wait->due_ms > pacer->tick_ms ? wait->due_ms : pacer->tick_ms + 1;
    size_t slot = slot_of(tick);
    pacer->in_use[slot / 64] |= 1ull << (slot % 64);
    dyn_list_append(&pacer->slots[slot], &wait->link);
}

/* Puts the waits of the next tick into `due`. false: none is due yet. */
static bool
next_due(struct mock_pacer *pacer, uint64_t now)
{
    uint64_t tick = pacer->waiting > 0 ? next_used_tick(pacer, pacer->tick_ms) : UINT64_MAX;
    if (tick > now) {
        return false;
    }
    size_t slot = slot_of(tick);
    dyn_list_splice(&pacer->due, &pacer->slots[slot]);
    pacer->in_use[slot / 64] &= ~(1ull << (slot % 64));
    pacer->tick_ms = tick;
    return true;
}

static void
fire_some(struct mock_pacer *pacer)
{
    uint64_t now = mock_pacer_now_ms(pacer);
    pacer->firing = true;
    for (unsigned fired = 0; fired < AT_A_TIME;) {
        struct dyn_list *link = dyn_list_pop(&pacer->due);
        if (link != NULL) {
            struct mock_wait *wait = DYN_CONTAINER_OF(link, struct mock_wait, link);
            if (wait->due_ms > pacer->tick_ms) { /* of a later round of the wheel */
                put(pacer, wait);
                continue;
            }
            pacer->waiting--;
            fired++;
            wait->fire(wait);
        } else if (!next_due(pacer, now)) {
            pacer->tick_ms = pacer->tick_ms < now ? now : pacer->tick_ms;
            pacer->firing = false;
            arm(pacer);
            return;
        }
    }
    if (++pacer->times < TIMES_PER_TURN) {
        bus_task_queue(pacer->loop, &pacer->more);
    } else { /* in the next turn */
        bus_timer_arm(pacer->loop, &pacer->timer, 0);
    }
}

static void
on_timer(struct bus_timer *timer)
{
    struct mock_pacer *pacer = DYN_CONTAINER_OF(timer, struct mock_pacer, timer);
    pacer->times = 0;
    fire_some(pacer);
}

static void
on_more(struct bus_task *task)
{
    fire_some(DYN_CONTAINER_OF(task, struct mock_pacer, more));
}

void
mock_pacer_init(struct mock_pacer *pacer, bus_loop_t *loop)
{
    *pacer = (struct mock_pacer){.loop = loop, .timer = {.fire = on_timer}};
    pacer->tick_ms = mock_pacer_now_ms(pacer);
    dyn_list_init(&pacer->due);
    bus_task_init(&pacer->more, on_more);
    for (size_t i = 0; i < MOCK_PACER_SLOTS; i++) {
        dyn_list_init(&pacer->slots[i]);
    }
}

void
mock_pacer_fini(struct mock_pacer *pacer)
{
    DYN_ASSERT(pacer->waiting == 0);
    bus_task_cancel(&pacer->more);
    bus_timer_fini(&pacer->timer);
}

void
mock_pacer_add(struct mock_pacer *pacer, struct mock_wait *wait, uint64_t due_ms)
{
    if (pacer->waiting == 0 && !pacer->firing) { /* nothing was looked at while nothing waited */
        uint64_t now = mock_pacer_now_ms(pacer);
        pacer->tick_ms = now > pacer->tick_ms ? now : pacer->tick_ms;
    }
    wait->due_ms = due_ms;
    pacer->waiting++;
    put(pacer, wait);
    uint64_t at_ms = bus_timer_is_armed(&pacer->timer) ? pacer->timer.at_us / US_PER_MS : UINT64_MAX;
    if (!pacer->firing && due_ms < at_ms) {
        arm(pacer);
    }
}

void
mock_pacer_cancel(struct mock_pacer *pacer, struct mock_wait *wait)
{
    if (dyn_list_is_linked(&wait->link)) {
        dyn_list_remove(&wait->link);
        pacer->waiting--;
    }
}
