/* See lease.h. What is left is counted, never remembered: the limit without what holders were given and
 * did not return. A holder that is gone stays in its place until the window ends. */
#include "limits/lease.h"

#include <stdlib.h>

enum { HOLDERS_FIRST = 4 };

void
lease_owner_init(struct lease_owner *owner, const struct lease_owner_options *options, bool is_first,
                 uint64_t wall_us)
{
    *owner = (struct lease_owner){.options = *options, .window = wall_us / options->period_us};
    if (options->save == NULL) {
        owner->before = is_first ? 0 : options->limit;
    } else if (options->saved_window == owner->window) {
        owner->before = options->saved < options->limit ? options->saved : options->limit;
    } else if (options->saved_window > owner->window) { /* a clock that was set back */
        owner->window = options->saved_window;
        owner->before = options->limit;
    }
    owner->saved = owner->before;
}

static uint64_t
given_net(const struct lease_owner *owner)
{
    uint64_t sum = owner->before;
    for (size_t i = 0; i < owner->n_holders; i++) {
        sum += owner->holders[i].given - owner->holders[i].returned;
    }
    return sum;
}

uint64_t
lease_owner_left(const struct lease_owner *owner)
{
    uint64_t net = given_net(owner);
    return net < owner->options.limit ? owner->options.limit - net : 0;
}

static bool
is_alive(const struct lease_at *at, uint64_t wall_us)
{
    return at->holder != 0 && wall_us - at->asked_at_us < LEASE_LOST_US;
}

static void
roll(struct lease_owner *owner, uint64_t wall_us)
{
    uint64_t window = wall_us / owner->options.period_us;
    if (window <= owner->window) {
        return;
    }
    owner->window = window;
    owner->before = owner->saved = 0;
    owner->out_until_us = 0;
    for (size_t i = 0; i < owner->n_holders; i++) {
        struct lease_at *at = &owner->holders[i];
        if (!is_alive(at, wall_us)) {
            *at = (struct lease_at){.holder = 0};
        }
        at->given = at->returned = at->used = 0;
    }
}

static struct lease_at *
grow(struct lease_owner *owner)
{
    size_t n = owner->n_holders, more = n == 0 ? HOLDERS_FIRST : 2 * n;
    if (n >= LEASE_HOLDERS_MAX) {
        return NULL;
    }
    struct lease_at *holders = dyn_zalloc(more * sizeof *holders);
    if (n != 0) {
        memcpy(holders, owner->holders, n * sizeof *holders);
    }
    free(owner->holders);
    owner->holders = holders;
    owner->n_holders = more;
    return &holders[n];
}

/* NULL: full of holders that have something in this window. */
static struct lease_at *
place_of(struct lease_owner *owner, uint64_t holder)
{
    struct lease_at *free_place = NULL;
    for (size_t i = 0; i < owner->n_holders; i++) {
        struct lease_at *at = &owner->holders[i];
        if (at->holder == holder) {
            return at;
        }
        if (free_place == NULL && at->holder == 0) {
            free_place = at;
        }
    }
    free_place = free_place != NULL ? free_place : grow(owner);
    if (free_place != NULL) {
        *free_place = (struct lease_at){.holder = holder};
    }
    return free_place;
}

bool
lease_owner_next_lost(struct lease_owner *owner, uint64_t wall_us, uint64_t *holder, uint64_t *open)
{
    for (size_t i = 0; i < owner->n_holders; i++) {
        struct lease_at *at = &owner->holders[i];
        uint64_t net = at->given - at->returned;
        if (at->holder != 0 && !at->is_told && at->asked_at_us != 0 && net > at->used &&
            !is_alive(at, wall_us)) {
            at->is_told = true;
            *holder = at->holder;
            *open = net - at->used;
            return true;
        }
    }
    return false;
}

bool
lease_owner_is_idle(const struct lease_owner *owner, uint64_t wall_us)
{
    return wall_us / owner->options.period_us > owner->window || given_net(owner) == 0;
}

struct crowd {
    uint32_t alive;
    bool has_open; /* somebody else, alive, had something unused when he last said */
};

static struct crowd
look_around(const struct lease_owner *owner, const struct lease_at *asking, uint64_t wall_us)
{
    struct crowd crowd = {0};
    for (size_t i = 0; i < owner->n_holders; i++) {
        const struct lease_at *at = &owner->holders[i];
        if (is_alive(at, wall_us)) {
            crowd.alive++;
            crowd.has_open = crowd.has_open || (at != asking && at->given - at->returned > at->used);
        }
    }
    return crowd;
}

/* A piece: a fourth of a holder's share of what is left, at least 1, at least what is wanted. */
static uint64_t
piece(const struct lease_owner *owner, uint64_t wants, uint32_t holders)
{
    uint64_t left = lease_owner_left(owner), size = left / (4 * (uint64_t)holders);
    if (wants == 0 || wants > left) {
        return 0;
    }
    return size > wants ? size : wants;
}

/* Written ahead in steps of a sixteenth, so that one write serves many asks. 0: it is safe to give it. */
static int
make_safe(struct lease_owner *owner, uint64_t more)
{
    uint64_t up_to = given_net(owner) + more, limit = owner->options.limit, ahead = up_to + limit / 16;
    if (owner->options.save == NULL || up_to <= owner->saved) {
        return 0;
    }
    ahead = ahead < limit ? ahead : limit;
    int rc = owner->options.save(owner->options.self, owner->window, ahead);
    if (rc == 0) {
        owner->saved = ahead;
    }
    return rc;
}

void
lease_owner_saved(struct lease_owner *owner, uint64_t window, uint64_t given_up_to)
{
    if (window == owner->window && given_up_to > owner->saved) {
        owner->saved = given_up_to;
    }
}

void
lease_owner_fini(struct lease_owner *owner)
{
    free(owner->holders);
    owner->holders = NULL;
    owner->n_holders = 0;
}

static void
take_back(struct lease_owner *owner, struct lease_at *at, const struct lease_ask *ask)
{
    if (ask->window != owner->window || ask->owner != owner->options.id) {
        return;
    }
    if (ask->returned > at->returned && ask->returned <= at->given) {
        at->returned = ask->returned;
    }
    at->used = ask->used;
}

static void
fill_grant(const struct lease_owner *owner, const struct lease_ask *ask, const struct lease_at *at,
           const struct crowd *crowd, uint64_t wall_us, struct lease_grant *grant)
{
    uint64_t next = (owner->window + 1) * owner->options.period_us, left = lease_owner_left(owner);
    *grant = (struct lease_grant){
        .holder = ask->holder,
        .owner = owner->options.id,
        .sequence = ask->sequence,
        .window = owner->window,
        .given = at->given,
        .left_us = next > wall_us ? next - wall_us : 0,
        .limit = owner->options.limit,
        .holders = crowd->alive,
        .is_wanted_back = wall_us < owner->out_until_us && owner->out_holder != ask->holder,
        .may_come = crowd->has_open || (left != 0 && left >= ask->wants),
        .left = left,
    };
}

/* 0: given, or there was nothing to give. */
static int
give(struct lease_owner *owner, struct lease_at *at, const struct lease_ask *ask, uint32_t holders,
     uint64_t wall_us)
{
    uint64_t more = piece(owner, ask->wants, holders);
    int rc = more != 0 ? make_safe(owner, more) : 0;
    if (rc == 0 && more != 0) {
        at->given += more;
    } else if (rc != LEASE_SAVE_LATER && ask->wants != 0) {
        owner->out_until_us = wall_us + LEASE_LOST_US;
        owner->out_holder = ask->holder;
    }
    return rc;
}

enum lease_answer
lease_owner_ask(struct lease_owner *owner, const struct lease_ask *ask, uint64_t wall_us,
                struct lease_grant *grant)
{
    roll(owner, wall_us);
    struct lease_at *at = ask->holder == 0 ? NULL : place_of(owner, ask->holder);
    if (at == NULL || ask->sequence < at->sequence) {
        return LEASE_DROPPED;
    }
    bool is_new = ask->sequence > at->sequence;
    at->asked_at_us = wall_us;
    at->is_told = false;
    take_back(owner, at, ask);
    struct crowd crowd = look_around(owner, at, wall_us);
    int rc = is_new && !ask->is_goodbye ? give(owner, at, ask, crowd.alive, wall_us) : 0;
    if (rc != LEASE_SAVE_LATER) {
        at->sequence = ask->sequence;
    }
    fill_grant(owner, ask, at, &crowd, wall_us, grant);
    if (ask->is_goodbye) {
        at->asked_at_us = 0; /* nothing of it is open any more */
    }
    return rc == LEASE_SAVE_LATER ? LEASE_UNSAVED : LEASE_ANSWERED;
}
