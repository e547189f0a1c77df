/* Whose request it is, when it came through proxies: headers are believed of those only that are trusted. */
#include "edge/proxies.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static const struct config_strings nobody;

/* `forwarded`: one header or two; NULL: none. */
static const char *
client_of(const char *trusted, const char *peer, const char *first, const char *second, const char *real)
{
    static char out[128];
    struct edge_proxies proxies;
    struct edge_headers headers;
    struct arena arena;
    struct http_header items[3];
    size_t n = 0;
    struct dyn_err err = {.text = ""};
    assert_int_equal(edge_proxies_init(&proxies, &nobody, false, trusted, &err), 0);
    arena_init(&arena, NULL, 0);
    if (first != NULL) {
        items[n++] = (struct http_header){DYN_SLICE("X-Forwarded-For"), dyn_slice_str(first)};
    }
    if (second != NULL) {
        items[n++] = (struct http_header){DYN_SLICE("x-forwarded-for"), dyn_slice_str(second)};
    }
    if (real != NULL) {
        items[n++] = (struct http_header){DYN_SLICE("X-Real-IP"), dyn_slice_str(real)};
    }
    struct http_request request = {.headers = items, .n_headers = n, .peer = dyn_slice_str(peer)};
    edge_headers_read(&request, &headers);
    struct dyn_slice client = edge_proxies_client(&proxies, &request, &headers, &arena);
    (void)snprintf(out, sizeof out, "%.*s", (int)client.len, client.data);
    arena_fini(&arena);
    edge_proxies_fini(&proxies);
    return out;
}

static void
a_stranger_is_not_believed(void **state)
{
    (void)state;
    assert_string_equal(client_of("10.0.0.0/8", "192.0.2.1:99", "203.0.113.9", NULL, NULL), "192.0.2.1:99");
    assert_string_equal(client_of("10.0.0.0/8", "192.0.2.1:99", NULL, NULL, "203.0.113.9"), "192.0.2.1:99");
    assert_string_equal(client_of("10.0.0.0/8", "127.0.0.1:99", "203.0.113.9", NULL, NULL), "127.0.0.1:99");
    assert_string_equal(client_of("10.0.0.0/8", "unix", "203.0.113.9", NULL, NULL), "unix");
    assert_string_equal(client_of("10.0.0.0/9", "10.128.0.1:99", "203.0.113.9", NULL, NULL), "10.128.0.1:99");
}

static void
what_is_nearest_and_no_proxys_counts(void **state)
{
    (void)state;
    const char *trusted = "10.0.0.0/8, ::1/128,2001:db8:1::/48";
    assert_string_equal(client_of(trusted, "10.0.0.1:99", "203.0.113.9", NULL, NULL), "203.0.113.9");
    /* what the client wrote itself stands on the left */
    assert_string_equal(client_of(trusted, "10.0.0.1:99", "1.1.1.1, 203.0.113.9", NULL, NULL), "203.0.113.9");
    assert_string_equal(client_of(trusted, "10.0.0.1:99", "1.1.1.1, 203.0.113.9 ,10.2.3.4", NULL, NULL),
                        "203.0.113.9");
    assert_string_equal(client_of(trusted, "10.0.0.1:99", "1.1.1.1", "203.0.113.9:4711, 10.1.1.1", NULL),
                        "203.0.113.9");
    assert_string_equal(client_of(trusted, "10.0.0.1:99", "203.0.113.9", "10.1.1.1", NULL), "203.0.113.9");
    assert_string_equal(client_of(trusted, "[::1]:99", "2001:db8::9", NULL, NULL), "[2001:db8::9]");
    assert_string_equal(client_of(trusted, "[2001:db8:1::5]:99", "[2001:DB8::9]:4711", NULL, NULL),
                        "[2001:db8::9]");
    assert_string_equal(client_of(trusted, "10.0.0.1:99", "203.0.113.9, unknown, , 300.1.1.1", NULL, NULL),
                        "203.0.113.9");
    assert_string_equal(client_of(trusted, "10.0.0.1:99", "::ffff:203.0.113.9", NULL, NULL), "203.0.113.9");
}

static void
without_a_stranger_it_is_real_ip_or_the_peer(void **state)
{
    (void)state;
    const char *trusted = "10.0.0.0/8";
    assert_string_equal(client_of(trusted, "10.0.0.1:99", NULL, NULL, " 203.0.113.9 "), "203.0.113.9");
    assert_string_equal(client_of(trusted, "10.0.0.1:99", "10.9.9.9", NULL, "203.0.113.9"), "203.0.113.9");
    assert_string_equal(client_of(trusted, "10.0.0.1:99", "10.9.9.9", NULL, "nobody"), "10.0.0.1:99");
    assert_string_equal(client_of(trusted, "10.0.0.1:99", "", NULL, ""), "10.0.0.1:99");
    assert_string_equal(client_of(NULL, "127.0.0.5:99", "203.0.113.9", NULL, NULL), "203.0.113.9");
    assert_string_equal(client_of("", "[::1]:99", "203.0.113.9", NULL, NULL), "203.0.113.9");
}

static void
a_list_without_end_is_not_read_to_its_end(void **state)
{
    (void)state;
    char list[4096] = "203.0.113.9";
    size_t len = strlen(list);
    for (int i = 0; i < 100; i++) {
        len += (size_t)snprintf(list + len, sizeof list - len, ",10.0.0.%d", i);
    }
    assert_string_equal(client_of("10.0.0.0/8", "10.0.0.1:99", list, NULL, NULL), "10.0.0.1:99");
}

static void
what_is_no_network_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"10.0.0.0/33", "x",  "10.0.0/8",     "::1/129",     "10.0.0.0/",
                                      "10.0.0.0/1x", "/8", "10.0.0.0/8/8", "10.0.0.0/-1", "1.2.3.4, x"};
    for (size_t i = 0; i < DYN_ARRAY_LEN(bad); i++) {
        struct edge_proxies proxies;
        struct dyn_err err = {.text = ""};
        assert_int_equal(edge_proxies_init(&proxies, &nobody, false, bad[i], &err), -1);
        assert_non_null(strstr(err.text, "TRUSTED_PROXIES"));
        edge_proxies_fini(&proxies);
    }
    struct edge_proxies none;
    assert_int_equal(edge_proxies_init(&none, &nobody, true, "10.0.0.0/8", NULL), 0); /* `[]` in the file */
    assert_int_equal(none.n, 0);
    edge_proxies_fini(&none);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_stranger_is_not_believed),
        cmocka_unit_test(what_is_nearest_and_no_proxys_counts),
        cmocka_unit_test(without_a_stranger_it_is_real_ip_or_the_peer),
        cmocka_unit_test(a_list_without_end_is_not_read_to_its_end),
        cmocka_unit_test(what_is_no_network_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
