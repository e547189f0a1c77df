/* What --roles may say. */
#include "gateway/roles.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void
nothing_said_means_all(void **state)
{
    (void)state;
    gateway_roles_t roles;
    assert_int_equal(gateway_roles_parse(NULL, &roles, NULL), 0);
    for (int role = 0; role < GATEWAY_ROLE_COUNT; role++) {
        assert_true(gateway_has(roles, (enum gateway_role)role));
    }
}

static void
words_with_commas(void **state)
{
    (void)state;
    gateway_roles_t roles;
    char text[64];
    assert_int_equal(gateway_roles_parse("provider, edge,ledger", &roles, NULL), 0);
    assert_true(gateway_has(roles, GATEWAY_ROLE_EDGE));
    assert_false(gateway_has(roles, GATEWAY_ROLE_ROUTER));
    gateway_roles_text(roles, text, sizeof text);
    assert_string_equal(text, "edge, provider, ledger");
    gateway_roles_text(GATEWAY_ROLES_ALL, text, 10);
    assert_string_equal(text, "edge, rou");
}

static void
what_makes_no_sense_is_named(void **state)
{
    (void)state;
    gateway_roles_t roles;
    struct dyn_err err;
    assert_int_equal(gateway_roles_parse("edge,rooter", &roles, &err), -1);
    assert_non_null(strstr(err.text, "'rooter'"));
    assert_non_null(strstr(err.text, "metrics"));
    assert_int_equal(gateway_roles_parse("", &roles, &err), -1);
    assert_int_equal(gateway_roles_parse("edge,,router", &roles, &err), -1);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_said_means_all),
        cmocka_unit_test(words_with_commas),
        cmocka_unit_test(what_makes_no_sense_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
