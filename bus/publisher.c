/* See publisher.h.
 *
 * libzmq's PUB does the fan-out, and drops for a peer whose queue is full; who may listen at all is decided
 * in the handshake. An event's bytes exist once, however many subscribers and hooks hold them; those that
 * are kept for who asks again are copied, so that the others go when they were sent. */
#include "bus/publisher.h"

#include "bus/context.h"
#include "bus/endpoint.h"
#include "bus/event_ring.h"
#include "bus/remote_impl.h"
#include "bus/tsan.h"
#include "bus/zmq_poll.h"
#include "core/buf.h"
#include "core/log.h"
#include "proto/env_codec.h"
#include "proto/event.h"
#include "proto/event_batch.h"
#include "proto/mp_write.h"

#include <errno.h>
#include <stdlib.h>
#include <zmq.h>

/* What is handed to the hooks. */
static const char hooks_prefix[] = EVENT_REQUESTS;

/* Topics of the gateway itself: strangers' can't take their places. The first two are those of batches. */
enum { TOPIC_COMPLETED, TOPIC_FAILED, BATCH_TOPICS };
static const char *const own_topics[] = {
    [TOPIC_COMPLETED] = EVENT_REQUEST_COMPLETED, [TOPIC_FAILED] = EVENT_REQUEST_FAILED, EVENT_NODE_COUNTERS};

/* Whose keys are let in. */
#define LISTENERS                                                                                            \
    (1u << BUS_ROLE_SUBSCRIBER | 1u << BUS_ROLE_ADMIN | 1u << BUS_ROLE_EDGE | 1u << BUS_ROLE_WORKER |        \
     1u << BUS_ROLE_ROUTER)
enum { KEYS_LOOK_MS = 500 }; /* how soon a key that was taken away hears nothing more */

/* A frame from a subscriber: one byte and a topic; of CURVE's handshake: up to half a kilobyte and its
 * metadata. */
enum { TOPIC_MAX = 256, SUBSCRIBER_FRAME_MAX = 2048 };

struct topic {
    char *name;
    uint64_t published;
    struct dyn_buf header; /* of the gateway's own: the header of its events up to their number */
};

struct publisher {
    struct publisher_options options;
    char *endpoint;
    char bound[BUS_ENDPOINT_MAX];
    bus_actor_t *me;
    uint32_t epoch;
    uint64_t sequence; /* of the last event */
    struct topic topics[PUBLISHER_TOPICS_MAX];
    size_t n_topics;
    struct event_ring ring;
    struct dyn_buf header; /* of the event being sent; keeps its memory */
    struct zmq_poll poll;  /* socket NULL: nothing is bound */
    uint64_t key_generation;
    struct bus_timer keys_timer;
    struct publisher_counts own_counts; /* where nobody wants them */
};

/* One writer: no locked instruction. */
static void
count(atomic_uint_fast64_t *counter, uint64_t more)
{
    uint64_t now = atomic_load_explicit(counter, memory_order_relaxed);
    atomic_store_explicit(counter, now + more, memory_order_relaxed);
}

/* ---- publishing ---- */

/* Segments of a-z, 0-9 and _, with dots between (04-EVENTS, "Grammar"). */
static bool
is_topic(struct dyn_slice name)
{
    char before = '.';
    for (size_t i = 0; i < name.len; i++) {
        char c = name.data[i];
        bool is_letter = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
        if (!is_letter && (c != '.' || before == '.')) {
            return false;
        }
        before = c;
    }
    return before != '.' && name.len <= TOPIC_MAX;
}

/* NULL: it is none, or there are too many. */
static struct topic *
find_topic(struct publisher *publisher, struct dyn_slice name)
{
    for (size_t i = 0; i < publisher->n_topics; i++) {
        if (dyn_slice_is(name, publisher->topics[i].name)) {
            return &publisher->topics[i];
        }
    }
    if (publisher->n_topics == PUBLISHER_TOPICS_MAX || !is_topic(name)) {
        return NULL;
    }
    struct topic *topic = &publisher->topics[publisher->n_topics++];
    *topic = (struct topic){.name = dyn_strndup(name.data, name.len)};
    return topic;
}

static bool
send_bytes(void *socket, const void *data, size_t len)
{
    return zmq_send(socket, data, len, ZMQ_DONTWAIT | ZMQ_SNDMORE) >= 0;
}

/* On whatever thread drops the frame last. */
static void
release_body(void *data, void *hint)
{
    dyn_block_t *block = hint;
    (void)data;
    BUS_TSAN_ACQUIRE(block);
    dyn_block_unref(&block);
}

/* With the header in its buffer, and a map that is part of the body. A PUB socket never refuses: who can't
 * take it does not get it. */
static void
send_frames(struct publisher *publisher, struct dyn_slice topic, dyn_block_t *body, struct dyn_slice map)
{
    void *socket = publisher->poll.socket;
    zmq_msg_t frame;
    if (!send_bytes(socket, topic.data, topic.len) ||
        !send_bytes(socket, publisher->header.data, publisher->header.len)) {
        return;
    }
    (void)dyn_block_ref(body);
    DYN_ASSERT(zmq_msg_init_data(&frame, (void *)(uintptr_t)map.data, map.len, release_body, body) == 0);
    BUS_TSAN_RELEASE(body);
    if (zmq_msg_send(&frame, socket, ZMQ_DONTWAIT) < 0) {
        (void)zmq_msg_close(&frame);
    }
}

static void
send_event(struct publisher *publisher, const struct env *env)
{
    dyn_buf_clear(&publisher->header);
    if (publisher->poll.socket != NULL && env_encode(env, &publisher->header, NULL) == 0) {
        send_frames(publisher, env->topic, env->body, dyn_block_slice(env->body));
    }
}

static DYN_COLD void
refuse(struct publisher *publisher, struct dyn_slice topic, const char *why)
{
    count(&publisher->options.counts->refused, 1);
    dyn_log(DYN_LOG_WARN, "events.refused", "an event was not published", DYN_LOG_SLICE("topic", topic),
            DYN_LOG_STR("reason", why));
}

static void
keep(struct publisher *publisher, uint64_t sequence, const struct topic *topic, struct dyn_slice map)
{
    event_ring_push(&publisher->ring, sequence, topic->name, map);
    count(&publisher->options.counts->published, 1);
}

static void
show_ring(struct publisher *publisher)
{
    atomic_store_explicit(&publisher->options.counts->replay_bytes, publisher->ring.bytes,
                          memory_order_relaxed);
}

/* Gives the event its numbers and its final map. */
static int
stamp(struct publisher *publisher, struct env *env, struct topic *topic)
{
    struct event_stamp stamp = {
        .topic = env->topic,
        .node = dyn_slice_str(publisher->options.process->node),
        .epoch = publisher->epoch,
        .sequence = publisher->sequence + 1,
        .topic_sequence = topic->published + 1,
    };
    dyn_block_t *body = NULL;
    struct dyn_err err;
    if (event_stamp(dyn_block_slice(env->body), &stamp, &body, &err) != 0) {
        refuse(publisher, env->topic, err.text);
        return -1;
    }
    dyn_block_unref(&env->body);
    env->body = body;
    env->node = env_copy(env, stamp.node);
    env->attempt = 0;
    env->epoch = stamp.epoch;
    env->event_sequence = ++publisher->sequence;
    topic->published++;
    return 0;
}

/* Actors of this process that want it too. */
static bus_addr_t
listener_of(const struct publisher *publisher, struct dyn_slice topic)
{
    size_t len = sizeof hooks_prefix - 1;
    if (topic.len >= len && memcmp(topic.data, hooks_prefix, len) == 0) {
        return publisher->options.also;
    }
    return dyn_slice_is(topic, EVENT_NODE_COUNTERS) ? publisher->options.metrics : 0;
}

static void
tell_listener(struct publisher *publisher, struct env **env_p, uint64_t n)
{
    bus_addr_t to = listener_of(publisher, (*env_p)->topic);
    if (to != 0 && bus_send(publisher->me, to, env_p, NULL) != 0) {
        count(&publisher->options.counts->unheard, n);
    }
}

static void
publish(struct publisher *publisher, struct env **env_p)
{
    struct env *env = *env_p;
    struct topic *topic = find_topic(publisher, env->topic);
    if (topic == NULL) {
        refuse(publisher, env->topic, "its topic is none, or there are too many already");
        return;
    }
    if (stamp(publisher, env, topic) != 0) {
        return;
    }
    send_event(publisher, env);
    keep(publisher, env->event_sequence, topic, dyn_block_slice(env->body));
    show_ring(publisher);
    tell_listener(publisher, env_p, 1);
}

/* ---- batches: what the routers of this process tell, which needs no check ---- */

/* All of a header is the same for all events of a topic, but the number, which is its last member. */
static void
make_header(const struct publisher *publisher, struct topic *topic)
{
    struct env *env = env_new(ENV_EVENT);
    env->topic = dyn_slice_str(topic->name);
    env->node = dyn_slice_str(publisher->options.process->node);
    env->epoch = publisher->epoch;
    env->event_sequence = 1;
    DYN_ASSERT(env_encode(env, &topic->header, NULL) == 0 && topic->header.data[topic->header.len - 1] == 1);
    topic->header.len--;
    env_free(&env);
}

static struct topic *
topic_of(struct publisher *publisher, const struct event_batch_item *item)
{
    return &publisher->topics[item->failed ? TOPIC_FAILED : TOPIC_COMPLETED];
}

/* Before it is stamped and after it. */
static bool
is_too_large(const struct event_batch_item *item)
{
    return item->map_len + item->room > EVENT_MAX;
}

/* Before the first of them is sent, since nobody writes to what others read. */
static void
stamp_all(struct publisher *publisher, dyn_block_t *batch)
{
    struct event_batch_item item;
    struct event_stamp stamp = {.node = dyn_slice_str(publisher->options.process->node),
                                .epoch = publisher->epoch};
    DYN_ASSERT(!dyn_block_is_shared(batch));
    for (size_t at = 0; event_batch_next(dyn_block_slice(batch), &at, &item);) {
        struct topic *topic = topic_of(publisher, &item);
        stamp.topic = dyn_slice_str(topic->name);
        if (is_too_large(&item)) {
            refuse(publisher, stamp.topic, "it is larger than an event may be");
            continue;
        }
        stamp.sequence = ++publisher->sequence;
        stamp.topic_sequence = ++topic->published;
        event_batch_stamp(dyn_block_data(batch), &item, &stamp);
    }
}

static void
send_from_batch(struct publisher *publisher, uint64_t sequence, const struct topic *topic, dyn_block_t *batch,
                struct dyn_slice map)
{
    if (publisher->poll.socket != NULL) {
        dyn_buf_clear(&publisher->header);
        dyn_buf_add_slice(&publisher->header, dyn_buf_slice(&topic->header));
        char *at = dyn_buf_room(&publisher->header, MP_VALUE_ROOM);
        publisher->header.len += (size_t)(mp_put_uint(at, sequence) - at);
        send_frames(publisher, dyn_slice_str(topic->name), batch, map);
    }
}

static void
publish_batch(struct publisher *publisher, struct env **env_p)
{
    dyn_block_t *batch = (*env_p)->body;
    struct event_batch_item item;
    uint64_t sequence = publisher->sequence;
    uint64_t n = 0;
    stamp_all(publisher, batch);
    for (size_t at = 0; event_batch_next(dyn_block_slice(batch), &at, &item); n++) {
        struct dyn_slice map = event_batch_map(dyn_block_data(batch), &item);
        const struct topic *topic = topic_of(publisher, &item);
        if (!is_too_large(&item)) {
            sequence++;
            send_from_batch(publisher, sequence, topic, batch, map);
            keep(publisher, sequence, topic, map);
        }
    }
    show_ring(publisher);
    tell_listener(publisher, env_p, n);
}

/* ---- replay ---- */

/* A PUB socket has nothing to receive, but applies subscriptions and lets go of dead peers when it is asked.
 */
static bool
take_subscriptions(struct zmq_poll *poll)
{
    int events = 0;
    size_t size = sizeof events;
    if (poll->socket != NULL) {
        (void)zmq_getsockopt(poll->socket, ZMQ_EVENTS, &events, &size);
    }
    return false;
}

/* A number that was counted by another process, or that is still to come, means nothing here. */
static uint64_t
first_wanted(const struct publisher *publisher, const struct env *request)
{
    bool is_ours = request->node.len == 0 || dyn_slice_is(request->node, publisher->options.process->node);
    return is_ours && request->since <= publisher->sequence + 1 ? request->since : 0;
}

static void
replay(struct publisher *publisher, const struct env *request)
{
    (void)take_subscriptions(
        &publisher->poll); /* who subscribes and then asks is not left with a hole between */
    struct env *end = env_about(ENV_END, request);
    uint64_t since = first_wanted(publisher, request);
    end->body = dyn_block_new(0, 0);
    since = event_ring_read(&publisher->ring, since, request->topic, ENV_MAP_BODY_MAX, &end->body);
    if (end->body->len == 0) {
        dyn_block_unref(&end->body);
    }
    end->since = since > 0 ? since : publisher->sequence + 1;
    end->event_sequence = publisher->sequence;
    end->node = env_copy(end, dyn_slice_str(publisher->options.process->node));
    end->outcome = ENV_OUTCOME_OK;
    end->status = 200;
    end->content_type = DYN_SLICE("application/msgpack");
    end->body_bytes = env_body_len(end);
    count(&publisher->options.counts->replays, 1);
    if (bus_send(publisher->me, request->from, &end, NULL) != 0) {
        env_free(&end); /* it has gone */
    }
}

static void
publisher_receive(void *self, struct env **env_p)
{
    struct publisher *publisher = self;
    const struct env *env = *env_p;
    if (env->kind == ENV_EVENT) {
        (env->is_own ? publish_batch : publish)(publisher, env_p);
    } else if (env->kind == ENV_REQUEST && env->surface == ENV_SURFACE_EVENTS) {
        replay(publisher, env);
    }
    env_free(env_p);
}

/* ---- the socket ---- */

static const struct {
    int option;
    int value;
} socket_options[] = {
    {ZMQ_SNDHWM, PUBLISHER_QUEUE},
    {ZMQ_LINGER, BUS_LINGER_MS},
    {ZMQ_RCVHWM, 0}, /* subscriptions: with a limit any peer could end the process, socket_options.def */
    {ZMQ_TCP_KEEPALIVE, 1}, /* a host that vanished holds its queue for half a minute; socket_options.def */
    {ZMQ_TCP_KEEPALIVE_IDLE, 10},
    {ZMQ_TCP_KEEPALIVE_INTVL, 10},
    {ZMQ_TCP_KEEPALIVE_CNT, 2},
    {ZMQ_TCP_MAXRT, 30000},
    {ZMQ_HANDSHAKE_IVL, 5000},
};

static int
set_options(void *socket, const char *endpoint)
{
    const int is_ipv6 = strchr(endpoint, '[') != NULL;
    const int64_t message_max = SUBSCRIBER_FRAME_MAX; /* a subscriber has nothing longer to say */
    int failed = zmq_setsockopt(socket, ZMQ_MAXMSGSIZE, &message_max, sizeof message_max) |
                 zmq_setsockopt(socket, ZMQ_IPV6, &is_ipv6, sizeof is_ipv6);
    for (size_t i = 0; i < DYN_ARRAY_LEN(socket_options); i++) {
        int value = socket_options[i].value;
        failed |= zmq_setsockopt(socket, socket_options[i].option, &value, sizeof value);
    }
    return failed;
}

/* An address that another process holds is DYN_E_FULL. */
static int
bind_socket(struct publisher *publisher, const char *endpoint, struct dyn_err *err)
{
    const bus_security_t *security = publisher->options.process->security;
    void *socket = publisher->poll.socket = zmq_socket(publisher->me->host->bus->zmq, ZMQ_PUB);
    if (socket != NULL && bus_security_publisher(security, socket, LISTENERS, err) != 0) {
        return -1;
    }
    if (socket == NULL || set_options(socket, endpoint) != 0 || zmq_bind(socket, endpoint) != 0) {
        enum dyn_code code = zmq_errno() == EADDRINUSE ? DYN_E_FULL : DYN_E_IO;
        return dyn_err_set(err, code, "cannot publish events on %s: %s", endpoint, zmq_strerror(zmq_errno()));
    }
    size_t size = sizeof publisher->bound;
    (void)zmq_getsockopt(socket, ZMQ_LAST_ENDPOINT, publisher->bound, &size);
    return zmq_poll_start(&publisher->poll, bus_actor_loop(publisher->me), err);
}

static void
close_socket(struct publisher *publisher)
{
    zmq_poll_stop(&publisher->poll);
    if (publisher->poll.socket != NULL) {
        (void)zmq_close(publisher->poll.socket);
        publisher->poll.socket = NULL;
    }
}

/* Nobody can be told to go from a PUB socket. So when keys were taken away it is made anew: who may still
 * listen connects again, and asks for what was told in between. */
static void
look_at_keys(struct bus_timer *timer)
{
    struct publisher *publisher = DYN_CONTAINER_OF(timer, struct publisher, keys_timer);
    uint64_t generation = bus_security_generation(publisher->options.process->security);
    if (generation != publisher->key_generation || publisher->poll.socket == NULL) {
        char endpoint[BUS_ENDPOINT_MAX];
        struct dyn_err err;
        memcpy(endpoint, publisher->bound, sizeof endpoint);
        close_socket(publisher);
        publisher->key_generation = generation;
        if (bind_socket(publisher, endpoint, &err) != 0) {
            close_socket(publisher); /* the old one is not gone yet: next time */
            dyn_log(DYN_LOG_WARN, "events.bind", err.text);
        }
    }
    bus_timer_arm(bus_actor_loop(publisher->me), timer, KEYS_LOOK_MS);
}

static int
open_socket(struct publisher *publisher, struct dyn_err *err)
{
    bus_security_t *security = publisher->options.process->security;
    if (remote_check_endpoint(security, publisher->endpoint, err) != 0 ||
        bus_context_admit(publisher->me->host->bus, security, err) != 0) {
        return -1;
    }
    publisher->key_generation = bus_security_generation(security);
    if (bus_security_has_curve(security)) {
        bus_timer_arm(bus_actor_loop(publisher->me), &publisher->keys_timer, KEYS_LOOK_MS);
    }
    return bind_socket(publisher, publisher->endpoint, err);
}

/* ---- life ---- */

publisher_t *
publisher_new(const struct publisher_options *options)
{
    struct publisher *publisher = dyn_zalloc(sizeof *publisher);
    publisher->options = *options;
    publisher->endpoint = options->endpoint != NULL ? dyn_strdup(options->endpoint) : NULL;
    publisher->poll.receive = take_subscriptions;
    publisher->keys_timer.fire = look_at_keys;
    for (size_t i = 0; i < DYN_ARRAY_LEN(own_topics); i++) {
        (void)find_topic(publisher, dyn_slice_str(own_topics[i]));
    }
    if (publisher->options.counts == NULL) {
        publisher->options.counts = &publisher->own_counts;
    }
    size_t limit = options->replay_bytes > 0 ? options->replay_bytes : PUBLISHER_REPLAY_BYTES;
    event_ring_init(&publisher->ring, limit);
    return publisher;
}

const char *
publisher_endpoint(const publisher_t *publisher)
{
    return publisher->bound;
}

static int
publisher_start(void *self, bus_actor_t *me, struct dyn_err *err)
{
    struct publisher *publisher = self;
    publisher->me = me;
    publisher->epoch = (uint32_t)(dyn_wall_us(bus_loop_clock(bus_actor_loop(me))) / 1000000);
    for (size_t i = 0; i < BATCH_TOPICS; i++) {
        make_header(publisher, &publisher->topics[i]);
    }
    return publisher->endpoint != NULL ? open_socket(publisher, err) : 0;
}

static void
publisher_stop(void *self)
{
    struct publisher *publisher = self;
    bus_timer_fini(&publisher->keys_timer);
    close_socket(publisher);
    event_ring_fini(&publisher->ring);
    for (size_t i = 0; i < publisher->n_topics; i++) {
        free(publisher->topics[i].name);
        dyn_buf_fini(&publisher->topics[i].header);
    }
    dyn_buf_fini(&publisher->header);
    free(publisher->endpoint);
    free(publisher);
}

const struct bus_actor_ops publisher_actor_ops = {
    .kind = "publisher",
    .start = publisher_start,
    .receive = publisher_receive,
    .stop = publisher_stop,
};
