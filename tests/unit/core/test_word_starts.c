/* Where words may begin is found the same in blocks and byte by byte, wherever a text lies and however long
 * it is; and what a search finds does not depend on how far it can look ahead. */
#include "core/word_starts.h"

#include "core/rand.h"
#include "core/word_search.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

enum { TEXT_MAX = 150, ROUNDS = 400 };

static const struct dyn_slice words[] = {
    DYN_SLICE_INIT("fox"), DYN_SLICE_INIT("foxes"), DYN_SLICE_INIT("a"),   DYN_SLICE_INIT("be"),
    DYN_SLICE_INIT("-go"), DYN_SLICE_INIT("h f"),   DYN_SLICE_INIT("zoé"), DYN_SLICE_INIT("éa"),
};

/* Letters of the words, now and then others. */
static char
random_byte(struct dyn_rng *rng)
{
    static const char often[] = "fox ebFOX-g ha";
    static const char seldom[] = "\x01\x7f\n\xc3\xa9z_9~";
    if (dyn_rng_below(rng, 8) > 0) {
        return dyn_rng_below(rng, 2) == 0 ? 'x' : often[dyn_rng_below(rng, sizeof often - 1)];
    }
    return dyn_rng_below(rng, 4) > 0 ? seldom[dyn_rng_below(rng, sizeof seldom - 1)]
                                     : (char)dyn_rng_below(rng, 256);
}

static const char *
find_plainly(const struct word_starts *starts, const char *at, const char *end, bool is_behind_word)
{
    while (at < end && !word_starts_at(starts, at, end, is_behind_word)) {
        is_behind_word = starts->is_word[(unsigned char)*at++];
    }
    return at;
}

static void
blocks_find_what_a_look_at_each_byte_finds(void **state)
{
    (void)state;
    struct dyn_rng rng;
    dyn_rng_seed(&rng, 13);
    for (unsigned round = 0; round < ROUNDS; round++) {
        struct word_starts starts = {.is_open = {false}};
        uint64_t mask = 1 + dyn_rng_below(&rng, 255);
        for (unsigned i = 0; i < DYN_ARRAY_LEN(words); i++) {
            if ((mask >> i & 1u) != 0) {
                word_starts_add(&starts, words[i], (unsigned)dyn_rng_below(&rng, WORD_START_GROUPS),
                                round % 2 == 0);
            }
        }
        word_starts_finish(&starts, round % 4 < 2, round % 8 < 4);
        for (size_t len = 0; len < TEXT_MAX;
             len++) { /* each a block of its own: whoever reads behind it is seen */
            char *text = malloc(len + 1);
            for (size_t i = 0; i < len; i++) {
                text[i] = random_byte(&rng);
            }
            for (size_t from = 0; from <= len; from += 1 + from / 40) {
                bool is_behind = dyn_rng_below(&rng, 2) == 0;
                const char *found = word_starts_find(&starts, text + from, text + len, is_behind);
                assert_ptr_equal(found, find_plainly(&starts, text + from, text + len, is_behind));
            }
            free(text);
        }
    }
}

struct heard {
    uint64_t sum;
    size_t n;
};

static bool
hear(void *self, const struct word_match *match)
{
    struct heard *heard = self;
    heard->sum = heard->sum * 31 + match->begin * 7 + match->end * 3 + match->word;
    heard->n++;
    return true;
}

static void
who_sees_one_byte_at_a_time_finds_the_same(void **state)
{
    (void)state;
    struct dyn_rng rng;
    size_t n = 0;
    dyn_rng_seed(&rng, 17);
    for (unsigned how = 0; how < 16; how++) {
        struct word_options options = {.is_case_sensitive = how & 1,
                                       .whole_words = how & 2,
                                       .is_loose = how & 4,
                                       .look_alikes = how & 8 ? WORD_ALIKE_MIXED : WORD_ALIKE_NONE};
        word_set_t *set = word_set_new(words, DYN_ARRAY_LEN(words), &options, NULL, NULL);
        void *memory = malloc(word_scan_size(set));
        for (unsigned round = 0; round < ROUNDS; round++) {
            char text[TEXT_MAX];
            struct heard whole = {.n = 0};
            struct heard bytes = {.n = 0};
            size_t len = dyn_rng_below(&rng, TEXT_MAX);
            word_scan_t *scan = word_scan_begin(set, memory);
            for (size_t i = 0; i < len; i++) {
                text[i] = random_byte(&rng);
                (void)word_scan_feed(set, scan, dyn_slice(&text[i], 1), hear, &bytes);
            }
            (void)word_scan_end(set, scan, hear, &bytes);
            (void)word_set_search(set, dyn_slice(text, len), hear, &whole);
            assert_int_equal(whole.n, bytes.n);
            assert_int_equal(whole.sum, bytes.sum);
            n += whole.n;
        }
        free(memory);
        word_set_free(&set);
    }
    assert_true(n > ROUNDS);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_find_what_a_look_at_each_byte_finds),
        cmocka_unit_test(who_sees_one_byte_at_a_time_finds_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
