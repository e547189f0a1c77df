/* dynabus serve: a gateway from options, configuration and environment, until a signal ends it. */
#include "cli/cli.h"
#include "cli/memory.h"
#include "cli/notify.h"
#include "cli/signals.h"
#include "core/base.h"
#include "core/err.h"
#include "core/log.h"
#include "dynabus.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* The ports after the wanted one that --dev tries: enough for everything one person runs at once. */
enum { DEV_PORT_TRIES = 20 };
/* While a process looks for its router, and nobody is served anyway. */
enum { READY_POLL_MS = 20 };

static const char config_well_known[] = "/etc/dynabus/config.yaml";

static int
parse_cells(const char *text, unsigned *cells)
{
    char *end = NULL;
    unsigned long value = strtoul(text, &end, 10);
    if (*text == '\0' || *end != '\0' || value < 1 || value > DYNABUS_CELLS_MAX) {
        (void)fprintf(stderr, "dynabus serve: --cells takes a number from 1 to %d, not '%s'\n",
                      DYNABUS_CELLS_MAX, text);
        return -1;
    }
    *cells = (unsigned)value;
    return 0;
}

static int
parse_options(int argc, char **argv, struct dynabus_options *options)
{
    enum { DEV = 1, CONFIG, LISTEN, CELLS, IGNORE, REUSE, ROLES, TARGETS, BUS };
    static const struct option known[] = {
        {"dev", no_argument, NULL, DEV},
        {"config", required_argument, NULL, CONFIG},
        {"listen", required_argument, NULL, LISTEN},
        {"cells", required_argument, NULL, CELLS},
        {"ignore-unsupported", no_argument, NULL, IGNORE},
        {"reuse-port", no_argument, NULL, REUSE},
        {"roles", required_argument, NULL, ROLES},
        {"targets", required_argument, NULL, TARGETS},
        {"bus", required_argument, NULL, BUS},
        {0},
    };
    for (int option; (option = getopt_long(argc, argv, "", known, NULL)) != -1;) {
        switch (option) {
        case DEV:
            options->dev = true;
            break;
        case CONFIG:
            options->config_path = optarg;
            break;
        case LISTEN:
            options->listen = optarg;
            break;
        case CELLS:
            if (parse_cells(optarg, &options->cells) != 0) {
                return -1;
            }
            break;
        case IGNORE:
            options->ignore_unsupported = true;
            break;
        case REUSE:
            options->reuse_port = true;
            break;
        case ROLES:
            options->roles = optarg;
            break;
        case TARGETS:
            options->targets = optarg;
            break;
        case BUS:
            options->bus = optarg;
            break;
        default:
            (void)cli_wrong_usage("serve");
            return -1;
        }
    }
    if (optind < argc) {
        (void)fprintf(stderr, "dynabus serve: what is '%s'?\n", argv[optind]);
        (void)cli_wrong_usage("serve");
        return -1;
    }
    return 0;
}

static const char *
non_empty_env(const char *name)
{
    const char *value = getenv(name);
    return value != NULL && *value != '\0' ? value : NULL;
}

/* --config, then the two environment names, then the well-known path. --dev reads one only when told. */
static void
find_config(struct dynabus_options *options)
{
    if (options->config_path != NULL) {
        return;
    }
    options->config_path = non_empty_env("DYNABUS_CONFIG");
    if (options->config_path == NULL) {
        options->config_path = non_empty_env("GATEWAY_CONFIG");
    }
    if (options->config_path == NULL && !options->dev && access(config_well_known, F_OK) == 0) {
        options->config_path = config_well_known;
    }
}

static void
print_start(const dynabus_t *gateway, const struct dynabus_options *options)
{
    (void)printf("dynabus %s\n", dynabus_version());
    if (*dynabus_url(gateway) != '\0') {
        (void)printf("  address      %s\n", dynabus_url(gateway));
    }
    if (options->roles != NULL) {
        (void)printf("  roles        %s\n", dynabus_roles(gateway));
    }
    if (*dynabus_bus(gateway) != '\0') {
        (void)printf("  bus          %s\n", dynabus_bus(gateway));
    }
    if (*dynabus_targets(gateway) != '\0') {
        (void)printf("  targets      %s\n", dynabus_targets(gateway));
    }
    (void)printf("  config       %s\n", options->config_path ? options->config_path : "none");
    (void)printf("  client auth  %s\n", dynabus_client_auth(gateway));
}

static void
print_first_steps(const dynabus_t *gateway)
{
    (void)printf(
        "\nTry it (add \"stream\":true for a stream):\n\n"
        "  curl %s/v1/chat/completions -H 'Content-Type: application/json' \\\n"
        "    -d '{\"model\":\"mock\",\"messages\":[{\"role\":\"user\",\"content\":\"Hello\"}]}'\n\n"
        "Next: set OPENAI_API_KEY (and OPENAI_BASE_URL for another server) and start again, and its\n"
        "models are served too; point an OpenAI SDK at base URL %s/v1; or write a config file\n"
        "(`%s reference config` prints every key). Ctrl-C stops.\n",
        dynabus_url(gateway), dynabus_url(gateway), program_invocation_name);
}

/* 0 when it is ready, else the signal that ends it before. */
static int
wait_ready(const dynabus_t *gateway)
{
    int signal_number = 0;
    while (signal_number == 0 && !dynabus_is_ready(gateway)) {
        signal_number = signals_wait_ms(READY_POLL_MS);
    }
    return signal_number;
}

static void
reload(dynabus_t *gateway)
{
    static char why[4096];
    if (dynabus_reload(gateway, why, sizeof why) != 0) {
        dyn_log(DYN_LOG_ERROR, "gateway.reload", "what cannot be used stays as it was",
                DYN_LOG_STR("reason", why));
    } else {
        dyn_log(DYN_LOG_INFO, "gateway.reload", "the configuration, keys and files of TLS were read again");
    }
}

static int
serve_until_signal(dynabus_t *gateway)
{
    for (;;) {
        int number = signals_wait_or_reload_ms(MEMORY_LOOK_MS);
        if (number == SIGHUP) {
            reload(gateway);
        } else if (number != 0) {
            return number;
        }
        memory_give_back_after_load();
    }
}

int
cli_serve(int argc, char **argv)
{
    struct dynabus_options options = DYNABUS_OPTIONS_INIT;
    options.serve_http = true;
    if (parse_options(argc, argv, &options) != 0) {
        return CLI_USAGE;
    }
    struct dyn_err err;
    if (dyn_log_init_from_env(&err) != 0) {
        (void)fprintf(stderr, "dynabus: %s\n", err.text);
        return CLI_FAILED;
    }
    options.port_tries = options.dev && options.listen == NULL ? DEV_PORT_TRIES : 0;
    find_config(&options);
    cli_raise_descriptor_limit();
    signals_block();
    memory_give_back_start(); /* of the loading: once more when all is set up, but before anybody looks */

    static char why[16384];
    dynabus_t *gateway = dynabus_new(&options, why, sizeof why);
    if (gateway == NULL) {
        (void)fprintf(stderr, "dynabus: %s\n", why);
        return CLI_FAILED;
    }
    memory_give_back_start();
    memory_keep_while_busy();
    print_start(gateway, &options);
    if (options.dev) {
        print_first_steps(gateway);
    }
    cli_flush_start_lines();
    int signal_number = wait_ready(gateway);
    if (signal_number == 0) {
        notify_say("READY=1");
        signal_number = serve_until_signal(gateway);
    }
    notify_say("STOPPING=1");
    dyn_log(DYN_LOG_INFO, "gateway.drain", "shutting down: running requests may finish",
            DYN_LOG_INT("signal", signal_number));
    signals_exit_on_second();
    unsigned cut = dynabus_close(&gateway, DYNABUS_DRAIN_DEFAULT);
    if (cut > 0) {
        dyn_log(DYN_LOG_WARN, "gateway.cut", "the drain time was over before everything had ended",
                DYN_LOG_UINT("parts", cut));
    }
    return CLI_OK;
}
