/* Answers as an upstream may write them, whole and cut at every byte. */
#include "actors/providers/http_reader.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { TOLD_MAX = 4096 };

/* What the reader told, as text: "H name=value", "* status length chunked kept", "D bytes" joined, "E rest".
 */
struct told {
    char text[TOLD_MAX];
    size_t len;
    bool in_data;
    bool is_malformed;
    bool ends_here;
};

static void add(struct told *told, const char *fmt, ...) DYN_PRINTF(2, 3);

static void
add(struct told *told, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    int len = vsnprintf(told->text + told->len, sizeof told->text - told->len, fmt, args);
    va_end(args);
    told->len += (size_t)len;
    assert_true(told->len < sizeof told->text);
}

static void
note(struct told *told, const struct http_reader *reader, const struct http_piece *piece, size_t rest)
{
    if (piece->kind == HTTP_PIECE_DATA) {
        add(told, "%s%.*s", told->in_data ? "" : "D ", (int)piece->value.len, piece->value.data);
        told->in_data = true;
        return;
    }
    add(told, "%s", told->in_data ? "|" : "");
    told->in_data = false;
    if (piece->kind == HTTP_PIECE_HEADER) {
        add(told, "H %.*s=%.*s|", (int)piece->name.len, piece->name.data, (int)piece->value.len,
            piece->value.data);
    } else if (piece->kind == HTTP_PIECE_HEAD) {
        add(told, "* %u %lld %d %d|", reader->status, (long long)reader->content_length, reader->is_chunked,
            reader->is_kept);
    } else {
        add(told, "E %zu", rest);
    }
}

static struct told
read_cut_at(const char *answer, size_t cut)
{
    struct told told = {.len = 0};
    struct http_reader reader;
    struct http_piece piece;
    size_t len = strlen(answer);
    http_reader_init(&reader);
    for (size_t at = 0; at < len && !told.is_malformed;) {
        size_t end = at == 0 && cut > 0 ? cut : len;
        char *copy = dyn_strndup(answer + at, end - at); /* its end is found by the sanitizer */
        struct dyn_slice bytes = {copy, end - at};
        int found;
        while ((found = http_reader_next(&reader, &bytes, &piece)) == 1) {
            note(&told, &reader, &piece, bytes.len + (len - end));
            if (piece.kind == HTTP_PIECE_END) {
                break;
            }
        }
        told.is_malformed = found < 0;
        free(copy);
        at = end;
        if (found == 1) {
            break;
        }
    }
    told.ends_here = http_reader_ends_here(&reader);
    http_reader_fini(&reader);
    return told;
}

/* Wherever it is cut, the same is told. */
static struct told
read_answer(const char *answer)
{
    struct told whole = read_cut_at(answer, 0);
    for (size_t cut = 1; cut < strlen(answer); cut++) {
        struct told told = read_cut_at(answer, cut);
        assert_string_equal(told.text, whole.text);
        assert_int_equal(told.is_malformed, whole.is_malformed);
        assert_int_equal(told.ends_here, whole.ends_here);
    }
    return whole;
}

static void
assert_told(const char *answer, const char *expected)
{
    struct told told = read_answer(answer);
    assert_string_equal(told.text, expected);
    assert_false(told.is_malformed);
}

static void
a_length_ends_the_body(void **state)
{
    (void)state;
    assert_told("HTTP/1.1 200 OK\r\nA: b \r\nContent-Length: 5\r\n\r\nhello",
                "H A=b|H Content-Length=5|* 200 5 0 1|D hello|E 0");
    assert_told("HTTP/1.1 201\nContent-Length:0\n\n", "H Content-Length=0|* 201 0 0 1|E 0");
    assert_told("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP",
                "H Content-Length=2|* 200 2 0 1|D ok|E 4");
}

static void
chunks_are_joined(void **state)
{
    (void)state;
    assert_told("HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n3\r\nabc\r\n1A;x=y\r\n"
                "abcdefghijklmnopqrstuvwxyz\r\n0\r\nTrailer: t\r\n\r\n",
                "H Transfer-Encoding=Chunked|* 200 -1 1 1|D abcabcdefghijklmnopqrstuvwxyz|E 0");
    assert_told("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 9\r\n\r\n0\r\n\r\n",
                "H Transfer-Encoding=chunked|H Content-Length=9|* 200 9 1 0|E 0");
    assert_told("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
                "H Connection=keep-alive|H Transfer-Encoding=chunked|* 200 -1 1 0|E 0");
}

static void
without_a_length_the_connection_ends_the_body(void **state)
{
    (void)state;
    struct told told = read_answer("HTTP/1.1 200 OK\r\n\r\nall of it");
    assert_string_equal(told.text, "* 200 -1 0 0|D all of it");
    assert_true(told.ends_here);
    assert_false(read_answer("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell").ends_here);
    assert_false(read_answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhell\r\n").ends_here);
    assert_false(read_answer("HTTP/1.1 200 OK\r\n").ends_here);
}

static void
some_answers_have_no_body(void **state)
{
    (void)state;
    assert_told("HTTP/1.1 204 No Content\r\n\r\n", "* 204 -1 0 1|E 0");
    assert_told("HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n",
                "H Content-Length=7|* 304 7 0 1|E 0");
}

static void
interim_answers_are_left_out(void **state)
{
    (void)state;
    assert_told(
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\nContent-Length: 9\r\n\r\n"
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx",
        "H Content-Length=1|* 200 1 0 1|D x|E 0");
}

static void
the_connection_is_kept_as_the_server_says(void **state)
{
    (void)state;
    assert_told("HTTP/1.1 200 OK\r\nConnection: x, Close\r\nContent-Length: 0\r\n\r\n",
                "H Connection=x, Close|H Content-Length=0|* 200 0 0 0|E 0");
    assert_told("HTTP/1.1 200 OK\r\nConnection: close, keep-alive\r\nContent-Length: 0\r\n\r\n",
                "H Connection=close, keep-alive|H Content-Length=0|* 200 0 0 0|E 0");
    assert_told("HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", "H Content-Length=0|* 200 0 0 0|E 0");
    assert_told("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n",
                "H Connection=keep-alive|H Content-Length=0|* 200 0 0 1|E 0");
}

static void
folded_lines_are_left_out(void **state)
{
    (void)state;
    assert_told("HTTP/1.1 200 OK\r\nA: b\r\n c: d\r\nno colon\r\nContent-Length: 0\r\n\r\n",
                "H A=b|H Content-Length=0|* 200 0 0 1|E 0");
}

static void
what_can_be_read_in_two_ways_is_malformed(void **state)
{
    (void)state;
    static const char *const answers[] = {
        "SSH-2.0-x\r\n",
        "hello",
        "HTTP/2 200\r\n\r\n",
        "HTTP/1.1 2x0 OK\r\n\r\n",
        "HTTP/1.1 20\r\n\r\n",
        "HTTP/1.1 2000 OK\r\n\r\n",
        "HTTP/1.1 099 OK\r\n\r\n",
        "\r\nHTTP/1.1 200 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 9999999999999999999\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n , gzip\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\t0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
    };
    for (size_t i = 0; i < DYN_ARRAY_LEN(answers); i++) {
        struct told told = read_answer(answers[i]);
        if (!told.is_malformed) {
            fail_msg("taken: %s as %s", answers[i], told.text);
        }
    }
}

/* As much as a head may have, and not a byte more, in one line or in many. */
static void
a_head_has_a_limit(void **state)
{
    (void)state;
    for (int is_one = 0; is_one < 2; is_one++) {
        struct http_reader reader;
        struct http_piece piece;
        static const char line[] = "name: some value of a header\r\n";
        size_t taken = 0;
        struct dyn_slice bytes = DYN_SLICE("HTTP/1.1 200 OK\r\nlong: ");
        http_reader_init(&reader);
        int found = http_reader_next(&reader, &bytes, &piece);
        while (found >= 0 && taken <= HTTP_HEAD_BYTES_MAX) {
            bytes = dyn_slice(line, is_one ? sizeof line - 3 : sizeof line - 1);
            taken += bytes.len;
            found = http_reader_next(&reader, &bytes, &piece);
        }
        assert_int_equal(found, -1);
        assert_in_range(taken, HTTP_HEAD_BYTES_MAX - 64, HTTP_HEAD_BYTES_MAX);
        http_reader_fini(&reader);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_length_ends_the_body),
        cmocka_unit_test(chunks_are_joined),
        cmocka_unit_test(without_a_length_the_connection_ends_the_body),
        cmocka_unit_test(some_answers_have_no_body),
        cmocka_unit_test(interim_answers_are_left_out),
        cmocka_unit_test(the_connection_is_kept_as_the_server_says),
        cmocka_unit_test(folded_lines_are_left_out),
        cmocka_unit_test(what_can_be_read_in_two_ways_is_malformed),
        cmocka_unit_test(a_head_has_a_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
