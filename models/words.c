/* The words of the tables. */
#include "models/catalogue.h"

static const char *const modes[] = {
#define MODE(name, word) word,
#include "models/modes.def"
#undef MODE
};

static const char *const capabilities[] = {
#define CAPABILITY(name, word) word,
#include "models/capabilities.def"
#undef CAPABILITY
};

static const struct {
    const char *word;
    const char *unit;
} prices[] = {
#define PRICE(name, word, unit) {word, unit},
#include "models/prices.def"
#undef PRICE
};

static const char *const statuses[] = {"ga", "preview", "legacy", "deprecated"};
static const char *const services[] = {"standard", "batch", "flex", "priority"};

_Static_assert(DYN_ARRAY_LEN(statuses) == CATALOGUE_STATUS_COUNT, "a word for each status");
_Static_assert(DYN_ARRAY_LEN(services) == CATALOGUE_SERVICE_COUNT, "a word for each service");

const char *
catalogue_mode_name(enum catalogue_mode mode)
{
    return modes[(size_t)mode < DYN_ARRAY_LEN(modes) ? mode : CATALOGUE_MODE_UNKNOWN];
}

const char *
catalogue_status_name(enum catalogue_status status)
{
    return (size_t)status < DYN_ARRAY_LEN(statuses) ? statuses[status] : "unknown";
}

const char *
catalogue_price_name(enum catalogue_price price)
{
    return (size_t)price < DYN_ARRAY_LEN(prices) ? prices[price].word : "unknown";
}

const char *
catalogue_price_unit(enum catalogue_price price)
{
    return (size_t)price < DYN_ARRAY_LEN(prices) ? prices[price].unit : "unknown";
}

const char *
catalogue_capability_name(enum catalogue_capability capability)
{
    return (size_t)capability < DYN_ARRAY_LEN(capabilities) ? capabilities[capability] : "unknown";
}

const char *
catalogue_service_name(enum catalogue_service service)
{
    return (size_t)service < DYN_ARRAY_LEN(services) ? services[service] : "unknown";
}
