#include "core/nearest.h"

enum { NEAREST_WORD_MAX = 64 };

static size_t
least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Three rows of the table. Only what is within `limit` of the diagonal can be that many edits away. */
struct table {
    size_t rows[3][NEAREST_WORD_MAX + 2];
    size_t *two_up, *up, *row;
    size_t limit;
};

static void
table_open(struct table *table, size_t n, size_t limit)
{
    table->two_up = table->rows[0];
    table->up = table->rows[1];
    table->row = table->rows[2];
    table->limit = limit;
    for (size_t k = 0; k <= n; k++) {
        table->up[k] = k;
    }
}

static void
table_turn(struct table *table)
{
    size_t *free_row = table->two_up;
    table->two_up = table->up;
    table->up = table->row;
    table->row = free_row;
}

/* Row `i`; the least edits in it. What lies beside the band is more than the limit. */
static size_t
fill_row(struct table *table, struct dyn_slice a, struct dyn_slice b, size_t i, size_t *cells)
{
    size_t low = i > table->limit ? i - table->limit : 1;
    size_t high = least(i + table->limit, b.len);
    size_t *row = table->row;
    size_t best = row[low - 1] = low == 1 ? i : table->limit + 1;
    for (size_t k = low; k <= high; k++) {
        size_t replace = table->up[k - 1] + (a.data[i - 1] == b.data[k - 1] ? 0 : 1);
        row[k] = least(replace, least(table->up[k], row[k - 1]) + 1);
        if (i > 1 && k > 1 && a.data[i - 1] == b.data[k - 2] && a.data[i - 2] == b.data[k - 1]) {
            row[k] = least(row[k], table->two_up[k - 2] + 1);
        }
        best = least(best, row[k]);
    }
    row[high + 1] = table->limit + 1;
    *cells += high >= low ? high - low + 1 : 0;
    return best;
}

/* Optimal string alignment distance; something above `limit` once it is that. A swap can't bring it below
 * again: the row before had at least `limit` everywhere then. */
static size_t
edits(struct dyn_slice a, struct dyn_slice b, size_t limit, size_t *cells)
{
    size_t longer = a.len > b.len ? a.len - b.len : b.len - a.len;
    if (longer > limit) {
        return longer;
    }
    struct table table;
    table_open(&table, b.len, limit);
    for (size_t i = 1; i <= a.len; i++) {
        if (fill_row(&table, a, b, i, cells) > limit) {
            return limit + 1;
        }
        table_turn(&table);
    }
    return table.up[b.len];
}

void
dyn_nearest_begin(struct dyn_nearest *nearest, struct dyn_slice word)
{
    bool has_any = word.len > 0 && word.len <= NEAREST_WORD_MAX;
    *nearest = (struct dyn_nearest){.word = word, .is_over = !has_any};
    nearest->edits = (word.len < 3 ? 1 : word.len / 3) + 1;
}

bool
dyn_nearest_look(struct dyn_nearest *nearest, struct dyn_slice known)
{
    if (nearest->is_over) {
        return false;
    }
    if (known.len <= NEAREST_WORD_MAX) {
        size_t distance = edits(nearest->word, known, nearest->edits - 1, &nearest->cells);
        if (distance < nearest->edits) {
            nearest->edits = distance;
            nearest->found = known;
        }
    }
    nearest->is_over = nearest->edits == 0 || nearest->cells >= DYN_NEAREST_CELLS_MAX;
    return !nearest->is_over;
}

const char *
dyn_nearest(struct dyn_slice word, const char *const *words, size_t n_words)
{
    struct dyn_nearest nearest;
    dyn_nearest_begin(&nearest, word);
    for (size_t i = 0; i < n_words && dyn_nearest_look(&nearest, dyn_slice_str(words[i])); i++) {
    }
    return nearest.found.data;
}
