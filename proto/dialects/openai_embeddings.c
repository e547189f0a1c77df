/* OpenAI embeddings, both sides: bytes go through untouched but for the model's name. What is embedded and in
 * which form the vectors come is between client and provider; the gateway knows the model and what was used.
 * Never a stream. Specification: OpenAI's API reference, "Create embeddings". */
#include "proto/dialects/openai_chat.h"

#include "proto/dialects/chat.h"
#include "proto/dialects/openai_usage.h"
#include "proto/dialects/request_body.h"
#include "proto/dialects/texts.h"

#include <stdio.h>

struct reading {
    struct arena *arena;
    struct dialect_request *request;
    struct dialect_problem *problem;
    bool has_input;
};

enum { GO_ON = 0, REFUSED = 1 };

static int
refuse(struct reading *r, const char *param, const char *what)
{
    (void)snprintf(r->problem->param, sizeof r->problem->param, "%s", param);
    (void)snprintf(r->problem->message, sizeof r->problem->message, "%s %s", param, what);
    return REFUSED;
}

static int
read_model(struct reading *r, struct json_value value)
{
    const char *wrong = request_body_model(value, r->arena, r->request);
    return wrong == NULL ? GO_ON : refuse(r, "model", wrong);
}

/* Texts, or tokens; how many and how long is the provider's affair. */
static int
read_input(struct reading *r, struct json_value value)
{
    struct json_iter items = json_iter(value);
    struct json_member first;
    r->has_input = true;
    if (value.type != JSON_STRING && value.type != JSON_ARRAY) {
        return refuse(r, "input", "must be a string or an array");
    }
    return value.type == JSON_STRING || json_iter_next(&items, &first)
               ? GO_ON
               : refuse(r, "input", "must hold at least one item");
}

static int
read_member(void *self, const struct json_member *member)
{
    struct reading *r = self;
    r->request->is_empty_object = false;
    if (json_key_is(member, "model")) {
        return read_model(r, member->value);
    }
    return json_key_is(member, "input") ? read_input(r, member->value) : GO_ON;
}

static int
read_request(struct dyn_slice body, struct arena *arena, struct dialect_request *request,
             struct dialect_problem *problem)
{
    struct reading r = {.arena = arena, .request = request, .problem = problem};
    *request = (struct dialect_request){.is_empty_object = true};
    int result = request_body_scan(body, read_member, &r, problem);
    if (result < 0) {
        return -1;
    }
    if (result == GO_ON && request->model.data == NULL) {
        result = refuse(&r, "model", "is missing");
    }
    if (result == GO_ON && !r.has_input) {
        result = refuse(&r, "input", "is missing");
    }
    return result == GO_ON ? 0 : -1;
}

/* ---- answers ---- */

struct answer {
    bool has_data;
    struct env_usage usage;
};

static int
read_answer_member(void *self, const struct json_member *member)
{
    struct answer *answer = self;
    if (json_key_is(member, "data")) {
        answer->has_data = member->value.type == JSON_ARRAY;
    } else if (json_key_is(member, "usage")) {
        (void)openai_usage_read(member->value, &answer->usage);
    }
    return 0;
}

static int
read_answer(struct dyn_slice body, struct env_usage *usage)
{
    struct answer answer = {.has_data = false};
    *usage = (struct env_usage){0};
    if (json_scan_object(body, JSON_DEPTH_DEFAULT, read_answer_member, &answer, NULL) != 0) {
        return -1;
    }
    *usage = answer.usage;
    return answer.has_data ? 0 : -1;
}

/* There are no streams: whatever comes as one is garbage. */
static int
read_event(const struct sse_event *event, struct dialect_event *seen)
{
    (void)event;
    (void)seen;
    return -1;
}

static void
write_stream_error(struct dyn_buf *out, enum err_code code, struct dyn_slice message)
{
    dialect_openai_chat.write_stream_error(out, code, message);
}

static bool
is_stream_end(struct dyn_slice bytes)
{
    (void)bytes;
    return false;
}

/* ---- texts ---- */

static void
tell_input(struct json_value value, struct dyn_slice at, dialect_text_fn fn, void *self)
{
    struct dialect_text text = {.role = DYN_SLICE("user"), .kind = VOTE_TEXT, .at = at, .value = value};
    if (value.type == JSON_STRING) {
        fn(self, &text);
    }
}

/* Tokens cannot be read as text. */
static bool
read_texts(struct dyn_slice body, const struct json_places *places, dialect_text_fn fn, void *self)
{
    (void)places;
    bool has_tokens = false;
    struct json_iter members = json_iter(chat_object(body));
    for (struct json_member member; json_iter_next(&members, &member);) {
        if (!json_key_is(&member, "input")) {
            continue;
        }
        struct json_iter items = json_iter(member.value);
        struct json_member item;
        tell_input(member.value, DYN_SLICE("/input"), fn, self);
        for (size_t i = 0; json_iter_next(&items, &item); i++) {
            char at[40];
            int len = snprintf(at, sizeof at, "/input/%zu", i);
            tell_input(item.value, dyn_slice(at, (size_t)len), fn, self);
            has_tokens = has_tokens || item.value.type != JSON_STRING;
        }
    }
    return has_tokens;
}

static const struct dialect_texts texts = {.request = read_texts};

const struct dialect_ops dialect_openai_embeddings = {
    .name = "openai_embeddings",
    .path = "/embeddings",
    .read_request = read_request,
    .splice_request = openai_chat_splice_request,
    .read_answer = read_answer,
    .read_event = read_event,
    .write_error = err_write_openai,
    .write_stream_error = write_stream_error,
    .is_stream_end = is_stream_end,
    .texts = &texts,
};
