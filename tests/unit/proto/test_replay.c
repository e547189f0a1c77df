/* Answers in both forms, over all golden answers and streams: what becomes a stream and comes back is the
 * same answer; a stream cut anywhere gives the same answer; what is no whole good answer gives none. */
#include "proto/dialects/replay.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cjson/cJSON.h>
#include <cmocka.h>
#include <dirent.h>

enum { BYTES_MAX = 1024 * 1024 };
static const struct env_usage no_usage;

static struct dyn_slice
read_file(const char *folder, const char *name)
{
    char path[512];
    (void)snprintf(path, sizeof path, DYNABUS_SOURCE_DIR "/tests/golden/%s/%s", folder, name);
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    assert_int_equal(fseek(file, 0, SEEK_END), 0);
    long size = ftell(file);
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

/* `step` bytes at a time; 0: all at once. */
static dyn_block_t *
gather(const struct dialect_ops *dialect, struct dyn_slice stream, size_t step, size_t max_bytes)
{
    replay_t *replay = replay_new(dialect, max_bytes);
    assert_non_null(replay);
    step = step != 0 ? step : stream.len;
    for (size_t at = 0; at < stream.len; at += step) {
        replay_feed(replay, dyn_slice(stream.data + at, stream.len - at < step ? stream.len - at : step));
    }
    dyn_block_t *answer = replay_answer(replay, &no_usage, 0);
    replay_free(&replay);
    return answer;
}

static bool
ends_with(const char *name, const char *extension)
{
    size_t len = strlen(name);
    size_t tail = strlen(extension);
    return len > tail && strcmp(name + len - tail, extension) == 0;
}

static unsigned
each(const char *folder, const char *extension,
     bool (*look)(const struct dialect_ops *dialect, const char *name, struct dyn_slice text),
     const struct dialect_ops *dialect)
{
    char path[512];
    unsigned n = 0;
    (void)snprintf(path, sizeof path, DYNABUS_SOURCE_DIR "/tests/golden/%s", folder);
    DIR *dir = opendir(path);
    assert_non_null(dir);
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        if (ends_with(entry->d_name, extension)) {
            struct dyn_slice text = read_file(folder, entry->d_name);
            n += look(dialect, entry->d_name, text);
            release(text);
        }
    }
    (void)closedir(dir);
    return n;
}

static bool
same_json(struct dyn_slice a, struct dyn_slice b)
{
    cJSON *left = cJSON_ParseWithLength(a.data, a.len);
    cJSON *right = cJSON_ParseWithLength(b.data, b.len);
    bool same = left != NULL && right != NULL ? cJSON_Compare(left, right, true) : left == right;
    cJSON_Delete(left);
    cJSON_Delete(right);
    return same;
}

/* true: it was one that can be replayed. */
static bool
answer_comes_back(const struct dialect_ops *dialect, const char *name, struct dyn_slice text)
{
    dyn_block_t *stream = replay_stream(dialect, text, true, 7);
    assert_int_equal(stream != NULL, replay_is_whole(dialect, text));
    if (stream == NULL) {
        return false;
    }
    assert_true(dyn_block_headroom(stream) >= 7);
    assert_true(dialect->is_stream_end(dyn_block_slice(stream)));
    dyn_block_t *again = gather(dialect, dyn_block_slice(stream), 0, BYTES_MAX);
    assert_non_null(again);
    assert_true(replay_is_whole(dialect, dyn_block_slice(again)));
    if (dialect->replay != NULL && strstr(name, "duplicate") == NULL &&
        strstr(name, "half") == NULL && /* comes back mended */
        !same_json(text, dyn_block_slice(again))) {
        fail_msg("%s came back as %.*s", name, (int)again->len, dyn_block_data(again));
    }
    dyn_block_t *second = replay_stream(dialect, dyn_block_slice(again), true, 0);
    dyn_block_t *third = gather(dialect, dyn_block_slice(second), 0, BYTES_MAX);
    assert_non_null(third);
    assert_true(same_json(dyn_block_slice(again), dyn_block_slice(third)));
    dyn_block_unref(&stream);
    dyn_block_unref(&again);
    dyn_block_unref(&second);
    dyn_block_unref(&third);
    return true;
}

static void
golden_answers_come_back(void **state)
{
    (void)state;
    assert_true(each("openai_chat", ".answer.json", answer_comes_back, &dialect_openai_chat) >= 5);
    assert_true(each("anthropic_messages", ".answer.json", answer_comes_back, &dialect_anthropic_messages) >=
                4);
}

static bool
stream_is_the_same_in_pieces(const struct dialect_ops *dialect, const char *name, struct dyn_slice text)
{
    dyn_block_t *whole = gather(dialect, text, 0, BYTES_MAX);
    bool is_answer = whole != NULL;
    for (size_t step = 1; step < 8; step += 3) {
        dyn_block_t *pieces = gather(dialect, text, step, BYTES_MAX);
        assert_int_equal(pieces != NULL, is_answer);
        if (is_answer) {
            assert_int_equal(pieces->len, whole->len);
            assert_memory_equal(dyn_block_data(pieces), dyn_block_data(whole), whole->len);
        }
        dyn_block_unref(&pieces);
    }
    if (is_answer) {
        struct env_usage usage;
        assert_int_equal(dialect->read_answer(dyn_block_slice(whole), &usage), 0);
        assert_true(answer_comes_back(dialect, name, dyn_block_slice(whole)));
        for (size_t len = 0; len + 8 < text.len; len += 1 + text.len / 50) { /* cut off: never whole */
            dyn_block_t *cut = gather(dialect, dyn_slice(text.data, len), 0, BYTES_MAX);
            if (cut != NULL) {
                assert_int_equal(cut->len, whole->len); /* nothing but comments followed */
            }
            dyn_block_unref(&cut);
        }
    }
    if (strncmp(name, "error", 5) == 0 || strncmp(name, "garbage", 7) == 0 || strncmp(name, "cut", 3) == 0) {
        assert_false(is_answer);
    }
    dyn_block_unref(&whole);
    return is_answer;
}

static void
golden_streams_give_answers(void **state)
{
    (void)state;
    assert_true(each("openai_chat", ".sse", stream_is_the_same_in_pieces, &dialect_openai_chat) >= 10);
    assert_true(
        each("anthropic_messages", ".sse", stream_is_the_same_in_pieces, &dialect_anthropic_messages) >= 5);
}

static void
expect_answer(const char *stream, const struct env_usage *usage, const char *answer)
{
    replay_t *replay = replay_new(&dialect_openai_chat, BYTES_MAX);
    replay_feed(replay, dyn_slice_str(stream));
    dyn_block_t *got = replay_answer(replay, usage, 0);
    assert_non_null(got);
    if (!same_json(dyn_block_slice(got), dyn_slice_str(answer))) {
        fail_msg("got %.*s", (int)got->len, dyn_block_data(got));
    }
    dyn_block_unref(&got);
    replay_free(&replay);
}

/* Two choices in turns, parallel calls in pieces, thoughts, a refusal, logprobs, and members of nobody. */
static void
everything_is_put_together(void **state)
{
    (void)state;
    expect_answer(
        "data: {\"id\":\"c\",\"created\":5,\"model\":\"m\",\"object\":\"chat.completion.chunk\",\"choices\":["
        "{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":null,\"reasoning_content\":\"Let \"}},"
        "{\"index\":1,\"delta\":{\"role\":\"assistant\",\"content\":\"\",\"refusal\":null}}]}\n\n"
        "data: {\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{\"reasoning_content\":\"me\\n\"},"
        "\"logprobs\":{\"content\":[{\"token\":\"a\",\"logprob\":-1}]}}]}\n\n"
        "data: {\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":\"x\","
        "\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":\"{\\\"a\"}}]}}]}\n\n"
        "data: {\"id\":\"c\",\"choices\":[{\"index\":1,\"delta\":{\"refusal\":\"No\"}}]}\n\n"
        "data: {\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":1,\"id\":\"y\","
        "\"function\":{\"name\":\"g\",\"arguments\":\"{\"}},{\"index\":0,\"function\":{\"arguments\":"
        "\"\\\":1}\"}}]},\"logprobs\":{\"content\":[{\"token\":\"b\",\"logprob\":-2}]}}]}\n\n"
        "data: {\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":1,\"function\":{"
        "\"arguments\":\"}\"}}]},\"finish_reason\":\"tool_calls\"}],\"x_mine\":[1]}\n\n"
        "data: {\"id\":\"c\",\"choices\":[{\"index\":1,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n"
        "data: [DONE]\n\n",
        &(struct env_usage){.known = true, .prompt_tokens = 3, .completion_tokens = 2, .total_tokens = 5},
        "{\"id\":\"c\",\"created\":5,\"model\":\"m\",\"x_mine\":[1],\"object\":\"chat.completion\","
        "\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":null,"
        "\"reasoning_content\":\"Let me\\n\","
        "\"tool_calls\":[{\"id\":\"x\",\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":"
        "\"{\\\"a\\\":1}\"}},{\"id\":\"y\",\"type\":\"function\",\"function\":{\"name\":\"g\",\"arguments\":"
        "\"{}\"}}]},\"logprobs\":{\"content\":[{\"token\":\"a\",\"logprob\":-1},"
        "{\"token\":\"b\",\"logprob\":-2}]},\"finish_reason\":\"tool_calls\"},"
        "{\"index\":1,\"message\":{\"role\":\"assistant\",\"content\":\"\",\"refusal\":\"No\"},"
        "\"finish_reason\":\"stop\"}],"
        "\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":2,\"total_tokens\":5,"
        "\"prompt_tokens_details\":{\"cached_tokens\":0},"
        "\"completion_tokens_details\":{\"reasoning_tokens\":0}}}");
}

static void
usage_is_for_those_who_asked(void **state)
{
    (void)state;
    struct dyn_slice answer = DYN_SLICE(
        "{\"id\":\"c\",\n \"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"hi\"},"
        "\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":1,"
        "\"completion_tokens\":1,\"total_tokens\":2}}");
    dyn_block_t *with = replay_stream(&dialect_openai_chat, answer, true, 0);
    dyn_block_t *without = replay_stream(&dialect_openai_chat, answer, false, 0);
    assert_non_null(memmem(dyn_block_data(with), with->len, "\"prompt_tokens\":1", 17));
    assert_null(memmem(dyn_block_data(without), without->len, "usage", 5));
    dyn_block_unref(&with);
    dyn_block_unref(&without);
}

static void
bytes_are_bounded(void **state)
{
    (void)state;
    struct dyn_buf stream = DYN_BUF_INIT;
    for (int i = 0; i < 1000; i++) {
        dyn_buf_add_str(&stream,
                        "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"0123456789\"}}]}\n\n");
    }
    dyn_buf_add_str(&stream, "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n"
                             "data: [DONE]\n\n");
    dyn_block_t *small = gather(&dialect_openai_chat, dyn_buf_slice(&stream), 0, 8000);
    dyn_block_t *large = gather(&dialect_openai_chat, dyn_buf_slice(&stream), 0, 12000);
    assert_null(small);
    assert_non_null(large);
    dyn_block_unref(&large);
    dyn_buf_fini(&stream);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden_answers_come_back),   cmocka_unit_test(golden_streams_give_answers),
        cmocka_unit_test(everything_is_put_together), cmocka_unit_test(usage_is_for_those_who_asked),
        cmocka_unit_test(bytes_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
