/* Plugins of other processes, seen from the owner, the provider and the plugins: who is asked what when they
 * come late, leave, or are gone before the router hears of it. */
#include "proto/plugin_ready.h"
#include "tests/unit/router/router_hear.h"

enum { TIME_LIMIT_MS = 500 };

#define JUDGE       B /* plugins are played by these */
#define OTHER_JUDGE C

static const struct route_plugin judge = {
    .name = {"judge", 5}, .timeout_ms = TIME_LIMIT_MS, .required = true, .denies = ERR_REQUEST_REJECTED};

static struct world *
begin(const struct route_plugin *plugins, size_t n)
{
    struct world *world = world_new();
    world_start(world);
    route_plan_set_plugins(world->impl->options.plan, plugins, n, NULL, NULL);
    join_target(world, A, "one");
    return world;
}

static void
join_all(struct world *world, enum who who, const struct plugin_said *said, size_t n)
{
    struct env *ready = env_new(ENV_READY);
    struct dyn_buf body = DYN_BUF_INIT;
    plugin_ready_encode(said, n, &body);
    ready->role = DYN_SLICE("plugin");
    ready->worker = DYN_SLICE("judge-process");
    ready->body = dyn_block_copy(0, dyn_buf_slice(&body));
    dyn_buf_fini(&body);
    say(world, who, ready);
}

static void
join(struct world *world, enum who who, enum vote_stage stage, uint32_t needs)
{
    struct plugin_said said = {.name = DYN_SLICE("judge"), .stages = VOTE_STAGE_BIT(stage), .needs = needs};
    join_all(world, who, &said, 1);
}

static void
pass(struct world *world, enum who who, struct env **question_p)
{
    struct env *env = env_about(ENV_VOTE, *question_p);
    env->stage = (*question_p)->stage;
    env->plugin = env_copy(env, (*question_p)->plugin);
    env->verdict = VOTE_PASS;
    env_free(question_p);
    say(world, who, env);
}

/* It is asked with that body, and lets pass. */
static void
is_asked(struct world *world, enum who who, const char *body)
{
    struct env *question = hear(world, who, ENV_ASK);
    assert_non_null(question->body);
    assert_true(dyn_slice_is(dyn_block_slice(question->body), body));
    pass(world, who, &question);
}

/* The request goes on to its provider, and is answered. */
static void
goes_on(struct world *world)
{
    struct env *request = hear(world, A, ENV_REQUEST);
    say(world, A, end_of(request, "{}"));
    hear_answer(world, OWNER, "{}");
    env_free(&request);
    assert_int_equal(world->impl->requests.n, 0);
    world_free(world);
}

/* ---- who joins while it is waited for ---- */

static void
who_joins_late_gets_what_it_needs(void **state)
{
    (void)state;
    struct world *world = begin(&judge, 1);
    ask(world, OWNER, CHAT);
    hear_nothing(world, A);
    join(world, JUDGE, VOTE_BEFORE_REQUEST, VOTE_NEEDS_BODY | VOTE_NEEDS_COUNTS);
    is_asked(world, JUDGE, CHAT);
    goes_on(world);
}

static void
who_joins_late_and_votes_elsewhere_has_passed(void **state)
{
    (void)state;
    struct world *world = begin(&judge, 1);
    ask(world, OWNER, CHAT);
    hear_nothing(world, A);
    join(world, JUDGE, VOTE_DURING_STREAM, 0);
    hear_nothing(world, JUDGE);
    goes_on(world);
}

/* It has not been waited for itself: its turn had not come. */
static void
who_is_behind_one_that_joins_late_gets_what_it_needs(void **state)
{
    (void)state;
    struct route_plugin both[] = {judge, judge};
    struct plugin_said said[] = {
        {.name = DYN_SLICE("judge"), .stages = VOTE_STAGE_BIT(VOTE_BEFORE_REQUEST)},
        {.name = DYN_SLICE("jury"), .stages = VOTE_STAGE_BIT(VOTE_BEFORE_REQUEST), .needs = VOTE_NEEDS_BODY}};
    both[1].name = said[1].name;
    struct world *world = begin(both, 2);
    ask(world, OWNER, CHAT);
    join_all(world, JUDGE, said, 2);
    struct env *first = hear(world, JUDGE, ENV_ASK);
    is_asked(world, JUDGE, CHAT); /* at the same time: neither changes anything */
    assert_null(first->body);
    pass(world, JUDGE, &first);
    goes_on(world);
}

static void
a_successor_gets_what_it_needs(void **state)
{
    (void)state;
    struct world *world = begin(&judge, 1);
    join(world, JUDGE, VOTE_BEFORE_REQUEST, 0);
    ask(world, OWNER, CHAT);
    struct env *question = hear(world, JUDGE, ENV_ASK);
    assert_null(question->body);
    env_free(&question);
    join(world, OTHER_JUDGE, VOTE_BEFORE_REQUEST, VOTE_NEEDS_BODY);
    goodbye(world, JUDGE, "stopped");
    is_asked(world, OTHER_JUDGE, CHAT);
    goes_on(world);
}

/* ---- who drains ---- */

static void
for_one_that_drains_a_successor_is_waited_for(void **state)
{
    (void)state;
    struct world *world = begin(&judge, 1);
    join(world, JUDGE, VOTE_BEFORE_REQUEST, 0);
    goodbye(world, JUDGE, "drain");
    ask(world, OWNER, CHAT);
    hear_nothing(world, OWNER);
    hear_nothing(world, JUDGE);
    join(world, OTHER_JUDGE, VOTE_BEFORE_REQUEST, VOTE_NEEDS_BODY);
    is_asked(world, OTHER_JUDGE, CHAT);
    goes_on(world);
}

static void
one_that_drains_is_missed_when_nobody_comes(void **state)
{
    (void)state;
    struct world *world = begin(&judge, 1);
    join(world, JUDGE, VOTE_BEFORE_REQUEST, 0);
    goodbye(world, JUDGE, "drain");
    ask(world, OWNER, CHAT);
    hear_nothing(world, OWNER);
    pass_ms(world, TIME_LIMIT_MS);
    fails_with(world, OWNER, ERR_PLUGIN_ERROR);
    world_free(world);
}

static void
one_that_drains_and_need_not_be_there_has_passed(void **state)
{
    (void)state;
    struct route_plugin optional = judge;
    optional.required = false;
    struct world *world = begin(&optional, 1);
    join(world, JUDGE, VOTE_BEFORE_REQUEST, 0);
    goodbye(world, JUDGE, "drain");
    ask(world, OWNER, CHAT);
    hear_nothing(world, JUDGE);
    goes_on(world);
}

/* ---- streams ---- */

#define ROLE "data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\"}}]}\n\n"
#define TEXT "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hello\"}}]}\n\n"

/* Its provider has it. */
static struct env *
stream(struct world *world)
{
    ask(world, OWNER, CHAT_STREAM);
    struct env *request = hear(world, A, ENV_REQUEST);
    hear_and_drop(world, OWNER, ENV_DISPATCHED);
    return request;
}

static void
sends(struct world *world, const struct env *request, uint32_t sequence, const char *bytes)
{
    struct env *chunk = chunk_of(request, sequence, dyn_slice_str(bytes));
    chunk->stream = true;
    say(world, A, chunk);
}

/* The owner has got that of it, and the stream is given up. */
static void
has_left(struct world *world, struct env **request_p, const char *bytes)
{
    struct env *chunk = hear(world, OWNER, ENV_CHUNK);
    assert_true(dyn_slice_is(dyn_block_slice(chunk->body), bytes));
    env_free(&chunk);
    about(world, OWNER, ENV_CANCEL, (*request_p)->id, 0);
    hear_and_drop(world, A, ENV_CANCEL);
    say(world, A, error_of(*request_p, ERR_CLIENT_CLOSED, 1));
    fails_with(world, OWNER, ERR_CLIENT_CLOSED);
    env_free(request_p);
    world_free(world);
}

static void
a_stream_passes_one_that_drains_and_need_not_be_there(void **state)
{
    (void)state;
    struct route_plugin optional = judge;
    optional.required = false;
    struct world *world = begin(&optional, 1);
    join(world, JUDGE, VOTE_DURING_STREAM, 0);
    goodbye(world, JUDGE, "drain");
    struct env *request = stream(world);
    sends(world, request, 0, TEXT);
    hear_nothing(world, JUDGE);
    has_left(world, &request, TEXT);
}

/* ---- who is gone before the router has heard of it ---- */

/* That peer can be gone. */
static void
lives_shortly(struct world *world, enum who who)
{
    struct peer *peer = &world->peers[who];
    struct dyn_err err;
    peer->addr = bus_start_live_actor(world->peers[A].me, &peer_ops, peer, &err);
    assert_int_not_equal(peer->addr, 0);
}

static void
is_gone(struct world *world, enum who who)
{
    bus_remove_actor(world->peers[A].me, world->peers[who].addr);
}

static void
is_heard_to_be_gone(struct world *world, enum who who)
{
    struct env *env = env_new(ENV_GOODBYE);
    env->reason = DYN_SLICE("left");
    assert_int_equal(bus_send_as(world->peers[A].me, world->peers[who].addr, world->router, &env, NULL), 0);
    turn(world);
}

static struct world *
begin_gone(bool is_required, enum vote_stage stage)
{
    struct route_plugin plugin = judge;
    plugin.required = is_required;
    struct world *world = begin(&plugin, 1);
    lives_shortly(world, JUDGE);
    join(world, JUDGE, stage, VOTE_NEEDS_BODY);
    return world;
}

static void
for_one_that_is_gone_another_is_asked(void **state)
{
    (void)state;
    struct world *world = begin_gone(true, VOTE_BEFORE_REQUEST);
    join(world, OTHER_JUDGE, VOTE_BEFORE_REQUEST, VOTE_NEEDS_BODY);
    is_gone(world, JUDGE);
    ask(world, OWNER, CHAT);
    is_asked(world, OTHER_JUDGE, CHAT);
    is_heard_to_be_gone(world, JUDGE);
    goes_on(world);
}

static void
for_one_that_is_gone_a_successor_is_waited_for(void **state)
{
    (void)state;
    struct world *world = begin_gone(true, VOTE_BEFORE_REQUEST);
    ask(world, OWNER, CHAT); /* it dies with this one unanswered */
    hear_and_drop(world, JUDGE, ENV_ASK);
    is_gone(world, JUDGE);
    ask(world, OTHER, CHAT);
    hear_nothing(world, OTHER);
    is_heard_to_be_gone(world, JUDGE);
    hear_nothing(world, OWNER);
    join(world, OTHER_JUDGE, VOTE_BEFORE_REQUEST, VOTE_NEEDS_BODY);
    struct env *question = hear(world, OTHER_JUDGE, ENV_ASK);
    is_asked(world, OTHER_JUDGE, CHAT);
    pass(world, OTHER_JUDGE, &question);
    for (unsigned i = 0; i < 2; i++) {
        struct env *request = hear(world, A, ENV_REQUEST);
        say(world, A, end_of(request, "{}"));
        env_free(&request);
    }
    hear_answer(world, OWNER, "{}");
    hear_answer(world, OTHER, "{}");
    world_free(world);
}

static void
one_that_is_gone_and_need_not_be_there_has_passed(void **state)
{
    (void)state;
    struct world *world = begin_gone(false, VOTE_BEFORE_REQUEST);
    is_gone(world, JUDGE);
    ask(world, OWNER, CHAT);
    goes_on(world);
}

static void
a_stream_passes_one_that_is_gone_and_need_not_be_there(void **state)
{
    (void)state;
    struct world *world = begin_gone(false, VOTE_DURING_STREAM);
    struct env *request = stream(world);
    is_gone(world, JUDGE);
    sends(world, request, 0, TEXT);
    has_left(world, &request, TEXT);
}

/* It was there when the stream began, and has not been asked yet. */
static void
of_a_stream_another_is_asked(void **state)
{
    (void)state;
    struct world *world = begin_gone(true, VOTE_DURING_STREAM);
    join(world, OTHER_JUDGE, VOTE_DURING_STREAM, 0);
    struct env *request = stream(world);
    sends(world, request, 0, ROLE);
    is_gone(world, JUDGE);
    is_heard_to_be_gone(world, JUDGE);
    sends(world, request, 1, TEXT);
    struct env *question = hear(world, OTHER_JUDGE, ENV_ASK);
    assert_int_equal(question->stage, VOTE_DURING_STREAM);
    env_free(&question);
    has_left(world, &request, ROLE);
}

static void
a_stream_that_needs_one_that_is_gone_fails(void **state)
{
    (void)state;
    struct world *world = begin_gone(true, VOTE_DURING_STREAM);
    struct env *request = stream(world);
    is_gone(world, JUDGE);
    sends(world, request, 0, TEXT);
    hear_and_drop(world, A, ENV_CANCEL);
    say(world, A, error_of(request, ERR_CLIENT_CLOSED, 1));
    fails_with(world, OWNER, ERR_PLUGIN_ERROR);
    env_free(&request);
    world_free(world);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_joins_late_gets_what_it_needs),
        cmocka_unit_test(who_joins_late_and_votes_elsewhere_has_passed),
        cmocka_unit_test(who_is_behind_one_that_joins_late_gets_what_it_needs),
        cmocka_unit_test(a_successor_gets_what_it_needs),
        cmocka_unit_test(for_one_that_drains_a_successor_is_waited_for),
        cmocka_unit_test(one_that_drains_is_missed_when_nobody_comes),
        cmocka_unit_test(one_that_drains_and_need_not_be_there_has_passed),
        cmocka_unit_test(a_stream_passes_one_that_drains_and_need_not_be_there),
        cmocka_unit_test(for_one_that_is_gone_another_is_asked),
        cmocka_unit_test(for_one_that_is_gone_a_successor_is_waited_for),
        cmocka_unit_test(one_that_is_gone_and_need_not_be_there_has_passed),
        cmocka_unit_test(a_stream_passes_one_that_is_gone_and_need_not_be_there),
        cmocka_unit_test(of_a_stream_another_is_asked),
        cmocka_unit_test(a_stream_that_needs_one_that_is_gone_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
