/* Calls whose router is lost before anything of their answer has left (02-WORKER, "When a router is lost").
 * They go on for a while and hold what comes, within the window that was granted; a router that the owner
 * turned to takes them over. What has left cannot be told to anybody else: such a call is cancelled. */
#include "actors/providers/provider_call.h"

#include "core/log.h"

#include <stdlib.h>

static void
count(atomic_uint_fast64_t *counter)
{
    (void)atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

/* ---- what they hold ---- */

static size_t
queued_bytes(const struct provider_call *call)
{
    size_t bytes = 0;
    for (struct dyn_list *link = call->out.next; link != &call->out; link = link->next) {
        bytes += env_body_len(DYN_CONTAINER_OF(link, struct env, link));
    }
    return bytes;
}

/* The request counts too: libcurl may have to send it again. One that waits for its place holds what came
 * and what will be sent. */
static size_t
held_bytes(const struct provider_call *call)
{
    size_t bytes = sizeof *call + call->request_bytes + queued_bytes(call);
    bool is_another = call->waiting != NULL && call->waiting_body != call->waiting->body;
    bytes += is_another && call->waiting_body != NULL ? call->waiting_body->len : 0;
    bytes += call->block != NULL ? call->block->len : 0;
    bytes += call->end != NULL ? env_body_len(call->end) : 0;
    return bytes;
}

/* false: all orphans together hold too much now. */
static bool
charge(struct provider_call *call, size_t bytes)
{
    struct provider_orphans *orphans = call->provider->options.orphans;
    size_t before = call->orphan_bytes;
    call->orphan_bytes = bytes;
    if (bytes <= before) {
        (void)atomic_fetch_sub_explicit(&orphans->bytes, before - bytes, memory_order_relaxed);
        return true;
    }
    size_t all = atomic_fetch_add_explicit(&orphans->bytes, bytes - before, memory_order_relaxed);
    return all + (bytes - before) <= orphans->bytes_max;
}

/* ---- life ---- */

void
provider_orphan_end(struct provider_call *call)
{
    struct provider *provider = call->provider;
    if (!call->is_orphan) {
        return;
    }
    call->is_orphan = false;
    (void)charge(call, 0);
    dyn_list_remove(&call->orphan);
    if (dyn_list_is_empty(&provider->orphans)) {
        bus_timer_disarm(&provider->orphans_timer);
    }
}

static void
drop(struct provider_call *call, const char *why)
{
    const struct provider_options *options = &call->provider->options;
    count(&options->orphans->dropped);
    dyn_log(DYN_LOG_INFO, "provider.orphan", why, DYN_LOG_SLICE("target", options->target->name),
            DYN_LOG_UINT("attempt", call->attempt), DYN_LOG_UINT("epoch", call->epoch));
    provider_call_cancelled(call);
}

bool
provider_orphan_hold(struct provider_call *call)
{
    if (!charge(call, held_bytes(call))) {
        drop(call, "a call without its router is cancelled: such calls hold too much memory together");
        return true;
    }
    if (call->http != NULL && queued_bytes(call) >= call->credit.available) {
        (void)http_call_pause(call->http);
    } else if (call->http != NULL) {
        http_call_resume(call->http);
    }
    return false;
}

static void
arm(struct provider *provider)
{
    uint64_t now_us = bus_loop_now_us(provider->loop);
    const struct provider_call *first =
        DYN_CONTAINER_OF(provider->orphans.next, struct provider_call, orphan);
    uint64_t left_us = first->orphan_until_us > now_us ? first->orphan_until_us - now_us : 0;
    bus_timer_arm(provider->loop, &provider->orphans_timer, (left_us + 999) / 1000);
}

void
provider_orphan_time_is_up(struct bus_timer *timer)
{
    struct provider *provider = DYN_CONTAINER_OF(timer, struct provider, orphans_timer);
    uint64_t now_us = bus_loop_now_us(provider->loop);
    while (!dyn_list_is_empty(&provider->orphans)) {
        struct provider_call *call = DYN_CONTAINER_OF(provider->orphans.next, struct provider_call, orphan);
        if (call->orphan_until_us > now_us) {
            arm(provider);
            return;
        }
        drop(call, "a call without its router is cancelled: no other one has asked for it in time");
    }
}

void
provider_orphan_drop_all(struct provider *provider)
{
    while (!dyn_list_is_empty(&provider->orphans)) {
        drop(DYN_CONTAINER_OF(provider->orphans.next, struct provider_call, orphan),
             "a call without its router is cancelled: this process ends, and gets no requests any more");
    }
}

/* All are kept equally long, so that the list is in order of its ends. */
static void
begin(struct provider_call *call)
{
    struct provider *provider = call->provider;
    struct provider_orphans *orphans = provider->options.orphans;
    bool is_first = dyn_list_is_empty(&provider->orphans);
    call->is_orphan = true;
    call->orphan_until_us = bus_loop_now_us(provider->loop) + (uint64_t)orphans->time_ms * 1000;
    dyn_list_append(&provider->orphans, &call->orphan);
    dyn_list_remove(&call->link); /* it waits for no mailbox any more */
    count(&orphans->kept);
    if (is_first) {
        arm(provider);
    }
}

bool
provider_orphan_begin(struct provider_call *call)
{
    const struct provider_orphans *orphans = call->provider->options.orphans;
    bool is_of_use = !call->has_left && !call->is_unwanted && !call->provider->is_draining;
    if (orphans == NULL || orphans->time_ms == 0 || !is_of_use) {
        return false;
    }
    if (!call->is_orphan) {
        begin(call);
    }
    return true;
}

void
provider_orphan_all_of(struct provider *provider, bus_addr_t router)
{
    struct dyn_list batch;
    struct dyn_list *link;
    dyn_list_init(&batch);
    for (size_t i = 0; i < provider->calls.n_buckets; i++) {
        for (struct env_map_node *node = provider->calls.buckets[i]; node != NULL; node = node->next) {
            struct provider_call *call = DYN_CONTAINER_OF(node, struct provider_call, node);
            if (call->reply_to == router && !call->is_orphan) {
                dyn_list_remove(&call->link);
                dyn_list_append(&batch, &call->link);
            }
        }
    }
    while ((link = dyn_list_pop(&batch)) != NULL) {
        struct provider_call *call = DYN_CONTAINER_OF(link, struct provider_call, link);
        if (provider_orphan_begin(call)) {
            (void)provider_orphan_hold(call);
        } else {
            provider_call_cancelled(call);
        }
    }
}

/* ---- another router ---- */

/* What is queued was cut for the window of the former one. */
static bool
fits(const struct provider_call *call, uint32_t piece_max)
{
    for (struct dyn_list *link = call->out.next; link != &call->out; link = link->next) {
        if (env_body_len(DYN_CONTAINER_OF(link, struct env, link)) > piece_max) {
            return false;
        }
    }
    return true;
}

static void
readdress(struct provider_call *call)
{
    for (struct dyn_list *link = call->out.next; link != &call->out; link = link->next) {
        DYN_CONTAINER_OF(link, struct env, link)->epoch = call->epoch;
    }
    if (call->reply != NULL) {
        call->reply->epoch = call->epoch;
    }
    if (call->end != NULL) {
        call->end->epoch = call->epoch;
    }
}

bool
provider_orphan_attach(struct provider_call *call, const struct env *request)
{
    struct provider_orphans *orphans = call->provider->options.orphans;
    if (!request->attach || call->has_left || call->is_stream != request->stream ||
        call->attempt != request->attempt || !fits(call, provider_call_piece_max(request))) {
        return false;
    }
    provider_orphan_end(call);
    dyn_list_remove(&call->link);
    call->epoch = request->epoch;
    provider_call_belongs(call, request);
    readdress(call);
    if (orphans != NULL) {
        count(&orphans->attached);
    }
    if (call->http != NULL && !call->has_begun) {
        http_call_set_deadline(call->http, request->deadline_ms);
    } else if (call->waiting != NULL) {
        call->waiting->deadline_ms = request->deadline_ms;
        call->started_us = dyn_mono_us(bus_loop_clock(call->provider->loop));
    }
    if (call->http != NULL ? http_call_sent(call->http) > 0 : call->sent > 0) {
        provider_reply_sent(call);
    }
    (void)provider_reply_flush(call);
    return true;
}
