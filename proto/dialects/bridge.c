/* Two codecs put together. The tool that stands for a schema is added to the record before it is written, and
 * taken out of what comes back before the client's codec sees it. */
#include "proto/dialects/bridge.h"

#include "proto/dialects/chat.h"

#include <stdlib.h>

/* No client is expected to have a tool of this name; one that has gets no schema. */
#define ANSWER_TOOL      "\"structured_answer\""
#define ANSWER_TOOL_SAYS "\"Gives the answer to the user. Call it once, with the whole answer.\""

struct bridge {
    const struct dialect_ops *client;
    const struct dialect_ops *upstream;
    struct chat_losses losses;
    struct chat_reading reading;
    struct chat_writing writing;
    bool has_answer_tool;       /* asked for */
    bool is_answering;          /* the call at hand is one of it */
    unsigned answer_call;       /* its number */
    unsigned calls;             /* of the client's own tools */
    unsigned answers;           /* calls of the tool so far */
    struct dialect_event *seen; /* of the event at hand */
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

/* Whether the call can be forced: the client left the choice of tools open, and there is no other. */
static bool
can_force(const struct chat_request *request)
{
    struct json_value schema = {JSON_OBJECT, request->schema};
    bool is_object = json_string_is(chat_find(schema, "type"), "object");
    bool is_open = request->tools == NULL || request->tool_choice == CHAT_CHOICE_UNSAID ||
                   request->tool_choice == CHAT_CHOICE_AUTO;
    return is_object && is_open && !has_tool(request, ANSWER_TOOL);
}

/* With tools of the client's the model may call those first, and must call one of all. */
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
        free(bridge);
    }
}

struct dyn_slice
bridge_losses(const bridge_t *bridge)
{
    return dyn_buf_slice(&bridge->losses.list);
}

/* ---- a plain answer ---- */

static void
untie_answer(struct chat_answer *answer, struct arena *arena)
{
    bool has_calls = false;
    for (struct chat_part *part = answer->parts.first; part != NULL; part = part->next) {
        if (part->kind == CHAT_CALL && dyn_slice_is(part->name, ANSWER_TOOL)) {
            part->kind = CHAT_TEXT;
            part->text = chat_encode(part->arguments, arena);
        } else if (part->kind == CHAT_TEXT) {
            part->text = DYN_SLICE("\"\""); /* what was said around it is not part of the JSON */
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
    }
}

/* The answer's tool is text to the client; numbers of the calls behind it move up. false: nothing is left. */
static bool
untie(bridge_t *bridge, struct chat_event *event)
{
    if (event->kind == CHAT_CALL_BEGIN && dyn_slice_is(event->name, ANSWER_TOOL)) {
        bridge->is_answering = true;
        bridge->answer_call = event->call;
        bridge->answers++;
        return false;
    }
    if (event->kind == CHAT_CALL_BEGIN) {
        bridge->calls++;
        event->call -= bridge->answers;
    } else if (event->kind == CHAT_CALL_ADD && bridge->is_answering && event->call >= bridge->answer_call) {
        event->kind = event->call == bridge->answer_call ? CHAT_ADD : CHAT_CALL_ADD;
        event->part = CHAT_TEXT;
        event->call -= bridge->answers;
    } else if (event->kind == CHAT_FINISH && event->finish == CHAT_FINISH_CALLS && bridge->calls == 0) {
        event->finish = CHAT_FINISH_STOP;
    }
    return true;
}

static void
carry(void *self, const struct chat_event *told)
{
    bridge_t *bridge = self;
    struct chat_event event = *told;
    classify(bridge->seen, &event);
    if (!bridge->has_answer_tool || untie(bridge, &event)) {
        bridge->client->chat->write_event(&bridge->writing, &event, bridge->out);
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
