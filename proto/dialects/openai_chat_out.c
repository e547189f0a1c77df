/* An OpenAI chat request written from the record of chat.h. */
#include "proto/dialects/openai_chat_codec.h"

#include "proto/dialects/dialect.h"

struct writing {
    const struct chat_request *request;
    struct arena *arena;
    struct dyn_buf *out;
    struct chat_losses *losses;
    struct dialect_problem *problem;
};

/* ---- parts ---- */

static void
put_data_url(struct dyn_buf *out, const char *key, const struct chat_part *part)
{
    chat_put_key(out, key);
    dyn_buf_add_slice(out, DYN_SLICE("\"data:"));
    dyn_buf_add_slice(out, part->media_type);
    dyn_buf_add_slice(out, DYN_SLICE(";base64,"));
    dyn_buf_add_slice(out, part->data);
    dyn_buf_add_char(out, '"');
}

static void
open_part(struct dyn_buf *out, const char *type)
{
    chat_put_item(out);
    dyn_buf_addf(out, "{\"type\":\"%s\"", type);
}

static void
put_image(struct dyn_buf *out, const struct chat_part *part)
{
    open_part(out, "image_url");
    dyn_buf_add_slice(out, DYN_SLICE(",\"image_url\":{"));
    if (part->kind == CHAT_IMAGE_URL) {
        chat_put_raw(out, "url", part->data);
    } else {
        put_data_url(out, "url", part);
    }
    chat_put_raw(out, "detail", part->detail);
    dyn_buf_add_char(out, '}');
}

static void
put_file(struct dyn_buf *out, const struct chat_part *part)
{
    open_part(out, "file");
    dyn_buf_add_slice(out, DYN_SLICE(",\"file\":{"));
    put_data_url(out, "file_data", part);
    chat_put_raw(out, "filename", part->text);
    dyn_buf_add_char(out, '}');
}

/* Parts that stand in `content`; the others are members of their own. */
static bool
is_content(enum chat_part_kind kind)
{
    return kind == CHAT_TEXT || kind == CHAT_IMAGE_URL || kind == CHAT_IMAGE_DATA || kind == CHAT_FILE_DATA ||
           kind == CHAT_OTHER;
}

static int
put_part(struct writing *w, const struct chat_message *message, const struct chat_part *part, unsigned n)
{
    if (part->kind == CHAT_TEXT) {
        open_part(w->out, "text");
        chat_put_raw(w->out, "text", part->text);
    } else if (part->kind == CHAT_IMAGE_URL || part->kind == CHAT_IMAGE_DATA) {
        put_image(w->out, part);
    } else if (part->kind == CHAT_FILE_DATA) {
        put_file(w->out, part);
    } else {
        return chat_refuse(w->problem, "is of a type that this provider does not take",
                           "messages[%u].content[%u]", message->index, n);
    }
    chat_put_raw(w->out, "cache_control", part->cache_control);
    dyn_buf_add_char(w->out, '}');
    return 0;
}

static const struct chat_part *
next_of(const struct chat_part *part, enum chat_part_kind kind)
{
    while (part != NULL && part->kind != kind) {
        part = part->next;
    }
    return part;
}

static int
put_content(struct writing *w, const struct chat_message *message)
{
    const struct chat_part *only = NULL;
    unsigned n = 0;
    unsigned index = 0;
    for (const struct chat_part *part = message->parts.first; part != NULL; part = part->next) {
        n += is_content(part->kind) ? 1 : 0;
        only = is_content(part->kind) ? part : only;
    }
    chat_put_key(w->out, "content");
    if (n == 0) {
        bool may_be_null = message->role == CHAT_ASSISTANT;
        dyn_buf_add_str(w->out, may_be_null ? "null" : "\"\"");
        return 0;
    }
    if (n == 1 && only->kind == CHAT_TEXT && only->cache_control.data == NULL) {
        dyn_buf_add_slice(w->out, only->text);
        return 0;
    }
    dyn_buf_add_char(w->out, '[');
    for (const struct chat_part *part = message->parts.first; part != NULL; part = part->next, index++) {
        if (is_content(part->kind) && put_part(w, message, part, index) != 0) {
            return -1;
        }
    }
    dyn_buf_add_char(w->out, ']');
    return 0;
}

/* ---- messages ---- */

static void
put_thoughts(struct dyn_buf *out, const struct chat_message *message)
{
    bool is_open = false;
    for (const struct chat_part *part = message->parts.first; part != NULL; part = part->next) {
        bool is_hidden = part->kind == CHAT_REDACTED;
        if (!is_hidden && part->kind != CHAT_THINKING) {
            continue;
        }
        if (!is_open) {
            chat_put_key(out, "thinking_blocks");
            dyn_buf_add_char(out, '[');
            is_open = true;
        }
        open_part(out, is_hidden ? "redacted_thinking" : "thinking");
        chat_put_raw(out, is_hidden ? "data" : "thinking", is_hidden ? part->data : part->text);
        chat_put_raw(out, "signature", part->signature);
        dyn_buf_add_char(out, '}');
    }
    if (is_open) {
        dyn_buf_add_char(out, ']');
    }
    chat_put_raw(out, "reasoning_content", message->thinking);
}

static void
put_calls(struct dyn_buf *out, const struct chat_message *message)
{
    const struct chat_part *part = next_of(message->parts.first, CHAT_CALL);
    if (part == NULL) {
        return;
    }
    chat_put_key(out, "tool_calls");
    dyn_buf_add_char(out, '[');
    for (; part != NULL; part = next_of(part->next, CHAT_CALL)) {
        chat_put_item(out);
        dyn_buf_add_char(out, '{');
        chat_put_raw(out, "id", part->id);
        dyn_buf_add_slice(out, DYN_SLICE(",\"type\":\"function\",\"function\":{"));
        chat_put_raw(out, "name", part->name);
        chat_put_key(out, "arguments");
        dyn_buf_add_json_string(out, part->arguments);
        dyn_buf_add_slice(out, DYN_SLICE("}}"));
    }
    dyn_buf_add_char(out, ']');
}

static int
put_message(struct writing *w, const struct chat_message *message)
{
    static const char *const roles[] = {
        [CHAT_SYSTEM] = "system",       [CHAT_DEVELOPER] = "developer", [CHAT_USER] = "user",
        [CHAT_ASSISTANT] = "assistant", [CHAT_TOOL] = "tool",
    };
    const struct chat_part *refusal = next_of(message->parts.first, CHAT_REFUSAL);
    chat_put_item(w->out);
    dyn_buf_addf(w->out, "{\"role\":\"%s\"", roles[message->role]);
    chat_put_raw(w->out, "name", message->name);
    chat_put_raw(w->out, "tool_call_id", message->tool_call_id);
    if (put_content(w, message) != 0) {
        return -1;
    }
    if (refusal != NULL) {
        chat_put_raw(w->out, "refusal", refusal->text);
    }
    put_thoughts(w->out, message);
    put_calls(w->out, message);
    if (message->is_error) {
        chat_lose(w->losses, "messages[%u].is_error", message->index);
    }
    dyn_buf_add_char(w->out, '}');
    return 0;
}

static int
put_messages(struct writing *w)
{
    chat_put_key(w->out, "messages");
    dyn_buf_add_char(w->out, '[');
    for (const struct chat_message *m = w->request->messages; m != NULL; m = m->next) {
        if (put_message(w, m) != 0) {
            return -1;
        }
    }
    dyn_buf_add_char(w->out, ']');
    return 0;
}

/* ---- tools ---- */

static void
put_said(struct dyn_buf *out, const char *key, enum chat_said said)
{
    if (said != CHAT_UNSAID) {
        chat_put_raw(out, key, said == CHAT_YES ? DYN_SLICE("true") : DYN_SLICE("false"));
    }
}

static int
put_tools(struct writing *w)
{
    chat_put_key(w->out, "tools");
    dyn_buf_add_char(w->out, '[');
    for (const struct chat_tool *tool = w->request->tools; tool != NULL; tool = tool->next) {
        if (!tool->is_function) {
            return chat_refuse(w->problem, "must be a function to be sent to this provider", "tools[%u]",
                               tool->index);
        }
        chat_put_item(w->out);
        dyn_buf_add_slice(w->out, DYN_SLICE("{\"type\":\"function\",\"function\":{"));
        chat_put_raw(w->out, "name", tool->name);
        chat_put_raw(w->out, "description", tool->description);
        chat_put_raw(w->out, "parameters", tool->parameters);
        put_said(w->out, "strict", tool->strict);
        dyn_buf_add_char(w->out, '}');
        chat_put_raw(w->out, "cache_control", tool->cache_control);
        dyn_buf_add_char(w->out, '}');
    }
    dyn_buf_add_char(w->out, ']');
    return 0;
}

static void
put_tool_choice(struct writing *w)
{
    static const char *const words[] = {
        [CHAT_CHOICE_AUTO] = "\"auto\"", [CHAT_CHOICE_NONE] = "\"none\"", [CHAT_CHOICE_ANY] = "\"required\""};
    enum chat_choice choice = w->request->tool_choice;
    if (choice == CHAT_CHOICE_ONE) {
        chat_put_key(w->out, "tool_choice");
        dyn_buf_add_slice(w->out, DYN_SLICE("{\"type\":\"function\",\"function\":{"));
        chat_put_raw(w->out, "name", w->request->tool_choice_name);
        dyn_buf_add_slice(w->out, DYN_SLICE("}}"));
    } else if (choice != CHAT_CHOICE_UNSAID) {
        chat_put_raw(w->out, "tool_choice", dyn_slice_str(words[choice]));
    }
    put_said(w->out, "parallel_tool_calls", w->request->parallel_calls);
}

/* ---- the rest ---- */

static void
put_format(struct writing *w)
{
    const struct chat_request *request = w->request;
    if (request->format == CHAT_FORMAT_JSON) {
        chat_put_raw(w->out, "response_format", DYN_SLICE("{\"type\":\"json_object\"}"));
    } else if (request->format == CHAT_FORMAT_SCHEMA) {
        chat_put_key(w->out, "response_format");
        dyn_buf_add_slice(w->out, DYN_SLICE("{\"type\":\"json_schema\",\"json_schema\":{"));
        chat_put_raw(w->out, "name",
                     request->format_name.data != NULL ? request->format_name : DYN_SLICE("\"answer\""));
        chat_put_raw(w->out, "description", request->format_description);
        chat_put_raw(w->out, "schema", request->schema);
        put_said(w->out, "strict", request->format_strict);
        dyn_buf_add_slice(w->out, DYN_SLICE("}}"));
    }
}

static void
put_scalars(struct writing *w)
{
    const struct chat_request *request = w->request;
    chat_put_key(w->out, "model");
    dyn_buf_add_json_string(w->out, request->model);
    if (request->max_tokens > 0) {
        chat_put_key(w->out, "max_completion_tokens");
        dyn_buf_add_uint(w->out, request->max_tokens);
    }
    chat_put_raw(w->out, "temperature", request->temperature);
    chat_put_raw(w->out, "top_p", request->top_p);
    chat_put_raw(w->out, "top_k", request->top_k);
    chat_put_raw(w->out, "stop", request->stop.raw);
    chat_put_raw(w->out, "user", request->user);
    chat_put_raw(w->out, "reasoning_effort", request->effort);
    if (request->effort.data == NULL) { /* a server that stands in front of another one may know it */
        chat_put_raw(w->out, "thinking", request->thinking);
    }
    chat_put_raw(w->out, "service_tier", request->service_tier);
    if (request->stream) {
        chat_put_raw(w->out, "stream", DYN_SLICE("true"));
        chat_put_raw(w->out, "stream_options", DYN_SLICE("{\"include_usage\":true}"));
    }
}

int
openai_chat_out(const struct chat_request *request, struct arena *arena, struct dyn_buf *out,
                struct chat_losses *losses, struct dialect_problem *problem)
{
    struct writing w = {request, arena, out, losses, problem};
    dyn_buf_add_char(out, '{');
    put_scalars(&w);
    put_format(&w);
    for (const struct chat_other *other = request->others; other != NULL; other = other->next) {
        chat_lose(losses, "%.*s", (int)(other->key.len < 64 ? other->key.len : 64), other->key.data);
    }
    if (request->tools != NULL && put_tools(&w) != 0) {
        return -1;
    }
    put_tool_choice(&w);
    if (put_messages(&w) != 0) {
        return -1;
    }
    dyn_buf_add_char(out, '}');
    return 0;
}
