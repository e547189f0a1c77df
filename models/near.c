/* Near names among thousands: the edit distance of core/nearest, but cut short as soon as a word is worse
 * than the best few so far. */
#include "models/image.h"

enum { NEAR_ID_MAX = 64, NEAR_MAX = 8 };

struct near_list {
    struct dyn_slice *items;
    size_t distances[NEAR_MAX];
    size_t n, max;
    size_t allowed; /* edits that still make a word near */
};

static size_t
least(size_t a, size_t b)
{
    return a < b ? a : b;
}

static char
fold(char c)
{
    return (char)(c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c);
}

/* Insertions, deletions and replacements, without regard to case; more than `limit` once it is that. */
static size_t
edits(struct dyn_slice a, struct dyn_slice b, size_t limit)
{
    size_t longer = a.len > b.len ? a.len - b.len : b.len - a.len;
    if (longer > limit) {
        return longer;
    }
    size_t row[NEAR_ID_MAX + 1];
    for (size_t k = 0; k <= b.len; k++) {
        row[k] = k;
    }
    for (size_t i = 1; i <= a.len; i++) {
        size_t diagonal = row[0];
        size_t best = row[0] = i;
        char c = fold(a.data[i - 1]);
        for (size_t k = 1; k <= b.len; k++) {
            size_t replace = diagonal + (c == fold(b.data[k - 1]) ? 0 : 1);
            diagonal = row[k];
            row[k] = least(replace, least(row[k], row[k - 1]) + 1);
            best = least(best, row[k]);
        }
        if (best > limit) {
            return best;
        }
    }
    return row[b.len];
}

static bool
has(const struct near_list *list, struct dyn_slice id)
{
    for (size_t i = 0; i < list->n; i++) {
        if (dyn_slice_eq(list->items[i], id)) {
            return true;
        }
    }
    return false;
}

/* Behind those that are as near, and the last one goes when there is no room. */
static void
insert(struct near_list *list, struct dyn_slice id, size_t distance)
{
    size_t at = list->n;
    while (at > 0 && list->distances[at - 1] > distance) {
        at--;
    }
    if (at == list->max) {
        return;
    }
    size_t last = list->n < list->max ? list->n++ : list->max - 1;
    for (size_t i = last; i > at; i--) {
        list->items[i] = list->items[i - 1];
        list->distances[i] = list->distances[i - 1];
    }
    list->items[at] = id;
    list->distances[at] = distance;
    if (list->n == list->max) {
        list->allowed = list->distances[list->max - 1];
    }
}

static void
look_through(struct near_list *list, struct dyn_slice word, const struct catalogue_model *models, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct dyn_slice id = catalogue_id(&models[i]);
        if (id.len > NEAR_ID_MAX || catalogue_is_deprecated(&models[i], 0)) {
            continue;
        }
        size_t distance = edits(word, id, list->allowed);
        if (distance <= list->allowed && !has(list, id)) {
            insert(list, id, distance);
        }
    }
}

size_t
catalogue_near(const catalogue_t *catalogue, struct dyn_slice model, const struct dyn_slice *providers,
               size_t n_providers, struct dyn_slice *near, size_t max)
{
    if (model.len == 0 || model.len > NEAR_ID_MAX || max == 0) {
        return 0;
    }
    struct near_list list = {
        .items = near, .max = least(max, NEAR_MAX), .allowed = model.len < 3 ? 1 : model.len / 3};
    if (n_providers == 0) {
        look_through(&list, model, image_models(catalogue->image), catalogue_count(catalogue));
    }
    for (size_t i = 0; i < n_providers; i++) {
        const struct catalogue_model *first = NULL;
        size_t n = catalogue_of_provider(catalogue, providers[i], &first);
        look_through(&list, model, first, n);
    }
    return list.n;
}
