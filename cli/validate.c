/* dynabus validate FILE: every problem at once, as FILE:LINE:COLUMN. */
#include "cli/cli.h"
#include "gateway/parts.h"

#include <stdio.h>

int
cli_validate(int argc, char **argv)
{
    if (argc != 2) {
        return cli_wrong_usage("validate");
    }
    struct config_options options = {0};
    config_t *config = config_load(argv[1], gateway_parts, gateway_n_parts, &options);
    struct dyn_buf text = DYN_BUF_INIT;
    config_print_problems(config, &text);
    (void)fputs(dyn_buf_cstr(&text), stderr);
    bool ok = config_ok(config);
    struct dyn_err err;
    if (ok && gateway_check_store(config, &err) != 0) {
        (void)fprintf(stderr, "%s: error: %s\n", argv[1], err.text);
        ok = false;
    }
    if (ok) {
        (void)printf("%s: ok\n", argv[1]);
    }
    dyn_buf_fini(&text);
    config_free(&config);
    return ok ? CLI_OK : CLI_FAILED;
}
