/* The inside of ports and links: what they have in common (remote.c), their peers (peer.c), their sockets'
 * options (socket_options.def). See remote.h for what it is all about. */
#pragma once

#include "bus/context.h"
#include "bus/frames.h"
#include "bus/monitor.h"
#include "bus/remote.h"

enum {
    BUS_TICK_MS = BUS_HEARTBEAT_MS / 2, /* how often is looked who is silent and who hears nothing */
    BUS_REASON_MAX = 32,
    BUS_KEY_NAME_MAX = 128,
    BUS_NODE_MAX = 65,
};

struct peer;

/* A port or a link. `receive_one` and `gone` are its own. */
struct remote {
    struct bus_remote_options options; /* endpoint: an own copy */
    bus_actor_t *owner;
    bus_t *bus;
    bus_loop_t *loop;
    bool is_port;
    bool draining; /* GOODBYE `drain` was said */
    bool closed;   /* nothing may be touched but by free */

    void *socket; /* of a link: of this connection */
    struct zmq_poll poll;
    struct monitor monitor;

    struct dyn_list peers;        /* struct peer.link */
    struct dyn_list leaving;      /* struct peer.leave_link: their GOODBYE is to be told to the owner */
    struct dyn_list ended;        /* struct peer.ended_link, the first that ended first */
    struct bus_task say_goodbyes;
    struct bus_task settle;       /* a connection has ended: reads what is left, then its peer is lost */
    struct bus_timer tick;
    uint64_t tick_due_us;
    uint64_t emptied; /* how often the socket has been read to its end */
    uint64_t emptied_before; /* the last tick */

    struct dyn_buf header; /* of the envelope being sent; keeps its memory */
    /* Not yet in options.process: told with each tick, so that cells don't fight for its memory. */
    uint64_t sent, sent_bytes, received, received_bytes;

    bool (*receive_one)(struct remote *remote); /* false: nothing there */
    void (*gone)(struct peer *peer);            /* was told to the owner, or never known to it */
    void (*settled)(struct remote *remote);     /* nothing was left to read; NULL: nothing to do */
    void (*look_after)(struct peer *peer, uint64_t now_us); /* with each tick; NULL: nothing more */
};

enum peer_state {
    PEER_OPEN,
    PEER_LEAVING, /* in remote->leaving */
    PEER_CUT,     /* what it sends is dropped until its connection ends */
};

struct peer {
    struct bus_peer view;
    struct remote *remote;
    struct dyn_list link;
    struct dyn_list leave_link;
    struct dyn_list ended_link; /* until what it had sent has been read */
    enum peer_state state;
    bool announced;   /* the owner has heard of it: view.addr is set, GOODBYE will be told */
    bool has_version; /* view.minor is known */
    bool drains;      /* it said GOODBYE `drain` */
    bool is_late;     /* as the owner was told */
    enum bus_role counted_as; /* in the process's gauge; BUS_ROLE_NONE: not yet */
    bool ended;       /* its connection is over; what it had sent may still come */
    uint64_t heard_us, sent_us, ended_us;
    uint64_t listened_since_us, bytes_received; /* of the silence that began then */
    /* Since the socket was read to its end for the `unread_since`th time: what its connection had received
     * when that was first seen and what was read of it, up to the last tick; and since that tick. */
    uint64_t unread_since, unread_base, taken_bytes, taken;
    bool is_throttled;
    uint64_t cut_us; /* when its GOODBYE was sent */
    uint64_t key_checked; /* bus_security_generation() */
    atomic_size_t *queued; /* bytes on their way to it, in its place */
    char reason[BUS_REASON_MAX];
    char key[BUS_KEY_TEXT];
    char key_name[BUS_KEY_NAME_MAX];
    char node[BUS_NODE_MAX];

    int fd; /* of its connection, -1: unknown. libzmq's: may be closed at any time */

    /* Of a port's. */
    const void *metadata; /* of its messages: only compared */
    zmq_msg_t pin;        /* keeps that from being another's */
    uint64_t suspect_until_us;  /* 0: its connection is known */
    struct peer *next_suspect;  /* on its descriptor */
    struct peer *next; /* in the table of routing ids */
    uint64_t hash;
    size_t routing_len; /* 0: a link's */
    char routing[];
};

/* ---- remote.c ---- */

/* -1 with err: it is no endpoint, or would be spoken to in the clear off loopback. Its port may be `*`. */
int remote_check_endpoint(const bus_security_t *security, const char *endpoint, struct dyn_err *err);
int remote_init(struct remote *remote, bus_actor_t *owner, const struct bus_remote_options *options,
                bool is_port, struct dyn_err *err);
/* A socket with its options, not yet bound or connected. */
int remote_open_socket(struct remote *remote, unsigned attempt, struct dyn_err *err);
/* It is bound or connected: watches it. `events` are of its monitor. */
int remote_watch_socket(struct remote *remote, int events, struct dyn_err *err);
/* Its connection's descriptor, copied, which the caller closes; -1: it has none that is surely its own. */
int remote_copy_descriptor(const struct peer *peer);
/* `lingers`: what was sent may still leave within BUS_LINGER_MS. */
void remote_close_socket(struct remote *remote, bool lingers);
void remote_start_ticking(struct remote *remote);
/* GOODBYE `drain` to all. */
void remote_drain(struct remote *remote);
/* Says GOODBYE `close` to all, frees them, closes the socket. The memory is freed later: it may be in use
 * further up the stack. */
void remote_close(struct remote *remote, bool lingers, void (*free_it)(void *remote));

/* ---- peer.c ---- */

struct peer *peer_new(struct remote *remote, struct dyn_slice routing, int fd);
/* Out of its lists and of the bus; the owner is told nothing. */
void peer_free(struct peer *peer);
/* Its connection is over. It is lost when everything that it sent has been read. */
void peer_end(struct peer *peer);
/* Takes a message that came from it. It may be leaving afterwards, and the remote may be closed. */
void peer_take(struct peer *peer, struct frames *frames);
/* Says READY. */
void peer_say_ready(struct peer *peer);
void peer_say(struct peer *peer, enum env_kind kind, const char *reason);
/* It is gone, or shall go: the owner hears GOODBYE before the end of the turn. `tell`: so does it. */
void peer_leave(struct peer *peer, const char *reason, bool tell);
/* Broke the rules: `reason` is the word for it, `why` the sentence for the log. */
void peer_refuse(struct peer *peer, const char *reason, const char *why);
/* The owner hears that it is late, or is no more. */
void peer_tell_owner_late(struct peer *peer, bool is_late);
/* The owner hears it now. */
void peer_tell_owner_goodbye(struct peer *peer);
/* NULL: the address is no peer's. */
struct peer *peer_by_addr(bus_actor_t *me, bus_addr_t addr);
