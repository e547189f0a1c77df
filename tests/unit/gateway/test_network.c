/* Where the bus of a process is, by roles, options and configuration. */
#include "gateway/network.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define HAS(role) (1u << GATEWAY_ROLE_##role)

static int
plan(struct gateway_network *network, gateway_roles_t roles, const char *bus, bool dev,
     const struct gateway_bus_config *config, struct dyn_err *err)
{
    struct dynabus_options options = DYNABUS_OPTIONS_INIT;
    options.bus = bus;
    options.dev = dev;
    *network = (struct gateway_network){.listens = false};
    return gateway_network_plan(network, &options, config, roles, 7, err);
}

static const struct gateway_bus_config no_config;

static void
a_whole_gateway_keeps_its_bus_to_itself(void **state)
{
    (void)state;
    struct gateway_network network;
    assert_int_equal(plan(&network, GATEWAY_ROLES_ALL, NULL, false, &no_config, NULL), 0);
    assert_false(network.listens);
    assert_int_equal(network.n_routers, 0);
    assert_null(network.security);
    gateway_network_fini(&network);
}

static void
a_router_alone_must_say_where(void **state)
{
    (void)state;
    struct gateway_network network;
    struct dyn_err err;
    assert_int_equal(plan(&network, HAS(ROUTER), NULL, false, &no_config, &err), -1);
    assert_non_null(strstr(err.text, "bus.listen"));
    assert_non_null(strstr(err.text, "--bus"));
    gateway_network_fini(&network);

    assert_int_equal(plan(&network, HAS(ROUTER), "tcp://127.0.0.1:7700", false, &no_config, &err), 0);
    assert_true(network.listens);
    assert_int_equal(network.base.port, 7700);
    assert_false(gateway_network_is_public(&network));
    char hash[BUS_CONFIG_HASH_SIZE];
    bus_process_config(&network.process, hash);
    assert_string_equal(hash, "0000000000000007");
    assert_int_equal(strlen(network.process.node), 32);
    gateway_network_fini(&network);
}

static void
who_joins_must_say_whom(void **state)
{
    (void)state;
    struct gateway_network network;
    struct dyn_err err;
    struct dyn_slice routers[] = {DYN_SLICE_INIT("tcp://router-a"), DYN_SLICE_INIT("ipc:///run/bus")};
    struct gateway_bus_config config = {.routers = {routers, DYN_ARRAY_LEN(routers)}};
    assert_int_equal(plan(&network, HAS(EDGE) | HAS(PROVIDER), NULL, false, &no_config, &err), -1);
    assert_non_null(strstr(err.text, "edge, provider"));
    assert_non_null(strstr(err.text, "bus.routers"));
    gateway_network_fini(&network);

    assert_int_equal(plan(&network, HAS(PROVIDER), NULL, false, &config, &err), 0);
    assert_false(network.listens);
    assert_int_equal(network.n_routers, 2);
    assert_string_equal(network.routers[0], "tcp://router-a:7400");
    assert_string_equal(network.routers[1], "ipc:///run/bus");
    gateway_network_fini(&network);

    assert_int_equal(plan(&network, HAS(EDGE), "tcp://127.0.0.1:1", false, &config, &err), 0);
    assert_int_equal(network.n_routers, 1); /* the option goes before the file */
    assert_string_equal(network.routers[0], "tcp://127.0.0.1:1");
    gateway_network_fini(&network);
}

static void
several_dev_gateways_live_side_by_side(void **state)
{
    (void)state;
    struct gateway_network networks[3];
    for (size_t i = 0; i < DYN_ARRAY_LEN(networks); i++) {
        assert_int_equal(plan(&networks[i], GATEWAY_ROLES_ALL, NULL, true, &no_config, NULL), 0);
        assert_true(networks[i].listens);
        assert_false(gateway_network_is_public(&networks[i]));
        for (size_t k = 0; k < i; k++) {
            assert_true(networks[i].base.port >= networks[k].base.port + 3 ||
                        networks[i].base.port + 3 <= networks[k].base.port);
        }
    }
    for (size_t i = 0; i < DYN_ARRAY_LEN(networks); i++) {
        gateway_network_fini(&networks[i]);
    }
}

static void
what_cannot_be_is_said(void **state)
{
    (void)state;
    struct gateway_network network;
    struct dyn_err err;
    assert_int_equal(plan(&network, HAS(ROUTER), "http://x", false, &no_config, &err), -1);
    assert_true(err.text[0] != '\0');
    gateway_network_fini(&network);
    struct gateway_bus_config config = {.curve = {.cert = DYN_SLICE("/nowhere/router.key")}};
    assert_int_equal(plan(&network, HAS(ROUTER), "tcp://127.0.0.1:1", false, &config, &err), -1);
    assert_non_null(strstr(err.text, "/nowhere/router.key"));
    gateway_network_fini(&network);
}

static void
the_network_can_reach_a_public_bus(void **state)
{
    (void)state;
    struct gateway_network network;
    struct gateway_bus_config config = {.insecure = true};
    assert_int_equal(plan(&network, HAS(ROUTER), "tcp://0.0.0.0:7700", false, &config, NULL), 0);
    assert_true(gateway_network_is_public(&network));
    gateway_network_fini(&network);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_whole_gateway_keeps_its_bus_to_itself),
        cmocka_unit_test(a_router_alone_must_say_where),
        cmocka_unit_test(who_joins_must_say_whom),
        cmocka_unit_test(several_dev_gateways_live_side_by_side),
        cmocka_unit_test(what_cannot_be_is_said),
        cmocka_unit_test(the_network_can_reach_a_public_bus),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
