/* The load client's judgement: a benchmark that cannot see a lost token proves nothing. */
#include "tests/bench/load_answer.h"
#include "tests/bench/load_check.h"
#include "tests/bench/load_hist.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* The sources are part of this test, since the client is a program of its own. */
#include "tests/bench/load_answer.c" /* NOLINT(bugprone-suspicious-include) */
#include "tests/bench/load_check.c"  /* NOLINT(bugprone-suspicious-include) */
#include "tests/bench/load_hist.c"   /* NOLINT(bugprone-suspicious-include) */

static struct load_totals totals;
static struct load_check check;

/* Feeds the tags of one answer; `order` lists their places, e.g. "0123". */
static bool
answer_is_whole(const char *order, unsigned expected)
{
    memset(&totals, 0, sizeof totals);
    load_check_start(&check, &totals, 17);
    check.now_ns = 5000000;
    for (; *order != '\0'; order++) {
        char token[64];
        int len = snprintf(token, sizeof token, "data: {\"content\":\" word~17.00ff.%c.4000~\"}\n\n", *order);
        load_check_feed(&check, token, (size_t)len);
    }
    return load_check_end(&check, expected);
}

static void
whole_answer_passes(void **state)
{
    (void)state;
    assert_true(answer_is_whole("01234", 5));
    assert_int_equal(totals.tokens, 5);
    assert_int_equal(totals.lost + totals.repeated + totals.out_of_order + totals.mixed + totals.unreadable,
                     0);
    assert_true(load_hist_us(&totals.delay, 0.5) > 999 && load_hist_us(&totals.delay, 0.5) < 1001);
}

static void
faults_are_told_apart(void **state)
{
    (void)state;
    assert_false(answer_is_whole("0134", 5));
    assert_int_equal(totals.lost, 1);
    assert_false(answer_is_whole("0123", 5));
    assert_int_equal(totals.lost, 1);
    (void)answer_is_whole("012234", 5);
    assert_int_equal(totals.repeated, 1);
    assert_false(answer_is_whole("01324", 5));
    assert_int_equal(totals.out_of_order, 1);
    assert_int_equal(totals.lost, 0);
}

static void
other_calls_are_seen(void **state)
{
    (void)state;
    memset(&totals, 0, sizeof totals);
    static const char text[] = "~17.00ff.0.1~ ~17.00aa.1.1~ ~18.00ff.1.1~ ~x~";
    load_check_start(&check, &totals, 17);
    load_check_feed(&check, text, sizeof text - 1);
    assert_false(load_check_end(&check, 2));
    assert_int_equal(totals.mixed, 2);
    assert_int_equal(totals.unreadable, 1);
}

/* Split at every position, the same tokens and the same end mark are found. */
static void
split_anywhere(void **state)
{
    (void)state;
    static const char text[] =
        "data: {\"content\":\"a~17.00ff.0.1~\"}\n\ndata: {\"content\":\"[~17.00ff.1.1~\"}\n\n"
        "data: [[DONE]\n\n";
    for (size_t at = 0; at < sizeof text - 1; at++) {
        memset(&totals, 0, sizeof totals);
        load_check_start(&check, &totals, 17);
        load_check_feed(&check, text, at);
        load_check_feed(&check, text + at, sizeof text - 1 - at);
        assert_true(load_check_end(&check, 2));
        assert_true(check.saw_done);
    }
}

struct body {
    char bytes[64];
    size_t len;
};

static void
collect(void *self, const char *data, size_t len)
{
    struct body *body = self;
    assert_true(body->len + len < sizeof body->bytes);
    memcpy(body->bytes + body->len, data, len);
    body->len += len;
}

static void
framings_split_anywhere(void **state)
{
    (void)state;
    static const char *const answers[] = {
        "HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nhello world",
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6;x=y\r\nhello \r\n5\r\nworld\r\n0\r\nA: "
         "b\r\n\r\n"),
        "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello world",
    };
    static struct load_answer answer;
    for (size_t i = 0; i < sizeof answers / sizeof answers[0]; i++) {
        size_t len = strlen(answers[i]);
        for (size_t at = 0; at <= len; at++) {
            struct body body = {.len = 0};
            load_answer_reset(&answer);
            size_t used = load_answer_feed(&answer, answers[i], at, collect, &body);
            used += load_answer_feed(&answer, answers[i] + at, len - at, collect, &body);
            assert_int_equal(used, len);
            assert_true(load_answer_closed(&answer));
            assert_int_equal(answer.status, 200);
            assert_memory_equal(body.bytes, "hello world", 11);
        }
    }
}

static void
cut_answers_are_not_complete(void **state)
{
    (void)state;
    static const char text[] = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n";
    static struct load_answer answer;
    struct body body = {.len = 0};
    load_answer_reset(&answer);
    (void)load_answer_feed(&answer, text, sizeof text - 1, collect, &body);
    assert_false(load_answer_closed(&answer));
}

static void
percentiles(void **state)
{
    (void)state;
    static struct load_hist hist;
    for (uint64_t us = 1; us <= 1000; us++) {
        load_hist_add(&hist, us * 1000);
    }
    assert_true(load_hist_us(&hist, 0.5) > 499 && load_hist_us(&hist, 0.5) < 502);
    assert_true(load_hist_us(&hist, 0.99) > 989 && load_hist_us(&hist, 0.99) < 992);
    load_hist_add(&hist, UINT64_MAX);
    assert_true(load_hist_us(&hist, 1.0) > 1e9);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_answer_passes),
        cmocka_unit_test(faults_are_told_apart),
        cmocka_unit_test(other_calls_are_seen),
        cmocka_unit_test(split_anywhere),
        cmocka_unit_test(framings_split_anywhere),
        cmocka_unit_test(cut_answers_are_not_complete),
        cmocka_unit_test(percentiles),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
