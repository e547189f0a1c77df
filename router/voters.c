#include "router/voters.h"

#include <stdlib.h>

static void
voter_free(struct route_voter *voter)
{
    free((char *)(uintptr_t)voter->name.data);
    free(voter);
}

void
route_voters_fini(struct route_voters *voters)
{
    for (size_t i = 0; i < voters->n; i++) {
        voter_free(voters->items[i]);
    }
    voters->n = 0;
}

/* The oldest one goes when configurations with ever new names have come and gone. */
static void
make_room(struct route_voters *voters)
{
    if (voters->n == DYN_ARRAY_LEN(voters->items)) {
        voter_free(voters->items[0]);
        voters->n--;
        memmove(voters->items, voters->items + 1, voters->n * sizeof voters->items[0]);
    }
}

struct route_voter *
route_voters_find(struct route_voters *voters, struct dyn_slice name)
{
    for (size_t i = 0; i < voters->n; i++) {
        if (dyn_slice_eq(voters->items[i]->name, name)) {
            return voters->items[i];
        }
    }
    make_room(voters);
    struct route_voter *voter = dyn_zalloc(sizeof *voter);
    voter->name = dyn_slice(dyn_strndup(name.data, name.len), name.len);
    voters->items[voters->n++] = voter;
    return voter;
}
