/* The model catalogue: what is known of each model of each provider without asking it, in prices, limits,
 * capabilities and lifecycle. A catalogue never changes; a new one takes its place. It may be read from any
 * thread. It is no registry of targets: what a gateway serves is the router's business.
 *
 * Texts that come out of it live as long as the catalogue does, and so do its models. */
#pragma once

#include "core/err.h"

typedef struct catalogue catalogue_t;

enum catalogue_mode {
#define MODE(name, word) CATALOGUE_MODE_##name,
#include "models/modes.def"
#undef MODE
    CATALOGUE_MODE_COUNT
};

enum catalogue_capability {
#define CAPABILITY(name, word) CATALOGUE_CAN_##name,
#include "models/capabilities.def"
#undef CAPABILITY
    CATALOGUE_CAPABILITY_COUNT
};

enum catalogue_status {
    CATALOGUE_GA,
    CATALOGUE_PREVIEW,
    CATALOGUE_LEGACY,
    CATALOGUE_DEPRECATED,
    CATALOGUE_STATUS_COUNT
};

enum catalogue_price {
#define PRICE(name, word, unit) CATALOGUE_PRICE_##name,
#include "models/prices.def"
#undef PRICE
    CATALOGUE_PRICE_COUNT
};

/* How a provider sells it: what a request asks for as its `service_tier`, or sends as a batch. */
enum catalogue_service {
    CATALOGUE_STANDARD,
    CATALOGUE_BATCH,
    CATALOGUE_FLEX,
    CATALOGUE_PRIORITY,
    CATALOGUE_SERVICE_COUNT
};

/* Money is counted in integers of 10^-12 USD. Unknown is not zero. */
#define PRICE_UNKNOWN UINT64_MAX
#define PRICE_PER_USD UINT64_C(1000000000000)

/* One model of one provider. The `_at` of texts and lists are for the functions below alone: bytes from the
 * beginning of the record to what they mean, 0 for nothing. */
struct catalogue_model {
    uint32_t provider_at;
    uint32_t id_at;
    uint32_t source_at;
    uint32_t successor_at;
    uint32_t prices_at;
    uint16_t id_len;
    uint16_t n_prices;
    uint32_t context_window; /* tokens; 0: unknown */
    uint32_t max_output;     /* tokens; 0: unknown */
    uint32_t capabilities;   /* bits 1 << enum catalogue_capability */
    uint32_t deprecated_on;  /* 20260930; 0: unknown */
    uint32_t sunset_on;
    uint32_t updated_on; /* when the facts were last looked at */
    uint8_t mode;        /* enum catalogue_mode */
    uint8_t status;      /* enum catalogue_status, as the source says; see catalogue_is_deprecated() */
    uint16_t provider;   /* index in the catalogue's providers */
};

/* The one that was built in, or `catalogue` again with one more reference. Never NULL. */
catalogue_t *catalogue_builtin(void);
catalogue_t *catalogue_ref(const catalogue_t *catalogue);
void catalogue_unref(catalogue_t **catalogue_p); /* NULL inside is accepted */

enum { CATALOGUE_BYTES_MAX = 8 * 1024 * 1024 }; /* of a file or answer that is read as one */

/* Reads a catalogue from anywhere: our own text (docs/models.md), LiteLLM's price list or Ferro's
 * catalog.json, told apart by what they begin with. What we know to be wrong in lists of others is put right.
 * NULL with a sentence. */
catalogue_t *catalogue_load(struct dyn_slice bytes, struct dyn_err *err);

/* A list over another: a model of `over` is as it stands there, unless it has no price there and has one in
 * `base`; the other models are those of `base`. */
catalogue_t *catalogue_over(const catalogue_t *over, const catalogue_t *base);

/* Models in order of provider and id. */
size_t catalogue_count(const catalogue_t *catalogue);
const struct catalogue_model *catalogue_at(const catalogue_t *catalogue, size_t index);
/* The models of one provider stand together: returns how many there are, and the first. */
size_t catalogue_of_provider(const catalogue_t *catalogue, struct dyn_slice provider,
                             const struct catalogue_model **first);
size_t catalogue_provider_count(const catalogue_t *catalogue);
const char *catalogue_provider_at(const catalogue_t *catalogue, size_t index);
/* When the youngest of its facts was looked at, 20260930; 0: unknown. */
uint32_t catalogue_date(const catalogue_t *catalogue);

/* What a provider's model costs and can do: the provider's own by exact id, then without regard to case; else
 * the model of that id of the provider that comes first in models/prefixes.def, then in the alphabet. A
 * provider may be named by any of its names there. NULL: nobody knows it, or the provider runs on the user's
 * own machine, where others' prices say nothing. */
const struct catalogue_model *catalogue_find(const catalogue_t *catalogue, struct dyn_slice provider,
                                             struct dyn_slice model);
/* The same, the provider's own only. */
const struct catalogue_model *catalogue_find_own(const catalogue_t *catalogue, struct dyn_slice provider,
                                                 struct dyn_slice model);
/* The same for a target of the configuration: prices that were set for it alone come first. */
const struct catalogue_model *catalogue_find_for(const catalogue_t *catalogue, struct dyn_slice target,
                                                 struct dyn_slice provider, struct dyn_slice model);
/* Whether the provider's own models have exactly that id. */
bool catalogue_provider_owns(const catalogue_t *catalogue, struct dyn_slice provider, struct dyn_slice model);
/* The ids nearest to a mistyped one, at most `max`, nearest first, each once, those of deprecated models
 * never. Only of the providers named; none named: of all. Costs up to a millisecond: for refusals. */
size_t catalogue_near(const catalogue_t *catalogue, struct dyn_slice model, const struct dyn_slice *providers,
                      size_t n_providers, struct dyn_slice *near, size_t max);

struct dyn_slice catalogue_id(const struct catalogue_model *model);
struct dyn_slice
catalogue_provider(const struct catalogue_model *model); /* as providers.def names it, where it is there */
struct dyn_slice catalogue_source(const struct catalogue_model *model);    /* URL; absent: not said */
struct dyn_slice catalogue_successor(const struct catalogue_model *model); /* absent: none */
/* By its status, or because its day has come. `today` is 20260930; 0: do not ask the calendar. */
bool catalogue_is_deprecated(const struct catalogue_model *model, uint32_t today);

static inline bool
catalogue_can(const struct catalogue_model *model, enum catalogue_capability capability)
{
    return (model->capabilities >> capability) & 1;
}

/* All prices that hold for a request with that many input tokens, sold that way; PRICE_UNKNOWN where there is
 * none. A price that stands for fewer tokens, or for the standard service, holds where no nearer one is
 * known. */
struct catalogue_prices {
    uint64_t of[CATALOGUE_PRICE_COUNT];
};
void catalogue_prices(const struct catalogue_model *model, uint64_t input_tokens,
                      enum catalogue_service service, struct catalogue_prices *prices);
/* Whether any of its prices is for that service; what has none for it is sold at the standard price then. */
bool catalogue_sells(const struct catalogue_model *model, enum catalogue_service service);
/* The list price of one unit: standard service, smallest request. */
uint64_t catalogue_price(const struct catalogue_model *model, enum catalogue_price price);

const char *catalogue_mode_name(enum catalogue_mode mode);
const char *catalogue_status_name(enum catalogue_status status);
const char *catalogue_price_name(enum catalogue_price price);
const char *catalogue_price_unit(enum catalogue_price price);
const char *catalogue_capability_name(enum catalogue_capability capability);
const char *catalogue_service_name(enum catalogue_service service);
