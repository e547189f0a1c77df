/* rate-limit: how many requests and tokens may pass, for the whole gateway and for each key, user, model and
 * address. A request takes from all of its limits or from none. Tokens are estimated when it comes and
 * settled when it is over; what another plugin refuses afterwards is given back. A process counts for itself,
 * or (`scope: fleet`) from pieces that the ledger lends it; who has to wait for one votes later. */
#include "actors/plugins/rate_fleet.h"
#include "actors/plugins/rate_headers.h"
#include "actors/plugins/rate_rules.h"
#include "core/log.h"
#include "core/piece.h"
#include "proto/env_map.h"

#include <arpa/inet.h>
#include <stdlib.h>

struct rate_limit {
    struct rate_rules *rules;
    const struct dyn_clock *clock;
    uint64_t output_tokens;
    bool shows_headers;
};

/* Those of the configuration, and requests and tokens in a minute and in a day that stand in the key. */
enum { TAKES_MAX = RATE_RULES_MAX + 4 };

/* What one request has taken, until it is told how the request ended. */
struct charge {
    struct env_map_node node;
    struct rate_waiter waiter; /* for a lease */
    size_t n;
    struct limit_take takes[TAKES_MAX];
    uint64_t wants[TAKES_MAX];            /* what it asked of each */
    struct counter *counters[TAKES_MAX];  /* open; NULL: the gateway's own bucket, or a lease */
    struct rate_lease *leases[TAKES_MAX]; /* open; NULL: the process counts for itself */
    const struct rate_rule *rules[TAKES_MAX];
};

struct cell {
    const struct rate_limit *shared;
    plugin_cell_t *cell;
    struct rate_fleet fleet; /* `leases` NULL: the process counts for itself */
    struct counters_cache cache;
    struct env_map charges;
    struct rate_headers headers;
};

static void *
rate_limit_make(const struct plugin_making *making, struct dyn_err *err)
{
    const struct rate_config *config = making->config;
    const struct dyn_clock *clock = making->host->clock;
    const struct rate_limit *former = making->former;
    struct limits_now now = {dyn_mono_us(clock), dyn_wall_us(clock)};
    if (config->scope == RATE_FLEET && making->host->ledger == 0) {
        (void)dyn_err_set(err, DYN_E_CONFIG,
                          "'scope: fleet' needs a ledger that lends the limits, in a process with a router: "
                          "say where it keeps them with `store: {backend: sqlite, dsn: PATH}`");
        return NULL;
    }
    struct rate_rules *rules =
        rate_rules_new(config, former == NULL ? NULL : former->rules, making->host->leases, now, err);
    if (rules == NULL) {
        return NULL;
    }
    struct rate_limit *self = dyn_zalloc(sizeof *self);
    *self = (struct rate_limit){.rules = rules,
                                .clock = clock,
                                .output_tokens = (uint64_t)config->output_tokens,
                                .shows_headers = config->headers};
    return self;
}

static void
rate_limit_free(void *shared)
{
    struct rate_limit *self = shared;
    rate_rules_unref(self->rules);
    free(self);
}

static struct charge *
charge_new(void)
{
    struct charge *charge = dyn_piece_alloc(sizeof *charge);
    charge->n = 0;
    return charge;
}

static void
charge_close(struct cell *own, struct charge *charge)
{
    for (size_t i = 0; i < charge->n; i++) {
        if (charge->leases[i] != NULL) {
            rate_lease_close(own->fleet.leases, charge->leases[i]);
        }
        if (charge->counters[i] != NULL) {
            counter_close(charge->counters[i]);
        }
    }
    dyn_piece_free(charge, sizeof *charge);
}

/* ---- whose limits a request takes from ---- */

/* Whoever has one address of an IPv6 network has all of its /64. */
static struct dyn_slice
network_of(struct dyn_slice peer, uint8_t out[8])
{
    char text[INET6_ADDRSTRLEN];
    struct in6_addr address;
    const char *colon = peer.len == 0 ? NULL : memrchr(peer.data, ':', peer.len);
    if (peer.len == 0 || peer.data[0] != '[') {
        return colon == NULL ? peer : dyn_slice(peer.data, (size_t)(colon - peer.data));
    }
    const char *end = memchr(peer.data, ']', peer.len);
    const char *zone = memchr(peer.data, '%', peer.len); /* "[fe80::1%eth0]:1" */
    end = zone != NULL && end != NULL && zone < end ? zone : end;
    size_t len = end == NULL ? 0 : (size_t)(end - peer.data) - 1;
    if (len == 0 || len >= sizeof text) {
        return peer;
    }
    memcpy(text, peer.data + 1, len);
    text[len] = '\0';
    if (inet_pton(AF_INET6, text, &address) != 1) {
        return dyn_slice(peer.data + 1, len);
    }
    memcpy(out, &address, 8);
    return dyn_slice((const char *)out, 8);
}

/* Absent: the limit does not hold for this request. */
static struct dyn_slice
name_for(enum rate_who who, const struct vote_facts *facts, uint8_t network[8])
{
    switch (who) {
    case RATE_KEY:
        return dyn_slice_is(facts->key_id, "anonymous") ? dyn_slice(NULL, 0) : facts->key_id;
    case RATE_USER:
        return facts->user;
    case RATE_MODEL:
        return facts->model;
    case RATE_ADDRESS:
        return network_of(facts->peer, network);
    case RATE_ALL:
    case RATE_WHO_COUNT:
    default:
        return dyn_slice(NULL, 0);
    }
}

static uint64_t
estimated_tokens(const struct rate_limit *self, const struct vote_facts *facts)
{
    uint64_t n = facts->n_choices > 1 ? facts->n_choices : 1, each = self->output_tokens;
    uint64_t all = each != 0 && n > UINT64_MAX / each ? UINT64_MAX : each * n;
    uint64_t output = facts->max_output != 0 ? facts->max_output : all;
    uint64_t sum = facts->prompt_tokens + output;
    return sum < output ? UINT64_MAX : sum;
}

static struct rate_lease *
open_lease(struct cell *own, const struct rate_rule *rule, struct name_hash key, struct dyn_slice name,
           struct limits_now now)
{
    struct rate_identity identity = {.key = key,
                                     .who = rate_who_name(rule->who),
                                     .what = rule->unit == RATE_TOKENS ? "tokens" : "requests",
                                     .name = name,
                                     .amount = rule->spec.amount,
                                     .period_us = rule->spec.period_us};
    return rate_lease_open(own->fleet.leases, &identity, now);
}

/* False: the table of names is full of ones with requests in flight. */
static bool
charge_add(struct charge *charge, const struct rate_rule *rule, struct rate_rules *rules, struct cell *own,
           const struct vote_facts *facts, struct limits_now now)
{
    uint8_t network[8];
    struct counter *counter = NULL;
    struct rate_lease *lease = NULL;
    struct bucket *bucket = &rules->all[rule->unit];
    struct dyn_slice name = rule->who != RATE_ALL ? name_for(rule->who, facts, network) : DYN_SLICE("all");
    if (name.len == 0) {
        return true;
    }
    if (rules->leases != NULL) {
        lease = open_lease(own, rule, counters_name(rules->counters, rule->kind, name), name, now);
        if (lease == NULL) {
            return false;
        }
    } else if (rule->who != RATE_ALL) {
        counter =
            counters_open(&own->cache, counters_name(rules->counters, rule->kind, name), &rule->spec, now);
        if (counter == NULL) {
            return false;
        }
        bucket = &counter->bucket;
    }
    charge->takes[charge->n] = (struct limit_take){.bucket = bucket, .spec = &rule->spec, .n = 1};
    charge->wants[charge->n] = 1;
    charge->counters[charge->n] = counter;
    charge->leases[charge->n] = lease;
    charge->rules[charge->n++] = rule;
    return true;
}

/* Limits that stand in the key itself. */
static bool
charge_own(struct charge *charge, struct rate_rules *rules, struct cell *own, const struct vote_facts *facts,
           struct limits_now now)
{
    const struct {
        uint64_t amount;
        enum rate_unit unit;
        bool is_day;
    } limits[] = {{facts->key_rpm, RATE_REQUESTS, false},
                  {facts->key_rpd, RATE_REQUESTS, true},
                  {facts->key_tpm, RATE_TOKENS, false},
                  {facts->key_tpd, RATE_TOKENS, true}};
    for (size_t i = 0; i < DYN_ARRAY_LEN(limits); i++) {
        if (limits[i].amount == 0) {
            continue;
        }
        const struct rate_rule *rule =
            rate_rules_own(rules, limits[i].unit, limits[i].is_day, limits[i].amount);
        if (rule == NULL || !charge_add(charge, rule, rules, own, facts, now)) {
            return false;
        }
    }
    return true;
}

/* What a key has of its own takes the place of what all keys have. */
static bool
is_replaced(const struct rate_rule *rule, const struct vote_facts *facts)
{
    return rule->who == RATE_KEY && (rule->unit == RATE_REQUESTS ? facts->key_rpm : facts->key_tpm) != 0;
}

static bool
charge_fill(struct charge *charge, const struct rate_limit *self, struct cell *own,
            const struct vote_facts *facts, struct limits_now now)
{
    struct rate_rules *rules = self->rules;
    size_t i = 0;
    bool fits = true;
    for (; i < rules->n && rules->rules[i].who == RATE_ALL; i++) {
        fits = fits && charge_add(charge, &rules->rules[i], rules, own, facts, now);
    }
    fits = fits && charge_own(charge, rules, own, facts, now);
    for (; i < rules->n && fits; i++) {
        fits = is_replaced(&rules->rules[i], facts) ||
               charge_add(charge, &rules->rules[i], rules, own, facts, now);
    }
    for (i = 0; i < charge->n; i++) {
        if (charge->rules[i]->unit == RATE_TOKENS) {
            charge->wants[i] = charge->takes[i].n = estimated_tokens(self, facts);
        }
    }
    return fits;
}

/* ---- what the vote says ---- */

/* What a process has a piece of has left what nobody has, too. */
static struct bucket_level
level_of(const struct charge *charge, size_t i, struct limits_now now)
{
    const struct limit_take *take = &charge->takes[i];
    const struct rate_lease *lease = charge->leases[i];
    struct bucket_level level = bucket_look(take->bucket, take->spec, 0, now);
    if (lease != NULL && take->bucket == &lease->holder.piece) {
        uint64_t sum = level.left + atomic_load_explicit(&lease->holder.left, memory_order_relaxed);
        level.left = sum < level.limit ? sum : level.limit;
    } else if (lease != NULL && charge->wants[i] != 0) {
        level.left /= take->n / charge->wants[i]; /* of a share each counts for all */
    }
    return level;
}

/* Of requests, or of tokens, the limit with the least left; of the one that refused, that one. */
static void
show(struct cell *own, const struct charge *charge, enum rate_unit unit, size_t refuser,
     struct limits_now now)
{
    struct bucket_level nearest = {.left = UINT64_MAX};
    bool is_there = false;
    for (size_t i = 0; i < charge->n; i++) {
        if (charge->rules[i]->unit != unit) {
            continue;
        }
        struct bucket_level level = level_of(charge, i, now);
        if (!is_there || level.left < nearest.left || i == refuser) {
            nearest = level;
        }
        is_there = true;
        if (i == refuser) {
            break;
        }
    }
    if (is_there) {
        rate_headers_add(&own->headers, unit == RATE_TOKENS, &nearest);
    }
}

static void
show_all(const struct rate_limit *self, struct cell *own, const struct charge *charge, size_t refuser,
         struct limits_now now, struct plugin_vote *vote)
{
    if (self->shows_headers) {
        show(own, charge, RATE_REQUESTS, refuser, now);
        show(own, charge, RATE_TOKENS, refuser, now);
    }
    vote->headers = own->headers.items;
    vote->n_headers = own->headers.n;
}

static void
refuse(struct cell *own, plugin_cell_t *cell, const struct charge *charge, size_t refuser,
       struct limits_now now, struct plugin_vote *vote)
{
    const struct limit_take *take = &charge->takes[refuser];
    const struct rate_rule *rule = charge->rules[refuser];
    const char *of = rule->who == RATE_ALL ? "this" : "each";
    struct bucket_level level = bucket_look(take->bucket, take->spec, take->n, now);
    vote->verdict = VOTE_DENY;
    if (level.wait_us == LIMIT_NEVER) {
        vote->reason = dyn_slice_str(plugin_cell_text(
            cell, "the request needs %llu tokens, more than the limit of %s %s, %s, ever has",
            (unsigned long long)take->n, of, rate_who_name(rule->who), rule->words));
        rate_headers_add_never(&own->headers);
        return;
    }
    vote->reason = dyn_slice_str(plugin_cell_text(cell, "the limit of %s %s is reached: %s", of,
                                                  rate_who_name(rule->who), rule->words));
    uint64_t seconds = (level.wait_us + 999999) / 1000000;
    vote->retry_after_s = seconds == 0 ? 1 : seconds < UINT32_MAX ? (uint32_t)seconds : UINT32_MAX;
}

/* From all of them, or from none. */
static enum lease_verdict
take_all(struct charge *charge, size_t *refuser, struct limits_now now)
{
    enum lease_verdict verdict = LEASE_TAKEN;
    while ((*refuser = limit_take_all(charge->takes, charge->n, now)) < charge->n && verdict == LEASE_TAKEN) {
        struct rate_lease *lease = charge->leases[*refuser];
        verdict = lease == NULL ? LEASE_REFUSED
                                : lease_holder_refused(&lease->holder, &charge->takes[*refuser], now);
        if (verdict != LEASE_TAKEN) {
            break;
        }
    }
    return verdict;
}

static void
fill_takes(struct charge *charge)
{
    for (size_t i = 0; i < charge->n; i++) {
        if (charge->leases[i] != NULL) {
            lease_holder_fill(&charge->leases[i]->holder, &charge->takes[i], charge->wants[i]);
        }
    }
}

/* False: it has to wait for a lease. Else the charge is kept, or closed. */
static bool
decide(const struct rate_limit *self, struct cell *own, struct charge *charge, const struct env_id *id,
       struct limits_now now, struct plugin_vote *vote)
{
    size_t refuser;
    own->headers.n = 0;
    fill_takes(charge);
    enum lease_verdict verdict = take_all(charge, &refuser, now);
    if (verdict == LEASE_WAIT) {
        rate_fleet_want(&own->fleet, charge->leases[refuser], charge->wants[refuser]);
        return false;
    }
    if (verdict == LEASE_REFUSED) {
        refuse(own, own->cell, charge, refuser, now, vote);
        show_all(self, own, charge, refuser, now, vote);
        charge_close(own, charge);
        return true;
    }
    show_all(self, own, charge, SIZE_MAX, now, vote);
    vote->charged = charge->n != 0;
    if (charge->n == 0) {
        charge_close(own, charge);
    } else {
        env_map_add(&own->charges, &charge->node, id);
    }
    return true;
}

static enum plugin_when
before(const struct rate_limit *self, struct cell *own, const struct plugin_ask *ask,
       struct plugin_vote *vote)
{
    struct limits_now now = {ask->now_us, dyn_wall_us(self->clock)};
    struct env_map_node *former = env_map_find(&own->charges, &ask->ticket.id);
    if (former != NULL) { /* the request came again: what the first one took stays taken */
        env_map_remove(&own->charges, former);
        charge_close(own, DYN_CONTAINER_OF(former, struct charge, node));
    }
    struct charge *charge = charge_new();
    if (!charge_fill(charge, self, own, ask->facts, now)) {
        vote->verdict = VOTE_DENY;
        vote->reason = DYN_SLICE("too many different callers at once");
        vote->retry_after_s = 1;
        charge_close(own, charge);
        return PLUGIN_VOTED;
    }
    if (decide(self, own, charge, &ask->ticket.id, now, vote)) {
        return PLUGIN_VOTED;
    }
    rate_fleet_wait(&own->fleet, &charge->waiter, &ask->ticket, ask->facts, now.mono_us);
    return PLUGIN_LATER;
}

/* ---- waiting for a lease ---- */

static void
refuse_late(struct cell *own, struct charge *charge, struct plugin_vote *vote)
{
    vote->verdict = VOTE_DENY;
    vote->reason = DYN_SLICE("what is left of a limit of this gateway could not be told in time");
    vote->retry_after_s = 1;
    charge_close(own, charge);
}

/* True: it is decided, and told. */
static bool
look_at(struct cell *own, struct charge *charge, struct limits_now now)
{
    struct plugin_vote vote = {.verdict = VOTE_PASS};
    struct rate_waiter waiter = charge->waiter; /* what is decided may be closed */
    dyn_list_remove(&charge->waiter.link);
    if (!decide(own->shared, own, charge, &waiter.ticket.id, now, &vote)) {
        if (now.mono_us < waiter.until_us) {
            dyn_list_append(waiter.link.next, &charge->waiter.link); /* where it was */
            return false;
        }
        refuse_late(own, charge, &vote);
    }
    vote_facts_unref(&waiter.facts);
    plugin_vote_send(own->cell, &waiter.ticket, &vote);
    return true;
}

/* In the order in which they came. */
static void
look(struct rate_fleet *fleet)
{
    struct cell *own = DYN_CONTAINER_OF(fleet, struct cell, fleet);
    struct limits_now now = {dyn_mono_us(fleet->clock), dyn_wall_us(fleet->clock)};
    struct dyn_list *next;
    for (struct dyn_list *link = fleet->waiting.next; link != &fleet->waiting; link = next) {
        struct rate_waiter *waiter = DYN_CONTAINER_OF(link, struct rate_waiter, link);
        next = link->next;
        (void)look_at(own, DYN_CONTAINER_OF(waiter, struct charge, waiter), now);
    }
}

static void
rate_limit_wake(void *shared, void *self, plugin_cell_t *cell)
{
    struct cell *own = self;
    (void)shared, (void)cell;
    if (own->fleet.leases != NULL && !dyn_list_is_empty(&own->fleet.waiting)) {
        look(&own->fleet);
    }
}

static void
rate_limit_receive(void *shared, void *self, plugin_cell_t *cell, struct env **env_p)
{
    struct cell *own = self;
    (void)shared, (void)cell;
    if (own->fleet.leases != NULL) {
        (void)rate_fleet_receive(&own->fleet, env_p);
    }
}

static void
give_back(const struct rate_limit *self, struct cell *own, const struct charge *charge)
{
    for (size_t i = 0; i < charge->n; i++) {
        bucket_give_back(&charge->takes[i], self->clock);
        if (charge->leases[i] != NULL) {
            rate_lease_changed(own->fleet.leases, charge->leases[i], 0);
        }
    }
}

static void
rate_limit_forget(void *shared, void *self, plugin_cell_t *cell, const struct plugin_ticket *ticket)
{
    struct cell *own = self;
    (void)cell;
    struct rate_waiter *waiter = own->fleet.leases != NULL ? rate_fleet_find(&own->fleet, ticket) : NULL;
    if (waiter != NULL) {
        rate_fleet_remove(waiter);
        charge_close(own, DYN_CONTAINER_OF(waiter, struct charge, waiter));
        return;
    }
    struct env_map_node *node = env_map_find(&own->charges, &ticket->id);
    if (node != NULL) { /* the vote that charged came too late: nobody has it */
        struct charge *charge = DYN_CONTAINER_OF(node, struct charge, node);
        env_map_remove(&own->charges, node);
        give_back(shared, own, charge);
        charge_close(own, charge);
    }
}

static void
rate_limit_drain(void *shared, void *self, plugin_cell_t *cell)
{
    struct cell *own = self;
    (void)shared, (void)cell;
    if (own->fleet.leases != NULL) {
        rate_fleet_goodbye(&own->fleet);
    }
}

/* ---- how it ended ---- */

/* What another plugin refused did not happen. Everything else is a request, also one that its client left or
 * that no model was found for; it used no tokens when nobody was asked for it, or the cache answered. One
 * whose usage is not known keeps its estimate. */
static void
settle_one(const struct rate_limit *self, struct cell *own, const struct charge *charge, size_t i,
           uint64_t tokens)
{
    struct limit_take take = charge->takes[i];
    struct rate_lease *lease = charge->leases[i];
    uint64_t each = charge->wants[i] != 0 ? take.n / charge->wants[i] : 1; /* of a share: for all holders */
    uint64_t owed = bucket_settle(&take, tokens * each, self->clock);
    if (lease != NULL && tokens != charge->wants[i]) {
        rate_lease_changed(own->fleet.leases, lease, take.bucket == &lease->holder.piece ? owed : 0);
    }
}

static void
settle(const struct rate_limit *self, struct cell *own, const struct charge *charge,
       const struct vote_facts *facts)
{
    bool is_undone = facts->refused && facts->upstream_calls == 0;
    bool used_none = facts->answered_by.len != 0 || (facts->upstream_calls == 0 && !facts->usage.known);
    uint64_t tokens = facts->usage.total_tokens != 0
                          ? facts->usage.total_tokens
                          : facts->usage.prompt_tokens + facts->usage.completion_tokens;
    if (is_undone) {
        give_back(self, own, charge);
    }
    for (size_t i = 0; i < charge->n && !is_undone; i++) {
        if (charge->rules[i]->unit == RATE_TOKENS && (used_none || facts->usage.known)) {
            settle_one(self, own, charge, i, used_none ? 0 : tokens);
        }
    }
    if (own->fleet.leases != NULL) {
        rate_fleet_stir(&own->fleet); /* what came back is not kept for ever */
    }
}

static void
finish(const struct rate_limit *self, struct cell *own, const struct plugin_ask *ask)
{
    struct env_map_node *node = env_map_find(&own->charges, &ask->ticket.id);
    if (node != NULL) {
        struct charge *charge = DYN_CONTAINER_OF(node, struct charge, node);
        env_map_remove(&own->charges, node);
        settle(self, own, charge, ask->facts);
        charge_close(own, charge);
    }
}

static enum plugin_when
rate_limit_vote(void *shared, void *own, plugin_cell_t *cell, const struct plugin_ask *ask,
                struct plugin_vote *vote)
{
    (void)cell;
    if (ask->is_told) {
        finish(shared, own, ask);
    } else if (ask->stage == VOTE_BEFORE_REQUEST) {
        return before(shared, own, ask, vote);
    }
    return PLUGIN_VOTED;
}

/* ---- cells ---- */

static void *
rate_limit_cell_new(void *shared, plugin_cell_t *cell)
{
    const struct rate_limit *self = shared;
    struct cell *own = dyn_zalloc(sizeof *own);
    own->shared = self;
    own->cell = cell;
    counters_cache_init(&own->cache, self->rules->counters);
    env_map_init(&own->charges);
    if (self->rules->leases != NULL) {
        rate_fleet_init(&own->fleet, self->rules->leases, self->clock, cell, look);
    }
    return own;
}

static void
rate_limit_cell_free(void *shared, void *self)
{
    struct cell *own = self;
    (void)shared;
    if (own->fleet.leases != NULL) {
        for (struct dyn_list *link; (link = own->fleet.waiting.next) != &own->fleet.waiting;) {
            struct rate_waiter *waiter = DYN_CONTAINER_OF(link, struct rate_waiter, link);
            rate_fleet_remove(waiter);
            charge_close(own, DYN_CONTAINER_OF(waiter, struct charge, waiter));
        }
    }
    for (struct env_map_node *node; (node = env_map_any(&own->charges)) != NULL;) {
        env_map_remove(&own->charges, node);
        charge_close(own, DYN_CONTAINER_OF(node, struct charge, node));
    }
    if (own->fleet.leases != NULL) {
        rate_fleet_fini(&own->fleet);
    }
    env_map_fini(&own->charges);
    counters_cache_fini(&own->cache);
    free(own);
}

/* Nothing is read of a body that no limit asks for. */
static void
rate_limit_adapt(const void *config, struct plugin_traits *traits)
{
    const struct rate_config *self = config;
    bool counts = self->is_set[RATE_USER][RATE_REQUESTS];
    for (size_t who = 0; who < RATE_WHO_COUNT; who++) {
        counts = counts || self->is_set[who][RATE_TOKENS];
    }
    if (!counts) {
        traits->needs &= ~(uint32_t)VOTE_NEEDS_COUNTS;
    }
}

const struct plugin_ops plugin_rate_limit = {
    .name = "rate-limit",
    .type = PLUGIN_RATELIMIT,
    .summary = "Limits requests and tokens of the gateway and of each key, user, model and address.",
    .traits = {.stages = VOTE_STAGE_BIT(VOTE_BEFORE_REQUEST), .needs = VOTE_NEEDS_COUNTS, .charges = true},
    .denies = VOTE_STAGE_BIT(VOTE_BEFORE_REQUEST),
    .config = &rate_config_section,
    .check = rate_config_check,
    .adapt = rate_limit_adapt,
    .make = rate_limit_make,
    .free = rate_limit_free,
    .cell_new = rate_limit_cell_new,
    .cell_free = rate_limit_cell_free,
    .vote = rate_limit_vote,
    .forget = rate_limit_forget,
    .wake = rate_limit_wake,
    .drain = rate_limit_drain,
    .receive = rate_limit_receive,
};
