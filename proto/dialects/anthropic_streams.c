/* Streams of the Messages API, both ways. An answer is a row of numbered blocks that open, grow and close;
 * what kind a block is was said when it opened, so that is what has to be remembered: one entry for each
 * block that is open, and no text. */
#include "proto/dialects/anthropic_codec.h"

#include "proto/dialects/upstream_json.h"

#include <stdlib.h>

struct telling {
    struct chat_reading *reading;
    struct json_value event;
    chat_event_fn tell;
    void *self;
};

static void
tell(struct telling *t, struct chat_event event)
{
    t->tell(t->self, &event);
}

/* ---- reading ---- */

static int64_t
block_index(const struct telling *t)
{
    int64_t index = -1;
    struct json_value value = chat_find(t->event, "index");
    return value.raw.data != NULL && json_int64(value, &index) == 0 ? index : -1;
}

static int
read_begin(struct telling *t)
{
    struct json_value message = chat_find(t->event, "message");
    struct chat_reading *reading = t->reading;
    if (reading->has_begun) {
        return -1;
    }
    reading->has_begun = true;
    anthropic_usage_read(chat_find(message, "usage"), &reading->usage);
    tell(t, (struct chat_event){.kind = CHAT_BEGIN,
                                .id = chat_member(message, "id", JSON_STRING),
                                .model = chat_member(message, "model", JSON_STRING),
                                .usage = &reading->usage});
    return 0;
}

static void
tell_text(struct telling *t, enum chat_part_kind part, struct dyn_slice text)
{
    if (chat_has_text(text)) {
        tell(t, (struct chat_event){.kind = CHAT_ADD, .part = part, .text = text});
    }
}

static int
open_call(struct telling *t, struct chat_open_part *open, struct json_value block)
{
    struct dyn_slice id = chat_member(block, "id", JSON_STRING);
    struct dyn_slice name = chat_member(block, "name", JSON_STRING);
    struct dyn_slice input = chat_member(block, "input", JSON_OBJECT);
    if (id.data == NULL || name.data == NULL || t->reading->calls == CHAT_CALLS_MAX) {
        return -1;
    }
    open->is_call = true;
    open->call = t->reading->calls++;
    tell(t, (struct chat_event){.kind = CHAT_CALL_BEGIN, .call = open->call, .id = id, .name = name});
    struct json_iter members = json_iter((struct json_value){JSON_OBJECT, input});
    struct json_member member;
    if (input.data != NULL && json_iter_next(&members, &member)) { /* some servers give all of it here */
        struct dyn_buf text = DYN_BUF_INIT;
        dyn_buf_add_json_string(&text, input);
        tell(t, (struct chat_event){.kind = CHAT_CALL_ADD, .call = open->call, .text = dyn_buf_slice(&text)});
        dyn_buf_fini(&text);
        open->has_text = true;
    }
    return 0;
}

static int
read_block_start(struct telling *t)
{
    struct chat_reading *reading = t->reading;
    struct json_value block = chat_find(t->event, "content_block");
    struct json_value type = chat_find(block, "type");
    int64_t index = block_index(t);
    if (index < 0 || chat_open_part_find(reading, index) != NULL || reading->n_open == CHAT_OPEN_MAX) {
        return -1;
    }
    struct chat_open_part *open = &reading->open[reading->n_open++];
    *open = (struct chat_open_part){.index = index};
    if (json_string_is(type, "tool_use")) {
        return open_call(t, open, block);
    }
    if (json_string_is(type, "redacted_thinking")) {
        struct dyn_slice data = chat_member(block, "data", JSON_STRING);
        tell(t, (struct chat_event){.kind = CHAT_HIDE, .text = data.data != NULL ? data : DYN_SLICE("\"\"")});
    } else if (json_string_is(type, "text")) {
        tell_text(t, CHAT_TEXT, chat_member(block, "text", JSON_STRING));
    } else if (json_string_is(type, "thinking")) {
        tell_text(t, CHAT_THINKING, chat_member(block, "thinking", JSON_STRING));
    }
    return 0;
}

static int
read_delta(struct telling *t)
{
    struct json_value delta = chat_find(t->event, "delta");
    struct json_value type = chat_find(delta, "type");
    struct chat_open_part *open = chat_open_part_find(t->reading, block_index(t));
    if (open == NULL) {
        return -1;
    }
    if (json_string_is(type, "text_delta")) {
        tell_text(t, CHAT_TEXT, chat_member(delta, "text", JSON_STRING));
    } else if (json_string_is(type, "thinking_delta")) {
        tell_text(t, CHAT_THINKING, chat_member(delta, "thinking", JSON_STRING));
    } else if (json_string_is(type, "signature_delta")) {
        struct dyn_slice signature = chat_member(delta, "signature", JSON_STRING);
        if (chat_has_text(signature)) {
            tell(t, (struct chat_event){.kind = CHAT_SIGN, .text = signature});
        }
    } else if (json_string_is(type, "input_json_delta") && open->is_call) {
        struct dyn_slice text = chat_member(delta, "partial_json", JSON_STRING);
        if (chat_has_text(text)) {
            open->has_text = true;
            tell(t, (struct chat_event){.kind = CHAT_CALL_ADD, .call = open->call, .text = text});
        }
    }
    return 0;
}

/* A call without arguments has an empty object of them, of which nothing is sent. */
static void
close_part(struct telling *t, struct chat_open_part *open)
{
    struct chat_reading *reading = t->reading;
    if (open->is_call && !open->has_text) {
        tell(t, (struct chat_event){.kind = CHAT_CALL_ADD, .call = open->call, .text = DYN_SLICE("\"{}\"")});
    }
    *open = reading->open[--reading->n_open];
}

static int
read_block_stop(struct telling *t)
{
    struct chat_open_part *open = chat_open_part_find(t->reading, block_index(t));
    if (open == NULL) {
        return -1;
    }
    close_part(t, open);
    return 0;
}

static int
read_message_delta(struct telling *t)
{
    struct chat_reading *reading = t->reading;
    struct json_value usage = chat_find(t->event, "usage");
    enum chat_finish finish = anthropic_finish(chat_find(chat_find(t->event, "delta"), "stop_reason"));
    while (reading->n_open > 0) {
        close_part(t, &reading->open[0]);
    }
    if (finish != CHAT_FINISH_NONE && !reading->has_finish) {
        reading->has_finish = true;
        tell(t, (struct chat_event){.kind = CHAT_FINISH, .finish = finish});
    }
    if (usage.raw.data != NULL) {
        anthropic_usage_read(usage, &reading->usage);
        tell(t, (struct chat_event){.kind = CHAT_USAGE, .usage = &reading->usage});
    }
    return 0;
}

static int
read_message_stop(struct telling *t)
{
    tell(t, (struct chat_event){.kind = CHAT_END});
    return 0;
}

static int
read_error(struct telling *t)
{
    tell(t, (struct chat_event){.kind = CHAT_ERROR,
                                .text = chat_member(chat_find(t->event, "error"), "message", JSON_STRING)});
    return 0;
}

static int
read_ping(struct telling *t)
{
    tell(t, (struct chat_event){.kind = CHAT_PING});
    return 0;
}

static const struct {
    const char *type;
    bool needs_begin;
    int (*read)(struct telling *t);
} events[] = {
    {"content_block_delta", true, read_delta},
    {"content_block_start", true, read_block_start},
    {"content_block_stop", true, read_block_stop},
    {"message_start", false, read_begin},
    {"message_delta", true, read_message_delta},
    {"message_stop", true, read_message_stop},
    {"ping", false, read_ping},
    {"error", false, read_error},
};

int
anthropic_event_in(struct chat_reading *reading, const struct sse_event *event, chat_event_fn tell_fn,
                   void *self)
{
    struct telling t = {.reading = reading, .tell = tell_fn, .self = self};
    char *copy;
    int failed = 0;
    if (upstream_json_scan(event->data, &t.event, &copy) != 0) {
        return -1;
    }
    struct json_value type = chat_find(t.event, "type");
    if (type.raw.data == NULL || type.type != JSON_STRING) {
        failed = -1;
    }
    for (size_t i = 0; i < DYN_ARRAY_LEN(events) && !failed; i++) { /* others are news */
        if (json_string_is(type, events[i].type)) {
            failed = events[i].needs_begin && !reading->has_begun ? -1 : events[i].read(&t);
            break;
        }
    }
    free(copy);
    return failed;
}

/* ---- writing ---- */

static void
begin_event(struct dyn_buf *out, const char *type)
{
    dyn_buf_addf(out, "event: %s\ndata: {\"type\":\"%s\"", type, type);
}

static void
begin_block_event(struct dyn_buf *out, const char *type, unsigned index)
{
    begin_event(out, type);
    dyn_buf_addf(out, ",\"index\":%u", index);
}

static void
end_event(struct dyn_buf *out)
{
    dyn_buf_add_slice(out, DYN_SLICE("}\n\n"));
}

static void
close_block(struct dyn_buf *out, unsigned index)
{
    begin_block_event(out, "content_block_stop", index);
    end_event(out);
}

static void
close_open(struct chat_writing *w, struct dyn_buf *out)
{
    if (w->is_open) {
        close_block(out, w->parts - 1);
        w->is_open = false;
    }
}

static void
write_begin(const struct chat_event *event, struct dyn_buf *out)
{
    struct dyn_slice nothing = DYN_SLICE("\"\"");
    struct env_usage none = {.known = false};
    begin_event(out, "message_start");
    dyn_buf_add_slice(out, DYN_SLICE(",\"message\":{\"type\":\"message\",\"role\":\"assistant\""));
    chat_put_raw(out, "id", event->id.data != NULL ? event->id : nothing);
    chat_put_raw(out, "model", event->model.data != NULL ? event->model : nothing);
    dyn_buf_add_slice(out,
                      DYN_SLICE(",\"content\":[],\"stop_reason\":null,\"stop_sequence\":null,\"usage\":"));
    anthropic_put_usage(out, event->usage != NULL ? event->usage : &none);
    dyn_buf_add_char(out, '}');
    end_event(out);
}

/* A refusal is text here; its reason says what it is. */
static void
open_part(struct chat_writing *w, enum chat_part_kind kind, struct dyn_buf *out)
{
    kind = kind == CHAT_THINKING ? CHAT_THINKING : CHAT_TEXT;
    if (w->is_open && w->open == kind) {
        return;
    }
    close_open(w, out);
    begin_block_event(out, "content_block_start", w->parts++);
    dyn_buf_add_str(out,
                    kind == CHAT_THINKING
                        ? ",\"content_block\":{\"type\":\"thinking\",\"thinking\":\"\",\"signature\":\"\"}"
                        : ",\"content_block\":{\"type\":\"text\",\"text\":\"\"}");
    end_event(out);
    w->is_open = true;
    w->open = kind;
}

static void
write_delta(unsigned index, const char *type, const char *key, struct dyn_slice text, struct dyn_buf *out)
{
    begin_block_event(out, "content_block_delta", index);
    dyn_buf_addf(out, ",\"delta\":{\"type\":\"%s\"", type);
    chat_put_raw(out, key, text);
    dyn_buf_add_char(out, '}');
    end_event(out);
}

static void
write_add(struct chat_writing *w, const struct chat_event *event, struct dyn_buf *out)
{
    bool is_thinking = event->part == CHAT_THINKING;
    open_part(w, event->part, out);
    write_delta(w->parts - 1, is_thinking ? "thinking_delta" : "text_delta",
                is_thinking ? "thinking" : "text", event->text, out);
}

static void
write_sign(struct chat_writing *w, const struct chat_event *event, struct dyn_buf *out)
{
    open_part(w, CHAT_THINKING, out);
    write_delta(w->parts - 1, "signature_delta", "signature", event->text, out);
    close_open(w, out);
}

static void
write_hide(struct chat_writing *w, const struct chat_event *event, struct dyn_buf *out)
{
    close_open(w, out);
    begin_block_event(out, "content_block_start", w->parts++);
    dyn_buf_add_slice(out, DYN_SLICE(",\"content_block\":{\"type\":\"redacted_thinking\""));
    chat_put_raw(out, "data", event->text);
    dyn_buf_add_char(out, '}');
    end_event(out);
    close_block(out, w->parts - 1);
}

static void
write_call_begin(struct chat_writing *w, const struct chat_event *event, struct dyn_buf *out)
{
    if (event->call >= CHAT_CALLS_MAX) {
        return;
    }
    close_open(w, out);
    w->call_part[event->call] = w->parts;
    w->calls = event->call + 1;
    begin_block_event(out, "content_block_start", w->parts++);
    dyn_buf_add_slice(out, DYN_SLICE(",\"content_block\":{\"type\":\"tool_use\""));
    chat_put_raw(out, "id", event->id);
    chat_put_raw(out, "name", event->name);
    dyn_buf_add_slice(out, DYN_SLICE(",\"input\":{}}"));
    end_event(out);
}

static void
write_end(struct chat_writing *w, struct dyn_buf *out)
{
    close_open(w, out);
    for (unsigned call = 0; call < w->calls; call++) { /* open until now: their arguments may come mixed */
        close_block(out, w->call_part[call]);
    }
    begin_event(out, "message_delta");
    dyn_buf_addf(out, ",\"delta\":{\"stop_reason\":\"%s\",\"stop_sequence\":null},\"usage\":",
                 anthropic_finish_word(w->finish));
    anthropic_put_usage(out, &w->usage);
    end_event(out);
    begin_event(out, "message_stop");
    end_event(out);
}

void
anthropic_event_out(struct chat_writing *w, const struct chat_event *event, struct dyn_buf *out)
{
    switch (event->kind) {
    case CHAT_BEGIN:
        write_begin(event, out);
        break;
    case CHAT_ADD:
        write_add(w, event, out);
        break;
    case CHAT_SIGN:
        write_sign(w, event, out);
        break;
    case CHAT_HIDE:
        write_hide(w, event, out);
        break;
    case CHAT_CALL_BEGIN:
        write_call_begin(w, event, out);
        break;
    case CHAT_CALL_ADD:
        if (event->call < w->calls) {
            write_delta(w->call_part[event->call], "input_json_delta", "partial_json", event->text, out);
        }
        break;
    case CHAT_FINISH:
        w->finish = event->finish;
        break;
    case CHAT_USAGE:
        w->usage = *event->usage;
        break;
    case CHAT_END:
        write_end(w, out);
        break;
    case CHAT_PING:
        begin_event(out, "ping");
        end_event(out);
        break;
    case CHAT_ERROR:
        break; /* whoever writes to the client says it */
    }
}
