/* Events of an OpenAI chat stream: what each one means to the gateway. Forwarding them is others' work.
 *
 * Runs once per chunk of every stream, so the ordinary event (text or a piece of a tool call, no usage,
 * no error, not finished) is recognised by looking for a few words and never scanned as JSON. All words
 * that could make an event anything else are looked for; whatever is not plainly ordinary is scanned
 * and walked. A quote inside a string is escaped, so a word with its two quotes is a key or a whole
 * value, never a part of the text. */
#include "proto/dialects/openai_chat.h"

#include "proto/dialects/openai_usage.h"
#include "proto/dialects/upstream_json.h"

#include <stdlib.h>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

static bool
is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static struct dyn_slice
trim(struct dyn_slice text)
{
    while (text.len > 0 && is_space(text.data[0])) {
        text.data++;
        text.len--;
    }
    while (text.len > 0 && is_space(text.data[text.len - 1])) {
        text.len--;
    }
    return text;
}

/* Takes a literal off the front. */
static bool
eat(struct dyn_slice *text, struct dyn_slice literal)
{
    if (text->len < literal.len || memcmp(text->data, literal.data, literal.len) != 0) {
        return false;
    }
    text->data += literal.len;
    text->len -= literal.len;
    return true;
}

/* Whether what stands behind a key is null, or no value at all because the key was a string. */
static bool
is_null_or_no_key(struct dyn_slice rest)
{
    rest = trim(rest);
    if (!eat(&rest, DYN_SLICE(":"))) {
        return true;
    }
    rest = trim(rest);
    return eat(&rest, DYN_SLICE("null"));
}

/* A delta, seen from behind its key, that certainly carries something. */
static bool
is_plain_delta(struct dyn_slice rest)
{
    static const struct dyn_slice texts[] = {
        DYN_SLICE_INIT("\"content\":\""),
        DYN_SLICE_INIT("\"reasoning_content\":\""),
        DYN_SLICE_INIT("\"reasoning\":\""),
    };
    if (!eat(&rest, DYN_SLICE(":{"))) {
        return false;
    }
    (void)eat(&rest, DYN_SLICE("\"role\":\"assistant\","));
    for (size_t i = 0; i < DYN_ARRAY_LEN(texts); i++) {
        if (eat(&rest, texts[i])) {
            return rest.len > 0 && rest.data[0] != '"';
        }
    }
    return eat(&rest, DYN_SLICE("\"tool_calls\":[{"));
}

/* The words that matter, in their quotes, have two lengths only. */
enum { SHORT_WORD = sizeof "\"usage\"" - 1, LONG_WORD = sizeof "\"finish_reason\"" - 1 };

#if defined(__SSE2__)
/* Sixteen places at a time, up to where a long word would still end inside. */
static const char *
skip_to_quotes(const char *at, const char *end)
{
    const __m128i quote = _mm_set1_epi8('"');
    for (; end - at >= 16 + LONG_WORD; at += 16) {
        __m128i opening = _mm_loadu_si128((const __m128i *)(const void *)at);
        __m128i short_end = _mm_loadu_si128((const __m128i *)(const void *)(at + SHORT_WORD - 1));
        __m128i long_end = _mm_loadu_si128((const __m128i *)(const void *)(at + LONG_WORD - 1));
        __m128i closing = _mm_or_si128(_mm_cmpeq_epi8(short_end, quote), _mm_cmpeq_epi8(long_end, quote));
        int found = _mm_movemask_epi8(_mm_and_si128(_mm_cmpeq_epi8(opening, quote), closing));
        if (found != 0) {
            return at + __builtin_ctz((unsigned)found);
        }
    }
    return at;
}
#else
static const char *
skip_to_quotes(const char *at, const char *end)
{
    const char *quote = memchr(at, '"', (size_t)(end - at));
    return quote != NULL ? quote : end;
}
#endif

enum word { WORD_OTHER, WORD_DELTA, WORD_USAGE, WORD_ERROR, WORD_FINISH };

static enum word
word_at(const char *at, const char *end)
{
    if (*at != '"' || end - at < SHORT_WORD) {
        return WORD_OTHER;
    }
    if (at[SHORT_WORD - 1] == '"') {
        return memcmp(at + 1, "delta", 5) == 0   ? WORD_DELTA
               : memcmp(at + 1, "usage", 5) == 0 ? WORD_USAGE
               : memcmp(at + 1, "error", 5) == 0 ? WORD_ERROR
                                                 : WORD_OTHER;
    }
    return end - at >= LONG_WORD && memcmp(at, "\"finish_reason\"", LONG_WORD) == 0 ? WORD_FINISH
                                                                                    : WORD_OTHER;
}

/* true: an ordinary event, nothing more to find out. */
static bool
is_ordinary(struct dyn_slice data)
{
    const char *end = data.data + data.len;
    bool has_delta = false;
    for (const char *at = data.data; (at = skip_to_quotes(at, end)) < end; at++) {
        enum word word = word_at(at, end);
        if (word == WORD_OTHER) {
            continue;
        }
        const char *behind = at + (word == WORD_FINISH ? LONG_WORD : SHORT_WORD);
        struct dyn_slice rest = {behind, (size_t)(end - behind)};
        if (word == WORD_DELTA) {
            if (has_delta || !is_plain_delta(rest)) {
                return false;
            }
            has_delta = true;
        } else if (!is_null_or_no_key(rest)) {
            return false;
        }
    }
    return has_delta;
}

/* Whether a value says something: not null, false, empty. What a client library takes for true. */
static bool
is_something(struct json_value value)
{
    struct json_iter items;
    struct json_member item;
    switch (value.type) {
    case JSON_NULL:
    case JSON_FALSE:
        return false;
    case JSON_STRING:
        return value.raw.len > 2;
    case JSON_ARRAY:
    case JSON_OBJECT:
        items = json_iter(value);
        return json_iter_next(&items, &item);
    case JSON_TRUE:
    case JSON_NUMBER:
        break;
    }
    return true;
}

static struct dyn_slice
inside_quotes(struct json_value string)
{
    return dyn_slice(string.raw.data + 1, string.raw.len - 2);
}

/* An error is an object with a message, or a bare string. */
static void
take_error(struct dialect_event *seen, struct json_value error)
{
    struct json_value message = error;
    if (!is_something(error)) {
        return;
    }
    seen->error = true;
    if (seen->error_message.data == NULL &&
        (error.type == JSON_STRING ||
         (json_find(error, "message", &message) && message.type == JSON_STRING))) {
        seen->error_message = inside_quotes(message);
    }
}

static void
take_usage(struct dialect_event *seen, struct json_value usage)
{
    if (!seen->usage.known) {
        (void)openai_usage_read(usage, &seen->usage);
    }
}

static void
take_finish(struct dialect_event *seen, struct json_value reason)
{
    if (json_string_is(reason, "error")) {
        seen->error = true;
    } else if (is_something(reason)) {
        seen->finished = true;
        seen->content = true; /* an answer without a word is an answer */
    }
}

static void
take_delta(struct dialect_event *seen, struct json_value delta)
{
    struct json_iter members = json_iter(delta);
    for (struct json_member member; json_iter_next(&members, &member);) {
        if (!json_key_is(&member, "role") && is_something(member.value)) {
            seen->content = true;
        }
    }
}

static void
take_choice(struct dialect_event *seen, struct json_value choice)
{
    struct json_iter members = json_iter(choice);
    for (struct json_member member; json_iter_next(&members, &member);) {
        if (json_key_is(&member, "delta") || json_key_is(&member, "message")) {
            take_delta(seen, member.value);
        } else if (json_key_is(&member, "finish_reason")) {
            take_finish(seen, member.value);
        } else if (json_key_is(&member, "usage")) {
            take_usage(seen, member.value);
        } else if (json_key_is(&member, "error")) {
            take_error(seen, member.value);
        } else if (json_key_is(&member, "text") && is_something(member.value)) {
            seen->content = true;
        }
    }
}

static void
take_choices(struct dialect_event *seen, struct json_value choices)
{
    struct json_iter items = json_iter(choices);
    for (struct json_member item; json_iter_next(&items, &item);) {
        take_choice(seen, item.value);
    }
}

/* {"x_groq":{"usage":..}} and {"x_groq":{"error":".."}} */
static void
take_vendor(struct dialect_event *seen, struct json_value vendor)
{
    struct json_value found;
    if (json_find(vendor, "usage", &found)) {
        take_usage(seen, found);
    }
    if (json_find(vendor, "error", &found)) {
        take_error(seen, found);
    }
}

/* Errors without an `error` member: {"object":"error","message":..}, {"type":"error",..}, {"detail":..}. */
static void
take_bare_error(struct dialect_event *seen, struct json_value object)
{
    struct json_value found;
    struct json_value message;
    bool is_marked = (json_find(object, "object", &found) && json_string_is(found, "error")) ||
                     (json_find(object, "type", &found) && json_string_is(found, "error"));
    bool has_detail = json_find(object, "detail", &message) && is_something(message);
    if (is_marked || has_detail) {
        seen->error = true;
        if ((has_detail || json_find(object, "message", &message)) && message.type == JSON_STRING) {
            seen->error_message = inside_quotes(message);
        }
    }
}

static void
take_object(struct dialect_event *seen, struct json_value object)
{
    struct json_value choices = {.type = JSON_NULL};
    struct json_value tier = {.type = JSON_NULL};
    struct json_iter members = json_iter(object);
    for (struct json_member member; json_iter_next(&members, &member);) {
        if (json_key_is(&member, "choices")) {
            choices = member.value;
        } else if (json_key_is(&member, "usage")) {
            take_usage(seen, member.value);
        } else if (json_key_is(&member, "error")) {
            take_error(seen, member.value);
        } else if (json_key_is(&member, "x_groq")) {
            take_vendor(seen, member.value);
        } else if (json_key_is(&member, "service_tier")) {
            tier = member.value;
        }
    }
    if (choices.type != JSON_ARRAY && !seen->error) {
        take_bare_error(seen, object);
    }
    seen->usage_only =
        choices.type == JSON_ARRAY && !is_something(choices) && seen->usage.known && !seen->error;
    take_choices(seen, choices);
    openai_service_take(tier, &seen->usage);
}

/* `event: error` is an error whatever its data look like; mostly they are an error of some form. */
static void
take_error_event(struct dialect_event *seen, struct json_value object)
{
    struct json_value message;
    seen->error = true;
    seen->usage_only = false;
    if (seen->error_message.data == NULL && json_find(object, "message", &message) &&
        message.type == JSON_STRING) {
        seen->error_message = inside_quotes(message);
    }
}

static int
read_thoroughly(struct dyn_slice data, bool is_error_event, struct dialect_event *seen)
{
    struct json_value object;
    char *copy;
    if (upstream_json_scan(data, &object, &copy) != 0) {
        seen->error = is_error_event;
        return is_error_event ? 0 : -1;
    }
    take_object(seen, object);
    if (is_error_event) {
        take_error_event(seen, object);
    }
    if (copy != NULL && seen->error_message.data != NULL) {
        seen->error_message.data = data.data + (seen->error_message.data - copy);
    }
    free(copy);
    return 0;
}

void
dialect_read_tier(struct dyn_slice data, struct env_usage *usage)
{
    static const char name[] = "\"service_tier\"";
    struct json_value object;
    struct json_value tier;
    bool may_say = memmem(data.data, data.len, name, sizeof name - 1) != NULL;
    if (may_say && json_scan(trim(data), JSON_DEPTH_DEFAULT, &object, NULL) == 0 &&
        object.type == JSON_OBJECT && json_find(object, "service_tier", &tier)) {
        openai_service_take(tier, usage);
    }
}

int
openai_chat_read_event(const struct sse_event *event, struct dialect_event *seen)
{
    struct dyn_slice data = trim(event->data);
    *seen = (struct dialect_event){.terminal = false};
    if (dyn_slice_is(event->type, "error")) {
        return read_thoroughly(data, true, seen);
    }
    if (data.len == 0) { /* comments, and heartbeats that are a data field without a value */
        return 0;
    }
    if (dyn_slice_is(data, "[DONE]")) {
        seen->terminal = true;
        return 0;
    }
    if (data.data[0] != '{' || data.data[data.len - 1] != '}') {
        return -1;
    }
    if (is_ordinary(data)) {
        seen->content = true;
        return 0;
    }
    return read_thoroughly(data, false, seen);
}
