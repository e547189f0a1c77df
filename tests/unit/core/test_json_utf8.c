/* The block-wise reader of text beyond ASCII against the reading of one character after the other. */
#include "core/json_skip.h"
#include "core/json_utf8.h"
#include "core/rand.h"
#include "core/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

enum { BLOCK = 16, CHARACTER_MAX = 4 };

/* How far whole well-formed characters go that are neither quote, backslash nor control character. */
static size_t
plain_characters(const char *text, size_t len)
{
    size_t at = 0;
    while (at < len) {
        size_t step = json_byte_is_plain(text[at]) ? 1 : 0;
        if ((unsigned char)text[at] >= 0x80) {
            step = dyn_utf8_len(text + at, text + len);
        }
        if (step == 0) {
            break;
        }
        at += step;
    }
    return at;
}

/* On a processor without the instructions nothing is ever skipped, which is allowed. */
static bool
has_blocks(void)
{
    static const char text[] = "0123456789abcdef0123456789abcdef";
    return json_skip_utf8_blocks(text, text + 32) > text;
}

/* What was skipped is well-formed and whole, and what could be skipped in whole blocks was. */
static void
assert_skips_what_is_plain(const char *text, size_t len)
{
    char *exact = dyn_alloc(len);
    memcpy(exact, text, len);
    size_t plain = plain_characters(exact, len);
    size_t skipped = (size_t)(json_skip_utf8_blocks(exact, exact + len) - exact);
    bool at_character = plain_characters(exact, skipped) == skipped;
    bool far_enough = !has_blocks() || skipped + BLOCK + CHARACTER_MAX > plain;
    if (skipped > plain || !at_character || !far_enough) {
        fail_msg("%zu of %zu skipped, %zu plain: %.*s", skipped, len, plain, (int)len, text);
    }
    free(exact);
}

static const char filler[] = "\xe6\xb8\xaf\xe5\x8f\xa3\xd0\xb3 \xf0\x9f\x98\x80\xc3\xa4x\xe6\xb8\xaf";

/* `len` bytes of whole characters. */
static void
fill(char *out, size_t len)
{
    size_t at = 0;
    for (size_t i = 0; at < len; i = i == sizeof filler - 1 ? 0 : i) {
        size_t step = dyn_utf8_len(filler + i, filler + sizeof filler - 1);
        if (step > len - at) {
            out[at++] = '.';
            continue;
        }
        memcpy(out + at, filler + i, step);
        at += step;
        i += step;
    }
}

/* Every first and second byte, with the kinds of third and fourth ones, behind whole characters, at
 * changing places of a block. */
static void
every_kind_of_sequence_at_every_place(void **state)
{
    (void)state;
    static const unsigned char tails[] = {'a', '"', 0x80, 0xBF, 0xC2, 0xE1};
    enum { N_TAILS = sizeof tails, LEN = 64 };
    size_t place = 0;
    for (unsigned i = 0; i < 256 * 256 * N_TAILS * N_TAILS; i++) {
        unsigned first = i & 0xFF;
        if (first > 0x20 && first < 0x80 && first != '"' && first != '\\' && first != 'a') {
            continue; /* one plain byte is like another */
        }
        char text[LEN];
        place = place == 40 ? 0 : place + 1;
        fill(text, place);
        text[place] = (char)first;
        text[place + 1] = (char)(i >> 8 & 0xFF);
        text[place + 2] = (char)tails[(i >> 16) % N_TAILS];
        text[place + 3] = (char)tails[(i >> 16) / N_TAILS];
        fill(text + place + 4, LEN - place - 4);
        assert_skips_what_is_plain(text, LEN);
    }
}

static void
random_characters_with_random_damage(void **state)
{
    (void)state;
    struct dyn_rng rng;
    dyn_rng_seed(&rng, 20);
    for (int round = 0; round < 100000; round++) {
        char text[200];
        size_t len = 0;
        size_t wanted = dyn_rng_below(&rng, sizeof text - CHARACTER_MAX);
        while (len < wanted) {
            static const uint32_t limits[] = {0x80, 0x800, 0xD800, 0x10000, 0x110000};
            uint32_t scalar = (uint32_t)dyn_rng_below(&rng, limits[dyn_rng_below(&rng, 5)]);
            bool usable =
                scalar >= 0x80 ? scalar < 0xD800 || scalar > 0xDFFF : json_byte_is_plain((char)scalar);
            len += usable ? dyn_utf8_put(text + len, scalar) : 0;
        }
        assert_skips_what_is_plain(text, len);
        for (uint64_t n = dyn_rng_below(&rng, 3); n > 0 && len > 0; n--) {
            text[dyn_rng_below(&rng, len)] = (char)dyn_rng_next(&rng);
        }
        assert_skips_what_is_plain(text, len);
    }
}

static void
near_the_end_nothing_is_read_beyond(void **state)
{
    (void)state;
    char text[80];
    for (size_t len = 0; len < sizeof text; len++) {
        for (size_t cut = 0; cut < 4 && cut <= len; cut++) {
            fill(text, len);
            memset(text + len - cut, '\xe6', cut);
            assert_skips_what_is_plain(text, len);
        }
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_of_sequence_at_every_place),
        cmocka_unit_test(random_characters_with_random_damage),
        cmocka_unit_test(near_the_end_nothing_is_read_beyond),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
