/* UTF-8 against an independent definition, over all scalars and all short byte sequences; escapes. */
#include "core/json_skip.h"
#include "core/text.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/* The definition by arithmetic: decode blindly, then encode again and compare. */
static size_t
len_by_definition(const unsigned char *p, size_t left)
{
    size_t len = p[0] < 0x80 ? 1 : p[0] >> 5 == 6 ? 2 : p[0] >> 4 == 14 ? 3 : p[0] >> 3 == 30 ? 4 : 0;
    if (len == 0 || len > left) {
        return 0;
    }
    uint32_t scalar = len == 1 ? p[0] : p[0] & (0xFFu >> (len + 1));
    for (size_t i = 1; i < len; i++) {
        if (p[i] >> 6 != 2) {
            return 0;
        }
        scalar = scalar * 64 + (p[i] & 63u);
    }
    static const uint32_t least[5] = {0, 0, 0x80, 0x800, 0x10000};
    bool surrogate = scalar >= 0xD800 && scalar <= 0xDFFF;
    return scalar < least[len] || scalar > 0x10FFFF || surrogate ? 0 : len;
}

static void
every_scalar_survives_the_round_trip(void **state)
{
    (void)state;
    for (uint32_t scalar = 0; scalar <= 0x10FFFF; scalar++) {
        char bytes[4];
        size_t len = dyn_utf8_put(bytes, scalar);
        bool surrogate = scalar >= 0xD800 && scalar <= 0xDFFF;
        if (dyn_utf8_len(bytes, bytes + len) != (surrogate ? 0 : len) ||
            dyn_utf8_scalar(bytes, len) != scalar) {
            fail_msg("U+%04" PRIX32, scalar);
        }
    }
}

static void
malformed_sequences_are_refused(void **state)
{
    (void)state;
    static const unsigned char tails[] = {0x00, 0x22, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xFF};
    for (unsigned i = 0; i < 256 * 256 * sizeof tails * sizeof tails; i++) {
        unsigned char bytes[4] = {(unsigned char)(i & 0xFF), (unsigned char)(i >> 8 & 0xFF),
                                  tails[(i >> 16) % sizeof tails], tails[(i >> 16) / sizeof tails]};
        const char *at = (const char *)bytes;
        for (size_t left = 1; left <= 4; left++) {
            size_t expected = len_by_definition(bytes, left);
            if (dyn_utf8_len(at, at + left) != expected) {
                fail_msg("%02x %02x %02x %02x, %zu bytes", bytes[0], bytes[1], bytes[2], bytes[3], left);
            }
            if (left == 4 && bytes[0] >= 0x80 && json_utf8_len_4(json_load_4(at)) != expected) {
                fail_msg("%02x %02x %02x %02x as a word", bytes[0], bytes[1], bytes[2], bytes[3]);
            }
        }
    }
}

static void
assert_digits(uint64_t number)
{
    char text[DYN_UINT_TEXT_MAX];
    char expected[32];
    (void)snprintf(expected, sizeof expected, "%" PRIu64, number);
    assert_int_equal(dyn_uint_text(text, number), strlen(expected));
    assert_memory_equal(text, expected, strlen(expected));
}

static void
numbers_have_their_digits(void **state)
{
    (void)state;
    static const uint64_t numbers[] = {0,         9, 10, 99, 100, 4294967295u, 4294967296u, UINT64_MAX - 1,
                                       UINT64_MAX};
    for (size_t i = 0; i < DYN_ARRAY_LEN(numbers); i++) {
        assert_digits(numbers[i]);
    }
    for (uint64_t number = 0; number < 20000; number++) {
        assert_digits(number);
    }
    for (uint64_t power = 10; power < UINT64_MAX / 10; power *= 10) { /* each number of digits */
        assert_digits(power - 1);
        assert_digits(power);
        assert_digits(power * 7 + 3);
    }
}

/* Whatever the room, what was written is what the whole escape begins with, cut between characters,
 * and the rest can be written behind it. */
static void
escaping_stops_between_characters(void **state)
{
    (void)state;
    static const char text[] =
        "plain text that is longer than one step\n\"\xc3\xa4\xf0\x9f\x98\x80\xff\x01 end";
    struct dyn_slice whole = dyn_slice(text, sizeof text - 1);
    char expected[256];
    size_t size = dyn_json_escape_size(whole);
    struct dyn_escaped all = dyn_json_escape(whole, expected, sizeof expected);
    assert_int_equal(all.read, whole.len);
    assert_int_equal(all.written, size);
    for (size_t room = 0; room <= size; room++) {
        char *out = malloc(room + 1);
        struct dyn_escaped some = dyn_json_escape(whole, out, room);
        assert_true(some.written <= room && room - some.written < 6);
        assert_memory_equal(out, expected, some.written);
        struct dyn_slice rest = dyn_slice(whole.data + some.read, whole.len - some.read);
        char more[256];
        struct dyn_escaped others = dyn_json_escape(rest, more, sizeof more);
        assert_int_equal(some.written + others.written, size);
        assert_memory_equal(more, expected + some.written, others.written);
        free(out);
    }
}

static void
equal_texts_are_found_by_the_first_of_them(void **state)
{
    (void)state;
    const struct dyn_slice items[] = {
        DYN_SLICE_INIT("b"), DYN_SLICE_INIT("a"),  DYN_SLICE_INIT("b"), {NULL, 0},
        DYN_SLICE_INIT("a"), DYN_SLICE_INIT("ab"), {NULL, 0},           DYN_SLICE_INIT("b"),
    };
    const size_t expected[] = {0, 1, 0, 3, 1, 5, 3, 0};
    size_t first[DYN_ARRAY_LEN(items)];
    dyn_slices_first_equal(items, DYN_ARRAY_LEN(items), first);
    assert_memory_equal(first, expected, sizeof expected);
    dyn_slices_first_equal(NULL, 0, NULL);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equal_texts_are_found_by_the_first_of_them),
        cmocka_unit_test(every_scalar_survives_the_round_trip),
        cmocka_unit_test(malformed_sequences_are_refused),
        cmocka_unit_test(numbers_have_their_digits),
        cmocka_unit_test(escaping_stops_between_characters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
