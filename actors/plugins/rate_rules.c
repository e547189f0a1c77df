/* See rate_rules.h. */
#include "actors/plugins/rate_rules.h"

#include "actors/plugins/plugin.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define SECOND_US UINT64_C(1000000)
#define MINUTE_US (60 * SECOND_US)
/* Fractions of a rate are kept to a thousandth. */
enum { FRACTION = 1000 };
#define RATE_MAX 1e9

static const char *const algorithm_names[] = {"gcra", "fixed_window", NULL};
static const char *const scope_names[] = {"process", "fleet", NULL};
static const char *const loss_names[] = {"deny", "local_share", NULL};

const char *
rate_who_name(enum rate_who who)
{
    static const char *const names[RATE_WHO_COUNT] = {"gateway", "key", "user", "model", "address"};
    return who < RATE_WHO_COUNT ? names[who] : "?";
}

#define PER_MINUTE(key, who, unit, text)                                                                     \
    {                                                                                                        \
        .name = key, .type = CONFIG_NUMBER, .offset = offsetof(struct rate_config, per_minute[who][unit]),   \
        .set_offset = offsetof(struct rate_config, is_set[who][unit]), .help = text                          \
    }

static const struct config_key keys[] = {
    {.name = "requests_per_second",
     .type = CONFIG_NUMBER,
     .offset = offsetof(struct rate_config, requests_per_second),
     .default_text = "100",
     .set_offset = offsetof(struct rate_config, is_rps_set),
     .help = "Requests of the whole gateway. The default holds when no limit but `key_rpm` and `user_rpm` is "
             "written; else there is none unless it is."},
    {.name = "burst",
     .type = CONFIG_NUMBER,
     .offset = offsetof(struct rate_config, burst),
     .set_offset = offsetof(struct rate_config, is_burst_set),
     .help = "How many of them may come at once. Default: `requests_per_second`, at least 1."},
    PER_MINUTE("tokens_per_minute", RATE_ALL, RATE_TOKENS, "Tokens of the whole gateway in each minute."),
    PER_MINUTE("key_rpm", RATE_KEY, RATE_REQUESTS,
               "Requests of each key in a minute. Does not hold for requests without a key."),
    PER_MINUTE("key_tpm", RATE_KEY, RATE_TOKENS, "Tokens of each key in each minute."),
    PER_MINUTE("user_rpm", RATE_USER, RATE_REQUESTS,
               "Requests in a minute for each `user` that bodies name."),
    PER_MINUTE("user_tpm", RATE_USER, RATE_TOKENS, "Tokens in each minute for each `user` that bodies name."),
    PER_MINUTE("model_rpm", RATE_MODEL, RATE_REQUESTS, "Requests for each model in a minute."),
    PER_MINUTE("model_tpm", RATE_MODEL, RATE_TOKENS, "Tokens of each model in each minute."),
    PER_MINUTE("address_rpm", RATE_ADDRESS, RATE_REQUESTS,
               "Requests of each client address in a minute; of IPv6 of each /64."),
    PER_MINUTE("address_tpm", RATE_ADDRESS, RATE_TOKENS, "Tokens of each client address in each minute."),
    {.name = "algorithm",
     .type = CONFIG_ENUM,
     .offset = offsetof(struct rate_config, algorithm),
     .default_text = "gcra",
     .names = algorithm_names,
     .set_offset = offsetof(struct rate_config, is_algorithm_set),
     .help =
         "How requests are counted. `gcra`: they come back evenly, as tokens into a bucket. `fixed_window`: "
         "exactly so many in each minute (second) of the clock. Tokens of models always go by minutes."},
    {.name = "scope",
     .type = CONFIG_ENUM,
     .offset = offsetof(struct rate_config, scope),
     .default_text = "process",
     .names = scope_names,
     .help =
         "For whom the limits hold. `process`: each process with a router counts for itself. `fleet`: all of "
         "them together pass exactly so many in each minute (second) of the clock; the ledger lends them out "
         "in pieces, so a `store` is needed."},
    {.name = "on_owner_loss",
     .type = CONFIG_ENUM,
     .offset = offsetof(struct rate_config, on_owner_loss),
     .default_text = "deny",
     .names = loss_names,
     .help =
         "`scope: fleet`: what happens to requests when the ledger has not answered for 2 s and what it lent "
         "is used up. `deny`: they are refused. `local_share`: each process goes on by itself with its share "
         "of the limit, so that more than the limit may pass, by less than the limit again."},
    {.name = "output_tokens",
     .type = CONFIG_INT,
     .offset = offsetof(struct rate_config, output_tokens),
     .default_text = "256",
     .min = 0,
     .max = RATE_MAX,
     .help =
         "Tokens that are counted for the answer of a request that names no `max_tokens`, until it is known "
         "how many there were."},
    {.name = "max_keys",
     .type = CONFIG_INT,
     .offset = offsetof(struct rate_config, max_keys),
     .default_text = "100000",
     .min = 1,
     .max = 16777216,
     .help = "Keys, users, models and addresses that are remembered, 64 bytes each, with `scope: fleet` 400. "
             "Beyond it the least recently "
             "used is forgotten that no request is open of."},
    {.name = "headers",
     .type = CONFIG_BOOL,
     .offset = offsetof(struct rate_config, headers),
     .default_text = "true",
     .help = "Whether answers have `x-ratelimit-limit-requests`, `x-ratelimit-remaining-requests`, "
             "`x-ratelimit-reset-requests`, and the same for tokens."},
    {.name = "keys_only",
     .type = CONFIG_BOOL,
     .offset = offsetof(struct rate_config, keys_only),
     .default_text = "false",
     .help = "Only what stands in the `limits` of keys: the gateway as a whole has no limit unless it is "
             "written. So the plugin works where no entry names it and there are keys with limits."},
    {.name = NULL},
};
const struct config_section rate_config_section = {
    .keys = keys, .size = sizeof(struct rate_config), .mark_offset = SIZE_MAX};

static bool
is_rate(double value)
{
    return isfinite(value) && value > 0 && value <= RATE_MAX;
}

static void
check_rate(const struct config_problems *at, struct config_problems *problems, const double *value,
           const char *name)
{
    if (!is_rate(*value)) {
        config_problem_add(problems, config_mark_of(at, value), false,
                           "'%s' must be a number above 0, at most 1000000000", name);
    }
}

void
rate_config_check(void *config, struct config_problems *problems)
{
    const struct rate_config *self = config;
    if (self->scope == RATE_FLEET && self->is_algorithm_set && self->algorithm == RATE_GCRA) {
        config_problem_add(problems, config_mark_of(problems, &self->algorithm), false,
                           "'scope: fleet' counts by windows: 'algorithm' is 'fixed_window' or absent");
    }
    if (self->scope == RATE_FLEET && self->is_burst_set) {
        config_problem_add(problems, config_mark_of(problems, &self->burst), false,
                           "'scope: fleet' counts by windows: there is no 'burst'");
    }
    if (self->is_rps_set) {
        check_rate(problems, problems, &self->requests_per_second, "requests_per_second");
    }
    if (self->is_burst_set) {
        check_rate(problems, problems, &self->burst, "burst");
    }
    for (const struct config_key *key = keys; key->name != NULL; key++) {
        bool is_per_minute = key->type == CONFIG_NUMBER && key->default_text == NULL &&
                             key->offset != offsetof(struct rate_config, burst);
        const char *base = config;
        if (is_per_minute && *(const bool *)(const void *)(base + key->set_offset)) {
            check_rate(problems, problems, (const double *)(const void *)(base + key->offset), key->name);
        }
    }
}

/* Ferro's plugin always limits the gateway. A configuration that uses what Ferro does not have says itself
 * what it wants. */
static bool
has_rps(const struct rate_config *config)
{
    if (config->keys_only && !config->is_rps_set) {
        return false;
    }
    for (size_t who = 0; who < RATE_WHO_COUNT; who++) {
        bool is_ours =
            config->is_set[who][RATE_TOKENS] || (who >= RATE_MODEL && config->is_set[who][RATE_REQUESTS]);
        if (is_ours && !config->is_rps_set) {
            return false;
        }
    }
    return true;
}

static int
make_spec(struct limit_spec *spec, double rate, uint64_t period_us, double burst, bool is_window,
          struct dyn_err *err)
{
    bool is_whole = rate == floor(rate);
    uint64_t most = burst < 1 ? 1 : (uint64_t)burst;
    if (is_window) {
        return limit_spec_init(spec, LIMIT_WINDOW, rate < 1 ? 1 : (uint64_t)rate, period_us, 0, err);
    }
    uint64_t amount = is_whole ? (uint64_t)rate : (uint64_t)(rate * FRACTION + 0.5);
    return limit_spec_init(spec, LIMIT_RATE, amount == 0 ? 1 : amount,
                           is_whole ? period_us : period_us * FRACTION, most, err);
}

static struct rate_rule *
next_rule(struct rate_rules *rules, enum rate_who who, enum rate_unit unit, double rate, const char *period)
{
    struct rate_rule *rule = &rules->rules[rules->n++];
    rule->who = who;
    rule->unit = unit;
    rule->kind = (uint32_t)who * RATE_UNIT_COUNT + (uint32_t)unit;
    (void)snprintf(rule->words, sizeof rule->words, "%.12g %s per %s", rate,
                   unit == RATE_REQUESTS ? "requests" : "tokens", period);
    return rule;
}

static int
add_rules(struct rate_rules *rules, struct dyn_err *err)
{
    const struct rate_config *config = &rules->config;
    bool is_fixed = config->algorithm == RATE_FIXED || config->scope == RATE_FLEET;
    double rps = config->requests_per_second;
    if (has_rps(config)) {
        struct rate_rule *rule = next_rule(rules, RATE_ALL, RATE_REQUESTS, rps, "second");
        double burst = config->is_burst_set ? config->burst : rps;
        if (!is_rate(rps) || !is_rate(burst)) {
            return dyn_err_set(err, DYN_E_CONFIG, "requests_per_second and burst must be above 0");
        }
        if (make_spec(&rule->spec, rps, SECOND_US, burst, is_fixed, err) < 0) {
            return -1;
        }
    }
    for (size_t i = 0; i < RATE_RULES_MAX; i++) {
        enum rate_who who = (enum rate_who)(i / RATE_UNIT_COUNT);
        enum rate_unit unit = (enum rate_unit)(i % RATE_UNIT_COUNT);
        double rate = config->per_minute[who][unit];
        if (!config->is_set[who][unit]) {
            continue;
        }
        if (!is_rate(rate)) {
            return dyn_err_set(err, DYN_E_CONFIG, "a limit must be above 0");
        }
        struct rate_rule *rule = next_rule(rules, who, unit, rate, "minute");
        if (make_spec(&rule->spec, rate, MINUTE_US, rate, is_fixed || unit == RATE_TOKENS, err) < 0) {
            return -1;
        }
    }
    return 0;
}

/* What is counted, not what is shown. */
static bool
same_limits(const struct rate_config *a, const struct rate_config *b)
{
    bool same = a->algorithm == b->algorithm && a->scope == b->scope &&
                a->on_owner_loss == b->on_owner_loss && a->max_keys == b->max_keys &&
                has_rps(a) == has_rps(b) && a->is_burst_set == b->is_burst_set &&
                a->requests_per_second == b->requests_per_second && a->burst == b->burst;
    for (size_t i = 0; i < RATE_RULES_MAX && same; i++) {
        size_t who = i / RATE_UNIT_COUNT, unit = i % RATE_UNIT_COUNT;
        same = a->is_set[who][unit] == b->is_set[who][unit] &&
               a->per_minute[who][unit] == b->per_minute[who][unit];
    }
    return same;
}

static void
wake_cell(void *cell)
{
    plugin_wake(cell);
}

static rate_leases_t *
new_leases(const struct rate_config *config, struct lease_counters *counters)
{
    struct rate_leases_options options = {.entries_max = (size_t)config->max_keys,
                                          .fallback = (enum lease_fallback)config->on_owner_loss,
                                          .counters = counters,
                                          .wake = wake_cell};
    return rate_leases_new(&options);
}

struct rate_rules *
rate_rules_new(const struct rate_config *config, struct rate_rules *former, struct lease_counters *counters,
               struct limits_now now, struct dyn_err *err)
{
    if (former != NULL && same_limits(config, &former->config)) {
        (void)atomic_fetch_add(&former->refs, 1);
        return former;
    }
    struct rate_rules *rules = dyn_zalloc(sizeof *rules);
    atomic_store(&rules->refs, 1);
    rules->config = *config;
    (void)pthread_mutex_init(&rules->lock, NULL);
    rules->counters = counters_new((size_t)config->max_keys);
    rules->leases = config->scope == RATE_FLEET ? new_leases(config, counters) : NULL;
    if (add_rules(rules, err) < 0) {
        rate_rules_unref(rules);
        return NULL;
    }
    for (size_t i = 0; i < rules->n; i++) {
        if (rules->rules[i].who == RATE_ALL) {
            bucket_init(&rules->all[rules->rules[i].unit], &rules->rules[i].spec, now);
        }
    }
    return rules;
}

void
rate_rules_unref(struct rate_rules *rules)
{
    if (rules != NULL && atomic_fetch_sub(&rules->refs, 1) == 1) {
        counters_free(&rules->counters);
        rate_leases_free(&rules->leases);
        for (size_t i = 0; i < RATE_OWN_MAX; i++) {
            free(atomic_load(&rules->own[i]));
        }
        (void)pthread_mutex_destroy(&rules->lock);
        free(rules);
    }
}

/* ---- limits of keys ---- */

#define DAY_US (86400 * SECOND_US)
enum { OWN_KINDS = 16 }; /* kinds below are those of the configuration */

static struct rate_rule *
own_new(const struct rate_rules *rules, enum rate_unit unit, bool is_day, uint64_t amount, uint32_t kind)
{
    struct rate_rule *rule = dyn_zalloc(sizeof *rule);
    bool is_window =
        is_day || unit == RATE_TOKENS || rules->config.algorithm == RATE_FIXED || rules->leases != NULL;
    *rule = (struct rate_rule){.who = RATE_KEY, .unit = unit, .kind = kind};
    (void)snprintf(rule->words, sizeof rule->words, "%llu %s per %s", (unsigned long long)amount,
                   unit == RATE_REQUESTS ? "requests" : "tokens", is_day ? "day" : "minute");
    if (limit_spec_init(&rule->spec, is_window ? LIMIT_WINDOW : LIMIT_RATE, amount,
                        is_day ? DAY_US : MINUTE_US, 0, NULL) < 0) {
        free(rule);
        return NULL;
    }
    return rule;
}

static bool
is_that(const struct rate_rule *rule, enum rate_unit unit, bool is_day, uint64_t amount)
{
    return rule->unit == unit && (rule->spec.period_us == DAY_US) == is_day && rule->spec.amount == amount;
}

/* The rule, or the free place where it would stand, or neither. */
static const struct rate_rule *
find_own(struct rate_rules *rules, enum rate_unit unit, bool is_day, uint64_t amount, size_t *place)
{
    uint64_t hash = (amount * 4 + (uint64_t)unit * 2 + is_day) * UINT64_C(0x9e3779b97f4a7c15);
    for (size_t i = 0; i < RATE_OWN_MAX; i++) {
        size_t at = ((hash >> 32) + i) % RATE_OWN_MAX;
        const struct rate_rule *rule = atomic_load_explicit(&rules->own[at], memory_order_acquire);
        if (rule == NULL) {
            *place = at;
            return NULL;
        }
        if (is_that(rule, unit, is_day, amount)) {
            return rule;
        }
    }
    *place = RATE_OWN_MAX;
    return NULL;
}

const struct rate_rule *
rate_rules_own(struct rate_rules *rules, enum rate_unit unit, bool is_day, uint64_t amount)
{
    size_t place;
    const struct rate_rule *rule = find_own(rules, unit, is_day, amount, &place);
    if (rule != NULL) {
        return rule;
    }
    (void)pthread_mutex_lock(&rules->lock);
    rule = find_own(rules, unit, is_day, amount, &place); /* another cell may have made it */
    if (rule == NULL && place < RATE_OWN_MAX) {
        struct rate_rule *made = own_new(rules, unit, is_day, amount, OWN_KINDS + (uint32_t)place);
        atomic_store_explicit(&rules->own[place], made, memory_order_release);
        rule = made;
    }
    (void)pthread_mutex_unlock(&rules->lock);
    return rule;
}
