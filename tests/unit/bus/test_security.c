/* Who is allowed with which role, before and after the folder of allowed keys changes. */
#include "tests/unit/bus/keys.h"

#include "bus/endpoint.h"

static int
open_keys(void **state)
{
    static struct keys keys;
    keys_open(&keys);
    *state = &keys;
    return 0;
}

static int
close_keys(void **state)
{
    keys_close(*state);
    return 0;
}

static bus_security_t *
security_of(struct keys *keys)
{
    struct bus_cert own;
    struct dyn_err err;
    keys_make(keys, "router", BUS_ROLE_ROUTER, false, &own);
    bus_security_t *security =
        bus_security_new(&(struct bus_security_options){.cert = keys_path(keys, "router.key"),
                                                        .allowed = keys_path(keys, "allowed")},
                         &err);
    assert_non_null(security);
    assert_string_equal(bus_security_own_key(security), own.public_key);
    assert_int_equal(bus_security_own_role(security), BUS_ROLE_ROUTER);
    return security;
}

static enum bus_role
role_of(const bus_security_t *security, const struct bus_cert *cert)
{
    return bus_security_allows(security, dyn_slice_str(cert->public_key), NULL, 0);
}

static void
a_key_has_the_role_of_its_file(void **state)
{
    struct keys *keys = *state;
    struct bus_cert anna;
    struct bus_cert worker;
    struct bus_cert stranger;
    char name[8];
    keys_make(keys, "anna-with-a-long-name", BUS_ROLE_CLIENT, true, &anna);
    keys_make(keys, "worker", BUS_ROLE_WORKER, true, &worker);
    keys_make(keys, "stranger", BUS_ROLE_ADMIN, false, &stranger);
    bus_security_t *security = security_of(keys);
    assert_true(bus_security_has_curve(security));
    assert_int_equal(bus_security_allows(security, dyn_slice_str(anna.public_key), name, sizeof name),
                     BUS_ROLE_CLIENT);
    assert_string_equal(name, "anna-wi");
    assert_int_equal(role_of(security, &worker), BUS_ROLE_WORKER);
    assert_int_equal(bus_security_allows(security, dyn_slice_str(stranger.public_key), name, sizeof name),
                     BUS_ROLE_NONE);
    assert_string_equal(name, "");
    bus_security_free(&security);
}

static void
nonsense_is_nobody(void **state)
{
    struct keys *keys = *state;
    struct bus_cert anna;
    keys_make(keys, "anna", BUS_ROLE_CLIENT, true, &anna);
    bus_security_t *security = security_of(keys);
    assert_int_equal(bus_security_allows(security, DYN_SLICE(""), NULL, 0), BUS_ROLE_NONE);
    assert_int_equal(bus_security_allows(security, dyn_slice(anna.public_key, 39), NULL, 0), BUS_ROLE_NONE);
    assert_int_equal(bus_security_allows(security, dyn_slice(anna.public_key, 41), NULL, 0), BUS_ROLE_NONE);
    assert_int_equal(bus_security_allows(security, (struct dyn_slice){NULL, 0}, NULL, 0), BUS_ROLE_NONE);
    bus_security_free(&security);
}

static void
a_reload_lets_in_and_throws_out(void **state)
{
    struct keys *keys = *state;
    struct bus_cert old;
    struct bus_cert new;
    struct dyn_err err;
    keys_make(keys, "old", BUS_ROLE_CLIENT, true, &old);
    bus_security_t *security = security_of(keys);
    uint64_t generation = bus_security_generation(security);
    assert_int_equal(unlink(keys_path(keys, "allowed/old.key")), 0);
    keys_make(keys, "new", BUS_ROLE_CLIENT, true, &new);
    assert_int_equal(role_of(security, &old), BUS_ROLE_CLIENT);
    assert_int_equal(bus_security_reload(security, &err), 0);
    assert_int_not_equal(bus_security_generation(security), generation);
    assert_int_equal(role_of(security, &old), BUS_ROLE_NONE);
    assert_int_equal(role_of(security, &new), BUS_ROLE_CLIENT);
    bus_security_free(&security);
}

static void
a_reload_that_fails_changes_nothing(void **state)
{
    struct keys *keys = *state;
    struct bus_cert anna;
    struct dyn_err err;
    keys_make(keys, "anna", BUS_ROLE_CLIENT, true, &anna);
    bus_security_t *security = security_of(keys);
    uint64_t generation = bus_security_generation(security);
    assert_int_equal(unlink(keys_path(keys, "allowed/anna.key")), 0);
    keys_write(keys, "allowed/README", "put keys here\n");
    assert_int_equal(bus_security_reload(security, &err), -1);
    assert_non_null(strstr(err.text, "allowed/README: "));
    assert_int_equal(role_of(security, &anna), BUS_ROLE_CLIENT);
    assert_int_equal(bus_security_generation(security), generation);
    bus_security_free(&security);
}

static void
secrets_and_hidden_files_are_left_alone(void **state)
{
    struct keys *keys = *state;
    keys_write(keys, "allowed/.hidden", "anything\n");
    keys_write(keys, "allowed/anna.key_secret", "anything\n");
    bus_security_t *security = security_of(keys);
    bus_security_free(&security);
}

/* A file that cannot be made right by waiting stops the start, and is named. */
static void
a_broken_start_is_refused(void **state)
{
    struct keys *keys = *state;
    struct bus_cert cert;
    struct dyn_err err;
    keys_make(keys, "router", BUS_ROLE_ROUTER, false, &cert);
    keys_make(keys, "noone", BUS_ROLE_NONE, false, &cert);
    keys_make(keys, "edge", BUS_ROLE_EDGE, false, &cert);
    const char *router = keys_path(keys, "router.key");
    const char *edge = keys_path(keys, "edge.key");
    const struct {
        struct bus_security_options options;
        const char *says;
    } cases[] = {
        {{.cert = "/nowhere.key"}, "/nowhere.key: No such file"},
        {{.cert = router, .allowed = "/nowhere"}, "/nowhere: No such file"},
        {{.cert = router, .servers = &edge, .n_servers = 1},
         "edge.key: is the key of a edge, not of a router"},
        {{.servers = &router, .n_servers = 1}, "set bus.curve.cert"},
    };
    for (size_t i = 0; i < DYN_ARRAY_LEN(cases); i++) {
        assert_null(bus_security_new(&cases[i].options, &err));
        if (strstr(err.text, cases[i].says) == NULL) {
            fail_msg("'%s' instead of '%s'", err.text, cases[i].says);
        }
    }
}

static void
a_key_without_a_role_is_refused(void **state)
{
    struct keys *keys = *state;
    struct bus_cert cert;
    struct dyn_err err;
    keys_make(keys, "router", BUS_ROLE_ROUTER, false, &cert);
    keys_make(keys, "noone", BUS_ROLE_NONE, true, &cert);
    assert_null(bus_security_new(&(struct bus_security_options){.cert = keys_path(keys, "router.key"),
                                                                .allowed = keys_path(keys, "allowed")},
                                 &err));
    assert_non_null(strstr(err.text, "allowed/noone.key: says no role"));
}

static void
one_key_has_one_role(void **state)
{
    struct keys *keys = *state;
    struct bus_cert cert;
    struct dyn_err err;
    keys_make(keys, "anna", BUS_ROLE_CLIENT, true, &cert);
    assert_int_equal(bus_cert_save(&cert, keys_path(keys, "allowed/again.key"), &err), 0);
    bus_security_t *security = security_of(keys); /* twice the same is no harm */
    cert.role = BUS_ROLE_ADMIN;
    assert_int_equal(bus_cert_save(&cert, keys_path(keys, "allowed/admin.key"), &err), 0);
    assert_int_equal(bus_security_reload(security, &err), -1);
    assert_non_null(strstr(err.text, "one key with two roles"));
    assert_int_equal(role_of(security, &cert), BUS_ROLE_CLIENT);
    bus_security_free(&security);
}

static void
server_keys_are_files_or_text(void **state)
{
    struct keys *keys = *state;
    struct bus_cert router;
    struct dyn_err err;
    keys_make(keys, "router", BUS_ROLE_ROUTER, false, &router);
    const char *servers[] = {router.public_key, keys_path(keys, "router.key")};
    bus_security_t *security = bus_security_new(
        &(struct bus_security_options){.cert = servers[1], .servers = servers, .n_servers = 2}, &err);
    assert_non_null(security);
    bus_security_free(&security);
    const char *wrong[] = {"not a key and not a file"};
    assert_null(bus_security_new(
        &(struct bus_security_options){.cert = servers[1], .servers = wrong, .n_servers = 1}, &err));
    assert_non_null(strstr(err.text, "not a key and not a file: No such file"));
}

static void
every_role_has_a_word(void **state)
{
    (void)state;
    for (int role = BUS_ROLE_NONE + 1; role < BUS_ROLE_COUNT; role++) {
        const char *word = bus_role_name((enum bus_role)role);
        assert_int_equal(bus_role_by_name(dyn_slice_str(word)), role);
    }
    assert_int_equal(bus_role_by_name(DYN_SLICE("none")), BUS_ROLE_NONE);
    assert_int_equal(bus_role_by_name(DYN_SLICE("Client")), BUS_ROLE_NONE);
    assert_int_equal(bus_role_by_name(DYN_SLICE("client ")), BUS_ROLE_NONE);
}

static bool
may_speak(const struct bus_security_options *options, const char *endpoint)
{
    struct bus_endpoint parsed;
    struct dyn_err err;
    bus_security_t *security = bus_security_new(options, &err);
    assert_int_equal(bus_endpoint_parse(dyn_slice_str(endpoint), &parsed, &err), 0);
    bool may = bus_security_check(security, &parsed, &err) == 0;
    if (!may) {
        assert_non_null(strstr(err.text, "dynabus keys new"));
        assert_non_null(strstr(err.text, "bus.insecure"));
    }
    bus_security_free(&security);
    return may;
}

static void
plain_text_stays_on_the_host(void **state)
{
    struct keys *keys = *state;
    struct bus_cert router;
    const struct bus_security_options plain = {0};
    const struct bus_security_options insecure = {.insecure = true};
    keys_make(keys, "router", BUS_ROLE_ROUTER, false, &router);
    const struct bus_security_options curve = {.cert = keys_path(keys, "router.key")};
    assert_true(may_speak(&plain, "tcp://127.0.0.1:1"));
    assert_true(may_speak(&plain, "tcp://[::1]:1"));
    assert_true(may_speak(&plain, "ipc:///tmp/x"));
    assert_false(may_speak(&plain, "tcp://10.0.0.1:1"));
    assert_false(may_speak(&plain, "tcp://*:1"));
    assert_false(may_speak(&plain, "tcp://0.0.0.0:1"));
    assert_true(may_speak(&insecure, "tcp://10.0.0.1:1"));
    assert_true(may_speak(&curve, "tcp://10.0.0.1:1"));
}

static void
a_domain_names_its_roles(void **state)
{
    (void)state;
    char text[BUS_ZAP_DOMAIN_MAX];
    bus_zap_domain(0xfe, text);
    assert_int_equal(bus_zap_domain_roles(dyn_slice_str(text)), 0xfe);
    bus_zap_domain(UINT32_MAX, text);
    assert_int_equal(bus_zap_domain_roles(dyn_slice_str(text)), UINT32_MAX);
    static const char *const others[] = {
        "", "dynabus", "dynabus/", "dynabus/G", "dynabus/123456789", "dynabus/ 1", "Dynabus/1", "global"};
    for (size_t i = 0; i < DYN_ARRAY_LEN(others); i++) {
        assert_int_equal(bus_zap_domain_roles(dyn_slice_str(others[i])), 0);
    }
}

int
main(void)
{
#define WITH_KEYS(test) cmocka_unit_test_setup_teardown(test, open_keys, close_keys)
    const struct CMUnitTest tests[] = {
        WITH_KEYS(a_key_has_the_role_of_its_file),
        WITH_KEYS(nonsense_is_nobody),
        WITH_KEYS(a_reload_lets_in_and_throws_out),
        WITH_KEYS(a_reload_that_fails_changes_nothing),
        WITH_KEYS(secrets_and_hidden_files_are_left_alone),
        WITH_KEYS(a_broken_start_is_refused),
        WITH_KEYS(a_key_without_a_role_is_refused),
        WITH_KEYS(one_key_has_one_role),
        WITH_KEYS(server_keys_are_files_or_text),
        WITH_KEYS(plain_text_stays_on_the_host),
        cmocka_unit_test(every_role_has_a_word),
        cmocka_unit_test(a_domain_names_its_roles),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
