/* A stream on which plugins of the router's own loop vote: asked by a call, heard when it returns. */
#include "proto/vote_here.h"
#include "tests/unit/router/router_hear.h"

#define TEXT(text) "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"" text "\"}}]}\n\n"
#define DONE       "data: [DONE]\n\n"
#define HOST       B /* has the address that votes which come later are taken from */

enum { PLUGINS = 2, FIRST_SERIAL = 7 };

/* Plays one plugin. */
struct voter {
    enum vote_here_said says;
    enum vote_verdict verdict;
    uint64_t clear; /* of its next vote */
    struct vote_mask mask;
    unsigned asked;
    unsigned told;
    bool was_last;
    bool had_list;
    uint32_t epoch;
    char text[64]; /* all that it was shown */
    struct vote_mark mark;
};

struct stream {
    struct world *world;
    struct vote_here here;
    struct voter voters[PLUGINS];
    struct env *request; /* as the worker got it */
    uint32_t sequence;
};

/* ---- the plugins ---- */

static void
look_at(struct voter *voter, const struct vote_question *question)
{
    struct vote_deltas deltas = {.n = 0};
    struct arena arena;
    arena_init(&arena, NULL, 0);
    voter->asked++;
    voter->epoch = question->epoch;
    voter->had_list = question->deltas != NULL;
    if (voter->had_list) {
        assert_null(question->body);
        deltas = *question->deltas;
    } else {
        assert_int_equal(vote_deltas_decode(dyn_block_slice(question->body), &arena, &deltas.items, &deltas.n,
                                            &deltas.is_last, NULL),
                         0);
    }
    voter->was_last = deltas.is_last;
    for (size_t i = 0; i < deltas.n; i++) {
        assert_int_equal(deltas.items[i].from, strlen(voter->text));
        assert_true(strlen(voter->text) + deltas.items[i].text.len < sizeof voter->text);
        (void)strncat(voter->text, deltas.items[i].text.data, deltas.items[i].text.len);
    }
    arena_fini(&arena);
}

static struct env *
vote_of(const struct voter *voter)
{
    struct env *vote = env_new(ENV_VOTE);
    struct dyn_buf body = DYN_BUF_INIT;
    const char *closing = voter->verdict == VOTE_DENY ? "Sorry." : NULL;
    vote_marks_encode_closing(&voter->mark, 1, dyn_slice_str(closing), &body);
    vote->epoch = voter->epoch;
    vote->stage = VOTE_DURING_STREAM;
    vote->verdict = (uint8_t)voter->verdict;
    vote->error_text = DYN_SLICE("no such words");
    vote->body = dyn_block_copy(0, dyn_buf_slice(&body));
    dyn_buf_fini(&body);
    return vote;
}

static enum vote_here_said
answer(void *self, const struct vote_question *question, struct vote_heard *heard)
{
    struct stream *s = self;
    struct voter *voter = &s->voters[question->instance - FIRST_SERIAL];
    assert_int_equal(question->stage, VOTE_DURING_STREAM);
    if (question->tell) {
        voter->told++;
        return VOTE_HERE_LATER;
    }
    look_at(voter, question);
    voter->mark = (struct vote_mark){{0, VOTE_TEXT, 0}, voter->clear, &voter->mask, voter->mask.to > 0};
    if (voter->says == VOTE_HERE_PASSED) {
        *heard = (struct vote_heard){.marks = &voter->mark, .n_marks = voter->clear > 0};
    } else if (voter->says == VOTE_HERE_VOTED) {
        heard->vote = vote_of(voter);
        heard->vote->id = question->id;
    }
    return voter->says;
}

/* ---- the stream ---- */

static void
begin(struct stream *s, size_t n, bool lists)
{
    static const struct dyn_slice names[PLUGINS] = {DYN_SLICE_INIT("first"), DYN_SLICE_INIT("second")};
    struct route_plugin plugins[PLUGINS];
    *s = (struct stream){.world = world_new()};
    s->here = (struct vote_here){answer, s};
    s->world->options.here = &s->here;
    for (size_t i = 0; i < n; i++) {
        s->voters[i].says = VOTE_HERE_PASSED;
        s->voters[i].verdict = VOTE_PASS;
        plugins[i] =
            (struct route_plugin){.name = names[i],
                                  .serial = FIRST_SERIAL + i,
                                  .is_local = true,
                                  .timeout_ms = 500,
                                  .required = true,
                                  .denies = ERR_REQUEST_REJECTED,
                                  .traits = {.stages = VOTE_STAGE_BIT(VOTE_DURING_STREAM), .lists = lists}};
    }
    world_start(s->world);
    s->world->impl->options.plugins = s->world->peers[HOST].addr;
    route_plan_set_plugins(s->world->impl->options.plan, plugins, n, NULL, NULL);
    join_target(s->world, A, "one");
    say(s->world, OWNER, request_of(CHAT_STREAM));
    s->request = hear(s->world, A, ENV_REQUEST);
    hear_and_drop(s->world, OWNER, ENV_DISPATCHED);
}

static void
finish(struct stream *s)
{
    assert_int_equal(s->world->impl->requests.n, 0);
    env_free(&s->request);
    world_free(s->world);
}

static void
sends(struct stream *s, const char *bytes)
{
    struct env *chunk = chunk_of(s->request, s->sequence++, dyn_slice_str(bytes));
    chunk->stream = true;
    say(s->world, A, chunk);
}

static void
owner_gets(struct stream *s, const char *bytes)
{
    struct env *chunk = hear(s->world, OWNER, ENV_CHUNK);
    assert_non_null(memmem(dyn_block_data(chunk->body), chunk->body->len, bytes, strlen(bytes)));
    env_free(&chunk);
}

static void
ends_well(struct stream *s)
{
    struct env *end = end_of(s->request, NULL);
    end->stream = true;
    say(s->world, A, end);
    end = hear(s->world, OWNER, ENV_END);
    assert_int_equal(end->outcome, ENV_OUTCOME_OK);
    env_free(&end);
}

/* ---- */

static void
text_leaves_in_the_turn_in_which_it_came(void **state)
{
    (void)state;
    for (unsigned lists = 0; lists < 2; lists++) {
        struct stream s;
        begin(&s, 1, lists == 1);
        s.voters[0].clear = 6;
        sends(&s, TEXT("hello bo"));
        owner_gets(&s, TEXT("hello "));
        assert_int_equal(s.voters[0].had_list, lists);
        s.voters[0].clear = 10;
        sends(&s, TEXT("at") DONE);
        owner_gets(&s, "\"bo\"");
        assert_string_equal(s.voters[0].text, "hello boat");
        assert_true(s.voters[0].was_last);
        ends_well(&s);
        assert_int_equal(s.voters[0].asked, 2);
        assert_int_equal(s.voters[0].told, 0); /* it knows the end */
        hear_nothing(s.world, HOST);
        finish(&s);
    }
}

static void
a_mask_of_a_list_counts(void **state)
{
    (void)state;
    struct stream s;
    begin(&s, 1, true);
    s.voters[0].clear = 10;
    s.voters[0].mask = (struct vote_mask){6, 10, DYN_SLICE("***")};
    sends(&s, TEXT("hello bomb") DONE);
    owner_gets(&s, "hello ***");
    ends_well(&s);
    finish(&s);
}

static void
who_is_not_the_last_to_clear_lets_nothing_go(void **state)
{
    (void)state;
    struct stream s;
    begin(&s, 2, true);
    s.voters[0].clear = 5;
    sends(&s, TEXT("hello"));
    hear_nothing(s.world, OWNER);
    s.voters[1].clear = 5;
    sends(&s, DONE);
    owner_gets(&s, TEXT("hello"));
    ends_well(&s);
    finish(&s);
}

/* The second one has the last question before the first one's cut counts: nobody tells it of the end. */
static void
a_cut_is_heard_and_all_know_the_end(void **state)
{
    (void)state;
    for (unsigned at_end = 0; at_end < 2; at_end++) {
        struct stream s;
        begin(&s, 2, true);
        s.voters[0].says = VOTE_HERE_VOTED;
        s.voters[0].verdict = VOTE_DENY;
        sends(&s, at_end ? TEXT("bomb") DONE : TEXT("bomb"));
        owner_gets(&s, "Sorry.");
        hear_and_drop(s.world, A, ENV_CANCEL);
        say(s.world, A, error_of(s.request, ERR_CLIENT_CLOSED, 1));
        hear_and_drop(s.world, OWNER, ENV_END);
        for (size_t i = 0; i < PLUGINS; i++) {
            assert_int_equal(s.voters[i].asked, 1);
            assert_int_equal(s.voters[i].was_last || s.voters[i].told == 1, true);
        }
        finish(&s);
    }
}

static void
one_that_fails_is_a_failure(void **state)
{
    (void)state;
    static const enum vote_here_said ways[] = {VOTE_HERE_VOTED, VOTE_HERE_ABSENT, VOTE_HERE_PASSED};
    for (size_t i = 0; i < DYN_ARRAY_LEN(ways); i++) {
        struct stream s;
        begin(&s, 1, true);
        s.voters[0].says = ways[i];
        s.voters[0].verdict = VOTE_FAILED;
        s.voters[0].clear = 1000; /* more than it was asked about */
        sends(&s, TEXT("hello"));
        hear_and_drop(s.world, A, ENV_CANCEL);
        say(s.world, A, error_of(s.request, ERR_CLIENT_CLOSED, 1));
        fails_with(s.world, OWNER, ERR_PLUGIN_ERROR);
        finish(&s);
    }
}

static void
one_that_votes_later_does_so_in_an_envelope(void **state)
{
    (void)state;
    struct stream s;
    begin(&s, 1, true);
    s.voters[0].says = VOTE_HERE_LATER;
    s.voters[0].clear = 5;
    sends(&s, TEXT("hello") DONE);
    hear_nothing(s.world, OWNER);
    struct env *vote = vote_of(&s.voters[0]);
    vote->id = s.request->id;
    say(s.world, HOST, vote);
    owner_gets(&s, TEXT("hello"));
    ends_well(&s);
    finish(&s);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_leaves_in_the_turn_in_which_it_came),
        cmocka_unit_test(a_mask_of_a_list_counts),
        cmocka_unit_test(who_is_not_the_last_to_clear_lets_nothing_go),
        cmocka_unit_test(a_cut_is_heard_and_all_know_the_end),
        cmocka_unit_test(one_that_fails_is_a_failure),
        cmocka_unit_test(one_that_votes_later_does_so_in_an_envelope),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
