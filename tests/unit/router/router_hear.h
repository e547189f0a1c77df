/* What the peers of a router's world hear, and that they hear nothing else. */
#pragma once

#include "proto/event_batch.h"
#include "tests/unit/router/router_world.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

/* The next envelope that somebody got, kept until the test ends; NULL: none. */
static struct env *
heard(struct world *world, enum who who)
{
    struct dyn_list *link = dyn_list_pop(&world->peers[who].received);
    return link != NULL ? DYN_CONTAINER_OF(link, struct env, link) : NULL;
}

static struct env *
hear(struct world *world, enum who who, enum env_kind kind)
{
    struct env *env = heard(world, who);
    if (env == NULL) {
        fail_msg("peer %d got nothing, not even %s", (int)who, env_kind_name(kind));
        abort(); /* not reached; the compiler cannot know */
    }
    assert_string_equal(env_kind_name(env->kind), env_kind_name(kind));
    return env;
}

static DYN_UNUSED void
hear_and_drop(struct world *world, enum who who, enum env_kind kind)
{
    struct env *env = hear(world, who, kind);
    env_free(&env);
}

/* A batch of events; then the next of it, which is there until the envelope goes. */
struct told {
    struct env *env;
    size_t at;
};

static DYN_UNUSED struct event_record
told_next(struct told *told)
{
    struct dyn_slice body = dyn_block_slice(told->env->body);
    struct event_batch_item item;
    struct event_record record;
    assert_true(told->env->is_own && event_batch_next(body, &told->at, &item));
    assert_int_equal(event_decode(event_batch_map(body.data, &item), &record), 0);
    assert_true(record.failed == item.failed);
    return record;
}

/* The only one of its batch. */
static DYN_UNUSED struct event_record
told_alone(struct env *env)
{
    struct told told = {.env = env};
    struct event_record record = told_next(&told);
    assert_int_equal(told.at, env->body->len);
    return record;
}

static void
hear_nothing(struct world *world, enum who who)
{
    struct env *env = heard(world, who);
    assert_string_equal(env != NULL ? env_kind_name(env->kind) : "nothing", "nothing");
}

/* The END with that body, and nothing behind it. */
static DYN_UNUSED void
hear_answer(struct world *world, enum who who, const char *body)
{
    struct env *end = hear(world, who, ENV_END);
    assert_int_equal(end->outcome, ENV_OUTCOME_OK);
    assert_true(dyn_slice_is(dyn_block_slice(end->body), body));
    env_free(&end);
    hear_nothing(world, who);
}

static DYN_UNUSED struct env *
hear_error(struct world *world, enum who who, enum err_code code)
{
    struct env *end = hear(world, who, ENV_END);
    assert_string_equal(err_row(end->error)->name, err_row(code)->name);
    assert_int_equal(end->outcome, code == ERR_CLIENT_CLOSED ? ENV_OUTCOME_CANCELLED : ENV_OUTCOME_ERROR);
    assert_int_equal(end->status, err_row(code)->http);
    hear_nothing(world, who);
    assert_int_equal(world->impl->requests.n, 0);
    return end;
}

static DYN_UNUSED void
fails_with(struct world *world, enum who who, enum err_code code)
{
    struct env *end = hear_error(world, who, code);
    env_free(&end);
}
