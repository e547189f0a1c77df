/* A mistyped word finds the word that was meant, and an unrelated one finds none. */
#include "core/nearest.h"
#include "core/rand.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static const char *const words[] = {"serve", "strategy", "targets", "validate", "keys"};

static const char *
near(const char *word)
{
    return dyn_nearest(dyn_slice_str(word), words, DYN_ARRAY_LEN(words));
}

static void
finds_what_was_meant(void **state)
{
    (void)state;
    assert_string_equal(near("srve"), "serve");
    assert_string_equal(near("esrve"), "serve");
    assert_string_equal(near("strateggy"), "strategy");
    assert_string_equal(near("target"), "targets");
    assert_string_equal(near("vlaidate"), "validate");
    assert_string_equal(near("kyes"), "keys");
}

static void
names_nothing_that_is_far(void **state)
{
    (void)state;
    assert_null(near("banana"));
    assert_null(near(""));
    char long_word[200] = {0};
    memset(long_word, 's', sizeof long_word - 1);
    assert_null(near(long_word));
}

static void
the_nearest_wins(void **state)
{
    (void)state;
    static const char *const twins[] = {"listens", "listen"};
    assert_string_equal(dyn_nearest(DYN_SLICE("listen"), twins, 2), "listen");
}

/* ---- among thousands ---- */

enum { MANY = 50000, NAME_SIZE = 64, MAX = 24 };

/* As the definition has it, with the whole table. */
static size_t
edits_of(struct dyn_slice a, struct dyn_slice b)
{
    size_t d[MAX + 1][MAX + 1];
    for (size_t i = 0; i <= a.len; i++) {
        for (size_t k = 0; k <= b.len; k++) {
            size_t least = i + k;
            if (i > 0 && k > 0) {
                size_t replace = d[i - 1][k - 1] + (a.data[i - 1] != b.data[k - 1]);
                least = d[i - 1][k] + 1 < d[i][k - 1] + 1 ? d[i - 1][k] + 1 : d[i][k - 1] + 1;
                least = replace < least ? replace : least;
            }
            bool is_swapped =
                i > 1 && k > 1 && a.data[i - 1] == b.data[k - 2] && a.data[i - 2] == b.data[k - 1];
            if (is_swapped && d[i - 2][k - 2] + 1 < least) {
                least = d[i - 2][k - 2] + 1;
            }
            d[i][k] = least;
        }
    }
    return d[a.len][b.len];
}

static struct dyn_slice
random_word(struct dyn_rng *rng, char *out)
{
    size_t len = dyn_rng_below(rng, MAX + 1);
    for (size_t i = 0; i < len; i++) {
        out[i] = (char)('a' + dyn_rng_below(rng, 3)); /* few letters: near ones are many */
    }
    return dyn_slice(out, len);
}

/* What is left out of the tables changes nothing of what is found. */
static void
cutting_short_changes_nothing(void **state)
{
    (void)state;
    struct dyn_rng rng;
    dyn_rng_seed(&rng, 7);
    for (unsigned round = 0; round < 2000; round++) {
        char text[MAX], others[20][MAX];
        struct dyn_slice word = random_word(&rng, text);
        struct dyn_slice best = {NULL, 0};
        size_t edits = (word.len < 3 ? 1 : word.len / 3) + 1;
        struct dyn_nearest nearest;
        dyn_nearest_begin(&nearest, word);
        for (size_t i = 0; i < DYN_ARRAY_LEN(others); i++) {
            struct dyn_slice known = random_word(&rng, others[i]);
            size_t distance = word.len > 0 ? edits_of(word, known) : MAX;
            if (distance < edits) {
                edits = distance;
                best = known;
            }
            (void)dyn_nearest_look(&nearest, known);
        }
        assert_ptr_equal(nearest.found.data, best.data);
    }
}

static size_t
cells_of(struct dyn_slice word, char (*names)[NAME_SIZE], size_t *n_looked)
{
    struct dyn_nearest nearest;
    size_t i = 0;
    dyn_nearest_begin(&nearest, word);
    while (i < MANY && dyn_nearest_look(&nearest, dyn_slice_str(names[i]))) {
        i++;
    }
    *n_looked = i;
    return nearest.cells;
}

/* A name of 60 bytes that nobody serves: what it costs does not grow with the list. */
static void
the_work_is_bounded(void **state)
{
    (void)state;
    char(*names)[NAME_SIZE] = calloc(MANY, NAME_SIZE);
    struct dyn_rng rng;
    size_t n_looked;
    dyn_rng_seed(&rng, 11);
    for (size_t i = 0; i < MANY; i++) {
        (void)snprintf(names[i], NAME_SIZE, "provider/%08x%08x-of-%08x%08x%08x", (unsigned)dyn_rng_next(&rng),
                       (unsigned)dyn_rng_next(&rng), (unsigned)dyn_rng_next(&rng),
                       (unsigned)dyn_rng_next(&rng), (unsigned)dyn_rng_next(&rng));
    }
    static const char far[] = "a-model-whose-name-is-quite-long-but-which-nobody-serves-x.y";
    size_t row = NAME_SIZE * NAME_SIZE;
    assert_true(cells_of(dyn_slice_str(far), names, &n_looked) < DYN_NEAREST_CELLS_MAX + row);
    assert_true(n_looked > 1000);
    char like[NAME_SIZE]; /* all share a beginning with it, and none is near */
    (void)snprintf(like, sizeof like, "provider/%s", "00000000ffffffff-of-zzzzzzzzzzzzzzzzzzzzzzzz");
    assert_true(cells_of(dyn_slice_str(like), names, &n_looked) < DYN_NEAREST_CELLS_MAX + row);
    assert_true(cells_of(DYN_SLICE("gpt-4o"), names, &n_looked) == 0); /* the lengths say enough */
    assert_int_equal(n_looked, MANY);
    assert_int_equal(cells_of(dyn_slice_str(names[3]), names, &n_looked) > 0, true);
    assert_int_equal(n_looked, 3); /* nothing is nearer than itself */
    free(names);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_what_was_meant), cmocka_unit_test(names_nothing_that_is_far),
        cmocka_unit_test(the_nearest_wins),     cmocka_unit_test(cutting_short_changes_nothing),
        cmocka_unit_test(the_work_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
