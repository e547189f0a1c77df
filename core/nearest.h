/* "Did you mean": the known word that a mistyped one most likely stood for. */
#pragma once

#include "core/base.h"

/* Cells of edit tables that one search fills: two milliseconds or so. That is a thousand words of the length
 * of a long one, several thousand of ordinary length, and any number of a length that can't be near. What
 * comes behind is not looked at. */
enum { DYN_NEAREST_CELLS_MAX = 1024 * 1024 };

/* A search. Words are borrowed. */
struct dyn_nearest {
    struct dyn_slice word;
    struct dyn_slice found; /* the nearest so far; data NULL: none is near enough */
    size_t edits;           /* of `found`: nothing as far as this is wanted any more */
    size_t cells;           /* computed */
    bool is_over;           /* whatever comes is not looked at */
};

/* Nearest by edits (insert, delete, replace, swap of neighbours); at most a third of the word's length is
 * near enough to be worth naming, and at least one edit is allowed for. Words longer than 64 bytes are never
 * near. */
void dyn_nearest_begin(struct dyn_nearest *nearest, struct dyn_slice word);
/* Another word that is known. False: no other one need be looked at. */
bool dyn_nearest_look(struct dyn_nearest *nearest, struct dyn_slice known);

/* The nearest of `words`, or NULL. */
const char *dyn_nearest(struct dyn_slice word, const char *const *words, size_t n_words);
