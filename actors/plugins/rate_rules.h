/* The limits of one rate-limit plugin, as its configuration has them: for whom, of what, how many. The
 * counting is limits/; what a vote says is rate_limit.c. */
#pragma once

#include "actors/plugins/rate_leases.h"
#include "core/config.h"
#include "limits/counters.h"

#include <pthread.h>

/* In the order in which they are taken from, and in which the first that refuses gives the reason. */
enum rate_who { RATE_ALL, RATE_KEY, RATE_USER, RATE_MODEL, RATE_ADDRESS, RATE_WHO_COUNT };
enum rate_unit { RATE_REQUESTS, RATE_TOKENS, RATE_UNIT_COUNT };
enum { RATE_RULES_MAX = RATE_WHO_COUNT * RATE_UNIT_COUNT };
/* Different limits that stand in keys themselves: many keys share one. */
enum { RATE_OWN_MAX = 4096 };

enum rate_algorithm { RATE_GCRA, RATE_FIXED };
enum rate_scope { RATE_PROCESS, RATE_FLEET };

struct rate_config {
    double requests_per_second;
    bool is_rps_set;
    double burst;
    bool is_burst_set;
    double per_minute[RATE_WHO_COUNT][RATE_UNIT_COUNT]; /* [RATE_ALL][RATE_REQUESTS] is not used */
    bool is_set[RATE_WHO_COUNT][RATE_UNIT_COUNT];
    int algorithm;
    bool is_algorithm_set;
    int scope;         /* enum rate_scope */
    int on_owner_loss; /* enum lease_fallback */
    int64_t output_tokens;
    int64_t max_keys;
    bool headers;
    bool keys_only;
};
extern const struct config_section rate_config_section;
void rate_config_check(void *config, struct config_problems *problems);

struct rate_rule {
    enum rate_who who;
    enum rate_unit unit;
    uint32_t kind; /* tells its names from other rules' */
    struct limit_spec spec;
    char words[48]; /* "60 requests per minute" */
};

/* What is shared by the cells, and goes on over a reload that leaves the limits as they are. */
struct rate_rules {
    atomic_uint refs;
    struct rate_config config;
    size_t n;
    struct rate_rule rules[RATE_RULES_MAX];
    struct bucket all[RATE_UNIT_COUNT];
    counters_t *counters;
    rate_leases_t *leases; /* scope fleet; else NULL */
    pthread_mutex_t lock; /* for adding to `own` */
    _Atomic(struct rate_rule *) own[RATE_OWN_MAX];
};

/* `former` (may be NULL) again when its limits are the same. NULL with a sentence. With `scope: fleet` its
 * leases count in `counters` (may be NULL), and wake the cells that join them. */
struct rate_rules *rate_rules_new(const struct rate_config *config, struct rate_rules *former,
                                  struct lease_counters *counters, struct limits_now now,
                                  struct dyn_err *err);
void rate_rules_unref(struct rate_rules *rules);
/* A limit that stands in a key: made when it is new, there as long as the rules are. NULL: there are too many
 * different ones, or it cannot be counted. Any thread; no lock but for a new one. */
const struct rate_rule *rate_rules_own(struct rate_rules *rules, enum rate_unit unit, bool is_day,
                                       uint64_t amount);
const char *rate_who_name(enum rate_who who);
