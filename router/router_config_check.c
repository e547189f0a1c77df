/* What no single key of the router's configuration can say about itself. */
#include "router/router_config_check.h"

#include "core/buf.h"
#include "core/nearest.h"
#include "core/regex.h"
#include "core/text.h"
#include "proto/env_fields.h"
#include "router/strategy.h"

#include <stdlib.h>

#define ATTEMPTS_DEFAULT   1
#define BACKOFF_DEFAULT_MS 100
#define HEDGE_MAX_MS       (3600ull * 1000)
#define LISTED_BYTES_MAX   400u /* of names, in a problem: more than a screen's line helps nobody */

/* What the checks of one configuration share. */
struct check {
    struct router_config *config;
    struct config_problems *problems;
    const char **names; /* of the targets in the file */
    size_t n_names;
    struct dyn_buf listed; /* the same for a sentence */
};

/* ---- names of targets ---- */

static void
collect_names(struct check *check)
{
    const struct route_target_config *targets = check->config->targets.items;
    bool is_full = false;
    check->names = dyn_alloc((check->config->targets.n + 1) * sizeof *check->names);
    for (size_t i = 0; i < check->config->targets.n; i++) {
        struct dyn_slice name = route_target_config_name(&targets[i]);
        if (name.len == 0) {
            continue;
        }
        check->names[check->n_names++] = name.data;
        if (!is_full) {
            is_full = check->listed.len + name.len > LISTED_BYTES_MAX;
            dyn_buf_addf(&check->listed, "%s%s", check->listed.len > 0 ? ", " : "",
                         is_full ? "..." : name.data);
        }
    }
}

static bool
is_declared(const struct check *check, struct dyn_slice name)
{
    for (size_t i = 0; i < check->n_names; i++) {
        if (dyn_slice_is(name, check->names[i])) {
            return true;
        }
    }
    return false;
}

/* A file without targets takes those of the environment, which are not known here: the plan looks again. */
static void
check_target_key(struct check *check, const struct dyn_slice *target_key)
{
    if (check->n_names == 0 || is_declared(check, *target_key)) {
        return;
    }
    struct config_mark mark = config_mark_of(check->problems, target_key);
    if (target_key->len == 0) {
        config_problem_add(check->problems, mark, false, "'target_key' is empty; declared are: %s",
                           dyn_buf_cstr(&check->listed));
        return;
    }
    const char *near = dyn_nearest(*target_key, check->names, check->n_names);
    config_problem_add(check->problems, mark, false, "there is no target '%.*s'%s%s%s; declared are: %s",
                       (int)target_key->len, target_key->data, near != NULL ? ", did you mean '" : "",
                       near != NULL ? near : "", near != NULL ? "'?" : "", dyn_buf_cstr(&check->listed));
}

/* ---- conditions ---- */

/* RFC 9110 5.6.2 */
static bool
is_token(struct dyn_slice name)
{
    static const char allowed[] = "!#$%&'*+-.^_`|~0123456789"
                                  "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    for (size_t i = 0; i < name.len; i++) {
        if (name.data[i] == '\0' || strchr(allowed, name.data[i]) == NULL) {
            return false;
        }
    }
    return name.len > 0;
}

/* What a client proves itself with stays at the edge. */
static bool
is_credential(struct dyn_slice header)
{
    static const struct dyn_slice credentials[] = {
        DYN_SLICE_INIT("authorization"), DYN_SLICE_INIT("proxy-authorization"),
        DYN_SLICE_INIT("x-api-key"),     DYN_SLICE_INIT("api-key"),
        DYN_SLICE_INIT("cookie"),
    };
    for (size_t i = 0; i < DYN_ARRAY_LEN(credentials); i++) {
        if (dyn_slice_ieq(header, credentials[i])) {
            return true;
        }
    }
    return false;
}

static void
check_header(struct check *check, const void *field, struct dyn_slice header)
{
    struct config_mark mark = config_mark_of(check->problems, field);
    if (!is_token(header)) {
        config_problem_add(check->problems, mark, false, "'%.*s' is no name of a header", (int)header.len,
                           header.data);
    } else if (header.len > ENV_HEADER_NAME_MAX) {
        config_problem_add(check->problems, mark, false, "the name of a header has at most %d bytes, not %zu",
                           ENV_HEADER_NAME_MAX, header.len);
    } else if (is_credential(header)) {
        config_problem_add(check->problems, mark, false,
                           "the header '%.*s' carries a credential and is not looked at; tell callers apart "
                           "by `key`",
                           (int)header.len, header.data);
    }
}

static void
unknown_condition(struct check *check, const struct route_condition_config *condition)
{
    static const char *const words[] = {
        "model",      "model_prefix", "key",    "user",        "estimated_tokens",
        "has_images", "has_tools",    "stream", "header.NAME", "metadata.NAME"};
    struct config_mark mark = config_mark_of(check->problems, &condition->key);
    const char *near = dyn_nearest(condition->key, words, DYN_ARRAY_LEN(words));
    config_problem_add(check->problems, mark, false,
                       "'%.*s' is nothing that a condition looks at%s%s%s; known are: model, model_prefix, "
                       "key, user, estimated_tokens, has_images, has_tools, stream, header.NAME, "
                       "metadata.NAME",
                       (int)condition->key.len, condition->key.data, near != NULL ? ", did you mean '" : "",
                       near != NULL ? near : "", near != NULL ? "'?" : "");
}

static void
check_condition_value(struct check *check, const struct route_condition_config *condition,
                      enum route_condition_kind kind)
{
    struct config_mark mark = config_mark_of(check->problems, &condition->value);
    struct dyn_slice value = condition->value;
    enum route_comparison comparison;
    uint64_t amount;
    if (value.len == 0) {
        config_problem_add(check->problems, mark, false, "the condition's 'value' is empty");
        return;
    }
    if (kind == ROUTE_CONDITION_ESTIMATED_TOKENS && route_comparison_read(value, &comparison, &amount) != 0) {
        config_problem_add(check->problems, mark, false,
                           "'%.*s' is no comparison; write one like \">8000\" or \"<=200\", in quotes",
                           (int)value.len, value.data);
    }
    bool is_flag = kind == ROUTE_CONDITION_HAS_IMAGES || kind == ROUTE_CONDITION_HAS_TOOLS ||
                   kind == ROUTE_CONDITION_STREAM;
    if (is_flag && !dyn_slice_is(value, "true") && !dyn_slice_is(value, "false")) {
        config_problem_add(check->problems, mark, false, "'value' must be true or false, not '%.*s'",
                           (int)value.len, value.data);
    }
}

static void
check_condition(struct check *check, const struct route_condition_config *condition)
{
    struct dyn_slice name;
    enum route_condition_kind kind = route_condition_kind_of(condition->key, &name);
    if (condition->key.data != NULL && kind == ROUTE_CONDITION_UNKNOWN) {
        unknown_condition(check, condition);
    }
    if (kind == ROUTE_CONDITION_HEADER) {
        check_header(check, &condition->key, name);
    }
    if (condition->value.data != NULL) {
        check_condition_value(check, condition, kind);
    }
    if (condition->target_key.data != NULL) {
        check_target_key(check, &condition->target_key);
    }
}

/* ---- modes ---- */

/* A weight that could not be read counts as none, and has been complained of. */
static bool
is_any_refused(const struct check *check)
{
    for (size_t i = 0; i < check->problems->n; i++) {
        if (check->problems->items[i].refuses_value) {
            return true;
        }
    }
    return false;
}

static bool
is_among(const struct dyn_slice *names, size_t n, struct dyn_slice name)
{
    for (size_t i = 0; i < n; i++) {
        if (dyn_slice_ieq(names[i], name)) {
            return true;
        }
    }
    return false;
}

/* What goes with a request to where it is decided is bounded: a header beyond that would not be looked at. */
static void
check_number_of_headers(struct check *check)
{
    const struct route_strategy_config *strategy = &check->config->strategy;
    const struct route_condition_config *conditions = strategy->conditions.items;
    struct dyn_slice names[ROUTE_HEADERS_MAX];
    size_t n = 0;
    for (size_t i = 0; i < strategy->conditions.n; i++) {
        struct dyn_slice name;
        bool is_header = route_condition_kind_of(conditions[i].key, &name) == ROUTE_CONDITION_HEADER;
        if (!is_header || is_among(names, n, name)) {
            continue;
        }
        if (n == ROUTE_HEADERS_MAX) {
            config_problem_add(check->problems, config_mark_of(check->problems, &conditions[i].key), false,
                               "conditions can look at %d different headers; '%.*s' is one more",
                               ROUTE_HEADERS_MAX, (int)name.len, name.data);
            return;
        }
        names[n++] = name;
    }
}

static void
check_conditional(struct check *check)
{
    const struct route_strategy_config *strategy = &check->config->strategy;
    const struct route_condition_config *conditions = strategy->conditions.items;
    if (strategy->conditions.n == 0) {
        config_problem_add(check->problems, config_mark_of(check->problems, &strategy->mode), false,
                           "the mode 'conditional' needs at least one of strategy.conditions");
    }
    for (size_t i = 0; i < strategy->conditions.n; i++) {
        check_condition(check, &conditions[i]);
    }
    check_number_of_headers(check);
}

/* That it compiles; what is compiled is thrown away. */
static void
check_regex(struct check *check, const struct dyn_slice *pattern)
{
    unsigned column = 0;
    struct dyn_err err;
    dyn_regex_t *regex = dyn_regex_new(*pattern, &column, &err);
    if (regex == NULL) {
        config_problem_add(check->problems, config_mark_of(check->problems, pattern), false, "%s", err.text);
    }
    dyn_regex_free(&regex);
}

static void
check_content_based(struct check *check)
{
    const struct route_strategy_config *strategy = &check->config->strategy;
    const struct route_content_condition_config *conditions = strategy->content_conditions.items;
    if (strategy->content_conditions.n == 0) {
        config_problem_add(check->problems, config_mark_of(check->problems, &strategy->mode), false,
                           "the mode 'content-based' needs at least one of strategy.content_conditions");
    }
    for (size_t i = 0; i < strategy->content_conditions.n; i++) {
        const struct route_content_condition_config *condition = &conditions[i];
        if (condition->value.data != NULL && condition->value.len == 0) {
            config_problem_add(check->problems, config_mark_of(check->problems, &condition->value), false,
                               "the condition's 'value' is empty");
        } else if (condition->value.data != NULL && condition->type == ROUTE_PROMPT_REGEX) {
            check_regex(check, &condition->value);
        }
        if (condition->target_key.data != NULL) {
            check_target_key(check, &condition->target_key);
        }
    }
}

static void
check_ab_test(struct check *check)
{
    const struct route_strategy_config *strategy = &check->config->strategy;
    const struct route_variant_config *variants = strategy->ab_variants.items;
    double sum = 0;
    for (size_t i = 0; i < strategy->ab_variants.n; i++) {
        sum += variants[i].weight;
        if (variants[i].target_key.data != NULL) {
            check_target_key(check, &variants[i].target_key);
        }
    }
    if (strategy->ab_variants.n == 0) {
        config_problem_add(check->problems, config_mark_of(check->problems, &strategy->mode), false,
                           "the mode 'ab-test' needs at least one of strategy.ab_variants");
    } else if (sum <= 0 && !is_any_refused(check)) {
        config_problem_add(check->problems, config_mark_of(check->problems, &strategy->ab_variants), false,
                           "the weights of strategy.ab_variants come to 0; give at least one a weight");
    }
}

static void
check_loadbalance(struct check *check)
{
    const struct router_config *config = check->config;
    const struct route_target_config *targets = config->targets.items;
    double sum = 0;
    for (size_t i = 0; i < config->targets.n; i++) {
        sum += targets[i].weight;
    }
    if (sum <= 0 && !is_any_refused(check)) {
        config_problem_add(check->problems, config_mark_of(check->problems, &config->strategy.mode), false,
                           "the mode 'loadbalance' needs a weight above 0 at one target at least");
    }
}

static void
check_sticky(struct check *check)
{
    const struct route_sticky_config *sticky = &check->config->strategy.sticky;
    if (sticky->by != ROUTE_STICKY_HEADER) {
        return;
    }
    if (sticky->header.len == 0) {
        config_problem_add(check->problems, config_mark_of(check->problems, &sticky->by), false,
                           "strategy.sticky.by is `header`, which needs its name: sticky: {by: header, "
                           "header: x-session}");
        return;
    }
    check_header(check, &sticky->header, sticky->header);
}

/* Rules that the mode does not look at are as good as not written, which somebody will want to know. */
static void
check_unread(struct check *check)
{
    const struct route_strategy_config *strategy = &check->config->strategy;
    const struct {
        const struct config_list *list;
        enum route_mode mode;
        const char *key;
        const char *mode_name;
    } rules[] = {
        {&strategy->conditions, ROUTE_MODE_CONDITIONAL, "conditions", "conditional"},
        {&strategy->content_conditions, ROUTE_MODE_CONTENT_BASED, "content_conditions", "content-based"},
        {&strategy->ab_variants, ROUTE_MODE_AB_TEST, "ab_variants", "ab-test"},
    };
    for (size_t i = 0; i < DYN_ARRAY_LEN(rules); i++) {
        if (rules[i].list->n > 0 && strategy->mode != (int)rules[i].mode) {
            config_problem_add(check->problems, config_mark_of(check->problems, rules[i].list), true,
                               "strategy.%s is read in the mode '%s' only", rules[i].key, rules[i].mode_name);
        }
    }
}

static void
check_strategy(struct check *check)
{
    static void (*const checks[])(struct check *) = {
        [ROUTE_MODE_LOADBALANCE] = check_loadbalance,
        [ROUTE_MODE_CONDITIONAL] = check_conditional,
        [ROUTE_MODE_CONTENT_BASED] = check_content_based,
        [ROUTE_MODE_AB_TEST] = check_ab_test,
        [ROUTE_MODE_STICKY] = check_sticky,
    };
    size_t mode = (size_t)check->config->strategy.mode;
    if (mode < DYN_ARRAY_LEN(checks) && checks[mode] != NULL) {
        checks[mode](check);
    }
    check_unread(check);
}

/* ---- aliases ---- */

static void
check_alias(struct check *check, size_t i, bool is_chain)
{
    const struct config_map *aliases = &check->config->aliases;
    struct dyn_slice alias = aliases->keys[i];
    struct dyn_slice model = aliases->values[i];
    struct config_mark mark = config_mark_of(check->problems, &aliases->values[i]);
    if (alias.len == 0) {
        config_problem_add(check->problems, config_mark_of(check->problems, &aliases->keys[i]), false,
                           "an alias needs a name");
    } else if (model.len == 0) {
        config_problem_add(check->problems, mark, false, "the alias '%.*s' stands for no model",
                           (int)alias.len, alias.data);
    } else if (dyn_slice_eq(alias, model)) {
        config_problem_add(check->problems, mark, false, "the alias '%.*s' stands for itself", (int)alias.len,
                           alias.data);
    } else if (is_chain) {
        config_problem_add(check->problems, mark, false,
                           "the alias '%.*s' stands for '%.*s', which is an alias too; aliases are looked up "
                           "once: name the model",
                           (int)alias.len, alias.data, (int)model.len, model.data);
    }
}

static void
check_aliases(struct check *check)
{
    const struct config_map *aliases = &check->config->aliases;
    size_t n = aliases->n;
    struct dyn_slice *both = dyn_alloc((2 * n + 1) * sizeof *both);
    size_t *first = dyn_alloc((2 * n + 1) * sizeof *first);
    for (size_t i = 0; i < n; i++) {
        both[i] = aliases->keys[i];
        both[n + i] = aliases->values[i];
    }
    dyn_slices_first_equal(both, 2 * n, first);
    for (size_t i = 0; i < n; i++) {
        check_alias(check, i, first[n + i] < n);
    }
    free(both);
    free(first);
}

/* ---- attempts ---- */

static void
finish_hedge(struct check *check, struct route_hedge_config *hedge)
{
    struct dyn_err err;
    if (!hedge->is_on || hedge->after.data == NULL || dyn_slice_is(hedge->after, "p95")) {
        return;
    }
    bool is_read = config_read_duration(hedge->after, &hedge->after_ms, &err) == 0;
    if (!is_read || hedge->after_ms == 0 || hedge->after_ms > HEDGE_MAX_MS) {
        config_problem_add(check->problems, config_mark_of(check->problems, &hedge->after), false,
                           "'after' is `p95`, or a duration from 1ms to 1h, not '%.*s'",
                           (int)hedge->after.len, hedge->after.data);
    }
}

/* Zero means the default, as an unwritten value does in Go. */
static void
finish_retry(struct check *check, struct route_retry_config *retry)
{
    retry->attempts = retry->attempts > 0 ? retry->attempts : ATTEMPTS_DEFAULT;
    retry->initial_backoff_ms =
        retry->initial_backoff_ms > 0 ? retry->initial_backoff_ms : BACKOFF_DEFAULT_MS;
    if (retry->initial_backoff_ms > retry->max_backoff_ms) {
        config_problem_add(check->problems, config_mark_of(check->problems, &retry->initial_backoff_ms), true,
                           "'initial_backoff_ms' is above 'max_backoff_ms' (%lld), which is the longest wait",
                           (long long)retry->max_backoff_ms);
    }
}

/* ---- all ---- */

static void
check_target(struct check *check, struct route_target_config *target)
{
    finish_retry(check, &target->retry);
    finish_hedge(check, &target->hedge);
    if (target->models_only && target->models.n == 0) {
        config_problem_add(check->problems, config_mark_of(check->problems, &target->models_only), false,
                           "'models_only' needs 'models': this target would serve nothing");
    }
}

void
router_config_check(void *values, struct config_problems *problems)
{
    struct check check = {.config = values, .problems = problems, .listed = DYN_BUF_INIT};
    struct route_target_config *targets = check.config->targets.items;
    if (check.config->targets.n > ROUTE_TARGETS_MAX) {
        config_problem_add(problems, config_mark_of(problems, &check.config->targets), false,
                           "%zu targets are more than the %d that a router can hold", check.config->targets.n,
                           ROUTE_TARGETS_MAX);
        return;
    }
    collect_names(&check);
    check_strategy(&check);
    check_aliases(&check);
    finish_hedge(&check, &check.config->hedge);
    for (size_t i = 0; i < check.config->targets.n; i++) {
        check_target(&check, &targets[i]);
    }
    dyn_buf_fini(&check.listed);
    free(check.names);
}
