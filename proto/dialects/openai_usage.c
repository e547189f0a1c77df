/* Folding of usage objects. Providers agree on three names and differ in how they spell cached and
 * reasoning tokens; of several spellings the first that is not zero counts. `prompt_tokens` includes
 * what was cached and `completion_tokens` what was reasoning, in all of them. What was written to a cache is
 * part of `prompt_tokens` where it is a detail of them (OpenRouter) or spelled as Anthropic does (LiteLLM),
 * beside them where it stands alone (Ferro); in our record it is beside them. */
#include "proto/dialects/openai_usage.h"

/* Largest count believed: beyond it a double no longer holds every integer. */
#define COUNT_MAX 9007199254740992.0

/* Counts come as integers, and as floats from some proxies ("11.0"). */
static uint64_t
read_count(struct json_value value)
{
    int64_t integer;
    double real;
    if (value.type != JSON_NUMBER) {
        return 0;
    }
    if (json_int64(value, &integer) == 0) {
        return integer > 0 ? (uint64_t)integer : 0;
    }
    if (json_double(value, &real) == 0 && real > 0) {
        return real < COUNT_MAX ? (uint64_t)real : (uint64_t)COUNT_MAX;
    }
    return 0;
}

static uint64_t
read_detail(struct json_value details, const char *key)
{
    struct json_value found;
    return details.type == JSON_OBJECT && json_find(details, key, &found) ? read_count(found) : 0;
}

static void
first_not_zero(uint64_t *count, uint64_t value)
{
    if (*count == 0) {
        *count = value;
    }
}

static uint64_t
service_of(struct json_value word)
{
    static const struct {
        const char *word;
        enum env_service service;
    } words[] = {
        {"", ENV_SERVICE_STANDARD},          {"default", ENV_SERVICE_STANDARD},
        {"standard", ENV_SERVICE_STANDARD},  {"auto", ENV_SERVICE_STANDARD},
        {"on_demand", ENV_SERVICE_STANDARD}, {"batch", ENV_SERVICE_BATCH},
        {"flex", ENV_SERVICE_FLEX},          {"priority", ENV_SERVICE_PRIORITY},
    };
    for (size_t i = 0; i < DYN_ARRAY_LEN(words); i++) {
        if (json_string_is(word, words[i].word)) {
            return words[i].service;
        }
    }
    return ENV_SERVICE_OTHER;
}

void
openai_service_take(struct json_value word, struct env_usage *usage)
{
    if (word.raw.data != NULL && word.type == JSON_STRING) {
        usage->service = service_of(word);
    }
}

/* Where a count goes that stands under a key. */
struct detail {
    struct dyn_slice key;
    uint64_t *count;   /* NULL: it was there, and of two the first counts */
    const char *inner; /* the count is that member of it; NULL: it is the value itself */
};

/* In one pass over them. */
static void
fold_details(struct json_value details, struct detail *rows, size_t n_rows)
{
    struct json_iter members = json_iter(details);
    for (struct json_member member; details.type == JSON_OBJECT && json_iter_next(&members, &member);) {
        for (struct detail *row = rows; row < rows + n_rows; row++) {
            bool is_row = member.key_is_escaped ? json_key_decodes_to(&member, row->key.data)
                                                : dyn_slice_eq(member.key, row->key);
            if (is_row && row->count != NULL) {
                struct json_value value = member.value;
                first_not_zero(row->count, row->inner ? read_detail(value, row->inner) : read_count(value));
                row->count = NULL;
            }
        }
    }
}

static void
fold_prompt_details(struct json_value details, struct env_usage *sum, uint64_t *written)
{
    struct detail rows[] = {
        {DYN_SLICE("cached_tokens"), &sum->cached_tokens, NULL},
        {DYN_SLICE("audio_tokens"), &sum->audio_in_tokens, NULL},
        {DYN_SLICE("image_tokens"), &sum->image_in_tokens, NULL},
        {DYN_SLICE("cache_write_tokens"), written, NULL},
        {DYN_SLICE("cache_creation_token_details"), &sum->cache_write_1h_tokens, "ephemeral_1h_input_tokens"},
    };
    fold_details(details, rows, DYN_ARRAY_LEN(rows));
}

static void
fold_completion_details(struct json_value details, struct env_usage *sum)
{
    struct detail rows[] = {
        {DYN_SLICE("reasoning_tokens"), &sum->reasoning_tokens, NULL},
        {DYN_SLICE("audio_tokens"), &sum->audio_out_tokens, NULL},
        {DYN_SLICE("image_tokens"), &sum->image_out_tokens, NULL},
    };
    fold_details(details, rows, DYN_ARRAY_LEN(rows));
}

/* What stands beside the tokens: how they were sold, and what else was. */
static void
fold_other(const struct json_member *member, struct env_usage *sum)
{
    if (json_key_is(member, "num_search_queries")) { /* Perplexity */
        sum->searches = read_count(member->value);
    } else if (json_key_is(member, "server_tool_use") || json_key_is(member, "server_tool_use_details")) {
        first_not_zero(&sum->searches, read_detail(member->value, "web_search_requests"));
    } else if (json_key_is(member, "service_tier")) {
        openai_service_take(member->value, sum);
    } else if (json_key_is(member, "cache_write_1h_tokens")) {
        first_not_zero(&sum->cache_write_1h_tokens, read_count(member->value));
    } else if (json_key_is(member, "cache_creation")) {
        first_not_zero(&sum->cache_write_1h_tokens, read_detail(member->value, "ephemeral_1h_input_tokens"));
    }
}

/* `written` is what `prompt_tokens` includes. */
static void
fold_member(const struct json_member *member, struct env_usage *sum, uint64_t *written)
{
    struct json_value value = member->value;
    if (json_key_is(member, "prompt_tokens")) {
        sum->prompt_tokens = read_count(value);
    } else if (json_key_is(member, "completion_tokens")) {
        sum->completion_tokens = read_count(value);
    } else if (json_key_is(member, "total_tokens")) {
        sum->total_tokens = read_count(value);
    } else if (json_key_is(member, "prompt_tokens_details")) {
        fold_prompt_details(value, sum, written);
    } else if (json_key_is(member, "completion_tokens_details")) {
        fold_completion_details(value, sum);
    } else if (json_key_is(member, "cache_read_tokens") || json_key_is(member, "prompt_cache_hit_tokens") ||
               json_key_is(member, "cached_tokens")) {
        first_not_zero(&sum->cached_tokens, read_count(value));
    } else if (json_key_is(member, "reasoning_tokens")) {
        first_not_zero(&sum->reasoning_tokens, read_count(value));
    } else if (json_key_is(member, "cache_write_tokens")) {
        first_not_zero(&sum->cache_write_tokens, read_count(value));
    } else if (json_key_is(member, "cache_creation_input_tokens")) {
        first_not_zero(written, read_count(value));
    } else {
        fold_other(member, sum);
    }
}

bool
openai_usage_read(struct json_value object, struct env_usage *usage)
{
    if (object.type != JSON_OBJECT) {
        return false;
    }
    struct env_usage sum = {.known = true};
    uint64_t written = 0;
    struct json_iter members = json_iter(object);
    for (struct json_member member; json_iter_next(&members, &member);) {
        fold_member(&member, &sum, &written);
    }
    if (sum.total_tokens == 0) {
        sum.total_tokens = sum.prompt_tokens + sum.completion_tokens;
    }
    if (sum.total_tokens == 0) {
        return false;
    }
    if (sum.cache_write_tokens == 0 && written <= sum.prompt_tokens) {
        sum.cache_write_tokens = written;
        sum.prompt_tokens -= written;
    }
    *usage = sum;
    return true;
}
