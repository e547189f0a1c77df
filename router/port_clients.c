/* The clients port: edges with the requests of their HTTP clients, and clients that speak the bus themselves.
 * An edge is part of the gateway and believed. A client's ids are its own, its budget is kept here, and of
 * what it says only that is passed on which a client may say (03-CLIENT, "The request"). */
#include "core/log.h"
#include "router/ports_impl.h"

#include <openssl/sha.h>
#include <stdlib.h>

enum { RETRY_S = 1 };

/* ---- who it is ---- */

static void
set_scope(struct ports_client *client, const struct bus_peer *peer)
{
    if (peer->key.len > 0 && peer->key.len <= sizeof client->scope) {
        memcpy(client->scope, peer->key.data, peer->key.len);
        client->scope_len = peer->key.len;
        return;
    }
    memcpy(client->scope, client->ports->salt, sizeof client->ports->salt);
    memcpy(client->scope + sizeof client->ports->salt, &peer->addr, sizeof peer->addr);
    client->scope_len = sizeof client->ports->salt + sizeof peer->addr;
}

static struct ports_client *
client_of(struct ports *ports, struct bus_peer *peer)
{
    if (peer->user == NULL) {
        struct ports_client *client = dyn_zalloc(sizeof *client);
        client->ports = ports;
        client->addr = peer->addr;
        client->scoped = peer->role != BUS_ROLE_EDGE;
        dyn_list_init(&client->requests);
        set_scope(client, peer);
        dyn_list_append(&ports->peers, &client->link);
        peer->user = client;
    }
    return peer->user;
}

/* The id that the routers know a request by: nobody can name the request of another key. */
static struct env_id
inner_id(const struct ports_client *client, const struct env_id *own)
{
    struct env_id id;
    uint8_t text[sizeof client->scope + sizeof own->bytes];
    uint8_t digest[SHA256_DIGEST_LENGTH];
    if (!client->scoped) {
        return *own;
    }
    memcpy(text, client->scope, client->scope_len);
    memcpy(text + client->scope_len, own->bytes, sizeof own->bytes);
    (void)SHA256(text, client->scope_len + sizeof own->bytes, digest);
    memcpy(id.bytes, digest, sizeof id.bytes);
    return id;
}

static struct ports_request *
find_request(const struct ports_client *client, const struct env_id *inner)
{
    struct env_map_node *node = env_map_find(&client->ports->by_id, inner);
    struct ports_request *request = node != NULL ? DYN_CONTAINER_OF(node, struct ports_request, node) : NULL;
    while (request != NULL && request->client != client) {
        request = request->other;
    }
    return request;
}

static void
add_to_map(struct env_map *map, struct ports_request *request, const struct env_id *inner)
{
    struct env_map_node *node = env_map_find(map, inner);
    if (node == NULL) {
        env_map_add(map, &request->node, inner);
        return;
    }
    struct ports_request *first = DYN_CONTAINER_OF(node, struct ports_request, node);
    request->node.id = *inner;
    request->other = first->other;
    first->other = request;
}

static void
remove_from_map(struct env_map *map, struct ports_request *request)
{
    struct env_map_node *node = env_map_find(map, &request->node.id);
    struct ports_request *before = DYN_CONTAINER_OF(node, struct ports_request, node);
    if (before == request) {
        env_map_remove(map, node);
        if (request->other != NULL) {
            env_map_add(map, &request->other->node, &request->node.id);
        }
        return;
    }
    while (before->other != request) {
        before = before->other;
    }
    before->other = request->other;
}

/* ---- requests in flight ---- */

static struct ports_request *
request_new(struct ports_client *client, const struct env_id *inner, const struct env *env)
{
    struct ports *ports = client->ports;
    struct ports_request *request;
    struct dyn_list *link = dyn_list_pop(&ports->spare);
    if (link != NULL) {
        request = DYN_CONTAINER_OF(link, struct ports_request, link);
        ports->n_spare--;
    } else {
        request = dyn_alloc(sizeof *request);
    }
    *request = (struct ports_request){
        .number = ++ports->last_number,
        .client = client,
        .own = env->id,
        .bytes = env_body_len(env),
        .epoch = env->epoch,
    };
    add_to_map(&ports->by_id, request, inner);
    dyn_list_append(&client->requests, &request->client_link);
    client->n_requests++;
    client->bytes += request->bytes;
    dyn_list_append(&ports->requests, &request->link);
    ports->n_requests++;
    return request;
}

void
ports_request_free(struct ports_request *request)
{
    struct ports_client *client = request->client;
    struct ports *ports = client->ports;
    remove_from_map(&ports->by_id, request);
    dyn_list_remove(&request->client_link);
    client->n_requests--;
    client->bytes -= request->bytes;
    dyn_list_remove(&request->link);
    ports->n_requests--;
    if (ports->n_spare < PORTS_SPARE_MAX) {
        ports->n_spare++;
        dyn_list_append(&ports->spare, &request->link);
    } else {
        free(request);
    }
}

void
ports_client_free(struct ports_client *client)
{
    while (!dyn_list_is_empty(&client->requests)) {
        ports_request_free(DYN_CONTAINER_OF(client->requests.next, struct ports_request, client_link));
    }
    dyn_list_remove(&client->link);
    free(client);
}

static void
refuse(struct ports *ports, bus_addr_t peer, const struct env *request, enum err_code code, const char *text)
{
    struct env *end = env_new(ENV_END);
    end->id = request->id;
    end->epoch = request->epoch;
    end->outcome = ENV_OUTCOME_ERROR;
    end->error = code;
    end->status = err_row(code)->http;
    end->error_text = dyn_slice_str(text);
    end->retry_after_s = code == ERR_SATURATED ? RETRY_S : 0;
    if (bus_send(ports->me, peer, &end, NULL) != 0) {
        env_free(&end);
    }
}

/* ---- budgets ---- */

struct budget {
    uint32_t requests;
    uint64_t bytes;
};

static struct budget
budget_of(const struct ports *ports, const struct bus_peer *peer)
{
    if (peer->is_ready) {
        return (struct budget){ports->options.requests_max, ports->options.request_bytes_max};
    }
    return (struct budget){PORTS_REQUESTS_SILENT, PORTS_REQUEST_BYTES};
}

static bool
is_within(const struct ports_client *client, const struct budget *budget, size_t bytes)
{
    bool is_idle = client->n_requests == 0; /* a body above the budget could never pass otherwise */
    return is_idle || (client->n_requests < budget->requests && client->bytes + bytes <= budget->bytes);
}

static void
tell_to_go(struct ports *ports, bus_addr_t peer, const char *reason)
{
    struct env *goodbye = env_new(ENV_GOODBYE);
    goodbye->reason = dyn_slice_str(reason);
    if (bus_send(ports->me, peer, &goodbye, NULL) != 0) {
        env_free(&goodbye); /* it is gone already */
    }
}

/* Who goes on as if no budget had been told, is told to go: at twice the budget. */
static void
refuse_for_budget(struct ports_client *client, const struct budget *budget, const struct env *request)
{
    struct ports *ports = client->ports;
    client->n_refused++;
    client->refused_bytes += env_body_len(request);
    ports_count(&ports->options.counters->refused_budget);
    if (client->n_refused <= budget->requests && client->refused_bytes <= budget->bytes) {
        refuse(ports, client->addr, request, ERR_SATURATED, NULL);
        return;
    }
    tell_to_go(ports, client->addr, "limit");
}

/* ---- REQUEST ---- */

/* What only an edge, or only a router, may say is taken out. */
static void
believe(const struct bus_peer *peer, struct env *request)
{
    static const struct dyn_slice absent;
    request->attempt = 0;
    request->attempts_left = 0;
    request->target = absent;
    request->upstream_model = absent;
    request->attach = false;
    if (peer->role == BUS_ROLE_EDGE) {
        return;
    }
    request->peer = env_copy(request, peer->key_name.len > 0 ? peer->key_name : DYN_SLICE("bus"));
    /* A surface of a later version: the decoder's word, not the client's. */
    request->refuse = request->surface == ENV_SURFACE_NONE ? ERR_NOT_FOUND : ERR_NONE;
    request->refuse_text = absent;
    request->error_param = absent;
    request->worker = absent;
    request->worker_attempt = 0;
    request->worker_epoch = 0;
    request->redelivered = 0;
}

/* A key that is for events needs no other; whoever else asks has to be let in as for requests. */
static enum err_code
judge_events(struct ports *ports, const struct bus_peer *peer, const struct env *request)
{
    const struct dyn_clock *clock = bus_loop_clock(ports->loop);
    bool has_key = peer->key.len > 0 && peer->role != BUS_ROLE_CLIENT;
    if (has_key || ports->options.admission == NULL) {
        return ERR_NONE;
    }
    struct admission_asker asker = {
        .credential = request->credential,
        .peer = peer->key_name.len > 0 ? peer->key_name : DYN_SLICE("bus"),
        .now_us = bus_loop_now_us(ports->loop),
        .wall_ms = dyn_wall_us(clock) / 1000,
    };
    struct admission_verdict verdict = admission_judge(ports->options.admission, &ports->keys, &asker);
    bool may_see = (verdict.scopes & KEY_SCOPE_READ) != 0;
    return verdict.refused == ERR_NONE && !may_see ? ERR_INSUFFICIENT_SCOPE : verdict.refused;
}

/* ERR_NONE, or why this peer may not ask that. */
static enum err_code
judge(struct ports *ports, const struct bus_peer *peer, const struct env *request, const char **text)
{
    *text = NULL;
    if (request->surface == ENV_SURFACE_EVENTS) {
        return ports->options.publisher != 0 ? judge_events(ports, peer, request) : ERR_NOT_FOUND;
    }
    if (peer->role == BUS_ROLE_SUBSCRIBER) {
        *text = "the role subscriber may ask for events only";
        return ERR_INVALID_REQUEST;
    }
    return ERR_NONE;
}

static void
give_to_router(struct ports_client *client, struct ports_request *request, struct env **env_p)
{
    struct ports *ports = client->ports;
    struct env *env = *env_p;
    struct dyn_err err;
    bool is_event = env->surface == ENV_SURFACE_EVENTS;
    bus_addr_t to = is_event ? ports->options.publisher : ports_router_of(ports, &request->node.id);
    env->id = request->node.id;
    if (bus_send_as(ports->me, client->addr, to, env_p, &err) == 0) {
        ports_count(&ports->options.counters->requests);
        return;
    }
    env->id = request->own;
    ports_request_free(request);
    ports_count(&ports->options.counters->refused_budget);
    refuse(ports, client->addr, env, err.code == DYN_E_FULL ? ERR_SATURATED : ERR_DRAINING, NULL);
}

static void
take_request(struct ports_client *client, const struct bus_peer *peer, struct env **env_p)
{
    struct ports *ports = client->ports;
    struct env *env = *env_p;
    const char *text;
    enum err_code refused = judge(ports, peer, env, &text);
    if (refused != ERR_NONE) {
        refuse(ports, client->addr, env, refused, text);
        return;
    }
    struct env_id inner = inner_id(client, &env->id);
    if (find_request(client, &inner) != NULL) { /* over another connection the router would compare them */
        refuse(ports, client->addr, env, ERR_DUPLICATE_ID, NULL);
        return;
    }
    struct budget budget = budget_of(ports, peer);
    if (!is_within(client, &budget, env_body_len(env))) {
        refuse_for_budget(client, &budget, env);
        return;
    }
    client->n_refused = 0;
    client->refused_bytes = 0;
    believe(peer, env);
    give_to_router(client, request_new(client, &inner, env), env_p);
}

/* ---- CANCEL, CREDIT ---- */

static void
take_about(struct ports_client *client, struct env **env_p)
{
    struct ports *ports = client->ports;
    struct env_id inner = inner_id(client, &(*env_p)->id);
    if (find_request(client, &inner) == NULL) {
        ports_count(&ports->options.counters->late); /* its END is on the way */
        return;
    }
    (*env_p)->id = inner;
    (*env_p)->attempt = 0;
    if (bus_send_as(ports->me, client->addr, ports_router_of(ports, &inner), env_p, NULL) != 0) {
        ports_count(&ports->options.counters->late); /* the routers have stopped */
    }
}

/* ---- GOODBYE ---- */

static void
client_gone(struct ports_client *client, struct bus_peer *peer, struct env **env_p)
{
    struct ports *ports = client->ports;
    if (client->n_requests > 0) {
        ports_tell_all(ports, client->addr, env_p);
    }
    ports_client_free(client);
    ports_node_left(ports, peer->addr);
    peer->user = NULL;
}

/* ---- both ways ---- */

static void
on_client(void *self, struct bus_peer *peer, struct env **env_p)
{
    struct ports *ports = self;
    const struct env *env = *env_p;
    struct ports_client *client = client_of(ports, peer);
    if (env->kind == ENV_REQUEST) {
        take_request(client, peer, env_p);
    } else if (env->kind == ENV_CANCEL || env->kind == ENV_CREDIT) {
        take_about(client, env_p);
    } else if (env->kind == ENV_EVENT && peer->role == BUS_ROLE_EDGE) {
        ports_publish(ports, peer->addr, env_p);
    } else if (env->kind == ENV_CONFIG && peer->role == BUS_ROLE_ADMIN) {
        ports_take_config(ports, peer, env_p);
    } else if (env->kind == ENV_ACK && peer->role == BUS_ROLE_EDGE) {
        ports_take_ack(ports, env_p);
    } else if (env->kind == ENV_READY && peer->role == BUS_ROLE_EDGE) {
        ports_node_joined(ports, peer);
    } else if (env->kind == ENV_EVENT || env->kind == ENV_CONFIG || env->kind == ENV_ACK) {
        tell_to_go(ports, peer->addr, "role");
    } else if (env->kind == ENV_GOODBYE && !dyn_slice_is(env->reason, "drain")) {
        client_gone(client, peer, env_p);
    }
}

/* It has ended, also for connections that it was taken over from: they get nothing more. Who asked later has
 * not been looked at when this END was sent. */
static void
free_with_older(const struct ports *ports, const struct ports_request *ended)
{
    uint64_t number = ended->number;
    struct env_map_node *node = env_map_find(&ports->by_id, &ended->node.id);
    struct ports_request *next;
    for (struct ports_request *request = DYN_CONTAINER_OF(node, struct ports_request, node); request != NULL;
         request = next) {
        next = request->other;
        if (request->number <= number) {
            ports_request_free(request);
        }
    }
}

/* An answer on its way to the peer: the id becomes its own again, and an END makes room in its budget. What
 * the port itself refuses was never in flight. */
static void
on_sending(void *self, struct bus_peer *peer, struct env *env)
{
    const struct ports *ports = self;
    const struct ports_client *client = peer->user;
    bool is_answer = env->kind == ENV_CHUNK || env->kind == ENV_END || env->kind == ENV_DISPATCHED;
    if (client == NULL || !is_answer || env->from == bus_actor_addr(ports->me)) {
        return;
    }
    struct ports_request *request = find_request(client, &env->id);
    if (request == NULL) {
        return;
    }
    env->id = request->own;
    if (env->kind == ENV_END && env->error == ERR_DUPLICATE_ID) {
        ports_request_free(request); /* the first goes on */
    } else if (env->kind == ENV_END) {
        free_with_older(ports, request);
    }
}

static void
say_ready(void *self, struct env *ready)
{
    const struct ports *ports = self;
    ready->role = DYN_SLICE("router");
    ready->requests = ports->options.requests_max;
    ready->request_bytes = ports->options.request_bytes_max;
}

void
ports_end_all(struct ports *ports, enum err_code error)
{
    while (!dyn_list_is_empty(&ports->requests)) {
        struct ports_request *request = DYN_CONTAINER_OF(ports->requests.next, struct ports_request, link);
        bus_addr_t peer = request->client->addr;
        struct env *cancel = env_new(ENV_CANCEL);
        cancel->id = request->node.id;
        cancel->epoch = request->epoch;
        cancel->reason = DYN_SLICE("draining");
        struct env about = {.id = request->own, .epoch = request->epoch};
        if (bus_send_as(ports->me, peer, ports_router_of(ports, &cancel->id), &cancel, NULL) != 0) {
            env_free(&cancel);
        }
        refuse(ports, peer, &about, error, NULL);
        ports_request_free(request);
    }
}

const struct bus_remote_ops ports_client_ops = {
    .receive = on_client,
    .sending = on_sending,
    .ready = say_ready,
};
