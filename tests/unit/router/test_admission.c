/* Who is let in, and what the others are told. */
#include "router/admission.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static const struct admission closed = {.master_key = DYN_SLICE_INIT("sk-master-0123456789")};
static const struct admission open_with_key = {.master_key = DYN_SLICE_INIT("sk-master-0123456789"),
                                               .open = true};
static const struct admission open_without_key = {.open = true};
static const struct admission nobody = {.open = false};

static struct admission_verdict
judge(const struct admission *admission, const char *credential)
{
    return admission_judge(admission, dyn_slice_str(credential));
}

static void
the_master_key_is_let_in(void **state)
{
    (void)state;
    struct admission_verdict verdict = judge(&closed, "sk-master-0123456789");
    assert_int_equal(verdict.refused, ERR_NONE);
    assert_true(dyn_slice_is(verdict.key_id, "master"));
}

static void
anything_else_is_not(void **state)
{
    (void)state;
    static const char *const wrong[] = {"sk-master-012345678", "sk-master-01234567890",
                                        "SK-MASTER-0123456789", "tk-master-0123456789", "x"};
    for (size_t i = 0; i < DYN_ARRAY_LEN(wrong); i++) {
        assert_int_equal(judge(&closed, wrong[i]).refused, ERR_INVALID_API_KEY);
    }
    assert_int_equal(judge(&closed, NULL).refused, ERR_MISSING_API_KEY);
    assert_int_equal(judge(&closed, "").refused, ERR_MISSING_API_KEY);
    assert_int_equal(judge(&nobody, "sk-master-0123456789").refused, ERR_INVALID_API_KEY);
    assert_int_equal(judge(&nobody, "").refused, ERR_MISSING_API_KEY);
}

static void
a_key_padded_with_nul_is_another_key(void **state)
{
    (void)state;
    struct dyn_slice padded = dyn_slice("sk-master-0123456789\0", 21);
    assert_int_equal(admission_judge(&closed, padded).refused, ERR_INVALID_API_KEY);
}

static void
a_credential_longer_than_any_key_is_refused(void **state)
{
    (void)state;
    char long_key[ADMISSION_KEY_MAX + 1];
    memset(long_key, 'k', sizeof long_key);
    assert_int_equal(admission_judge(&closed, dyn_slice(long_key, sizeof long_key)).refused,
                     ERR_INVALID_API_KEY);
}

static void
an_open_gateway_lets_everybody_in_and_knows_its_master(void **state)
{
    (void)state;
    assert_true(dyn_slice_is(judge(&open_without_key, NULL).key_id, "anonymous"));
    assert_true(dyn_slice_is(judge(&open_without_key, "whatever").key_id, "anonymous"));
    assert_true(dyn_slice_is(judge(&open_with_key, "wrong").key_id, "anonymous"));
    assert_true(dyn_slice_is(judge(&open_with_key, "sk-master-0123456789").key_id, "master"));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_master_key_is_let_in),
        cmocka_unit_test(anything_else_is_not),
        cmocka_unit_test(a_key_padded_with_nul_is_another_key),
        cmocka_unit_test(a_credential_longer_than_any_key_is_refused),
        cmocka_unit_test(an_open_gateway_lets_everybody_in_and_knows_its_master),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
