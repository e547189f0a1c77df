/* See lease.h. What is left is counted, never remembered: the limit without what holders were given and
 * did not return. A holder that is gone stays in its place until the window ends. */
#include "limits/lease.h"

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
    for (size_t i = 0; i < LEASE_HOLDERS_MAX; i++) {
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
    for (size_t i = 0; i < LEASE_HOLDERS_MAX; i++) {
        struct lease_at *at = &owner->holders[i];
        if (!is_alive(at, wall_us)) {
            *at = (struct lease_at){.holder = 0};
        }
        at->given = at->returned = at->used = 0;
    }
}

/* NULL: full of holders that have something in this window. */
static struct lease_at *
place_of(struct lease_owner *owner, uint64_t holder)
{
    struct lease_at *free_place = NULL;
    for (size_t i = 0; i < LEASE_HOLDERS_MAX; i++) {
        struct lease_at *at = &owner->holders[i];
        if (at->holder == holder) {
            return at;
        }
        if (free_place == NULL && at->holder == 0) {
            free_place = at;
        }
    }
    if (free_place != NULL) {
        *free_place = (struct lease_at){.holder = holder};
    }
    return free_place;
}

struct crowd {
    uint32_t alive;
    bool has_open; /* somebody else, alive, had something unused when he last said */
};

static struct crowd
look_around(const struct lease_owner *owner, const struct lease_at *asking, uint64_t wall_us)
{
    struct crowd crowd = {0};
    for (size_t i = 0; i < LEASE_HOLDERS_MAX; i++) {
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

/* Written ahead in steps of a sixteenth, so that one write serves many asks. */
static bool
is_safe(struct lease_owner *owner, uint64_t more)
{
    uint64_t up_to = given_net(owner) + more, limit = owner->options.limit, ahead = up_to + limit / 16;
    if (owner->options.save == NULL || up_to <= owner->saved) {
        return true;
    }
    ahead = ahead < limit ? ahead : limit;
    if (owner->options.save(owner->options.self, owner->window, ahead) != 0) {
        return false;
    }
    owner->saved = ahead;
    return true;
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

bool
lease_owner_ask(struct lease_owner *owner, const struct lease_ask *ask, uint64_t wall_us,
                struct lease_grant *grant)
{
    roll(owner, wall_us);
    struct lease_at *at = ask->holder == 0 ? NULL : place_of(owner, ask->holder);
    if (at == NULL || ask->sequence < at->sequence) {
        return false;
    }
    bool is_new = ask->sequence > at->sequence;
    at->sequence = ask->sequence;
    at->asked_at_us = wall_us;
    take_back(owner, at, ask);
    struct crowd crowd = look_around(owner, at, wall_us);
    uint64_t more = is_new && !ask->is_goodbye ? piece(owner, ask->wants, crowd.alive) : 0;
    if (more != 0 && is_safe(owner, more)) {
        at->given += more;
    } else if (ask->wants != 0 && !ask->is_goodbye && is_new) {
        owner->out_until_us = wall_us + LEASE_LOST_US;
        owner->out_holder = ask->holder;
    }
    uint64_t next = (owner->window + 1) * owner->options.period_us;
    *grant = (struct lease_grant){
        .holder = ask->holder,
        .owner = owner->options.id,
        .sequence = ask->sequence,
        .window = owner->window,
        .given = at->given,
        .left_us = next > wall_us ? next - wall_us : 0,
        .limit = owner->options.limit,
        .holders = crowd.alive,
        .is_wanted_back = wall_us < owner->out_until_us && owner->out_holder != ask->holder,
        .may_come = crowd.has_open || lease_owner_left(owner) != 0,
    };
    if (ask->is_goodbye) {
        at->asked_at_us = 0; /* nothing of it is open any more */
    }
    return true;
}
