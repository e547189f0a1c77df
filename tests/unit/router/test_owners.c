/* Owners in other processes: what they are told, what is theirs when they send again, what becomes of it when
 * they are gone. */
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

/* ---- DISPATCHED ---- */

static struct env *
tracked(const char *body)
{
    struct env *request = request_of(body);
    request->track = true;
    return request;
}

static void
hear_dispatched(struct world *world, const char *worker, uint32_t epoch, bool stream)
{
    struct env *dispatched = hear(world, OWNER, ENV_DISPATCHED);
    assert_true(dyn_slice_is(dispatched->worker, worker));
    assert_int_equal(dispatched->worker_attempt, 1);
    assert_int_equal(dispatched->worker_epoch, epoch);
    assert_int_equal(dispatched->attempt, 0);
    assert_int_equal(dispatched->stream, stream);
    env_free(&dispatched);
}

static void
who_tracks_hears_of_each_dispatch(void **state)
{
    (void)state;
    for (unsigned stream = 0; stream < 2; stream++) {
        struct world *world = with_workers(2);
        say(world, OWNER, tracked(stream ? CHAT_STREAM : CHAT));
        hear_dispatched(world, "worker-a", 0, stream != 0);
        hear_nothing(world, OWNER);
        goodbye(world, A, "lost");
        hear_dispatched(world, "worker-b", 1, stream != 0);
        hear_nothing(world, OWNER);
        world_free(world);
    }
}

static void
others_hear_of_streams_only(void **state)
{
    (void)state;
    struct world *world = with_workers(2);
    (void)ask(world, OWNER, CHAT);
    hear_nothing(world, OWNER);
    (void)ask(world, OWNER, CHAT_STREAM);
    struct env *dispatched = hear(world, OWNER, ENV_DISPATCHED);
    assert_true(dispatched->stream);
    assert_int_equal(dispatched->worker_attempt, 0);
    env_free(&dispatched);
    hear_nothing(world, OWNER);
    world_free(world);
}

/* ---- sent again ---- */

/* Above all that the lost router may have used, whatever of it the owner heard. */
enum { SECOND_SENDING = 65536 };

static struct env *
sent_again(const char *worker)
{
    struct env *request = tracked(CHAT);
    request->epoch = 1;
    request->redelivered = 1;
    request->worker = dyn_slice_str(worker);
    request->worker_attempt = 1;
    request->worker_epoch = 3;
    return request;
}

static void
a_worker_that_has_it_is_asked_to_go_on(void **state)
{
    (void)state;
    struct world *world = with_workers(3);
    say(world, OWNER, sent_again("worker-b"));
    hear_dispatched(world, "worker-b", SECOND_SENDING, false);
    struct env *request = hear(world, B, ENV_REQUEST);
    assert_true(request->attach);
    assert_int_equal(request->attempt, 1);
    assert_int_equal(request->epoch, SECOND_SENDING);
    assert_int_equal(request->worker.len, 0);
    say(world, B, end_of(request, "hello"));
    struct env *end = hear(world, OWNER, ENV_END);
    assert_int_equal(end->epoch, 1);
    assert_int_equal(end->upstream_calls, 1);
    assert_int_equal(end->redelivered, 1);
    env_free(&end);
    env_free(&request);
    world_free(world);
}

/* Also one that drains, or has no room for more: it has the call already. */
static void
it_is_asked_whatever_it_has_to_do(void **state)
{
    (void)state;
    struct world *world = with_workers(2);
    goodbye(world, B, "drain");
    say(world, OWNER, sent_again("worker-b"));
    struct env *request = hear(world, B, ENV_REQUEST);
    assert_true(request->attach);
    say(world, B, error_of(request, ERR_DRAINING, 0)); /* it had it not */
    struct env *second = hear(world, A, ENV_REQUEST);
    assert_false(second->attach);
    assert_int_equal(second->epoch, SECOND_SENDING + 1);
    env_free(&request);
    env_free(&second);
    world_free(world);
}

static void
when_it_is_not_there_another_begins(void **state)
{
    (void)state;
    struct world *world = with_workers(2);
    say(world, OWNER, sent_again("worker-x"));
    hear_dispatched(world, "worker-a", SECOND_SENDING, false);
    struct env *request = hear(world, A, ENV_REQUEST);
    assert_false(request->attach);
    assert_int_equal(request->attempt, 1);
    assert_int_equal(request->epoch, SECOND_SENDING);
    say(world, A, end_of(request, "hello"));
    struct env *end = hear(world, OWNER, ENV_END);
    assert_int_equal(end->upstream_calls, 2); /* the lost one may have called, too */
    env_free(&end);
    env_free(&request);
    world_free(world);
}

/* A router that has just begun: the worker finds it a moment later, and still has the call. */
static void
a_worker_that_joins_while_it_is_waited_for_goes_on(void **state)
{
    (void)state;
    struct world *world = with_workers(0);
    say(world, OWNER, sent_again("worker-b"));
    hear_nothing(world, OWNER);
    join_target(world, B, "one");
    struct env *request = hear(world, B, ENV_REQUEST);
    assert_true(request->attach);
    assert_int_equal(request->epoch, SECOND_SENDING);
    say(world, B, end_of(request, "hello"));
    hear_dispatched(world, "worker-b", SECOND_SENDING, false);
    struct env *end = hear(world, OWNER, ENV_END);
    assert_int_equal(end->upstream_calls, 1);
    env_free(&end);
    env_free(&request);
    world_free(world);
}

/* Nothing was heard of who has it: numbers of the lost router are not used again. */
static void
an_unknown_dispatch_is_left_behind(void **state)
{
    (void)state;
    struct world *world = with_workers(1);
    struct env *request = tracked(CHAT);
    request->epoch = 2;
    say(world, OWNER, request);
    struct env *first = hear(world, A, ENV_REQUEST);
    assert_int_equal(first->attempt, 1);
    assert_true(first->epoch > 1000);
    say(world, A, end_of(first, "hello"));
    struct env *dispatched = hear(world, OWNER, ENV_DISPATCHED);
    assert_int_equal(dispatched->worker_epoch, first->epoch);
    assert_int_equal(dispatched->epoch, 2);
    env_free(&dispatched);
    env_free(&first);
    world_free(world);
}

/* ---- gone ---- */

static void
what_a_lost_owner_had_is_cancelled(void **state)
{
    (void)state;
    struct world *world = with_workers(1);
    struct env_id theirs = ask(world, OTHER, CHAT);
    (void)ask(world, OWNER, CHAT);
    (void)ask(world, OWNER, CHAT_STREAM);
    struct env *kept = hear(world, A, ENV_REQUEST);
    assert_true(env_id_eq(&kept->id, &theirs));
    struct env *first = hear(world, A, ENV_REQUEST);
    struct env *second = hear(world, A, ENV_REQUEST);
    goodbye(world, OWNER, "lost");
    hear_and_drop(world, A, ENV_CANCEL);
    hear_and_drop(world, A, ENV_CANCEL);
    hear_nothing(world, A);
    hear_and_drop(world, OWNER, ENV_DISPATCHED); /* before it left */
    struct env *ended = error_of(first, ERR_CLIENT_CLOSED, 1);
    ended->outcome = ENV_OUTCOME_CANCELLED;
    say(world, A, ended);
    pass_ms(world, ROUTE_CANCEL_GRACE_MS); /* the second one says nothing */
    hear_nothing(world, OWNER);
    assert_int_equal(world->impl->requests.n, 1);
    say(world, A, end_of(kept, "hello"));
    hear_answer(world, OTHER, "hello");
    env_free(&kept);
    env_free(&first);
    env_free(&second);
    world_free(world);
}

static void
an_owner_that_drains_keeps_what_it_has(void **state)
{
    (void)state;
    struct world *world = with_workers(1);
    (void)ask(world, OWNER, CHAT);
    struct env *request = hear(world, A, ENV_REQUEST);
    goodbye(world, OWNER, "drain");
    hear_nothing(world, A);
    say(world, A, end_of(request, "hello"));
    hear_answer(world, OWNER, "hello");
    env_free(&request);
    world_free(world);
}

/* ---- the same id in flight ---- */

static struct env *
again(const struct env *request, uint32_t epoch)
{
    struct env *repeat = request_of(CHAT);
    repeat->id = request->id;
    repeat->epoch = epoch;
    return repeat;
}

static void
the_answer_goes_to_who_asked_last(void **state)
{
    (void)state;
    for (uint32_t epoch = 0; epoch < 2; epoch++) {
        struct world *world = with_workers(1);
        (void)ask(world, OWNER, CHAT);
        struct env *request = hear(world, A, ENV_REQUEST);
        say(world, OTHER, again(request, epoch));
        hear_nothing(world, A);
        goodbye(world, OWNER, "lost"); /* it is its no more */
        hear_nothing(world, A);
        say(world, A, end_of(request, "hello"));
        struct env *end = hear(world, OTHER, ENV_END);
        assert_int_equal(end->epoch, epoch);
        assert_int_equal(end->outcome, ENV_OUTCOME_OK);
        hear_nothing(world, OWNER);
        env_free(&end);
        env_free(&request);
        world_free(world);
    }
}

static void
another_body_under_the_same_id_is_refused(void **state)
{
    (void)state;
    struct world *world = with_workers(1);
    (void)ask(world, OWNER, CHAT);
    struct env *request = hear(world, A, ENV_REQUEST);
    struct env *stranger = request_of(CHAT_STREAM);
    stranger->id = request->id;
    say(world, OTHER, stranger);
    struct env *end = hear(world, OTHER, ENV_END);
    assert_int_equal(end->error, ERR_DUPLICATE_ID);
    assert_int_equal(end->status, 409);
    env_free(&end);
    say(world, A, end_of(request, "hello"));
    hear_answer(world, OWNER, "hello");
    hear_nothing(world, OTHER);
    env_free(&request);
    world_free(world);
}

static void
another_key_gets_nothing(void **state)
{
    (void)state;
    struct world *world = world_new();
    world->shared.admission = (struct admission){.master_key = DYN_SLICE("sk-right"), .open = true};
    world_start(world);
    join_target(world, A, "one");
    struct env *request = request_of(CHAT);
    request->credential = DYN_SLICE("sk-right");
    say(world, OWNER, request);
    struct env *first = hear(world, A, ENV_REQUEST);
    say(world, OTHER, again(first, 1)); /* admitted, as somebody else */
    struct env *end = hear(world, OTHER, ENV_END);
    assert_int_equal(end->error, ERR_DUPLICATE_ID);
    env_free(&end);
    say(world, A, end_of(first, "hello"));
    hear_answer(world, OWNER, "hello");
    env_free(&first);
    world_free(world);
}

/* Part of the answer went to where nobody is any more: it is asked for anew, once the former call is over. */
static void
a_half_given_answer_begins_anew_for_who_sends_again(void **state)
{
    (void)state;
    static const char *const bodies[] = {CHAT, CHAT_STREAM};
    for (size_t i = 0; i < DYN_ARRAY_LEN(bodies); i++) {
        struct world *world = with_workers(1);
        (void)ask(world, OWNER, bodies[i]);
        struct env *first = hear(world, A, ENV_REQUEST);
        say(world, A, chunk_of(first, 0, DYN_SLICE("half")));
        struct env *repeat = request_of(bodies[i]);
        repeat->id = first->id;
        repeat->epoch = 1;
        say(world, OTHER, repeat);
        hear_and_drop(world, A, ENV_CANCEL);
        hear_nothing(world, A);
        about(world, OTHER, ENV_CREDIT, first->id, 100);
        struct env *cancelled = error_of(first, ERR_CLIENT_CLOSED, 1);
        cancelled->outcome = ENV_OUTCOME_CANCELLED;
        say(world, A, cancelled);
        struct env *second = hear(world, A, ENV_REQUEST);
        assert_true(second->epoch > first->epoch);
        assert_int_equal(second->credit, ENV_WINDOW_FIRST + 100);
        say(world, A, end_of(second, "hello"));
        if (second->stream) {
            hear_and_drop(world, OTHER, ENV_DISPATCHED);
        }
        struct env *end = hear(world, OTHER, ENV_END);
        assert_int_equal(end->epoch, 1);
        assert_int_equal(end->upstream_calls, 2);
        env_free(&end);
        env_free(&first);
        env_free(&second);
        world_free(world);
    }
}

static void
a_begun_answer_is_not_given_to_a_stranger(void **state)
{
    (void)state;
    struct world *world = with_workers(1);
    (void)ask(world, OWNER, CHAT_STREAM);
    struct env *first = hear(world, A, ENV_REQUEST);
    say(world, A, chunk_of(first, 0, DYN_SLICE("data: x\n\n")));
    struct env *repeat = request_of(CHAT_STREAM);
    repeat->id = first->id;
    say(world, OTHER, repeat);
    struct env *end = hear(world, OTHER, ENV_END);
    assert_int_equal(end->error, ERR_DUPLICATE_ID);
    env_free(&end);
    hear_nothing(world, A);
    env_free(&first);
    world_free(world);
}

static void
who_waits_for_its_turn_may_leave(void **state)
{
    (void)state;
    for (unsigned cancels = 0; cancels < 2; cancels++) {
        struct world *world = with_workers(1);
        (void)ask(world, OWNER, CHAT);
        struct env *first = hear(world, A, ENV_REQUEST);
        say(world, A, chunk_of(first, 0, DYN_SLICE("half")));
        say(world, OTHER, again(first, 1));
        if (cancels) {
            about(world, OTHER, ENV_CANCEL, first->id, 0);
            struct env *end = hear(world, OTHER, ENV_END);
            assert_int_equal(end->error, ERR_CLIENT_CLOSED);
            env_free(&end);
        } else {
            goodbye(world, OTHER, "lost");
        }
        pass_ms(world, ROUTE_CANCEL_GRACE_MS);
        assert_int_equal(world->impl->requests.n, 0);
        hear_and_drop(world, A, ENV_CANCEL);
        hear_nothing(world, A);
        env_free(&first);
        world_free(world);
    }
}

/* ---- credit ---- */

static void
a_worker_that_sends_beyond_its_credit_is_cut(void **state)
{
    (void)state;
    static char bytes[ENV_CHUNK_MAX];
    struct world *world = with_workers(2);
    (void)ask(world, OWNER, CHAT);
    struct env *first = hear(world, A, ENV_REQUEST);
    say(world, A, chunk_of(first, 0, dyn_slice(bytes, sizeof bytes)));
    say(world, A, chunk_of(first, 1, dyn_slice(bytes, sizeof bytes)));
    hear_nothing(world, A);
    say(world, A, chunk_of(first, 2, dyn_slice(bytes, 1)));
    struct env *goodbye = hear(world, A, ENV_GOODBYE);
    assert_true(dyn_slice_is(goodbye->reason, "credit"));
    assert_int_equal(world->impl->members.n_workers, 1);
    struct env *second = hear(world, B, ENV_REQUEST);
    assert_int_equal(second->credit, 0); /* all was received, if for nothing; the owner will grant */
    about(world, OWNER, ENV_CREDIT, first->id, ENV_CHUNK_MAX);
    struct env *credit = hear(world, B, ENV_CREDIT);
    assert_int_equal(credit->credit, ENV_CHUNK_MAX);
    assert_int_equal(credit->epoch, second->epoch);
    env_free(&credit);
    env_free(&goodbye);
    env_free(&first);
    env_free(&second);
    world_free(world);
}

static void
a_worker_that_skips_a_number_is_cut(void **state)
{
    (void)state;
    for (uint32_t wrong = 0; wrong < 3; wrong += 2) {
        struct world *world = with_workers(2);
        (void)ask(world, OWNER, CHAT);
        struct env *first = hear(world, A, ENV_REQUEST);
        say(world, A, chunk_of(first, 0, DYN_SLICE("x")));
        say(world, A, chunk_of(first, wrong, DYN_SLICE("y")));
        hear_and_drop(world, A, ENV_GOODBYE);
        hear_and_drop(world, B, ENV_REQUEST);
        env_free(&first);
        world_free(world);
    }
}

/* HTTP would take the answer for an interim one and wait for another. */
static void
a_worker_that_answers_with_an_interim_status_is_cut(void **state)
{
    (void)state;
    struct world *world = with_workers(2);
    (void)ask(world, OWNER, CHAT);
    struct env *first = hear(world, A, ENV_REQUEST);
    struct env *end = end_of(first, "continue");
    end->status = 100;
    say(world, A, end);
    hear_and_drop(world, A, ENV_GOODBYE);
    hear_and_drop(world, B, ENV_REQUEST);
    hear_nothing(world, OWNER);
    env_free(&first);
    world_free(world);
}

static void
an_owner_that_grants_too_much_is_told_to_go(void **state)
{
    (void)state;
    struct world *world = with_workers(1);
    struct env_id id = ask(world, OWNER, CHAT);
    about(world, OWNER, ENV_CREDIT, id, ENV_HELD_ANSWER_MAX - ENV_WINDOW_FIRST);
    hear_nothing(world, OWNER);
    about(world, OWNER, ENV_CREDIT, id, 1);
    struct env *told = hear(world, OWNER, ENV_GOODBYE);
    assert_true(dyn_slice_is(told->reason, "limit"));
    env_free(&told);
    struct env *greedy = request_of(CHAT);
    greedy->credit = ENV_HELD_ANSWER_MAX + 1;
    say(world, OTHER, greedy);
    hear_and_drop(world, OTHER, ENV_GOODBYE);
    assert_int_equal(world->impl->requests.n, 1);
    world_free(world);
}

/* ---- what matches nothing ---- */

static void
envelopes_of_earlier_epochs_are_dropped(void **state)
{
    (void)state;
    struct world *world = with_workers(1);
    (void)ask(world, OWNER, CHAT);
    struct env *request = hear(world, A, ENV_REQUEST);
    struct env *late = end_of(request, "late");
    late->epoch = 7;
    say(world, A, late);
    late = end_of(request, "late");
    late->attempt = 2;
    say(world, A, late);
    say(world, B, end_of(request, "not yours"));
    about(world, OTHER, ENV_CANCEL, request->id, 0);
    about(world, OTHER, ENV_CREDIT, request->id, 1);
    assert_int_equal(atomic_load(&world->shared.late_answers), 5);
    hear_nothing(world, OWNER);
    say(world, A, end_of(request, "hello"));
    hear_answer(world, OWNER, "hello");
    env_free(&request);
    world_free(world);
}

/* ---- drain ---- */

static bool
is_idle(const struct world *world)
{
    return bus_find(world->bus, world->router)->idle;
}

static void
drain(struct world *world, uint64_t ms)
{
    struct bus_actor *actor = bus_find(world->bus, world->router);
    actor->draining = true;
    world->bus->busy++;
    actor->ops->drain(actor->self, world->now_us + ms * 1000);
    turn(world);
}

static void
an_idle_router_is_drained_at_once(void **state)
{
    (void)state;
    struct world *world = with_workers(1);
    drain(world, 1000);
    assert_true(is_idle(world));
    world_free(world);
}

static void
a_draining_router_finishes_what_it_has_and_what_crossed(void **state)
{
    (void)state;
    struct world *world = with_workers(1);
    (void)ask(world, OWNER, CHAT);
    struct env *first = hear(world, A, ENV_REQUEST);
    drain(world, 10000);
    (void)ask(world, OWNER, CHAT);
    struct env *second = hear(world, A, ENV_REQUEST);
    say(world, A, end_of(first, "one"));
    hear_answer(world, OWNER, "one");
    assert_false(is_idle(world));
    say(world, A, end_of(second, "two"));
    hear_answer(world, OWNER, "two");
    assert_true(is_idle(world));
    env_free(&first);
    env_free(&second);
    world_free(world);
}

static void
what_is_not_done_in_time_is_cut(void **state)
{
    (void)state;
    struct world *world = with_workers(1);
    (void)ask(world, OWNER, CHAT);
    hear_and_drop(world, A, ENV_REQUEST);
    drain(world, 10000);
    pass_ms(world, 8999);
    hear_nothing(world, A);
    pass_ms(world, 1);
    hear_and_drop(world, A, ENV_CANCEL);
    (void)ask(world, OTHER, CHAT);
    struct env *refused = hear(world, OTHER, ENV_END);
    assert_int_equal(refused->error, ERR_DRAINING);
    env_free(&refused);
    pass_ms(world, 501); /* half of what is left */
    fails_with(world, OWNER, ERR_DRAINING);
    assert_true(is_idle(world));
    world_free(world);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_tracks_hears_of_each_dispatch),
        cmocka_unit_test(others_hear_of_streams_only),
        cmocka_unit_test(a_worker_that_has_it_is_asked_to_go_on),
        cmocka_unit_test(it_is_asked_whatever_it_has_to_do),
        cmocka_unit_test(when_it_is_not_there_another_begins),
        cmocka_unit_test(a_worker_that_joins_while_it_is_waited_for_goes_on),
        cmocka_unit_test(an_unknown_dispatch_is_left_behind),
        cmocka_unit_test(what_a_lost_owner_had_is_cancelled),
        cmocka_unit_test(an_owner_that_drains_keeps_what_it_has),
        cmocka_unit_test(the_answer_goes_to_who_asked_last),
        cmocka_unit_test(another_body_under_the_same_id_is_refused),
        cmocka_unit_test(another_key_gets_nothing),
        cmocka_unit_test(a_half_given_answer_begins_anew_for_who_sends_again),
        cmocka_unit_test(a_begun_answer_is_not_given_to_a_stranger),
        cmocka_unit_test(who_waits_for_its_turn_may_leave),
        cmocka_unit_test(a_worker_that_sends_beyond_its_credit_is_cut),
        cmocka_unit_test(a_worker_that_skips_a_number_is_cut),
        cmocka_unit_test(a_worker_that_answers_with_an_interim_status_is_cut),
        cmocka_unit_test(an_owner_that_grants_too_much_is_told_to_go),
        cmocka_unit_test(envelopes_of_earlier_epochs_are_dropped),
        cmocka_unit_test(an_idle_router_is_drained_at_once),
        cmocka_unit_test(a_draining_router_finishes_what_it_has_and_what_crossed),
        cmocka_unit_test(what_is_not_done_in_time_is_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
