/* What is fetched, and where a redirect may lead. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "actors/providers/fetch.h"
#include "tests/unit/providers/certificate.h"
#include "tests/unit/providers/upstream.h"

static struct certificate *served;
static char location[64];

static void
redirects(struct upstream *upstream, int fd)
{
    SSL *ssl = certificate_accept(served, fd);
    struct dyn_buf request = DYN_BUF_INIT;
    while (ssl != NULL && certificate_read_request(ssl, &request)) {
        atomic_fetch_add(&upstream->n_requests, 1);
        struct dyn_buf answer = DYN_BUF_INIT;
        dyn_buf_addf(&answer, "HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: %s\r\n\r\n", location);
        (void)SSL_write(ssl, answer.data, (int)answer.len);
        dyn_buf_fini(&answer);
    }
    dyn_buf_fini(&request);
    SSL_free(ssl);
}

static void
answers(struct upstream *upstream, int fd)
{
    while (upstream_request(upstream, fd)) {
        upstream_answer(upstream, fd, "200 OK", "", "prices");
    }
}

/* Who can change what goes over the wire would otherwise say what models cost. */
static void
https_is_not_left(void **state)
{
    (void)state;
    struct certificate certificate;
    certificate_make(&certificate, "IP:127.0.0.1", 3600);
    served = &certificate;
    struct upstream *plain = upstream_new(answers, NULL);
    struct upstream *secure = upstream_new(redirects, NULL);
    char url[64];
    (void)snprintf(location, sizeof location, "http://127.0.0.1:%u/prices", plain->port);
    (void)snprintf(url, sizeof url, "https://127.0.0.1:%u/prices", secure->port);
    struct fetch fetch = {
        .url = url, .follows = true, .ca_file = certificate.path, .timeout_ms = 10000, .bytes_max = 1000};
    struct dyn_err err;
    assert_int_equal(fetch_all(&fetch, 1, 1, NULL, NULL, NULL, &err), 0);
    assert_string_not_equal(fetch.error, "");
    assert_int_equal(fetch.body.len, 0);
    assert_int_equal(atomic_load(&secure->n_requests), 1);
    assert_int_equal(atomic_load(&plain->n_requests), 0);
    dyn_buf_fini(&fetch.body);
    upstream_free(plain);
    upstream_free(secure);
    certificate_free(&certificate);
}

static void
an_environment_is_not_looked_at(void **state)
{
    (void)state;
    struct upstream *plain = upstream_new(answers, NULL);
    char url[64];
    (void)snprintf(url, sizeof url, "http://127.0.0.1:%u/prices", plain->port);
    (void)setenv("http_proxy", "http://127.0.0.1:9", 1);
    struct fetch fetch = {.url = url, .timeout_ms = 10000, .bytes_max = 1000};
    struct dyn_err err;
    assert_int_equal(fetch_all(&fetch, 1, 1, NULL, NULL, NULL, &err), 0);
    assert_string_equal(fetch.error, "");
    assert_string_equal(dyn_buf_cstr(&fetch.body), "prices");
    dyn_buf_fini(&fetch.body);
    upstream_free(plain);
}

static void
the_way_is_that_of_requests(void **state)
{
    (void)state;
    struct dyn_slice unsaid = dyn_slice(NULL, 0);
    (void)setenv("http_proxy", "http://of.environment:1", 1);
    struct fetch_way way = fetch_way_to("http://example.test/x", unsaid, unsaid);
    assert_string_equal(way.proxy, "http://of.environment:1");
    fetch_way_fini(&way);
    way = fetch_way_to("http://example.test/x", DYN_SLICE("none"), unsaid);
    assert_null(way.proxy);
    fetch_way_fini(&way);
    way = fetch_way_to("http://example.test/x", DYN_SLICE("http://said:2"), DYN_SLICE("a.test"));
    assert_string_equal(way.proxy, "http://said:2");
    assert_string_equal(way.no_proxy, "a.test");
    fetch_way_fini(&way);
    way = fetch_way_to("http://127.0.0.1:80/x", DYN_SLICE("http://said:2"), unsaid);
    assert_null(way.proxy);
    fetch_way_fini(&way);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(https_is_not_left),
        cmocka_unit_test(an_environment_is_not_looked_at),
        cmocka_unit_test(the_way_is_that_of_requests),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
