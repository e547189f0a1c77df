/* LiteLLM's price list: one object, a model a member, prices in USD per token by names with suffixes:
 *
 *   {"gemini/gemini-2.5-pro": {"litellm_provider": "gemini", "mode": "chat",
 * "input_cost_per_token": 1.25e-06, "input_cost_per_token_above_200k_tokens": 2.5e-06,
 * "input_cost_per_token_batches": 6.25e-07, ..}, ..}
 *
 * What a member is called is the provider's prefix and the model's id; some have no prefix. */
#include "models/decimal.h"
#include "models/json.h"
#include "models/prefix.h"

enum {
    USD = 12,                       /* digits behind the point of a dollar */
    PIXEL_EXTRA = 6,                /* a pixel costs so little that more digits are needed */
    PIXELS_MAX = 100 * 1000 * 1000, /* of one image */
};

static const struct {
    const char *key;
    enum catalogue_price price;
} price_keys[] = {
    /* A key that begins with another one stands in front of it. */
    {"input_cost_per_token_cache_hit", CATALOGUE_PRICE_CACHE_READ},
    {"input_cost_per_token", CATALOGUE_PRICE_INPUT},
    {"output_cost_per_token", CATALOGUE_PRICE_OUTPUT},
    {"cache_read_input_token_cost", CATALOGUE_PRICE_CACHE_READ},
    {"cache_creation_input_token_cost_above_1hr", CATALOGUE_PRICE_CACHE_WRITE_1H},
    {"cache_creation_input_token_cost", CATALOGUE_PRICE_CACHE_WRITE},
    {"output_cost_per_reasoning_token", CATALOGUE_PRICE_REASONING},
    {"input_cost_per_audio_token", CATALOGUE_PRICE_AUDIO_IN},
    {"output_cost_per_audio_token", CATALOGUE_PRICE_AUDIO_OUT},
    {"cache_read_input_audio_token_cost", CATALOGUE_PRICE_AUDIO_CACHE_READ},
    {"input_cost_per_image_token", CATALOGUE_PRICE_IMAGE_TOKEN_IN},
    {"output_cost_per_image_token", CATALOGUE_PRICE_IMAGE_TOKEN_OUT},
    {"input_cost_per_image", CATALOGUE_PRICE_IMAGE_IN},
    {"output_cost_per_image", CATALOGUE_PRICE_IMAGE_OUT},
    {"input_cost_per_second", CATALOGUE_PRICE_SECOND_IN},
    {"output_cost_per_second", CATALOGUE_PRICE_SECOND_OUT},
    {"input_cost_per_character", CATALOGUE_PRICE_CHARACTER_IN},
    {"output_cost_per_character", CATALOGUE_PRICE_CHARACTER_OUT},
    {"input_cost_per_request", CATALOGUE_PRICE_REQUEST},
    {"input_cost_per_query", CATALOGUE_PRICE_REQUEST},
    {"ocr_cost_per_page", CATALOGUE_PRICE_PAGE},
};

static const struct {
    const char *suffix;
    enum catalogue_service service;
} services[] = {
    {"_batches", CATALOGUE_BATCH},
    {"_flex", CATALOGUE_FLEX},
    {"_priority", CATALOGUE_PRIORITY},
};

static const struct {
    const char *word;
    enum catalogue_mode mode;
} modes[] = {
    {"chat", CATALOGUE_MODE_CHAT},
    {"completion", CATALOGUE_MODE_COMPLETION},
    {"responses", CATALOGUE_MODE_RESPONSES},
    {"embedding", CATALOGUE_MODE_EMBEDDING},
    {"image_generation", CATALOGUE_MODE_IMAGE},
    {"image_edit", CATALOGUE_MODE_IMAGE},
    {"video_generation", CATALOGUE_MODE_VIDEO},
    {"audio_transcription", CATALOGUE_MODE_AUDIO_IN},
    {"audio_speech", CATALOGUE_MODE_AUDIO_OUT},
    {"realtime", CATALOGUE_MODE_REALTIME},
    {"rerank", CATALOGUE_MODE_RERANK},
    {"moderation", CATALOGUE_MODE_MODERATION},
    {"search", CATALOGUE_MODE_SEARCH},
    {"ocr", CATALOGUE_MODE_OCR},
};

static const struct {
    const char *key;
    uint32_t bits;
} flags[] = {
#define CAN(name) (1u << CATALOGUE_CAN_##name)
    {"supports_vision", CAN(VISION)},
    {"supports_image_input", CAN(VISION)},
    {"supports_audio_input", CAN(AUDIO_INPUT)},
    {"supports_audio_output", CAN(AUDIO_OUTPUT)},
    {"supports_function_calling", CAN(FUNCTION_CALLING)},
    {"supports_parallel_function_calling", CAN(PARALLEL_TOOL_CALLS)},
    {"supports_response_schema", CAN(RESPONSE_SCHEMA) | CAN(JSON_MODE)},
    {"supports_prompt_caching", CAN(PROMPT_CACHING)},
    {"supports_reasoning", CAN(REASONING)},
    {"supports_pdf_input", CAN(PDF_INPUT)},
    {"supports_video_input", CAN(VIDEO_INPUT)},
    {"supports_web_search", CAN(WEB_SEARCH)},
    {"supports_computer_use", CAN(COMPUTER_USE)},
    {"supports_tool_choice", CAN(TOOL_CHOICE)},
    {"supports_system_messages", CAN(SYSTEM_MESSAGES)},
#undef CAN
};

/* One member of the list while it is read. */
struct entry {
    struct catalogue_rows *rows;
    struct catalogue_row row;
    struct dyn_slice name;     /* of the member */
    struct dyn_slice provider; /* as the list calls it */
    uint64_t pixel;            /* 10^-18 USD; 0: not said */
    uint32_t max_tokens;
};

static bool
begins(struct dyn_slice text, const char *with)
{
    size_t len = strlen(with);
    return text.len >= len && memcmp(text.data, with, len) == 0;
}

static struct dyn_slice
behind(struct dyn_slice text, size_t n)
{
    return dyn_slice(text.data + n, text.len - n);
}

/* "_above_200k_tokens" off the front of `suffix`. */
static uint32_t
take_threshold(struct dyn_slice *suffix)
{
    static const char above[] = "_above_";
    static const char unit[] = "k_tokens";
    if (!begins(*suffix, above)) {
        return 0;
    }
    struct dyn_slice rest = behind(*suffix, sizeof above - 1);
    uint32_t thousands = 0;
    size_t n = 0;
    for (; n < rest.len && n < 6 && rest.data[n] >= '0' && rest.data[n] <= '9'; n++) {
        thousands = thousands * 10 + (uint32_t)(rest.data[n] - '0');
    }
    rest = behind(rest, n);
    if (!begins(rest, unit)) {
        return 0;
    }
    *suffix = behind(rest, sizeof unit - 1);
    return thousands * 1000;
}

/* Whether all of the key was understood. */
static bool
read_price_key(struct dyn_slice key, enum catalogue_price *price, enum catalogue_service *service,
               uint32_t *above)
{
    for (size_t i = 0; i < DYN_ARRAY_LEN(price_keys); i++) {
        if (!begins(key, price_keys[i].key)) {
            continue;
        }
        struct dyn_slice suffix = behind(key, strlen(price_keys[i].key));
        *price = price_keys[i].price;
        *above = take_threshold(&suffix);
        *service = CATALOGUE_STANDARD;
        for (size_t k = 0; k < DYN_ARRAY_LEN(services); k++) {
            if (dyn_slice_is(suffix, services[k].suffix)) {
                *service = services[k].service;
                return true;
            }
        }
        if (suffix.len == 0) {
            return true;
        }
    }
    return false;
}

/* `tier_above` is the threshold of the tier that the price stands in. */
static void
read_price(struct entry *entry, struct dyn_slice key, struct json_value value, uint32_t tier_above)
{
    enum catalogue_price price;
    enum catalogue_service service;
    uint32_t above;
    uint64_t amount;
    if (value.type == JSON_NUMBER && read_price_key(key, &price, &service, &above) &&
        catalogue_decimal(value.raw, USD, &amount)) {
        above = above != 0 ? above : tier_above;
        (void)catalogue_row_price(&entry->row, price, service, above, amount);
    }
}

/* [{"range": [256000, 1000000], "input_cost_per_token": ..}, ..]: by the tokens of the input. */
static void
read_tiers(struct entry *entry, struct json_value tiers)
{
    struct json_iter each = json_iter(tiers);
    for (struct json_member tier; json_iter_next(&each, &tier);) {
        struct json_value range;
        struct json_member from;
        if (tier.value.type != JSON_OBJECT || !json_find(tier.value, "range", &range)) {
            continue;
        }
        struct json_iter bounds = json_iter(range);
        if (range.type != JSON_ARRAY || !json_iter_next(&bounds, &from)) {
            continue;
        }
        uint32_t above = catalogue_json_count(from.value);
        struct json_iter prices = json_iter(tier.value);
        for (struct json_member price; json_iter_next(&prices, &price);) {
            read_price(entry, price.key, price.value, above);
        }
    }
}

static void
read_search_price(struct entry *entry, struct json_value sizes)
{
    struct json_value medium;
    uint64_t amount;
    if (sizes.type == JSON_OBJECT && json_find(sizes, "search_context_size_medium", &medium) &&
        medium.type == JSON_NUMBER && catalogue_decimal(medium.raw, USD, &amount)) {
        (void)catalogue_row_price(&entry->row, CATALOGUE_PRICE_SEARCH, CATALOGUE_STANDARD, 0, amount);
    }
}

static void
read_flag(struct entry *entry, struct dyn_slice key, struct json_value value)
{
    if (dyn_slice_is(key, "supports_native_streaming") && value.type == JSON_FALSE) {
        entry->row.capabilities |= 1u << CATALOGUE_CAN_NO_STREAMING;
    }
    for (size_t i = 0; i < DYN_ARRAY_LEN(flags) && value.type == JSON_TRUE; i++) {
        if (dyn_slice_is(key, flags[i].key)) {
            entry->row.capabilities |= flags[i].bits;
        }
    }
}

static void
read_mode(struct catalogue_row *row, struct dyn_slice word)
{
    for (size_t i = 0; i < DYN_ARRAY_LEN(modes); i++) {
        if (dyn_slice_is(word, modes[i].word)) {
            row->mode = modes[i].mode;
        }
    }
}

static void
read_fact(struct entry *entry, const struct json_member *member)
{
    struct catalogue_row *row = &entry->row;
    struct json_value value = member->value;
    struct dyn_slice key = member->key;
    if (dyn_slice_is(key, "litellm_provider")) {
        entry->provider = catalogue_json_text(entry->rows, value);
    } else if (dyn_slice_is(key, "mode")) {
        read_mode(row, catalogue_json_text(entry->rows, value));
    } else if (dyn_slice_is(key, "max_input_tokens")) {
        row->context_window = catalogue_json_count(value);
    } else if (dyn_slice_is(key, "max_output_tokens")) {
        row->max_output = catalogue_json_count(value);
    } else if (dyn_slice_is(key, "max_tokens")) {
        entry->max_tokens = catalogue_json_count(value);
    } else if (dyn_slice_is(key, "deprecation_date")) {
        row->deprecated_on = catalogue_day(catalogue_json_text(entry->rows, value));
    } else if (dyn_slice_is(key, "source")) {
        row->source = catalogue_json_text(entry->rows, value);
    } else if (dyn_slice_is(key, "tiered_pricing")) {
        read_tiers(entry, value);
    } else if (dyn_slice_is(key, "search_context_cost_per_query")) {
        read_search_price(entry, value);
    } else if (dyn_slice_is(key, "input_cost_per_pixel")) {
        (void)(value.type == JSON_NUMBER && catalogue_decimal(value.raw, USD + PIXEL_EXTRA, &entry->pixel));
    } else if (begins(key, "supports_")) {
        read_flag(entry, key, value);
    } else {
        read_price(entry, key, value, 0);
    }
}

static uint64_t
list_price(const struct catalogue_row *row, enum catalogue_price price)
{
    for (size_t i = 0; i < row->n_prices; i++) {
        const struct image_price *item = &row->prices[i];
        if (item->price == price && item->above == 0 && item->service == CATALOGUE_STANDARD) {
            return item->amount;
        }
    }
    return PRICE_UNKNOWN;
}

/* Digits off the front of `text`. */
static uint64_t
take_number(struct dyn_slice *text)
{
    uint64_t number = 0;
    while (text->len > 0 && text->data[0] >= '0' && text->data[0] <= '9' && number <= PIXELS_MAX) {
        number = number * 10 + (uint64_t)(text->data[0] - '0');
        *text = behind(*text, 1);
    }
    return number;
}

/* "1024-x-1792" in "hd/1024-x-1792/dall-e-3": how many pixels such an image has; 0: it is not said. */
static uint64_t
pixels_of(struct dyn_slice name)
{
    while (name.len > 0) {
        struct dyn_slice part = name;
        uint64_t width = take_number(&part);
        if (width > 0 && begins(part, "-x-")) {
            part = behind(part, strlen("-x-"));
            uint64_t height = take_number(&part);
            bool is_sound = width <= PIXELS_MAX && height <= PIXELS_MAX && width * height <= PIXELS_MAX;
            return is_sound && (part.len == 0 || part.data[0] == '/') ? width * height : 0;
        }
        const char *slash = memchr(name.data, '/', name.len);
        name = slash != NULL ? behind(name, (size_t)(slash - name.data) + 1) : dyn_slice(NULL, 0);
    }
    return 0;
}

/* The list says what an image costs that is made in four ways. */
static void
settle_image_price(struct entry *entry)
{
    struct catalogue_row *row = &entry->row;
    if (row->mode != CATALOGUE_MODE_IMAGE || list_price(row, CATALOGUE_PRICE_IMAGE_OUT) != PRICE_UNKNOWN) {
        return;
    }
    uint64_t amount = list_price(row, CATALOGUE_PRICE_IMAGE_IN);
    uint64_t pixels = pixels_of(entry->name);
    if (entry->pixel > 0 && pixels > 0 && entry->pixel <= UINT64_MAX / 2 / pixels) {
        amount = (entry->pixel * pixels + 500 * 1000) / (1000 * 1000);
    }
    if (amount != PRICE_UNKNOWN) {
        (void)catalogue_row_price(row, CATALOGUE_PRICE_IMAGE_OUT, CATALOGUE_STANDARD, 0, amount);
    }
}

/* Perplexity counts reasoning beside its output, all others within it. */
static void
settle_reasoning(struct entry *entry)
{
    for (size_t i = 0; i < entry->row.n_prices && dyn_slice_is(entry->provider, "perplexity"); i++) {
        struct image_price *price = &entry->row.prices[i];
        if (price->price == CATALOGUE_PRICE_REASONING) {
            price->price = CATALOGUE_PRICE_REASONING_EXTRA;
        }
    }
}

static bool
contains(struct dyn_slice text, const char *word)
{
    return text.len > 0 && memmem(text.data, text.len, word, strlen(word)) != NULL;
}

/* Sizes of models ("together-ai-4.1b-8b") have rows of their own in the list. */
static bool
is_size_class(const struct entry *entry)
{
    return memchr(entry->name.data, '/', entry->name.len) == NULL &&
           (begins(entry->name, "together-ai-") || begins(entry->name, "fireworks-ai-"));
}

/* Without the provider in front. */
static struct dyn_slice
id_of(const struct entry *entry)
{
    const char *slash = memchr(entry->name.data, '/', entry->name.len);
    if (slash == NULL) {
        return entry->name;
    }
    size_t n = (size_t)(slash - entry->name.data);
    struct dyn_slice first = dyn_slice(entry->name.data, n);
    bool is_provider =
        dyn_slice_eq(first, entry->provider) || dyn_slice_eq(catalogue_prefix_id(first), entry->row.provider);
    return is_provider ? behind(entry->name, n + 1) : entry->name;
}

static int
read_entry(struct entry *entry, struct json_value facts)
{
    struct json_iter each = json_iter(facts);
    for (struct json_member member; json_iter_next(&each, &member);) {
        read_fact(entry, &member);
    }
    struct catalogue_row *row = &entry->row;
    if (entry->provider.len == 0 || entry->name.len == 0 || is_size_class(entry)) {
        return 0;
    }
    row->provider = catalogue_prefix_id(entry->provider);
    row->trust = catalogue_prefix_trust(entry->provider);
    row->id = id_of(entry);
    row->context_window = row->context_window != 0 ? row->context_window : entry->max_tokens;
    row->max_output = row->max_output != 0 ? row->max_output : entry->max_tokens;
    row->source = catalogue_is_url(row->source) ? row->source : entry->rows->source;
    row->updated_on = entry->rows->date;
    if (contains(row->id, "preview") || contains(row->id, "-exp") || contains(row->id, "-beta")) {
        row->status = CATALOGUE_PREVIEW;
    }
    bool streams =
        row->mode == CATALOGUE_MODE_CHAT && !((row->capabilities >> CATALOGUE_CAN_NO_STREAMING) & 1);
    row->capabilities |= streams ? 1u << CATALOGUE_CAN_STREAMING : 0;
    settle_image_price(entry);
    settle_reasoning(entry);
    return catalogue_rows_add(entry->rows, row);
}

int
catalogue_read_litellm(struct catalogue_rows *rows, struct json_value object, struct dyn_err *err)
{
    struct json_iter each = json_iter(object);
    for (struct json_member member; json_iter_next(&each, &member);) {
        struct entry entry = {.rows = rows, .row = catalogue_row(rows)};
        entry.name = catalogue_json_key(rows, &member);
        if (member.value.type == JSON_OBJECT && read_entry(&entry, member.value) != 0) {
            return dyn_err_set(err, DYN_E_LIMIT, "the catalogue has more than %d models", CATALOGUE_ROWS_MAX);
        }
    }
    return 0;
}
