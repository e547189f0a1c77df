/* A stream of the OpenAI chat dialect put together to the plain answer that it stands for: deltas of a choice
 * grow into its message, as clients' libraries put them together. Texts are joined as they stood in their
 * quotes and never decoded; what no one has heard of is kept, too. */
#include "proto/dialects/openai_chat_gather.h"

#include "core/arena.h"
#include "proto/dialects/chat.h"
#include "proto/dialects/openai_chat_codec.h"
#include "proto/dialects/openai_usage.h"
#include "proto/dialects/replay.h"
#include "proto/dialects/upstream_json.h"

#include <stdlib.h>

/* Members of one object, and items that are told apart by number: looked for one after the other. */
enum { LOOKED_AT_MAX = 256 };
enum { NODE_UNSET = -1 };

/* A value that grows. */
struct node {
    struct node *next;  /* in its container */
    struct node *made;  /* in the list of all */
    struct node *first; /* of an array or object */
    struct node *last;
    size_t n;             /* children */
    struct dyn_slice key; /* as it stood between its quotes */
    int type;             /* enum json_type, or NODE_UNSET */
    int64_t index;        /* of an item that has a number; -1 */
    struct dyn_buf text;  /* a string without its quotes; numbers and such as they stand */
};

struct choice {
    struct node *message;
    struct node *rest; /* its other members */
    size_t thoughts;   /* bytes of reasoning_content that stand in signed blocks already */
    bool is_finished;
};

struct gathered {
    struct arena arena;
    struct node *all; /* for their texts */
    struct node *top; /* members beside the choices */
    struct choice choices[REPLAY_CHOICES_MAX];
    size_t n_choices; /* the highest number that was seen and one */
    size_t bytes;
    size_t max_bytes;
    bool has_usage;
};

/* ---- values that grow ---- */

static struct node *
node_new(struct gathered *g, struct node *parent, struct dyn_slice key)
{
    struct node *node = arena_zalloc(&g->arena, sizeof *node);
    node->type = NODE_UNSET;
    node->index = -1;
    node->key = arena_copy(&g->arena, key);
    node->made = g->all;
    g->all = node;
    g->bytes += sizeof *node + key.len;
    if (parent == NULL) {
        return node;
    }
    *(parent->last != NULL ? &parent->last->next : &parent->first) = node;
    parent->last = node;
    parent->n++;
    return node;
}

static struct node *
child_of(const struct node *object, struct dyn_slice key)
{
    for (struct node *child = object->first; child != NULL; child = child->next) {
        if (dyn_slice_eq(child->key, key)) {
            return child;
        }
    }
    return NULL;
}

static bool
has_words(const struct node *object, const char *key)
{
    const struct node *child = child_of(object, dyn_slice_str(key));
    return child != NULL && (child->type == JSON_ARRAY ? child->n > 0 : child->text.len > 0);
}

/* What comes in pieces. Any other text is a word, and the last one counts. */
static bool
is_in_pieces(struct dyn_slice key)
{
    static const char *const names[] = {
        "content", "refusal", "reasoning_content", "reasoning",  "arguments", "thinking",
        "text",    "data",    "summary",           "transcript",
    };
    for (size_t i = 0; i < DYN_ARRAY_LEN(names); i++) {
        if (dyn_slice_is(key, names[i])) {
            return true;
        }
    }
    return false;
}

static void
set_text(struct gathered *g, struct node *node, struct dyn_slice text)
{
    dyn_buf_add_slice(&node->text, text);
    g->bytes += text.len;
}

static int
take_string(struct gathered *g, struct node *node, struct dyn_slice raw)
{
    struct dyn_slice inner = dyn_slice(raw.data + 1, raw.len - 2);
    bool was_string = node->type == JSON_STRING;
    if (node->type == JSON_ARRAY || node->type == JSON_OBJECT) {
        return -1; /* the two cannot be joined */
    }
    if (was_string && inner.len == 0) {
        return 0;
    }
    if (!was_string || !is_in_pieces(node->key)) {
        dyn_buf_clear(&node->text);
    }
    node->type = JSON_STRING;
    set_text(g, node, inner);
    return 0;
}

static int merge(struct gathered *g, struct node *node, struct json_value value);

static int
merge_member(struct gathered *g, struct node *object, const struct json_member *member)
{
    struct node *child = child_of(object, member->key);
    if (child == NULL && object->n >= LOOKED_AT_MAX) {
        return -1;
    }
    child = child != NULL ? child : node_new(g, object, member->key);
    return merge(g, child, member->value);
}

static int
merge_object(struct gathered *g, struct node *node, struct json_value value)
{
    struct json_iter members = json_iter(value);
    if (node->type == JSON_ARRAY || node->type == JSON_STRING) {
        return -1;
    }
    node->type = JSON_OBJECT;
    for (struct json_member member; json_iter_next(&members, &member);) {
        if (merge_member(g, node, &member) != 0) {
            return -1;
        }
    }
    return 0;
}

/* The item that goes on. Without a number it is a new one; a piece of a call without number and id belongs
 * to the last call. */
static struct node *
item_for(struct gathered *g, struct node *array, struct json_value value)
{
    struct json_value number = chat_find(value, "index");
    int64_t index = -1;
    if (number.raw.data != NULL && json_int64(number, &index) == 0 && index >= 0) {
        for (struct node *item = array->first; item != NULL; item = item->next) {
            if (item->index == index) {
                return item;
            }
        }
        if (array->n >= LOOKED_AT_MAX) {
            return NULL;
        }
    } else if (array->last != NULL && dyn_slice_is(array->key, "tool_calls") &&
               !chat_has_text(chat_member(value, "id", JSON_STRING))) {
        return array->last;
    }
    struct node *item = node_new(g, array, dyn_slice(NULL, 0));
    item->index = index;
    return item;
}

static int
merge_array(struct gathered *g, struct node *node, struct json_value value)
{
    struct json_iter items = json_iter(value);
    if (node->type == JSON_OBJECT || (node->type == JSON_STRING && node->text.len > 0)) {
        return -1;
    }
    node->type = JSON_ARRAY;
    for (struct json_member item; json_iter_next(&items, &item);) {
        struct node *child = item_for(g, node, item.value);
        if (child == NULL || g->bytes > g->max_bytes || merge(g, child, item.value) != 0) {
            return -1;
        }
    }
    return 0;
}

static int
merge(struct gathered *g, struct node *node, struct json_value value)
{
    switch (value.type) {
    case JSON_NULL:
        node->type = node->type == NODE_UNSET ? JSON_NULL : node->type;
        return 0;
    case JSON_STRING:
        return take_string(g, node, value.raw);
    case JSON_OBJECT:
        return merge_object(g, node, value);
    case JSON_ARRAY:
        return merge_array(g, node, value);
    case JSON_TRUE:
    case JSON_FALSE:
    case JSON_NUMBER:
        break;
    }
    if (node->first != NULL) {
        return -1;
    }
    node->type = (int)value.type;
    dyn_buf_clear(&node->text);
    set_text(g, node, value.raw);
    return 0;
}

/* The last one that says something, as it stands. */
static int
replace(struct gathered *g, struct node *object, const struct json_member *member)
{
    struct dyn_slice raw = member->value.raw;
    bool says_nothing = member->value.type == JSON_NULL || dyn_slice_is(raw, "\"\"");
    struct node *child = child_of(object, member->key);
    if (child == NULL && object->n >= LOOKED_AT_MAX) {
        return -1;
    }
    if (child != NULL && says_nothing) {
        return 0;
    }
    child = child != NULL ? child : node_new(g, object, member->key);
    g->bytes -= child->text.len;
    dyn_buf_clear(&child->text);
    child->type = JSON_NUMBER; /* written as it is */
    set_text(g, child, raw);
    return 0;
}

/* ---- events ---- */

/* A signature stands alone in streams, and beside its thoughts in answers. */
static void
sign_thoughts(struct gathered *g, struct choice *choice)
{
    struct node *blocks = child_of(choice->message, DYN_SLICE("thinking_blocks"));
    struct node *block = blocks != NULL ? blocks->last : NULL;
    const struct node *thoughts = child_of(choice->message, DYN_SLICE("reasoning_content"));
    if (block == NULL || thoughts == NULL || child_of(block, DYN_SLICE("signature")) == NULL ||
        child_of(block, DYN_SLICE("thinking")) != NULL) {
        return;
    }
    struct dyn_slice all = dyn_buf_slice(&thoughts->text);
    struct node *text = node_new(g, block, DYN_SLICE("thinking"));
    text->type = JSON_STRING;
    set_text(g, text, dyn_slice(all.data + choice->thoughts, all.len - choice->thoughts));
    choice->thoughts = all.len;
}

static int
gather_choice_member(struct gathered *g, struct choice *choice, const struct json_member *member)
{
    bool is_message = json_key_is(member, "delta") || json_key_is(member, "message");
    if (json_key_is(member, "index")) {
        return 0;
    }
    if (is_message && member->value.type == JSON_OBJECT) {
        int failed = merge(g, choice->message, member->value);
        sign_thoughts(g, choice);
        return failed;
    }
    if (is_message) {
        return member->value.type == JSON_NULL ? 0 : -1;
    }
    if (json_key_is(member, "logprobs") || json_key_is(member, "text")) {
        return merge_member(g, choice->rest, member);
    }
    if (json_key_is(member, "finish_reason")) {
        choice->is_finished |= member->value.type == JSON_STRING && chat_has_text(member->value.raw);
    }
    return replace(g, choice->rest, member);
}

static int
gather_choice(struct gathered *g, struct json_value value)
{
    struct json_iter members = json_iter(value);
    uint64_t index = chat_count(value, "index");
    if (value.type != JSON_OBJECT || index >= REPLAY_CHOICES_MAX) {
        return -1;
    }
    struct choice *choice = &g->choices[index];
    if (choice->message == NULL) {
        choice->message = node_new(g, NULL, dyn_slice(NULL, 0));
        choice->rest = node_new(g, NULL, dyn_slice(NULL, 0));
        g->n_choices = index >= g->n_choices ? index + 1 : g->n_choices;
    }
    for (struct json_member member; json_iter_next(&members, &member);) {
        if (gather_choice_member(g, choice, &member) != 0) {
            return -1;
        }
    }
    return 0;
}

static int
gather_choices(struct gathered *g, struct json_value choices)
{
    struct json_iter items = json_iter(choices);
    for (struct json_member item; json_iter_next(&items, &item);) {
        if (gather_choice(g, item.value) != 0) {
            return -1;
        }
    }
    return choices.type == JSON_ARRAY ? 0 : -1;
}

static int
gather_member(struct gathered *g, const struct json_member *member)
{
    struct env_usage usage = {0};
    if (json_key_is(member, "choices")) {
        return gather_choices(g, member->value);
    }
    if (json_key_is(member, "usage")) {
        bool counts = openai_usage_read(member->value, &usage);
        g->has_usage = g->has_usage || counts;
        return counts ? replace(g, g->top, member) : 0;
    }
    bool is_noise = json_key_is(member, "object") || json_key_is(member, "obfuscation");
    return is_noise ? 0 : replace(g, g->top, member);
}

int
openai_chat_gather(void *gathered, const struct sse_event *event)
{
    struct gathered *g = gathered;
    struct json_value chunk;
    char *copy;
    int failed = 0;
    if (upstream_json_scan(event->data, &chunk, &copy) != 0) {
        return -1;
    }
    struct json_iter members = json_iter(chunk);
    for (struct json_member member; !failed && json_iter_next(&members, &member);) {
        failed = gather_member(g, &member);
    }
    free(copy);
    return failed || g->bytes > g->max_bytes ? -1 : 0;
}

void *
openai_chat_gather_new(size_t max_bytes)
{
    struct gathered *g = dyn_zalloc(sizeof *g);
    arena_init(&g->arena, NULL, 0);
    g->max_bytes = max_bytes;
    g->top = node_new(g, NULL, dyn_slice(NULL, 0));
    return g;
}

void
openai_chat_gather_free(void *gathered)
{
    struct gathered *g = gathered;
    for (struct node *node = g->all; node != NULL; node = node->made) {
        dyn_buf_fini(&node->text);
    }
    arena_fini(&g->arena);
    free(g);
}

/* ---- the answer ---- */

static void
put_key(struct dyn_buf *out, struct dyn_slice key)
{
    chat_put_item(out);
    dyn_buf_add_char(out, '"');
    dyn_buf_add_slice(out, key);
    dyn_buf_add_slice(out, DYN_SLICE("\":"));
}

static void put_node(const struct node *node, struct dyn_buf *out);

static void
put_members(const struct node *object, struct dyn_slice but, struct dyn_buf *out)
{
    for (const struct node *child = object->first; child != NULL; child = child->next) {
        if (but.data == NULL || !dyn_slice_eq(child->key, but)) {
            put_key(out, child->key);
            put_node(child, out);
        }
    }
}

/* A call in an answer has its type, and its place instead of a number. */
static void
put_call(const struct node *call, struct dyn_buf *out)
{
    chat_put_item(out);
    dyn_buf_add_char(out, '{');
    put_members(call, DYN_SLICE("index"), out);
    if (child_of(call, DYN_SLICE("type")) == NULL) {
        chat_put_raw(out, "type", DYN_SLICE("\"function\""));
    }
    dyn_buf_add_char(out, '}');
}

static void
put_items(const struct node *array, struct dyn_buf *out)
{
    bool are_calls = dyn_slice_is(array->key, "tool_calls");
    dyn_buf_add_char(out, '[');
    for (const struct node *item = array->first; item != NULL; item = item->next) {
        if (are_calls && item->type == JSON_OBJECT) {
            put_call(item, out);
        } else {
            chat_put_item(out);
            put_node(item, out);
        }
    }
    dyn_buf_add_char(out, ']');
}

static void
put_node(const struct node *node, struct dyn_buf *out)
{
    switch (node->type) {
    case JSON_STRING:
        dyn_buf_add_char(out, '"');
        dyn_buf_add_slice(out, dyn_buf_slice(&node->text));
        dyn_buf_add_char(out, '"');
        break;
    case JSON_OBJECT:
        dyn_buf_add_char(out, '{');
        put_members(node, dyn_slice(NULL, 0), out);
        dyn_buf_add_char(out, '}');
        break;
    case JSON_ARRAY:
        put_items(node, out);
        break;
    case JSON_NULL:
    case NODE_UNSET:
        dyn_buf_add_slice(out, DYN_SLICE("null"));
        break;
    default:
        dyn_buf_add_slice(out, dyn_buf_slice(&node->text));
        break;
    }
}

/* Said already, or a list of calls without one. */
static bool
is_left_out(const struct node *member)
{
    bool is_empty = member->type == JSON_ARRAY && member->n == 0;
    return dyn_slice_is(member->key, "role") || (is_empty && dyn_slice_is(member->key, "tool_calls"));
}

static void
put_message(const struct node *message, struct dyn_buf *out)
{
    const struct node *role = child_of(message, DYN_SLICE("role"));
    bool has_role = role != NULL && role->type == JSON_STRING && role->text.len > 0;
    bool has_else = has_words(message, "tool_calls") || has_words(message, "refusal");
    dyn_buf_add_slice(out, DYN_SLICE("{\"role\":\""));
    dyn_buf_add_slice(out, has_role ? dyn_buf_slice(&role->text) : DYN_SLICE("assistant"));
    dyn_buf_add_char(out, '"');
    if (child_of(message, DYN_SLICE("content")) == NULL) {
        chat_put_raw(out, "content", has_else ? DYN_SLICE("null") : DYN_SLICE("\"\""));
    }
    for (const struct node *member = message->first; member != NULL; member = member->next) {
        if (!is_left_out(member)) {
            put_key(out, member->key);
            put_node(member, out);
        }
    }
    dyn_buf_add_char(out, '}');
}

static void
put_choice(const struct choice *choice, size_t index, struct dyn_buf *out)
{
    chat_put_item(out);
    dyn_buf_add_slice(out, DYN_SLICE("{\"index\":"));
    dyn_buf_add_uint(out, index);
    chat_put_key(out, "message");
    put_message(choice->message, out);
    put_members(choice->rest, dyn_slice(NULL, 0), out);
    dyn_buf_add_char(out, '}');
}

int
openai_chat_gather_end(void *gathered, const struct env_usage *usage, struct dyn_buf *out)
{
    struct gathered *g = gathered;
    dyn_buf_add_char(out, '{');
    put_members(g->top, dyn_slice(NULL, 0), out);
    chat_put_raw(out, "object", DYN_SLICE("\"chat.completion\""));
    chat_put_raw(out, "choices", DYN_SLICE("["));
    for (size_t i = 0; i < g->n_choices; i++) {
        if (g->choices[i].message == NULL || !g->choices[i].is_finished) {
            return -1;
        }
        put_choice(&g->choices[i], i, out);
    }
    dyn_buf_add_char(out, ']');
    if (!g->has_usage && usage->known) {
        chat_put_key(out, "usage");
        openai_chat_put_usage(out, usage);
    }
    dyn_buf_add_char(out, '}');
    return g->n_choices > 0 ? 0 : -1;
}
