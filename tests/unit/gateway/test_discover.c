/* What providers list, and whose list it is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "gateway/discover.h"

static struct discovered
read(struct arena *arena, const char *text)
{
    struct discovered found = {.n = 0};
    (void)discovery_read(arena, dyn_slice_str(text), &found);
    return found;
}

static void
escapes_are_read(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena, NULL, 0);
    struct discovered found =
        read(&arena, "{\"data\":[{\"id\":\"meta-llama\\/Llama-3\"},{\"id\":\"a\\u0062c\"},"
                     "{\"id\":\"with\\u0020blank\"},{\"id\":\"\"},{\"id\":7},{}]}");
    assert_int_equal(found.n, 2);
    assert_true(dyn_slice_is(found.models[0], "abc"));
    assert_true(dyn_slice_is(found.models[1], "meta-llama/Llama-3"));
    assert_int_equal(read(&arena, "{\"object\":\"error\"}").n, 0);
    arena_fini(&arena);
}

static bool
says(struct arena *arena, const char *text)
{
    struct discovered found = {.n = 0};
    return discovery_read(arena, dyn_slice_str(text), &found);
}

/* A provider that has no model any more says so; one that answers with something else does not. */
static void
an_empty_list_is_an_answer(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena, NULL, 0);
    assert_true(says(&arena, "{\"data\":[]}"));
    assert_true(says(&arena, "[]"));
    assert_true(says(&arena, "[{\"id\":\"a\"}]"));
    assert_false(says(&arena, "{\"object\":\"list\"}"));
    assert_false(says(&arena, "[{\"name\":\"a\"}]"));
    assert_false(says(&arena, "<html>"));
    arena_fini(&arena);
}

static void
another_order_is_no_news(void **state)
{
    (void)state;
    struct discovered items[2];
    struct discovery a = {.items = &items[0], .n = 1};
    struct discovery b = {.items = &items[1], .n = 1};
    struct arena arena;
    arena_init(&arena, NULL, 0);
    items[0] = read(&arena, "[{\"id\":\"a\"},{\"id\":\"b\"},{\"id\":\"ab\"}]");
    items[1] = read(&arena, "[{\"id\":\"ab\"},{\"id\":\"b\"},{\"id\":\"a\"},{\"id\":\"b\"}]");
    assert_true(discovery_same(&a, &b));
    items[1] = read(&arena, "[{\"id\":\"a\"},{\"id\":\"b\"},{\"id\":\"ac\"}]");
    assert_false(discovery_same(&a, &b));
    arena_fini(&arena);
}

/* A target that keeps its name and goes somewhere else has nothing of the former one's. */
static void
a_list_is_of_who_was_asked(void **state)
{
    (void)state;
    const struct provider_row rows[2] = {{.id = "openai"}, {.id = "groq"}};
    struct provider_target target = {
        .name = DYN_SLICE("a"), .row = &rows[0], .root = DYN_SLICE("https://one.example/v1")};
    struct discovered item = {.name = target.name, .provider = target.row, .root = target.root, .n = 3};
    const struct discovery discovery = {.items = &item, .n = 1};
    assert_ptr_equal(discovery_of(&discovery, &target), &item);
    target.row = &rows[1];
    assert_null(discovery_of(&discovery, &target));
    target.row = &rows[0];
    target.root = DYN_SLICE("https://two.example/v1");
    assert_null(discovery_of(&discovery, &target));
    assert_null(discovery_of(NULL, &target));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(escapes_are_read),
        cmocka_unit_test(an_empty_list_is_an_answer),
        cmocka_unit_test(another_order_is_no_news),
        cmocka_unit_test(a_list_is_of_who_was_asked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
