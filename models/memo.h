/* The last few models that were looked up, so that a request needs no search. Of one loop. */
#pragma once

#include "models/catalogue.h"

typedef struct catalogue_memo catalogue_memo_t;

catalogue_memo_t *catalogue_memo_new(void);
void catalogue_memo_free(catalogue_memo_t **memo_p);
/* catalogue_find_for(), remembered. The memo refers to the catalogue until another one is asked. */
const struct catalogue_model *catalogue_memo_find(catalogue_memo_t *memo, const catalogue_t *catalogue,
                                                  struct dyn_slice target, struct dyn_slice provider,
                                                  struct dyn_slice model);
