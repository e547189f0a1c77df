/* What a request cost, in parts, exact in integers of 10^-12 USD. Pure. */
#pragma once

#include "models/catalogue.h"

struct env_usage;

/* What was used. Tokens of the input include those read from a cache, those of audio and of images, not those
 * written to a cache; tokens of the output include reasoning, audio and images. */
struct cost_usage {
    uint64_t input_tokens;
    uint64_t output_tokens;
    uint64_t cached_tokens;
    uint64_t cache_write_tokens;    /* all of them, whatever they are kept for */
    uint64_t cache_write_1h_tokens; /* those of them that are kept for an hour */
    uint64_t reasoning_tokens;
    uint64_t audio_in_tokens;
    uint64_t audio_out_tokens;
    uint64_t image_in_tokens;
    uint64_t image_out_tokens;
    uint64_t images_out;
    uint64_t milliseconds_in;
    uint64_t milliseconds_out;
    uint64_t characters_in;
    uint64_t searches;
    uint64_t pages;
    enum catalogue_service service;
    bool is_sold_otherwise; /* in a way that no price list knows */
};
struct cost_usage cost_usage_of(const struct env_usage *usage);

struct cost {
    bool model_found; /* the catalogue has the model */
    bool known;       /* everything that was used has a price, so that `total` is the price of the request */
    uint64_t total;   /* the sum of the parts */
    uint64_t input;   /* at the full price of input */
    uint64_t output;
    uint64_t cache_read;
    uint64_t cache_write;
    uint64_t reasoning;
    uint64_t image;
    uint64_t audio;
    uint64_t other; /* per request, search, page, character, second of video */
};

/* `model` NULL: not found, nothing known. So it is when it was sold in a way that the model has no price for,
 * and when a model that always searches does not say how often. Counts that no price is found for leave
 * `known` false and add nothing; cached input without a price of its own is billed as input, and so is what
 * was written to a cache. A price beyond 64 bits stays at the largest number. */
struct cost cost_of(const struct catalogue_model *model, const struct cost_usage *usage);

enum { COST_USD_TEXT_MAX = 24 };
/* "0.00342": USD without trailing zeros; exact. Returns its length; not terminated. */
size_t cost_usd_text(uint64_t amount, char out[COST_USD_TEXT_MAX]);

static inline double
cost_usd(uint64_t amount)
{
    return (double)amount / 1e12;
}
