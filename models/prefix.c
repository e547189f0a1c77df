/* Names of providers in price lists. A few dozen rows are looked through: callers keep what they found. */
#include "models/prefix.h"

enum { SOLD = false, OWN = true };

static const struct catalogue_prefix prefixes[] = {
#define PREFIX(id, sold_or_own, names) {id, sold_or_own, names},
#include "models/prefixes.def"
#undef PREFIX
};

static bool
name_fits(const char *known, struct dyn_slice name)
{
    size_t len = strlen(known);
    if (len > 0 && known[len - 1] == '*') {
        return name.len >= len - 1 && memcmp(name.data, known, len - 1) == 0;
    }
    return dyn_slice_is(name, known);
}

/* 0: not its name; 1: its id; then one more for each name. */
static unsigned
trust_of(const struct catalogue_prefix *prefix, struct dyn_slice name)
{
    if (dyn_slice_is(name, prefix->id)) {
        return 1;
    }
    unsigned trust = 2;
    for (const char *known = prefix->names; *known != '\0'; known += strlen(known) + 1, trust++) {
        if (name_fits(known, name)) {
            return trust;
        }
    }
    return 0;
}

const struct catalogue_prefix *
catalogue_prefix_at(size_t index)
{
    return index < DYN_ARRAY_LEN(prefixes) ? &prefixes[index] : NULL;
}

const struct catalogue_prefix *
catalogue_prefix_find(struct dyn_slice name)
{
    for (size_t i = 0; i < DYN_ARRAY_LEN(prefixes); i++) {
        if (trust_of(&prefixes[i], name) > 0) {
            return &prefixes[i];
        }
    }
    return NULL;
}

size_t
catalogue_prefix_rank(struct dyn_slice id)
{
    const struct catalogue_prefix *prefix = catalogue_prefix_find(id);
    return prefix != NULL ? (size_t)(prefix - prefixes) : DYN_ARRAY_LEN(prefixes);
}

unsigned
catalogue_prefix_trust(struct dyn_slice name)
{
    const struct catalogue_prefix *prefix = catalogue_prefix_find(name);
    return prefix != NULL ? trust_of(prefix, name) - 1 : 0;
}

struct dyn_slice
catalogue_prefix_id(struct dyn_slice name)
{
    const struct catalogue_prefix *prefix = catalogue_prefix_find(name);
    return prefix != NULL ? dyn_slice_str(prefix->id) : name;
}
