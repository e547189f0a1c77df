/* Links to the routers, and which call belongs to which of them: CANCEL and CREDIT name a call, not its
 * target, and what one router may have in flight is counted. Runs on the loop that hosts it. */
#include "actors/providers/worker.h"

#include "bus/bus.h"
#include "core/log.h"
#include "proto/env_map.h"
#include "proto/ready.h"

#include <stdio.h>
#include <stdlib.h>

#define SPARE_CALLS_MAX 1024u
#define WORKER_NAME_MAX 48u
/* Of the time for a drain this is the providers': they cut off what has not ended, and that has to leave. */
#define DRAIN_MARGIN_MS 1000u
#define RETRY_S         1u
/* Changes of health are told at once, but not more often than this: a target at its limit changes with
 * each call. */
#define HEALTH_PACE_MS 20u
#define HEALTH_BEAT_MS 500u

/* One connection to a router. */
struct worker_peer {
    struct dyn_list link; /* worker->peers */
    bus_addr_t addr;
    struct dyn_list calls;
    uint32_t n_calls;
    uint64_t bytes;   /* of their requests */
    bool is_of_old;   /* of a version that hears READY once for each connection */
    bool is_outdated; /* ... and READY says something else now */
};

/* A REQUEST whose END has not left yet. */
struct worker_call {
    struct env_map_node node;
    struct dyn_list link; /* peer->calls, or worker->spare */
    struct worker_peer *peer;
    bus_addr_t provider;
    uint32_t attempt;
    uint32_t epoch;
    uint64_t bytes;
};

struct worker {
    struct worker_options options;
    struct worker_target *targets;
    char name[WORKER_NAME_MAX];
    bus_actor_t *me;
    bus_loop_t *loop;
    bus_links_t *links;
    struct dyn_list peers;
    struct env_map calls;
    struct dyn_list spare;
    size_t n_spare;
    struct bus_timer beat; /* health of all targets, now and then */
    struct bus_timer tell; /* ... that has changed, soon: it was told just before */
    struct bus_task told;  /* ... at the end of the turn */
    struct bus_task renew; /* connections to routers that are outdated, where nothing is in flight */
    uint64_t told_us;      /* when the last was */
    uint64_t beat_us;      /* when figures of models were told last */
    struct bus_timer drain;
    bool is_draining;
    bool is_idle;
};

/* ---- calls ---- */

static struct worker_call *
find(const struct worker *worker, const struct env_id *id)
{
    struct env_map_node *node = env_map_find(&worker->calls, id);
    return node != NULL ? DYN_CONTAINER_OF(node, struct worker_call, node) : NULL;
}

static void
become_idle(struct worker *worker)
{
    if (worker->is_draining && !worker->is_idle) {
        worker->is_idle = true;
        bus_timer_disarm(&worker->drain);
        bus_actor_idle(worker->me);
    }
}

static void
forget(struct worker *worker, struct worker_call *call)
{
    env_map_remove(&worker->calls, &call->node);
    dyn_list_remove(&call->link);
    call->peer->n_calls--;
    call->peer->bytes -= call->bytes;
    if (call->peer->is_outdated && call->peer->n_calls == 0) {
        bus_task_queue(worker->loop, &worker->renew); /* behind the END that is just leaving */
    }
    if (worker->n_spare < SPARE_CALLS_MAX) {
        worker->n_spare++;
        dyn_list_append(&worker->spare, &call->link);
    } else {
        free(call);
    }
    if (worker->calls.n == 0) {
        become_idle(worker);
    }
}

static void
remember(struct worker *worker, struct worker_peer *peer, bus_addr_t provider, const struct env *request)
{
    struct dyn_list *link = dyn_list_pop(&worker->spare);
    struct worker_call *call;
    if (link != NULL) {
        worker->n_spare--;
        call = DYN_CONTAINER_OF(link, struct worker_call, link);
    } else {
        call = dyn_alloc(sizeof *call);
    }
    *call = (struct worker_call){.peer = peer,
                                 .provider = provider,
                                 .attempt = request->attempt,
                                 .epoch = request->epoch,
                                 .bytes = env_body_len(request)};
    dyn_list_init(&call->link);
    dyn_list_append(&peer->calls, &call->link);
    peer->n_calls++;
    peer->bytes += call->bytes;
    env_map_add(&worker->calls, &call->node, &request->id);
}

/* ---- a request ---- */

static void
refuse(struct worker *worker, const struct bus_peer *peer, const struct env *request, enum err_code code)
{
    struct env *end = env_about(ENV_END, request);
    end->outcome = ENV_OUTCOME_ERROR;
    end->error = code;
    end->status = err_row(code)->http;
    end->stream = request->stream;
    end->retry_after_s = code == ERR_SATURATED ? RETRY_S : 0;
    if (bus_send(worker->me, peer->addr, &end, NULL) != 0) {
        env_free(&end);
    }
}

/* A call that is there stays with the provider actor that has it, as long as that is there. */
static bus_addr_t
provider_of(const struct worker *worker, struct dyn_slice target, const struct worker_call *former)
{
    for (size_t i = 0; former != NULL && i < worker->options.n_targets; i++) {
        if (worker->targets[i].addr == former->provider) {
            return former->provider;
        }
    }
    for (size_t i = 0; i < worker->options.n_targets; i++) {
        if (dyn_slice_eq(worker->targets[i].target->name, target)) {
            return worker->targets[i].addr;
        }
    }
    return 0;
}

static bool
has_room(const struct worker *worker, const struct worker_peer *peer, const struct env *request)
{
    return peer->n_calls < worker->options.requests_max &&
           peer->bytes + env_body_len(request) <= worker->options.request_bytes_max;
}

/* The same call over the same connection again, or one that has been overtaken (02-WORKER, Attach). Over
 * another one the epoch alone tells: the router that the owner turned to may not know of all attempts. */
static bool
is_stale(const struct worker_call *former, const struct worker_peer *peer, const struct env *request)
{
    if (former->peer != peer) {
        return request->epoch < former->epoch;
    }
    if (request->attempt != former->attempt) {
        return request->attempt < former->attempt;
    }
    return request->epoch <= former->epoch;
}

static void
take_request(struct worker *worker, const struct bus_peer *peer, struct env **env_p)
{
    const struct env *request = *env_p;
    struct worker_peer *mine = peer->user;
    struct worker_call *former = find(worker, &request->id);
    bus_addr_t provider = provider_of(worker, request->target, former);
    if (former != NULL && is_stale(former, mine, request)) {
        return;
    }
    if (worker->is_draining && !request->attach) { /* what is attached to may be here */
        refuse(worker, peer, request, ERR_DRAINING);
        return;
    }
    /* A target of a former configuration: the router has yet to hear. DRAINING would mean all targets. */
    if (provider == 0 || !has_room(worker, mine, request)) {
        refuse(worker, peer, request, ERR_SATURATED);
        return;
    }
    if (former != NULL) {
        forget(worker, former);
    }
    remember(worker, mine, provider, request);
    if (bus_send_as(worker->me, peer->addr, provider, env_p, NULL) != 0) {
        forget(worker, find(worker, &request->id));
        refuse(worker, peer, request, ERR_SATURATED);
    }
}

/* CANCEL and CREDIT of who gave the call, for the sending that is under way. */
static void
pass_on(struct worker *worker, const struct bus_peer *peer, struct env **env_p)
{
    const struct env *env = *env_p;
    const struct worker_call *call = find(worker, &env->id);
    if (call != NULL && call->peer == peer->user && call->attempt == env->attempt &&
        call->epoch == env->epoch && bus_send_as(worker->me, peer->addr, call->provider, env_p, NULL) != 0) {
        env_free(env_p);
    }
}

/* ---- health of the targets (02-WORKER, Health) ---- */

/* The map of all targets; figures of models that are newer than that. */
static dyn_block_t *
health_body(struct worker *worker, uint64_t since_us)
{
    struct health_item *items = dyn_zalloc((worker->options.n_targets + 1) * sizeof *items);
    uint64_t now_us = bus_loop_now_us(worker->loop);
    struct dyn_buf map = DYN_BUF_INIT;
    size_t n = 0;
    for (size_t i = 0; i < worker->options.n_targets; i++) {
        const struct worker_target *target = &worker->targets[i];
        if (target->shared != NULL && target->shared->guard != NULL && !target->is_leaving) {
            provider_guard_refresh(target->shared->guard, now_us);
            items[n++] =
                (struct health_item){target->target->name, provider_guard_board(target->shared->guard)};
        }
    }
    health_map_encode(items, n, now_us, since_us, &map);
    dyn_block_t *body = n > 0 ? dyn_block_copy(0, dyn_buf_slice(&map)) : NULL;
    dyn_buf_fini(&map);
    free(items);
    return body;
}

static void
tell_peer(struct worker *worker, bus_addr_t peer, dyn_block_t *body)
{
    struct env *heartbeat = env_new(ENV_HEARTBEAT);
    heartbeat->body = dyn_block_ref(body);
    if (bus_send(worker->me, peer, &heartbeat, NULL) != 0) {
        env_free(&heartbeat); /* it is gone, and asks anew when it comes back */
    }
}

static void
tell_all(struct worker *worker, uint64_t since_us)
{
    dyn_block_t *body = dyn_list_is_empty(&worker->peers) ? NULL : health_body(worker, since_us);
    worker->told_us = bus_loop_now_us(worker->loop);
    for (struct dyn_list *link = worker->peers.next; body != NULL && link != &worker->peers;
         link = link->next) {
        tell_peer(worker, DYN_CONTAINER_OF(link, struct worker_peer, link)->addr, body);
    }
    dyn_block_unref(&body);
}

static void
on_told(struct bus_task *task)
{
    tell_all(DYN_CONTAINER_OF(task, struct worker, told), UINT64_MAX);
}

static void
on_tell(struct bus_timer *timer)
{
    tell_all(DYN_CONTAINER_OF(timer, struct worker, tell), UINT64_MAX);
}

static void
on_beat(struct bus_timer *timer)
{
    struct worker *worker = DYN_CONTAINER_OF(timer, struct worker, beat);
    uint64_t since_us = worker->beat_us;
    worker->beat_us = bus_loop_now_us(worker->loop);
    tell_all(worker, since_us);
    bus_timer_arm(worker->loop, timer, HEALTH_BEAT_MS);
}

/* A provider actor of this process says that something has changed. */
static void
health_changed(struct worker *worker)
{
    uint64_t now_us = bus_loop_now_us(worker->loop);
    uint64_t next_us = worker->told_us + HEALTH_PACE_MS * UINT64_C(1000);
    if (now_us >= next_us) {
        bus_task_queue(worker->loop, &worker->told);
    } else if (!bus_timer_is_armed(&worker->tell)) {
        bus_timer_arm(worker->loop, &worker->tell, (next_us - now_us + 999) / 1000);
    }
}

/* Of events about a target the process sends one, whichever of its workers passes it on. */
static void
listen_to(struct worker *worker)
{
    for (size_t i = 0; worker->me != NULL && i < worker->options.n_targets; i++) {
        struct provider_shared *shared = worker->targets[i].shared;
        unsigned nobody = 0;
        if (shared != NULL && shared->guard != NULL) {
            provider_guard_listen(shared->guard, bus_actor_addr(worker->me));
            (void)atomic_compare_exchange_strong(&shared->events, &nobody, bus_actor_addr(worker->me));
        }
    }
}

static void
introduce(struct worker *worker, bus_addr_t peer)
{
    dyn_block_t *body = health_body(worker, 0);
    if (body != NULL) {
        tell_peer(worker, peer, body);
    }
    dyn_block_unref(&body);
}

/* ---- routers ---- */

static void
meet(struct worker *worker, struct bus_peer *peer)
{
    struct worker_peer *mine = dyn_zalloc(sizeof *mine);
    dyn_list_init(&mine->link);
    dyn_list_init(&mine->calls);
    mine->addr = peer->addr;
    mine->is_of_old = peer->minor < BUS_READY_AGAIN_MINOR;
    dyn_list_append(&worker->peers, &mine->link);
    peer->user = mine;
}

static void
free_peer(struct worker *worker, struct worker_peer *mine)
{
    while (!dyn_list_is_empty(&mine->calls)) {
        forget(worker, DYN_CONTAINER_OF(mine->calls.next, struct worker_call, link));
    }
    dyn_list_remove(&mine->link);
    free(mine);
}

static void
on_renew(struct bus_task *task)
{
    struct worker *worker = DYN_CONTAINER_OF(task, struct worker, renew);
    struct dyn_list *next;
    for (struct dyn_list *link = worker->peers.next; link != &worker->peers; link = next) {
        const struct worker_peer *mine = DYN_CONTAINER_OF(link, struct worker_peer, link);
        next = link->next;
        if (mine->is_outdated && mine->n_calls == 0) {
            bus_peer_cut(worker->me, mine->addr, "reload");
        }
    }
}

/* A connection goes when its last call has left: nothing that is under way pays for the news. */
static void
renew_old_peers(struct worker *worker)
{
    for (struct dyn_list *link = worker->peers.next; link != &worker->peers; link = link->next) {
        struct worker_peer *mine = DYN_CONTAINER_OF(link, struct worker_peer, link);
        mine->is_outdated = mine->is_of_old;
    }
    bus_task_queue(worker->loop, &worker->renew);
}

/* The provider actors decide what becomes of its calls. They are told first: with the last call forgotten a
 * drain of theirs may begin. */
static void
part(struct worker *worker, struct bus_peer *peer, const struct env *goodbye)
{
    struct worker_peer *mine = peer->user;
    dyn_log(DYN_LOG_INFO, "worker.router_gone", "a router is gone", DYN_LOG_SLICE("reason", goodbye->reason),
            DYN_LOG_UINT("calls", mine->n_calls));
    for (size_t i = 0; i < worker->options.n_targets && mine->n_calls > 0; i++) {
        struct env *told = env_new(ENV_GOODBYE);
        told->reason = env_copy(told, goodbye->reason);
        if (bus_send_as(worker->me, peer->addr, worker->targets[i].addr, &told, NULL) != 0) {
            env_free(&told);
        }
    }
    peer->user = NULL;
    free_peer(worker, mine);
}

static void
on_envelope(void *self, struct bus_peer *peer, struct env **env_p)
{
    struct worker *worker = self;
    if (peer->user == NULL) {
        meet(worker, peer);
    }
    switch ((int)(*env_p)->kind) {
    case ENV_REQUEST:
        take_request(worker, peer, env_p);
        break;
    case ENV_CANCEL:
    case ENV_CREDIT:
        pass_on(worker, peer, env_p);
        break;
    case ENV_CONFIG:
        if (bus_send_as(worker->me, peer->addr, worker->options.reloader, env_p, NULL) != 0) {
            env_free(env_p);
        }
        break;
    case ENV_READY:
        dyn_log(DYN_LOG_INFO, "worker.router", "joined a router", DYN_LOG_SLICE("node", peer->node));
        introduce(worker, peer->addr);
        break;
    case ENV_GOODBYE:
        if (!dyn_slice_is((*env_p)->reason, "drain")) {
            part(worker, peer, *env_p);
        }
        break;
    default:
        break;
    }
}

/* An END on its way to the router that gave the call: the call is over here. */
static void
on_sending(void *self, struct bus_peer *peer, struct env *env)
{
    struct worker *worker = self;
    if (env->kind != ENV_END) {
        return;
    }
    struct worker_call *call = find(worker, &env->id);
    if (call != NULL && call->peer == peer->user && call->attempt == env->attempt &&
        call->epoch == env->epoch) {
        forget(worker, call);
    }
}

static void
fill_ready(void *self, struct env *ready)
{
    const struct worker *worker = self;
    struct ready_target *items = dyn_zalloc((worker->options.n_targets + 1) * sizeof *items);
    size_t n = 0;
    for (size_t i = 0; i < worker->options.n_targets; i++) {
        const struct provider_target *target = worker->targets[i].target;
        if (worker->targets[i].is_leaving) {
            continue;
        }
        items[n++] = (struct ready_target){
            .name = target->name,
            .provider = dyn_slice_str(target->row->id),
            .dialect = dyn_slice_str(target->row->dialect),
            .surfaces = provider_row_surfaces(target->row),
            .models = target->models,
            .n_models = target->n_models,
            .any_model = target->n_models == 0,
        };
    }
    struct ready serves = {items, n};
    struct dyn_buf body = DYN_BUF_INIT;
    ready_encode(&serves, &body);
    ready->role = dyn_slice_str(bus_role_name(BUS_ROLE_WORKER));
    ready->worker = env_copy(ready, dyn_slice_str(worker->name));
    ready->requests = worker->options.requests_max;
    ready->request_bytes = worker->options.request_bytes_max;
    ready->body = dyn_block_copy(0, dyn_buf_slice(&body));
    dyn_buf_fini(&body);
    free(items);
}

static const struct bus_remote_ops router_ops = {
    .receive = on_envelope,
    .sending = on_sending,
    .ready = fill_ready,
};

/* ---- life ---- */

static int
worker_start(void *self, bus_actor_t *me, struct dyn_err *err)
{
    struct worker *worker = self;
    const struct worker_options *options = &worker->options;
    struct bus_remote_options remote = {
        .process = options->process,
        .roles = 1u << BUS_ROLE_ROUTER,
        .kinds = 1u << ENV_REQUEST | 1u << ENV_CANCEL | 1u << ENV_CREDIT | 1u << ENV_CONFIG,
        .ops = &router_ops,
        .self = worker,
    };
    worker->me = me;
    worker->loop = bus_actor_loop(me);
    listen_to(worker);
    bus_timer_arm(worker->loop, &worker->beat, HEALTH_BEAT_MS);
    (void)snprintf(worker->name, sizeof worker->name, "%.32s-%u", options->process->node, options->cell);
    worker->links = bus_links_open(me, options->resolver, options->routers, options->n_routers,
                                   BUS_ENDPOINT_WORKERS, &remote, err);
    return worker->links != NULL ? 0 : -1;
}

/* Work comes over the links. What this process tells of itself goes to every router: each publishes it to
 * those who listen there. */
static void
worker_receive(void *self, struct env **env_p)
{
    struct worker *worker = self;
    if ((*env_p)->kind == ENV_HEARTBEAT) {
        health_changed(worker);
        env_free(env_p);
        return;
    }
    struct dyn_list *link = (*env_p)->kind == ENV_EVENT ? worker->peers.next : &worker->peers;
    for (; link != &worker->peers; link = link->next) {
        struct env *copy = env_clone_event(*env_p);
        if (bus_send(worker->me, DYN_CONTAINER_OF(link, struct worker_peer, link)->addr, &copy, NULL) != 0) {
            env_free(&copy);
        }
    }
    env_free(env_p);
}

static void
time_is_up(struct bus_timer *timer)
{
    become_idle(DYN_CONTAINER_OF(timer, struct worker, drain));
}

static void
worker_drain(void *self, uint64_t deadline_us)
{
    struct worker *worker = self;
    uint64_t now_us = bus_loop_now_us(worker->loop);
    uint64_t left_ms = deadline_us > now_us ? (deadline_us - now_us) / 1000 : 0;
    uint64_t margin_ms = left_ms / 2 < DRAIN_MARGIN_MS ? left_ms / 2 : DRAIN_MARGIN_MS;
    worker->is_draining = true;
    bus_links_drain(worker->links);
    bus_timer_arm(worker->loop, &worker->drain, left_ms - margin_ms);
    if (worker->calls.n == 0) {
        become_idle(worker);
    }
}

static void
worker_stop(void *self)
{
    struct worker *worker = self;
    worker->is_draining = false; /* nothing is reported any more */
    bus_links_close(&worker->links);
    while (!dyn_list_is_empty(&worker->peers)) {
        free_peer(worker, DYN_CONTAINER_OF(worker->peers.next, struct worker_peer, link));
    }
    for (struct dyn_list *link; (link = dyn_list_pop(&worker->spare)) != NULL;) {
        free(DYN_CONTAINER_OF(link, struct worker_call, link));
    }
    bus_timer_fini(&worker->drain);
    bus_timer_fini(&worker->beat);
    bus_timer_fini(&worker->tell);
    bus_task_cancel(&worker->told);
    bus_task_cancel(&worker->renew);
    env_map_fini(&worker->calls);
    free(worker->targets);
    free(worker);
}

static void
take_targets(struct worker *worker, const struct worker_target *targets, size_t n_targets)
{
    worker->targets = dyn_realloc(worker->targets, (n_targets + 1) * sizeof *worker->targets);
    for (size_t i = 0; i < n_targets; i++) {
        worker->targets[i] = targets[i];
    }
    worker->options.n_targets = n_targets;
}

void
worker_serve(void *self, const struct worker_target *targets, size_t n_targets)
{
    struct worker *worker = self;
    take_targets(worker, targets, n_targets);
    listen_to(worker);
    bool is_joined = worker->links != NULL && !worker->is_draining;
    size_t n_old = is_joined ? bus_links_say_ready(worker->links) : 0;
    if (n_old > 0) {
        dyn_log(DYN_LOG_WARN, "worker.ready",
                "routers of an earlier version learn of other targets over new "
                "connections, which are made when nothing is in flight",
                DYN_LOG_UINT("routers", n_old));
        renew_old_peers(worker);
    }
}

void
worker_forget(void *self, bus_addr_t provider)
{
    struct worker *worker = self;
    size_t kept = 0;
    for (size_t i = 0; i < worker->options.n_targets; i++) {
        if (worker->targets[i].addr != provider) {
            worker->targets[kept++] = worker->targets[i];
        }
    }
    worker->options.n_targets = kept;
}

void *
worker_new(const struct worker_options *options)
{
    struct worker *worker = dyn_zalloc(sizeof *worker);
    worker->options = *options;
    take_targets(worker, options->targets, options->n_targets);
    if (worker->options.requests_max == 0) {
        worker->options.requests_max = WORKER_REQUESTS_MAX;
    }
    if (worker->options.request_bytes_max == 0) {
        worker->options.request_bytes_max = WORKER_REQUEST_BYTES_MAX;
    }
    worker->drain.fire = time_is_up;
    worker->beat.fire = on_beat;
    worker->tell.fire = on_tell;
    bus_task_init(&worker->told, on_told);
    bus_task_init(&worker->renew, on_renew);
    dyn_list_init(&worker->peers);
    dyn_list_init(&worker->spare);
    env_map_init(&worker->calls);
    return worker;
}

const struct bus_actor_ops worker_actor_ops = {
    .kind = "worker",
    .start = worker_start,
    .receive = worker_receive,
    .drain = worker_drain,
    .stop = worker_stop,
};
