/* What is read from a body for the strategies: only what was asked for, and nothing decoded in vain. */
#include "router/facts.h"

#include "proto/dialects/dialect.h"
#include "router/pick.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define BOTH (ROUTE_NEEDS_BODY | ROUTE_NEEDS_TEXT)

static struct arena arena;

/* The same where the scan has noted where the members are. */
static void
expect_same_by_places(const char *body, uint32_t needs, const struct route_facts *expected)
{
    struct route_facts facts = {.surface = ENV_SURFACE_CHAT};
    struct json_places places = {.n = 0};
    struct dialect_request request;
    struct dialect_problem problem;
    struct dyn_slice text = dyn_slice_str(body);
    if (dialect_openai_chat.read_places(text, &arena, &request, &places, &problem) != 0) {
        json_places_fini(&places);
        return;
    }
    route_facts_read(&facts, text, &places, needs, &arena);
    assert_int_equal(facts.prompt_tokens, expected->prompt_tokens);
    assert_int_equal(facts.n_messages, expected->n_messages);
    assert_int_equal(facts.input_bytes, expected->input_bytes);
    assert_int_equal(facts.max_tokens, expected->max_tokens);
    assert_int_equal(facts.has_images, expected->has_images);
    assert_int_equal(facts.has_tools, expected->has_tools);
    assert_int_equal(facts.n_user_texts, expected->n_user_texts);
    assert_int_equal(facts.n_metadata, expected->n_metadata);
    assert_true(dyn_slice_eq(facts.user, expected->user));
    json_places_fini(&places);
}

static struct route_facts
read(const char *body, uint32_t needs)
{
    struct route_facts facts = {.surface = ENV_SURFACE_CHAT};
    route_facts_read(&facts, dyn_slice_str(body), NULL, needs, &arena);
    expect_same_by_places(body, needs, &facts);
    return facts;
}

static int
setup(void **state)
{
    (void)state;
    arena_init(&arena, NULL, 0);
    return 0;
}

static int
teardown(void **state)
{
    (void)state;
    arena_fini(&arena);
    return 0;
}

static const char conversation[] =
    " {\"model\":\"m\",\"messages\":[{\"role\":\"system\",\"content\":\"secret\"},"
    "{\"content\":\"first \\\"one\\\" \\u00e9\",\"role\":\"user\"},"
    "{\"role\":\"assistant\",\"content\":\"said\"},"
    "{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"second\"},"
    "{\"type\":\"image_url\",\"image_url\":{\"url\":\"data:,\",\"detail\":\"low\"}}]}],"
    "\"user\":\"eve\",\"metadata\":{\"tier\":\"gold\",\"n\":1,\"\\u0061b\":\"c\\nd\"},"
    "\"tools\":[{\"type\":\"function\"}]} \n";

static void
texts_of_users_are_decoded_and_no_others(void **state)
{
    (void)state;
    struct route_facts facts = read(conversation, BOTH);
    assert_int_equal(facts.n_user_texts, 2);
    assert_true(dyn_slice_is(facts.user_texts[0], "first \"one\" \xc3\xa9"));
    assert_true(dyn_slice_is(facts.user_texts[1], "second"));
    facts = read(conversation, ROUTE_NEEDS_BODY);
    assert_int_equal(facts.n_user_texts, 0);
}

static void
the_rest_of_a_body_is_told(void **state)
{
    (void)state;
    struct route_facts facts = read(conversation, ROUTE_NEEDS_BODY);
    assert_true(facts.has_images);
    assert_true(facts.has_tools);
    assert_true(dyn_slice_is(facts.user, "eve"));
    assert_int_equal(facts.n_metadata, 2); /* numbers are none */
    assert_true(dyn_slice_is(route_facts_metadata(&facts, DYN_SLICE("tier")), "gold"));
    assert_true(dyn_slice_is(route_facts_metadata(&facts, DYN_SLICE("ab")), "c\nd"));
    assert_null(route_facts_metadata(&facts, DYN_SLICE("n")).data);
    uint64_t text = 6 + 13 + 4 + 6 + sizeof "[{\"type\":\"function\"}]" - 1;
    assert_in_range(facts.prompt_tokens, text / 4 + 85, text / 4 + 1 + 86);
    facts = read(conversation, ROUTE_NEEDS_HEADERS);
    assert_int_equal(facts.prompt_tokens, 0); /* nobody asked */
    assert_null(facts.user.data);
}

static void
tokens_are_guessed_by_script_and_one_more(void **state)
{
    static const struct {
        const char *body;
        uint64_t tokens;
    } cases[] = {
        {"{}", 1},
        {"{\"messages\":[{\"role\":\"user\",\"content\":\"12345678\"}]}", 3},
        {"{\"messages\":[{\"role\":\"system\",\"content\":\"1234567\"}]}", 2},
        {"{\"messages\":[{\"role\":\"user\",\"content\":null}]}", 1},
        {"{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\",\"image_url\":"
         "{\"url\":\"x\"}}]}]}",
         766},
        {"{\"tools\":[]}", 1},
        {"{\"messages\":[{\"role\":\"assistant\",\"content\":null,\"reasoning\":\"123456\"}]}", 3},
        {"{\"messages\":[{\"role\":\"assistant\",\"tool_calls\":[{\"function\":{\"arguments\":\"1\"}}]}]}",
         9},
        {"{\"response_format\":{\"type\":\"text\"}}", 4},
        {"{\"prediction\":{\"content\":\"1\"}}", 4},
        {"{\"input\":\"12345678\"}", 3},
        {"{\"input\":[\"1234\",\"5678\"]}", 3},
        {"{\"input\":[1,2,3]}", 4},
        {"{\"messages\":[{\"role\":\"user\",\"content\":\"漢字漢字漢字漢字漢字\"}]}", 13},
        {"{\"messages\":[{\"role\":\"user\",\"content\":\"\\u6f22\\u6f22\\u6f22\\u6f22\\u6f22\"}]}", 7},
        {"{\"messages\":[{\"role\":\"user\",\"content\":\"😀😀😀😀\"}]}", 11},
    };
    (void)state;
    for (size_t i = 0; i < DYN_ARRAY_LEN(cases); i++) {
        struct route_facts facts = read(cases[i].body, ROUTE_NEEDS_BODY);
        assert_int_equal(facts.prompt_tokens, cases[i].tokens);
        assert_false(facts.has_tools);
    }
}

static void
targets_are_read_from_a_header(void **state)
{
    static const struct route_target targets[] = {
        {.name = DYN_SLICE_INIT("openai")}, {.name = DYN_SLICE_INIT("groq")}, {.name = DYN_SLICE_INIT("x")}};
    struct route_facts facts = {0};
    struct dyn_err err;
    (void)state;
    assert_int_equal(route_override_read(DYN_SLICE(" x , openai,x"), targets, 3, &arena, &facts, &err), 0);
    assert_int_equal(facts.n_override, 2);
    assert_int_equal(facts.override[0], 2);
    assert_int_equal(facts.override[1], 0);
    static const char *const wrong[] = {"openia", "", "openai,", ",", "openai x"};
    for (size_t i = 0; i < DYN_ARRAY_LEN(wrong); i++) {
        struct dyn_slice value = dyn_slice_str(wrong[i]);
        assert_int_equal(route_override_read(value, targets, 3, &arena, &facts, &err), -1);
    }
    assert_int_equal(route_override_read(DYN_SLICE("openia"), targets, 3, &arena, &facts, &err), -1);
    assert_non_null(strstr(err.text, "did you mean 'openai'"));
}

static void
who_may_name_targets_is_configured(void **state)
{
    struct route_plan plan = {.overrides = ROUTE_OVERRIDES_NONE};
    (void)state;
    assert_false(route_may_override(&plan, DYN_SLICE("master")));
    plan.overrides = ROUTE_OVERRIDES_MASTER;
    assert_true(route_may_override(&plan, DYN_SLICE("master")));
    assert_false(route_may_override(&plan, DYN_SLICE("anonymous")));
    plan.overrides = ROUTE_OVERRIDES_ALL;
    assert_true(route_may_override(&plan, DYN_SLICE("anonymous")));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts_of_users_are_decoded_and_no_others),
        cmocka_unit_test(the_rest_of_a_body_is_told),
        cmocka_unit_test(tokens_are_guessed_by_script_and_one_more),
        cmocka_unit_test(targets_are_read_from_a_header),
        cmocka_unit_test(who_may_name_targets_is_configured),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
