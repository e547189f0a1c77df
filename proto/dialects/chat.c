/* What the codecs of all dialects share: lists in an arena, looking into validated JSON, writing JSON, and
 * saying what was lost or is refused. */
#include "proto/dialects/chat.h"

#include "core/rand.h"
#include "core/text.h"
#include "proto/dialects/dialect.h"

#include <stdarg.h>
#include <stdio.h>

/* Longest name of one loss; an index or two and members of ours. Names of clients' own members are cut. */
#define LOSS_MAX 96u

/* ---- lists ---- */

struct chat_part *
chat_part_add(struct chat_parts *parts, struct arena *arena, enum chat_part_kind kind)
{
    struct chat_part *part = arena_zalloc(arena, sizeof *part);
    part->kind = kind;
    if (parts->last != NULL) {
        parts->last->next = part;
    } else {
        parts->first = part;
    }
    parts->last = part;
    return part;
}

struct chat_message *
chat_message_add(struct chat_request *request, struct arena *arena, enum chat_role role)
{
    struct chat_message *message = arena_zalloc(arena, sizeof *message);
    message->role = role;
    if (request->last_message != NULL) {
        request->last_message->next = message;
    } else {
        request->messages = message;
    }
    request->last_message = message;
    return message;
}

struct chat_tool *
chat_tool_add(struct chat_request *request, struct arena *arena)
{
    struct chat_tool *tool = arena_zalloc(arena, sizeof *tool);
    if (request->last_tool != NULL) {
        tool->index = request->last_tool->index + 1;
        request->last_tool->next = tool;
    } else {
        request->tools = tool;
    }
    request->last_tool = tool;
    return tool;
}

void
chat_other_add(struct chat_request *request, struct arena *arena, const struct json_member *member)
{
    struct chat_other *other = arena_zalloc(arena, sizeof *other);
    other->key = member->key;
    other->value = member->value;
    if (request->last_other != NULL) {
        request->last_other->next = other;
    } else {
        request->others = other;
    }
    request->last_other = other;
}

/* ---- what was lost, what is refused ---- */

static bool
is_name_character(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-' || c == '.' || c == '[' || c == ']';
}

static bool
is_listed(struct dyn_slice list, struct dyn_slice name)
{
    const char *end = list.len > 0 ? list.data + list.len : list.data;
    for (const char *at = list.data; at < end;) {
        const char *comma = memchr(at, ',', (size_t)(end - at));
        const char *stop = comma != NULL ? comma : end;
        if (dyn_slice_eq(dyn_slice(at, (size_t)(stop - at)), name)) {
            return true;
        }
        at = stop + 1;
    }
    return false;
}

void
chat_lose(struct chat_losses *losses, const char *path, ...)
{
    static const struct dyn_slice more = DYN_SLICE_INIT(",...");
    char name[LOSS_MAX];
    va_list args;
    va_start(args, path);
    int written = vsnprintf(name, sizeof name, path, args);
    va_end(args);
    size_t len = written < 0 ? 0 : (size_t)written < sizeof name ? (size_t)written : sizeof name - 1;
    for (size_t i = 0; i < len; i++) {
        name[i] = (char)(is_name_character(name[i]) ? name[i] : '_');
    }
    struct dyn_buf *list = &losses->list;
    bool is_full =
        list->len >= more.len && memcmp(list->data + list->len - more.len, more.data, more.len) == 0;
    if (len == 0 || is_full || is_listed(dyn_buf_slice(list), dyn_slice(name, len))) {
        return;
    }
    if (list->len + 1 + len + more.len > CHAT_LOSSES_MAX) {
        dyn_buf_add_slice(list, more);
        return;
    }
    if (list->len > 0) {
        dyn_buf_add_char(list, ',');
    }
    dyn_buf_add(list, name, len);
}

int
chat_refuse(struct dialect_problem *problem, const char *what, const char *path, ...)
{
    va_list args;
    va_start(args, path);
    (void)vsnprintf(problem->param, sizeof problem->param, path, args);
    va_end(args);
    (void)snprintf(problem->message, sizeof problem->message, "%s %s", problem->param, what);
    return -1;
}

/* ---- looking into JSON ---- */

struct json_value
chat_object(struct dyn_slice body)
{
    while (body.len > 0 && body.data[0] != '{') {
        body.data++;
        body.len--;
    }
    while (body.len > 0 && body.data[body.len - 1] != '}') {
        body.len--;
    }
    return (struct json_value){JSON_OBJECT, body};
}

struct json_value
chat_find(struct json_value object, const char *key)
{
    struct json_value found = {JSON_NULL, {NULL, 0}};
    if (object.raw.data == NULL || object.type != JSON_OBJECT || !json_find(object, key, &found) ||
        found.type == JSON_NULL) {
        return (struct json_value){JSON_NULL, {NULL, 0}};
    }
    return found;
}

struct dyn_slice
chat_member(struct json_value object, const char *key, enum json_type type)
{
    struct json_value found = chat_find(object, key);
    return found.raw.data != NULL && found.type == type ? found.raw : dyn_slice(NULL, 0);
}

uint64_t
chat_count(struct json_value object, const char *key)
{
    struct json_value found = chat_find(object, key);
    double real = 0;
    if (found.raw.data == NULL || found.type != JSON_NUMBER || json_double(found, &real) != 0 ||
        !(real > 0)) {
        return 0;
    }
    return real < (double)INT64_MAX ? (uint64_t)real : (uint64_t)INT64_MAX;
}

struct dyn_slice
chat_decode(struct dyn_slice json, struct arena *arena)
{
    if (json.data == NULL) {
        return json;
    }
    struct json_value string = {JSON_STRING, json};
    struct dyn_slice plain = json_string_plain(string);
    if (plain.data == NULL) {
        struct dyn_buf decoded = DYN_BUF_INIT;
        json_string_decode(string, &decoded);
        plain = arena_copy(arena, decoded.len > 0 ? dyn_buf_slice(&decoded) : DYN_SLICE(""));
        dyn_buf_fini(&decoded);
    }
    return plain;
}

struct dyn_slice
chat_encode(struct dyn_slice plain, struct arena *arena)
{
    struct dyn_buf text = DYN_BUF_INIT;
    dyn_buf_add_json_string(&text, plain);
    struct dyn_slice json = arena_copy(arena, dyn_buf_slice(&text));
    dyn_buf_fini(&text);
    return json;
}

/* Unicode's White_Space, with the separators that C0 has. */
static bool
is_white(uint32_t scalar)
{
    return (scalar >= 0x09 && scalar <= 0x0D) || (scalar >= 0x1C && scalar <= 0x20) || scalar == 0x85 ||
           scalar == 0xA0 || scalar == 0x1680 || (scalar >= 0x2000 && scalar <= 0x200A) || scalar == 0x2028 ||
           scalar == 0x2029 || scalar == 0x202F || scalar == 0x205F || scalar == 0x3000;
}

/* The character at `at` of a valid string, in place or escaped; *len: its bytes. */
static uint32_t
scalar_at(const char *at, const char *end, size_t *len)
{
    uint8_t unit[2];
    *len = *at == '\\' ? 2 : dyn_utf8_len(at, end);
    if (*len == 0) {
        return *len = 1, '?';
    }
    if (*at != '\\') {
        return dyn_utf8_scalar(at, *len);
    }
    if (at[1] != 'u') {
        return at[1] == '"' || at[1] == '\\' || at[1] == '/' ? (uint32_t)at[1] : ' ';
    }
    *len = 6;
    return dyn_hex_decode(unit, sizeof unit, dyn_slice(at + 2, 4)) == 0 ? (uint32_t)(unit[0] << 8 | unit[1])
                                                                        : '?';
}

bool
chat_is_blank(struct dyn_slice json)
{
    if (!chat_has_text(json)) {
        return true;
    }
    const char *end = json.data + json.len - 1;
    size_t len;
    for (const char *at = json.data + 1; at < end; at += len) { /* mostly the first one tells */
        if (!is_white(scalar_at(at, end, &len))) {
            return false;
        }
    }
    return true;
}

bool
chat_is_thinking(const struct chat_request *request)
{
    struct json_value said = {JSON_OBJECT, request->thinking};
    return said.raw.data != NULL && !json_string_is(chat_find(said, "type"), "disabled");
}

/* ---- writing JSON ---- */

void
chat_put_item(struct dyn_buf *out)
{
    char last = (char)(out->len > 0 ? out->data[out->len - 1] : '[');
    if (last != '[' && last != '{') {
        dyn_buf_add_char(out, ',');
    }
}

void
chat_put_key(struct dyn_buf *out, const char *key)
{
    chat_put_item(out);
    dyn_buf_add_char(out, '"');
    dyn_buf_add_str(out, key);
    dyn_buf_add_slice(out, DYN_SLICE("\":"));
}

void
chat_put_raw(struct dyn_buf *out, const char *key, struct dyn_slice raw)
{
    if (raw.data != NULL) {
        chat_put_key(out, key);
        dyn_buf_add_slice(out, raw);
    }
}

struct chat_open_part *
chat_open_part_find(struct chat_reading *reading, int64_t index)
{
    for (unsigned i = 0; i < reading->n_open; i++) {
        if (reading->open[i].index == index) {
            return &reading->open[i];
        }
    }
    return NULL;
}
