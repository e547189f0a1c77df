/* What a request cost, in the head of its answer and in its event. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "models/adjust.h"
#include "proto/event.h"
#include "tests/unit/router/hedge_race.h"

static const char prices[] = "dynabus-catalogue 1\n"
                             "openai\tm\tchat\t$input=3000000 $output=15000000 $cache_read=300000\n";

static struct world *
priced_world(catalogue_t **catalogue_p)
{
    struct dyn_err err;
    *catalogue_p = catalogue_load(dyn_slice_str(prices), &err);
    struct world *world = world_new();
    serve_here(world);
    world->catalogue = *catalogue_p;
    world->options.events = world->options.metrics;
    atomic_store(&world->shared.wants_events, true);
    return world;
}

static struct dyn_slice
header_of(const struct env *env, const char *name)
{
    for (size_t i = 0; i < env->n_headers; i++) {
        if (dyn_slice_is(env->headers[i].name, name)) {
            return env->headers[i].value;
        }
    }
    return dyn_slice(NULL, 0);
}

static const struct env_usage used = {.known = true,
                                      .prompt_tokens = 1000,
                                      .cached_tokens = 400,
                                      .completion_tokens = 100,
                                      .total_tokens = 1100};

static struct env *
answer(struct world *world, const char *body, const struct env_usage *usage)
{
    (void)ask(world, OWNER, body);
    struct env *request = hear(world, HERE, ENV_REQUEST);
    struct env *end = end_of(request, "hello");
    end->stream = request->stream;
    end->usage = *usage;
    if (request->stream) {
        hear_and_drop(world, OWNER, ENV_DISPATCHED);
    }
    say(world, HERE, end);
    env_free(&request);
    return hear(world, OWNER, ENV_END);
}

static struct event_record
event_of(struct world *world, struct env **event_p)
{
    pass_ms(world, ROUTE_EVENTS_MS);
    *event_p = hear(world, METRICS, ENV_EVENT);
    return told_alone(*event_p);
}

static void
a_plain_answer_says_what_it_cost(void **state)
{
    (void)state;
    catalogue_t *catalogue;
    struct world *world = priced_world(&catalogue);
    world_start(world);
    struct env *end = answer(world, CHAT, &used);
    assert_true(dyn_slice_is(header_of(end, "x-dynabus-cost-usd"), "0.00342"));
    struct env *event;
    struct event_record record = event_of(world, &event);
    assert_true(record.cost_model_found);
    assert_true(record.cost_usd > 0.0034199 && record.cost_usd < 0.0034201);
    assert_true(record.cost_cache_read_usd > 0.000119 && record.cost_cache_read_usd < 0.000121);
    env_free(&event);
    env_free(&end);
    world_free(world);
    catalogue_unref(&catalogue);
}

/* Longer than one envelope: its owner holds it until the END. */
static void
a_plain_answer_in_pieces_says_it_in_its_end(void **state)
{
    (void)state;
    catalogue_t *catalogue;
    struct world *world = priced_world(&catalogue);
    world_start(world);
    (void)ask(world, OWNER, CHAT);
    struct env *request = hear(world, HERE, ENV_REQUEST);
    say(world, HERE, chunk_of(request, 0, DYN_SLICE("hello ")));
    struct env *chunk = hear(world, OWNER, ENV_CHUNK);
    assert_null(header_of(chunk, "x-dynabus-cost-usd").data);
    struct env *end = end_of(request, "world");
    end->usage = used;
    say(world, HERE, end);
    end = hear(world, OWNER, ENV_END);
    assert_true(dyn_slice_is(header_of(end, "x-dynabus-cost-usd"), "0.00342"));
    env_free(&chunk);
    env_free(&request);
    env_free(&end);
    world_free(world);
    catalogue_unref(&catalogue);
}

/* Who leaves has used what there was until then. */
static void
a_failed_request_has_its_cost(void **state)
{
    (void)state;
    catalogue_t *catalogue;
    struct world *world = priced_world(&catalogue);
    world_start(world);
    (void)ask(world, OWNER, CHAT);
    struct env *request = hear(world, HERE, ENV_REQUEST);
    struct env *end = error_of(request, ERR_UPSTREAM_INVALID, 1);
    end->usage = used;
    end->usage.estimated = true;
    end->warnings = DYN_SLICE("a warning");
    end->degraded = DYN_SLICE("seed");
    say(world, HERE, end);
    end = hear(world, OWNER, ENV_END);
    struct env *event;
    struct event_record record = event_of(world, &event);
    assert_true(record.failed && record.estimated && record.cost_model_found);
    assert_int_equal(record.tokens_in, 1000);
    assert_int_equal(record.tokens_out, 100);
    assert_true(record.cost_usd > 0.0034199 && record.cost_usd < 0.0034201);
    assert_true(dyn_slice_is(record.warnings, "a warning") && dyn_slice_is(record.degraded, "seed"));
    struct event_attempt attempt;
    assert_int_equal(event_attempts_decode(record.attempt_list, &attempt, 1), 1);
    assert_true(attempt.estimated && attempt.tokens_in == 1000 && attempt.cost_usd > 0.0034199);
    env_free(&event);
    env_free(&request);
    env_free(&end);
    world_free(world);
    catalogue_unref(&catalogue);
}

/* Whoever lost has worked, too. */
static void
a_race_costs_what_both_have_used(void **state)
{
    (void)state;
    struct dyn_err err;
    catalogue_t *catalogue = catalogue_load(dyn_slice_str(prices), &err);
    struct world *world = prepared(2);
    serve_here(world); /* for who hears the events; the targets are served by workers */
    world->addrs[0] = 0;
    world->catalogue = catalogue;
    world->options.events = world->options.metrics;
    atomic_store(&world->shared.wants_events, true);
    struct race race = race_in(world, CHAT);
    struct env *end = end_of(race.second, "hello");
    end->usage = used;
    say(world, B, end);
    end = hear(world, OWNER, ENV_END);
    assert_true(dyn_slice_is(header_of(end, "x-dynabus-cost-usd"), "0.00342"));
    told_to_stop(world, A, "hedged");
    struct env *loser = stopped(race.first);
    loser->usage = used;
    loser->usage.estimated = true;
    say(world, A, loser);
    struct env *event;
    struct event_record record = event_of(world, &event);
    assert_true(record.estimated && record.cost_model_found && !record.failed);
    assert_true(record.cost_usd > 0.0068399 && record.cost_usd < 0.0068401);
    assert_int_equal(record.tokens_in, 1000);
    struct event_attempt attempts[2];
    assert_int_equal(event_attempts_decode(record.attempt_list, attempts, 2), 2);
    assert_true(attempts[0].lost_race && attempts[0].estimated && !attempts[1].estimated);
    assert_true(attempts[0].cost_usd > 0.0034199 && attempts[0].cost_usd < 0.0034201);
    env_free(&event);
    env_free(&end);
    race_over(&race);
    catalogue_unref(&catalogue);
}

static void
an_unknown_cost_is_not_shown_as_zero(void **state)
{
    (void)state;
    catalogue_t *catalogue;
    struct world *world = priced_world(&catalogue);
    world->targets[0].provider = DYN_SLICE("openai-compatible");
    world_start(world);
    struct env *end = answer(world, CHAT, &used);
    assert_null(header_of(end, "x-dynabus-cost-usd").data);
    struct env *event;
    assert_false(event_of(world, &event).cost_model_found);
    env_free(&event);
    env_free(&end);

    const struct env_usage unknown = {.known = false};
    end = answer(world, CHAT, &unknown);
    assert_null(header_of(end, "x-dynabus-cost-usd").data);
    assert_false(event_of(world, &event).cost_model_found);
    env_free(&event);
    env_free(&end);
    world_free(world);
    catalogue_unref(&catalogue);
}

/* Its head has gone out before the cost is known. */
static void
a_stream_says_it_in_the_event_alone(void **state)
{
    (void)state;
    catalogue_t *catalogue;
    struct world *world = priced_world(&catalogue);
    world_start(world);
    struct env *end = answer(world, CHAT_STREAM, &used);
    assert_null(header_of(end, "x-dynabus-cost-usd").data);
    struct env *event;
    assert_true(event_of(world, &event).cost_model_found);
    env_free(&event);
    env_free(&end);
    world_free(world);
    catalogue_unref(&catalogue);
}

/* A price that was set for one target holds for it, and no other. */
static void
a_target_may_have_its_own_price(void **state)
{
    (void)state;
    catalogue_t *catalogue;
    struct world *world = priced_world(&catalogue);
    struct catalogue_adjustment adjustment = {
        .target = DYN_SLICE("one"), .provider = DYN_SLICE("openai"), .model = DYN_SLICE("m")};
    for (size_t i = 0; i < CATALOGUE_PRICE_COUNT; i++) {
        adjustment.prices[i] = i == CATALOGUE_PRICE_INPUT ? 0 : PRICE_UNKNOWN;
    }
    catalogue_t *adjusted = catalogue_adjust(catalogue, &adjustment, 1);
    world->catalogue = adjusted;
    world_start(world);
    struct env *end = answer(world, CHAT, &used);
    assert_true(dyn_slice_is(header_of(end, "x-dynabus-cost-usd"), "0.00162"));
    const struct catalogue_model *elsewhere =
        catalogue_find_for(adjusted, DYN_SLICE("two"), DYN_SLICE("openai"), DYN_SLICE("m"));
    assert_int_equal(catalogue_price(elsewhere, CATALOGUE_PRICE_INPUT), 3000000);
    env_free(&end);
    world_free(world);
    catalogue_unref(&adjusted);
    catalogue_unref(&catalogue);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_plain_answer_says_what_it_cost),
        cmocka_unit_test(a_plain_answer_in_pieces_says_it_in_its_end),
        cmocka_unit_test(a_failed_request_has_its_cost),
        cmocka_unit_test(a_race_costs_what_both_have_used),
        cmocka_unit_test(an_unknown_cost_is_not_shown_as_zero),
        cmocka_unit_test(a_stream_says_it_in_the_event_alone),
        cmocka_unit_test(a_target_may_have_its_own_price),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
