/* The Anthropic Messages API (version 2023-06-01) as a dialect: what a client of it asks is validated, and
 * goes to an upstream of the same kind as it came but for the model's name. The way to other dialects is the
 * codec (anthropic_codec.h). Usage comes in two events of a stream; what the first says is only how long the
 * prompt was. */
#include "proto/dialects/anthropic_codec.h"

#include "proto/dialects/request_body.h"
#include "proto/dialects/upstream_json.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- requests ---- */

struct reading {
    struct arena *arena;
    struct dialect_request *request;
    struct dialect_problem *problem;
    bool has_messages;
};

static int
refuse(struct reading *r, const char *what, const char *name)
{
    (void)chat_refuse(r->problem, what, "%s", name);
    return 1;
}

static int
read_model(struct reading *r, const struct json_member *member)
{
    const char *wrong = request_body_model(member->value, r->arena, r->request);
    return wrong == NULL ? 0 : refuse(r, wrong, "model");
}

static int
read_limit(struct reading *r, const struct json_member *member)
{
    int64_t limit = 0;
    if (member->value.type != JSON_NUMBER || json_int64(member->value, &limit) != 0 || limit < 1) {
        return refuse(r, "must be an integer of at least 1", "max_tokens");
    }
    r->request->max_output_tokens = (uint64_t)limit;
    return 0;
}

static int
read_stream(struct reading *r, const struct json_member *member)
{
    if (member->value.type != JSON_TRUE && member->value.type != JSON_FALSE) {
        return refuse(r, "must be true or false", "stream");
    }
    r->request->stream = member->value.type == JSON_TRUE;
    return 0;
}

static int
read_message(struct reading *r, struct json_value message, unsigned index)
{
    struct json_value role = chat_find(message, "role");
    struct json_value content = chat_find(message, "content");
    char name[64];
    bool is_role = json_string_is(role, "user") || json_string_is(role, "assistant");
    bool is_content = content.type == JSON_STRING || content.type == JSON_ARRAY;
    (void)snprintf(name, sizeof name, "messages[%u].%s", index, is_role ? "content" : "role");
    if (is_role && is_content) {
        return 0;
    }
    return refuse(r, is_role ? "must be a string or an array of blocks" : "must be 'user' or 'assistant'",
                  name);
}

static int
read_messages(struct reading *r, const struct json_member *member)
{
    struct json_iter items = json_iter(member->value);
    unsigned index = 0;
    if (member->value.type != JSON_ARRAY) {
        return refuse(r, "must be an array of messages", "messages");
    }
    for (struct json_member item; json_iter_next(&items, &item); index++) {
        int failed = read_message(r, item.value, index);
        if (failed) {
            return failed;
        }
    }
    r->has_messages = index > 0;
    return 0;
}

static const struct {
    const char *key;
    int (*read)(struct reading *r, const struct json_member *member);
} members[] = {
    {"model", read_model},
    {"messages", read_messages},
    {"max_tokens", read_limit},
    {"stream", read_stream},
};

static int
read_member(void *self, const struct json_member *member)
{
    struct reading *r = self;
    r->request->is_empty_object = false;
    for (size_t i = 0; i < DYN_ARRAY_LEN(members); i++) {
        if (json_key_is(member, members[i].key)) {
            return members[i].read(r, member);
        }
    }
    return 0;
}

static int
read_request(struct dyn_slice body, struct arena *arena, struct dialect_request *request,
             struct dialect_problem *problem)
{
    struct reading r = {.arena = arena, .request = request, .problem = problem};
    *request = (struct dialect_request){.is_empty_object = true, .wants_usage = true};
    int result = request_body_scan(body, read_member, &r, problem);
    if (result < 0) {
        return -1;
    }
    if (result == 0 && request->model.data == NULL) {
        result = refuse(&r, "is missing", "model");
    }
    if (result == 0 && !r.has_messages) {
        result = refuse(&r, "must hold at least one message", "messages");
    }
    request->object_start = (size_t)(chat_object(body).raw.data - body.data) + 1;
    return result == 0 ? 0 : -1;
}

static dyn_block_t *
splice_request(struct dyn_slice body, const struct dialect_request *request,
               const struct dialect_splice *splice)
{
    struct dyn_buf name = DYN_BUF_INIT;
    struct dyn_slice old = request->model_value.raw;
    struct json_edit edit = {(size_t)(old.data - body.data), old.len, {NULL, 0}};
    if (splice->model.data == NULL || dyn_slice_eq(splice->model, request->model)) {
        return NULL; /* usage always comes, and no provider of this dialect has other parameters */
    }
    dyn_buf_add_json_string(&name, splice->model);
    edit.insert = dyn_buf_slice(&name);
    size_t size = json_splice_size(body, &edit, 1);
    dyn_block_t *block = dyn_block_new(0, size);
    json_splice(body, &edit, 1, dyn_block_data(block));
    block->len = size;
    dyn_buf_fini(&name);
    return block;
}

/* ---- answers ---- */

static int
read_answer(struct dyn_slice body, struct env_usage *usage)
{
    struct json_value object;
    char *copy;
    *usage = (struct env_usage){0};
    if (upstream_json_scan(body, &object, &copy) != 0) {
        return -1;
    }
    bool is_answer = json_string_is(chat_find(object, "type"), "message") &&
                     chat_find(object, "content").type == JSON_ARRAY;
    bool is_strict = copy == NULL;
    anthropic_usage_read(chat_find(object, "usage"), usage);
    free(copy);
    return !is_answer ? -1 : is_strict ? 0 : 1;
}

static void
take_error(struct dialect_event *seen, struct json_value object, const struct sse_event *event)
{
    struct dyn_slice message = chat_member(chat_find(object, "error"), "message", JSON_STRING);
    const char *start = event->data.data;
    seen->error = true;
    if (message.data >= start && message.data < start + event->data.len) { /* not in a copy */
        seen->error_message = dyn_slice(message.data + 1, message.len - 2);
    }
}

static int
read_event(const struct sse_event *event, struct dialect_event *seen)
{
    struct json_value object;
    char *copy;
    *seen = (struct dialect_event){.terminal = false};
    if (upstream_json_scan(event->data, &object, &copy) != 0) {
        return -1;
    }
    struct json_value type = chat_find(object, "type");
    bool has_type = type.raw.data != NULL && type.type == JSON_STRING;
    if (json_string_is(type, "content_block_delta")) {
        seen->content = true;
    } else if (json_string_is(type, "content_block_start")) {
        struct json_value kind = chat_find(chat_find(object, "content_block"), "type");
        seen->content = !json_string_is(kind, "text") && !json_string_is(kind, "thinking");
    } else if (json_string_is(type, "message_start")) {
        anthropic_usage_read(chat_find(chat_find(object, "message"), "usage"), &seen->usage);
        seen->usage.known = false;
    } else if (json_string_is(type, "message_delta")) {
        anthropic_usage_read(chat_find(object, "usage"), &seen->usage);
        seen->finished = chat_find(chat_find(object, "delta"), "stop_reason").raw.data != NULL;
        seen->content = seen->finished;
    } else if (json_string_is(type, "message_stop")) {
        seen->terminal = true;
    } else if (json_string_is(type, "error")) {
        take_error(seen, object, event);
    }
    free(copy);
    return has_type ? 0 : -1;
}

/* ---- errors ---- */

/* The Messages API's own words for our statuses. */
static const char *
error_type(enum err_code code)
{
    switch (err_row(code)->http) {
    case 401:
        return "authentication_error";
    case 403:
        return "permission_error";
    case 404:
        return "not_found_error";
    case 413:
        return "request_too_large";
    case 429:
        return "rate_limit_error";
    case 503:
        return "overloaded_error";
    case 504:
        return "timeout_error";
    default:
        return err_row(code)->http < 500 ? "invalid_request_error" : "api_error";
    }
}

static void
write_error(struct dyn_buf *out, enum err_code code, struct dyn_slice message, struct dyn_slice param,
            struct dyn_slice upstream_code)
{
    (void)param; /* its name stands in the message */
    (void)upstream_code;
    dyn_buf_addf(out, "{\"type\":\"error\",\"error\":{\"type\":\"%s\",\"message\":", error_type(code));
    dyn_buf_add_json_string(out, message.len > 0 ? message : dyn_slice_str(err_row(code)->sentence));
    dyn_buf_add_slice(out, DYN_SLICE("}}"));
}

static void
write_stream_error(struct dyn_buf *out, enum err_code code, struct dyn_slice message)
{
    struct dyn_slice absent = {NULL, 0};
    dyn_buf_add_slice(out, DYN_SLICE("event: error\ndata: "));
    write_error(out, code, message, absent, absent);
    dyn_buf_add_slice(out, DYN_SLICE("\n\n"));
}

/* The last event is a message_stop. */
static bool
is_stream_end(struct dyn_slice bytes)
{
    static const struct dyn_slice marker = DYN_SLICE_INIT("\"message_stop\"");
    size_t len = bytes.len;
    while (len > 0 && (bytes.data[len - 1] == '\n' || bytes.data[len - 1] == '\r')) {
        len--;
    }
    size_t start = len;
    while (start > 0 && bytes.data[start - 1] != '\n' && bytes.data[start - 1] != '\r') {
        start--;
    }
    return bytes.len - len >= 2 && len - start >= 5 && memcmp(bytes.data + start, "data:", 5) == 0 &&
           memmem(bytes.data + start, len - start, marker.data, marker.len) != NULL;
}

static const struct chat_codec codec = {
    .read_request = anthropic_in,
    .write_request = anthropic_out,
    .read_answer = anthropic_answer_in,
    .write_answer = anthropic_answer_out,
    .read_event = anthropic_event_in,
    .write_event = anthropic_event_out,
};

const struct dialect_ops dialect_anthropic_messages = {
    .name = "anthropic_messages",
    .path = "/messages",
    .read_request = read_request,
    .splice_request = splice_request,
    .read_answer = read_answer,
    .read_event = read_event,
    .write_error = write_error,
    .write_stream_error = write_stream_error,
    .is_stream_end = is_stream_end,
    .chat = &codec,
};
