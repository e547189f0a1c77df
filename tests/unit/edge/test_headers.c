/* What the edge reads out of paths and headers. */
#include "edge/headers.h"
#include "edge/routes.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static struct edge_headers
read_headers(const struct http_header *headers, size_t n)
{
    struct edge_headers read;
    struct http_request request = {.headers = headers, .n_headers = n};
    edge_headers_read(&request, &read);
    return read;
}

#define HEADER(name, value)                                                                                  \
    {                                                                                                        \
        DYN_SLICE_INIT(name), DYN_SLICE_INIT(value)                                                          \
    }

/* ---- trace ids ---- */

#define HEX    "ABCDEF0123456789abcdef0123456789"
#define LOWER  "abcdef0123456789abcdef0123456789"
#define TRACE  "4bf92f3577b34da6a3ce929d0e0e4736"
#define PARENT "00-" TRACE "-00f067aa0ba902b7-01"

static void
assert_trace(const char *traceparent, const char *request_id, const char *wanted, bool passes_on)
{
    char id[EDGE_TRACE_ID_LEN];
    char again[EDGE_TRACE_ID_LEN];
    struct edge_headers headers = {.traceparent = dyn_slice_str(traceparent),
                                   .x_request_id = dyn_slice_str(request_id)};
    struct dyn_slice on = edge_trace_id(&headers, id);
    assert_int_equal(on.data != NULL, passes_on);
    for (size_t i = 0; i < sizeof id; i++) {
        assert_non_null(strchr("0123456789abcdef", id[i]));
    }
    if (wanted != NULL) {
        assert_memory_equal(id, wanted, sizeof id);
    } else { /* a fresh one each time */
        (void)edge_trace_id(&headers, again);
        assert_memory_not_equal(id, again, sizeof id);
    }
}

static void
trace_ids(void **state)
{
    (void)state;
    assert_trace(NULL, NULL, NULL, false);
    assert_trace(NULL, HEX, LOWER, false);
    assert_trace(PARENT, HEX, TRACE, true);
    assert_trace(PARENT, NULL, TRACE, true);
    assert_trace(NULL, "ABCDEF0123456789abcdef012345678", NULL, false); /* 31 */
    assert_trace(NULL, HEX "0", NULL, false);                           /* 33 */
    assert_trace(NULL, "00000000000000000000000000000000", NULL, false);
    assert_trace(NULL, "4bf92f35-77b3-4da6-a3ce-929d0e0e4736", NULL, false);
    assert_trace(NULL, "zbcdef0123456789abcdef0123456789", NULL, false);
    assert_trace("", HEX, LOWER, false);
    assert_trace("00-zz", HEX, LOWER, false);
    assert_trace("ff-" TRACE "-00f067aa0ba902b7-01", HEX, LOWER, false);
    assert_trace("00-" HEX "-00f067aa0ba902b7-01", HEX, LOWER, false); /* upper case */
    assert_trace("00-00000000000000000000000000000000-00f067aa0ba902b7-01", HEX, LOWER, false);
    assert_trace("00-" TRACE "-0000000000000000-01", HEX, LOWER, false);
    assert_trace(PARENT "-more", HEX, LOWER, false);
    assert_trace("01-" TRACE "-00f067aa0ba902b7-01-more", HEX, TRACE, true);
    assert_trace("01-" TRACE "-00f067aa0ba902b7-01more", HEX, LOWER, false);
}

static void
two_traceparents_are_none(void **state)
{
    (void)state;
    static const struct http_header two[] = {HEADER("traceparent", PARENT), HEADER("Traceparent", PARENT)};
    assert_non_null(read_headers(two, 1).traceparent.data);
    assert_null(read_headers(two, 2).traceparent.data);
}

/* ---- credentials ---- */

static void
credentials(void **state)
{
    (void)state;
    static const struct http_header all[] = {HEADER("API-Key", "third"), HEADER("X-API-Key", "second"),
                                             HEADER("Authorization", "BEARER  first"),
                                             HEADER("authorization", "Bearer other")};
    static const struct http_header basic[] = {HEADER("Authorization", "Basic abc")};
    static const struct http_header empty[] = {HEADER("Authorization", "Bearer ")};
    struct edge_headers headers = read_headers(all, 1);
    assert_true(dyn_slice_is(edge_credential(&headers), "third"));
    headers = read_headers(all, 2);
    assert_true(dyn_slice_is(edge_credential(&headers), "second"));
    headers = read_headers(all, 4);
    assert_true(dyn_slice_is(edge_credential(&headers), "first"));
    headers = read_headers(basic, 1);
    assert_null(edge_credential(&headers).data);
    headers = read_headers(empty, 1);
    assert_null(edge_credential(&headers).data);
    headers = read_headers(NULL, 0);
    assert_null(edge_credential(&headers).data);
}

/* ---- bodies ---- */

static void
body_headers(void **state)
{
    (void)state;
    static const struct {
        const char *type;
        const char *encoding;
        const char *expect;
        enum err_code code;
    } rows[] = {
        {"application/json", NULL, NULL, ERR_NONE},
        {"Application/JSON; charset=utf-8", NULL, NULL, ERR_NONE},
        {"application/json ;charset=utf-8", "identity", "100-Continue", ERR_NONE},
        {NULL, NULL, NULL, ERR_UNSUPPORTED_MEDIA},
        {"", NULL, NULL, ERR_UNSUPPORTED_MEDIA},
        {"text/plain", NULL, NULL, ERR_UNSUPPORTED_MEDIA},
        {"application/jsonp", NULL, NULL, ERR_UNSUPPORTED_MEDIA},
        {"application/json", "gzip", NULL, ERR_UNSUPPORTED_MEDIA},
        {"application/json", NULL, "200-ok", ERR_EXPECTATION_FAILED},
    };
    for (size_t i = 0; i < DYN_ARRAY_LEN(rows); i++) {
        struct edge_headers headers = {.content_type = dyn_slice_str(rows[i].type),
                                       .content_encoding = dyn_slice_str(rows[i].encoding),
                                       .expect = dyn_slice_str(rows[i].expect)};
        assert_int_equal(edge_judge_body(&headers), rows[i].code);
    }
}

/* ---- paths ---- */

static void
paths(void **state)
{
    (void)state;
    static const struct {
        const char *method;
        const char *path;
        enum err_code refuse;
        bool is_api;
        const char *id;
    } rows[] = {
        {"POST", "/v1/chat/completions", ERR_NONE, true, NULL},
        {"GET", "/v1/models", ERR_NONE, true, NULL},
        {"HEAD", "/v1/models", ERR_NONE, true, NULL},
        {"GET", "/v1/models/a", ERR_NONE, true, "a"},
        {"GET", "/v1/models/a/b%2f", ERR_NONE, true, "a/b%2f"},
        {"GET", "/v1/models/", ERR_NOT_FOUND, true, NULL},
        {"GET", "/v1/Models", ERR_NOT_FOUND, true, NULL},
        {"GET", "/v1", ERR_NOT_FOUND, true, NULL},
        {"GET", "/v1x", ERR_NOT_FOUND, false, NULL},
        {"GET", "/", ERR_NOT_FOUND, false, NULL},
        {"GET", "*", ERR_NOT_FOUND, false, NULL},
        {"GET", "//health", ERR_NOT_FOUND, false, NULL},
        {"GET", "/health", ERR_NONE, false, NULL},
        {"POST", "/health", ERR_METHOD_NOT_ALLOWED, false, NULL},
        {"GET", "/v1/chat/completions", ERR_METHOD_NOT_ALLOWED, true, NULL},
        {"get", "/health", ERR_METHOD_UNKNOWN, false, NULL},
        {"BREW", "/v1/nothing", ERR_METHOD_UNKNOWN, true, NULL},
    };
    for (size_t i = 0; i < DYN_ARRAY_LEN(rows); i++) {
        struct edge_match match =
            edge_route_match(dyn_slice_str(rows[i].method), dyn_slice_str(rows[i].path));
        assert_int_equal(match.refuse, rows[i].refuse);
        assert_int_equal(match.is_api, rows[i].is_api);
        assert_true(dyn_slice_eq(match.id, dyn_slice_str(rows[i].id)));
        assert_int_equal(match.route != NULL,
                         rows[i].refuse == ERR_NONE || rows[i].refuse == ERR_METHOD_NOT_ALLOWED);
    }
}

static void
escapes(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena, NULL, 0);
    assert_true(dyn_slice_is(edge_path_decode(&arena, DYN_SLICE("a%2Fb%c3%A4")), "a/b\xc3\xa4"));
    assert_true(dyn_slice_is(edge_path_decode(&arena, DYN_SLICE("%252f")), "%2f")); /* once */
    assert_null(edge_path_decode(&arena, DYN_SLICE("a%")).data);
    assert_null(edge_path_decode(&arena, DYN_SLICE("a%2")).data);
    assert_null(edge_path_decode(&arena, DYN_SLICE("a%zz")).data);
    assert_null(edge_path_decode(&arena, DYN_SLICE("a%00")).data);
    assert_null(edge_path_decode(&arena, DYN_SLICE("a%0d%0a")).data);
    arena_fini(&arena);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(trace_ids),   cmocka_unit_test(two_traceparents_are_none),
        cmocka_unit_test(credentials), cmocka_unit_test(body_headers),
        cmocka_unit_test(paths),       cmocka_unit_test(escapes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
