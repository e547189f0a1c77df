#include "mock/mock_anthropic.h"

#include "core/text.h"

#include <stdarg.h>
#include <stdio.h>

/* Thoughts are one block, words one, each tool call one: in this order, so the number of each is known from
 * its place. */
static uint32_t
first_block(const struct mock_answer *answer)
{
    return answer->think > 0 ? 1 : 0;
}

static void addf(dyn_block_t **out, const char *format, ...) DYN_PRINTF(2, 3);

static void
addf(dyn_block_t **out, const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    int len = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    dyn_block_append(out, text, len > 0 && (size_t)len < sizeof text ? (size_t)len : 0);
}

/* ---- events ---- */

static void
open_event(const struct mock_answer *answer, const char *type, dyn_block_t **out)
{
    mock_answer_add_comment(answer, out);
    addf(out, answer->behaviour->no_space ? "event:%s" : "event: %s", type);
    mock_put(out, answer->line_end);
    mock_put(out, answer->data_field);
    addf(out, "{\"type\":\"%s\"", type);
}

static void
close_event(const struct mock_answer *answer, dyn_block_t **out)
{
    mock_put_text(out, "}");
    mock_put(out, answer->line_end);
    mock_put(out, answer->line_end);
}

static void
open_block_event(const struct mock_answer *answer, const char *type, uint32_t index, dyn_block_t **out)
{
    open_event(answer, type, out);
    addf(out, ",\"index\":%u", index);
}

static void
add_block_start(const struct mock_answer *answer, uint32_t index, const char *block, dyn_block_t **out)
{
    open_block_event(answer, "content_block_start", index, out);
    addf(out, ",\"content_block\":%s", block);
    close_event(answer, out);
}

static void
add_block_stop(const struct mock_answer *answer, uint32_t index, dyn_block_t **out)
{
    open_block_event(answer, "content_block_stop", index, out);
    close_event(answer, out);
}

/* Up to the opening quote of the delta's text. */
static void
open_delta(const struct mock_answer *answer, uint32_t index, const char *type, const char *key,
           dyn_block_t **out)
{
    open_block_event(answer, "content_block_delta", index, out);
    addf(out, ",\"delta\":{\"type\":\"%s\",\"%s\":\"", type, key);
}

static void
close_delta(const struct mock_answer *answer, dyn_block_t **out)
{
    mock_put_text(out, "\"}");
    close_event(answer, out);
}

static void
add_usage(const struct mock_answer *answer, uint32_t output, dyn_block_t **out)
{
    addf(out,
         "\"usage\":{\"input_tokens\":%u,\"cache_creation_input_tokens\":0,\"cache_read_input_tokens\":0,"
         "\"output_tokens\":%u}",
         answer->chat->prompt_tokens, output);
}

static void
add_message_head(const struct mock_answer *answer, dyn_block_t **out)
{
    addf(out, "\"id\":\"msg_%.*s\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"",
         MOCK_NONCE_DIGITS, answer->nonce);
    mock_put(out, answer->chat->model);
    mock_put_text(out, "\",\"content\":[");
}

static const char *
stop_reason(const struct mock_answer *answer)
{
    switch (mock_answer_finish(answer)) {
    case MOCK_FINISH_CONTENT_FILTER:
        return "refusal";
    case MOCK_FINISH_LENGTH:
        return "max_tokens";
    case MOCK_FINISH_STOP:
        break;
    }
    return answer->behaviour->tools > 0 ? "tool_use" : "end_turn";
}

static void
add_begin(struct mock_answer *answer, dyn_block_t **out)
{
    answer->has_begun = true;
    open_event(answer, "message_start", out);
    mock_put_text(out, ",\"message\":{");
    add_message_head(answer, out);
    mock_put_text(out, "],\"stop_reason\":null,\"stop_sequence\":null,");
    add_usage(answer, 1, out);
    mock_put_text(out, "}");
    close_event(answer, out);
    open_event(answer, "ping", out);
    close_event(answer, out);
}

static void
add_thought(struct mock_answer *answer, uint32_t place, dyn_block_t **out)
{
    if (place == 0) {
        add_block_start(answer, 0, "{\"type\":\"thinking\",\"thinking\":\"\",\"signature\":\"\"}", out);
    }
    open_delta(answer, 0, "thinking_delta", "thinking", out);
    mock_answer_add_token(answer, place, out);
    close_delta(answer, out);
    if (place + 1 == answer->think) {
        open_delta(answer, 0, "signature_delta", "signature", out);
        dyn_block_append(out, answer->nonce, MOCK_NONCE_DIGITS);
        close_delta(answer, out);
        add_block_stop(answer, 0, out);
    }
}

static void
add_word(struct mock_answer *answer, uint32_t place, dyn_block_t **out)
{
    uint32_t index = first_block(answer);
    if (place == answer->think) {
        add_block_start(answer, index, "{\"type\":\"text\",\"text\":\"\"}", out);
    }
    open_delta(answer, index, "text_delta", "text", out);
    mock_answer_add_token(answer, place, out);
    close_delta(answer, out);
}

static void
add_tool(struct mock_answer *answer, uint32_t event, dyn_block_t **out)
{
    uint32_t tool = event / MOCK_EVENTS_PER_TOOL;
    uint32_t piece = event % MOCK_EVENTS_PER_TOOL;
    uint32_t index = first_block(answer) + tool;
    if (piece == 0) {
        char block[128];
        (void)snprintf(block, sizeof block,
                       "{\"type\":\"tool_use\",\"id\":\"toolu_%.*s_%u\",\"name\":\"mock_tool\",\"input\":{}}",
                       MOCK_NONCE_DIGITS, answer->nonce, tool);
        add_block_start(answer, index, block, out);
        return;
    }
    open_delta(answer, index, "input_json_delta", "partial_json", out);
    mock_put_text(out, mock_tool_arguments[piece - 1]);
    close_delta(answer, out);
    if (piece + 1 == MOCK_EVENTS_PER_TOOL) {
        add_block_stop(answer, index, out);
    }
}

void
mock_anthropic_add_event(struct mock_answer *answer, uint32_t place, dyn_block_t **out)
{
    if (!answer->has_begun) {
        add_begin(answer, out);
    }
    if (place < answer->think) {
        add_thought(answer, place, out);
    } else if (answer->behaviour->tools > 0) {
        add_tool(answer, place - answer->think, out);
    } else {
        add_word(answer, place, out);
    }
}

void
mock_anthropic_add_end(struct mock_answer *answer, dyn_block_t **out)
{
    if (!answer->has_begun) {
        add_begin(answer, out);
    }
    if (answer->behaviour->tools == 0 && answer->tokens > answer->think) {
        add_block_stop(answer, first_block(answer), out);
    }
    open_event(answer, "message_delta", out);
    addf(out, ",\"delta\":{\"stop_reason\":\"%s\",\"stop_sequence\":null},\"usage\":{\"output_tokens\":%u}",
         stop_reason(answer), answer->tokens);
    close_event(answer, out);
    if (answer->behaviour->cut != MOCK_CUT_DONE) {
        open_event(answer, "message_stop", out);
        close_event(answer, out);
    }
}

void
mock_anthropic_add_error_event(const struct mock_answer *answer, dyn_block_t **out)
{
    open_event(answer, "error", out);
    mock_put_text(
        out, ",\"error\":{\"type\":\"overloaded_error\",\"message\":\"the mock was asked to fail here\"}");
    close_event(answer, out);
}

/* ---- the whole answer ---- */

static void
add_plain_tools(const struct mock_answer *answer, dyn_block_t **out)
{
    for (uint32_t tool = 0; tool < answer->behaviour->tools; tool++) {
        addf(out, "%s{\"type\":\"tool_use\",\"id\":\"toolu_%.*s_%u\",\"name\":\"mock_tool\",\"input\":",
             tool > 0 ? "," : "", MOCK_NONCE_DIGITS, answer->nonce, tool);
        mock_put_text(out, "{\"place\":\"harbor\"}}");
    }
}

void
mock_anthropic_add_plain(struct mock_answer *answer, dyn_block_t **out)
{
    mock_put_text(out, "{");
    add_message_head(answer, out);
    if (answer->think > 0) {
        mock_put_text(out, "{\"type\":\"thinking\",\"thinking\":\"");
        mock_answer_add_tokens(answer, 0, answer->think, out);
        addf(out, "\",\"signature\":\"%.*s\"},", MOCK_NONCE_DIGITS, answer->nonce);
    }
    if (answer->behaviour->tools > 0) {
        add_plain_tools(answer, out);
    } else {
        mock_put_text(out, "{\"type\":\"text\",\"text\":\"");
        mock_answer_add_tokens(answer, answer->think, answer->tokens, out);
        mock_put_text(out, "\"}");
    }
    addf(out, "],\"stop_reason\":\"%s\",\"stop_sequence\":null,", stop_reason(answer));
    add_usage(answer, answer->tokens, out);
    mock_put_text(out, "}");
}

/* ---- errors ---- */

void
mock_anthropic_add_error(dyn_block_t **out, unsigned status, const char *message)
{
    static const struct {
        unsigned status;
        const char *type;
    } known[] = {
        {401, "authentication_error"}, {402, "billing_error"},     {403, "permission_error"},
        {404, "not_found_error"},      {413, "request_too_large"}, {429, "rate_limit_error"},
        {504, "timeout_error"},        {529, "overloaded_error"},
    };
    const char *type = status < 500 ? "invalid_request_error" : "api_error";
    for (size_t i = 0; i < DYN_ARRAY_LEN(known); i++) {
        type = known[i].status == status ? known[i].type : type;
    }
    struct dyn_buf text = DYN_BUF_INIT;
    dyn_buf_addf(&text, "{\"type\":\"error\",\"error\":{\"type\":\"%s\",\"message\":", type);
    dyn_buf_add_json_string(&text, dyn_slice_str(message));
    dyn_buf_add_str(&text, "},\"request_id\":\"req_mock\"}");
    mock_put(out, dyn_buf_slice(&text));
    dyn_buf_fini(&text);
}
