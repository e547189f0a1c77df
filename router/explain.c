/* See explain.h. Pure: reads what is asked about and writes what was decided. */
#include "router/explain.h"

#include "models/cost.h"
#include "router/pick.h"

#include <ctype.h>
#include <stdio.h>

/* ---- what is asked about ---- */

struct reading {
    struct env *request;
    struct route_explain *explain;
    struct dialect_problem *problem;
};

enum { GO_ON = 0, REFUSED = 1 };

static int
refuse(struct reading *r, const char *param, const char *what)
{
    (void)snprintf(r->problem->param, sizeof r->problem->param, "%s", param);
    (void)snprintf(r->problem->message, sizeof r->problem->message, "%s %s", param, what);
    return REFUSED;
}

static struct dyn_slice
text_of(struct reading *r, struct json_value value)
{
    struct dyn_slice plain = json_string_plain(value);
    if (plain.data != NULL) {
        return plain;
    }
    struct dyn_buf decoded = DYN_BUF_INIT;
    json_string_decode(value, &decoded);
    struct dyn_slice copy = env_copy(r->request, dyn_buf_slice(&decoded));
    dyn_buf_fini(&decoded);
    return copy;
}

static int
read_surface(struct reading *r, struct json_value value)
{
    if (json_string_is(value, "chat")) {
        r->explain->surface = ENV_SURFACE_CHAT;
    } else if (json_string_is(value, "embeddings")) {
        r->explain->surface = ENV_SURFACE_EMBEDDINGS;
    } else {
        return refuse(r, "surface", "must be chat or embeddings");
    }
    return GO_ON;
}

static int
read_headers(struct reading *r, struct json_value value)
{
    enum { NAME_MAX_BYTES = 128 };
    struct json_iter members = json_iter(value);
    for (struct json_member member; json_iter_next(&members, &member);) {
        char lower[NAME_MAX_BYTES];
        if (member.value.type != JSON_STRING || member.key_is_escaped || member.key.len > sizeof lower) {
            return refuse(r, "headers", "must be an object of strings");
        }
        for (size_t i = 0; i < member.key.len; i++) {
            lower[i] = (char)tolower((unsigned char)member.key.data[i]);
        }
        if (!env_add_header(r->request, dyn_slice(lower, member.key.len), text_of(r, member.value))) {
            return refuse(r, "headers", "has more, or longer ones, than go with a request");
        }
    }
    return value.type == JSON_OBJECT ? GO_ON : refuse(r, "headers", "must be an object of strings");
}

static int
read_seed(struct reading *r, struct json_value value)
{
    int64_t seed;
    if (json_int64(value, &seed) != 0 || seed < 0) {
        return refuse(r, "seed", "must be an integer of at least 0");
    }
    r->explain->seed = (uint64_t)seed;
    r->explain->has_seed = true;
    return GO_ON;
}

static int
read_member(void *self, const struct json_member *member)
{
    struct reading *r = self;
    if (json_key_is(member, "request")) {
        r->explain->body = member->value.raw;
        return member->value.type == JSON_OBJECT ? GO_ON : refuse(r, "request", "must be an object");
    }
    if (json_key_is(member, "surface")) {
        return read_surface(r, member->value);
    }
    if (json_key_is(member, "headers")) {
        return read_headers(r, member->value);
    }
    if (json_key_is(member, "seed")) {
        return read_seed(r, member->value);
    }
    if (json_key_is(member, "key") && member->value.type == JSON_STRING) {
        r->explain->key_id = env_copy(r->request, text_of(r, member->value));
        return GO_ON;
    }
    if (json_key_is(member, "key")) {
        return refuse(r, "key", "must be a string");
    }
    return refuse(r, "body", "has a member beside request, surface, headers, key and seed");
}

int
route_explain_read(struct env *request, struct route_explain *explain, struct dialect_problem *problem)
{
    *explain = (struct route_explain){.surface = ENV_SURFACE_CHAT};
    struct reading r = {request, explain, problem};
    int result = json_scan_object(dyn_block_slice(request->body), JSON_DEPTH_DEFAULT, read_member, &r, NULL);
    if (result == 0 && explain->body.data == NULL) {
        result = refuse(&r, "request", "is missing");
    } else if (result < 0) {
        problem->param[0] = '\0';
        (void)snprintf(problem->message, sizeof problem->message, "the body is not a valid JSON object");
    }
    return result == GO_ON ? 0 : -1;
}

/* ---- what was decided ---- */

/* What the question said comes back in the answer: enough of it to know it again. */
enum { ECHO_MAX = 1024 };

static struct dyn_slice
echoed(struct dyn_slice text)
{
    size_t len = text.len < ECHO_MAX ? text.len : ECHO_MAX;
    while (len > 0 && len < text.len && ((unsigned char)text.data[len] & 0xC0) == 0x80) {
        len--;
    }
    return dyn_slice(text.data, len);
}

static void
add_text(struct dyn_buf *out, const char *name, struct dyn_slice text)
{
    dyn_buf_addf(out, ",\"%s\":", name);
    if (text.data != NULL) {
        dyn_buf_add_json_string(out, echoed(text));
    } else {
        dyn_buf_add_str(out, "null");
    }
}

static void
add_count(struct dyn_buf *out, const char *name, uint64_t count)
{
    dyn_buf_addf(out, ",\"%s\":%llu", name, (unsigned long long)count);
}

/* As a text: USD of a request have more digits than a double. */
static void
add_usd(struct dyn_buf *out, const char *name, uint64_t amount)
{
    char text[COST_USD_TEXT_MAX];
    if (amount == PRICE_UNKNOWN) {
        dyn_buf_addf(out, ",\"%s\":null", name);
    } else {
        dyn_buf_addf(out, ",\"%s\":\"%.*s\"", name, (int)cost_usd_text(amount, text), text);
    }
}

static void
add_facts(struct dyn_buf *out, const struct route_facts *facts)
{
    dyn_buf_add_str(out, ",\"facts\":{\"surface\":");
    dyn_buf_add_json_string(out, dyn_slice_str(env_surface_name(facts->surface)));
    dyn_buf_addf(out, ",\"stream\":%s,\"has_images\":%s,\"has_tools\":%s", facts->stream ? "true" : "false",
                 facts->has_images ? "true" : "false", facts->has_tools ? "true" : "false");
    add_count(out, "prompt_tokens", facts->prompt_tokens);
    add_count(out, "max_output_tokens", facts->max_output_tokens);
    add_text(out, "key", facts->key_id);
    add_text(out, "user", facts->user);
    dyn_buf_add_char(out, '}');
}

/* Place in the order from 1 on; 0: it is not in it. */
static size_t
place_of(const struct route_order *order, size_t target)
{
    for (size_t i = 0; i < order->n; i++) {
        if (order->items[i] == target) {
            return i + 1;
        }
    }
    return 0;
}

static void
add_view(struct dyn_buf *out, const struct route_facts *facts, const struct route_target_view *seen)
{
    static const char *const states[] = {
        [HEALTH_CLOSED] = "closed", [HEALTH_HALF_OPEN] = "half_open", [HEALTH_OPEN] = "open"};
    dyn_buf_addf(out, ",\"breaker\":\"%s\"", states[seen->state]);
    add_count(out, "retry_ms", seen->retry_ms);
    add_count(out, "in_flight", seen->in_flight);
    add_count(out, "samples", seen->samples);
    add_count(out, "ttft_us", seen->ttft_us);
    add_count(out, "total_us", seen->total_us);
    add_usd(out, "estimated_cost_usd", route_cost_estimate(facts, seen));
}

static void
add_target(struct dyn_buf *out, const struct route_facts *facts, const struct route_view *view,
           const struct route_decision *decision, size_t target)
{
    enum route_drop drop = route_drop_of(facts, view, decision, target);
    size_t place = place_of(&decision->order, target);
    dyn_buf_add_str(out, "{\"name\":");
    dyn_buf_add_json_string(out, view->targets[target].name);
    add_text(out, "provider", view->targets[target].provider);
    dyn_buf_addf(out, ",\"place\":%zu", place);
    add_text(out, "why", dyn_slice_str(route_drop_text(drop)));
    if (route_is_candidate(view, target)) {
        add_view(out, facts, &view->seen[target]);
    }
    dyn_buf_add_char(out, '}');
}

static void
add_targets(struct dyn_buf *out, const struct route_facts *facts, const struct route_view *view,
            const struct route_decision *decision)
{
    const struct route_order *order = &decision->order;
    const char *comma = "";
    dyn_buf_add_str(out, ",\"targets\":[");
    for (size_t i = 0; i < order->n; i++) { /* those that are tried, in that order; then the others */
        dyn_buf_add_str(out, comma);
        add_target(out, facts, view, decision, order->items[i]);
        comma = ",";
    }
    for (size_t i = 0; i < view->n_targets; i++) {
        if (place_of(order, i) == 0 && view->targets[i].name.len > 0) {
            dyn_buf_add_str(out, comma);
            add_target(out, facts, view, decision, i);
            comma = ",";
        }
    }
    dyn_buf_add_char(out, ']');
}

static void
add_refusal(struct dyn_buf *out, const struct route_facts *facts, const struct route_decision *decision)
{
    char text[256];
    const struct err_row *row = err_row(decision->refused);
    if (decision->refused == ERR_NONE) {
        dyn_buf_add_str(out, ",\"refused\":null");
        return;
    }
    route_decision_text(decision, facts, text, sizeof text);
    dyn_buf_addf(out, ",\"refused\":{\"status\":%u,\"code\":\"%s\",\"retry_ms\":%u", (unsigned)row->http,
                 row->code, (unsigned)decision->retry_ms);
    add_text(out, "message", dyn_slice_str(text[0] != '\0' ? text : row->sentence));
    dyn_buf_add_char(out, '}');
}

void
route_explain_write(const struct route_explain *explain, const struct route_facts *facts,
                    const struct route_view *view, const struct route_decision *decision, struct dyn_buf *out)
{
    const struct route_order *order = &decision->order;
    dyn_buf_add_str(out, "{\"model\":");
    dyn_buf_add_json_string(out, echoed(facts->model));
    add_text(out, "asked_model", facts->asked_model);
    add_text(out, "strategy", dyn_slice_str(view->plan->strategy->name));
    if (order->rule >= 0) {
        dyn_buf_addf(out, ",\"rule\":%d", order->rule);
    } else {
        dyn_buf_add_str(out, ",\"rule\":null");
    }
    add_text(out, "label", order->label);
    dyn_buf_addf(out, ",\"overridden\":%s", facts->n_override > 0 ? "true" : "false");
    if (explain->has_seed) {
        add_count(out, "seed", explain->seed);
    }
    add_refusal(out, facts, decision);
    dyn_buf_add_str(out, ",\"order\":[");
    for (size_t i = 0; i < order->n; i++) {
        dyn_buf_add_str(out, i > 0 ? "," : "");
        dyn_buf_add_json_string(out, view->targets[order->items[i]].name);
    }
    dyn_buf_add_char(out, ']');
    add_facts(out, facts);
    add_targets(out, facts, view, decision);
    dyn_buf_add_str(out, ",\"plugins\":");
    dyn_buf_add_slice(out, explain->plugins.len > 0 ? explain->plugins : DYN_SLICE("[]"));
    dyn_buf_add_char(out, '}');
}
