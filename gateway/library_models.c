/* Targets and models as the library's user sees them (dynabus.h): the edition in force, and the catalogue. */
#include "gateway/gateway.h"
#include "gateway/refresh.h"
#include "models/catalogue.h"

#include <stdio.h>

/* What the edition's routers know of models: the built-in one, or what was fetched since. */
static const catalogue_t *
catalogue_of(const struct gateway_edition *edition)
{
    bool has_own = edition->plan != NULL && edition->plan->catalogue != NULL;
    return has_own ? edition->plan->catalogue : catalogue_builtin();
}

/* ---- targets ---- */

static void
fill_target(const upstreams_t *upstreams, size_t index, struct dynabus_target *out)
{
    const struct provider_target *target = upstreams_target(upstreams, index);
    *out = (struct dynabus_target){
        .n_models = target->n_models,
        .is_registered = upstreams_registered(upstreams, index) != NULL,
    };
    (void)snprintf(out->name, sizeof out->name, "%.*s", (int)target->name.len, target->name.data);
    (void)snprintf(out->provider, sizeof out->provider, "%s", target->row->id);
}

size_t
dynabus_list(dynabus_t *gateway, dynabus_target_fn told, void *user)
{
    struct gateway_edition *now = gateway_edition_now(gateway);
    size_t n = 0;
    bool goes_on = true;
    while (goes_on && n < upstreams_count(now->upstreams)) {
        struct dynabus_target target;
        fill_target(now->upstreams, n++, &target);
        goes_on = told(user, &target) == 0;
    }
    gateway_edition_unref(&now);
    return n;
}

int
dynabus_get(dynabus_t *gateway, const char *name, struct dynabus_target *target)
{
    struct gateway_edition *now = gateway_edition_now(gateway);
    int rc = -1;
    for (size_t i = 0; rc != 0 && i < upstreams_count(now->upstreams); i++) {
        if (dyn_slice_eq(upstreams_target(now->upstreams, i)->name, dyn_slice_str(name))) {
            fill_target(now->upstreams, i, target);
            rc = 0;
        }
    }
    gateway_edition_unref(&now);
    return rc;
}

static bool
serves(const catalogue_t *catalogue, const struct route_target *target, struct dyn_slice model)
{
    bool has_prefix = target->prefix.len > 0 && model.len >= target->prefix.len &&
                      memcmp(model.data, target->prefix.data, target->prefix.len) == 0;
    for (size_t i = 0; i < target->n_models; i++) {
        if (dyn_slice_eq(target->models[i], model)) {
            return true;
        }
    }
    return has_prefix ||
           (!target->models_only && catalogue_provider_owns(catalogue, target->provider, model));
}

static bool
takes_any(const struct route_target *target)
{
    return target->takes_any || (target->n_models == 0 && target->prefix.len == 0);
}

static size_t
find(const struct gateway_edition *edition, struct dyn_slice model, uint32_t surfaces)
{
    const catalogue_t *catalogue = catalogue_of(edition);
    const upstreams_t *upstreams = edition->upstreams;
    size_t any = UPSTREAMS_NONE;
    size_t found = UPSTREAMS_NONE;
    for (size_t i = 0; found == UPSTREAMS_NONE && i < upstreams_count(upstreams); i++) {
        struct route_target target = upstreams_route_target(upstreams, i);
        if (target.surfaces != 0 && (target.surfaces & surfaces) == 0) {
            continue;
        }
        found = serves(catalogue, &target, model) ? i : found;
        any = any == UPSTREAMS_NONE && takes_any(&target) ? i : any;
    }
    return found != UPSTREAMS_NONE ? found : any;
}

static int
find_target(dynabus_t *gateway, const char *model, uint32_t surfaces, struct dynabus_target *target)
{
    struct gateway_edition *now = gateway_edition_now(gateway);
    size_t found = find(now, dyn_slice_str(model), surfaces);
    if (found != UPSTREAMS_NONE) {
        fill_target(now->upstreams, found, target);
    }
    gateway_edition_unref(&now);
    return found != UPSTREAMS_NONE ? 0 : -1;
}

int
dynabus_find_by_model(dynabus_t *gateway, const char *model, struct dynabus_target *target)
{
    return find_target(gateway, model, UINT32_MAX, target);
}

int
dynabus_find_streaming_by_model(dynabus_t *gateway, const char *model, struct dynabus_target *target)
{
    return find_target(gateway, model, 1u << ENV_SURFACE_CHAT, target);
}

/* ---- models ---- */

static double
usd_for_a_million(uint64_t price)
{
    return price != PRICE_UNKNOWN ? (double)price * 1e6 / (double)PRICE_PER_USD : 0;
}

static void
fill_facts(const struct catalogue_model *known, struct dynabus_model *model)
{
    uint64_t in = catalogue_price(known, CATALOGUE_PRICE_INPUT);
    uint64_t out = catalogue_price(known, CATALOGUE_PRICE_OUTPUT);
    model->context_window = known->context_window;
    model->max_output = known->max_output;
    model->is_priced = in != PRICE_UNKNOWN;
    model->input_usd = usd_for_a_million(in);
    model->output_usd = usd_for_a_million(out);
    model->is_deprecated = catalogue_is_deprecated(known, 0);
}

/* Texts of the catalogue are not all terminated. */
struct teller {
    dynabus_model_fn told;
    void *user;
    size_t n;
    bool is_over;
};

static void
tell(struct teller *teller, struct dyn_slice id, struct dyn_slice provider, const char *target,
     const struct catalogue_model *known)
{
    char id_text[512];
    char provider_text[128];
    (void)snprintf(id_text, sizeof id_text, "%.*s", (int)id.len, id.data);
    (void)snprintf(provider_text, sizeof provider_text, "%.*s", (int)provider.len, provider.data);
    struct dynabus_model model = {.id = id_text, .provider = provider_text, .target = target};
    if (known != NULL) {
        fill_facts(known, &model);
    }
    teller->n++;
    teller->is_over = teller->told(teller->user, &model) != 0;
}

static void
tell_models_of(struct teller *teller, const catalogue_t *catalogue, const upstreams_t *upstreams,
               size_t index)
{
    struct route_target target = upstreams_route_target(upstreams, index);
    const struct catalogue_model *first = NULL;
    char name[128];
    (void)snprintf(name, sizeof name, "%.*s", (int)target.name.len, target.name.data);
    for (size_t i = 0; i < target.n_models && !teller->is_over; i++) {
        tell(teller, target.models[i], target.provider, name,
             catalogue_find(catalogue, target.provider, target.models[i]));
    }
    size_t n = target.n_models > 0 ? 0 : catalogue_of_provider(catalogue, target.provider, &first);
    for (size_t i = 0; i < n && !teller->is_over; i++) {
        tell(teller, catalogue_id(&first[i]), target.provider, name, &first[i]);
    }
}

size_t
dynabus_all_models(dynabus_t *gateway, dynabus_model_fn told, void *user)
{
    struct teller teller = {.told = told, .user = user};
    struct gateway_edition *now = gateway_edition_now(gateway);
    const catalogue_t *catalogue = catalogue_of(now);
    for (size_t i = 0; i < upstreams_count(now->upstreams) && !teller.is_over; i++) {
        tell_models_of(&teller, catalogue, now->upstreams, i);
    }
    gateway_edition_unref(&now);
    return teller.n;
}

size_t
dynabus_catalog(dynabus_t *gateway, dynabus_model_fn told, void *user)
{
    struct teller teller = {.told = told, .user = user};
    struct gateway_edition *now = gateway_edition_now(gateway);
    const catalogue_t *catalogue = catalogue_of(now);
    for (size_t i = 0; i < catalogue_count(catalogue) && !teller.is_over; i++) {
        const struct catalogue_model *model = catalogue_at(catalogue, i);
        tell(&teller, catalogue_id(model), catalogue_provider(model), NULL, model);
    }
    gateway_edition_unref(&now);
    return teller.n;
}

int
dynabus_start_discovery(dynabus_t *gateway, uint32_t interval_s)
{
    if (interval_s == 0 || !gateway_has(gateway->roles, GATEWAY_ROLE_PROVIDER)) {
        return -1;
    }
    atomic_store(&gateway->refresh.discover_every_ms, interval_s * UINT64_C(1000));
    gateway_refresh_look(gateway);
    return 0;
}
