/* Workers that are lost, drain, or are full: what the owner gets, what the next worker gets. */
#include "proto/event.h"
#include "tests/unit/router/router_hear.h"

static struct world *
with_workers(size_t n)
{
    struct world *world = world_new();
    world_start(world);
    for (size_t i = 0; i < n; i++) {
        join_target(world, (enum who)(A + i), "one");
    }
    return world;
}

/* ---- lost at each stage ---- */

static void
a_plain_request_goes_to_another_worker(void **state)
{
    (void)state;
    struct world *world = with_workers(2);
    (void)ask(world, OWNER, CHAT);
    struct env *first = hear(world, A, ENV_REQUEST);
    assert_int_equal(first->attempt, 1);
    assert_int_equal(first->epoch, 0);
    assert_false(first->attach);
    hear_nothing(world, B);
    goodbye(world, A, "lost");
    struct env *second = hear(world, B, ENV_REQUEST);
    assert_true(env_id_eq(&first->id, &second->id));
    assert_int_equal(second->attempt, 1);
    assert_int_equal(second->epoch, 1);
    assert_int_equal(second->credit, ENV_WINDOW_FIRST);
    assert_true(dyn_slice_is(dyn_block_slice(second->body), CHAT));
    say(world, A, end_of(first, "too late"));
    say(world, B, end_of(second, "hello"));
    struct env *end = hear(world, OWNER, ENV_END);
    assert_int_equal(end->outcome, ENV_OUTCOME_OK);
    assert_true(dyn_slice_is(dyn_block_slice(end->body), "hello"));
    assert_int_equal(end->attempts, 1);
    assert_int_equal(end->redelivered, 1);
    assert_int_equal(end->upstream_calls, 2);
    hear_nothing(world, OWNER);
    assert_int_equal(atomic_load(&world->shared.late_answers), 1);
    env_free(&end);
    env_free(&first);
    env_free(&second);
    world_free(world);
}

static const char answer[] = "{\"choices\":[{\"message\":{\"content\":\"a small answer\"}}]}";

/* Takes what the owner holds by the rules of 01-ENVELOPE: a CHUNK with the first number begins anew. */
static void
gather_answer(struct world *world, struct dyn_buf *held)
{
    for (;;) {
        struct env *env = heard(world, OWNER);
        assert_non_null(env);
        if (env->kind == ENV_CHUNK && env->sequence == 0) {
            dyn_buf_clear(held);
        }
        dyn_buf_add_slice(held, dyn_block_slice(env->body));
        bool is_end = env->kind == ENV_END;
        assert_true(!is_end || env->outcome == ENV_OUTCOME_OK);
        env_free(&env);
        if (is_end) {
            hear_nothing(world, OWNER);
            return;
        }
    }
}

/* The other worker answers in one END, or in two CHUNKs. */
static void
cut_at(size_t cut, bool whole)
{
    struct world *world = with_workers(2);
    struct dyn_buf held = DYN_BUF_INIT;
    (void)ask(world, OWNER, CHAT);
    struct env *first = hear(world, A, ENV_REQUEST);
    for (size_t i = 0; i < cut; i++) { /* as many CHUNKs as bytes */
        say(world, A, chunk_of(first, (uint32_t)i, dyn_slice(answer + i, 1)));
    }
    goodbye(world, A, "lost");
    struct env *second = hear(world, B, ENV_REQUEST);
    assert_int_equal(second->credit, ENV_WINDOW_FIRST - cut);
    if (whole) {
        say(world, B, end_of(second, answer));
    } else {
        say(world, B, chunk_of(second, 0, dyn_slice(answer, 10)));
        say(world, B, chunk_of(second, 1, dyn_slice(answer + 10, sizeof answer - 11)));
        say(world, B, end_of(second, NULL));
    }
    gather_answer(world, &held);
    assert_true(dyn_slice_is(dyn_buf_slice(&held), answer));
    dyn_buf_fini(&held);
    env_free(&first);
    env_free(&second);
    world_free(world);
}

static void
a_plain_answer_cut_at_every_byte_is_repaired(void **state)
{
    (void)state;
    for (size_t cut = 0; cut < sizeof answer; cut++) {
        cut_at(cut, false);
        cut_at(cut, true);
    }
}

/* The owner gives back what it holds, as edges do. */
static struct env *
send_bytes(struct world *world, struct env *request, size_t bytes)
{
    static char piece[ENV_CHUNK_MAX];
    uint32_t sequence = 0;
    for (size_t sent = 0; sent < bytes; sequence++) {
        size_t len = bytes - sent < sizeof piece ? bytes - sent : sizeof piece;
        say(world, A, chunk_of(request, sequence, dyn_slice(piece, len)));
        about(world, OWNER, ENV_CREDIT, request->id, (uint32_t)len);
        sent += len;
    }
    return request;
}

static void
drop_chunks(struct world *world, enum who who, enum env_kind kind)
{
    struct dyn_list *link = world->peers[who].received.next;
    while (link != &world->peers[who].received) {
        struct env *env = DYN_CONTAINER_OF(link, struct env, link);
        link = link->next;
        if (env->kind == kind) {
            dyn_list_remove(&env->link);
            env_free(&env);
        }
    }
}

static void
a_plain_answer_can_be_repaired_up_to_a_megabyte(void **state)
{
    (void)state;
    for (unsigned beyond = 0; beyond < 2; beyond++) {
        struct world *world = with_workers(2);
        (void)ask(world, OWNER, CHAT);
        struct env *first = send_bytes(world, hear(world, A, ENV_REQUEST), ENV_HELD_ANSWER_MAX + beyond);
        drop_chunks(world, OWNER, ENV_CHUNK);
        goodbye(world, A, "lost");
        if (beyond) {
            hear_nothing(world, B);
            fails_with(world, OWNER, ERR_WORKER_LOST);
        } else {
            struct env *second = hear(world, B, ENV_REQUEST);
            assert_int_equal(second->credit, ENV_WINDOW_FIRST);
            env_free(&second);
        }
        env_free(&first);
        world_free(world);
    }
}

static void
a_stream_that_has_begun_ends_with_an_error(void **state)
{
    (void)state;
    struct world *world = with_workers(2);
    (void)ask(world, OWNER, CHAT_STREAM);
    struct env *first = hear(world, A, ENV_REQUEST);
    say(world, A, chunk_of(first, 0, DYN_SLICE("data: x\n\n")));
    drop_chunks(world, OWNER, ENV_DISPATCHED);
    drop_chunks(world, OWNER, ENV_CHUNK);
    goodbye(world, A, "silent");
    hear_nothing(world, B);
    struct env *end = hear_error(world, OWNER, ERR_WORKER_LOST);
    assert_int_equal(end->upstream_calls, 1);
    assert_true(end->stream);
    env_free(&end);
    env_free(&first);
    world_free(world);
}

static void
a_stream_without_content_has_not_begun(void **state)
{
    (void)state;
    struct world *world = with_workers(2);
    (void)ask(world, OWNER, CHAT_STREAM);
    struct env *first = hear(world, A, ENV_REQUEST);
    say(world, A, chunk_of(first, 0, DYN_SLICE("")));
    goodbye(world, A, "lost");
    struct env *second = hear(world, B, ENV_REQUEST);
    env_free(&first);
    env_free(&second);
    world_free(world);
}

/* ---- policy ---- */

struct policy_case {
    const char *of_request; /* NULL: none */
    enum route_redeliver of_target;
    bool tells_sent;
    bool goes_on;
    uint32_t calls; /* that are told of when it doesn't */
};

static void
check_policy(const struct policy_case *is)
{
    struct world *world = world_new();
    world->targets[0].redeliver = is->of_target;
    world_start(world);
    join_target(world, A, "one");
    join_target(world, B, "one");
    struct env *request = request_of(CHAT);
    request->redeliver = dyn_slice_str(is->of_request);
    say(world, OWNER, request);
    struct env *first = hear(world, A, ENV_REQUEST);
    bool asks =
        is->of_request ? strcmp(is->of_request, "unsent") == 0 : is->of_target == ROUTE_REDELIVER_UNSENT;
    assert_int_equal(dyn_slice_is(first->redeliver, "unsent"), asks);
    if (is->tells_sent) {
        struct env *sent = env_about(ENV_DISPATCHED, first);
        sent->sent = true;
        say(world, A, sent);
    }
    goodbye(world, A, "lost");
    if (is->goes_on) {
        struct env *second = hear(world, B, ENV_REQUEST);
        env_free(&second);
    } else {
        hear_nothing(world, B);
        struct env *end = hear_error(world, OWNER, ERR_WORKER_LOST);
        assert_int_equal(end->upstream_calls, is->calls);
        env_free(&end);
    }
    env_free(&first);
    world_free(world);
}

static void
policy_says_whether_it_is_sent_again(void **state)
{
    (void)state;
    static const struct policy_case cases[] = {
        {NULL, ROUTE_REDELIVER_ALWAYS, false, true, 0},
        {NULL, ROUTE_REDELIVER_UNSENT, false, true, 0},
        {NULL, ROUTE_REDELIVER_UNSENT, true, false, 1},
        {NULL, ROUTE_REDELIVER_NEVER, false, false, 1},
        {"always", ROUTE_REDELIVER_NEVER, true, true, 0},
        {"unsent", ROUTE_REDELIVER_ALWAYS, true, false, 1},
        {"unsent", ROUTE_REDELIVER_NEVER, false, true, 0},
        {"never", ROUTE_REDELIVER_ALWAYS, false, false, 1},
        {"sometimes", ROUTE_REDELIVER_ALWAYS, false, true, 0},
    };
    for (size_t i = 0; i < DYN_ARRAY_LEN(cases); i++) {
        check_policy(&cases[i]);
    }
}

/* A request that kills whoever takes it must not kill a fleet. */
static void
a_request_is_not_sent_to_its_death_for_ever(void **state)
{
    (void)state;
    struct world *world = with_workers(1);
    (void)ask(world, OWNER, CHAT);
    unsigned deaths = 0;
    for (;; deaths++) {
        struct env *request = heard(world, A);
        if (request == NULL) {
            break;
        }
        assert_int_equal(request->epoch, deaths);
        env_free(&request);
        goodbye(world, A, "lost");
        join_target(world, A, "one");
    }
    assert_int_equal(deaths, 9); /* the first, and eight after it */
    struct env *end = hear_error(world, OWNER, ERR_WORKER_LOST);
    assert_int_equal(end->upstream_calls, 9);
    assert_int_equal(end->redelivered, 8);
    env_free(&end);
    world_free(world);
}

static void
the_event_tells_of_calls_redeliveries_and_the_worker(void **state)
{
    (void)state;
    struct world *world = world_new();
    serve_here(world);
    world->addrs[0] = 0;
    world->options.events = world->options.metrics;
    atomic_store(&world->shared.wants_events, true);
    world_start(world);
    join_target(world, A, "one");
    (void)ask(world, OWNER, CHAT);
    hear_and_drop(world, A, ENV_REQUEST);
    join_target(world, B, "one");
    goodbye(world, A, "lost");
    struct env *second = hear(world, B, ENV_REQUEST);
    say(world, B, end_of(second, "hello"));
    pass_ms(world, ROUTE_EVENTS_MS);
    struct env *event = hear(world, METRICS, ENV_EVENT);
    struct event_record record = told_alone(event);
    assert_int_equal(record.upstream_calls, 2);
    assert_int_equal(record.redelivered, 1);
    assert_int_equal(record.attempts, 1);
    assert_true(dyn_slice_is(record.worker, "worker-b"));
    assert_false(record.model_listed);
    hear_nothing(world, METRICS);
    env_free(&event);
    env_free(&second);
    world_free(world);
}

/* ---- handed back ---- */

static void
what_a_draining_worker_refuses_goes_to_another(void **state)
{
    (void)state;
    struct world *world = with_workers(2);
    (void)ask(world, OWNER, CHAT);
    struct env *first = hear(world, A, ENV_REQUEST);
    goodbye(world, A, "drain");
    say(world, A, error_of(first, ERR_DRAINING, 0));
    struct env *second = hear(world, B, ENV_REQUEST);
    assert_int_equal(second->attempt, 1);
    assert_int_equal(second->epoch, 1);
    say(world, B, end_of(second, "hello"));
    struct env *end = hear(world, OWNER, ENV_END);
    assert_int_equal(end->outcome, ENV_OUTCOME_OK);
    assert_int_equal(end->redelivered, 0); /* nobody was lost */
    assert_int_equal(end->upstream_calls, 1);
    env_free(&end);
    env_free(&first);
    env_free(&second);
    (void)ask(world, OWNER, CHAT); /* from now on to those that stay */
    hear_nothing(world, A);
    hear_and_drop(world, B, ENV_REQUEST);
    world_free(world);
}

/* Not heard of for a while: it may be dying, so whoever else there is comes first. */
static void
a_late_worker_is_asked_when_there_is_no_other(void **state)
{
    (void)state;
    struct world *world = with_workers(1);
    struct env *late = env_new(ENV_HEARTBEAT);
    late->reason = DYN_SLICE("late");
    say(world, A, late);
    (void)ask(world, OWNER, CHAT);
    hear_and_drop(world, A, ENV_REQUEST);
    join_target(world, B, "one");
    for (unsigned i = 0; i < 3; i++) {
        (void)ask(world, OWNER, CHAT);
        hear_and_drop(world, B, ENV_REQUEST);
    }
    say(world, A, env_new(ENV_HEARTBEAT)); /* heard again: the fewest in flight count again */
    (void)ask(world, OWNER, CHAT);
    hear_and_drop(world, A, ENV_REQUEST);
    world_free(world);
}

static void
what_is_in_flight_at_a_draining_worker_is_its_own(void **state)
{
    (void)state;
    struct world *world = with_workers(2);
    (void)ask(world, OWNER, CHAT);
    struct env *first = hear(world, A, ENV_REQUEST);
    goodbye(world, A, "drain");
    hear_nothing(world, B);
    say(world, A, end_of(first, "hello"));
    hear_answer(world, OWNER, "hello");
    goodbye(world, A, "close");
    hear_nothing(world, OWNER);
    env_free(&first);
    world_free(world);
}

/* Cut off at the end of its drain, after it had called its upstream. */
static void
check_cut_off(const char *policy, bool goes_on)
{
    struct world *world = with_workers(2);
    struct env *request = request_of(CHAT);
    request->redeliver = dyn_slice_str(policy);
    say(world, OWNER, request);
    struct env *first = hear(world, A, ENV_REQUEST);
    say(world, A, error_of(first, ERR_DRAINING, 1));
    if (goes_on) {
        struct env *second = hear(world, B, ENV_REQUEST);
        say(world, B, end_of(second, "hello"));
        env_free(&second);
        struct env *end = hear(world, OWNER, ENV_END);
        assert_int_equal(end->upstream_calls, 2);
        assert_int_equal(end->redelivered, 1);
        env_free(&end);
    } else {
        fails_with(world, OWNER, ERR_DRAINING);
    }
    env_free(&first);
    world_free(world);
}

static void
a_worker_cut_off_in_its_drain_is_as_good_as_lost(void **state)
{
    (void)state;
    check_cut_off("always", true);
    check_cut_off("unsent", false);
    check_cut_off("never", false);
}

static void
a_full_worker_hands_to_another_and_the_last_says_so(void **state)
{
    (void)state;
    struct world *world = with_workers(2);
    (void)ask(world, OWNER, CHAT);
    struct env *first = hear(world, A, ENV_REQUEST);
    say(world, A, error_of(first, ERR_SATURATED, 0));
    struct env *second = hear(world, B, ENV_REQUEST);
    goodbye(world, A, "close");
    say(world, B, error_of(second, ERR_SATURATED, 0));
    struct env *end = hear_error(world, OWNER, ERR_SATURATED);
    assert_int_equal(end->retry_after_s, 1);
    env_free(&end);
    env_free(&first);
    env_free(&second);
    world_free(world);
}

/* ---- nobody there ---- */

static void
a_request_waits_for_a_worker(void **state)
{
    (void)state;
    struct world *world = with_workers(0);
    (void)ask(world, OWNER, CHAT);
    pass_ms(world, WAIT_MS - 1);
    hear_nothing(world, OWNER);
    join_target(world, A, "one");
    struct env *request = hear(world, A, ENV_REQUEST);
    assert_int_equal(request->deadline_ms, TIMEOUT_MS - WAIT_MS + 1);
    say(world, A, end_of(request, "hello"));
    hear_answer(world, OWNER, "hello");
    env_free(&request);
    world_free(world);
}

static void
it_waits_no_longer_than_it_may(void **state)
{
    (void)state;
    struct world *world = with_workers(1);
    (void)ask(world, OWNER, CHAT);
    hear_and_drop(world, A, ENV_REQUEST);
    goodbye(world, A, "lost");
    pass_ms(world, WAIT_MS - 1);
    hear_nothing(world, OWNER);
    pass_ms(world, 1);
    struct env *end = hear_error(world, OWNER, ERR_UPSTREAM_UNAVAILABLE);
    assert_int_equal(end->upstream_calls, 1);
    env_free(&end);
    world_free(world);
}

static void
a_deadline_passes_while_it_waits(void **state)
{
    (void)state;
    struct world *world = with_workers(1);
    struct env *request = request_of(CHAT);
    request->deadline_ms = 1500;
    say(world, OWNER, request);
    hear_and_drop(world, A, ENV_REQUEST);
    pass_ms(world, 1000);
    goodbye(world, A, "lost");
    pass_ms(world, 499);
    hear_nothing(world, OWNER);
    pass_ms(world, 1);
    fails_with(world, OWNER, ERR_GATEWAY_TIMEOUT);
    world_free(world);
}

static void
a_client_that_leaves_while_it_waits_is_answered_at_once(void **state)
{
    (void)state;
    struct world *world = with_workers(0);
    struct env_id id = ask(world, OWNER, CHAT);
    about(world, OWNER, ENV_CANCEL, id, 0);
    fails_with(world, OWNER, ERR_CLIENT_CLOSED);
    join_target(world, A, "one");
    hear_nothing(world, A);
    world_free(world);
}

/* The client left, then the worker was lost: nobody is asked again. */
static void
what_was_cancelled_is_not_sent_again(void **state)
{
    (void)state;
    struct world *world = with_workers(2);
    struct env_id id = ask(world, OWNER, CHAT);
    hear_and_drop(world, A, ENV_REQUEST);
    about(world, OWNER, ENV_CANCEL, id, 0);
    hear_and_drop(world, A, ENV_CANCEL);
    goodbye(world, A, "lost");
    hear_nothing(world, B);
    struct env *end = hear_error(world, OWNER, ERR_CLIENT_CLOSED);
    assert_int_equal(end->upstream_calls, 1);
    env_free(&end);
    world_free(world);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_plain_request_goes_to_another_worker),
        cmocka_unit_test(a_plain_answer_cut_at_every_byte_is_repaired),
        cmocka_unit_test(a_plain_answer_can_be_repaired_up_to_a_megabyte),
        cmocka_unit_test(a_stream_that_has_begun_ends_with_an_error),
        cmocka_unit_test(a_stream_without_content_has_not_begun),
        cmocka_unit_test(policy_says_whether_it_is_sent_again),
        cmocka_unit_test(a_request_is_not_sent_to_its_death_for_ever),
        cmocka_unit_test(the_event_tells_of_calls_redeliveries_and_the_worker),
        cmocka_unit_test(what_a_draining_worker_refuses_goes_to_another),
        cmocka_unit_test(what_is_in_flight_at_a_draining_worker_is_its_own),
        cmocka_unit_test(a_late_worker_is_asked_when_there_is_no_other),
        cmocka_unit_test(a_worker_cut_off_in_its_drain_is_as_good_as_lost),
        cmocka_unit_test(a_full_worker_hands_to_another_and_the_last_says_so),
        cmocka_unit_test(a_request_waits_for_a_worker),
        cmocka_unit_test(it_waits_no_longer_than_it_may),
        cmocka_unit_test(a_deadline_passes_while_it_waits),
        cmocka_unit_test(a_client_that_leaves_while_it_waits_is_answered_at_once),
        cmocka_unit_test(what_was_cancelled_is_not_sent_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
