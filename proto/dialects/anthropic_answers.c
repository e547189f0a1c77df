/* Plain answers of the Messages API, both ways, and what answers and streams have in common: usage and the
 * reasons why a model stopped. `input_tokens` leaves out what was read from and written to the cache; our
 * prompt_tokens has what was read in it, as everywhere (env.h). */
#include "proto/dialects/anthropic_codec.h"

#include "proto/dialects/openai_usage.h"
#include "proto/dialects/upstream_json.h"

#include <inttypes.h>

/* ---- usage ---- */

/* Largest count believed, so that no sum of them overflows; a double holds every integer up to it. */
#define COUNT_MAX (UINT64_C(1) << 53)

static void
take_count(struct json_value object, const char *key, uint64_t *count)
{
    struct json_value found = chat_find(object, key);
    if (found.raw.data != NULL && found.type == JSON_NUMBER) {
        uint64_t said = chat_count(object, key);
        *count = said < COUNT_MAX ? said : COUNT_MAX;
    }
}

/* What has another price than the list's: a faster kind of service, and one that keeps to a region. */
static void
take_service(struct json_value object, struct env_usage *usage)
{
    openai_service_take(chat_find(object, "service_tier"), usage);
    if (json_string_is(chat_find(object, "speed"), "fast") ||
        json_string_is(chat_find(object, "inference_geo"), "us")) {
        usage->service = ENV_SERVICE_OTHER;
    }
}

void
anthropic_usage_read(struct json_value object, struct env_usage *usage)
{
    uint64_t input = usage->prompt_tokens - usage->cached_tokens;
    struct json_value details = chat_find(object, "output_tokens_details");
    struct json_value kept = chat_find(object, "cache_creation");
    if (object.raw.data == NULL || object.type != JSON_OBJECT) {
        return;
    }
    take_count(object, "input_tokens", &input);
    take_count(object, "cache_read_input_tokens", &usage->cached_tokens);
    take_count(object, "cache_creation_input_tokens", &usage->cache_write_tokens);
    take_count(kept, "ephemeral_1h_input_tokens", &usage->cache_write_1h_tokens);
    take_count(chat_find(object, "server_tool_use"), "web_search_requests", &usage->searches);
    take_count(object, "output_tokens", &usage->completion_tokens);
    take_service(object, usage);
    take_count(details, "thinking_tokens", &usage->reasoning_tokens);
    usage->prompt_tokens = input + usage->cached_tokens;
    usage->total_tokens = usage->prompt_tokens + usage->completion_tokens;
    usage->known = usage->total_tokens > 0;
}

void
anthropic_put_usage(struct dyn_buf *out, const struct env_usage *usage)
{
    uint64_t cached =
        usage->cached_tokens < usage->prompt_tokens ? usage->cached_tokens : usage->prompt_tokens;
    dyn_buf_add_slice(out, DYN_SLICE("{\"input_tokens\":"));
    dyn_buf_add_uint(out, usage->prompt_tokens - cached);
    dyn_buf_add_slice(out, DYN_SLICE(",\"cache_creation_input_tokens\":"));
    dyn_buf_add_uint(out, usage->cache_write_tokens);
    dyn_buf_add_slice(out, DYN_SLICE(",\"cache_read_input_tokens\":"));
    dyn_buf_add_uint(out, cached);
    dyn_buf_add_slice(out, DYN_SLICE(",\"output_tokens\":"));
    dyn_buf_add_uint(out, usage->completion_tokens);
    if (usage->reasoning_tokens > 0) {
        dyn_buf_add_slice(out, DYN_SLICE(",\"output_tokens_details\":{\"thinking_tokens\":"));
        dyn_buf_add_uint(out, usage->reasoning_tokens);
        dyn_buf_add_char(out, '}');
    }
    if (usage->cache_write_1h_tokens > 0) {
        uint64_t hour = usage->cache_write_1h_tokens;
        uint64_t rest = usage->cache_write_tokens > hour ? usage->cache_write_tokens - hour : 0;
        dyn_buf_addf(out,
                     ",\"cache_creation\":{\"ephemeral_5m_input_tokens\":%" PRIu64
                     ",\"ephemeral_1h_input_tokens\":%" PRIu64 "}",
                     rest, hour);
    }
    if (usage->searches > 0) {
        dyn_buf_addf(out, ",\"server_tool_use\":{\"web_search_requests\":%" PRIu64 "}", usage->searches);
    }
    dyn_buf_add_char(out, '}');
}

/* ---- why it stopped ---- */

static const struct {
    const char *word;
    enum chat_finish finish;
} reasons[] = {
    {"end_turn", CHAT_FINISH_STOP}, /* the first of each kind is the one that is written */
    {"max_tokens", CHAT_FINISH_LENGTH}, {"tool_use", CHAT_FINISH_CALLS},
    {"refusal", CHAT_FINISH_FILTER},    {"stop_sequence", CHAT_FINISH_STOP},
    {"pause_turn", CHAT_FINISH_STOP},   {"model_context_window_exceeded", CHAT_FINISH_LENGTH},
};

enum chat_finish
anthropic_finish(struct json_value reason)
{
    if (reason.raw.data == NULL || reason.type != JSON_STRING) {
        return CHAT_FINISH_NONE;
    }
    for (size_t i = 0; i < DYN_ARRAY_LEN(reasons); i++) {
        if (json_string_is(reason, reasons[i].word)) {
            return reasons[i].finish;
        }
    }
    return CHAT_FINISH_STOP; /* a newer word: the answer is over, whatever it means */
}

const char *
anthropic_finish_word(enum chat_finish finish)
{
    for (size_t i = 0; i < DYN_ARRAY_LEN(reasons); i++) {
        if (reasons[i].finish == finish) {
            return reasons[i].word;
        }
    }
    return "end_turn";
}

/* ---- reading ---- */

static void
read_block(struct json_value block, struct arena *arena, struct chat_answer *answer)
{
    struct json_value type = chat_find(block, "type");
    struct dyn_slice nothing = DYN_SLICE("\"\"");
    struct chat_part *part;
    if (json_string_is(type, "text")) {
        struct dyn_slice text = chat_member(block, "text", JSON_STRING);
        if (chat_has_text(text)) {
            chat_part_add(&answer->parts, arena, CHAT_TEXT)->text = text;
        }
    } else if (json_string_is(type, "thinking")) {
        part = chat_part_add(&answer->parts, arena, CHAT_THINKING);
        part->text = chat_member(block, "thinking", JSON_STRING);
        part->signature = chat_member(block, "signature", JSON_STRING);
        part->text = part->text.data != NULL ? part->text : nothing;
    } else if (json_string_is(type, "redacted_thinking")) {
        part = chat_part_add(&answer->parts, arena, CHAT_REDACTED);
        part->data = chat_member(block, "data", JSON_STRING);
    } else if (json_string_is(type, "tool_use")) {
        struct dyn_slice id = chat_member(block, "id", JSON_STRING);
        struct dyn_slice name = chat_member(block, "name", JSON_STRING);
        struct dyn_slice input = chat_member(block, "input", JSON_OBJECT);
        part = chat_part_add(&answer->parts, arena, CHAT_CALL);
        part->id = id.data != NULL ? id : nothing;
        part->name = name.data != NULL ? name : nothing;
        part->arguments = input.data != NULL ? input : DYN_SLICE("{}");
        part->is_json = true;
    }
}

int
anthropic_answer_in(struct dyn_slice body, struct arena *arena, struct chat_answer *answer)
{
    struct json_value object;
    *answer = (struct chat_answer){.finish = CHAT_FINISH_NONE};
    if (upstream_json_scan_in(body, arena, &object) != 0) {
        return -1;
    }
    struct json_value content = chat_find(object, "content");
    if (!json_string_is(chat_find(object, "type"), "message") || content.type != JSON_ARRAY) {
        return -1;
    }
    struct json_iter blocks = json_iter(content);
    for (struct json_member block; json_iter_next(&blocks, &block);) {
        read_block(block.value, arena, answer);
    }
    answer->id = chat_member(object, "id", JSON_STRING);
    answer->model = chat_member(object, "model", JSON_STRING);
    answer->finish = anthropic_finish(chat_find(object, "stop_reason"));
    anthropic_usage_read(chat_find(object, "usage"), &answer->usage);
    return 0;
}

/* ---- writing ---- */

static void
put_block(const struct chat_part *part, struct dyn_buf *out)
{
    bool is_hidden = part->kind == CHAT_REDACTED;
    const char *type = part->kind == CHAT_CALL       ? "tool_use"
                       : part->kind == CHAT_THINKING ? "thinking"
                       : is_hidden                   ? "redacted_thinking"
                                                     : "text";
    chat_put_item(out);
    dyn_buf_addf(out, "{\"type\":\"%s\"", type);
    if (part->kind == CHAT_CALL) {
        chat_put_raw(out, "id", part->id);
        chat_put_raw(out, "name", part->name);
        chat_put_raw(out, "input", part->is_json ? part->arguments : DYN_SLICE("{}"));
    } else if (part->kind == CHAT_THINKING) {
        chat_put_raw(out, "thinking", part->text);
        chat_put_raw(out, "signature", part->signature.data != NULL ? part->signature : DYN_SLICE("\"\""));
    } else {
        chat_put_raw(out, is_hidden ? "data" : "text", is_hidden ? part->data : part->text);
    }
    dyn_buf_add_char(out, '}');
}

void
anthropic_answer_out(const struct chat_answer *answer, struct dyn_buf *out)
{
    dyn_buf_add_char(out, '{');
    chat_put_raw(out, "id", answer->id);
    dyn_buf_add_str(out, answer->id.data != NULL ? "," : "");
    dyn_buf_add_slice(out, DYN_SLICE("\"type\":\"message\",\"role\":\"assistant\""));
    chat_put_raw(out, "model", answer->model);
    dyn_buf_add_slice(out, DYN_SLICE(",\"content\":["));
    for (const struct chat_part *part = answer->parts.first; part != NULL; part = part->next) {
        put_block(part, out);
    }
    dyn_buf_addf(out, "],\"stop_reason\":\"%s\",\"stop_sequence\":null,\"usage\":",
                 anthropic_finish_word(answer->finish));
    anthropic_put_usage(out, &answer->usage);
    dyn_buf_add_char(out, '}');
}
