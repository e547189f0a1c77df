/* The workers port: who serves models in other processes. What a worker answers goes to the router whose
 * request it is; who came and who left is told to all of them. */
#include "core/log.h"
#include "proto/env_codec.h"
#include "router/ports_impl.h"

#include <stdlib.h>

/* ---- which router ---- */

static struct ports_call *
find_call(const struct ports *ports, const struct env_id *id)
{
    struct env_map_node *node = env_map_find(&ports->calls, id);
    return node != NULL ? DYN_CONTAINER_OF(node, struct ports_call, node) : NULL;
}

static bus_addr_t
router_of_answer(const struct ports *ports, const struct env_id *id)
{
    const struct ports_call *call = find_call(ports, id);
    return call != NULL ? call->router : ports_router_of(ports, id);
}

static void
forget_call(struct ports *ports, struct ports_call *call)
{
    env_map_remove(&ports->calls, &call->node);
    free(call);
}

void
ports_forget_calls(struct ports *ports, bus_addr_t worker)
{
    for (size_t i = 0; i < ports->calls.n_buckets; i++) {
        struct env_map_node *next;
        for (struct env_map_node *node = ports->calls.buckets[i]; node != NULL; node = next) {
            struct ports_call *call = DYN_CONTAINER_OF(node, struct ports_call, node);
            next = node->next;
            if (worker == 0 || call->worker == worker) {
                forget_call(ports, call);
            }
        }
    }
}

/* Which of the routers it is, from 1 on: a VOTE says the ASK's `attempt` again, and is that one's. */
static uint32_t
number_of_router(const struct ports *ports, bus_addr_t addr)
{
    size_t i = 0;
    while (i < ports->options.n_routers && ports->routers[i] != addr) {
        i++;
    }
    return (uint32_t)i + 1;
}

/* Sent to another worker again: the former one's END, if it still comes, is nobody's. */
static void
on_sending(void *self, struct bus_peer *peer, struct env *env)
{
    struct ports *ports = self;
    if (env->kind == ENV_ASK || (env->kind == ENV_CANCEL && env->plugin.len > 0)) {
        env->attempt = number_of_router(ports, env->from);
        return;
    }
    if (env->kind != ENV_REQUEST || peer->role == BUS_ROLE_LEDGER) {
        return;
    }
    struct ports_call *call = find_call(ports, &env->id);
    if (call == NULL && env->from == ports_router_of(ports, &env->id)) {
        return;
    }
    if (call == NULL) {
        call = dyn_zalloc(sizeof *call);
        env_map_add(&ports->calls, &call->node, &env->id);
    }
    call->router = env->from;
    call->worker = peer->addr;
    call->attempt = env->attempt;
    call->epoch = env->epoch;
}

/* ---- answers ---- */

/* The router takes no more, and what came behind a hole would look like the answer: the attempt ends here,
 * for both. */
static void
end_attempt(struct ports *ports, bus_addr_t worker, const struct env *chunk)
{
    struct env *end = env_about(ENV_END, chunk);
    struct env *cancel = env_about(ENV_CANCEL, chunk);
    end->outcome = ENV_OUTCOME_ERROR;
    end->error = ERR_SATURATED;
    end->upstream_calls = 1; /* the CHUNK came from one */
    cancel->reason = DYN_SLICE("full");
    ports_count(&ports->options.counters->chunks_lost);
    if (bus_send_as(ports->me, worker, router_of_answer(ports, &chunk->id), &end, NULL) != 0) {
        env_free(&end);
    }
    if (bus_send(ports->me, worker, &cancel, NULL) != 0) {
        env_free(&cancel);
    }
}

static void
pass_answer(struct ports *ports, bus_addr_t worker, struct env **env_p)
{
    const struct env *env = *env_p;
    struct dyn_err err;
    struct ports_call *call = find_call(ports, &env->id);
    bool is_last = call != NULL && env->kind == ENV_END && call->worker == worker &&
                   call->attempt == env->attempt && call->epoch == env->epoch;
    bool is_lost = bus_send_as(ports->me, worker, router_of_answer(ports, &env->id), env_p, &err) != 0;
    if (is_lost && err.code == DYN_E_FULL) {
        end_attempt(ports, worker, *env_p);
    }
    if (is_last) {
        forget_call(ports, call);
    }
}

/* ---- plugins ---- */

static void
pass_vote(struct ports *ports, bus_addr_t plugin, struct env **env_p)
{
    uint32_t number = (*env_p)->attempt;
    if (number == 0 || number > ports->options.n_routers) {
        bus_peer_cut(ports->me, plugin, "protocol");
        return;
    }
    if (bus_send_as(ports->me, plugin, ports->routers[number - 1], env_p, NULL) != 0) {
        env_free(env_p); /* the router has stopped */
    }
}

static void
on_plugin(struct ports *ports, struct bus_peer *peer, struct env **env_p)
{
    struct env *env = *env_p;
    switch ((int)env->kind) {
    case ENV_READY:
        if (peer->minor < ENV_VOTES_SINCE) {
            bus_peer_cut(ports->me, peer->addr, "version");
            return;
        }
        env->role = DYN_SLICE("plugin"); /* whatever it called itself */
        ports_tell_all(ports, peer->addr, env_p);
        return;
    case ENV_GOODBYE:
    case ENV_HEARTBEAT:
        ports_tell_all(ports, peer->addr, env_p);
        return;
    case ENV_VOTE:
        pass_vote(ports, peer->addr, env_p);
        return;
    case ENV_EVENT:
        ports_publish(ports, peer->addr, env_p);
        return;
    case ENV_ACK:
        ports_take_ack(ports, env_p);
        return;
    default:
        bus_peer_cut(ports->me, peer->addr, "role");
        return;
    }
}

/* The journal asks it, and is answered. */
static void
on_ledger(struct ports *ports, struct bus_peer *peer, struct env **env_p)
{
    enum env_kind kind = (*env_p)->kind;
    if (kind == ENV_ACK) {
        ports_take_ack(ports, env_p);
        return;
    }
    if (kind == ENV_EVENT) {
        ports_publish(ports, peer->addr, env_p);
        return;
    }
    if (kind == ENV_READY) {
        ports_node_joined(ports, peer);
    } else if (kind == ENV_GOODBYE && !dyn_slice_is((*env_p)->reason, "drain")) {
        ports_node_left(ports, peer->addr);
    } else if (kind == ENV_HEARTBEAT) {
        return;
    } else if (kind != ENV_END && kind != ENV_GOODBYE) {
        bus_peer_cut(ports->me, peer->addr, "role");
        return;
    }
    bus_addr_t journal = ports->options.journal;
    if (journal == 0 || bus_send_as(ports->me, peer->addr, journal, env_p, NULL) != 0) {
        env_free(env_p);
    }
}

static void
on_worker(void *self, struct bus_peer *peer, struct env **env_p)
{
    struct ports *ports = self;
    enum env_kind kind = (*env_p)->kind;
    if (peer->role == BUS_ROLE_PLUGIN) {
        on_plugin(ports, peer, env_p);
        return;
    }
    if (peer->role == BUS_ROLE_LEDGER) {
        on_ledger(ports, peer, env_p);
        return;
    }
    if (kind == ENV_VOTE) {
        bus_peer_cut(ports->me, peer->addr, "role");
        return;
    }
    if (kind == ENV_READY || kind == ENV_GOODBYE) {
        dyn_log(DYN_LOG_INFO, kind == ENV_READY ? "ports.worker.ready" : "ports.worker.goodbye",
                kind == ENV_READY ? "a worker joins" : "a worker leaves", DYN_LOG_SLICE("node", peer->node),
                DYN_LOG_SLICE("worker", (*env_p)->worker), DYN_LOG_SLICE("reason", (*env_p)->reason));
        if (kind == ENV_GOODBYE && !dyn_slice_is((*env_p)->reason, "drain")) {
            ports_forget_calls(ports, peer->addr);
            ports_node_left(ports, peer->addr);
        } else if (kind == ENV_READY) {
            ports_node_joined(ports, peer);
        }
        ports_tell_all(ports, peer->addr, env_p);
    } else if (kind == ENV_HEARTBEAT) {
        ports_tell_all(ports, peer->addr, env_p);
    } else if (kind == ENV_ACK) {
        ports_take_ack(ports, env_p);
    } else if (kind == ENV_EVENT) {
        ports_publish(ports, peer->addr, env_p);
    } else {
        pass_answer(ports, peer->addr, env_p);
    }
}

static void
say_ready(void *self, struct env *ready)
{
    (void)self;
    ready->role = DYN_SLICE("router");
}

const struct bus_remote_ops ports_worker_ops = {
    .receive = on_worker,
    .sending = on_sending,
    .ready = say_ready,
};
