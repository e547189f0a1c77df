/* The shape of `messages` and `tools` in an OpenAI chat request: visitors of the one scan that validates
 * the text, since these two hold nearly all of its bytes. Nothing is decoded. A member that the gateway
 * looks at is refused when it stands twice: what was looked at would not be what the upstream reads. */
#include "proto/dialects/openai_chat_reading.h"

static bool
is_string_or_null(struct json_value value)
{
    return value.type == JSON_STRING || value.type == JSON_NULL;
}

/* Sets the bit; false when it was set already. */
static bool
see(unsigned *seen, unsigned bit)
{
    bool is_first = (*seen & bit) == 0;
    *seen |= bit;
    return is_first;
}

/* ---- parts of a content ---- */

enum { PART_TYPE = 1, PART_TEXT = 2, PART_IS_TEXT = 4, PART_HAS_TEXT = 8 };

static int
visit_part_member(void *self, const struct json_member *member)
{
    struct reading *r = self;
    bool is_type = reading_key_is(member, DYN_SLICE("type"));
    if (!is_type && !reading_key_is(member, DYN_SLICE("text"))) {
        return GO_ON;
    }
    if (!see(&r->part_seen, is_type ? PART_TYPE : PART_TEXT)) {
        return reading_refuse(r, "is given twice", "messages[%zu].content[%zu].%s", r->message, r->part,
                              is_type ? "type" : "text");
    }
    if (is_type && member->value.type != JSON_STRING) {
        return reading_refuse(r, "must be a string", "messages[%zu].content[%zu].type", r->message, r->part);
    }
    if (is_type && json_string_is(member->value, "text")) {
        r->part_seen |= PART_IS_TEXT;
    } else if (!is_type && member->value.type == JSON_STRING) {
        r->part_seen |= PART_HAS_TEXT;
    }
    return GO_ON;
}

static const struct json_visitor part_members = {.visit = visit_part_member};

static const struct json_visitor *
enter_part(void *self, const struct json_member *part)
{
    struct reading *r = self;
    r->part_seen = 0;
    return part->value.type == JSON_OBJECT ? &part_members : NULL;
}

static int
visit_part(void *self, const struct json_member *part)
{
    struct reading *r = self;
    if (part->value.type != JSON_OBJECT) {
        return reading_refuse(r, "must be an object", "messages[%zu].content[%zu]", r->message, r->part);
    }
    if (!(r->part_seen & PART_TYPE)) {
        return reading_refuse(r, "is missing", "messages[%zu].content[%zu].type", r->message, r->part);
    }
    if ((r->part_seen & PART_IS_TEXT) && !(r->part_seen & PART_HAS_TEXT)) {
        return reading_refuse(r, "must be a string", "messages[%zu].content[%zu].text", r->message, r->part);
    }
    r->part++;
    return GO_ON;
}

static const struct json_visitor parts = {.visit = visit_part, .enter = enter_part};

/* ---- tool calls ---- */

enum { FUNCTION_NAME = 1, FUNCTION_ARGUMENTS = 2 };

static int
visit_function_member(void *self, const struct json_member *member)
{
    struct reading *r = self;
    if (member->value.type != JSON_STRING) {
        return GO_ON;
    }
    if (reading_key_is(member, DYN_SLICE("name"))) {
        r->function_seen |= FUNCTION_NAME;
    } else if (reading_key_is(member, DYN_SLICE("arguments"))) {
        r->function_seen |= FUNCTION_ARGUMENTS;
    }
    return GO_ON;
}

static const struct json_visitor function_members = {.visit = visit_function_member};

static const struct json_visitor *
enter_call_member(void *self, const struct json_member *member)
{
    struct reading *r = self;
    r->function_seen = 0;
    bool is_function = member->value.type == JSON_OBJECT && reading_key_is(member, DYN_SLICE("function"));
    return is_function ? &function_members : NULL;
}

static int
check_function(struct reading *r, struct json_value function)
{
    if (function.type == JSON_NULL) { /* a call of another type */
        return GO_ON;
    }
    if (function.type != JSON_OBJECT) {
        return reading_refuse(r, "must be an object", "messages[%zu].tool_calls[%zu].function", r->message,
                              r->call);
    }
    if (r->function_seen == (FUNCTION_NAME | FUNCTION_ARGUMENTS)) {
        return GO_ON;
    }
    return reading_refuse(r, "must be a string", "messages[%zu].tool_calls[%zu].function.%s", r->message,
                          r->call, r->function_seen & FUNCTION_NAME ? "arguments" : "name");
}

static int
visit_call_member(void *self, const struct json_member *member)
{
    struct reading *r = self;
    if (reading_key_is(member, DYN_SLICE("function"))) {
        return check_function(r, member->value);
    }
    bool is_id = reading_key_is(member, DYN_SLICE("id"));
    if ((is_id || reading_key_is(member, DYN_SLICE("type"))) && !is_string_or_null(member->value)) {
        return reading_refuse(r, "must be a string", "messages[%zu].tool_calls[%zu].%s", r->message, r->call,
                              is_id ? "id" : "type");
    }
    return GO_ON;
}

static const struct json_visitor call_members = {.visit = visit_call_member, .enter = enter_call_member};

static const struct json_visitor *
enter_call(void *self, const struct json_member *call)
{
    (void)self;
    return call->value.type == JSON_OBJECT ? &call_members : NULL;
}

static int
visit_call(void *self, const struct json_member *call)
{
    struct reading *r = self;
    if (call->value.type != JSON_OBJECT) {
        return reading_refuse(r, "must be an object", "messages[%zu].tool_calls[%zu]", r->message, r->call);
    }
    r->call++;
    return GO_ON;
}

static const struct json_visitor calls = {.visit = visit_call, .enter = enter_call};

/* ---- a message ---- */

enum message_key { KEY_ROLE, KEY_CONTENT, KEY_TOOL_CALLS, KEY_NAME, KEY_TOOL_CALL_ID, KEY_OTHER };

static const struct dyn_slice message_keys[KEY_OTHER] = {
    [KEY_ROLE] = DYN_SLICE_INIT("role"),
    [KEY_CONTENT] = DYN_SLICE_INIT("content"),
    [KEY_TOOL_CALLS] = DYN_SLICE_INIT("tool_calls"),
    [KEY_NAME] = DYN_SLICE_INIT("name"),
    [KEY_TOOL_CALL_ID] = DYN_SLICE_INIT("tool_call_id"),
};

static enum message_key
message_key(const struct json_member *member)
{
    unsigned key = KEY_ROLE;
    while (key < KEY_OTHER && !reading_key_is(member, message_keys[key])) {
        key++;
    }
    return (enum message_key)key;
}

static int
check_role(struct reading *r, struct json_value role)
{
    static const struct dyn_slice roles[] = {
        DYN_SLICE_INIT("user"), DYN_SLICE_INIT("assistant"), DYN_SLICE_INIT("system"),
        DYN_SLICE_INIT("tool"), DYN_SLICE_INIT("developer"), DYN_SLICE_INIT("function"),
    };
    if (role.type != JSON_STRING) {
        return reading_refuse(r, "must be a string", "messages[%zu].role", r->message);
    }
    struct dyn_slice plain = json_string_plain(role);
    for (size_t i = 0; i < DYN_ARRAY_LEN(roles); i++) {
        bool is_same =
            plain.data != NULL ? dyn_slice_eq(plain, roles[i]) : json_string_is(role, roles[i].data);
        if (is_same) {
            return GO_ON;
        }
    }
    return reading_refuse(r, "must be one of 'system', 'developer', 'user', 'assistant', 'tool', 'function'",
                          "messages[%zu].role", r->message);
}

/* Contents and calls that are arrays were visited already. */
static int
check_message_member(struct reading *r, enum message_key key, struct json_value value)
{
    const char *what = NULL;
    switch (key) {
    case KEY_ROLE:
        return check_role(r, value);
    case KEY_CONTENT:
        what = "must be a string, an array of parts, or null";
        return is_string_or_null(value) || value.type == JSON_ARRAY
                   ? GO_ON
                   : reading_refuse(r, what, "messages[%zu].content", r->message);
    case KEY_TOOL_CALLS:
        return value.type == JSON_ARRAY || value.type == JSON_NULL
                   ? GO_ON
                   : reading_refuse(r, "must be an array", "messages[%zu].tool_calls", r->message);
    case KEY_NAME:
    case KEY_TOOL_CALL_ID:
        return is_string_or_null(value) ? GO_ON
                                        : reading_refuse(r, "must be a string", "messages[%zu].%s",
                                                         r->message, message_keys[key].data);
    case KEY_OTHER:
        break;
    }
    return GO_ON;
}

static const struct json_visitor *
enter_message_member(void *self, const struct json_member *member)
{
    struct reading *r = self;
    if (member->value.type != JSON_ARRAY) {
        return NULL;
    }
    if (reading_key_is(member, message_keys[KEY_CONTENT])) {
        r->part = 0;
        return &parts;
    }
    r->call = 0;
    return reading_key_is(member, message_keys[KEY_TOOL_CALLS]) ? &calls : NULL;
}

static int
visit_message_member(void *self, const struct json_member *member)
{
    struct reading *r = self;
    enum message_key key = message_key(member);
    if (key != KEY_OTHER && !see(&r->message_seen, 1u << key)) {
        return reading_refuse(r, "is given twice", "messages[%zu].%s", r->message, message_keys[key].data);
    }
    return check_message_member(r, key, member->value);
}

static const struct json_visitor message_members = {.visit = visit_message_member,
                                                    .enter = enter_message_member};

static const struct json_visitor *
enter_message(void *self, const struct json_member *message)
{
    struct reading *r = self;
    r->message_seen = 0;
    return message->value.type == JSON_OBJECT ? &message_members : NULL;
}

static int
visit_message(void *self, const struct json_member *message)
{
    struct reading *r = self;
    if (message->value.type != JSON_OBJECT) {
        return reading_refuse(r, "must be an object", "messages[%zu]", r->message);
    }
    if (!(r->message_seen & 1u << KEY_ROLE)) {
        return reading_refuse(r, "is missing", "messages[%zu].role", r->message);
    }
    r->message++;
    return GO_ON;
}

const struct json_visitor reading_messages = {.visit = visit_message, .enter = enter_message};

/* ---- tools ---- */

static int
visit_tool_member(void *self, const struct json_member *member)
{
    struct reading *r = self;
    if (reading_key_is(member, DYN_SLICE("type")) && !is_string_or_null(member->value)) {
        return reading_refuse(r, "must be a string", "tools[%zu].type", r->tool);
    }
    if (reading_key_is(member, DYN_SLICE("function")) && member->value.type != JSON_OBJECT &&
        member->value.type != JSON_NULL) {
        return reading_refuse(r, "must be an object", "tools[%zu].function", r->tool);
    }
    return GO_ON;
}

static const struct json_visitor tool_members = {.visit = visit_tool_member};

static const struct json_visitor *
enter_tool(void *self, const struct json_member *tool)
{
    (void)self;
    return tool->value.type == JSON_OBJECT ? &tool_members : NULL;
}

/* Some providers take a tool without a type for a function. */
static int
visit_tool(void *self, const struct json_member *tool)
{
    struct reading *r = self;
    if (tool->value.type != JSON_OBJECT) {
        return reading_refuse(r, "must be an object", "tools[%zu]", r->tool);
    }
    r->tool++;
    return GO_ON;
}

const struct json_visitor reading_tools = {.visit = visit_tool, .enter = enter_tool};
