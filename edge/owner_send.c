/* From the edge to a router: which one gets a REQUEST, what it is told, and when it is sent again. */
#include "edge/owner_impl.h"

#include "core/log.h"

#include <stdlib.h>

enum { RETRY_S = 1 }; /* what a client is told to wait when no router can take its request */

/* ---- which router ---- */

static bool
has_room(const struct owner_router *router, size_t body_bytes)
{
    bool is_idle = router->n_requests == 0; /* takes any one, or a body above its budget could never pass */
    bool fits = body_bytes <= router->bytes_max && router->bytes <= router->bytes_max - body_bytes;
    return is_idle || (router->n_requests < router->requests_max && fits);
}

static bool
is_better(const struct owner_router *a, const struct owner_router *b)
{
    if (b == NULL || a->is_late != b->is_late) {
        return b == NULL || b->is_late;
    }
    if (a->n_requests != b->n_requests) {
        return a->n_requests < b->n_requests;
    }
    return a->picked_at < b->picked_at;
}

struct owner_router *
owner_pick(const struct dyn_list *routers, size_t body_bytes, uint64_t turn, bool *any_up)
{
    struct owner_router *best = NULL;
    *any_up = false;
    for (struct dyn_list *link = routers->next; link != routers; link = link->next) {
        struct owner_router *router = DYN_CONTAINER_OF(link, struct owner_router, link);
        if (router->is_draining) {
            continue;
        }
        *any_up = true;
        bool can_take = router->full_at != turn && has_room(router, body_bytes);
        if (can_take && is_better(router, best)) {
            best = router;
        }
    }
    return best;
}

/* ---- one request ---- */

static void
attach(struct owner_request *rq, struct owner_router *router)
{
    rq->router = router;
    router->n_requests++;
    router->bytes += rq->body_bytes;
    dyn_list_append(&router->requests, &rq->link);
}

void
owner_detach(struct owner_request *rq)
{
    struct owner *owner = rq->owner;
    if (rq->router != NULL) {
        rq->router->n_requests--;
        rq->router->bytes -= rq->body_bytes;
        rq->router = NULL;
    } else if (dyn_list_is_linked(&rq->link)) {
        owner->waiting_bytes -= rq->body_bytes + BUS_ENVELOPE_COST;
        bus_timer_disarm(&rq->patience);
    }
    dyn_list_remove(&rq->link);
}

void
owner_request_free(struct owner_request *rq)
{
    struct owner *owner = rq->owner;
    owner_detach(rq);
    env_map_remove(&owner->requests, &rq->node);
    bus_timer_fini(&rq->patience);
    env_free(&rq->request);
    free(rq);
    if (owner->is_draining && owner->requests.n == 0) {
        owner->is_draining = false;
        bus_timer_disarm(&owner->give_up);
        bus_actor_idle(owner->me);
    }
}

static void
end_with(struct owner_request *rq, struct env *end)
{
    end->id = rq->node.id;
    end->stream = rq->is_stream;
    end->redelivered = rq->sendings > 0 ? rq->sendings - 1 : 0;
    if (bus_send(rq->owner->me, rq->asker, &end, NULL) != 0) {
        env_free(&end); /* nobody asks any more */
    }
    owner_request_free(rq);
}

void
owner_refuse(struct owner_request *rq, enum err_code code)
{
    struct env *end = env_new(ENV_END);
    end->outcome = code == ERR_CLIENT_CLOSED ? ENV_OUTCOME_CANCELLED : ENV_OUTCOME_ERROR;
    end->error = code;
    end->status = err_row(code)->http;
    end->retry_after_s = code == ERR_ROUTER_UNREACHABLE || code == ERR_SATURATED ? RETRY_S : 0;
    end_with(rq, end);
}

/* Milliseconds until a time, at least 1 before it and 0 from then on. */
static uint64_t
ms_until(const struct owner *owner, uint64_t at_us)
{
    uint64_t now_us = bus_loop_now_us(owner->loop);
    return at_us > now_us ? (at_us - now_us + 999) / 1000 : 0;
}

/* The one that is sent; the body is the same block. */
static struct env *
copy_to_send(const struct owner_request *rq)
{
    struct env *copy = env_clone_request(rq->request);
    copy->credential = env_copy(copy, rq->request->credential);
    for (size_t i = 0; i < rq->request->n_headers; i++) { /* they decide where it goes */
        env_add_header(copy, rq->request->headers[i].name, rq->request->headers[i].value);
    }
    copy->track = true;
    copy->epoch = rq->epoch;
    copy->redelivered = rq->sendings;
    copy->credit = rq->window < UINT32_MAX ? (uint32_t)rq->window : UINT32_MAX;
    if (rq->expires_us != 0) {
        copy->deadline_ms = (uint32_t)ms_until(rq->owner, rq->expires_us);
    }
    if (rq->was_dispatched) {
        copy->worker = env_copy(copy, dyn_slice(rq->worker, rq->worker_len));
        copy->worker_attempt = rq->worker_attempt;
        copy->worker_epoch = rq->worker_epoch;
    }
    return copy;
}

/* -1: this router takes nothing at the moment. */
static int
send_over(struct owner_request *rq, struct owner_router *router)
{
    struct owner *owner = rq->owner;
    struct env *copy = copy_to_send(rq);
    router->picked_at = owner->turn;
    if (bus_send(owner->me, router->addr, &copy, NULL) != 0) {
        env_free(&copy);
        router->full_at = owner->turn; /* gone: its GOODBYE is on the way; full: another may have room */
        return -1;
    }
    owner_count(&owner->options.counters->sent);
    rq->sendings++;
    rq->waits_until_us = 0;
    rq->has_chunks = false;
    attach(rq, router);
    return 0;
}

static bool
send_now(struct owner_request *rq, bool *any_up)
{
    struct owner *owner = rq->owner;
    struct owner_router *router;
    owner->turn++;
    while ((router = owner_pick(&owner->routers, rq->body_bytes, owner->turn, any_up)) != NULL) {
        if (send_over(rq, router) == 0) {
            return true;
        }
    }
    return false;
}

/* ---- waiting ---- */

static bool
is_expired(const struct owner_request *rq)
{
    return rq->expires_us != 0 && bus_loop_now_us(rq->owner->loop) >= rq->expires_us;
}

static enum err_code
why_not_sent(const struct owner_request *rq)
{
    bool any_up;
    (void)owner_pick(&rq->owner->routers, rq->body_bytes, rq->owner->turn, &any_up);
    return any_up ? ERR_SATURATED : ERR_ROUTER_UNREACHABLE;
}

static void
refuse_for_lack(struct owner_request *rq)
{
    struct owner_counters *counters = rq->owner->options.counters;
    enum err_code code = why_not_sent(rq);
    owner_count(code == ERR_SATURATED ? &counters->saturated : &counters->unreachable);
    owner_refuse(rq, code);
}

static void
patience_ends(struct bus_timer *timer)
{
    struct owner_request *rq = DYN_CONTAINER_OF(timer, struct owner_request, patience);
    if (is_expired(rq)) {
        owner_refuse(rq, ERR_GATEWAY_TIMEOUT);
    } else {
        refuse_for_lack(rq);
    }
}

static void
wait_for_router(struct owner_request *rq)
{
    struct owner *owner = rq->owner;
    size_t bytes = rq->body_bytes + BUS_ENVELOPE_COST;
    if (owner->waiting_bytes > 0 && owner->waiting_bytes + bytes > OWNER_WAITING_MAX) {
        refuse_for_lack(rq);
        return;
    }
    if (rq->waits_until_us == 0) {
        rq->waits_until_us = bus_loop_now_us(owner->loop) + OWNER_WAIT_MS * UINT64_C(1000);
    }
    bool ends_before = rq->expires_us != 0 && rq->expires_us < rq->waits_until_us;
    owner->waiting_bytes += bytes;
    dyn_list_append(&owner->waiting, &rq->link);
    bus_timer_arm(owner->loop, &rq->patience,
                  ms_until(owner, ends_before ? rq->expires_us : rq->waits_until_us));
}

void
owner_send_waiting(struct owner *owner)
{
    struct dyn_list again;
    dyn_list_init(&again);
    dyn_list_splice(&again, &owner->waiting);
    while (!dyn_list_is_empty(&again)) {
        struct owner_request *rq = DYN_CONTAINER_OF(again.next, struct owner_request, link);
        bool any_up;
        owner_detach(rq);
        if (is_expired(rq)) { /* what is left of its time would be 0, which means that there is no limit */
            owner_refuse(rq, ERR_GATEWAY_TIMEOUT);
            continue;
        }
        if (!send_now(rq, &any_up)) {
            wait_for_router(rq);
            break;
        }
    }
    dyn_list_splice(&owner->waiting, &again);
}

/* ---- from the edge ---- */

static struct owner_request *
request_new(struct owner *owner, struct env **env_p)
{
    struct env *request = *env_p;
    struct owner_request *rq = dyn_zalloc(sizeof *rq);
    uint64_t now_us = bus_loop_now_us(owner->loop);
    uint64_t timeout_ms = request->deadline_ms > 0 ? request->deadline_ms : owner->options.request_timeout_ms;
    *env_p = NULL;
    rq->owner = owner;
    rq->request = request;
    rq->asker = request->from;
    rq->body_bytes = env_body_len(request);
    rq->window = request->credit;
    rq->epoch = request->epoch;
    rq->expires_us = timeout_ms > 0 ? now_us + timeout_ms * 1000 : 0;
    rq->patience.fire = patience_ends;
    dyn_list_init(&rq->link);
    env_map_add(&owner->requests, &rq->node, &request->id);
    return rq;
}

/* A prober's time-out may be shorter than our patience, and its question is answered by there being no
 * router. Returns false for every other request. */
static bool
answer_probe(struct owner_request *rq)
{
    static const struct dyn_slice not_ready =
        DYN_SLICE_INIT("{\"status\":\"not_ready\",\"reason\":\"no router can be reached\"}");
    static const struct dyn_slice unhealthy = DYN_SLICE_INIT("{\"status\":\"no_router\",\"providers\":[]}");
    enum env_surface surface = rq->request->surface;
    if (surface != ENV_SURFACE_READY && surface != ENV_SURFACE_HEALTH) {
        return false;
    }
    struct dyn_slice text = surface == ENV_SURFACE_READY ? not_ready : unhealthy;
    struct env *end = env_new(ENV_END);
    end->outcome = ENV_OUTCOME_OK;
    end->status = err_row(ERR_ROUTER_UNREACHABLE)->http;
    end->content_type = DYN_SLICE("application/json");
    end->body = dyn_block_copy(ENV_BODY_HEADROOM, text);
    end->body_bytes = text.len;
    end_with(rq, end);
    return true;
}

void
owner_take_request(struct owner *owner, struct env **env_p)
{
    bool any_up;
    if (env_map_find(&owner->requests, &(*env_p)->id) != NULL) {
        dyn_log(DYN_LOG_ERROR, "owner.request.repeated",
                "a request id that is in flight came again; dropped");
        return;
    }
    struct owner_request *rq = request_new(owner, env_p);
    if (send_now(rq, &any_up)) {
        return;
    }
    if (any_up) {
        refuse_for_lack(rq);
    } else if (!answer_probe(rq)) {
        wait_for_router(rq);
    }
}

void
owner_take_credit(struct owner_request *rq, struct env **env_p)
{
    struct env *credit = *env_p;
    rq->window += credit->credit;
    if (rq->router == NULL || rq->is_cancelled) {
        return; /* goes with the next REQUEST */
    }
    credit->epoch = rq->epoch;
    if (bus_send(rq->owner->me, rq->router->addr, env_p, NULL) != 0) {
        rq->router->is_draining = true; /* it is gone, and its GOODBYE on the way */
    }
}

/* The router's END tells the asker what was spent. Where nobody has the request, this is its end. */
void
owner_take_cancel(struct owner_request *rq, struct env **env_p)
{
    if (rq->router == NULL) {
        owner_refuse(rq, ERR_CLIENT_CLOSED);
        return;
    }
    rq->is_cancelled = true;
    env_free(&rq->request);
    (*env_p)->epoch = rq->epoch;
    if (bus_send(rq->owner->me, rq->router->addr, env_p, NULL) != 0) {
        rq->router->is_draining = true; /* it is gone, and its GOODBYE on the way */
    }
}

/* ---- when a router is lost ---- */

static bool
may_send_again(const struct owner_request *rq)
{
    struct dyn_slice policy = rq->request->redeliver;
    if (rq->sendings >= OWNER_SENDINGS_MAX || dyn_slice_is(policy, "never")) {
        return false;
    }
    return !dyn_slice_is(policy, "unsent") || !rq->was_dispatched;
}

void
owner_send_again(struct owner_request *rq)
{
    struct owner *owner = rq->owner;
    bool any_up;
    if (rq->is_cancelled) {
        owner_refuse(rq, ERR_CLIENT_CLOSED);
    } else if (rq->has_begun) {
        owner_count(&owner->options.counters->broken_off);
        owner_refuse(rq, ERR_ROUTER_LOST);
    } else if (!may_send_again(rq)) {
        owner_refuse(rq, ERR_ROUTER_LOST);
    } else if (is_expired(rq)) {
        owner_refuse(rq, ERR_GATEWAY_TIMEOUT);
    } else {
        rq->epoch++;
        owner_count(&owner->options.counters->sent_again);
        if (!send_now(rq, &any_up)) {
            wait_for_router(rq); /* for room too: it has waited its turn once */
        }
    }
}
