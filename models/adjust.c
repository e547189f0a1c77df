#include "models/adjust.h"

#include "models/prefix.h"
#include "models/rows.h"

static bool
is_replaced(const struct catalogue_adjustment *adjustment, const struct image_price *price)
{
    return adjustment->prices[price->price] != PRICE_UNKNOWN;
}

/* The whole row as it shall be: a patch could not take away prices of long requests. */
static void
add_row(struct catalogue_rows *rows, const catalogue_t *catalogue,
        const struct catalogue_adjustment *adjustment)
{
    struct catalogue_row row = catalogue_row(rows);
    const struct catalogue_model *base = catalogue_find(catalogue, adjustment->provider, adjustment->model);
    if (base != NULL) {
        row = catalogue_row_of(rows, base);
        size_t kept = 0;
        for (size_t i = 0; i < row.n_prices; i++) {
            if (!is_replaced(adjustment, &row.prices[i])) {
                row.prices[kept++] = row.prices[i];
            }
        }
        row.n_prices = kept;
    }
    char name[1 + CATALOGUE_ID_MAX];
    row.provider = catalogue_prefix_id(adjustment->provider);
    if (adjustment->target.len > 0 && adjustment->target.len < sizeof name) {
        name[0] = CATALOGUE_TARGET_MARK;
        memcpy(name + 1, adjustment->target.data, adjustment->target.len);
        row.provider = dyn_slice(name, adjustment->target.len + 1);
    }
    row.id = adjustment->model;
    for (unsigned i = 0; i < CATALOGUE_PRICE_COUNT; i++) {
        if (adjustment->prices[i] != PRICE_UNKNOWN) {
            (void)catalogue_row_price(&row, (enum catalogue_price)i, CATALOGUE_STANDARD, 0,
                                      adjustment->prices[i]);
        }
    }
    (void)catalogue_rows_add(rows, &row);
}

catalogue_t *
catalogue_adjust(const catalogue_t *catalogue, const struct catalogue_adjustment *adjustments, size_t n)
{
    if (n == 0) {
        return catalogue_ref(catalogue);
    }
    struct catalogue_rows rows;
    catalogue_rows_init(&rows);
    rows.may_name_targets = true;
    for (size_t i = 0; i < n; i++) { /* the first that tells of a model counts */
        add_row(&rows, catalogue, &adjustments[i]);
    }
    catalogue_rows_of(&rows, catalogue);
    catalogue_rows_settle(&rows);
    catalogue_t *adjusted = catalogue_of_image(catalogue_rows_pack(&rows));
    catalogue_rows_fini(&rows);
    return adjusted;
}
