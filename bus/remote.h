/* Peers in other processes, over ZeroMQ ipc and tcp. A peer is an actor like any other: it has an address,
 * and a mailbox that is bounded in bytes until they have left this process; bus_send() to it encodes and
 * writes to its connection. What it sends comes to the `receive` of the port or link that it is connected
 * to, with its address in `from`; from there bus_send_as() hands it on.
 *
 *   port: binds a ROUTER socket; any number of peers come and go.       (bus/port.c)
 *   link: connects a DEALER socket to one peer, again and again.        (bus/link.c)
 *
 * Both say READY when they begin to speak, HEARTBEAT when they have nothing else to say, and know within
 * BUS_PEER_LOST_MS that a peer is gone; at once where its connection ends. A peer that breaks the protocol
 * gets GOODBYE with a reason, is counted, and is not listened to any more. Specified in
 * proto/01-ENVELOPE.md and 02-WORKER.md. All on the owner's loop. */
#pragma once

#include "bus/bus.h"
#include "bus/security.h"

#include <stdatomic.h>

typedef struct bus_port bus_port_t;
typedef struct bus_link bus_link_t;

enum {
    BUS_HEARTBEAT_MS = 500,  /* a peer hears from us at least so often */
    BUS_PEER_LATE_MS = 1200, /* silent for so long, two heartbeats and some: late */
    BUS_PEER_LOST_MS = 2000, /* ... lost */
    BUS_LINGER_MS = 1000,    /* what was sent before closing may still leave */
    BUS_RECONNECT_MIN_MS = 50, /* a link tries again after this, doubling up to the other, with jitter */
    BUS_RECONNECT_MAX_MS = 1000,
};

/* What one process says of itself and counts on all its ports and links; envelopes and bytes with a delay
 * of up to half a heartbeat. Zero-initialised, then bus_process_init(). */
struct bus_process {
    char node[33];        /* 32 hex digits, random: goes into READY */
    atomic_uint_fast64_t config_digest; /* changes with the configuration; 0: there is none */
    atomic_uint_fast64_t config_version; /* from 1, one higher with each that came into force */
    struct bus_security *security; /* keys, who is allowed, `insecure`; never NULL */
    atomic_uint_fast64_t sent, received;             /* envelopes */
    atomic_uint_fast64_t sent_bytes, received_bytes; /* header and body */
    atomic_uint_fast64_t peers[BUS_ROLE_COUNT]; /* gauge: known right now, by role */
    atomic_uint_fast64_t peers_joined;
    atomic_uint_fast64_t peers_lost;      /* not by GOODBYE */
    atomic_uint_fast64_t heartbeats_lost; /* of these, by silence */
    atomic_uint_fast64_t refused_protocol, refused_version, refused_role, refused_limit; /* GOODBYEs said */
    atomic_uint_fast64_t ignored_kinds;   /* of a later minor version */
    atomic_uint_fast64_t reconnects;
    atomic_uint_fast64_t throttled; /* times that a peer sent faster than it was read and was slowed down */
};
void bus_process_init(struct bus_process *process, struct bus_security *security);
/* The digest as READY has it: 16 hex digits, or "". Any thread. */
enum { BUS_CONFIG_HASH_SIZE = 17 };
void bus_process_config(const struct bus_process *process, char out[BUS_CONFIG_HASH_SIZE]);
/* All that are known right now. Any thread. */
uint64_t bus_process_peers(const struct bus_process *process);

/* From this minor version on READY may be said again (01-ENVELOPE, READY). */
enum { BUS_READY_AGAIN_MINOR = 2 };

/* One peer, as its port or link knows it. Good during a callback. */
struct bus_peer {
    bus_addr_t       addr;
    enum bus_role    role;     /* of its key; without CURVE as it said in READY, else BUS_ROLE_CLIENT */
    struct dyn_slice key;      /* its public key in Z85, or "" without CURVE: who it is */
    struct dyn_slice key_name; /* as the allowed key is named, or "" */
    struct dyn_slice node;     /* from its READY, or "" */
    unsigned         minor;    /* version that is spoken with it */
    bool             is_ready; /* it said READY: it sends heartbeats */
    void            *user;     /* the owner's own, NULL at first */
};

/* From inside of `receive` the port or link may be closed. */
struct bus_remote_ops {
    /* An envelope of a peer, in order. Takes what it keeps of *env_p, the rest is freed.
     *   READY     the peer speaks: says who it is (a link's peer: the port has answered, the link is up).
     *             A client may do without, its first envelope is another one then. Again from a peer of a
     *             port: what it says of itself has changed.
     *   GOODBYE   reason `drain`: send it nothing new, what is in flight goes on, it is still there.
     *             Any other reason: it is gone, its address answers DYN_E_GONE after this call. Exactly one
     *             for each peer that anything was received of, after everything that it had sent; made here
     *             when the connection is lost (`lost`), the peer is silent (`silent`), or was told to go
     *             (`protocol`, `version`, `role`, `limit`, or what bus_peer_cut() was given).
     *   END       may be made here: ERR_INTERNAL for a REQUEST that the peer's version has no words for.
     *   HEARTBEAT one with a body is the peer's own (`kinds` has the bit; else it is dropped). One without is
     *             made here, with reason `late` when a peer that said READY has been
     *             silent for BUS_PEER_LATE_MS (ask another one if there is one), without a reason when it
     *             speaks again. */
    void (*receive)(void *self, struct bus_peer *peer, struct env **env_p);
    /* May change an envelope on its way to the peer (another id, another credential). NULL: nothing. */
    void (*sending)(void *self, struct bus_peer *peer, struct env *env);
    /* Fills READY for a new peer: role, worker, requests, request_bytes, body. node, config hash and
     * version are set. */
    void (*ready)(void *self, struct env *ready);
};

struct bus_remote_options {
    struct bus_process *process;
    const char *endpoint;  /* tcp://host:port, ipc://path; a link's host is a number, never a name; copied */
    uint32_t    roles;     /* port: bits 1 << enum bus_role that may connect */
    uint32_t    kinds;     /* bits 1 << enum env_kind they may send, beside READY, HEARTBEAT, GOODBYE */
    size_t      body_max;  /* of a REQUEST, bytes; 0: ENV_BODY_MAX */
    const struct bus_remote_ops *ops;
    void       *self;
};

/* From the owner's start() on. -1 with err: the endpoint can't be parsed or bound, keys are missing, or it
 * would speak in the clear off loopback. Closed at latest in the owner's stop(). `endpoint` with port 0 or
 * `*`: bus_port_endpoint() says what it became. */
bus_port_t *bus_port_open(bus_actor_t *owner, const struct bus_remote_options *options, struct dyn_err *err);
const char *bus_port_endpoint(const bus_port_t *port);
/* GOODBYE `drain` to every peer; they stay. */
void bus_port_drain(bus_port_t *port);
/* GOODBYE `close` to every peer; no callback comes any more. What was sent still leaves within
 * BUS_LINGER_MS. */
void bus_port_close(bus_port_t **port_p);

/* Connects at once and again whenever the peer is lost, each time as a new peer with a new address. */
bus_link_t *bus_link_open(bus_actor_t *owner, const struct bus_remote_options *options, struct dyn_err *err);
bool bus_link_is_up(const bus_link_t *link); /* the peer has said READY and not GOODBYE */
/* As is_up, but a peer that drains is still there too: what is in flight over the link goes on. */
bool bus_link_is_connected(const bus_link_t *link);
const char *bus_link_endpoint(const bus_link_t *link);
void bus_link_drain(bus_link_t *link); /* GOODBYE `drain` */
/* READY once more, filled by `ready`: what this process says of itself has changed. A peer whose link is not
 * up yet hears it when it is. false: the peer's version (below 1.2) takes no second READY. */
bool bus_link_say_ready(bus_link_t *link);
void bus_link_close(bus_link_t **link_p);

/* Tells a peer of a port or link to go: GOODBYE with the reason, then it is not listened to any more, and
 * its connection is ended if it stays for BUS_LINGER_MS. Its GOODBYE comes to `receive` before the end of
 * the turn. Does nothing when it is gone. From any actor on the loop; from other loops send ENV_GOODBYE to
 * its address, which does the same (but with reason `drain`, which the peer is just told). */
void bus_peer_cut(bus_actor_t *me, bus_addr_t addr, const char *reason);
