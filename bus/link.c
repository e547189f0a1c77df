/* A link: a DEALER socket that connects to one port. Each connection has a socket and a peer of its own:
 * what was queued for a dead peer goes down with its socket, and no message of an old connection can be
 * taken for one of the new. libzmq's own reconnecting is off; this file does it, with a backoff. */
#include "bus/remote_impl.h"

#include "core/log.h"
#include "core/rand.h"

#include <stdlib.h>

struct bus_link {
    struct remote remote; /* first */
    struct peer *peer;    /* NULL between two connections */
    struct bus_timer retry;
    uint64_t delay_ms; /* before the next try, without jitter */
    unsigned attempts;
    bool has_news; /* what READY said is not so any more, and the port has not answered it yet */
    struct dyn_rng rng;
};

static struct bus_link *
link_of(struct remote *remote)
{
    return DYN_CONTAINER_OF(remote, struct bus_link, remote);
}

/* But for the first, whatever it is, the connection is over or never was. */
enum {
    EVENTS = ZMQ_EVENT_CONNECTED | ZMQ_EVENT_CLOSED | ZMQ_EVENT_DISCONNECTED |
             ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL | ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL |
             ZMQ_EVENT_HANDSHAKE_FAILED_AUTH
};

static void
happened(struct monitor *monitor, unsigned event, int value)
{
    struct bus_link *link = link_of(DYN_CONTAINER_OF(monitor, struct remote, monitor));
    if (event == ZMQ_EVENT_CONNECTED && link->peer != NULL) {
        link->peer->fd = value;
    } else if (link->peer != NULL && !link->peer->ended) {
        link->peer->fd = -1;
        peer_end(link->peer);
    }
}

/* A peer that takes no second READY hears the first one of another connection. */
static void
tell_news(struct bus_link *link)
{
    if (!bus_link_is_connected(link)) {
        return;
    }
    link->has_news = false;
    if (!bus_link_say_ready(link)) {
        peer_leave(link->peer, "reload", true);
    }
}

static bool
receive_one(struct remote *remote)
{
    struct bus_link *link = link_of(remote);
    struct frames frames;
    if (remote->closed || link->peer == NULL || !frames_receive(remote->socket, false, &frames)) {
        return false;
    }
    peer_take(link->peer, &frames);
    frames_close(&frames);
    if (DYN_UNLIKELY(link->has_news) && !remote->closed) {
        tell_news(link);
    }
    return !remote->closed;
}

/* ---- again and again ---- */

static int
connect_link(struct bus_link *link, struct dyn_err *err)
{
    struct remote *remote = &link->remote;
    if (remote_open_socket(remote, link->attempts++, err) != 0) {
        return -1;
    }
    remote->monitor.happened = happened;
    if (remote_watch_socket(remote, EVENTS, err) != 0) {
        return -1;
    }
    if (zmq_connect(remote->socket, remote->options.endpoint) != 0) {
        return dyn_err_set(err, DYN_E_CONFIG, "cannot connect to %s: %s", remote->options.endpoint,
                           zmq_strerror(zmq_errno()));
    }
    link->peer = peer_new(remote, dyn_slice(NULL, 0), -1);
    link->has_news = false;
    peer_say_ready(link->peer);
    if (remote->draining) {
        peer_say(link->peer, ENV_GOODBYE, "drain");
    }
    return 0;
}

/* Between half of the delay and all of it: peers that lost the same router don't come back in step. */
static void
retry_later(struct bus_link *link)
{
    uint64_t half = link->delay_ms / 2;
    bus_timer_arm(link->remote.loop, &link->retry, half + dyn_rng_below(&link->rng, half + 1));
    link->delay_ms = link->delay_ms * 2 < BUS_RECONNECT_MAX_MS ? link->delay_ms * 2 : BUS_RECONNECT_MAX_MS;
}

static void
retry(struct bus_timer *timer)
{
    struct bus_link *link = DYN_CONTAINER_OF(timer, struct bus_link, retry);
    struct dyn_err err;
    (void)atomic_fetch_add_explicit(&link->remote.options.process->reconnects, 1, memory_order_relaxed);
    if (connect_link(link, &err) != 0) {
        dyn_log(DYN_LOG_WARN, "bus.connect", "a connection could not be begun",
                DYN_LOG_STR("endpoint", link->remote.options.endpoint), DYN_LOG_STR("reason", err.text));
        remote_close_socket(&link->remote, false);
        retry_later(link);
    }
}

static void
gone(struct peer *peer)
{
    struct bus_link *link = link_of(peer->remote);
    if (peer->view.is_ready) {
        link->delay_ms = BUS_RECONNECT_MIN_MS;
    }
    bool is_connected = !peer->ended;
    link->peer = NULL;
    peer_free(peer);
    remote_close_socket(&link->remote, is_connected);
    bus_task_cancel(&link->remote.settle);
    retry_later(link);
}

/* ---- life ---- */

static void
free_link(void *arg)
{
    struct bus_link *link = arg;
    dyn_buf_fini(&link->remote.header);
    free((char *)(uintptr_t)link->remote.options.endpoint);
    free(link);
}

bus_link_t *
bus_link_open(bus_actor_t *owner, const struct bus_remote_options *options, struct dyn_err *err)
{
    struct bus_link *link = dyn_zalloc(sizeof *link);
    uint64_t seed;
    dyn_random_bytes(&seed, sizeof seed);
    dyn_rng_seed(&link->rng, seed);
    link->delay_ms = BUS_RECONNECT_MIN_MS;
    link->retry.fire = retry;
    link->remote.receive_one = receive_one;
    link->remote.gone = gone;
    if (remote_init(&link->remote, owner, options, false, err) != 0 || connect_link(link, err) != 0) {
        bus_link_close(&link);
        return NULL;
    }
    remote_start_ticking(&link->remote);
    return link;
}

bool
bus_link_is_connected(const bus_link_t *link)
{
    const struct peer *peer = link->peer;
    return peer != NULL && peer->state == PEER_OPEN && peer->view.is_ready && !peer->ended;
}

bool
bus_link_is_up(const bus_link_t *link)
{
    return bus_link_is_connected(link) && !link->peer->drains;
}

const char *
bus_link_endpoint(const bus_link_t *link)
{
    return link->remote.options.endpoint;
}

bool
bus_link_say_ready(bus_link_t *link)
{
    if (!bus_link_is_connected(link)) {
        link->has_news = link->peer != NULL; /* whose READY is on its way, or has been read */
        return true;
    }
    if (link->peer->view.minor < BUS_READY_AGAIN_MINOR) {
        return false;
    }
    peer_say_ready(link->peer);
    return true;
}

void
bus_link_drain(bus_link_t *link)
{
    remote_drain(&link->remote);
}

void
bus_link_close(bus_link_t **link_p)
{
    bus_link_t *link = *link_p;
    *link_p = NULL;
    if (link != NULL) {
        bool is_connected = link->peer != NULL && link->peer->view.is_ready && !link->peer->ended;
        link->peer = NULL;
        bus_timer_fini(&link->retry);
        remote_close(&link->remote, is_connected, free_link);
    }
}
