/* The table made of providers.def. Facts only: what a target makes of its row is provider_target.c. */
#include "actors/providers/provider_rows.h"

#include "proto/dialects/dialect.h"

/* A row may name a field again: the later designator counts, which is how a row leaves its defaults. */
#if defined(__clang__)
#pragma clang diagnostic ignored "-Winitializer-overrides"
#elif defined(__GNUC__)
#pragma GCC diagnostic ignored "-Woverride-init"
#endif

/* UNSUPPORTED(N, USER) sets the bits of both. */
#define PARAM_1(a)                                              (DIALECT_PARAM_##a)
#define PARAM_2(a, ...)                                         (DIALECT_PARAM_##a | PARAM_1(__VA_ARGS__))
#define PARAM_3(a, ...)                                         (DIALECT_PARAM_##a | PARAM_2(__VA_ARGS__))
#define PARAM_4(a, ...)                                         (DIALECT_PARAM_##a | PARAM_3(__VA_ARGS__))
#define PARAM_5(a, ...)                                         (DIALECT_PARAM_##a | PARAM_4(__VA_ARGS__))
#define PARAM_6(a, ...)                                         (DIALECT_PARAM_##a | PARAM_5(__VA_ARGS__))
#define PARAM_7(a, ...)                                         (DIALECT_PARAM_##a | PARAM_6(__VA_ARGS__))
#define PARAM_8(a, ...)                                         (DIALECT_PARAM_##a | PARAM_7(__VA_ARGS__))
#define PARAM_9(a, ...)                                         (DIALECT_PARAM_##a | PARAM_8(__VA_ARGS__))
#define PARAM_OF(_1, _2, _3, _4, _5, _6, _7, _8, _9, name, ...) name
#define UNSUPPORTED(...)                                                                                     \
    .unsupported = PARAM_OF(__VA_ARGS__, PARAM_9, PARAM_8, PARAM_7, PARAM_6, PARAM_5, PARAM_4, PARAM_3,      \
                            PARAM_2, PARAM_1, _)(__VA_ARGS__)
/* The limit of the answer has its newer name only. */
#define COMPLETION_TOKENS .renames = {{"max_tokens", "max_completion_tokens"}}
/* Many servers speak a maker's dialect, and are reached by its row with a root of their own. */
#define RENAMES_ONLY_AT(host) .renames_at = (host)

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

uint32_t
provider_row_surfaces(const struct provider_row *row)
{
    return 1u << ENV_SURFACE_CHAT | (row->has_embeddings ? 1u << ENV_SURFACE_EMBEDDINGS : 0);
}
