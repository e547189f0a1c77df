/* Where a gateway listens and whom it lets in, from options, configuration and environment. */
#include "gateway/settings.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static const char *
listen_of(const char *option, const char *configured, const char *port, bool dev)
{
    static char out[256];
    struct dynabus_options options = DYNABUS_OPTIONS_INIT;
    options.listen = option;
    options.dev = dev;
    struct gateway_env env = {.port = port};
    struct dyn_err err;
    return gateway_choose_listen(&options, dyn_slice_str(configured), &env, out, sizeof out, &err) == 0
               ? out
               : NULL;
}

static void
option_beats_config_beats_port_beats_default(void **state)
{
    (void)state;
    assert_string_equal(listen_of("0.0.0.0:1", "[::]:2", "3", false), "0.0.0.0:1");
    assert_string_equal(listen_of(NULL, "[::]:2", "3", false), "[::]:2");
    assert_string_equal(listen_of(NULL, NULL, "3", false), ":3");
    assert_string_equal(listen_of(NULL, NULL, NULL, false), ":8080");
}

static void
dev_stays_on_loopback(void **state)
{
    (void)state;
    assert_string_equal(listen_of(NULL, NULL, NULL, true), "127.0.0.1:8080");
    assert_string_equal(listen_of(NULL, NULL, "9000", true), "127.0.0.1:9000");
    assert_string_equal(listen_of(":0", NULL, NULL, true), "127.0.0.1:0");
    assert_string_equal(listen_of("9000", NULL, NULL, true), "127.0.0.1:9000");
    assert_string_equal(listen_of(NULL, ":9000", NULL, true), "127.0.0.1:9000");
    assert_string_equal(listen_of("localhost:9000", NULL, NULL, true), "localhost:9000");
    assert_string_equal(listen_of("[::1]:80", NULL, NULL, true), "[::1]:80");
    assert_null(listen_of("0.0.0.0:80", NULL, NULL, true));
    assert_null(listen_of(NULL, "10.0.0.1:80", NULL, true));
    assert_null(listen_of(":http", NULL, NULL, true));
    assert_null(listen_of("127.0.0.1", NULL, NULL, true));
}

static void
an_address_that_does_not_fit_is_refused(void **state)
{
    (void)state;
    char host[400];
    memset(host, 'h', sizeof host);
    memcpy(host + sizeof host - 4, ":80", 4);
    assert_null(listen_of(host, NULL, NULL, false));
}

static void
a_port_that_is_none_is_refused(void **state)
{
    (void)state;
    assert_null(listen_of(NULL, NULL, "http", false));
    assert_null(listen_of(NULL, NULL, "65536", false));
    assert_null(listen_of(NULL, NULL, "-1", false));
    assert_null(listen_of(NULL, NULL, "80x", false));
}

static int
admission_of(const char *key, const char *allow, const char *environment, const char *listen,
             struct admission *admission, struct dyn_err *err)
{
    struct gateway_env env = {.master_key = key, .allow_unauthenticated = allow, .environment = environment};
    const char *auth = NULL;
    int rc = gateway_choose_admission(&env, listen, NULL, admission, &auth, err);
    assert_true(rc != 0 || auth != NULL);
    return rc;
}

static void
nobody_opens_the_network_by_accident(void **state)
{
    (void)state;
    struct admission admission;
    struct dyn_err err;
    assert_int_equal(admission_of(NULL, NULL, NULL, ":8080", &admission, &err), -1);
    assert_non_null(strstr(err.text, "MASTER_KEY"));
    assert_non_null(strstr(err.text, "ALLOW_UNAUTHENTICATED_PROXY"));
    assert_int_equal(admission_of(NULL, NULL, NULL, "0.0.0.0:8080", &admission, &err), -1);
    assert_int_equal(admission_of(NULL, NULL, NULL, "[::]:8080", &admission, &err), -1);
    assert_int_equal(admission_of(NULL, NULL, NULL, "10.0.0.1:8080", &admission, &err), -1);
    assert_int_equal(admission_of(NULL, NULL, NULL, "nonsense", &admission, &err), -1);
    assert_int_equal(admission_of(NULL, "false", NULL, ":8080", &admission, &err), -1);
    assert_int_equal(admission_of("  \n", NULL, NULL, ":8080", &admission, &err), -1);
    assert_int_equal(admission_of("key", "true", "production", ":8080", &admission, &err), -1);
}

static void
each_way_in_lets_in_whom_it_says(void **state)
{
    (void)state;
    struct admission admission;
    struct dyn_err err;
    assert_int_equal(admission_of(" key\n", NULL, NULL, ":8080", &admission, &err), 0);
    assert_true(dyn_slice_is(admission.master_key, "key"));
    assert_false(admission.open);
    assert_int_equal(admission_of(NULL, "true", NULL, ":8080", &admission, &err), 0);
    assert_true(admission.open);
    assert_int_equal(admission_of("key", "true", NULL, ":8080", &admission, &err), 0);
    assert_true(admission.open);
    assert_int_equal(admission_of(NULL, NULL, NULL, "[::1]:8080", &admission, &err), 0);
    assert_int_equal(admission_of(NULL, NULL, NULL, "127.0.0.1:8080", &admission, &err), 0);
    assert_true(admission.open);
    assert_int_equal(admission_of("key", NULL, NULL, "127.0.0.1:8080", &admission, &err), 0);
    assert_false(admission.open);
    assert_int_equal(admission_of(NULL, NULL, NULL, NULL, &admission, &err), 0);
    assert_true(admission.open);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(option_beats_config_beats_port_beats_default),
        cmocka_unit_test(dev_stays_on_loopback),
        cmocka_unit_test(an_address_that_does_not_fit_is_refused),
        cmocka_unit_test(a_port_that_is_none_is_refused),
        cmocka_unit_test(nobody_opens_the_network_by_accident),
        cmocka_unit_test(each_way_in_lets_in_whom_it_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
