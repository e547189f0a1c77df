/* The workers port: who serves models in other processes. What a worker answers goes to the router whose
 * request it is; who came and who left is told to all of them. */
#include "core/log.h"
#include "router/ports_impl.h"

/* The router takes no more, and what came behind a hole would look like the answer: the attempt ends here,
 * for both. */
static void
end_attempt(struct ports *ports, bus_addr_t worker, const struct env *chunk)
{
    struct env *end = env_about(ENV_END, chunk);
    struct env *cancel = env_about(ENV_CANCEL, chunk);
    end->outcome = ENV_OUTCOME_ERROR;
    end->error = ERR_SATURATED;
    cancel->reason = DYN_SLICE("full");
    ports_count(&ports->options.counters->chunks_lost);
    if (bus_send_as(ports->me, worker, ports_router_of(ports, &chunk->id), &end, NULL) != 0) {
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
    bool is_lost = bus_send_as(ports->me, worker, ports_router_of(ports, &env->id), env_p, &err) != 0;
    if (is_lost && err.code == DYN_E_FULL) {
        end_attempt(ports, worker, *env_p);
    }
}

static void
on_worker(void *self, struct bus_peer *peer, struct env **env_p)
{
    struct ports *ports = self;
    enum env_kind kind = (*env_p)->kind;
    if (kind == ENV_READY || kind == ENV_GOODBYE) {
        dyn_log(DYN_LOG_INFO, kind == ENV_READY ? "ports.worker.ready" : "ports.worker.goodbye",
                kind == ENV_READY ? "a worker joins" : "a worker leaves", DYN_LOG_SLICE("node", peer->node),
                DYN_LOG_SLICE("worker", (*env_p)->worker), DYN_LOG_SLICE("reason", (*env_p)->reason));
        ports_tell_all(ports, peer->addr, env_p);
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

const struct bus_remote_ops ports_worker_ops = {.receive = on_worker, .ready = say_ready};
