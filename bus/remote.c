/* What ports and links have in common: their socket, the tick that finds out who is silent, telling the owner
 * who is gone, and closing. All on the owner's loop. */
#include "bus/remote_impl.h"

#include "bus/endpoint.h"
#include "core/log.h"
#include "core/rand.h"

#include <fcntl.h>
#include <linux/tcp.h> /* the C library's has no tcpi_bytes_received */
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

/* Messages received in one go; then tasks queued before get their turn. */
#define RECEIVE_BATCH 64u

#define US_PER_MS 1000u

/* A socket that is never read to its end, because more comes than this loop can read, may not keep the ended
 * for ever. What one of them had sent and is read after that comes from a stranger whose connection is over.
 */
#define SETTLE_US_MAX (1000 * US_PER_MS)

/* Of a body that is on its way, within a second. Pings of a foreign libzmq, which only prove that its thread
 * lives, are far less. */
#define LISTEN_BYTES_MIN (16 * 1024u)

/* What a peer may have sent that is not read, before its connection is slowed down: room for bursts, and as
 * many messages as a queue to a peer holds (SNDHWM), some 20 MB when they are of the smallest. */
#define UNREAD_BYTES_MAX    (64u * 1024 * 1024)
#define UNREAD_MESSAGES_MAX 200000u
enum { WINDOW_MAX = 1 << 30 }; /* of TCP */

void
bus_process_init(struct bus_process *process, struct bus_security *security)
{
    uint8_t random[16];
    dyn_random_bytes(random, sizeof random);
    dyn_hex_encode(process->node, random, sizeof random);
    process->node[sizeof process->node - 1] = '\0';
    process->security = security;
}

void
bus_process_config(const struct bus_process *process, char out[BUS_CONFIG_HASH_SIZE])
{
    uint64_t digest = atomic_load_explicit(&process->config_digest, memory_order_relaxed);
    out[0] = '\0';
    if (digest != 0) {
        (void)snprintf(out, BUS_CONFIG_HASH_SIZE, "%016llx", (unsigned long long)digest);
    }
}

uint64_t
bus_process_peers(const struct bus_process *process)
{
    uint64_t n = 0;
    for (size_t role = BUS_ROLE_NONE + 1; role < BUS_ROLE_COUNT; role++) {
        n += atomic_load_explicit(&process->peers[role], memory_order_relaxed);
    }
    return n;
}

/* ---- sockets ---- */

struct limits {
    int64_t frame_max;
    int is_ipv6;
};

enum option_of { PORT = 1, LINK = 2, BOTH = 3 };

static int64_t
frame_max(size_t body_max)
{
    const size_t others[] = {ENV_HEADER_MAX, ENV_MAP_BODY_MAX, ENV_HELD_ANSWER_MAX};
    for (size_t i = 0; i < DYN_ARRAY_LEN(others); i++) {
        body_max = body_max < others[i] ? others[i] : body_max;
    }
    return (int64_t)body_max;
}

static int
set_options(void *socket, enum option_of of, const struct limits *limits)
{
    int failed = 0;
#define OPTION(name, whose, type, value)                                                                     \
    if (((whose)&of) != 0) {                                                                                 \
        const type option_ = (value);                                                                        \
        failed |= zmq_setsockopt(socket, (name), &option_, sizeof option_);                                  \
    }
#include "bus/socket_options.def"
#undef OPTION
    return failed;
}

int
remote_open_socket(struct remote *remote, unsigned attempt, struct dyn_err *err)
{
    const struct limits limits = {.frame_max = frame_max(remote->options.body_max),
                                  .is_ipv6 = strchr(remote->options.endpoint, '[') != NULL};
    const bus_security_t *security = remote->options.process->security;
    void *socket = zmq_socket(remote->bus->zmq, remote->is_port ? ZMQ_ROUTER : ZMQ_DEALER);
    if (socket == NULL || set_options(socket, remote->is_port ? PORT : LINK, &limits) != 0) {
        (void)dyn_err_set(err, DYN_E_IO, "cannot open a socket of the bus: %s", zmq_strerror(zmq_errno()));
    } else if ((remote->is_port ? bus_security_server(security, socket, err)
                                : bus_security_client(security, socket, attempt, err)) == 0) {
        remote->socket = socket;
        return 0;
    }
    if (socket != NULL) {
        (void)zmq_close(socket);
    }
    return -1;
}

static bool
receive(struct zmq_poll *poll)
{
    struct remote *remote = DYN_CONTAINER_OF(poll, struct remote, poll);
    for (unsigned n = 0; n < RECEIVE_BATCH; n++) {
        if (!remote->receive_one(remote)) {
            remote->emptied++;
            return false;
        }
    }
    return !remote->closed && remote->socket != NULL;
}

int
remote_watch_socket(struct remote *remote, int events, struct dyn_err *err)
{
    remote->poll.receive = receive;
    remote->poll.socket = remote->socket;
    if (monitor_start(&remote->monitor, remote->bus, remote->loop, remote->socket, events, err) != 0) {
        return -1;
    }
    return zmq_poll_start(&remote->poll, remote->loop, err);
}

void
remote_close_socket(struct remote *remote, bool lingers)
{
    const int zero = 0;
    zmq_poll_stop(&remote->poll);
    monitor_stop(&remote->monitor);
    if (remote->socket != NULL) {
        if (!lingers) {
            (void)zmq_setsockopt(remote->socket, ZMQ_LINGER, &zero, sizeof zero);
        }
        (void)zmq_close(remote->socket);
        remote->socket = NULL;
    }
}

/* ---- who is gone ---- */

static void
say_goodbyes(struct bus_task *task)
{
    struct remote *remote = DYN_CONTAINER_OF(task, struct remote, say_goodbyes);
    struct dyn_list *link;
    while (!remote->closed && (link = dyn_list_pop(&remote->leaving)) != NULL) {
        struct peer *peer = DYN_CONTAINER_OF(link, struct peer, leave_link);
        peer_tell_owner_goodbye(peer);
        if (remote->closed) {
            return;
        }
        peer->state = PEER_CUT;
        remote->gone(peer);
    }
}

/* Those whose connection has ended until then have said all they had to say. */
static void
lose_the_ended(struct remote *remote, uint64_t until_us)
{
    while (!dyn_list_is_empty(&remote->ended)) {
        struct peer *peer = DYN_CONTAINER_OF(remote->ended.next, struct peer, ended_link);
        if (peer->ended_us > until_us) {
            return;
        }
        dyn_list_remove(&peer->ended_link);
        if (peer->state == PEER_OPEN) {
            peer_leave(peer, "lost", false);
        } else if (peer->state == PEER_CUT) {
            remote->gone(peer);
        }
    }
}

static void
settle(struct bus_task *task)
{
    struct remote *remote = DYN_CONTAINER_OF(task, struct remote, settle);
    for (unsigned n = 0; n < RECEIVE_BATCH; n++) {
        if (!remote->receive_one(remote)) {
            remote->emptied++;
            if (!remote->closed) {
                lose_the_ended(remote, UINT64_MAX);
            }
            if (!remote->closed && remote->settled != NULL) {
                remote->settled(remote);
            }
            return;
        }
    }
    uint64_t now_us = bus_loop_now_us(remote->loop);
    lose_the_ended(remote, now_us > SETTLE_US_MAX ? now_us - SETTLE_US_MAX : 0);
    if (remote->socket != NULL) { /* else its only peer is gone, and a link's socket with it */
        bus_task_queue(remote->loop, &remote->settle);
    }
}

/* ---- the tick ---- */

static void
tell_counts(struct remote *remote)
{
    struct bus_process *process = remote->options.process;
    (void)atomic_fetch_add_explicit(&process->sent, remote->sent, memory_order_relaxed);
    (void)atomic_fetch_add_explicit(&process->sent_bytes, remote->sent_bytes, memory_order_relaxed);
    (void)atomic_fetch_add_explicit(&process->received, remote->received, memory_order_relaxed);
    (void)atomic_fetch_add_explicit(&process->received_bytes, remote->received_bytes, memory_order_relaxed);
    remote->sent = remote->sent_bytes = remote->received = remote->received_bytes = 0;
}

/* Bytes that came over its connection, whole frames or not; 0: cannot be told (ipc). The descriptor may
 * have become another's: then the monitor is about to say that the connection has ended. */
static uint64_t
bytes_received(const struct peer *peer)
{
    struct tcp_info info;
    socklen_t size = sizeof info;
    bool is_known = peer->fd >= 0 && getsockopt(peer->fd, IPPROTO_TCP, TCP_INFO, &info, &size) == 0;
    return is_known ? info.tcpi_bytes_received : 0;
}

/* Bytes that have come and lie in the kernel: libzmq's thread reads all that comes, so it is what has not had
 * the time. Whatever the descriptor has become, it is only asked. */
static bool
has_unread_in_kernel(const struct peer *peer)
{
    int bytes = 0;
    return peer->fd >= 0 && ioctl(peer->fd, FIONREAD, &bytes) == 0 && bytes > 0;
}

/* A large body on a slow line holds up what is behind it, HEARTBEATs too, and so does a thread of this
 * process that gets no turn on a machine with much to do. So in the second half of a silence bytes are
 * looked for: they prove life as well. */
static bool
is_receiving(struct peer *peer)
{
    uint64_t bytes = bytes_received(peer);
    if (peer->listened_since_us != peer->heard_us) {
        peer->listened_since_us = peer->heard_us;
        peer->bytes_received = bytes;
    }
    return bytes > peer->bytes_received + LISTEN_BYTES_MIN || has_unread_in_kernel(peer);
}

/* The descriptor is libzmq's, which may close it at any moment, and its number may be another file's right
 * after. But it says DISCONNECTED before it closes. So if the monitor has not heard of an end even after the
 * copy was made, the copy is surely of this connection. */
int
remote_copy_descriptor(const struct peer *peer)
{
    struct monitor *monitor = &peer->remote->monitor;
    monitor_drain(monitor);
    int copy = peer->ended || peer->fd < 0 ? -1 : fcntl(peer->fd, F_DUPFD_CLOEXEC, 0);
    if (copy < 0) {
        return -1;
    }
    monitor_drain(monitor);
    if (peer->ended || peer->suspect_until_us != 0) {
        (void)close(copy);
        return -1;
    }
    return copy;
}

/* More than may wait. How many messages are unread is guessed from the size of those that were read. */
static bool
has_too_much_unread(const struct peer *peer, uint64_t received)
{
    uint64_t read = peer->unread_base + peer->taken_bytes;
    uint64_t unread = received > read ? received - read : 0;
    return unread > UNREAD_BYTES_MAX ||
           (peer->taken > 0 && unread / (peer->taken_bytes / peer->taken) > UNREAD_MESSAGES_MAX);
}

/* libzmq reads a connection as fast as it brings, whether this loop can follow or not (socket_options.def,
 * RCVHWM). But the kernel can be told to take no more than a few bytes at a time from the other end, which
 * then has to wait. */
static void
throttle(struct peer *peer, bool is_throttled)
{
    int window = is_throttled ? 1 : WINDOW_MAX; /* the kernel makes the smallest one of 1 */
    int copy = remote_copy_descriptor(peer);
    if (copy < 0) {
        return;
    }
    if (setsockopt(copy, IPPROTO_TCP, TCP_WINDOW_CLAMP, &window, sizeof window) == 0) {
        peer->is_throttled = is_throttled;
        (void)atomic_fetch_add_explicit(&peer->remote->options.process->throttled, is_throttled,
                                        memory_order_relaxed);
    }
    (void)close(copy);
}

/* With each tick during which the socket was not read to its end. */
static void
look_for_a_flood(struct peer *peer)
{
    uint64_t received = bytes_received(peer);
    if (peer->unread_since != peer->remote->emptied) {
        peer->unread_since = peer->remote->emptied;
        peer->unread_base = received;
    } else {
        if (!peer->is_throttled && has_too_much_unread(peer, received)) {
            throttle(peer, true);
        }
        peer->unread_base += peer->taken_bytes;
    }
    peer->taken_bytes = peer->taken = 0;
}

static void
look_after(struct peer *peer, uint64_t now_us)
{
    bool expects_word = peer->view.is_ready || !peer->remote->is_port;
    if (peer->remote->look_after != NULL) {
        peer->remote->look_after(peer, now_us);
    }
    if (peer->state != PEER_OPEN) {
        return;
    }
    if (peer->remote->emptied == peer->remote->emptied_before) {
        look_for_a_flood(peer);
    } else if (peer->is_throttled) {
        throttle(peer, false);
    }
    uint64_t silent_us = now_us - peer->heard_us;
    if (expects_word && silent_us > BUS_PEER_LOST_MS * US_PER_MS / 2 && is_receiving(peer)) {
        peer->heard_us = now_us;
        silent_us = 0;
    }
    if (expects_word && silent_us > BUS_PEER_LOST_MS * US_PER_MS) {
        peer_leave(peer, "silent", true);
        return;
    }
    if (peer->view.is_ready && now_us - peer->sent_us >= BUS_TICK_MS * US_PER_MS) {
        peer_say(peer, ENV_HEARTBEAT, NULL);
    }
    if (peer->announced && peer->view.is_ready && !peer->is_late &&
        silent_us > BUS_PEER_LATE_MS * US_PER_MS) {
        peer_tell_owner_late(peer, true); /* may close everything */
    }
}

static void
forgive_all(struct remote *remote, uint64_t now_us)
{
    for (struct dyn_list *link = remote->peers.next; link != &remote->peers; link = link->next) {
        DYN_CONTAINER_OF(link, struct peer, link)->heard_us = now_us;
    }
}

static void
on_tick(struct bus_timer *timer)
{
    struct remote *remote = DYN_CONTAINER_OF(timer, struct remote, tick);
    uint64_t now_us = bus_loop_now_us(remote->loop);
    struct dyn_list *next;
    /* This process was stopped, or its loop busy: what peers said meanwhile is not read yet. */
    if (now_us > remote->tick_due_us + BUS_HEARTBEAT_MS * US_PER_MS) {
        forgive_all(remote, now_us);
    }
    for (struct dyn_list *link = remote->peers.next; link != &remote->peers; link = next) {
        next = link->next;
        look_after(DYN_CONTAINER_OF(link, struct peer, link), now_us);
        if (remote->closed) { /* by the owner, who heard of a late peer */
            return;
        }
    }
    remote->emptied_before = remote->emptied;
    tell_counts(remote);
    remote_start_ticking(remote);
}

void
remote_start_ticking(struct remote *remote)
{
    remote->tick_due_us = bus_loop_now_us(remote->loop) + (uint64_t)BUS_TICK_MS * US_PER_MS;
    bus_timer_arm(remote->loop, &remote->tick, BUS_TICK_MS);
}

/* ---- life ---- */

/* The port is of no interest: it may be one of the three of a base endpoint, or any free one. */
int
remote_check_endpoint(const bus_security_t *security, const char *endpoint_text, struct dyn_err *err)
{
    struct bus_endpoint endpoint;
    struct dyn_slice text = dyn_slice_str(endpoint_text);
    const char *colon = strrchr(text.data, ':');
    bool has_port =
        strncmp(text.data, "tcp://", 6) == 0 && colon > text.data + 6 && strchr(colon, ']') == NULL;
    text.len = has_port ? (size_t)(colon - text.data) : text.len;
    if (bus_endpoint_parse(text, &endpoint, err) != 0) {
        return -1;
    }
    return bus_security_check(security, &endpoint, err);
}

int
remote_init(struct remote *remote, bus_actor_t *owner, const struct bus_remote_options *options, bool is_port,
            struct dyn_err *err)
{
    remote->options = *options;
    remote->options.endpoint = dyn_strdup(options->endpoint);
    if (remote->options.body_max == 0 || remote->options.body_max > ENV_BODY_MAX) {
        remote->options.body_max = ENV_BODY_MAX;
    }
    remote->owner = owner;
    remote->bus = owner->host->bus;
    remote->loop = owner->host->loop;
    remote->is_port = is_port;
    remote->tick.fire = on_tick;
    dyn_list_init(&remote->peers);
    dyn_list_init(&remote->leaving);
    dyn_list_init(&remote->ended);
    bus_task_init(&remote->say_goodbyes, say_goodbyes);
    bus_task_init(&remote->settle, settle);
    if (remote_check_endpoint(options->process->security, options->endpoint, err) != 0) {
        return -1;
    }
    return bus_context_admit(remote->bus, options->process->security, err);
}

void
remote_drain(struct remote *remote)
{
    remote->draining = true;
    for (struct dyn_list *link = remote->peers.next; link != &remote->peers; link = link->next) {
        struct peer *peer = DYN_CONTAINER_OF(link, struct peer, link);
        bool has_our_ready = peer->announced || !remote->is_port; /* a link says it first of all */
        if (peer->state == PEER_OPEN && has_our_ready) {
            peer_say(peer, ENV_GOODBYE, "drain");
        }
    }
}

static void
free_peers(struct remote *remote)
{
    while (!dyn_list_is_empty(&remote->peers)) {
        struct peer *peer = DYN_CONTAINER_OF(remote->peers.next, struct peer, link);
        if (peer->state == PEER_OPEN && !peer->ended && remote->socket != NULL) {
            peer->state = PEER_LEAVING; /* whatever comes of it, nobody is told */
            peer_say(peer, ENV_GOODBYE, "close");
        }
        peer_free(peer);
    }
}

void
remote_close(struct remote *remote, bool lingers, void (*free_it)(void *remote))
{
    remote->closed = true;
    free_peers(remote);
    tell_counts(remote);
    remote_close_socket(remote, lingers);
    bus_task_cancel(&remote->say_goodbyes);
    bus_task_cancel(&remote->settle);
    bus_timer_fini(&remote->tick);
    bus_loop_post(remote->loop, free_it, remote);
}

void
bus_peer_cut(bus_actor_t *me, bus_addr_t addr, const char *reason)
{
    struct peer *peer = peer_by_addr(me, addr);
    if (peer != NULL) {
        peer_leave(peer, reason, true);
    }
}
