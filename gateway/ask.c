#include "gateway/ask.h"

#include <stdlib.h>

/* ---- life ---- */

struct dynabus_ask *
ask_new(struct registered_config *config, const struct plugin_ask *asked)
{
    struct dynabus_ask *ask = dyn_alloc(sizeof *ask);
    memset(ask, 0, offsetof(struct dynabus_ask, memory)); /* the rest is the arena's */
    ask->ticket = asked->ticket;
    ask->config = registered_config_ref(config);
    ask->facts = vote_facts_ref(asked->facts);
    ask->block = asked->block != NULL ? dyn_block_ref(asked->block) : NULL;
    ask->is_told = asked->is_told;
    ask->has_charged = asked->has_charged;
    ask->holders = 1;
    arena_init(&ask->arena, ask->memory, sizeof ask->memory);
    (void)pthread_mutex_init(&ask->lock, NULL);
    return ask;
}

void
ask_hold(struct dynabus_ask *ask)
{
    (void)pthread_mutex_lock(&ask->lock);
    ask->holders++;
    (void)pthread_mutex_unlock(&ask->lock);
}

void
ask_release(struct dynabus_ask *ask)
{
    (void)pthread_mutex_lock(&ask->lock);
    bool is_last = --ask->holders == 0;
    (void)pthread_mutex_unlock(&ask->lock);
    if (!is_last) {
        return;
    }
    dyn_block_unref(&ask->vote.answer);
    dyn_block_unref(&ask->vote.marks);
    dyn_block_unref(&ask->block);
    vote_facts_unref(&ask->facts);
    registered_config_unref(&ask->config);
    arena_fini(&ask->arena);
    (void)pthread_mutex_destroy(&ask->lock);
    free(ask);
}

void
dynabus_ask_vote(dynabus_ask_t *ask, const struct dynabus_vote *vote)
{
    if (!ask->is_told) {
        ask_take_vote(ask, vote);
    }
    (void)pthread_mutex_lock(&ask->lock);
    ask->has_voted = true;
    ask_post(ask);
    (void)pthread_mutex_unlock(&ask->lock);
    ask_release(ask);
}

/* ---- what it says ---- */

unsigned
dynabus_ask_stage(const dynabus_ask_t *ask)
{
    return VOTE_STAGE_BIT(ask->ticket.stage);
}

bool
dynabus_ask_is_told(const dynabus_ask_t *ask)
{
    return ask->is_told;
}

bool
dynabus_ask_has_charged(const dynabus_ask_t *ask)
{
    return ask->has_charged;
}

const char *
dynabus_ask_config(const dynabus_ask_t *ask)
{
    return ask->config->json;
}

void
dynabus_ask_set_data(dynabus_ask_t *ask, void *data)
{
    ask->data = data;
}

void *
dynabus_ask_data(const dynabus_ask_t *ask)
{
    return ask->data;
}

/* ---- facts ---- */

static const char *
text_of(struct arena *arena, struct dyn_slice text)
{
    return text.len > 0 ? arena_copy(arena, text).data : "";
}

static void
fill_request(struct arena *arena, const struct vote_facts *facts, struct dynabus_facts *out)
{
    out->trace_id = text_of(arena, facts->trace_id);
    out->surface = env_surface_name(facts->surface);
    out->dialect = text_of(arena, facts->dialect);
    out->model = text_of(arena, facts->model);
    out->asked_model = text_of(arena, facts->asked_model);
    out->key_id = text_of(arena, facts->key_id);
    out->group = text_of(arena, facts->group);
    out->peer = text_of(arena, facts->peer);
    out->stream = facts->stream;
    out->max_output = facts->max_output;
    out->end_user = text_of(arena, facts->user);
    out->prompt_tokens = facts->prompt_tokens;
    out->n_messages = facts->n_messages;
    out->input_bytes = facts->input_bytes;
    out->has_images = facts->has_images;
    out->has_tools = facts->has_tools;
}

static double
usd(uint64_t amount)
{
    return amount != VOTE_COST_UNKNOWN ? (double)amount / 1e12 : 0;
}

static void
fill_outcome(struct arena *arena, const struct vote_facts *facts, struct dynabus_facts *out)
{
    out->target = text_of(arena, facts->target);
    out->provider = text_of(arena, facts->provider);
    out->answered_by = text_of(arena, facts->answered_by);
    out->status = facts->status;
    out->error_code = facts->error != ERR_NONE ? err_row(facts->error)->code : "";
    out->error = text_of(arena, facts->error_text);
    out->refused_by = facts->refused ? text_of(arena, facts->refused_by) : "";
    if (facts->usage.known) {
        out->prompt_tokens = facts->usage.prompt_tokens;
        out->completion_tokens = facts->usage.completion_tokens;
    }
    out->attempts = facts->attempts;
    out->total_us = facts->total_us;
    out->ttft_us = facts->ttft_us;
}

const struct dynabus_facts *
dynabus_ask_facts(dynabus_ask_t *ask)
{
    const struct vote_facts *facts = ask->facts;
    uint32_t needs = ask->config->registered->ops.traits.needs;
    bool is_over = ask->ticket.stage == VOTE_AFTER_REQUEST || ask->ticket.stage == VOTE_ON_ERROR;
    if (ask->public_facts == NULL) {
        struct dynabus_facts *out = arena_zalloc(&ask->arena, sizeof *out);
        fill_request(&ask->arena, facts, out);
        fill_outcome(&ask->arena, facts, out);
        out->estimate_known = (needs & VOTE_NEEDS_PRICE) != 0 && facts->estimate != VOTE_COST_UNKNOWN;
        out->estimate_usd = out->estimate_known ? usd(facts->estimate) : 0;
        out->cost_known = is_over && facts->cost != VOTE_COST_UNKNOWN;
        out->cost_usd = out->cost_known ? usd(facts->cost) : 0;
        ask->public_facts = out;
    }
    return ask->public_facts;
}

const char *
dynabus_ask_header(dynabus_ask_t *ask, const char *name)
{
    struct dyn_slice value = vote_facts_header(ask->facts, dyn_slice_str(name));
    return value.data != NULL ? arena_copy(&ask->arena, value).data : NULL;
}

/* ---- bodies ---- */

const char *
dynabus_ask_body(const dynabus_ask_t *ask, size_t *len)
{
    bool has_body = (ask->config->registered->ops.traits.needs & VOTE_NEEDS_BODY) != 0 &&
                    ask->ticket.stage != VOTE_DURING_STREAM;
    struct dyn_slice body = has_body ? dyn_block_slice(ask->block) : dyn_slice(NULL, 0);
    *len = body.len;
    return body.data != NULL ? body.data : "";
}

static struct dynabus_text *
room_for_text(struct dynabus_ask *ask, size_t *room)
{
    if (ask->n_texts == *room) {
        size_t more = *room == 0 ? 8 : 2 * *room;
        struct dynabus_text *texts = arena_zalloc(&ask->arena, more * sizeof *texts);
        memcpy(texts, ask->texts, ask->n_texts * sizeof *texts);
        ask->texts = texts;
        *room = more;
    }
    return &ask->texts[ask->n_texts++];
}

static void
read_texts(struct dynabus_ask *ask)
{
    struct vote_texts texts;
    struct vote_text text;
    struct dyn_err err;
    size_t room = 0;
    ask->texts = arena_zalloc(&ask->arena, sizeof *ask->texts);
    if (vote_texts_open(&texts, dyn_block_slice(ask->block), &err) != 0) {
        ask->is_uninspectable = true; /* the router made it: cannot be */
        return;
    }
    ask->is_uninspectable = texts.uninspectable;
    while (vote_texts_next(&texts, &text)) {
        *room_for_text(ask, &room) = (struct dynabus_text){
            .text = text_of(&ask->arena, text.text),
            .len = text.text.len,
            .kind = vote_text_kind_name(text.kind),
            .role = text_of(&ask->arena, text.role),
            .at = text_of(&ask->arena, text.at),
            .choice = text.choice,
        };
    }
}

static void
read_deltas(struct dynabus_ask *ask)
{
    struct vote_delta *deltas = NULL;
    struct dyn_err err;
    size_t n = 0;
    ask->texts = arena_zalloc(&ask->arena, sizeof *ask->texts);
    if (vote_deltas_decode(dyn_block_slice(ask->block), &ask->arena, &deltas, &n, &ask->is_last, &err) != 0) {
        return;
    }
    ask->texts = arena_zalloc(&ask->arena, (n + 1) * sizeof *ask->texts);
    for (size_t i = 0; i < n; i++) {
        ask->texts[ask->n_texts++] = (struct dynabus_text){
            .text = text_of(&ask->arena, deltas[i].text),
            .len = deltas[i].text.len,
            .kind = vote_text_kind_name(deltas[i].channel.kind),
            .role = "assistant",
            .at = "",
            .choice = deltas[i].channel.choice,
            .tool = deltas[i].channel.tool,
            .from = deltas[i].from,
        };
    }
}

static void
read_body(struct dynabus_ask *ask)
{
    bool has_texts = (ask->config->registered->ops.traits.needs & VOTE_NEEDS_TEXT) != 0;
    if (ask->texts != NULL || ask->block == NULL) {
        return;
    }
    if (ask->ticket.stage == VOTE_DURING_STREAM) {
        read_deltas(ask);
    } else if (has_texts) {
        read_texts(ask);
    }
}

size_t
dynabus_ask_texts(dynabus_ask_t *ask, const struct dynabus_text **texts)
{
    read_body(ask);
    *texts = ask->texts;
    return ask->n_texts;
}

bool
dynabus_ask_is_uninspectable(dynabus_ask_t *ask)
{
    read_body(ask);
    return ask->is_uninspectable;
}

bool
dynabus_ask_is_last(dynabus_ask_t *ask)
{
    read_body(ask);
    return ask->is_last;
}
