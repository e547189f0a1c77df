/* max-token: bounds what a request may ask for: tokens of the answer, messages, length of the input. It
 * refuses, or lowers the tokens to the limit (`mode: clamp`). It counts no tokens of a prompt: budgets and
 * rate limits do. */
#include "actors/plugins/plugin.h"

#include <stdlib.h>

enum { MODE_REJECT, MODE_CLAMP };
static const char *const mode_names[] = {"reject", "clamp", NULL};

struct max_token {
    int64_t max_tokens;
    int64_t max_messages;
    int64_t max_input_length;
    int mode;
};

#define LIMIT_MAX 1e12

static const struct config_key keys[] = {
    {.name = "max_tokens",
     .type = CONFIG_INT,
     .offset = offsetof(struct max_token, max_tokens),
     .default_text = "4096",
     .min = 0,
     .max = LIMIT_MAX,
     .help = "The most tokens that a request may ask for (`max_tokens`, `max_completion_tokens`). `0`: any "
             "number. A request that names none is not bounded."},
    {.name = "max_messages",
     .type = CONFIG_INT,
     .offset = offsetof(struct max_token, max_messages),
     .default_text = "100",
     .min = 0,
     .max = LIMIT_MAX,
     .help = "The most messages of a request. `0`: any number."},
    {.name = "max_input_length",
     .type = CONFIG_INT,
     .offset = offsetof(struct max_token, max_input_length),
     .default_text = "0",
     .min = 0,
     .max = LIMIT_MAX,
     .help = "The most bytes of all texts and image addresses of a request together. `0`: any number."},
    {.name = "mode",
     .type = CONFIG_ENUM,
     .offset = offsetof(struct max_token, mode),
     .default_text = "reject",
     .names = mode_names,
     .help = "What happens to a request that asks for too many tokens: it is refused, or its tokens are "
             "lowered to the limit."},
    {.name = NULL},
};
static const struct config_section section = {
    .keys = keys, .size = sizeof(struct max_token), .mark_offset = SIZE_MAX};

static void *
max_token_make(const struct plugin_making *making, struct dyn_err *err)
{
    (void)err;
    struct max_token *self = dyn_alloc(sizeof *self);
    *self = *(const struct max_token *)making->config;
    return self;
}

/* One that never amends is asked together with its neighbours. */
static void
max_token_adapt(const void *config, struct plugin_traits *traits)
{
    const struct max_token *self = config;
    traits->amends = self->mode == MODE_CLAMP;
}

/* 0: any number. */
static bool
is_above(uint64_t value, int64_t limit)
{
    return limit > 0 && value > (uint64_t)limit;
}

static void
refuse(plugin_cell_t *cell, struct plugin_vote *vote, const char *what, uint64_t value, int64_t limit)
{
    vote->verdict = VOTE_DENY;
    vote->reason = dyn_slice_str(plugin_cell_text(cell, "%s %llu exceeds the limit of %lld", what,
                                                  (unsigned long long)value, (long long)limit));
}

static void
add_edit(const struct max_token *self, plugin_cell_t *cell, struct vote_edit *edits, struct plugin_vote *vote,
         struct dyn_slice at)
{
    edits[vote->n_edits++] = (struct vote_edit){
        .op = VOTE_EDIT_REPLACE,
        .at = at,
        .value = dyn_slice_str(plugin_cell_text(cell, "%lld", (long long)self->max_tokens)),
    };
}

/* Both spellings may stand in a body. */
static void
clamp(const struct max_token *self, plugin_cell_t *cell, const struct vote_facts *facts,
      struct plugin_vote *vote)
{
    struct vote_edit *edits = arena_alloc(plugin_cell_arena(cell), 2 * sizeof *edits);
    if (is_above(facts->max_tokens, self->max_tokens)) {
        add_edit(self, cell, edits, vote, DYN_SLICE("/max_tokens"));
    }
    if (is_above(facts->max_completion_tokens, self->max_tokens)) {
        add_edit(self, cell, edits, vote, DYN_SLICE("/max_completion_tokens"));
    }
    vote->verdict = VOTE_AMEND;
    vote->edits = edits;
    vote->notes = DYN_SLICE("clamped");
}

static enum plugin_when
max_token_vote(void *shared, void *own, plugin_cell_t *cell, const struct plugin_ask *ask,
               struct plugin_vote *vote)
{
    const struct max_token *self = shared;
    const struct vote_facts *facts = ask->facts;
    (void)own;
    uint64_t asked =
        facts->max_tokens > facts->max_completion_tokens ? facts->max_tokens : facts->max_completion_tokens;
    bool is_chat = facts->surface == ENV_SURFACE_CHAT; /* other surfaces have no messages */
    if (is_chat && is_above(facts->n_messages, self->max_messages)) {
        refuse(cell, vote, "message count", facts->n_messages, self->max_messages);
    } else if (is_above(facts->input_bytes, self->max_input_length)) {
        refuse(cell, vote, "total input length", facts->input_bytes, self->max_input_length);
    } else if (is_above(asked, self->max_tokens) && self->mode == MODE_CLAMP) {
        clamp(self, cell, facts, vote);
    } else if (is_above(asked, self->max_tokens)) {
        refuse(cell, vote, "max_tokens", asked, self->max_tokens);
    }
    return PLUGIN_VOTED;
}

const struct plugin_ops plugin_max_token = {
    .name = "max-token",
    .type = PLUGIN_GUARDRAIL,
    .summary = "Bounds the tokens, messages and input length that a request may ask for.",
    .traits = {.stages = VOTE_STAGE_BIT(VOTE_BEFORE_REQUEST), .needs = VOTE_NEEDS_COUNTS, .amends = true},
    .denies = VOTE_STAGE_BIT(VOTE_BEFORE_REQUEST),
    .config = &section,
    .adapt = max_token_adapt,
    .make = max_token_make,
    .free = free,
    .vote = max_token_vote,
};
