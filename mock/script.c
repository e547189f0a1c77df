#include "mock/script.h"

#include "core/json_scan.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum { SCRIPT_MAX = 16 * 1024 * 1024 }; /* bytes */

struct mock_script {
    struct arena arena; /* everything below */
    struct mock_rule *rules;
    size_t n_rules;
    struct dyn_slice *models;
    size_t n_models;
};

/* What a reader of a member needs. */
struct reader {
    mock_script_t *script;
    struct dyn_err *err;
};

/* ---- values ---- */

static size_t
count_items(struct json_value value)
{
    struct json_iter it = json_iter(value);
    struct json_member member;
    size_t n = 0;
    while (json_iter_next(&it, &member)) {
        n++;
    }
    return n;
}

static struct dyn_slice
decoded(struct reader *reader, struct json_value string)
{
    struct dyn_buf text = DYN_BUF_INIT;
    json_string_decode(string, &text);
    struct dyn_slice copy =
        text.len > 0 ? arena_copy(&reader->script->arena, dyn_buf_slice(&text)) : dyn_slice("", 0);
    dyn_buf_fini(&text);
    return copy;
}

/* A string's text; of anything else its JSON as it stands in the script. */
static struct dyn_slice
text_or_json(struct reader *reader, struct json_value value)
{
    return value.type == JSON_STRING ? decoded(reader, value) : value.raw;
}

static int
wrong(struct reader *reader, const char *where, const char *takes)
{
    return dyn_err_set(reader->err, DYN_E_CONFIG, "script: '%s' takes %s", where, takes);
}

static int
unknown(struct reader *reader, const struct json_member *member, const char *where)
{
    return dyn_err_set(reader->err, DYN_E_CONFIG, "script: unknown key '%.*s' in %s", (int)member->key.len,
                       member->key.data, where);
}

static int
read_string(struct reader *reader, const struct json_member *member, struct dyn_slice *out)
{
    if (member->value.type != JSON_STRING) {
        char name[32];
        (void)snprintf(name, sizeof name, "%.*s", (int)member->key.len, member->key.data);
        return wrong(reader, name, "a string");
    }
    *out = decoded(reader, member->value);
    return 0;
}

/* ---- "behave": "tokens-5-pace-10", or a list of such ---- */

static int
read_behaviour(struct reader *reader, struct json_value value, struct mock_behaviour *out)
{
    if (value.type != JSON_STRING) {
        return wrong(reader, "behave", "a string as in a model's name, or a list of them");
    }
    struct dyn_slice text = decoded(reader, value);
    if (dyn_slice_is(text, "mock") || (text.len >= 5 && memcmp(text.data, "mock-", 5) == 0)) {
        return mock_behaviour_of_model(out, text, reader->err);
    }
    mock_behaviour_init(out);
    return mock_behaviour_parse(out, text, reader->err);
}

static int
read_behave(struct reader *reader, struct json_value value, struct mock_rule *rule)
{
    bool is_list = value.type == JSON_ARRAY;
    size_t n = is_list ? count_items(value) : 1;
    if (n == 0) {
        return wrong(reader, "behave", "at least one behaviour");
    }
    rule->behaviours = arena_zalloc(&reader->script->arena, n * sizeof *rule->behaviours);
    rule->n_behaviours = (uint32_t)n;
    if (!is_list) {
        return read_behaviour(reader, value, &rule->behaviours[0]);
    }
    struct json_iter it = json_iter(value);
    struct json_member member;
    for (size_t i = 0; json_iter_next(&it, &member); i++) {
        if (read_behaviour(reader, member.value, &rule->behaviours[i]) != 0) {
            return -1;
        }
    }
    return 0;
}

/* ---- "answer": {..} ---- */

static int
read_headers(struct reader *reader, struct json_value value, struct mock_rule *rule)
{
    if (value.type != JSON_OBJECT) {
        return wrong(reader, "headers", "an object of strings");
    }
    rule->headers = arena_zalloc(&reader->script->arena, (count_items(value) + 1) * sizeof *rule->headers);
    struct json_iter it = json_iter(value);
    struct json_member member;
    while (json_iter_next(&it, &member)) {
        struct dyn_slice text;
        if (read_string(reader, &member, &text) != 0) {
            return -1;
        }
        if (dyn_slice_ieq(member.key, DYN_SLICE("content-type"))) {
            rule->content_type = text;
        } else {
            rule->headers[rule->n_headers++] = (struct http_header){member.key, text};
        }
    }
    return 0;
}

static int
read_events(struct reader *reader, struct json_value value, struct mock_rule *rule)
{
    if (value.type != JSON_ARRAY) {
        return wrong(reader, "events", "a list");
    }
    rule->events = arena_zalloc(&reader->script->arena, (count_items(value) + 1) * sizeof *rule->events);
    struct json_iter it = json_iter(value);
    struct json_member member;
    while (json_iter_next(&it, &member)) {
        rule->events[rule->n_events++] = text_or_json(reader, member.value);
    }
    return 0;
}

static int
read_answer(struct reader *reader, struct json_value value, struct mock_rule *rule)
{
    if (value.type != JSON_OBJECT) {
        return wrong(reader, "answer", "an object");
    }
    rule->has_answer = true;
    struct json_iter it = json_iter(value);
    struct json_member member;
    int rc = 0;
    while (rc == 0 && json_iter_next(&it, &member)) {
        int64_t status = 0;
        if (json_key_is(&member, "status")) {
            if (json_int64(member.value, &status) != 0 || status < 100 || status > 599) {
                return wrong(reader, "status", "a number from 100 to 599");
            }
            rule->status = (unsigned)status;
        } else if (json_key_is(&member, "headers")) {
            rc = read_headers(reader, member.value, rule);
        } else if (json_key_is(&member, "body")) {
            rule->body = text_or_json(reader, member.value);
        } else if (json_key_is(&member, "text")) {
            rc = read_string(reader, &member, &rule->text);
        } else if (json_key_is(&member, "events")) {
            rc = read_events(reader, member.value, rule);
        } else if (json_key_is(&member, "done")) {
            rule->no_done = member.value.type == JSON_FALSE;
        } else {
            rc = unknown(reader, &member, "an answer; known are status, headers, body, text, events, done");
        }
    }
    return rc;
}

/* ---- rules ---- */

static int
read_rule(struct reader *reader, struct json_value value, struct mock_rule *rule)
{
    if (value.type != JSON_OBJECT) {
        return wrong(reader, "rules", "a list of objects");
    }
    struct json_iter it = json_iter(value);
    struct json_member member;
    int rc = 0;
    while (rc == 0 && json_iter_next(&it, &member)) {
        if (json_key_is(&member, "model")) {
            rc = read_string(reader, &member, &rule->model);
        } else if (json_key_is(&member, "path")) {
            rc = read_string(reader, &member, &rule->path);
        } else if (json_key_is(&member, "behave")) {
            rc = read_behave(reader, member.value, rule);
        } else if (json_key_is(&member, "answer")) {
            rc = read_answer(reader, member.value, rule);
        } else {
            rc = unknown(reader, &member, "a rule; known are model, path, behave, answer");
        }
    }
    if (rc == 0 && rule->behaviours == NULL) {
        rule->behaviours = arena_zalloc(&reader->script->arena, sizeof *rule->behaviours);
        rule->n_behaviours = 1;
        mock_behaviour_init(rule->behaviours);
    }
    return rc;
}

static int
read_rules(struct reader *reader, struct json_value value)
{
    mock_script_t *script = reader->script;
    if (value.type != JSON_ARRAY) {
        return wrong(reader, "rules", "a list of objects");
    }
    script->rules = arena_zalloc(&script->arena, (count_items(value) + 1) * sizeof *script->rules);
    struct json_iter it = json_iter(value);
    struct json_member member;
    while (json_iter_next(&it, &member)) {
        if (read_rule(reader, member.value, &script->rules[script->n_rules++]) != 0) {
            return -1;
        }
    }
    return 0;
}

static int
read_models(struct reader *reader, struct json_value value)
{
    mock_script_t *script = reader->script;
    if (value.type != JSON_ARRAY) {
        return wrong(reader, "models", "a list of names");
    }
    script->models = arena_zalloc(&script->arena, (count_items(value) + 1) * sizeof *script->models);
    struct json_iter it = json_iter(value);
    struct json_member member;
    while (json_iter_next(&it, &member)) {
        if (member.value.type != JSON_STRING) {
            return wrong(reader, "models", "a list of names");
        }
        script->models[script->n_models++] = decoded(reader, member.value);
    }
    return 0;
}

static int
read_script(struct reader *reader, struct json_value value)
{
    struct json_iter it = json_iter(value);
    struct json_member member;
    int rc = 0;
    while (rc == 0 && json_iter_next(&it, &member)) {
        if (json_key_is(&member, "rules")) {
            rc = read_rules(reader, member.value);
        } else if (json_key_is(&member, "models")) {
            rc = read_models(reader, member.value);
        } else {
            rc = unknown(reader, &member, "the script; known are rules, models");
        }
    }
    return rc;
}

mock_script_t *
mock_script_parse(struct dyn_slice text, struct dyn_err *err)
{
    mock_script_t *script = dyn_zalloc(sizeof *script);
    arena_init(&script->arena, NULL, 0);
    struct dyn_slice copy = text.len > 0 ? arena_copy(&script->arena, text) : dyn_slice("", 0);
    struct reader reader = {script, err};
    struct json_value root;
    struct json_error error;
    if (json_scan(copy, JSON_DEPTH_DEFAULT, &root, &error) != 0) {
        (void)dyn_err_set(err, DYN_E_CONFIG, "script: %s at byte %zu", error.what, error.offset);
    } else if (root.type != JSON_OBJECT) {
        (void)dyn_err_set(err, DYN_E_CONFIG, "script: not a JSON object");
    } else if (read_script(&reader, root) == 0) {
        return script;
    }
    mock_script_free(&script);
    return NULL;
}

mock_script_t *
mock_script_load(const char *path, struct dyn_err *err)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        (void)dyn_err_set(err, DYN_E_CONFIG, "cannot read the script %s: %s", path, strerror(errno));
        return NULL;
    }
    char *text = dyn_alloc(SCRIPT_MAX);
    size_t len = fread(text, 1, SCRIPT_MAX, file);
    bool whole = feof(file) != 0;
    (void)fclose(file);
    mock_script_t *script = NULL;
    if (whole) {
        script = mock_script_parse(dyn_slice(text, len), err);
    } else {
        (void)dyn_err_set(err, DYN_E_CONFIG, "cannot read the script %s: unreadable, or over 16 MiB", path);
    }
    free(text);
    return script;
}

void
mock_script_free(mock_script_t **script_p)
{
    mock_script_t *script = *script_p;
    if (script != NULL) {
        *script_p = NULL;
        arena_fini(&script->arena);
        free(script);
    }
}

/* ---- use ---- */

static bool
fits(struct dyn_slice pattern, struct dyn_slice text)
{
    if (pattern.data == NULL) {
        return true;
    }
    if (pattern.len > 0 && pattern.data[pattern.len - 1] == '*') {
        size_t len = pattern.len - 1;
        return len == 0 || (text.len >= len && memcmp(text.data, pattern.data, len) == 0);
    }
    return dyn_slice_eq(pattern, text);
}

struct mock_rule *
mock_script_match(mock_script_t *script, struct dyn_slice path, struct dyn_slice model)
{
    for (size_t i = 0; script != NULL && i < script->n_rules; i++) {
        struct mock_rule *rule = &script->rules[i];
        if (fits(rule->path, path) && fits(rule->model, model)) {
            return rule;
        }
    }
    return NULL;
}

const struct mock_behaviour *
mock_rule_next(struct mock_rule *rule)
{
    uint64_t call = rule->calls++;
    return &rule->behaviours[call < rule->n_behaviours ? call : rule->n_behaviours - 1];
}

size_t
mock_script_models(const mock_script_t *script, const struct dyn_slice **models)
{
    *models = script != NULL ? script->models : NULL;
    return script != NULL ? script->n_models : 0;
}
