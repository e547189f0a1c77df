/* "Did you mean": the known word that a mistyped one most likely stood for. */
#pragma once

#include "core/base.h"

/* The nearest of `words` by edits (insert, delete, replace, swap of neighbours), or NULL when none is near
 * enough to be worth naming: at most a third of the word's length, and at least one edit is allowed for.
 * Words longer than 64 bytes are never near. */
const char *dyn_nearest(struct dyn_slice word, const char *const *words, size_t n_words);
