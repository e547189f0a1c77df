/* Catalogues from anywhere: what is read can be looked through, and what is written of it reads the same. */
#include "models/cost.h"
#include "models/image.h"
#include "models/rows.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
look_through(const catalogue_t *catalogue)
{
    const struct cost_usage usage = {.input_tokens = UINT64_MAX, .output_tokens = 3, .cached_tokens = 2};
    for (size_t i = 0; i < catalogue_count(catalogue); i++) {
        const struct catalogue_model *model = catalogue_at(catalogue, i);
        struct dyn_slice id = catalogue_id(model);
        DYN_ASSERT(catalogue_find(catalogue, catalogue_provider(model), id) == model);
        struct cost cost = cost_of(model, &usage);
        DYN_ASSERT(cost.total >= cost.input);
        (void)catalogue_is_deprecated(model, 20261122);
        struct dyn_slice near[2];
        if (i < 4) {
            (void)catalogue_near(catalogue, id, NULL, 0, near, 2);
        }
    }
}

static void
write_and_read(const catalogue_t *catalogue)
{
    struct catalogue_rows rows;
    catalogue_rows_init(&rows);
    catalogue_rows_of(&rows, catalogue);
    catalogue_rows_settle(&rows);
    struct dyn_buf text = DYN_BUF_INIT;
    catalogue_rows_write(&rows, &text);
    catalogue_rows_fini(&rows);
    catalogue_t *again = catalogue_load(dyn_buf_slice(&text), NULL);
    DYN_ASSERT(again != NULL && again->image->size == catalogue->image->size);
    DYN_ASSERT(memcmp(again->image, catalogue->image, again->image->size) == 0);
    catalogue_unref(&again);
    dyn_buf_fini(&text);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct dyn_err err;
    catalogue_t *catalogue = catalogue_load(dyn_slice((const char *)data, size), &err);
    if (catalogue != NULL) {
        look_through(catalogue);
        write_and_read(catalogue);
        catalogue_unref(&catalogue);
    }
    return 0;
}
