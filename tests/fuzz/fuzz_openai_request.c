/* Chat requests from anyone: refused with a sentence, or read; and what is spliced is still the same
 * request but for the model and for asking for usage. Its texts are the same whether they are looked for in
 * its bytes or where the scan has noted its members. */
#include "proto/dialects/dialect.h"
#include "proto/dialects/texts.h"

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct dialect_ops *const chat = &dialect_openai_chat;

/* Members of two objects side by side; those in which a splice may differ are left to the caller. */
static bool
next_other(struct json_iter *it, const char *skipped, const char *skipped_too, struct json_member *member)
{
    while (json_iter_next(it, member)) {
        if (!json_key_is(member, skipped) && !json_key_is(member, skipped_too)) {
            return true;
        }
    }
    return false;
}

/* Same members in the same order and the same bytes, but for those two. */
static void
expect_same_but(struct json_value a, struct json_value b, const char *skipped, const char *skipped_too)
{
    struct json_iter x = json_iter(a);
    struct json_iter y = json_iter(b);
    struct json_member m;
    struct json_member n;
    while (next_other(&x, skipped, skipped_too, &m)) {
        DYN_ASSERT(next_other(&y, skipped, skipped_too, &n));
        DYN_ASSERT(dyn_slice_eq(m.key, n.key) && dyn_slice_eq(m.value.raw, n.value.raw));
    }
    DYN_ASSERT(!next_other(&y, skipped, skipped_too, &n));
}

static void
expect_spliced(struct dyn_slice body, const struct dialect_request *request, struct dyn_slice model, bool ask)
{
    struct arena arena;
    struct dialect_request again;
    struct dialect_problem problem;
    struct json_value before;
    struct json_value after;
    const struct dialect_splice splice = {.model = model, .ask_usage = ask};
    dyn_block_t *spliced = chat->splice_request(body, request, &splice);
    if (spliced == NULL) {
        DYN_ASSERT(dyn_slice_eq(request->model, model));
        DYN_ASSERT(!ask || !request->stream || request->wants_usage);
        return;
    }
    struct dyn_slice text = dyn_block_slice(spliced);
    arena_init(&arena, NULL, 0);
    DYN_ASSERT(chat->read_request(text, &arena, &again, &problem) == 0);
    DYN_ASSERT(dyn_slice_eq(again.model, model));
    DYN_ASSERT(again.stream == request->stream && again.max_output_tokens == request->max_output_tokens);
    DYN_ASSERT(again.wants_usage == (request->wants_usage || (ask && request->stream)));
    DYN_ASSERT(json_scan(body, JSON_DEPTH_DEFAULT, &before, NULL) == 0);
    DYN_ASSERT(json_scan(text, JSON_DEPTH_DEFAULT, &after, NULL) == 0);
    expect_same_but(before, after, "model", "stream_options");
    if (request->stream_options.raw.data != NULL && request->stream_options.type == JSON_OBJECT) {
        expect_same_but(request->stream_options, again.stream_options, "include_usage", "include_usage");
    }
    DYN_ASSERT(chat->splice_request(text, &again, &splice) == NULL);
    arena_fini(&arena);
    dyn_block_unref(&spliced);
}

static void
write_text(void *self, const struct dialect_text *text)
{
    struct dyn_buf *out = self;
    dyn_buf_addf(out, "%d %u ", (int)text->kind, text->choice);
    dyn_buf_add_slice(out, text->role);
    dyn_buf_add_slice(out, text->at);
    dyn_buf_add_slice(out, text->value.raw);
}

static void
expect_same_texts(struct dyn_slice body, struct arena *arena)
{
    struct dialect_request request;
    struct dialect_problem problem;
    struct json_places places = {.n = 0};
    struct dyn_buf by_bytes = DYN_BUF_INIT;
    struct dyn_buf by_places = DYN_BUF_INIT;
    DYN_ASSERT(chat->read_places(body, arena, &request, &places, &problem) == 0);
    bool is_uninspectable = chat->texts->request(body, NULL, write_text, &by_bytes);
    DYN_ASSERT(chat->texts->request(body, &places, write_text, &by_places) == is_uninspectable);
    DYN_ASSERT(dyn_slice_eq(dyn_buf_slice(&by_bytes), dyn_buf_slice(&by_places)));
    dyn_buf_fini(&by_bytes);
    dyn_buf_fini(&by_places);
    json_places_fini(&places);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena arena;
    struct dialect_request request;
    struct dialect_problem problem;
    struct dyn_slice body = dyn_slice((const char *)data, size);
    arena_init(&arena, NULL, 0);
    if (chat->read_request(body, &arena, &request, &problem) != 0) {
        DYN_ASSERT(strnlen(problem.message, sizeof problem.message) < sizeof problem.message);
        DYN_ASSERT(strnlen(problem.param, sizeof problem.param) < sizeof problem.param);
        DYN_ASSERT(problem.message[0] != '\0');
    } else {
        expect_spliced(body, &request, DYN_SLICE("golden/model"), true);
        expect_spliced(body, &request, DYN_SLICE("\"\\\n"), false);
        expect_spliced(body, &request, request.model, true);
        expect_same_texts(body, &arena);
    }
    arena_fini(&arena);
    return 0;
}
