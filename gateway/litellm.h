/* A configuration of the LiteLLM proxy read for what it means (litellm_read.c), and written as one of ours
 * (litellm_write.c). What has no counterpart is kept as a note with its line; nothing is dropped in silence,
 * and no key, header that may be one, or URL with a password is copied. Run by `dynabus import litellm`. */
#pragma once

#include "core/buf.h"
#include "core/config_tree.h"

struct provider_row;

struct litellm_note {
    unsigned line; /* 0: none */
    const char *text;
};

/* A header that is added, a fallback (from one group to another), an alias. */
struct litellm_pair {
    unsigned line;
    struct dyn_slice name;
    struct dyn_slice value;
};
struct litellm_pairs {
    struct litellm_pair *items;
    size_t n, cap;
};

/* One entry of model_list. */
struct litellm_deployment {
    unsigned line;
    struct dyn_slice group; /* model_name: what clients ask for */
    struct dyn_slice model; /* what the provider calls it */
    const struct provider_row *row;
    struct dyn_slice provider; /* the id of the row; of one that is to come the row is NULL */
    struct dyn_slice api_key;  /* a reference of ours, absent: the provider's own variable */
    struct dyn_slice base_url;
    struct litellm_pairs headers;
    bool takes_any; /* a wildcard */
    bool has_weight;
    double weight;
    uint64_t timeout_ms;      /* 0: not given */
    uint64_t retries;         /* with has_retries */
    uint64_t max_concurrency; /* 0: not given */
    bool has_retries;
    bool has_input_price, has_output_price;
    double input_price, output_price; /* USD per million tokens */
    const char *name;                 /* of the target */
};

struct litellm {
    struct arena arena;
    struct litellm_deployment *deployments;
    size_t n, cap;
    struct litellm_pairs fallbacks;
    struct litellm_pairs aliases;
    struct litellm_note *notes; /* in the order in which they were met */
    size_t n_notes, cap_notes;
    struct litellm_pairs literals; /* keys that are written out, by the variable that replaces them */
    struct dyn_slice routing;      /* routing_strategy, absent: simple-shuffle */
    bool has_retries, has_allowed_fails, drops_params;
    uint64_t retries;
    uint64_t allowed_fails;
    uint64_t cooldown_ms; /* 0: not given */
    uint64_t timeout_ms;  /* 0: not given */
};

void litellm_init(struct litellm *import);
void litellm_fini(struct litellm *import);
/* -1 with a sentence when the text is no YAML, or has no model_list. */
int litellm_read(struct litellm *import, struct dyn_slice text, struct dyn_err *err);
/* Chooses names and the mode, which may add notes, and writes the configuration with its notes behind it.
 * `file` is named in the first comment. */
void litellm_write(struct litellm *import, const char *file, struct dyn_buf *out);

void litellm_note(struct litellm *import, unsigned line, const char *fmt, ...) DYN_PRINTF(3, 4);
void litellm_pair_add(struct litellm *import, struct litellm_pairs *pairs, struct litellm_pair pair);
