/* Waits of many calls on one timer: a wheel of one slot a millisecond, so that thousands of paced streams
 * cost one timer and one poll a millisecond and not one each. Times are late by up to two milliseconds,
 * never early; who keeps a pace counts from the time that was due, so nothing adds up. Of many that are
 * due at once a few fire at a time, and what they wrote goes out before the next few fire. */
#pragma once

#include "bus/loop.h"

enum { MOCK_PACER_SLOTS = 4096 }; /* a power of two; a longer wait goes round */

struct mock_wait {
    struct dyn_list link; /* dyn_list_init() before its first use */
    uint64_t due_ms;
    void (*fire)(struct mock_wait *wait);
};

struct mock_pacer {
    bus_loop_t *loop;
    struct bus_timer timer;
    uint64_t tick_ms; /* all slots up to this one have been looked at */
    size_t waiting;
    bool firing;                            /* some have fired, and `more` or the timer goes on */
    unsigned times;                         /* that a few fired in this turn */
    struct dyn_list due;                    /* of tick_ms, still to be fired */
    struct bus_task more;                   /* fires the next few of them */
    uint64_t in_use[MOCK_PACER_SLOTS / 64]; /* a bit for each slot that may hold a wait */
    struct dyn_list slots[MOCK_PACER_SLOTS];
};

void mock_pacer_init(struct mock_pacer *pacer, bus_loop_t *loop);
void mock_pacer_fini(struct mock_pacer *pacer); /* nothing may wait */
uint64_t mock_pacer_now_ms(const struct mock_pacer *pacer);
/* Fires once, at `due_ms` or the next millisecond if that is over. Not while it waits. */
void mock_pacer_add(struct mock_pacer *pacer, struct mock_wait *wait, uint64_t due_ms);
/* Allowed at any time, also when it does not wait. */
void mock_pacer_cancel(struct mock_pacer *pacer, struct mock_wait *wait);
