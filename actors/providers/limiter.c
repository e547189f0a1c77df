/* See limiter.h. */
#include "actors/providers/limiter.h"

void
limiter_init(struct limiter *limiter, uint32_t limit, uint32_t queue_max, health_board_t *board)
{
    *limiter = (struct limiter){.limit = limit, .queue_max = queue_max, .board = board};
    dyn_list_init(&limiter->waiting);
    (void)pthread_mutex_init(&limiter->lock, NULL);
}

void
limiter_fini(struct limiter *limiter)
{
    DYN_ASSERT(dyn_list_is_empty(&limiter->waiting));
    (void)pthread_mutex_destroy(&limiter->lock);
}

void
limiter_seat_init(struct limiter_seat *seat, uint32_t who)
{
    *seat = (struct limiter_seat){.who = who};
    dyn_list_init(&seat->given);
}

static uint32_t
load(const atomic_uint *number)
{
    return atomic_load_explicit(number, memory_order_relaxed);
}

static void
add(atomic_uint *number, int difference)
{
    (void)atomic_fetch_add_explicit(number, (unsigned)difference, memory_order_relaxed);
}

bool
limiter_is_full(const struct limiter *limiter)
{
    return limiter->limit != 0 && load(&limiter->in_flight) >= limiter->limit &&
           load(&limiter->n_waiting) >= limiter->queue_max;
}

/* With the lock, after each change. */
static void
show(struct limiter *limiter)
{
    bool is_full = limiter_is_full(limiter);
    if (limiter->board != NULL) {
        health_board_set_queued(limiter->board, load(&limiter->n_waiting));
    }
    if (is_full != limiter->was_full) {
        limiter->was_full = is_full;
        add(&limiter->fullness_changes, 1);
    }
}

enum limiter_verdict
limiter_take(struct limiter *limiter, struct limiter_seat *seat, struct limiter_place *place)
{
    enum limiter_verdict verdict = LIMITER_FULL;
    *place = (struct limiter_place){.seat = seat};
    dyn_list_init(&place->link);
    (void)pthread_mutex_lock(&limiter->lock);
    if (load(&limiter->in_flight) < limiter->limit) {
        add(&limiter->in_flight, 1);
        place->step = LIMITER_IN;
        verdict = LIMITER_TAKEN;
    } else if (load(&limiter->n_waiting) < limiter->queue_max) {
        add(&limiter->n_waiting, 1);
        dyn_list_append(&limiter->waiting, &place->link);
        place->step = LIMITER_WAITS;
        verdict = LIMITER_QUEUED;
    }
    show(limiter);
    (void)pthread_mutex_unlock(&limiter->lock);
    return verdict;
}

/* With the lock: a place is free. Somebody waits only while none is, so it is given or nobody wants it. */
static uint32_t
hand_over(struct limiter *limiter)
{
    struct dyn_list *link = dyn_list_pop(&limiter->waiting);
    if (link == NULL) {
        add(&limiter->in_flight, -1);
        return 0;
    }
    struct limiter_place *place = DYN_CONTAINER_OF(link, struct limiter_place, link);
    struct limiter_seat *seat = place->seat;
    add(&limiter->n_waiting, -1);
    place->step = LIMITER_GIVEN;
    dyn_list_append(&seat->given, &place->link);
    uint32_t who = seat->is_told ? 0 : seat->who;
    seat->is_told = true;
    return who;
}

uint32_t
limiter_leave(struct limiter *limiter, struct limiter_place *place)
{
    uint32_t who = 0;
    (void)pthread_mutex_lock(&limiter->lock);
    enum limiter_step step = place->step;
    place->step = LIMITER_OUT;
    if (step == LIMITER_WAITS || step == LIMITER_GIVEN) {
        dyn_list_remove(&place->link);
    }
    if (step == LIMITER_WAITS) {
        add(&limiter->n_waiting, -1);
    } else if (step != LIMITER_OUT) {
        who = hand_over(limiter);
    }
    show(limiter);
    (void)pthread_mutex_unlock(&limiter->lock);
    return who;
}

struct limiter_place *
limiter_next_given(struct limiter *limiter, struct limiter_seat *seat)
{
    struct limiter_place *place = NULL;
    (void)pthread_mutex_lock(&limiter->lock);
    struct dyn_list *link = dyn_list_pop(&seat->given);
    if (link != NULL) {
        place = DYN_CONTAINER_OF(link, struct limiter_place, link);
        place->step = LIMITER_IN;
    } else {
        seat->is_told = false;
    }
    (void)pthread_mutex_unlock(&limiter->lock);
    return place;
}
