/* The rules for base_url, as a table. */
#include "actors/providers/provider_resolve.h"
#include "actors/providers/provider_url.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static const char openai_root[] = "https://api.openai.com/v1";

struct root_case {
    const char *given;
    const char *default_root;
    const char *expected; /* NULL: refused */
};

static const struct root_case root_cases[] = {
    {"", openai_root, "https://api.openai.com/v1"},
    {"http://localhost:8000", openai_root, "http://localhost:8000/v1"},
    {"http://localhost:8000/", openai_root, "http://localhost:8000/v1"},
    {"http://localhost:8000//", openai_root, "http://localhost:8000/v1"},
    {"http://localhost:8000/v2/", openai_root, "http://localhost:8000/v2"},
    {"http://host/a/b", openai_root, "http://host/a/b"},
    {"https://host", "https://x.test/v1beta", "https://host/v1beta"},
    {"https://host", "https://api.x.test/v1/openai", "https://host"},
    {"https://host", "https://api.x.test", "https://host"},
    {"https://host", NULL, "https://host"},
    {"https://host/v1", NULL, "https://host/v1"},
    {"HTTPS://host/v1", NULL, "HTTPS://host/v1"},
    {"https://u:p@host", openai_root, "https://u:p@host/v1"},
    {"http://[::1]:8000", openai_root, "http://[::1]:8000/v1"},
    {"http://[::1]", openai_root, "http://[::1]/v1"},
    {"", NULL, NULL},
    {"host", openai_root, NULL},
    {"host:8000/v1", openai_root, NULL},
    {"ftp://host/v1", openai_root, NULL},
    {"file:///etc/passwd", openai_root, NULL},
    {"https:///v1", openai_root, NULL},
    {"https://", openai_root, NULL},
    {"https://host/v1?x=1", openai_root, NULL},
    {"https://host/v1?", openai_root, NULL},
    {"https://host/v1#f", openai_root, NULL},
    {"https://host/v1#", openai_root, NULL},
    {"https://ho st/v1", openai_root, NULL},
    {"https://host/v1\r\nX: y", openai_root, NULL},
    {"https://host:0", openai_root, NULL},
    {"https://host:65536", openai_root, NULL},
    {"https://host:", openai_root, NULL},
    {"https://host:80a", openai_root, NULL},
    {"https://[::1", openai_root, NULL},
    {"https://[::1]x", openai_root, NULL},
    {"https://u@", openai_root, NULL},
};

static void
roots_follow_the_rules(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena, NULL, 0);
    for (size_t i = 0; i < DYN_ARRAY_LEN(root_cases); i++) {
        const struct root_case *c = &root_cases[i];
        struct dyn_slice root = {NULL, 0};
        struct dyn_err err = {.text = ""};
        int rc = provider_url_root(dyn_slice_str(c->given), c->default_root, &arena, &root, &err);
        if (c->expected == NULL) {
            if (rc == 0) {
                fail_msg("'%s' was accepted as %s", c->given, root.data);
            }
            assert_true(err.text[0] != '\0');
        } else {
            assert_int_equal(rc, 0);
            assert_string_equal(root.data, c->expected);
        }
    }
    arena_fini(&arena);
}

static void
authority_has_no_credentials(void **state)
{
    (void)state;
    assert_true(dyn_slice_is(provider_url_authority(DYN_SLICE("https://u:p@host:8443/v1")), "host:8443"));
    assert_true(dyn_slice_is(provider_url_authority(DYN_SLICE("https://host")), "host"));
    assert_true(dyn_slice_is(provider_url_host(DYN_SLICE("https://[::1]:8443/v1")), "::1"));
    assert_true(provider_url_is_https(DYN_SLICE("HTTPS://host")));
    assert_false(provider_url_is_https(DYN_SLICE("http://host")));
}

static void
loopback_is_told_from_names_that_look_like_it(void **state)
{
    (void)state;
    assert_true(provider_url_is_loopback(DYN_SLICE("http://127.0.0.1:1/v1")));
    assert_true(provider_url_is_loopback(DYN_SLICE("http://127.8.0.9/v1")));
    assert_true(provider_url_is_loopback(DYN_SLICE("http://LOCALHOST/v1")));
    assert_true(provider_url_is_loopback(DYN_SLICE("http://[::1]:9/v1")));
    assert_false(provider_url_is_loopback(DYN_SLICE("http://127.0.0.1.example.com/v1")));
    assert_false(provider_url_is_loopback(DYN_SLICE("http://localhost.example.com/v1")));
}

/* ---- proxies ---- */

static const char *
variable(void *self, const char *name)
{
    const char *const *pairs = self;
    for (size_t i = 0; pairs[i] != NULL; i += 2) {
        if (strcmp(pairs[i], name) == 0) {
            return pairs[i + 1];
        }
    }
    return NULL;
}

struct proxy_case {
    const char *root;
    const char *configured;
    const char *environment[5];
    const char *expected; /* NULL: none */
};

static const struct proxy_case proxy_cases[] = {
    {"https://a.test/v1", NULL, {NULL}, NULL},
    {"https://a.test/v1", NULL, {"HTTPS_PROXY", "http://p:1", NULL}, "http://p:1"},
    {"https://a.test/v1",
     NULL,
     {"https_proxy", "http://q:1", "HTTPS_PROXY", "http://p:1", NULL},
     "http://q:1"},
    {"https://a.test/v1", NULL, {"http_proxy", "http://p:1", NULL}, NULL},
    {"https://a.test/v1", NULL, {"ALL_PROXY", "socks5://p:1", NULL}, "socks5://p:1"},
    {"https://a.test/v1", NULL, {"HTTPS_PROXY", "", NULL}, NULL},
    {"http://a.test/v1", NULL, {"http_proxy", "http://p:1", NULL}, "http://p:1"},
    {"http://a.test/v1", NULL, {"HTTP_PROXY", "http://p:1", NULL}, NULL},
    {"http://127.0.0.1:9/v1", NULL, {"http_proxy", "http://p:1", NULL}, NULL},
    {"https://a.test/v1", "http://c:2", {"HTTPS_PROXY", "http://p:1", NULL}, "http://c:2"},
    {"https://a.test/v1", "none", {"HTTPS_PROXY", "http://p:1", NULL}, NULL},
    {"http://localhost/v1", "http://c:2", {NULL}, NULL},
};

static void
proxies_come_from_file_then_environment(void **state)
{
    (void)state;
    for (size_t i = 0; i < DYN_ARRAY_LEN(proxy_cases); i++) {
        const struct proxy_case *c = &proxy_cases[i];
        void *pairs = NULL;
        const char *const *environment = c->environment;
        memcpy(&pairs, &environment, sizeof pairs);
        struct config_lookup lookup = {.variable = variable, .self = pairs};
        struct dyn_slice proxy =
            provider_proxy_for(dyn_slice_str(c->root), dyn_slice_str(c->configured), &lookup);
        assert_true(c->expected != NULL ? dyn_slice_is(proxy, c->expected) : proxy.data == NULL);
    }
}

static void
proxy_urls_are_judged(void **state)
{
    (void)state;
    assert_true(provider_proxy_is_valid(DYN_SLICE("http://proxy:3128")));
    assert_true(provider_proxy_is_valid(DYN_SLICE("socks5h://u:p@proxy:1080")));
    assert_true(provider_proxy_is_valid(DYN_SLICE("none")));
    assert_false(provider_proxy_is_valid(DYN_SLICE("proxy:3128")));
    assert_false(provider_proxy_is_valid(DYN_SLICE("ftp://proxy")));
    assert_false(provider_proxy_is_valid(DYN_SLICE("http://")));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(roots_follow_the_rules),
        cmocka_unit_test(authority_has_no_credentials),
        cmocka_unit_test(loopback_is_told_from_names_that_look_like_it),
        cmocka_unit_test(proxies_come_from_file_then_environment),
        cmocka_unit_test(proxy_urls_are_judged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
