/* Two codecs put together. The tool that stands for a schema is added to the record before it is written, and
 * taken out of what comes back before the client's codec sees it. */
#include "proto/dialects/bridge.h"

#include "proto/dialects/chat.h"

#include <stdlib.h>

/* No client is expected to have a tool of this name; one that has gets no schema. */
#define ANSWER_TOOL      "\"structured_answer\""
#define ANSWER_TOOL_SAYS "\"Gives the answer to the user. Call it once, with the whole answer.\""

/* Where a call goes that is none of the client's. */
enum call_end { CALL_ANSWER = CHAT_CALLS_MAX, CALL_DROPPED };

/* Held while it may be said around the answer. Bytes; an introduction has a few hundred. */
enum { HELD_MAX = 64 * 1024 };

struct bridge {
    const struct dialect_ops *client;
    const struct dialect_ops *upstream;
    struct chat_losses losses;
    struct chat_reading reading;
    struct chat_writing writing;
    bool has_answer_tool;            /* asked for */
    bool has_answer;                 /* it was called */
    bool is_text;                    /* so much was said without it that this is the answer */
    unsigned calls;                  /* of the client's own tools */
    uint8_t call_to[CHAT_CALLS_MAX]; /* the client's number of each call, or enum call_end */
    struct dyn_buf held;             /* what is said before the answer, from the quote of a JSON string on */
    struct dialect_event *seen;      /* of the event at hand */
    struct dyn_buf *out;
};

bool
bridge_exists(const struct dialect_ops *client, const struct dialect_ops *upstream)
{
    return client->chat != NULL && upstream->chat != NULL;
}

/* ---- a schema ---- */

static bool
has_tool(const struct chat_request *request, const char *name)
{
    for (const struct chat_tool *tool = request->tools; tool != NULL; tool = tool->next) {
        if (dyn_slice_is(tool->name, name)) {
            return true;
        }
    }
    return false;
}

/* Whether the call can be forced: the client left the choice of tools open, there is no other of that name,
 * and the model is not to think, which goes with no forced tool anywhere. */
static bool
can_force(const struct chat_request *request)
{
    struct json_value schema = {JSON_OBJECT, request->schema};
    bool is_object = json_string_is(chat_find(schema, "type"), "object");
    bool is_open = request->tools == NULL || request->tool_choice == CHAT_CHOICE_UNSAID ||
                   request->tool_choice == CHAT_CHOICE_AUTO;
    return is_object && is_open && !chat_is_thinking(request) && !has_tool(request, ANSWER_TOOL);
}

/* With tools of the client's the model may call those first, and must call one of all. Without, one call is
 * all there is to make. */
static void
ask_by_tool(bridge_t *bridge, struct chat_request *request, struct arena *arena)
{
    if (request->format != CHAT_FORMAT_SCHEMA || bridge->upstream->chat->has_schemas || !can_force(request)) {
        return;
    }
    bool is_alone = request->tools == NULL;
    struct chat_tool *tool = chat_tool_add(request, arena);
    tool->is_function = true;
    tool->name = DYN_SLICE(ANSWER_TOOL);
    tool->description = chat_has_text(request->format_description) ? request->format_description
                                                                   : DYN_SLICE(ANSWER_TOOL_SAYS);
    tool->parameters = request->schema;
    request->tool_choice = is_alone ? CHAT_CHOICE_ONE : CHAT_CHOICE_ANY;
    request->tool_choice_name = tool->name;
    request->parallel_calls = is_alone ? CHAT_NO : request->parallel_calls;
    request->format = CHAT_FORMAT_TEXT;
    bridge->has_answer_tool = true;
    if (request->format_strict == CHAT_YES) {
        chat_lose(&bridge->losses, "response_format.json_schema.strict");
    }
}

/* ---- the request ---- */

static dyn_block_t *
translate(bridge_t *bridge, const struct bridge_options *options, struct dyn_slice body, struct arena *arena,
          struct dialect_problem *problem)
{
    struct chat_request request;
    struct dyn_buf out = DYN_BUF_INIT;
    dyn_block_t *block = NULL;
    if (bridge->client->chat->read_request(body, arena, &request, problem) != 0) {
        return NULL;
    }
    request.model = options->model.len > 0 ? options->model : request.model;
    bridge->writing.wants_usage = request.wants_usage;
    ask_by_tool(bridge, &request, arena);
    (void)dyn_buf_room(&out, body.len + body.len / 8);
    if (bridge->upstream->chat->write_request(&request, arena, &out, &bridge->losses, problem) == 0) {
        block = dyn_block_copy(0, dyn_buf_slice(&out));
    }
    dyn_buf_fini(&out);
    return block;
}

bridge_t *
bridge_new(const struct bridge_options *options, struct dyn_slice body, dyn_block_t **upstream_p,
           struct dialect_problem *problem)
{
    char memory[4096];
    struct arena arena;
    bridge_t *bridge = dyn_zalloc(sizeof *bridge);
    bridge->client = options->client;
    bridge->upstream = options->upstream;
    bridge->writing.created_s = options->now_s;
    arena_init(&arena, memory, sizeof memory);
    *upstream_p = translate(bridge, options, body, &arena, problem);
    arena_fini(&arena);
    if (*upstream_p == NULL) {
        bridge_free(&bridge);
    }
    return bridge;
}

void
bridge_free(bridge_t **bridge_p)
{
    bridge_t *bridge = *bridge_p;
    *bridge_p = NULL;
    if (bridge != NULL) {
        dyn_buf_fini(&bridge->losses.list);
        dyn_buf_fini(&bridge->writing.head);
        dyn_buf_fini(&bridge->held);
        free(bridge);
    }
}

struct dyn_slice
bridge_losses(const bridge_t *bridge)
{
    return dyn_buf_slice(&bridge->losses.list);
}

/* ---- a plain answer ---- */

/* The first call of the answer's tool is the text: what was said around it, and whatever a second call says,
 * is not part of the JSON. */
static void
untie_answer(struct chat_answer *answer, struct arena *arena)
{
    bool has_calls = false;
    bool is_answered = false;
    for (struct chat_part *part = answer->parts.first; part != NULL; part = part->next) {
        bool is_answer = part->kind == CHAT_CALL && dyn_slice_is(part->name, ANSWER_TOOL);
        if (is_answer || part->kind == CHAT_TEXT) {
            part->kind = CHAT_TEXT;
            part->text = is_answer && !is_answered ? chat_encode(part->arguments, arena) : DYN_SLICE("\"\"");
            is_answered |= is_answer;
        }
        has_calls |= part->kind == CHAT_CALL;
    }
    if (!has_calls && answer->finish == CHAT_FINISH_CALLS) {
        answer->finish = CHAT_FINISH_STOP;
    }
}

static bool
has_answer(const struct chat_answer *answer)
{
    for (const struct chat_part *part = answer->parts.first; part != NULL; part = part->next) {
        if (part->kind == CHAT_CALL && dyn_slice_is(part->name, ANSWER_TOOL)) {
            return true;
        }
    }
    return false;
}

int
bridge_answer(bridge_t *bridge, struct dyn_slice body, struct dyn_buf *out, struct env_usage *usage)
{
    struct arena arena;
    struct chat_answer answer;
    arena_init(&arena, NULL, 0);
    int failed = bridge->upstream->chat->read_answer(body, &arena, &answer);
    if (!failed) {
        if (bridge->has_answer_tool && has_answer(&answer)) {
            untie_answer(&answer, &arena);
        }
        answer.created_s = answer.created_s > 0 ? answer.created_s : bridge->writing.created_s;
        *usage = answer.usage;
        bridge->client->chat->write_answer(&answer, out);
    }
    arena_fini(&arena);
    return failed;
}

/* ---- a stream ---- */

/* What the event is to who carries the stream. */
static void
classify(struct dialect_event *seen, const struct chat_event *event)
{
    switch (event->kind) {
    case CHAT_BEGIN:
        if (event->usage != NULL && !seen->usage.known) {
            seen->usage = *event->usage;
            seen->usage.known = false;
        }
        break;
    case CHAT_ADD:
    case CHAT_SIGN:
    case CHAT_HIDE:
    case CHAT_CALL_BEGIN:
    case CHAT_CALL_ADD:
        seen->content = true;
        break;
    case CHAT_FINISH:
        seen->content = true; /* an answer without a word is an answer */
        seen->finished = true;
        break;
    case CHAT_USAGE:
        seen->usage = *event->usage;
        break;
    case CHAT_ERROR:
        seen->error = true;
        break;
    case CHAT_END:
        seen->terminal = true;
        break;
    case CHAT_PING:
        break;
    }
}

static void
pass(bridge_t *bridge, const struct chat_event *event)
{
    classify(bridge->seen, event);
    bridge->client->chat->write_event(&bridge->writing, event, bridge->out);
}

/* What was held is the answer after all. */
static void
release(bridge_t *bridge)
{
    if (bridge->held.len > 0) {
        dyn_buf_add_char(&bridge->held, '"');
        pass(bridge,
             &(struct chat_event){.kind = CHAT_ADD, .part = CHAT_TEXT, .text = dyn_buf_slice(&bridge->held)});
        dyn_buf_fini(&bridge->held);
    }
}

static void
hold(bridge_t *bridge, const struct chat_event *event)
{
    if (bridge->has_answer) {
        return;
    }
    if (bridge->is_text || bridge->held.len + event->text.len > HELD_MAX) {
        bridge->is_text = true;
        release(bridge);
        pass(bridge, event);
        return;
    }
    if (bridge->held.len == 0) {
        dyn_buf_add_char(&bridge->held, '"');
    }
    dyn_buf_add(&bridge->held, event->text.data + 1, event->text.len - 2);
}

static void
begin_call(bridge_t *bridge, struct chat_event *event)
{
    uint8_t *to = &bridge->call_to[event->call];
    if (!dyn_slice_is(event->name, ANSWER_TOOL)) {
        *to = (uint8_t)bridge->calls++;
        event->call = *to;
        pass(bridge, event);
        return;
    }
    *to = (uint8_t)(bridge->has_answer || bridge->is_text ? CALL_DROPPED : CALL_ANSWER);
    if (*to == CALL_ANSWER) {
        bridge->has_answer = true;
        dyn_buf_fini(&bridge->held);
    }
}

static void
add_to_call(bridge_t *bridge, struct chat_event *event)
{
    uint8_t to = bridge->call_to[event->call];
    if (to == CALL_DROPPED) {
        return;
    }
    if (to == CALL_ANSWER) {
        event->kind = CHAT_ADD;
        event->part = CHAT_TEXT;
    }
    event->call = to == CALL_ANSWER ? 0 : to;
    pass(bridge, event);
}

/* The same as untie_answer() with what comes piece by piece: the answer's tool is text to the client, numbers
 * of the calls behind it move up, and texts wait until it is known whether they are the answer. */
static void
untie(bridge_t *bridge, struct chat_event *event)
{
    bool is_over = event->kind == CHAT_FINISH || event->kind == CHAT_END;
    if (event->kind == CHAT_CALL_BEGIN) {
        begin_call(bridge, event);
    } else if (event->kind == CHAT_CALL_ADD) {
        add_to_call(bridge, event);
    } else if (event->kind == CHAT_ADD && event->part == CHAT_TEXT) {
        hold(bridge, event);
    } else {
        if (is_over) {
            release(bridge);
        }
        if (event->finish == CHAT_FINISH_CALLS && bridge->calls == 0) {
            event->finish = CHAT_FINISH_STOP;
        }
        pass(bridge, event);
    }
}

static void
carry(void *self, const struct chat_event *told)
{
    bridge_t *bridge = self;
    struct chat_event event = *told;
    if (bridge->has_answer_tool) {
        untie(bridge, &event);
    } else {
        pass(bridge, &event);
    }
}

int
bridge_event(bridge_t *bridge, const struct sse_event *event, struct dyn_buf *out, struct dialect_event *seen)
{
    *seen = (struct dialect_event){.terminal = false};
    bridge->seen = seen;
    bridge->out = out;
    return bridge->upstream->chat->read_event(&bridge->reading, event, carry, bridge);
}
