/* Configurations, registered providers and what there is to look at, as the library's users meet them. */
#include "tests/unit/gateway/gateway_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#define ASKED "{\"model\":\"own-model\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}"
#define ASKED_STREAM                                                                                         \
    "{\"model\":\"own-model\",\"stream\":true,\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}"
#define ANSWER                                                                                               \
    "{\"id\":\"1\",\"object\":\"chat.completion\",\"model\":\"own-model\",\"choices\":[{\"index\":0,"        \
    "\"message\":{\"role\":\"assistant\",\"content\":\"own\"},\"finish_reason\":\"stop\"}]}"

/* ---- asking ---- */

struct outcome {
    struct gate gate;
    int status;
    char error_code[64];
    char target[64];
    char body[65536];
    char stream[65536];
    size_t stream_len;
    uint64_t tokens;
    unsigned stop_after; /* pieces; 0: never */
    unsigned pieces;
};

static void
answered(void *user, const struct dynabus_answer *answer)
{
    struct outcome *outcome = user;
    outcome->status = answer->status;
    outcome->tokens = answer->completion_tokens;
    (void)snprintf(outcome->body, sizeof outcome->body, "%.*s", (int)answer->body_len, answer->body);
    (void)snprintf(outcome->error_code, sizeof outcome->error_code, "%s",
                   answer->error_code ? answer->error_code : "");
    (void)snprintf(outcome->target, sizeof outcome->target, "%s", answer->target);
    gate_open(&outcome->gate);
}

static int
piece(void *user, const char *bytes, size_t len)
{
    struct outcome *outcome = user;
    outcome->pieces++;
    if (outcome->stream_len + len < sizeof outcome->stream) {
        memcpy(outcome->stream + outcome->stream_len, bytes, len);
        outcome->stream_len += len;
    }
    return outcome->stop_after != 0 && outcome->pieces >= outcome->stop_after;
}

static struct outcome *
begin_asking(dynabus_t *gateway, const char *body, unsigned stop_after)
{
    struct outcome *outcome = dyn_zalloc(sizeof *outcome);
    struct dynabus_request request = fixture_request(body);
    gate_init(&outcome->gate, 1);
    outcome->stop_after = stop_after;
    assert_int_equal(dynabus_route_stream(gateway, &request, piece, answered, outcome), 0);
    return outcome;
}

static struct outcome *
ask(dynabus_t *gateway, const char *body)
{
    struct outcome *outcome = begin_asking(gateway, body, 0);
    gate_wait(&outcome->gate);
    return outcome;
}

static void
expect(dynabus_t *gateway, const char *body, int status, const char *target)
{
    struct outcome *outcome = ask(gateway, body);
    assert_int_equal(outcome->status, status);
    assert_string_equal(outcome->target, target);
    free(outcome);
}

/* ---- a provider of the test's own ---- */

struct own {
    const char *answer;
    const char *error_code;
    bool waits; /* for own_go_on */
    bool is_endless;
    atomic_uint calls, cancelled, freed;
    struct gate called;
    struct gate over;
    _Atomic(dynabus_call_t *) call;
    char body[1024];
    char model[64];
};

static void
own_finish(struct own *own, dynabus_call_t *call)
{
    struct dynabus_result result = DYNABUS_RESULT_INIT;
    if (own->error_code != NULL) {
        result.error_code = own->error_code;
        result.error = "not today";
    } else {
        assert_int_equal(dynabus_call_write(call, own->answer, strlen(own->answer)), 0);
        result.usage_known = true;
        result.prompt_tokens = 3;
        result.completion_tokens = 7;
    }
    dynabus_call_end(call, &result);
}

static void
own_call(void *user, dynabus_call_t *call)
{
    struct own *own = user;
    size_t len;
    const char *body = dynabus_call_body(call, &len);
    (void)snprintf(own->body, sizeof own->body, "%.*s", (int)len, body);
    (void)snprintf(own->model, sizeof own->model, "%s", dynabus_call_model(call));
    dynabus_call_set_data(call, own);
    (void)atomic_fetch_add(&own->calls, 1);
    atomic_store(&own->call, call);
    if (own->is_endless) {
        (void)dynabus_call_write(call, "data: {}\n\n", 10);
    } else if (!own->waits) {
        own_finish(own, call);
    }
    if (own->waits || own->is_endless) {
        gate_open(&own->called);
    }
}

static void
own_cancelled(void *user, dynabus_call_t *call)
{
    struct own *own = user;
    (void)atomic_fetch_add(&own->cancelled, 1);
    CHECK(dynabus_call_data(call) == own);
    CHECK(dynabus_call_write(call, "x", 1) == -1);
    dynabus_call_end(call, NULL);
    gate_open(&own->over);
}

static void
own_freed(void *user)
{
    (void)atomic_fetch_add(&((struct own *)user)->freed, 1);
}

static void
own_register(dynabus_t *gateway, struct own *own, const char *name)
{
    static const char *const models[] = {"own-model", "own-other"};
    struct dynabus_provider provider = DYNABUS_PROVIDER_INIT;
    char why[512];
    provider.name = name;
    provider.models = models;
    provider.n_models = 2;
    provider.call = own_call;
    provider.cancelled = own_cancelled;
    provider.freed = own_freed;
    provider.user = own;
    if (dynabus_register_provider(gateway, &provider, why, sizeof why) != 0) {
        fail_msg("%s", why);
    }
}

static dynabus_t *
gateway_with(const char *text)
{
    struct dynabus_options options = DYNABUS_OPTIONS_INIT;
    options.config_text = text;
    options.cells = 2;
    char why[1024] = "";
    dynabus_t *gateway = dynabus_new(&options, why, sizeof why);
    if (gateway == NULL) {
        fail_msg("%s", why);
    }
    return gateway;
}

static void
a_registered_provider_answers(void **state)
{
    (void)state;
    for (size_t i = 0; i < DYN_ARRAY_LEN(wire_configs); i++) {
        struct own own = {.answer = ANSWER};
        dynabus_t *gateway = gateway_with(wire_configs[i]);
        own_register(gateway, &own, "mine");
        for (int k = 0; k < 4; k++) { /* on both cells */
            struct outcome *outcome = ask(gateway, ASKED);
            assert_int_equal(outcome->status, 200);
            assert_string_equal(outcome->target, "mine");
            assert_string_equal(outcome->body, ANSWER);
            assert_int_equal(outcome->tokens, 7);
            free(outcome);
        }
        assert_int_equal(atomic_load(&own.calls), 4);
        assert_string_equal(own.body, ASKED);
        assert_string_equal(own.model, "own-model");
        assert_int_equal(dynabus_close(&gateway, 1000), 0);
        assert_int_equal(atomic_load(&own.freed), 1);
    }
}

static void
it_streams_and_fails_as_it_likes(void **state)
{
    (void)state;
    static const char events[] = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"own\"}}]}\n\n"
                                 "data: [DONE]\n\n";
    struct own own = {.answer = events};
    dynabus_t *gateway = gateway_with("{}");
    own_register(gateway, &own, "mine");
    struct outcome *stream = ask(gateway, ASKED_STREAM);
    assert_int_equal(stream->status, 200);
    assert_int_equal(stream->stream_len, sizeof events - 1);
    assert_memory_equal(stream->stream, events, sizeof events - 1);
    free(stream);
    own.error_code = "invalid_request";
    struct outcome *failed = ask(gateway, ASKED);
    assert_int_equal(failed->status, 400);
    assert_string_equal(failed->error_code, "invalid_request");
    assert_non_null(strstr(failed->body, "not today"));
    free(failed);
    assert_int_equal(dynabus_close(&gateway, 1000), 0);
}

/* More than a window, from another thread: credit bounds what is on the way, nothing is lost. */
static void
a_long_answer_from_another_thread_arrives_whole(void **state)
{
    (void)state;
    enum { PIECES = 3000 };
    struct own own = {.waits = true};
    dynabus_t *gateway = gateway_with("{}");
    gate_init(&own.called, 1);
    own_register(gateway, &own, "mine");
    struct outcome *outcome = begin_asking(gateway, ASKED, 0);
    gate_wait(&own.called);
    dynabus_call_t *call = atomic_load(&own.call);
    char text[1024];
    memset(text, 'x', sizeof text);
    for (int i = 0; i < PIECES; i++) {
        assert_true(dynabus_call_write(call, text, sizeof text) >= 0);
    }
    dynabus_call_end(call, NULL);
    gate_wait(&outcome->gate);
    assert_int_equal(outcome->status, 200);
    assert_int_equal(strlen(outcome->body), sizeof outcome->body - 1); /* what the test keeps of it */
    free(outcome);
    assert_int_equal(dynabus_close(&gateway, 1000), 0);
}

static void
a_client_that_goes_away_is_told_of(void **state)
{
    (void)state;
    struct own own = {.is_endless = true};
    dynabus_t *gateway = gateway_with("{}");
    gate_init(&own.called, 1);
    gate_init(&own.over, 1);
    own_register(gateway, &own, "mine");
    struct outcome *outcome = begin_asking(gateway, ASKED_STREAM, 1);
    gate_wait(&own.over);
    gate_wait(&outcome->gate);
    assert_int_equal(atomic_load(&own.cancelled), 1);
    free(outcome);
    assert_int_equal(dynabus_close(&gateway, 1000), 0);
    assert_int_equal(atomic_load(&own.freed), 1);
}

static void
who_registers_again_takes_the_place(void **state)
{
    (void)state;
    struct own first = {.waits = true, .answer = ANSWER};
    struct own second = {.answer = ANSWER};
    dynabus_t *gateway = gateway_with("{}");
    gate_init(&first.called, 1);
    own_register(gateway, &first, "mine");
    struct outcome *outcome = begin_asking(gateway, ASKED, 0);
    gate_wait(&first.called);
    own_register(gateway, &second, "mine");
    expect(gateway, ASKED, 200, "mine");
    assert_int_equal(atomic_load(&second.calls), 1);
    own_finish(&first, atomic_load(&first.call)); /* its call goes on */
    gate_wait(&outcome->gate);
    assert_int_equal(outcome->status, 200);
    free(outcome);
    assert_int_equal(dynabus_close(&gateway, 1000), 0);
    assert_int_equal(atomic_load(&first.freed), 1);
    assert_int_equal(atomic_load(&second.freed), 1);
}

static void
what_can_be_no_provider_is_refused(void **state)
{
    (void)state;
    dynabus_t *gateway = fixture_gateway(1, NULL);
    struct own own = {.answer = ANSWER};
    char why[256];
    struct dynabus_provider provider = DYNABUS_PROVIDER_INIT;
    provider.call = own_call;
    provider.freed = own_freed;
    provider.user = &own;
    provider.name = "a name";
    assert_int_equal(dynabus_register_provider(gateway, &provider, why, sizeof why), -1);
    assert_non_null(strstr(why, "letters"));
    provider.name = "mock";
    assert_int_equal(dynabus_register_provider(gateway, &provider, why, sizeof why), -1);
    assert_non_null(strstr(why, "another name"));
    assert_int_equal(atomic_load(&own.freed), 0);
    expect(gateway, CHAT("mock"), 200, "mock");
    assert_int_equal(dynabus_close(&gateway, 1000), 0);
}

/* ---- configurations ---- */

static void
a_configuration_is_checked(void **state)
{
    (void)state;
    char why[1024];
    assert_int_equal(dynabus_validate_config("request_timeout: 5s\n", why, sizeof why), 0);
    assert_string_equal(why, "");
    assert_int_equal(dynabus_validate_config("request_timeoutt: 5s\n", why, sizeof why), -1);
    assert_non_null(strstr(why, "config:1:1"));
    assert_non_null(strstr(why, "request_timeout"));
    assert_null(dynabus_load_config("/nowhere/at/all.yaml", why, sizeof why));
    assert_non_null(strstr(why, "/nowhere/at/all.yaml"));
}

static char *
write_file(const char *text)
{
    char *path = dyn_strdup("/tmp/dynabus-test-XXXXXX.yaml");
    int fd = mkstemps(path, 5);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    (void)close(fd);
    return path;
}

static void
a_file_is_loaded_and_taken_up(void **state)
{
    (void)state;
    char why[1024];
    struct own own = {.answer = ANSWER};
    char *path = write_file("max_attempts: 3\n");
    dynabus_t *gateway = gateway_with("max_attempts: 2\n");
    own_register(gateway, &own, "mine");
    dynabus_config_t *before = dynabus_get_config(gateway);
    assert_string_equal(dynabus_config_text(before), "max_attempts: 2\n");
    dynabus_config_t *config = dynabus_load_config(path, why, sizeof why);
    assert_non_null(config);
    assert_int_equal(dynabus_config_version(config), 0);
    assert_int_equal(dynabus_reload_config(gateway, config, why, sizeof why), 0);
    dynabus_config_t *now = dynabus_get_config(gateway);
    assert_string_equal(dynabus_config_text(now), "max_attempts: 3\n");
    assert_string_equal(dynabus_config_hash(now), dynabus_config_hash(config));
    assert_string_not_equal(dynabus_config_hash(now), dynabus_config_hash(before));
    assert_int_equal(dynabus_config_version(now), dynabus_config_version(before) + 1);
    expect(gateway, ASKED, 200, "mine"); /* what was registered stays */
    assert_int_equal(dynabus_close(&gateway, 1000), 0);
    dynabus_config_free(&before);
    dynabus_config_free(&config);
    dynabus_config_free(&now);
    (void)unlink(path);
    free(path);
}

static void
a_file_that_changes_is_read_again(void **state)
{
    (void)state;
    struct dynabus_options options = DYNABUS_OPTIONS_INIT;
    char why[1024] = "";
    char *path = write_file("max_attempts: 2\nreload: {watch: false}\n");
    options.config_path = path;
    options.dev = true;
    dynabus_t *gateway = dynabus_new(&options, why, sizeof why);
    assert_non_null(gateway);
    FILE *file = fopen(path, "w");
    assert_true(fputs("max_attempts: many\n", file) > 0);
    (void)fclose(file);
    assert_int_equal(dynabus_reload(gateway, why, sizeof why), -1);
    assert_non_null(strstr(why, "max_attempts"));
    expect(gateway, CHAT("mock"), 200, "mock");
    file = fopen(path, "w");
    assert_true(fputs("max_attempts: 4\nreload: {watch: false}\n", file) > 0);
    (void)fclose(file);
    assert_int_equal(dynabus_reload(gateway, why, sizeof why), 0);
    dynabus_config_t *now = dynabus_get_config(gateway);
    assert_int_equal(dynabus_config_version(now), 2);
    expect(gateway, CHAT("mock"), 200, "mock");
    dynabus_config_free(&now);
    assert_int_equal(dynabus_close(&gateway, 1000), 0);
    (void)unlink(path);
    free(path);
}

/* ---- what there is ---- */

enum { NAMES_SIZE = 256 };

static int
note_target(void *user, const struct dynabus_target *target)
{
    char *names = user;
    size_t len = strlen(names);
    (void)snprintf(names + len, NAMES_SIZE - len, "%s ", target->name);
    return 0;
}

struct seen {
    size_t n;
    bool has_own;
    bool has_price;
};

static int
note_model(void *user, const struct dynabus_model *model)
{
    struct seen *seen = user;
    seen->n++;
    seen->has_own = seen->has_own || strcmp(model->id, "own-other") == 0;
    seen->has_price = seen->has_price || (model->is_priced && model->input_usd > 0);
    return 0;
}

static void
targets_and_models_can_be_looked_at(void **state)
{
    (void)state;
    struct own own = {.answer = ANSWER};
    dynabus_t *gateway = gateway_with(
        "targets: [{name: one, provider: openai, api_key: '${HOME}', base_url: 'http://127.0.0.1:9/v1'}]\n");
    own_register(gateway, &own, "mine");
    char names[NAMES_SIZE] = "";
    struct dynabus_target target;
    struct seen all = {0};
    struct seen catalog = {0};
    assert_int_equal(dynabus_list(gateway, note_target, names), 2);
    assert_string_equal(names, "one mine ");
    assert_int_equal(dynabus_get(gateway, "one", &target), 0);
    assert_string_equal(target.provider, "openai");
    assert_false(target.is_registered);
    assert_int_equal(dynabus_get(gateway, "two", &target), -1);
    assert_int_equal(dynabus_find_by_model(gateway, "own-other", &target), 0);
    assert_string_equal(target.name, "mine");
    assert_true(target.is_registered);
    assert_int_equal(dynabus_find_streaming_by_model(gateway, "gpt-4o-mini", &target), 0);
    assert_string_equal(target.name, "one");
    assert_true(dynabus_all_models(gateway, note_model, &all) > 10);
    assert_true(all.has_own);
    assert_true(all.has_price);
    assert_true(dynabus_catalog(gateway, note_model, &catalog) >= 2500);
    assert_false(catalog.has_own);
    assert_true(catalog.has_price);
    assert_int_equal(dynabus_close(&gateway, 1000), 0);
}

static void
embeddings_are_asked_for(void **state)
{
    (void)state;
    dynabus_t *gateway = fixture_gateway(1, NULL);
    struct outcome *outcome = dyn_zalloc(sizeof *outcome);
    struct dynabus_request request = fixture_request("{\"model\":\"mock\",\"input\":\"hello\"}");
    gate_init(&outcome->gate, 1);
    assert_int_equal(dynabus_embed(gateway, &request, answered, outcome), 0);
    gate_wait(&outcome->gate);
    assert_int_equal(outcome->status, 200);
    assert_non_null(strstr(outcome->body, "\"embedding\""));
    free(outcome);
    assert_int_equal(dynabus_close(&gateway, 1000), 0);
}

/* The other gateway is the provider: it lists "mock". */
static void
providers_are_asked_for_their_models(void **state)
{
    (void)state;
    enum { TRIES = 2000, PAUSE_US = 10000 };
    struct dynabus_options options = DYNABUS_OPTIONS_INIT;
    char why[1024] = "";
    options.serve_http = true;
    options.dev = true;
    options.cells = 1;
    options.listen = "127.0.0.1:0";
    dynabus_t *provider = dynabus_new(&options, why, sizeof why);
    assert_non_null(provider);
    char text[512];
    (void)snprintf(text, sizeof text,
                   "targets: [{name: far, provider: openai, api_key: '${HOME}', base_url: '%s/v1'}]\n",
                   dynabus_url(provider));
    dynabus_t *gateway = gateway_with(text);
    assert_int_equal(dynabus_start_discovery(gateway, 0), -1);
    assert_int_equal(dynabus_start_discovery(gateway, 3600), 0);
    uint64_t version = 1;
    for (unsigned i = 0; i < TRIES && version == 1; i++) {
        dynabus_config_t *now = dynabus_get_config(gateway);
        version = dynabus_config_version(now);
        dynabus_config_free(&now);
        (void)usleep(PAUSE_US);
    }
    assert_int_equal(version, 2); /* what it said is in force */
    expect(gateway, CHAT("mock"), 200, "far");
    assert_int_equal(dynabus_close(&gateway, 1000), 0);
    assert_int_equal(dynabus_close(&provider, 1000), 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_registered_provider_answers),
        cmocka_unit_test(it_streams_and_fails_as_it_likes),
        cmocka_unit_test(a_long_answer_from_another_thread_arrives_whole),
        cmocka_unit_test(a_client_that_goes_away_is_told_of),
        cmocka_unit_test(who_registers_again_takes_the_place),
        cmocka_unit_test(what_can_be_no_provider_is_refused),
        cmocka_unit_test(a_configuration_is_checked),
        cmocka_unit_test(a_file_is_loaded_and_taken_up),
        cmocka_unit_test(a_file_that_changes_is_read_again),
        cmocka_unit_test(targets_and_models_can_be_looked_at),
        cmocka_unit_test(embeddings_are_asked_for),
        cmocka_unit_test(providers_are_asked_for_their_models),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
