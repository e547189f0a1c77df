/* What questions there are. */
#include "actors/ledger/store.h"

static bool
is_one_of(struct dyn_slice op, const char *const *words)
{
    for (size_t i = 0; words[i] != NULL; i++) {
        if (dyn_slice_is(op, words[i])) {
            return true;
        }
    }
    return false;
}

bool
store_is_write(struct dyn_slice op)
{
    static const char *const words[] = {"rows", "put", "purge", "spend_save", "spend_reset", NULL};
    return is_one_of(op, words);
}

bool
store_is_read(struct dyn_slice op)
{
    static const char *const words[] = {"keys", "logs", "stats", "audit", "spend_load", "spend_list", NULL};
    return is_one_of(op, words);
}
