/* Messages API requests, read into the record of chat.h. A turn of the user that begins with results of tools
 * becomes one message for each result, and one for what is left. Shapes are judged here: only the outermost
 * ones were checked before. */
#include "proto/dialects/anthropic_codec.h"

#include "core/base64.h"
#include "proto/dialects/dialect.h"

struct asking {
    struct arena *arena;
    struct chat_request *request;
    struct dialect_problem *problem;
    unsigned turn; /* index of the message at hand */
};

/* ---- blocks ---- */

static struct dyn_slice
or_empty(struct dyn_slice json)
{
    return json.data != NULL ? json : DYN_SLICE("\"\"");
}

static void
add_other(struct asking *a, struct chat_parts *parts, struct json_value type)
{
    chat_part_add(parts, a->arena, CHAT_OTHER)->name = type.raw;
}

/* An image or a document by its source. */
static void
add_source(struct asking *a, struct chat_parts *parts, struct json_value block, struct json_value type)
{
    struct json_value source = chat_find(block, "source");
    struct json_value kind = chat_find(source, "type");
    bool is_image = json_string_is(type, "image");
    struct dyn_slice url = chat_member(source, "url", JSON_STRING);
    struct dyn_slice data = chat_member(source, "data", JSON_STRING);
    struct dyn_slice media_type = chat_member(source, "media_type", JSON_STRING);
    if (is_image && json_string_is(kind, "url") && url.data != NULL) {
        chat_part_add(parts, a->arena, CHAT_IMAGE_URL)->data = url;
    } else if (json_string_is(kind, "base64") && data.data != NULL && media_type.data != NULL) {
        struct chat_part *part = chat_part_add(parts, a->arena, is_image ? CHAT_IMAGE_DATA : CHAT_FILE_DATA);
        part->data = dyn_slice(data.data + 1, data.len - 2);
        part->media_type = dyn_slice(media_type.data + 1, media_type.len - 2);
        part->text = is_image ? dyn_slice(NULL, 0) : chat_member(block, "title", JSON_STRING);
    } else if (!is_image && json_string_is(kind, "text") && chat_has_text(data)) {
        struct chat_part *part = chat_part_add(parts, a->arena, CHAT_FILE_DATA);
        struct dyn_buf encoded = DYN_BUF_INIT;
        dyn_base64_add(&encoded, chat_decode(data, a->arena));
        part->data = arena_copy(a->arena, dyn_buf_slice(&encoded));
        part->media_type = DYN_SLICE("text/plain");
        part->text = chat_member(block, "title", JSON_STRING);
        dyn_buf_fini(&encoded);
    } else {
        add_other(a, parts, type);
    }
}

static void
add_call(struct asking *a, struct chat_parts *parts, struct json_value block)
{
    struct chat_part *part = chat_part_add(parts, a->arena, CHAT_CALL);
    struct dyn_slice input = chat_member(block, "input", JSON_OBJECT);
    part->id = or_empty(chat_member(block, "id", JSON_STRING));
    part->name = or_empty(chat_member(block, "name", JSON_STRING));
    part->arguments = input.data != NULL ? input : DYN_SLICE("{}");
    part->is_json = true;
}

static void
add_block(struct asking *a, struct chat_parts *parts, struct json_value block)
{
    struct json_value type = chat_find(block, "type");
    if (json_string_is(type, "text")) {
        chat_part_add(parts, a->arena, CHAT_TEXT)->text = or_empty(chat_member(block, "text", JSON_STRING));
    } else if (json_string_is(type, "thinking")) {
        struct chat_part *part = chat_part_add(parts, a->arena, CHAT_THINKING);
        part->text = or_empty(chat_member(block, "thinking", JSON_STRING));
        part->signature = or_empty(chat_member(block, "signature", JSON_STRING));
    } else if (json_string_is(type, "redacted_thinking")) {
        chat_part_add(parts, a->arena, CHAT_REDACTED)->data =
            or_empty(chat_member(block, "data", JSON_STRING));
    } else if (json_string_is(type, "tool_use")) {
        add_call(a, parts, block);
    } else if (json_string_is(type, "image") || json_string_is(type, "document")) {
        add_source(a, parts, block, type);
    } else {
        add_other(a, parts, type);
    }
    parts->last->cache_control = chat_member(block, "cache_control", JSON_OBJECT);
}

static void
read_content(struct asking *a, struct chat_parts *parts, struct json_value content)
{
    if (content.type == JSON_STRING) {
        chat_part_add(parts, a->arena, CHAT_TEXT)->text = content.raw;
        return;
    }
    struct json_iter items = json_iter(content);
    for (struct json_member item; json_iter_next(&items, &item);) {
        add_block(a, parts, item.value);
    }
}

/* ---- messages ---- */

static void
read_result(struct asking *a, struct json_value block)
{
    struct chat_message *message = chat_message_add(a->request, a->arena, CHAT_TOOL);
    message->index = a->turn;
    message->tool_call_id = or_empty(chat_member(block, "tool_use_id", JSON_STRING));
    message->is_error = chat_find(block, "is_error").type == JSON_TRUE;
    read_content(a, &message->parts, chat_find(block, "content"));
}

static void
read_turn(struct asking *a, struct json_value turn)
{
    struct json_value content = chat_find(turn, "content");
    bool is_user = json_string_is(chat_find(turn, "role"), "user");
    struct chat_message *message = NULL;
    if (content.type == JSON_STRING) {
        message = chat_message_add(a->request, a->arena, is_user ? CHAT_USER : CHAT_ASSISTANT);
        message->index = a->turn;
        read_content(a, &message->parts, content);
        return;
    }
    struct json_iter items = json_iter(content);
    for (struct json_member item; json_iter_next(&items, &item);) {
        if (is_user && json_string_is(chat_find(item.value, "type"), "tool_result")) {
            read_result(a, item.value);
            message = NULL;
            continue;
        }
        if (message == NULL) {
            message = chat_message_add(a->request, a->arena, is_user ? CHAT_USER : CHAT_ASSISTANT);
            message->index = a->turn;
        }
        add_block(a, &message->parts, item.value);
    }
}

static void
read_messages(struct asking *a, struct json_value value)
{
    struct json_iter items = json_iter(value);
    for (struct json_member item; json_iter_next(&items, &item);) {
        read_turn(a, item.value);
        a->turn++;
    }
}

static void
read_system(struct asking *a, struct json_value value)
{
    struct chat_message *message = chat_message_add(a->request, a->arena, CHAT_SYSTEM);
    read_content(a, &message->parts, value);
}

/* ---- tools ---- */

/* Tools that the provider runs itself have a type, and no schema. */
static void
read_tools(struct asking *a, struct json_value value)
{
    struct json_iter items = json_iter(value);
    for (struct json_member item; json_iter_next(&items, &item);) {
        struct chat_tool *tool = chat_tool_add(a->request, a->arena);
        tool->name = chat_member(item.value, "name", JSON_STRING);
        tool->description = chat_member(item.value, "description", JSON_STRING);
        tool->parameters = chat_member(item.value, "input_schema", JSON_OBJECT);
        tool->cache_control = chat_member(item.value, "cache_control", JSON_OBJECT);
        tool->is_function = tool->name.data != NULL && tool->parameters.data != NULL;
        tool->strict = chat_find(item.value, "strict").type == JSON_TRUE ? CHAT_YES : CHAT_UNSAID;
    }
}

static void
read_tool_choice(struct asking *a, struct json_value value)
{
    static const struct {
        const char *word;
        enum chat_choice choice;
    } choices[] = {{"auto", CHAT_CHOICE_AUTO},
                   {"none", CHAT_CHOICE_NONE},
                   {"any", CHAT_CHOICE_ANY},
                   {"tool", CHAT_CHOICE_ONE}};
    struct chat_request *request = a->request;
    struct json_value type = chat_find(value, "type");
    for (size_t i = 0; i < DYN_ARRAY_LEN(choices); i++) {
        if (json_string_is(type, choices[i].word)) {
            request->tool_choice = choices[i].choice;
        }
    }
    if (request->tool_choice == CHAT_CHOICE_ONE) {
        request->tool_choice_name = or_empty(chat_member(value, "name", JSON_STRING));
    }
    if (chat_find(value, "disable_parallel_tool_use").type == JSON_TRUE) {
        request->parallel_calls = CHAT_NO;
    }
}

/* ---- the other members ---- */

static void
read_model(struct asking *a, struct json_value value)
{
    a->request->model = chat_decode(value.raw, a->arena);
}

static void
read_limit(struct asking *a, struct json_value value)
{
    int64_t limit = 0;
    a->request->max_tokens = json_int64(value, &limit) == 0 && limit > 0 ? (uint64_t)limit : 0;
}

static void
read_stream(struct asking *a, struct json_value value)
{
    a->request->stream = value.type == JSON_TRUE;
    a->request->wants_usage = true;
}

static void
read_stop(struct asking *a, struct json_value value)
{
    struct json_iter items = json_iter(value);
    struct json_member item;
    bool is_good = value.type == JSON_ARRAY;
    while (is_good && json_iter_next(&items, &item)) {
        is_good = item.value.type == JSON_STRING;
    }
    a->request->stop.raw = is_good ? value.raw : dyn_slice(NULL, 0);
    a->request->stop.type = value.type;
}

static void
read_metadata(struct asking *a, struct json_value value)
{
    a->request->user = chat_member(value, "user_id", JSON_STRING);
}

static void
read_thinking(struct asking *a, struct json_value value)
{
    a->request->thinking = value.type == JSON_OBJECT ? value.raw : dyn_slice(NULL, 0);
    a->request->effort = anthropic_effort(value);
}

static void
read_service_tier(struct asking *a, struct json_value value)
{
    a->request->service_tier =
        json_string_is(value, "standard_only") ? DYN_SLICE("\"default\"") : DYN_SLICE("\"auto\"");
}

static void
read_temperature(struct asking *a, struct json_value value)
{
    a->request->temperature = value.type == JSON_NUMBER ? value.raw : dyn_slice(NULL, 0);
}

static void
read_top_p(struct asking *a, struct json_value value)
{
    a->request->top_p = value.type == JSON_NUMBER ? value.raw : dyn_slice(NULL, 0);
}

static void
read_top_k(struct asking *a, struct json_value value)
{
    a->request->top_k = value.type == JSON_NUMBER ? value.raw : dyn_slice(NULL, 0);
}

static const struct {
    const char *key;
    void (*read)(struct asking *a, struct json_value value);
} members[] = {
    {"model", read_model},
    {"system", read_system},
    {"messages", read_messages},
    {"max_tokens", read_limit},
    {"stream", read_stream},
    {"tools", read_tools},
    {"tool_choice", read_tool_choice},
    {"stop_sequences", read_stop},
    {"metadata", read_metadata},
    {"thinking", read_thinking},
    {"service_tier", read_service_tier},
    {"temperature", read_temperature},
    {"top_p", read_top_p},
    {"top_k", read_top_k},
};

static void
read_member(struct asking *a, const struct json_member *member)
{
    for (size_t i = 0; i < DYN_ARRAY_LEN(members); i++) {
        if (json_key_is(member, members[i].key)) {
            members[i].read(a, member->value);
            return;
        }
    }
    if (member->value.type != JSON_NULL) {
        chat_other_add(a->request, a->arena, member);
    }
}

/* Instructions come first, wherever `system` stands in the text. */
static void
move_system_first(struct chat_request *request)
{
    struct chat_message *before = NULL;
    for (struct chat_message *m = request->messages; m != NULL; before = m, m = m->next) {
        if (m->role == CHAT_SYSTEM && before != NULL) {
            before->next = m->next;
            request->last_message = request->last_message == m ? before : request->last_message;
            m->next = request->messages;
            request->messages = m;
            return;
        }
    }
}

int
anthropic_in(struct dyn_slice body, struct arena *arena, struct chat_request *request,
             struct dialect_problem *problem)
{
    struct asking a = {.arena = arena, .request = request, .problem = problem};
    struct json_iter items = json_iter(chat_object(body));
    *request = (struct chat_request){.wants_usage = true};
    for (struct json_member member; json_iter_next(&items, &member);) {
        read_member(&a, &member);
    }
    move_system_first(request);
    return 0;
}
