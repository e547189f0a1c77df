/* A Messages API request written from the record of chat.h: everything but the conversation itself, which is
 * anthropic_out_messages.c. What only tunes the answer and has no words there is a loss; what changes the
 * question or the shape of the answer is refused. */
#include "proto/dialects/anthropic_codec.h"

#include "core/text.h"
#include "proto/dialects/dialect.h"

/* The schema of a tool of whose arguments nothing is known. */
#define ANY_OBJECT "{\"type\":\"object\",\"properties\":{}}"

/* ---- tools ---- */

static int
put_tool(struct anthropic_writing *w, const struct chat_tool *tool)
{
    struct dyn_buf *out = w->out;
    if (!tool->is_function) {
        return chat_refuse(w->problem, "must be a function to be sent to this provider", "tools[%u]",
                           tool->index);
    }
    chat_put_item(out);
    dyn_buf_add_char(out, '{');
    chat_put_raw(out, "name", tool->name);
    chat_put_raw(out, "description", tool->description);
    /* a schema must be there, and be one of an object */
    struct json_value schema = {JSON_OBJECT, tool->parameters};
    bool is_usable = chat_find(schema, "type").raw.data != NULL;
    chat_put_raw(out, "input_schema", is_usable ? tool->parameters : DYN_SLICE(ANY_OBJECT));
    if (!is_usable && tool->parameters.len > 2) {
        chat_lose(w->losses, "tools[%u].function.parameters", tool->index);
    }
    if (tool->strict == CHAT_YES) {
        chat_lose(w->losses, "tools[%u].function.strict", tool->index);
    }
    chat_put_raw(out, "cache_control", tool->cache_control);
    dyn_buf_add_char(out, '}');
    return 0;
}

static void
put_tool_choice(struct anthropic_writing *w)
{
    static const char *const words[] = {
        [CHAT_CHOICE_UNSAID] = "auto", [CHAT_CHOICE_AUTO] = "auto", [CHAT_CHOICE_NONE] = "none",
        [CHAT_CHOICE_ANY] = "any",     [CHAT_CHOICE_ONE] = "tool",
    };
    const struct chat_request *request = w->request;
    bool is_serial = request->parallel_calls == CHAT_NO && request->tool_choice != CHAT_CHOICE_NONE;
    if (request->tool_choice == CHAT_CHOICE_UNSAID && !is_serial) {
        return;
    }
    chat_put_key(w->out, "tool_choice");
    dyn_buf_addf(w->out, "{\"type\":\"%s\"", words[request->tool_choice]);
    if (request->tool_choice == CHAT_CHOICE_ONE) {
        chat_put_raw(w->out, "name", request->tool_choice_name);
    }
    if (is_serial) {
        dyn_buf_add_slice(w->out, DYN_SLICE(",\"disable_parallel_tool_use\":true"));
    }
    dyn_buf_add_char(w->out, '}');
}

static size_t
count_calls(const struct chat_request *request)
{
    size_t n = 0;
    for (const struct chat_message *m = request->messages; m != NULL; m = m->next) {
        for (const struct chat_part *part = m->parts.first; part != NULL; part = part->next) {
            n += part->kind == CHAT_CALL ? 1 : 0;
        }
    }
    return n;
}

static void
take_names(struct anthropic_writing *w, struct dyn_slice *name)
{
    for (const struct chat_message *m = w->request->messages; m != NULL; m = m->next) {
        for (const struct chat_part *part = m->parts.first; part != NULL; part = part->next) {
            if (part->kind == CHAT_CALL) {
                *name++ = chat_decode(part->name, w->arena);
            }
        }
    }
}

/* The API wants tools where calls stand in the conversation, and clients leave them out of a request that
 * asks for no more of them, such as for a summary. Their names are known, and that none is to be called. */
static void
put_tools_of_past(struct anthropic_writing *w)
{
    size_t n = count_calls(w->request);
    if (n == 0) {
        return;
    }
    struct dyn_slice *names = arena_alloc(w->arena, n * sizeof *names);
    size_t *first = arena_alloc(w->arena, n * sizeof *first);
    take_names(w, names);
    dyn_slices_first_equal(names, n, first);
    chat_put_key(w->out, "tools");
    dyn_buf_add_char(w->out, '[');
    for (size_t i = 0; i < n; i++) {
        if (first[i] == i) {
            chat_put_item(w->out);
            dyn_buf_add_slice(w->out, DYN_SLICE("{\"name\":"));
            dyn_buf_add_json_string(w->out, names[i]);
            dyn_buf_add_slice(w->out, DYN_SLICE(",\"input_schema\":" ANY_OBJECT "}"));
        }
    }
    dyn_buf_add_slice(w->out, DYN_SLICE("],\"tool_choice\":{\"type\":\"none\"}"));
}

static int
put_tools(struct anthropic_writing *w)
{
    const struct chat_request *request = w->request;
    if (request->tools == NULL) {
        if (request->tool_choice == CHAT_CHOICE_ANY || request->tool_choice == CHAT_CHOICE_ONE) {
            chat_lose(w->losses, "tool_choice");
        }
        put_tools_of_past(w);
        return 0;
    }
    chat_put_key(w->out, "tools");
    dyn_buf_add_char(w->out, '[');
    for (const struct chat_tool *tool = request->tools; tool != NULL; tool = tool->next) {
        if (put_tool(w, tool) != 0) {
            return -1;
        }
    }
    dyn_buf_add_char(w->out, ']');
    put_tool_choice(w);
    return 0;
}

/* ---- sampling ---- */

static double
number_of(struct dyn_slice raw)
{
    double real = 0;
    (void)json_double((struct json_value){JSON_NUMBER, raw}, &real);
    return real;
}

/* 0 to 1 where OpenAI has 0 to 2. Newer models refuse temperature and top_p together, and all of them any
 * sampling of one's own while they think. */
static void
put_sampling(struct anthropic_writing *w, const struct anthropic_thinking *thinking)
{
    const struct chat_request *request = w->request;
    double temperature = request->temperature.data != NULL ? number_of(request->temperature) : 1;
    if (thinking->is_on && (temperature < 1 || temperature > 1)) {
        chat_lose(w->losses, "temperature");
    } else if (temperature > 1) {
        chat_lose(w->losses, "temperature");
        chat_put_raw(w->out, "temperature", DYN_SLICE("1"));
    } else if (!thinking->is_on) {
        chat_put_raw(w->out, "temperature", request->temperature);
    }
    bool may_top_p =
        request->temperature.data == NULL && (!thinking->is_on || number_of(request->top_p) >= 0.95);
    if (may_top_p) {
        chat_put_raw(w->out, "top_p", request->top_p);
    } else if (request->top_p.data != NULL && number_of(request->top_p) < 1) {
        chat_lose(w->losses, "top_p");
    }
    if (!thinking->is_on) {
        chat_put_raw(w->out, "top_k", request->top_k);
    } else if (request->top_k.data != NULL) {
        chat_lose(w->losses, "top_k");
    }
}

/* The API refuses sequences of white space only. */
static void
put_stop(struct anthropic_writing *w)
{
    struct json_value stop = w->request->stop;
    struct json_iter items = json_iter(stop);
    struct json_member item = {.value = stop};
    bool is_open = false;
    if (stop.raw.data == NULL || (stop.type == JSON_ARRAY && !json_iter_next(&items, &item))) {
        return;
    }
    do {
        if (chat_is_blank(item.value.raw)) {
            chat_lose(w->losses, "stop");
            continue;
        }
        if (!is_open) {
            chat_put_key(w->out, "stop_sequences");
            dyn_buf_add_char(w->out, '[');
            is_open = true;
        }
        chat_put_item(w->out);
        dyn_buf_add_slice(w->out, item.value.raw);
    } while (stop.type == JSON_ARRAY && json_iter_next(&items, &item));
    if (is_open) {
        dyn_buf_add_char(w->out, ']');
    }
}

/* ---- the rest ---- */

static void
put_thinking(struct anthropic_writing *w, const struct anthropic_thinking *thinking)
{
    chat_put_key(w->out, "max_tokens");
    dyn_buf_add_uint(w->out, thinking->max_tokens);
    if (thinking->budget > 0) {
        chat_put_key(w->out, "thinking");
        dyn_buf_add_slice(w->out, DYN_SLICE("{\"type\":\"enabled\",\"budget_tokens\":"));
        dyn_buf_add_uint(w->out, thinking->budget);
        dyn_buf_add_char(w->out, '}');
    }
    chat_put_raw(w->out, "thinking", thinking->raw);
}

static void
put_service_tier(struct anthropic_writing *w)
{
    struct json_value tier = {JSON_STRING, w->request->service_tier};
    if (tier.raw.data == NULL) {
        return;
    }
    if (json_string_is(tier, "default")) {
        chat_put_raw(w->out, "service_tier", DYN_SLICE("\"standard_only\""));
    } else if (json_string_is(tier, "auto")) {
        chat_put_raw(w->out, "service_tier", DYN_SLICE("\"auto\""));
    } else {
        chat_lose(w->losses, "service_tier");
    }
}

/* How a member that has no words here is taken. */
enum other { OTHER_LOST, OTHER_REFUSED };

static const struct {
    const char *key;
    enum other taken;
    const char *without; /* this value says what holds without it too; NULL: none does */
} known_others[] = {
    {"n", OTHER_REFUSED, "1"},
    {"functions", OTHER_REFUSED, "[]"},
    {"function_call", OTHER_REFUSED, NULL},
    {"modalities", OTHER_REFUSED, "[\"text\"]"},
    {"audio", OTHER_REFUSED, NULL},
    {"presence_penalty", OTHER_LOST, "0"},
    {"frequency_penalty", OTHER_LOST, "0"},
    {"logprobs", OTHER_LOST, "false"},
    {"top_logprobs", OTHER_LOST, "0"},
    {"store", OTHER_LOST, "false"},
    {"logit_bias", OTHER_LOST, "{}"},
    {"metadata", OTHER_LOST, "{}"},
    {"verbosity", OTHER_LOST, "\"medium\""},
};

/* The value without white space, as far as that is short. */
static bool
is_value(struct json_value value, const char *text)
{
    char packed[32];
    size_t len = 0;
    if (text == NULL) {
        return false;
    }
    if (value.type == JSON_NUMBER && text[0] >= '0' && text[0] <= '9') {
        double wanted = (double)(text[0] - '0');
        double real = number_of(value.raw);
        return real >= wanted && real <= wanted;
    }
    for (size_t i = 0; i < value.raw.len; i++) {
        char c = value.raw.data[i];
        if (c == ' ' || c == '\n' || c == '\t' || c == '\r') {
            continue;
        }
        if (len == sizeof packed) {
            return false;
        }
        packed[len++] = c;
    }
    return dyn_slice_is(dyn_slice(packed, len), text);
}

static int
take_other(struct anthropic_writing *w, const struct chat_other *other)
{
    for (size_t i = 0; i < DYN_ARRAY_LEN(known_others); i++) {
        if (!dyn_slice_is(other->key, known_others[i].key)) {
            continue;
        }
        if (is_value(other->value, known_others[i].without)) {
            return 0;
        }
        if (known_others[i].taken == OTHER_REFUSED) {
            return chat_refuse(w->problem, "is not supported by the provider of this model", "%s",
                               known_others[i].key);
        }
    }
    chat_lose(w->losses, "%.*s", (int)(other->key.len < 64 ? other->key.len : 64), other->key.data);
    return 0;
}

static int
put_others(struct anthropic_writing *w)
{
    for (const struct chat_other *other = w->request->others; other != NULL; other = other->next) {
        if (take_other(w, other) != 0) {
            return -1;
        }
    }
    if (w->request->format != CHAT_FORMAT_TEXT) {
        chat_lose(w->losses, "response_format");
    }
    if (chat_has_text(w->request->user)) {
        chat_put_key(w->out, "metadata");
        dyn_buf_add_slice(w->out, DYN_SLICE("{\"user_id\":"));
        dyn_buf_add_slice(w->out, w->request->user);
        dyn_buf_add_char(w->out, '}');
    }
    put_service_tier(w);
    return 0;
}

int
anthropic_out(const struct chat_request *request, struct arena *arena, struct dyn_buf *out,
              struct chat_losses *losses, struct dialect_problem *problem)
{
    struct anthropic_writing w = {request, arena, out, losses, problem};
    struct anthropic_thinking thinking = anthropic_plan_thinking(&w);
    dyn_buf_add_char(out, '{');
    chat_put_key(out, "model");
    dyn_buf_add_json_string(out, request->model);
    put_thinking(&w, &thinking);
    put_sampling(&w, &thinking);
    put_stop(&w);
    if (request->stream) {
        chat_put_raw(out, "stream", DYN_SLICE("true"));
    }
    if (put_others(&w) != 0 || put_tools(&w) != 0 || anthropic_put_messages(&w) != 0) {
        return -1;
    }
    dyn_buf_add_char(out, '}');
    return 0;
}
