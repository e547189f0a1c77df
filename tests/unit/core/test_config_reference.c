/* The reference page says what the tables say. */
#include "tests/unit/core/test_config_schema.h"

static void
assert_has(const struct dyn_buf *page, const char *line)
{
    if (memmem(page->data, page->len, line, strlen(line)) == NULL) {
        fail_msg("the page has no line\n%s\nbut is\n%.*s", line, (int)page->len, page->data);
    }
}

static void
every_key_has_its_row(void **state)
{
    (void)state;
    struct dyn_buf page = DYN_BUF_INIT;
    config_write_reference(test_parts, DYN_ARRAY_LEN(test_parts), &page);
    assert_has(&page, "# Configuration reference\n");
    assert_has(&page, "\n## edge\n\n| Key | Type | Default | Values | Meaning |\n|---|---|---|---|---|\n");
    assert_has(&page, "\n| `listen` | text | `:8080` |  | Where it listens. |\n");
    assert_has(&page, "\n| `port` | integer | `8080` | 1 to 65535 |  |\n");
    assert_has(&page, "\n| `verbose` | bool | `no` |  |  |\n");
    assert_has(&page, "\n| `body` | size | `10MiB` | 1KiB to 1GiB |  |\n");
    assert_has(&page, "\n| `idle` | duration | `1m30s` | 100ms to 1h |  |\n");
    assert_has(
        &page,
        "\n| `mode` | name | `fallback` | `single`, `fallback`, `spread` | How; one \\| of these. |\n");
    assert_has(&page, "\n| `codes` | list of integers |  | 400 to 599 |  |\n");
    assert_has(&page, "\n| `tls` | section |  |  |  |\n| `tls.certificate` | text | required |  |  |\n"
                      "| `tls.key` | secret |  |  |  |\n");
    assert_has(&page, "\n## router\n");
    assert_has(&page, "\n| `targets[].weight` | integer | `1` | 1 to 100 |  |\n");
    assert_has(&page, "\n| `targets[].routes[].cost` | integer |  | at least 0 |  |\n");
    assert_has(&page, "\n## actors/providers\n");
    assert_has(&page, "\n| `targets[].base_url` | text | `http://localhost` |  |  |\n");
    assert_null(memmem(page.data, page.len, "| `plugins`", 11));
    dyn_buf_fini(&page);
}

static void
what_is_not_supported_has_a_list_of_its_own(void **state)
{
    (void)state;
    struct dyn_buf page = DYN_BUF_INIT;
    config_write_reference(test_parts, DYN_ARRAY_LEN(test_parts), &page);
    assert_has(&page, "\n## Known, but not supported in this version\n");
    assert_has(&page, "\n* `mode` with the value `cheapest`\n* `plugins`: Plugins.\n* `targets[].hedge`\n");
    dyn_buf_clear(&page);
    config_write_reference(&test_parts[2], 1, &page);
    assert_null(memmem(page.data, page.len, "not supported", 13));
    dyn_buf_fini(&page);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_key_has_its_row),
        cmocka_unit_test(what_is_not_supported_has_a_list_of_its_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
