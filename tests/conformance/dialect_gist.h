/* What a request, an answer or a stream says, as lines of text that can be compared: one fact a line, the
 * same lines for the same facts whatever dialect they were read from. For tests of dialects. */
#pragma once

#include "proto/dialects/bridge.h"
#include "proto/dialects/chat.h"

enum { GIST_CALLS_MAX = 16 };

struct gist_stream {
    struct dyn_buf text[3]; /* insides of JSON strings: texts and refusals, thoughts, signatures and hidden */
    struct gist_call {
        struct dyn_buf head;
        struct dyn_buf arguments;
    } calls[GIST_CALLS_MAX];
    unsigned n_calls;
    struct dyn_buf model;
    enum chat_finish finish;
    struct env_usage usage;
    bool has_ended;
    bool has_failed;
    bool is_garbage;
};

static inline void
gist_line(struct dyn_buf *out, const char *name, struct dyn_slice value)
{
    if (value.data != NULL) {
        dyn_buf_addf(out, "%s: %.*s\n", name, (int)value.len, value.data);
    }
}

static inline void
gist_usage(struct dyn_buf *out, const struct env_usage *usage)
{
    if (usage->known) {
        dyn_buf_addf(out, "usage: %llu (%llu cached) + %llu (%llu thinking) = %llu, %llu into the cache\n",
                     (unsigned long long)usage->prompt_tokens, (unsigned long long)usage->cached_tokens,
                     (unsigned long long)usage->completion_tokens,
                     (unsigned long long)usage->reasoning_tokens, (unsigned long long)usage->total_tokens,
                     (unsigned long long)usage->cache_write_tokens);
    }
}

static inline const char *
gist_finish(enum chat_finish finish)
{
    static const char *const words[] = {"stop", "stop", "length", "calls",
                                        "filter"}; /* none said: it stopped */
    return words[finish];
}

/* ---- streams ---- */

static inline void
gist_inside(struct dyn_buf *out, struct dyn_slice json)
{
    if (json.len > 2) {
        dyn_buf_add(out, json.data + 1, json.len - 2);
    }
}

static inline void
gist_tell(void *self, const struct chat_event *event)
{
    struct gist_stream *gist = self;
    struct gist_call *call = event->call < GIST_CALLS_MAX ? &gist->calls[event->call] : NULL;
    if (event->kind == CHAT_BEGIN) {
        dyn_buf_add_slice(&gist->model, event->model);
    } else if (event->kind == CHAT_ADD) {
        gist_inside(&gist->text[event->part == CHAT_THINKING ? 1 : 0], event->text);
    } else if (event->kind == CHAT_SIGN || event->kind == CHAT_HIDE) {
        gist_inside(&gist->text[2], event->text);
        dyn_buf_add_char(&gist->text[2], ' ');
    } else if (event->kind == CHAT_CALL_BEGIN && call != NULL) {
        gist->n_calls = event->call + 1;
        dyn_buf_addf(&call->head, "%.*s %.*s", (int)event->id.len, event->id.data, (int)event->name.len,
                     event->name.data);
    } else if (event->kind == CHAT_CALL_ADD && call != NULL) {
        gist_inside(&call->arguments, event->text);
    } else if (event->kind == CHAT_FINISH) {
        gist->finish = event->finish;
    } else if (event->kind == CHAT_USAGE) {
        gist->usage = *event->usage;
    } else {
        gist->has_ended |= event->kind == CHAT_END;
        gist->has_failed |= event->kind == CHAT_ERROR;
    }
}

static inline void
gist_stream_read(const struct dialect_ops *dialect, struct dyn_slice stream, size_t piece_max,
                 struct gist_stream *gist)
{
    struct chat_reading reading = {.calls = 0};
    struct sse_reader reader;
    struct sse_event event;
    sse_reader_init(&reader, SSE_EVENT_MAX);
    for (size_t at = 0; at < stream.len && !gist->is_garbage; at += piece_max) {
        size_t len = stream.len - at < piece_max ? stream.len - at : piece_max;
        struct dyn_slice piece = {stream.data + at, len};
        while (!gist->has_ended && !gist->has_failed && sse_reader_next(&reader, &piece, &event) == 1) {
            if (event.data.len > 0 && dialect->chat->read_event(&reading, &event, gist_tell, gist) != 0) {
                gist->is_garbage = true;
                break;
            }
        }
    }
    sse_reader_fini(&reader);
}

/* Frees what the gist holds. */
static inline void
gist_stream_write(struct gist_stream *gist, struct dyn_buf *out)
{
    static const char *const names[] = {"text", "thinking", "signatures"};
    if (gist->model.len > 2) {
        gist_line(out, "model", dyn_buf_slice(&gist->model));
    }
    for (size_t i = 0; i < DYN_ARRAY_LEN(names); i++) {
        if (gist->text[i].len > 0) {
            gist_line(out, names[i], dyn_buf_slice(&gist->text[i]));
        }
        dyn_buf_fini(&gist->text[i]);
    }
    for (unsigned i = 0; i < gist->n_calls; i++) {
        dyn_buf_addf(out, "call %u: %s %s\n", i, dyn_buf_cstr(&gist->calls[i].head),
                     dyn_buf_cstr(&gist->calls[i].arguments));
    }
    for (unsigned i = 0; i < GIST_CALLS_MAX; i++) {
        dyn_buf_fini(&gist->calls[i].head);
        dyn_buf_fini(&gist->calls[i].arguments);
    }
    dyn_buf_fini(&gist->model);
    gist_usage(out, &gist->usage);
    dyn_buf_addf(out, "%s\n",
                 gist->is_garbage   ? "garbage"
                 : gist->has_failed ? "error"
                 : gist->has_ended  ? gist_finish(gist->finish)
                                    : "cut");
}

/* ---- answers ---- */

static inline void
gist_parts(const struct chat_parts *parts, struct dyn_buf *out)
{
    static const char *const names[] = {
        [CHAT_TEXT] = "text",         [CHAT_REFUSAL] = "text",    [CHAT_THINKING] = "thinking",
        [CHAT_REDACTED] = "redacted", [CHAT_IMAGE_URL] = "image", [CHAT_IMAGE_DATA] = "image",
        [CHAT_FILE_DATA] = "file",    [CHAT_CALL] = "call",       [CHAT_OTHER] = "other",
    };
    for (const struct chat_part *part = parts->first; part != NULL; part = part->next) {
        bool is_text = part->kind == CHAT_TEXT || part->kind == CHAT_REFUSAL;
        if (is_text && chat_is_blank(part->text)) {
            continue;
        }
        dyn_buf_addf(out, "%s:", names[part->kind]);
        const struct dyn_slice fields[] = {part->id,         part->name, part->arguments, part->text,
                                           part->media_type, part->data, part->signature};
        for (size_t i = 0; i < DYN_ARRAY_LEN(fields); i++) {
            if (fields[i].len > 0) {
                dyn_buf_addf(out, " %.*s", (int)fields[i].len, fields[i].data);
            }
        }
        dyn_buf_add_char(out, '\n');
        if (part->detail.data != NULL) {
            gist_line(out, "detail", part->detail);
        }
    }
}

/* Texts that stand in a row are one: not every dialect has several. */
static inline void
gist_join_texts(struct chat_parts *parts, struct arena *arena)
{
    for (struct chat_part *part = parts->first; part != NULL; part = part->next) {
        while (part->kind == CHAT_TEXT && part->next != NULL &&
               (part->next->kind == CHAT_TEXT || part->next->kind == CHAT_REFUSAL)) {
            struct dyn_slice a = part->text;
            struct dyn_slice b = part->next->text;
            part->text = arena_printf(arena, "%.*s%.*s", (int)a.len - 1, a.data, (int)b.len - 1, b.data + 1);
            part->next = part->next->next;
        }
    }
}

static inline void
gist_answer(const struct dialect_ops *dialect, struct dyn_slice body, struct dyn_buf *out)
{
    struct arena arena;
    struct chat_answer answer;
    arena_init(&arena, NULL, 0);
    if (dialect->chat->read_answer(body, &arena, &answer) != 0) {
        dyn_buf_add_str(out, "garbage\n");
    } else {
        gist_line(out, "id", answer.id);
        gist_line(out, "model", answer.model);
        gist_join_texts(&answer.parts, &arena);
        gist_parts(&answer.parts, out);
        gist_usage(out, &answer.usage);
        dyn_buf_addf(out, "%s\n", gist_finish(answer.finish));
    }
    arena_fini(&arena);
}

/* ---- requests ---- */

static inline void
gist_number(struct dyn_buf *out, const char *name, uint64_t number)
{
    if (number > 0) {
        dyn_buf_addf(out, "%s: %llu\n", name, (unsigned long long)number);
    }
}

static inline void
gist_tools(const struct chat_request *request, struct dyn_buf *out)
{
    static const char *const choices[] = {"", "auto", "none", "any", "one"};
    for (const struct chat_tool *tool = request->tools; tool != NULL; tool = tool->next) {
        gist_line(out, tool->is_function ? "tool" : "other tool",
                  tool->name.data ? tool->name : DYN_SLICE("-"));
        gist_line(out, "description", tool->description);
        gist_line(out, "parameters", tool->parameters);
        if (tool->strict == CHAT_YES) {
            dyn_buf_add_str(out, "strict: yes\n");
        }
    }
    if (request->tool_choice > CHAT_CHOICE_AUTO) {
        gist_line(out, "tool_choice", dyn_slice_str(choices[request->tool_choice]));
        gist_line(out, "chosen", request->tool_choice_name);
    }
    if (request->parallel_calls == CHAT_NO) {
        dyn_buf_add_str(out, "parallel_tool_calls: no\n");
    }
}

static inline void
gist_scalars(const struct chat_request *request, struct dyn_buf *out)
{
    static const char *const formats[] = {"text", "json", "schema"};
    gist_line(out, "model", request->model);
    gist_number(out, "max_tokens", request->max_tokens);
    gist_line(out, "temperature", request->temperature);
    gist_line(out, "top_p", request->top_p);
    gist_line(out, "top_k", request->top_k);
    struct json_iter stops = json_iter(request->stop);
    if (request->stop.type == JSON_STRING) {
        gist_line(out, "stop", request->stop.raw);
    }
    for (struct json_member item; json_iter_next(&stops, &item);) {
        gist_line(out, "stop", item.value.raw);
    }
    gist_line(out, "user", request->user);
    gist_line(out, "reasoning_effort", request->effort);
    gist_line(out, "service_tier", request->service_tier);
    dyn_buf_addf(out, "stream: %s\n", request->stream ? "yes" : "no");
    if (request->format != CHAT_FORMAT_TEXT) {
        dyn_buf_addf(out, "response_format: %s %.*s\n", formats[request->format], (int)request->schema.len,
                     request->schema.data ? request->schema.data : "");
    }
    for (const struct chat_other *other = request->others; other != NULL; other = other->next) {
        dyn_buf_addf(out, "%.*s: %.*s\n", (int)other->key.len, other->key.data, (int)other->value.raw.len,
                     other->value.raw.data);
    }
}

/* Instructions first: where they stood is told as a loss. */
static inline void
gist_request(struct chat_request *request, struct dyn_buf *out)
{
    static const char *const roles[] = {"system", "system", "user", "assistant", "tool"};
    gist_scalars(request, out);
    gist_tools(request, out);
    for (int pass = 0; pass < 2; pass++) {
        for (struct chat_message *m = request->messages; m != NULL; m = m->next) {
            bool is_instruction = m->role == CHAT_SYSTEM || m->role == CHAT_DEVELOPER;
            if (is_instruction != (pass == 0)) {
                continue;
            }
            if (!is_instruction) {
                gist_line(out, "role", dyn_slice_str(m->is_legacy ? "function" : roles[m->role]));
            }
            gist_line(out, "name", m->name);
            gist_line(out, "tool_call_id", m->tool_call_id);
            gist_line(out, "reasoning_content", m->thinking);
            if (m->is_error) {
                dyn_buf_add_str(out, "is_error: yes\n");
            }
            gist_parts(&m->parts, out);
        }
    }
}
