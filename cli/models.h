/* What the files of `dynabus models` share. */
#pragma once

#include "core/buf.h"
#include "models/catalogue.h"

#include <stdio.h>

struct models_options {
    const char *provider; /* NULL: all */
    const char *mode;
    const char *catalog;  /* a file instead of what is built in */
    const char *word;     /* the argument; NULL: none */
    unsigned at_once;
    bool deprecated; /* those alone */
    bool all;
    bool json;
    bool prices;
};

/* One of the words of modes.def. */
bool models_is_mode(const char *mode);
int models_list(const catalogue_t *catalogue, const struct models_options *options);
int models_show(const catalogue_t *catalogue, const struct models_options *options);
/* Reads options->word. */
int models_import(const struct models_options *options);
int models_check(const catalogue_t *catalogue, const struct models_options *options);

/* The file's bytes, at most CATALOGUE_BYTES_MAX. -1 with a sentence. */
int models_read_file(const char *path, struct dyn_buf *out, struct dyn_err *err);
uint32_t models_today(void); /* 20261122 */
/* "2.5": USD for a million of what the price is for; "-": unknown. */
void models_put_per_million(struct dyn_buf *out, uint64_t price);
