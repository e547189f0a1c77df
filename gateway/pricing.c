#include "gateway/pricing.h"

#include "models/adjust.h"
#include "router/models_config.h"

#include <stdlib.h>

/* USD per million tokens, and USD, in 10^-12 USD. */
#define PER_MILLION 1e6
#define EACH        1e12

static void
set(struct catalogue_adjustment *adjustment, enum catalogue_price price, bool is_set, double usd,
    double scale)
{
    if (is_set) {
        adjustment->prices[price] = (uint64_t)(usd * scale + 0.5);
    }
}

static const struct route_target *
find_target(const struct route_target *targets, size_t n, struct dyn_slice name)
{
    for (size_t i = 0; i < n; i++) {
        if (dyn_slice_eq(targets[i].name, name)) {
            return &targets[i];
        }
    }
    return NULL;
}

/* A name that both a provider and a target have is the provider's, unless that target is of another one. */
static struct catalogue_adjustment
adjustment_of(const struct model_price_config *price, const struct route_target *targets, size_t n)
{
    struct catalogue_adjustment adjustment = {.provider = price->provider, .model = price->model};
    const struct route_target *target = find_target(targets, n, price->provider);
    if (target != NULL && !dyn_slice_eq(target->provider, price->provider)) {
        adjustment.target = target->name;
        adjustment.provider = target->provider;
    }
    for (size_t i = 0; i < CATALOGUE_PRICE_COUNT; i++) {
        adjustment.prices[i] = PRICE_UNKNOWN;
    }
    set(&adjustment, CATALOGUE_PRICE_INPUT, price->has_embedding, price->embedding, PER_MILLION);
    set(&adjustment, CATALOGUE_PRICE_INPUT, price->has_input, price->input, PER_MILLION);
    set(&adjustment, CATALOGUE_PRICE_OUTPUT, price->has_output, price->output, PER_MILLION);
    set(&adjustment, CATALOGUE_PRICE_CACHE_READ, price->has_cache_read, price->cache_read, PER_MILLION);
    set(&adjustment, CATALOGUE_PRICE_CACHE_WRITE, price->has_cache_write, price->cache_write, PER_MILLION);
    set(&adjustment, CATALOGUE_PRICE_REASONING, price->has_reasoning, price->reasoning, PER_MILLION);
    set(&adjustment, CATALOGUE_PRICE_AUDIO_IN, price->has_audio_input, price->audio_input, PER_MILLION);
    set(&adjustment, CATALOGUE_PRICE_AUDIO_OUT, price->has_audio_output, price->audio_output, PER_MILLION);
    set(&adjustment, CATALOGUE_PRICE_IMAGE_OUT, price->has_image, price->image, EACH);
    return adjustment;
}

catalogue_t *
gateway_price(const catalogue_t *base, const config_t *config, const struct route_target *targets,
              size_t n_targets)
{
    const struct models_config_file *file = config_values(config, &models_config_part);
    const struct config_list *prices = &file->models.prices;
    const struct model_price_config *items = prices->items;
    struct catalogue_adjustment *adjustments = dyn_alloc((prices->n + 1) * sizeof *adjustments);
    for (size_t i = 0; i < prices->n; i++) {
        adjustments[i] = adjustment_of(&items[i], targets, n_targets);
    }
    catalogue_t *catalogue = catalogue_adjust(base, adjustments, prices->n);
    free(adjustments);
    return catalogue;
}
