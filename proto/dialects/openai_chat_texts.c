/* Texts of OpenAI chat requests and plain answers. A message looks the same in both. Nothing is decoded here.
 * What an API of this dialect calls a part of a message but is unknown to us counts as something that cannot
 * be read. */
#include "proto/dialects/openai_chat_texts.h"

#include "core/text.h"
#include "proto/dialects/chat.h"
#include "proto/dialects/upstream_json.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

/* As long as an edit's pointer may be (edits.h): what lies deeper has no name, and counts as unreadable. */
enum { POINTER_MAX = 1024 };

struct walk {
    dialect_text_fn fn;
    void *self;
    struct dyn_slice role;
    uint32_t choice;
    bool is_uninspectable;
    bool is_request;  /* of answers only what is said is told, not what else providers write */
    bool tells_names; /* of members, too */
    size_t prefix;    /* bytes of `at` that stay */
    char at[POINTER_MAX];
};

static void
begin(struct walk *w, dialect_text_fn fn, void *self, struct dyn_slice role)
{
    w->fn = fn;
    w->self = self;
    w->role = role;
    w->choice = 0;
    w->is_uninspectable = false;
    w->is_request = w->tells_names = false;
    w->prefix = 0;
}

static size_t
put(struct walk *w, size_t len, const char *text, size_t text_len)
{
    memcpy(w->at + len, text, text_len);
    return len + text_len;
}

/* Of the string that `len` bytes of the pointer name. */
static void
tell_at(struct walk *w, enum vote_text_kind kind, struct json_value value, size_t len)
{
    struct dialect_text text = {
        .role = w->role, .kind = kind, .choice = w->choice, .at = {w->at, len}, .value = value};
    w->fn(w->self, &text);
}

/* Tells of the value when it is a string: it stands at `prefix` and the rest of the pointer. */
static void DYN_PRINTF(4, 5)
    tell(struct walk *w, enum vote_text_kind kind, struct json_value value, const char *rest, ...)
{
    if (value.type != JSON_STRING) {
        return;
    }
    va_list args;
    va_start(args, rest);
    int len = vsnprintf(w->at + w->prefix, sizeof w->at - w->prefix, rest, args);
    va_end(args);
    tell_at(w, kind, value, w->prefix + (size_t)len);
}

/* The same for a pointer that needs no format; most do not. */
static void
tell_plain(struct walk *w, enum vote_text_kind kind, struct json_value value, const char *rest)
{
    if (value.type == JSON_STRING) {
        tell_at(w, kind, value, put(w, w->prefix, rest, strlen(rest)));
    }
}

/* `before`, a number, `behind`; all short. Returns the length with them. */
static size_t
put_numbered(struct walk *w, size_t len, const char *before, size_t number, const char *behind)
{
    char digits[DYN_UINT_TEXT_MAX];
    len = put(w, len, before, strlen(before));
    len = put(w, len, digits, dyn_uint_text(digits, number));
    return put(w, len, behind, strlen(behind));
}

static void
tell_numbered(struct walk *w, enum vote_text_kind kind, struct json_value value, const char *before,
              size_t number, const char *behind)
{
    if (value.type == JSON_STRING) {
        tell_at(w, kind, value, put_numbered(w, w->prefix, before, number, behind));
    }
}

static void
enter(struct walk *w, const char *before, size_t number, const char *behind)
{
    w->prefix = put_numbered(w, 0, before, number, behind);
}

static void
enter_at(struct walk *w, const char *prefix)
{
    w->prefix = put(w, 0, prefix, strlen(prefix));
}

/* ---- all strings of a value, however deep, and names ---- */

/* A list's number, or a member's name, behind what stands there. 0: there is no room. */
static size_t
append_number(struct walk *w, size_t len, size_t number)
{
    int more = snprintf(w->at + len, sizeof w->at - len, "/%zu", number);
    return len + (size_t)more < sizeof w->at ? len + (size_t)more : 0;
}

static size_t
append_name(struct walk *w, size_t len, const struct json_member *member)
{
    struct json_value quoted = {JSON_STRING, dyn_slice(member->key.data - 1, member->key.len + 2)};
    struct dyn_buf room = DYN_BUF_INIT;
    struct dyn_slice name = dialect_text_decode(quoted, &room);
    bool fits = len + 2 * name.len + 1 < sizeof w->at; /* each of its bytes may take two */
    if (fits) {
        w->at[len++] = '/';
    }
    for (size_t i = 0; i < name.len && fits; i++) {
        char c = name.data[i];
        bool is_special = c == '~' || c == '/';
        if (is_special) {
            w->at[len++] = '~';
        }
        w->at[len++] = c == '~' ? '0' : c == '/' ? '1' : c;
    }
    dyn_buf_fini(&room);
    return fits ? len : 0;
}

/* What JSON Schema and the API say themselves (2020-12, and what providers add to it). */
static bool
is_schema_word(const struct json_member *member)
{
    static const char *const words[] = {
        "type",
        "properties",
        "required",
        "description",
        "items",
        "enum",
        "additionalProperties",
        "title",
        "default",
        "format",
        "anyOf",
        "oneOf",
        "allOf",
        "not",
        "const",
        "examples",
        "example",
        "minimum",
        "maximum",
        "minLength",
        "maxLength",
        "minItems",
        "maxItems",
        "pattern",
        "nullable",
        "strict",
        "name",
        "parameters",
        "schema",
        "$ref",
        "$defs",
        "$schema",
        "$id",
        "$comment",
        "definitions",
        "if",
        "then",
        "else",
        "prefixItems",
        "uniqueItems",
        "multipleOf",
        "exclusiveMinimum",
        "exclusiveMaximum",
        "minProperties",
        "maxProperties",
        "propertyNames",
        "patternProperties",
        "dependentRequired",
        "dependentSchemas",
        "contains",
        "minContains",
        "maxContains",
        "contentEncoding",
        "contentMediaType",
        "readOnly",
        "writeOnly",
        "deprecated",
        "unevaluatedProperties",
        "unevaluatedItems",
        "text",
        "content",
        "function",
        "custom",
        "syntax",
        "definition",
        "grammar",
    };
    for (size_t i = 0; i < DYN_ARRAY_LEN(words) && !member->key_is_escaped; i++) {
        if (dyn_slice_is(member->key, words[i])) {
            return true;
        }
    }
    return false;
}

/* `len` bytes of `at` name the member. */
static void
tell_name(struct walk *w, const struct json_member *member, size_t len)
{
    if (w->tells_names && len > 0 && member->key.len > 0 && !is_schema_word(member)) {
        struct json_value name = {JSON_STRING, dyn_slice(member->key.data - 1, member->key.len + 2)};
        tell_at(w, VOTE_TEXT_MEMBER_NAME, name, len);
    }
}

/* `len` bytes of `at` name the value. As deep as a body may nest, which its scan bounds. */
static void
walk_strings(struct walk *w, struct json_value value, size_t len)
{
    struct json_iter items = json_iter(value);
    struct json_member item;
    if (len == 0) {
        w->is_uninspectable = true;
        return;
    }
    if (value.type == JSON_STRING) {
        struct dialect_text text = {
            .role = w->role, .kind = VOTE_TEXT, .choice = w->choice, .at = {w->at, len}, .value = value};
        w->fn(w->self, &text);
        return;
    }
    for (size_t i = 0; json_iter_next(&items, &item); i++) {
        bool is_named = value.type == JSON_OBJECT;
        size_t inner = is_named ? append_name(w, len, &item) : append_number(w, len, i);
        if (is_named) {
            tell_name(w, &item, inner);
        }
        walk_strings(w, item.value, inner);
    }
}

/* All strings, and names of members, of what stands at `prefix` and the rest of the pointer. */
static void DYN_PRINTF(3, 4) tell_all(struct walk *w, struct json_value value, const char *rest, ...)
{
    va_list args;
    va_start(args, rest);
    int len = vsnprintf(w->at + w->prefix, sizeof w->at - w->prefix, rest, args);
    va_end(args);
    walk_strings(w, value, w->prefix + (size_t)len);
}

/* A member that this dialect does not know goes to the provider as it is, and nobody knows who reads it. The
 * first `len` bytes of `at` name what it is a member of. */
static void
walk_unknown(struct walk *w, const struct json_member *member, size_t len)
{
    bool may_say = member->value.type >= JSON_STRING; /* or has what may */
    size_t inner = may_say ? append_name(w, len, member) : 0;
    if (may_say) {
        tell_name(w, member, inner);
        walk_strings(w, member->value, inner);
    }
}

/* ---- a message ---- */

static enum vote_text_kind
text_kind(const struct walk *w)
{
    bool is_result = dyn_slice_is(w->role, "tool") || dyn_slice_is(w->role, "function");
    return is_result ? VOTE_TEXT_TOOL_RESULT : VOTE_TEXT;
}

static void
walk_image(struct walk *w, struct json_value image, size_t part)
{
    struct json_iter members = json_iter(image);
    w->is_uninspectable = true;
    tell_numbered(w, VOTE_TEXT_IMAGE_URL, image, "/content/", part, "/image_url");
    for (struct json_member member; image.type == JSON_OBJECT && json_iter_next(&members, &member);) {
        if (json_key_is(&member, "url")) {
            tell_numbered(w, VOTE_TEXT_IMAGE_URL, member.value, "/content/", part, "/image_url/url");
        }
    }
}

/* [{"type":"text","text":".."}] as some servers give thoughts */
static void
walk_thinking(struct walk *w, struct json_value value, size_t part)
{
    struct json_iter items = json_iter(value);
    struct json_member item;
    tell_numbered(w, VOTE_TEXT_REASONING, value, "/content/", part, "/thinking");
    for (size_t i = 0; value.type == JSON_ARRAY && json_iter_next(&items, &item); i++) {
        struct json_iter members = json_iter(item.value);
        for (struct json_member member; json_iter_next(&members, &member);) {
            if (json_key_is(&member, "text")) {
                tell(w, VOTE_TEXT_REASONING, member.value, "/content/%zu/thinking/%zu/text", part, i);
            }
        }
    }
}

/* Of a file its name is read, of sound nothing; what is unknown may be anything. */
static void
walk_data(struct walk *w, const struct json_member *member, size_t len)
{
    struct json_iter members = json_iter(member->value);
    if (!json_key_is(member, "file") && !json_key_is(member, "input_audio")) {
        walk_unknown(w, member, len);
        return;
    }
    len = append_name(w, len, member);
    for (struct json_member inner; member->value.type == JSON_OBJECT && json_iter_next(&members, &inner);) {
        if (json_key_is(&inner, "filename") && inner.value.type == JSON_STRING) {
            tell_at(w, VOTE_TEXT_NAME, inner.value, append_name(w, len, &inner));
        }
    }
}

/* A walk of its members; `part` itself when it is a string. */
static void
walk_part(struct walk *w, struct json_walk *members, struct json_value part, size_t index)
{
    bool is_text = false;
    tell_numbered(w, text_kind(w), part, "/content/", index, "");
    for (struct json_member member; part.type == JSON_OBJECT && json_walk_next(members, &member);) {
        (void)json_walk_value(members, &member);
        if (json_key_is(&member, "type")) {
            is_text = json_string_is(member.value, "text") || json_string_is(member.value, "refusal") ||
                      json_string_is(member.value, "thinking");
        } else if (json_key_is(&member, "text")) {
            tell_numbered(w, text_kind(w), member.value, "/content/", index, "/text");
        } else if (json_key_is(&member, "refusal")) {
            tell_numbered(w, VOTE_TEXT_REFUSAL, member.value, "/content/", index, "/refusal");
        } else if (json_key_is(&member, "thinking")) {
            walk_thinking(w, member.value, index);
        } else if (json_key_is(&member, "image_url")) {
            walk_image(w, member.value, index);
        } else if (w->is_request) {
            walk_data(w, &member, put_numbered(w, w->prefix, "/content/", index, ""));
        }
    }
    w->is_uninspectable = w->is_uninspectable || (part.type == JSON_OBJECT && !is_text);
}

static void
walk_content(struct walk *w, struct json_walk *message, struct json_member *content)
{
    struct json_member item;
    tell_plain(w, text_kind(w), content->value, "/content");
    if (content->value.type == JSON_OBJECT) {
        tell_all(w, json_walk_value(message, content), "/content");
        return;
    }
    struct json_walk items = json_walk_into(message, content);
    for (size_t i = 0; json_walk_next(&items, &item); i++) {
        struct json_walk members = json_walk_into(&items, &item);
        walk_part(w, &members, item.value, i);
    }
}

/* JSON in a string; some servers give the object itself. */
static void
walk_arguments(struct walk *w, struct json_value arguments, const char *where, const char *key)
{
    tell(w, VOTE_TEXT_TOOL_ARGUMENTS, arguments, "%s/%s", where, key);
    if (arguments.type == JSON_OBJECT || arguments.type == JSON_ARRAY) {
        w->tells_names = true;
        tell_all(w, arguments, "%s/%s", where, key);
        w->tells_names = w->is_request;
    }
}

/* `where`: what stands before the member's key in the pointer. */
static void
walk_function(struct walk *w, struct json_value function, const char *where)
{
    struct json_iter members = json_iter(function);
    for (struct json_member member; function.type == JSON_OBJECT && json_iter_next(&members, &member);) {
        if (json_key_is(&member, "name")) {
            tell(w, VOTE_TEXT_NAME, member.value, "%s/name", where);
        } else if (json_key_is(&member, "arguments")) {
            walk_arguments(w, member.value, where, "arguments");
        } else if (json_key_is(&member, "input")) { /* of a custom tool */
            walk_arguments(w, member.value, where, "input");
        }
    }
}

static void
walk_calls(struct walk *w, struct json_value calls)
{
    struct json_iter items = json_iter(calls);
    struct json_member item;
    for (size_t i = 0; calls.type == JSON_ARRAY && json_iter_next(&items, &item); i++) {
        char where[64];
        struct json_iter members = json_iter(item.value);
        for (struct json_member member; json_iter_next(&members, &member);) {
            bool is_custom = json_key_is(&member, "custom");
            if (is_custom || json_key_is(&member, "function")) {
                (void)snprintf(where, sizeof where, "/tool_calls/%zu/%s", i,
                               is_custom ? "custom" : "function");
                walk_function(w, member.value, where);
            }
        }
    }
}

static void
walk_audio(struct walk *w, struct json_value audio)
{
    struct json_iter members = json_iter(audio);
    for (struct json_member member; audio.type == JSON_OBJECT && json_iter_next(&members, &member);) {
        w->is_uninspectable = true;
        if (json_key_is(&member, "transcript")) {
            tell_plain(w, VOTE_TEXT, member.value, "/audio/transcript");
        }
    }
}

static void
walk_thinking_blocks(struct walk *w, struct json_value blocks)
{
    struct json_iter items = json_iter(blocks);
    struct json_member item;
    for (size_t i = 0; blocks.type == JSON_ARRAY && json_iter_next(&items, &item); i++) {
        struct json_iter members = json_iter(item.value);
        for (struct json_member member; json_iter_next(&members, &member);) {
            if (json_key_is(&member, "thinking")) {
                tell_numbered(w, VOTE_TEXT_REASONING, member.value, "/thinking_blocks/", i, "/thinking");
            }
        }
    }
}

/* [{"type":"reasoning.text","text":..},{"type":"reasoning.summary","summary":..}] */
static void
walk_details(struct walk *w, struct json_value details)
{
    struct json_iter items = json_iter(details);
    struct json_member item;
    for (size_t i = 0; details.type == JSON_ARRAY && json_iter_next(&items, &item); i++) {
        struct json_iter members = json_iter(item.value);
        for (struct json_member member; json_iter_next(&members, &member);) {
            if (json_key_is(&member, "text")) {
                tell_numbered(w, VOTE_TEXT_REASONING, member.value, "/reasoning_details/", i, "/text");
            } else if (json_key_is(&member, "summary")) {
                tell_numbered(w, VOTE_TEXT_REASONING, member.value, "/reasoning_details/", i, "/summary");
            }
        }
    }
}

static void
walk_thoughts(struct walk *w, const char *key, struct json_value thoughts)
{
    tell(w, VOTE_TEXT_REASONING, thoughts, "/%s", key);
    if (thoughts.type == JSON_OBJECT || thoughts.type == JSON_ARRAY) {
        tell_all(w, thoughts, "/%s", key);
    }
}

static void
walk_other_member(struct walk *w, const struct json_member *member)
{
    struct json_value value = member->value;
    if (json_key_is(member, "name")) {
        tell_plain(w, VOTE_TEXT_NAME, value, "/name");
    } else if (json_key_is(member, "tool_calls")) {
        walk_calls(w, value);
    } else if (json_key_is(member, "function_call")) {
        walk_function(w, value, "/function_call");
    } else if (json_key_is(member, "refusal")) {
        tell_plain(w, VOTE_TEXT_REFUSAL, value, "/refusal");
    } else if (json_key_is(member, "reasoning_content")) {
        walk_thoughts(w, "reasoning_content", value);
    } else if (json_key_is(member, "reasoning")) {
        walk_thoughts(w, "reasoning", value);
    } else if (json_key_is(member, "thinking")) {
        walk_thoughts(w, "thinking", value);
    } else if (json_key_is(member, "reasoning_details")) {
        walk_details(w, value);
    } else if (json_key_is(member, "thinking_blocks")) {
        walk_thinking_blocks(w, value);
    } else if (json_key_is(member, "audio")) {
        walk_audio(w, value);
    } else if (json_key_is(member, "images")) {
        w->is_uninspectable = true;
    } else if (w->is_request && !json_key_is(member, "tool_call_id")) {
        walk_unknown(w, member, w->prefix);
    }
}

static void
walk_message(struct walk *w, struct json_walk *members)
{
    for (struct json_member member; json_walk_next(members, &member);) {
        if (json_key_is(&member, "content")) {
            walk_content(w, members, &member);
        } else if (!json_key_is(&member, "role")) {
            (void)json_walk_value(members, &member);
            walk_other_member(w, &member);
        }
    }
}

/* ---- requests ---- */

/* Escaped or unknown ones are nobody's. */
static struct dyn_slice
role_of(const struct json_walk *message)
{
    static const struct dyn_slice roles[] = {DYN_SLICE_INIT("user"),      DYN_SLICE_INIT("assistant"),
                                             DYN_SLICE_INIT("system"),    DYN_SLICE_INIT("tool"),
                                             DYN_SLICE_INIT("developer"), DYN_SLICE_INIT("function")};
    struct json_value role;
    if (!json_walk_peek(message, "role", &role)) {
        return roles[0];
    }
    struct dyn_slice plain = json_string_plain(role);
    for (size_t i = 0; i < DYN_ARRAY_LEN(roles); i++) {
        if (plain.data != NULL ? dyn_slice_eq(plain, roles[i]) : json_string_is(role, roles[i].data)) {
            return roles[i];
        }
    }
    return roles[0];
}

static void
walk_messages(struct walk *w, struct json_walk *messages)
{
    struct json_member item;
    for (size_t i = 0; json_walk_next(messages, &item); i++) {
        struct json_walk members = json_walk_into(messages, &item);
        enter(w, "/messages/", i, "");
        w->role = role_of(&members);
        walk_message(w, &members);
    }
}

/* What the model is told of a function is read by it like any other text, schema and all. The pointer's
 * prefix names the function. */
static void
walk_description(struct walk *w, struct json_value function)
{
    struct json_iter members = json_iter(function);
    for (struct json_member member; function.type == JSON_OBJECT && json_iter_next(&members, &member);) {
        if (json_key_is(&member, "name")) {
            tell_plain(w, VOTE_TEXT_NAME, member.value, "/name");
        } else {
            size_t len = append_name(w, w->prefix, &member);
            tell_name(w, &member, len);
            walk_strings(w, member.value, len);
        }
    }
}

static void
walk_tools(struct walk *w, struct json_value tools)
{
    struct json_iter items = json_iter(tools);
    struct json_member item;
    for (size_t i = 0; tools.type == JSON_ARRAY && json_iter_next(&items, &item); i++) {
        struct json_iter members = json_iter(item.value);
        for (struct json_member member; json_iter_next(&members, &member);) {
            bool is_custom = json_key_is(&member, "custom");
            if (is_custom || json_key_is(&member, "function")) {
                enter(w, "/tools/", i, is_custom ? "/custom" : "/function");
                walk_description(w, member.value);
            } else if (!json_key_is(&member, "type")) { /* of a tool in the form of another API */
                enter(w, "/tools/", i, "");
                walk_unknown(w, &member, w->prefix);
            }
        }
    }
}

static void
walk_functions(struct walk *w, struct json_value functions)
{
    struct json_iter items = json_iter(functions);
    struct json_member item;
    for (size_t i = 0; functions.type == JSON_ARRAY && json_iter_next(&items, &item); i++) {
        enter(w, "/functions/", i, "");
        walk_description(w, item.value);
    }
}

/* Members whose words no model reads: they say how to answer, to whom it is billed, or when to stop. */
static bool
is_silent(const struct json_member *member)
{
    static const char *const names[] = {
        "model",
        "user",
        "metadata",
        "stop",
        "stream",
        "stream_options",
        "service_tier",
        "store",
        "safety_identifier",
        "prompt_cache_key",
        "prompt_cache_retention",
        "reasoning_effort",
        "verbosity",
        "modalities",
        "audio",
        "logit_bias",
        "parallel_tool_calls",
        "tool_choice",
        "function_call",
        "response_format",
        "prediction",
    };
    for (size_t i = 0; i < DYN_ARRAY_LEN(names); i++) {
        if (dyn_slice_is(member->key, names[i])) {
            return true;
        }
    }
    return json_key_is(member, "model");
}

static void
walk_names(struct walk *w, struct json_value value, size_t len)
{
    struct json_iter items = json_iter(value);
    struct json_member item;
    for (size_t i = 0; json_iter_next(&items, &item) && len > 0; i++) {
        bool is_named = value.type == JSON_OBJECT;
        size_t inner = is_named ? append_name(w, len, &item) : append_number(w, len, i);
        if (is_named && json_key_is(&item, "name") && item.value.type == JSON_STRING && inner > 0) {
            tell_at(w, VOTE_TEXT_NAME, item.value, inner);
        } else {
            walk_names(w, item.value, inner);
        }
    }
}

/* Which of the tools: a name, or a list of those that are allowed. */
static void
walk_choice_of_tools(struct walk *w, const struct json_member *member)
{
    struct json_value value = member->value;
    size_t len = append_name(w, 0, member);
    if (value.type == JSON_OBJECT && len > 0) {
        walk_names(w, value, len);
    }
}

/* The schema of an answer, and text that it is predicted to have. */
static void
walk_other(struct walk *w, const struct json_member *member)
{
    struct json_value value;
    if (json_key_is(member, "tool_choice") || json_key_is(member, "function_call")) {
        walk_choice_of_tools(w, member);
    } else if (json_key_is(member, "response_format") && json_find(member->value, "json_schema", &value)) {
        enter_at(w, "/response_format/json_schema");
        walk_description(w, value);
    } else if (json_key_is(member, "prediction") && json_find(member->value, "content", &value)) {
        enter_at(w, "/prediction");
        w->role = DYN_SLICE("assistant");
        tell_all(w, value, "/content");
        w->role = DYN_SLICE("system");
    } else if (!is_silent(member)) {
        walk_unknown(w, member, 0);
    }
}

static bool
read_request(struct dyn_slice body, const struct json_places *places, dialect_text_fn fn, void *self)
{
    struct walk w;
    struct json_walk members = json_walk_places(places, chat_object(body));
    begin(&w, fn, self, DYN_SLICE("system"));
    w.is_request = w.tells_names = true;
    for (struct json_member member; json_walk_next(&members, &member);) {
        if (json_key_is(&member, "messages") && member.value.type == JSON_ARRAY) {
            struct json_walk messages = json_walk_into(&members, &member);
            walk_messages(&w, &messages);
            w.role = DYN_SLICE("system");
            continue;
        }
        (void)json_walk_value(&members, &member);
        if (json_key_is(&member, "tools")) {
            walk_tools(&w, member.value);
        } else if (json_key_is(&member, "functions")) {
            walk_functions(&w, member.value);
        } else {
            walk_other(&w, &member);
        }
    }
    return w.is_uninspectable;
}

/* ---- plain answers ---- */

static void
walk_choice(struct walk *w, struct json_walk *members, size_t index)
{
    int64_t number;
    struct json_value said;
    w->choice = (uint32_t)index;
    if (json_walk_peek(members, "index", &said) && json_int64(said, &number) == 0 && number >= 0 &&
        number <= UINT32_MAX) {
        w->choice = (uint32_t)number;
    }
    for (struct json_member member; json_walk_next(members, &member);) {
        if (json_key_is(&member, "message")) {
            struct json_walk message = json_walk_into(members, &member);
            enter(w, "/choices/", index, "/message");
            walk_message(w, &message);
        } else if (json_key_is(&member, "text")) {
            enter(w, "/choices/", index, "");
            tell_plain(w, VOTE_TEXT, member.value, "/text");
        }
    }
}

static int
read_answer(struct dyn_slice body, bool is_scanned, dialect_text_fn fn, void *self)
{
    struct walk w;
    struct json_value object = is_scanned ? chat_object(body) : (struct json_value){.type = JSON_NULL};
    char *copy = NULL;
    if (!is_scanned && upstream_json_scan(body, &object, &copy) != 0) {
        return -1;
    }
    struct json_walk members = json_walk(object);
    begin(&w, fn, self, DYN_SLICE("assistant"));
    for (struct json_member member; json_walk_next(&members, &member);) {
        struct json_member choice;
        if (!json_key_is(&member, "choices") || member.value.type != JSON_ARRAY) {
            continue;
        }
        struct json_walk choices = json_walk_into(&members, &member);
        for (size_t i = 0; json_walk_next(&choices, &choice); i++) {
            struct json_walk inside = json_walk_into(&choices, &choice);
            walk_choice(&w, &inside, i);
        }
        if (is_scanned) { /* read_answer says 1 to what has a member twice */
            break;
        }
    }
    free(copy);
    return w.is_uninspectable;
}

const struct dialect_texts openai_chat_texts = {
    .request = read_request,
    .answer = read_answer,
    .event = openai_chat_event_texts,
    .rewrite = openai_chat_event_rewrite,
    .write = openai_chat_event_write_piece,
    .close = openai_chat_event_close,
};
