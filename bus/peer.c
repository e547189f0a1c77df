/* A peer in another process: what it says, whether it may, what it is told, and how it leaves. The same on
 * a port and on a link. Not here: connections (port.c, link.c), silence (remote.c). Implements
 * 01-ENVELOPE, "Heartbeats and leaving" and "Versions", and the dialog of READY in 02-WORKER. */
#include "bus/remote_impl.h"

#include "core/log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static void peer_receive(void *self, struct env **env_p);

static void
do_nothing(void *self)
{
    (void)self; /* the port or link frees it */
}

static const struct bus_actor_ops peer_actor_ops = {
    .kind = "peer", .receive = peer_receive, .stop = do_nothing};

/* ---- sending ---- */

static void
cannot_write(struct peer *peer, int why)
{
    struct remote *remote = peer->remote;
    if (why == EHOSTUNREACH || (monitor_drain(&remote->monitor), peer->ended)) {
        peer_end(peer); /* what it said before comes first, then it is lost */
        return;
    }
    /* The queue holds more than any window and any mailbox allows. */
    peer_leave(peer, "limit", true);
}

/* The envelope stays the caller's, its body may have gone. */
static void
write_encoded(struct peer *peer, struct env *env)
{
    struct remote *remote = peer->remote;
    struct dyn_slice header = dyn_buf_slice(&remote->header);
    size_t bytes = header.len + env_body_len(env);
    if (peer->ended) { /* its routing id may be another's by now */
        return;
    }
    if (remote->socket == NULL || frames_send(remote->socket, dyn_slice(peer->routing, peer->routing_len),
                                              env, header, peer->queued, env->mailbox_bytes) != 0) {
        cannot_write(peer, remote->socket == NULL ? EHOSTUNREACH : errno);
        return;
    }
    peer->sent_us = bus_loop_now_us(remote->loop);
    remote->sent++;
    remote->sent_bytes += bytes;
    zmq_poll_touched(&remote->poll);
}

/* What a peer of an earlier version has no word for is answered in its name: whoever sent it waits for an
 * end. */
static void
answer_unsayable(struct peer *peer, const struct env *env, const struct dyn_err *why)
{
    struct remote *remote = peer->remote;
    dyn_log(DYN_LOG_WARN, "bus.unsayable", "an envelope has no form that the peer knows",
            DYN_LOG_STR("kind", env_kind_name(env->kind)), DYN_LOG_STR("reason", why->text));
    if (env->kind != ENV_REQUEST || !peer->announced) {
        return;
    }
    struct env *end = env_about(ENV_END, env);
    end->from = peer->view.addr;
    end->to = bus_actor_addr(remote->owner);
    end->outcome = ENV_OUTCOME_ERROR;
    end->error = ERR_INTERNAL;
    end->error_text = env_copy(end, dyn_slice_str(why->text));
    remote->options.ops->receive(remote->options.self, &peer->view, &end);
    env_free(&end);
}

/* The other side would tell us to go, and all that is in flight over the connection would end with it. Who
 * waits for an END still gets one. */
static DYN_COLD int
cut_down(struct env *env, size_t max, struct dyn_err *err)
{
    if (env->kind != ENV_END) {
        return dyn_err_set(err, DYN_E_LIMIT, "a body of %zu bytes, at most %zu", env_body_len(env), max);
    }
    dyn_log(DYN_LOG_ERROR, "bus.too_long", "an answer is longer than an END may be: its owner gets an error",
            DYN_LOG_UINT("bytes", env_body_len(env)), DYN_LOG_UINT("max", max));
    dyn_block_unref(&env->body);
    env->outcome = ENV_OUTCOME_ERROR;
    env->error = ERR_INTERNAL;
    env->error_text = DYN_SLICE("the gateway made an answer that is longer than it can send");
    env->status = err_row(ERR_INTERNAL)->http;
    env->content_type = dyn_slice(NULL, 0);
    env->n_headers = 0;
    env->body_bytes = 0;
    return 0;
}

static void
write_env(struct peer *peer, struct env *env)
{
    struct dyn_err err;
    unsigned minor = peer->has_version ? peer->view.minor : ENV_VERSION_MINOR;
    size_t max = env_body_max(env->kind, minor);
    if (env->kind != ENV_HEARTBEAT && env_body_len(env) > max && cut_down(env, max, &err) != 0) {
        answer_unsayable(peer, env, &err);
        return;
    }
    dyn_buf_clear(&peer->remote->header);
    if (env_encode_for(env, minor, &peer->remote->header, &err) != 0) {
        answer_unsayable(peer, env, &err);
        return;
    }
    if (env->kind == ENV_HEARTBEAT && minor < ENV_HEALTH_SINCE) {
        dyn_block_unref(&env->body);
    }
    write_encoded(peer, env);
}

void
peer_say(struct peer *peer, enum env_kind kind, const char *reason)
{
    struct env *env = env_new(kind);
    env->mailbox_bytes = BUS_ENVELOPE_COST;
    env->reason = dyn_slice_str(reason);
    write_env(peer, env);
    env_free(&env);
}

void
peer_say_ready(struct peer *peer)
{
    struct remote *remote = peer->remote;
    struct env *ready = env_new(ENV_READY);
    if (remote->options.ops->ready != NULL) {
        remote->options.ops->ready(remote->options.self, ready);
    }
    ready->node = dyn_slice_str(remote->options.process->node);
    char hash[BUS_CONFIG_HASH_SIZE];
    bus_process_config(remote->options.process, hash);
    ready->config_hash = env_copy(ready, dyn_slice_str(hash));
    ready->mailbox_bytes = bus_envelope_bytes(ready);
    write_env(peer, ready);
    env_free(&ready);
}

/* ---- what actors send to it ---- */

static bool
is_drain(struct dyn_slice reason)
{
    return dyn_slice_is(reason, "drain");
}

/* An actor of this process sends to the peer. */
static void
peer_receive(void *self, struct env **env_p)
{
    struct peer *peer = self;
    struct remote *remote = peer->remote;
    struct env *env = *env_p;
    if (peer->state != PEER_OPEN) {
        return;
    }
    if (env->kind == ENV_GOODBYE && !is_drain(env->reason)) {
        char reason[BUS_REASON_MAX];
        (void)snprintf(reason, sizeof reason, "%.*s", (int)env->reason.len, env->reason.data);
        peer_leave(peer, reason, true);
        return;
    }
    if (remote->options.ops->sending != NULL) {
        remote->options.ops->sending(remote->options.self, &peer->view, env);
    }
    write_env(peer, env);
}

/* ---- leaving ---- */

static void
count_leaving(struct bus_process *process, const char *reason)
{
    static const struct {
        const char *reason;
        size_t counter;
    } counters[] = {
        {"protocol", offsetof(struct bus_process, refused_protocol)},
        {"version", offsetof(struct bus_process, refused_version)},
        {"role", offsetof(struct bus_process, refused_role)},
        {"limit", offsetof(struct bus_process, refused_limit)},
        {"credit", offsetof(struct bus_process, refused_limit)},
        {"silent", offsetof(struct bus_process, heartbeats_lost)},
        {"silent", offsetof(struct bus_process, peers_lost)},
        {"lost", offsetof(struct bus_process, peers_lost)},
    };
    for (size_t i = 0; i < DYN_ARRAY_LEN(counters); i++) {
        if (strcmp(counters[i].reason, reason) == 0) {
            atomic_uint_fast64_t *counter = (void *)((char *)process + counters[i].counter);
            (void)atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
        }
    }
}

/* `by_us`: our own finding, not a reason that the peer gave. */
static void
begin_leaving(struct peer *peer, const char *reason, bool by_us)
{
    struct remote *remote = peer->remote;
    (void)snprintf(peer->reason, sizeof peer->reason, "%s", reason);
    peer->state = PEER_LEAVING;
    peer->cut_us = bus_loop_now_us(remote->loop);
    if (by_us && (peer->announced || (strcmp(reason, "lost") != 0 && strcmp(reason, "silent") != 0))) {
        count_leaving(remote->options.process, peer->reason);
    }
    if (peer->announced) {
        dyn_log(DYN_LOG_INFO, "bus.left", "a peer is gone", DYN_LOG_STR("reason", peer->reason),
                DYN_LOG_STR("endpoint", remote->options.endpoint), DYN_LOG_STR("node", peer->node),
                DYN_LOG_STR("key", peer->key_name));
    }
    dyn_list_append(&remote->leaving, &peer->leave_link);
    bus_task_queue(remote->loop, &remote->say_goodbyes);
}

void
peer_leave(struct peer *peer, const char *reason, bool tell)
{
    if (peer->state != PEER_OPEN) {
        return;
    }
    begin_leaving(peer, reason, true);
    if (tell && !peer->ended) {
        peer_say(peer, ENV_GOODBYE, peer->reason);
    }
}

void
peer_end(struct peer *peer)
{
    struct remote *remote = peer->remote;
    if (!peer->ended) {
        peer->ended = true;
        peer->ended_us = bus_loop_now_us(remote->loop);
        dyn_list_append(&remote->ended, &peer->ended_link);
    }
    bus_task_queue(remote->loop, &remote->settle);
}

/* In the gauge of peers by role. */
static void
count_as(struct peer *peer, enum bus_role role)
{
    atomic_uint_fast64_t *peers = peer->remote->options.process->peers;
    if (peer->counted_as != BUS_ROLE_NONE) {
        (void)atomic_fetch_sub_explicit(&peers[peer->counted_as], 1, memory_order_relaxed);
    }
    if (role != BUS_ROLE_NONE) {
        (void)atomic_fetch_add_explicit(&peers[role], 1, memory_order_relaxed);
    }
    peer->counted_as = role;
}

void
peer_tell_owner_goodbye(struct peer *peer)
{
    struct remote *remote = peer->remote;
    bus_addr_t addr = peer->view.addr;
    if (!peer->announced) {
        return;
    }
    peer->announced = false;
    count_as(peer, BUS_ROLE_NONE);
    struct env *env = env_new(ENV_GOODBYE);
    env->from = addr;
    env->to = bus_actor_addr(remote->owner);
    env->reason = env_copy(env, dyn_slice_str(peer->reason));
    remote->options.ops->receive(remote->options.self, &peer->view, &env);
    env_free(&env);
    if (!remote->closed) { /* else it is removed already */
        bus_remove_actor(remote->owner, addr);
        peer->queued = NULL;
    }
}

/* ---- what it says ---- */

DYN_COLD void
peer_refuse(struct peer *peer, const char *reason, const char *why)
{
    dyn_log(DYN_LOG_WARN, "bus.refused", "a peer broke the protocol and is told to go",
            DYN_LOG_STR("reason", reason), DYN_LOG_STR("why", why),
            DYN_LOG_STR("endpoint", peer->remote->options.endpoint), DYN_LOG_STR("key", peer->key_name),
            DYN_LOG_STR("node", peer->node));
    peer_leave(peer, reason, true);
}

/* Bytes that a frame takes on its connection: flags and length, and the box of CURVE (ZMTP 3.1; RFC 26). */
static size_t
frame_bytes(const struct remote *remote, size_t len)
{
    enum { SHORT_FRAME = 2, LONG_FRAME = 9, SHORT_MAX = 255, CURVE_BOX = 33 };
    size_t boxed = len + (bus_security_has_curve(remote->options.process->security) ? CURVE_BOX : 0);
    return boxed + (boxed > SHORT_MAX ? LONG_FRAME : SHORT_FRAME);
}

static void
count_received(struct peer *peer, size_t header_len, size_t body_len)
{
    struct remote *remote = peer->remote;
    remote->received++;
    remote->received_bytes += header_len + body_len;
    peer->taken++;
    peer->taken_bytes += frame_bytes(remote, header_len) + (body_len > 0 ? frame_bytes(remote, body_len) : 0);
}

/* The first header tells which minor version is spoken: the lower of the two. */
static void
learn_version(struct peer *peer, struct dyn_slice header)
{
    unsigned major = 0;
    unsigned minor = 0;
    if (env_header_version(header, &major, &minor) == 0 && major == ENV_VERSION_MAJOR) {
        peer->view.minor = minor < ENV_VERSION_MINOR ? minor : ENV_VERSION_MINOR;
        peer->has_version = true;
    }
}

/* Who is it? Its key says so; without CURVE its own word is taken. An administrator may do what clients
 * and subscribers do. */
static bool
learn_role(struct peer *peer, const struct env *env)
{
    struct remote *remote = peer->remote;
    enum bus_role said = env->role.len > 0 ? bus_role_by_name(env->role) : BUS_ROLE_NONE;
    if (!remote->is_port) {
        peer->view.role = BUS_ROLE_ROUTER;
        return true;
    }
    if (peer->key[0] == '\0') {
        peer->view.role = env->role.len > 0 ? said : BUS_ROLE_CLIENT;
        return (remote->options.roles & (1u << peer->view.role)) != 0 && peer->view.role != BUS_ROLE_NONE;
    }
    enum bus_role role = peer->view.role;
    bool may_say = said == role || env->role.len == 0 ||
                   (role == BUS_ROLE_ADMIN && (said == BUS_ROLE_CLIENT || said == BUS_ROLE_SUBSCRIBER));
    return may_say && role != BUS_ROLE_NONE && (remote->options.roles & (1u << role)) != 0;
}

static int
announce(struct peer *peer)
{
    struct remote *remote = peer->remote;
    bus_addr_t addr = bus_add_live_actor(remote->owner, &peer_actor_ops, peer);
    if (addr == 0) {
        peer_refuse(peer, "limit", "there are too many peers");
        return -1;
    }
    peer->view.addr = addr;
    peer->queued = &bus_place(remote->bus, addr)->remote_bytes;
    peer->announced = true;
    (void)atomic_fetch_add_explicit(&remote->options.process->peers_joined, 1, memory_order_relaxed);
    return 0;
}

static void
hand_to_owner(struct peer *peer, struct env **env_p)
{
    struct remote *remote = peer->remote;
    struct env *env = *env_p;
    env->from = peer->view.addr;
    env->to = bus_actor_addr(remote->owner);
    env->received_us = bus_loop_now_us(remote->loop);
    remote->options.ops->receive(remote->options.self, &peer->view, env_p);
}

void
peer_tell_owner_late(struct peer *peer, bool is_late)
{
    struct env *env = env_new(ENV_HEARTBEAT);
    peer->is_late = is_late;
    env->reason = is_late ? DYN_SLICE("late") : dyn_slice(NULL, 0);
    hand_to_owner(peer, &env);
    env_free(&env);
}

/* What a worker serves may change while it is connected, who it is may not. */
static void
take_ready_again(struct peer *peer, struct env **env_p)
{
    enum bus_role said = (*env_p)->role.len > 0 ? bus_role_by_name((*env_p)->role) : peer->view.role;
    if (peer->view.minor < BUS_READY_AGAIN_MINOR || !peer->remote->is_port) {
        peer_refuse(peer, "protocol", "READY twice");
    } else if (said != peer->view.role) {
        peer_refuse(peer, "role", "READY again with another role");
    } else {
        hand_to_owner(peer, env_p);
    }
}

static void
take_ready(struct peer *peer, struct env **env_p)
{
    struct remote *remote = peer->remote;
    peer->view.is_ready = true;
    (void)snprintf(peer->node, sizeof peer->node, "%.*s", (int)(*env_p)->node.len, (*env_p)->node.data);
    peer->view.node = dyn_slice_str(peer->node);
    if (remote->is_port) {
        peer_say_ready(peer);
        if (remote->draining) {
            peer_say(peer, ENV_GOODBYE, "drain");
        }
    }
    hand_to_owner(peer, env_p);
}

static void
take_goodbye(struct peer *peer, struct env **env_p)
{
    char reason[BUS_REASON_MAX];
    struct dyn_slice said = (*env_p)->reason;
    if (is_drain(said)) {
        peer->drains = true;
        if (peer->announced) {
            hand_to_owner(peer, env_p);
        }
        return;
    }
    (void)snprintf(reason, sizeof reason, "%.*s", (int)said.len, said.len > 0 ? said.data : "");
    begin_leaving(peer, said.len > 0 ? reason : "close", false);
}

/* Only what it carries is for the owner, if he wants to hear of that. */
static void
take_heartbeat(struct peer *peer, struct env **env_p)
{
    bool is_wanted = (peer->remote->options.kinds & (1u << ENV_HEARTBEAT)) != 0;
    if ((*env_p)->body != NULL && is_wanted && peer->announced && peer->view.is_ready) {
        (*env_p)->reason = dyn_slice(NULL, 0); /* a word of ours */
        hand_to_owner(peer, env_p);
    }
}

static void
take_envelope(struct peer *peer, struct env **env_p)
{
    enum env_kind kind = (*env_p)->kind;
    struct remote *remote = peer->remote;
    if (kind == ENV_HEARTBEAT) {
        take_heartbeat(peer, env_p);
        return;
    }
    if (kind == ENV_GOODBYE) {
        take_goodbye(peer, env_p);
        return;
    }
    if (kind != ENV_READY && !remote->is_port && !peer->view.is_ready) {
        peer_refuse(peer, "protocol", "something came before READY");
        return;
    }
    if (kind != ENV_READY && (remote->options.kinds & (1u << kind)) == 0) {
        peer_refuse(peer, "role", env_kind_name(kind));
        return;
    }
    if (kind == ENV_READY && peer->view.is_ready) {
        take_ready_again(peer, env_p);
        return;
    }
    if ((!peer->announced || kind == ENV_READY) && !learn_role(peer, *env_p)) {
        peer_refuse(peer, "role", bus_role_name(peer->view.role));
        return;
    }
    if (!peer->announced && announce(peer) != 0) {
        return;
    }
    if (peer->counted_as != peer->view.role) {
        count_as(peer, peer->view.role);
    }
    if (kind == ENV_READY) {
        take_ready(peer, env_p);
    } else {
        hand_to_owner(peer, env_p);
    }
}

void
peer_take(struct peer *peer, struct frames *frames)
{
    struct remote *remote = peer->remote;
    struct dyn_slice header = frame_slice(&frames->header);
    struct dyn_slice body = frame_slice(&frames->body);
    struct env *env = NULL;
    struct dyn_err err;
    if (peer->state != PEER_OPEN) {
        return;
    }
    peer->heard_us = bus_loop_now_us(remote->loop);
    if (peer->is_late) {
        peer_tell_owner_late(peer, false);
        if (remote->closed) {
            return;
        }
    }
    count_received(peer, header.len, body.len);
    if (!peer->has_version) {
        learn_version(peer, header);
    }
    switch (frames_read(header, body, frames->n, remote->options.body_max, &env, &err)) {
    case FRAMES_ENVELOPE:
        take_envelope(peer, &env);
        env_free(&env);
        break;
    case FRAMES_LATER_KIND:
        (void)atomic_fetch_add_explicit(&remote->options.process->ignored_kinds, 1, memory_order_relaxed);
        break;
    case FRAMES_OTHER_VERSION:
        peer_refuse(peer, "version", "another major version of the protocol");
        break;
    case FRAMES_BROKEN:
        peer_refuse(peer, "protocol", err.text);
        break;
    }
}

/* ---- life ---- */

struct peer *
peer_new(struct remote *remote, struct dyn_slice routing, int fd)
{
    struct peer *peer = dyn_zalloc(sizeof *peer + routing.len);
    peer->remote = remote;
    peer->fd = fd;
    peer->heard_us = bus_loop_now_us(remote->loop);
    peer->sent_us = peer->heard_us;
    peer->routing_len = routing.len;
    if (routing.len > 0) {
        memcpy(peer->routing, routing.data, routing.len);
    }
    peer->view.key = dyn_slice_str(peer->key);
    peer->view.key_name = dyn_slice_str(peer->key_name);
    peer->view.node = dyn_slice_str(peer->node);
    (void)zmq_msg_init(&peer->pin);
    dyn_list_init(&peer->leave_link);
    dyn_list_init(&peer->ended_link);
    dyn_list_init(&peer->link);
    dyn_list_append(&remote->peers, &peer->link);
    return peer;
}

void
peer_free(struct peer *peer)
{
    dyn_list_remove(&peer->link);
    dyn_list_remove(&peer->leave_link);
    dyn_list_remove(&peer->ended_link);
    if (peer->announced) {
        bus_remove_actor(peer->remote->owner, peer->view.addr);
        count_as(peer, BUS_ROLE_NONE);
    }
    (void)zmq_msg_close(&peer->pin);
    free(peer);
}

struct peer *
peer_by_addr(bus_actor_t *me, bus_addr_t addr)
{
    struct bus_actor *actor = bus_find(me->host->bus, addr);
    bool is_here = actor != NULL && actor->host == me->host &&
                   atomic_load_explicit(&actor->state, memory_order_relaxed) == BUS_ACTOR_LIVES;
    return is_here && atomic_load_explicit(&actor->ops, memory_order_relaxed) == &peer_actor_ops ? actor->self
                                                                                                 : NULL;
}
