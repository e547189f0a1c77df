#include "gateway/starter.h"

#include "actors/providers/provider_config.h"
#include "actors/providers/provider_resolve.h"
#include "actors/providers/provider_rows.h"
#include "gateway/yaml_text.h"

static const char head[] =
    "# A configuration of Dynabus. `dynabus validate FILE` checks it, `dynabus serve --config FILE` runs "
    "it,\n"
    "# and a running gateway takes up what changes here. Every key: docs/configuration.md.\n"
    "#\n"
    "# Keys stay out of this file: a target takes the variable named beside it, and ${NAME} and "
    "${file:PATH}\n"
    "# refer to one of your own. Who may use the gateway is MASTER_KEY (docs/operate.md).\n"
    "\n"
    "strategy:\n"
    "  mode: fallback       # in the order of the targets; others: single, loadbalance, conditional,\n"
    "                       # least-latency, cost-optimized, content-based, ab-test, least-busy, sticky\n"
    "\n"
    "# A request takes at most this long, all attempts together.\n"
    "request_timeout: 10m\n"
    "\n"
    "targets:\n";

static const char tail[] =
    "\n"
    "# What a target may have as well:\n"
    "#    name: fast                        # what logs and metrics call it\n"
    "#    base_url: https://host/v1         # another address than the provider's own\n"
    "#    api_keys: [\"${KEY_A}\", \"${KEY_B}\"]  # several credentials, used in turn\n"
    "#    models: [model-a, model-b]        # models beyond those that the catalogue knows\n"
    "#    upstream_model: {model-a: its-name-there}\n"
    "#    weight: 3                         # its share under loadbalance\n"
    "#    concurrency: {max_concurrency: 64, queue_size: 100}\n"
    "\n"
    "# Names that clients may use for a model:\n"
    "#aliases:\n"
    "#  fast: gpt-4o-mini\n"
    "\n"
    "# A second attempt elsewhere when the first is silent for long:\n"
    "#hedge: {after: p95, max_percent: 5}\n"
    "\n"
    "# Parameters that a provider does not take: warn, drop or reject.\n"
    "#compatibility: {on_unsupported_param: drop}\n";

static void
add_target(struct dyn_buf *out, const char *id, const char *variable, const struct provider_target *target)
{
    dyn_buf_addf(out, "  - provider: %s", id);
    if (variable != NULL) {
        dyn_buf_addf(out, "%*s# %s", (int)(strlen(id) < 20 ? 21 - strlen(id) : 1), "", variable);
    }
    dyn_buf_add_char(out, '\n');
    for (size_t i = 0; target != NULL && i < target->n_models; i++) {
        dyn_buf_add_str(out, i == 0 ? "    models: [" : ", ");
        yaml_add_text(out, target->models[i]);
        dyn_buf_add_str(out, i + 1 == target->n_models ? "]\n" : "");
    }
    dyn_buf_add_str(out, "    retry: {attempts: 2}\n"
                         "    circuit_breaker: {failure_threshold: 5, timeout: 30s}\n");
}

/* A key of a provider that needs an address as well is not passed over in silence. */
static void
add_incomplete(struct dyn_buf *out, const struct config_lookup *lookup)
{
    const struct provider_row *row;
    for (size_t i = 0; (row = provider_row_at(i)) != NULL; i++) {
        const char *missing = row->root_env != NULL ? row->root_env : row->base_url_env;
        bool has_key = row->key_env != NULL && provider_variable(lookup, row->key_env).len > 0;
        bool has_root = row->root != NULL && row->root_env == NULL;
        if (has_key && !has_root && missing != NULL && provider_variable(lookup, missing).len == 0 &&
            provider_variable(lookup, row->base_url_env).len == 0) {
            dyn_buf_addf(out, "  # %s is set; with %s, too, there is a target here:\n  #- provider: %s\n",
                         row->key_env, missing, row->id);
        }
    }
}

void
starter_write(const struct config_lookup *lookup, struct dyn_buf *out, size_t *n_targets)
{
    struct dyn_err err;
    provider_targets_t *targets = provider_targets_new(lookup);
    static const struct provider_config nothing;
    dyn_buf_add_str(out, head);
    if (provider_targets_add_env(targets, &nothing, &err) != 0) {
        yaml_add_comment(out, err.text);
    }
    *n_targets = provider_targets_count(targets);
    for (size_t i = 0; i < *n_targets; i++) {
        const struct provider_target *target = provider_targets_at(targets, i);
        const char *variable =
            target->row->key_env != NULL ? target->row->key_env : target->row->base_url_env;
        add_target(out, target->row->id, variable, target);
    }
    if (*n_targets == 0) {
        add_target(out, "openai", "OPENAI_API_KEY, which is not set yet", NULL);
    }
    add_incomplete(out, lookup);
    dyn_buf_add_str(out, tail);
    provider_targets_free(&targets);
}
