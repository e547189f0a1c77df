/* The ports of a router's process between peers and routers that the test plays. */
#pragma once

#include "router/ports_impl.h"
#include "tests/unit/edge/stage.h"

enum { ROUTERS = 3, PEERS = 2 };

#define KEY_A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define KEY_B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"

/* A peer: an actor in place of a connection, and what the port knows of it. */
struct remote_peer {
    struct extra actor;
    struct bus_peer peer;
};

struct hub {
    struct ports ports;
    struct stage stage;
    struct extra routers[ROUTERS];
    struct extra publisher;
    struct remote_peer peers[PEERS];
    struct admission admission;
};

static inline int
hub_start(void *self, bus_actor_t *me, struct dyn_err *err)
{
    (void)err;
    ports_started(&((struct hub *)self)->ports, me);
    return 0;
}

static inline void
hub_receive(void *self, struct env **env_p)
{
    (void)self;
    (void)env_p;
}

static inline void
hub_drain(void *self, uint64_t deadline_us)
{
    ports_actor_ops.drain(&((struct hub *)self)->ports, deadline_us);
}

static inline void
hub_stop(void *self)
{
    ports_fini(&((struct hub *)self)->ports);
}

static const struct bus_actor_ops hub_ops = {
    .kind = "ports", .start = hub_start, .receive = hub_receive, .drain = hub_drain, .stop = hub_stop};

static inline void
add_peer(struct hub *hub, size_t i, enum bus_role role, const char *key)
{
    struct remote_peer *peer = &hub->peers[i];
    stage_add(&hub->stage, &peer->actor);
    peer->peer = (struct bus_peer){.addr = peer->actor.addr, .role = role, .key = dyn_slice_str(key)};
}

/* Both peers have that role and, unless NULL, key A. */
static inline struct hub *
hub_new_with(enum bus_role role, const char *key, struct ports_options options, size_t mailbox_bytes)
{
    struct hub *hub = dyn_zalloc(sizeof *hub);
    bus_addr_t routers[ROUTERS];
    stage_init(&hub->stage, mailbox_bytes);
    for (size_t i = 0; i < ROUTERS; i++) {
        stage_add(&hub->stage, &hub->routers[i]);
        routers[i] = hub->routers[i].addr;
    }
    stage_add(&hub->stage, &hub->publisher);
    options.routers = routers;
    options.n_routers = ROUTERS;
    options.publisher = hub->publisher.addr;
    options.admission = &hub->admission;
    hub->admission.master_key = DYN_SLICE("master");
    ports_init(&hub->ports, &options);
    (void)bus_add_actor(hub->stage.bus, hub->stage.loop, &hub_ops, hub);
    for (size_t i = 0; i < PEERS; i++) {
        add_peer(hub, i, role, key);
    }
    stage_start(&hub->stage);
    return hub;
}

static inline struct hub *
hub_new(enum bus_role role, const char *key)
{
    return hub_new_with(role, key, (struct ports_options){.process = NULL}, 0);
}

static inline void
hub_free_stopped(struct hub *hub)
{
    for (size_t i = 0; i < ROUTERS; i++) {
        extra_fini(&hub->routers[i]);
    }
    for (size_t i = 0; i < PEERS; i++) {
        extra_fini(&hub->peers[i].actor);
    }
    extra_fini(&hub->publisher);
    free(hub);
}

static inline void
hub_free(struct hub *hub)
{
    stage_stop(&hub->stage);
    hub_free_stopped(hub);
}

struct said {
    struct hub *hub;
    const struct bus_remote_ops *ops;
    struct remote_peer *peer;
    struct env *env;
};

static inline void
say_on_loop(void *arg)
{
    struct said *said = arg;
    said->ops->receive(&said->hub->ports, &said->peer->peer, &said->env);
    env_free(&said->env);
}

static inline void
client_says(struct hub *hub, size_t peer, struct env *env)
{
    struct said said = {hub, &ports_client_ops, &hub->peers[peer], env};
    stage_do(&hub->stage, say_on_loop, &said);
}

static inline void
worker_says(struct hub *hub, size_t peer, struct env *env)
{
    struct said said = {hub, &ports_worker_ops, &hub->peers[peer], env};
    stage_do(&hub->stage, say_on_loop, &said);
}

/* What is written to the peer's connection next. */
static inline struct env *
client_gets(struct hub *hub, size_t peer, enum env_kind kind)
{
    struct env *env = extra_take(&hub->peers[peer].actor, kind);
    ports_client_ops.sending(&hub->ports, &hub->peers[peer].peer, env);
    return env;
}

static inline struct env *
about(enum env_kind kind, uint8_t number)
{
    struct env *env = env_new(kind);
    memset(env->id.bytes, number, sizeof env->id.bytes);
    return env;
}

static inline struct env *
request_of(uint8_t number, size_t body_bytes)
{
    struct env *request = about(ENV_REQUEST, number);
    request->surface = ENV_SURFACE_CHAT;
    request->credential = DYN_SLICE("k");
    if (body_bytes > 0) {
        request->body = dyn_block_new(0, body_bytes);
        request->body->len = body_bytes;
        memset(dyn_block_data(request->body), 'x', body_bytes);
    }
    return request;
}

/* The router that has the next envelope; one of them has to have one. */
static inline struct extra *
router_with_mail(struct hub *hub)
{
    for (size_t i = 0; i < ROUTERS; i++) {
        if (hub->routers[i].n_taken < hub->routers[i].n_got) {
            return &hub->routers[i];
        }
    }
    fail_msg("no router got anything");
    abort(); /* not reached; the compiler cannot know */
}

static inline struct env *
routers_take(struct hub *hub, enum env_kind kind)
{
    return extra_take(router_with_mail(hub), kind);
}

static inline void
routers_have_nothing(struct hub *hub)
{
    for (size_t i = 0; i < ROUTERS; i++) {
        extra_has_nothing(&hub->routers[i]);
    }
}

static inline void
router_answers(struct hub *hub, const struct env *request, struct env *answer)
{
    answer->id = request->id;
    answer->epoch = request->epoch;
    stage_send(&hub->stage, &hub->routers[0], request->from, answer);
}

static inline struct env *
end_with(enum err_code error)
{
    struct env *end = env_new(ENV_END);
    end->outcome = error == ERR_NONE ? ENV_OUTCOME_OK : ENV_OUTCOME_ERROR;
    end->error = error;
    return end;
}

static inline void
assert_refused(struct hub *hub, size_t peer, uint8_t number, enum err_code error)
{
    struct env *end = client_gets(hub, peer, ENV_END);
    assert_string_equal(err_row(end->error)->name, err_row(error)->name);
    assert_int_equal(end->outcome, ENV_OUTCOME_ERROR);
    assert_int_equal(end->id.bytes[0], number);
    assert_int_equal(end->retry_after_s, error == ERR_SATURATED ? 1 : 0);
    routers_have_nothing(hub);
}
