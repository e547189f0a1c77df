/* The worker actor: what it says, whose call is whose, who is told when one goes. */
#include "tests/unit/providers/fleet.h"

static void
it_says_what_it_serves(void **state)
{
    (void)state;
    struct fleet fleet;
    struct arena arena;
    struct ready ready;
    struct dyn_err err;
    char name[64];
    fleet_open(&fleet, 1, 0, 0);
    const struct env *said = nth(&fleet.routers[A].record, 0);
    assert_int_equal(said->kind, ENV_READY);
    assert_true(dyn_slice_is(said->role, "worker"));
    assert_true(dyn_slice_is(said->node, fleet.process.node));
    (void)snprintf(name, sizeof name, "%s-3", fleet.process.node);
    assert_true(dyn_slice_is(said->worker, name));
    assert_int_equal(said->requests, WORKER_REQUESTS_MAX);
    assert_int_equal(said->request_bytes, WORKER_REQUEST_BYTES_MAX);
    arena_init(&arena, NULL, 0);
    assert_int_equal(ready_decode(dyn_block_slice(said->body), &arena, &ready, &err), 0);
    assert_int_equal(ready.n_targets, 2);
    assert_true(dyn_slice_is(ready.targets[0].name, "first"));
    assert_true(dyn_slice_is(ready.targets[0].provider, "openai"));
    assert_int_equal(ready.targets[0].n_models, 2);
    assert_true(dyn_slice_is(ready.targets[0].models[1], "m2"));
    assert_false(ready.targets[0].any_model);
    assert_true(dyn_slice_is(ready.targets[1].name, "second"));
    assert_true(ready.targets[1].any_model); /* it declares none */
    arena_fini(&arena);
    fleet_close(&fleet);
}

static void
a_request_goes_to_its_target_and_the_answer_back(void **state)
{
    (void)state;
    struct fleet fleet;
    fleet_open(&fleet, 1, 0, 0);
    struct env *one = request_for("second", "to the second");
    struct env *two = request_for("first", "to the first");
    router_send(&fleet.routers[A], copy_of(one));
    router_send(&fleet.routers[A], copy_of(two));
    const struct env *at_second = nth(&fleet.targets[1].record, 0);
    const struct env *at_first = nth(&fleet.targets[0].record, 0);
    assert_true(env_id_eq(&at_second->id, &one->id));
    assert_true(dyn_slice_is(dyn_block_slice(at_first->body), "to the first"));
    answer(&fleet, &fleet.targets[1], at_second);
    const struct env *end = nth(&fleet.routers[A].record, 1);
    assert_end(end, one, ERR_NONE);
    assert_true(dyn_slice_is(dyn_block_slice(end->body), "answer"));
    answer(&fleet, &fleet.targets[0], at_first);
    assert_end(nth(&fleet.routers[A].record, 2), two, ERR_NONE);
    env_free(&one);
    env_free(&two);
    fleet_close(&fleet);
}

static void
cancel_and_credit_find_the_call(void **state)
{
    (void)state;
    struct fleet fleet;
    fleet_open(&fleet, 1, 0, 0);
    struct env *request = request_for("second", "{}");
    struct env *later = copy_of(request);
    later->epoch = 1;
    router_send(&fleet.routers[A], copy_of(request));
    struct env *wrong = env_about(ENV_CANCEL, later); /* of a sending that has not come */
    struct env *credit = env_about(ENV_CREDIT, request);
    struct env *cancel = env_about(ENV_CANCEL, request);
    credit->credit = 1000;
    router_send(&fleet.routers[A], wrong);
    router_send(&fleet.routers[A], credit);
    router_send(&fleet.routers[A], cancel);
    const struct env *at = nth(&fleet.targets[1].record, 1);
    assert_int_equal(at->kind, ENV_CREDIT);
    assert_int_equal(at->credit, 1000);
    assert_int_equal(at->from, nth(&fleet.targets[1].record, 0)->from);
    assert_int_equal(nth(&fleet.targets[1].record, 2)->kind, ENV_CANCEL);
    assert_int_equal(record_count(&fleet.targets[0].record), 0);
    answer(&fleet, &fleet.targets[1], nth(&fleet.targets[1].record, 0));
    (void)nth(&fleet.routers[A].record, 1);
    struct env *after = env_about(ENV_CANCEL, request); /* its END has crossed it */
    router_send(&fleet.routers[A], after);
    router_send(&fleet.routers[A], later); /* what comes after it shows that it was not passed on */
    assert_int_equal(nth(&fleet.targets[1].record, 3)->kind, ENV_REQUEST);
    answer(&fleet, &fleet.targets[1], nth(&fleet.targets[1].record, 3));
    (void)nth(&fleet.routers[A].record, 2);
    env_free(&request);
    fleet_close(&fleet);
}

static void
a_router_has_a_budget(void **state)
{
    (void)state;
    struct fleet fleet;
    fleet_open(&fleet, 1, 2, 10);
    struct record *at_router = &fleet.routers[A].record;
    struct record *at_target = &fleet.targets[0].record;
    struct env *one = request_for("first", "12345");
    struct env *large = request_for("first", "123456");
    struct env *two = request_for("first", "12345");
    struct env *three = request_for("first", "");
    router_send(&fleet.routers[A], copy_of(one));
    router_send(&fleet.routers[A], copy_of(large)); /* too many bytes */
    assert_end(nth(at_router, 1), large, ERR_SATURATED);
    assert_int_equal(nth(at_router, 1)->retry_after_s, 1);
    router_send(&fleet.routers[A], copy_of(two));
    router_send(&fleet.routers[A], copy_of(three)); /* too many */
    assert_end(nth(at_router, 2), three, ERR_SATURATED);
    answer(&fleet, &fleet.targets[0], nth(at_target, 0));
    assert_end(nth(at_router, 3), one, ERR_NONE);
    router_send(&fleet.routers[A], copy_of(three)); /* now there is room */
    assert_true(env_id_eq(&nth(at_target, 2)->id, &three->id));
    answer(&fleet, &fleet.targets[0], nth(at_target, 1));
    answer(&fleet, &fleet.targets[0], nth(at_target, 2));
    assert_end(nth(at_router, 5), three, ERR_NONE);
    env_free(&one);
    env_free(&large);
    env_free(&two);
    env_free(&three);
    fleet_close(&fleet);
}

/* The provider actors hear of it in the router's name, and its budget is whole when it comes back. */
static void
a_lost_router_is_told_of_and_found_again(void **state)
{
    (void)state;
    struct fleet fleet;
    char endpoint[64];
    fleet_open(&fleet, 1, 1, 0);
    struct router *router = &fleet.routers[A];
    struct env *request = request_for("first", "{}");
    router_send(router, copy_of(request));
    bus_addr_t from = nth(&fleet.targets[0].record, 0)->from;
    (void)snprintf(endpoint, sizeof endpoint, "%s", bus_port_endpoint(router->port));
    router_close(router);
    const struct env *told = nth(&fleet.targets[0].record, 1);
    assert_int_equal(told->kind, ENV_GOODBYE);
    assert_int_equal(told->from, from);
    assert_int_equal(nth(&fleet.targets[1].record, 0)->kind, ENV_GOODBYE);
    record_free(&router->record);
    memset(router, 0, sizeof *router);
    router_open(router, fleet.security, endpoint);
    (void)nth(&router->record, 0);
    struct env *next = copy_of(request);
    next->epoch = 1;
    next->attach = true;
    router_send(router, copy_of(next));
    const struct env *again = nth(&fleet.targets[0].record, 2);
    assert_int_equal(again->epoch, 1);
    assert_true(again->attach);
    assert_true(again->from != from);
    answer(&fleet, &fleet.targets[0], again);
    assert_end(nth(&router->record, 1), next, ERR_NONE);
    env_free(&request);
    env_free(&next);
    fleet_close(&fleet);
}

/* The call moves to the router that asks for it; what the former says about it is not heard any more. */
static void
a_call_moves_to_another_router(void **state)
{
    (void)state;
    struct fleet fleet;
    fleet_open(&fleet, 2, 1, 0);
    struct record *at_target = &fleet.targets[0].record;
    struct env *request = request_for("first", "{}");
    struct env *next = copy_of(request);
    next->epoch = 1;
    next->attach = true;
    router_send(&fleet.routers[A], copy_of(request));
    (void)nth(at_target, 0);
    router_send(&fleet.routers[A], copy_of(request)); /* a repeat */
    router_send(&fleet.routers[B], copy_of(next));
    const struct env *moved = nth(at_target, 1);
    assert_int_equal(moved->epoch, 1);
    router_send(&fleet.routers[A], env_about(ENV_CANCEL, request));
    struct env *other = request_for("first", "{}"); /* A has its budget back */
    router_send(&fleet.routers[A], copy_of(other));
    assert_true(env_id_eq(&nth(at_target, 2)->id, &other->id));
    answer(&fleet, &fleet.targets[0], moved);
    assert_end(nth(&fleet.routers[B].record, 1), next, ERR_NONE);
    answer(&fleet, &fleet.targets[0], nth(at_target, 2));
    assert_end(nth(&fleet.routers[A].record, 1), other, ERR_NONE);
    env_free(&request);
    env_free(&next);
    env_free(&other);
    fleet_close(&fleet);
}

static void *
drain(void *fleet_)
{
    struct fleet *fleet = fleet_;
    return (void *)(uintptr_t)bus_stop(fleet->bus, DRAIN_MS);
}

/* The routers hear it first; what crosses it on the way goes elsewhere, what is under way ends in peace. */
static void
a_drain_finishes_what_is_under_way(void **state)
{
    (void)state;
    struct fleet fleet;
    pthread_t stopping;
    void *busy = NULL;
    fleet_open(&fleet, 1, 0, 0);
    struct record *at_router = &fleet.routers[A].record;
    struct record *at_target = &fleet.targets[0].record;
    struct env *request = request_for("first", "{}");
    struct env *crossing = request_for("first", "{}");
    struct env *attached = request_for("first", "{}");
    attached->attach = true;
    router_send(&fleet.routers[A], copy_of(request));
    (void)nth(at_target, 0);
    assert_int_equal(pthread_create(&stopping, NULL, drain, &fleet), 0);
    const struct env *goodbye = nth(at_router, 1);
    assert_int_equal(goodbye->kind, ENV_GOODBYE);
    assert_true(dyn_slice_is(goodbye->reason, "drain"));
    router_send(&fleet.routers[A], copy_of(crossing));
    assert_end(nth(at_router, 2), crossing, ERR_DRAINING);
    router_send(&fleet.routers[A], copy_of(attached)); /* the provider actor knows whether it has it */
    answer(&fleet, &fleet.targets[0], nth(at_target, 1));
    assert_end(nth(at_router, 3), attached, ERR_NONE);
    answer(&fleet, &fleet.targets[0], nth(at_target, 0));
    assert_end(nth(at_router, 4), request, ERR_NONE);
    assert_int_equal(pthread_join(stopping, &busy), 0);
    assert_null(busy);
    const struct env *closed = nth(at_router, 5);
    assert_int_equal(closed->kind, ENV_GOODBYE);
    assert_true(dyn_slice_is(closed->reason, "close"));
    env_free(&request);
    env_free(&crossing);
    env_free(&attached);
    fleet_close(&fleet);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_says_what_it_serves),
        cmocka_unit_test(a_request_goes_to_its_target_and_the_answer_back),
        cmocka_unit_test(cancel_and_credit_find_the_call),
        cmocka_unit_test(a_router_has_a_budget),
        cmocka_unit_test(a_lost_router_is_told_of_and_found_again),
        cmocka_unit_test(a_call_moves_to_another_router),
        cmocka_unit_test(a_drain_finishes_what_is_under_way),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
