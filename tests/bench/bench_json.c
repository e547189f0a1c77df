/* What the JSON scanner costs: nanoseconds and bytes per second over the texts that requests carry.
 * Prints figures; nothing here passes or fails by time. */
#include "core/buf.h"
#include "core/json_scan.h"
#include "core/json_tree.h"

#include <stdio.h>
#include <time.h>

/* Many short rounds, of which the best counts: on a machine with other work some are undisturbed. */
enum { ROUNDS = 150, ROUND_NS = 2000000 };

static const char prose[] =
    "The harbour was quiet in the morning. A few boats came in with the tide, and the men on the quay "
    "counted boxes of fish while the gulls argued over what had fallen between the stones. ";
static const char prose_escaped[] =
    "if (name == \\\"anchor\\\") {\\n    drop(\\\"starboard\\\", 12);\\n} else {\\n\\treturn 0;\\n}\\n"
    "The harbour was quiet in the morning.\\n";
static const char prose_beyond_ascii[] =
    "\xe6\xb8\xaf\xe5\x8f\xa3\xe6\xb8\x85\xe6\x99\xa8\xe5\xbe\x88\xe5\xae\x89\xe9\x9d\x99\xe3\x80\x82"
    "\xd0\xb3\xd0\xb0\xd0\xb2\xd0\xb0\xd0\xbd\xd1\x8c \xd1\x82\xd0\xb8\xd1\x85\xd0\xb0\xd1\x8f, ";

static void
add_text(struct dyn_buf *out, const char *text, size_t bytes)
{
    for (size_t added = 0; added < bytes; added += strlen(text)) {
        dyn_buf_add_str(out, text);
    }
}

/* A chat request of about `bytes`: settings, a system message and one long user message. */
static void
write_chat(struct dyn_buf *out, const char *text, size_t bytes)
{
    dyn_buf_add_str(out, "{\"model\": \"gpt-4o-mini\", \"temperature\": 0.7, \"max_tokens\": 256, "
                         "\"stream\": true, \"stream_options\": {\"include_usage\": true}, "
                         "\"user\": \"customer-4711\", \"stop\": [\"END\", \"STOP\"], \"messages\": ["
                         "{\"role\": \"system\", \"content\": \"You are a helpful assistant.\"}, "
                         "{\"role\": \"user\", \"content\": \"");
    add_text(out, text, bytes > 400 ? bytes - 400 : 0);
    dyn_buf_add_str(out, "\"}]}");
}

/* Embedding inputs and tool schemas: many small values. */
static void
write_structure(struct dyn_buf *out, size_t bytes)
{
    dyn_buf_add_char(out, '[');
    while (out->len < bytes) {
        dyn_buf_add_str(out,
                        "{\"type\":\"function\",\"index\":12,\"strict\":false,\"range\":[0.25,-1e-3,null]},");
    }
    dyn_buf_add_str(out, "{}]");
}

static int
take_member(void *self, const struct json_member *member)
{
    size_t *bytes = self;
    *bytes += member->value.raw.len + (json_key_is(member, "model") ? 1 : 0);
    return 0;
}

static size_t
run_scan(struct dyn_slice text)
{
    struct json_error error;
    return (size_t)json_scan(text, JSON_DEPTH_DEFAULT, NULL, &error);
}

static size_t
run_members(struct dyn_slice text)
{
    struct json_error error;
    size_t bytes = 0;
    return (size_t)json_scan_object(text, JSON_DEPTH_DEFAULT, take_member, &bytes, &error) + bytes;
}

/* The scan, then every message looked at: what the router and the provider ask together. */
static size_t
run_iter(struct dyn_slice text)
{
    struct json_value value = {.type = *text.data == '{' ? JSON_OBJECT : JSON_ARRAY, .raw = text};
    struct json_member member;
    size_t bytes = 0;
    for (struct json_iter it = json_iter(value); json_iter_next(&it, &member);) {
        bytes += member.value.raw.len;
    }
    return bytes;
}

static size_t
run_tree(struct dyn_slice text)
{
    struct json_error error;
    struct cJSON *tree = json_tree_parse(text, JSON_DEPTH_DEFAULT, &error);
    size_t found = tree != NULL;
    json_tree_free(&tree);
    return found;
}

static volatile size_t sink; /* keeps the compiler from leaving a run out */

static double
cpu_ns(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

static double
best_ns(size_t (*run)(struct dyn_slice), struct dyn_slice text)
{
    double best = 1e18;
    unsigned at_once = text.len < 4096 ? 256 : 4; /* asking for the time is a system call */
    for (int round = 0; round < ROUNDS; round++) {
        double begin = cpu_ns();
        double now = begin;
        unsigned runs = 0;
        while (now - begin < ROUND_NS) {
            for (unsigned i = 0; i < at_once; i++) {
                sink += run(text);
            }
            runs += at_once;
            now = cpu_ns();
        }
        best = (now - begin) / runs < best ? (now - begin) / runs : best;
    }
    return best;
}

static void
report(const char *name, const char *what, size_t (*run)(struct dyn_slice), struct dyn_buf *text)
{
    double ns = best_ns(run, dyn_buf_slice(text));
    (void)printf("%-28s %-10s %9zu bytes %12.0f ns %8.2f GB/s\n", name, what, text->len, ns,
                 (double)text->len / ns);
}

static void
bench_chat(const char *name, const char *prose_text, size_t bytes)
{
    struct dyn_buf text = DYN_BUF_INIT;
    write_chat(&text, prose_text, bytes);
    report(name, "scan", run_scan, &text);
    report(name, "members", run_members, &text);
    report(name, "iter", run_iter, &text);
    report(name, "tree", run_tree, &text);
    dyn_buf_fini(&text);
}

int
main(void)
{
    bench_chat("chat 1 KB", prose, 1024);
    bench_chat("chat 64 KB", prose, 64 << 10);
    bench_chat("chat 1 MB", prose, 1 << 20);
    bench_chat("chat 64 KB, escapes", prose_escaped, 64 << 10);
    bench_chat("chat 64 KB, beyond ASCII", prose_beyond_ascii, 64 << 10);
    struct dyn_buf text = DYN_BUF_INIT;
    write_structure(&text, 64 << 10);
    report("small values 64 KB", "scan", run_scan, &text);
    report("small values 64 KB", "iter", run_iter, &text);
    report("small values 64 KB", "tree", run_tree, &text);
    dyn_buf_fini(&text);
    return 0;
}
