#include "gateway/hooks.h"

#include "proto/event_batch.h"

#include <pthread.h>
#include <stdlib.h>

/* While draining: how often to look whether the last events have arrived from the other loops. */
enum { HOOKS_DRAIN_LOOK_MS = 5 };

struct hooks {
    bus_actor_t *me;
    struct router_shared *shared;
    pthread_mutex_t lock; /* guards the two below: hooks are added from any thread */
    struct hook {
        dynabus_hook_fn fn;
        void *user;
    } items[HOOKS_MAX];
    size_t n;
    uint64_t received;
    atomic_uint_fast64_t call_until_us;
    uint64_t drain_deadline_us;
    struct bus_timer drain_timer;
};

/* Texts of an event are slices; the public struct has terminated strings. */
static const char *
text_of(struct arena *arena, struct dyn_slice text)
{
    return arena_copy(arena, text).data;
}

static struct dynabus_event
public_event(struct arena *arena, const struct event_record *record)
{
    return (struct dynabus_event){
        .topic = record->failed ? EVENT_REQUEST_FAILED : EVENT_REQUEST_COMPLETED,
        .trace_id = text_of(arena, record->trace_id),
        .provider = text_of(arena, record->provider),
        .target = text_of(arena, record->target),
        .model = text_of(arena, record->model),
        .key_id = text_of(arena, record->key_id),
        .error = text_of(arena, record->error),
        .error_code = text_of(arena, record->error_code),
        .status = (int)record->status,
        .stream = record->stream,
        .attempts = (uint32_t)record->attempts,
        .upstream_calls = (uint32_t)record->upstream_calls,
        .latency_us = record->latency_us,
        .ttft_us = record->ttft_us,
        .tokens_in = record->tokens_in,
        .tokens_out = record->tokens_out,
        .cost_model_found = record->cost_model_found,
        .cost_usd = record->cost_usd,
        .cost_input_usd = record->cost_input_usd,
        .cost_output_usd = record->cost_output_usd,
        .cost_cache_read_usd = record->cost_cache_read_usd,
        .cost_cache_write_usd = record->cost_cache_write_usd,
        .cost_reasoning_usd = record->cost_reasoning_usd,
        .timestamp_us = record->timestamp_us,
        .cost_image_usd = record->cost_image_usd,
        .cost_audio_usd = record->cost_audio_usd,
        .cost_other_usd = record->cost_other_usd,
        .estimated = record->estimated,
        .degraded = text_of(arena, record->degraded),
        .warnings = text_of(arena, record->warnings),
    };
}

static void
call_hooks(struct hooks *hooks, const struct event_record *record)
{
    struct hook items[HOOKS_MAX];
    (void)pthread_mutex_lock(&hooks->lock);
    size_t n = hooks->n;
    memcpy(items, hooks->items, n * sizeof items[0]);
    (void)pthread_mutex_unlock(&hooks->lock);

    _Alignas(16) char memory[1024];
    struct arena arena;
    arena_init(&arena, memory, sizeof memory);
    struct dynabus_event event = public_event(&arena, record);
    for (size_t i = 0; i < n; i++) {
        items[i].fn(items[i].user, &event);
    }
    arena_fini(&arena);
}

static bool
is_too_late(const struct hooks *hooks)
{
    uint64_t until_us = atomic_load_explicit(&hooks->call_until_us, memory_order_relaxed);
    return until_us != UINT64_MAX && dyn_mono_us(&dyn_clock_system) >= until_us;
}

static bool
has_hooks(struct hooks *hooks)
{
    (void)pthread_mutex_lock(&hooks->lock);
    bool has_one = hooks->n > 0;
    (void)pthread_mutex_unlock(&hooks->lock);
    return has_one;
}

static void
take(struct hooks *hooks, struct dyn_slice map, bool has_one)
{
    struct event_record record;
    hooks->received++;
    if (!has_one) {
        return; /* it is published on the bus, and heard by nobody here */
    }
    if (is_too_late(hooks)) {
        (void)atomic_fetch_add_explicit(&hooks->shared->events_dropped, 1, memory_order_relaxed);
    } else if (event_decode(map, &record) == 0) {
        call_hooks(hooks, &record);
    }
}

static void
hooks_receive(void *self, struct env **env_p)
{
    struct hooks *hooks = self;
    const struct env *env = *env_p;
    if (env->kind == ENV_EVENT) {
        struct dyn_slice body = dyn_block_slice(env->body);
        struct event_batch_item item;
        bool has_one = has_hooks(hooks);
        for (size_t at = 0; env->is_own && event_batch_next(body, &at, &item);) {
            take(hooks, event_batch_map(body.data, &item), has_one);
        }
        if (!env->is_own) {
            take(hooks, body, has_one);
        }
    }
    env_free(env_p);
}

static void
look_whether_idle(struct bus_timer *timer)
{
    struct hooks *hooks = DYN_CONTAINER_OF(timer, struct hooks, drain_timer);
    bus_loop_t *loop = bus_actor_loop(hooks->me);
    uint64_t sent = atomic_load_explicit(&hooks->shared->events_sent, memory_order_acquire);
    bool late = bus_loop_now_us(loop) >= hooks->drain_deadline_us;
    if (hooks->received >= sent || late) {
        bus_actor_idle(hooks->me);
    } else {
        bus_timer_arm(loop, timer, HOOKS_DRAIN_LOOK_MS);
    }
}

static void
hooks_drain(void *self, uint64_t deadline_us)
{
    struct hooks *hooks = self;
    hooks->drain_deadline_us = deadline_us;
    look_whether_idle(&hooks->drain_timer);
}

hooks_t *
hooks_new(struct router_shared *shared)
{
    struct hooks *hooks = dyn_zalloc(sizeof *hooks);
    hooks->shared = shared;
    hooks->drain_timer.fire = look_whether_idle;
    atomic_init(&hooks->call_until_us, UINT64_MAX);
    (void)pthread_mutex_init(&hooks->lock, NULL);
    return hooks;
}

int
hooks_add(hooks_t *hooks, dynabus_hook_fn hook, void *user)
{
    (void)pthread_mutex_lock(&hooks->lock);
    bool room = hooks->n < HOOKS_MAX;
    if (room) {
        hooks->items[hooks->n++] = (struct hook){hook, user};
    }
    (void)pthread_mutex_unlock(&hooks->lock);
    if (room) {
        atomic_store_explicit(&hooks->shared->wants_events, true, memory_order_release);
    }
    return room ? 0 : -1;
}

void
hooks_call_until(hooks_t *hooks, uint64_t until_us)
{
    atomic_store_explicit(&hooks->call_until_us, until_us, memory_order_relaxed);
}

static int
hooks_start(void *self, bus_actor_t *me, struct dyn_err *err)
{
    (void)err;
    struct hooks *hooks = self;
    hooks->me = me;
    return 0;
}

static void
hooks_stop(void *self)
{
    struct hooks *hooks = self;
    bus_timer_fini(&hooks->drain_timer);
    (void)pthread_mutex_destroy(&hooks->lock);
    free(hooks);
}

const struct bus_actor_ops hooks_actor_ops = {
    .kind = "hooks",
    .start = hooks_start,
    .receive = hooks_receive,
    .drain = hooks_drain,
    .stop = hooks_stop,
};
