/* See event_source.h.
 *
 * What is asked for again comes first, what was published meanwhile waits in the socket; an event that shows
 * a gap is put aside until the gap was asked for. Both ways overlap: what has a number that was had already
 * is left out. A router may keep less than waits in the socket: what is older there comes before what it
 * tells again. */
#include "bus/event_source.h"

#include "bus/client.h"
#include "core/clock.h"
#include "proto/mp.h"

#include <stdio.h>
#include <stdlib.h>

enum {
    SETTLE_MS = 100,      /* from the handshake until the subscription has surely arrived */
    LOOK_AGAIN_MS = 1000, /* once more, for what fell between */
    RETRY_MS = 1000,      /* a router that could not be asked */
    TRIES_MAX = 3,        /* then what is missing stays so */
    ANSWER_MS = 5000,
    DEAD_MS = 30 * 1000,
    TOPICS_MAX = 64, /* as a publisher has */
    MAP_MAX = EVENT_MAX,
    LIVE_BETWEEN = 64, /* events that are handed out until the monitor is looked at again */
    HANDSHAKE_FAILED = ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL | ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL |
                       ZMQ_EVENT_HANDSHAKE_FAILED_AUTH,
    WATCHED = ZMQ_EVENT_HANDSHAKE_SUCCEEDED | HANDSHAKE_FAILED | ZMQ_EVENT_DISCONNECTED,
};

struct topic_count {
    char *name;
    uint64_t last; /* topic_sequence */
};

struct event_source {
    struct event_source_options options;
    char base[BUS_ENDPOINT_MAX];
    char events[BUS_ENDPOINT_MAX];
    void *socket;
    void *monitor;
    unsigned key_attempt;
    bool connected;
    unsigned handed_out; /* since the monitor was looked at */
    uint64_t changed_ms; /* when it last connected or was lost */
    char refusal[200];

    /* The count that is followed. */
    char node[33];
    uint64_t epoch;
    uint64_t last; /* sequence */
    struct topic_count topics[TOPICS_MAX];
    size_t n_topics;

    /* Asking again. */
    bool begins;       /* what was asked for at the start has not come yet */
    bool is_barred;    /* it was refused: never again */
    unsigned failures; /* in a row */
    bool wants_old;    /* from `from` on, at `ask_at_ms` */
    bool looks_again;  /* afterwards once more */
    uint64_t from;
    uint64_t ask_at_ms;
    dyn_block_t *maps; /* the answer that is being handed out, from `maps_at` on */
    size_t maps_at;

    dyn_block_t *old;     /* the next map of the answer */
    dyn_block_t *aside;   /* the map of an event that waits until the gap before it was asked for */
    dyn_block_t *ahead;   /* the map that was published behind it, if it was looked at already */
    dyn_block_t *current; /* the map that was handed out last */
};

static uint64_t
now_ms(void)
{
    return dyn_mono_us(&dyn_clock_system) / 1000;
}

/* ---- sockets ---- */

static const struct {
    int option;
    int value;
} socket_options[] = {
    {ZMQ_LINGER, 0},
    {ZMQ_RCVHWM, SUBSCRIBER_QUEUE},
    {ZMQ_RECONNECT_IVL, 100},
    {ZMQ_RECONNECT_IVL_MAX, 1000},
    {ZMQ_HANDSHAKE_IVL, 5000},
    {ZMQ_TCP_KEEPALIVE,
     1}, /* a router that vanished is noticed; socket_options.def says why not by ZMTP's PING */
    {ZMQ_TCP_KEEPALIVE_IDLE, 1},
    {ZMQ_TCP_KEEPALIVE_INTVL, 1},
    {ZMQ_TCP_KEEPALIVE_CNT, 2},
};

static int
set_options(const struct event_source *source)
{
    const int64_t frame_max = MAP_MAX + 4096;
    const int is_ipv6 = strchr(source->events, '[') != NULL;
    const char *topic = source->options.topic;
    int failed = zmq_setsockopt(source->socket, ZMQ_MAXMSGSIZE, &frame_max, sizeof frame_max) |
                 zmq_setsockopt(source->socket, ZMQ_IPV6, &is_ipv6, sizeof is_ipv6) |
                 zmq_setsockopt(source->socket, ZMQ_SUBSCRIBE, topic, strlen(topic));
    for (size_t i = 0; i < DYN_ARRAY_LEN(socket_options); i++) {
        int value = socket_options[i].value;
        failed |= zmq_setsockopt(source->socket, socket_options[i].option, &value, sizeof value);
    }
    return failed;
}

static void
close_sockets(struct event_source *source)
{
    if (source->monitor != NULL) {
        (void)zmq_socket_monitor(source->socket, NULL, 0);
        (void)zmq_close(source->monitor);
        source->monitor = NULL;
    }
    if (source->socket != NULL) {
        (void)zmq_close(source->socket);
        source->socket = NULL;
    }
}

static int
open_sockets(struct event_source *source, struct dyn_err *err)
{
    char name[64];
    const bus_security_t *security = source->options.security;
    (void)snprintf(name, sizeof name, "inproc://source-%p-%u", (void *)source, source->key_attempt);
    source->socket = zmq_socket(source->options.context, ZMQ_SUB);
    source->monitor = source->socket != NULL ? zmq_socket(source->options.context, ZMQ_PAIR) : NULL;
    if (source->monitor == NULL || set_options(source) != 0 ||
        zmq_socket_monitor(source->socket, name, WATCHED) != 0 || zmq_connect(source->monitor, name) != 0) {
        return dyn_err_set(err, DYN_E_IO, "cannot open a socket: %s", zmq_strerror(zmq_errno()));
    }
    if (security != NULL && bus_security_client(security, source->socket, source->key_attempt, err) != 0) {
        return -1;
    }
    if (zmq_connect(source->socket, source->events) != 0) {
        return dyn_err_set(err, DYN_E_IO, "cannot connect to %s: %s", source->events,
                           zmq_strerror(zmq_errno()));
    }
    return 0;
}

/* What the monitor has to say, or 0 when it has nothing. */
static int
next_monitored(struct event_source *source)
{
    zmq_msg_t frame;
    uint16_t event = 0;
    (void)zmq_msg_init(&frame);
    if (source->monitor != NULL && zmq_msg_recv(&frame, source->monitor, ZMQ_DONTWAIT) >= 0) {
        if (zmq_msg_size(&frame) >= sizeof event) {
            memcpy(&event, zmq_msg_data(&frame), sizeof event);
        }
        while (zmq_msg_more(&frame) && zmq_msg_recv(&frame, source->monitor, ZMQ_DONTWAIT) >= 0) {
            /* the address, which is known */
        }
    }
    (void)zmq_msg_close(&frame);
    return event;
}

static void
ask_later(struct event_source *source, uint64_t from, uint64_t at_ms)
{
    if (!source->is_barred) {
        source->wants_old = true;
        source->from = from;
        source->ask_at_ms = at_ms;
    }
}

/* The first time: what was asked for at the start. Later: what was told while we were away. */
static void
connected(struct event_source *source)
{
    bool is_first = source->node[0] == '\0';
    source->connected = true;
    source->changed_ms = now_ms();
    source->refusal[0] = '\0';
    if (is_first ? source->options.replays : source->options.fills) {
        ask_later(source, is_first ? source->options.since : source->last + 1, now_ms() + SETTLE_MS);
        source->looks_again = true;
    }
}

static void
refused(struct event_source *source)
{
    struct dyn_err err;
    (void)snprintf(source->refusal, sizeof source->refusal, "%.100s did not let us in: %s", source->events,
                   source->options.security != NULL && bus_security_has_curve(source->options.security)
                       ? "it does not accept this key, or its own key is another one"
                       : "it asks for a key");
    source->key_attempt++; /* the router's next key, if there are several */
    close_sockets(source);
    if (open_sockets(source, &err) != 0) {
        close_sockets(source);
    }
}

static void
hear_monitor(struct event_source *source)
{
    for (int event = next_monitored(source); event != 0; event = next_monitored(source)) {
        if (event == ZMQ_EVENT_HANDSHAKE_SUCCEEDED) {
            connected(source);
        } else {
            source->changed_ms = source->connected ? now_ms() : source->changed_ms;
            source->connected = false;
        }
        if ((event & HANDSHAKE_FAILED) != 0) {
            refused(source);
        }
    }
}

/* ---- counting ---- */

static struct topic_count *
count_of(struct event_source *source, struct dyn_slice topic)
{
    for (size_t i = 0; i < source->n_topics; i++) {
        if (dyn_slice_is(topic, source->topics[i].name)) {
            return &source->topics[i];
        }
    }
    if (source->n_topics == TOPICS_MAX) {
        return NULL;
    }
    struct topic_count *count = &source->topics[source->n_topics++];
    *count = (struct topic_count){.name = dyn_strndup(topic.data, topic.len)};
    return count;
}

static void
forget_topics(struct event_source *source)
{
    while (source->n_topics > 0) {
        free(source->topics[--source->n_topics].name);
    }
}

static bool
is_same_count(const struct event_source *source, const struct event_record *record)
{
    return dyn_slice_is(record->node, source->node) && record->epoch == source->epoch;
}

static void
begin_count(struct event_source *source, const struct event_record *record)
{
    (void)snprintf(source->node, sizeof source->node, "%.*s", (int)record->node.len, record->node.data);
    source->epoch = record->epoch;
    source->last = 0;
    forget_topics(source);
}

/* Of a topic that was not heard yet nothing is known to be missing: we may have come later. */
static uint64_t
missed_before(struct event_source *source, const struct event_record *record)
{
    const struct topic_count *count = count_of(source, record->topic);
    bool is_known = count != NULL && count->last > 0;
    return is_known && record->topic_sequence > count->last + 1 ? record->topic_sequence - count->last - 1
                                                                : 0;
}

/* Hands it out: takes the map, which the record was read from. */
static int
hand_out(struct event_source *source, dyn_block_t **map, const struct event_record *record,
         struct subscriber_event *event)
{
    dyn_block_unref(&source->current);
    source->current = *map;
    *map = NULL;
    event->map = dyn_block_slice(source->current);
    event->record = *record;
    event->topic = event->record.topic;
    event->missed = missed_before(source, &event->record);
    source->last = event->record.sequence;
    struct topic_count *count = count_of(source, event->topic);
    if (count != NULL) {
        count->last = event->record.topic_sequence;
    }
    return 1;
}

static bool
is_published(const struct event_record *record)
{
    return record->topic.data != NULL && record->node.len == 32 && record->sequence > 0;
}

/* ---- asking again ---- */

static int
ask(struct event_source *source, bus_client_t *client, struct env **end_p, struct dyn_err *err)
{
    struct env *request = env_new(ENV_REQUEST);
    request->id = env_id_random();
    request->surface = ENV_SURFACE_EVENTS;
    /* Looking once more, only what is newer than the last that came is of interest. */
    bool is_behind = !source->begins && source->aside == NULL && source->from <= source->last;
    request->since = is_behind ? source->last + 1 : source->from;
    request->credential = dyn_slice_str(source->options.credential);
    if (source->options.topic[0] != '\0') {
        request->topic = dyn_slice_str(source->options.topic);
    }
    if (source->node[0] != '\0') {
        request->node = dyn_slice_str(source->node);
    }
    int result = bus_client_send(client, request, err);
    env_free(&request);
    while (result == 0) {
        env_free(end_p);
        result = bus_client_receive(client, ANSWER_MS, end_p, err);
        if (result == 0 && (*end_p)->kind == ENV_END) {
            return 0;
        }
    }
    env_free(end_p);
    return result < 0 ? -1 : dyn_err_set(err, DYN_E_GONE, "%s did not answer in time", source->base);
}

/* It may be able to answer later; but what is published must not wait for ever. */
static void
try_again(struct event_source *source)
{
    source->failures++;
    source->ask_at_ms = now_ms() + RETRY_MS;
    if (source->failures >= TRIES_MAX) {
        source->failures = 0;
        source->wants_old = source->begins = source->looks_again = false;
    }
}

/* -1 with err when it was refused. */
static int
take_answer(struct event_source *source, struct env *end, struct dyn_err *err)
{
    if (end->outcome != ENV_OUTCOME_OK) {
        const struct err_row *row = err_row(end->error);
        struct dyn_slice text = end->error_text.data != NULL ? end->error_text : dyn_slice_str(row->sentence);
        if (row->retryable) {
            try_again(source);
            return 0;
        }
        source->wants_old = source->begins = false;
        source->is_barred = true;
        return dyn_err_set(err, DYN_E_CONFIG, "%s does not tell events again: %.*s", source->base,
                           text.len < 200 ? (int)text.len : 200, text.data);
    }
    bool is_all = end->since > end->event_sequence;
    source->failures = 0;
    source->from = end->since;
    source->begins = source->begins && !is_all;
    source->wants_old = !is_all || source->looks_again;
    source->ask_at_ms = is_all ? now_ms() + LOOK_AGAIN_MS : 0;
    source->looks_again = source->looks_again && !is_all;
    source->maps = end->body;
    source->maps_at = 0;
    end->body = NULL;
    return 0;
}

/* So that it does not count as a peer that was lost. */
static void
leave(bus_client_t **client_p)
{
    if (*client_p != NULL) {
        struct env *goodbye = env_new(ENV_GOODBYE);
        goodbye->reason = DYN_SLICE("close");
        (void)!bus_client_send(*client_p, goodbye, NULL);
        env_free(&goodbye);
    }
    bus_client_close(client_p);
}

static int
ask_now(struct event_source *source, struct dyn_err *err)
{
    struct env *end = NULL;
    struct dyn_err why;
    bus_client_t *client = bus_client_open(source->base, source->options.security, &why);
    int result = 0;
    if (client == NULL || ask(source, client, &end, &why) != 0) {
        try_again(source);
    } else {
        result = take_answer(source, end, err);
    }
    env_free(&end);
    leave(&client);
    return result;
}

/* The next map of the answer; false: there is none. */
static bool
next_map(struct event_source *source, dyn_block_t **map)
{
    if (source->maps == NULL || source->maps_at >= dyn_block_slice(source->maps).len) {
        dyn_block_unref(&source->maps);
        return false;
    }
    struct dyn_slice all = dyn_block_slice(source->maps);
    struct mp_cursor cursor = mp_cursor(dyn_slice(all.data + source->maps_at, all.len - source->maps_at));
    const uint8_t *start = cursor.next;
    mp_skip(&cursor);
    size_t len = (size_t)(cursor.next - start);
    *map = dyn_block_copy(0, dyn_slice((const char *)start, len));
    source->maps_at += len > 0 ? len : all.len;
    return true;
}

/* ---- live ---- */

/* The third frame of the next publication; NULL: there is none. */
static dyn_block_t *
receive_map(struct event_source *source)
{
    zmq_msg_t frame;
    dyn_block_t *map = NULL;
    unsigned n = 0;
    (void)zmq_msg_init(&frame);
    do {
        if (source->socket == NULL || zmq_msg_recv(&frame, source->socket, ZMQ_DONTWAIT) < 0) {
            break;
        }
        if (n++ == 2) {
            map = dyn_block_copy(0, dyn_slice(zmq_msg_data(&frame), zmq_msg_size(&frame)));
        }
        if (!zmq_msg_more(&frame) && map == NULL) {
            n = 0; /* not from a publisher: the next message */
        }
    } while (zmq_msg_more(&frame) || n == 0);
    (void)zmq_msg_close(&frame);
    return map;
}

/* Whether what lies before it is to be asked for first. A count that began before we heard of it is asked for
 * from its start; what a router that we never heard said before is not ours to miss. */
static bool
wants_gap_filled(struct event_source *source, const struct event_record *record, bool is_new_count)
{
    if (!source->options.fills || source->is_barred) {
        return false;
    }
    return is_new_count ? record->sequence > 1 : missed_before(source, record) > 0;
}

/* The next event that was published; it stays `ahead`. NULL: there is none. */
static const dyn_block_t *
look_ahead(struct event_source *source, struct event_record *record)
{
    while (source->ahead != NULL || (source->ahead = receive_map(source)) != NULL) {
        if (event_decode(dyn_block_slice(source->ahead), record) == 0 && is_published(record)) {
            break;
        }
        dyn_block_unref(&source->ahead);
    }
    return source->ahead;
}

static int
hand_out_live(struct event_source *source, struct subscriber_event *event)
{
    struct event_record record;
    while (look_ahead(source, &record) != NULL) {
        bool is_new_count = !is_same_count(source, &record);
        bool had_count = source->node[0] != '\0';
        if (is_new_count) {
            begin_count(source, &record);
        }
        if (record.sequence <= source->last) {
            dyn_block_unref(&source->ahead);
            continue;
        }
        if (wants_gap_filled(source, &record, is_new_count && had_count)) {
            source->aside = source->ahead;
            source->ahead = NULL;
            ask_later(source, source->last + 1, now_ms());
            return 0;
        }
        return hand_out(source, &source->ahead, &record, event);
    }
    return 0;
}

static int
hand_out_aside(struct event_source *source, struct subscriber_event *event)
{
    struct event_record record;
    (void)event_decode(dyn_block_slice(source->aside), &record);
    if (is_same_count(source, &record) && record.sequence > source->last) {
        return hand_out(source, &source->aside, &record, event);
    }
    dyn_block_unref(&source->aside); /* it came with the others */
    return 0;
}

/* What waits and was published before that number: the one aside came first. */
static int
hand_out_earlier(struct event_source *source, uint64_t sequence, struct subscriber_event *event)
{
    struct event_record record;
    if (source->aside != NULL) {
        (void)event_decode(dyn_block_slice(source->aside), &record);
        if (record.sequence >= sequence) {
            return 0;
        }
        if (hand_out_aside(source, event) != 0) {
            return 1;
        }
    }
    while (look_ahead(source, &record) != NULL && is_same_count(source, &record) &&
           record.sequence < sequence) {
        if (record.sequence > source->last) {
            return hand_out(source, &source->ahead, &record, event);
        }
        dyn_block_unref(&source->ahead);
    }
    return 0;
}

static int
hand_out_old(struct event_source *source, struct subscriber_event *event)
{
    while (source->old != NULL || next_map(source, &source->old)) {
        struct event_record record;
        bool is_sound = event_decode(dyn_block_slice(source->old), &record) == 0 && is_published(&record);
        if (is_sound && !is_same_count(source, &record)) {
            begin_count(source, &record);
        }
        if (is_sound && record.sequence > source->last) {
            return hand_out_earlier(source, record.sequence, event) != 0
                       ? 1
                       : hand_out(source, &source->old, &record, event);
        }
        dyn_block_unref(&source->old);
    }
    return 0;
}

/* What is published meanwhile waits in the socket: while what was asked for at the start, or what is missing
 * before an event, has not come. */
static bool
holds_back(const struct event_source *source)
{
    return source->wants_old && (source->begins || source->aside != NULL);
}

static bool
asks_now(const struct event_source *source)
{
    return source->wants_old && now_ms() >= source->ask_at_ms;
}

/* 1 when there is one, of those that no gap holds back; 0: none. */
static int
hand_out_new(struct event_source *source, struct subscriber_event *event)
{
    while (!holds_back(source)) {
        if (source->aside != NULL) {
            if (hand_out_aside(source, event) != 0) {
                return 1;
            }
        } else if (hand_out_live(source, event) != 0) {
            return 1;
        } else if (source->aside == NULL) {
            return 0;
        }
    }
    return 0;
}

/* Looking at the monitor costs more than an event that is there already: while we are connected and events
 * are waiting, it is looked at now and then. */
int
event_source_next(struct event_source *source, struct subscriber_event *event, struct dyn_err *err)
{
    bool has_heard = !source->connected || ++source->handed_out >= LIVE_BETWEEN;
    if (has_heard) {
        hear_monitor(source);
        source->handed_out = 0;
    }
    for (;;) {
        if (hand_out_old(source, event) != 0) {
            return 1;
        }
        if (asks_now(source)) {
            if (ask_now(source, err) != 0) {
                return -1;
            }
            continue;
        }
        if (hand_out_new(source, event) != 0) {
            return 1;
        }
        if (asks_now(source)) { /* an event has shown a gap */
            continue;
        }
        if (has_heard) {
            return 0;
        }
        hear_monitor(source);
        has_heard = true;
    }
}

uint64_t
event_source_due_ms(const struct event_source *source)
{
    return source->wants_old ? source->ask_at_ms : UINT64_MAX;
}

int
event_source_poll_items(const struct event_source *source, zmq_pollitem_t *items)
{
    int n = 0;
    if (source->monitor != NULL) {
        items[n++] = (zmq_pollitem_t){.socket = source->monitor, .events = ZMQ_POLLIN};
    }
    if (source->socket != NULL && !holds_back(source)) {
        items[n++] = (zmq_pollitem_t){.socket = source->socket, .events = ZMQ_POLLIN};
    }
    return n;
}

/* ---- life ---- */

struct event_source *
event_source_open(const struct event_source_options *options, struct dyn_err *err)
{
    struct event_source *source = dyn_zalloc(sizeof *source);
    source->options = *options;
    source->begins = options->replays;
    source->changed_ms = now_ms();
    bus_endpoint_text(&options->endpoint, BUS_ENDPOINT_CLIENTS, source->base);
    bus_endpoint_text(&options->endpoint, BUS_ENDPOINT_EVENTS, source->events);
    if (open_sockets(source, err) != 0) {
        event_source_close(&source);
    }
    return source;
}

void
event_source_close(struct event_source **source_p)
{
    struct event_source *source = *source_p;
    *source_p = NULL;
    if (source == NULL) {
        return;
    }
    close_sockets(source);
    forget_topics(source);
    dyn_block_unref(&source->maps);
    dyn_block_unref(&source->old);
    dyn_block_unref(&source->aside);
    dyn_block_unref(&source->ahead);
    dyn_block_unref(&source->current);
    free(source);
}

const char *
event_source_base(const struct event_source *source)
{
    return source->base;
}

bool
event_source_is_connected(const struct event_source *source)
{
    return source->connected;
}

bool
event_source_is_dead(const struct event_source *source)
{
    return !source->connected && now_ms() - source->changed_ms > DEAD_MS;
}

const char *
event_source_refusal(const struct event_source *source)
{
    return source->refusal;
}
