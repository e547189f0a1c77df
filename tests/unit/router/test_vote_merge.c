/* What follows from votes: groups, the first denial in the order of the configuration, and that the order in
 * which votes come changes nothing. And the breaker of a plugin. */
#include "core/rand.h"
#include "router/vote_breaker.h"
#include "router/vote_merge.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static struct vote_round
round_of(size_t n, uint32_t alone)
{
    return (struct vote_round){.n = n, .alone = alone};
}

static void
expect(const struct vote_round *round, enum vote_move move, size_t from, size_t to)
{
    struct vote_decision decision = vote_round_next(round);
    assert_int_equal(decision.move, move);
    assert_int_equal(decision.from, from);
    if (move == VOTE_MOVE_ASK) {
        assert_int_equal(decision.to, to);
    }
}

static void
nobody_lets_all_pass(void **state)
{
    (void)state;
    struct vote_round round = round_of(0, 0);
    expect(&round, VOTE_MOVE_PASSED, 0, 0);
}

static void
neighbours_are_asked_at_once(void **state)
{
    (void)state;
    struct vote_round round = round_of(5, 1u << 2);
    expect(&round, VOTE_MOVE_ASK, 0, 2);
    round.ballots[0] = round.ballots[1] = VOTE_BALLOT_ASKED;
    expect(&round, VOTE_MOVE_WAIT, 0, 0);
    round.ballots[0] = round.ballots[1] = VOTE_BALLOT_PASSED;
    expect(&round, VOTE_MOVE_ASK, 2, 3);
    round.ballots[2] = VOTE_BALLOT_PASSED;
    expect(&round, VOTE_MOVE_ASK, 3, 5);
}

/* The second one's denial has to wait for the first one's vote; the third is not waited for. */
static void
the_first_denial_wins(void **state)
{
    (void)state;
    struct vote_round round = round_of(3, 0);
    round.ballots[0] = round.ballots[2] = VOTE_BALLOT_ASKED;
    round.ballots[1] = VOTE_BALLOT_DENIED;
    expect(&round, VOTE_MOVE_WAIT, 0, 0);
    round.ballots[0] = VOTE_BALLOT_PASSED;
    expect(&round, VOTE_MOVE_DENIED, 1, 1);
    round.ballots[0] = VOTE_BALLOT_DENIED;
    expect(&round, VOTE_MOVE_DENIED, 0, 0);
}

/* Guardrails behind an answer still vote, and of two answers the first counts. */
static void
an_answer_ends_nothing(void **state)
{
    (void)state;
    struct vote_round round = round_of(3, 7);
    round.ballots[0] = VOTE_BALLOT_ANSWERED;
    expect(&round, VOTE_MOVE_ASK, 1, 2);
    round.ballots[1] = VOTE_BALLOT_ANSWERED;
    expect(&round, VOTE_MOVE_ASK, 2, 3);
    round.ballots[2] = VOTE_BALLOT_DENIED;
    expect(&round, VOTE_MOVE_DENIED, 2, 2);
    round.ballots[2] = VOTE_BALLOT_PASSED;
    expect(&round, VOTE_MOVE_PASSED, 0, 0);
}

/* One whole stage: each of those asked votes as `votes` says, in an order drawn by lot. `asked` gets who was
 * asked at all. */
static struct vote_decision
play(struct vote_round round, const uint8_t *votes, struct dyn_rng *rng, uint32_t *asked)
{
    for (;;) {
        struct vote_decision decision = vote_round_next(&round);
        size_t waiting[VOTE_ROUND_MAX];
        size_t n = 0;
        if (decision.move == VOTE_MOVE_ASK) {
            for (size_t i = decision.from; i < decision.to; i++) {
                round.ballots[i] = VOTE_BALLOT_ASKED;
                *asked |= 1u << i;
            }
            continue;
        }
        if (decision.move != VOTE_MOVE_WAIT) {
            return decision;
        }
        for (size_t i = 0; i < round.n; i++) {
            if (round.ballots[i] == VOTE_BALLOT_ASKED) {
                waiting[n++] = i;
            }
        }
        assert_true(n > 0);
        size_t who = waiting[dyn_rng_below(rng, n)];
        round.ballots[who] = votes[who];
    }
}

/* By the definition: the first that denies, else the first that answers. */
static struct vote_decision
by_definition(const struct vote_round *round, const uint8_t *votes)
{
    size_t answered = round->n;
    for (size_t i = 0; i < round->n; i++) {
        if (votes[i] == VOTE_BALLOT_DENIED) {
            return (struct vote_decision){VOTE_MOVE_DENIED, i, i};
        }
        if (votes[i] == VOTE_BALLOT_ANSWERED && answered == round->n) {
            answered = i;
        }
    }
    return (struct vote_decision){VOTE_MOVE_PASSED, answered, answered};
}

/* Who is asked alone was asked only because all before it let the request pass. */
static void
expect_no_needless_ask(const struct vote_round *round, const uint8_t *votes, uint32_t asked)
{
    for (size_t i = 0; i < round->n; i++) {
        bool is_alone = (round->alone >> i) & 1;
        for (size_t k = 0; k < i && is_alone && ((asked >> i) & 1); k++) {
            assert_int_not_equal(votes[k], VOTE_BALLOT_DENIED);
        }
    }
}

static void
the_order_of_votes_changes_nothing(void **state)
{
    (void)state;
    static const uint8_t outcomes[] = {VOTE_BALLOT_PASSED, VOTE_BALLOT_PASSED, VOTE_BALLOT_PASSED,
                                       VOTE_BALLOT_ANSWERED, VOTE_BALLOT_DENIED};
    for (uint64_t seed = 0; seed < 20000; seed++) {
        struct dyn_rng rng;
        uint8_t votes[VOTE_ROUND_MAX];
        dyn_rng_seed(&rng, seed);
        struct vote_round round = round_of(1 + dyn_rng_below(&rng, VOTE_ROUND_MAX),
                                           (uint32_t)dyn_rng_next(&rng) & (uint32_t)dyn_rng_next(&rng));
        for (size_t i = 0; i < round.n; i++) {
            votes[i] = outcomes[dyn_rng_below(&rng, DYN_ARRAY_LEN(outcomes))];
        }
        struct vote_decision expected = by_definition(&round, votes);
        uint32_t first_asked = 0;
        for (unsigned again = 0; again < 4; again++) {
            uint32_t asked = 0;
            struct vote_decision got = play(round, votes, &rng, &asked);
            assert_int_equal(got.move, expected.move);
            assert_int_equal(got.from, expected.from);
            expect_no_needless_ask(&round, votes, asked);
            first_asked = again == 0 ? asked : first_asked;
            assert_int_equal(asked, first_asked); /* so that charges do not depend on it either */
        }
    }
}

/* ---- the breaker ---- */

static void
a_dead_plugin_is_not_asked(void **state)
{
    (void)state;
    struct vote_breaker breaker = {.failures = 0};
    for (unsigned i = 0; i < VOTE_BREAKER_FAILURES; i++) {
        assert_true(vote_breaker_admits(&breaker, 100));
        vote_breaker_failed(&breaker, 100);
    }
    assert_true(vote_breaker_is_open(&breaker));
    assert_false(vote_breaker_admits(&breaker, 100));
    assert_false(vote_breaker_admits(&breaker, 99 + VOTE_BREAKER_OPEN_US));
    assert_true(vote_breaker_admits(&breaker, 100 + VOTE_BREAKER_OPEN_US));
    assert_false(vote_breaker_admits(&breaker, 100 + VOTE_BREAKER_OPEN_US)); /* one probe */
    vote_breaker_succeeded(&breaker);
    assert_false(vote_breaker_is_open(&breaker));
    assert_true(vote_breaker_admits(&breaker, 101 + VOTE_BREAKER_OPEN_US));
}

static void
a_probe_that_nobody_waits_for_makes_room_for_another(void **state)
{
    (void)state;
    struct vote_breaker breaker = {.failures = VOTE_BREAKER_FAILURES, .open_until_us = 10};
    assert_true(vote_breaker_admits(&breaker, 10));
    vote_breaker_abandoned(&breaker);
    assert_true(vote_breaker_admits(&breaker, 11));
    vote_breaker_failed(&breaker, 12);
    assert_false(vote_breaker_admits(&breaker, 11 + VOTE_BREAKER_OPEN_US));
}

/* A success in between: they were not in a row. */
static void
failures_count_in_a_row(void **state)
{
    (void)state;
    struct vote_breaker breaker = {.failures = 0};
    for (unsigned i = 0; i < 3 * VOTE_BREAKER_FAILURES; i++) {
        vote_breaker_failed(&breaker, i);
        if (i % (VOTE_BREAKER_FAILURES - 1) == 0) {
            vote_breaker_succeeded(&breaker);
        }
    }
    assert_false(vote_breaker_is_open(&breaker));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nobody_lets_all_pass),
        cmocka_unit_test(neighbours_are_asked_at_once),
        cmocka_unit_test(the_first_denial_wins),
        cmocka_unit_test(an_answer_ends_nothing),
        cmocka_unit_test(the_order_of_votes_changes_nothing),
        cmocka_unit_test(a_dead_plugin_is_not_asked),
        cmocka_unit_test(a_probe_that_nobody_waits_for_makes_room_for_another),
        cmocka_unit_test(failures_count_in_a_row),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
