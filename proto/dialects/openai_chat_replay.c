/* A plain answer of the OpenAI chat dialect as the stream that would have said the same: for each choice one
 * chunk with all that it says and one with why it ended, then what was used, then the end marker. */
#include "core/arena.h"
#include "proto/dialects/chat.h"
#include "proto/dialects/openai_chat.h"
#include "proto/dialects/openai_chat_gather.h"
#include "proto/dialects/replay.h"
#include "proto/dialects/upstream_json.h"

/* What stands in the head of each chunk, where the answer has it. */
static const char *const head_names[] = {"id", "created", "model", "system_fingerprint", "service_tier"};

struct unrolling {
    struct json_value answer;
    struct dyn_buf head; /* "data: {..", up to the choices */
    bool wants_usage;
    struct dyn_buf *out;
};

/* An event has no line breaks; JSON texts may have some between their words. */
static void
add_in_line(struct dyn_buf *out, struct dyn_slice raw)
{
    size_t from = out->len;
    dyn_buf_add_slice(out, raw);
    for (size_t i = from; i < out->len; i++) {
        if (out->data[i] == '\n' || out->data[i] == '\r') {
            out->data[i] = ' ';
        }
    }
}

static void
put_member(struct dyn_buf *out, const struct json_member *member)
{
    chat_put_item(out);
    dyn_buf_add_char(out, '"');
    dyn_buf_add_slice(out, member->key);
    dyn_buf_add_slice(out, DYN_SLICE("\":"));
    add_in_line(out, member->value.raw);
}

static bool
is_one_of(const struct json_member *member, const char *const *names, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (json_key_is(member, names[i])) {
            return true;
        }
    }
    return false;
}

static bool
is_in_head(const struct json_member *member)
{
    return is_one_of(member, head_names, DYN_ARRAY_LEN(head_names)) &&
           member->value.raw.len <= REPLAY_HEAD_TEXT_MAX;
}

static void
make_head(struct unrolling *u)
{
    struct json_iter members = json_iter(u->answer);
    dyn_buf_add_slice(&u->head, DYN_SLICE("data: {"));
    for (struct json_member member; json_iter_next(&members, &member);) {
        if (is_in_head(&member)) {
            put_member(&u->head, &member);
        }
    }
    chat_put_raw(&u->head, "object", DYN_SLICE("\"chat.completion.chunk\""));
}

/* What is said of the answer as a whole stands in the first chunk. */
static void
put_rest_of_answer(struct unrolling *u)
{
    static const char *const others[] = {"choices", "usage", "object"};
    struct json_iter members = json_iter(u->answer);
    for (struct json_member member; json_iter_next(&members, &member);) {
        if (!is_in_head(&member) && !is_one_of(&member, others, DYN_ARRAY_LEN(others))) {
            put_member(u->out, &member);
        }
    }
}

/* Calls have numbers in streams. */
static void
put_calls(struct dyn_buf *out, struct json_value calls)
{
    struct json_iter items = json_iter(calls);
    unsigned number = 0;
    chat_put_raw(out, "tool_calls", DYN_SLICE("["));
    for (struct json_member call; json_iter_next(&items, &call);) {
        struct json_iter members = json_iter(call.value);
        chat_put_item(out);
        dyn_buf_add_slice(out, DYN_SLICE("{\"index\":"));
        dyn_buf_add_uint(out, number++);
        for (struct json_member member; json_iter_next(&members, &member);) {
            if (!json_key_is(&member, "index")) {
                put_member(out, &member);
            }
        }
        dyn_buf_add_char(out, '}');
    }
    dyn_buf_add_char(out, ']');
}

static void
put_delta(struct dyn_buf *out, struct json_value message)
{
    struct json_iter members = json_iter(message);
    chat_put_raw(out, "delta", DYN_SLICE("{"));
    for (struct json_member member; json_iter_next(&members, &member);) {
        if (json_key_is(&member, "tool_calls") && member.value.type == JSON_ARRAY) {
            put_calls(out, member.value);
        } else {
            put_member(out, &member);
        }
    }
    dyn_buf_add_char(out, '}');
}

static void
begin_chunk(struct unrolling *u, bool is_first)
{
    dyn_buf_add_slice(u->out, dyn_buf_slice(&u->head));
    if (is_first) {
        put_rest_of_answer(u);
    }
    chat_put_raw(u->out, "choices", DYN_SLICE("["));
}

static void
end_chunk(struct unrolling *u)
{
    dyn_buf_add_slice(u->out, u->wants_usage ? DYN_SLICE("}],\"usage\":null}\n\n") : DYN_SLICE("}]}\n\n"));
}

static void
put_choice(struct unrolling *u, struct json_value choice, size_t number)
{
    static const char *const others[] = {"index", "message", "finish_reason"};
    struct json_iter members = json_iter(choice);
    begin_chunk(u, number == 0);
    dyn_buf_add_slice(u->out, DYN_SLICE("{\"index\":"));
    dyn_buf_add_uint(u->out, number);
    put_delta(u->out, chat_find(choice, "message"));
    for (struct json_member member; json_iter_next(&members, &member);) {
        if (!is_one_of(&member, others, DYN_ARRAY_LEN(others))) {
            put_member(u->out, &member);
        }
    }
    chat_put_raw(u->out, "finish_reason", DYN_SLICE("null"));
    end_chunk(u);
    begin_chunk(u, false);
    dyn_buf_add_slice(u->out, DYN_SLICE("{\"index\":"));
    dyn_buf_add_uint(u->out, number);
    chat_put_raw(u->out, "delta", DYN_SLICE("{}"));
    chat_put_key(u->out, "finish_reason");
    add_in_line(u->out, chat_find(choice, "finish_reason").raw);
    end_chunk(u);
}

static void
put_usage(struct unrolling *u)
{
    struct json_value usage = chat_find(u->answer, "usage");
    if (u->wants_usage && usage.raw.data != NULL && usage.type == JSON_OBJECT) {
        begin_chunk(u, false);
        dyn_buf_add_char(u->out, ']');
        chat_put_key(u->out, "usage");
        add_in_line(u->out, usage.raw);
        dyn_buf_add_slice(u->out, DYN_SLICE("}\n\n"));
    }
}

/* ---- what is whole ---- */

/* Numbers that are not those of their places would make a stream that says something else. */
static bool
is_finished(struct json_value choice, size_t number)
{
    struct json_value finish = chat_find(choice, "finish_reason");
    return choice.type == JSON_OBJECT && chat_find(choice, "message").raw.data != NULL &&
           chat_find(choice, "message").type == JSON_OBJECT && finish.raw.data != NULL &&
           finish.type == JSON_STRING && chat_has_text(finish.raw) && !json_string_is(finish, "error") &&
           chat_count(choice, "index") == number;
}

static bool
is_whole(struct json_value answer)
{
    struct json_value choices = chat_find(answer, "choices");
    struct json_value error = chat_find(answer, "error");
    struct json_iter items = json_iter(choices);
    size_t n = 0;
    if (choices.raw.data == NULL || choices.type != JSON_ARRAY ||
        (error.raw.data != NULL && error.type != JSON_NULL)) {
        return false;
    }
    for (struct json_member choice; json_iter_next(&items, &choice); n++) {
        if (n == REPLAY_CHOICES_MAX || !is_finished(choice.value, n)) {
            return false;
        }
    }
    return n > 0;
}

static int
check(struct dyn_slice text)
{
    struct arena arena;
    struct json_value answer;
    arena_init(&arena, NULL, 0);
    bool is_good = upstream_json_scan_in(text, &arena, &answer) == 0 && is_whole(answer);
    arena_fini(&arena);
    return is_good ? 0 : -1;
}

static int
unroll(struct dyn_slice text, bool wants_usage, struct dyn_buf *out)
{
    struct arena arena;
    struct unrolling u = {.wants_usage = wants_usage, .out = out};
    struct json_member choice;
    size_t n = 0;
    arena_init(&arena, NULL, 0);
    bool is_good = upstream_json_scan_in(text, &arena, &u.answer) == 0 && is_whole(u.answer);
    if (is_good) {
        struct json_iter choices = json_iter(chat_find(u.answer, "choices"));
        make_head(&u);
        while (json_iter_next(&choices, &choice)) {
            put_choice(&u, choice.value, n++);
        }
        put_usage(&u);
        dyn_buf_add_slice(out, DYN_SLICE("data: [DONE]\n\n"));
    }
    dyn_buf_fini(&u.head);
    arena_fini(&arena);
    return is_good ? 0 : -1;
}

const struct dialect_replay openai_chat_replay = {
    .check = check,
    .unroll = unroll,
    .gather_new = openai_chat_gather_new,
    .gather = openai_chat_gather,
    .gather_end = openai_chat_gather_end,
    .gather_free = openai_chat_gather_free,
};
