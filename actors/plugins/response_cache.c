/* response-cache: gives an answer that was good before to an equal question of the same key, and lets equal
 * questions that come at the same time share one call. Answers and calls lie in answer_cache.h, what is equal
 * says answer_key.h. It translates nothing and knows no stream: the router hands it plain answers, and makes
 * streams of them for those who want one. */
#include "actors/plugins/answer_key.h"
#include "actors/plugins/plugin.h"
#include "proto/dialects/replay.h"
#include "proto/env_map.h"

#include <stdlib.h>

/* What a cell keeps of its memory for digests, bytes. */
enum { SCRATCH_KEPT_MAX = 64 * 1024 };

struct cache_config {
    double max_age_s;
    double max_entries;
    uint64_t max_bytes;
};

#define AGE_MAX_S   (100.0 * 365 * 86400)
#define ENTRIES_MAX 1e9

static const struct config_key keys[] = {
    {.name = "max_age",
     .type = CONFIG_NUMBER,
     .offset = offsetof(struct cache_config, max_age_s),
     .default_text = "300",
     .min = -AGE_MAX_S,
     .max = AGE_MAX_S,
     .help = "How many seconds an answer is good for. `0` or less: nothing is kept, but equal requests that "
             "come at the same time still share one call."},
    {.name = "max_entries",
     .type = CONFIG_NUMBER,
     .offset = offsetof(struct cache_config, max_entries),
     .default_text = "1000",
     .min = -ENTRIES_MAX,
     .max = ENTRIES_MAX,
     .help = "The most answers that are kept; the one that was used least recently leaves first. `0` or "
             "less: none are."},
    {.name = "max_bytes",
     .type = CONFIG_SIZE,
     .offset = offsetof(struct cache_config, max_bytes),
     .default_text = "64MiB",
     .help = "The most memory that all answers together take."},
    {.name = NULL},
};
static const struct config_section section = {
    .keys = keys, .size = sizeof(struct cache_config), .mark_offset = SIZE_MAX};

struct response_cache {
    answer_cache_t *cache; /* goes on over a reload */
    const struct dyn_clock *clock;
};

struct cell {
    plugin_cell_t *cell;
    answer_cache_t *cache;
    struct answer_seat seat;
    struct env_map calls; /* open ones, by request */
    struct dyn_buf scratch;
};

struct call {
    struct env_map_node node;
    struct answer_call call;
    struct plugin_ticket ticket;
    bool has_voted; /* it leads, and its router was told to go on */
};

/* ---- life ---- */

static struct answer_limits
limits_of(const struct cache_config *config)
{
    return (struct answer_limits){
        .max_age_us = config->max_age_s > 0 ? (uint64_t)(config->max_age_s * 1e6) : 0,
        .max_entries = config->max_entries > 0 ? (uint64_t)config->max_entries : 0,
        .max_bytes = config->max_bytes,
    };
}

static void *
cache_make(const struct plugin_making *making, struct dyn_err *err)
{
    const struct response_cache *former = making->former;
    struct answer_limits limits = limits_of(making->config);
    (void)err;
    struct response_cache *self = dyn_zalloc(sizeof *self);
    self->clock = making->host->clock;
    if (former != NULL) {
        self->cache = answer_cache_ref(former->cache);
        answer_cache_limit(self->cache, &limits);
    } else {
        self->cache = answer_cache_new(&limits, making->host->answers);
    }
    return self;
}

static void
cache_free(void *shared)
{
    struct response_cache *self = shared;
    answer_cache_unref(&self->cache);
    free(self);
}

static void
wake(void *arg)
{
    plugin_wake(arg);
}

static void *
cell_new(void *shared, plugin_cell_t *cell)
{
    const struct response_cache *self = shared;
    struct cell *own = dyn_zalloc(sizeof *own);
    own->cell = cell;
    own->cache = answer_cache_ref(self->cache);
    own->seat.wake = wake;
    own->seat.arg = cell;
    dyn_list_init(&own->seat.done);
    env_map_init(&own->calls);
    return own;
}

static void
call_close(struct cell *own, struct call *call)
{
    answer_call_leave(own->cache, &call->call);
    env_map_remove(&own->calls, &call->node);
    free(call);
}

/* Its requests are over, or will never be told of: those that wait in other cells try for themselves. */
static void
cell_free(void *shared, void *self)
{
    struct cell *own = self;
    (void)shared;
    for (struct env_map_node *node; (node = env_map_any(&own->calls)) != NULL;) {
        call_close(own, DYN_CONTAINER_OF(node, struct call, node));
    }
    env_map_fini(&own->calls);
    dyn_buf_fini(&own->scratch);
    answer_cache_unref(&own->cache);
    free(own);
}

static struct call *
call_of(const struct cell *own, const struct plugin_ticket *ticket)
{
    struct env_map_node *node = env_map_find(&own->calls, &ticket->id);
    return node != NULL ? DYN_CONTAINER_OF(node, struct call, node) : NULL;
}

/* ---- votes ---- */

static const struct env_header hit_header = {DYN_SLICE_INIT("x-dynabus-cache"), DYN_SLICE_INIT("hit")};
static const struct env_header miss_header = {DYN_SLICE_INIT("x-dynabus-cache"), DYN_SLICE_INIT("miss")};

/* Takes the reference. */
static void
say_hit(struct plugin_vote *vote, struct answer_call *call, struct dyn_slice notes)
{
    vote->verdict = VOTE_ANSWER;
    vote->answer = call->answer;
    vote->usage = call->usage;
    vote->notes = notes;
    vote->headers = &hit_header;
    vote->n_headers = 1;
    call->answer = NULL;
}

static void
say_miss(struct plugin_vote *vote, bool leads)
{
    vote->verdict = VOTE_PASS;
    vote->notes = DYN_SLICE("miss");
    vote->charged = leads; /* so that its end is told */
    vote->headers = &miss_header;
    vote->n_headers = 1;
}

/* ---- before ---- */

static bool
eat_word(struct dyn_slice *text, struct dyn_slice *word)
{
    while (text->len > 0 && (text->data[0] == ' ' || text->data[0] == '\t' || text->data[0] == ',')) {
        *text = dyn_slice(text->data + 1, text->len - 1);
    }
    size_t len = 0;
    while (len < text->len && text->data[len] != ',') {
        len++;
    }
    *word = dyn_slice(text->data, len);
    *text = dyn_slice(text->data + len, text->len - len);
    while (word->len > 0 && (word->data[word->len - 1] == ' ' || word->data[word->len - 1] == '\t')) {
        word->len--;
    }
    return word->len > 0;
}

/* RFC 9111 5.2.1: what the client says of itself. What cannot be read is not there. */
static uint64_t
age_in(struct dyn_slice word)
{
    static const struct dyn_slice name = DYN_SLICE_INIT("max-age=");
    uint64_t seconds = 0;
    if (word.len <= name.len || !dyn_slice_ieq(dyn_slice(word.data, name.len), name)) {
        return UINT64_MAX;
    }
    for (size_t i = name.len; i < word.len; i++) {
        if (word.data[i] < '0' || word.data[i] > '9') {
            return UINT64_MAX;
        }
        seconds = seconds < UINT64_C(1000000000) ? seconds * 10 + (uint64_t)(word.data[i] - '0') : seconds;
    }
    return seconds * 1000000;
}

static void
read_control(struct dyn_slice control, struct answer_asking *asking)
{
    for (struct dyn_slice word; eat_word(&control, &word);) {
        uint64_t age_us = age_in(word);
        if (dyn_slice_ieq(word, DYN_SLICE("no-store"))) {
            asking->stores = false;
            asking->reads = false;
        } else if (dyn_slice_ieq(word, DYN_SLICE("no-cache"))) {
            asking->reads = false;
        }
        asking->max_age_us = age_us < asking->max_age_us ? age_us : asking->max_age_us;
    }
    asking->reads = asking->reads && asking->max_age_us > 0;
}

static enum plugin_when
before(const struct response_cache *self, struct cell *own, const struct plugin_ask *ask,
       struct plugin_vote *vote)
{
    struct answer_key key;
    struct answer_asking asking = {
        .reads = true, .stores = true, .max_age_us = UINT64_MAX, .now_us = dyn_mono_us(self->clock)};
    read_control(vote_facts_header(ask->facts, DYN_SLICE("cache-control")), &asking);
    struct call *former = call_of(own, &ask->ticket);
    if (former != NULL) { /* its owner has sent it again */
        call_close(own, former);
    }
    if (!asking.stores) {
        say_miss(vote, false);
        return PLUGIN_VOTED;
    }
    answer_key_of(ask->facts, ask->body, &own->scratch, &key);
    if (own->scratch.cap > SCRATCH_KEPT_MAX) {
        dyn_buf_fini(&own->scratch);
    }
    struct call *call = dyn_zalloc(sizeof *call);
    call->call.seat = &own->seat;
    call->ticket = ask->ticket;
    enum answer_found found = answer_cache_ask(own->cache, &key, &asking, &call->call);
    if (found == ANSWER_HIT) {
        say_hit(vote, &call->call, DYN_SLICE("hit"));
        free(call);
        return PLUGIN_VOTED;
    }
    env_map_add(&own->calls, &call->node, &ask->ticket.id);
    if (found == ANSWER_WAITS) {
        return PLUGIN_LATER;
    }
    call->has_voted = true;
    say_miss(vote, true);
    return PLUGIN_VOTED;
}

/* ---- what was decided elsewhere ---- */

/* Nobody wants the answer any more. */
static void
stop(struct cell *own, const struct call *call)
{
    struct env *cancel = env_new(ENV_CANCEL);
    cancel->id = call->ticket.id;
    cancel->reason = DYN_SLICE("nobody waits");
    if (plugin_send(own->cell, call->ticket.from, &cancel, NULL) != 0) {
        env_free(&cancel); /* the router is gone */
    }
}

static void
decided(struct cell *own, struct call *call)
{
    struct plugin_vote vote = {.verdict = VOTE_PASS};
    switch (call->call.outcome) {
    case ANSWER_READY:
        say_hit(&vote, &call->call, DYN_SLICE("shared"));
        break;
    case ANSWER_PROMOTED:
        say_miss(&vote, true);
        call->has_voted = true;
        plugin_vote_send(own->cell, &call->ticket, &vote);
        return;
    case ANSWER_FAILED:
        vote.verdict = VOTE_DENY;
        vote.error = call->call.error;
        vote.reason = dyn_slice_str(call->call.error_text);
        vote.notes = DYN_SLICE("shared failure");
        break;
    case ANSWER_ABANDONED:
        stop(own, call);
        return;
    case ANSWER_PENDING:
        return;
    }
    struct plugin_ticket ticket = call->ticket;
    plugin_vote_send(own->cell, &ticket, &vote);
    call_close(own, call);
}

static void
cache_wake(void *shared, void *self, plugin_cell_t *cell)
{
    struct cell *own = self;
    (void)shared;
    (void)cell;
    for (struct answer_call *call; (call = answer_seat_take(own->cache, &own->seat)) != NULL;) {
        decided(own, DYN_CONTAINER_OF(call, struct call, call));
    }
}

/* Of one that waits: it does no more. Of one that leads: its client has left, and it may go on without. */
static void
cache_forget(void *shared, void *self, plugin_cell_t *cell, const struct plugin_ticket *ticket)
{
    struct cell *own = self;
    struct call *call = call_of(own, ticket);
    (void)shared;
    (void)cell;
    if (call != NULL && !call->has_voted) {
        call_close(own, call);
    } else if (call != NULL && answer_call_orphaned(own->cache, &call->call)) {
        stop(own, call);
    }
}

/* ---- the end ---- */

/* Only what can be told again, in either form. */
static bool
is_good(const struct plugin_ask *ask)
{
    const struct dialect_ops *dialect = dialect_find(ask->facts->dialect);
    return ask->block != NULL && ask->facts->status == 200 && dialect != NULL &&
           replay_is_whole(dialect, ask->body);
}

/* Whether it failed by what nobody else has: a limit of its own refused it before a provider was asked, its
 * own time was over by then, or its client left. Time that a provider used up counts as the provider's: one
 * that hangs gets two calls and not one from each who waits. */
static bool
is_its_own(const struct vote_facts *facts)
{
    bool was_stopped = facts->refused || facts->error == ERR_GATEWAY_TIMEOUT;
    return facts->error == ERR_CLIENT_CLOSED || (was_stopped && facts->upstream_calls == 0);
}

static void
finish(const struct response_cache *self, struct cell *own, const struct plugin_ask *ask)
{
    struct call *call = call_of(own, &ask->ticket);
    if (call == NULL) {
        return;
    }
    if (ask->stage == VOTE_ON_ERROR && is_its_own(ask->facts)) {
        answer_call_leave(own->cache, &call->call); /* another one leads */
    } else if (ask->stage == VOTE_ON_ERROR) {
        answer_call_failed(own->cache, &call->call, ask->facts->error, ask->facts->error_text);
    } else if (is_good(ask)) {
        answer_call_succeeded(own->cache, &call->call, ask->block, &ask->facts->usage,
                              dyn_mono_us(self->clock));
    } else {
        answer_call_unfit(own->cache, &call->call);
    }
    call_close(own, call);
}

static enum plugin_when
cache_vote(void *shared, void *own, plugin_cell_t *cell, const struct plugin_ask *ask,
           struct plugin_vote *vote)
{
    (void)cell;
    if (ask->is_told) {
        finish(shared, own, ask);
    } else if (ask->stage == VOTE_BEFORE_REQUEST && ask->facts->surface == ENV_SURFACE_CHAT) {
        return before(shared, own, ask, vote);
    }
    return PLUGIN_VOTED;
}

static const char *const headers[] = {"cache-control", NULL};

const struct plugin_ops plugin_response_cache = {
    .name = "response-cache",
    .type = PLUGIN_TRANSFORM,
    .summary = "Answers equal questions of the same key from memory, and lets those that come at the same "
               "time share one call.",
    .traits = {.stages = VOTE_STAGE_BIT(VOTE_BEFORE_REQUEST) | VOTE_STAGE_BIT(VOTE_AFTER_REQUEST),
               .needs = VOTE_NEEDS_HEADERS | VOTE_NEEDS_BODY,
               .answers = true,
               .watches = true,
               .shares = true},
    .headers = headers,
    .config = &section,
    .make = cache_make,
    .free = cache_free,
    .cell_new = cell_new,
    .cell_free = cell_free,
    .vote = cache_vote,
    .forget = cache_forget,
    .wake = cache_wake,
};
