/* A router whose targets are hedged, and the two attempts of one request. */
#pragma once

#include "tests/unit/router/router_hear.h"

enum { AFTER_MS = 100 };

/* Target "one" is served by worker A, "two" by B, "three" by C. */
static DYN_UNUSED struct world *
prepared(size_t n)
{
    struct world *world = world_new();
    world->n_targets = n;
    for (size_t i = 0; i < n; i++) {
        world->targets[i].retry.attempts = 1;
        world->targets[i].hedge =
            (struct route_hedge){.is_on = true, .after_ms = AFTER_MS, .max_percent = 100};
    }
    walk_all_targets(world);
    return world;
}

static DYN_UNUSED struct world *
started(struct world *world)
{
    static const char *const names[] = {"one", "two", "three"};
    world_start(world);
    for (size_t i = 0; i < world->n_targets; i++) {
        join_target(world, (enum who)(A + i), names[i]);
    }
    return world;
}

struct race {
    struct world *world;
    struct env_id id;
    struct env *first; /* that A got */
    struct env *second;
};

static DYN_UNUSED struct race
race_in(struct world *world, const char *body)
{
    struct race race = {.world = started(world)};
    race.id = ask(world, OWNER, body);
    race.first = hear(world, A, ENV_REQUEST);
    pass_ms(world, AFTER_MS - 1);
    hear_nothing(world, B);
    pass_ms(world, 1);
    race.second = hear(world, B, ENV_REQUEST);
    assert_int_equal(race.first->attempt, 1);
    assert_int_equal(race.second->attempt, 2);
    return race;
}

static DYN_UNUSED void
race_over(struct race *race)
{
    env_free(&race->first);
    env_free(&race->second);
    world_free(race->world);
}

static DYN_UNUSED void
told_to_stop(struct world *world, enum who who, const char *reason)
{
    struct env *cancel = hear(world, who, ENV_CANCEL);
    assert_true(dyn_slice_is(cancel->reason, reason));
    env_free(&cancel);
}

static DYN_UNUSED struct env *
stopped(const struct env *request)
{
    struct env *end = error_of(request, ERR_CLIENT_CLOSED, 1);
    end->outcome = ENV_OUTCOME_CANCELLED;
    end->usage = (struct env_usage){.known = true, .estimated = true, .prompt_tokens = 5};
    return end;
}

static DYN_UNUSED void
settled(struct world *world)
{
    hear_nothing(world, OWNER);
    assert_int_equal(world->impl->requests.n, 0);
    for (size_t i = 0; i < world->impl->members.n_workers; i++) {
        assert_int_equal(world->impl->members.workers[i]->in_flight, 0);
        assert_int_equal(world->impl->members.workers[i]->bytes, 0);
    }
}

static DYN_UNUSED struct env *
failed(const struct env *request, uint16_t status, uint32_t retry_ms)
{
    struct env *end = error_of(request, ERR_UPSTREAM_ERROR, 1);
    end->upstream_status = status;
    end->retry_ms = retry_ms;
    return end;
}

static DYN_UNUSED struct env *
again_at(struct world *world, enum who who, uint32_t attempt, uint32_t epoch)
{
    struct env *request = hear(world, who, ENV_REQUEST);
    assert_int_equal(request->attempt, attempt);
    assert_int_equal(request->epoch, epoch);
    return request;
}
