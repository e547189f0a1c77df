/* What plugins are told of a request: facts made once for each stage, and the texts of a body. */
#include "proto/dialects/texts.h"
#include "router/cost.h"
#include "router/facts.h"
#include "router/votes.h"

static struct dyn_slice
copy(struct vote_facts *facts, struct dyn_slice text)
{
    return text.len > 0 ? arena_copy(&facts->arena, text) : dyn_slice(NULL, 0);
}

/* What its record says that it may use; plugins hold it to that. */
static void
tell_key(const struct key_record *key, struct vote_facts *facts)
{
    facts->group = copy(facts, key->group);
    facts->key_rpm = key->limits.requests_per_minute;
    facts->key_rpd = key->limits.requests_per_day;
    facts->key_tpm = key->limits.tokens_per_minute;
    facts->key_tpd = key->limits.tokens_per_day;
    facts->key_day = key->budget.day;
    facts->key_week = key->budget.week;
    facts->key_month = key->budget.month;
}

/* Each choice may be as long as one. */
static uint64_t
of_all_choices(const struct vote_facts *facts, uint64_t tokens)
{
    uint64_t n = facts->n_choices > 1 ? facts->n_choices : 1;
    uint64_t all;
    return __builtin_mul_overflow(tokens, n, &all) || all > INT64_MAX ? (uint64_t)INT64_MAX : all;
}

static void
tell_who(const struct route_request *rq, struct vote_facts *facts)
{
    const struct env *request = rq->request;
    const struct dyn_clock *clock = bus_loop_clock(rq->router->loop);
    uint64_t since_us = route_clock_us(rq->router) - rq->started_us;
    facts->surface = request->surface;
    facts->dialect = dyn_slice_str(rq->dialect != NULL ? rq->dialect->name : NULL);
    facts->trace_id = copy(facts, request->trace_id);
    facts->model = copy(facts, route_plan_model(rq->plan, rq->asked_model));
    facts->asked_model = copy(facts, rq->asked_model);
    facts->key_id = copy(facts, rq->key_id);
    if (rq->key != NULL) {
        tell_key(rq->key, facts);
    }
    facts->peer = copy(facts, request->peer);
    facts->stream = rq->facts.stream;
    facts->n_choices = rq->facts.n_choices > 1 ? rq->facts.n_choices : 0;
    facts->max_output = of_all_choices(facts, rq->facts.max_output_tokens);
    facts->time_us = dyn_wall_us(clock) - since_us;
}

static void
tell_headers(const struct route_request *rq, struct vote_facts *facts)
{
    const struct env *request = rq->request;
    struct env_header *headers = arena_alloc(&facts->arena, (request->n_headers + 1) * sizeof *headers);
    for (size_t i = 0; i < request->n_headers; i++) {
        headers[i] = (struct env_header){copy(facts, request->headers[i].name),
                                         arena_copy(&facts->arena, request->headers[i].value)};
    }
    facts->headers = headers;
    facts->n_headers = request->n_headers;
}

/* One walk over the body; after its answer has begun there is none, and what was counted before is told. */
static void
tell_counts(struct route_request *rq, struct vote_facts *facts)
{
    struct route_facts *counted = &rq->votes->counted;
    if (!rq->votes->is_counted && rq->request->body != NULL) {
        *counted = (struct route_facts){.surface = rq->request->surface};
        route_facts_read(counted, dyn_block_slice(rq->request->body), &rq->places, ROUTE_NEEDS_BODY,
                         &rq->request->arena);
        counted->user = env_copy(rq->request, counted->user); /* the body may go before the request does */
        rq->votes->is_counted = true;
    }
    facts->user = copy(facts, counted->user);
    facts->prompt_tokens = counted->prompt_tokens;
    facts->n_messages = counted->n_messages;
    facts->input_bytes = counted->input_bytes;
    facts->max_tokens = counted->max_tokens;
    facts->max_completion_tokens = counted->max_completion_tokens;
    facts->has_images = counted->has_images;
    facts->has_tools = counted->has_tools;
}

/* Of one target, in 10^-12 USD. */
static uint64_t
price_at(const struct vote_facts *facts, const struct route_target_view *seen)
{
    uint64_t out = facts->max_output != 0 ? facts->max_output : of_all_choices(facts, seen->output_max);
    uint64_t in_cost;
    uint64_t out_cost;
    uint64_t sum;
    if (seen->price_in == PRICE_UNKNOWN || seen->price_out == PRICE_UNKNOWN) {
        return VOTE_COST_UNKNOWN;
    }
    if (__builtin_mul_overflow(seen->price_in, facts->prompt_tokens, &in_cost) ||
        __builtin_mul_overflow(seen->price_out, out, &out_cost) ||
        __builtin_add_overflow(in_cost, out_cost, &sum)) {
        return VOTE_COST_UNKNOWN - 1;
    }
    return sum;
}

/* The dearest of those that may serve it. */
static void
tell_price(struct route_request *rq, struct vote_facts *facts)
{
    struct router *router = rq->router;
    struct route_candidacy found;
    struct dyn_slice asked = rq->model;
    uint64_t most = 0;
    rq->model = route_plan_model(rq->plan, rq->asked_model);
    route_find_candidates(rq, &found);
    for (ROUTE_SET_EACH(i, &found.set)) {
        struct route_target_view seen = {.price_in = PRICE_UNKNOWN, .price_out = PRICE_UNKNOWN};
        route_memo_price(router->memo, rq->plan, router->members.targets, i, rq->model, &seen);
        uint64_t price = price_at(facts, &seen);
        most = price > most ? price : most; /* an unknown price is the highest */
    }
    rq->model = asked;
    facts->estimate = route_set_is_empty(&found.set) ? VOTE_COST_UNKNOWN : most;
}

static void
tell_end(const struct route_request *rq, const struct env *end, struct vote_facts *facts)
{
    const struct route_target *target = rq->now->target != NULL ? rq->now->target : rq->target;
    bool failed = end->outcome != 0 && end->outcome != ENV_OUTCOME_OK;
    uint64_t now_us = route_clock_us(rq->router);
    if (target != NULL) {
        facts->target = copy(facts, target->name);
        facts->provider = copy(facts, target->provider);
    }
    struct cost cost = route_cost_of_all(rq, end, facts->target, facts->provider);
    facts->answered_by = copy(facts, rq->votes->answered_by);
    facts->content_type = copy(facts, end->content_type);
    facts->status = end->status != 0 ? end->status : rq->now->status;
    facts->error = failed ? end->error : ERR_NONE;
    facts->error_text = copy(facts, failed ? end->error_text : dyn_slice(NULL, 0));
    facts->refused = rq->votes->refused_by.len > 0;
    facts->refused_by = copy(facts, rq->votes->refused_by);
    facts->usage = end->usage;
    facts->cost = cost.known ? cost.total : VOTE_COST_UNKNOWN;
    facts->attempts = rq->attempts;
    facts->upstream_calls = rq->calls;
    facts->total_us = now_us - rq->started_us;
    facts->ttft_us = rq->first_chunk_us != 0 ? rq->first_chunk_us - rq->started_us : end->upstream_us;
    facts->upstream_us = rq->upstream_us;
}

static void
forget_counts(struct vote_facts *facts)
{
    facts->user = dyn_slice(NULL, 0);
    facts->prompt_tokens = facts->n_messages = facts->input_bytes = 0;
    facts->max_tokens = facts->max_completion_tokens = 0;
    facts->has_images = facts->has_tools = false;
}

/* Those of the stage before, which nobody else has any more: who asks has not changed. What is said of an end
 * is not taken back. */
static bool
are_ours(const struct route_request *rq, const struct env *end)
{
    struct route_votes *votes = rq->votes;
    return votes->facts != NULL && votes->facts_plan == rq->plan && (end != NULL || !votes->has_end) &&
           atomic_load_explicit(&votes->facts->refs, memory_order_acquire) == 1;
}

static struct vote_facts *
facts_of_stage(struct route_request *rq, const struct env *end)
{
    struct route_votes *votes = rq->votes;
    if (!are_ours(rq, end)) {
        vote_facts_unref(&votes->facts);
        votes->facts = vote_facts_new();
        votes->facts_plan = rq->plan;
        votes->has_counts = false;
        tell_who(rq, votes->facts);
    }
    votes->has_end = end != NULL;
    votes->facts->headers = NULL;
    votes->facts->n_headers = 0;
    votes->facts->estimate = VOTE_COST_UNKNOWN;
    return votes->facts;
}

struct vote_facts *
route_vote_facts(struct route_request *rq, const struct env *end, uint32_t needs)
{
    struct route_votes *votes = rq->votes;
    struct vote_facts *facts = facts_of_stage(rq, end);
    bool counts = (needs & (VOTE_NEEDS_COUNTS | VOTE_NEEDS_PRICE)) != 0;
    if ((needs & VOTE_NEEDS_HEADERS) != 0) {
        tell_headers(rq, facts);
    }
    if (counts && !votes->has_counts) {
        tell_counts(rq, facts);
    } else if (!counts && votes->has_counts) {
        forget_counts(facts);
    }
    votes->has_counts = counts;
    if ((needs & VOTE_NEEDS_PRICE) != 0 && end == NULL) {
        tell_price(rq, facts);
    }
    if (end != NULL) {
        tell_end(rq, end, facts);
    }
    return facts;
}

/* Of the request, or of the answer `end`. What is in no language of ours cannot be looked at. */
static bool
walk_texts(struct route_request *rq, const struct env *end, dialect_text_fn fn, void *self)
{
    const struct dialect_texts *dialect = rq->dialect != NULL ? rq->dialect->texts : NULL;
    struct dyn_slice body = dyn_block_slice(end != NULL ? end->body : rq->request->body);
    if (dialect == NULL) {
        return true;
    }
    if (end == NULL) {
        return dialect->request(body, &rq->places, fn, self);
    }
    return dialect->answer != NULL && dialect->answer(body, end->is_scanned, fn, self) != 0;
}

static void
tell_text(void *self, const struct dialect_text *found)
{
    struct vote_texts_writer *writer = self;
    struct dyn_buf room = DYN_BUF_INIT;
    struct vote_text text = {.role = found->role,
                             .kind = found->kind,
                             .at = found->at,
                             .choice = found->choice,
                             .text = dialect_text_decode(found->value, &room)};
    vote_texts_add(writer, &text);
    dyn_buf_fini(&room);
}

dyn_block_t *
route_vote_texts(struct route_request *rq, const struct env *end)
{
    struct dyn_buf out = DYN_BUF_INIT;
    struct vote_texts_writer writer;
    vote_texts_begin(&writer, &out);
    writer.uninspectable = walk_texts(rq, end, tell_text, &writer);
    vote_texts_end(&writer);
    dyn_block_t *block = dyn_block_copy(0, dyn_buf_slice(&out));
    dyn_buf_fini(&out);
    return block;
}

struct listing {
    struct vote_text_list *list;
    struct dyn_slice body;
};

static bool
is_within(struct dyn_slice text, struct dyn_slice body)
{
    return (uintptr_t)text.data - (uintptr_t)body.data < body.len;
}

/* Some answers are read from a copy, which does not stay. */
static struct dyn_slice
text_that_stays(const struct listing *listing, struct json_value value)
{
    struct arena *arena = &listing->list->arena;
    struct dyn_slice plain = json_string_plain(value);
    if (plain.data != NULL) {
        return is_within(plain, listing->body) ? plain : arena_copy(arena, plain);
    }
    /* What is decoded is never longer, so the buffer does not grow. */
    struct dyn_buf out = {.data = arena_alloc(arena, value.raw.len), .cap = value.raw.len};
    json_string_decode(value, &out);
    return dyn_buf_slice(&out);
}

static void
list_text(void *self, const struct dialect_text *found)
{
    struct listing *listing = self;
    struct vote_text text = {.role = found->role,
                             .kind = found->kind,
                             .at = found->at,
                             .choice = found->choice,
                             .text = text_that_stays(listing, found->value)};
    vote_text_list_add(listing->list, &text);
}

struct vote_text_list *
route_vote_text_list(struct route_request *rq, const struct env *end)
{
    enum { FIRST_BYTES = 1024 }; /* the texts of most bodies */
    struct arena *arena = &rq->request->arena;
    struct vote_text_list *list = arena_alloc(arena, sizeof *list);
    struct listing listing = {list, dyn_block_slice(end != NULL ? end->body : rq->request->body)};
    vote_text_list_init(list, arena_alloc(arena, FIRST_BYTES), FIRST_BYTES);
    list->uninspectable = walk_texts(rq, end, list_text, &listing);
    return list;
}

void
route_forget_texts(struct route_votes *votes)
{
    dyn_block_unref(&votes->texts);
    if (votes->list != NULL) {
        vote_text_list_fini(votes->list);
        votes->list = NULL;
    }
}
