/* A cgroup quota becomes a number of cells. */
#include "gateway/cores.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void
quota_in_whole_cores_rounded_up(void **state)
{
    (void)state;
    assert_int_equal(cores_in_cpu_max(DYN_SLICE("200000 100000\n")), 2);
    assert_int_equal(cores_in_cpu_max(DYN_SLICE("150000 100000\n")), 2);
    assert_int_equal(cores_in_cpu_max(DYN_SLICE("10000 100000\n")), 1);
}

static void
no_limit_or_nonsense_is_no_limit(void **state)
{
    (void)state;
    static const char *const texts[] = {"max 100000\n", "", "x", "100000", "100000 0", "-1 100000", "  "};
    for (size_t i = 0; i < DYN_ARRAY_LEN(texts); i++) {
        assert_int_equal(cores_in_cpu_max(dyn_slice_str(texts[i])), 0);
    }
}

static void
there_is_always_a_core(void **state)
{
    (void)state;
    assert_true(usable_cores() >= 1);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(quota_in_whole_cores_rounded_up),
        cmocka_unit_test(no_limit_or_nonsense_is_no_limit),
        cmocka_unit_test(there_is_always_a_core),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
