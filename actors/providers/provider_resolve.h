/* What a target's settings come to when configuration, row and environment are put together: the steps,
 * shared by the checks of the configuration and the making of targets. Nothing here is for others. */
#pragma once

#include "actors/providers/provider_config.h"

/* A variable that is set to nothing counts as not set: absent. `lookup` NULL: getenv. */
struct dyn_slice provider_variable(const struct config_lookup *lookup, const char *name);

struct dyn_slice provider_target_name(const struct provider_target_config *target);
struct dyn_slice provider_target_provider(const struct provider_target_config *target);
/* The configured key, else that of the row's variable; absent when there is none. */
struct dyn_slice provider_target_key(struct dyn_slice configured, const struct provider_row *row,
                                     const struct config_lookup *lookup);
/* The configured base URL, else that of the row's variable, else the row's root. */
int provider_target_root(struct dyn_slice configured, const struct provider_row *row,
                         const struct config_lookup *lookup, struct arena *arena, struct dyn_slice *root,
                         struct dyn_err *err);

/* "http://proxy:3128", "socks5h://...", "none". */
bool provider_proxy_is_valid(struct dyn_slice proxy);
/* The proxy for requests to that root, absent: none. `no_proxy` is still to be looked at. */
struct dyn_slice provider_proxy_for(struct dyn_slice root, struct dyn_slice configured,
                                    const struct config_lookup *lookup);
struct dyn_slice provider_no_proxy_for(struct dyn_slice configured, const struct config_lookup *lookup);
