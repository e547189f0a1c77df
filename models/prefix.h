/* Names of providers in price lists, and ours for them (models/prefixes.def). Pure. */
#pragma once

#include "core/base.h"

struct catalogue_prefix {
    const char *id;    /* ours */
    bool is_own;       /* runs on the user's own machine */
    const char *names; /* each terminated, an empty one behind the last; "x-*" is every name that begins so */
};

/* NULL behind the last. */
const struct catalogue_prefix *catalogue_prefix_at(size_t index);
/* The provider that goes by this id or name; NULL: none that we know. */
const struct catalogue_prefix *catalogue_prefix_find(struct dyn_slice name);
/* Its row: the lower, the sooner it is asked. Those that we do not know come behind all others. */
size_t catalogue_prefix_rank(struct dyn_slice id);
/* How much that name is believed: 0 for the id itself and for names that we do not know, then in order. */
unsigned catalogue_prefix_trust(struct dyn_slice name);
/* Our id for the name, or the name itself. */
struct dyn_slice catalogue_prefix_id(struct dyn_slice name);
