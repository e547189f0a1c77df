/* Golden files of the OpenAI chat dialect (tests/golden/openai_chat): what upstreams and clients really
 * send, and beside each file NAME what we make of it, NAME.expect. Streams are read whole and byte by
 * byte. After a change that is meant: look at what is printed, and change the .expect by hand. */
#include "proto/dialects/dialect.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>
#include <dirent.h>

#define FOLDER DYNABUS_SOURCE_DIR "/tests/golden/openai_chat/"

/* What every request is spliced with. */
static const struct dyn_slice upstream_model = DYN_SLICE_INIT("golden/model");

static const struct dialect_ops *const chat = &dialect_openai_chat;

static struct dyn_slice
read_golden(const char *name, const char *extension)
{
    char path[512];
    (void)snprintf(path, sizeof path, FOLDER "%s%s", name, extension);
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        print_error("%s is missing\n", path);
    }
    assert_non_null(file);
    assert_int_equal(fseek(file, 0, SEEK_END), 0);
    long size = ftell(file);
    assert_true(size >= 0);
    rewind(file);
    char *text = malloc((size_t)size + 1);
    assert_non_null(text);
    assert_int_equal(fread(text, 1, (size_t)size, file), (size_t)size);
    (void)fclose(file);
    return dyn_slice(text, (size_t)size);
}

static void
release(struct dyn_slice text)
{
    free((void *)(uintptr_t)text.data);
}

static void
describe_usage(const struct env_usage *usage, struct dyn_buf *out)
{
    if (usage->known) {
        dyn_buf_addf(out, " usage=%llu+%llu=%llu", (unsigned long long)usage->prompt_tokens,
                     (unsigned long long)usage->completion_tokens, (unsigned long long)usage->total_tokens);
        dyn_buf_addf(out, ",cached=%llu,reasoning=%llu", (unsigned long long)usage->cached_tokens,
                     (unsigned long long)usage->reasoning_tokens);
    }
}

/* One line an event. */
static void
describe_event(const struct sse_event *event, struct dyn_buf *out)
{
    struct dialect_event seen;
    if (chat->read_event(event, &seen) != 0) {
        dyn_buf_add_str(out, "garbage\n");
        return;
    }
    const struct {
        bool is_set;
        const char *word;
    } words[] = {
        {event->is_comment_only, " comment"}, {seen.terminal, " terminal"},     {seen.content, " content"},
        {seen.finished, " finished"},         {seen.usage_only, " usage_only"}, {seen.error, " error"},
    };
    dyn_buf_add_str(out, "event");
    for (size_t i = 0; i < DYN_ARRAY_LEN(words); i++) {
        dyn_buf_add_str(out, words[i].is_set ? words[i].word : "");
    }
    describe_usage(&seen.usage, out);
    if (seen.error_message.data != NULL) {
        dyn_buf_addf(out, " message=%.*s", (int)seen.error_message.len, seen.error_message.data);
    }
    dyn_buf_add_char(out, '\n');
}

static void
describe_stream(struct dyn_slice stream, size_t piece_max, struct dyn_buf *out)
{
    struct sse_reader reader;
    struct sse_event event;
    size_t raw_bytes = 0;
    sse_reader_init(&reader, SSE_EVENT_MAX);
    for (size_t at = 0; at < stream.len; at += piece_max) {
        size_t len = stream.len - at < piece_max ? stream.len - at : piece_max;
        struct dyn_slice piece = {stream.data + at, len};
        while (sse_reader_next(&reader, &piece, &event) == 1) {
            assert_memory_equal(event.raw.data, stream.data + raw_bytes, event.raw.len);
            raw_bytes += event.raw.len;
            describe_event(&event, out);
        }
    }
    assert_int_equal(raw_bytes + sse_reader_rest(&reader).len, stream.len);
    sse_reader_fini(&reader);
}

static void
describe_answer(struct dyn_slice body, struct dyn_buf *out)
{
    struct env_usage usage;
    if (chat->read_answer(body, &usage) < 0) {
        dyn_buf_add_str(out, "garbage\n");
        return;
    }
    dyn_buf_add_str(out, "answer");
    describe_usage(&usage, out);
    dyn_buf_add_char(out, '\n');
}

/* What is known of it, then the body that goes upstream. */
static void
describe_request(struct dyn_slice body, struct dyn_buf *out)
{
    struct arena arena;
    struct dialect_request request;
    struct dialect_problem problem;
    arena_init(&arena, NULL, 0);
    if (chat->read_request(body, &arena, &request, &problem) != 0) {
        dyn_buf_addf(out, "refused param=%s: %s\n", problem.param, problem.message);
    } else {
        dyn_buf_addf(out, "request model=%.*s%s%s max_output=%llu\n", (int)request.model.len,
                     request.model.data, request.stream ? " stream" : "",
                     request.wants_usage ? " wants_usage" : "",
                     (unsigned long long)request.max_output_tokens);
        const struct dialect_splice splice = {.model = upstream_model, .ask_usage = true};
        dyn_block_t *spliced = chat->splice_request(body, &request, &splice);
        dyn_buf_add_slice(out, spliced != NULL ? dyn_block_slice(spliced) : body);
        dyn_buf_add_char(out, '\n');
        dyn_block_unref(&spliced);
    }
    arena_fini(&arena);
}

static bool
ends_with(const char *name, const char *end)
{
    size_t len = strlen(name);
    size_t end_len = strlen(end);
    return len > end_len && strcmp(name + len - end_len, end) == 0;
}

static bool
is_as_expected(const char *name, const struct dyn_buf *got)
{
    struct dyn_slice expected = read_golden(name, ".expect");
    bool is_same = dyn_slice_eq(expected, dyn_buf_slice(got));
    if (!is_same) {
        print_error("---- %s\n%.*s", name, (int)got->len, got->data);
    }
    release(expected);
    return is_same;
}

static unsigned
check_file(const char *name)
{
    struct dyn_slice text = read_golden(name, "");
    struct dyn_buf got = DYN_BUF_INIT;
    struct dyn_buf by_bytes = DYN_BUF_INIT;
    if (ends_with(name, ".sse")) {
        describe_stream(text, SIZE_MAX / 2, &got);
        describe_stream(text, 1, &by_bytes);
        assert_true(dyn_slice_eq(dyn_buf_slice(&got), dyn_buf_slice(&by_bytes)));
    } else if (ends_with(name, ".answer.json")) {
        describe_answer(text, &got);
    } else {
        describe_request(text, &got);
    }
    bool is_same = is_as_expected(name, &got);
    dyn_buf_fini(&got);
    dyn_buf_fini(&by_bytes);
    release(text);
    return is_same ? 0 : 1;
}

static void
every_file_means_what_is_written_beside_it(void **state)
{
    (void)state;
    unsigned files = 0;
    unsigned wrong = 0;
    DIR *folder = opendir(FOLDER);
    assert_non_null(folder);
    for (const struct dirent *entry; (entry = readdir(folder)) != NULL;) {
        if (ends_with(entry->d_name, ".sse") || ends_with(entry->d_name, ".json")) {
            files++;
            wrong += check_file(entry->d_name);
        }
    }
    (void)closedir(folder);
    assert_true(files >= 40);
    assert_int_equal(wrong, 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_file_means_what_is_written_beside_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
