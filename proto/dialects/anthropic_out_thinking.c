/* How hard a Claude model is asked to think. OpenAI clients say it with a word, the Messages API with a
 * budget of tokens that is part of max_tokens, and with rules about what thinking goes together with: no
 * forced tool, no sampling of one's own, and in the middle of a tool loop only when the thoughts before it
 * are sent along with their signatures. */
#include "proto/dialects/anthropic_codec.h"

/* Tokens to think with. "low" is enough to plan an answer, "high" the budget from which the provider sees
 * little gain. */
static const struct {
    const char *word; /* json */
    uint64_t budget;
} efforts[] = {
    {"\"minimal\"", ANTHROPIC_BUDGET_MIN},
    {"\"low\"", 2048},
    {"\"medium\"", 8192},
    {"\"high\"", 16384},
    {"\"xhigh\"", 24576},
};

/* false: no word that is known. */
static bool
budget_of(struct dyn_slice effort, uint64_t *budget)
{
    struct json_value word = {JSON_STRING, effort};
    *budget = 0;
    if (json_string_is(word, "none")) {
        return true;
    }
    for (size_t i = 0; i < DYN_ARRAY_LEN(efforts); i++) {
        if (dyn_slice_is(effort, efforts[i].word)) {
            *budget = efforts[i].budget;
            return true;
        }
    }
    return false;
}

/* Results wait for the model, and its turn before them has no thoughts with it. */
static bool
is_amid_tools(const struct chat_request *request)
{
    const struct chat_message *turn = NULL;
    if (request->last_message == NULL || request->last_message->role != CHAT_TOOL) {
        return false;
    }
    for (const struct chat_message *message = request->messages; message != NULL; message = message->next) {
        turn = message->role == CHAT_ASSISTANT ? message : turn;
    }
    enum chat_part_kind first =
        turn != NULL && turn->parts.first != NULL ? turn->parts.first->kind : CHAT_OTHER;
    return first != CHAT_THINKING && first != CHAT_REDACTED;
}

static bool
is_forced(const struct chat_request *request)
{
    return request->tools != NULL &&
           (request->tool_choice == CHAT_CHOICE_ANY || request->tool_choice == CHAT_CHOICE_ONE);
}

static struct anthropic_thinking
without(const struct chat_request *request)
{
    return (struct anthropic_thinking){
        .max_tokens = request->max_tokens > 0 ? request->max_tokens : (uint64_t)ANTHROPIC_MAX_TOKENS,
    };
}

/* The client's own words, unless the rules make them a refusal: only a budget wants the thoughts before it. A
 * limit that is left to us must be above the budget. */
static struct anthropic_thinking
as_said(struct anthropic_writing *w)
{
    const struct chat_request *request = w->request;
    struct json_value said = {JSON_OBJECT, request->thinking};
    struct anthropic_thinking plan = without(request);
    bool has_budget = chat_find(said, "budget_tokens").raw.data != NULL;
    plan.is_on = chat_is_thinking(request);
    if (plan.is_on && (is_forced(request) || (has_budget && is_amid_tools(request)))) {
        chat_lose(w->losses, "thinking");
        plan.is_on = false;
        return plan;
    }
    plan.raw = request->thinking;
    if (request->max_tokens == 0) {
        plan.max_tokens += chat_count(said, "budget_tokens");
    }
    return plan;
}

struct anthropic_thinking
anthropic_plan_thinking(struct anthropic_writing *w)
{
    const struct chat_request *request = w->request;
    struct anthropic_thinking plan = without(request);
    uint64_t budget = 0;
    if (request->thinking.data != NULL) {
        if (request->effort.data != NULL) {
            chat_lose(w->losses, "reasoning_effort");
        }
        return as_said(w);
    }
    if (request->effort.data == NULL || (budget_of(request->effort, &budget) && budget == 0)) {
        return plan;
    }
    bool has_room = request->max_tokens == 0 || request->max_tokens > ANTHROPIC_BUDGET_MIN;
    if (budget == 0 || !has_room || is_forced(request) || is_amid_tools(request)) {
        chat_lose(w->losses, "reasoning_effort");
        return plan;
    }
    if (request->max_tokens == 0) {
        plan.max_tokens += budget;
    } else if (budget > request->max_tokens / 2) { /* half of the limit is left for the answer */
        budget = request->max_tokens / 2 > ANTHROPIC_BUDGET_MIN ? request->max_tokens / 2
                                                                : (uint64_t)ANTHROPIC_BUDGET_MIN;
    }
    plan.is_on = true;
    plan.budget = budget;
    return plan;
}

struct dyn_slice
anthropic_effort(struct json_value thinking)
{
    uint64_t budget = chat_count(thinking, "budget_tokens");
    struct dyn_slice word = {NULL, 0};
    if (json_string_is(chat_find(thinking, "type"), "disabled")) {
        return DYN_SLICE("\"none\"");
    }
    for (size_t i = 0; i < DYN_ARRAY_LEN(efforts) && budget > 0; i++) {
        if (i == 0 || budget >= efforts[i].budget) {
            word = dyn_slice_str(efforts[i].word);
        }
    }
    return word;
}
