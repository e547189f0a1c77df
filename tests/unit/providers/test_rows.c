/* Every row of providers.def can become a target. */
#include "actors/providers/provider_rows.h"
#include "actors/providers/provider_url.h"
#include "proto/dialects/dialect.h"

#include <ctype.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void
assert_variable(const char *name)
{
    for (const char *at = name; at != NULL && *at != '\0'; at++) {
        assert_true(isupper((unsigned char)*at) || isdigit((unsigned char)*at) || *at == '_');
    }
}

/* None from a name that another one makes: the order would count. */
static void
assert_renames(const struct provider_row *row)
{
    for (size_t i = 0; i < PROVIDER_ROW_RENAMES_MAX && row->renames[i].from != NULL; i++) {
        for (size_t j = 0; j < PROVIDER_ROW_RENAMES_MAX && row->renames[j].from != NULL; j++) {
            assert_string_not_equal(row->renames[i].from, row->renames[j].to);
        }
    }
}

static void
rows_are_well_formed(void **state)
{
    (void)state;
    struct arena arena;
    const struct provider_row *row;
    arena_init(&arena, NULL, 0);
    for (size_t i = 0; (row = provider_row_at(i)) != NULL; i++) {
        struct dyn_slice root;
        struct dyn_err err;
        assert_ptr_equal(provider_row_find(dyn_slice_str(row->id)), row); /* no two of the same id */
        assert_non_null(dialect_find(dyn_slice_str(row->dialect)));
        assert_non_null(row->source);
        assert_variable(row->key_env);
        assert_variable(row->base_url_env);
        assert_true(row->connect_ms > 0 && row->first_byte_ms > 0 && row->idle_ms > 0);
        assert_int_equal(row->auth == PROVIDER_AUTH_HEADER, row->auth_header != NULL);
        assert_true(row->key_env != NULL || row->key_optional || row->auth == PROVIDER_AUTH_NONE);
        assert_variable(row->root_env);
        assert_variable(row->models_env[0]);
        assert_variable(row->models_env[1]);
        assert_int_equal(row->root_tail != NULL, row->root_scheme != NULL);
        assert_int_equal(row->root_env != NULL, row->root != NULL && strstr(row->root, "{}") != NULL);
        assert_renames(row);
        if (row->root != NULL && row->root_env == NULL) { /* used as it stands */
            assert_int_equal(provider_url_root(dyn_slice_str(row->root), NULL, &arena, &root, &err), 0);
            assert_string_equal(root.data, row->root);
            assert_true(provider_url_is_https(root) || provider_url_is_loopback(root));
        }
    }
    arena_fini(&arena);
}

static void
unknown_rows_are_not_found(void **state)
{
    (void)state;
    assert_null(provider_row_find(DYN_SLICE("Openai")));
    assert_null(provider_row_find(dyn_slice(NULL, 0)));
    assert_null(provider_row_at(PROVIDER_ROWS_MAX));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_are_well_formed),
        cmocka_unit_test(unknown_rows_are_not_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
