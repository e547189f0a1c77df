/* rate-limit: who is limited, in which order, what comes back, what the headers say; over two cells. */
#include "tests/unit/plugins/limit_cells.h"

#include "actors/plugins/rate_headers.h"

#include <pthread.h>
#include <setjmp.h>

#include <cmocka.h>

#define SECOND_US UINT64_C(1000000)

static struct vote_facts
request_of(const char *key, const char *user, const char *peer)
{
    return (struct vote_facts){.key_id = dyn_slice_str(key),
                               .user = dyn_slice_str(user),
                               .peer = dyn_slice_str(peer),
                               .model = DYN_SLICE("m"),
                               .prompt_tokens = 10,
                               .max_output = 90};
}

static bool
passes(struct bench *bench, size_t cell, uint64_t id, struct vote_facts *facts)
{
    return ask_before(bench, cell, id, facts).verdict == VOTE_PASS;
}

static uint64_t
passed_of(struct bench *bench, struct vote_facts *facts, uint64_t asks)
{
    static uint64_t next_id = 1000000;
    uint64_t passed = 0;
    for (uint64_t i = 0; i < asks; i++) {
        passed += passes(bench, i % BENCH_CELLS, next_id++, facts);
    }
    return passed;
}

static void
assert_slice(struct dyn_slice slice, const char *expected)
{
    assert_non_null(slice.data);
    char text[600];
    assert_true(slice.len < sizeof text);
    memcpy(text, slice.data, slice.len);
    text[slice.len] = '\0';
    assert_string_equal(text, expected);
}

static void
durations_are_spelled_as_openai_does(void **state)
{
    (void)state;
    static const struct {
        uint64_t us;
        const char *text;
    } rows[] = {{0, "0s"},
                {1, "1ms"},
                {17000, "17ms"},
                {999001, "1s"},
                {1000000, "1s"},
                {8640000, "8.64s"},
                {59999000, "59.999s"},
                {60000000, "1m0s"},
                {86400000, "1m26.4s"},
                {360000000, "6m0s"},
                {3600000000, "1h0m0s"},
                {90061005000, "25h1m1.005s"}};
    for (size_t i = 0; i < DYN_ARRAY_LEN(rows); i++) {
        char text[RATE_HEADER_TEXT_MAX];
        size_t len = rate_duration_text(rows[i].us, text);
        assert_slice(dyn_slice(text, len), rows[i].text);
    }
    char text[RATE_HEADER_TEXT_MAX];
    assert_true(rate_duration_text(UINT64_MAX - 1, text) <= sizeof text);
}

static void
the_default_is_that_of_ferro(void **state)
{
    (void)state;
    struct bench bench;
    bench_start(&bench, &plugin_rate_limit, "{}");
    struct vote_facts facts = request_of("anonymous", NULL, NULL);
    assert_int_equal(passed_of(&bench, &facts, 150), 100);
    atomic_fetch_add(&bench.now_us, 50000);
    assert_int_equal(passed_of(&bench, &facts, 50), 5);
    bench_stop(&bench);
}

static void
burst_is_what_comes_at_once(void **state)
{
    (void)state;
    struct bench bench;
    bench_start(&bench, &plugin_rate_limit, "{requests_per_second: 0.5, burst: 3}");
    struct vote_facts facts = request_of("a", NULL, NULL);
    assert_int_equal(passed_of(&bench, &facts, 10), 3);
    atomic_fetch_add(&bench.now_us, 2 * SECOND_US);
    assert_int_equal(passed_of(&bench, &facts, 10), 1);
    bench_stop(&bench);
}

static void
wrong_numbers_are_problems(void **state)
{
    (void)state;
    static const char *const wrong[] = {"requests_per_second: 0", "burst: -1",   "key_rpm: 0",
                                        "user_rpm: .nan",         "key_tpm: -5", "address_rpm: 1e12",
                                        "algorithm: leaky",       "max_keys: 0"};
    for (size_t i = 0; i < DYN_ARRAY_LEN(wrong); i++) {
        struct bench bench;
        assert_false(bench_configure(&bench, &plugin_rate_limit, wrong[i]));
        config_free(&bench.config);
    }
}

static void
each_key_and_user_has_its_own(void **state)
{
    (void)state;
    struct bench bench;
    bench_start(&bench, &plugin_rate_limit, "{requests_per_second: 1000, key_rpm: 5, user_rpm: 3}");
    struct vote_facts alice = request_of("k1", "alice", NULL), bob = request_of("k1", "bob", NULL);
    struct vote_facts nobody = request_of("anonymous", NULL, NULL), other = request_of("k2", "alice", NULL);
    assert_int_equal(passed_of(&bench, &alice, 10), 3);
    assert_int_equal(passed_of(&bench, &bob, 10), 2);
    assert_int_equal(passed_of(&bench, &other, 10), 0);
    assert_int_equal(passed_of(&bench, &nobody, 10), 10);
    struct plugin_vote vote = ask_before(&bench, 0, 1, &bob);
    assert_slice(vote.reason, "the limit of each key is reached: 5 requests per minute");
    assert_int_equal(vote.retry_after_s, 12);
    vote = ask_before(&bench, 0, 2, &other);
    assert_slice(vote.reason, "the limit of each user is reached: 3 requests per minute");
    bench_stop(&bench);
}

static void
a_refusal_leaves_the_others_as_they_were(void **state)
{
    (void)state;
    struct bench bench;
    bench_start(&bench, &plugin_rate_limit, "{requests_per_second: 10, key_rpm: 1}");
    struct vote_facts one = request_of("k1", NULL, NULL), two = request_of("k2", NULL, NULL);
    assert_int_equal(passed_of(&bench, &one, 500), 1); /* 499 refused by the key's */
    struct plugin_vote vote = ask_before(&bench, 1, 1, &two);
    assert_int_equal(vote.verdict, VOTE_PASS);
    struct vote_facts nobody = request_of("anonymous", NULL, NULL);
    assert_int_equal(passed_of(&bench, &nobody, 100), 8);
    bench_stop(&bench);
}

static void
what_another_plugin_refuses_comes_back(void **state)
{
    (void)state;
    struct bench bench;
    bench_start(&bench, &plugin_rate_limit, "{requests_per_second: 10, key_rpm: 2, key_tpm: 200}");
    struct vote_facts facts = request_of("k1", NULL, NULL), refused = facts;
    refused.refused = true;
    refused.refused_by = DYN_SLICE("word-filter");
    for (uint64_t id = 1; id <= 50; id++) {
        assert_true(passes(&bench, id % 2, id, &facts));
        tell_end(&bench, id % 2, id, &refused);
        tell_end(&bench, id % 2, id, &refused); /* told twice: once */
    }
    assert_int_equal(passed_of(&bench, &facts, 10), 2);
    bench_stop(&bench);
}

static void
tokens_are_estimated_and_settled(void **state)
{
    (void)state;
    struct bench bench;
    bench_start(&bench, &plugin_rate_limit, "{key_tpm: 1000}");
    struct vote_facts facts = request_of("k1", NULL, NULL), ended = facts;
    ended.upstream_calls = 1;
    ended.usage =
        (struct env_usage){.known = true, .prompt_tokens = 12, .completion_tokens = 8, .total_tokens = 20};
    for (uint64_t id = 1; id <= 10; id++) {
        assert_true(passes(&bench, 0, id, &facts)); /* 100 each */
    }
    assert_false(passes(&bench, 0, 11, &facts));
    for (uint64_t id = 1; id <= 10; id++) {
        tell_end(&bench, 0, id, &ended);
    }
    struct plugin_vote vote = ask_before(&bench, 1, 12, &facts);
    assert_int_equal(vote.verdict, VOTE_PASS);
    assert_slice(vote_header(&vote, "x-ratelimit-limit-tokens"), "1000");
    assert_slice(vote_header(&vote, "x-ratelimit-remaining-tokens"), "700");
    assert_slice(vote_header(&vote, "x-ratelimit-reset-tokens"), "1m0s");
    assert_null(vote_header(&vote, "x-ratelimit-limit-requests").data);
    ended.usage.total_tokens = 5000; /* more than was thought: owed until the minute ends */
    tell_end(&bench, 1, 12, &ended);
    assert_false(passes(&bench, 0, 13, &facts));
    atomic_fetch_add(&bench.now_us, 60 * SECOND_US);
    struct vote_facts cached = facts;
    cached.answered_by = DYN_SLICE("response-cache");
    cached.usage = ended.usage;
    assert_true(passes(&bench, 0, 14, &facts));
    tell_end(&bench, 0, 14, &cached); /* no provider was asked */
    vote = ask_before(&bench, 0, 15, &facts);
    assert_slice(vote_header(&vote, "x-ratelimit-remaining-tokens"), "900");
    struct vote_facts huge = facts;
    huge.max_output = 5000;
    vote = ask_before(&bench, 0, 16, &huge);
    assert_int_equal(vote.verdict, VOTE_DENY);
    assert_int_equal(vote.retry_after_s, 0); /* never */
    assert_slice(vote_header(&vote, "x-should-retry"), "false");
    assert_slice(vote.reason, "the request needs 5010 tokens, more than the limit of each key, "
                              "1000 tokens per minute, ever has");
    bench_stop(&bench);
}

static void
headers_show_the_nearest_limit(void **state)
{
    (void)state;
    struct bench bench;
    bench_start(&bench, &plugin_rate_limit, "{requests_per_second: 50, key_rpm: 6, model_rpm: 60}");
    struct vote_facts facts = request_of("k1", NULL, NULL);
    struct plugin_vote vote = ask_before(&bench, 0, 1, &facts);
    assert_slice(vote_header(&vote, "x-ratelimit-limit-requests"), "6");
    assert_slice(vote_header(&vote, "x-ratelimit-remaining-requests"), "5");
    assert_slice(vote_header(&vote, "x-ratelimit-reset-requests"), "10s");
    assert_true(vote.charged);
    assert_int_equal(passed_of(&bench, &facts, 10), 5);
    vote = ask_before(&bench, 0, 2, &facts);
    assert_int_equal(vote.verdict, VOTE_DENY);
    assert_int_equal(vote.retry_after_s, 10);
    assert_slice(vote_header(&vote, "x-ratelimit-remaining-requests"), "0");
    assert_slice(vote_header(&vote, "x-ratelimit-reset-requests"), "1m0s");
    bench_stop(&bench);
    bench_start(&bench, &plugin_rate_limit, "{key_rpm: 6, headers: false}");
    vote = ask_before(&bench, 0, 1, &facts);
    assert_int_equal(vote.n_headers, 0);
    bench_stop(&bench);
}

/* What stands in a key takes the place of what all keys have; its days are those of UTC. */
static void
keys_have_limits_of_their_own(void **state)
{
    (void)state;
    struct bench bench;
    bench_start(&bench, &plugin_rate_limit, "{requests_per_second: 1000, key_rpm: 2, user_rpm: 100}");
    struct vote_facts usual = request_of("k1", NULL, NULL), rich = request_of("k2", NULL, NULL);
    rich.key_rpm = 10;
    rich.key_rpd = 15;
    rich.key_tpd = 100000;
    assert_int_equal(passed_of(&bench, &usual, 20), 2);
    struct plugin_vote vote = ask_before(&bench, 0, 1, &rich);
    assert_slice(vote_header(&vote, "x-ratelimit-limit-requests"), "10");
    assert_slice(vote_header(&vote, "x-ratelimit-remaining-tokens"), "99900");
    assert_int_equal(passed_of(&bench, &rich, 20), 9);
    atomic_fetch_add(&bench.now_us, 60 * SECOND_US);
    assert_int_equal(passed_of(&bench, &rich, 20), 5);
    vote = ask_before(&bench, 1, 2, &rich);
    assert_slice(vote.reason, "the limit of each key is reached: 15 requests per day");
    assert_int_equal(vote.retry_after_s, 86400 - 60);
    atomic_fetch_add(&bench.now_us, (86400 - 60) * SECOND_US);
    assert_int_equal(passed_of(&bench, &rich, 20), 10);
    rich.key_rpm = 12; /* changed: counted anew */
    assert_int_equal(passed_of(&bench, &rich, 20), 5);
    bench_stop(&bench);
}

static void
addresses_are_networks(void **state)
{
    (void)state;
    struct bench bench;
    bench_start(&bench, &plugin_rate_limit, "{address_rpm: 2}");
    static const char *const same[] = {"10.0.0.1:1000", "10.0.0.1:2000", "10.0.0.1:3000"};
    static const char *const six[] = {"[2001:db8::1]:1", "[2001:db8::ffff:2]:2", "[2001:db8:0:0:9::3]:3"};
    for (size_t i = 0; i < 3; i++) {
        struct vote_facts four_facts = request_of("k", NULL, same[i]),
                          six_facts = request_of("k", NULL, six[i]);
        assert_int_equal(passed_of(&bench, &four_facts, 1), i < 2);
        assert_int_equal(passed_of(&bench, &six_facts, 1), i < 2);
    }
    struct vote_facts other = request_of("k", NULL, "[2001:db8:0:1::1]:1");
    assert_int_equal(passed_of(&bench, &other, 1), 1);
    other = request_of("k", NULL, "10.0.0.2:1000");
    assert_int_equal(passed_of(&bench, &other, 1), 1);
    static const char *const zoned[] = {"[fe80::1%eth0]:1", "[fe80::1%eth0]:2", "[fe80::2%eth0]:3"};
    for (size_t i = 0; i < 3; i++) { /* a port never makes another client */
        struct vote_facts facts = request_of("k", NULL, zoned[i]);
        assert_int_equal(passed_of(&bench, &facts, 1), i < 2);
    }
    other = request_of("k", NULL, "unix");
    assert_int_equal(passed_of(&bench, &other, 3), 2);
    bench_stop(&bench);
}

static void
a_fixed_window_is_exact(void **state)
{
    (void)state;
    struct bench bench;
    bench_start(&bench, &plugin_rate_limit,
                "{key_rpm: 7, requests_per_second: 100, algorithm: fixed_window}");
    struct vote_facts facts = request_of("k1", NULL, NULL);
    assert_int_equal(passed_of(&bench, &facts, 50), 7);
    atomic_fetch_add(&bench.now_us, 60 * SECOND_US - 1);
    assert_int_equal(passed_of(&bench, &facts, 50), 0);
    atomic_fetch_add(&bench.now_us, 1);
    assert_int_equal(passed_of(&bench, &facts, 50), 7);
    bench_stop(&bench);
}

/* A reload that changes what is shown, or nothing, keeps what was counted. */
static void
a_reload_keeps_the_counts(void **state)
{
    (void)state;
    struct bench bench, after;
    bench_start(&bench, &plugin_rate_limit, "{key_rpm: 5}");
    struct vote_facts facts = request_of("k1", NULL, NULL);
    assert_int_equal(passed_of(&bench, &facts, 3), 3);
    assert_true(bench_configure(&after, &plugin_rate_limit, "{key_rpm: 5, headers: false}"));
    after.host = bench.host;
    void *former = bench.shared;
    for (size_t i = 0; i < BENCH_CELLS; i++) {
        plugin_rate_limit.cell_free(bench.shared, bench.own[i]);
    }
    bench.shared = bench_make(&after, former);
    plugin_rate_limit.free(former);
    for (size_t i = 0; i < BENCH_CELLS; i++) {
        bench.own[i] = plugin_rate_limit.cell_new(bench.shared, &bench.cells[i]);
    }
    assert_int_equal(passed_of(&bench, &facts, 10), 2);
    bench_stop(&bench);
    config_free(&after.config);
}

struct crowd {
    struct bench *bench;
    size_t cell;
    uint64_t passed;
};

static void *
be_a_cell(void *self)
{
    struct crowd *crowd = self;
    struct vote_facts facts = request_of("k1", "alice", "10.0.0.1:7"), refused = facts;
    refused.refused = true;
    for (uint64_t i = 1; i <= 3000; i++) {
        uint64_t id = i * BENCH_CELLS + crowd->cell;
        if (!passes(crowd->bench, crowd->cell, id, &facts)) {
            continue;
        }
        if (i % 5 == 0) {
            tell_end(crowd->bench, crowd->cell, id, &refused);
        } else {
            crowd->passed++;
        }
    }
    return NULL;
}

static void
two_cells_pass_exactly_the_limit(void **state)
{
    (void)state;
    for (int seed = 1; seed <= 20; seed++) {
        struct bench bench;
        char yaml[200];
        (void)snprintf(
            yaml, sizeof yaml,
            "{requests_per_second: 2000, key_rpm: %d, user_rpm: 1200, address_rpm: 1300, key_tpm: 900000}",
            500 + seed * 31);
        bench_start(&bench, &plugin_rate_limit, yaml);
        struct crowd crowds[BENCH_CELLS];
        pthread_t threads[BENCH_CELLS];
        for (size_t i = 0; i < BENCH_CELLS; i++) {
            crowds[i] = (struct crowd){&bench, i, 0};
            assert_int_equal(pthread_create(&threads[i], NULL, be_a_cell, &crowds[i]), 0);
        }
        for (size_t i = 0; i < BENCH_CELLS; i++) {
            assert_int_equal(pthread_join(threads[i], NULL), 0);
        }
        assert_int_equal(crowds[0].passed + crowds[1].passed, 500 + seed * 31);
        bench_stop(&bench);
    }
}

static void
a_vote_that_came_too_late_gives_back_what_it_took(void **state)
{
    (void)state;
    struct bench bench;
    bench_start(&bench, &plugin_rate_limit, "{user_rpm: 2, algorithm: fixed_window}");
    struct vote_facts facts = request_of("k", "u", "10.0.0.1:1");
    assert_true(passes(&bench, 0, 1, &facts));
    forget(&bench, 0, 1, &facts);
    forget(&bench, 0, 1, &facts); /* once */
    assert_true(passes(&bench, 0, 2, &facts));
    tell_end(&bench, 0, 2, &facts);
    forget(&bench, 0, 2, &facts); /* what was told is over */
    assert_int_equal(passed_of(&bench, &facts, 10), 1);
    bench_stop(&bench);
}

/* A request that came again is another one: it counts, and the first one is not kept for ever. */
static void
a_request_that_is_asked_again_counts_again(void **state)
{
    (void)state;
    struct bench bench;
    bench_start(&bench, &plugin_rate_limit, "{user_rpm: 3, algorithm: fixed_window}");
    struct vote_facts facts = request_of("k", "u", "10.0.0.1:1");
    assert_true(passes(&bench, 0, 1, &facts));
    struct plugin_vote again = ask_before(&bench, 0, 1, &facts);
    assert_true(again.verdict == VOTE_PASS && again.charged);
    tell_end(&bench, 0, 1, &facts);
    assert_int_equal(passed_of(&bench, &facts, 10), 1);
    bench_stop(&bench);
}

/* Clients of the bus have none. */
static void
a_request_without_an_address_is_not_limited_by_it(void **state)
{
    (void)state;
    struct bench bench;
    bench_start(&bench, &plugin_rate_limit, "{address_rpm: 2}");
    struct vote_facts facts = request_of("k", "u", "10.0.0.1:1");
    facts.peer = dyn_slice(NULL, 0);
    assert_int_equal(passed_of(&bench, &facts, 10), 10);
    bench_stop(&bench);
}

/* What no limit of the request bounds is counted for each of its choices. */
static void
tokens_of_all_choices_count(void **state)
{
    (void)state;
    struct bench bench;
    bench_start(&bench, &plugin_rate_limit, "{user_tpm: 1000, output_tokens: 100}");
    struct vote_facts facts = request_of("k", "u", "10.0.0.1:1");
    facts.max_output = 0;
    facts.n_choices = 4;
    assert_int_equal(passed_of(&bench, &facts, 10), 2); /* of 410 */
    bench_stop(&bench);
}

static void
a_fleet_needs_a_ledger(void **state)
{
    (void)state;
    struct bench bench = {.now_us = 1};
    bench.clock = (struct dyn_clock){bench_read, bench_read, &bench};
    bench.host.clock = &bench.clock;
    assert_false(bench_configure(&bench, &plugin_rate_limit, "{key_rpm: 5, scope: fleet, algorithm: gcra}"));
    config_free(&bench.config);
    assert_false(bench_configure(&bench, &plugin_rate_limit, "{key_rpm: 5, scope: fleet, burst: 3}"));
    config_free(&bench.config);
    assert_true(bench_configure(&bench, &plugin_rate_limit, "{key_rpm: 5, scope: fleet}"));
    assert_null(bench_make(&bench, NULL));
    config_free(&bench.config);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(durations_are_spelled_as_openai_does),
        cmocka_unit_test(the_default_is_that_of_ferro),
        cmocka_unit_test(burst_is_what_comes_at_once),
        cmocka_unit_test(wrong_numbers_are_problems),
        cmocka_unit_test(each_key_and_user_has_its_own),
        cmocka_unit_test(a_refusal_leaves_the_others_as_they_were),
        cmocka_unit_test(what_another_plugin_refuses_comes_back),
        cmocka_unit_test(tokens_are_estimated_and_settled),
        cmocka_unit_test(headers_show_the_nearest_limit),
        cmocka_unit_test(keys_have_limits_of_their_own),
        cmocka_unit_test(addresses_are_networks),
        cmocka_unit_test(a_fixed_window_is_exact),
        cmocka_unit_test(a_reload_keeps_the_counts),
        cmocka_unit_test(two_cells_pass_exactly_the_limit),
        cmocka_unit_test(a_vote_that_came_too_late_gives_back_what_it_took),
        cmocka_unit_test(a_request_that_is_asked_again_counts_again),
        cmocka_unit_test(a_request_without_an_address_is_not_limited_by_it),
        cmocka_unit_test(tokens_of_all_choices_count),
        cmocka_unit_test(a_fleet_needs_a_ledger),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
