/* hedge: a second attempt while the first one is silent, at the next target or another member of the same
 * one. The first of them to begin an answer wins; the other is told to stop, and what it cost is still
 * counted. A share of all requests bounds it. Not for a request that must not reach two upstreams. */
#include "router/request.h"

#include "proto/health.h"

#include <string.h>

/* Fewer samples say nothing about the slowest twentieth. */
enum { HEDGE_SAMPLES_MIN = 20 };

static const struct route_hedge *
policy_of(const struct route_request *rq)
{
    return rq->target->hedge.is_on ? &rq->target->hedge : &rq->plan->hedge;
}

/* 0: not known. What is measured is the first content of streams, so it tells nothing about plain answers. */
static uint64_t
usual_first_byte_us(const struct route_request *rq)
{
    const struct route_members *members = &rq->router->members;
    size_t number = route_members_number(members, rq->target);
    struct health_view view;
    if (number == ROUTE_TARGETS_MAX || !rq->facts.stream) {
        return 0;
    }
    route_members_health(members, number, rq->model, bus_loop_now_us(rq->router->loop), &view);
    return view.samples >= HEDGE_SAMPLES_MIN ? view.ttft_p95_us : 0;
}

void
route_hedge_plan(struct route_request *rq)
{
    rq->hedge_at_us = 0;
    if (rq->target == NULL || rq->hedges > 0 || route_other_flight(rq, rq->now) != NULL ||
        !policy_of(rq)->is_on || route_redeliver_of(rq) != ROUTE_REDELIVER_ALWAYS) {
        return;
    }
    uint64_t after_us = policy_of(rq)->after_ms * UINT64_C(1000);
    after_us = after_us > 0 ? after_us : usual_first_byte_us(rq);
    rq->hedge_at_us = after_us > 0 ? rq->now->started_us + after_us : 0;
}

/* A member of the target of the moment that does not have the request already: a worker knows a call by the
 * request's id. */
static struct route_member *
somebody_else(struct route_request *rq, const struct route_member *first)
{
    struct route_crew *crew = route_crew_of(&rq->router->members, rq->target);
    struct route_wish wish = {rq->target->name, rq->model, env_body_len(rq->request), first->addr,
                              bus_loop_now_us(rq->router->loop)};
    size_t index = 0;
    bool is_found = route_member_pick(crew, &wish, &index) == ROUTE_PICK_FOUND;
    return is_found && crew->members[index]->addr != first->addr ? crew->members[index] : NULL;
}

/* Where the walk stands; a hedge that comes to nothing leaves it there. */
struct place {
    const struct route_target *target;
    struct route_order order;
    size_t next_target;
    uint32_t tries;
    uint32_t credential_tries;
    uint32_t attempt;
    bool is_target_tried;
};

static struct place
place_of(const struct route_request *rq)
{
    return (struct place){rq->target,           rq->order,   rq->next_target,    rq->tries,
                          rq->credential_tries, rq->attempt, rq->is_target_tried};
}

static void
go_back(struct route_request *rq, const struct place *place)
{
    rq->target = place->target;
    rq->order = place->order;
    rq->next_target = place->next_target;
    rq->tries = place->tries;
    rq->credential_tries = place->credential_tries;
    rq->attempt = place->attempt;
    rq->is_target_tried = place->is_target_tried;
}

/* The target of the moment is taken out of turn: those of the order that were skipped still have theirs. */
static void
bring_forward(struct route_request *rq, size_t to)
{
    uint8_t *items = rq->order.items;
    size_t from = rq->next_target - 1;
    uint8_t item = items[from];
    memmove(&items[to + 1], &items[to], from - to);
    items[to] = item;
    rq->next_target = to + 1;
}

/* At the next target of the order that somebody else serves and whose requests may reach two upstreams, or
 * another member of this one; it is `target` then. */
static struct route_member *
find_second(struct route_request *rq, const struct route_attempt *first, const struct place *here)
{
    while (!rq->order.is_named && route_next_target(rq)) {
        bool may_be_second = route_redeliver_at(rq, rq->target) == ROUTE_REDELIVER_ALWAYS;
        struct route_member *member = may_be_second ? somebody_else(rq, first->member) : NULL;
        if (member != NULL) {
            bring_forward(rq, here->next_target);
            return member;
        }
    }
    go_back(rq, here);
    rq->attempt = rq->attempts + 1;
    bool is_allowed = rq->request->attempts_left == 0 || rq->attempt <= rq->request->attempts_left;
    return is_allowed ? somebody_else(rq, first->member) : NULL;
}

static bool
begin_second(struct route_request *rq, struct route_attempt *first, const struct place *here)
{
    struct route_share share = {.percent = policy_of(rq)->max_percent};
    struct route_member *member = find_second(rq, first, here);
    uint64_t now_us = bus_loop_now_us(rq->router->loop);
    if (member == NULL || !route_budget_spend(&rq->router->hedges, share, now_us)) {
        return false;
    }
    rq->now = first == &rq->flights[0] ? &rq->flights[1] : &rq->flights[0];
    if (route_dispatch(rq, member, NULL) != 0) {
        rq->now = first;
        route_tell_owner(rq); /* who heard of the other one */
        return false;
    }
    rq->now->note->is_hedge = true;
    rq->hedges++;
    return true;
}

void
route_hedge(struct route_request *rq)
{
    struct route_attempt *first = route_other_flight(rq, NULL);
    bool is_silent = first != NULL && first->next_sequence == 0 && first->grace_until_us == 0;
    struct place here = place_of(rq);
    rq->hedge_at_us = 0;
    if (first == NULL) { /* it failed before, and waits to be tried again: that plan stands */
        route_arm(rq);
        return;
    }
    if (is_silent && !rq->begun && !begin_second(rq, first, &here)) {
        go_back(rq, &here);
    }
    rq->is_at_target = false;
    route_arm(rq);
}

void
route_hedge_won(struct route_request *rq)
{
    struct route_attempt *other = route_other_flight(rq, rq->now);
    rq->hedge_at_us = 0;
    if (other == NULL) {
        return;
    }
    other->is_loser = true;
    other->note->is_loser = true;
    route_stop_attempt(rq, other, ERR_NONE, "hedged");
    route_walk_goes_on_with(rq, rq->now);
}

void
route_loser_is_over(struct route_request *rq, struct route_attempt *loser, const struct env *end)
{
    route_note_end(rq, loser, end, ERR_NONE);
    if (end != NULL) {
        rq->upstream_us += end->upstream_total_us;
    }
    route_dispatch_is_over(rq, loser);
    loser->is_loser = false;
    if (rq->told != NULL) {
        route_resume(rq, ROUTE_STEP_SETTLE);
    } else {
        route_arm(rq);
    }
}
