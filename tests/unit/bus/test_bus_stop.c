/* What an actor lends with an envelope is its own memory: once it is stopped nobody may look at it, also
 * not the receiver of an envelope that was still waiting. The loop is turned by hand here. */
#include "bus/bus_impl.h"
#include "proto/dialects/dialect.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

struct lender {
    struct dialect_request *facts;
};

struct reader {
    unsigned received;
    unsigned with_facts;
    uint64_t tokens; /* read from what was lent */
};

static int
start(void *self, bus_actor_t *me, struct dyn_err *err)
{
    (void)self, (void)me, (void)err;
    return 0;
}

static void
drop(void *self, struct env **env_p)
{
    (void)self;
    env_free(env_p);
}

static void
lender_stop(void *self)
{
    struct lender *lender = self;
    free(lender->facts);
    free(lender);
}

static void
reader_receive(void *self, struct env **env_p)
{
    struct reader *reader = self;
    const struct dialect_request *facts = (*env_p)->facts;
    reader->received++;
    if (facts != NULL) {
        reader->with_facts++;
        reader->tokens += facts->max_output_tokens;
    }
    env_free(env_p);
}

static void
reader_stop(void *self)
{
    (void)self;
}

static const struct bus_actor_ops lender_ops = {
    .kind = "lender", .start = start, .receive = drop, .stop = lender_stop};
static const struct bus_actor_ops reader_ops = {
    .kind = "reader", .start = start, .receive = reader_receive, .stop = reader_stop};

struct pair {
    bus_t *bus;
    bus_loop_t *loop;
    struct reader reader;
    struct bus_actor *to;
    struct bus_actor *from[2];
};

static struct bus_actor *
add_lender(struct pair *pair)
{
    struct lender *lender = dyn_zalloc(sizeof *lender);
    lender->facts = dyn_zalloc(sizeof *lender->facts);
    lender->facts->max_output_tokens = 7;
    return bus_find(pair->bus, bus_add_actor(pair->bus, pair->loop, &lender_ops, lender));
}

static void
lend(const struct pair *pair, struct bus_actor *from)
{
    const struct lender *lender = from->self;
    struct env *env = env_new(ENV_REQUEST);
    env->id = env_id_random();
    env->surface = ENV_SURFACE_CHAT;
    env->facts = lender->facts;
    assert_int_equal(bus_send(from, pair->to->addr, &env, NULL), 0);
}

static int
set_up(void **state)
{
    static struct pair pair;
    pair = (struct pair){.bus = bus_new(NULL, NULL)};
    pair.loop = bus_add_loop(pair.bus, "by-hand");
    pair.to = bus_find(pair.bus, bus_add_actor(pair.bus, pair.loop, &reader_ops, &pair.reader));
    pair.from[0] = add_lender(&pair);
    pair.from[1] = add_lender(&pair);
    *state = &pair;
    return 0;
}

static int
tear_down(void **state)
{
    struct pair *pair = *state;
    bus_free(&pair->bus);
    return 0;
}

static void
what_is_lent_arrives(void **state)
{
    struct pair *pair = *state;
    lend(pair, pair->from[0]);
    bus_loop_run_once(pair->loop, 0);
    assert_int_equal(pair->reader.received, 1);
    assert_int_equal(pair->reader.tokens, 7);
}

static void
what_a_stopped_actor_lent_is_not_seen(void **state)
{
    struct pair *pair = *state;
    lend(pair, pair->from[0]);
    lend(pair, pair->from[1]);
    lend(pair, pair->from[0]);
    bus_actor_stop_now(pair->from[0]);
    bus_loop_run_once(pair->loop, 0);
    assert_int_equal(pair->reader.received, 3);
    assert_int_equal(pair->reader.with_facts, 1);
    assert_int_equal(pair->reader.tokens, 7);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_is_lent_arrives, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_a_stopped_actor_lent_is_not_seen, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
