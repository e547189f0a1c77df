/* The conversation of a Messages API request: `system` and `messages`. Instructions go to the top wherever
 * they stood; results of tools that stand in a row are one turn of the user, together with what the user says
 * behind them; blocks without text or with white space only, which the API refuses, are left out. */
#include "proto/dialects/anthropic_codec.h"

#include "core/base64.h"
#include "core/text.h"

#include <stdio.h>

/* `{"type":"T"` with a comma before it where one is needed. */
static void
open_block(struct dyn_buf *out, const char *type)
{
    chat_put_item(out);
    dyn_buf_add_slice(out, DYN_SLICE("{\"type\":\""));
    dyn_buf_add_str(out, type);
    dyn_buf_add_char(out, '"');
}

static void
close_block(struct dyn_buf *out, struct dyn_slice cache_control)
{
    chat_put_raw(out, "cache_control", cache_control);
    dyn_buf_add_char(out, '}');
}

/* The API takes letters, digits, '_' and '-' in ids of calls; other gateways' and providers' ids have more.
 * What is replaced is spelled out, so that call and result still agree and no two ids become one. */
static void
put_call_id(struct dyn_buf *out, const char *key, struct dyn_slice id, struct arena *arena)
{
    struct dyn_slice plain = chat_decode(id, arena);
    chat_put_key(out, key);
    dyn_buf_add_char(out, '"');
    for (size_t i = 0; i < plain.len; i++) {
        unsigned char c = (unsigned char)plain.data[i];
        bool may_stand = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                         c == '_' || c == '-';
        if (may_stand) {
            dyn_buf_add_char(out, (char)c);
        } else {
            dyn_buf_addf(out, "_x%02x", c);
        }
    }
    dyn_buf_add_str(out, plain.len > 0 ? "\"" : "_\"");
}

static void
put_text(struct dyn_buf *out, const struct chat_part *part)
{
    if (!chat_is_blank(part->text)) {
        open_block(out, "text");
        chat_put_raw(out, "text", part->text);
        close_block(out, part->cache_control);
    }
}

static void
put_data(struct dyn_buf *out, const char *type, const struct chat_part *part)
{
    open_block(out, type);
    chat_put_key(out, "source");
    dyn_buf_add_slice(out, DYN_SLICE("{\"type\":\"base64\",\"media_type\":\""));
    dyn_buf_add_slice(out, part->media_type);
    dyn_buf_add_slice(out, DYN_SLICE("\",\"data\":\""));
    dyn_buf_add_slice(out, part->data);
    dyn_buf_add_slice(out, DYN_SLICE("\"}"));
    if (part->kind == CHAT_FILE_DATA) {
        chat_put_raw(out, "title", part->text);
    }
    close_block(out, part->cache_control);
}

static bool
is_utf8(struct dyn_slice text)
{
    size_t at = 0;
    for (size_t len; at < text.len; at += len) {
        len = dyn_utf8_len(text.data + at, text.data + text.len);
        if (len == 0) {
            return false;
        }
    }
    return true;
}

/* 0 when the base64 was that of a text. */
static int
put_text_file(struct dyn_buf *out, const struct chat_part *part)
{
    struct dyn_buf text = DYN_BUF_INIT;
    int failed = dyn_base64_decode(part->data, &text);
    if (!failed && is_utf8(dyn_buf_slice(&text))) {
        open_block(out, "document");
        dyn_buf_add_slice(
            out, DYN_SLICE(",\"source\":{\"type\":\"text\",\"media_type\":\"text/plain\",\"data\":"));
        dyn_buf_add_json_string(out, dyn_buf_slice(&text));
        dyn_buf_add_char(out, '}');
        chat_put_raw(out, "title", part->text);
        close_block(out, part->cache_control);
    } else {
        failed = -1;
    }
    dyn_buf_fini(&text);
    return failed;
}

/* Of files the API takes PDF, and text as text. */
static int
put_file(struct anthropic_writing *w, const struct chat_message *message, const struct chat_part *part,
         unsigned n)
{
    char what[192];
    if (dyn_slice_ieq(part->media_type, DYN_SLICE("application/pdf"))) {
        put_data(w->out, "document", part);
        return 0;
    }
    if (!dyn_slice_ieq(part->media_type, DYN_SLICE("text/plain"))) {
        size_t len = part->media_type.len < 64 ? part->media_type.len : 64;
        (void)snprintf(what, sizeof what,
                       "is of type %.*s; this provider takes application/pdf and text/plain only", (int)len,
                       part->media_type.data);
    } else if (put_text_file(w->out, part) == 0) {
        return 0;
    } else {
        (void)snprintf(what, sizeof what, "is of type text/plain, but is no text in UTF-8");
    }
    return chat_refuse(w->problem, what, "messages[%u].content[%u].file.file_data", message->index, n);
}

static void
put_image_url(struct dyn_buf *out, const struct chat_part *part)
{
    open_block(out, "image");
    chat_put_key(out, "source");
    dyn_buf_add_slice(out, DYN_SLICE("{\"type\":\"url\",\"url\":"));
    dyn_buf_add_slice(out, part->data);
    dyn_buf_add_char(out, '}');
    close_block(out, part->cache_control);
}

static void
put_thinking(struct dyn_buf *out, const struct chat_part *part)
{
    bool is_hidden = part->kind == CHAT_REDACTED;
    open_block(out, is_hidden ? "redacted_thinking" : "thinking");
    if (is_hidden) {
        chat_put_raw(out, "data", part->data);
    } else {
        chat_put_raw(out, "thinking", part->text);
        chat_put_raw(out, "signature", part->signature);
    }
    dyn_buf_add_char(out, '}');
}

/* Arguments that are no JSON object were made by a model that erred; the API takes objects only. */
static void
put_call(struct anthropic_writing *w, const struct chat_message *message, const struct chat_part *part,
         unsigned call)
{
    open_block(w->out, "tool_use");
    put_call_id(w->out, "id", part->id, w->arena);
    chat_put_raw(w->out, "name", part->name);
    chat_put_raw(w->out, "input", part->is_json ? part->arguments : DYN_SLICE("{}"));
    close_block(w->out, part->cache_control);
    if (!part->is_json && part->arguments.len > 0) {
        chat_lose(w->losses, "messages[%u].tool_calls[%u].function.arguments", message->index, call);
    }
}

static int
refuse_part(struct anthropic_writing *w, const struct chat_message *message, unsigned n)
{
    return chat_refuse(w->problem, "is of a type that this provider does not take",
                       "messages[%u].content[%u]", message->index, n);
}

static void
note_detail(struct anthropic_writing *w, const struct chat_message *message, const struct chat_part *part,
            unsigned n)
{
    struct json_value detail = {JSON_STRING, part->detail};
    if (part->detail.data != NULL && !json_string_is(detail, "auto")) {
        chat_lose(w->losses, "messages[%u].content[%u].image_url.detail", message->index, n);
    }
}

static int
put_part(struct anthropic_writing *w, const struct chat_message *message, const struct chat_part *part,
         unsigned n, unsigned *calls)
{
    switch (part->kind) {
    case CHAT_REFUSAL:
        chat_lose(w->losses, "messages[%u].refusal", message->index);
        put_text(w->out, part);
        break;
    case CHAT_TEXT:
        put_text(w->out, part);
        break;
    case CHAT_THINKING:
    case CHAT_REDACTED:
        put_thinking(w->out, part);
        break;
    case CHAT_IMAGE_URL:
        note_detail(w, message, part, n);
        put_image_url(w->out, part);
        break;
    case CHAT_IMAGE_DATA:
        note_detail(w, message, part, n);
        put_data(w->out, "image", part);
        break;
    case CHAT_FILE_DATA:
        return put_file(w, message, part, n);
    case CHAT_CALL:
        put_call(w, message, part, (*calls)++);
        break;
    case CHAT_OTHER:
        return refuse_part(w, message, n);
    }
    return 0;
}

static int
put_parts(struct anthropic_writing *w, const struct chat_message *message)
{
    unsigned n = 0;
    unsigned calls = 0;
    for (const struct chat_part *part = message->parts.first; part != NULL; part = part->next, n++) {
        if (put_part(w, message, part, n, &calls) != 0) {
            return -1;
        }
    }
    return 0;
}

/* One text and nothing else, which may stand as a string. */
static bool
is_one_text(const struct chat_parts *parts)
{
    return parts->first != NULL && parts->first == parts->last && parts->first->kind == CHAT_TEXT &&
           parts->first->cache_control.data == NULL;
}

static bool
says_something(const struct chat_message *message)
{
    for (const struct chat_part *part = message->parts.first; part != NULL; part = part->next) {
        if ((part->kind != CHAT_TEXT && part->kind != CHAT_REFUSAL) || !chat_is_blank(part->text)) {
            return true;
        }
    }
    return false;
}

static int
put_content(struct anthropic_writing *w, const struct chat_message *message)
{
    chat_put_key(w->out, "content");
    if (is_one_text(&message->parts)) {
        dyn_buf_add_slice(w->out, message->parts.first->text);
        return 0;
    }
    dyn_buf_add_char(w->out, '[');
    int failed = put_parts(w, message);
    dyn_buf_add_char(w->out, ']');
    return failed;
}

static int
put_result(struct anthropic_writing *w, const struct chat_message *message)
{
    if (message->tool_call_id.data == NULL) {
        return chat_refuse(w->problem, "is missing", "messages[%u].tool_call_id", message->index);
    }
    open_block(w->out, "tool_result");
    put_call_id(w->out, "tool_use_id", message->tool_call_id, w->arena);
    if (says_something(message) && put_content(w, message) != 0) {
        return -1;
    }
    if (message->is_error) {
        dyn_buf_add_slice(w->out, DYN_SLICE(",\"is_error\":true"));
    }
    dyn_buf_add_char(w->out, '}');
    return 0;
}

/* ---- turns ---- */

static void
open_turn(struct dyn_buf *out, const char *role)
{
    chat_put_item(out);
    dyn_buf_add_slice(out, DYN_SLICE("{\"role\":\""));
    dyn_buf_add_str(out, role);
    dyn_buf_add_char(out, '"');
}

static int
put_turn(struct anthropic_writing *w, const struct chat_message *message)
{
    if (!says_something(message)) {
        chat_lose(w->losses, "messages[%u].content", message->index);
        return 0;
    }
    open_turn(w->out, message->role == CHAT_ASSISTANT ? "assistant" : "user");
    int failed = put_content(w, message);
    dyn_buf_add_char(w->out, '}');
    return failed;
}

static void
end_results(struct anthropic_writing *w, bool *is_open)
{
    if (*is_open) {
        dyn_buf_add_slice(w->out, DYN_SLICE("]}"));
        *is_open = false;
    }
}

/* `is_open`: a turn that began with results of tools and has room for more. */
static int
put_message(struct anthropic_writing *w, const struct chat_message *message, bool *is_open)
{
    if (message->role == CHAT_TOOL) {
        if (!*is_open) {
            open_turn(w->out, "user");
            chat_put_key(w->out, "content");
            dyn_buf_add_char(w->out, '[');
            *is_open = true;
        }
        return put_result(w, message);
    }
    if (message->role == CHAT_USER && *is_open) {
        int failed = put_parts(w, message);
        end_results(w, is_open);
        return failed;
    }
    end_results(w, is_open);
    return put_turn(w, message);
}

static bool
is_instruction(const struct chat_message *message)
{
    return message->role == CHAT_SYSTEM || message->role == CHAT_DEVELOPER;
}

/* ---- instructions ---- */

static int
put_instructions(struct anthropic_writing *w, const struct chat_message *only)
{
    bool is_single = true;
    const struct chat_message *first = NULL;
    for (const struct chat_message *m = w->request->messages; m != NULL; m = m->next) {
        if (is_instruction(m) && m != only && says_something(m)) {
            is_single &= first == NULL;
            first = first == NULL ? m : first;
        }
    }
    if (first == NULL) {
        return 0;
    }
    chat_put_key(w->out, "system");
    if (is_single && is_one_text(&first->parts)) {
        dyn_buf_add_slice(w->out, first->parts.first->text);
        return 0;
    }
    dyn_buf_add_char(w->out, '[');
    for (const struct chat_message *m = first; m != NULL; m = m->next) {
        unsigned n = 0;
        for (struct chat_part *part = m->parts.first; is_instruction(m) && m != only && part != NULL;
             part = part->next, n++) {
            if (part->kind != CHAT_TEXT) {
                return chat_refuse(w->problem, "must be text in instructions to this provider",
                                   "messages[%u].content[%u]", m->index, n);
            }
            put_text(w->out, part);
        }
    }
    dyn_buf_add_char(w->out, ']');
    return 0;
}

/* What is lost of the messages whatever they say. */
static int
note_losses(struct anthropic_writing *w)
{
    bool has_turn = false;
    for (const struct chat_message *m = w->request->messages; m != NULL; m = m->next) {
        if (m->is_legacy) {
            return chat_refuse(
                w->problem,
                "uses function calls of the older form, or audio, which this provider does not take",
                "messages[%u]", m->index);
        }
        if (m->name.data != NULL) {
            chat_lose(w->losses, "messages[%u].name", m->index);
        }
        bool has_thoughts = m->parts.first != NULL &&
                            (m->parts.first->kind == CHAT_THINKING || m->parts.first->kind == CHAT_REDACTED);
        if (chat_has_text(m->thinking) && !has_thoughts) {
            chat_lose(w->losses, "messages[%u].reasoning_content", m->index);
        }
        if (has_turn && is_instruction(m)) {
            chat_lose(w->losses, "messages[%u].role", m->index); /* it goes to the top */
        }
        has_turn |= !is_instruction(m);
    }
    return 0;
}

/* The API wants a turn; who sends instructions only has the last of them asked as the user. */
static const struct chat_message *
only_instruction(struct anthropic_writing *w)
{
    for (const struct chat_message *m = w->request->messages; m != NULL; m = m->next) {
        if (!is_instruction(m)) {
            return NULL;
        }
    }
    if (w->request->last_message != NULL) {
        chat_lose(w->losses, "messages[%u].role", w->request->last_message->index);
    }
    return w->request->last_message;
}

int
anthropic_put_messages(struct anthropic_writing *w)
{
    bool is_open = false;
    int failed = note_losses(w);
    const struct chat_message *only = failed ? NULL : only_instruction(w);
    if (failed || put_instructions(w, only) != 0) {
        return -1;
    }
    chat_put_key(w->out, "messages");
    dyn_buf_add_char(w->out, '[');
    size_t start = w->out->len;
    for (const struct chat_message *m = w->request->messages; m != NULL && !failed; m = m->next) {
        if (!is_instruction(m) || m == only) {
            failed = put_message(w, m, &is_open);
        }
    }
    end_results(w, &is_open);
    if (!failed && w->out->len == start) {
        return chat_refuse(w->problem, "must say something to this provider", "messages");
    }
    dyn_buf_add_char(w->out, ']');
    return failed;
}
