/* The owner between an edge and routers that the test plays: who gets a request, when it is sent again, and
 * what the edge is told when a router is lost. */
#include "tests/unit/edge/owner_hub.h"

/* ---- the way there and back ---- */

/* One copy of the envelope for each sending, none of the body; the credential goes along. */
static void
a_request_goes_to_a_router_and_its_answer_comes_back(void **state)
{
    (void)state;
    struct hub *hub = hub_new();
    router_joins(hub, 0);
    struct env *asked = request_of(1, 100);
    dyn_block_t *body = dyn_block_ref(asked->body);
    edge_sends(hub, asked);
    struct env *sent = extra_take(&hub->routers[0], ENV_REQUEST);
    assert_ptr_equal(sent->body, body);
    assert_slice_is(sent->credential, "secret");
    assert_slice_is(sent->dialect, "openai_chat");
    assert_true(sent->track);
    assert_int_equal(sent->epoch, 0);
    assert_int_equal(sent->credit, WINDOW);
    assert_int_equal(sent->deadline_ms, 0);
    assert_int_equal(sent->worker.len, 0);
    router_says(hub, 0, dispatched_of(sent, "w-0", false));
    extra_has_nothing(&hub->edge);
    router_says(hub, 0, dispatched_of(sent, "w-0", true));
    assert_true(extra_take(&hub->edge, ENV_DISPATCHED)->stream);
    router_says(hub, 0, chunk_of(sent, 0, true, 7));
    assert_int_equal(env_body_len(extra_take(&hub->edge, ENV_CHUNK)), 7);
    edge_credits(hub, 1, 4000);
    assert_int_equal(extra_take(&hub->routers[0], ENV_CREDIT)->credit, 4000);
    struct env *end = end_of(sent, ERR_NONE);
    end->redelivered = 3; /* workers that the router has lost */
    router_says(hub, 0, end);
    assert_int_equal(extra_take(&hub->edge, ENV_END)->redelivered, 3);
    assert_int_equal(hub->owner.requests.n, 0);
    assert_int_equal(count_of(&hub->owner.options.counters->sent), 1);
    dyn_block_unref(&body);
    hub_free(hub);
}

static void
requests_go_where_fewest_are_in_flight(void **state)
{
    (void)state;
    struct hub *hub = hub_new();
    router_joins(hub, 0);
    router_joins(hub, 1);
    edge_asks(hub, 1);
    edge_asks(hub, 2);
    struct env *first = extra_take(&hub->routers[0], ENV_REQUEST);
    struct env *second = extra_take(&hub->routers[1], ENV_REQUEST);
    router_says(hub, 1, end_of(second, ERR_NONE));
    edge_asks(hub, 3);
    struct env *third = extra_take(&hub->routers[1], ENV_REQUEST);
    router_says(hub, 0, end_of(first, ERR_NONE));
    router_says(hub, 1, end_of(third, ERR_NONE));
    edge_asks(hub, 4); /* of equals the one whose turn is longest ago */
    (void)extra_take(&hub->routers[0], ENV_REQUEST);
    hub_free(hub);
}

static void
a_draining_router_gets_nothing_new_and_finishes_what_it_has(void **state)
{
    (void)state;
    struct hub *hub = hub_new();
    router_joins(hub, 0);
    edge_asks(hub, 1);
    struct env *first = extra_take(&hub->routers[0], ENV_REQUEST);
    router_joins(hub, 1);
    router_says_goodbye(hub, 0, "drain");
    edge_asks(hub, 2);
    edge_asks(hub, 3);
    (void)extra_take(&hub->routers[1], ENV_REQUEST);
    (void)extra_take(&hub->routers[1], ENV_REQUEST);
    extra_has_nothing(&hub->routers[0]);
    router_says(hub, 0, end_of(first, ERR_NONE));
    assert_int_equal(extra_take(&hub->edge, ENV_END)->outcome, ENV_OUTCOME_OK);
    router_says_goodbye(hub, 0, "close");
    extra_has_nothing(&hub->edge);
    hub_free(hub);
}

/* Not heard of for a while: it may be dying, so whoever else there is comes first. */
static void
a_late_router_is_asked_when_there_is_no_other(void **state)
{
    (void)state;
    struct hub *hub = hub_new();
    router_joins(hub, 0);
    struct env *late = env_new(ENV_HEARTBEAT);
    late->reason = DYN_SLICE("late");
    router_says(hub, 0, late);
    edge_asks(hub, 1);
    (void)extra_take(&hub->routers[0], ENV_REQUEST);
    router_joins(hub, 1);
    for (uint8_t number = 2; number < 5; number++) {
        edge_asks(hub, number);
        (void)extra_take(&hub->routers[1], ENV_REQUEST);
    }
    router_says(hub, 0, env_new(ENV_HEARTBEAT)); /* heard again: the fewest in flight count again */
    edge_asks(hub, 5);
    (void)extra_take(&hub->routers[0], ENV_REQUEST);
    hub_free(hub);
}

/* What a router could not finish in its drain time is asked of another one. */
static void
what_a_draining_router_hands_back_goes_elsewhere(void **state)
{
    (void)state;
    struct hub *hub = hub_new();
    router_joins(hub, 0);
    edge_asks(hub, 1);
    struct env *first = extra_take(&hub->routers[0], ENV_REQUEST);
    router_joins(hub, 1);
    router_says_goodbye(hub, 0, "drain");
    router_says(hub, 0, end_of(first, ERR_DRAINING));
    struct env *again = extra_take(&hub->routers[1], ENV_REQUEST);
    assert_int_equal(again->epoch, 1);
    router_says_goodbye(hub, 0, "close");
    router_says(hub, 1, end_of(again, ERR_NONE));
    assert_int_equal(extra_take(&hub->edge, ENV_END)->outcome, ENV_OUTCOME_OK);
    extra_has_nothing(&hub->edge);
    hub_free(hub);
}

/* ---- no router ---- */

static void
a_request_waits_for_a_router(void **state)
{
    (void)state;
    struct hub *hub = hub_new_with(&(struct owner_options){.request_timeout_ms = 30000}, 0);
    edge_asks(hub, 1);
    edge_asks(hub, 2);
    edge_credits(hub, 1, 1000);
    stage_advance(&hub->stage, OWNER_WAIT_MS - 500);
    extra_has_nothing(&hub->edge);
    router_joins(hub, 1);
    struct env *sent = extra_take(&hub->routers[1], ENV_REQUEST);
    assert_int_equal(sent->id.bytes[0], 1);
    assert_int_equal(sent->epoch, 0);
    assert_int_equal(sent->credit, WINDOW + 1000);
    assert_int_equal(sent->deadline_ms, 28500);
    assert_int_equal(extra_take(&hub->routers[1], ENV_REQUEST)->id.bytes[0], 2);
    assert_int_equal(hub->owner.waiting_bytes, 0);
    stage_advance(&hub->stage, OWNER_WAIT_MS);
    extra_has_nothing(&hub->edge);
    hub_free(hub);
}

/* Routers that come, and have no room left, do not prolong it. */
static void
it_waits_no_longer_for_routers_that_come(void **state)
{
    (void)state;
    struct hub *hub = hub_new();
    edge_asks(hub, 1);
    edge_asks(hub, 2);
    stage_advance(&hub->stage, OWNER_WAIT_MS - 500);
    router_joins_with(hub, 0, 1, 0);
    assert_int_equal(extra_take(&hub->routers[0], ENV_REQUEST)->id.bytes[0], 1);
    stage_advance(&hub->stage, 501);
    assert_ended_with(hub, ERR_SATURATED);
    assert_int_equal(hub->owner.waiting_bytes, 0);
    hub_free(hub);
}

/* Before the timer is looked at. */
static void
a_router_joins_too_late(void *arg)
{
    struct hub *hub = arg;
    struct env *ready = env_new(ENV_READY);
    hub->known[0] = owner_from_peer(&hub->owner, NULL, hub->routers[0].addr, &ready);
    env_free(&ready);
}

/* A deadline of 0 would mean none. */
static void
what_is_over_is_not_sent(void **state)
{
    (void)state;
    struct hub *hub = hub_new();
    struct env *request = request_of(1, 10);
    request->deadline_ms = 1;
    edge_sends(hub, request);
    (void)atomic_fetch_add(&hub->stage.now_us, 1000);
    stage_do(&hub->stage, a_router_joins_too_late, hub);
    extra_has_nothing(&hub->routers[0]);
    assert_ended_with(hub, ERR_GATEWAY_TIMEOUT);
    hub_free(hub);
}

static void
it_does_not_wait_for_ever(void **state)
{
    (void)state;
    struct hub *hub = hub_new();
    edge_asks(hub, 1);
    struct env *hurried = request_of(2, 10);
    hurried->deadline_ms = 300;
    edge_sends(hub, hurried);
    stage_advance(&hub->stage, 301);
    assert_ended_with(hub, ERR_GATEWAY_TIMEOUT);
    extra_has_nothing(&hub->edge);
    stage_advance(&hub->stage, OWNER_WAIT_MS);
    assert_ended_with(hub, ERR_ROUTER_UNREACHABLE);
    assert_int_equal(hub->edge.got[1]->retry_after_s, 1);
    assert_int_equal(hub->owner.requests.n, 0);
    assert_int_equal(hub->owner.waiting_bytes, 0);
    assert_int_equal(count_of(&hub->owner.options.counters->unreachable), 1);
    hub_free(hub);
}

static void
what_waits_is_bounded_in_bytes(void **state)
{
    (void)state;
    struct hub *hub = hub_new();
    size_t half = OWNER_WAITING_MAX / 2;
    edge_sends(hub, request_of(1, half));
    edge_sends(hub, request_of(2, half - 4096));
    extra_has_nothing(&hub->edge);
    edge_sends(hub, request_of(3, 4096));
    assert_ended_with(hub, ERR_ROUTER_UNREACHABLE);
    assert_int_equal(hub->owner.requests.n, 2);
    hub_free(hub);
}

static void
probes_are_answered_when_no_router_is_there(void **state)
{
    (void)state;
    struct hub *hub = hub_new();
    static const enum env_surface surfaces[] = {ENV_SURFACE_READY, ENV_SURFACE_HEALTH};
    for (size_t i = 0; i < DYN_ARRAY_LEN(surfaces); i++) {
        struct env *probe = request_of((uint8_t)(i + 1), 0);
        probe->surface = surfaces[i];
        edge_sends(hub, probe);
        struct env *end = extra_take(&hub->edge, ENV_END);
        assert_int_equal(end->outcome, ENV_OUTCOME_OK);
        assert_int_equal(end->status, 503);
        assert_true(env_body_len(end) > 0);
    }
    hub_free(hub);
}

/* ---- budgets ---- */

static void
a_budget_is_kept_and_what_goes_beyond_is_refused(void **state)
{
    (void)state;
    struct hub *hub = hub_new();
    router_joins_with(hub, 0, 2, 1000);
    edge_sends(hub, request_of(1, 600));
    edge_sends(hub, request_of(2, 401));
    struct env *first = extra_take(&hub->routers[0], ENV_REQUEST);
    extra_has_nothing(&hub->routers[0]);
    assert_ended_with(hub, ERR_SATURATED); /* bytes */
    assert_int_equal(hub->edge.got[0]->retry_after_s, 1);
    edge_sends(hub, request_of(3, 400));
    edge_sends(hub, request_of(4, 0));
    (void)extra_take(&hub->routers[0], ENV_REQUEST);
    assert_ended_with(hub, ERR_SATURATED); /* requests */
    router_joins_with(hub, 1, 1, 10);
    edge_sends(hub, request_of(5, 5000)); /* an idle one takes anything, or it would never go */
    assert_int_equal(extra_take(&hub->routers[1], ENV_REQUEST)->id.bytes[0], 5);
    router_says(hub, 0, end_of(first, ERR_NONE));
    edge_sends(hub, request_of(6, 600));
    assert_int_equal(extra_take(&hub->routers[0], ENV_REQUEST)->id.bytes[0], 6);
    assert_int_equal(count_of(&hub->owner.options.counters->saturated), 2);
    hub_free(hub);
}

struct crowd {
    struct hub *hub;
    struct env *request;
    struct env *other; /* arrives at the router before the request does */
};

static void
ask_beside_other_mail(void *arg)
{
    struct crowd *crowd = arg;
    bus_actor_t *edge = crowd->hub->edge.me;
    CHECK(bus_send(edge, crowd->hub->addr, &crowd->request, NULL) == 0);
    CHECK(bus_send(edge, crowd->hub->routers[0].addr, &crowd->other, NULL) == 0);
}

/* A router whose mailbox is full is passed over. */
static void
a_full_mailbox_is_not_the_end(void **state)
{
    (void)state;
    struct hub *hub = hub_new_with(&(struct owner_options){.process = NULL}, 1500);
    router_joins(hub, 0);
    router_joins(hub, 1);
    struct crowd crowd = {hub, request_of(1, 200), request_of(9, 1400)};
    stage_do(&hub->stage, ask_beside_other_mail, &crowd);
    assert_int_equal(extra_take(&hub->routers[0], ENV_REQUEST)->id.bytes[0], 9);
    assert_int_equal(extra_take(&hub->routers[1], ENV_REQUEST)->id.bytes[0], 1);
    extra_has_nothing(&hub->routers[0]);
    hub_free(hub);
}

/* What a lost router had waits for room at the others, and does not answer 429. */
static void
what_is_sent_again_waits_for_room(void **state)
{
    (void)state;
    struct hub *hub = hub_new();
    router_joins_with(hub, 0, 1, 0);
    router_joins_with(hub, 1, 1, 0);
    edge_asks(hub, 1);
    edge_asks(hub, 2);
    struct env *other = extra_take(&hub->routers[1], ENV_REQUEST);
    router_says_goodbye(hub, 0, "lost");
    extra_has_nothing(&hub->routers[1]);
    extra_has_nothing(&hub->edge);
    router_says(hub, 1, end_of(other, ERR_NONE));
    struct env *again = extra_take(&hub->routers[1], ENV_REQUEST);
    assert_int_equal(again->id.bytes[0], 1);
    assert_int_equal(again->epoch, 1);
    hub_free(hub);
}

/* ---- a router is lost ---- */

static void
a_lost_router_s_request_goes_to_another(void **state)
{
    (void)state;
    struct hub *hub = hub_new_with(&(struct owner_options){.request_timeout_ms = 10000}, 0);
    router_joins(hub, 0);
    struct env *asked = request_of(1, 100);
    asked->deadline_ms = 8000;
    dyn_block_t *body = dyn_block_ref(asked->body);
    edge_sends(hub, asked);
    struct env *sent = extra_take(&hub->routers[0], ENV_REQUEST);
    assert_int_equal(sent->deadline_ms, 8000);
    router_says(hub, 0, dispatched_of(sent, "w-3", false));
    router_joins(hub, 1);
    edge_credits(hub, 1, 5000);
    router_says(hub, 0, chunk_of(sent, 0, false, 30000)); /* of a plain answer: the edge holds it */
    (void)extra_take(&hub->edge, ENV_CHUNK);
    stage_advance(&hub->stage, 3000);
    router_says_goodbye(hub, 0, "lost");

    struct env *again = extra_take(&hub->routers[1], ENV_REQUEST);
    assert_true(env_id_eq(&again->id, &sent->id));
    assert_ptr_equal(again->body, body);
    assert_slice_is(again->credential, "secret");
    assert_int_equal(again->epoch, 1);
    assert_int_equal(again->redelivered, 1);
    assert_slice_is(again->worker, "w-3");
    assert_int_equal(again->worker_attempt, 2);
    assert_int_equal(again->worker_epoch, 5);
    assert_int_equal(again->credit, WINDOW + 5000 - 30000); /* granted and not arrived */
    assert_int_equal(again->deadline_ms, 5000);

    router_says(hub, 1, chunk_of(sent, 0, false, 10)); /* of the first sending: late */
    extra_has_nothing(&hub->edge);
    assert_int_equal(count_of(&hub->owner.options.counters->late_answers), 1);
    router_says(hub, 1, chunk_of(again, 0, false, 10));
    assert_int_equal(extra_take(&hub->edge, ENV_CHUNK)->sequence, 0);
    router_says(hub, 1, end_of(again, ERR_NONE));
    assert_int_equal(extra_take(&hub->edge, ENV_END)->redelivered, 1);
    assert_int_equal(count_of(&hub->owner.options.counters->sent_again), 1);
    dyn_block_unref(&body);
    hub_free(hub);
}

/* What the edge holds is of the sending before: an answer without any bytes is no reason to show it. */
static void
an_empty_answer_is_not_what_came_before(void **state)
{
    (void)state;
    struct hub *hub = hub_new();
    router_joins(hub, 0);
    router_joins(hub, 1);
    edge_asks(hub, 1);
    struct env *sent = extra_take(&hub->routers[0], ENV_REQUEST);
    router_says(hub, 0, chunk_of(sent, 0, false, 100));
    assert_int_equal(env_body_len(extra_take(&hub->edge, ENV_CHUNK)), 100);
    router_says_goodbye(hub, 0, "lost");
    struct env *again = extra_take(&hub->routers[1], ENV_REQUEST);
    struct env *end = end_of(again, ERR_NONE);
    end->provider = DYN_SLICE("mock");
    end->target = DYN_SLICE("second");
    end->attempts = 2;
    router_says(hub, 1, end);
    struct env *first = extra_take(&hub->edge, ENV_CHUNK); /* forget what came */
    assert_int_equal(first->sequence, 0);
    assert_slice_is(first->provider, "mock"); /* the head of the answer is made of it */
    assert_slice_is(first->target, "second");
    assert_int_equal(first->attempts, 2);
    assert_int_equal(first->redelivered, 1);
    assert_int_equal(env_body_len(first), 0);
    assert_int_equal(extra_take(&hub->edge, ENV_END)->outcome, ENV_OUTCOME_OK);
    hub_free(hub);
}

static void
answers_of_another_router_are_not_believed(void **state)
{
    (void)state;
    struct hub *hub = hub_new();
    router_joins(hub, 0);
    edge_asks(hub, 1);
    struct env *sent = extra_take(&hub->routers[0], ENV_REQUEST);
    router_says(hub, 1, end_of(sent, ERR_NONE)); /* has not even said READY */
    router_joins(hub, 1);
    router_says(hub, 1, end_of(sent, ERR_NONE));
    extra_has_nothing(&hub->edge);
    assert_int_equal(count_of(&hub->owner.options.counters->late_answers), 2);
    hub_free(hub);
}

static void
a_stream_that_has_begun_ends_with_an_error(void **state)
{
    (void)state;
    struct hub *hub = hub_new();
    router_joins(hub, 0);
    router_joins(hub, 1);
    edge_asks(hub, 1);
    struct env *sent = extra_take(&hub->routers[0], ENV_REQUEST);
    router_says(hub, 0, chunk_of(sent, 0, true, 0)); /* headers without content are no beginning */
    (void)extra_take(&hub->edge, ENV_CHUNK);
    router_says_goodbye(hub, 0, "silent");
    struct env *again = extra_take(&hub->routers[1], ENV_REQUEST);
    router_says(hub, 1, chunk_of(again, 0, true, 1));
    (void)extra_take(&hub->edge, ENV_CHUNK);
    router_says_goodbye(hub, 1, "silent");
    assert_ended_with(hub, ERR_ROUTER_LOST);
    assert_true(hub->edge.got[2]->stream);
    assert_int_equal(hub->owner.requests.n, 0);
    assert_int_equal(count_of(&hub->owner.options.counters->broken_off), 1);
    hub_free(hub);
}

/* What the client has can't be taken back, whatever a router says. */
static void
an_answer_that_has_begun_does_not_start_over(void **state)
{
    (void)state;
    struct hub *hub = hub_new();
    router_joins(hub, 0);
    edge_asks(hub, 1);
    struct env *sent = extra_take(&hub->routers[0], ENV_REQUEST);
    router_says(hub, 0, chunk_of(sent, 0, true, 5));
    (void)extra_take(&hub->edge, ENV_CHUNK);
    router_says(hub, 0, chunk_of(sent, 0, true, 5));
    assert_ended_with(hub, ERR_INTERNAL);
    (void)extra_take(&hub->routers[0], ENV_CANCEL);
    assert_int_equal(hub->owner.requests.n, 0);
    hub_free(hub);
}

/* A megabyte is held by the edge and can be taken back; one byte more can't. */
static void
a_plain_answer_has_begun_beyond_a_megabyte(void **state)
{
    (void)state;
    for (size_t more = 0; more < 2; more++) {
        struct hub *hub = hub_new();
        router_joins(hub, 0);
        edge_asks(hub, 1);
        struct env *sent = extra_take(&hub->routers[0], ENV_REQUEST);
        router_says(hub, 0, chunk_of(sent, 0, false, ENV_HELD_ANSWER_MAX - 1));
        router_says(hub, 0, chunk_of(sent, 0, false, 1)); /* the router has started over */
        router_says(hub, 0, chunk_of(sent, 1, false, ENV_HELD_ANSWER_MAX - 1 + more));
        router_says_goodbye(hub, 0, "lost");
        hub->edge.n_taken = 3;
        if (more > 0) {
            assert_ended_with(hub, ERR_ROUTER_LOST);
        } else {
            extra_has_nothing(&hub->edge);
            router_joins(hub, 1);
            (void)extra_take(&hub->routers[1], ENV_REQUEST);
        }
        hub_free(hub);
    }
}

static void
a_client_says_what_may_be_sent_again(void **state)
{
    (void)state;
    static const struct {
        const char *redeliver;
        bool dispatched;
        bool again;
    } rows[] = {
        {NULL, true, true},      {"always", true, true},  {"unsent", false, true},
        {"unsent", true, false}, {"never", false, false},
    };
    for (size_t i = 0; i < DYN_ARRAY_LEN(rows); i++) {
        struct hub *hub = hub_new();
        struct env *request = request_of(1, 10);
        request->redeliver = dyn_slice_str(rows[i].redeliver);
        edge_sends(hub, request); /* that it waited for a first router is no second sending */
        router_joins(hub, 0);
        router_joins(hub, 1);
        struct env *sent = extra_take(&hub->routers[0], ENV_REQUEST);
        assert_true(dyn_slice_eq(sent->redeliver, request->redeliver));
        router_says(hub, 0, dispatched_of(sent, NULL, false));
        if (rows[i].dispatched) {
            router_says(hub, 0, dispatched_of(sent, "w-0", false));
        }
        router_says_goodbye(hub, 0, "lost");
        if (rows[i].again) {
            (void)extra_take(&hub->routers[1], ENV_REQUEST);
        } else {
            extra_has_nothing(&hub->routers[1]);
            assert_ended_with(hub, ERR_ROUTER_LOST);
        }
        hub_free(hub);
    }
}

static void
a_request_that_kills_routers_is_given_up(void **state)
{
    (void)state;
    struct hub *hub = hub_new();
    edge_asks(hub, 1);
    for (unsigned i = 0; i < OWNER_SENDINGS_MAX; i++) {
        router_joins(hub, i % ROUTERS);
        assert_int_equal(extra_take(&hub->routers[i % ROUTERS], ENV_REQUEST)->epoch, i);
        router_says_goodbye(hub, i % ROUTERS, "lost");
    }
    assert_ended_with(hub, ERR_ROUTER_LOST);
    hub_free(hub);
}

static void
no_time_is_left_for_another_router(void **state)
{
    (void)state;
    struct hub *hub = hub_new_with(&(struct owner_options){.request_timeout_ms = 4000}, 0);
    router_joins(hub, 0);
    router_joins(hub, 1);
    edge_asks(hub, 1);
    (void)extra_take(&hub->routers[0], ENV_REQUEST);
    stage_advance(&hub->stage, 4000);
    router_says_goodbye(hub, 0, "lost");
    assert_ended_with(hub, ERR_GATEWAY_TIMEOUT);
    hub_free(hub);
}

/* ---- cancelling and draining ---- */

static void
a_cancel_goes_where_the_request_is(void **state)
{
    (void)state;
    struct hub *hub = hub_new();
    edge_asks(hub, 1);
    edge_cancels(hub, 1); /* nobody has it */
    assert_ended_with(hub, ERR_CLIENT_CLOSED);
    router_joins(hub, 0);
    router_joins(hub, 1);
    edge_asks(hub, 2);
    struct env *sent = extra_take(&hub->routers[0], ENV_REQUEST);
    edge_cancels(hub, 2);
    assert_true(env_id_eq(&extra_take(&hub->routers[0], ENV_CANCEL)->id, &sent->id));
    router_says(hub, 0, chunk_of(sent, 0, true, 5)); /* crossed it */
    extra_has_nothing(&hub->edge);
    router_says(hub, 0, end_of(sent, ERR_CLIENT_CLOSED));
    (void)extra_take(&hub->edge, ENV_END);
    edge_asks(hub, 3);
    (void)extra_take(&hub->routers[1], ENV_REQUEST);
    edge_cancels(hub, 3);
    router_says_goodbye(hub, 1, "lost"); /* is not sent again */
    assert_ended_with(hub, ERR_CLIENT_CLOSED);
    assert_int_equal(hub->routers[0].n_taken, hub->routers[0].n_got);
    assert_int_equal(hub->owner.requests.n, 0);
    hub_free(hub);
}

static void
a_stranger_cannot_cancel(void **state)
{
    (void)state;
    struct hub *hub = hub_new();
    struct env *cancel = env_new(ENV_CANCEL);
    router_joins(hub, 0);
    edge_asks(hub, 1);
    (void)extra_take(&hub->routers[0], ENV_REQUEST);
    cancel->id.bytes[0] = 1;
    router_says(hub, 1, cancel);
    extra_has_nothing(&hub->routers[0]);
    assert_int_equal(hub->owner.requests.n, 1);
    hub_free(hub);
}

static void *
drain_in_thread(void *arg)
{
    struct hub *hub = arg;
    return bus_stop(hub->stage.bus, 20000) == 0 ? hub : NULL; /* how many were not idle */
}

static void
a_drain_ends_with_the_last_answer(void **state)
{
    (void)state;
    struct hub *hub = hub_new();
    pthread_t thread;
    void *ended_well = NULL;
    router_joins(hub, 0);
    edge_asks(hub, 1);
    struct env *sent = extra_take(&hub->routers[0], ENV_REQUEST);
    assert_int_equal(pthread_create(&thread, NULL, drain_in_thread, hub), 0);
    stage_send_last(&hub->stage, &hub->routers[0], hub->addr, end_of(sent, ERR_NONE));
    assert_int_equal(pthread_join(thread, &ended_well), 0);
    assert_ptr_equal(ended_well, hub);
    assert_int_equal(extra_take(&hub->edge, ENV_END)->outcome, ENV_OUTCOME_OK);
    bus_free(&hub->stage.bus);
    extra_fini(&hub->edge);
    for (size_t i = 0; i < ROUTERS; i++) {
        extra_fini(&hub->routers[i]);
    }
    free(hub);
}

/* Its answer broke the protocol, and another router would give the same one. */
static void
what_a_router_says_of_itself_is_not_asked_for_again_after_a_broken_rule(void **state)
{
    (void)state;
    static const enum env_surface surfaces[] = {ENV_SURFACE_MODELS, ENV_SURFACE_METRICS, ENV_SURFACE_EXPLAIN};
    for (size_t i = 0; i < DYN_ARRAY_LEN(surfaces); i++) {
        struct hub *hub = hub_new();
        router_joins(hub, 0);
        struct env *asked = request_of(1, 10);
        asked->surface = surfaces[i];
        edge_sends(hub, asked);
        edge_asks(hub, 2);
        router_joins(hub, 1);
        router_says_goodbye(hub, 0, "protocol");
        assert_ended_with(hub, ERR_ROUTER_LOST);
        struct env *again = extra_take(&hub->routers[1], ENV_REQUEST); /* the other one is innocent */
        assert_int_equal(again->id.bytes[0], 2);
        extra_has_nothing(&hub->routers[1]);
        hub_free(hub);
    }
}

static void
it_is_after_a_loss(void **state)
{
    (void)state;
    struct hub *hub = hub_new();
    router_joins(hub, 0);
    struct env *asked = request_of(1, 0);
    asked->surface = ENV_SURFACE_MODELS;
    edge_sends(hub, asked);
    router_joins(hub, 1);
    router_says_goodbye(hub, 0, "lost");
    (void)extra_take(&hub->routers[1], ENV_REQUEST);
    extra_has_nothing(&hub->edge);
    hub_free(hub);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_goes_to_a_router_and_its_answer_comes_back),
        cmocka_unit_test(requests_go_where_fewest_are_in_flight),
        cmocka_unit_test(a_draining_router_gets_nothing_new_and_finishes_what_it_has),
        cmocka_unit_test(what_a_draining_router_hands_back_goes_elsewhere),
        cmocka_unit_test(a_late_router_is_asked_when_there_is_no_other),
        cmocka_unit_test(a_request_waits_for_a_router),
        cmocka_unit_test(it_waits_no_longer_for_routers_that_come),
        cmocka_unit_test(what_is_over_is_not_sent),
        cmocka_unit_test(it_does_not_wait_for_ever),
        cmocka_unit_test(what_waits_is_bounded_in_bytes),
        cmocka_unit_test(probes_are_answered_when_no_router_is_there),
        cmocka_unit_test(a_budget_is_kept_and_what_goes_beyond_is_refused),
        cmocka_unit_test(a_full_mailbox_is_not_the_end),
        cmocka_unit_test(what_is_sent_again_waits_for_room),
        cmocka_unit_test(a_lost_router_s_request_goes_to_another),
        cmocka_unit_test(what_a_router_says_of_itself_is_not_asked_for_again_after_a_broken_rule),
        cmocka_unit_test(it_is_after_a_loss),
        cmocka_unit_test(an_empty_answer_is_not_what_came_before),
        cmocka_unit_test(answers_of_another_router_are_not_believed),
        cmocka_unit_test(a_stream_that_has_begun_ends_with_an_error),
        cmocka_unit_test(an_answer_that_has_begun_does_not_start_over),
        cmocka_unit_test(a_plain_answer_has_begun_beyond_a_megabyte),
        cmocka_unit_test(a_client_says_what_may_be_sent_again),
        cmocka_unit_test(a_request_that_kills_routers_is_given_up),
        cmocka_unit_test(no_time_is_left_for_another_router),
        cmocka_unit_test(a_cancel_goes_where_the_request_is),
        cmocka_unit_test(a_stranger_cannot_cancel),
        cmocka_unit_test(a_drain_ends_with_the_last_answer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
