/* What an envelope costs on a wire: encoding, decoding, the guard alone, and the same with msgpack-c's
 * tree and with JSON in its place. Prints figures; nothing here passes or fails by time. The decision
 * that rests on them is docs/decisions/0001. */
#include "core/buf.h"
#include "core/clock.h"
#include "core/json_scan.h"
#include "core/json_tree.h"
#include "proto/env_codec.h"
#include "proto/mp.h"

#include <cjson/cJSON.h>
#include <msgpack.h>
#include <stdio.h>
#include <stdlib.h>

enum { ROUNDS = 9, ROUND_US = 50000 };

struct sample {
    const char *name;
    struct env *env;
    struct dyn_buf header;
    size_t body_len;
};

/* ---- what is measured: each does the thing once ---- */

static struct dyn_buf scratch;
static volatile size_t sink; /* so that no result is thought away */

static void
run_encode(const struct sample *sample)
{
    dyn_buf_clear(&scratch);
    sink += (size_t)env_encode(sample->env, &scratch, NULL) + scratch.len;
}

static void
run_decode(const struct sample *sample)
{
    struct env *env = NULL;
    if (env_decode(dyn_buf_slice(&sample->header), &env, NULL) == 0) {
        sink += env->attempt;
    }
    env_free(&env);
}

static void
run_guard(const struct sample *sample)
{
    sink += (size_t)mp_check(dyn_buf_slice(&sample->header), ENV_VALUES_MAX, NULL);
}

static void
run_new_and_free(const struct sample *sample)
{
    struct env *env = env_new(sample->env->kind);
    sink += env->attempt;
    env_free(&env);
}

/* The library's own reader after our guard, as far as the tree: no member is looked up or copied yet. */
static void
run_msgpack_tree(const struct sample *sample)
{
    msgpack_unpacked result;
    size_t at = 0;
    sink += (size_t)mp_check(dyn_buf_slice(&sample->header), ENV_VALUES_MAX, NULL);
    msgpack_unpacked_init(&result);
    sink += (size_t)msgpack_unpack_next(&result, sample->header.data, sample->header.len, &at);
    msgpack_unpacked_destroy(&result);
}

/* ---- the same header as JSON, for comparison: what a text protocol would pay ---- */

static struct dyn_buf json_text;

static void
write_json_header(const struct sample *sample)
{
    const struct env *env = sample->env;
    char hex[33];
    for (size_t i = 0; i < sizeof env->id.bytes; i++) {
        (void)snprintf(hex + 2 * i, 3, "%02x", env->id.bytes[i]);
    }
    dyn_buf_clear(&json_text);
    dyn_buf_addf(&json_text,
                 "{\"v\":[1,0],\"kind\":\"%s\",\"id\":\"%s\",\"attempt\":%u,\"seq\":%u,\"credit\":%u",
                 env_kind_name(env->kind), hex, env->attempt, env->sequence, env->credit);
    const struct {
        const char *key;
        struct dyn_slice text;
    } texts[] = {
        {"model", env->model},     {"dialect", env->dialect},   {"target", env->target},
        {"peer", env->peer},       {"trace", env->trace_id},    {"parent", env->traceparent},
        {"cred", env->credential}, {"provider", env->provider},
    };
    for (size_t i = 0; i < DYN_ARRAY_LEN(texts); i++) {
        if (texts[i].text.data != NULL) {
            dyn_buf_addf(&json_text, ",\"%s\":", texts[i].key);
            dyn_buf_add_json_string(&json_text, texts[i].text);
        }
    }
    dyn_buf_add_char(&json_text, '}');
}

static void
run_json_tree(const struct sample *sample)
{
    struct cJSON *tree = cJSON_ParseWithLength(json_text.data, json_text.len);
    (void)sample;
    sink += tree != NULL;
    cJSON_Delete(tree);
}

/* ---- the body inside the header: what "one self-contained message" would pay ---- */

static struct dyn_slice body;

static void
run_body_as_json_string(const struct sample *sample)
{
    (void)sample;
    dyn_buf_clear(&scratch);
    dyn_buf_add_json_string(&scratch, body);
    sink += scratch.len;
}

static void
run_body_parsed_and_printed(const struct sample *sample)
{
    struct json_error error;
    struct cJSON *tree = json_tree_parse(body, JSON_DEPTH_DEFAULT, &error);
    (void)sample;
    dyn_buf_clear(&scratch);
    json_tree_print(tree, &scratch);
    json_tree_free(&tree);
    sink += scratch.len;
}

static void
run_body_copied(const struct sample *sample)
{
    (void)sample;
    dyn_buf_clear(&scratch);
    dyn_buf_add_slice(&scratch, body);
    sink += scratch.len;
}

static void
run_body_referenced(const struct sample *sample)
{
    dyn_block_t *block = dyn_block_ref(sample->env->body);
    sink += block->len;
    dyn_block_unref(&block);
}

/* ---- measuring ---- */

/* Nanoseconds a call: the best of some rounds, since whatever else runs only makes it slower. */
static double
measure(void (*run)(const struct sample *sample), const struct sample *sample)
{
    double best = 1e12;
    for (int round = 0; round < ROUNDS; round++) {
        uint64_t start = dyn_mono_us(&dyn_clock_system);
        uint64_t calls = 0;
        uint64_t us;
        do {
            for (int i = 0; i < 64; i++) {
                run(sample);
            }
            calls += 64;
            us = dyn_mono_us(&dyn_clock_system) - start;
        } while (us < ROUND_US);
        double ns = (double)us * 1000 / (double)calls;
        best = ns < best ? ns : best;
    }
    return best;
}

static struct dyn_slice
text(struct env *env, const char *value)
{
    return env_copy(env, dyn_slice_str(value));
}

static void
finish_sample(struct sample *sample)
{
    sample->header = (struct dyn_buf)DYN_BUF_INIT;
    if (env_encode(sample->env, &sample->header, NULL) != 0) {
        abort();
    }
}

static struct sample
request_sample(void)
{
    struct env *env = env_new(ENV_REQUEST);
    env->id = env_id_random();
    env->attempt = 1;
    env->surface = ENV_SURFACE_CHAT;
    env->stream = true;
    env->dialect = text(env, "openai_chat");
    env->model = text(env, "gpt-4o-mini-2024-07-18");
    env->target = text(env, "primary");
    env->deadline_ms = 60000;
    env->attempts_left = 3;
    env->credit = ENV_WINDOW_FIRST;
    env->peer = text(env, "192.0.2.7:50123");
    env->trace_id = text(env, "4bf92f3577b34da6a3ce929d0e0e4736");
    env->traceparent = text(env, "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    struct sample sample = {.name = "REQUEST", .env = env};
    finish_sample(&sample);
    return sample;
}

static struct sample
chunk_sample(void)
{
    struct env *env = env_new(ENV_CHUNK);
    env->id = env_id_random();
    env->attempt = 1;
    env->sequence = 42;
    struct sample sample = {.name = "CHUNK", .env = env};
    finish_sample(&sample);
    return sample;
}

static struct sample
end_sample(void)
{
    struct env *env = env_new(ENV_END);
    env->id = env_id_random();
    env->attempt = 1;
    env->outcome = ENV_OUTCOME_OK;
    env->status = 200;
    env->content_type = text(env, "application/json");
    env_add_header(env, DYN_SLICE("x-ratelimit-remaining-requests"), DYN_SLICE("9999"));
    env_add_header(env, DYN_SLICE("x-ratelimit-remaining-tokens"), DYN_SLICE("149984"));
    env_add_header(env, DYN_SLICE("openai-processing-ms"), DYN_SLICE("317"));
    env_add_header(env, DYN_SLICE("x-upstream-request-id"), DYN_SLICE("req_0123456789abcdef"));
    env->usage = (struct env_usage){.known = true,
                                    .prompt_tokens = 1100,
                                    .completion_tokens = 70,
                                    .total_tokens = 1170,
                                    .cached_tokens = 1024};
    env->upstream_calls = 1;
    env->upstream_us = 317000;
    env->upstream_total_us = 318000;
    env->body_bytes = 900;
    env->provider = text(env, "openai");
    env->attempts = 1;
    struct sample sample = {.name = "END", .env = env};
    finish_sample(&sample);
    return sample;
}

static void
report_header(const struct sample *sample)
{
    printf("%-8s %5zu bytes  encode %5.0f ns  decode %5.0f ns (guard %4.0f, envelope %4.0f)  "
           "guard and msgpack-c tree %5.0f ns\n",
           sample->name, sample->header.len, measure(run_encode, sample), measure(run_decode, sample),
           measure(run_guard, sample), measure(run_new_and_free, sample), measure(run_msgpack_tree, sample));
}

static void
report_json(const struct sample *sample)
{
    write_json_header(sample);
    printf("%-8s as JSON %5zu bytes  cJSON tree %5.0f ns\n", sample->name, json_text.len,
           measure(run_json_tree, sample));
}

/* A conversation of about `size` bytes. */
static void
report_body(struct sample *sample, size_t size)
{
    struct dyn_buf text_buf = DYN_BUF_INIT;
    dyn_buf_add_str(&text_buf, "{\"model\":\"m\",\"messages\":[");
    while (text_buf.len + 300 < size) {
        dyn_buf_add_str(
            &text_buf,
            "{\"role\":\"user\",\"content\":\"The \\\"harbour\\\" was quiet in the morning.\\nA few "
            "boats came in with the tide, and the men on the quay counted boxes of fish.\"},");
    }
    dyn_buf_add_str(&text_buf, "{\"role\":\"user\",\"content\":\"And then?\"}],\"temperature\":1.0}");
    body = dyn_buf_slice(&text_buf);
    sample->env->body = dyn_block_copy(0, body);
    printf("body %6zu bytes: one more reference %4.0f ns  one copy %6.0f ns  as a string in the header %7.0f "
           "ns  "
           "parsed and printed %8.0f ns\n",
           body.len, measure(run_body_referenced, sample), measure(run_body_copied, sample),
           measure(run_body_as_json_string, sample), measure(run_body_parsed_and_printed, sample));
    dyn_block_unref(&sample->env->body);
    dyn_buf_fini(&text_buf);
}

int
main(void)
{
    struct sample samples[] = {request_sample(), chunk_sample(), end_sample()};
    for (size_t i = 0; i < DYN_ARRAY_LEN(samples); i++) {
        report_header(&samples[i]);
    }
    report_json(&samples[0]);
    report_body(&samples[0], 1024);
    report_body(&samples[0], 64 * 1024);
    for (size_t i = 0; i < DYN_ARRAY_LEN(samples); i++) {
        env_free(&samples[i].env);
        dyn_buf_fini(&samples[i].header);
    }
    dyn_buf_fini(&scratch);
    dyn_buf_fini(&json_text);
    return 0;
}
