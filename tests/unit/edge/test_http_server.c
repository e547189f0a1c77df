/* The HTTP server as clients see it: one answer a request, whatever the pieces they arrive in. */
#include "tests/unit/edge/http_fixture.h"

#define POST_ONE "POST /one HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"
#define POST_TWO "POST /two HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n"

/* Two pipelined requests, split at every byte: exactly two answers, one call each, while another client is
 * served. */
static void
pipelined_posts_split_at_every_byte(void **state)
{
    (void)state;
    static const char both[] = POST_ONE POST_TWO;
    struct web web;
    web_start(&web);
    struct client other = web_connect(&web);
    for (size_t split = 0; split < sizeof both - 1; split++) {
        struct client client = web_connect(&web);
        unsigned before = web.requests;
        client_send_bytes(&web, &client, dyn_slice(both, split));
        client_send(&web, &other, "GET /other HTTP/1.1\r\nHost: x\r\n\r\n");
        client_send_bytes(&web, &client, dyn_slice(both + split, sizeof both - 1 - split));
        assert_int_equal(client_count(&client, "HTTP/1.1 200 OK\r\n"), 2);
        assert_int_equal(client_count(&client, "POST /one 5 hello"), 1);
        assert_int_equal(client_count(&client, "POST /two 5 abcde"), 1);
        assert_int_equal(web.requests, before + 3);
        assert_false(client.eof);
        client_close(&client);
    }
    assert_int_equal(client_count(&other, "GET /other 0 "), sizeof both - 1);
    web_run(&web);
    assert_int_equal(http_server_connections(web.server), 1);
    client_close(&other);
    web_stop(&web);
}

static void
requests_byte_by_byte(void **state)
{
    (void)state;
    static const char both[] = POST_TWO POST_ONE POST_TWO;
    struct web web;
    web_start(&web);
    struct client client = web_connect(&web);
    for (size_t i = 0; i < sizeof both - 1; i++) {
        client_send_bytes(&web, &client, dyn_slice(both + i, 1));
    }
    assert_int_equal(client_count(&client, "HTTP/1.1 200 OK\r\n"), 3);
    assert_int_equal(web.requests, 3);
    client_close(&client);
    web_stop(&web);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pipelined_posts_split_at_every_byte),
        cmocka_unit_test(requests_byte_by_byte),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
