#include "mock/answer.h"

#include "core/text.h"
#include "mock/mock_anthropic.h"

enum { TEXT_PIECE = 24 }; /* bytes of `text` in one token */

static void
add_number(dyn_block_t **out, uint64_t number)
{
    char digits[DYN_UINT_TEXT_MAX];
    dyn_block_append(out, digits, dyn_uint_text(digits, number));
}

static void
add_filler(dyn_block_t **out, uint32_t len)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijkl";
    while (len > 0) {
        uint32_t piece = len < sizeof letters - 1 ? len : (uint32_t)sizeof letters - 1;
        dyn_block_append(out, letters, piece);
        len -= piece;
    }
}

/* ---- what a token says ---- */

/* The first words make a sentence, since people read the answers of `serve --dev` too. */
static const char *const greeting[] = {"This", "answer", "comes", "from", "the", "mock", "of", "Dynabus."};
static const char *const words[] = {
    "amber",  "basin",   "cedar",   "delta",  "ember",   "fjord",  "grove",  "harbor",
    "island", "juniper", "kelp",    "lagoon", "meadow",  "nectar", "orchid", "pebble",
    "quay",   "ridge",   "saffron", "tundra", "umber",   "valley", "willow", "yarrow",
    "zephyr", "birch",   "canyon",  "dune",   "estuary", "fern",   "glade",  "heron",
};

/* Spreads neighbouring seeds and places (Steele, Lea, Flood: SplitMix, 2014). */
static uint64_t
spread(uint64_t x)
{
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

static const char *
word_at(uint32_t seed, uint32_t place)
{
    if (seed == 0 && place < DYN_ARRAY_LEN(greeting)) {
        return greeting[place];
    }
    return words[spread((uint64_t)seed << 32 | place) % DYN_ARRAY_LEN(words)];
}

/* The next piece of a given text, cut between characters. */
static void
add_piece(struct mock_answer *answer, dyn_block_t **out)
{
    struct dyn_slice left =
        dyn_slice(answer->text.data + answer->text_at, answer->text.len - answer->text_at);
    size_t len = 0;
    while (len < left.len) {
        size_t one = dyn_utf8_len(left.data + len, left.data + left.len);
        one = one > 0 ? one : 1;
        if (len > 0 && len + one > TEXT_PIECE) {
            break;
        }
        len += one;
    }
    char escaped[TEXT_PIECE * 6 + 8];
    struct dyn_escaped done = dyn_json_escape(dyn_slice(left.data, len), escaped, sizeof escaped);
    dyn_block_append(out, escaped, done.written);
    answer->text_at += done.read;
}

static void
add_tag(const struct mock_answer *answer, uint32_t place, dyn_block_t **out)
{
    if (answer->tag_head.len > 0) {
        mock_put(out, answer->tag_head);
        add_number(out, place);
        mock_put_text(out, ".");
        add_number(out, dyn_mono_us(answer->clock));
        mock_put_text(out, "~");
    }
}

void
mock_answer_add_token(struct mock_answer *answer, uint32_t place, dyn_block_t **out)
{
    const struct mock_behaviour *behaviour = answer->behaviour;
    if (answer->text.data != NULL) {
        add_piece(answer, out);
        return;
    }
    uint32_t in_text = place - (place >= answer->think ? answer->think : 0);
    if (behaviour->line_bytes > 0 && place == mock_answer_middle(answer)) {
        add_filler(out, behaviour->line_bytes);
    } else if (behaviour->word_bytes > 0) {
        add_filler(out, behaviour->word_bytes);
    } else {
        mock_put_text(out, in_text > 0 ? " " : "");
        mock_put_text(out, word_at(behaviour->seed, in_text));
    }
    add_tag(answer, place, out);
}

void
mock_answer_add_tokens(struct mock_answer *answer, uint32_t from, uint32_t to, dyn_block_t **out)
{
    for (uint32_t place = from; place < to; place++) {
        mock_answer_add_token(answer, place, out);
    }
}

/* ---- tool calls: each is opened, and its arguments come in two pieces ---- */

const char *const mock_tool_arguments[] = {"{\\\"place\\\":", "\\\"harbor\\\"}"};

static void
add_tool_open(const struct mock_answer *answer, uint32_t tool, const char *arguments, dyn_block_t **out)
{
    mock_put_text(out, "\"id\":\"call_");
    dyn_block_append(out, answer->nonce, MOCK_NONCE_DIGITS);
    mock_put_text(out, "_");
    add_number(out, tool);
    mock_put_text(out, "\",\"type\":\"function\",\"function\":{\"name\":\"mock_tool\",\"arguments\":\"");
    mock_put_text(out, arguments);
    mock_put_text(out, "\"}}");
}

static void
add_tool_delta(const struct mock_answer *answer, uint32_t event, dyn_block_t **out)
{
    uint32_t tool = event / MOCK_EVENTS_PER_TOOL;
    uint32_t piece = event % MOCK_EVENTS_PER_TOOL;
    mock_put_text(out, "{\"tool_calls\":[{\"index\":");
    add_number(out, tool);
    mock_put_text(out, ",");
    if (piece == 0) {
        add_tool_open(answer, tool, "", out);
    } else {
        mock_put_text(out, "\"function\":{\"arguments\":\"");
        mock_put_text(out, mock_tool_arguments[piece - 1]);
        mock_put_text(out, "\"}}");
    }
    mock_put_text(out, "]}");
}

/* ---- usage and the end ---- */

enum mock_finish
mock_answer_finish(const struct mock_answer *answer)
{
    if (answer->behaviour->finish == MOCK_FINISH_CONTENT_FILTER) {
        return MOCK_FINISH_CONTENT_FILTER;
    }
    return answer->behaviour->finish == MOCK_FINISH_LENGTH || answer->is_shortened ? MOCK_FINISH_LENGTH
                                                                                   : MOCK_FINISH_STOP;
}

static const char *
finish_reason(const struct mock_answer *answer)
{
    switch (mock_answer_finish(answer)) {
    case MOCK_FINISH_CONTENT_FILTER:
        return "content_filter";
    case MOCK_FINISH_LENGTH:
        return "length";
    case MOCK_FINISH_STOP:
        break;
    }
    return answer->behaviour->tools > 0 ? "tool_calls" : "stop";
}

static void
add_usage(const struct mock_answer *answer, dyn_block_t **out)
{
    mock_put_text(out, "{\"prompt_tokens\":");
    add_number(out, answer->chat->prompt_tokens);
    mock_put_text(out, ",\"completion_tokens\":");
    add_number(out, answer->tokens);
    mock_put_text(out, ",\"total_tokens\":");
    add_number(out, (uint64_t)answer->chat->prompt_tokens + answer->tokens);
    mock_put_text(out, ",\"prompt_tokens_details\":{\"cached_tokens\":0},\"completion_tokens_details\":{"
                       "\"reasoning_tokens\":");
    add_number(out, answer->think);
    mock_put_text(out, "}}");
}

/* ---- events ---- */

void
mock_answer_add_comment(const struct mock_answer *answer, dyn_block_t **out)
{
    if (answer->behaviour->comments) {
        mock_put_text(out, ": mock");
        mock_put(out, answer->line_end);
        mock_put(out, answer->line_end);
    }
}

static void
add_event_open(const struct mock_answer *answer, dyn_block_t **out)
{
    mock_answer_add_comment(answer, out);
    mock_put(out, answer->data_field);
}

static void
add_event_close(const struct mock_answer *answer, dyn_block_t **out)
{
    mock_put(out, answer->line_end);
    mock_put(out, answer->line_end);
}

static void
add_role_event(struct mock_answer *answer, dyn_block_t **out)
{
    answer->has_begun = true;
    add_event_open(answer, out);
    mock_put(out, answer->event_head);
    mock_put_text(out, "{\"role\":\"assistant\",\"content\":\"\",\"refusal\":null}");
    mock_put(out, answer->event_tail);
}

void
mock_answer_add_event(struct mock_answer *answer, uint32_t place, dyn_block_t **out)
{
    if (answer->events != NULL) {
        add_event_open(answer, out);
        mock_put(out, answer->events[place]);
        add_event_close(answer, out);
        return;
    }
    if (answer->chat->is_anthropic) {
        mock_anthropic_add_event(answer, place, out);
        return;
    }
    if (!answer->has_begun) {
        add_role_event(answer, out);
    }
    add_event_open(answer, out);
    mock_put(out, answer->event_head);
    if (place < answer->think) {
        mock_put_text(out, "{\"reasoning_content\":\"");
        mock_answer_add_token(answer, place, out);
        mock_put_text(out, "\"}");
    } else if (answer->behaviour->tools > 0) {
        add_tool_delta(answer, place - answer->think, out);
    } else {
        mock_put_text(out, "{\"content\":\"");
        mock_answer_add_token(answer, place, out);
        mock_put_text(out, "\"}");
    }
    mock_put(out, answer->event_tail);
}

static void
add_object_head(const struct mock_answer *answer, const char *object, dyn_block_t **out)
{
    mock_put_text(out, "{\"id\":\"chatcmpl-");
    dyn_block_append(out, answer->nonce, MOCK_NONCE_DIGITS);
    mock_put_text(out, "\",\"object\":\"");
    mock_put_text(out, object);
    mock_put_text(out, "\",\"created\":");
    add_number(out, MOCK_CREATED);
    mock_put_text(out, ",\"model\":\"");
    mock_put(out, answer->chat->model);
    mock_put_text(out, "\",\"service_tier\":\"default\",\"system_fingerprint\":\"fp_mock\",\"choices\":[");
}

static void
add_finish_event(const struct mock_answer *answer, dyn_block_t **out)
{
    add_event_open(answer, out);
    mock_put(out, answer->event_head);
    mock_put_text(out, "{},\"logprobs\":null,\"finish_reason\":\"");
    mock_put_text(out, finish_reason(answer));
    mock_put_text(out, "\"}]");
    if (answer->behaviour->usage == MOCK_USAGE_FINISH) {
        mock_put_text(out, ",\"usage\":");
        add_usage(answer, out);
    } else if (answer->chat->include_usage) {
        mock_put_text(out, ",\"usage\":null");
    }
    mock_put_text(out, "}");
    add_event_close(answer, out);
}

static bool
has_usage_event(const struct mock_answer *answer)
{
    return answer->behaviour->usage == MOCK_USAGE_ALWAYS ||
           (answer->behaviour->usage == MOCK_USAGE_ASKED && answer->chat->include_usage);
}

void
mock_answer_add_end(struct mock_answer *answer, dyn_block_t **out)
{
    if (answer->chat->is_anthropic) { /* whose streams know no [DONE] */
        if (answer->events == NULL) {
            mock_anthropic_add_end(answer, out);
        }
        return;
    }
    if (answer->events == NULL) {
        if (!answer->has_begun) {
            add_role_event(answer, out);
        }
        add_finish_event(answer, out);
        if (has_usage_event(answer)) {
            add_event_open(answer, out);
            add_object_head(answer, "chat.completion.chunk", out);
            mock_put_text(out, "],\"usage\":");
            add_usage(answer, out);
            mock_put_text(out, "}");
            add_event_close(answer, out);
        }
    }
    if (answer->behaviour->cut != MOCK_CUT_DONE && !answer->no_done) {
        add_event_open(answer, out);
        mock_put_text(out, "[DONE]");
        add_event_close(answer, out);
    }
}

void
mock_answer_add_error_event(struct mock_answer *answer, dyn_block_t **out)
{
    if (answer->chat->is_anthropic) {
        mock_anthropic_add_error_event(answer, out);
        return;
    }
    add_event_open(answer, out);
    mock_add_error(out, 500, "the mock was asked to fail here", NULL);
    add_event_close(answer, out);
}

void
mock_answer_add_garbage_event(struct mock_answer *answer, dyn_block_t **out)
{
    add_event_open(answer, out);
    mock_put_text(out, "{\"choices\":[{\"delta\":{\"content\":\xff\xfe \"not JSON");
    add_event_close(answer, out);
}

/* ---- the whole answer ---- */

static void
add_plain_tools(const struct mock_answer *answer, dyn_block_t **out)
{
    mock_put_text(out, "null,\"tool_calls\":[");
    for (uint32_t tool = 0; tool < answer->behaviour->tools; tool++) {
        mock_put_text(out, tool > 0 ? ",{" : "{");
        add_tool_open(answer, tool, "{\\\"place\\\":\\\"harbor\\\"}", out);
    }
    mock_put_text(out, "]");
}

void
mock_answer_add_plain(struct mock_answer *answer, dyn_block_t **out)
{
    if (answer->chat->is_anthropic) {
        mock_anthropic_add_plain(answer, out);
        return;
    }
    add_object_head(answer, "chat.completion", out);
    mock_put_text(out, "{\"index\":0,\"message\":{\"role\":\"assistant\",");
    if (answer->think > 0) {
        mock_put_text(out, "\"reasoning_content\":\"");
        mock_answer_add_tokens(answer, 0, answer->think, out);
        mock_put_text(out, "\",");
    }
    mock_put_text(out, "\"content\":");
    if (answer->behaviour->tools > 0) {
        add_plain_tools(answer, out);
    } else {
        mock_put_text(out, "\"");
        mock_answer_add_tokens(answer, answer->think, answer->tokens, out);
        mock_put_text(out, "\"");
    }
    mock_put_text(out, ",\"refusal\":null},\"logprobs\":null,\"finish_reason\":\"");
    mock_put_text(out, finish_reason(answer));
    mock_put_text(out, "\"}],\"usage\":");
    add_usage(answer, out);
    mock_put_text(out, "}");
}

/* ---- preparation ---- */

static uint32_t
pieces_of(struct dyn_slice text)
{
    uint32_t pieces = 0;
    size_t in_piece = 0;
    for (size_t at = 0; at < text.len;) {
        size_t one = dyn_utf8_len(text.data + at, text.data + text.len);
        one = one > 0 ? one : 1;
        if (in_piece == 0 || in_piece + one > TEXT_PIECE) {
            pieces++;
            in_piece = 0;
        }
        in_piece += one;
        at += one;
    }
    return pieces;
}

static uint32_t
events_wanted(const struct mock_answer *answer)
{
    const struct mock_behaviour *behaviour = answer->behaviour;
    if (answer->events != NULL) {
        return answer->n_events;
    }
    if (answer->text.data != NULL) {
        return pieces_of(answer->text);
    }
    return behaviour->think +
           (behaviour->tools > 0 ? behaviour->tools * MOCK_EVENTS_PER_TOOL : behaviour->tokens);
}

uint32_t
mock_answer_middle(const struct mock_answer *answer)
{
    uint32_t after =
        answer->behaviour->after == MOCK_AFTER_HALF ? answer->tokens / 2 : answer->behaviour->after;
    return after < answer->tokens ? after : answer->tokens;
}

static struct dyn_slice
block_to_arena(struct arena *arena, dyn_block_t **block_p)
{
    struct dyn_slice copy = arena_copy(arena, dyn_block_slice(*block_p));
    dyn_block_unref(block_p);
    return copy;
}

void
mock_answer_prepare(struct mock_answer *answer, struct arena *arena)
{
    static const struct dyn_slice line_ends[] = {
        [MOCK_LINE_END_LF] = DYN_SLICE_INIT("\n"),
        [MOCK_LINE_END_CRLF] = DYN_SLICE_INIT("\r\n"),
        [MOCK_LINE_END_CR] = DYN_SLICE_INIT("\r"),
    };
    const struct mock_behaviour *behaviour = answer->behaviour;
    answer->line_end = line_ends[behaviour->line_end];
    answer->data_field = behaviour->no_space ? DYN_SLICE("data:") : DYN_SLICE("data: ");
    answer->tokens = events_wanted(answer);
    /* Given texts and tool calls are said whole: half of them would be of no use to a test. */
    bool can_shorten = answer->events == NULL && answer->text.data == NULL && behaviour->tools == 0;
    if (can_shorten && answer->tokens > answer->chat->max_tokens) {
        answer->tokens = answer->chat->max_tokens;
        answer->is_shortened = true;
    }
    if (answer->events == NULL && answer->text.data == NULL) {
        answer->think = behaviour->think < answer->tokens ? behaviour->think : answer->tokens;
    }
    if (answer->chat->number.len > 0 || behaviour->tag) {
        struct dyn_slice number = answer->chat->number.len > 0 ? answer->chat->number : DYN_SLICE("0");
        answer->tag_head = arena_printf(arena, "~%.*s.%.*s.", (int)number.len, number.data, MOCK_NONCE_DIGITS,
                                        answer->nonce);
    }
    if (answer->chat->stream && answer->events == NULL) {
        dyn_block_t *head = dyn_block_new(0, 512);
        add_object_head(answer, "chat.completion.chunk", &head);
        mock_put_text(&head, "{\"index\":0,\"delta\":");
        answer->event_head = block_to_arena(arena, &head);
        const char *usage = answer->chat->include_usage ? ",\"usage\":null" : "";
        answer->event_tail = arena_printf(arena, ",\"logprobs\":null,\"finish_reason\":null}]%s}%s%s", usage,
                                          answer->line_end.data, answer->line_end.data);
    }
}

/* ---- errors ---- */

void
mock_add_error(dyn_block_t **out, unsigned status, const char *message, const char *param)
{
    static const struct {
        unsigned status;
        const char *type;
        const char *code; /* with its quotes */
    } known[] = {
        {400, "invalid_request_error", "null"},
        {401, "invalid_request_error", "\"invalid_api_key\""},
        {402, "insufficient_quota", "\"insufficient_quota\""},
        {403, "invalid_request_error", "\"unsupported_country_region_territory\""},
        {404, "invalid_request_error", "\"model_not_found\""},
        {429, "requests", "\"rate_limit_exceeded\""},
        {500, "server_error", "null"},
        {503, "server_error", "\"service_unavailable\""},
    };
    const char *type = status < 500 ? "invalid_request_error" : "server_error";
    const char *code = "null";
    for (size_t i = 0; i < DYN_ARRAY_LEN(known); i++) {
        if (known[i].status == status) {
            type = known[i].type;
            code = known[i].code;
        }
    }
    struct dyn_buf text = DYN_BUF_INIT;
    dyn_buf_add_str(&text, "{\"error\":{\"message\":");
    dyn_buf_add_json_string(&text, dyn_slice_str(message));
    dyn_buf_addf(&text, ",\"type\":\"%s\",\"param\":", type);
    if (param != NULL) {
        dyn_buf_add_json_string(&text, dyn_slice_str(param));
    } else {
        dyn_buf_add_str(&text, "null");
    }
    dyn_buf_addf(&text, ",\"code\":%s}}", code);
    mock_put(out, dyn_buf_slice(&text));
    dyn_buf_fini(&text);
}
