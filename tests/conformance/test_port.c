/* A port, and peers that are not ours: who joins and how it is known that one has left; what broken, lying
 * and greedy ones get. */
#include "bus/remote_impl.h"
#include "tests/conformance/host.h"
#include "tests/conformance/raw.h"

#include <sys/ioctl.h>

/* ---- joining and leaving ---- */

static void
a_worker_joins_and_is_answered(void **state)
{
    struct host host = {0};
    (void)state;
    host_open(&host);
    struct raw raw = raw_join(bus_port_endpoint(host.port));
    for (uint32_t i = 0; i < 100; i++) {
        raw_say_chunk(&raw, i);
        raw_expect_chunk(&raw, i);
    }
    raw_say(&raw, ENV_GOODBYE, "close");
    host_expect(&host, "ready:worker goodbye:close");
    assert_int_equal(host.process.peers_joined, 1);
    assert_int_equal(host.process.peers_lost, 0);
    raw_close(&raw);
    host_close(&host);
}

static void
a_client_may_do_without_ready(void **state)
{
    struct host host = {.roles = 1u << BUS_ROLE_CLIENT, .kinds = 1u << ENV_REQUEST};
    (void)state;
    host_open(&host);
    struct raw raw = raw_open((struct raw_options){.connect = bus_port_endpoint(host.port)});
    raw_say(&raw, ENV_REQUEST, NULL);
    host_expect(&host, "request");
    host_wait_ms(&host, 5000); /* it is not asked for heartbeats, and gets none */
    raw_say(&raw, ENV_REQUEST, NULL);
    host_expect(&host, "request");
    assert_null(raw_receive(&raw, 0));
    raw_close(&raw);
    host_expect(&host, "goodbye:lost");
    host_close(&host);
}

/* The connection's end is known at once, and after everything that came over it. */
static void
what_was_sent_before_the_end_is_heard_first(void **state)
{
    enum { CHUNKS = 5000 };
    struct host host = {.mute = true};
    (void)state;
    host_open(&host);
    struct raw raw = raw_join(bus_port_endpoint(host.port));
    for (uint32_t i = 0; i < CHUNKS; i++) {
        raw_say_chunk(&raw, i);
    }
    raw_say(&raw, ENV_END, NULL);
    raw_close(&raw);
    host_expect(&host, "ready:worker end goodbye:lost");
    host_expect_chunks(&host, CHUNKS);
    assert_int_equal(host.process.peers_lost, 1);
    assert_int_equal(host.process.heartbeats_lost, 0);
    host_close(&host);
}

static void
a_silent_peer_is_lost_in_time_and_cut_off(void **state)
{
    struct host host = {0};
    (void)state;
    host_open(&host);
    struct raw raw = raw_join(bus_port_endpoint(host.port));
    host_wait_ms(&host, BUS_PEER_LOST_MS - 250);
    host_expect(&host, "ready:worker");
    host_wait_ms(&host, 550);
    host_expect(&host, "goodbye:silent");
    raw_expect_goodbye(&raw, "silent");
    assert_int_equal(host.process.heartbeats_lost, 1);
    assert_int_equal(host.process.peers_lost, 1);
    raw_say_chunk(&raw, 0); /* too late: nobody listens */
    host_wait_ms(&host, 2000);
    host_expect(&host, "");
    assert_int_equal(host.chunks, 0);
    raw_close(&raw);
    host_close(&host);
}

/* Long before it is lost the owner knows that another one were better asked. */
static void
a_late_peer_is_said_to_be_late(void **state)
{
    struct host host = {.hears_late = true};
    (void)state;
    host_open(&host);
    struct raw raw = raw_join(bus_port_endpoint(host.port));
    for (unsigned i = 0; i < 3; i++) {
        host_wait_ms(&host, BUS_PEER_LATE_MS + 300);
        host_expect(&host, i == 0 ? "ready:worker heartbeat:late" : "heartbeat:late");
        raw_say_chunk(&raw, i);
        raw_expect_chunk(&raw, i);
        host_expect(&host, "heartbeat");
    }
    host_wait_ms(&host, BUS_PEER_LOST_MS + 300);
    host_expect(&host, "heartbeat:late goodbye:silent");
    raw_close(&raw);
    host_close(&host);
}

/* ---- a machine with much to do ---- */

/* The host's libzmq thread, which stands still as if it got no turn. */
struct held_thread {
    void *ends[2];
    struct gate is_held, may_go;
};

/* On that thread: it gives a message back as soon as it is written. */
static void
hold(void *data, void *hint)
{
    struct held_thread *thread = hint;
    (void)data;
    gate_open(&thread->is_held);
    gate_wait(&thread->may_go);
}

static void
hold_thread(struct held_thread *thread, const struct host *host)
{
    static char word[] = "hold";
    char endpoint[64];
    size_t size = sizeof endpoint;
    zmq_msg_t message;
    for (size_t i = 0; i < DYN_ARRAY_LEN(thread->ends); i++) {
        thread->ends[i] = zmq_socket(host->bus->zmq, ZMQ_PAIR);
        assert_non_null(thread->ends[i]);
    }
    assert_int_equal(zmq_bind(thread->ends[0], "tcp://127.0.0.1:*"), 0);
    assert_int_equal(zmq_getsockopt(thread->ends[0], ZMQ_LAST_ENDPOINT, endpoint, &size), 0);
    assert_int_equal(zmq_connect(thread->ends[1], endpoint), 0);
    assert_int_equal(zmq_msg_init_data(&message, word, sizeof word, hold, thread), 0);
    assert_int_equal(zmq_msg_send(&message, thread->ends[1], 0), sizeof word);
    gate_wait(&thread->is_held);
}

static void
let_thread_go(struct held_thread *thread)
{
    gate_open(&thread->may_go);
    for (size_t i = 0; i < DYN_ARRAY_LEN(thread->ends); i++) {
        assert_int_equal(zmq_close(thread->ends[i]), 0);
    }
}

static int unread_bytes; /* of the host's only peer */

static void
count_unread(struct host *host)
{
    struct remote *remote = (struct remote *)(void *)host->port;
    const struct peer *peer = DYN_CONTAINER_OF(remote->peers.next, struct peer, link);
    CHECK(ioctl(peer->fd, FIONREAD, &unread_bytes) == 0);
}

/* What it has said lies in the kernel, and there it would be lost. */
static void
what_this_process_has_not_read_yet_is_no_silence(void **state)
{
    struct host host = {.hears_late = true, .is_timeless = true};
    struct held_thread thread;
    (void)state;
    gate_init(&thread.is_held, 1); /* before libzmq's thread is there: how it hears of them is libzmq's own */
    gate_init(&thread.may_go, 1);
    host_open(&host);
    struct raw raw = raw_join(bus_port_endpoint(host.port));
    host_expect(&host, "ready:worker");
    hold_thread(&thread, &host);
    raw_say_chunk(&raw, 0);
    for (unread_bytes = 0; unread_bytes == 0;) {
        host_call(&host, count_unread);
    }
    host_wait_ms(&host, 2 * BUS_PEER_LOST_MS);
    host_expect(&host, "");
    let_thread_go(&thread);
    raw_expect_chunk(&raw, 0);
    host_wait_ms(&host, BUS_PEER_LOST_MS + 300);
    host_expect(&host, "heartbeat:late goodbye:silent");
    raw_close(&raw);
    host_close(&host);
}

static void
heartbeats_keep_both_alive(void **state)
{
    enum { BEATS = 20 };
    struct host host = {0};
    unsigned heard = 0;
    (void)state;
    host_open(&host);
    struct raw raw = raw_join(bus_port_endpoint(host.port));
    for (unsigned i = 0; i < BEATS; i++) {
        raw_say(&raw, ENV_HEARTBEAT, NULL);
        raw_say_chunk(&raw, i); /* arrived: so has the heartbeat */
        raw_expect_chunk(&raw, i);
        host_wait_ms(&host, BUS_HEARTBEAT_MS);
        struct env *env = raw_receive(&raw, RAW_TIMEOUT_MS);
        heard += env->kind == ENV_HEARTBEAT;
        env_free(&env);
    }
    assert_int_equal(heard, BEATS);
    host_expect(&host, "ready:worker");
    raw_close(&raw);
    host_expect(&host, "goodbye:lost");
    host_close(&host);
}

/* A process that was stopped blames nobody: what they said is still unread. */
static void
a_process_that_stood_still_waits_once_more(void **state)
{
    struct host host = {0};
    (void)state;
    host_open(&host);
    struct raw raw = raw_join(bus_port_endpoint(host.port));
    host_stand_still_ms(&host, 60000);
    host_expect(&host, "ready:worker");
    raw_say_chunk(&raw, 0);
    raw_expect_chunk(&raw, 0);
    host_wait_ms(&host, BUS_PEER_LOST_MS + 550);
    host_expect(&host, "goodbye:silent");
    raw_close(&raw);
    host_close(&host);
}

/* ---- those who break the rules ---- */

struct refusal {
    const char *what;
    void (*say)(struct raw *raw);
    const char *reason;  /* what it is told */
    const char *journal; /* what the owner hears */
    size_t counter;      /* in struct bus_process */
};

static void
say_a_request(struct raw *raw)
{
    raw_say_ready(raw, "worker");
    raw_expect_ready(raw);
    raw_say(raw, ENV_REQUEST, NULL);
}

static void
say_ready_as_client(struct raw *raw)
{
    raw_say_ready(raw, "client");
}

static void
say_ready_as_nobody(struct raw *raw)
{
    raw_say_ready(raw, "emperor");
}

static void
say_a_chunk_first(struct raw *raw)
{
    raw_say_chunk(raw, 0);
}

static void
say_ready_as_another(struct raw *raw)
{
    raw_say_ready(raw, "worker");
    raw_expect_ready(raw);
    raw_say_ready(raw, "client");
}

static void
say_version_2(struct raw *raw)
{
    static const char header[] = "\x82\xa1v\x92\x02\x00\xa4kind\xa5ready";
    raw_begin(raw);
    raw_send_frame(raw, header, sizeof header - 1, false);
}

static void
say_an_unknown_kind(struct raw *raw)
{
    static const char header[] = "\x82\xa1v\x92\x01\x01\xa4kind\xa5hello";
    raw_begin(raw);
    raw_send_frame(raw, header, sizeof header - 1, false);
}

static void
say_garbage(struct raw *raw)
{
    raw_begin(raw);
    raw_send_frame(raw, "GET / HTTP/1.1\r\n\r\n", 18, false);
}

static void
say_nothing(struct raw *raw)
{
    raw_begin(raw);
    raw_send_frame(raw, "", 0, false);
}

static void
say_three_frames(struct raw *raw)
{
    static const char header[] = "\x82\xa1v\x92\x01\x01\xa4kind\xa5ready";
    raw_begin(raw);
    raw_send_frame(raw, header, sizeof header - 1, true);
    raw_send_frame(raw, "body", 4, true);
    raw_send_frame(raw, "more", 4, false);
}

static void
say_many_frames(struct raw *raw)
{
    raw_begin(raw);
    for (unsigned i = 0; i < 1000; i++) {
        raw_send_frame(raw, "", 0, true);
    }
    raw_send_frame(raw, "", 0, false);
}

static void
say_a_large_chunk(struct raw *raw)
{
    struct env *env = wire_envelope(ENV_CHUNK);
    raw_say_ready(raw, "worker");
    raw_expect_ready(raw);
    env->body = dyn_block_new(0, ENV_CHUNK_MAX + 1);
    memset(dyn_block_data(env->body), 0, ENV_CHUNK_MAX + 1);
    env->body->len = ENV_CHUNK_MAX + 1;
    raw_send(raw, env);
}

static void
say_a_large_header(struct raw *raw)
{
    char *header = dyn_zalloc(ENV_HEADER_MAX + 1);
    raw_begin(raw);
    raw_send_frame(raw, header, ENV_HEADER_MAX + 1, false);
    free(header);
}

#define COUNTER(name) offsetof(struct bus_process, name)
static const struct refusal refusals[] = {
    {"a kind it may not send", say_a_request, "role", "ready:worker goodbye:role", COUNTER(refused_role)},
    {"a role that may not join", say_ready_as_client, "role", "", COUNTER(refused_role)},
    {"a role that there is not", say_ready_as_nobody, "role", "", COUNTER(refused_role)},
    {"a chunk before READY", say_a_chunk_first, "role", "", COUNTER(refused_role)},
    {"READY as another", say_ready_as_another, "role", "ready:worker goodbye:role", COUNTER(refused_role)},
    {"version 2", say_version_2, "version", "", COUNTER(refused_version)},
    {"an unknown kind", say_an_unknown_kind, "protocol", "", COUNTER(refused_protocol)},
    {"garbage", say_garbage, "protocol", "", COUNTER(refused_protocol)},
    {"an empty frame", say_nothing, "protocol", "", COUNTER(refused_protocol)},
    {"three frames", say_three_frames, "protocol", "", COUNTER(refused_protocol)},
    {"a thousand frames", say_many_frames, "protocol", "", COUNTER(refused_protocol)},
    {"a chunk that is too large", say_a_large_chunk, "protocol", "ready:worker goodbye:protocol",
     COUNTER(refused_protocol)},
    {"a header that is too large", say_a_large_header, "protocol", "", COUNTER(refused_protocol)},
};

/* Each is told why, counted and not listened to any more; another peer does not notice. */
static void
who_breaks_the_rules_is_told_to_go(void **state)
{
    (void)state;
    for (size_t i = 0; i < DYN_ARRAY_LEN(refusals); i++) {
        const struct refusal *refusal = &refusals[i];
        struct host host = {0};
        host_open(&host);
        struct raw good = raw_join(bus_port_endpoint(host.port));
        host_expect(&host, "ready:worker");
        struct raw bad = raw_open((struct raw_options){.connect = bus_port_endpoint(host.port)});
        refusal->say(&bad);
        raw_expect_goodbye(&bad, refusal->reason);
        host_expect(&host, refusal->journal);
        assert_int_equal(*(atomic_uint_fast64_t *)(void *)((char *)&host.process + refusal->counter), 1);
        raw_say_ready(&bad, "worker"); /* nobody listens */
        raw_say_chunk(&good, 0);
        raw_expect_chunk(&good, 0);
        host_expect(&host, "");
        raw_close(&bad);
        raw_close(&good);
        host_expect(&host, "goodbye:lost");
        host_close(&host);
    }
}

static void
a_frame_beyond_the_limit_ends_the_connection(void **state)
{
    struct host host = {.body_max = 1024 * 1024};
    char *large = dyn_zalloc(2 * 1024 * 1024);
    (void)state;
    host_open(&host);
    struct raw raw = raw_join(bus_port_endpoint(host.port));
    raw_send_frame(&raw, large, 2 * 1024 * 1024, false);
    host_expect(&host, "ready:worker goodbye:lost");
    raw_close(&raw);
    host_close(&host);
    free(large);
}

/* Told to go, it stays: its connection is ended for it. */
static void
who_stays_is_cut_off(void **state)
{
    struct host host = {0};
    struct env *env = NULL;
    (void)state;
    host_open(&host);
    struct raw raw = raw_open((struct raw_options){.connect = bus_port_endpoint(host.port)});
    assert_int_equal(zmq_socket_monitor(raw.socket, "inproc://raw", ZMQ_EVENT_DISCONNECTED), 0);
    void *events = zmq_socket(raw.context, ZMQ_PAIR);
    assert_int_equal(zmq_connect(events, "inproc://raw"), 0);
    say_garbage(&raw);
    raw_expect_goodbye(&raw, "protocol");
    host_wait_ms(&host, BUS_LINGER_MS + 500);
    char event[8];
    assert_int_equal(zmq_recv(events, event, sizeof event, 0), 6); /* it hangs here when it is not */
    env = raw_receive(&raw, 0);
    assert_null(env);
    (void)zmq_close(events);
    raw_close(&raw);
    host_close(&host);
}

/* ---- versions ---- */

static void
a_later_minor_is_listened_to_and_its_new_kinds_are_counted(void **state)
{
    static const char ready[] = "\x84\xa1v\x92\x01\x09\xa4kind\xa5ready\xa4role\xa6worker\xa3new\x01";
    static const char later[] = "\x82\xa1v\x92\x01\x09\xa4kind\xa5later";
    struct host host = {0};
    (void)state;
    host_open(&host);
    struct raw raw = raw_open((struct raw_options){.connect = bus_port_endpoint(host.port)});
    raw_send_frame(&raw, ready, sizeof ready - 1, false);
    raw_expect_ready(&raw);
    raw_send_frame(&raw, later, sizeof later - 1, false);
    raw_say_chunk(&raw, 0);
    raw_expect_chunk(&raw, 0);
    host_expect(&host, "ready:worker");
    assert_int_equal(host.process.ignored_kinds, 1);
    assert_int_equal(host.last_minor, ENV_VERSION_MINOR);
    raw_close(&raw);
    host_expect(&host, "goodbye:lost");
    host_close(&host);
}

static void
send_what_1_0_has_no_word_for(struct host *host)
{
    struct env *env = env_new(ENV_REQUEST);
    env->id.bytes[0] = 9;
    env->surface = ENV_SURFACE_EVENTS;
    CHECK(bus_send(host->me, host->last_peer, &env, NULL) == 0);
}

/* A peer of 1.0 gets headers of 1.0; a request that it has no word for is ended in its name. */
static void
an_earlier_minor_is_spoken_to_in_its_words(void **state)
{
    static const char chunk[] = "\x83\xa1v\x92\x01\x00\xa4kind\xa5"
                                "chunk\xa2id\xc4\x10"
                                "0123456789abcdef";
    struct host host = {.roles = 1u << BUS_ROLE_CLIENT, .kinds = 1u << ENV_CHUNK};
    char header[512];
    unsigned major = 9;
    unsigned minor = 9;
    (void)state;
    host_open(&host);
    struct raw raw = raw_open((struct raw_options){.connect = bus_port_endpoint(host.port)});
    raw_send_frame(&raw, chunk, sizeof chunk - 1, false);
    int len = zmq_recv(raw.socket, header, sizeof header, 0);
    assert_true(len > 0);
    assert_int_equal(env_header_version(dyn_slice(header, (size_t)len), &major, &minor), 0);
    assert_int_equal(major, 1);
    assert_int_equal(minor, 0);
    host_call(&host, send_what_1_0_has_no_word_for);
    host_expect(&host, "end");
    raw_close(&raw);
    host_close(&host);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_worker_joins_and_is_answered),
        cmocka_unit_test(a_client_may_do_without_ready),
        cmocka_unit_test(what_was_sent_before_the_end_is_heard_first),
        cmocka_unit_test(a_silent_peer_is_lost_in_time_and_cut_off),
        cmocka_unit_test(a_late_peer_is_said_to_be_late),
        cmocka_unit_test(what_this_process_has_not_read_yet_is_no_silence),
        cmocka_unit_test(heartbeats_keep_both_alive),
        cmocka_unit_test(a_process_that_stood_still_waits_once_more),
        cmocka_unit_test(who_breaks_the_rules_is_told_to_go),
        cmocka_unit_test(a_frame_beyond_the_limit_ends_the_connection),
        cmocka_unit_test(who_stays_is_cut_off),
        cmocka_unit_test(a_later_minor_is_listened_to_and_its_new_kinds_are_counted),
        cmocka_unit_test(an_earlier_minor_is_spoken_to_in_its_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
