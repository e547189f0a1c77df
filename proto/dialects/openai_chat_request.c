/* OpenAI chat requests: what is refused before anyone is asked, and what the gateway has to know.
 *
 * One scan validates the text and visits on its way what has to be looked at; what lies in messages and
 * tools is in openai_chat_messages.c. Nothing is decoded but the model's name. Only what no upstream could
 * accept is refused here; unknown members, roles' rules among each other and parts of unknown types are left
 * to the upstream, which sees the client's own bytes. JSON null for an optional member means that it is
 * absent. */
#include "proto/dialects/openai_chat_reading.h"

#include "proto/dialects/request_body.h"

#include <float.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>

struct rule;
typedef int (*check_fn)(struct reading *r, const struct rule *rule, struct json_value value);

/* One member of the request: how its value must look. min and max are for numbers. */
struct rule {
    struct dyn_slice key;
    check_fn check;
    double min;
    double max;
    bool required;  /* null is a value then, not absence */
    uint32_t param; /* its bit, for what not every provider takes; 0: none */
};

int
reading_refuse(struct reading *r, const char *what, const char *path, ...)
{
    va_list args;
    va_start(args, path);
    (void)vsnprintf(r->problem->param, sizeof r->problem->param, path, args);
    va_end(args);
    (void)snprintf(r->problem->message, sizeof r->problem->message, "%s %s", r->problem->param, what);
    return REFUSED;
}

static bool
is_bool(struct json_value value)
{
    return value.type == JSON_TRUE || value.type == JSON_FALSE;
}

/* 100 and 100.0 and 1e2 are the same number in JSON; digits alone are an integer of any length. */
static bool
is_integer(struct json_value value)
{
    if (value.type != JSON_NUMBER) {
        return false;
    }
    for (size_t i = 0; i < value.raw.len; i++) {
        char c = value.raw.data[i];
        if (c == '.' || c == 'e' || c == 'E') {
            double real;
            return json_double(value, &real) == 0 && floor(real) == real;
        }
    }
    return true;
}

static int
check_bool(struct reading *r, const struct rule *rule, struct json_value value)
{
    return is_bool(value) ? GO_ON : reading_refuse(r, "must be true or false", "%s", rule->key.data);
}

static int
check_string(struct reading *r, const struct rule *rule, struct json_value value)
{
    return value.type == JSON_STRING ? GO_ON : reading_refuse(r, "must be a string", "%s", rule->key.data);
}

static int
check_object(struct reading *r, const struct rule *rule, struct json_value value)
{
    return value.type == JSON_OBJECT ? GO_ON : reading_refuse(r, "must be an object", "%s", rule->key.data);
}

static int
check_string_or_object(struct reading *r, const struct rule *rule, struct json_value value)
{
    return value.type == JSON_STRING || value.type == JSON_OBJECT
               ? GO_ON
               : reading_refuse(r, "must be a string or an object", "%s", rule->key.data);
}

static int
check_number(struct reading *r, const struct rule *rule, struct json_value value)
{
    double real;
    if (json_double(value, &real) == 0 && real >= rule->min && real <= rule->max) {
        return GO_ON;
    }
    char what[64];
    (void)snprintf(what, sizeof what, "must be a number from %g to %g", rule->min, rule->max);
    return reading_refuse(r, what, "%s", rule->key.data);
}

static int
check_integer(struct reading *r, const struct rule *rule, struct json_value value)
{
    double real = 0;
    bool is_finite = json_double(value, &real) == 0;
    if (is_integer(value) && (rule->min < -DBL_MAX || (is_finite && real >= rule->min))) {
        return GO_ON;
    }
    char what[64] = "must be an integer";
    if (rule->min >= -DBL_MAX) {
        (void)snprintf(what, sizeof what, "must be an integer of at least %g", rule->min);
    }
    return reading_refuse(r, what, "%s", rule->key.data);
}

/* A count on some platforms (Together, Fireworks), where OpenAI has a boolean and `top_logprobs`. */
static int
check_logprobs(struct reading *r, const struct rule *rule, struct json_value value)
{
    double real = 0;
    (void)rule;
    bool is_count = is_integer(value) && json_double(value, &real) == 0 && real >= 0;
    return is_bool(value) || is_count ? GO_ON
                                      : reading_refuse(r, "must be true, false or a count", "logprobs");
}

/* A word of OpenAI's; others also take a number of tokens, or a boolean. */
static int
check_scalar(struct reading *r, const struct rule *rule, struct json_value value)
{
    return value.type != JSON_OBJECT && value.type != JSON_ARRAY
               ? GO_ON
               : reading_refuse(r, "must be a string", "%s", rule->key.data);
}

static uint64_t
count_of(struct json_value value)
{
    double real = 0;
    (void)json_double(value, &real);
    if (real < 0) { /* it is refused, but not here */
        return 0;
    }
    return real < (double)INT64_MAX ? (uint64_t)real : (uint64_t)INT64_MAX;
}

/* Of two the larger: some providers know only the older name, and money is set aside by this. */
static int
check_token_limit(struct reading *r, const struct rule *rule, struct json_value value)
{
    uint64_t limit = count_of(value);
    if (limit > r->request->max_output_tokens) {
        r->request->max_output_tokens = limit;
    }
    return check_integer(r, rule, value);
}

static int
check_choices(struct reading *r, const struct rule *rule, struct json_value value)
{
    r->request->n_choices = count_of(value);
    return check_integer(r, rule, value);
}

static int
check_items(struct reading *r, const struct rule *rule, struct json_value value, enum json_type type,
            const char *what, const char *item_what)
{
    if (value.type != JSON_ARRAY) {
        return reading_refuse(r, what, "%s", rule->key.data);
    }
    struct json_iter items = json_iter(value);
    struct json_member item;
    for (size_t i = 0; json_iter_next(&items, &item); i++) {
        if (item.value.type != type) {
            return reading_refuse(r, item_what, "%s[%zu]", rule->key.data, i);
        }
    }
    return GO_ON;
}

static int
check_strings(struct reading *r, const struct rule *rule, struct json_value value)
{
    return check_items(r, rule, value, JSON_STRING, "must be an array of strings", "must be a string");
}

static int
check_string_or_strings(struct reading *r, const struct rule *rule, struct json_value value)
{
    return value.type == JSON_STRING
               ? GO_ON
               : check_items(r, rule, value, JSON_STRING, "must be a string or an array of strings",
                             "must be a string");
}

static int
check_objects(struct reading *r, const struct rule *rule, struct json_value value)
{
    return check_items(r, rule, value, JSON_OBJECT, "must be an array of objects", "must be an object");
}

/* What is in it was visited already. */
static int
check_tools(struct reading *r, const struct rule *rule, struct json_value value)
{
    (void)rule;
    return value.type == JSON_ARRAY ? GO_ON : reading_refuse(r, "must be an array of objects", "tools");
}

static int
check_stream(struct reading *r, const struct rule *rule, struct json_value value)
{
    r->request->stream = value.type == JSON_TRUE;
    return check_bool(r, rule, value);
}

static int
check_stream_options(struct reading *r, const struct rule *rule, struct json_value value)
{
    int failed = check_object(r, rule, value);
    bool seen = false;
    struct json_iter options = json_iter(value);
    for (struct json_member option; !failed && json_iter_next(&options, &option);) {
        if (!reading_key_is(&option, DYN_SLICE("include_usage"))) {
            continue;
        }
        if (seen || (!is_bool(option.value) && option.value.type != JSON_NULL)) {
            return reading_refuse(r, seen ? "is given twice" : "must be true or false",
                                  "stream_options.include_usage");
        }
        seen = true;
        r->request->wants_usage = option.value.type == JSON_TRUE;
    }
    r->request->stream_options = value;
    return failed;
}

static int
check_model(struct reading *r, const struct rule *rule, struct json_value value)
{
    (void)rule;
    const char *wrong = request_body_model(value, r->arena, r->request);
    return wrong == NULL ? GO_ON : reading_refuse(r, wrong, "model");
}

/* The messages themselves were visited already, and counted. */
static int
check_messages(struct reading *r, const struct rule *rule, struct json_value value)
{
    (void)rule;
    if (value.type != JSON_ARRAY) {
        return reading_refuse(r, "must be an array of messages", "messages");
    }
    return r->message > 0 ? GO_ON : reading_refuse(r, "must hold at least one message", "messages");
}

/* Members that clients send often stand first: the table is searched from the top. */
static const struct rule rules[] = {
    {DYN_SLICE_INIT("model"), check_model, 0, 0, true, 0},
    {DYN_SLICE_INIT("messages"), check_messages, 0, 0, true, 0},
    {DYN_SLICE_INIT("stream"), check_stream, 0, 0, false, 0},
    {DYN_SLICE_INIT("stream_options"), check_stream_options, 0, 0, false, 0},
    {DYN_SLICE_INIT("temperature"), check_number, 0, 2, false, DIALECT_PARAM_TEMPERATURE},
    {DYN_SLICE_INIT("max_tokens"), check_token_limit, 1, 0, false, DIALECT_PARAM_MAX_TOKENS},
    {DYN_SLICE_INIT("max_completion_tokens"), check_token_limit, 1, 0, false,
     DIALECT_PARAM_MAX_COMPLETION_TOKENS},
    {DYN_SLICE_INIT("top_p"), check_number, 0, 1, false, DIALECT_PARAM_TOP_P},
    {DYN_SLICE_INIT("tools"), check_tools, 0, 0, false, DIALECT_PARAM_TOOLS},
    {DYN_SLICE_INIT("tool_choice"), check_string_or_object, 0, 0, false, DIALECT_PARAM_TOOL_CHOICE},
    {DYN_SLICE_INIT("parallel_tool_calls"), check_bool, 0, 0, false, DIALECT_PARAM_PARALLEL_TOOL_CALLS},
    {DYN_SLICE_INIT("response_format"), check_object, 0, 0, false, DIALECT_PARAM_RESPONSE_FORMAT},
    {DYN_SLICE_INIT("stop"), check_string_or_strings, 0, 0, false, DIALECT_PARAM_STOP},
    {DYN_SLICE_INIT("n"), check_choices, 1, 0, false, DIALECT_PARAM_N},
    {DYN_SLICE_INIT("seed"), check_integer, -HUGE_VAL, 0, false, DIALECT_PARAM_SEED},
    {DYN_SLICE_INIT("presence_penalty"), check_number, -2, 2, false, DIALECT_PARAM_PRESENCE_PENALTY},
    {DYN_SLICE_INIT("frequency_penalty"), check_number, -2, 2, false, DIALECT_PARAM_FREQUENCY_PENALTY},
    {DYN_SLICE_INIT("logit_bias"), check_object, 0, 0, false, DIALECT_PARAM_LOGIT_BIAS},
    {DYN_SLICE_INIT("logprobs"), check_logprobs, 0, 0, false, DIALECT_PARAM_LOGPROBS},
    {DYN_SLICE_INIT("top_logprobs"), check_integer, -1 /* all, in vLLM */, 0, false,
     DIALECT_PARAM_TOP_LOGPROBS},
    {DYN_SLICE_INIT("user"), check_string, 0, 0, false, DIALECT_PARAM_USER},
    {DYN_SLICE_INIT("metadata"), check_object, 0, 0, false, 0},
    {DYN_SLICE_INIT("store"), check_bool, 0, 0, false, 0},
    {DYN_SLICE_INIT("reasoning_effort"), check_scalar, 0, 0, false, 0},
    {DYN_SLICE_INIT("service_tier"), check_string, 0, 0, false, 0},
    {DYN_SLICE_INIT("modalities"), check_strings, 0, 0, false, 0},
    {DYN_SLICE_INIT("functions"), check_objects, 0, 0, false, 0},
    {DYN_SLICE_INIT("function_call"), check_string_or_object, 0, 0, false, 0},
};

static int
read_member(void *self, const struct json_member *member)
{
    struct reading *r = self;
    r->request->is_empty_object = false;
    for (size_t i = 0; i < DYN_ARRAY_LEN(rules); i++) {
        const struct rule *rule = &rules[i];
        if (reading_key_is(member, rule->key)) {
            bool is_absent = member->value.type == JSON_NULL && !rule->required;
            if (is_absent && rule->check == check_stream_options) {
                r->request->stream_options = member->value; /* a splice replaces the null */
            }
            if (!is_absent) {
                r->request->params |= rule->param;
            }
            return is_absent ? GO_ON : rule->check(r, rule, member->value);
        }
    }
    return GO_ON;
}

static const struct json_visitor *
enter_member(void *self, const struct json_member *member)
{
    (void)self;
    if (member->value.type != JSON_ARRAY) {
        return NULL;
    }
    if (reading_key_is(member, DYN_SLICE("messages"))) {
        return &reading_messages;
    }
    return reading_key_is(member, DYN_SLICE("tools")) ? &reading_tools : NULL;
}

static const struct json_visitor request_members = {
    .visit = read_member,
    .enter = enter_member,
    .unique_keys = true,
};

static struct dyn_slice
skip_space(struct dyn_slice text)
{
    while (text.len > 0 &&
           (*text.data == ' ' || *text.data == '\t' || *text.data == '\n' || *text.data == '\r')) {
        text.data++;
        text.len--;
    }
    return text;
}

/* The field that the second of two equal keys is, if it is one of ours. `key` begins at its quote. */
static const char *
field_given_twice(struct dyn_slice key)
{
    struct json_member member = {.key = dyn_slice(key.data + 1, 0)};
    while (member.key.len + 1 < key.len && member.key.data[member.key.len] != '"') {
        bool is_escape = member.key.data[member.key.len] == '\\';
        member.key_is_escaped |= is_escape;
        member.key.len += is_escape ? 2 : 1;
    }
    for (size_t i = 0; i < DYN_ARRAY_LEN(rules); i++) {
        if (reading_key_is(&member, rules[i].key)) {
            return rules[i].key.data;
        }
    }
    return NULL;
}

static int
refuse_text(struct reading *r, struct dyn_slice body, const struct json_error *error)
{
    struct dialect_problem *problem = r->problem;
    struct dyn_slice text = skip_space(body);
    if (strcmp(error->what, JSON_DUPLICATE_KEY) == 0) {
        const char *field = field_given_twice(dyn_slice(body.data + error->offset, body.len - error->offset));
        if (field != NULL) {
            (void)reading_refuse(r, "is given twice", "%s", field);
            return -1;
        }
    }
    problem->param[0] = '\0';
    if (text.len == 0 || text.data[0] != '{') {
        (void)snprintf(problem->message, sizeof problem->message, "the body must be a JSON object");
    } else {
        (void)snprintf(problem->message, sizeof problem->message,
                       "the body is not valid JSON: %s at byte %zu", error->what, error->offset);
    }
    return -1;
}

int
openai_chat_read_places(struct dyn_slice body, struct arena *arena, struct dialect_request *request,
                        struct json_places *places, struct dialect_problem *problem)
{
    struct reading r = {.arena = arena, .request = request, .problem = problem};
    struct json_error error = {"nothing", 0};
    *request = (struct dialect_request){.is_empty_object = true};
    int result = json_scan_places(body, JSON_DEPTH_DEFAULT, &request_members, &r, places, &error);
    if (result < 0) {
        return refuse_text(&r, body, &error);
    }
    if (result == GO_ON && request->model.data == NULL) {
        result = reading_refuse(&r, "is missing", "model");
    }
    if (result == GO_ON && r.message == 0) {
        result = reading_refuse(&r, "is missing", "messages");
    }
    request->object_start = (size_t)(skip_space(body).data - body.data) + 1;
    return result == GO_ON ? 0 : -1;
}

int
openai_chat_read_request(struct dyn_slice body, struct arena *arena, struct dialect_request *request,
                         struct dialect_problem *problem)
{
    return openai_chat_read_places(body, arena, request, NULL, problem);
}
