#include "actors/plugins/plugin_config.h"

#include "core/config_same.h"
#include "core/nearest.h"

/* A plugin that has not voted in that time does not know. */
#define TIMEOUT_DEFAULT    "500ms"
#define TIMEOUT_DEFAULT_MS 500
#define TIMEOUT_MAX_MS     (60.0 * 1000)

static const char *const on_failure_names[] = {"by type", "closed", "open", NULL};
static const char *const place_names[] = {"router", "plugin", NULL};

static const struct config_section *
section_of(struct dyn_slice name)
{
    const struct plugin_ops *ops = plugin_builtin(name);
    return ops != NULL ? ops->config : NULL;
}

static const struct config_key entry_keys[] = {
    {.name = "name",
     .type = CONFIG_STRING,
     .offset = offsetof(struct plugin_entry_config, name),
     .required = true,
     .help = "A built-in plugin (docs/plugins/), or the name under which one joins over the bus. Entries "
             "of the same name are one plugin at several stages."},
    {.name = "type",
     .type = CONFIG_STRING,
     .offset = offsetof(struct plugin_entry_config, type),
     .help = "`guardrail`, `auth`, `ratelimit`, `transform`, `logging` or `metrics`. A built-in knows its "
             "own; of others it decides what happens when they fail, and the status of what they refuse."},
    {.name = "stage",
     .type = CONFIG_STRING,
     .offset = offsetof(struct plugin_entry_config, stage),
     .help = "Where it votes: `before_request`, `during_stream`, `after_request` or `on_error`. Default: "
             "wherever it can."},
    {.name = "stages",
     .type = CONFIG_STRING_LIST,
     .offset = offsetof(struct plugin_entry_config, stages),
     .help = "Several of them in one entry."},
    {.name = "enabled",
     .type = CONFIG_BOOL,
     .offset = offsetof(struct plugin_entry_config, enabled),
     .default_text = "false",
     .help = "Entries that are not enabled are checked and otherwise left alone."},
    {.name = "required",
     .type = CONFIG_BOOL,
     .offset = offsetof(struct plugin_entry_config, required),
     .set_offset = offsetof(struct plugin_entry_config, is_required_set),
     .help = "Whether requests are refused while nobody of this name is there. Default: true, false for "
             "`logging` and `metrics`."},
    {.name = "timeout",
     .type = CONFIG_DURATION,
     .offset = offsetof(struct plugin_entry_config, timeout_ms),
     .default_text = TIMEOUT_DEFAULT,
     .min = 1,
     .max = TIMEOUT_MAX_MS,
     .help = "How long a vote may take. After that `on_failure` decides."},
    {.name = "on_failure",
     .type = CONFIG_ENUM,
     .offset = offsetof(struct plugin_entry_config, on_failure),
     .default_text = "by type",
     .names = on_failure_names,
     .help = "What a plugin that fails stands for: `closed` refuses the request, `open` lets it pass. `by "
             "type`: `logging` and `metrics` are open, all others closed."},
    {.name = "place",
     .type = CONFIG_ENUM,
     .offset = offsetof(struct plugin_entry_config, place),
     .default_text = "router",
     .names = place_names,
     .help = "Who hosts a built-in: the process of the router, or one with the role `plugin`."},
    {.name = "config",
     .type = CONFIG_VARIANT,
     .offset = offsetof(struct plugin_entry_config, config),
     .variant_key = "name",
     .variant = section_of,
     .help = "The plugin's own keys (docs/plugins/)."},
    {.name = NULL},
};
static const struct config_section entry_section = {
    .keys = entry_keys,
    .size = sizeof(struct plugin_entry_config),
    .mark_offset = offsetof(struct plugin_entry_config, mark),
};

static const struct config_key plugin_keys[] = {
    {.name = "plugins",
     .type = CONFIG_SECTION_LIST,
     .offset = offsetof(struct plugin_config, plugins),
     .section = &entry_section,
     .help = "Who votes on requests, in the order in which they are asked."},
    {.name = NULL},
};

/* ---- what an entry says ---- */

static uint32_t
stages_of(const struct plugin_entry_config *entry)
{
    uint32_t stages = 0;
    if (entry->stage.data != NULL) {
        stages |= VOTE_STAGE_BIT(vote_stage_by_name(entry->stage));
    }
    for (size_t i = 0; i < entry->stages.n; i++) {
        stages |= VOTE_STAGE_BIT(vote_stage_by_name(entry->stages.items[i]));
    }
    return stages & ~VOTE_STAGE_BIT(VOTE_STAGE_NONE);
}

static enum plugin_type
type_of(const struct plugin_entry_config *entry, const struct plugin_ops *ops)
{
    int type = ops != NULL ? (int)ops->type : plugin_type_by_name(entry->type);
    return type >= 0 ? (enum plugin_type)type : PLUGIN_GUARDRAIL;
}

static bool
is_watching(enum plugin_type type)
{
    return type == PLUGIN_LOGGING || type == PLUGIN_METRICS;
}

static bool
fails_open(const struct plugin_entry_config *entry, enum plugin_type type)
{
    return entry->on_failure == PLUGIN_ON_FAILURE_OPEN ||
           (entry->on_failure == PLUGIN_ON_FAILURE_BY_TYPE && is_watching(type));
}

static const struct plugin_ops *
ops_named(struct dyn_slice name, const struct plugin_ops *const *registered)
{
    for (; registered != NULL && *registered != NULL; registered++) {
        if (dyn_slice_is(name, (*registered)->name)) {
            return *registered;
        }
    }
    return plugin_builtin(name);
}

static struct plugin_wanted
wanted_of(const struct plugin_entry_config *entry, const struct plugin_ops *ops)
{
    enum plugin_type type = type_of(entry, ops);
    struct plugin_wanted wanted = {
        .name = entry->name,
        .ops = ops,
        .type = type,
        .required = entry->is_required_set ? entry->required : !is_watching(type),
        .fails_open = fails_open(entry, type),
        .timeout_ms = (uint32_t)entry->timeout_ms,
        .place = (enum plugin_place)entry->place,
        .entry = entry,
    };
    if (ops != NULL) {
        wanted.traits = ops->traits;
        if (ops->adapt != NULL && entry->config.values != NULL) {
            ops->adapt(entry->config.values, &wanted.traits);
        }
    }
    return wanted;
}

static struct plugin_wanted *
find(struct plugin_wanted *wanted, size_t n, struct dyn_slice name)
{
    for (size_t i = 0; i < n; i++) {
        if (dyn_slice_eq(wanted[i].name, name)) {
            return &wanted[i];
        }
    }
    return NULL;
}

/* Also one that is not enabled: that says that the plugin is not to vote. */
static bool
has_entry(const struct plugin_config *config, struct dyn_slice name)
{
    const struct plugin_entry_config *entries = config->plugins.items;
    for (size_t i = 0; i < config->plugins.n; i++) {
        if (dyn_slice_eq(entries[i].name, name)) {
            return true;
        }
    }
    return false;
}

/* Of a registered plugin that the file does not name. */
static const struct plugin_entry_config no_entry = {.enabled = true, .timeout_ms = TIMEOUT_DEFAULT_MS};

static size_t
add_unnamed(const struct plugin_config *config, const struct plugin_ops *const *registered,
            struct plugin_wanted *wanted, size_t n)
{
    for (; registered != NULL && *registered != NULL && n < PLUGINS_MAX; registered++) {
        struct dyn_slice name = dyn_slice_str((*registered)->name);
        if (!has_entry(config, name)) {
            wanted[n] = wanted_of(&no_entry, *registered);
            wanted[n].name = name;
            wanted[n].is_unnamed = true;
            wanted[n].stages = wanted[n].traits.stages;
            n++;
        }
    }
    return n;
}

size_t
plugin_config_wanted(const struct plugin_config *config, const struct plugin_ops *const *registered,
                     struct plugin_wanted wanted[PLUGINS_MAX])
{
    const struct plugin_entry_config *entries = config->plugins.items;
    size_t n = 0;
    for (size_t i = 0; i < config->plugins.n; i++) {
        if (!entries[i].enabled) {
            continue;
        }
        struct plugin_wanted *one = find(wanted, n, entries[i].name);
        if (one == NULL && n < PLUGINS_MAX) {
            one = &wanted[n++];
            *one = wanted_of(&entries[i], ops_named(entries[i].name, registered));
        }
        if (one != NULL) {
            uint32_t stages = stages_of(&entries[i]);
            one->stages |= stages != 0 ? stages : one->traits.stages;
        }
    }
    return add_unnamed(config, registered, wanted, n);
}

size_t
plugin_config_add_implied(const struct plugin_config *config, const struct plugin_config *implied,
                          struct plugin_wanted wanted[PLUGINS_MAX], size_t n)
{
    struct plugin_wanted more[PLUGINS_MAX];
    size_t n_more = implied != NULL ? plugin_config_wanted(implied, NULL, more) : 0;
    for (size_t i = 0; i < n_more && n < PLUGINS_MAX; i++) {
        if (!has_entry(config, more[i].name) && find(wanted, n, more[i].name) == NULL) {
            more[i].is_implied = true;
            wanted[n++] = more[i];
        }
    }
    return n;
}

/* ---- checks ---- */

struct check {
    const struct plugin_config *config;
    struct config_problems *problems;
};

static void
check_stage(struct check *check, const struct plugin_ops *ops, const struct dyn_slice *word)
{
    const char *names[VOTE_STAGE_COUNT] = {NULL};
    for (unsigned stage = 1; stage < VOTE_STAGE_COUNT; stage++) {
        names[stage - 1] = vote_stage_name((enum vote_stage)stage);
    }
    enum vote_stage stage = vote_stage_by_name(*word);
    struct config_mark mark = config_mark_of(check->problems, word);
    if (stage == VOTE_STAGE_NONE) {
        const char *near = dyn_nearest(*word, names, VOTE_STAGE_COUNT - 1);
        config_problem_add(check->problems, mark, false,
                           "there is no stage '%.*s'%s%s%s; stages are before_request, during_stream, "
                           "after_request and on_error",
                           (int)word->len, word->data, near != NULL ? ", did you mean '" : "",
                           near != NULL ? near : "", near != NULL ? "'?" : "");
    } else if (ops != NULL && (ops->traits.stages & VOTE_STAGE_BIT(stage)) == 0) {
        config_problem_add(check->problems, mark, true, "the plugin '%s' has nothing to say at %s", ops->name,
                           vote_stage_name(stage));
    }
}

/* Ferro's gateway brings guardrails of these names; who comes from there may not know that he misses them. */
static bool
is_elsewhere(struct dyn_slice name)
{
    static const char *const names[] = {"pii-redact", "secret-scan", "prompt-shield", "schema-guard",
                                        "regex-guard"};
    for (size_t i = 0; i < DYN_ARRAY_LEN(names); i++) {
        if (dyn_slice_is(name, names[i])) {
            return true;
        }
    }
    return false;
}

/* What is nearly a built-in's name would otherwise be waited for on the bus for ever. */
static void
check_name(struct check *check, const struct plugin_entry_config *entry)
{
    const char *names[64];
    size_t n = 0;
    while (n < DYN_ARRAY_LEN(names) && plugin_builtin_at(n) != NULL) {
        names[n] = plugin_builtin_at(n)->name;
        n++;
    }
    struct config_mark mark = config_mark_of(check->problems, &entry->name);
    const char *near = dyn_nearest(entry->name, names, n);
    if (entry->name.len == 0) {
        config_problem_add(check->problems, mark, false, "a plugin needs a name");
    } else if (entry->enabled && is_elsewhere(entry->name)) {
        config_problem_add(check->problems, mark, true,
                           "'%.*s' is built in elsewhere, not here: until a process votes under that name %s",
                           (int)entry->name.len, entry->name.data,
                           entry->is_required_set && !entry->required ? "nobody does"
                                                                      : "requests are refused");
    } else if (near != NULL) {
        config_problem_add(check->problems, mark, false,
                           "there is no plugin '%.*s', did you mean '%s'? One that joins over the bus needs "
                           "a name that is not so close to it",
                           (int)entry->name.len, entry->name.data, near);
    }
}

static void
check_type(struct check *check, const struct plugin_entry_config *entry, const struct plugin_ops *ops)
{
    if (entry->type.len == 0 || plugin_type_by_name(entry->type) >= 0) {
        return;
    }
    config_problem_add(check->problems, config_mark_of(check->problems, &entry->type), ops != NULL,
                       "there is no type '%.*s'; types are guardrail, auth, ratelimit, transform, logging "
                       "and metrics",
                       (int)entry->type.len, entry->type.data);
}

static bool
same_config(const struct plugin_entry_config *a, const struct plugin_entry_config *b)
{
    static const char *const of_the_entry[] = {"stage", "stages", "enabled", "type", NULL};
    return config_section_same(&entry_section, a, b, of_the_entry);
}

/* Against those before it. */
static void
check_repeated(struct check *check, size_t index)
{
    const struct plugin_entry_config *entries = check->config->plugins.items;
    const struct plugin_entry_config *entry = &entries[index];
    for (size_t i = 0; i < index; i++) {
        if (!entries[i].enabled || !dyn_slice_eq(entries[i].name, entry->name)) {
            continue;
        }
        if (!same_config(&entries[i], entry)) {
            config_problem_add(check->problems, entry->mark, false,
                               "the plugin '%.*s' is configured otherwise in line %u; its entries are one "
                               "plugin, so their `config` and options must be the same",
                               (int)entry->name.len, entry->name.data, entries[i].mark.line);
            return;
        }
        if ((stages_of(&entries[i]) & stages_of(entry)) != 0) {
            config_problem_add(check->problems, entry->mark, false,
                               "the plugin '%.*s' stands at this stage already, in line %u",
                               (int)entry->name.len, entry->name.data, entries[i].mark.line);
            return;
        }
    }
}

/* No enabled one before it has its name. */
static bool
is_first(const struct plugin_config *config, size_t index)
{
    const struct plugin_entry_config *entries = config->plugins.items;
    for (size_t i = 0; i < index; i++) {
        if (entries[i].enabled && dyn_slice_eq(entries[i].name, entries[index].name)) {
            return false;
        }
    }
    return true;
}

size_t
plugin_config_names(const struct plugin_config *config, const struct plugin_config *implied,
                    const struct plugin_ops *const *registered)
{
    const struct plugin_entry_config *entries = config->plugins.items;
    const struct plugin_entry_config *more = implied != NULL ? implied->plugins.items : NULL;
    size_t n = 0;
    for (size_t i = 0; i < config->plugins.n; i++) {
        n += entries[i].enabled && is_first(config, i);
    }
    for (; registered != NULL && *registered != NULL; registered++) {
        n += !has_entry(config, dyn_slice_str((*registered)->name));
    }
    for (size_t i = 0; more != NULL && i < implied->plugins.n; i++) {
        n += is_first(implied, i) && !has_entry(config, more[i].name);
    }
    return n;
}

static void
check_entry(struct check *check, const struct plugin_entry_config *entry)
{
    const struct plugin_ops *ops = plugin_builtin(entry->name);
    if (ops == NULL && entry->name.data != NULL) {
        check_name(check, entry);
    }
    check_type(check, entry, ops);
    if (entry->stage.data != NULL) {
        check_stage(check, ops, &entry->stage);
    }
    for (size_t i = 0; i < entry->stages.n; i++) {
        check_stage(check, ops, &entry->stages.items[i]);
    }
    if (ops != NULL && ops->traits.shares && entry->place == PLUGIN_PLACE_PLUGIN) {
        config_problem_add(check->problems, config_mark_of(check->problems, &entry->place), false,
                           "the plugin '%s' works in the router's process only", ops->name);
    }
    if (ops != NULL && ops->check != NULL && entry->config.values != NULL) {
        ops->check(entry->config.values, check->problems);
    }
}

/* Of a guardrail that could look at streams and is asked about plain answers alone: the same text passes when
 * it is asked for as a stream, which nobody expects. Of its first entry. */
static void
check_streams(struct check *check, const struct plugin_entry_config *entry)
{
    const uint32_t after = VOTE_STAGE_BIT(VOTE_AFTER_REQUEST), during = VOTE_STAGE_BIT(VOTE_DURING_STREAM);
    const struct plugin_ops *ops = plugin_builtin(entry->name);
    const struct plugin_entry_config *entries = check->config->plugins.items;
    uint32_t stages = 0;
    if (ops == NULL || (ops->denies & after) == 0 || (ops->denies & during) == 0) {
        return;
    }
    for (size_t i = 0; i < check->config->plugins.n; i++) {
        if (entries[i].enabled && dyn_slice_eq(entries[i].name, entry->name)) {
            uint32_t own = stages_of(&entries[i]);
            stages |= own != 0 ? own : ops->traits.stages;
        }
    }
    if ((stages & after) != 0 && (stages & during) == 0) {
        config_problem_add(check->problems, entry->mark, true,
                           "the plugin '%s' looks at plain answers and not at streams; `stages: "
                           "[after_request, during_stream]` looks at both",
                           ops->name);
    }
}

static void
plugin_config_check(void *values, struct config_problems *problems)
{
    struct check check = {.config = values, .problems = problems};
    const struct plugin_entry_config *entries = check.config->plugins.items;
    size_t names = 0;
    for (size_t i = 0; i < check.config->plugins.n; i++) {
        check_entry(&check, &entries[i]);
        if (entries[i].enabled && entries[i].name.data != NULL) {
            check_repeated(&check, i);
            if (is_first(check.config, i)) {
                names++;
                check_streams(&check, &entries[i]);
            }
        }
    }
    if (names > PLUGINS_MAX) { /* one that is left out would be a guardrail that is not there */
        config_problem_add(problems, config_mark_of(problems, &check.config->plugins), false,
                           "%zu plugins are more than the %d that a gateway can have", names, PLUGINS_MAX);
    }
}

const struct config_part plugin_config_part = {
    .folder = "actors/plugins",
    .section = {.keys = plugin_keys, .size = sizeof(struct plugin_config), .mark_offset = SIZE_MAX},
    .check = plugin_config_check,
};
