/* A catalogue as it lies in memory: one piece without pointers, so that the built-in one is read-only data of
 * the program, of which only the pages that are asked for are ever loaded. Numbers are in the byte order of
 * the machine; an image is never read from outside. For the files of this folder.
 *
 *   head | models, by provider, id without case, id | by_id | providers | prices | texts */
#pragma once

#include "models/catalogue.h"

#include <stdatomic.h>

struct image_head {
    uint32_t size; /* bytes of the image */
    uint32_t date;
    uint32_t n_models;
    uint32_t models_at; /* these from the image's beginning */
    uint32_t by_id_at;  /* indexes of models, uint32_t, by id without case, rank of the provider, place */
    uint32_t n_providers;
    uint32_t providers_at;
    uint32_t prices_at;
};

struct image_provider {
    uint32_t name_at; /* from the image's beginning */
    uint32_t first;   /* index of its first model */
    uint32_t n;
};

struct image_price {
    uint64_t amount;
    uint32_t above;  /* holds for requests with more input tokens than this */
    uint8_t price;   /* enum catalogue_price */
    uint8_t service; /* enum catalogue_service */
    uint16_t unused; /* 0 */
};

/* Begins the name that a target with prices of its own has instead of a provider's. */
#define CATALOGUE_TARGET_MARK '='

enum {
    IMAGE_PRICES_MAX = 128, /* of one model */
    CATALOGUE_ID_MAX = 255, /* bytes of an id, a provider's name, a source */
};

struct catalogue {
    atomic_uint references;
    const struct image_head *image;
    bool is_builtin; /* nothing is freed */
};

static inline const struct catalogue_model *
image_models(const struct image_head *image)
{
    return (const struct catalogue_model *)(const void *)((const char *)image + image->models_at);
}

static inline const struct image_price *
image_prices(const struct catalogue_model *model)
{
    return (const struct image_price *)(const void *)((const char *)model + model->prices_at);
}

/* Letters A to Z without case, then length: the order of ids. */
int image_compare_fold(struct dyn_slice a, struct dyn_slice b);
int image_compare(struct dyn_slice a, struct dyn_slice b);
/* Takes the image, which was allocated. */
catalogue_t *catalogue_of_image(struct image_head *image);
