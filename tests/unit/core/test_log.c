/* The log, read back through a pipe: format, escapes, limits, what happens when nobody reads. */
#include "core/buf.h"
#include "core/clock.h"
#include "core/err.h"
#include "core/json_scan.h"
#include "core/log.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define STAMP "2026-11-22T16:34:05.123Z"

static const uint64_t noon_us = 1795365245123456u; /* STAMP and some microseconds */

struct fixture {
    int read_fd;
    int write_fd;
    uint64_t wall_us;
    struct dyn_clock clock;
    char text[65536]; /* what was read last */
};

static uint64_t
read_time(void *self)
{
    const struct fixture *fixture = self;
    return fixture->wall_us;
}

static int
open_pipe(void **state)
{
    struct fixture *fixture = dyn_zalloc(sizeof *fixture);
    int ends[2];
    assert_int_equal(pipe2(ends, O_NONBLOCK), 0);
    fixture->read_fd = ends[0];
    fixture->write_fd = ends[1];
    fixture->wall_us = noon_us;
    fixture->clock = (struct dyn_clock){.mono_us = read_time, .wall_us = read_time, .self = fixture};
    dyn_log_set_clock(&fixture->clock);
    dyn_log_configure(fixture->write_fd, DYN_LOG_DEBUG, DYN_LOG_FORMAT_JSON);
    *state = fixture;
    return 0;
}

static int
close_pipe(void **state)
{
    struct fixture *fixture = *state;
    dyn_log_set_clock(NULL);
    dyn_log_configure(STDERR_FILENO, DYN_LOG_INFO, DYN_LOG_FORMAT_JSON);
    (void)close(fixture->read_fd);
    (void)close(fixture->write_fd);
    free(fixture);
    return 0;
}

/* All that was written since the last call, at most what a pipe holds. */
static const char *
written(struct fixture *fixture)
{
    size_t len = 0;
    for (ssize_t got; len < sizeof fixture->text - 1; len += (size_t)got) {
        got = read(fixture->read_fd, fixture->text + len, sizeof fixture->text - 1 - len);
        if (got <= 0) {
            assert_true(got == 0 || errno == EAGAIN);
            break;
        }
    }
    fixture->text[len] = '\0';
    return fixture->text;
}

static size_t
count_lines(const char *text)
{
    size_t lines = 0;
    for (; (text = strchr(text, '\n')) != NULL; text++) {
        lines++;
    }
    return lines;
}

static void
assert_json_line(const char *line, size_t len)
{
    struct json_value value;
    struct json_error error = {"", 0};
    if (json_scan(dyn_slice(line, len), 4, &value, &error) != 0) {
        fail_msg("%s at byte %zu of %.*s", error.what, error.offset, (int)len, line);
    }
    assert_int_equal(value.type, JSON_OBJECT);
}

static void
json_lines_have_every_field(void **state)
{
    struct fixture *fixture = *state;
    dyn_log(DYN_LOG_INFO, "edge.listen", "listening", DYN_LOG_STR("address", "127.0.0.1:8080"),
            DYN_LOG_SLICE("part", dyn_slice("abcdef", 3)), DYN_LOG_INT("low", INT64_MIN),
            DYN_LOG_UINT("high", UINT64_MAX), DYN_LOG_BOOL("tls", false), DYN_LOG_SECRET("key"),
            DYN_LOG_STR("proxy", NULL), DYN_LOG_STR("empty", ""));
    assert_string_equal(written(fixture),
                        "{\"time\":\"" STAMP "\",\"level\":\"info\",\"event\":\"edge.listen\","
                        "\"msg\":\"listening\",\"address\":\"127.0.0.1:8080\",\"part\":\"abc\","
                        "\"low\":-9223372036854775808,\"high\":18446744073709551615,\"tls\":false,"
                        "\"key\":\"***\",\"proxy\":null,\"empty\":\"\"}\n");
}

static void
text_lines_quote_what_is_not_one_word(void **state)
{
    struct fixture *fixture = *state;
    dyn_log_configure(fixture->write_fd, DYN_LOG_INFO, DYN_LOG_FORMAT_TEXT);
    dyn_log(DYN_LOG_WARN, "a.b", "went wrong");
    dyn_log(DYN_LOG_ERROR, "a.c", NULL, DYN_LOG_STR("word", "x:1"), DYN_LOG_STR("two", "a b"),
            DYN_LOG_STR("sign", "a=b"), DYN_LOG_STR("empty", ""), DYN_LOG_STR("none", NULL),
            DYN_LOG_BOOL("yes", true), DYN_LOG_SECRET("key"), DYN_LOG_INT("n", -5));
    assert_string_equal(written(fixture),
                        STAMP " warn  a.b: went wrong\n" STAMP " error a.c word=x:1 two=\"a b\" sign=\"a=b\" "
                              "empty=\"\" none=null yes=true key=*** n=-5\n");
}

/* Nothing that comes from outside can end a line, forge one, or talk to the terminal. */
static void
control_characters_are_escaped(void **state)
{
    struct fixture *fixture = *state;
    for (int format = DYN_LOG_FORMAT_TEXT; format <= DYN_LOG_FORMAT_JSON; format++) {
        dyn_log_configure(fixture->write_fd, DYN_LOG_DEBUG, (enum dyn_log_format)format);
        char all[256];
        for (unsigned i = 0; i < 256; i++) {
            all[i] = (char)i;
        }
        dyn_log(DYN_LOG_INFO, "a.b", "line\nline \x1b[31m\xc2\x9b",
                DYN_LOG_SLICE("all", dyn_slice(all, 256)));
        const char *text = written(fixture);
        assert_int_equal(count_lines(text), 1);
        for (const char *c = text; *c != '\n'; c++) {
            assert_true((unsigned char)*c >= 0x20);
        }
        assert_non_null(strstr(text, "line\\nline \\u001b[31m\\u009b"));
        if (format == DYN_LOG_FORMAT_JSON) {
            assert_json_line(text, strlen(text));
        }
    }
}

static void
levels_are_a_threshold(void **state)
{
    struct fixture *fixture = *state;
    dyn_log_configure(fixture->write_fd, DYN_LOG_WARN, DYN_LOG_FORMAT_TEXT);
    assert_false(dyn_log_enabled(DYN_LOG_INFO));
    assert_true(dyn_log_enabled(DYN_LOG_WARN));
    dyn_log(DYN_LOG_DEBUG, "a", "no");
    dyn_log(DYN_LOG_INFO, "a", "no");
    dyn_log_write(DYN_LOG_INFO, "a", "no", NULL, 0);
    dyn_log_access(NULL, 0);
    dyn_log(DYN_LOG_ERROR, "a", "yes");
    assert_string_equal(written(fixture), STAMP " error a: yes\n");
}

static void
real_numbers_have_three_decimals(void **state)
{
    struct fixture *fixture = *state;
    static const struct {
        double value;
        const char *text;
    } cases[] = {
        {0.0, "0"},          {-0.0, "0"},           {1.0, "1"},         {12.345, "12.345"},
        {12.3, "12.3"},      {12.05, "12.05"},      {0.001, "0.001"},   {0.0004, "0"},
        {-0.0004, "0"},      {-1.5, "-1.5"},        {999.9996, "1000"}, {1e14, "100000000000000"},
        {-2e300, "-2e+300"}, {(double)NAN, "null"}, {HUGE_VAL, "null"}, {-HUGE_VAL, "null"},
    };
    for (size_t i = 0; i < DYN_ARRAY_LEN(cases); i++) {
        const struct dyn_log_field field = DYN_LOG_REAL("x", cases[i].value);
        dyn_log_access(&field, 1);
        char expected[128] = "\"x\":";
        (void)strncat(expected, cases[i].text, 64);
        (void)strncat(expected, "}", 2);
        const char *line = written(fixture);
        assert_json_line(line, strlen(line));
        if (strstr(line, expected) == NULL) {
            fail_msg("%s in %s", expected, line);
        }
    }
}

/* A value of every length around the bound: one well-formed line of at most 4096 bytes. */
static void
long_lines_are_cut_and_marked(void **state)
{
    struct fixture *fixture = *state;
    static char value[8000];
    for (size_t i = 0; i + 2 <= sizeof value; i += 2) {
        memcpy(value + i, i % 64 == 0 ? "\n\"" : "\xc3\xa4", 2);
    }
    for (int format = DYN_LOG_FORMAT_TEXT; format <= DYN_LOG_FORMAT_JSON; format++) {
        dyn_log_configure(fixture->write_fd, DYN_LOG_DEBUG, (enum dyn_log_format)format);
        for (size_t len = 3700; len < 4300; len += 2) {
            const struct dyn_log_field fields[] = {DYN_LOG_SLICE("long", dyn_slice(value, len)),
                                                   DYN_LOG_STR("next", "x"), DYN_LOG_INT("last", 1)};
            dyn_log_access(fields, DYN_ARRAY_LEN(fields));
            const char *line = written(fixture);
            size_t line_len = strlen(line);
            assert_true(line_len <= 4096);
            assert_int_equal(count_lines(line), 1);
            assert_int_equal(line[line_len - 1], '\n');
            bool marked = strstr(line, "truncated") != NULL;
            bool complete = strstr(line, "last") != NULL;
            assert_true(marked != complete);
            assert_true(len < 4200 || marked);
            if (format == DYN_LOG_FORMAT_JSON) {
                assert_json_line(line, line_len);
            }
        }
    }
}

static void
a_long_event_or_message_is_cut_too(void **state)
{
    struct fixture *fixture = *state;
    static char name[5000];
    memset(name, 'n', sizeof name - 1);
    dyn_log_write(DYN_LOG_INFO, name, "message", NULL, 0);
    const char *line = written(fixture);
    assert_json_line(line, strlen(line));
    dyn_log_write(DYN_LOG_INFO, "a.b", name, NULL, 0);
    line = written(fixture);
    assert_json_line(line, strlen(line));
    const struct dyn_log_field field = DYN_LOG_INT(name, 1);
    dyn_log_access(&field, 1);
    assert_string_equal(written(fixture), "{\"time\":\"" STAMP "\",\"level\":\"info\",\"event\":\"access\","
                                          "\"truncated\":true}\n");
}

static void
log_many(const char *event, int lines)
{
    for (int i = 0; i < lines; i++) {
        dyn_log(DYN_LOG_INFO, event, "again", DYN_LOG_INT("i", i));
    }
}

static void
an_event_is_limited_by_its_name(void **state)
{
    struct fixture *fixture = *state;
    log_many("a.flood", DYN_LOG_PER_SECOND + 30);
    log_many("a.other", 3);
    assert_int_equal(count_lines(written(fixture)), DYN_LOG_PER_SECOND + 3);
    dyn_log_flush(); /* the second is not over */
    assert_string_equal(written(fixture), "");

    fixture->wall_us += 1000000;
    log_many("a.flood", 1);
    const char *text = written(fixture);
    assert_int_equal(count_lines(text), 2);
    assert_non_null(strstr(text, "\"level\":\"warn\",\"event\":\"log.left_out\""));
    assert_non_null(strstr(text, "\"of\":\"a.flood\",\"lines\":30}"));

    fixture->wall_us += 1000000;
    dyn_log_flush();
    assert_string_equal(written(fixture), ""); /* said once */
}

/* Also by an access line, and for every name. */
static void
any_line_tells_what_was_left_out(void **state)
{
    struct fixture *fixture = *state;
    log_many("a.one", DYN_LOG_PER_SECOND + 1);
    fixture->wall_us += 1000000;
    log_many("a.two", DYN_LOG_PER_SECOND + 2); /* tells of a.one */
    assert_int_equal(count_lines(written(fixture)), 2 * DYN_LOG_PER_SECOND + 1);
    log_many("a.one", DYN_LOG_PER_SECOND + 3);
    (void)written(fixture);
    fixture->wall_us += 1000000;
    dyn_log_access(NULL, 0);
    const char *text = written(fixture);
    assert_int_equal(count_lines(text), 3);
    assert_non_null(strstr(text, "\"of\":\"a.two\",\"lines\":2}"));
    assert_non_null(strstr(text, "\"of\":\"a.one\",\"lines\":3}"));
}

static void
the_access_log_is_not_limited(void **state)
{
    struct fixture *fixture = *state;
    const struct dyn_log_field fields[] = {DYN_LOG_STR("path", "/v1/models"), DYN_LOG_INT("status", 200)};
    for (int i = 0; i < 200; i++) {
        dyn_log_access(fields, DYN_ARRAY_LEN(fields));
    }
    const char *text = written(fixture);
    assert_int_equal(count_lines(text), 200);
    static const char line[] = "{\"time\":\"" STAMP "\",\"level\":\"info\",\"event\":\"access\","
                               "\"path\":\"/v1/models\",\"status\":200}\n";
    assert_memory_equal(text, line, sizeof line - 1);
}

/* More names than rows: the rest are limited together, nothing is written past the table. */
static void
too_many_names_share_a_limit(void **state)
{
    struct fixture *fixture = *state;
    static char names[600][8];
    size_t lines = 0;
    for (unsigned i = 0; i < DYN_ARRAY_LEN(names); i++) {
        names[i][0] = 'e';
        names[i][1] = (char)('0' + i / 100);
        names[i][2] = (char)('0' + i / 10 % 10);
        names[i][3] = (char)('0' + i % 10);
        dyn_log_write(DYN_LOG_INFO, names[i], NULL, NULL, 0);
        lines += count_lines(written(fixture));
    }
    assert_int_equal(lines, 256 + DYN_LOG_PER_SECOND);
    fixture->wall_us += 1000000;
    dyn_log_flush();
    assert_non_null(strstr(written(fixture), "\"of\":\"other\",\"lines\":324}"));
}

static void
the_timestamp_follows_the_clock(void **state)
{
    struct fixture *fixture = *state;
    dyn_log_configure(fixture->write_fd, DYN_LOG_INFO, DYN_LOG_FORMAT_TEXT);
    static const uint64_t steps_us[] = {0, 876000, 544, 1000000, 3600000000u};
    static const char *const stamps[] = {"2026-11-22T16:34:05.123Z", "2026-11-22T16:34:05.999Z",
                                         "2026-11-22T16:34:06.000Z", "2026-11-22T16:34:07.000Z",
                                         "2026-11-22T17:34:07.000Z"};
    for (size_t i = 0; i < DYN_ARRAY_LEN(steps_us); i++) {
        fixture->wall_us += steps_us[i];
        dyn_log_access(NULL, 0);
        assert_memory_equal(written(fixture), stamps[i], strlen(stamps[i]));
    }
}

/* Nobody reads: lines are dropped whole and counted, and the process goes on. */
static void
fill_and_count(struct fixture *fixture)
{
    const struct dyn_log_field field = DYN_LOG_STR("text", "some words that fill the pipe a little faster");
    size_t lines = 0;
    while (dyn_log_dropped() < 10) {
        dyn_log_access(&field, 1);
        lines++;
        assert_true(lines < 1000000);
    }
    size_t read_lines = 0;
    for (;;) {
        const char *text = written(fixture);
        size_t len = strlen(text);
        if (len == 0) {
            break;
        }
        read_lines += count_lines(text);
    }
    assert_int_equal(read_lines + dyn_log_dropped(), lines);
    dyn_log_access(&field, 1);
    assert_int_equal(count_lines(written(fixture)), 1);
    assert_int_equal(dyn_log_dropped(), 10);
}

static void
a_full_pipe_drops_lines(void **state)
{
    fill_and_count(*state);
}

static void
a_full_blocking_pipe_drops_lines(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(fcntl(fixture->write_fd, F_SETFL, 0), 0);
    dyn_log_configure(fixture->write_fd, DYN_LOG_INFO, DYN_LOG_FORMAT_JSON);
    fill_and_count(fixture);
}

static void
a_full_blocking_socket_drops_lines(void **state)
{
    struct fixture *fixture = *state;
    int ends[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    int pipe_read = fixture->read_fd;
    fixture->read_fd = ends[0];
    assert_int_equal(fcntl(ends[0], F_SETFL, O_NONBLOCK), 0);
    dyn_log_configure(ends[1], DYN_LOG_INFO, DYN_LOG_FORMAT_JSON);
    fill_and_count(fixture);
    (void)close(ends[0]);
    dyn_log_access(NULL, 0); /* the reader is gone: no signal, one more dropped */
    assert_int_equal(dyn_log_dropped(), 11);
    (void)close(ends[1]);
    fixture->read_fd = pipe_read;
}

static void
a_broken_descriptor_is_survived(void **state)
{
    (void)state;
    dyn_log_configure(-1, DYN_LOG_INFO, DYN_LOG_FORMAT_JSON);
    dyn_log(DYN_LOG_INFO, "a.b", "to nowhere");
    assert_int_equal(dyn_log_dropped(), 1);
}

struct writer {
    pthread_t thread;
    int number;
};

static void *
write_lines(void *self)
{
    const struct writer *writer = self;
    static const char text[] = "words that make the line long enough to be torn if it could be torn at all";
    for (int i = 0; i < 2000; i++) {
        const struct dyn_log_field fields[] = {DYN_LOG_INT("w", writer->number), DYN_LOG_INT("i", i),
                                               DYN_LOG_STR("text", text)};
        dyn_log_access(fields, DYN_ARRAY_LEN(fields));
        dyn_log(DYN_LOG_INFO, "a.limited", "limited", DYN_LOG_INT("w", writer->number));
    }
    return NULL;
}

static void
lines_of_threads_do_not_mix(void **state)
{
    struct fixture *fixture = *state;
    struct writer writers[3];
    for (size_t i = 0; i < DYN_ARRAY_LEN(writers); i++) {
        writers[i].number = (int)i;
        assert_int_equal(pthread_create(&writers[i].thread, NULL, write_lines, &writers[i]), 0);
    }
    for (size_t i = 0; i < DYN_ARRAY_LEN(writers); i++) {
        assert_int_equal(pthread_join(writers[i].thread, NULL), 0);
    }
    const char *text = written(fixture);
    size_t lines = 0;
    for (const char *line = text; *line != '\0'; lines++) {
        const char *end = strchr(line, '\n');
        assert_non_null(end);
        assert_json_line(line, (size_t)(end - line));
        line = end + 1;
    }
    assert_true(lines > 100);
    assert_true(dyn_log_dropped() > 0); /* a pipe holds fewer than 6,000 of them */
}

static void
set_env(const char *level, const char *format)
{
    assert_int_equal(level ? setenv("LOG_LEVEL", level, 1) : unsetenv("LOG_LEVEL"), 0);
    assert_int_equal(format ? setenv("LOG_FORMAT", format, 1) : unsetenv("LOG_FORMAT"), 0);
}

static void
the_environment_decides(void **state)
{
    (void)state;
    static const struct {
        const char *value;
        enum dyn_log_level level;
    } cases[] = {{NULL, DYN_LOG_INFO},      {"", DYN_LOG_INFO},      {"debug", DYN_LOG_DEBUG},
                 {"info", DYN_LOG_INFO},    {"warn", DYN_LOG_WARN},  {"warning", DYN_LOG_WARN},
                 {"WARNING", DYN_LOG_WARN}, {"error", DYN_LOG_ERROR}};
    for (size_t i = 0; i < DYN_ARRAY_LEN(cases); i++) {
        set_env(cases[i].value, NULL);
        assert_int_equal(dyn_log_init_from_env(NULL), 0);
        assert_true(dyn_log_enabled(cases[i].level));
        if (cases[i].level > DYN_LOG_DEBUG) {
            assert_false(dyn_log_enabled((enum dyn_log_level)(cases[i].level - 1)));
        }
    }
    struct dyn_err err;
    set_env("loud", NULL);
    assert_int_equal(dyn_log_init_from_env(&err), -1);
    assert_int_equal(err.code, DYN_E_CONFIG);
    assert_string_equal(err.text, "LOG_LEVEL is \"loud\"; it must be debug, info, warn or error");
    set_env(NULL, "xml");
    assert_int_equal(dyn_log_init_from_env(&err), -1);
    assert_string_equal(err.text, "LOG_FORMAT is \"xml\"; it must be json or text");
    set_env(NULL, NULL);
}

/* Standard error becomes a pipe for a moment: without a terminal the log is JSON, unless told. */
static void
standard_error_is_used_without_changing_it(void **state)
{
    struct fixture *fixture = *state;
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(fcntl(ends[0], F_SETFL, O_NONBLOCK), 0);
    int saved = dup(STDERR_FILENO);
    assert_int_equal(dup2(ends[1], STDERR_FILENO), STDERR_FILENO);
    static const char *const formats[] = {NULL, "json", "TEXT"};
    for (size_t i = 0; i < DYN_ARRAY_LEN(formats); i++) {
        set_env(NULL, formats[i]);
        int outcome = dyn_log_init_from_env(NULL);
        dyn_log_access(NULL, 0);
        char line[4096];
        ssize_t len = outcome == 0 ? read(ends[0], line, sizeof line) : 0;
        assert_true(len > 0);
        assert_int_equal(line[0], i < 2 ? '{' : '2');
    }
    assert_int_equal(fcntl(STDERR_FILENO, F_GETFL) & O_NONBLOCK, 0);
    (void)dup2(saved, STDERR_FILENO);
    (void)close(saved);
    (void)close(ends[0]);
    (void)close(ends[1]);
    set_env(NULL, NULL);
    dyn_log_configure(fixture->write_fd, DYN_LOG_INFO, DYN_LOG_FORMAT_JSON);
}

int
main(void)
{
    (void)signal(SIGPIPE, SIG_DFL);
#define LOG_TEST(test) cmocka_unit_test_setup_teardown(test, open_pipe, close_pipe)
    const struct CMUnitTest tests[] = {
        LOG_TEST(json_lines_have_every_field),
        LOG_TEST(text_lines_quote_what_is_not_one_word),
        LOG_TEST(control_characters_are_escaped),
        LOG_TEST(levels_are_a_threshold),
        LOG_TEST(real_numbers_have_three_decimals),
        LOG_TEST(long_lines_are_cut_and_marked),
        LOG_TEST(a_long_event_or_message_is_cut_too),
        LOG_TEST(an_event_is_limited_by_its_name),
        LOG_TEST(any_line_tells_what_was_left_out),
        LOG_TEST(the_access_log_is_not_limited),
        LOG_TEST(too_many_names_share_a_limit),
        LOG_TEST(the_timestamp_follows_the_clock),
        LOG_TEST(a_full_pipe_drops_lines),
        LOG_TEST(a_full_blocking_pipe_drops_lines),
        LOG_TEST(a_full_blocking_socket_drops_lines),
        LOG_TEST(a_broken_descriptor_is_survived),
        LOG_TEST(lines_of_threads_do_not_mix),
        LOG_TEST(the_environment_decides),
        LOG_TEST(standard_error_is_used_without_changing_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
