/* Bytes that two servers could read in two ways are answered 400 and the connection ends; nothing of them,
 * or of what follows, reaches a handler. Whole, and byte by byte. */
#include "tests/unit/edge/http_fixture.h"

#define HOST          "Host: x\r\n"
#define POST          "POST / HTTP/1.1\r\n" HOST
#define TE            "Transfer-Encoding: "
#define LENGTH        "Content-Length: "
#define EMPTY_CHUNKED "\r\n0\r\n\r\n"
#define SMUGGLED      "GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"

struct attack {
    const char *name;
    const char *bytes;
    size_t len; /* 0: strlen */
    unsigned status;
};

/* A chunked request whose body is wrong reaches `head`, never `request`. */
#define CHUNKED "POST /c HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n"

static const struct attack attacks[] = {
    {"blank before colon", "GET / HTTP/1.1\r\nHost : x\r\n\r\n", 0, 400},
    {"blank before colon of a length", "POST / HTTP/1.1\r\n" HOST "Content-Length : 5\r\n\r\nhello", 0, 400},
    {"bare LF in the request line", "GET / HTTP/1.1\n" HOST "\r\n", 0, 400},
    {"bare LF in a header", "GET / HTTP/1.1\r\n" HOST "A: b\nC: d\r\n\r\n", 0, 400},
    {"bare LF at the end", "GET / HTTP/1.1\r\n" HOST "\n", 0, 400},
    {"bare CR in a header", "GET / HTTP/1.1\r\n" HOST "A: b\rC: d\r\n\r\n", 0, 400},
    {"bare CR at the end", "GET / HTTP/1.1\r\n" HOST "\rX", 0, 400},
    {"folded header", "GET / HTTP/1.1\r\n" HOST "A: b\r\n c\r\n\r\n", 0, 400},
    {"folded with tab", "GET / HTTP/1.1\r\n" HOST "A: b\r\n\tc\r\n\r\n", 0, 400},
    {"first header folded", "GET / HTTP/1.1\r\n Host: x\r\n\r\n", 0, 400},
    {"NUL in a header", "GET / HTTP/1.1\r\n" HOST "A: b\0c\r\n\r\n", 34, 400},
    {"NUL in the target", "GET /a\0b HTTP/1.1\r\n" HOST "\r\n", 30, 400},
    {"control byte in a header", "GET / HTTP/1.1\r\n" HOST "A: b\x01\r\n\r\n", 0, 400},
    {"DEL in a header", "GET / HTTP/1.1\r\n" HOST "A: b\x7f\r\n\r\n", 0, 400},
    {"tab in the request line", "GET\t/ HTTP/1.1\r\n" HOST "\r\n", 0, 400},
    {"two blanks in the request line", "GET  / HTTP/1.1\r\n" HOST "\r\n", 0, 400},
    {"blank in the target", "GET /a b HTTP/1.1\r\n" HOST "\r\n", 0, 400},
    {"blank behind the version", "GET / HTTP/1.1 \r\n" HOST "\r\n", 0, 400},
    {"eight-bit target", "GET /\xc3\xa4 HTTP/1.1\r\n" HOST "\r\n", 0, 400},
    {"fragment", "GET /a#b HTTP/1.1\r\n" HOST "\r\n", 0, 400},
    {"no version", "GET /\r\n" HOST "\r\n", 0, 400},
    {"version misspelt", "GET / HTTX/1.1\r\n" HOST "\r\n", 0, 400},
    {"version in lower case", "GET / http/1.1\r\n" HOST "\r\n", 0, 400},
    {"three empty lines first", "\r\n\r\n\r\nGET / HTTP/1.1\r\n" HOST "\r\n", 0, 400},
    {"line without colon", "GET / HTTP/1.1\r\n" HOST "nonsense\r\n\r\n", 0, 400},
    {"empty header name", "GET / HTTP/1.1\r\n" HOST ": x\r\n\r\n", 0, 400},
    {"several lengths", POST LENGTH "5\r\n" LENGTH "6\r\n\r\nhello", 0, 400},
    {"the same length twice", POST LENGTH "5\r\n" LENGTH "5\r\n\r\nhello", 0, 400},
    {"list of lengths", POST LENGTH "5, 5\r\n\r\nhello", 0, 400},
    {"negative length", POST LENGTH "-5\r\n\r\nhello", 0, 400},
    {"signed length", POST LENGTH "+5\r\n\r\nhello", 0, 400},
    {"length in hex", POST LENGTH "0x5\r\n\r\nhello", 0, 400},
    {"empty length", POST LENGTH "\r\n\r\nhello", 0, 400},
    {"length that overflows", POST LENGTH "18446744073709551621\r\n\r\nhello", 0, 400},
    {"length that means unknown", POST LENGTH "18446744073709551615\r\n\r\nhello", 0, 400},
    {"length and chunked", POST LENGTH "5\r\n" TE "chunked\r\n" EMPTY_CHUNKED, 0, 400},
    {"chunked and length", POST TE "chunked\r\n" LENGTH "5\r\n" EMPTY_CHUNKED, 0, 400},
    {"gzip, chunked", POST TE "gzip, chunked\r\n" EMPTY_CHUNKED, 0, 400},
    {"chunked, identity", POST TE "chunked, identity\r\n" EMPTY_CHUNKED, 0, 400},
    {"chunked twice", POST TE "chunked\r\n" TE "chunked\r\n" EMPTY_CHUNKED, 0, 400},
    {"xchunked", POST TE "xchunked\r\n" EMPTY_CHUNKED, 0, 400},
    {"identity", POST TE "identity\r\n\r\n", 0, 400},
    {"chunked in 1.0", "POST / HTTP/1.0\r\n" HOST "Transfer-Encoding: chunked\r\n" EMPTY_CHUNKED, 0, 400},
    {"no Host", "GET / HTTP/1.1\r\n\r\n", 0, 400},
    {"two Hosts", "GET / HTTP/1.1\r\n" HOST "Host: y\r\n\r\n", 0, 400},
    {"Host with a path", "GET / HTTP/1.1\r\nHost: x/y\r\n\r\n", 0, 400},
    {"Host with user", "GET / HTTP/1.1\r\nHost: a@x\r\n\r\n", 0, 400},
    {"two Hosts in one", "GET / HTTP/1.1\r\nHost: x, y\r\n\r\n", 0, 400},
    {"HTTP/2.0", "GET / HTTP/2.0\r\n" HOST "\r\n", 0, 505},
    {"HTTP/1.2", "GET / HTTP/1.2\r\n" HOST "\r\n", 0, 505},
    {"HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 0, 505},
    {"unknown method", "BREW /pot HTTP/1.1\r\n" HOST "\r\n", 0, 501},
    {"CONNECT", "CONNECT x:443 HTTP/1.1\r\n" HOST "\r\n", 0, 501},
    {"method is no token", "G(T / HTTP/1.1\r\n" HOST "\r\n", 0, 400},
    {"asterisk with GET", "GET * HTTP/1.1\r\n" HOST "\r\n", 0, 400},
    {"TLS hello", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 11, 400},
};

static const struct attack chunk_attacks[] = {
    {"no size", CHUNKED "\r\nhello\r\n0\r\n\r\n", 0, 400},
    {"size with sign", CHUNKED "+5\r\nhello\r\n0\r\n\r\n", 0, 400},
    {"size with 0x", CHUNKED "0x5\r\nhello\r\n0\r\n\r\n", 0, 400},
    {"size with blank", CHUNKED "5 \r\nhello\r\n0\r\n\r\n", 0, 400},
    {"blank before size", CHUNKED " 5\r\nhello\r\n0\r\n\r\n", 0, 400},
    {"size that overflows", CHUNKED "10000000000000005\r\nhello\r\n0\r\n\r\n", 0, 400},
    {"LF behind size", CHUNKED "5\nhello\r\n0\r\n\r\n", 0, 400},
    {"CR without LF behind size", CHUNKED "5\rXhello\r\n0\r\n\r\n", 0, 400},
    {"LF in an extension", CHUNKED "5;a\nb\r\nhello\r\n0\r\n\r\n", 0, 400},
    {"junk behind a chunk", CHUNKED "5\r\nhelloXX0\r\n\r\n", 0, 400},
    {"LF behind a chunk", CHUNKED "5\r\nhello\n0\r\n\r\n", 0, 400},
    {"CR and junk behind a chunk", CHUNKED "5\r\nhello\rX0\r\n\r\n", 0, 400},
    {"LF at the end", CHUNKED "5\r\nhello\r\n0\r\n\n", 0, 400},
    {"LF behind the last size", CHUNKED "5\r\nhello\r\n0\n\r\n", 0, 400},
    {"trailer without colon", CHUNKED "0\r\nabc\r\n\r\n", 0, 400},
    {"trailer with blank before colon", CHUNKED "0\r\nabc : d\r\n\r\n", 0, 400},
    {"folded trailer", CHUNKED "0\r\nabc: d\r\n e\r\n\r\n", 0, 400},
    {"trailer without name", CHUNKED "0\r\n: d\r\n\r\n", 0, 400},
    {"NUL in a trailer", CHUNKED "0\r\nabc: d\0\r\n\r\n", sizeof CHUNKED - 1 + 3 + 7 + 4, 400},
    {"trailer ended by LF", CHUNKED "0\r\nabc: d\n\r\n", 0, 400},
};

static struct dyn_slice
bytes_of(const struct attack *attack)
{
    return dyn_slice(attack->bytes, attack->len ? attack->len : strlen(attack->bytes));
}

static void
assert_refused(struct web *web, struct client *client, const struct attack *attack)
{
    if (client_status(client) != attack->status) {
        const char *got = client->got ? client->got : "nothing";
        fail_msg("%s: wanted %u, got: %s", attack->name, attack->status, got);
    }
    client_assert_has(client, "connection: close\r\n");
    assert_int_equal(client_count(client, "content-length: "), 1);
    assert_true(client->eof);
    assert_int_equal(web->requests, 0);
    client_close(client);
    web_run(web);
    assert_int_equal(http_server_connections(web->server), 0);
}

static void
attack_all(const struct attack *list, size_t n, bool reaches_head)
{
    struct web web;
    web_start(&web);
    for (size_t i = 0; i < n; i++) {
        struct dyn_slice bytes = bytes_of(&list[i]);
        struct client whole = web_connect(&web);
        client_send_bytes(&web, &whole, bytes);
        client_send(&web, &whole, SMUGGLED);
        assert_refused(&web, &whole, &list[i]);

        struct client slow = web_connect(&web);
        for (size_t at = 0; at < bytes.len && !slow.eof; at++) {
            client_send_bytes(&web, &slow, dyn_slice(bytes.data + at, 1));
        }
        client_send(&web, &slow, SMUGGLED);
        assert_refused(&web, &slow, &list[i]);
    }
    assert_int_equal(web.refusals, n * 2);
    assert_int_equal(web.heads, reaches_head ? n * 2 : 0);
    web_stop(&web);
}

static void
ambiguous_heads_are_refused(void **state)
{
    (void)state;
    attack_all(attacks, DYN_ARRAY_LEN(attacks), false);
}

static void
ambiguous_chunks_are_refused(void **state)
{
    (void)state;
    attack_all(chunk_attacks, DYN_ARRAY_LEN(chunk_attacks), true);
}

static void
send_many(struct web *web, struct client *client, const char *text, size_t times)
{
    for (size_t i = 0; i < times && !client->eof; i++) {
        client_send(web, client, text);
    }
}

static void
endless_extension_and_trailers_are_refused(void **state)
{
    (void)state;
    struct web web;
    web_start(&web);
    struct client client = web_connect(&web);
    client_send(&web, &client, CHUNKED "5;");
    send_many(&web, &client, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", 100);
    assert_refused(&web, &client, &(struct attack){"extension", NULL, 0, 400});
    client = web_connect(&web);
    client_send(&web, &client, CHUNKED "0\r\n");
    send_many(&web, &client, "aaaaaaaaaaaaaaaaaaaaaaaaaaaa: b\r\n", 1000);
    assert_refused(&web, &client, &(struct attack){"trailers", NULL, 0, 400});
    web_stop(&web);
}

static void
a_long_head_is_431(void **state)
{
    (void)state;
    struct web web;
    web_start_with(&web, &(struct http_server_options){.head_max = 4096});
    struct client client = web_connect(&web);
    client_send(&web, &client, "GET / HTTP/1.1\r\n" HOST "A: ");
    send_many(&web, &client, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", 100);
    assert_refused(&web, &client, &(struct attack){"long", NULL, 0, 431});
    client = web_connect(&web);
    client_send(&web, &client, "GET / HTTP/1.1\r\n" HOST);
    send_many(&web, &client, "A: b\r\n", 100);
    client_send(&web, &client, "\r\n");
    assert_refused(&web, &client, &(struct attack){"many", NULL, 0, 431});
    web_stop(&web);
}

struct good {
    const char *bytes;
    const char *answer;
};

/* What looks odd and is fine. */
static void
unusual_requests_are_served(void **state)
{
    (void)state;
    static const struct good good[] = {
        {"\r\nGET /a HTTP/1.1\r\n" HOST "\r\n", "GET /a 0 "},
        {"GET http://example.org/abs?q HTTP/1.1\r\n" HOST "\r\n", "GET /abs 0 "},
        {"GET http://example.org HTTP/1.1\r\n" HOST "\r\n", "GET / 0 "},
        {"OPTIONS * HTTP/1.1\r\n" HOST "\r\n", "OPTIONS * 0 "},
        {"GET /a HTTP/1.1\r\nHost:\r\n\r\n", "GET /a 0 "},
        {"GET /a HTTP/1.1\r\nhOsT:   [::1]:80  \r\n\r\n", "GET /a 0 "},
        {"GET /%20%2f?x=%00 HTTP/1.1\r\n" HOST "\r\n", "GET /%20%2f 0 "},
        {"POST /l HTTP/1.1\r\n" HOST "Content-Length:\t5 \r\n\r\nhello", "POST /l 5 hello"},
        {"POST /z HTTP/1.1\r\n" HOST "Content-Length: 0\r\n\r\n", "POST /z 0 "},
        {"POST /o HTTP/1.1\r\n" HOST "Content-Length: 0000000005\r\n\r\nhello", "POST /o 5 hello"},
        {"POST /t HTTP/1.1\r\n" HOST "Transfer-Encoding: Chunked\r\n\r\n005\r\nhello\r\n000\r\nA: b\r\n\r\n",
         "POST /t 5 hello"},
        {"POST /e HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "POST /e 0 "},
        {"POST /x HTTP/1.1\r\n" HOST TE "chunked\r\n\r\nA;q=\"1\"\r\n0123456789\r\n0;e\r\n\r\n",
         "POST /x 10 0123456789"},
        {"GET /u HTTP/1.1\r\n" HOST "Upgrade: websocket\r\nConnection: Upgrade\r\n\r\n", "GET /u 0 "},
        {"GET /8 HTTP/1.1\r\n" HOST "A: \xc3\xa4\r\n\r\n", "GET /8 0 "},
        {"PROPFIND /w HTTP/1.1\r\n" HOST "\r\n", "PROPFIND /w 0 "},
    };
    struct web web;
    web_start(&web);
    struct client client = web_connect(&web);
    for (size_t i = 0; i < DYN_ARRAY_LEN(good); i++) {
        client_forget(&client);
        client_send(&web, &client, good[i].bytes);
        client_assert_has(&client, "HTTP/1.1 200 OK\r\n");
        client_assert_has(&client, good[i].answer);
        assert_false(client.eof);
    }
    client_close(&client);
    web_stop(&web);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ambiguous_heads_are_refused),
        cmocka_unit_test(ambiguous_chunks_are_refused),
        cmocka_unit_test(endless_extension_and_trailers_are_refused),
        cmocka_unit_test(a_long_head_is_431),
        cmocka_unit_test(unusual_requests_are_served),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
