/* The section `models` of the configuration file: where the catalogue of models comes from, how often it is
 * looked at again, and prices that are the operator's own. */
#pragma once

#include "core/config.h"

/* A price in USD, and whether it was written: what was not is unknown, which is not zero. */
struct model_price_config {
    struct config_mark mark;
    struct dyn_slice provider;
    struct dyn_slice model;
    double input; /* per million tokens; so are the others but for the image */
    double output;
    double cache_read;
    double cache_write;
    double reasoning;
    double embedding;
    double audio_input;
    double audio_output;
    double image; /* each */
    bool has_input, has_output, has_cache_read, has_cache_write, has_reasoning, has_embedding;
    bool has_audio_input, has_audio_output, has_image;
};

struct models_config {
    struct config_mark mark;
    struct dyn_slice catalog_url; /* absent: the catalogue is the built-in one. Nothing is fetched */
    uint64_t catalog_timeout_ms;  /* 0: nothing is fetched */
    uint64_t catalog_refresh_ms;
    uint64_t discovery_interval_ms; /* 0: providers are not asked for their models */
    bool has_catalog_timeout;       /* it was written: the environment has no say; so is the next */
    bool has_discovery_interval;
    struct config_list prices; /* of struct model_price_config; they prevail over the catalogue */
};

/* What prices may name of a target. */
struct priced_target {
    struct dyn_slice name;
    struct dyn_slice virtual_key;
    struct dyn_slice provider;
};

/* Its values are a struct models_config_file. */
struct models_config_file {
    struct models_config models;
    struct config_list targets; /* of struct priced_target, as they are written */
};
extern const struct config_part models_config_part;
