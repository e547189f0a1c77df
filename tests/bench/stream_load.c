/* A load client for benchmarks: one thread, epoll, keep-alive connections, closed loop. It measures; it
 * decides nothing, and starts no server. Two modes:
 *
 *   requests  plain chat answers as fast as they come: requests a second, latency, errors
 *   streams   so many SSE streams at once: time to first token, the delay of each token from the mock's
 *             send to here, and tokens lost, repeated, out of order or of another call
 *
 * The result is one JSON object on standard output. run: stream_load MODE URL [--option value ..] */
#include "load_answer.h"
#include "load_check.h"
#include "load_hist.h"
#include "load_options.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    READ_SIZE = 256 * 1024,
    EVENTS_MAX = 256,
    WATCHDOG_MS = 250, /* how often stuck answers are looked for */
    CHECK_EVERY = 8,   /* plain answers whose tokens are read: reading all would slow the client */
    REQUEST_DIGITS = 12,
    RECONNECT_ERRORS = 100, /* failed connects in a row after which there is no server */
};

struct client {
    int fd; /* -1: not connected */
    bool busy;
    bool checked; /* this answer's tokens are read */
    bool has_first_token;
    uint64_t start_at_ns; /* its first request waits for this */
    uint64_t sent_ns;
    uint64_t active_ns; /* last byte in or out */
    uint64_t request_number;
    size_t unsent; /* bytes of the request that the socket did not take yet */
    uint32_t watched;
    char *request;
    struct load_answer answer;
    struct load_check check;
};

struct load {
    struct load_options options;
    int epoll;
    struct client *clients;
    size_t request_len;
    size_t number_at; /* where the number stands in a request */
    uint64_t next_number;
    uint64_t begin_ns;
    uint64_t measure_ns; /* end of the warm-up */
    uint64_t end_ns;
    unsigned busy;
    unsigned connect_failures;
    uint64_t answers;       /* 2xx and whole, warm-up included */
    uint64_t answers_timed; /* of these, begun after the warm-up */
    uint64_t errors;
    uint64_t bad_status;
    uint64_t cut;
    uint64_t timeouts;
    uint64_t incomplete; /* streams that ended well-formed, but not whole */
    uint64_t reconnects;
    uint64_t body_bytes;
    uint64_t last_answer_ns;
    struct load_hist latency;
    struct load_hist first_token;
    struct load_totals totals;
    char buffer[READ_SIZE];
};

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
                       "User-Agent: stream_load\r\n%s%s%sContent-Length: %d\r\n\r\n%s",
                       options->path, options->host, options->key ? "Authorization: Bearer " : "",
                       options->key ? options->key : "", options->key ? "\r\n" : "", body_len, body);
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
    (void)epoll_ctl(load->epoll, client->watched ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, client->fd, &event);
    client->watched = events;
}

static void
disconnect(struct client *client)
{
    if (client->fd >= 0) {
        (void)close(client->fd);
    }
    client->fd = -1;
    client->watched = 0;
}

static int
connect_client(struct load *load, struct client *client)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        load_die("no socket: too many connections for the descriptor limit?");
    }
    /* Blocking: on loopback it is over before it returns. */
    if (connect(fd, (const struct sockaddr *)&load->options.address, sizeof load->options.address) != 0) {
        (void)close(fd);
        load->connect_failures++;
        return -1;
    }
    int one = 1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    load->connect_failures = 0;
    load->reconnects++;
    client->fd = fd;
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
    ssize_t sent = send(client->fd, from, client->unsent, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0 && errno != EAGAIN) {
        answer_failed(load, client, &load->cut);
        return;
    }
    client->unsent -= sent > 0 ? (size_t)sent : 0;
    watch(load, client, client->unsent > 0 ? EPOLLIN | EPOLLOUT : EPOLLIN);
}

static void
begin_request(struct load *load, struct client *client)
{
    if (client->fd < 0 && connect_client(load, client) != 0) {
        load->errors++;
        if (load->connect_failures > RECONNECT_ERRORS) {
            load_die("nobody listens at that address");
        }
        client->start_at_ns = now_ns() + 10000000u; /* tries again after 10 ms */
        return;
    }
    client->request_number = load->next_number++;
    client->checked = load->options.streams || client->request_number % CHECK_EVERY == 0;
    client->has_first_token = false;
    client->start_at_ns = 0;
    client->unsent = load->request_len;
    client->busy = true;
    load->busy++;
    set_number(load, client);
    load_answer_reset(&client->answer);
    load_check_start(&client->check, &load->totals, client->request_number);
    client->sent_ns = client->active_ns = now_ns();
    send_more(load, client);
}

/* ---- answers ------------------------------------------------------------------------------------- */

static void
begin_next(struct load *load, struct client *client, uint64_t now)
{
    client->busy = false;
    load->busy--;
    if (now < load->end_ns) {
        begin_request(load, client);
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
    client->start_at_ns = now_ns() + 10000000u;
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
    if (!client->answer.keep_alive) {
        disconnect(client);
    }
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
client_readable(struct load *load, struct client *client)
{
    ssize_t got = recv(client->fd, load->buffer, READ_SIZE, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    uint64_t now = now_ns();
    if (!client->busy) { /* an idle connection that the server closed */
        disconnect(client);
        return;
    }
    client->active_ns = now;
    client->check.now_ns = now;
    if (got <= 0) {
        if (got == 0 && load_answer_closed(&client->answer)) {
            answer_done(load, client, now);
        } else {
            answer_failed(load, client, &load->cut);
        }
        return;
    }
    (void)load_answer_feed(&client->answer, load->buffer, (size_t)got, body_bytes, client);
    if (client->checked) {
        note_first_token(load, client, now);
    }
    if (client->answer.state == LOAD_ANSWER_BROKEN) {
        answer_failed(load, client, &load->cut);
    } else if (client->answer.state == LOAD_ANSWER_DONE) {
        answer_done(load, client, now);
    }
}

/* ---- the run ------------------------------------------------------------------------------------- */

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
        if (!client->busy && client->start_at_ns != 0 && now < load->end_ns) {
            if (client->start_at_ns <= now) {
                begin_request(load, client);
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
    /* Streams that were begun are read to their end: a lost token shows only there. */
    return !load->options.streams || load->busy == 0;
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
        uint64_t until = tend_at < load->end_ns || now >= load->end_ns ? tend_at : load->end_ns;
        int wait_ms = until > now ? (int)((until - now + 999999u) / 1000000u) : 0;
        int n = epoll_wait(load->epoll, events, EVENTS_MAX, wait_ms);
        for (int i = 0; i < n; i++) {
            struct client *client = events[i].data.ptr;
            if (events[i].events & EPOLLOUT && client->busy && client->unsent > 0) {
                send_more(load, client);
            }
            if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR) && client->fd >= 0) {
                client_readable(load, client);
            }
        }
    }
}

static void
print_hist(const char *name, const struct load_hist *hist)
{
    (void)printf("\"%s\":{\"n\":%llu,\"mean_us\":%.2f,\"p50_us\":%.2f,\"p90_us\":%.2f,\"p99_us\":%.2f,\"p999_"
                 "us\":%.2f,"
                 "\"max_us\":%.2f},",
                 name, (unsigned long long)hist->n, load_hist_mean_us(hist), load_hist_us(hist, 0.5),
                 load_hist_us(hist, 0.9), load_hist_us(hist, 0.99), load_hist_us(hist, 0.999),
                 (double)hist->max_ns / 1000.0);
}

static void
print_count(const char *name, uint64_t value)
{
    (void)printf("\"%s\":%llu,", name, (unsigned long long)value);
}

static void
print_result(const struct load *load)
{
    uint64_t last = load->last_answer_ns > load->measure_ns ? load->last_answer_ns : load->measure_ns;
    double timed_seconds = (double)(last - load->measure_ns) / 1e9;
    (void)printf("{\"mode\":\"%s\",", load->options.streams ? "streams" : "requests");
    print_count("connections", load->options.connections);
    print_count("answers", load->answers);
    print_count("errors", load->errors);
    print_count("bad_status", load->bad_status);
    print_count("cut", load->cut);
    print_count("timeouts", load->timeouts);
    print_count("incomplete", load->incomplete);
    print_count("connects", load->reconnects);
    print_count("body_bytes", load->body_bytes);
    print_count("tokens", load->totals.tokens);
    print_count("lost", load->totals.lost);
    print_count("repeated", load->totals.repeated);
    print_count("out_of_order", load->totals.out_of_order);
    print_count("mixed", load->totals.mixed);
    print_count("unreadable", load->totals.unreadable);
    print_hist("latency", &load->latency);
    print_hist("first_token", &load->first_token);
    print_hist("delay", &load->totals.delay);
    (void)printf("\"answers_per_s\":%.1f}\n",
                 timed_seconds > 0 ? (double)load->answers_timed / timed_seconds : 0.0);
}

int
main(int argc, char **argv)
{
    struct load *load = calloc(1, sizeof *load);
    if (load == NULL) {
        load_die("out of memory");
    }
    load_options_parse(&load->options, argc, argv);
    struct load_options *options = &load->options;
    (void)signal(SIGPIPE, SIG_IGN);
    load->clients = calloc(options->connections, sizeof *load->clients);
    load->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (options->connections == 0 || load->clients == NULL || load->epoll < 0) {
        load_die("cannot set up that many connections");
    }
    build_requests(load);
    load->begin_ns = now_ns();
    load->measure_ns = load->begin_ns + (uint64_t)(options->warmup_seconds * 1e9);
    load->end_ns = load->measure_ns + (uint64_t)(options->seconds * 1e9);
    for (unsigned i = 0; i < options->connections; i++) {
        load->clients[i].fd = -1;
        load->clients[i].start_at_ns =
            load->begin_ns + (uint64_t)options->ramp_ms * 1000000u * i / options->connections;
    }
    run(load);
    print_result(load);
    return 0;
}
