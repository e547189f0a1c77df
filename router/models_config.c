/* Keys of the models. The names of prices are those of the catalogue's own format. */
#include "router/models_config.h"

#include "core/nearest.h"
#include "core/text.h"
#include "models/catalogue.h"
#include "models/prefix.h"

#define TIMEOUT_MAX_MS (24.0 * 3600 * 1000)
#define REFRESH_MIN_MS (60.0 * 1000)
#define REFRESH_MAX_MS (30 * 24.0 * 3600 * 1000)
/* Asking every provider for its list more often would be noticed there. */
#define DISCOVERY_MIN_MS (60u * 1000)
#define PRICE_MAX        1e6 /* USD; more is a slip of the unit, and must fit 64 bits as 10^-12 USD */

#define PRICE(key, field, text)                                                                              \
    {                                                                                                        \
        .name = (key), .type = CONFIG_NUMBER, .offset = offsetof(struct model_price_config, field),          \
        .min = 0, .max = PRICE_MAX, .set_offset = offsetof(struct model_price_config, has_##field),          \
        .help = (text)                                                                                       \
    }

static const struct config_key price_keys[] = {
    {.name = "provider",
     .type = CONFIG_STRING,
     .offset = offsetof(struct model_price_config, provider),
     .required = true,
     .help = "The id of the provider that asks this price, or the name of one target."},
    {.name = "model",
     .type = CONFIG_STRING,
     .offset = offsetof(struct model_price_config, model),
     .required = true,
     .help = "The model, as the provider calls it."},
    PRICE("input_per_m_tokens", input, "USD per million tokens of input."),
    PRICE("output_per_m_tokens", output, "USD per million tokens of output."),
    PRICE("cache_read_per_m_tokens", cache_read, "USD per million tokens read from the provider's cache."),
    PRICE("cache_write_per_m_tokens", cache_write, "USD per million tokens written to it."),
    PRICE("reasoning_per_m_tokens", reasoning, "USD per million tokens of reasoning. Default: as output."),
    PRICE("embedding_per_m_tokens", embedding, "USD per million tokens that are embedded."),
    PRICE("audio_input_per_m_tokens", audio_input, "USD per million tokens of audio that is heard."),
    PRICE("audio_output_per_m_tokens", audio_output, "USD per million tokens of audio that is spoken."),
    PRICE("image_per_tile", image, "USD for one image."),
    {.name = NULL},
};

static const struct config_section price_section = {
    .keys = price_keys,
    .size = sizeof(struct model_price_config),
    .mark_offset = offsetof(struct model_price_config, mark),
};

static const struct config_key models_keys[] = {
    {.name = "catalog_url",
     .type = CONFIG_STRING,
     .offset = offsetof(struct models_config, catalog_url),
     .help = "Where a newer catalogue of models is fetched from. Default: FERRO_MODEL_CATALOG_URL, else "
             "nothing is fetched."},
    {.name = "catalog_timeout",
     .type = CONFIG_DURATION,
     .offset = offsetof(struct models_config, catalog_timeout_ms),
     .default_text = "10s",
     .min = 0,
     .max = TIMEOUT_MAX_MS,
     .set_offset = offsetof(struct models_config, has_catalog_timeout),
     .help = "How long that may take; `0`: only the built-in catalogue is used. FERRO_MODEL_CATALOG_TIMEOUT "
             "where the file says nothing."},
    {.name = "catalog_refresh",
     .type = CONFIG_DURATION,
     .offset = offsetof(struct models_config, catalog_refresh_ms),
     .default_text = "24h",
     .min = REFRESH_MIN_MS,
     .max = REFRESH_MAX_MS,
     .help = "How often it is fetched again."},
    {.name = "discovery_interval",
     .type = CONFIG_DURATION,
     .offset = offsetof(struct models_config, discovery_interval_ms),
     .default_text = "0",
     .min = 0,
     .max = REFRESH_MAX_MS,
     .set_offset = offsetof(struct models_config, has_discovery_interval),
     .help = "How often providers are asked which models they have, at least `1m`; `0`: never. "
             "FERRO_MODEL_DISCOVERY_INTERVAL where the file says nothing."},
    {.name = "prices",
     .type = CONFIG_SECTION_LIST,
     .offset = offsetof(struct models_config, prices),
     .section = &price_section,
     .help = "Prices that prevail over the catalogue's."},
    {.name = NULL},
};

static const struct config_section models_section = {
    .keys = models_keys,
    .size = sizeof(struct models_config),
    .mark_offset = offsetof(struct models_config, mark),
};

/* Whom prices may be of; what a target is stands elsewhere. */
static const struct config_key target_keys[] = {
    {.name = "name",
     .type = CONFIG_STRING,
     .offset = offsetof(struct priced_target, name),
     .every_role = true,
     .is_repeated = true},
    {.name = "virtual_key",
     .type = CONFIG_STRING,
     .offset = offsetof(struct priced_target, virtual_key),
     .every_role = true,
     .is_repeated = true},
    {.name = "provider",
     .type = CONFIG_STRING,
     .offset = offsetof(struct priced_target, provider),
     .every_role = true,
     .is_repeated = true},
    {.name = NULL},
};

static const struct config_section target_section = {
    .keys = target_keys,
    .size = sizeof(struct priced_target),
    .mark_offset = SIZE_MAX,
};

static const struct config_key file_keys[] = {
    {.name = "targets",
     .type = CONFIG_SECTION_LIST,
     .offset = offsetof(struct models_config_file, targets),
     .section = &target_section,
     .is_repeated = true},
    {.name = "models",
     .type = CONFIG_SECTION,
     .offset = offsetof(struct models_config_file, models),
     .section = &models_section,
     .help = "The catalogue of models and their prices."},
    {.name = NULL},
};

static bool
has_scheme(struct dyn_slice url, const char *scheme)
{
    size_t len = strlen(scheme);
    return url.len > len && memcmp(url.data, scheme, len) == 0;
}

static bool
has_price(const struct model_price_config *price)
{
    return price->has_input || price->has_output || price->has_cache_read || price->has_cache_write ||
           price->has_reasoning || price->has_embedding || price->has_audio_input ||
           price->has_audio_output || price->has_image;
}

/* "provider/model" of each, to be told apart. */
static struct dyn_slice *
price_names(const struct config_list *prices, struct arena *arena)
{
    const struct model_price_config *items = prices->items;
    struct dyn_slice *names = arena_alloc(arena, (prices->n + 1) * sizeof *names);
    for (size_t i = 0; i < prices->n; i++) {
        names[i] =
            arena_printf(arena, "%.*s/%.*s", (int)items[i].provider.len,
                         items[i].provider.data != NULL ? items[i].provider.data : "",
                         (int)items[i].model.len, items[i].model.data != NULL ? items[i].model.data : "");
    }
    return names;
}

/* The name that a target goes by. */
static struct dyn_slice
name_of(const struct priced_target *target)
{
    struct dyn_slice name = target->name.len > 0 ? target->name : target->virtual_key;
    return name.len > 0 ? name : target->provider;
}

static bool
is_target(const struct config_list *targets, struct dyn_slice name)
{
    const struct priced_target *items = targets->items;
    for (size_t i = 0; i < targets->n; i++) {
        if (dyn_slice_eq(name_of(&items[i]), name)) {
            return true;
        }
    }
    return false;
}

static bool
is_provider(struct dyn_slice name)
{
    const struct catalogue_model *first;
    return catalogue_prefix_find(name) != NULL ||
           catalogue_of_provider(catalogue_builtin(), name, &first) > 0;
}

/* Of all that a price may be of. */
static const char *
nearest_name(const struct config_list *targets, struct dyn_slice name, struct arena *arena)
{
    const struct priced_target *items = targets->items;
    const catalogue_t *catalogue = catalogue_builtin();
    size_t n_prefixes = 0;
    while (catalogue_prefix_at(n_prefixes) != NULL) {
        n_prefixes++;
    }
    size_t most = targets->n + n_prefixes + catalogue_provider_count(catalogue);
    const char **words = arena_alloc(arena, most * sizeof *words);
    size_t n = 0;
    for (size_t i = 0; i < targets->n; i++) {
        words[n] = name_of(&items[i]).data;
        n += words[n] != NULL;
    }
    for (size_t i = 0; i < n_prefixes; i++) {
        words[n++] = catalogue_prefix_at(i)->id;
    }
    for (size_t i = 0; i < catalogue_provider_count(catalogue); i++) {
        words[n++] = catalogue_provider_at(catalogue, i);
    }
    return dyn_nearest(name, words, n);
}

/* A file without targets takes those of the environment, of workers and of the library, which are not known
 * here. */
static void
check_provider(const struct model_price_config *price, const struct config_list *targets,
               struct config_problems *problems)
{
    struct config_mark mark = config_mark_of(problems, &price->provider);
    if (price->provider.data == NULL || is_target(targets, price->provider) || is_provider(price->provider)) {
        return;
    }
    if (price->provider.len == 0) {
        config_problem_add(problems, mark, false, "'provider' is empty");
        return;
    }
    const char *near = nearest_name(targets, price->provider, problems->arena);
    config_problem_add(problems, mark, targets->n == 0,
                       "there is no provider and no target '%.*s'%s%s%s; nothing would have this price",
                       (int)price->provider.len, price->provider.data, near != NULL ? ", did you mean '" : "",
                       near != NULL ? near : "", near != NULL ? "'?" : "");
}

static void
check_prices(const struct config_list *prices, const struct config_list *targets,
             struct config_problems *problems)
{
    const struct model_price_config *items = prices->items;
    size_t *first = arena_alloc(problems->arena, (prices->n + 1) * sizeof *first);
    dyn_slices_first_equal(price_names(prices, problems->arena), prices->n, first);
    for (size_t i = 0; i < prices->n; i++) {
        const struct model_price_config *price = &items[i];
        if (first[i] != i && price->model.len > 0) {
            config_problem_add(problems, price->mark, false, "this price was written before, at line %u",
                               items[first[i]].mark.line);
        } else if (!has_price(price)) {
            config_problem_add(problems, price->mark, false, "this entry has no price");
        }
        if (price->model.data != NULL && price->model.len == 0) {
            config_problem_add(problems, config_mark_of(problems, &price->model), false, "'model' is empty");
        }
        check_provider(price, targets, problems);
    }
}

static void
check(void *values, struct config_problems *problems)
{
    const struct models_config_file *file = values;
    const struct models_config *models = &file->models;
    if (models->catalog_url.len > 0 && !has_scheme(models->catalog_url, "https://") &&
        !has_scheme(models->catalog_url, "http://")) {
        config_problem_add(problems, config_mark_of(problems, &models->catalog_url), false,
                           "'models.catalog_url' is a URL that begins with https:// or http://");
    }
    check_prices(&models->prices, &file->targets, problems);
    uint64_t interval_ms = models->discovery_interval_ms;
    if (interval_ms > 0 && interval_ms < DISCOVERY_MIN_MS) {
        config_problem_add(problems, config_mark_of(problems, &models->discovery_interval_ms), false,
                           "'models.discovery_interval' is at least 1m, or 0 for never");
    }
}

const struct config_part models_config_part = {
    .folder = "models",
    .section = {.keys = file_keys, .size = sizeof(struct models_config_file), .mark_offset = SIZE_MAX},
    .check = check,
};
