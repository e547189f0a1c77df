/* What looking for words costs: nanoseconds a byte by how many words there are, on prose where none is found,
 * and what a set takes of memory. Beside it a regular expression of the same words without regard to case,
 * which is the other way to do it. Prints figures; nothing here passes or fails by time. */
#include "core/buf.h"
#include "core/rand.h"
#include "core/regex.h"
#include "core/word_search.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { TEXT_BYTES = 64 * 1024, ROUNDS = 40, WORDS_MOST = 50000 };

static const char prose[] =
    "The harbour was quiet in the morning. A few boats came in with the tide, and the men on the quay "
    "counted boxes of fish while the gulls argued over what had fallen between the stones. ";
static const char prose_beyond_ascii[] =
    "Гавань тиха утром, и лодки пришли с приливом. 港口清晨很安静。Über den Straßen hing Nebel. ";

static double
cpu_ns(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

/* Words that look like some: syllables, so that many beginnings are shared. */
static size_t
make_words(struct dyn_slice *words, size_t n, char (*bytes)[24])
{
    static const char *const syllables[] = {"ba", "ko", "ri",  "tan", "sel", "mo",
                                            "du", "fe", "har", "pin", "xo",  "vy"};
    struct dyn_rng rng;
    dyn_rng_seed(&rng, 1);
    for (size_t i = 0; i < n; i++) {
        bytes[i][0] = '\0';
        size_t len = 0;
        for (unsigned j = 0; j < 4; j++) {
            const char *syllable = syllables[dyn_rng_below(&rng, DYN_ARRAY_LEN(syllables))];
            memcpy(bytes[i] + len, syllable, strlen(syllable));
            len += strlen(syllable);
        }
        words[i] = dyn_slice(bytes[i], len);
    }
    return n;
}

static volatile size_t sink; /* keeps the compiler from leaving a run out */

static double
best_of(const word_set_t *set, struct dyn_slice text)
{
    double best = 1e18;
    for (int round = 0; round < ROUNDS; round++) {
        double begin = cpu_ns();
        sink += word_set_search(set, text, NULL, NULL);
        double took = cpu_ns() - begin;
        best = took < best ? took : best;
    }
    return best / (double)text.len;
}

static void
bench_regex(const struct dyn_slice *words, size_t n, struct dyn_slice text)
{
    struct dyn_buf pattern = DYN_BUF_INIT;
    dyn_buf_add_str(&pattern, "(?i)");
    for (size_t i = 0; i < n; i++) {
        dyn_buf_addf(&pattern, "%s%.*s", i > 0 ? "|" : "", (int)words[i].len, words[i].data);
    }
    dyn_regex_t *regex = dyn_regex_new(dyn_buf_slice(&pattern), NULL, NULL);
    struct dyn_regex_budget budget = {10000000};
    double begin = cpu_ns();
    enum dyn_regex_result result = dyn_regex_search(regex, text, &budget);
    (void)printf("  PCRE2, %zu words: %.1f ns/byte%s\n", n, (cpu_ns() - begin) / (double)text.len,
                 result == DYN_REGEX_LIMIT ? " (gave up)" : "");
    dyn_regex_free(&regex);
    dyn_buf_fini(&pattern);
}

static void
bench_text(const char *name, const char *piece, const struct dyn_slice *words)
{
    static const size_t counts[] = {1, 10, 100, 1000, 5000, 50000};
    struct dyn_buf text = DYN_BUF_INIT;
    while (text.len < TEXT_BYTES) {
        dyn_buf_add_str(&text, piece);
    }
    (void)printf("%s, %zu bytes\n", name, text.len);
    for (size_t i = 0; i < DYN_ARRAY_LEN(counts); i++) {
        struct word_options anywhere = {.whole_words = false};
        struct word_options whole = {.whole_words = true};
        word_set_t *a = word_set_new(words, counts[i], &anywhere, NULL, NULL);
        word_set_t *b = word_set_new(words, counts[i], &whole, NULL, NULL);
        (void)printf("  %6zu words: %6.2f ns/byte, whole words %6.2f ns/byte, %8zu bytes\n", counts[i],
                     best_of(a, dyn_buf_slice(&text)), best_of(b, dyn_buf_slice(&text)), word_set_bytes(a));
        word_set_free(&a);
        word_set_free(&b);
    }
    bench_regex(words, 10, dyn_buf_slice(&text));
    bench_regex(words, 300, dyn_buf_slice(&text));
    dyn_buf_fini(&text);
}

int
main(void)
{
    struct dyn_slice *words = malloc(WORDS_MOST * sizeof *words);
    char(*bytes)[24] = malloc(WORDS_MOST * sizeof *bytes);
    (void)make_words(words, WORDS_MOST, bytes);
    bench_text("English", prose, words);
    bench_text("Cyrillic, Chinese, German", prose_beyond_ascii, words);
    free(words);
    free(bytes);
    return 0;
}
