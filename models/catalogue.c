/* Look-ups in a catalogue's image: binary searches, a dozen comparisons each. What a request needs is looked
 * up when its configuration is compiled, so nothing here is on a request's path. */
#include "models/image.h"
#include "models/prefix.h"
#include "models/rows.h"

#include <stdlib.h>

catalogue_t *
catalogue_of_image(struct image_head *image)
{
    catalogue_t *catalogue = dyn_zalloc(sizeof *catalogue);
    atomic_init(&catalogue->references, 1);
    catalogue->image = image;
    return catalogue;
}

catalogue_t *
catalogue_load(struct dyn_slice bytes, struct dyn_err *err)
{
    struct catalogue_rows rows;
    catalogue_rows_init(&rows);
    catalogue_t *catalogue = NULL;
    if (catalogue_read(&rows, bytes, err) == 0) {
        catalogue_rows_settle(&rows);
        catalogue = catalogue_of_image(catalogue_rows_pack(&rows));
    }
    catalogue_rows_fini(&rows);
    return catalogue;
}

catalogue_t *
catalogue_over(const catalogue_t *over, const catalogue_t *base)
{
    struct catalogue_rows rows;
    catalogue_rows_init(&rows);
    rows.may_name_targets = true;
    catalogue_rows_of(&rows, over);
    catalogue_rows_of(&rows, base);
    catalogue_rows_settle(&rows);
    catalogue_t *both = catalogue_of_image(catalogue_rows_pack(&rows));
    catalogue_rows_fini(&rows);
    return both;
}

catalogue_t *
catalogue_ref(const catalogue_t *catalogue)
{
    catalogue_t *counted = (catalogue_t *)(uintptr_t)catalogue; /* only what is in it never changes */
    if (!catalogue->is_builtin) {
        (void)atomic_fetch_add_explicit(&counted->references, 1, memory_order_relaxed);
    }
    return counted;
}

void
catalogue_unref(catalogue_t **catalogue_p)
{
    catalogue_t *catalogue = *catalogue_p;
    *catalogue_p = NULL;
    if (catalogue != NULL && !catalogue->is_builtin &&
        atomic_fetch_sub_explicit(&catalogue->references, 1, memory_order_acq_rel) == 1) {
        free((void *)(uintptr_t)catalogue->image);
        free(catalogue);
    }
}

static const char *
text_at(const void *record, uint32_t at)
{
    return at != 0 ? (const char *)record + at : NULL;
}

struct dyn_slice
catalogue_id(const struct catalogue_model *model)
{
    return dyn_slice(text_at(model, model->id_at), model->id_len);
}

struct dyn_slice
catalogue_provider(const struct catalogue_model *model)
{
    return dyn_slice_str(text_at(model, model->provider_at));
}

struct dyn_slice
catalogue_source(const struct catalogue_model *model)
{
    return dyn_slice_str(text_at(model, model->source_at));
}

struct dyn_slice
catalogue_successor(const struct catalogue_model *model)
{
    return dyn_slice_str(text_at(model, model->successor_at));
}

bool
catalogue_is_deprecated(const struct catalogue_model *model, uint32_t today)
{
    return model->status == CATALOGUE_DEPRECATED || model->status == CATALOGUE_LEGACY ||
           (today != 0 && model->deprecated_on != 0 && model->deprecated_on <= today);
}

size_t
catalogue_count(const catalogue_t *catalogue)
{
    return catalogue->image->n_models;
}

const struct catalogue_model *
catalogue_at(const catalogue_t *catalogue, size_t index)
{
    return index < catalogue->image->n_models ? image_models(catalogue->image) + index : NULL;
}

uint32_t
catalogue_date(const catalogue_t *catalogue)
{
    return catalogue->image->date;
}

static const struct image_provider *
providers(const struct image_head *image)
{
    return (const struct image_provider *)(const void *)((const char *)image + image->providers_at);
}

size_t
catalogue_provider_count(const catalogue_t *catalogue)
{
    return catalogue->image->n_providers;
}

const char *
catalogue_provider_at(const catalogue_t *catalogue, size_t index)
{
    const struct image_head *image = catalogue->image;
    return index < image->n_providers ? text_at(image, providers(image)[index].name_at) : NULL;
}

int
image_compare(struct dyn_slice a, struct dyn_slice b)
{
    size_t shorter = a.len < b.len ? a.len : b.len;
    int order = shorter > 0 && a.data != NULL && b.data != NULL ? memcmp(a.data, b.data, shorter) : 0;
    return order != 0 ? order : (a.len > b.len) - (a.len < b.len);
}

static unsigned char
fold(char c)
{
    return (unsigned char)(c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c);
}

int
image_compare_fold(struct dyn_slice a, struct dyn_slice b)
{
    size_t shorter = a.len < b.len ? a.len : b.len;
    for (size_t i = 0; i < shorter && a.data != NULL && b.data != NULL; i++) {
        int order = fold(a.data[i]) - fold(b.data[i]);
        if (order != 0) {
            return order;
        }
    }
    return (a.len > b.len) - (a.len < b.len);
}

static const struct image_provider *
find_provider(const struct image_head *image, struct dyn_slice name)
{
    struct dyn_slice id = catalogue_prefix_id(name);
    size_t low = 0;
    size_t high = image->n_providers;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct image_provider *provider = providers(image) + middle;
        int order = image_compare(id, dyn_slice_str(text_at(image, provider->name_at)));
        if (order == 0) {
            return provider;
        }
        if (order < 0) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return NULL;
}

size_t
catalogue_of_provider(const catalogue_t *catalogue, struct dyn_slice provider,
                      const struct catalogue_model **first)
{
    const struct image_provider *found = find_provider(catalogue->image, provider);
    if (found == NULL) {
        return 0;
    }
    *first = image_models(catalogue->image) + found->first;
    return found->n;
}

/* The first of n models, in the order of ids without case, that does not come before `id`. */
static size_t
lower_bound(const struct catalogue_model *models, size_t n, struct dyn_slice id)
{
    size_t low = 0;
    size_t high = n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (image_compare_fold(catalogue_id(&models[middle]), id) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

/* The exact one among those that differ in case alone, else the first of them. */
static const struct catalogue_model *
find_in_provider(const struct image_head *image, const struct image_provider *provider, struct dyn_slice id,
                 bool exact)
{
    const struct catalogue_model *models = image_models(image) + provider->first;
    size_t begin = lower_bound(models, provider->n, id);
    const struct catalogue_model *first = NULL;
    for (size_t i = begin; i < provider->n && image_compare_fold(catalogue_id(&models[i]), id) == 0; i++) {
        if (dyn_slice_eq(catalogue_id(&models[i]), id)) {
            return &models[i];
        }
        first = first != NULL ? first : &models[i];
    }
    return exact ? NULL : first;
}

const struct catalogue_model *
catalogue_find_own(const catalogue_t *catalogue, struct dyn_slice provider, struct dyn_slice model)
{
    const struct image_provider *found = find_provider(catalogue->image, provider);
    return found != NULL ? find_in_provider(catalogue->image, found, model, false) : NULL;
}

bool
catalogue_provider_owns(const catalogue_t *catalogue, struct dyn_slice provider, struct dyn_slice model)
{
    const struct image_provider *found = find_provider(catalogue->image, provider);
    return found != NULL && find_in_provider(catalogue->image, found, model, true) != NULL;
}

static const struct catalogue_model *
by_id(const struct image_head *image, size_t place)
{
    const uint32_t *places = (const uint32_t *)(const void *)((const char *)image + image->by_id_at);
    return image_models(image) + places[place];
}

/* Of all providers: the exact id of the first of them that has it, else the first that differs in case. */
static const struct catalogue_model *
find_anywhere(const struct image_head *image, struct dyn_slice id)
{
    size_t low = 0;
    size_t high = image->n_models;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (image_compare_fold(catalogue_id(by_id(image, middle)), id) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    const struct catalogue_model *first = NULL;
    for (size_t i = low; i < image->n_models; i++) {
        const struct catalogue_model *model = by_id(image, i);
        if (image_compare_fold(catalogue_id(model), id) != 0) {
            break;
        }
        if (dyn_slice_eq(catalogue_id(model), id)) {
            return model;
        }
        first = first != NULL ? first : model;
    }
    return first;
}

const struct catalogue_model *
catalogue_find(const catalogue_t *catalogue, struct dyn_slice provider, struct dyn_slice model)
{
    const struct catalogue_model *own = catalogue_find_own(catalogue, provider, model);
    if (own != NULL) {
        return own;
    }
    const struct catalogue_prefix *prefix = catalogue_prefix_find(provider);
    return prefix != NULL && prefix->is_own ? NULL : find_anywhere(catalogue->image, model);
}

const struct catalogue_model *
catalogue_find_for(const catalogue_t *catalogue, struct dyn_slice target, struct dyn_slice provider,
                   struct dyn_slice model)
{
    char name[1 + CATALOGUE_ID_MAX];
    if (target.len > 0 && target.len < sizeof name) {
        name[0] = CATALOGUE_TARGET_MARK;
        memcpy(name + 1, target.data, target.len);
        const struct catalogue_model *own =
            catalogue_find_own(catalogue, dyn_slice(name, target.len + 1), model);
        if (own != NULL) {
            return own;
        }
    }
    return catalogue_find(catalogue, provider, model);
}

/* The nearest that holds: the same service before the standard one, then the highest threshold passed. */
static bool
is_nearer(const struct image_price *price, const struct image_price *than)
{
    if (than == NULL) {
        return true;
    }
    if (price->service != than->service) {
        return price->service != CATALOGUE_STANDARD;
    }
    return price->above >= than->above;
}

void
catalogue_prices(const struct catalogue_model *model, uint64_t input_tokens, enum catalogue_service service,
                 struct catalogue_prices *prices)
{
    const struct image_price *nearest[CATALOGUE_PRICE_COUNT] = {NULL};
    const struct image_price *items = image_prices(model);
    for (size_t i = 0; i < model->n_prices; i++) {
        const struct image_price *price = &items[i];
        bool holds = (price->above == 0 || input_tokens > price->above) &&
                     (price->service == CATALOGUE_STANDARD || price->service == service);
        if (holds && is_nearer(price, nearest[price->price])) {
            nearest[price->price] = price;
        }
    }
    for (size_t i = 0; i < CATALOGUE_PRICE_COUNT; i++) {
        prices->of[i] = nearest[i] != NULL ? nearest[i]->amount : PRICE_UNKNOWN;
    }
}

bool
catalogue_sells(const struct catalogue_model *model, enum catalogue_service service)
{
    const struct image_price *items = image_prices(model);
    bool is_sold = service == CATALOGUE_STANDARD;
    for (size_t i = 0; i < model->n_prices && !is_sold; i++) {
        is_sold = items[i].service == service;
    }
    return is_sold;
}

uint64_t
catalogue_price(const struct catalogue_model *model, enum catalogue_price price)
{
    const struct image_price *items = image_prices(model);
    for (size_t i = 0; i < model->n_prices; i++) {
        if (items[i].price == price && items[i].above == 0 && items[i].service == CATALOGUE_STANDARD) {
            return items[i].amount;
        }
    }
    return PRICE_UNKNOWN;
}
