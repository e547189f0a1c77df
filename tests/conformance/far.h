/* Two actors in two buses, as if they were in one: in each bus a forwarder stands for the actor that is in
 * the other, at the address that it has there. What is sent to a forwarder goes over the connection
 * between the two, and comes out of the other one's hands. So a test of a wire need not know that there is
 * a network. */
#pragma once

#include "bus/remote.h"
#include "tests/conformance/gate.h"

#include <stdatomic.h>
#include <stdio.h>

enum { FAR_RETRY_MS = 1 };

struct far {
    struct bus_process process;
    const char *endpoint; /* to listen on; NULL: connects to `to` */
    const struct far *to;
    bus_addr_t near; /* for whom is what comes from the other side */

    bus_actor_t *me;
    bus_port_t *port;
    bus_link_t *link;
    bus_addr_t peer;          /* 0: not there yet */
    struct dyn_list outgoing; /* not yet taken by the peer */
    struct dyn_list incoming; /* not yet taken by `near` */
    struct bus_timer retry;
    enum env_kind disguised; /* what the next envelope is in truth; 0: what it says */
    atomic_bool is_over;     /* the test has seen what it wanted: the connection may end */
};

static const char far_marker[] = "the next one is";

/* The connection keeps these for itself: they travel as CONFIG, behind an ACK that says what they are. */
static inline bool
far_is_reserved(enum env_kind kind)
{
    return kind == ENV_READY || kind == ENV_HEARTBEAT || kind == ENV_GOODBYE;
}

/* Sends what is waiting, until one is refused. */
static inline void
far_push(struct far *far, struct dyn_list *list, bus_addr_t to)
{
    while (to != 0 && !dyn_list_is_empty(list)) {
        struct env *env = DYN_CONTAINER_OF(list->next, struct env, link);
        struct dyn_err err;
        dyn_list_remove(&env->link);
        if (bus_send(far->me, to, &env, &err) == 0) {
            continue;
        }
        if (err.code != DYN_E_FULL) {
            env_free(&env);
            continue;
        }
        env->link.next = list->next; /* back to the front */
        env->link.prev = list;
        list->next->prev = &env->link;
        list->next = &env->link;
        bus_timer_arm(bus_actor_loop(far->me), &far->retry, FAR_RETRY_MS);
        return;
    }
}

static inline void
far_retry(struct bus_timer *timer)
{
    struct far *far = DYN_CONTAINER_OF(timer, struct far, retry);
    far_push(far, &far->outgoing, far->peer);
    far_push(far, &far->incoming, far->near);
}

static inline void
far_hold(struct dyn_list *list, struct env **env_p)
{
    dyn_list_append(list, &(*env_p)->link);
    *env_p = NULL;
}

static inline void
far_receive(void *self, struct env **env_p)
{
    struct far *far = self;
    if (far_is_reserved((*env_p)->kind)) {
        struct env *marker = env_new(ENV_ACK);
        marker->topic = dyn_slice_str(far_marker);
        marker->attempts = (*env_p)->kind;
        (*env_p)->kind = ENV_CONFIG;
        far_hold(&far->outgoing, &marker);
    }
    far_hold(&far->outgoing, env_p);
    far_push(far, &far->outgoing, far->peer);
}

/* No wire promises anything beyond that: a test that goes on would blame it for what was on its way. */
static inline void
far_lost(struct far *far, struct dyn_slice reason)
{
    far->peer = 0;
    if (!far->is_over) {
        (void)fprintf(stderr, "the %s lost the connection between the two buses: %.*s\n",
                      far->port != NULL ? "port" : "link", (int)reason.len, reason.data);
    }
    CHECK(far->is_over && "what was on its way was lost with the connection");
}

/* From the other side. A HEARTBEAT is not: it is this bus that tells of a peer that is late, as one is on a
 * machine with much to do. One that the other side's actor has sent comes disguised. */
static inline void
far_peer_said(void *self, struct bus_peer *peer, struct env **env_p)
{
    struct far *far = self;
    struct env *env = *env_p;
    if (env->kind == ENV_READY) {
        far->peer = peer->addr;
        far_push(far, &far->outgoing, far->peer);
    } else if (env->kind == ENV_GOODBYE) {
        far_lost(far, env->reason);
    } else if (env->kind == ENV_HEARTBEAT) {
        CHECK(env->body == NULL && (env->reason.len == 0 || dyn_slice_is(env->reason, "late")));
    } else if (env->kind == ENV_ACK && dyn_slice_is(env->topic, far_marker)) {
        far->disguised = (enum env_kind)env->attempts;
    } else {
        env->kind = far->disguised != 0 ? far->disguised : env->kind;
        far->disguised = 0;
        far_hold(&far->incoming, env_p);
        far_push(far, &far->incoming, far->near);
    }
}

static inline void
far_ready(void *self, struct env *ready)
{
    (void)self;
    ready->role = DYN_SLICE("edge");
}

static const struct bus_remote_ops far_remote_ops = {.receive = far_peer_said, .ready = far_ready};

static inline int
far_start(void *self, bus_actor_t *me, struct dyn_err *err)
{
    struct far *far = self;
    struct bus_remote_options options = {.process = &far->process,
                                         .endpoint = far->endpoint,
                                         .roles = 1u << BUS_ROLE_EDGE,
                                         .kinds = UINT32_MAX,
                                         .ops = &far_remote_ops,
                                         .self = far};
    far->me = me;
    far->retry.fire = far_retry;
    dyn_list_init(&far->outgoing);
    dyn_list_init(&far->incoming);
    if (far->endpoint != NULL) {
        far->port = bus_port_open(me, &options, err);
        return far->port != NULL ? 0 : -1;
    }
    options.endpoint = bus_port_endpoint(far->to->port);
    far->link = bus_link_open(me, &options, err);
    return far->link != NULL ? 0 : -1;
}

static inline void
far_drop(struct dyn_list *list)
{
    struct dyn_list *link = NULL;
    while ((link = dyn_list_pop(list)) != NULL) {
        struct env *env = DYN_CONTAINER_OF(link, struct env, link);
        env_free(&env);
    }
}

static inline void
far_stop(void *self)
{
    struct far *far = self;
    bus_port_close(&far->port);
    bus_link_close(&far->link);
    if (far->me != NULL) {
        bus_timer_fini(&far->retry);
        far_drop(&far->outgoing);
        far_drop(&far->incoming);
    }
}

static const struct bus_actor_ops far_ops = {
    .kind = "far", .start = far_start, .receive = far_receive, .stop = far_stop};
