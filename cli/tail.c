/* dynabus tail: events as they happen (04-EVENTS), one JSON object a line. What is missing is said on
 * standard error. It uses nothing of the gateway but what any subscriber has. */
#include "bus/subscriber.h"
#include "cli/bus_options.h"
#include "cli/cli.h"
#include "core/buf.h"
#include "proto/mp_json.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdio_ext.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum {
    LOOK_MS = 250,         /* how soon it sees that nobody reads any more */
    NOBODY_MS = 3500,      /* a publisher that is there lets us in within a few milliseconds */
    LINES_MAX = 64 * 1024, /* of events that came together are written together */
};

struct tail_options {
    struct bus_options bus;
    const char *topic;
    bool replays;
    uint64_t since;
};

static volatile sig_atomic_t ended;

static void
end(int number)
{
    (void)number;
    ended = 1;
}

/* Without SA_RESTART: who waits is woken. */
static void
take_signals(void)
{
    struct sigaction action = {.sa_handler = end};
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    (void)sigaction(SIGINT, &action, NULL);
    (void)sigaction(SIGTERM, &action, NULL);
    (void)sigaction(SIGPIPE, &ignore, NULL);
}

static long
ms_since(const struct timespec *start)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (long)(now.tv_sec - start->tv_sec) * 1000 + (now.tv_nsec - start->tv_nsec) / 1000000;
}

/* The other end of a pipe was closed: `dynabus tail | head -1`. */
static bool
nobody_reads(void)
{
    struct pollfd item = {.fd = STDOUT_FILENO};
    return poll(&item, 1, 0) > 0 && (item.revents & (POLLERR | POLLHUP | POLLNVAL)) != 0;
}

/* 0; 1: nobody reads any more; -1: it can't be written. */
static int
write_lines(struct dyn_buf *lines)
{
    size_t len = lines->len;
    bool is_written = fwrite(lines->data, 1, len, stdout) == len && fflush(stdout) == 0;
    dyn_buf_clear(lines);
    return is_written ? 0 : errno == EPIPE ? 1 : -1;
}

static int
add_line(const struct subscriber_event *event, struct dyn_buf *lines)
{
    if (event->missed > 0) {
        int result = write_lines(lines); /* what was told before comes before */
        if (result != 0) {
            return result;
        }
        (void)fprintf(
            stderr, "dynabus tail: %llu events of %.*s were missed before sequence %llu of node %.*s\n",
            (unsigned long long)event->missed, (int)event->topic.len, event->topic.data,
            (unsigned long long)event->record.sequence, (int)event->record.node.len, event->record.node.data);
    }
    struct mp_cursor cursor = mp_cursor(event->map);
    mp_write_json(&cursor, lines);
    dyn_buf_add_char(lines, '\n');
    return 0;
}

/* Events that came together are written together: a write for each costs more than its line does. */
static int
take_event(subscriber_t *subscriber, struct dyn_buf *lines, struct dyn_err *err)
{
    struct subscriber_event event;
    int got = subscriber_next(subscriber, lines->len > 0 ? 0 : LOOK_MS, &event, err);
    int result = got > 0 ? add_line(&event, lines) : got;
    if (result != 0) {
        return result;
    }
    if (lines->len > 0 && (got == 0 || lines->len >= LINES_MAX)) {
        return write_lines(lines);
    }
    return got == 0 && nobody_reads() ? 1 : 0;
}

static int
why_nobody(const struct tail_options *options, const subscriber_t *subscriber, struct dyn_err *err)
{
    const char *refusal = subscriber_refusal(subscriber);
    if (refusal[0] != '\0') {
        return dyn_err_set(err, DYN_E_CONFIG, "%s", refusal);
    }
    return dyn_err_set(err, DYN_E_GONE,
                       "nobody publishes at %s; is the gateway running, and is its bus open there?",
                       options->bus.bus);
}

static int
follow(const struct tail_options *options, subscriber_t *subscriber, struct dyn_err *err)
{
    struct dyn_buf lines = DYN_BUF_INIT;
    struct timespec start;
    bool was_connected = false;
    int result = 0;
    (void)clock_gettime(CLOCK_MONOTONIC, &start);
    while (!ended && result == 0) {
        result = take_event(subscriber, &lines, err);
        was_connected = was_connected || subscriber_connected(subscriber) > 0;
        if (!was_connected && ms_since(&start) > NOBODY_MS) {
            result = why_nobody(options, subscriber, err);
        }
    }
    if (lines.len > 0 && result <= 0) { /* a signal came in between, or a refusal */
        int written = write_lines(&lines);
        result = result != 0 ? result : written;
    }
    dyn_buf_fini(&lines);
    if (result < 0 && err->code == DYN_OK) {
        (void)dyn_err_set(err, DYN_E_IO, "cannot write to standard output: %s", strerror(errno));
    }
    return result < 0 ? -1 : 0;
}

static int
run(const struct tail_options *options, struct dyn_err *err)
{
    bus_security_t *security = bus_options_security(&options->bus, err);
    if (security == NULL) {
        return -1;
    }
    const struct subscriber_options wanted = {
        .routers = &options->bus.bus,
        .n_routers = 1,
        .security = security,
        .topic = options->topic,
        .credential = options->bus.api_key,
        .replays = options->replays,
        .fills = options->replays,
        .since = options->since,
    };
    subscriber_t *subscriber = subscriber_open(&wanted, err);
    int result = subscriber != NULL ? follow(options, subscriber, err) : -1;
    subscriber_close(&subscriber);
    bus_security_free(&security);
    return result;
}

static int
parse_since(const char *text, struct tail_options *options)
{
    char *rest = NULL;
    errno = 0;
    options->since = strtoull(text, &rest, 10);
    options->replays = true;
    if (*text < '0' || *text > '9' || *rest != '\0' || errno != 0) {
        (void)fprintf(stderr, "dynabus tail: --since takes the number of an event, not '%s'\n", text);
        return -1;
    }
    return 0;
}

static int
parse(int argc, char **argv, struct tail_options *options)
{
    enum { SINCE = BUS_OPTION_END };
    static const struct option known[] = {
        BUS_OPTION_ROWS,
        {"since", required_argument, NULL, SINCE},
        {0},
    };
    for (int option; (option = getopt_long(argc, argv, "", known, NULL)) != -1;) {
        if (option == SINCE) {
            if (parse_since(optarg, options) != 0) {
                return -1;
            }
        } else if (!bus_options_take(&options->bus, option, optarg)) {
            return -1;
        }
    }
    if (argc - optind > 1 || !bus_options_are_whole(&options->bus)) {
        return -1;
    }
    options->topic = optind < argc ? argv[optind] : NULL;
    return 0;
}

int
cli_tail(int argc, char **argv)
{
    struct tail_options options = {.bus = bus_options_default()};
    struct dyn_err err = {.code = DYN_OK};
    if (parse(argc, argv, &options) != 0) {
        return cli_wrong_usage("tail");
    }
    take_signals();
    if (run(&options, &err) != 0) {
        (void)fprintf(stderr, "dynabus tail: %s\n", err.text);
        return CLI_FAILED;
    }
    if (nobody_reads()) {
        __fpurge(stdout); /* what could not be written is nobody's any more */
        clearerr(stdout);
    }
    return CLI_OK;
}
