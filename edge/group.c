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

/* Configured texts are terminated. */
static const char *
text_or_null(struct dyn_slice text)
{
    return text.len > 0 ? text.data : NULL;
}

int
edge_group_secure(struct edge_group *group, const struct edge_tls_config *config, struct dyn_err *err)
{
    struct http_tls_options options = {
        .cert = text_or_null(config->cert),
        .key = text_or_null(config->key),
        .client_ca = text_or_null(config->client_ca),
        .only_1_3 = config->min_version == EDGE_TLS_1_3,
    };
    if (options.cert == NULL) {
        return 0;
    }
    group->tls = http_tls_new(&options, err);
    return group->tls != NULL ? 0 : -1;
}

int
edge_group_reload(struct edge_group *group, struct dyn_err *err)
{
    return group->tls != NULL ? http_tls_reload(group->tls, err) : 0;
}

void
edge_group_url(const struct edge_group *group, char out[LISTEN_URL_SIZE])
{
    listen_url(group->listeners.text, group->tls != NULL ? "https" : "http", out);
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
        http_tls_free(&group->tls);
        edge_cors_fini(&group->cors);
        edge_proxies_fini(&group->proxies);
        free(group->cells);
        free(group);
    }
}
