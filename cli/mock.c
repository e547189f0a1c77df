/* dynabus mock: the scripted upstream on its own. */
#include "mock/mock.h"
#include "cli/cli.h"
#include "cli/signals.h"
#include "core/err.h"
#include "core/log.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

static int
read_number(const char *option, uint64_t max, uint64_t *number)
{
    char *end = NULL;
    errno = 0;
    unsigned long long value = strtoull(optarg, &end, 10);
    if (*optarg < '0' || *optarg > '9' || *end != '\0' || errno != 0 || value > max) {
        (void)fprintf(stderr, "dynabus mock: --%s takes a number from 0 to %llu, not '%s'\n", option,
                      (unsigned long long)max, optarg);
        return -1;
    }
    *number = value;
    return 0;
}

int
cli_mock(int argc, char **argv)
{
    enum { LISTEN = 1, SCRIPT, SEED, JOURNAL };
    static const struct option known[] = {
        {"listen", required_argument, NULL, LISTEN},
        {"script", required_argument, NULL, SCRIPT},
        {"seed", required_argument, NULL, SEED},
        {"journal", required_argument, NULL, JOURNAL},
        {0},
    };
    uint64_t number = 0;
    struct mock_options options = {.listen = "127.0.0.1:9090"};
    for (int option; (option = getopt_long(argc, argv, "", known, NULL)) != -1;) {
        if (option == LISTEN) {
            options.listen = optarg;
        } else if (option == SCRIPT) {
            options.script_path = optarg;
        } else if (option == SEED && read_number("seed", UINT64_MAX, &number) == 0) {
            options.seed = number;
        } else if (option == JOURNAL && read_number("journal", MOCK_JOURNAL_CALLS_MAX, &number) == 0) {
            options.journal = (size_t)number;
        } else {
            return cli_wrong_usage("mock");
        }
    }
    if (optind < argc) {
        (void)fprintf(stderr, "dynabus mock: what is '%s'?\n", argv[optind]);
        return cli_wrong_usage("mock");
    }
    struct dyn_err err;
    if (dyn_log_init_from_env(&err) != 0) {
        (void)fprintf(stderr, "dynabus: %s\n", err.text);
        return CLI_FAILED;
    }
    cli_raise_descriptor_limit();
    signals_block();
    mock_t *mock = mock_start(&options, &err);
    if (mock == NULL) {
        (void)fprintf(stderr, "dynabus mock: %s\n", err.text);
        return CLI_FAILED;
    }
    (void)printf("dynabus mock\n  address  %s\n", mock_url(mock));
    cli_flush_start_lines();
    (void)signals_wait();
    mock_stop(&mock);
    return CLI_OK;
}
