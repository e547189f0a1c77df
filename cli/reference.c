/* dynabus reference PAGE: the generated pages of the documentation. */
#include "actors/plugins/plugin_reference.h"
#include "actors/providers/provider_reference.h"
#include "cli/cli.h"
#include "gateway/parts.h"
#include "proto/err.h"
#include "proto/event.h"
#include "proto/metrics.h"

#include <stdio.h>

static void
write_config(struct dyn_buf *out)
{
    config_write_reference(gateway_parts, gateway_n_parts, out);
}

static const struct {
    const char *name;
    void (*write)(struct dyn_buf *out);
} pages[] = {
    {"config", write_config},          {"errors", err_write_reference},
    {"events", event_write_reference}, {"metrics", metrics_write_reference},
    {"plugins", plugin_write_index},   {"providers", provider_write_reference},
};

static int
print_plugin(const char *name)
{
    const struct plugin_ops *ops = plugin_builtin(dyn_slice_str(name));
    struct dyn_buf out = DYN_BUF_INIT;
    if (ops == NULL) {
        return cli_wrong_usage("reference");
    }
    dyn_buf_addf(&out, "%s\n\n", ops->summary);
    plugin_write_page(ops, &out);
    (void)fwrite(out.data, 1, out.len, stdout);
    dyn_buf_fini(&out);
    return CLI_OK;
}

int
cli_reference(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "plugins") == 0) {
        return print_plugin(argv[2]);
    }
    for (size_t i = 0; argc == 2 && i < DYN_ARRAY_LEN(pages); i++) {
        if (strcmp(argv[1], pages[i].name) == 0) {
            struct dyn_buf out = DYN_BUF_INIT;
            pages[i].write(&out);
            (void)fwrite(out.data, 1, out.len, stdout);
            dyn_buf_fini(&out);
            return CLI_OK;
        }
    }
    return cli_wrong_usage("reference");
}
