/* Addresses to listen on, and how connections come to the cells. */
#include "edge/accept.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

static uint16_t
port_in(const char *text)
{
    return (uint16_t)strtoul(strrchr(text, ':') + 1, NULL, 10);
}

static int
connect_to(uint16_t port)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

static int
listening(int reuse_port, uint16_t *port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &reuse_port, sizeof reuse_port), 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(fd, 1), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &len), 0);
    *port = ntohs(address.sin_port);
    return fd;
}

/* ---- addresses ---- */

static void
nonsense_is_refused_with_what_was_written(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "nonsense",      "127.0.0.1:99999", "127.0.0.1:", "300.1.1.1:8080",   ":-1",       "",
        "127.0.0.1:80x", "::1:8080",        "[::1]",      "[127.0.0.1]:8080", "[::1:8080", "1.2.3:4:5",
        "[zz::1]:80",    "127.0.0.1:8080 ", ":65536",     "1.2.3:80x"};
    for (size_t i = 0; i < DYN_ARRAY_LEN(bad); i++) {
        struct listeners listeners;
        struct dyn_err err = {DYN_OK, ""};
        assert_int_equal(listen_open(dyn_slice_str(bad[i]), 1, false, &listeners, &err), -1);
        assert_int_equal(err.code, DYN_E_INVALID);
        assert_non_null(strstr(err.text, bad[i]));
        listen_close(&listeners);
    }
}

static void
good_addresses_are_opened(void **state)
{
    (void)state;
    static const char *const good[] = {":0", "0", "127.0.0.1:0", "[::]:0", "0.0.0.0:0", "localhost:0"};
    for (size_t i = 0; i < DYN_ARRAY_LEN(good); i++) {
        struct listeners listeners;
        struct dyn_err err = {DYN_OK, ""};
        if (listen_open(dyn_slice_str(good[i]), 2, false, &listeners, &err) != 0) {
            fail_msg("%s: %s", good[i], err.text);
        }
        assert_int_not_equal(port_in(listeners.text), 0);
        assert_int_equal(close(connect_to(port_in(listeners.text))), 0); /* over IPv4, whichever it is */
        for (unsigned k = 0; k < listeners.n_cells * listeners.per_cell; k++) {
            assert_true(listeners.fds[k] >= 0);
        }
        listen_close(&listeners);
    }
}

static void
loopback_is_known(void **state)
{
    (void)state;
    static const struct {
        const char *address;
        bool is_loopback;
    } rows[] = {{"127.0.0.1:80", true}, {"127.9.9.9:80", true}, {"[::1]:80", true}, {"localhost:80", true},
                {":80", false},         {"0.0.0.0:80", false},  {"[::]:80", false}, {"192.0.2.1:80", false}};
    for (size_t i = 0; i < DYN_ARRAY_LEN(rows); i++) {
        struct dyn_err err;
        bool is_loopback = !rows[i].is_loopback;
        assert_int_equal(listen_is_loopback(dyn_slice_str(rows[i].address), &is_loopback, &err), 0);
        assert_int_equal(is_loopback, rows[i].is_loopback);
    }
}

/* Also when the other one would share it, unless sharing was asked for. */
static void
a_port_in_use_is_said(void **state)
{
    (void)state;
    for (int reuse_port = 0; reuse_port <= 1; reuse_port++) {
        for (unsigned cells = 1; cells <= 2; cells++) {
            uint16_t port;
            int other = listening(reuse_port, &port);
            char address[40];
            (void)snprintf(address, sizeof address, "127.0.0.1:%u", port);
            struct listeners listeners;
            struct dyn_err err;
            assert_int_equal(listen_open(dyn_slice_str(address), cells, false, &listeners, &err), -1);
            assert_int_equal(err.code, DYN_E_FULL);
            assert_non_null(strstr(err.text, address));
            assert_non_null(strstr(err.text, "in use"));
            int rc = listen_open(dyn_slice_str(address), cells, true, &listeners, &err);
            assert_int_equal(rc, reuse_port ? 0 : -1);
            listen_close(&listeners);
            (void)close(other);
        }
    }
}

/* ---- accepting ---- */

enum { CELLS = 2 };

struct cell {
    bus_loop_t *loop;
    http_server_t *server;
    struct edge_acceptor acceptor;
};

static uint64_t
answer_head(void *self, http_exchange_t *exchange, const struct http_request *request)
{
    (void)self;
    (void)request;
    dyn_block_t *body = dyn_block_copy(200, DYN_SLICE("here"));
    http_reply(exchange, &(struct http_answer){.status = 200}, &body);
    return HTTP_BODY_DISCARD;
}

static void
ignore_done(void *self, http_exchange_t *exchange, bool complete)
{
    (void)self;
    (void)exchange;
    (void)complete;
}

static const struct http_server_ops server_ops = {.head = answer_head, .done = ignore_done};

static struct edge_group *
start_cells(struct cell *cells, unsigned n, uint32_t connections_max)
{
    struct dyn_err err;
    struct edge_group *group = edge_group_new(n);
    assert_int_equal(edge_group_listen(group, DYN_SLICE("127.0.0.1:0"), false, &err), 0);
    for (unsigned i = 0; i < n; i++) {
        struct http_server_options options = {.connections_max = connections_max,
                                              .connections = &group->cells[i].connections};
        cells[i].loop = bus_loop_new("cell");
        cells[i].server = http_server_new(cells[i].loop, &server_ops, NULL, &options, &err);
        assert_non_null(cells[i].server);
        edge_acceptor_start(&cells[i].acceptor, group, i, cells[i].loop, cells[i].server, connections_max);
    }
    return group;
}

static void
run_cells(struct cell *cells, unsigned n)
{
    for (unsigned turn = 0; turn < 6; turn++) {
        for (unsigned i = 0; i < n; i++) {
            bus_loop_run_once(cells[i].loop, 0);
        }
    }
}

static void
stop_cells(struct cell *cells, unsigned n, struct edge_group *group)
{
    for (unsigned i = 0; i < n; i++) {
        edge_acceptor_stop(&cells[i].acceptor);
        http_server_free(&cells[i].server);
    }
    for (unsigned i = 0; i < n; i++) {
        bus_loop_free(&cells[i].loop);
    }
    edge_group_free(&group);
}

static bool
is_served(struct cell *cells, unsigned n, int fd)
{
    char text[1024];
    static const char get[] = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
    if (send(fd, get, sizeof get - 1, MSG_NOSIGNAL) != sizeof get - 1) {
        return false;
    }
    run_cells(cells, n);
    ssize_t len = recv(fd, text, sizeof text - 1, MSG_DONTWAIT);
    text[len > 0 ? len : 0] = '\0';
    return strstr(text, "200 OK") != NULL && strstr(text, "here") != NULL;
}

static void
cells_are_kept_in_balance(void **state)
{
    (void)state;
    enum { CLIENTS = 60 };
    struct cell cells[CELLS];
    struct edge_group *group = start_cells(cells, CELLS, 100);
    int clients[CLIENTS];
    for (unsigned i = 0; i < CLIENTS; i++) {
        clients[i] = connect_to(port_in(edge_group_address(group)));
        run_cells(cells, CELLS);
        size_t first = http_server_connections(cells[0].server);
        size_t second = http_server_connections(cells[1].server);
        assert_int_equal(first + second, i + 1);
        assert_true(first <= second + 2 && second <= first + 2);
    }
    assert_int_equal(atomic_load(&group->cells[0].on_the_way), 0);
    assert_int_equal(atomic_load(&group->counters.accepted), CLIENTS);
    for (unsigned i = 0; i < CLIENTS; i++) {
        assert_true(is_served(cells, CELLS, clients[i]));
        (void)close(clients[i]);
    }
    run_cells(cells, CELLS);
    assert_int_equal(atomic_load(&group->cells[0].connections), 0);
    assert_int_equal(atomic_load(&group->cells[1].connections), 0);
    stop_cells(cells, CELLS, group);
}

/* The limit is the gateway's: a full cell passes on while the other has room. */
static void
beyond_the_limit_connections_are_turned_away(void **state)
{
    (void)state;
    enum { LIMIT = 4 };
    struct cell cells[CELLS];
    struct edge_group *group = start_cells(cells, CELLS, LIMIT);
    int clients[LIMIT * CELLS];
    for (unsigned i = 0; i < LIMIT * CELLS; i++) {
        clients[i] = connect_to(port_in(edge_group_address(group)));
        run_cells(cells, CELLS);
        assert_true(is_served(cells, CELLS, clients[i]));
    }
    int refused = connect_to(port_in(edge_group_address(group)));
    run_cells(cells, CELLS);
    char text[200] = "";
    assert_true(recv(refused, text, sizeof text - 1, 0) > 0);
    assert_non_null(strstr(text, "503 Service Unavailable"));
    assert_int_equal(recv(refused, text, sizeof text, 0), 0);
    (void)close(refused);
    for (unsigned i = 0; i < LIMIT * CELLS; i++) {
        assert_true(is_served(cells, CELLS, clients[i]));
        (void)close(clients[i]);
    }
    stop_cells(cells, CELLS, group);
}

/* Out of descriptors: new connections are closed at once, the old one is served, and it ends. */
static void
without_descriptors_new_ones_are_refused(void **state)
{
    (void)state;
    struct cell cell;
    struct rlimit limit;
    struct edge_group *group = start_cells(&cell, 1, 100);
    uint16_t port = port_in(edge_group_address(group));
    int old = connect_to(port);
    assert_true(is_served(&cell, 1, old));
    int clients[5];
    for (unsigned i = 0; i < 5; i++) {
        clients[i] = connect_to(port);
    }
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    int next = dup(0); /* the lowest free number */
    (void)close(next);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &(struct rlimit){(rlim_t)next, limit.rlim_max}), 0);
    run_cells(&cell, 1);
    for (unsigned i = 0; i < 5; i++) {
        char byte;
        assert_int_equal(recv(clients[i], &byte, 1, 0), 0);
        (void)close(clients[i]);
    }
    assert_int_equal(atomic_load(&group->counters.refused_connections), 5);
    assert_true(is_served(&cell, 1, old));
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    int fresh = connect_to(port);
    run_cells(&cell, 1);
    assert_true(is_served(&cell, 1, fresh));
    (void)close(fresh);
    (void)close(old);
    stop_cells(&cell, 1, group);
}

static void
draining_takes_what_is_queued(void **state)
{
    (void)state;
    struct cell cell;
    struct edge_group *group = start_cells(&cell, 1, 100);
    uint16_t port = port_in(edge_group_address(group));
    int queued = connect_to(port);
    edge_acceptor_drain(&cell.acceptor);
    int on_the_way = connect_to(port);
    assert_true(is_served(&cell, 1, queued));
    assert_true(is_served(&cell, 1, on_the_way));
    (void)close(on_the_way);
    while (cell.acceptor.is_leaving) {
        bus_loop_run_once(cell.loop, EDGE_LEAVE_MS);
    }
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int late = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(late, (struct sockaddr *)&address, sizeof address), -1);
    assert_int_equal(errno, ECONNREFUSED);
    (void)close(late);
    (void)close(queued);
    stop_cells(&cell, 1, group);
}

/* What was handed to a cell that is gone by then is closed, not lost. */
static void
a_handover_to_a_cell_that_is_gone_is_closed(void **state)
{
    (void)state;
    struct cell cells[CELLS];
    struct edge_group *group = start_cells(cells, CELLS, 100);
    int clients[4];
    for (unsigned i = 0; i < 4; i++) {
        clients[i] = connect_to(port_in(edge_group_address(group)));
    }
    bus_loop_run_once(cells[0].loop, 0); /* takes those of its queue; some are meant for the other */
    bus_loop_run_once(cells[0].loop, 0);
    stop_cells(cells, CELLS, group);
    for (unsigned i = 0; i < 4; i++) {
        char byte;
        assert_true(recv(clients[i], &byte, 1, 0) <= 0);
        (void)close(clients[i]);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nonsense_is_refused_with_what_was_written),
        cmocka_unit_test(good_addresses_are_opened),
        cmocka_unit_test(loopback_is_known),
        cmocka_unit_test(a_port_in_use_is_said),
        cmocka_unit_test(cells_are_kept_in_balance),
        cmocka_unit_test(beyond_the_limit_connections_are_turned_away),
        cmocka_unit_test(without_descriptors_new_ones_are_refused),
        cmocka_unit_test(draining_takes_what_is_queued),
        cmocka_unit_test(a_handover_to_a_cell_that_is_gone_is_closed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
