/* Who may serve what: choosing among members, workers that come, change and go, and targets that they bring.
 */
#include "tests/unit/router/router_hear.h"

#include <stdio.h>

/* ---- choosing ---- */

static const struct route_wish wish = {.bytes = 10};

static enum route_pick
pick(struct route_crew *crew, bus_addr_t avoid, size_t *index)
{
    struct route_wish asked = wish;
    asked.avoid = avoid;
    enum route_pick found = route_member_pick(crew, &asked, index);
    crew->turn = found == ROUTE_PICK_FOUND ? *index + 1 : crew->turn;
    return found;
}

static void
the_one_with_the_fewest_in_flight_is_picked(void **state)
{
    (void)state;
    struct route_member items[3] = {
        {.addr = 1, .in_flight = 4}, {.addr = 2, .in_flight = 1}, {.addr = 3, .in_flight = 2}};
    struct route_member *members[] = {&items[0], &items[1], &items[2]};
    struct route_crew crew = {.members = members, .n = 3};
    size_t index = 9;
    assert_int_equal(pick(&crew, 0, &index), ROUTE_PICK_FOUND);
    assert_int_equal(index, 1);
    assert_int_equal(pick(&crew, 2, &index), ROUTE_PICK_FOUND);
    assert_int_equal(index, 2);
    items[2].is_draining = true;
    assert_int_equal(pick(&crew, 2, &index), ROUTE_PICK_FOUND);
    assert_int_equal(index, 0);
}

static void
equals_take_turns(void **state)
{
    (void)state;
    struct route_member items[3] = {{.addr = 1}, {.addr = 2}, {.addr = 3}};
    struct route_member *members[] = {&items[0], &items[1], &items[2]};
    struct route_crew crew = {.members = members, .n = 3};
    for (size_t i = 0; i < 7; i++) {
        size_t index = 9;
        assert_int_equal(pick(&crew, 0, &index), ROUTE_PICK_FOUND);
        assert_int_equal(index, i % 3);
    }
}

static void
budgets_bound_number_and_bytes(void **state)
{
    (void)state;
    static const struct {
        struct route_member member;
        enum route_pick pick;
    } cases[] = {
        {{.addr = 1, .in_flight = 1000, .bytes = 1u << 30}, ROUTE_PICK_FOUND}, /* no budget said */
        {{.addr = 1, .in_flight = 1, .requests_max = 2}, ROUTE_PICK_FOUND},
        {{.addr = 1, .in_flight = 2, .requests_max = 2}, ROUTE_PICK_FULL},
        {{.addr = 1, .in_flight = 1, .bytes = 90, .bytes_max = 100}, ROUTE_PICK_FOUND},
        {{.addr = 1, .in_flight = 1, .bytes = 91, .bytes_max = 100}, ROUTE_PICK_FULL},
        {{.addr = 1, .in_flight = 0, .bytes_max = 1}, ROUTE_PICK_FOUND}, /* or it could never pass */
        {{.addr = 1, .in_flight = 1, .bytes = 0, .bytes_max = 1}, ROUTE_PICK_FULL},
        {{.addr = 1, .is_draining = true}, ROUTE_PICK_NOBODY},
        {{.addr = 1, .is_draining = true, .in_flight = 2, .requests_max = 2}, ROUTE_PICK_NOBODY},
    };
    for (size_t i = 0; i < DYN_ARRAY_LEN(cases); i++) {
        struct route_member member = cases[i].member;
        struct route_member *members[] = {&member};
        struct route_crew crew = {.members = members, .n = 1};
        size_t index;
        assert_int_equal(pick(&crew, 0, &index), cases[i].pick);
    }
    struct route_crew nobody = {.n = 0};
    size_t index;
    assert_int_equal(pick(&nobody, 0, &index), ROUTE_PICK_NOBODY);
}

/* ---- models and targets ---- */

static void
offer(struct world *world, enum who who, const char *target, const char *model)
{
    struct dyn_slice models[] = {dyn_slice_str(model)};
    struct ready_target said = {.name = dyn_slice_str(target), .models = models, .n_models = 1};
    say(world, who, ready_of(name_of(who), &said, 1));
}

static struct world *
open_world(void)
{
    struct world *world = world_new();
    static const struct dyn_slice own[] = {DYN_SLICE_INIT("configured")};
    world->targets[0].models = own;
    world->targets[0].n_models = 1;
    world->options.accepts_new_targets = true;
    world_start(world);
    pass_ms(world, WAIT_MS); /* it has not just begun */
    return world;
}

static void
models_are(struct world *world, const char *expected)
{
    struct env *request = request_of("");
    request->surface = ENV_SURFACE_MODELS;
    say(world, OWNER, request);
    struct env *end = hear(world, OWNER, ENV_END);
    struct dyn_buf body = DYN_BUF_INIT;
    dyn_buf_add_slice(&body, dyn_block_slice(end->body));
    struct dyn_buf found = DYN_BUF_INIT;
    for (const char *at = dyn_buf_cstr(&body); (at = strstr(at, "{\"id\":\"")) != NULL;) {
        at += strlen("{\"id\":\"");
        dyn_buf_addf(&found, "%.*s ", (int)strcspn(at, "\""), at);
    }
    assert_string_equal(dyn_buf_cstr(&found), expected);
    dyn_buf_fini(&found);
    dyn_buf_fini(&body);
    env_free(&end);
}

static struct env *
request_for(const char *model)
{
    char body[200];
    (void)snprintf(body, sizeof body,
                   "{\"model\":\"%s\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}", model);
    return request_of(body);
}

static void
models_of_workers_come_and_go_with_them(void **state)
{
    (void)state;
    struct world *world = open_world();
    models_are(world, "configured ");
    offer(world, A, "local", "echo");
    models_are(world, "configured echo ");
    offer(world, B, "local", "shout");
    models_are(world, "configured echo shout ");
    offer(world, C, "local", "echo");
    models_are(world, "configured echo shout ");
    goodbye(world, A, "close");
    models_are(world, "configured echo shout ");
    goodbye(world, C, "lost");
    models_are(world, "configured shout ");
    offer(world, B, "local", "whisper"); /* says anew what it serves */
    models_are(world, "configured whisper ");
    goodbye(world, B, "close");
    models_are(world, "configured ");
    say(world, OWNER, request_for("echo"));
    fails_with(world, OWNER, ERR_MODEL_NOT_FOUND);
    world_free(world);
}

static void
a_request_goes_to_a_member_that_announced_its_model(void **state)
{
    (void)state;
    struct world *world = open_world();
    offer(world, A, "local", "echo");
    offer(world, B, "local", "shout");
    for (unsigned i = 0; i < 3; i++) {
        say(world, OWNER, request_for("shout"));
        struct env *request = hear(world, B, ENV_REQUEST);
        assert_true(dyn_slice_is(request->target, "local"));
        say(world, B, end_of(request, "SHOUT"));
        struct env *end = hear(world, OWNER, ENV_END);
        assert_true(dyn_slice_is(end->target, "local"));
        assert_true(dyn_slice_is(end->provider, "local"));
        env_free(&end);
        env_free(&request);
    }
    hear_nothing(world, A);
    world_free(world);
}

/* Decided: prompts for a configured model never go to somebody who turned up and says it has it as well. */
static void
a_configured_model_is_not_taken_by_a_new_target(void **state)
{
    (void)state;
    struct world *world = open_world();
    offer(world, A, "thief", "configured");
    say(world, OWNER, request_for("configured"));
    hear_nothing(world, A);
    pass_ms(world, WAIT_MS);
    fails_with(world, OWNER, ERR_UPSTREAM_UNAVAILABLE);
    world_free(world);
}

static void
a_name_of_the_configuration_joins_its_target(void **state)
{
    (void)state;
    struct world *world = open_world();
    offer(world, A, "one", "other"); /* the configuration prevails */
    models_are(world, "configured ");
    say(world, OWNER, request_for("configured"));
    hear_and_drop(world, A, ENV_REQUEST);
    world_free(world);
}

static void
told_to_go(struct world *world, enum who who, const char *reason)
{
    struct env *told = hear(world, who, ENV_GOODBYE);
    assert_true(dyn_slice_is(told->reason, reason));
    env_free(&told);
    hear_nothing(world, who);
}

static void
a_new_target_needs_leave(void **state)
{
    (void)state;
    struct world *world = world_new();
    world_start(world);
    offer(world, A, "local", "echo");
    told_to_go(world, A, "role");
    offer(world, A, "one", "echo");
    hear_nothing(world, A);
    world_free(world);
    world = world_new();
    world->options.accepts_workers = false;
    world_start(world);
    offer(world, A, "one", "echo");
    told_to_go(world, A, "role");
    world_free(world);
}

/* Names of strangers stand in headers and labels. */
static void
a_new_target_has_a_plain_name(void **state)
{
    (void)state;
    static const char *const bad[] = {"two words", "caf\xc3\xa9", "x\"y", "a,b"};
    for (size_t i = 0; i < DYN_ARRAY_LEN(bad); i++) {
        struct world *world = open_world();
        offer(world, A, bad[i], "echo");
        told_to_go(world, A, "role");
        world_free(world);
    }
}

static void
other_surfaces_and_dialects_are_left_alone(void **state)
{
    (void)state;
    static const struct ready_target foreign[] = {
        {.name = DYN_SLICE_INIT("a"), .dialect = DYN_SLICE_INIT("klingon"), .any_model = true},
        {.name = DYN_SLICE_INIT("b"), .surfaces = 1u << ENV_SURFACE_MODELS, .any_model = true},
    };
    struct world *world = open_world();
    say(world, A, ready_of("worker-a", foreign, 2));
    told_to_go(world, A, "role");
    assert_int_equal(world->impl->members.n_workers, 0);
    world_free(world);
}

/* More names than there is room for, by workers that come and go: the places are used again. */
static void
places_of_targets_are_used_again(void **state)
{
    (void)state;
    struct world *world = open_world();
    for (unsigned i = 0; i < 3 * ROUTE_TARGETS_MAX; i++) {
        char name[32];
        (void)snprintf(name, sizeof name, "local-%u", i);
        offer(world, A, name, name);
        hear_nothing(world, A);
        say(world, OWNER, request_for(name));
        struct env *request = hear(world, A, ENV_REQUEST);
        say(world, A, end_of(request, "hello"));
        hear_answer(world, OWNER, "hello");
        env_free(&request);
    }
    assert_true(world->impl->members.n_targets <= 3);
    world_free(world);
}

/* A request that waits for a worker of a target that was announced must not meet another target there. */
static void
the_place_of_a_target_that_is_waited_for_is_kept(void **state)
{
    (void)state;
    struct world *world = open_world();
    offer(world, A, "local", "echo");
    say(world, OWNER, request_for("echo"));
    hear_and_drop(world, A, ENV_REQUEST);
    goodbye(world, A, "lost");
    offer(world, B, "elsewhere", "echo");
    hear_nothing(world, B);
    offer(world, C, "local", "echo");
    struct env *request = hear(world, C, ENV_REQUEST);
    assert_true(dyn_slice_is(request->target, "local"));
    env_free(&request);
    world_free(world);
}

static void
too_many_targets_are_refused(void **state)
{
    enum { EACH = 51 }; /* one is configured already: five times so many fit beside it */
    (void)state;
    struct world *world = open_world();
    char names[6 * EACH][16];
    struct ready_target said[6 * EACH];
    for (unsigned i = 0; i < 6 * EACH; i++) {
        (void)snprintf(names[i], sizeof names[i], "t%u", i);
        said[i] = (struct ready_target){.name = dyn_slice_str(names[i]), .any_model = true};
    }
    for (unsigned i = 0; i < 5; i++) {
        char worker[16];
        (void)snprintf(worker, sizeof worker, "worker-%u", i);
        say(world, (enum who)(OWNER + i), ready_of(worker, said + (size_t)i * EACH, EACH));
        hear_nothing(world, (enum who)(OWNER + i));
    }
    say(world, HERE, ready_of("worker-5", said + (size_t)5 * EACH, 1));
    told_to_go(world, HERE, "limit");
    world_free(world);
}

/* A router that has just begun does not yet know who is there. */
static void
a_router_that_has_just_begun_waits_for_new_targets(void **state)
{
    (void)state;
    struct world *world = world_new();
    static const struct dyn_slice own[] = {DYN_SLICE_INIT("configured")};
    world->targets[0].models = own;
    world->targets[0].n_models = 1;
    world->options.accepts_new_targets = true;
    world_start(world);
    pass_ms(world, WAIT_MS / 2);
    say(world, OWNER, request_for("echo"));
    say(world, OTHER, request_for("nobody"));
    hear_nothing(world, OWNER);
    offer(world, A, "local", "echo");
    hear_and_drop(world, A, ENV_REQUEST);
    hear_nothing(world, OTHER);
    pass_ms(world, WAIT_MS / 2);
    struct env *end = hear(world, OTHER, ENV_END);
    assert_int_equal(end->error, ERR_MODEL_NOT_FOUND);
    env_free(&end);
    say(world, OTHER, request_for("nobody")); /* and not any more */
    end = hear(world, OTHER, ENV_END);
    assert_int_equal(end->error, ERR_MODEL_NOT_FOUND);
    env_free(&end);
    world_free(world);
}

/* ---- joining ---- */

static void
a_name_belongs_to_the_last_connection(void **state)
{
    (void)state;
    struct world *world = open_world();
    offer(world, A, "one", "x");
    say(world, OWNER, request_for("configured"));
    hear_and_drop(world, A, ENV_REQUEST);
    struct ready_target said = {.name = DYN_SLICE("one"), .any_model = true};
    say(world, B, ready_of("worker-a", &said, 1));
    told_to_go(world, A, "close");
    assert_int_equal(world->impl->members.n_workers, 1);
    hear_and_drop(world, B, ENV_REQUEST);
    world_free(world);
}

/* Who is told to go takes nobody's place. */
static void
a_name_is_kept_from_who_may_not_join(void **state)
{
    (void)state;
    struct world *world = open_world();
    offer(world, A, "one", "x");
    struct ready_target said = {.name = DYN_SLICE("one"), .any_model = true};
    struct env *ready = ready_of("worker-a", &said, 1);
    dyn_block_unref(&ready->body);
    ready->body = dyn_block_copy(0, DYN_SLICE("nonsense"));
    say(world, B, ready);
    told_to_go(world, B, "protocol");
    assert_int_equal(world->impl->members.n_workers, 1);
    say(world, OWNER, request_for("configured"));
    hear_and_drop(world, A, ENV_REQUEST);
    world_free(world);
}

static void
all_at_budget_is_said_with_a_time(void **state)
{
    (void)state;
    struct world *world = open_world();
    struct ready_target said = {.name = DYN_SLICE("one"), .any_model = true};
    struct env *ready = ready_of("worker-a", &said, 1);
    ready->requests = 1;
    say(world, A, ready);
    say(world, OWNER, request_for("configured"));
    struct env *first = hear(world, A, ENV_REQUEST);
    say(world, OTHER, request_for("configured"));
    struct env *end = hear(world, OTHER, ENV_END);
    assert_int_equal(end->error, ERR_SATURATED);
    assert_int_equal(end->status, 429);
    assert_int_equal(end->retry_after_s, 1);
    env_free(&end);
    say(world, A, end_of(first, "hello"));
    say(world, OTHER, request_for("configured"));
    hear_and_drop(world, A, ENV_REQUEST);
    env_free(&first);
    world_free(world);
}

static void
say_body(struct world *world, const char *bytes, size_t len)
{
    struct env *ready = env_new(ENV_READY);
    ready->worker = DYN_SLICE("garbage");
    ready->body = len > 0 ? dyn_block_copy(0, dyn_slice(bytes, len)) : NULL;
    say(world, B, ready);
}

/* Every body that is not a map of targets, cut anywhere, is answered with GOODBYE and disturbs nobody. */
static void
garbage_is_told_to_go(void **state)
{
    (void)state;
    static const char sound[] = "\x81\xa7targets\x91\x82\xa4name\xa3one\xa6models\x91\xa1m";
    struct world *world = open_world();
    offer(world, A, "one", "x");
    for (size_t cut = 0; cut < sizeof sound - 1; cut++) {
        say_body(world, sound, cut);
        told_to_go(world, B, cut == 0 ? "role" : "protocol"); /* nothing said is nothing served */
    }
    for (size_t at = 0; at < sizeof sound - 1; at++) {
        char broken[sizeof sound];
        memcpy(broken, sound, sizeof sound);
        broken[at] = (char)0xc1;
        say_body(world, broken, sizeof sound - 1);
        told_to_go(world, B, "protocol");
    }
    assert_int_equal(world->impl->members.n_workers, 1);
    say_body(world, sound, sizeof sound - 1);
    hear_nothing(world, B);
    assert_int_equal(world->impl->members.n_workers, 2);
    say_body(world, "\xc0", 1); /* a member that talks nonsense is one no more */
    told_to_go(world, B, "protocol");
    assert_int_equal(world->impl->members.n_workers, 1);
    say(world, OWNER, request_for("configured"));
    hear_and_drop(world, A, ENV_REQUEST);
    world_free(world);
}

static void
a_worker_without_a_name_is_refused(void **state)
{
    (void)state;
    struct world *world = open_world();
    struct ready_target said = {.name = DYN_SLICE("one"), .any_model = true};
    say(world, A, ready_of("", &said, 1));
    told_to_go(world, A, "protocol");
    world_free(world);
}

/* ---- probes ---- */

static void
probe(struct world *world, enum env_surface surface, unsigned status, const char *expected)
{
    struct env *request = request_of("");
    request->surface = surface;
    say(world, OWNER, request);
    struct env *end = hear(world, OWNER, ENV_END);
    assert_int_equal(end->status, status);
    struct dyn_slice body = dyn_block_slice(end->body);
    assert_int_equal(body.len, strlen(expected));
    assert_memory_equal(body.data, expected, body.len);
    env_free(&end);
}

static void
readiness_follows_the_members(void **state)
{
    (void)state;
    struct world *world = open_world();
    probe(world, ENV_SURFACE_READY, 503, "{\"status\":\"not_ready\",\"reason\":\"no routable targets\"}");
    probe(world, ENV_SURFACE_HEALTH, 503,
          "{\"status\":\"no_providers\",\"providers\":[{\"name\":\"one\",\"status\":\"unavailable\","
          "\"circuit\":\"closed\",\"models\":1,\"members\":0}]}");
    offer(world, A, "local", "echo");
    offer(world, B, "local", "echo");
    probe(world, ENV_SURFACE_READY, 200,
          "{\"status\":\"ready\",\"targets\":[{\"name\":\"one\",\"routable\":false,\"members\":0},"
          "{\"name\":\"local\",\"routable\":true,\"members\":2}]}");
    struct ready_target said = {.name = DYN_SLICE("local"), .any_model = true};
    for (unsigned i = 0; i < 2; i++) { /* said anew, with the configurations that they have */
        struct env *ready = ready_of(name_of(i ? B : A), &said, 1);
        ready->config_hash = i ? DYN_SLICE("0123") : DYN_SLICE("4567");
        say(world, i ? B : A, ready);
    }
    probe(world, ENV_SURFACE_READY, 200,
          "{\"status\":\"ready\",\"targets\":[{\"name\":\"one\",\"routable\":false,\"members\":0},"
          "{\"name\":\"local\",\"routable\":true,\"members\":2}],\"configurations\":2}");
    assert_int_equal(atomic_load(&world->impl->options.counters->workers), 2);
    goodbye(world, A, "drain");
    goodbye(world, B, "drain");
    probe(world, ENV_SURFACE_READY, 503, "{\"status\":\"not_ready\",\"reason\":\"no routable targets\"}");
    world_free(world);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_one_with_the_fewest_in_flight_is_picked),
        cmocka_unit_test(equals_take_turns),
        cmocka_unit_test(budgets_bound_number_and_bytes),
        cmocka_unit_test(models_of_workers_come_and_go_with_them),
        cmocka_unit_test(a_request_goes_to_a_member_that_announced_its_model),
        cmocka_unit_test(a_configured_model_is_not_taken_by_a_new_target),
        cmocka_unit_test(a_name_of_the_configuration_joins_its_target),
        cmocka_unit_test(a_new_target_needs_leave),
        cmocka_unit_test(a_new_target_has_a_plain_name),
        cmocka_unit_test(other_surfaces_and_dialects_are_left_alone),
        cmocka_unit_test(places_of_targets_are_used_again),
        cmocka_unit_test(the_place_of_a_target_that_is_waited_for_is_kept),
        cmocka_unit_test(too_many_targets_are_refused),
        cmocka_unit_test(a_router_that_has_just_begun_waits_for_new_targets),
        cmocka_unit_test(a_name_belongs_to_the_last_connection),
        cmocka_unit_test(a_name_is_kept_from_who_may_not_join),
        cmocka_unit_test(all_at_budget_is_said_with_a_time),
        cmocka_unit_test(garbage_is_told_to_go),
        cmocka_unit_test(a_worker_without_a_name_is_refused),
        cmocka_unit_test(readiness_follows_the_members),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
