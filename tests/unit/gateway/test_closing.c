/* The end of a gateway, attacked: with requests in flight, with threads that go on calling, with hooks that
 * are slow, two at once. Every request that was taken is answered exactly once, and nothing waits for ever.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/gateway/gateway_fixture.h"

#include <time.h>

enum { CALLERS = 6, IN_FLIGHT = 1000 / (WIRES_SLOWER > 1 ? 5 : 1) };

struct tally {
    atomic_uint taken;
    atomic_uint answered;
    atomic_uint draining;
};

static void
count_answer(void *user, const struct dynabus_answer *answer)
{
    struct tally *tally = user;
    (void)atomic_fetch_add(&tally->answered, 1);
    if (answer->status == 503) {
        (void)atomic_fetch_add(&tally->draining, 1);
    }
}

static int
stop_at_once(void *user, const char *bytes, size_t len)
{
    (void)user;
    (void)bytes;
    (void)len;
    return 1;
}

static void
ignore_event(void *user, const struct dynabus_event *event)
{
    (void)user;
    (void)event;
}

/* ---- threads that go on calling ---- */

struct crowd {
    dynabus_t *gateway;
    struct tally tally;
    struct gate refused; /* once by each thread */
};

static void *
call_until_refused(void *arg)
{
    struct crowd *crowd = arg;
    struct dynabus_request plain = fixture_request(CHAT("mock"));
    struct dynabus_request stream = fixture_request(CHAT_STREAM("mock"));
    for (unsigned i = 0;; i++) {
        int rc = i % 2 == 0 ? dynabus_route(crowd->gateway, &plain, count_answer, &crowd->tally)
                            : dynabus_route_stream(crowd->gateway, &stream, stop_at_once, count_answer,
                                                   &crowd->tally);
        if (rc != 0) {
            break;
        }
        (void)atomic_fetch_add(&crowd->tally.taken, 1);
        if (i % 64 == 0) { /* lets the loops keep up: this is not about memory */
            struct timespec moment = {.tv_nsec = 2000000};
            (void)nanosleep(&moment, NULL);
            (void)dynabus_add_hook(crowd->gateway, ignore_event, NULL);
        }
    }
    CHECK(dynabus_add_hook(crowd->gateway, ignore_event, NULL) == -1);
    gate_open(&crowd->refused);
    return NULL;
}

/* The gateway stays until they have all been refused: its end waits for this request's piece. */
static int
wait_for_the_crowd(void *user, const char *bytes, size_t len)
{
    struct crowd *crowd = user;
    (void)bytes;
    (void)len;
    gate_wait(&crowd->refused);
    return 0;
}

static void
count_held(void *user, const struct dynabus_answer *answer)
{
    struct crowd *crowd = user;
    count_answer(&crowd->tally, answer);
}

static void
wait_for(const atomic_uint *count, unsigned least)
{
    while (atomic_load(count) < least) {
        struct timespec moment = {.tv_nsec = 1000000};
        (void)nanosleep(&moment, NULL);
    }
}

static void
threads_that_go_on_calling_are_refused_and_what_was_taken_is_answered(void **state)
{
    (void)state;
    for (size_t wire = 0; wire < DYN_ARRAY_LEN(wire_configs); wire++) {
        struct crowd crowd = {.gateway = fixture_gateway(2, wire_configs[wire])};
        pthread_t threads[CALLERS];
        gate_init(&crowd.refused, CALLERS);
        for (unsigned i = 0; i < CALLERS; i++) {
            assert_int_equal(pthread_create(&threads[i], NULL, call_until_refused, &crowd), 0);
        }
        wait_for(&crowd.tally.taken, 200);
        struct dynabus_request held = fixture_request(CHAT_STREAM("mock-tokens-3"));
        assert_int_equal(dynabus_route_stream(crowd.gateway, &held, wait_for_the_crowd, count_held, &crowd),
                         0);
        dynabus_t *gateway = crowd.gateway;
        assert_int_equal(dynabus_close(&gateway, 60000), 0);
        for (unsigned i = 0; i < CALLERS; i++) {
            assert_int_equal(pthread_join(threads[i], NULL), 0);
        }
        assert_int_equal(atomic_load(&crowd.tally.answered), atomic_load(&crowd.tally.taken) + 1);
    }
}

/* ---- requests in flight ---- */

static void
fill(dynabus_t *gateway, struct tally *tally, unsigned n)
{
    struct dynabus_request plain = fixture_request(CHAT("mock-delay-60000"));
    struct dynabus_request stream = fixture_request(CHAT_STREAM("mock-tokens-1000-pace-50"));
    for (unsigned i = 0; i < n; i++) {
        int rc = i % 2 == 0 ? dynabus_route(gateway, &plain, count_answer, tally)
                            : dynabus_route_stream(gateway, &stream, NULL, count_answer, tally);
        assert_int_equal(rc, 0);
    }
}

static void
each_of_a_thousand_requests_in_flight_is_answered_once(void **state)
{
    (void)state;
    static const unsigned cells[] = {1, 2, 8};
    static const uint32_t drains_ms[] = {0, 1, 200};
    for (size_t wire = 0; wire < DYN_ARRAY_LEN(wire_configs); wire++) {
        for (size_t i = 0; i < DYN_ARRAY_LEN(cells); i++) {
            struct tally tally = {0};
            dynabus_t *gateway = fixture_gateway(cells[i], wire_configs[wire]);
            fill(gateway, &tally, IN_FLIGHT);
            (void)dynabus_close(&gateway, drains_ms[i]);
            assert_int_equal(atomic_load(&tally.answered), IN_FLIGHT);
            assert_int_equal(atomic_load(&tally.draining), IN_FLIGHT);
        }
    }
}

static void
a_gateway_may_end_as_soon_as_it_has_begun(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 10; i++) {
        dynabus_t *gateway = fixture_gateway(1 + i % 8, wire_configs[i % 2]);
        assert_int_equal(dynabus_close(&gateway, DYNABUS_DRAIN_DEFAULT), 0);
    }
}

static void *
close_it(void *arg)
{
    dynabus_t *gateway = arg;
    (void)dynabus_close(&gateway, 50);
    return NULL;
}

static void
two_gateways_end_at_the_same_time(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 3; round++) {
        struct tally tallies[2] = {{0}, {0}};
        pthread_t threads[2];
        for (unsigned i = 0; i < 2; i++) {
            dynabus_t *gateway = fixture_gateway(2, wire_configs[i]);
            fill(gateway, &tallies[i], 50);
            assert_int_equal(pthread_create(&threads[i], NULL, close_it, gateway), 0);
        }
        for (unsigned i = 0; i < 2; i++) {
            assert_int_equal(pthread_join(threads[i], NULL), 0);
            assert_int_equal(atomic_load(&tallies[i].answered), 50);
        }
    }
}

static void *
begin_and_end(void *arg)
{
    (void)arg;
    for (unsigned i = 0; i < 5; i++) {
        dynabus_t *gateway = fixture_gateway(1, wire_configs[i % 2]);
        (void)dynabus_close(&gateway, 1000);
    }
    return NULL;
}

/* What libraries keep for the whole process must bear it. */
static void
gateways_begin_while_others_end(void **state)
{
    (void)state;
    pthread_t threads[4];
    for (unsigned i = 0; i < DYN_ARRAY_LEN(threads); i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, begin_and_end, NULL), 0);
    }
    for (unsigned i = 0; i < DYN_ARRAY_LEN(threads); i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
}

/* ---- callbacks ---- */

struct chain {
    dynabus_t *gateway;
    atomic_uint links;
    struct gate ended; /* refused, which is how a chain ends */
};

static void
ask_again(void *user, const struct dynabus_answer *answer)
{
    struct chain *chain = user;
    struct dynabus_request next = fixture_request(CHAT("unheard-of"));
    (void)answer;
    (void)atomic_fetch_add(&chain->links, 1);
    if (dynabus_route(chain->gateway, &next, ask_again, chain) != 0) {
        gate_open(&chain->ended);
    }
}

static void
an_answer_may_ask_again_until_the_gateway_closes(void **state)
{
    (void)state;
    struct chain chain = {.gateway = fixture_gateway(2, NULL)};
    gate_init(&chain.ended, 1);
    struct dynabus_request first = fixture_request(CHAT("unheard-of"));
    assert_int_equal(dynabus_route(chain.gateway, &first, ask_again, &chain), 0);
    wait_for(&chain.links, 500);
    dynabus_t *gateway = chain.gateway;
    assert_int_equal(dynabus_close(&gateway, 5000), 0);
    assert_int_equal(chain.ended.left, 0);
}

struct slow_hook {
    struct gate begun;
    bool told;
    atomic_uint calls;
};

static void
be_slow(void *user, const struct dynabus_event *event)
{
    struct slow_hook *slow = user;
    struct timespec pause = {.tv_nsec = 50 * 1000000};
    (void)event;
    (void)atomic_fetch_add(&slow->calls, 1);
    if (!slow->told) {
        slow->told = true;
        gate_open(&slow->begun);
    }
    (void)nanosleep(&pause, NULL);
}

/* Without an end to the calls 200 events would take ten seconds more than the gateway has. */
static void
a_slow_hook_holds_the_end_up_for_one_event(void **state)
{
    (void)state;
    struct slow_hook slow = {.told = false};
    struct tally tally = {0};
    gate_init(&slow.begun, 1);
    dynabus_t *gateway = fixture_gateway(1, NULL);
    assert_int_equal(dynabus_add_hook(gateway, be_slow, &slow), 0);
    struct dynabus_request request = fixture_request(CHAT("unheard-of"));
    for (unsigned i = 0; i < 200; i++) {
        assert_int_equal(dynabus_route(gateway, &request, count_answer, &tally), 0);
    }
    wait_for(&tally.answered, 200);
    gate_wait(&slow.begun);
    unsigned before = atomic_load(&slow.calls);
    (void)dynabus_close(&gateway, 0);
    assert_in_range(atomic_load(&slow.calls), before, before + 1);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threads_that_go_on_calling_are_refused_and_what_was_taken_is_answered),
        cmocka_unit_test(each_of_a_thousand_requests_in_flight_is_answered_once),
        cmocka_unit_test(a_gateway_may_end_as_soon_as_it_has_begun),
        cmocka_unit_test(two_gateways_end_at_the_same_time),
        cmocka_unit_test(gateways_begin_while_others_end),
        cmocka_unit_test(an_answer_may_ask_again_until_the_gateway_closes),
        cmocka_unit_test(a_slow_hook_holds_the_end_up_for_one_event),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
