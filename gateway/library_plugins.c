/* Plugins of the program's own as the library's user brings them (dynabus.h). */
#include "gateway/gateway.h"
#include "gateway/registered_plugin.h"

int
dynabus_register_plugin(dynabus_t *gateway, const struct dynabus_plugin *plugin, char *why, size_t why_size)
{
    struct dyn_err err;
    struct registered_plugin *registered = registered_plugin_new(plugin, &err);
    if (registered == NULL || gateway_register_plugin(gateway, &registered, &err) != 0) {
        gateway_tell_why(why, why_size, dyn_slice_str(err.text));
        if (registered != NULL) {
            registered->plugin.freed = NULL; /* it stays the caller's */
        }
        registered_plugin_unref(&registered);
        return -1;
    }
    gateway_tell_why(why, why_size, dyn_slice(NULL, 0));
    return 0;
}

/* Names that nobody serves in this process, a line each. */
static int
count_left(const struct gateway_edition *edition, struct dyn_buf *out)
{
    const struct plugin_config *config = config_values(edition->config, &plugin_config_part);
    struct plugin_wanted wanted[PLUGINS_MAX];
    size_t n = plugin_config_wanted(config, NULL, wanted);
    int left = 0;
    for (size_t i = 0; i < n; i++) {
        if (plugin_set_find(edition->plugins, wanted[i].name) == NULL) {
            left++;
            dyn_buf_addf(out, "'%.*s' waits for a process that joins over the bus under that name\n",
                         (int)wanted[i].name.len, wanted[i].name.data);
        }
    }
    return left;
}

int
dynabus_load_plugins(dynabus_t *gateway, char *why, size_t why_size)
{
    struct dyn_err err;
    struct dyn_buf lines = DYN_BUF_INIT;
    if (gateway_make_again(gateway, &err) != 0) {
        gateway_tell_why(why, why_size, dyn_slice_str(err.text));
        return -1;
    }
    struct gateway_edition *now = gateway_edition_now(gateway);
    int left = count_left(now, &lines);
    gateway_edition_unref(&now);
    gateway_tell_why(why, why_size, dyn_buf_slice(&lines));
    dyn_buf_fini(&lines);
    return left;
}
