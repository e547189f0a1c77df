#include "gateway/version.h"
#include "cli/cli.h"

#include <stdio.h>

int
cli_version(int argc, char **argv)
{
    (void)argv;
    if (argc > 1) {
        return cli_wrong_usage("version");
    }
    (void)printf("dynabus %s (commit %s)\nbuilt with %s\n", gateway_version, gateway_commit,
                 gateway_libraries);
    return CLI_OK;
}
