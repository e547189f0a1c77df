/* What an upstream's failure becomes: statuses, texts that may be shown, secrets, when to come back. */
#include "actors/providers/provider_errors.h"
#include "core/buf.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void
statuses_follow_the_table(void **state)
{
    (void)state;
    static const struct {
        unsigned status;
        enum err_code code;
    } cases[] = {
        {400, ERR_UPSTREAM_INVALID},    {401, ERR_UPSTREAM_AUTH},      {402, ERR_UPSTREAM_ERROR},
        {403, ERR_UPSTREAM_AUTH},       {404, ERR_UPSTREAM_NOT_FOUND}, {408, ERR_UPSTREAM_TIMEOUT},
        {409, ERR_UPSTREAM_ERROR},      {413, ERR_UPSTREAM_TOO_LARGE}, {422, ERR_UPSTREAM_UNPROCESSABLE},
        {429, ERR_UPSTREAM_RATE_LIMIT}, {500, ERR_UPSTREAM_ERROR},     {502, ERR_UPSTREAM_ERROR},
        {503, ERR_UPSTREAM_ERROR},      {504, ERR_UPSTREAM_TIMEOUT},   {529, ERR_UPSTREAM_ERROR},
        {301, ERR_UPSTREAM_ERROR},      {307, ERR_UPSTREAM_ERROR},     {999, ERR_UPSTREAM_ERROR},
    };
    for (size_t i = 0; i < DYN_ARRAY_LEN(cases); i++) {
        assert_int_equal(provider_error_of_status(cases[i].status), cases[i].code);
    }
    for (unsigned status = 300; status < 600; status++) {
        enum err_code code = provider_error_of_status(status);
        assert_int_equal(provider_error_may_show(code), status == 400 || status == 422);
    }
}

struct body_case {
    const char *body;
    const char *message; /* NULL: not recognised */
    const char *code;
    const char *param;
};

static const struct body_case body_cases[] = {
    {"{\"error\":{\"message\":\"bad\",\"type\":\"t\",\"param\":\"x\",\"code\":\"c\"}}", "bad", "c", "x"},
    {"{\"error\":{\"message\":\"bad\",\"param\":null,\"code\":null}}", "bad", NULL, NULL},
    {"{\"error\":{\"message\":\"bad\",\"code\":429}}", "bad", "429", NULL},
    {"{\"error\":{\"error\":\"inner\"}}", "inner", NULL, NULL},
    {"{\"error\":\"plain\"}", "plain", NULL, NULL},
    {"{\"code\":\"slug\",\"error\":\"plain\"}", "plain", "slug", NULL},
    {"{\"error\":[\"one\",\"two\"]}", "one; two", NULL, NULL},
    {"{\"detail\":\"text\"}", "text", NULL, NULL},
    {"{\"detail\":[{\"msg\":\"a\",\"loc\":[1]},{\"msg\":\"b\"}]}", "a; b", NULL, NULL},
    {"{\"detail\":{\"error\":\"deep\"}}", "deep", NULL, NULL},
    {"{\"detail\":{\"message\":\"deep\"}}", "deep", NULL, NULL},
    {"{\"message\":\"flat\",\"code\":\"c\"}", "flat", "c", NULL},
    {"{\"object\":\"error\",\"message\":{\"detail\":\"x\",\"message\":\"nested\"}}", "nested", NULL, NULL},
    {"{\"success\":false,\"errors\":[{\"code\":1,\"message\":\"cf\"}]}", "cf", NULL, NULL},
    {"[{\"error\":{\"message\":\"in a list\"}}]", "in a list", NULL, NULL},
    {"{\"error\":{\"message\":\"\\u00e9\\\"\\n\"}}", "\xc3\xa9\"\n", NULL, NULL},
    {"{\"error\":{\"message\":\"\"}}", NULL, NULL, NULL},
    {"{\"error\":{}}", NULL, NULL, NULL},
    {"{\"error\":null}", NULL, NULL, NULL},
    {"{\"other\":\"x\"}", NULL, NULL, NULL},
    {"[]", NULL, NULL, NULL},
    {"\"text\"", NULL, NULL, NULL},
    {"<html>502</html>", NULL, NULL, NULL},
    {"", NULL, NULL, NULL},
    {"{\"error\":{\"message\":\"cut", NULL, NULL, NULL},
};

static void
assert_text(struct dyn_slice text, const char *expected)
{
    if (expected == NULL) {
        assert_int_equal(text.len, 0);
    } else {
        assert_int_equal(text.len, strlen(expected));
        assert_memory_equal(text.data, expected, text.len);
    }
}

static void
envelopes_are_recognised(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena, NULL, 0);
    for (size_t i = 0; i < DYN_ARRAY_LEN(body_cases); i++) {
        const struct body_case *c = &body_cases[i];
        struct provider_error error;
        bool known = provider_error_read(dyn_slice_str(c->body), &arena, &error);
        if (known != (c->message != NULL)) {
            fail_msg("%s", c->body);
        }
        assert_text(error.message, c->message);
        if (known) {
            assert_text(error.code, c->code);
            assert_text(error.param, c->param);
        }
    }
    arena_fini(&arena);
}

static void
errors_inside_answers_are_mapped(void **state)
{
    (void)state;
    static const struct {
        const char *body;
        enum err_code code;
    } cases[] = {
        {"{\"error\":{\"message\":\"m\",\"code\":429}}", ERR_UPSTREAM_RATE_LIMIT},
        {"{\"error\":{\"message\":\"m\",\"code\":401}}", ERR_UPSTREAM_AUTH},
        {"{\"error\":{\"message\":\"m\",\"code\":502}}", ERR_UPSTREAM_ERROR},
        {"{\"error\":{\"message\":\"m\",\"code\":7}}", ERR_UPSTREAM_ERROR},
        {"{\"error\":{\"message\":\"m\",\"type\":\"rate_limit_error\"}}", ERR_UPSTREAM_RATE_LIMIT},
        {"{\"error\":{\"message\":\"m\",\"code\":\"insufficient_quota\"}}", ERR_UPSTREAM_RATE_LIMIT},
        {"{\"error\":{\"message\":\"m\",\"type\":\"invalid_request_error\",\"code\":\"model_not_found\"}}",
         ERR_UPSTREAM_NOT_FOUND},
        {"{\"error\":{\"message\":\"m\",\"type\":\"invalid_request_error\"}}", ERR_UPSTREAM_INVALID},
        {"{\"error\":\"m\"}", ERR_UPSTREAM_ERROR},
    };
    struct arena arena;
    arena_init(&arena, NULL, 0);
    for (size_t i = 0; i < DYN_ARRAY_LEN(cases); i++) {
        struct provider_error error;
        assert_true(provider_error_read(dyn_slice_str(cases[i].body), &arena, &error));
        assert_int_equal(provider_error_of_body(&error), cases[i].code);
    }
    arena_fini(&arena);
}

static void
secrets_never_pass(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena, NULL, 0);
    const struct dyn_slice secrets[] = {
        DYN_SLICE_INIT("sk-secret"), DYN_SLICE_INIT("sk-secret-longer"), {NULL, 0}, DYN_SLICE_INIT("ab")};
    static const struct {
        const char *text;
        const char *clean;
    } cases[] = {
        {"Incorrect key: sk-secret.", "Incorrect key: [redacted]."},
        {"sk-secret", "[redacted]"},
        {"sk-secretsk-secret", "[redacted][redacted]"},
        {"sk-secret-longer sk-secret", "[redacted] [redacted]"},
        {"sk-secre cab", "sk-secre cab"},
        {"  \n trimmed \t", "trimmed"},
        {"a\nb\x01"
         "c\x7f"
         "d",
         "a b c d"},
        {"bad \xff utf-8", "bad   utf-8"},
    };
    for (size_t i = 0; i < DYN_ARRAY_LEN(cases); i++) {
        struct dyn_slice clean = provider_text_clean(dyn_slice_str(cases[i].text), secrets, 4, NULL, &arena);
        assert_text(clean, cases[i].clean);
    }
    blackout_t *shapes = blackout_new(NULL); /* another key than ours, and a part of ours */
    struct dyn_slice text = DYN_SLICE("sk-secret: use gsk_abcdefghij0123456789, Bearer abcdefghijkl0123");
    assert_text(provider_text_clean(text, secrets, 4, shapes, &arena),
                "[redacted]: use [REDACTED], [REDACTED]");
    blackout_free(&shapes);
    assert_null(provider_text_clean(DYN_SLICE(" "), secrets, 4, NULL, &arena).data);
    assert_null(provider_text_clean(dyn_slice(NULL, 0), secrets, 4, NULL, &arena).data);
    arena_fini(&arena);
}

static void
long_texts_are_cut_between_characters(void **state)
{
    (void)state;
    struct arena arena;
    struct dyn_buf text = DYN_BUF_INIT;
    arena_init(&arena, NULL, 0);
    for (unsigned i = 0; i < PROVIDER_TEXT_MAX; i++) {
        dyn_buf_add_str(&text, "\xe2\x82\xac");
    }
    assert_int_equal(provider_text_clean(dyn_buf_slice(&text), NULL, 0, NULL, &arena).len, text.len);
    dyn_buf_add_str(&text, "x");
    struct dyn_slice cut = provider_text_clean(dyn_buf_slice(&text), NULL, 0, NULL, &arena);
    assert_int_equal(cut.len, PROVIDER_TEXT_MAX * 3 + 3);
    assert_memory_equal(cut.data + cut.len - 3, "\xe2\x80\xa6", 3);
    dyn_buf_fini(&text);
    arena_fini(&arena);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(statuses_follow_the_table),
        cmocka_unit_test(envelopes_are_recognised),
        cmocka_unit_test(errors_inside_answers_are_mapped),
        cmocka_unit_test(secrets_never_pass),
        cmocka_unit_test(long_texts_are_cut_between_characters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
