/* The publisher between an actor that tells and libzmq's own SUB sockets: what arrives, how it is numbered,
 * what can be had again, and that a subscriber who does not read costs nobody anything. */
#include "bus/publisher.h"

#include "core/rand.h"
#include "proto/env_codec.h"
#include "proto/event_batch.h"
#include "proto/mp.h"
#include "tests/conformance/wires.h"
#include "tests/unit/bus/keys.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include <zmq.h>

#include <cmocka.h>

enum { RECEIVE_MS = 5000 };

/* Tells and asks; what it gets back waits in `answers`. */
struct teller {
    bus_actor_t *me;
    bus_addr_t publisher;
    struct dyn_list answers; /* under the lock */
    pthread_mutex_t lock;
    pthread_cond_t arrived;
};

struct stage {
    bus_t *bus;
    bus_loop_t *loop;
    struct bus_process process;
    struct publisher_counts counts;
    publisher_t *publisher;
    struct teller *teller;
    void *context; /* the subscribers' */
};

static int
teller_start(void *self, bus_actor_t *me, struct dyn_err *err)
{
    (void)err;
    ((struct teller *)self)->me = me;
    return 0;
}

static void
teller_receive(void *self, struct env **env_p)
{
    struct teller *teller = self;
    (void)pthread_mutex_lock(&teller->lock);
    dyn_list_append(&teller->answers, &(*env_p)->link);
    *env_p = NULL;
    (void)pthread_cond_broadcast(&teller->arrived);
    (void)pthread_mutex_unlock(&teller->lock);
}

static struct env *
next_answer(struct teller *teller)
{
    (void)pthread_mutex_lock(&teller->lock);
    struct dyn_list *link;
    while ((link = dyn_list_pop(&teller->answers)) == NULL) {
        (void)pthread_cond_wait(&teller->arrived, &teller->lock);
    }
    (void)pthread_mutex_unlock(&teller->lock);
    return DYN_CONTAINER_OF(link, struct env, link);
}

static void
teller_stop(void *self)
{
    struct teller *teller = self;
    struct dyn_list *link;
    while ((link = dyn_list_pop(&teller->answers)) != NULL) {
        struct env *env = DYN_CONTAINER_OF(link, struct env, link);
        env_free(&env);
    }
    free(teller);
}

static const struct bus_actor_ops teller_ops = {
    .kind = "teller", .start = teller_start, .receive = teller_receive, .stop = teller_stop};

static struct stage *
stage_open(size_t replay_bytes, bool with_hooks, bus_security_t *security)
{
    struct stage *stage = dyn_zalloc(sizeof *stage);
    struct teller *teller = stage->teller = dyn_zalloc(sizeof *teller);
    struct dyn_err err = {.text = ""};
    bus_process_init(&stage->process, security);
    memset(stage->process.node, 'a', sizeof stage->process.node - 1);
    dyn_list_init(&teller->answers);
    (void)pthread_mutex_init(&teller->lock, NULL);
    (void)pthread_cond_init(&teller->arrived, NULL);
    stage->bus = bus_new(NULL, &err);
    stage->loop = bus_add_loop(stage->bus, "rest");
    bus_addr_t hooks = bus_add_actor(stage->bus, stage->loop, &teller_ops, teller);
    struct publisher_options options = {
        .process = &stage->process,
        .endpoint = "tcp://127.0.0.1:*",
        .also = with_hooks ? hooks : 0,
        .replay_bytes = replay_bytes,
        .counts = &stage->counts,
    };
    stage->publisher = publisher_new(&options);
    teller->publisher = bus_add_actor(stage->bus, stage->loop, &publisher_actor_ops, stage->publisher);
    if (bus_start(stage->bus, &err) != 0) {
        fail_msg("%s", err.text);
    }
    stage->context = zmq_ctx_new();
    return stage;
}

static struct stage *
stage_new(size_t replay_bytes, bool with_hooks)
{
    const struct bus_security_options options = {0};
    struct dyn_err err;
    bus_security_t *security = bus_security_new(&options, &err);
    assert_non_null(security);
    return stage_open(replay_bytes, with_hooks, security);
}

static void
stage_free(struct stage *stage)
{
    assert_int_equal(zmq_ctx_term(stage->context), 0);
    assert_int_equal(bus_stop(stage->bus, 1000), 0);
    bus_free(&stage->bus);
    bus_security_free(&stage->process.security);
    free(stage);
}

static void *
subscribe(const struct stage *stage, const char *topic)
{
    const int wait_ms = RECEIVE_MS;
    const int zero = 0;
    void *socket = zmq_socket(stage->context, ZMQ_SUB);
    assert_int_equal(zmq_setsockopt(socket, ZMQ_RCVTIMEO, &wait_ms, sizeof wait_ms), 0);
    assert_int_equal(zmq_setsockopt(socket, ZMQ_LINGER, &zero, sizeof zero), 0);
    assert_int_equal(zmq_setsockopt(socket, ZMQ_SUBSCRIBE, topic, strlen(topic)), 0);
    assert_int_equal(zmq_connect(socket, publisher_endpoint(stage->publisher)), 0);
    return socket;
}

/* ---- on the loop ---- */

struct telling {
    struct teller *teller;
    char topic[64];
    char map[64];
    size_t map_len;
    unsigned times;
    dyn_block_t *batch;  /* or this is sent */
    struct env *request; /* or this */
};

static void
tell_on_loop(void *arg)
{
    struct telling *telling = arg;
    struct teller *teller = telling->teller;
    for (unsigned i = 0; i < telling->times; i++) {
        struct env *event = env_new(ENV_EVENT);
        event->topic = env_copy(event, dyn_slice_str(telling->topic));
        event->body = dyn_block_copy(0, dyn_slice(telling->map, telling->map_len));
        CHECK(bus_send(teller->me, teller->publisher, &event, NULL) == 0);
    }
    if (telling->batch != NULL) {
        struct env *event = env_new(ENV_EVENT);
        event->topic = DYN_SLICE(EVENT_REQUESTS);
        event->body = telling->batch;
        event->is_own = true;
        CHECK(bus_send(teller->me, teller->publisher, &event, NULL) == 0);
    }
    if (telling->request != NULL) {
        CHECK(bus_send(teller->me, teller->publisher, &telling->request, NULL) == 0);
    }
    free(telling);
}

static void
tell_map(const struct stage *stage, const char *topic, struct dyn_slice map, unsigned times)
{
    struct telling *telling = dyn_zalloc(sizeof *telling);
    telling->teller = stage->teller;
    (void)snprintf(telling->topic, sizeof telling->topic, "%s", topic);
    memcpy(telling->map, map.data, map.len);
    telling->map_len = map.len;
    telling->times = times;
    bus_loop_post(stage->loop, tell_on_loop, telling);
}

/* {"n": 1} */
static void
tell(const struct stage *stage, const char *topic, unsigned times)
{
    tell_map(stage, topic, DYN_SLICE("\x81\xa1n\x01"), times);
}

/* As a router of the process does. */
static void
tell_batch(const struct stage *stage, const struct event_record *records, size_t n)
{
    struct telling *telling = dyn_zalloc(sizeof *telling);
    struct dyn_buf batch = DYN_BUF_INIT;
    for (size_t i = 0; i < n; i++) {
        event_batch_add(&batch, &records[i]);
    }
    telling->teller = stage->teller;
    telling->batch = dyn_block_copy(0, dyn_buf_slice(&batch));
    dyn_buf_fini(&batch);
    bus_loop_post(stage->loop, tell_on_loop, telling);
}

static struct env *
ask_since(const struct stage *stage, uint64_t since, const char *topic, const char *node)
{
    struct telling *telling = dyn_zalloc(sizeof *telling);
    telling->teller = stage->teller;
    struct env *request = telling->request = env_new(ENV_REQUEST);
    request->id = env_id_random();
    request->surface = ENV_SURFACE_EVENTS;
    request->since = since;
    request->topic = env_copy(request, dyn_slice_str(topic));
    request->node = env_copy(request, dyn_slice_str(node));
    struct env_id id = request->id;
    bus_loop_post(stage->loop, tell_on_loop, telling);
    struct env *end = next_answer(stage->teller);
    assert_int_equal(end->kind, ENV_END);
    assert_int_equal(end->outcome, ENV_OUTCOME_OK);
    assert_true(env_id_eq(&end->id, &id));
    return end;
}

/* ---- what a subscriber sees ---- */

static size_t
frame(void *socket, char *out, size_t size, bool *more)
{
    int len = zmq_recv(socket, out, size, 0);
    assert_true(len >= 0 && (size_t)len <= size);
    int has_more = 0;
    size_t option = sizeof has_more;
    assert_int_equal(zmq_getsockopt(socket, ZMQ_RCVMORE, &has_more, &option), 0);
    *more = has_more != 0;
    return (size_t)len;
}

/* The two frames behind the topic; what the header says is what the body says. */
static uint64_t
receive_rest(void *socket, const char *topic, uint64_t *topic_sequence)
{
    char header[1024];
    char body[1024];
    bool more = false;
    size_t len = frame(socket, header, sizeof header, &more);
    struct env *env = NULL;
    struct dyn_err err;
    assert_true(more);
    assert_int_equal(env_decode(dyn_slice(header, len), &env, &err), 0);
    len = frame(socket, body, sizeof body, &more);
    assert_false(more);
    struct event_record record;
    assert_int_equal(event_decode(dyn_slice(body, len), &record), 0);
    assert_int_equal(env->kind, ENV_EVENT);
    assert_true(dyn_slice_is(env->topic, topic) && dyn_slice_is(record.topic, topic));
    assert_true(dyn_slice_eq(env->node, record.node));
    assert_int_equal(record.node.len, 32);
    assert_int_equal(env->epoch, record.epoch);
    assert_true(record.epoch > 1700000000);
    assert_int_equal(env->event_sequence, record.sequence);
    env_free(&env);
    if (topic_sequence != NULL) {
        *topic_sequence = record.topic_sequence;
    }
    return record.sequence;
}

static uint64_t
receive_event(void *socket, const char *topic, uint64_t *topic_sequence)
{
    char text[256];
    bool more = false;
    size_t len = frame(socket, text, sizeof text, &more);
    assert_true(more && dyn_slice_is(dyn_slice(text, len), topic));
    return receive_rest(socket, topic, topic_sequence);
}

/* Tells until the subscription has taken effect; returns the sequence of the first that arrived. */
static uint64_t
warm_up(const struct stage *stage, void *socket, const char *topic)
{
    zmq_pollitem_t item = {.socket = socket, .events = ZMQ_POLLIN};
    do {
        tell(stage, topic, 1);
    } while (zmq_poll(&item, 1, 20) == 0);
    return receive_event(socket, topic, NULL);
}

/* Past what a slow start has told too often. */
static uint64_t
skip_to(void *socket, const char *topic)
{
    char text[256];
    bool more;
    for (;;) {
        size_t len = frame(socket, text, sizeof text, &more);
        if (dyn_slice_is(dyn_slice(text, len), topic)) {
            return receive_rest(socket, topic, NULL);
        }
        while (more) {
            char bytes[1024];
            (void)frame(socket, bytes, sizeof bytes, &more);
        }
    }
}

static uint64_t
counted(const atomic_uint_fast64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

static void
events_are_numbered_by_one_over_all_topics_and_in_each(void **state)
{
    (void)state;
    struct stage *stage = stage_new(0, false);
    void *all = subscribe(stage, "");
    void *some = subscribe(stage, "gateway.request.");
    (void)warm_up(stage, all, "a.warm");
    (void)warm_up(stage, some, "gateway.request.warm");
    tell(stage, "gateway.request.first", 1);
    uint64_t first = skip_to(some, "gateway.request.first");
    assert_int_equal(skip_to(all, "gateway.request.first"), first);
    tell(stage, "b.other", 2);
    tell(stage, EVENT_REQUEST_COMPLETED, 1);
    tell(stage, "b.other", 1);
    tell(stage, EVENT_REQUEST_COMPLETED, 1);
    uint64_t in_topic = 0;
    /* What the warming up told too often is behind us: the next of `some` is of the other topic. */
    assert_int_equal(receive_event(some, EVENT_REQUEST_COMPLETED, &in_topic), first + 3);
    assert_int_equal(in_topic, 1);
    assert_int_equal(receive_event(some, EVENT_REQUEST_COMPLETED, &in_topic), first + 5);
    assert_int_equal(in_topic, 2);
    assert_int_equal(receive_event(all, "b.other", &in_topic), first + 1);
    assert_int_equal(receive_event(all, "b.other", &in_topic), first + 2);
    assert_int_equal(receive_event(all, EVENT_REQUEST_COMPLETED, &in_topic), first + 3);
    assert_int_equal(receive_event(all, "b.other", &in_topic), first + 4);
    assert_int_equal(in_topic, 3);
    (void)zmq_close(all);
    (void)zmq_close(some);
    stage_free(stage);
}

static void
events_of_a_batch_are_told_one_by_one(void **state)
{
    (void)state;
    struct stage *stage = stage_new(0, false);
    char *long_text = dyn_zalloc(EVENT_MAX);
    const struct event_record records[] = {
        {.model = DYN_SLICE("one"), .status = 200},
        {.failed = true, .error_code = DYN_SLICE("x"), .model = DYN_SLICE("two")},
        {.model = dyn_slice(long_text, EVENT_MAX)}, /* refused, and not counted */
        {.model = DYN_SLICE("three")},
    };
    void *all = subscribe(stage, "");
    uint64_t first = warm_up(stage, all, "a.warm");
    tell(stage, "b", 1);
    first = skip_to(all, "b");
    tell_batch(stage, records, DYN_ARRAY_LEN(records));
    tell(stage, EVENT_REQUEST_COMPLETED, 1);
    uint64_t in_topic = 0;
    assert_int_equal(receive_event(all, EVENT_REQUEST_COMPLETED, &in_topic), first + 1);
    assert_int_equal(in_topic, 1);
    assert_int_equal(receive_event(all, EVENT_REQUEST_FAILED, &in_topic), first + 2);
    assert_int_equal(in_topic, 1);
    assert_int_equal(receive_event(all, EVENT_REQUEST_COMPLETED, &in_topic), first + 3);
    assert_int_equal(in_topic, 2);
    assert_int_equal(receive_event(all, EVENT_REQUEST_COMPLETED, &in_topic), first + 4);
    assert_int_equal(in_topic, 3);
    struct env *end = ask_since(stage, first + 2, NULL, NULL);
    struct event_record again;
    struct mp_cursor cursor = mp_cursor(dyn_block_slice(end->body));
    const char *begin = (const char *)cursor.next;
    mp_skip(&cursor);
    assert_int_equal(event_decode(dyn_slice(begin, (size_t)((const char *)cursor.next - begin)), &again), 0);
    assert_true(again.failed && dyn_slice_is(again.model, "two") && again.sequence == first + 2);
    assert_int_equal(counted(&stage->counts.refused), 1);
    env_free(&end);
    free(long_text);
    (void)zmq_close(all);
    stage_free(stage);
}

static unsigned
count_maps(struct dyn_slice maps, uint64_t *first, uint64_t *last)
{
    unsigned n = 0;
    for (struct mp_cursor cursor = mp_cursor(maps); cursor.next < cursor.end; n++) {
        const uint8_t *start = cursor.next;
        struct event_record record;
        mp_skip(&cursor);
        assert_int_equal(event_decode(dyn_slice((const char *)start, (size_t)(cursor.next - start)), &record),
                         0);
        *first = n == 0 ? record.sequence : *first;
        *last = record.sequence;
    }
    return n;
}

static void
what_was_told_can_be_had_again(void **state)
{
    (void)state;
    struct stage *stage = stage_new(0, false);
    tell(stage, "a", 3);
    tell(stage, "b", 2);
    static const struct {
        uint64_t since;
        const char *topic;
        const char *node;
        unsigned n;
        uint64_t first;
    } cases[] = {
        {0, NULL, NULL, 5, 1},
        {4, NULL, NULL, 2, 4},
        {6, NULL, NULL, 0, 0}, /* nothing new */
        {1, "b", NULL, 2, 4},
        {7, NULL, NULL, 5, 1},    /* not given out yet: of another life */
        {4, NULL, "other", 5, 1}, /* counted by another process */
        {4, NULL, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", 2, 4},
    };
    for (size_t i = 0; i < DYN_ARRAY_LEN(cases); i++) {
        struct env *end = ask_since(stage, cases[i].since, cases[i].topic, cases[i].node);
        uint64_t first = 0;
        uint64_t last = 0;
        assert_int_equal(count_maps(dyn_block_slice(end->body), &first, &last), cases[i].n);
        assert_int_equal(first, cases[i].first);
        assert_int_equal(end->since, 6);
        assert_int_equal(end->event_sequence, 5);
        assert_true(dyn_slice_is(end->node, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"));
        env_free(&end);
    }
    assert_int_equal(counted(&stage->counts.replays), DYN_ARRAY_LEN(cases));
    stage_free(stage);
}

/* A long replay comes in answers of at most 1 MiB, which together have everything once. */
static void
a_long_replay_comes_in_pieces(void **state)
{
    (void)state;
    enum { EVENTS = 20000 };
    struct stage *stage = stage_new((size_t)8 * 1024 * 1024, false);
    tell(stage, EVENT_REQUEST_FAILED, EVENTS);
    uint64_t next = 0;
    unsigned pieces = 0;
    unsigned n = 0;
    while (n < EVENTS) {
        struct env *end = ask_since(stage, next, NULL, NULL);
        uint64_t first = 0;
        uint64_t last = 0;
        assert_true(env_body_len(end) <= ENV_MAP_BODY_MAX);
        n += count_maps(dyn_block_slice(end->body), &first, &last);
        assert_int_equal(first, next == 0 ? 1 : next);
        assert_int_equal(end->since, last + 1);
        next = end->since;
        pieces++;
        env_free(&end);
    }
    assert_int_equal(n, EVENTS);
    assert_true(pieces > 1);
    stage_free(stage);
}

static void
what_is_no_event_is_refused_and_counted(void **state)
{
    (void)state;
    struct stage *stage = stage_new(0, false);
    tell_map(stage, "a", DYN_SLICE("\x01"), 1);
    for (unsigned i = 0; i < PUBLISHER_TOPICS_MAX; i++) {
        char topic[16];
        (void)snprintf(topic, sizeof topic, "t%u", i);
        tell(stage, topic, 1);
    }
    tell(stage, EVENT_REQUEST_COMPLETED, 1); /* has its place */
    struct env *end = ask_since(stage, 0, "gateway.", NULL);
    uint64_t first = 0;
    uint64_t last = 0;
    assert_int_equal(count_maps(dyn_block_slice(end->body), &first, &last), 1);
    env_free(&end);
    uint64_t published = counted(&stage->counts.published);
    uint64_t refused = counted(&stage->counts.refused);
    assert_int_equal(published + refused, 1 + PUBLISHER_TOPICS_MAX + 1);
    assert_int_equal(published, last);
    assert_true(refused > 1);
    stage_free(stage);
}

/* Only what a request has to tell, and the number comes with it. */
static void
hooks_get_the_events_of_requests(void **state)
{
    (void)state;
    struct stage *stage = stage_new(0, true);
    tell(stage, "other", 1);
    tell(stage, EVENT_REQUEST_COMPLETED, 1);
    struct env *event = next_answer(stage->teller);
    struct event_record record;
    assert_int_equal(event->kind, ENV_EVENT);
    assert_int_equal(event_decode(dyn_block_slice(event->body), &record), 0);
    assert_int_equal(record.sequence, 2);
    env_free(&event);
    stage_free(stage);
}

/* 50,000 events pass one that sleeps: the other gets every one, and the sleeper's share of memory is its
 * queue. */
static void
one_that_does_not_read_costs_nobody_anything(void **state)
{
    (void)state;
    enum { EVENTS = 50000, STEP = 1000 };
    struct stage *stage = stage_new(0, false);
    void *sleeper = subscribe(stage, "");
    void *reader = subscribe(stage, "e");
    (void)warm_up(stage, sleeper, "warm");
    (void)warm_up(stage, reader, "e.warm");
    tell(stage, "e.first", 1);
    uint64_t last = skip_to(reader, "e.first");
    uint64_t first = last;
    for (unsigned sent = 0; sent < EVENTS; sent += STEP) {
        tell(stage, "e.load", STEP);
        for (unsigned i = 0; i < STEP; i++) {
            uint64_t sequence = receive_event(reader, "e.load", NULL);
            assert_int_equal(sequence, last + 1);
            last = sequence;
        }
    }
    assert_int_equal(last, first + EVENTS);
    /* Awake again it finds the beginning of what it missed, and then a gap. */
    uint64_t expected = 0;
    uint64_t missed = 0;
    char text[64];
    for (bool more = true; missed == 0; more = true) {
        tell(stage, "late", 1);
        size_t len = frame(sleeper, text, sizeof text, &more);
        struct env *env = NULL;
        char bytes[1024];
        bool is_late = dyn_slice_is(dyn_slice(text, len), "late");
        len = frame(sleeper, bytes, sizeof bytes, &more);
        assert_int_equal(env_decode(dyn_slice(bytes, len), &env, NULL), 0);
        (void)frame(sleeper, bytes, sizeof bytes, &more);
        missed = expected != 0 && env->event_sequence != expected ? env->event_sequence - expected : 0;
        assert_true(!is_late || missed > 0);
        expected = env->event_sequence + 1;
        env_free(&env);
    }
    assert_true(missed > 0 && missed < EVENTS);
    (void)zmq_close(sleeper);
    (void)zmq_close(reader);
    stage_free(stage);
}

/* ---- keys ---- */

static void *
subscribe_with(const struct stage *stage, const struct keys *keys, const char *name, const char *server)
{
    char file[64];
    struct dyn_err err;
    (void)snprintf(file, sizeof file, "%s.key", name);
    const struct bus_security_options options = {
        .cert = keys_path(keys, file), .servers = &server, .n_servers = 1};
    bus_security_t *own = bus_security_new(&options, &err);
    assert_non_null(own);
    const int wait_ms = RECEIVE_MS;
    const int zero = 0;
    void *socket = zmq_socket(stage->context, ZMQ_SUB);
    assert_int_equal(zmq_setsockopt(socket, ZMQ_RCVTIMEO, &wait_ms, sizeof wait_ms), 0);
    assert_int_equal(zmq_setsockopt(socket, ZMQ_LINGER, &zero, sizeof zero), 0);
    assert_int_equal(zmq_setsockopt(socket, ZMQ_SUBSCRIBE, "", 0), 0);
    assert_int_equal(bus_security_client(own, socket, 0, &err), 0);
    assert_int_equal(zmq_connect(socket, publisher_endpoint(stage->publisher)), 0);
    bus_security_free(&own);
    return socket;
}

static bool
has_something(void *socket)
{
    zmq_pollitem_t item = {.socket = socket, .events = ZMQ_POLLIN};
    return zmq_poll(&item, 1, 0) > 0;
}

/* Reads away what there is within a moment; the sequence of the last, or `before`. */
static uint64_t
last_heard(void *socket, uint64_t before)
{
    zmq_pollitem_t item = {.socket = socket, .events = ZMQ_POLLIN};
    while (zmq_poll(&item, 1, 10) > 0) {
        char bytes[1024];
        bool more = true;
        struct env *env = NULL;
        (void)frame(socket, bytes, sizeof bytes, &more);
        size_t len = frame(socket, bytes, sizeof bytes, &more);
        assert_int_equal(env_decode(dyn_slice(bytes, len), &env, NULL), 0);
        before = env->event_sequence;
        env_free(&env);
        (void)frame(socket, bytes, sizeof bytes, &more);
    }
    return before;
}

/* A client's key hears nothing, nor does who speaks in the clear; a subscriber's does until it is taken away.
 */
static void
only_keys_that_may_listen_hear_anything(void **state)
{
    (void)state;
    struct keys keys;
    struct bus_cert router;
    struct bus_cert cert;
    struct dyn_err err;
    keys_open(&keys);
    keys_make(&keys, "router", BUS_ROLE_ROUTER, false, &router);
    keys_make(&keys, "ears", BUS_ROLE_SUBSCRIBER, true, &cert);
    keys_make(&keys, "more", BUS_ROLE_ADMIN, true, &cert);
    keys_make(&keys, "other", BUS_ROLE_CLIENT, true, &cert);
    const struct bus_security_options options = {.cert = keys_path(&keys, "router.key"),
                                                 .allowed = keys_path(&keys, "allowed")};
    bus_security_t *security = bus_security_new(&options, &err);
    assert_non_null(security);
    struct stage *stage = stage_open(0, false, security);
    void *plain = subscribe(stage, "");
    void *client = subscribe_with(stage, &keys, "other", router.public_key);
    void *ears = subscribe_with(stage, &keys, "ears", router.public_key);
    void *more = subscribe_with(stage, &keys, "more", router.public_key);
    for (uint64_t by_ears = 0, by_more = 0; by_ears == 0 || by_more == 0;) {
        tell(stage, "a", 1);
        by_ears = last_heard(ears, by_ears);
        by_more = last_heard(more, by_more);
    }
    assert_false(has_something(plain));
    assert_false(has_something(client));

    assert_int_equal(unlink(keys_path(&keys, "allowed/ears.key")), 0);
    assert_int_equal(bus_security_reload(security, &err), 0);
    /* `more` connects again; `ears` may not. What both had heard before that is read away first. */
    uint64_t last_ears = 0;
    uint64_t last_more = 0;
    while (last_more < last_ears + 50) {
        tell(stage, "c", 1);
        last_ears = last_heard(ears, last_ears);
        last_more = last_heard(more, last_more);
    }
    assert_int_equal(last_heard(ears, 0), 0);
    (void)zmq_close(plain);
    (void)zmq_close(client);
    (void)zmq_close(ears);
    (void)zmq_close(more);
    stage_free(stage);
    keys_close(&keys);
}

/* ---- a peer without libzmq ---- */

/* ZMTP 3.0 (RFC 23): a greeting of 64 bytes, the command READY, then as it likes. */
static int
connect_raw(const struct stage *stage)
{
    static const char ready[] = "\4\x19\5READY\xbSocket-Type\0\0\0\3SUB";
    char greeting[64] = {'\xff', [9] = '\x7f', [10] = 3, [12] = 'N', 'U', 'L', 'L'};
    char theirs[sizeof greeting];
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    to.sin_port = htons((uint16_t)strtoul(strrchr(publisher_endpoint(stage->publisher), ':') + 1, NULL, 10));
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    assert_int_equal(send(fd, greeting, sizeof greeting, 0), sizeof greeting);
    assert_int_equal(recv(fd, theirs, sizeof theirs, MSG_WAITALL), sizeof theirs);
    assert_int_equal(send(fd, ready, sizeof ready - 1, 0), sizeof ready - 1);
    assert_int_equal(recv(fd, theirs, 1, 0), 1); /* it has answered with READY, or begun to */
    return fd;
}

/* libzmq's thread has dealt with all that was sent before. */
static void
let_libzmq_turn(const struct stage *stage)
{
    (void)close(connect_raw(stage));
}

struct stop {
    struct gate stands, go_on;
};

static void
stand_still(void *arg)
{
    struct stop *stop = arg;
    gate_open(&stop->stands);
    gate_wait(&stop->go_on);
}

/* More than the queue of a connection holds by default, a ping behind it, and a reset while the loop is busy:
 * with a limit on the queue libzmq 4.3.4 ends the process when the loop reads on. */
static void
a_flood_of_subscriptions_that_breaks_off_harms_nobody(void **state)
{
    enum { SUBSCRIPTIONS = 1200, PEERS = 4 };
    static const char subscription[] = {0, 2, 1, 'a'};
    static const char ping[] = "\4\7\4PING\0\0";
    const struct linger reset = {.l_onoff = 1, .l_linger = 0};
    char flood[8192]; /* what libzmq reads at once */
    size_t len = 0;
    (void)state;
    for (unsigned i = 0; i < SUBSCRIPTIONS; i++, len += sizeof subscription) {
        memcpy(flood + len, subscription, sizeof subscription);
    }
    memcpy(flood + len, ping, sizeof ping - 1);
    len += sizeof ping - 1;
    struct stage *stage = stage_new(0, false);
    struct stop stop;
    gate_init(&stop.stands, 1);
    gate_init(&stop.go_on, 1);
    bus_loop_post(stage->loop, stand_still, &stop);
    gate_wait(&stop.stands);
    int fds[PEERS];
    for (unsigned i = 0; i < PEERS; i++) {
        fds[i] = connect_raw(stage);
        assert_int_equal(send(fds[i], flood, len, 0), len);
    }
    let_libzmq_turn(stage);
    for (unsigned i = 0; i < PEERS; i++) {
        assert_int_equal(setsockopt(fds[i], SOL_SOCKET, SO_LINGER, &reset, sizeof reset), 0);
        assert_int_equal(close(fds[i]), 0);
    }
    let_libzmq_turn(stage);
    gate_open(&stop.go_on);
    void *socket = subscribe(stage, "b");
    while (last_heard(socket, 0) == 0) { /* others are served */
        tell(stage, "b", 1);
    }
    (void)zmq_close(socket);
    stage_free(stage);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(events_are_numbered_by_one_over_all_topics_and_in_each),
        cmocka_unit_test(events_of_a_batch_are_told_one_by_one),
        cmocka_unit_test(what_was_told_can_be_had_again),
        cmocka_unit_test(a_long_replay_comes_in_pieces),
        cmocka_unit_test(what_is_no_event_is_refused_and_counted),
        cmocka_unit_test(hooks_get_the_events_of_requests),
        cmocka_unit_test(only_keys_that_may_listen_hear_anything),
        cmocka_unit_test(one_that_does_not_read_costs_nobody_anything),
        cmocka_unit_test(a_flood_of_subscriptions_that_breaks_off_harms_nobody),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
