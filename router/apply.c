/* A new plan under a running router. Requests in flight end under the plan that they began with; what they
 * know of targets is brought to the new numbers, so that they may still go to those that are left. Nobody
 * goes to a target that is gone: who is there already ends there. */
#include "router/request.h"

static void
renumber_order(struct route_request *rq, const struct route_renumbering *numbers)
{
    size_t kept = 0;
    size_t next = rq->next_target;
    struct route_set candidates = {{0}};
    for (size_t i = 0; i < rq->order.n; i++) {
        uint16_t to = numbers->to[rq->order.items[i]];
        if (to < ROUTE_TARGETS_MAX) {
            rq->order.items[kept++] = (uint8_t)to;
        } else if (i < rq->next_target) {
            next--;
        }
    }
    for (ROUTE_SET_EACH(i, &rq->candidates)) {
        if (numbers->to[i] < ROUTE_TARGETS_MAX) {
            route_set_add(&candidates, numbers->to[i]);
        }
    }
    rq->order.n = kept;
    rq->next_target = next;
    rq->candidates = candidates;
}

/* Its name is still told to the client. */
static const struct route_target *
gone_target(struct route_request *rq, const struct route_target *target)
{
    struct route_target *gone = arena_alloc(&rq->request->arena, sizeof *gone);
    *gone = (struct route_target){
        .name = env_copy(rq->request, target->name),
        .provider = env_copy(rq->request, target->provider),
        .redeliver = target->redeliver,
        .surfaces = target->surfaces,
        .is_announced = target->is_announced,
        .retry = {.attempts = 1},
    };
    return gone;
}

static const struct route_target *
renumbered(struct route_request *rq, const struct route_target *target,
           const struct route_renumbering *numbers)
{
    struct route_members *members = &rq->router->members;
    size_t before = route_members_number(members, target);
    if (before == ROUTE_TARGETS_MAX) {
        return target; /* there is none, or it is gone since an earlier reload */
    }
    uint16_t to = numbers->to[before];
    return to < ROUTE_TARGETS_MAX ? &members->targets[to] : gone_target(rq, &numbers->targets[before]);
}

static bool
is_any(const struct route_request *rq, const void *arg)
{
    (void)rq;
    (void)arg;
    return true;
}

static void
renumber(struct route_request *rq, const void *arg)
{
    const struct route_members *members = &rq->router->members;
    rq->target = renumbered(rq, rq->target, arg);
    rq->is_at_target = rq->is_at_target && route_members_number(members, rq->target) < ROUTE_TARGETS_MAX;
    for (size_t i = 0; i < ROUTE_FLIGHTS_MAX; i++) {
        rq->flights[i].target = renumbered(rq, rq->flights[i].target, arg);
    }
    renumber_order(rq, arg);
}

/* Nothing was done for it yet. */
static void
begin_again(struct route_request *rq)
{
    route_plan_unref(&rq->plan);
    rq->plan = route_plan_ref(rq->router->options.plan);
    rq->order.n = 0;
    rq->order.rule = -1;
    rq->order.label = dyn_slice(NULL, 0); /* it lay in the old plan */
    rq->next_target = 0;
    rq->target = NULL;
    rq->is_at_target = false;
    /* Who waits to be let in is not let in by another plan. */
    route_resume(rq, rq->step == ROUTE_STEP_ADMIT ? ROUTE_STEP_ADMIT : ROUTE_STEP_RESOLVE);
}

/* Those that wait for a member: theirs may be gone, or be there now. */
static void
wake_all(struct router *router)
{
    struct dyn_list waiting;
    dyn_list_init(&waiting);
    dyn_list_splice(&waiting, &router->parked);
    for (struct dyn_list *link; (link = dyn_list_pop(&waiting)) != NULL;) {
        struct route_request *rq = DYN_CONTAINER_OF(link, struct route_request, parked_link);
        /* What was tried is noted in names of the plan that it was tried under. */
        if (rq->step == ROUTE_STEP_ADMIT || rq->step == ROUTE_STEP_RESOLVE ||
            (rq->last_note == NULL && rq->lost == 0)) {
            begin_again(rq);
        } else {
            route_run(rq);
        }
    }
}

/* Those that requests in flight were promised. */
static struct route_set
busy_targets(const struct router *router)
{
    struct route_set busy = {{0}};
    for (size_t i = 0; i < router->requests.n_buckets; i++) {
        for (struct env_map_node *node = router->requests.buckets[i]; node != NULL; node = node->next) {
            route_set_add_all(&busy, &DYN_CONTAINER_OF(node, struct route_request, node)->candidates);
        }
    }
    return busy;
}

void
router_apply(void *self, struct route_plan *plan, const bus_addr_t *addrs)
{
    struct router *router = self;
    struct route_plan *former = router->options.plan;
    struct route_joining joining = {.accepts_new_targets = router->options.accepts_new_targets,
                                    .busy = busy_targets(router)};
    struct route_renumbering numbers;
    router->options.plan = route_plan_ref(plan);
    route_members_apply(&router->members, plan->targets, addrs, plan->n_targets, &joining, &numbers);
    router->members.catalogue = plan->catalogue;
    route_sweep(router, is_any, renumber, &numbers);
    route_renumbering_fini(&numbers);
    wake_all(router);
    route_plan_unref(&former); /* its targets were looked at until now */
}
