/* A port, and peers that lie about who they are or take more than they are given: routing ids of others,
 * keys of others, queues that nobody empties; and what the owner of the port does with them. */
#include "bus/remote_impl.h"
#include "tests/conformance/host.h"
#include "tests/conformance/raw.h"

#include <linux/sockios.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

/* ---- routing ids ---- */

static struct raw
join_as(const char *endpoint, const char *routing_id)
{
    struct raw raw = raw_open((struct raw_options){.connect = endpoint, .routing_id = routing_id});
    raw_say_ready(&raw, "worker");
    return raw;
}

/* libzmq lets the first one have the id; what a second one says reaches nobody in its name. */
static void
who_takes_anothers_id_does_not_get_its_answers(void **state)
{
    struct host host = {0};
    (void)state;
    host_open(&host);
    struct raw first = join_as(bus_port_endpoint(host.port), "me");
    raw_expect_ready(&first);
    host_expect(&host, "ready:worker");
    struct raw second = join_as(bus_port_endpoint(host.port), "me");
    raw_say(&second, ENV_GOODBYE, "close");
    raw_say_chunk(&second, 7);
    for (uint32_t i = 0; i < 100; i++) {
        raw_say_chunk(&first, i);
        raw_expect_chunk(&first, i);
    }
    host_expect(&host, "");
    raw_close(&second);
    raw_say_chunk(&first, 100);
    raw_expect_chunk(&first, 100);
    raw_close(&first);
    host_expect(&host, "goodbye:lost");
    host_close(&host);
}

/* An id that has just been another's: libzmq drops what comes with it until it has forgotten the other
 * one. */
static unsigned unanswered; /* tries that were given up; on a machine with much to do they may have joined */

static struct raw
join_until_answered(struct raw_options options)
{
    enum { PATIENCE_MS = 200 };
    for (;;) {
        struct raw raw = raw_open(options);
        raw_say_ready(&raw, "worker");
        struct env *env = raw_receive(&raw, PATIENCE_MS);
        if (env != NULL) {
            assert_int_equal(env->kind, ENV_READY);
            env_free(&env);
            return raw;
        }
        raw_close(&raw);
        unanswered++;
    }
}

/* All that joined are lost but those who are there, and no more joined than have tried. */
static void
expect_all_lost_but(struct host *host, unsigned there, unsigned answered)
{
    while (host->process.peers_lost + there < host->process.peers_joined ||
           host->process.peers_lost + there < answered) {
        host_call(host, NULL);
    }
    assert_in_range(host->process.peers_joined, answered, answered + unanswered);
    assert_int_equal(host->process.peers_lost + there, host->process.peers_joined);
}

/* The same id again and again, over connections that mostly get the same descriptor: each time another
 * peer. */
static void
an_id_that_comes_back_is_another_peer(void **state)
{
    enum { TIMES = 50 };
    struct host host = {0};
    (void)state;
    host_open(&host);
    unanswered = 0;
    for (unsigned i = 0; i < TIMES; i++) {
        struct raw raw = join_until_answered(
            (struct raw_options){.connect = bus_port_endpoint(host.port), .routing_id = "again"});
        raw_close(&raw);
        expect_all_lost_but(&host, 0, i + 1);
        if (host.process.peers_joined == i + 1) {
            host_expect(&host, "ready:worker goodbye:lost");
        }
    }
    host_close(&host);
}

/* Not even waiting until it is seen to be gone. */
static void
peers_that_come_and_go_at_once_are_all_accounted_for(void **state)
{
    enum { TIMES = 200 };
    struct host host = {.mute = true};
    (void)state;
    host_open(&host);
    for (unsigned i = 0; i < TIMES; i++) {
        struct raw raw = raw_open((struct raw_options){.connect = bus_port_endpoint(host.port)});
        raw_say_ready(&raw, "worker");
        raw_say_chunk(&raw, 0);
        raw_close(&raw);
    }
    host_expect_chunks(&host, TIMES);
    while (host.process.peers_lost < TIMES) { /* it hangs here when one is forgotten */
        host_call(&host, NULL);
    }
    assert_int_equal(host.process.peers_joined, TIMES);
    host_close(&host);
}

static bool (*read_one)(struct remote *remote);

static bool
read_one_of_many(struct remote *remote)
{
    (void)read_one(remote);
    return !remote->closed;
}

static void
always_have_more(struct host *host)
{
    struct remote *remote = (struct remote *)(void *)host->port; /* its first member */
    read_one = remote->receive_one;
    remote->receive_one = read_one_of_many;
}

static bool is_ended; /* the connection of the host's only peer */

static void
look_whether_ended(struct host *host)
{
    struct remote *remote = (struct remote *)(void *)host->port;
    is_ended = DYN_CONTAINER_OF(remote->peers.next, struct peer, link)->ended;
}

/* A port at which more arrives than its loop can read never has read everything. No time goes by before the
 * end is known, or who was slow to close would be silent. */
static void
who_leaves_in_a_flood_is_lost_all_the_same(void **state)
{
    enum { TIMES = 20, STEP_MS = 250 };
    struct host host = {.is_timeless = true};
    (void)state;
    host_open(&host);
    host_call(&host, always_have_more);
    for (unsigned i = 1; i <= TIMES; i++) {
        struct raw raw = raw_open((struct raw_options){.connect = bus_port_endpoint(host.port)});
        raw_say_ready(&raw, "worker");
        raw_expect_ready(&raw);
        raw_close(&raw);
        host_expect(&host, "ready:worker");
        for (is_ended = false; !is_ended;) {
            host_call(&host, look_whether_ended);
        }
        while (host.process.peers_lost < i) { /* it hangs here when one is forgotten */
            host_wait_ms(&host, STEP_MS);
        }
        host_expect(&host, "goodbye:lost");
    }
    host_close(&host);
}

static void
read_to_the_end(struct host *host)
{
    struct remote *remote = (struct remote *)(void *)host->port;
    remote->receive_one = read_one;
}

static bool
read_nothing(struct remote *remote)
{
    (void)remote;
    return true;
}

static void
read_no_more(struct host *host)
{
    struct remote *remote = (struct remote *)(void *)host->port;
    read_one = remote->receive_one;
    remote->receive_one = read_nothing;
}

/* Sends CHUNKs until the port has slowed it down and nothing more is taken for a while, though time goes by
 * for the port; how many. */
static uint64_t
send_until_stopped(struct host *host, struct raw *raw, uint64_t most)
{
    enum { BODY_BYTES = 32 * 1024, TICK_MS = 250, A_TICK = 1024, PATIENCE = 200, A_MS = 1000 };
    static char body[BODY_BYTES];
    struct dyn_buf header = DYN_BUF_INIT;
    struct env *env = wire_envelope(ENV_CHUNK);
    uint64_t n = 0;
    assert_int_equal(env_encode(env, &header, NULL), 0);
    for (unsigned refused = 0; refused < PATIENCE && n < most;) {
        if (zmq_send(raw->socket, header.data, header.len, ZMQ_SNDMORE | ZMQ_DONTWAIT) < 0) {
            refused += host->process.throttled > 0; /* before, libzmq's threads had no turn */
            (void)usleep(A_MS);
        } else {
            assert_int_equal(zmq_send(raw->socket, body, sizeof body, 0), sizeof body);
            refused = 0;
            if (++n % A_TICK == 0) {
                host_wait_ms(host, TICK_MS);
            }
        }
    }
    env_free(&env);
    dyn_buf_fini(&header);
    return n;
}

static bool is_throttled; /* the host's only peer */

static void
look_whether_throttled(struct host *host)
{
    struct remote *remote = (struct remote *)(void *)host->port;
    is_throttled = DYN_CONTAINER_OF(remote->peers.next, struct peer, link)->is_throttled;
}

/* libzmq would take a whole gigabyte into memory. */
static void
who_sends_faster_than_is_read_has_to_wait(void **state)
{
    enum { FAR_TOO_MANY = 32 * 1024, TICK_MS = 250 };
    struct host host = {.mute = true, .roles = 1u << BUS_ROLE_CLIENT, .kinds = 1u << ENV_CHUNK};
    (void)state;
    host_open(&host);
    struct raw raw =
        raw_open((struct raw_options){.connect = bus_port_endpoint(host.port), .queue_max = 1000});
    raw_say_chunk(&raw, 0); /* a client that said no READY may be silent */
    host_expect_chunks(&host, 1);
    host_call(&host, read_no_more);
    host_wait_ms(&host, TICK_MS);
    uint64_t sent = send_until_stopped(&host, &raw, FAR_TOO_MANY);
    assert_true(sent < FAR_TOO_MANY);
    assert_int_equal(host.process.throttled, 1);
    host_call(&host, read_to_the_end);
    for (is_throttled = true; is_throttled;) { /* it hangs here when it stays so */
        host_wait_ms(&host, TICK_MS);
        host_call(&host, look_whether_throttled);
    }
    raw_set_int(&raw, ZMQ_LINGER, 0);
    raw_close(&raw);
    host_expect(&host, "goodbye:lost");
    host_close(&host);
}

/* libzmq shares the memory of an id longer than 33 bytes. Leaks are found by the address sanitizer. */
static void
a_long_id_is_given_back_with_its_peer(void **state)
{
    char id[256];
    struct host host = {0};
    (void)state;
    memset(id, 'i', sizeof id - 1);
    id[sizeof id - 1] = '\0';
    host_open(&host);
    struct raw raw = join_as(bus_port_endpoint(host.port), id);
    raw_expect_ready(&raw);
    raw_close(&raw);
    host_expect(&host, "ready:worker goodbye:lost");
    host_close(&host);
}

/* ---- those who do not read ---- */

enum { CREDITS_A_TURN = 1000 };

/* Kinds that no mailbox refuses, until the peer is gone. */
static void
send_credits(struct host *host)
{
    for (unsigned i = 0; i < CREDITS_A_TURN; i++) {
        struct env *env = wire_envelope(ENV_CREDIT);
        if (bus_send(host->me, host->last_peer, &env, NULL) != 0) {
            env_free(&env);
        }
    }
}

static void
who_never_reads_is_cut_when_its_queue_is_full(void **state)
{
    struct host host = {0};
    (void)state;
    host_open(&host);
    struct raw good = raw_join(bus_port_endpoint(host.port));
    struct raw raw = raw_join(bus_port_endpoint(host.port));
    host_expect(&host, "ready:worker ready:worker");
    raw_say_chunk(&raw, 0); /* so it is the last */
    raw_expect_chunk(&raw, 0);
    while (atomic_load(&host.process.refused_limit) == 0) { /* it hangs here when there is no limit */
        host_call(&host, send_credits);
        raw_say(&raw, ENV_HEARTBEAT, NULL); /* lives, and is heard */
        raw_say(&good, ENV_HEARTBEAT, NULL);
    }
    host_expect(&host, "goodbye:limit");
    raw_say_chunk(&good, 1);
    raw_expect_chunk(&good, 1);
    raw_set_int(&raw, ZMQ_LINGER, 0);
    raw_close(&raw);
    raw_close(&good);
    host_close(&host);
}

/* The descriptor of its connection: no way to send a RST through libzmq. */
static int
descriptor_of(struct raw *raw, void *events)
{
    char event[6];
    int fd = -1;
    assert_int_equal(zmq_recv(events, event, sizeof event, 0), 6);
    memcpy(&fd, event + 2, sizeof fd);
    while (zmq_recv(events, event, sizeof event, ZMQ_DONTWAIT) >= 0) {
    }
    (void)raw;
    return fd;
}

static struct gate stand_still;

static void
stand_still_until_told(struct host *host)
{
    (void)host;
    gate_wait(&stand_still);
}

static void *
make_it_stand_still(void *host)
{
    host_call(host, stand_still_until_told);
    return NULL;
}

/* More than the queue of a connection would hold, then a broken connection, then the time of libzmq's next
 * ping: with a limit on the queue and pings that would end the process. */
static void
a_flood_that_breaks_off_harms_nobody(void **state)
{
    enum { CHUNKS = 5000, PING_MS = 1200 };
    const struct linger reset = {.l_onoff = 1, .l_linger = 0};
    struct host host = {.mute = true};
    pthread_t thread;
    (void)state;
    host_open(&host);
    struct raw good = raw_join(bus_port_endpoint(host.port));
    struct raw raw = {.context = zmq_ctx_new()};
    void *events = zmq_socket(raw.context, ZMQ_PAIR);
    raw.socket = zmq_socket(raw.context, ZMQ_DEALER);
    assert_int_equal(zmq_socket_monitor(raw.socket, "inproc://raw", ZMQ_EVENT_CONNECTED), 0);
    assert_int_equal(zmq_connect(events, "inproc://raw"), 0);
    assert_int_equal(zmq_connect(raw.socket, bus_port_endpoint(host.port)), 0);
    raw_set_int(&raw, ZMQ_LINGER, 0);
    int fd = descriptor_of(&raw, events);
    raw_say_ready(&raw, "worker");
    raw_expect_ready(&raw);
    gate_init(&stand_still, 1);
    assert_int_equal(pthread_create(&thread, NULL, make_it_stand_still, &host), 0);
    for (uint32_t i = 0; i < CHUNKS; i++) {
        raw_say_chunk(&raw, i);
    }
    for (int queued = 1; queued > 0 && ioctl(fd, SIOCOUTQ, &queued) == 0;) { /* the kernel passes it on */
    }
    (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    (void)zmq_close(events);
    raw_close(&raw);
    (void)poll(NULL, 0, PING_MS); /* libzmq has a clock of its own */
    gate_open(&stand_still);
    (void)pthread_join(thread, NULL);
    raw_say_chunk(&good, 0);
    while (host.process.peers_lost == 0) {
        host_call(&host, NULL);
    }
    host_close(&host);
    raw_close(&good);
}

static unsigned accepted;

static void
send_chunks_until_full(struct host *host)
{
    dyn_block_t *body = dyn_block_new(0, ENV_CHUNK_MAX);
    struct dyn_err err = {.code = DYN_OK};
    memset(dyn_block_data(body), 'x', ENV_CHUNK_MAX);
    body->len = ENV_CHUNK_MAX;
    while (err.code == DYN_OK && accepted < 100000) {
        struct env *env = wire_envelope(ENV_CHUNK);
        env->body = dyn_block_ref(body);
        accepted++;
        if (bus_send(host->me, host->last_peer, &env, &err) != 0) {
            env_free(&env);
        }
    }
    dyn_block_unref(&body);
}

/* What waits for a peer counts in bytes until it has left this process, not only until libzmq has it. */
static void
a_peers_mailbox_is_full_until_it_has_left(void **state)
{
    enum { ROUNDS = 20 };
    struct host host = {.is_timeless = true}; /* it takes as long as it takes to read 64 MiB and more */
    (void)state;
    accepted = 0;
    host_open(&host);
    struct raw raw = raw_join(bus_port_endpoint(host.port));
    host_expect(&host, "ready:worker");
    for (unsigned i = 0; i < ROUNDS; i++) { /* what the mailbox, libzmq and the kernel take, and not more */
        host_call(&host, send_chunks_until_full);
    }
    size_t waiting = bus_mailbox_bytes(host.bus, host.last_peer);
    assert_true(waiting <= BUS_MAILBOX_DEFAULT && waiting > BUS_MAILBOX_DEFAULT / 2);
    for (unsigned i = 0; i < accepted - ROUNDS; i++) {
        struct env *env = raw_expect(&raw, ENV_CHUNK);
        env_free(&env);
    }
    raw_set_int(&raw, ZMQ_LINGER, 0);
    raw_close(&raw);
    host_expect(&host, "goodbye:lost");
    host_close(&host);
}

/* ---- what the owner does ---- */

static void
cut_the_last(struct host *host)
{
    struct env *env = wire_envelope(ENV_CHUNK);
    bus_peer_cut(host->me, host->last_peer, "credit");
    bus_peer_cut(host->me, host->last_peer, "again");
    bus_peer_cut(host->me, bus_actor_addr(host->me), "not a peer");
    bus_peer_cut(host->me, 0, "nobody");
    if (bus_send(host->me, host->last_peer, &env, NULL) != 0) { /* else it is lost with the peer */
        env_free(&env);
    }
}

static void
expect_the_last_is_gone(struct host *host)
{
    struct dyn_err err;
    struct env *env = wire_envelope(ENV_END);
    CHECK(bus_send(host->me, host->last_peer, &env, &err) == -1 && err.code == DYN_E_GONE);
    env_free(&env);
}

static void
a_peer_can_be_told_to_go(void **state)
{
    struct host host = {0};
    (void)state;
    host_open(&host);
    struct raw raw = raw_join(bus_port_endpoint(host.port));
    host_expect(&host, "ready:worker");
    host_call(&host, cut_the_last);
    host_expect(&host, "goodbye:credit");
    host_call(&host, expect_the_last_is_gone);
    raw_expect_goodbye(&raw, "credit");
    assert_int_equal(host.process.refused_limit, 1);
    raw_close(&raw);
    host_close(&host);
}

static void
send_goodbye(struct host *host)
{
    struct env *env = env_new(ENV_GOODBYE);
    env->reason = DYN_SLICE("credit");
    CHECK(bus_send(host->me, host->last_peer, &env, NULL) == 0);
}

static void
goodbye_sent_to_a_peer_does_the_same(void **state)
{
    struct host host = {0};
    (void)state;
    host_open(&host);
    struct raw raw = raw_join(bus_port_endpoint(host.port));
    host_expect(&host, "ready:worker");
    host_call(&host, send_goodbye);
    host_expect(&host, "goodbye:credit");
    host_call(&host, expect_the_last_is_gone);
    raw_expect_goodbye(&raw, "credit");
    raw_close(&raw);
    host_close(&host);
}

static void
drain_the_port(struct host *host)
{
    bus_port_drain(host->port);
}

/* Who is there goes on, who comes is told at once. */
static void
a_draining_port_says_so_and_goes_on(void **state)
{
    struct host host = {0};
    (void)state;
    host_open(&host);
    struct raw raw = raw_join(bus_port_endpoint(host.port));
    host_call(&host, drain_the_port);
    raw_expect_goodbye(&raw, "drain");
    raw_say_chunk(&raw, 0);
    raw_expect_chunk(&raw, 0);
    struct raw late = raw_join(bus_port_endpoint(host.port));
    raw_expect_goodbye(&late, "drain");
    host_expect(&host, "ready:worker ready:worker");
    raw_close(&late);
    host_expect(&host, "goodbye:lost");
    raw_say(&raw, ENV_GOODBYE, "drain");
    host_expect(&host, "goodbye:drain");
    raw_say_chunk(&raw, 1); /* it leaves, but has not left */
    raw_expect_chunk(&raw, 1);
    raw_say(&raw, ENV_GOODBYE, "close");
    host_expect(&host, "goodbye:close");
    raw_close(&raw);
    host_close(&host);
}

static void
close_the_port(struct host *host)
{
    bus_port_close(&host->port);
}

/* Whether a peer heard the last word of a port. */
static bool
hears_a_port_close(void)
{
    struct host host = {0};
    host_open(&host);
    struct raw raw = raw_join(bus_port_endpoint(host.port));
    host_expect(&host, "ready:worker");
    host_call(&host, close_the_port);
    struct env *env = raw_receive(&raw, BUS_LINGER_MS * 2);
    while (env != NULL && env->kind == ENV_HEARTBEAT) {
        env_free(&env);
        env = raw_receive(&raw, BUS_LINGER_MS * 2);
    }
    bool is_heard = env != NULL;
    assert_true(!is_heard || (env->kind == ENV_GOODBYE && dyn_slice_is(env->reason, "close")));
    env_free(&env);
    host_call(&host, expect_the_last_is_gone);
    host_expect(&host, ""); /* no callback comes any more */
    raw_close(&raw);
    host_close(&host);
    return is_heard;
}

/* What a busy machine does not read within BUS_LINGER_MS is lost with the connection: it is tried again. */
static void
a_port_that_closes_says_goodbye(void **state)
{
    (void)state;
    bool is_heard = false;
    for (unsigned tries = 0; tries < 5 && !is_heard; tries++) {
        is_heard = hears_a_port_close();
    }
    assert_true(is_heard);
}

/* ---- keys ---- */

struct ring {
    struct keys keys;
    struct bus_cert router, worker, other, client;
    struct bus_security_options options;
};

static void
ring_open(struct ring *ring)
{
    static char cert[128];
    static char allowed[128];
    keys_open(&ring->keys);
    keys_make(&ring->keys, "router", BUS_ROLE_ROUTER, false, &ring->router);
    keys_make(&ring->keys, "worker", BUS_ROLE_WORKER, true, &ring->worker);
    keys_make(&ring->keys, "other", BUS_ROLE_WORKER, true, &ring->other);
    keys_make(&ring->keys, "client", BUS_ROLE_CLIENT, true, &ring->client);
    (void)snprintf(cert, sizeof cert, "%s", keys_path(&ring->keys, "router.key"));
    (void)snprintf(allowed, sizeof allowed, "%s", keys_path(&ring->keys, "allowed"));
    ring->options = (struct bus_security_options){.cert = cert, .allowed = allowed};
}

static struct raw_options
with_key(const struct ring *ring, const struct host *host, const struct bus_cert *cert,
         const char *routing_id)
{
    return (struct raw_options){.connect = bus_port_endpoint(host->port),
                                .routing_id = routing_id,
                                .cert = cert,
                                .server_key = ring->router.public_key};
}

static struct raw
join_with(const struct ring *ring, const struct host *host, const struct bus_cert *cert)
{
    struct raw raw = raw_open(with_key(ring, host, cert, NULL));
    raw_say_ready(&raw, "worker");
    return raw;
}

static void
a_key_decides_who_may_be_what(void **state)
{
    struct ring ring;
    (void)state;
    ring_open(&ring);
    struct host host = {.security_options = &ring.options};
    host_open(&host);
    struct raw raw = join_with(&ring, &host, &ring.worker);
    raw_expect_ready(&raw);
    host_expect(&host, "ready:worker");
    struct raw liar = join_with(&ring, &host, &ring.client);
    raw_expect_goodbye(&liar, "role");
    host_expect(&host, "");
    raw_close(&liar);
    raw_close(&raw);
    host_expect(&host, "goodbye:lost");
    host_close(&host);
    keys_close(&ring.keys);
}

/* The id of one that has just left, with another key: never taken for it. */
static void
an_id_with_another_key_is_another_peer(void **state)
{
    struct ring ring;
    (void)state;
    ring_open(&ring);
    struct host host = {.security_options = &ring.options};
    host_open(&host);
    unanswered = 0;
    for (unsigned i = 0; i < 20; i++) {
        const struct bus_cert *cert = i % 2 == 0 ? &ring.worker : &ring.other;
        struct raw raw = join_until_answered(with_key(&ring, &host, cert, "me"));
        raw_close(&raw);
    }
    struct raw last = join_until_answered(with_key(&ring, &host, &ring.worker, "me"));
    expect_all_lost_but(&host, 1, 21);
    raw_close(&last);
    host_close(&host);
    keys_close(&ring.keys);
}

static void
a_key_that_is_taken_away_ends_its_connections(void **state)
{
    struct ring ring;
    (void)state;
    ring_open(&ring);
    struct host host = {.security_options = &ring.options};
    host_open(&host);
    struct raw raw = join_with(&ring, &host, &ring.worker);
    struct raw other = join_with(&ring, &host, &ring.other);
    raw_expect_ready(&raw);
    raw_expect_ready(&other);
    host_expect(&host, "ready:worker ready:worker");
    assert_int_equal(unlink(keys_path(&ring.keys, "allowed/worker.key")), 0);
    assert_int_equal(bus_security_reload(host.security, NULL), 0);
    host_wait_ms(&host, BUS_HEARTBEAT_MS);
    host_expect(&host, "goodbye:role");
    raw_expect_goodbye(&raw, "role");
    raw_say_chunk(&other, 0);
    raw_expect_chunk(&other, 0);
    raw_close(&raw);
    raw_close(&other);
    host_close(&host);
    keys_close(&ring.keys);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_takes_anothers_id_does_not_get_its_answers),
        cmocka_unit_test(an_id_that_comes_back_is_another_peer),
        cmocka_unit_test(peers_that_come_and_go_at_once_are_all_accounted_for),
        cmocka_unit_test(who_leaves_in_a_flood_is_lost_all_the_same),
        cmocka_unit_test(who_sends_faster_than_is_read_has_to_wait),
        cmocka_unit_test(a_long_id_is_given_back_with_its_peer),
        cmocka_unit_test(who_never_reads_is_cut_when_its_queue_is_full),
        cmocka_unit_test(a_flood_that_breaks_off_harms_nobody),
        cmocka_unit_test(a_peers_mailbox_is_full_until_it_has_left),
        cmocka_unit_test(a_peer_can_be_told_to_go),
        cmocka_unit_test(goodbye_sent_to_a_peer_does_the_same),
        cmocka_unit_test(a_draining_port_says_so_and_goes_on),
        cmocka_unit_test(a_port_that_closes_says_goodbye),
        cmocka_unit_test(a_key_decides_who_may_be_what),
        cmocka_unit_test(an_id_with_another_key_is_another_peer),
        cmocka_unit_test(a_key_that_is_taken_away_ends_its_connections),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
