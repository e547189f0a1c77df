/* Words and texts of any bytes: what is found lies in the text, is in order, and does not depend on how the
 * text comes in pieces. Input: two bytes of options, words on a line each, an empty line, the text. */
#include "core/word_search.h"

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { WORDS_MOST = 64 };

struct seen {
    uint64_t sum;
    uint64_t end;
    uint64_t clear;
    uint64_t len;
};

static bool
see(void *self, const struct word_match *match)
{
    struct seen *seen = self;
    DYN_ASSERT(match->begin < match->end && match->end <= seen->len);
    DYN_ASSERT(match->end >= seen->end && match->begin >= seen->clear);
    seen->end = match->end;
    seen->sum = seen->sum * 31 + match->begin * 7 + match->end * 3 + match->word;
    return true;
}

static void
search(const word_set_t *set, struct dyn_slice text, size_t step)
{
    struct seen whole = {.len = text.len};
    struct seen pieces = {.len = text.len};
    (void)word_set_search(set, text, see, &whole);
    void *memory = malloc(word_scan_size(set));
    word_scan_t *scan = word_scan_begin(set, memory);
    for (size_t at = 0; at < text.len; at += step) {
        size_t len = step < text.len - at ? step : text.len - at;
        (void)word_scan_feed(set, scan, dyn_slice(text.data + at, len), see, &pieces);
        uint64_t clear = word_scan_clear(set, scan);
        DYN_ASSERT(clear >= pieces.clear && clear <= at + len);
        pieces.clear = clear;
    }
    (void)word_scan_end(set, scan, see, &pieces);
    DYN_ASSERT(word_scan_clear(set, scan) == text.len);
    DYN_ASSERT(whole.sum == pieces.sum);
    free(memory);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct dyn_slice words[WORDS_MOST];
    size_t n = 0;
    if (size < 2) {
        return 0;
    }
    struct word_options options = {
        .is_case_sensitive = data[0] & 1,
        .whole_words = data[0] & 2,
        .is_loose = data[1] & 1,
        .keeps_accents = data[1] & 2,
        .look_alikes = data[1] & 4   ? WORD_ALIKE_MIXED
                       : data[1] & 8 ? WORD_ALIKE_ALL
                                     : WORD_ALIKE_NONE,
    };
    size_t step = 1 + (data[0] >> 2) % 7;
    struct dyn_slice text = {(const char *)data + 2, size - 2};
    while (text.len > 0 && n < WORDS_MOST) {
        const char *end = memchr(text.data, '\n', text.len);
        size_t len = end != NULL ? (size_t)(end - text.data) : text.len;
        words[n] = dyn_slice(text.data, len);
        text.data += len + (end != NULL);
        text.len -= len + (end != NULL);
        if (len == 0) {
            break;
        }
        n++;
    }
    size_t at;
    word_set_t *set = word_set_new(words, n, &options, &at, NULL);
    if (set == NULL) {
        DYN_ASSERT(at <= n);
        return 0;
    }
    search(set, text, step);
    word_set_free(&set);
    return 0;
}
