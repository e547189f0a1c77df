/* A port: a ROUTER socket that peers connect to. Which message is whose is decided here; what it means in
 * peer.c.
 *
 * A peer is known by its routing id, and that id is only as good as the connection it came over: a client
 * may choose it, and may choose it again over another connection with another key. libzmq attaches one
 * object of metadata (descriptor, key) to all messages of a connection; the peer holds on to it, so as
 * long as the peer is known no other connection has an object at that address. A message with a known id
 * and another object means that the old peer is gone.
 *
 * The monitor tells which descriptor's connection has ended; the peer is lost when everything that it sent
 * has been read. The number may by then be another connection's: a connection can come, speak and end, and
 * the next one get its number, before this loop has turned once. Peers of which it cannot be said which of
 * the two they are on are suspects: for a while they get HEARTBEATs, and libzmq says which of them cannot
 * be reached. */
#include "bus/remote_impl.h"

#include "core/rand.h"

#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    FIRST_BUCKETS = 64,
    FIRST_CONNECTIONS = 64,
    ENDPOINT_SIZE = 512,
    SUSPECT_US = 1000 * 1000, /* libzmq has long dropped a connection that ended before */
};

/* Of a descriptor. */
struct connection {
    bool open;    /* accepted, not yet ended */
    bool haunted; /* one ended that nobody was known on: it may have said something that is not read yet */
    struct peer *peer; /* that surely speaks over it; NULL: none yet, or suspects */
    struct peer *suspects;
};

struct bus_port {
    struct remote remote; /* first */
    char endpoint[ENDPOINT_SIZE];
    struct connection *connections; /* by descriptor */
    size_t n_connections;
    size_t n_haunted;
    struct peer **buckets; /* by routing id */
    size_t n_buckets;
    size_t n_peers;
    uint64_t seed; /* ids are chosen by whoever connects */
};

static struct bus_port *
port_of(struct remote *remote)
{
    return DYN_CONTAINER_OF(remote, struct bus_port, remote);
}

/* ---- connections ---- */

static struct connection *
connection_at(struct bus_port *port, int fd)
{
    static const size_t grow_by = 2;
    size_t wanted = (size_t)fd + 1;
    if (wanted > port->n_connections) {
        size_t n = port->n_connections > 0 ? port->n_connections : FIRST_CONNECTIONS;
        while (n < wanted) {
            n *= grow_by;
        }
        port->connections = dyn_realloc(port->connections, n * sizeof *port->connections);
        memset(port->connections + port->n_connections, 0,
               (n - port->n_connections) * sizeof *port->connections);
        port->n_connections = n;
    }
    return &port->connections[fd];
}

static void
suspect(struct bus_port *port, struct peer *peer)
{
    struct connection *connection = connection_at(port, peer->fd);
    peer->suspect_until_us = bus_loop_now_us(port->remote.loop) + SUSPECT_US;
    peer->next_suspect = connection->suspects;
    connection->suspects = peer;
}

/* Those on that descriptor who are suspects already are so for longer. */
static void
suspect_longer(struct bus_port *port, const struct connection *connection)
{
    for (struct peer *peer = connection->suspects; peer != NULL; peer = peer->next_suspect) {
        peer->suspect_until_us = bus_loop_now_us(port->remote.loop) + SUSPECT_US;
    }
}

static void
suspect_no_more(struct bus_port *port, struct peer *peer)
{
    struct peer **at = &connection_at(port, peer->fd)->suspects;
    while (*at != NULL && *at != peer) {
        at = &(*at)->next_suspect;
    }
    if (*at == peer) {
        *at = peer->next_suspect;
    }
    peer->suspect_until_us = 0;
}

static void
trust(struct bus_port *port, struct peer *peer)
{
    struct connection *connection = connection_at(port, peer->fd);
    suspect_no_more(port, peer);
    if (connection->peer == NULL && connection->open && !peer->ended) {
        connection->peer = peer;
    }
}

static void
happened(struct monitor *monitor, unsigned event, int fd)
{
    struct bus_port *port = port_of(DYN_CONTAINER_OF(monitor, struct remote, monitor));
    if (fd < 0) {
        return;
    }
    struct connection *connection = connection_at(port, fd);
    struct peer *peer = connection->peer;
    connection->open = event == ZMQ_EVENT_ACCEPTED;
    if (connection->open) {
        return;
    }
    connection->peer = NULL;
    if (peer != NULL) {
        peer_end(peer);
        return;
    }
    port->n_haunted += !connection->haunted;
    connection->haunted = true;
    suspect_longer(port, connection);
    bus_task_queue(port->remote.loop, &port->remote.settle);
}

/* ---- the table of routing ids ---- */

/* FNV-1a, begun with a secret. */
static uint64_t
hash_of(const struct bus_port *port, struct dyn_slice routing)
{
    uint64_t hash = port->seed;
    for (size_t i = 0; i < routing.len; i++) {
        hash = (hash ^ (uint8_t)routing.data[i]) * 0x100000001b3u;
    }
    return hash ^ (hash >> 32);
}

static struct peer **
bucket_of(struct bus_port *port, uint64_t hash)
{
    return &port->buckets[hash & (port->n_buckets - 1)];
}

static struct peer *
find_peer(struct bus_port *port, struct dyn_slice routing, uint64_t hash)
{
    struct peer *peer = *bucket_of(port, hash);
    while (peer != NULL &&
           (peer->hash != hash || !dyn_slice_eq(routing, dyn_slice(peer->routing, peer->routing_len)))) {
        peer = peer->next;
    }
    return peer;
}

static void
put_peer(struct bus_port *port, struct peer *peer)
{
    struct peer **bucket = bucket_of(port, peer->hash);
    peer->next = *bucket;
    *bucket = peer;
}

static void
grow_table(struct bus_port *port)
{
    size_t n = port->n_buckets;
    struct peer **old = port->buckets;
    port->n_buckets = n * 2;
    port->buckets = dyn_zalloc(port->n_buckets * sizeof(struct peer *));
    for (size_t i = 0; i < n; i++) {
        while (old[i] != NULL) {
            struct peer *peer = old[i];
            old[i] = peer->next;
            put_peer(port, peer);
        }
    }
    free(old);
}

static void
add_peer(struct bus_port *port, struct peer *peer)
{
    if (++port->n_peers > port->n_buckets) {
        grow_table(port);
    }
    put_peer(port, peer);
}

static void
take_out(struct bus_port *port, struct peer *peer)
{
    struct peer **at = bucket_of(port, peer->hash);
    while (*at != NULL && *at != peer) {
        at = &(*at)->next;
    }
    if (*at == peer) {
        *at = peer->next;
        port->n_peers--;
    }
}

/* ---- whose message is it ---- */

static const char *
user_id(struct frames *frames)
{
    const char *key = zmq_msg_gets(&frames->header, "User-Id");
    return key != NULL ? key : "";
}

/* An address in the connection's metadata. */
static const void *
metadata_of(struct frames *frames)
{
    return zmq_msg_gets(frames->n > 0 ? &frames->header : &frames->routing, "Peer-Address");
}

static void
learn_key(const struct bus_port *port, struct peer *peer, struct frames *frames)
{
    const bus_security_t *security = port->remote.options.process->security;
    if (!bus_security_has_curve(security)) {
        return;
    }
    const char *key = user_id(frames);
    size_t len = strnlen(key, sizeof peer->key - 1);
    memcpy(peer->key, key, len);
    peer->view.key = dyn_slice(peer->key, len);
    peer->key_checked = bus_security_generation(security);
    peer->view.role = bus_security_allows(security, peer->view.key, peer->key_name, sizeof peer->key_name);
    peer->view.key_name = dyn_slice_str(peer->key_name);
}

static void
disconnect(struct bus_port *port, struct peer *peer)
{
    if (peer->suspect_until_us != 0) {
        suspect_no_more(port, peer);
    }
    if (peer->fd >= 0 && connection_at(port, peer->fd)->peer == peer) {
        connection_at(port, peer->fd)->peer = NULL;
    }
}

/* Somebody else has its routing id now. */
static void
displace(struct bus_port *port, struct peer *peer)
{
    take_out(port, peer);
    disconnect(port, peer);
    peer_end(peer);
    peer_leave(peer, "lost", false);
}

/* Over which connection does it speak? */
static void
find_connection(struct bus_port *port, struct peer *peer)
{
    struct connection *connection = connection_at(port, peer->fd);
    if (!connection->open) { /* the last words over one that has ended */
        peer_end(peer);
    } else if (connection->peer == NULL && !connection->haunted) {
        connection->peer = peer;
    } else {
        suspect(port, peer);
        if (connection->peer != NULL) {
            suspect(port, connection->peer);
            connection->peer = NULL;
        }
    }
}

static struct peer *
join(struct bus_port *port, struct frames *frames, uint64_t hash)
{
    int fd = zmq_msg_get(frames->n > 0 ? &frames->header : &frames->routing, ZMQ_SRCFD);
    struct peer *peer = peer_new(&port->remote, frame_slice(&frames->routing), fd);
    peer->hash = hash;
    peer->metadata = metadata_of(frames);
    (void)zmq_msg_copy(&peer->pin, &frames->routing);
    learn_key(port, peer, frames);
    add_peer(port, peer);
    if (fd >= 0) {
        find_connection(port, peer);
    }
    return peer;
}

static struct peer *
sender_of(struct bus_port *port, struct frames *frames)
{
    struct dyn_slice routing = frame_slice(&frames->routing);
    uint64_t hash = hash_of(port, routing);
    struct peer *peer = find_peer(port, routing, hash);
    if (peer != NULL && peer->metadata == metadata_of(frames)) {
        return peer;
    }
    monitor_drain(&port->remote.monitor);
    if (peer != NULL) {
        displace(port, peer);
    }
    return join(port, frames, hash);
}

static bool
receive_one(struct remote *remote)
{
    struct bus_port *port = port_of(remote);
    struct frames frames;
    if (remote->closed || !frames_receive(remote->socket, true, &frames)) {
        return false;
    }
    peer_take(sender_of(port, &frames), &frames);
    frames_close(&frames);
    return !remote->closed;
}

/* Told to go, or lost: stays in the table, deaf, while its connection lasts. */
static void
gone(struct peer *peer)
{
    struct bus_port *port = port_of(peer->remote);
    if (peer->ended) {
        take_out(port, peer);
        disconnect(port, peer);
        peer_free(peer);
    }
}

/* ---- with each tick ---- */

/* Ends the connection of a peer that was told to go and stays: the other end of it is shut down, whatever
 * libzmq does meanwhile. */
static void
cut_off(struct peer *peer)
{
    int copy = remote_copy_descriptor(peer);
    if (copy >= 0) {
        (void)shutdown(copy, SHUT_RDWR);
        (void)close(copy);
    }
}

/* Is it still there? */
static void
question(struct peer *peer, uint64_t now_us)
{
    struct bus_port *port = port_of(peer->remote);
    if (now_us < peer->suspect_until_us && !peer->ended) {
        peer_say(peer, ENV_HEARTBEAT, NULL);
    } else {
        trust(port, peer);
    }
}

/* The folder of keys was read again: may it still be here? */
static void
check_key(struct peer *peer)
{
    const bus_security_t *security = peer->remote->options.process->security;
    uint64_t generation = bus_security_generation(security);
    if (peer->key[0] == '\0' || peer->key_checked == generation) {
        return;
    }
    peer->key_checked = generation;
    if (bus_security_allows(security, peer->view.key, NULL, 0) != peer->view.role) {
        peer_refuse(peer, "role", "its key is not allowed any more");
    }
}

static void
look_after(struct peer *peer, uint64_t now_us)
{
    if (peer->suspect_until_us != 0) {
        question(peer, now_us);
    }
    if (peer->state == PEER_OPEN) {
        check_key(peer);
    } else if (peer->state == PEER_CUT && now_us - peer->cut_us >= (uint64_t)BUS_LINGER_MS * 1000) {
        cut_off(peer); /* its GOODBYE has had the time to leave */
    }
}

/* Everything is read that was sent over connections of whose end is known. */
static void
settled(struct remote *remote)
{
    struct bus_port *port = port_of(remote);
    for (size_t fd = 0; port->n_haunted > 0 && fd < port->n_connections; fd++) {
        port->n_haunted -= port->connections[fd].haunted;
        port->connections[fd].haunted = false;
    }
}

/* ---- life ---- */

static int
bind_port(struct bus_port *port, struct dyn_err *err)
{
    struct remote *remote = &port->remote;
    size_t size = sizeof port->endpoint;
    if (remote_open_socket(remote, 0, err) != 0) {
        return -1;
    }
    remote->monitor.happened = happened;
    if (remote_watch_socket(remote, ZMQ_EVENT_ACCEPTED | ZMQ_EVENT_DISCONNECTED, err) != 0) {
        return -1;
    }
    if (zmq_bind(remote->socket, remote->options.endpoint) != 0 ||
        zmq_getsockopt(remote->socket, ZMQ_LAST_ENDPOINT, port->endpoint, &size) != 0) {
        return dyn_err_set(err, DYN_E_IO, "cannot listen on %s: %s", remote->options.endpoint,
                           zmq_strerror(zmq_errno()));
    }
    zmq_poll_touched(&remote->poll);
    return 0;
}

static void
free_port(void *arg)
{
    struct bus_port *port = arg;
    dyn_buf_fini(&port->remote.header);
    free((char *)(uintptr_t)port->remote.options.endpoint);
    free(port->connections);
    free(port->buckets);
    free(port);
}

bus_port_t *
bus_port_open(bus_actor_t *owner, const struct bus_remote_options *options, struct dyn_err *err)
{
    struct bus_port *port = dyn_zalloc(sizeof *port);
    port->n_buckets = FIRST_BUCKETS;
    port->buckets = dyn_zalloc(port->n_buckets * sizeof(struct peer *));
    dyn_random_bytes(&port->seed, sizeof port->seed);
    port->remote.receive_one = receive_one;
    port->remote.gone = gone;
    port->remote.look_after = look_after;
    port->remote.settled = settled;
    if (remote_init(&port->remote, owner, options, true, err) != 0 || bind_port(port, err) != 0) {
        bus_port_close(&port);
        return NULL;
    }
    remote_start_ticking(&port->remote);
    return port;
}

const char *
bus_port_endpoint(const bus_port_t *port)
{
    return port->endpoint;
}

void
bus_port_drain(bus_port_t *port)
{
    remote_drain(&port->remote);
}

void
bus_port_close(bus_port_t **port_p)
{
    bus_port_t *port = *port_p;
    *port_p = NULL;
    if (port != NULL) {
        remote_close(&port->remote, true, free_port);
    }
}
