/* Plain answers of the OpenAI chat dialect, read into the record of chat.h and written from it. Thoughts,
 * which OpenAI's own API keeps to itself, stand where other servers of this dialect put them
 * (`reasoning_content`), and once more with what their provider signed them with (`thinking_blocks`): a
 * client that sends the message back as it came lets the model go on with them. */
#include "proto/dialects/openai_chat_codec.h"

#include "proto/dialects/openai_usage.h"
#include "proto/dialects/upstream_json.h"

/* ---- usage, reasons ---- */

void
openai_chat_put_usage(struct dyn_buf *out, const struct env_usage *usage)
{
    dyn_buf_add_slice(out, DYN_SLICE("{\"prompt_tokens\":"));
    dyn_buf_add_uint(out, usage->prompt_tokens);
    dyn_buf_add_slice(out, DYN_SLICE(",\"completion_tokens\":"));
    dyn_buf_add_uint(out, usage->completion_tokens);
    dyn_buf_add_slice(out, DYN_SLICE(",\"total_tokens\":"));
    dyn_buf_add_uint(out, usage->total_tokens);
    dyn_buf_add_slice(out, DYN_SLICE(",\"prompt_tokens_details\":{\"cached_tokens\":"));
    dyn_buf_add_uint(out, usage->cached_tokens);
    dyn_buf_add_slice(out, DYN_SLICE("},\"completion_tokens_details\":{\"reasoning_tokens\":"));
    dyn_buf_add_uint(out, usage->reasoning_tokens);
    dyn_buf_add_char(out, '}');
    if (usage->cache_write_tokens > 0) {
        chat_put_key(out, "cache_write_tokens");
        dyn_buf_add_uint(out, usage->cache_write_tokens);
    }
    if (usage->cache_write_1h_tokens > 0) {
        chat_put_key(out, "cache_write_1h_tokens");
        dyn_buf_add_uint(out, usage->cache_write_1h_tokens);
    }
    if (usage->searches > 0) {
        chat_put_key(out, "num_search_queries");
        dyn_buf_add_uint(out, usage->searches);
    }
    dyn_buf_add_char(out, '}');
}

static const struct {
    const char *word;
    enum chat_finish finish;
} reasons[] = {
    {"stop", CHAT_FINISH_STOP}, /* the first of each kind is the one that is written */
    {"length", CHAT_FINISH_LENGTH},
    {"tool_calls", CHAT_FINISH_CALLS},
    {"content_filter", CHAT_FINISH_FILTER},
    {"function_call", CHAT_FINISH_CALLS},
};

enum chat_finish
openai_chat_finish(struct json_value reason)
{
    if (reason.raw.data == NULL || reason.type != JSON_STRING || !chat_has_text(reason.raw)) {
        return CHAT_FINISH_NONE;
    }
    for (size_t i = 0; i < DYN_ARRAY_LEN(reasons); i++) {
        if (json_string_is(reason, reasons[i].word)) {
            return reasons[i].finish;
        }
    }
    return CHAT_FINISH_STOP;
}

const char *
openai_chat_finish_word(enum chat_finish finish)
{
    for (size_t i = 0; i < DYN_ARRAY_LEN(reasons); i++) {
        if (reasons[i].finish == finish) {
            return reasons[i].word;
        }
    }
    return "stop";
}

/* ---- reading ---- */

static void
read_texts(struct json_value content, struct arena *arena, struct chat_parts *parts)
{
    if (content.type == JSON_STRING && chat_has_text(content.raw)) {
        chat_part_add(parts, arena, CHAT_TEXT)->text = content.raw;
    }
    struct json_iter items = json_iter(content);
    for (struct json_member item; json_iter_next(&items, &item);) {
        struct dyn_slice text = chat_member(item.value, "text", JSON_STRING);
        if (chat_has_text(text)) {
            chat_part_add(parts, arena, CHAT_TEXT)->text = text;
        }
    }
}

static void
read_thoughts(struct json_value message, struct arena *arena, struct chat_parts *parts)
{
    struct json_value blocks = chat_find(message, "thinking_blocks");
    struct json_iter items = json_iter(blocks);
    for (struct json_member item; json_iter_next(&items, &item);) {
        struct dyn_slice hidden = chat_member(item.value, "data", JSON_STRING);
        bool is_hidden = hidden.data != NULL;
        struct dyn_slice text = chat_member(item.value, "thinking", JSON_STRING);
        struct chat_part *part = chat_part_add(parts, arena, is_hidden ? CHAT_REDACTED : CHAT_THINKING);
        part->data = hidden;
        part->text = text.data != NULL || is_hidden ? text : DYN_SLICE("\"\"");
        part->signature = chat_member(item.value, "signature", JSON_STRING);
    }
    struct dyn_slice text = chat_member(message, "reasoning_content", JSON_STRING);
    text = text.data != NULL ? text : chat_member(message, "reasoning", JSON_STRING);
    if (parts->first == NULL && chat_has_text(text)) {
        chat_part_add(parts, arena, CHAT_THINKING)->text = text;
    }
}

/* Some servers give arguments as an object. */
static void
read_calls(struct json_value calls, struct arena *arena, struct chat_parts *parts)
{
    struct json_iter items = json_iter(calls);
    for (struct json_member item; json_iter_next(&items, &item);) {
        struct json_value function = chat_find(item.value, "function");
        struct json_value arguments = chat_find(function, "arguments");
        struct json_value object = {JSON_NULL, {NULL, 0}};
        struct dyn_slice id = chat_member(item.value, "id", JSON_STRING);
        struct dyn_slice name = chat_member(function, "name", JSON_STRING);
        struct chat_part *part = chat_part_add(parts, arena, CHAT_CALL);
        part->id = id.data != NULL ? id : DYN_SLICE("\"\"");
        part->name = name.data != NULL ? name : DYN_SLICE("\"\"");
        part->arguments = arguments.type == JSON_STRING ? chat_decode(arguments.raw, arena) : arguments.raw;
        part->is_json =
            part->arguments.len > 0 && upstream_json_scan_in(part->arguments, arena, &object) == 0;
        part->arguments = part->is_json ? object.raw : part->arguments;
    }
}

int
openai_chat_answer_in(struct dyn_slice body, struct arena *arena, struct chat_answer *answer)
{
    struct json_value object;
    struct json_member choice;
    *answer = (struct chat_answer){.finish = CHAT_FINISH_NONE};
    if (upstream_json_scan_in(body, arena, &object) != 0) {
        return -1;
    }
    struct json_iter choices = json_iter(chat_find(object, "choices"));
    if (!json_iter_next(&choices, &choice)) {
        return -1;
    }
    struct json_value message = chat_find(choice.value, "message");
    struct dyn_slice refusal = chat_member(message, "refusal", JSON_STRING);
    read_thoughts(message, arena, &answer->parts);
    read_texts(chat_find(message, "content"), arena, &answer->parts);
    if (chat_has_text(refusal)) {
        chat_part_add(&answer->parts, arena, CHAT_REFUSAL)->text = refusal;
    }
    read_calls(chat_find(message, "tool_calls"), arena, &answer->parts);
    answer->id = chat_member(object, "id", JSON_STRING);
    answer->model = chat_member(object, "model", JSON_STRING);
    answer->created_s = chat_count(object, "created");
    answer->finish = openai_chat_finish(chat_find(choice.value, "finish_reason"));
    (void)openai_usage_read(chat_find(object, "usage"), &answer->usage);
    openai_service_take(chat_find(object, "service_tier"), &answer->usage);
    return 0;
}

/* ---- writing ---- */

/* All texts of that kind as one, under `key`; nothing when there is none. */
static bool
put_joined(const struct chat_answer *answer, enum chat_part_kind kind, const char *key, struct dyn_buf *out)
{
    bool is_open = false;
    for (const struct chat_part *part = answer->parts.first; part != NULL; part = part->next) {
        if (part->kind != kind || !chat_has_text(part->text)) {
            continue;
        }
        if (!is_open) {
            chat_put_key(out, key);
            dyn_buf_add_char(out, '"');
            is_open = true;
        }
        dyn_buf_add(out, part->text.data + 1, part->text.len - 2);
    }
    if (is_open) {
        dyn_buf_add_char(out, '"');
    }
    return is_open;
}

static void
put_thoughts(const struct chat_answer *answer, struct dyn_buf *out)
{
    bool is_open = false;
    (void)put_joined(answer, CHAT_THINKING, "reasoning_content", out);
    for (const struct chat_part *part = answer->parts.first; part != NULL; part = part->next) {
        bool is_signed = part->kind == CHAT_THINKING && part->signature.data != NULL;
        if (!is_signed && part->kind != CHAT_REDACTED) {
            continue;
        }
        if (!is_open) {
            chat_put_key(out, "thinking_blocks");
            dyn_buf_add_char(out, '[');
            is_open = true;
        }
        chat_put_item(out);
        dyn_buf_addf(out, "{\"type\":\"%s\"", is_signed ? "thinking" : "redacted_thinking");
        chat_put_raw(out, is_signed ? "thinking" : "data", is_signed ? part->text : part->data);
        chat_put_raw(out, "signature", part->signature);
        dyn_buf_add_char(out, '}');
    }
    if (is_open) {
        dyn_buf_add_char(out, ']');
    }
}

static bool
put_calls(const struct chat_answer *answer, struct dyn_buf *out)
{
    bool is_open = false;
    for (const struct chat_part *part = answer->parts.first; part != NULL; part = part->next) {
        if (part->kind != CHAT_CALL) {
            continue;
        }
        if (!is_open) {
            chat_put_key(out, "tool_calls");
            dyn_buf_add_char(out, '[');
            is_open = true;
        }
        chat_put_item(out);
        dyn_buf_add_char(out, '{');
        chat_put_raw(out, "id", part->id);
        dyn_buf_add_slice(out, DYN_SLICE(",\"type\":\"function\",\"function\":{"));
        chat_put_raw(out, "name", part->name);
        chat_put_key(out, "arguments");
        dyn_buf_add_json_string(out, part->arguments);
        dyn_buf_add_slice(out, DYN_SLICE("}}"));
    }
    if (is_open) {
        dyn_buf_add_char(out, ']');
    }
    return is_open;
}

static bool
has_kind(const struct chat_answer *answer, enum chat_part_kind kind)
{
    for (const struct chat_part *part = answer->parts.first; part != NULL; part = part->next) {
        if (part->kind == kind && (kind == CHAT_CALL || chat_has_text(part->text))) {
            return true;
        }
    }
    return false;
}

static void
put_message(const struct chat_answer *answer, struct dyn_buf *out)
{
    dyn_buf_add_slice(out, DYN_SLICE("{\"role\":\"assistant\""));
    if (!put_joined(answer, CHAT_TEXT, "content", out)) {
        bool has_else = has_kind(answer, CHAT_CALL) || has_kind(answer, CHAT_REFUSAL);
        chat_put_raw(out, "content", has_else ? DYN_SLICE("null") : DYN_SLICE("\"\""));
    }
    if (!put_joined(answer, CHAT_REFUSAL, "refusal", out)) {
        chat_put_raw(out, "refusal", DYN_SLICE("null"));
    }
    put_thoughts(answer, out);
    (void)put_calls(answer, out);
    dyn_buf_add_char(out, '}');
}

void
openai_chat_answer_out(const struct chat_answer *answer, struct dyn_buf *out)
{
    dyn_buf_add_char(out, '{');
    chat_put_raw(out, "id", answer->id);
    chat_put_raw(out, "object", DYN_SLICE("\"chat.completion\""));
    chat_put_key(out, "created");
    dyn_buf_add_uint(out, answer->created_s);
    chat_put_raw(out, "model", answer->model);
    dyn_buf_add_slice(out, DYN_SLICE(",\"choices\":[{\"index\":0,\"message\":"));
    put_message(answer, out);
    dyn_buf_addf(out, ",\"logprobs\":null,\"finish_reason\":\"%s\"}]",
                 openai_chat_finish_word(answer->finish));
    if (answer->usage.known) {
        chat_put_key(out, "usage");
        openai_chat_put_usage(out, &answer->usage);
    }
    dyn_buf_add_char(out, '}');
}
