/* Texts of the events of an OpenAI chat stream, and events written again. An event mostly has one piece of
 * text of one choice; everything else that it may hold stays as it is. */
#include "proto/dialects/openai_chat_texts.h"

#include "proto/dialects/chat.h"
#include "proto/dialects/upstream_json.h"

#include <stdlib.h>

/* Text of a choice that stands elsewhere than in `content` or `reasoning_content` has channels of its own, by
 * the number that tool calls have theirs by. */
enum { CHANNEL_TRANSCRIPT = 1, CHANNEL_BLOCKS = 1, CHANNEL_DETAILS = 2 };

struct reading_texts {
    struct dialect_texts_state *state;
    struct dialect_event_texts *seen;
    uint32_t choice;
    bool is_finished;
    bool has_more; /* than text that goes on */
    bool is_full;  /* more pieces than there is room for */
};

/* ---- reading ---- */

static bool
is_something(struct json_value value)
{
    return value.type != JSON_NULL && value.type != JSON_FALSE &&
           !(value.type == JSON_STRING && value.raw.len <= 2);
}

static bool
is_container(struct json_value value)
{
    return value.type == JSON_OBJECT || value.type == JSON_ARRAY;
}

static void
add_piece(struct reading_texts *r, enum vote_text_kind kind, uint32_t tool, struct json_value value)
{
    struct dialect_event_texts *seen = r->seen;
    bool is_text = (value.type == JSON_STRING && value.raw.len > 2) ||
                   (is_container(value) && kind == VOTE_TEXT_TOOL_ARGUMENTS);
    if (!is_text) {
        return;
    }
    if (seen->n == DIALECT_PIECES_MAX) {
        r->is_full = true;
        return;
    }
    seen->pieces[seen->n++] = (struct dialect_piece){{r->choice, kind, tool}, value};
}

static void
read_function(struct reading_texts *r, struct json_value function, uint32_t tool)
{
    struct json_iter members = json_iter(function);
    for (struct json_member member; function.type == JSON_OBJECT && json_iter_next(&members, &member);) {
        if (json_key_is(&member, "name")) {
            add_piece(r, VOTE_TEXT_NAME, tool, member.value);
        } else if (json_key_is(&member, "arguments") || json_key_is(&member, "input")) {
            add_piece(r, VOTE_TEXT_TOOL_ARGUMENTS, tool, member.value);
        }
    }
}

/* A piece without a number belongs to the last call, unless it has an id: then it begins one. */
static uint32_t
number_of_call(struct reading_texts *r, struct json_value call)
{
    int64_t index;
    struct json_value said;
    struct json_value id;
    uint32_t *n_tools = &r->state->n_tools;
    if (json_find(call, "index", &said) && json_int64(said, &index) == 0 && index >= 0 &&
        index < UINT32_MAX) {
        *n_tools = (uint32_t)index + 1 > *n_tools ? (uint32_t)index + 1 : *n_tools;
        return (uint32_t)index;
    }
    bool begins = json_find(call, "id", &id) && is_something(id);
    if (*n_tools == 0 || begins) {
        *n_tools += *n_tools < UINT32_MAX;
    }
    return *n_tools - 1;
}

static void
read_calls(struct reading_texts *r, struct json_value calls)
{
    struct json_iter items = json_iter(calls);
    for (struct json_member item; calls.type == JSON_ARRAY && json_iter_next(&items, &item);) {
        uint32_t tool = number_of_call(r, item.value);
        struct json_iter members = json_iter(item.value);
        for (struct json_member member; json_iter_next(&members, &member);) {
            if (json_key_is(&member, "function") || json_key_is(&member, "custom")) {
                read_function(r, member.value, tool);
            } else if (!json_key_is(&member, "index") && is_something(member.value)) {
                r->has_more = true;
            }
        }
    }
}

static void read_content(struct reading_texts *r, enum vote_text_kind kind, struct json_value content);

static void
read_part(struct reading_texts *r, enum vote_text_kind kind, struct json_value part)
{
    struct json_iter members = json_iter(part);
    for (struct json_member member; part.type == JSON_OBJECT && json_iter_next(&members, &member);) {
        if (json_key_is(&member, "text") || json_key_is(&member, "summary")) {
            add_piece(r, kind, 0, member.value);
        } else if (json_key_is(&member, "thinking") && kind == VOTE_TEXT) {
            read_content(r, VOTE_TEXT_REASONING, member.value);
        }
    }
}

/* A string, or a part, or parts, of which some may be thoughts. */
static void
read_content(struct reading_texts *r, enum vote_text_kind kind, struct json_value content)
{
    struct json_iter items = json_iter(content);
    add_piece(r, kind, 0, content);
    read_part(r, kind, content);
    for (struct json_member item; content.type == JSON_ARRAY && json_iter_next(&items, &item);) {
        read_part(r, kind, item.value);
    }
}

/* The text of each item of a list under one of the two keys, in a channel of its own. */
static void
read_items(struct reading_texts *r, uint32_t channel, struct json_value list, const char *key,
           const char *other)
{
    struct json_iter items = json_iter(list);
    r->has_more = r->has_more || is_something(list);
    for (struct json_member item; list.type == JSON_ARRAY && json_iter_next(&items, &item);) {
        struct json_iter members = json_iter(item.value);
        for (struct json_member member; json_iter_next(&members, &member);) {
            if (json_key_is(&member, key) || json_key_is(&member, other)) {
                add_piece(r, VOTE_TEXT_REASONING, channel, member.value);
            }
        }
    }
}

static void
read_audio(struct reading_texts *r, struct json_value audio)
{
    struct json_iter members = json_iter(audio);
    r->has_more = r->has_more || is_something(audio);
    for (struct json_member member; audio.type == JSON_OBJECT && json_iter_next(&members, &member);) {
        if (json_key_is(&member, "transcript")) {
            add_piece(r, VOTE_TEXT, CHANNEL_TRANSCRIPT, member.value);
        }
    }
}

static void
read_thoughts(struct reading_texts *r, const char *key, struct json_value value)
{
    if (is_something(value)) {
        r->state->reasoning = r->state->reasoning != NULL ? r->state->reasoning : key;
        read_content(r, VOTE_TEXT_REASONING, value);
    }
}

/* Some say with each event who speaks. */
static void
read_role(struct reading_texts *r)
{
    uint64_t bit = r->choice < 64 ? UINT64_C(1) << r->choice : 0;
    r->has_more = r->has_more || (r->state->with_role & bit) == 0;
    r->state->with_role |= bit;
}

static void
read_delta(struct reading_texts *r, struct json_walk members)
{
    for (struct json_member member; json_walk_next(&members, &member);) {
        struct json_value value = json_walk_value(&members, &member);
        if (json_key_is(&member, "content")) {
            read_content(r, VOTE_TEXT, value);
        } else if (json_key_is(&member, "refusal")) {
            add_piece(r, VOTE_TEXT_REFUSAL, 0, value);
        } else if (json_key_is(&member, "reasoning_content")) {
            read_thoughts(r, "reasoning_content", value);
        } else if (json_key_is(&member, "reasoning")) {
            read_thoughts(r, "reasoning", value);
        } else if (json_key_is(&member, "thinking")) {
            read_thoughts(r, "thinking", value);
        } else if (json_key_is(&member, "thinking_blocks")) {
            read_items(r, CHANNEL_BLOCKS, value, "thinking", "thinking");
        } else if (json_key_is(&member, "reasoning_details")) {
            read_items(r, CHANNEL_DETAILS, value, "text", "summary");
        } else if (json_key_is(&member, "audio")) {
            read_audio(r, value);
        } else if (json_key_is(&member, "tool_calls")) {
            read_calls(r, value);
        } else if (json_key_is(&member, "function_call")) {
            read_function(r, value, 0);
            r->has_more = true;
        } else if (json_key_is(&member, "role")) {
            read_role(r);
        } else if (is_something(value)) {
            r->has_more = true;
        }
    }
}

static void
read_choice(struct reading_texts *r, struct json_walk members)
{
    int64_t index = 0;
    struct json_value said;
    if (json_walk_peek(&members, "index", &said)) {
        (void)json_int64(said, &index);
    }
    r->choice = index >= 0 && index <= UINT32_MAX ? (uint32_t)index : 0;
    for (struct json_member member; json_walk_next(&members, &member);) {
        bool is_delta = json_key_is(&member, "delta") || json_key_is(&member, "message");
        if (is_delta && member.value.type == JSON_OBJECT) {
            read_delta(r, json_walk_into(&members, &member));
        } else if (json_key_is(&member, "text")) {
            add_piece(r, VOTE_TEXT, 0, json_walk_value(&members, &member));
        } else if (json_key_is(&member, "finish_reason")) {
            r->is_finished = r->is_finished || is_something(member.value);
        } else if (json_key_is(&member, "logprobs") && is_something(member.value)) {
            r->is_full = r->is_full || r->seen->n_repeats == DIALECT_REPEATS_MAX;
            if (!r->is_full) {
                r->seen->repeats[r->seen->n_repeats++] = json_walk_value(&members, &member);
            }
        }
    }
}

static const char *const head_keys[] = {"id", "object", "created", "model", "system_fingerprint"};

/* Members of an event's object beside its choices, as one pass finds them. Of a repeated key the first
 * counts; absent: `raw.data` is NULL. */
struct event_head {
    struct json_value values[DYN_ARRAY_LEN(head_keys)];
    struct json_value error;
};

static void
take_head(struct event_head *head, struct json_walk *members, struct json_member *member)
{
    struct json_value *value = json_key_is(member, "error") ? &head->error : NULL;
    for (size_t i = 0; i < DYN_ARRAY_LEN(head_keys) && value == NULL; i++) {
        value = json_key_is(member, head_keys[i]) ? &head->values[i] : NULL;
    }
    if (value != NULL && value->raw.data == NULL) {
        *value = json_walk_value(members, member);
    }
}

static void
keep_head(struct dialect_texts_state *state, const struct event_head *found)
{
    struct dyn_buf *head = &state->head;
    if (head->len > 0) {
        return;
    }
    dyn_buf_add_char(head, '{');
    for (size_t i = 0; i < DYN_ARRAY_LEN(head_keys); i++) {
        if (found->values[i].raw.data != NULL) {
            chat_put_raw(head, head_keys[i], found->values[i].raw);
        }
    }
    chat_put_key(head, "choices");
    dyn_buf_add_char(head, '[');
}

static void
read_object(struct reading_texts *r, struct json_value object)
{
    struct dialect_event_texts *seen = r->seen;
    struct event_head head = {.error = {.type = JSON_NULL}};
    size_t n_choices = 0;
    struct json_walk members = json_walk(object);
    for (struct json_member member; json_walk_next(&members, &member);) {
        if (!json_key_is(&member, "choices")) {
            take_head(&head, &members, &member);
        } else if (member.value.type == JSON_ARRAY) {
            struct json_walk choices = json_walk_into(&members, &member);
            for (struct json_member choice; json_walk_next(&choices, &choice); n_choices++) {
                read_choice(r, json_walk_into(&choices, &choice));
            }
        }
    }
    seen->scope = n_choices != 1 ? DIALECT_EVENT_ALL : DIALECT_EVENT_PIECES;
    seen->is_error = head.error.raw.data != NULL && is_something(head.error);
    if (n_choices == 1 && r->is_finished) {
        seen->scope = DIALECT_EVENT_CHOICE;
    }
    seen->scope = seen->is_error ? DIALECT_EVENT_ALL : seen->scope;
    seen->is_only_text = seen->scope == DIALECT_EVENT_PIECES && seen->n > 0 && !r->has_more;
    seen->choice = r->choice;
    if (n_choices > 0) {
        keep_head(r->state, &head);
    }
}

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

/* ---- events like one before ---- */

enum { SHAPE_MAX_BYTES = 1024 };

/* Of kinds whose channel does not depend on what came in between. Whatever the state learns of such an event
 * it has learned of the first one. */
static void
keep_shape(struct dialect_texts_state *state, struct dyn_slice data, const struct dialect_event_texts *seen)
{
    const struct dialect_piece *piece = &seen->pieces[0];
    if (!seen->is_only_text || seen->n != 1 || seen->n_repeats > 0 || piece->value.type != JSON_STRING ||
        (piece->channel.kind != VOTE_TEXT && piece->channel.kind != VOTE_TEXT_REASONING) ||
        data.len - piece->value.raw.len > SHAPE_MAX_BYTES) {
        return;
    }
    const char *behind = piece->value.raw.data + piece->value.raw.len;
    state->shape_before = (size_t)(piece->value.raw.data - data.data);
    state->shape_channel = piece->channel;
    dyn_buf_clear(&state->shape);
    dyn_buf_add(&state->shape, data.data, state->shape_before);
    dyn_buf_add(&state->shape, behind, (size_t)(data.data + data.len - behind));
}

/* Whether the event was read so. What stands between the two parts has to be a string that is not empty. */
static bool
has_shape(const struct dialect_texts_state *state, struct dyn_slice data, struct dialect_event_texts *seen)
{
    const struct dyn_buf *shape = &state->shape;
    if (shape->len == 0 || data.len <= shape->len + 2) {
        return false;
    }
    size_t before = state->shape_before;
    struct dyn_slice text = {data.data + before, data.len - shape->len};
    if (memcmp(data.data, shape->data, before) != 0 ||
        memcmp(text.data + text.len, shape->data + before, shape->len - before) != 0 ||
        !json_scan_string(text)) {
        return false;
    }
    seen->scope = DIALECT_EVENT_PIECES;
    seen->choice = state->shape_channel.choice;
    seen->is_only_text = true;
    seen->n = 1;
    seen->pieces[0] = (struct dialect_piece){state->shape_channel, {JSON_STRING, text}};
    return true;
}

/* Values point into a copy of the data: the same places of the data itself are meant. */
static void
move_values(struct dialect_event_texts *seen, const char *copy, const char *data)
{
    for (size_t i = 0; i < seen->n; i++) {
        struct dyn_slice *raw = &seen->pieces[i].value.raw;
        raw->data = data + (raw->data - copy);
    }
    for (size_t i = 0; i < seen->n_repeats; i++) {
        struct dyn_slice *raw = &seen->repeats[i].raw;
        raw->data = data + (raw->data - copy);
    }
}

int
openai_chat_event_texts(struct dialect_texts_state *state, const struct sse_event *event,
                        struct dialect_event_texts *seen)
{
    struct dyn_slice data = trim(event->data);
    struct reading_texts r = {.state = state, .seen = seen};
    struct json_value object;
    char *copy;
    seen->scope = DIALECT_EVENT_ALL;
    seen->choice = 0;
    seen->is_end = dyn_slice_is(data, "[DONE]");
    seen->is_error = dyn_slice_is(event->type, "error");
    seen->is_silent = data.len == 0 && !seen->is_error;
    seen->is_only_text = false;
    seen->n = seen->n_repeats = 0;
    if (seen->is_end || seen->is_error || seen->is_silent || has_shape(state, data, seen)) {
        return 0;
    }
    if (upstream_json_scan(data, &object, &copy) != 0) {
        return -1;
    }
    read_object(&r, object);
    if (copy != NULL) {
        move_values(seen, copy, data.data);
        free(copy);
    } else if (!r.is_full) {
        keep_shape(state, data, seen);
    }
    return r.is_full ? -1 : 0;
}

/* ---- writing ---- */

/* The next of pieces and repeats in the order of the data; NULL: there is none. */
static const struct json_value *
next_value(const struct dialect_event_texts *seen, size_t *piece, size_t *repeat, bool *is_piece)
{
    const struct json_value *a = *piece < seen->n ? &seen->pieces[*piece].value : NULL;
    const struct json_value *b = *repeat < seen->n_repeats ? &seen->repeats[*repeat] : NULL;
    *is_piece = a != NULL && (b == NULL || a->raw.data < b->raw.data);
    if (*is_piece) {
        (*piece)++;
        return a;
    }
    *repeat += b != NULL;
    return b;
}

void
openai_chat_event_rewrite(const struct sse_event *event, const struct dialect_event_texts *seen,
                          const struct dyn_slice *texts, struct dyn_buf *out)
{
    struct dyn_buf data = DYN_BUF_INIT;
    const char *at = event->data.data;
    const char *end = at + event->data.len;
    size_t piece = 0;
    size_t repeat = 0;
    bool is_piece;
    for (const struct json_value *value; (value = next_value(seen, &piece, &repeat, &is_piece)) != NULL;) {
        dyn_buf_add(&data, at, (size_t)(value->raw.data - at));
        if (is_piece) {
            dyn_buf_add_json_string(&data, texts[piece - 1]);
        } else {
            dyn_buf_add_str(&data, "null");
        }
        at = value->raw.data + value->raw.len;
    }
    dyn_buf_add(&data, at, (size_t)(end - at));
    sse_write_event(out, event->type, dyn_buf_slice(&data));
    dyn_buf_fini(&data);
}

static void
begin_choice(const struct dialect_texts_state *state, uint32_t choice, struct dyn_buf *out)
{
    dyn_buf_add_str(out, "data: ");
    if (state->head.len > 0) {
        dyn_buf_add_slice(out, dyn_buf_slice(&state->head));
    } else {
        dyn_buf_add_str(out, "{\"object\":\"chat.completion.chunk\",\"choices\":[");
    }
    dyn_buf_add_str(out, "{\"index\":");
    dyn_buf_add_uint(out, choice);
    dyn_buf_add_str(out, ",\"delta\":{");
}

static void
put_string(struct dyn_buf *out, const char *key, struct dyn_slice text)
{
    dyn_buf_addf(out, "\"%s\":", key);
    dyn_buf_add_json_string(out, text);
}

void
openai_chat_event_write_piece(const struct dialect_texts_state *state, struct vote_channel channel,
                              struct dyn_slice text, struct dyn_buf *out)
{
    bool is_name = channel.kind == VOTE_TEXT_NAME;
    begin_choice(state, channel.choice, out);
    if (is_name || channel.kind == VOTE_TEXT_TOOL_ARGUMENTS) {
        dyn_buf_addf(out, "\"tool_calls\":[{\"index\":%u,\"function\":{", channel.tool);
        put_string(out, is_name ? "name" : "arguments", text);
        dyn_buf_add_str(out, "}}]");
    } else if (channel.kind == VOTE_TEXT_REASONING && channel.tool == CHANNEL_BLOCKS) {
        dyn_buf_add_str(out, "\"thinking_blocks\":[{\"type\":\"thinking\",");
        put_string(out, "thinking", text);
        dyn_buf_add_str(out, "}]");
    } else if (channel.kind == VOTE_TEXT_REASONING && channel.tool == CHANNEL_DETAILS) {
        dyn_buf_add_str(out, "\"reasoning_details\":[{\"type\":\"reasoning.text\",");
        put_string(out, "text", text);
        dyn_buf_add_str(out, "}]");
    } else if (channel.kind == VOTE_TEXT && channel.tool == CHANNEL_TRANSCRIPT) {
        dyn_buf_add_str(out, "\"audio\":{");
        put_string(out, "transcript", text);
        dyn_buf_add_char(out, '}');
    } else if (channel.kind == VOTE_TEXT_REASONING) {
        put_string(out, state->reasoning != NULL ? state->reasoning : "reasoning_content", text);
    } else {
        put_string(out, channel.kind == VOTE_TEXT_REFUSAL ? "refusal" : "content", text);
    }
    dyn_buf_add_str(out, "},\"finish_reason\":null}]}\n\n");
}

void
openai_chat_event_close(const struct dialect_texts_state *state, const uint32_t *choices, size_t n,
                        struct dyn_slice text, struct dyn_buf *out)
{
    for (size_t i = 0; i < n; i++) {
        begin_choice(state, choices[i], out);
        if (text.len > 0) {
            put_string(out, "content", text);
        }
        dyn_buf_add_str(out, "},\"finish_reason\":\"content_filter\"}]}\n\n");
    }
    dyn_buf_add_str(out, "data: [DONE]\n\n");
}
