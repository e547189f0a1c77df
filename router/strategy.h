/* A strategy decides in which order the candidates are tried: a pure function of what is known about the
 * request, the targets and a source of randomness. One file each in strategies/; it makes no attempt and
 * keeps nothing from one request to the next. Who may be tried at all is decided before it (candidates.c),
 * and what an open breaker takes out after it (decide.c). */
#pragma once

#include "core/rand.h"
#include "models/catalogue.h"
#include "router/router_config.h"
#include "router/target.h"

struct route_plan;

/* ---- what is known about the request ---- */

struct route_pair {
    struct dyn_slice name;
    struct dyn_slice value;
};

/* All texts are borrowed. What stands behind a bit of ROUTE_NEEDS is filled only if the plan needs it. */
struct route_facts {
    enum env_surface surface;
    struct dyn_slice model;       /* an alias is replaced */
    struct dyn_slice asked_model; /* as the client wrote it */
    bool stream;
    bool may_override;                /* its key may name the targets */
    struct dyn_slice key_id;          /* absent: no key was needed */
    const struct env_header *headers; /* ROUTE_NEEDS_HEADERS */
    size_t n_headers;
    uint64_t max_output_tokens; /* 0: not given */

    struct dyn_slice user;             /* ROUTE_NEEDS_BODY, and so on */
    const struct route_pair *metadata; /* members of `metadata` that are strings */
    size_t n_metadata;
    uint64_t prompt_tokens; /* estimated: text, tools and images */
    uint64_t n_messages;
    uint64_t input_bytes; /* of texts and image addresses */
    uint64_t max_tokens;  /* as it stands in the body; 0: not given */
    uint64_t max_completion_tokens;
    bool has_images;
    bool has_tools;

    const struct dyn_slice *user_texts; /* ROUTE_NEEDS_TEXT: of the messages of role user, decoded */
    size_t n_user_texts;

    const uint8_t *override; /* targets that the request names, in its order; their number is below */
    size_t n_override;       /* 0: it names none */
};

/* ---- what is known about the targets ---- */

/* How a target fares with the model that is asked for. */
struct route_target_view {
    enum health_state state; /* of its breaker */
    uint32_t retry_ms;       /* until an open breaker lets a probe through; 0: unknown */
    uint32_t in_flight;      /* ROUTE_NEEDS_LOAD: where the fewest are, of the processes that serve it */
    uint32_t samples;        /* ROUTE_NEEDS_LATENCY: 0: nothing is known of its latency */
    uint64_t ttft_us;        /* median until the first token; 0: unknown */
    uint64_t total_us;       /* median of whole answers; 0: unknown */
    uint64_t ewma_us;        /* total, older answers count less; 0: unknown */
    bool is_in_catalogue;    /* ROUTE_NEEDS_PRICE: the model is, as this target's */
    uint64_t price_in;       /* 10^-12 USD for a token of the prompt; PRICE_UNKNOWN */
    uint64_t price_out;      /* ... and of the answer */
    uint64_t output_max;     /* tokens that the model can answer; 0: unknown */
};

struct route_view {
    const struct route_plan *plan;
    const struct route_target *targets; /* the plan's, then announced ones */
    size_t n_targets;
    struct route_set candidates;
    struct route_set elsewhere;           /* they serve the model, but not this surface */
    const struct route_target_view *seen; /* of each candidate */
    uint64_t now_ms;
};

/* ---- what is decided ---- */

/* Why a strategy names nobody though there are candidates. */
enum route_void {
    ROUTE_VOID_NONE,
    ROUTE_VOID_WEIGHT, /* none has a weight */
    ROUTE_VOID_PRICE,  /* none has a price */
    ROUTE_VOID_RULE,   /* the rule that holds names a target that does not serve the model */
};

struct route_order {
    uint8_t items[ROUTE_TARGETS_MAX]; /* numbers of targets, each at most once */
    size_t n;
    int rule;                 /* which condition or variant it was; -1: none */
    struct dyn_slice label;   /* of the variant; absent: none. Lives as long as the plan */
    bool is_named;            /* only the first one that is there is tried */
    enum route_void why_void; /* with n 0 */
    unsigned n_limited;       /* rules whose search was given up */
};

/* What a strategy wants to be told, so that no request pays for what nobody asks. */
enum {
    ROUTE_NEEDS_HEADERS = 1 << 0,
    ROUTE_NEEDS_BODY = 1 << 1, /* one more pass over the body */
    ROUTE_NEEDS_TEXT = 1 << 2, /* ... in which texts of users are decoded */
    ROUTE_NEEDS_LOAD = 1 << 3,
    ROUTE_NEEDS_LATENCY = 1 << 4,
    ROUTE_NEEDS_PRICE = 1 << 5,
};

/* What a strategy makes of its configuration, once. */
struct route_compiled {
    void *state;    /* of the strategy; NULL: it has none */
    uint32_t needs; /* beside those of the table */
};

struct route_strategy_ops {
    const char *name; /* as in the configuration */
    uint32_t needs;
    /* `plan` has its targets already. Memory that free() gives back, or the plan's arena. May be NULL. */
    int (*compile)(struct route_plan *plan, const struct route_strategy_config *config,
                   struct route_compiled *compiled, struct dyn_err *err);
    void (*free)(void *state); /* may be NULL */
    /* `order` comes empty. Pushes candidates only. */
    void (*order)(const void *state, const struct route_facts *facts, const struct route_view *view,
                  struct dyn_rng *rng, struct route_order *order);
};

#define ROUTE_STRATEGY(mode, symbol, text, help)                                                             \
    extern const struct route_strategy_ops route_strategy_##symbol;
#include "router/strategies/strategies.def"
#undef ROUTE_STRATEGY

static inline bool
route_is_candidate(const struct route_view *view, size_t target)
{
    return route_set_has(&view->candidates, target);
}

static inline void
route_order_push(struct route_order *order, size_t target)
{
    DYN_ASSERT(order->n < ROUTE_TARGETS_MAX);
    order->items[order->n++] = (uint8_t)target;
}

/* Those candidates that are not in the order yet, as they stand in the configuration. */
void route_order_push_rest(struct route_order *order, const struct route_view *view);

/* The target that a rule names, and after it those that an open breaker there leads to. */
void route_order_by_rule(struct route_order *order, const struct route_view *view, int rule, size_t target);

/* What the request will cost there, in 10^-12 USD; PRICE_UNKNOWN. */
uint64_t route_cost_estimate(const struct route_facts *facts, const struct route_target_view *seen);

/* Absent: there is none. */
struct dyn_slice route_facts_header(const struct route_facts *facts, struct dyn_slice name);
struct dyn_slice route_facts_metadata(const struct route_facts *facts, struct dyn_slice name);
