/* The test vectors of 01-ENVELOPE (proto/vectors), every minor version's, run against our codec: what earlier
 * versions wrote is understood, and written for them. That the vectors themselves are right is checked with
 * another implementation of MessagePack, in tests/client/test_vectors.py. */
#include "core/json_tree.h"
#include "core/rand.h"
#include "proto/env_fields.h"
#include "proto/event.h"
#include "proto/health.h"
#include "proto/ready.h"
#include "proto/vote.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cjson/cJSON.h>
#include <cmocka.h>

enum { MINORS = ENV_VERSION_MINOR + 1, BODIES_SINCE = 1 };

static struct dyn_slice
read_file(unsigned minor, const char *name)
{
    char path[512];
    (void)snprintf(path, sizeof path, "%s/proto/vectors/%d.%u/%s", DYNABUS_SOURCE_DIR, ENV_VERSION_MAJOR,
                   minor, name);
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    assert_int_equal(fseek(file, 0, SEEK_END), 0);
    long size = ftell(file);
    assert_true(size > 0);
    rewind(file);
    char *text = malloc((size_t)size);
    assert_non_null(text);
    assert_int_equal(fread(text, 1, (size_t)size, file), (size_t)size);
    (void)fclose(file);
    return dyn_slice(text, (size_t)size);
}

static struct cJSON *
load(unsigned minor, const char *name)
{
    struct dyn_slice text = read_file(minor, name);
    struct json_error error;
    struct cJSON *tree = json_tree_parse(text, 16, &error);
    assert_non_null(tree);
    free((void *)(uintptr_t)text.data);
    assert_true(cJSON_GetArraySize(tree) >= 5);
    return tree;
}

static const char *
string_of(const struct cJSON *object, const char *key)
{
    const struct cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);
    assert_true(cJSON_IsString(item));
    return item->valuestring;
}

/* To be freed. */
static struct dyn_slice
unhex(const char *hex)
{
    size_t len = strlen(hex) / 2;
    uint8_t *bytes = malloc(len > 0 ? len : 1);
    assert_non_null(bytes);
    assert_int_equal(dyn_hex_decode(bytes, len, dyn_slice_str(hex)), 0);
    return dyn_slice((const char *)bytes, len);
}

static void
expect_hex(struct dyn_slice got, const struct cJSON *expected)
{
    assert_true(cJSON_IsString(expected));
    struct dyn_slice bytes = unhex(expected->valuestring);
    assert_true(dyn_slice_eq(got, bytes));
    free((void *)(uintptr_t)bytes.data);
}

/* Numbers beyond 2^53 stand as text. */
static void
expect_number(uint64_t got, const struct cJSON *expected)
{
    if (cJSON_IsString(expected)) {
        assert_int_equal(got, strtoull(expected->valuestring, NULL, 10));
    } else {
        assert_true(cJSON_IsNumber(expected));
        assert_true((double)got == expected->valuedouble);
    }
}

static void
expect_word(const char *got, const struct cJSON *expected)
{
    assert_true(cJSON_IsString(expected));
    assert_string_equal(got, expected->valuestring);
}

static void
expect_headers(const struct env *env, const struct cJSON *expected)
{
    assert_int_equal(cJSON_GetArraySize(expected), env->n_headers);
    size_t i = 0;
    const struct cJSON *pair;
    cJSON_ArrayForEach(pair, expected)
    {
        expect_word(env->headers[i].name.data, cJSON_GetArrayItem(pair, 0));
        expect_hex(env->headers[i].value, cJSON_GetArrayItem(pair, 1));
        i++;
    }
}

static void
expect_usage(const struct env_usage *usage, const struct cJSON *expected)
{
    int n = usage->estimated;
    assert_true(usage->known);
    assert_int_equal(cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(expected, "est")), usage->estimated);
    for (size_t i = 0; i < ENV_N_USAGE_FIELDS; i++) {
        const struct cJSON *count = cJSON_GetObjectItemCaseSensitive(expected, env_usage_fields[i].key.data);
        uint64_t got;
        memcpy(&got, (const char *)usage + env_usage_fields[i].offset, sizeof got);
        if (count != NULL) {
            expect_number(got, count);
        }
        n += got != 0;
    }
    assert_int_equal(cJSON_GetArraySize(expected), n);
}

/* Those that the vectors have; encoding again shows that all are there. */
static void
expect_facts(const struct vote_facts *facts, const struct cJSON *expected)
{
    const struct cJSON *fact;
    cJSON_ArrayForEach(fact, expected)
    {
        if (strcmp(fact->string, "model") == 0) {
            expect_word(facts->model.data, fact);
        } else if (strcmp(fact->string, "surface") == 0) {
            expect_word(env_surface_name(facts->surface), fact);
        } else if (strcmp(fact->string, "tokens_est") == 0) {
            expect_number(facts->prompt_tokens, fact);
        } else if (strcmp(fact->string, "estimate") == 0) {
            expect_number(facts->estimate, fact);
        } else if (strcmp(fact->string, "cost") == 0) {
            expect_number(facts->cost, fact);
        } else if (strcmp(fact->string, "status") == 0) {
            expect_number(facts->status, fact);
        } else if (strcmp(fact->string, "usage") == 0) {
            expect_usage(&facts->usage, fact);
        }
    }
}

static void
expect_member(const struct env *env, const struct env_field *field, const struct cJSON *expected)
{
    const void *at = env_field_get(env, field);
    switch (field->type) {
    case ENV_FIELD_ID:
        expect_hex(dyn_slice(at, sizeof(struct env_id)), expected);
        return;
    case ENV_FIELD_U16:
        expect_number(*(const uint16_t *)at, expected);
        return;
    case ENV_FIELD_U32:
        expect_number(*(const uint32_t *)at, expected);
        return;
    case ENV_FIELD_U64:
        expect_number(*(const uint64_t *)at, expected);
        return;
    case ENV_FIELD_BOOL:
        assert_int_equal(*(const bool *)at, cJSON_IsTrue(expected));
        return;
    case ENV_FIELD_TEXT:
        expect_word(((const struct dyn_slice *)at)->data, expected);
        return;
    case ENV_FIELD_BYTES:
        expect_hex(*(const struct dyn_slice *)at, expected);
        return;
    case ENV_FIELD_SURFACE:
        expect_word(env_surface_name(env->surface), expected);
        return;
    case ENV_FIELD_OUTCOME:
        expect_word(env_outcome_name(env->outcome), expected);
        return;
    case ENV_FIELD_ERROR:
        expect_word(err_row(*(const enum err_code *)at)->name, expected);
        return;
    case ENV_FIELD_HEADERS:
        expect_headers(env, expected);
        return;
    case ENV_FIELD_USAGE:
        expect_usage(&env->usage, expected);
        return;
    case ENV_FIELD_STAGE:
        expect_word(vote_stage_name((enum vote_stage)env->stage), expected);
        return;
    case ENV_FIELD_VERDICT:
        expect_word(vote_verdict_name((enum vote_verdict)env->verdict), expected);
        return;
    case ENV_FIELD_FACTS:
        expect_facts(env->facts_asked, expected);
        return;
    }
}

/* What the vector names is there; encoding says what is set at all, so nothing else is. */
static void
expect_members(const struct env *env, const struct cJSON *members)
{
    struct dyn_buf again = DYN_BUF_INIT;
    size_t known = 0;
    expect_word(env_kind_name(env->kind), cJSON_GetObjectItemCaseSensitive(members, "kind"));
    for (size_t i = 0; i < ENV_N_FIELDS; i++) {
        const struct cJSON *expected = cJSON_GetObjectItemCaseSensitive(members, env_fields[i].key.data);
        if (expected != NULL) {
            expect_member(env, &env_fields[i], expected);
            known++;
        }
    }
    assert_int_equal(cJSON_GetArraySize(members), known + 1);
    assert_int_equal(env_encode(env, &again, NULL), 0);
    unsigned char first = (unsigned char)again.data[0];
    size_t written = (first & 0xf0) == 0x80 ? (first & 0x0f) : (unsigned char)again.data[2];
    assert_int_equal(written, known + 2); /* with v and kind */
    dyn_buf_fini(&again);
}

static struct env *
decode(const struct cJSON *vector)
{
    struct dyn_slice header = unhex(string_of(vector, "header"));
    struct env *env = NULL;
    struct dyn_err err = {.code = DYN_OK};
    int result = env_decode(header, &env, &err);
    if (result != 0) {
        print_error("%s: %s\n", string_of(vector, "name"), err.text);
    }
    assert_int_equal(result, 0);
    free((void *)(uintptr_t)header.data);
    return env;
}

static void
expect_header(const struct env *env, unsigned minor, const struct cJSON *vector)
{
    struct dyn_buf again = DYN_BUF_INIT;
    assert_int_equal(env_encode_for(env, minor, &again, NULL), 0);
    expect_hex(dyn_buf_slice(&again), cJSON_GetObjectItemCaseSensitive(vector, "header"));
    dyn_buf_fini(&again);
}

/* Decoding gives the members, encoding them for that version gives the very bytes. */
static void
headers_of_every_kind(void **state)
{
    (void)state;
    for (unsigned minor = 0; minor < MINORS; minor++) {
        bool seen[ENV_KIND_COUNT] = {false};
        struct cJSON *vectors = load(minor, "kinds.json");
        const struct cJSON *vector;
        cJSON_ArrayForEach(vector, vectors)
        {
            struct env *env = decode(vector);
            expect_members(env, cJSON_GetObjectItemCaseSensitive(vector, "members"));
            expect_header(env, minor, vector);
            seen[env->kind] = true;
            env_free(&env);
        }
        for (size_t kind = ENV_REQUEST; kind < ENV_KIND_COUNT; kind++) {
            assert_true(seen[kind]);
        }
        json_tree_free(&vectors);
    }
}

/* As the document has it: what is said instead to a peer of that version. */
static enum err_code
error_said(enum err_code code, unsigned minor)
{
    static const enum err_code since_1_3[][2] = {
        {ERR_REQUEST_REJECTED, ERR_INVALID_REQUEST},   {ERR_INSUFFICIENT_QUOTA, ERR_RATE_LIMITED},
        {ERR_RESPONSE_REJECTED, ERR_UPSTREAM_ERROR},   {ERR_PLUGIN_ERROR, ERR_INTERNAL},
        {ERR_INSUFFICIENT_SCOPE, ERR_INVALID_REQUEST}, {ERR_MODEL_NOT_ALLOWED, ERR_INVALID_REQUEST},
        {ERR_TARGET_NOT_ALLOWED, ERR_INVALID_REQUEST}, {ERR_KEYS_UNAVAILABLE, ERR_UPSTREAM_UNAVAILABLE},
        {ERR_INVALID_SCOPE, ERR_INVALID_REQUEST},      {ERR_RESOURCE_NOT_FOUND, ERR_NOT_FOUND},
        {ERR_SELF_MUTATION, ERR_INVALID_REQUEST},      {ERR_LAST_ADMIN_KEY, ERR_INVALID_REQUEST},
        {ERR_NOT_IMPLEMENTED, ERR_NOT_FOUND},          {ERR_LEDGER_UNAVAILABLE, ERR_INTERNAL}};
    for (size_t i = 0; minor < 3 && i < DYN_ARRAY_LEN(since_1_3); i++) {
        if (code == since_1_3[i][0]) {
            return since_1_3[i][1];
        }
    }
    if (minor < 2 && code == ERR_PROVIDER_SATURATED) {
        return ERR_SATURATED;
    }
    if (minor < 2 && (code == ERR_UNSUPPORTED_PARAMETER || code == ERR_OVERRIDE_NOT_ALLOWED)) {
        return ERR_INVALID_REQUEST;
    }
    if (minor < 2 && code == ERR_NO_PRICE) {
        return ERR_MODEL_NOT_FOUND;
    }
    return minor < 1 && code > ERR_DRAINING ? ERR_INTERNAL : code;
}

static void
expect_nothing_later(const struct env *seen, unsigned minor)
{
    if (minor < 1) {
        assert_true(seen->role.data == NULL && seen->node.data == NULL && !seen->track);
    }
    if (minor < 2) {
        assert_true(seen->retry_ms == 0 && seen->creds == 0 && seen->config_version == 0);
        assert_true(seen->degraded.data == NULL && seen->warnings.data == NULL);
        assert_int_equal(seen->usage.cache_write_tokens, 0);
        assert_int_equal(seen->usage.audio_in_tokens + seen->usage.audio_out_tokens, 0);
    }
    assert_true(seen->plugin.data == NULL && seen->stage == 0 && seen->verdict == 0);
    assert_true(seen->facts_asked == NULL && !seen->tell && !seen->charged);
    assert_int_equal(seen->usage.cache_write_1h_tokens + seen->usage.searches + seen->usage.service, 0);
}

/* Headers of version `from` for a peer of `to`: how many can't be said to it. What it is sent can be read,
 * says its version, and has nothing that came later. */
static size_t
write_for_earlier(unsigned from, unsigned to)
{
    size_t n_refused = 0;
    struct cJSON *vectors = load(from, "kinds.json");
    const struct cJSON *vector;
    cJSON_ArrayForEach(vector, vectors)
    {
        struct env *env = decode(vector);
        struct env *seen = NULL;
        struct dyn_buf again = DYN_BUF_INIT;
        unsigned major = 9;
        unsigned minor = 9;
        if (env_encode_for(env, to, &again, NULL) != 0) {
            assert_true(env->surface >= (to == 0 ? ENV_SURFACE_METRICS : ENV_SURFACE_EMBEDDINGS));
            n_refused++;
        } else {
            assert_int_equal(env_header_version(dyn_buf_slice(&again), &major, &minor), 0);
            assert_int_equal(minor, to);
            assert_int_equal(env_decode(dyn_buf_slice(&again), &seen, NULL), 0);
            assert_int_equal(seen->kind, env->kind);
            expect_nothing_later(seen, to);
            assert_int_equal(seen->error, error_said(env->error, to));
        }
        dyn_buf_fini(&again);
        env_free(&seen);
        env_free(&env);
    }
    json_tree_free(&vectors);
    return n_refused;
}

static void
headers_for_an_earlier_version(void **state)
{
    (void)state;
    assert_int_equal(write_for_earlier(1, 0), 3);
    assert_int_equal(write_for_earlier(2, 0), 5);
    assert_int_equal(write_for_earlier(2, 1), 2);
    assert_int_equal(write_for_earlier(3, 2), 2);
    assert_int_equal(write_for_earlier(3, 1), 4);
    assert_int_equal(write_for_earlier(3, 0), 7);
}

static void
other_forms_mean_the_same(void **state)
{
    (void)state;
    for (unsigned minor = 0; minor < MINORS; minor++) {
        struct cJSON *vectors = load(minor, "forms.json");
        const struct cJSON *vector;
        cJSON_ArrayForEach(vector, vectors)
        {
            struct env *env = decode(vector);
            expect_members(env, cJSON_GetObjectItemCaseSensitive(vector, "members"));
            env_free(&env);
        }
        json_tree_free(&vectors);
    }
}

static const char *
how_refused(struct dyn_slice header)
{
    struct env *env = NULL;
    struct dyn_err err = {.code = DYN_OK};
    unsigned major = ENV_VERSION_MAJOR;
    unsigned minor = 0;
    int result = env_decode(header, &env, &err);
    if (result == 0) {
        env_free(&env);
        return "decoded";
    }
    if (result > 0) {
        return "ignored";
    }
    assert_true(err.text[0] != '\0');
    if (env_header_version(header, &major, &minor) == 0 && major != ENV_VERSION_MAJOR) {
        return "version";
    }
    return err.code == DYN_E_LIMIT ? "limit" : "invalid";
}

static void
what_breaks_the_protocol_is_refused(void **state)
{
    (void)state;
    int n = 0;
    for (unsigned minor = 0; minor < MINORS; minor++) {
        struct cJSON *vectors = load(minor, "refused.json");
        const struct cJSON *vector;
        n += cJSON_GetArraySize(vectors);
        cJSON_ArrayForEach(vector, vectors)
        {
            struct dyn_slice header = unhex(string_of(vector, "header"));
            const char *how = how_refused(header);
            if (strcmp(how, string_of(vector, "error")) != 0) {
                print_error("1.%u %s\n", minor, string_of(vector, "name"));
            }
            assert_string_equal(how, string_of(vector, "error"));
            free((void *)(uintptr_t)header.data);
        }
        json_tree_free(&vectors);
    }
    assert_true(n >= 150);
}

/* ---- bodies, since 1.1 ---- */

static dyn_block_t *
block_of(size_t bytes)
{
    static const char zeros[4096];
    dyn_block_t *block = dyn_block_new(0, bytes);
    for (size_t left = bytes; left > 0;) {
        size_t len = left < sizeof zeros ? left : sizeof zeros;
        dyn_block_append(&block, zeros, len);
        left -= len;
    }
    return block;
}

static void
bodies_of_version(unsigned minor)
{
    struct cJSON *vectors = load(minor, "bodies.json");
    const struct cJSON *vector;
    cJSON_ArrayForEach(vector, vectors)
    {
        struct env *env = decode(vector);
        size_t len = (size_t)cJSON_GetObjectItemCaseSensitive(vector, "body_bytes")->valuedouble;
        dyn_block_t *body = block_of(len);
        struct dyn_err err = {.code = DYN_OK};
        const struct cJSON *error = cJSON_GetObjectItemCaseSensitive(vector, "error");
        expect_word(env_kind_name(env->kind), cJSON_GetObjectItemCaseSensitive(vector, "kind"));
        int result = env_take_body(env, &body, &err);
        if (result != (error != NULL ? -1 : 0)) {
            print_error("%s\n", string_of(vector, "name"));
        }
        assert_int_equal(result, error != NULL ? -1 : 0);
        if (error == NULL) {
            assert_null(body);
            assert_int_equal(env_body_len(env), len);
        } else {
            assert_string_equal(error->valuestring, "limit");
            assert_int_equal(err.code, DYN_E_LIMIT);
            dyn_block_unref(&body);
        }
        env_free(&env);
    }
    json_tree_free(&vectors);
}

static void
bodies_have_limits(void **state)
{
    (void)state;
    for (unsigned minor = BODIES_SINCE; minor < MINORS; minor++) {
        bodies_of_version(minor);
    }
}

static const char *
how_ready_is_refused(const struct env *env, struct dyn_slice body)
{
    struct arena arena;
    struct ready ready;
    struct dyn_err err = {.code = DYN_OK};
    arena_init(&arena, NULL, 0);
    int result = ready_decode(body, &arena, &ready, &err);
    arena_fini(&arena);
    if (result != 0) {
        return err.code == DYN_E_LIMIT ? "limit" : "invalid";
    }
    return env->worker.data != NULL ? "taken" : "invalid";
}

static void
maps_of_workers(void **state)
{
    (void)state;
    struct cJSON *vectors = load(BODIES_SINCE, "ready.json");
    const struct cJSON *vector;
    cJSON_ArrayForEach(vector, vectors)
    {
        struct env *env = decode(vector);
        struct dyn_slice body = unhex(string_of(vector, "body"));
        const struct cJSON *error = cJSON_GetObjectItemCaseSensitive(vector, "error");
        const char *how = how_ready_is_refused(env, body);
        const char *expected = error != NULL ? error->valuestring : "taken";
        if (strcmp(how, expected) != 0) {
            print_error("%s\n", string_of(vector, "name"));
        }
        assert_string_equal(how, expected);
        free((void *)(uintptr_t)body.data);
        env_free(&env);
    }
    json_tree_free(&vectors);
}

/* One board for each target that is named, in the order of the map. */
struct told {
    health_board_t *boards[4];
    size_t n;
};

static health_board_t *
next_board(void *told_, struct dyn_slice target)
{
    struct told *told = told_;
    (void)target;
    assert_true(told->n < DYN_ARRAY_LEN(told->boards));
    told->boards[told->n] = health_board_new();
    return told->boards[told->n++];
}

/* What is not said is zero. */
static void
expect_figure(uint32_t got, const struct cJSON *said, const char *name)
{
    const struct cJSON *expected = cJSON_GetObjectItemCaseSensitive(said, name);
    assert_true((double)got == (expected != NULL ? expected->valuedouble : 0));
}

static void
expect_health(const health_board_t *board, const struct cJSON *said)
{
    struct health_view view;
    const struct cJSON *state = cJSON_GetObjectItemCaseSensitive(said, "state");
    const struct cJSON *models = cJSON_GetObjectItemCaseSensitive(said, "models");
    bool is_known = state != NULL && strcmp(state->valuestring, "dizzy") != 0;
    health_view(board, dyn_slice_str(models != NULL ? models->child->string : NULL), 1, &view);
    assert_string_equal(health_state_name(view.state), is_known ? state->valuestring : "closed");
    expect_figure(view.retry_ms, said, "retry_ms");
    expect_figure(view.in_flight, said, "in_flight");
    expect_figure(view.queued, said, "queued");
    expect_figure(view.limit, said, "limit");
    expect_figure(view.creds, said, "creds");
    expect_figure(view.creds_aside, said, "aside");
    if (models != NULL) {
        expect_number(view.ttft_us, cJSON_GetArrayItem(models->child, 0));
        expect_number(view.ttft_p95_us, cJSON_GetArrayItem(models->child, 1));
        expect_number(view.total_us, cJSON_GetArrayItem(models->child, 2));
        expect_number(view.ewma_us, cJSON_GetArrayItem(models->child, 3));
        expect_number(view.samples, cJSON_GetArrayItem(models->child, 4));
    }
}

/* What workers say of their targets in HEARTBEATs, since 1.2. */
static void
maps_of_health(void **state)
{
    (void)state;
    struct cJSON *vectors = load(2, "health.json");
    const struct cJSON *vector;
    cJSON_ArrayForEach(vector, vectors)
    {
        struct dyn_slice body = unhex(string_of(vector, "body"));
        const struct cJSON *error = cJSON_GetObjectItemCaseSensitive(vector, "error");
        struct told told = {.n = 0};
        struct dyn_err err;
        int rc = health_map_decode(body, 1, next_board, &told, &err);
        if (error != NULL) {
            assert_int_equal(rc, -1);
            assert_int_equal(told.n, 0);
            assert_int_equal(err.code == DYN_E_LIMIT, strcmp(error->valuestring, "limit") == 0);
        } else {
            const struct cJSON *map = cJSON_GetObjectItemCaseSensitive(vector, "map");
            const struct cJSON *targets = cJSON_GetObjectItemCaseSensitive(map, "targets");
            assert_int_equal(rc, 0);
            assert_int_equal(told.n, cJSON_GetArraySize(targets));
            for (size_t i = 0; i < told.n; i++) {
                expect_health(told.boards[i], cJSON_GetArrayItem(targets, (int)i));
                health_board_unref(&told.boards[i]);
            }
        }
        free((void *)(uintptr_t)body.data);
    }
    json_tree_free(&vectors);
}

/* The reader of events finds in each map what Python's says that it holds. */
static void
maps_of_events(void **state)
{
    (void)state;
    struct cJSON *vectors = load(BODIES_SINCE, "events.json");
    const struct cJSON *vector;
    cJSON_ArrayForEach(vector, vectors)
    {
        struct env *env = decode(vector);
        const struct cJSON *map = cJSON_GetObjectItemCaseSensitive(vector, "map");
        struct dyn_slice body = unhex(string_of(vector, "body"));
        struct event_record record;
        assert_int_equal(env->kind, ENV_EVENT);
        expect_hex(env->topic, cJSON_GetObjectItemCaseSensitive(vector, "topic"));
        expect_number(env->event_sequence, cJSON_GetObjectItemCaseSensitive(map, "sequence"));
        expect_number(env->epoch, cJSON_GetObjectItemCaseSensitive(map, "epoch"));
        assert_int_equal(event_decode(body, &record), 0);
        if (dyn_slice_is(env->topic, EVENT_REQUEST_COMPLETED) ||
            dyn_slice_is(env->topic, EVENT_REQUEST_FAILED)) {
            expect_number(record.status, cJSON_GetObjectItemCaseSensitive(map, "status"));
            expect_number(record.latency_us, cJSON_GetObjectItemCaseSensitive(map, "latency_us"));
            expect_number(record.timestamp_us, cJSON_GetObjectItemCaseSensitive(map, "timestamp_us"));
            assert_true(dyn_slice_is(record.model, string_of(map, "model")));
        }
        free((void *)(uintptr_t)body.data);
        env_free(&env);
    }
    json_tree_free(&vectors);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(headers_of_every_kind),     cmocka_unit_test(headers_for_an_earlier_version),
        cmocka_unit_test(other_forms_mean_the_same), cmocka_unit_test(what_breaks_the_protocol_is_refused),
        cmocka_unit_test(bodies_have_limits),        cmocka_unit_test(maps_of_health),
        cmocka_unit_test(maps_of_workers),           cmocka_unit_test(maps_of_events),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
