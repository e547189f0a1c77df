/* The ports of a router's process between peers and routers that the test plays: which router gets what,
 * whose ids mean what, who may say what, and what is refused. */
#include "tests/unit/router/ports_hub.h"

struct sent {
    struct hub *hub;
    struct remote_peer *peer;
    struct env *env;
};

static void
send_on_loop(void *arg)
{
    struct sent *sent = arg;
    ports_worker_ops.sending(&sent->hub->ports, &sent->peer->peer, sent->env);
}

/* From the router of a cell to a worker, as its connection does it. */
static void
router_asks(struct hub *hub, size_t router, size_t peer, uint8_t number)
{
    struct env *request = request_of(number, 0);
    request->attempt = 1;
    stage_send(&hub->stage, &hub->routers[router], hub->peers[peer].peer.addr, request);
    struct sent sent = {hub, &hub->peers[peer], extra_take(&hub->peers[peer].actor, ENV_REQUEST)};
    stage_do(&hub->stage, send_on_loop, &sent);
}

static struct env *
of_attempt(enum env_kind kind, uint8_t number, uint32_t attempt)
{
    struct env *env = about(kind, number);
    env->attempt = attempt;
    return env;
}

/* An edge of this process gives its requests to the router of its own cell, whatever their ids. */
static void
a_worker_s_answer_goes_to_the_router_that_asked(void **state)
{
    (void)state;
    struct hub *hub = hub_new(BUS_ROLE_WORKER, NULL);
    for (uint8_t number = 1; number <= 9; number++) {
        for (size_t router = 0; router < ROUTERS; router++) {
            router_asks(hub, router, 1, number);
            worker_says(hub, 1, of_attempt(ENV_CHUNK, number, 1));
            worker_says(hub, 1, of_attempt(ENV_END, number, 2)); /* of another attempt */
            worker_says(hub, 0, of_attempt(ENV_END, number, 1)); /* of another worker */
            worker_says(hub, 1, of_attempt(ENV_END, number, 1));
            (void)extra_take(&hub->routers[router], ENV_CHUNK);
            for (int i = 0; i < 3; i++) {
                (void)extra_take(&hub->routers[router], ENV_END);
            }
            routers_have_nothing(hub);
        }
    }
    assert_int_equal(hub->ports.calls.n, 0);
    router_asks(hub, 0, 1, 1);
    router_asks(hub, 1, 1, 2);
    router_asks(hub, 2, 1, 3);
    assert_true(hub->ports.calls.n > 0); /* not all of them are where their ids lead */
    worker_says(hub, 1, about(ENV_GOODBYE, 0));
    assert_int_equal(hub->ports.calls.n, 0);
    for (size_t router = 0; router < ROUTERS; router++) {
        (void)extra_take(&hub->routers[router], ENV_GOODBYE);
    }
    hub_free(hub);
}

/* ---- which router ---- */

static void
a_request_and_all_about_it_go_to_one_router(void **state)
{
    (void)state;
    struct hub *hub = hub_new(BUS_ROLE_EDGE, NULL);
    unsigned busy = 0;
    for (uint8_t number = 1; number <= 9; number++) {
        client_says(hub, 0, request_of(number, 10));
        struct extra *router = router_with_mail(hub);
        struct env *request = extra_take(router, ENV_REQUEST);
        assert_int_equal(request->from, hub->peers[0].peer.addr);
        assert_int_equal(request->id.bytes[0], number); /* an edge's ids are unique as they are */
        client_says(hub, 0, about(ENV_CREDIT, number));
        assert_int_equal(extra_take(router, ENV_CREDIT)->from, hub->peers[0].peer.addr);
        client_says(hub, 0, about(ENV_CANCEL, number));
        (void)extra_take(router, ENV_CANCEL);
        worker_says(hub, 1, about(ENV_DISPATCHED, number));
        worker_says(hub, 1, about(ENV_CHUNK, number));
        worker_says(hub, 1, about(ENV_END, number));
        (void)extra_take(router, ENV_DISPATCHED);
        assert_int_equal(extra_take(router, ENV_CHUNK)->from, hub->peers[1].peer.addr);
        (void)extra_take(router, ENV_END);
    }
    for (size_t i = 0; i < ROUTERS; i++) {
        busy += hub->routers[i].n_got > 0;
    }
    assert_int_equal(busy, ROUTERS);
    hub_free(hub);
}

/* ---- ids ---- */

static struct env_id
inner_id_of(struct hub *hub, size_t peer, uint8_t number)
{
    client_says(hub, peer, request_of(number, 1));
    return routers_take(hub, ENV_REQUEST)->id;
}

static void
a_client_s_ids_are_its_key_s(void **state)
{
    (void)state;
    struct hub *hub = hub_new(BUS_ROLE_CLIENT, KEY_A);
    struct env_id first = inner_id_of(hub, 0, 1);
    struct env_id other = inner_id_of(hub, 0, 2);
    struct env_id same = inner_id_of(hub, 1, 1); /* another connection with the same key */
    assert_int_not_equal(first.bytes[0], 1);
    assert_false(env_id_eq(&first, &other));
    assert_true(env_id_eq(&first, &same));
    hub_free(hub);

    hub = hub_new(BUS_ROLE_CLIENT, KEY_B);
    struct env_id of_b = inner_id_of(hub, 0, 1);
    assert_false(env_id_eq(&first, &of_b));
    hub_free(hub);

    hub = hub_new(BUS_ROLE_CLIENT, NULL); /* who has no key is its connection */
    struct env_id one = inner_id_of(hub, 0, 1);
    struct env_id two = inner_id_of(hub, 1, 1);
    assert_false(env_id_eq(&one, &two));
    hub_free(hub);
}

static void
a_client_gets_its_own_id_back(void **state)
{
    (void)state;
    struct hub *hub = hub_new(BUS_ROLE_CLIENT, KEY_A);
    struct env *asked = request_of(7, 10);
    asked->epoch = 4;
    client_says(hub, 0, asked);
    struct env *request = routers_take(hub, ENV_REQUEST);
    assert_int_equal(request->epoch, 4);
    router_answers(hub, request, env_new(ENV_DISPATCHED));
    router_answers(hub, request, env_new(ENV_CHUNK));
    assert_int_equal(client_gets(hub, 0, ENV_DISPATCHED)->id.bytes[15], 7);
    assert_int_equal(client_gets(hub, 0, ENV_CHUNK)->id.bytes[15], 7);
    client_says(hub, 0, about(ENV_CREDIT, 7));
    struct env *credit = routers_take(hub, ENV_CREDIT);
    assert_true(env_id_eq(&credit->id, &request->id));
    router_answers(hub, request, end_with(ERR_NONE));
    assert_int_equal(client_gets(hub, 0, ENV_END)->id.bytes[15], 7);
    assert_int_equal(hub->ports.n_requests, 0);
    client_says(hub, 0, about(ENV_CANCEL, 7)); /* crossed the END */
    client_says(hub, 0, about(ENV_CREDIT, 99));
    routers_have_nothing(hub);
    assert_int_equal(atomic_load(&hub->ports.options.counters->late), 2);
    hub_free(hub);
}

/* Over the same connection it is refused, over another one the router compares; neither ends the first. */
static void
a_repeated_id_does_not_end_the_first(void **state)
{
    (void)state;
    struct hub *hub = hub_new(BUS_ROLE_CLIENT, KEY_A);
    client_says(hub, 0, request_of(7, 10));
    struct env *first = routers_take(hub, ENV_REQUEST);
    client_says(hub, 0, request_of(7, 20));
    assert_refused(hub, 0, 7, ERR_DUPLICATE_ID);
    client_says(hub, 1, request_of(7, 20)); /* the same key over another connection */
    struct env *second = routers_take(hub, ENV_REQUEST);
    assert_true(env_id_eq(&first->id, &second->id));
    router_answers(hub, second, end_with(ERR_DUPLICATE_ID));
    assert_int_equal(client_gets(hub, 1, ENV_END)->id.bytes[0], 7);
    router_answers(hub, first, env_new(ENV_CHUNK));
    assert_int_equal(client_gets(hub, 0, ENV_CHUNK)->id.bytes[0], 7);
    router_answers(hub, first, end_with(ERR_NONE));
    assert_int_equal(client_gets(hub, 0, ENV_END)->id.bytes[0], 7);
    assert_int_equal(hub->ports.n_requests, 0);
    hub_free(hub);
}

/* Whoever asked last gets the answer; with it the request is over for the other one, too. */
static void
a_request_that_was_taken_over_ends_for_both(void **state)
{
    (void)state;
    struct hub *hub = hub_new(BUS_ROLE_CLIENT, KEY_A);
    client_says(hub, 0, request_of(7, 10));
    (void)routers_take(hub, ENV_REQUEST);
    client_says(hub, 1, request_of(7, 10));
    struct env *second = routers_take(hub, ENV_REQUEST);
    assert_int_equal(second->from, hub->peers[1].peer.addr);
    assert_int_equal(hub->ports.n_requests, 2);
    router_answers(hub, second, end_with(ERR_NONE));
    assert_int_equal(client_gets(hub, 1, ENV_END)->id.bytes[0], 7);
    assert_int_equal(hub->ports.n_requests, 0);
    assert_int_equal(hub->ports.by_id.n, 0);

    client_says(hub, 0, request_of(8, 10));
    (void)routers_take(hub, ENV_REQUEST);
    client_says(hub, 1, request_of(8, 10));
    second = routers_take(hub, ENV_REQUEST);
    struct env *lost = env_new(ENV_GOODBYE);
    lost->reason = DYN_SLICE("lost");
    client_says(hub, 0, lost); /* only its own is over */
    (void)routers_take(hub, ENV_GOODBYE);
    assert_int_equal(hub->ports.n_requests, 1);
    hub->routers[0].n_taken = hub->routers[0].n_got;
    hub->routers[1].n_taken = hub->routers[1].n_got;
    hub->routers[2].n_taken = hub->routers[2].n_got;
    router_answers(hub, second, end_with(ERR_NONE));
    assert_int_equal(client_gets(hub, 1, ENV_END)->id.bytes[0], 8);
    assert_int_equal(hub->ports.n_requests, 0);
    hub_free(hub);
}

/* The END of the first was on its way when somebody asked again: the router makes a new request of that. */
static void
an_end_that_crosses_a_repeat_is_the_first_one_s(void **state)
{
    (void)state;
    struct hub *hub = hub_new(BUS_ROLE_CLIENT, KEY_A);
    client_says(hub, 0, request_of(7, 10));
    struct env *first = routers_take(hub, ENV_REQUEST);
    router_answers(hub, first, end_with(ERR_NONE));
    client_says(hub, 1, request_of(7, 10));
    struct env *second = routers_take(hub, ENV_REQUEST);
    assert_int_equal(client_gets(hub, 0, ENV_END)->id.bytes[0], 7);
    assert_int_equal(hub->ports.n_requests, 1);
    router_answers(hub, second, env_new(ENV_CHUNK));
    router_answers(hub, second, end_with(ERR_NONE));
    assert_int_equal(client_gets(hub, 1, ENV_CHUNK)->id.bytes[0], 7);
    assert_int_equal(client_gets(hub, 1, ENV_END)->id.bytes[0], 7);
    assert_int_equal(hub->ports.n_requests, 0);
    hub_free(hub);
}

/* ---- who may say what ---- */

static struct env *
boastful_request(void)
{
    struct env *request = request_of(1, 1);
    request->attempt = 3;
    request->attempts_left = 9;
    request->target = DYN_SLICE("t");
    request->upstream_model = DYN_SLICE("u");
    request->attach = true;
    request->peer = DYN_SLICE("10.0.0.1:5");
    request->refuse = ERR_NOT_FOUND;
    request->worker = DYN_SLICE("w");
    request->worker_attempt = 2;
    request->worker_epoch = 2;
    request->redelivered = 2;
    request->track = true;
    request->redeliver = DYN_SLICE("never");
    return request;
}

static void
an_edge_is_believed_and_a_client_is_not(void **state)
{
    (void)state;
    static const enum bus_role roles[] = {BUS_ROLE_EDGE, BUS_ROLE_CLIENT, BUS_ROLE_ADMIN};
    for (size_t i = 0; i < DYN_ARRAY_LEN(roles); i++) {
        struct hub *hub = hub_new(roles[i], KEY_A);
        bool is_edge = roles[i] == BUS_ROLE_EDGE;
        hub->peers[0].peer.key_name = DYN_SLICE("alice");
        client_says(hub, 0, boastful_request());
        struct env *request = routers_take(hub, ENV_REQUEST);
        assert_int_equal(request->attempt, 0);
        assert_int_equal(request->attempts_left, 0);
        assert_int_equal(request->target.len + request->upstream_model.len, 0);
        assert_false(request->attach);
        assert_slice_is(request->credential, "k");
        assert_slice_is(request->redeliver, "never");
        assert_slice_is(request->peer, is_edge ? "10.0.0.1:5" : "alice");
        assert_int_equal(request->refuse, is_edge ? ERR_NOT_FOUND : ERR_NONE);
        assert_int_equal(request->worker.len, is_edge ? 1 : 0);
        assert_int_equal(request->worker_attempt, is_edge ? 2 : 0);
        assert_int_equal(request->worker_epoch, is_edge ? 2 : 0);
        assert_int_equal(request->redelivered, is_edge ? 2 : 0);
        hub_free(hub);
    }
}

static struct env *
events_request(const char *credential)
{
    struct env *request = request_of(1, 0);
    request->surface = ENV_SURFACE_EVENTS;
    request->since = 42;
    request->credential = dyn_slice_str(credential);
    return request;
}

static void
events_are_asked_of_the_publisher(void **state)
{
    (void)state;
    static const struct {
        enum bus_role role;
        const char *key;
        const char *credential;
        enum err_code refused;
    } rows[] = {
        {BUS_ROLE_SUBSCRIBER, KEY_A, NULL, ERR_NONE},
        {BUS_ROLE_EDGE, KEY_A, NULL, ERR_NONE},
        {BUS_ROLE_CLIENT, KEY_A, NULL, ERR_MISSING_API_KEY},
        {BUS_ROLE_CLIENT, KEY_A, "master", ERR_NONE},
        {BUS_ROLE_SUBSCRIBER, NULL, NULL, ERR_MISSING_API_KEY}, /* anyone can say that of himself */
        {BUS_ROLE_SUBSCRIBER, NULL, "wrong", ERR_INVALID_API_KEY},
    };
    for (size_t i = 0; i < DYN_ARRAY_LEN(rows); i++) {
        struct hub *hub = hub_new(rows[i].role, rows[i].key);
        client_says(hub, 0, events_request(rows[i].credential));
        if (rows[i].refused != ERR_NONE) {
            assert_refused(hub, 0, 1, rows[i].refused);
        } else {
            struct env *request = extra_take(&hub->publisher, ENV_REQUEST);
            assert_int_equal(request->since, 42);
            router_answers(hub, request, end_with(ERR_NONE));
            assert_int_equal(client_gets(hub, 0, ENV_END)->id.bytes[0], 1);
        }
        assert_int_equal(hub->ports.n_requests, 0);
        hub_free(hub);
    }
}

static void
a_subscriber_asks_for_nothing_else(void **state)
{
    (void)state;
    struct hub *hub = hub_new(BUS_ROLE_SUBSCRIBER, KEY_A);
    client_says(hub, 0, request_of(3, 10));
    assert_refused(hub, 0, 3, ERR_INVALID_REQUEST);
    hub_free(hub);
}

static void
events_of_edges_and_workers_are_published(void **state)
{
    (void)state;
    struct hub *hub = hub_new(BUS_ROLE_EDGE, NULL);
    client_says(hub, 0, about(ENV_EVENT, 0));
    worker_says(hub, 1, about(ENV_EVENT, 0));
    (void)extra_take(&hub->publisher, ENV_EVENT);
    (void)extra_take(&hub->publisher, ENV_EVENT);
    hub_free(hub);
    hub = hub_new(BUS_ROLE_CLIENT, NULL);
    client_says(hub, 0, about(ENV_EVENT, 0));
    extra_has_nothing(&hub->publisher);
    assert_slice_is(client_gets(hub, 0, ENV_GOODBYE)->reason, "role");
    hub_free(hub);
}

/* ---- budgets ---- */

static void
beyond_its_budget_a_peer_is_refused_and_then_told_to_go(void **state)
{
    (void)state;
    struct ports_options options = {.requests_max = 3, .request_bytes_max = 1000};
    struct hub *hub = hub_new_with(BUS_ROLE_CLIENT, KEY_A, options, 0);
    hub->peers[0].peer.is_ready = true;
    struct env *first = NULL;
    for (uint8_t number = 1; number <= 3; number++) {
        client_says(hub, 0, request_of(number, 10));
        struct env *request = routers_take(hub, ENV_REQUEST);
        first = first != NULL ? first : request;
    }
    client_says(hub, 0, request_of(4, 10));
    assert_refused(hub, 0, 4, ERR_SATURATED);
    router_answers(hub, first, end_with(ERR_NONE));
    (void)client_gets(hub, 0, ENV_END);
    client_says(hub, 0, request_of(5, 981)); /* bytes, though there is room for one more */
    assert_refused(hub, 0, 5, ERR_SATURATED);
    client_says(hub, 0, request_of(6, 980));
    (void)routers_take(hub, ENV_REQUEST);
    for (uint8_t number = 7; number <= 9; number++) {
        client_says(hub, 0, request_of(number, 10));
        assert_refused(hub, 0, number, ERR_SATURATED);
    }
    client_says(hub, 0, request_of(10, 10));
    assert_slice_is(client_gets(hub, 0, ENV_GOODBYE)->reason, "limit");
    client_says(hub, 1, request_of(1, 10)); /* another connection has a budget of its own */
    (void)routers_take(hub, ENV_REQUEST);
    hub_free(hub);
}

static void
with_nothing_in_flight_any_size_is_taken(void **state)
{
    (void)state;
    struct ports_options options = {.requests_max = 3, .request_bytes_max = 1000};
    struct hub *hub = hub_new_with(BUS_ROLE_CLIENT, KEY_A, options, 0);
    hub->peers[0].peer.is_ready = true;
    client_says(hub, 0, request_of(1, 5000));
    (void)routers_take(hub, ENV_REQUEST);
    hub_free(hub);
}

struct crowd {
    struct said said;
    struct env *other;
    bus_addr_t router;
};

static void
say_beside_other_mail(void *arg)
{
    struct crowd *crowd = arg;
    struct hub *hub = crowd->said.hub;
    CHECK(bus_send(hub->routers[0].me, crowd->router, &crowd->other, NULL) == 0);
    say_on_loop(&crowd->said);
}

static void
what_a_router_cannot_take_is_refused(void **state)
{
    (void)state;
    struct hub *hub = hub_new_with(BUS_ROLE_EDGE, NULL, (struct ports_options){.process = NULL}, 2000);
    struct env *request = request_of(1, 1000);
    bus_addr_t router = ports_router_of(&hub->ports, &request->id);
    struct crowd crowd = {{hub, &ports_client_ops, &hub->peers[0], request}, request_of(9, 1900), router};
    stage_do(&hub->stage, say_beside_other_mail, &crowd);
    assert_int_equal(routers_take(hub, ENV_REQUEST)->id.bytes[0], 9);
    assert_refused(hub, 0, 1, ERR_SATURATED);
    assert_int_equal(hub->ports.n_requests, 0);
    hub_free(hub);
}

/* A hole in an answer ends it, at both ends. */
static void
a_chunk_that_a_router_cannot_take_ends_its_attempt(void **state)
{
    (void)state;
    struct hub *hub = hub_new_with(BUS_ROLE_WORKER, NULL, (struct ports_options){.process = NULL}, 2000);
    struct env *chunk = request_of(1, 1000);
    chunk->kind = ENV_CHUNK;
    chunk->surface = ENV_SURFACE_NONE;
    chunk->attempt = 2;
    chunk->epoch = 1;
    bus_addr_t router = ports_router_of(&hub->ports, &chunk->id);
    struct crowd crowd = {{hub, &ports_worker_ops, &hub->peers[0], chunk}, request_of(9, 1900), router};
    stage_do(&hub->stage, say_beside_other_mail, &crowd);
    assert_int_equal(routers_take(hub, ENV_REQUEST)->id.bytes[0], 9);
    struct env *end = routers_take(hub, ENV_END);
    assert_int_equal(end->error, ERR_SATURATED);
    assert_int_equal(end->attempt, 2);
    assert_int_equal(end->epoch, 1);
    assert_int_equal(end->from, hub->peers[0].peer.addr);
    struct env *cancel = extra_take(&hub->peers[0].actor, ENV_CANCEL);
    assert_int_equal(cancel->attempt, 2);
    assert_int_equal(cancel->epoch, 1);
    hub_free(hub);
}

/* ---- who comes and goes ---- */

static void
all_routers_hear_of_workers(void **state)
{
    (void)state;
    struct hub *hub = hub_new(BUS_ROLE_WORKER, NULL);
    struct env *ready = env_new(ENV_READY);
    ready->worker = DYN_SLICE("w-0");
    ready->role = DYN_SLICE("worker");
    ready->node = DYN_SLICE("n");
    ready->config_hash = DYN_SLICE("h");
    ready->requests = 5;
    ready->request_bytes = 6;
    ready->body = dyn_block_copy(0, DYN_SLICE("map"));
    dyn_block_t *body = dyn_block_ref(ready->body);
    worker_says(hub, 0, ready);
    struct env *goodbye = env_new(ENV_GOODBYE);
    goodbye->reason = DYN_SLICE("drain");
    worker_says(hub, 0, goodbye);
    for (size_t i = 0; i < ROUTERS; i++) {
        struct env *told = extra_take(&hub->routers[i], ENV_READY);
        assert_int_equal(told->from, hub->peers[0].peer.addr);
        assert_slice_is(told->worker, "w-0");
        assert_slice_is(told->role, "worker");
        assert_slice_is(told->node, "n");
        assert_slice_is(told->config_hash, "h");
        assert_int_equal(told->requests, 5);
        assert_int_equal(told->request_bytes, 6);
        assert_ptr_equal(told->body, body);
        assert_slice_is(extra_take(&hub->routers[i], ENV_GOODBYE)->reason, "drain");
    }
    dyn_block_unref(&body);
    hub_free(hub);
}

static void
all_routers_hear_of_a_lost_owner(void **state)
{
    (void)state;
    struct hub *hub = hub_new(BUS_ROLE_EDGE, NULL);
    struct env *ready = env_new(ENV_READY);
    struct env *drain = env_new(ENV_GOODBYE);
    client_says(hub, 0, ready);
    client_says(hub, 0, request_of(1, 10));
    (void)routers_take(hub, ENV_REQUEST);
    drain->reason = DYN_SLICE("drain");
    client_says(hub, 0, drain);
    routers_have_nothing(hub);
    assert_int_equal(hub->ports.n_requests, 1);
    struct env *lost = env_new(ENV_GOODBYE);
    lost->reason = DYN_SLICE("lost");
    client_says(hub, 0, lost);
    for (size_t i = 0; i < ROUTERS; i++) {
        struct env *told = extra_take(&hub->routers[i], ENV_GOODBYE);
        assert_int_equal(told->from, hub->peers[0].peer.addr);
        assert_slice_is(told->reason, "lost");
    }
    assert_int_equal(hub->ports.n_requests, 0);
    assert_null(hub->peers[0].peer.user);
    struct env *close = env_new(ENV_GOODBYE);
    close->reason = DYN_SLICE("close");
    client_says(hub, 1, close); /* had nothing in flight */
    routers_have_nothing(hub);
    hub_free(hub);
}

/* ---- draining ---- */

static void *
drain_in_thread(void *arg)
{
    struct hub *hub = arg;
    return bus_stop(hub->stage.bus, 20000) == 0 ? hub : NULL; /* how many were not idle */
}

struct drain_seen {
    struct hub *hub;
    bool has_begun;
};

static void
look_at_drain(void *arg)
{
    struct drain_seen *seen = arg;
    seen->has_begun = seen->hub->ports.idle_from_us != 0;
}

static bool
drain_has_begun(struct hub *hub)
{
    struct drain_seen seen = {.hub = hub};
    stage_do(&hub->stage, look_at_drain, &seen);
    return seen.has_begun;
}

static void
a_drain_ends_with_the_last_request(void **state)
{
    (void)state;
    struct hub *hub = hub_new(BUS_ROLE_EDGE, NULL);
    pthread_t thread;
    void *ended_well = NULL;
    client_says(hub, 0, request_of(1, 10));
    struct env *request = routers_take(hub, ENV_REQUEST);
    assert_int_equal(pthread_create(&thread, NULL, drain_in_thread, hub), 0);
    while (!drain_has_begun(hub)) {
    }
    client_says(hub, 0, request_of(2, 10)); /* crossed our GOODBYE */
    struct env *crossed = routers_take(hub, ENV_REQUEST);
    router_answers(hub, crossed, end_with(ERR_NONE));
    (void)client_gets(hub, 0, ENV_END);
    router_answers(hub, request, end_with(ERR_NONE));
    (void)client_gets(hub, 0, ENV_END);
    (void)atomic_fetch_add(&hub->stage.now_us, (PORTS_DRAIN_GRACE_MS + PORTS_DRAIN_LOOK_MS) * 1000);
    assert_int_equal(pthread_join(thread, &ended_well), 0);
    assert_ptr_equal(ended_well, hub);
    bus_free(&hub->stage.bus);
    hub_free_stopped(hub);
}

static void
end_all_on_loop(void *arg)
{
    ports_end_all(&((struct hub *)arg)->ports, ERR_DRAINING);
}

/* At the end of the drain time owners are told to ask somebody else. */
static void
what_is_left_is_handed_back(void **state)
{
    (void)state;
    struct hub *hub = hub_new(BUS_ROLE_EDGE, NULL);
    for (uint8_t number = 1; number <= 2; number++) {
        struct env *request = request_of(number, 10);
        request->epoch = number;
        client_says(hub, 0, request);
        (void)routers_take(hub, ENV_REQUEST);
    }
    stage_do(&hub->stage, end_all_on_loop, hub);
    for (uint8_t number = 1; number <= 2; number++) {
        struct env *cancel = routers_take(hub, ENV_CANCEL);
        assert_int_equal(cancel->from, hub->peers[0].peer.addr);
        struct env *end = client_gets(hub, 0, ENV_END);
        assert_int_equal(end->error, ERR_DRAINING);
        assert_int_equal(end->epoch, number);
        assert_int_equal(end->id.bytes[0], number);
    }
    assert_int_equal(hub->ports.n_requests, 0);
    hub_free(hub);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_and_all_about_it_go_to_one_router),
        cmocka_unit_test(a_worker_s_answer_goes_to_the_router_that_asked),
        cmocka_unit_test(a_client_s_ids_are_its_key_s),
        cmocka_unit_test(a_client_gets_its_own_id_back),
        cmocka_unit_test(a_repeated_id_does_not_end_the_first),
        cmocka_unit_test(a_request_that_was_taken_over_ends_for_both),
        cmocka_unit_test(an_end_that_crosses_a_repeat_is_the_first_one_s),
        cmocka_unit_test(an_edge_is_believed_and_a_client_is_not),
        cmocka_unit_test(events_are_asked_of_the_publisher),
        cmocka_unit_test(a_subscriber_asks_for_nothing_else),
        cmocka_unit_test(events_of_edges_and_workers_are_published),
        cmocka_unit_test(beyond_its_budget_a_peer_is_refused_and_then_told_to_go),
        cmocka_unit_test(with_nothing_in_flight_any_size_is_taken),
        cmocka_unit_test(what_a_router_cannot_take_is_refused),
        cmocka_unit_test(a_chunk_that_a_router_cannot_take_ends_its_attempt),
        cmocka_unit_test(all_routers_hear_of_workers),
        cmocka_unit_test(all_routers_hear_of_a_lost_owner),
        cmocka_unit_test(a_drain_ends_with_the_last_request),
        cmocka_unit_test(what_is_left_is_handed_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
