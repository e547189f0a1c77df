/* The OpenAI chat dialect, both sides: bytes go through untouched but for two splices in the request
 * (the model's name, and usage asked for on streams), and those that the caller brings. Requests are read in
 * openai_chat_request.c, events of a stream in openai_chat_event.c. */
#include "proto/dialects/openai_chat.h"

#include "core/buf.h"
#include "proto/dialects/openai_chat_codec.h"
#include "proto/dialects/openai_chat_texts.h"
#include "proto/dialects/openai_usage.h"
#include "proto/dialects/upstream_json.h"

#include <stdlib.h>

/* Model, stream_options; and nothing else is ever changed of our own accord. */
#define EDITS_OWN  2u
#define EDITS_ROOM 16u /* without an allocation */

struct edits {
    struct json_edit *items;
    size_t n;
};

/* Keeps the edits in the order of the text; what only inserts stands before what removes from there on. */
static void
add_edit(struct edits *edits, struct json_edit edit)
{
    size_t at = edits->n++;
    while (at > 0 && (edits->items[at - 1].offset > edit.offset ||
                      (edits->items[at - 1].offset == edit.offset && edit.remove == 0))) {
        edits->items[at] = edits->items[at - 1];
        at--;
    }
    edits->items[at] = edit;
}

static struct json_edit
replace_value(struct dyn_slice body, struct json_value value, struct dyn_slice with)
{
    return (struct json_edit){(size_t)(value.raw.data - body.data), value.raw.len, with};
}

static bool
needs_no_escape(struct dyn_slice text)
{
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.data[i];
        if (c < 0x20 || c >= 0x7F || c == '"' || c == '\\') {
            return false;
        }
    }
    return true;
}

/* `escaped` holds the text of a name that cannot stand between quotes as it is. */
static void
edit_model(struct edits *edits, struct dyn_slice body, struct json_value old, struct dyn_slice model,
           struct dyn_buf *escaped)
{
    if (!needs_no_escape(model)) {
        dyn_buf_add_json_string(escaped, model);
        add_edit(edits, replace_value(body, old, dyn_buf_slice(escaped)));
        return;
    }
    old.raw.data++; /* its quotes stay */
    old.raw.len -= 2;
    add_edit(edits, replace_value(body, old, model));
}

static void
edit_stream_options(struct edits *edits, struct dyn_slice body, const struct dialect_request *request)
{
    struct json_value options = request->stream_options;
    struct json_value asked;
    if (options.raw.data == NULL) {
        struct dyn_slice member = request->is_empty_object
                                      ? DYN_SLICE("\"stream_options\":{\"include_usage\":true}")
                                      : DYN_SLICE("\"stream_options\":{\"include_usage\":true},");
        add_edit(edits, (struct json_edit){request->object_start, 0, member});
    } else if (options.type != JSON_OBJECT) {
        add_edit(edits, replace_value(body, options, DYN_SLICE("{\"include_usage\":true}")));
    } else if (json_find(options, "include_usage", &asked)) {
        add_edit(edits, replace_value(body, asked, DYN_SLICE("true")));
    } else {
        struct json_member first;
        struct json_iter members = json_iter(options);
        struct dyn_slice member = json_iter_next(&members, &first) ? DYN_SLICE("\"include_usage\":true,")
                                                                   : DYN_SLICE("\"include_usage\":true");
        size_t start = (size_t)(options.raw.data - body.data) + 1;
        add_edit(edits, (struct json_edit){start, 0, member});
    }
}

dyn_block_t *
openai_chat_splice_request(struct dyn_slice body, const struct dialect_request *request,
                           const struct dialect_splice *splice)
{
    struct json_edit room[EDITS_ROOM];
    bool has_room = splice->n_more + EDITS_OWN <= EDITS_ROOM;
    struct edits edits = {has_room ? room : dyn_alloc((splice->n_more + EDITS_OWN) * sizeof *room), 0};
    struct dyn_buf escaped = DYN_BUF_INIT;
    dyn_block_t *block = NULL;
    for (size_t i = 0; i < splice->n_more; i++) {
        edits.items[edits.n++] = splice->more[i];
    }
    if (splice->model.data != NULL && !dyn_slice_eq(splice->model, request->model)) {
        edit_model(&edits, body, request->model_value, splice->model, &escaped);
    }
    if (splice->ask_usage && request->stream && !request->wants_usage) {
        edit_stream_options(&edits, body, request);
    }
    if (edits.n > 0) {
        size_t size = json_splice_size(body, edits.items, edits.n);
        block = dyn_block_new(0, size);
        json_splice(body, edits.items, edits.n, dyn_block_data(block));
        block->len = size;
    }
    dyn_buf_fini(&escaped);
    if (!has_room) {
        free(edits.items);
    }
    return block;
}

struct answer {
    bool has_choices;
    struct env_usage usage;
    struct json_value service; /* raw absent: not said */
};

static int
read_answer_member(void *self, const struct json_member *member)
{
    struct answer *answer = self;
    if (json_key_is(member, "choices")) {
        answer->has_choices = member->value.type == JSON_ARRAY;
    } else if (json_key_is(member, "usage")) {
        (void)openai_usage_read(member->value, &answer->usage);
    } else if (json_key_is(member, "service_tier")) {
        answer->service = member->value;
    }
    return 0;
}

/* The scan that visits members is strict; what it refuses gets a second look. */
static int
read_answer_again(struct dyn_slice body, struct answer *answer)
{
    struct json_value object;
    char *copy;
    if (upstream_json_scan(body, &object, &copy) != 0) {
        return -1;
    }
    struct json_iter members = json_iter(object);
    for (struct json_member member; json_iter_next(&members, &member);) {
        (void)read_answer_member(answer, &member);
    }
    openai_service_take(answer->service, &answer->usage);
    free(copy);
    return 0;
}

static int
read_answer(struct dyn_slice body, struct env_usage *usage)
{
    struct answer answer = {.has_choices = false};
    bool is_strict = true;
    *usage = (struct env_usage){0};
    if (json_scan_object(body, JSON_DEPTH_DEFAULT, read_answer_member, &answer, NULL) != 0) {
        answer = (struct answer){.has_choices = false};
        is_strict = false;
        if (read_answer_again(body, &answer) != 0) {
            return -1;
        }
    } else {
        openai_service_take(answer.service, &answer.usage);
    }
    if (!answer.has_choices) {
        return -1;
    }
    *usage = answer.usage;
    return is_strict ? 0 : 1;
}

static void
write_stream_error(struct dyn_buf *out, enum err_code code, struct dyn_slice message)
{
    struct dyn_slice absent = {NULL, 0};
    dyn_buf_add_slice(out, DYN_SLICE("data: "));
    err_write_openai(out, code, message, absent, absent);
    dyn_buf_add_slice(out, DYN_SLICE("\n\n"));
}

/* A line "data: [DONE]" with nothing behind it but line ends, of which there is one that ends the event. */
static bool
is_stream_end(struct dyn_slice bytes)
{
    static const struct dyn_slice marker = DYN_SLICE_INIT("[DONE]");
    static const struct dyn_slice field = DYN_SLICE_INIT("data:");
    size_t len = bytes.len;
    while (len > 0 && (bytes.data[len - 1] == '\n' || bytes.data[len - 1] == '\r')) {
        len--;
    }
    if (bytes.len - len < 2 || len < marker.len ||
        memcmp(bytes.data + len - marker.len, marker.data, marker.len) != 0) {
        return false;
    }
    len -= marker.len;
    len -= len > 0 && bytes.data[len - 1] == ' ' ? 1 : 0;
    return len >= field.len && memcmp(bytes.data + len - field.len, field.data, field.len) == 0 &&
           (len == field.len || bytes.data[len - field.len - 1] == '\n' ||
            bytes.data[len - field.len - 1] == '\r');
}

const struct dialect_ops dialect_openai_chat = {
    .name = "openai_chat",
    .path = "/chat/completions",
    .read_request = openai_chat_read_request,
    .splice_request = openai_chat_splice_request,
    .read_places = openai_chat_read_places,
    .read_answer = read_answer,
    .read_event = openai_chat_read_event,
    .write_error = err_write_openai,
    .write_stream_error = write_stream_error,
    .is_stream_end = is_stream_end,
    .chat = &openai_chat_codec,
    .texts = &openai_chat_texts,
    .replay = &openai_chat_replay,
};
