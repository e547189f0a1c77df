/* The table made of providers.def. Facts only: what a target makes of its row is provider_target.c. */
#include "actors/providers/provider_rows.h"

/* A row may name a field again: the later designator counts, which is how a row leaves its defaults. */
#if defined(__clang__)
#pragma clang diagnostic ignored "-Winitializer-overrides"
#elif defined(__GNUC__)
#pragma GCC diagnostic ignored "-Woverride-init"
#endif

static const struct provider_row rows[] = {
#define PROVIDER(id_, dialect_, root_, auth_, key_env_, base_url_env_, ...)                                  \
    {.id = (id_),                                                                                            \
     .dialect = (dialect_),                                                                                  \
     .root = (root_),                                                                                        \
     .auth = PROVIDER_AUTH_##auth_,                                                                          \
     .key_env = (key_env_),                                                                                  \
     .base_url_env = (base_url_env_),                                                                        \
     .connect_ms = PROVIDER_CONNECT_MS,                                                                      \
     .first_byte_ms = PROVIDER_FIRST_BYTE_MS,                                                                \
     .idle_ms = PROVIDER_IDLE_MS,                                                                            \
     .source = __VA_ARGS__}, /* the source, then what the row has otherwise */
#include "actors/providers/providers.def"
#undef PROVIDER
};
_Static_assert(DYN_ARRAY_LEN(rows) <= PROVIDER_ROWS_MAX, "all rows are counted for");

const struct provider_row *
provider_row_find(struct dyn_slice id)
{
    for (size_t i = 0; i < DYN_ARRAY_LEN(rows); i++) {
        if (dyn_slice_is(id, rows[i].id)) {
            return &rows[i];
        }
    }
    return NULL;
}

const struct provider_row *
provider_row_at(size_t index)
{
    return index < DYN_ARRAY_LEN(rows) ? &rows[index] : NULL;
}
