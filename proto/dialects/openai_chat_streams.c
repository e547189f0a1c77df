/* Streams of the OpenAI chat dialect, read into the events of chat.h and written from them. Chunks have no
 * beginnings and ends of parts; only tool calls have numbers. */
#include "proto/dialects/openai_chat_codec.h"

#include "proto/dialects/openai_chat.h"
#include "proto/dialects/openai_usage.h"
#include "proto/dialects/upstream_json.h"

#include <stdlib.h>

struct telling {
    struct chat_reading *reading;
    chat_event_fn tell;
    void *self;
};

static void
tell(struct telling *t, struct chat_event event)
{
    t->tell(t->self, &event);
}

/* ---- reading ---- */

static void
tell_text(struct telling *t, enum chat_part_kind part, struct dyn_slice text)
{
    if (chat_has_text(text)) {
        tell(t, (struct chat_event){.kind = CHAT_ADD, .part = part, .text = text});
    }
}

/* A piece without a number belongs to the last call, unless it has an id: then it begins one. */
static struct chat_open_part *
call_of(struct telling *t, struct json_value piece, struct dyn_slice id, bool *is_new)
{
    struct chat_reading *reading = t->reading;
    int64_t index = -1;
    struct json_value number = chat_find(piece, "index");
    bool has_index = number.raw.data != NULL && json_int64(number, &index) == 0 && index >= 0;
    struct chat_open_part *open = NULL;
    if (has_index) {
        open = chat_open_part_find(reading, index);
    } else if (!chat_has_text(id) && reading->n_open > 0) {
        open = &reading->open[reading->n_open - 1];
    }
    *is_new = open == NULL;
    if (open == NULL && reading->n_open < CHAT_OPEN_MAX) {
        open = &reading->open[reading->n_open++];
        *open = (struct chat_open_part){.index = has_index ? index : -1 - (int64_t)reading->calls,
                                        .call = reading->calls++,
                                        .is_call = true};
    }
    return open;
}

static int
read_call(struct telling *t, struct json_value piece)
{
    struct json_value function = chat_find(piece, "function");
    struct json_value arguments = chat_find(function, "arguments");
    struct dyn_slice id = chat_member(piece, "id", JSON_STRING);
    struct dyn_slice name = chat_member(function, "name", JSON_STRING);
    struct dyn_slice nothing = DYN_SLICE("\"\"");
    bool is_new;
    struct chat_open_part *open = call_of(t, piece, id, &is_new);
    if (open == NULL) {
        return -1;
    }
    if (is_new) {
        tell(t, (struct chat_event){.kind = CHAT_CALL_BEGIN,
                                    .call = open->call,
                                    .id = id.data != NULL ? id : nothing,
                                    .name = name.data != NULL ? name : nothing});
    }
    if (arguments.raw.data != NULL && arguments.type == JSON_STRING && chat_has_text(arguments.raw)) {
        tell(t, (struct chat_event){.kind = CHAT_CALL_ADD, .call = open->call, .text = arguments.raw});
    } else if (arguments.raw.data != NULL && arguments.type == JSON_OBJECT) {
        struct dyn_buf text = DYN_BUF_INIT;
        dyn_buf_add_json_string(&text, arguments.raw);
        tell(t, (struct chat_event){.kind = CHAT_CALL_ADD, .call = open->call, .text = dyn_buf_slice(&text)});
        dyn_buf_fini(&text);
    }
    return 0;
}

static void
read_thoughts(struct telling *t, struct json_value delta)
{
    struct dyn_slice text = chat_member(delta, "reasoning_content", JSON_STRING);
    text = text.data != NULL ? text : chat_member(delta, "reasoning", JSON_STRING);
    tell_text(t, CHAT_THINKING, text);
    struct json_iter items = json_iter(chat_find(delta, "thinking_blocks"));
    for (struct json_member item; json_iter_next(&items, &item);) {
        struct dyn_slice hidden = chat_member(item.value, "data", JSON_STRING);
        struct dyn_slice signature = chat_member(item.value, "signature", JSON_STRING);
        if (hidden.data != NULL) {
            tell(t, (struct chat_event){.kind = CHAT_HIDE, .text = hidden});
        } else if (chat_has_text(signature)) {
            tell(t, (struct chat_event){.kind = CHAT_SIGN, .text = signature});
        }
    }
}

static int
read_choice(struct telling *t, struct json_value choice)
{
    struct json_value delta = chat_find(choice, "delta");
    struct json_iter calls = json_iter(chat_find(delta, "tool_calls"));
    enum chat_finish finish = openai_chat_finish(chat_find(choice, "finish_reason"));
    if (chat_count(choice, "index") != 0) { /* several answers at once are never asked for */
        return 0;
    }
    read_thoughts(t, delta);
    tell_text(t, CHAT_TEXT, chat_member(delta, "content", JSON_STRING));
    tell_text(t, CHAT_REFUSAL, chat_member(delta, "refusal", JSON_STRING));
    for (struct json_member call; json_iter_next(&calls, &call);) {
        if (read_call(t, call.value) != 0) {
            return -1;
        }
    }
    if (finish != CHAT_FINISH_NONE && !t->reading->has_finish) {
        t->reading->has_finish = true;
        tell(t, (struct chat_event){.kind = CHAT_FINISH, .finish = finish});
    }
    return 0;
}

static int
read_chunk(struct telling *t, struct json_value chunk)
{
    struct chat_reading *reading = t->reading;
    struct json_iter choices = json_iter(chat_find(chunk, "choices"));
    if (!reading->has_begun) {
        reading->has_begun = true;
        tell(t, (struct chat_event){.kind = CHAT_BEGIN,
                                    .id = chat_member(chunk, "id", JSON_STRING),
                                    .model = chat_member(chunk, "model", JSON_STRING)});
    }
    for (struct json_member choice; json_iter_next(&choices, &choice);) {
        if (read_choice(t, choice.value) != 0) {
            return -1;
        }
    }
    if (openai_usage_read(chat_find(chunk, "usage"), &reading->usage)) {
        openai_service_take(chat_find(chunk, "service_tier"), &reading->usage);
        tell(t, (struct chat_event){.kind = CHAT_USAGE, .usage = &reading->usage});
    }
    return 0;
}

int
openai_chat_event_in(struct chat_reading *reading, const struct sse_event *event, chat_event_fn tell_fn,
                     void *self)
{
    static const struct dyn_slice marker = DYN_SLICE_INIT("[DONE]");
    struct telling t = {reading, tell_fn, self};
    struct dialect_event seen = {.terminal = false};
    struct json_value chunk;
    char *copy;
    if (event->data.len >= marker.len && memcmp(event->data.data, marker.data, marker.len) == 0) {
        tell(&t, (struct chat_event){.kind = CHAT_END});
        return 0;
    }
    if (openai_chat_read_event(event, &seen) != 0 || upstream_json_scan(event->data, &chunk, &copy) != 0) {
        return -1;
    }
    if (seen.error) { /* in one of the many ways there are */
        free(copy);
        tell(&t, (struct chat_event){.kind = CHAT_ERROR});
        return 0;
    }
    int failed = read_chunk(&t, chunk);
    free(copy);
    return failed;
}

/* ---- writing ---- */

static void
begin_chunk(struct chat_writing *w, struct dyn_buf *out)
{
    dyn_buf_add_slice(out, dyn_buf_slice(&w->head));
    dyn_buf_add_slice(out, DYN_SLICE("{\"index\":0,\"delta\":{"));
}

/* `reason`: a JSON value. */
static void
end_chunk(struct chat_writing *w, const char *reason, struct dyn_buf *out)
{
    dyn_buf_add_slice(out, DYN_SLICE("},\"finish_reason\":"));
    dyn_buf_add_str(out, reason);
    dyn_buf_add_slice(out, w->wants_usage ? DYN_SLICE("}],\"usage\":null}\n\n") : DYN_SLICE("}]}\n\n"));
}

/* Both stand in every chunk: what an upstream makes longer than any that exists is left out. Bytes. */
enum { HEAD_TEXT_MAX = 1024 };

static struct dyn_slice
head_text(struct dyn_slice json)
{
    return json.data != NULL && json.len <= HEAD_TEXT_MAX ? json : DYN_SLICE("\"\"");
}

static void
write_begin(struct chat_writing *w, const struct chat_event *event, struct dyn_buf *out)
{
    dyn_buf_clear(&w->head);
    dyn_buf_add_slice(&w->head, DYN_SLICE("data: {"));
    chat_put_raw(&w->head, "id", head_text(event->id));
    chat_put_raw(&w->head, "object", DYN_SLICE("\"chat.completion.chunk\""));
    chat_put_key(&w->head, "created");
    dyn_buf_add_uint(&w->head, w->created_s);
    chat_put_raw(&w->head, "model", head_text(event->model));
    dyn_buf_add_slice(&w->head, DYN_SLICE(",\"choices\":["));
    begin_chunk(w, out);
    dyn_buf_add_slice(out, DYN_SLICE("\"role\":\"assistant\",\"content\":\"\""));
    end_chunk(w, "null", out);
}

static void
write_member(struct chat_writing *w, const char *key, struct dyn_slice text, struct dyn_buf *out)
{
    begin_chunk(w, out);
    chat_put_raw(out, key, text);
    end_chunk(w, "null", out);
}

static void
write_add(struct chat_writing *w, const struct chat_event *event, struct dyn_buf *out)
{
    const char *key = event->part == CHAT_THINKING  ? "reasoning_content"
                      : event->part == CHAT_REFUSAL ? "refusal"
                                                    : "content";
    write_member(w, key, event->text, out);
}

static void
write_thinking_block(struct chat_writing *w, const char *type, const char *key, struct dyn_slice text,
                     struct dyn_buf *out)
{
    begin_chunk(w, out);
    dyn_buf_addf(out, "\"thinking_blocks\":[{\"type\":\"%s\"", type);
    chat_put_raw(out, key, text);
    dyn_buf_add_slice(out, DYN_SLICE("}]"));
    end_chunk(w, "null", out);
}

static void
write_call_begin(struct chat_writing *w, const struct chat_event *event, struct dyn_buf *out)
{
    begin_chunk(w, out);
    dyn_buf_addf(out, "\"tool_calls\":[{\"index\":%u", event->call);
    chat_put_raw(out, "id", event->id);
    dyn_buf_add_slice(out, DYN_SLICE(",\"type\":\"function\",\"function\":{"));
    chat_put_raw(out, "name", event->name);
    dyn_buf_add_slice(out, DYN_SLICE(",\"arguments\":\"\"}}]"));
    end_chunk(w, "null", out);
}

static void
write_call_add(struct chat_writing *w, const struct chat_event *event, struct dyn_buf *out)
{
    begin_chunk(w, out);
    dyn_buf_addf(out, "\"tool_calls\":[{\"index\":%u,\"function\":{\"arguments\":", event->call);
    dyn_buf_add_slice(out, event->text);
    dyn_buf_add_slice(out, DYN_SLICE("}}]"));
    end_chunk(w, "null", out);
}

static void
write_finish(struct chat_writing *w, const struct chat_event *event, struct dyn_buf *out)
{
    char reason[32];
    struct dyn_slice word = dyn_slice_str(openai_chat_finish_word(event->finish));
    reason[0] = '"';
    memcpy(reason + 1, word.data, word.len);
    memcpy(reason + 1 + word.len, "\"", 2);
    begin_chunk(w, out);
    end_chunk(w, reason, out);
}

static void
write_end(struct chat_writing *w, struct dyn_buf *out)
{
    if (w->wants_usage && w->usage.known) {
        dyn_buf_add_slice(out, dyn_buf_slice(&w->head));
        dyn_buf_add_slice(out, DYN_SLICE("],\"usage\":"));
        openai_chat_put_usage(out, &w->usage);
        dyn_buf_add_slice(out, DYN_SLICE("}\n\n"));
    }
    dyn_buf_add_slice(out, DYN_SLICE("data: [DONE]\n\n"));
}

void
openai_chat_event_out(struct chat_writing *w, const struct chat_event *event, struct dyn_buf *out)
{
    switch (event->kind) {
    case CHAT_BEGIN:
        write_begin(w, event, out);
        break;
    case CHAT_ADD:
        write_add(w, event, out);
        break;
    case CHAT_SIGN:
        write_thinking_block(w, "thinking", "signature", event->text, out);
        break;
    case CHAT_HIDE:
        write_thinking_block(w, "redacted_thinking", "data", event->text, out);
        break;
    case CHAT_CALL_BEGIN:
        write_call_begin(w, event, out);
        break;
    case CHAT_CALL_ADD:
        write_call_add(w, event, out);
        break;
    case CHAT_FINISH:
        write_finish(w, event, out);
        break;
    case CHAT_USAGE:
        w->usage = *event->usage;
        break;
    case CHAT_END:
        write_end(w, out);
        break;
    case CHAT_PING: /* this dialect has comments for it: idle timers on the way see bytes */
        dyn_buf_add_slice(out, DYN_SLICE(": ping\n\n"));
        break;
    case CHAT_ERROR:
        break; /* whoever writes to the client says it */
    }
}

const struct chat_codec openai_chat_codec = {
    .has_schemas = true,
    .read_request = openai_chat_in,
    .write_request = openai_chat_out,
    .read_answer = openai_chat_answer_in,
    .write_answer = openai_chat_answer_out,
    .read_event = openai_chat_event_in,
    .write_event = openai_chat_event_out,
};
