/* The page of GET /metrics, read by a strict parser of the text format: every line is what the format allows,
 * every family is whole and told once, histograms add up; and what other processes tell is added the right
 * way. */
#include "actors/metrics/nodes.h"
#include "actors/metrics/page.h"

#include "core/clock.h"

#include <ctype.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/* ---- a parser that takes nothing on trust ---- */

struct reader {
    const char *at;
    char family[128]; /* that the last HELP and TYPE named */
    char type[16];
    char seen[128][128];
    size_t n_seen;
    char series[512]; /* of a histogram: its labels without `le` */
    double last_bucket;
    double last_count;
    unsigned samples;
};

static void
take_name(struct reader *reader, char *out, size_t size)
{
    size_t len = 0;
    while (isalnum((unsigned char)reader->at[len]) || reader->at[len] == '_' || reader->at[len] == ':') {
        len++;
    }
    assert_true(len > 0 && len < size && !isdigit((unsigned char)reader->at[0]));
    memcpy(out, reader->at, len);
    out[len] = '\0';
    reader->at += len;
}

static void
expect(struct reader *reader, const char *text)
{
    size_t len = strlen(text);
    if (strncmp(reader->at, text, len) != 0) {
        fail_msg("expected '%s' at: %.60s", text, reader->at);
    }
    reader->at += len;
}

/* HELP, then TYPE of the same name, which was not there before. */
static void
read_head(struct reader *reader)
{
    expect(reader, "# HELP ");
    take_name(reader, reader->family, sizeof reader->family);
    expect(reader, " ");
    size_t len = strcspn(reader->at, "\n");
    assert_true(len > 0 && memchr(reader->at, '\\', len) == NULL);
    reader->at += len;
    expect(reader, "\n# TYPE ");
    expect(reader, reader->family);
    expect(reader, " ");
    take_name(reader, reader->type, sizeof reader->type);
    expect(reader, "\n");
    for (size_t i = 0; i < reader->n_seen; i++) {
        assert_string_not_equal(reader->seen[i], reader->family);
    }
    (void)snprintf(reader->seen[reader->n_seen++], sizeof reader->seen[0], "%s", reader->family);
    reader->series[0] = '\0';
}

static void
take_value(struct reader *reader, char *out, size_t size)
{
    size_t len = 0;
    expect(reader, "\"");
    while (*reader->at != '"') {
        assert_true(*reader->at != '\n' && *reader->at != '\0' && len + 2 < size);
        if (*reader->at == '\\') {
            assert_non_null(strchr("\\\"n", reader->at[1]));
            out[len++] = *reader->at++;
        }
        out[len++] = *reader->at++;
    }
    out[len] = '\0';
    reader->at++;
}

/* Cumulative, ending with +Inf that equals _count. */
static void
check_histogram(struct reader *reader, const char *suffix, const char *labels, double le, double value)
{
    if (strcmp(suffix, "_bucket") != 0) {
        assert_string_equal(labels, reader->series);
        if (strcmp(suffix, "_count") == 0) {
            assert_true(value == reader->last_count && isinf(reader->last_bucket));
            reader->series[0] = '\0';
        }
        return;
    }
    if (strcmp(labels, reader->series) != 0) {
        assert_string_equal(reader->series, "");
        (void)snprintf(reader->series, sizeof reader->series, "%s", labels);
        reader->last_bucket = 0;
        reader->last_count = 0;
    }
    assert_true(le > reader->last_bucket && value >= reader->last_count);
    reader->last_bucket = le;
    reader->last_count = value;
}

static void
read_sample(struct reader *reader)
{
    char name[160];
    char labels[512] = "-";
    double le = 0;
    take_name(reader, name, sizeof name);
    size_t family_len = strlen(reader->family);
    assert_memory_equal(name, reader->family, family_len);
    const char *suffix = name + family_len;
    bool is_histogram = strcmp(reader->type, "histogram") == 0;
    assert_true(is_histogram ? strcmp(suffix, "_bucket") == 0 || strcmp(suffix, "_sum") == 0 ||
                                   strcmp(suffix, "_count") == 0
                             : *suffix == '\0');
    for (bool first = true; *reader->at == '{' || *reader->at == ','; first = false) {
        char label[64];
        char value[300];
        assert_int_equal(*reader->at, first ? '{' : ',');
        reader->at++;
        take_name(reader, label, sizeof label);
        expect(reader, "=");
        take_value(reader, value, sizeof value);
        if (strcmp(label, "le") == 0) {
            le = strtod(value, NULL);
        } else {
            size_t len = strlen(labels);
            (void)snprintf(labels + len, sizeof labels - len, "%s=%s;", label, value);
        }
        if (*reader->at == '}') {
            break;
        }
    }
    expect(reader, labels[1] != '\0' || le > 0 ? "} " : " ");
    char *end = NULL;
    double value = strtod(reader->at, &end);
    assert_true(end > reader->at && value >= 0);
    reader->at = end;
    expect(reader, "\n");
    if (is_histogram) {
        check_histogram(reader, suffix, labels, le, value);
    }
    reader->samples++;
}

static unsigned
read_page(const char *page)
{
    struct reader *reader = dyn_zalloc(sizeof *reader);
    reader->at = page;
    while (*reader->at != '\0') {
        if (*reader->at == '#') {
            read_head(reader);
        } else {
            read_sample(reader);
        }
    }
    unsigned samples = reader->samples;
    free(reader);
    return samples;
}

/* ---- pages ---- */

static struct metrics_facts
facts_with(request_metrics_t *requests)
{
    return (struct metrics_facts){.requests = requests,
                                  .nodes = 3,
                                  .configs = 2,
                                  .config = DYN_SLICE("abc"),
                                  .version = DYN_SLICE("0.1.0"),
                                  .events_missed = 7};
}

static void
a_page_is_what_the_format_allows(void **state)
{
    (void)state;
    request_metrics_t *requests = request_metrics_new(2);
    struct metrics_facts facts = facts_with(requests);
    struct dyn_buf page = DYN_BUF_INIT;
    metrics_write_page(&facts, &page);
    unsigned empty = read_page(dyn_buf_cstr(&page));
    assert_true(empty > NODE_VALUES);
    static const char *const models[] = {"gpt-4o", "a\"b\\c\nd", "h\xc3\xa9llo", ""};
    for (unsigned i = 0; i < 400; i++) {
        struct event_record record = {
            .provider = i % 3 == 0 ? DYN_SLICE("openai") : DYN_SLICE("mistral"),
            .model = dyn_slice_str(models[i % 4]),
            .model_listed = i % 5 != 0,
            .key_id = DYN_SLICE("master"),
            .failed = i % 7 == 0,
            .error_code = DYN_SLICE("upstream_error"),
            .attempts = i % 2,
            .stream = true,
            .latency_us = (uint64_t)i * i * 5000,
            .ttft_us = (uint64_t)i * 1000,
            .tokens_out = i,
            .cost_model_found = true,
            .cost_usd = 0.000125,
        };
        request_cell_count(request_metrics_cell(requests, i % 2), &record);
    }
    for (size_t i = 0; i < NODE_VALUES; i++) {
        facts.values.values[i] = i * 1000003;
    }
    dyn_buf_clear(&page);
    metrics_write_page(&facts, &page);
    assert_true(read_page(dyn_buf_cstr(&page)) > empty + 100);
    assert_non_null(strstr(dyn_buf_cstr(&page), "\ngateway_nodes 3\n"));
    assert_non_null(strstr(dyn_buf_cstr(&page), "\ngateway_config_hashes 2\n"));
    assert_non_null(strstr(dyn_buf_cstr(&page), "\ngateway_config_info{hash=\"abc\"} 1\n"));
    assert_non_null(strstr(dyn_buf_cstr(&page), "\ngateway_build_info{version=\"0.1.0\"} 1\n"));
    assert_non_null(strstr(dyn_buf_cstr(&page), "\ngateway_metrics_events_missed_total 7\n"));
    dyn_buf_fini(&page);
    request_metrics_free(&requests);
}

static double
value_of(const char *page, const char *name)
{
    char line[128];
    (void)snprintf(line, sizeof line, "\n%s ", name);
    const char *at = strstr(page, line);
    assert_non_null(at);
    return strtod(at + strlen(line), NULL);
}

static void
the_process_is_this_one(void **state)
{
    (void)state;
    request_metrics_t *requests = request_metrics_new(1);
    struct metrics_facts facts = facts_with(requests);
    struct dyn_buf page = DYN_BUF_INIT;
    metrics_write_page(&facts, &page);
    const char *text = dyn_buf_cstr(&page);
    double now = (double)dyn_wall_us(&dyn_clock_system) / 1e6;
    double start = value_of(text, "process_start_time_seconds");
    assert_true(start > now - 3600 && start < now + 5);
    assert_true(value_of(text, "process_resident_memory_bytes") > 500000);
    assert_true(value_of(text, "process_open_fds") >= 3);
    assert_true(value_of(text, "process_max_fds") >= value_of(text, "process_open_fds"));
    dyn_buf_fini(&page);
    request_metrics_free(&requests);
}

/* ---- other processes ---- */

static struct node_report
report_of(const char *origin, const char *config, uint64_t lost, uint64_t connections)
{
    struct node_report report = {.origin = dyn_slice_str(origin), .config = dyn_slice_str(config)};
    report.values.values[NODE_heartbeats_lost] = lost;
    report.values.values[NODE_connections_open] = connections;
    return report;
}

static const char node_a[] = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
static const char node_b[] = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

static void
a_report_comes_back_as_it_was(void **state)
{
    (void)state;
    struct node_report report = {
        .origin = dyn_slice_str(node_a), .config = DYN_SLICE("cafe"), .version = DYN_SLICE("1.2")};
    for (size_t i = 0; i < NODE_VALUES; i++) {
        report.values.values[i] = i % 3 == 0 ? 0 : UINT64_MAX - i;
    }
    dyn_block_t *map = node_report_encode(&report);
    struct node_report again;
    assert_int_equal(node_report_decode(dyn_block_slice(map), &again), 0);
    assert_true(dyn_slice_eq(again.origin, report.origin) && dyn_slice_eq(again.config, report.config) &&
                dyn_slice_eq(again.version, report.version));
    assert_memory_equal(&again.values, &report.values, sizeof report.values);
    dyn_block_unref(&map);
    /* Of a later version, and of nobody. */
    assert_int_equal(
        node_report_decode(DYN_SLICE("\x83\xa6origin\xd9\x20"
                                     "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\xa1x\x91\x01\xa6values\x82\xa3new\x05"
                                     "\xaf"
                                     "heartbeats_lost\x07"),
                           &again),
        0);
    assert_int_equal(again.values.values[NODE_heartbeats_lost], 7);
    assert_int_equal(node_report_decode(DYN_SLICE("\x81\xa6origin\xa1"
                                                  "a"),
                                        &again),
                     -1);
    assert_int_equal(node_report_decode(DYN_SLICE("\x80"), &again), -1);
    assert_int_equal(node_report_decode(DYN_SLICE("\x01"), &again), -1);
    assert_int_equal(node_report_decode(dyn_slice(NULL, 0), &again), -1);
}

static void
counters_stay_when_a_process_goes_and_gauges_do_not(void **state)
{
    (void)state;
    nodes_t *nodes = nodes_new();
    struct node_report a = report_of(node_a, "one", 5, 100);
    struct node_report b = report_of(node_b, "two", 7, 10);
    nodes_heard(nodes, &a, 1000000);
    nodes_heard(nodes, &b, 1000000);
    struct node_values sum = {{0}};
    struct nodes_view view = nodes_sum(nodes, DYN_SLICE("one"), 2000000, &sum);
    assert_int_equal(view.live, 2);
    assert_int_equal(view.other_configs, 1);
    assert_int_equal(sum.values[NODE_heartbeats_lost], 12);
    assert_int_equal(sum.values[NODE_connections_open], 110);
    /* a tells again, and what overtook it comes late; b is silent. */
    uint64_t later = 1000000 + (uint64_t)METRICS_NODE_GONE_MS * 1000;
    a = report_of(node_a, "one", 6, 90);
    nodes_heard(nodes, &a, later - 1);
    a = report_of(node_a, "one", 4, 95);
    nodes_heard(nodes, &a, later);
    sum = (struct node_values){{0}};
    view = nodes_sum(nodes, DYN_SLICE("one"), later, &sum);
    assert_int_equal(view.live, 1);
    assert_int_equal(view.other_configs, 0);
    assert_int_equal(sum.values[NODE_heartbeats_lost], 13);
    assert_int_equal(sum.values[NODE_connections_open], 95);
    nodes_free(&nodes);
}

static void
tell_breakers(nodes_t *nodes, const char *origin, enum health_state one, uint64_t now_us)
{
    struct node_breakers breakers = {NULL, 0};
    struct node_report report = report_of(origin, "", 1, 1);
    struct node_report heard;
    node_breakers_add(&breakers, DYN_SLICE("one"), one);
    node_breakers_add(&breakers, DYN_SLICE("two \"2\""), HEALTH_CLOSED);
    report.breakers = &breakers;
    dyn_block_t *block = node_report_encode(&report);
    assert_int_equal(node_report_decode(dyn_block_slice(block), &heard), 0);
    nodes_heard(nodes, &heard, now_us);
    dyn_block_unref(&block);
    node_breakers_fini(&breakers);
}

static void
assert_breakers(nodes_t *nodes, uint64_t now_us, const char *expected)
{
    struct metrics_facts facts = {.requests = request_metrics_new(1)};
    struct dyn_buf page = DYN_BUF_INIT;
    nodes_breakers(nodes, now_us, &facts.breakers);
    metrics_write_page(&facts, &page);
    assert_non_null(strstr(dyn_buf_cstr(&page), expected));
    node_breakers_fini(&facts.breakers);
    request_metrics_free(&facts.requests);
    dyn_buf_fini(&page);
}

/* Two processes call it: what is shown is the worst of what both say lately. */
static void
a_breaker_stands_as_the_worst_of_its_processes(void **state)
{
    (void)state;
    const uint64_t gone_us = (uint64_t)METRICS_NODE_GONE_MS * 1000;
    nodes_t *nodes = nodes_new();
    tell_breakers(nodes, node_a, HEALTH_OPEN, 1000000);
    tell_breakers(nodes, node_b, HEALTH_HALF_OPEN, 1000001);
    assert_breakers(nodes, 1000001,
                    "gateway_circuit_breaker_state{provider=\"one\"} 1\n"
                    "gateway_circuit_breaker_state{provider=\"two \\\"2\\\"\"} 0\n");
    assert_breakers(nodes, 1000000 + gone_us, "gateway_circuit_breaker_state{provider=\"one\"} 2\n");
    tell_breakers(nodes, node_a, HEALTH_CLOSED, 1000000 + gone_us);
    tell_breakers(nodes, node_b, HEALTH_CLOSED, 1000000 + gone_us);
    assert_breakers(nodes, 1000000 + gone_us, "gateway_circuit_breaker_state{provider=\"one\"} 0\n");
    nodes_free(&nodes);
}

static void
there_are_only_so_many_breakers(void **state)
{
    (void)state;
    struct node_breakers breakers = {NULL, 0};
    for (unsigned i = 0; i < 2 * NODE_BREAKERS_MAX; i++) {
        char name[16];
        int len = snprintf(name, sizeof name, "t%u", i);
        node_breakers_add(&breakers, dyn_slice(name, (size_t)len), HEALTH_CLOSED);
    }
    assert_int_equal(breakers.n, NODE_BREAKERS_MAX);
    node_breakers_fini(&breakers);
    node_breakers_read(&breakers, DYN_SLICE("\x02\xa1"
                                            "a"));
    /* A state of a later version, and one of ours. */
    node_breakers_read(&breakers, DYN_SLICE("\x82\xa1"
                                            "a\x07\xa1"
                                            "b\x02"));
    assert_int_equal(breakers.n, 1);
    assert_int_equal(breakers.items[0].name[0], 'b');
    node_breakers_fini(&breakers);
}

static void
too_many_processes_lose_no_count(void **state)
{
    (void)state;
    nodes_t *nodes = nodes_new();
    for (unsigned i = 0; i < 3 * METRICS_NODES_MAX; i++) {
        char origin[33];
        (void)snprintf(origin, sizeof origin, "%032u", i);
        struct node_report report = report_of(origin, "", 1, 1);
        nodes_heard(nodes, &report, 1000 + i);
    }
    struct node_values sum = {{0}};
    struct nodes_view view = nodes_sum(nodes, DYN_SLICE(""), 5000, &sum);
    assert_int_equal(view.live, METRICS_NODES_MAX);
    assert_int_equal(sum.values[NODE_heartbeats_lost], 3 * METRICS_NODES_MAX);
    assert_int_equal(sum.values[NODE_connections_open], METRICS_NODES_MAX);
    nodes_free(&nodes);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_page_is_what_the_format_allows),
        cmocka_unit_test(the_process_is_this_one),
        cmocka_unit_test(a_report_comes_back_as_it_was),
        cmocka_unit_test(counters_stay_when_a_process_goes_and_gauges_do_not),
        cmocka_unit_test(a_breaker_stands_as_the_worst_of_its_processes),
        cmocka_unit_test(there_are_only_so_many_breakers),
        cmocka_unit_test(too_many_processes_lose_no_count),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
