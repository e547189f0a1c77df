/* A load client for benchmarks: one thread, epoll, keep-alive connections. It measures; it decides nothing,
 * and starts no server. Two modes:
 *
 *   requests  plain chat answers: requests a second, latency, errors
 *   streams   so many SSE streams at once: time to first token, the delay of each token from the mock's
 *             send to here, and tokens lost, repeated, out of order or of another call
 *
 * Closed loop: a connection asks again when it has its answer. With --rate requests begin at fixed times
 * whatever became of those before, and latency counts from the time at which a request should have begun: a
 * server that stalls is not asked less often because it stalls (coordinated omission).
 *
 * The result is one JSON object on standard output. run: stream_load MODE URL [--option value ..] */
#include "load_report.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <time.h>

enum {
    EVENTS_MAX = 256,
    WATCHDOG_MS = 250, /* how often stuck answers are looked for */
    CHECK_EVERY = 8,   /* plain answers whose tokens are read: reading all would slow the client */
    CANCEL_AFTER = 3,  /* tokens of a stream that is to be cancelled */
    REQUEST_DIGITS = 12,
    RECONNECT_ERRORS = 100, /* failed connects in a row after which there is no server */
    TIMER_SLACK_NS = 1000,  /* the default, 50 us, is half of what a request takes */
};

static const uint64_t RETRY_NS = 10000000;     /* after a failure */
static const uint64_t BACKLOG_NS = 1000000000; /* for what a rate has left over at the end */

static uint64_t
now_ns(void)
{
    struct timespec ts;
    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* ---- requests ------------------------------------------------------------------------------------ */

/* The request is the same each time but for its number, which keeps its width. */
static void
build_requests(struct load *load)
{
    const struct load_options *options = &load->options;
    size_t size = options->body_bytes + 2048;
    char *body = malloc(size);
    char *padding = malloc(options->body_bytes + 1);
    char *request = malloc(size + 1024);
    if (body == NULL || padding == NULL || request == NULL) {
        load_die("out of memory");
    }
    static const char shape[] =
        "{\"model\":\"%s\",%s\"user\":\"request-%0*d\",\"messages\":[{\"role\":\"system\","
        "\"content\":\"You answer briefly.\"},{\"role\":\"user\",\"content\":\"%s\"}]}";
    const char *stream =
        options->streams ? "\"stream\":true,\"stream_options\":{\"include_usage\":true}," : "";
    padding[0] = '\0';
    int bare = snprintf(body, size, shape, options->model, stream, REQUEST_DIGITS, 0, padding);
    size_t pad = (size_t)bare < options->body_bytes ? options->body_bytes - (size_t)bare : 0;
    for (size_t i = 0; i < pad; i++) {
        padding[i] = i % 7 == 6 ? ' ' : (char)('a' + i % 26);
    }
    padding[pad] = '\0';
    int body_len = snprintf(body, size, shape, options->model, stream, REQUEST_DIGITS, 0, padding);
    int len = snprintf(request, size + 1024,
                       "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nAccept: */*\r\n"
                       "User-Agent: stream_load\r\n%s%s%s%sContent-Length: %d\r\n\r\n%s",
                       options->path, options->host, options->key ? "Authorization: Bearer " : "",
                       options->key ? options->key : "", options->key ? "\r\n" : "",
                       options->close_each ? "Connection: close\r\n" : "", body_len, body);
    load->request_len = (size_t)len;
    load->number_at = (size_t)(strstr(request, "request-0") - request) + strlen("request-");
    for (unsigned i = 0; i < options->connections; i++) {
        load->clients[i].request = malloc(load->request_len);
        if (load->clients[i].request == NULL) {
            load_die("out of memory");
        }
        memcpy(load->clients[i].request, request, load->request_len);
    }
    free(request);
    free(padding);
    free(body);
}

static void
watch(struct load *load, struct client *client, uint32_t events)
{
    if (client->watched == events) {
        return;
    }
    struct epoll_event event = {.events = events, .data.ptr = client};
    (void)epoll_ctl(load->epoll, client->watched ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, client->wire.fd, &event);
    client->watched = events;
}

static void
disconnect(struct client *client)
{
    load_wire_close(&client->wire);
    client->watched = 0;
}

static int
connect_client(struct load *load, struct client *client)
{
    if (load_wire_connect(&client->wire, &load->options.address, load->options.tls) != 0) {
        if (errno == EMFILE || errno == ENFILE) {
            load_die("no socket: too many connections for the descriptor limit?");
        }
        load->connect_failures++;
        return -1;
    }
    load->connect_failures = 0;
    load->reconnects++;
    watch(load, client, EPOLLIN);
    return 0;
}

static void
set_number(struct load *load, struct client *client)
{
    uint64_t number = client->request_number;
    for (int digit = REQUEST_DIGITS - 1; digit >= 0; digit--) {
        client->request[load->number_at + (size_t)digit] = (char)('0' + number % 10);
        number /= 10;
    }
}

static void answer_failed(struct load *load, struct client *client, uint64_t *counter);

static void
send_more(struct load *load, struct client *client)
{
    const char *from = client->request + (load->request_len - client->unsent);
    ssize_t sent = load_wire_send(&client->wire, from, client->unsent);
    if (sent < 0 && errno != EAGAIN) {
        answer_failed(load, client, &load->cut);
        return;
    }
    client->unsent -= sent > 0 ? (size_t)sent : 0;
    watch(load, client, client->unsent > 0 ? EPOLLIN | EPOLLOUT : EPOLLIN);
}

/* Sends the next request, which should have begun at `due_ns`; -1 when there is no connection. */
static int
begin_request(struct load *load, struct client *client, uint64_t due_ns)
{
    uint64_t now = now_ns();
    if (client->wire.fd < 0 && connect_client(load, client) != 0) {
        load->errors++;
        if (load->connect_failures > RECONNECT_ERRORS) {
            load_die("nobody listens at that address");
        }
        client->start_at_ns = now + RETRY_NS;
        return -1;
    }
    unsigned every = load->options.cancel_every;
    client->request_number = load->next_number++;
    client->checked = load->options.streams || client->request_number % CHECK_EVERY == 0;
    client->to_cancel = every > 0 && client->request_number % every == every - 1;
    client->has_first_token = false;
    client->start_at_ns = 0;
    client->unsent = load->request_len;
    client->busy = true;
    load->busy++;
    set_number(load, client);
    load_answer_reset(&client->answer);
    load_check_start(&client->check, &load->totals, client->request_number);
    client->active_ns = now;
    client->sent_ns = due_ns > 0 ? due_ns : now;
    send_more(load, client);
    return 0;
}

/* ---- fixed rate ---------------------------------------------------------------------------------- */

static bool
has_rate(const struct load *load)
{
    return load->options.rate > 0;
}

/* What should have begun before the end and has not yet; it is given up a moment behind it. */
static bool
has_backlog(const struct load *load, uint64_t now)
{
    return has_rate(load) && load->next_arrival_ns < load->end_ns && now < load->end_ns + BACKLOG_NS;
}

/* With a rate: begins what is due while a connection is free. What is due and finds none is begun later, and
 * its latency counts from when it was due. */
static void
take_arrivals(struct load *load, uint64_t now)
{
    uint64_t step = (uint64_t)(1e9 / load->options.rate);
    while (load->n_idle > 0 && load->next_arrival_ns <= now && has_backlog(load, now)) {
        uint64_t due = load->next_arrival_ns;
        if (begin_request(load, load->idle[--load->n_idle], due) == 0) {
            load->next_arrival_ns = due + step;
        }
    }
}

/* What was due before this connection was free has waited for it. */
static void
client_is_free(struct load *load, struct client *client, uint64_t now)
{
    load->idle[load->n_idle++] = client;
    if (has_backlog(load, now) && load->next_arrival_ns <= now) {
        load->queued++;
        take_arrivals(load, now);
    }
}

/* ---- answers ------------------------------------------------------------------------------------- */

static void
begin_next(struct load *load, struct client *client, uint64_t now)
{
    client->busy = false;
    load->busy--;
    if (has_rate(load)) {
        client_is_free(load, client, now);
    } else if (now < load->end_ns) {
        (void)begin_request(load, client, 0);
    }
}

static void
answer_failed(struct load *load, struct client *client, uint64_t *counter)
{
    load->errors++;
    ++*counter;
    if (client->checked) {
        (void)load_check_end(&client->check, load->options.tokens);
    }
    disconnect(client);
    client->busy = false;
    load->busy--;
    client->start_at_ns = now_ns() + RETRY_NS;
}

static void
answer_done(struct load *load, struct client *client, uint64_t now)
{
    bool good = client->answer.status >= 200 && client->answer.status < 300;
    bool whole = true;
    if (good && client->checked) {
        whole = load_check_end(&client->check, load->options.tokens);
        whole = whole && (!load->options.streams || client->check.saw_done);
    }
    if (!good) {
        load->errors++;
        load->bad_status++;
    } else if (!whole) {
        load->errors++;
        load->incomplete++;
    } else {
        load->answers++;
        load->last_answer_ns = now;
        if (client->sent_ns >= load->measure_ns) {
            load->answers_timed++;
            load_hist_add(&load->latency, now - client->sent_ns);
        }
    }
    load->body_bytes += client->answer.body_bytes;
    if (!client->answer.keep_alive || load->options.close_each) {
        disconnect(client);
    }
    begin_next(load, client, now);
}

static void
cancel(struct load *load, struct client *client, uint64_t now)
{
    load->cancelled++;
    disconnect(client);
    begin_next(load, client, now);
}

static void
body_bytes(void *self, const char *data, size_t len)
{
    struct client *client = self;
    if (client->checked) {
        load_check_feed(&client->check, data, len);
    }
}

static void
note_first_token(struct load *load, struct client *client, uint64_t now)
{
    if (!client->has_first_token && client->check.next_seq > 0) {
        client->has_first_token = true;
        if (client->sent_ns >= load->measure_ns) {
            load_hist_add(&load->first_token, now - client->sent_ns);
        }
    }
}

static void
bytes_came(struct load *load, struct client *client, size_t len, uint64_t now)
{
    client->active_ns = now;
    client->check.now_ns = now;
    (void)load_answer_feed(&client->answer, load->buffer, len, body_bytes, client);
    if (client->checked) {
        note_first_token(load, client, now);
    }
    if (client->answer.state == LOAD_ANSWER_BROKEN) {
        answer_failed(load, client, &load->cut);
    } else if (client->answer.state == LOAD_ANSWER_DONE) {
        answer_done(load, client, now);
    } else if (client->to_cancel && client->check.next_seq >= CANCEL_AFTER) {
        cancel(load, client, now);
    }
}

static void
client_readable(struct load *load, struct client *client)
{
    do {
        ssize_t got = load_wire_receive(&client->wire, load->buffer, LOAD_READ_SIZE);
        if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
            return;
        }
        uint64_t now = now_ns();
        if (!client->busy) { /* an idle connection that the server closed */
            disconnect(client);
            return;
        }
        if (got > 0) {
            bytes_came(load, client, (size_t)got, now);
        } else if (got == 0 && load_answer_closed(&client->answer)) {
            answer_done(load, client, now);
        } else {
            answer_failed(load, client, &load->cut);
        }
    } while (load_wire_has_more(&client->wire));
}

/* ---- the run ------------------------------------------------------------------------------------- */

/* What waited for its time: its first request, or a moment after a failure. */
static void
client_is_due(struct load *load, struct client *client, uint64_t now)
{
    client->start_at_ns = 0;
    if (has_rate(load)) {
        client_is_free(load, client, now);
    } else {
        (void)begin_request(load, client, 0);
    }
}

/* Begins what waits for its time and gives up what is stuck. Returns when to look again. */
static uint64_t
tend_clients(struct load *load, uint64_t now)
{
    uint64_t next = now + (uint64_t)WATCHDOG_MS * 1000000u;
    uint64_t patience = (uint64_t)load->options.timeout_ms * 1000000u;
    for (unsigned i = 0; i < load->options.connections; i++) {
        struct client *client = &load->clients[i];
        if (client->busy && now > client->active_ns && now - client->active_ns > patience) {
            answer_failed(load, client, &load->timeouts);
        }
        if (!client->busy && client->start_at_ns != 0 && (now < load->end_ns || has_backlog(load, now))) {
            if (client->start_at_ns <= now) {
                client_is_due(load, client, now);
            }
            if (client->start_at_ns != 0 && client->start_at_ns < next) {
                next = client->start_at_ns;
            }
        }
    }
    return next;
}

static bool
is_over(const struct load *load, uint64_t now)
{
    if (now < load->end_ns) {
        return false;
    }
    /* Streams that were begun are read to their end: a lost token shows only there. With a rate, what is
     * still under way is what took longest. */
    return (!load->options.streams && !has_rate(load)) || (load->busy == 0 && !has_backlog(load, now));
}

/* Sleeps until something comes, or until `until`. A millisecond is too coarse to begin requests by. */
static int
wait_for_events(const struct load *load, struct epoll_event *events, uint64_t now, uint64_t until)
{
    uint64_t ns = until > now ? until - now : 0;
    struct timespec timeout = {.tv_sec = (time_t)(ns / 1000000000u), .tv_nsec = (long)(ns % 1000000000u)};
    return epoll_pwait2(load->epoll, events, EVENTS_MAX, &timeout, NULL);
}

static uint64_t
next_look(struct load *load, uint64_t tend_at, uint64_t now)
{
    uint64_t until = tend_at;
    if (now < load->end_ns && load->end_ns < until) {
        until = load->end_ns;
    }
    if (has_backlog(load, now) && load->n_idle > 0 && load->next_arrival_ns < until) {
        until = load->next_arrival_ns;
    }
    return until;
}

static void
begin_arrivals(struct load *load, uint64_t now)
{
    if (has_backlog(load, now) && load->n_idle > 0 && load->next_arrival_ns <= now) {
        load_hist_add(&load->lag, now - load->next_arrival_ns);
        take_arrivals(load, now);
    }
}

static void
run(struct load *load)
{
    struct epoll_event events[EVENTS_MAX];
    uint64_t tend_at = 0;
    for (uint64_t now = now_ns(); !is_over(load, now); now = now_ns()) {
        if (now >= tend_at) {
            tend_at = tend_clients(load, now);
        }
        begin_arrivals(load, now);
        int n = wait_for_events(load, events, now, next_look(load, tend_at, now));
        for (int i = 0; i < n; i++) {
            struct client *client = events[i].data.ptr;
            if (events[i].events & EPOLLOUT && client->busy && client->unsent > 0) {
                send_more(load, client);
            }
            if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR) && client->wire.fd >= 0) {
                client_readable(load, client);
            }
        }
    }
}

static void
set_up(struct load *load)
{
    const struct load_options *options = &load->options;
    load->clients = calloc(options->connections, sizeof *load->clients);
    load->idle = calloc(options->connections, sizeof(struct client *));
    load->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (options->connections == 0 || load->clients == NULL || load->idle == NULL || load->epoll < 0) {
        load_die("cannot set up that many connections");
    }
    build_requests(load);
    load->begin_ns = now_ns();
    load->measure_ns = load->begin_ns + (uint64_t)(options->warmup_seconds * 1e9);
    load->end_ns = load->measure_ns + (uint64_t)(options->seconds * 1e9);
    load->next_arrival_ns = load->begin_ns + (uint64_t)options->ramp_ms * 1000000u;
    for (unsigned i = 0; i < options->connections; i++) {
        load->clients[i].wire.fd = -1;
        load->clients[i].start_at_ns =
            load->begin_ns + (uint64_t)options->ramp_ms * 1000000u * i / options->connections;
    }
}

int
main(int argc, char **argv)
{
    struct load *load = calloc(1, sizeof *load);
    if (load == NULL) {
        load_die("out of memory");
    }
    load_options_parse(&load->options, argc, argv);
    (void)signal(SIGPIPE, SIG_IGN);
    (void)prctl(PR_SET_TIMERSLACK, TIMER_SLACK_NS, 0, 0, 0);
    set_up(load);
    run(load);
    load_report(load);
    return 0;
}
