/* What is counted at the end of requests, read back from the page that it makes: series come from what is
 * configured, never from what clients write; cells add up; nothing is counted twice. */
#include "proto/request_metrics.h"

#include "proto/env.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static const struct event_record good = {
    .provider = DYN_SLICE_INIT("openai"),
    .model = DYN_SLICE_INIT("gpt-4o"),
    .model_listed = true,
    .key_id = DYN_SLICE_INIT("master"),
    .status = 200,
    .stream = true,
    .attempts = 1,
    .upstream_calls = 1,
    .latency_us = 1500000,
    .ttft_us = 500000,
    .tokens_in = 10,
    .tokens_out = 40,
};

static char *
page_of(request_metrics_t *metrics, enum metric_family_id family)
{
    struct dyn_buf out = DYN_BUF_INIT;
    request_metrics_write(metrics, family, &out);
    char *text = dyn_strdup(dyn_buf_cstr(&out));
    dyn_buf_fini(&out);
    return text;
}

/* Whether the family's page has that line. */
static bool
shows(request_metrics_t *metrics, enum metric_family_id family, const char *line)
{
    char *page = page_of(metrics, family);
    char wanted[300];
    (void)snprintf(wanted, sizeof wanted, "\n%s\n", line);
    bool found = strstr(page, wanted) != NULL;
    if (!found) {
        print_message("%s", page);
    }
    free(page);
    return found;
}

static size_t
lines_of_all(request_metrics_t *metrics)
{
    size_t lines = 0;
    for (size_t i = 0; i < METRIC_FAMILIES; i++) {
        if (metric_families[i].source == METRIC_REQUEST) {
            char *page = page_of(metrics, (enum metric_family_id)i);
            for (const char *at = page; (at = strchr(at, '\n')) != NULL; at++) {
                lines++;
            }
            free(page);
        }
    }
    return lines;
}

static void
an_answer_is_counted_in_each_family(void **state)
{
    (void)state;
    request_metrics_t *metrics = request_metrics_new(2);
    struct event_record priced = good;
    priced.cost_model_found = true;
    priced.cost_usd = 0.25;
    request_cell_count(request_metrics_cell(metrics, 0), &good);
    request_cell_count(request_metrics_cell(metrics, 1), &priced);
    assert_true(shows(metrics, METRIC_REQUESTS,
                      "gateway_requests_total{provider=\"openai\",model=\"gpt-4o\",status=\"success\"} 2"));
    assert_true(shows(metrics, METRIC_TOKENS_IN,
                      "gateway_tokens_input_total{provider=\"openai\",model=\"gpt-4o\"} 20"));
    assert_true(shows(metrics, METRIC_TOKENS_OUT,
                      "gateway_tokens_output_total{provider=\"openai\",model=\"gpt-4o\"} 80"));
    assert_true(shows(metrics, METRIC_COST,
                      "gateway_request_cost_usd_total{provider=\"openai\",model=\"gpt-4o\"} 0.25"));
    const char *const duration[] = {
        "gateway_request_duration_seconds_bucket{provider=\"openai\",model=\"gpt-4o\",le=\"1\"} 0",
        "gateway_request_duration_seconds_bucket{provider=\"openai\",model=\"gpt-4o\",le=\"2.5\"} 2",
        "gateway_request_duration_seconds_bucket{provider=\"openai\",model=\"gpt-4o\",le=\"600\"} 2",
        "gateway_request_duration_seconds_bucket{provider=\"openai\",model=\"gpt-4o\",le=\"+Inf\"} 2",
        "gateway_request_duration_seconds_sum{provider=\"openai\",model=\"gpt-4o\"} 3",
        "gateway_request_duration_seconds_count{provider=\"openai\",model=\"gpt-4o\"} 2",
    };
    for (size_t i = 0; i < DYN_ARRAY_LEN(duration); i++) {
        assert_true(shows(metrics, METRIC_DURATION, duration[i]));
    }
    /* An upper end belongs to its bucket. */
    assert_true(shows(
        metrics, METRIC_TTFT,
        "gateway_time_to_first_token_seconds_bucket{provider=\"openai\",model=\"gpt-4o\",le=\"0.5\"} 2"));
    assert_true(shows(metrics, METRIC_TOKEN_RATE,
                      "gateway_output_tokens_per_second_sum{provider=\"openai\",model=\"gpt-4o\"} 80"));
    assert_true(shows(metrics, METRIC_KEY_REQUESTS,
                      "gateway_key_requests_total{key_id=\"master\",status=\"success\"} 2"));
    assert_true(shows(metrics, METRIC_KEY_TOKENS, "gateway_key_tokens_total{key_id=\"master\"} 100"));
    assert_true(shows(metrics, METRIC_UPSTREAM_CALLS, "gateway_upstream_calls_total 2"));
    assert_true(shows(metrics, METRIC_UPSTREAM_EXTRA, "gateway_upstream_calls_extra_total 0"));
    request_metrics_free(&metrics);
}

static struct event_record
failure(const char *code, uint64_t attempts)
{
    struct event_record record = good;
    record.failed = true;
    record.error_code = dyn_slice_str(code);
    record.attempts = attempts;
    return record;
}

static void
a_failure_is_told_from_a_refusal(void **state)
{
    (void)state;
    request_metrics_t *metrics = request_metrics_new(1);
    struct request_cell *cell = request_metrics_cell(metrics, 0);
    static const struct {
        const char *code;
        uint64_t attempts;
    } failures[] = {
        {"upstream_error", 2}, {"upstream_timeout", 1}, {"client_closed", 1},   {"gateway_saturated", 1},
        {"worker_lost", 1},    {"invalid_request", 0},  {"missing_api_key", 0}, {"from_a_later_version", 1},
    };
    for (size_t i = 0; i < DYN_ARRAY_LEN(failures); i++) {
        struct event_record record = failure(failures[i].code, failures[i].attempts);
        request_cell_count(cell, &record);
    }
    assert_true(shows(metrics, METRIC_REQUESTS,
                      "gateway_requests_total{provider=\"openai\",model=\"gpt-4o\",status=\"error\"} 6"));
    assert_true(shows(metrics, METRIC_REQUESTS,
                      "gateway_requests_total{provider=\"openai\",model=\"gpt-4o\",status=\"rejected\"} 2"));
    static const char *const types[] = {"provider_error\"} 2", "timeout\"} 1", "client_canceled\"} 1",
                                        "backpressure\"} 1", "worker_lost\"} 1"};
    for (size_t i = 0; i < DYN_ARRAY_LEN(types); i++) {
        char line[128];
        (void)snprintf(line, sizeof line, "gateway_provider_errors_total{provider=\"openai\",error_type=\"%s",
                       types[i]);
        assert_true(shows(metrics, METRIC_PROVIDER_ERRORS, line));
    }
    assert_true(shows(metrics, METRIC_ERRORS, "gateway_request_errors_total{code=\"missing_api_key\"} 1"));
    assert_true(shows(metrics, METRIC_ERRORS, "gateway_request_errors_total{code=\"other\"} 1"));
    /* A failure has no part in the times of answers. */
    char *page = page_of(metrics, METRIC_DURATION);
    assert_null(strstr(page, "_bucket"));
    free(page);
    request_metrics_free(&metrics);
}

static void
a_hundred_thousand_invented_models_add_no_series(void **state)
{
    (void)state;
    request_metrics_t *metrics = request_metrics_new(2);
    struct event_record record = good;
    request_cell_count(request_metrics_cell(metrics, 0), &record);
    record.model = DYN_SLICE("first invented");
    record.model_listed = false;
    request_cell_count(request_metrics_cell(metrics, 0), &record);
    record.model = dyn_slice(NULL, 0);
    request_cell_count(request_metrics_cell(metrics, 0), &record);
    size_t before = lines_of_all(metrics);
    for (unsigned i = 0; i < 100000; i++) {
        char name[32];
        int len = snprintf(name, sizeof name, "invented-%u", i);
        record.model = dyn_slice(name, (size_t)len);
        request_cell_count(request_metrics_cell(metrics, i % 2), &record);
    }
    assert_int_equal(lines_of_all(metrics), before);
    assert_true(
        shows(metrics, METRIC_REQUESTS,
              "gateway_requests_total{provider=\"openai\",model=\"other\",status=\"success\"} 100001"));
    request_metrics_free(&metrics);
}

/* Even where everything is listed and the names are as long and as ill-chosen as can be, a page has a bound
 * that the answer to one request can hold, and every request is on it. */
static void
too_many_of_anything_fold_into_other(void **state)
{
    (void)state;
    enum { PAIRS = 1000 };
    request_metrics_t *metrics = request_metrics_new(3);
    char name[200];
    memset(name, '"', sizeof name);
    for (unsigned i = 0; i < PAIRS; i++) {
        struct event_record record = good;
        char digits[8];
        (void)snprintf(digits, sizeof digits, "%06u", i);
        memcpy(name, digits, 6);
        record.model = dyn_slice(name, sizeof name);
        record.key_id = record.provider = record.model;
        for (unsigned cell = 0; cell < 3; cell++) {
            request_cell_count(request_metrics_cell(metrics, cell), &record);
        }
    }
    char *requests = page_of(metrics, METRIC_REQUESTS);
    unsigned total = 0;
    for (const char *at = requests; (at = strstr(at, "\"} ")) != NULL; at++) {
        total += (unsigned)strtoul(at + 3, NULL, 10);
    }
    assert_int_equal(total, 3 * PAIRS);
    assert_non_null(strstr(requests, "{provider=\"other\",model=\"other\",status=\"success\"} "));
    free(requests);
    assert_true(shows(metrics, METRIC_KEY_REQUESTS,
                      "gateway_key_requests_total{key_id=\"other\",status=\"success\"} 2811"));
    size_t bytes = 0;
    for (size_t i = 0; i < METRIC_FAMILIES; i++) {
        if (metric_families[i].source == METRIC_REQUEST) {
            char *page = page_of(metrics, (enum metric_family_id)i);
            bytes += strlen(page);
            free(page);
        }
    }
    assert_true(bytes < ENV_HELD_ANSWER_MAX - 64 * 1024);
    request_metrics_free(&metrics);
}

static void
labels_are_escaped_and_always_utf8(void **state)
{
    (void)state;
    request_metrics_t *metrics = request_metrics_new(1);
    struct event_record record = good;
    record.model = DYN_SLICE("a\\b\"c\nd\xff");
    record.provider = dyn_slice(NULL, 0);
    request_cell_count(request_metrics_cell(metrics, 0), &record);
    assert_true(shows(metrics, METRIC_TOKENS_IN,
                      "gateway_tokens_input_total{provider=\"none\",model=\"a\\\\b\\\"c\\nd?\"} 10"));
    request_metrics_free(&metrics);
}

static void
extra_calls_and_redeliveries_are_counted_apart(void **state)
{
    (void)state;
    request_metrics_t *metrics = request_metrics_new(1);
    struct request_cell *cell = request_metrics_cell(metrics, 0);
    static const uint64_t calls[] = {0, 1, 3};
    for (size_t i = 0; i < DYN_ARRAY_LEN(calls); i++) {
        struct event_record record = good;
        record.upstream_calls = calls[i];
        record.redelivered = i;
        request_cell_count(cell, &record);
    }
    assert_true(shows(metrics, METRIC_UPSTREAM_CALLS, "gateway_upstream_calls_total 4"));
    assert_true(shows(metrics, METRIC_UPSTREAM_EXTRA, "gateway_upstream_calls_extra_total 2"));
    assert_true(shows(metrics, METRIC_REDELIVERIES, "gateway_redeliveries_total 3"));
    request_metrics_free(&metrics);
}

static size_t
commas(const char *text)
{
    size_t n = 0;
    for (; text != NULL && *text != '\0'; text++) {
        n += *text == ',';
    }
    return n;
}

/* The value of each node's number has a family with the labels that it needs, and only those. */
static void
the_table_is_consistent(void **state)
{
    (void)state;
    for (size_t i = 0; i < NODE_VALUES; i++) {
        const struct metric_family *family = &metric_families[node_value_rows[i].family];
        assert_int_equal(family->source, METRIC_NODE);
        assert_int_equal(node_value_rows[i].label != NULL, family->labels[0] != '\0');
        assert_int_equal(commas(family->labels), commas(node_value_rows[i].label));
    }
    for (size_t i = 0; i < METRIC_FAMILIES; i++) {
        const char *name = metric_families[i].name;
        size_t len = strlen(name);
        bool is_total = len > 6 && strcmp(name + len - 6, "_total") == 0;
        assert_int_equal(is_total, metric_families[i].type == METRIC_COUNTER);
        assert_null(strpbrk(metric_families[i].help, "\n\\"));
        for (size_t k = 0; k < i; k++) {
            assert_string_not_equal(metric_families[k].name, name);
        }
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_answer_is_counted_in_each_family),
        cmocka_unit_test(a_failure_is_told_from_a_refusal),
        cmocka_unit_test(a_hundred_thousand_invented_models_add_no_series),
        cmocka_unit_test(too_many_of_anything_fold_into_other),
        cmocka_unit_test(labels_are_escaped_and_always_utf8),
        cmocka_unit_test(extra_calls_and_redeliveries_are_counted_apart),
        cmocka_unit_test(the_table_is_consistent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
