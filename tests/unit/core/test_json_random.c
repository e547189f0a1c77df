/* Random texts, whole and damaged, at fixed seeds: the scanner agrees with a plain recursive reading of
 * RFC 8259, the walk with cJSON, and the fast loops with their portable twins. */
#include "core/buf.h"
#include "core/json_scan.h"
#include "core/json_skip.h"
#include "core/json_tree.h"
#include "core/rand.h"
#include "core/text.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

enum { DEPTH = 12 };

/* The grammar read straight from the RFC, one function for each production, NULL for "no". */
static const char *read_value(const char *at, const char *end, unsigned depth);

static const char *
read_space(const char *at, const char *end)
{
    while (at < end && memchr(" \t\r\n", *at, 4) != NULL) {
        at++;
    }
    return at;
}

static const char *
read_char(const char *at, const char *end, char c)
{
    return at != NULL && at < end && *at == c ? at + 1 : NULL;
}

/* Four hex digits as a number, -1 when they are not. */
static long
read_hex(const char *at, const char *end)
{
    char digits[5] = {0};
    if (end - at < 4) {
        return -1;
    }
    memcpy(digits, at, 4);
    return strspn(digits, "0123456789abcdefABCDEF") == 4 ? strtol(digits, NULL, 16) : -1;
}

static const char *
read_unicode_escape(const char *at, const char *end)
{
    long unit = read_hex(at, end);
    if (unit <= 0 || (unit >= 0xDC00 && unit <= 0xDFFF)) {
        return NULL;
    }
    at += 4;
    if (unit < 0xD800 || unit > 0xDBFF) {
        return at;
    }
    at = read_char(at, end, '\\');
    at = read_char(at, end, 'u');
    long low = at != NULL ? read_hex(at, end) : -1;
    return low >= 0xDC00 && low <= 0xDFFF ? at + 4 : NULL;
}

static const char *
read_string(const char *at, const char *end)
{
    at = read_char(at, end, '"');
    while (at != NULL && at < end && *at != '"') {
        if (*at == '\\') {
            at++;
            if (at < end && *at == 'u') {
                at = read_unicode_escape(at + 1, end);
            } else {
                at = at < end && *at != '\0' && strchr("\"\\/bfnrt", *at) != NULL ? at + 1 : NULL;
            }
        } else if ((unsigned char)*at < 0x20) {
            return NULL;
        } else {
            size_t len = dyn_utf8_len(at, end);
            at = len > 0 ? at + len : NULL;
        }
    }
    return read_char(at, end, '"');
}

static const char *
read_digits(const char *at, const char *end)
{
    const char *first = at;
    while (at < end && *at >= '0' && *at <= '9') {
        at++;
    }
    return at > first ? at : NULL;
}

static const char *
read_number(const char *at, const char *end)
{
    const char *minus = read_char(at, end, '-');
    at = minus != NULL ? minus : at;
    const char *zero = read_char(at, end, '0');
    at = zero != NULL ? zero : read_digits(at, end);
    if (at != NULL && at < end && *at == '.') {
        at = read_digits(at + 1, end);
    }
    if (at != NULL && at < end && (*at == 'e' || *at == 'E')) {
        at++;
        at += at < end && (*at == '+' || *at == '-');
        at = read_digits(at, end);
    }
    return at;
}

static const char *
read_items(const char *at, const char *end, unsigned depth, bool object)
{
    const char *empty = read_char(read_space(at, end), end, object ? '}' : ']');
    if (empty != NULL) {
        return empty;
    }
    for (;;) {
        if (object) {
            at = read_string(read_space(at, end), end);
            at = at != NULL ? read_char(read_space(at, end), end, ':') : NULL;
        }
        at = at != NULL ? read_value(at, end, depth) : NULL;
        if (at == NULL) {
            return NULL;
        }
        at = read_space(at, end);
        const char *comma = read_char(at, end, ',');
        if (comma == NULL) {
            return read_char(at, end, object ? '}' : ']');
        }
        at = comma;
    }
}

static const char *
read_value(const char *at, const char *end, unsigned depth)
{
    at = read_space(at, end);
    if (at == end) {
        return NULL;
    }
    if (*at == '{' || *at == '[') {
        return depth > 0 ? read_items(at + 1, end, depth - 1, *at == '{') : NULL;
    }
    static const char *const words[] = {"null", "true", "false"};
    for (size_t i = 0; i < DYN_ARRAY_LEN(words); i++) {
        size_t len = strlen(words[i]);
        if ((size_t)(end - at) >= len && memcmp(at, words[i], len) == 0) {
            return at + len;
        }
    }
    return *at == '"' ? read_string(at, end) : read_number(at, end);
}

static bool
is_json(struct dyn_slice text)
{
    const char *end = text.data + text.len;
    const char *at = read_value(text.data, end, DEPTH);
    return at != NULL && read_space(at, end) == end;
}

/* Random texts that are JSON. */
static void
write_space(struct dyn_buf *out, struct dyn_rng *rng)
{
    static const char *const spaces[] = {"", "", "", "", " ", "\n  ", "\r\n\t", "      "};
    dyn_buf_add_str(out, spaces[dyn_rng_below(rng, DYN_ARRAY_LEN(spaces))]);
}

static void
write_string(struct dyn_buf *out, struct dyn_rng *rng)
{
    static const char *const pieces[] = {
        "a",
        "word ",
        "{",
        "]",
        ",",
        ":",
        "\\\"",
        "\\\\",
        "\\/",
        "\\n",
        "\\u00e4",
        "\\uD83D\\uDE00",
        "\\u0001",
        "\xc3\xa4",
        "\xe6\xb8\xaf\xe5\x8f\xa3",
        "\xf0\x9f\x98\x80",
        "\x7f",
        "a sentence of thirty-two bytes. ",
    };
    dyn_buf_add_char(out, '"');
    for (uint64_t n = dyn_rng_below(rng, dyn_rng_below(rng, 8) == 0 ? 40 : 5); n > 0; n--) {
        dyn_buf_add_str(out, pieces[dyn_rng_below(rng, DYN_ARRAY_LEN(pieces))]);
    }
    if (dyn_rng_below(rng, 16) == 0) { /* long enough for whole blocks of it */
        for (uint64_t n = dyn_rng_below(rng, 30); n > 0; n--) {
            dyn_buf_add_str(out, "\xe6\xb8\xaf\xd0\xb3 \xf0\x9f\x98\x80");
        }
    }
    dyn_buf_add_char(out, '"');
}

static void
write_number(struct dyn_buf *out, struct dyn_rng *rng)
{
    static const char *const numbers[] = {
        "0", "-0", "1", "-17", "0.25", "1e3", "-2.5E-7", "12345678901234567890", "1.0", "1e400"};
    dyn_buf_add_str(out, numbers[dyn_rng_below(rng, DYN_ARRAY_LEN(numbers))]);
}

static void
write_value(struct dyn_buf *out, struct dyn_rng *rng, unsigned depth)
{
    static const char *const words[] = {"null", "true", "false"};
    write_space(out, rng);
    uint64_t kind = dyn_rng_below(rng, depth > 0 ? 8 : 4);
    if (kind == 0) {
        dyn_buf_add_str(out, words[dyn_rng_below(rng, 3)]);
    } else if (kind == 1) {
        write_number(out, rng);
    } else if (kind < 4) {
        write_string(out, rng);
    } else {
        bool object = kind >= 6;
        dyn_buf_add_char(out, object ? '{' : '[');
        write_space(out, rng);
        for (uint64_t n = dyn_rng_below(rng, 6), i = 0; i < n; i++) {
            if (object) {
                write_string(out, rng);
                write_space(out, rng);
                dyn_buf_add_char(out, ':');
            }
            write_value(out, rng, depth - 1);
            dyn_buf_add_str(out, i + 1 < n ? "," : "");
            write_space(out, rng);
        }
        dyn_buf_add_char(out, object ? '}' : ']');
    }
    write_space(out, rng);
}

static void
assert_agreement(struct dyn_slice text)
{
    char *exact = dyn_alloc(text.len);
    memcpy(exact, text.data, text.len);
    struct dyn_slice copy = dyn_slice(exact, text.len);
    struct json_error error = {"", 0};
    struct json_value value;
    bool accepted = json_scan(copy, DEPTH, &value, &error) == 0;
    if (accepted != is_json(copy)) {
        fail_msg("%s (%s at %zu): %.*s", accepted ? "accepted" : "refused", error.what, error.offset,
                 (int)text.len, text.data);
    }
    if (!accepted && error.offset > text.len) {
        fail_msg("error at %zu of %zu", error.offset, text.len);
    }
    free(exact);
}

static void
whole_texts_are_accepted(void **state)
{
    (void)state;
    struct dyn_rng rng;
    dyn_rng_seed(&rng, 10);
    struct dyn_buf text = DYN_BUF_INIT;
    for (int i = 0; i < 20000; i++) {
        dyn_buf_clear(&text);
        write_value(&text, &rng, (unsigned)dyn_rng_below(&rng, 6));
        assert_true(is_json(dyn_buf_slice(&text)));
        assert_agreement(dyn_buf_slice(&text));
    }
    dyn_buf_fini(&text);
}

static void
texts_cut_anywhere_are_judged_alike(void **state)
{
    (void)state;
    struct dyn_rng rng;
    dyn_rng_seed(&rng, 11);
    struct dyn_buf text = DYN_BUF_INIT;
    for (int i = 0; i < 1500; i++) {
        dyn_buf_clear(&text);
        write_value(&text, &rng, 3);
        size_t from = text.len < 300 ? 0 : text.len - 300;
        for (size_t len = from; len < text.len; len++) {
            assert_agreement(dyn_slice(text.data, len));
        }
    }
    dyn_buf_fini(&text);
}

static void
damage(struct dyn_buf *text, struct dyn_rng *rng)
{
    static const char bytes[] = "\0\x01\n\"\\/u{}[],:0-.eE tfn\x7f\x80\xbf\xc0\xc3\xe6\xed\xf0\xf4\xff";
    size_t at = dyn_rng_below(rng, text->len);
    char byte = bytes[dyn_rng_below(rng, sizeof bytes - 1)];
    switch (dyn_rng_below(rng, 4)) {
    case 0:
        text->data[at] = byte;
        break;
    case 1:
        memmove(text->data + at, text->data + at + 1, text->len - at - 1);
        text->len--;
        break;
    case 2: {
        size_t other = dyn_rng_below(rng, text->len);
        char swapped = text->data[at];
        text->data[at] = text->data[other];
        text->data[other] = swapped;
        break;
    }
    default:
        dyn_buf_add_char(text, ' ');
        memmove(text->data + at + 1, text->data + at, text->len - at - 1);
        text->data[at] = byte;
        break;
    }
}

static void
damaged_texts_are_judged_alike(void **state)
{
    (void)state;
    struct dyn_rng rng;
    dyn_rng_seed(&rng, 12);
    struct dyn_buf text = DYN_BUF_INIT;
    for (int i = 0; i < 60000; i++) {
        dyn_buf_clear(&text);
        write_value(&text, &rng, 4);
        for (uint64_t n = dyn_rng_below(&rng, 4) + 1; n > 0 && text.len > 0; n--) {
            damage(&text, &rng);
        }
        assert_agreement(dyn_buf_slice(&text));
    }
    dyn_buf_fini(&text);
}

static void
assert_same_string(struct json_value string, const char *expected)
{
    struct dyn_buf decoded = DYN_BUF_INIT;
    json_string_decode(string, &decoded);
    assert_string_equal(dyn_buf_cstr(&decoded), expected);
    dyn_buf_fini(&decoded);
}

/* Item by item: the same types, keys, strings and numbers, and neither has more. */
static void
assert_same_tree(struct json_value value, const cJSON *tree)
{
    static const int types[] = {cJSON_NULL,   cJSON_False, cJSON_True,  cJSON_Number,
                                cJSON_String, cJSON_Array, cJSON_Object};
    assert_int_equal(tree->type & 0xFF, types[value.type]);
    if (value.type == JSON_STRING) {
        assert_same_string(value, tree->valuestring);
    } else if (value.type == JSON_NUMBER) {
        double real;
        int outcome = json_double(value, &real);
        assert_int_equal(outcome == 0, isfinite(tree->valuedouble) != 0);
        assert_true(outcome != 0 || (real <= tree->valuedouble && real >= tree->valuedouble));
    }
    const cJSON *child = tree->child;
    struct json_member member;
    for (struct json_iter it = json_iter(value); json_iter_next(&it, &member); child = child->next) {
        assert_non_null(child);
        if (value.type == JSON_OBJECT) {
            assert_true(json_key_is(&member, child->string));
        }
        assert_same_tree(member.value, child);
    }
    assert_null(child);
}

static void
walks_agree_with_cjson(void **state)
{
    (void)state;
    struct dyn_rng rng;
    dyn_rng_seed(&rng, 13);
    struct dyn_buf text = DYN_BUF_INIT;
    for (int i = 0; i < 20000; i++) {
        dyn_buf_clear(&text);
        write_value(&text, &rng, 5);
        struct json_value value;
        struct json_error error;
        assert_int_equal(json_scan(dyn_buf_slice(&text), DEPTH, &value, &error), 0);
        struct cJSON *tree = json_tree_parse(dyn_buf_slice(&text), DEPTH, &error);
        assert_non_null(tree);
        assert_same_tree(value, tree);
        json_tree_free(&tree);
    }
    dyn_buf_fini(&text);
}

static void
check_loops(const char *at, const char *end)
{
    const char *plain = at;
    const char *quote = at;
    const char *ascii = at;
    while (plain < end && json_byte_is_plain(*plain)) {
        plain++;
    }
    while (quote < end && *quote != '"' && *quote != '\\') {
        quote++;
    }
    while (ascii < end && (unsigned char)*ascii < 0x80 && *ascii != '\\') {
        ascii++;
    }
    assert_ptr_equal(json_skip_plain(at, end), plain);
    assert_ptr_equal(json_skip_plain_portable(at, end), plain);
    assert_ptr_equal(json_skip_to_quote(at, end), quote);
    assert_ptr_equal(json_skip_to_quote_portable(at, end), quote);
    assert_ptr_equal(json_skip_ascii(at, end), ascii);
    assert_ptr_equal(json_skip_ascii_portable(at, end), ascii);
}

/* At every length and alignment, with nothing to find, one byte, or some. */
static void
fast_loops_agree_with_a_look_at_each_byte(void **state)
{
    (void)state;
    enum { LONGEST = 200 };
    struct dyn_rng rng;
    dyn_rng_seed(&rng, 14);
    for (size_t len = 0; len < LONGEST; len++) {
        for (size_t from = 0; from < 16; from++) {
            char *text = dyn_alloc(from + len);
            for (unsigned round = 0; round < 20; round++) {
                for (size_t i = 0; i < from + len; i++) {
                    bool is_any = round > 10 && dyn_rng_below(&rng, 40) == 0;
                    text[i] = (char)(is_any ? dyn_rng_next(&rng) : 'a' + dyn_rng_below(&rng, 26));
                }
                if (round > 0 && len > 0) {
                    text[from + dyn_rng_below(&rng, len)] = (char)dyn_rng_next(&rng);
                }
                check_loops(text + from, text + from + len);
            }
            free(text);
        }
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_texts_are_accepted),
        cmocka_unit_test(texts_cut_anywhere_are_judged_alike),
        cmocka_unit_test(damaged_texts_are_judged_alike),
        cmocka_unit_test(walks_agree_with_cjson),
        cmocka_unit_test(fast_loops_agree_with_a_look_at_each_byte),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
