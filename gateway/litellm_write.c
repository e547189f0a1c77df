/* One target for each deployment, which serves its group and nothing else. A fallback from one group to
 * another is a second target with the same upstream, which serves the first group with the weight 0: it is
 * reached when the others have failed, and only then. */
#include "gateway/litellm.h"

#include "actors/providers/provider_rows.h"
#include "actors/providers/provider_target.h"
#include "gateway/yaml_text.h"
#include "router/target_set.h"

#include <ctype.h>
#include <stdio.h>

#define NAME_BYTES            40u /* of a group, in the name of a target; 64 are allowed */
#define RETRIES_MAX           99u
#define ALLOWED_FAILS_DEFAULT 3u /* LiteLLM's own */
#define COOLDOWN_DEFAULT_MS   5000u

/* A target that is written: a deployment for the group that it serves. */
struct written {
    const struct litellm_deployment *deployment;
    struct dyn_slice group;
    const char *name;
    bool is_fallback;
};

struct writer {
    struct litellm *import;
    struct dyn_buf *out;
    const char *mode;
    bool weighs;
    bool all_equal; /* no weight above 0 was given */
    struct written targets[ROUTE_TARGETS_MAX];
    size_t n;
    size_t n_prices;
};

static void
add_time(struct dyn_buf *out, uint64_t ms)
{
    bool is_whole = ms % 1000 == 0;
    dyn_buf_addf(out, "%llu%s", (unsigned long long)(is_whole ? ms / 1000 : ms), is_whole ? "s" : "ms");
}

/* ---- targets ---- */

static bool
has_group(const struct litellm *import, struct dyn_slice group)
{
    for (size_t i = 0; i < import->n; i++) {
        if (dyn_slice_eq(import->deployments[i].group, group)) {
            return true;
        }
    }
    return false;
}

static bool
is_taken(const struct writer *writer, const char *name)
{
    for (size_t i = 0; i < writer->n; i++) {
        if (strcmp(writer->targets[i].name, name) == 0) {
            return true;
        }
    }
    return false;
}

/* The group, with a number behind it from the second one on. */
static const char *
choose_name(const struct writer *writer, struct dyn_slice group, const char *tail)
{
    char base[NAME_BYTES + 1];
    size_t len = group.len < NAME_BYTES ? group.len : NAME_BYTES;
    memcpy(base, group.data, len);
    base[len] = '\0';
    for (char *c = base; *c != '\0'; c++) {
        *c = (unsigned char)*c <= ' ' || (unsigned char)*c >= 0x7f || *c == ',' ? '-' : *c;
    }
    struct dyn_slice name = arena_printf(&writer->import->arena, "%s%s", base, tail);
    for (unsigned i = 2; is_taken(writer, name.data); i++) {
        name = arena_printf(&writer->import->arena, "%s%s-%u", base, tail, i);
    }
    return name.data;
}

static void
add_target(struct writer *writer, const struct litellm_deployment *deployment, struct dyn_slice group,
           bool is_fallback)
{
    if (writer->n == ROUTE_TARGETS_MAX) {
        litellm_note(writer->import, deployment->line, "model_list: more than %d targets", ROUTE_TARGETS_MAX);
        return;
    }
    writer->targets[writer->n].name = choose_name(writer, group, is_fallback ? "-fallback" : "");
    writer->targets[writer->n].deployment = deployment;
    writer->targets[writer->n].group = group;
    writer->targets[writer->n].is_fallback = is_fallback;
    writer->n++;
}

static bool
has_target(const struct writer *writer, const struct litellm_deployment *deployment, struct dyn_slice group)
{
    for (size_t i = 0; i < writer->n; i++) {
        if (writer->targets[i].deployment == deployment && dyn_slice_eq(writer->targets[i].group, group)) {
            return true;
        }
    }
    return false;
}

static void
add_fallback(struct writer *writer, const struct litellm_pair *fallback)
{
    struct litellm *import = writer->import;
    if (!has_group(import, fallback->name) || !has_group(import, fallback->value)) {
        litellm_note(import, fallback->line, "fallbacks: from '%s' to '%s': one of them is no group here",
                     config_name(fallback->name, 60).text, config_name(fallback->value, 60).text);
        return;
    }
    for (size_t i = 0; i < import->n; i++) {
        const struct litellm_deployment *deployment = &import->deployments[i];
        bool is_meant = dyn_slice_eq(deployment->group, fallback->value) && !deployment->takes_any;
        if (is_meant && !has_target(writer, deployment, fallback->name)) {
            add_target(writer, deployment, fallback->name, true);
        }
    }
}

static void
collect(struct writer *writer)
{
    struct litellm *import = writer->import;
    for (size_t i = 0; i < import->n; i++) {
        add_target(writer, &import->deployments[i], import->deployments[i].group, false);
    }
    for (size_t i = 0; i < import->fallbacks.n && writer->n < ROUTE_TARGETS_MAX; i++) {
        add_fallback(writer, &import->fallbacks.items[i]);
    }
}

/* ---- the mode ---- */

static bool
shares_a_group(const struct litellm *import)
{
    for (size_t i = 0; i < import->n; i++) {
        for (size_t j = 0; j < i && i < ROUTE_TARGETS_MAX; j++) {
            if (dyn_slice_eq(import->deployments[i].group, import->deployments[j].group)) {
                return true;
            }
        }
    }
    return false;
}

static const char *
mode_for(struct litellm *import)
{
    static const struct {
        const char *theirs;
        const char *ours;
        const char *note;
    } modes[] = {
        {"simple-shuffle", "loadbalance", NULL},
        {"least-busy", "least-busy", NULL},
        {"latency-based-routing", "least-latency", NULL},
        {"cost-based-routing", "cost-optimized", NULL},
        {"usage-based-routing", "loadbalance", "by weight instead of by what was used"},
        {"usage-based-routing-v2", "loadbalance", "by weight instead of by what was used"},
    };
    for (size_t i = 0; i < DYN_ARRAY_LEN(modes); i++) {
        if (dyn_slice_is(import->routing, modes[i].theirs)) {
            if (modes[i].note != NULL) {
                litellm_note(import, 0, "routing_strategy %s: %s", modes[i].theirs, modes[i].note);
            }
            return modes[i].ours;
        }
    }
    if (import->routing.len > 0) {
        litellm_note(import, 0, "routing_strategy %s", config_name(import->routing, 60).text);
    }
    return "loadbalance";
}

static void
choose_mode(struct writer *writer)
{
    struct litellm *import = writer->import;
    double sum = 0;
    writer->mode = mode_for(import);
    writer->weighs = strcmp(writer->mode, "loadbalance") == 0;
    if (writer->weighs && !shares_a_group(import)) {
        writer->mode = "fallback"; /* nothing to balance */
        writer->weighs = false;
    }
    for (size_t i = 0; i < import->n; i++) {
        sum += import->deployments[i].has_weight ? import->deployments[i].weight : 1;
    }
    writer->all_equal = sum <= 0;
    bool has_order = writer->weighs || strcmp(writer->mode, "fallback") == 0;
    if (!has_order && import->fallbacks.n > 0) {
        litellm_note(import, import->fallbacks.items[0].line,
                     "fallbacks: under %s their targets take part like the others", writer->mode);
    }
}

/* ---- writing ---- */

static void
add_key(struct writer *writer, const char *key, struct dyn_slice value)
{
    if (value.len > 0) {
        dyn_buf_addf(writer->out, "    %s: ", key);
        yaml_add_text(writer->out, value);
        dyn_buf_add_char(writer->out, '\n');
    }
}

static void
add_models(struct writer *writer, const struct written *target)
{
    const struct litellm_deployment *deployment = target->deployment;
    struct dyn_buf *out = writer->out;
    if (deployment->takes_any) {
        return;
    }
    dyn_buf_add_str(out, "    models: [");
    yaml_add_text(out, target->group);
    dyn_buf_add_str(out, "]\n    models_only: true\n");
    if (!dyn_slice_eq(target->group, deployment->model)) {
        dyn_buf_add_str(out, "    upstream_model: {");
        yaml_add_text(out, target->group);
        dyn_buf_add_str(out, ": ");
        yaml_add_text(out, deployment->model);
        dyn_buf_add_str(out, "}\n");
    }
}

/* RFC 9110 5.6.2, and none that frames a request. */
static bool
is_header(struct dyn_slice name)
{
    static const char *const ours[] = {"host",   "content-length", "transfer-encoding",
                                       "te",     "connection",     "accept-encoding",
                                       "expect", "upgrade",        "content-type"};
    for (size_t i = 0; i < name.len; i++) {
        if (!isalnum((unsigned char)name.data[i]) &&
            (name.data[i] == '\0' || strchr("!#$%&'*+-.^_`|~", name.data[i]) == NULL)) {
            return false;
        }
    }
    for (size_t i = 0; i < DYN_ARRAY_LEN(ours); i++) {
        if (dyn_slice_ieq(name, dyn_slice_str(ours[i]))) {
            return false;
        }
    }
    return name.len > 0;
}

/* Their names have no case. */
static bool
is_repeated(const struct litellm_pairs *headers, size_t index)
{
    for (size_t i = 0; i < index; i++) {
        if (dyn_slice_ieq(headers->items[i].name, headers->items[index].name)) {
            return true;
        }
    }
    return false;
}

static void
add_headers(struct writer *writer, const struct litellm_deployment *deployment)
{
    size_t n = 0;
    for (size_t i = 0; i < deployment->headers.n; i++) {
        const struct litellm_pair *header = &deployment->headers.items[i];
        if (n == PROVIDER_HEADERS_MAX || !is_header(header->name) || is_repeated(&deployment->headers, i)) {
            litellm_note(writer->import, header->line, "extra_headers.%s",
                         config_name(header->name, 60).text);
            continue;
        }
        dyn_buf_add_str(writer->out, n++ == 0 ? "    headers:\n      " : "      ");
        yaml_add_text(writer->out, header->name);
        dyn_buf_add_str(writer->out, ": ");
        yaml_add_text(writer->out, header->value);
        dyn_buf_add_char(writer->out, '\n');
    }
}

static void
add_weight(struct writer *writer, const struct written *target)
{
    const struct litellm_deployment *deployment = target->deployment;
    if (!writer->weighs) {
        return;
    }
    bool is_one = writer->all_equal || !deployment->has_weight;
    double weight = target->is_fallback ? 0 : is_one ? 1 : deployment->weight;
    dyn_buf_addf(writer->out, "    weight: %.10g\n", weight);
}

static void
add_resilience(struct writer *writer, const struct litellm_deployment *deployment)
{
    const struct litellm *import = writer->import;
    struct dyn_buf *out = writer->out;
    uint64_t retries = deployment->has_retries ? deployment->retries
                       : import->has_retries   ? import->retries
                                               : 0;
    if (retries > 0) {
        retries = retries < RETRIES_MAX ? retries : RETRIES_MAX;
        dyn_buf_addf(out, "    retry: {attempts: %llu}\n", (unsigned long long)retries + 1);
    }
    if (import->has_allowed_fails || import->cooldown_ms > 0) {
        uint64_t fails = import->has_allowed_fails ? import->allowed_fails : ALLOWED_FAILS_DEFAULT;
        uint64_t cooldown_ms = import->cooldown_ms > 0 ? import->cooldown_ms : COOLDOWN_DEFAULT_MS;
        dyn_buf_addf(
            out, "    circuit_breaker: {failure_threshold: %llu, timeout: ", (unsigned long long)fails + 1);
        add_time(out, cooldown_ms);
        dyn_buf_add_str(out, "}\n");
    }
    if (deployment->max_concurrency > 0) {
        dyn_buf_addf(out, "    concurrency: {max_concurrency: %llu}\n",
                     (unsigned long long)deployment->max_concurrency);
    }
    if (deployment->timeout_ms > 0) {
        dyn_buf_add_str(out, "    timeouts: {first_byte: ");
        add_time(out, deployment->timeout_ms);
        dyn_buf_add_str(out, "}\n");
    }
}

static void
write_target(struct writer *writer, const struct written *target)
{
    const struct litellm_deployment *deployment = target->deployment;
    dyn_buf_add_str(writer->out, "  - name: ");
    yaml_add_text(writer->out, dyn_slice_str(target->name));
    dyn_buf_addf(writer->out, "  # line %u%s\n", deployment->line,
                 target->is_fallback ? ", when the others of its model have failed" : "");
    add_key(writer, "provider", deployment->provider);
    add_key(writer, "base_url", deployment->base_url);
    if (deployment->row->auth != PROVIDER_AUTH_NONE) {
        add_key(writer, "api_key", deployment->api_key);
    }
    add_models(writer, target);
    add_weight(writer, target);
    add_resilience(writer, deployment);
    add_headers(writer, deployment);
}

static bool
is_alias(const struct litellm_pairs *aliases, size_t n, struct dyn_slice name)
{
    for (size_t i = 0; i < n; i++) {
        if (dyn_slice_eq(aliases->items[i].name, name)) {
            return true;
        }
    }
    return false;
}

static void
write_aliases(struct writer *writer)
{
    const struct litellm_pairs *aliases = &writer->import->aliases;
    size_t n = 0;
    for (size_t i = 0; i < aliases->n && i < ROUTE_TARGETS_MAX; i++) {
        const struct litellm_pair *alias = &aliases->items[i];
        if (is_alias(aliases, aliases->n, alias->value) || is_alias(aliases, i, alias->name)) {
            litellm_note(writer->import, alias->line,
                         "model_group_alias.%s: an alias is looked up once, and stands there once",
                         config_name(alias->name, 60).text);
            continue;
        }
        dyn_buf_add_str(writer->out, n++ == 0 ? "\naliases:\n  " : "  ");
        yaml_add_text(writer->out, alias->name);
        dyn_buf_add_str(writer->out, ": ");
        yaml_add_text(writer->out, alias->value);
        dyn_buf_add_char(writer->out, '\n');
    }
}

static bool
has_price(const struct litellm_deployment *deployment)
{
    return deployment->has_input_price || deployment->has_output_price;
}

static bool
same_price(const struct litellm_deployment *a, const struct litellm_deployment *b)
{
    return a->has_input_price == b->has_input_price && a->has_output_price == b->has_output_price &&
           a->input_price == b->input_price && a->output_price == b->output_price;
}

static bool
same_model(const struct litellm_deployment *a, const struct litellm_deployment *b)
{
    return a->row == b->row && dyn_slice_eq(a->model, b->model);
}

/* Whether all deployments of its model at its provider have that price: then it is the provider's. */
static bool
is_price_of_all(const struct litellm *import, const struct litellm_deployment *deployment)
{
    for (size_t i = 0; i < import->n; i++) {
        if (same_model(&import->deployments[i], deployment) &&
            !same_price(&import->deployments[i], deployment)) {
            return false;
        }
    }
    return true;
}

static bool
is_first_of_model(const struct litellm *import, size_t index)
{
    for (size_t i = 0; i < index; i++) {
        if (same_model(&import->deployments[i], &import->deployments[index])) {
            return false;
        }
    }
    return true;
}

static void
write_price(struct writer *writer, const struct litellm_deployment *deployment, const char *of)
{
    struct dyn_buf *out = writer->out;
    dyn_buf_add_str(out, writer->n_prices++ == 0 ? "\nmodels:\n  prices:\n" : "");
    dyn_buf_add_str(out, "    - provider: ");
    yaml_add_text(out, dyn_slice_str(of));
    dyn_buf_add_str(out, "\n      model: ");
    yaml_add_text(out, deployment->model);
    dyn_buf_add_char(out, '\n');
    if (deployment->has_input_price) {
        dyn_buf_addf(out, "      input_per_m_tokens: %.12g\n", deployment->input_price);
    }
    if (deployment->has_output_price) {
        dyn_buf_addf(out, "      output_per_m_tokens: %.12g\n", deployment->output_price);
    }
}

/* A deployment that pays another price than others of its model has it under the names of its targets. */
static void
write_own_price(struct writer *writer, const struct litellm_deployment *deployment)
{
    for (size_t i = 0; i < writer->n; i++) {
        const struct written *target = &writer->targets[i];
        if (target->deployment != deployment) {
            continue;
        }
        if (dyn_slice_is(deployment->provider, target->name)) { /* would be the provider's */
            litellm_note(writer->import, deployment->line,
                         "model_list: the price of '%s', which has its provider's name, is not that of the "
                         "others of its model",
                         target->name);
        } else {
            write_price(writer, deployment, target->name);
        }
    }
}

static void
write_prices(struct writer *writer)
{
    const struct litellm *import = writer->import;
    for (size_t i = 0; i < import->n && i < ROUTE_TARGETS_MAX; i++) {
        const struct litellm_deployment *deployment = &import->deployments[i];
        if (!has_price(deployment)) {
            continue;
        }
        if (!is_price_of_all(import, deployment)) {
            write_own_price(writer, deployment);
        } else if (is_first_of_model(import, i)) {
            write_price(writer, deployment, deployment->row->id);
        }
    }
}

/* By line; those of one line as they were met. They are few, and nearly in order. */
static void
sort_notes(struct litellm *import)
{
    for (size_t i = 1; i < import->n_notes; i++) {
        struct litellm_note note = import->notes[i];
        size_t at = i;
        for (; at > 0 && import->notes[at - 1].line > note.line; at--) {
            import->notes[at] = import->notes[at - 1];
        }
        import->notes[at] = note;
    }
}

static void
write_notes(struct litellm *import, struct dyn_buf *out)
{
    sort_notes(import);
    char line[600];
    if (import->n_notes == 0) {
        return;
    }
    dyn_buf_add_str(out, "\n# Not carried over, or not as it was:\n");
    for (size_t i = 0; i < import->n_notes; i++) {
        const struct litellm_note *note = &import->notes[i];
        if (note->line > 0) {
            (void)snprintf(line, sizeof line, "line %u: %s", note->line, note->text);
        } else {
            (void)snprintf(line, sizeof line, "%s", note->text);
        }
        yaml_add_comment(out, line);
    }
}

void
litellm_write(struct litellm *import, const char *file, struct dyn_buf *out)
{
    char title[300];
    struct writer writer = {.import = import, .out = out};
    collect(&writer);
    choose_mode(&writer);
    (void)snprintf(title, sizeof title, "Made of LiteLLM's %.200s by `dynabus import litellm`.", file);
    yaml_add_comment(out, title);
    dyn_buf_add_str(out,
                    "# Each deployment is a target that serves its model_name; docs/migrate/litellm.md tells "
                    "more.\n\nstrategy:\n  mode: ");
    dyn_buf_addf(out, "%s\n", writer.mode);
    if (import->timeout_ms > 0) {
        dyn_buf_add_str(out, "\nrequest_timeout: ");
        add_time(out, import->timeout_ms);
        dyn_buf_add_char(out, '\n');
    }
    if (import->drops_params) {
        dyn_buf_add_str(out, "\ncompatibility:\n  on_unsupported_param: drop\n");
    }
    dyn_buf_add_str(out, writer.n > 0 ? "\ntargets:\n" : "");
    for (size_t i = 0; i < writer.n; i++) {
        write_target(&writer, &writer.targets[i]);
    }
    write_aliases(&writer);
    write_prices(&writer);
    write_notes(import, out);
}
