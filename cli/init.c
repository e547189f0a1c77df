/* dynabus init: a configuration to begin with, made of what the environment has. */
#include "cli/cli.h"
#include "cli/text_file.h"
#include "gateway/starter.h"

#include <getopt.h>
#include <stdio.h>

int
cli_init(int argc, char **argv)
{
    enum { FORCE = 1 };
    static const struct option known[] = {{"force", no_argument, NULL, FORCE}, {0}};
    const char *path = NULL;
    bool force = false;
    for (int option; (option = getopt_long(argc, argv, "o:", known, NULL)) != -1;) {
        if (option == 'o') {
            path = optarg;
        } else if (option == FORCE) {
            force = true;
        } else {
            return cli_wrong_usage("init");
        }
    }
    if (optind < argc) {
        return cli_wrong_usage("init");
    }
    struct dyn_buf text = DYN_BUF_INIT;
    size_t n_targets;
    starter_write(NULL, &text, &n_targets);
    int result = cli_write_text("init", path, force, &text);
    dyn_buf_fini(&text);
    if (result != 0) {
        return CLI_FAILED;
    }
    if (n_targets == 0) {
        (void)fputs(
            "dynabus init: no provider's key is in the environment; set OPENAI_API_KEY, or change the "
            "target\n",
            stderr);
    } else if (path != NULL) {
        (void)fprintf(stderr, "dynabus init: %s has %zu target%s; `dynabus serve --config %s` runs it\n",
                      path, n_targets, n_targets == 1 ? "" : "s", path);
    }
    return CLI_OK;
}
