/* The life of facts, and the words of ASK and VOTE. */
#include "proto/vote.h"

#include "core/piece.h"

static const char *const stage_names[VOTE_STAGE_COUNT] = {
    [VOTE_STAGE_NONE] = "none",
    [VOTE_BEFORE_REQUEST] = "before_request",
    [VOTE_DURING_STREAM] = "during_stream",
    [VOTE_AFTER_REQUEST] = "after_request",
    [VOTE_ON_ERROR] = "on_error",
};

static const char *const verdict_names[VOTE_VERDICT_COUNT] = {
    [VOTE_NONE] = "none",   [VOTE_PASS] = "pass",     [VOTE_DENY] = "deny",
    [VOTE_AMEND] = "amend", [VOTE_ANSWER] = "answer", [VOTE_FAILED] = "failed",
};

static const char *const need_names[] = {"counts", "price", "headers", "text", "body"};

static const char *const kind_names[VOTE_TEXT_KIND_COUNT] = {
    [VOTE_TEXT] = "text",
    [VOTE_TEXT_NAME] = "name",
    [VOTE_TEXT_TOOL_ARGUMENTS] = "tool_arguments",
    [VOTE_TEXT_TOOL_RESULT] = "tool_result",
    [VOTE_TEXT_REASONING] = "reasoning",
    [VOTE_TEXT_REFUSAL] = "refusal",
    [VOTE_TEXT_IMAGE_URL] = "image_url",
    [VOTE_TEXT_MEMBER_NAME] = "member_name",
};

/* Number of the word from 1 on, or 0. */
static unsigned
find_word(const char *const *words, unsigned n, struct dyn_slice word)
{
    for (unsigned i = 1; i < n; i++) {
        if (dyn_slice_is(word, words[i])) {
            return i;
        }
    }
    return 0;
}

const char *
vote_stage_name(enum vote_stage stage)
{
    return stage_names[(unsigned)stage < VOTE_STAGE_COUNT ? stage : VOTE_STAGE_NONE];
}

enum vote_stage
vote_stage_by_name(struct dyn_slice name)
{
    return (enum vote_stage)find_word(stage_names, VOTE_STAGE_COUNT, name);
}

const char *
vote_verdict_name(enum vote_verdict verdict)
{
    return verdict_names[(unsigned)verdict < VOTE_VERDICT_COUNT ? verdict : VOTE_NONE];
}

enum vote_verdict
vote_verdict_by_name(struct dyn_slice name)
{
    return (enum vote_verdict)find_word(verdict_names, VOTE_VERDICT_COUNT, name);
}

const char *
vote_need_name(unsigned bit)
{
    return bit < DYN_ARRAY_LEN(need_names) ? need_names[bit] : NULL;
}

uint32_t
vote_need_by_name(struct dyn_slice name)
{
    for (unsigned bit = 0; bit < DYN_ARRAY_LEN(need_names); bit++) {
        if (dyn_slice_is(name, need_names[bit])) {
            return 1u << bit;
        }
    }
    return 0;
}

const char *
vote_text_kind_name(enum vote_text_kind kind)
{
    return kind_names[(unsigned)kind < VOTE_TEXT_KIND_COUNT ? kind : VOTE_TEXT];
}

enum vote_text_kind
vote_text_kind_by_name(struct dyn_slice name)
{
    return (enum vote_text_kind)find_word(kind_names, VOTE_TEXT_KIND_COUNT, name);
}

/* ---- facts ---- */

struct vote_facts *
vote_facts_new(void)
{
    struct vote_facts *facts = dyn_piece_alloc(sizeof *facts);
    memset(facts, 0, offsetof(struct vote_facts, arena));
    atomic_init(&facts->refs, 1);
    arena_init(&facts->arena, facts->inline_memory, sizeof facts->inline_memory);
    facts->estimate = VOTE_COST_UNKNOWN;
    facts->cost = VOTE_COST_UNKNOWN;
    return facts;
}

struct vote_facts *
vote_facts_ref(struct vote_facts *facts)
{
    (void)atomic_fetch_add_explicit(&facts->refs, 1, memory_order_relaxed);
    return facts;
}

void
vote_facts_unref(struct vote_facts **facts_p)
{
    struct vote_facts *facts = *facts_p;
    *facts_p = NULL;
    if (facts != NULL && atomic_fetch_sub_explicit(&facts->refs, 1, memory_order_acq_rel) == 1) {
        arena_fini(&facts->arena);
        dyn_piece_free(facts, sizeof *facts);
    }
}

struct dyn_slice
vote_facts_header(const struct vote_facts *facts, struct dyn_slice name)
{
    for (size_t i = 0; i < facts->n_headers; i++) {
        if (dyn_slice_ieq(facts->headers[i].name, name)) {
            return facts->headers[i].value;
        }
    }
    return dyn_slice(NULL, 0);
}
