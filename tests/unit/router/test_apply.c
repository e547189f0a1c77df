/* Another plan under requests that are on their way: what ends where it is, what goes elsewhere, and who is
 * still a member of what. */
#include "proto/event.h"
#include "tests/unit/router/router_hear.h"

/* The targets of these names, in this order; `here` is the actor of the first of them, 0: workers serve it.
 */
static void
apply(struct world *world, const char *const *names, size_t n, bus_addr_t here)
{
    struct route_target targets[3] = {{.provider = DYN_SLICE("openai")}};
    bus_addr_t addrs[3] = {here, 0, 0};
    struct dyn_err err;
    for (size_t i = 0; i < n; i++) {
        targets[i] = (struct route_target){.name = dyn_slice_str(names[i]), .provider = DYN_SLICE("openai")};
    }
    struct route_plan *plan = route_plan_new(&world->config, targets, n, NULL, &err);
    plan->strategy = world->strategy != NULL ? world->strategy : plan->strategy;
    router_apply(world->impl, plan, addrs);
    route_plan_unref(&plan);
    turn(world);
}

static struct world *
new_world(size_t n_targets)
{
    struct world *world = world_new();
    world->n_targets = n_targets;
    walk_all_targets(world);
    return world;
}

static void
a_request_ends_at_a_target_that_is_gone(void **state)
{
    (void)state;
    static const char *const others[] = {"three"};
    struct world *world = new_world(1);
    serve_here(world);
    world_start(world);
    (void)ask(world, OWNER, CHAT);
    struct env *request = hear(world, HERE, ENV_REQUEST);
    apply(world, others, 1, world->peers[A].addr);
    apply(world, others, 1, world->peers[B].addr); /* and once more: nothing it knows is of the last plan */
    say(world, HERE, end_of(request, "{}"));
    struct env *end = hear(world, OWNER, ENV_END);
    assert_int_equal(end->outcome, ENV_OUTCOME_OK);
    assert_true(dyn_slice_is(end->target, "one"));
    env_free(&end);
    env_free(&request);
    (void)ask(world, OWNER, CHAT);
    request = hear(world, B, ENV_REQUEST);
    assert_true(dyn_slice_is(request->target, "three"));
    env_free(&request);
    world_free(world);
}

static void
what_fails_there_goes_to_those_that_are_left(void **state)
{
    (void)state;
    static const char *const left[] = {"three", "two"}; /* in another order than before */
    struct world *world = new_world(3);
    world_start(world);
    join_target(world, A, "one");
    join_target(world, B, "two");
    join_target(world, C, "three");
    (void)ask(world, OWNER, CHAT);
    struct env *request = hear(world, A, ENV_REQUEST);
    apply(world, left, 2, 0);
    say(world, A, error_of(request, ERR_UPSTREAM_ERROR, 1));
    env_free(&request);
    request = hear(world, B, ENV_REQUEST); /* the order is the one that it was given */
    assert_true(dyn_slice_is(request->target, "two"));
    say(world, B, error_of(request, ERR_UPSTREAM_ERROR, 1));
    env_free(&request);
    request = hear(world, C, ENV_REQUEST);
    assert_true(dyn_slice_is(request->target, "three"));
    say(world, C, end_of(request, "{}"));
    env_free(&request);
    struct env *end = hear(world, OWNER, ENV_END);
    assert_int_equal(end->outcome, ENV_OUTCOME_OK);
    assert_true(dyn_slice_is(end->target, "three"));
    env_free(&end);
    world_free(world);
}

static void
when_all_are_gone_the_failure_is_told(void **state)
{
    (void)state;
    static const char *const others[] = {"new"};
    struct world *world = new_world(2);
    world_start(world);
    join_target(world, A, "one");
    join_target(world, B, "two");
    (void)ask(world, OWNER, CHAT);
    struct env *request = hear(world, A, ENV_REQUEST);
    apply(world, others, 1, 0);
    say(world, A, error_of(request, ERR_UPSTREAM_ERROR, 1));
    env_free(&request);
    pass_ms(world, WAIT_MS + 1);
    struct env *end = hear(world, OWNER, ENV_END);
    assert_int_equal(end->outcome, ENV_OUTCOME_ERROR);
    assert_int_equal(end->error, ERR_UPSTREAM_ERROR);
    assert_true(dyn_slice_is(end->target, "one"));
    env_free(&end);
    assert_int_equal(world->impl->requests.n, 0);
    world_free(world);
}

static void
who_waits_for_a_member_begins_anew(void **state)
{
    (void)state;
    static const char *const others[] = {"new"};
    struct world *world = new_world(1);
    world_start(world);
    (void)ask(world, OWNER, CHAT); /* nobody serves "one" */
    apply(world, others, 1, world->peers[HERE].addr);
    struct env *request = hear(world, HERE, ENV_REQUEST);
    assert_true(dyn_slice_is(request->target, "new"));
    assert_int_equal(world->impl->retries.all_requests, 1); /* it is one request all the same */
    assert_int_equal(world->impl->hedges.all_requests, 1);
    say(world, HERE, end_of(request, "{}"));
    env_free(&request);
    struct env *end = hear(world, OWNER, ENV_END);
    assert_int_equal(end->outcome, ENV_OUTCOME_OK);
    env_free(&end);
    world_free(world);
}

/* ---- what is told in the end of a plan that is gone ---- */

static struct world *
with_events(size_t n_targets)
{
    struct world *world = new_world(n_targets);
    serve_here(world);
    world->options.events = world->options.metrics;
    atomic_store(&world->shared.wants_events, true);
    return world;
}

/* Its first target refused it: it counts no attempt, and yet there is something to tell. */
static void
who_was_refused_before_ends_under_its_plan(void **state)
{
    (void)state;
    static const char *const same[] = {"one", "two"};
    struct world *world = with_events(2);
    world_start(world);
    (void)ask(world, OWNER, CHAT);
    struct env *request = hear(world, HERE, ENV_REQUEST);
    say(world, HERE, error_of(request, ERR_PROVIDER_SATURATED, 0));
    env_free(&request);
    apply(world, same, 2, world->peers[HERE].addr); /* it waits for a member of "two" */
    apply(world, same, 2, world->peers[HERE].addr);
    hear_nothing(world, HERE);
    join_target(world, A, "two");
    request = hear(world, A, ENV_REQUEST);
    assert_int_equal(request->attempt, 1);
    assert_int_equal(request->epoch, 1); /* the first one was used up where it was refused */
    say(world, A, end_of(request, "{}"));
    env_free(&request);
    struct env *end = hear(world, OWNER, ENV_END);
    assert_int_equal(end->outcome, ENV_OUTCOME_OK);
    env_free(&end);
    pass_ms(world, ROUTE_EVENTS_MS);
    struct env *event = hear(world, METRICS, ENV_EVENT);
    struct event_record record = told_alone(event);
    assert_int_equal(record.attempts, 1);
    struct event_attempt attempts[3];
    assert_int_equal(event_attempts_decode(record.attempt_list, attempts, 3), 2);
    assert_true(dyn_slice_is(attempts[0].target, "one"));
    assert_true(dyn_slice_is(attempts[0].error, err_row(ERR_PROVIDER_SATURATED)->name));
    assert_true(dyn_slice_is(attempts[1].target, "two"));
    env_free(&event);
    world_free(world);
}

static struct route_variant_config variants[] = {
    {.target_key = DYN_SLICE_INIT("one"), .weight = 1, .label = DYN_SLICE_INIT("control")},
};

/* It was drawn under a plan that is gone, and sent to nobody. */
static void
a_variant_that_was_not_asked_is_not_told_of(void **state)
{
    (void)state;
    struct world *world = with_events(1);
    world->addrs[0] = 0;
    world->strategy = NULL;
    world->options.accepts_new_targets = true;
    world->config.strategy.mode = ROUTE_MODE_AB_TEST;
    world->config.strategy.ab_variants = (struct config_list){variants, DYN_ARRAY_LEN(variants)};
    world_start(world);
    struct env_id id = ask(world, OWNER, CHAT);
    world->config.strategy = (struct route_strategy_config){.mode = ROUTE_MODE_FALLBACK};
    apply(world, NULL, 0, 0);
    hear_nothing(world, OWNER); /* somebody may still bring a target that serves it */
    about(world, OWNER, ENV_CANCEL, id, 0);
    struct env *end = hear_error(world, OWNER, ERR_CLIENT_CLOSED);
    pass_ms(world, ROUTE_EVENTS_MS);
    struct env *event = hear(world, METRICS, ENV_EVENT);
    struct event_record record = told_alone(event);
    assert_int_equal(record.ab_label.len, 0);
    assert_true(dyn_slice_is(record.strategy, "fallback"));
    env_free(&event);
    env_free(&end);
    world_free(world);
}

static void
workers_are_matched_by_name(void **state)
{
    (void)state;
    static const char *const second[] = {"two"};
    static const char *const both[] = {"two", "one"};
    struct world *world = new_world(1);
    world_start(world);
    join_target(world, A, "one");
    apply(world, second, 1, 0);
    assert_int_equal(world->impl->members.n_workers, 1); /* it stays, and serves nothing */
    assert_int_equal(world->impl->members.crews[0].n, 0);
    join_target(world, B, "two");
    (void)ask(world, OWNER, CHAT);
    struct env *request = hear(world, B, ENV_REQUEST);
    apply(world, both, 2, 0);
    assert_int_equal(world->impl->members.crews[0].n, 1);
    assert_int_equal(world->impl->members.crews[1].n, 1);
    say(world, B, end_of(request, "{}"));
    env_free(&request);
    struct env *end = hear(world, OWNER, ENV_END);
    assert_true(dyn_slice_is(end->target, "two"));
    env_free(&end);
    goodbye(world, A, "close");
    assert_int_equal(world->impl->members.crews[1].n, 0);
    world_free(world);
}

static void
announced_targets_stay_and_become_configured(void **state)
{
    (void)state;
    static const char *const without[] = {"one"};
    static const char *const with[] = {"brought", "one"};
    struct world *world = new_world(1);
    world->options.accepts_new_targets = true;
    world_start(world);
    join_target(world, A, "brought");
    struct route_members *members = &world->impl->members;
    apply(world, without, 1, world->peers[HERE].addr);
    assert_int_equal(members->n_targets, 2);
    assert_true(members->targets[1].is_announced);
    assert_int_equal(members->crews[1].n, 1);
    apply(world, with, 2, 0);
    assert_int_equal(members->n_targets, 2);
    assert_false(members->targets[0].is_announced);
    assert_int_equal(members->crews[0].n, 1);
    apply(world, without, 1, 0); /* nobody configures it any more, but it is still offered */
    assert_int_equal(members->n_targets, 2);
    assert_true(members->targets[1].is_announced);
    assert_int_equal(members->crews[1].n, 1);
    world_free(world);
}

/* A hundred plans under a request that does not end: all that is kept is what it needs. */
static void
many_plans_leave_nothing_behind(void **state)
{
    (void)state;
    static const char *const names[][2] = {
        {"one", "two"}, {"two", "one"}, {"three", "two"}, {"one", "three"}};
    struct world *world = new_world(1);
    serve_here(world);
    world_start(world);
    (void)ask(world, OWNER, CHAT);
    struct env *request = hear(world, HERE, ENV_REQUEST);
    for (size_t i = 0; i < 100; i++) {
        apply(world, names[i % DYN_ARRAY_LEN(names)], 2, world->peers[i % 2 == 0 ? A : B].addr);
        assert_true(world->impl->members.n_former <= 1);
    }
    say(world, HERE, end_of(request, "{}"));
    env_free(&request);
    struct env *end = hear(world, OWNER, ENV_END);
    assert_int_equal(end->outcome, ENV_OUTCOME_OK);
    env_free(&end);
    world_free(world);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_ends_at_a_target_that_is_gone),
        cmocka_unit_test(what_fails_there_goes_to_those_that_are_left),
        cmocka_unit_test(when_all_are_gone_the_failure_is_told),
        cmocka_unit_test(who_waits_for_a_member_begins_anew),
        cmocka_unit_test(who_was_refused_before_ends_under_its_plan),
        cmocka_unit_test(a_variant_that_was_not_asked_is_not_told_of),
        cmocka_unit_test(workers_are_matched_by_name),
        cmocka_unit_test(announced_targets_stay_and_become_configured),
        cmocka_unit_test(many_plans_leave_nothing_behind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
