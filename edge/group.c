/* See group.h. */
#include "edge/group.h"

#include <stdlib.h>

struct edge_group *
edge_group_new(unsigned n_cells)
{
    struct edge_group *group = dyn_zalloc(sizeof *group);
    group->n_cells = n_cells;
    group->cells = dyn_zalloc(n_cells * sizeof *group->cells);
    return group;
}

int
edge_group_listen(struct edge_group *group, struct dyn_slice address, bool share, struct dyn_err *err)
{
    return listen_open(address, group->n_cells, share, &group->listeners, err);
}

const char *
edge_group_address(const struct edge_group *group)
{
    return group->listeners.text;
}

void
edge_group_free(struct edge_group **group_p)
{
    struct edge_group *group = *group_p;
    *group_p = NULL;
    if (group != NULL) {
        listen_close(&group->listeners);
        free(group->cells);
        free(group);
    }
}
