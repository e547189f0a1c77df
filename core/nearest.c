#include "core/nearest.h"

enum { NEAREST_WORD_MAX = 64 };

static size_t
least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Optimal string alignment distance with three rows. */
static size_t
edits(struct dyn_slice a, struct dyn_slice b)
{
    size_t rows[3][NEAREST_WORD_MAX + 1];
    size_t *two_up = rows[0];
    size_t *up = rows[1];
    size_t *row = rows[2];
    for (size_t k = 0; k <= b.len; k++) {
        up[k] = k;
    }
    for (size_t i = 1; i <= a.len; i++) {
        row[0] = i;
        for (size_t k = 1; k <= b.len; k++) {
            size_t replace = up[k - 1] + (a.data[i - 1] == b.data[k - 1] ? 0 : 1);
            row[k] = least(replace, least(up[k], row[k - 1]) + 1);
            if (i > 1 && k > 1 && a.data[i - 1] == b.data[k - 2] && a.data[i - 2] == b.data[k - 1]) {
                row[k] = least(row[k], two_up[k - 2] + 1);
            }
        }
        size_t *free_row = two_up;
        two_up = up;
        up = row;
        row = free_row;
    }
    return up[b.len];
}

const char *
dyn_nearest(struct dyn_slice word, const char *const *words, size_t n_words)
{
    if (word.len == 0 || word.len > NEAREST_WORD_MAX) {
        return NULL;
    }
    const char *nearest = NULL;
    size_t allowed = word.len < 3 ? 1 : word.len / 3;
    size_t best = allowed + 1;
    for (size_t i = 0; i < n_words; i++) {
        struct dyn_slice known = dyn_slice_str(words[i]);
        if (known.len > NEAREST_WORD_MAX) {
            continue;
        }
        size_t distance = edits(word, known);
        if (distance < best) {
            best = distance;
            nearest = words[i];
        }
    }
    return nearest;
}
