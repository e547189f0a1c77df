/* What rows change in bodies: whatever the body, what comes out is a request again, and one that the row
 * changes no further. First byte: the row; second: what is done with what it does not support. */
#include "actors/providers/provider_params.h"
#include "core/buf.h"
#include "proto/dialects/dialect.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct provider_row *
row_of(uint8_t byte)
{
    size_t n = 0;
    while (provider_row_at(n) != NULL) {
        n++;
    }
    return provider_row_at(byte % n);
}

/* The body that goes out, one reference; NULL: the same. Fills what was found unsupported. */
static dyn_block_t *
change(const struct provider_row *row, enum provider_on_unsupported mode, struct dyn_slice body,
       struct arena *arena, bool must_be_good, uint32_t *unsupported)
{
    struct dialect_request request;
    struct dialect_problem problem;
    struct provider_params params = {.n_edits = 0};
    *unsupported = 0;
    if (dialect_openai_chat.read_request(body, arena, &request, &problem) != 0) {
        DYN_ASSERT(!must_be_good);
        return NULL;
    }
    if (provider_params_concern(row, request.params)) {
        provider_params_read(row, mode, body, request.params, arena, &params);
    }
    *unsupported = params.unsupported;
    const struct dialect_splice splice = {DYN_SLICE("another"), true, params.edits, params.n_edits};
    return dialect_openai_chat.splice_request(body, &request, &splice);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2) {
        return 0;
    }
    const struct provider_row *row = row_of(data[0]);
    enum provider_on_unsupported mode = data[1] & 1 ? PROVIDER_UNSUPPORTED_DROP : PROVIDER_UNSUPPORTED_WARN;
    struct arena arena;
    uint32_t unsupported;
    arena_init(&arena, NULL, 0);
    struct dyn_slice body = dyn_slice((const char *)data + 2, size - 2);
    dyn_block_t *once = change(row, mode, body, &arena, false, &unsupported);
    if (once != NULL) {
        uint32_t left = 0;
        dyn_block_t *twice = change(row, mode, dyn_block_slice(once), &arena, true, &left);
        DYN_ASSERT(twice == NULL);
        DYN_ASSERT(mode == PROVIDER_UNSUPPORTED_WARN || left == 0);
        dyn_block_unref(&twice);
    }
    dyn_block_unref(&once);
    arena_fini(&arena);
    return 0;
}
