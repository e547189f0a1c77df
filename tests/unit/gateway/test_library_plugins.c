/* Plugins that are functions of the program around the library: what they are asked, what their votes do, and
 * when the program gets back what it gave. */
#include "tests/unit/gateway/gateway_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#define ASKED(text) "{\"model\":\"own-model\",\"messages\":[{\"role\":\"user\",\"content\":\"" text "\"}]}"
#define ASKED_STREAM                                                                                         \
    "{\"model\":\"own-model\",\"stream\":true,\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}"
#define ANSWER(text)                                                                                         \
    "{\"id\":\"1\",\"object\":\"chat.completion\",\"model\":\"own-model\",\"choices\":[{\"index\":0,"        \
    "\"message\":{\"role\":\"assistant\",\"content\":\"" text "\"},\"finish_reason\":\"stop\"}]}"
#define PIECE(text) "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"" text "\"}}]}\n\n"
#define EVENTS      PIECE("one ") PIECE("two ") PIECE("three") "data: [DONE]\n\n"

/* ---- asking ---- */

struct outcome {
    struct gate gate;
    int status;
    char error_code[64];
    char target[64];
    char body[8192];
    char stream[8192];
    size_t stream_len;
};

static void
answered(void *user, const struct dynabus_answer *answer)
{
    struct outcome *outcome = user;
    outcome->status = answer->status;
    (void)snprintf(outcome->body, sizeof outcome->body, "%.*s", (int)answer->body_len, answer->body);
    (void)snprintf(outcome->error_code, sizeof outcome->error_code, "%s",
                   answer->error_code != NULL ? answer->error_code : "");
    (void)snprintf(outcome->target, sizeof outcome->target, "%s", answer->target);
    gate_open(&outcome->gate);
}

static int
piece(void *user, const char *bytes, size_t len)
{
    struct outcome *outcome = user;
    assert_true(outcome->stream_len + len < sizeof outcome->stream);
    memcpy(outcome->stream + outcome->stream_len, bytes, len);
    outcome->stream_len += len;
    return 0;
}

static struct outcome *
begin_asking(dynabus_t *gateway, const char *body)
{
    struct outcome *outcome = dyn_zalloc(sizeof *outcome);
    struct dynabus_request request = fixture_request(body);
    gate_init(&outcome->gate, 1);
    assert_int_equal(dynabus_route_stream(gateway, &request, piece, answered, outcome), 0);
    return outcome;
}

static struct outcome *
ask(dynabus_t *gateway, const char *body)
{
    struct outcome *outcome = begin_asking(gateway, body);
    gate_wait(&outcome->gate);
    return outcome;
}

static void
expect(dynabus_t *gateway, const char *body, int status, const char *error_code)
{
    struct outcome *outcome = ask(gateway, body);
    assert_string_equal(outcome->error_code, error_code);
    assert_int_equal(outcome->status, status);
    free(outcome);
}

/* ---- who answers ---- */

static atomic_uint answers;
static char last_body[1024];

static void
answer_call(void *user, dynabus_call_t *call)
{
    size_t len;
    const char *body = dynabus_call_body(call, &len);
    const char *text = dynabus_call_is_stream(call) ? EVENTS : ANSWER("fine");
    (void)user;
    (void)atomic_fetch_add(&answers, 1);
    (void)snprintf(last_body, sizeof last_body, "%.*s", (int)len, body);
    (void)dynabus_call_write(call, text, strlen(text));
    dynabus_call_end(call, NULL);
}

static dynabus_t *
gateway_with(const char *text)
{
    static const char *const models[] = {"own-model"};
    struct dynabus_options options = DYNABUS_OPTIONS_INIT;
    struct dynabus_provider provider = DYNABUS_PROVIDER_INIT;
    char why[1024] = "";
    options.config_text = text;
    options.cells = 2;
    provider.name = "mine";
    provider.models = models;
    provider.n_models = 1;
    provider.call = answer_call;
    dynabus_t *gateway = dynabus_new(&options, why, sizeof why);
    if (gateway == NULL || dynabus_register_provider(gateway, &provider, why, sizeof why) != 0) {
        fail_msg("%s", why);
    }
    atomic_store(&answers, 0);
    return gateway;
}

/* ---- a plugin of the test's own ---- */

struct own {
    void (*votes)(struct own *own, dynabus_ask_t *ask);
    atomic_uint asked, told, cancelled, freed;
    struct gate waiting; /* opened when a question is kept */
    struct gate over;    /* opened when one was told, or cancelled */
    bool waits_for_over;
    _Atomic(dynabus_ask_t *) kept;
    char seen[512];
    char config[128];
    char error_code[64];
    char refused_by[64];
};

static void
own_ask(void *user, dynabus_ask_t *ask)
{
    struct own *own = user;
    if (dynabus_ask_is_told(ask)) {
        const struct dynabus_facts *facts = dynabus_ask_facts(ask);
        (void)snprintf(own->error_code, sizeof own->error_code, "%s", facts->error_code);
        (void)snprintf(own->refused_by, sizeof own->refused_by, "%s", facts->refused_by);
        (void)atomic_fetch_add(&own->told, 1);
        dynabus_ask_vote(ask, NULL);
        if (own->waits_for_over) {
            gate_open(&own->over);
        }
        return;
    }
    (void)atomic_fetch_add(&own->asked, 1);
    (void)snprintf(own->config, sizeof own->config, "%s", dynabus_ask_config(ask));
    own->votes(own, ask);
}

static void
own_cancelled(void *user, dynabus_ask_t *ask)
{
    struct own *own = user;
    (void)atomic_fetch_add(&own->cancelled, 1);
    dynabus_ask_vote(ask, NULL);
    if (own->waits_for_over) {
        gate_open(&own->over);
    }
}

static void
own_freed(void *user)
{
    (void)atomic_fetch_add(&((struct own *)user)->freed, 1);
}

static int
own_check(void *user, const char *config, char *why, size_t why_size)
{
    (void)user;
    (void)snprintf(why, why_size, "too sour");
    return strstr(config, "lemon") != NULL ? -1 : 0;
}

static struct dynabus_plugin
own_plugin(struct own *own, const char *name, void (*votes)(struct own *own, dynabus_ask_t *ask))
{
    struct dynabus_plugin plugin = DYNABUS_PLUGIN_INIT;
    own->votes = votes;
    plugin.name = name;
    plugin.stages = DYNABUS_BEFORE_REQUEST;
    plugin.check = own_check;
    plugin.ask = own_ask;
    plugin.cancelled = own_cancelled;
    plugin.freed = own_freed;
    plugin.user = own;
    return plugin;
}

static void
add(dynabus_t *gateway, const struct dynabus_plugin *plugin)
{
    char why[512];
    if (dynabus_register_plugin(gateway, plugin, why, sizeof why) != 0) {
        fail_msg("%s", why);
    }
}

/* ---- votes ---- */

static void
vote_pass(struct own *own, dynabus_ask_t *ask)
{
    (void)own;
    dynabus_ask_vote(ask, NULL);
}

/* Refuses who says "no". */
static void
vote_on_texts(struct own *own, dynabus_ask_t *ask)
{
    const struct dynabus_text *texts;
    size_t n = dynabus_ask_texts(ask, &texts);
    struct dynabus_vote vote = DYNABUS_VOTE_INIT;
    for (size_t i = 0; i < n; i++) {
        (void)snprintf(own->seen, sizeof own->seen, "%s %s %s %s", texts[i].role, texts[i].kind, texts[i].at,
                       texts[i].text);
        vote.verdict = strstr(texts[i].text, "no") != NULL ? DYNABUS_DENY : vote.verdict;
    }
    vote.reason = "it said no";
    dynabus_ask_vote(ask, &vote);
}

static void
a_denial_is_the_answer_on_every_wire(void **state)
{
    (void)state;
    for (size_t i = 0; i < DYN_ARRAY_LEN(wire_configs); i++) {
        struct own own = {.kept = NULL};
        dynabus_t *gateway = gateway_with(wire_configs[i]);
        struct dynabus_plugin plugin = own_plugin(&own, "nay", vote_on_texts);
        plugin.needs = DYNABUS_NEEDS_TEXTS;
        add(gateway, &plugin);
        for (int k = 0; k < 4; k++) { /* on both cells */
            expect(gateway, ASKED("say yes"), 200, "");
            expect(gateway, ASKED("say no"), 400, "request_rejected");
        }
        assert_string_equal(own.seen, "user text /messages/0/content say no");
        assert_int_equal(atomic_load(&own.asked), 8);
        assert_int_equal(atomic_load(&answers), 4);
        assert_int_equal(dynabus_close(&gateway, 1000), 0);
        assert_int_equal(atomic_load(&own.freed), 1);
    }
}

static void
vote_with_status(struct own *own, dynabus_ask_t *ask)
{
    const struct dynabus_facts *facts = dynabus_ask_facts(ask);
    struct dynabus_vote vote = DYNABUS_VOTE_INIT;
    (void)snprintf(own->seen, sizeof own->seen, "%s %s %s %s %llu %llu %s", facts->model, facts->asked_model,
                   facts->surface, facts->key_id, (unsigned long long)facts->max_output,
                   (unsigned long long)facts->n_messages, facts->end_user);
    vote.verdict = DYNABUS_DENY;
    vote.status = 451;
    vote.reason = "not in this country";
    dynabus_ask_vote(ask, &vote);
}

static void
it_is_asked_with_facts_and_says_its_own_status(void **state)
{
    (void)state;
    struct own own = {.kept = NULL};
    dynabus_t *gateway = gateway_with("aliases: {short: own-model}\n");
    struct dynabus_plugin plugin = own_plugin(&own, "border", vote_with_status);
    plugin.needs = DYNABUS_NEEDS_COUNTS;
    add(gateway, &plugin);
    struct outcome *outcome =
        ask(gateway, "{\"model\":\"short\",\"max_tokens\":7,\"user\":\"u1\",\"messages\":"
                     "[{\"role\":\"user\",\"content\":\"hi\"}]}");
    assert_int_equal(outcome->status, 451);
    assert_non_null(strstr(outcome->body, "not in this country"));
    assert_string_equal(own.seen, "own-model short chat anonymous 7 1 u1");
    free(outcome);
    assert_int_equal(dynabus_close(&gateway, 1000), 0);
}

static void
vote_amend(struct own *own, dynabus_ask_t *ask)
{
    size_t len;
    const char *body = dynabus_ask_body(ask, &len);
    const struct dynabus_edit edits[] = {{"replace", "/messages/0/content", "\"bye\""},
                                         {"add", "/top_k", "3"}};
    struct dynabus_vote vote = DYNABUS_VOTE_INIT;
    (void)snprintf(own->seen, sizeof own->seen, "%.*s", (int)len, body);
    vote.verdict = DYNABUS_AMEND;
    vote.edits = edits;
    vote.n_edits = 2;
    dynabus_ask_vote(ask, &vote);
}

static void
vote_nonsense(struct own *own, dynabus_ask_t *ask)
{
    const struct dynabus_edit edits[] = {{"turn", "/messages/0/content", "\"bye\""}};
    struct dynabus_vote vote = DYNABUS_VOTE_INIT;
    (void)own;
    vote.verdict = DYNABUS_AMEND;
    vote.edits = edits;
    vote.n_edits = 1;
    dynabus_ask_vote(ask, &vote);
}

static void
edits_are_made_all_or_none(void **state)
{
    (void)state;
    struct own own = {.kept = NULL};
    struct own wrong = {.kept = NULL};
    dynabus_t *gateway = gateway_with("{}");
    struct dynabus_plugin plugin = own_plugin(&own, "editor", vote_amend);
    plugin.amends = true;
    plugin.needs = DYNABUS_NEEDS_BODY;
    add(gateway, &plugin);
    expect(gateway, ASKED("hi"), 200, "");
    assert_string_equal(own.seen, ASKED("hi"));
    assert_string_equal(last_body,
                        "{\"model\":\"own-model\",\"messages\":[{\"role\":\"user\",\"content\":\"bye\"}],"
                        "\"top_k\":3}");
    plugin = own_plugin(&wrong, "nonsense", vote_nonsense);
    plugin.amends = true;
    add(gateway, &plugin);
    expect(gateway, ASKED("hi"), 500, "plugin_error");
    assert_int_equal(atomic_load(&answers), 1);
    assert_int_equal(dynabus_close(&gateway, 1000), 0);
}

static void
vote_answer(struct own *own, dynabus_ask_t *ask)
{
    struct dynabus_vote vote = DYNABUS_VOTE_INIT;
    (void)own;
    vote.verdict = DYNABUS_ANSWER;
    vote.answer = ANSWER("from memory");
    vote.answer_len = strlen(vote.answer);
    vote.prompt_tokens = 2;
    vote.completion_tokens = 3;
    dynabus_ask_vote(ask, &vote);
}

static void
its_answer_takes_the_place_of_a_provider_s(void **state)
{
    (void)state;
    struct own own = {.kept = NULL};
    dynabus_t *gateway = gateway_with("{}");
    struct dynabus_plugin plugin = own_plugin(&own, "memory", vote_answer);
    plugin.answers = true;
    add(gateway, &plugin);
    struct outcome *plain = ask(gateway, ASKED("hi"));
    assert_int_equal(plain->status, 200);
    assert_string_equal(plain->body, ANSWER("from memory"));
    free(plain);
    struct outcome *stream = ask(gateway, ASKED_STREAM);
    assert_int_equal(stream->status, 200);
    assert_non_null(strstr(stream->stream, "from memory"));
    assert_non_null(strstr(stream->stream, "[DONE]"));
    free(stream);
    assert_int_equal(atomic_load(&answers), 0);
    assert_int_equal(dynabus_close(&gateway, 1000), 0);
}

/* Of a stream "two" is masked; its end is cut in the second run. */
static void
vote_on_stream(struct own *own, dynabus_ask_t *ask)
{
    const struct dynabus_text *texts;
    struct dynabus_mask masks[8];
    struct dynabus_mark marks[8];
    struct dynabus_vote vote = DYNABUS_VOTE_INIT;
    size_t n = dynabus_ask_texts(ask, &texts);
    assert_int_equal(dynabus_ask_stage(ask), DYNABUS_DURING_STREAM);
    assert_true(n <= DYN_ARRAY_LEN(marks));
    for (size_t i = 0; i < n; i++) {
        const char *two = strstr(texts[i].text, "two");
        uint64_t at = two != NULL ? texts[i].from + (uint64_t)(two - texts[i].text) : 0;
        masks[i] = (struct dynabus_mask){at, at + 3, "2"};
        marks[i] = (struct dynabus_mark){.choice = texts[i].choice,
                                         .kind = texts[i].kind,
                                         .clear = texts[i].from + texts[i].len,
                                         .masks = &masks[i],
                                         .n_masks = two != NULL};
        const char *three = strstr(texts[i].text, "three");
        if (three != NULL && strcmp(own->config, "{\"cuts\":true}") == 0) {
            marks[i].clear = texts[i].from + (uint64_t)(three - texts[i].text);
            vote.verdict = DYNABUS_DENY;
            vote.closing = "enough";
        }
    }
    vote.marks = marks;
    vote.n_marks = n;
    dynabus_ask_vote(ask, &vote);
}

static void
streams_are_masked_and_cut(void **state)
{
    (void)state;
    struct own own = {.kept = NULL};
    dynabus_t *gateway = gateway_with("{}");
    struct dynabus_plugin plugin = own_plugin(&own, "gate", vote_on_stream);
    plugin.stages = DYNABUS_DURING_STREAM;
    add(gateway, &plugin);
    struct outcome *masked = ask(gateway, ASKED_STREAM);
    assert_int_equal(masked->status, 200);
    assert_null(strstr(masked->stream, "two"));
    assert_non_null(strstr(masked->stream, "\"2 \""));
    assert_non_null(strstr(masked->stream, "three"));
    assert_non_null(strstr(masked->stream, "[DONE]"));
    free(masked);
    dynabus_config_t *config = NULL;
    char why[512];
    char path[] = "/tmp/dynabus-test-XXXXXX.yaml";
    FILE *file = fdopen(mkstemps(path, 5), "w");
    (void)fputs("plugins: [{name: gate, enabled: true, config: {cuts: true}}]\n", file);
    (void)fclose(file);
    config = dynabus_load_config(path, why, sizeof why);
    assert_non_null(config);
    assert_int_equal(dynabus_reload_config(gateway, config, why, sizeof why), 0);
    struct outcome *cut = ask(gateway, ASKED_STREAM);
    assert_null(strstr(cut->stream, "three"));
    assert_non_null(strstr(cut->stream, "enough"));
    free(cut);
    dynabus_config_free(&config);
    (void)unlink(path);
    assert_int_equal(dynabus_close(&gateway, 1000), 0);
    assert_int_equal(atomic_load(&own.freed), 1);
}

static void
a_stream_that_nobody_objects_to_passes_whole(void **state)
{
    (void)state;
    struct own own = {.kept = NULL};
    dynabus_t *gateway = gateway_with("{}");
    struct dynabus_plugin plugin = own_plugin(&own, "gate", vote_pass);
    plugin.stages = DYNABUS_DURING_STREAM;
    add(gateway, &plugin);
    struct outcome *outcome = ask(gateway, ASKED_STREAM);
    assert_int_equal(outcome->status, 200);
    assert_int_equal(outcome->stream_len, sizeof EVENTS - 1);
    assert_memory_equal(outcome->stream, EVENTS, sizeof EVENTS - 1);
    assert_true(atomic_load(&own.asked) >= 1);
    free(outcome);
    assert_int_equal(dynabus_close(&gateway, 1000), 0);
}

/* ---- later ---- */

static void
keep(struct own *own, dynabus_ask_t *ask)
{
    dynabus_ask_set_data(ask, own);
    atomic_store(&own->kept, ask);
    gate_open(&own->waiting);
}

static void *
deny_elsewhere(void *arg)
{
    struct own *own = arg;
    struct dynabus_vote vote = DYNABUS_VOTE_INIT;
    gate_wait(&own->waiting);
    vote.verdict = DYNABUS_DENY;
    vote.error_code = "rate_limit_exceeded";
    vote.retry_after_s = 9;
    dynabus_ask_t *ask = atomic_load(&own->kept);
    CHECK(dynabus_ask_data(ask) == own);
    dynabus_ask_vote(ask, &vote);
    return NULL;
}

static void
a_vote_comes_later_from_another_thread(void **state)
{
    (void)state;
    for (int k = 0; k < 20; k++) {
        struct own own = {.kept = NULL};
        pthread_t thread;
        dynabus_t *gateway = gateway_with("{}");
        struct dynabus_plugin plugin = own_plugin(&own, "slow", keep);
        gate_init(&own.waiting, 1);
        add(gateway, &plugin);
        assert_int_equal(pthread_create(&thread, NULL, deny_elsewhere, &own), 0);
        expect(gateway, ASKED("hi"), 429, "rate_limit_exceeded");
        (void)pthread_join(thread, NULL);
        assert_int_equal(dynabus_close(&gateway, 1000), 0);
        assert_int_equal(atomic_load(&own.freed), 1);
        assert_int_equal(atomic_load(&own.cancelled), 0);
    }
}

/* What does not vote in time follows its policy, and after five such it is not asked any more. */
static void
one_that_is_silent_costs_its_time_limit_and_then_nothing(void **state)
{
    (void)state;
    struct own own = {.waits_for_over = true};
    dynabus_t *gateway = gateway_with("cells: 1\nplugins: [{name: mute, enabled: true, timeout: 20ms}]\n");
    struct dynabus_plugin plugin = own_plugin(&own, "mute", keep);
    gate_init(&own.waiting, 100);
    gate_init(&own.over, 1);
    add(gateway, &plugin);
    expect(gateway, ASKED("hi"), 500, "plugin_error");
    gate_wait(&own.over);
    assert_int_equal(atomic_load(&own.cancelled), 1);
    own.waits_for_over = false;
    for (int k = 0; k < 30; k++) {
        expect(gateway, ASKED("hi"), 500, "plugin_error");
    }
    assert_true(atomic_load(&own.asked) <= 12); /* five in each cell, and their probes */
    assert_int_equal(atomic_load(&answers), 0);
    assert_int_equal(dynabus_close(&gateway, 1000), 0);
    assert_int_equal(atomic_load(&own.freed), 1);
}

static void
one_that_only_logs_fails_open(void **state)
{
    (void)state;
    struct own own = {.kept = NULL};
    dynabus_t *gateway = gateway_with("plugins: [{name: mute, enabled: true, timeout: 10ms}]\n");
    struct dynabus_plugin plugin = own_plugin(&own, "mute", keep);
    gate_init(&own.waiting, 100);
    plugin.type = "logging";
    add(gateway, &plugin);
    expect(gateway, ASKED("hi"), 200, "");
    assert_int_equal(dynabus_close(&gateway, 1000), 0);
    assert_int_equal(atomic_load(&own.cancelled), 1);
}

/* What is kept when the gateway goes is handed back by a cancellation, or later by the program. */
static void
a_gateway_closes_over_open_questions(void **state)
{
    (void)state;
    struct own own = {.waits_for_over = true};
    dynabus_t *gateway = gateway_with("plugins: [{name: slow, enabled: true, timeout: 60s}]\n");
    struct dynabus_plugin plugin = own_plugin(&own, "slow", keep);
    gate_init(&own.waiting, 1);
    gate_init(&own.over, 1);
    add(gateway, &plugin);
    struct outcome *outcome = begin_asking(gateway, ASKED("hi"));
    gate_wait(&own.waiting);
    (void)dynabus_close(&gateway, 50);
    gate_wait(&outcome->gate);
    assert_int_not_equal(outcome->status, 200);
    assert_int_equal(atomic_load(&own.cancelled), 1);
    assert_int_equal(atomic_load(&own.freed), 1);
    free(outcome);
}

static void
one_that_charged_is_told_how_it_ended(void **state)
{
    (void)state;
    struct own nay = {.kept = NULL};
    struct own last = {.waits_for_over = true};
    dynabus_t *gateway = gateway_with("{}");
    struct dynabus_plugin plugin = own_plugin(&nay, "nay", vote_with_status);
    struct dynabus_plugin watcher = own_plugin(&last, "watcher", vote_pass);
    watcher.stages = DYNABUS_ON_ERROR;
    gate_init(&last.over, 1);
    add(gateway, &plugin);
    add(gateway, &watcher);
    expect(gateway, ASKED("hi"), 451, "request_rejected");
    gate_wait(&last.over);
    assert_int_equal(atomic_load(&last.told), 1);
    assert_string_equal(last.error_code, "request_rejected");
    assert_string_equal(last.refused_by, "nay");
    assert_int_equal(dynabus_close(&gateway, 1000), 0);
}

/* ---- configurations ---- */

static void
the_configuration_decides_about_it(void **state)
{
    (void)state;
    char why[512];
    struct own own = {.kept = NULL};
    dynabus_t *gateway =
        gateway_with("plugins: [{name: nay, enabled: true, required: false, config: {sweet: 1}},"
                     " {name: elsewhere, enabled: true, required: false}]\n");
    struct dynabus_plugin plugin = own_plugin(&own, "nay", vote_with_status);
    expect(gateway, ASKED("hi"), 200, "");
    assert_int_equal(dynabus_load_plugins(gateway, why, sizeof why), 2);
    assert_non_null(strstr(why, "'nay'"));
    add(gateway, &plugin);
    expect(gateway, ASKED("hi"), 451, "request_rejected");
    assert_string_equal(own.config, "{\"sweet\":1}");
    assert_int_equal(dynabus_load_plugins(gateway, why, sizeof why), 1);
    assert_null(strstr(why, "'nay'"));
    assert_non_null(strstr(why, "'elsewhere'"));
    assert_int_equal(dynabus_close(&gateway, 1000), 0);

    struct own off = {.kept = NULL};
    gateway = gateway_with("plugins: [{name: nay, enabled: false}]\n");
    plugin = own_plugin(&off, "nay", vote_with_status);
    add(gateway, &plugin);
    expect(gateway, ASKED("hi"), 200, "");
    assert_int_equal(atomic_load(&off.asked), 0);
    assert_int_equal(dynabus_close(&gateway, 1000), 0);
}

static void
it_may_refuse_its_configuration(void **state)
{
    (void)state;
    char why[512];
    struct own own = {.kept = NULL};
    dynabus_t *gateway = gateway_with("plugins: [{name: taster, enabled: true, required: false,"
                                      " config: {fruit: lemon}}]\n");
    struct dynabus_plugin plugin = own_plugin(&own, "taster", vote_pass);
    assert_int_equal(dynabus_register_plugin(gateway, &plugin, why, sizeof why), -1);
    assert_string_equal(why, "plugin 'taster': too sour");
    assert_int_equal(atomic_load(&own.freed), 0); /* it stays the caller's */
    expect(gateway, ASKED("hi"), 200, "");
    assert_int_equal(dynabus_close(&gateway, 1000), 0);
    assert_int_equal(atomic_load(&own.freed), 0);
}

static void
who_registers_again_takes_the_place(void **state)
{
    (void)state;
    struct own first = {.kept = NULL};
    struct own second = {.kept = NULL};
    dynabus_t *gateway = gateway_with("{}");
    struct dynabus_plugin plugin = own_plugin(&first, "one", keep);
    gate_init(&first.waiting, 1);
    add(gateway, &plugin);
    struct outcome *outcome = begin_asking(gateway, ASKED("hi"));
    gate_wait(&first.waiting);
    plugin = own_plugin(&second, "one", vote_with_status);
    add(gateway, &plugin);
    expect(gateway, ASKED("hi"), 451, "request_rejected");
    assert_int_equal(atomic_load(&second.asked), 1);
    dynabus_ask_vote(atomic_load(&first.kept), NULL); /* its question goes on */
    gate_wait(&outcome->gate);
    assert_int_equal(outcome->status, 200);
    free(outcome);
    assert_int_equal(dynabus_close(&gateway, 1000), 0);
    assert_int_equal(atomic_load(&first.freed), 1);
    assert_int_equal(atomic_load(&second.freed), 1);
}

static void
expect_refused(dynabus_t *gateway, const struct dynabus_plugin *plugin, const char *words)
{
    char why[512];
    assert_int_equal(dynabus_register_plugin(gateway, plugin, why, sizeof why), -1);
    if (strstr(why, words) == NULL) {
        fail_msg("'%s' is not in: %s", words, why);
    }
}

static void
what_can_be_no_plugin_is_refused(void **state)
{
    (void)state;
    struct own own = {.kept = NULL};
    static const char *const headers[] = {"X-Upper"};
    dynabus_t *gateway = gateway_with("{}");
    const struct dynabus_plugin sound = own_plugin(&own, "sound", vote_pass);
    struct dynabus_plugin plugin = sound;
    plugin.name = "a name";
    expect_refused(gateway, &plugin, "letters");
    plugin.name = "word-filter";
    expect_refused(gateway, &plugin, "built-in");
    plugin = sound;
    plugin.stages = 0;
    expect_refused(gateway, &plugin, "stage");
    plugin.stages = 1u << 9;
    expect_refused(gateway, &plugin, "stage");
    plugin = sound;
    plugin.needs = DYNABUS_NEEDS_TEXTS | DYNABUS_NEEDS_BODY;
    expect_refused(gateway, &plugin, "not both");
    plugin = sound;
    plugin.type = "police";
    expect_refused(gateway, &plugin, "types are");
    plugin = sound;
    plugin.headers = headers;
    plugin.n_headers = 1;
    expect_refused(gateway, &plugin, "lower case");
    plugin = sound;
    plugin.ask = NULL;
    expect_refused(gateway, &plugin, "`ask`");
    char name[16];
    for (int i = 0; i < 33; i++) { /* more than a gateway can have */
        (void)snprintf(name, sizeof name, "p%d", i);
        plugin = sound;
        plugin.name = name;
        if (i < 32) {
            add(gateway, &plugin);
        } else {
            expect_refused(gateway, &plugin, "32");
        }
    }
    expect(gateway, ASKED("hi"), 200, "");
    assert_int_equal(atomic_load(&own.asked), 32);
    assert_int_equal(dynabus_close(&gateway, 1000), 0);
    assert_int_equal(atomic_load(&own.freed), 32);
}

static void
one_in_a_process_that_asks_nobody_is_refused(void **state)
{
    (void)state;
    struct own own = {.kept = NULL};
    struct dynabus_options options = DYNABUS_OPTIONS_INIT;
    char why[512];
    options.roles = "edge";
    options.bus = "tcp://127.0.0.1:1";
    dynabus_t *gateway = dynabus_new(&options, why, sizeof why);
    if (gateway == NULL) {
        fail_msg("%s", why);
    }
    struct dynabus_plugin plugin = own_plugin(&own, "nay", vote_pass);
    expect_refused(gateway, &plugin, "role");
    (void)dynabus_close(&gateway, 100);
}

/* ---- in another process than the router ---- */

static void
one_in_a_process_of_plugins_is_asked_over_the_bus(void **state)
{
    (void)state;
    struct own own = {.kept = NULL};
    struct dynabus_options options = DYNABUS_OPTIONS_INIT;
    struct dynabus_provider provider = DYNABUS_PROVIDER_INIT;
    static const char *const models[] = {"own-model"};
    char bus[64];
    char why[512] = "";
    (void)snprintf(bus, sizeof bus, "ipc:///tmp/dynabus-test-%d", (int)getpid());
    options.bus = bus;
    options.cells = 1;
    options.roles = "edge,router,provider";
    options.config_text = "plugins: [{name: nay, enabled: true, timeout: 20s}]\n";
    dynabus_t *router = dynabus_new(&options, why, sizeof why);
    if (router == NULL) {
        fail_msg("%s", why);
    }
    provider.name = "mine";
    provider.models = models;
    provider.n_models = 1;
    provider.call = answer_call;
    assert_int_equal(dynabus_register_provider(router, &provider, why, sizeof why), 0);
    options.roles = "plugin";
    options.config_text = "{}";
    dynabus_t *host = dynabus_new(&options, why, sizeof why);
    if (host == NULL) {
        fail_msg("%s", why);
    }
    struct dynabus_plugin plugin = own_plugin(&own, "nay", vote_on_texts);
    plugin.needs = DYNABUS_NEEDS_TEXTS;
    add(host, &plugin);
    expect(router, ASKED("say yes"), 200, ""); /* waits until it has joined */
    expect(router, ASKED("say no"), 400, "request_rejected");
    assert_int_equal(dynabus_close(&host, 1000), 0);
    assert_string_equal(own.seen, "user text /messages/0/content say no");
    assert_int_equal(atomic_load(&own.freed), 1);
    assert_int_equal(dynabus_close(&router, 1000), 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_denial_is_the_answer_on_every_wire),
        cmocka_unit_test(it_is_asked_with_facts_and_says_its_own_status),
        cmocka_unit_test(edits_are_made_all_or_none),
        cmocka_unit_test(its_answer_takes_the_place_of_a_provider_s),
        cmocka_unit_test(streams_are_masked_and_cut),
        cmocka_unit_test(a_stream_that_nobody_objects_to_passes_whole),
        cmocka_unit_test(a_vote_comes_later_from_another_thread),
        cmocka_unit_test(one_that_is_silent_costs_its_time_limit_and_then_nothing),
        cmocka_unit_test(one_that_only_logs_fails_open),
        cmocka_unit_test(a_gateway_closes_over_open_questions),
        cmocka_unit_test(one_that_charged_is_told_how_it_ended),
        cmocka_unit_test(the_configuration_decides_about_it),
        cmocka_unit_test(it_may_refuse_its_configuration),
        cmocka_unit_test(who_registers_again_takes_the_place),
        cmocka_unit_test(what_can_be_no_plugin_is_refused),
        cmocka_unit_test(one_in_a_process_that_asks_nobody_is_refused),
        cmocka_unit_test(one_in_a_process_of_plugins_is_asked_over_the_bus),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
