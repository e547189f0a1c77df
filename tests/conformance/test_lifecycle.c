/* From start to stop, over every wire: actors start in order on their loops before any loop turns,
 * a failed start leaves nothing behind, drains wait for work, stops lose no memory; timers and posts
 * reach actors; two buses live side by side. */
#include "tests/conformance/wires.h"

enum { NEVER_WAITED_MS = 20000, BRIEF_MS = 20 };

/* What happened, in order, from any thread. */
enum { EVENTS_MAX = 64 };
struct journal {
    pthread_mutex_t lock;
    char text[EVENTS_MAX * 8];
};

static void
journal_init(struct journal *journal)
{
    (void)pthread_mutex_init(&journal->lock, NULL);
    journal->text[0] = '\0';
}

static void
journal_add(struct journal *journal, const char *what, char who)
{
    (void)pthread_mutex_lock(&journal->lock);
    size_t len = strlen(journal->text);
    (void)snprintf(journal->text + len, sizeof journal->text - len, "%s%s %c", len ? ", " : "", what, who);
    (void)pthread_mutex_unlock(&journal->lock);
}

/* An actor that writes down what is done to it. */
struct scribe {
    struct journal *journal;
    char name;
    bool refuses_to_start;
    bool idles_later; /* is idle when its timer fires */
    bool never_idles;
    bus_actor_t *me;
    pthread_t thread;
    uint64_t deadline_us;
    struct bus_timer idle;
};

static int
scribe_start(void *self, bus_actor_t *me, struct dyn_err *err)
{
    struct scribe *scribe = self;
    scribe->me = me;
    scribe->thread = pthread_self();
    journal_add(scribe->journal, "start", scribe->name);
    return scribe->refuses_to_start ? dyn_err_set(err, DYN_E_CONFIG, "%c cannot start", scribe->name) : 0;
}

static void
scribe_receive(void *self, struct env **env_p)
{
    (void)self;
    env_free(env_p);
}

static void
scribe_is_idle(struct bus_timer *timer)
{
    struct scribe *scribe = DYN_CONTAINER_OF(timer, struct scribe, idle);
    journal_add(scribe->journal, "idle", scribe->name);
    bus_actor_idle(scribe->me);
    bus_actor_idle(scribe->me); /* twice is once */
}

static void
scribe_drain(void *self, uint64_t deadline_us)
{
    struct scribe *scribe = self;
    CHECK(pthread_equal(scribe->thread, pthread_self()));
    scribe->deadline_us = deadline_us;
    journal_add(scribe->journal, "drain", scribe->name);
    if (scribe->idles_later) {
        scribe->idle.fire = scribe_is_idle;
        bus_timer_arm(bus_actor_loop(scribe->me), &scribe->idle, 5);
    } else if (!scribe->never_idles) {
        bus_actor_idle(scribe->me);
    }
}

static void
scribe_stop(void *self)
{
    struct scribe *scribe = self;
    CHECK(scribe->me == NULL || pthread_equal(scribe->thread, pthread_self()));
    bus_timer_fini(&scribe->idle);
    journal_add(scribe->journal, "stop", scribe->name);
}

static const struct bus_actor_ops edge_ops = {.kind = "edge",
                                              .start = scribe_start,
                                              .receive = scribe_receive,
                                              .drain = scribe_drain,
                                              .stop = scribe_stop};
static const struct bus_actor_ops router_ops = {.kind = "router",
                                                .start = scribe_start,
                                                .receive = scribe_receive,
                                                .drain = scribe_drain,
                                                .stop = scribe_stop};
static const struct bus_actor_ops simple_ops = {
    .kind = "simple", .start = scribe_start, .receive = scribe_receive, .stop = scribe_stop};

/* ---- start ---- */

static void
actors_start_in_order_and_stop_in_reverse(void **state)
{
    struct journal journal;
    journal_init(&journal);
    struct pair *pair = pair_new(*state, 0, 0);
    struct scribe a = {.journal = &journal, .name = 'a'};
    struct scribe b = {.journal = &journal, .name = 'b'};
    struct scribe c = {.journal = &journal, .name = 'c'};
    pair_add(pair, &simple_ops, &a, &simple_ops, &b);
    (void)bus_add_actor(pair->bus, pair->loop_a, &simple_ops, &c);
    pair_start(pair);
    assert_int_equal(pair_free(pair, NEVER_WAITED_MS), 0);
    assert_string_equal(journal.text, "start a, start b, start c, stop c, stop b, stop a");
}

static void
a_failed_start_stops_everybody(void **state)
{
    struct journal journal;
    journal_init(&journal);
    struct dyn_err err;
    struct pair *pair = pair_new(*state, 0, 0);
    struct scribe a = {.journal = &journal, .name = 'a'};
    struct scribe b = {.journal = &journal, .name = 'b', .refuses_to_start = true};
    struct scribe c = {.journal = &journal, .name = 'c'};
    pair_add(pair, &simple_ops, &a, &simple_ops, &b);
    (void)bus_add_actor(pair->bus, pair->loop_a, &simple_ops, &c);
    assert_int_equal(bus_start(pair->bus, &err), -1);
    assert_string_equal(err.text, "b cannot start");
    assert_string_equal(journal.text, "start a, start b, stop c, stop b, stop a");
    assert_int_equal(pair_free(pair, NEVER_WAITED_MS), 0);
    assert_string_equal(journal.text, "start a, start b, stop c, stop b, stop a");
}

static void
actors_that_never_started_are_stopped(void **state)
{
    struct journal journal;
    journal_init(&journal);
    struct pair *pair = pair_new(*state, 0, 0);
    struct scribe a = {.journal = &journal, .name = 'a'};
    struct scribe b = {.journal = &journal, .name = 'b'};
    pair_add(pair, &simple_ops, &a, &simple_ops, &b);
    bus_free(&pair->bus);
    assert_null(pair->bus);
    assert_string_equal(journal.text, "stop b, stop a");
    free(pair);
}

/* ---- drain ---- */

/* Added first is needed by the others: edges (added last) finish before the router is told. */
static void
a_kind_drains_when_those_added_after_it_are_idle(void **state)
{
    struct journal journal;
    journal_init(&journal);
    struct pair *pair = pair_new(*state, 0, 0);
    struct scribe r = {.journal = &journal, .name = 'r', .idles_later = true};
    struct scribe s = {.journal = &journal, .name = 's'};
    struct scribe e = {.journal = &journal, .name = 'e', .idles_later = true};
    struct scribe f = {.journal = &journal, .name = 'f'};
    pair_add(pair, &router_ops, &r, &router_ops, &s);
    (void)bus_add_actor(pair->bus, pair->loop_a, &edge_ops, &e);
    (void)bus_add_actor(pair->bus, pair->loop_b, &edge_ops, &f);
    pair_start(pair);
    assert_int_equal(pair_free(pair, NEVER_WAITED_MS), 0);
    assert_string_equal(journal.text, "start r, start s, start e, start f, drain f, drain e, idle e, "
                                      "drain s, drain r, idle r, stop f, stop e, stop s, stop r");
}

static void
an_actor_that_is_never_idle_is_counted_and_stopped(void **state)
{
    struct journal journal;
    journal_init(&journal);
    struct pair *pair = pair_new(*state, 0, 0);
    struct scribe r = {.journal = &journal, .name = 'r'};
    struct scribe e = {.journal = &journal, .name = 'e', .never_idles = true};
    pair_add(pair, &router_ops, &r, &edge_ops, &e);
    pair_start(pair);
    uint64_t now_us = dyn_mono_us(&dyn_clock_system);
    assert_int_equal(pair_free(pair, BRIEF_MS), 1);
    assert_string_equal(journal.text, "start r, start e, drain e, drain r, stop e, stop r");
    assert_true(e.deadline_us > now_us);
}

/* ---- stop with envelopes in flight ---- */

enum { IN_FLIGHT = 300 };

struct juggler {
    struct pair *pair;
    bus_actor_t *me;
    bus_addr_t peer;
    dyn_block_t *ball;
    unsigned throws; /* at start */
    unsigned caught;
};

static void
juggler_throw(struct juggler *juggler, struct env *env)
{
    if (bus_send(juggler->me, juggler->peer, &env, NULL) != 0) {
        env_free(&env); /* the peer has stopped */
    }
}

static int
juggler_start(void *self, bus_actor_t *me, struct dyn_err *err)
{
    struct juggler *juggler = self;
    (void)err;
    juggler->me = me;
    juggler->peer = bus_actor_addr(me) == juggler->pair->a ? juggler->pair->b : juggler->pair->a;
    for (unsigned i = 0; i < juggler->throws; i++) {
        struct env *env = wire_envelope(ENV_CHUNK);
        env->body = dyn_block_ref(juggler->ball);
        juggler_throw(juggler, env);
    }
    return 0;
}

static void
juggler_receive(void *self, struct env **env_p)
{
    struct juggler *juggler = self;
    struct env *env = *env_p;
    *env_p = NULL;
    if (++juggler->caught == 2 * IN_FLIGHT) {
        gate_open(&juggler->pair->gate);
    }
    juggler_throw(juggler, env);
}

static void
juggler_stop(void *self)
{
    (void)self;
}

static const struct bus_actor_ops juggler_ops = {
    .kind = "juggler", .start = juggler_start, .receive = juggler_receive, .stop = juggler_stop};

static void
envelopes_in_flight_are_freed_by_a_stop(void **state)
{
    dyn_block_t *ball = dyn_block_copy(0, DYN_SLICE("ball"));
    struct pair *pair = pair_new(*state, 0, 2);
    struct juggler a = {.pair = pair, .ball = ball, .throws = IN_FLIGHT};
    struct juggler b = {.pair = pair, .ball = ball};
    pair_add(pair, &juggler_ops, &a, &juggler_ops, &b);
    pair_start(pair);
    gate_wait(&pair->gate);
    assert_int_equal(pair_free(pair, NEVER_WAITED_MS), 0);
    assert_false(dyn_block_is_shared(ball));
    dyn_block_unref(&ball);
}

/* What was sent at start to an actor whose start then fails is freed, though no loop ever turned. */
static void
envelopes_of_a_failed_start_are_freed(void **state)
{
    struct journal journal;
    journal_init(&journal);
    struct dyn_err err;
    dyn_block_t *ball = dyn_block_copy(0, DYN_SLICE("ball"));
    struct pair *pair = pair_new(*state, 0, 0);
    struct juggler a = {.pair = pair, .ball = ball, .throws = IN_FLIGHT};
    struct scribe b = {.journal = &journal, .name = 'b', .refuses_to_start = true};
    pair_add(pair, &juggler_ops, &a, &simple_ops, &b);
    assert_int_equal(bus_start(pair->bus, &err), -1);
    assert_int_equal(pair_free(pair, NEVER_WAITED_MS), 0);
    assert_false(dyn_block_is_shared(ball));
    dyn_block_unref(&ball);
}

/* ---- two buses, timers, posts ---- */

static void
two_buses_do_not_know_each_other(void **state)
{
    dyn_block_t *ball = dyn_block_copy(0, DYN_SLICE("ball"));
    struct pair *pairs[2];
    struct juggler jugglers[2][2];
    for (size_t i = 0; i < 2; i++) {
        pairs[i] = pair_new(*state, 0, 2);
        jugglers[i][0] = (struct juggler){.pair = pairs[i], .ball = ball, .throws = IN_FLIGHT};
        jugglers[i][1] = (struct juggler){.pair = pairs[i], .ball = ball};
        pair_add(pairs[i], &juggler_ops, &jugglers[i][0], &juggler_ops, &jugglers[i][1]);
        pair_start(pairs[i]);
    }
    for (size_t i = 0; i < 2; i++) {
        gate_wait(&pairs[i]->gate);
        assert_int_equal(pair_free(pairs[i], NEVER_WAITED_MS), 0);
    }
    assert_false(dyn_block_is_shared(ball));
    dyn_block_unref(&ball);
}

/* Fires, sends from its timer, and from a post of another thread. */
struct clockwork {
    struct pair *pair;
    bus_actor_t *me;
    struct bus_timer tick;
    unsigned ticks;
};

enum { TICKS = 5, POSTS = 1000 };

static void
clockwork_send(struct clockwork *clockwork)
{
    struct env *env = wire_envelope(ENV_EVENT);
    CHECK(bus_send(clockwork->me, clockwork->pair->b, &env, NULL) == 0);
}

static void
clockwork_tick(struct bus_timer *timer)
{
    struct clockwork *clockwork = DYN_CONTAINER_OF(timer, struct clockwork, tick);
    clockwork_send(clockwork);
    if (++clockwork->ticks < TICKS) {
        bus_timer_arm(bus_actor_loop(clockwork->me), timer, clockwork->ticks % 2);
    }
}

static int
clockwork_start(void *self, bus_actor_t *me, struct dyn_err *err)
{
    struct clockwork *clockwork = self;
    (void)err;
    clockwork->me = me;
    clockwork->tick.fire = clockwork_tick;
    bus_timer_arm(bus_actor_loop(me), &clockwork->tick, 1);
    return 0;
}

static void
clockwork_stop(void *self)
{
    bus_timer_fini(&((struct clockwork *)self)->tick);
}

static const struct bus_actor_ops clockwork_ops = {
    .kind = "clockwork", .start = clockwork_start, .receive = scribe_receive, .stop = clockwork_stop};

static void
posted_to_clockwork(void *arg)
{
    clockwork_send(arg);
}

static void *
post_to_clockwork(void *arg)
{
    struct clockwork *clockwork = arg;
    for (unsigned i = 0; i < POSTS; i++) {
        bus_loop_post(clockwork->pair->loop_a, posted_to_clockwork, clockwork);
    }
    return NULL;
}

struct tally {
    struct pair *pair;
    unsigned received;
};

static int
tally_start(void *self, bus_actor_t *me, struct dyn_err *err)
{
    (void)self;
    (void)me;
    (void)err;
    return 0;
}

static void
tally_receive(void *self, struct env **env_p)
{
    struct tally *tally = self;
    env_free(env_p);
    if (++tally->received == TICKS + POSTS) {
        gate_open(&tally->pair->gate);
    }
}

static const struct bus_actor_ops tally_ops = {
    .kind = "tally", .start = tally_start, .receive = tally_receive, .stop = juggler_stop};

static void
timers_and_posts_of_other_threads_reach_actors(void **state)
{
    struct pair *pair = pair_new(*state, 0, 1);
    struct clockwork clockwork = {.pair = pair};
    struct tally tally = {.pair = pair};
    pthread_t thread;
    pair_add(pair, &clockwork_ops, &clockwork, &tally_ops, &tally);
    pair_start(pair);
    assert_int_equal(pthread_create(&thread, NULL, post_to_clockwork, &clockwork), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    gate_wait(&pair->gate);
    assert_int_equal(pair_free(pair, NEVER_WAITED_MS), 0);
    assert_int_equal(tally.received, TICKS + POSTS);
}

int
main(void)
{
    static const struct wire_test tests[] = {
        ONE_PROCESS(actors_start_in_order_and_stop_in_reverse),
        ONE_PROCESS(a_failed_start_stops_everybody),
        ONE_PROCESS(actors_that_never_started_are_stopped),
        ONE_PROCESS(a_kind_drains_when_those_added_after_it_are_idle),
        ONE_PROCESS(an_actor_that_is_never_idle_is_counted_and_stopped),
        EVERYWHERE(envelopes_in_flight_are_freed_by_a_stop),
        ONE_PROCESS(envelopes_of_a_failed_start_are_freed),
        EVERYWHERE(two_buses_do_not_know_each_other),
        EVERYWHERE(timers_and_posts_of_other_threads_reach_actors),
    };
    return run_over_all_wires(tests, DYN_ARRAY_LEN(tests));
}
