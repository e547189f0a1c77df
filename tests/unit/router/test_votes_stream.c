/* A stream that plugins vote on, seen from its owner, its provider and the plugins: who is asked what and
 * when, what leaves, who is credited for what, and how it ends. */
#include "tests/unit/router/router_hear.h"

#define TEXT(text) "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"" text "\"}}]}\n\n"
#define DONE       "data: [DONE]\n\n"

#define PLUGINS METRICS /* who is played by the test like all others */

enum { TIME_LIMIT_MS = 500 };

static const struct route_plugin guard = {
    .name = {"guard", 5},
    .serial = 7,
    .is_local = true,
    .traits = {.stages = VOTE_STAGE_BIT(VOTE_DURING_STREAM)},
    .timeout_ms = TIME_LIMIT_MS,
    .required = true,
    .denies = ERR_REQUEST_REJECTED,
};

struct stream {
    struct world *world;
    struct env_id id;
    struct env *request; /* as the worker got it */
    uint32_t sequence;
};

static struct stream
begin_with(const struct route_plugin *plugins, size_t n, struct env *request)
{
    struct stream s = {.world = world_new()};
    s.world->targets[0].surfaces = 1u << ENV_SURFACE_CHAT | 1u << ENV_SURFACE_EMBEDDINGS;
    world_start(s.world);
    s.world->impl->options.plugins = s.world->peers[PLUGINS].addr;
    route_plan_set_plugins(s.world->impl->options.plan, plugins, n, NULL, NULL);
    join_target(s.world, A, "one");
    bool is_tracked = request->surface == ENV_SURFACE_CHAT;
    s.id = request->id;
    say(s.world, OWNER, request);
    s.request = hear(s.world, A, ENV_REQUEST);
    if (is_tracked) {
        hear_and_drop(s.world, OWNER, ENV_DISPATCHED);
    }
    return s;
}

static struct stream
begin(const struct route_plugin *plugins, size_t n)
{
    return begin_with(plugins, n, request_of(CHAT_STREAM));
}

static void
finish(struct stream *s)
{
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

/* The next question to the plugins; its deltas' text put together is that. */
static struct env *
is_asked(struct stream *s, const char *text)
{
    struct env *question = hear(s->world, PLUGINS, ENV_ASK);
    struct vote_delta *deltas;
    struct dyn_buf all = DYN_BUF_INIT;
    struct arena arena;
    size_t n;
    bool is_last;
    arena_init(&arena, NULL, 0);
    assert_int_equal(question->stage, VOTE_DURING_STREAM);
    assert_false(question->tell);
    assert_int_equal(vote_deltas_decode(dyn_block_slice(question->body), &arena, &deltas, &n, &is_last, NULL),
                     0);
    for (size_t i = 0; i < n; i++) {
        dyn_buf_add_slice(&all, deltas[i].text);
    }
    assert_string_equal(dyn_buf_cstr(&all), text);
    dyn_buf_fini(&all);
    arena_fini(&arena);
    return question;
}

static void
vote(struct stream *s, struct env **question_p, enum vote_verdict verdict, uint64_t clear,
     const char *closing)
{
    struct env *question = *question_p;
    struct env *env = env_new(ENV_VOTE);
    struct vote_mark mark = {.channel = {0, VOTE_TEXT, 0}, .clear = clear};
    struct dyn_buf body = DYN_BUF_INIT;
    vote_marks_encode_closing(&mark, 1, dyn_slice_str(closing), &body);
    env->id = question->id;
    env->epoch = question->epoch;
    env->stage = question->stage;
    env->plugin = env_copy(env, question->plugin);
    env->verdict = (uint8_t)verdict;
    env->error_text = env_copy(env, DYN_SLICE("no such words"));
    env->body = dyn_block_copy(0, dyn_buf_slice(&body));
    dyn_buf_fini(&body);
    env_free(question_p);
    say(s->world, PLUGINS, env);
}

static void
passes(struct stream *s, const char *text, uint64_t clear)
{
    struct env *question = is_asked(s, text);
    vote(s, &question, VOTE_PASS, clear, NULL);
}

/* What the owner got next. */
static void
owner_gets(struct stream *s, const char *bytes, uint32_t sequence)
{
    struct env *chunk = hear(s->world, OWNER, ENV_CHUNK);
    assert_int_equal(chunk->sequence, sequence);
    assert_true(dyn_slice_is(dyn_block_slice(chunk->body), bytes));
    assert_int_equal(chunk->status, sequence == 0 ? 200 : 0);
    env_free(&chunk);
}

static struct env *
end_ok(struct stream *s)
{
    struct env *end = end_of(s->request, NULL);
    end->stream = true;
    end->body_bytes = 12345; /* of what came, not of what leaves */
    return end;
}

/* ---- */

static void
text_leaves_in_the_turn_in_which_it_is_cleared(void **state)
{
    (void)state;
    struct stream s = begin(&guard, 1);
    sends(&s, TEXT("hello bo"));
    hear_nothing(s.world, OWNER);
    passes(&s, "hello bo", 6);
    owner_gets(&s, TEXT("hello "), 0);
    sends(&s, TEXT("at"));
    passes(&s, "at", 10);
    struct env *chunk = hear(s.world, OWNER, ENV_CHUNK);
    assert_int_equal(chunk->sequence, 1);
    assert_non_null(memmem(dyn_block_data(chunk->body), chunk->body->len, "\"bo\"", 4));
    env_free(&chunk);
    sends(&s, DONE);
    owner_gets(&s, DONE, 2);
    struct env *question = is_asked(&s, "");
    vote(&s, &question, VOTE_PASS, 10, NULL);
    say(s.world, A, end_ok(&s));
    struct env *end = hear(s.world, OWNER, ENV_END);
    assert_int_equal(end->outcome, ENV_OUTCOME_OK);
    assert_int_not_equal(end->body_bytes, 12345);
    env_free(&end);
    hear_nothing(s.world, PLUGINS); /* it knows the end */
    assert_int_equal(s.world->impl->requests.n, 0);
    finish(&s);
}

static void
an_end_waits_for_the_last_vote(void **state)
{
    (void)state;
    struct stream s = begin(&guard, 1);
    sends(&s, TEXT("bo") DONE);
    say(s.world, A, end_ok(&s));
    hear_nothing(s.world, OWNER);
    passes(&s, "bo", 2);
    owner_gets(&s, TEXT("bo") DONE, 0);
    hear_and_drop(s.world, OWNER, ENV_END);
    finish(&s);
}

static void
a_cut_ends_with_an_error_and_the_provider_is_told(void **state)
{
    (void)state;
    struct stream s = begin(&guard, 1);
    sends(&s, TEXT("hello bomb"));
    struct env *question = is_asked(&s, "hello bomb");
    vote(&s, &question, VOTE_DENY, 6, NULL);
    owner_gets(&s, TEXT("hello "), 0);
    hear_and_drop(s.world, A, ENV_CANCEL);
    sends(&s, TEXT("late"));
    hear_nothing(s.world, OWNER);
    say(s.world, A, error_of(s.request, ERR_CLIENT_CLOSED, 1));
    struct env *told = hear(s.world, PLUGINS, ENV_ASK);
    assert_true(told->tell); /* what it kept of the stream is of no use */
    env_free(&told);
    struct env *end = hear_error(s.world, OWNER, ERR_RESPONSE_REJECTED);
    assert_non_null(strstr(end->error_text.data, "no such words"));
    env_free(&end);
    finish(&s);
}

/* The provider had ended well before it heard of the cut. */
static void
a_good_end_that_crosses_the_cut_makes_it_no_better(void **state)
{
    (void)state;
    for (unsigned has_gone = 0; has_gone < 2; has_gone++) {
        struct stream s = begin(&guard, 1);
        sends(&s, TEXT("bomb"));
        struct env *question = is_asked(&s, "bomb");
        if (has_gone) {
            say(s.world, A, end_ok(&s));
            hear_nothing(s.world, OWNER);
        }
        vote(&s, &question, VOTE_DENY, 0, NULL);
        if (!has_gone) {
            hear_and_drop(s.world, A, ENV_CANCEL);
            say(s.world, A, end_ok(&s));
        }
        fails_with(s.world, OWNER, ERR_RESPONSE_REJECTED);
        finish(&s);
    }
}

static void
a_cut_with_last_words_ends_well(void **state)
{
    (void)state;
    for (unsigned lost = 0; lost < 2; lost++) {
        struct stream s = begin(&guard, 1);
        sends(&s, TEXT("bomb"));
        struct env *question = is_asked(&s, "bomb");
        vote(&s, &question, VOTE_DENY, 0, "Sorry.");
        struct env *chunk = hear(s.world, OWNER, ENV_CHUNK);
        assert_non_null(memmem(dyn_block_data(chunk->body), chunk->body->len, "Sorry.", 6));
        assert_non_null(memmem(dyn_block_data(chunk->body), chunk->body->len, DONE, sizeof DONE - 1));
        env_free(&chunk);
        hear_and_drop(s.world, A, ENV_CANCEL);
        if (lost) {
            goodbye(s.world, A, "stopped");
        } else {
            say(s.world, A, error_of(s.request, ERR_CLIENT_CLOSED, 1));
        }
        struct env *end = hear(s.world, OWNER, ENV_END);
        assert_int_equal(end->outcome, ENV_OUTCOME_OK);
        assert_int_equal(end->status, 200);
        env_free(&end);
        assert_int_equal(s.world->impl->requests.n, 0);
        finish(&s);
    }
}

static void
a_silent_plugin_costs_its_time_limit_once(void **state)
{
    (void)state;
    for (unsigned open = 0; open < 2; open++) {
        struct route_plugin plugin = guard;
        plugin.fails_open = open == 1;
        struct stream s = begin(&plugin, 1);
        sends(&s, TEXT("hello"));
        struct env *question = is_asked(&s, "hello");
        pass_ms(s.world, TIME_LIMIT_MS - 1);
        hear_nothing(s.world, OWNER);
        pass_ms(s.world, 2);
        if (open) {
            owner_gets(&s, TEXT("hello"), 0);
            sends(&s, TEXT("more"));
            owner_gets(&s, TEXT("more"), 1);
            vote(&s, &question, VOTE_PASS, 5, NULL); /* late */
            sends(&s, DONE);
            owner_gets(&s, DONE, 2);
            say(s.world, A, end_ok(&s));
            hear_and_drop(s.world, OWNER, ENV_END);
        } else {
            hear_and_drop(s.world, A, ENV_CANCEL);
            say(s.world, A, error_of(s.request, ERR_CLIENT_CLOSED, 1));
            fails_with(s.world, OWNER, ERR_PLUGIN_ERROR);
            env_free(&question);
        }
        finish(&s);
    }
}

/* The clock runs for an answer, not for text that waits for more. */
static void
a_pause_of_the_stream_is_nobodys_silence(void **state)
{
    (void)state;
    struct stream s = begin(&guard, 1);
    sends(&s, TEXT("bo"));
    passes(&s, "bo", 0);
    pass_ms(s.world, 20 * TIME_LIMIT_MS);
    hear_nothing(s.world, OWNER);
    hear_nothing(s.world, A);
    sends(&s, TEXT("at") DONE);
    passes(&s, "at", 4);
    owner_gets(&s, TEXT("bo") TEXT("at") DONE, 0);
    say(s.world, A, end_ok(&s));
    hear_and_drop(s.world, OWNER, ENV_END);
    finish(&s);
}

/* What the owner granted is what it gets; the provider is granted what has left. */
static void
both_windows_hold(void **state)
{
    (void)state;
    static char big[20000];
    struct stream s = begin(&guard, 1);
    uint64_t window = ENV_WINDOW_FIRST; /* of the provider */
    size_t sent = 0;
    size_t got = 0;
    memset(big, 'x', sizeof big - 1);
    struct dyn_buf event = DYN_BUF_INIT;
    dyn_buf_addf(&event, "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"%s\"}}]}\n\n", big);
    uint64_t text = 0;
    while (window >= event.len) {
        sends(&s, dyn_buf_cstr(&event));
        sent += event.len;
        window -= event.len;
        text += sizeof big - 1;
        struct env *question = hear(s.world, PLUGINS, ENV_ASK);
        vote(&s, &question, VOTE_PASS, text, NULL);
        for (struct env *credit; (credit = heard(s.world, A)) != NULL; env_free(&credit)) {
            assert_int_equal(credit->kind, ENV_CREDIT);
            window += credit->credit;
        }
        assert_true(sent < 4 * (size_t)ENV_WINDOW_FIRST); /* the owner has granted nothing */
    }
    for (struct env *chunk; (chunk = heard(s.world, OWNER)) != NULL; env_free(&chunk)) {
        assert_true(env_body_len(chunk) <= ENV_CHUNK_MAX);
        got += env_body_len(chunk);
    }
    assert_int_equal(got, ENV_WINDOW_FIRST);
    about(s.world, OWNER, ENV_CREDIT, s.id, 100000);
    for (struct env *chunk; (chunk = heard(s.world, OWNER)) != NULL; env_free(&chunk)) {
        got += env_body_len(chunk);
    }
    assert_int_equal(got, sent);
    struct env *credit = hear(s.world, A, ENV_CREDIT);
    assert_int_equal(window + credit->credit, ENV_WINDOW_FIRST);
    env_free(&credit);
    about(s.world, OWNER, ENV_CANCEL, s.id, 0);
    hear_and_drop(s.world, A, ENV_CANCEL);
    say(s.world, A, error_of(s.request, ERR_CLIENT_CLOSED, 1));
    fails_with(s.world, OWNER, ERR_CLIENT_CLOSED);
    dyn_buf_fini(&event);
    finish(&s);
}

static void
an_event_longer_than_a_window_comes_through(void **state)
{
    (void)state;
    enum { LONG = 300 * 1000, PIECE = 16 * 1024 };
    struct stream s = begin(&guard, 1);
    struct dyn_buf event = DYN_BUF_INIT;
    uint64_t window = ENV_WINDOW_FIRST;
    size_t got = 0;
    dyn_buf_add_str(&event, "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"");
    for (size_t i = 0; i < LONG; i++) {
        dyn_buf_add_char(&event, 'x');
    }
    dyn_buf_add_str(&event, "\"}}]}\n\n");
    for (size_t at = 0, len; at < event.len; at += len) {
        len = event.len - at < PIECE ? event.len - at : PIECE;
        assert_true(window >= len);
        struct env *chunk = chunk_of(s.request, s.sequence++, dyn_slice(event.data + at, len));
        chunk->stream = true;
        say(s.world, A, chunk);
        window -= len;
        for (struct env *credit; (credit = heard(s.world, A)) != NULL; env_free(&credit)) {
            window += credit->credit;
        }
    }
    struct env *question = hear(s.world, PLUGINS, ENV_ASK);
    vote(&s, &question, VOTE_PASS, LONG, NULL);
    for (unsigned i = 0; i < 20; i++) {
        for (struct env *chunk; (chunk = heard(s.world, OWNER)) != NULL; env_free(&chunk)) {
            got += env_body_len(chunk);
            about(s.world, OWNER, ENV_CREDIT, s.id, (uint32_t)env_body_len(chunk));
        }
    }
    assert_int_equal(got, event.len);
    dyn_buf_fini(&event);
    about(s.world, OWNER, ENV_CANCEL, s.id, 0);
    hear_and_drop(s.world, A, ENV_CANCEL);
    say(s.world, A, error_of(s.request, ERR_CLIENT_CLOSED, 1));
    fails_with(s.world, OWNER, ERR_CLIENT_CLOSED);
    finish(&s);
}

static void
without_plugins_at_that_stage_nothing_is_different(void **state)
{
    (void)state;
    struct route_plugin plugin = guard;
    plugin.traits.stages = VOTE_STAGE_BIT(VOTE_AFTER_REQUEST);
    struct stream s = begin(&plugin, 1);
    sends(&s, "data: {\"choices\":[{\"del");
    owner_gets(&s, "data: {\"choices\":[{\"del", 0);
    hear_nothing(s.world, PLUGINS);
    about(s.world, OWNER, ENV_CREDIT, s.id, 1000);
    struct env *credit = hear(s.world, A, ENV_CREDIT);
    assert_int_equal(credit->credit, 1000);
    env_free(&credit);
    goodbye(s.world, A, "stopped");
    fails_with(s.world, OWNER, ERR_WORKER_LOST);
    finish(&s);
}

static struct env *
request_in(const char *dialect)
{
    bool is_embeddings = strcmp(dialect, "openai_embeddings") == 0;
    struct env *request =
        request_of(is_embeddings ? "{\"model\":\"m\",\"input\":\"hi\"}"
                                 : "{\"model\":\"m\",\"stream\":true,\"max_tokens\":5,"
                                   "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}");
    request->dialect = dyn_slice_str(dialect);
    request->surface = is_embeddings ? ENV_SURFACE_EMBEDDINGS : ENV_SURFACE_CHAT;
    return request;
}

/* A worker may send whatever it likes, also where nobody has asked for a stream. */
static void
a_stream_that_nobody_can_look_into_does_not_leave(void **state)
{
    static const char *const dialects[] = {"anthropic_messages", "openai_embeddings"};
    (void)state;
    for (size_t i = 0; i < DYN_ARRAY_LEN(dialects); i++) {
        struct stream s = begin_with(&guard, 1, request_in(dialects[i]));
        sends(&s, TEXT("hello"));
        hear_and_drop(s.world, A, ENV_CANCEL);
        say(s.world, A, error_of(s.request, ERR_CLIENT_CLOSED, 1));
        fails_with(s.world, OWNER, ERR_RESPONSE_REJECTED);
        assert_int_equal(s.world->impl->requests.n, 0);
        finish(&s);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_leaves_in_the_turn_in_which_it_is_cleared),
        cmocka_unit_test(an_end_waits_for_the_last_vote),
        cmocka_unit_test(a_cut_ends_with_an_error_and_the_provider_is_told),
        cmocka_unit_test(a_good_end_that_crosses_the_cut_makes_it_no_better),
        cmocka_unit_test(a_cut_with_last_words_ends_well),
        cmocka_unit_test(a_silent_plugin_costs_its_time_limit_once),
        cmocka_unit_test(a_pause_of_the_stream_is_nobodys_silence),
        cmocka_unit_test(both_windows_hold),
        cmocka_unit_test(an_event_longer_than_a_window_comes_through),
        cmocka_unit_test(without_plugins_at_that_stage_nothing_is_different),
        cmocka_unit_test(a_stream_that_nobody_can_look_into_does_not_leave),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
