/* Plugins of the router's own loop, asked by a call: what they say counts as if it had come in an envelope.
 */
#include "proto/vote_here.h"
#include "tests/unit/router/router_hear.h"

#include <stdio.h>

#define HOST B /* has the address that votes which come later are taken from */

/* Plays the plugins. */
struct script {
    struct vote_here here;
    enum vote_here_said says;
    enum vote_verdict verdict;
    bool charged;
    unsigned asked;
    unsigned told;
    bool was_charged;
    bool had_texts;
    struct env_id id;
    uint32_t epoch;
    char text[64];
    char model[16];
};

static void
look_at(struct script *script, const struct vote_question *question)
{
    struct vote_texts texts;
    struct vote_text text;
    script->asked++;
    script->id = question->id;
    script->epoch = question->epoch;
    script->had_texts = question->texts != NULL;
    if (script->had_texts) {
        assert_null(question->body);
        assert_int_equal(vote_texts_of(&texts, question->texts, NULL), 0);
        assert_true(vote_texts_next(&texts, &text));
        (void)snprintf(script->text, sizeof script->text, "%.*s %.*s", (int)text.at.len, text.at.data,
                       (int)text.text.len, text.text.data);
        assert_false(vote_texts_next(&texts, &text));
    }
    (void)snprintf(script->model, sizeof script->model, "%.*s", (int)question->facts->model.len,
                   question->facts->model.data);
}

static enum vote_here_said
answer(void *self, const struct vote_question *question, struct vote_heard *heard)
{
    static const struct env_header headers[] = {{DYN_SLICE_INIT("x-left"), DYN_SLICE_INIT("7")},
                                                {DYN_SLICE_INIT("Server"), DYN_SLICE_INIT("mine")}};
    struct script *script = self;
    if (question->tell) {
        script->told++;
        script->was_charged = question->charged;
        return VOTE_HERE_LATER;
    }
    look_at(script, question);
    if (script->says == VOTE_HERE_VOTED) {
        heard->vote = env_new(ENV_VOTE);
        heard->vote->verdict = (uint8_t)script->verdict;
        heard->vote->error_text = DYN_SLICE("because");
    } else if (script->says == VOTE_HERE_PASSED) {
        *heard = (struct vote_heard){.headers = headers,
                                     .n_headers = DYN_ARRAY_LEN(headers),
                                     .notes = DYN_SLICE("n"),
                                     .charged = script->charged};
    }
    return script->says;
}

static struct world *
begin(struct script *script)
{
    static const struct route_plugin plugin = {.name = {"judge", 5},
                                               .serial = 7,
                                               .is_local = true,
                                               .timeout_ms = 500,
                                               .denies = ERR_REQUEST_REJECTED,
                                               .traits = {.stages = VOTE_STAGE_BIT(VOTE_BEFORE_REQUEST),
                                                          .needs = VOTE_NEEDS_TEXT,
                                                          .charges = true,
                                                          .lists = true}};
    struct world *world = world_new();
    script->here = (struct vote_here){answer, script};
    world->options.here = &script->here;
    world_start(world);
    world->impl->options.plugins = world->peers[HOST].addr;
    route_plan_set_plugins(world->impl->options.plan, &plugin, 1, NULL, NULL);
    join_target(world, A, "one");
    ask(world, OWNER, CHAT);
    return world;
}

static void
goes_on(struct world *world)
{
    struct env *request = hear(world, A, ENV_REQUEST);
    say(world, A, end_of(request, "{}"));
    env_free(&request);
}

static void
one_that_passes_is_asked_and_told_without_envelopes(void **state)
{
    (void)state;
    struct script script = {.says = VOTE_HERE_PASSED, .charged = true};
    struct world *world = begin(&script);
    assert_int_equal(script.asked, 1);
    assert_true(script.had_texts);
    assert_string_equal(script.text, "/messages/0/content hi");
    assert_string_equal(script.model, "m");
    goes_on(world);
    struct env *end = hear(world, OWNER, ENV_END);
    assert_int_equal(end->n_headers, 1); /* the other one is ours */
    assert_true(dyn_slice_is(end->headers[0].name, "x-left"));
    assert_true(dyn_slice_is(end->headers[0].value, "7"));
    env_free(&end);
    assert_int_equal(script.told, 1);
    assert_true(script.was_charged);
    hear_nothing(world, HOST);
    world_free(world);
}

static void
one_that_took_nothing_is_not_told(void **state)
{
    (void)state;
    struct script script = {.says = VOTE_HERE_PASSED};
    struct world *world = begin(&script);
    goes_on(world);
    hear_and_drop(world, OWNER, ENV_END);
    assert_int_equal(script.told, 0);
    world_free(world);
}

static void
one_that_refuses_is_heard(void **state)
{
    (void)state;
    struct script script = {.says = VOTE_HERE_VOTED, .verdict = VOTE_DENY};
    struct world *world = begin(&script);
    hear_nothing(world, A);
    fails_with(world, OWNER, ERR_REQUEST_REJECTED);
    world_free(world);
}

static void
one_that_fails_or_is_not_there_is_a_failure(void **state)
{
    (void)state;
    struct script script = {.says = VOTE_HERE_VOTED, .verdict = VOTE_FAILED};
    struct world *world = begin(&script);
    fails_with(world, OWNER, ERR_PLUGIN_ERROR);
    script.says = VOTE_HERE_ABSENT;
    ask(world, OWNER, CHAT);
    fails_with(world, OWNER, ERR_PLUGIN_ERROR);
    world_free(world);
}

static void
one_that_votes_later_does_so_in_an_envelope(void **state)
{
    (void)state;
    struct script script = {.says = VOTE_HERE_LATER};
    struct world *world = begin(&script);
    hear_nothing(world, A);
    struct env *vote = env_new(ENV_VOTE);
    vote->id = script.id;
    vote->epoch = script.epoch;
    vote->verdict = VOTE_PASS;
    say(world, HOST, vote);
    goes_on(world);
    hear_and_drop(world, OWNER, ENV_END);
    world_free(world);
}

static void
one_that_votes_too_late_is_told_to_let_go(void **state)
{
    (void)state;
    struct script script = {.says = VOTE_HERE_LATER};
    struct world *world = begin(&script);
    pass_ms(world, 500);
    hear_and_drop(world, HOST, ENV_CANCEL);
    fails_with(world, OWNER, ERR_PLUGIN_ERROR);
    world_free(world);
}

/* Between the stop of who hosts them and that of the router. */
static void
one_whose_host_is_gone_gets_envelopes(void **state)
{
    (void)state;
    struct script script = {.says = VOTE_HERE_PASSED, .charged = true};
    struct world *world = begin(&script);
    script.here.ask = NULL;
    goes_on(world);
    struct env *told = hear(world, HOST, ENV_ASK);
    assert_true(told->tell && told->charged);
    env_free(&told);
    world_free(world);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_that_passes_is_asked_and_told_without_envelopes),
        cmocka_unit_test(one_that_took_nothing_is_not_told),
        cmocka_unit_test(one_that_refuses_is_heard),
        cmocka_unit_test(one_that_fails_or_is_not_there_is_a_failure),
        cmocka_unit_test(one_that_votes_later_does_so_in_an_envelope),
        cmocka_unit_test(one_that_votes_too_late_is_told_to_let_go),
        cmocka_unit_test(one_whose_host_is_gone_gets_envelopes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
