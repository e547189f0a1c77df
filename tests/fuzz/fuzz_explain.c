/* Questions to explain, and requests for embeddings: both come from outside as JSON. */
#include "proto/dialects/dialect.h"
#include "router/explain.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
embeddings(struct dyn_slice body)
{
    struct arena arena;
    struct dialect_request request;
    struct dialect_problem problem = {.message = ""};
    struct env_usage usage;
    arena_init(&arena, NULL, 0);
    if (dialect_openai_embeddings.read_request(body, &arena, &request, &problem) == 0) {
        const struct dialect_splice splice = {.model = DYN_SLICE("an\"other")};
        struct dialect_request again;
        dyn_block_t *changed = dialect_openai_embeddings.splice_request(body, &request, &splice);
        DYN_ASSERT(request.model.len > 0);
        DYN_ASSERT(changed == NULL || dialect_openai_embeddings.read_request(dyn_block_slice(changed), &arena,
                                                                             &again, &problem) == 0);
        dyn_block_unref(&changed);
    } else {
        DYN_ASSERT(problem.message[0] != '\0');
    }
    (void)dialect_openai_embeddings.read_answer(body, &usage);
    arena_fini(&arena);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct dyn_slice body = dyn_slice((const char *)data, size);
    struct env *request = env_new(ENV_REQUEST);
    struct route_explain explain;
    struct dialect_problem problem = {.message = ""};
    request->body = dyn_block_copy(0, body);
    if (route_explain_read(request, &explain, &problem) == 0) {
        DYN_ASSERT(explain.body.len >= 2 && explain.body.data[0] == '{');
    } else {
        DYN_ASSERT(problem.message[0] != '\0');
    }
    env_free(&request);
    embeddings(body);
    return 0;
}
