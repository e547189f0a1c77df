/* How many calls of one target may be in flight in one process, and who waits for a place. Shared by all
 * cells; any thread. First come, first served over all of them: a place that becomes free goes to who has
 * waited longest, on whichever loop that is. It tells nobody; who gives a place back is told which actor to
 * tell, and does so over the bus. How many wait is shown on the target's board with every change. */
#pragma once

#include "core/list.h"
#include "proto/health.h"

#include <pthread.h>
#include <stdatomic.h>

struct limiter {
    uint32_t limit;     /* 0: none, and nothing here is used */
    uint32_t queue_max; /* who may wait */
    pthread_mutex_t lock;
    struct dyn_list waiting;
    atomic_uint in_flight; /* places taken, given ones included. Written with the lock */
    atomic_uint n_waiting; /* the same */
    health_board_t *board; /* with the lock, so that what is shown last is how it is; NULL: nowhere */
    bool was_full;
    atomic_uint fullness_changes; /* how often it began or ceased to be full; written with the lock */
};

/* One for each actor that takes places. */
struct limiter_seat {
    uint32_t who; /* its address, never 0 */
    bool is_told; /* a message is on its way to it, or being handled */
    struct dyn_list given;
};

enum limiter_step { LIMITER_OUT, LIMITER_WAITS, LIMITER_GIVEN, LIMITER_IN };

/* One for each call; zero-initialised: out. It must not move while it is not out. */
struct limiter_place {
    struct dyn_list link; /* limiter->waiting, or seat->given */
    struct limiter_seat *seat;
    enum limiter_step step; /* with the lock */
};

enum limiter_verdict { LIMITER_TAKEN, LIMITER_QUEUED, LIMITER_FULL };

/* The board outlives it. */
void limiter_init(struct limiter *limiter, uint32_t limit, uint32_t queue_max, health_board_t *board);
void limiter_fini(struct limiter *limiter); /* nobody waits any more */
void limiter_seat_init(struct limiter_seat *seat, uint32_t who);

enum limiter_verdict limiter_take(struct limiter *limiter, struct limiter_seat *seat,
                                  struct limiter_place *place);
/* Out of it, whatever it was: waiting, given, in. Returns who has to be told that a place was given to him;
 * 0: nobody (he has not got round to the last message yet, or nobody waits). */
uint32_t limiter_leave(struct limiter *limiter, struct limiter_place *place);
/* For who was told: the next of his that has got a place and is in now; NULL: no more. */
struct limiter_place *limiter_next_given(struct limiter *limiter, struct limiter_seat *seat);
/* It would refuse now. */
bool limiter_is_full(const struct limiter *limiter);
