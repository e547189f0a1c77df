/* A link, and ports that are not ours: it comes up, is lost, comes back, and what was meant for one
 * connection never reaches another. */
#include "tests/conformance/host.h"
#include "tests/conformance/raw.h"

static char endpoint[64];

/* A port that nobody else uses for the time of a test. */
static const char *
some_endpoint(void)
{
    size_t size = sizeof endpoint;
    void *context = zmq_ctx_new();
    void *socket = zmq_socket(context, ZMQ_ROUTER);
    assert_int_equal(zmq_bind(socket, "tcp://127.0.0.1:*"), 0);
    assert_int_equal(zmq_getsockopt(socket, ZMQ_LAST_ENDPOINT, endpoint, &size), 0);
    (void)zmq_close(socket);
    (void)zmq_ctx_term(context);
    return endpoint;
}

static struct raw
listen_raw(void)
{
    return raw_open((struct raw_options){.bind = endpoint});
}

/* A link that is up, and its port. */
static struct raw
open_and_join(struct host *host)
{
    host->is_link = true;
    host->endpoint = some_endpoint();
    struct raw raw = listen_raw();
    host_open(host);
    raw_expect_ready(&raw);
    raw_say_ready(&raw, "router");
    host_expect(host, "ready:router");
    return raw;
}

static bool up;

static void
ask_whether_up(struct host *host)
{
    up = bus_link_is_up(host->link);
}

static bool
is_up(struct host *host)
{
    host_call(host, ask_whether_up);
    return up;
}

static void
a_link_is_up_when_the_port_has_answered(void **state)
{
    struct host host = {.is_link = true, .endpoint = some_endpoint()};
    (void)state;
    struct raw raw = listen_raw();
    host_open(&host);
    assert_string_equal(bus_link_endpoint(host.link), endpoint);
    raw_expect_ready(&raw);
    assert_false(is_up(&host));
    raw_say_ready(&raw, "router");
    host_expect(&host, "ready:router");
    assert_true(is_up(&host));
    raw_say_chunk(&raw, 0);
    raw_expect_chunk(&raw, 0);
    raw_say(&raw, ENV_GOODBYE, "drain");
    host_expect(&host, "goodbye:drain");
    assert_false(is_up(&host));
    raw_say_chunk(&raw, 1); /* what is in flight goes on */
    raw_expect_chunk(&raw, 1);
    raw_close(&raw);
    host_expect(&host, "goodbye:lost");
    host_close(&host);
}

static bus_addr_t old_peer;

static void
send_to_the_old_one(struct host *host)
{
    struct dyn_err err;
    struct env *env = wire_envelope(ENV_CHUNK);
    CHECK(bus_send(host->me, old_peer, &env, &err) == -1 && err.code == DYN_E_GONE);
    env_free(&env);
}

static void
a_lost_port_is_found_again_as_another_peer(void **state)
{
    enum { TIMES = 5 };
    struct host host = {0};
    (void)state;
    struct raw raw = open_and_join(&host);
    for (unsigned i = 0; i < TIMES; i++) {
        old_peer = host.last_peer;
        raw_close(&raw);
        host_expect(&host, "goodbye:lost");
        assert_false(is_up(&host));
        host_call(&host, send_to_the_old_one);
        raw = listen_raw();
        while (host.process.reconnects < 1) {
            host_wait_ms(&host, 50);
        }
        raw_expect_ready(&raw);
        raw_say_ready(&raw, "router");
        host_expect(&host, "ready:router");
        assert_int_not_equal(host.last_peer, old_peer);
    }
    assert_int_equal(host.process.peers_lost, TIMES);
    assert_int_equal(host.process.peers_joined, TIMES + 1);
    raw_close(&raw);
    host_close(&host);
}

static void
send_many(struct host *host)
{
    for (uint32_t i = 0; i < 1000; i++) {
        struct env *env = wire_envelope(ENV_CHUNK);
        env->sequence = i;
        CHECK(bus_send(host->me, host->last_peer, &env, NULL) == 0);
    }
}

/* What a port says before it goes is heard, however much it is and however late this loop is. */
static void
the_last_words_of_a_port_are_heard(void **state)
{
    enum { TIMES = 20, CHUNKS = 500 };
    (void)state;
    for (unsigned i = 0; i < TIMES; i++) {
        struct host host = {.mute = true};
        struct raw raw = open_and_join(&host);
        for (uint32_t k = 0; k < CHUNKS; k++) {
            raw_say_chunk(&raw, k);
        }
        raw_say(&raw, ENV_END, NULL);
        raw_close(&raw);
        host_expect(&host, "end goodbye:lost");
        host_expect_chunks(&host, CHUNKS);
        host_close(&host);
    }
}

/* What was on its way when the port died goes down with the connection. */
static void
nothing_queued_for_a_dead_port_reaches_its_successor(void **state)
{
    struct host host = {0};
    (void)state;
    struct raw raw = open_and_join(&host);
    raw_set_int(&raw, ZMQ_LINGER, 0);
    host_call(&host, send_many);
    raw_close(&raw);
    host_expect(&host, "goodbye:lost");
    raw = listen_raw();
    raw_expect_ready(&raw);
    raw_say_ready(&raw, "router");
    host_expect(&host, "ready:router");
    raw_say_chunk(&raw, 0);
    raw_expect_chunk(&raw, 0); /* the next thing that comes */
    raw_close(&raw);
    host_close(&host);
}

/* It listens, but no READY comes: once more. Nobody hears of it. */
static void
a_port_that_does_not_answer_is_tried_again(void **state)
{
    struct host host = {.is_link = true, .endpoint = some_endpoint()};
    (void)state;
    struct raw raw = listen_raw();
    host_open(&host);
    raw_expect_ready(&raw);
    host_wait_ms(&host, BUS_PEER_LOST_MS + 500);
    raw_expect_goodbye(&raw, "silent");
    host_wait_ms(&host, BUS_RECONNECT_MAX_MS);
    raw_expect_ready(&raw);
    assert_false(is_up(&host));
    host_expect(&host, "");
    assert_int_equal(host.process.peers_joined, 0);
    assert_int_equal(host.process.heartbeats_lost, 0);
    raw_close(&raw);
    host_close(&host);
}

static void
a_silent_port_is_lost(void **state)
{
    struct host host = {0};
    (void)state;
    struct raw raw = open_and_join(&host);
    host_wait_ms(&host, BUS_PEER_LOST_MS + 300);
    host_expect(&host, "goodbye:silent");
    assert_int_equal(host.process.heartbeats_lost, 1);
    raw_expect_goodbye(&raw, "silent");
    host_wait_ms(&host, BUS_RECONNECT_MAX_MS);
    raw_expect_ready(&raw);
    raw_say_ready(&raw, "router");
    host_expect(&host, "ready:router");
    raw_close(&raw);
    host_close(&host);
}

static void
a_port_that_breaks_the_rules_is_left_and_tried_again(void **state)
{
    static const char *const garbage[] = {"", "garbage"};
    (void)state;
    for (size_t i = 0; i < DYN_ARRAY_LEN(garbage); i++) {
        struct host host = {0};
        struct raw raw = open_and_join(&host);
        raw_begin(&raw);
        raw_send_frame(&raw, garbage[i], strlen(garbage[i]), false);
        host_expect(&host, "goodbye:protocol");
        raw_expect_goodbye(&raw, "protocol");
        assert_int_equal(host.process.refused_protocol, 1);
        host_wait_ms(&host, BUS_RECONNECT_MAX_MS);
        raw_expect_ready(&raw);
        raw_close(&raw);
        host_close(&host);
    }
}

static void
something_before_ready_breaks_the_rules(void **state)
{
    struct host host = {.is_link = true, .endpoint = some_endpoint()};
    (void)state;
    struct raw raw = listen_raw();
    host_open(&host);
    raw_expect_ready(&raw);
    raw_say_chunk(&raw, 0);
    raw_expect_goodbye(&raw, "protocol");
    host_expect(&host, "");
    raw_close(&raw);
    host_close(&host);
}

static void
drain_the_link(struct host *host)
{
    bus_link_drain(host->link);
}

static void
close_the_link(struct host *host)
{
    bus_link_close(&host->link);
}

static void
a_link_that_leaves_says_so(void **state)
{
    struct host host = {0};
    (void)state;
    struct raw raw = open_and_join(&host);
    host_call(&host, drain_the_link);
    raw_expect_goodbye(&raw, "drain");
    raw_say_chunk(&raw, 0);
    raw_expect_chunk(&raw, 0);
    host_call(&host, send_many);
    host_call(&host, close_the_link); /* what was sent still leaves */
    for (uint32_t i = 0; i < 1000; i++) {
        raw_expect_chunk(&raw, i);
    }
    raw_expect_goodbye(&raw, "close");
    raw_close(&raw);
    host_close(&host);
}

/* A port that listens nowhere, closed by its owner in the middle of trying. */
static void
a_link_to_nowhere_goes_on_trying_until_it_is_closed(void **state)
{
    struct host host = {.is_link = true, .endpoint = some_endpoint()};
    (void)state;
    host_open(&host);
    while (host.process.reconnects < 5) {
        host_wait_ms(&host, 50);
    }
    assert_false(is_up(&host));
    host_expect(&host, "");
    host_call(&host, close_the_link);
    host_close(&host);
}

/* Closed from inside of its own callback. */
static void
close_when_heard(void *self, struct bus_peer *peer, struct env **env_p)
{
    struct host *host = self;
    (void)peer;
    bool is_goodbye = (*env_p)->kind == ENV_GOODBYE;
    if (is_goodbye == host->mute) {
        bus_link_close(&host->link);
        host_write(host, "closed", (struct dyn_slice){NULL, 0});
    }
}

static void
open_a_second_link(struct host *host)
{
    static const struct bus_remote_ops ops = {.receive = close_when_heard, .ready = host_ready};
    struct bus_remote_options options = {
        .process = &host->process, .endpoint = endpoint, .kinds = host->kinds, .ops = &ops, .self = host};
    host->link = bus_link_open(host->me, &options, NULL);
    CHECK(host->link != NULL);
}

static void
a_link_may_be_closed_by_what_it_says(void **state)
{
    (void)state;
    for (int on_goodbye = 0; on_goodbye < 2; on_goodbye++) {
        struct host host = {.mute = on_goodbye != 0};
        struct raw raw = open_and_join(&host);
        host_call(&host, close_the_link);
        raw_expect_goodbye(&raw, "close");
        host_call(&host, open_a_second_link);
        raw_expect_ready(&raw);
        raw_say_ready(&raw, "router");
        if (on_goodbye != 0) {
            while (!is_up(&host)) {
            }
            raw_close(&raw);
            host_expect(&host, "closed");
        } else {
            host_expect(&host, "closed");
            raw_expect_goodbye(&raw, "close");
            raw_close(&raw);
        }
        assert_null(host.link);
        host_close(&host);
    }
}

static void
what_cannot_work_is_refused_at_once(void **state)
{
    static const struct {
        const char *endpoint;
        const char *says;
    } cases[] = {
        {"tcp://192.0.2.1:7400", "bus.insecure"},
        {"udp://127.0.0.1:1", ""},
        {"", ""},
    };
    (void)state;
    for (size_t i = 0; i < DYN_ARRAY_LEN(cases); i++) {
        for (int is_link = 0; is_link < 2; is_link++) {
            struct host host = {.is_link = is_link != 0, .endpoint = cases[i].endpoint};
            struct dyn_err err;
            bus_t *bus = bus_new(NULL, &err);
            host.security = wire_security(&(struct bus_security_options){.cert = NULL});
            bus_process_init(&host.process, host.security);
            (void)bus_add_actor(bus, bus_add_loop(bus, "host"), &host_ops, &host);
            assert_int_equal(bus_start(bus, &err), -1);
            assert_non_null(strstr(err.text, cases[i].says));
            bus_free(&bus);
            bus_security_free(&host.security);
        }
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_link_is_up_when_the_port_has_answered),
        cmocka_unit_test(a_lost_port_is_found_again_as_another_peer),
        cmocka_unit_test(the_last_words_of_a_port_are_heard),
        cmocka_unit_test(nothing_queued_for_a_dead_port_reaches_its_successor),
        cmocka_unit_test(a_port_that_does_not_answer_is_tried_again),
        cmocka_unit_test(a_silent_port_is_lost),
        cmocka_unit_test(a_port_that_breaks_the_rules_is_left_and_tried_again),
        cmocka_unit_test(something_before_ready_breaks_the_rules),
        cmocka_unit_test(a_link_that_leaves_says_so),
        cmocka_unit_test(a_link_to_nowhere_goes_on_trying_until_it_is_closed),
        cmocka_unit_test(a_link_may_be_closed_by_what_it_says),
        cmocka_unit_test(what_cannot_work_is_refused_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
