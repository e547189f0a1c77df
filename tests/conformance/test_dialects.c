/* What every dialect promises, asked of all that are listed in dialects.c: a new one is tested by its line
 * there and its folder tests/golden/NAME, which holds requests, answers and streams as they are really sent.
 * Beside each file X, X.chat says what it means in no dialect at all. tests/golden/bridge/NAME has requests
 * of clients; X.DIALECT is what goes to an upstream of that dialect, and what was lost. What such an upstream
 * answers to it is in files X.DIALECT.*.answer.json and X.DIALECT.*.sse, and what the client gets of that in
 * one of the same name with .client behind it. After a change that is meant: look at what is printed, and
 * change the file by hand. */
#include "tests/conformance/dialect_gist.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>
#include <dirent.h>

#define GOLDEN DYNABUS_SOURCE_DIR "/tests/golden/"

static unsigned wrong_files;

/* ---- files ---- */

static struct dyn_slice
read_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        return dyn_slice(NULL, 0);
    }
    struct dyn_buf text = DYN_BUF_INIT;
    char piece[4096];
    for (size_t n; (n = fread(piece, 1, sizeof piece, file)) > 0;) {
        dyn_buf_add(&text, piece, n);
    }
    (void)fclose(file);
    return text.data != NULL ? dyn_buf_slice(&text) : dyn_slice(dyn_strdup(""), 0);
}

static void
release(struct dyn_slice text)
{
    free((void *)(uintptr_t)text.data);
}

static bool
ends_with(const char *name, const char *end)
{
    size_t len = strlen(name);
    size_t end_len = strlen(end);
    return len > end_len && strcmp(name + len - end_len, end) == 0;
}

typedef void (*file_fn)(const struct dialect_ops *dialect, const char *path, struct dyn_slice text);

/* Calls fn for each file of the folder with that ending; returns how many. */
static unsigned
each_file(const struct dialect_ops *dialect, const char *folder, const char *ending, file_fn fn)
{
    char path[512];
    unsigned n = 0;
    (void)snprintf(path, sizeof path, GOLDEN "%s%s", folder, dialect->name);
    DIR *dir = opendir(path);
    if (dir == NULL) {
        return 0;
    }
    for (const struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        if (ends_with(entry->d_name, ending)) {
            (void)snprintf(path, sizeof path, GOLDEN "%s%s/%s", folder, dialect->name, entry->d_name);
            struct dyn_slice text = read_file(path);
            assert_non_null(text.data);
            fn(dialect, path, text);
            release(text);
            n++;
        }
    }
    (void)closedir(dir);
    return n;
}

static unsigned
in_all_dialects(const char *folder, const char *ending, file_fn fn)
{
    const struct dialect_ops *dialect;
    unsigned n = 0;
    wrong_files = 0;
    for (size_t i = 0; (dialect = dialect_at(i)) != NULL; i++) {
        n += dialect->chat != NULL ? each_file(dialect, folder, ending, fn) : 0;
    }
    assert_int_equal(wrong_files, 0);
    return n;
}

/* Takes and frees `got`. */
static void
check_beside(const char *path, const char *extension, struct dyn_buf *got)
{
    char name[640];
    (void)snprintf(name, sizeof name, "%s.%s", path, extension);
    struct dyn_slice expected = read_file(name);
    if (expected.data == NULL || !dyn_slice_eq(expected, dyn_buf_slice(got))) {
        (void)fprintf(stderr, "==== %s\n%.*s====\n", name, (int)got->len, got->data);
        wrong_files++;
    }
    release(expected);
    dyn_buf_fini(got);
}

/* Takes and frees both. */
static void
check_same(const char *path, const char *what, struct dyn_buf *a, struct dyn_buf *b)
{
    if (!dyn_slice_eq(dyn_buf_slice(a), dyn_buf_slice(b))) {
        (void)fprintf(stderr, "%s, %s:\n%.*s---- is not\n%.*s", path, what, (int)a->len, a->data, (int)b->len,
                      b->data);
        wrong_files++;
    }
    dyn_buf_fini(a);
    dyn_buf_fini(b);
}

/* ---- meaning ---- */

static void
stream_means(const struct dialect_ops *dialect, struct dyn_slice stream, size_t piece_max,
             struct dyn_buf *out)
{
    struct gist_stream gist = {.n_calls = 0};
    gist_stream_read(dialect, stream, piece_max, &gist);
    gist_stream_write(&gist, out);
}

static void
check_stream(const struct dialect_ops *dialect, const char *path, struct dyn_slice stream)
{
    struct dyn_buf whole = DYN_BUF_INIT;
    struct dyn_buf again = DYN_BUF_INIT;
    struct dyn_buf split = DYN_BUF_INIT;
    stream_means(dialect, stream, stream.len, &whole);
    stream_means(dialect, stream, stream.len, &again);
    stream_means(dialect, stream, 1, &split);
    check_same(path, "byte by byte", &split, &again);
    check_beside(path, "chat", &whole);
}

static void
check_answer(const struct dialect_ops *dialect, const char *path, struct dyn_slice body)
{
    struct dyn_buf got = DYN_BUF_INIT;
    gist_answer(dialect, body, &got);
    check_beside(path, "chat", &got);
}

static void
check_request(const struct dialect_ops *dialect, const char *path, struct dyn_slice body)
{
    struct arena arena;
    struct dialect_request facts;
    struct dialect_problem problem = {.message = ""};
    struct chat_request request;
    struct dyn_buf got = DYN_BUF_INIT;
    arena_init(&arena, NULL, 0);
    if (dialect->read_request(body, &arena, &facts, &problem) != 0 ||
        dialect->chat->read_request(body, &arena, &request, &problem) != 0) {
        dyn_buf_addf(&got, "refused %s: %s\n", problem.param, problem.message);
    } else {
        assert_int_equal(request.stream, facts.stream);
        assert_true(dyn_slice_eq(request.model, facts.model));
        gist_request(&request, &got);
    }
    check_beside(path, "chat", &got);
    arena_fini(&arena);
}

static void
all_files_mean_what_is_written_beside_them(void **state)
{
    (void)state;
    assert_true(in_all_dialects("", ".sse", check_stream) >= 30);
    assert_true(in_all_dialects("", ".answer.json", check_answer) >= 18);
    assert_true(in_all_dialects("", ".request.json", check_request) >= 14);
    assert_true(in_all_dialects("bridge/", ".request.json", check_request) >= 4);
}

/* ---- from one to the other and back ---- */

static bool
is_other(const struct dialect_ops *dialect, const struct dialect_ops *other)
{
    return other != dialect && other->chat != NULL;
}

struct rewriting {
    const struct dialect_ops *to;
    struct chat_writing writing;
    struct dyn_buf out;
};

static void
rewrite(void *self, const struct chat_event *event)
{
    struct rewriting *r = self;
    r->to->chat->write_event(&r->writing, event, &r->out);
}

/* The stream in the other dialect, as far as it can be understood. */
static struct dyn_buf
rewrite_stream(const struct dialect_ops *from, const struct dialect_ops *to, struct dyn_slice stream)
{
    struct rewriting r = {.to = to, .writing = {.wants_usage = true, .created_s = 1}};
    struct chat_reading reading = {.calls = 0};
    struct sse_reader reader;
    struct sse_event event;
    sse_reader_init(&reader, SSE_EVENT_MAX);
    while (sse_reader_next(&reader, &stream, &event) == 1) {
        if (event.data.len > 0 && from->chat->read_event(&reading, &event, rewrite, &r) != 0) {
            break;
        }
    }
    sse_reader_fini(&reader);
    dyn_buf_fini(&r.writing.head);
    return r.out;
}

static void
check_stream_there(const struct dialect_ops *from, const char *path, struct dyn_slice stream)
{
    const struct dialect_ops *to;
    for (size_t i = 0; (to = dialect_at(i)) != NULL; i++) {
        struct gist_stream before = {.n_calls = 0};
        struct gist_stream after = {.n_calls = 0};
        gist_stream_read(from, stream, stream.len, &before);
        if (is_other(from, to) && before.has_ended && !before.is_garbage) {
            struct dyn_buf other = rewrite_stream(from, to, stream);
            struct dyn_buf expected = DYN_BUF_INIT;
            struct dyn_buf got = DYN_BUF_INIT;
            assert_true(to->is_stream_end(dyn_buf_slice(&other)));
            gist_stream_read(to, dyn_buf_slice(&other), other.len, &after);
            gist_stream_write(&before, &expected);
            gist_stream_write(&after, &got);
            dyn_buf_fini(&other);
            check_same(path, to->name, &got, &expected);
        } else {
            struct dyn_buf nothing = DYN_BUF_INIT;
            gist_stream_write(&before, &nothing);
            dyn_buf_fini(&nothing);
        }
    }
}

static void
check_answer_there(const struct dialect_ops *from, const char *path, struct dyn_slice body)
{
    const struct dialect_ops *to;
    for (size_t i = 0; (to = dialect_at(i)) != NULL; i++) {
        struct arena arena;
        struct chat_answer answer;
        arena_init(&arena, NULL, 0);
        if (is_other(from, to) && from->chat->read_answer(body, &arena, &answer) == 0) {
            struct dyn_buf other = DYN_BUF_INIT;
            struct dyn_buf expected = DYN_BUF_INIT;
            struct dyn_buf got = DYN_BUF_INIT;
            struct env_usage usage;
            to->chat->write_answer(&answer, &other);
            assert_int_equal(to->read_answer(dyn_buf_slice(&other), &usage), 0);
            gist_answer(from, body, &expected);
            gist_answer(to, dyn_buf_slice(&other), &got);
            dyn_buf_fini(&other);
            check_same(path, to->name, &got, &expected);
        }
        arena_fini(&arena);
    }
}

static void
answers_and_streams_mean_the_same_in_every_dialect(void **state)
{
    (void)state;
    (void)in_all_dialects("", ".sse", check_stream_there);
    (void)in_all_dialects("", ".answer.json", check_answer_there);
}

/* ---- requests there and back ---- */

/* The last word of a loss's name: "messages[2].name" is told as lines "name: ". */
static bool
is_lost(struct dyn_slice line, struct dyn_slice losses)
{
    const char *colon = memchr(line.data, ':', line.len);
    struct dyn_slice name = dyn_slice(line.data, colon != NULL ? (size_t)(colon - line.data) : line.len);
    for (const char *at = losses.data, *end = losses.data + losses.len; at < end;) {
        const char *comma = memchr(at, ',', (size_t)(end - at));
        const char *stop = comma != NULL ? comma : end;
        const char *word = stop;
        while (word > at && word[-1] != '.') {
            word--;
        }
        if (dyn_slice_eq(name, dyn_slice(word, (size_t)(stop - word)))) {
            return true;
        }
        at = stop + 1;
    }
    return false;
}

static void
without_losses(struct dyn_buf *gist, struct dyn_slice losses)
{
    struct dyn_buf kept = DYN_BUF_INIT;
    for (const char *at = gist->data, *end = gist->data + gist->len; at < end;) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        struct dyn_slice line = dyn_slice(at, (size_t)(stop + 1 - at));
        if (losses.len == 0 || !is_lost(line, losses)) {
            dyn_buf_add_slice(&kept, line);
        }
        at = stop + 1;
    }
    dyn_buf_fini(gist);
    *gist = kept;
}

/* Reads with one dialect what another wrote; fails the test when it is no request there. */
static void
read_back(const struct dialect_ops *dialect, struct dyn_slice body, struct arena *arena,
          struct chat_request *request)
{
    struct dialect_request facts;
    struct dialect_problem problem = {.message = ""};
    if (dialect->read_request(body, arena, &facts, &problem) != 0 ||
        dialect->chat->read_request(body, arena, request, &problem) != 0) {
        print_error("%s\n%.*s\n", problem.message, (int)body.len, body.data);
        fail();
    }
}

/* What is said without having been asked, because the other dialect must say something. */
static void
forget_defaults(struct chat_request *request, const struct chat_request *original)
{
    if (original->max_tokens == 0) {
        request->max_tokens = 0;
    }
    if (original->tools == NULL) {
        request->tools = NULL;
        request->tool_choice = CHAT_CHOICE_UNSAID;
    }
    if (original->thinking.data != NULL && original->effort.data == NULL) {
        request->effort = dyn_slice(NULL, 0);
    }
}

static void
there_and_back(const struct dialect_ops *from, const struct dialect_ops *to, const char *path,
               struct chat_request *request, struct arena *arena)
{
    struct chat_losses losses = {DYN_BUF_INIT};
    struct dialect_problem problem = {.message = ""};
    struct dyn_buf other = DYN_BUF_INIT;
    struct dyn_buf back = DYN_BUF_INIT;
    if (to->chat->write_request(request, arena, &other, &losses, &problem) == 0) {
        struct chat_request there;
        struct chat_request again;
        struct dyn_buf expected = DYN_BUF_INIT;
        struct dyn_buf got = DYN_BUF_INIT;
        read_back(to, dyn_buf_slice(&other), arena, &there);
        assert_int_equal(from->chat->write_request(&there, arena, &back, &losses, &problem), 0);
        read_back(from, dyn_buf_slice(&back), arena, &again);
        forget_defaults(&again, request);
        gist_request(request, &expected);
        gist_request(&again, &got);
        without_losses(&expected, dyn_buf_slice(&losses.list));
        without_losses(&got, dyn_buf_slice(&losses.list));
        check_same(path, to->name, &got, &expected);
    } else {
        assert_true(strlen(problem.param) > 0);
    }
    dyn_buf_fini(&other);
    dyn_buf_fini(&back);
    dyn_buf_fini(&losses.list);
}

static void
check_request_there_and_back(const struct dialect_ops *from, const char *path, struct dyn_slice body)
{
    const struct dialect_ops *to;
    for (size_t i = 0; (to = dialect_at(i)) != NULL; i++) {
        struct arena arena;
        struct dialect_request facts;
        struct dialect_problem problem;
        struct chat_request request;
        arena_init(&arena, NULL, 0);
        if (is_other(from, to) && from->read_request(body, &arena, &facts, &problem) == 0 &&
            from->chat->read_request(body, &arena, &request, &problem) == 0) {
            there_and_back(from, to, path, &request, &arena);
        }
        arena_fini(&arena);
    }
}

static void
requests_come_back_with_all_that_was_not_told_as_lost(void **state)
{
    (void)state;
    (void)in_all_dialects("", ".request.json", check_request_there_and_back);
    (void)in_all_dialects("bridge/", ".request.json", check_request_there_and_back);
}

/* ---- over a bridge ---- */

static void
check_bridged_request(const struct dialect_ops *client, const char *path, struct dyn_slice body)
{
    const struct dialect_ops *upstream;
    for (size_t i = 0; (upstream = dialect_at(i)) != NULL; i++) {
        struct bridge_options options = {
            .client = client, .upstream = upstream, .model = DYN_SLICE("theirs")};
        struct dialect_problem problem = {.message = ""};
        struct dyn_buf got = DYN_BUF_INIT;
        dyn_block_t *block;
        if (!is_other(client, upstream)) {
            continue;
        }
        bridge_t *bridge = bridge_new(&options, body, &block, &problem);
        if (bridge == NULL) {
            dyn_buf_addf(&got, "refused %s: %s\n", problem.param, problem.message);
        } else {
            struct dyn_slice losses = bridge_losses(bridge);
            dyn_buf_addf(&got, "lost: %.*s\n", (int)losses.len, losses.len > 0 ? losses.data : "");
            dyn_buf_add_slice(&got, dyn_block_slice(block));
            dyn_buf_add_char(&got, '\n');
        }
        dyn_block_unref(&block);
        bridge_free(&bridge);
        check_beside(path, upstream->name, &got);
    }
}

/* The bridge of the request that `path` begins with, to the upstream that it names. */
static bridge_t *
bridge_of(const struct dialect_ops *client, const char *path)
{
    static const char ending[] = ".request.json";
    char name[512];
    const char *end = strstr(path, ending) + strlen(ending);
    const char *stop = strchr(end + 1, '.');
    (void)snprintf(name, sizeof name, "%.*s", (int)(end - path), path);
    struct dyn_slice body = read_file(name);
    struct bridge_options options = {
        .client = client, .upstream = dialect_find(dyn_slice(end + 1, (size_t)(stop - end - 1))), .now_s = 1};
    struct dialect_problem problem = {.message = ""};
    dyn_block_t *block;
    assert_non_null(body.data);
    assert_non_null(options.upstream);
    bridge_t *bridge = bridge_new(&options, body, &block, &problem);
    assert_non_null(bridge);
    dyn_block_unref(&block);
    release(body);
    return bridge;
}

static void
check_bridged_answer(const struct dialect_ops *client, const char *path, struct dyn_slice body)
{
    struct dyn_buf got = DYN_BUF_INIT;
    struct env_usage usage;
    bridge_t *bridge = bridge_of(client, path);
    if (bridge_answer(bridge, body, &got, &usage) != 0) {
        dyn_buf_add_str(&got, "garbage");
    }
    dyn_buf_add_char(&got, '\n');
    bridge_free(&bridge);
    check_beside(path, "client", &got);
}

static void
requests_of_clients_reach_every_upstream(void **state)
{
    (void)state;
    assert_true(in_all_dialects("bridge/", ".request.json", check_bridged_request) >= 4);
}

/* A bridge for the answers to a plain question. */
static bridge_t *
bridge_for(const struct dialect_ops *client, const struct dialect_ops *upstream)
{
    static const char question[] = "{\"model\":\"m\",\"max_tokens\":9,\"stream\":true,\"messages\":[{"
                                   "\"role\":\"user\",\"content\":\"x\"}]}";
    struct bridge_options options = {.client = client, .upstream = upstream, .now_s = 1};
    struct dialect_problem problem;
    dyn_block_t *block;
    bridge_t *bridge = bridge_new(&options, dyn_slice_str(question), &block, &problem);
    assert_non_null(bridge);
    dyn_block_unref(&block);
    return bridge;
}

/* The client's bytes and, for each event that said something, what it was. */
static void
carry_stream(bridge_t *bridge, struct dyn_slice stream, size_t piece_max, struct dyn_buf *out)
{
    struct sse_reader reader;
    struct sse_event event;
    struct dialect_event seen = {.terminal = false};
    sse_reader_init(&reader, SSE_EVENT_MAX);
    for (size_t at = 0; at < stream.len && !seen.terminal && !seen.error; at += piece_max) {
        size_t len = stream.len - at < piece_max ? stream.len - at : piece_max;
        struct dyn_slice piece = {stream.data + at, len};
        while (!seen.terminal && !seen.error && sse_reader_next(&reader, &piece, &event) == 1) {
            if (event.data.len > 0 && bridge_event(bridge, &event, out, &seen) != 0) {
                dyn_buf_add_str(out, "garbage\n");
                at = stream.len;
                break;
            }
            dyn_buf_add_str(out, seen.content ? "(content)\n" : "");
        }
    }
    sse_reader_fini(&reader);
}

static void
check_bridged_stream(const struct dialect_ops *client, const char *path, struct dyn_slice stream)
{
    struct dyn_buf whole = DYN_BUF_INIT;
    struct dyn_buf again = DYN_BUF_INIT;
    struct dyn_buf split = DYN_BUF_INIT;
    struct dyn_buf *const outs[] = {&whole, &again, &split};
    for (size_t i = 0; i < DYN_ARRAY_LEN(outs); i++) {
        bridge_t *bridge = bridge_of(client, path);
        carry_stream(bridge, stream, outs[i] == &split ? 1 : stream.len, outs[i]);
        bridge_free(&bridge);
    }
    check_same(path, "byte by byte", &split, &again);
    check_beside(path, "client", &whole);
}

static void
answers_to_clients_come_back_over_the_bridge(void **state)
{
    (void)state;
    assert_true(in_all_dialects("bridge/", ".answer.json", check_bridged_answer) >= 3);
    assert_true(in_all_dialects("bridge/", ".sse", check_bridged_stream) >= 6);
}

static void
check_carried_stream(const struct dialect_ops *upstream, const char *path, struct dyn_slice stream)
{
    const struct dialect_ops *client;
    for (size_t i = 0; (client = dialect_at(i)) != NULL; i++) {
        if (is_other(upstream, client)) {
            struct dyn_buf whole = DYN_BUF_INIT;
            struct dyn_buf split = DYN_BUF_INIT;
            bridge_t *bridge = bridge_for(client, upstream);
            carry_stream(bridge, stream, stream.len, &whole);
            bridge_free(&bridge);
            bridge = bridge_for(client, upstream);
            carry_stream(bridge, stream, 1, &split);
            bridge_free(&bridge);
            check_same(path, client->name, &split, &whole);
        }
    }
}

static void
a_stream_split_at_every_byte_is_carried_as_the_whole_one(void **state)
{
    (void)state;
    (void)in_all_dialects("", ".sse", check_carried_stream);
}

/* Who carries a stream without a bridge and who carries it over one agree on where it begins and ends. */
static void
check_classes(const struct dialect_ops *upstream, const char *path, struct dyn_slice stream)
{
    const struct dialect_ops *client;
    for (size_t i = 0; (client = dialect_at(i)) != NULL; i++) {
        struct dyn_slice rest = stream;
        struct sse_reader reader;
        struct sse_event event;
        if (!is_other(upstream, client)) {
            continue;
        }
        struct dyn_buf out = DYN_BUF_INIT;
        bridge_t *bridge = bridge_for(client, upstream);
        sse_reader_init(&reader, SSE_EVENT_MAX);
        while (sse_reader_next(&reader, &rest, &event) == 1) {
            struct dialect_event plain = {.terminal = false};
            struct dialect_event bridged;
            if (event.data.len == 0) {
                continue;
            }
            if (upstream->read_event(&event, &plain) != 0 ||
                bridge_event(bridge, &event, &out, &bridged) != 0) {
                break;
            }
            if (plain.terminal != bridged.terminal || plain.error != bridged.error) {
                print_error("%s: %.*s\n", path, (int)event.raw.len, event.raw.data);
                wrong_files++;
            }
        }
        sse_reader_fini(&reader);
        bridge_free(&bridge);
        dyn_buf_fini(&out);
    }
}

static void
ends_and_errors_are_seen_with_and_without_a_bridge(void **state)
{
    (void)state;
    (void)in_all_dialects("", ".sse", check_classes);
}

/* ---- bounds ---- */

/* However much a request has that cannot be said, the list fits a header. */
static void
the_list_of_losses_has_a_bound(void **state)
{
    (void)state;
    struct chat_losses losses = {DYN_BUF_INIT};
    for (unsigned i = 0; i < 5000; i++) {
        chat_lose(&losses, "messages[%u].\r\n,name", i);
    }
    assert_true(losses.list.len <= CHAT_LOSSES_MAX);
    assert_memory_equal(losses.list.data + losses.list.len - 4, ",...", 4);
    for (size_t i = 0; i < losses.list.len; i++) {
        assert_true(losses.list.data[i] > ' ' && losses.list.data[i] < 0x7f);
    }
    dyn_buf_fini(&losses.list);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_files_mean_what_is_written_beside_them),
        cmocka_unit_test(answers_and_streams_mean_the_same_in_every_dialect),
        cmocka_unit_test(requests_come_back_with_all_that_was_not_told_as_lost),
        cmocka_unit_test(requests_of_clients_reach_every_upstream),
        cmocka_unit_test(answers_to_clients_come_back_over_the_bridge),
        cmocka_unit_test(a_stream_split_at_every_byte_is_carried_as_the_whole_one),
        cmocka_unit_test(ends_and_errors_are_seen_with_and_without_a_bridge),
        cmocka_unit_test(the_list_of_losses_has_a_bound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
