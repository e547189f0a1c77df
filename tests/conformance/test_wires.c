/* One suite over every wire: what a sender and a receiver may rely on, whichever wire is between
 * them. Order, exactly once, full and gone mailboxes, and floods in both directions. */
#include "tests/conformance/wires.h"

enum { NEVER_WAITED_MS = 20000 };

static void
send_or_die(bus_actor_t *me, bus_addr_t to, struct env *env)
{
    struct dyn_err err;
    CHECK(bus_send(me, to, &env, &err) == 0);
    CHECK(env == NULL);
}

static struct env *
chunk_number(uint32_t sequence)
{
    struct env *env = wire_envelope(ENV_CHUNK);
    env->sequence = sequence;
    return env;
}

static void
stop_does_nothing(void *self)
{
    (void)self;
}

static int
start_does_nothing(void *self, bus_actor_t *me, struct dyn_err *err)
{
    (void)self;
    (void)me;
    (void)err;
    return 0;
}

/* ---- order, exactly once ---- */

enum { IN_ORDER = 20000 };

struct counting {
    struct pair *pair;
    uint32_t next;
};

static int
send_all_at_start(void *self, bus_actor_t *me, struct dyn_err *err)
{
    struct counting *counting = self;
    (void)err;
    for (uint32_t i = 0; i < IN_ORDER; i++) {
        send_or_die(me, counting->pair->b, chunk_number(i));
    }
    return 0;
}

static void
expect_next(void *self, struct env **env_p)
{
    struct counting *counting = self;
    CHECK((*env_p)->sequence == counting->next);
    CHECK((*env_p)->from == counting->pair->a);
    CHECK((*env_p)->to == counting->pair->b);
    if (++counting->next == IN_ORDER) {
        gate_open(&counting->pair->gate);
    }
    env_free(env_p);
}

static const struct bus_actor_ops send_all_ops = {
    .kind = "sender", .start = send_all_at_start, .receive = expect_next, .stop = stop_does_nothing};
static const struct bus_actor_ops expect_ops = {
    .kind = "receiver", .start = start_does_nothing, .receive = expect_next, .stop = stop_does_nothing};

static void
envelopes_arrive_in_order_and_once(void **state)
{
    struct counting counting = {.pair = pair_new(*state, 0, 1)};
    pair_add(counting.pair, &send_all_ops, &counting, &expect_ops, &counting);
    pair_start(counting.pair);
    gate_wait(&counting.pair->gate);
    assert_int_equal(bus_mailbox_bytes(counting.pair->bus, counting.pair->b), 0);
    assert_int_equal(pair_free(counting.pair, NEVER_WAITED_MS), 0);
    assert_int_equal(counting.next, IN_ORDER);
}

/* ---- a body is carried, not copied ---- */

struct carrying {
    struct pair *pair;
    dyn_block_t *block; /* the test's own reference */
    unsigned received;
};

static void
send_body(bus_actor_t *me, bus_addr_t to, dyn_block_t *block)
{
    struct env *env = wire_envelope(ENV_CHUNK);
    env->body = block;
    send_or_die(me, to, env);
}

static int
carry_at_start(void *self, bus_actor_t *me, struct dyn_err *err)
{
    struct carrying *carrying = self;
    (void)err;
    send_body(me, carrying->pair->b, dyn_block_ref(carrying->block));
    send_body(me, carrying->pair->b, dyn_block_new(10, 0)); /* there, but empty */
    send_body(me, carrying->pair->b, NULL);
    return 0;
}

static void
expect_bodies(void *self, struct env **env_p)
{
    struct carrying *carrying = self;
    const dyn_block_t *body = (*env_p)->body;
    switch (carrying->received++) {
    case 0:
        CHECK(body == carrying->block);
        CHECK(dyn_slice_is(dyn_block_slice(body), "the client's bytes"));
        CHECK(dyn_block_headroom(body) == ENV_BODY_HEADROOM);
        break;
    case 1:
        CHECK(body != NULL && body->len == 0 && dyn_block_headroom(body) == 10);
        break;
    default:
        CHECK(body == NULL);
        gate_open(&carrying->pair->gate);
        break;
    }
    env_free(env_p);
}

static const struct bus_actor_ops carry_ops = {
    .kind = "sender", .start = carry_at_start, .receive = expect_bodies, .stop = stop_does_nothing};
static const struct bus_actor_ops expect_bodies_ops = {
    .kind = "receiver", .start = start_does_nothing, .receive = expect_bodies, .stop = stop_does_nothing};

static void
a_body_is_carried_not_copied(void **state)
{
    struct carrying carrying = {.pair = pair_new(*state, 0, 1)};
    carrying.block = dyn_block_copy(ENV_BODY_HEADROOM, DYN_SLICE("the client's bytes"));
    pair_add(carrying.pair, &carry_ops, &carrying, &expect_bodies_ops, &carrying);
    pair_start(carrying.pair);
    gate_wait(&carrying.pair->gate);
    assert_int_equal(pair_free(carrying.pair, NEVER_WAITED_MS), 0);
    assert_false(dyn_block_is_shared(carrying.block)); /* nobody kept one */
    dyn_block_unref(&carrying.block);
}

/* ---- a body arrives as it was sent ---- */

enum { BODIES = 12 };

static dyn_block_t *
body_number(unsigned number)
{
    size_t len = (size_t)1 << (2 * number); /* up to 4 MiB */
    dyn_block_t *body = dyn_block_new(ENV_BODY_HEADROOM, len);
    memset(dyn_block_data(body), 'a' + (int)number, len);
    body->len = len;
    return body;
}

static int
send_bodies(void *self, bus_actor_t *me, struct dyn_err *err)
{
    struct carrying *carrying = self;
    (void)err;
    for (unsigned i = 0; i < BODIES; i++) {
        struct env *env = wire_envelope(ENV_REQUEST);
        env->body = body_number(i);
        send_or_die(me, carrying->pair->b, env);
    }
    return 0;
}

static void
expect_body(void *self, struct env **env_p)
{
    struct carrying *carrying = self;
    dyn_block_t *expected = body_number(carrying->received++);
    const dyn_block_t *body = (*env_p)->body;
    CHECK(dyn_slice_eq(dyn_block_slice(body), dyn_block_slice(expected)));
    CHECK(dyn_block_headroom(body) >= ENV_BODY_HEADROOM); /* an answer's head fits in front */
    CHECK(!dyn_block_is_shared(body) || carrying->pair->wire->endpoint == NULL);
    dyn_block_unref(&expected);
    if (carrying->received == BODIES) {
        gate_open(&carrying->pair->gate);
    }
}

static const struct bus_actor_ops send_bodies_ops = {
    .kind = "sender", .start = send_bodies, .receive = expect_body, .stop = stop_does_nothing};
static const struct bus_actor_ops expect_body_ops = {
    .kind = "receiver", .start = start_does_nothing, .receive = expect_body, .stop = stop_does_nothing};

static void
bodies_of_all_sizes_arrive_with_room_in_front(void **state)
{
    struct carrying carrying = {.pair = pair_new(*state, 0, 1)};
    pair_add(carrying.pair, &send_bodies_ops, &carrying, &expect_body_ops, &carrying);
    pair_start(carrying.pair);
    gate_wait(&carrying.pair->gate);
    assert_int_equal(pair_free(carrying.pair, NEVER_WAITED_MS), 0);
    assert_int_equal(carrying.received, BODIES);
}

/* ---- a full mailbox ---- */

enum { SMALL_MAILBOX = 64 * 1024, FITS = SMALL_MAILBOX / BUS_ENVELOPE_COST };

struct filling {
    struct pair *pair;
    bus_actor_t *a, *b;
    atomic_uint sent;  /* by a before anything was received; no order between processes that a tool sees */
    unsigned received; /* by b */
};

static void
expect_full(bus_actor_t *me, bus_addr_t to, enum env_kind kind)
{
    struct dyn_err err;
    struct env *env = wire_envelope(kind);
    CHECK(bus_send(me, to, &env, &err) == -1);
    CHECK(err.code == DYN_E_FULL);
    CHECK(env != NULL); /* still the sender's */
    env_free(&env);
}

static int
fill_at_start(void *self, bus_actor_t *me, struct dyn_err *err)
{
    static const enum env_kind passes[] = {ENV_END,       ENV_CANCEL,  ENV_CREDIT, ENV_DISPATCHED, ENV_READY,
                                           ENV_HEARTBEAT, ENV_GOODBYE, ENV_VOTE,   ENV_CONFIG,     ENV_ACK};
    struct filling *filling = self;
    bus_addr_t to = filling->pair->b;
    (void)err;
    filling->a = me;
    for (; filling->sent < FITS; filling->sent++) {
        send_or_die(me, to, chunk_number(filling->sent));
    }
    CHECK(bus_mailbox_bytes(filling->pair->bus, to) == SMALL_MAILBOX);
    expect_full(me, to, ENV_CHUNK);
    expect_full(me, to, ENV_REQUEST);
    expect_full(me, to, ENV_ASK);
    expect_full(me, to, ENV_EVENT);
    for (size_t i = 0; i < DYN_ARRAY_LEN(passes); i++, filling->sent++) {
        send_or_die(me, to, wire_envelope(passes[i]));
    }
    expect_full(me, to, ENV_CHUNK);
    return 0;
}

static int
remember_b(void *self, bus_actor_t *me, struct dyn_err *err)
{
    (void)err;
    ((struct filling *)self)->b = me;
    return 0;
}

/* b: when all has come, tells a, which can send again then. */
static void
empty_at_b(void *self, struct env **env_p)
{
    struct filling *filling = self;
    filling->received++;
    if (filling->received == filling->sent) {
        CHECK(bus_mailbox_bytes(filling->pair->bus, filling->pair->b) == 0);
        send_or_die(filling->b, filling->pair->a, wire_envelope(ENV_CREDIT));
    } else if (filling->received == filling->sent + 1) {
        CHECK(env_body_len(*env_p) == 2 * (size_t)SMALL_MAILBOX);
        gate_open(&filling->pair->gate);
    }
    env_free(env_p);
}

/* a: an empty mailbox takes even what is larger than its limit, once. */
static void
send_a_large_one(void *self, struct env **env_p)
{
    struct filling *filling = self;
    env_free(env_p);
    dyn_block_t *body = dyn_block_new(0, 2 * (size_t)SMALL_MAILBOX);
    memset(dyn_block_data(body), 'x', 2 * (size_t)SMALL_MAILBOX);
    body->len = 2 * (size_t)SMALL_MAILBOX;
    struct env *env = wire_envelope(ENV_REQUEST);
    env->body = body;
    send_or_die(filling->a, filling->pair->b, env);
}

static const struct bus_actor_ops fill_ops = {
    .kind = "sender", .start = fill_at_start, .receive = send_a_large_one, .stop = stop_does_nothing};
static const struct bus_actor_ops empty_ops = {
    .kind = "receiver", .start = remember_b, .receive = empty_at_b, .stop = stop_does_nothing};

static void
a_full_mailbox_refuses_work_but_not_what_ends_it(void **state)
{
    struct filling filling = {.pair = pair_new(*state, SMALL_MAILBOX, 1)};
    pair_add(filling.pair, &fill_ops, &filling, &empty_ops, &filling);
    pair_start(filling.pair);
    gate_wait(&filling.pair->gate);
    assert_int_equal(pair_free(filling.pair, NEVER_WAITED_MS), 0);
    assert_int_equal(filling.received, filling.sent + 1);
}

/* ---- peers that are gone ---- */

struct leaving {
    struct pair *pair;
    bus_actor_t *a;
    unsigned refused;
};

static void
expect_gone(bus_actor_t *me, bus_addr_t to, enum env_kind kind)
{
    struct dyn_err err;
    struct env *env = wire_envelope(kind);
    CHECK(bus_send(me, to, &env, &err) == -1);
    CHECK(err.code == DYN_E_GONE);
    CHECK(env != NULL);
    env_free(&env);
}

static int
send_to_nobody(void *self, bus_actor_t *me, struct dyn_err *err)
{
    struct leaving *leaving = self;
    (void)err;
    leaving->a = me;
    expect_gone(me, 0, ENV_REQUEST);
    expect_gone(me, leaving->pair->b + 1, ENV_REQUEST);
    expect_gone(me, UINT32_MAX, ENV_END);
    return 0;
}

/* b was added after a, so it is stopped by now. */
static void
send_to_the_stopped(void *self)
{
    struct leaving *leaving = self;
    expect_gone(leaving->a, leaving->pair->b, ENV_CHUNK);
    expect_gone(leaving->a, leaving->pair->b, ENV_CANCEL);
    leaving->refused++;
}

static void
receive_nothing(void *self, struct env **env_p)
{
    (void)self;
    (void)env_p;
    CHECK(false && "received something");
}

static const struct bus_actor_ops leave_ops = {
    .kind = "sender", .start = send_to_nobody, .receive = receive_nothing, .stop = send_to_the_stopped};
static const struct bus_actor_ops left_ops = {
    .kind = "receiver", .start = start_does_nothing, .receive = receive_nothing, .stop = stop_does_nothing};

static void
a_peer_that_is_gone_is_said_to_be_gone(void **state)
{
    struct leaving leaving = {.pair = pair_new(*state, 0, 0)};
    pair_add(leaving.pair, &leave_ops, &leaving, &left_ops, &leaving);
    pair_start(leaving.pair);
    assert_int_equal(pair_free(leaving.pair, NEVER_WAITED_MS), 0);
    assert_int_equal(leaving.refused, 1);
}

/* ---- floods both ways ---- */

enum {
    FLOOD = 1000000 / WIRES_SLOWER, /* each way */
    FLOOD_BURST = 200,
    FLOOD_MAILBOX = 512 * 1024, /* fills up again and again */
    FLOOD_BODY_EVERY = 16,      /* envelopes with a body among those without */
    FLOOD_RETRY_MS = 1,
};

struct flooding {
    struct pair *pair;
    bus_actor_t *me;
    bus_addr_t peer;
    struct bus_task send;
    struct bus_timer retry;
    dyn_block_t *body;
    uint32_t sent, received;
};

static struct env *
flood_envelope(const struct flooding *flooding)
{
    struct env *env = chunk_number(flooding->sent);
    if (flooding->sent % FLOOD_BODY_EVERY == 0) {
        env->body = dyn_block_ref(flooding->body);
    }
    return env;
}

static void
flood_send(struct bus_task *task)
{
    struct flooding *flooding = DYN_CONTAINER_OF(task, struct flooding, send);
    for (unsigned i = 0; i < FLOOD_BURST && flooding->sent < FLOOD; i++) {
        struct dyn_err err;
        struct env *env = flood_envelope(flooding);
        if (bus_send(flooding->me, flooding->peer, &env, &err) != 0) {
            CHECK(err.code == DYN_E_FULL);
            env_free(&env);
            bus_timer_arm(bus_actor_loop(flooding->me), &flooding->retry, FLOOD_RETRY_MS);
            return;
        }
        flooding->sent++;
    }
    if (flooding->sent < FLOOD) {
        bus_task_queue(bus_actor_loop(flooding->me), task);
    }
}

static void
flood_retry(struct bus_timer *timer)
{
    flood_send(&DYN_CONTAINER_OF(timer, struct flooding, retry)->send);
}

static int
flood_start(void *self, bus_actor_t *me, struct dyn_err *err)
{
    struct flooding *flooding = self;
    (void)err;
    flooding->me = me;
    flooding->peer = bus_actor_addr(me) == flooding->pair->a ? flooding->pair->b : flooding->pair->a;
    flooding->retry.fire = flood_retry;
    bus_task_init(&flooding->send, flood_send);
    bus_task_queue(bus_actor_loop(me), &flooding->send);
    return 0;
}

static void
flood_receive(void *self, struct env **env_p)
{
    struct flooding *flooding = self;
    CHECK((*env_p)->sequence == flooding->received);
    CHECK(((*env_p)->body != NULL) == (flooding->received % FLOOD_BODY_EVERY == 0));
    env_free(env_p);
    if (++flooding->received == FLOOD) {
        gate_open(&flooding->pair->gate);
    }
}

static void
flood_stop(void *self)
{
    struct flooding *flooding = self;
    bus_timer_fini(&flooding->retry);
    bus_task_cancel(&flooding->send);
}

static const struct bus_actor_ops flood_ops = {
    .kind = "flood", .start = flood_start, .receive = flood_receive, .stop = flood_stop};

static void
a_million_envelopes_both_ways_at_once_do_not_stall(void **state)
{
    struct pair *pair = pair_new(*state, FLOOD_MAILBOX, 2);
    dyn_block_t *body = dyn_block_copy(0, DYN_SLICE("data: {}"));
    struct flooding a = {.pair = pair, .body = body};
    struct flooding b = {.pair = pair, .body = body};
    pair_add(pair, &flood_ops, &a, &flood_ops, &b);
    pair_start(pair);
    gate_wait(&pair->gate);
    assert_int_equal(pair_free(pair, NEVER_WAITED_MS), 0);
    assert_int_equal(a.received, FLOOD);
    assert_int_equal(b.received, FLOOD);
    assert_false(dyn_block_is_shared(body));
    dyn_block_unref(&body);
}

/* ---- the suite ---- */

/* ---- an END that no peer takes ---- */

enum { ENDS = 3 };

/* The second one is longer than an END may be. */
static int
send_ends(void *self, bus_actor_t *me, struct dyn_err *err)
{
    struct counting *counting = self;
    (void)err;
    for (uint32_t i = 0; i < ENDS; i++) {
        struct env *end = wire_envelope(ENV_END);
        end->outcome = ENV_OUTCOME_OK;
        end->status = 200;
        end->upstream_calls = i;
        size_t len = i == 1 ? ENV_HELD_ANSWER_MAX + 1 : ENV_HELD_ANSWER_MAX;
        end->body = dyn_block_new(0, len);
        end->body->len = len;
        memset(dyn_block_data(end->body), 'x', len);
        send_or_die(me, counting->pair->b, end);
    }
    return 0;
}

/* Between processes it is an error; that any comes behind it shows that the connection holds. */
static void
expect_end(void *self, struct env **env_p)
{
    struct counting *counting = self;
    const struct env *end = *env_p;
    bool is_cut = counting->next == 1 && counting->pair->wire->endpoint != NULL;
    CHECK(end->kind == ENV_END && end->upstream_calls == counting->next);
    CHECK(end->outcome == (is_cut ? ENV_OUTCOME_ERROR : ENV_OUTCOME_OK));
    CHECK(end->error == (is_cut ? ERR_INTERNAL : ERR_NONE) && end->status == (is_cut ? 500 : 200));
    CHECK(is_cut ? end->body == NULL : env_body_len(end) >= ENV_HELD_ANSWER_MAX);
    if (++counting->next == ENDS) {
        gate_open(&counting->pair->gate);
    }
    env_free(env_p);
}

static void
an_end_that_is_too_long_leaves_the_connection_up(void **state)
{
    static const struct bus_actor_ops sender_ops = {
        .kind = "sender", .start = send_ends, .receive = expect_end, .stop = stop_does_nothing};
    static const struct bus_actor_ops receiver_ops = {
        .kind = "receiver", .start = start_does_nothing, .receive = expect_end, .stop = stop_does_nothing};
    struct counting counting = {.pair = pair_new(*state, 0, 1)};
    pair_add(counting.pair, &sender_ops, &counting, &receiver_ops, &counting);
    pair_start(counting.pair);
    gate_wait(&counting.pair->gate);
    assert_int_equal(pair_free(counting.pair, NEVER_WAITED_MS), 0);
    assert_int_equal(counting.next, ENDS);
}

int
main(void)
{
    static const struct wire_test tests[] = {
        EVERYWHERE(envelopes_arrive_in_order_and_once),
        ONE_PROCESS(a_body_is_carried_not_copied),
        EVERYWHERE(bodies_of_all_sizes_arrive_with_room_in_front),
        EVERYWHERE(an_end_that_is_too_long_leaves_the_connection_up),
        EVERYWHERE(a_full_mailbox_refuses_work_but_not_what_ends_it),
        EVERYWHERE(a_peer_that_is_gone_is_said_to_be_gone),
        EVERYWHERE(a_million_envelopes_both_ways_at_once_do_not_stall),
    };
    return run_over_all_wires(tests, DYN_ARRAY_LEN(tests));
}
