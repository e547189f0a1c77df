/* The router actor between a scripted owner and a scripted provider: what each is told, for every way in
 * which a request can go. */
#include "core/buf.h"
#include "router/router.h"
#include "tests/conformance/wires.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define CHAT "{\"model\":\"gpt\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}"
#define CHAT_STREAM                                                                                          \
    "{\"model\":\"gpt\",\"stream\":true,\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}"

enum { SEEN_MAX = 16 };

struct scene;
typedef void (*script_fn)(struct scene *scene, struct env *env);

struct peer {
    struct scene *scene;
    bus_actor_t *me;
    script_fn on_envelope;
};

/* One run: the owner sends `request`; what it gets back is kept in `seen`, in order. */
struct scene {
    bus_t *bus;
    struct gate ended;
    struct peer owner;
    struct peer provider;
    bus_addr_t router;
    struct env *request;
    struct env *seen[SEEN_MAX];
    size_t n_seen;
    struct env *asked[SEEN_MAX]; /* what the provider got */
    size_t n_asked;
    struct router_shared shared;
    struct route_target target;
    struct router_config config;
    bool has_models;      /* the target serves some other model only */
    size_t mailbox_bytes; /* 0: the bus's own */
};

static void
keep(struct env **list, size_t *n, struct env **env_p)
{
    CHECK(*n < SEEN_MAX);
    list[(*n)++] = *env_p;
    *env_p = NULL;
}

static int
peer_start(void *self, bus_actor_t *me, struct dyn_err *err)
{
    (void)err;
    ((struct peer *)self)->me = me;
    return 0;
}

static int
owner_start(void *self, bus_actor_t *me, struct dyn_err *err)
{
    struct peer *owner = self;
    owner->me = me;
    return bus_send(me, owner->scene->router, &owner->scene->request, err);
}

static void
owner_receive(void *self, struct env **env_p)
{
    struct peer *owner = self;
    struct scene *scene = owner->scene;
    struct env *env = *env_p;
    keep(scene->seen, &scene->n_seen, env_p);
    if (owner->on_envelope != NULL) {
        owner->on_envelope(scene, env);
    }
    if (env->kind == ENV_END) {
        gate_open(&scene->ended);
    }
}

static void
provider_receive(void *self, struct env **env_p)
{
    struct peer *provider = self;
    struct env *env = *env_p;
    keep(provider->scene->asked, &provider->scene->n_asked, env_p);
    if (provider->on_envelope != NULL) {
        provider->on_envelope(provider->scene, env);
    }
}

static void
peer_stop(void *self)
{
    (void)self;
}

static const struct bus_actor_ops owner_ops = {
    .kind = "owner", .start = owner_start, .receive = owner_receive, .stop = peer_stop};
static const struct bus_actor_ops provider_ops = {
    .kind = "provider", .start = peer_start, .receive = provider_receive, .stop = peer_stop};

static struct env *
chat_request(const char *body)
{
    struct env *request = env_new(ENV_REQUEST);
    request->id = env_id_random();
    request->surface = ENV_SURFACE_CHAT;
    request->dialect = DYN_SLICE("openai_chat");
    request->trace_id = DYN_SLICE("0123456789abcdef0123456789abcdef");
    request->credit = ENV_WINDOW_FIRST;
    request->body = dyn_block_copy(0, dyn_slice_str(body));
    return request;
}

static struct scene *
scene_new(struct env *request, script_fn provider_script)
{
    struct scene *scene = dyn_zalloc(sizeof *scene);
    scene->request = request;
    scene->owner.scene = scene;
    scene->provider = (struct peer){.scene = scene, .on_envelope = provider_script};
    scene->shared.admission.open = true;
    scene->config = (struct router_config){.request_timeout_ms = 10000, .max_attempts = 5};
    return scene;
}

/* Returns when the owner has its END. */
static void
play(struct scene *scene, bool inproc)
{
    struct bus_options options = {.inproc = inproc, .mailbox_bytes = scene->mailbox_bytes};
    struct dyn_err err;
    gate_init(&scene->ended, 1);
    scene->bus = bus_new(&options, &err);
    bus_loop_t *loop = bus_add_loop(scene->bus, "router-test");
    scene->target = (struct route_target){.name = DYN_SLICE("first"), .provider = DYN_SLICE("openai")};
    static const struct dyn_slice other = DYN_SLICE_INIT("other");
    if (scene->has_models) {
        scene->target.models = &other;
        scene->target.n_models = 1;
    }
    bus_addr_t addr = bus_add_actor(scene->bus, loop, &provider_ops, &scene->provider);
    struct route_plan *plan = route_plan_new(&scene->config, &scene->target, 1, NULL, &err);
    struct router_options router = {.plan = plan, .shared = &scene->shared, .addrs = &addr, .seed = 1};
    scene->router = bus_add_actor(scene->bus, loop, &router_actor_ops, router_new(&router));
    route_plan_unref(&plan);
    (void)bus_add_actor(scene->bus, loop, &owner_ops, &scene->owner);
    assert_int_equal(bus_start(scene->bus, &err), 0);
    gate_wait(&scene->ended);
    assert_int_equal(bus_stop(scene->bus, 1000), 0);
}

static void
scene_free(struct scene *scene)
{
    for (size_t i = 0; i < scene->n_seen; i++) {
        env_free(&scene->seen[i]);
    }
    for (size_t i = 0; i < scene->n_asked; i++) {
        env_free(&scene->asked[i]);
    }
    bus_free(&scene->bus);
    free(scene);
}

static const struct env *
last(const struct scene *scene)
{
    assert_true(scene->n_seen > 0);
    const struct env *end = scene->seen[scene->n_seen - 1];
    assert_int_equal(end->kind, ENV_END);
    return end;
}

static void
answer_with(struct scene *scene, struct env *answer)
{
    CHECK(bus_send(scene->provider.me, scene->router, &answer, NULL) == 0);
}

/* ---- scripts of the provider ---- */

static void
answers_hello(struct scene *scene, struct env *env)
{
    CHECK(env->kind == ENV_REQUEST);
    struct env *end = env_about(ENV_END, env);
    end->outcome = ENV_OUTCOME_OK;
    end->status = 200;
    end->body = dyn_block_copy(0, DYN_SLICE("hello"));
    end->usage = (struct env_usage){.known = true, .prompt_tokens = 3, .completion_tokens = 4};
    answer_with(scene, end);
}

static void
streams_two_chunks(struct scene *scene, struct env *env)
{
    if (env->kind != ENV_REQUEST) {
        return;
    }
    for (uint32_t i = 0; i < 2; i++) {
        struct env *chunk = env_about(ENV_CHUNK, env);
        chunk->sequence = i;
        chunk->stream = true;
        chunk->status = 200;
        chunk->body = dyn_block_copy(0, i == 0 ? DYN_SLICE("one") : DYN_SLICE("two"));
        answer_with(scene, chunk);
    }
    struct env *end = env_about(ENV_END, env);
    end->outcome = ENV_OUTCOME_OK;
    answer_with(scene, end);
}

static void
fails_with_a_rate_limit(struct scene *scene, struct env *env)
{
    struct env *end = env_about(ENV_END, env);
    end->outcome = ENV_OUTCOME_ERROR;
    end->error = ERR_UPSTREAM_RATE_LIMIT;
    end->retry_after_s = 7;
    answer_with(scene, end);
}

static void
says_nothing_until_cancelled(struct scene *scene, struct env *env)
{
    if (env->kind == ENV_CANCEL) {
        struct env *end = env_about(ENV_END, env);
        end->outcome = ENV_OUTCOME_CANCELLED;
        end->usage = (struct env_usage){.known = true, .estimated = true, .prompt_tokens = 9};
        answer_with(scene, end);
    }
}

static void
says_nothing_at_all(struct scene *scene, struct env *env)
{
    (void)scene;
    (void)env;
}

static void
answers_twice(struct scene *scene, struct env *env)
{
    answers_hello(scene, env);
    answers_hello(scene, env);
}

/* ---- what they prove ---- */

static void
check_plain_answer(bool inproc)
{
    struct scene *scene = scene_new(chat_request(CHAT), answers_hello);
    play(scene, inproc);
    const struct env *asked = scene->asked[0];
    assert_int_equal(asked->kind, ENV_REQUEST);
    assert_int_equal(asked->attempt, 1);
    assert_true(dyn_slice_is(asked->target, "first"));
    assert_true(dyn_slice_is(asked->model, "gpt"));
    assert_true(dyn_slice_is(dyn_block_slice(asked->body), CHAT));
    assert_int_equal(asked->credit, ENV_WINDOW_FIRST);
    assert_in_range(asked->deadline_ms, 1, 10000);
    assert_null(asked->credential.data);
    assert_int_equal(scene->n_seen, 1);
    const struct env *end = last(scene);
    assert_int_equal(end->outcome, ENV_OUTCOME_OK);
    assert_int_equal(end->attempt, 0);
    assert_int_equal(end->attempts, 1);
    assert_true(dyn_slice_is(end->target, "first"));
    assert_true(dyn_slice_is(end->provider, "openai"));
    assert_true(dyn_slice_is(dyn_block_slice(end->body), "hello"));
    scene_free(scene);
}

static void
a_plain_answer_comes_back_whole(void **state)
{
    (void)state;
    check_plain_answer(false);
}

static void
it_does_over_the_encoded_wire_too(void **state)
{
    (void)state;
    check_plain_answer(true);
}

static void
the_credential_stays_in_the_router(void **state)
{
    (void)state;
    struct env *request = chat_request(CHAT);
    request->credential = env_copy(request, DYN_SLICE("sk-secret"));
    struct scene *scene = scene_new(request, answers_hello);
    play(scene, false);
    assert_null(scene->asked[0]->credential.data);
    scene_free(scene);
}

static void
a_stream_is_announced_and_passed_on_in_order(void **state)
{
    (void)state;
    struct scene *scene = scene_new(chat_request(CHAT_STREAM), streams_two_chunks);
    play(scene, false);
    assert_int_equal(scene->n_seen, 4);
    assert_int_equal(scene->seen[0]->kind, ENV_DISPATCHED);
    assert_true(scene->seen[0]->stream);
    assert_true(dyn_slice_is(dyn_block_slice(scene->seen[1]->body), "one"));
    assert_true(dyn_slice_is(scene->seen[1]->target, "first"));
    assert_true(dyn_slice_is(dyn_block_slice(scene->seen[2]->body), "two"));
    assert_int_equal(last(scene)->outcome, ENV_OUTCOME_OK);
    assert_int_equal(last(scene)->status, 200);
    assert_true(scene->asked[0]->stream);
    scene_free(scene);
}

static void
who_is_not_admitted_reaches_no_provider(void **state)
{
    (void)state;
    struct scene *scene = scene_new(chat_request(CHAT), answers_hello);
    scene->shared.admission = (struct admission){.master_key = DYN_SLICE("sk-right")};
    play(scene, false);
    assert_int_equal(last(scene)->error, ERR_MISSING_API_KEY);
    assert_int_equal(last(scene)->status, 401);
    assert_int_equal(scene->n_asked, 0);
    scene_free(scene);
}

static void
a_refusal_of_the_edge_comes_after_admission(void **state)
{
    (void)state;
    for (int open = 0; open < 2; open++) {
        struct env *request = chat_request("");
        request->refuse = ERR_METHOD_NOT_ALLOWED;
        struct scene *scene = scene_new(request, answers_hello);
        scene->shared.admission = (struct admission){.master_key = DYN_SLICE("sk-right"), .open = open != 0};
        play(scene, false);
        assert_int_equal(last(scene)->error, open ? ERR_METHOD_NOT_ALLOWED : ERR_MISSING_API_KEY);
        assert_int_equal(scene->n_asked, 0);
        scene_free(scene);
    }
}

static void
a_bad_body_is_refused_with_its_field(void **state)
{
    (void)state;
    struct scene *scene = scene_new(chat_request("{\"model\":\"gpt\",\"messages\":[]}"), answers_hello);
    play(scene, false);
    assert_int_equal(last(scene)->error, ERR_INVALID_REQUEST);
    assert_int_equal(last(scene)->status, 400);
    assert_true(dyn_slice_is(last(scene)->error_param, "messages"));
    assert_true(last(scene)->error_text.len > 0);
    assert_int_equal(scene->n_asked, 0);
    scene_free(scene);
}

static void
a_model_that_envelope_and_body_disagree_on_is_refused(void **state)
{
    (void)state;
    struct env *request = chat_request(CHAT);
    request->model = env_copy(request, DYN_SLICE("other"));
    struct scene *scene = scene_new(request, answers_hello);
    play(scene, false);
    assert_int_equal(last(scene)->error, ERR_INVALID_REQUEST);
    scene_free(scene);
}

static void
a_dialect_that_nobody_speaks_is_refused(void **state)
{
    (void)state;
    struct env *request = chat_request(CHAT);
    request->dialect = env_copy(request, DYN_SLICE("klingon"));
    struct scene *scene = scene_new(request, answers_hello);
    play(scene, false);
    assert_int_equal(last(scene)->error, ERR_INVALID_REQUEST);
    scene_free(scene);
}

static void
the_providers_error_comes_back_with_its_wait(void **state)
{
    (void)state;
    struct scene *scene = scene_new(chat_request(CHAT), fails_with_a_rate_limit);
    play(scene, false);
    assert_int_equal(last(scene)->error, ERR_UPSTREAM_RATE_LIMIT);
    assert_int_equal(last(scene)->status, 429);
    assert_int_equal(last(scene)->retry_after_s, 7);
    scene_free(scene);
}

static void
the_deadline_cancels_the_attempt_and_answers(void **state)
{
    (void)state;
    struct scene *scene = scene_new(chat_request(CHAT), says_nothing_until_cancelled);
    scene->config.request_timeout_ms = 20;
    play(scene, false);
    assert_int_equal(last(scene)->error, ERR_GATEWAY_TIMEOUT);
    assert_int_equal(last(scene)->status, 504);
    assert_int_equal(last(scene)->usage.prompt_tokens, 9);
    assert_int_equal(scene->asked[1]->kind, ENV_CANCEL);
    scene_free(scene);
}

static void
a_shorter_deadline_of_the_caller_holds(void **state)
{
    (void)state;
    struct env *request = chat_request(CHAT);
    request->deadline_ms = 20;
    struct scene *scene = scene_new(request, says_nothing_until_cancelled);
    play(scene, false);
    assert_int_equal(last(scene)->error, ERR_GATEWAY_TIMEOUT);
    assert_in_range(scene->asked[0]->deadline_ms, 1, 20);
    scene_free(scene);
}

static void
a_provider_that_ignores_the_cancel_holds_nobody(void **state)
{
    (void)state;
    struct scene *scene = scene_new(chat_request(CHAT), says_nothing_at_all);
    scene->config.request_timeout_ms = 10;
    play(scene, false);
    assert_int_equal(last(scene)->error, ERR_GATEWAY_TIMEOUT);
    scene_free(scene);
}

static void
cancel_at_once(struct scene *scene, struct env *env)
{
    if (env->kind == ENV_DISPATCHED) {
        struct env *cancel = env_about(ENV_CANCEL, env);
        CHECK(bus_send(scene->owner.me, scene->router, &cancel, NULL) == 0);
    }
}

static void
a_cancel_of_the_owner_reaches_the_provider_and_ends_the_request(void **state)
{
    (void)state;
    struct scene *scene = scene_new(chat_request(CHAT_STREAM), says_nothing_until_cancelled);
    scene->owner.on_envelope = cancel_at_once;
    play(scene, false);
    assert_int_equal(scene->asked[1]->kind, ENV_CANCEL);
    assert_int_equal(last(scene)->outcome, ENV_OUTCOME_CANCELLED);
    assert_int_equal(last(scene)->error, ERR_CLIENT_CLOSED);
    scene_free(scene);
}

static void
grant_on_first_chunk(struct scene *scene, struct env *env)
{
    if (env->kind == ENV_DISPATCHED) {
        struct env *credit = env_about(ENV_CREDIT, env);
        credit->credit = 1000;
        CHECK(bus_send(scene->owner.me, scene->router, &credit, NULL) == 0);
    }
}

static void
streams_when_credited(struct scene *scene, struct env *env)
{
    if (env->kind == ENV_CREDIT) {
        streams_two_chunks(scene, scene->asked[0]);
    }
}

static void
credit_goes_through_to_the_provider(void **state)
{
    (void)state;
    struct scene *scene = scene_new(chat_request(CHAT_STREAM), streams_when_credited);
    scene->owner.on_envelope = grant_on_first_chunk;
    play(scene, false);
    assert_int_equal(scene->asked[1]->kind, ENV_CREDIT);
    assert_int_equal(scene->asked[1]->credit, 1000);
    assert_int_equal(scene->asked[1]->attempt, 1);
    scene_free(scene);
}

static void
a_second_end_is_dropped_and_counted(void **state)
{
    (void)state;
    struct scene *scene = scene_new(chat_request(CHAT), answers_twice);
    play(scene, false);
    assert_int_equal(scene->n_seen, 1);
    assert_int_equal(atomic_load(&scene->shared.late_answers), 1);
    scene_free(scene);
}

static void
models_and_health_are_answered_without_a_provider(void **state)
{
    (void)state;
    static const enum env_surface surfaces[] = {ENV_SURFACE_MODELS, ENV_SURFACE_HEALTH, ENV_SURFACE_READY};
    for (size_t i = 0; i < DYN_ARRAY_LEN(surfaces); i++) {
        struct env *request = chat_request("");
        request->surface = surfaces[i];
        struct scene *scene = scene_new(request, says_nothing_at_all);
        play(scene, false);
        assert_int_equal(last(scene)->status, 200);
        assert_int_equal(last(scene)->outcome, ENV_OUTCOME_OK);
        assert_true(env_body_len(last(scene)) > 0);
        assert_int_equal(scene->n_asked, 0);
        scene_free(scene);
    }
}

static void
health_needs_no_key_and_models_do(void **state)
{
    (void)state;
    static const struct {
        enum env_surface surface;
        unsigned status;
    } cases[] = {{ENV_SURFACE_HEALTH, 200},
                 {ENV_SURFACE_READY, 200},
                 {ENV_SURFACE_MODELS, 401},
                 {ENV_SURFACE_MODEL, 401}};
    for (size_t i = 0; i < DYN_ARRAY_LEN(cases); i++) {
        struct env *request = chat_request("");
        request->surface = cases[i].surface;
        struct scene *scene = scene_new(request, says_nothing_at_all);
        scene->shared.admission = (struct admission){.master_key = DYN_SLICE("sk-right")};
        play(scene, false);
        assert_int_equal(last(scene)->status, cases[i].status);
        scene_free(scene);
    }
}

static void
a_model_that_is_not_listed_is_not_found(void **state)
{
    (void)state;
    struct env *request = chat_request("");
    request->surface = ENV_SURFACE_MODEL;
    request->model = env_copy(request, DYN_SLICE("nope"));
    struct scene *scene = scene_new(request, says_nothing_at_all);
    play(scene, false);
    assert_int_equal(last(scene)->error, ERR_MODEL_NOT_FOUND);
    scene_free(scene);
}

static struct env *
stream_chunk(const struct env *request, uint32_t sequence, size_t bytes)
{
    struct env *chunk = env_about(ENV_CHUNK, request);
    chunk->sequence = sequence;
    chunk->stream = true;
    chunk->status = 200;
    chunk->body = dyn_block_new(0, bytes);
    for (size_t i = 0; i < bytes; i++) {
        dyn_block_append(&chunk->body, "x", 1);
    }
    return chunk;
}

/* The first CHUNK was on its way when the CANCEL came; no END follows. */
static void
begins_when_cancelled_and_never_ends(struct scene *scene, struct env *env)
{
    if (env->kind == ENV_CANCEL) {
        answer_with(scene, stream_chunk(scene->asked[0], 0, 3));
    }
}

/* The CHUNK used to stop the clock that bounds the wait for the END. */
static void
a_stream_that_begins_after_its_cancel_still_ends(void **state)
{
    (void)state;
    struct scene *scene = scene_new(chat_request(CHAT_STREAM), begins_when_cancelled_and_never_ends);
    scene->owner.on_envelope = cancel_at_once;
    play(scene, false);
    assert_int_equal(last(scene)->error, ERR_CLIENT_CLOSED);
    scene_free(scene);
}

enum { SMALL_MAILBOX = 8000 };

/* Fills the owner's mailbox from aside, so that the CHUNK finds no room and what comes later would. */
static void
streams_to_a_full_owner(struct scene *scene, struct env *env)
{
    if (env->kind != ENV_REQUEST) {
        return;
    }
    struct env *aside = stream_chunk(env, 0, SMALL_MAILBOX - 1500);
    aside->id = env_id_random();
    answer_with(scene, stream_chunk(env, 0, 2000));
    CHECK(bus_send(scene->provider.me, scene->seen[0]->to, &aside, NULL) == 0);
    answer_with(scene, stream_chunk(env, 1, 10));
    struct env *end = env_about(ENV_END, env);
    end->outcome = ENV_OUTCOME_OK;
    answer_with(scene, end);
}

/* An answer with a hole in it must not end well, nor go on behind the hole. */
static void
a_chunk_that_finds_no_room_fails_the_request(void **state)
{
    (void)state;
    struct scene *scene = scene_new(chat_request(CHAT_STREAM), streams_to_a_full_owner);
    scene->mailbox_bytes = SMALL_MAILBOX;
    play(scene, false);
    assert_int_equal(last(scene)->outcome, ENV_OUTCOME_ERROR);
    assert_int_equal(last(scene)->error, ERR_SATURATED);
    for (size_t i = 0; i < scene->n_seen; i++) {
        bool of_this_request = env_id_eq(&scene->seen[i]->id, &scene->asked[0]->id);
        assert_false(of_this_request && scene->seen[i]->kind == ENV_CHUNK);
    }
    scene_free(scene);
}

static void
a_model_name_is_cut_between_characters(void **state)
{
    (void)state;
    struct dyn_buf body = DYN_BUF_INIT;
    dyn_buf_add_str(&body, "{\"model\":\"");
    for (unsigned i = 0; i < 60; i++) {
        dyn_buf_add_str(&body, "\xE2\x82\xAC");
    }
    dyn_buf_add_str(&body, "\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}");
    struct scene *scene = scene_new(chat_request(dyn_buf_cstr(&body)), answers_hello);
    scene->has_models = true;
    play(scene, true);
    assert_int_equal(last(scene)->error, ERR_MODEL_NOT_FOUND);
    struct dyn_slice text = last(scene)->error_text;
    assert_non_null(memmem(text.data, text.len, "\xE2\x82\xAC'", 4));
    assert_null(memchr(text.data, '?', text.len));
    dyn_buf_fini(&body);
    scene_free(scene);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_plain_answer_comes_back_whole),
        cmocka_unit_test(it_does_over_the_encoded_wire_too),
        cmocka_unit_test(the_credential_stays_in_the_router),
        cmocka_unit_test(a_stream_is_announced_and_passed_on_in_order),
        cmocka_unit_test(who_is_not_admitted_reaches_no_provider),
        cmocka_unit_test(a_refusal_of_the_edge_comes_after_admission),
        cmocka_unit_test(a_bad_body_is_refused_with_its_field),
        cmocka_unit_test(a_model_that_envelope_and_body_disagree_on_is_refused),
        cmocka_unit_test(a_dialect_that_nobody_speaks_is_refused),
        cmocka_unit_test(the_providers_error_comes_back_with_its_wait),
        cmocka_unit_test(the_deadline_cancels_the_attempt_and_answers),
        cmocka_unit_test(a_shorter_deadline_of_the_caller_holds),
        cmocka_unit_test(a_provider_that_ignores_the_cancel_holds_nobody),
        cmocka_unit_test(a_cancel_of_the_owner_reaches_the_provider_and_ends_the_request),
        cmocka_unit_test(credit_goes_through_to_the_provider),
        cmocka_unit_test(a_second_end_is_dropped_and_counted),
        cmocka_unit_test(models_and_health_are_answered_without_a_provider),
        cmocka_unit_test(health_needs_no_key_and_models_do),
        cmocka_unit_test(a_model_that_is_not_listed_is_not_found),
        cmocka_unit_test(a_stream_that_begins_after_its_cancel_still_ends),
        cmocka_unit_test(a_chunk_that_finds_no_room_fails_the_request),
        cmocka_unit_test(a_model_name_is_cut_between_characters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
