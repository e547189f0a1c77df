/* The shape of `messages` in an OpenAI chat request: roles, contents, tool calls. Walks text that the
 * scan has validated; decodes nothing. */
#include "proto/dialects/openai_chat_reading.h"

static int
check_part(struct reading *r, size_t message, size_t index, struct json_value part)
{
    if (part.type != JSON_OBJECT) {
        return reading_refuse(r, "must be an object", "messages[%zu].content[%zu]", message, index);
    }
    struct json_value type;
    struct json_value text;
    if (!json_find(part, "type", &type) || type.type != JSON_STRING) {
        return reading_refuse(r, "must be a string", "messages[%zu].content[%zu].type", message, index);
    }
    if (json_string_is(type, "text") && (!json_find(part, "text", &text) || text.type != JSON_STRING)) {
        return reading_refuse(r, "must be a string", "messages[%zu].content[%zu].text", message, index);
    }
    return GO_ON;
}

static int
check_content(struct reading *r, size_t message, struct json_value content)
{
    if (content.type == JSON_STRING || content.type == JSON_NULL) {
        return GO_ON;
    }
    if (content.type != JSON_ARRAY) {
        return reading_refuse(r, "must be a string, an array of parts, or null", "messages[%zu].content",
                              message);
    }
    struct json_iter parts = json_iter(content);
    struct json_member part;
    for (size_t i = 0; json_iter_next(&parts, &part); i++) {
        int failed = check_part(r, message, i, part.value);
        if (failed) {
            return failed;
        }
    }
    return GO_ON;
}

static int
check_tool_call(struct reading *r, size_t message, size_t index, struct json_value call)
{
    if (call.type != JSON_OBJECT) {
        return reading_refuse(r, "must be an object", "messages[%zu].tool_calls[%zu]", message, index);
    }
    struct json_value found;
    static const char *const strings[] = {"id", "type"};
    for (size_t i = 0; i < DYN_ARRAY_LEN(strings); i++) {
        if (json_find(call, strings[i], &found) && found.type != JSON_STRING) {
            return reading_refuse(r, "must be a string", "messages[%zu].tool_calls[%zu].%s", message, index,
                                  strings[i]);
        }
    }
    struct json_value function;
    if (!json_find(call, "function", &function)) {
        return GO_ON;
    }
    if (function.type != JSON_OBJECT) {
        return reading_refuse(r, "must be an object", "messages[%zu].tool_calls[%zu].function", message,
                              index);
    }
    static const char *const function_strings[] = {"name", "arguments"};
    for (size_t i = 0; i < DYN_ARRAY_LEN(function_strings); i++) {
        if (!json_find(function, function_strings[i], &found) || found.type != JSON_STRING) {
            return reading_refuse(r, "must be a string", "messages[%zu].tool_calls[%zu].function.%s", message,
                                  index, function_strings[i]);
        }
    }
    return GO_ON;
}

static int
check_tool_calls(struct reading *r, size_t message, struct json_value calls)
{
    if (calls.type == JSON_NULL) {
        return GO_ON;
    }
    if (calls.type != JSON_ARRAY) {
        return reading_refuse(r, "must be an array", "messages[%zu].tool_calls", message);
    }
    struct json_iter items = json_iter(calls);
    struct json_member call;
    for (size_t i = 0; json_iter_next(&items, &call); i++) {
        int failed = check_tool_call(r, message, i, call.value);
        if (failed) {
            return failed;
        }
    }
    return GO_ON;
}

static int
check_role(struct reading *r, size_t message, struct json_value role)
{
    static const char *const roles[] = {"user", "assistant", "system", "tool", "developer", "function"};
    if (role.type != JSON_STRING) {
        return reading_refuse(r, "must be a string", "messages[%zu].role", message);
    }
    for (size_t i = 0; i < DYN_ARRAY_LEN(roles); i++) {
        if (json_string_is(role, roles[i])) {
            return GO_ON;
        }
    }
    return reading_refuse(r, "must be one of 'system', 'developer', 'user', 'assistant', 'tool', 'function'",
                          "messages[%zu].role", message);
}

enum message_key { KEY_ROLE, KEY_CONTENT, KEY_TOOL_CALLS, KEY_NAME, KEY_TOOL_CALL_ID, KEY_OTHER };

static const struct dyn_slice message_keys[KEY_OTHER] = {
    [KEY_ROLE] = DYN_SLICE_INIT("role"),
    [KEY_CONTENT] = DYN_SLICE_INIT("content"),
    [KEY_TOOL_CALLS] = DYN_SLICE_INIT("tool_calls"),
    [KEY_NAME] = DYN_SLICE_INIT("name"),
    [KEY_TOOL_CALL_ID] = DYN_SLICE_INIT("tool_call_id"),
};

static int
check_message_member(struct reading *r, size_t message, enum message_key key, struct json_value value)
{
    switch (key) {
    case KEY_ROLE:
        return check_role(r, message, value);
    case KEY_CONTENT:
        return check_content(r, message, value);
    case KEY_TOOL_CALLS:
        return check_tool_calls(r, message, value);
    case KEY_NAME:
    case KEY_TOOL_CALL_ID:
        return value.type == JSON_STRING || value.type == JSON_NULL
                   ? GO_ON
                   : reading_refuse(r, "must be a string", "messages[%zu].%s", message,
                                    message_keys[key].data);
    case KEY_OTHER:
        break;
    }
    return GO_ON;
}

/* A member given twice is refused: what we looked at would not be what the upstream reads. */
static int
check_message(struct reading *r, size_t message, struct json_value object)
{
    unsigned seen = 0;
    if (object.type != JSON_OBJECT) {
        return reading_refuse(r, "must be an object", "messages[%zu]", message);
    }
    struct json_iter members = json_iter(object);
    for (struct json_member member; json_iter_next(&members, &member);) {
        unsigned key = KEY_ROLE;
        while (key < KEY_OTHER && !reading_key_is(&member, message_keys[key])) {
            key++;
        }
        if (key < KEY_OTHER && (seen & (1u << key))) {
            return reading_refuse(r, "must not be given twice", "messages[%zu].%s", message,
                                  message_keys[key].data);
        }
        seen |= 1u << key;
        int failed = check_message_member(r, message, (enum message_key)key, member.value);
        if (failed) {
            return failed;
        }
    }
    if (!(seen & (1u << KEY_ROLE))) {
        return reading_refuse(r, "is missing", "messages[%zu].role", message);
    }
    return GO_ON;
}

int
reading_messages(struct reading *r, struct json_value value)
{
    if (value.type != JSON_ARRAY) {
        return reading_refuse(r, "must be an array of messages", "messages");
    }
    struct json_iter items = json_iter(value);
    struct json_member item;
    size_t n = 0;
    for (; json_iter_next(&items, &item); n++) {
        int failed = check_message(r, n, item.value);
        if (failed) {
            return failed;
        }
    }
    return n > 0 ? GO_ON : reading_refuse(r, "must hold at least one message", "messages");
}
