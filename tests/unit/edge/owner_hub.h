/* An owner that the test plays edge and routers for; their addresses are actors of this process. */
#pragma once

#include "edge/owner_impl.h"
#include "tests/unit/edge/stage.h"

enum { ROUTERS = 2, WINDOW = 65536 };

/* The owner, with actors of this process in place of peers behind links. */
struct hub {
    struct owner owner;
    struct extra edge;
    struct extra routers[ROUTERS];
    struct owner_router *known[ROUTERS];
    bus_addr_t addr;
    struct stage stage;
};

static int
hub_start(void *self, bus_actor_t *me, struct dyn_err *err)
{
    struct hub *hub = self;
    (void)err;
    owner_started(&hub->owner, me);
    return 0;
}

static void
hub_receive(void *self, struct env **env_p)
{
    struct hub *hub = self;
    bus_addr_t from = (*env_p)->from;
    for (size_t i = 0; i < ROUTERS; i++) {
        if (from == hub->routers[i].addr) {
            hub->known[i] = owner_from_peer(&hub->owner, hub->known[i], from, env_p);
            return;
        }
    }
    owner_receive(&hub->owner, env_p);
}

static void
hub_drain(void *self, uint64_t deadline_us)
{
    owner_drain(&((struct hub *)self)->owner, deadline_us);
}

static void
hub_stop(void *self)
{
    owner_fini(&((struct hub *)self)->owner);
}

static const struct bus_actor_ops hub_ops = {
    .kind = "owner", .start = hub_start, .receive = hub_receive, .drain = hub_drain, .stop = hub_stop};

static struct hub *
hub_new_with(const struct owner_options *options, size_t mailbox_bytes)
{
    struct hub *hub = dyn_zalloc(sizeof *hub);
    stage_init(&hub->stage, mailbox_bytes);
    owner_init(&hub->owner, options);
    for (size_t i = 0; i < ROUTERS; i++) {
        stage_add(&hub->stage, &hub->routers[i]);
    }
    hub->addr = bus_add_actor(hub->stage.bus, hub->stage.loop, &hub_ops, hub);
    stage_add(&hub->stage, &hub->edge);
    stage_start(&hub->stage);
    return hub;
}

static struct hub *
hub_new(void)
{
    return hub_new_with(&(struct owner_options){.process = NULL}, 0);
}

static void
hub_free(struct hub *hub)
{
    stage_stop(&hub->stage);
    extra_fini(&hub->edge);
    for (size_t i = 0; i < ROUTERS; i++) {
        extra_fini(&hub->routers[i]);
    }
    free(hub);
}

static void
router_says(struct hub *hub, size_t router, struct env *env)
{
    stage_send(&hub->stage, &hub->routers[router], hub->addr, env);
}

static void
router_joins_with(struct hub *hub, size_t router, uint32_t requests, uint64_t bytes)
{
    struct env *ready = env_new(ENV_READY);
    ready->requests = requests;
    ready->request_bytes = bytes;
    router_says(hub, router, ready);
}

static void
router_joins(struct hub *hub, size_t router)
{
    router_joins_with(hub, router, 0, 0);
}

static void
router_says_goodbye(struct hub *hub, size_t router, const char *reason)
{
    struct env *goodbye = env_new(ENV_GOODBYE);
    goodbye->reason = dyn_slice_str(reason);
    router_says(hub, router, goodbye);
}

static struct env *
request_of(uint8_t number, size_t body_bytes)
{
    struct env *request = env_new(ENV_REQUEST);
    request->id.bytes[0] = number;
    request->surface = ENV_SURFACE_CHAT;
    request->dialect = DYN_SLICE("openai_chat");
    request->credential = DYN_SLICE("secret");
    request->credit = WINDOW;
    if (body_bytes > 0) {
        request->body = dyn_block_new(0, body_bytes);
        request->body->len = body_bytes;
        memset(dyn_block_data(request->body), 'x', body_bytes);
    }
    return request;
}

static void
edge_sends(struct hub *hub, struct env *env)
{
    stage_send(&hub->stage, &hub->edge, hub->addr, env);
}

static void
edge_asks(struct hub *hub, uint8_t number)
{
    edge_sends(hub, request_of(number, 10));
}

static void
edge_credits(struct hub *hub, uint8_t number, uint32_t bytes)
{
    struct env *credit = env_new(ENV_CREDIT);
    credit->id.bytes[0] = number;
    credit->credit = bytes;
    edge_sends(hub, credit);
}

static void
edge_cancels(struct hub *hub, uint8_t number)
{
    struct env *cancel = env_new(ENV_CANCEL);
    cancel->id.bytes[0] = number;
    edge_sends(hub, cancel);
}

static struct env *
chunk_of(const struct env *request, uint32_t sequence, bool stream, size_t bytes)
{
    struct env *chunk = env_about(ENV_CHUNK, request);
    chunk->sequence = sequence;
    chunk->stream = stream && sequence == 0;
    chunk->body = dyn_block_new(0, bytes + 1);
    chunk->body->len = bytes;
    memset(dyn_block_data(chunk->body), 'y', bytes);
    return chunk;
}

static struct env *
end_of(const struct env *request, enum err_code error)
{
    struct env *end = env_about(ENV_END, request);
    end->outcome = error == ERR_NONE ? ENV_OUTCOME_OK : ENV_OUTCOME_ERROR;
    end->error = error;
    return end;
}

static struct env *
dispatched_of(const struct env *request, const char *worker, bool stream)
{
    struct env *dispatched = env_about(ENV_DISPATCHED, request);
    dispatched->stream = stream;
    dispatched->worker = dyn_slice_str(worker);
    dispatched->worker_attempt = worker != NULL ? 2 : 0;
    dispatched->worker_epoch = worker != NULL ? 5 : 0;
    return dispatched;
}

static void
assert_ended_with(struct hub *hub, enum err_code error)
{
    struct env *end = extra_take(&hub->edge, ENV_END);
    assert_string_equal(err_row(end->error)->name, err_row(error)->name);
    assert_int_equal(end->outcome, error == ERR_CLIENT_CLOSED ? ENV_OUTCOME_CANCELLED : ENV_OUTCOME_ERROR);
    assert_int_equal(end->status, err_row(error)->http);
}

static uint64_t
count_of(const atomic_uint_fast64_t *counter)
{
    return atomic_load(counter);
}
