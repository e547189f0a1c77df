/* OpenAI chat requests, read into the record of chat.h. The text was validated (openai_chat_request.c), so
 * that shapes are known where that file looks, and judged here where it does not. */
#include "proto/dialects/openai_chat_codec.h"

#include "proto/dialects/dialect.h"
#include "proto/dialects/upstream_json.h"

struct asking {
    struct arena *arena;
    struct chat_request *request;
    struct dialect_problem *problem;
    bool has_completion_limit;
};

/* ---- parts of a message ---- */

static bool
is_base64_url(struct dyn_slice url)
{
    static const struct dyn_slice data = DYN_SLICE_INIT("data:");
    return url.len > data.len && dyn_slice_ieq(dyn_slice(url.data, data.len), data);
}

static bool
is_media_character(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '/' ||
           c == '-' || c == '+' || c == '.';
}

/* Base64 in the standard alphabet, which needs no escape in JSON. */
static bool
is_base64(struct dyn_slice text)
{
    for (size_t i = 0; i < text.len; i++) {
        char c = text.data[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '+' ||
              c == '/' || c == '=')) {
            return false;
        }
    }
    return text.len > 0;
}

/* "data:image/png;charset=x;base64,AAAA" (RFC 2397). false: it is none that can be handed on. */
static bool
split_data_url(struct dyn_slice url, struct dyn_slice *media_type, struct dyn_slice *data)
{
    static const struct dyn_slice marker = DYN_SLICE_INIT(";base64");
    const char *comma = memchr(url.data, ',', url.len < 256 ? url.len : 256);
    if (comma == NULL) {
        return false;
    }
    struct dyn_slice head = dyn_slice(url.data + 5, (size_t)(comma - url.data) - 5);
    *data = dyn_slice(comma + 1, url.len - (size_t)(comma + 1 - url.data));
    if (head.len < marker.len ||
        !dyn_slice_ieq(dyn_slice(head.data + head.len - marker.len, marker.len), marker)) {
        return false;
    }
    size_t len = 0;
    while (len < head.len && head.data[len] != ';') {
        if (!is_media_character(head.data[len++])) {
            return false;
        }
    }
    *media_type = dyn_slice(head.data, len);
    return len > 0 && is_base64(*data);
}

static int
add_data(struct asking *a, struct chat_parts *parts, enum chat_part_kind kind, struct dyn_slice url_json)
{
    struct dyn_slice url = chat_decode(url_json, a->arena);
    struct dyn_slice media_type = {NULL, 0};
    struct dyn_slice data = {NULL, 0};
    if (!is_base64_url(url) && kind == CHAT_IMAGE_DATA) {
        chat_part_add(parts, a->arena, CHAT_IMAGE_URL)->data = url_json;
        return 0;
    }
    if (!is_base64_url(url) || !split_data_url(url, &media_type, &data)) {
        return -1;
    }
    struct chat_part *part = chat_part_add(parts, a->arena, kind);
    part->media_type = media_type;
    part->data = data;
    return 0;
}

static int
add_image(struct asking *a, struct chat_parts *parts, struct json_value value, unsigned message, unsigned n)
{
    struct json_value image = chat_find(value, "image_url");
    bool is_bare = image.raw.data != NULL && image.type == JSON_STRING; /* some clients send it so */
    struct dyn_slice url = is_bare ? image.raw : chat_member(image, "url", JSON_STRING);
    if (url.data == NULL) {
        return chat_refuse(a->problem, "must be a string", "messages[%u].content[%u].image_url.url", message,
                           n);
    }
    if (add_data(a, parts, CHAT_IMAGE_DATA, url) != 0) {
        return chat_refuse(a->problem, "must be a URL, or a data URL in base64 with its media type",
                           "messages[%u].content[%u].image_url.url", message, n);
    }
    parts->last->detail = chat_member(image, "detail", JSON_STRING);
    return 0;
}

static int
add_file(struct asking *a, struct chat_parts *parts, struct json_value value, unsigned message, unsigned n)
{
    struct json_value file = chat_find(value, "file");
    struct dyn_slice data = chat_member(file, "file_data", JSON_STRING);
    if (data.data == NULL) { /* a file that only its provider has */
        chat_part_add(parts, a->arena, CHAT_OTHER)->name = DYN_SLICE("\"file\"");
        return 0;
    }
    if (add_data(a, parts, CHAT_FILE_DATA, data) != 0) {
        return chat_refuse(a->problem, "must be a data URL in base64 with its media type",
                           "messages[%u].content[%u].file.file_data", message, n);
    }
    parts->last->text = chat_member(file, "filename", JSON_STRING);
    return 0;
}

static int
add_part(struct asking *a, struct chat_parts *parts, struct json_value value, unsigned message, unsigned n)
{
    struct json_value type = chat_find(value, "type");
    int failed = 0;
    if (json_string_is(type, "text")) {
        chat_part_add(parts, a->arena, CHAT_TEXT)->text = chat_member(value, "text", JSON_STRING);
    } else if (json_string_is(type, "refusal")) {
        chat_part_add(parts, a->arena, CHAT_REFUSAL)->text = chat_member(value, "refusal", JSON_STRING);
    } else if (json_string_is(type, "image_url")) {
        failed = add_image(a, parts, value, message, n);
    } else if (json_string_is(type, "file")) {
        failed = add_file(a, parts, value, message, n);
    } else {
        chat_part_add(parts, a->arena, CHAT_OTHER)->name = type.raw;
    }
    if (!failed) {
        parts->last->cache_control = chat_member(value, "cache_control", JSON_OBJECT);
    }
    return failed;
}

static int
read_content(struct asking *a, struct chat_message *message, struct json_value content)
{
    if (content.type == JSON_STRING) {
        chat_part_add(&message->parts, a->arena, CHAT_TEXT)->text = content.raw;
        return 0;
    }
    struct json_iter items = json_iter(content);
    unsigned n = 0;
    for (struct json_member item; json_iter_next(&items, &item); n++) {
        if (add_part(a, &message->parts, item.value, message->index, n) != 0) {
            return -1;
        }
        if (message->parts.last->kind == CHAT_OTHER) { /* no writer takes it: the rest is not looked at */
            return 0;
        }
    }
    return 0;
}

/* ---- messages ---- */

/* Thoughts as answers carry them (openai_chat_answers.c), on their way back. */
/* A message collected from a stream: signatures without their texts, which stand in `reasoning_content` in
 * one. What one signature is of is known; with several none fits, and the thoughts stay unsigned. */
static void
return_thoughts(struct chat_message *message, unsigned n_signed)
{
    if (n_signed > 1) {
        message->parts = (struct chat_parts){NULL, NULL};
        return;
    }
    for (struct chat_part *part = message->parts.first; part != NULL; part = part->next) {
        if (part->kind == CHAT_THINKING) {
            part->text = message->thinking;
        }
    }
    message->thinking = dyn_slice(NULL, 0);
}

static void
read_thoughts(struct asking *a, struct chat_message *message, struct json_value blocks)
{
    struct json_iter items = json_iter(blocks);
    unsigned n_signed = 0;
    bool lacks_text = false;
    for (struct json_member item; json_iter_next(&items, &item);) {
        struct dyn_slice text = chat_member(item.value, "thinking", JSON_STRING);
        struct dyn_slice hidden = chat_member(item.value, "data", JSON_STRING);
        struct dyn_slice signature = chat_member(item.value, "signature", JSON_STRING);
        if (hidden.data != NULL) {
            chat_part_add(&message->parts, a->arena, CHAT_REDACTED)->data = hidden;
        } else if (signature.data != NULL) {
            struct chat_part *part = chat_part_add(&message->parts, a->arena, CHAT_THINKING);
            part->text = text.data != NULL ? text : DYN_SLICE("\"\"");
            part->signature = signature;
            lacks_text |= text.data == NULL;
            n_signed++;
        }
    }
    if (lacks_text && chat_has_text(message->thinking)) {
        return_thoughts(message, n_signed);
    }
}

static int
read_calls(struct asking *a, struct chat_message *message, struct json_value calls)
{
    struct json_iter items = json_iter(calls);
    unsigned n = 0;
    for (struct json_member item; json_iter_next(&items, &item); n++) {
        struct json_value function = chat_find(item.value, "function");
        struct dyn_slice arguments = chat_member(function, "arguments", JSON_STRING);
        if (arguments.data == NULL) {
            return chat_refuse(a->problem, "must be a function call to be sent to this provider",
                               "messages[%u].tool_calls[%u]", message->index, n);
        }
        struct chat_part *part = chat_part_add(&message->parts, a->arena, CHAT_CALL);
        struct dyn_slice id = chat_member(item.value, "id", JSON_STRING);
        struct json_value object = {JSON_NULL, {NULL, 0}};
        part->id = id.data != NULL ? id : DYN_SLICE("\"\"");
        part->name = chat_member(function, "name", JSON_STRING);
        part->arguments = chat_decode(arguments, a->arena);
        /* a model wrote them: half a character is no reason to lose them all */
        part->is_json = upstream_json_scan_in(part->arguments, a->arena, &object) == 0;
        part->arguments = part->is_json ? object.raw : part->arguments;
    }
    return 0;
}

static enum chat_role
role_of(struct json_value role, bool *is_legacy)
{
    static const struct {
        const char *name;
        enum chat_role role;
    } roles[] = {
        {"user", CHAT_USER}, {"assistant", CHAT_ASSISTANT}, {"system", CHAT_SYSTEM},
        {"tool", CHAT_TOOL}, {"developer", CHAT_DEVELOPER},
    };
    for (size_t i = 0; i < DYN_ARRAY_LEN(roles); i++) {
        if (json_string_is(role, roles[i].name)) {
            return roles[i].role;
        }
    }
    *is_legacy = true;
    return CHAT_TOOL;
}

static int
read_message(struct asking *a, struct json_value value, unsigned index)
{
    bool is_legacy = false;
    enum chat_role role = role_of(chat_find(value, "role"), &is_legacy);
    struct chat_message *message = chat_message_add(a->request, a->arena, role);
    struct json_value refusal = chat_find(value, "refusal");
    struct json_value calls = chat_find(value, "tool_calls");
    message->index = index;
    message->is_legacy = is_legacy || chat_find(value, "function_call").raw.data != NULL ||
                         chat_find(value, "audio").raw.data != NULL;
    message->name = chat_member(value, "name", JSON_STRING);
    message->tool_call_id = chat_member(value, "tool_call_id", JSON_STRING);
    message->thinking = chat_member(value, "reasoning_content", JSON_STRING);
    if (role == CHAT_ASSISTANT) {
        read_thoughts(a, message, chat_find(value, "thinking_blocks"));
    }
    if (read_content(a, message, chat_find(value, "content")) != 0) {
        return -1;
    }
    if (refusal.type == JSON_STRING && chat_has_text(refusal.raw)) {
        chat_part_add(&message->parts, a->arena, CHAT_REFUSAL)->text = refusal.raw;
    }
    return calls.raw.data != NULL ? read_calls(a, message, calls) : 0;
}

static int
read_messages(struct asking *a, const struct json_member *member)
{
    struct json_iter items = json_iter(member->value);
    unsigned index = 0;
    for (struct json_member item; json_iter_next(&items, &item); index++) {
        if (read_message(a, item.value, index) != 0) {
            return -1;
        }
    }
    return 0;
}

/* ---- tools ---- */

static enum chat_said
said(struct json_value value)
{
    return value.raw.data == NULL     ? CHAT_UNSAID
           : value.type == JSON_TRUE  ? CHAT_YES
           : value.type == JSON_FALSE ? CHAT_NO
                                      : CHAT_UNSAID;
}

static int
read_tools(struct asking *a, const struct json_member *member)
{
    struct json_iter items = json_iter(member->value);
    for (struct json_member item; json_iter_next(&items, &item);) {
        struct json_value function = chat_find(item.value, "function");
        struct chat_tool *tool = chat_tool_add(a->request, a->arena);
        tool->name = chat_member(function, "name", JSON_STRING);
        tool->is_function = tool->name.data != NULL;
        tool->description = chat_member(function, "description", JSON_STRING);
        tool->parameters = chat_member(function, "parameters", JSON_OBJECT);
        tool->strict = said(chat_find(function, "strict"));
        tool->cache_control = chat_member(item.value, "cache_control", JSON_OBJECT);
        if (!tool->is_function) { /* no writer takes it */
            return 0;
        }
    }
    return 0;
}

static int
read_tool_choice(struct asking *a, const struct json_member *member)
{
    struct chat_request *request = a->request;
    struct json_value value = member->value;
    if (json_string_is(value, "auto")) {
        request->tool_choice = CHAT_CHOICE_AUTO;
    } else if (json_string_is(value, "none")) {
        request->tool_choice = CHAT_CHOICE_NONE;
    } else if (json_string_is(value, "required")) {
        request->tool_choice = CHAT_CHOICE_ANY;
    } else {
        request->tool_choice_name = chat_member(chat_find(value, "function"), "name", JSON_STRING);
        if (request->tool_choice_name.data == NULL) {
            chat_other_add(request, a->arena, member);
            return 0;
        }
        request->tool_choice = CHAT_CHOICE_ONE;
    }
    return 0;
}

static int
read_parallel(struct asking *a, const struct json_member *member)
{
    a->request->parallel_calls = said(member->value);
    return 0;
}

/* ---- the other members ---- */

static int
read_model(struct asking *a, const struct json_member *member)
{
    a->request->model = chat_decode(member->value.raw, a->arena);
    return 0;
}

static int
read_stream(struct asking *a, const struct json_member *member)
{
    a->request->stream = member->value.type == JSON_TRUE;
    return 0;
}

static int
read_stream_options(struct asking *a, const struct json_member *member)
{
    a->request->wants_usage = chat_find(member->value, "include_usage").type == JSON_TRUE;
    return 0;
}

/* The newer name wins, in whatever order they stand. */
static int
read_limit(struct asking *a, const struct json_member *member)
{
    bool is_newer = json_key_is(member, "max_completion_tokens");
    double real = 0;
    if (a->has_completion_limit && !is_newer) {
        return 0;
    }
    (void)json_double(member->value, &real);
    a->has_completion_limit = is_newer;
    a->request->max_tokens = real < (double)INT64_MAX ? (uint64_t)real : (uint64_t)INT64_MAX;
    return 0;
}

static int
read_stop(struct asking *a, const struct json_member *member)
{
    a->request->stop = member->value;
    return 0;
}

static int
read_format(struct asking *a, const struct json_member *member)
{
    struct chat_request *request = a->request;
    struct json_value type = chat_find(member->value, "type");
    struct json_value described = chat_find(member->value, "json_schema");
    request->schema = chat_member(described, "schema", JSON_OBJECT);
    if (json_string_is(type, "json_schema") && request->schema.data != NULL) {
        request->format = CHAT_FORMAT_SCHEMA;
        request->format_name = chat_member(described, "name", JSON_STRING);
        request->format_description = chat_member(described, "description", JSON_STRING);
        request->format_strict = said(chat_find(described, "strict"));
    } else if (json_string_is(type, "json_object")) {
        request->format = CHAT_FORMAT_JSON;
    } else if (!json_string_is(type, "text")) {
        chat_other_add(request, a->arena, member);
    }
    return 0;
}

/* Members that are kept as they stand, when they have the type that they should. */
static const struct {
    const char *key;
    enum json_type type;
    size_t field;
} kept[] = {
    {"temperature", JSON_NUMBER, offsetof(struct chat_request, temperature)},
    {"top_p", JSON_NUMBER, offsetof(struct chat_request, top_p)},
    {"top_k", JSON_NUMBER, offsetof(struct chat_request, top_k)},
    {"user", JSON_STRING, offsetof(struct chat_request, user)},
    {"reasoning_effort", JSON_STRING, offsetof(struct chat_request, effort)},
    {"thinking", JSON_OBJECT, offsetof(struct chat_request, thinking)},
    {"service_tier", JSON_STRING, offsetof(struct chat_request, service_tier)},
};

static const struct {
    const char *key;
    int (*read)(struct asking *a, const struct json_member *member);
} members[] = {
    {"model", read_model},
    {"messages", read_messages},
    {"stream", read_stream},
    {"stream_options", read_stream_options},
    {"max_tokens", read_limit},
    {"max_completion_tokens", read_limit},
    {"tools", read_tools},
    {"tool_choice", read_tool_choice},
    {"parallel_tool_calls", read_parallel},
    {"response_format", read_format},
    {"stop", read_stop},
};

static int
read_member(struct asking *a, const struct json_member *member)
{
    if (member->value.type == JSON_NULL) {
        return 0;
    }
    for (size_t i = 0; i < DYN_ARRAY_LEN(members); i++) {
        if (json_key_is(member, members[i].key)) {
            return members[i].read(a, member);
        }
    }
    for (size_t i = 0; i < DYN_ARRAY_LEN(kept); i++) {
        if (member->value.type == kept[i].type && json_key_is(member, kept[i].key)) {
            *(struct dyn_slice *)(void *)((char *)a->request + kept[i].field) = member->value.raw;
            return 0;
        }
    }
    chat_other_add(a->request, a->arena, member);
    return 0;
}

int
openai_chat_in(struct dyn_slice body, struct arena *arena, struct chat_request *request,
               struct dialect_problem *problem)
{
    struct asking a = {.arena = arena, .request = request, .problem = problem};
    struct json_iter items = json_iter(chat_object(body));
    *request = (struct chat_request){.model = {NULL, 0}};
    for (struct json_member member; json_iter_next(&items, &member);) {
        if (read_member(&a, &member) != 0) {
            return -1;
        }
    }
    return 0;
}
