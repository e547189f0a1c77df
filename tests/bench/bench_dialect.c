/* What the OpenAI chat dialect costs: a request read and spliced, an answer read, an event of a stream
 * found and told. Prints figures; nothing here passes or fails by time. */
#include "core/buf.h"
#include "core/clock.h"
#include "proto/dialects/dialect.h"

#include <stdio.h>
#include <stdlib.h>

enum { ROUNDS = 60, ROUND_US = 2000 }; /* many short ones: the best is what the processor can do */

static const struct dialect_ops *const chat = &dialect_openai_chat;
static volatile size_t sink; /* so that no result is thought away */

struct job {
    struct dyn_slice text;
    struct arena arena;
    struct dialect_request request;
    struct sse_reader reader;
};

static void
run_scan(struct job *job)
{
    sink += (size_t)json_scan(job->text, JSON_DEPTH_DEFAULT, NULL, NULL);
}

static void
run_read_request(struct job *job)
{
    struct dialect_problem problem;
    if (chat->read_request(job->text, &job->arena, &job->request, &problem) != 0) {
        fprintf(stderr, "%s\n", problem.message);
        abort();
    }
}

static void
run_splice(struct job *job)
{
    const struct dialect_splice splice = {.model = DYN_SLICE("another/model"), .ask_usage = true};
    dyn_block_t *block = chat->splice_request(job->text, &job->request, &splice);
    sink += block->len;
    dyn_block_unref(&block);
}

static void
run_read_answer(struct job *job)
{
    struct env_usage usage;
    sink += (size_t)chat->read_answer(job->text, &usage);
}

static void
run_find_event(struct job *job)
{
    struct dyn_slice input = job->text;
    struct sse_event event;
    while (sse_reader_next(&job->reader, &input, &event) == 1) {
        sink += event.data.len;
    }
}

static void
run_find_and_read_event(struct job *job)
{
    struct dyn_slice input = job->text;
    struct sse_event event;
    struct dialect_event seen;
    while (sse_reader_next(&job->reader, &input, &event) == 1) {
        sink += (size_t)chat->read_event(&event, &seen);
    }
}

static double
measure(void (*run)(struct job *job), struct job *job)
{
    double best = 1e12;
    for (int round = 0; round < ROUNDS; round++) {
        uint64_t start = dyn_mono_us(&dyn_clock_system);
        uint64_t calls = 0;
        uint64_t us;
        do {
            for (int i = 0; i < 16; i++) {
                run(job);
            }
            calls += 16;
            us = dyn_mono_us(&dyn_clock_system) - start;
        } while (us < ROUND_US);
        double ns = (double)us * 1000 / (double)calls;
        best = ns < best ? ns : best;
    }
    return best;
}

/* A streamed conversation of about `bytes`, in messages of about `message_bytes`. */
static void
report_request(const char *name, const char *prose, size_t bytes, size_t message_bytes)
{
    struct dyn_buf text = DYN_BUF_INIT;
    struct job job = {.text = {NULL, 0}};
    dyn_buf_add_str(&text, "{\"model\":\"gpt-4o-mini\",\"temperature\":0.7,\"stream\":true,\"messages\":[");
    while (text.len < bytes) {
        size_t end = text.len + message_bytes < bytes ? text.len + message_bytes : bytes;
        dyn_buf_add_str(&text, "{\"role\":\"user\",\"content\":\"");
        while (text.len < end) {
            dyn_buf_add_str(&text, prose);
        }
        dyn_buf_add_str(&text, "\"},");
    }
    dyn_buf_add_str(&text, "{\"role\":\"user\",\"content\":\"And then?\"}]}");
    job.text = dyn_buf_slice(&text);
    arena_init(&job.arena, NULL, 0);
    double scan = measure(run_scan, &job);
    double read = measure(run_read_request, &job);
    printf("%-24s %6zu bytes: read %6.0f ns (a bare scan %6.0f), spliced %5.0f ns\n", name, text.len, read,
           scan, measure(run_splice, &job));
    arena_fini(&job.arena);
    dyn_buf_fini(&text);
}

static void
report_answer(size_t bytes)
{
    struct dyn_buf text = DYN_BUF_INIT;
    struct job job = {.text = {NULL, 0}};
    dyn_buf_add_str(
        &text, "{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion\",\"created\":1700000000,\"choices\":[{"
               "\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"");
    while (text.len < bytes) {
        dyn_buf_add_str(&text, "The harbour was quiet in the morning. ");
    }
    dyn_buf_add_str(
        &text, "\"},\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":11,\"completion_tokens\":7,"
               "\"total_tokens\":18,\"prompt_tokens_details\":{\"cached_tokens\":4}}}");
    job.text = dyn_buf_slice(&text);
    printf("%-24s %6zu bytes: read %6.0f ns\n", "answer", text.len, measure(run_read_answer, &job));
    dyn_buf_fini(&text);
}

static void
report_event(const char *name, const char *event)
{
    struct job job = {.text = dyn_slice_str(event)};
    sse_reader_init(&job.reader, SSE_EVENT_MAX);
    double found = measure(run_find_event, &job);
    printf("%-24s %6zu bytes: found %5.0f ns, found and read %5.0f ns\n", name, job.text.len, found,
           measure(run_find_and_read_event, &job));
    sse_reader_fini(&job.reader);
}

#define CHUNK(choice)                                                                                        \
    "data: {\"id\":\"chatcmpl-AbCdEfGhIjKlMnOpQrStUvWxYz012\",\"object\":\"chat.completion.chunk\","         \
    "\"created\":1700000000,\"model\":\"gpt-4o-2024-08-06\",\"service_tier\":\"default\","                   \
    "\"system_fingerprint\":\"fp_0123456789\",\"choices\":[" choice "],\"obfuscation\":\"aBcDeFg\"}\n\n"

int
main(void)
{
    static const char prose[] = "The harbour was quiet in the morning. A few boats came in with the tide. ";
    static const char escaped[] = "if (name == \\\"anchor\\\") {\\n    drop(\\\"starboard\\\", 12);\\n}\\n ";
    report_request("request", prose, 100, 100);
    report_request("request", prose, 1000, 400);
    report_request("request, long messages", prose, 64000, 16000);
    report_request("request, many messages", prose, 64000, 300);
    report_request("request, escapes", escaped, 64000, 600);
    report_answer(1000);
    report_answer(64000);
    report_event("event, text",
                 CHUNK("{\"index\":0,\"delta\":{\"content\":\" word\"},\"finish_reason\":null}"));
    report_event(
        "event, tool call",
        CHUNK("{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"{}\"}}]},"
              "\"finish_reason\":null}"));
    report_event("event, finish", CHUNK("{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}"));
    return 0;
}
