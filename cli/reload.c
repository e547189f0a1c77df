/* dynabus reload: has all processes that a router knows read their configuration again, and says what became
 * of it (03-CLIENT, Configuration). An administrator on the bus, nothing more. */
#include "bus/client.h"
#include "cli/bus_options.h"
#include "cli/cli.h"
#include "core/clock.h"

#include <stdio.h>
#include <stdlib.h>

enum {
    WAIT_MS = 15000, /* for the last answer */
    TICK_MS = 400,   /* who said READY is heard of so often */
};

struct asking {
    bus_client_t *client;
    struct env_id id;
    unsigned answers;
    unsigned expected; /* the router's own says how many there are; 0: it has not come yet */
    unsigned refused;
};

static int
say(const struct asking *asking, enum env_kind kind, const char *expected, struct dyn_err *err)
{
    struct env *env = env_new(kind);
    if (kind == ENV_READY) {
        env->role = DYN_SLICE("admin");
    } else if (kind == ENV_CONFIG) {
        env->id = asking->id;
        env->config_hash = dyn_slice_str(expected);
    }
    int rc = bus_client_send(asking->client, env, err);
    env_free(&env);
    return rc;
}

static void
print_ack(struct asking *asking, const struct env *ack)
{
    bool is_refused = ack->outcome != ENV_OUTCOME_OK;
    asking->answers++;
    asking->refused += is_refused;
    asking->expected = ack->requests > 0 ? ack->requests : asking->expected;
    (void)printf("%.*s  %-9.*s  version %llu  %.*s\n", (int)ack->node.len, ack->node.data,
                 (int)ack->reason.len, ack->reason.data, (unsigned long long)ack->config_version,
                 (int)ack->config_hash.len, ack->config_hash.data != NULL ? ack->config_hash.data : "");
    if (ack->error_text.len > 0) {
        (void)fprintf(stderr, "%.*s\n", (int)ack->error_text.len, ack->error_text.data);
    }
}

static int
take(struct asking *asking, const struct env *env, struct dyn_err *err)
{
    if (env->kind == ENV_GOODBYE) {
        return dyn_err_set(err, DYN_E_GONE,
                           "the router says goodbye (%.*s): reloading needs a key of the role admin",
                           (int)env->reason.len, env->reason.data);
    }
    if (env->kind == ENV_ACK && memcmp(&env->id, &asking->id, sizeof env->id) == 0) {
        print_ack(asking, env);
    }
    return 0;
}

static int
wait_for_all(struct asking *asking, struct dyn_err *err)
{
    uint64_t until_us = dyn_mono_us(&dyn_clock_system) + (uint64_t)WAIT_MS * 1000;
    while (asking->expected == 0 || asking->answers < asking->expected) {
        struct env *env = NULL;
        int result = bus_client_receive(asking->client, TICK_MS, &env, err);
        if (result == 0) {
            result = take(asking, env, err);
        } else if (result == 1) {
            result = say(asking, ENV_HEARTBEAT, NULL, err);
        }
        env_free(&env);
        if (result != 0) {
            return -1;
        }
        if (dyn_mono_us(&dyn_clock_system) > until_us) {
            return dyn_err_set(err, DYN_E_GONE, "%u of %u processes have answered", asking->answers,
                               asking->expected);
        }
    }
    return asking->refused == 0 ? 0 : dyn_err_set(err, DYN_E_CONFIG, "what was in force there stays");
}

static int
run(const struct bus_options *options, const char *expected, struct dyn_err *err)
{
    struct asking asking = {.id = env_id_random()};
    int result = -1;
    bus_security_t *security = bus_options_security(options, err);
    asking.client = security != NULL ? bus_client_open(options->bus, security, err) : NULL;
    if (asking.client != NULL && say(&asking, ENV_READY, NULL, err) == 0 &&
        say(&asking, ENV_CONFIG, expected, err) == 0) {
        result = wait_for_all(&asking, err);
    }
    bus_client_close(&asking.client);
    bus_security_free(&security);
    return result;
}

int
cli_reload(int argc, char **argv)
{
    enum { EXPECT = BUS_OPTION_END };
    static const struct option known[] = {BUS_OPTION_ROWS, {"expect", required_argument, NULL, EXPECT}, {0}};
    struct bus_options options = bus_options_default();
    const char *expected = NULL;
    struct dyn_err err = {.code = DYN_OK};
    for (int option; (option = getopt_long(argc, argv, "", known, NULL)) != -1;) {
        if (option == EXPECT) {
            expected = optarg;
        } else if (!bus_options_take(&options, option, optarg)) {
            return cli_wrong_usage("reload");
        }
    }
    if (optind != argc || !bus_options_are_whole(&options)) {
        return cli_wrong_usage("reload");
    }
    if (run(&options, expected, &err) != 0) {
        (void)fflush(stdout);
        (void)fprintf(stderr, "dynabus reload: %s\n", err.text);
        return CLI_FAILED;
    }
    return CLI_OK;
}
